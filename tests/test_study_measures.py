"""What is measured of a run, and the tables that follow from it, on made pictures and numbers."""

import numpy as np
import pytest
import torch
from scipy import stats
from skimage.measure import label
from torchmetrics.functional.classification import binary_calibration_error

from segedu.evaluation import THRESHOLDS
from segedu.metrics import average_precision, surface_dice
from segedu.objects import label_objects
from study.intervals import crossed_interval
from study.measures import (
    differences,
    image_scores,
    measure,
    read_runs,
    run_scores,
    table,
    write_runs,
)
from tests.helpers import FewNuclei

FIELDS = ["x", "x", "y", "z"]


def brightness(image):
    """The probability of a pixel is nearly its brightness, and on no edge of a bin."""
    return 0.99 * image.as_subclass(torch.Tensor).clamp(0, 1) + 0.003


def test_what_is_measured_is_what_other_code_finds():
    images = FewNuclei(48)
    run = measure(brightness, images, classes=1, threshold=0.3)
    answers = np.stack([brightness(image)[0].numpy() for image, _ in images])
    truths = np.stack([mask.numpy() > 0 for _, mask in images])
    assert not truths[3].any()
    for name, threshold in (("iou", 0.3), ("iou_half", 0.5)):
        preds = answers > np.float32(threshold)
        unions = (preds | truths).sum((1, 2))
        expected = np.where(unions, (preds & truths).sum((1, 2)) / np.maximum(unions, 1), 1)
        assert image_scores(run["images"], name) == pytest.approx(expected)
    preds = answers > np.float32(0.3)
    recall = (preds & truths)[:3].sum((1, 2)) / truths[:3].sum((1, 2))
    assert image_scores(run["images"], "recall") == pytest.approx([*recall, np.nan], nan_ok=True)

    for number, row in enumerate(run["images"]):
        nuclei, found = images.instances(number), label(preds[number], connectivity=1)
        assert row["objects"] == found.max()
        ap = average_precision(found, nuclei).mean
        assert row["average_precision"] == pytest.approx(ap, abs=6e-5)
        cut = label_objects(preds[number], split=True)
        ap = average_precision(cut, nuclei).mean
        assert row["average_precision_split"] == pytest.approx(ap, abs=6e-5)
        near = surface_dice(
            preds[number][None].astype(int), truths[number][None].astype(int),
            num_classes=1, tolerance=1, average="image", absent=1.0,
        )  # fmt: skip
        assert row["surface_dice"] == pytest.approx(near, abs=6e-5)

    scores = run_scores(run)
    every = []
    for threshold in THRESHOLDS:
        preds = answers > np.float32(threshold)
        unions = (preds | truths).sum((1, 2))
        every.append(np.where(unions, (preds & truths).sum((1, 2)) / np.maximum(unions, 1), 1))
    assert scores["best_iou"] == pytest.approx(np.max(every, axis=0).mean(), abs=6e-5)
    assert scores["best_threshold_iou"] == pytest.approx(np.mean(every, axis=1).max(), abs=6e-5)
    error = binary_calibration_error(
        torch.tensor(answers).flatten(), torch.tensor(truths).flatten().long(), n_bins=15
    )
    assert scores["calibration_error"] == pytest.approx(float(error), abs=1e-4)


def test_three_classes_have_grown_interiors_and_no_threshold():
    images = FewNuclei(48, target="three_class")
    masks = iter([mask.as_subclass(torch.Tensor) for _, mask in images])

    def truth(image):
        return torch.nn.functional.one_hot(next(masks), 3).permute(2, 0, 1)[None].float()

    run = measure(truth, images, classes=3)
    scores = run_scores(run)
    assert run["thresholds"] == []
    assert scores["iou"] == scores["surface_dice"] == 1.0
    assert scores["calibration_error"] == 0.0
    assert scores["average_precision"] > 0.9  # nearly every nucleus is found again
    assert np.isnan(scores["best_iou"])


