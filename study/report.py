"""The comparison's tables, computed from the rows of its runs and from nothing else.

    python -m study report

reads `compare_*.csv` in `study/results`, prints the tables, and writes `compare_table.csv` (one row
per arm: mean and standard deviation over the seeds) and `compare_differences.csv` (one row per pair
of arms, compared image by image).
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from segedu.files import read_rows, write_rows
from segedu.metrics import dice, iou

from .compare import ARMS, CLASSES, NETWORKS, PRESETS, RECIPES, RESULTS

# U-Net++ (arXiv 1807.10165), table 3, nuclei: to be compared with `two_class_iou`.
PAPER = {"unet": 0.9077, "unet-wide": 0.9092, "unetpp": 0.9263, "unetpp-ds": 0.9252}
LEVELS = [f"unetpp-ds-L{level}" for level in (1, 2, 3, 4)]
# Which arm is compared with which, and by which score of an image.
DIFFERENCES = [
    *((arm, "unet", "iou") for arm in ("unet-wide", "unetpp", "unetpp-ds")),
    *((arm, "unet-wide", "iou") for arm in ("unetpp", "unetpp-ds")),
    ("unetpp-ds", "unetpp", "iou"),
    *((arm, "unetpp-ds", "iou") for arm in ("unetpp-ds-first", "unetpp-ds-last", *LEVELS)),
    *(("unet", arm, "iou") for arm in ("monai-unet", "smp-unet", "otsu")),
    *(("unetpp", arm, "iou") for arm in ("monai-unetpp", "smp-unetpp")),
    *((arm, "unet", "iou") for arm in ("bce", "focal", "focal-alpha-balance")),
    *((arm, "bce", "iou") for arm in ("focal", "focal-gamma-1")),
    *((arm, "focal", "iou") for arm in ("focal-alpha-0.25", "focal-alpha-balance")),
    ("three-class-focal", "three-class", "iou"),
    *((arm, "unet", "average_precision") for arm in ("three-class", "three-class-focal")),
    ("synthetic", "otsu", "iou"),
    *(("unet", arm, "iou") for arm in ("synthetic", "real-32", "real-8")),
    ("unet-long", "unet", "iou"),
    *((f"real-{n}-long", "unet-long", "iou") for n in (8, 32)),
    *((f"pretrained-{n}", f"real-{n}", "iou") for n in (8, 32)),
    *((f"pretrained-{n}", f"real-{n}-long", "iou") for n in (8, 32)),
    *((f"pretrained-{n}", "unet-long", "iou") for n in (8, 32)),
]

MEASURES = (
    "iou_per_image",
    "iou_pooled",
    "dice_per_image",
    "two_class_iou",  # one class
    "three_class_iou",  # three classes
    "average_precision",
    "nuclei_counted",
    "count_error",  # nuclei per image
)


class Scores:
    """The test images' scores in one preset; images in the order of their numbers."""

    def __init__(self, preset: str, folder: Path = RESULTS):
        def rows(name: str) -> list[dict[str, str]]:
            table = read_rows(folder / f"{name}.csv")
            return [row for row in table if row.get("preset", preset) == preset]

        test = [row for row in rows("compare_image_ids") if row["split"] == "test"]
        self.groups = [row["group"] for row in test]
        self.nuclei = np.array([int(row["nuclei"]) for row in test])
        self.runs: dict[str, dict[int, dict]] = defaultdict(dict)  # by arm and seed
        for row in rows("compare_runs"):
            self.runs[row["arm"]][int(row["seed"])] = row
        images, self.counts = defaultdict(list), defaultdict(dict)  # by (arm, seed)
        for row in rows("compare_images"):
            cells = ("image", "tp", "fp", "fn", "objects", "average_precision")
            images[row["arm"], int(row["seed"])].append([float(row[name]) for name in cells])
        for row in rows("compare_counts"):
            counts = [int(row[name]) for name in ("tp", "fp", "fn", "tn")]
            self.counts[row["arm"], int(row["seed"])][row["of"]] = counts
        self.images = {key: np.array(sorted(table))[:, 1:] for key, table in images.items()}
        self.times = {row["arm"]: row for row in rows("times")}

    def of_images(self, arm: str, seed: int, measure: str) -> np.ndarray:
        """One score per image: "iou", "dice" or "average_precision"."""
        tp, fp, fn, _, precision = self.images[arm, seed].T
        if measure == "average_precision":
            return precision
        score = {"iou": iou, "dice": dice}[measure]
        counts = (count[:, None] for count in (tp, fp, fn))
        return score(*counts, average="none", absent=1.0)[:, 0].numpy()

    def of_run(self, arm: str, seed: int) -> dict[str, float]:
        """What one run reached on the test images."""
        tp, fp, fn, objects, precision = self.images[arm, seed].T
        pooled = (count[:, None] for count in (tp, fp, fn))
        counts = self.counts[arm, seed]
        scores = {
            "iou_per_image": self.of_images(arm, seed, "iou").mean(),
            "iou_pooled": iou(*pooled, average="set", absent="skip"),
            "dice_per_image": self.of_images(arm, seed, "dice").mean(),
            "average_precision": precision.mean(),
            "nuclei_counted": objects.sum(),
            "count_error": abs(objects - self.nuclei).mean(),
        }
        if "background" in counts:
            return scores | {"three_class_iou": _class_iou([counts[name] for name in CLASSES])}
        # As the U-Net++ authors' helper: both classes, all pixels together, thresholds 0.5 to 0.95.
        return scores | {
            "two_class_iou": np.mean([_class_iou([c, c[::-1]]) for c in counts.values()])
        }


