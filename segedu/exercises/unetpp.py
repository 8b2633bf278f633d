"""Exercises of the chapter on U-Net++."""

import random
from collections.abc import Callable, Sequence
from statistics import fmean

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models import unet_nodes, unetpp_nodes
from .answer import Answer, check

Node = tuple[int, int]


def check_triangle(submission: Callable[[int], list[Node]]) -> Answer:
    """Check a function of the depth that lists the nodes (i, j) of a U-Net++, sorted.

    >>> check_triangle(lambda depth: [(i, j) for i in range(depth) for j in range(depth - i)])
    not yet: the last diagonal is missing: i + j goes up to the depth, but range stops before
    """

    def nodes(keep):
        return lambda depth: [
            (i, j) for i in range(depth + 1) for j in range(depth + 1) if keep(i, j, depth)
        ]

    return check(
        submission,
        nodes(lambda i, j, depth: i + j <= depth),
        [(depth,) for depth in range(1, 7)],
        {
            "the last diagonal is missing: i + j goes up to the depth, but range stops before": (
                nodes(lambda i, j, depth: i + j < depth)
            ),
            "this is the square: below the last diagonal, i + j > depth, there is nothing": (
                nodes(lambda i, j, depth: True)
            ),
            "this square has one row and one column too few, and its lower right half should be "
            "empty: i + j <= depth": nodes(lambda i, j, depth: max(i, j) < depth),
            "this is U-Net, the first column and the last diagonal: what lies between is what "
            "U-Net++ adds": nodes(lambda i, j, depth: j == 0 or i + j == depth),
            "the first column is missing: the encoder's nodes belong to it": (
                nodes(lambda i, j, depth: j > 0 and i + j <= depth)
            ),
            "the nodes are right, their order is not: sorted() brings them into it": unetpp_nodes,
        },
    )


def check_node_channels(submission: Callable[[Sequence[int], int, int, int], int]) -> Answer:
    """Check a function (channels, i, j, in_channels) that gives how many channels X(i, j) takes.

    `channels` has one entry a row, full resolution first; the image has `in_channels`; the map from
    below is interpolated, and so keeps its channels.

    >>> check_node_channels(lambda channels, i, j, in_channels: channels[i] + channels[i + 1])
    not yet: only one skip is counted: X(i, j) takes all j nodes to its left
    """

    def takes(dense, first=lambda channels, i: channels[i - 1]):
        """What a node takes: `dense` for j > 0, `first` for j = 0 below the image."""

        def count(channels, i, j, in_channels):
            if j > 0:
                return dense(channels[i], channels[i + 1], j)
            return in_channels if i == 0 else first(channels, i)

        return count

    def right(own, below, j):
        return j * own + below

    cases = [
        (channels, i, j, in_channels)
        for channels, in_channels, nodes in [
            ((16, 32, 64, 128, 256), 1, [(0, 0), (2, 0), (0, 2), (0, 4), (1, 3), (2, 2)]),
            ((10, 14, 30, 7), 3, [(0, 0), (3, 0), (0, 1), (0, 3), (1, 2), (2, 1)]),
        ]
        for i, j in nodes
    ]
    return check(
        submission,
        takes(right),
        cases,
        {
            "only one skip is counted: X(i, j) takes all j nodes to its left": (
                takes(lambda own, below, j: own + below)
            ),
            "the map from below is forgotten: it is concatenated too": (
                takes(lambda own, below, j: j * own)
            ),
            "the map from below has the channels of its own row, i + 1: interpolation keeps them": (
                takes(lambda own, below, j: (j + 1) * own)
            ),
            "the node itself is counted among those to its left: columns 0 to j - 1 are j nodes": (
                takes(lambda own, below, j: (j + 1) * own + below)
            ),
            "one skip is missing: columns 0 to j - 1 are j nodes": (
                takes(lambda own, below, j: (j - 1) * own + below)
            ),
            "a map from below comes with every skip: it is one, X(i+1, j-1)": (
                takes(lambda own, below, j: j * (own + below))
            ),
            "in the first column a node takes what the row above gives; this is what it gives "
            "itself": takes(right, first=lambda channels, i: channels[i]),
        },
    )