def made_run(ious: list[float]) -> dict:
    """A run whose images have these IoUs, in hundredths."""
    rows = []
    for number, score in enumerate(ious):
        tp = round(100 * score)
        counts = {"tp": tp, "fp": 100 - tp, "fn": 0}
        rows.append(
            {"image": number}
            | counts
            | {f"{name}_half": count for name, count in counts.items()}
            | {"surface_dice": score, "average_precision": score, "average_precision_split": score}
            | {"objects": 1, "objects_split": 2, "best_iou": score}
        )
    bins = [{"bin": 0, "pixels": 4, "probability": 1.0, "right": 2}]
    sums = {"tp": 1, "fp": 1, "fn": 1, "tn": 1}
    return {
        "images": rows,
        "thresholds": [{"threshold": 0.5, "iou_per_image": 0.5} | sums],
        "reliability": bins,
    }


@pytest.fixture
def runs():
    generator = np.random.default_rng(0)
    base = generator.uniform(0.3, 0.5, (3, 4)).round(2)
    return {
        ("a", seed): made_run((row + generator.uniform(0.2, 0.3, 4)).round(2).tolist())
        for seed, row in enumerate(base)
    } | {("b", seed): made_run(row.tolist()) for seed, row in enumerate(base)} | {
        ("otsu", 0): made_run([0.1, 0.2, 0.3, 0.4])
    }  # fmt: skip


def test_the_table_has_mean_and_spread_over_the_seeds(runs):
    rows = {row["arm"]: row for row in table(runs)}
    means = [image_scores(runs["a", seed]["images"], "iou").mean() for seed in range(3)]
    assert rows["a"]["iou"] == pytest.approx(np.mean(means), abs=6e-5)
    assert rows["a"]["iou_sd"] == pytest.approx(np.std(means, ddof=1), abs=6e-5)
    assert (rows["otsu"]["seeds"], rows["otsu"]["iou"], rows["otsu"]["iou_sd"]) == (1, 0.25, None)
    assert rows["b"]["calibration_error"] == 0.25  # |1 - 2| / 4
    assert (rows["b"]["objects"], rows["b"]["objects_split"]) == (4, 8)


def test_the_differences_have_the_crossed_interval_and_holms_correction(runs):
    families = {
        "networks": [("a", "b", "iou"), ("b", "a", "recall"), ("a", "missing", "iou")],
        "baselines": [("b", "otsu", "iou")],
    }
    rows = differences(runs, FIELDS, families)
    assert [row["arm"] for row in rows] == ["a", "b", "b"]
    ours, theirs = (
        np.array([image_scores(runs[arm, seed]["images"], "iou") for seed in range(3)])
        for arm in "ab"
    )
    expected = crossed_interval(ours - theirs, FIELDS)
    assert rows[0]["mean"] == pytest.approx(expected.mean, rel=0.01)
    assert rows[0]["low"] == pytest.approx(expected.low, rel=0.01)
    assert rows[0]["adjusted"] == pytest.approx(2 * expected.p_value, rel=0.01)
    assert rows[2]["adjusted"] == rows[2]["p_value"]  # alone in its family
    assert rows[0]["verdict"] == "separated"
    assert rows[1]["verdict"] == "not separated from noise"  # recall is 1 for both


def test_the_rows_are_read_as_they_were_written(runs, tmp_path):
    write_runs(tmp_path, runs)
    assert table(read_runs(tmp_path)) == table(runs)


def test_the_interval_is_that_of_t_where_the_fields_agree():
    seeds = [0.1, 0.2, 0.4, 0.3]
    runs = {("a", k): made_run([score + 0.1] * 4) for k, score in enumerate(seeds)}
    runs |= {("b", k): made_run([0.2] * 4) for k in range(4)}
    (row,) = differences(runs, FIELDS, {"all": [("a", "b", "iou")]})
    known = stats.ttest_1samp(np.array(seeds) - 0.1, 0)
    assert [row["low"], row["high"]] == pytest.approx(known.confidence_interval(0.95), rel=0.01)
    assert row["p_value"] == pytest.approx(known.pvalue, rel=0.01)
