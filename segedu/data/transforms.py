"""From pictures and label images to tensors: normalisation, targets, and random training crops.

Every data set and every prediction goes through `normalize`, so that a network always sees the
same scale.
"""

import functools
import itertools
from collections.abc import Collection

import numpy as np
import torch
import torch.nn.functional as F
from skimage.measure import label
from skimage.segmentation import find_boundaries, watershed
from torchvision import tv_tensors
from torchvision.transforms import v2

from ..checks import check_choice, check_integer, describe

TARGETS = ("binary", "three_class", "instances")
THREE_CLASSES = ("background", "interior", "boundary")
AUGMENTATIONS = ("mirror", "flips", "scale", "elastic", "light", "noise")
PERCENTILES = (1.0, 99.9)  # of the pixel values, which become 0 and 1


def normalize(image: np.ndarray, percentiles: tuple[float, float] = PERCENTILES) -> torch.Tensor:
    """Scale a picture by two percentiles of its own values.

    Microscopes differ in exposure by orders of magnitude, so each image sets its own scale: by
    default the 1st percentile becomes 0 and the 99.9th becomes 1. The three channels of a colour
    picture share a scale; two, or more than three, are separate stains with a scale each. The map
    is linear and nothing is clipped, so a few pixels lie outside 0 to 1. A constant image becomes
    zeros.

    Parameters
    ----------
    image : (H, W) or (H, W, C) array of integers or floats, with C of at most 16.
    percentiles : the two percentiles that become 0 and 1. Give a network the ones that it was
        trained with.

    Returns a (C, H, W) float32 tensor. Raises ValueError for another shape or dtype, an empty
    image, one that holds NaN or infinity, or percentiles that are not 0 <= low < high <= 100.

    >>> image = np.array([[10, 20], [30, 30]], dtype=np.uint16)
    >>> normalize(image).round(decimals=2)
    tensor([[[-0.0200,  0.4900],
             [ 1.0000,  1.0000]]])
    >>> normalize(image, (0, 100))
    tensor([[[0.0000, 0.5000],
             [1.0000, 1.0000]]])
    """
    image = np.asarray(image)
    if image.ndim == 2:
        image = image[..., None]
    is_picture = image.ndim == 3 and image.size > 0 and image.shape[2] <= 16
    if is_picture and image.shape[2] not in (1, 3):  # (C, H, W) is a common mistake
        is_picture = image.shape[2] < min(image.shape[:2])
    if not is_picture or image.dtype.kind not in "uif":
        raise ValueError(
            "image must be integers or floats of shape (H, W) or (H, W, C) with C up to 16, not "
            f"empty, got {describe(image)}; put the channels last"
        )
    if not (len(percentiles) == 2 and 0 <= percentiles[0] < percentiles[1] <= 100):
        raise ValueError(
            f"percentiles must be two numbers, 0 <= low < high <= 100, got {percentiles}"
        )

    each = {"axis": None if image.shape[2] in (1, 3) else (0, 1), "keepdims": True}
    image = image.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        low, high = np.percentile(image, percentiles, **each)
        flat = high == low  # nearly all pixels have the same value: scale by the extremes
        low, high = np.where(flat, image.min(**each), low), np.where(flat, image.max(**each), high)
        scaled = ((image - low) / np.where(high > low, high - low, 1)).astype(np.float32)
    if not np.isfinite(scaled).all():
        raise ValueError("image holds NaN, infinite or extremely large values; replace them first")
    return torch.from_numpy(np.ascontiguousarray(scaled.transpose(2, 0, 1)))


def instances_to_target(instances: np.ndarray, kind: str) -> torch.Tensor:
    """Turn a label image (0 background, then 1, 2, ... for the objects) into a training target.

    "binary" is 0 background, 1 object. "three_class" is 0 background, 1 interior, 2 boundary: the
    boundary is every pixel of an object that has one of its four neighbours outside that object.
    Touching objects are then separated by two pixels of boundary, so each of them is a connected
    component of the interior. "instances" keeps the numbers.

    Returns an (H, W) int64 tensor. Raises ValueError for an unknown kind, or instances that are not
    an (H, W) array of non-negative integers.

    >>> touching = np.repeat([[1, 1, 1, 2, 2, 2]], 3, axis=0)
    >>> instances_to_target(touching, "three_class")[1]
    tensor([1, 1, 2, 2, 1, 1])
    """
    instances = np.asarray(instances)
    check_choice("kind", kind, TARGETS)
    is_whole = instances.ndim == 2 and instances.size > 0 and instances.dtype.kind in "ui"
    if not is_whole or instances.min() < 0:
        raise ValueError(
            f"got instances of shape {instances.shape} and dtype {instances.dtype}, expected an "
            "(H, W) label image: 0 for the background and 1, 2, ... for the objects"
        )
    if kind == "instances":
        return torch.from_numpy(instances.astype(np.int64))
    target = (instances > 0).astype(np.int64)
    if kind == "three_class":
        target += find_boundaries(instances, connectivity=1, mode="inner")
    return torch.from_numpy(target)


