"""Exercises of the chapter on the basics: other ways to get them right, and wrong."""

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


def reshaped(labels, num_classes):
    counts = labels != 255
    coded = F.one_hot(labels * counts, num_classes) * counts[..., None]
    return coded.view(num_classes, *labels.shape)


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


def three_class_one_by_one(instances, border_value=0):
    result = np.zeros(instances.shape, dtype=int)
    for number in np.unique(instances)[1:]:
        nucleus = instances == number
        result[nucleus] = 2
        result[ndimage.binary_erosion(nucleus, border_value=border_value)] = 1
    return result


def three_class_in_loops(instances, steps, lowest=0):
    result, (height, width) = (instances > 0).astype(int), instances.shape
    for y, x in np.argwhere(instances):
        for v, u in [(y + down, x + right) for down, right in steps]:
            inside = lowest <= v < height and lowest <= u < width
            if inside and instances[v, u] != instances[y, x]:
                result[y, x] = 2
    return result


def changing_one_hot(labels, num_classes):
    labels[labels == 255] = num_classes
    return torch.stack([labels == k for k in range(num_classes)])


def changing_count_nuclei(mask):
    mask[mask > 0] = 1
    return label(mask).max()


def changing_three_class(instances):
    boundary = find_boundaries(instances, connectivity=1, mode="inner")
    instances[instances > 0] = 1
    instances[boundary] = 2
    return instances


def between(instances):
    result = (instances > 0).astype(int)
    for axis in (0, 1):
        a = np.swapaxes(instances, 0, axis)
        pair = (a[1:] != a[:-1]) & (a[1:] > 0) & (a[:-1] > 0)
        for part in (slice(1, None), slice(None, -1)):
            np.swapaxes(result, 0, axis)[part][pair] = 2
    return result


STEPS = [(-1, 0), (1, 0), (0, -1), (0, 1)]  # up, down, left, right

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
    "three_class": [
        three_class,
        lambda instances: instances_to_target(instances, "three_class"),
        lambda instances: three_class_in_loops(instances, STEPS),
    ],
}

