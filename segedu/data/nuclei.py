"""Real cell nuclei: the images of the 2018 Data Science Bowl, and one annotated field to show.

The collection is BBBC038v1 (Caicedo et al., "Nucleus segmentation across imaging experiments: the
2018 Data Science Bowl", Nature Methods 2019; Broad Bioimage Benchmark Collection, Ljosa et al.,
Nature Methods 2012), public domain (CC0). Many of its images are neighbouring tiles of one field:
the table `nuclei_groups.csv` splits it so that all tiles of a field are in the same part.
"""

import csv
import functools
import hashlib
import io
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from torch.utils.data import Dataset, Subset
from torchvision import tv_tensors
from tqdm import tqdm

from ..checks import check_choice, check_integer
from ..files import atomic_path
from .pictures import explain_errors
from .splits import SPLITS
from .synthetic import SyntheticNuclei
from .transforms import TARGETS, instances_to_target, normalize

URL = "https://data.broadinstitute.org/bbbc/BBBC038/stage1_train.zip"
SHA256 = "dcb6edc2690f137406638b2309581a71522c4dff19157d118453b448dcddcb68"
MODALITIES = ("fluorescence", "brightfield_color", "brightfield_gray")
# As many as there are real fluorescence images; each split has a seed of its own.
SYNTHETIC_SPLITS = {"train": (261, 1), "validation": (52, 2), "test": (85, 3)}
CACHE_FORMAT = 1  # raise it when the content of the cache changes
TIMEOUT = 30  # seconds without a byte, after which a download is given up
CARRIER = "stardist==0.9.2"  # of the sample field
SAMPLE_SHA256 = {
    "img2d.tif": "f9ccc1571b92c861ff87e28463068b43f61bd47357ed0503f711e5cd1eb97750",
    "mask2d.tif": "59ad5e820b7982ca9d13e946fa6e7f64e2714899e00a2ae6c69aa79aad53d46f",
}


class NucleiDataset(Dataset):
    """Images of cell nuclei as `(image, mask)`, split by field.

    The first use prepares a cache beside the archive (see `prepare_nuclei`). Colour images become
    grey (ITU-R 601 luma). Images that are not in the course's table are left out, and so are the
    163 of its split "reserve", which is held back.

    Parameters
    ----------
    root : the zip archive or a folder, with `<image_id>/images/<image_id>.png` and
        `<image_id>/masks/*.png`, at the top or in `stage1_train/`.
    split : "train", "validation" or "test".
    modality : "fluorescence", "brightfield_color", "brightfield_gray", or None for all.
    target : "binary", "three_class" or "instances", see `instances_to_target`.
    transform : joint transform of `(image, mask)`, such as `train_transform(128)`.

    Yields
    ------
    image : (1, H, W) float32 `tv_tensors.Image`, each normalised by itself.
    mask : (H, W) int64 `tv_tensors.Mask`.

    Raises ValueError for an unknown split, modality or target, for an archive that cannot be read
    or has another layout, or if no image is left.

    >>> from segedu.data import train_transform
    >>> train = NucleiDataset("stage1_train.zip", transform=train_transform(128))  # doctest: +SKIP
    >>> NucleiDataset("stage1_train.zip", split="reserve")
    Traceback (most recent call last):
    ...
    ValueError: the split 'reserve' is held back and never used; use train, validation or test
    """

    def __init__(
        self,
        root: str | Path,
        *,
        split: str = "train",
        modality: str | None = "fluorescence",
        target: str = "binary",
        transform: Callable | None = None,
    ) -> None:
        if split == "reserve":
            raise ValueError(
                "the split 'reserve' is held back and never used; use train, validation or test"
            )
        self.split = check_choice("split", split, SPLITS)
        self.modality = check_choice("modality", modality, (*MODALITIES, None))
        self.target = check_choice("target", target, TARGETS)
        self.transform = transform
        self._pairs = {}  # by index: normalising takes ten times as long as a random crop

        wanted = [
            image_id
            for image_id, row in _table().items()
            if row["split"] == split and modality in (row["modality"], None)
        ]
        cache = prepare_nuclei(root)
        try:
            with np.load(cache) as arrays:
                self.image_ids = [name for name in wanted if f"{name}/image" in arrays]
                self._images = [arrays[f"{name}/image"] for name in self.image_ids]
                self._instances = [arrays[f"{name}/instances"] for name in self.image_ids]
        except Exception as error:  # NumPy and zipfile report damage with a dozen kinds of error
            raise ValueError(f"the cache {cache} is damaged; delete it") from error
        self.groups = [_table()[image_id]["group"] for image_id in self.image_ids]
        if not self.image_ids:
            raise ValueError(f"{root} has no image of the split {split!r}, modality {modality!r}")

    def __len__(self) -> int:
        return len(self.image_ids)

    def __repr__(self) -> str:
        return (
            f"NucleiDataset({len(self)} images, split={self.split!r}, modality={self.modality!r})"
        )

    def __getitem__(self, index: int) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        # Copies, so that writing into one of them does not change the data set.
        index = check_integer("index", index)
        if index not in self._pairs:
            image = tv_tensors.Image(normalize(self.grey(index)))
            mask = instances_to_target(self.instances(index), self.target)
            self._pairs[index] = image, tv_tensors.Mask(mask)
        image, mask = (kept.clone() for kept in self._pairs[index])
        return (image, mask) if self.transform is None else self.transform(image, mask)

    def grey(self, index: int) -> np.ndarray:
        """The image as it was taken, in grey: (H, W) uint8."""
        return np.asarray(Image.fromarray(self._images[index]).convert("L"))

    def instances(self, index: int) -> np.ndarray:
        """The annotation: (H, W) int32, 0 for the background and 1, 2, ... for the nuclei."""
        return self._instances[index].astype(np.int32)


