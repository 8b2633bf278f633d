"""Exercises on IoU: other ways to get them right, and wrong."""

import numpy as np
import torch
from skimage.measure import label


def mask_iou(preds, truth):
    union = (preds | truth).sum().item()
    return (preds & truth).sum().item() / union if union else 1.0


def unguarded(preds, truth):
    return int((preds & truth).sum()) / int((preds | truth).sum())


def class_scores(matrix, mean=np.nanmean):
    matrix = matrix.numpy().astype(float)
    hits, true, predicted = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    with np.errstate(invalid="ignore"):
        return mean(hits / (true + predicted - hits)), mean(hits / predicted)


def classes_of_the_truth(matrix):
    hits, true, predicted = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    of = [k for k in range(len(matrix)) if true[k]]
    precision = [hits[k] / predicted[k] for k in of if predicted[k]]
    return np.mean([hits[k] / (true[k] + predicted[k] - hits[k]) for k in of]), np.mean(precision)


def mean_iou(split, threshold, iou=mask_iou):
    pairs = zip(split[0] > threshold, split[1], strict=True)
    return np.mean([iou(preds, truth) for preds, truth in pairs])


def pooled(split, threshold):
    return mask_iou(split[0] > threshold, split[1])


def iou_of_each(split, threshold):
    return [mask_iou(*pair) for pair in zip(split[0] > threshold, split[1], strict=True)]


def held_out_iou(validation, test, thresholds, choose_by=mean_iou, score=mean_iou):
    scores = [choose_by(validation, threshold) for threshold in thresholds]
    return score(test, thresholds[np.argmax(scores)])


def mean_iou_empty_0(split, threshold):
    return mean_iou(split, threshold, lambda a, b: (a & b).sum() / max((a | b).sum(), 1))


def mean_iou_skipping(split, threshold):
    pairs = zip(split[0] > threshold, split[1], strict=True)
    return np.mean([mask_iou(a, b) for a, b in pairs if (a | b).any()])


def mean_iou_empty_truth(split, threshold):
    return mean_iou(split, threshold, lambda a, b: mask_iou(a, b) if b.any() else 1.0)


def mean_iou_empty_preds(split, threshold):
    return mean_iou(split, threshold, lambda a, b: mask_iou(a, b) if a.any() else 1.0)


def mean_dice(split, threshold):
    return mean_iou(split, threshold, lambda a, b: dice(a, b) if (a | b).any() else 1.0)


def mean_unguarded(split, threshold):
    return mean_iou(split, threshold, unguarded)


def mean_of_the_dark(split, threshold):
    return mean_iou((-split[0], split[1]), -threshold)


def mean_plus_one(split, threshold):
    return mean_iou(split, threshold, lambda a, b: ((a & b).sum() + 1) / ((a | b).sum() + 1))


def best_from_0(validation, test, thresholds):
    best = 0
    for threshold in thresholds:
        if (score := mean_iou(validation, threshold)) > best:
            best, chosen = score, threshold
    return mean_iou(test, chosen)


def best_from_0_and_none(validation, test, thresholds):
    best, chosen = 0, None
    for threshold in thresholds:
        if (score := mean_iou(validation, threshold)) > best:
            best, chosen = score, threshold
    return mean_iou(test, chosen)


def pooled_iou(batches, empty=1.0):
    overlap = sum((preds & truth).sum().item() for preds, truth in batches)
    union = sum((preds | truth).sum().item() for preds, truth in batches)
    return overlap / union if union or empty is None else empty


def first_batch(batches):
    for preds, truth in batches:
        return mask_iou(preds, truth)


def mean_of_images_not_empty(batches):
    pairs = [pair for batch in batches for pair in zip(*batch, strict=True)]
    ious = [mask_iou(preds, truth) for preds, truth in pairs if preds.any() or truth.any()]
    return sum(ious) / len(ious) if ious else 1.0


def precision_0_if_never_predicted(matrix):
    hits, true, predicted = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    precision = [
        hits[k] / max(predicted[k], 1) for k in range(len(matrix)) if true[k] or predicted[k]
    ]
    return class_scores(matrix)[0], np.mean(precision)


def all_but_overlap(tp, found, there):
    return found + there - tp


