import numpy as np
import pytest
import torch
from torchvision import tv_tensors

from segedu.data import (
    instances_to_target,
    normalize,
    sample,
    three_class_to_instances,
    train_transform,
)
from segedu.data.transforms import PERCENTILES


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float16", "float64"])
@pytest.mark.parametrize(("shape", "channels"), [((40, 50), 1), ((40, 50, 1), 1), ((40, 50, 3), 3)])
def test_normalize_takes_any_numeric_dtype(dtype, shape, channels):
    image = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    result = normalize(image)
    assert result.dtype == torch.float32
    assert result.shape == (channels, 40, 50)
    assert np.percentile(result, 1) == pytest.approx(0, abs=1e-2)
    assert np.percentile(result, 99.9) == pytest.approx(1, abs=1e-2)


def test_normalize_does_not_depend_on_exposure():
    image = np.random.default_rng(0).integers(0, 100, (64, 64))
    torch.testing.assert_close(normalize(image), normalize(image * 300 + 7))


def test_normalize_takes_channels_together():
    image = np.random.default_rng(0).integers(0, 100, (64, 64, 3))
    image[..., 2] //= 10
    assert normalize(image)[2].max() < 0.15


def test_normalize_by_other_percentiles():
    image = np.arange(101).reshape(1, 101)
    assert normalize(image, (0, 100))[0, 0, [0, 50, 100]].tolist() == [0, 0.5, 1]
    scaled = normalize(image, percentiles=[20, 70])[0, 0]
    assert scaled[[20, 45, 70]].tolist() == [0, 0.5, 1]
    assert scaled.min() == pytest.approx(-0.4)  # nothing is clipped
    assert torch.equal(normalize(image, PERCENTILES), normalize(image))
    assert not torch.equal(normalize(image, (1, 99)), normalize(image))


@pytest.mark.parametrize("value", [7, 1e300])
def test_normalize_of_a_constant_is_zero(value):
    assert not normalize(np.full((8, 8), value)).any()


def test_normalize_sees_one_bright_pixel():
    image = np.zeros((64, 64), np.uint8)
    image[3, 4] = 9
    assert normalize(image)[0, 3, 4] == 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_normalize_refuses_what_is_not_finite(value):
    image = np.eye(64)
    image[0, 0] = value
    with pytest.raises(ValueError, match="NaN"):
        normalize(image)


def test_targets_by_hand():
    instances = np.zeros((5, 8), np.uint16)
    instances[1:4, 1:4], instances[1:4, 4:7] = 3, 9
    assert instances_to_target(instances, "binary").sum() == 18
    assert instances_to_target(instances, "three_class").tolist() == [
        [0, 0, 0, 0, 0, 0, 0, 0],
        [0, 2, 2, 2, 2, 2, 2, 0],
        [0, 2, 1, 2, 2, 1, 2, 0],
        [0, 2, 2, 2, 2, 2, 2, 0],
        [0, 0, 0, 0, 0, 0, 0, 0],
    ]
    kept = instances_to_target(instances, "instances")
    assert kept.dtype == torch.int64
    assert (kept.numpy() == instances).all()


def test_three_classes_separate_touching_nuclei():
    """On the real field 125 nuclei are 102 connected pieces; the interior counts them."""
    instances, ious = sample().instances, []
    back = three_class_to_instances(instances_to_target(instances, "three_class"))
    assert ((back > 0) == (instances > 0)).all()
    assert abs(back.max() - 125) <= 1
    for number in range(1, 126):
        whole = instances == number
        found = back == np.bincount(back[whole]).argmax()
        ious.append((whole & found).sum() / (whole | found).sum())
    assert np.mean(ious) > 0.98


def test_three_class_without_interior_or_anything():
    assert three_class_to_instances(np.zeros((4, 4), int)).max() == 0
    assert three_class_to_instances(np.array([[2, 0, 2]])).tolist() == [[1, 0, 2]]


def pair(height=150, width=200, channels=1):
    """An image whose values say where a pixel came from, and the same as a mask."""
    where = torch.arange(height * width).reshape(height, width)
    image = (where / (height * width)).expand(channels, -1, -1)
    return tv_tensors.Image(image), tv_tensors.Mask(where + 1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(150, 200), (128, 128), (60, 200), (1, 7)])
def test_train_transform_moves_image_and_mask_together(size, channels):
    torch.manual_seed(0)
    transform = train_transform(128)
    image, mask = transform(*pair(*size, channels=channels))
    assert isinstance(image, tv_tensors.Image)
    assert isinstance(mask, tv_tensors.Mask)
    assert image.dtype == torch.float32
    assert mask.dtype == torch.int64
    assert image.shape == (channels, 128, 128)
    assert mask.shape == (128, 128)
    # The change of light keeps the order of brightness, which is the order of the mask's numbers.
    inside = mask > 0
    assert inside.sum() >= min(size[0], 128) * min(size[1], 128)
    order = mask[inside].argsort()
    assert (image[0][inside][order].diff() >= 0).all()


