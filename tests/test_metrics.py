"""Metrics against scikit-learn, torchmetrics and segmentation_models_pytorch, and by hand."""

import math

import numpy as np
import pytest
import segmentation_models_pytorch.metrics as smp
import sklearn.metrics as sk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics import compute_surface_dice as monai_surface_dice
from torchmetrics.functional import classification as tm

import segedu.metrics as M

IGNORE = 255
TORCHMETRICS_ORDER = [0, 1, 3, 2]  # it has tp, fp, tn, fn, support
REFERENCES = {
    M.iou: (sk.jaccard_score, smp.iou_score),
    M.dice: (sk.f1_score, smp.f1_score),
    M.precision: (sk.precision_score, smp.precision),
    M.recall: (sk.recall_score, smp.recall),
}

# Two images of 4x4, by hand. First: TP 2, FP 2, FN 4. Second: nothing there, nothing predicted.
TRUTH = torch.tensor([[[1, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]], [[0, 0, 0, 0]] * 4])
PREDS = torch.tensor([[[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]], [[0, 0, 0, 0]] * 4])


def masks(num_classes, *, n=3, size=16, seed=0):
    """Truth, and a prediction that is right in about 70 % of the pixels."""
    generator = torch.Generator().manual_seed(seed)
    shape = (n, size, size)
    truth = torch.randint(num_classes, shape, generator=generator)
    noise = torch.randint(num_classes, shape, generator=generator)
    return torch.where(torch.rand(shape, generator=generator) < 0.7, truth, noise), truth


# -- counts ------------------------------------------------------------------------------------


def test_stat_scores_by_hand():
    scores = M.stat_scores(PREDS, TRUTH, num_classes=1)
    assert [count.tolist() for count in scores] == [[[2], [0]], [[2], [0]], [[4], [0]], [[8], [16]]]
    tp, fp, fn, tn = M.stat_scores(PREDS, TRUTH, num_classes=2)
    assert tp.tolist() == [[8, 2], [16, 0]]  # the background's true positives are the negatives
    assert (fp[:, 0] == fn[:, 1]).all()
    assert (tn[:, 1] == tp[:, 0]).all()
    assert all(count.dtype == torch.int64 for count in scores)


@pytest.mark.parametrize("num_classes", [1, 2, 5])
@pytest.mark.parametrize("ignore_index", [None, 0, IGNORE])
def test_stat_scores_equal_torchmetrics(num_classes, ignore_index):
    preds, truth = masks(max(num_classes, 2))
    if ignore_index is not None:
        truth[:, ::3] = ignore_index
    options = {"ignore_index": ignore_index, "multidim_average": "samplewise"}
    if num_classes == 1:
        expected = tm.binary_stat_scores(preds, truth, **options)[:, None]
    else:
        expected = tm.multiclass_stat_scores(preds, truth, num_classes, average=None, **options)
    ours = M.stat_scores(preds, truth, num_classes=num_classes, ignore_index=ignore_index)
    assert torch.equal(torch.stack(ours, -1), expected[..., TORCHMETRICS_ORDER])


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.uint16, np.int32])
def test_masks_may_be_numpy_and_have_a_channel(dtype):
    preds, truth = (mask.numpy().astype(dtype) for mask in (PREDS, TRUTH))
    expected = M.stat_scores(PREDS, TRUTH, num_classes=1)
    ours = M.stat_scores(preds[:, None], truth[:, None], num_classes=1)
    assert all(torch.equal(a, b) for a, b in zip(ours, expected, strict=True))


@pytest.mark.parametrize("num_classes", [2, 4])
def test_confusion_matrix_equals_sklearn(num_classes):
    preds, truth = masks(num_classes)
    ours = M.confusion_matrix(preds, truth, num_classes=num_classes)
    assert ours.tolist() == sk.confusion_matrix(truth.ravel(), preds.ravel()).tolist()
    truth[0] = IGNORE
    ours = M.confusion_matrix(preds, truth, num_classes=num_classes, ignore_index=IGNORE)
    assert ours.tolist() == sk.confusion_matrix(truth[1:].ravel(), preds[1:].ravel()).tolist()


