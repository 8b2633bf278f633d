"""Exercises of the chapter on IoU."""

import math
import operator
from collections.abc import Callable

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from .answer import Answer, check


def check_iou(submission: Callable[[int, int, int], float]) -> Answer:
    """Check a function of the counts (tp, fp, fn) that returns IoU, and 1 where all are 0.

    >>> check_iou(lambda tp, fp, fn: tp / (tp + fp + fn))
    not yet: two empty masks are 0 / 0: test for them first, and return 1
    """

    def ratio(above, below, empty=1.0):
        return above / below if below else empty

    def iou(tp, fp, fn):
        return ratio(tp, tp + fp + fn)

    cases = [(2, 1, 1), (0, 3, 0), (5, 0, 0), (0, 0, 0), (0, 0, 4), (40, 2, 9), (2, 2, 2)]
    misconceptions = {
        "without parentheses, TP is divided by TP alone: write tp / (tp + fp + fn)": (
            lambda tp, fp, fn: tp / tp + fp + fn if tp else iou(tp, fp, fn)
        ),
        "this is Dice, which counts TP twice. IoU divides TP by the union of the two masks": (
            lambda tp, fp, fn: ratio(2 * tp, 2 * tp + fp + fn)
        ),
        "this counts TP twice, but only above: IoU counts it once": (
            lambda tp, fp, fn: ratio(2 * tp, tp + fp + fn)
        ),
        "this counts TP twice, but only below: the union contains it once": (
            lambda tp, fp, fn: ratio(tp, 2 * tp + fp + fn)
        ),
        "the union contains TP too: divide by TP + FP + FN": (
            lambda tp, fp, fn: ratio(tp, fp + fn, empty=iou(tp, fp, fn))
        ),
        "this is 1 - IoU, the share of the union that is wrong: divide TP by the union": (
            lambda tp, fp, fn: 1 - iou(tp, fp, fn) if tp + fp + fn else 1.0
        ),
        "adding 1 to numerator and denominator changes the score: false positives alone score "
        "above 0. Test for the empty union instead": lambda tp, fp, fn: (
            (tp + 1) / (tp + fp + fn + 1)
        ),
        "this is precision: FN belongs to the union too": (
            lambda tp, fp, fn: ratio(tp, tp + fp, empty=iou(tp, fp, fn))
        ),
        "this is recall: FP belongs to the union too": (
            lambda tp, fp, fn: ratio(tp, tp + fn, empty=iou(tp, fp, fn))
        ),
        "// rounds down to a whole number: divide with /": (
            lambda tp, fp, fn: tp // (tp + fp + fn) if tp + fp + fn else 1
        ),
        "two empty masks agree: return 1, not 0": (
            lambda tp, fp, fn: ratio(tp, tp + fp + fn, empty=0.0)
        ),
        "two empty masks are 0 / 0: test for them first, and return 1": (
            lambda tp, fp, fn: tp / (tp + fp + fn)
        ),
        "TP = 0 does not mean that both masks are empty: with FP or FN the IoU is 0. Test the "
        "union": lambda tp, fp, fn: ratio(tp, tp + fp + fn) if tp else 1.0,
        "TP + FN = 0 means that the truth is empty, but with FP the IoU is 0: test the union": (
            lambda tp, fp, fn: iou(tp, fp, fn) if tp + fn else 1.0
        ),
        "TP + FP = 0 means that the prediction is empty, but with FN the IoU is 0: test the "
        "union": lambda tp, fp, fn: iou(tp, fp, fn) if tp + fp else 1.0,
        "three counts that are equal need not be 0: test the union": (
            lambda tp, fp, fn: 1.0 if tp == fp == fn else iou(tp, fp, fn)
        ),
    }
    return check(submission, iou, cases, misconceptions)


def check_iou_from_dice(submission: Callable[[float], float]) -> Answer:
    """Check a function that converts the Dice of one table of counts into its IoU.

    >>> check_iou_from_dice(lambda dice: dice / 2)
    not yet: IoU is not half of Dice: for perfect masks both are 1
    """
    cases = [(dice,) for dice in (0.0, 0.2, 0.5, 0.75, 0.9, 0.915, 1.0)]
    misconceptions = {
        "this converts IoU into Dice: solve the formula for IoU": lambda d: 2 * d / (1 + d),
        "this divides by 1 + Dice: solve Dice (1 + IoU) = 2 IoU for IoU": lambda d: d / (1 + d),
        "IoU is not half of Dice: for perfect masks both are 1": lambda d: d / 2,
        "a sign is wrong: this divides by 1 - Dice, so it is above 1 from a Dice of 0.5 on. Solve "
        "Dice (1 + IoU) = 2 IoU for IoU": lambda d: d / (1 - d) if d < 1 else 1.0,
        "a sign is wrong: this divides by 2 + Dice, so perfect masks get 1/3. Solve "
        "Dice (1 + IoU) = 2 IoU for IoU": lambda d: d / (2 + d),
    }
    return check(submission, lambda dice: dice / (2 - dice), cases, misconceptions)


