"""Metrics for segmentation: count first, then formulas of the counts.

``stat_scores`` counts TP, FP, FN and TN for each image and class. IoU, Dice, precision and recall
are ratios of these, and what number comes out depends on two choices that have no default here.

``pooling``, over how much the counts are summed before the ratio is taken:

===========  ==================================================================================
"none"       nothing; the (N, K) table itself
"image"      nothing; mean over the classes of each image, then over images.
             segmentation_models_pytorch: "macro-imagewise"; for K = 1 also "micro-imagewise".
"image_set"  the classes of each image; mean over images.
             segmentation_models_pytorch: "micro-imagewise"; scikit-learn: average="samples".
"class"      the images, for each class; mean over classes. The usual mean IoU.
             segmentation_models_pytorch, scikit-learn and torchmetrics: "macro".
"set"        everything; one ratio.
             segmentation_models_pytorch, scikit-learn and torchmetrics: "micro".
===========  ==================================================================================

``absent``, the score where the ratio is 0 / 0 (for IoU: the class is neither there nor predicted):
a number from 0 to 1, or "skip" to leave it out of every mean. If nothing is left the answer is a
ValueError; in the table of pooling "none" what is skipped is NaN.

The background is a class like any other: leave it out with
``iou(*(count[:, 1:] for count in scores), pooling="class", absent="skip")``.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class StatScores(NamedTuple):
    """Pixel counts, each int64 (N, K)."""

    tp: Tensor
    fp: Tensor
    fn: Tensor
    tn: Tensor


class AveragePrecision(NamedTuple):
    """Object-level precision at each threshold, and the mean of these."""

    mean: float
    scores: list[float]


def _labels(name: str, mask: Tensor | np.ndarray) -> Tensor:
    mask = torch.as_tensor(mask)
    if mask.is_floating_point() or mask.is_complex() or not mask.numel():
        got = f"{mask.dtype} {tuple(mask.shape)}"
        raise ValueError(f"{name} must hold integer labels (threshold or argmax first), got {got}")
    return mask.long()


def _confusion(preds: Tensor, target: Tensor, num_classes: int, ignore_index: int | None) -> Tensor:
    """Confusion matrix of every image, (N, K, K): rows are the truth, columns the prediction."""
    preds, target = _labels("preds", preds), _labels("target", target)
    shape = preds.shape
    if target.shape != shape or (len(shape) != 3 and not (len(shape) == 4 and shape[1] == 1)):
        got = f"{tuple(shape)} and {tuple(target.shape)}"
        raise ValueError(f"preds and target must both be (N, H, W) or (N, 1, H, W), got {got}")
    n, k = len(preds), num_classes
    preds, target = preds.reshape(n, -1), target.reshape(n, -1)
    rows = k
    if ignore_index is not None:  # the ignored pixels get a row of their own, cut off below
        rows = k + 1
        target = target.masked_fill(target == ignore_index, k)
    for name, mask, values in (("preds", preds, k), ("target", target, rows)):
        low, high = (value.item() for value in mask.aminmax())
        if low < 0 or high >= values:
            got = f"values from {low} to {high}"
            raise ValueError(f"{name} must lie in [0, {k - 1}], got {got} (see ignore_index)")
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
    """Count true and false positives and negatives in each image, for each class.

    Parameters
    ----------
    preds, target : integer masks (N, H, W) or (N, 1, H, W) with values in [0, K).
    num_classes : K. With 1 the masks are 0 / 1 and the one column counts the foreground.
    ignore_index : pixels whose target has this value are not counted; no class if None.

    Anything else is a ValueError.

    Example
    -------
    >>> truth, preds = torch.tensor([[[0, 1, 1, 1]]]), torch.tensor([[[1, 1, 1, 0]]])
    >>> stat_scores(preds, truth, num_classes=1)
    StatScores(tp=tensor([[2]]), fp=tensor([[1]]), fn=tensor([[1]]), tn=tensor([[0]]))
    """
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1, got {num_classes}")
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

    Example
    -------
    >>> confusion_matrix(torch.tensor([[[1, 1, 0]]]), torch.tensor([[[0, 1, 1]]]), num_classes=2)
    tensor([[0, 1],
            [1, 1]])
    """
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2 (binary masks: 2), got {num_classes}")
    return _confusion(preds, target, num_classes, ignore_index).sum(0)


def _tversky(
    tp: Tensor, fp: Tensor, fn: Tensor, alpha: float, beta: float, pooling: str, absent: float | str
) -> float | Tensor:
    """TP / (TP + alpha FP + beta FN): all four metrics are settings of Tversky's index."""
    if absent != "skip" and (isinstance(absent, str) or not 0 <= absent <= 1):
        raise ValueError(f"absent must be a number in [0, 1] or 'skip', got {absent!r}")
    counts = [torch.as_tensor(count).cpu().double() for count in (tp, fp, fn)]
    if any(c.ndim != 2 or c.shape != counts[0].shape or not (c >= 0).all() for c in counts):
        got = ", ".join(str(tuple(count.shape)) for count in counts)
        raise ValueError(f"tp, fp, fn must be counts (N, K) of at least 0, got shapes {got}")
    if pooling in ("class", "set"):
        counts = [count.sum(0, keepdim=True) for count in counts]
    if pooling in ("image_set", "set"):
        counts = [count.sum(1, keepdim=True) for count in counts]
    tp, fp, fn = counts
    table = tp / (tp + alpha * fp + beta * fn)  # 0 / 0 is NaN, and nothing else is
    if absent != "skip":
        table = table.nan_to_num(absent)
    if pooling == "none":
        return table
    if pooling not in ("image", "image_set", "class", "set"):
        raise ValueError(
            f"pooling must be 'none', 'image', 'image_set', 'class' or 'set', got {pooling!r}"
        )
    if table.isnan().all():
        raise ValueError("every score is 0 / 0 and skipped: no mean; give absent a number")
    return table.nanmean(1).nanmean().item()