# -- scores ------------------------------------------------------------------------------------


@pytest.mark.parametrize("pooling", ["image", "image_set", "class", "set"])
def test_scores_by_hand_per_image(pooling):
    scores = M.stat_scores(PREDS, TRUTH, num_classes=1)
    by_hand = {M.iou: 2 / 8, M.dice: 4 / 10, M.precision: 2 / 4, M.recall: 2 / 6}
    for metric, score in by_hand.items():
        # The empty image matters only where each image has a score.
        for absent, mean in ((0.0, score / 2), (1.0, (score + 1) / 2), ("skip", score)):
            expected = mean if pooling in ("image", "image_set") else score
            ours = metric(*scores, average=pooling, absent=absent)
            assert ours == pytest.approx(expected)


def test_scores_by_hand_of_two_classes():
    scores = M.stat_scores(PREDS, TRUTH, num_classes=2)
    background = 8 / 14, 16 / 16
    table = M.iou(*scores, average="none", absent="skip")
    torch.testing.assert_close(table[:, 0], torch.tensor(background, dtype=torch.float64))
    assert table[0, 1] == 2 / 8
    assert math.isnan(table[1, 1])
    expected = {
        "image": ((8 / 14 + 2 / 8) / 2 + 1) / 2,  # the second image has only background
        "image_set": (10 / 22 + 16 / 16) / 2,
        "class": (24 / 30 + 2 / 8) / 2,
        "set": 26 / 38,
    }
    for pooling, score in expected.items():
        assert M.iou(*scores, average=pooling, absent="skip") == pytest.approx(score)


@pytest.mark.parametrize("metric", REFERENCES)
@pytest.mark.parametrize(("pooling", "average"), [("class", "macro"), ("set", "micro")])
@pytest.mark.parametrize("num_classes", [2, 5])
def test_pooled_scores_equal_sklearn(metric, pooling, average, num_classes):
    preds, truth = masks(num_classes)
    scores = M.stat_scores(preds, truth, num_classes=num_classes)
    expected = REFERENCES[metric][0](truth.ravel(), preds.ravel(), average=average)
    ours = metric(*scores, average=pooling, absent=0.0)
    assert ours == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("metric", REFERENCES)
@pytest.mark.parametrize("absent", [0.0, 1.0])
@pytest.mark.parametrize("num_classes", [1, 4])
@pytest.mark.parametrize(
    ("pooling", "reduction"),
    [
        ("none", "none"),
        ("image", "macro-imagewise"),
        ("image_set", "micro-imagewise"),
        ("class", "macro"),
        ("set", "micro"),
    ],
)
@pytest.mark.filterwarnings("ignore:Zero division")
def test_scores_equal_smp(metric, absent, num_classes, pooling, reduction):
    preds, truth = masks(max(num_classes, 2))
    preds[0] = truth[0] = 0  # an empty image
    preds, truth = preds.unsqueeze(1), truth.unsqueeze(1)
    mode = {"mode": "binary"} if num_classes == 1 else {"mode": "multiclass", "num_classes": 4}
    counts = smp.get_stats(preds, truth, **mode)
    expected = REFERENCES[metric][1](*counts, reduction=reduction, zero_division=absent)
    scores = M.stat_scores(preds, truth, num_classes=num_classes)
    ours = metric(*scores, average=pooling, absent=absent)
    torch.testing.assert_close(torch.as_tensor(ours).float(), torch.as_tensor(expected).float())


