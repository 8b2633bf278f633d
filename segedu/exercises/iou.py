"""Exercises of the chapter on IoU."""

import math
import operator
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from .answer import Answer, check


def check_iou(submission: Callable[[int, int, int], float]) -> Answer:
    """Check a function of the counts (tp, fp, fn) that gives IoU, and 1 where all are 0.

    >>> check_iou(lambda tp, fp, fn: tp / (tp + fp + fn) if tp + fp + fn else 1.0)
    correct: 6 cases
    """

    def iou(tp, fp, fn):
        return tp / (tp + fp + fn) if tp + fp + fn else 1.0

    def dice(tp, fp, fn):
        return 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 1.0

    cases = [(2, 1, 1), (0, 3, 0), (5, 0, 0), (0, 0, 0), (0, 0, 4), (40, 2, 9)]
    return check(
        submission,
        iou,
        cases,
        {
            "this is Dice: it counts TP twice. IoU divides TP by what either mask covers": dice,
            "this is precision: the missed pixels (FN) are part of the union too": (
                lambda tp, fp, fn: tp / (tp + fp) if tp + fp else 1.0
            ),
            "two empty masks agree: give them 1, not 0": (
                lambda tp, fp, fn: tp / (tp + fp + fn) if tp + fp + fn else 0.0
            ),
            "two empty masks are 0 / 0: ask for them first, and give them 1": (
                lambda tp, fp, fn: tp / (tp + fp + fn)
            ),
        },
    )


def check_iou_from_dice(submission: Callable[[float], float]) -> Answer:
    """Check a function that gives the IoU of the table of counts that has a given Dice.

    >>> check_iou_from_dice(lambda dice: dice / (2 - dice))
    correct: 7 cases
    """
    return check(
        submission,
        lambda dice: dice / (2 - dice),
        [(dice,) for dice in (0.0, 0.2, 0.5, 0.75, 0.9, 0.915, 1.0)],
        {
            "this is the way from IoU to Dice, and its result is too large: solve it for IoU": (
                lambda dice: 2 * dice / (1 + dice)
            ),
            "this divides by 1 + Dice: solve Dice (1 + IoU) = 2 IoU for IoU again": (
                lambda dice: dice / (1 + dice)
            ),
            "IoU is not half of Dice: perfect masks have 1 in both": lambda dice: dice / 2,
        },
    )


def check_mask_iou(submission: Callable[[Tensor, Tensor], float]) -> Answer:
    """Check a function of two masks (preds, truth) that gives the foreground's IoU.

    Both are (H, W) booleans; where both are empty the answer is 1.

    >>> def mask_iou(preds, truth):
    ...     union = (preds | truth).sum()
    ...     return (preds & truth).sum() / union if union else 1.0
    >>> check_mask_iou(mask_iou)
    correct: 9 cases
    """
    empty, preds, truth = (torch.zeros(4, 4, dtype=torch.bool) for _ in range(3))
    preds[:2, 2:] = truth[:2, :3] = True

    def areas(preds, truth):
        return preds.sum() + truth.sum()

    return check(
        submission,
        _iou,
        [
            (preds, truth),
            (truth, preds),
            (truth, truth),
            (preds, ~preds),
            (preds, empty),
            (empty, truth),
            (empty, empty),
            *zip(*_masks(2, size=9), strict=True),
        ],
        {
            "this is accuracy: it counts the background that is right (TN). Leave TN out": (
                lambda preds, truth: (preds == truth).float().mean()
            ),
            "the background is averaged in: only the foreground's IoU is asked for": _two_class_iou,
            "this is Dice: it counts the overlap twice. IoU divides it by the union": (
                lambda preds, truth: (
                    2 * (preds & truth).sum() / areas(preds, truth) if areas(preds, truth) else 1.0
                )
            ),
            "the sum of the two areas has the overlap in it twice: take it off once": (
                lambda preds, truth: (
                    (preds & truth).sum() / areas(preds, truth) if areas(preds, truth) else 1.0
                )
            ),
            "two empty masks agree: give them 1, not 0": (
                lambda preds, truth: _iou(preds, truth, empty=0.0)
            ),
            "two empty masks are 0 / 0: ask for them first, and give them 1": (
                lambda preds, truth: _iou(preds, truth, empty=math.nan)
            ),
            "an epsilon of 1 on both sides is no rounding: a false alarm on an empty image scores "
            "above 0. Ask for two empty masks first, and drop the epsilon": (
                lambda preds, truth: ((preds & truth).sum() + 1) / ((preds | truth).sum() + 1)
            ),
            "an epsilon below alone is in the wrong place: two empty masks get 0, and an epsilon "
            "of 1 keeps a perfect mask below 1": (
                lambda preds, truth: (preds & truth).sum() / ((preds | truth).sum() + 1)
            ),
        },
    )


