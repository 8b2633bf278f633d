"""What a learner or a user gets wrong, said once, in a sentence.

An error names the argument, what was expected, what came, and what to do. Each check returns what
it checked, so that it can stand where the value is used.
"""

import math
import operator
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
import torch
from torch import Tensor

_are_trusted = ContextVar("values that were looked at before", default=False)


@contextmanager
def trusted_values() -> Iterator[None]:
    """In this block `check_range` does not look: the caller has, before they went to a GPU.

    There each look would wait for everything that was computed before it.

    >>> with trusted_values():
    ...     check_range("target", torch.tensor([255]), 0, 1)
    tensor([255])
    """
    token = _are_trusted.set(True)
    try:
        yield
    finally:
        _are_trusted.reset(token)


def describe(value) -> str:
    """A value in a few words: a tensor or an array by its dtype, shape and device.

    >>> describe(torch.zeros(2, 3)), describe("a" * 1000)[:4]
    ('torch.float32 (2, 3)', "'aaa")
    """
    if isinstance(value, Tensor) and value.device.type != "cpu":
        return f"{value.dtype} {tuple(value.shape)} on {value.device}"
    if isinstance(value, Tensor | np.ndarray) and value.ndim:
        return f"{value.dtype} {tuple(value.shape)}"
    return f"{value!r:.80}"


def check_choice(name: str, value, options: Collection):
    """`value`, if it is one of `options`.

    >>> check_choice("norm", "layer", ("batch", "group"))
    Traceback (most recent call last):
    ValueError: norm must be 'batch' or 'group', got 'layer'
    """
    for option in options:
        if value is option or (isinstance(value, str) and value == option):
            return value
    *first, last = map(repr, options)
    wanted = f"{', '.join(first)} or {last}" if first else last
    raise ValueError(f"{name} must be {wanted}, got {describe(value)}")


def check_integer(name: str, value, least: int | None = None, most: int | None = None) -> int:
    """`value` as an int, if it is a whole number (no float, no bool) from `least` to `most`.

    >>> check_integer("steps", 0, 1)
    Traceback (most recent call last):
    ValueError: steps must be an integer of at least 1, got 0
    """
    number = operator.index(value) if hasattr(value, "__index__") else None
    too_small = number is not None and least is not None and number < least
    too_large = number is not None and most is not None and number > most
    if number is None or isinstance(value, bool) or too_small or too_large:
        limits = "" if least is None else f" of at least {least}"
        limits = f" from {least} to {most}" if most is not None else limits
        raise ValueError(f"{name} must be an integer{limits}, got {describe(value)}")
    return number


def check_number(name: str, value, low: float = -math.inf, high: float = math.inf) -> float:
    """`value` as a float, if it is finite and lies in [low, high].

    >>> check_number("threshold", 1.5, 0, 1)
    Traceback (most recent call last):
    ValueError: threshold must be a number from 0 to 1, got 1.5
    """
    try:
        number = math.nan if isinstance(value, str) else float(value)
    except (TypeError, ValueError, RuntimeError):  # torch: a tensor of several elements
        number = math.nan
    if not (low <= number <= high and abs(number) < math.inf):  # isfinite does not compile
        limits = "" if low == -math.inf else f" of at least {low:g}"
        limits = f" from {low:g} to {high:g}" if high < math.inf else limits
        raise ValueError(f"{name} must be a number{limits}, got {describe(value)}")
    return number


def check_tensor(name: str, value, shape: str, *, floats: bool = True) -> Tensor:
    """`value`, if it is a tensor with the axes that `shape` names, not empty; `floats`: of floats.

    >>> check_tensor("images", torch.zeros(8, 8), "(N, C, H, W)")
    Traceback (most recent call last):
    ValueError: images must be floats (N, C, H, W), not empty, got torch.float32 (8, 8)
    """
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a tensor {shape}, got {describe(value)}")
    axes = value.ndim if shape == "(...)" else shape.count(",") + 1
    if value.ndim != axes or not value.numel() or (floats and not value.is_floating_point()):
        kind = "floats" if floats else "real numbers"
        raise ValueError(f"{name} must be {kind} {shape}, not empty, got {describe(value)}")
    return value


def check_range(
    name: str, value: Tensor, low: float = -math.inf, high: float = math.inf, hint: str = ""
) -> Tensor:
    """`value`, if all of it is finite and in [low, high].

    Compiled code does not look, and neither does code in a block of `trusted_values`.

    >>> check_range("target", torch.tensor([0, 255]), 0, 1, "; see ignore_index")
    Traceback (most recent call last):
    ValueError: target must lie in [0, 1], got values from 0 to 255; see ignore_index
    """
    if not torch.compiler.is_compiling() and not _are_trusted.get():
        least, most = torch.stack(value.aminmax()).tolist()
        if not (low <= least and most <= high and -math.inf < least and most < math.inf):
            limits = f"be finite, at least {low:g}" if low > -math.inf else "be finite"
            limits = f"lie in [{low:g}, {high:g}]" if high < math.inf else limits
            raise ValueError(f"{name} must {limits}, got values from {least} to {most}{hint}")
    return value


def check_images(images: Tensor, in_channels: int, depth: int) -> Tensor:
    """`images`, if a network of `depth` poolings takes them: (N, in_channels, H, W).

    >>> check_images(torch.zeros(1, 1, 30, 32), 1, 4)
    Traceback (most recent call last):
    ValueError: got images of 30 x 32 pixels, but 4 poolings need sides that are multiples of 16: \
pad to 32 x 32, or call segedu.predict(model, images), which pads and crops
    """
    if images.ndim != 4 or images.shape[1] != in_channels:
        raise ValueError(
            f"expected images of shape (N, {in_channels}, H, W), got {describe(images)}"
        )
    height, width = images.shape[2:]
    step = 2**depth
    if height % step or width % step:
        raise ValueError(
            f"got images of {height} x {width} pixels, but {depth} poolings need sides that are "
            f"multiples of {step}: pad to {height + -height % step} x {width + -width % step}, "
            "or call segedu.predict(model, images), which pads and crops"
        )
    return images
