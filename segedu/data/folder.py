"""Your own images and masks, read from a folder."""

import os
import shlex
import subprocess
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset
from torchvision import tv_tensors

from ..checks import check_choice, check_integer, describe
from .pictures import list_pictures, read_header, read_image, read_values
from .splits import SPLITS, split_by_name
from .transforms import normalize

Pair = tuple[Path, Path]  # the files of an image and its mask


class FolderDataset(Dataset):
    """A folder of your own images and masks, as `(image, mask)`.

    `images/` holds the pictures and `masks/` a picture of class indices for each, under the same
    name (the ending may differ). Hidden files and files that are not pictures are ignored. Either
    `root` has the subfolders `train/`, `validation/` (or `val/`) and `test/`, each with `images/`
    and `masks/`, or it has `images/` and `masks/` itself and is split by a hash of the names: 15 %
    (at least one image) for testing, as many for validation, the rest for training. That split
    stays as it is until files are added, removed or renamed. It does not know which images show the
    same specimen: if some do, make the subfolders yourself.

    A mask is a grey or palette picture of the values 0 (background) to `num_classes` - 1. It cannot
    be a JPEG, which changes values. With `num_classes=1` there is one foreground class, and masks
    may be 0/1 or 0/255. Images keep their values and their channels, however many; if some are in
    colour and some are grey, all are read as RGB. A photograph is turned as its camera noted
    (EXIF), so draw its mask on the picture as a viewer shows it.

    Parameters
    ----------
    root : the folder.
    num_classes : number of classes including the background, or 1 for one foreground class.
    split : "train", "validation" or "test"; None for all images together.
    channels : read all images with so many channels, for a network that has them; by default as
        they are stored.
    ignore_index : value in the masks for pixels that belong to no class.
    transform : joint transform of `(image, mask)`, such as `train_transform(128)`.

    Yields
    ------
    image : (C, H, W) float32 `tv_tensors.Image`, each normalised by itself.
    mask : (H, W) int64 `tv_tensors.Mask`.

    Raises ValueError if folders, images or masks are missing, cannot be read, or do not match. The
    values of an image and of a mask are checked when they are read; IndexError for an index beyond
    the last image.

    >>> import tempfile
    >>> from PIL import Image
    >>> root = Path(tempfile.mkdtemp())
    >>> for name in "abcdef":
    ...     for kind, value in (("images", 200), ("masks", 255)):
    ...         (root / kind).mkdir(exist_ok=True)
    ...         Image.new("L", (32, 16), value).save(root / kind / f"{name}.png")
    >>> train = FolderDataset(root, num_classes=1)
    >>> image, mask = train[0]
    >>> len(train), image.shape, mask.unique()
    (4, torch.Size([1, 16, 32]), tensor([1]))
    """

    def __init__(
        self,
        root: str | Path,
        *,
        num_classes: int,
        split: str | None = "train",
        channels: int | None = None,
        ignore_index: int | None = None,
        transform: Callable | None = None,
    ) -> None:
        if not isinstance(root, str | os.PathLike):
            raise ValueError(f"root must be the path of a folder, got {describe(root)}")
        root = Path(root)
        self.num_classes = check_integer("num_classes", num_classes, 1)
        self.split = None if split is None else check_choice("split", split, SPLITS)
        if ignore_index is not None:
            check_integer("ignore_index", ignore_index)
        self.ignore_index, self.transform = ignore_index, transform

        if folders := split_folders(root):
            parts = {name: _find_pairs(folder) for name, folder in folders.items()}
        elif split is None:
            parts = {None: _find_pairs(root)}
        else:
            pairs = _find_pairs(root)
            parts = {
                part: {name: pairs[name] for name in names}
                for part, names in split_by_name(pairs).items()
            }
        self.pairs = [
            pair for name, part in parts.items() if split in (name, None) for pair in part.values()
        ]
        # The same for all splits, so that a network trained on one can read the others.
        counts = {
            path: check_headers(path, mask_path)
            for part in parts.values()
            for path, mask_path in part.values()
        }
        self.in_channels = common_channels(counts) if channels is None else channels

    def __len__(self) -> int:
        return len(self.pairs)

    def __repr__(self) -> str:
        return (
            f"FolderDataset({len(self)} images, split={self.split!r}, "
            f"num_classes={self.num_classes}, in_channels={self.in_channels})"
        )

    def __getitem__(self, index: int) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        image_path, mask_path = self.pairs[check_integer("index", index)]
        picture = read_image(image_path, channels=self.in_channels)
        with errors_name(image_path):
            image = tv_tensors.Image(normalize(picture))
        mask = tv_tensors.Mask(read_mask(mask_path, self.num_classes, self.ignore_index))
        return (image, mask) if self.transform is None else self.transform(image, mask)


