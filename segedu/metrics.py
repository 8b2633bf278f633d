"""Metrics for segmentation: count first, then formulas of the counts.

``stat_scores`` counts TP, FP, FN and TN per image and class. IoU, Dice, precision and recall are
ratios of these counts. Their value depends on two choices, which have no default here.

``average`` says what is summed before the ratio is taken, and what the mean runs over:

===========  ==================================================================================
"none"       Nothing is summed: the (N, K) table itself.
"image"      Nothing is summed: mean over the classes of each image, then over images.
             segmentation_models_pytorch: "macro-imagewise"; for K = 1 also "micro-imagewise".
"image_set"  Sum over the classes of each image; mean over images.
             segmentation_models_pytorch: "micro-imagewise"; scikit-learn: average="samples".
"class"      Sum over the images for each class; mean over classes. The usual mean IoU.
             segmentation_models_pytorch, scikit-learn and torchmetrics: "macro".
"set"        Sum over everything: one ratio.
             segmentation_models_pytorch, scikit-learn and torchmetrics: "micro".
===========  ==================================================================================

``absent`` is the score where the ratio is 0 / 0 (for IoU: the class is neither present nor
predicted): a number from 0 to 1, or "skip" to leave it out of every mean. If nothing is left, the
mean is a ValueError; in the table of average "none", a skipped score is NaN.

The background is a class like any other: leave it out with
``iou(*(count[:, 1:] for count in scores), average="class", absent="skip")``.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .checks import check_choice, check_integer, check_number, check_range, describe


class StatScores(NamedTuple):
    """Pixel counts, each int64 (N, K)."""

    tp: Tensor
    fp: Tensor
    fn: Tensor
    tn: Tensor


class AveragePrecision(NamedTuple):
    """Object-level scores and true positives at each threshold, and the scores' mean."""

    mean: float
    scores: list[float]
    tp: list[int]


def _labels(name: str, mask: Tensor | np.ndarray) -> Tensor:
    if isinstance(mask, np.ndarray) and mask.dtype.kind in "bui":
        mask = torch.from_numpy(mask.astype(np.int64))
    if not isinstance(mask, Tensor) or mask.is_floating_point() or not mask.numel():
        got = describe(mask)
        raise ValueError(f"{name} must hold integer labels (threshold or argmax first), got {got}")
    return mask.long()


def _confusion(preds: Tensor, target: Tensor, num_classes: int, ignore_index: int | None) -> Tensor:
    """Confusion matrix per image, (N, K, K): rows are the truth, columns the prediction."""
    preds, target = _labels("preds", preds), _labels("target", target)
    shape = preds.shape
    fits = target.shape == shape and target.device == preds.device
    if not fits or (len(shape) != 3 and not (len(shape) == 4 and shape[1] == 1)):
        got = f"{describe(preds)} and {describe(target)}"
        raise ValueError(f"preds and target must both be (N, H, W) or (N, 1, H, W), got {got}")
    n, k = len(preds), num_classes
    preds, target = preds.reshape(n, -1), target.reshape(n, -1)
    check_range("preds", preds, 0, k - 1)
    ignored = None if ignore_index is None else target == ignore_index
    counted = target if ignored is None else target.masked_fill(ignored, 0)
    check_range("target", counted, 0, k - 1, " (see ignore_index)")
    rows = k
    if ignored is not None:
        rows = k + 1  # the ignored pixels get a row of their own, cut off below
        target = target.masked_fill(ignored, k)
    first_row = torch.arange(n, device=preds.device).unsqueeze(1) * rows
    cell = (target + first_row).mul_(k).add_(preds)
    return cell.flatten().bincount(minlength=n * rows * k).view(n, rows, k)[:, :k]


