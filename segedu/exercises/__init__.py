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
from .unetpp import (
    check_accurate_mode,
    check_choose_level,
    check_deep_loss,
    check_evaluation_order,
    check_node_channels,
    check_pruned_nodes,
    check_triangle,
)

__all__ = [
    "check_accurate_mode",
    "check_choose_level",
    "check_deep_loss",
    "check_evaluation_order",
    "check_iou",
    "check_node_channels",
    "check_pruned_nodes",
    "check_triangle",
]