def three_class_to_instances(mask: np.ndarray) -> np.ndarray:
    """Turn a three-class mask (0 background, 1 interior, 2 boundary) back into a label image.

    Each connected component of the interior is an object and grows back over its boundary. A piece
    of boundary without an interior is an object of its own, so small isolated objects survive. An
    object less than three pixels wide that touches another one becomes part of it.

    Returns an (H, W) int32 array, 0 for the background and 1, 2, ... for the objects. Raises
    ValueError if the mask is not two-dimensional or holds values other than 0, 1, 2.

    >>> three_class_to_instances(np.array([[2, 1, 2, 2, 1, 2, 0, 2]]))
    array([[1, 1, 1, 2, 2, 2, 0, 3]], dtype=int32)
    """
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.size == 0 or not np.isin(mask, (0, 1, 2)).all():
        raise ValueError(
            f"got a mask of shape {mask.shape} with values {np.unique(mask)[:10]}, "
            "expected (H, W) with 0 background, 1 interior, 2 boundary"
        )
    interior = label(mask == 1, connectivity=1)
    # On a flat surface the watershed floods at equal speed from every interior.
    instances = watershed(np.zeros(mask.shape), interior, connectivity=2, mask=mask > 0)
    rest = label((mask > 0) & (instances == 0))
    return np.where(rest > 0, rest + instances.max(initial=0), instances).astype(np.int32)


def train_transform(
    crop_size: int,
    ignore_index: int | None = None,
    augment: Collection[str] = ("flips", "light"),
) -> v2.Compose:
    """Random square crop, and chosen random changes, jointly for `(image, mask)`.

    An image smaller than the crop is padded with zeros. Masks keep their values: where pixels move
    by fractions, they take the nearest. All randomness is torch's: `torch.manual_seed` makes it
    repeatable.

    Parameters
    ----------
    crop_size : side of the crop in pixels, at least 1.
    ignore_index : what the mask is padded with; by default 0, the background.
    augment : any of "mirror" (left and right), "flips" (all eight poses of flips and quarter
        turns), "scale" (0.7 to 1.4 times as large), "elastic" (smooth displacements of a few
        pixels, as for the first U-Net, Ronneberger et al. 2015), "light" (`jitter_light`) and
        "noise" (Gaussian, with a random standard deviation of up to 0.05).

    Raises ValueError for another name.

    >>> image = tv_tensors.Image(torch.rand(1, 100, 300))
    >>> mask = tv_tensors.Mask((image[0] > 0.5).long())
    >>> image, mask = train_transform(128, augment=["scale", "light"])(image, mask)
    >>> image.shape, mask.shape
    (torch.Size([1, 128, 128]), torch.Size([128, 128]))
    """
    check_integer("crop_size", crop_size, 1)
    for name in augment:
        check_choice("augment", name, AUGMENTATIONS)
    pad = {"fill": {tv_tensors.Mask: ignore_index or 0, "others": 0}}
    margin = 16 if "elastic" in augment else 0  # five standard deviations of a displacement
    window = crop_size + 2 * margin
    steps = {
        "mirror": [v2.RandomHorizontalFlip()],
        "flips": [
            v2.RandomHorizontalFlip(),
            v2.RandomVerticalFlip(),
            v2.RandomApply([v2.RandomRotation((90, 90))]),
        ],
        "elastic": [functools.partial(_elastic, **pad), v2.CenterCrop(crop_size)],
        "light": [jitter_light],
        "noise": [_add_noise],
    }
    crop = v2.RandomCrop(window, pad_if_needed=True, **pad)
    if "scale" in augment:
        crop = functools.partial(_scaled_crop, size=window, **pad)
    chosen = [steps[name] for name in AUGMENTATIONS if name in augment and name != "scale"]
    return v2.Compose([crop, *itertools.chain(*chosen)])


def _scaled_crop(
    image: tv_tensors.Image, mask: tv_tensors.Mask, *, size: int, fill: dict
) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
    """A square crop of a random size, 0.7 to 1.4 times `size`, brought to `size`."""
    side = round(size * 1.4 ** (2 * torch.rand(()).item() - 1))
    image, mask = v2.RandomCrop(side, pad_if_needed=True, fill=fill)(image, mask)
    # The mask's own way, "nearest", would move it by up to half a pixel.
    resized = F.interpolate(mask[None, None].double(), (size, size), mode="nearest-exact")
    return v2.functional.resize(image, [size, size]), tv_tensors.wrap(
        resized[0, 0].to(mask.dtype), like=mask
    )


def _elastic(
    image: tv_tensors.Image, mask: tv_tensors.Mask, *, fill: dict
) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
    """Move points 32 pixels apart by a Gaussian of 3 pixels, and those between them smoothly."""
    height, width = mask.shape
    moves = 3 * torch.randn(1, 2, height // 32 + 2, width // 32 + 2)
    moves = F.interpolate(moves, (height, width), mode="bicubic")
    moves = moves.movedim(1, 3) * torch.tensor([2 / width, 2 / height])  # the picture is 2 wide
    return v2.functional.elastic(image, moves, fill=0), v2.functional.elastic(
        mask, moves, fill=fill[tv_tensors.Mask]
    )


def _add_noise(
    image: tv_tensors.Image, mask: tv_tensors.Mask
) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
    """Give each pixel Gaussian noise; its standard deviation is random, too."""
    noise = 0.05 * torch.rand(()) * torch.randn(image.shape)
    return tv_tensors.wrap(image + noise, like=image), mask


def jitter_light(
    image: tv_tensors.Image, mask: tv_tensors.Mask
) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
    """Give the image a random gamma, contrast (each 0.7 to 1.4) and brightness (-0.1 to 0.1).

    >>> image, mask = tv_tensors.Image(torch.ones(1, 2, 2)), tv_tensors.Mask(torch.ones(2, 2))
    >>> jittered, same = jitter_light(image, mask)
    >>> bool(0.6 <= jittered.min() <= jittered.max() <= 1.5), same is mask
    (True, True)
    """
    gamma, contrast, brightness = (2 * torch.rand(3) - 1).tolist()
    # Normalised images reach a little below zero, where a power is not defined: keep the sign.
    bent = image.sign() * image.abs() ** 1.4**gamma
    return tv_tensors.wrap(bent * 1.4**contrast + 0.1 * brightness, like=image), mask