def stat_scores(
    preds: Tensor | np.ndarray,
    target: Tensor | np.ndarray,
    *,
    num_classes: int,
    ignore_index: int | None = None,
) -> StatScores:
    """Count true and false positives and negatives per image and class.

    Parameters
    ----------
    preds, target : integer masks (N, H, W) or (N, 1, H, W) with values in [0, K).
    num_classes : the number K; with 1 the masks are 0 / 1, and the one column counts the
        foreground.
    ignore_index : pixels whose target has this value are not counted.

    Raises ValueError for masks of other shapes, of floats, or with other values.

    >>> truth, preds = torch.tensor([[[0, 1, 1, 1]]]), torch.tensor([[[1, 1, 1, 0]]])
    >>> stat_scores(preds, truth, num_classes=1)
    StatScores(tp=tensor([[2]]), fp=tensor([[1]]), fn=tensor([[1]]), tn=tensor([[0]]))
    """
    check_integer("num_classes", num_classes, 1)
    table = _confusion(preds, target, max(num_classes, 2), ignore_index)
    tp = table.diagonal(dim1=1, dim2=2)
    fp, fn = table.sum(1) - tp, table.sum(2) - tp
    tn = table.sum((1, 2)).unsqueeze(1) - tp - fp - fn
    return StatScores(*(count[:, -num_classes:].contiguous() for count in (tp, fp, fn, tn)))


def confusion_matrix(
    preds: Tensor | np.ndarray,
    target: Tensor | np.ndarray,
    *,
    num_classes: int,
    ignore_index: int | None = None,
) -> Tensor:
    """Pixel counts (K, K) over all images: the row is the true class, the column the predicted.

    Masks as in `stat_scores`; a binary mask has 2 classes here.

    >>> confusion_matrix(torch.tensor([[[1, 1, 0]]]), torch.tensor([[[0, 1, 1]]]), num_classes=2)
    tensor([[0, 1],
            [1, 1]])
    """
    check_integer("num_classes (2 for binary masks)", num_classes, 2)
    return _confusion(preds, target, num_classes, ignore_index).sum(0)


def _tversky(
    tp: Tensor, fp: Tensor, fn: Tensor, alpha: float, beta: float, average: str, absent: float | str
) -> float | Tensor:
    """TP / (TP + alpha FP + beta FN): all four metrics are settings of Tversky's index."""
    check_choice("average", average, ("none", "image", "image_set", "class", "set"))
    if absent != "skip":
        check_number("absent, unless 'skip',", absent, 0, 1)
    counts = [torch.as_tensor(count).cpu().double() for count in (tp, fp, fn)]
    if any(count.shape != counts[0].shape or count.ndim != 2 for count in counts):
        got = ", ".join(str(tuple(count.shape)) for count in counts)
        raise ValueError(f"tp, fp and fn must be counts (N, K), got shapes {got}")
    if average in ("class", "set"):
        counts = [count.sum(0, keepdim=True) for count in counts]
    if average in ("image_set", "set"):
        counts = [count.sum(1, keepdim=True) for count in counts]
    tp, fp, fn = counts
    table = tp / (tp + alpha * fp + beta * fn)  # 0 / 0 is NaN, and nothing else is
    if absent != "skip":
        table = table.nan_to_num(absent)
    if average == "none":
        return table
    if table.isnan().all():
        raise ValueError("every score is 0 / 0 and skipped: no mean; give absent a number")
    return table.nanmean(1).nanmean().item()


def iou(
    tp: Tensor, fp: Tensor, fn: Tensor, tn: object = None, *, average: str, absent: float | str
) -> float | Tensor:
    """Intersection over union (Jaccard index), TP / (TP + FP + FN).

    Takes the counts (N, K) of `stat_scores`. ``tn`` is not used; it is an argument so that
    ``iou(*scores, ...)`` works.
    ``average`` and ``absent`` are explained at the top of this module. Gives a float, for average
    "none" a float64 table (N, K). ValueError for a wrong shape or option, or if nothing is left.

    >>> target = torch.tensor([[[0, 1, 1, 1]], [[0, 0, 0, 0]]])
    >>> preds = torch.tensor([[[1, 1, 1, 0]], [[0, 0, 0, 0]]])
    >>> scores = stat_scores(preds, target, num_classes=1)
    >>> [iou(*scores, average="image", absent=answer) for answer in (0.0, 1.0, "skip")]
    [0.25, 0.75, 0.5]
    """
    return _tversky(tp, fp, fn, 1, 1, average, absent)


