"""Reading picture files: the header, the values as stored, or grey or colour for a network.

Pillow opens every format so far. One that needs another library gets a branch in `read_image`,
`read_values` and `read_header`; what they return, arrays and a `Header`, stays the same.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from ..checks import check_choice

ADVICE = "check the file, or save it again as PNG or TIFF"


class Header(NamedTuple):
    """What a picture file says about itself before its pixels are read."""

    size: tuple[int, int]  # (width, height) in pixels, as a viewer shows it
    in_colour: bool
    is_jpeg: bool  # so that its values are not exact


def read_image(path: str | Path, *, channels: int) -> np.ndarray:
    """Read a picture of any kind as grey or as colour.

    Alpha is dropped, colour becomes grey by ITU-R 601 luma, and grey becomes colour by repetition.
    16-bit and float grey keep their values; 16-bit colour is read as 8-bit. A photograph is turned
    the way a viewer shows it, by the orientation that the camera noted (EXIF).

    Parameters
    ----------
    path : the file.
    channels : 1 for grey, 3 for colour.

    Returns an (H, W) array for grey, (H, W, 3) for colour; uint8, or the file's type if it is
    deeper. Raises ValueError if Pillow cannot read the file as a picture, if it holds several
    pictures, or if channels is neither 1 nor 3.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "deep.png"
    >>> Image.fromarray(np.full((4, 6), 1000, np.uint16)).save(path)
    >>> read_image(path, channels=3)[0, 0]
    array([1000, 1000, 1000], dtype=uint16)
    """
    check_choice("channels", channels, (1, 3))
    with explain_errors(f"{path} as a picture", ADVICE):
        picture = open_picture(path)
        if picture.mode[0] in "IF":  # 16-bit, 32-bit or float grey
            grey = np.asarray(picture)
            return grey if channels == 1 else np.stack([grey] * 3, axis=-1)
        return np.asarray(picture.convert("L" if channels == 1 else "RGB"))


def read_values(path: str | Path) -> np.ndarray:
    """The values as stored, such as class indices: (H, W), or (H, W, C) of several bands.

    Of a palette picture these are the indices. Raises ValueError like `read_image`.
    """
    with explain_errors(f"{path} as a picture", ADVICE):
        return np.asarray(open_picture(path))


def read_header(path: str | Path) -> Header:
    """Read only the header, which is quick at any size. Raises ValueError like `read_image`."""
    with explain_errors(f"{path} as a picture", ADVICE), _open_one(path) as picture:
        return Header(
            size=picture.size[::-1] if _orientation(picture) >= 5 else picture.size,
            in_colour=picture.mode not in ("1", "L", "LA") and picture.mode[0] not in "IF",
            is_jpeg=picture.format in ("JPEG", "MPO"),
        )


def list_pictures(folder: str | Path) -> list[Path]:
    """The picture files of a folder, by name; hidden files and other endings are passed over."""
    known = Image.registered_extensions()
    return [
        path
        for path in sorted(Path(folder).iterdir())
        if path.suffix.lower() in known and not path.name.startswith(".")
    ]


def open_picture(file: str | Path | BinaryIO) -> Image.Image:
    """The one picture in a file, turned the way a viewer shows it; raises what Pillow raises."""
    with _open_one(file) as picture:
        size = picture.size
        picture.load()
        if picture.size != size:  # Pillow 13 garbles a TIFF that is turned and not compressed
            raise ValueError("it is stored turned")
        return picture if _orientation(picture) == 1 else ImageOps.exif_transpose(picture)


@contextmanager
def explain_errors(what: str | Path, advice: str) -> Iterator[None]:
    """Turn any error in the block into a ValueError: what could not be read, why, what to do.

    >>> with explain_errors("cell.png", "copy it again"):
    ...     raise OSError(5, "Input/output error")
    Traceback (most recent call last):
    ValueError: cannot read cell.png (Input/output error); copy it again
    """
    try:
        yield
    except Exception as error:  # Pillow and zipfile report damage with a dozen kinds of error
        reason = getattr(error, "strerror", None) or str(error)  # strerror has no path
        if isinstance(error, UnidentifiedImageError):
            reason = "it is in no format that Pillow knows"
        if isinstance(error, Image.DecompressionBombError):
            advice = "cut it into smaller pictures"
        raise ValueError(f"cannot read {what} ({reason}); {advice}") from error


def _open_one(file: str | Path | BinaryIO) -> Image.Image:
    picture = Image.open(file)
    count = getattr(picture, "n_frames", 1)
    if count > 1 and picture.format != "MPO":  # a photograph that carries a second one, of depth
        raise ValueError(f"it holds {count} pictures, expected one")
    return picture


def _orientation(picture: Image.Image) -> int:
    """The EXIF orientation: 1 is upright, 5 to 8 lie on their side. Pillow turns a TIFF itself."""
    return picture.getexif().get(ExifTags.Base.Orientation, 1) if "exif" in picture.info else 1
