"""Train every network of the comparison in the same way, and measure it.

An arm is one line of the comparison: a network, a loss, and what it is trained on. With the same
seed all arms see the same crops in the same order, and they have the same optimizer, schedule and
number of steps. The validation images decide which checkpoint is kept and which threshold it gets;
then the test images are read, once. Each run leaves a file in `runs/study/PRESET`, and is not
repeated while that file is there. `merge` makes the tables in `study/results` from these files.
There, train_seconds is elapsed time, which depends on what else was running, and train_cpu_seconds
is processor time. To compare the speed of networks, use the times of `study/times.py`.
"""

import copy
import dataclasses
import fcntl
import functools
import itertools
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from monai.networks.nets import BasicUNet, BasicUNetPlusPlus
from segmentation_models_pytorch import Unet as SmpUnet
from segmentation_models_pytorch import UnetPlusPlus as SmpUnetPlusPlus
from skimage.measure import label
from torch import Tensor, nn
from torch.utils.data import Dataset, Subset

from segedu import (
    UNet,
    UNetPlusPlus,
    count_multiply_adds,
    count_parameters,
    load_model,
    losses,
    predict,
    save_checkpoint,
    to_mask,
)
from segedu.data import NucleiDataset, nuclei_split, three_class_to_instances
from segedu.evaluation import (
    THRESHOLDS,
    best_iou,
    count_pixels,
    otsu_threshold,
)
from segedu.fast import summed_convolutions
from segedu.files import atomic_path, read_rows, write_rows
from segedu.losses import DeepSupervision, compound_loss, focal_loss
from segedu.metrics import StatScores, average_precision, stat_scores
from segedu.training import TrainConfig, start_training, training_steps

from .timing import hardware

RUNS = Path("runs") / "study"
RESULTS = Path(__file__).parent / "results"
TABLES = {  # name: the columns that identify a row
    "compare_runs": ("preset", "arm", "seed"),
    "compare_images": ("preset", "arm", "seed", "image"),
    "compare_counts": ("preset", "arm", "seed", "of"),
    "compare_image_ids": ("split", "image"),
}
SETTINGS = (  # the fields of Preset that the tables hold
    "batch_size", "crop_size", "validations", "accelerator", "precision", "learning_rate",
    "weight_decay",
)  # fmt: skip
CLASSES = ("background", "interior", "boundary")


@dataclass(frozen=True)
class Preset:
    """What all arms have in common."""

    channels: tuple[int, ...]
    seeds: int
    steps: int
    batch_size: int
    crop_size: int
    validations: int  # evenly spaced, the last one after the last step
    accelerator: str
    precision: str
    learning_rate: float = 3e-3  # at the peak of the one-cycle schedule
    weight_decay: float = 1e-2
    seconds: int | None = None  # of training on two cores, in place of a number of steps


PRESETS = {
    "cpu": Preset((8, 16, 32, 64, 128), 3, 200, 4, 128, 2, "cpu", "32-true"),
    "budget": Preset((8, 16, 32, 64, 128), 3, 0, 4, 128, 2, "cpu", "32-true", seconds=120),
    "gpu": Preset((32, 64, 128, 256, 512), 5, 4000, 16, 256, 8, "gpu", "bf16-mixed"),
}

Build = Callable[[Sequence[int], int], nn.Module]  # from channels and number of classes


def _ours(network: type, **options) -> Build:
    return lambda channels, classes: network(1, classes, channels=channels, **options)


_unet = _ours(UNet)


def _wide(channels: Sequence[int], classes: int) -> nn.Module:
    """The U-Net whose number of parameters is nearest to that of the U-Net++ of these channels."""
    # U-Net++ has about 1.17 times the parameters, which grow with the square of the width.
    stretched = ([round(c * (1 + k / 1000)) for c in channels] for k in range(60, 100))
    widths = dict.fromkeys(map(tuple, stretched))
    with torch.device("meta"):
        wanted = count_parameters(UNetPlusPlus(1, classes, channels=channels))
        sizes = {width: count_parameters(UNet(1, classes, channels=width)) for width in widths}
    nearest = min(widths, key=lambda width: abs(sizes[width] - wanted))
    return UNet(1, classes, channels=nearest)