def check_mask_iou(submission: Callable[[Tensor, Tensor], float]) -> Answer:
    """Check a function of two masks (preds, truth) that returns the foreground's IoU.

    Both are (H, W) booleans; where both are empty the answer is 1.

    >>> check_mask_iou(lambda preds, truth: (preds & truth).sum() / (preds | truth).sum())
    not yet: two empty masks are 0 / 0: test for them first, and return 1
    """

    def over(below, preds, truth):
        """Another denominator; where it is 0, learners get anything: no mistake is shown there."""
        return (preds & truth).sum() / below.sum() if below.any() else _iou(preds, truth)

    empty, preds, truth = (torch.zeros(4, 4, dtype=torch.bool) for _ in range(3))
    preds[:2, 2:] = truth[:2, :3] = True
    cases = [(preds, truth), (truth, preds), (truth, truth), (preds, ~preds), (preds, empty)]
    cases += [(empty, truth), (empty, empty), *zip(*_masks(2, size=9), strict=True)]
    misconceptions = {
        "this is accuracy, which counts the correct background (TN): leave TN out": (
            lambda preds, truth: (preds == truth).float().mean()
        ),
        "the background is averaged in, but only the foreground's IoU is asked for": _two_class_iou,
        "this is Dice, which counts the overlap twice: IoU divides it by the union": (
            lambda *masks: _of_areas(*masks, factor=2)
        ),
        "the sum of the two areas contains the overlap twice: subtract it once": (
            lambda *masks: _of_areas(*masks, factor=1)
        ),
        "this is precision, which divides by the predicted pixels: FN belongs to the union too": (
            lambda preds, truth: over(preds, preds, truth)
        ),
        "this is recall, which divides by the true pixels: FP belongs to the union too": (
            lambda preds, truth: over(truth, preds, truth)
        ),
        "^ keeps only FP and FN: the union contains TP too, so use |": (
            lambda preds, truth: over(preds ^ truth, preds, truth)
        ),
        "two empty masks agree: return 1, not 0": lambda *masks: _iou(*masks, empty=0.0),
        "an empty truth scores 1 only if the prediction is empty too: otherwise every predicted "
        "pixel is a false positive, and the IoU is 0": (
            lambda preds, truth: _iou(preds, truth) if truth.any() else 1.0
        ),
        "an empty prediction scores 1 only if the truth is empty too: otherwise every true pixel "
        "is missed, and the IoU is 0": (
            lambda preds, truth: _iou(preds, truth) if preds.any() else 1.0
        ),
        "masks without any overlap need not be empty: with FP or FN the IoU is 0. Test the union": (
            lambda preds, truth: _iou(preds, truth) if (preds & truth).any() else 1.0
        ),
        "two empty masks are 0 / 0: test for them first, and return 1": (
            lambda *masks: _iou(*masks, empty=math.nan)
        ),
        "two empty masks are 0 / 0, an error in Python: test for them first, and return 1": (
            _unguarded
        ),
        "an epsilon of 1 in numerator and denominator changes the score: a false positive on an "
        "empty image scores above 0. Test for two empty masks instead": (
            lambda *masks: _with_epsilon(*masks, above=1)
        ),
        "an epsilon only in the denominator gives two empty masks 0, and an epsilon of 1 keeps a "
        "perfect mask below 1": lambda *masks: _with_epsilon(*masks, above=0),
    }
    return check(submission, _iou, cases, misconceptions)


