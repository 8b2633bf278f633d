"""Exercises of the chapter on results."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

import numpy as np
from numpy import ndarray
from scipy import stats
from scipy.ndimage import binary_dilation, binary_erosion, distance_transform_edt
from skimage.segmentation import find_boundaries

from .answer import Answer, check

SCORES = [  # each list holds the scores of some images
    [0.91, 0.15, 0.82, 0.4, 0.77, 0.39],
    [0.5, 0.9, 0.1],
    [0.88],
    [0.3, 0.2, 0.9, 0.95, 0.1, 0.6, 0.7],
    [0.62, 0.4, 0.9, 0.4],  # two images have the same score
    [1, 0, 1, 0, 1],  # found whole, or not at all
]


def check_two_class_iou(submission: Callable[[int, int, int, int], float]) -> Answer:
    """Check a function of the foreground's (tp, fp, fn, tn): the mean IoU of both classes.

    >>> check_two_class_iou(lambda tp, fp, fn, tn: (tp + tn) / (tp + fp + fn + tn))
    not yet: this is accuracy: take the ratio of each class first, then their mean
    """

    def ious(tp, fp, fn, tn):
        return tp / (tp + fp + fn), tn / (tn + fp + fn)

    def mean_iou(*counts):
        return sum(ious(*counts)) / 2

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
        "these are Dice coefficients: TP counts once in the denominator of IoU": (
            lambda tp, fp, fn, tn: tp / (2 * tp + fp + fn) + tn / (2 * tn + fp + fn)
        ),
        "this is the background alone: the foreground has an IoU too": (
            lambda tp, fp, fn, tn: tn / (tn + fp + fn)
        ),
        "this is the sum of both classes: their mean is half of it": (
            lambda *counts: 2 * mean_iou(*counts)
        ),
        "this pools both classes into one ratio: take the ratio of each class first, then their "
        "mean": lambda tp, fp, fn, tn: (tp + tn) / (tp + tn + 2 * (fp + fn)),
        "the background's union is TN + FP + FN: what one class misses, the other one claims": (
            lambda tp, fp, fn, tn: (tp / (tp + fp + fn) + tn / (tn + fp)) / 2
        ),
        "the background's union is TN + FP + FN: its FN are the foreground's FP": (
            lambda tp, fp, fn, tn: (tp / (tp + fp + fn) + tn / (tn + fn)) / 2
        ),
        "TN is divided by the foreground's union: the background's is TN + FP + FN": (
            lambda tp, fp, fn, tn: (tp + tn) / (tp + fp + fn) / 2
        ),
        "only the second IoU is divided by 2: put the sum in parentheses": (
            lambda *counts: ious(*counts)[0] + ious(*counts)[1] / 2
        ),
        "these are both IoUs: return their mean": ious,
        "these are precisions: the union of a class contains its FN too": (
            lambda tp, fp, fn, tn: (tp / (tp + fp) + tn / (tn + fn)) / 2
        ),
        "these are recalls: the union of a class contains its FP too": (
            lambda tp, fp, fn, tn: (tp / (tp + fn) + tn / (tn + fp)) / 2
        ),
        "this is a percentage: return a number from 0 to 1": lambda *counts: (
            100 * mean_iou(*counts)
        ),
        "the background's union is TN + FP + FN: TP are background neither in the truth nor in the "
        "prediction": lambda *counts: (ious(*counts)[0] + counts[3] / sum(counts)) / 2,
        "these are shares of all pixels: the union of a class leaves out the pixels of the other "
        "class in both masks": lambda tp, fp, fn, tn: (tp + tn) / (tp + fp + fn + tn) / 2,
        "the background's true positives are TN: its FP and FN belong to the union only": (
            lambda tp, fp, fn, tn: (tp / (tp + fp + fn) + fn / (tn + fp + fn)) / 2
        ),
        "this weights each class by its number of pixels: take the plain mean of both": (
            lambda tp, fp, fn, tn: np.average(ious(tp, fp, fn, tn), weights=(tp + fn, tn + fp))
        ),
        "// rounds down: divide with /": (
            lambda tp, fp, fn, tn: (tp // (tp + fp + fn) + tn // (tn + fp + fn)) / 2
        ),
        "this is rounded to two digits: return the number itself": (
            lambda *counts: round(mean_iou(*counts), 2)
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

    def after_removals(indices):
        """The index of each in a list that the images before it have left."""
        return [i - sum(j < i for j in indices[:place]) for place, i in enumerate(indices)]

    cases = [(SCORES[0], 2), (SCORES[0], 3), (SCORES[1], 2), (SCORES[2], 1), (SCORES[3], 3)]
    cases += [(SCORES[3], 7), (SCORES[4], 2), (SCORES[5], 3)]
    random = np.random.default_rng(0)
    cases += [((random.permutation(n) / n).tolist(), k) for n, k in ((30, 8), (600, 300))]

    def first_of_equals(function, scores, k):
        """Images of the same score may come in any order: name the first of them first."""
        found = function([*scores], k)  # which may sort its list
        several = isinstance(found, list | tuple) or hasattr(found, "tolist")
        indices = np.asarray(found).tolist() if several else found
        proper = isinstance(indices, list) and all(index in range(len(scores)) for index in indices)
        if not proper or len(set(indices)) < len(indices):
            return found
        result = []
        for index in indices:
            equals = [i for i, score in enumerate(scores) if score == scores[index]]
            result.append(next(i for i in equals if i not in result))
        return result

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
        "these are the right images, but in the order of the data set: sort them by score": (
            lambda scores, k: sorted(worst(scores, k))
        ),
        "these numbers begin with 1: in Python the first image has the index 0": (
            lambda scores, k: [index + 1 for index in worst(scores, k)]
        ),
        "these are all images: return only the first k": lambda scores, k: worst(scores, None),
        "these are the last k of the order, so the best images: take the first k": (
            lambda scores, k: worst(scores, None)[-k:]
        ),
        "two images may have the same score: index() then finds the first of them twice": (
            lambda scores, k: [scores.index(score) for score in sorted(scores)[:k]]
        ),
        "these are pairs of an index and a score: return the indices alone": (
            lambda scores, k: [(index, scores[index]) for index in worst(scores, k)]
        ),
        "these are pairs of a score and an index: return the indices alone": (
            lambda scores, k: [(scores[index], index) for index in worst(scores, k)]
        ),
        "this is one index: return a list of k of them": lambda scores, k: worst(scores, 1)[0],
        "removing an image shifts the indices of all later ones: keep the list as it is": (
            lambda scores, k: after_removals(worst(scores, k))
        ),
        "np.argpartition puts the k lowest in front, but need not sort them: use np.argsort": (
            lambda scores, k: np.argpartition(scores, k - 1)[:k]  # sorts what is short
        ),
    }
    return check(submission, worst, cases, misconceptions, run=first_of_equals)


def check_edge_share(submission: Callable[[ndarray, ndarray], float]) -> Answer:
    """Check a function of two masks (preds, truth), both (H, W) booleans.

    It returns the share of the wrong pixels that have, among their four neighbours, a pixel of the
    other class of the truth. Some pixel is wrong, and the truth has both classes.

    >>> from scipy.ndimage import distance_transform_edt
    >>> check_edge_share(lambda preds, truth: (
    ...     distance_transform_edt(truth)[preds != truth] <= 1).mean())
    not yet: inside the background this distance is 0, so all false positives count as edge pixels
    """

    def edge(truth, reach=1.0):
        inside, outside = distance_transform_edt(truth), distance_transform_edt(~truth)
        return np.where(truth, inside, outside) <= reach

    def share(preds, truth, edge=edge):
        return edge(truth)[preds != truth].mean()

    def share_of(pixels, truth):
        return edge(truth)[pixels].mean() if pixels.any() else np.nan

    def with_border(truth):  # beyond the border there is background
        return (binary_dilation(truth) & ~truth) | (truth & ~binary_erosion(truth))

    def wrapped(truth):
        rolls = ((1, 0), (-1, 0), (0, 1), (0, -1))
        return np.any([np.roll(truth, roll, (0, 1)) != truth for roll in rolls], axis=0)

    def one_side(mode):
        return lambda truth: find_boundaries(truth, connectivity=1, mode=mode)

    def eroded(truth):  # what is beyond the border belongs to neither side
        return (truth & ~binary_erosion(truth)) | (~truth & ~binary_erosion(~truth))

    def one_of_two(width):  # of the pixels at each step, the one before it or the one behind it
        def pixels(truth):
            down, right = truth[1:] != truth[:-1], truth[:, 1:] != truth[:, :-1]
            return np.pad(down, (width, (0, 0))) | np.pad(right, ((0, 0), width))

        return pixels

    misconceptions = {
        "inside the background this distance is 0, so all false positives count as edge pixels": (
            lambda *masks: share(*masks, lambda truth: distance_transform_edt(truth) <= 1)
        ),
        "inside the nuclei this distance is 0, so every missed pixel counts as an edge pixel": (
            lambda *masks: share(*masks, lambda truth: distance_transform_edt(~truth) <= 1)
        ),
        "this looks at the inner side of the outline alone: false positives lie on the outer one": (
            lambda *masks: share(*masks, one_side("inner"))
        ),
        "this looks at the outer side of the outline alone: missed pixels lie on the inner one": (
            lambda *masks: share(*masks, one_side("outer"))
        ),
        "a pixel has four neighbours here: one that touches the outline with a corner only does "
        "not count": lambda *masks: share(*masks, lambda truth: edge(truth, 1.5)),
        "this measures the distance from the predicted outline: the annotated one is asked for": (
            lambda preds, truth: edge(preds)[preds != truth].mean()
        ),
        "this is a number of pixels: divide it by the number of wrong ones": (
            lambda preds, truth: (edge(truth) & (preds != truth)).sum()
        ),
        "this divides by all pixels: divide by the wrong ones": (
            lambda preds, truth: (edge(truth) & (preds != truth)).mean()
        ),
        "this is the share of the edge pixels that are wrong: divide by the number of wrong ones": (
            lambda preds, truth: (preds != truth)[edge(truth)].mean()
        ),
        "this is the share away from the edge": lambda *masks: 1 - share(*masks),
        "the border of the image is no outline: an object that it cuts goes on": (
            lambda *masks: share(*masks, with_border)
        ),
        "the border of the image is no outline, but erosion takes what lies beyond it as "
        "background: set border_value=1": lambda *masks: share(*masks, eroded),
        "this marks one pixel of the two at each step of the truth: mark both": (
            lambda *masks: share(*masks, one_of_two((0, 1)))
        ),
        "this marks one pixel of the two at each step of the truth: mark the first one, too": (
            lambda *masks: share(*masks, one_of_two((1, 0)))
        ),
        "this is an answer for each wrong pixel: take their mean": (
            lambda preds, truth: edge(truth)[preds != truth]
        ),
        "these are the right pixels: take those where the masks differ": (
            lambda preds, truth: edge(truth)[preds == truth].mean()
        ),
        "np.roll wraps around: the last row is no neighbour of the first": (
            lambda *masks: share(*masks, wrapped)
        ),
        "the pixels next to the outline have the distance 1: use <= 1": (
            lambda *masks: share(*masks, lambda truth: edge(truth, 0.99))
        ),
        "erosion leaves the inner side of the outline alone (and takes what lies beyond the border "
        "as background): false positives lie on the outer side": (
            lambda *masks: share(*masks, lambda truth: truth & ~binary_erosion(truth))
        ),
        "this counts the second pixel from the outline too: a neighbour has the distance 1": (
            lambda *masks: share(*masks, lambda truth: edge(truth, 2))
        ),
        "one of the two distances is 0 at every pixel, and so is their minimum: take the distance "
        "of the pixel's own class": lambda *masks: share(*masks, np.ones_like),
        "this is a percentage: return a share, from 0 to 1": lambda *masks: 100 * share(*masks),
        "these are the false positives alone: missed pixels are wrong, too": (
            lambda preds, truth: share_of(preds & ~truth, truth)
        ),
        "these are the missed pixels alone: false positives are wrong, too": (
            lambda preds, truth: share_of(truth & ~preds, truth)
        ),
        "this measures the distance from the right pixels: measure it from the outline of the "
        "truth": lambda preds, truth: edge(preds != truth)[preds != truth].mean(),
    }
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:20, :24]

    def disc(row, column, radius):
        return (rows - row) ** 2 + (columns - column) ** 2 < radius**2

    cases = [(disc(9, 10, 6), disc(10, 11, 5)), (disc(9, 11, 4), disc(9, 11, 7))]
    for row, column in ((2, 3), (17, 20), (9, 1)):  # cut by the border, and a few false alarms
        truth = disc(row, column, 6) | disc(10, 12, 4)
        preds = disc(row + 1, column - 1, 5) | disc(11, 12, 4)
        cases.append((preds | (random.random(truth.shape) < 0.03), truth))
    cases.append((~disc(11, 12, 3) & disc(10, 12, 9), disc(10, 12, 8)))
    return check(submission, share, cases, misconceptions)


def check_leak(submission: Callable[[Sequence[str], Sequence[str]], float]) -> Answer:
    """Check a function of the groups of the training images and of the test images.

    It returns the share of the test images that have an image of their group in training.

    >>> check_leak(lambda train, test: len(set(train) & set(test)) / len(set(test)))
    not yet: this is a share of the groups: count images, because a group may have many
    """

    def hits(train, test):
        return sum(group in train for group in test)

    def leak(train, test):
        return hits(train, test) / len(test)

    cases = [
        (["a", "a", "b"], ["b", "c"]),
        (["a", "b", "c"], ["a", "b", "c", "c"]),
        (["a"], ["b"]),
        (["a", "b", "b", "d"], ["b", "b", "b", "e"]),
        (["x", "y"], ["z", "z", "x"]),
        (["a", "b", "c", "d"], ["c"]),
        (["10", "12"], ["1", "10", "3"]),
        (["a", "a", "b"], ["a", "c"]),
    ]
    misconceptions = {
        "this is a share of the groups: count images, because a group may have many": (
            lambda train, test: leak(train, sorted(set(test)))
        ),
        "this is a share of the training images, but the test score is what is reported: divide "
        "by the number of test images": lambda train, test: leak(test, train),
        "this is a number of images: divide it by the number of test images": hits,
        "this divides by the number of training images: divide by that of the test images": (
            lambda train, test: hits(train, test) / len(train)
        ),
        "this counts the training images: count the test images whose group is in training": (
            lambda train, test: hits(test, train) / len(test)
        ),
        "this divides by all images: divide by the number of test images": (
            lambda train, test: hits(train, test) / (len(train) + len(test))
        ),
        "this divides a number of groups by a number of images: count the test images whose group "
        "is in training": lambda train, test: len(set(train) & set(test)) / len(test),
        "this counts pairs of images: a test image counts once, however many training images its "
        "group has": lambda train, test: sum(map(train.count, test)) / len(test),
        "this is a number of groups: count the test images whose group is in training, and divide "
        "by their number": lambda train, test: len(set(train) & set(test)),
        "this says whether anything leaks: return how much, a share": (
            lambda train, test: not set(train).isdisjoint(test)
        ),
        "this is a percentage: return a share, from 0 to 1": (
            lambda train, test: 100 * leak(train, test)
        ),
        "this is the share without a neighbour in training: the others leak": (
            lambda train, test: 1 - leak(train, test)
        ),
        'compare whole names: "1" is a part of "10", but another group': (
            lambda train, test: leak(" ".join(train), test)
        ),
        "this divides by the number of groups: divide by the number of test images": (
            lambda train, test: hits(train, test) / len(set(test))
        ),
        "this divides the groups that leak by all groups of both lists: count test images, and "
        "divide by their number": lambda train, test: (
            len(set(train) & set(test)) / len(set(train) | set(test))
        ),
        "this is a share of the training groups: count test images, and divide by their number": (
            lambda train, test: len(set(train) & set(test)) / len(set(train))
        ),
        "these are the test images that leak: return their share of all test images": (
            lambda train, test: [group for group in test if group in train]
        ),
        "this says of each test image whether it leaks: return the share of those that do": (
            lambda train, test: [group in train for group in test]
        ),
        "this compares images at the same position only: a test image leaks if its group is "
        "anywhere in training": lambda train, test: sum(map(str.__eq__, train, test)) / len(test),
        "this counts a group at most as often as training has it: every test image of the group "
        "leaks": lambda train, test: (Counter(train) & Counter(test)).total() / len(test),
        "// rounds down: divide with /": lambda train, test: hits(train, test) // len(test),
        "this is 0 everywhere: if `train` is a list, `train == group` compares the whole list with "
        "one name; write `group in train`": lambda train, test: 0.0,
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
        "this ignores that both networks were tested on the same images: take the difference of "
        "each image first": unpaired,
        "this is the spread of single images: the error of their mean is smaller, by the root of "
        "N": lambda *scores: interval(*scores, spread),
        "this divides by N, but the error of a mean falls with the root of N": (
            lambda *scores: interval(*scores, lambda values: spread(values) / len(values))
        ),
        "NumPy's std divides by N: for the spread of a sample, use ddof=1": (
            lambda *scores: interval(*scores, lambda values: values.std() / len(values) ** 0.5)
        ),
        "this has the variance where the standard deviation belongs: take its root": (
            lambda *scores: interval(*scores, lambda v: spread(v) ** 2 / len(v) ** 0.5)
        ),
        "this is second minus first": lambda first, second: interval(second, first),
        "these are the ends of the interval: return the mean and how far it reaches": (
            lambda *scores: np.add(interval(*scores)[0], np.array([-1, 1]) * interval(*scores)[1])
        ),
        "this is one standard error: 95 % needs 1.96 of them": (
            lambda first, second: ((first - second).mean(), error(first - second))
        ),
        "this is a mean of absolute differences: where the other network wins, it must subtract": (
            lambda first, second: interval(abs(first - second), 0 * first)
        ),
        "the standard deviation is divided by the root of N - 1: divide by the root of N, and let "
        "ddof=1 do the rest": lambda *scores: interval(
            *scores, lambda values: spread(values) / (len(values) - 1) ** 0.5
        ),
        "this is how far the interval reaches: return the mean difference before it": (
            lambda *scores: interval(*scores)[1]
        ),
        "this is the mean difference: return how far its interval reaches, too": (
            lambda *scores: interval(*scores)[0]
        ),
        "the two numbers are exchanged: the mean comes first": (
            lambda *scores: interval(*scores)[::-1]
        ),
        "this is the size of the mean difference: its sign says which network is better": (
            lambda *scores: (abs(interval(*scores)[0]), interval(*scores)[1])
        ),
        "this is the interval's full width: return how far it reaches to one side": (
            lambda *scores: interval(*scores, lambda values: 2 * error(values))
        ),
        "this is one number, the upper end: return the mean difference and how far the interval "
        "reaches": lambda *scores: sum(interval(*scores)),
        "this is Student's t for N - 1 degrees of freedom, a good idea: but use 1.96 here": (
            lambda *scores: interval(
                *scores, lambda v: error(v) * stats.t.ppf(0.975, len(v) - 1) / 1.96
            )
        ),
        "this is 2 standard errors: 1.96 are asked for": (
            lambda *scores: interval(*scores, lambda values: error(values) * 2 / 1.96)
        ),
        "this is the error of the first network's mean: take that of the differences": (
            lambda first, second: ((first - second).mean(), 1.96 * error(first))
        ),
        "this is the error of the second network's mean: take that of the differences": (
            lambda first, second: ((first - second).mean(), 1.96 * error(second))
        ),
        "these are the two networks' errors, added: take the error of the differences": (
            lambda first, second: ((first - second).mean(), 1.96 * (error(first) + error(second)))
        ),
        "this is the difference of the two spreads: take the spread of the differences": (
            lambda first, second: ((first - second).mean(), 1.96 * (error(first) - error(second)))
        ),
        "the root belongs to N alone: the standard deviation is a root already": (
            lambda *scores: interval(*scores, lambda v: (spread(v) / len(v)) ** 0.5)
        ),
    }
    return check(submission, interval, [case(*size) for size in sizes], misconceptions)


def check_crossed_error(submission: Callable[[ndarray], float]) -> Answer:
    """Check a function of differences (S, N), a row for each seed and a column for each image.

    It returns the standard error of their mean when seeds and images are both drawn anew: the root
    of the variance of the rows' means over S plus that of the columns' means over N.

    >>> check_crossed_error(lambda differences: differences.std(ddof=1) / differences.size**0.5)
    not yet: this takes all numbers as independent, but a row shares its training and a column its \