def check_evaluation_order(submission: Callable[[list[Node]], list[Node]]) -> Answer:
    """Check a function that brings nodes into an order in which the rule can compute them.

    Any such order is right. The nodes are those of a U-Net or a U-Net++, shuffled.

    >>> check_evaluation_order(lambda nodes: sorted(nodes, key=lambda node: (node[1], node[0])))
    correct: 8 cases
    >>> check_evaluation_order(sorted)
    not yet: row by row, X(0, 1) comes before X(1, 0), which it brings up
    """

    def verdict(order):
        """What an order of nodes is like, in words that name each fault."""

        def run(nodes):
            result = order(list(nodes))
            if result is None or result is ...:
                return result
            done, faults = set(), []
            for i, j in result:
                left = [(i, k) for k in range(j) if (i, k) in nodes]
                needs = [*left, (i + 1, j - 1)] if j else [(i - 1, 0)] if i else []
                faults += [f"X{node} after X{i, j}" for node in needs if node not in done]
                done.add((i, j))
            if len(result) != len(nodes) or done != set(nodes):
                faults.append(f"other nodes than the {len(nodes)} that were handed over")
            return ", ".join(faults) or "each node after those that it needs"

        run.__name__ = getattr(order, "__name__", "your order")
        return run

    shuffle = random.Random(0)
    grids = [*map(unetpp_nodes, (1, 2, 3, 4, 5)), *map(unet_nodes, (2, 3, 4))]
    return check(
        verdict(submission) if callable(submission) else submission,
        verdict(lambda nodes: sorted(nodes, key=lambda node: (sum(node), node[1]))),
        [(tuple(shuffle.sample(nodes, len(nodes))),) for nodes in grids],
        {
            "row by row, X(0, 1) comes before X(1, 0), which it brings up": verdict(sorted),
            "a diagonal is computed from the bottom up: X(0, 1) brings up X(1, 0), of the same "
            "i + j": verdict(lambda nodes: sorted(nodes, key=lambda node: (sum(node), node[0]))),
            "from the bottom up the way down is not there yet: X(1, 0) pools X(0, 0)": (
                verdict(lambda nodes: sorted(nodes, key=lambda node: (-node[0], node[1])))
            ),
            "this is the order of the way back: the first node is the one that needs no other": (
                verdict(
                    lambda nodes: sorted(nodes, key=lambda node: (sum(node), node[1]), reverse=True)
                )
            ),
            "the nodes come back as they were handed over: sort them": verdict(list),
        },
    )


def check_deep_loss(submission: Callable[[list[Tensor], Tensor], Tensor]) -> Answer:
    """Check a function (logits, target) that gives the mean over the heads of their mean BCE.

    `logits` is a list of (N, 1, H, W), deepest head last; `target` is (N, 1, H, W) of 0 and 1.

    >>> check_deep_loss(lambda logits, target: (
    ...     F.binary_cross_entropy_with_logits(logits[-1], target)))
    not yet: only the last head has a loss: the others would stay untrained
    """
    bce = F.binary_cross_entropy_with_logits

    def each(logits, target):
        return torch.stack([bce(head, target) for head in logits])

    def halved(logits, target):
        weights = 0.5 ** torch.arange(len(logits)).flip(0)
        return (weights * each(logits, target)).sum() / weights.sum()

    def of_mean_probability(logits, target):
        return F.binary_cross_entropy(torch.stack(logits).sigmoid().mean(dim=0), target)

    return check(
        submission,
        lambda logits, target: each(logits, target).mean(),
        [
            (_heads(heads, seed), (_heads(1, 100 + seed)[0] > 0).float())
            for seed, heads in enumerate((1, 2, 2, 3, 3, 4, 4, 5))
        ],
        {
            "only the last head has a loss: the others would stay untrained": (
                lambda logits, target: bce(logits[-1], target)
            ),
            "only the first head has a loss: the others would stay untrained": (
                lambda logits, target: bce(logits[0], target)
            ),
            "this is the sum: with more heads the loss, and so the step, would be larger": (
                lambda logits, target: each(logits, target).sum()
            ),
            "the logits are averaged first: then only their mean is trained, and no head has to be "
            "right by itself": lambda logits, target: bce(torch.stack(logits).mean(dim=0), target),
            "the probabilities are averaged first: then no head has to be right by itself": (
                of_mean_probability
            ),
            "the weights are halved from head to head: that is for outputs of lower resolution; "
            "here all heads weigh the same": halved,
        },
    )


