"""BCE and focal loss, and which pixels dominate their gradients."""

import functools

import numpy as np
from skimage.filters import gaussian, threshold_otsu
from traitlets import Dict, default

from ..data import normalize, sample
from .base import Explorer, Slider
from .pixels import pack

PIECE = np.s_[264:328, 264:328]  # of the sample field
STEEPNESS = 16  # of the logits over the brightness


@functools.cache
def soft_threshold() -> dict:
    """A piece of the sample field, and what a network would say that knows only brightness.

    The probability of a pixel is sigmoid(16 (b - t)), with its brightness b after a Gaussian blur
    of one pixel, and Otsu's threshold t.

    >>> sorted(soft_threshold())
    ['grey', 'levels', 'truth', 'width']
    """
    grey, instances = sample()
    image = normalize(grey)[0].numpy().astype(float)
    blurred = gaussian(image, sigma=1)
    logits = STEEPNESS * (blurred - threshold_otsu(blurred))[PIECE]
    probabilities = (1 / (1 + np.exp(-logits))).clip(1 / 255, 254 / 255)  # no infinite loss
    truth = instances[PIECE] > 0
    grey = _levels((image[PIECE] / image[PIECE].max()).clip(0, 1))
    return {**pack(_levels(probabilities), truth), "grey": pack(grey, truth)["levels"]}


def _levels(values: np.ndarray) -> np.ndarray:
    return np.rint(255 * values).astype(np.uint8)


class LossExplorer(Explorer):
    """Curves of BCE and focal loss with their gradients, and the pixels that these listen to.

    A pixel moves along the curves. Below them stands each class's share of the gradient, at p = 0.5
    everywhere, with an easy background at p = 0.1, and on a piece of the sample field, which is
    shaded by the gradient of each pixel. Gradients are by the logit, and their absolute values.

    Parameters
    ----------
    gamma : 0 to 5.
    alpha : weight of the foreground, 0 to 1; the background's weight is 1 - alpha.
    foreground : fraction of the pixels that is foreground, 0.01 to 0.5.
    p : the probability of foreground that the network gives the pixel, 0.01 to 0.99.

    Sources: Lin et al. 2017, arXiv 1708.02002, equations 4 and 5.

    >>> LossExplorer(alpha=1.5)
    Traceback (most recent call last):
    ValueError: alpha must be a number from 0 to 1, got 1.5
    """

    name = "loss"
    alt = (
        "Curves of focal loss and BCE, and of their gradients, over the predicted probability; "
        "below them a table of their values for one pixel."
    )
    needs = ("pixels.js", "pixels.css", "drag.js")
    gamma = Slider(2.0, 0.0, 5.0, 0.1, "γ, focusing")
    alpha = Slider(0.25, 0.0, 1.0, 0.01, "α, weight")
    foreground = Slider(0.1, 0.01, 0.5, 0.01, "foreground", percent=True)
    p = Slider(0.3, 0.01, 0.99, 0.01, "p of the pixel")
    data = Dict().tag(sync=True)

    @default("data")
    def _piece(self) -> dict:
        return soft_threshold()
