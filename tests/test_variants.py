"""Each variant against a network unrolled by hand, and in everything a network is used for."""

import copy

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from monai.networks.nets.attentionunet import AttentionBlock as MonaiGate
from torch import nn
from torchvision.models.resnet import BasicBlock

from segedu import (
    AttentionUNet,
    AttentionUNetPlusPlus,
    HalfResolution,
    ResidualUNet,
    UNet,
    UNet3Plus,
    UNetPlusPlus,
    count_multiply_adds,
    count_parameters,
    load_model,
    predict,
    receptive_field,
    save_checkpoint,
)
from segedu.analysis import input_interval, reach
from segedu.checkpoint import load_training
from segedu.diagrams import draw_grid, draw_unet
from segedu.explorers import LiveSegmentation
from segedu.export import to_onnx, to_web
from segedu.fast import SummedConvBlock, summed_convolutions
from segedu.variants import VARIANTS, AttentionGate, ResidualBlock
from tests.test_models import block, trained_a_little, unet_by_hand, unetpp_by_hand

matplotlib.use("agg")
CHANNELS = (4, 8, 12, 16)
NETWORKS = pytest.mark.parametrize("network", VARIANTS.values(), ids=VARIANTS)
ON_A_GRID = {name: variant for name, variant in VARIANTS.items() if variant is not HalfResolution}
GRIDS = pytest.mark.parametrize("network", ON_A_GRID.values(), ids=ON_A_GRID)


# The blocks and the networks, unrolled.


def test_a_residual_block_is_that_of_torchvision():
    ours = ResidualBlock(5, 6)
    theirs = BasicBlock(5, 6, downsample=nn.Sequential(nn.Conv2d(5, 6, 1), nn.BatchNorm2d(6)))
    theirs.conv1, theirs.bn1, _, theirs.conv2, theirs.bn2 = copy.deepcopy(ours.layers)
    theirs.downsample = copy.deepcopy(ours.shortcut)
    inputs = torch.randn(2, 2, 8, 10), torch.randn(2, 3, 8, 10)
    torch.testing.assert_close(ours(*inputs), theirs(torch.cat(inputs, dim=1)))


def test_an_attention_gate_is_that_of_monai_without_its_normalisation():
    ours, theirs = AttentionGate(6, 8), MonaiGate(2, f_int=3, f_g=8, f_l=6)
    for layers, convolution in (
        (theirs.W_x, ours.W_x), (theirs.W_g, ours.W_g), (theirs.psi, ours.psi)
    ):  # fmt: skip
        layers[0], layers[1] = convolution, nn.Identity()
    x, g = torch.randn(2, 6, 8, 10), torch.randn(2, 8, 8, 10)
    torch.testing.assert_close(ours(x, g), theirs(g=g, x=x))


def test_residual_unet_equals_the_hand_unrolled_network():
    model = trained_a_little(ResidualUNet(3, 2, channels=(4, 8, 12, 16, 20)))
    image = torch.rand(2, 3, 64, 96)
    assert torch.equal(model(image), unet_by_hand(model, image))


def gated(model, i, j, *inputs):
    """The block of X(i, j), with the skips among its inputs gated by the last of them."""
    *skips, g = inputs
    parts = model.blocks[f"{i}_{j}"]
    for k, gate in enumerate(parts.gates):
        hidden = F.conv2d(skips[k], gate.W_x.weight) + F.conv2d(g, gate.W_g.weight, gate.W_g.bias)
        weights = F.conv2d(hidden.relu(), gate.psi.weight, gate.psi.bias).sigmoid()
        assert weights.shape[1] == 1
        skips[k] = skips[k] * weights
    return parts.block(torch.cat([*skips, g], dim=1))


def test_attention_unet_equals_the_hand_unrolled_network():
    model = trained_a_little(AttentionUNet(3, 2, channels=(*CHANNELS, 20)))
    image = torch.rand(2, 3, 64, 96)
    torch.testing.assert_close(model(image), unet_by_hand(model, image, gated))


