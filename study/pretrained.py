"""Measure the weights that come with the package on the real test images.

    python -m study.pretrained stage1_train.zip

writes one table per network into `study/results`, which the chapters print, and the model cards
beside the weights, `segedu/weights/NAME.md`. The weights were made by the commands below, which
chose the threshold on the validation images.
"""

import hashlib
import platform
import sys
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from segedu import count_multiply_adds, count_parameters, load_pretrained
from segedu.checkpoint import pretrained_path, read_notes
from segedu.data import NucleiDataset
from segedu.evaluation import dataset_iou, evaluate, otsu_threshold
from segedu.files import atomic_path, read_rows, write_rows
from segedu.inference import segmenter
from segedu.metrics import dice, iou

TRAIN = "python -m segedu train --data nuclei --root stage1_train.zip"
LONG = (
    "--channels 8,16,32,64,128 --steps 12000 --batch-size 4 --validate-every 800 "
    "--precision bf16-mixed --augment flips,light,noise"
)
COMMANDS = {
    "unet-nuclei": f"{TRAIN} --model unet {LONG}",
    "unetpp-nuclei": f"{TRAIN} {LONG}",
    "unetpp-nuclei-tiny": f"{TRAIN} --channels 4,8,16,32,64 --steps 1000 --learning-rate 6e-3 "
    "--precision bf16-mixed",
}
NOISE = 0.02, 0.04  # standard deviations, where an image reaches from 0 to 1
CARD = """\
# {name}

{kind}, {parameters:,} parameters, channels {channels}, batch norm. It takes one grey
channel as `segedu.data.normalize` gives it, of any size, and gives the probability that a pixel
belongs to a cell nucleus.

```python
model = segedu.load_pretrained("{name}")
mask = segedu.to_mask(segedu.predict(model, images), {threshold})
```

- **Data.** BBBC038v1, the nuclei of the 2018 Data Science Bowl (Caicedo et al., Nature Methods
  2019), with corrected masks of 501 of the images: the fluorescence images among them, split by
  tile group into 261 for training, 52 for validation and {images} for the test, as in
  `segedu/data/nuclei_groups.csv`. The field of `segedu.data.sample` is a corner of a test image.
- **Command.** `{command}`
- **Chosen on validation.** The checkpoint after step {step}, and the threshold {threshold}, with an
  IoU per image of {validation:.3f} there.
- **Test.** IoU per image {iou:.3f}, pooled {pooled:.3f}; Dice pooled {dice:.3f}. Otsu's threshold on
  the same images: {otsu:.3f} per image.{levels}
- **Noise.** Where an image reaches from 0 to 1, Gaussian noise with a standard deviation of {noise} was
  added to each pixel of the test images: then the IoU per image is {noisy}.
- **Ceiling.** Most of what is wrong lies at the edges, where annotators may differ: the truth itself, moved
  outwards by half a pixel, has an IoU of {outwards:.3f}, inwards {inwards:.3f}. With the threshold that is
  best for each image, which nobody knows, this network would reach {oracle:.3f}. With that of one annotated
  tile of the same field it gains {calibrated:+.3f} on average ({low:+.3f} to {high:+.3f}), but {losing:.0f} % of the
  images lose.
- **Limits.** Fluorescence microscopy of nuclei that are bright on a dark ground, some 6 to 30 pixels
  wide. It has seen no stained tissue and no bright field. Touching nuclei become one region. It is
  made for teaching, and for no diagnosis.
- **Licence.** The images are in the public domain (CC0). The weights are under the package's MIT
  licence.
- **SHA-256.** `{sha256}`
"""  # noqa: E501 - two lines are shorter once they are filled in


def table(name: str = "unetpp-nuclei") -> Path:
    """The table of a network."""
    return Path(__file__).parent / "results" / f"{name.replace('-', '_')}_test.csv"


def measured(name: str = "unetpp-nuclei") -> dict[str, str]:
    """The values in the table of a network, by quantity."""
    return {row["quantity"]: row["value"] for row in read_rows(table(name))}


