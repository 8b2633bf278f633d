"""How a check answers: it is correct, or which misconception gives exactly these results."""

import copy
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch

from ..checks import describe
from .fresh import SEED, fresh_cases

ARRAY = torch.Tensor | np.ndarray
CHANGED = (
    "the values are right, but what the function was given has changed, and with it the data of "
    "the caller: make something new"
)
NOTHING = "returns nothing: it is not written yet, has no `return`, or returns None"
LARGE = 16  # a value of more numbers is described, not shown


@dataclass(frozen=True)
class Answer:
    """What a check found; a notebook shows the message."""

    correct: bool
    message: str

    def __repr__(self) -> str:
        return self.message


def _call(function: Callable, *case):
    return function(*case)


def check(
    submission: Callable,
    solution: Callable,
    cases: Sequence[tuple],
    misconceptions: dict[str, Callable],
    *,
    also: str | None = None,
    run: Callable = _call,
    tolerance: float = 1e-5,
) -> Answer:
    """Compare a learner's function with the solution, and recognise a misconception by its results.

    Parameters
    ----------
    submission : the learner's function. Any exception that it raises becomes part of the answer.
        It must leave arrays, tensors and lists that it gets as they are.
    solution : a correct function.
    cases : the arguments of each call, copied before the call. Inside `with fresh(seed)` they are
        replaced by fresh ones that are like them.
    misconceptions : maps a sentence for the learner to a function that makes this mistake. The
        learner reads the sentence if the submission gives the same results in every case that the
        mistake changes, and if these are at least half of the cases that are wrong. If several
        sentences qualify, the one that explains most cases is shown. Errors are the same if their
        types are, and, for a submission that raises in every case, their words.
    also : what else must be right, once the results are: "dtype" (floats, integers or booleans) or
        "gradient" (of the result with respect to the first argument).
    run : `run(function, *case)` is the result to compare; by default the function is just called.
    tolerance : absolute and relative tolerance of every number.

    Raises ValueError if `submission` cannot be called, or if no fresh case could be made.

    >>> def mean(a, b):
    ...     return a + b / 2
    >>> mistake = {"the division comes before the sum: add first": lambda a, b: a + b / 2}
    >>> check(mean, lambda a, b: (a + b) / 2, [(1, 3), (0, 2)], mistake)
    not yet: the division comes before the sum: add first
    >>> check(lambda a, b: (a + b) / 2, lambda a, b: (a + b) / 2, [(1, 3), (0, 2)], mistake)
    correct: 2 cases
    """
    if not callable(submission):
        raise ValueError(
            f"expected a function, got {describe(submission)}: pass its name without parentheses, "
            "as in check_iou(iou)"
        )
    if (seed := SEED.get()) is not None:
        cases = fresh_cases(cases, seed, lambda case: _outcome(run, solution, case))
        if not cases:
            raise ValueError(f"expected fresh cases from the seed {seed}, got none: choose another")

    def problem(function, view, what, misconceptions):
        return _problem(function, solution, cases, misconceptions, tolerance, view, what)

    found = problem(submission, run, "result", misconceptions)
    if not found and also:
        view = VIEWS[also]
        right = {s: f for s, f in misconceptions.items() if not problem(f, run, "result", {})}
        found = problem(submission, view, also, right)
        found = found and f"the values are right, but {found}"
    if not found and any(_changes(run, submission, case) for case in cases):
        found = CHANGED
    return Answer(not found, f"not yet: {found}" if found else f"correct: {len(cases)} cases")


def _problem(
    submission: Callable,
    solution: Callable,
    cases: Sequence[tuple],
    misconceptions: dict[str, Callable],
    tolerance: float,
    view: Callable,
    what: str,
) -> str | None:
    """What is wrong with one view of a submission: its result, or the dtype or gradient of it."""

    def views(function):
        return [_outcome(view, function, case) for case in cases]

    name = getattr(submission, "__name__", "your function")
    got, expected = views(submission), views(solution)
    if any(result is None or result is ... for result in got):
        return f"{name} {NOTHING}"
    wrong = _different(got, expected, tolerance)
    if not wrong:
        return None
    explained = {}
    never_runs = all(isinstance(result, Exception) for result in got)
    for sentence, mistaken in misconceptions.items():
        results = views(mistaken)
        shows = _different(results, expected, tolerance)
        if never_runs and any(_words(got[k]) != _words(results[k]) for k in shows):
            continue  # one kind of error has many causes
        if 2 * len(shows) >= len(wrong) and not shows & _different(got, results, tolerance):
            explained[sentence] = len(shows)
    if explained:
        return max(explained, key=explained.get)
    k = min(wrong)
    call, a, b = f"{name}({', '.join(map(_show, cases[k]))})", got[k], expected[k]
    if isinstance(a, Exception):
        return f"{call} raised {_show(a)}"
    if max(_size(a), _size(b)) > LARGE:
        place, a, b = _first_difference(a, b, tolerance)
        call += place
    return (
        f"in {len(wrong)} of {len(cases)} cases the {what} is wrong; "
        f"{call} gave {_show(a)}, expected {_show(b)}"
    )


