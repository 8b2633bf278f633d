"""Real cell nuclei: the images of the 2018 Data Science Bowl, and one annotated field to show.

The collection is BBBC038v1 (Caicedo et al., "Nucleus segmentation across imaging experiments: the
2018 Data Science Bowl", Nature Methods 2019; Broad Bioimage Benchmark Collection, Ljosa et al.,
Nature Methods 2012), public domain (CC0). Many of its images are neighbouring tiles of one field:
the table `nuclei_groups.csv` splits it so that all tiles of a field are in the same part.
"""

import csv
import functools
import hashlib
import importlib.util
import io
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError
from torch.utils.data import Dataset
from torchvision import tv_tensors
from tqdm import tqdm

from ..checks import check_callable, check_choice, check_integer, check_path
from ..files import atomic_path
from .transforms import TARGETS, instances_to_target, normalize

URL = "https://data.broadinstitute.org/bbbc/BBBC038/stage1_train.zip"
SHA256 = "dcb6edc2690f137406638b2309581a71522c4dff19157d118453b448dcddcb68"
SPLITS = ("train", "validation", "test")
MODALITIES = ("fluorescence", "brightfield_color", "brightfield_gray")
CACHE_FORMAT = 1  # raise it when the content of the cache changes
MAX_PIXELS = 2**22  # a bigger picture is not of this collection, but made to fill the memory
MAX_BYTES = 4 * MAX_PIXELS
TIMEOUT = 30  # seconds without a byte, after which a download is given up

Files = dict[str, tuple[int, int]]  # name: (size in bytes, CRC-32)