def test_mean_iou_equals_torchmetrics_and_leaves_the_background_out():
    preds, truth = masks(4)
    scores = M.stat_scores(preds, truth, num_classes=5)  # class 4 is nowhere
    matrix = M.confusion_matrix(preds, truth, num_classes=5)
    ours = M.mean_iou(matrix, absent="skip")
    assert ours == pytest.approx(M.iou(*scores, average="class", absent="skip"))
    assert ours == pytest.approx(tm.multiclass_jaccard_index(preds, truth, 5).item())
    without = M.mean_iou(matrix, absent=0.0, background=False)
    foreground = (count[:, 1:] for count in scores)
    assert without == pytest.approx(M.iou(*foreground, average="class", absent=0.0))


def test_ignored_pixels_are_as_if_cut_away():
    preds, truth = masks(3)
    masked = truth.clone()
    masked[..., 10:] = IGNORE
    ours = M.stat_scores(preds, masked, num_classes=3, ignore_index=IGNORE)
    expected = M.stat_scores(preds[..., :10], truth[..., :10], num_classes=3)
    assert all(torch.equal(a, b) for a, b in zip(ours, expected, strict=True))


counts = st.integers(0, 1000)


@given(counts, counts, counts)
@settings(max_examples=50, deadline=None)
def test_dice_follows_from_iou_on_one_table(tp, fp, fn):
    table = [torch.tensor([[count]]) for count in (tp, fp, fn)]
    iou, dice, precision, recall = (
        metric(*table, average="set", absent=1.0) for metric in REFERENCES
    )
    assert 0 <= iou <= dice <= 1
    assert dice == pytest.approx(2 * iou / (1 + iou))
    assert iou <= min(precision, recall) or not tp
    if precision + recall and tp:
        assert dice == pytest.approx(2 * precision * recall / (precision + recall))


@given(st.lists(st.tuples(counts, counts, counts), min_size=1, max_size=6))
@settings(max_examples=50, deadline=None)
def test_poolings_agree_for_one_class_and_order_does_not_matter(rows):
    table = torch.tensor(rows).T.unsqueeze(2)  # (3, N, 1)
    score = {
        p: M.iou(*table, average=p, absent=0.5) for p in ("image", "image_set", "class", "set")
    }
    assert score["image"] == score["image_set"]
    assert score["class"] == score["set"]
    reverse = M.iou(*table.flip(1), average="image", absent=0.5)
    assert reverse == pytest.approx(score["image"])


def test_pitfall_one_set_of_predictions_has_many_ious():
    """Empty images, batches and pooling move the answer; the masks are the same 64."""
    generator = torch.Generator().manual_seed(0)
    side = torch.randint(1, 26, (64,), generator=generator)  # sides of square objects
    side[::8] = 0  # every eighth image is empty
    inside = torch.arange(32).expand(64, 32) < side[:, None]
    truth = (inside[:, None] & inside[:, :, None]).long()
    preds = truth.roll(1, dims=-1)
    preds[0, 0, 0] = 1  # one false alarm in an empty image
    tp, fp, fn, _ = M.stat_scores(preds, truth, num_classes=1)
    answers = [M.iou(tp, fp, fn, average="image", absent=a) for a in (0.0, "skip", 1.0)]
    for size in (4, 16, 64):  # mean over batches of this size; the last one is the whole set
        batches = [count.view(-1, size).sum(1, keepdim=True) for count in (tp, fp, fn)]
        answers.append(M.iou(*batches, average="image", absent=1.0))
    assert answers[-1] == M.iou(tp, fp, fn, average="set", absent=0.0)
    assert [round(answer, 2) for answer in answers] == [0.69, 0.77, 0.8, 0.87, 0.89, 0.89]
    assert answers == sorted(set(answers))  # no two are equal


def test_pitfall_foreground_iou_of_0_843_is_a_dice_of_0_915():
    tp, fp, fn = (torch.tensor([[count]]) for count in (843, 57, 100))
    assert M.iou(tp, fp, fn, average="set", absent=0.0) == pytest.approx(0.843)
    assert M.dice(tp, fp, fn, average="set", absent=0.0) == pytest.approx(0.915, abs=5e-4)
    for foreground in (0.1, 0.2):  # averaging the background's IoU in
        background = round(943 * (1 / foreground - 1)) - 57  # its true positives
        matrix = torch.tensor([[background, 57], [100, 843]])
        assert 0.895 < M.mean_iou(matrix, absent="skip") < 0.92


