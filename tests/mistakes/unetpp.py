"""Exercises of the chapter on U-Net++: other ways to get them right, and wrong."""

import numpy as np
import torch
from torch import nn

from segedu.models import ConvBlock, UNet, UNetPlusPlus, unetpp_nodes
from tests.mistakes.unet import without_gradient


class InRows(nn.Module):
    """Blocks in lists of lists, diagonal by diagonal, with nn.Upsample and a tuple of logits.

    It computes what it should, but has other names than the exercise asks for.
    """

    def __init__(
        self,
        channels,
        *,
        pool=True,
        inputs=lambda left, up: [*left, up],
        takes=lambda j, own, below: j * own + below,
    ):
        super().__init__()
        self.pool = nn.MaxPool2d(2) if pool else nn.AvgPool2d(2)
        self.up = nn.Upsample(scale_factor=2, mode="bilinear")
        self.inputs, self.rows = inputs, nn.ModuleList()
        for i, width in enumerate(channels):
            first = ConvBlock(channels[i - 1] if i else 1, width)
            counts = [takes(j, width, channels[i + 1]) for j in range(1, len(channels) - i)]
            self.rows.append(nn.ModuleList([first, *(ConvBlock(n, width) for n in counts)]))
        self.heads = nn.ModuleList(nn.Conv2d(channels[0], 1, 1) for _ in channels[1:])

    def forward(self, image):
        rows = [[] for _ in self.rows]
        for diagonal in range(len(rows)):
            for i in range(diagonal, -1, -1):
                if i == diagonal:
                    x = self.pool(rows[i - 1][0]) if i else image
                else:
                    x = torch.cat(self.inputs(rows[i], self.up(rows[i + 1][-1])), dim=1)
                rows[i].append(self.rows[i][len(rows[i])](x))
        return tuple(head(x) for head, x in zip(self.heads, rows[0][1:], strict=True))


def ready_made(kind=UNetPlusPlus, **options):
    return lambda channels: kind(1, 1, channels=channels, **options)


class Named(InRows):
    """With the names that the exercise asks for; `swap` mistakes which head is whose.

    `order` is the key by which the nodes are sorted, column by column where it is not given.
    """

    def __init__(
        self, channels, *, swap=lambda heads: heads, order=lambda node: node[::-1], **options
    ):
        super().__init__(channels, **options)
        rows, heads, depth = list(self.rows), list(self.heads), len(channels) - 1
        del self.rows, self.heads
        self.blocks = nn.ModuleDict(
            {f"{i}_{j}": part for i, row in enumerate(rows) for j, part in enumerate(row)}
        )
        self.heads = nn.ModuleDict({f"{j}": heads[j - 1] for j in range(1, depth + 1)})
        self.depth, self.swap, self.order = depth, swap, order

    def forward(self, image):
        x = {}
        for i, j in sorted(unetpp_nodes(self.depth), key=self.order):
            left = [x[i, k] for k in range(j)]
            if j > 0:
                parts = [*left, self.up(x[i + 1, j - 1])]
            else:
                parts = [self.pool(x[i - 1, 0]) if i else image]
            x[i, j] = self.blocks[f"{i}_{j}"](torch.cat(parts, dim=1))
        heads = self.swap([self.heads[f"{j}"] for j in range(1, self.depth + 1)])
        return tuple(head(x[0, j]) for j, head in enumerate(heads, start=1))