def test_attention_unetpp_equals_the_hand_unrolled_network():
    model = AttentionUNetPlusPlus(3, 2, channels=(*CHANNELS, 20), deep_supervision=True)
    model = trained_a_little(model)
    image = torch.rand(2, 3, 64, 96)
    torch.testing.assert_close(model(image), unetpp_by_hand(model, image, gated))


def test_unet_3plus_equals_the_hand_unrolled_network():
    model = trained_a_little(UNet3Plus(3, 2, channels=CHANNELS, deep_supervision=True))
    image = torch.rand(2, 3, 64, 96)

    def full_scale(i, j, *inputs):
        parts = model.blocks[f"{i}_{j}"]
        return parts.join(torch.cat([parts.branches[k](x) for k, x in enumerate(inputs)], dim=1))

    def enlarged(x, times):
        return F.interpolate(x, scale_factor=times, mode="bilinear", align_corners=False)

    x00 = block(model, 0, 0, image)
    x10 = block(model, 1, 0, F.max_pool2d(x00, 2))
    x20 = block(model, 2, 0, F.max_pool2d(x10, 2))
    x30 = block(model, 3, 0, F.max_pool2d(x20, 2))
    x21 = full_scale(2, 1, F.max_pool2d(x00, 4), F.max_pool2d(x10, 2), x20, enlarged(x30, 2))
    x12 = full_scale(1, 2, F.max_pool2d(x00, 2), x10, enlarged(x30, 4), enlarged(x21, 2))
    x03 = full_scale(0, 3, x00, enlarged(x30, 8), enlarged(x21, 4), enlarged(x12, 2))
    expected = [
        enlarged(model.heads["1"](x21), 4),
        enlarged(model.heads["2"](x12), 2),
        model.heads["3"](x03),
    ]
    torch.testing.assert_close(model(image), expected)


def test_unet_3plus_has_the_published_number_of_parameters():
    """26.97 million, with a bias in each convolution; ours have none before a normalisation."""
    model = UNet3Plus(3, 1, channels=(64, 128, 256, 512, 1024))
    convolutions = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    biases = sum(layer.out_channels for layer in convolutions if layer.bias is None)
    assert round((count_parameters(model) + biases) / 1e6, 2) == 26.97


def test_what_gates_cost_by_hand():
    """One gate more than a U-Net of one pooling has: 1x1 convolutions from 4 and 8 to 2 to 1."""
    gate = 4 * 2 + 8 * 2 + 2 * 1
    plain, attention = (net(1, 1, channels=(4, 8)) for net in (UNet, AttentionUNet))
    more = count_multiply_adds(attention, 8, 12) - count_multiply_adds(plain, 8, 12)
    assert more == 8 * 12 * gate
    assert count_parameters(attention) - count_parameters(plain) == gate + 2 + 1


# Training, pruning, saving.


@NETWORKS
@pytest.mark.parametrize("norm", ["batch", "group"])
def test_gradients_reach_every_parameter(network, norm):
    torch.manual_seed(0)
    model = network(1, 1, channels=CHANNELS, norm=norm, deep_supervision=True).train()
    images = torch.rand(2, 1, 32, 32)
    kinds = {type(part) for part in model.modules()}
    assert (nn.BatchNorm2d in kinds, nn.GroupNorm in kinds) == (norm == "batch", norm == "group")
    heads = model(images)
    assert [head.shape for head in heads] == [images.shape] * len(model.levels)
    sum(head.square().mean() for head in heads).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_unet_3plus_refuses_what_it_has_not():
    for name, value in {"up": "transposed", "skips": "first"}.items():
        with pytest.raises(ValueError, match=f"{name} must be "):
            UNet3Plus(1, 1, channels=CHANNELS, **{name: value})


def test_deep_supervision_of_unet_3plus_has_a_head_for_each_node_of_the_way_up():
    assert UNet3Plus(1, 1, channels=CHANNELS, deep_supervision=True).levels == [1, 2, 3]
    assert UNet3Plus(1, 1, channels=CHANNELS).levels == [3]