# -- objects -----------------------------------------------------------------------------------


def rows(*lengths_and_labels, width=40):
    """A label image of one row: (label, start, stop) each."""
    image = np.zeros((1, width), dtype=np.uint16)
    for label, start, stop in lengths_and_labels:
        image[0, start:stop] = label
    return image


def test_average_precision_by_hand():
    truth = rows((3, 0, 10), (7, 20, 30))
    preds = rows((1, 0, 8), (2, 20, 26), (9, 35, 40))  # IoU 0.8, 0.6, and a false alarm
    mean, scores, tp = M.average_precision(preds, truth)
    assert tp == [2] * 2 + [1] * 4 + [0] * 4
    assert scores == [2 / 3] * 2 + [1 / 4] * 4 + [0] * 4  # IoU has to be above the threshold
    assert mean == pytest.approx(sum(scores) / 10)
    assert M.average_precision(preds, truth, thresholds=[0.5]).mean == 2 / 3


def test_average_precision_without_objects():
    nothing, something = rows(), rows((1, 0, 5))
    assert M.average_precision(nothing, nothing).mean == 1
    assert M.average_precision(nothing, something).mean == 0
    assert M.average_precision(something, nothing).mean == 0
    assert M.average_precision(something, something * 500).mean == 1  # labels are only names
    assert M.average_precision(np.ones((2, 2), int), np.full((2, 2), 9)).mean == 1


def test_merged_and_split_objects_are_errors():
    two, one = rows((1, 0, 10), (2, 10, 20)), rows((1, 0, 20))
    assert M.average_precision(one, two, thresholds=[0.5]).mean == 0  # each IoU is exactly 0.5
    assert M.average_precision(two, one, thresholds=[0.5]).mean == 0


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_average_precision_equals_a_plain_loop(seed):
    generator = np.random.default_rng(seed)
    truth = np.repeat(generator.integers(0, 5, (4, 6)), 3, axis=1)
    preds = np.where(generator.random(truth.shape) < 0.15, 0, truth * 11)
    expected, matched = [], []
    for threshold in (0.5, 0.75):
        objects = [(truth == i, preds == j) for i in range(1, 5) for j in (11, 22, 33, 44)]
        tp = sum((t & p).sum() > threshold * (t | p).sum() for t, p in objects if (t | p).any())
        total = len(set(truth[truth > 0])) + len(set(preds[preds > 0])) - tp
        expected.append(tp / total if total else 1)
        matched.append(tp)
    found = M.average_precision(preds, truth, thresholds=(0.5, 0.75))
    assert (found.scores, found.tp) == (expected, matched)


# -- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preds", "target", "message"),
    [
        (PREDS.float(), TRUTH, "preds must hold integer labels .threshold or argmax first."),
        (PREDS[:0], TRUTH[:0], "integer labels"),
        (PREDS[0], TRUTH[0], "N, H, W"),
        (PREDS.expand(2, 2, 4, 4), TRUTH.expand(2, 2, 4, 4), "N, 1, H, W"),
        (PREDS * 255, TRUTH, "preds must lie in .0, 1., got values from 0 to 255"),
        (PREDS, TRUTH - 1, "target .* from -1 to 0 .see ignore_index"),
        (PREDS, TRUTH + 1, "target .* from 1 to 2 .see ignore_index"),
    ],
)
def test_bad_masks_raise(preds, target, message):
    with pytest.raises(ValueError, match=message):
        M.stat_scores(preds, target, num_classes=1, ignore_index=IGNORE)


