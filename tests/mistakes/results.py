"""Exercises of the chapter on results: other solutions, and mistakes as a learner makes them."""

import numpy as np


def two_class_iou(tp, fp, fn, tn):
    errors = fp + fn
    return 0.5 * tp / (tp + errors) + 0.5 * tn / (tn + errors)


def worst_images(scores, k):
    return list(np.argsort(scores)[:k])


def leak(train, test):
    return np.isin(test, train).mean()


def paired_interval(first, second):
    difference = np.array(first) - np.array(second)
    return difference.mean(), 1.96 * np.std(difference, ddof=1) / np.sqrt(len(difference))


def group_bootstrap(values, groups, draws):
    means = []
    for draw in draws:
        total = count = 0
        for group in draw:
            for value, of in zip(values, groups, strict=True):
                if of == group:
                    total, count = total + value, count + 1
        means.append(total / count)
    return means


RIGHT = {
    function.__name__: [function]
    for function in (two_class_iou, worst_images, leak, paired_interval, group_bootstrap)
}


def unpaired(first, second):
    variance = np.var(first, ddof=1) / len(first) + np.var(second, ddof=1) / len(second)
    return np.mean(first) - np.mean(second), 1.96 * variance**0.5


def too_small(first, second):
    mean, half = paired_interval(first, second)
    return mean, half / len(first) ** 0.5


def of_one_image(first, second):
    mean, half = paired_interval(first, second)
    return mean, half * len(first) ** 0.5


def turned_round(first, second):
    return paired_interval(second, first)


def mean_of_means(values, groups, draws):
    of_group = {g: np.array(values)[np.array(groups) == g].mean() for g in set(groups)}
    return [np.mean([of_group[g] for g in draw]) for draw in draws]


def single_images(values, groups, draws):
    return [np.array(values)[draw].mean() for draw in draws]


def once_each(values, groups, draws):
    return [np.array(values)[np.isin(groups, draw)].mean() for draw in draws]


MISTAKES = [
    ("two_class_iou", lambda tp, fp, fn, tn: tp / (tp + fp + fn), "foreground alone"),
    (
        "two_class_iou",
        lambda tp, fp, fn, tn: (tp + tn) / sum((tp, fp, fn, tn)),
        "accuracy",
    ),
    (
        "two_class_iou",
        lambda tp, fp, fn, tn: (tp + tn) / (tp + fp + fn + tn + fp + fn),
        "pools both classes",
    ),
    (
        "two_class_iou",
        lambda tp, fp, fn, tn: np.mean([tp / (tp + fp + fn), tn / (tn + fp)]),
        "TN + FP + FN",
    ),
    ("worst_images", lambda scores, k: np.argsort(scores)[::-1][:k], "the best ones"),
    ("worst_images", lambda scores, k: np.sort(scores)[:k], "these are scores"),
    ("worst_images", lambda scores, k: np.argsort(scores)[:k][::-1], "come first"),
    (
        "leak",
        lambda train, test: np.isin(np.unique(test), train).mean(),
        "share of the groups",
    ),
    ("leak", lambda train, test: np.isin(train, test).mean(), "training images"),
    ("leak", lambda train, test: 1 - np.isin(test, train).mean(), "other ones leak"),
    ("paired_interval", unpaired, "saw the same images"),
    ("paired_interval", too_small, "root of N"),
    ("paired_interval", of_one_image, "spread of single images"),
    ("paired_interval", turned_round, "second less the first"),
    ("group_bootstrap", mean_of_means, "mean of the groups' means"),
    ("group_bootstrap", single_images, "draws single images"),
    ("group_bootstrap", once_each, "counts twice"),
]
