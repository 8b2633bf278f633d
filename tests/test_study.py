"""What the study claims, computed again: from the images, and from the rows of its runs."""

import dataclasses
import functools
import hashlib
import shutil
from collections import Counter, defaultdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric

import study.compare as study
from segedu import UNet, UNetPlusPlus, count_parameters, load_pretrained, predict, to_mask
from segedu.checkpoint import pretrained_path
from segedu.data import SyntheticNuclei
from segedu.evaluation import THRESHOLDS, best_iou, validate
from segedu.files import read_rows
from segedu.losses import DeepSupervision, compound_loss
from segedu.metrics import stat_scores
from segedu.training import TrainConfig, fit
from study import benchmark, long, report, times
from study.pages import marks
from study.pretrained import COMMANDS, card, measure, measured
from study.timing import take_turns
from tests.helpers import FewNuclei, same_weights

RESULTS = Path(study.RESULTS)
SIDE = 64


def rows(name: str) -> list[dict[str, str]]:
    return read_rows(RESULTS / f"compare_{name}.csv")


@pytest.fixture
def small_study(tmp_path, monkeypatch):
    """The study with two steps on tiny synthetic images, in a folder of its own."""
    few = {"steps": 2, "seeds": 2, "batch_size": 2, "crop_size": 32, "channels": (2, 4, 8)}
    monkeypatch.setitem(study.PRESETS, "cpu", dataclasses.replace(study.PRESETS["cpu"], **few))
    monkeypatch.setattr(study, "RUNS", tmp_path / "runs")
    for module in (study, times):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    monkeypatch.setattr(times, "TIMED", ("unet", "unetpp-ds"))
    monkeypatch.setattr(times, "LONG_NETWORKS", {"half-bf16": long.LONG_ARMS["half-bf16"]})
    monkeypatch.setattr(times, "ROUNDS", 1)
    monkeypatch.setattr(times, "THREADS", torch.get_num_threads())
    seeds = {"train": 1, "validation": 2, "test": 3}

    def nuclei(root: Path, split: str, target: str) -> FewNuclei:
        return FewNuclei(SIDE, seed=seeds[split], target=target)

    monkeypatch.setattr(study, "_nuclei", nuclei)
    monkeypatch.setattr(study, "_synthetic", lambda split: nuclei(Path(), split, "binary"))
    threads = torch.get_num_threads()
    yield tmp_path
    torch.set_num_threads(threads)


def test_a_small_study_runs_resumes_and_reports(small_study, monkeypatch, capsys):
    times.measure("cpu")
    arms = ["unet", "unetpp-ds", "otsu", "three-class", "synthetic", "pretrained-8"]
    levels = ["unetpp-ds-L1", "unetpp-ds-L2"]
    study.compare("cpu", Path(), arms[1:2])
    first = read_rows(small_study / "compare_images.csv")
    assert len(first) == 2 * (1 + len(levels)) * 4  # seeds, the network and its levels, images

    with monkeypatch.context() as patched:  # a finished run is not repeated
        patched.setattr(study, "train", None)
        study.compare("cpu", Path(), arms[1:2])
    study.compare("cpu", Path(), arms)
    both = read_rows(small_study / "compare_images.csv")
    assert [row for row in both if row in first] == first
    assert len(both) == len(first) + 4 * (1 + 2 * 4)  # Otsu's threshold has one seed

    report.report(small_study)
    table = read_rows(small_study / "compare_table.csv")
    assert [row["arm"] for row in table] == [*arms[:2], *levels, *arms[2:]]
    assert list(table[0]) == list(rows("table")[0])
    assert "too few seeds" in capsys.readouterr().out  # two
    times.measure("long")
    own = {row["preset"] for row in read_rows(small_study / "times.csv")}
    assert own == {"cpu", "long"}
    timed = {row["arm"] for row in table if row["inference_ms"] and float(row["inference_ms"]) > 0}
    assert timed == {"unet", "unetpp-ds", *levels, "otsu"}
    for name in ("runs", "counts", "image_ids"):  # as the chapters read them
        assert list(read_rows(small_study / f"compare_{name}.csv")[0]) == list(rows(name)[0])
    times_columns = [list(read_rows(path / "times.csv")[0]) for path in (small_study, RESULTS)]
    assert times_columns[0] == times_columns[1]


def test_two_processes_do_not_take_the_same_run(tmp_path):
    with study._claim(tmp_path / "a.lock") as mine, study._claim(tmp_path / "a.lock") as theirs:
        assert (mine, theirs) == (True, False)
    with study._claim(tmp_path / "a.lock") as later:
        assert later


