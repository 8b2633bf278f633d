"""A probability map and what a threshold makes of it."""

import numpy as np
from matplotlib.colors import to_rgb
from traitlets import Dict

from ..export import to_base64
from ..plotting import ERRORS, to_array
from .base import Explorer, Slider


class ThresholdExplorer(Explorer):
    """A probability map, its mask at a threshold, and curves of IoU, precision and recall.

    A pixel is foreground where its probability exceeds the threshold. The map is stored in 8 bits:
    the numbers shown are exactly those of `levels / 255`.

    Parameters
    ----------
    probabilities : (H, W), in [0, 1]; array or tensor.
    target : (H, W), 0 and 1 or booleans.
    threshold : 0 to 1.

    Raises ValueError for other shapes or values, and for more than the 60 kB that an explorer may
    add to a page (150 x 150 pixels fit).

    >>> explorer = ThresholdExplorer([[0.2, 0.9]], [[0, 1]], threshold=0.7)
    >>> explorer.levels
    array([[ 51, 230]], dtype=uint8)
    """

    name = "threshold"
    alt = (
        "A probability map, what lies above a threshold in the colours of TP, FP and FN, "
        "and curves of IoU, precision and recall over the threshold."
    )
    threshold = Slider(0.5, 0.0, 1.0, 0.01, "threshold")
    data = Dict().tag(sync=True)

    def __init__(self, probabilities, target, **values):
        probabilities, target = to_array(probabilities), to_array(target)
        shapes = f"{probabilities.shape} and {target.shape}"
        if probabilities.ndim != 2 or probabilities.shape != target.shape or not target.size:
            raise ValueError(f"probabilities and target must both be (H, W), got {shapes}")
        if not ((probabilities >= 0) & (probabilities <= 1)).all():
            raise ValueError("probabilities must lie in [0, 1], got others: logits, or NaN?")
        if not np.isin(target, (0, 1)).all():
            raise ValueError(f"target must hold 0 and 1, got {np.unique(target)[:5]}")
        self.levels = np.round(255 * probabilities.astype(float)).astype(np.uint8)
        data = {
            "width": target.shape[1],
            "levels": to_base64(self.levels.tobytes()),
            "truth": to_base64(np.packbits(target.astype(bool)).tobytes()),
            "colours": {kind.lower(): _bytes(colour) for kind, (colour, *_) in ERRORS.items()},
        }
        super().__init__(data=data, **values)


def _bytes(colour: str) -> list[int]:
    return [round(255 * part) for part in to_rgb(colour)]
