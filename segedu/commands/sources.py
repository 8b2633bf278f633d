"""Which mask belongs to which image, in folders of every usual layout."""

import os
import unicodedata
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from ..data.folder import some_names
from ..data.pictures import ENDINGS, list_pictures

PARTS = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid"),
    "test": ("test", "testing"),
}
OURS = ("images", "masks")
MASKS = ("masks", "labels")  # how the folder beside images/ may be called


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
    parts = {}
    for part, names in PARTS.items():
        found = [below[name] for name in names if name in below]
        if len(found) > 1:
            raise ValueError(
                f"{found[0]} and {found[1]} are both for {part}, expected one of them; put all of "
                "it into one, and remove the other"
            )
        if found:
            parts[part] = found[0]
    missing = [part for part in PARTS if part not in parts]
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
    return Source(folder.name, images[0], masks)


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
        without, extra = (
            some_names(sorted(mine[key].name for key in mine.keys() - others.keys()))
            for mine, others in (keys, keys[::-1])
        )
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