def object_score(preds, truth, threshold, iou=mask_iou, empty=1.0, union=all_but_overlap):
    found, there = (sorted(set(labels.flatten().tolist()) - {0}) for labels in (preds, truth))
    table = np.array([[iou(preds == p, truth == t) for t in there] for p in found])
    tp = int((table > threshold).sum())
    below = union(tp, len(found), len(there))
    return tp / below if below or empty is None else empty


def of_lonely(false_alone, missed_alone):
    """A score whose FP or FN are only those that no pixel of the other image lies in."""

    def score(preds, truth, threshold):
        found, there = (sorted(set(x.flatten().tolist()) - {0}) for x in (preds, truth))
        tp = sum(bool(mask_iou(preds == p, truth == t) > threshold) for p in found for t in there)
        fp = len(found) - tp
        fn = len(there) - tp
        if false_alone:
            fp = len([p for p in found if (truth[preds == p] == 0).all()])
        if missed_alone:
            fn = len([t for t in there if (preds[truth == t] == 0).all()])
        return tp / (tp + fp + fn) if tp + fp + fn else 1.0

    return score


def areas_compared(preds, truth, threshold):
    found, there = ([x == n for n in x.unique() if n > 0] for x in (preds, truth))
    pairs = [((p & t).sum(), p.sum(), t.sum()) for p in found for t in there]
    tp = sum(int(both > threshold * p and both > threshold * t) for both, p, t in pairs)
    union = len(found) + len(there) - tp
    return tp / union if union else 1.0


def fp_per_pair(preds, truth, threshold, counts=lambda p, t: True):
    found, there = ([x == n for n in x.unique() if n > 0] for x in (preds, truth))
    tp = fp = 0
    for p in found:
        for t in there:
            if mask_iou(p, t) > threshold:
                tp += 1
            elif counts(p, t):
                fp += 1
    union = fp + len(there)  # TP + FN are all there are
    return tp / union if union else 1.0


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def of_the_smaller(a, b):
    return (a & b).sum() / min(a.sum(), b.sum())


def of_equal_numbers(preds, truth, threshold):
    found, there = (set(labels.flatten().tolist()) - {0} for labels in (preds, truth))
    tp = sum(mask_iou(preds == n, truth == n) > threshold for n in found & there)
    union = len(found | there) + len(found & there) - tp
    return tp / union if union else 1.0


def of_numbers(preds, truth, threshold, numbers):
    found, there = ([labels == n for n in numbers(labels)] for labels in (preds, truth))
    tp = sum((p & t).any() and mask_iou(p, t) > threshold for p in found for t in there)
    union = len(found) + len(there) - tp
    return tp / union if union else 1.0


def up_to_the_largest(*case):
    return of_numbers(*case, lambda labels: range(1, int(labels.max()) + 1))


def numbered_without_gaps(*case):
    return of_numbers(*case, lambda labels: range(1, len(labels[labels > 0].unique()) + 1))


RIGHT = {
    "pooled_iou": [pooled_iou],
    "mask_iou": [mask_iou],
    "iou": [lambda tp, fp, fn: np.float64(tp) / (tp + fp + fn) if any((tp, fp, fn)) else 1],
    "iou_from_dice": [lambda dice: 1 / (2 / dice - 1) if dice else 0.0],
    "class_scores": [class_scores],
    "held_out_iou": [held_out_iou],
    "object_score": [object_score],
}

