"""The comparison's tables, computed from the rows of its runs and of nothing else.

    python -m study report

reads `compare_*.csv` in `study/results`, prints the tables, and writes `compare_table.csv` (a row
an arm: mean and spread over the seeds) and `compare_differences.csv` (arm against arm, paired by
image).
"""

import itertools
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from segedu.metrics import dice, iou
from segedu.plotting import COLOURS
from segedu.training import write_rows

from .compare import ARMS, CLASSES, PRESETS, RESULTS, read_table

# U-Net++ (arXiv 1807.10165), table 3, nuclei: to be compared with `two_class_iou`.
PAPER = {"unet": 0.9077, "unet-wide": 0.9092, "unetpp": 0.9263, "unetpp-ds": 0.9252}
LEVELS = [f"unetpp-ds-L{level}" for level in (1, 2, 3, 4)]
# Which arm is set against which, and by which of an image's scores.
DIFFERENCES = [
    *((arm, "unet", "iou") for arm in ("unet-wide", "unetpp", "unetpp-ds")),
    ("unetpp", "unet-wide", "iou"),
    ("unetpp-ds", "unet-wide", "iou"),
    ("unetpp-ds", "unetpp", "iou"),
    *((arm, "unetpp-ds", "iou") for arm in ("unetpp-ds-first", "unetpp-ds-last", *LEVELS)),
    *(("unet", arm, "iou") for arm in ("monai-unet", "smp-unet", "otsu")),
    *(("unetpp", arm, "iou") for arm in ("monai-unetpp", "smp-unetpp")),
    ("bce", "unet", "iou"),
    ("focal", "bce", "iou"),
    *((arm, "focal", "iou") for arm in ("focal-alpha-0.25", "focal-alpha-balance")),
    ("focal-gamma-1", "focal", "iou"),
    ("three-class-focal", "three-class", "iou"),
    *((arm, "unet", "average_precision") for arm in ("three-class", "three-class-focal")),
    ("synthetic", "otsu", "iou"),
    *(("unet", arm, "iou") for arm in ("synthetic", "real-8", "real-32")),
    *((f"pretrained-{n}", f"real-{n}", "iou") for n in (8, 32)),
]
IMAGE = ("tp", "fp", "fn", "objects", "average_precision")


class Scores:
    """Each image's scores in one preset, by arm and seed; images in the order of their numbers."""

    def __init__(self, preset: str, folder: Path = RESULTS):
        ids = [
            row for row in read_table(folder / "compare_image_ids.csv") if row["split"] == "test"
        ]
        self.groups = [row["group"] for row in ids]
        self.nuclei = np.array([int(row["nuclei"]) for row in ids])
        self.runs, columns, self.counts = defaultdict(dict), defaultdict(list), defaultdict(dict)
        for row in _rows(folder / "compare_runs.csv", preset):
            self.runs[row["arm"]][int(row["seed"])] = row
        for row in _rows(folder / "compare_images.csv", preset):
            numbers = [
                float(row[name]) for name in ("tp", "fp", "fn", "objects", "average_precision")
            ]
            columns[row["arm"], int(row["seed"])].append((int(row["image"]), *numbers))
        for row in _rows(folder / "compare_counts.csv", preset):
            counts = np.array([float(row[name]) for name in ("tp", "fp", "fn", "tn")])
            self.counts[row["arm"], int(row["seed"])][row["of"]] = counts
        self.images = {key: np.array(sorted(rows))[:, 1:] for key, rows in columns.items()}

    def of_images(self, arm: str, seed: int, measure: str) -> np.ndarray:
        """One score an image: "iou", "dice" or "average_precision"."""
        tp, fp, fn, _, ap = self.images[arm, seed].T
        if measure == "average_precision":
            return ap
        score = {"iou": iou, "dice": dice}[measure]
        return score(tp[:, None], fp[:, None], fn[:, None], pooling="none", absent=1.0)[
            :, 0
        ].numpy()

    def of_run(self, arm: str, seed: int) -> dict[str, float]:
        """What one run reached on the test images."""
        tp, fp, fn, objects, ap = self.images[arm, seed].T
        counts = self.counts[arm, seed]
        scores = {
            "iou_per_image": self.of_images(arm, seed, "iou").mean(),
            "iou_pooled": iou(*(x[:, None] for x in (tp, fp, fn)), pooling="set", absent="skip"),
            "dice_per_image": self.of_images(arm, seed, "dice").mean(),
            "average_precision": ap.mean(),
            "nuclei_counted": objects.sum(),
            "count_error": abs(objects - self.nuclei).mean(),  # nuclei an image
        }
        if "background" in counts:
            table = np.array([counts[name] for name in CLASSES])
            return scores | {"three_class_iou": _class_iou(table)}
        # As the U-Net++ authors' helper: both classes, all pixels together, thresholds 0.5 to 0.95.
        both = [_class_iou(np.array([four, four[::-1]])) for four in counts.values()]
        return scores | {"two_class_iou": np.mean(both)}


