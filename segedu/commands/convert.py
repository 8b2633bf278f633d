"""What `segedu convert` does: from masks of any usual kind to a folder that can be trained on.

Every mask is read twice: first to see which values there are and what does not fit, then to write.
"""

import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tifffile
from PIL import Image
from scipy.ndimage import maximum_filter, minimum_filter
from skimage.measure import label
from tqdm import tqdm

from ..data import THREE_CLASSES, instances_to_target
from ..data.folder import quoted, without_alpha
from ..data.pictures import read_header, read_image, read_pages
from .sources import Source, Sources

VOID_NAMES = ("void", "ignore", "unlabelled", "unlabeled")
MOST = 20  # values that are taken for classes without being told
JPEG = (".jpg", ".jpeg")
PALETTES = (".bmp", ".gif", ".png")
WEIGHTS = np.array([65536, 256, 1])  # of red, green and blue in a colour as one number


class Options(NamedTuple):
    """What a value in a mask means; by default that is found from the values."""

    threshold: float | None = None
    objects: str | None = None  # "binary" or "boundary"
    colours: dict[int, str] | None = None  # names by colour, in the order of the classes; {}: found
    num_classes: int | None = None
    ignore_index: int | None = None
    invert: bool = False


class Values(NamedTuple):
    """What the masks hold, all of them together."""

    pixels: dict[float, int]  # how many pixels have each value, the smallest first
    solid: set[float]  # values that fill a square of 3 x 3 somewhere, as no blurred edge does
    most: int  # of different values in one mask
    are_objects: bool  # nearly every value above 0 is one connected region of a mask


class Classes(NamedTuple):
    """What becomes of the values."""

    numbers: dict[float, int]  # the class of each value
    names: tuple[str, ...] = ()
    void: int | None = None  # what pixels without a class become


# --- what the masks hold ---