def _monai(network: type) -> Build:
    return lambda channels, classes: _library(
        network, classes, spatial_dims=2, in_channels=1, out_channels=classes,
        features=(*channels, channels[0]), norm="batch", upsample="nontrainable",
    )  # fmt: skip


def _smp(network: type) -> Build:
    # ResNet-18 is its smallest ResNet. The number of poolings and the decoder's widths are ours;
    # the encoder's (64, 64, 128, 256) are not, and its first convolution has a stride of 2.
    return lambda channels, classes: _library(
        network, classes, encoder_name="resnet18", encoder_depth=4, encoder_weights=None,
        decoder_channels=channels[-2::-1], in_channels=1, classes=classes,
    )  # fmt: skip


def _library(network: type, num_classes: int, **options) -> nn.Module:
    """Another library's network of four poolings, with what `predict` asks of a network."""
    model = network(**options)
    model.depth, model.num_classes = 4, num_classes
    return model


@dataclass(frozen=True)
class Arm:
    """One line of the comparison."""

    network: Build | None  # None: Otsu's threshold
    loss: Callable[[Tensor, Tensor], Tensor] = compound_loss
    classes: int = 1  # or 3: background, interior, boundary
    levels: bool = False  # also measure each head alone, as a pruned network
    images: int | None = None  # number of real training images; None: all, 0: synthetic ones
    start: str | None = None  # the arm whose weights it starts from
    length: int = 1  # training steps, as a multiple of the preset's
    changes: dict = field(default_factory=dict)  # fields that replace the preset's


def _balanced_focal(logits: Tensor, target: Tensor) -> Tensor:
    """Focal loss with alpha = N_neg / (N_pos + N_neg) of the batch."""
    return focal_loss(logits, target, alpha=losses.class_balance(target))


ARMS = {
    "unet": Arm(_unet),
    "unet-wide": Arm(_wide),
    "unetpp": Arm(_ours(UNetPlusPlus)),
    "unetpp-ds": Arm(_ours(UNetPlusPlus, deep_supervision=True), levels=True),
    "unetpp-ds-first": Arm(_ours(UNetPlusPlus, deep_supervision=True, skips="first")),
    "unetpp-ds-last": Arm(_ours(UNetPlusPlus, deep_supervision=True, skips="last")),
    "monai-unet": Arm(_monai(BasicUNet)),
    "monai-unetpp": Arm(_monai(BasicUNetPlusPlus)),
    "smp-unet": Arm(_smp(SmpUnet)),
    "smp-unetpp": Arm(_smp(SmpUnetPlusPlus)),
    "otsu": Arm(None),
    "bce": Arm(_unet, loss=losses.binary_cross_entropy),
    "focal": Arm(_unet, loss=focal_loss),
    "focal-alpha-0.25": Arm(_unet, loss=functools.partial(focal_loss, alpha=0.25)),
    "focal-alpha-balance": Arm(_unet, loss=_balanced_focal),
    "focal-gamma-1": Arm(_unet, loss=functools.partial(focal_loss, gamma=1.0)),
    "three-class": Arm(_unet, loss=losses.cross_entropy, classes=3),
    "three-class-focal": Arm(_unet, loss=focal_loss, classes=3),
    "synthetic": Arm(_unet, images=0),
    "real-8": Arm(_unet, images=8),
    "real-32": Arm(_unet, images=32),
    "pretrained-8": Arm(_unet, images=8, start="synthetic"),
    "pretrained-32": Arm(_unet, images=32, start="synthetic"),
    # As long as the two trainings of a pretrained arm together.
    "real-8-long": Arm(_unet, images=8, length=2),
    "real-32-long": Arm(_unet, images=32, length=2),
    "unet-long": Arm(_unet, length=2),
}
# Candidates for the best use of a fixed time: the best on validation is compared with the rivals.
_deep = _ours(UNetPlusPlus, deep_supervision=True)
RECIPES = {
    "recipe-unet": Arm(_unet, changes={"learning_rate": 6e-3}),
    "recipe-unetpp": Arm(_deep, changes={"learning_rate": 6e-3}),
    "recipe-unetpp-shallow": Arm(
        _deep, changes={"channels": (8, 16, 32, 64), "learning_rate": 6e-3}
    ),
}
RIVALS = ("unet", "three-class", "monai-unet", "monai-unetpp", "smp-unet", "smp-unetpp")
NETWORKS = {  # the arms that differ in their network only
    name: arm
    for name, arm in ARMS.items()
    if arm.network and (arm.loss, arm.images, arm.length) == (compound_loss, None, 1)
}
TIMED = NETWORKS | RECIPES  # the other arms train one of these networks differently