def check_accurate_mode(submission: Callable[[list[Tensor]], Tensor]) -> Answer:
    """Check a function of the heads' logits that gives the probabilities of the accurate mode.

    `logits` is a list of (N, 1, H, W), deepest head last; the result is (N, 1, H, W).

    >>> check_accurate_mode(lambda logits: torch.stack(logits).mean(dim=0).sigmoid())
    not yet: the logits are averaged: one head that is very sure outvotes the others. Take each \
head's sigmoid first
    """

    def stacked(combine):
        return lambda logits: combine(torch.stack(logits))

    return check(
        submission,
        stacked(lambda heads: heads.sigmoid().mean(dim=0)),
        [(_heads(heads, seed),) for seed, heads in enumerate((1, 2, 2, 3, 3, 4, 4, 5))],
        {
            "the logits are averaged: one head that is very sure outvotes the others. Take each "
            "head's sigmoid first": stacked(lambda heads: heads.mean(dim=0).sigmoid()),
            "the masks are averaged: that is a vote, which forgets how sure each head is": (
                stacked(lambda heads: (heads > 0).float().mean(dim=0))
            ),
            "this is the last head alone, a fast mode": stacked(lambda heads: heads[-1].sigmoid()),
            "the sigmoid is missing: these are logits, not probabilities": (
                stacked(lambda heads: heads.mean(dim=0))
            ),
            "the sigmoid is applied twice: everything lies between 0.5 and 0.73": (
                stacked(lambda heads: heads.sigmoid().mean(dim=0).sigmoid())
            ),
            "this is the largest of the heads: one false alarm is enough. Take their mean": (
                stacked(lambda heads: heads.sigmoid().amax(dim=0))
            ),
            "this is the sum: divide it by the number of heads": (
                stacked(lambda heads: heads.sigmoid().sum(dim=0))
            ),
        },
    )


def check_pruned_nodes(submission: Callable[[list[Node], int], list[Node]]) -> Answer:
    """Check a function (nodes, level) that keeps what pruning to the level keeps, in its order.

    >>> check_pruned_nodes(lambda nodes, level: [(i, j) for i, j in nodes if j <= level])
    not yet: these are columns: nothing right of a head's diagonal is needed, in lower rows too
    """

    def kept(keep):
        return lambda nodes, level: [(i, j) for i, j in nodes if keep(i, j, level)]

    cases = [(unetpp_nodes(depth), level) for depth in (2, 3, 4) for level in range(1, depth + 1)]
    return check(
        submission,
        kept(lambda i, j, level: i + j <= level),
        cases,
        {
            "these are rows: a head at X(0, d) needs nothing right of its diagonal": (
                kept(lambda i, j, level: i <= level)
            ),
            "these are columns: nothing right of a head's diagonal is needed, in lower rows too": (
                kept(lambda i, j, level: j <= level)
            ),
            "rows and columns are cut, which leaves a square: it is i + j that is limited": (
                kept(lambda i, j, level: i <= level and j <= level)
            ),
            "the diagonal of the head itself is cut off: keep i + j = level too": (
                kept(lambda i, j, level: i + j < level)
            ),
            "this is the diagonal alone: its nodes need those to their left": (
                kept(lambda i, j, level: i + j == level)
            ),
            "this is a U-Net of that depth: the dense skips need the nodes between": (
                kept(lambda i, j, level: i + j <= level and (j == 0 or i + j == level))
            ),
            "this is what pruning removes: keep the others": (
                kept(lambda i, j, level: i + j > level)
            ),
        },
    )


