"""What `segedu convert` does: from masks of any usual kind to a folder that can be trained on.

Every mask is read twice: first to see which values there are and what does not fit, then to write.
"""

import os
import re
import shutil
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tifffile
from PIL import Image
from scipy.ndimage import maximum_filter, minimum_filter
from skimage.measure import label
from tqdm import tqdm

from ..data import instances_to_target
from ..data.folder import without_alpha
from ..data.pictures import ENDINGS, list_pictures, read_header, read_image, read_pages

PARTS = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid"),
    "test": ("test", "testing"),
}
OURS = ("images", "masks")
MASKS = ("masks", "labels")  # how the folder beside images/ may be called
VOID_NAMES = ("void", "ignore", "unlabelled", "unlabeled")
MOST = 20  # values that are taken for classes without being told
JPEG = (".jpg", ".jpeg")
PALETTES = (".bmp", ".gif", ".png")


class Source(NamedTuple):
    """An image, and the files that its mask is made of."""

    name: str
    image: Path
    masks: list[Path]  # one, or one for each class or each object


class Sources(NamedTuple):
    """Everything that is to be converted."""

    parts: dict[str, list[Source]]  # by the name of the part, "." if there is only one
    classes: tuple[str, ...] = ()  # with a folder for each class, their names
    objects: bool = False  # with a file for each object


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
    are_objects: bool  # nearly every value above 0 is one connected region of a mask


class Classes(NamedTuple):
    """What becomes of the values."""

    numbers: dict[float, int]  # the class of each value
    names: tuple[str, ...] = ()
    void: int | None = None  # what pixels without a class become


# --- which mask belongs to which image ---


def find_sources(
    root: Path | None,
    images: Path | None,
    masks: Path | None,
    image_suffix: str = "",
    mask_suffix: str = "",
) -> Sources:
    """The images and their masks, by part; see `segedu convert --help` for what is understood."""
    if (root is None) == (images is None) or (images is None) != (masks is None):
        raise ValueError("give --root, the folder of all, or --images and --masks")
    for path in filter(None, (root, images, masks)):
        if not path.exists():
            raise ValueError(f"{path} does not exist")
    suffixes = (image_suffix, mask_suffix)
    if root is not None:
        per_image = [
            path for path in _folders(root) if all((path / kind).is_dir() for kind in OURS)
        ]
        if (root / "images").is_dir():
            images, masks = root / "images", _masks_beside_images(root)
        elif not _parts_of(root) and per_image:
            return Sources({".": list(map(_of_one_image, per_image))}, objects=True)
    parts = _parts_of(root if images is None else images)
    if images is None and not parts:
        raise ValueError(
            f"{root} has neither images/ and masks/, nor train/, val/ and test/, nor a folder for "
            "each image (found: " + ", ".join(sorted(os.listdir(root))[:5]) + "); give --images "
            "and --masks"
        )
    if not parts:
        found, classes, objects = _match(images, masks, *suffixes)
        return Sources({".": found}, classes, objects)
    of_masks = _parts_of(masks) if masks is not None else {}
    matched = {}
    for part, folder in parts.items():
        if masks is not None:
            its_images, its_masks = folder, of_masks.get(part, masks / part)
        elif (folder / "images").is_dir():
            its_images, its_masks = folder / "images", _masks_beside_images(folder)
        else:
            its_images, its_masks = folder, _masks_named_like(folder)
        matched[part] = _match(its_images, its_masks, *suffixes)
    classes, objects = next(iter(matched.values()))[1:]
    if any(match[1:] != (classes, objects) for match in matched.values()):
        raise ValueError("the folders of the classes differ between the parts")
    return Sources({part: match[0] for part, match in matched.items()}, classes, objects)


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [p for p in sorted(folder.iterdir()) if p.is_dir() and not p.name.startswith(".")]


def _parts_of(folder: Path) -> dict[str, Path]:
    """The subfolders for training, validation and test; empty if there are none of them."""
    below = {path.name.lower(): path for path in _folders(folder)}
    parts = {
        part: next((below[name] for name in names if name in below), None)
        for part, names in PARTS.items()
    }
    missing = [part for part, path in parts.items() if path is None]
    if 0 < len(missing) < len(PARTS):
        raise ValueError(
            f"{folder} has parts, but none for {' and '.join(missing)}; give --images and --masks "
            "of one part, which `segedu train` then divides"
        )
    return {} if missing else parts


def _masks_beside_images(folder: Path) -> Path:
    for name in MASKS:
        if (folder / name).is_dir():
            return folder / name
    raise ValueError(f"{folder} has images/, but no masks/; give --images and --masks")


def _masks_named_like(folder: Path) -> Path:
    """The masks of `train/` in `trainannot/` or `train_labels/`."""
    others = [p for p in _folders(folder.parent) if p.name.startswith(folder.name) and p != folder]
    if len(others) != 1:
        found = ", ".join(path.name for path in others) or "none"
        raise ValueError(
            f"expected one folder with the masks of {folder}, named like {folder.name}_masks, "
            f"found {found}; give --images and --masks"
        )
    return others[0]


