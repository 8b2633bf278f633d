"""What `segedu train` and `segedu evaluate` print about a network, and write of each picture."""

import math
from pathlib import Path
from typing import NamedTuple

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.utils.data import Subset

from ..data import CachedDataset, FolderDataset, NucleiDataset
from ..evaluation import (
    Reliability,
    calibration_error,
    concatenate,
    constant_counts,
    dataset_iou,
    learn_baselines,
    reliability,
)
from ..files import write_rows
from ..inference import predict, to_mask
from ..metrics import StatScores, dice, iou, precision, recall, stat_scores, surface_dice
from ..models import NodeGrid
from . import showable

LEARNT_FROM = 100  # training images from which the answers without a network are learnt
TOLERANCE = 1  # pixel, of the surface Dice
RATIOS = (iou, dice, precision, recall)


class Measured(NamedTuple):
    """What one pass over a data set finds."""

    counts: StatScores  # of the network
    before: StatScores  # at the threshold that it had before it was calibrated
    baselines: dict[str, StatScores]  # of the answers without one
    surface: Tensor  # (images, num_classes), NaN where there is no outline
    table: Reliability


def print_report(
    model: NodeGrid,
    dataset,
    split: str,
    fabric: Fabric,
    ignore_index: int | None,
    train_set,
    out: Path,
    before: float | None = None,
) -> None:
    """Print what the network gets right on a data set, beside the best answer without a network.

    The answers without a network learn from `train_set`; the numbers of each picture go to `out`, a
    CSV file. What is not defined, such as the recall of a class that no mask has, is "-" in print
    and empty in the file. If the threshold was calibrated, `before` is what it was.
    """
    found = _measure(model, dataset, fabric, ignore_index, train_set, before)
    names, pictures = class_names(model), picture_names(dataset)
    score = _score(found.counts)
    kind = "IoU per image" if model.num_classes == 1 else "IoU over the classes"
    print(f"{len(dataset)} {split} images: mean {kind} {_number(score)}")
    if before is not None:
        own = _score(found.before)
        print(f"not calibrated, at threshold {before}: {_number(own)}, so {score - own:+.3f}")
    print(_per_class(found.counts, names))
    surface = found.surface.nanmean(1).nanmean().item()
    print(f"surface Dice per image, tolerance {TOLERANCE} pixel: {_number(surface)}")
    print(_calibration(found.table, model.num_classes))
    print(f"lowest IoU: {_worst(found.counts, pictures)}")
    scores = {name: _score(counts) for name, counts in found.baselines.items()}
    if defined := {name: value for name, value in scores.items() if not math.isnan(value)}:
        best = max(defined, key=defined.get)
        print(f"without a network: {best} {defined[best]:.3f}, so {score - defined[best]:+.3f}")
    write_rows(out, _rows(found.counts, names, pictures))
    print(f"each picture: {out}")


def class_names(model: NodeGrid) -> tuple[str, ...]:
    """What the classes of a network are called, whether or not it says so."""
    if model.class_names or model.num_classes == 1:
        return model.class_names or ("foreground",)
    return tuple(f"class {k}" for k in range(model.num_classes))


def _measure(
    model: NodeGrid,
    dataset,
    fabric: Fabric,
    ignore_index: int | None,
    train_set,
    before: float | None,
) -> Measured:
    options = {"num_classes": model.num_classes, "ignore_index": ignore_index}
    step = math.ceil(len(train_set) / LEARNT_FROM)
    segmenters = learn_baselines(Subset(train_set, range(0, len(train_set), step)), **options)
    before = model.threshold if before is None else before
    counts, earlier, surface, tables = [], [], [], []
    others = {name: [] for name in segmenters}
    model = model.to(fabric.device)
    for image, mask in dataset:
        with fabric.autocast():
            probabilities = predict(model, image[None]).cpu()
        answer, target = to_mask(probabilities, model.threshold), mask[None]
        counts.append(stat_scores(answer, target, **options))
        earlier.append(stat_scores(to_mask(probabilities, before), target, **options))
        surface.append(
            surface_dice(
                answer, target, tolerance=TOLERANCE, average="none", absent="skip", **options
            )
        )
        tables.append(reliability(probabilities, mask, ignore_index))
        for name, segment in segmenters.items():
            others[name].append(stat_scores(segment(image[None]), target, **options))
    counts = concatenate(counts)
    names = class_names(model) if model.num_classes > 1 else ("background", "foreground")
    baselines = {f"{name} everywhere": constant_counts(counts, k) for k, name in enumerate(names)}
    baselines |= {name: concatenate(rows) for name, rows in others.items()}
    table = Reliability(*map(sum, zip(*tables, strict=True)))
    return Measured(counts, concatenate(earlier), baselines, torch.cat(surface), table)