@NETWORKS
def test_pruning_is_exact_or_refused(network):
    model = trained_a_little(network(1, 2, channels=CHANNELS, deep_supervision=True))
    model.threshold, model.normalization = own = 0.3, (2.0, 98.0)
    model.class_names = ("a", "b")
    image = torch.rand(1, 1, 32, 48)
    heads = dict(zip(model.levels, model(image), strict=True))
    levels = [3] if network is UNet3Plus else model.levels
    for level in levels:
        pruned = model.prune(level)
        assert torch.equal(pruned(image), heads[level])
        assert type(pruned) is network
        assert (pruned.threshold, pruned.normalization, pruned.class_names) == (*own, ("a", "b"))
    if network is UNet3Plus:
        with pytest.raises(ValueError, match=r"level 2 of UNet 3\+ needs all rows: take a U-Net"):
            model.prune(2)


@NETWORKS
def test_a_file_brings_back_the_variant_and_says_when_it_is_another(network, tmp_path):
    path = tmp_path / "a.safetensors"
    model = trained_a_little(network(2, 3, channels=CHANNELS, norm="group", deep_supervision=True))
    save_checkpoint(path, model.prune(3))
    again = load_model(path)
    assert type(again) is network
    image = torch.rand(1, 2, 20, 30)
    assert torch.equal(predict(again, image), predict(model, image, level=3))
    other = UNet(2, 3, channels=CHANNELS, norm="group")
    with pytest.raises(ValueError, match=f"another network: .*variant is {network.__name__}"):
        load_training(path, other, torch.optim.SGD(other.parameters()))


def test_a_file_with_an_unknown_variant_is_refused(tmp_path, monkeypatch):
    path, model = tmp_path / "a.safetensors", AttentionUNet(1, 1, channels=CHANNELS)
    save_checkpoint(path, model)
    monkeypatch.delitem(VARIANTS, "AttentionUNet")
    with pytest.raises(ValueError, match="names a network that cannot be built: 'AttentionUNet'"):
        load_model(path)


@NETWORKS
def test_summed_convolutions_give_the_same_gradients(network):
    torch.manual_seed(0)
    model = network(1, 1, channels=CHANNELS).train()
    images, gradients = torch.rand(2, 1, 32, 32), []
    names = list(model.state_dict())
    with summed_convolutions(model):
        assert list(model.state_dict()) == names
        summed = any(type(part) is SummedConvBlock for part in model.modules())
        assert summed == (network is not ResidualUNet)  # it has no ConvBlock of its own
        gradients.append(torch.autograd.grad(model(images).sin().sum(), model.parameters()))
    gradients.append(torch.autograd.grad(model(images).sin().sum(), model.parameters()))
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-3)


# What it sees, tiles, and other forms.


@GRIDS
@pytest.mark.parametrize("up", ["bilinear", "transposed"])
def test_receptive_field_measured_equals_receptive_field_computed(network, up):
    if network is UNet3Plus and up == "transposed":
        with pytest.raises(ValueError, match="up must be 'bilinear', got 'transposed'"):
            network(1, 1, up=up)
        return
    model = network(1, 1, channels=CHANNELS, up=up)
    for i, j in model.nodes:
        for row in range(2**j):
            measured = receptive_field(model, (i, j), row=row)
            assert measured == input_interval(model, (i, j), row, row)


@GRIDS
def test_what_lies_outside_the_receptive_field_changes_nothing(network):
    model = trained_a_little(network(1, 1, channels=CHANNELS)).double()
    image = torch.rand(1, 1, 192, 16, dtype=torch.float64)
    whole = model(image)[..., 96, :]
    first, last = input_interval(model, (0, 3), 96, 96)
    beyond, within = image.clone(), image.clone()
    beyond[..., :first, :] = beyond[..., last + 1 :, :] = 5
    within[..., first : first + 8, :] = 5
    torch.testing.assert_close(model(beyond)[..., 96, :], whole, rtol=0, atol=1e-12)
    assert (model(within)[..., 96, :] - whole).abs().max() > 1e-12


