"""Exercises of the chapter on the basics."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from skimage.measure import label
from skimage.segmentation import find_boundaries
from torch import Tensor

from .answer import Answer, check

VOID = 255  # the pixels that nobody could decide
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
# 4 has a corner that looks inwards
CROWD = np.kron(np.array([[1, 2, 0, 5], [3, 4, 0, 0], [4, 4, 0, 6]]), np.ones((4, 4), dtype=int))


def check_binary_mask(submission: Callable[[Tensor], Tensor]) -> Answer:
    """Check a function of an integer mask (H, W) that gives 1 where it is not 0, and 0 elsewhere.

    >>> check_binary_mask(lambda mask: (mask != 0).float())
    correct: 7 cases
    """
    one = torch.tensor([[0, 1, 1], [0, 0, 1]])
    nuclei = torch.from_numpy(NUCLEI)
    cases = [one, 255 * one, nuclei, nuclei.where(nuclei > 1, 0), 0 * nuclei, nuclei[1:4, 1:7]]
    return check(
        submission,
        lambda mask: (mask != 0).float(),
        [(mask,) for mask in [*cases, 0 * one]],
        {
            "an empty mask became 0 / 0, which is NaN, and one NaN spoils the whole network: "
            "compare with 0 instead of dividing": lambda mask: mask / mask.max(),
            "a number is a name: the pixels of nucleus 2 are not twice as much nucleus as those "
            "of nucleus 1. Compare with 0 instead of dividing": (
                lambda mask: mask / mask.max().clamp(min=1)
            ),
            "not every file stores foreground as 255: a mask of 0 and 1 became all but empty": (
                lambda mask: mask / 255
            ),
            "only the pixels with the highest number are left, and in an empty mask these are all "
            "of them": lambda mask: mask == mask.max(),
            "only the first nucleus is left: the others have the numbers 2, 3, ...": (
                lambda mask: mask == 1
            ),
        },
    )


def check_one_hot(submission: Callable[[Tensor, int], Tensor]) -> Answer:
    """Check a function of labels (H, W) and the number of classes K that gives (K, H, W).

    A void pixel, 255, is 0 in every channel.

    >>> check_one_hot(lambda labels, k: torch.stack([labels == c for c in range(k)]))
    correct: 7 cases
    """

    def one_hot(labels, num_classes):
        return torch.stack([labels == k for k in range(num_classes)]).long()

    def coded(labels, num_classes):
        return F.one_hot(labels, num_classes).permute(2, 0, 1)

    plain = torch.tensor([[0, 1, 2], [2, 2, 0]])
    void = torch.tensor([[0, 1, VOID, 2], [VOID, 1, 1, 0]])
    square = torch.tensor([[1, 0], [VOID, 1]])
    nothing = torch.full((2, 3), VOID)
    cases = [(plain, 3), (void, 3), (square, 2), (plain, 4), (void, 5), (nothing, 2), (square, 3)]
    return check(
        submission,
        one_hot,
        cases,
        {
            "the channels come last, as F.one_hot leaves them: torch wants them first, (K, H, W)": (
                lambda labels, k: one_hot(labels, k).permute(1, 2, 0)
            ),
            "void became background: 255 says that nobody knows, not that there is nothing": (
                lambda labels, k: coded(labels.where(labels != VOID, 0), k)
            ),
            "void became the last class: 255 is no class": (
                lambda labels, k: coded(labels.clamp(max=k - 1), k)
            ),
            "void got a channel of its own: it is no class, so there are K channels": (
                lambda labels, k: coded(labels.where(labels != VOID, k), k + 1)
            ),
            "255 is no class number, and F.one_hot refuses it: take the void pixels out first": (
                coded
            ),
            "a class that is not in this picture still needs its channel: there are K of them": (
                lambda labels, k: torch.stack(
                    [labels == c for c in labels.unique().tolist() if c != VOID]
                )
            ),
        },
    )


def check_class_shares(submission: Callable[[Tensor, int], Tensor]) -> Answer:
    """Check a function of labels (N, H, W) and the number of classes K that gives shares (K,).

    Of all pixels in the N pictures together, void (255) left out.

    >>> def class_shares(labels, num_classes):
    ...     counts = torch.bincount(labels[labels != 255], minlength=num_classes)
    ...     return counts / counts.sum()
    >>> check_class_shares(class_shares)
    correct: 7 cases
    """

    def counted(labels, num_classes):
        return torch.bincount(labels[labels != VOID], minlength=num_classes)

    def shares(labels, num_classes):
        return counted(labels, num_classes) / counted(labels, num_classes).sum()

    full = torch.tensor([[[0, 0, 0, 1], [0, 2, 1, 0]], [[0, 0, 0, 0], [0, 0, 1, 0]]])
    void = torch.tensor([[[0, VOID, VOID, 1], [VOID, 0, 1, 0]], [[0, 0, 0, 0], [0, 0, 2, 0]]])
    binary = torch.tensor([[[1, VOID], [VOID, VOID]], [[0, 0], [1, 0]]])
    cases = [(full, 3), (void, 3), (binary, 2), (full, 5), (binary, 3), (void[:1], 3), (void, 4)]
    return check(
        submission,
        shares,
        cases,
        {
            "the void pixels are still in the sum: divide by the pixels that count": (
                lambda labels, k: counted(labels, k) / labels.numel()
            ),
            "this is the mean over the pictures: count the pixels of all pictures first, then "
            "divide once": lambda labels, k: torch.stack([shares(x, k) for x in labels]).mean(0),
            "a class without pixels has the share 0, not none: give bincount a minlength": (
                lambda labels, k: shares(labels, 0)
            ),
            "these are counts: divide by their sum": counted,
            "void is no class: take it out before you count": (
                lambda labels, k: torch.bincount(labels.flatten(), minlength=k) / labels.numel()
            ),
        },
    )


def check_count_nuclei(submission: Callable[[np.ndarray], int]) -> Answer:
    """Check a function that counts the nuclei in a mask (H, W): pixels of any number but 0.

    Pixels that meet at a corner belong together.

    >>> check_count_nuclei(lambda mask: label(mask > 0, connectivity=2).max())
    correct: 8 cases
    """
    corner = np.array([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 1]])
    two_classes = np.array([[0, 1, 2, 0, 0], [0, 1, 2, 0, 2], [0, 0, 0, 0, 2]])
    four = np.kron(np.eye(4, dtype=int)[::2], np.ones((2, 2), dtype=int))
    cases = [
        corner,
        255 * corner,
        two_classes,
        four,
        NUCLEI,
        CROWD,
        0 * corner,
        corner[::-1].copy(),
    ]
    return check(
        submission,
        lambda mask: int(label(mask > 0, connectivity=2).max()),
        [(mask,) for mask in cases],
        {
            "pixels that meet at a corner belong together here: these are the components over "
            "sides only, connectivity 1": lambda mask: label(mask > 0, connectivity=1).max(),
            "the background is counted too: it is no nucleus": (
                lambda mask: label(mask > 0, connectivity=2).max() + 1
            ),
            "neighbours with different numbers were taken apart: every number but 0 is nucleus, "
            "so make the mask binary first": lambda mask: label(mask, connectivity=2).max(),
            "this is the highest number in the mask, not how many pieces it has": (
                lambda mask: mask.max()
            ),
            "these are pixels: count the pieces": lambda mask: np.count_nonzero(mask),
        },
    )


def check_double(submission: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Answer:
    """Check a function of an image (1, H, W) and labels (H, W) that gives both at twice the side.

    The image bilinearly, as `F.interpolate` does it, the labels by nearest neighbour.

    >>> def double(image, labels):
    ...     image = F.interpolate(image[None], scale_factor=2, mode="bilinear")[0]
    ...     labels = F.interpolate(labels[None, None].float(), scale_factor=2, mode="nearest")
    ...     return image, labels[0, 0].long()
    >>> check_double(double)
    correct: 6 cases
    """

    def doubled(values, mode, **options):
        return F.interpolate(values[None].float(), scale_factor=2, mode=mode, **options)[0]

    def smooth(labels):
        return doubled(labels[None], "bilinear")[0]

    def double(image, labels, resized=None):
        nearest = doubled(labels[None], "nearest")[0]
        return doubled(image, "bilinear"), nearest if resized is None else resized(labels)

    random = torch.Generator().manual_seed(0)
    nuclei = torch.from_numpy(NUCLEI)
    labels = [2 * (nuclei > 0), nuclei, torch.tensor([[0, 2], [2, 0]]), 3 * (nuclei == 3)]
    labels += [torch.tensor([[0, 0, 5]]), torch.tensor([[7], [0], [0], [3]])]
    cases = [(torch.rand(1, *mask.shape, generator=random), mask) for mask in labels]
    return check(
        submission,
        double,
        cases,
        {
            "the labels were resized bilinearly and rounded, which makes class 1 half-way between "
            "0 and 2: take the nearest neighbour": (
                lambda image, labels: double(image, labels, lambda x: smooth(x).round())
            ),
            "the labels were resized bilinearly and cut off: take the nearest neighbour": (
                lambda image, labels: double(image, labels, lambda x: smooth(x).floor())
            ),
            "the labels were resized bilinearly, and there is no class 0.75: take the nearest "
            "neighbour": lambda image, labels: double(image, labels, smooth),
            "the image was resized by nearest neighbour too: brightness may be averaged, so do it "
            "bilinearly": (
                lambda image, labels: (doubled(image, "nearest"), double(image, labels)[1])
            ),
            "with align_corners=True the image no longer lies on its labels: leave it False": (
                lambda image, labels: (
                    doubled(image, "bilinear", align_corners=True),
                    double(image, labels)[1],
                )
            ),
        },
    )


def check_three_class(submission: Callable[[np.ndarray], np.ndarray]) -> Answer:
    """Check a function that makes the three-class map (H, W) of instances (H, W).

    0 background, 1 interior, 2 boundary: every pixel of a nucleus with one of its four neighbours
    outside that nucleus. The edge of the picture is no boundary.

    >>> def three_class(instances):
    ...     boundary = find_boundaries(instances, connectivity=1, mode="inner")
    ...     return np.where(boundary, 2, instances > 0)
    >>> check_three_class(three_class)
    correct: 7 cases
    """

    def bounded(instances, **options):
        return np.where(find_boundaries(instances, **options), 2, instances > 0)

    def inner(instances):
        return bounded(instances, connectivity=1, mode="inner")

    def rolled(instances):
        near = [np.roll(instances, step, axis) for step in (-1, 1) for axis in (0, 1)]
        edge = np.any([other != instances for other in near], axis=0)
        return np.where(edge & (instances > 0), 2, instances > 0)

    full = np.ones((5, 6), dtype=int)
    cases = [NUCLEI, CROWD, full, 0 * full, NUCLEI.T.copy(), NUCLEI[1:4, 1:7], 3 * (NUCLEI == 3)]
    return check(
        submission,
        inner,
        [(instances,) for instances in cases],
        {
            "two nuclei that touch have no boundary between them: compare their numbers, not "
            "whether there is a nucleus": lambda instances: inner((instances > 0).astype(int)),
            "there is boundary on the background too: only pixels of a nucleus are boundary": (
                bounded
            ),
            "the boundary lies outside the nuclei: it is their own outermost pixels": (
                lambda instances: bounded(instances, connectivity=1, mode="outer")
            ),
            "a neighbour at a corner was counted: the four neighbours share a side": (
                lambda instances: bounded(instances, connectivity=2, mode="inner")
            ),
            "the edge of the picture became boundary: nobody knows what is beyond it. Pad with "
            'the pixels at the edge (mode="edge"), not with 0': (
                lambda instances: inner(np.pad(instances, 1))[1:-1, 1:-1]
            ),
            "np.roll takes the neighbours of the left edge from the right one: pad instead": rolled,
            "the boundary is lost: for two arrays of booleans, + is `or`. Make one integer": (
                lambda instances: instances > 0
            ),
        },
    )
