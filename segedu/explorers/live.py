"""A trained U-Net++ that runs where the page is read."""

import base64
import io

import numpy as np
from PIL import Image
from skimage.segmentation import find_boundaries
from traitlets import Dict, TraitType

from ..analysis import count_multiply_adds, count_parameters
from ..checkpoint import load_model, pretrained_path
from ..checks import check_integer, check_number, check_sequence
from ..data import sample, synthetic_nuclei
from ..export import to_web
from ..models import NodeGrid
from .base import STYLE, Choice, Explorer, Slider, read
from .grid import GridNode

SIDE = 96  # pixels of a picture
WORLD = {"seed": 7, "size": SIDE}
PICTURES = {  # a grey picture (uint8) and its instances, by name
    "real nuclei": lambda: _crop(192, 192),
    "crowded": lambda: synthetic_nuclei(22, **WORLD),
    "small": lambda: synthetic_nuclei(26, **WORLD),
    "touching": lambda: synthetic_nuclei(15, **WORLD),
}
OWN = "your own"


class Skips(TraitType):
    """Skips (i, k, j), from X(i, k) to X(i, j), of the network."""

    def validate(self, explorer, value) -> list[tuple[int, int, int]]:
        for skip in check_sequence(self.name, value):
            if tuple(check_sequence(f"each of {self.name}", skip, 3, 3)) not in explorer.skips:
                raise ValueError(
                    f"{self.name} must hold skips (i, k, j) from X(i, k) to X(i, j), got {skip!r}"
                )
        return [tuple(skip) for skip in value]


class Pixel(TraitType):
    """A pixel (row, column) of the picture, or () for none."""

    def validate(self, explorer, value) -> tuple[int, ...]:
        value = check_sequence(self.name, value, 0, 2)
        if len(value) == 1:
            raise ValueError(f"{self.name} must be (row, column) or (), got {value!r}")
        return tuple(check_integer(self.name, index, 0, SIDE - 1) for index in value)


class LiveSegmentation(Explorer):
    """A trained U-Net++ at work: change the picture or the network, and the segmentation follows.

    The page computes it; neither Python nor a server is asked. The pictures are a crop of the
    sample field and synthetic nuclei, 96 x 96 pixels; a reader may draw on them, or open another.

    Parameters
    ----------
    model : with one channel and one class, see `segedu.export.to_web`; `unetpp-nuclei-tiny` unless
        given. Its weights are rounded to 8 bits.
    threshold : of the probability, above which a pixel is foreground; if not given that of the
        committed weights, or 0.5 with a model of your own.
    picture : "real nuclei", "crowded", "small", "touching", or "your own", opened in the page.
    noise : standard deviation of the camera's noise in grey levels, 0 to 40.
    blur : standard deviation of the blur in pixels, 0 to 4.
    light : per cent of the light that is left, 1 to 100.
    head : the level of one head, 1 to the depth, or "mean": of the probabilities of all.
    node : (i, j), the one whose feature maps are shown.
    skips_off : the skips (i, k, j), from X(i, k) to X(i, j), that count as zeros.
    pixel : (row, column) of an output pixel, to see what reaches it; () for none.

    Raises
    ------
    ValueError : for a network that a page cannot run, or other options.
    ImportError : without the package that brings the sample field.

    Examples
    --------
    >>> live = LiveSegmentation(noise=20, head=2)
    >>> live.skips_off = [(0, 0, 1)]
    >>> live.skips_off = [(0, 1, 0)]
    Traceback (most recent call last):
    ValueError: skips_off must hold skips (i, k, j) from X(i, k) to X(i, j), got (0, 1, 0)
    """

    needs = ("network.js", "nodes.js")
    view = "live.js"
    style = f"{STYLE}\n{read('live.css')}"
    largest_page = 1_000_000
    picture = Choice("real nuclei", {name: name for name in (*PICTURES, OWN)}, "picture")
    noise = Slider(0, 0, 40, 1, "noise")
    blur = Slider(0.0, 0.0, 4.0, 0.5, "blur")
    light = Slider(100, 1, 100, 1, "light (%)")
    node = GridNode().tag(sync=True)
    skips_off = Skips([]).tag(sync=True)
    pixel = Pixel(()).tag(sync=True)
    data = Dict().tag(sync=True)

    def __init__(self, model: NodeGrid | None = None, *, threshold: float | None = None, **values):
        if model is None:
            model, info = load_model(pretrained_path("unetpp-nuclei-tiny"))
            threshold = info["threshold"] if threshold is None else threshold
        web = to_web(model)
        self.depth = model.depth
        self.skips = [(i, k, j) for i, j in model.nodes if j for k in model.skip_sources(i, j)]
        pictures = [make() for make in PICTURES.values()]
        data = {
            "web": web,
            "side": SIDE,
            "threshold": check_number("threshold", 0.5 if threshold is None else threshold, 0, 1),
            "costs": [_costs(model, level) for level in model.levels],
            "pictures": [
                {"grey": _text(grey), "truth": _text(np.packbits(instances > 0))}
                for grey, instances in pictures
            ],
        }
        self.still = _still(*pictures[0])
        heads = {level: f"L{level}" for level in model.levels}
        if len(heads) > 1:
            heads["mean"] = "mean of all"
        self.add_traits(head=Choice(list(heads)[-1], heads, "head"))
        super().__init__(**{"data": data, "node": (0, self.depth)} | values)


def _costs(model: NodeGrid, level: int) -> dict[str, int]:
    """What the network costs that is pruned to a head."""
    pruned = model.prune(level)
    return {
        "level": level,
        "parameters": count_parameters(pruned),
        "operations": count_multiply_adds(pruned, SIDE, SIDE),
    }


def _crop(top: int, left: int) -> tuple[np.ndarray, np.ndarray]:
    """A part of the sample field, whose grey levels fit a byte."""
    window = np.s_[top : top + SIDE, left : left + SIDE]
    grey, instances = sample()
    return grey[window].astype(np.uint8), instances[window]


def _still(grey: np.ndarray, instances: np.ndarray) -> str:
    """A picture beside its outlines, as HTML: what there is to see where no script runs."""
    grey = (grey.astype(float) * 255 / grey.max()).astype(np.uint8)
    outlined = np.where(find_boundaries(instances), 255, grey // 2)
    file = io.BytesIO()
    Image.fromarray(np.concatenate([grey, outlined.astype(np.uint8)], axis=1)).save(file, "PNG")
    return (
        '<figure class="still"><img alt="A microscope picture of bright cell nuclei on a dark '
        'ground, and the same with each nucleus outlined." '
        f'src="data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}">'
        "<figcaption>In a browser of 2024 or later that runs scripts, a U-Net++ finds these "
        "nuclei while you change the picture.</figcaption></figure>"
    )


def _text(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode()
