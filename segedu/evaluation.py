"""Measure what a network, or a threshold, gets right on a data set."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .checks import check_integer, check_range, check_tensor, describe
from .inference import predict
from .metrics import StatScores, iou, stat_scores
from .models import NodeGrid

THRESHOLDS = [round(0.05 * k, 2) for k in range(1, 20)]


class Reliability(NamedTuple):
    """Pixels by the probability that a network gave them, each (bins,).

    Of several images: `Reliability(*map(sum, zip(*tables)))`.
    """

    pixels: Tensor  # int64
    probability: Tensor  # float64, the sum over these pixels
    right: Tensor  # int64, how many of them are of the class that the probability speaks of


def evaluate(
    segment: Callable[[Tensor], Tensor],
    dataset: Iterable[tuple[Tensor, Tensor]],
    *,
    num_classes: int,
    ignore_index: int | None = None,
) -> StatScores:
    """Count what `segment` gets right, image by image, each in its own size.

    Parameters
    ----------
    segment : turns an image (1, C, H, W) into a mask (1, H, W), such as
        `segedu.inference.segmenter(model)` or `otsu_threshold`.
    dataset : pairs of (image, mask), see `segedu.data`.

    Returns tp, fp, fn and tn, each (images, num_classes) int64: ready for `segedu.metrics`. Raises
    ValueError for an empty data set, and for masks with other values than those of the classes.

    >>> image = torch.tensor([[[0.0, 1.0], [0.0, 1.0]]])
    >>> counts = evaluate(lambda images: images[:, 0] > 0.5, [(image, image[0].long())],
    ...                   num_classes=1)
    >>> dataset_iou(counts)
    1.0
    """
    counts = [
        stat_scores(
            segment(image[None]).cpu(),
            mask[None],
            num_classes=num_classes,
            ignore_index=ignore_index,
        )
        for image, mask in dataset
    ]
    return concatenate(counts)


def dataset_iou(counts: StatScores) -> float:
    """The course's one number for a data set.

    For one class the mean over the images of the foreground's IoU (an empty image that stays empty
    counts 1); for several the mean over the classes of the IoU over the whole set.
    """
    if counts.tp.shape[1] == 1:
        return iou(*counts, average="image", absent=1.0)
    return iou(*counts, average="class", absent="skip")


def otsu_threshold(images: Tensor) -> Tensor:
    """The baseline that a network has to beat: a Gaussian blur, then Otsu's threshold (1979).

    The blur has a standard deviation of one pixel. Takes (1, 1, H, W) or (1, 3, H, W), whose
    channels are averaged; gives (1, H, W).
    """
    from skimage.filters import gaussian, threshold_otsu

    check_range("images", check_tensor("images", images, "(1, C, H, W)"))
    _check_one("images", images)
    blurred = gaussian(images[0].mean(dim=0).numpy(force=True), sigma=1)
    return torch.from_numpy(blurred > threshold_otsu(blurred))[None]


def constant_counts(counts: StatScores, index: int) -> StatScores:
    """The counts on the same data set if every pixel were answered with one class.

    Parameters
    ----------
    counts : of any answer: they say how many pixels each class has.
    index : the class; of one class, 0 is the background and 1 the foreground.

    >>> constant_counts(StatScores(*torch.tensor([[[3]], [[1]], [[2]], [[4]]])), 1)
    StatScores(tp=tensor([[5]]), fp=tensor([[5]]), fn=tensor([[0]]), tn=tensor([[0]]))
    """
    positives, negatives = counts.tp + counts.fn, counts.fp + counts.tn
    num_classes = positives.shape[1]
    chosen = torch.arange(num_classes) == (index - 1 if num_classes == 1 else index)
    return StatScores(
        positives * chosen, negatives * chosen, positives * ~chosen, negatives * ~chosen
    )


def learn_baselines(
    dataset: Iterable[tuple[Tensor, Tensor]], *, num_classes: int, ignore_index: int | None = None
) -> dict[str, Callable[[Tensor], Tensor]]:
    """Answers without a network that learn from training images, in one pass, a few numbers each.

    - "most frequent class per place": on a grid of 64 x 64 places, over which every image is
      stretched.
    - "Otsu's threshold" or, if that is better on the training images, "below Otsu's threshold": for
      one class, see `otsu_threshold`.

    Returns functions from an image (1, C, H, W) to a mask (1, H, W), by their names.

    >>> mask = torch.tensor([[0, 1], [0, 1]])
    >>> dataset = [(1.0 - mask[None], mask)]  # dark objects
    >>> answers = learn_baselines(dataset, num_classes=1)
    >>> list(answers)
    ['most frequent class per place', "below Otsu's threshold"]
    >>> answers["most frequent class per place"](torch.zeros(1, 1, 1, 4))
    tensor([[[0, 0, 1, 1]]])
    """
    classes = torch.arange(max(num_classes, 2))[:, None, None]
    pixels = torch.zeros(len(classes), 64, 64)
    counts = []
    for image, mask in dataset:
        pixels += _stretch(mask, (64, 64)) == classes
        if num_classes == 1:
            bright = otsu_threshold(image[None]).long()
            counts.append(stat_scores(bright, mask[None], num_classes=1, ignore_index=ignore_index))
    places = pixels.argmax(0)
    answers = {"most frequent class per place": lambda images: _stretch(places, images.shape[-2:])}
    if counts:
        tp, fp, fn, tn = concatenate(counts)
        if dataset_iou(StatScores(tp, fp, fn, tn)) >= dataset_iou(StatScores(fn, tn, tp, fp)):
            answers["Otsu's threshold"] = lambda images: otsu_threshold(images).long()
        else:
            answers["below Otsu's threshold"] = lambda images: 1 - otsu_threshold(images).long()
    return answers


def _stretch(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """A mask (H, W) as (1, *size), each value that of the nearest pixel."""
    return F.interpolate(mask[None, None].double(), size, mode="nearest-exact")[0].long()


def threshold_counts(
    probabilities: Tensor, mask: Tensor, ignore_index: int | None = None
) -> StatScores:
    """The counts of one image at every one of THRESHOLDS, in one pass over its pixels.

    Parameters
    ----------
    probabilities : (1, 1, H, W), the foreground's.
    mask : (H, W) of 0 and 1, and `ignore_index` where a pixel does not count.

    Returns tp, fp, fn and tn, each (len(THRESHOLDS), 1) int64, as `stat_scores` counts them.

    >>> counts = threshold_counts(torch.tensor([[[[0.2, 0.7]]]]), torch.tensor([[0, 1]]))
    >>> counts.tp.flatten().tolist()  # 0.7 exceeds the thresholds 0.05 to 0.65
    [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    """
    _check_one("probabilities", probabilities)
    if ignore_index is not None:
        counted = mask != ignore_index
        probabilities, mask = probabilities[0, 0, counted], mask[counted]
    if mask.numel():
        check_range("mask", mask, 0, 1)
    # How many thresholds each pixel exceeds; then how many pixels exceed each threshold.
    thresholds = torch.tensor(THRESHOLDS, device=probabilities.device)
    exceeded = torch.bucketize(probabilities.flatten(), thresholds)
    bins = len(THRESHOLDS) + 1
    table = (exceeded + bins * mask.flatten()).bincount(minlength=2 * bins).view(2, bins)
    fp, tp = table.flip(1).cumsum(1).flip(1)[:, 1:, None]
    negatives, positives = table.sum(1)
    return StatScores(tp, fp, positives - tp, negatives - fp)


def reliability(
    probabilities: Tensor, mask: Tensor, ignore_index: int | None = None, *, bins: int = 15
) -> Reliability:
    """How often a probability comes true, in bins of equal width: one image's reliability table.

    Of one class it is the foreground's probability that is looked at, of several the highest one.
    Bin k holds what lies above k / bins, up to (k + 1) / bins; bin 0 also holds 0.

    Parameters
    ----------
    probabilities : (1, K, H, W).
    mask : (H, W) of class indices, and `ignore_index` where a pixel does not count.

    Raises ValueError for probabilities or masks with other values.

    >>> table = reliability(torch.tensor([[[[0.2, 0.9, 1.0]]]]), torch.tensor([[0, 0, 1]]), bins=2)
    >>> table.pixels.tolist(), table.right.tolist()
    ([1, 2], [0, 1])
    """
    check_integer("bins", bins, 1)
    check_range("probabilities", probabilities, -1e-6, 1 + 1e-6, ": these may be logits")
    _check_one("probabilities", probabilities)
    num_classes = probabilities.shape[1]
    confidence, answer = probabilities[0].max(dim=0)
    answer = torch.ones_like(answer) if num_classes == 1 else answer
    if ignore_index is not None:
        counted = mask != ignore_index
        confidence, answer, mask = confidence[counted], answer[counted], mask[counted]
    if mask.numel():
        check_range("mask", mask, 0, max(num_classes, 2) - 1)
    edges = torch.linspace(0, 1, bins + 1, device=confidence.device)[1:-1]
    place = torch.bucketize(confidence.flatten(), edges)
    return Reliability(
        place.bincount(minlength=bins),
        place.bincount(confidence.flatten().double(), minlength=bins),
        place[(mask == answer).flatten()].bincount(minlength=bins),
    )


def calibration_error(table: Reliability) -> float:
    """By how much the probabilities differ from how often they come true, a mean over the pixels.

    The expected calibration error (Naeini et al., AAAI 2015; Guo et al., ICML 2017): in each bin
    the difference between the mean probability and the share of pixels that are right. NaN if no
    pixel was counted.

    >>> table = reliability(torch.tensor([[[[0.2, 0.9, 1.0]]]]), torch.tensor([[0, 0, 1]]), bins=2)
    >>> round(calibration_error(table), 3)  # (1 |0 - 0.2| + 2 |0.5 - 0.95|) / 3
    0.367
    """
    return ((table.probability - table.right).abs().sum() / table.pixels.sum()).item()


def best_threshold(counts: list[StatScores]) -> tuple[float, float]:
    """The highest IoU over THRESHOLDS of a list of `threshold_counts`, and its threshold.

    IoU as in `dataset_iou`. Of thresholds that are equally good it is the one nearest to 0.5.
    Choose the threshold on validation images: chosen on the test images, it would flatter the
    result.
    """
    _check_not_empty(counts)
    columns = StatScores(*(torch.stack(column) for column in zip(*counts, strict=True)))
    scores = [
        (dataset_iou(StatScores(*(column[:, k] for column in columns))), threshold)
        for k, threshold in enumerate(THRESHOLDS)
    ]
    return max(scores, key=lambda pair: (pair[0], -abs(pair[1] - 0.5)))


def validate(
    model: NodeGrid, dataset: Iterable[tuple[Tensor, Tensor]], ignore_index: int | None = None
) -> tuple[float, float]:
    """The IoU on a data set (see `dataset_iou`) at the best threshold, and that threshold.

    For several classes the most probable one counts: there is no threshold to choose, and 0.5 is
    returned.
    """
    pairs = ((predict(model, image[None]).cpu(), mask) for image, mask in dataset)
    return best_iou(pairs, ignore_index)


def best_iou(
    pairs: Iterable[tuple[Tensor, Tensor]], ignore_index: int | None = None
) -> tuple[float, float]:
    """As `validate`, for pairs of probabilities (1, K, H, W) and masks (H, W).

    An image without a pixel that counts has no score.
    """
    tables = [count_pixels(*pair, ignore_index) for pair in pairs]
    _check_not_empty(tables)
    counts = [table for table in tables if sum(table).any()]
    if not counts:
        raise ValueError(f"all pixels of all {len(tables)} masks are ignored: nothing to measure")
    if len(counts[0].tp) > 1:  # one row per threshold
        return best_threshold(counts)
    return dataset_iou(concatenate(counts)), 0.5


def count_pixels(
    probabilities: Tensor, mask: Tensor, ignore_index: int | None = None
) -> StatScores:
    """The counts of one image: for one class at each of THRESHOLDS, (T, 1), else (1, K)."""
    if (num_classes := probabilities.shape[1]) == 1:
        return threshold_counts(probabilities, mask, ignore_index)
    answer, target = probabilities.argmax(1), mask[None]
    return stat_scores(answer, target, num_classes=num_classes, ignore_index=ignore_index)


def concatenate(counts: list[StatScores]) -> StatScores:
    """The counts of several images as one table."""
    _check_not_empty(counts)
    return StatScores(*(torch.cat(column) for column in zip(*counts, strict=True)))


def _check_one(name: str, batch: Tensor) -> None:
    if len(batch) != 1:
        raise ValueError(f"{name} must be those of one image, (1, ...), got {describe(batch)}")


def _check_not_empty(counts: list[StatScores]) -> None:
    if not counts:
        raise ValueError("the data set is empty: expected at least one pair (image, mask)")
