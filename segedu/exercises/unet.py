"""Exercises of the chapter on U-Net."""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from .answer import Answer, check
from .networks import uses_only_its_own


def check_conv_size(submission: Callable[[int, int, int, int], int]) -> Answer:
    """Check a function (size, kernel, stride, padding) that returns a convolution's output size.

    >>> check_conv_size(lambda size, kernel, stride, padding: (
    ...     (size + padding - kernel) // stride + 1))
    not yet: padding is added on both sides, so it counts twice
    """

    def solution(n, k, s, p):
        return (n + 2 * p - k) // s + 1

    cases = [
        (10, 3, 1, 0), (10, 3, 1, 1), (7, 3, 2, 0), (8, 3, 2, 0), (8, 3, 2, 1), (28, 5, 1, 2),
        (5, 5, 1, 0), (32, 2, 2, 0), (13, 4, 3, 2), (227, 11, 4, 0), (20, 4, 3, 0), (9, 1, 2, 0),
        (12, 3, 4, 1),
    ]  # fmt: skip
    misconceptions = {
        "padding is added on both sides, so it counts twice": (
            lambda n, k, s, p: (n + p - k) // s + 1
        ),
        "padding is missing: it adds pixels on both sides": lambda n, k, s, p: solution(n, k, s, 0),
        "a last window that does not fit is left out: round down, not up": (
            lambda n, k, s, p: math.ceil((n + 2 * p - k) / s) + 1
        ),
        "a size is a whole number: use // instead of /": lambda n, k, s, p: (n + 2 * p - k) / s + 1,
        "the first place of the window counts too: a kernel as large as the image fits once": (
            lambda *case: solution(*case) - 1
        ),
        "the stride is missing: a window that moves by 2 has half as many places": (
            lambda n, k, s, p: solution(n, k, 1, p)
        ),
        "that is the size after a transposed convolution, which makes the map larger": (
            lambda n, k, s, p: (n - 1) * s + k - 2 * p
        ),
        "a last window that does not fit is left out: always down, also from above one half": (
            lambda n, k, s, p: round((n + 2 * p - k) / s) + 1
        ),
        "divide first, then add 1: the first place counts in full, whatever the stride": (
            lambda n, k, s, p: (n + 2 * p - k + 1) // s
        ),
    }
    return check(submission, solution, cases, misconceptions)


def check_decoder_channels(submission: Callable[[Sequence[int], int], int]) -> Answer:
    """Check a function (channels, row) that returns how many channels enter the decoder's block.

    `channels` has one entry per row, full resolution first; the map from below is interpolated,
    which keeps its channels.

    >>> check_decoder_channels(lambda channels, row: channels[row + 1])
    not yet: the skip is missing: the block also gets the encoder's map of its own row
    """

    def solution(channels, row):
        return channels[row] + channels[row + 1]

    widths = [(16, 32, 64, 128, 256), (8, 16, 32), (5, 7, 4, 30)]
    cases = [(channels, row) for channels in widths for row in range(len(channels) - 1)]
    misconceptions = {
        "the skip is missing: the block also gets the encoder's map of its own row": (
            lambda channels, row: channels[row + 1]
        ),
        "only the skip is counted, but the map from below is concatenated with it": (
            lambda channels, row: channels[row]
        ),
        "twice the row's own channels is right for an up-convolution that changes their number, "
        "but interpolation keeps those of the row below": lambda channels, row: 2 * channels[row],
        "the other map comes from the row below, row + 1, not from the row above": (
            lambda channels, row: channels[row] + channels[row - 1]
        ),
        "only one of the two maps comes from the row below; the skip has the channels of its own "
        "row": lambda channels, row: 2 * channels[row + 1],
        "three times the row's own channels is right only where each row has twice the channels "
        "of the row above: take both numbers from the list": lambda channels, row: (
            3 * channels[row]
        ),
        "the two numbers are multiplied: behind each other, channels add up": (
            lambda channels, row: channels[row] * channels[row + 1]
        ),
        "all rows below are counted: only the row directly below, row + 1, is upsampled to this "
        "one": lambda channels, row: sum(channels[row:]),
        "that is one number for each of the two maps: add them": (
            lambda channels, row: channels[row : row + 2]
        ),
        "the rows are counted from the bottom: row 0 is full resolution, channels[0]": (
            lambda channels, row: channels[-1 - row] + channels[-2 - row]
        ),
    }
    return check(submission, solution, cases, misconceptions)