def read_colours(path: Path) -> dict[int, str]:
    """A table of colours, a line for each class such as `64 128 64 Animal`: the names by colour."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not in UTF-8 ({error.reason} at byte {error.start}), expected a text with "
            "a line for each class; save it again as UTF-8"
        ) from error
    colours = {}
    for number, line in enumerate(lines):
        rows = re.findall(r"\b\d+(?:\W+\d+)*\b", line)  # a number alone may belong to the name
        if not rows and (not line.strip() or number == 0):  # perhaps the heading of the columns
            continue
        threes = [row for row in rows if len(re.findall(r"\d+", row)) == 3]
        rgb = [int(digits) for row in threes for digits in re.findall(r"\d+", row)]
        if len(rgb) != 3 or max(rgb) > 255:
            raise ValueError(
                f"{path}, line {number + 1}: expected a colour and a name, such as 64 128 64 "
                f"Animal, got {line.strip()!r:.60}"
            )
        code = int(np.dot(rgb, WEIGHTS))
        if code in colours:
            raise ValueError(f"{path}, line {number + 1}: the colour {_rgb(code)} is there twice")
        colours[code] = line.replace(threes[0], "").strip(" \t,;") or _rgb(code)
    if len(colours) < 2:
        raise ValueError(f"{path} has {len(colours)} colours, expected a line for each class")
    return colours


def _rgb(code: float) -> str:
    return " ".join(str(int(code) >> shift & 255) for shift in (16, 8, 0))


def _masks(source: Source, sources: Sources, options: Options) -> list[np.ndarray]:
    """The mask of an image, or of each of its pages.

    (H, W) values each, where a colour is one number; or (H, W, 3) for colours as yet unexpected.
    """
    if sources.classes or sources.objects:
        kept = np.zeros(read_header(source.image).size[::-1], np.int64)
        for number, path in enumerate(source.masks, start=1):
            where = _foreground(path, options.threshold)
            if where.shape != kept.shape:
                raise ValueError(f"{path} {_differ(where.shape, kept.shape)}")
            if sources.classes and kept[where].any():
                raise ValueError(
                    f"{path} has {np.count_nonzero(kept[where])} pixels that are also in another "
                    "class; decide for one"
                )
            kept[where] = number
        return [kept if sources.classes else _of_objects(kept, options.objects)]
    (path,) = source.masks
    if options.threshold is not None:
        return [page >= options.threshold for page in read_pages(path, channels=1)]
    if path.suffix.lower() in JPEG:
        raise ValueError(
            f"{path} is a JPEG, which changes values; give --threshold 128 if it is black and white"
        )
    if options.colours is not None:
        return [_colour_codes(path, page) for page in read_pages(path)]
    pages = [_as_shown(path, without_alpha(path, page)) for page in read_pages(path)]
    if not all(np.isfinite(page).all() for page in pages):
        raise ValueError(f"{path} holds NaN or infinity")
    if options.objects is None:
        return pages
    for page in pages:
        if page.ndim == 3 or page.min() < 0 or (page % 1).any():
            raise ValueError(f"{path} holds colours, fractions or numbers below 0, not objects")
    return [_of_objects(page.astype(np.int64), options.objects) for page in pages]


def _colour_codes(path: Path, mask: np.ndarray) -> np.ndarray:
    colours = without_alpha(path, mask)
    if colours.ndim == 2:
        has_palette = path.suffix.lower() in PALETTES
        colours = read_image(path, channels=3) if has_palette else np.stack([colours] * 3, axis=-1)
    if colours.dtype != np.uint8:
        raise ValueError(f"{path} has colours of {colours.dtype}, expected 8 bits")
    return colours @ WEIGHTS


def _as_shown(path: Path, mask: np.ndarray) -> np.ndarray:
    """A black and white mask with a palette by its colours, since white may be its index 0."""
    if mask.ndim == 2 and path.suffix.lower() in PALETTES:
        shown = read_image(path, channels=3)
        if set(np.unique(shown)) <= {0, 255} and (shown == shown[..., :1]).all():
            return shown[..., 0]
    return mask


def _foreground(path: Path, threshold: float | None) -> np.ndarray:
    grey = read_image(path, channels=1)
    if threshold is not None:
        return grey >= threshold
    values = np.unique(grey)
    if len(values) > 2 or (len(values) == 2 and values[0] != 0):
        raise ValueError(f"{path} has {len(values)} grey levels, expected 0 and another one; "
                         "give --threshold 128")  # fmt: skip
    return grey > 0


def _of_objects(numbers: np.ndarray, kind: str) -> np.ndarray:
    return instances_to_target(numbers, {"boundary": "three_class"}.get(kind, kind)).numpy()


def _differ(mask: tuple[int, int], image: tuple[int, int]) -> str:
    turned = "; turn it" if mask == image[::-1] else "; resize it, without interpolation"
    return f"has {mask[1]} x {mask[0]} pixels, but its image has {image[1]} x {image[0]}{turned}"


def survey(sources: Sources, options: Options) -> tuple[Values, Options]:
    """Read every mask and count its values; the options say afterwards if they are colours.

    Raises ValueError that names what does not fit.
    """
    pixels, solid, problems, most, regions, numbers = Counter(), set(), [], 0, 0, 0
    for _, source in _progress("reading", sources):
        try:
            sizes = _image_sizes(source.image)
            masks = _masks(source, sources, options)
            if len(sizes) != len(masks):
                raise ValueError(f"{source.image} has {len(sizes)} pages, its mask {len(masks)}")
            for mask, size in zip(masks, sizes, strict=True):
                if mask.shape[:2] != size:
                    raise ValueError(f"{source.masks[0]} {_differ(mask.shape[:2], size)}")
        except (ValueError, OSError) as error:
            problems.append(str(error))
            continue
        for mask in masks:
            if mask.ndim == 3:  # begin again, now that they are known to be colours
                return survey(sources, options._replace(colours={}))
            values, counts = np.unique(mask, return_counts=True)
            pixels.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
            most = max(most, len(values))
            if options.colours:
                unknown = [_rgb(value) for value in values if value not in options.colours]
                if unknown:
                    problems.append(f"{source.masks[0]} has colours not in the table: {unknown[0]}")
            elif len(values) > 2:
                flat = minimum_filter(mask, 3) == maximum_filter(mask, 3)
                solid |= set(np.unique(mask[flat]).tolist())
                regions += label(mask.astype(np.int64), background=0, connectivity=1).max()
                numbers += np.count_nonzero(values)
            else:
                solid |= set(values.tolist())
    if problems:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise ValueError(f"nothing was written: {'. '.join(problems[:3])}{more}")
    are_objects = 0 < regions <= 1.2 * numbers
    return Values(dict(sorted(pixels.items())), solid, most, are_objects), options


def _progress(what: str, sources: Sources) -> Iterator[tuple[str, Source]]:
    everything = [(part, source) for part, its in sources.parts.items() for source in its]
    return tqdm(everything, desc=what, unit=" images", disable=None)


def _image_sizes(path: Path) -> list[tuple[int, int]]:
    """(height, width) of the image, or of each page."""
    try:
        return [read_header(path).size[::-1]]
    except ValueError:  # a stack, or an error that will be raised again
        return [page.shape[:2] for page in read_pages(path)]


# --- what becomes of the values ---


def choose_classes(values: Values, options: Options, classes: tuple[str, ...] = ()) -> Classes:
    """The class of each value. Raises ValueError if there is more than one way to see it."""
    found = [value for value in values.pixels if value != options.ignore_index]
    names = THREE_CLASSES if options.objects == "boundary" else classes
    if names:
        numbers = dict(enumerate(range(len(names))))
    elif options.threshold is not None or options.objects:
        numbers = {0: 0, 1: 1}
    elif options.colours:
        names = tuple(options.colours.values())
        numbers = {code: k for k, code in enumerate(options.colours)}
    else:
        numbers = _number(found, values, options)
    if options.invert:
        if max(numbers.values()) > 1:
            raise ValueError(f"--invert is for two classes, but there are {len(numbers)}")
        numbers = {value: 1 - k for value, k in numbers.items()}
    ignored = [value for value in values.pixels if numbers.get(value, -1) == -1]
    if not ignored:
        return Classes(numbers, names)
    void = 255 if max(numbers.values()) < 255 else 65535
    return Classes(numbers | dict.fromkeys(ignored, void), names, void)


def _number(found: list[float], values: Values, options: Options) -> dict[float, int]:
    """A class for each value, -1 for none."""
    if not found:
        raise ValueError(
            f"the masks hold nothing but {options.ignore_index}, expected at least one class; "
            "leave out --ignore-index if it is one"
        )
    count = options.num_classes and max(options.num_classes, 2)
    in_order = dict(zip(found, range(len(found)), strict=True))
    if options.colours is not None:
        if len(found) > (count or MOST) or not values.solid.issuperset(found):
            raise ValueError(
                f"the masks have {len(found)} colours ({_shares(values, _rgb)}), too many or with "
                "blurred edges; give a table of the colours with --colours, or save the masks as "
                "PNG without smoothing"
            )
        by_share = sorted(found, key=lambda code: -values.pixels[code])
        return dict(zip(by_share, range(len(found)), strict=True))
    has_void = found[-1] == 255 and len(found) > 2 and options.ignore_index is None
    plain = found[:-1] if has_void else found
    are_indices = all(value in range(256) for value in plain) and plain[-1] < 2 * len(plain)
    if len(plain) > MOST:  # blurred edges hold nearly all values too
        are_indices &= sum(value in values.solid for value in plain) > len(plain) / 2
    kept = {value: int(value) if value in plain else -1 for value in found}
    if count:
        if len(found) == count:
            return in_order
        if plain[-1] < count and are_indices:
            return kept
        raise ValueError(
            f"--num-classes {options.num_classes}, but the masks have {len(found)} values: "
            f"{_shares(values, '{:g}'.format)}"
        )
    if len(found) <= 2:
        return {value: int(value != 0) for value in found} if len(found) == 1 else in_order
    if values.are_objects and np.diff(found).min() == 1:
        raise ValueError(
            f"the masks have {len(found)} values, and nearly each is one region of a mask: if they "
            "are numbers of objects, give --objects binary; if they are classes, --num-classes "
            f"{len(found)}"
        )
    if has_void and plain == [0, 1]:
        raise ValueError(
            f"the masks hold {_shares(values, '{:g}'.format)}: if 255 marks pixels that belong to "
            "no class, give --ignore-index 255; if it is an object like 1, --threshold 1"
        )
    if are_indices:
        return kept
    if values.most > 2 and len(found) <= MOST and values.solid.issuperset(found):
        return in_order
    middle = (found[0] + found[-1] + 1) / 2
    raise ValueError(
        f"the masks have {len(found)} values ({_shares(values, '{:g}'.format)}): if those between "
        f"two main ones are blurred edges, give --threshold {middle:g}; if they are numbers of "
        f"objects, --objects binary; if they are classes, --num-classes {len(found)}"
    )


def _shares(values: Values, name) -> str:
    """The most frequent values and their shares."""
    common = sorted(values.pixels, key=lambda value: -values.pixels[value])[:5]
    total = sum(values.pixels.values())
    shares = [f"{name(value)}: {values.pixels[value] / total:.2%}" for value in common]
    return ", ".join(shares) + (", ..." if len(values.pixels) > 5 else "")


# --- the new folder ---


def convert(sources: Sources, out: Path, options: Options) -> None:
    """Write the new folder, all of it or nothing, and say which value became which class."""
    if sources.objects and options.objects is None:
        options = options._replace(objects="binary")
    _check_options(sources, options)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} exists already; give a new folder with --out")
    values, options = survey(sources, options)
    classes = choose_classes(values, options, sources.classes)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as temporary:
        new = Path(temporary) / "new"
        count = sum(
            _write(new / part, source, _masks(source, sources, options), classes)
            for part, source in _progress("writing", sources)
        )
        if out.exists():
            out.rmdir()
        new.rename(out)
    print(f"{count} images with masks -> {out}")
    for line in _table(values, options, classes):
        print(line)
    arguments = _arguments(out, classes)
    print(f"look:  segedu info {arguments}\ntrain: segedu train {arguments}{_names(classes)}")


def _check_options(sources: Sources, options: Options) -> None:
    """That every option that was given counts."""
    ignores = options.ignore_index is not None
    by_value = options.colours is not None or options.num_classes or ignores
    if sources.classes and (by_value or options.objects):
        raise ValueError("with a folder for each class, the only option for masks is --threshold")
    if sources.objects and by_value:
        raise ValueError("with a file for each object, masks take only --objects and --threshold")
    if options.threshold is not None and options.objects and not sources.objects:
        raise ValueError("--threshold with --objects needs a file for each object")
    is_fixed = options.threshold is not None or options.objects or options.colours
    if is_fixed and ignores:
        raise ValueError("--ignore-index is for grey levels that are classes")


def _write(folder: Path, source: Source, masks: list[np.ndarray], classes: Classes) -> int:
    """An image and its mask, or the pages of both."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "masks").mkdir(exist_ok=True)
    if len(masks) == 1:
        names = [source.name]
        image = folder / "images" / f"{source.name}{source.image.suffix}"
        shutil.copyfile(source.image, image)
    else:
        digits = len(str(len(masks)))
        names = [f"{source.name}_{number:0{digits}}" for number in range(1, len(masks) + 1)]
        for name, page in zip(names, read_pages(source.image), strict=True):
            kind = "rgb" if page.ndim == 3 and page.shape[2] == 3 else "minisblack"
            # Else tifffile takes what is neither grey nor colour for a stack, each row a page.
            layout = {"planarconfig": "contig"} if page.ndim == 3 else {}
            path = folder / "images" / f"{name}.tif"
            tifffile.imwrite(path, page, photometric=kind, compression="zlib", **layout)
    known = np.array(list(classes.numbers))
    order = known.argsort()
    known, numbers = known[order], np.array(list(classes.numbers.values()))[order]
    deep = numbers.max() > 255
    for name, mask in zip(names, masks, strict=True):
        indices = numbers[np.searchsorted(known, mask)].astype(np.uint16 if deep else np.uint8)
        path = folder / "masks" / f"{name}.png"
        if path.exists():
            raise ValueError(f"two images would be called {name}; rename one")
        Image.fromarray(indices).save(path)
    return len(masks)