def dice(
    tp: Tensor, fp: Tensor, fn: Tensor, tn: object = None, *, average: str, absent: float | str
) -> float | Tensor:
    """Dice coefficient (F1 score), 2 TP / (2 TP + FP + FN); arguments and answer as for `iou`.

    On one table of counts it is 2 IoU / (1 + IoU). That does not hold between a mean of Dice and a
    mean of IoU.
    """
    return _tversky(tp, fp, fn, 0.5, 0.5, average, absent)


def precision(
    tp: Tensor, fp: Tensor, fn: Tensor, tn: object = None, *, average: str, absent: float | str
) -> float | Tensor:
    """TP / (TP + FP), the share of the prediction that is right; everything else as for `iou`."""
    return _tversky(tp, fp, fn, 1, 0, average, absent)


def recall(
    tp: Tensor, fp: Tensor, fn: Tensor, tn: object = None, *, average: str, absent: float | str
) -> float | Tensor:
    """TP / (TP + FN), the share of the truth that is found; everything else as for `iou`."""
    return _tversky(tp, fp, fn, 0, 1, average, absent)


def mean_iou(matrix: Tensor, *, absent: float | str, background: bool = True) -> float:
    """Mean IoU over classes from a (K, K) confusion matrix; the same as `iou` by "class".

    ``background=False`` leaves class 0 out of the mean; its pixels still count as errors of the
    others. ValueError for a matrix that is not square, and as for `iou`.

    >>> mean_iou(torch.tensor([[3, 1], [0, 4]]), absent="skip")  # (3 / 4 + 4 / 5) / 2
    0.775
    """
    matrix = torch.as_tensor(matrix)
    if matrix.ndim != 2 or len(matrix) < 2 or len(matrix) != matrix.shape[1]:
        raise ValueError(f"matrix must be (K, K) with K of at least 2, got {describe(matrix)}")
    tp = matrix.diagonal()
    counts = (tp, matrix.sum(0) - tp, matrix.sum(1) - tp)
    first = 0 if background else 1
    return iou(*(count[None, first:] for count in counts), average="class", absent=absent)


def _outline_pixels(
    mask: np.ndarray, other: np.ndarray, tolerance: float, counted: np.ndarray
) -> tuple[int, int]:
    """How many pixels of a mask's outline are near the outline of the other one, how many far."""
    from scipy.ndimage import binary_erosion, distance_transform_edt

    outline, goal = (m & ~binary_erosion(m) for m in (mask, other))
    near = distance_transform_edt(~goal) <= tolerance if goal.any() else goal
    outline &= counted
    return np.count_nonzero(outline & near), np.count_nonzero(outline & ~near)


def surface_dice(
    preds: Tensor | np.ndarray,
    target: Tensor | np.ndarray,
    *,
    num_classes: int,
    tolerance: float,
    average: str,
    absent: float | str,
    ignore_index: int | None = None,
) -> float | Tensor:
    """The share of both outlines that lies within a tolerance of the other one.

    The surface Dice coefficient of Nikolov et al. (2018, arXiv 1809.04430), counted in pixels: the
    outline of a class is those of its pixels that touch another class, or the edge of the image,
    with one of their four sides. It tells an outline that is a little off from an object that is
    missed, however large the objects are.

    Parameters
    ----------
    preds, target, num_classes : as for `stat_scores`.
    tolerance : pixels; how far apart the outlines may be.
    average, absent : explained at the top of this module. 0 / 0 is a class without an outline in
        either mask.
    ignore_index : pixels whose target has this value count as right, and as no outline.

    Returns a float, for average "none" a float64 table (N, K). Raises ValueError as `stat_scores`
    and `iou` do, and for a negative tolerance.

    >>> target = torch.tensor([[[0, 1, 1, 1, 0, 0], [0, 1, 1, 1, 0, 0]]])
    >>> options = {"num_classes": 1, "average": "image", "absent": "skip"}
    >>> [surface_dice(target.roll(1, 2), target, tolerance=t, **options) for t in (0, 1)]
    [0.6666666666666666, 1.0]
    """
    from scipy.ndimage import find_objects

    check_number("tolerance", tolerance, 0)
    stat_scores(preds, target, num_classes=num_classes, ignore_index=ignore_index)  # checks both
    preds, target = (
        _labels(name, mask).numpy(force=True).reshape(-1, *mask.shape[-2:])
        for name, mask in (("preds", preds), ("target", target))
    )
    counted = np.ones(target.shape, bool) if ignore_index is None else target != ignore_index
    target = np.where(counted, target, preds)
    counts = torch.zeros((3, len(target), num_classes), dtype=torch.int64)
    for n, k in np.ndindex(counts.shape[1:]):
        label = 1 if num_classes == 1 else k
        masks = preds[n] == label, target[n] == label
        if not (box := find_objects((masks[0] | masks[1]).astype(np.int8))):
            continue
        # Outlines lie in the box; one more pixel tells them from the edge of the image.
        box = tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in box[0])
        masks, its = (masks[0][box], masks[1][box]), counted[n][box]
        near_pred, far_pred = _outline_pixels(*masks, tolerance, its)
        near_true, far_true = _outline_pixels(*masks[::-1], tolerance, its)
        counts[:, n, k] = torch.tensor([near_pred + near_true, far_pred, far_true])
    return iou(*counts, average=average, absent=absent)


