"""How a check answers: what is correct, what is a known misconception, and everything else.

Every exercise is tested with what it hands to `check` itself: its solution and its misconceptions.
The folder `mistakes` has answers that learners write otherwise, right and wrong, one file per
chapter; the solutions in the chapters are run by `test_chapters.py`.
"""

from fractions import Fraction

import numpy as np
import pytest
import torch

from segedu import exercises
from segedu.exercises.answer import Answer, check
from tests.helpers import handed_over
from tests.mistakes import basics, iou, losses, results, unet, unetpp

CHAPTERS = basics, losses, iou, unet, unetpp, results
WRONG = [mistake for chapter in CHAPTERS for mistake in chapter.WRONG]
RIGHT = [
    (name, function)
    for chapter in CHAPTERS
    for name, functions in chapter.RIGHT.items()
    for function in functions
]

CASES = [(1.0, 3.0), (0.0, 2.0), (5.0, 5.0), (-4.0, 8.0)]
NOTHING = "returns nothing: it is not written yet, has no `return`, or returns None"
EARLY = "division comes before the sum"
SUM = "that is the sum"


def mean(a, b):
    return (a + b) / 2


MISCONCEPTIONS = {EARLY: lambda a, b: a + b / 2, SUM: lambda a, b: a + b}


def answer(submission, cases=CASES, solution=mean, misconceptions=MISCONCEPTIONS, **options):
    return check(submission, solution, cases, misconceptions, **options)


# -- the answer of one check ---------------------------------------------------------------------


def test_a_correct_answer_gets_the_number_of_cases():
    assert answer(lambda a, b: a / 2 + b / 2) == Answer(True, "correct: 4 cases")
    assert repr(Answer(True, "correct: 4 cases")) == "correct: 4 cases"


def test_a_misconception_must_explain_half_of_what_is_wrong():
    """One that shows in a single case, while three are wrong, explains too little."""

    def wrong_thrice(a, b):
        return (a + b) / 2 if b == 2 else (a + b) / 2 + 1

    seldom = {"seldom": lambda a, b: (a + b) / 2 + (a == 5)}  # agrees where it shows
    message = answer(wrong_thrice, misconceptions=seldom).message
    assert "seldom" not in message
    assert "in 3 of 4 cases the result is wrong" in message
    often = {"often": lambda a, b: (a + b) / 2 + (a in (5, 1))}  # two of three
    assert answer(wrong_thrice, misconceptions=often).message == "not yet: often"


def test_a_misconception_must_agree_wherever_it_shows():
    nearly = {"nearly": lambda a, b: (a + b) / 2 + (1 if a != 5 else 2)}
    assert "4 of 4" in answer(lambda a, b: (a + b) / 2 + 1, misconceptions=nearly).message


def test_a_second_mistake_does_not_hide_a_known_one():
    """Where the known one does not show, the submission may differ from it."""

    def submission(a, b):
        return 99 if a == b else a + b / 2  # a == b == 5 is wrong in another way

    hidden = {EARLY: lambda a, b: a + b / 2 if a != b else (a + b) / 2}
    assert answer(submission, misconceptions=hidden).message == f"not yet: {EARLY}"


def test_of_several_misconceptions_the_one_that_explains_most_is_shown():
    both = {
        "some": lambda a, b: a + b if a > 0 else (a + b) / 2,  # shows in two cases
        "all": lambda a, b: a + b,  # in every one
    }
    for order in (both, dict(reversed(both.items()))):
        assert answer(lambda a, b: a + b, misconceptions=order).message == "not yet: all"


def test_anything_else_is_shown_with_the_first_case_that_is_wrong():
    def submission(a, b):
        return 7.0 if a == 0 else mean(a, b)

    assert answer(submission).message == (
        "not yet: in 1 of 4 cases the result is wrong; submission(0, 2) gave 7, expected 1"
    )


@pytest.mark.parametrize("nothing", [None, ...])
def test_nothing_is_not_wrong_but_missing(nothing):
    def submission(a, b):
        return nothing

    assert answer(submission).message == f"not yet: submission {NOTHING}"


def test_an_exception_becomes_part_of_the_answer():
    def submission(a, b):
        raise KeyError("no such thing")

    expected = "not yet: submission(1, 3) raised KeyError: 'no such thing'"
    assert answer(submission).message == expected
    assert "TypeError" in answer(lambda a: a).message  # takes too few arguments


