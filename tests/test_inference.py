"""Probabilities for images of any size, in tiles or whole, and masks from them."""

import subprocess
import sys

import pytest
import torch

from segedu import UNet, UNetPlusPlus, predict, segmenter, to_mask
from segedu.inference import _halo
from tests.helpers import unchanged
from tests.test_models import CHANNELS, trained_a_little

# predict: any size, and heads.


def test_padding_repeats_the_last_pixel():
    model = trained_a_little(UNet(1, 1, channels=(4, 8, 8)))
    image = torch.rand(1, 1, 30, 21)
    padded = torch.nn.functional.pad(image, (0, 3, 0, 2), mode="replicate")
    torch.testing.assert_close(predict(model, image), predict(model, padded)[..., :30, :21])


@pytest.mark.parametrize(
    ("network", "options"),
    [
        (UNet, {"norm": "group"}),
        (UNet, {"up": "transposed"}),
        (UNetPlusPlus, {}),
        (UNetPlusPlus, {"skips": "last", "norm": "group", "up": "transposed"}),
    ],
)
def test_predict_gives_the_probabilities_of_the_logits(network, options):
    model = trained_a_little(network(2, 3, channels=CHANNELS, deep_supervision=True, **options))
    images = torch.rand(2, 2, 64, 48)
    heads = [logits.softmax(dim=1) for logits in model(images)]
    close = {"rtol": 0, "atol": 1e-5}
    torch.testing.assert_close(predict(model, images), torch.stack(heads).mean(dim=0), **close)
    for level, probabilities in zip(model.levels, heads, strict=True):
        torch.testing.assert_close(predict(model, images, level=level), probabilities, **close)


def test_fast_and_accurate_mode():
    model = trained_a_little(UNetPlusPlus(1, 1, channels=CHANNELS, deep_supervision=True))
    image = torch.rand(1, 1, 64, 64)
    heads = [logits.sigmoid() for logits in model(image)]
    torch.testing.assert_close(predict(model, image), torch.stack(heads).mean(dim=0))
    torch.testing.assert_close(predict(model, image, level=2), heads[1])
    assert to_mask(predict(model, image)).dtype == torch.int64


def test_predict_takes_floats_of_any_precision():
    model = trained_a_little(UNet(1, 1, channels=CHANNELS))
    images = torch.rand(1, 1, 20, 20, dtype=torch.float64)
    torch.testing.assert_close(predict(model, images), predict(model, images.float()))


def test_predict_leaves_the_model_as_it_was():
    for training in (True, False):
        model = UNet(1, 1, channels=CHANNELS).train(training)
        with unchanged(model):
            predict(model, torch.rand(1, 1, 50, 50))
            with pytest.raises(ValueError, match="expected images"):
                predict(model, torch.rand(1, 3, 50, 50))


def test_a_part_that_is_frozen_stays_in_eval_mode():
    model = UNet(1, 1, channels=CHANNELS).train()
    model.blocks["0_0"].eval()
    with unchanged(model):
        predict(model, torch.rand(1, 1, 16, 16))
    assert model.training
    assert not model.blocks["0_0"].training


# Tiles.


@pytest.mark.parametrize("up", ["bilinear", "transposed"])
@pytest.mark.parametrize("network", [UNet, UNetPlusPlus])
def test_tiles_give_the_answer_of_the_whole(network, up):
    model = trained_a_little(network(1, 1, channels=CHANNELS, up=up))
    image = torch.rand(1, 1, 400, 333)
    whole = predict(model, image, tile_size=None)
    tiled = predict(model, image, tile_size=100)
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-5)


def test_too_small_a_halo_would_be_noticed(monkeypatch):
    model = trained_a_little(UNet(1, 1, channels=CHANNELS))
    image = torch.rand(1, 1, 400, 333)
    whole = predict(model, image, tile_size=None)
    monkeypatch.setattr("segedu.inference._halo", lambda model: 16)
    assert (predict(model, image, tile_size=100) - whole).abs().max() > 1e-5


def test_the_halo_is_the_reach_rounded_up_to_the_pooling_grid():
    assert _halo(UNet(1, 1)) == 128  # it sees at most 122 rows to either side
    assert _halo(UNet(1, 1, channels=(4, 8))) == 10


