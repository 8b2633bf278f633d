"""Exercises on IoU: other solutions, and mistakes as a learner makes them."""

import numpy as np
import torch


def iou(tp, fp, fn):
    union = tp + fp + fn
    return tp / union if union else 1.0


def iou_from_dice(dice):
    return dice / (2 - dice)


def mask_iou(preds, truth):
    union = (preds | truth).sum().item()
    return (preds & truth).sum().item() / union if union else 1.0


def pooled_iou(batches):
    overlap, union = 0, 0
    for preds, truth in batches:
        overlap += (preds & truth).sum().item()
        union += (preds | truth).sum().item()
    return overlap / union if union else 1.0


def class_scores(matrix):
    hits = matrix.diagonal().double()
    ious = hits / (matrix.sum(dim=0) + matrix.sum(dim=1) - hits)
    precisions = hits / matrix.sum(dim=0)
    return ious.nanmean().item(), precisions.nanmean().item()


def mean_iou(split, threshold):
    """A helper: the learner has one like it."""
    pairs = zip(split[0] > threshold, split[1], strict=True)
    return np.mean([mask_iou(preds, truth) for preds, truth in pairs])


def held_out_iou(validation, test, thresholds):
    scores = [mean_iou(validation, threshold) for threshold in thresholds]
    return mean_iou(test, thresholds[np.argmax(scores)])


def objects(preds, truth):
    """IoU of every predicted with every true object."""
    found, there = (sorted(set(labels.flatten().tolist()) - {0}) for labels in (preds, truth))
    table = [mask_iou(preds == p, truth == t) for p in found for t in there]
    return np.array(table).reshape(len(found), len(there))


def object_precision(preds, truth, threshold):
    table = objects(preds, truth)
    tp = (table > threshold).sum()
    union = sum(table.shape) - tp
    return tp / union if union else 1.0


RIGHT = {
    function.__name__: [function]
    for function in (
        iou, iou_from_dice, mask_iou, pooled_iou, class_scores, held_out_iou, object_precision
    )
}  # fmt: skip


# -- mistakes, as somebody who learns makes them ----------------------------------------------


def count_wrongly(formula):
    """A function of the counts that gives 1 where nothing is there."""
    return lambda tp, fp, fn: formula(tp, fp, fn) if tp + fp + fn else 1.0


def background_too(preds, truth):
    both = [mask_iou(preds, truth), mask_iou(torch.logical_not(preds), torch.logical_not(truth))]
    return sum(both) / 2


def added_areas(preds, truth):
    area = preds.sum() + truth.sum()
    return float((preds * truth).sum() / area) if area > 0 else 1.0


def dice_of_masks(preds, truth):
    return 2 * added_areas(preds, truth) if preds.any() or truth.any() else 1.0


def no_one_for_empty(preds, truth):
    union = (preds | truth).sum().item()
    return 0.0 if union == 0 else (preds & truth).sum().item() / union


def over_batches(batches):
    return sum(mask_iou(preds, truth) for preds, truth in batches) / len(batches)


def over_batches_weighted(batches):
    total = images = 0
    for preds, truth in batches:  # as an average meter does
        total += mask_iou(preds, truth) * preds.shape[0]
        images += preds.shape[0]
    return total / images


def over_images(batches):
    scores = []
    for preds, truth in batches:
        scores += [mask_iou(preds[k], truth[k]) for k in range(len(preds))]
    return np.mean(scores)


def background_in_the_set(batches):
    inverse = [(~preds, ~truth) for preds, truth in batches]
    return (pooled_iou(batches) + pooled_iou(inverse)) / 2


def last_batch(batches):
    for preds, truth in batches:
        overlap, union = (preds & truth).sum(), (preds | truth).sum()
    return overlap / union if union else 1.0


def class_scores_with(ious, precisions=None, mean=np.nanmean):
    def scores(matrix):
        matrix = matrix.numpy().astype(float)
        hits, true, predicted = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
        with np.errstate(invalid="ignore"):
            iou = ious(hits, true, predicted)
            precision = (precisions or (lambda h, t, p: h / p))(hits, true, predicted)
        return mean(iou), mean(precision)

    return scores


def right_ious(hits, true, predicted):
    return hits / (true + predicted - hits)


def best_of(split, thresholds):
    return thresholds[int(np.argmax([mean_iou(split, threshold) for threshold in thresholds]))]


def each_its_own(validation, test, thresholds):
    best = []
    for probabilities, truth in zip(*test, strict=True):
        best.append(max(mask_iou(probabilities > threshold, truth) for threshold in thresholds))
    return sum(best) / len(best)


def pooled_throughout(validation, test, thresholds):
    def pooled(split, threshold):
        return mask_iou(split[0] > threshold, split[1])

    chosen = max(thresholds, key=lambda threshold: pooled(validation, threshold))
    return pooled(test, chosen)


