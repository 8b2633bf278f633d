"""Two shapes on a pixel grid, their four counts, IoU and Dice."""

import numpy as np
from traitlets import TraitType

from ..checks import check_integer
from .base import Choice, Explorer, Slider

COLUMNS, ROWS = 32, 20


class Place(TraitType):
    """Where a shape has its middle: (column, row), from the upper left corner of the grid."""

    def validate(self, explorer, value) -> tuple[int, int]:
        try:
            x, y = value
        except (TypeError, ValueError):
            raise ValueError(f"{self.name} must be a pair (column, row), got {value!r}") from None
        name = f"{self.name}'s"
        return check_integer(f"{name} column", x, 0, COLUMNS), check_integer(
            f"{name} row", y, 0, ROWS
        )


class IoUExplorer(Explorer):
    """A true and a predicted shape, dragged by mouse, finger or arrow keys, on 32 x 20 pixels.

    A shape moves inwards where it would stick out, so it always has all of its pixels.

    Parameters
    ----------
    shape : "disc" or "square".
    truth_size, prediction_size : diameter or side, 1 to 16 pixels.
    truth, prediction : (column, row) of the middle, 0 to 32 and 0 to 20.

    Raises
    ------
    ValueError
        Outside of these.

    Examples
    --------
    >>> explorer = IoUExplorer(shape="square", truth_size=4, prediction_size=4, truth=(9, 9))
    >>> explorer.prediction = (11, 9)
    >>> preds, target = explorer.masks()
    >>> int((preds & target).sum()), int((preds | target).sum())
    (8, 24)
    """

    view = "iou.js"
    shape = Choice("disc", {"disc": "disc", "square": "square"}, "shape")
    truth_size = Slider(12, 1, 16, 1, "truth size")
    prediction_size = Slider(10, 1, 16, 1, "prediction size")
    truth = Place((13, 9)).tag(sync=True)
    prediction = Place((18, 11)).tag(sync=True)

    def masks(self) -> tuple[np.ndarray, np.ndarray]:
        """Prediction and truth as (20, 32) booleans."""
        return (
            _pixels(self.shape, self.prediction, self.prediction_size),
            _pixels(self.shape, self.truth, self.truth_size),
        )


def _pixels(shape: str, middle: tuple[int, int], size: int) -> np.ndarray:
    corner = (
        min(max(at - size // 2, 0), side - size)
        for at, side in zip(middle, (COLUMNS, ROWS), strict=True)
    )
    # Twice the way from the middle of the shape to the middle of a pixel, an integer.
    x, y = (
        2 * (np.arange(side) - first) + 1 - size
        for first, side in zip(corner, (COLUMNS, ROWS), strict=True)
    )
    if shape == "disc":
        return x**2 + y[:, None] ** 2 <= size**2
    return (abs(x) < size) & (abs(y[:, None]) < size)
