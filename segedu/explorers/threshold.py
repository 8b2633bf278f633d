"""A probability map and what a threshold makes of it."""

import numpy as np
from skimage.filters import threshold_otsu
from traitlets import Dict

from ..plotting import to_array
from .base import Explorer, Slider
from .pixels import pack


class ThresholdExplorer(Explorer):
    """A probability map, its mask at a threshold, and curves of IoU, precision and recall.

    A pixel is foreground where its probability exceeds the threshold. The map is stored in 8 bits:
    the numbers shown are exactly those of `levels / 255`. Two thresholds are marked: the one with
    the highest IoU on these pixels, and Otsu's (1979) of the probabilities.

    Parameters
    ----------
    probabilities : (H, W), in [0, 1]; array or tensor.
    target : (H, W), 0 and 1 or booleans.
    quantity : what the map holds, as the figure names it, such as "brightness".
    threshold : 0 to 1.

    Raises ValueError for other shapes or values, and for more than the 60 kB that an explorer may
    add to a page.

    >>> explorer = ThresholdExplorer([[0.2, 0.9]], [[0, 1]], threshold=0.7)
    >>> explorer.levels
    array([[ 51, 230]], dtype=uint8)
    """

    name = "threshold"
    alt = (
        "A probability map beside what a threshold makes of it, coloured by TP, FP and FN; below "
        "them IoU, precision and recall over the threshold, before a histogram."
    )
    needs = ("pixels.js", "pixels.css", "kinds.js", "errors.js", "drag.js")
    threshold = Slider(0.5, 0.0, 1.0, 0.01, "threshold")
    data = Dict().tag(sync=True)

    def __init__(self, probabilities, target, *, quantity: str = "probability", **values):
        probabilities, target = to_array(probabilities), to_array(target)
        shapes = f"{probabilities.shape} and {target.shape}"
        if probabilities.ndim != 2 or probabilities.shape != target.shape or not target.size:
            raise ValueError(f"probabilities and target must both be (H, W), got {shapes}")
        if not ((probabilities >= 0) & (probabilities <= 1)).all():
            raise ValueError("probabilities must lie in [0, 1], got others: logits, or NaN?")
        if not np.isin(target, (0, 1)).all():
            raise ValueError(f"target must hold 0 and 1, got {np.unique(target)[:5]}")
        self.levels = np.round(255 * probabilities.astype(float)).astype(np.uint8)
        data = pack(self.levels, target.astype(bool))
        data |= {"otsu": float(threshold_otsu(self.levels)) / 255, "quantity": quantity}
        super().__init__(data=data, **values)
