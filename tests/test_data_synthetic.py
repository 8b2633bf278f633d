"""The synthetic nuclei: repeatable, never overlapping, as the options say, like the real ones."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torchvision import tv_tensors

from segedu.data import synthetic
from segedu.data.synthetic import LOOKS, SyntheticNuclei, synthetic_nuclei
from segedu.files import read_rows
from study import calibration


@pytest.fixture(scope="module")
def gallery():
    return [synthetic_nuclei(index) for index in range(60)]


@pytest.fixture(scope="module")
def measured(gallery):
    return calibration.measure_all(gallery)


def test_same_in_any_order():
    forth = [synthetic_nuclei(index, seed=5, size=64) for index in range(6)]
    back = [synthetic_nuclei(index, seed=5, size=64) for index in reversed(range(6))]
    for one, other in zip(forth, reversed(back), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("index", "seed", "nuclei", "light"),
    [(0, 0, 4, 91_362), (1, 0, 7, 51_040), (2, 0, 6, 183_062), (7, 3, 3, 169_061)],
)
def test_same_everywhere_and_always(index, seed, nuclei, light):
    """In every process, and in every version: the outputs of the course depend on it."""
    image, instances = synthetic_nuclei(index, seed=seed, size=96, density=2)
    assert instances.max() == nuclei
    assert image.sum() == pytest.approx(light, rel=1e-4)  # other processors round differently


def test_leaves_global_random_state_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    torch_before = torch.get_rng_state()
    synthetic_nuclei(0, size=64)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002
    torch.testing.assert_close(torch_before, torch.get_rng_state())


def test_index_and_seed_change_the_picture():
    pictures = {
        synthetic_nuclei(index, seed=seed, size=64)[0].tobytes()
        for index in range(4)
        for seed in range(4)
    }
    assert len(pictures) == 16


@pytest.mark.parametrize("size", [32, 64, 96, 128, (100, 333)])
def test_shape_dtype_and_labels(size):
    for index in range(8):
        image, instances = synthetic_nuclei(index, size=size)
        shape = size if isinstance(size, tuple) else (size, size)
        assert image.shape == instances.shape == shape
        assert image.dtype == np.uint8
        assert instances.dtype == np.int32
        assert image.flags["C_CONTIGUOUS"]
        found = np.unique(instances[instances > 0])
        np.testing.assert_array_equal(found, np.arange(1, len(found) + 1))


def test_nuclei_never_overlap(monkeypatch):
    # Every nucleus that was placed still has all the pixels that it was placed with.
    drawn = []
    nucleus = synthetic._nucleus

    def spy(*arguments):
        body, truth = nucleus(*arguments)
        drawn.append(truth.sum())
        return body, truth

    monkeypatch.setattr(synthetic, "_nucleus", spy)
    for kind in range(3):
        look = SimpleNamespace(**{name: values[kind] for name, values in LOOKS.items()})
        rng = np.random.default_rng(kind)
        _, instances = synthetic._place_nuclei(rng, look, (256, 256), density=4)
        areas = np.bincount(instances.ravel())[1:]
        remaining = iter(drawn)
        assert len(areas) > 20
        assert all(area in remaining for area in areas)
        drawn.clear()


def test_nuclei_show_where_the_truth_says(gallery):
    brighter = [
        image[instances > 0].mean() > image[instances == 0].mean() + 10
        for image, instances in gallery
    ]
    assert np.mean(brighter) > 0.95


def test_brightness_alone_is_not_enough(measured):
    otsu = measured["otsu_iou"]
    assert 0.74 < otsu.mean() < 0.86
    assert otsu.min() < 0.6


def test_committed_calibration_was_accepted():
    assert {row["accepted"] for row in read_rows(calibration.RESULT)} == {"yes"}


def test_medians_lie_in_the_real_bands(measured):
    rows = calibration.compare(measured)
    assert not [row for row in rows if row["statistic"] == "median" and row["accepted"] == "no"]


def test_small_pictures_are_as_dense_as_large_ones(gallery):
    large = np.mean([(instances > 0).mean() for _, instances in gallery])
    small = np.mean([(synthetic_nuclei(i, size=64)[1] > 0).mean() for i in range(300)])
    assert small == pytest.approx(large, rel=0.3)


def test_density_sets_the_foreground():
    def foreground(density):
        return np.mean(
            [(synthetic_nuclei(i, size=64, density=density)[1] > 0).mean() for i in range(100)]
        )

    values = [foreground(density) for density in (0, 0.25, 0.5, 1, 2, 4)]
    assert values[0] == 0
    assert (np.diff(values) > 0).all()
    assert values[1] == pytest.approx(values[3] / 4, rel=0.5)


def test_density_adds_nuclei_to_the_same_field():
    for index in range(5):
        few = synthetic_nuclei(index, density=0.5)[1] > 0
        more = synthetic_nuclei(index, density=1)[1] > 0
        assert not (few & ~more).any()


def test_difficulty_keeps_the_nuclei_and_lowers_the_contrast():
    def contrast_and_otsu(difficulty):
        pairs = [synthetic_nuclei(i, size=96, difficulty=difficulty) for i in range(50)]
        measured = calibration.measure_all(pairs)
        contrast = np.median(measured["mean_foreground"] - measured["background"])
        return contrast, measured["otsu_iou"].mean()

    contrast, otsu = np.transpose([contrast_and_otsu(d) for d in (0, 0.5, 1)])
    assert (np.diff(contrast) < 0).all()
    assert (np.diff(otsu) < 0).all()
    easy, hard = (synthetic_nuclei(4, size=128, difficulty=d)[1] for d in (0, 1))
    np.testing.assert_array_equal(easy, hard)


def test_about_one_picture_in_ten_is_hard(monkeypatch):
    calls = []
    blobs = synthetic._blobs
    monkeypatch.setattr(synthetic, "_blobs", lambda *a: calls.append(1) or blobs(*a))
    for index in range(300):
        synthetic_nuclei(index, size=32)
    assert 0.05 < len(calls) / 3 / 300 < 0.16


@pytest.mark.parametrize(
    ("target", "classes"), [("binary", {0, 1}), ("three_class", {0, 1, 2}), ("instances", None)]
)
def test_data_set(target, classes):
    nuclei = SyntheticNuclei(3, size=96, density=2, target=target)
    assert len(nuclei) == len(list(nuclei)) == 3
    image, mask = nuclei[1]
    assert isinstance(image, tv_tensors.Image)
    assert isinstance(mask, tv_tensors.Mask)
    assert (image.shape, image.dtype) == ((1, 96, 96), torch.float32)
    assert (mask.shape, mask.dtype) == ((96, 96), torch.int64)
    _, instances = synthetic_nuclei(1, size=96, density=2)
    expected = classes or set(range(instances.max() + 1))
    assert set(mask.unique().tolist()) == expected
    np.testing.assert_array_equal(mask > 0, instances > 0)
    torch.testing.assert_close(nuclei[1][0], image)


def test_data_set_transform_and_repr():
    flipped = SyntheticNuclei(2, size=64, transform=lambda image, mask: (image.flip(-1), mask))
    torch.testing.assert_close(flipped[0][0].flip(-1), SyntheticNuclei(2, size=64)[0][0])
    assert repr(flipped) == (
        "SyntheticNuclei(2 images, seed=0, size=64, difficulty=0.5, density=1.0, target='binary')"
    )


@pytest.mark.parametrize("index", [-1, 2])
def test_data_set_index_out_of_range(index):
    with pytest.raises(IndexError):
        SyntheticNuclei(2, size=64)[index]


def test_looks_have_three_values_each():
    assert {len(values) for values in LOOKS.values()} == {3}
    assert sum(LOOKS["share"]) == pytest.approx(1)
