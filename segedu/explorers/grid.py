"""U-Net and U-Net++ as one grid of nodes, read off the real modules."""

from collections.abc import Sequence

import torch
from traitlets import Dict, TraitType

from ..analysis import count_parameters, input_interval
from ..checks import check_integer
from ..diagrams import grid_edges
from ..models import NodeGrid, UNet, UNetPlusPlus
from .base import Choice, Explorer, Slider


class GridNode(TraitType):
    """A node (i, j) of the U-Net++."""

    def validate(self, explorer, value) -> tuple[int, int]:
        try:
            i, j = (check_integer("", index, 0, explorer.depth) for index in value)
            check_integer("", i + j, 0, explorer.depth)
        except (TypeError, ValueError):
            raise ValueError(
                f"{self.name} must be a pair (i, j) with i + j <= {explorer.depth}, got {value!r}"
            ) from None
        return i, j


class GridExplorer(Explorer):
    """The nodes of U-Net and U-Net++: click one for what it takes, gives, costs and sees.

    The U-Net++ has a head at every X(0, j), as deep supervision needs it. What it sees is the width
    in input pixels, from the least to the most over its own pixels.

    Parameters
    ----------
    channels : channels of each row, full resolution first, as for `UNet`.
    in_channels, num_classes : channels of the image and of the logits.
    image_size : height and width of the image.
    network : "U-Net" or "U-Net++".
    level : 1 to the depth, where the U-Net++ is pruned; the depth by default.
    node : (i, j), the one that is explained; the output by default.

    Raises
    ------
    ValueError
        For channels that make no network, an image that does not fit it, or other options.

    Examples
    --------
    >>> explorer = GridExplorer(channels=(8, 16, 32), image_size=64, node=(1, 1))
    >>> explorer.level = 3
    Traceback (most recent call last):
    ValueError: level must be a number from 1 to 2, got 3
    """

    needs = ("nodes.js",)
    view = "grid.js"
    network = Choice("U-Net++", {"U-Net": "U-Net", "U-Net++": "U-Net++"}, "network")
    node = GridNode().tag(sync=True)
    data = Dict().tag(sync=True)

    def __init__(
        self,
        *,
        channels: Sequence[int] = (32, 64, 128, 256, 512),
        in_channels: int = 1,
        num_classes: int = 1,
        image_size: int = 256,
        **values,
    ):
        check_integer("image_size", image_size, 1)
        with torch.device("meta"):  # shapes and counts, no weights
            networks = [
                UNet(in_channels, num_classes, channels=channels),
                UNetPlusPlus(in_channels, num_classes, channels=channels, deep_supervision=True),
            ]
        self.depth = networks[0].depth
        data = {
            "depth": self.depth,
            "image_size": image_size,
            "networks": [_describe(network, image_size) for network in networks],
        }
        self.add_traits(level=Slider(self.depth, 1, self.depth, 1, "pruned to level"))
        super().__init__(**{"data": data, "node": (0, self.depth)} | values)


def _describe(network: NodeGrid, image_size: int) -> dict:
    edges = grid_edges(network)
    image = torch.zeros(1, network.in_channels, image_size, image_size, device="meta")
    nodes = []
    for (i, j), features in network.features(image).items():
        # Every phase against the poolings below, since some rows see more than others.
        spans = [input_interval(network, (i, j), row, row) for row in range(2**j)]
        fields = [last - first + 1 for first, last in spans]
        block, name = network.blocks[f"{i}_{j}"], f"{i}_{j}"
        up = network.ups[name] if name in network.ups else torch.nn.Identity()
        nodes.append(
            {
                "node": [i, j],
                "inputs": [[kind, *source] for kind, source, target in edges if target == (i, j)],
                "takes": block[0].in_channels,
                "gives": list(features.shape[1:]),
                "parameters": count_parameters(block) + count_parameters(up),
                "sees": [min(fields), max(fields)],
            }
        )
    heads = {level: count_parameters(network.heads[str(level)]) for level in network.levels}
    return {"nodes": nodes, "heads": heads}
