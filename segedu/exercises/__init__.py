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
from .losses import (
    check_balancing_alpha,
    check_binary_cross_entropy,
    check_class_balance,
    check_cross_entropy,
    check_dice_loss,
    check_focal_loss,
)

__all__ = [
    "check_balancing_alpha",
    "check_binary_cross_entropy",
    "check_class_balance",
    "check_cross_entropy",
    "check_dice_loss",
    "check_focal_loss",
    "check_iou",
]
