"""What can be wrong with images and masks although every file is sound.

Images that look the same, masks that lie beside their images or are mirrored, the sizes of the
objects, and saturated images. `segedu info` says what these find. All of it is a hint, to be looked
at: the numbers in the docstrings say how often it was right on synthetic and real nuclei.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.ndimage import find_objects, gaussian_filter
from skimage.measure import label

from .checks import check_number, describe

THUMBNAIL = 64  # side of a fingerprint
ALIKE = 0.95  # correlation of the fingerprints of two images that look the same
REACH = 8  # pixels by which a mask is moved at most to see if it fits better
EDGE_PIXELS = 1000  # of a mask that are looked at
FEWEST = 6  # images that are needed for a judgement
CLEAR = 3.0  # standard errors that a gain has to be above zero
FITTING = 0.5  # standard deviations that the edges have below a mask that fits
GAIN = 0.04  # of the edge's strength that another place of the mask has to gain
# The eight ways in which a square can lie.
POSES = {
    "as it is": lambda a: a,
    "mirrored left to right": lambda a: a[:, ::-1],
    "mirrored top to bottom": lambda a: a[::-1],
    "turned by 180 degrees": lambda a: a[::-1, ::-1],
    "turned left by 90 degrees": lambda a: np.rot90(a, 1),
    "turned right by 90 degrees": lambda a: np.rot90(a, 3),
    "with rows and columns exchanged": lambda a: a.T,
    "with rows and columns exchanged, from the other end": lambda a: a[::-1, ::-1].T,
}


# --- images that look the same ---


def fingerprint(image: np.ndarray) -> np.ndarray:
    """What an image looks like in small: its details, without its brightness and its light.

    The image is averaged to 64 x 64, a blurred copy is subtracted, and the result has mean 0 and
    length 1, so that the product of two fingerprints is their correlation. That of a constant image
    is 0.

    Parameters
    ----------
    image : (H, W) or (H, W, C) numbers.

    Returns (4096,) float32.

    >>> image = np.random.default_rng(0).random((100, 120))
    >>> bool(fingerprint(image) @ fingerprint(2 * image + 3) > 0.999)
    True
    """
    small = Image.fromarray(_grey(image)).resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    details = np.asarray(small) - gaussian_filter(np.asarray(small), 4)
    details -= details.mean()
    length = np.linalg.norm(details)
    return (details / length if length > 1e-6 else np.zeros_like(details)).ravel()


def near_duplicates(
    fingerprints: list[np.ndarray], least: float = ALIKE
) -> list[tuple[int, int, str]]:
    """The pairs of images that look the same, also if one of them was mirrored or turned.

    Copies of 120 synthetic and real nuclei fields that were recompressed, halved in size, made
    noisy, or a fifth brighter had correlations above 0.95. Parts that overlap are not found. Of
    500,000 pairs of different fields, and of crops around different nuclei, none reached 0.95.

    Parameters
    ----------
    fingerprints : of all images.
    least : correlation from which on two images look the same.

    Returns (first, second, how the second has to be turned to look like the first), with indices
    into `fingerprints`.

    >>> image = np.random.default_rng(0).random((3, 64, 64))
    >>> near_duplicates([fingerprint(a) for a in (*image, image[1, :, ::-1])])
    [(1, 3, 'mirrored left to right')]
    """
    check_number("least", least, 0, 1)
    if len(fingerprints) < 2:
        return []
    prints, found = np.stack(fingerprints), {}
    for pose, turn in POSES.items():
        turned = np.stack([turn(p.reshape(THUMBNAIL, -1)).ravel() for p in prints])
        for start in range(0, len(prints), 1000):  # so many at a time, for the sake of memory
            alike = prints[start : start + 1000] @ turned.T >= least
            for first, second in np.argwhere(alike).tolist():
                if first + start < second:
                    found.setdefault((first + start, second), pose)
    return [(*pair, pose) for pair, pose in sorted(found.items())]


# --- masks that do not lie on their images ---


class EdgeFit(NamedTuple):
    """How strong the edges of an image are below the edges of its mask, in standard deviations."""

    moved: np.ndarray  # (17, 17), for the mask moved by (row - 8, column - 8) pixels
    poses: dict[str, float]  # for the mask mirrored or turned


def edge_fit(image: np.ndarray, mask: np.ndarray) -> EdgeFit | None:
    """How well the edges of a mask lie on those of its image, also if it is moved or turned.

    The edges of the image are its gradient after a blur of three pixels: with less, masks that are
    drawn too large would seem to be moved.

    Parameters
    ----------
    image : (H, W) or (H, W, C) numbers.
    mask : (H, W) integers; every border between two values is an edge.

    Returns None if the image is constant, or too small to move its mask, or the mask has hardly an
    edge.
    """
    if min(mask.shape) <= 2 * REACH:
        return None
    smooth = gaussian_filter(_grey(image), 3, truncate=2.5)
    down, right = np.gradient(smooth)
    strength = np.hypot(down, right)
    if strength.std() == 0:
        return None
    strength = (strength - strength.mean()) / strength.std()
    edges = _edge_pixels(mask)
    if len(edges) < 20:
        return None
    steps = np.arange(-REACH, REACH + 1)
    flat = edges @ (mask.shape[1], 1)
    offsets = steps[:, None] * mask.shape[1] + steps
    moved = strength.ravel()[flat[:, None, None] + offsets].mean(axis=0)
    places = np.zeros(mask.shape, bool)
    places[tuple(edges.T)] = True
    poses = {
        pose: float(strength[turn(places)].mean())
        for pose, turn in POSES.items()
        if turn(places).shape == mask.shape
    }
    return EdgeFit(moved, poses)


def _edge_pixels(mask: np.ndarray) -> np.ndarray:
    """(n, 2) rows and columns of pixels on a border, those too near to the image's border aside."""
    inside = np.zeros(mask.shape, bool)
    inside[REACH:-REACH, REACH:-REACH] = True
    changes = np.zeros(mask.shape, bool)
    for now, moved in ((changes, mask), (changes.T, mask.T)):  # the pixels on both sides of it
        differ = moved[1:] != moved[:-1]
        now[1:] |= differ
        now[:-1] |= differ
    edges = np.argwhere(changes & inside)
    return edges[np.linspace(0, len(edges) - 1, min(len(edges), EDGE_PIXELS)).astype(int)]


