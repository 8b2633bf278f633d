"""Synthetic fluorescence nuclei: any number of images, offline, with an exact ground truth.

A model of the microscope, calibrated on the 256x256 fluorescence images of BBBC038v1 (the 2018
Data Science Bowl): `study/calibration.py` measures both and compares them. Simulations of this kind
go back to Lehmussola et al., "Computational framework for simulating fluorescence microscope images
with cell populations", IEEE Transactions on Medical Imaging 26(7), 2007.
"""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
from scipy.ndimage import gaussian_filter
from torch.utils.data import Dataset
from torchvision import tv_tensors

from ..checks import check_choice, check_integer, check_number
from .transforms import TARGETS, instances_to_target, normalize

MARGIN = 32  # px around the picture that also hold nuclei, so that its edge cuts some of them
SMALLEST = 32  # px
TRIES = 12  # places that are tried for a nucleus before it is left out

# The real images are of three kinds: small bright nuclei on a grey background, sparse elongated
# ones on a dark background, and large blurred ones in crowds. Lengths are in pixels, light in grey
# levels, numbers per 256x256 pixels; a spread is the standard deviation of the logarithm.
LOOKS = {
    "share": (0.46, 0.26, 0.28),  # of all images
    "number": (21, 12, 36),  # of nuclei: median over images
    "number_spread": (0.8, 0.7, 0.55),
    "clusters": (5, 14, 5),  # mean number
    "touching": (0.13, 0.05, 0.1),  # probability that a nucleus is placed against another one
    "diameter": (11.5, 13.0, 16.8),  # median over images
    "diameter_spread": (0.22, 0.05, 0.13),
    "elongation": (0.28, 0.45, 0.22),  # median of long axis / short axis - 1
    "contrast": (80, 52, 40),  # brightness of a nucleus above the background, median over images
    "brightness_spread": (0.33, 0.20, 0.22),  # between the nuclei of an image
    "texture": (0.26, 0.20, 0.55),  # coefficient of variation inside a nucleus, before the blur
    "blur": (0.95, 1.15, 2.1),  # standard deviation of the point spread function
    "halo": (0.4, 0.32, 0.7),  # scattered light, as a fraction of the nucleus's own
    "background": (13, 4, 3),
    "noise": (0.55, 0.23, 0.07),  # variance of the camera's noise in the dark
    "offset": (0.2, 0.4, 1.35),  # how far outside the edge of a nucleus an annotator draws it
}