def _class_iou(table: Sequence[Sequence[int]]) -> float:
    """Mean IoU over rows (tp, fp, fn, tn); a row reversed counts the other class of two."""
    tp, fp, fn, _ = np.transpose(table)
    return float((tp / (tp + fp + fn)).mean())


def bootstrap(
    values: np.ndarray, groups: Sequence[str], *, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """The 95 % bootstrap interval of a mean over images, resampling whole groups.

    Tiles of one field are not independent images, so a group is drawn with all its images.

    >>> bootstrap(np.array([1.0, 1.0, 1.0]), ["a", "a", "b"])
    (1.0, 1.0)
    """
    _, which = np.unique(groups, return_inverse=True)
    sums, sizes = np.bincount(which, values), np.bincount(which)
    drawn = np.random.default_rng(seed).integers(len(sums), size=(resamples, len(sums)))
    means = sums[drawn].sum(1) / sizes[drawn].sum(1)
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


def table(scores: Scores, preset: str) -> list[dict]:
    """One row per arm: mean and standard deviation over the seeds, and the costs."""
    reached = {key: scores.of_run(*key) for key in scores.images}
    rows = []
    for arm in sorted(scores.runs, key=_place):
        runs = scores.runs[arm]
        row = {"preset": preset, "arm": arm, "seeds": len(runs)}
        row["validation_iou"] = round(_validation(runs), 4)
        for name in MEASURES:
            values = [reached[arm, seed][name] for seed in runs if name in reached[arm, seed]]
            row[name] = round(float(np.mean(values)), 4) if values else None
            several = len(values) > 1
            row[f"{name}_sd"] = round(float(np.std(values, ddof=1)), 4) if several else None
        row["paper"] = PAPER.get(arm)
        for name in ("parameters", "multiply_adds", "steps"):
            row[name] = int(next(iter(runs.values()))[name])
        seconds = [float(run["train_cpu_seconds"]) for run in runs.values()]
        row["train_cpu_seconds"] = round(float(np.median(seconds)), 1)
        for name in ("step_ms", "inference_ms"):
            time = scores.times.get(arm, {}).get(name)  # the other arms share a network's times
            row[name] = float(time) if time else None
        rows.append(row)
    return rows


def _place(arm: str) -> tuple[int, str]:
    """The place of an arm in the tables: in the order of ARMS, levels after their network."""
    known = [*ARMS, *RECIPES]
    return known.index(arm if arm in known else arm.rpartition("-")[0]), arm


def best_recipe(scores: Scores) -> str | None:
    """The recipe with the highest IoU on the validation images, on average over its seeds."""
    found = [name for name in RECIPES if name in scores.runs]
    return max(found, key=lambda name: _validation(scores.runs[name]), default=None)


def _validation(runs: dict[int, dict]) -> float:
    return float(np.mean([float(run["validation_iou"]) for run in runs.values()]))


def differences(scores: Scores, preset: str) -> list[dict]:
    """One row per pair of arms: mean over images and common seeds, its interval, the verdict.

    "clear for these trainings" requires three seeds, an interval without 0, and the same sign with
    every seed. The interval holds these trainings fixed: other seeds may give another sign, which
    `study.intervals` takes into account.
    """
    pairs = DIFFERENCES
    if PRESETS[preset].seconds:  # the recipe that is best on validation against every network
        chosen = best_recipe(scores)
        pairs = [(chosen, network, "iou") for network in NETWORKS]
    rows = []
    for arm, other, measure in pairs:
        by_seed = []
        for seed in sorted(scores.runs.get(arm, {})):
            its = 0 if other == "otsu" else seed  # a threshold has no seed
            if its in scores.runs.get(other, {}):
                ours, theirs = (
                    scores.of_images(*run, measure) for run in ((arm, seed), (other, its))
                )
                by_seed.append(ours - theirs)
        if not by_seed:
            continue
        low, high = bootstrap(np.mean(by_seed, axis=0), scores.groups)
        means = np.mean(by_seed, axis=1)
        is_clear = low * high > 0 and means.min() * means.max() > 0
        verdict = "clear for these trainings" if is_clear else "not clear"
        values = {
            "difference": means.mean(),
            "low": low,
            "high": high,
            "lowest_seed": means.min(),
            "highest_seed": means.max(),
        }
        rows.append(
            {"preset": preset, "arm": arm, "other": other, "measure": measure}
            | {"seeds": len(means)}
            | {name: round(float(value), 4) for name, value in values.items()}
            | {"verdict": verdict if len(means) >= 3 else "too few seeds"}
        )
    return rows


def report(folder: Path = RESULTS) -> None:
    """Write the tables of every preset that was run, and print them."""
    every, against = [], []
    for preset in PRESETS:
        scores = Scores(preset, folder)
        if not scores.runs:
            continue
        rows, pairs = table(scores, preset), differences(scores, preset)
        every, against = every + rows, against + pairs
        print(f"\npreset {preset}: mean and standard deviation over the seeds\n")
        pixels = ("iou_per_image", "iou_pooled", "dice_per_image", "two_class_iou", "paper")
        costs = (
            "validation_iou",
            "parameters",
            "multiply_adds",
            "train_cpu_seconds",
            "step_ms",
            "inference_ms",
        )
        _print(rows, pixels, costs)
        for row in rows:
            if row["paper"]:
                gap = row["paper"] - row["two_class_iou"]
                print(f"{row['arm']}: {gap:+.4f} to the paper's number, unexplained")
        print(f"\nobjects, of {scores.nuclei.sum()} annotated nuclei\n")
        _print(rows, ("average_precision", "count_error", "three_class_iou"), ("nuclei_counted",))
        print(
            "\ndifferences of these trainings, with the 95 % interval of a paired bootstrap over "
            "tile groups; the seeds are not in it\n"
        )
        for pair in pairs:
            print(
                f"{pair['arm']:19} - {pair['other']:13} {pair['measure']:18}"
                f"{pair['difference']:+.4f} [{pair['low']:+.4f}, {pair['high']:+.4f}]  "
                f"{pair['seeds']} seeds  {pair['verdict']}"
            )
    for name, lines in (("table", every), ("differences", against)):
        if lines:
            write_rows(folder / f"compare_{name}.csv", lines)


def _print(rows: list[dict], scores: Sequence[str], costs: Sequence[str]) -> None:
    print(f"{'arm':19}{'seeds':>6}" + "".join(f"{name:>19}" for name in (*scores, *costs)))
    for row in rows:
        cells = [_cell(row[name], row.get(f"{name}_sd")) for name in scores]
        cells += ["" if row[name] is None else f"{row[name]:,}" for name in costs]
        print(f"{row['arm']:19}{row['seeds']:>6}" + "".join(f"{cell:>19}" for cell in cells))


def _cell(value: float | None, spread: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" + ("" if spread is None else f" +- {spread:.4f}")