def test_train_transform_repeats_with_the_seed():
    transform, (image, mask) = train_transform(64), pair()
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(transform(image, mask))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    assert not torch.equal(results[0][1], results[2][1])


def test_train_transform_reaches_all_eight_poses():
    torch.manual_seed(0)
    transform, (image, mask) = train_transform(8), pair(8, 8)
    poses = {tuple(transform(image, mask)[1].flatten().tolist()) for _ in range(100)}
    assert len(poses) == 8


def test_padding_of_a_small_mask_is_ignored_if_asked():
    image, mask = tv_tensors.Image(torch.rand(1, 8, 8)), tv_tensors.Mask(torch.ones(8, 8).long())
    _, mask = train_transform(32, ignore_index=255)(image, mask)
    assert mask.unique(return_counts=True)[1].tolist() == [64, 32 * 32 - 64]
    assert mask.unique().tolist() == [1, 255]


SHIFTS = [(0, 0), (0, 1), (1, 0), (0, -1), (-1, 0)]


@pytest.mark.parametrize("augment", [["scale"], ["elastic"], ["mirror", "scale", "elastic"]])
def test_what_moves_by_fractions_keeps_image_and_mask_together(augment):
    """Where discs end in the image, they end in the mask: a shift by a pixel is clearly worse."""
    torch.manual_seed(0)
    y, x = torch.meshgrid(torch.arange(300.0), torch.arange(260.0), indexing="ij")
    inside = ((y % 40 - 20) ** 2 + (x % 40 - 20) ** 2) < 12**2
    image, mask = tv_tensors.Image(inside[None].float()), tv_tensors.Mask(3 * inside.long())
    transform, differences = train_transform(128, augment=augment), dict.fromkeys(SHIFTS, 0)
    for _ in range(30):
        moved, its_mask = transform(image, mask)
        assert moved.shape == (1, 128, 128)
        assert its_mask.dtype == torch.int64
        assert its_mask.unique().tolist() == [0, 3]
        for shift in SHIFTS:
            shifted = its_mask.roll(shift, (0, 1)) > 0
            differences[shift] += ((moved[0] > 0.5) != shifted)[1:-1, 1:-1].float().mean().item()
    together = differences.pop((0, 0))
    assert together < 0.6 * min(differences.values())
    sides = [(differences[s], differences[-s[0], -s[1]]) for s in ((0, 1), (1, 0))]
    for one, other in sides:  # and not half a pixel away either
        assert one == pytest.approx(other, rel=0.15)


def test_scale_makes_things_smaller_and_larger():
    torch.manual_seed(0)
    image = torch.zeros(1, 200, 200)
    image[:, 92:108, 92:108] = 1
    mask = (image[0] > 0).long()
    transform = train_transform(160, augment=["scale"])
    pairs = [transform(tv_tensors.Image(image), tv_tensors.Mask(mask)) for _ in range(200)]
    whole = [its_mask.any(dim=0).sum().item() for _, its_mask in pairs]
    assert 16 / 1.4 - 1 <= min(whole) <= 13
    assert 21 <= max(whole) <= 16 * 1.4 + 1


def test_mirror_keeps_above_above():
    torch.manual_seed(0)
    transform, (image, mask) = train_transform(8, augment=["mirror"]), pair(8, 8)
    poses = {tuple(transform(image, mask)[1].flatten().tolist()) for _ in range(50)}
    assert poses == {tuple(m.flatten().tolist()) for m in (mask, mask.flip(1))}


def test_noise_has_another_strength_in_each_crop_and_spares_the_mask():
    torch.manual_seed(0)
    transform, (image, mask) = train_transform(100, augment=["noise"]), pair(100, 100)
    noise = []
    for _ in range(200):
        noisy, same = transform(image, mask)
        assert torch.equal(same, mask)
        assert isinstance(noisy, tv_tensors.Image)
        noise.append((noisy - image).flatten())
    noise = torch.stack(noise)
    spreads = noise.std(dim=1)
    assert 0 <= spreads.min() < 0.003
    assert 0.047 < spreads.max() < 0.0515
    assert spreads.mean() == pytest.approx(0.025, abs=0.003)
    assert noise.mean().item() == pytest.approx(0, abs=2e-4)
    neighbours = np.corrcoef(noise[:, :-1].flatten(), noise[:, 1:].flatten())[0, 1]
    assert abs(neighbours) < 0.01  # each pixel has its own


def test_an_unknown_augmentation_is_refused():
    with pytest.raises(ValueError, match=r"augment must be 'mirror', .* got 'rotate'"):
        train_transform(8, augment=["rotate"])


def test_no_augmentation_is_a_crop():
    image, mask = pair(16, 16)
    assert torch.equal(train_transform(16, augment=())(image, mask)[0], image)
