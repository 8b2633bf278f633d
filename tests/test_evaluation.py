"""Counts at every threshold, the choice of one, and the baseline to beat."""

import math

import pytest
import torch
from torchmetrics.classification import BinaryCalibrationError, MulticlassCalibrationError

from segedu import UNet, UNetPlusPlus, predict, segmenter, to_mask
from segedu.data import NucleiDataset, SyntheticNuclei
from segedu.evaluation import (
    THRESHOLDS,
    Reliability,
    best_iou,
    best_threshold,
    calibration_error,
    concatenate,
    constant_counts,
    dataset_iou,
    evaluate,
    otsu_threshold,
    reliability,
    threshold_counts,
    validate,
)
from segedu.metrics import confusion_matrix, mean_iou, stat_scores


def test_thresholds_go_from_5_to_95_percent():
    assert [round(100 * threshold) for threshold in THRESHOLDS] == list(range(5, 100, 5))


def at_every_threshold(probabilities, mask):
    """What `threshold_counts` gives, one threshold after the other."""
    return concatenate(
        [stat_scores(to_mask(probabilities, t), mask[None], num_classes=1) for t in THRESHOLDS]
    )


def exactly_at_the_thresholds():
    """Pixels at each threshold, and at its two neighbours among the floats."""
    at = torch.tensor(THRESHOLDS)
    near = [at, at.nextafter(torch.tensor(0.0)), at.nextafter(torch.tensor(1.0))]
    return torch.stack(near).view(1, 1, 3, -1)


@pytest.mark.parametrize(
    "probabilities",
    [
        torch.rand(1, 1, 40, 50, generator=torch.Generator().manual_seed(0)),
        exactly_at_the_thresholds(),
        torch.zeros(1, 1, 4, 5),
        torch.ones(1, 1, 4, 5),
    ],
    ids=["random", "at the thresholds", "zeros", "ones"],
)
def test_counts_at_every_threshold_are_those_of_the_masks(probabilities):
    half = torch.rand(probabilities.shape[2:], generator=torch.Generator().manual_seed(1)) < 0.5
    for mask in (half.long(), torch.zeros_like(half).long(), torch.ones_like(half).long()):
        counts = threshold_counts(probabilities, mask)
        for ours, expected in zip(counts, at_every_threshold(probabilities, mask), strict=True):
            assert torch.equal(ours, expected)


def test_the_best_threshold_has_the_highest_mean_over_the_images():
    """One image is right from 0.3 to 0.35, the other at 0.6 and 0.65; elsewhere half is right."""
    mask = torch.tensor([[1, 1, 0, 0]])
    low, high = (
        threshold_counts(torch.tensor([[[row]]]), mask)
        for row in ([0.9, 0.4, 0.3, 0.1], [0.7, 0.7, 0.6, 0.6])
    )
    for counts, expected, thresholds in (
        ([low], 1, (0.3, 0.35)),
        ([high], 1, (0.6, 0.65)),
        ([low, low, high], (1 + 1 + 1 / 2) / 3, (0.3, 0.35)),
        ([low, high, high], (1 / 2 + 1 + 1) / 3, (0.6, 0.65)),
    ):
        score, threshold = best_threshold(counts)
        assert score == pytest.approx(expected)
        assert threshold in thresholds


def test_of_equally_good_thresholds_the_one_nearest_to_a_half_is_chosen():
    mask = torch.tensor([[1, 0]])
    for foreground, background, expected in ((0.97, 0.02, 0.5), (0.9, 0.62, 0.65), (0.3, 0, 0.25)):
        counts = threshold_counts(torch.tensor([[[[foreground, background]]]]), mask)
        assert best_threshold([counts]) == (1.0, expected)


@pytest.mark.parametrize("num_classes", [1, 3])
def test_an_image_without_a_pixel_that_counts_has_no_score(num_classes):
    probabilities = torch.rand(1, num_classes, 4, 4).softmax(1)
    void = torch.full((4, 4), 255)
    mask = torch.randint(0, 2, (4, 4))
    pairs = [(probabilities, mask), (probabilities, void)]
    assert best_iou(pairs, 255) == best_iou(pairs[:1], 255)
    with pytest.raises(ValueError, match="all pixels of all 1 masks are ignored"):
        best_iou(pairs[1:], 255)


@pytest.mark.parametrize(
    "call",
    [
        otsu_threshold,
        lambda images: reliability(images, torch.zeros(4, 4)),
        lambda images: threshold_counts(images, torch.zeros(4, 4)),
    ],
)
def test_of_a_batch_no_image_is_dropped(call):
    with pytest.raises(ValueError, match=r"of one image.*got torch.float32 \(2, 1, 4, 4\)"):
        call(torch.rand(2, 1, 4, 4))


def test_validate_chooses_the_threshold_that_evaluate_confirms():
    torch.manual_seed(0)
    model = UNet(1, 1, channels=(4, 8)).eval()
    data = SyntheticNuclei(3, size=64)
    score, threshold = validate(model, data)
    at = {
        t: dataset_iou(evaluate(segmenter(model, threshold=t), data, num_classes=1))
        for t in (0.05, threshold, 0.5, 0.95)
    }
    assert at[threshold] == score == max(at.values())


