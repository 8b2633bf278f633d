"""Exercises in which a whole network is built: they compare what the networks answer.

Every weight is set to numbers that depend on its shape alone, so that the order in which a learner
registers the layers does not matter: two networks of the same layers, connected in the same way,
give the same answer.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .answer import Answer, check


def fill(module: nn.Module) -> nn.Module:
    """A network in eval mode, each of its weights a wave that depends on the weight's shape only."""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.dim() > 1:
                wave = torch.cos(torch.arange(parameter.numel(), dtype=torch.float32))
                parameter.copy_(wave.view_as(parameter) / parameter[0].numel() ** 0.5)
    return module.eval()


def block(before: int, width: int, *, norm=True, relu=True, layers=2, padding=1) -> nn.Sequential:
    parts = []
    for _ in range(layers):
        parts.append(nn.Conv2d(before, width, 3, padding=padding, bias=not norm))
        parts += [nn.BatchNorm2d(width)] * norm + [nn.ReLU()] * relu
        before = width
    return nn.Sequential(*parts)


class Built(nn.Module):
    """A U-Net as the exercise asks for it, or with one mistake."""

    def __init__(
        self, channels: Sequence[int], *, join="cat", mode="bilinear", final=None, **options
    ):
        super().__init__()
        self.join, self.mode, self.final = join, mode, final
        pairs = zip((1, *channels), channels, strict=False)
        self.down = nn.ModuleList(block(a, b, **options) for a, b in pairs)
        joined = [self.width(*pair) for pair in zip(channels, channels[1:], strict=False)]
        self.up = nn.ModuleList(
            block(a, b, **options) for a, b in zip(joined, channels, strict=False)
        )
        self.head = nn.Conv2d(channels[0], 1, 1)

    def width(self, skip: int, below: int) -> int:
        return skip + below if self.join in ("cat", "swapped") else below

    def forward(self, x: Tensor) -> Tensor:
        maps = []
        for k, part in enumerate(self.down):
            x = part(F.max_pool2d(x, 2) if k else x)
            maps.append(x)
        x = maps.pop()
        for part, skip in zip(reversed(self.up), reversed(maps), strict=True):
            corners = {} if self.mode == "nearest" else {"align_corners": self.mode == "corners"}
            mode = "bilinear" if self.mode == "corners" else self.mode
            x = F.interpolate(x, scale_factor=2, mode=mode, **corners)
            if self.join == "cat":
                x = torch.cat([skip, x], 1)
            elif self.join == "swapped":
                x = torch.cat([x, skip], 1)
            x = part(x)
        x = self.head(x)
        return x if self.final is None else self.final(x)


def check_unet(submission: Callable[[Sequence[int]], nn.Module]) -> Answer:
    """Check a class, or a function, that makes a U-Net of the channels that it is given.

    One grey channel in, one logit per pixel out; the skip stands first.
    """

    def answer(make, channels, size):
        generator = torch.Generator().manual_seed(0)
        image = torch.rand(1, 1, size, size, generator=generator)
        with torch.no_grad():
            return fill(make(channels))(image)

    cases = [((4, 8), 8), ((4, 8, 16), 16), ((3, 5, 7), 16), ((2, 4, 8, 16), 32), ((5,), 8),
             ((4, 8, 16), 24)]  # fmt: skip
    misconceptions = {
        "the skips are missing: each block on the way up also gets the map from the way down": (
            lambda channels: Built(channels, join=None)
        ),
        "the skip stands second; in this course it stands first": (
            lambda channels: Built(channels, join="swapped")
        ),
        "the head ends in a sigmoid, but losses take logits": (
            lambda channels: Built(channels, final=torch.sigmoid)
        ),
        "the upsampling repeats pixels (nearest); bilinear was asked for": (
            lambda channels: Built(channels, mode="nearest")
        ),
        "align_corners must be False": lambda channels: Built(channels, mode="corners"),
        "batch normalisation is missing in the blocks": (
            lambda channels: Built(channels, norm=False)
        ),
        "the ReLUs are missing in the blocks": lambda channels: Built(channels, relu=False),
        "a block has two convolutions, here is one": lambda channels: Built(channels, layers=1),
    }
    return check(submission, Built, cases, misconceptions, run=answer, tolerance=1e-4)