def check_pooled_iou(submission: Callable[[list[tuple[Tensor, Tensor]]], float]) -> Answer:
    """Check a function of a list of batches that returns one IoU of the whole data set.

    Each batch is a pair (preds, truth) of (N, H, W) booleans, and N may differ. The counts of all
    images are added before the ratio is taken; a data set without any foreground, in truth and
    prediction, scores 1.

    >>> def pooled_iou(batches):
    ...     preds, truth = batches[-1]
    ...     return (preds & truth).sum() / (preds | truth).sum() if (preds | truth).any() else 1.0
    >>> check_pooled_iou(pooled_iou)
    not yet: this is the last batch alone: keep the counts of the others
    """

    def batched(size, seed):
        preds, truth = _masks(8, size=6, seed=seed)
        return list(zip(preds.split(size), truth.split(size), strict=True))

    def whole(batches):
        """All predictions and all truths, in one row of pixels each."""
        masks = zip(*batches, strict=True) if batches else [[empty], [empty]]
        return [torch.cat([mask.flatten() for mask in part]) for part in masks]

    def each(batches):
        return [float(_iou(*batch)) for batch in batches]

    def over_batches(weight):
        """A mean over batches; where one is 0 / 0, learners get anything: no mistake is shown."""

        def score(batches):
            if not all((preds | truth).any() for preds, truth in batches):
                return _iou(*whole(batches))
            return np.average(each(batches), weights=[weight(preds) for preds, _ in batches])

        return score

    def kept(keep):
        """The IoU of those images or batches, pairs of masks, for which `keep` is true."""
        return lambda pairs: _iou(*whole([pair for pair in pairs if keep(*pair)]))

    def of_images(score):
        return lambda batches: score(
            [pair for batch in batches for pair in zip(*batch, strict=True)]
        )

    def of_set(score):
        return lambda batches: score(*whole(batches))

    def rows(*images):  # small masks, which a message shows
        return torch.tensor(images, dtype=torch.bool)[:, None]

    nothing, left, right = [0, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 1]
    empty = rows(nothing)
    sets = [
        [(rows(right, left), rows(left, nothing))],  # a false alarm in an empty image
        [(rows(left), rows(right)), (rows(left, left), rows(nothing, nothing))],
        [(rows(left, nothing), rows(right, left)), (empty, rows(left))],  # nothing predicted
        [(rows([1, 0, 0, 0]), rows(right))],  # no TP
        [(rows(left), empty)],  # only FP
        [(empty, empty)],
        [(empty, empty), (rows(left), rows(right)), (empty, empty)],
    ]
    sets += [batched(size, seed) for seed, size in enumerate((1, 2, 3, 5, 8))]
    misconceptions = {
        "this is a mean over batches, which depends on the batch size: add up the counts of all "
        "batches, and take the ratio last": over_batches(lambda preds: 1),
        "this weights the ratio of each batch by its number of images, which is still a mean over "
        "batches: add up the counts, and take the ratio last": over_batches(len),
        "this is a mean over images, but one pooled ratio for the whole set is asked for": (
            of_images(lambda images: np.mean(each(images)))
        ),
        "this is a mean over the images that are not empty, but one pooled ratio for the whole set "
        "is asked for": of_images(
            lambda images: np.mean(each(pair for pair in images if (pair[0] | pair[1]).any()) or 1)
        ),
        "the background is averaged in, but only the foreground's IoU is asked for": (
            lambda batches: _two_class_iou(*whole(batches))
        ),
        "this is a mean over the images of each batch, then over batches: add up the counts of all "
        "batches, and take the ratio last": (
            lambda batches: np.mean([np.mean(each(zip(*batch, strict=True))) for batch in batches])
        ),
        "this is Dice, which counts the overlap twice: IoU divides it by the union": (
            lambda batches: _of_areas(*whole(batches), factor=2)
        ),
        "the sum of the two areas contains the overlap twice: subtract it once": (
            lambda batches: _of_areas(*whole(batches), factor=1)
        ),
        "adding 1 to numerator and denominator changes the score: test for a data set without any "
        "foreground instead": lambda batches: _with_epsilon(*whole(batches), above=1),
        "this is the last batch alone: keep the counts of the others": lambda x: _iou(*x[-1]),
        "this is the first batch alone: a return inside the loop ends it": lambda x: _iou(*x[0]),
        "a data set without any foreground is 0 / 0: test for it first, and return 1": (
            lambda batches: _iou(*whole(batches), empty=math.nan)
        ),
        "a data set without any foreground is 0 / 0, an error in Python: test for it first, and "
        "return 1": of_set(_unguarded),
        "a data set without any foreground, in truth and prediction, scores 1, not 0": (
            of_set(lambda preds, truth: _iou(preds, truth, empty=0.0))
        ),
        "images whose truth is empty were left out, but what is predicted there is FP and belongs "
        "to the union": of_images(kept(lambda preds, truth: truth.any())),
        "batches whose truth is empty were left out, but what is predicted there is FP and belongs "
        "to the union": kept(lambda preds, truth: truth.any()),
        "images whose prediction is empty were left out, but what was missed there is FN and "
        "belongs to the union": of_images(kept(lambda preds, truth: preds.any())),
        "batches whose prediction is empty were left out, but what was missed there is FN and "
        "belongs to the union": kept(lambda preds, truth: preds.any()),
        "an empty truth scores 1 only if the prediction is empty too: with false positives the IoU "
        "is 0": of_set(lambda preds, truth: _iou(preds, truth) if truth.any() else 1.0),
        "TP = 0 does not mean that both masks are empty: with FP or FN the IoU is 0. Test the "
        "union": of_set(lambda preds, truth: _iou(preds, truth) if (preds & truth).any() else 1.0),
    }
    cases = [(batches,) for batches in sets]
    return check(submission, lambda batches: _iou(*whole(batches)), cases, misconceptions)