def check_receptive_field(submission: Callable[[Sequence[tuple[int, int]]], int]) -> Answer:
    """Check a function of a stack of layers (kernel, stride) that returns its receptive field.

    A 3x3 convolution is (3, 1), a 2x2 pooling (2, 2).

    >>> check_receptive_field(lambda layers: 1 + sum(kernel - 1 for kernel, stride in layers))
    not yet: the strides are ignored: after a pooling, one step is two pixels of the image
    """

    def field(
        layers, *, early=False, grow=lambda kernel, stride: kernel - 1, times=lambda stride: 1
    ):
        """The receptive field, or one with a mistake in one of three places."""
        seen, step = 1, 1
        for kernel, stride in layers:
            before, step = step, step * stride
            seen += grow(kernel, stride) * (step if early else before)
            seen *= times(stride)
        return seen

    def growing(grow, **options):
        """A layer adds grow(kernel, stride) steps."""
        return lambda layers: field(layers, grow=grow, **options)

    def forward(layers):
        seen = 1
        for kernel, stride in layers:
            seen = seen * stride + kernel - 1
        return seen

    def without_step(layers):
        seen = 1
        for kernel, stride in layers:
            seen = seen * stride if stride > 1 else seen + kernel - 1
        return seen

    def stepping(grow, own=False):
        """The step after a layer is grow(step, stride); with `own`, a layer adds by its stride."""

        def mistaken(layers):
            seen, step = 1, 1
            for kernel, stride in layers:
                seen += (kernel - 1) * (stride if own else step)
                step = grow(step, stride)
            return seen

        return mistaken

    def step(layers):
        return math.prod(stride for _, stride in layers)

    conv, pool = (3, 1), (2, 2)
    stacks = [
        [conv], [conv] * 3, [(5, 1), conv], [pool], [pool, pool], [pool, conv],
        [conv, conv, pool, conv, conv], [conv, conv, pool] * 2 + [conv, conv],
        [conv, conv, pool] * 4 + [conv, conv], [(7, 2), (3, 2), conv], [(4, 4), conv],
        [(1, 1), (3, 2), (1, 1), conv],
    ]  # fmt: skip
    misconceptions = {
        "the field is multiplied by the stride, but the larger step of the later layers already "
        "accounts for it": lambda layers: field(layers, times=lambda stride: stride),
        "the field is multiplied by the stride of a pooling, instead of adding the pooling's own "
        "kernel": growing(
            lambda kernel, stride: kernel - 1 if stride == 1 else 0, times=lambda stride: stride
        ),
        "a pooling is a layer with a kernel too: it adds (kernel - 1) steps": growing(
            lambda kernel, stride: 0 if kernel == 2 else kernel - 1
        ),
        "a layer adds (kernel - 1) steps, not kernel: one of its pixels is seen already": growing(
            lambda kernel, stride: kernel
        ),
        "every layer counts as a 3x3 convolution or a 2x2 pooling: use the kernel of each": growing(
            lambda kernel, stride: 2 if stride == 1 else 1
        ),
        "r * t + k - 1 does not go forward through the layers: the stride multiplies the step, not "
        "the field": forward,
        "a pooling multiplies the field, and the layers after it add single pixels: let the stride "
        "multiply the step, and add (kernel - 1) steps": without_step,
        "only the first layer counts: return after the loop, not in it": (
            lambda layers: field(layers[:1])
        ),
        "the strides are ignored: after a pooling, one step is two pixels of the image": (
            lambda layers: 1 + sum(kernel - 1 for kernel, _ in layers)
        ),
        "the stride of a layer widens the steps of the layers after it, not its own": (
            lambda layers: field(layers, early=True)
        ),
        "start from 1: without any layer, a pixel sees itself": lambda layers: field(layers) - 1,
        "the step is replaced by the stride of each layer (s = t): multiply the step by the "
        "stride, because it stays long": stepping(lambda step, stride: stride),
        "the stride is added to the step (s += t): multiply": (
            stepping(lambda step, stride: step + stride)
        ),
        "the step grows by t - 1, but each stride multiplies it: s *= t": (
            stepping(lambda step, stride: step + stride - 1)
        ),
        "the step is doubled for every stride above 1: multiply it by the stride": (
            stepping(lambda step, stride: step * min(stride, 2))
        ),
        "k // 2 steps are added, what a kernel sees on one side: both sides count, k - 1": growing(
            lambda kernel, stride: kernel // 2
        ),
        "each layer adds (k - 1) times its own stride: it has to be the step s, the product of the "
        "strides before it": stepping(lambda step, stride: step, own=True),
        "this is the step after the last layer: return the field": step,
        "these are the field and the step: return the field alone": (
            lambda layers: (field(layers), step(layers))
        ),
        "a layer is (kernel, stride), in this order; here they are swapped": (
            lambda layers: field([layer[::-1] for layer in layers])
        ),
    }
    return check(submission, field, [(layers,) for layers in stacks], misconceptions)