def match_with(score, formula=lambda tp, fp, fn: tp / (tp + fp + fn), numbers=None):
    """Match the objects by a score of two masks, which says whether they fit."""
    numbers = numbers or (lambda labels: set(labels.flatten().tolist()) - {0})

    def precision(preds, truth, threshold):
        found = [preds == number for number in numbers(preds)]
        there = [truth == number for number in numbers(truth)]
        tp = sum(score(p, t, threshold) for p in found for t in there)
        if not found and not there:
            return 1.0
        return formula(tp, len(found) - tp, len(there) - tp)

    return precision


def above(preds, truth, threshold):
    return mask_iou(preds, truth) > threshold


def no_zero_division(number, by):
    return number / by if by else 0.0


MISTAKES = [
    ("iou", count_wrongly(lambda tp, fp, fn: 2 * tp / (2 * tp + fp + fn)), "this is Dice"),
    ("iou", lambda tp, fp, fn: tp / (tp + fp) if tp + fp else 1.0, "this is precision"),
    ("iou", lambda tp, fp, fn: tp / max(tp + fp + fn, 1), "agree: give them 1, not 0"),
    ("iou", lambda tp, fp, fn: tp / (tp + fp + fn), "are 0 / 0: ask for them first"),
    ("iou_from_dice", lambda dice: 2 * dice / (dice + 1), "the way from IoU to Dice"),
    ("iou_from_dice", lambda dice: dice / (1 + dice), "divides by 1 + Dice"),
    ("iou_from_dice", lambda dice: 0.5 * dice, "not half of Dice"),
    ("mask_iou", lambda preds, truth: (preds == truth).double().mean(), "this is accuracy"),
    ("mask_iou", background_too, "the background is averaged in"),
    ("mask_iou", dice_of_masks, "this is Dice"),
    ("mask_iou", added_areas, "the sum of the two areas"),
    ("mask_iou", no_one_for_empty, "agree: give them 1, not 0"),
    ("mask_iou", lambda p, t: (p & t).sum() / (p | t).sum(), "are 0 / 0: ask for them first"),
    ("mask_iou", lambda p, t: ((p & t).sum() + 1) / ((p | t).sum() + 1), "on both sides"),
    ("mask_iou", lambda p, t: (p & t).sum() / (1 + (p | t).sum()), "in the wrong place"),
    ("pooled_iou", over_batches, "this is a mean over batches, which moves"),
    ("pooled_iou", over_batches_weighted, "weighs each batch's ratio by its images"),
    ("pooled_iou", over_images, "this is a mean over images"),
    ("pooled_iou", background_in_the_set, "the background is averaged in"),
    ("pooled_iou", last_batch, "this is the last batch alone"),
    ("class_scores", lambda matrix: class_scores(matrix)[:1] + class_scores_with(
        right_ious, lambda h, t, p: h / t)(matrix)[1:], "the precision is recall"),
    ("class_scores", class_scores_with(lambda h, t, p: h / t), "over the rows is recall, not IoU"),
    ("class_scores", class_scores_with(lambda h, t, p: h / (t + p)), "counts the diagonal twice"),
    ("class_scores", class_scores_with(lambda h, t, p: h.sum() / t.sum()), "this is accuracy"),
    ("class_scores", class_scores_with(lambda h, t, p: h.sum() / (t + p - h).sum()), "pools all"),
    ("class_scores", class_scores_with(right_ious, mean=lambda x: np.nan_to_num(x).mean()),
     "0 / 0 was counted as 0"),
    ("class_scores", class_scores_with(right_ious, mean=np.mean), "makes the whole mean NaN"),
    ("held_out_iou", lambda val, test, cuts: mean_iou(test, best_of(test, cuts)),
     "chosen on the test images"),
    ("held_out_iou", each_its_own, "each test image got its own best threshold"),
    ("held_out_iou", lambda val, test, cuts: mean_iou(val, best_of(val, cuts)),
     "this is the score on validation"),
    ("held_out_iou", lambda val, test, cuts: mean_iou(test, 0.5), "this is the threshold 0.5"),
    ("held_out_iou", pooled_throughout, "this pools the pixels"),
    ("object_precision", match_with(lambda p, t, cut: mask_iou(p, t) >= cut), "not at it"),
    ("object_precision", match_with(lambda p, t, cut: (p & t).sum() / p.sum() > cut),
     "by the predicted object alone"),
    ("object_precision", match_with(lambda p, t, cut: (p & t).sum() / t.sum() > cut),
     "by the true object alone"),
    ("object_precision", match_with(above, lambda tp, fp, fn: no_zero_division(tp, tp + fp)),
     "this is TP / (TP + FP)"),
    ("object_precision", match_with(above, lambda tp, fp, fn: no_zero_division(tp, tp + fn)),
     "this is TP / (TP + FN)"),
    ("object_precision", match_with(above, lambda tp, fp, fn: tp / (tp + 0.5 * (fp + fn))),
     "this is F1"),
    ("object_precision", match_with(above, numbers=torch.unique), "the background was matched"),
    ("object_precision", match_with(above, numbers=lambda labels: labels.unique()[1:]),
     "the first label was left out"),
]  # fmt: skip
