"""Train every network of the comparison in one and the same harness, and measure it.

An arm is one line of the comparison: a network, a loss, and what it is trained on. All arms see the
same crops in the same order (those of the seed), and have the same optimizer, schedule and number
of steps. Which checkpoint is kept and where its probabilities are cut is chosen on the validation
images; then the test images are read, once. Each run leaves a file in `runs/study/PRESET`, and a
run that has one is not done again. `merge` makes the tables in `study/results` of these files. In
them train_seconds is by the clock, with whatever else ran beside it; train_cpu_seconds is the
processor's. What is compared between networks are the times of `study/times.py`.
"""

import copy
import csv
import dataclasses
import fcntl
import functools
import itertools
import json
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
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
from torch.utils.data import DataLoader, Dataset, Subset
from torch.utils.flop_counter import FlopCounterMode

from segedu import UNet, UNetPlusPlus, count_parameters, load_model, save_checkpoint
from segedu.data import NucleiDataset, nuclei_split, train_transform
from segedu.data.transforms import three_class_to_instances
from segedu.evaluation import THRESHOLDS, dataset_iou, otsu_threshold
from segedu.files import atomic_path, write_rows
from segedu.losses import (
    DeepSupervision,
    binary_cross_entropy,
    class_balance,
    compound_loss,
    cross_entropy,
    focal_loss,
)
from segedu.metrics import StatScores, average_precision, stat_scores
from segedu.training import TrainingStream, to_target

RUNS = Path("runs") / "study"
RESULTS = Path(__file__).parent / "results"
TABLES = {  # name: the columns that tell its rows apart
    "compare_runs": ("preset", "arm", "seed"),
    "compare_images": ("preset", "arm", "seed", "image"),
    "compare_counts": ("preset", "arm", "seed", "of"),
    "compare_image_ids": ("split", "image"),
}
SETTINGS = (
    "batch_size",
    "crop_size",
    "validations",
    "accelerator",
    "precision",
    "learning_rate",
    "weight_decay",
)
CLASSES = ("background", "interior", "boundary")


@dataclass(frozen=True)
class Preset:
    """What all arms have in common."""

    channels: tuple[int, ...]
    seeds: int
    steps: int
    batch_size: int
    crop_size: int
    validations: int  # at equal distances, the last after the last step
    accelerator: str
    precision: str
    learning_rate: float = 3e-3  # at the peak of the one-cycle schedule
    weight_decay: float = 1e-2
    seconds: int | None = None  # of training on two cores: each arm's steps are what fits into them


PRESETS = {
    "cpu": Preset((8, 16, 32, 64, 128), 3, 200, 4, 128, 2, "cpu", "32-true"),
    "budget": Preset((8, 16, 32, 64, 128), 3, 0, 4, 128, 2, "cpu", "32-true", seconds=120),
    "gpu": Preset((32, 64, 128, 256, 512), 5, 4000, 16, 256, 8, "gpu", "bf16-mixed"),
}

Build = Callable[[Sequence[int], int], nn.Module]  # of channels and classes


def _ours(network: type, **options) -> Build:
    return lambda channels, classes: network(1, classes, channels=channels, **options)


_unet = _ours(UNet)


def _wide(channels: Sequence[int], classes: int) -> nn.Module:
    """The U-Net with as many parameters as the U-Net++ of these channels, as near as it gets."""
    stretched = ([round(c * (1 + k / 1000)) for c in channels] for k in range(60, 100))
    widths = dict.fromkeys(map(tuple, stretched))  # the ratio of the two is about 1.17, a square
    with torch.device("meta"):
        wanted = count_parameters(UNetPlusPlus(1, classes, channels=channels))
        sizes = {width: count_parameters(UNet(1, classes, channels=width)) for width in widths}
    nearest = min(widths, key=lambda width: abs(sizes[width] - wanted))
    return UNet(1, classes, channels=nearest)


def _monai(network: type) -> Build:
    return lambda channels, classes: network(
        spatial_dims=2, in_channels=1, out_channels=classes, features=(*channels, channels[0]),
        norm="batch", upsample="nontrainable",
    )  # fmt: skip


def _smp(network: type) -> Build:
    # ResNet-18 is its smallest ResNet. Four poolings and the decoder's widths are ours; the
    # encoder's (64, 64, 128, 256) are not, and its first convolution has a stride of 2.
    return lambda channels, classes: network(
        "resnet18", encoder_depth=4, encoder_weights=None, decoder_channels=channels[-2::-1],
        in_channels=1, classes=classes,
    )  # fmt: skip