def test_an_exception_can_be_right_and_can_be_a_misconception():
    def reciprocal(x):
        if x == 0:
            raise ValueError("0 has none")
        return 1 / x

    cases, mistakes = [(1,), (0,)], {"ask for 0 first": lambda x: 1 / x}
    assert answer(reciprocal, cases, reciprocal, mistakes).correct
    said = answer(lambda x: x**-1, cases, reciprocal, mistakes).message
    assert said == "not yet: ask for 0 first"
    said = answer(lambda x: 1 / x if x else 0, cases, reciprocal, mistakes).message
    assert said.endswith("gave 0, expected ValueError: 0 has none")


def test_what_never_runs_is_told_its_own_error_where_a_mistake_has_another_of_that_type():
    mistakes = {"2 comes first": lambda a, b: [a][2]}
    cases = [(1, 3), (0, 2)]
    assert answer(lambda a, b: [b][1], cases, mean, mistakes).message == "not yet: 2 comes first"
    assert answer(lambda a, b: (a, b)[5], cases, mean, mistakes).message.endswith(
        "raised IndexError: tuple index out of range"
    )


def test_numbers_are_compared_within_the_tolerance():
    assert answer(lambda a, b: mean(a, b) + 9e-6).correct
    assert not answer(lambda a, b: mean(a, b) + 3e-5).correct
    assert answer(lambda a, b: mean(a, b) + 3e-5, tolerance=1e-3).correct
    assert answer(lambda x: x * (1 + 9e-6), [(1e6,)], lambda x: x, {}).correct
    assert not answer(lambda x: x * (1 + 2e-5), [(1e6,)], lambda x: x, {}).correct


@pytest.mark.parametrize(
    "kind",
    [
        float,
        np.float32,
        Fraction,
        torch.tensor,
        lambda x: torch.tensor(x, requires_grad=True),
        np.array,
    ],
)
def test_numbers_of_any_kind_are_numbers(kind):
    assert answer(lambda a, b: kind(mean(a, b))).correct


def test_tensors_have_to_have_the_shape():
    cases = [(torch.arange(6.0).reshape(2, 3),)]

    def double(x):
        return 2 * x

    assert answer(lambda x: (x + x).numpy(), cases, double, {}).correct
    assert answer(lambda x: (x + x).tolist(), cases, double, {}).correct
    assert answer(lambda x: list(x + x), cases, double, {}).correct
    said = answer(lambda x: 2 * x.flatten(), cases, double, {}).message
    assert said.endswith("gave [0, 2, 4, 6, 8, 10], expected [[0, 2, 4], [6, 8, 10]]")
    large = [(torch.zeros(8, 8),)]
    said = answer(lambda x: x[0], large, double, {}).message
    assert said.endswith("gave [0, 0, 0, 0, 0, 0, 0, 0], expected torch.float32 (8, 8)")


def test_of_a_large_result_the_first_place_that_differs_is_shown():
    def grid(size=6):
        return np.arange(size**2).reshape(size, size)

    def submission():
        result = grid()
        result[2, 3] = result[4, 5] = 0
        return result

    def says(submission, solution):
        return answer(submission, [()], solution, {}).message.split("; ")[1]

    assert says(submission, grid) == "submission()[2][3] gave 0, expected 15"
    assert says(lambda: submission().tolist(), grid) == "<lambda>()[2][3] gave 0, expected 15"
    pair = says(lambda: (1, torch.tensor(submission())), lambda: (1, torch.tensor(grid())))
    assert pair == "<lambda>()[1][2][3] gave 0, expected 15"
    shape = says(lambda: (1, grid(5)), lambda: (1, grid()))
    assert shape == "<lambda>()[1] gave int64 (5, 5), expected int64 (6, 6)"
    inner = says(lambda: grid()[:, :5], grid)
    assert inner == "<lambda>() gave int64 (6, 5), expected int64 (6, 6)"
    assert says(lambda: 3, grid) == "<lambda>() gave 3, expected int64 (6, 6)"