def arms_of(preset: str) -> dict[str, Arm]:
    """The arms that a preset compares."""
    return {name: ARMS[name] for name in RIVALS} | RECIPES if PRESETS[preset].seconds else ARMS


def settings(name: str, preset: str) -> Preset:
    """The preset with the changes of an arm."""
    return dataclasses.replace(PRESETS[preset], **arms_of(preset)[name].changes)


def steps_of(name: str, preset: str) -> int:
    """How many steps an arm is trained for: the preset's, or as many as fit into its seconds.

    An arm that was not timed trains the U-Net.
    """
    common = PRESETS[preset]
    if common.seconds is None:
        return common.steps * arms_of(preset)[name].length
    times = {(row["preset"], row["arm"]): row for row in read_rows(RESULTS / "times.csv")}
    timed = name if name in TIMED else "unet"
    return int(1000 * common.seconds / float(times[preset, timed]["step_ms"]))


def compare(preset: str, root: Path, arms: Sequence[str] = ()) -> None:
    """Do the runs of a preset that have not been done, seed by seed, and merge the tables.

    Several processes may share the work: each skips the runs that another one is doing.
    """
    known = arms_of(preset)
    for seed, name in itertools.product(range(PRESETS[preset].seeds), arms or known):
        if seed > 0 and known[name].network is None:  # a threshold has no seed
            continue
        with _claim(RUNS / preset / f"{name}-{seed}.lock") as is_free:
            if not is_free:
                continue
            started = time.monotonic()
            row = run(name, seed, preset, root)["compare_runs"][0]
            seconds = time.monotonic() - started
            print(
                f"{name:20} seed {seed}  validation IoU {row['validation_iou']:.4f}  "
                f"{seconds:.0f} s",
                flush=True,
            )
    merge(root)


@contextmanager
def _claim(path: Path) -> Iterator[bool]:
    """Whether no other process holds the lock; the system frees it when its holder ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def run(name: str, seed: int, preset: str, root: Path) -> dict[str, list[dict]]:
    """Train and measure one arm with one seed; returns its rows of the tables.

    If that was done before, the rows are read from the file of the run.
    """
    path = RUNS / preset / f"{name}-{seed}.json"
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))
    arm, common = arms_of(preset)[name], settings(name, preset)
    fabric = Fabric(accelerator=common.accelerator, devices=1, precision=common.precision)
    train_set, validation_set, test_set = data_sets(arm, seed, root)
    models = {name: None}
    trained = {"steps": 0, "best_step": 0, "train_seconds": 0.0, "train_cpu_seconds": 0.0}
    if arm.network:
        torch.manual_seed(seed)
        model = arm.network(common.channels, arm.classes)
        if arm.start:
            start = load_model(RUNS / preset / f"{arm.start}-{seed}.safetensors")
            model.load_state_dict(start.state_dict())
        config = train_config(common, steps_of(name, preset), seed)
        trained = train(model, arm.loss, train_set, validation_set, config, fabric)
        models = with_levels(name, arm, model)
        if name in {other.start for other in ARMS.values()}:
            save_checkpoint(path.with_suffix(".safetensors"), model)
    channels = getattr(models[name], "channels", common.channels)
    tables = {"compare_runs": [], "compare_images": [], "compare_counts": []}
    for key, model in models.items():
        where = {"preset": preset, "arm": key, "seed": seed}
        segment = functools.partial(probabilities, model) if model else otsu
        score, threshold = best_iou((segment(image[None]), mask) for image, mask in validation_set)
        images, pooled = test(segment, test_set, arm.classes, threshold)
        tables["compare_images"] += [where | row for row in images]
        tables["compare_counts"] += [where | row for row in pooled]
        tables["compare_runs"].append(
            where
            | {
                "threshold": threshold if model and arm.classes == 1 else None,
                "validation_iou": score,
                "parameters": count_used(model) if model else 0,
                "multiply_adds": count_multiply_adds(model, 256, 256) if model else 0,
                "classes": arm.classes,
                "train_images": len(train_set) if model else 0,
                "channels": "-".join(map(str, channels)),
            }
            | {setting: getattr(common, setting) for setting in SETTINGS}
            | trained
            | hardware(fabric)
        )
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(tables), encoding="utf-8")
    return tables


def with_levels(name: str, arm: Arm, model: nn.Module) -> dict[str, nn.Module]:
    """A network under the name of its arm, and its pruned levels if the arm measures them."""
    levels = model.levels if arm.levels else ()
    return {name: model} | {f"{name}-L{level}": model.prune(level) for level in levels}


def otsu(image: Tensor) -> Tensor:
    """The mask of Otsu's threshold, as probabilities 0 and 1."""
    return otsu_threshold(image)[None].float()