def check_stamps(submission: Callable[[int, int, int], Sequence[int]]) -> Answer:
    """Check a function (size, kernel, stride) that counts the stamps on each output pixel.

    For one row of `size` pixels, without padding: a list, as long as the output of the transposed
    convolution.

    >>> check_stamps(lambda size, kernel, stride: [
    ...     sum(0 <= x - k < kernel for k in range(size)) for x in range(size + kernel - 1)])
    not yet: the stride is missing: each stamp starts `stride` pixels after the one before
    """

    def stamps(size, kernel, stride):
        counts = torch.zeros((size - 1) * stride + kernel, dtype=torch.int64)
        for i in range(size):
            counts[i * stride : i * stride + kernel] += 1
        return counts

    def windows(size, kernel, stride):
        counts = torch.zeros(size, dtype=torch.int64)
        for first in range(0, size - kernel + 1, stride):
            counts[first : first + kernel] += 1
        return counts

    cases = [
        (3, 3, 2), (4, 2, 2), (4, 4, 2), (5, 3, 1), (3, 5, 2), (2, 3, 3), (4, 4, 3), (6, 1, 1),
        (1, 3, 2), (3, 2, 3),
    ]  # fmt: skip
    misconceptions = {
        "the output is cut off: if the kernel is larger than the stride, the last stamp reaches "
        "beyond size * stride": lambda n, k, s: stamps(n, k, s)[: n * s],
        "these are the windows that a convolution reads from its input, but a transposed one "
        "writes to its output, which is the larger side": windows,
        "the stride is missing: each stamp starts `stride` pixels after the one before": (
            lambda size, kernel, stride: stamps(size, kernel, 1)
        ),
        "the list is long enough, but the stamps begin one pixel apart: stamp i begins at "
        "i * stride": lambda n, k, s: F.pad(stamps(n, k, 1), (0, (n - 1) * (s - 1))),
        "the stamps lie side by side: stamp i begins at i * stride, not at i * kernel": (
            lambda n, k, s: F.pad(stamps(n, k, k), (0, (n - 1) * (s - k)))
        ),
        "where stamps overlap they add up: counts[pixel] += 1 instead of = 1": (
            lambda *case: stamps(*case).clamp(max=1)
        ),
        "the last pixel of each stamp is missing: range and slices leave their end out, so it is "
        "i * stride + kernel": lambda n, k, s: F.pad(stamps(n, k - 1, s), (0, 1)),
    }
    return check(submission, stamps, cases, misconceptions)