def check_pooled_iou(submission: Callable[[list[tuple[Tensor, Tensor]]], float]) -> Answer:
    """Check a function of a list of batches that gives one IoU of the whole data set.

    Each batch is a pair (preds, truth) of (N, H, W) booleans, and N may differ. The counts of all
    images are added up before the ratio is taken; a data set without any foreground scores 1.

    >>> def pooled_iou(batches):
    ...     overlap = sum((preds & truth).sum() for preds, truth in batches)
    ...     union = sum((preds | truth).sum() for preds, truth in batches)
    ...     return overlap / union if union else 1.0
    >>> check_pooled_iou(pooled_iou)
    correct: 7 cases
    """

    def cut(size, seed):
        preds, truth = _masks(8, size=6, seed=seed)
        return list(zip(preds.split(size), truth.split(size), strict=True))

    def whole(batches):
        return (torch.cat(masks) for masks in zip(*batches, strict=True))

    def each(batches):
        return [float(_iou(*batch)) for batch in batches]

    empty = torch.zeros(2, 6, 6, dtype=torch.bool)
    sets = [cut(size, seed) for seed, size in enumerate((1, 2, 3, 5, 8))]
    sets += [[(empty, empty), *cut(8, 5), (empty, empty)], [(empty, empty)]]
    return check(
        submission,
        lambda batches: _iou(*whole(batches)),
        [(batches,) for batches in sets],
        {
            "this is a mean over batches, which moves with the batch size: add the counts of all "
            "batches up, and take the ratio last": lambda batches: np.mean(each(batches)),
            "this weighs each batch's ratio by its images, and is a mean over batches still: add "
            "the counts up, and take the ratio last": (
                lambda batches: np.average(
                    each(batches), weights=[len(preds) for preds, _ in batches]
                )
            ),
            "this is a mean over images: pooled was asked for, one ratio for the whole set": (
                lambda batches: np.mean(each(zip(*whole(batches), strict=True)))
            ),
            "the background is averaged in: only the foreground's IoU is asked for": (
                lambda batches: _two_class_iou(*whole(batches))
            ),
            "this is the last batch alone: keep what was counted before": (
                lambda batches: _iou(*batches[-1])
            ),
        },
    )


def check_class_scores(submission: Callable[[Tensor], tuple[float, float]]) -> Answer:
    """Check a function of a confusion matrix that gives (mean IoU, mean precision).

    The matrix is (K, K) integers; a row is a true class, a column a predicted one. Each mean is
    over the classes whose ratio is not 0 / 0.

    >>> def class_scores(matrix):
    ...     hits, rows, columns = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    ...     return (hits / (rows + columns - hits)).nanmean(), (hits / columns).nanmean()
    >>> check_class_scores(class_scores)
    correct: 6 cases
    """

    def iou(hits, rows, columns):
        return hits / (rows + columns - hits)

    def precision(hits, rows, columns):
        return hits / columns

    def recall(hits, rows, columns):
        return hits / rows

    def means(matrix, iou=iou, precision=precision, mean=torch.nanmean):
        parts = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
        return mean(iou(*parts)), mean(precision(*parts))

    generator = torch.Generator().manual_seed(0)
    return check(
        submission,
        means,
        [
            (torch.tensor([[8, 4], [2, 2]]),),
            (torch.tensor([[50, 3, 0], [6, 30, 2], [1, 4, 4]]),),
            (torch.randint(1, 50, (3, 3), generator=generator),),
            (torch.randint(1, 50, (5, 5), generator=generator),),
            (torch.tensor([[7, 0, 2], [0, 0, 0], [1, 0, 5]]),),  # class 1 is nowhere
            (torch.tensor([[9, 0, 1], [3, 0, 1], [0, 0, 6]]),),  # class 1 is never predicted
        ],
        {
            "the IoU is right, and the precision is recall: what was predicted as a class is its "
            "column, not its row": lambda matrix: means(matrix, precision=recall),
            "the diagonal over the rows is recall, not IoU: the union holds the false alarms of "
            "the column too": lambda matrix: means(matrix, iou=recall),
            "row plus column counts the diagonal twice: the union is row plus column minus it": (
                lambda matrix: means(
                    matrix, iou=lambda hits, rows, columns: hits / (rows + columns)
                )
            ),
            "this is accuracy, the diagonal over everything: give each class its own IoU first": (
                lambda matrix: means(
                    matrix, iou=lambda hits, rows, columns: hits.sum() / rows.sum()
                )
            ),
            "this pools all classes into one IoU, and the largest decides: mean over classes": (
                lambda matrix: means(
                    matrix,
                    iou=lambda hits, rows, columns: hits.sum() / (rows + columns - hits).sum(),
                )
            ),
            "a class that is 0 / 0 was counted as 0: leave it out of that mean": (
                lambda matrix: means(matrix, mean=lambda ratios: ratios.nan_to_num(0).mean())
            ),
            "a class that is 0 / 0 makes the whole mean NaN: leave it out of that mean": (
                lambda matrix: means(matrix, mean=torch.mean)
            ),
        },
    )


