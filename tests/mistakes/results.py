"""Exercises of the chapter on results: other ways to get them right, and wrong."""

import warnings

import numpy as np
import pandas as pd
import torch
from scipy.ndimage import binary_erosion, correlate
from scipy.ndimage import distance_transform_edt as edt
from scipy.stats import t
from skimage.segmentation import find_boundaries


def two_class_iou(tp, fp, fn, tn):
    return np.mean([hits / (hits + fp + fn) for hits in (tp, tn)])


def paired_interval(first, second):
    difference = np.array(first) - np.array(second)
    return difference.mean(), 1.96 * np.std(difference, ddof=1) / np.sqrt(len(difference))


def unpaired(first, second):
    variance = np.var(first, ddof=1) / len(first) + np.var(second, ddof=1) / len(second)
    return np.mean(first) - np.mean(second), 1.96 * variance**0.5


def popped(scores, k):
    found = []
    for _ in range(k):
        found.append(scores.index(min(scores)))
        scores.pop(found[-1])
    return found


def edge_share(preds, truth):
    """A pixel is at the edge if its four neighbours are not all of its own class."""
    cross = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]])
    same = np.where(
        truth, *(correlate(m.astype(int), cross, mode="nearest") for m in (truth, ~truth))
    )
    wrong = preds != truth
    return np.count_nonzero(wrong & (same < 4)) / np.count_nonzero(wrong)


def distance(truth):
    return np.maximum(edt(truth), edt(~truth))


def without_rows(preds, truth):
    """Compares pixels above each other only."""
    change = truth[1:] != truth[:-1]
    edge = np.zeros_like(truth)
    edge[1:] |= change
    edge[:-1] |= change
    return edge[preds != truth].mean()


def steps(truth, before):
    """Marks one of the two pixels at each step of the truth."""
    edge = np.zeros_like(truth)
    for axis in (0, 1):
        turned, change = np.moveaxis(edge, axis, 0), np.diff(truth, axis=axis)
        turned[slice(-1) if before else slice(1, None)] |= np.moveaxis(change, axis, 0)
    return edge


def sorted_after(scores, k):
    """Right, though it leaves the list that it got in another order."""
    found = np.argsort(scores)[:k].tolist()
    scores.sort()
    return found


def crossed_error(differences):
    seeds, images = differences.shape
    errors = [np.std(differences.mean(axis), ddof=1) for axis in (1, 0)]
    return np.hypot(errors[0] / seeds**0.5, errors[1] / images**0.5)


def group_bootstrap(values, groups, draws):
    means = []
    for draw in draws:
        times = [draw.count(group) for group in groups]
        means.append(np.average(values, weights=times))
    return means


def series(values, groups, draws):
    """The means as a pandas Series."""
    table = pd.DataFrame({"value": values, "group": groups}).groupby("group")["value"]
    sums, sizes = table.sum(), table.size()
    draws = pd.DataFrame(draws).stack()
    return draws.map(sums).groupby(level=0).sum() / draws.map(sizes).groupby(level=0).sum()


def one_by_one(values, groups, draws):
    """A generator of the means."""
    for draw in draws:
        yield drawn(values, groups, draw).mean()


def mean_of_means(values, groups, draws):
    of_group = {g: np.array(values)[np.array(groups) == g].mean() for g in set(groups)}
    return [np.mean([of_group[g] for g in draw]) for draw in draws]


def sums_and_sizes(values, groups, draws):
    known, group = np.unique(groups, return_inverse=True)
    sums, sizes = np.bincount(group, values), np.bincount(group)
    return [sums[k].sum() / sizes[k].sum() for k in (np.searchsorted(known, d) for d in draws)]


def drawn(values, groups, draw):
    return np.concatenate([np.array(values)[np.array(groups) == group] for group in draw])


def by_index(values, groups, draws):
    values, groups, known = np.array(values), np.array(groups), np.unique(groups)
    return [np.concatenate([values[groups == known[k]] for k in draw]).mean() for draw in draws]


