"""The grid against networks unrolled by hand, pruning, and every way to run a network."""

import shutil

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from segedu import NodeGrid, UNet, UNetPlusPlus, count_parameters
from segedu.models import ConvBlock, unet_nodes, unetpp_nodes

CHANNELS = (4, 8, 12, 16, 20)


def trained_a_little(model):
    """In eval mode, with statistics and biases that differ from the initial zeros and ones."""
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


def unet_by_hand(model, image, block=block):
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


def unetpp_by_hand(model, image, block=block):
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
    ours, by_hand = model(image), unetpp_by_hand(model, image)
    torch.testing.assert_close(ours, by_hand, rtol=0, atol=0)
    gradients, by_hand = (
        torch.autograd.grad(sum(head.square().mean() for head in heads), model.parameters())
        for heads in (ours, by_hand)
    )
    torch.testing.assert_close(gradients, by_hand)


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_a_block_is_two_convolutions_with_a_norm_and_a_relu_each(norm):
    block = ConvBlock(5, 12, norm=norm).train()
    inputs = torch.rand(2, 2, 8, 10), torch.rand(2, 3, 8, 10)
    x = torch.cat(inputs, dim=1)
    for weight in (p for p in block.parameters() if p.ndim == 4):
        x = F.conv2d(x, weight, padding=1)
        x = F.batch_norm(x, None, None, training=True) if norm == "batch" else F.group_norm(x, 4)
        x = x.relu()
    torch.testing.assert_close(block(*inputs), x)


def test_the_first_weights_keep_the_variance():
    """He et al. 2015 (arXiv 1502.01852): a variance of 2 / fan_in before a ReLU."""
    torch.manual_seed(0)
    for name, layer in UNet(3, 1, channels=(32, 64, 128)).named_modules():
        if isinstance(layer, nn.Conv2d) and "blocks" in name:
            expected = (2 / layer.weight[0].numel()) ** 0.5
            assert layer.weight.std().item() == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(
    ("network", "options", "count"),
    [(UNet, {}, 7_852_545), (UNetPlusPlus, {"deep_supervision": True}, 9_163_428)],
)
def test_parameter_counts_are_the_published_ones_without_the_idle_biases(network, options, count):
    """The published 7.85 and 9.16 million count a bias in each convolution; ours have none."""
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


@pytest.mark.parametrize(
    ("up", "norm", "skips", "memory_format"),
    [
        ("bilinear", "batch", "all", torch.contiguous_format),
        ("bilinear", "batch", "all", torch.channels_last),
        ("bilinear", "group", "last", torch.contiguous_format),
        ("transposed", "batch", "first", torch.contiguous_format),
        ("transposed", "group", "all", torch.channels_last),
    ],
)
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


def test_pruning_shares_the_weights():
    model = UNetPlusPlus(1, 1, channels=CHANNELS, deep_supervision=True)
    model.threshold, model.normalization, model.class_names = 0.35, (0.0, 100.0), ("cell",)
    pruned = model.prune(2)
    assert pruned.blocks["1_1"] is model.blocks["1_1"]
    assert {id(p) for p in pruned.parameters()} < {id(p) for p in model.parameters()}
    assert pruned.prune(2).nodes == pruned.nodes
    for name in ("threshold", "normalization", "class_names"):
        assert getattr(pruned, name) == getattr(model, name)


def test_the_nodes_that_exist():
    assert UNet(1, 1).nodes == sorted(unet_nodes(4), key=lambda n: (sum(n), n[1]))
    assert len(unetpp_nodes(4)) == 15
    assert UNetPlusPlus(1, 1, skips="first").skip_sources(0, 4) == [0]
    assert UNetPlusPlus(1, 1, skips="last").skip_sources(0, 4) == [3]
    assert UNet(1, 1).levels == UNetPlusPlus(1, 1).levels == [4]
    assert UNet(1, 1).channels == UNetPlusPlus(1, 1).channels == (16, 32, 64, 128, 256)


def test_config_builds_the_network_again():
    model = trained_a_little(UNetPlusPlus(2, 3, channels=(4, 8), skips="last", up="transposed"))
    again = NodeGrid(**model.config)
    again.load_state_dict(model.state_dict())
    image = torch.rand(1, 2, 16, 16)
    assert torch.equal(again.eval()(image), model(image))


@pytest.mark.parametrize(
    ("channels", "nodes", "message"),
    [
        ((4,), [(0, 0)], "channels needs two entries or more"),
        ((4, 8), [(0, 0), (1, 0)], r"output node is \(0, 1\)"),
        ((4, 8), [(0, 0), (0, 1)], r"\(0, 1\) needs node \(1, 0\)"),
        ((4, 8), [(0, 0), (1, 0), (0, 1), (1, 1)], r"\(1, 1\) needs node \(2, 0\)"),
        ((4, 8), [(0, 0), (1, 0), (2, 0), (0, 1)], r"\(2, 0\) has i \+ j > 1"),
        ((4, 4, 4), [(0, 0), (1, 0), (2, 0), (0, 2)], r"needs node \(1, 1\)"),
    ],
)
def test_nodes_that_make_no_network_are_named(channels, nodes, message):
    with pytest.raises(ValueError, match=message):
        NodeGrid(1, 1, channels=channels, nodes=nodes)


@pytest.mark.parametrize(
    ("shape", "channels", "message"),
    [
        ((0, 1), (4, 8), "in_channels must be an integer of at least 1, got 0"),
        ((1, 0), (4, 8), "num_classes must be an integer of at least 1, got 0"),
        ((1, 1), (4, 0), "each of channels must be an integer of at least 1, got 0"),
        ((1, 1), (4, 2.5), "each of channels must be an integer of at least 1, got 2.5"),
    ],
)
def test_a_network_needs_channels(shape, channels, message):
    with pytest.raises(ValueError, match=message):
        UNet(*shape, channels=channels)


def test_one_pixel_in_the_deepest_row_is_too_few_for_a_mean():
    one = torch.rand(1, 1, 4, 4)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        UNet(1, 1, channels=(4, 8, 8)).train()(one)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        UNet(1, 1, channels=(4, 8, 8), norm="group").eval()(one)
    assert UNet(1, 1, channels=(4, 8, 16), norm="group").train()(one).isfinite().all()


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


WITH_A_COMPILER = pytest.mark.skipif(
    shutil.which("g++") is None, reason="torch.compile needs a C++ compiler"
)


@pytest.mark.parametrize("with_gradients", [True, False])
@pytest.mark.parametrize(
    "backend", ["eager", pytest.param("inductor", marks=[pytest.mark.slow, WITH_A_COMPILER])]
)
def test_compiles_without_a_break(backend, with_gradients):
    model = trained_a_little(UNetPlusPlus(1, 1, channels=(4, 8, 8), deep_supervision=True))
    image = torch.rand(1, 1, 32, 32)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend=backend, fullgraph=True)
    with torch.set_grad_enabled(with_gradients):
        torch.testing.assert_close(compiled(image), model(image), rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_gradients_on_a_gpu():
    model = UNetPlusPlus(1, 1, channels=CHANNELS, deep_supervision=True).cuda()
    with torch.autocast("cuda", dtype=torch.bfloat16):
        heads = model(torch.rand(1, 1, 64, 64, device="cuda"))
        loss = sum(logits.float().square().mean() for logits in heads)
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