def _of_one_image(folder: Path) -> Source:
    """The layout of the 2018 Data Science Bowl: NAME/images/NAME.png and NAME/masks/*.png."""
    images, masks = (list_pictures(folder / kind) for kind in ("images", "masks"))
    if len(images) != 1:
        raise ValueError(f"{folder / 'images'} has {len(images)} pictures, expected one")
    return Source(images[0].stem, images[0], masks)


def _match(
    images: Path, masks: Path, image_suffix: str, mask_suffix: str
) -> tuple[list[Source], tuple[str, ...], bool]:
    """The images with their masks, the names of the classes, and if a file is an object."""
    if images.is_file() and masks.is_file():
        return [Source(images.stem, images, [masks])], (), False
    for path in (images, masks):
        if not path.is_dir():
            raise ValueError(f"{path} is not a folder; give two folders, or two files")
    pictures, same = list_pictures(images), images.resolve() == masks.resolve()
    if same:
        if not mask_suffix:
            raise ValueError(
                f"images and masks are both in {images}; tell them apart by --mask-suffix, such as "
                "_mask for cell_mask.png"
            )
        is_mask = [path.stem.endswith(mask_suffix) for path in pictures]
        files = [path for path, is_one in zip(pictures, is_mask, strict=True) if is_one]
        pictures = [path for path, is_one in zip(pictures, is_mask, strict=True) if not is_one]
    if not pictures:
        raise ValueError(f"{images} has no pictures, expected {', '.join(ENDINGS)}")
    below = [] if same else _folders(masks)
    astray = _folders(images) or (below and list_pictures(masks))
    if astray:
        raise ValueError(
            f"{astray[0].parent} has folders and pictures side by side, such as {astray[0]}; move "
            "one kind away"
        )
    if not below:
        files = files if same else list_pictures(masks)
        pairs = _match_names(pictures, files, image_suffix, mask_suffix, masks)
        return [Source(path.stem, path, [mask]) for path, mask in pairs], (), False
    if {path.name for path in below} & {path.stem for path in pictures}:  # a folder an image
        pairs = _match_names(pictures, below, image_suffix, mask_suffix, masks)
        sources = [Source(path.stem, path, list_pictures(folder)) for path, folder in pairs]
        return sources, (), True
    each = [  # a folder a class
        dict(_match_names(pictures, list_pictures(folder), image_suffix, mask_suffix, folder))
        for folder in below
    ]
    sources = [Source(path.stem, path, [of_class[path] for of_class in each]) for path in pictures]
    return sources, ("background", *(path.name for path in below)), False


def _match_names(
    images: list[Path], masks: list[Path], image_suffix: str, mask_suffix: str, where: Path
) -> list[tuple[Path, Path]]:
    """Each image with its mask, which has the same name without the suffixes.

    If no names agree, what all images and what all masks have in common, such as `img_` and
    `mask_`, is left out.
    """
    keys = _keys(images, "", image_suffix), _keys(masks, "", mask_suffix)
    if not image_suffix and not mask_suffix and not keys[0].keys() & keys[1].keys():
        keys = tuple(_keys(paths, *_common(paths)) for paths in (images, masks))
    if keys[0].keys() != keys[1].keys():
        without = _some(keys[0][key].name for key in keys[0].keys() - keys[1].keys())
        extra = _some(keys[1][key].name for key in keys[1].keys() - keys[0].keys())
        raise ValueError(
            f"{where} does not fit the images: images without a mask: {without}; masks without an "
            f"image: {extra}; see --image-suffix and --mask-suffix, or move these files away"
        )
    return [(path, keys[1][key]) for key, path in keys[0].items()]


def _keys(paths: list[Path], prefix: str, suffix: str) -> dict[str, Path]:
    """The paths by their names without the ending, the prefix and the suffix."""
    found: dict[str, Path] = {}
    for path in paths:
        stem = unicodedata.normalize("NFC", path.stem if path.is_file() else path.name)
        if not stem.endswith(suffix):
            raise ValueError(f"{path} does not end in {suffix}, as the others do")
        key = stem.removeprefix(prefix).removesuffix(suffix)
        if key in found:
            raise ValueError(f"{found[key]} and {path} have the same name; remove one")
        found[key] = path
    return found


def _common(paths: list[Path]) -> tuple[str, str]:
    """What all names begin and end with; digits belong to what tells them apart."""
    stems = [path.stem if path.is_file() else path.name for path in paths]
    prefix = _begin_alike(stems).rstrip("0123456789")
    backwards = [stem.removeprefix(prefix)[::-1] for stem in stems]
    return prefix, _begin_alike(backwards)[::-1].lstrip("0123456789")


def _begin_alike(names: list[str]) -> str:
    letters = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return "".join(letter[0] for letter in letters)


