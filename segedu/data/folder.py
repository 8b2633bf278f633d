"""Your own images and masks, read from a folder."""

import hashlib
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps
from torch.utils.data import Dataset
from torchvision import tv_tensors

from ..checks import check_callable, check_choice, check_integer, check_path
from .nuclei import SPLITS, reason
from .transforms import normalize


class FolderDataset(Dataset):
    """A folder of your own images and masks, as `(image, mask)`.

    `images/` holds the pictures, `masks/` a picture of class indices for each, under the same name
    (the ending may differ). Hidden files and files that are no pictures are passed over. Either
    `root` has the subfolders `train/`, `validation/` and `test/` with `images/` and `masks/` in
    each, or it has `images/` and `masks/` itself and is split by a hash of the names: 15 % (at
    least one image) for testing, as many for validation, the rest for training. That split stays as
    it is until files are added, removed or renamed. It knows nothing of images that show the same
    specimen: for those, make the subfolders yourself.

    A mask is a grey or palette picture of the values 0 (background) to `num_classes` - 1, and no
    JPEG, which does not keep them. With `num_classes=1` there is one foreground class, and its
    masks may be 0/1 or 0/255. If any image of the folder is stored in colour, all are read as RGB
    (`in_channels` is 3), else as grey (1). A photograph is turned as its camera noted (EXIF), so
    its mask must be drawn on the picture as a viewer shows it.

    Parameters
    ----------
    root : the folder.
    num_classes : number of classes with the background, or 1 for background and one foreground.
    split : "train", "validation" or "test".
    ignore_index : value in the masks for pixels that count neither as one class nor another.
    transform : joint transform of `(image, mask)`, such as `train_transform(128)`.

    Yields
    ------
    image : (C, H, W) float32 `tv_tensors.Image`, normalised by itself.
    mask : (H, W) int64 `tv_tensors.Mask`.

    Raises
    ------
    ValueError
        If folders, images or masks are missing, cannot be read, or do not fit each other. The
        values of an image and a mask are checked when they are read.
    IndexError
        For the index of no image.

    Examples
    --------
    >>> import tempfile
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
        split: str = "train",
        ignore_index: int | None = None,
        transform: Callable | None = None,
    ) -> None:
        root = check_path("root", root)
        self.num_classes = check_integer("num_classes", num_classes, 1, 2**16)
        check_choice("split", split, SPLITS)
        if ignore_index is not None:
            check_integer("ignore_index", ignore_index, -(2**31))
        if transform is not None:
            check_callable("transform", transform, "(image, mask)")
        self.split, self.ignore_index, self.transform = split, ignore_index, transform

        if any((root / name).is_dir() for name in SPLITS):
            parts = {name: _find_pairs(root / name) for name in SPLITS}
        else:
            parts = _split_by_name(root, _find_pairs(root))
        self.pairs = parts[split]
        # The same for all splits, so that what was trained on one can read the others.
        colours = [_check_header(*pair) for pairs in parts.values() for pair in pairs]
        self.in_channels = 3 if any(colours) else 1

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
        try:
            image = tv_tensors.Image(normalize(picture))
        except ValueError as error:
            raise ValueError(f"{image_path}: {error}") from error
        mask = tv_tensors.Mask(_read_mask(mask_path, self.num_classes, self.ignore_index))
        return (image, mask) if self.transform is None else self.transform(image, mask)


def read_image(path: str | Path, *, channels: int) -> np.ndarray:
    """Read a picture of any kind as grey or as colour.

    Alpha is dropped, colour becomes grey by ITU-R 601 luma, and grey becomes colour by repetition.
    16-bit and float grey keep their values; 16-bit colour is read as 8-bit. A photograph is turned
    as its camera noted (EXIF), which is how a viewer shows it.

    Parameters
    ----------
    path : the file.
    channels : 1 for grey, 3 for colour.

    Returns
    -------
    (H, W) array for grey, (H, W, 3) for colour; uint8, or what the file holds if that is deeper.

    Raises
    ------
    ValueError
        If the file is not a picture that Pillow reads, or holds several, or channels is neither 1
        nor 3.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "deep.png"
    >>> Image.fromarray(np.full((4, 6), 1000, np.uint16)).save(path)
    >>> read_image(path, channels=3)[0, 0]
    array([1000, 1000, 1000], dtype=uint16)
    """
    check_choice("channels", channels, (1, 3))
    picture = _open_picture(check_path("path", path))
    if picture.mode.startswith(("I", "F")):  # 16-bit, 32-bit or float grey
        grey = np.asarray(picture)
        return grey if channels == 1 else np.stack([grey] * 3, axis=-1)
    return np.asarray(picture.convert("L" if channels == 1 else "RGB"))


def _open_picture(path: Path, *, header_only: bool = False) -> Image.Image:
    try:
        with Image.open(path) as picture:
            # A phone's photograph (MPO) may carry a second picture, of the depth.
            if (count := getattr(picture, "n_frames", 1)) > 1 and picture.format != "MPO":
                raise ValueError(f"it holds {count} pictures, expected one")
            size = picture.size
            if not header_only:
                picture.load()
            if picture.size != size:  # Pillow 13 garbles a TIFF that is turned and not compressed
                raise ValueError("it is stored turned")
            if "exif" in picture.info and picture.getexif().get(ExifTags.Base.Orientation, 1) != 1:
                return ImageOps.exif_transpose(picture)
            return picture
    except Image.DecompressionBombError as error:
        raise ValueError(f"{path} is too large ({error}); cut it into smaller pictures") from error
    except Exception as error:  # Pillow says "damaged" in a dozen ways
        raise ValueError(
            f"cannot read {path} as a picture ({reason(error)}); check the file, or save it anew, "
            "as PNG or TIFF"
        ) from error


def _find_pairs(folder: Path) -> list[tuple[Path, Path]]:
    """Image and mask of each name, sorted by name."""
    if not folder.is_dir():
        raise ValueError(
            f"{folder} {'is a file' if folder.exists() else 'does not exist'}, expected a folder "
            "with the subfolders images/ and masks/"
        )
    by_name: dict[str, dict[str, Path]] = {}
    for kind in ("images", "masks"):
        if not (folder / kind).is_dir():
            there = sorted(path.name for path in folder.iterdir())
            raise ValueError(
                f"{folder} holds {', '.join(there[:3]) or 'nothing'}{', ...' * (len(there) > 3)}, "
                f"but no subfolder {kind}/; expected images/ and masks/, in small letters"
            )
        found = by_name[kind] = {}
        for path in sorted((folder / kind).iterdir()):
            if path.name[0] == ".":
                continue
            if path.is_dir():
                raise ValueError(f"{path} is a folder, expected pictures; move them one level up")
            if path.suffix.lower() not in Image.registered_extensions():
                continue
            if (name := _name(path)) in found:
                raise ValueError(f"got {found[name]} and {path}, expected one file a name")
            found[name] = path
    images, masks = by_name["images"], by_name["masks"]
    if lonely := sorted(images.keys() ^ masks.keys()):
        raise ValueError(
            f"{folder} has {len(images)} images and {len(masks)} masks, {len(lonely)} without a "
            f"partner, such as {lonely[0]!r}; give image and mask the same name, capitals included"
        )
    if not images:
        raise ValueError(f"{folder / 'images'} has no pictures, expected at least one")
    return [(path, masks[name]) for name, path in images.items()]


def _name(path: Path) -> str:
    """The name that image and mask share; macOS writes an "é" in two characters, others in one."""
    return unicodedata.normalize("NFC", path.stem)


def _split_by_name(
    root: Path, pairs: list[tuple[Path, Path]]
) -> dict[str, list[tuple[Path, Path]]]:
    """Test, validation and training images, in the order of a hash of their names."""
    if len(pairs) < 3:
        raise ValueError(
            f"{root} has {len(pairs)} of at least 3 images, one for each split; add some, or make "
            f"the subfolders {', '.join(SPLITS)} yourself"
        )
    pairs = sorted(pairs, key=lambda pair: hashlib.sha256(_name(pair[0]).encode()).digest())
    held_out = max(1, round(0.15 * len(pairs)))
    return {
        "test": pairs[:held_out],
        "validation": pairs[held_out : 2 * held_out],
        "train": pairs[2 * held_out :],
    }


def _check_header(image_path: Path, mask_path: Path) -> bool:
    """Whether the image is in colour, after a look at the sizes of image and mask."""
    image, mask = (_open_picture(path, header_only=True) for path in (image_path, mask_path))
    if image.size != mask.size:
        raise ValueError(
            f"got {mask_path} of {mask.size} pixels (width, height), expected {image.size} as "
            f"{image_path} has; a mask that is scaled must be scaled without interpolation"
        )
    if mask.format in ("JPEG", "MPO"):
        raise ValueError(
            f"{mask_path} is a JPEG, which does not keep class indices; save masks as PNG (a "
            "black and white one can be cut at 128)"
        )
    return image.mode not in ("1", "L", "LA") and not image.mode.startswith(("I", "F"))


def _read_mask(path: Path, num_classes: int, ignore_index: int | None) -> np.ndarray:
    """Class indices, (H, W) int64."""
    mask = np.asarray(_open_picture(path))
    if mask.ndim == 3:  # grey that was saved in colour, perhaps with alpha
        bands = mask.shape[2]
        colours, alpha = mask[..., : 3 if bands > 2 else 1], mask[..., 3 if bands > 2 else 1 :]
        if alpha.size and alpha.min() < alpha.max():
            raise ValueError(f"{path} is transparent in part; save the mask without transparency")
        if (colours != colours[..., :1]).any():
            raise ValueError(
                f"{path} is a colour picture, expected class indices; save the mask as a grey or "
                f"palette PNG of the values 0 to {max(num_classes, 2) - 1}"
            )
        mask = colours[..., 0]
    if num_classes == 1 and ignore_index != 255 and np.isin(mask, (0, 255)).all():
        mask = mask > 0
    top = max(num_classes, 2) - 1
    known = [*range(top + 1), *([] if ignore_index is None else [ignore_index])]
    if not np.isin(mask, known).all():
        raise ValueError(
            f"{path} holds the values {np.setdiff1d(mask, known)[:5].tolist()}, expected class "
            f"indices from 0 to {top}{'' if ignore_index is None else f' and {ignore_index}'}; "
            "raise num_classes, set ignore_index, or use num_classes=1 for masks of 0 and 255"
        )
    return mask.astype(np.int64)
