"""The grid against networks unrolled by hand, pruning, tiling, and every way to run it."""

import shutil
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from segedu import (
    NodeGrid,
    UNet,
    UNetPlusPlus,
    count_multiply_adds,
    count_parameters,
    predict,
    receptive_field,
    to_mask,
)
from segedu.analysis import input_interval
from segedu.models import unet_nodes, unetpp_nodes

CHANNELS = (4, 8, 12, 16, 20)


def trained_a_little(model):
    """Statistics and biases that are not the initial ones, so that no error hides behind a zero."""
    torch.manual_seed(1)
    for parameter in model.parameters():
        if parameter.ndim == 1:
            nn.init.uniform_(parameter, 0.5, 1.5)
    for _ in range(2):
        model.train()(torch.rand(2, model.in_channels, 64, 64))
    return model.eval()


def block(model, i, j, *inputs):
    return model.blocks[f"{i}_{j}"](torch.cat(inputs, dim=1))


def up(x):
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def unet_by_hand(model, image):
    x00 = block(model, 0, 0, image)
    x10 = block(model, 1, 0, F.max_pool2d(x00, 2))
    x20 = block(model, 2, 0, F.max_pool2d(x10, 2))
    x30 = block(model, 3, 0, F.max_pool2d(x20, 2))
    x40 = block(model, 4, 0, F.max_pool2d(x30, 2))
    x31 = block(model, 3, 1, x30, up(x40))
    x22 = block(model, 2, 2, x20, up(x31))
    x13 = block(model, 1, 3, x10, up(x22))
    x04 = block(model, 0, 4, x00, up(x13))
    return model.heads["4"](x04)


def unetpp_by_hand(model, image):
    x00 = block(model, 0, 0, image)
    x10 = block(model, 1, 0, F.max_pool2d(x00, 2))
    x01 = block(model, 0, 1, x00, up(x10))
    x20 = block(model, 2, 0, F.max_pool2d(x10, 2))
    x11 = block(model, 1, 1, x10, up(x20))
    x02 = block(model, 0, 2, x00, x01, up(x11))
    x30 = block(model, 3, 0, F.max_pool2d(x20, 2))
    x21 = block(model, 2, 1, x20, up(x30))
    x12 = block(model, 1, 2, x10, x11, up(x21))
    x03 = block(model, 0, 3, x00, x01, x02, up(x12))
    x40 = block(model, 4, 0, F.max_pool2d(x30, 2))
    x31 = block(model, 3, 1, x30, up(x40))
    x22 = block(model, 2, 2, x20, x21, up(x31))
    x13 = block(model, 1, 3, x10, x11, x12, up(x22))
    x04 = block(model, 0, 4, x00, x01, x02, x03, up(x13))
    return [
        model.heads["1"](x01), model.heads["2"](x02), model.heads["3"](x03), model.heads["4"](x04)
    ]  # fmt: skip


def test_unet_equals_the_hand_unrolled_network():
    model = trained_a_little(UNet(3, 2, channels=CHANNELS))
    image = torch.rand(2, 3, 64, 96)
    assert torch.equal(model(image), unet_by_hand(model, image))


def test_unetpp_equals_the_hand_unrolled_network():
    model = trained_a_little(UNetPlusPlus(3, 2, channels=CHANNELS, deep_supervision=True))
    image = torch.rand(2, 3, 64, 96)
    for ours, by_hand in zip(model(image), unetpp_by_hand(model, image), strict=True):
        assert torch.equal(ours, by_hand)


def test_gradients_equal_those_of_the_hand_unrolled_network():
    model = trained_a_little(UNetPlusPlus(1, 1, channels=CHANNELS, deep_supervision=True))
    image = torch.rand(1, 1, 32, 32)
    for forward in (model, lambda x: unetpp_by_hand(model, x)):
        model.zero_grad()
        sum(logits.square().mean() for logits in forward(image)).backward()
        gradients = [parameter.grad.clone() for parameter in model.parameters()]
        if forward is model:
            ours = gradients
    for a, b in zip(ours, gradients, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    ("network", "options", "count"),
    [(UNet, {}, 7_852_545), (UNetPlusPlus, {"deep_supervision": True}, 9_163_428)],
)
def test_parameter_counts_are_the_published_ones_without_the_idle_biases(network, options, count):
    """7.85 and 9.16 million are counted with a bias in each convolution; ours has none there."""
    model = network(3, 1, channels=(32, 64, 128, 256, 512), **options)
    biases = sum(
        m.out_channels for m in model.modules() if isinstance(m, nn.Conv2d) and m.bias is None
    )
    assert count_parameters(model) + biases == count


