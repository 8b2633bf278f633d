"""Checks of what a caller passes: a ValueError names the argument, what was got and expected."""

import math
import operator
from collections.abc import Collection


def check_integer(name: str, value, least: int, most: int | None = None) -> int:
    """`value` as an int, if it is an integer (not a bool) from `least` to `most`.

    >>> check_integer("steps", 0, 1)
    Traceback (most recent call last):
    ValueError: steps must be an integer from 1 on, got 0
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or number < least or (most or number) < number:
        wanted = f"from {least} on" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name} must be an integer {wanted}, got {value!r}")
    return number


def check_number(name: str, value, low: float = -math.inf, high: float = math.inf) -> float:
    """`value` as a finite float in [low, high].

    >>> check_number("threshold", 1.5, 0, 1)
    Traceback (most recent call last):
    ValueError: threshold must be a number from 0 to 1, got 1.5
    """
    try:
        number = math.nan if isinstance(value, str | bool) else float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # torch: several elements
        number = math.nan
    if not (math.isfinite(number) and low <= number <= high):
        limits = [f" from {low:g}" if low > -math.inf else "", f" to {high:g}" * (high < math.inf)]
        raise ValueError(f"{name} must be a number{''.join(limits)}, got {value!r}")
    return number


def check_choice(name: str, value, options: Collection) -> None:
    """Whether `value` is one of `options`.

    >>> check_choice("norm", "layer", ("batch", "group"))
    Traceback (most recent call last):
    ValueError: norm must be 'batch' or 'group', got 'layer'
    """
    if not any(
        value is option or (isinstance(value, str) and value == option) for option in options
    ):
        *first, last = map(repr, options)
        wanted = f"{', '.join(first)} or {last}" if first else last
        raise ValueError(f"{name} must be {wanted}, got {value!r}")
