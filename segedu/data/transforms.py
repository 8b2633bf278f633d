"""From pictures and label images to tensors: normalisation, targets, and random training crops.

Every data set and every prediction goes through `normalize`, so a network meets one scale.
"""

import numpy as np
import torch
from skimage.measure import label
from skimage.segmentation import find_boundaries, watershed
from torchvision import tv_tensors
from torchvision.transforms import v2

from ..checks import check_array, check_choice, check_integer, check_tensor

TARGETS = ("binary", "three_class", "instances")


def normalize(image: np.ndarray) -> torch.Tensor:
    """Scale a picture by its own 1st and 99.9th percentile, taken over all channels together.

    Microscopes differ in exposure by orders of magnitude, so each image sets its own scale: the
    1st percentile becomes 0 and the 99.9th 1. The map is linear and nothing is clipped, so a few
    pixels lie outside 0..1. A constant image becomes zeros.

    Parameters
    ----------
    image : (H, W) or (H, W, C) array of integers or floats, with C = 1 or 3.

    Returns
    -------
    (C, H, W) float32 tensor.

    Raises
    ------
    ValueError
        For another shape or dtype, an empty image, or one that holds NaN or infinity.

    Examples
    --------
    >>> normalize(np.array([[10, 20], [30, 30]], dtype=np.uint16)).round(decimals=2)
    tensor([[[-0.0200,  0.4900],
             [ 1.0000,  1.0000]]])
    """
    image = check_array("image", image)
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3) or image.size == 0:
        raise ValueError(
            f"got an image of shape {image.shape}, expected (H, W), (H, W, 1) or (H, W, 3), "
            "not empty; put the channels last, and drop an alpha channel"
        )
    if image.dtype.kind not in "uif":
        raise ValueError(f"got an image of dtype {image.dtype}, expected integers or floats")

    with np.errstate(over="ignore", invalid="ignore"):
        low, high = (float(value) for value in np.percentile(image, (1, 99.9)))
        if high == low:  # at most one pixel in a hundred differs: scale by the extremes
            low, high = float(image.min()), float(image.max())
        scaled = ((image.astype(np.float64) - low) / (high - low or 1)).astype(np.float32)
    if not np.isfinite(scaled).all():
        raise ValueError("got an image with NaN, infinite or absurdly large values; mend it first")
    return torch.from_numpy(np.ascontiguousarray(scaled.transpose(2, 0, 1)))


def instances_to_target(instances: np.ndarray, kind: str) -> torch.Tensor:
    """Turn a label image (0 background, 1, 2, ... one number an object) into a training target.

    "binary" is 0 background, 1 object. "three_class" is 0 background, 1 interior, 2 boundary: the
    boundary is every pixel of an object that has one of its four neighbours outside that object.
    Touching objects are then two pixels of boundary apart, and the connected components of the
    interior tell them apart. "instances" keeps the numbers.

    Returns
    -------
    (H, W) int64 tensor.

    Raises
    ------
    ValueError
        For an unknown kind, or instances that are not an (H, W) array of integers from 0 on.

    Examples
    --------
    >>> touching = np.repeat([[1, 1, 1, 2, 2, 2]], 3, axis=0)
    >>> instances_to_target(touching, "three_class")[1]
    tensor([1, 1, 2, 2, 1, 1])
    """
    instances = check_array("instances", instances)
    check_choice("kind", kind, TARGETS)
    is_whole = instances.ndim == 2 and instances.size > 0 and instances.dtype.kind in "ui"
    target = instances.astype(np.int64) if is_whole else instances
    if not is_whole or target.min() < 0:
        raise ValueError(
            f"got instances of shape {instances.shape} and dtype {instances.dtype}, "
            "expected an (H, W) label image: 0 for the background and 1, 2, ... for the objects"
        )
    if kind != "instances":
        target = (instances > 0).astype(np.int64)
    if kind == "three_class":
        target += find_boundaries(instances, connectivity=1, mode="inner")
    return torch.from_numpy(target)