@dataclass(frozen=True)
class Arm:
    """One line of the comparison."""

    network: Build | None  # of channels and classes; None: Otsu's threshold
    loss: Callable[[Tensor, Tensor], Tensor] = compound_loss
    classes: int = 1  # or 3: background, interior, boundary
    levels: bool = False  # measure each head by itself too, as a pruned network
    images: int | None = None  # how many real ones it is trained on; None: all, 0: synthetic ones
    start: str | None = None  # the arm whose weights it starts from
    length: int = 1  # how many times the preset's steps
    changes: dict = field(default_factory=dict)  # what it has in place of the preset's


def _balanced_focal(logits: Tensor, target: Tensor) -> Tensor:
    """Focal loss with alpha = N_neg / (N_pos + N_neg) of the batch."""
    return focal_loss(logits, target, alpha=class_balance(target))


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
    "bce": Arm(_unet, loss=binary_cross_entropy),
    "focal": Arm(_unet, loss=focal_loss),
    "focal-alpha-0.25": Arm(_unet, loss=functools.partial(focal_loss, alpha=0.25)),
    "focal-alpha-balance": Arm(_unet, loss=_balanced_focal),
    "focal-gamma-1": Arm(_unet, loss=functools.partial(focal_loss, gamma=1.0)),
    "three-class": Arm(_unet, loss=cross_entropy, classes=3),
    "three-class-focal": Arm(_unet, loss=focal_loss, classes=3),
    "synthetic": Arm(_unet, images=0),
    "real-8": Arm(_unet, images=8),
    "real-32": Arm(_unet, images=32),
    "pretrained-8": Arm(_unet, images=8, start="synthetic"),
    "pretrained-32": Arm(_unet, images=32, start="synthetic"),
    # As long as the two trainings of those above together.
    "real-8-long": Arm(_unet, images=8, length=2),
    "real-32-long": Arm(_unet, images=32, length=2),
    "unet-long": Arm(_unet, length=2),
}
# Candidates for the best use of a fixed time, of which validation chooses, and what they are
# compared with.
_deep = _ours(UNetPlusPlus, deep_supervision=True)
RECIPES = {
    "recipe-unet": Arm(_unet, changes={"learning_rate": 6e-3}),
    "recipe-unetpp": Arm(_deep, changes={"learning_rate": 6e-3}),
    "recipe-unetpp-shallow": Arm(
        _deep, changes={"channels": (8, 16, 32, 64), "learning_rate": 6e-3}
    ),
}
RIVALS = ("unet", "three-class", "monai-unet", "monai-unetpp", "smp-unet", "smp-unetpp")
NETWORKS = {  # that differ in nothing else
    name: arm
    for name, arm in ARMS.items()
    if arm.network and (arm.loss, arm.images, arm.length) == (compound_loss, None, 1)
}
TIMED = NETWORKS | RECIPES  # the other arms train one of these in another way


def arms_of(preset: str) -> dict[str, Arm]:
    """The arms that a preset compares."""
    return {name: ARMS[name] for name in RIVALS} | RECIPES if PRESETS[preset].seconds else ARMS


def settings(name: str, preset: str) -> Preset:
    """The preset with what the arm changes."""
    return dataclasses.replace(PRESETS[preset], **arms_of(preset)[name].changes)


def steps_of(name: str, preset: str) -> int:
    """How many steps an arm is trained for: the preset's, or what fits into its seconds.

    An arm that was not timed trains the U-Net.
    """
    common = PRESETS[preset]
    if common.seconds is None:
        return common.steps * arms_of(preset)[name].length
    times = {(row["preset"], row["arm"]): row for row in read_table(RESULTS / "times.csv")}
    timed = name if name in TIMED else "unet"
    return int(1000 * common.seconds / float(times[preset, timed]["step_ms"]))


