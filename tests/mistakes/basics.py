"""Exercises of the chapter on the basics: other solutions, and mistakes as a learner makes them."""

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from skimage.measure import label
from skimage.segmentation import find_boundaries

from segedu.data import instances_to_target


def one_hot(labels, num_classes):
    counts = labels != 255
    return F.one_hot(labels * counts, num_classes).permute(2, 0, 1) * counts


def class_shares(labels, num_classes):
    counts = torch.bincount(labels[labels != 255], minlength=num_classes)
    return counts / counts.sum()


def resize(image, labels, image_mode="bilinear", labels_mode="nearest", **options):
    image = F.interpolate(image[None], scale_factor=2, mode=image_mode, **options)[0]
    labels = F.interpolate(labels[None, None].float(), scale_factor=2, mode=labels_mode)
    return image, labels[0, 0]


def truncated(image, labels):
    image, labels = resize(image, labels, labels_mode="bilinear")
    return image, labels.long()


def rounded(image, labels):
    image, labels = resize(image, labels, labels_mode="bilinear")
    return image, labels.round().long()


def three_class(instances, edge="edge"):
    padded = np.pad(instances, 1, mode=edge)
    result = (instances > 0).astype(int)
    height, width = instances.shape
    for y, x in [(0, 1), (2, 1), (1, 0), (1, 2)]:
        neighbour = padded[y : y + height, x : x + width]
        result[(instances > 0) & (neighbour != instances)] = 2
    return result


def three_class_rolled(instances):
    result = (instances > 0).astype(int)
    for shift, axis in [(1, 0), (-1, 0), (1, 1), (-1, 1)]:
        result[(instances > 0) & (np.roll(instances, shift, axis) != instances)] = 2
    return result


def three_class_with(**options):
    def three_class(instances):
        result = (instances > 0).astype(int)
        result[find_boundaries(instances, **options)] = 2
        return result

    return three_class


RIGHT = {
    "binary_mask": [
        lambda mask: (mask > 0).float(),
        lambda mask: mask.clamp(max=1),
        lambda mask: mask.bool(),
    ],
    "one_hot": [
        one_hot,
        lambda labels, k: (labels == torch.arange(k)[:, None, None]).long(),
        lambda labels, k: F.one_hot(labels.where(labels < k, k), k + 1).permute(2, 0, 1)[:k],
    ],
    "class_shares": [
        class_shares,
        lambda labels, k: torch.tensor(
            [((labels == c).sum() / (labels < k).sum()) for c in range(k)]
        ),
    ],
    "count_nuclei": [
        lambda mask: label(mask > 0).max(),  # scikit-image walks diagonally if not told otherwise
        lambda mask: int(ndimage.label(mask, structure=np.ones((3, 3)))[1]),
    ],
    "double": [
        resize,
        lambda image, labels: (
            resize(image, labels)[0],
            labels.repeat_interleave(2, 0).repeat_interleave(2, 1),
        ),
    ],
    "three_class": [
        three_class,
        three_class_with(connectivity=1, mode="inner"),
        lambda instances: instances_to_target(instances, "three_class"),
    ],
}

MISTAKES = [
    ("binary_mask", lambda mask: mask / mask.max(), "0 / 0"),
    ("binary_mask", lambda mask: mask / (mask.max() + 1e-8), "a number is a name"),
    (
        "binary_mask",
        lambda mask: mask / mask.max() if mask.any() else mask,
        "a number is a name",
    ),
    ("binary_mask", lambda mask: mask / 255, "not every file stores foreground as 255"),
    ("binary_mask", lambda mask: (mask == mask.max()).float(), "the highest number"),
    ("binary_mask", lambda mask: (mask == 1).float(), "only the first nucleus"),
    ("one_hot", lambda labels, k: one_hot(labels, k).permute(1, 2, 0), "come last"),
    (
        "one_hot",
        lambda labels, k: F.one_hot(labels * (labels != 255), k).permute(2, 0, 1),
        "void became background",
    ),
    (
        "one_hot",
        lambda labels, k: F.one_hot(labels.clamp(0, k - 1), k).permute(2, 0, 1),
        "void became the last class",
    ),
    (
        "one_hot",
        lambda labels, k: F.one_hot(labels.where(labels < k, k), k + 1).permute(2, 0, 1),
        "void got a channel",
    ),
    (
        "one_hot",
        lambda labels, k: F.one_hot(labels, num_classes=k).permute(2, 0, 1),
        "F.one_hot refuses it",
    ),
    (
        "one_hot",
        lambda labels, k: torch.stack([labels == c for c in labels.unique() if c != 255]),
        "still needs its channel",
    ),
    (
        "class_shares",
        lambda labels, k: torch.tensor([(labels == c).float().mean() for c in range(k)]),
        "still in the sum",
    ),
    (
        "class_shares",
        lambda labels, k: sum(class_shares(picture, k) for picture in labels) / len(labels),
        "mean over the pictures",
    ),
    ("class_shares", lambda labels, k: class_shares(labels, 0), "give bincount a minlength"),
    (
        "class_shares",
        lambda labels, k: torch.tensor([(labels == c).sum() for c in range(k)]),
        "these are counts",
    ),
    (
        "class_shares",
        lambda labels, k: torch.bincount(labels.flatten(), minlength=k) / labels.numel(),
        "void is no class",
    ),
    ("count_nuclei", lambda mask: ndimage.label(mask)[1], "over sides only"),
    ("count_nuclei", lambda mask: len(np.unique(label(mask > 0))), "background is counted"),
    ("count_nuclei", lambda mask: label(mask).max(), "make the mask binary first"),
    ("count_nuclei", lambda mask: mask.max(), "the highest number"),
    ("count_nuclei", lambda mask: (mask > 0).sum(), "these are pixels"),
    ("double", rounded, "bilinearly and rounded"),
    ("double", truncated, "bilinearly and cut off"),
    (
        "double",
        lambda image, labels: resize(image, labels, labels_mode="bilinear"),
        "no class 0.75",
    ),
    (
        "double",
        lambda image, labels: resize(image, labels, image_mode="nearest"),
        "brightness may be averaged",
    ),
    (
        "double",
        lambda image, labels: resize(image, labels, align_corners=True),
        "align_corners=True",
    ),
    (
        "three_class",
        lambda instances: three_class((instances > 0).astype(int)),
        "have no boundary between them",
    ),
    ("three_class", three_class_with(), "boundary on the background too"),
    (
        "three_class",
        three_class_with(connectivity=1, mode="outer"),
        "boundary lies outside the nuclei",
    ),
    ("three_class", three_class_with(mode="inner", connectivity=2), "at a corner"),
    ("three_class", lambda x: three_class(x, "constant"), "edge of the picture"),
    ("three_class", three_class_rolled, "np.roll"),
    (
        "three_class",
        lambda x: (x > 0) + find_boundaries(x, connectivity=1, mode="inner"),
        "the boundary is lost",
    ),
]
