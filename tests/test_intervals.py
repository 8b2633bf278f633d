"""The study's intervals: known cases, and how often they call nothing a difference."""

import doctest
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from segedu.files import read_rows
from study import intervals
from study.intervals import crossed_interval, holm
from study.report import bootstrap

IDS = Path(__file__).parents[1] / "study" / "results" / "compare_image_ids.csv"
FIELDS = np.unique(
    [row["group"] for row in read_rows(IDS) if row["split"] == "test"], return_inverse=True
)[1]


def test_the_examples_are_right():
    assert doctest.testmod(intervals).failed == 0


def null_differences(generator, seeds, *, of_seed, of_field, of_both, of_image):
    """Differences of mean 0 on the 85 test images; the arguments are standard deviations."""
    fields = FIELDS.max() + 1
    return (
        of_seed * generator.standard_normal((seeds, 1))
        + of_field * generator.standard_normal(fields)[FIELDS]
        + of_both * generator.standard_normal((seeds, fields))[:, FIELDS]
        + of_image * generator.standard_normal((seeds, len(FIELDS)))
    )


# The medians over the pairs of networks after 200 steps: of_seed 0.006, of_field below 0.005,
# of_both 0.023, of_image 0.020. Here is the largest seed part that was seen, then a small one, and
# fields that differ much. The last are the means of the squares after 3,000 steps.
VARIANCES = [
    {"of_seed": 0.0084, "of_field": 0.005, "of_both": 0.023, "of_image": 0.020},
    {"of_seed": 0.0062, "of_field": 0.010, "of_both": 0.023, "of_image": 0.020},
    {"of_seed": 0.0040, "of_field": 0.020, "of_both": 0.010, "of_image": 0.012},
    {"of_seed": 0.0010, "of_field": 0.030, "of_both": 0.010, "of_image": 0.012},
    {"of_seed": 0.0035, "of_field": 0.014, "of_both": 0.017, "of_image": 0.009},
]
# The medians after 3,000 steps: nearly all chance is of a seed in a field.
LONG = {"of_seed": 0.0, "of_field": 0.0055, "of_both": 0.014, "of_image": 0.008}


def p_values_of_nulls(seeds, variances):
    generator = np.random.default_rng(0)
    nulls = [null_differences(generator, seeds, **variances) for _ in range(4000)]
    intervals = [crossed_interval(null, FIELDS) for null in nulls]
    outside = [one.low > 0 or one.high < 0 for one in intervals]
    p_values = np.array([one.p_value for one in intervals])
    assert outside == (p_values < 0.05).tolist()
    return p_values


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("variances", VARIANCES)
def test_of_no_difference_5_percent_are_called_one(seeds, variances):
    p_values = p_values_of_nulls(seeds, variances)
    assert 0.03 < (p_values < 0.05).mean() < 0.07
    assert (p_values < 0.01).mean() < 0.02
    assert (p_values < 0.001).mean() < 0.008


@pytest.mark.parametrize("seeds", [3, 5])
def test_where_seeds_and_fields_matter_little_by_themselves_fewer_are_called_one(seeds):
    """Then the largest of the three variances is mostly too large, and so is the interval."""
    p_values = p_values_of_nulls(seeds, LONG)
    assert 0.02 < (p_values < 0.05).mean() < 0.04
    assert (p_values < 0.01).mean() < 0.01


def test_a_bootstrap_over_images_alone_would_call_many_a_difference():
    generator = np.random.default_rng(0)
    nulls = [null_differences(generator, 5, **VARIANCES[0]) for _ in range(300)]
    found = [bootstrap(null.mean(0), FIELDS, resamples=500) for null in nulls]
    assert np.mean([low > 0 or high < 0 for low, high in found]) > 0.15


def test_a_difference_that_is_there_is_found():
    generator = np.random.default_rng(1)
    shifted = [0.02 + null_differences(generator, 5, **VARIANCES[0]) for _ in range(300)]
    intervals = [crossed_interval(one, FIELDS) for one in shifted]
    assert np.mean([one.low > 0 for one in intervals]) > 0.8
    assert np.mean([one.low < 0.02 < one.high for one in intervals]) > 0.93


def test_with_one_kind_of_chance_it_is_the_t_interval():
    values = np.random.default_rng(2).standard_normal(7)
    known = stats.ttest_1samp(values, 0)
    expected = (values.mean(), *known.confidence_interval(0.95), known.pvalue)
    only_seeds = np.repeat(values[:, None], 12, axis=1)
    only_fields = np.repeat(values[None], 4, axis=0)
    assert crossed_interval(only_seeds, np.arange(12) // 3)[:4] == pytest.approx(expected)
    assert crossed_interval(only_fields, range(7))[:4] == pytest.approx(expected)


def test_the_variance_is_the_sum_over_pairs_that_share_a_seed_or_a_field():
    """The definition, without the corrections for few seeds and fields, which are then small."""
    generator = np.random.default_rng(3)
    fields = np.arange(300) // 2
    table = generator.standard_normal((100, 1)) + generator.standard_normal(150)[fields]
    table = table + generator.standard_normal((100, 300))
    found = crossed_interval(table, fields)
    errors = table - table.mean()
    by_seed = (errors.sum(1) ** 2).sum()
    by_cell = errors.reshape(100, 150, 2).sum(2)
    expected = by_seed + (by_cell.sum(0) ** 2).sum() - (by_cell**2).sum()
    half = stats.t.ppf(0.975, found.degrees) * expected**0.5 / table.size
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.02)


def test_where_nothing_varies_the_interval_is_a_point():
    for value, p_value in ((0.0, 1.0), (0.25, 0.0)):
        found = crossed_interval(np.full((3, 4), value), list("aabc"))
        assert found[:4] == (value, value, value, p_value)


@pytest.mark.parametrize(
    ("shape", "fields", "message"),
    [
        ((1, 3), "abc", "got 1 and 3"),
        ((3, 3), "aaa", "got 3 and 1"),
        ((3, 3), "ab", "2 names"),
        ((3,), "abc", r"\(3,\)"),
    ],
)
def test_too_little_to_tell_is_refused(shape, fields, message):
    with pytest.raises(ValueError, match=message):
        crossed_interval(np.zeros(shape), list(fields))


def test_holm_is_the_step_down_of_bonferroni():
    p_values = [0.011, 0.02, 0.9, 0.012, 0.04]
    # Sorted: 0.011 * 5, then 0.012 * 4 (no smaller than the one before), 0.02 * 3, 0.04 * 2, 0.9.
    assert holm(p_values) == pytest.approx([0.055, 0.06, 0.9, 0.055, 0.08])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