class NucleiDataset(Dataset):
    """Images of cell nuclei as `(image, mask)`, split by field.

    The first use prepares a cache beside the archive (see `prepare_nuclei`). Colour images become
    grey (ITU-R 601 luma). Images that are not in the course's table are left out, and so are the
    163 of its split "reserve", which is used by nothing.

    Parameters
    ----------
    root : the zip archive, or a folder, with `<image_id>/images/<image_id>.png` and
        `<image_id>/masks/*.png`, on top or below `stage1_train/`.
    split : "train", "validation" or "test".
    modality : "fluorescence", "brightfield_color", "brightfield_gray", or None for all.
    target : "binary", "three_class" or "instances", see `instances_to_target`.
    transform : joint transform of `(image, mask)`, such as `train_transform(128)`.

    Yields
    ------
    image : (1, H, W) float32 `tv_tensors.Image`, normalised by itself.
    mask : (H, W) int64 `tv_tensors.Mask`.

    Raises
    ------
    ValueError
        For an unknown split, modality or target, an archive that cannot be read or has another
        layout, or if no image is left.
    IndexError
        For the index of no image.

    Examples
    --------
    >>> from segedu.data import NucleiDataset, train_transform
    >>> train = NucleiDataset("stage1_train.zip", transform=train_transform(128))  # doctest: +SKIP
    >>> NucleiDataset("stage1_train.zip", split="reserve")
    Traceback (most recent call last):
    ...
    ValueError: the split 'reserve' is kept back and used by nothing; use train, validation, test
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
        check_path("root", root)
        if isinstance(split, str) and split == "reserve":
            raise ValueError(
                "the split 'reserve' is kept back and used by nothing; use " + ", ".join(SPLITS)
            )
        check_choice("split", split, SPLITS)
        check_choice("modality", modality, (*MODALITIES, None))
        check_choice("target", target, TARGETS)
        if transform is not None:
            check_callable("transform", transform, "(image, mask)")
        self.split, self.modality, self.target, self.transform = split, modality, target, transform

        self.image_ids: list[str] = []
        self.groups: list[str] = []
        self._images: list[np.ndarray] = []
        self._instances: list[np.ndarray] = []
        path = prepare_nuclei(root)
        try:
            with np.load(path, allow_pickle=False) as cache:
                for image_id, row in _table().items():
                    if (
                        row["split"] == split
                        and modality in (row["modality"], None)
                        and f"{image_id}/image" in cache
                    ):
                        self.image_ids.append(image_id)
                        self.groups.append(row["group"])
                        self._images.append(cache[f"{image_id}/image"])
                        self._instances.append(cache[f"{image_id}/instances"])
        except Exception as error:  # NumPy and zipfile say "damaged" in a dozen ways
            raise ValueError(f"the cache {path} is damaged; delete it") from error
        if not self.image_ids:
            raise ValueError(f"{root} has no image of the split {split!r}, modality {modality!r}")

    def __len__(self) -> int:
        return len(self.image_ids)

    def __repr__(self) -> str:
        return (
            f"NucleiDataset({len(self)} images, split={self.split!r}, modality={self.modality!r})"
        )

    def __getitem__(self, index: int) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        # Copies, so that whoever writes into one does not change the data set.
        image, mask = (kept.clone() for kept in self._pair(check_integer("index", index)))
        return (image, mask) if self.transform is None else self.transform(image, mask)

    @functools.cache  # noqa: B019 - normalising takes ten times as long as a random crop
    def _pair(self, index: int) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        image = tv_tensors.Image(normalize(self.grey(index)))
        return image, tv_tensors.Mask(instances_to_target(self.instances(index), self.target))

    def grey(self, index: int) -> np.ndarray:
        """The image as it was taken, in grey: (H, W) uint8."""
        return np.asarray(Image.fromarray(self._images[index]).convert("L"))

    def instances(self, index: int) -> np.ndarray:
        """The annotation: (H, W) int32, 0 for the background and 1, 2, ... for the nuclei."""
        return self._instances[index].astype(np.int32)


def prepare_nuclei(root: str | Path, *, cache_dir: str | Path | None = None) -> Path:
    """Read the archive's many small PNG files once, into one compact file beside it.

    An archive is read in memory, never unpacked. The cache appears under its name only when it is
    whole, knows the source that it was made from, and is made again when that changes. Several
    processes may prepare the same archive at once. Where the archive's folder is read-only, the
    cache goes to the user's cache folder. Pixels that two masks claim go to the first by file name,
    and a mask that is left with none is no nucleus.

    Parameters
    ----------
    root : the zip archive or folder, see `NucleiDataset`.
    cache_dir : another folder for the cache.

    Returns
    -------
    Path of the cache, a NumPy `.npz` with `<image_id>/image`, (H, W) uint8 or (H, W, 3) where there
    is colour, and `<image_id>/instances`, (H, W) uint16.

    Raises
    ------
    ValueError
        If the archive is absent, damaged, has another layout or a file twice, or if an image has no
        masks or masks of another size.

    Examples
    --------
    >>> prepare_nuclei("stage1_train.zip")  # doctest: +SKIP
    PosixPath('/home/me/stage1_train.zip.segedu.npz')
    """
    root = check_path("root", root).absolute()
    if cache_dir is None:
        folders = [root.parent, _user_cache()]
    else:
        folders = [check_path("cache_dir", cache_dir)]
    caches = [folder / f"{root.name}.segedu.npz" for folder in folders]
    with _open_archive(root) as (files, read):
        listing = "".join(f"{name} {size} {crc}\n" for name, (size, crc) in sorted(files.items()))
        fingerprint = hashlib.sha256(f"{CACHE_FORMAT}\n{listing}".encode()).hexdigest()
        by_image = _by_image(root, files)
        for path in caches:
            if _is_cache_of(path, fingerprint, by_image):
                return path
        arrays = {"fingerprint": np.array(fingerprint)}
        for image_id, names in tqdm(by_image.items(), "preparing", unit="image"):
            image = _read_image(read, names["images"][0])
            arrays[f"{image_id}/image"] = image
            arrays[f"{image_id}/instances"] = _read_instances(read, names["masks"], image.shape[:2])
    path = next((path for path in caches[:-1] if _is_writable(path.parent)), caches[-1])
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, **arrays)
    return path


def download_nuclei(folder: str | Path | None = None) -> Path:
    """Download the original archive (83 MB), with a progress bar and its SHA-256 checked.

    Its masks are as they were published in 2018. The course's numbers come from masks that were
    corrected since, so yours will differ from them. An archive that is there already is kept.

    Parameters
    ----------
    folder : where to put it, by default the user's cache folder.

    Returns
    -------
    Path of `stage1_train.zip`.

    Raises
    ------
    OSError
        If the download fails, or nothing arrives for half a minute; nothing half-made is left.
    ValueError
        If what arrived is not the archive.

    Examples
    --------
    >>> NucleiDataset(download_nuclei("data"))  # doctest: +SKIP
    """
    import pooch  # here, since it brings a progress bar that warns in a plain notebook

    folder = _user_cache() if folder is None else check_path("folder", folder)
    downloader = pooch.HTTPDownloader(progressbar=True, timeout=TIMEOUT)
    try:
        return Path(pooch.retrieve(URL, SHA256, URL.split("/")[-1], folder, downloader=downloader))
    except ValueError as error:
        raise ValueError(
            f"what arrived from {URL} is not the archive (its SHA-256 differs), and was not kept; "
            "try again, or download it with a browser and give its path"
        ) from error
    except OSError as error:
        answer = getattr(error, "response", None)  # a refusal of the server, which requests keeps
        if answer is None:
            why = f"no connection, or it broke off: {type(error).__name__}"
        else:
            why = f"{answer.status_code} {answer.reason}"
        raise OSError(
            f"could not download {URL} to {folder} ({error.strerror or why}); try again, or "
            "download it with a browser and give its path"
        ) from error


def _user_cache() -> Path:
    import pooch

    return Path(pooch.os_cache("segedu"))


class Sample(NamedTuple):
    """One annotated field: grey values and a label image, both (H, W)."""

    grey: np.ndarray
    instances: np.ndarray


def sample() -> Sample:
    """One real fluorescence field with 125 nuclei annotated by hand, some of them touching.

    It comes with the package stardist (Schmidt et al., MICCAI 2018; BSD-3), which is not imported,
    and is from the 2018 Data Science Bowl (Caicedo et al. 2019), but not among the images of
    `stage1_train.zip`: a network trained on those has never seen it.

    Returns
    -------
    Sample of grey (512, 512) uint16, at most 235, and instances (512, 512) int32, 0 to 125.

    Raises
    ------
    ModuleNotFoundError
        If stardist is not installed.

    Examples
    --------
    >>> grey, instances = sample()
    >>> grey.shape, int(instances.max())
    ((512, 512), 125)
    """
    spec = importlib.util.find_spec("stardist")
    if spec is None:
        raise ModuleNotFoundError("the sample field comes with stardist: pip install stardist")
    folder = Path(spec.origin).parent / "data" / "images"
    grey, labels = (np.asarray(Image.open(folder / name)) for name in ("img2d.tif", "mask2d.tif"))
    instances = np.unique(labels, return_inverse=True)[1]  # number them without gaps
    return Sample(grey, instances.reshape(labels.shape).astype(np.int32))


@functools.cache
def _table() -> dict[str, dict[str, str]]:
    """The rows of the course's table by image id."""
    text = (resources.files(__package__) / "nuclei_groups.csv").read_text()
    return {row["image_id"]: row for row in csv.DictReader(text.splitlines())}


