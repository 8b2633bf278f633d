"""Exercises of the chapter on results."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy import ndarray

from .answer import Answer, check

SCORES = [  # of one image each
    [0.91, 0.15, 0.82, 0.4, 0.77, 0.39],
    [0.5, 0.9, 0.1],
    [0.88],
    [0.3, 0.2, 0.9, 0.95, 0.1, 0.6, 0.7],
]


def check_two_class_iou(submission: Callable[[int, int, int, int], float]) -> Answer:
    """Check a function of (tp, fp, fn, tn) of the foreground: the mean IoU of both classes.

    >>> def mean_iou(tp, fp, fn, tn):
    ...     return (tp / (tp + fp + fn) + tn / (tn + fp + fn)) / 2
    >>> check_two_class_iou(mean_iou)
    correct: 6 cases
    """

    def solution(tp, fp, fn, tn):
        return (tp / (tp + fp + fn) + tn / (tn + fp + fn)) / 2

    cases = [
        (8, 1, 1, 90),
        (2, 5, 3, 6),
        (50, 0, 0, 50),
        (0, 4, 6, 90),
        (30, 9, 1, 60),
        (1, 1, 1, 1),
    ]
    return check(
        submission,
        solution,
        cases,
        {
            "this is the foreground alone: the background has an IoU too, with TN on top": (
                lambda tp, fp, fn, tn: tp / (tp + fp + fn)
            ),
            "this is accuracy: a ratio for each class first, then their mean": (
                lambda tp, fp, fn, tn: (tp + tn) / (tp + fp + fn + tn)
            ),
            "this pools both classes into one ratio: a ratio for each class first, then the mean": (
                lambda tp, fp, fn, tn: (tp + tn) / (tp + tn + 2 * (fp + fn))
            ),
            "the background's union is TN + FP + FN: what one class misses, the other one claims": (
                lambda tp, fp, fn, tn: (tp / (tp + fp + fn) + tn / (tn + fp)) / 2
            ),
        },
    )


def check_worst_images(submission: Callable[[Sequence[float], int], Sequence[int]]) -> Answer:
    """Check a function of (scores, k): the numbers of the k worst images, the worst first.

    >>> check_worst_images(lambda scores, k: np.argsort(scores)[:k].tolist())
    correct: 6 cases
    """
    cases = [(SCORES[0], 2), (SCORES[0], 3), (SCORES[1], 2), (SCORES[2], 1), (SCORES[3], 3)]
    cases.append((SCORES[3], 7))

    def solution(scores, k):
        return sorted(range(len(scores)), key=scores.__getitem__)[:k]

    return check(
        submission,
        solution,
        cases,
        {
            "these are the best ones: a low IoU is a bad one": (
                lambda scores, k: solution([-score for score in scores], k)
            ),
            "these are scores: return which images they belong to": (
                lambda scores, k: sorted(scores)[:k]
            ),
            "the right images, but the worst one has to come first": (
                lambda scores, k: solution(scores, k)[::-1]
            ),
        },
    )


def check_leak(submission: Callable[[Sequence[str], Sequence[str]], float]) -> Answer:
    """Check a function of the groups of the training images and of the test images.

    It gives the share of the test images that have an image of their own group in training.

    >>> check_leak(lambda train, test: sum(g in set(train) for g in test) / len(test))
    correct: 6 cases
    """
    cases = [
        (["a", "a", "b"], ["b", "c"]),
        (["a", "b", "c"], ["a", "b", "c", "c"]),
        (["a"], ["b"]),
        (["a", "b", "b", "d"], ["b", "b", "b", "e"]),
        (["x", "y"], ["z", "z", "x"]),
        (["a", "b", "c", "d"], ["c"]),
    ]
    return check(
        submission,
        lambda train, test: sum(group in train for group in test) / len(test),
        cases,
        {
            "that is a share of the groups: count images, a group may have many": (
                lambda train, test: len(set(train) & set(test)) / len(set(test))
            ),
            "that is the share of the training images: divide by what is reported, the test set": (
                lambda train, test: sum(group in test for group in train) / len(train)
            ),
            "that is the share without a neighbour in training: the other ones leak": (
                lambda train, test: sum(group not in train for group in test) / len(test)
            ),
        },
    )


def check_paired_interval(submission: Callable[[ndarray, ndarray], tuple[float, float]]) -> Answer:
    """Check a function of the scores (N,) of two networks on the same N images.

    It gives the mean difference, first less second, and 1.96 of its standard errors.

    >>> def interval(first, second):
    ...     difference = first - second
    ...     return difference.mean(), 1.96 * difference.std(ddof=1) / len(difference) ** 0.5
    >>> check_paired_interval(interval)
    correct: 6 cases
    """
    random = np.random.default_rng(0)

    def case(count, gain):  # two networks that find the same images hard
        hard = random.uniform(0.3, 0.9, count)
        first, second = (
            hard + random.normal(gain, 0.02, count),
            hard + random.normal(0, 0.02, count),
        )
        return first, second

    cases = [
        case(*pair) for pair in [(5, 0), (12, 0.01), (40, 0), (40, 0.05), (85, -0.01), (3, 0.1)]
    ]

    def interval(first, second, *, spread):
        return (first - second).mean(), 1.96 * spread(first, second)

    def error(values):
        return values.std(ddof=1) / len(values) ** 0.5

    return check(
        submission,
        lambda a, b: interval(a, b, spread=lambda a, b: error(a - b)),
        cases,
        {
            "this forgets that both saw the same images: take the difference of each image first": (
                lambda a, b: interval(a, b, spread=lambda a, b: np.hypot(error(a), error(b)))
            ),
            "this is the spread of single images: that of their mean is smaller by the root of N": (
                lambda a, b: interval(a, b, spread=lambda a, b: (a - b).std(ddof=1))
            ),
            "this divides by N: the error of a mean falls with the root of N": (
                lambda a, b: interval(a, b, spread=lambda a, b: (a - b).std(ddof=1) / len(a))
            ),
            "this is the second less the first": (
                lambda a, b: interval(b, a, spread=lambda a, b: error(a - b))
            ),
        },
    )


def check_group_bootstrap(
    submission: Callable[
        [Sequence[float], Sequence[int], Sequence[Sequence[int]]], Sequence[float]
    ],
) -> Answer:
    """Check a function of the values (N,), the group (N,) of each, and draws (B, G) of groups.

    Each draw lists G groups, with repetition. For each it gives the mean over all images of the
    groups drawn; an image counts as often as its group was drawn.

    >>> def bootstrap(values, groups, draws):
    ...     values, groups = np.array(values), np.array(groups)
    ...     return [np.concatenate([values[groups == g] for g in draw]).mean() for draw in draws]
    >>> check_group_bootstrap(bootstrap)
    correct: 6 cases
    """
    random = np.random.default_rng(1)
    cases = [([1.0, 2.0, 6.0], [0, 0, 1], [[0, 1], [1, 1], [0, 0]])]
    for count, number in [(5, 2), (8, 3), (12, 4), (20, 6), (30, 5)]:
        groups = np.concatenate([np.arange(number), random.integers(0, number, count - number)])
        values = random.uniform(-0.1, 0.1, count).round(3)
        draws = random.integers(0, number, (4, number))
        cases.append((values.tolist(), groups.tolist(), draws.tolist()))

    def members(values, groups, draw):
        return [[v for v, of in zip(values, groups, strict=True) if of == g] for g in draw]

    def solution(values, groups, draws):
        return [float(np.concatenate(members(values, groups, draw)).mean()) for draw in draws]

    return check(
        submission,
        solution,
        cases,
        {
            "this is a mean of the groups' means: a group of two images counts as one of twenty": (
                lambda values, groups, draws: [
                    float(np.mean([np.mean(part) for part in members(values, groups, draw)]))
                    for draw in draws
                ]
            ),
            "this draws single images: a group comes with all its images": (
                lambda values, groups, draws: [
                    float(np.mean([values[k] for k in draw])) for draw in draws
                ]
            ),
            "a group that is drawn twice counts twice": (
                lambda values, groups, draws: solution(
                    values, groups, [sorted(set(draw)) for draw in draws]
                )
            ),
        },
    )
