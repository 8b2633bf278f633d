"""Measure what a network, or a threshold, gets right on a data set."""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from .checks import check_callable, check_network, check_range, check_tensor, check_type, describe
from .inference import predict, to_mask
from .metrics import StatScores, iou, stat_scores
from .models import NodeGrid

THRESHOLDS = [round(0.05 * k, 2) for k in range(1, 20)]


def evaluate(
    segment: Callable[[Tensor], Tensor],
    dataset: Iterable,
    *,
    num_classes: int,
    ignore_index: int | None = None,
) -> StatScores:
    """Count what `segment` gets right, image by image, each in its own size.

    Parameters
    ----------
    segment : turns an image (1, C, H, W) into a mask (1, H, W); `network(model)` and
        `otsu_threshold` are two.
    dataset : pairs of (image, mask), see `segedu.data`.

    Returns
    -------
    tp, fp, fn, tn, each (images, num_classes) int64: ready for `segedu.metrics`.

    Raises
    ------
    ValueError : for a data set that is empty or holds no pairs, and for masks out of range.

    Examples
    --------
    >>> image = torch.tensor([[[0.0, 1.0], [0.0, 1.0]]])
    >>> counts = evaluate(lambda images: images[:, 0] > 0.5, [(image, image[0].long())],
    ...                   num_classes=1)
    >>> dataset_iou(counts)
    1.0
    """
    check_callable("segment", segment, "(1, C, H, W)")
    counts = [
        stat_scores(
            segment(image[None]).cpu().long(),
            mask[None],
            num_classes=num_classes,
            ignore_index=ignore_index,
        )
        for image, mask in _pairs("dataset", dataset)
    ]
    return _concatenate(counts)


def dataset_iou(counts: StatScores) -> float:
    """The course's one number for a data set.

    For one class the mean over the images of the foreground's IoU (an empty image that stays empty
    counts 1); for several the mean over the classes of the IoU over the whole set.
    """
    if check_type("counts", counts, StatScores).tp.shape[1] == 1:
        return iou(*counts, average="image", absent=1.0)
    return iou(*counts, average="class", absent="skip")


def otsu_threshold(images: Tensor) -> Tensor:
    """The baseline that a network has to beat: blur by one pixel, then Otsu's threshold (1979).

    Takes (1, 1, H, W) or (1, 3, H, W), whose channels are averaged; gives (1, H, W).
    """
    from skimage.filters import gaussian, threshold_otsu

    check_range("images", check_tensor("images", images, "(1, C, H, W)"))
    blurred = gaussian(images[0].mean(dim=0).numpy(force=True), sigma=1)
    return torch.from_numpy(blurred > threshold_otsu(blurred))[None]


def validate(model: NodeGrid, dataset: Iterable) -> tuple[float, float]:
    """The IoU on a data set (see `dataset_iou`) at the best threshold, and that threshold.

    For one class, the best of 0.05, 0.10, ..., 0.95: chosen on the test images it would flatter the
    result, so choose it on validation images. For several classes there is none to choose, and the
    threshold is 0.5.
    """
    check_network("model", model)
    counts = {threshold: [] for threshold in (THRESHOLDS if model.num_classes == 1 else [0.5])}
    for image, mask in _pairs("dataset", dataset):
        probabilities = predict(model, image[None]).cpu()
        for threshold, column in counts.items():
            preds = to_mask(probabilities, threshold)
            column.append(stat_scores(preds, mask[None], num_classes=model.num_classes))
    return max(
        (dataset_iou(_concatenate(column)), threshold) for threshold, column in counts.items()
    )


def _concatenate(counts: list[StatScores]) -> StatScores:
    """The counts of many images as one table."""
    return StatScores(*(torch.cat(column) for column in zip(*counts, strict=True)))


def _pairs(name: str, dataset: Iterable) -> Iterator[tuple[Tensor, Tensor]]:
    """The pairs of a data set, each checked to be one as it comes; at least one."""
    wanted = f"{name} must be pairs (image, mask) of tensors, at least one, got "
    if not (isinstance(dataset, Iterable) or hasattr(dataset, "__getitem__")):
        raise ValueError(wanted + describe(dataset))
    pair = None
    for pair in dataset:
        try:
            image, mask = pair
        except (TypeError, ValueError):
            image = mask = None
        if not (isinstance(image, Tensor) and isinstance(mask, Tensor)):
            raise ValueError(wanted + describe(pair))
        yield image, mask
    if pair is None:
        raise ValueError(f"{wanted}none")
