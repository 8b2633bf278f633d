"""U-Net and U-Net++ as one grid of nodes, read from the real modules."""

from collections.abc import Sequence

import numpy as np
import torch
from traitlets import Dict

from ..analysis import count_multiply_adds, count_parameters, input_interval
from ..data import sample
from ..diagrams import grid_edges
from ..export import to_base64
from ..models import NodeGrid, UNet, UNetPlusPlus, unetpp_nodes
from .base import Choice, Explorer, Place, Slider

PICTURE, WHITE = 128, 15  # pixels of a side, and grey levels above black: two pixels a byte


class GridExplorer(Explorer):
    """The nodes of U-Net and U-Net++: point at one to see its inputs, outputs, cost and view.

    The U-Net++ has a head at every X(0, j), for deep supervision. What a pixel of a node sees, its
    receptive field, is drawn on the sample field. Its width in input pixels is given as the
    smallest and the largest over the node's own pixels.

    Parameters
    ----------
    channels : channels of each row, full resolution first, as for `UNet`.
    in_channels, num_classes : channels of the image and of the logits.
    image_size : height and width of the image.
    network : "U-Net" or "U-Net++".
    level : 1 to the depth, the level to which the U-Net++ is pruned; by default the depth.
    node : (i, j), the node to explain; by default the output.

    Raises ValueError for channels that make no network, an image size that does not fit it, or a
    control's value that does not exist; OSError if the sample field cannot be downloaded.

    >>> explorer = GridExplorer(channels=(8, 16, 32), image_size=64, node=(1, 1))
    >>> explorer.level = 3
    Traceback (most recent call last):
    ValueError: level must be a number from 1 to 2, got 3
    """

    needs = ("nodes.js", "nodes.css")
    name = "grid"
    alt = (
        "The U-Net++ as a triangle of 15 nodes with arrows between them; beside it the "
        "inputs, size and cost of the chosen node X(0,4), and what it sees of a "
        "microscope picture."
    )
    network = Choice("U-Net++", {"U-Net": "U-Net", "U-Net++": "U-Net++"}, "network")
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
        with torch.device("meta"):  # shapes and counts, no weights
            networks = [
                UNet(in_channels, num_classes, channels=channels),
                UNetPlusPlus(in_channels, num_classes, channels=channels, deep_supervision=True),
            ]
        depth = networks[0].depth
        data = {
            "depth": depth,
            "image_size": image_size,
            "picture": _picture(image_size),
            "networks": [_describe(network, image_size) for network in networks],
        }
        self.add_traits(
            level=Slider(depth, 1, depth, 1, "pruned to level"),
            node=Place((0, depth), unetpp_nodes(depth), f"be (i, j) with i + j <= {depth}"),
        )
        super().__init__(data=data, **values)


def _describe(network: NodeGrid, image_size: int) -> dict:
    edges = grid_edges(network)
    image = torch.zeros(1, network.in_channels, image_size, image_size, device="meta")
    nodes = []
    for (i, j), features in network.features(image).items():
        name = f"{i}_{j}"
        parts = [part[name] for part in (network.ups, network.blocks) if name in part]
        # How much a row sees depends on its position relative to the pooling grid: take them all.
        spans = [input_interval(network, (i, j), row, row) for row in range(2**j)]
        fields = [last - first + 1 for first, last in spans]
        nodes.append(
            {
                "node": [i, j],
                "inputs": [[kind, *source] for kind, source, target in edges if target == (i, j)],
                "takes": network.blocks[name][0].in_channels,
                "gives": list(features.shape[1:]),
                "parameters": sum(map(count_parameters, parts)),
                "spans": spans,
                "sees": [min(fields), max(fields)],
            }
        )
    heads = {level: count_parameters(network.heads[str(level)]) for level in network.levels}
    operations = {
        level: count_multiply_adds(network.prune(level), image_size, image_size)
        for level in network.levels
    }
    return {"nodes": nodes, "heads": heads, "operations": operations}


def _picture(image_size: int) -> str:
    """A corner of the sample field, mirrored where an image is larger; every n-th pixel of it."""
    grey = sample().grey
    grey = np.pad(grey, (0, max(image_size - len(grey), 0)), mode="reflect")
    rows = np.arange(PICTURE) * image_size // PICTURE
    corner = grey[rows][:, rows].astype(float)
    levels = np.rint(WHITE * np.sqrt(corner / corner.max())).astype(np.uint8)
    return to_base64((16 * levels[:, ::2] + levels[:, 1::2]).tobytes())
