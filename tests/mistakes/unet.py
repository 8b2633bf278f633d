"""Exercises of the chapter on U-Net: other ways to get them right, and wrong."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


def conv_size(size, kernel, stride, padding):
    return len(range(-padding, size + padding - kernel + 1, stride))


def stack_field(layers):
    field = 1  # backwards, from one output pixel
    for kernel, stride in reversed(layers):
        field = (field - 1) * stride + kernel
    return field


def stamps(size, kernel, stride):
    ones, stamp = torch.ones(1, 1, size), torch.ones(1, 1, kernel)
    return F.conv_transpose1d(ones, stamp, stride=stride).flatten()


def pad_to_multiple(images, depth):
    step = 2**depth
    height, width = (math.ceil(side / step) * step for side in images.shape[2:])
    rows, columns = (torch.arange(side) for side in (height, width))
    rows, columns = rows.clamp(max=images.shape[2] - 1), columns.clamp(max=images.shape[3] - 1)
    return images[:, :, rows][..., columns]


def pad_with_zeros(images, depth):
    padded = torch.zeros_like(pad_to_multiple(images, depth))
    padded[..., : images.shape[2], : images.shape[3]] = images
    return padded


def crop_and_concat(skip, up, rounded=math.floor):
    dy, dx = (rounded((skip.shape[k] - up.shape[k]) / 2) for k in (2, 3))
    return torch.cat((skip[:, :, dy:, dx:][:, :, : up.shape[2], : up.shape[3]], up), 1)


class Block(nn.Module):
    """Registered in another order than it is computed, and with functions for ReLU."""

    def __init__(self, in_channels, out_channels, norms=2):
        super().__init__()
        self.first = nn.Conv2d(in_channels, out_channels, 3, padding="same", bias=False)
        self.second = nn.Conv2d(out_channels, out_channels, 3, padding="same")
        self.norms = nn.ModuleList(nn.BatchNorm2d(out_channels) for _ in range(norms))

    def forward(self, images):
        images = F.relu(self.norms[0](self.first(images)))
        return self.norms[-1](self.second(images)).clamp(min=0)


RIGHT = {
    "conv_size": [conv_size],
    "decoder_channels": [lambda channels, row: sum(channels[row : row + 2])],
    "receptive_field": [stack_field],
    "stamps": [stamps, lambda *case: stamps(*case).int().tolist()],
    "pad_to_multiple": [pad_to_multiple],
    "crop_and_concat": [crop_and_concat],
    "conv_block": [Block],
}

WRONG = [
    ("conv_size", lambda n, k, s, p: len(range(0, n - k + 1, s)), "padding is missing"),
    ("conv_size", lambda n, k, s, p: round((n + 2 * p - k) / s) + 1, "(8, 3, 2, 1) gave 5"),
    ("receptive_field", lambda layers: stack_field(layers[::-1]), "expected"),
    ("receptive_field", lambda layers: math.prod(stride for _, stride in layers), "expected 3"),
    ("stamps", lambda n, k, s: np.convolve(np.ones(n), np.ones(k)), "the stride is missing"),
    ("pad_to_multiple", pad_with_zeros, "the margin is zero"),
    ("pad_to_multiple", lambda x, d: pad_to_multiple(x, d).mT.contiguous(), "expected"),
    ("crop_and_concat", lambda *case: crop_and_concat(*case, rounded=math.ceil), "an odd pixel"),
    ("crop_and_concat", lambda skip, up: torch.cat([skip, F.interpolate(up, skip.shape[2:])], 1),
     "gave torch.float32 (1, 5, 8, 8), expected torch.float32 (1, 5, 4, 4)"),
    ("conv_block", lambda a, b: Block(a, b, norms=1), "expected"),
    ("conv_block", lambda a, b: nn.Sequential(nn.Conv2d(a, b, 3), Block(b, b)), "expected"),
]  # fmt: skip