def compare(preset: str, root: Path, arms: Sequence[str] = ()) -> None:
    """Do the runs of a preset that have not been done, seed by seed, and merge the tables.

    Several processes may share the work: each takes what no other one is at.
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
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def run(name: str, seed: int, preset: str, root: Path) -> dict[str, list[dict]]:
    """Train and measure one arm with one seed; gives its rows of the tables.

    A run that was done is read from its file.
    """
    path = RUNS / preset / f"{name}-{seed}.json"
    if path.exists():
        return json.loads(path.read_text())
    arm = arms_of(preset)[name]
    common = dataclasses.replace(settings(name, preset), steps=steps_of(name, preset))
    fabric = Fabric(accelerator=common.accelerator, devices=1, precision=common.precision)
    train_set, validation_set, test_set = data_sets(arm, seed, root)
    models = {name: None}
    trained = {"steps": 0, "best_step": 0, "train_seconds": 0.0, "train_cpu_seconds": 0.0}
    if arm.network:
        torch.manual_seed(seed)
        model = arm.network(common.channels, arm.classes)
        if arm.start:
            start, _ = load_model(RUNS / preset / f"{arm.start}-{seed}.safetensors")
            model.load_state_dict(start.state_dict())
        trained = train(model, arm.loss, train_set, validation_set, common, seed, fabric)
        models = {name: model}
        if arm.levels:
            models |= {f"{name}-L{level}": model.prune(level) for level in model.levels}
        if name in {other.start for other in ARMS.values()}:
            save_checkpoint(path.with_suffix(".safetensors"), model)
    channels = getattr(models[name], "channels", common.channels)
    tables = {"compare_runs": [], "compare_images": [], "compare_counts": []}
    for key, model in models.items():
        where = {"preset": preset, "arm": key, "seed": seed}
        segment = functools.partial(probabilities, model) if model else otsu
        counts = [pixel_counts(segment(image[None]), mask) for image, mask in validation_set]
        score, index = best(torch.stack(counts))
        images, pooled = test(segment, test_set, arm.classes, index)
        tables["compare_images"] += [where | row for row in images]
        tables["compare_counts"] += [where | row for row in pooled]
        tables["compare_runs"].append(
            where
            | {
                "threshold": THRESHOLDS[index] if model and arm.classes == 1 else None,
                "validation_iou": score,
                "parameters": count_used(model) if model else 0,
                "multiply_adds": operations(model) if model else 0,
                "classes": arm.classes,
                "train_images": len(train_set) if model else 0,
                "channels": "-".join(map(str, channels)),
            }
            | {setting: getattr(common, setting) for setting in SETTINGS}
            | trained
            | hardware(fabric)
        )
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(tables))
    return tables


def otsu(image: Tensor) -> Tensor:
    """The mask of Otsu's threshold as probabilities 0 and 1."""
    return otsu_threshold(image)[None].float()


def data_sets(arm: Arm, seed: int, root: Path) -> tuple[Dataset, Dataset, NucleiDataset]:
    """What an arm is trained, validated and tested on."""
    target = "binary" if arm.classes == 1 else "three_class"
    test_set = _nuclei(root, "test", target)
    if arm.images == 0:  # no real image has a say before the test
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


