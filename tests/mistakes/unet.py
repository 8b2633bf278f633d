"""Exercises of the chapter on U-Net: other ways to get them right, and wrong."""

import math
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from segedu import UNet


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


def cut(skip, height, width, end=0):
    dy, dx = (skip.shape[2] - height) // 2, (skip.shape[3] - width) // 2
    return skip[:, :, dy : dy + height + end, dx : dx + width + end]


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


class Loose(nn.Module):
    """Convolutions in a plain list, or made in forward, or one normalisation without weights."""

    def __init__(self, in_channels, out_channels, *, late=False, listed=True, affine=True):
        super().__init__()
        self.widths, self.late = (in_channels, out_channels), late
        parts = [] if late else self.made()
        self.layers = parts if listed else nn.ModuleList(parts)
        norms = [nn.BatchNorm2d(out_channels, affine=affine) for _ in range(2)]
        self.norms, self.relu = nn.ModuleList(norms), nn.ReLU(inplace=True)

    def made(self):
        before, out = self.widths
        return [nn.Conv2d(width, out, 3, padding=1) for width in (before, out)]

    def forward(self, x):
        for layer, norm in zip(self.made() if self.late else self.layers, self.norms, strict=True):
            x = self.relu(norm(layer(x)))
        return x


class LastFirst(nn.Module):
    """A block whose layers are registered from the last to the first."""

    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)

    def forward(self, images):
        images = self.bn1(self.conv1(images)).relu()
        return self.bn2(self.conv2(images)).relu()


def multiplied_by_pooling(layers):
    r = 1
    for k, t in layers:
        if t > 1:
            r *= t
        else:
            r += k - 1
    return r


def wrong_step(layers):
    r = s = 1
    for k, t in layers:
        r += (k - 1) * s
        s = t
    return r


def own_stride(layers):
    return 1 + sum((k - 1) * t for k, t in layers)


def added_step(layers):
    r = s = 1
    for k, t in layers:
        r += (k - 1) * s
        s += t
    return r


def marked(size, kernel, stride):
    counts = [0] * ((size - 1) * stride + kernel)
    for k in range(size):
        counts[k * stride : k * stride + kernel] = [1] * kernel
    return counts


def stamps_too_short(size, kernel, stride):
    counts = [0] * ((size - 1) * stride + kernel)
    for k in range(size):
        for pixel in range(k * stride, k * stride + kernel - 1):
            counts[pixel] += 1
    return counts


def side_by_side(size, kernel, stride):
    counts = np.zeros((size - 1) * stride + kernel)
    for i in range(size):
        counts[i * kernel : (i + 1) * kernel] += 1
    return counts


def left_over(images, depth):
    height, width = images.shape[2:]
    step = 2**depth
    return F.pad(images, (0, width % step, 0, height % step), mode="replicate")


def to_fit(images, depth):
    height, width = (math.ceil(side / 2**depth) * 2**depth for side in images.shape[2:])
    return F.interpolate(images, (height, width), mode="bilinear", align_corners=False)


def same_margin(skip, up):
    d = (skip.size(2) - up.size(2)) // 2
    return torch.cat([skip[:, :, d:-d, d:-d], up], 1)


