"""The page about the long study: its tables, from the files that `study.long_report` writes.

    python -m study page

computes nothing that is not in `study/results`, needs no data, and writes `docs/study.md`.
"""

from collections.abc import Iterable
from itertools import chain, groupby, product
from pathlib import Path

from segedu.files import read_rows

from .compare import RESULTS
from .long import EQUAL_TIME, FOUR_TIMES, LONGER, TWICE, long_times
from .pages import DOCS, markdown_table, write_part

PAGE = DOCS / "study.md"
NAMES = {
    "unet": "U-Net",
    **{f"unet-depth-{depth}": f"U-Net of depth {depth}" for depth in (1, 2, 3)},
    "unet-wide": "wide U-Net",
    "unet-default": "U-Net of 16 to 256 channels",
    "unetpp": "U-Net++",
    "unetpp-ds": "U-Net++ DS",
    **{f"unetpp-ds-L{level}": f"U-Net++ DS, head L{level}" for level in (1, 2, 3, 4)},
    "residual": "Residual U-Net",
    "attention": "Attention U-Net",
    "attention-pp": "Attention U-Net++",
    "unet3plus": "UNet 3+",
    "half": "half resolution, 32 bits",
    "half-bf16": "half resolution, 16 bits",
    "monai-unet": "MONAI's U-Net",
    "monai-unetpp": "MONAI's U-Net++",
    "smp-unet": "smp's U-Net, ResNet-18",
    "smp-unetpp": "smp's U-Net++, ResNet-18",
    "bce": "U-Net, BCE alone",
    "dice": "U-Net, Dice alone",
    "focal": "U-Net, focal, gamma 2",
    "focal-alpha-0.25": "U-Net, focal, gamma 2, alpha 0.25",
    "focal-alpha-balance": "U-Net, focal, gamma 2, alpha balanced",
    "three-class": "U-Net, three classes, cross-entropy",
    "three-class-focal": "U-Net, three classes, focal",
    "otsu": "Otsu's threshold",
    "foreground": "all foreground",
}
NETWORKS = [*NAMES][: [*NAMES].index("bce")]
FIXED = "\N{NO-BREAK SPACE}"  # a narrow column breaks before "to", and not in "< 0.001"
SCORES = {"iou": "IoU", "average_precision_split": "AP, split"}
TRAINED = {  # by how the name of an arm ends
    EQUAL_TIME: "in the U-Net's time",
    TWICE: "twice the steps",
    FOUR_TIMES: "four times the steps",
}
FAMILIES = {
    "networks": "Networks",
    "depths": "Depths, and heads of the U-Net++",
    "levels": "Heads of the U-Net++, and their mean",
    "losses": "Losses",
    "libraries": "Networks of other libraries",
    "baselines": "Without training",
    "equal time": "In equal time",
    "more steps": "More steps",
    "longer trainings": "Longer trainings of equal length",
}


def tables(folder: Path = RESULTS) -> dict[str, str]:
    """The text of each part of the page, by its name."""
    rows = {row["arm"]: row for row in read_rows(folder / "long_table.csv")}
    pairs = read_rows(folder / "long_differences.csv")
    times = long_times(folder)
    runs = read_rows(folder / "long_runs.csv")
    return {
        "networks": _networks(rows, times),
        "differences": _differences(pairs),
        "scores": _scores(
            rows,
            NAMES,
            {
                "iou": "IoU",
                "iou_half": "at 0.5",
                "best_threshold_iou": "at best",
                "precision": "precision",
                "recall": "recall",
                "calibration_error": "ECE",
                "surface_dice": "surface Dice",
            },
        ),
        "objects": _scores(
            rows,
            NAMES,
            {
                "average_precision": "AP, regions",
                "average_precision_split": "AP, split",
                "objects": "regions",
                "objects_split": "split",
            },
        ),
        "limits": _limits(read_rows(folder / "limits.csv")),
        "conditions": _conditions(runs),
        "lengths": _lengths(rows, runs),
    }


def label(arm: str) -> str:
    """What an arm is called in the page."""
    for suffix, trained in TRAINED.items():
        if arm.endswith(suffix):
            return f"{NAMES[arm.removesuffix(suffix)]}, {trained}"
    return NAMES[arm]


def _networks(rows: dict, times: dict) -> str:
    lines = []
    for arm in [*NETWORKS, "otsu", "foreground"]:
        if arm not in rows:
            continue
        row, time = rows[arm], times.get(arm, {})
        lines.append(
            [
                label(arm),
                _spread(row, "iou"),
                f"{int(row['parameters']) / 1e6:.2f} M" if int(row["parameters"]) else "",
                _rounded(time.get("inference_ms")),
                _rounded(time.get("step_ms")),
            ]
        )
    head = ["network", "IoU", "parameters", "image, ms", "step, ms"]
    return markdown_table(head, lines, "lrrrr") + "\n"