def nuclei_split(
    source: str | Path = "synthetic",
    split: str = "train",
    *,
    length: int | None = None,
    target: str = "binary",
) -> Dataset:
    """The images of one split, synthetic or real, as pairs `(image, mask)`, see `NucleiDataset`.

    Parameters
    ----------
    source : "synthetic", or the archive or folder of the real nuclei.
    split : "train", "validation" or "test".
    length : take only this many images, the first ones; by default all of the split.
    target : "binary", "three_class" or "instances".

    Raises ValueError for another split or target, a source that cannot be read, or a length that
    the split does not have.

    >>> len(nuclei_split("synthetic", "validation")), len(nuclei_split(split="test", length=8))
    (52, 8)
    """
    if source == "synthetic":
        count, seed = SYNTHETIC_SPLITS[check_choice("split", split, SPLITS)]
        return SyntheticNuclei(count if length is None else length, seed=seed, target=target)
    images = NucleiDataset(source, split=split, target=target)
    if length is None:
        return images
    return Subset(images, range(check_integer("length", length, 1, len(images))))


def prepare_nuclei(root: str | Path) -> Path:
    """Read the archive's many small PNG files once, into one compact file beside it.

    A zip archive is read in memory, never unpacked. The cache appears under its name only when it
    is complete. It knows the source that it was made from, and is made again when that changes.
    Several processes may prepare the same archive at once. If the archive's folder is read-only,
    the cache goes to the user's cache folder. Pixels that two masks claim belong to the first mask
    by file name; a mask that is left with no pixel is no nucleus.

    Parameters
    ----------
    root : the zip archive or folder, see `NucleiDataset`.

    Returns the path of the cache, a NumPy `.npz` with `<image_id>/image`, (H, W) uint8 or (H, W, 3)
    where there is colour, and `<image_id>/instances`, (H, W) uint16.
    Raises ValueError if the archive does not exist, is damaged or has another layout, or if an
    image has no masks or a mask of another size.
    """
    root = Path(root).absolute()
    beside, users = (folder / f"{root.name}.segedu.npz" for folder in (root.parent, _user_cache()))
    with _open_archive(root) as (stamps, read):
        listing = "".join(f"{name} {stamp}\n" for name, stamp in sorted(stamps.items()))
        fingerprint = hashlib.sha256(f"{CACHE_FORMAT}\n{listing}".encode()).hexdigest()
        files = _files_by_image(root, stamps)
        for path in (beside, users):
            if _is_cache_of(path, fingerprint, files):
                return path
        arrays = {"fingerprint": np.array(fingerprint)}
        for image_id, names in tqdm(files.items(), "preparing", unit="image"):
            rgb = _read_png(read, names["images"][0], "RGB")
            is_grey = (rgb == rgb[..., :1]).all()
            arrays[f"{image_id}/image"] = rgb[..., 0] if is_grey else rgb
            arrays[f"{image_id}/instances"] = _read_instances(read, names["masks"], rgb.shape[:2])
    path = beside if os.access(root.parent, os.W_OK) else users
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, **arrays)
    return path