def synthetic_nuclei(
    index: int,
    *,
    seed: int = 0,
    size: int | tuple[int, int] = 256,
    difficulty: float = 0.5,
    density: float = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one picture of nuclei and its ground truth: a pure function of its arguments.

    Nuclei lie in clusters, may touch and never overlap. Each is an ellipse with a wavy outline and
    a brightness of its own; a few are two to four times brighter than the rest. The optics blur the
    light and scatter a halo, the camera adds noise of variance `dark + 0.03 * light` and rounds.
    The truth extends a little beyond the edge, as human annotations do. Some pictures are hard:
    faint, with out-of-focus haze and with debris that is not nuclei.

    Parameters
    ----------
    index, seed : non-negative integers. The seed chooses a series of pictures, the index one of
        them.
    size : side in pixels, or (height, width), at least 32. The size of the nuclei and their number
        per area do not depend on it: a small picture is like a crop of a large one, and at 64 one
        in six is empty.
    difficulty : 0 to 1; 0.5 is like the real images. Contrast is `4 ** (0.5 - difficulty)` times
        the real one; noise and uneven background grow with it, and `0.4 * difficulty ** 2` of the
        pictures are hard. The nuclei of an index stay where they are.
    density : number of nuclei per area, as a multiple of the real one, 0 or more. It sets the class
        imbalance: the mean foreground is 8 % at 1 and about in proportion below; above, the nuclei
        run out of room. More density adds nuclei to the same picture.

    Returns
    -------
    image : (H, W) uint8 grey levels.
    instances : (H, W) int32; 0 background, then 1, 2, ... without gaps, one number per nucleus.

    Raises ValueError for an argument outside these ranges.

    >>> image, instances = synthetic_nuclei(3, size=128)
    >>> image.shape, image.dtype, instances.dtype
    ((128, 128), dtype('uint8'), dtype('int32'))
    >>> again, _ = synthetic_nuclei(3, size=128)
    >>> bool((image == again).all())
    True
    """
    height, width = _check_options(index, seed, size, difficulty, density)
    # Separate streams, so that changing one option leaves the random numbers of the others alone.
    scene, optics, clutter = np.random.default_rng([seed, index]).spawn(3)
    kind = scene.choice(3, p=LOOKS["share"])
    look = SimpleNamespace(**{name: values[kind] for name, values in LOOKS.items()})
    canvas = (height + 2 * MARGIN, width + 2 * MARGIN)
    light, instances = _place_nuclei(scene, look, canvas, density)
    grey = _photograph(optics, clutter, look, light, difficulty)
    inside = np.s_[MARGIN:-MARGIN, MARGIN:-MARGIN]
    seen = np.bincount(instances[inside].ravel(), minlength=instances.max() + 1) > 0
    seen[0] = False
    return grey[inside].copy(), (np.cumsum(seen) * seen)[instances[inside]].astype(np.int32)


class SyntheticNuclei(Dataset):
    """Synthetic nuclei as a data set of `(image, mask)`: picture `i` is `synthetic_nuclei(i)`.

    Parameters
    ----------
    length : number of pictures. Data sets with different seeds have no picture in common.
    seed, size, difficulty, density : as for `synthetic_nuclei`.
    target : "binary", "three_class" or "instances", see `instances_to_target`.
    transform : joint transform of `(image, mask)`, such as `train_transform(128)`.

    Yields
    ------
    image : (1, H, W) float32 `tv_tensors.Image`, each normalised by itself.
    mask : (H, W) int64 `tv_tensors.Mask`.

    Raises ValueError for a negative length, an unknown target, or options that `synthetic_nuclei`
    refuses.

    >>> image, mask = SyntheticNuclei(10, size=64)[9]
    >>> image.shape, mask.shape, mask.dtype
    (torch.Size([1, 64, 64]), torch.Size([64, 64]), torch.int64)
    """

    def __init__(
        self,
        length: int,
        *,
        seed: int = 0,
        size: int | tuple[int, int] = 256,
        difficulty: float = 0.5,
        density: float = 1.0,
        target: str = "binary",
        transform: Callable | None = None,
    ) -> None:
        check_integer("length", length, 0)
        check_choice("target", target, TARGETS)
        _check_options(0, seed, size, difficulty, density)
        self.length, self.target, self.transform = length, target, transform
        self.options = {"seed": seed, "size": size, "difficulty": difficulty, "density": density}

    def __len__(self) -> int:
        return self.length

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value}" for name, value in self.options.items())
        return f"SyntheticNuclei({self.length} images, {options}, target={self.target!r})"

    def __getitem__(self, index: int) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        if not 0 <= check_integer("index", index) < self.length:
            raise IndexError(f"got the index {index}, expected 0 to {self.length - 1}")
        grey, instances = synthetic_nuclei(index, **self.options)
        image = tv_tensors.Image(normalize(grey))
        mask = tv_tensors.Mask(instances_to_target(instances, self.target))
        return (image, mask) if self.transform is None else self.transform(image, mask)


def _check_options(
    index: int, seed: int, size: int | tuple[int, int], difficulty: float, density: float
) -> tuple[int, int]:
    """Refuse what `synthetic_nuclei` does not accept; return (height, width)."""
    check_integer("index", index, 0)
    check_integer("seed", seed, 0)
    check_number("difficulty", difficulty, 0, 1)
    check_number("density", density, 0)
    height, width = size if isinstance(size, tuple | list) and len(size) == 2 else (size, size)
    return check_integer("size", height, SMALLEST), check_integer("size", width, SMALLEST)


def _place_nuclei(
    rng: np.random.Generator, look: SimpleNamespace, shape: tuple[int, int], density: float
) -> tuple[np.ndarray, np.ndarray]:
    """Place nuclei on the canvas one by one: their light (float32) and their labels (int32)."""
    light, instances = np.zeros(shape, np.float32), np.zeros(shape, np.int32)
    area = shape[0] * shape[1] / 256**2
    number = look.number * rng.lognormal(0, look.number_spread)
    diameter = look.diameter * rng.lognormal(0, look.diameter_spread)
    spread = look.brightness_spread * rng.lognormal(0, 0.3)
    offset = look.offset * rng.lognormal(0, 0.3)
    clusters = rng.uniform((0, 0), shape, (1 + rng.poisson(look.clusters * area), 2))
    placed = []  # (centre, radius) of the nuclei so far
    for _ in range(int(density * number * area + rng.random())):
        radius = 0.5 * diameter * rng.lognormal(0, 0.22)
        brightness = rng.lognormal(0, spread)
        if rng.random() < 0.04:  # dividing or dead
            radius, brightness = radius * rng.uniform(0.4, 0.8), brightness * rng.uniform(2, 4)
        body, truth = _nucleus(rng, radius, look.elongation, offset)
        if placed and rng.random() < look.touching:
            # Walk away from a neighbour's centre until the two just touch.
            neighbour, its_radius = placed[rng.integers(len(placed))]
            angle = rng.uniform(0, 2 * np.pi)
            way = np.array([np.sin(angle), np.cos(angle)])
            steps = 0.6 * (radius + its_radius) + np.arange(TRIES)
            centres = neighbour + steps[:, None] * way
        else:
            centre = clusters[rng.integers(len(clusters))]
            centres = centre + rng.normal(0, 28 * rng.lognormal(0, 0.5), (TRIES, 2))
        reach = truth.shape[0] // 2
        # The canvas wraps around, which keeps the density even.
        for y, x in np.rint(centres).astype(int) % shape:
            if not (reach <= y < shape[0] - reach and reach <= x < shape[1] - reach):
                break  # in the margin, outside the picture
            window = np.s_[y - reach : y + reach + 1, x - reach : x + reach + 1]
            if not instances[window][truth].any():
                placed.append(((y, x), radius))
                instances[window][truth] = len(placed)
                light[window] += brightness * body
                break
    return light, instances


def _nucleus(
    rng: np.random.Generator, radius: float, elongation: float, offset: float
) -> tuple[np.ndarray, np.ndarray]:
    """One nucleus on its own small square: its light 0..1 with a soft edge, and its truth (bool).

    An ellipse of the same area as a circle of this radius, with a wavy outline: in polar
    coordinates its radius is multiplied by a Fourier series of orders 2 to 4.
    """
    aspect = 1 + elongation * rng.lognormal(0, 0.7)
    long, short = radius * np.sqrt(aspect), radius / np.sqrt(aspect)
    reach = int(1.25 * long + offset) + 2
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1] + rng.uniform(-0.5, 0.5, (2, 1, 1))
    distance, angle = np.hypot(y, x), np.arctan2(y, x) - rng.uniform(0, np.pi)
    edge = long * short / np.hypot(short * np.cos(angle), long * np.sin(angle))
    for order in (2, 3, 4):
        amplitude, phase = rng.normal(0, 0.04), rng.uniform(0, 2 * np.pi)
        edge *= 1 + amplitude * np.cos(order * angle + phase)
    outside = distance - edge
    return np.clip(0.5 - outside, 0, 1).astype(np.float32), outside < offset


def _photograph(
    optics: np.random.Generator,
    clutter: np.random.Generator,
    look: SimpleNamespace,
    light: np.ndarray,
    difficulty: float,
) -> np.ndarray:
    """The camera's picture of the light: (H, W) uint8."""
    shape = light.shape
    contrast = look.contrast * optics.lognormal(0, 0.3) * 4 ** (0.5 - difficulty)
    blur = look.blur * optics.lognormal(0, 0.2)
    halo = look.halo * optics.lognormal(0, 0.3)
    background = look.background * optics.lognormal(0, 0.12)
    slope_y, slope_x = 4 * difficulty * optics.standard_normal(2) * shape / np.array(256)
    grain = gaussian_filter(optics.standard_normal(shape, np.float32), 1)
    texture = look.texture * optics.lognormal(0, 0.3) / grain.std()
    grey = gaussian_filter(light * np.maximum(1 + texture * grain, 0.2), blur)
    grey += halo * gaussian_filter(light, 6, truncate=3)
    noise = optics.standard_normal(shape, np.float32)

    if clutter.random() < 0.4 * difficulty**2:  # a hard picture
        contrast *= 0.5
        area = shape[0] * shape[1] / 256**2
        grey += _blobs(clutter, shape, 6 * area, (5, 12), (0.1, 0.6))  # nuclei out of focus
        grey += _blobs(clutter, shape, 8 * area, (0.7, 1.5), (0.5, 2))  # debris
        grey += _blobs(clutter, shape, 0.5, (50, 90), (0.2, 1.5))  # glare

    grey *= contrast
    noise *= 2 * difficulty * np.sqrt(look.noise + 0.03 * grey)  # of the camera and the photons
    grey += background
    grey += slope_y * np.linspace(-0.5, 0.5, shape[0], dtype=np.float32)[:, None]
    grey += slope_x * np.linspace(-0.5, 0.5, shape[1], dtype=np.float32)
    grey += noise
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)


def _blobs(
    rng: np.random.Generator,
    shape: tuple[int, int],
    number: float,
    widths: tuple[float, float],
    heights: tuple[float, float],
) -> np.ndarray:
    """Gaussian spots at random places: light that belongs to no nucleus."""
    spots = np.zeros(shape, np.float32)
    for _ in range(rng.poisson(number)):
        width = rng.uniform(*widths)
        y, x = (
            np.exp(-((np.arange(n, dtype=np.float32) - rng.uniform(0, n)) ** 2) / (2 * width**2))
            for n in shape
        )
        spots += rng.uniform(*heights) * np.outer(y, x)
    return spots
