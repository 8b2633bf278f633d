"""Exercises of the chapter on U-Net++: other solutions, and mistakes as a learner makes them."""

import itertools

import numpy as np
import torch
from torch import nn


def triangle_too_short(depth):
    return [(i, j) for i in range(depth) for j in range(depth - i)]


def triangle_square(depth):
    return list(itertools.product(range(depth + 1), repeat=2))


def triangle_small_square(depth):
    return list(itertools.product(range(depth), range(depth)))


def triangle_unet(depth):
    way_down = {(i, 0) for i in range(depth + 1)}
    way_up = {(depth - j, j) for j in range(depth + 1)}
    return sorted(way_down | way_up)


def triangle_without_encoder(depth):
    return [(i, j) for i in range(depth) for j in range(1, depth + 1 - i)]


def triangle_by_diagonals(depth):
    nodes = []
    for diagonal in range(depth + 1):
        for j in range(diagonal + 1):
            nodes.append((diagonal - j, j))
    return nodes


def channels_by(dense, encoder=lambda channels, i: channels[i - 1]):
    def node_channels(channels, i, j, in_channels):
        if (i, j) == (0, 0):
            return in_channels
        return encoder(channels, i) if j == 0 else dense(channels, i, j)

    return node_channels


def skips(channels, i, j):
    return sum(channels[i] for _ in range(j))


def order_rows(nodes):
    nodes.sort()
    return nodes


def order_down_diagonals(nodes):
    return sorted(nodes, key=lambda node: (node[0] + node[1], node[0]))


def order_from_below(nodes):
    rows = sorted({i for i, _ in nodes}, reverse=True)
    return [node for row in rows for node in sorted(nodes) if node[0] == row]


def order_backwards(nodes):
    return sorted(nodes, key=lambda node: (node[0] + node[1], node[1]))[::-1]


def losses_of(logits, target):
    return [nn.BCEWithLogitsLoss()(head, target) for head in logits]


def loss_halved(logits, target):
    weights = [2.0**k for k in range(len(logits))]  # the deepest head weighs most
    pairs = zip(weights, losses_of(logits, target), strict=True)
    return sum(w * value for w, value in pairs) / sum(weights)


def loss_of_mean_logits(logits, target):
    return nn.BCEWithLogitsLoss()(sum(logits) / len(logits), target)


def loss_of_mean_probabilities(logits, target):
    return nn.BCELoss()(sum(map(torch.sigmoid, logits)) / len(logits), target)


def mean_of(values):
    return sum(values) / len(values)


def pruned_by(keep):
    def pruned_nodes(nodes, level):
        kept = []
        for i, j in nodes:
            if keep(i, j, level):
                kept.append((i, j))
        return kept

    return pruned_nodes


def level_by(choose, reported=lambda validation, test: test):
    """Choose from the arrays (levels, images) of validation and of test."""

    def choose_level(validation, test, tolerance):
        means = [np.mean([table[k] for k in sorted(table)], axis=1) for table in (validation, test)]
        index = int(choose(*means, tolerance))
        return index + 1, float(reported(*means)[index])

    return choose_level


def level_first(mean, tolerance):
    return np.flatnonzero(mean >= mean.max() - tolerance)[0]


def level_small_gain(mean, tolerance):
    for k in range(len(mean) - 1):
        if mean[k + 1] - mean[k] <= tolerance:
            return k
    return len(mean) - 1


def order_like_no_other(nodes):
    nodes = sorted(nodes, key=lambda node: (node[1], node[0]))
    return [*nodes[1:], nodes[0]]


