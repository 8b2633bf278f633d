"""From the weights of the long study to its tables.

    python -m study measure --root stage1_train.zip

measures every run in `runs/study/long` that has not been measured yet, which leaves a JSON file
beside its weights, writes the rows of all into `study/results/long_*.csv`, and from these rows the
table and the differences that it prints. It may be called while runs are still going on; an arm is
measured when all its seeds are there. The committed tables keep the arms that were measured before.
"""

import functools
import itertools
import json
import statistics
from collections import Counter
from pathlib import Path

from lightning_fabric import Fabric
from torch import Tensor, nn

from segedu import count_multiply_adds
from segedu.evaluation import best_iou
from segedu.files import atomic_path, read_rows, write_rows

from .compare import RESULTS, RUNS, Arm, count_used, data_sets, probabilities, with_levels
from .long import EQUAL_TIME, FOUR_TIMES, LONG_ARMS, SEEDS, TWICE, is_flat, load_run
from .measures import BASELINES, differences, fields_of_test, measure, read_runs, table, write_runs

# What is compared with what, each by both SCORES, if both were trained. Holm's correction is for a
# whole family.
FAMILIES = {
    "networks": [
        *((arm, "unet") for arm in ("unet-wide", "unetpp", "unetpp-ds")),
        *((arm, "unet-wide") for arm in ("unetpp", "unetpp-ds")),
        ("unetpp-ds", "unetpp"),
        *((arm, "unet") for arm in ("residual", "attention", "unet3plus")),
        ("attention-pp", "unetpp"),
        *((arm, "unet") for arm in ("half", "half-bf16", "unet-default")),
        ("half-bf16", "unet-default"),
    ],
    "depths": [
        *((f"unet-depth-{depth}", "unet") for depth in (1, 2, 3)),
        *((f"unetpp-ds-L{depth}", f"unet-depth-{depth}") for depth in (1, 2, 3)),
        *((f"unetpp-ds-L{level}", "unet") for level in (1, 2, 3, 4)),
    ],
    "levels": [(f"unetpp-ds-L{level}", "unetpp-ds") for level in (1, 2, 3, 4)],
    "losses": [
        *((arm, "unet") for arm in ("bce", "dice", "three-class")),
        *((arm, "bce") for arm in ("focal", "focal-alpha-0.25", "focal-alpha-balance")),
        ("three-class-focal", "three-class"),
    ],
    "libraries": [
        *(("unet", arm) for arm in ("monai-unet", "smp-unet")),
        ("half-bf16", "monai-unet"),
        *(("unetpp", arm) for arm in ("monai-unetpp", "smp-unetpp")),
    ],
    "baselines": [("unet", "otsu")],
    "equal time": [(arm, "unet") for arm in LONG_ARMS if arm.endswith(EQUAL_TIME)],
    "more steps": [
        *((arm, arm.removesuffix(TWICE)) for arm in LONG_ARMS if arm.endswith(TWICE)),
        *((arm + FOUR_TIMES, arm + TWICE) for arm in ("unet", "unetpp-ds")),
        ("half-bf16" + EQUAL_TIME, "half-bf16"),
    ],
    "longer trainings": [
        *((arm + TWICE, "unet" + TWICE) for arm in ("unetpp-ds", "unet-wide", "half-bf16")),
        ("unetpp-ds" + TWICE, "unet-wide" + TWICE),
        *((arm + TWICE, "unet" + TWICE) for arm in ("bce", "three-class")),
        ("focal" + TWICE, "bce" + TWICE),
        ("unetpp-ds" + FOUR_TIMES, "unet" + FOUR_TIMES),
    ],
}
SCORES = ("iou", "average_precision_split")
PRINTED = (
    "iou", "iou_half", "best_threshold_iou", "best_iou", "precision", "recall", "surface_dice",
    "calibration_error", "average_precision", "average_precision_split",
)  # fmt: skip
NOT_IN_TABLE = ("arm", "seed", "threshold", "best_iou", "curve")  # of a run's notes


def measure_run(path: Path, root: Path) -> dict:
    """The rows of a run and of its pruned levels: "runs", one for each, and "measured" by name.

    All are measured in the precision of the training. A level has the threshold that is best for
    it on the validation images, as the network has.
    """
    model, notes = load_run(path)
    name, arm = notes["arm"], LONG_ARMS[notes["arm"]]
    _, validation_set, test_set = data_sets(arm, notes["seed"], root)
    rows, measured = [], {}
    with Fabric(accelerator="cpu", devices=1, precision=notes["precision"]).autocast():
        for key, network in with_levels(name, arm, model).items():
            answer = functools.partial(_answer, network)
            score, threshold = notes["best_iou"], notes["threshold"]
            if key != name:
                score, threshold = best_iou((answer(x[None]), y) for x, y in validation_set)
            found = measure(answer, test_set, classes=arm.classes, threshold=threshold)
            measured[key] = found
            row = {"arm": key, "seed": notes["seed"], "threshold": threshold}
            row |= {"validation_iou": round(score, 4), "flat": is_flat(notes["curve"])}
            row["parameters"] = count_used(network)
            row["multiply_adds"] = count_multiply_adds(network, 256, 256)
            rows.append(row | {k: value for k, value in notes.items() if k not in NOT_IN_TABLE})
    return {"runs": rows, "measured": measured}