def neighbours(values, groups, draws):
    """Collects the images of a group only while they follow each other."""
    runs = {}
    for k, (group, value) in enumerate(zip(groups, values, strict=True)):
        runs[group] = [*runs[group], value] if k and groups[k - 1] == group else [value]
    return [np.mean([value for group in draw for value in runs[group]]) for draw in draws]


def list_as_mask(values, groups, draws):
    """Compares the list of groups, not each of them, with a name."""
    values = np.array(values)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy: mean of empty slice
        return [np.concatenate([values[groups == g] for g in draw]).mean() for draw in draws]


def never_emptied(values, groups, draws):
    """Collects the values of all draws so far."""
    means, collected = [], []
    for draw in draws:
        collected.extend(drawn(values, groups, draw))
        means.append(np.mean(collected))
    return means


def by_bincount(values, groups, draws):
    groups = np.array(groups, int)
    sums, sizes = np.bincount(groups, values), np.bincount(groups)
    return [sums[draw].sum() / sizes[draw].sum() for draw in draws]


def marked(scores, k):
    """Overwrites each score that it has found with one that no image can reach."""
    scores, found = list(scores), []
    for _ in range(k):
        found.append(scores.index(min(scores)))
        scores[found[-1]] = 2.0
    return found


RIGHT = {
    "two_class_iou": [two_class_iou],
    "worst_images": [
        lambda scores, k: np.argsort(scores)[:k],
        lambda scores, k: np.argsort(np.negative(scores), kind="stable")[::-1][:k],  # ties reversed
        lambda scores, k: [i for _, i in sorted(zip(scores, range(len(scores)), strict=True))][:k],
        sorted_after,
        marked,
        lambda scores, k: pd.Series(scores).nsmallest(k).index,
        lambda scores, k: torch.tensor(scores).topk(k, largest=False).indices,
    ],
    "edge_share": [
        edge_share,
        lambda preds, truth: find_boundaries(truth, connectivity=1)[preds != truth].mean(),
    ],
    "crossed_error": [crossed_error],
    "leak": [lambda train, test: np.isin(test, train).mean()],
    "paired_interval": [paired_interval],
    "group_bootstrap": [
        group_bootstrap,
        sums_and_sizes,
        series,
        one_by_one,
        lambda *case: torch.tensor(group_bootstrap(*case)),
    ],
}