def _parse(name: str) -> tuple[str, str] | None:
    """Image id and kind ("images" or "masks") of a file, or None if the course does not use it."""
    match = re.fullmatch(r"(?:stage1_train/)?(\w+)/(images|masks)/[^./][^/]*\.png", name)
    if match and _table().get(match[1], {}).get("split") in SPLITS:
        return match[1], match[2]
    return None


def reason(error: Exception) -> str:
    """Why a file could not be read, without the path or the address that the error may name."""
    if isinstance(error, UnidentifiedImageError):
        return "it is in no format that Pillow knows"
    return getattr(error, "strerror", None) or str(error)


@contextmanager
def _open_archive(root: Path) -> Iterator[tuple[Files, Callable[[str], bytes]]]:
    """The files that the course uses, and a function that reads one."""
    if root.is_dir():
        paths = [*root.glob("*/*/*.png"), *root.glob("stage1_train/*/*/*.png")]
        names = [path.relative_to(root).as_posix() for path in paths]
        contents = ((name, (root / name).read_bytes()) for name in names if _parse(name))
        try:
            os.listdir(root)  # glob finds nothing in a folder that it may not read
            files = {name: (len(content), zlib.crc32(content)) for name, content in contents}
        except OSError as error:
            raise ValueError(
                f"cannot read {error.filename} ({reason(error)}); unpack the archive again, or "
                "give the archive itself"
            ) from error
        yield files, lambda name: (root / name).read_bytes()
    elif root.is_file():
        try:
            archive = zipfile.ZipFile(root)
            for entry in archive.infolist():
                if not _parse(entry.filename):  # left out; unless the directory is damaged
                    archive.open(entry).close()
        except Exception as error:  # zipfile says "damaged" in several ways
            raise ValueError(
                f"cannot read {root} as a whole zip archive ({reason(error)}); download it again"
            ) from error
        with archive:
            entries = [entry for entry in archive.infolist() if _parse(entry.filename)]
            files = {entry.filename: (entry.file_size, entry.CRC) for entry in entries}
            if len(files) < len(entries):
                raise ValueError(f"{root} holds two files of one name; download it again")

            def read(name: str) -> bytes:
                with archive.open(name) as file:
                    return file.read(files[name][0])  # no more than the entry announces

            yield files, read
    else:
        raise ValueError(f"{root} does not exist; give the path of stage1_train.zip or its folder")


