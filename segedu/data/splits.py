"""One call for the same split of synthetic or of real nuclei."""

import os

from torch.utils.data import Dataset, Subset

from ..checks import check_choice, check_integer
from .nuclei import NucleiDataset
from .synthetic import SyntheticNuclei

SYNTHETIC = "synthetic"
# As many as there are real fluorescence images; a seed of its own for each split keeps them apart.
SYNTHETIC_SPLITS = {"train": (261, 1), "validation": (52, 2), "test": (85, 3)}


def nuclei_split(
    source: str | os.PathLike = SYNTHETIC,
    split: str = "train",
    *,
    length: int | None = None,
    target: str = "binary",
) -> Dataset:
    """The images of one split as pairs `(image, mask)`, see `NucleiDataset`.

    Parameters
    ----------
    source : "synthetic", or the archive or folder of the real nuclei.
    split : "train", "validation" or "test".
    length : only so many images, the first ones; all if not given.
    target : "binary", "three_class" or "instances".

    Raises ValueError for another split or target, a source that cannot be read, or a length that
    is not there.

    >>> len(nuclei_split("synthetic", "validation")), len(nuclei_split(split="test", length=8))
    (52, 8)
    """
    check_choice("split", split, SYNTHETIC_SPLITS)
    count, seed = SYNTHETIC_SPLITS[split]
    if str(source) == SYNTHETIC:
        length = count if length is None else check_integer("length", length, 1)
        return SyntheticNuclei(length, seed=seed, target=target)
    images = NucleiDataset(source, split=split, target=target)
    if length is None:
        return images
    return Subset(images, range(check_integer("length", length, 1, len(images))))
