"""From a mask to objects: number them, and measure each."""

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter
from skimage.measure import label, regionprops_table
from skimage.morphology import h_maxima
from skimage.segmentation import watershed

from .checks import check_integer, describe


def label_objects(mask: np.ndarray, *, split: bool = False, min_area: int = 0) -> np.ndarray:
    """Number the objects of a mask: its connected regions, each of one class.

    Parameters
    ----------
    mask : (H, W) integers or booleans, 0 for the background.
    split : cut regions at their waists, where round objects probably touch: by the watershed
        (Vincent and Soille 1991) of the distance to the background, smoothed by one pixel. Two
        parts are separate if it falls by more than half a pixel between their middles.
    min_area : leave out objects of fewer pixels.

    Returns (H, W) int32: 0 for the background and 1, 2, ... for the objects. Raises ValueError for
    another shape or dtype.

    >>> mask = np.array([[1, 1, 0, 1], [0, 0, 0, 1]])
    >>> label_objects(mask)
    array([[1, 1, 0, 2],
           [0, 0, 0, 2]], dtype=int32)
    """
    mask = np.asarray(mask)
    check_integer("min_area", min_area, 0)
    if mask.ndim != 2 or mask.dtype.kind not in "bui":
        raise ValueError(f"mask must be integers or booleans (H, W), got {describe(mask)}")
    objects = label(mask, connectivity=1).astype(np.int32)
    if split and objects.any():
        distance = gaussian_filter(distance_transform_edt(mask > 0), 1)
        parts = watershed(-distance, label(h_maxima(distance, 0.5)), mask=mask > 0)
        # A part that spans two regions, which differ in their class, is one object in each.
        pairs = objects * (parts.max() + 1) + parts
        objects = np.unique(pairs, return_inverse=True)[1].reshape(mask.shape) + 1
        objects[mask == 0] = 0
    return drop_small_objects(objects, min_area)


def drop_small_objects(objects: np.ndarray, min_area: int) -> np.ndarray:
    """The objects (H, W) of at least `min_area` pixels, numbered anew without gaps, int32.

    >>> drop_small_objects(np.array([[1, 0, 2, 2]]), 2)
    array([[0, 0, 1, 1]], dtype=int32)
    """
    kept = np.bincount(objects.ravel()) >= max(min_area, 1)
    kept[0] = False
    return (np.cumsum(kept) * kept)[objects].astype(np.int32)


def measure_objects(
    objects: np.ndarray, image: np.ndarray, classes: np.ndarray | None = None
) -> list[dict]:
    """A row for each object: its number, area, position, and mean values in the image.

    Parameters
    ----------
    objects : (H, W) integers as `label_objects` gives them.
    image : (H, W) or (H, W, C) of the same size.
    classes : (H, W) class indices of the same size, if the rows should say the class.

    Returns rows of `measurements`: `object`, `class` (if asked for), `area` (pixels), `row` and
    `column` (of the centre of mass, the first pixel is 0), and `mean_value`, or of several channels
    `mean_value_1`, `mean_value_2`, ... Raises ValueError for sizes that differ.

    >>> measure_objects(np.array([[1, 1, 0]]), np.array([[10, 30, 7]]))
    [{'object': 1, 'area': 2, 'row': 0.0, 'column': 0.5, 'mean_value': 20.0}]
    """
    if objects.shape != image.shape[:2]:
        raise ValueError(f"objects {objects.shape} and image {image.shape} differ in their size")
    channels = np.atleast_3d(image)
    names = measurements(channels.shape[2], classes=classes is not None)
    if classes is not None:
        channels = np.concatenate([classes[..., None], channels], axis=2)
    table = regionprops_table(
        objects, channels, properties=("label", "area", "centroid", "intensity_mean")
    )
    number, area, row, column, *means = (values.tolist() for values in table.values())
    kinds = [list(map(int, means.pop(0)))] if classes is not None else []
    cells = zip(number, *kinds, map(int, area), row, column, *means, strict=True)
    return [dict(zip(names, values, strict=True)) for values in cells]


def measurements(channels: int, *, classes: bool = False) -> list[str]:
    """What `measure_objects` says of each object in an image of so many channels.

    >>> measurements(2, classes=True)
    ['object', 'class', 'area', 'row', 'column', 'mean_value_1', 'mean_value_2']
    """
    means = [f"mean_value_{k}" for k in range(1, channels + 1)] if channels > 1 else ["mean_value"]
    return ["object", *["class"] * classes, "area", "row", "column", *means]
