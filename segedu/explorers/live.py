"""A trained U-Net++ that runs in the reader's browser."""

import itertools

import numpy as np
from traitlets import Dict

from ..analysis import count_multiply_adds, count_parameters
from ..checkpoint import load_pretrained
from ..checks import check_number
from ..data import sample, synthetic_nuclei
from ..export import to_base64, to_web
from ..models import NodeGrid
from .base import Choice, Explorer, Place, Slider

SIDE = 96  # pixels of a picture
WORLD = {"seed": 7, "size": SIDE}
PICTURES = {  # for each name a function that makes a grey picture (uint8) and its instances
    "real nuclei": lambda: _crop(192, 192),
    "crowded": lambda: synthetic_nuclei(22, **WORLD),
    "small": lambda: synthetic_nuclei(26, **WORLD),
    "touching": lambda: synthetic_nuclei(15, **WORLD),
}
OWN = "your own"
PIXELS = {(), *itertools.product(range(SIDE), repeat=2)}


class Skips(Place):
    """A list of skips (i, k, j) of the network, from X(i, k) to X(i, j)."""

    kind = "places"

    def validate(self, explorer, value) -> list[tuple[int, ...]]:
        check = super().validate
        return [check(explorer, skip) for skip in value]


class LiveSegmentation(Explorer):
    """A trained U-Net++ at work: change the picture or the network, and the segmentation follows.

    The network runs in the page, without Python and without a server. The pictures are a crop of
    the sample field and synthetic nuclei, 96 x 96 pixels; readers can draw on them or open their
    own.

    Parameters
    ----------
    model : a network with one image channel and one class, see `segedu.export.to_web`; by default
        `unetpp-nuclei-tiny`. Its weights are rounded to 8 bits.
    threshold : a pixel is foreground where its probability is higher; by default `model.threshold`.
    picture : "real nuclei", "crowded", "small", "touching", or "your own", opened in the page.
    noise : standard deviation of the camera's noise in grey levels, 0 to 40.
    blur : standard deviation of the blur in pixels, 0 to 4.
    light : remaining light in per cent, 1 to 100.
    head : the level of one head, 1 to the depth, or "mean" for the mean of all heads'
        probabilities.
    node : (i, j), the node whose feature maps are shown.
    skips_off : a list of skips (i, k, j), from X(i, k) to X(i, j), that are replaced by zeros.
    pixel : (row, column) of an output pixel, to see which input pixels reach it; () for none.

    Raises ValueError for a network that the page cannot run, or a control's value that does not
    exist; OSError if the sample field cannot be downloaded.

    >>> live = LiveSegmentation(noise=20, head=2)
    >>> live.skips_off = [(0, 0, 1)]
    >>> live.skips_off = [(0, 1, 0)]
    Traceback (most recent call last):
    ValueError: skips_off must hold skips (i, k, j) from X(i, k) to X(i, j), got (0, 1, 0)
    """

    needs = (
        *("network.js", "nodes.js", "nodes.css", "kinds.js", "masks.js", "masks.css"),
        *("live_picture.js", "live_nodes.js", "live_words.js"),
    )
    name = "live"
    alt = (
        "A microscope picture of bright cell nuclei on a dark ground, and the same with "
        "the nuclei that a network found in colour."
    )
    largest_page = 1_000_000
    picture = Choice("real nuclei", {name: name for name in (*PICTURES, OWN)}, "picture")
    noise = Slider(0, 0, 40, 1, "noise")
    blur = Slider(0.0, 0.0, 4.0, 0.5, "blur")
    light = Slider(100, 1, 100, 1, "light (%)")
    pixel = Place((), PIXELS, f"be (row, column), each from 0 to {SIDE - 1}, or ()")
    data = Dict().tag(sync=True)

    def __init__(self, model: NodeGrid | None = None, *, threshold: float | None = None, **values):
        if model is None:
            model = load_pretrained("unetpp-nuclei-tiny")
        if threshold is None:
            threshold = model.threshold
        web = to_web(model)
        skips = [(i, k, j) for i, j in model.nodes if j for k in model.skip_sources(i, j)]
        heads = {level: f"L{level}" for level in model.levels}
        if len(heads) > 1:
            heads["mean"] = "mean of all"
        pictures = [make() for make in PICTURES.values()]
        data = {
            "web": web,
            "side": SIDE,
            "threshold": check_number("threshold", threshold, 0, 1),
            "costs": [_costs(model, level) for level in model.levels],
            "pictures": [
                {
                    "grey": to_base64(grey.tobytes()),
                    "truth": to_base64(np.packbits(instances > 0).tobytes()),
                }
                for grey, instances in pictures
            ],
        }
        self.add_traits(
            head=Choice(list(heads)[-1], heads, "head"),
            node=Place((0, model.depth), model.nodes, "be a node (i, j) of the network"),
            skips_off=Skips([], skips, "hold skips (i, k, j) from X(i, k) to X(i, j)"),
        )
        super().__init__(data=data, **values)

    def to_page(self) -> str:
        """The whole web page around `to_html()`."""
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width">'
            '<link rel="icon" href="data:,"><title>Live segmentation</title>'
            f"</head><body>{self.to_html()}</body></html>\n"
        )


def _costs(model: NodeGrid, level: int) -> dict[str, int]:
    """What the network costs when it is pruned to a head."""
    pruned = model.prune(level)
    return {
        "level": level,
        "parameters": count_parameters(pruned),
        "operations": count_multiply_adds(pruned, SIDE, SIDE),
    }


def _crop(top: int, left: int) -> tuple[np.ndarray, np.ndarray]:
    """A part of the sample field, where the grey levels fit into a byte."""
    window = np.s_[top : top + SIDE, left : left + SIDE]
    grey, instances = sample()
    return grey[window].astype(np.uint8), instances[window]
