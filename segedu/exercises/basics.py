"""Exercises of the chapter on the basics."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from skimage.measure import label
from skimage.segmentation import find_boundaries
from torch import Tensor

from .answer import Answer, _same, check

VOID = 255  # the pixels that no annotator could decide
NUCLEI = np.array(  # 2 touches 1 along a side and 3 at a corner; 4 lies at the edge, alone
    [
        [0, 0, 0, 0, 0, 0, 0, 0, 0],
        [0, 1, 1, 1, 2, 2, 2, 0, 0],
        [0, 1, 1, 1, 2, 2, 2, 0, 0],
        [0, 1, 1, 1, 2, 2, 2, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 3, 3],
        [4, 4, 4, 0, 0, 0, 0, 3, 3],
        [4, 4, 4, 0, 0, 0, 0, 3, 3],
    ]
)
# 4 is not convex
CROWD = np.kron(np.array([[1, 2, 0, 5], [3, 4, 0, 0], [4, 4, 0, 6]]), np.ones((4, 4), dtype=int))

NOT_A_TENSOR = "this is not a tensor, and a tensor is asked for"
EIGHT_BITS = "8 bits hold only 0 to 255, and nucleus 256 became 0: compare before you convert"


def as_asked(solution: Callable) -> Callable:
    """How to call a function whose result must be a tensor: an array that is right is a text."""

    def run(function, *case):
        right, result = solution(*case), function(*case)
        is_array = not isinstance(result, Tensor) and _same(result, right, tolerance=1e-5)
        return "no tensor" if is_array else result

    return run


def check_binary_mask(submission: Callable[[Tensor], Tensor]) -> Answer:
    """Check a function of an integer mask (H, W) that returns float32, 1 where it is not 0.

    The mask itself must stay as it is.

    >>> check_binary_mask(lambda mask: mask == 1)
    not yet: only nucleus 1 is left: the others have the numbers 2, 3, ...
    """

    def solution(mask):
        return (mask != 0).float()

    def run(function, mask):
        result = as_asked(solution)(function, mask)
        dtype = getattr(result, "dtype", None)
        return str(dtype) if dtype in (torch.float64, torch.float16, torch.bfloat16) else result

    one = torch.tensor([[0, 1, 1], [0, 0, 1]])
    nuclei = torch.from_numpy(NUCLEI)
    masks = [one, 255 * one, 0 * one, nuclei, nuclei.where(nuclei > 1, 0), nuclei[1:4, 1:7]]
    masks.append(256 * one)
    misconceptions = {
        "for an empty mask this is 0 / 0, which is NaN (not a number): compare with 0 instead "
        "of dividing": lambda mask: mask / mask.max(),
        "the numbers are names: nucleus 2 is not twice as much foreground as nucleus 1. Compare "
        "with 0 instead of dividing": lambda mask: mask / mask.max().clamp(min=1),
        "the numbers are unchanged: every number above 0 has to become 1": lambda mask: mask,
        "not every file stores foreground as 255, some store 1": lambda mask: mask / 255,
        "only high numbers are left, but some files store foreground as 1, and nuclei have the "
        "numbers 1, 2, 3, ...: compare with 0": lambda mask: mask > 127,
        "nucleus 1 is lost, and so is every mask of 0 and 1: compare with 0": lambda mask: mask > 1,
        "only the pixels with the highest number are left, and in an empty mask that is every "
        "pixel": lambda mask: mask == mask.max(),
        "only nucleus 1 is left: the others have the numbers 2, 3, ...": lambda mask: mask == 1,
        "a comparison returns booleans, and losses such as BCE need floats: convert them": (
            lambda mask: mask != 0
        ),
        "these are integers, and losses such as BCE need floats: use .float()": (
            lambda mask: (mask != 0).long()
        ),
        EIGHT_BITS: lambda mask: solution(mask.byte()),
        NOT_A_TENSOR: lambda mask: solution(mask).numpy(),
        "the result is float64, and the scores of a network are float32: use .float()": (
            lambda mask: (mask != 0).double()
        ),
        "the result is float16, and float32 is asked for: use .float()": (
            lambda mask: (mask != 0).half()
        ),
        "nucleus and background are swapped: 1 is asked for where there is a nucleus": (
            lambda mask: (mask == 0).float()
        ),
        "there is an axis too many: the mask that is asked for is (H, W), like the given one": (
            lambda mask: solution(mask)[None]
        ),
    }
    cases = [(mask,) for mask in masks]
    return check(submission, solution, cases, misconceptions, also="dtype", run=run)


def check_one_hot(submission: Callable[[Tensor, int], Tensor]) -> Answer:
    """Check a function of labels (H, W) and the number of classes K that returns (K, H, W).

    A void pixel, 255, is 0 in every channel.

    >>> check_one_hot(lambda labels, k: F.one_hot(labels.clamp(max=k - 1), k).permute(2, 0, 1))
    not yet: void became the last class, but it is not a class
    """

    def solution(labels, k):
        return (labels == torch.arange(k)[:, None, None]).long()

    def coded(labels, k):
        return F.one_hot(labels, k).permute(2, 0, 1)

    def of_all_present(labels, k):
        return torch.stack([labels == c for c in labels.unique()])

    def of_those_present(labels, k):
        return torch.stack([labels == c for c in labels.unique() if c != VOID])

    plain = torch.tensor([[0, 1, 2], [2, 2, 0]])
    void = torch.tensor([[0, 1, VOID, 2], [VOID, 1, 1, 0]])
    square = torch.tensor([[1, 0], [VOID, 1]])
    nothing = torch.full((2, 3), VOID)
    cases = [(plain, 3), (void, 3), (square, 2), (plain, 4), (void, 5), (nothing, 2), (square, 3)]
    misconceptions = {
        "the channels come last, as F.one_hot leaves them, but PyTorch wants them first, "
        "(K, H, W)": lambda labels, k: solution(labels, k).permute(1, 2, 0),
        "reshape keeps the order of the numbers, and so it mixes channels and pixels: move the "
        "axis with permute(2, 0, 1)": (
            lambda labels, k: solution(labels, k).permute(1, 2, 0).reshape(k, *labels.shape)
        ),
        "height and width are swapped: permute(2, 0, 1) only moves the channels to the front": (
            lambda labels, k: solution(labels, k).transpose(1, 2)
        ),
        "void became background: 255 means that nobody knows, not that nothing is there": (
            lambda labels, k: coded(labels.where(labels != VOID, 0), k)
        ),
        "void became the last class, but it is not a class": (
            lambda labels, k: coded(labels.clamp(max=k - 1), k)
        ),
        "void got a channel of its own, but it is not a class: return K channels": (
            lambda labels, k: coded(labels.where(labels != VOID, k), k + 1)
        ),
        "F.one_hot refuses 255, which is not a class: take the void pixels out first": coded,
        "there is a channel for every number up to the largest, and void is 255: make num_classes "
        "of them (for F.one_hot, take the void pixels out first)": lambda labels, k: coded(
            labels, -1
        ),
        "without num_classes, F.one_hot makes channels only up to the largest class that occurs: "
        "give it num_classes": (
            lambda labels, k: solution(labels, labels.where(labels != VOID, 0).max() + 1)
        ),
        "there is a channel for every number that occurs, even for 255: make one for each of the "
        "num_classes classes": of_all_present,
        "a class that is absent from this picture still needs its channel: return K of them": (
            of_those_present
        ),
        "the number of channels is always 3, but num_classes says how many": (
            lambda labels, k: solution(labels, 3)
        ),
        "the classes are counted from 1, but background is class 0 and has a channel, too": (
            lambda labels, k: solution(labels - 1, k)
        ),
        "the background is missing, but class 0 has a channel, too": (
            lambda labels, k: solution(labels, k)[1:]
        ),
        "there is a channel too many: the classes are 0 to num_classes - 1": (
            lambda labels, k: solution(labels, k + 1)
        ),
        "there is an axis too many: one map is asked for, (K, H, W), and no batch": (
            lambda labels, k: solution(labels, k)[None]
        ),
        "a void pixel is 1 in every channel, but it belongs to no class: 0 in every channel": (
            lambda labels, k: solution(labels, k) | (labels == VOID)
        ),
        f"{NOT_A_TENSOR}: torch.stack makes one of a list": lambda *case: [*solution(*case)],
    }
    return check(submission, solution, cases, misconceptions, run=as_asked(solution))


def check_class_shares(submission: Callable[[Tensor, int], Tensor]) -> Answer:
    """Check a function of labels (N, H, W) and the number of classes K that returns shares (K,).

    The share of each class among all pixels of the N pictures together, without void (255).

    >>> check_class_shares(lambda labels, k: torch.bincount(labels[labels != 255], minlength=k))
    not yet: these are numbers of pixels: divide them by their sum
    """

    def counted(labels, k):
        return torch.bincount(labels[labels != VOID], minlength=k)

    def shares(labels, k):
        return counted(labels, k) / counted(labels, k).sum()

    full = torch.tensor([[[0, 0, 0, 1], [0, 2, 1, 0]], [[0, 0, 0, 0], [0, 0, 1, 0]]])
    void = torch.tensor([[[0, VOID, VOID, 1], [VOID, 0, 1, 0]], [[0, 0, 0, 0], [0, 0, 2, 0]]])
    binary = torch.tensor([[[1, VOID], [VOID, VOID]], [[0, 0], [1, 0]]])
    cases = [(full, 3), (void, 3), (binary, 2), (full, 5), (binary, 3), (void[:1], 3), (void, 4)]
    misconceptions = {
        "the void pixels are still in the denominator: divide by the number of the others": (
            lambda labels, k: counted(labels, k) / labels.numel()
        ),
        "the pixels of all maps were divided by the size of one map, H x W: divide by their sum": (
            lambda labels, k: counted(labels, k) / labels[0].numel()
        ),
        "there is a class too many: the classes are 0 to num_classes - 1": (
            lambda labels, k: shares(labels, k + 1)
        ),
        "void was counted as background: leave these pixels out": (
            lambda labels, k: shares(labels.where(labels != VOID, 0), k)
        ),
        "void was counted as a class: take it out before you count": (
            lambda labels, k: torch.bincount(labels.flatten(), minlength=k) / labels.numel()
        ),
        "this is the mean of the shares of each picture: count the pixels of all pictures first, "
        "then divide once": lambda labels, k: torch.stack([shares(x, k) for x in labels]).mean(0),
        "an absent class has the share 0, not none: give bincount a minlength": (
            lambda labels, k: shares(labels, 0)
        ),
        "these are numbers of pixels: divide them by their sum": counted,
        "these are percent, but a share is between 0 and 1": lambda *case: 100 * shares(*case),
        "this is a row for each map, (N, K), but one for all maps together is asked for, (K,)": (
            lambda labels, k: torch.stack([shares(x, k) for x in labels])
        ),
        "this is a column for each map, (K, N), but one share per class is asked for, (K,)": (
            lambda labels, k: torch.stack([shares(x, k) for x in labels], dim=1)
        ),
        "only the first map was counted: count the pixels of all of them": (
            lambda labels, k: shares(labels[:1], k)
        ),
        "the background is missing, but class 0 has a share, too": (
            lambda labels, k: shares(labels, k)[1:]
        ),
        NOT_A_TENSOR: lambda *case: shares(*case).numpy(),
    }
    return check(submission, shares, cases, misconceptions, run=as_asked(shares))


def check_count_nuclei(submission: Callable[[np.ndarray], int]) -> Answer:
    """Check a function that counts the nuclei in a mask (H, W), whose background is 0.

    A nucleus is a connected piece of pixels of any other number, connected at corners too. The mask
    itself must stay as it is.

    >>> check_count_nuclei(lambda mask: (mask > 0).sum())
    not yet: this is the number of pixels: count the pieces
    """

    def count(mask):
        return label(mask > 0, connectivity=2).max()

    corner = np.array([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 1]])
    classes = np.array([[0, 1, 2, 0, 0], [0, 1, 2, 0, 2], [0, 0, 0, 0, 2]])
    squares = np.kron(np.eye(4, dtype=int)[::2], np.ones((2, 2), dtype=int))
    masks = [corner, 256 * corner, classes, squares, NUCLEI, CROWD, 0 * corner, corner[::-1].copy()]
    ring = np.pad([[0, 0, 0], [0, 1, 0], [0, 0, 0]], 1, constant_values=1)
    masks += [np.ones((3, 4), dtype=int), ring]  # no background; a nucleus around another
    misconceptions = {
        "these pieces are connected along sides (connectivity 1), but pixels that touch at a "
        "corner belong together too": lambda mask: label(mask > 0, connectivity=1).max(),
        "the background was counted too, but it is not a nucleus": (
            lambda mask: len(np.unique(label(mask > 0, connectivity=2)))
        ),
        "a mask can be nucleus everywhere: then there is no background to subtract. Take the "
        "largest number of the map, with .max()": (
            lambda mask: len(np.unique(label(mask > 0, connectivity=2))) - 1
        ),
        "touching pixels with different numbers were separated, but every number except 0 is "
        "nucleus: make the mask binary first": lambda mask: label(mask, connectivity=2).max(),
        "this is the highest number in the mask, not the number of pieces": np.max,
        "only the pixels with the number 1 were taken, but every number except 0 is nucleus": (
            lambda mask: count(mask == 1)
        ),
        "this is the number of different numbers in the mask: two pieces can have the same": (
            lambda mask: len(np.unique(mask[mask > 0]))
        ),
        EIGHT_BITS: lambda mask: count(mask.astype(np.uint8)),
        "len of a map is the number of its rows: take the largest number, with .max()": len,
        "this is the number of pixels: count the pieces": np.count_nonzero,
        "this is the map of the pieces, in which each has its number: take the largest number, "
        "with .max()": lambda mask: label(mask > 0, connectivity=2),
        "with return_num=True, label returns two things, the map of the pieces and their number: "
        "return the number alone": lambda mask: label(mask > 0, connectivity=2, return_num=True),
    }
    cases = [(mask,) for mask in masks]
    return check(submission, count, cases, misconceptions)


def check_double(submission: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Answer:
    """Check a function of an image (1, H, W) and labels (H, W) that doubles the sides of both.

    The image is resized bilinearly, as `F.interpolate` does it; the labels by nearest neighbour,
    and they stay integers, which can be large: numbered nuclei are labels too.

    >>> def double(image, labels):
    ...     image = F.interpolate(image[None], scale_factor=2, mode="bilinear")[0]
    ...     labels = F.interpolate(labels[None, None].float(), scale_factor=2, mode="nearest")
    ...     return image, labels[0, 0].long()
    >>> check_double(double)
    correct: 6 cases
    """

    def resized(values, mode, **options):
        return F.interpolate(values[None].float(), scale_factor=2, mode=mode, **options)[0]

    def nearest(labels):
        return resized(labels[None], "nearest")[0].long()

    def smooth(labels):
        return resized(labels[None], "bilinear")[0]

    def double(image, labels, of_labels=nearest):
        return resized(image, "bilinear"), of_labels(labels)

    def stretched(image, labels):
        return resized(image, "bilinear", align_corners=True), nearest(labels)

    generator = torch.Generator().manual_seed(0)
    nuclei = torch.from_numpy(NUCLEI)
    maps = [2 * (nuclei > 0), nuclei, torch.tensor([[0, 2], [2, 0]]), 3001 * (nuclei == 3)]
    maps += [torch.tensor([[0, 0, 5]]), torch.tensor([[7], [0], [0], [3]])]
    # As in a normalized image, some values are below 0 or above 1.
    cases = [(torch.randn(1, *labels.shape, generator=generator), labels) for labels in maps]
    misconceptions = {
        "the labels were interpolated and rounded, which puts class 1 between 0 and 2: take the "
        "nearest neighbour": lambda *case: double(*case, lambda x: smooth(x).round()),
        "the labels were interpolated and rounded down, which also puts class 1 between 0 and 2: "
        "take the nearest neighbour": lambda *case: double(*case, lambda x: smooth(x).long()),
        "the labels were interpolated, but there is no class 0.75: take the nearest neighbour": (
            lambda *case: double(*case, smooth)
        ),
        "the image was resized by nearest neighbour too, but brightness may be averaged: take "
        "bilinear": lambda image, labels: (resized(image, "nearest"), nearest(labels)),
        "with align_corners=True the image no longer lies on its labels: leave it False": stretched,
        "the labels came back from F.interpolate as floats: convert them back to integers": (
            lambda *case: double(*case, lambda x: nearest(x).float())
        ),
        "8 bits hold only 0 to 255, but a picture can have more nuclei: use .long()": (
            lambda *case: double(*case, lambda x: nearest(x).to(torch.uint8))
        ),
        "the image was resized bicubically, but bilinear is asked for": (
            lambda image, labels: (resized(image, "bicubic"), nearest(labels))
        ),
        "labels and image are swapped: return the image first": lambda *case: double(*case)[::-1],
        "the image has an axis too many: remove what you added for F.interpolate": (
            lambda image, labels: (resized(image, "bilinear")[None], nearest(labels))
        ),
        "the labels have an axis too many: remove all that you added for F.interpolate": (
            lambda *case: double(*case, lambda x: nearest(x)[None])
        ),
        "image and labels have axes too many: remove what you added for F.interpolate": (
            lambda image, labels: (resized(image, "bilinear")[None], nearest(labels)[None, None])
        ),
    }
    return check(submission, double, cases, misconceptions, also="dtype")


def check_three_class(submission: Callable[[np.ndarray], np.ndarray]) -> Answer:
    """Check a function that makes a three-class map (H, W) of integers from instances (H, W).

    0 is background, 1 interior, and 2 boundary: every pixel of a nucleus that has one of its four
    neighbours outside that nucleus. The edge of the picture is not a boundary.

    >>> check_three_class(lambda instances: (
    ...     (instances > 0) + find_boundaries(instances, connectivity=1, mode="inner")))
    not yet: there is no boundary in the result: a pixel is 2 if any of its neighbours is outside \