def check_pad_to_multiple(submission: Callable[[Tensor, int], Tensor]) -> Answer:
    """Check a function (images, depth) that pads images (N, C, H, W) to multiples of 2^depth.

    The edge is repeated, on the right and at the bottom.

    >>> check_pad_to_multiple(lambda images, depth: F.pad(
    ...     images, (0, -images.shape[3] % 2**depth, 0, -images.shape[2] % 2**depth)))
    not yet: the margin is zero, which looks like the end of an object: repeat the edge
    """

    def missing(side, depth):
        return -side % 2**depth

    def pad(missing=missing, order=(0, 1, 2, 3), mode="replicate"):
        """A function that pads by missing(side, depth); `order` of left, right, top, bottom."""

        def padded(images, depth):
            height, width = images.shape[2:]
            margin = (0, missing(width, depth), 0, missing(height, depth))
            return F.pad(images, [margin[k] for k in order], mode=mode)

        return padded

    def centred(images, depth):
        rows, columns = (missing(side, depth) for side in images.shape[2:])
        margin = columns // 2, columns - columns // 2, rows // 2, rows - rows // 2
        return F.pad(images, margin, mode="replicate")

    def squared(images, depth):
        height, width = images.shape[2:]
        side = max(height, width)
        side += missing(side, depth)
        return F.pad(images, (0, side - width, 0, side - height), mode="replicate")

    def width_only(images, depth):
        return F.pad(images, (0, missing(images.shape[3], depth)), mode="replicate")

    def cropped(images, depth):
        height, width = (side - side % 2**depth for side in images.shape[2:])
        return images[..., :height, :width]

    def stretched(**mode):
        def resized(images, depth):
            size = [side + missing(side, depth) for side in images.shape[2:]]
            return F.interpolate(images, size=size, **mode)

        return resized

    generator = torch.Generator().manual_seed(0)
    shapes = [
        ((1, 1, 5, 7), 1), ((1, 1, 8, 8), 3), ((2, 3, 9, 16), 3), ((1, 2, 16, 9), 2),
        ((1, 1, 1, 3), 2), ((2, 1, 20, 12), 2), ((1, 1, 32, 16), 4), ((1, 1, 17, 31), 4),
    ]  # fmt: skip
    cases = [(torch.rand(shape, generator=generator), depth) for shape, depth in shapes]
    misconceptions = {
        "a side that fits already is padded by a whole 2^depth: take the remainder once more": pad(
            lambda side, depth: 2**depth - side % 2**depth
        ),
        "the margin is on the left and at the top: F.pad takes (left, right, top, bottom)": pad(
            order=(1, 0, 3, 2)
        ),
        "height and width are swapped: F.pad starts with the last dimension": pad(
            order=(2, 3, 0, 1)
        ),
        "F.pad takes (left, right, top, bottom): both margins of the columns come first": pad(
            order=(0, 2, 1, 3)
        ),
        "the columns are padded, the rows are not: both sides have to fit": pad(order=(0, 1, 0, 0)),
        "the rows are padded, the columns are not: both sides have to fit": pad(order=(0, 0, 0, 3)),
        "the margin is added at both ends: pad on the right and at the bottom only": pad(
            order=(1, 1, 3, 3)
        ),
        "the sides become powers of 2, but multiples of 2^depth are enough": pad(
            lambda side, depth: 2 ** math.ceil(math.log2(side)) - side
        ),
        "each pooling halves the sides, so they must be multiples of 2^depth, not of 2 * depth": (
            pad(lambda side, depth: -side % (2 * depth))
        ),
        "the sides have to be multiples of 2^depth, not of depth: each pooling halves them": pad(
            lambda side, depth: -side % depth
        ),
        "in Python ^ is no power but exclusive or: write 2**depth": pad(
            lambda side, depth: -side % (2 ^ depth)
        ),
        "the sides have to be multiples of 2^depth, not only even: each pooling halves them": pad(
            lambda side, depth: -side % 2
        ),
        "the sides are multiples of 16 whatever the depth: take 2^depth": pad(
            lambda side, depth: -side % 16
        ),
        "that is one pooling too few: the sides have to be multiples of 2^depth": pad(
            lambda side, depth: -side % 2 ** (depth - 1)
        ),
        "that is one pooling too many: the sides have to be multiples of 2^depth": pad(
            lambda side, depth: -side % 2 ** (depth + 1)
        ),
        "both sides are padded to the same size: each has a margin of its own": squared,
        "with mode='replicate', F.pad wants four numbers for images (N, C, H, W): left, right, "
        "top, bottom": width_only,
        "the margin is zero, which looks like the end of an object: repeat the edge": pad(
            mode="constant"
        ),
        "the margin mirrors the image, which raises an error if the margin is as wide as the "
        "image: repeat the edge": pad(mode="reflect"),
        "side % step is what is left over; what is missing is -side % step": pad(
            lambda side, depth: side % 2**depth
        ),
        "the margin is spread over both sides: pad on the right and at the bottom only": centred,
        "the image is cut to fit, so its last rows and columns get no answer: pad it": cropped,
        "the image is stretched by bilinear interpolation, which moves its pixels: pad it": (
            stretched(mode="bilinear")
        ),
        "the image is stretched by F.interpolate, which repeats pixels in its midst: pad it": (
            stretched()
        ),
    }
    return check(submission, pad(), cases, misconceptions)


