"""Exercises of the chapter on results: other ways to get them right, and wrong."""

import numpy as np


def two_class_iou(tp, fp, fn, tn):
    return np.mean([hits / (hits + fp + fn) for hits in (tp, tn)])


def paired_interval(first, second):
    difference = np.array(first) - np.array(second)
    return difference.mean(), 1.96 * np.std(difference, ddof=1) / np.sqrt(len(difference))


def unpaired(first, second):
    variance = np.var(first, ddof=1) / len(first) + np.var(second, ddof=1) / len(second)
    return np.mean(first) - np.mean(second), 1.96 * variance**0.5


def group_bootstrap(values, groups, draws):
    means = []
    for draw in draws:
        times = [draw.count(group) for group in groups]
        means.append(np.average(values, weights=times))
    return means


def mean_of_means(values, groups, draws):
    of_group = {g: np.array(values)[np.array(groups) == g].mean() for g in set(groups)}
    return [np.mean([of_group[g] for g in draw]) for draw in draws]


RIGHT = {
    "two_class_iou": [two_class_iou],
    "worst_images": [lambda scores, k: np.argsort(scores)[:k]],
    "leak": [lambda train, test: np.isin(test, train).mean()],
    "paired_interval": [paired_interval],
    "group_bootstrap": [group_bootstrap],
}

WRONG = [
    ("two_class_iou", lambda tp, fp, fn, tn: tp / (tp + fp + fn) / 2 + tn / (tn + fp) / 2,
     "the background's union"),
    ("worst_images", lambda scores, k: np.argsort(scores)[::-1][:k], "these are the best images"),
    ("worst_images", lambda scores, k: np.argsort(scores)[:k] + 1, "gave [2, 6], expected [1, 5]"),
    ("leak", lambda train, test: len(set(train) & set(test)) / len(set(test)), "of the groups"),
    ("leak", lambda train, test: sum(group in train for group in test), "gave 1, expected 0.5"),
    ("paired_interval", unpaired, "both networks saw the same images"),
    ("paired_interval", lambda a, b: (np.mean(a - b), 1.96 * np.std(a - b) / len(a) ** 0.5),
     "use ddof=1"),
    ("group_bootstrap", mean_of_means, "a mean of the means of the groups"),
    ("group_bootstrap", lambda values, groups, draws: [
        np.array(values)[np.isin(groups, draw)].mean() for draw in draws], "counts twice"),
]  # fmt: skip
