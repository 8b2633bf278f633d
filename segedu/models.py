"""U-Net and U-Net++ as one grid of nodes.

Node X(i, j) stands in row i, the resolution level (0 is full resolution, each further row has half
the height and width), and in column j, the position along the skip pathway. One rule holds for
every node, with H a block of two convolutions::

    X(0, 0) = H(image)
    X(i, 0) = H(pool(X(i-1, 0)))  # going down
    X(i, j) = H(concat[X(i, k) for every existing k < j] + up(X(i+1, j-1)))  # going up

The two networks differ only in which nodes exist. U-Net has the first column and the last
anti-diagonal; U-Net++ has the whole triangle. Leaving out every node with i + j > d prunes the
network to level d.

Sources: U-Net, Ronneberger et al. 2015 (arXiv 1505.04597), figure 1; U-Net++, Zhou et al. 2018
(arXiv 1807.10165), equation 1, and 2019 (arXiv 1912.05074).
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .checks import (
    check_choice,
    check_integer,
    check_sequence,
    check_tensor,
    describe,
)

MAX_DEPTH = 7  # sides are multiples of 2^7 then
MAX_CHANNELS = 4096
MAX_SIDE = 2**20  # pixels

Node = tuple[int, int]


def unet_nodes(depth: int) -> list[Node]:
    """The nodes of a U-Net with `depth` poolings: the way down and the way up.

    >>> unet_nodes(2)
    [(0, 0), (1, 0), (2, 0), (1, 1), (0, 2)]
    """
    check_integer("depth", depth, 1, MAX_DEPTH)
    return [(i, 0) for i in range(depth + 1)] + [(depth - j, j) for j in range(1, depth + 1)]


def unetpp_nodes(depth: int) -> list[Node]:
    """The nodes of a U-Net++ with `depth` poolings: the whole triangle i + j <= depth.

    >>> unetpp_nodes(2)
    [(0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2)]
    """
    check_integer("depth", depth, 1, MAX_DEPTH)
    return [(d - j, j) for d in range(depth + 1) for j in range(d + 1)]


class ConvBlock(nn.Sequential):
    """Two 3x3 convolutions, each followed by a normalisation and a ReLU; the size stays.

    Batch norm that has learned its statistics is one more factor and a shift for each channel. In
    eval mode without gradients, on the CPU, both go into the convolution, and its answer is laid
    out with a pixel's channels side by side: the same within rounding, in less time.

    A convolution of maps side by side is the sum of the convolutions of each. Given several, the
    block does it so, and nothing is copied to stand side by side; trained, that is faster on a CPU.

    >>> ConvBlock(1, 8)(torch.zeros(2, 1, 16, 16)).shape
    torch.Size([2, 8, 16, 16])
    """

    def __init__(self, in_channels: int, out_channels: int, *, norm: str = "batch"):
        check_integer("in_channels", in_channels, 1, (MAX_DEPTH + 1) * MAX_CHANNELS)
        check_integer("out_channels", out_channels, 1, MAX_CHANNELS)
        check_choice("norm", norm, ("batch", "group"))
        layers = []
        for source in (in_channels, out_channels):
            layers += [
                # The normalisation has a shift of its own, so a bias here would do nothing.
                nn.Conv2d(source, out_channels, 3, padding=1, bias=False),
                nn.BatchNorm2d(out_channels)
                if norm == "batch"
                else nn.GroupNorm(math.gcd(8, out_channels), out_channels),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*layers)

    def forward(self, *inputs: Tensor) -> Tensor:
        """(N, out_channels, H, W) of inputs that side by side are (N, in_channels, H, W)."""
        if len(inputs) > 1:
            return self._side_by_side(inputs)
        is_learned = isinstance(self[1], nn.BatchNorm2d) and not self.training
        if is_learned and not torch.is_grad_enabled() and inputs[0].device.type == "cpu":
            return self._folded(inputs[0])
        return super().forward(inputs[0])

    def _side_by_side(self, inputs: Sequence[Tensor]) -> Tensor:
        first, *rest = self
        weights = first.weight.split([x.shape[1] for x in inputs], dim=1)
        x, *others = (F.conv2d(*pair, padding=1) for pair in zip(inputs, weights, strict=True))
        x = sum(others, x)
        for layer in rest:
            x = layer(x)
        return x

    def _folded(self, x: Tensor) -> Tensor:
        for conv, norm in ((self[0], self[1]), (self[3], self[4])):
            # Not torch's `fuse_conv_bn_weights`: it makes parameters, which do not compile.
            factor = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
            weight = factor[:, None, None, None] * conv.weight
            x = F.conv2d(x, weight, norm.bias - factor * norm.running_mean, padding=1).relu_()
            x = x.contiguous(memory_format=torch.channels_last)  # then all that follows is, too
        return x


class NodeGrid(nn.Module):
    """A segmentation network whose nodes X(i, j) follow the rule at the top of this module.

    Parameters
    ----------
    in_channels, num_classes : channels of the image and of the logits (1 for the binary case).
    channels : channels of each row, full resolution first; `len(channels) - 1` is the depth.
    nodes : the (i, j) that exist.
    skips : which of the nodes to its left a node sees: "all", the "first" (the encoder's, as in
        U-Net), or the "last" (its neighbour).
    up : "bilinear" interpolation, or a learned "transposed" 2x2 convolution.
    norm : "batch" or "group".
    deep_supervision : if True, forward returns a list of logits, one for every node X(0, 1),
        X(0, 2), ..., deepest last; if False, the logits of the deepest.

    Raises
    ------
    ValueError : for nodes that the rule cannot compute, or an option that does not exist.

    Examples
    --------
    >>> grid = NodeGrid(1, 1, channels=(4, 8, 16), nodes=[(0, 0), (1, 0), (0, 1)])
    Traceback (most recent call last):
    ValueError: channels has 3 rows, so it needs the node (2, 0), which is not in nodes
    >>> grid = NodeGrid(1, 1, channels=(4, 8), nodes=[(0, 0), (1, 0), (0, 1)])
    >>> grid(torch.zeros(1, 1, 32, 48)).shape
    torch.Size([1, 1, 32, 48])
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        channels: Sequence[int],
        nodes: Sequence[Node],
        skips: str = "all",
        up: str = "bilinear",
        norm: str = "batch",
        deep_supervision: bool = False,
    ):
        super().__init__()
        self.in_channels = check_integer("in_channels", in_channels, 1, MAX_CHANNELS)
        self.num_classes = check_integer("num_classes", num_classes, 1, MAX_CHANNELS)
        self.depth = _depth(channels)
        self.channels = tuple(
            check_integer("every entry of channels", width, 1, MAX_CHANNELS) for width in channels
        )
        nodes = {_pair("every entry of nodes", node) for node in check_sequence("nodes", nodes)}
        # A node needs nodes of a smaller i + j, or of the same i + j further down.
        self.nodes = sorted(nodes, key=lambda node: (sum(node), node[1]))
        self.skips = check_choice("skips", skips, ("all", "first", "last"))
        self.up = check_choice("up", up, ("bilinear", "transposed"))
        self.norm = check_choice("norm", norm, ("batch", "group"))
        self.deep_supervision = check_choice("deep_supervision", deep_supervision, (True, False))
        self._check_nodes()

        self.pool = nn.MaxPool2d(2)
        self.ups = nn.ModuleDict()
        self.blocks = nn.ModuleDict()
        for i, j in self.nodes:
            if j == 0:
                width = in_channels if i == 0 else self.channels[i - 1]
            else:
                self.ups[f"{i}_{j}"], up_width = self._make_up(i)
                width = len(self.skip_sources(i, j)) * self.channels[i] + up_width
            self.blocks[f"{i}_{j}"] = ConvBlock(width, self.channels[i], norm=norm)
        self.heads = nn.ModuleDict(
            {str(level): nn.Conv2d(self.channels[0], num_classes, 1) for level in self.levels}
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def _check_nodes(self):
        for i in range(self.depth + 1):
            if (i, 0) not in self.nodes:
                raise ValueError(
                    f"channels has {self.depth + 1} rows, so it needs the node ({i}, 0), "
                    "which is not in nodes"
                )
        for i, j in self.nodes:
            if i + j > self.depth:
                raise ValueError(f"nodes has ({i}, {j}), outside the triangle to {self.depth}")
            if j > 0 and (i + 1, j - 1) not in self.nodes:
                raise ValueError(f"node ({i}, {j}) needs ({i + 1}, {j - 1}), which is not in nodes")
        if (0, self.depth) not in self.nodes:
            raise ValueError(f"the output node (0, {self.depth}) is not in nodes")

    def _make_up(self, i: int) -> tuple[nn.Module, int]:
        """What brings row i + 1 to the size of row i, and how many channels it gives."""
        if self.up == "bilinear":
            # align_corners=True would make the answer depend on the size of the image.
            up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
            return up, self.channels[i + 1]
        return nn.ConvTranspose2d(self.channels[i + 1], self.channels[i], 2, 2), self.channels[i]

    @property
    def levels(self) -> list[int]:
        """The d for which X(0, d) has a head: all in deep supervision, else the deepest."""
        if self.deep_supervision:
            return [j for i, j in self.nodes if i == 0 and j > 0]
        return [self.depth]

    @property
    def config(self) -> dict:
        """The arguments that build this network again."""
        names = ("in_channels", "num_classes", "channels", "nodes", "skips", "up", "norm")
        return {name: getattr(self, name) for name in (*names, "deep_supervision")}

    def skip_sources(self, i: int, j: int) -> list[int]:
        """The columns k of the nodes X(i, k) that X(i, j) is concatenated from.

        >>> UNet(1, 1).skip_sources(0, 4), UNetPlusPlus(1, 1).skip_sources(0, 4)
        ([0], [0, 1, 2, 3])
        """
        if (i, j) not in self.nodes:
            raise ValueError(f"got node {describe((i, j))}, expected one of {self.nodes}")
        existing = [k for k in range(j) if (i, k) in self.nodes]
        return {"all": existing, "first": existing[:1], "last": existing[-1:]}[self.skips]

    def features(self, images: Tensor) -> dict[Node, Tensor]:
        """What every node computes: (N, channels[i], H / 2^i, W / 2^i) for X(i, j)."""
        self._check_images(images)
        x = {}
        for i, j in self.nodes:
            if j == 0:
                inputs = [images if i == 0 else self.pool(x[i - 1, 0])]
            else:
                up = self.ups[f"{i}_{j}"](x[i + 1, j - 1])
                inputs = [*(x[i, k] for k in self.skip_sources(i, j)), up]
                if not (self.training and images.device.type == "cpu"):
                    inputs = [torch.cat(inputs, dim=1)]
            x[i, j] = self.blocks[f"{i}_{j}"](*inputs)
        return x

    def forward(self, images: Tensor) -> Tensor | list[Tensor]:
        """Logits (N, num_classes, H, W) of images (N, in_channels, H, W), or a list of them."""
        x = self.features(images)
        logits = [self.heads[str(level)](x[0, level]) for level in self.levels]
        return logits if self.deep_supervision else logits[-1]

    def _check_images(self, images: Tensor):
        check_tensor("images", images, "(N, C, H, W)")
        count, channels, height, width = images.shape
        weight = self.blocks["0_0"][0].weight
        same_dtype = images.dtype == weight.dtype or torch.is_autocast_enabled(images.device.type)
        if channels != self.in_channels or images.device != weight.device or not same_dtype:
            raise ValueError(
                f"expected images of shape (N, {self.in_channels}, H, W), {weight.dtype} on "
                f"{weight.device}, got {describe(images)}"
            )
        step = 2**self.depth
        if height % step or width % step:
            fitting = tuple(math.ceil(side / step) * step for side in (height, width))
            raise ValueError(
                f"got images of {height} x {width} pixels, but {self.depth} poolings need sides "
                f"that are multiples of {step}: pad to {fitting[0]} x {fitting[1]}, "
                "or call segedu.predict(model, images), which pads and crops"
            )
        lone = 8 % self.channels[-1] == 0 if self.norm == "group" else self.training
        if lone and count * height * width == step**2:
            raise ValueError(
                f"got images of 1 pixel in the deepest row, where {self.norm} norm has nothing to "
                "average: take larger images or a larger batch"
            )

    def prune(self, level: int) -> "NodeGrid":
        """The part that computes the head at X(0, level): one tensor out, weights shared.

        Raises ValueError where there is no such head: a head that was never trained gives noise
        (U-Net++, section 3.3: pruning needs deep supervision).

        >>> model = UNetPlusPlus(1, 1, channels=(4, 8, 16, 32, 64), deep_supervision=True).eval()
        >>> image = torch.rand(1, 1, 32, 32)
        >>> torch.equal(model.prune(2)(image), model(image)[1])
        True
        """
        if check_integer("level", level) not in self.levels:
            raise ValueError(
                f"there is no head at level {level}, only at {self.levels}; "
                "train a U-Net++ with deep_supervision=True to be able to prune it"
            )
        nodes = [(i, j) for i, j in self.nodes if i + j <= level]
        changes = {"channels": self.channels[: level + 1], "nodes": nodes}
        with torch.device("meta"):  # nothing is allocated: every parameter is replaced below
            pruned = NodeGrid(**self.config | changes | {"deep_supervision": False})
        for part in ("ups", "blocks", "heads"):
            for name in getattr(pruned, part):
                getattr(pruned, part)[name] = getattr(self, part)[name]
        return pruned.train(self.training)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.config.items())