def data_sets(arm: Arm, seed: int, root: Path) -> tuple[Dataset, Dataset, NucleiDataset]:
    """The images on which an arm is trained, validated and tested."""
    target = "binary" if arm.classes == 1 else "three_class"
    test_set = _nuclei(root, "test", target)
    if arm.images == 0:  # no real image before the test, not even for the threshold
        return _synthetic("train"), _synthetic("validation"), test_set
    train_set = _nuclei(root, "train", target)
    if arm.images is not None:
        chosen = np.random.default_rng(seed).permutation(len(train_set))[: arm.images]
        train_set = Subset(train_set, chosen.tolist())
    return train_set, _nuclei(root, "validation", target), test_set


@functools.cache
def _nuclei(root: Path, split: str, target: str) -> NucleiDataset:
    return NucleiDataset(root, split=split, target=target)


@functools.cache
def _synthetic(split: str) -> list[tuple[Tensor, Tensor]]:
    dataset = nuclei_split(split=split)
    return [dataset[index] for index in range(len(dataset))]


def train_config(preset: Preset, steps: int, seed: int) -> TrainConfig:
    return TrainConfig(
        steps=steps,
        batch_size=preset.batch_size,
        crop_size=preset.crop_size,
        learning_rate=preset.learning_rate,
        weight_decay=preset.weight_decay,
        validate_every=math.ceil(steps / preset.validations),
        seed=seed,
    )


def train(
    model: nn.Module,
    loss: Callable,
    train_set: Dataset,
    validation_set: Dataset,
    config: TrainConfig,
    fabric: Fabric,
) -> dict:
    """Train any network as `segedu.training.fit` does; leaves the best weights in `model`."""
    state = start_training(model, config, fabric)
    steps = training_steps(state, DeepSupervision(loss), train_set, config, fabric)
    best_step, best_weights = 0, None
    wall = cpu = 0.0
    with summed_convolutions(model):
        for step in range(1, config.steps + 1):
            wall, cpu = wall - time.perf_counter(), cpu - time.process_time()
            next(steps)
            wall, cpu = wall + time.perf_counter(), cpu + time.process_time()
            if step % config.validate_every == 0 or step == config.steps:
                score, _ = best_iou((probabilities(model, x[None]), y) for x, y in validation_set)
                if score > state.best_score:
                    state.best_score, best_step = score, step
                    best_weights = copy.deepcopy(model.state_dict())
    model.load_state_dict(best_weights)
    return {
        "steps": config.steps,
        "best_step": best_step,
        "train_seconds": wall,
        "train_cpu_seconds": cpu,
    }


