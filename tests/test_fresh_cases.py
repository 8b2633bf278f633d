"""Fresh cases: of the same kind as the own ones of a check, and new; what is right passes them."""

import itertools
from functools import partial

import numpy as np
import pytest
import torch

from segedu import exercises
from segedu.exercises.answer import _call, _outcome, check
from segedu.exercises.fresh import _same, fresh, fresh_cases
from tests.helpers import handed_over
from tests.test_exercises import RIGHT

SEEDS = range(3)


def outcome_of(solution):
    return partial(_outcome, _call, solution)


def as_one_call(name):
    """The solution as a function of the whole case, which also does what a check's `run` does."""
    (solution, cases, _), options = handed_over(name)
    run = options.get("run", lambda function, *case: function(*case))
    return lambda *case: run(solution, *case), cases, options.get("tolerance", 1e-5)


# -- every exercise ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", exercises.__all__)
def test_the_solution_passes_and_what_is_looked_up_does_not(name):
    solution, cases, tolerance = as_one_call(name)
    results = [*map(outcome_of(solution), cases)]
    calls = itertools.cycle(results)

    def looked_up(*case):
        return next(r for own, r in zip(cases, results, strict=True) if _same(own, case))

    def in_order(*case):
        return next(calls)

    def correct(submission):
        return check(submission, solution, cases, {}, tolerance=tolerance).correct

    assert correct(in_order)  # with the check's own cases
    fresh_ones = fresh_cases(cases, 0, outcome_of(solution))
    assert 2 * len(fresh_ones) >= len(cases)
    assert not any(_same(one, own) for one in fresh_ones for own in cases)
    with fresh(0):
        assert correct(solution)
        assert not correct(looked_up)
        if name != "check_evaluation_order":  # there every right order has the same result
            assert not correct(in_order)


@pytest.mark.parametrize(("name", "function"), RIGHT)
def test_what_is_right_passes(name, function):
    with fresh(0):
        said = getattr(exercises, f"check_{name}")(function)
    assert said.correct, said.message


def test_a_misconception_is_still_recognised():
    with fresh(0):
        said = exercises.check_iou(lambda tp, fp, fn: tp / (tp + fp) if tp + fp else 1.0)
    assert said.message == "not yet: this is precision: FN belongs to the union too"


# -- one check -----------------------------------------------------------------------------------


def made(cases, solution=lambda *case: 0, seed=0):
    return fresh_cases(cases, seed, outcome_of(solution))


def test_a_seed_always_gives_the_same_and_another_one_others():
    cases = [(torch.arange(12.0).reshape(3, 4) / 7, [1, 2, 3], 2)]
    assert _same(made(cases), made(cases))
    assert not _same(made(cases), made(cases, seed=1))
    with pytest.raises(ValueError, match="got none"), fresh(0):
        check(abs, abs, [(1,), (1,)], {})
    assert "2 cases" in check(abs, abs, [(1,), (-2,)], {}).message  # its own again


def test_numbers_are_drawn_from_the_range_of_their_place():
    cases = [(1, 0.5), (4, 0.25), (9, 0.75)]
    for seed in SEEDS:
        assert len(made(cases, lambda n, p: n * p, seed)) == 3
        for n, p in made(cases, lambda n, p: n * p, seed):
            assert isinstance(n, int)
            assert 1 <= n <= 12
            assert 0.25 <= p <= 0.75
            assert 0.5 <= n * p <= 6.75  # the range of the results


def test_arrays_keep_what_kind_of_numbers_they_hold():
    mask = torch.zeros(5, 7, dtype=torch.bool)
    mask[2:] = True
    labels = np.array([[0, 3, 3, 255], [0, 0, 9, 9]])
    zero_one, shares = mask.float(), torch.rand(5, 7)
    for seed in SEEDS:
        ((a, b, c, d),) = made([(mask, labels, zero_one, shares)], seed=seed)
        assert a.dtype == torch.bool
        assert b.dtype == labels.dtype
        assert set(b.flat) <= {0, 3, 9, 255}
        assert c.dtype == d.dtype == torch.float32
        assert set(c.flatten().tolist()) == {0, 1}
        assert shares.min() <= d.min() <= d.max() <= shares.max()
        turned = a.shape == (7, 5)
        assert all(x.shape == ((7, 5) if turned else (5, 7)) for x in (a, c, d))
        assert b.shape == ((4, 2) if turned else (2, 4))
    assert mask[2:].all()
    assert not mask[:2].any()


def test_lists_of_integers_are_only_put_into_another_order():
    channels, nodes = (8, 16, 32, 64), [(0, 0), (0, 1), (1, 0)]
    ((a, b, size, words),) = made([(channels, nodes, 64, ["a", "b", "b", "c"])])
    assert sorted(a) == [*channels]
    assert sorted(b) == nodes
    assert size == 64
    assert set(words) <= {"a", "b", "c"}


def test_what_would_raise_or_be_nan_is_left_out():
    cases = [(1, 2), (3, 4), (0, 1), (5, 6)]
    assert made(cases, lambda a, b: 1 / 0) == []
    assert made(cases, lambda a, b: float("nan") if (a, b) not in cases else 1.0) == []
    assert made([(1,), (1,)], lambda a: a) == []  # 2, 3 and 4 are out of the range of the results
