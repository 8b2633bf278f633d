"""Exercises of the chapter on U-Net."""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .answer import Answer, check


def check_conv_size(submission: Callable[[int, int, int, int], int]) -> Answer:
    """Check a function (size, kernel, stride, padding) that gives a convolution's output size.

    >>> check_conv_size(lambda size, kernel, stride, padding: (
    ...     (size + padding - kernel) // stride + 1))
    not yet: padding is added on both sides, so it counts twice
    """

    def solution(size, kernel, stride, padding):
        return (size + 2 * padding - kernel) // stride + 1

    cases = [
        (10, 3, 1, 0), (10, 3, 1, 1), (7, 3, 2, 0), (8, 3, 2, 0), (8, 3, 2, 1), (28, 5, 1, 2),
        (5, 5, 1, 0), (32, 2, 2, 0), (13, 4, 3, 2), (227, 11, 4, 0), (20, 4, 3, 0), (9, 1, 2, 0),
    ]  # fmt: skip
    return check(
        submission,
        solution,
        cases,
        {
            "padding is added on both sides, so it counts twice": (
                lambda size, kernel, stride, padding: (size + padding - kernel) // stride + 1
            ),
            "a last window that does not fit is left out: round down, not up": (
                lambda size, kernel, stride, padding: (
                    math.ceil((size + 2 * padding - kernel) / stride) + 1
                )
            ),
            "a size is a whole number: use // instead of /": (
                lambda size, kernel, stride, padding: (size + 2 * padding - kernel) / stride + 1
            ),
            "the window's first place counts too: a kernel as large as the image fits once": (
                lambda size, kernel, stride, padding: (size + 2 * padding - kernel) // stride
            ),
            "the stride is missing: a window that moves by 2 has half as many places": (
                lambda size, kernel, stride, padding: size + 2 * padding - kernel + 1
            ),
        },
    )


def check_decoder_channels(submission: Callable[[Sequence[int], int], int]) -> Answer:
    """Check a function (channels, row) that gives the channels that enter the decoder's block.

    `channels` has one entry a row, full resolution first; the map from below is interpolated, and
    so keeps its channels.

    >>> check_decoder_channels(lambda channels, row: channels[row + 1])
    not yet: the skip is forgotten: the block gets the encoder's map of its own row too
    """
    cases = [
        (channels, row)
        for channels in [(16, 32, 64, 128, 256), (8, 16, 32), (5, 7, 4, 30)]
        for row in range(len(channels) - 1)
    ]
    return check(
        submission,
        lambda channels, row: channels[row] + channels[row + 1],
        cases,
        {
            "the skip is forgotten: the block gets the encoder's map of its own row too": (
                lambda channels, row: channels[row + 1]
            ),
            "only the skip is counted: the map from below stands beside it": (
                lambda channels, row: channels[row]
            ),
            "twice the row's own channels is for an up-convolution that changes their number; "
            "interpolation keeps those of the row below": lambda channels, row: 2 * channels[row],
            "the map comes from below: row + 1 is the coarser one": (
                lambda channels, row: channels[row] + channels[row - 1]
            ),
        },
    )


def check_receptive_field(submission: Callable[[Sequence[tuple[int, int]]], int]) -> Answer:
    """Check a function that takes a stack of layers (kernel, stride) and gives how far it sees.

    A 3x3 convolution is (3, 1), a 2x2 pooling (2, 2).

    >>> check_receptive_field(lambda layers: 1 + sum(kernel - 1 for kernel, stride in layers))
    not yet: the strides are ignored: after a pooling one step is two pixels of the image
    """

    def field(layers, *, late=True, own=True, times=lambda stride: 1):
        """How far the layers see, or with a mistake in one of the three places."""
        seen, step = 1, 1
        for kernel, stride in layers:
            if not late:
                step *= stride
            if own or stride == 1:
                seen += (kernel - 1) * step
            if late:
                step *= stride
            seen *= times(stride)
        return seen

    conv, pool = (3, 1), (2, 2)
    cases = [
        ([conv],), ([conv] * 3,), ([(5, 1), conv],), ([pool],), ([pool, pool],), ([pool, conv],),
        ([conv, conv, pool, conv, conv],), ([conv, conv, pool] * 2 + [conv, conv],),
        ([conv, conv, pool] * 4 + [conv, conv],), ([(7, 2), (3, 2), conv],), ([(4, 4), conv],),
        ([(1, 1), (3, 2), (1, 1), conv],),
    ]  # fmt: skip
    return check(
        submission,
        field,
        cases,
        {
            "the field is multiplied by the pooling factor: the larger step of later layers "
            "counts it already": lambda layers: field(layers, times=lambda stride: stride),
            "the field is multiplied by the pooling factor in place of adding the pooling's own "
            "kernel": lambda layers: field(layers, own=False, times=lambda stride: stride),
            "a pooling is a layer with a kernel too: it adds (kernel - 1) steps": (
                lambda layers: field(layers, own=False)
            ),
            "the strides are ignored: after a pooling one step is two pixels of the image": (
                lambda layers: 1 + sum(kernel - 1 for kernel, _ in layers)
            ),
            "a layer's stride widens the steps of the layers after it, not its own": (
                lambda layers: field(layers, late=False)
            ),
            "start from 1: without any layer a pixel sees itself": lambda layers: field(layers) - 1,
        },
    )