def _by_image(root: Path, files: Files) -> dict[str, dict[str, list[str]]]:
    """Names of the "images" and "masks" of each image id, checked."""
    found = {}
    for name, (size, _) in sorted(files.items()):
        if size > MAX_BYTES:
            raise ValueError(f"{root}: {name} has {size} bytes, expected at most {MAX_BYTES}")
        image_id, kind = _parse(name)
        found.setdefault(image_id, {"images": [], "masks": []})[kind].append(name)
    if not found:
        raise ValueError(
            f"{root} has no image of the course's table; expected <image_id>/images/<image_id>.png "
            "and <image_id>/masks/*.png, on top or below stage1_train/"
        )
    for image_id, names in found.items():
        if len(names["images"]) != 1 or not names["masks"]:
            raise ValueError(
                f"{root}: {image_id} has {len(names['images'])} images and {len(names['masks'])} "
                "masks, expected one image and at least one mask; unpack or download it again"
            )
    return found


def _read_png(read: Callable[[str], bytes], name: str, mode: str) -> np.ndarray:
    try:
        picture = Image.open(io.BytesIO(read(name)), formats=["PNG"])
        if picture.width * picture.height > MAX_PIXELS:  # known from the header, before unpacking
            raise ValueError(f"got {picture.size} pixels, expected at most {MAX_PIXELS} in all")
        return np.asarray(picture.convert(mode))
    except Exception as error:  # Pillow and zipfile say "damaged" in a dozen ways
        why = " ".join(reason(error).replace(repr(name), "").split())
        raise ValueError(f"cannot read {name} ({why}); download the archive again") from error


def _read_image(read: Callable[[str], bytes], name: str) -> np.ndarray:
    rgb = _read_png(read, name, "RGB")
    return rgb[..., 0] if (rgb == rgb[..., :1]).all() else rgb


def _read_instances(
    read: Callable[[str], bytes], names: list[str], shape: tuple[int, int]
) -> np.ndarray:
    instances = np.zeros(shape, np.uint16)
    count = 0
    for name in names:
        mask = _read_png(read, name, "L")
        if mask.shape != shape:
            raise ValueError(f"got {name} of shape {mask.shape}, expected its image's {shape}")
        nucleus = (mask > 0) & (instances == 0)
        if nucleus.any():
            count += 1
            instances[nucleus] = count
    return instances


def _is_cache_of(path: Path, fingerprint: str, image_ids: Iterable[str]) -> bool:
    names = {f"{image_id}/{kind}" for image_id in image_ids for kind in ("image", "instances")}
    try:
        with np.load(path, allow_pickle=False) as cache:
            return str(cache["fingerprint"]) == fingerprint and names < set(cache.files)
    except Exception:  # absent, cut short, or something else altogether
        return False


def _is_writable(folder: Path) -> bool:
    """Whether files may be made there; one that is marked read-only is left alone even by root."""
    return bool(folder.stat().st_mode & stat.S_IWUSR) and os.access(folder, os.W_OK)