def test_forward_gives_a_tensor_or_a_list_whatever_the_mode():
    image = torch.rand(1, 1, 32, 32)
    for training in (True, False):
        model = UNetPlusPlus(1, 1, channels=(4, 8, 8)).train(training)
        assert model(image).shape == (1, 1, 32, 32)
        model = UNetPlusPlus(1, 1, channels=(4, 8, 8), deep_supervision=True).train(training)
        heads = model(image)
        assert [logits.shape for logits in heads] == [(1, 1, 32, 32)] * 2
        for level, logits in enumerate(heads, start=1):
            assert torch.equal(logits, model.prune(level)(image))


@pytest.mark.parametrize("up", ["bilinear", "transposed"])
@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize("skips", ["all", "first", "last"])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_every_pruned_network_equals_its_head(up, norm, skips, memory_format):
    model = UNetPlusPlus(
        1, 2, channels=CHANNELS, up=up, norm=norm, skips=skips, deep_supervision=True
    )
    model = trained_a_little(model).to(memory_format=memory_format)
    image = torch.rand(2, 1, 64, 48).contiguous(memory_format=memory_format)
    heads = model(image)
    for level in (1, 2, 3, 4):
        pruned = model.prune(level)
        assert torch.equal(pruned(image), heads[level - 1])
        assert pruned.depth == level
        assert not pruned.training
    assert count_multiply_adds(model.prune(1), 64, 64) < count_multiply_adds(model.prune(2), 64, 64)


def test_pruning_shares_the_weights():
    model = UNetPlusPlus(1, 1, channels=CHANNELS, deep_supervision=True)
    pruned = model.prune(2)
    assert pruned.blocks["1_1"] is model.blocks["1_1"]
    assert {id(p) for p in pruned.parameters()} < {id(p) for p in model.parameters()}
    # A part of a part is the part itself.
    assert pruned.prune(2).nodes == pruned.nodes


def test_share_of_the_block_parameters_a_level_keeps():
    model = UNetPlusPlus(3, 1, channels=(32, 64, 128, 256, 512), deep_supervision=True)
    whole = count_parameters(model.blocks)
    kept = [100 * count_parameters(model.prune(d).blocks) / whole for d in (1, 2, 3, 4)]
    assert kept == pytest.approx([1.1, 5.7, 24.4, 100], abs=0.05)


@pytest.mark.parametrize("model", [UNet(1, 1), UNetPlusPlus(1, 1)])
def test_pruning_needs_a_head(model):
    with pytest.raises(ValueError, match=r"no head at level 2, only at \[4\].*deep_supervision"):
        model.prune(2)


def test_the_nodes_that_exist():
    assert UNet(1, 1).nodes == sorted(unet_nodes(4), key=lambda n: (sum(n), n[1]))
    assert len(unetpp_nodes(4)) == 15
    assert UNetPlusPlus(1, 1, skips="first").skip_sources(0, 4) == [0]
    assert UNetPlusPlus(1, 1, skips="last").skip_sources(0, 4) == [3]


def test_config_builds_the_network_again():
    model = trained_a_little(UNetPlusPlus(2, 3, channels=(4, 8), skips="last", up="transposed"))
    again = NodeGrid(**model.config)
    again.load_state_dict(model.state_dict())
    image = torch.rand(1, 2, 16, 16)
    assert torch.equal(again.eval()(image), model(image))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": (4,), "nodes": [(0, 0)]}, "at least one pooling"),
        ({"skips": "none"}, "skips must be 'all', 'first' or 'last'"),
        ({"up": "nearest"}, "up must be 'bilinear'"),
        ({"norm": None}, "norm must be 'batch'"),
        ({"nodes": [(0, 0), (1, 0)]}, r"output node \(0, 1\)"),
        ({"nodes": [(0, 0), (0, 1)]}, r"\(0, 1\) needs node \(1, 0\)"),
        ({"nodes": [(0, 0), (1, 0), (2, 0), (0, 1)]}, r"\(2, 0\) is below the last row"),
        (
            {"channels": (4, 4, 4), "nodes": [(0, 0), (1, 0), (2, 0), (0, 2)]},
            r"needs node \(1, 1\)",
        ),
    ],
)
def test_wrong_arguments_are_named(change, message):
    arguments = {
        "in_channels": 1, "num_classes": 1, "channels": (4, 8), "nodes": unet_nodes(1)
    } | change  # fmt: skip
    with pytest.raises(ValueError, match=message):
        NodeGrid(**arguments)