def check_stamps(submission: Callable[[int, int, int], Sequence[int]]) -> Answer:
    """Check a function (size, kernel, stride) that counts the stamps on each output pixel.

    For one row of `size` pixels, without padding: a list, as long as the transposed convolution's
    output.

    >>> check_stamps(lambda size, kernel, stride: [
    ...     sum(0 <= x - k < kernel for k in range(size)) for x in range(size + kernel - 1)])
    not yet: the stride is missing: the next stamp starts stride pixels further on
    """

    def solution(size, kernel, stride):
        counts = torch.zeros((size - 1) * stride + kernel, dtype=torch.int64)
        for k in range(size):
            counts[k * stride : k * stride + kernel] += 1
        return counts

    def of_a_convolution(size, kernel, stride):
        counts = torch.zeros(size, dtype=torch.int64)
        for first in range(0, size - kernel + 1, stride):
            counts[first : first + kernel] += 1
        return counts

    cases = [
        (3, 3, 2), (4, 2, 2), (4, 4, 2), (5, 3, 1), (3, 5, 2), (2, 3, 3), (4, 4, 3), (6, 1, 1),
        (1, 3, 2), (3, 2, 3),
    ]  # fmt: skip
    return check(
        submission,
        solution,
        cases,
        {
            "the output is cut: the last stamp reaches past size * stride when the kernel is "
            "larger than the stride": (
                lambda size, kernel, stride: solution(size, kernel, stride)[: size * stride]
            ),
            "these are the windows of a convolution on its input: a transposed one writes, and "
            "its output is the larger side": of_a_convolution,
            "the stride is missing: the next stamp starts stride pixels further on": (
                lambda size, kernel, stride: solution(size, kernel, 1)
            ),
        },
    )


def check_pad_to_multiple(submission: Callable[[Tensor, int], Tensor]) -> Answer:
    """Check a function (images, depth) that pads images (N, C, H, W) to multiples of 2^depth.

    The edge is repeated, on the right and at the bottom.

    >>> check_pad_to_multiple(lambda images, depth: F.pad(
    ...     images, (0, -images.shape[3] % 2**depth, 0, -images.shape[2] % 2**depth)))
    not yet: the margin is zero: repeat the edge, or it looks like an object's end
    """

    def padded(missing, order=(0, 1, 2, 3), mode="replicate"):
        """Pad what `missing(side, depth)` says; `order` of left, right, top and bottom."""

        def pad(images, depth):
            height, width = images.shape[2:]
            margin = (0, missing(width, depth), 0, missing(height, depth))
            return F.pad(images, [margin[k] for k in order], mode=mode)

        return pad

    def rest(side, depth):
        return -side % 2**depth

    generator = torch.Generator().manual_seed(0)
    shapes = [
        ((1, 1, 5, 7), 1), ((1, 1, 8, 8), 3), ((2, 3, 9, 16), 3), ((1, 2, 16, 9), 2),
        ((1, 1, 1, 3), 2), ((2, 1, 20, 12), 2), ((1, 1, 32, 16), 4), ((1, 1, 17, 31), 4),
    ]  # fmt: skip
    return check(
        submission,
        padded(rest),
        [(torch.rand(shape, generator=generator), depth) for shape, depth in shapes],
        {
            "a side that fits already is padded by a whole 2^depth: take the remainder once more": (
                padded(lambda side, depth: 2**depth - side % 2**depth)
            ),
            "the margin is on the left and at the top: F.pad takes (left, right, top, bottom)": (
                padded(rest, (1, 0, 3, 2))
            ),
            "height and width are swapped: F.pad starts from the last dimension": (
                padded(rest, (2, 3, 0, 1))
            ),
            "each pooling halves: the sides have to be multiples of 2^depth, not of 2 * depth": (
                padded(lambda side, depth: -side % (2 * depth))
            ),
            "the margin is zero: repeat the edge, or it looks like an object's end": (
                padded(rest, mode="constant")
            ),
        },
    )