def download_nuclei(folder: str | Path | None = None) -> Path:
    """Download the original archive (83 MB) with a progress bar, and check its SHA-256.

    Its masks are the ones that were published in 2018. The course's numbers come from masks that
    have been corrected since, so yours will differ from them. An archive that is already there is
    kept.

    Parameters
    ----------
    folder : where to put it, by default the user's cache folder.

    Returns the path of `stage1_train.zip`.
    Raises OSError if the download fails, or nothing arrives for half a minute, and keeps no
    partial file; ValueError if the downloaded file is not the archive.
    """
    import pooch  # here, because it brings a progress bar that warns in a plain notebook

    folder = _user_cache() if folder is None else folder
    downloader = pooch.HTTPDownloader(progressbar=True, timeout=TIMEOUT)
    try:
        return Path(pooch.retrieve(URL, SHA256, URL.split("/")[-1], folder, downloader=downloader))
    except ValueError as error:
        raise ValueError(
            f"the file at {URL} is not the archive (its SHA-256 differs) and was not kept; try "
            "again, or download it with a browser and give its path"
        ) from error
    except OSError as error:
        reason = error.strerror or "no connection, or it broke off"
        if (response := getattr(error, "response", None)) is not None:  # the server refused
            reason = f"{response.status_code} {response.reason}"
        raise OSError(
            f"could not download {URL} to {folder} ({reason}); try again, or download it with a "
            "browser and give its path"
        ) from error


def _user_cache() -> Path:
    import pooch

    return pooch.os_cache("segedu")


class Sample(NamedTuple):
    """One annotated field: grey values and a label image, both (H, W)."""

    grey: np.ndarray
    instances: np.ndarray


def sample() -> Sample:
    """One real fluorescence field with 125 nuclei annotated by hand, some of them touching.

    It comes with the package stardist (Schmidt et al., MICCAI 2018; BSD-3), which is not installed:
    the first use lets pip download its wheel (0.8 MB) and keeps the two pictures in the user's
    cache folder. It is the lower right corner of an image of the 2018 Data Science Bowl (Caicedo et
    al. 2019), 4dbbb275... of the test split, with noise added (standard deviation 5 grey levels).
    So a network trained on the train split has not seen it, and its score here is no second test.

    Returns grey, (512, 512) uint16 of at most 235, and instances, (512, 512) int32 from 0 to 125.
    Raises OSError if the wheel cannot be downloaded.

    >>> grey, instances = sample()
    >>> grey.shape, int(instances.max())
    ((512, 512), 125)
    """
    folder = _user_cache() / "sample"
    if not all((folder / name).exists() for name in SAMPLE_SHA256):
        _download_sample(folder)
    grey, labels = (np.asarray(Image.open(folder / name)) for name in SAMPLE_SHA256)
    instances = np.unique(labels, return_inverse=True)[1]  # number them without gaps
    return Sample(grey, instances.reshape(labels.shape).astype(np.int32))


