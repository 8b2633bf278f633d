"""The same numbers sooner: training on a CPU without copying maps side by side.

A convolution of concatenated maps is the sum of the convolutions of each. Computed as that sum, no
`ConvBlock` copies its inputs into one tensor, forward or backward. On the CPU where it was tried, a
training step of U-Net and U-Net++ took 11 to 17 % less. The answers are equal up to rounding.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch.nn.functional as F
from torch import Tensor, nn

from .models import ConvBlock


class SummedConvBlock(ConvBlock):
    """The layers of a `ConvBlock`, which in training adds up the convolutions of its inputs."""

    def __init__(self, block: ConvBlock):
        nn.Sequential.__init__(self, *block)

    def forward(self, *inputs: Tensor) -> Tensor:
        if not self.training:
            return super().forward(*inputs)
        first, *rest = self
        weights = first.weight.split([x.shape[1] for x in inputs], dim=1)
        x, *others = (F.conv2d(*pair, padding=1) for pair in zip(inputs, weights, strict=True))
        x = sum(others, x)
        for layer in rest:
            x = layer(x)
        return x


@contextmanager
def summed_convolutions(model: nn.Module) -> Iterator[None]:
    """Inside the block, every `ConvBlock` of a network is a `SummedConvBlock` of the same weights.

    On a GPU, which copies quickly, nothing changes.

    >>> from segedu import UNet
    >>> model = UNet(1, 1, channels=(4, 8))
    >>> with summed_convolutions(model):
    ...     type(model.blocks["0_1"]).__name__
    'SummedConvBlock'
    >>> type(model.blocks["0_1"]).__name__
    'ConvBlock'
    """
    is_on_cpu = next(model.parameters()).device.type == "cpu"
    blocks = model.named_modules() if is_on_cpu else ()
    plain = {name: block for name, block in blocks if type(block) is ConvBlock}
    try:
        for name, block in plain.items():
            model.set_submodule(name, SummedConvBlock(block).train(block.training))
        yield
    finally:
        for name, block in plain.items():
            model.set_submodule(name, block.train(model.get_submodule(name).training))