def ends_at_minus_zero(skip, up):
    dy, dx = (skip.shape[k] - up.shape[k] for k in (2, 3))
    cut = skip[:, :, dy // 2 : -(dy - dy // 2), dx // 2 : -(dx - dx // 2)]
    return torch.cat([cut, up], dim=1)


def same_ends(skip, up):
    height, width = skip.shape[2:]
    dy, dx = (height - up.shape[2]) // 2, (width - up.shape[3]) // 2
    return torch.cat([skip[:, :, dy : height - dy, dx : width - dx], up], dim=1)


def crop_in_numpy(skip, up):
    return crop_and_concat(skip, up).detach().numpy()


def from_the_encoder(channels):
    """Each row of the way up takes the map of the way down below it."""

    class Wrong(Bottom):
        def forward(self, x):
            maps = [self.encoder[0](x)]
            for part in [*self.encoder[1:], self.bottom]:
                maps.append(part(F.max_pool2d(maps[-1], 2)))
            for row in reversed(range(len(self.decoder))):
                below = F.interpolate(maps[row + 1], scale_factor=2, mode="bilinear")
                x = self.decoder[row](torch.cat([maps[row], below], dim=1))
            return self.head(x)

    return Wrong(channels)


def block(a, b):
    return nn.Sequential(
        nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(inplace=True),
        nn.Conv2d(b, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(inplace=True),
    )  # fmt: skip


class Down(nn.Module):
    def __init__(self, a, b):
        super().__init__()
        self.layers = nn.Sequential(nn.MaxPool2d(2), block(a, b))

    def forward(self, x):
        return self.layers(x)


class Up(nn.Module):
    def __init__(self, skip, below):
        super().__init__()
        self.layers = block(skip + below, skip)
        self.up = nn.Upsample(scale_factor=2, mode="bilinear")

    def forward(self, x, skip):
        return self.layers(torch.cat([skip, self.up(x)], 1))


class UNetOfModules(nn.Module):
    """Down and Up are modules, and the way up is registered first."""

    def __init__(self, channels):
        super().__init__()
        pairs = list(pairwise(channels))
        self.head = nn.Conv2d(channels[0], 1, kernel_size=1)
        self.ups = nn.ModuleList(Up(a, b) for a, b in reversed(pairs))
        self.downs = nn.ModuleList(Down(a, b) for a, b in pairs)
        self.first = block(1, channels[0])

    def forward(self, x):
        skips = [self.first(x)]
        for down in self.downs:
            skips.append(down(skips[-1]))
        x = skips.pop()
        for up in self.ups:
            x = up(x, skips.pop())
        return self.head(x)


class Recursive(nn.Module):
    """A level that holds the level below; the bottom is a block."""

    def __init__(self, channels, before=1, top=True, fitted=False):
        super().__init__()
        own, *below = channels
        self.down, self.inner, self.fitted = block(before, own), None, fitted
        if below:
            self.inner = Recursive(below, own, top=False, fitted=fitted)
            self.up = block(own + below[0], own)
        self.head = nn.Conv2d(own, 1, 1) if top else nn.Identity()

    def forward(self, x):
        x = self.down(x)
        if self.inner is not None:
            below = self.inner(F.max_pool2d(x, 2))
            size = {"size": x.shape[2:]} if self.fitted else {"scale_factor": 2}
            below = F.interpolate(below, **size, mode="bilinear", align_corners=False)
            x = self.up(torch.cat((x, below), dim=1))
        return self.head(x)


class Bottom(nn.Module):
    """The bottom has a name of its own; mistakes can be chosen."""

    def __init__(
        self, channels, *, skips=slice(None, None, -1), early=False, padding=1, made=True,
        kept=torch.clone,
    ):  # fmt: skip
        super().__init__()
        self.skips, self.early, self.channels, self.made = skips, early, channels, made
        self.kept = kept
        pairs = list(pairwise([1, *channels[:-1]]))
        self.encoder = nn.ModuleList(block(a, b) for a, b in pairs)
        self.bottom = block(channels[-2], channels[-1])
        rows = range(len(channels) - 1)
        self.decoder = nn.ModuleList(
            block(channels[row] + channels[row + 1], channels[row]) for row in rows
        )
        self.head = nn.Conv2d(channels[0], 1, 1)
        for part in self.modules():
            if isinstance(part, nn.Conv2d) and part.kernel_size == (3, 3):
                part.padding = (padding, padding)

    def forward(self, x):
        maps = []
        for part in self.encoder:
            x = part(x)
            maps.append(self.kept(F.max_pool2d(x, 2) if self.early else x))
            x = F.max_pool2d(x, 2)
        x = self.bottom(x)
        for part, skip in zip(self.decoder[::-1], maps[self.skips], strict=True):
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear")
            x = part(torch.cat([skip, x], dim=1))
        return self.head(x) if self.made else nn.Conv2d(self.channels[0], 1, 1)(x)


class Changed(Bottom):
    """Layers made for other numbers of channels, maps that are added, or one pooling too many."""

    def __init__(
        self, channels, *, first=None, takes=None, added=False, pooled=False, head=1, bias=True
    ):
        super().__init__(channels)
        self.added, self.pooled = added, pooled
        if first:
            self.encoder[0] = block(first(channels), channels[0])
        if takes:
            for row, width in enumerate(channels[:-1]):
                self.decoder[row] = block(takes(channels, row), width)
        self.head = nn.Conv2d(channels[0], 1, head, padding=head // 2, bias=bias)

    def forward(self, x):
        maps = []
        for part in [*self.encoder, self.bottom]:
            x = part(x)
            maps.append(x)
            x = F.max_pool2d(x, 2)
        x = x if self.pooled else maps[-1]
        for part, skip in zip(self.decoder[::-1], maps[-2::-1], strict=True):
            x = F.interpolate(x, scale_factor=2, mode="bilinear")
            x = part(skip + x if self.added else torch.cat([skip, x], dim=1))
        return self.head(x)


class Padded(Bottom):
    """Pads inside, where the exercise asks for an error."""

    def forward(self, x):
        height, width = x.shape[2:]
        x = super().forward(pad_to_multiple(x, len(self.channels) - 1))
        return x[..., :height, :width]


def refusing(is_refused):
    """A U-Net that stretches its maps, and refuses some images."""

    class Refusing(Recursive):
        def __init__(self, channels):
            super().__init__(channels, fitted=True)
            self.step = 2 ** (len(channels) - 1)

        def forward(self, x):
            if is_refused(*x.shape[2:], self.step):
                raise ValueError("these sides do not fit")
            return super().forward(x)

    return Refusing


def conv_norm_relu(*layers):
    """Convolutions of (channels in, channels out, kernel, whether normalised), each with a ReLU."""
    parts = []
    for before, after, kernel, norm in layers:
        parts.append(nn.Conv2d(before, after, kernel, padding=kernel // 2))
        parts += [nn.BatchNorm2d(after)] * norm + [nn.ReLU()]
    return nn.Sequential(*parts)


def without_pooling(counts):
    """Layers for which `counts` is false only lengthen the step."""

    def mistaken(layers):
        field, step = 1, 1
        for kernel, stride in layers:
            if counts(kernel, stride):
                field += (kernel - 1) * step
            step *= stride
        return field

    return mistaken


def reaching(grow, step):
    """A stack's field from what a layer adds per step, and from how the step changes."""

    def mistaken(layers):
        r = s = 1
        for k, t in layers:
            r += grow(k) * s
            s = step(s, t)
        return r

    return mistaken


def whole_kernel(layers):
    r = s = 1
    for k, t in layers:
        r += k * s
        s *= t
    return r


def known_kernels(layers):
    r = s = 1
    for _, t in layers:
        r += 2 * s if t == 1 else s
        s *= t
    return r


def forward_recurrence(layers):
    r = 1
    for k, t in layers:
        r = r * t + (k - 1)
    return r


def returned_early(layers):
    for kernel, _ in layers:
        return 1 + (kernel - 1)


def to_multiples_of(step):
    def padded(images, depth):
        height, width = images.shape[2:]
        margin = (0, -width % step(depth), 0, -height % step(depth))
        return F.pad(images, margin, mode="replicate")

    return padded


def with_margin(margin):
    """Pads by what `margin` makes of the missing rows and columns, as F.pad takes it."""

    def padded(images, depth):
        down, right = (-side % 2**depth for side in images.shape[2:])
        return F.pad(images, margin(down, right), mode="replicate")

    return padded


def to_power(images, depth):
    height, width = images.shape[2:]
    rows, columns = (2 ** (side - 1).bit_length() for side in (height, width))
    return F.pad(images, (0, columns - width, 0, rows - height), mode="replicate")


def ending(end):
    """A U-Net whose logits go through one more function."""

    class Ending(Bottom):
        def forward(self, x):
            return end(super().forward(x))

    return Ending


def without_gradient(network):
    """A network that computes everything under no_grad."""

    class Still(network):
        @torch.no_grad()
        def forward(self, x):
            return super().forward(x)

    return Still


def with_head(make):
    """A U-Net whose head is made from the number of its channels."""

    def made(channels):
        network = Bottom(channels)
        network.head = make(channels[0])
        return network

    return made


def to_square(images, depth):
    height, width = images.shape[2:]
    side = math.ceil(max(height, width) / 2**depth) * 2**depth
    return F.pad(images, (0, side - width, 0, side - height), mode="replicate")


def grouped(channels):
    """A U-Net with another normalisation."""
    return UNet(1, 1, channels=channels, norm="group")


RIGHT = {
    "conv_size": [conv_size],
    "decoder_channels": [lambda channels, row: sum(channels[row : row + 2])],
    "receptive_field": [stack_field],
    "stamps": [stamps, lambda *case: stamps(*case).int().tolist()],
    "pad_to_multiple": [pad_to_multiple],
    "crop_and_concat": [crop_and_concat],
    "conv_block": [Block, LastFirst, lambda a, b: Loose(a, b, listed=False)],
    "unet": [
        UNetOfModules,
        Recursive,
        Bottom,
        lambda channels: UNet(1, 1, channels=channels),
        refusing(lambda height, width, step: height % step or width % step),
        lambda channels: nn.Sequential(Bottom(channels), nn.Dropout(0.5)),  # off in eval mode
    ],
}

WRONG = [
    ("conv_size", lambda n, k, s, p: len(range(0, n - k + 1, s)), "padding is missing"),
    ("conv_size", lambda n, k, s, p: round((n + 2 * p - k) / s) + 1, "always down, also"),
    ("conv_size", lambda n, k, s, p: (n - k + 2 * p + 1) // s, "divide first, then add 1"),
    ("receptive_field", lambda layers: stack_field(layers[::-1]), "expected"),
    ("receptive_field", lambda layers: math.prod(stride for _, stride in layers), "the step after"),
    ("receptive_field", lambda layers: stack_field([(k, s) for s, k in layers]), "are swapped"),
    ("receptive_field", lambda layers: 2 * stack_field(layers), "expected 3"),
    ("decoder_channels", lambda channels, row: math.prod(channels[row : row + 2]), "multiplied"),
    ("pad_to_multiple", to_multiples_of(lambda depth: 2 ^ depth), "exclusive or"),
    ("pad_to_multiple", to_multiples_of(lambda depth: 2), "not only even"),
    ("pad_to_multiple", to_multiples_of(lambda depth: 16), "whatever the depth"),
    ("stamps", lambda n, k, s: np.convolve(np.ones(n), np.ones(k)), "the stride is missing"),
    ("pad_to_multiple", pad_with_zeros, "the margin is zero"),
    ("pad_to_multiple", lambda x, d: pad_to_multiple(x, d).mT.contiguous(), "expected"),
    ("crop_and_concat", lambda *case: crop_and_concat(*case, rounded=math.ceil), "an odd pixel"),
    ("crop_and_concat", lambda skip, up: torch.cat([cut(skip, up.shape[3], up.shape[2]), up], 1),
     "the height, then the width"),
    ("crop_and_concat", lambda skip, up: torch.cat([cut(skip, up.shape[2], up.shape[2]), up], 1),
     "rows and columns need a size each"),
    ("crop_and_concat", lambda skip, up: torch.cat([skip, up], 1), "the skip is not cropped"),
    ("crop_and_concat", lambda skip, up: torch.cat([cut(skip, *up.shape[2:], end=9), up], 1),
     "the skip is not cropped"),
    ("crop_and_concat", lambda skip, up: torch.cat([skip, F.interpolate(up, skip.shape[2:])], 1),
     "gave torch.float32 (1, 5, 8, 8), expected torch.float32 (1, 5, 4, 4)"),
    ("conv_block", lambda a, b: Block(a, b, norms=1), "one normalisation is used twice"),
    ("conv_block", lambda a, b: nn.Sequential(nn.Conv2d(a, b, 3), Block(b, b)), "expected"),
    ("receptive_field", without_pooling(lambda k, t: t == 1), "a pooling is a layer with a kernel"),
    ("receptive_field", without_pooling(lambda k, t: k != 2), "a pooling is a layer with a kernel"),
    ("receptive_field", without_pooling(lambda k, t: k != t), "a pooling is a layer with a kernel"),
    ("receptive_field", whole_kernel, "(kernel - 1) steps, not kernel"),
    ("receptive_field", known_kernels, "use the kernel of each"),
    ("receptive_field", forward_recurrence, "does not go forward through the layers"),
    ("receptive_field", returned_early, "return after the loop"),
    ("receptive_field", wrong_step, "(s = t)"),
    ("receptive_field", own_stride, "its own stride"),
    ("receptive_field", added_step, "(s += t)"),
    ("receptive_field", reaching(lambda k: k - 1, lambda s, t: s + (t - 1)), "s *= t"),
    ("receptive_field", multiplied_by_pooling, "add single pixels"),
    ("receptive_field", reaching(lambda k: k - 1, lambda s, t: 2 * s if t > 1 else s),
     "is doubled for every stride"),
    ("receptive_field", reaching(lambda k: k // 2, lambda s, t: s * t), "both sides count"),
    ("stamps", marked, "they add up"),
    ("stamps", stamps_too_short, "the last pixel of each stamp"),
    ("stamps", side_by_side, "the stamps lie side by side"),
    ("conv_size", lambda n, k, s, p: (n - 1) * s - 2 * p + k, "a transposed convolution"),
    ("decoder_channels", lambda channels, row: channels[row + 1] * 2, "only one of the two"),
    ("decoder_channels", lambda channels, row: channels[row] * 3, "only where each row has twice"),
    ("decoder_channels", lambda channels, row: sum(channels[row:]), "all rows below are counted"),
    ("decoder_channels", lambda channels, row: [channels[row], channels[row + 1]], "add them"),
    ("decoder_channels", lambda channels, row: sum(channels[::-1][row : row + 2]),
     "counted from the bottom"),
    ("pad_to_multiple", to_multiples_of(lambda depth: depth), "of 2^depth, not of depth"),
    ("pad_to_multiple", to_multiples_of(lambda depth: 2 ** (depth - 1)), "one pooling too few"),
    ("pad_to_multiple", to_multiples_of(lambda depth: 2 ** (depth + 1)), "one pooling too many"),
    ("pad_to_multiple", to_square, "a margin of its own"),
    ("pad_to_multiple", lambda x, d: F.pad(x, (0, -x.shape[3] % 2**d), mode="replicate"),
     "F.pad wants four numbers"),
    ("pad_to_multiple", with_margin(lambda down, right: (0, 0, right, down)), "margins of the col"),
    ("pad_to_multiple", with_margin(lambda down, right: (0, right, 0, 0)), "the rows are not"),
    ("pad_to_multiple", with_margin(lambda down, right: (0, 0, 0, down)), "the columns are not"),
    ("pad_to_multiple", with_margin(lambda down, right: (right, right, down, down)),
     "added at both ends"),
    ("pad_to_multiple", to_power, "powers of 2"),
    ("pad_to_multiple", left_over, "what is missing is -side % step"),
    ("pad_to_multiple", to_fit, "stretched by bilinear"),
    ("crop_and_concat", same_margin, "the slice d:-d is empty"),
    ("crop_and_concat", ends_at_minus_zero, "the slice ends at -0"),
    ("crop_and_concat", same_ends, "as much is cut off at the end"),
    ("crop_and_concat", lambda *case: crop_and_concat(*case, rounded=round), "round() rounds 1.5"),
    ("crop_and_concat", lambda skip, up: torch.cat([F.interpolate(skip, up.shape[2:]), up], 1),
     "resized by F.interpolate"),
    ("crop_and_concat", lambda skip, up: crop_and_concat(skip, up)[:, : skip.shape[1]],
     "the map from below is missing"),
    ("crop_and_concat", lambda skip, up: crop_and_concat(skip.detach(), up), "does not reach the"),
    ("crop_and_concat", crop_in_numpy, "does not reach the skip"),
    ("conv_block", Loose, "some layers are not registered"),
    ("conv_block", lambda a, b: Loose(a, b, late=True), "some layers are not registered"),
    ("conv_block", lambda a, b: Loose(a, b, listed=False, affine=False), "affine=False leaves"),
    ("conv_block", lambda a, b: conv_norm_relu((a, b, 3, True), (b, b, 3, False)),
     "after the second convolution is missing"),
    ("conv_block", lambda a, b: conv_norm_relu((a, b, 3, False), (b, b, 3, True)),
     "after the first convolution is missing"),
    ("conv_block", lambda a, b: conv_norm_relu((a, b, 5, True), (b, b, 5, True)), "are 5x5"),
    ("conv_block", lambda a, b: conv_norm_relu((a, b, 3, True), (b, b, 1, True)),
     "the second kernel is 1x1"),
    ("conv_block", lambda a, b: conv_norm_relu((a, b, 3, True), (a, b, 3, True)),
     "but the second gets the out_channels"),
    ("conv_block", lambda a, b: nn.Sequential(block(a, b), conv_norm_relu((b, b, 3, True))),
     "three convolutions"),
    ("conv_block", lambda a, b: nn.Sequential(*block(a, b), nn.MaxPool2d(2)), "pools its result"),
    ("conv_block", lambda a, b: nn.Sequential(
        nn.BatchNorm2d(a), nn.ReLU(), nn.Conv2d(a, b, 3, padding=1),
        nn.BatchNorm2d(b), nn.ReLU(), nn.Conv2d(b, b, 3, padding=1)), "here they follow it"),
    ("unet", from_the_encoder, "the encoder's map of the row below"),
    ("unet", lambda c: Bottom(c, made=False), "some layers are not registered"),
    ("unet", lambda c: Bottom(c, skips=slice(None)), "from the first to the last: the way up"),
    ("unet", lambda c: Bottom(c, early=True), "a skip is too small"),
    ("unet", lambda c: Bottom(c, padding=0), "have no padding"),
    ("unet", without_gradient(UNetOfModules), "the gradient is cut off"),
    ("unet", lambda c: Bottom(c, kept=torch.detach), "the gradient is cut off"),
    ("unet", ending(lambda z: torch.from_numpy(z.numpy(force=True))), "the gradient is cut off"),
    ("unet", lambda c: Recursive(c, fitted=True), "sides that do not fit has to raise"),
    ("unet", refusing(lambda height, width, step: height % 2 or width % 2), "an odd side raises"),
    ("unet", refusing(lambda height, width, step: height % step), "answer to sides that do not"),
    ("unet", refusing(lambda height, width, step: width % step), "answer to sides that do not"),
    ("unet", Padded, "sides that do not fit has to raise"),
    ("unet", lambda c: Changed(c, takes=lambda c, row: 1), "raised RuntimeError: Given groups"),
    ("unet", lambda c: Changed(c, first=lambda c: c[0]), "but the image has 1"),
    ("unet", lambda c: Changed(c, takes=lambda c, row: 2 * c[row]), "twice the channels of"),
    ("unet", lambda c: Changed(c, takes=lambda c, row: c[row + 1]), "the skip comes on top"),
    ("unet", lambda c: Changed(c, added=True), "made for their concatenation"),
    ("unet", lambda c: Changed(c, added=True, takes=lambda c, row: c[row]), "the maps are added"),
    ("unet", lambda c: Changed(c, bias=False), "the head has no bias"),
    ("unet", with_head(lambda width: conv_norm_relu((width, 1, 1, True))[:2]), "is normalised"),
    ("unet", with_head(lambda width: block(width, 1)), "the head is a whole block"),
    ("unet", ending(lambda z: (z.sigmoid() > 0.5).float()), "ends in a threshold"),
    ("unet", ending(lambda z: z.squeeze(1)), "logits are (N, 1, H, W)"),
    ("unet", lambda c: Bottom([1] + c), "can only concatenate list"),  # noqa: RUF005
    ("unet", lambda c: Changed(c, pooled=True), "the last map is pooled too"),
    ("unet", lambda c: Changed(c, head=3), "the head is a 3x3 convolution"),
    ("unet", lambda c: Bottom(c)(torch.zeros(1, 1, 8, 8)), "expected"),
    ("unet", lambda c: UNet(1, 1, channels=c, up="transposed"), "a learnt transposed convolution"),
    ("unet", grouped, "[0][0][0][0] gave"),
]  # fmt: skip