def split_folders(root: Path) -> dict[str, Path]:
    """The folder of each split; nothing if the folder is to be split by names."""
    if not any((root / name).is_dir() for name in (*SPLITS, "val")):
        return {}
    if (root / "val").is_dir() and (root / "validation").is_dir():
        raise ValueError(
            f"{root} has both val/ and validation/, expected one of them; put all images for "
            "validation into one, and remove the other"
        )
    short = {"validation": "val"} if (root / "val").is_dir() else {}
    return {split: root / short.get(split, split) for split in SPLITS}


def _find_pairs(folder: Path) -> dict[str, Pair]:
    """Image and mask of each name, in the order of the names."""
    if not folder.is_dir():
        raise ValueError(
            f"{folder} {'is a file' if folder.exists() else 'does not exist'}, expected a folder "
            "with the subfolders images/ and masks/"
        )
    images, masks = find_pictures(folder, "images"), find_pictures(folder, "masks")
    check_names(folder, images, masks)
    if not images:
        raise ValueError(f"{folder / 'images'} has no pictures, expected at least one")
    return {name: (path, masks[name]) for name, path in images.items()}


def check_names(folder: Path, images: dict[str, Path], masks: dict[str, Path]) -> None:
    if images.keys() != masks.keys():
        advice = "give an image and its mask the same name, capitals included"
        if images and not images.keys() & masks.keys():
            advice += f", or try: {_convert(folder)}"
        raise ValueError(
            f"{folder} has images without a mask ({_only_in(images, masks)}) and masks without an "
            f"image ({_only_in(masks, images)}); {advice}"
        )


def _only_in(some: dict[str, Path], others: dict[str, Path]) -> str:
    return some_names(sorted(some.keys() - others.keys()))


def find_pictures(folder: Path, kind: str) -> dict[str, Path]:
    """The pictures in one of the two subfolders, by their name without the ending."""
    if not (folder / kind).is_dir():
        advice = "expected images/ and masks/, in small letters, as segedu convert makes them"
        if folder.name in ("images", "masks"):
            advice = f"give the folder above it, {folder.parent}"
        raise ValueError(
            f"{folder} has no subfolder {kind}/ (found: {some_names(sorted(os.listdir(folder)))}); "
            f"{advice}"
        )
    found: dict[str, Path] = {}
    for path in sorted((folder / kind).iterdir()):
        if path.is_dir() and not path.name.startswith("."):
            advice = "move them one level up"
            if kind == "masks":  # a folder for each class, or for each image
                advice += f", or make one mask of them with: {_convert(folder)}"
            raise ValueError(f"{path} is a folder, expected pictures; {advice}")
    for path in list_pictures(folder / kind):
        # macOS writes an "é" as two characters, other systems as one.
        name = unicodedata.normalize("NFC", path.stem)
        if name in found:
            raise ValueError(f"{found[name]} and {path} have the same name; remove one")
        found[name] = path
    return found


def _convert(folder: Path, options: str = "") -> str:
    """The command that fixes what is wrong with the masks below a folder."""
    root = folder.parent if folder.name in (*SPLITS, "val") else folder
    return f"segedu convert --root {quoted(str(root))} --out NEW{options}"


