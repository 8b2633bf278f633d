"""How a check answers: what is right, what is a known mistake, and what it makes of anything else.

What learners get wrong, or right in other ways than the solution: `mistakes`, a file a chapter.
"""

import sys

import numpy as np
import pytest
import torch

from segedu import exercises
from segedu.exercises.answer import Answer, check
from tests.mistakes import basics, iou, losses, results, unet, unetpp

CHAPTERS = basics, losses, iou, unet, unetpp, results
KNOWN = [mistake for chapter in CHAPTERS for mistake in chapter.MISTAKES]
RIGHT = [
    (name, function)
    for chapter in CHAPTERS
    for name, functions in getattr(chapter, "RIGHT", {}).items()
    for function in functions
]

CASES = [(1.0, 3.0), (0.0, 2.0), (5.0, 5.0), (-4.0, 8.0)]
EARLY = "division comes before the sum"
SUM = "that is the sum"


def mean(a, b):
    return (a + b) / 2


MISTAKES = {EARLY: lambda a, b: a + b / 2, SUM: lambda a, b: a + b}


def answer(theirs, cases=CASES, solution=mean, mistakes=MISTAKES, **options) -> Answer:
    return check(theirs, solution, cases, mistakes, **options)


def test_what_is_right_is_told_so_with_the_number_of_cases():
    assert answer(lambda a, b: a / 2 + b / 2) == Answer(True, "correct: 4 cases")
    assert repr(Answer(True, "correct: 4 cases")) == "correct: 4 cases"


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_known_mistake_is_recognised_by_its_numbers(mistake):
    theirs = {EARLY: lambda x, y: y * 0.5 + x, SUM: lambda x, y: y + x}[mistake]
    assert answer(theirs) == Answer(False, f"not yet: {mistake}")


def test_a_mistake_must_show_in_half_of_what_is_wrong():
    """One that shows in a single case, while three are wrong, explains too little."""

    def wrong_thrice(a, b):
        return (a + b) / 2 if b == 2 else (a + b) / 2 + 1

    seldom = {"seldom": lambda a, b: (a + b) / 2 + (a == 5)}  # agrees where it shows
    said = answer(wrong_thrice, mistakes=seldom).message
    assert "seldom" not in said
    assert "3 of 4 cases are wrong" in said
    often = {"often": lambda a, b: (a + b) / 2 + (a in (5, 1))}  # two of three
    assert answer(wrong_thrice, mistakes=often).message == "not yet: often"


def test_a_mistake_must_agree_wherever_it_shows():
    nearly = {"nearly": lambda a, b: (a + b) / 2 + (1 if a != 5 else 2)}
    assert "4 of 4" in answer(lambda a, b: (a + b) / 2 + 1, mistakes=nearly).message


def test_a_mistake_on_top_of_a_known_one_does_not_hide_it():
    """Where the known one does not show, theirs may differ from it."""

    def theirs(a, b):
        return 99 if a == b else a + b / 2  # a == b == 5 is wrong in another way

    hidden = {EARLY: lambda a, b: a + b / 2 if a != b else (a + b) / 2}
    assert answer(theirs, mistakes=hidden).message == f"not yet: {EARLY}"


def test_of_several_the_one_that_explains_most_is_told():
    both = {
        "some": lambda a, b: a + b if a > 0 else (a + b) / 2,  # shows in two cases
        "all": lambda a, b: a + b,  # in every one
    }
    for order in (both, dict(reversed(both.items()))):
        assert answer(lambda a, b: a + b, mistakes=order).message == "not yet: all"


def test_anything_else_is_shown_with_the_first_case_that_is_wrong():
    def theirs(a, b):
        return 7.0 if a == 0 else mean(a, b)

    assert answer(theirs).message == (
        "not yet: 1 of 4 cases are wrong; theirs(0, 2) gave 7, expected 1"
    )


@pytest.mark.parametrize("nothing", [None, ...])
def test_nothing_is_not_wrong_but_missing(nothing):
    def theirs(a, b):
        return nothing

    assert answer(theirs).message == (
        "not yet: theirs returns nothing; write it, then run this again"
    )


def test_an_exception_is_told_and_does_not_get_out():
    def theirs(a, b):
        raise KeyError("no such thing")

    assert answer(theirs).message == ("not yet: theirs(1, 3) raised KeyError: 'no such thing'")
    assert "TypeError" in answer(lambda a: a).message  # takes too few arguments


def test_an_exception_can_be_right_and_can_be_a_known_mistake():
    def reciprocal(x):
        if x == 0:
            raise ValueError("0 has none")
        return 1 / x

    cases, mistakes = [(1,), (0,)], {"ask for 0 first": lambda x: 1 / x}
    assert answer(reciprocal, cases, reciprocal, mistakes).correct
    assert (
        answer(lambda x: x**-1, cases, reciprocal, mistakes).message == "not yet: ask for 0 first"
    )
    said = answer(lambda x: 1 / x if x else 0, cases, reciprocal, mistakes).message
    assert said.endswith("gave 0, expected ValueError: 0 has none")


def test_numbers_are_compared_within_the_tolerance():
    assert answer(lambda a, b: mean(a, b) + 9e-6).correct
    assert not answer(lambda a, b: mean(a, b) + 3e-5).correct
    assert answer(lambda a, b: mean(a, b) + 3e-5, tolerance=1e-3).correct
    assert answer(lambda x: x * (1 + 9e-6), [(1e6,)], lambda x: x, {}).correct
    assert not answer(lambda x: x * (1 + 2e-5), [(1e6,)], lambda x: x, {}).correct