MISTAKES = [
    ("triangle", triangle_too_short, "last diagonal is missing"),
    ("triangle", triangle_square, "this is the square"),
    ("triangle", triangle_small_square, "one row and one column too few"),
    ("triangle", triangle_unet, "this is U-Net"),
    ("triangle", triangle_without_encoder, "first column is missing"),
    ("triangle", triangle_by_diagonals, "their order is not"),
    ("node_channels", channels_by(lambda c, i, j: c[i] + c[i + 1]), "only one skip"),
    ("node_channels", channels_by(skips), "map from below is forgotten"),
    ("node_channels", channels_by(lambda c, i, j: skips(c, i, j) + c[i]), "has the channels of"),
    ("node_channels", channels_by(lambda c, i, j: skips(c, i, j + 1) + c[i + 1]), "node itself"),
    ("node_channels", channels_by(lambda c, i, j: skips(c, i, j - 1) + c[i + 1]), "is missing"),
    ("node_channels", channels_by(lambda c, i, j: j * sum(c[i : i + 2])), "comes with every skip"),
    (
        "node_channels",
        channels_by(lambda c, i, j: skips(c, i, j) + c[i + 1], encoder=lambda c, i: c[i]),
        "what the row above gives",
    ),
    ("evaluation_order", order_rows, "row by row"),
    ("evaluation_order", order_down_diagonals, "a diagonal is computed from the bottom"),
    ("evaluation_order", order_from_below, "from the bottom up"),
    ("evaluation_order", order_backwards, "the way back"),
    ("evaluation_order", lambda nodes: nodes, "as they were handed over"),
    ("evaluation_order", order_like_no_other, "X(0, 0) after X(1, 0)"),
    ("evaluation_order", lambda nodes: [(0, 0), (1, 0), (0, 1)], "other nodes than the 6 that"),
    ("deep_loss", lambda logits, target: losses_of(logits, target)[-1], "only the last head"),
    ("deep_loss", lambda logits, target: losses_of(logits, target)[0], "only the first head"),
    ("deep_loss", lambda logits, target: sum(losses_of(logits, target)), "this is the sum"),
    ("deep_loss", loss_of_mean_logits, "logits are averaged first"),
    ("deep_loss", loss_of_mean_probabilities, "probabilities are averaged first"),
    ("deep_loss", loss_halved, "halved from head to head"),
    ("accurate_mode", lambda heads: torch.sigmoid(mean_of(heads)), "logits are averaged"),
    ("accurate_mode", lambda heads: mean_of([(x > 0).float() for x in heads]), "masks are"),
    ("accurate_mode", lambda heads: mean_of([x.sigmoid() > 0.5 for x in heads]), "masks are"),
    ("accurate_mode", lambda heads: heads[-1].sigmoid(), "last head alone"),
    ("accurate_mode", mean_of, "sigmoid is missing"),
    ("accurate_mode", lambda heads: mean_of([x.sigmoid() for x in heads]).sigmoid(), "twice"),
    ("accurate_mode", lambda heads: torch.stack(heads).max(0).values.sigmoid(), "largest"),
    ("accurate_mode", lambda heads: sum(x.sigmoid() for x in heads), "this is the sum"),
    ("pruned_nodes", pruned_by(lambda i, j, d: i <= d), "these are rows"),
    ("pruned_nodes", pruned_by(lambda i, j, d: j <= d), "these are columns"),
    ("pruned_nodes", pruned_by(lambda i, j, d: max(i, j) <= d), "leaves a square"),
    ("pruned_nodes", pruned_by(lambda i, j, d: i + j < d), "diagonal of the head itself"),
    ("pruned_nodes", pruned_by(lambda i, j, d: i + j == d), "diagonal alone"),
    ("pruned_nodes", pruned_by(lambda i, j, d: i + j == d or (j == 0 and i < d)), "a U-Net"),
    ("pruned_nodes", pruned_by(lambda i, j, d: not i + j <= d), "what pruning removes"),
    ("choose_level", level_by(lambda v, t, tol: level_first(t, tol)), "chosen on the test"),
    ("choose_level", level_by(lambda v, t, tol: t.argmax()), "best level on the test"),
    ("choose_level", level_by(lambda v, t, tol: v.argmax()), "best level at any cost"),
    (
        "choose_level",
        level_by(lambda v, t, tol: np.flatnonzero(v.max() - v <= tol)[-1]),
        "largest level within",
    ),
    ("choose_level", level_by(lambda v, t, tol: level_small_gain(v, tol)), "first small gain"),
    (
        "choose_level",
        level_by(lambda v, t, tol: np.flatnonzero(v >= v[-1] - tol)[0]),
        "deepest level need not",
    ),
    (
        "choose_level",
        level_by(lambda v, t, tol: level_first(v, tol), reported=lambda v, t: v),
        "is that on validation",
    ),
]

RIGHT = {  # every order that the rule can compute
    "evaluation_order": [
        lambda nodes: sorted(nodes, key=lambda node: (sum(node), node[1])),
        lambda nodes: sorted(nodes, key=lambda node: node[::-1]),  # column by column
        lambda nodes: sorted(nodes, key=lambda node: (node[1], -sum(node) * (node[1] > 0), node)),
    ],
}
