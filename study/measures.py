"""What is measured of a trained network on the test images, and the tables that follow from it.

`measure` gives the rows of one run: a row for each image, for each threshold, and for each bin of
the probabilities. All that the tables say is computed from these rows: `table` has the mean and
the standard deviation over the seeds, `differences` compares two arms image by image, with the
interval of `study.intervals`, in which seeds and fields are both drawn anew.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from segedu import to_mask
from segedu.data import NucleiDataset, three_class_to_instances
from segedu.evaluation import (
    THRESHOLDS,
    Reliability,
    calibration_error,
    reliability,
    threshold_counts,
)
from segedu.files import read_rows, write_rows
from segedu.metrics import (
    StatScores,
    average_precision,
    iou,
    precision,
    recall,
    stat_scores,
    surface_dice,
)
from segedu.objects import label_objects

from .compare import otsu
from .intervals import crossed_interval, holm

TOLERANCE = 1  # pixel, of the surface Dice
TABLES = ("images", "thresholds", "reliability")
Rows = list[dict]
Run = dict[str, Rows]  # by the name of the table
Runs = dict[tuple[str, int], Run]  # by arm and seed


def foreground(image: Tensor) -> Tensor:
    """The constant answer that every pixel belongs to a nucleus."""
    return torch.ones_like(image)


# Answers of no network: they have one run, with which every seed of a network is compared.
BASELINES = {"otsu": otsu, "foreground": foreground}


def measure(
    answer: Callable[[Tensor], Tensor],
    test_set: NucleiDataset,
    *,
    classes: int,
    threshold: float = 0.5,
) -> Run:
    """Measure one trained network on the test images.

    Parameters
    ----------
    answer : from an image (1, 1, H, W) to its probabilities (1, classes, H, W).
    classes : 1, or 3 for background, interior and boundary.
    threshold : what the validation images chose; for three classes the most probable one counts.

    Returns three tables. With three classes, "thresholds" is empty.

    - "images": tp, fp and fn of the foreground, the same at a threshold of 0.5 ("half"), and the
      surface Dice; the number of objects and their average precision, once for the connected
      regions (of three classes: of the interior, grown), once for regions that are also cut at
      their waists ("split"); and the IoU at the best threshold for this image, which nobody knows.
    - "thresholds": at each the counts of all images together, and the mean IoU over the images.
    - "reliability": of each bin the pixels, the sum of their probabilities, how many are right.
    """
    images, every, tables = [], [], []
    for number, (image, mask) in enumerate(test_set):
        probabilities, truth = answer(image[None]).cpu(), (mask > 0).long()
        preds = to_mask(probabilities, threshold)
        foreground, half = (preds > 0).long(), (to_mask(probabilities) > 0).long()
        row = {"image": number}
        for suffix, found in (("", foreground), ("_half", half)):
            counts = stat_scores(found, truth[None], num_classes=1)
            row |= {f"{name}{suffix}": int(getattr(counts, name)) for name in ("tp", "fp", "fn")}
        distance = surface_dice(
            foreground, truth[None], num_classes=1, tolerance=TOLERANCE, average="image", absent=1.0
        )
        row["surface_dice"] = round(distance, 4)
        region, nuclei = foreground[0].numpy(), test_set.instances(number)
        whole = label_objects(region)
        if classes > 1:
            whole = three_class_to_instances(preds[0].numpy())
        for suffix, objects in (("", whole), ("_split", label_objects(region, split=True))):
            row[f"objects{suffix}"] = len(np.unique(objects[objects > 0]))
            ap = average_precision(objects, nuclei).mean
            row[f"average_precision{suffix}"] = round(ap, 4)
        images.append(row)
        tables.append(reliability(probabilities, mask))
        row["best_iou"] = None
        if classes == 1:
            counts = threshold_counts(probabilities, mask)
            best = iou(*counts, average="none", absent=1.0).max().item()
            row["best_iou"] = round(best, 4)
            every.append(torch.stack(counts))
    pooled = Reliability(*map(sum, zip(*tables, strict=True)))
    return {
        "images": images,
        "thresholds": _threshold_rows(torch.stack(every)) if every else [],
        "reliability": [
            {"bin": k, "pixels": int(n), "probability": round(float(p), 3), "right": int(right)}
            for k, (n, p, right) in enumerate(zip(*pooled, strict=True))
        ],
    }


def _threshold_rows(every: Tensor) -> Rows:
    """From the counts of every image, (N, 4, thresholds, 1), a row for each threshold."""
    rows = []
    for k, threshold in enumerate(THRESHOLDS):
        counts = StatScores(*every[:, :, k].unbind(1))  # each (N, 1)
        mean = iou(*counts, average="image", absent=1.0)
        sums = {name: int(count.sum()) for name, count in counts._asdict().items()}
        rows.append({"threshold": threshold, "iou_per_image": round(mean, 4)} | sums)
    return rows


# A score of an image: its formula, the counts that it takes, and what 0 / 0 is.
FORMULAS = {
    "iou": (iou, "", 1.0),
    "iou_half": (iou, "_half", 1.0),
    "precision": (precision, "", "skip"),
    "recall": (recall, "", "skip"),
}
COLUMNS = ("surface_dice", "average_precision", "average_precision_split", "best_iou")
ORACLES = ("best_iou", "best_threshold_iou")  # with thresholds that the test images chose


def image_scores(rows: Rows, name: str) -> np.ndarray:
    """One score for each image of a run: one of FORMULAS or of COLUMNS; NaN if undefined."""
    rows = sorted(rows, key=lambda row: int(row["image"]))
    if name in COLUMNS:
        return np.array(
            [float(row[name]) if row[name] not in (None, "") else np.nan for row in rows]
        )
    formula, suffix, absent = FORMULAS[name]
    counts = (
        torch.tensor([[int(row[f"{count}{suffix}"])] for row in rows])
        for count in ("tp", "fp", "fn")
    )
    return formula(*counts, average="none", absent=absent)[:, 0].numpy()


def run_scores(run: Run) -> dict[str, float]:
    """What one run reached: means over the images, and its calibration error.

    Those of ORACLES are no results: "best_iou" takes the best threshold of each image, and
    "best_threshold_iou" the one that is best on all.
    """
    scores = {name: _mean(image_scores(run["images"], name)) for name in (*FORMULAS, *COLUMNS)}
    bins = (
        torch.tensor([float(row[name]) for row in run["reliability"]])
        for name in Reliability._fields
    )
    best = max((float(row["iou_per_image"]) for row in run["thresholds"]), default=np.nan)
    return (
        scores
        | {
            "best_threshold_iou": best,
            "calibration_error": calibration_error(Reliability(*bins)),
        }
        | {
            name: float(sum(int(row[name]) for row in run["images"]))
            for name in ("objects", "objects_split")
        }
    )


def table(runs: Runs) -> Rows:
    """A row for each arm: the number of seeds, and the mean and SD over them of every score."""
    by_arm = defaultdict(list)
    for (arm, _), run in runs.items():
        by_arm[arm].append(run_scores(run))
    rows = []
    for arm, found in by_arm.items():
        row = {"arm": arm, "seeds": len(found)}
        for name in found[0]:
            values = np.array([scores[name] for scores in found])
            row[name] = _cell(values.mean())
            row[f"{name}_sd"] = _cell(values.std(ddof=1)) if len(values) > 1 else None
        rows.append(row)
    return rows


def differences(
    runs: Runs, fields: Sequence[str], families: dict[str, Sequence[tuple[str, str, str]]]
) -> Rows:
    """A row for each pair of arms with two common seeds or more.

    Parameters
    ----------
    runs : by arm and seed.
    fields : the field of each test image.
    families : by name, triples of an arm, the arm that it is compared with, and a score of images.

    `adjusted` is the p-value after Holm's correction for all pairs of its family, and "separated"
    are those below 0.05; the interval itself is not corrected.
    """
    rows = []
    for family, pairs in families.items():
        found = []
        for arm, other, name in pairs:
            table = paired(runs, arm, other, name)
            if len(table) >= 2:
                found.append((arm, other, name, len(table), crossed_interval(table, fields)))
        adjusted = holm([interval.p_value for *_, interval in found])
        for (arm, other, name, seeds, interval), p_value in zip(found, adjusted, strict=True):
            values = interval._asdict() | {"adjusted": p_value}
            rows.append(
                {"family": family, "arm": arm, "other": other, "measure": name, "seeds": seeds}
                | {key: float(f"{value:.3g}") for key, value in values.items()}
                | {"verdict": "separated" if p_value < 0.05 else "not separated from noise"}
            )
    return rows


def paired(runs: Runs, arm: str, other: str, name: str) -> np.ndarray:
    """The differences of the scores of two arms, (common seeds, images)."""
    ours, theirs = (
        {seed: run["images"] for (key, seed), run in runs.items() if key == one}
        for one in (arm, other)
    )
    if other in BASELINES:
        theirs = dict.fromkeys(ours, *theirs.values())
    common = sorted(ours.keys() & theirs.keys())
    return np.array(
        [image_scores(ours[seed], name) - image_scores(theirs[seed], name) for seed in common]
    )


def write_runs(folder: Path, runs: Runs) -> None:
    """Write the rows of all runs as three tables, `long_images.csv` and so on."""
    for name in TABLES:
        rows = [
            {"arm": arm, "seed": seed} | row
            for (arm, seed), run in runs.items()
            for row in run[name]
        ]
        write_rows(folder / f"long_{name}.csv", rows)


def read_runs(folder: Path) -> Runs:
    """The rows that `write_runs` wrote."""
    runs = {}
    for name in TABLES:
        for row in read_rows(folder / f"long_{name}.csv"):
            key = row.pop("arm"), int(row.pop("seed"))
            runs.setdefault(key, {name: [] for name in TABLES})[name].append(row)
    return runs


def fields_of_test(folder: Path) -> list[str]:
    """The field of each test image."""
    rows = read_rows(folder / "compare_image_ids.csv")
    return [row["group"] for row in rows if row["split"] == "test"]


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def _cell(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)
