"""Variants of U-Net and U-Net++, each an edit of the rule in `segedu.models`.

`ResidualUNet` has another block, `AttentionUNet` and `AttentionUNetPlusPlus` weigh every skip, and
the way up of `UNet3Plus` takes its inputs from every row. Their arguments are those of `UNet`.
`HalfResolution` is any grid at half the resolution, for speed.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .checks import check_choice, check_images
from .models import (
    BELONGINGS,
    ConvBlock,
    Node,
    NodeGrid,
    UNet,
    UNetPlusPlus,
    conv_layer,
    unet_nodes,
)


class ResidualBlock(nn.Module):
    """A `ConvBlock` with a shortcut around all but its last ReLU (arXiv 1512.03385, equation 2)."""

    def __init__(self, in_channels: int, out_channels: int, *, norm: str = "batch"):
        super().__init__()
        *layers, self.relu = ConvBlock(in_channels, out_channels, norm=norm)
        self.layers = nn.Sequential(*layers)
        self.shortcut = nn.Sequential(*conv_layer(in_channels, out_channels, norm, size=1)[:-1])

    def forward(self, *inputs: Tensor) -> Tensor:
        x = torch.cat(inputs, dim=1)
        return self.relu(self.layers(x) + self.shortcut(x))


class AttentionGate(nn.Module):
    """Each pixel of x times its weight, sigmoid(psi(relu(W_x x + W_g g))), from 0 to 1.

    g is what comes from below, already in the size of x; the paper computes the weights in the
    smaller size and enlarges them. Source: Oktay et al. 2018 (arXiv 1804.03999), equation 1.
    """

    def __init__(self, in_channels: int, gating_channels: int):
        super().__init__()
        inner = max(in_channels // 2, 1)
        self.W_x = nn.Conv2d(in_channels, inner, 1, bias=False)
        self.W_g = nn.Conv2d(gating_channels, inner, 1)
        self.psi = nn.Conv2d(inner, 1, 1)

    def forward(self, x: Tensor, g: Tensor) -> Tensor:
        return x * self.psi(F.relu(self.W_x(x) + self.W_g(g))).sigmoid()


class AttentionBlock(nn.Module):
    """A `ConvBlock` of its inputs, of which the last, from below, gates all others."""

    def __init__(self, widths: list[int], out_channels: int, *, norm: str = "batch"):
        super().__init__()
        *skips, below = widths
        self.gates = nn.ModuleList(AttentionGate(width, below) for width in skips)
        self.block = ConvBlock(sum(widths), out_channels, norm=norm)

    def forward(self, *inputs: Tensor) -> Tensor:
        *skips, below = inputs
        skips = [gate(x, below) for gate, x in zip(self.gates, skips, strict=True)]
        return self.block(*skips, below)


class FullScaleBlock(nn.Module):
    """A 3x3 convolution of each input to `inner` channels, and one of their concatenation."""

    def __init__(self, widths: list[int], inner: int, out_channels: int, *, norm: str = "batch"):
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(*conv_layer(w, inner, norm)) for w in widths)
        self.join = nn.Sequential(*conv_layer(len(widths) * inner, out_channels, norm))

    def forward(self, *inputs: Tensor) -> Tensor:
        parts = [branch(x) for branch, x in zip(self.branches, inputs, strict=True)]
        return self.join(torch.cat(parts, dim=1))


class ResidualUNet(UNet):
    """U-Net of residual blocks, as Zhang et al. 2018 (arXiv 1711.10684) without pre-activation."""

    def make_block(self, i: int, j: int, widths: list[int]) -> nn.Module:
        return ResidualBlock(sum(widths), self.channels[i], norm=self.norm)


class AttentionUNet(UNet):
    """U-Net with an attention gate on each skip, Oktay et al. 2018 (arXiv 1804.03999)."""

    def make_block(self, i: int, j: int, widths: list[int]) -> nn.Module:
        return AttentionBlock(widths, self.channels[i], norm=self.norm)


class AttentionUNetPlusPlus(UNetPlusPlus):
    """U-Net++ with an attention gate on each skip; it can be pruned like U-Net++."""

    make_block = AttentionUNet.make_block


class UNet3Plus(UNet):
    """UNet 3+, Huang et al. 2020 (arXiv 2004.08790): a node of the way up sees all rows.

    It takes X(k, 0) of its own row and those above, pooled, and X(k, L - k) of those below,
    enlarged. With deep_supervision the head of level d is at X(L - d, d), and its logits are
    enlarged; the paper has one more at X(L, 0), and answers with the last alone, `level=L`.
    Raises ValueError for transposed convolutions, for only some of the skips, and where `prune` is
    asked for another level.

    >>> UNet3Plus(1, 1).sources(2, 2)
    [(0, 0), (1, 0), (2, 0), (4, 0), (3, 1)]
    """

    def __init__(self, in_channels, num_classes, *, up="bilinear", skips="all", **options):
        check_choice("up", up, ("bilinear",))
        check_choice("skips", skips, ("all",))
        super().__init__(in_channels, num_classes, **options)

    def sources(self, i: int, j: int) -> list[Node]:
        if j == 0:
            return super().sources(i, j)
        return [(k, 0) for k in range(i + 1)] + [(k, i + j - k) for k in range(i + j, i, -1)]

    def skip_sources(self, i: int, j: int) -> list[int]:  # which drawings and pages read
        raise ValueError("UNet 3+ has more than the skips in a row: use its sources(i, j) instead")

    def width(self, i: int, j: int) -> int:
        return len(self.channels) * self.channels[0] if j > 0 else self.channels[i]

    def make_block(self, i: int, j: int, widths: list[int]) -> nn.Module:
        if j == 0:
            return super().make_block(i, j, widths)
        return FullScaleBlock(widths, self.channels[0], self.width(i, j), norm=self.norm)

    def resized(self, x: Tensor, source: Node, node: Node) -> Tensor:
        if (rows := source[0] - node[0]) <= 1:
            return super().resized(x, source, node)
        return F.interpolate(x, scale_factor=2**rows, mode="bilinear", align_corners=False)

    def forward(self, images: Tensor) -> Tensor | list[Tensor]:
        x, logits = self.features(images), []
        for level in self.levels:
            node = self.depth - level, level
            logits.append(self.resized(self.heads[str(level)](x[node]), node, (0, self.depth)))
        return logits if self.deep_supervision else logits[-1]

    @property
    def levels(self) -> list[int]:
        return list(range(1 if self.deep_supervision else self.depth, self.depth + 1))

    def prune(self, level: int) -> "UNet3Plus":
        if level != self.depth:
            raise ValueError(f"level {level} of UNet 3+ needs all rows: take a U-Net++ to prune")
        return super().prune(level)


class HalfResolution(nn.Module):
    """A grid that sees each block of 2 x 2 pixels as one pixel with four times the channels.

    So nothing is computed at the full resolution. The image is taken apart by pixel_unshuffle, and
    the logits are put together by pixel_shuffle (Shi et al. 2016, arXiv 1609.05158). It is trained,
    saved and used like the grid.

    Parameters
    ----------
    channels : of each row, half the resolution first.
    nodes : those of a U-Net, if not given.
    options : of the `NodeGrid`.

    >>> model = HalfResolution(1, 3, channels=(4, 8))
    >>> model(torch.zeros(1, 1, 32, 48)).shape, model.depth
    (torch.Size([1, 3, 32, 48]), 2)
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        channels: Sequence[int] = (16, 32, 64, 128),
        nodes: Sequence[Node] | None = None,
        **options,
    ):
        super().__init__()
        nodes = unet_nodes(len(channels) - 1) if nodes is None else nodes
        shape = 4 * in_channels, 4 * num_classes
        self.grid = NodeGrid(*shape, channels=channels, nodes=nodes, **options)
        self.in_channels, self.num_classes = in_channels, num_classes
        self.channels, self.depth = self.grid.channels, self.grid.depth + 1
        self.norm, self.levels = self.grid.norm, self.grid.levels
        self.threshold, self.normalization, self.class_names = 0.5, (1.0, 99.9), ()

    def forward(self, images: Tensor) -> Tensor | list[Tensor]:
        check_images(images, self.in_channels, self.depth)
        logits = self.grid(F.pixel_unshuffle(images, 2))
        if isinstance(logits, list):
            return [F.pixel_shuffle(head, 2) for head in logits]
        return F.pixel_shuffle(logits, 2)

    @property
    def config(self) -> dict:
        """The arguments that build this network again."""
        return self.grid.config | self._shape

    @property
    def _shape(self) -> dict:
        return {"in_channels": self.in_channels, "num_classes": self.num_classes}

    def prune(self, level: int) -> "HalfResolution":
        """As `NodeGrid.prune`."""
        grid = self.grid.prune(level)
        with torch.device("meta"):  # its grid is replaced below
            pruned = HalfResolution(**grid.config | self._shape)
        pruned.grid = grid
        for name in BELONGINGS:
            setattr(pruned, name, getattr(self, name))
        return pruned.train(self.training)


# The networks that a checkpoint may name.
VARIANTS = {
    variant.__name__: variant
    for variant in (
        ResidualUNet,
        AttentionUNet,
        AttentionUNetPlusPlus,
        UNet3Plus,
        HalfResolution,
    )
}
