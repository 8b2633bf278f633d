"""What a node of the grid sees, and what a network costs."""

import copy

import torch
from torch import nn

from .models import Node, NodeGrid
from .variants import HalfResolution


def count_parameters(model: nn.Module) -> int:
    """How many numbers training changes."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def count_multiply_adds(model: nn.Module, height: int, width: int) -> int:
    """Multiply-adds of all convolutions for one image; other operations are left out.

    >>> from segedu import UNet
    >>> count_multiply_adds(UNet(1, 1, channels=(4, 8)), 32, 32) == 32 * 32 * (
    ...     9 * (1 * 4 + 4 * 4 + 12 * 4 + 4 * 4) + 4 * 1) + 16 * 16 * 9 * (4 * 8 + 8 * 8)
    True
    """
    from torch.utils.flop_counter import FlopCounterMode  # brings a compiler: 0.1 s

    first = next(layer for layer in model.modules() if isinstance(layer, nn.Conv2d))
    channels = getattr(model, "in_channels", first.in_channels)
    on_meta = copy.deepcopy(model).to("meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        on_meta(torch.zeros(1, channels, height, width, device="meta"))
    return counter.get_total_flops() // 2


def input_interval(grid: NodeGrid, node: Node, first: int, last: int) -> tuple[int, int]:
    """The first and the last input row that can reach rows `first` to `last` of a node.

    Exact arithmetic along every path, ignoring the image's border: rows may be negative. The
    interval depends on the phase of the rows, since two neighbours may or may not share a pooled
    pixel.

    >>> from segedu import UNet
    >>> input_interval(UNet(1, 1, channels=(4, 8)), (0, 1), 10, 10)
    (0, 19)
    """
    rows = {node: (first, last)}  # of each node that is seen
    for i, j in reversed(grid.nodes[: _position(grid, node) + 1]):
        if (i, j) not in rows:
            continue
        first, last = rows[i, j][0] - 2, rows[i, j][1] + 2  # two 3x3 convolutions
        for source in grid.sources(i, j):
            seen = first, last
            if source[0] < i:  # pooled
                size = 2 ** (i - source[0])
                seen = size * first, size * last + size - 1
            elif source[0] > i:
                size = 2 ** (source[0] - i)
                reach = size // 2 if grid.up == "bilinear" else 0  # it mixes two neighbours
                seen = (first - reach) // size, (last + reach) // size
            known = rows.get(source, seen)
            rows[source] = min(seen[0], known[0]), max(seen[1], known[1])
    return first, last


def reach(model: NodeGrid | HalfResolution) -> int:
    """How many pixels away the farthest pixel is that a pixel of the last head sees.

    >>> from segedu import UNet
    >>> reach(UNet(1, 1, channels=(4, 8)))
    10
    """
    if isinstance(model, HalfResolution):  # of two pixels in a block, one is farther from its edge
        return 2 * reach(model.grid) + 1
    return max(
        max(row - first, last - row)
        for row in range(2**model.depth)
        for first, last in [input_interval(model, (0, model.depth), row, row)]
    )


def receptive_field(grid: NodeGrid, node: Node | None = None, *, row: int = 0) -> tuple[int, int]:
    """The first and last input row that row `row` of a node sees, measured by gradients.

    A copy of the grid with one channel per node and only positive weights is differentiated, so
    that no two paths cancel. It pools by the mean, because the maximum passes a gradient to one
    pixel of four, and has no normalisation. Rows are counted from row 0 of a node in the middle of
    a large image. `node` defaults to the deepest output. ValueError for a node that does not exist.

    >>> from segedu import UNet
    >>> receptive_field(UNet(1, 1, channels=(4, 8)), row=10)
    (0, 19)
    """
    node = (0, grid.depth) if node is None else node
    _position(grid, node)
    one_channel = {"in_channels": 1, "num_classes": 1, "channels": (1,) * len(grid.channels)}
    twin = type(grid)(**grid.config | one_channel | {"norm": "batch"}).double().eval()
    for parameter in twin.parameters():
        nn.init.constant_(parameter, 1 / 9)
    twin.pool = nn.AvgPool2d(2)
    step = 2**grid.depth
    middle = 16 * step  # no node sees farther than 8 steps
    image = torch.ones(1, 1, 2 * middle, step, dtype=torch.float64, requires_grad=True)
    feature = twin.features(image)[node]
    feature[0, 0, (middle >> node[0]) + row].sum().backward()
    reached = image.grad[0, 0].sum(dim=1).nonzero().flatten() - middle
    return int(reached.min()), int(reached.max())


def _position(grid: NodeGrid, node: Node) -> int:
    if node not in grid.nodes:
        raise ValueError(f"expected one of the nodes {grid.nodes}, got {node}")
    return grid.nodes.index(node)
