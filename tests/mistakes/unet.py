"""Exercises of the chapter on U-Net: other solutions, and mistakes as a learner makes them."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


def conv_padding_once(size, kernel, stride, padding):
    return int(np.floor((size + padding - kernel) / stride)) + 1


def conv_rounded_up(size, kernel, stride, padding):
    return -(-(size + 2 * padding - kernel) // stride) + 1


def conv_not_rounded(size, kernel, stride, padding):
    return 1 + (size - kernel + 2 * padding) / stride


def conv_without_the_first(size, kernel, stride, padding):
    return math.floor((size - kernel + 2 * padding) / stride)


def conv_without_stride(size, kernel, stride, padding):
    return size - kernel + 2 * padding + 1


def channels_without_skip(channels, row):
    below = channels[row + 1]
    return below


def channels_of_the_skip(channels, row):
    return list(channels)[row]


def channels_twice(channels, row):
    return channels[row] * 2


def channels_from_above(channels, row):
    return sum([channels[row - 1], channels[row]])


def field_multiplied(layers):
    field, step = 1, 1
    for kernel, stride in layers:
        field = (field + (kernel - 1) * step) * stride
        step = step * stride
    return field


def field_multiplied_in_place(layers):
    field, step = 1, 1
    for kernel, stride in layers:
        if stride > 1:
            field, step = field * stride, step * stride
        else:
            field += (kernel - 1) * step
    return field


def field_without_pooling(layers):
    field, step = 1, 1
    for kernel, stride in layers:
        if stride > 1:
            step *= stride
        else:
            field += (kernel - 1) * step
    return field


def field_without_strides(layers):
    field = 1
    for kernel, _ in layers:
        field = field + kernel - 1
    return field


def field_stride_too_early(layers):
    field, step = 1, 1
    for kernel, stride in layers:
        step *= stride
        field += (kernel - 1) * step
    return field


def field_from_zero(layers):
    field, step = 0, 1
    for kernel, stride in layers:
        field += (kernel - 1) * step
        step *= stride
    return field


def stamps_cut(size, kernel, stride):
    counts = [0] * (size * stride)
    for k in range(size):
        for x in range(k * stride, k * stride + kernel):
            if x < len(counts):
                counts[x] += 1
    return counts


def stamps_of_a_convolution(size, kernel, stride):
    counts = np.zeros(size, dtype=int)
    k = 0
    while k + kernel <= size:
        counts[k : k + kernel] += 1
        k += stride
    return counts.tolist()


def stamps_without_stride(size, kernel, stride):
    ones = torch.ones(1, 1, size)
    return F.conv_transpose1d(ones, torch.ones(1, 1, kernel)).flatten().tolist()


def pad_too_much(images, depth):
    step = 2**depth
    height, width = images.shape[-2:]
    margin = (0, step - width % step, 0, step - height % step)
    return F.pad(images, margin, mode="replicate")


def pad_on_the_wrong_side(images, depth):
    step = 2**depth
    margin = (-images.shape[3] % step, 0, -images.shape[2] % step, 0)
    return F.pad(images, margin, mode="replicate")


def pad_swapped(images, depth):
    step = 2**depth
    height, width = images.shape[-2:]
    return F.pad(images, (0, -height % step, 0, -width % step), mode="replicate")


def pad_twice_the_depth(images, depth):
    height, width = images.shape[-2:]
    return F.pad(images, (0, -width % (2 * depth), 0, -height % (2 * depth)), mode="replicate")


def pad_with_zeros(images, depth):
    step = 2**depth
    n, c, height, width = images.shape
    out = torch.zeros(n, c, math.ceil(height / step) * step, math.ceil(width / step) * step)
    out[..., :height, :width] = images
    return out


def crop_the_corner(skip, up):
    _, _, height, width = up.shape
    return torch.cat((skip[:, :, :height, :width], up), 1)


def concat_the_other_way(skip, up):
    dy, dx = (skip.shape[2] - up.shape[2]) // 2, (skip.shape[3] - up.shape[3]) // 2
    return torch.cat((up, skip[:, :, dy:, dx:][:, :, : up.shape[2], : up.shape[3]]), 1)


def resize_the_skip(skip, up):
    return torch.cat([F.interpolate(skip, size=up.shape[-2:], mode="bilinear"), up], dim=1)


def add_the_maps(skip, up):
    dy, dx = (skip.shape[2] - up.shape[2]) // 2, (skip.shape[3] - up.shape[3]) // 2
    return skip[:, :, dy : dy + up.shape[2], dx : dx + up.shape[3]] + up


def block_of(make):
    """A module whose forward is `make`'s layers in a row, as a class: learners write classes."""

    class Block(nn.Module):
        def __init__(self, in_channels, out_channels):
            super().__init__()
            self.layers = nn.ModuleList(make(in_channels, out_channels))

        def forward(self, x):
            for layer in self.layers:
                x = layer(x)
            return x

    return Block