def check_held_out_iou(
    submission: Callable[[tuple[Tensor, Tensor], tuple[Tensor, Tensor], Sequence[float]], float],
) -> Answer:
    """Check a function of (validation, test, thresholds) that gives the test images' IoU.

    Both splits are pairs (probabilities, truth) of (N, H, W): floats and booleans. A pixel is
    foreground where its probability exceeds the threshold. The threshold is the one with the best
    mean IoU per image on validation, and the answer is the mean IoU per image on test with it.

    >>> def held_out_iou(validation, test, thresholds):
    ...     def score(split, threshold):
    ...         pairs = zip(split[0] > threshold, split[1])
    ...         return np.mean([(p & t).sum() / (p | t).sum() for p, t in pairs])
    ...     best = max(thresholds, key=lambda threshold: score(validation, threshold))
    ...     return score(test, best)
    >>> check_held_out_iou(held_out_iou)
    correct: 6 cases
    """

    def each(split, threshold):
        probabilities, truth = split
        return [float(_iou(p > threshold, t)) for p, t in zip(probabilities, truth, strict=True)]

    def score(split, threshold):
        return np.mean(each(split, threshold))

    def pooled(split, threshold):
        return float(_iou(split[0] > threshold, split[1]))

    def held_out(validation, test, thresholds, score=score):
        return score(test, max(thresholds, key=lambda threshold: score(validation, threshold)))

    def split(seed, shift):
        """Probabilities that are right on the whole, shifted, and by another amount each image."""
        generator = torch.Generator().manual_seed(seed)
        truth = _masks(6, size=12, seed=seed)[1]
        noise = torch.randn(truth.shape, generator=generator)
        shifts = shift + torch.randn(6, 1, 1, generator=generator) / 2
        return torch.sigmoid(4 * truth - 2 + noise + shifts), truth

    thresholds = [k / 10 for k in range(1, 10)]
    shifts = [(-0.8, 0.8), (0.8, -0.8), (1.2, 0), (-1, 0.3), (0.6, -1), (-1.5, -0.5)]
    return check(
        submission,
        held_out,
        [
            (split(2 * seed, first), split(2 * seed + 1, second), thresholds)
            for seed, (first, second) in enumerate(shifts)
        ],
        {
            "the threshold was chosen on the test images: choose it on validation, then score": (
                lambda validation, test, thresholds: held_out(test, test, thresholds)
            ),
            "each test image got its own best threshold, which takes its truth to know: choose one "
            "on validation": (
                lambda validation, test, thresholds: np.mean(
                    np.max([each(test, threshold) for threshold in thresholds], axis=0)
                )
            ),
            "this is the score on validation, where the threshold was chosen: score the test "
            "images with it": (
                lambda validation, test, thresholds: held_out(validation, validation, thresholds)
            ),
            "this is the threshold 0.5, whatever validation says": (
                lambda validation, test, thresholds: score(test, 0.5)
            ),
            "this pools the pixels of all images: the mean IoU per image was asked for": (
                lambda validation, test, thresholds: held_out(
                    validation, test, thresholds, score=pooled
                )
            ),
        },
    )


