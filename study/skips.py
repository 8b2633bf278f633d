"""How much each skip of a U-Net contributes: trained without it, or with it and then without.

    python -m study.skips

trains the U-Net of the chapter on U-Net with all skips, without any, and without each one, five
seeds each (about fifteen minutes on one core), and writes `study/results/skips.csv`: the
foreground's IoU per image on 20 synthetic test images and on the sample field. The column `off`
says in which rows of the grid the skip is switched off, `trained` whether the network was trained
"without" these skips or "with" them. In "refitted" it was trained with them as well, but after the
cut the statistics of batch normalisation were measured anew on the training images, and then the
threshold was chosen anew on the validation images.
"""

import copy
import tempfile
from pathlib import Path

import torch
from torch.optim.swa_utils import update_bn

from segedu import UNet, losses
from segedu.data import instances_to_target, normalize, nuclei_split, sample
from segedu.evaluation import dataset_iou, evaluate, otsu_threshold, validate
from segedu.files import write_rows
from segedu.inference import segmenter
from segedu.training import TrainConfig, fit

RESULT = Path(__file__).parent / "results" / "skips.csv"
CHANNELS = (8, 16, 32, 64)
ROWS = range(len(CHANNELS) - 1)
CUTS = {"none": (), "all": tuple(ROWS), **{str(row): (row,) for row in ROWS}}
SEEDS = range(5)


def switch_off(model: UNet, rows: tuple[int, ...]) -> UNet:
    """Set the weights with which the decoder reads the skips of these rows to 0, for good."""
    for row in rows:
        weight = model.blocks[f"{row}_{model.depth - row}"][0].weight
        mask = torch.ones_like(weight)
        mask[:, : model.channels[row]] = 0  # the skip's channels come first
        weight.data *= mask
        weight.register_hook(mask.mul)  # training changes none of them
    return model


def main():
    train_set = list(nuclei_split(split="train", length=128))
    validation_set = list(nuclei_split(split="validation", length=8))
    test_set = list(nuclei_split(split="test", length=20))
    batches = torch.stack([image for image, _ in train_set]).split(8)
    grey, instances = sample()
    field = [(normalize(grey), instances_to_target(instances, "binary"))]
    table = []

    def note(seed, off, trained, segment):
        scores = [
            dataset_iou(evaluate(segment, images, num_classes=1)) for images in (test_set, field)
        ]
        synthetic, real = (round(score, 4) for score in scores)
        row = {"seed": seed, "off": off, "trained": trained}
        table.append(row | {"synthetic_iou": synthetic, "field_iou": real})
        print(*table[-1].values(), flush=True)

    note("", "", "otsu", otsu_threshold)
    for off, rows in CUTS.items():
        for seed in SEEDS:
            torch.manual_seed(seed)
            model = switch_off(UNet(1, 1, channels=CHANNELS), rows)
            config = TrainConfig(
                steps=150, crop_size=80, learning_rate=5e-3, validate_every=150, seed=seed
            )
            with tempfile.TemporaryDirectory() as folder:
                fit(model, losses.compound_loss, train_set, validation_set, config, out=folder)
            note(seed, off, "without", segmenter(model))
            if off == "none":
                for later, rows_later in CUTS.items():
                    if rows_later:
                        cut = switch_off(copy.deepcopy(model), rows_later)
                        note(seed, later, "with", segmenter(cut))
                        update_bn(batches, cut)
                        _, cut.threshold = validate(cut, validation_set)
                        note(seed, later, "refitted", segmenter(cut))
        write_rows(RESULT, table)


if __name__ == "__main__":
    main()
