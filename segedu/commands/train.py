"""What `segedu train` needs beside the training itself: the loss, its weights, the pictures."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from torch.utils.data import Dataset

from .. import losses
from ..data import THREE_CLASSES, CachedDataset
from ..inference import TILE_SIZE
from ..models import UNet, UNetPlusPlus
from ..variants import AttentionUNet, HalfResolution, ResidualUNet, UNet3Plus
from . import counted_classes

NETWORKS = {
    "unet": UNet,
    "unetpp": UNetPlusPlus,
    "residual": ResidualUNet,
    "attention": AttentionUNet,
    "unet3plus": UNet3Plus,
    "half": HalfResolution,
}
CLASS_NAMES = {1: ("nucleus",), 3: THREE_CLASSES}  # of synthetic and real nuclei
LOSSES = {
    "compound": losses.CompoundLoss,
    "cross-entropy": losses.CrossEntropyLoss,
    "focal": losses.FocalLoss,
    "dice": losses.DiceLoss,
}


def make_loss(
    name: str, num_classes: int, weights: list[float] | None, ignore_index: int | None
) -> losses.DeepSupervision:
    """One of LOSSES, for a network with one head or several.

    `weights` are one for each class, or of the background and the object. The focal loss takes them
    as its alpha, which for one class is the object's share of their sum.

    >>> make_loss("focal", 1, [1, 3], None)
    DeepSupervision(
      (loss): FocalLoss(ignore_index=None, alpha=0.75)
    )
    """
    loss, options = LOSSES[name], {"ignore_index": ignore_index}
    if name == "cross-entropy" and num_classes == 1:
        loss = losses.BinaryCrossEntropyLoss
    if weights is not None:
        if name == "dice":
            raise ValueError("the Dice loss takes no --class-weights; use --loss compound")
        if name == "focal":
            options["alpha"] = weights[1] / sum(weights) if num_classes == 1 else weights
        else:
            options["weight"] = weights
    return losses.DeepSupervision(loss(**options))


def read_weights(
    text: str, dataset: Dataset, num_classes: int, ignore_index: int | None
) -> list[float]:
    """The weight of each class: numbers like 1,5, or "balanced" by the masks of a data set.

    Balanced is as in scikit-learn: pixels / (classes x pixels of the class).

    >>> read_weights("balanced", [(None, np.array([0, 0, 0, 1]))], 1, None)
    [0.667, 2.0]
    """
    count = max(num_classes, 2)
    if text != "balanced":
        try:
            weights = [float(part) for part in text.split(",")]
        except ValueError:
            weights = []
        if len(weights) != count or min(weights) < 0 or not 0 < sum(weights) < float("inf"):
            raise ValueError(
                f"--class-weights takes 'balanced', or {count} numbers like "
                f"{','.join('1' * count)}, none negative and not all 0, got {text!r}"
            )
        return weights
    pixels = np.zeros(count)
    for _, mask in dataset:
        values = np.asarray(mask)
        pixels += np.bincount(values[values != ignore_index].ravel(), minlength=count)
    if not pixels.all():
        raise ValueError(
            f"the training masks have no pixel of class {int(pixels.argmin())}, so the classes "
            "cannot be balanced; give --class-weights as numbers"
        )
    return (pixels.sum() / (count * pixels)).round(3).tolist()


@contextmanager
def cached(sets: dict[str, Dataset], *, show: bool) -> Iterator[dict[str, Dataset]]:
    """The data sets with every pair read once, into a temporary folder that goes afterwards."""
    with tempfile.TemporaryDirectory(prefix="segedu-", ignore_cleanup_errors=True) as folder:
        yield {
            name: CachedDataset(dataset, tempfile.mkdtemp(dir=folder), f"reading {name}" * show)
            for name, dataset in sets.items()
        }


def check_classes(dataset: Dataset, ignore_index: int | None) -> None:
    """That the masks hold two classes or more; otherwise there is nothing to learn.

    >>> check_classes([(None, np.array([0, 255]))], 255)
    Traceback (most recent call last):
    ValueError: the training masks hold no other class than [0], so there is nothing to learn; if \
255 marks the objects, leave out --ignore-index 255
    """
    found = counted_classes((mask for _, mask in dataset), ignore_index)
    if len(found) < 2:
        advice = "; if 255 marks the objects, leave out --ignore-index 255"
        raise ValueError(
            f"the training masks hold no other class than {sorted(found)}, so there is nothing to "
            f"learn{advice if ignore_index == 255 else ''}"
        )


def check_sizes(sets: dict[str, Dataset]) -> None:
    """That no picture is longer than a tile, for a network that cannot be run in tiles."""
    for name, dataset in sets.items():
        for image, _ in dataset:
            if max(image.shape[-2:]) > TILE_SIZE:
                raise ValueError(
                    f"a {name} image has {image.shape[-2]} x {image.shape[-1]} pixels, and a "
                    f"network with --norm group takes at most {TILE_SIZE}; use --norm batch, or "
                    "cut the pictures"
                )