def test_a_size_that_does_not_fit_is_told_the_next_that_does():
    with pytest.raises(ValueError, match=r"pad to 48 x 32, or call segedu\.predict"):
        UNet(1, 1)(torch.zeros(1, 1, 33, 32))
    with pytest.raises(ValueError, match=r"expected images of shape \(N, 1, H, W\)"):
        UNet(1, 1)(torch.zeros(1, 3, 32, 32))


# Receptive field: gradients against exact arithmetic, and the numbers of the usual U-Net.


@pytest.mark.parametrize(
    ("up", "smallest", "largest"), [("bilinear", 220, 236), ("transposed", 188, 204)]
)
@pytest.mark.parametrize("network", [UNet, UNetPlusPlus])
def test_receptive_field_measured_equals_receptive_field_computed(network, up, smallest, largest):
    model = network(1, 1, up=up)
    measured = [receptive_field(model, row=row) for row in range(16)]
    assert measured == [input_interval(model, (0, 4), row, row) for row in range(16)]
    sizes = [last - first + 1 for first, last in measured]
    assert (min(sizes), max(sizes)) == (smallest, largest)


def test_receptive_field_of_inner_nodes():
    model = UNetPlusPlus(1, 1)
    assert receptive_field(model, (0, 0), row=3) == (1, 5)
    assert receptive_field(model, (1, 0), row=0) == (-6, 7)


# predict: any size, tiles, heads.


@pytest.mark.parametrize("size", [(1, 1), (7, 130), (64, 64), (65, 31)])
def test_predict_takes_any_size(size):
    model = trained_a_little(UNetPlusPlus(1, 3, channels=CHANNELS, deep_supervision=True))
    probabilities = predict(model, torch.rand(2, 1, *size))
    assert probabilities.shape == (2, 3, *size)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(2, *size))


def test_predict_is_the_forward_pass_where_nothing_is_to_be_padded():
    model = trained_a_little(UNet(1, 1, channels=CHANNELS))
    image = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        assert torch.equal(predict(model, image), model(image).sigmoid())


@pytest.mark.parametrize("up", ["bilinear", "transposed"])
@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize("skips", ["all", "first", "last"])
@pytest.mark.parametrize("network", [UNet, UNetPlusPlus])
def test_predict_gives_the_probabilities_of_the_logits(network, skips, norm, up):
    model = trained_a_little(
        network(2, 3, channels=CHANNELS, up=up, norm=norm, skips=skips, deep_supervision=True)
    )
    images = torch.rand(2, 2, 64, 48)
    heads = [logits.softmax(dim=1) for logits in model(images)]
    close = {"rtol": 0, "atol": 1e-5}
    torch.testing.assert_close(predict(model, images), torch.stack(heads).mean(dim=0), **close)
    for level, probabilities in zip(model.levels, heads, strict=True):
        torch.testing.assert_close(predict(model, images, level=level), probabilities, **close)


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


@pytest.mark.parametrize("size", [(1, 1), (7, 1300), (1300, 7), (1, 600), (2100, 1900)])
def test_tiles_fit_any_size(size):
    model = trained_a_little(UNet(1, 2, channels=(2, 2, 2)))
    images = torch.rand(2, 1, *size)
    whole = predict(model, images, tile_size=None)
    tiled = predict(model, images, tile_size=250)
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-5)


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


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss is another one")
def test_predict_takes_the_memory_of_a_tile():
    """Beyond the image and the answer, 4096 x 4096 pixels need no more than 2048 x 2048 do."""

    def beyond(count, size):  # KiB
        command = [sys.executable, "-c", MEASURE, str(count), "1", str(size)]
        peak, needed = subprocess.check_output(command, text=True).split()
        return int(peak) - int(needed)

    small = beyond(1, 2048)
    assert beyond(1, 4096) - small < 32 * 1024
    assert beyond(4, 2048) - small < 32 * 1024