(np.any or |). And + of two boolean arrays means `or`: use integers
    """

    def bounded(instances, **options):
        return np.where(find_boundaries(instances, **options), 2, instances > 0)

    def inner(instances):
        return bounded(instances, connectivity=1, mode="inner")

    def without_numbers(instances):
        return inner((instances > 0).astype(int))

    def padded(make, instances, mode="constant"):
        return make(np.pad(instances, 1, mode=mode))[1:-1, 1:-1]

    def wrapped(instances):
        before = np.pad(instances, (1, 0), mode="wrap")
        return inner(np.pad(before, (0, 1), mode="edge"))[1:-1, 1:-1]

    sides = {"above": (0, 1), "below": (2, 1), "to the left": (1, 0), "to the right": (1, 2)}

    def compared(instances, chosen, differ=np.not_equal):
        around, (height, width) = np.pad(instances, 1, mode="edge"), instances.shape
        near = [around[y : y + height, x : x + width] for y, x in map(sides.get, chosen)]
        edge = np.any([differ(neighbour, instances) for neighbour in near], axis=0)
        return np.where(edge & (instances > 0), 2, instances > 0)

    def between(instances):
        return compared(instances, sides, lambda near, own: (near > 0) & (near != own))

    def all_but(side, instances):
        return compared(instances, sides.keys() - {side})

    def by_gradient(instances):
        down, right = np.gradient(instances.astype(float))
        return np.where(((down != 0) | (right != 0)) & (instances > 0), 2, instances > 0)

    full = np.ones((5, 6), dtype=int)
    cross = np.zeros((7, 7), dtype=int)
    cross[3, 1:6] = cross[1:6, 3] = 5
    maps = [NUCLEI, CROWD, full, 0 * full, NUCLEI.T.copy(), NUCLEI[1:4, 1:7], 3 * (NUCLEI == 3)]
    maps += [cross, 256 * NUCLEI]
    misconceptions = {
        "two nuclei that touch have no boundary between them: compare their numbers, not only "
        "whether a pixel is nucleus": without_numbers,
        "the whole mask was eroded, so two nuclei that touch have no boundary between them, and "
        "the edge of the picture has one: compare the numbers of neighbours": (
            lambda instances: padded(without_numbers, instances)
        ),
        "some boundary lies on the background: only pixels of a nucleus can be boundary": bounded,
        "the boundary lies outside the nuclei, but it is their own outermost pixels": (
            lambda instances: bounded(instances, connectivity=1, mode="outer")
        ),
        "a neighbour at a corner was counted, but the four neighbours share a side": (
            lambda instances: bounded(instances, connectivity=2, mode="inner")
        ),
        "the edge of the picture became boundary, but nobody knows what lies beyond it. Pad with "
        'the pixels at the edge (mode="edge"), not with 0; binary_erosion needs border_value=1': (
            lambda instances: padded(inner, instances)
        ),
        "np.roll wraps around, so pixels at the left edge get neighbours from the right edge: pad "
        "instead": lambda instances: padded(inner, instances, "wrap"),
        "in the first row and column, y - 1 and x - 1 are -1, which is the last row and column: "
        "compare only with neighbours that exist": wrapped,
        "a nucleus is missing where the picture has no background: np.unique(...)[1:] drops the "
        "first number, even if it is not 0": (
            lambda instances: inner(instances) * (instances != instances.min())
        ),
        "the edge of the picture became boundary (binary_erosion needs border_value=1), and where "
        "there is no background, np.unique(...)[1:] drops a nucleus": (
            lambda instances: padded(inner, instances) * (instances != instances.min())
        ),
        EIGHT_BITS: lambda instances: inner(instances.astype(np.uint8)),
        "there is no boundary in the result: a pixel is 2 if any of its neighbours is outside "
        "(np.any or |). And + of two boolean arrays means `or`: use integers": (
            lambda instances: instances > 0
        ),
        "the boundary is 3: class 2 was added to class 1. Use np.where": (
            lambda instances: inner(instances) + (inner(instances) == 2)
        ),
        "the interior is missing: it is class 1, and the boundary class 2": (
            lambda instances: 2 * (inner(instances) == 2)
        ),
        "the interior has kept the numbers of the nuclei: it is class 1 in every nucleus": (
            lambda instances: np.where(inner(instances) == 2, 2, instances)
        ),
        "interior and boundary are swapped: interior is 1, boundary 2": (
            lambda instances: -inner(instances) % 3
        ),
        "only the neighbours above and to the left were compared: compare all four": (
            lambda instances: compared(instances, ["above", "to the left"])
        ),
        **{
            f"the neighbour {side} was not compared: compare all four": partial(all_but, side)
            for side in sides
        },
        "parts one pixel wide are missed: compare a pixel with each of its neighbours, not two "
        "neighbours with each other": by_gradient,
        "only nuclei that touch have a boundary, but the background, too, lies outside a nucleus": (
            between
        ),
        "this is the boundary alone: make it class 2, beside background (0) and interior (1)": (
            lambda instances: inner(instances) == 2
        ),
        "this is the one-hot map: return the label map, (H, W), of 0, 1 and 2": (
            lambda instances: inner(instances) == np.arange(3)[:, None, None]
        ),
    }
    cases = [(instances,) for instances in maps]
    return check(submission, inner, cases, misconceptions, also="dtype")
