"""U-Net and U-Net++ as one grid of nodes.

Node X(i, j) stands in row i (row 0 has full resolution, each further row half the height and width)
and in column j, its position along the skip pathway. One rule holds for every node, with B a block
of two convolutions::

    X(0, 0) = B(image)
    X(i, 0) = B(pool(X(i-1, 0)))  # going down
    X(i, j) = B(concat(X(i, k) for every existing k < j, and up(X(i+1, j-1))))  # going up

The two networks differ only in which nodes exist. With L poolings, U-Net has the first column,
j = 0, and the diagonal i + j = L; U-Net++ has the whole triangle i + j <= L. Keeping only the nodes
with i + j <= d prunes the network to level d.

Sources: U-Net, Ronneberger et al. 2015 (arXiv 1505.04597), figure 1; U-Net++, Zhou et al. 2018
(arXiv 1807.10165), equation 1, and 2019 (arXiv 1912.05074).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .checks import check_choice, check_images, check_integer

Node = tuple[int, int]
BELONGINGS = ("threshold", "normalization", "class_names")  # of a trained network, see NodeGrid


def unet_nodes(depth: int) -> list[Node]:
    """The nodes of a U-Net with `depth` poolings: the way down and the way up.

    >>> unet_nodes(2)
    [(0, 0), (1, 0), (2, 0), (1, 1), (0, 2)]
    """
    return [(i, 0) for i in range(depth + 1)] + [(depth - j, j) for j in range(1, depth + 1)]


def unetpp_nodes(depth: int) -> list[Node]:
    """The nodes of a U-Net++ with `depth` poolings: the whole triangle i + j <= depth.

    >>> unetpp_nodes(2)
    [(0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2)]
    """
    return [(d - j, j) for d in range(depth + 1) for j in range(d + 1)]


def conv_layer(in_channels: int, out_channels: int, norm: str, size: int = 3) -> list[nn.Module]:
    """A convolution of `size` x `size` pixels, a normalisation ("batch" or "group") and a ReLU."""
    check_choice("norm", norm, ("batch", "group"))
    groups = math.gcd(8, out_channels)  # at most 8
    return [
        # No bias: the normalisation that follows has a shift of its own.
        nn.Conv2d(in_channels, out_channels, size, padding=size // 2, bias=False),
        nn.BatchNorm2d(out_channels) if norm == "batch" else nn.GroupNorm(groups, out_channels),
        nn.ReLU(inplace=True),
    ]


class ConvBlock(nn.Sequential):
    """B: two 3x3 convolutions, each followed by a normalisation and a ReLU.

    Height and width do not change. Several inputs are concatenated along the channels, and
    `in_channels` is their total.

    >>> ConvBlock(3, 8)(torch.zeros(2, 1, 16, 16), torch.zeros(2, 2, 16, 16)).shape
    torch.Size([2, 8, 16, 16])
    """

    def __init__(self, in_channels: int, out_channels: int, *, norm: str = "batch"):
        first = conv_layer(in_channels, out_channels, norm)
        super().__init__(*first, *conv_layer(out_channels, out_channels, norm))

    def forward(self, *inputs: Tensor) -> Tensor:
        return super().forward(torch.cat(inputs, dim=1))


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
    deep_supervision : if True, forward returns a list of logits, one for each of the nodes X(0, 1),
        X(0, 2), ..., X(0, L); if False, only the logits of X(0, L).

    Attributes
    ----------
    threshold, normalization, class_names : belong to a trained network and are saved with it: the
        probability above which a pixel is foreground, the percentiles of an image that become 0
        and 1 (see `segedu.data.normalize`), and the names of the classes, if they have any.

    Raises ValueError for nodes that the rule cannot compute, a number below 1, or an option that
    does not exist.

    >>> grid = NodeGrid(1, 1, channels=(4, 8), nodes=[(0, 0), (1, 0), (0, 1)])
    >>> grid(torch.zeros(1, 1, 32, 48)).shape
    torch.Size([1, 1, 32, 48])
    >>> NodeGrid(1, 1, channels=(4, 8), nodes=[(0, 0), (0, 1)])
    Traceback (most recent call last):
    ValueError: node (0, 1) needs node (1, 0), which is not among the nodes
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
        self.in_channels = check_integer("in_channels", in_channels, 1)
        self.num_classes = check_integer("num_classes", num_classes, 1)
        self.channels = tuple(check_integer("each of channels", width, 1) for width in channels)
        self.depth = len(self.channels) - 1
        # In this order, by i + j and then by column, a node comes after all that it needs.
        self.nodes = sorted(map(tuple, nodes), key=lambda node: (sum(node), node[1]))
        self.skips = check_choice("skips", skips, ("all", "first", "last"))
        self.up = check_choice("up", up, ("bilinear", "transposed"))
        self.norm, self.deep_supervision = norm, deep_supervision  # ConvBlock checks the norm
        self._check_nodes()
        self.threshold, self.normalization, self.class_names = 0.5, (1.0, 99.9), ()

        self.pool = nn.MaxPool2d(2)
        self.ups = nn.ModuleDict()
        self.blocks = nn.ModuleDict()
        for i, j in self.nodes:
            widths = [self.width(*source) for source in self.sources(i, j)] or [in_channels]
            if j > 0:  # the last source is below
                self.ups[f"{i}_{j}"], widths[-1] = self._make_up(i, widths[-1])
            self.blocks[f"{i}_{j}"] = self.make_block(i, j, widths)
        self.heads = nn.ModuleDict(
            {str(level): nn.Conv2d(self.width(0, level), num_classes, 1) for level in self.levels}
        )
        for module in self.modules():  # He initialisation, for convolutions before a ReLU
            if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def width(self, i: int, j: int) -> int:
        """The number of channels of X(i, j)."""
        return self.channels[i]

    def make_block(self, i: int, j: int, widths: list[int]) -> nn.Module:
        """B of X(i, j), for inputs with these numbers of channels."""
        return ConvBlock(sum(widths), self.width(i, j), norm=self.norm)

    def _make_up(self, i: int, width: int) -> tuple[nn.Module, int]:
        """The module that doubles row i + 1 to the size of row i, and its number of channels."""
        if self.up == "bilinear":
            # With align_corners=True the result at a pixel would depend on the size of the image.
            up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
            return up, width
        up = nn.ConvTranspose2d(width, self.channels[i], kernel_size=2, stride=2)
        return up, self.channels[i]

    def skip_sources(self, i: int, j: int) -> list[int]:
        """The columns k of the nodes X(i, k) that are inputs of X(i, j).

        >>> UNet(1, 1).skip_sources(0, 4), UNetPlusPlus(1, 1).skip_sources(0, 4)
        ([0], [0, 1, 2, 3])
        """
        existing = [k for k in range(j) if (i, k) in self.nodes]
        return {"all": existing, "first": existing[:1], "last": existing[-1:]}[self.skips]

    def sources(self, i: int, j: int) -> list[Node]:
        """The nodes that X(i, j) is computed from: the edges of the grid, in the block's order.

        >>> UNetPlusPlus(1, 1).sources(0, 2), UNetPlusPlus(1, 1).sources(1, 0)
        ([(0, 0), (0, 1), (1, 1)], [(0, 0)])
        """
        if j == 0:
            return [(i - 1, 0)] if i > 0 else []
        return [(i, k) for k in self.skip_sources(i, j)] + [(i + 1, j - 1)]

    def resized(self, x: Tensor, source: Node, node: Node) -> Tensor:
        """The output x of a source, in the size of the node's row."""
        (row, _), (i, j) = source, node
        if row > i:
            return self.ups[f"{i}_{j}"](x)
        for _ in range(i - row):
            x = self.pool(x)
        return x

    def features(self, images: Tensor) -> dict[Node, Tensor]:
        """The output of every node; that of X(i, j) is (N, channels[i], H / 2^i, W / 2^i)."""
        check_images(images, self.in_channels, self.depth)
        x = {}
        for i, j in self.nodes:
            inputs = [self.resized(x[node], node, (i, j)) for node in self.sources(i, j)]
            x[i, j] = self.blocks[f"{i}_{j}"](*inputs or [images])
        return x

    def forward(self, images: Tensor) -> Tensor | list[Tensor]:
        """Logits (N, num_classes, H, W) of images (N, in_channels, H, W), or a list of them."""
        x = self.features(images)
        logits = [self.heads[str(level)](x[0, level]) for level in self.levels]
        return logits if self.deep_supervision else logits[-1]

    @property
    def levels(self) -> list[int]:
        """The d for which X(0, d) has a head: 1 to L with deep supervision, else only L."""
        if self.deep_supervision:
            return [j for i, j in self.nodes if i == 0 and j > 0]
        return [self.depth]

    @property
    def config(self) -> dict:
        """The arguments that build this network again."""
        names = "in_channels num_classes channels nodes skips up norm deep_supervision"
        return {name: getattr(self, name) for name in names.split()}

    def prune(self, level: int) -> "NodeGrid":
        """The part that computes the head at X(0, level): one tensor out, weights shared.

        Raises ValueError if X(0, level) has no head. Only deep supervision trains the heads before
        the last one (U-Net++, section 3.3).

        >>> model = UNetPlusPlus(1, 1, channels=(4, 8, 16, 32, 64), deep_supervision=True).eval()
        >>> image = torch.rand(1, 1, 32, 32)
        >>> torch.equal(model.prune(2)(image), model(image)[1])
        True
        """
        if level not in self.levels:
            raise ValueError(
                f"there is no head at level {level}, only at {self.levels}; "
                "train a U-Net++ with deep_supervision=True to be able to prune it"
            )
        nodes = [(i, j) for i, j in self.nodes if i + j <= level]
        changes = {"channels": self.channels[: level + 1], "nodes": nodes}
        arguments = self.config | changes | {"deep_supervision": False}
        with torch.device("meta"):  # nothing is allocated: every parameter is replaced below
            pruned = type(self)(**arguments)
        for part in ("ups", "blocks", "heads"):
            for name in getattr(pruned, part):
                getattr(pruned, part)[name] = getattr(self, part)[name]
        for name in BELONGINGS:
            setattr(pruned, name, getattr(self, name))
        return pruned.train(self.training)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.config.items())

    def _check_nodes(self):
        for i, j in self.nodes:
            for needed in set(self.sources(i, j)) - set(self.nodes):
                raise ValueError(f"node {i, j} needs node {needed}, which is not among the nodes")
            if i + j > self.depth:
                raise ValueError(
                    f"node {i, j} has i + j > {self.depth}, the depth of {len(self.channels)} rows"
                )
        if self.depth < 1 or (0, self.depth) not in self.nodes:
            raise ValueError(
                f"channels needs two entries or more, and with {self.depth + 1} the output node is "
                f"(0, {self.depth}), got the nodes {self.nodes}"
            )


class UNet(NodeGrid):
    """U-Net (arXiv 1505.04597), with same-padded convolutions and a normalisation.

    >>> sum(p.numel() for p in UNet(3, 1, channels=(32, 64, 128, 256, 512)).parameters())
    7849601
    """

    def __init__(self, in_channels, num_classes, *, channels=(16, 32, 64, 128, 256), **options):
        options = {"nodes": unet_nodes(len(channels) - 1)} | options  # prune() gives its own
        super().__init__(in_channels, num_classes, channels=channels, **options)


class UNetPlusPlus(NodeGrid):
    """U-Net++ (arXiv 1807.10165): dense skips, and with deep_supervision a head at every X(0, j).

    >>> model = UNetPlusPlus(1, 1, deep_supervision=True)
    >>> len(model(torch.zeros(1, 1, 32, 32)))
    4
    """

    def __init__(self, in_channels, num_classes, *, channels=(16, 32, 64, 128, 256), **options):
        options = {"nodes": unetpp_nodes(len(channels) - 1)} | options  # prune() gives its own
        super().__init__(in_channels, num_classes, channels=channels, **options)