@NETWORKS
def test_tiles_give_the_answer_of_the_whole(network):
    model = trained_a_little(network(1, 1, channels=CHANNELS, deep_supervision=True))
    image = torch.rand(1, 1, 200, 133)
    whole = predict(model, image, tile_size=None)
    torch.testing.assert_close(predict(model, image, tile_size=40), whole, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning")  # of torch's exporter about itself
@NETWORKS
def test_onnx_computes_what_torch_computes(network):
    onnxruntime = pytest.importorskip("onnxruntime")
    model = trained_a_little(network(1, 2, channels=CHANNELS, deep_supervision=True))
    session = onnxruntime.InferenceSession(to_onnx(model))
    for shape in ((1, 1, 16, 16), (3, 1, 96, 64)):
        images = torch.randn(shape)
        outputs = session.run(None, {"images": images.numpy()})
        for ours, logits in zip(outputs, model(images), strict=True):
            np.testing.assert_allclose(ours, logits.detach().numpy(), rtol=0, atol=1e-4)


@GRIDS
def test_a_page_and_a_drawing_refuse_what_they_cannot_show(network):
    model = network(1, 1, channels=CHANNELS)
    for page in (to_web, LiveSegmentation):
        with pytest.raises(ValueError, match=r"with {'blocks': \['ConvBlock'\]}, got .*Block'\]}"):
            page(model)
    for draw in (draw_grid, lambda model: draw_unet(model, 64)):
        if network is UNet3Plus:
            with pytest.raises(ValueError, match=r"use its sources\(i, j\) instead"):
                draw(model)
        else:
            gids = [patch.get_gid() for patch in draw(model).patches]
            nodes = {f"node {i} {j}" for i, j in model.nodes}
            assert {gid for gid in gids if gid.startswith("node")} == nodes
            plt.close("all")


# Half the resolution.


def test_half_resolution_is_a_network_between_two_rearrangements():
    model = trained_a_little(HalfResolution(2, 3, channels=CHANNELS))
    grid = UNet(8, 12, channels=CHANNELS).eval()
    grid.load_state_dict(model.grid.state_dict())
    image = torch.rand(1, 2, 32, 48)
    blocks = image.reshape(1, 2, 16, 2, 24, 2).permute(0, 1, 3, 5, 2, 4).reshape(1, 8, 16, 24)
    logits = grid(blocks).reshape(1, 3, 2, 2, 16, 24).permute(0, 1, 4, 2, 5, 3)
    assert torch.equal(model(image), logits.reshape(1, 3, 32, 48))
    with pytest.raises(ValueError, match=r"4 poolings need sides that are multiples of 16"):
        model(image[..., :8])
    for page in (to_web, LiveSegmentation):
        with pytest.raises(ValueError, match=r"NodeGrid, got a HalfResolution: .* as ONNX instead"):
            page(model)


def test_half_resolution_of_unetpp_is_one_too():
    plain = UNetPlusPlus(4, 4, channels=CHANNELS, deep_supervision=True)
    options = {"nodes": plain.nodes, "deep_supervision": True}
    model = HalfResolution(1, 1, channels=CHANNELS, **options)
    assert model.levels == [1, 2, 3]
    assert count_parameters(model) == count_parameters(plain)
    assert count_multiply_adds(model, 64, 64) == count_multiply_adds(plain, 32, 32)


def test_the_reach_of_half_resolution_is_measured():
    model = trained_a_little(HalfResolution(1, 1, channels=CHANNELS[:2])).double()
    image, far = torch.rand(1, 1, 128, 8, dtype=torch.float64), reach(model)
    seen = []
    for row in (64, 65, 66, 67):
        rows = image.clone().requires_grad_()
        model(rows)[..., row, :].sum().backward()
        reached = rows.grad[0, 0].abs().sum(dim=1).nonzero().flatten() - row
        seen += [-int(reached.min()), int(reached.max())]
    assert far - 1 <= max(seen) <= far
