"""Two shapes on a pixel grid, their four counts, IoU and Dice."""

from itertools import product

import numpy as np

from .base import Choice, Explorer, Place, Slider

COLUMNS, ROWS = 128, 64
LARGEST = 60
PLACES = set(product(range(COLUMNS + 1), range(ROWS + 1)))
MUST = f"be (column, row), from (0, 0) to ({COLUMNS}, {ROWS})"


class IoUExplorer(Explorer):
    """A true and a predicted shape on 128 x 64 pixels, moved by mouse, finger or arrow keys.

    A shape that would stick out of the grid moves inwards, so it always keeps all of its pixels.

    Parameters
    ----------
    shape : "disc" or "square".
    zoom : 1 shows the whole grid; 2 and 4 a part that moves with the shapes.
    truth_size, prediction_size : diameter or side, 1 to 60 pixels.
    truth, prediction : (column, row) of the centre, 0 to 128 and 0 to 64.

    >>> explorer = IoUExplorer(shape="square", truth_size=4, prediction_size=4, truth=(9, 9))
    >>> explorer.prediction = (11, 9)
    >>> preds, target = explorer.masks()
    >>> int((preds & target).sum()), int((preds | target).sum())
    (8, 24)
    """

    name = "iou"
    alt = (
        "Two discs that overlap on a grid of pixels, coloured by TP, FP and FN; below them IoU "
        "and Dice over the shift between the two, and the four counts."
    )
    needs = ("shapes.js", "kinds.js", "errors.js", "drag.js")
    shape = Choice("disc", {"disc": "disc", "square": "square"}, "shape")
    zoom = Choice(2, {zoom: f"{zoom} \u00d7" for zoom in (1, 2, 4)}, "zoom")
    truth_size = Slider(24, 1, LARGEST, 1, "truth size")
    prediction_size = Slider(20, 1, LARGEST, 1, "prediction size")
    truth = Place((60, 31), PLACES, MUST)
    prediction = Place((69, 33), PLACES, MUST)

    def masks(self) -> tuple[np.ndarray, np.ndarray]:
        """Prediction and truth as (64, 128) booleans."""
        return (
            _pixels(self.shape, self.prediction, self.prediction_size),
            _pixels(self.shape, self.truth, self.truth_size),
        )


def _pixels(shape: str, centre: tuple[int, int], size: int) -> np.ndarray:
    corner = (
        min(max(at - size // 2, 0), side - size)
        for at, side in zip(centre, (COLUMNS, ROWS), strict=True)
    )
    # Twice the distance from the shape's centre to a pixel's, so that it is an integer.
    x, y = (
        2 * (np.arange(side) - first) + 1 - size
        for first, side in zip(corner, (COLUMNS, ROWS), strict=True)
    )
    if shape == "disc":
        return x**2 + y[:, None] ** 2 <= size**2
    return (abs(x) < size) & (abs(y[:, None]) < size)