def _differences(pairs: list[dict]) -> str:
    """For each family a table: a row for each pair, with both scores side by side."""
    head = ["difference"]
    for score in SCORES.values():
        head += [score, "95 % interval", "p"]
    parts = []
    for family, own in groupby(pairs, key=lambda pair: pair["family"]):
        rows = {}
        for pair in own:
            name = f"{label(pair['arm'])} − {label(pair['other'])}"
            rows.setdefault(name, {})[pair["measure"]] = _difference(pair)
        lines = [[name, *chain.from_iterable(row[s] for s in SCORES)] for name, row in rows.items()]
        table = markdown_table(head, lines, "lrrrrrr")
        number = len(lines) * len(SCORES)
        parts.append(f"**{FAMILIES[family]}**: {number} comparisons.\n\n{table}\n")
    return "\n".join(parts)


def _difference(pair: dict) -> list[str]:
    p_value = float(pair["adjusted"])
    p_value = f"{p_value:.3f}" if p_value >= 0.0005 else f"<{FIXED}0.001"
    return [
        f"{float(pair['mean']):+.4f}",
        f"{float(pair['low']):+.4f} to{FIXED}{float(pair['high']):+.4f}",
        f"**{p_value}**" if pair["verdict"] == "separated" else p_value,
    ]


def _scores(rows: dict, arms: Iterable[str], columns: dict[str, str]) -> str:
    lines = [
        [label(arm)] + [_spread(rows[arm], column) for column in columns]
        for arm in arms
        if arm in rows
    ]
    return (
        markdown_table(["network or loss", *columns.values()], lines, "l" + "r" * len(columns))
        + "\n"
    )


def _limits(rows: list[dict]) -> str:
    lines = []
    for row in rows:
        if row["of"] in ("annotation", "unetpp-nuclei"):
            value, low, high = (f"{float(row[key]):.3f}" for key in ("value", "low", "high"))
            lines.append([row["quantity"], value, f"{low} to {high}"])
    return markdown_table(["quantity", "value", "95 % interval, fields"], lines, "lrr") + "\n"


def _conditions(runs: list[dict]) -> str:
    hours = sum(float(row["train_cpu_seconds"]) for row in _trained(runs)) / 3600
    first = runs[0]
    flat = [row["flat"] == "True" for row in _trained(runs)]
    processors = " or ".join(dict.fromkeys(row["processor"] for row in runs))
    return (
        f"{len(flat)} trainings, {hours:.1f} hours of processor time for their steps alone (they "
        f"were also validated and measured), one thread each, on "
        f"{processors}; Python {first['python']}, torch {first['torch']}, MONAI "
        f"{first['monai']}, segmentation-models-pytorch {first['segmentation-models-pytorch']}. "
        f"In {sum(flat)} of them the last third of the steps raised the best validation IoU by at "
        "most 0.002; such a training is called *flat* below.\n"
    )


def _lengths(rows: dict, runs: list[dict]) -> str:
    """The arms that were also trained for longer: their IoU, and how many trainings were flat."""
    lines = []
    longer = [name for name in NAMES if name + TWICE in rows]
    for name, more in product(longer, ("", *LONGER)):
        own = [run for run in runs if run["arm"] == name + more]
        if own:
            flat = sum(run["flat"] == "True" for run in own)
            cells = [own[0]["steps"], _spread(rows[name + more], "iou"), str(flat)]
            lines.append([label(name), *cells])
    head = ["network or loss", "steps", "IoU", "flat, of five"]
    return markdown_table(head, lines, "lrrr") + "\n"


def _trained(runs: list[dict]) -> list[dict]:
    """The rows of whole networks; a pruned level was not trained by itself."""
    return [row for row in runs if "-L" not in row["arm"]]


def _spread(row: dict, name: str) -> str:
    digits = 0 if name.startswith("objects") else 3
    if not row[name]:
        return ""
    value = f"{float(row[name]):.{digits}f}"
    spread = row[f"{name}_sd"]
    return value + (f" ±{float(spread):.{digits}f}" if spread else "")


def _rounded(milliseconds: str | None) -> str:
    return f"{float(milliseconds):.0f}" if milliseconds else ""


def write_page() -> None:
    """Put the tables into the page."""
    for name, text in tables().items():
        write_part(PAGE, name, text)