class UNet(NodeGrid):
    """U-Net (arXiv 1505.04597), with same-padded convolutions and a normalisation.

    >>> from segedu import count_parameters
    >>> count_parameters(UNet(3, 1, channels=(32, 64, 128, 256, 512)))
    7849601
    """

    def __init__(self, in_channels, num_classes, *, channels=(16, 32, 64, 128, 256), **options):
        nodes = unet_nodes(_depth(channels))
        super().__init__(in_channels, num_classes, channels=channels, nodes=nodes, **options)


class UNetPlusPlus(NodeGrid):
    """U-Net++ (arXiv 1807.10165): dense skips, and with deep_supervision a head at every X(0, j).

    >>> model = UNetPlusPlus(1, 1, deep_supervision=True)
    >>> len(model(torch.zeros(1, 1, 32, 32)))
    4
    """

    def __init__(self, in_channels, num_classes, *, channels=(16, 32, 64, 128, 256), **options):
        nodes = unetpp_nodes(_depth(channels))
        super().__init__(in_channels, num_classes, channels=channels, nodes=nodes, **options)


def _pair(name: str, node) -> Node:
    i, j = check_sequence(name, node, 2, 2)
    return check_integer(name, i, 0, MAX_DEPTH), check_integer(name, j, 0, MAX_DEPTH)


def _depth(channels: Sequence[int]) -> int:
    """How many poolings a network of these rows has."""
    return len(check_sequence("channels", channels, 2, MAX_DEPTH + 1)) - 1