def measure(name: str, root: str | Path) -> dict[str, str | float]:
    """Every quantity of the table, by name; IoU and Dice are those of the foreground."""
    model = load_pretrained(name)
    test = NucleiDataset(root, split="test")
    counts = evaluate(segmenter(model), test, num_classes=1)
    otsu = evaluate(otsu_threshold, test, num_classes=1)
    rows = {
        "command": COMMANDS[name],
        "images": len(test),
        "threshold": model.threshold,
        "validation IoU per image": read_notes(pretrained_path(name))["validation_iou"],
        "IoU per image": dataset_iou(counts),
        "IoU pooled": iou(*counts, average="set", absent="skip"),
        "Dice pooled": dice(*counts, average="set", absent="skip"),
        "Otsu IoU per image": dataset_iou(otsu),
        "Otsu IoU pooled": iou(*otsu, average="set", absent="skip"),
    }
    for strength in NOISE:
        counts = evaluate(segmenter(model), with_noise(test, strength), num_classes=1)
        rows[f"IoU per image, noise {strength}"] = dataset_iou(counts)
    for level in model.levels if model.deep_supervision else ():
        pruned = model.prune(level)
        counts = evaluate(segmenter(pruned), test, num_classes=1)
        rows[f"L{level} IoU per image"] = dataset_iou(counts)
        rows[f"L{level} parameters"] = count_parameters(pruned)
        rows[f"L{level} multiply-adds at 256x256"] = count_multiply_adds(pruned, 256, 256)
    return rows | {"measured with": f"torch {torch.__version__}, {platform.machine()} CPU"}


def with_noise(dataset: Dataset, strength: float) -> list[tuple[Tensor, Tensor]]:
    """The pairs of a data set, each image with Gaussian noise; the same noise each time."""
    generator = torch.Generator().manual_seed(0)
    return [
        (image + strength * torch.randn(image.shape, generator=generator), mask)
        for image, mask in dataset
    ]


def _limits(of: str) -> dict[str, dict[str, float]]:
    """The quantities that `study.limits` measured, of a network or of the annotation."""
    rows = read_rows(table().parent / "limits.csv")
    return {
        row["quantity"]: {key: float(row[key]) for key in ("value", "low", "high")}
        for row in rows
        if row["of"] == of
    }


def card(name: str) -> str:
    """The model card, with the numbers of the tables."""
    model, notes, rows = load_pretrained(name), read_notes(pretrained_path(name)), measured(name)
    truth, limits = _limits("annotation"), _limits(name)
    gain = limits["gain by the threshold of a sibling tile"]
    heads = [
        f"{key[:2]} {float(rows[key]):.3f}" for key in rows if key.startswith("L") and "IoU" in key
    ]
    return CARD.format(
        name=name,
        kind="U-Net++ with deep supervision" if model.deep_supervision else "U-Net",
        parameters=count_parameters(model),
        channels=", ".join(map(str, model.channels)),
        images=rows["images"],
        command=rows["command"],
        step=notes["step"],
        threshold=model.threshold,
        validation=notes["validation_iou"],
        iou=float(rows["IoU per image"]),
        pooled=float(rows["IoU pooled"]),
        dice=float(rows["Dice pooled"]),
        otsu=float(rows["Otsu IoU per image"]),
        noise=" or ".join(map(str, NOISE)),
        noisy=" or ".join(f"{float(rows[f'IoU per image, noise {sd}']):.3f}" for sd in NOISE),
        outwards=truth["IoU of the truth moved outwards by 0.5 pixel"]["value"],
        inwards=truth["IoU of the truth moved inwards by 0.5 pixel"]["value"],
        oracle=limits["IoU per image, best threshold of each (oracle)"]["value"],
        calibrated=gain["value"],
        low=gain["low"],
        high=gain["high"],
        losing=100 * limits["share of images that lose by it"]["value"],
        levels=f"\n  Pruned: {', '.join(heads)}." if heads else "",
        sha256=hashlib.sha256(pretrained_path(name).read_bytes()).hexdigest(),
    )


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m study.pretrained stage1_train.zip")
    for name in COMMANDS:
        rows = [
            {"quantity": quantity, "value": round(value, 6) if isinstance(value, float) else value}
            for quantity, value in measure(name, sys.argv[1]).items()
        ]
        write_rows(table(name), rows)
        with atomic_path(pretrained_path(name).with_suffix(".md")) as temporary:
            temporary.write_text(card(name), encoding="utf-8", newline="\n")
        print(name)
        for row in rows:
            print(f"  {row['quantity']}: {row['value']}")


if __name__ == "__main__":
    main()