@pytest.mark.parametrize("deep", [False, True])
def test_the_study_trains_as_the_package_does(deep, tmp_path):
    data = [SyntheticNuclei(6, size=SIDE)[index] for index in range(6)]
    config = TrainConfig(steps=6, batch_size=2, crop_size=32, validate_every=6, seed=3)
    networks = []
    for _ in range(2):
        torch.manual_seed(0)
        networks.append(UNetPlusPlus(1, 1, channels=(4, 8, 16), deep_supervision=deep))
    ours, its = networks
    loss = DeepSupervision(compound_loss)
    history = fit(its, loss, data[:4], data[4:], config, out=tmp_path)
    fabric = Fabric(accelerator="cpu", devices=1)
    study.train(ours, compound_loss, data[:4], data[4:], config, fabric)
    assert ours.state_dict().keys() == its.state_dict().keys()
    assert same_weights(ours, its)

    score, threshold = best_iou((study.probabilities(ours, x[None]), y) for x, y in data[4:])
    assert (score, threshold) == validate(its, data[4:]) == (score, its.threshold)
    assert score == history[-1]["validation_iou"]


def test_the_best_weights_are_kept_and_validation_costs_no_training_time(monkeypatch):
    seconds, scores, seen = [0.0], iter([0.2, 0.9, 0.4]), []
    model = UNet(1, 1, channels=(2, 4))

    def validate_slowly(pairs):
        seconds[0] += 100
        seen.append(model.blocks["0_0"][0].weight.detach().clone())
        return next(scores), 0.5

    def clock():
        seconds[0] += 1
        return seconds[0]

    monkeypatch.setattr(study, "best_iou", validate_slowly)
    monkeypatch.setattr(study, "time", SimpleNamespace(perf_counter=clock, process_time=clock))
    data = [SyntheticNuclei(2, size=SIDE)[index] for index in range(2)]
    config = TrainConfig(steps=5, batch_size=1, crop_size=32, validate_every=2)
    trained = study.train(
        model, compound_loss, data, data, config, Fabric(accelerator="cpu", devices=1)
    )
    assert trained["best_step"] == 4  # after steps 2, 4 and 5
    assert torch.equal(model.blocks["0_0"][0].weight, seen[1])
    assert 0 < trained["train_seconds"] < 100


def test_counts_at_all_thresholds_are_those_of_each():
    model, image = UNet(1, 1, channels=(2, 2, 2, 2, 2)), torch.rand(1, 1, 40, 50)
    mask = torch.rand(40, 50).gt(0.5).long()
    chances = study.probabilities(model, image)
    torch.testing.assert_close(chances, predict(model, image))
    counts = torch.stack(study.count_pixels(chances, mask))  # (4, thresholds, 1)
    for threshold, found in zip(THRESHOLDS, counts[..., 0].T.tolist(), strict=True):
        one = stat_scores(to_mask(chances, threshold), mask[None], num_classes=1)
        assert found == [int(count) for count in one]


@pytest.mark.parametrize("name", ["monai-unet", "monai-unetpp", "smp-unet", "smp-unetpp"])
def test_the_networks_of_other_libraries_answer_as_ours_do(name):
    image, channels = torch.rand(1, 1, 40, 50), (2, 4, 4, 8, 8)
    for classes in (1, 3):
        model = study.ARMS[name].network(channels, classes).eval()
        padded = F.pad(image, (0, 14, 0, 8), mode="replicate")
        with torch.inference_mode():
            logits = benchmark.last(model(padded))[..., :40, :50]
        expected = logits.sigmoid() if classes == 1 else logits.softmax(1)
        torch.testing.assert_close(study.probabilities(model, image), expected)


def test_functions_take_turns_and_the_first_round_warms_up():
    calls = []
    functions = [functools.partial(calls.append, name) for name in "abc"]
    assert take_turns(functions, rounds=2).shape == (2, 3)
    assert "".join(calls) == "abccbaabc"


@pytest.mark.parametrize("preset", study.PRESETS)
def test_the_arms_are_matched(preset):
    channels = study.PRESETS[preset].channels
    with torch.device("meta"):
        networks = {
            name: arm.network(channels, arm.classes)
            for name, arm in study.ARMS.items()
            if arm.network and name != "unet-wide"
        }
    networks["unet-wide"] = study.ARMS["unet-wide"].network(channels, 1)
    size = {name: count_parameters(network) for name, network in networks.items()}
    assert size["unet-wide"] == pytest.approx(size["unetpp"], rel=0.002)
    assert size["monai-unet"] == pytest.approx(size["unet"], rel=0.1)
    assert size["monai-unetpp"] == pytest.approx(size["unetpp"], rel=0.1)
    assert size["smp-unet"] > size["unet"]  # its encoder has widths of its own
    assert networks["unetpp-ds"].prune(4).config == networks["unetpp"].config


