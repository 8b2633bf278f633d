"""Pairs of a data set, decoded once and kept on the disk."""

import os
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset
from torchvision import tv_tensors
from tqdm import tqdm

from ..checks import check_integer


class CachedDataset(Dataset):
    """Read all pairs of a data set once; later ones come from the disk, without decoding.

    The files are mapped into memory, so that a crop of a large picture reads little more than the
    crop, and several processes share what they read. A pair that cannot be read is found here,
    before a training begins.

    Parameters
    ----------
    dataset : pairs of (image, mask), the same at every reading: without a random transform.
    folder : where to keep them; they take 4 bytes for each value of an image, and 1 for each pixel
        of a mask of up to 256 classes.
    title : what the progress bar says; None for no bar.

    Yields what the data set yields. Raises what reading the pairs raises, and OSError if the folder
    cannot be written to.

    >>> import tempfile
    >>> pairs = [(torch.rand(1, 4, 4), torch.ones(4, 4, dtype=torch.long))]
    >>> image, mask = CachedDataset(pairs, tempfile.mkdtemp())[0]
    >>> torch.equal(image, pairs[0][0]), torch.equal(mask, pairs[0][1])
    (True, True)
    """

    def __init__(self, dataset: Dataset, folder: str | os.PathLike, title: str | None = None):
        self.dataset, self.folder = dataset, Path(folder)
        for index in tqdm(range(len(dataset)), title, unit="image", disable=title is None):
            image, mask = map(np.asarray, dataset[index])
            small = np.result_type(*map(np.min_scalar_type, (mask.min(), mask.max())))
            for path, values in zip(self._paths(index), (image, mask.astype(small)), strict=True):
                np.save(path, values)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        index = range(len(self))[check_integer("index", index)]  # also from the end
        # "c": what is written into the tensor does not reach the file.
        image, mask = (np.load(path, mmap_mode="c") for path in self._paths(index))
        return tv_tensors.Image(torch.from_numpy(image)), tv_tensors.Mask(mask.astype(np.int64))

    def _paths(self, index: int) -> tuple[Path, Path]:
        return self.folder / f"{index}.image.npy", self.folder / f"{index}.mask.npy"