@pytest.mark.parametrize(
    "kind",
    [float, np.float32, torch.tensor, lambda x: torch.tensor(x, requires_grad=True), np.array],
)
def test_numbers_of_any_kind_are_numbers(kind):
    assert answer(lambda a, b: kind(mean(a, b))).correct


def test_tensors_have_to_have_the_shape():
    cases = [(torch.arange(6.0).reshape(2, 3),)]

    def double(x):
        return 2 * x

    assert answer(lambda x: (x + x).numpy(), cases, double, {}).correct
    assert answer(lambda x: (x + x).tolist(), cases, double, {}).correct
    said = answer(lambda x: 2 * x.flatten(), cases, double, {}).message
    assert said.endswith("gave [0, 2, 4, 6, 8, 10], expected [[0, 2, 4], [6, 8, 10]]")
    large = [(torch.zeros(8, 8),)]
    said = answer(lambda x: x[0], large, double, {}).message
    assert said.endswith("gave [0, 0, 0, 0, 0, 0, 0, 0], expected torch.float32 (8, 8)")


def test_tuples_are_compared_part_by_part():
    def both(x):
        return x, {"text": "word"}["text"], [x, torch.ones(2)]

    cases = [(1.0,), (2.0,)]
    assert answer(lambda x: [x, "word", (x, [1, 1])], cases, both, {}).correct
    assert answer(lambda x: torch.ones(3) * x, cases, lambda x: [x] * 3, {}).correct
    assert not answer(lambda x: torch.ones(2) * x, cases, lambda x: [x] * 3, {}).correct
    for wrong in ((1.0, "word"), (1.0, "other", [1.0, torch.ones(2)]), 1.0, None, "word", {}):
        assert not answer(lambda x, wrong=wrong: wrong, cases, both, {}).correct


def test_nan_is_nan_and_nothing_else():
    nan = float("nan")
    assert answer(lambda x: nan, [(1,)], lambda x: nan, {}).correct
    assert not answer(lambda x: nan, [(1,)], lambda x: 0.0, {}).correct
    assert not answer(lambda x: 0.0, [(1,)], lambda x: nan, {}).correct


def test_a_complex_number_is_none_of_these():
    assert not answer(lambda x: 1 + 0j, [(1,)], lambda x: 1.0, {}).correct


def test_no_call_sees_what_another_did_to_its_arguments():
    def spoils(x):
        x += 1
        return x - 1

    x = torch.zeros(3)
    assert answer(spoils, [(x,), (x,)], lambda x: x, {"spoilt": lambda x: x.add_(5)}).correct
    assert not x.any()


@pytest.mark.parametrize("theirs", [3, None, "mean", [mean]])
def test_what_cannot_be_called_is_refused(theirs):
    with pytest.raises(ValueError, match="what you hand over must be a function"):
        answer(theirs)


# What learners hand over on their way: for every check of the course, an answer, no exception.
GARBAGE = {
    "raises": lambda *a, **k: 1 / 0,
    "nothing": lambda *a, **k: None,
    "ellipsis": lambda *a, **k: ...,
    "text": lambda *a, **k: "nonsense",
    "an object": lambda *a, **k: object(),
    "a function": lambda *a, **k: len,
    "a dict": lambda *a, **k: {"a": 1},
    "an empty list": lambda *a, **k: [],
    "ragged": lambda *a, **k: [[1, 2], [3]],
    "NaN": lambda *a, **k: float("nan"),
    "a complex number": lambda *a, **k: 1j,
    "an empty tensor": lambda *a, **k: torch.zeros(0),
    "a tensor without values": lambda *a, **k: torch.zeros(3, device="meta"),
    "a sparse tensor": lambda *a, **k: torch.eye(3).to_sparse(),
    "a million numbers": lambda *a, **k: [0.5] * 10**6,
    "an array of objects": lambda *a, **k: np.array([None, "a"], dtype=object),
    "other axes": lambda *a, **k: torch.zeros(1, 2, 3, 4, 5),
    "no arguments": lambda: 1.0,
    "a class": type("Theirs", (), {"__init__": lambda self, *a, **k: None}),
    "a module without a forward": torch.nn.Module,
}


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("name", exercises.__all__)
def test_garbage_gets_an_answer(name, garbage):
    said = getattr(exercises, name)(GARBAGE[garbage])
    assert isinstance(said, Answer)
    assert not said.correct
    assert said.message.startswith("not yet: ")
    assert len(said.message) < 600, said.message


@pytest.mark.parametrize("name", exercises.__all__)
def test_a_starter_is_told_to_begin(name):
    def starter(*arguments): ...

    said = getattr(exercises, name)(starter).message
    assert said == "not yet: starter returns nothing; write it, then run this again"


@pytest.mark.parametrize(("name", "function"), RIGHT)
def test_what_is_right_passes(name, function):
    """The solutions in the chapters are run by `test_chapters.py`."""
    assert getattr(exercises, f"check_{name}")(function).correct


@pytest.mark.parametrize(("name", "mistake", "part"), KNOWN)
def test_a_mistake_is_told_by_its_name(name, mistake, part):
    said = getattr(exercises, f"check_{name}")(mistake)
    assert not said.correct
    assert part in said.message


@pytest.mark.parametrize("name", exercises.__all__)
def test_every_misconception_is_among_the_mistakes(name, monkeypatch):
    asked = getattr(exercises, name)
    told = []
    monkeypatch.setattr(
        sys.modules[asked.__module__], "check", lambda *args, **options: told.extend(args[3])
    )
    asked(None)
    parts = [part for of, _, part in KNOWN if f"check_{of}" == name]
    assert len(told) >= 2
    assert [sentence for sentence in told if not any(part in sentence for part in parts)] == []