def test_tuples_are_compared_part_by_part():
    def both(x):
        return x, {"text": "word"}["text"], [x, torch.ones(2)]

    cases = [(1.0,), (2.0,)]
    assert answer(lambda x: [x, "word", (x, [1, 1])], cases, both, {}).correct
    assert answer(lambda x: torch.ones(3) * x, cases, lambda x: [x] * 3, {}).correct
    assert not answer(lambda x: torch.ones(2) * x, cases, lambda x: [x] * 3, {}).correct
    assert not answer(lambda x: 0.0, cases, lambda x: [], {}).correct
    for wrong in ((1.0, "word"), (1.0, "other", [1.0, torch.ones(2)]), 1.0, None, "word", {}):
        assert not answer(lambda x, wrong=wrong: wrong, cases, both, {}).correct


def test_nan_is_nan_and_nothing_else():
    nan = float("nan")
    assert answer(lambda x: nan, [(1,)], lambda x: nan, {}).correct
    assert not answer(lambda x: nan, [(1,)], lambda x: 0.0, {}).correct
    assert not answer(lambda x: 0.0, [(1,)], lambda x: nan, {}).correct


def test_a_function_that_spoils_its_arguments_is_refused_and_spoils_no_other_call():
    def spoils(x):
        x += 1
        return x - 1

    x = torch.zeros(3)
    found = answer(spoils, [(x,), (x,)], lambda x: x, {"spoilt": lambda x: x.add_(5)})
    assert "the values are right, but what the function was given has changed" in found.message
    assert not x.any()


@pytest.mark.parametrize("submission", [3, None, "mean", [mean]])
def test_what_cannot_be_called_is_refused(submission):
    with pytest.raises(ValueError, match=r"expected a function, got .*without parentheses"):
        answer(submission)


def test_run_says_how_the_function_is_called():
    def run(function, a, b):
        return sorted(function(a, b))

    cases = [(1, 2), (3, 0)]
    assert answer(lambda a, b: [b, a], cases, lambda a, b: [a, b], {}, run=run).correct
    told = {"twice a": lambda a, b: (a, a)}
    said = answer(lambda a, b: [a, a], cases, lambda a, b: [a, b], told, run=run)
    assert said.message == "not yet: twice a"


# -- what must be right besides the values -------------------------------------------------------


def test_the_dtype_can_be_asked_for():
    def halved(x):
        return x / 2, (x > 2).long()

    cases = [(torch.arange(4),), (torch.ones(2, 3),)]

    def says(submission, misconceptions=None):
        return answer(submission, cases, halved, misconceptions or {}, also="dtype").message

    assert says(halved) == "correct: 2 cases"
    assert says(lambda x: [x.double() / 2, (x > 2).to(torch.uint8)]) == "correct: 2 cases"
    assert says(lambda x: (x / 2, x > 2)) == (
        "not yet: the values are right, but in 2 of 2 cases the dtype is wrong; "
        "<lambda>([0, 1, 2, 3]) gave ['floats', 'booleans'], expected ['floats', 'integers']"
    )
    assert says(lambda x: (x, x > 2)).startswith("not yet: in 2 of 2 cases the result is wrong")
    comparison = {
        "other values": lambda x: (x + 0.5, x > 2),
        "a comparison": lambda x: (x / 2, x > 2),
    }
    said = says(lambda x: (x / 2, x > 2), comparison)
    assert said == "not yet: the values are right, but a comparison"


def squares(z, y):
    return ((z - y) ** 2).mean()


LOSS_CASES = [(torch.tensor([1.0, 3.0]), torch.zeros(2)), (torch.zeros(3), torch.ones(3))]


@pytest.mark.parametrize(
    ("loss", "gave"),
    [
        (lambda z, y: squares(z, y).item(), "gave [0, 0], expected [1, 3]"),
        (lambda z, y: squares(z.detach(), y), "gave [0, 0], expected [1, 3]"),
        (lambda z, y: squares(z, y.requires_grad_().detach()), None),
        (lambda z, y: squares(z, y) + 0 * (z - z).sqrt().sum(), "gave [nan, nan], expected"),
        (lambda z, y: squares(z, y) + (z - z).abs().sum() + (z - z).sum(), None),
        (lambda z, y: squares(z, y) + (z - z.detach()).sum(), "gave [2, 4], expected [1, 3]"),
        (lambda z, y: ((z.numpy() - y.numpy()) ** 2).mean(), "raised RuntimeError"),
        (lambda z, y: (z.square() - 2 * z * y + y.square()).mean(), None),
    ],
)
def test_the_gradient_can_be_asked_for(loss, gave):
    assert answer(loss, LOSS_CASES, squares, {}).correct
    said = answer(loss, LOSS_CASES, squares, {}, also="gradient")
    assert said.correct == (gave is None)
    assert gave is None or (gave in said.message and "the values are right" in said.message)