WRONG = [
    ("iou", lambda tp, fp, fn: tp / max(tp + fp + fn, 1), "agree: return 1, not 0"),
    ("iou", lambda tp, fp, fn: tp / (tp + fp + fn + 1e-7), "agree: return 1, not 0"),
    ("iou", lambda tp, fp, fn: (tp + 1) / (tp + fp + fn + 1),
     "adding 1 to numerator and denominator"),
    ("mask_iou", lambda preds, truth: (preds * truth).sum() / max((preds + truth).sum(), 1),
     "agree: return 1, not 0"),
    ("pooled_iou", lambda batches: np.mean(
        [mask_iou(*pair) for batch in batches for pair in zip(*batch, strict=True)]),
     "this is a mean over images"),
    ("class_scores", lambda matrix: class_scores(matrix.T), "the precision is recall"),
    ("class_scores", lambda matrix: class_scores(matrix, np.mean), "the whole mean NaN"),
    ("held_out_iou", lambda _, test, cuts: max(mean_iou(test, cut) for cut in cuts),
     "chosen on the test images"),
    ("held_out_iou", lambda _, test, cuts: mean_iou(test, np.mean(cuts)), "the threshold 0.5"),
    ("iou", lambda tp, fp, fn: tp / (tp + fp + fn) if tp > 0 else 1, "Test the union"),
    ("mask_iou", lambda a, b: mask_iou(a, b) if b.any() else 1, "only if the prediction is empty"),
    ("class_scores", classes_of_the_truth, "a class that is never true was left out"),
    ("held_out_iou", lambda *case: held_out_iou(*case, pooled), "by the pooled IoU of validation"),
    ("held_out_iou", lambda *case: held_out_iou(*case, mean_iou_empty_0, mean_iou_empty_0),
     "scores 1, not 0"),
    ("held_out_iou", lambda *case: held_out_iou(*case, mean_iou_skipping, mean_iou_skipping),
     "was left out of the mean"),
    ("held_out_iou", lambda *case: held_out_iou(*case, mean_iou, mean_iou_skipping),
     "was left out of the mean"),
    ("object_score", numbered_without_gaps, "ask for those that occur"),
    ("object_score", up_to_the_largest, "one object with the number 4 is one object"),
    ("object_score", lambda preds, truth, _: object_score(preds, truth, 0.5),
     "this uses 0.5"),
    ("object_score", lambda preds, truth, cut: object_score(preds + 1, truth + 1, cut),
     "the background was matched"),
    ("object_score", lambda preds, truth, cut: mask_iou(preds > 0, truth > 0),
     "this is the IoU of the pixels"),
    ("object_score", of_equal_numbers, "numbers mean nothing"),
    ("object_score", lambda *case: object_score(*case, iou=dice), "by its Dice"),
    ("object_score", lambda preds, truth, _: object_score(preds, truth, 0),
     "any overlap was taken for a hit"),
    ("object_score", lambda *case: object_score(*case, iou=of_the_smaller),
     "the smaller of the two"),
    ("object_score", lambda *case: object_score(*case, empty=0.0), "score 1, not 0"),
    ("object_score", lambda *case: object_score(*case, empty=None), "are 0 / 0"),
    ("object_score", lambda preds, truth, cut: (
        object_score(preds, truth, cut) if (truth > 0).any() else 1.0),
     "only if nothing was predicted there"),
    ("object_score", lambda *case: object_score(*case, union=lambda tp, a, b: a + b),
     "subtract TP once"),
    ("object_score", lambda preds, truth, cut: object_score(
        *(torch.tensor(label(labels.numpy() > 0)) for labels in (preds, truth)), cut),
     "connected components"),
    ("object_score", lambda preds, truth, cut: object_score(
        *(torch.tensor(label(labels.numpy())) for labels in (preds, truth)), cut),
     "into its connected pieces"),
    ("object_score", lambda *case: object_score(*case, union=lambda tp, a, b: tp + a - tp + b - a),
     "TP divided by the number of nuclei"),
    ("object_score", lambda *case: object_score(*case, union=lambda tp, a, b: tp + b - tp + a - b),
     "TP divided by the number of predictions"),
    ("object_score", lambda *case: object_score(*case, iou=lambda a, b: (a == b).float().mean()),
     "its masks agree"),
    ("object_score", lambda preds, truth, cut: (
        object_score(preds, truth, cut) if (preds > 0).any() else 1.0),
     "only if there is no true one"),
    ("object_score", lambda *case: 0.5, "[[0, 0, 0, 0, 1, 1, 1, 1, 2,"),
    ("object_score", of_lonely(True, False), "FP were counted only where"),
    ("object_score", of_lonely(False, True), "FN were counted only where"),
    ("object_score", of_lonely(True, True), "FP and FN were counted only where"),
    ("object_score", areas_compared, "the larger of the two objects"),
    ("object_score", lambda *case: object_score(
        *case, iou=lambda a, b: (a & b).sum() / max(a.sum(), b.sum())),
     "the larger of the two objects"),
    ("object_score", fp_per_pair, "for each pair that is no hit"),
    ("object_score", lambda *case: fp_per_pair(*case, lambda p, t: (p & t).any()),
     "for each overlap that is no hit"),
    ("object_score", lambda *case: object_score(*case, union=lambda tp, a, b: max(a, b)),
     "the larger number of objects"),
    ("object_score", lambda preds, truth, cut: mask_iou(preds > 0, truth > 0) > cut,
     "all pixels together were compared"),
    ("iou", lambda tp, fp, fn: 1 if tp == fp == fn else tp / (tp + fp + fn), "three counts"),
    ("iou", lambda tp, fp, fn: tp / (tp + fp + fn) if tp + fn else 1, "the truth is empty"),
    ("iou", lambda tp, fp, fn: tp / (tp + fp + fn) if tp + fp else 1, "the prediction is empty"),
    ("iou_from_dice", lambda dice: dice / (1 - dice), "divides by 1 - Dice"),
    ("iou_from_dice", lambda dice: dice / (1 - dice) if dice < 1 else 1, "divides by 1 - Dice"),
    ("iou", lambda tp, fp, fn: tp / tp + fp + fn, "without parentheses"),
    ("iou", lambda tp, fp, fn: tp / tp + fp + fn if tp + fp + fn else 1, "without parentheses"),
    ("iou", lambda tp, fp, fn: tp / (tp + fp), "this is precision"),
    ("iou", lambda tp, fp, fn: tp / (tp + fn) if tp + fp + fn else 1.0, "this is recall"),
    ("iou", lambda tp, fp, fn: tp // (tp + fp + fn) if tp + fp + fn else 1, "// rounds down"),
    ("iou", lambda tp, fp, fn: 2 * tp / (tp + fp + fn) if tp + fp + fn else 1, "only above"),
    ("iou", lambda tp, fp, fn: tp / (2 * tp + fp + fn) if tp + fp + fn else 1, "only below"),
    ("iou", lambda tp, fp, fn: tp / (fp + fn) if fp + fn else 1, "contains TP too"),
    ("iou", lambda tp, fp, fn: (fp + fn) / (tp + fp + fn) if tp + fp + fn else 1, "is 1 - IoU"),
    ("mask_iou", unguarded, "an error in Python"),
    ("mask_iou", lambda a, b: mask_iou(a, b) if a.any() else 1, "only if the truth is empty"),
    ("mask_iou", lambda a, b: (a & b).sum() / a.sum(), "this is precision"),
    ("mask_iou", lambda a, b: (a & b).sum() / b.sum() if (a | b).any() else 1, "this is recall"),
    ("mask_iou", lambda a, b: (a & b).sum() / (a ^ b).sum() if (a | b).any() else 1, "so use |"),
    ("mask_iou", lambda a, b: mask_iou(a, b) or 1.0, "without any overlap"),
    ("pooled_iou", lambda batches: pooled_iou([
        (a[b.flatten(1).any(1)], b[b.flatten(1).any(1)]) for a, b in batches]),
     "images whose truth is empty were left out"),
    ("pooled_iou", lambda batches: pooled_iou([pair for pair in batches if pair[1].any()]),
     "batches whose truth is empty were left out"),
    ("pooled_iou", lambda batches: pooled_iou([pair for pair in batches if pair[0].any()]),
     "batches whose prediction is empty were left out"),
    ("pooled_iou", lambda batches: pooled_iou(batches) if any(b.any() for _, b in batches) else 1,
     "only if the prediction is empty too"),
    ("pooled_iou", lambda batches: np.mean([(a & b).sum() / (a | b).sum() for a, b in batches]),
     "this is a mean over batches"),
    ("pooled_iou", lambda batches: np.mean([
        np.mean([mask_iou(*pair) for pair in zip(*batch, strict=True)]) for batch in batches]),
     "over the images of each batch"),
    ("pooled_iou", lambda batches: sum((a & b).sum() for a, b in batches)
     / max(sum(a.sum() + b.sum() for a, b in batches), 1), "contains the overlap twice"),
    ("pooled_iou", lambda batches: (sum((a & b).sum() for a, b in batches) + 1)
     / (sum((a | b).sum() for a, b in batches) + 1), "adding 1 to numerator and denominator"),
    ("pooled_iou", lambda batches: pooled_iou(batches) or 1.0, "Test the union"),
    ("pooled_iou", lambda batches: pooled_iou(batches, empty=0), "scores 1, not 0"),
    ("pooled_iou", lambda batches: pooled_iou(batches, empty=None), "an error in Python"),
    ("pooled_iou", first_batch, "the first batch alone"),
    ("pooled_iou", mean_of_images_not_empty, "the images that are not empty"),
    ("pooled_iou", lambda batches: pooled_iou(batches) / 2,
     "([[[[[False, True, True, True]], [[True, True, False, False]]]"),
    ("class_scores", lambda matrix: class_scores(matrix)[::-1], "the two numbers are swapped"),
    ("class_scores", lambda matrix: class_scores(matrix, lambda x: np.nan_to_num(x, nan=1).mean()),
     "was counted as 1"),
    ("class_scores", lambda matrix: class_scores(matrix, lambda x: np.nanmean(x[1:])),
     "the background was left out"),
    ("class_scores", lambda matrix: (
        matrix.trace() / (2 * matrix.sum() - matrix.trace()), matrix.trace() / matrix.sum()),
     "both numbers pool all classes"),
    ("class_scores", lambda matrix: (
        np.nanmean(2 * matrix.diagonal() / (matrix.sum(0) + matrix.sum(1))),
        class_scores(matrix)[1]), "this is Dice"),
    ("class_scores", lambda matrix: classes_of_the_truth(matrix.T)[:1] + class_scores(matrix)[1:],
     "left out of both means"),
    ("class_scores", precision_0_if_never_predicted, "got a precision of 0"),
    ("class_scores", lambda matrix: class_scores(matrix, mean=lambda x: x), "of each class"),
    ("class_scores", lambda matrix: class_scores(matrix, lambda x: np.nanmean(x // 1)),
     "// rounds down"),
    ("held_out_iou", lambda *case: held_out_iou(*case, mean_iou, lambda _, cut: cut),
     "this is the threshold itself"),
    ("held_out_iou", lambda *case: held_out_iou(*case, mean_iou, iou_of_each),
     "the IoU of each test image"),
    ("held_out_iou", lambda *case: held_out_iou(*case, mean_iou, pooled),
     "the threshold is right, but this pools"),
    ("held_out_iou", lambda first, test, cuts: mean_iou(test, max(cuts, key=lambda cut: sum(
        mean_iou(split, cut) * len(split[1]) for split in (first, test)))),
     "on validation and test images together"),
    ("held_out_iou", lambda first, test, cuts: held_out_iou(first, test, cuts[::-1]),
     "the first is asked for"),
    ("held_out_iou", lambda *case: held_out_iou(*case, mean_iou_empty_truth, mean_iou_empty_truth),
     "only if its prediction is empty too"),
    ("held_out_iou", lambda *case: held_out_iou(*case, mean_iou_empty_0), "when the threshold is"),
    ("held_out_iou", lambda *case: held_out_iou(*case, mean_iou_skipping), "when the threshold is"),
    ("held_out_iou", lambda first, test, cuts: held_out_iou(first, test, sorted(cuts)),
     "not the smallest"),
    ("held_out_iou", best_from_0, "start below 0"),
    ("held_out_iou", best_from_0_and_none, "no threshold was chosen"),
    ("held_out_iou", lambda *case: held_out_iou(*case, mean_iou_empty_preds, mean_iou_empty_preds),
     "only if its truth is empty too"),
    ("held_out_iou", lambda *case: held_out_iou(*case, mean_unguarded, mean_unguarded),
     "an error in Python"),
    ("held_out_iou", lambda first, test, cuts: held_out_iou(test, first, cuts),
     "the two splits are swapped"),
    ("held_out_iou", lambda *case: held_out_iou(*case, mean_of_the_dark, mean_of_the_dark),
     "the pixels below the threshold"),
    ("held_out_iou", lambda *case: held_out_iou(*case, mean_dice, mean_dice), "this is Dice"),
    ("held_out_iou", lambda *case: held_out_iou(*case, mean_plus_one, mean_plus_one),
     "adding 1 to numerator and denominator"),
    ("held_out_iou", lambda *case: 0.123, "[[[0.9, 0.6, 0.6]], [[0.6, 0.1, 0.1]]]"),
]  # fmt: skip