def check_choose_level(
    submission: Callable[
        [dict[int, list[float]], dict[int, list[float]], float], tuple[int, float]
    ],
) -> Answer:
    """Check a function (validation, test, tolerance) that gives a level and its mean test IoU.

    `validation` and `test` hold for each level, 1 first, the IoU of every image. The level is the
    smallest whose mean validation IoU is at most `tolerance` below the best level's.

    >>> def best(validation, test, tolerance):
    ...     level = max(validation, key=lambda level: sum(validation[level]))
    ...     return level, sum(test[level]) / len(test[level])
    >>> check_choose_level(best)
    not yet: this is the best level at any cost: a smaller one within the tolerance will do
    """

    def within(validation, tolerance):
        best = max(map(fmean, validation.values()))
        return [level for level, ious in validation.items() if fmean(ious) >= best - tolerance]

    def first_small_gain(validation, test, tolerance):
        level = 1
        while level + 1 in validation and (
            fmean(validation[level + 1]) - fmean(validation[level]) > tolerance
        ):
            level += 1
        return level

    def near_deepest(validation, test, tolerance):
        deepest = fmean(validation[max(validation)])
        return min(k for k, ious in validation.items() if fmean(ious) >= deepest - tolerance)

    def then_test(choose, report=lambda validation, test: test):
        def run(*case):
            level = choose(*case)
            return level, fmean(report(*case[:2])[level])

        return run

    def smallest(validation, test, tolerance):
        return min(within(validation, tolerance))

    tables = [  # mean IoU of each level on validation and on test, in hundredths; the tolerance
        ((70, 80, 83, 84), (71, 78, 80, 84), 2),
        ((84, 85, 86, 86), (80, 85, 86, 88), 3),
        ((75, 82, 83, 81), (77, 79, 83, 84), 2),
        ((60, 70, 80, 90), (60, 68, 81, 89), 15),
        ((80, 81, 83, 85), (82, 82, 83, 83), 3),
        ((70, 71, 80, 81), (73, 79, 80, 81), 3),
        ((81, 80, 84, 79), (80, 81, 82, 80), 1),
        ((66, 74, 78), (77, 78, 78), 1),
        ((88, 82), (80, 83), 2),
    ]

    def spread(means, width):
        """Four images a level, whose mean is the one wanted."""
        return {
            level: [mean / 100 + width * step for step in (-0.03, -0.01, 0.01, 0.03)]
            for level, mean in enumerate(means, start=1)
        }

    # A little more room than the hundredths, so that no comparison hangs on rounding.
    cases = [
        (spread(validation, 1), spread(test, 2), (tolerance + 0.5) / 100)
        for validation, test, tolerance in tables
    ]
    return check(
        submission,
        then_test(smallest),
        cases,
        {
            "the level is chosen on the test images: their IoU is then no honest number any more": (
                then_test(lambda validation, test, tolerance: min(within(test, tolerance)))
            ),
            "this is the best level on the test images: choose on validation, and mind the cost": (
                then_test(lambda validation, test, tolerance: within(test, 0)[0])
            ),
            "this is the best level at any cost: a smaller one within the tolerance will do": (
                then_test(lambda validation, test, tolerance: within(validation, 0)[0])
            ),
            "the largest level within the tolerance is chosen: the smallest is wanted": (
                then_test(lambda validation, test, tolerance: max(within(validation, tolerance)))
            ),
            "this stops at the first small gain: a later level may still be far better. Compare "
            "with the best level": then_test(first_small_gain),
            "the deepest level need not be the best: compare with the best": then_test(
                near_deepest
            ),
            "the IoU that is given back is that on validation, on which the level was chosen: give "
            "back the one on test": (
                then_test(smallest, report=lambda validation, test: validation)
            ),
        },
    )


def _heads(count: int, seed: int) -> list[Tensor]:
    """Logits (2, 1, 3, 4) of some heads, some of them very sure."""
    generator = torch.Generator().manual_seed(seed)
    return list(3 * torch.randn(count, 2, 1, 3, 4, generator=generator))