class Wrapper(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.net = ready_made(deep_supervision=True)(channels)

    def forward(self, image):
        return self.net(image)


class HeadsInAList(InRows):
    def __init__(self, channels):
        super().__init__(channels)
        heads = list(self.heads)
        del self.heads
        self.heads = heads


def mean_of(values):
    return sum(values) / len(values)


def bces(logits, target):
    return [nn.BCEWithLogitsLoss()(head, target) for head in logits]


def order_in_place(nodes):
    nodes.sort(key=lambda node: node[::-1])
    return nodes


def order_from_below(nodes):
    rows = sorted({i for i, _ in nodes}, reverse=True)
    return [node for row in rows for node in sorted(nodes) if node[0] == row]


def order_like_no_other(nodes):
    nodes = sorted(nodes, key=lambda node: (node[1], node[0]))
    return [*nodes[1:], nodes[0]]


def needed(nodes, level):
    """Walk from the head back to the image."""
    keep, wanted = set(), [(0, level)]
    while wanted:
        i, j = wanted.pop()
        keep.add((i, j))
        wanted += [(i, k) for k in range(j)] + [(i + 1, j - 1)] * (j > 0) + [(i - 1, 0)] * (i > 0)
    return [node for node in nodes if node in keep]


def level_by(choose, report=lambda validation, test: test):
    """Choose from the mean IoU of each level on validation and on test."""

    def choose_level(validation, test, tolerance):
        means = [np.mean([table[k] for k in sorted(table)], axis=1) for table in (validation, test)]
        index = int(choose(*means, tolerance))
        return index + 1, float(report(*means)[index])

    return choose_level


RIGHT = {
    "node_channels": [
        lambda channels, i, j, image: (
            sum([*[channels[i]] * j, channels[i + 1]]) if j else (image, *channels)[i]
        )
    ],
    "evaluation_order": [
        order_in_place,
        lambda nodes: sorted(nodes, key=lambda node: (sum(node), -node[0])),
        lambda nodes: sorted(nodes, key=lambda node: (node[1], -sum(node) * (node[1] > 0), node)),
    ],
    "unetpp": [Named, ready_made(deep_supervision=True)],
    "deep_loss": [lambda logits, target: mean_of(bces(logits, target))],
    "accurate_mode": [lambda logits: mean_of([1 / (1 + torch.exp(-head)) for head in logits])],
    "pruned_nodes": [needed],
    "choose_level": [level_by(lambda val, test, tol: np.argmax(val >= val.max() - tol))],
}

WRONG = [
    ("node_channels", lambda channels, i, j, image: channels[i] * (j + 1) if j else channels[i - 1],
     "the map from below has the channels of its own row"),
    ("node_channels", lambda channels, i, j, image: (
        j * channels[i] + channels[i + 1] if j else channels[i - 1]),
     "X(0, 0) takes the image"),
    ("node_channels", lambda channels, i, j, image: (
        j * channels[i] + channels[i - 1] if j else (image, *channels)[i]),
     "the map from below comes from row i + 1"),
    ("node_channels", lambda channels, i, j, image: sum([*[channels[i]] * j, channels[i + 1]]),
     "the first column has no map from below"),
    ("node_channels", lambda channels, i, j, image: channels[i],
     "the channels that the node gives"),
    ("node_channels", lambda channels, i, j, image: (
        j * channels[i] + channels[i + 1] if j else (1, *channels)[i]),
     "in_channels channels, not always 1"),
    ("node_channels", lambda channels, i, j, image: (
        j * channels[i] + channels[i + 1] if j else image),
     "only X(0, 0) takes the image"),
    ("evaluation_order", lambda nodes: nodes.sort(), "or returns None"),
    ("evaluation_order", lambda nodes: [
        node for node in sorted(nodes, key=lambda node: node[::-1]) for _ in "12"],
     "6 nodes were returned, expected 3"),
    ("evaluation_order", lambda nodes: sorted(nodes, key=sum), "on a diagonal the order matters"),
    ("evaluation_order", lambda nodes: sorted(nodes, key=lambda node: node[1]),
     "in the first column the order matters"),
    ("evaluation_order", lambda nodes: sorted(nodes, key=lambda node: (node[1], -node[0])),
     "from the bottom up"),
    ("evaluation_order", order_from_below, "from the bottom up"),
    ("evaluation_order", lambda nodes: nodes, "in the order in which they came"),
    ("evaluation_order", order_like_no_other,
     "X(1, 0) comes before X(0, 0), X(0, 1) comes before X(0, 0)'"),
    ("evaluation_order", lambda nodes: order_like_no_other(nodes)[:-1],
     "2 nodes were returned, expected 3"),
    ("evaluation_order", lambda nodes: [(0, 0), (1, 0), (0, 1)],
     "3 nodes were returned, expected 6"),
    ("unetpp", ready_made(), "only the deepest head answers"),
    ("unetpp", without_gradient(Wrapper), "the gradient is cut off"),
    ("unetpp", ready_made(UNet), "expected"),
    ("unetpp", ready_made(deep_supervision=True, skips="last"), "only the nearest skip"),
    ("unetpp", ready_made(deep_supervision=True, skips="first"), "only the encoder's skip"),
    ("unetpp", ready_made(deep_supervision=True, up="transposed"), "a transposed convolution"),
    ("unetpp", ready_made(deep_supervision=True, norm="group"), "expected"),
    ("unetpp", lambda channels: InRows(channels, pool=False), "halved by their mean"),
    ("unetpp", lambda channels: Named(channels, swap=lambda heads: heads[-1:] * len(heads)),
     "one head answers at all X(0, j)"),
    ("unetpp", lambda channels: Named(channels, swap=lambda heads: heads[:1] * len(heads)),
     "the first head answers at all X(0, j)"),
    ("unetpp", lambda channels: Named(channels, swap=lambda heads: heads[::-1]),
     "the heads are used in the opposite order"),
    ("unetpp", InRows, "trained weights do not fit"),
    ("unetpp", Wrapper, "trained weights do not fit"),
    ("unetpp", lambda channels: InRows(channels, inputs=lambda left, up: [up, *left]),
     "the map from below stands first"),
    ("unetpp", HeadsInAList, "fewer 1 x 1 convolutions than logits"),
    ("unetpp", lambda channels: ready_made(deep_supervision=True)(channels[:3] * (channels[2] > 0)),
     "here 1"),
    ("unetpp", lambda channels: nn.ModuleList([InRows(channels)]), "raised NotImplementedError"),
    ("unetpp", lambda channels: Named(channels, order=lambda node: node), "is not computed yet"),
    ("unetpp", lambda channels: Named(channels, order=lambda node: (sum(node), node)),
     "not computed yet: compute all nodes"),
    ("unetpp", lambda channels: Named(channels, takes=lambda j, own, below: j * own), "Exercise 1"),
    ("unetpp", lambda channels: Named(channels, takes=lambda j, own, below: own + below),
     "a layer gets another number of channels"),
    ("deep_loss", lambda logits, target: mean_of([x.item() for x in bces(logits, target)]),
     "the gradient is 0"),
    ("deep_loss", lambda logits, target: mean_of([
        bces([head.detach()], target)[0] for head in logits]),
     "the gradient is 0"),
    ("deep_loss", lambda logits, target: mean_of(
        bces([logits[0], *(head.detach() for head in logits[1:])], target)),
     "in 7 of 8 cases the gradient is wrong"),
    ("deep_loss", lambda logits, target: bces([mean_of(logits)], target)[0],
     "the logits are averaged first"),
    ("deep_loss", lambda logits, target: sum(bces(logits, target)) / 4, "divided by 4"),
    ("deep_loss", lambda logits, target: mean_of(bces([x.sigmoid() for x in logits], target)),
     "a sigmoid before the loss"),
    ("deep_loss", lambda logits, target: bces(logits, target)[0] / len(logits),
     "`return` stands in the loop"),
    ("accurate_mode", lambda heads: torch.stack(heads, dim=1).sigmoid().mean(dim=0),
     "the mean over the images"),
    ("accurate_mode", lambda heads: torch.cat(heads).sigmoid().mean(dim=0), "torch.cat makes one"),
    ("accurate_mode", lambda heads: torch.cat(heads).sigmoid().mean(dim=0, keepdim=True),
     "a single image is left"),
    ("accurate_mode", lambda heads: torch.stack(heads).sigmoid().mean(), "this is one number"),
    ("accurate_mode", lambda heads: (mean_of([x.sigmoid() for x in heads]) > 0.5).float(),
     "this is a mask"),
    ("accurate_mode", lambda heads: mean_of([x.sigmoid() > 0.5 for x in heads]), "the masks are"),
    ("accurate_mode", lambda heads: torch.stack(heads).max(0).values.sigmoid(), "the maximum"),
    ("accurate_mode", lambda heads: torch.stack(heads).sigmoid().median(0).values, "expected"),
    ("pruned_nodes", lambda nodes, level: sorted(needed(nodes, level)), "order has changed"),
    ("pruned_nodes", lambda nodes, level: sorted(needed(nodes, level), key=lambda node: node[::-1]),
     "the right nodes in another order"),
    ("pruned_nodes", lambda nodes, level: needed(nodes, level)[::-1], "order has changed"),
    ("pruned_nodes", lambda nodes, level: {node for node in nodes if sum(node) <= level},
     "a set has no order"),
    ("pruned_nodes", lambda nodes, level: [node for node in nodes if sum(node) < level + 2],
     "one diagonal too many"),
    ("pruned_nodes", lambda nodes, level: [
        (i, j) for i, j in nodes if (j == 0 and i <= level) or (i == 0 and j <= level)],
     "inside the triangle are missing"),
    ("pruned_nodes", lambda nodes, level: nodes[: (level + 1) * (level + 2) // 2], "expected"),
    ("choose_level", level_by(lambda val, test, tol: np.argmax(val > val.max() - tol)),
     "exactly `tolerance` below"),
    ("choose_level", lambda validation, test, tolerance: (
        (level := RIGHT["choose_level"][0](validation, test, tolerance)[0]), test[level]),
     "the second value is a list"),
    ("choose_level", level_by(lambda val, test, tol: np.argmax(val + test)), "expected"),
    ("choose_level", level_by(lambda val, test, tol: np.argmax(val[:4] >= val.max() - tol)),
     "in 1 of 13 cases"),
    ("choose_level", level_by(lambda val, test, tol: np.argmax(np.append(np.diff(val), 0) <= tol)),
     "stops at the first small gain"),
    ("choose_level", level_by(lambda val, test, tol: (
        np.where(val >= val.max() - tol, val, 1).argmin())),
     "the smallest mean within the tolerance"),
    ("choose_level", level_by(lambda val, test, tol: np.argmax(val >= val.max() * (1 - tol))),
     "a share of the best IoU"),
    ("choose_level", lambda validation, test, tolerance: tuple(
        x - k for x, k in zip(RIGHT["choose_level"][0](validation, test, tolerance), (1, 0),
                              strict=True)),
     "counted from 0"),
]  # fmt: skip