image
    """

    def of_means(differences, axis):
        means = differences.mean(axis)
        return means.var(ddof=1) / len(means)

    def error(differences):
        return (of_means(differences, 1) + of_means(differences, 0)) ** 0.5

    def divided(differences, seeds, images, ddof=1):
        rows, columns = (differences.mean(axis).var(ddof=ddof) for axis in (1, 0))
        return (rows / seeds + columns / images) ** 0.5

    random = np.random.default_rng(2)
    cases = [(np.array([[0.01, 0.03, 0.02], [0.02, 0.04, 0.03]]),)]
    for seeds, images in ((3, 8), (5, 20), (5, 85), (4, 4), (10, 6)):
        of_seed, of_image = random.normal(0, 0.02, (seeds, 1)), random.normal(0, 0.04, images)
        noise = random.normal(0, 0.02, (seeds, images))
        cases.append(((of_seed + of_image + noise).round(3),))
    misconceptions = {
        "this takes all numbers as independent, but a row shares its training and a column its "
        "image": lambda d: d.std(ddof=1) / d.size**0.5,
        "this takes all numbers as independent, but a row shares its training and a column its "
        "image (and NumPy's std needs ddof=1)": lambda d: d.std() / d.size**0.5,
        "this leaves the seeds out: other trainings would have given other rows": (
            lambda d: of_means(d, 0) ** 0.5
        ),
        "this leaves the images out: other pictures would have given other columns": (
            lambda d: of_means(d, 1) ** 0.5
        ),
        "standard errors do not add up: add their squares, and take the root of the sum": (
            lambda d: of_means(d, 0) ** 0.5 + of_means(d, 1) ** 0.5
        ),
        "this is the variance of the mean: its root is the standard error": (
            lambda d: of_means(d, 0) + of_means(d, 1)
        ),
        "the two numbers are exchanged: the rows' means are S numbers, the columns' means N": (
            lambda d: divided(d, *d.shape[::-1])
        ),
        "these are standard deviations: the error of a mean is smaller, so divide each variance "
        "by the number of its means": lambda d: divided(d, 1, 1),
        "NumPy's var divides by the number of values: for the spread of a sample, use ddof=1": (
            lambda d: divided(d, *d.shape, ddof=0)
        ),
        "this is 1.96 standard errors: one is asked for": lambda d: 1.96 * error(d),
        "each standard deviation is divided by the number of its means, but an error falls with "
        "the root of it": lambda d: divided(d, d.shape[0] ** 2, d.shape[1] ** 2),
        "this is the spread within a row and within a column: take the means first, then the "
        "variance of these means": (
            lambda d: (
                (d.var(1, ddof=1).mean() / len(d) + d.var(0, ddof=1).mean() / d.shape[1]) ** 0.5
            )
        ),
        "these are variances of single numbers, not of means: take the means over rows and columns "
        "first": lambda d: (
            (d.var(0, ddof=1).mean() / len(d) + d.var(1, ddof=1).mean() / d.shape[1]) ** 0.5
        ),
        "ddof=1 has subtracted the 1 already: divide by S and N": (
            lambda d: divided(d, len(d) - 1, d.shape[1] - 1)
        ),
        "these are standard deviations where variances belong: square them, or use var": (
            lambda d: sum(d.mean(k).std(ddof=1) / d.shape[1 - k] for k in (0, 1)) ** 0.5
        ),
        "the variance of the rows' means lacks ddof=1": (
            lambda d: (d.mean(1).var() / len(d) + of_means(d, 0)) ** 0.5
        ),
        "the variance of the columns' means lacks ddof=1": (
            lambda d: (of_means(d, 1) + d.mean(0).var() / d.shape[1]) ** 0.5
        ),
        "this is the mean and its error: return the error alone": (lambda d: (d.mean(), error(d))),
        "these are both errors: return the root of the sum of their squares": (
            lambda d: (of_means(d, 1) ** 0.5, of_means(d, 0) ** 0.5)
        ),
        "these are the variances of sums: take the means over rows and columns": (
            lambda d: sum(d.sum(k).var(ddof=1) / d.shape[1 - k] for k in (0, 1)) ** 0.5
        ),
        "both variances are divided by S: there are N means over columns": (
            lambda d: divided(d, len(d), len(d))
        ),
        "both variances are divided by N: there are S means over rows": (
            lambda d: divided(d, d.shape[1], d.shape[1])
        ),
        "this is the larger of the two errors: both sources add to the variance": (
            lambda d: max(of_means(d, 0), of_means(d, 1)) ** 0.5
        ),
    }
    return check(submission, error, cases, misconceptions)


def check_group_bootstrap(submission: Callable) -> Answer:
    """Check a function of the values (N,), the group (N,) of each, and draws (B, G) of groups.

    Each draw lists G groups, with repetition; a group is a name or any number. For each draw the
    function returns the mean over all images of the groups drawn; an image counts as often as its
    group was drawn.

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

    def over(divisor):  # the sum of each draw, divided by something else
        return lambda values, groups, draws: [
            np.concatenate(members(values, groups, draw)).sum() / divisor(values, groups, draw)
            for draw in draws
        ]

    def with_numbers(mistake):  # what takes names as indices raises one error or another
        return lambda values, groups, draws: (bootstrap if isinstance(groups[0], str) else mistake)(
            values, groups, draws
        )

    def last_of_each(values, groups, draws):
        last = dict(zip(groups, values, strict=True))
        return [np.mean([last[group] for group in draw]) for draw in draws]

    def as_list(function, *case):
        """The means as a list, also those of a generator, an array, a tensor or a pandas Series."""
        means = function(*case)
        if isinstance(means, Iterator):
            return list(means)
        return means.tolist() if hasattr(means, "tolist") else means

    def by_position(values, groups, draws):
        known = sorted(set(groups))
        return bootstrap(values, groups, [[known[group] for group in draw] for draw in draws])

    def counted(values, groups, draws):
        groups = np.array(groups, int)
        sums, sizes = np.bincount(groups, values), np.bincount(groups)
        return [sums[draw].sum() / sizes[draw].sum() for draw in draws]

    def last_run(values, groups, draws):
        pairs = groupby(zip(groups, values, strict=True), lambda pair: pair[0])
        last = {group: [value for _, value in run] for group, run in pairs}
        return [np.concatenate([last[group] for group in draw]).mean() for draw in draws]

    random = np.random.default_rng(1)
    cases = [
        ([1.0, 2.0, 6.0], [0, 0, 1], [[0, 1], [1, 1], [0, 0]]),
        ([0.1, 0.2, 0.6, 0.4, 0.3, 0.9], [*"aababb"], [["a", "b"], ["b", "b"]]),
        ([0.5, 0.1, 0.3, 0.2, 0.7], [20, 10, 10, 20, 10], [[10, 20], [20, 20]]),
        ([0.4, 0.8, 0.2, 0.7], [1, 10, 1, 10], [[1, 10], [1, 1]]),
    ]
    for count, number in [(5, 2), (8, 3), (12, 4), (20, 6), (30, 5)]:
        groups = np.concatenate([np.arange(number), random.integers(0, number, count - number)])
        values = random.uniform(-0.1, 0.1, count).round(3)
        draws = random.integers(0, number, (4, number))
        cases.append((values.tolist(), groups.tolist(), draws.tolist()))
    misconceptions = {
        "this is a mean of the means of the groups: a group of two images counts as much as one "
        "of twenty": of_groups,
        "this draws single images, but a group comes with all its images": with_numbers(
            lambda values, groups, draws: [np.mean([values[k] for k in draw]) for draw in draws]
        ),
        "this takes the last image of each group, but a group comes with all its images": (
            last_of_each
        ),
        "this takes the first image of each group, but a group comes with all its images": (
            lambda values, groups, draws: last_of_each(values[::-1], groups[::-1], draws)
        ),
        "a group is a name, not a position: here the groups are 10 and 20": (
            with_numbers(by_position)
        ),
        'a group is a name, not a position: it may be "a" or "b"': counted,
        "these are sums: divide each by the number of its images": over(lambda *_: 1),
        "this divides by the number of groups drawn: divide by the number of their images": (
            over(lambda values, groups, draw: len(draw))
        ),
        "this divides by the number of all images: divide by the number of those drawn": (
            over(lambda values, groups, draw: len(values))
        ),
        "a group that is drawn twice is in the sum twice: count its images twice, too": (
            over(lambda values, groups, draw: sum(group in draw for group in groups))
        ),
        "this is one mean over all draws: return one mean for each draw": (
            lambda *case: np.mean(bootstrap(*case))
        ),
        "these are percentiles of the means: return the means": (
            lambda *case: np.percentile(bootstrap(*case), (2.5, 97.5))
        ),
        "a group that is drawn twice counts twice": (
            lambda values, groups, draws: bootstrap(values, groups, map(set, draws))
        ),
        "these are the values themselves: return the mean of each draw's": (
            lambda values, groups, draws: [
                np.concatenate(members(values, groups, draw)) for draw in draws
            ]
        ),
        "this is the mean of the first draw only: return one mean for each draw": (
            lambda *case: bootstrap(*case)[0]
        ),
        "this has the first draw's mean only, perhaps because `return` stands inside the loop: "
        "return one mean for each draw": lambda *case: bootstrap(*case)[:1],
        "this is one mean for each drawn group: take one mean over all images of a draw": (
            lambda values, groups, draws: [
                np.mean(group) for draw in draws for group in members(values, groups, draw)
            ]
        ),
        "this is the mean of each group, whatever is drawn: return one mean for each draw": (
            lambda values, groups, draws: [
                np.mean(group) for group in members(values, groups, sorted(set(groups)))
            ]
        ),
        "this is the mean of all images, whatever is drawn: take the images of the groups drawn": (
            lambda values, groups, draws: [np.mean(values)] * len(draws)
        ),
        "these are medians: return means": lambda values, groups, draws: [
            np.median(np.concatenate(members(values, groups, draw))) for draw in draws
        ],
        "the images of a group need not follow each other: here only the last ones that do are "
        "taken": last_run,
        "these are means of nothing: if `groups` is still a list, `groups == g` compares the whole "
        "list with one name; make it an array first": (
            lambda values, groups, draws: [math.nan] * len(draws)
        ),
        "the values of one draw are still there in the next: begin each draw with an empty list": (
            lambda values, groups, draws: bootstrap(
                values, groups, [sum(draws[:k], draw) for k, draw in enumerate(draws)]
            )
        ),
    }
    return check(submission, bootstrap, cases, misconceptions, run=as_list)