def check_class_scores(submission: Callable[[Tensor], tuple[float, float]]) -> Answer:
    """Check a function of a confusion matrix that returns (mean IoU, mean precision).

    The matrix is (K, K) integers; a row is a true class, a column a predicted one. Each mean is
    over the classes whose ratio is not 0 / 0.

    >>> def class_scores(matrix):
    ...     hits, rows, columns = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    ...     return (hits / (rows + columns)).nanmean(), (hits / columns).nanmean()
    >>> check_class_scores(class_scores)
    not yet: row plus column counts the diagonal twice: subtract it once to get the union
    """

    def iou(hits, rows, columns):
        return hits / (rows + columns - hits)

    def precision(hits, rows, columns):
        return hits / columns

    def recall(hits, rows, columns):
        return hits / rows

    def scores(iou=iou, precision=precision, mean=torch.nanmean):
        """A function of the matrix that returns the means of two ratios."""

        def of_matrix(matrix):
            parts = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
            return mean(iou(*parts)), mean(precision(*parts))

        return of_matrix

    def of_classes(kept):
        """Both means over the same classes: those that `kept(rows, columns)` is true for."""

        def of_matrix(matrix):
            parts = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
            parts = [counts[kept(*parts[1:])] for counts in parts]
            return iou(*parts).nanmean(), precision(*parts).nanmean()

        return of_matrix

    def swapped(matrix):
        return scores()(matrix)[::-1]

    def without_background(matrix):
        parts = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
        return [ratio(*parts)[1:].nanmean() for ratio in (iou, precision)]

    def pooled(hits, rows, columns):
        return hits.sum() / (rows + columns - hits).sum()

    def accuracy(hits, rows, columns):
        return hits.sum() / rows.sum()

    def precision_or_0(hits, rows, columns):
        """0 for a class that exists and is never predicted."""
        return (hits / columns).where((rows == 0) | (columns > 0), 0.0)

    generator = torch.Generator().manual_seed(0)
    matrices = [
        torch.tensor([[8, 4], [2, 2]]),
        torch.tensor([[50, 3, 0], [6, 30, 2], [1, 4, 4]]),
        torch.randint(1, 50, (3, 3), generator=generator),
        torch.randint(1, 50, (5, 5), generator=generator),
        torch.tensor([[7, 0, 2], [0, 0, 0], [1, 0, 5]]),  # class 1 is nowhere
        torch.tensor([[9, 0, 1], [3, 0, 1], [0, 0, 6]]),  # class 1 is never predicted
        torch.tensor([[7, 1, 2], [0, 0, 0], [1, 0, 5]]),  # class 1 is predicted, but never true
        torch.tensor([[0, 0, 0], [2, 6, 1], [1, 0, 8]]),  # class 0 is predicted, but never true
    ]
    misconceptions = {
        "the IoU is correct, but the precision is recall: the pixels that were predicted as a "
        "class are its column, not its row": scores(precision=recall),
        "the diagonal divided by the rows is recall, not IoU: the union contains the false "
        "positives in the column too": scores(iou=recall),
        "row plus column counts the diagonal twice: subtract it once to get the union": scores(
            iou=lambda hits, rows, columns: hits / (rows + columns)
        ),
        "this is Dice, which counts the diagonal twice, in numerator and denominator: IoU divides "
        "it by the union": scores(iou=lambda hits, rows, columns: 2 * hits / (rows + columns)),
        "this is accuracy, the diagonal divided by all pixels: compute the IoU of each class "
        "first": scores(iou=accuracy),
        "this pools all classes into one IoU, which the largest class dominates: take the mean of "
        "the classes": scores(iou=pooled),
        "both numbers pool all classes, so the largest class dominates: compute the ratio of each "
        "class first, then take the mean": scores(iou=pooled, precision=accuracy),
        "these are the ratios of each class: return their mean": scores(mean=lambda ratios: ratios),
        "// rounds down to a whole number: divide with /": scores(
            mean=lambda r: r.floor().nanmean()
        ),
        "the two numbers are swapped: the mean IoU comes first, then the mean precision": swapped,
        "the background was left out, but here it is a class like the others": without_background,
        "a class whose ratio is 0 / 0 was counted as 1: leave it out of that mean": scores(
            mean=lambda ratios: ratios.nan_to_num(1).mean()
        ),
        "a class that is never predicted got a precision of 0, but its precision is 0 / 0: leave "
        "it out of that mean": scores(precision=precision_or_0),
        "a class whose ratio is 0 / 0 was counted as 0: leave it out of that mean": scores(
            mean=lambda ratios: ratios.nan_to_num(0).mean()
        ),
        "a class whose ratio is 0 / 0 makes the whole mean NaN: leave it out of that mean": scores(
            mean=torch.mean
        ),
        "a class that is never true was left out although it was predicted: its false positives "
        "count, so its ratio is 0, not 0 / 0": of_classes(lambda rows, columns: rows > 0),
        "a class that is never predicted was left out of both means, but only its precision is "
        "0 / 0: if it is in the truth, its IoU is 0": of_classes(lambda rows, columns: columns > 0),
    }
    return check(submission, scores(), [(matrix,) for matrix in matrices], misconceptions)