def _rows(path: Path, preset: str) -> list[dict[str, str]]:
    return [row for row in read_table(path) if row["preset"] == preset]


def _class_iou(table: np.ndarray) -> float:
    """Mean IoU over the rows (tp, fp, fn, tn); a row reversed is that of the other class."""
    tp, fp, fn, _ = table.T
    return float((tp / (tp + fp + fn)).mean())


def bootstrap(
    differences: np.ndarray, groups: Sequence[str], *, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """The 95 % interval of a mean over images, with whole groups drawn anew.

    Tiles of one field are no independent images, so a group is drawn with all its images.

    >>> bootstrap(np.array([1.0, 1.0, 1.0]), ["a", "a", "b"])
    (1.0, 1.0)
    """
    _, which = np.unique(groups, return_inverse=True)
    sums, sizes = np.bincount(which, differences), np.bincount(which)
    drawn = np.random.default_rng(seed).integers(len(sums), size=(resamples, len(sums)))
    means = sums[drawn].sum(1) / sizes[drawn].sum(1)
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


def table(scores: Scores, preset: str) -> list[dict]:
    """A row an arm: mean and standard deviation over the seeds, and what it costs."""
    names = list(dict.fromkeys(name for key in scores.images for name in scores.of_run(*key)))
    rows = []
    for arm, runs in scores.runs.items():
        reached = [scores.of_run(arm, seed) for seed in runs]
        row = {"preset": preset, "arm": arm, "seeds": len(runs)}
        for name in names:
            values = [one[name] for one in reached if name in one]
            row[name] = round(float(np.mean(values)), 4) if values else None
            spread = len(values) > 1
            row[f"{name}_sd"] = round(float(np.std(values, ddof=1)), 4) if spread else None
        row["paper"] = PAPER.get(arm)
        for name in ("parameters", "multiply_adds", "steps"):
            row[name] = int(float(next(iter(runs.values()))[name]))
        for name in ("train_seconds", "train_cpu_seconds", "inference_ms"):
            row[name] = round(float(np.median([float(run[name]) for run in runs.values()])), 1)
        rows.append(row)
    return rows


def differences(scores: Scores, preset: str) -> list[dict]:
    """A row a pair: the mean over images and common seeds, its interval, and what that says.

    "separated" takes an interval without 0 and the same sign with every seed.
    """
    rows = []
    for arm, other, measure in DIFFERENCES:
        # Otsu's threshold has one run, which stands against every seed.
        seeds = (
            scores.runs[arm] if other == "otsu" else scores.runs[arm].keys() & scores.runs[other]
        )
        if not seeds or not scores.runs[other]:
            continue
        by_seed = np.array(
            [
                scores.of_images(arm, seed, measure)
                - scores.of_images(other, 0 if other == "otsu" else seed, measure)
                for seed in sorted(seeds)
            ]
        )
        low, high = bootstrap(by_seed.mean(0), scores.groups)
        means = by_seed.mean(1)
        agree = abs(np.sign(means).sum()) == len(means)
        rows.append(
            {
                "preset": preset,
                "arm": arm,
                "other": other,
                "measure": measure,
                "seeds": len(by_seed),
                "difference": round(float(means.mean()), 4),
                "low": round(low, 4),
                "high": round(high, 4),
                "lowest_seed": round(float(means.min()), 4),
                "highest_seed": round(float(means.max()), 4),
                "verdict": "separated" if low * high > 0 and agree else "not separated from noise",
            }
        )
    return rows


def images_worth(rows: list[dict]) -> dict[str, float]:
    """How many real images reach, without synthetic pre-training, what "pretrained-N" reaches.

    Interpolated in the logarithm of the number; never more than all of them.
    """
    by_arm = {row["arm"]: row["iou_per_image"] for row in rows}
    curve = {8: "real-8", 32: "real-32", 261: "unet"}
    if not {*curve.values()} <= by_arm.keys():
        return {}
    reached = np.maximum.accumulate([by_arm[arm] for arm in curve.values()])
    return {
        arm: float(np.exp(np.interp(by_arm[arm], reached, np.log(list(curve)))))
        for arm in by_arm
        if arm.startswith("pretrained-") or arm == "synthetic"
    }


def plot_quality(rows: list[dict], *, ax: Axes | None = None) -> Axes:
    """IoU per image against the time of one image, from rows of `table`; L1 to L4 are joined."""
    if ax is None:
        _, ax = plt.subplots(figsize=(7, 4.5))
    by_arm = {row["arm"]: row for row in rows}
    networks = [
        arm for arm, spec in ARMS.items() if list(ARMS).index(arm) <= list(ARMS).index("otsu")
    ]
    for names, style, colour in (
        ([arm for arm in networks if arm in by_arm], "o", "blue"),
        ([arm for arm in LEVELS if arm in by_arm], "s-", "orange"),
    ):
        x, y, spread = (
            [float(by_arm[arm][name] or 0) for arm in names]
            for name in ("inference_ms", "iou_per_image", "iou_per_image_sd")
        )
        ax.errorbar(x, y, spread, fmt=style, color=COLOURS[colour], capsize=3)
        for arm, place in zip(names, zip(x, y, strict=True), strict=True):
            text = arm.removeprefix("unetpp-ds-") if style == "s-" else arm
            ax.annotate(text, place, xytext=(5, 5), textcoords="offset points")
    ax.set(xlabel="milliseconds for an image of 256 x 256", ylabel="IoU per image", xscale="log")
    return ax


def report() -> None:
    """Write and print the tables of every preset that was run."""
    every, against = [], []
    for preset in PRESETS:
        if not _rows(RESULTS / "compare_runs.csv", preset):
            continue
        scores = Scores(preset)
        rows, pairs = table(scores, preset), differences(scores, preset)
        every, against = every + rows, against + pairs
        print(f"\npreset {preset}: mean and standard deviation over the seeds\n")
        _print(
            rows,
            ("iou_per_image", "iou_pooled", "dice_per_image", "two_class_iou", "paper"),
            ("parameters", "multiply_adds", "train_cpu_seconds", "inference_ms"),
        )
        print(f"\nobjects; {scores.nuclei.sum()} nuclei are annotated\n")
        _print(rows, ("average_precision", "count_error", "three_class_iou"), ("nuclei_counted",))
        print("\ndifferences, with the 95 % interval of a paired bootstrap over tile groups\n")
        for pair in pairs:
            print(
                f"{pair['arm']:20} - {pair['other']:14} {pair['measure']:18}"
                f"{pair['difference']:+.4f} [{pair['low']:+.4f}, {pair['high']:+.4f}]"
                f" {pair['seeds']} seeds  {pair['verdict']}"
            )
        for arm, number in images_worth(rows).items():
            print(f"{arm}: reached by {number:.0f} real images without pre-training")
    write_rows(RESULTS / "compare_table.csv", every)
    write_rows(RESULTS / "compare_differences.csv", against)


def _print(rows: list[dict], scores: Sequence[str], costs: Sequence[str]) -> None:
    print(f"{'arm':20}{'seeds':>6}" + "".join(f"{name:>19}" for name in (*scores, *costs)))
    for row in rows:
        cells = [_cell(row[name], row.get(f"{name}_sd")) for name in scores if name in row]
        cells += [f"{row[name]:,}" for name in costs]
        print(f"{row['arm']:20}{row['seeds']:>6}" + "".join(f"{cell:>19}" for cell in cells))


def _cell(value: float | None, spread: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" + (f" +- {spread:.4f}" if spread is not None else "")