def _answer(network: nn.Module, image: Tensor) -> Tensor:
    return probabilities(network, image).float()


def measure_all(root: Path, folder: Path = RESULTS) -> None:
    """Measure the runs that are new since the last time, write the tables, and print them.

    An arm without weights in `runs/study/long` keeps its rows in the tables.
    """
    paths = sorted((RUNS / "long").glob("*.safetensors"))
    seeds = Counter(_run(path)[0] for path in paths)
    found = _in_tables(folder)
    for path in paths:
        arm, seed = _run(path)
        if seeds[arm] < SEEDS:
            print(f"{path.stem} is left out until all {SEEDS} seeds of its arm are there")
            continue
        done = path.with_suffix(".json")
        if not done.exists() or done.stat().st_mtime < path.stat().st_mtime:
            with atomic_path(done) as temporary:
                temporary.write_text(json.dumps(measure_run(path, root)), encoding="utf-8")
        found[arm, seed] = json.loads(done.read_text(encoding="utf-8"))
    if not found:
        raise ValueError(
            f"{RUNS / 'long'} holds no arm with all of its {SEEDS} seeds: "
            "call `python -m study long` first"
        )
    order = sorted(found, key=lambda run: ([*LONG_ARMS].index(run[0]), run[1]))
    runs = {
        (name, run[1]): measured
        for run in order
        for name, measured in found[run]["measured"].items()
    }
    test_set = data_sets(Arm(None), 0, root)[2]
    for name, answer in BASELINES.items():
        runs[name, 0] = measure(answer, test_set, classes=1)
    write_rows(folder / "long_runs.csv", [row for run in order for row in found[run]["runs"]])
    write_runs(folder, runs)
    report(folder)


def _run(path: Path) -> tuple[str, int]:
    name, _, seed = path.stem.rpartition("-")
    return name, int(seed)


def _in_tables(folder: Path) -> dict[tuple[str, int], dict]:
    """What `measure_run` found of each run that stands in the tables, by its arm and seed."""
    if not (folder / "long_runs.csv").exists():
        return {}
    measured, found = read_runs(folder), {}
    for row in read_rows(folder / "long_runs.csv"):
        name, seed = row["arm"], int(row["seed"])
        run = found.setdefault((name.partition("-L")[0], seed), {"runs": [], "measured": {}})
        run["runs"].append(row)
        run["measured"][name] = measured[name, seed]
    return found


def report(folder: Path = RESULTS) -> None:
    """Compute the table and the differences from the rows of the runs, write and print them."""
    runs, notes = read_runs(folder), read_rows(folder / "long_runs.csv")
    rows = [row | _costs(row["arm"], notes) for row in table(runs)]
    families = {
        family: [(*pair, score) for pair, score in itertools.product(pairs, SCORES)]
        for family, pairs in FAMILIES.items()
    }
    pairs = differences(runs, fields_of_test(folder), families)
    write_rows(folder / "long_table.csv", rows)
    print(f"{'arm':22}{'seeds':>6}{'flat':>5}" + "".join(f"{name:>24}" for name in PRINTED))
    for row in rows:
        cells = "".join(f"{_spread(row, name):>24}" for name in PRINTED)
        print(f"{row['arm']:22}{row['seeds']:>6}{row['flat']:>5}{cells}")
    if not pairs:
        print("\nno two arms have two seeds in common yet: nothing is compared")
        return
    write_rows(folder / "long_differences.csv", pairs)
    print(
        "\ndifferences; 95 % intervals with seeds and fields both drawn anew; Holm in each family\n"
    )
    for pair in pairs:
        print(
            f"{pair['family']:17}{pair['arm']:22} - {pair['other']:15} {pair['measure']:24}"
            f"{pair['mean']:+.4f} [{pair['low']:+.4f}, {pair['high']:+.4f}]  {pair['seeds']} seeds"
            f"  p {pair['p_value']:.3f}, adjusted {pair['adjusted']:.3f}  {pair['verdict']}"
        )


def _costs(arm: str, notes: list[dict[str, str]]) -> dict:
    """What the runs of an arm took, and how many were flat; nothing for an answer without one."""
    own = [row for row in notes if row["arm"] == arm]
    first = own[0] if own else {"steps": 0, "parameters": 0, "multiply_adds": 0}
    return {name: int(first[name]) for name in ("steps", "parameters", "multiply_adds")} | {
        "validation_iou": _mean_of(own, "validation_iou"),
        "train_cpu_seconds": _mean_of(own, "train_cpu_seconds"),
        "flat": sum(row["flat"] == "True" for row in own),
    }


def _mean_of(rows: list[dict[str, str]], name: str) -> float | None:
    return round(statistics.mean(float(row[name]) for row in rows), 4) if rows else None


def _spread(row: dict, name: str) -> str:
    value, spread = row[name], row[f"{name}_sd"]
    if value is None:
        return ""
    return f"{value:.4f}" + ("" if spread is None else f" +- {spread:.4f}")