def average_precision(
    pred_labels: Tensor | np.ndarray,
    true_labels: Tensor | np.ndarray,
    *,
    thresholds: Sequence[float] = tuple(percent / 100 for percent in range(50, 100, 5)),
) -> AveragePrecision:
    """The object score TP / (TP + FP + FN) of one image, and its mean over IoU thresholds.

    The measure of the 2018 Data Science Bowl, which calls it average precision (Caicedo et al.,
    Nature Methods 16, 2019). A predicted object is a true positive if its IoU with a true object is
    *above* the threshold; from 0.5 on, no object can then have two partners. If neither image has
    an object the score is 1, if only one has, 0.

    Parameters
    ----------
    pred_labels, true_labels : (H, W) integers, 0 for background and any other for each object.
    thresholds : at least 0.5 and below 1. ValueError otherwise, or where the images do not fit.

    >>> pred, true = torch.tensor([[1, 1, 1, 0, 2]]), torch.tensor([[5, 5, 5, 5, 0]])
    >>> average_precision(pred, true, thresholds=[0.5, 0.9])
    AveragePrecision(mean=0.25, scores=[0.5, 0.0], tp=[1, 0])
    """
    pred, true = _labels("pred_labels", pred_labels), _labels("true_labels", true_labels)
    if pred.ndim != 2 or pred.shape != true.shape or pred.device != true.device:
        got = f"{describe(pred)} and {describe(true)}"
        raise ValueError(f"pred_labels and true_labels must both be (H, W), got {got}")
    check_range("pred_labels", pred, 0)
    check_range("true_labels", true, 0)
    if not all(0.5 <= threshold < 1 for threshold in thresholds):
        raise ValueError(f"thresholds must be at least 0.5 and below 1, got {thresholds}")
    pred_ids, pred, pred_sizes = pred.unique(return_inverse=True, return_counts=True)
    true_ids, true, true_sizes = true.unique(return_inverse=True, return_counts=True)
    # Only the pairs that overlap, and by how much: a table of all pairs could fill the memory.
    pairs, overlap = (true * len(pred_ids) + pred).unique(return_counts=True)
    true, pred = pairs // len(pred_ids), pairs % len(pred_ids)
    score = overlap.double() / (true_sizes[true] + pred_sizes[pred] - overlap)
    score = score[(true_ids[true] > 0) & (pred_ids[pred] > 0)]  # without the background
    number = int((true_ids > 0).sum() + (pred_ids > 0).sum())
    found = [int((score > threshold).sum()) for threshold in thresholds]
    # number counts a true positive twice, so number - tp is TP + FP + FN.
    scores = [tp / (number - tp) if number else 1.0 for tp in found]
    return AveragePrecision(sum(scores) / len(scores), scores, found)
