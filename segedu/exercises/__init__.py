"""Exercises that answer back: a check compares what a learner wrote with what is right.

>>> import torch
>>> from segedu import exercises
>>> def iou(tp, fp, fn):
...     return 2 * tp / (2 * tp + fp + fn)
>>> exercises.check_iou(iou)
not yet: this is Dice: it counts TP twice. IoU divides TP by what either mask covers

Each `check_...` says which arguments it passes. An answer has `correct`, and is shown as its
sentence: right, or the misconception that makes just these numbers.
"""

from .iou import check_iou
from .results import (
    check_group_bootstrap,
    check_leak,
    check_paired_interval,
    check_two_class_iou,
    check_worst_images,
)

__all__ = [
    "check_group_bootstrap",
    "check_iou",
    "check_leak",
    "check_paired_interval",
    "check_two_class_iou",
    "check_worst_images",
]
