"""Exercises of the chapter on results."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy import ndarray

from .answer import Answer, check

SCORES = [  # each list holds the scores of some images
    [0.91, 0.15, 0.82, 0.4, 0.77, 0.39],
    [0.5, 0.9, 0.1],
    [0.88],
    [0.3, 0.2, 0.9, 0.95, 0.1, 0.6, 0.7],
]


def check_two_class_iou(submission: Callable[[int, int, int, int], float]) -> Answer:
    """Check a function of the foreground's (tp, fp, fn, tn): the mean IoU of both classes.

    >>> check_two_class_iou(lambda tp, fp, fn, tn: (tp + tn) / (tp + fp + fn + tn))
    not yet: this is accuracy: take the ratio of each class first, then their mean
    """

    def mean_iou(tp, fp, fn, tn):
        return (tp / (tp + fp + fn) + tn / (tn + fp + fn)) / 2

    cases = [
        (8, 1, 1, 90), (2, 5, 3, 6), (50, 0, 0, 50), (0, 4, 6, 90), (30, 9, 1, 60), (1, 1, 1, 1),
    ]  # fmt: skip
    misconceptions = {
        "this is the foreground alone: the background has an IoU too, with TN in the numerator": (
            lambda tp, fp, fn, tn: tp / (tp + fp + fn)
        ),
        "this is accuracy: take the ratio of each class first, then their mean": (
            lambda tp, fp, fn, tn: (tp + tn) / (tp + fp + fn + tn)
        ),
        "this pools both classes into one ratio: take the ratio of each class first, then their "
        "mean": lambda tp, fp, fn, tn: (tp + tn) / (tp + tn + 2 * (fp + fn)),
        "the background's union is TN + FP + FN: what one class misses, the other one claims": (
            lambda tp, fp, fn, tn: (tp / (tp + fp + fn) + tn / (tn + fp)) / 2
        ),
    }
    return check(submission, mean_iou, cases, misconceptions)


def check_worst_images(submission: Callable[[Sequence[float], int], Sequence[int]]) -> Answer:
    """Check a function of (scores, k) that lists the indices of the k worst images, worst first.

    >>> check_worst_images(lambda scores, k: sorted(scores)[:k])
    not yet: these are scores: return the indices of the images that they belong to
    """

    def worst(scores, k):
        return sorted(range(len(scores)), key=scores.__getitem__)[:k]

    cases = [(SCORES[0], 2), (SCORES[0], 3), (SCORES[1], 2), (SCORES[2], 1), (SCORES[3], 3)]
    cases.append((SCORES[3], 7))
    misconceptions = {
        "these are the best images: a low IoU is bad": (
            lambda scores, k: worst([-score for score in scores], k)
        ),
        "these are scores: return the indices of the images that they belong to": (
            lambda scores, k: sorted(scores)[:k]
        ),
        "these are the right images, but the worst one has to come first": (
            lambda scores, k: worst(scores, k)[::-1]
        ),
        "these are ranks, one for each image: np.argsort lists the indices in order": (
            lambda scores, k: np.argsort(np.argsort(scores))[:k].tolist()
        ),
    }
    return check(submission, worst, cases, misconceptions)


def check_leak(submission: Callable[[Sequence[str], Sequence[str]], float]) -> Answer:
    """Check a function of the groups of the training images and of the test images.

    It returns the share of the test images that have an image of their group in training.

    >>> check_leak(lambda train, test: len(set(train) & set(test)) / len(set(test)))
    not yet: this is a share of the groups: count images, because a group may have many
    """

    def leak(train, test):
        return sum(group in train for group in test) / len(test)

    cases = [
        (["a", "a", "b"], ["b", "c"]),
        (["a", "b", "c"], ["a", "b", "c", "c"]),
        (["a"], ["b"]),
        (["a", "b", "b", "d"], ["b", "b", "b", "e"]),
        (["x", "y"], ["z", "z", "x"]),
        (["a", "b", "c", "d"], ["c"]),
    ]
    misconceptions = {
        "this is a share of the groups: count images, because a group may have many": (
            lambda train, test: leak(train, sorted(set(test)))
        ),
        "this is a share of the training images, but the test score is what is reported: divide "
        "by the number of test images": lambda train, test: leak(test, train),
        "this is the share without a neighbour in training: the others leak": (
            lambda train, test: 1 - leak(train, test)
        ),
    }
    return check(submission, leak, cases, misconceptions)


def check_paired_interval(submission: Callable[[ndarray, ndarray], tuple[float, float]]) -> Answer:
    """Check a function of the scores (N,) of two networks on the same N images.

    It returns the mean difference, first minus second, and 1.96 standard errors of it.

    >>> check_paired_interval(lambda first, second: (
    ...     (first - second).mean(), 1.96 * (first - second).std() / len(first) ** 0.5))
    not yet: NumPy's std divides by N: for the spread of a sample, use ddof=1
    """

    def spread(values):
        return values.std(ddof=1)

    def error(values):
        return spread(values) / len(values) ** 0.5

    def interval(first, second, error=error):
        return (first - second).mean(), 1.96 * error(first - second)

    def unpaired(first, second):
        return (first - second).mean(), 1.96 * np.hypot(error(first), error(second))

    random = np.random.default_rng(0)

    def case(count, gain):
        """Two networks that find the same images hard."""
        hard = random.uniform(0.3, 0.9, count)
        return hard + random.normal(gain, 0.02, count), hard + random.normal(0, 0.02, count)

    sizes = [(5, 0), (12, 0.01), (40, 0), (40, 0.05), (85, -0.01), (3, 0.1)]
    misconceptions = {
        "this ignores that both networks saw the same images: take the difference of each image "
        "first": unpaired,
        "this is the spread of single images: the error of their mean is smaller, by the root of "
        "N": lambda *scores: interval(*scores, spread),
        "this divides by N, but the error of a mean falls with the root of N": (
            lambda *scores: interval(*scores, lambda values: spread(values) / len(values))
        ),
        "NumPy's std divides by N: for the spread of a sample, use ddof=1": (
            lambda *scores: interval(*scores, lambda values: values.std() / len(values) ** 0.5)
        ),
        "this is second minus first": lambda first, second: interval(second, first),
    }
    return check(submission, interval, [case(*size) for size in sizes], misconceptions)


def check_group_bootstrap(submission: Callable) -> Answer:
    """Check a function of the values (N,), the group (N,) of each, and draws (B, G) of groups.

    Each draw lists G groups, with repetition. For each draw the function returns the mean over all
    images of the groups drawn; an image counts as often as its group was drawn.

    >>> check_group_bootstrap(lambda values, groups, draws: [
    ...     np.mean([values[k] for k in draw]) for draw in draws])
    not yet: this draws single images, but a group comes with all its images
    """

    def members(values, groups, draw):
        return [[v for v, of in zip(values, groups, strict=True) if of == g] for g in draw]

    def bootstrap(values, groups, draws):
        return [np.concatenate(members(values, groups, draw)).mean() for draw in draws]

    def of_groups(values, groups, draws):
        return [np.mean(list(map(np.mean, members(values, groups, draw)))) for draw in draws]

    random = np.random.default_rng(1)
    cases = [([1.0, 2.0, 6.0], [0, 0, 1], [[0, 1], [1, 1], [0, 0]])]
    for count, number in [(5, 2), (8, 3), (12, 4), (20, 6), (30, 5)]:
        groups = np.concatenate([np.arange(number), random.integers(0, number, count - number)])
        values = random.uniform(-0.1, 0.1, count).round(3)
        draws = random.integers(0, number, (4, number))
        cases.append((values.tolist(), groups.tolist(), draws.tolist()))
    misconceptions = {
        "this is a mean of the means of the groups: a group of two images counts as much as one "
        "of twenty": of_groups,
        "this draws single images, but a group comes with all its images": (
            lambda values, groups, draws: [np.mean([values[k] for k in draw]) for draw in draws]
        ),
        "a group that is drawn twice counts twice": (
            lambda values, groups, draws: bootstrap(values, groups, map(set, draws))
        ),
    }
    return check(submission, bootstrap, cases, misconceptions)