def test_predict_refuses_what_would_give_nan():
    model, images = UNet(1, 1, channels=CHANNELS), torch.rand(1, 1, 16, 16)
    for value in (torch.nan, torch.inf, -torch.inf):
        images[0, 0, 3, 4] = value
        with pytest.raises(ValueError, match="images must be finite, got"):
            predict(model, images)
    torch.nn.init.constant_(model.heads["4"].bias, torch.nan)
    with pytest.raises(ValueError, match="weights are broken"):
        predict(model, torch.rand(1, 1, 16, 16))
    assert model.training


def test_predict_takes_floats_of_any_precision():
    model = trained_a_little(UNet(1, 1, channels=CHANNELS))
    images = torch.rand(1, 1, 20, 20, dtype=torch.float64)
    torch.testing.assert_close(predict(model, images), predict(model, images.float()))


def test_one_pixel_in_the_deepest_row_is_too_few_for_a_mean():
    one = torch.rand(1, 1, 4, 4)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        UNet(1, 1, channels=(4, 8, 8)).train()(one)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        UNet(1, 1, channels=(4, 8, 8), norm="group").eval()(one)
    assert UNet(1, 1, channels=(4, 8, 16), norm="group").train()(one).isfinite().all()


def test_fast_and_accurate_mode():
    model = trained_a_little(UNetPlusPlus(1, 1, channels=CHANNELS, deep_supervision=True))
    image = torch.rand(1, 1, 64, 64)
    heads = [logits.sigmoid() for logits in model(image)]
    torch.testing.assert_close(predict(model, image), torch.stack(heads).mean(dim=0))
    torch.testing.assert_close(predict(model, image, level=2), heads[1])
    assert to_mask(predict(model, image)).dtype == torch.int64


def test_predict_leaves_the_model_as_it_was():
    model = UNet(1, 1, channels=CHANNELS).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    predict(model, torch.rand(1, 1, 50, 50))
    assert model.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_predict_says_what_it_cannot_do():
    with pytest.raises(ValueError, match=r"images must be floats \(N, C, H, W\)"):
        predict(UNet(1, 1), torch.rand(1, 64, 64))
    with pytest.raises(ValueError, match="group norm cannot be run in tiles"):
        predict(UNet(1, 1, norm="group"), torch.rand(1, 1, 64, 64), tile_size=32)


# Every way to run it.


@pytest.mark.parametrize("network", [UNet, UNetPlusPlus])
def test_channels_last_gives_the_same(network):
    model = trained_a_little(network(1, 1, channels=CHANNELS))
    image = torch.rand(2, 1, 64, 64)
    plain = model(image)
    last = model.to(memory_format=torch.channels_last)(image.to(memory_format=torch.channels_last))
    torch.testing.assert_close(last, plain, rtol=1e-4, atol=1e-5)


def test_autocast_on_the_cpu():
    model = trained_a_little(UNet(1, 1, channels=CHANNELS))
    image = torch.rand(1, 1, 64, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = model(image)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float().sigmoid(), model(image).sigmoid(), rtol=0, atol=0.05)


@pytest.mark.parametrize("network", [UNet, UNetPlusPlus])
def test_export_with_a_dynamic_size(network):
    model = trained_a_little(network(1, 1, channels=(4, 8, 8)))
    n, h, w = (torch.export.Dim(name, min=2, max=64) for name in ("n", "h", "w"))
    program = torch.export.export(
        model, (torch.rand(3, 1, 32, 48),), dynamic_shapes=({0: n, 2: 4 * h, 3: 4 * w},)
    )
    image = torch.rand(2, 1, 64, 20)
    torch.testing.assert_close(program.module()(image), model(image))


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize("with_gradients", [True, False])
def test_compile(with_gradients):
    model = trained_a_little(UNetPlusPlus(1, 1, channels=(4, 8, 8), deep_supervision=True))
    image = torch.rand(1, 1, 32, 32)
    compiled = torch.compile(model, fullgraph=True)
    with torch.set_grad_enabled(with_gradients):
        for ours, theirs in zip(compiled(image), model(image), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_cuda_smoke():
    model = trained_a_little(UNetPlusPlus(1, 1, channels=CHANNELS, deep_supervision=True))
    image = torch.rand(1, 1, 70, 70)
    on_cpu = predict(model, image)
    torch.testing.assert_close(predict(model.cuda(), image).cpu(), on_cpu, rtol=0, atol=1e-2)
    with torch.autocast("cuda", dtype=torch.bfloat16):
        loss = sum(
            logits.float().square().mean() for logits in model.train()(image.cuda()[..., :64, :64])
        )
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