def check_crop_and_concat(submission: Callable[[Tensor, Tensor], Tensor]) -> Answer:
    """Check a function (skip, up) that cuts `skip` to the size of `up` and puts it before it.

    Both are (N, C, H, W), `skip` the larger one; the margin is cut evenly, the odd pixel at the
    right and at the bottom.

    >>> check_crop_and_concat(lambda skip, up: torch.cat(
    ...     [skip[..., :up.shape[2], :up.shape[3]], up], dim=1))
    not yet: this cuts out the corner: valid convolutions shrink all sides: take the centre
    """

    def cropped(skip, up):
        height, width = up.shape[2:]
        top, left = (skip.shape[2] - height) // 2, (skip.shape[3] - width) // 2
        return skip[:, :, top : top + height, left : left + width]

    def solution(skip, up):
        return torch.cat([cropped(skip, up), up], dim=1)

    def resized(skip, up):
        return F.interpolate(skip, up.shape[2:], mode="bilinear", align_corners=False)

    generator = torch.Generator().manual_seed(0)
    shapes = [
        ((1, 2, 8, 8), (1, 3, 4, 4)), ((1, 1, 9, 9), (1, 1, 5, 3)), ((2, 4, 6, 10), (2, 2, 4, 4)),
        ((1, 1, 5, 5), (1, 1, 5, 5)), ((1, 2, 7, 6), (1, 1, 4, 3)), ((1, 1, 12, 4), (1, 2, 2, 2)),
    ]  # fmt: skip
    return check(
        submission,
        solution,
        [tuple(torch.rand(shape, generator=generator) for shape in pair) for pair in shapes],
        {
            "this cuts out the corner: valid convolutions shrink all sides: take the centre": (
                lambda skip, up: torch.cat([skip[..., : up.shape[2], : up.shape[3]], up], dim=1)
            ),
            "the skip comes first, then the map from below: the weights are in that order": (
                lambda skip, up: torch.cat([up, cropped(skip, up)], dim=1)
            ),
            "the skip is resized: that shrinks the picture, and its pixels lie no longer over "
            "those of the other map": lambda skip, up: torch.cat([resized(skip, up), up], dim=1),
            "the maps are added: put them side by side, along the channels": (
                lambda skip, up: cropped(skip, up) + up
            ),
        },
    )


def check_conv_block(submission: Callable[[int, int], nn.Module]) -> Answer:
    """Check a module, made from (in_channels, out_channels), of two 3x3 convolutions.

    Each is followed by `nn.BatchNorm2d` and a ReLU; the size stays. Its convolutions and
    normalisations get weights in the order in which they are registered, and it maps images
    (N, in_channels, H, W) to (N, out_channels, H, W).

    >>> check_conv_block(lambda source, out: nn.Sequential(
    ...     nn.Conv2d(source, out, 3), nn.BatchNorm2d(out), nn.ReLU(),
    ...     nn.Conv2d(out, out, 3), nn.BatchNorm2d(out), nn.ReLU()))
    not yet: without padding each convolution takes 2 pixels off: the size has to stay
    """

    def block(order="cnrcnr", padding=1, middle=None):
        """A block of convolutions (c), normalisations (n) and ReLUs (r) in this order."""

        def build(in_channels, out_channels):
            layers, width = [], in_channels
            for kind in order:
                if kind == "c":
                    given = middle(in_channels, out_channels) if middle and not layers else None
                    layers.append(nn.Conv2d(width, given or out_channels, 3, padding=padding))
                    width = given or out_channels
                else:
                    layers.append(nn.BatchNorm2d(width) if kind == "n" else nn.ReLU())
            return nn.Sequential(*layers)

        return build

    def run(build):
        def run_block(in_channels, out_channels, images):
            module = build(in_channels, out_channels)
            if not isinstance(module, nn.Module):
                return module
            generator = torch.Generator().manual_seed(0)
            for part in module.modules():
                if isinstance(part, nn.Conv2d | nn.BatchNorm2d):
                    part.weight.data = torch.randn(part.weight.shape, generator=generator)
                    if part.bias is not None:  # idle before a normalisation
                        part.bias.data.zero_()
            return module(images)

        run_block.__name__ = getattr(build, "__name__", "your block")
        return run_block

    generator = torch.Generator().manual_seed(1)
    shapes = [(1, 4, 8, 8), (3, 2, 9, 7), (2, 2, 8, 8), (4, 6, 16, 6), (5, 3, 7, 7), (1, 1, 12, 8)]
    return check(
        run(submission) if callable(submission) else submission,
        run(block()),
        [(c, out, torch.rand((2, c, h, w), generator=generator)) for c, out, h, w in shapes],
        {
            "without padding each convolution takes 2 pixels off: the size has to stay": (
                run(block(padding=0))
            ),
            "the last ReLU comes before the last normalisation: normalise first, then cut": (
                run(block("cnrcrn"))
            ),
            "ReLU comes before the normalisation: normalise first, then cut": (
                run(block("crncrn"))
            ),
            "the last ReLU is missing: each of the two convolutions has one": run(block("cnrcn")),
            "the normalisation is missing after each convolution": run(block("crcr")),
            "there is one convolution: a block has two": run(block("cnr")),
            "the first convolution changes the number of channels, the second keeps it": (
                run(block(middle=lambda in_channels, out_channels: in_channels))
            ),
        },
        tolerance=1e-4,
    )