def conv(source, out, **options):
    return nn.Conv2d(source, out, kernel_size=3, **{"padding": 1, "bias": False} | options)


def norm(width):
    return nn.BatchNorm2d(width)


relu = nn.ReLU

MISTAKES = [
    ("conv_size", conv_padding_once, "both sides"),
    ("conv_size", conv_rounded_up, "round down"),
    ("conv_size", conv_not_rounded, "whole number"),
    ("conv_size", conv_without_the_first, "first place counts"),
    ("conv_size", conv_without_stride, "stride is missing"),
    ("decoder_channels", channels_without_skip, "skip is forgotten"),
    ("decoder_channels", channels_of_the_skip, "only the skip"),
    ("decoder_channels", channels_twice, "twice the row's own"),
    ("decoder_channels", channels_from_above, "coarser"),
    ("receptive_field", field_multiplied, "multiplied by the pooling factor: "),
    ("receptive_field", field_multiplied_in_place, "multiplied by the pooling factor in place"),
    ("receptive_field", field_without_pooling, "a pooling is a layer"),
    ("receptive_field", field_without_strides, "strides are ignored"),
    ("receptive_field", field_stride_too_early, "not its own"),
    ("receptive_field", field_from_zero, "start from 1"),
    ("stamps", stamps_cut, "output is cut"),
    ("stamps", stamps_of_a_convolution, "windows of a convolution"),
    ("stamps", stamps_without_stride, "stride is missing"),
    ("pad_to_multiple", pad_too_much, "fits already"),
    ("pad_to_multiple", pad_on_the_wrong_side, "on the left and at the top"),
    ("pad_to_multiple", pad_swapped, "swapped"),
    ("pad_to_multiple", pad_twice_the_depth, "2^depth, not of 2 * depth"),
    ("pad_to_multiple", pad_with_zeros, "margin is zero"),
    ("crop_and_concat", crop_the_corner, "corner"),
    ("crop_and_concat", concat_the_other_way, "skip comes first"),
    ("crop_and_concat", resize_the_skip, "resized"),
    ("crop_and_concat", add_the_maps, "added"),
    (
        "conv_block",
        block_of(lambda a, b: [conv(a, b, padding=0), norm(b), relu(), conv(b, b, padding=0),
                               norm(b), relu()]),
        "without padding",
    ),
    (
        "conv_block",
        block_of(lambda a, b: [conv(a, b), norm(b), relu(), conv(b, b), relu(), norm(b)]),
        "before the last normalisation",
    ),
    (
        "conv_block",
        block_of(lambda a, b: [conv(a, b), relu(), norm(b), conv(b, b), relu(), norm(b)]),
        "ReLU comes before the normalisation",
    ),
    (
        "conv_block",
        block_of(lambda a, b: [conv(a, b), norm(b), relu(), conv(b, b), norm(b)]),
        "last ReLU is missing",
    ),
    (
        "conv_block",
        block_of(lambda a, b: [conv(a, b), relu(), conv(b, b), relu()]),
        "normalisation is missing",
    ),
    ("conv_block", block_of(lambda a, b: [conv(a, b), norm(b), relu()]), "there is one"),
    (
        "conv_block",
        block_of(lambda a, b: [conv(a, a), norm(a), relu(), conv(a, b), norm(b), relu()]),
        "first convolution changes",
    ),
]  # fmt: skip


def stamps_as_a_tensor(size, kernel, stride):
    ones, stamp = torch.ones(1, 1, size), torch.ones(1, 1, kernel)
    return F.conv_transpose1d(ones, stamp, stride=stride).flatten()


RIGHT = {
    "stamps": [stamps_as_a_tensor, lambda *case: stamps_as_a_tensor(*case).int().tolist()],
}