def _download_sample(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        # The wheels for all systems hold the same pictures. This one is the smallest.
        command = "pip download --quiet --no-deps --no-cache-dir --only-binary=:all: "
        command += f"--platform=win_amd64 --python-version=3.12 {CARRIER} --dest"
        done = subprocess.run(
            [sys.executable, "-m", *command.split(), temporary], capture_output=True, text=True
        )
        if done.returncode:
            reason = (done.stderr.strip() or "pip failed").splitlines()[-1]
            raise OSError(
                f"could not download the sample field, which is in the wheel of {CARRIER} "
                f"({reason}); this needs pip and, once, the internet"
            )
        with zipfile.ZipFile(next(Path(temporary).glob("*.whl"))) as wheel:
            for name, sha256 in SAMPLE_SHA256.items():
                content = wheel.read(f"stardist/data/images/{name}")
                if hashlib.sha256(content).hexdigest() != sha256:
                    raise ValueError(f"{CARRIER} holds another {name} than in the course")
                with atomic_path(folder / name) as unfinished:
                    unfinished.write_bytes(content)


@functools.cache
def _table() -> dict[str, dict[str, str]]:
    """The rows of the course's table by image id."""
    text = (resources.files(__package__) / "nuclei_groups.csv").read_text(encoding="utf-8")
    return {row["image_id"]: row for row in csv.DictReader(text.splitlines())}


def _parse(name: str) -> tuple[str, str] | None:
    """Image id and kind ("images" or "masks") of a file, or None if the course does not use it."""
    match = re.fullmatch(r"(?:stage1_train/)?(\w+)/(images|masks)/[^./][^/]*\.png", name)
    if match and _table().get(match[1], {}).get("split") in SPLITS:
        return match[1], match[2]
    return None


@contextmanager
def _open_archive(root: Path) -> Iterator[tuple[dict[str, str], Callable[[str], bytes]]]:
    """The files that the course uses, with a stamp of the content of each, and how to read one."""
    stamps = {}
    if root.is_dir():
        with explain_errors(root, "check its permissions"):
            os.listdir(root)  # glob finds nothing in a folder that it may not read
        for path in (*root.glob("*/*/*.png"), *root.glob("stage1_train/*/*/*.png")):
            name = path.relative_to(root).as_posix()
            if _parse(name):
                with explain_errors(path, "unpack the archive again, or give the archive itself"):
                    stamps[name] = f"{path.stat().st_size} {path.stat().st_mtime_ns}"
        yield stamps, lambda name: (root / name).read_bytes()
    elif root.is_file():
        with explain_errors(f"{root} as a zip archive", "download it again"):
            archive = zipfile.ZipFile(root)
        with archive:
            for entry in archive.infolist():
                if _parse(entry.filename):
                    stamps[entry.filename] = f"{entry.file_size} {entry.CRC}"
            yield stamps, archive.read
    else:
        raise ValueError(f"{root} does not exist; give the path of stage1_train.zip or its folder")


def _files_by_image(root: Path, names: Collection[str]) -> dict[str, dict[str, list[str]]]:
    """Names of the "images" and "masks" of each image id."""
    found = defaultdict(lambda: {"images": [], "masks": []})
    for name in sorted(names):
        image_id, kind = _parse(name)
        found[image_id][kind].append(name)
    if not found:
        raise ValueError(
            f"{root} has no image of the course's table; expected <image_id>/images/<image_id>.png "
            "and <image_id>/masks/*.png, at the top or in stage1_train/"
        )
    for image_id, files in found.items():
        if len(files["images"]) != 1 or not files["masks"]:
            raise ValueError(
                f"{root}: {image_id} has {len(files['images'])} images and {len(files['masks'])} "
                "masks, expected one image and at least one mask; unpack or download it again"
            )
    return found


def _read_png(read: Callable[[str], bytes], name: str, mode: str) -> np.ndarray:
    with explain_errors(name, "download or unpack the archive again"):
        return np.asarray(Image.open(io.BytesIO(read(name))).convert(mode))


def _read_instances(
    read: Callable[[str], bytes], names: list[str], shape: tuple[int, int]
) -> np.ndarray:
    instances = np.zeros(shape, np.uint16)
    count = 0
    for name in names:
        mask = _read_png(read, name, "L")
        if mask.shape != shape:
            raise ValueError(f"{name} has the shape {mask.shape}, but its image has {shape}")
        nucleus = (mask > 0) & (instances == 0)
        if nucleus.any():
            count += 1
            instances[nucleus] = count
    return instances


def _is_cache_of(path: Path, fingerprint: str, image_ids: Collection[str]) -> bool:
    names = {f"{image_id}/{kind}" for image_id in image_ids for kind in ("image", "instances")}
    try:
        with np.load(path) as cache:
            return str(cache["fingerprint"]) == fingerprint and names < set(cache.files)
    except Exception:  # absent, cut short, or something else altogether
        return False
