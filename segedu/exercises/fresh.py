"""Fresh cases for a check: of the same kind as its own, with other values.

A learner who has read the cases of a check can look its answers up. Cases made from a seed that
nobody knows show whether a function computes.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
import torch
from numpy.random import Generator

SEED: ContextVar[int | None] = ContextVar("seed", default=None)
TRIES = 30  # for each case; the first that is like the check's own is taken
CHANGED = 0.1  # the share of an array's numbers that are replaced


@contextmanager
def fresh(seed: int) -> Iterator[None]:
    """Inside, every check takes fresh cases made from this seed in place of its own.

    >>> from segedu.exercises import check_iou
    >>> def iou(tp, fp, fn):  # looks three of the check's own cases up
    ...     return {(2, 1, 1): 0.5, (0, 3, 0): 0.0, (5, 0, 0): 1.0}.get((tp, fp, fn), 1.0)
    >>> with fresh(0):
    ...     print(check_iou(iou).correct)
    False
    """
    token = SEED.set(seed)
    try:
        yield
    finally:
        SEED.reset(token)


def fresh_cases(cases: Sequence[tuple], seed: int, outcome: Callable) -> list[tuple]:
    """For each case another one, where one is found that is like the given cases.

    Numbers are drawn between the smallest and the largest at this place in any case. Where a case
    has arrays or lists, these are changed and its numbers stay, because one may depend on the
    other: arrays are turned by 90 degrees or not, and some of their values replaced by values that
    are in between or, of integers, elsewhere in the array; lists are treated likewise, but lists of
    integers, such as channels, are only put into another order.

    Parameters
    ----------
    outcome : the correct result of a case, or the exception that it raises. That of a fresh case is
        no exception, and has no NaN or infinity unless one of the given cases has. Where the
        arguments are numbers and the result is one too, it is in the range of the given results.
    """
    random = np.random.default_rng(seed)
    results = [outcome(case) for case in cases]
    columns = [*zip(*cases, strict=False)]
    found = []
    for case, result in zip(cases, results, strict=True):
        usable = []
        for _ in range(TRIES):
            other = _vary(case, columns, random)
            if any(_same(other, known) for known in (*cases, *found)):
                continue
            answer = outcome(other)
            if not _is_like(answer, results, in_range=all(map(_is_number, case))):
                continue
            usable.append(other)
            if not _same(answer, result):
                break
        found += usable[-1:]
    return found


def _vary(case: tuple, columns: Sequence[tuple], random: Generator) -> tuple:
    """One try at another case."""
    if all(map(_is_number, case)):
        return tuple(_drawn(column, random) for column in columns)
    turned = random.random() < 0.5
    return tuple(_changed(value, turned, random) for value in case)


def _drawn(column: tuple, random: Generator) -> float:
    """A number from the range of a column; integers may be larger by up to 3."""
    if all(isinstance(value, int) for value in column):
        return int(random.integers(min(column), max(column) + 3, endpoint=True))
    return float(random.uniform(min(column), max(column)))


def _changed(value, turned: bool, random: Generator):
    """Another value of the same kind; a number, a text or anything else stays."""
    if isinstance(value, torch.Tensor):
        return torch.from_numpy(_changed(value.numpy(), turned, random))
    if isinstance(value, np.ndarray):
        value = value.swapaxes(-1, -2) if turned and value.ndim > 1 else value
        return _replaced(np.ascontiguousarray(value), random)
    if isinstance(value, dict):
        return {key: _changed(part, turned, random) for key, part in value.items()}
    if not isinstance(value, list | tuple) or not value:
        return copy.deepcopy(value)
    if all(isinstance(part, float | str) for part in value):
        return type(value)(_replaced(np.array(value), random).tolist())
    if all(_is_integer(part) for part in value):
        return type(value)(value[k] for k in random.permutation(len(value)))
    return type(value)(_changed(part, turned, random) for part in value)


def _replaced(values: np.ndarray, random: Generator) -> np.ndarray:
    """An array some of whose values are others of its own, or lie between two of its own."""
    if not values.size:
        return values
    others = random.choice(values.ravel(), values.shape)
    if values.dtype.kind == "f" and (values != values.round()).any():
        share = random.uniform(0.2, 0.8, values.shape)
        return (share * values + (1 - share) * others).astype(values.dtype)
    at = random.random(values.shape) < CHANGED
    at.flat[random.integers(values.size)] = True
    return np.where(at, others, values)


def _is_number(value) -> bool:
    return isinstance(value, int | float)


def _is_integer(value) -> bool:
    """Whether a value is an integer or made of integers, such as the node (0, 1)."""
    return isinstance(value, int) or (isinstance(value, tuple) and all(map(_is_integer, value)))


def _is_like(result, results: Sequence, in_range: bool) -> bool:
    """Whether a result is no exception, finite where the given ones are, and in their range."""
    if isinstance(result, Exception):
        return False
    given = [numbers for other in results if (numbers := _numbers(other)) is not None]
    numbers = _numbers(result)
    if numbers is None or not given:
        return True
    if not np.isfinite(numbers).all() and all(np.isfinite(other).all() for other in given):
        return False
    if not in_range or numbers.size > 1:
        return True
    return min(map(np.min, given)) <= numbers.item() <= max(map(np.max, given))


def _numbers(result) -> np.ndarray | None:
    """The numbers of a result in one row; None if it is no number and no array or list of them."""
    try:
        if isinstance(result, list | tuple):
            parts = [_numbers(part) for part in result]
            missing = not parts or any(part is None for part in parts)
            return None if missing else np.concatenate(parts)
        values = torch.as_tensor(result).detach().cpu().double().numpy().ravel()
    except (TypeError, ValueError, RuntimeError):
        return None
    return values if values.size else None


def _same(a, b) -> bool:
    """Equal in every part."""
    if isinstance(a, torch.Tensor | np.ndarray):
        a, b = (torch.as_tensor(value).detach() for value in (a, b))
        return torch.equal(a, b)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, dict):
        return _same([*a.values()], [*b.values()])
    return a == b or (a != a and b != b)
