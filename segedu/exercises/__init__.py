"""Exercises that answer back: a check compares a learner's function with the solution.

>>> import torch
>>> from segedu import exercises
>>> def iou(tp, fp, fn):
...     return 2 * tp / (2 * tp + fp + fn)
>>> exercises.check_iou(iou)
not yet: this is Dice, which counts TP twice. IoU divides TP by the union of the two masks

The docstring of each `check_...` says which arguments it passes to the function. The answer has
`correct` and a `message`: that all cases are correct, or which misconception gives these results.
"""

from .basics import (
    check_binary_mask,
    check_class_shares,
    check_count_nuclei,
    check_double,
    check_one_hot,
    check_three_class,
)
from .iou import (
    check_class_scores,
    check_held_out_iou,
    check_iou,
    check_iou_from_dice,
    check_mask_iou,
    check_object_score,
    check_pooled_iou,
)
from .losses import (
    check_balancing_alpha,
    check_binary_cross_entropy,
    check_class_balance,
    check_class_weights,
    check_cross_entropy,
    check_dice_loss,
    check_focal_loss,
)
from .networks import check_unet
from .results import (
    check_crossed_error,
    check_edge_share,
    check_group_bootstrap,
    check_leak,
    check_paired_interval,
    check_two_class_iou,
    check_worst_images,
)
from .unet import (
    check_conv_block,
    check_conv_size,
    check_crop_and_concat,
    check_decoder_channels,
    check_pad_to_multiple,
    check_receptive_field,
    check_stamps,
)
from .unetpp import (
    check_accurate_mode,
    check_choose_level,
    check_deep_loss,
    check_evaluation_order,
    check_node_channels,
    check_pruned_nodes,
    check_unetpp,
)

__all__ = [
    "check_accurate_mode",
    "check_balancing_alpha",
    "check_binary_cross_entropy",
    "check_binary_mask",
    "check_choose_level",
    "check_class_balance",
    "check_class_scores",
    "check_class_shares",
    "check_class_weights",
    "check_conv_block",
    "check_conv_size",
    "check_count_nuclei",
    "check_crop_and_concat",
    "check_cross_entropy",
    "check_crossed_error",
    "check_decoder_channels",
    "check_deep_loss",
    "check_dice_loss",
    "check_double",
    "check_edge_share",
    "check_evaluation_order",
    "check_focal_loss",
    "check_group_bootstrap",
    "check_held_out_iou",
    "check_iou",
    "check_iou_from_dice",
    "check_leak",
    "check_mask_iou",
    "check_node_channels",
    "check_object_score",
    "check_one_hot",
    "check_pad_to_multiple",
    "check_paired_interval",
    "check_pooled_iou",
    "check_pruned_nodes",
    "check_receptive_field",
    "check_stamps",
    "check_three_class",
    "check_two_class_iou",
    "check_unet",
    "check_unetpp",
    "check_worst_images",
]
