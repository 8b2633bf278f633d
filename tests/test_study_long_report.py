"""A tiny long study, from two trainings of two arms to the tables."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import study.compare as compare
from segedu.files import read_rows, write_rows
from study import long, long_page, long_report
from study.compare import RESULTS
from study.intervals import holm
from study.pages import marks
from tests.helpers import FewNuclei


@pytest.fixture
def small_study(tmp_path, monkeypatch):
    images = {"train": 1, "validation": 2, "test": 3}
    made = {
        (split, target): FewNuclei(32, seed=seed, target=target)
        for split, seed in images.items()
        for target in ("binary", "three_class")
    }
    monkeypatch.setattr(compare, "_nuclei", lambda root, split, target: made[split, target])
    for module in (long, long_report):
        monkeypatch.setattr(module, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(long, "CHANNELS", (2, 2, 4))
    for module in (long, long_report):
        monkeypatch.setattr(module, "SEEDS", 2)
    fields = [{"split": "test", "group": group} for group in "xxyz"]
    write_rows(tmp_path / "compare_image_ids.csv", fields)
    return tmp_path


def test_runs_are_measured_once_and_make_the_tables(small_study, monkeypatch, capsys):
    arms = ["unet", "unetpp-ds", "three-class"]
    long.train_all(Path(), arms, steps=2)
    long_report.measure_all(Path(), small_study)
    table = read_rows(small_study / "long_table.csv")
    heads = ["unetpp-ds-L1", "unetpp-ds-L2"]
    order = ["unet", "unetpp-ds", *heads, "three-class", "otsu", "foreground"]
    assert sorted(row["arm"] for row in table) == sorted(order)
    assert [row["arm"] for row in table if row["arm"] in long.LONG_ARMS] == [
        name for name in long.LONG_ARMS if name in arms
    ]
    seeds = {row["arm"]: int(row["seeds"]) for row in table}
    assert seeds == dict.fromkeys(order, 2) | {"otsu": 1, "foreground": 1}

    # The table from the rows of the images, computed apart.
    rows = read_rows(small_study / "long_images.csv")
    assert len(rows) == 4 * (2 * 5 + 2)
    means = []
    for seed in "01":
        own = [row for row in rows if (row["arm"], row["seed"]) == ("unet", seed)]
        counts = [[int(row[name]) for name in ("tp", "fp", "fn")] for row in own]
        means.append(np.mean([tp / (tp + fp + fn) if tp + fp + fn else 1 for tp, fp, fn in counts]))
    (unet,) = (row for row in table if row["arm"] == "unet")
    assert float(unet["iou"]) == pytest.approx(np.mean(means), abs=6e-5)
    assert float(unet["iou_sd"]) == pytest.approx(np.std(means, ddof=1), abs=6e-5)

    pairs = read_rows(small_study / "long_differences.csv")
    compared = {(row["arm"], row["other"]) for row in pairs}
    assert ("unetpp-ds", "unet") in compared
    assert ("unet", "otsu") in compared
    assert {("unetpp-ds-L1", "unetpp-ds"), ("three-class", "unet")} <= compared

    runs = read_rows(small_study / "long_runs.csv")
    validated = {(row["arm"], row["seed"]): row["validation_iou"] for row in runs}
    notes = long.load_run(small_study / "runs" / "long" / "unet-1.safetensors")[1]
    assert float(validated["unet", "1"]) == pytest.approx(notes["best_iou"], abs=6e-5)

    with monkeypatch.context() as patched:  # a second call measures no run again
        patched.setattr(long_report, "measure_run", None)
        long_report.measure_all(Path(), small_study)
    assert read_rows(small_study / "long_table.csv") == table
    assert "Holm" in capsys.readouterr().out

    weights = small_study / "runs" / "long" / "unet-0.safetensors"  # as if trained anew
    later = weights.with_suffix(".json").stat().st_mtime + 1
    os.utime(weights, (later, later))
    with monkeypatch.context() as patched:
        patched.setattr(long_report, "measure_run", None)
        with pytest.raises(TypeError):
            long_report.measure_all(Path(), small_study)


def test_a_pruned_level_has_the_threshold_that_is_best_for_it(small_study, monkeypatch):
    long.train_all(Path(), ["unetpp-ds"], steps=2)
    path = small_study / "runs" / "long" / "unetpp-ds-0.safetensors"
    best = iter([(0.5, 0.35), (0.6, 0.7)])
    monkeypatch.setattr(long_report, "best_iou", lambda answers: next(best))
    whole, *levels = long_report.measure_run(path, Path())["runs"]
    notes = long.load_run(path)[1]
    assert whole["threshold"] == notes["threshold"]
    assert whole["validation_iou"] == pytest.approx(notes["best_iou"], abs=6e-5)
    assert [(row["validation_iou"], row["threshold"]) for row in levels] == [
        (0.5, 0.35),
        (0.6, 0.7),
    ]


def test_an_arm_without_weights_keeps_its_rows(small_study):
    long.train_all(Path(), ["unetpp-ds"], steps=2)
    long_report.measure_all(Path(), small_study)
    tables = [path for path in small_study.glob("long_*.csv") if path.name != "long_table.csv"]
    before = {path: read_rows(path) for path in tables}
    shutil.rmtree(small_study / "runs")
    long.train_all(Path(), ["unet", "bce"], steps=2)
    long_report.measure_all(Path(), small_study)
    for path in tables:
        rows = read_rows(path)
        assert len(rows) > len(before[path])
        assert [row for row in rows if row in before[path]] == before[path]
    arms = dict.fromkeys(row["arm"] for row in read_rows(small_study / "long_runs.csv"))
    assert [*arms] == ["unet", "unetpp-ds", "unetpp-ds-L1", "unetpp-ds-L2", "bce"]


def test_one_finished_run_is_reported_and_compared_with_nothing(small_study, monkeypatch, capsys):
    for module in (long, long_report):
        monkeypatch.setattr(module, "SEEDS", 1)
    long.train_all(Path(), ["half-bf16"], steps=2)
    long_report.measure_all(Path(), small_study)
    assert "nothing is compared" in capsys.readouterr().out
    found = json.loads((small_study / "runs" / "long" / "half-bf16-0.json").read_text())
    assert [row["precision"] for row in found["runs"]] == ["bf16-mixed"]


def test_without_a_run_the_command_says_what_to_do(small_study):
    with pytest.raises(ValueError, match="python -m study long"):
        long_report.measure_all(Path(), small_study)


def test_what_is_compared_are_arms_of_the_study():
    known = {*long.LONG_ARMS, "otsu", *(f"unetpp-ds-L{level}" for level in (1, 2, 3, 4))}
    for pairs in long_report.FAMILIES.values():
        assert len(set(pairs)) == len(pairs)
        assert {name for pair in pairs for name in pair} <= known


def test_the_committed_tables_are_what_the_report_writes(tmp_path):
    for path in [*RESULTS.glob("long_*.csv"), RESULTS / "compare_image_ids.csv"]:
        shutil.copy(path, tmp_path)
    long_report.report(tmp_path)
    for name in ("long_table.csv", "long_differences.csv"):
        assert (tmp_path / name).read_bytes() == (RESULTS / name).read_bytes()


def test_every_arm_of_the_committed_tables_has_all_its_seeds():
    runs = read_rows(RESULTS / "long_runs.csv")
    seeds = {row["arm"]: set() for row in runs}
    for row in runs:
        seeds[row["arm"]].add(int(row["seed"]))
    assert {*map(frozenset, seeds.values())} == {frozenset(range(long.SEEDS))}
    for row in runs:
        assert int(row["steps"]) == long.steps_of(row["arm"].partition("-L")[0], long.STEPS)


def test_the_page_shows_the_committed_tables():
    page = long_page.PAGE.read_text(encoding="utf-8")
    for name, text in long_page.tables().items():
        begin, end = marks(name)
        assert begin + text + end in page


LIBRARIES = ("monai-unet", "smp-unet")
OTHERS = ("unet-default", "unet")  # with which half resolution is compared
NETWORKS = ("networks", "depths", "libraries")  # families


def words_of(page: str) -> str:
    """A page of `docs` on one line, its minus signs as in the tables."""
    text = (long_page.DOCS / f"{page}.md").read_text(encoding="utf-8")
    return " ".join(text.replace("−", "-").split())


def milliseconds() -> dict[str, float]:
    """The committed time of each network for an image."""
    return {arm: float(row["inference_ms"]) for arm, row in long.long_times(RESULTS).items()}


def pair(arm: str, other: str, score: str = "iou") -> dict[str, float]:
    """A committed difference."""
    rows = read_rows(RESULTS / "long_differences.csv")
    (row,) = (r for r in rows if (r["arm"], r["other"], r["measure"]) == (arm, other, score))
    return {name: float(row[name]) for name in ("mean", "low", "high", "adjusted")}


def test_what_the_page_says_of_the_differences_follows_from_the_tables():
    page = words_of("study")
    ap = "average_precision_split"
    ds, wide = pair("unetpp-ds", "unet", ap), pair("unetpp-ds", "unet-wide", ap)
    depth_1, l1 = pair("unet-depth-1", "unet", ap), pair("unetpp-ds-L1", "unet-depth-1", ap)
    l3, l4 = pair("unetpp-ds-L3", "unet-depth-3", ap), pair("unetpp-ds-L4", "unet", ap)
    monai, smp = ([pair("unet", name, score) for score in ("iou", ap)] for name in LIBRARIES)
    three_plus = pair("unet3plus", "unet")
    default, default_ap = pair("unet-default", "unet"), pair("unet-default", "unet", ap)
    fast = pair("half-bf16", "unet-default")
    times = milliseconds()
    timed = ("half-bf16", "unet", "unet-default", "unet3plus")
    half_ms, unet_ms, default_ms, plus_ms = (times[arm] for arm in timed)
    bce = [pair("bce", "unet", score) for score in ("iou", ap)]
    late = {arm: pair(f"{arm}-twice", "unet-twice") for arm in ("unetpp-ds", "half-bf16", "bce")}
    late_ap, focal = pair("unetpp-ds-twice", "unet-twice", ap), pair("focal-twice", "bce-twice")
    three, balanced = pair("three-class", "unet", ap), pair("focal-alpha-balance", "bce")
    paper, balanced_ap = pair("focal-alpha-0.25", "bce"), pair("focal-alpha-balance", "bce", ap)
    three_focal = pair("three-class-focal", "three-class", ap)
    head, head_ap = pair("unetpp-ds-L1", "unet"), pair("unetpp-ds-L1", "unet", ap)
    scores = {row["arm"]: row for row in read_rows(RESULTS / "long_table.csv")}
    half, own, error = (
        {
            name: float(scores[f"focal{name}"][column])
            for name in ("", "-alpha-0.25", "-alpha-balance")
        }
        for column in ("iou_half", "iou", "calibration_error")
    )
    for said in (
        f"is ahead of the U-Net by {ds['mean']:.4f} and of the wide U-Net by {wide['mean']:.4f}",
        f"separated (p = {ds['adjusted']:.3f} and {wide['adjusted']:.3f})",
        f"A gain over the U-Net of up to {pair('unetpp-ds', 'unet')['high']:.3f} of IoU and "
        f"{ds['high']:.3f} of AP remains possible",
        f"ours is ahead by {monai[0]['mean']:.3f} of IoU (interval {monai[0]['low']:.3f} to "
        f"{monai[0]['high']:+.3f}) and by {monai[1]['mean']:.3f} of AP ({monai[1]['low']:.3f} to "
        f"{monai[1]['high']:+.3f})",
        f"it is behind by {smp[0]['mean']:.3f} of IoU ({smp[0]['low']:.3f} to "
        f"{smp[0]['high']:+.3f}), and in AP the difference is below 0.001 ({smp[1]['low']:.3f} to "
        f"{smp[1]['high']:+.3f})",
        f"takes {default_ms / unet_ms:.1f} times as long. Its IoU is {default['mean']:.3f} higher "
        f"on average, but the interval, {default['low']:.3f} to {default['high']:+.3f}, includes "
        f"0. Nor was a difference in AP found ({default_ap['low']:.3f} to "
        f"{default_ap['high']:+.3f})",
        f"in {100 * half_ms / unet_ms:.0f} % of the U-Net's time, and in "
        f"{100 * half_ms / default_ms:.0f} % of that of the U-Net of 16 to 256 channels",
        f"and of up to {-fast['low']:.3f} against the second is not excluded",
        f"UNet 3+ takes {plus_ms / unet_ms:.1f} times as long as the U-Net; its interval reaches "
        f"from {three_plus['low']:.3f} to {three_plus['high']:+.3f}",
        f"16 to 256 channels takes {default_ms / half_ms:.1f} times as long",
        f"the slow one may be ahead by up to {-fast['low']:.3f}",
        f"interval of IoU reaches down to {pair('unet-depth-2', 'unet')['low']:.4f}, that of AP to "
        f"{pair('unet-depth-2', 'unet', ap)['low']:.3f}",
        f"head L1 is behind by {-head['mean']:.3f} of IoU, which is not separated "
        f"(p = {head['adjusted']:.2f}), and by {-head_ap['mean']:.3f} of AP, which is",
        f"L1, is separated: it is behind by {-head_ap['mean']:.3f} of AP",
        f"behind by {-depth_1['mean']:.3f} (interval {-depth_1['high']:.3f} to "
        f"{-depth_1['low']:.3f}), which after the correction is not separated "
        f"(p = {depth_1['adjusted']:.2f})",
        f"behind the U-Net of depth 1 by {-l1['mean']:.3f}, and L3 and L4 are ahead of theirs by "
        f"{l3['mean']:.3f} and {l4['mean']:.3f}",
        f"a loss of up to {-pair('half-bf16', 'unet')['low']:.3f} of IoU against the first",
        f"After 3,000 steps BCE + Dice is ahead of BCE alone by {-bce[0]['mean']:.3f} of IoU",
        f"BCE + Dice is ahead of BCE alone by {-bce[0]['mean']:.3f} of IoU, and separated (after",
        f"by {-bce[1]['mean']:.3f} of AP, whose interval leaves out 0, but which is not separated "
        f"(p = {bce[1]['adjusted']:.2f})",
        f"the U-Net++ DS is ahead by {late['unetpp-ds']['mean']:.3f} (interval "
        f"{late['unetpp-ds']['low']:+.3f} to {late['unetpp-ds']['high']:+.3f})",
        f"half resolution behind by {-late['half-bf16']['mean']:.3f} "
        f"({late['half-bf16']['low']:+.3f} to {late['half-bf16']['high']:+.3f})",
        f"interval from {late['bce']['low']:+.3f} to {late['bce']['high']:+.3f}, so it is no",
        f"was found either ({focal['low']:+.3f} to {focal['high']:+.3f})",
        f"In AP the U-Net++ DS is ahead by {late_ap['mean']:.3f} ({late_ap['low']:.3f} to "
        f"{late_ap['high']:.3f}), which after the correction is just not separated "
        f"(p = {late_ap['adjusted']:.2f})",
        f"three classes are behind by {-three['mean']:.3f} of AP",
        f"an IoU of {half['-alpha-balance']:.3f}, and with α = 0.25 one of "
        f"{half['-alpha-0.25']:.3f}",
        f"it is {own['-alpha-balance']:.3f} and {own['-alpha-0.25']:.3f}, and no difference",
        f"reach from {balanced['low']:.3f} to {balanced['high']:+.3f} and from {paper['low']:.3f} "
        f"to {paper['high']:+.3f}",
        f"the balanced α is behind BCE by {-balanced_ap['mean']:.3f}",
        f"it is not separated (p = {balanced_ap['adjusted']:.2f})",
        f"by far the largest, from {min(error.values()):.3f} to {max(error.values()):.3f}; Dice "
        f"alone comes next, with {float(scores['dice']['calibration_error']):.3f}",
        f"AP is {three_focal['mean']:.3f} higher, with an interval from "
        f"{three_focal['low']:.3f} to {three_focal['high']:+.3f}",
    ):
        assert said in page
    assert all(
        found["low"] < 0 < found["high"]
        for found in (*late.values(), focal, *monai, *smp, balanced, paper, three_focal)
    )
    assert all(
        found["low"] < 0 < found["high"]
        for found in (default, default_ap, fast, three_plus, pair("half", "unet"))
    )
    assert head_ap["adjusted"] < 0.05


def test_what_the_page_says_of_all_networks_follows_from_the_tables():
    """The U-Net is not separated from any whole one; the page names the widest interval."""
    rows = [row for row in read_rows(RESULTS / "long_differences.csv") if row["family"] in NETWORKS]
    rows = [row for row in rows if "unet" in (row["arm"], row["other"]) and "-L" not in row["arm"]]
    assert not any(row["verdict"] == "separated" for row in rows)
    ends = [
        float(row[end]) * (1 if row["other"] == "unet" else -1)
        for row in rows
        if row["measure"] == "iou"
        for end in ("low", "high")
    ]
    page = words_of("study")
    assert f"in IoU lie between {min(ends):.3f} and {max(ends):+.3f}" in page
    compared = {row["arm"] for row in rows} | {row["other"] for row in rows}
    trained = {row["arm"] for row in read_rows(RESULTS / "long_runs.csv")}
    assert trained & {*long.LONG_NETWORKS} <= compared


def test_all_comparisons_corrected_together_separate_what_the_page_says():
    rows = read_rows(RESULTS / "long_differences.csv")
    adjusted = holm([float(row["p_value"]) for row in rows])
    names = [(row["arm"], row["other"], row["measure"]) for row in rows]
    together = dict(zip(names, adjusted, strict=True))
    page = words_of("study")
    assert f"separated from BCE alone (p = {together['bce', 'unet', 'iou']:.2f})" in page


def test_what_the_page_says_of_steps_and_outlines_follows_from_the_tables():
    page = words_of("study")
    rows = read_rows(RESULTS / "long_differences.csv")
    gains = [
        float(row["mean"])
        for row in rows
        if row["family"] == "more steps"
        and row["arm"].endswith("-twice")
        and row["measure"] == "iou"
    ]
    assert f"All five means rise, by {min(gains):.3f} to {max(gains):.3f} of IoU, and" in page
    truth = {row["quantity"]: row["value"] for row in read_rows(RESULTS / "limits.csv")}
    inwards, outwards = (
        float(truth[f"IoU of the truth moved {way} by 0.5 pixel"])
        for way in ("inwards", "outwards")
    )
    assert f"its IoU with the original is {inwards:.2f} or {outwards:.2f}" in page


def test_what_the_page_on_speed_says_of_quality_follows_from_the_tables():
    page = words_of("benchmark")
    times = milliseconds()
    first, second = (times[other] / times["half-bf16"] for other in OTHERS)
    assert f"it is {first:.1f} and {second:.1f} times" in page
    first, second = (pair("half-bf16", other) for other in OTHERS)
    said = (
        f"from {first['low']:.3f} to {first['high']:+.3f} for the first, and from "
        f"{second['low']:.3f} to {second['high']:+.3f} for the second"
    )
    assert said in page
    first, second = (pair("half-bf16", other, "average_precision_split") for other in OTHERS)
    said = (
        f"from {first['low']:.3f} to {first['high']:+.3f} and from {second['low']:.3f} to "
        f"{second['high']:+.3f}"
    )
    assert said in page
