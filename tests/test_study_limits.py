"""What limits the networks: hand-made pictures, and the committed tables computed again."""

import doctest

import numpy as np
import pytest
import torch

from segedu import UNet, predict
from segedu.evaluation import THRESHOLDS
from segedu.files import read_rows
from study import limits, report
from study.limits import PLACES, edge_level, field_interval, moved_iou, network_rows, place_errors
from tests.helpers import FewNuclei


def disc(radius: float, side: int = 80) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side] - (side - 1) / 2
    return rows**2 + columns**2 <= radius**2


def test_the_examples_are_right():
    assert doctest.testmod(limits).failed == 0


def test_an_outline_drawn_too_wide_is_wrong_in_its_first_pixels():
    square = np.zeros((30, 30), int)
    square[10:20, 10:20] = 1
    wide = np.zeros((30, 30), int)
    wide[7:23, 7:23] = 1  # three pixels more on every side
    found = place_errors(wide, square)
    assert found["missed_object"] == found["false_object"] == 0
    assert sum(found.values()) == 16**2 - 10**2
    # The corners of each ring are farther than its sides: sqrt(2), then 2 sqrt(2) and sqrt(5).
    assert found["first_pixel"] == 40
    assert found["second_pixel"] == 40 + 4


def test_missed_and_false_objects_are_counted_whole():
    truth, preds = np.zeros((2, 20, 20), int)
    truth[2:5, 2:5], truth[10:14, 2:6] = 1, 2
    preds[10:14, 2:6], preds[12:17, 12:17] = 1, 1
    assert place_errors(preds, truth) == dict.fromkeys(PLACES, 0) | {
        "missed_object": 9,
        "false_object": 25,
    }


@pytest.mark.parametrize("truth", [np.zeros((4, 5), int), np.ones((4, 5), int)])
def test_a_picture_without_an_outline_has_its_errors_deeper_or_in_objects(truth):
    errors = place_errors(1 - truth, truth)
    assert errors == dict.fromkeys(PLACES, 0) | {
        "missed_object" if truth.any() else "false_object": 20
    }


@pytest.mark.parametrize("radius", [5, 10, 20])
def test_a_moved_disc_has_the_iou_of_two_discs(radius):
    truth = disc(radius)
    assert moved_iou(truth, 0.5) == pytest.approx((radius / (radius + 0.5)) ** 2, abs=0.01)
    assert moved_iou(truth, -0.5) == pytest.approx(((radius - 0.5) / radius) ** 2, abs=0.01)


def test_the_edge_level_says_how_far_outside_an_outline_was_drawn():
    rows, columns = np.mgrid[:80, :80] - 39.5
    profile = 1 / (1 + np.exp((np.hypot(rows, columns) - 20) / 1.5))  # half-way up at 20
    levels = [edge_level(100 * profile + 7, disc(radius)) for radius in (18, 20, 22)]
    assert levels == pytest.approx(1 / (1 + np.exp(np.array([-2, 0, 2]) / 1.5)), abs=0.03)
    assert np.isnan(edge_level(profile, disc(2)))  # no core
    assert np.isnan(edge_level(np.ones((80, 80)), disc(20)))


def test_a_threshold_is_taken_from_the_tile_beside():
    torch.manual_seed(0)
    tiles, model = FewNuclei(48, groups="xyxz"), UNet(1, 1, channels=(4, 8))
    model.threshold = 0.4
    ious = np.zeros((4, len(THRESHOLDS)))
    for number, (image, mask) in enumerate(tiles):
        answer = predict(model, image[None])[0, 0].numpy()
        for k, threshold in enumerate(THRESHOLDS):
            preds, truth = answer > np.float32(threshold), mask.numpy() > 0
            union = (preds | truth).sum()
            ious[number, k] = (preds & truth).sum() / union if union else 1.0  # 3 has no nucleus
    rows = network_rows("tiny", model, tiles)
    assert [row["iou"] for row in rows] == pytest.approx(ious[:, 7], abs=6e-5)
    assert [row["best_iou"] for row in rows] == pytest.approx(ious.max(axis=1), abs=6e-5)
    assert rows[0]["sibling_iou"] == pytest.approx(ious[0, ious[2].argmax()], abs=6e-5)
    assert rows[2]["sibling_iou"] == pytest.approx(ious[2, ious[0].argmax()], abs=6e-5)
    assert rows[1]["sibling_iou"] is rows[3]["sibling_iou"] is None
    wrong = [sum(row[place] for place in PLACES) for row in rows]
    answers = [predict(model, image[None])[0, 0].numpy() > np.float32(0.4) for image, _ in tiles]
    masks = [mask.numpy() > 0 for _, mask in tiles]
    assert wrong == [(a != m).sum() for a, m in zip(answers, masks, strict=True)]


def test_the_interval_of_a_mean_is_that_of_the_report():
    values = np.random.default_rng(0).standard_normal(40)
    fields = list(np.arange(40) // 3)
    found = field_interval(lambda chosen: values[chosen].mean(), fields, resamples=4000)
    assert found == pytest.approx(report.bootstrap(values, fields), abs=0.03)


def test_the_committed_table_follows_from_the_rows_of_the_images():
    truth, networks, table = (
        read_rows(limits.RESULTS / f"{name}.csv")
        for name in ("limits_truth", "limits_images", "limits")
    )
    assert len(truth) == 85
    again = limits.summary(truth, networks)
    assert [{name: str(cell) for name, cell in row.items()} for row in again] == table
    ours = [row for row in networks if row["network"] == "unetpp-nuclei"]
    gains = [float(r["sibling_iou"]) - float(r["iou"]) for r in ours if r["sibling_iou"]]
    assert len(gains) == 50
    (row,) = (row for row in table if row["of"] == "unetpp-nuclei" and "sibling" in row["quantity"])
    assert float(row["value"]) == pytest.approx(np.mean(gains), abs=6e-5)
