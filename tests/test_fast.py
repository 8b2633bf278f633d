"""The sum of convolutions is the convolution of the concatenation."""

import copy

import pytest
import torch

from segedu import UNet, UNetPlusPlus
from segedu.fast import SummedConvBlock, summed_convolutions
from segedu.models import ConvBlock


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_summed_block_is_the_plain_block(norm, memory_format):
    """Values, gradients and statistics agree."""
    torch.manual_seed(0)
    widths = (4, 8, 3)
    plain = ConvBlock(sum(widths), 16, norm=norm).to(memory_format=memory_format).train()
    summed = SummedConvBlock(copy.deepcopy(plain)).train()
    inputs = [torch.rand(2, width, 12, 10, requires_grad=True) for width in widths]
    results = []
    for block in (plain, summed):
        answer = block(*inputs)
        gradients = torch.autograd.grad(answer.sin().sum(), [*inputs, *block.parameters()])
        results.append([answer, *gradients, *block.buffers()])
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("network", [UNet, UNetPlusPlus])
def test_a_network_with_summed_convolutions_trains_the_same_weights(network):
    torch.manual_seed(0)
    model = network(1, 1, channels=(4, 8, 12), deep_supervision=True).train()
    images, twin = torch.rand(2, 1, 16, 16), copy.deepcopy(model)
    names = list(model.state_dict())
    with summed_convolutions(model):
        assert all(isinstance(block, SummedConvBlock) for block in model.blocks.values())
        assert list(model.state_dict()) == names
        ours = model(images)
        sum(head.square().sum() for head in ours).backward()
        assert torch.equal(model.eval()(images)[-1], model(images)[-1])
    assert all(type(block) is ConvBlock for block in model.blocks.values())
    assert not model.blocks["0_0"].training  # as the network is now
    expected = twin(images)
    sum(head.square().sum() for head in expected).backward()
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)
    for parameter, its_twin in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, its_twin.grad, rtol=1e-3, atol=1e-3)


def test_a_block_in_eval_mode_stays_in_it():
    model = UNet(1, 1, channels=(4, 8)).train()
    model.blocks["0_0"].eval()
    with summed_convolutions(model):
        assert not model.blocks["0_0"].training
    assert [model.blocks[name].training for name in ("0_0", "0_1")] == [False, True]


def test_the_plain_blocks_come_back_after_an_error():
    model = UNet(1, 1, channels=(4, 8))

    with pytest.raises(RuntimeError), summed_convolutions(model):
        raise RuntimeError("in the middle of training")
    assert all(type(block) is ConvBlock for block in model.blocks.values())


def test_on_another_device_than_a_cpu_the_blocks_stay_plain():
    model = UNet(1, 1, channels=(4, 8)).to("meta")
    with summed_convolutions(model):
        assert all(type(block) is ConvBlock for block in model.blocks.values())


def test_nothing_is_concatenated_in_training(monkeypatch):
    block = SummedConvBlock(ConvBlock(5, 4, norm="batch"))
    inputs = [torch.rand(1, width, 8, 8) for width in (2, 3)]
    plain = block.eval()(*inputs)  # as one convolution, which is as fast without gradients
    monkeypatch.setattr("torch.cat", None)
    assert block.train()(*inputs).shape == plain.shape
    with pytest.raises(TypeError):
        block.eval()(*inputs)