def test_the_bootstrap_draws_whole_groups():
    values = np.repeat([0.0, 1.0], 50)
    single = report.bootstrap(values, range(100))
    # The mean of 100 fair coins: 0.5 +- 1.96 * 0.05.
    assert single == pytest.approx((0.402, 0.598), abs=0.011)
    groups = np.arange(100) // 10  # ten coins
    assert report.bootstrap(values, groups) == pytest.approx((0.2, 0.8))
    uneven = report.bootstrap(np.array([1.0, 0, 0, 0]), ["a", "b", "b", "b"])
    assert uneven == (0.0, 1.0)


def test_the_images_are_those_of_the_split():
    used = rows("image_ids")
    known = Path(study.__file__).parents[1] / "segedu" / "data" / "nuclei_groups.csv"
    table = {row["image_id"]: row for row in read_rows(known)}
    for row in used:
        image = table[row["image_id"]]
        assert (row["split"], row["group"]) == (image["split"], image["group"])
    counts = Counter(row["split"] for row in used)
    assert counts == {"train": 261, "validation": 52, "test": 85}


def by_run(name: str) -> dict[tuple[str, ...], list[dict[str, str]]]:
    """The rows of a table by (preset, arm, seed)."""
    found = defaultdict(list)
    for row in rows(name):
        found[row["preset"], row["arm"], row["seed"]].append(row)
    return found


def columns(of: list[dict[str, str]], *names: str) -> np.ndarray:
    return np.array([[float(row[name]) for name in names] for row in of]).T


def test_the_table_follows_from_the_rows_of_the_runs():
    images, counts, runs = by_run("images"), by_run("counts"), by_run("runs")
    assert (RESULTS / "compare_images.csv").stat().st_size < 1.5e6
    for line in rows("table"):
        same = line["preset"], line["arm"]
        keys = [key for key in runs if key[:2] == same]
        assert int(line["seeds"]) == len(keys) == sum(len(runs[key]) for key in keys)
        assert int(line["parameters"]) == int(runs[keys[0]][0]["parameters"])
        scores = defaultdict(list)
        for key in keys:
            assert len(images[key]) == 85
            tp, fp, fn = columns(images[key], "tp", "fp", "fn")
            scores["iou_per_image"].append((tp / (tp + fp + fn)).mean())
            scores["iou_pooled"].append(tp.sum() / (tp + fp + fn).sum())
            scores["dice_per_image"].append((2 * tp / (2 * tp + fp + fn)).mean())
            precision, objects = columns(images[key], "average_precision", "objects")
            scores["average_precision"].append(precision.mean())
            scores["nuclei_counted"].append(objects.sum())
            tp, fp, fn, tn = columns(counts[key], "tp", "fp", "fn", "tn")
            if len(tp) == 3:
                scores["three_class_iou"].append((tp / (tp + fp + fn)).mean())
            else:
                assert [r["of"] for r in counts[key]] == [f"threshold {t}" for t in THRESHOLDS[9:]]
                both = (tp / (tp + fp + fn) + tn / (tn + fp + fn)) / 2
                scores["two_class_iou"].append(both.mean())
        for name, values in scores.items():
            assert float(line[name]) == pytest.approx(np.mean(values), abs=6e-5), (same, name)
            if len(values) > 1:
                assert float(line[f"{name}_sd"]) == pytest.approx(np.std(values, ddof=1), abs=6e-5)


def test_the_differences_follow_from_the_table_of_the_same_seeds():
    table = {(row["preset"], row["arm"]): row for row in rows("table")}
    for row in rows("differences"):
        arm, other = (table[row["preset"], row[key]] for key in ("arm", "other"))
        low, middle, high = (float(row[key]) for key in ("low", "difference", "high"))
        assert low <= middle <= high
        if row["verdict"] == "clear for these trainings":
            assert low * high > 0
            assert int(row["seeds"]) >= 3
        if arm["seeds"] == other["seeds"] == row["seeds"]:
            name = {"iou": "iou_per_image"}.get(row["measure"], row["measure"])
            assert middle == pytest.approx(float(arm[name]) - float(other[name]), abs=2e-4)


