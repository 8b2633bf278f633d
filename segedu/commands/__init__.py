"""What the commands of `segedu` do; their options are in `segedu.cli`."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike


def counted_classes(masks: Iterable[ArrayLike], ignore_index: int | None) -> set[int]:
    """The classes of the pixels that count; no mask is read once there are two.

    >>> counted_classes([[[0, 255]], [[0, 1]], [[2]]], 255)
    {0, 1}
    """
    found = set()
    for mask in masks:
        found |= set(np.unique(mask).tolist()) - {ignore_index}
        if len(found) > 1:
            break
    return found


def showable(name: str) -> str:
    r"""A file's name without what Unicode cannot show: bytes that are no UTF-8.

    >>> showable("caf\udce9.png")
    'caf\\udce9.png'
    """
    return name.encode(errors="backslashreplace").decode()