def _table(values: Values, options: Options, classes: Classes) -> Iterator[str]:
    """Which value became which class, and how often it is."""
    total = sum(values.pixels.values())
    name = _rgb if options.colours is not None else "{:g}".format
    if options.threshold is not None and not classes.names:
        name = {0: f"< {options.threshold:g}", 1: f">= {options.threshold:g}"}.get
    rows = [("in the masks", "class", "share of pixels")]
    for value, number in sorted(classes.numbers.items(), key=lambda item: item[1]):
        what = "none" if number == classes.void else f"{number}"
        if number < len(classes.names):
            what += f" {classes.names[number]}"
        rows.append((name(value), what, f"{values.pixels.get(value, 0) / total:.2%}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))
        yield f"  {'  '.join(cells)}".rstrip()


def _arguments(out: Path, classes: Classes) -> str:
    count = 1 + max(number for number in classes.numbers.values() if number != classes.void)
    ignored = classes.void
    for number, name in enumerate(classes.names):
        if name.lower() in VOID_NAMES:
            ignored = number
    return f"--data folder --root {quoted(str(out))} --num-classes {count if count > 2 else 1}" + (
        f" --ignore-index {ignored}" if ignored is not None else ""
    )


def _names(classes: Classes) -> str:
    names = classes.names[1:] if len(classes.names) == 2 else classes.names
    return f" --class-names {quoted(','.join(names))}" if names else ""
