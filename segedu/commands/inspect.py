"""What `segedu info` does: read all of the data, and say what is there and what is wrong."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import permutations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset
from torchvision import tv_tensors
from tqdm import tqdm

from .. import doctor
from ..analysis import receptive_field
from ..data import normalize, read_image, train_transform
from ..data.folder import (
    check_headers,
    check_names,
    common_channels,
    errors_name,
    find_pictures,
    read_mask,
    some_names,
    split_folders,
)
from ..data.pictures import ENDINGS
from ..data.splits import SPLITS, split_by_name
from ..models import UNetPlusPlus
from ..plotting import save_figure, show_images
from ..training import TrainConfig
from . import showable
from .report import picture_names

SHOWN = 8  # images of preview.png
CHANNELS = (16, 32, 64, 128)  # of the network that `segedu train` makes by default
SMALL = 4  # pixels across, below which an object is hardly to be seen
SATURATED = 0.01  # share of pixels from which on an image is called saturated
APART = 4  # factor by which the brightness of two parts differs if it is called different

Load = Callable[[], tuple[np.ndarray, np.ndarray]]


class Entry(NamedTuple):
    """An image with its mask, not yet read."""

    name: str
    split: str
    load: Load  # (H, W) or (H, W, C), and (H, W) integers; ValueError if training would refuse it


class Found(NamedTuple):
    """What is known of an image after it was read."""

    name: str
    split: str
    size: tuple[int, int]
    kind: str  # channels and dtype
    brightest: float
    is_constant: bool
    saturated: float
    pixels: np.ndarray  # of each class
    diameters: dict[int, np.ndarray]
    fingerprint: np.ndarray
    fit: doctor.EdgeFit | None


# --- what there is ---


def entries_of(dataset: Dataset, split: str) -> list[Entry]:
    """The images of a data set that yields `(image, mask)`, images of one channel."""

    def load(index: int) -> tuple[np.ndarray, np.ndarray]:
        image, mask = dataset[index]
        return image[0].numpy(), mask.numpy()

    names = picture_names(dataset)
    return [Entry(name, split, lambda i=i: load(i)) for i, name in enumerate(names)]


def entries_of_folder(
    root: Path, num_classes: int, ignore_index: int | None
) -> tuple[list[Entry], list[str]]:
    """The images of a folder as `FolderDataset` finds them, and what it would refuse about files.

    Where it would stop at the first mistake, this goes on with the rest.
    """
    problems: list[str] = []
    if folders := split_folders(root):
        parts = {split: _pairs(folder, problems) for split, folder in folders.items()}
    else:
        pairs = _pairs(root, problems)
        try:
            names = split_by_name(pairs)
        except ValueError as error:
            problems.append(str(error))
            names = {"train": list(pairs)}
        parts = {split: {name: pairs[name] for name in names.get(split, ())} for split in SPLITS}
    counts = {}
    for pairs in parts.values():
        for name, (image, mask) in list(pairs.items()):
            try:
                counts[image] = check_headers(image, mask)
            except ValueError as error:
                problems.append(str(error))
                del pairs[name]
    channels = 1
    if counts:
        try:
            channels = common_channels(counts)
        except ValueError as error:
            problems.append(str(error))

    def load(image_path: Path, mask_path: Path) -> tuple[np.ndarray, np.ndarray]:
        count = counts[image_path]
        image = read_image(image_path, channels=channels if {count, channels} == {1, 3} else count)
        with errors_name(image_path):
            normalize(image)  # only to see if it refuses
        return image, read_mask(mask_path, num_classes, ignore_index)

    entries = [
        Entry(name, split, lambda pair=pair: load(*pair))
        for split, pairs in parts.items()
        for name, pair in pairs.items()
    ]
    return entries, problems


def _pairs(folder: Path, problems: list[str]) -> dict[str, tuple[Path, Path]]:
    """The images that have a mask; what is wrong with the others goes to the problems."""
    if not folder.is_dir():
        problems.append(f"{folder} does not exist, expected a folder with images/ and masks/")
        return {}
    found = {}
    for kind in ("images", "masks"):
        try:
            found[kind] = find_pictures(folder, kind)
        except ValueError as error:
            problems.append(str(error))
            found[kind] = _pictures_at_least(folder / kind)
    if found["images"] and found["masks"]:
        try:
            check_names(folder, found["images"], found["masks"])
        except ValueError as error:
            problems.append(str(error))
    elif not found["images"] and (folder / "images").is_dir():
        problems.append(f"{folder / 'images'} has no pictures, expected at least one")
    both = sorted(found["images"].keys() & found["masks"].keys())
    return {name: (found["images"][name], found["masks"][name]) for name in both}


def _pictures_at_least(folder: Path) -> dict[str, Path]:
    """Those pictures of a folder that can be told, although something is wrong with it."""
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    return {
        path.stem: path
        for path in paths
        if path.is_file() and path.suffix.lower() in ENDINGS and not path.name.startswith(".")
    }


def examine(
    entries: list[Entry], num_classes: int, ignore_index: int | None, problems: list[str]
) -> list[Found]:
    """Read every image and mask; what cannot be read goes to the problems."""
    found = []
    for entry in tqdm(entries, desc="reading", unit=" images", disable=None):
        try:
            image, mask = entry.load()
        except (ValueError, OSError) as error:
            problems.append(str(error))
            continue
        objects = mask if ignore_index is None else np.where(mask == ignore_index, 0, mask)
        counted = mask if ignore_index is None else mask[mask != ignore_index]
        channels = {1: "grey", 3: "colour"}.get(image.shape[2] if image.ndim == 3 else 1)
        found.append(
            Found(
                name=entry.name,
                split=entry.split,
                size=mask.shape,
                kind=f"{channels or f'{image.shape[2]} channels'}, {image.dtype}",
                brightest=float(np.percentile(image[::4, ::4], 99.9)),
                is_constant=image.min() == image.max(),
                saturated=doctor.saturated_share(image),
                pixels=np.bincount(counted.ravel(), minlength=max(num_classes, 2)),
                diameters=doctor.object_diameters(objects),
                fingerprint=doctor.fingerprint(image),
                fit=doctor.edge_fit(image, objects),
            )
        )
    return found


# --- what is said about it ---


def group_problems(problems: list[str]) -> Iterator[str]:
    """A line for each kind of problem, that is for each advice: how often, and three of them."""
    kinds = defaultdict(list)
    for problem in problems:
        kinds[problem.rpartition("; ")[2]].append(problem)
    for advice, alike in sorted(kinds.items(), key=lambda kind: -len(kind[1])):
        examples = [problem.rpartition("; ")[0] for problem in alike[:3] if "; " in problem]
        more = f", and {len(alike) - 3} more" if len(alike) > 3 else ""
        yield "\n    ".join([f"{len(alike)} x {advice}", *examples]) + more


def describe_splits(found: list[Found], num_classes: int, *, as_stored: bool) -> Iterator[str]:
    """What each part has; of values in files only if they are as stored."""
    for split in SPLITS:
        its = [one for one in found if one.split == split]
        if not its:
            continue
        pixels = sum(one.pixels for one in its)
        shares = [
            f"class {k}: {share:.1%}" for k, share in enumerate(pixels / max(pixels.sum(), 1))
        ]
        sizes = sorted((one.size for one in its), key=np.prod)
        ends = dict.fromkeys((sizes[0], sizes[-1]))  # one of them if all are equal
        sizes = " to ".join(" x ".join(map(str, size)) for size in ends)
        yield f"{split}: {len(its)} images of {sizes} pixels; {', '.join(shares)}"
        if as_stored:
            yield f"  values: {'; '.join(sorted({one.kind for one in its}))}"
        for value in range(1, max(num_classes, 2)):
            diameters = _diameters(its, value)
            if len(diameters):
                low, middle, high = np.percentile(diameters, (5, 50, 95))
                yield (
                    f"  regions of class {value}: {len(diameters)}, {low:.0f} to {high:.0f} pixels "
                    f"across (5 % to 95 %), half of them below {middle:.0f}"
                )


def _diameters(found: list[Found], value: int) -> np.ndarray:
    return np.concatenate([one.diameters.get(value, np.zeros(0)) for one in found])


def hints(
    found: list[Found], num_classes: int, ignore_index: int | None, *, as_stored: bool
) -> Iterator[str]:
    """What should be looked at, a sentence each; of values in files only if they are as stored."""
    parts = {split: [one for one in found if one.split == split] for split in SPLITS}
    parts = {split: its for split, its in parts.items() if its}
    yield from _about_classes(parts, set(range(max(num_classes, 2))) - {ignore_index})
    yield from _about_likeness(found)
    yield from _about_sizes(found, num_classes)
    yield from _about_edges(found)
    constant = [one.name for one in found if one.is_constant]
    if constant:
        yield f"{_count(constant)} of one value throughout: {some_names(constant)}"
    if not as_stored:
        return
    saturated = [f"{x.name} ({x.saturated:.0%})" for x in found if x.saturated >= SATURATED]
    if saturated:
        yield (
            f"{_count(saturated)} with more than {SATURATED:.0%} of the pixels at the largest "
            f"value, where all detail is lost: {some_names(saturated)}"
        )
    light = {split: [one.brightest for one in its] for split, its in parts.items() if len(its) > 2}
    for dim, bright in permutations(light, 2):
        is_apart = min(light[bright]) > max(light[dim])
        if is_apart and np.median(light[bright]) > APART * np.median(light[dim]):
            yield (
                f"the images of {bright} are more than {APART} times as bright as those of {dim}: "
                "from another microscope, or saved differently?"
            )
    kinds = {split: {one.kind for one in its} for split, its in parts.items()}
    if any(not its & kinds.get("train", its) for its in kinds.values()):
        yield "the parts differ in their values, see above: were they saved in the same way?"


def _about_classes(parts: dict[str, list[Found]], classes: set[int]) -> Iterator[str]:
    for split, its in parts.items():
        empty = [one.name for one in its if not one.pixels[1:].any()]
        if empty:
            yield f"{split}: {_count(empty)} without an object: {some_names(empty)}"
        pixels = sum(one.pixels for one in its)
        absent = [str(value) for value in sorted(classes) if not pixels[value]]
        if absent:
            yield f"{split}: no pixel of class {', '.join(absent)}"


def _about_likeness(found: list[Found]) -> Iterator[str]:
    across, within = [], []
    for first, second, pose in doctor.near_duplicates([one.fingerprint for one in found]):
        a, b = found[first], found[second]
        how = "" if pose == "as it is" else f", {pose}"
        line = f"{a.name} ({a.split}) and {b.name} ({b.split}{how})"
        (within if a.split == b.split else across).append(line)
    if across:
        yield (
            f"{_pairs_of(across)} in different parts look the same, so that the result "
            f"would flatter; look at both, and put them into one part: {some_names(across)}"
        )
    if within:
        yield f"{_pairs_of(within)} look the same; look at both: {some_names(within)}"


def _about_sizes(found: list[Found], num_classes: int) -> Iterator[str]:
    each = {value: _diameters(found, value) for value in range(1, max(num_classes, 2))}
    each = {value: sizes for value, sizes in each.items() if len(sizes)}
    small = [str(value) for value, sizes in each.items() if np.median(sizes) < SMALL]
    if small:
        yield (
            f"half of the regions of class {', '.join(small)} are below {SMALL} pixels across, "
            "hardly to be seen: are they specks in the masks? Else enlarge the pictures"
        )
    largest = max((np.percentile(sizes, 95) for sizes in each.values()), default=0)
    seen, crop, more = _seen(CHANNELS), TrainConfig().crop_size, (*CHANNELS, 2 * CHANNELS[-1])
    if largest > seen:
        yield (
            f"there are regions of {largest:.0f} pixels across, and the default network sees "
            f"{seen}: shrink the pictures to {seen / largest:.0%}, or give it one more level, "
            f"--channels {','.join(map(str, more))}, which sees {_seen(more)}"
        )
    if largest > crop:
        yield f"there are regions larger than a crop of {crop} pixels: give a larger --crop-size"


def _seen(channels: tuple[int, ...]) -> int:
    first, last = receptive_field(UNetPlusPlus(1, 1, channels=channels))
    return last - first + 1


def _about_edges(found: list[Found]) -> Iterator[str]:
    fits = [one.fit for one in found if one.fit is not None]
    pose = doctor.common_pose(fits)
    shift = None if pose else doctor.common_shift(fits)
    if pose:
        yield f"the masks fit their images better {pose}: look at preview.png"
    if shift:
        sides = [
            f"{abs(steps)} pixels {names[steps > 0]}"
            for steps, names in zip(shift, (("up", "down"), ("left", "right")), strict=True)
            if steps
        ]
        yield f"the masks fit their images better if they are moved {' and '.join(sides)}"


def _count(names: list[str]) -> str:
    return "1 image" if len(names) == 1 else f"{len(names)} images"


def _pairs_of(lines: list[str]) -> str:
    return "2 images" if len(lines) == 1 else f"{len(lines)} pairs of images"


# --- pictures to look at ---


def draw_preview(
    entries: list[Entry], found: list[Found], ignore_index: int | None, path: Path
) -> None:
    """Up to eight training images with their masks, the largest and the emptiest first."""
    its = {one.name: one for one in found if one.split == found[0].split}
    largest = max(its, key=lambda name: np.prod(its[name].size))
    emptiest = min(its, key=lambda name: its[name].pixels[1:].sum() / np.prod(its[name].size))
    spread = [list(its)[step] for step in np.linspace(0, len(its) - 1, SHOWN).astype(int)]
    names = list(dict.fromkeys((largest, emptiest, *spread)))[:SHOWN]
    load = {entry.name: entry.load for entry in entries if entry.split == found[0].split}
    _draw([(*load[name](), name) for name in names], ignore_index, 4, path)


def draw_augmented(
    entries: list[Entry],
    found: list[Found],
    ignore_index: int | None,
    augment: tuple[str, ...],
    path: Path,
) -> None:
    """Five crops of each of four training images, as training draws them."""
    transform = train_transform(TrainConfig().crop_size, ignore_index, augment)
    torch.manual_seed(0)
    readable = {(one.name, one.split) for one in found[:4]}
    crops = []
    for entry in (entry for entry in entries if (entry.name, entry.split) in readable):
        values, mask = entry.load()
        image = tv_tensors.Image(normalize(values))
        for _ in range(5):
            crop, its_mask = transform(image, tv_tensors.Mask(torch.from_numpy(mask)))
            crops.append((crop.numpy().transpose(1, 2, 0), its_mask.numpy(), entry.name))
    _draw(crops, ignore_index, 5, path)


def _draw(triples, ignore_index: int | None, columns: int, path: Path) -> None:
    images, masks, names = zip(*triples, strict=True)
    visible = [a if a.ndim == 2 or a.shape[2] in (1, 3) else a[..., 0] for a in images]
    masks = [np.where(mask == np.array(ignore_index), 0, mask) for mask in masks]
    titles = [showable(name if len(name) < 24 else f"{name[:20]}...") for name in names]
    axes = show_images(visible, titles, masks=masks, columns=columns)
    figure = axes[0].figure
    figure.set_size_inches(2.5 * figure.get_size_inches())  # large enough to see if outlines fit
    save_figure(figure, path)


def inspect(
    entries: list[Entry],
    problems: list[str],
    out: Path,
    *,
    num_classes: int,
    ignore_index: int | None,
    as_stored: bool,
    augment: tuple[str, ...] | None,
) -> None:
    """Print what there is and what to look at, and draw it. Raises ValueError for mistakes.

    The crops are drawn with these changes; None draws none.
    """
    found = examine(entries, num_classes, ignore_index, problems)
    for line in describe_splits(found, num_classes, as_stored=as_stored):
        print(line)
    if found:
        for hint in hints(found, num_classes, ignore_index, as_stored=as_stored):
            print(f"- {hint}")
        draw_preview(entries, found, ignore_index, out / "preview.png")
        print(f"preview: {out / 'preview.png'}")
        if augment is not None:
            draw_augmented(entries, found, ignore_index, augment, out / "augmented.png")
            print(f"as training sees them: {out / 'augmented.png'}")
    if len(problems) == 1:
        raise ValueError(problems[0])
    if problems:
        print("\n".join(["training would refuse:", *group_problems(problems)]))
        raise ValueError(f"training would refuse these data: {len(problems)} mistakes, see above")
