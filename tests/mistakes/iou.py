"""Exercises on IoU: other ways to get them right, and wrong."""

import numpy as np


def mask_iou(preds, truth):
    union = (preds | truth).sum().item()
    return (preds & truth).sum().item() / union if union else 1.0


def class_scores(matrix, mean=np.nanmean):
    matrix = matrix.numpy().astype(float)
    hits, true, predicted = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    with np.errstate(invalid="ignore"):
        return mean(hits / (true + predicted - hits)), mean(hits / predicted)


def mean_iou(split, threshold):
    pairs = zip(split[0] > threshold, split[1], strict=True)
    return np.mean([mask_iou(preds, truth) for preds, truth in pairs])


def held_out_iou(validation, test, thresholds):
    scores = [mean_iou(validation, threshold) for threshold in thresholds]
    return mean_iou(test, thresholds[np.argmax(scores)])


def object_precision(preds, truth, threshold):
    found, there = (sorted(set(labels.flatten().tolist()) - {0}) for labels in (preds, truth))
    table = np.array([[mask_iou(preds == p, truth == t) for t in there] for p in found])
    tp = (table > threshold).sum()
    union = len(found) + len(there) - tp
    return tp / union if union else 1.0


RIGHT = {
    "iou": [lambda tp, fp, fn: np.float64(tp) / (tp + fp + fn) if any((tp, fp, fn)) else 1],
    "iou_from_dice": [lambda dice: 1 / (2 / dice - 1) if dice else 0.0],
    "class_scores": [class_scores],
    "held_out_iou": [held_out_iou],
    "object_precision": [object_precision],
}

WRONG = [
    ("iou", lambda tp, fp, fn: tp / max(tp + fp + fn, 1), "agree: return 1, not 0"),
    ("iou", lambda tp, fp, fn: tp / (tp + fp + fn + 1e-7), "agree: return 1, not 0"),
    ("iou", lambda tp, fp, fn: (tp + 1) / (tp + fp + fn + 1), "(2, 1, 1) gave 0.6, expected 0.5"),
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
    ("object_precision", lambda preds, truth, cut: object_precision(preds + 1, truth + 1, cut),
     "the background was matched"),
    ("object_precision", lambda preds, truth, cut: mask_iou(preds > 0, truth > 0), "expected"),
]  # fmt: skip
