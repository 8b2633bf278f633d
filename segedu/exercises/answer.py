"""How a check answers: right, or which mistake makes just these numbers."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..checks import check_callable, describe


@dataclass(frozen=True)
class Answer:
    """What a check says; a notebook shows the sentence."""

    correct: bool
    message: str

    def __repr__(self) -> str:
        return self.message


def check(
    submission: Callable,
    solution: Callable,
    cases: Sequence[tuple],
    misconceptions: dict[str, Callable],
    *,
    tolerance: float = 1e-5,
) -> Answer:
    """Compare a learner's function with the solution, and recognise a mistake by its numbers.

    Parameters
    ----------
    submission : what the learner wrote; nothing that it raises gets out.
    solution : gives what is right.
    cases : arguments of each call. They are copied, so that no call changes those of another.
    misconceptions : what to tell the learner, for each function that makes a known mistake. It is
        told if the learner's results are the same wherever the mistake shows, and that explains
        at least half of what is wrong; of several, the one that explains most.
    tolerance : absolute and relative, of every number.

    Raises ValueError only if `submission` cannot be called.

    Examples
    --------
    >>> def mean(a, b):
    ...     return a + b / 2
    >>> early = {"division comes before the sum: add first": lambda a, b: a + b / 2}
    >>> check(mean, lambda a, b: (a + b) / 2, [(1, 3), (0, 2)], early)
    not yet: division comes before the sum: add first
    >>> check(lambda a, b: (a + b) / 2, lambda a, b: (a + b) / 2, [(1, 3), (0, 2)], early)
    correct: 2 cases
    """
    check_callable("what you hand over", submission, "the arguments that the exercise names")
    name = getattr(submission, "__name__", "your function")
    got, wanted = (
        [_result(function, case) for case in cases] for function in (submission, solution)
    )
    if any(result is None or result is ... for result in got):
        return Answer(False, f"not yet: {name} returns nothing; write it, then run this again")
    wrong = _differ(got, wanted, tolerance)
    if not wrong:
        return Answer(True, f"correct: {len(cases)} cases")
    known = {}
    for sentence, mistaken in misconceptions.items():
        results = [_result(mistaken, case) for case in cases]
        shows = _differ(results, wanted, tolerance)
        if 2 * len(shows) >= len(wrong) and not shows & _differ(got, results, tolerance):
            known[sentence] = len(shows)
    if known:
        return Answer(False, f"not yet: {max(known, key=known.get)}")
    k = min(wrong)
    call = f"{name}({', '.join(map(_show, cases[k]))})"
    if isinstance(got[k], Exception):
        return Answer(False, f"not yet: {call} raised {type(got[k]).__name__}: {got[k]}")
    return Answer(
        False,
        f"not yet: {len(wrong)} of {len(cases)} cases are wrong; "
        f"{call} gave {_show(got[k])}, expected {_show(wanted[k])}",
    )


def _result(function: Callable, case: tuple):
    """What a call gives, an exception included."""
    try:
        return function(*copy.deepcopy(case))
    except Exception as error:
        return error


def _differ(some: list, others: list, tolerance: float) -> set[int]:
    """The cases in which two functions differ."""
    pairs = enumerate(zip(some, others, strict=True))
    return {k for k, (a, b) in pairs if not _same(a, b, tolerance)}


def _same(a, b, tolerance: float) -> bool:
    """Equal in structure, in shape, and in every number."""
    if isinstance(a, Exception) or isinstance(b, Exception):
        return type(a) is type(b)
    if isinstance(a, str) or isinstance(b, str):
        return isinstance(a, str) and isinstance(b, str) and a == b
    if _length(a) != _length(b):  # before a million numbers are compared with three
        return False
    if isinstance(b, list | tuple):
        a = list(a) if isinstance(a, torch.Tensor | np.ndarray) and a.ndim else a
        return isinstance(a, list | tuple) and all(
            _same(x, y, tolerance) for x, y in zip(a, b, strict=True)
        )
    try:
        a, b = (torch.as_tensor(value).detach() for value in (a, b))
        if a.shape != b.shape or a.is_complex() or a.is_meta:
            return False
        return torch.allclose(a.double(), b.double(), tolerance, tolerance, equal_nan=True)
    except (TypeError, ValueError, RuntimeError):  # no numbers
        return False


def _length(value) -> int | None:
    """How many parts it has; None for a number."""
    try:
        return len(value)
    except TypeError:
        return None


def _show(value) -> str:
    """Small values whole, large ones described."""
    if isinstance(value, torch.Tensor | np.ndarray) and np.prod(value.shape) <= 16:
        try:
            value = value.tolist()
        except (NotImplementedError, RuntimeError):  # torch: without values, or sparse
            return describe(value)
    if isinstance(value, list | tuple) and len(value) <= 16:
        return f"[{', '.join(map(_show, value))}]"
    if isinstance(value, Exception):
        return f"{type(value).__name__}: {value}"
    return f"{value:.4g}" if isinstance(value, float) else describe(value)