def check_held_out_iou(submission: Callable) -> Answer:
    """Check a function of (validation, test, thresholds) that returns the IoU on the test images.

    Both splits are pairs (probabilities, truth) of (N, H, W): floats and booleans. A pixel is
    foreground where its probability exceeds the threshold. The threshold is the one with the best
    mean IoU per image on validation, the first of them if several are equally good, and the answer
    is the mean IoU per image on test with it. An image whose truth and prediction are both empty
    scores 1.

    >>> def held_out_iou(validation, test, thresholds):
    ...     scores = [(p & t).sum() / (p | t).sum() for p, t in zip(test[0] > 0.5, test[1])]
    ...     return torch.stack(scores).nan_to_num(1).mean()
    >>> check_held_out_iou(held_out_iou)
    not yet: this uses the threshold 0.5, whatever validation says
    """

    def each(split, threshold, above=operator.gt, empty=1.0):
        preds, truth = above(split[0], threshold), split[1]
        overlap, union = (pixels.sum((1, 2)).double() for pixels in (preds & truth, preds | truth))
        return (overlap / union).nan_to_num(empty).numpy(force=True)

    def score(split, threshold):
        return np.mean(each(split, threshold))

    def score_at_threshold(split, threshold):
        return np.mean(each(split, threshold, operator.ge))

    def score_empty(split, threshold, empty):
        return np.mean(each(split, threshold, empty=empty))

    def pooled(split, threshold):
        return float(_iou(split[0] > threshold, split[1]))

    def score_one_empty(split, threshold, masks):
        """1 for each image whose mask is empty: the truth or the prediction, whatever the other."""
        blank = ~masks.flatten(1).any(1)
        return np.mean(np.where(blank.numpy(force=True), 1.0, each(split, threshold)))

    def score_empty_truth(split, threshold):
        return score_one_empty(split, threshold, split[1])

    def score_empty_prediction(split, threshold):
        return score_one_empty(split, threshold, split[0] > threshold)

    def dice(split, threshold):
        ious = each(split, threshold)
        return np.mean(2 * ious / (1 + ious))

    def plus_one(split, threshold):
        preds, truth = split[0] > threshold, split[1]
        overlap, union = (pixels.sum((1, 2)) + 1 for pixels in (preds & truth, preds | truth))
        return (overlap / union).mean().item()

    def unguarded(split, threshold):
        pairs = zip(split[0] > threshold, split[1], strict=True)
        return np.mean([_unguarded(*masks) for masks in pairs])

    def skipping(split, threshold):
        return np.nanmean(each(split, threshold, empty=math.nan))

    def best(validation, thresholds, score):
        return max(thresholds, key=lambda threshold: score(validation, threshold))

    def held_out(validation, test, thresholds, score=score):
        return score(test, best(validation, thresholds, score))

    def chosen_by(other):
        return lambda validation, test, cuts: score(test, best(validation, cuts, other))

    def chosen_on_both(validation, test, thresholds):
        together = tuple(torch.cat(parts) for parts in zip(validation, test, strict=True))
        return score(test, best(together, thresholds, score))

    def started_at_0_and_none(validation, test, thresholds):
        found = best(validation, thresholds, score)
        return score(test, found if score(validation, found) > 0 else None)

    def started_at_0(validation, test, thresholds):
        highest = 0
        for threshold in thresholds:
            if score(validation, threshold) > highest:
                highest, chosen = score(validation, threshold), threshold
        return score(test, chosen)

    def best_of_each(validation, test, thresholds):
        return np.mean(np.max([each(test, threshold) for threshold in thresholds], axis=0))

    def split(seed, shift):
        """Probabilities that are mostly right, shifted, and each image by another amount."""
        generator = torch.Generator().manual_seed(seed)
        truth = _masks(6, size=12, seed=seed)[1]
        noise = torch.randn(truth.shape, generator=generator)
        shifts = shift + torch.randn(6, 1, 1, generator=generator) / 2
        return torch.sigmoid(4 * truth - 2 + noise + shifts), truth

    def with_empty(split):
        """A split, and three images without foreground, whose predictions are empty too."""
        nothing = torch.zeros(3, *split[1].shape[1:])
        more = [0.1 + nothing, nothing > 0]
        return tuple(torch.cat(parts) for parts in zip(split, more, strict=True))

    def rows(*images):  # a small split, which a message shows
        return tuple(torch.tensor(part)[:, None] for part in zip(*images, strict=True))

    on, off = [True] * 3, [False] * 3
    filled, alarm = ([0.9, 0.6, 0.6], on), ([0.6, 0.1, 0.1], off)  # an alarm at 0.25 only
    tied, always = ([0.9, 0.2, 0.2], on), ([0.8, 0.1, 0.1], off)  # the same at 0.25 and 0.75
    part = [0.9, 0.6, 0.1], [True, True, False]
    small = [(filled, alarm), (part, always)], [(tied, always), (part, alarm)]
    cases = [(rows(*first), rows(*second), [0.25, 0.75]) for first, second in small]
    cases.append((*cases[1][:2], [0.75, 0.25]))  # a tie, and the larger one comes first
    alarms = [0.9, 0.8, 0.8], off  # 0 at both thresholds, and in every fresh case
    cases.append((rows(alarms, alarms), rows(part, alarm), [0.75, 0.25]))
    thresholds = [k / 8 for k in range(1, 8)]
    shifts = [(-0.8, 0.8), (0.8, -0.8), (1.2, 0), (-1, 0.3)]
    large = [
        (split(2 * seed, first), split(2 * seed + 1, second), thresholds)
        for seed, (first, second) in enumerate(shifts)
    ]
    cases += large
    at_thresholds = [((8 * p).round() / 8, truth) for p, truth in large[0][:2]]
    cases.append((*at_thresholds, thresholds[::2]))
    tilt = torch.linspace(-2, 2, 6)[:, None, None]  # large objects want another threshold
    cases += [(split(seed, -tilt), split(seed + 1, tilt), thresholds) for seed in (20, 22)]
    for first, second, _ in large[:2]:  # with three empty images in the validation or test images
        cases.append((first, with_empty(second), thresholds))
        cases.append((with_empty(first), with_empty(second), thresholds))
    misconceptions = {
        "the threshold was chosen on the test images: choose it on validation, then score them": (
            lambda _, test, cuts: held_out(test, test, cuts)
        ),
        "each test image got its own best threshold, which requires its truth: choose one on "
        "validation": best_of_each,
        "this is the score on validation, where the threshold was chosen: score the test images "
        "with it": lambda validation, _, cuts: held_out(validation, validation, cuts),
        "the two splits are swapped: choose the threshold on validation, score the test images": (
            lambda validation, test, cuts: held_out(test, validation, cuts)
        ),
        "this uses the threshold 0.5, whatever validation says": lambda _, test, cuts: score(
            test, 0.5
        ),
        "this pools the pixels of all images, but the mean IoU per image is asked for": (
            lambda *case: held_out(*case, score=pooled)
        ),
        "the threshold was chosen by the pooled IoU of validation, but the best mean IoU per image "
        "is asked for": chosen_by(pooled),
        "the threshold is right, but this pools the pixels of the test images: return their mean "
        "IoU per image": lambda first, test, cuts: pooled(test, best(first, cuts, score)),
        "this is the IoU of each test image: return their mean": (
            lambda first, test, cuts: each(test, best(first, cuts, score))
        ),
        "this is the threshold itself: score the test images with it": (
            lambda validation, _, cuts: best(validation, cuts, score)
        ),
        "the threshold was chosen on validation and test images together, so the test images are "
        "still in the choice: choose it on validation alone": chosen_on_both,
        "of several equally good thresholds, the first is asked for": (
            lambda validation, test, cuts: held_out(validation, test, cuts[::-1])
        ),
        "in a tie the first threshold of the list is asked for, not the smallest": (
            lambda validation, test, cuts: held_out(validation, test, sorted(cuts))
        ),
        "where every threshold scores 0 on validation, the first is still the choice: let the "
        "search for the best start below 0": started_at_0,
        "where every threshold scores 0 on validation, no threshold was chosen, but the first is "
        "asked for: let the search for the best start below 0": started_at_0_and_none,
        "this is Dice, which counts the overlap twice: IoU divides it by the union": (
            lambda *case: held_out(*case, score=dice)
        ),
        "adding 1 to numerator and denominator changes the score: test for two empty masks "
        "instead": (lambda *case: held_out(*case, score=plus_one)),
        "an image with an empty truth scores 1 only if its prediction is empty too: otherwise "
        "every predicted pixel is a false positive, and the IoU is 0": (
            lambda *case: held_out(*case, score=score_empty_truth)
        ),
        "an image with an empty prediction scores 1 only if its truth is empty too: otherwise "
        "every true pixel is missed, and the IoU is 0": (
            lambda *case: held_out(*case, score=score_empty_prediction)
        ),
        "an image that is empty and stays empty was left out of the mean over the test images, but "
        "it scores 1": lambda first, test, cuts: skipping(test, best(first, cuts, score)),
        "when the threshold is chosen, too, an image that is empty and stays empty scores 1": (
            chosen_by(skipping)
        ),
        "two empty masks agree: an image that is empty and stays empty scores 1, not 0": (
            lambda *case: held_out(*case, score=lambda *at: score_empty(*at, 0.0))
        ),
        "an image that is empty and stays empty was left out of the mean, but it scores 1": (
            lambda *case: held_out(*case, score=skipping)
        ),
        "an image that is empty and stays empty is 0 / 0, which makes the mean NaN: test for it "
        "first, and score it 1": (
            lambda *case: held_out(*case, score=lambda *at: score_empty(*at, math.nan))
        ),
        "an image that is empty and stays empty is 0 / 0, an error in Python: test for it first, "
        "and score it 1": lambda *case: held_out(*case, score=unguarded),
        "a pixel at the threshold counts as foreground, but it has to exceed the threshold": (
            lambda *case: held_out(*case, score=score_at_threshold)
        ),
        "the pixels below the threshold were taken for foreground, but a pixel has to exceed it": (
            lambda *case: held_out(*case, score=lambda *at: np.mean(each(*at, operator.lt)))
        ),
    }
    return check(submission, held_out, cases, misconceptions)