def _some(names) -> str:
    names = sorted(names)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "") or "-"


# --- what the masks hold ---


def read_colours(path: Path) -> dict[int, str]:
    """A table of colours, a line for each class such as `64 128 64 Animal`: the names by colour."""
    colours = {}
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines()):
        found = re.search(r"\b(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})\b", line)
        rgb = [int(value) for value in found.groups()] if found else []
        if max(rgb, default=255) > 255 or not found:
            if not line.strip() or number == 0:  # perhaps the heading of the columns
                continue
            raise ValueError(f"{path}, line {number + 1}: expected a colour like 64 128 64, a name")
        code = int(np.dot(rgb, (65536, 256, 1)))
        if code in colours:
            raise ValueError(f"{path}, line {number + 1}: the colour {_rgb(code)} is there twice")
        colours[code] = (line[: found.start()] + line[found.end() :]).strip(" \t,;") or _rgb(code)
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
    if options.colours is not None and path.suffix.lower() not in JPEG:
        weights = np.array([65536, 256, 1])
        return [page.astype(np.int64) @ weights for page in read_pages(path, channels=3)]
    if path.suffix.lower() in JPEG:
        raise ValueError(
            f"{path} is a JPEG, which changes values; give --threshold 128 if it is black and white"
        )
    pages = [_as_shown(path, without_alpha(path, page)) for page in read_pages(path)]
    if not all(np.isfinite(page).all() for page in pages):
        raise ValueError(f"{path} holds NaN or infinity")
    if options.objects is None:
        return pages
    for page in pages:
        if page.ndim == 3 or (page.dtype.kind == "f" and (page % 1).any()):
            raise ValueError(f"{path} does not hold numbers of objects, but colours or fractions")
    return [_of_objects(page.astype(np.int64), options.objects) for page in pages]


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
    pixels, solid, problems, regions, numbers = Counter(), set(), [], 0, 0
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
            unknown = [
                value for value in values.tolist() if value not in (options.colours or [value])
            ]
            if options.colours and unknown:
                colour = _rgb(unknown[0])
                problems.append(f"{source.masks[0]} has the colour {colour}, not in the table")
            if len(values) > 2:
                flat = minimum_filter(mask, 3) == maximum_filter(mask, 3)
                solid |= set(np.unique(mask[flat]).tolist())
                regions += label(mask.astype(np.int64), background=0, connectivity=1).max()
                numbers += np.count_nonzero(values)
            else:
                solid |= set(values.tolist())
    if problems:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise ValueError(f"nothing was written: {'. '.join(problems[:3])}{more}")
    return Values(dict(sorted(pixels.items())), solid, 0 < regions <= 1.2 * numbers), options


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
    names = ("background", "interior", "boundary") if options.objects == "boundary" else classes
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
        if plain[-1] < count and are_indices:
            return kept
        if len(found) == count:
            return in_order
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
    if are_indices:
        return kept
    if len(found) <= MOST and values.solid.issuperset(found):
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


def _write(folder: Path, source: Source, masks: list[np.ndarray], classes: Classes) -> int:
    """An image and its mask, or the pages of both."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "masks").mkdir(exist_ok=True)
    if len(masks) == 1:
        names = [source.name]
        shutil.copyfile(source.image, folder / "images" / source.image.name)
    else:
        digits = len(str(len(masks)))
        names = [f"{source.name}_{number:0{digits}}" for number in range(1, len(masks) + 1)]
        for name, page in zip(names, read_pages(source.image), strict=True):
            kind = "rgb" if page.ndim == 3 and page.shape[2] == 3 else "minisblack"
            path = folder / "images" / f"{name}.tif"
            tifffile.imwrite(path, page, photometric=kind, compression="zlib")
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
    if options.threshold is not None:
        name = {0: f"< {options.threshold:g}", 1: f">= {options.threshold:g}"}.get
    rows = [("in the masks", "class", "share of pixels")]
    for value, number in sorted(classes.numbers.items(), key=lambda item: item[1]):
        what = "none" if number == classes.void else f"{number}"
        if number < len(classes.names):
            what += f" {classes.names[number]}"
        rows.append((name(value), what, f"{values.pixels.get(value, 0) / total:.2%}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  " + "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))


def _arguments(out: Path, classes: Classes) -> str:
    count = 1 + max(number for number in classes.numbers.values() if number != classes.void)
    ignored = classes.void
    for number, name in enumerate(classes.names):
        if name.lower() in VOID_NAMES:
            ignored = number
    folder = f'"{out}"' if " " in str(out) else out
    return f"--data folder --root {folder} --num-classes {count if count > 2 else 1}" + (
        f" --ignore-index {ignored}" if ignored is not None else ""
    )


def _names(classes: Classes) -> str:
    names = classes.names[1:] if len(classes.names) == 2 else classes.names
    return f' --class-names "{",".join(names)}"' if names else ""
