"""Reading picture files: every value as it is stored, or a refusal that says why.

TIFF is read by tifffile, which knows the kinds that microscopes write. Everything else is read by
Pillow, but for PNG with 16 bits a colour, of which Pillow would drop half.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import imagecodecs
import numpy as np
import tifffile
from PIL import ExifTags, Image, UnidentifiedImageError

from ..checks import check_integer

ADVICE = "check the file, or save it again as PNG or TIFF"
ONE_BY_ONE = "save each of them as a file of its own"
CONVERT = "segedu convert writes each of them as a file of its own"
ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
# Other pictures, so that none is passed over in silence.
FOREIGN_ENDINGS = (
    ".arw", ".avif", ".cr2", ".czi", ".dcm", ".dng", ".heic", ".heif", ".ims", ".j2k", ".jp2",
    ".lif", ".mrc", ".nd2", ".ndpi", ".nef", ".nii", ".npy", ".oib", ".oir", ".psd", ".svs", ".vsi",
    ".zvi",
)  # fmt: skip
FORMATS = ("BMP", "GIF", "JPEG", "MPO", "PNG", "PPM", "WEBP")  # of Pillow
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16", "F")  # how Pillow holds pixels exactly
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the first bytes, also of BigTIFF
PHOTOMETRIC, EXTRASAMPLE = tifffile.PHOTOMETRIC, tifffile.EXTRASAMPLE


class Header(NamedTuple):
    """What a picture file says about itself before its pixels are read."""

    size: tuple[int, int]  # (width, height) in pixels, as a viewer shows it
    channels: int  # 1 for grey, 3 for colour, or any other number; alpha is none
    is_jpeg: bool  # so that its values are not exact


class _RefusedError(ValueError):
    """A picture that is sound, but not of a kind that is read: why, and what to do."""


class _Stored(NamedTuple):
    values: np.ndarray  # (H, W) or (H, W, C), upright
    palette: np.ndarray | None  # (n, 3) uint8, the colours of the values
    alphas: int  # how many of the last channels are alpha


def read_image(path: str | Path, *, channels: int) -> np.ndarray:
    """Read a picture with its values as they are stored, as grey, as colour, or all its channels.

    Alpha is dropped, colour becomes grey by ITU-R 601 luma, and grey becomes colour by repetition.
    A photograph is turned the way a viewer shows it, by the orientation that the camera noted.

    Parameters
    ----------
    path : the file.
    channels : 1 for grey, 3 for colour, or the number that the picture has.

    Returns an (H, W) array for one channel, else (H, W, C), of the dtype in the file; black and
    white becomes uint8 of 0 and 255. Raises ValueError if the file is no picture, holds several, or
    has another number of channels.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "deep.png"
    >>> Image.fromarray(np.full((4, 6), 1000, np.uint16)).save(path)
    >>> read_image(path, channels=3)[0, 0]
    array([1000, 1000, 1000], dtype=uint16)
    """
    check_integer("channels", channels, 1)
    with _explained(path):
        stored = _read(path)
    return _to_channels(path, stored, channels)


def read_values(path: str | Path) -> np.ndarray:
    """The values as stored, such as class indices: (H, W), or (H, W, C) of several bands.

    Of a palette picture these are the indices; but where 0 is white and another one black, and
    there are no more, white is 1, as one sees it. Raises ValueError like `read_image`.
    """
    with _explained(path):
        return _as_seen(_read(path))


def read_pages(path: str | Path, *, channels: int | None = None) -> list[np.ndarray]:
    """Every page of a TIFF stack, or the one picture of another file.

    Each is what `read_image` returns for so many channels, or without channels `read_values`.
    Raises ValueError like these, and for a stack with a palette or with alpha.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "stack.tif"
    >>> tifffile.imwrite(path, np.zeros((30, 4, 6), np.uint8))
    >>> pages = read_pages(path)
    >>> len(pages), pages[0].shape
    (30, (4, 6))
    """
    with _explained(path):
        pages = _read_tiff(path, stacks=True) if _is_tiff(path) else [_read(path)]
    if channels is None:
        return [_as_seen(page) for page in pages]
    return [_to_channels(path, page, channels) for page in pages]


def read_header(path: str | Path) -> Header:
    """Read only the header, which is quick at any size. Raises ValueError like `read_image`."""
    with _explained(path):
        if _is_tiff(path):
            with _open_tiff(path) as (series, page):
                sides = dict(zip(series.axes, series.shape, strict=True))
                size, turn = (sides["X"], sides["Y"]), _tiff_turn(page)
                channels = sides.get("S", 1) * sides.get("C", 1) - _tiff_alphas(page)
                has_palette = page.photometric == PHOTOMETRIC.PALETTE
                is_jpeg = "JPEG" in page.compression.name
        else:
            with _open(path) as picture:
                size, turn = picture.size, _turn(picture)
                is_colour = "RGB" in picture.mode and not _png_kind(path)[1]  # 16-bit grey, alpha
                channels, has_palette = 3 if is_colour else 1, picture.mode == "P"
                is_jpeg = picture.format in ("JPEG", "MPO")
    return Header(size[::-1] if turn >= 5 else size, 3 if has_palette else channels, is_jpeg)


def list_pictures(folder: str | Path) -> list[Path]:
    """The pictures of a folder, by name; hidden files and files of other kinds are passed over.

    Raises ValueError for a picture in a format that is not read, rather than leave it out.
    """
    paths = [path for path in sorted(Path(folder).iterdir()) if not path.name.startswith(".")]
    for path in paths:
        if path.suffix.lower() in FOREIGN_ENDINGS:
            raise ValueError(
                f"{path} is in a format that is not read here; save it as TIFF or PNG, or take it "
                "out of the folder"
            )
    return [path for path in paths if path.suffix.lower() in ENDINGS]


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
    except Exception as error:  # the libraries report damage with a dozen kinds of error
        reason = getattr(error, "strerror", None) or str(error)  # strerror has no path
        if isinstance(error, _RefusedError):
            reason, advice = error.args
        if isinstance(error, UnidentifiedImageError):
            reason = "it is in no format that is read here"
        if isinstance(error, Image.DecompressionBombError):
            advice = "cut it into smaller pictures"
        raise ValueError(f"cannot read {what} ({reason}); {advice}") from error


def _explained(path: str | Path):
    """`explain_errors` for a picture."""
    return explain_errors(
        f"{path} as a picture", ADVICE if Path(path).exists() else "check its name"
    )


def _read(path: str | Path) -> _Stored:
    if _is_tiff(path):
        return _read_tiff(path)[0]
    with _open(path) as picture:
        (depth, _), mode, palette = _png_kind(path), picture.mode, None
        if depth == 16 and mode not in ("I", "I;16"):
            values = imagecodecs.png_decode(Path(path).read_bytes())
        else:
            values = np.asarray(picture)
        if depth in (2, 4) and mode == "L":  # Pillow spreads these over 0 to 255
            values = values // (255 // (2**depth - 1))
        if mode == "P":
            palette = np.array(picture.getpalette("RGB"), np.uint8).reshape(-1, 3)
        return _Stored(_upright(values, _turn(picture)), palette, int(mode in ("LA", "RGBA")))


def _read_tiff(path: str | Path, *, stacks: bool = False) -> list[_Stored]:
    with _open_tiff(path, stacks=stacks) as (series, page):
        # The pages first, then rows, columns and channels, wherever these stand in the file.
        order = sorted(range(series.ndim), key=lambda place: "YXSC".find(series.axes[place]))
        sides = [(series.axes[place], series.shape[place]) for place in order]
        kept = [n for axis, n in sides if axis in "YX" or (axis in "SC" and n > 1)]
        pages = series.asarray().transpose(order).reshape(-1, *kept)
        palette, turn, alphas = None, _tiff_turn(page), _tiff_alphas(page)
        if page.photometric == PHOTOMETRIC.PALETTE:
            palette = (page.colormap.T >> 8).astype(np.uint8)
        return [_Stored(_upright(values, turn), palette, alphas) for values in pages]


def _to_channels(path: str | Path, stored: _Stored, channels: int) -> np.ndarray:
    """A picture as grey, as colour, or with the channels that it has; alpha is dropped."""
    values, palette, alphas = stored
    values = values if palette is None else palette[values]
    values = values[..., None] if values.ndim == 2 else values[..., : values.shape[2] - alphas]
    values = values * np.uint8(255) if values.dtype == bool else values
    count = values.shape[2]
    if (count, channels) == (3, 1):
        return _luma(values)
    if count != channels and (count, channels) != (1, 3):
        raise ValueError(f"{path} has {count} channels, expected {channels}")
    return values[..., 0] if channels == 1 else np.repeat(values, channels // count, axis=2)


def _as_seen(stored: _Stored) -> np.ndarray:
    values, palette, _ = stored
    if palette is not None and palette[0].tolist() == [255] * 3:
        others = np.unique(values[values > 0])
        if palette[others if others.size else slice(1, 2)].tolist() == [[0] * 3]:
            return (values == 0).astype(np.uint8)
    return values


def _is_tiff(path: str | Path) -> bool:
    with open(path, "rb") as file:
        return file.read(4) in TIFF


@contextmanager
def _open_tiff(
    path: str | Path, *, stacks: bool = False
) -> Iterator[tuple[tifffile.TiffPageSeries, tifffile.TiffPage]]:
    """The one picture in a TIFF, and its first page, which says how the values are meant."""
    with tifffile.TiffFile(path) as file:
        if len(file.series) != 1:
            raise _RefusedError(f"it holds {len(file.series)} pictures", ONE_BY_ONE)
        series, page = file.series[0], file.series[0].keyframe
        pages = [n for axis, n in zip(series.axes, series.shape, strict=True) if axis not in "YXSC"]
        if np.prod(pages) != 1 and not stacks:
            raise _RefusedError(f"it is a stack of {np.prod(pages)} pictures", CONVERT)
        if np.prod(pages) != 1 and (page.photometric == PHOTOMETRIC.PALETTE or _tiff_alphas(page)):
            raise _RefusedError("it is a stack with a palette or transparency", ONE_BY_ONE)
        if not {"Y", "X"} <= set(series.axes):
            raise _RefusedError(f"it has the axes {series.axes}", ADVICE)
        kind, is_jpeg = page.photometric, "JPEG" in page.compression.name
        known = (PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.RGB)
        if kind not in (*known, PHOTOMETRIC.PALETTE) and not (
            kind == PHOTOMETRIC.YCBCR and is_jpeg
        ):
            name = "CMYK" if kind == PHOTOMETRIC.SEPARATED else kind.name
            raise _RefusedError(f"its colours are {name}", "convert it to grey or RGB")
        if series.dtype.kind not in "buif":
            raise _RefusedError(f"its values are {series.dtype}", "save real numbers")
        if page.bitspersample % 8 and page.samplesperpixel > 1 and page.planarconfig == 1:
            # tifffile mixes up their bits
            reason = f"it has interleaved bands of {page.bitspersample} bits"
            raise _RefusedError(reason, "save it with 8 bits for each")
        yield series, page


def _tiff_turn(page: tifffile.TiffPage) -> int:
    return page.tags.valueof("Orientation", 1)


def _tiff_alphas(page: tifffile.TiffPage) -> int:
    return sum(kind != EXTRASAMPLE.UNSPECIFIED for kind in page.extrasamples)


def _open(path: str | Path) -> Image.Image:
    picture = Image.open(path)
    count = getattr(picture, "n_frames", 1)
    if count > 1 and picture.format != "MPO":  # a photograph that carries a second one, of depth
        raise _RefusedError(f"it holds {count} pictures", ONE_BY_ONE)
    is_scaled = picture.format == "PPM" and picture.tile[0][0] != "raw"  # to 255 or 65535
    if picture.format not in FORMATS or picture.mode not in MODES or is_scaled:
        reason = f"it is a {picture.format} of the mode {picture.mode}"
        raise _RefusedError(reason, "save it as PNG or TIFF in grey or RGB, with all of its bits")
    return picture


def _turn(picture: Image.Image) -> int:
    return picture.getexif().get(ExifTags.Base.Orientation, 1) if "exif" in picture.info else 1


def _png_kind(path: str | Path) -> tuple[int, bool]:
    """Bits of a value in a PNG file, and whether it is grey; 0 for other files."""
    with open(path, "rb") as file:
        start = file.read(26)
    return (start[24], start[25] in (0, 4)) if start.startswith(b"\x89PNG") else (0, False)


def _upright(values: np.ndarray, turn: int) -> np.ndarray:
    """Turn (H, W) or (H, W, C) by its orientation in EXIF or TIFF, where 1 is upright."""
    values = values.swapaxes(0, 1) if turn >= 5 else values
    upside_down, mirrored = turn in (3, 4, 7, 8), turn in (2, 3, 6, 7)
    return values[:: -1 if upside_down else 1, :: -1 if mirrored else 1]


def _luma(colours: np.ndarray) -> np.ndarray:
    """Grey of (H, W, 3) colours, of the same dtype; of uint8 as Pillow computes it."""
    if colours.dtype == np.uint8:
        return np.asarray(Image.fromarray(colours).convert("L"))
    grey = colours @ np.array([0.299, 0.587, 0.114])
    return (grey.round() if colours.dtype.kind in "ui" else grey).astype(colours.dtype)