@contextmanager
def errors_name(path: Path) -> Iterator[None]:
    """Let a ValueError say which picture it is about."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def quoted(argument: str) -> str:
    """An argument as it is written in a command, whatever characters it has."""
    if os.name == "nt":  # whose shell knows double quotes only
        return subprocess.list2cmdline([argument])
    return shlex.quote(argument)


def some_names(names: list[str]) -> str:
    """The first three names, and how many more there are.

    >>> some_names(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    >>> some_names([])
    'none'
    """
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more if names else "none"


def common_channels(counts: dict[Path, int]) -> int:
    """How many channels to read of every image, given how many each has."""
    first, most = min(counts, key=counts.get), max(counts, key=counts.get)
    if counts[first] != counts[most] and set(counts.values()) != {1, 3}:
        raise ValueError(
            f"{first} has {counts[first]} channels and {most} has {counts[most]}, expected the "
            "same number; put them into folders of their own"
        )
    return counts[most]


def check_headers(image_path: Path, mask_path: Path) -> int:
    """Refuse a mask that cannot belong to its image; return the number of the image's channels."""
    image, mask = read_header(image_path), read_header(mask_path)
    if image.size != mask.size:
        is_turned = mask.size == image.size[::-1]
        advice = "turn the mask" if is_turned else "resize the mask, without interpolation"
        raise ValueError(
            f"{mask_path} has {mask.size} pixels (width, height), but {image_path} has "
            f"{image.size} as a viewer shows it; {advice}"
        )
    if mask.is_jpeg:
        raise ValueError(
            f"{mask_path} is a JPEG, which changes class indices; save masks as PNG, or if it is "
            f"black and white fix it with: {_convert(mask_path.parents[1], ' --threshold 128')}"
        )
    return image.channels


def read_mask(path: Path, num_classes: int, ignore_index: int | None) -> np.ndarray:
    """Class indices, (H, W) int64."""
    mask = without_alpha(path, read_values(path))
    fix = partial(_convert, path.parents[1])
    top = max(num_classes, 2) - 1  # the highest class index
    if mask.ndim == 3:
        raise ValueError(
            f"{path} is a colour picture, expected class indices from 0 to {top}; fix it with: "
            f"{fix()} (--colours TABLE, if you know which colour is which class)"
        )
    black_and_white = ignore_index != 255 and np.isin(mask, (0, 255)).all()
    if num_classes == 1 and black_and_white:
        mask = mask > 0
    known = [*range(top + 1), *([] if ignore_index is None else [ignore_index])]
    if not np.isin(mask, known).all():
        ignored = "" if ignore_index is None else f" and {ignore_index}"
        wrong = np.setdiff1d(mask, known)
        raise ValueError(
            f"{path} holds the values {wrong[:5].tolist()}, expected class indices from 0 to {top}"
            f"{ignored}; {_advice(mask, wrong, num_classes, fix)}"
        )
    return mask.astype(np.int64)


def without_alpha(path: Path, mask: np.ndarray) -> np.ndarray:
    """A mask as (H, W) if it is grey, also where it was saved in colour; (H, W, 3) if it is not."""
    if mask.ndim == 2:
        return mask
    has_alpha = mask.shape[2] in (2, 4)
    if has_alpha and np.ptp(mask[..., -1]) > 0:
        raise ValueError(f"{path} is partly transparent; save the mask without transparency")
    colours = mask[..., :-1] if has_alpha else mask
    return colours if (colours != colours[..., :1]).any() else colours[..., 0]


def _advice(
    mask: np.ndarray, wrong: np.ndarray, num_classes: int, fix: Callable[[str], str]
) -> str:
    """What a mask with the values `wrong` probably is, and the command that fixes it."""
    values, counts = np.unique(mask, return_counts=True)
    largest, ends = values[-1], counts[[0, -1]].sum() / counts.sum()
    if (wrong % 1).any():
        return f"class indices are whole numbers, so threshold it: {fix(' --threshold 0.5')}"
    if values.tolist() == [0, 255]:
        return "for masks of 0 and 255, set --num-classes 1 (num_classes=1)"
    if wrong.tolist() == [255]:
        return "if 255 marks pixels without a class, set --ignore-index 255 (ignore_index=255)"
    if len(values) > 2 and ends > 0.7 and largest in (1, 128, 255, 65535):
        return (
            "only few pixels lie between its two main values, so it was resized with interpolation "
            f"or was a JPEG: {fix(f' --threshold {(int(largest) + 1) // 2}')}"
        )
    if len(values) <= 2 and num_classes == 1:
        return f"it has two values, so make them 0 and 1: {fix()}"
    if np.diff(values).min(initial=largest) > 1 and largest >= 10:
        return f"its values have gaps, so number the classes 0 to {len(values) - 1}: {fix()}"
    classes = f"--num-classes {int(largest) + 1} (num_classes={int(largest) + 1})"
    if num_classes > 1 and len(values) <= 20:
        return f"set {classes} if all of them are classes"
    other = f"if these are classes, set {classes}; " if len(values) <= 20 else ""
    return f"{other}if these are numbers of objects: {fix(' --objects binary')}"