def train(
    model: nn.Module,
    loss: Callable,
    train_set: Dataset,
    validation_set: Dataset,
    preset: Preset,
    seed: int,
    fabric: Fabric,
) -> dict:
    """The loop of `segedu.training.fit`, for any network; leaves the best weights in `model`."""
    loss = DeepSupervision(loss)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=preset.learning_rate, weight_decay=preset.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=preset.learning_rate, total_steps=max(preset.steps, 5), pct_start=0.25
    )
    model.to(memory_format=torch.channels_last)
    wrapped, optimizer = fabric.setup(model, optimizer)
    stream = TrainingStream(train_set, train_transform(preset.crop_size), seed)
    order = range(preset.steps * preset.batch_size)
    loader = fabric.setup_dataloaders(
        DataLoader(stream, batch_size=preset.batch_size, sampler=order),
        use_distributed_sampler=False,
    )
    validate_every = -(-preset.steps // preset.validations)
    best_score, best_step, kept = -1.0, 0, None
    wall = cpu = 0.0
    batches = iter(loader)
    for step in range(1, preset.steps + 1):
        wall, cpu = wall - time.perf_counter(), cpu - time.process_time()
        wrapped.train()
        images, masks = next(batches)
        logits = wrapped(images.contiguous(memory_format=torch.channels_last))
        classes = (logits[0] if isinstance(logits, list) else logits).shape[1]
        value = loss(logits, to_target(masks, classes))
        optimizer.zero_grad()
        fabric.backward(value)
        optimizer.step()
        if not value.isfinite():
            raise FloatingPointError(f"the loss is {value.item()} at step {step}")
        if step < preset.steps:
            schedule.step()
        wall, cpu = wall + time.perf_counter(), cpu + time.process_time()
        if step % validate_every == 0 or step == preset.steps:
            counts = [pixel_counts(probabilities(model, x[None]), y) for x, y in validation_set]
            score, _ = best(torch.stack(counts))
            if score > best_score:
                best_score, best_step = score, step
                kept = copy.deepcopy(model.state_dict())
    model.load_state_dict(kept)
    return {
        "steps": preset.steps,
        "best_step": best_step,
        "train_seconds": wall,
        "train_cpu_seconds": cpu,
    }


def probabilities(model: nn.Module, image: Tensor) -> Tensor:
    """Class probabilities (1, K, H, W) of an image (1, C, H, W), as `segedu.predict` gives them.

    For any network of four poolings; several heads give the mean of their probabilities.
    """
    height, width = image.shape[2:]
    weight = next(model.parameters())
    model.eval()
    with torch.inference_mode():
        padded = F.pad(image.to(weight.device), (0, -width % 16, 0, -height % 16), mode="replicate")
        heads = model(padded)
        heads = heads if isinstance(heads, list) else [heads]
        heads = [head.sigmoid() if head.shape[1] == 1 else head.softmax(1) for head in heads]
        return torch.stack(heads).mean(0)[..., :height, :width].cpu()


def pixel_counts(probabilities: Tensor, mask: Tensor) -> Tensor:
    """tp, fp, fn, tn (T, K, 4) of one image: at each of THRESHOLDS for one class, else T = 1."""
    if (classes := probabilities.shape[1]) > 1:
        preds = probabilities.argmax(1)
        return torch.stack(stat_scores(preds, mask[None], num_classes=classes), -1)
    # How many of the thresholds each pixel exceeds; then how many pixels exceed each threshold.
    exceeded = torch.bucketize(probabilities[0, 0].contiguous(), torch.tensor(THRESHOLDS))
    steps = len(THRESHOLDS) + 1
    table = (exceeded + steps * mask).flatten().bincount(minlength=2 * steps).view(2, steps)
    fp, tp = table.flip(1).cumsum(1).flip(1)[:, 1:]
    negatives, positives = table.sum(1)
    return torch.stack([tp, fp, positives - tp, negatives - fp], -1)[:, None]


def best(counts: Tensor) -> tuple[float, int]:
    """The highest IoU of counts (N, T, K, 4) (see `dataset_iou`), and at which of the T."""
    columns = (StatScores(*column.unbind(-1)) for column in counts.unbind(1))
    return max((dataset_iou(column), index) for index, column in enumerate(columns))


def test(
    segment: Callable[[Tensor], Tensor], test_set: NucleiDataset, classes: int, index: int
) -> tuple[list[dict], list[dict]]:
    """Read the test images: a row an image, and the pixels of all of them together.

    An image's row has the foreground's pixels, the number of objects, and their average precision:
    the connected components of a binary mask, or what `three_class_to_instances` yields.
    """
    rows, every = [], []
    for number, (image, mask) in enumerate(test_set):
        answer = segment(image[None])
        if classes == 1:
            preds = (answer[0, 0] > THRESHOLDS[index]).numpy()
            objects = label(preds)
        else:
            preds = answer[0].argmax(0).numpy()
            objects = three_class_to_instances(preds)
        foreground, truth = preds > 0, mask.numpy() > 0
        ap = average_precision(objects, test_set.instances(number)).mean
        rows.append(
            {
                "image": number,
                "tp": int((foreground & truth).sum()),
                "fp": int((foreground & ~truth).sum()),
                "fn": int((~foreground & truth).sum()),
                "objects": int(objects.max()),
                "average_precision": round(ap, 4),
            }
        )
        every.append(pixel_counts(answer, mask))
    pooled = torch.stack(every).sum(0)
    if classes == 1:
        named = {f"threshold {t}": pooled[k, 0] for k, t in enumerate(THRESHOLDS) if t >= 0.5}
    else:
        named = dict(zip(CLASSES, pooled[0], strict=True))
    return rows, [
        {"of": name, **dict(zip(("tp", "fp", "fn", "tn"), counts.tolist(), strict=True))}
        for name, counts in named.items()
    ]


def count_used(model: nn.Module) -> int:
    """Parameters that the output depends on: a library's encoder may carry stages it does not use.

    >>> count_used(UNet(1, 1, channels=(4, 8))) == count_parameters(UNet(1, 1, channels=(4, 8)))
    True
    """
    twin = copy.deepcopy(model).cpu().train()
    twin.zero_grad()
    heads = twin(torch.rand(2, 1, 64, 64))
    sum(head.sum() for head in (heads if isinstance(heads, list) else [heads])).backward()
    return sum(p.numel() for p in twin.parameters() if p.grad is not None)


def operations(model: nn.Module, side: int = 256) -> int:
    """Multiply-adds of the convolutions for one image, as `segedu.count_multiply_adds`."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        copy.deepcopy(model).to("meta").eval()(torch.zeros(1, 1, side, side, device="meta"))
    return counter.get_total_flops() // 2


def hardware(fabric: Fabric) -> dict[str, str | int]:
    """What a result was made with."""
    return {
        "threads": torch.get_num_threads(),
        "processor": processor(),
        "device": torch.cuda.get_device_name() if fabric.device.type == "cuda" else "cpu",
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "monai", "segmentation-models-pytorch")},
    }


def processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def image_ids(root: Path) -> list[dict]:
    """Every image that is used, in the order of its number."""
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
    """Bring what was run into the tables; rows of other presets and runs stay."""
    for table, rows in (_collect(RUNS) | {"compare_image_ids": image_ids(root)}).items():
        path, key = RESULTS / f"{table}.csv", TABLES[table]
        known = read_table(path) if path.exists() else []
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
        for table, rows in json.loads(path.read_text()).items():
            tables.setdefault(table, []).extend(rows)
    return tables


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