def check_object_score(submission: Callable[[Tensor, Tensor, float], float]) -> Answer:
    """Check a function of (preds, truth, threshold) that returns TP / (TP + FP + FN) of objects.

    Both are (H, W) label images, 0 for background and another number for each object. A predicted
    and a true object are a hit where their IoU is above the threshold, which is at least 0.5. Two
    images without objects score 1.

    >>> from segedu.metrics import average_precision
    >>> def object_score(preds, truth, threshold):
    ...     return average_precision(preds, truth, thresholds=[threshold]).mean
    >>> check_object_score(object_score)
    correct: 15 cases
    """

    def of_all(tp, fp, fn):
        return tp / (tp + fp + fn) if tp + fp + fn else 1.0

    def objects(labels):
        return [labels == number for number in labels.unique() if number > 0]

    def labelled(labels):
        return [labels == number for number in labels.unique()]

    def counted(labels):
        return [labels == number for number in range(1, int(labels.max()) + 1)]

    def components(labels):
        parts, number = ndimage.label(labels > 0)
        return [torch.from_numpy(parts == k + 1) for k in range(number)]

    def connected(labels):
        return [part for one in objects(labels) for part in components(one)]

    def same_number(preds, truth, threshold):
        common = set(preds.unique().tolist()) & set(truth.unique().tolist()) - {0}
        tp = sum(bool(_iou(preds == n, truth == n) > threshold) for n in common)
        return of_all(tp, len(objects(preds)) - tp, len(objects(truth)) - tp)

    def without_gaps(labels):
        return [labels == number + 1 for number in range(len(labels[labels > 0].unique()))]

    def overlap(a, b):
        return _iou(a, b, empty=0.0)

    def per_pair(counts):
        """One FP for each pair that is no hit and that `counts(a, b)` is true for."""

        def score(preds, truth, threshold):
            preds, truth = objects(preds), objects(truth)
            ious = [_iou(a, b) for a in preds for b in truth if counts(a, b)]
            tp = sum(bool(iou > threshold) for iou in ious)
            return of_all(tp, len(ious) - tp, len(truth) - tp)

        return score

    def without_hit(some, others, hits):
        return len(some) - hits

    def untouched(some, others, hits):
        return sum(not any((a & b).any() for b in others) for a in some)

    def scored(
        formula=of_all,
        ratio=_iou,
        above=operator.gt,
        split=objects,
        false=without_hit,
        missed=without_hit,
    ):
        """A function that matches the objects, and scores the three counts by a formula."""

        def score(preds, truth, threshold):
            preds, truth = split(preds), split(truth)
            tp = sum(bool(above(ratio(a, b), threshold)) for a in preds for b in truth)
            return formula(tp, false(preds, truth, tp), missed(truth, preds, tp))

        return score

    line = torch.zeros(1, 16, dtype=torch.int64)  # so small that a message shows it
    whole, halves, most, bit, moved, several, pieces, others, crowd, three = (
        line.clone() for _ in range(10)
    )
    whole[0, 4:12] = 4  # 8 pixels
    halves[0, 4:8], halves[0, 8:12] = 1, 2  # its two halves: IoU 0.5 each
    most[0, 4:10] = 7  # three quarters of it
    bit[0, 4:6] = 2  # a quarter of it
    moved[0, 6:14] = 5  # moved by two: IoU 6 / 10
    spread = line + 3  # all of the image: IoU 8 / 16
    several[0, :3], several[0, 4:12], several[0, 13:] = 2, 3, 9
    pieces[0, 1:4], pieces[0, 5:9], pieces[0, 9:14] = 2, 4, 2  # 2 is one object in two pieces
    others[0, 5:9], others[0, 9:14], others[0, 15] = 3, 2, 2  # here, too, with an IoU of 5 / 9
    crowd[0, [0, 2, 4, 9, 11]], crowd[0, 6:8] = torch.tensor([1, 2, 3, 4, 5]), 6
    three[0, :6], three[0, 6:8], three[0, 14:] = 1, 2, 3  # 1 hit, 5 FP, 2 FN
    left, right = (1 + (torch.arange(16) >= border).long()[None] for border in (7, 8))
    cases = [
        (halves, whole, 0.5),
        (most, whole, 0.5),
        (most, whole, 0.75),
        (bit, whole, 0.5),
        (whole, several, 0.75),
        (moved, whole, 0.7),
        (whole, spread, 0.5),
        (spread, whole, 0.5),
        (crowd, three, 0.5),
        (line, several, 0.5),
        (several, line, 0.5),
        (line, line, 0.5),
        (left, right, 0.88),
        (halves, halves.flip(1), 0.5),  # the numbers change places
        (others, pieces, 0.75),
    ]
    misconceptions = {
        "a hit needs an IoU above the threshold: at exactly 0.5, both halves of a nucleus would "
        "match it": scored(above=operator.ge),
        "any overlap was taken for a hit, whatever the threshold: compare the IoU with it": scored(
            above=lambda iou, _: iou > 0
        ),
        "the overlap is divided by the predicted object alone, so two pieces both match one "
        "nucleus: divide by the union": scored(ratio=lambda a, b: (a & b).sum() / a.sum()),
        "the overlap is divided by the true object alone, so a prediction that covers everything "
        "matches it: divide by the union": scored(ratio=lambda a, b: (a & b).sum() / b.sum()),
        "this is TP divided by the number of predictions, so a nucleus that was missed costs "
        "nothing: FN are the nuclei without a partner, FP the predictions without one": scored(
            lambda tp, fp, fn: of_all(tp, fp, 0) if tp + fp else of_all(0, 0, fn)
        ),
        "this is TP divided by the number of nuclei, so a false positive costs nothing: FP are the "
        "predictions without a partner, FN the nuclei without one": scored(
            lambda tp, fp, fn: of_all(tp, fn, 0) if tp + fn else of_all(0, 0, fp)
        ),
        "this is F1, which counts a hit twice: TP / (TP + FP + FN) is asked for": scored(
            lambda tp, fp, fn: of_all(2 * tp, fp, fn)
        ),
        "the background was matched like an object: leave label 0 out": scored(split=labelled),
        "the first label was left out, but an image may have no background: leave out label 0": (
            scored(split=lambda labels: labelled(labels)[1:])
        ),
        "a pair was matched by its Dice, which is larger than its IoU: compare the IoU with the "
        "threshold": scored(ratio=lambda a, b: 2 * (a & b).sum() / (a.sum() + b.sum())),
        "a pair was matched by the share of pixels on which its masks agree, which counts the "
        "background (TN): divide the overlap by the union": scored(
            ratio=lambda a, b: (a == b).float().mean()
        ),
        "the overlap is divided by the smaller of the two objects, so a piece matches the whole: "
        "divide by the union": scored(ratio=lambda a, b: (a & b).sum() / min(a.sum(), b.sum())),
        "the overlap is divided by the larger of the two objects, or compared with both of them, "
        "but an IoU above the threshold needs more: divide by the union": scored(
            ratio=lambda a, b: (a & b).sum() / max(a.sum(), b.sum())
        ),
        "objects with equal numbers were paired, but numbers mean nothing: compare every predicted "
        "with every true object": same_number,
        "two images without objects score 1, not 0": scored(
            lambda tp, fp, fn: tp / max(tp + fp + fn, 1)
        ),
        "an image without a true object scores 1 only if nothing was predicted there": (
            lambda preds, truth, threshold: (
                scored()(preds, truth, threshold) if truth.any() else 1.0
            )
        ),
        "an image without a predicted object scores 1 only if there is no true one either": (
            lambda preds, truth, threshold: (
                scored()(preds, truth, threshold) if preds.any() else 1.0
            )
        ),
        "two images without objects are 0 / 0: test for them first, and return 1": scored(
            lambda tp, fp, fn: tp / (tp + fp + fn)
        ),
        "the predicted and the true objects together contain each hit twice: subtract TP once": (
            scored(lambda tp, fp, fn: of_all(tp, tp + fp, fn))
        ),
        "an FP was counted for each pair that is no hit, but a prediction without a partner is one "
        "FP, however many pairs it is in": per_pair(lambda a, b: True),
        "an FP was counted for each overlap that is no hit, but a prediction without a partner is "
        "one FP, whether it overlaps several nuclei or none": per_pair(lambda a, b: (a & b).any()),
        "FP were counted only where a prediction overlaps no nucleus, but one that overlaps too "
        "little has no partner either": scored(false=untouched),
        "FN were counted only where a nucleus overlaps no prediction, but one that overlaps too "
        "little has no partner either": scored(missed=untouched),
        "FP and FN were counted only where nothing overlaps, but a pair that overlaps too little "
        "is one FP and one FN": scored(false=untouched, missed=untouched),
        "this divides by the larger number of objects, but FP and FN may both be above 0: divide "
        "by TP + FP + FN": scored(lambda tp, fp, fn: of_all(tp, max(fp, fn), 0)),
        "all pixels together were compared with the threshold: match the objects one by one": (
            lambda preds, truth, threshold: float(_iou(preds > 0, truth > 0) > threshold)
        ),
        "this is the IoU of the pixels: count objects": (
            lambda preds, truth, _: _iou(preds > 0, truth > 0)
        ),
        "connected components were taken for objects: touching objects have different numbers, and "
        "all pixels with the same number are one object": scored(split=components),
        "an object was split into its connected pieces, but all pixels with the same number are "
        "one object": scored(split=connected),
        "this uses 0.5, whatever the threshold is": (
            lambda preds, truth, _: scored()(preds, truth, 0.5)
        ),
        "the largest number was taken for the number of objects, but numbers may have gaps: one "
        "object with the number 4 is one object": scored(split=counted, ratio=overlap),
        "the objects were taken to have the numbers 1, 2, 3, ..., but numbers may have gaps: ask "
        "for those that occur": scored(split=without_gaps, ratio=overlap),
    }
    return check(submission, scored(), cases, misconceptions)


