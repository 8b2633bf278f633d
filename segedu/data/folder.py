"""Your own images and masks, read from a folder."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from torch.utils.data import Dataset
from torchvision import tv_tensors

from .nuclei import SPLITS
from .transforms import normalize


class FolderDataset(Dataset):
    """A folder of your own images and masks, as `(image, mask)`.

    `images/` holds the pictures, `masks/` a picture of class indices for each, under the same name
    (the ending may differ). Either `root` has the subfolders `train/`, `validation/` and `test/`
    with `images/` and `masks/` in each, or it has `images/` and `masks/` itself and is split by a
    hash of the names: 15 % (at least one image) for testing, as many for validation, the rest for
    training. That split stays as it is until files are added, removed or renamed. It knows nothing
    of images that show the same specimen: for those, make the subfolders yourself.

    A mask is a grey or palette picture of the values 0 (background) to `num_classes` - 1. With
    `num_classes=1` there is one foreground class, and its masks may be 0/1 or 0/255. If any image
    of the folder is stored in colour, all are read as RGB (`in_channels` is 3), else as grey (1).

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
        If folders, images or masks are missing, cannot be read, or do not fit each other. A mask's
        values are checked when it is read.

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
        if not isinstance(num_classes, int) or num_classes < 1:
            raise ValueError(f"got num_classes={num_classes!r}, expected an integer from 1 on")
        if split not in SPLITS:
            raise ValueError(f"got the split {split!r}, expected one of {SPLITS}")
        self.num_classes, self.ignore_index = num_classes, ignore_index
        self.split, self.transform = split, transform

        root = Path(root)
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
        image_path, mask_path = self.pairs[index]
        image = tv_tensors.Image(normalize(read_image(image_path, channels=self.in_channels)))
        mask = tv_tensors.Mask(_read_mask(mask_path, self.num_classes, self.ignore_index))
        return (image, mask) if self.transform is None else self.transform(image, mask)


def read_image(path: str | Path, *, channels: int) -> np.ndarray:
    """Read a picture of any kind as grey or as colour.

    Alpha is dropped, colour becomes grey by ITU-R 601 luma, and grey becomes colour by repetition.
    16-bit and float grey keep their values. Of a file with several pictures the first is read, and
    a camera's note on how the picture should be turned is not followed.

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
        If the file is not a picture that Pillow reads, or channels is neither 1 nor 3.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "deep.png"
    >>> Image.fromarray(np.full((4, 6), 1000, np.uint16)).save(path)
    >>> read_image(path, channels=3)[0, 0]
    array([1000, 1000, 1000], dtype=uint16)
    """
    if channels not in (1, 3):
        raise ValueError(f"got channels={channels!r}, expected 1 (grey) or 3 (colour)")
    picture = _open_picture(path)
    if picture.mode.startswith(("I", "F")):  # 16-bit, 32-bit or float grey
        grey = np.asarray(picture)
        return grey if channels == 1 else np.stack([grey] * 3, axis=-1)
    return np.asarray(picture.convert("L" if channels == 1 else "RGB"))


def _open_picture(path: str | Path, *, header_only: bool = False) -> Image.Image:
    try:
        with Image.open(path) as picture:
            if not header_only:
                picture.load()
            return picture
    except Exception as error:  # Pillow says "damaged" in a dozen ways
        raise ValueError(f"cannot read {path} as a picture ({error})") from error


def _find_pairs(folder: Path) -> list[tuple[Path, Path]]:
    """Image and mask of each name, sorted by name."""
    by_name: dict[str, dict[str, Path]] = {}
    for kind in ("images", "masks"):
        if not (folder / kind).is_dir():
            raise ValueError(f"{folder} has no subfolder {kind}/, expected images/ and masks/")
        found = by_name[kind] = {}
        for path in sorted((folder / kind).iterdir()):
            if path.suffix.lower() not in Image.registered_extensions() or path.name[0] == ".":
                continue
            if path.stem in found:
                raise ValueError(f"got {found[path.stem]} and {path}, expected one file a name")
            found[path.stem] = path
    images, masks = by_name["images"], by_name["masks"]
    if lonely := sorted(images.keys() ^ masks.keys()):
        raise ValueError(
            f"{folder} has {len(images)} images and {len(masks)} masks, {len(lonely)} alone, "
            f"such as {lonely[0]!r}; give image and mask the same name, capitals included"
        )
    if not images:
        raise ValueError(f"{folder / 'images'} has no pictures, expected at least one")
    return [(path, masks[stem]) for stem, path in images.items()]


def _split_by_name(
    root: Path, pairs: list[tuple[Path, Path]]
) -> dict[str, list[tuple[Path, Path]]]:
    """Test, validation and training images, in the order of a hash of their names."""
    if len(pairs) < 3:
        raise ValueError(f"{root} has {len(pairs)} images, expected at least 3, one for each split")
    pairs = sorted(pairs, key=lambda pair: hashlib.sha256(pair[0].stem.encode()).digest())
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
    return image.mode not in ("1", "L", "LA") and not image.mode.startswith(("I", "F"))


def _read_mask(path: Path, num_classes: int, ignore_index: int | None) -> np.ndarray:
    """Class indices, (H, W) int64."""
    mask = np.asarray(_open_picture(path))
    if mask.ndim == 3:  # grey that was saved in colour, perhaps with alpha
        colours = mask[..., : 3 if mask.shape[2] > 2 else 1]
        if (colours != colours[..., :1]).any():
            raise ValueError(
                f"{path} is a colour picture, expected class indices; save the mask as a grey or "
                f"palette PNG of the values 0 to {max(num_classes, 2) - 1}"
            )
        mask = colours[..., 0]
    if num_classes == 1 and ignore_index != 255 and np.isin(mask, (0, 255)).all():
        mask = mask > 0
    known = [*range(max(num_classes, 2)), *([] if ignore_index is None else [ignore_index])]
    if not np.isin(mask, known).all():
        raise ValueError(
            f"{path} holds the values {np.setdiff1d(mask, known)[:5].tolist()}, expected class "
            f"indices {known}; raise num_classes, set ignore_index, or use num_classes=1 for 0/255"
        )
    return mask.astype(np.int64)
