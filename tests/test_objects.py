"""Objects: numbered without gaps, cut apart at their waists, measured as scikit-image does."""

import numpy as np
import pytest
from skimage.draw import disk
from skimage.measure import label, regionprops_table

from segedu import metrics
from segedu.data import sample, synthetic_nuclei
from segedu.objects import label_objects, measure_objects, measurements


def two_discs(distance):
    mask = np.zeros((40, 80), int)
    for column in (25, 25 + distance):
        mask[disk((20, column), 12)] = 1
    return mask


def test_regions_are_those_of_scikit_image():
    mask = synthetic_nuclei(0)[1] > 0
    np.testing.assert_array_equal(label_objects(mask), label(mask, connectivity=1))


@pytest.mark.parametrize(("distance", "number"), [(30, 2), (20, 2), (16, 2), (2, 1)])
def test_discs_are_cut_apart_at_their_waist(distance, number):
    objects = label_objects(two_discs(distance), split=True)
    assert objects.max() == number
    areas = np.bincount(objects.ravel())[1:]
    assert areas.max() <= 1.05 * areas.min()


@pytest.mark.parametrize("split", [False, True])
def test_every_foreground_pixel_belongs_to_an_object(split):
    mask = np.random.default_rng(0).random((60, 70)) > 0.6
    objects = label_objects(mask, split=split)
    np.testing.assert_array_equal(objects > 0, mask)
    assert np.unique(objects).tolist() == list(range(objects.max() + 1))
    for number in range(1, 6):
        assert label(objects == number, connectivity=2).max() == 1


def test_objects_are_of_one_class():
    mask = two_discs(16) * np.repeat([[1] * 33 + [2] * 47], 40, axis=0)
    for split in (False, True):
        objects = label_objects(mask, split=split)
        assert all(len(np.unique(mask[objects == k])) == 1 for k in range(1, objects.max() + 1))


def test_small_objects_are_left_out():
    mask = np.zeros((20, 20), int)
    mask[:3, :3] = mask[10:12, 10:12] = mask[15:, 15:] = 1
    objects = label_objects(mask, min_area=5)
    assert np.bincount(objects.ravel())[1:].tolist() == [9, 25]
    assert label_objects(np.zeros((4, 4), int), split=True).max() == 0


def test_splitting_finds_more_of_the_real_nuclei():
    """From the annotated foreground alone: the share of 125 nuclei, many of them touching."""
    _, instances = sample()
    scores = [
        metrics.average_precision(label_objects(instances > 0, split=split), instances).scores[0]
        for split in (False, True)
    ]
    assert scores[0] < 0.85
    assert scores[1] > 0.95


def test_measures():
    objects = label_objects(two_discs(30))
    image = np.arange(objects.size, dtype=np.uint16).reshape(objects.shape)
    first, second = measure_objects(objects, image)
    assert (first["object"], second["object"]) == (1, 2)
    assert first["area"] == second["area"] == (objects == 1).sum()
    assert (first["row"], first["column"]) == pytest.approx((20, 25))
    assert second["mean_value"] == pytest.approx(image[objects == 2].mean())
    assert measure_objects(np.zeros((3, 3), int), np.zeros((3, 3))) == []


def test_measures_are_those_of_scikit_image():
    """Of two channels, with numbers that have gaps."""
    instances = 3 * synthetic_nuclei(0)[1]
    image = np.random.default_rng(0).integers(0, 2**16, (*instances.shape, 2), dtype=np.uint16)
    expected = regionprops_table(
        instances, image, properties=("label", "area", "centroid", "intensity_mean")
    )
    rows = measure_objects(instances, image, 7 * (instances > 0))
    assert list(rows[0]) == measurements(2, classes=True)
    names = ("object", "area", "row", "column", "mean_value_1", "mean_value_2")
    for name, column in zip(names, expected.values(), strict=True):
        np.testing.assert_allclose([row[name] for row in rows], column)
    assert {row["class"] for row in rows} == {7}


@pytest.mark.parametrize("mask", [np.zeros(4, int), np.zeros((4, 4)), np.zeros((2, 4, 4), int)])
def test_other_masks_are_refused(mask):
    with pytest.raises(ValueError, match="mask must be integers or booleans"):
        label_objects(mask)


def test_an_image_of_another_size_is_refused():
    with pytest.raises(ValueError, match="differ in their size"):
        measure_objects(np.zeros((4, 4), int), np.zeros((4, 5)))