def _iou(preds: Tensor, truth: Tensor, *, empty: float = 1.0) -> Tensor | float:
    """Foreground IoU of all the pixels together."""
    union = (preds | truth).sum()
    return (preds & truth).sum() / union if union else empty


def _unguarded(preds: Tensor, truth: Tensor) -> float:
    """Foreground IoU of Python's numbers; two empty masks raise ZeroDivisionError."""
    return (preds & truth).sum().item() / (preds | truth).sum().item()


def _two_class_iou(preds: Tensor, truth: Tensor) -> Tensor | float:
    return (_iou(preds, truth) + _iou(~preds, ~truth)) / 2


def _masks(count: int, *, size: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Truths that cover more and more of (count, size, size), and predictions 80 % right."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.rand(count, size, size, generator=generator)
    truth = truth < torch.linspace(0.1, 0.6, count)[:, None, None]
    wrong = torch.rand(truth.shape, generator=generator) > 0.8
    return truth ^ wrong, truth


def _of_areas(preds: Tensor, truth: Tensor, *, factor: int) -> Tensor | float:
    """The overlap, `factor` times, over the sum of the two areas: Dice with 2."""
    areas = preds.sum() + truth.sum()
    return factor * (preds & truth).sum() / areas if areas else 1.0


def _with_epsilon(preds: Tensor, truth: Tensor, *, above: int) -> Tensor:
    """Foreground IoU with 1 added to the union, and `above` to the overlap."""
    return ((preds & truth).sum() + above) / ((preds | truth).sum() + 1)