def _outcome(view: Callable, function: Callable, case: tuple):
    """A view of a call, or the exception that it raised."""
    try:
        return view(function, *copy.deepcopy(case))
    except Exception as error:
        return error


def _changes(run: Callable, function: Callable, case: tuple) -> bool:
    """Whether a call changes an array, a tensor or a list that it gets."""
    values = [k for k, value in enumerate(case) if isinstance(value, ARRAY | list)]
    if not values:
        return False
    given = copy.deepcopy(case)
    run(function, *given)
    return not all(_same(given[k], case[k], tolerance=0) for k in values)


def _dtype(function: Callable, *case):
    """The kind of number that a call returns; for several tensors, the kind of each.

    A list of single numbers may be one of tensors without axes, as a loop over a tensor gives.
    """

    def kind(value):
        if isinstance(value, list | tuple) and isinstance(value[0], ARRAY) and value[0].ndim:
            return [kind(part) for part in value]
        dtype = torch.as_tensor(value).dtype
        if dtype == torch.bool:
            return "booleans"
        return "floats" if dtype.is_floating_point else "integers"

    return kind(function(*case))


def _gradient(function: Callable, logits, *case):
    """The gradient of a loss with respect to the logits: 0 if it is cut off, NaN for infinity."""
    several = isinstance(logits, list)
    leaves = [head.requires_grad_() for head in (logits if several else [logits])]
    heads = [leaf.clone() for leaf in leaves]  # may be changed in place, like a network's output
    loss = torch.as_tensor(function(heads if several else heads[0], *case)).sum()
    loss = loss + 0 * sum(leaf.sum() for leaf in leaves)  # has a gradient even if it is cut off
    gradients = [g.where(g.isfinite(), math.nan) for g in torch.autograd.grad(loss, leaves)]
    return gradients if several else gradients[0]


VIEWS = {"dtype": _dtype, "gradient": _gradient}


def _different(some: Sequence, others: Sequence, tolerance: float) -> set[int]:
    """Where two sequences of the same length differ."""
    pairs = enumerate(zip(some, others, strict=True))
    return {k for k, (a, b) in pairs if not _same(a, b, tolerance)}


def _same(a, b, tolerance: float) -> bool:
    """Equal in structure, in shape, and in every number."""
    if isinstance(a, Exception) or isinstance(b, Exception):
        return type(a) is type(b)
    if isinstance(b, str):
        return isinstance(a, str) and a == b
    if isinstance(a, list | tuple) or isinstance(b, list | tuple):
        a, b = _parts(a), _parts(b)
        if a is None or b is None or len(a) != len(b):
            return False
        return not _different(a, b, tolerance)
    a, b = (float(value) if isinstance(value, Fraction) else value for value in (a, b))
    try:
        a, b = (torch.as_tensor(value).detach().cpu().double() for value in (a, b))
        return a.shape == b.shape and torch.allclose(a, b, tolerance, tolerance, equal_nan=True)
    except (TypeError, ValueError, RuntimeError):  # not numbers
        return False


def _first_difference(a, b, tolerance: float) -> tuple:
    """Where two results first differ, written as an index, and what each has there."""
    some, others = _parts(a), _parts(b)
    arrays = isinstance(a, ARRAY) and isinstance(b, ARRAY)
    if not some or not others or len(some) != len(others) or (arrays and a.shape != b.shape):
        return "", a, b
    k = min(_different(some, others, tolerance))
    place, a, b = _first_difference(some[k], others[k], tolerance)
    return f"[{k}]{place}", a, b


def _parts(value) -> Sequence | None:
    """The parts of a list, a tuple, a tensor or an array; None for a number or anything else."""
    if isinstance(value, ARRAY):
        return list(value) if value.ndim else None
    return value if isinstance(value, list | tuple) else None


def _size(value) -> int:
    """How many numbers a value has."""
    if isinstance(value, ARRAY):
        return math.prod(value.shape)
    return sum(map(_size, value)) if isinstance(value, list | tuple) else 1


def _words(error) -> str:
    """What an error says, without its numbers."""
    return re.sub(r"\d+", "", str(error))


def _show(value) -> str:
    if isinstance(value, ARRAY | np.generic) and math.prod(value.shape) <= LARGE:
        value = value.tolist()
    if isinstance(value, list | tuple) and len(value) <= LARGE:
        return f"[{', '.join(map(_show, value))}]"
    if isinstance(value, Exception):
        return f"{type(value).__name__}: {value}"
    return f"{value:.4g}" if isinstance(value, float) else describe(value)
