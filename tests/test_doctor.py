"""Faults that were planted are found, and clean data raise no alarm."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation

from segedu.data import synthetic_nuclei
from segedu.doctor import (
    POSES,
    common_pose,
    common_shift,
    edge_fit,
    fingerprint,
    near_duplicates,
    object_diameters,
    saturated_share,
)

FIELDS = [synthetic_nuclei(index, size=192) for index in range(20)]
IMAGES = [image for image, _ in FIELDS]
MASKS = [(instances > 0).astype(np.int64) for _, instances in FIELDS]


def fits(masks):
    each = [edge_fit(image, mask) for image, mask in zip(IMAGES, masks, strict=True)]
    return [fit for fit in each if fit is not None]


def as_jpeg(image: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=50)
    return np.asarray(Image.open(file))


def test_different_fields_are_no_duplicates():
    options = {"seed": 1, "size": 128, "density": 0.3}  # few nuclei, which look alike
    prints = [fingerprint(synthetic_nuclei(index, **options)[0]) for index in range(100)]
    assert near_duplicates(prints) == []
    prints = [fingerprint(image) for image in IMAGES]
    assert np.corrcoef(prints)[np.triu_indices(len(prints), 1)].max() < 0.5


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image,
        as_jpeg,
        lambda image: (1.2 * image + 10).clip(0, 255),
        lambda image: 255 * (image / 255) ** 0.8,
        lambda image: np.asarray(Image.fromarray(image).resize((96, 96))),
        lambda image: image + np.random.default_rng(0).normal(0, 4, image.shape),
        lambda image: np.stack([image] * 3, axis=-1).astype(np.uint16) * 100,
    ],
    ids=["copy", "JPEG", "brighter", "gamma", "smaller", "noise", "16-bit colour"],
)
def test_an_image_that_was_changed_a_little_is_the_same(change):
    prints = [fingerprint(image) for image in (*IMAGES, change(IMAGES[4]))]
    assert near_duplicates(prints) == [(4, 20, "as it is")]


@pytest.mark.parametrize("pose", POSES)
def test_an_image_that_was_mirrored_or_turned_is_the_same(pose):
    """The pose says how the second one has to be turned to look like the first."""
    ((first, second, found),) = near_duplicates(
        [fingerprint(image) for image in (IMAGES[5], POSES[pose](IMAGES[5]))]
    )
    back = POSES[found](POSES[pose](IMAGES[5]))
    assert (first, second) == (0, 1)
    np.testing.assert_array_equal(back, IMAGES[5])


def test_constant_images_are_not_called_alike():
    assert near_duplicates([fingerprint(np.full((20, 20), value)) for value in (3, 3, 7)]) == []
    assert near_duplicates([]) == []


@pytest.mark.parametrize("shift", [(2, 0), (0, -3), (-3, 2), (5, -5)])
def test_masks_that_were_moved(shift):
    moved = [np.roll(mask, shift, axis=(0, 1)) for mask in MASKS]
    assert common_shift(fits(moved)) == (-shift[0], -shift[1])
    assert common_pose(fits(moved)) is None


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_masks_that_were_drawn_too_large_are_not_moved(steps):
    masks = [binary_dilation(m, iterations=steps) if steps else m for m in MASKS]
    found = fits([np.asarray(mask, np.int64) for mask in masks])
    assert common_shift(found) is None
    assert common_pose(found) is None


@pytest.mark.parametrize("pose", [pose for pose in POSES if pose != "as it is"])
def test_masks_that_were_mirrored_or_turned(pose):
    """The pose that is found puts them back."""
    wrong = [POSES[pose](mask) for mask in MASKS]
    found = common_pose(fits(wrong))
    for mask, its in zip(MASKS, wrong, strict=True):
        np.testing.assert_array_equal(POSES[found](its), mask)


def test_too_few_images_are_not_judged():
    moved = [np.roll(mask, 5, axis=0) for mask in MASKS]
    assert common_shift(fits(moved)[:5]) is None
    assert common_pose(fits([mask[::-1] for mask in MASKS])[:5]) is None


def test_images_of_another_shape_are_not_turned_by_90_degrees():
    image, instances = synthetic_nuclei(0, size=(96, 128))
    poses = edge_fit(image, instances).poses
    assert len(poses) == 4
    assert max(poses, key=poses.get) == "as it is"


def test_there_is_no_fit_without_an_edge():
    assert edge_fit(IMAGES[0], np.zeros_like(MASKS[0])) is None
    assert edge_fit(np.full((192, 192), 7), MASKS[0]) is None
    assert edge_fit(np.zeros((10, 10)), np.eye(10, dtype=int)) is None
    assert edge_fit(np.arange(40)[None], np.arange(40)[None] % 2) is None


def test_diameters_of_circles():
    y, x = np.indices((80, 120))
    mask = np.zeros((80, 120), int)
    for (row, column), radius, value in (((20, 20), 9, 1), ((20, 60), 15, 1), ((60, 90), 12, 2)):
        mask[(y - row) ** 2 + (x - column) ** 2 <= radius**2] = value
    found = object_diameters(mask)
    assert sorted(found) == [1, 2]
    assert sorted(found[1]) == pytest.approx([18, 30], abs=0.5)
    assert found[2] == pytest.approx([24], abs=0.5)


def test_a_net_is_no_object():
    net = np.zeros((100, 100), int)
    net[::10], net[:, ::10] = 1, 1
    assert object_diameters(net) == {}
    assert object_diameters(np.zeros((5, 5), int)) == {}


def test_saturated_images():
    image = np.random.default_rng(0).normal(120, 40, (128, 128))
    assert saturated_share(image.clip(0, 255).astype(np.uint8)) < 0.01
    cut = (2 * image).clip(0, 255).astype(np.uint8)
    assert saturated_share(cut) == pytest.approx((cut == 255).mean(), abs=0.02)
    assert saturated_share((2 * image).clip(0, 4095).astype(np.uint16)) == 0
    assert max(map(saturated_share, IMAGES)) < 0.01


def test_masks_of_other_images_are_called_neither_moved_nor_turned():
    found = [edge_fit(a, b) for a, b in zip(IMAGES, MASKS[1:], strict=False)]
    found = [fit for fit in found if fit is not None]
    for start in range(0, 12, 2):
        assert common_shift(found[start : start + 6]) is None
        assert common_pose(found[start : start + 6]) is None