def picture_names(dataset) -> list[str]:
    """The file of each picture of a folder, the identifier of real nuclei, or a number."""
    if isinstance(dataset, CachedDataset):
        dataset = dataset.dataset
    if isinstance(dataset, FolderDataset):
        return [showable(path.name) for path, _ in dataset.pairs]
    if isinstance(dataset, NucleiDataset):
        return dataset.image_ids
    return [str(index) for index in range(len(dataset))]


def _is_judged(counts: StatScores) -> Tensor:
    """Which images have any pixel that is not ignored."""
    return sum(counts).sum(1) > 0


def _score(counts: StatScores) -> float:
    """`dataset_iou` of the images with any pixel to judge; NaN if there is none."""
    judged = _is_judged(counts)
    return dataset_iou(StatScores(*(c[judged] for c in counts))) if judged.any() else math.nan


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _per_class(counts: StatScores, names: tuple[str, ...]) -> str:
    """A table of each class over all pixels; "-" where there is nothing to divide by."""
    totals = [count.sum(0, keepdim=True) for count in counts]
    tp, fp, fn, tn = (total[0] for total in totals)
    columns = {
        "of truth": (tp + fn) / (tp + fp + fn + tn),
        "of answer": (tp + fp) / (tp + fp + fn + tn),
    }
    for function in RATIOS:
        columns[function.__name__] = function(*totals, average="none", absent="skip")[0]
    width = max(map(len, names))
    lines = [f"  {'':{width}}" + "".join(f"{name:>11}" for name in columns)]
    for name, *numbers in zip(
        names, *(column.tolist() for column in columns.values()), strict=True
    ):
        lines.append(f"  {name:{width}}" + "".join(f"{_number(n):>11}" for n in numbers))
    return "\n".join(lines)


def _calibration(table: Reliability, num_classes: int) -> str:
    """The calibration error, and what came of the highest probabilities that were given."""
    line = f"calibration error: {_number(calibration_error(table))}"
    if not table.pixels.any():
        return line
    bins = len(table.pixels)
    top = int(table.pixels.nonzero().max())
    share = table.right[top] / table.pixels[top]
    what = "object" if num_classes == 1 else "of the most probable class"
    return (
        f"{line}; of the pixels with a probability of {top / bins:.2f} to {(top + 1) / bins:.2f}, "
        f"{share:.1%} are {what}"
    )


def _worst(counts: StatScores, pictures: list[str]) -> str:
    """The three images of the lowest IoU (of several classes, the mean over those it has)."""
    absent = 1.0 if counts.tp.shape[1] == 1 else "skip"
    table = iou(*counts, average="none", absent=absent).nanmean(1)
    judged = _is_judged(counts).nonzero().flatten().tolist()
    worst = sorted(judged, key=lambda index: table[index])[:3]
    return ", ".join(f"{pictures[index]} {table[index]:.3f}" for index in worst) or "-"


def _rows(counts: StatScores, names: tuple[str, ...], pictures: list[str]) -> list[dict]:
    """The numbers of each class in each image."""
    tables = {f.__name__: f(*counts, average="none", absent="skip") for f in RATIOS}
    rows = []
    for n, picture in enumerate(pictures):
        for k, name in enumerate(names):
            ratios = {key: table[n, k].item() for key, table in tables.items()}
            rows.append(
                {"picture": picture, "class": name}
                | {key: None if math.isnan(x) else round(x, 6) for key, x in ratios.items()}
                | {"pixels_of_truth": int(counts.tp[n, k] + counts.fn[n, k])}
                | {"pixels_of_answer": int(counts.tp[n, k] + counts.fp[n, k])}
            )
    return rows