def check_object_precision(submission: Callable[[Tensor, Tensor, float], float]) -> Answer:
    """Check a function of (preds, truth, threshold) that gives TP / (TP + FP + FN) of objects.

    Both are (H, W) label images, 0 for background and another number for each object. A predicted
    and a true object are a hit where their IoU is above the threshold, which is at least 0.5. Two
    images without objects score 1.

    >>> from segedu.metrics import average_precision
    >>> def object_precision(preds, truth, threshold):
    ...     return average_precision(preds, truth, thresholds=[threshold]).mean
    >>> check_object_precision(object_precision)
    correct: 11 cases
    """

    def found(preds, truth):
        return (preds & truth).sum() / preds.sum()

    def covered(preds, truth):
        return (preds & truth).sum() / truth.sum()

    def objects(labels):
        return [labels == number for number in labels.unique() if number > 0]

    def labelled(labels):
        return [labels == number for number in labels.unique()]

    def precision(
        preds, truth, threshold, ratio=_iou, above=operator.gt, split=objects, formula=None
    ):
        preds, truth = split(preds), split(truth)
        tp = sum(bool(above(ratio(a, b), threshold)) for a in preds for b in truth)
        fp, fn = len(preds) - tp, len(truth) - tp
        if formula:
            return formula(tp, fp, fn)
        return tp / (tp + fp + fn) if tp + fp + fn else 1.0

    def with_ratio(ratio):
        return lambda *case: precision(*case, ratio=ratio)

    def with_formula(formula):
        return lambda *case: precision(*case, formula=formula)

    line = torch.zeros(4, 12, dtype=torch.int64)
    whole, halves, most, moved, spread, several = (line.clone() for _ in range(6))
    whole[1:3, 2:10] = 4  # 16 pixels
    halves[1:3, 2:6], halves[1:3, 6:10] = 1, 2  # its two halves: IoU 0.5 each
    most[1:3, 2:8] = 7  # three quarters of it
    moved[1:3, 4:12] = 5  # moved by two: IoU 12 / 20
    spread[0:4, 0:12] = 3  # all of the image: IoU 16 / 48
    several[0, 0:4], several[1:3, 2:10], several[3, 8:12] = 2, 3, 9
    left, right = (1 + (torch.arange(12) >= border).long().expand(4, 12) for border in (5, 6))
    return check(
        submission,
        precision,
        [
            (halves, whole, 0.5),
            (most, whole, 0.5),
            (most, whole, 0.75),
            (moved, whole, 0.5),
            (whole, spread, 0.5),
            (spread, whole, 0.5),
            (several, whole, 0.75),
            (whole, several, 0.5),
            (line, several, 0.5),
            (line, line, 0.5),
            (left, right, 0.84),
        ],
        {
            "a hit needs an IoU above the threshold, not at it: at 0.5 the two halves of a nucleus "
            "would both be its match": lambda *case: precision(*case, above=operator.ge),
            "this divides the overlap by the predicted object alone, so that two pieces both match "
            "one nucleus: divide by the union": with_ratio(found),
            "this divides the overlap by the true object alone, so that a prediction of everything "
            "finds it: divide by the union": with_ratio(covered),
            "this is TP / (TP + FP), which forgives every nucleus that was missed: add FN below": (
                with_formula(lambda tp, fp, fn: tp / (tp + fp) if tp + fp else float(not fn))
            ),
            "this is TP / (TP + FN), which forgives every false alarm: add FP below": (
                with_formula(lambda tp, fp, fn: tp / (tp + fn) if tp + fn else float(not fp))
            ),
            "this is F1, which counts a hit twice: TP / (TP + FP + FN) was asked for": (
                with_formula(
                    lambda tp, fp, fn: 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 1.0
                )
            ),
            "the background was matched like an object: leave label 0 out": (
                lambda *case: precision(*case, split=labelled)
            ),
            "the first label was left out, but an image may have no background: leave 0 out": (
                lambda *case: precision(*case, split=lambda labels: labelled(labels)[1:])
            ),
        },
    )


def _iou(preds: Tensor, truth: Tensor, *, empty: float = 1.0) -> Tensor | float:
    """Foreground IoU of all the pixels that are handed over."""
    union = (preds | truth).sum()
    return (preds & truth).sum() / union if union else empty


def _two_class_iou(preds: Tensor, truth: Tensor) -> Tensor | float:
    return (_iou(preds, truth) + _iou(~preds, ~truth)) / 2


def _masks(count: int, *, size: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Truths that cover more and more of (count, size, size), and predictions 80 % right."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.rand(count, size, size, generator=generator)
    truth = truth < torch.linspace(0.1, 0.6, count)[:, None, None]
    wrong = torch.rand(truth.shape, generator=generator) > 0.8
    return truth ^ wrong, truth