@pytest.mark.parametrize("network", [UNet, UNetPlusPlus])
def test_validate_on_several_classes_counts_the_most_probable_one(network):
    torch.manual_seed(0)
    model = network(1, 3, channels=(4, 8, 8), deep_supervision=True).eval()
    sizes = [(20, 30), (16, 24), (40, 9)]
    data = [(torch.rand(1, *size), torch.randint(0, 3, size)) for size in sizes]
    score, threshold = validate(model, data)
    assert threshold == 0.5
    assert score == dataset_iou(evaluate(segmenter(model), data, num_classes=3))
    preds = torch.cat([predict(model, image[None]).argmax(dim=1).flatten() for image, _ in data])
    truth = torch.cat([mask.flatten() for _, mask in data])
    matrix = confusion_matrix(preds.view(1, 1, -1), truth.view(1, 1, -1), num_classes=3)
    assert score == pytest.approx(mean_iou(matrix, absent="skip"))


def test_evaluate_counts_each_image_in_its_own_size():
    sizes = [(4, 6), (10, 3)]
    data = [(torch.rand(2, *size), torch.randint(0, 2, size)) for size in sizes]
    counts = evaluate(lambda images: images[:, 1] > 0.5, data, num_classes=1)
    for k, (image, mask) in enumerate(data):
        expected = stat_scores((image[1:] > 0.5).long(), mask[None], num_classes=1)
        assert [column[k].item() for column in counts] == [column.item() for column in expected]
    assert counts.tp.shape == (2, 1)


def test_evaluate_leaves_ignored_pixels_out():
    image, mask = torch.zeros(1, 2, 3), torch.tensor([[0, 1, 255], [0, 255, 255]])
    counts = evaluate(
        lambda images: images[:, 0].long(), [(image, mask)], num_classes=1, ignore_index=255
    )
    assert [column.item() for column in counts] == [0, 0, 1, 2]


def test_probabilities_are_no_mask():
    data = [(torch.rand(1, 2, 3), torch.ones(2, 3, dtype=torch.int64))]
    with pytest.raises(ValueError, match="threshold or argmax first"):
        evaluate(lambda images: images[:, 0], data, num_classes=1)


def test_otsu_averages_the_channels_and_blurs():
    image = SyntheticNuclei(1, size=64)[0][0][None]
    mask = otsu_threshold(image)
    assert mask.shape == (1, 64, 64)
    assert mask.dtype == torch.bool
    assert torch.equal(otsu_threshold(torch.cat([image - 1, image, image + 1], dim=1)), mask)
    speck = torch.zeros(1, 1, 40, 40)
    speck[..., 10:30, 10:30] = 1
    clean = otsu_threshold(speck)
    speck[..., 3, 3] = 1  # one bright pixel, which the blur takes away
    assert torch.equal(otsu_threshold(speck), clean)


def test_otsu_on_the_real_test_images(nuclei_zip):
    """The baseline that a network has to beat."""
    data = NucleiDataset(nuclei_zip, split="test")
    assert dataset_iou(evaluate(otsu_threshold, data, num_classes=1)) == pytest.approx(
        0.78, abs=0.03
    )


@pytest.mark.parametrize("num_classes", [1, 3])
def test_the_counts_of_a_constant_answer_are_those_of_evaluating_it(num_classes):
    masks = torch.randint(max(num_classes, 2), (4, 8, 8))
    masks[:, :2] = 255
    data = [(torch.rand(1, 8, 8), mask) for mask in masks]
    options = {"num_classes": num_classes, "ignore_index": 255}
    counts = evaluate(lambda images: images[:, 0] > 0.5, data, **options)
    for index in range(max(num_classes, 2)):
        answer = evaluate(lambda images, k=index: torch.full((1, 8, 8), k), data, **options)
        for ours, expected in zip(constant_counts(counts, index), answer, strict=True):
            assert torch.equal(ours, expected)


def test_ignored_pixels_count_at_no_threshold():
    probabilities, mask = torch.rand(1, 1, 8, 8), torch.randint(2, (8, 8))
    half = mask.clone()
    half[:4] = 255
    expected = threshold_counts(probabilities[:, :, 4:], mask[4:])
    for counts, wanted in zip(threshold_counts(probabilities, half, 255), expected, strict=True):
        assert torch.equal(counts, wanted)
    pairs = [(probabilities, half)]
    assert best_iou(pairs, 255) == best_iou([(probabilities[:, :, 4:], mask[4:])])


@pytest.mark.parametrize("num_classes", [1, 4])
@pytest.mark.parametrize("bins", [15, 4])
def test_the_calibration_error_is_that_of_torchmetrics(num_classes, bins):
    shape = (3, num_classes, 40, 50)
    logits = 2 * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    masks = torch.randint(max(num_classes, 2), (3, 40, 50))
    masks[0, 30:] = masks[1] = 255
    if num_classes == 1:
        probabilities, theirs = logits.sigmoid(), BinaryCalibrationError(bins, ignore_index=255)
        theirs.update(probabilities[:, 0], masks)
    else:
        probabilities = logits.softmax(1)
        theirs = MulticlassCalibrationError(num_classes, bins, ignore_index=255)
        theirs.update(probabilities, masks)
    tables = [
        reliability(probabilities[k : k + 1], masks[k], 255, bins=bins) for k in range(len(masks))
    ]
    ours = calibration_error(Reliability(*map(sum, zip(*tables, strict=True))))
    assert ours == pytest.approx(theirs.compute().item(), abs=1e-6)
    assert tables[0].pixels.sum() == 30 * 50


def test_no_pixel_has_no_calibration_error():
    table = reliability(torch.rand(1, 1, 4, 4), torch.full((4, 4), 9), 9)
    assert math.isnan(calibration_error(table))
    with pytest.raises(ValueError, match="these may be logits"):
        reliability(torch.full((1, 1, 4, 4), 3.0), torch.ones(4, 4).long())