def three_class_to_instances(mask: np.ndarray) -> np.ndarray:
    """Turn a three-class mask (0 background, 1 interior, 2 boundary) back into a label image.

    Each connected component of the interior is an object and grows back over its boundary. A piece
    of boundary with no interior is an object of its own, so small isolated objects survive.
    An object under three pixels wide that touches another one becomes part of it.

    Returns
    -------
    (H, W) array of integers, 0 for the background and 1, 2, ... for the objects.

    Raises
    ------
    ValueError
        If the mask is not two-dimensional or holds other values than 0, 1, 2.

    Examples
    --------
    >>> three_class_to_instances(np.array([[2, 1, 2, 2, 1, 2, 0, 2]]))
    array([[1, 1, 1, 2, 2, 2, 0, 3]], dtype=int32)
    """
    mask = check_array("mask", mask)
    if mask.ndim != 2 or not mask.size or not np.isin(mask, (0, 1, 2)).all():
        raise ValueError(
            f"got a mask of shape {mask.shape} with values {np.unique(mask)[:10]}, "
            "expected (H, W) with 0 background, 1 interior, 2 boundary"
        )
    interior = label(mask == 1, connectivity=1)
    # On a flat surface the watershed is a flood at equal speed from every interior.
    instances = watershed(np.zeros(mask.shape), interior, connectivity=2, mask=mask > 0)
    rest = label((mask > 0) & (instances == 0))
    return np.where(rest > 0, rest + instances.max(initial=0), instances).astype(np.int32)


def train_transform(crop_size: int) -> v2.Compose:
    """Random square crop, flip, quarter turn and change of light, jointly for `(image, mask)`.

    Crops, flips and quarter turns need no interpolation, so the mask follows exactly and keeps its
    classes; only the image changes its light. An image smaller than the crop is padded with zeros,
    its mask with background. All randomness is torch's: `torch.manual_seed` makes it repeatable.

    Parameters
    ----------
    crop_size : side of the crop in pixels.

    Raises
    ------
    ValueError
        If the crop size is not an integer from 1 on.

    Examples
    --------
    >>> image = tv_tensors.Image(torch.rand(1, 100, 300))
    >>> mask = tv_tensors.Mask((image[0] > 0.5).long())
    >>> image, mask = train_transform(128)(image, mask)
    >>> image.shape, mask.shape
    (torch.Size([1, 128, 128]), torch.Size([128, 128]))
    """
    check_integer("crop_size", crop_size, 1, 2**13)
    return v2.Compose(
        [
            v2.RandomCrop(crop_size, pad_if_needed=True),
            v2.RandomHorizontalFlip(),
            v2.RandomVerticalFlip(),
            v2.RandomApply([v2.RandomRotation((90, 90))]),  # with the flips: all eight poses
            jitter_light,
        ]
    )


def jitter_light(
    image: tv_tensors.Image, mask: tv_tensors.Mask
) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
    """Give the image a random gamma, contrast (each 0.7 to 1.4) and brightness (-0.1 to 0.1).

    Examples
    --------
    >>> image, mask = tv_tensors.Image(torch.ones(1, 2, 2)), tv_tensors.Mask(torch.ones(2, 2))
    >>> jittered, same = jitter_light(image, mask)
    >>> bool(0.6 <= jittered.min() <= jittered.max() <= 1.5), same is mask
    (True, True)
    """
    check_tensor("image", image, "(...)")
    check_tensor("mask", mask, "(...)", floats=False)
    gamma, contrast, brightness = (2 * torch.rand(3) - 1).tolist()
    # Normalised images reach a little below zero, where a power is not defined: keep the sign.
    bent = image.sign() * image.abs() ** 1.4**gamma
    return tv_tensors.wrap(bent * 1.4**contrast + 0.1 * brightness, like=image), mask