def check_crop_and_concat(submission: Callable[[Tensor, Tensor], Tensor]) -> Answer:
    """Check a function (skip, up) that crops `skip` to the size of `up` and concatenates them.

    Both are (N, C, H, W), `skip` the larger one and first in the result. The margin is cut off
    evenly; an odd pixel is cut off at the right and at the bottom. The result has a gradient.

    >>> check_crop_and_concat(lambda skip, up: torch.cat(
    ...     [skip[..., :up.shape[2], :up.shape[3]], up], dim=1))
    not yet: this keeps the corner, but valid convolutions shrink all sides: keep the centre
    """

    def offsets(skip, up, half=lambda difference: difference // 2):
        return [half(skip.shape[k] - up.shape[k]) for k in (2, 3)]

    def cropped(skip, up, *half):
        top, left = offsets(skip, up, *half)
        return skip[:, :, top : top + up.shape[2], left : left + up.shape[3]]

    def joined(*maps):
        return torch.cat(maps, dim=1)

    def solution(skip, up):
        return joined(cropped(skip, up), up)

    def one_offset(skip, up):
        d = (skip.shape[2] - up.shape[2]) // 2
        return joined(skip[:, :, d : d + up.shape[2], d : d + up.shape[3]], up)

    def both_ends(skip, up):
        top, left = offsets(skip, up)
        return joined(skip[:, :, top:-top, left:-left], up)

    def negative_ends(skip, up):
        (top, left), (bottom, right) = offsets(skip, up), offsets(skip, up, lambda d: d - d // 2)
        return joined(skip[:, :, top:-bottom, left:-right], up)

    def same_ends(skip, up):
        (height, width), (top, left) = skip.shape[2:], offsets(skip, up)
        return joined(skip[:, :, top : height - top, left : width - left], up)

    def resized(mode):
        return lambda skip, up: joined(F.interpolate(skip, up.shape[2:], mode=mode), up)

    generator = torch.Generator().manual_seed(0)
    shapes = [
        ((1, 2, 8, 8), (1, 3, 4, 4)), ((1, 1, 9, 9), (1, 2, 5, 3)), ((2, 4, 6, 10), (2, 2, 4, 4)),
        ((1, 1, 5, 5), (1, 1, 5, 5)), ((1, 2, 7, 6), (1, 2, 4, 3)), ((1, 1, 12, 4), (1, 5, 2, 2)),
        ((1, 1, 6, 5), (1, 1, 5, 4)),
    ]  # fmt: skip
    cases = [tuple(torch.rand(shape, generator=generator) for shape in pair) for pair in shapes]
    misconceptions = {
        "this keeps the corner, but valid convolutions shrink all sides: keep the centre": (
            lambda skip, up: joined(skip[..., : up.shape[2], : up.shape[3]], up)
        ),
        "an odd pixel has to be cut off at the right and at the bottom: round down": (
            lambda skip, up: joined(cropped(skip, up, lambda difference: -(-difference // 2)), up)
        ),
        "round() rounds 1.5 to 2, but an odd pixel has to be cut off at the right and at the "
        "bottom: use //": lambda skip, up: joined(cropped(skip, up, lambda d: round(d / 2)), up),
        "the skip comes first, then the map from below, because the weights are in that order": (
            lambda skip, up: joined(up, cropped(skip, up))
        ),
        "the skip is resized, so its pixels no longer lie on the same places as those of the "
        "other map: crop it": resized("bilinear"),
        "the skip is resized by F.interpolate, which leaves out pixels in its midst: crop it": (
            resized("nearest")
        ),
        "the maps are added: concatenate them along the channels": (
            lambda skip, up: cropped(skip, up) + up
        ),
        "one offset is used for rows and columns: they may differ by different amounts": one_offset,
        "the slice d:-d is empty at d = 0, and one pixel too long where the difference is odd: "
        "write d : d + size": both_ends,
        "rows and columns need a size each, and `shape[2:]` is the height, then the width": (
            lambda skip, up: joined(cropped(skip, up.mT), up)
        ),
        "the skip is not cropped to the size of `up`: cut rows and columns at both ends, "
        "skip[:, :, y : y + height, x : x + width]": joined,
        "where skip and up have one size, the slice ends at -0, so it is empty: write "
        "d : d + size": negative_ends,
        "as much is cut off at the end as at the beginning, which is too little where the "
        "difference is odd: write d : d + size": same_ends,
        "the skip is cropped, but the map from below is missing: concatenate both": cropped,
        "the maps are put behind each other along the batch: the channels are dim=1": (
            lambda skip, up: torch.cat([cropped(skip, up), up], dim=0)
        ),
        "the gradient does not reach the skip, so nothing is trained through it: stay with "
        "tensors, without detach() or numpy()": lambda skip, up: solution(skip, up).detach(),
    }
    return check(submission, solution, cases, misconceptions, also="gradient")


def check_conv_block(submission: Callable[[int, int], nn.Module]) -> Answer:
    """Check a module, made from (in_channels, out_channels), of two 3x3 convolutions.

    Each is followed by `nn.BatchNorm2d` and a ReLU, and the size stays. The check gives each layer
    weights when it first runs, so layers may be registered in any order, and compares what the
    block makes of images (N, in_channels, H, W): (N, out_channels, H, W).

    >>> check_conv_block(lambda source, out: nn.Sequential(
    ...     nn.Conv2d(source, out, 3), nn.BatchNorm2d(out), nn.ReLU(),
    ...     nn.Conv2d(out, out, 3), nn.BatchNorm2d(out), nn.ReLU()))
    not yet: without padding each convolution removes 2 rows and columns: the size has to stay
    """

    class Shared(nn.Module):
        """One normalisation behind both convolutions."""

        def __init__(self, in_channels, out_channels):
            super().__init__()
            self.first = nn.Conv2d(in_channels, out_channels, 3, padding=1)
            self.second = nn.Conv2d(out_channels, out_channels, 3, padding=1)
            self.norm = nn.BatchNorm2d(out_channels)

        def forward(self, x):
            return F.relu(self.norm(self.second(F.relu(self.norm(self.first(x))))))

    class Changed(nn.Module):
        """A block whose layers are not registered, or to whose result an earlier map is added."""

        def __init__(self, layers, *, added=None, registered=True):
            super().__init__()
            self.layers, self.added = layers if registered else list(layers), added

        def forward(self, x):
            maps = [x]
            for layer in self.layers:
                maps.append(layer(maps[-1]))
            if self.added is None:
                return maps[-1]
            place, last = self.added  # which map is added, and to which
            return F.relu(maps[place] + maps[last])

    def changed(**options):
        return lambda *channels: Changed(block()(*channels), **options)

    def block(
        order="cnrcnr", *, padding="same", kernels=(3, 3), widen_last=False, widen_twice=False,
        activation=nn.ReLU, affine=True,
    ):  # fmt: skip
        """A block of convolutions (c), normalisations (n) and activations (r) in this order."""

        def build(in_channels, out_channels):
            layers, width, sizes = [], in_channels, iter(kernels)
            for kind in order:
                if kind == "c":
                    takes = in_channels if widen_twice else width
                    width = in_channels if widen_last and not layers else out_channels
                    layers.append(nn.Conv2d(takes, width, next(sizes), padding=padding))
                else:
                    norm = nn.BatchNorm2d(width, affine=affine)
                    layers.append(norm if kind == "n" else activation())
            return nn.Sequential(*layers)

        return build

    def run(build, in_channels, out_channels, images):
        """What a block makes of images if its layers get known weights, in the order they run."""
        module = build(in_channels, out_channels)
        if not isinstance(module, nn.Module):
            return module
        generator = torch.Generator().manual_seed(0)
        known = set()

        @torch.no_grad()
        def give_weights(part, _):
            if part in known or not isinstance(part, nn.Conv2d | nn.BatchNorm2d):
                return
            known.add(part)
            if part.weight is not None:
                part.weight.copy_(torch.randn(part.weight.shape, generator=generator))
            if part.bias is not None:  # no effect before a normalisation
                part.bias.zero_()

        with register_module_forward_pre_hook(give_weights):
            return uses_only_its_own(module, images)

    generator = torch.Generator().manual_seed(1)
    shapes = [(1, 4, 8, 8), (3, 2, 9, 7), (2, 2, 8, 8), (4, 6, 16, 6), (5, 3, 7, 7), (1, 1, 12, 8)]
    cases = [(c, out, torch.rand((2, c, h, w), generator=generator)) for c, out, h, w in shapes]
    misconceptions = {
        "without padding each convolution removes 2 rows and columns: the size has to stay": block(
            padding=0
        ),
        "the last ReLU comes before the last normalisation: normalise first": block("cnrcrn"),
        "ReLU comes before the normalisation: normalise first": block("crncrn"),
        "the last ReLU is missing: one follows each of the two convolutions": block("cnrcn"),
        "the normalisation after each convolution is missing": block("crcr"),
        "there is only one convolution: a block has two": block("cnr"),
        "there are three convolutions: a block has two": block("cnrcnrcnr", kernels=(3, 3, 3)),
        "the normalisation and the ReLU stand before each convolution: here they follow it": block(
            "nrcnrc"
        ),
        "the block pools its result, but the size has to stay: pool between the blocks": (
            lambda *channels: nn.Sequential(block()(*channels), nn.MaxPool2d(2))
        ),
        "the first convolution has to change the number of channels, and the second to keep it": (
            block(widen_last=True)
        ),
        "this is a leaky ReLU: the block uses nn.ReLU": block(activation=nn.LeakyReLU),
        "the ReLU between the two convolutions is missing: one follows each of them": block(
            "cncnr"
        ),
        "the kernels are 1x1, which see no neighbours: a block has 3x3 kernels": block(
            kernels=(1, 1)
        ),
        "the second kernel is 1x1, which sees no neighbours: both are 3x3": block(kernels=(3, 1)),
        "the kernels are 5x5: a block has 3x3 kernels": block(kernels=(5, 5)),
        "the normalisation after the second convolution is missing": block("cnrcr"),
        "the normalisation after the first convolution is missing": block("crcnr"),
        "both convolutions are made for in_channels, but the second gets the out_channels of the "
        "first": block(widen_twice=True),
        "one normalisation is used twice: each convolution has its own mean, variance, scale and "
        "shift": Shared,
        "affine=False leaves the learned scale and shift of the normalisation out": block(
            affine=False
        ),
        "some layers are not registered, so no optimizer would train them: make them in __init__, "
        "not in forward, and keep them in nn.Sequential or nn.ModuleList, not in a plain list": (
            changed(registered=False)
        ),
        "the block's input is added to its result; that is a residual block": (
            changed(added=(0, -1))
        ),
        "the block's input is added before the last ReLU; that is a residual block": (
            changed(added=(0, -2))
        ),
        "the first convolution's map is added to the result; that is a residual block": (
            changed(added=(3, -1))
        ),
    }
    return check(submission, block(), cases, misconceptions, run=run, tolerance=1e-4)