WRONG = [
    ("binary_mask", lambda mask: mask / (mask.max() + 1e-8), "the numbers are names"),
    ("binary_mask", lambda mask: mask / mask.max() if mask.any() else mask, "numbers are names"),
    ("binary_mask", lambda mask: mask.bool(), "a comparison returns booleans"),
    ("binary_mask", lambda mask: mask.clamp(max=1), "these are integers"),
    ("binary_mask", lambda mask: torch.where(mask > 0, 1, 0), "use .float()"),
    ("binary_mask", lambda mask: (mask == 255).float(), "only high numbers are left"),
    ("binary_mask", lambda mask: (mask > 1).float(), "nucleus 1 is lost"),
    ("binary_mask", lambda mask: (mask > 0).float().tolist(), "not a tensor"),
    ("binary_mask", lambda mask: mask.float(), "the numbers are unchanged"),
    ("one_hot", reshaped, "reshape keeps the order"),
    ("one_hot", lambda labels, k: one_hot(labels, k).permute(0, 2, 1), "height and width"),
    ("one_hot", changing_one_hot, "what the function was given"),
    ("one_hot", lambda x, k: F.one_hot(x.clamp_(max=k), k + 1).permute(2, 0, 1)[:k],
     "what the function was given"),
    ("one_hot", lambda x, k: [x == c for c in range(k)], "torch.stack"),
    ("one_hot", lambda x, k: (x == torch.arange(3)[:, None, None]).long(), "is always 3"),
    ("one_hot", lambda x, k: torch.stack([x == c for c in range(1, k + 1)]), "counted from 1"),
    ("one_hot", lambda x, k: torch.stack([(x == c) | (x == 255) for c in range(k)]),
     "void pixel is 1"),
    ("one_hot", lambda x, k: torch.stack([x == c for c in range(k + 1)]), "a channel too many"),
    ("one_hot", lambda x, k: torch.stack([x == c for c in range(1, k)]), "background is missing"),
    ("one_hot", lambda x, k: torch.stack([x == c for c in range(k)])[None], "an axis too many"),
    ("count_nuclei", lambda mask: len(np.unique(label(mask > 0))) - 1, "no background to subtract"),
    ("count_nuclei", changing_count_nuclei, "what the function was given"),
    ("count_nuclei", lambda mask: label(mask == 1).max(), "only the pixels with the number 1"),
    ("count_nuclei", lambda mask: len(np.unique(mask[mask > 0])), "number of different numbers"),
    ("count_nuclei", lambda mask: len(label(mask > 0)), "the number of its rows"),
    ("class_shares", lambda x, k: torch.bincount(x[0][x[0] < k], minlength=k)
     / (x[0] < k).sum(), "only the first map"),
    ("class_shares", lambda x, k: torch.stack([(x == c).sum() / (x < k).sum()
     for c in range(1, k)]), "the background is missing"),
    ("class_shares", lambda x, k: torch.stack([(x == c).sum((1, 2)) / (x < k).sum((1, 2))
     for c in range(k)]), "a column for each map"),
    ("three_class", changing_three_class, "what the function was given"),
    ("three_class", lambda x: find_boundaries(x, connectivity=1, mode="inner"),
     "the boundary alone"),
    ("three_class", lambda x: find_boundaries(x, connectivity=1, mode="inner") * 1,
     "the boundary alone"),
    ("three_class", lambda x: (x > 0).astype(int), "there is no boundary"),
    ("three_class", lambda x: np.stack([three_class(x) == k for k in range(3)]), "one-hot"),
    ("three_class", between, "only nuclei that touch have a boundary"),
    ("three_class", lambda x: np.where(np.any(np.gradient(np.sqrt(x)), axis=0) & (x > 0), 2, x > 0),
     "parts one pixel wide are missed"),
    ("binary_mask", lambda mask: mask.clamp_(max=1).float(), "what the function was given"),
    ("binary_mask", lambda mask: mask.clamp(max=1).double(), "the result is float64"),
    ("binary_mask", lambda mask: mask.clamp(max=1).half(), "the result is float16"),
    ("binary_mask", lambda mask: 1.0 - mask.clamp(max=1), "background are swapped"),
    ("binary_mask", lambda mask: mask.clamp(max=1).float().unsqueeze(0), "an axis too many"),
    ("class_shares", lambda x, k: torch.stack([(x == c).sum() for c in range(k)])
     / (x.shape[1] * x.shape[2]), "the size of one map"),
    ("class_shares", lambda x, k: torch.stack([(x == c).sum() / (x < k).sum()
     for c in range(k + 1)]), "a class too many"),
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
    ("double", lambda *case: (double(*case)[0], double(*case)[1].byte()), "8 bits hold only"),
    ("double", lambda image, labels: (double(image, labels)[0],
     F.interpolate(labels[None, None].float(), scale_factor=2)[0, 0].to(torch.uint8)),
     "8 bits hold only"),
    ("double", lambda image, labels: double(image, labels.to(torch.uint8)), "8 bits hold only"),
    ("double", lambda *case: (double(*case)[1], double(*case)[0]), "swapped"),
    ("double", lambda image, labels: (
        F.interpolate(image[None], scale_factor=2, mode="bicubic")[0], double(image, labels)[1]),
     "resized bicubically"),
    ("double", lambda image, labels: (
        F.interpolate(image[None], scale_factor=2, mode="bilinear"), double(image, labels)[1]),
     "the image has an axis too many"),
    ("double", lambda image, labels: (
        double(image, labels)[0],
        F.interpolate(labels[None, None].float(), scale_factor=2)[0].long()),
     "the labels have an axis too many"),
    ("double", lambda image, labels: (
        F.interpolate(image[None], scale_factor=2, mode="bilinear"),
        F.interpolate(labels[None, None].float(), scale_factor=2).long()),
     "image and labels have axes too many"),
    ("double", lambda *case: (double(*case)[0].clamp(0, 1), double(*case)[1]),
     "gave 0, expected -1.126"),
    ("double", lambda image, labels: (double(image, labels)[0], labels),
     "(7, 9))[1] gave torch.int64 (7, 9), expected torch.int64 (14, 18)"),
    ("three_class", lambda x: (x > 0) + 2 * find_boundaries(x, connectivity=1, mode="inner"),
     "the boundary is 3"),
    ("three_class", lambda x: 2 * find_boundaries(x, connectivity=1, mode="inner"),
     "the interior is missing"),
    ("three_class", three_class_eroded, "the whole mask was eroded"),
    ("three_class", lambda x: three_class_one_by_one(x, border_value=1), "drops the first number"),
    ("three_class", three_class_one_by_one, "border_value=1), and where there is no background"),
    ("three_class", lambda x: three_class_one_by_one(np.pad(x, 1))[1:-1, 1:-1],
     "binary_erosion needs border_value=1"),
    ("three_class", lambda x: three_class_in_loops(x, STEPS, lowest=-1), "which is the last row"),
    ("three_class", lambda x: three_class_in_loops(x, STEPS[1:]), "the neighbour above"),
    ("three_class", lambda x: three_class_in_loops(x, STEPS[:-1]), "the neighbour to the right"),
    ("one_hot", lambda x, k: F.one_hot(x).permute(2, 0, 1), "every number up to the largest"),
    ("one_hot", lambda x, k: torch.stack([x == c for c in x.unique()]), "even for 255"),
    ("count_nuclei", lambda mask: ndimage.label(mask.astype(np.uint8), np.ones((3, 3)))[1],
     "8 bits hold only"),
    ("three_class", lambda x: three_class(x).astype(float), "gave 'floats', expected 'integers'"),
    ("three_class", lambda x: np.where(x == 4, 1, three_class(x)), "[5][0] gave 1, expected 2"),
    ("binary_mask", lambda mask: (mask.byte() > 0).float(), "nucleus 256 became 0"),
    ("three_class", lambda x: three_class(x.astype(np.uint8)), "nucleus 256 became 0"),
    ("three_class", lambda x: np.where(find_boundaries(x.astype(np.uint8), connectivity=1,
     mode="inner"), 2, x > 0), "in 1 of 9 cases the result is wrong"),
    ("one_hot", lambda x, k: F.one_hot(x * (x != 255)).permute(2, 0, 1) * (x != 255),
     "give it num_classes"),
    ("class_shares", lambda x, k: [(x == c).sum() / (x < k).sum() for c in range(k)],
     "not a tensor"),
    ("class_shares", lambda x, k: np.array([(x == c).sum() / (x < k).sum() for c in range(k)]),
     "not a tensor"),
    ("count_nuclei", lambda mask: label(ndimage.binary_fill_holes(mask)).max(),
     "in 1 of 10 cases the result is wrong"),
]  # fmt: skip
