"""Receptive fields, by gradients and by arithmetic, and what a network costs."""

import pytest

from segedu import UNet, UNetPlusPlus, count_multiply_adds, count_parameters, receptive_field
from segedu.analysis import input_interval
from tests.helpers import unchanged


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


@pytest.mark.parametrize("skips", ["all", "first", "last"])
def test_every_inner_node_sees_what_is_computed(skips):
    model = UNetPlusPlus(1, 1, channels=(1, 1, 1, 1), skips=skips)
    for node in model.nodes:
        for row in range(4):
            assert receptive_field(model, node, row=row) == input_interval(model, node, row, row)


def test_several_rows_see_what_each_of_them_sees():
    model = UNet(1, 1, channels=(1, 1, 1))
    single = [input_interval(model, (0, 2), row, row) for row in (5, 6, 7)]
    first, last = min(low for low, _ in single), max(high for _, high in single)
    assert input_interval(model, (0, 2), 5, 7) == (first, last)


def test_measuring_leaves_the_network_as_it_was():
    model = UNet(1, 1, channels=(2, 4)).train()
    with unchanged(model):
        receptive_field(model)
        count_multiply_adds(model, 8, 8)
    assert {p.device.type for p in model.parameters()} == {"cpu"}


def test_what_a_network_costs_by_hand():
    """A U-Net of one pooling, 2 and 3 channels, with a transposed convolution."""
    model = UNet(1, 5, channels=(2, 3), up="transposed")
    fine = 9 * (1 * 2 + 2 * 2) + 9 * (4 * 2 + 2 * 2) + 2 * 5
    coarse = 9 * (2 * 3 + 3 * 3) + 4 * 3 * 2  # the transposed convolution reads coarse pixels
    assert count_multiply_adds(model, 8, 12) == 8 * 12 * fine + 4 * 6 * coarse
    norms, biases = 2 * (2 + 2 + 3 + 3 + 2 + 2), 2 + 5  # scales and shifts; up and head
    assert count_parameters(model) == fine + coarse + norms + biases
    model.heads.requires_grad_(False)
    assert count_parameters(model) == fine + coarse + norms + biases - (2 * 5 + 5)


def test_a_pruned_network_costs_less():
    model = UNetPlusPlus(1, 1, deep_supervision=True)
    costs = [count_multiply_adds(model.prune(level), 64, 64) for level in (1, 2, 3, 4)]
    assert costs == sorted(set(costs))


def test_share_of_the_block_parameters_a_level_keeps():
    model = UNetPlusPlus(3, 1, channels=(32, 64, 128, 256, 512), deep_supervision=True)
    whole = count_parameters(model.blocks)
    kept = [100 * count_parameters(model.prune(d).blocks) / whole for d in (1, 2, 3, 4)]
    assert kept == pytest.approx([1.1, 5.7, 24.4, 100], abs=0.05)