@pytest.mark.parametrize("size", [(1, 1), (7, 1300), (1300, 7), (1, 600), (530, 1100)])
def test_tiles_fit_any_size(size):
    model = trained_a_little(UNet(1, 2, channels=(2, 2, 2)))
    images = torch.rand(2, 1, *size)
    whole = predict(model, images, tile_size=None)
    tiled = predict(model, images, tile_size=250)
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("tile_size", "given"),
    [(16, [(4, 8, 8), (3, 8, 8)]), (8, [(1, 8, 8)] * 7), (9, [(2, 8, 8)] * 3 + [(1, 8, 8)])],
)
def test_small_images_are_run_together_as_many_as_fill_a_tile(tile_size, given):
    model = trained_a_little(UNet(1, 1, channels=(2, 2, 2)))
    images, seen = torch.rand(7, 1, 8, 8), []
    alone = torch.cat([predict(model, image[None]) for image in images])
    model.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0][:, 0].shape)))
    torch.testing.assert_close(predict(model, images, tile_size=tile_size), alone)
    assert seen == given


def test_tiles_of_one_pixel_are_rounded_up():
    model = trained_a_little(UNet(1, 1, channels=(2, 2, 2)))
    images = torch.rand(2, 1, 9, 6)
    torch.testing.assert_close(predict(model, images, tile_size=1), predict(model, images))


MEASURE = """
import resource, sys, torch
from segedu import UNet, predict
torch.set_num_threads(1)
model = UNet(1, 1, channels=(4, 8, 8))
predict(model, torch.rand(1, 1, 700, 700))  # what the libraries take once
images = torch.rand(*map(int, sys.argv[1:3]), *[int(sys.argv[3])] * 2)
predict(model, images)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 8 * images.numel() // 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has another unit elsewhere")
def test_predict_takes_the_memory_of_a_tile():
    """Beyond the image and the answer, 4096 x 4096 pixels need no more than 2048 x 2048 do."""

    def beyond(count, size):  # KiB
        command = [sys.executable, "-c", MEASURE, str(count), "1", str(size)]
        peak, needed = subprocess.check_output(command, text=True).split()
        return int(peak) - int(needed)

    small = beyond(1, 2048)
    assert beyond(1, 4096) - small < 32 * 1024
    assert beyond(4, 2048) - small < 32 * 1024


def test_broken_weights_are_named():
    model = UNet(1, 1, channels=CHANNELS)
    torch.nn.init.constant_(model.heads["4"].bias, torch.nan)
    with pytest.raises(ValueError, match="weights are broken"):
        predict(model, torch.rand(1, 1, 16, 16))
    assert model.training


# Masks.


def test_to_mask_takes_what_rounding_makes_of_a_probability_and_no_logits():
    assert to_mask(torch.tensor([[[[-1e-7, 1 + 1e-7]]]])).tolist() == [[[0, 1]]]
    for logit in (-0.5, -1.3e-6, 1 + 1.3e-6, 1.5):
        with pytest.raises(ValueError, match="these may be logits"):
            to_mask(torch.full((1, 1, 2, 2), logit))


def test_a_segmenter_uses_the_networks_own_threshold_and_level_unless_told_otherwise():
    model = trained_a_little(UNetPlusPlus(1, 1, channels=CHANNELS, deep_supervision=True))
    images = torch.rand(1, 1, 30, 40)
    probabilities = predict(model, images)
    model.threshold = probabilities.quantile(0.3).item()
    assert torch.equal(segmenter(model)(images), to_mask(probabilities, model.threshold))
    assert torch.equal(segmenter(model, threshold=0.0)(images), torch.ones(1, 30, 40).long())
    assert torch.equal(
        segmenter(model, level=2)(images),
        to_mask(predict(model, images, level=2), model.threshold),
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_a_gpu_predicts_the_same():
    model = trained_a_little(UNetPlusPlus(1, 1, channels=CHANNELS, deep_supervision=True))
    image = torch.rand(1, 1, 70, 70)
    on_cpu = predict(model, image)
    on_gpu = predict(model.cuda(), image)
    assert on_gpu.device.type == "cuda"
    torch.testing.assert_close(on_gpu.cpu(), on_cpu, rtol=0, atol=1e-2)