def probabilities(model: nn.Module, image: Tensor) -> Tensor:
    """Class probabilities (1, K, H, W) of an image (1, C, H, W), which is never cut into tiles.

    Every network gets the same padding, that of four poolings.
    """
    height, width = image.shape[2:]
    padded = F.pad(image, (0, -width % 16, 0, -height % 16), mode="replicate")
    return predict(model, padded, tile_size=None)[..., :height, :width].cpu()


def test(
    segment: Callable[[Tensor], Tensor], test_set: NucleiDataset, classes: int, threshold: float
) -> tuple[list[dict], list[dict]]:
    """Measure on the test images: one row per image, and the pixels of all images together.

    The row of an image has the counts of the foreground's pixels, the number of objects, and their
    average precision. The objects are the connected components of a binary mask, or those that
    `three_class_to_instances` finds.
    """
    rows, every = [], []
    for number, (image, mask) in enumerate(test_set):
        answer = segment(image[None])
        preds = to_mask(answer, threshold)
        find_objects = label if classes == 1 else three_class_to_instances
        objects = find_objects(preds[0].numpy())
        foreground = stat_scores((preds > 0).long(), (mask > 0).long()[None], num_classes=1)
        ap = average_precision(objects, test_set.instances(number)).mean
        rows.append(
            {"image": number}
            | {name: int(getattr(foreground, name)) for name in ("tp", "fp", "fn")}
            | {"objects": int(objects.max()), "average_precision": round(ap, 4)}
        )
        every.append(torch.stack(count_pixels(answer, mask)))
    pooled = torch.stack(every).sum(0).flatten(1).T.tolist()  # per threshold, or per class
    names = CLASSES if classes > 1 else [f"threshold {t}" for t in THRESHOLDS]
    counts = [
        {"of": name, **StatScores(*four)._asdict()}
        for name, four in zip(names, pooled, strict=True)
    ]
    return rows, counts if classes > 1 else counts[THRESHOLDS.index(0.5) :]


def count_used(model: nn.Module) -> int:
    """Parameters that change the output: a library's encoder may have stages that are not used.

    >>> count_used(UNet(1, 1, channels=(4, 8))) == count_parameters(UNet(1, 1, channels=(4, 8)))
    True
    """
    twin = copy.deepcopy(model).cpu().train()
    twin.zero_grad()
    heads = twin(torch.rand(2, 1, 64, 64))
    sum(head.sum() for head in (heads if isinstance(heads, list) else [heads])).backward()
    return sum(p.numel() for p in twin.parameters() if p.grad is not None)


def image_ids(root: Path) -> list[dict]:
    """One row per image of the three splits, numbered as in the other tables."""
    return [
        {
            "split": split,
            "image": number,
            "image_id": dataset.image_ids[number],
            "group": dataset.groups[number],
            "height": dataset.grey(number).shape[0],
            "width": dataset.grey(number).shape[1],
            "nuclei": int(dataset.instances(number).max()),
        }
        for split in ("train", "validation", "test")
        for dataset in [_nuclei(root, split, "binary")]
        for number in range(len(dataset))
    ]


def merge(root: Path) -> None:
    """Add the rows of all finished runs to the tables, where the other rows stay."""
    for table, rows in (_collect(RUNS) | {"compare_image_ids": image_ids(root)}).items():
        path, key = RESULTS / f"{table}.csv", TABLES[table]
        known = read_rows(path) if path.exists() else []
        merged = {tuple(str(row[name]) for name in key): row for row in [*known, *rows]}
        write_rows(path, list(merged.values()))


def _collect(folder: Path) -> dict[str, list[dict]]:
    """The rows of all runs in a folder, in the order of the arms."""
    order = [*ARMS, *RECIPES]
    paths = sorted(
        folder.glob("*/*.json"),
        key=lambda path: (path.parent, order.index(path.stem.rpartition("-")[0]), path.stem),
    )
    tables: dict[str, list[dict]] = {}
    for path in paths:
        for table, rows in json.loads(path.read_text(encoding="utf-8")).items():
            tables.setdefault(table, []).extend(rows)
    return tables