WRONG = [
    ("two_class_iou", lambda tp, fp, fn, tn: tp / (tp + fp + fn) / 2 + tn / (tn + fp) / 2,
     "the background's union"),
    ("two_class_iou", lambda tp, fp, fn, tn: np.mean([tp / (tp + fp + fn), tn / (tn + fn)]),
     "its FN are the foreground's FP"),
    ("two_class_iou", lambda tp, fp, fn, tn: (tp / (tp + fp + fn) + tn / (tp + fp + fn)) / 2,
     "divided by the foreground's union"),
    ("two_class_iou", lambda tp, fp, fn, tn: tp / (tp + fp + fn) + tn / (tn + fp + fn) / 2,
     "in parentheses"),
    ("two_class_iou", lambda tp, fp, fn, tn: [tp / (tp + fp + fn), tn / (tn + fp + fn)],
     "both IoUs"),
    ("two_class_iou", lambda tp, fp, fn, tn: tp / (tp + fp) / 2 + tn / (tn + fn) / 2,
     "these are precisions"),
    ("two_class_iou", lambda tp, fp, fn, tn: np.mean([tp / (tp + fn), tn / (tn + fp)]),
     "these are recalls"),
    ("two_class_iou", lambda *counts: round(100 * two_class_iou(*counts), 9), "a percentage"),
    ("two_class_iou", lambda tp, fp, fn, tn: tp / (tp + fp + fn) / 2
     + tn / (tn + fp + fn + tp) / 2, "TP are background neither"),
    ("two_class_iou", lambda tp, fp, fn, tn: np.mean([tp, tn]) / (tp + fp + fn + tn),
     "these are shares of all pixels"),
    ("two_class_iou", lambda tp, fp, fn, tn: np.mean([tp / (tp + fp + fn), fn / (tn + fn + fp)]),
     "true positives are TN"),
    ("two_class_iou", lambda tp, fp, fn, tn: (
        tp / (tp + fp + fn) * (tp + fn) + tn / (tn + fp + fn) * (tn + fp)) / (tp + fp + fn + tn),
     "by its number of pixels"),
    ("two_class_iou", lambda tp, fp, fn, tn: (tp // (tp + fp + fn) + tn // (tn + fn + fp)) / 2,
     "rounds down"),
    ("two_class_iou", lambda *counts: round(two_class_iou(*counts), 2), "rounded to two digits"),
    ("worst_images", lambda scores, k: np.argsort(scores)[::-1][:k], "these are the best images"),
    ("worst_images", lambda scores, k: np.argsort(scores)[:k] + 1, "these numbers begin with 1"),
    ("worst_images", lambda scores, k: np.sort(np.argsort(scores)[:k]), "in the order of the data"),
    ("worst_images", lambda scores, k: np.argsort(scores), "only the first k"),
    ("worst_images", lambda scores, k: np.argsort(scores)[-k:], "the last k of the order"),
    ("worst_images", lambda scores, k: [scores.index(s) for s in sorted(scores)[:k]],
     "may have the same score"),
    ("worst_images", lambda scores, k: sorted(enumerate(scores), key=lambda pair: pair[1])[:k],
     "pairs of an index and a score"),
    ("worst_images", lambda scores, k: sorted((s, i) for i, s in enumerate(scores))[:k],
     "pairs of a score and an index"),
    ("worst_images", lambda scores, k: np.argmin(scores), "this is one index"),
    ("worst_images", popped, "shifts the indices"),
    ("worst_images", lambda scores, k: np.argpartition(scores, k - 1)[:k].tolist(),
     "need not sort them"),
    ("edge_share", lambda preds, truth: (truth & ~binary_erosion(truth))[preds ^ truth].mean(),
     "erosion leaves the inner side"),
    ("edge_share", lambda preds, truth: (distance(truth) <= 2)[preds ^ truth].mean(),
     "the second pixel"),
    ("edge_share", lambda preds, truth: (np.minimum(edt(truth), edt(~truth)) <= 1)[
        preds ^ truth].mean(), "and so is their minimum"),
    ("edge_share", lambda preds, truth: 100 * edge_share(preds, truth), "this is a percentage"),
    ("edge_share", lambda preds, truth: (distance(truth) <= 1)[preds > truth].mean()
     if (preds > truth).any() else float("nan"), "the false positives alone"),
    ("edge_share", lambda preds, truth: (distance(truth) <= 1)[preds < truth].mean()
     if (preds < truth).any() else float("nan"), "the missed pixels alone"),
    ("edge_share", lambda preds, truth: (edt(preds ^ truth)[preds ^ truth] <= 1).mean(),
     "the distance from the right pixels"),
    ("edge_share", lambda preds, truth: find_boundaries(truth)[preds ^ truth].sum() / truth.size,
     "divide by the wrong ones"),
    ("edge_share", lambda preds, truth: find_boundaries(truth, 2)[preds ^ truth].mean(),
     "with a corner only"),
    ("edge_share", lambda preds, truth: find_boundaries(preds)[preds ^ truth].mean(),
     "from the predicted outline"),
    ("edge_share", lambda preds, truth: find_boundaries(truth, mode="inner")[preds ^ truth].mean(),
     "the inner side"),
    ("edge_share", lambda preds, truth: (
        (truth ^ binary_erosion(truth)) | (~truth ^ binary_erosion(~truth)))[preds ^ truth].mean(),
     "set border_value=1"),
    ("edge_share", lambda preds, truth: steps(truth, True)[preds ^ truth].mean(), "mark both"),
    ("edge_share", lambda preds, truth: steps(truth, False)[preds ^ truth].mean(),
     "mark the first one, too"),
    ("edge_share", lambda preds, truth: distance(truth)[preds ^ truth] <= 1, "take their mean"),
    ("edge_share", lambda preds, truth: (distance(truth)[preds == truth] <= 1).mean(),
     "these are the right pixels"),
    ("edge_share", without_rows, "cases the result is wrong"),
    ("crossed_error", lambda d: d.mean(0).std(ddof=1) / d.shape[1] ** 0.5, "leaves the seeds out"),
    ("crossed_error", lambda d: d.std(ddof=1) / np.sqrt(d.size), "all numbers as independent"),
    ("crossed_error", lambda d: d.std() / d.size**0.5, "needs ddof=1"),
    ("crossed_error", lambda d: [d.mean(1).std(ddof=1) / len(d) ** 0.5,
                                 d.mean(0).std(ddof=1) / d.shape[1] ** 0.5], "both errors"),
    ("crossed_error", lambda d: np.hypot(d.sum(1).std(ddof=1) / len(d) ** 0.5,
                                         d.sum(0).std(ddof=1) / d.shape[1] ** 0.5), "of sums"),
    ("crossed_error", lambda d: np.hypot(d.mean(1).std(ddof=1), d.mean(0).std(ddof=1))
     / len(d) ** 0.5, "divided by S"),
    ("crossed_error", lambda d: np.hypot(d.mean(1).std(ddof=1), d.mean(0).std(ddof=1))
     / d.shape[1] ** 0.5, "divided by N"),
    ("crossed_error", lambda d: np.hypot(d.mean(1).std() / len(d) ** 0.5,
                                         d.mean(0).std() / d.shape[1] ** 0.5), "use ddof=1"),
    ("crossed_error", lambda d: np.hypot(d.mean(0).std(ddof=1) / len(d) ** 0.5,
                                         d.mean(1).std(ddof=1) / d.shape[1] ** 0.5), "exchanged"),
    ("crossed_error", lambda d: (d.mean(1).std(ddof=1) / len(d)
                                 + d.mean(0).std(ddof=1) / d.shape[1]) ** 0.5, "or use var"),
    ("crossed_error", lambda d: (np.var(d.mean(1)) / len(d) + np.var(d.mean(0), ddof=1)
                                 / d.shape[1]) ** 0.5, "the rows' means lacks ddof=1"),
    ("crossed_error", lambda d: (np.var(d.mean(1), ddof=1) / len(d) + np.var(d.mean(0))
                                 / d.shape[1]) ** 0.5, "the columns' means lacks ddof=1"),
    ("crossed_error", lambda d: (np.var(d, 0, ddof=1).mean() / len(d)
                                 + np.var(d, 1, ddof=1).mean() / d.shape[1]) ** 0.5,
     "variances of single numbers"),
    ("crossed_error", lambda d: np.hypot(d.mean(1).std(ddof=1) / (len(d) - 1) ** 0.5,
                                         d.mean(0).std(ddof=1) / (d.shape[1] - 1) ** 0.5),
     "the 1 already"),
    ("crossed_error", lambda d: (d.mean(), crossed_error(d)), "return the error alone"),
    ("crossed_error", lambda d: max(d.mean(1).std(ddof=1) / len(d) ** 0.5,
                                    d.mean(0).std(ddof=1) / d.shape[1] ** 0.5), "the larger of"),
    ("crossed_error", lambda d: d.std(1, ddof=1).mean() / d.shape[1] ** 0.5,
     "cases the result is wrong"),
    ("paired_interval", lambda a, b: np.mean(a - b) + np.array([-1.96, 1.96])
     * np.std(a - b, ddof=1) / len(a) ** 0.5, "the ends of the interval"),
    ("paired_interval", lambda a, b: (np.mean(a - b), np.std(a - b, ddof=1) / len(a) ** 0.5),
     "one standard error"),
    ("paired_interval", lambda a, b: np.multiply(paired_interval(a, b), (1, 2)), "full width"),
    ("paired_interval", lambda a, b: sum(paired_interval(a, b)), "the upper end"),
    ("paired_interval", lambda a, b: (np.mean(a - b), t.ppf(0.975, len(a) - 1)
                                      * np.std(a - b, ddof=1) / len(a) ** 0.5), "use 1.96 here"),
    ("paired_interval", lambda a, b: paired_interval(a, b)[1], "return the mean difference"),
    ("paired_interval", lambda a, b: np.mean(a - b), "return how far"),
    ("paired_interval", lambda a, b: paired_interval(a, b)[::-1], "the mean comes first"),
    ("paired_interval", lambda a, b: np.abs(paired_interval(a, b)), "its sign says"),
    ("paired_interval", lambda a, b: (np.mean(a - b), 2 * np.std(a - b, ddof=1) / len(a) ** 0.5),
     "this is 2 standard errors"),
    ("paired_interval", lambda a, b: (np.mean(a - b), 1.96 * np.std(a, ddof=1) / len(a) ** 0.5),
     "the first network's mean"),
    ("paired_interval", lambda a, b: (np.mean(a - b), 1.96 * (np.std(a, ddof=1)
     - np.std(b, ddof=1)) / len(a) ** 0.5), "the spread of the differences"),
    ("paired_interval", lambda a, b: (np.mean(a - b), 1.96 * (np.std(a - b, ddof=1)
     / len(a)) ** 0.5), "the root belongs to N alone"),
    ("paired_interval", lambda a, b: (np.mean(a - b), 1.96 * np.std(b, ddof=1) / len(b) ** 0.5),
     "the second network's mean"),
    ("paired_interval", lambda a, b: (np.mean(a - b), 1.96 * (np.std(a, ddof=1)
     + np.std(b, ddof=1)) / len(a) ** 0.5), "errors, added"),
    ("leak", lambda train, test: len(set(train) & set(test)) / len(set(test)), "of the groups"),
    ("leak", lambda train, test: sum(group in train for group in test),
     "this is a number of images"),
    ("leak", lambda train, test: np.isin(test, train).sum() / len(train),
     "by the number of training images"),
    ("leak", lambda train, test: np.isin(test, train).sum() / len(train + test), "by all images"),
    ("leak", lambda train, test: len({*train} & {*test}) / len(test), "a number of groups by"),
    ("leak", lambda train, test: sum(a == b for a in train for b in test) / len(test),
     "counts pairs"),
    ("leak", lambda train, test: bool({*train} & {*test}), "whether anything leaks"),
    ("leak", lambda train, test: 100 * np.isin(test, train).mean(), "this is a percentage"),
    ("leak", lambda train, test: np.mean([any(a in b for b in train) for a in test]),
     "compare whole names"),
    ("leak", lambda train, test: np.mean([group in str(train) for group in test]),
     "compare whole names"),
    ("leak", lambda train, test: np.isin(test, train).sum() / len({*test}), "the number of groups"),
    ("leak", lambda train, test: len({*train} & {*test}) / len({*train, *test}), "both lists"),
    ("leak", lambda train, test: np.isin(test, train).sum() // len(test), "rounds down"),
    ("leak", lambda train, test: sum(group in train for group in set(test)), "number of groups:"),
    ("leak", lambda train, test: np.isin(train, test).sum() / len(test), "the training images"),
    ("leak", lambda train, test: np.mean([train == group for group in test]), "0 everywhere"),
    ("leak", lambda train, test: len({*train} & {*test}) / len({*train}), "of the training groups"),
    ("leak", lambda train, test: [group for group in test if group in {*train}],
     "these are the test images"),
    ("leak", lambda train, test: np.isin(test, train), "of each test image"),
    ("leak", lambda train, test: sum(a == b for a, b in zip(train, test, strict=False))
     / len(test), "the same position"),
    ("leak", lambda train, test: sum(min(train.count(g), test.count(g)) for g in {*test})
     / len(test), "at most as often"),
    ("paired_interval", unpaired, "both networks were tested on the same images"),
    ("paired_interval", lambda a, b: (np.mean(a - b), 1.96 * np.std(a - b) / len(a) ** 0.5),
     "use ddof=1"),
    ("group_bootstrap", mean_of_means, "a mean of the means of the groups"),
    ("group_bootstrap", lambda values, groups, draws: [
        np.array(values)[np.isin(groups, draw)].mean() for draw in draws], "counts twice"),
    ("group_bootstrap", lambda values, groups, draws: [
        np.array(values)[draw].mean() for draw in draws], "this draws single images"),
    ("group_bootstrap", by_index, "the groups are 10 and 20"),
    ("group_bootstrap", by_bincount, 'it may be "a" or "b"'),
    ("group_bootstrap", lambda values, groups, draws: [
        drawn(values, groups, draw).sum() for draw in draws], "these are sums"),
    ("group_bootstrap", lambda values, groups, draws: [
        drawn(values, groups, draw).sum() / len(draw) for draw in draws], "of groups drawn"),
    ("group_bootstrap", lambda values, groups, draws: [
        drawn(values, groups, draw).sum() / len(values) for draw in draws], "of all images"),
    ("group_bootstrap", lambda values, groups, draws: np.mean([
        drawn(values, groups, draw).mean() for draw in draws]), "one mean over all draws"),
    ("group_bootstrap", lambda values, groups, draws: np.percentile([
        drawn(values, groups, draw).mean() for draw in draws], (2.5, 97.5)), "percentiles"),
    ("group_bootstrap", lambda values, groups, draws: [
        np.mean([dict(zip(groups, values, strict=True))[g] for g in draw]) for draw in draws],
     "the last image of each group"),
    ("group_bootstrap", lambda values, groups, draws: [
        np.mean([values[groups.index(g)] for g in draw]) for draw in draws],
     "the first image of each group"),
    ("group_bootstrap", lambda values, groups, draws: [
        drawn(values, groups, draw).sum() / np.isin(groups, draw).sum() for draw in draws],
     "in the sum twice"),
    ("group_bootstrap", lambda values, groups, draws: [drawn(values, groups, draws[0]).mean()],
     "inside the loop"),
    ("group_bootstrap", lambda values, groups, draws: [
        drawn(values, groups, [g]).mean() for draw in draws for g in draw], "each drawn group"),
    ("group_bootstrap", lambda values, groups, draws: pd.Series(values).groupby(groups).mean(),
     "the mean of each group, whatever"),
    ("group_bootstrap", lambda values, groups, draws: [
        drawn(values, groups, draw) for draw in draws], "these are the values"),
    ("group_bootstrap", lambda values, groups, draws: drawn(values, groups, draws[0]).mean(),
     "the first draw only"),
    ("group_bootstrap", lambda values, groups, draws: np.full(len(draws), np.mean(values)),
     "whatever is drawn"),
    ("group_bootstrap", lambda values, groups, draws: [
        np.median(drawn(values, groups, draw)) for draw in draws], "these are medians"),
    ("group_bootstrap", neighbours, "need not follow each other"),
    ("group_bootstrap", list_as_mask, "means of nothing"),
    ("group_bootstrap", never_emptied, "begin each draw with an empty list"),
    ("group_bootstrap", lambda values, groups, draws: [
        np.mean([value for g in draw for value, group in zip(values, groups, strict=True)
                 if str(g) in str(group)]) for draw in draws],
     "in 1 of 9 cases the result is wrong"),
]  # fmt: skip