@pytest.mark.parametrize("metric", REFERENCES)
def test_pooling_and_absent_have_no_default(metric):
    scores = M.stat_scores(PREDS, TRUTH, num_classes=1)
    with pytest.raises(TypeError, match="average"):
        metric(*scores, absent=1.0)
    with pytest.raises(TypeError, match="absent"):
        metric(*scores, average="set")


def test_without_a_score_that_counts_there_is_no_mean():
    with pytest.raises(ValueError, match="every score is 0 / 0 and skipped"):
        M.iou(*[torch.zeros(2, 1)] * 3, average="image", absent="skip")


# -- outlines ----------------------------------------------------------------------------------


def outline(mask):
    """The pixels of a mask with a side that touches something else, as a list of places."""
    padded = np.pad(mask, 1)
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return np.argwhere(mask & ~inside)


def near_by_all_pairs(pred, true, tolerance):
    """Surface Dice from the distances of all pairs of outline pixels."""
    a, b = outline(pred), outline(true)
    if not len(a) + len(b):
        return math.nan
    distance = np.linalg.norm(a[:, None] - b[None], axis=2)
    near = (distance <= tolerance).any(1).sum() + (distance <= tolerance).any(0).sum()
    return near / (len(a) + len(b))


@pytest.mark.filterwarnings("ignore:.*is all 0", "ignore:.*has been deprecated:FutureWarning")
@pytest.mark.parametrize("tolerance", [0, 1, 1.5, 3])
def test_surface_dice_equals_all_pairs_and_monai(tolerance):
    preds, truth = masks(3, n=4, size=20)
    preds[1][preds[1] == 2] = 0
    truth[1][truth[1] == 2] = 0  # absent from both
    preds[2][preds[2] == 2] = 0  # and from one
    preds[3], truth[3] = 0, 0
    preds[3, 4:12, 0:9], truth[3, 6:13, 0:9] = 1, 1  # at the edge of the image
    options = {"num_classes": 3, "average": "none", "absent": "skip"}
    table = M.surface_dice(preds, truth, tolerance=tolerance, **options).numpy()
    expected = [
        [near_by_all_pairs((p == k).numpy(), (t == k).numpy(), tolerance) for k in range(3)]
        for p, t in zip(preds, truth, strict=True)
    ]
    np.testing.assert_allclose(table, expected, rtol=1e-12)
    one_hot = [
        torch.nn.functional.one_hot(mask, 3).movedim(-1, 1).numpy() for mask in (preds, truth)
    ]
    theirs = monai_surface_dice(
        *map(torch.as_tensor, one_hot), class_thresholds=[tolerance] * 3, include_background=True
    )
    np.testing.assert_allclose(table, theirs.numpy(), rtol=1e-6)


def test_surface_dice_of_one_class_is_that_of_the_foreground():
    preds, truth = masks(2)
    options = {"tolerance": 1, "average": "none", "absent": "skip"}
    both = M.surface_dice(preds, truth, num_classes=2, **options)
    for one in (preds, preds[:, None].numpy()):
        other = truth if one is preds else truth[:, None]
        assert torch.equal(M.surface_dice(one, other, num_classes=1, **options), both[:, 1:])


def test_surface_dice_does_not_see_ignored_pixels():
    truth = torch.zeros(1, 10, 30, dtype=torch.long)
    truth[:, 2:8, 2:8] = 1
    preds = truth.clone()
    options = {"num_classes": 1, "tolerance": 1, "average": "none", "absent": "skip"}
    preds[:, 2:8, 20:28] = 1  # far from everything
    assert M.surface_dice(preds, truth, **options) < 1
    truth[:, :, 19:] = IGNORE
    assert M.surface_dice(preds, truth, ignore_index=IGNORE, **options) == 1
    truth[:] = IGNORE
    assert M.surface_dice(preds, truth, ignore_index=IGNORE, **options).isnan()
    with pytest.raises(ValueError, match="tolerance must be a number of at least 0, got -1"):
        M.surface_dice(preds, preds, **options | {"tolerance": -1})