def common_shift(fits: list[EdgeFit]) -> tuple[int, int] | None:
    """By how many (rows, columns) all masks have to be moved to lie on their images.

    None if they lie well, if the gain is not clear, for fewer than six images, and for one pixel,
    which may be a program's way to draw. In draws of 20 nuclei images, synthetic and real, moves of
    2, 3 and 5 pixels were found in more than 90 %, also with masks drawn two pixels too large or
    too small. Of 8,000 draws of 10 whose masks lay well, none raised an alarm.

    >>> image = np.random.default_rng(0).random((6, 8, 8)).repeat(9, 1).repeat(9, 2)
    >>> masks = np.roll(image > 0.5, 3, axis=1)
    >>> common_shift([edge_fit(a, m) for a, m in zip(image, masks)])
    (-3, 0)
    """
    if len(fits) < FEWEST:
        return None
    maps = np.stack([fit.moved for fit in fits])
    best = np.unravel_index(maps.mean(axis=0).argmax(), maps.shape[1:])
    row, column = (int(place) - REACH for place in best)
    as_it_is = maps[:, REACH, REACH]
    if max(abs(row), abs(column)) < 2 or not _is_clear(as_it_is, maps[:, *best]):
        return None
    return row, column


def common_pose(fits: list[EdgeFit]) -> str | None:
    """How all masks have to be mirrored or turned to lie on their images, if that is clear."""
    known = [pose for pose in POSES if all(pose in fit.poses for fit in fits)]
    if len(fits) < FEWEST:
        return None
    table = np.array([[fit.poses[pose] for pose in known] for fit in fits])
    best = table.mean(axis=0).argmax()
    return known[best] if best and _is_clear(table[:, 0], table[:, best]) else None


def _is_clear(before: np.ndarray, after: np.ndarray) -> bool:
    """If the masks, one number each, fit better after than before, and well."""
    gains = after - before
    error = gains.std(ddof=1) / len(gains) ** 0.5
    return after.mean() > FITTING and gains.mean() > max(CLEAR * error, GAIN * abs(before.mean()))


# --- objects and light ---


def object_diameters(mask: np.ndarray) -> dict[int, np.ndarray]:
    """How large the connected regions of each class are: the diameters of circles of their areas.

    Regions that fill less than a quarter of their bounding box are left out: a network of vessels
    or of membranes is no object.

    Parameters
    ----------
    mask : (H, W) integers, 0 for the background.

    Returns a dictionary from the classes above 0 to diameters in pixels.

    >>> mask = np.zeros((20, 20), int)
    >>> mask[2:8, 2:8], mask[12:14, 3:17] = 1, 2
    >>> {value: diameters.round(1).tolist() for value, diameters in object_diameters(mask).items()}
    {1: [6.8], 2: [6.0]}
    """
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.dtype.kind not in "ui":
        raise ValueError(f"mask must be integers (H, W), got {describe(mask)}")
    regions = label(mask, background=0, connectivity=2)  # a thin diagonal line is one
    areas = np.bincount(regions.ravel())[1:]
    classes = np.zeros(len(areas) + 1, np.int64)
    classes[regions] = mask
    boxes = [
        (rows.stop - rows.start) * (columns.stop - columns.start)
        for rows, columns in find_objects(regions)
    ]
    is_object = areas >= np.array(boxes) / 4
    diameters = 2 * np.sqrt(areas / np.pi)
    return {
        int(value): diameters[is_object & (classes[1:] == value)]
        for value in np.unique(classes[1:][is_object])
    }


def saturated_share(image: np.ndarray) -> float:
    """The share of pixels that have the largest value, if that is where the camera's range ended.

    It is 0 if the largest value is not much more frequent than the next one, as in an image that is
    not cut off, and for a constant image.

    >>> light = np.random.default_rng(0).normal(100, 20, (64, 64))
    >>> saturated_share(light.astype(np.uint8)), round(saturated_share(light.clip(0, 120)), 2)
    (0.0, 0.16)
    """
    values, counts = np.unique(np.asarray(image)[::2, ::2], return_counts=True)
    is_cut = len(values) > 2 and counts[-1] > 3 * counts[-2]
    return float(counts[-1] / counts.sum()) if is_cut else 0.0


def _grey(image: np.ndarray) -> np.ndarray:
    image = np.asarray(image, np.float32)
    return image.mean(axis=2) if image.ndim == 3 else image
