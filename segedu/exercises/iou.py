"""Exercises of the chapter on IoU."""

from collections.abc import Callable

from .answer import Answer, check


def check_iou(theirs: Callable[[int, int, int], float]) -> Answer:
    """Check a function of the counts (tp, fp, fn) that gives IoU, and 1 where all are 0.

    >>> check_iou(lambda tp, fp, fn: tp / (tp + fp + fn) if tp + fp + fn else 1.0)
    correct: 6 cases
    """

    def iou(tp, fp, fn):
        return tp / (tp + fp + fn) if tp + fp + fn else 1.0

    def dice(tp, fp, fn):
        return 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 1.0

    cases = [(2, 1, 1), (0, 3, 0), (5, 0, 0), (0, 0, 0), (0, 0, 4), (40, 2, 9)]
    return check(
        theirs,
        iou,
        cases,
        {
            "this is Dice: it counts TP twice. IoU divides TP by what either mask covers": dice,
            "this is precision: the missed pixels (FN) are part of the union too": (
                lambda tp, fp, fn: tp / (tp + fp) if tp + fp else 1.0
            ),
            "two empty masks agree: give them 1, not 0": (
                lambda tp, fp, fn: tp / (tp + fp + fn) if tp + fp + fn else 0.0
            ),
            "two empty masks are 0 / 0: ask for them first, and give them 1": (
                lambda tp, fp, fn: tp / (tp + fp + fn)
            ),
        },
    )