def test_the_intervals_follow_from_the_rows_of_the_images():
    groups = [row["group"] for row in rows("image_ids") if row["split"] == "test"]
    scores = defaultdict(dict)  # by (preset, arm), then (seed, image)
    for row in rows("images"):
        tp, fp, fn = (float(row[key]) for key in ("tp", "fp", "fn"))
        place = row["seed"], int(row["image"])
        scores[row["preset"], row["arm"]][place] = tp / (tp + fp + fn)
    pairs = [row for row in rows("differences") if row["measure"] == "iou"]
    pairs = [row for row in pairs if row["other"] != "otsu"]  # which has one seed
    generator = np.random.default_rng(1)
    for row in pairs[::5]:
        ours, theirs = (scores[row["preset"], row[key]] for key in ("arm", "other"))
        by_group = defaultdict(list)
        for place in sorted(ours.keys() & theirs.keys()):
            by_group[groups[place[1]]].append(ours[place] - theirs[place])
        columns = [*by_group.values()]
        draws = generator.integers(len(columns), size=(1000, len(columns)))
        means = [np.concatenate([columns[k] for k in draw]).mean() for draw in draws]
        low, high = np.percentile(means, (2.5, 97.5))
        width = float(row["high"]) - float(row["low"])
        assert float(row["low"]) == pytest.approx(low, abs=0.1 * width)
        assert float(row["high"]) == pytest.approx(high, abs=0.1 * width)


def test_the_committed_tables_are_what_the_report_writes(tmp_path):
    for path in [*RESULTS.glob("compare_*.csv"), RESULTS / "times.csv"]:
        shutil.copy(path, tmp_path)
    report.report(tmp_path)
    for name in ("compare_table.csv", "compare_differences.csv"):
        assert (tmp_path / name).read_bytes() == (RESULTS / name).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_the_committed_weights_reach_what_the_table_says(name, nuclei_zip):
    for quantity, value in measure(name, nuclei_zip).items():
        if isinstance(value, float):
            assert value == pytest.approx(float(measured(name)[quantity]), abs=0.002), quantity


@pytest.mark.parametrize("name", COMMANDS)
def test_the_weights_are_small_and_described(name):
    path = pretrained_path(name)
    text = path.with_suffix(".md").read_text(encoding="utf-8")
    assert path.stat().st_size <= 3e6
    assert hashlib.sha256(path.read_bytes()).hexdigest() in text
    assert text == card(name)
    assert load_pretrained(name).deep_supervision == name.startswith("unetpp")
    gain = float(measured(name)["IoU per image"]) - float(measured(name)["Otsu IoU per image"])
    assert gain >= 0.04


def test_the_page_on_speed_shows_the_table():
    page = benchmark.PAGE.read_text(encoding="utf-8")
    rows = read_rows(benchmark.TABLE)
    for name, text in benchmark.parts(rows).items():
        begin, end = marks(name)
        assert f"{begin}{text}{end}" in page
    for row in rows:
        assert f"| {' | '.join(benchmark.time_cells(row))} |" in page


@pytest.mark.parametrize("network", [UNet, UNetPlusPlus])
@pytest.mark.parametrize(
    ("up", "twin"), [("transposed", benchmark.monai_twin), ("bilinear", benchmark.SmpTwin)]
)
def test_the_peers_of_the_benchmark_compute_the_same(network, up, twin):
    model = benchmark.our_network(network, up)
    peer, image = twin(model).eval(), torch.rand(1, 1, 32, 32)
    with torch.inference_mode():
        theirs = benchmark.last(peer(image)).sigmoid()
    torch.testing.assert_close(predict(model, image), theirs, rtol=0, atol=1e-5)


def test_the_benchmark_times_networks_with_the_same_answers(monkeypatch):
    monkeypatch.setattr(benchmark, "CHANNELS", (2, 4, 8, 16, 32))
    turns = dict.fromkeys(("ours ms", "theirs ms", "ratio", "low", "high"), 1.0)
    monkeypatch.setattr(benchmark, "time_both", lambda *sides: turns)
    rows = list(benchmark.network_rows())
    equal = [row["difference"] for row in rows if row["theirs"] != "MONAI as it comes"]
    assert len(equal) == 8
    assert max(equal) <= 1e-5


def test_ours_is_as_fast_as_the_committed_table_has_to_say():
    """Against an equal network: 1.15 times in inference, no slower in training, losses, counts."""
    for row in read_rows(benchmark.TABLE):
        if row["difference"] or row["ours"].startswith("UNetPlusPlus L"):
            least = 1.15 if row["task"] == "inference" else 1.0
            assert float(row["ratio"]) >= least, row
            assert float(row["difference"] or 0) <= 1e-5
            assert float(row["ours peak MiB"] or 0) <= float(row["theirs peak MiB"] or 0)


def test_the_fast_network_is_as_fast_as_the_page_says():
    ratios = {
        (row["ours"], row["theirs"]): float(row["ratio"]) for row in read_rows(benchmark.TABLE)
    }
    assert ratios["HalfResolution, bfloat16", "UNet"] >= 3.5
    assert ratios["HalfResolution, bfloat16", "MONAI, 8 to 128 channels"] >= 2
