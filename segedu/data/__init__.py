"""Images and masks to learn from: synthetic nuclei, real nuclei, your own folder."""

from .cache import CachedDataset
from .folder import FolderDataset
from .nuclei import NucleiDataset, Sample, download_nuclei, nuclei_split, prepare_nuclei, sample
from .pictures import read_image
from .synthetic import SyntheticNuclei, synthetic_nuclei
from .transforms import (
    THREE_CLASSES,
    instances_to_target,
    normalize,
    three_class_to_instances,
    train_transform,
)

__all__ = [
    "THREE_CLASSES",
    "CachedDataset",
    "FolderDataset",
    "NucleiDataset",
    "Sample",
    "SyntheticNuclei",
    "download_nuclei",
    "instances_to_target",
    "normalize",
    "nuclei_split",
    "prepare_nuclei",
    "read_image",
    "sample",
    "synthetic_nuclei",
    "three_class_to_instances",
    "train_transform",
]
