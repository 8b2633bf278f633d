"""Pictures of pixels as text that a web page can hold; `pixels.js` reads it."""

import re

import numpy as np

from ..export import to_base64


def pack(levels: np.ndarray, truth: np.ndarray) -> dict:
    """A picture (H, W) uint8 and its mask (H, W) bool as a dict of text, with the picture's width.

    The mask takes one bit per pixel. A run of zeros, of which a probability map has many, is
    written as a zero and its length.

    >>> pack(np.array([[7, 0, 0, 0, 255]], np.uint8), np.ones((1, 5), bool))
    {'width': 5, 'levels': 'BwAD/w==', 'truth': '+A=='}
    """
    return {
        "width": levels.shape[1],
        "levels": _text(levels.tobytes()),
        "truth": _text(np.packbits(truth).tobytes()),
    }


def _text(data: bytes) -> str:
    return to_base64(re.sub(rb"\0{1,255}", lambda run: bytes([0, len(run[0])]), data))