def iou(
    tp: Tensor, fp: Tensor, fn: Tensor, tn: object = None, *, pooling: str, absent: float | str
) -> float | Tensor:
    """Intersection over union (Jaccard index), TP / (TP + FP + FN).

    Takes the counts (N, K) of `stat_scores`; ``tn`` is there to be passed along, and not used.
    ``pooling`` and ``absent`` are explained at the top of this module. Gives a float, for pooling
    "none" a float64 table (N, K). ValueError for a wrong shape or option, or if nothing is left.

    Example
    -------
    >>> target = torch.tensor([[[0, 1, 1, 1]], [[0, 0, 0, 0]]])
    >>> preds = torch.tensor([[[1, 1, 1, 0]], [[0, 0, 0, 0]]])
    >>> scores = stat_scores(preds, target, num_classes=1)
    >>> [iou(*scores, pooling="image", absent=answer) for answer in (0.0, 1.0, "skip")]
    [0.25, 0.75, 0.5]
    """
    return _tversky(tp, fp, fn, 1, 1, pooling, absent)


def dice(
    tp: Tensor, fp: Tensor, fn: Tensor, tn: object = None, *, pooling: str, absent: float | str
) -> float | Tensor:
    """Dice coefficient (F1 score), 2 TP / (2 TP + FP + FN); arguments and answer as for `iou`.

    From one table of counts it is 2 IoU / (1 + IoU). A mean of Dice and a mean of IoU do not
    obey that.
    """
    return _tversky(tp, fp, fn, 0.5, 0.5, pooling, absent)


def precision(
    tp: Tensor, fp: Tensor, fn: Tensor, tn: object = None, *, pooling: str, absent: float | str
) -> float | Tensor:
    """TP / (TP + FP), the part of the prediction that is right; all else as for `iou`."""
    return _tversky(tp, fp, fn, 1, 0, pooling, absent)


def recall(
    tp: Tensor, fp: Tensor, fn: Tensor, tn: object = None, *, pooling: str, absent: float | str
) -> float | Tensor:
    """TP / (TP + FN), the part of the truth that is found; all else as for `iou`."""
    return _tversky(tp, fp, fn, 0, 1, pooling, absent)


def mean_iou(matrix: Tensor, *, absent: float | str, background: bool = True) -> float:
    """Mean IoU over classes from a (K, K) confusion matrix; the same as `iou` by "class".

    ``background=False`` leaves class 0 out of the mean; its pixels still count as errors of the
    others. ValueError for a matrix that is not square, and as for `iou`.

    Example
    -------
    >>> mean_iou(torch.tensor([[3, 1], [0, 4]]), absent="skip")  # (3 / 4 + 4 / 5) / 2
    0.775
    """
    matrix = torch.as_tensor(matrix)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"matrix must be (K, K), got {tuple(matrix.shape)}")
    tp = matrix.diagonal()
    counts = (tp, matrix.sum(0) - tp, matrix.sum(1) - tp)
    first = 0 if background else 1
    return iou(*(count[None, first:] for count in counts), pooling="class", absent=absent)


def average_precision(
    pred_labels: Tensor | np.ndarray,
    true_labels: Tensor | np.ndarray,
    *,
    thresholds: Sequence[float] = tuple(percent / 100 for percent in range(50, 100, 5)),
) -> AveragePrecision:
    """Object-level precision TP / (TP + FP + FN) of one image, and its mean over IoU thresholds.

    The measure of the 2018 Data Science Bowl (Caicedo et al., Nature Methods 16, 2019). A predicted
    object is a true positive if its IoU with a true one is *above* the threshold; from 0.5 on no
    object can then have two partners. Two images without objects score 1; one without, 0.

    Parameters
    ----------
    pred_labels, true_labels : (H, W) integers, 0 for background and any other for each object.
    thresholds : at least 0.5 and below 1. ValueError otherwise, or where the images do not fit.

    Example
    -------
    >>> average_precision(torch.tensor([[1, 1, 1, 0, 2]]), torch.tensor([[5, 5, 5, 5, 0]]))
    AveragePrecision(mean=0.25, scores=[0.5, 0.5, 0.5, 0.5, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0])
    """
    pred, true = _labels("pred_labels", pred_labels), _labels("true_labels", true_labels)
    if pred.ndim != 2 or pred.shape != true.shape or min(pred.min(), true.min()) < 0:
        got = f"{tuple(pred.shape)} and {tuple(true.shape)}"
        raise ValueError(f"labels must both be (H, W) and at least 0, got {got}")
    if not len(thresholds) or not all(0.5 <= threshold < 1 for threshold in thresholds):
        raise ValueError(f"thresholds must be in [0.5, 1), where matches are unique: {thresholds}")
    pred_ids, pred = pred.unique(return_inverse=True)
    true_ids, true = true.unique(return_inverse=True)
    shape = len(true_ids), len(pred_ids)
    overlap = (true * shape[1] + pred).flatten().bincount(minlength=shape[0] * shape[1])
    overlap = overlap.view(shape).double()
    union = overlap.sum(0) + overlap.sum(1, keepdim=True) - overlap
    table = (overlap / union)[true_ids > 0][:, pred_ids > 0]  # IoU of every pair of objects
    scores = []
    for threshold in thresholds:
        tp = int((table > threshold).sum())
        objects = sum(table.shape) - tp  # TP + FP + FN
        scores.append(tp / objects if objects else 1.0)
    return AveragePrecision(sum(scores) / len(scores), scores)
