"""Exercises of the chapter on the basics: other ways to get them right, and wrong."""

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from skimage.measure import label

from segedu.data import instances_to_target


def one_hot(labels, num_classes):
    counts = labels != 255
    return F.one_hot(labels * counts, num_classes).permute(2, 0, 1) * counts


def double(image, labels):
    image = F.interpolate(image[None], scale_factor=2, mode="bilinear")[0]
    return image, labels.repeat_interleave(2, 0).repeat_interleave(2, 1)


def three_class(instances):
    padded = np.pad(instances, 1, mode="edge")
    result = (instances > 0).astype(np.uint8)
    height, width = instances.shape
    for y, x in [(0, 1), (2, 1), (1, 0), (1, 2)]:
        neighbour = padded[y : y + height, x : x + width]
        result[(instances > 0) & (neighbour != instances)] = 2
    return result


def three_class_eroded(instances):
    mask = instances > 0
    return mask.astype(int) + (mask & ~ndimage.binary_erosion(mask))


RIGHT = {
    "binary_mask": [lambda mask: mask.clamp(max=1).float()],
    "one_hot": [
        one_hot,
        lambda labels, k: torch.stack([labels == c for c in range(k)]),
        lambda labels, k: F.one_hot(labels.where(labels < k, k), k + 1).permute(2, 0, 1)[:k],
    ],
    "class_shares": [
        lambda labels, k: torch.stack([(labels == c).sum() / (labels < k).sum() for c in range(k)])
    ],
    "count_nuclei": [
        lambda mask: label(mask > 0).max(),  # scikit-image connects corners by default
        lambda mask: int(ndimage.label(mask, structure=np.ones((3, 3)))[1]),
    ],
    "double": [double],
    "three_class": [three_class, lambda instances: instances_to_target(instances, "three_class")],
}

WRONG = [
    ("binary_mask", lambda mask: mask / (mask.max() + 1e-8), "the numbers are names"),
    ("binary_mask", lambda mask: mask / mask.max() if mask.any() else mask, "numbers are names"),
    ("binary_mask", lambda mask: mask.bool(), "a comparison returns booleans"),
    ("binary_mask", lambda mask: mask.clamp(max=1), "gave 'integers', expected 'floats'"),
    ("binary_mask", lambda mask: mask.clamp_(max=1).float(), "that you were given has changed"),
    ("binary_mask", lambda mask: mask.clamp(max=1).double(), "the result is float64"),
    ("class_shares", lambda x, k: F.one_hot(x.where(x < k, k), k + 1)[..., :k].sum((1, 2))
     / (x < k).sum((1, 2))[:, None], "a row for each map"),
    ("count_nuclei", lambda mask: label(mask > 0), "take the largest number"),
    ("count_nuclei", lambda mask: label(mask > 0, return_num=True), "label returns two things"),
    ("three_class", lambda x: np.where(three_class(x) == 2, 2, x), "kept the numbers"),
    ("three_class", lambda x: np.array([0, 2, 1])[three_class(x)], "are swapped"),
    ("one_hot", lambda x, k: F.one_hot(x * (x != 255), k).permute(2, 0, 1), "became background"),
    ("count_nuclei", lambda mask: ndimage.label(mask)[1], "connected along sides"),
    ("count_nuclei", lambda mask: len(np.unique(label(mask > 0))), "the background was counted"),
    ("double", lambda *case: (double(*case)[0], double(*case)[1] / 1), "convert them back"),
    ("double", lambda image, labels: (double(image, labels)[0], labels),
     "(7, 9))[1] gave torch.int64 (7, 9), expected torch.int64 (14, 18)"),
    ("three_class", three_class_eroded, "the whole mask was eroded"),
    ("three_class", lambda x: three_class(x).astype(float), "gave 'floats', expected 'integers'"),
    ("three_class", lambda x: np.where(x == 4, 1, three_class(x)), "[5][0] gave 1, expected 2"),
]  # fmt: skip