def test_the_gradient_of_each_of_several_logits_counts():
    def loss(heads, y):
        return sum(squares(head, y) for head in heads)

    def cut(heads, y):
        return loss([heads[0].detach(), heads[1]], y)

    cases = [([z, z + 1], y) for z, y in LOSS_CASES]
    assert answer(loss, cases, loss, {}, also="gradient").correct
    assert not answer(cut, cases, loss, {}, also="gradient").correct
    told = {"cut off": cut, "all of them": lambda heads, y: loss(heads, y).detach()}
    for sentence, mistaken in told.items():
        said = answer(mistaken, cases, loss, told, also="gradient").message
        assert said == f"not yet: the values are right, but {sentence}"


# -- what learners hand over on their way --------------------------------------------------------

GARBAGE = {
    "raises": lambda *a, **k: 1 / 0,
    "text": lambda *a, **k: "nonsense",
    "an object": lambda *a, **k: object(),
    "a function": lambda *a, **k: len,
    "a dict": lambda *a, **k: {"a": 1},
    "an empty list": lambda *a, **k: [],
    "ragged": lambda *a, **k: [[1, 2], [3]],
    "NaN": lambda *a, **k: float("nan"),
    "an empty tensor": lambda *a, **k: torch.zeros(0),
    "a long list": lambda *a, **k: [0.5] * 10**4,
    "an array of objects": lambda *a, **k: np.array([None, "a"], dtype=object),
    "other axes": lambda *a, **k: torch.zeros(1, 2, 3, 4, 5),
    "no arguments": lambda: 1.0,
    "a class": type("Garbage", (), {"__init__": lambda self, *a, **k: None}),
    "a module without a forward": torch.nn.Module,
}
SOLUTIONS = [
    lambda x: x,
    lambda x: x.mean().item(),
    lambda x: (x, [1, "word"]),
    lambda x: x.tolist(),
    lambda x: x[0] if len(x) else 1 / 0,
]


def refuse(said: Answer):
    assert not said.correct
    assert said.message.startswith("not yet: ")
    assert len(said.message) < 600, said.message


@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_gets_an_answer(garbage):
    for solution in SOLUTIONS:
        for cases in ([(torch.ones(5, 5),)], [(torch.ones(1),), (torch.zeros(0),)]):
            for also in (None, "dtype", "gradient"):
                mistake = {"this is the sum": torch.sum}
                refuse(answer(GARBAGE[garbage], cases, solution, mistake, also=also))


# -- the exercises -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", exercises.__all__)
def test_every_misconception_is_recognised_by_its_own_sentence(name):
    """With the solution, the cases and the misconceptions that the exercise hands to `check`."""
    parts, options = handed_over(name)
    solution, _, misconceptions = parts
    assert check(solution, *parts, **options).correct
    assert len(misconceptions) > 2
    for sentence, mistaken in misconceptions.items():
        message = check(mistaken, *parts, **options).message
        message = message.removeprefix("not yet: ").removeprefix("the values are right, but ")
        assert message == sentence


@pytest.mark.parametrize("name", exercises.__all__)
def test_a_learner_who_begins_gets_an_answer(name):
    def starter(*arguments): ...

    exercise = getattr(exercises, name)
    assert exercise(starter).message == f"not yet: starter {NOTHING}"
    for garbage in ("raises", "text", "an empty list", "a module without a forward"):
        refuse(exercise(GARBAGE[garbage]))


@pytest.mark.parametrize(("name", "function"), RIGHT)
def test_what_is_right_passes(name, function):
    said = getattr(exercises, f"check_{name}")(function)
    assert said.correct, said.message


@pytest.mark.parametrize(("name", "mistake", "part"), WRONG)
def test_what_is_wrong_is_told_why(name, mistake, part):
    said = getattr(exercises, f"check_{name}")(mistake)
    assert not said.correct
    assert part in said.message
