"""Exercises of the chapter on U-Net++."""

import random
from collections.abc import Callable, Sequence
from functools import cache
from statistics import fmean, median

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models import unet_nodes, unetpp_nodes
from .answer import Answer, _same, check
from .losses import NO_GRADIENT
from .networks import CUT, TOLERANCE, block, cuts_gradient, error_of, fill

Node = tuple[int, int]


def check_node_channels(submission: Callable[[Sequence[int], int, int, int], int]) -> Answer:
    """Check a function (channels, i, j, in_channels) that returns how many channels X(i, j) takes.

    `channels` has one entry per row, full resolution first; the image has `in_channels`; the map
    from below is interpolated, which keeps its channels.

    >>> check_node_channels(lambda channels, i, j, in_channels: channels[i] + channels[i + 1])
    not yet: only one skip is counted: X(i, j) takes all j nodes to its left
    """

    def takes(dense=lambda own, below, j: j * own + below, up=1):
        """A function of the case: `dense` for j > 0, and the row `up` above for j = 0."""

        def count(channels, i, j, in_channels):
            if j > 0:
                return dense(channels[i], channels[i + 1], j)
            return in_channels if i == 0 else channels[i - up]

        return count

    grids = [
        ((16, 32, 64, 128, 256), 1, [(0, 0), (2, 0), (0, 2), (0, 4), (1, 3), (2, 2)]),
        ((10, 14, 30, 7), 3, [(0, 0), (3, 0), (0, 1), (0, 3), (1, 2), (2, 1)]),
    ]
    cases = [(channels, i, j, image) for channels, image, nodes in grids for i, j in nodes]
    wrong = {
        "only one skip is counted: X(i, j) takes all j nodes to its left": (
            lambda own, below, j: own + below
        ),
        "the map from below is missing: it is concatenated too": lambda own, below, j: j * own,
        "the map from below has the channels of its own row, i + 1: interpolation keeps them": (
            lambda own, below, j: (j + 1) * own
        ),
        "the node itself was counted: its left neighbours are the j columns 0 to j - 1": (
            lambda own, below, j: (j + 1) * own + below
        ),
        "one skip is missing: the left neighbours of a node are the j columns 0 to j - 1": (
            lambda own, below, j: (j - 1) * own + below
        ),
        "a map from below was counted for every skip, but there is one, X(i+1, j-1)": (
            lambda own, below, j: j * (own + below)
        ),
    }
    misconceptions = {sentence: takes(dense) for sentence, dense in wrong.items()} | {
        "in the first column, a node takes what the row above gives: these are the channels that "
        "it gives itself": takes(up=0),
        "X(0, 0) takes the image, which has in_channels: no row is above it, and channels[-1] is "
        "the last row": lambda channels, i, j, in_channels: takes()(channels, i, j, channels[-1]),
        "the first column has no map from below: X(i, 0) takes the map of the row above, X(0, 0) "
        "the image": lambda channels, i, j, in_channels: j * channels[i] + channels[i + 1],
        "these are the channels that the node gives, not those that it takes": (
            lambda channels, i, j, in_channels: channels[i]
        ),
        "only X(0, 0) takes the image: X(i, 0) takes the map of the row above": (
            lambda channels, i, j, in_channels: (
                takes()(channels, i, j, in_channels) if j > 0 else in_channels
            )
        ),
        "the image has in_channels channels, not always 1": (
            lambda channels, i, j, in_channels: takes()(channels, i, j, 1)
        ),
        "the map from below comes from row i + 1, not i - 1": (
            lambda channels, i, j, in_channels: (
                j * channels[i] + channels[i - 1] if j else takes()(channels, i, j, in_channels)
            )
        ),
    }
    return check(submission, takes(), cases, misconceptions)


def check_evaluation_order(submission: Callable[[list[Node]], list[Node]]) -> Answer:
    """Check a function that puts nodes into an order in which the rule can compute them.

    Every such order is correct. The nodes are those of a U-Net or a U-Net++, shuffled.

    >>> check_evaluation_order(lambda nodes: sorted(nodes, key=lambda node: (node[1], node[0])))
    correct: 8 cases
    >>> check_evaluation_order(sorted)
    not yet: row by row, X(0, 1) comes before X(1, 0), but it needs the map from there
    """

    def run(order, nodes):
        """A sentence that names what is wrong with an order of nodes."""
        result = order(list(nodes))
        if result is None or result is ...:
            return result
        done, faults = set(), []
        for i, j in result:
            left = [(i, k) for k in range(j) if (i, k) in nodes]
            needs = [*left, (i + 1, j - 1)] if j else [(i - 1, 0)] if i else []
            faults += [f"X{i, j} comes before X{node}" for node in needs if node not in done]
            done.add((i, j))
        if len(result) != len(nodes):
            return f"{len(result)} nodes were returned, expected {len(nodes)}"
        if done != set(nodes):
            return f"other nodes than the {len(nodes)} of the network"
        return ", ".join(faults) or "each node after those that it needs"

    def by(key, **options):
        return lambda nodes: sorted(nodes, key=lambda node: key(*node), **options)

    shuffle = random.Random(0)
    grids = [*map(unetpp_nodes, (1, 2, 3, 4, 5)), *map(unet_nodes, (2, 3, 4))]
    cases = [(tuple(shuffle.sample(nodes, len(nodes))),) for nodes in grids]
    misconceptions = {
        "row by row, X(0, 1) comes before X(1, 0), but it needs the map from there": sorted,
        "each diagonal has to be computed from the bottom up: X(0, 1) needs the map from X(1, 0), "
        "which has the same i + j": by(lambda i, j: (i + j, i)),
        "on a diagonal the order matters too: X(0, 1) needs the map from X(1, 0), which has the "
        "same i + j": by(lambda i, j: i + j),
        "in the first column the order matters too: X(1, 0) pools the map from X(0, 0)": (
            by(lambda i, j: j)
        ),
        "from the bottom up, X(1, 0) comes before X(0, 0), but it pools that map": (
            by(lambda i, j: (-i, j))
        ),
        "this is the order backwards: the first node is the one that needs no other": (
            by(lambda i, j: (i + j, j), reverse=True)
        ),
        "the nodes are returned in the order in which they came: sort them": list,
    }
    return check(submission, by(lambda i, j: (i + j, j)), cases, misconceptions, run=run)


class Triangle(nn.Module):
    """A U-Net++ as `check_unetpp` asks for it, or with one mistake.

    `skips` and `below` say what a node takes, `join` in which order, `mode` how the map from below
    is enlarged, `pool` how a map is halved, `at` which X(0, j) have a head, `used` in which order
    the heads are used, `answer` what becomes of their logits, and `name` under which key a head is
    kept; `order` is that of the nodes, and `counted` how many left neighbours the blocks are made
    for. The other options are those of `block`.
    """

    def __init__(
        self,
        channels: Sequence[int],
        *,
        skips: Callable = lambda left: left,
        below: Callable = lambda i, j: (i + 1, j - 1),
        join: Callable = lambda left, up: [*left, up],
        mode: str = "bilinear",
        pool: Callable = F.max_pool2d,
        at: Callable = lambda depth: range(1, depth + 1),
        used: Callable = list,
        answer: Callable = list,
        name: Callable = str,
        order: Callable = list,
        counted: Callable = lambda j: j,
        shared: bool = False,
        registered: bool = True,
        **options,
    ):
        super().__init__()
        self.nodes = order(unetpp_nodes(len(channels) - 1))
        self.skips, self.below, self.join, self.answer = skips, below, join, answer
        self.mode, self.pool, self.used = mode, pool, used
        self.columns = at(len(channels) - 1)
        blocks, self.ups = {}, nn.ModuleDict()
        for i, j in self.nodes:
            widths = [channels[i] for _ in skips(range(counted(j)))]
            if j > 0:
                widths.append(channels[i + (mode != "transposed")])
            before = sum(widths) or (1 if i == 0 else channels[i - 1])
            blocks[f"{i}_{j}"] = block(before, channels[i], **options)
            if j > 0 and mode == "transposed":
                self.ups[f"{i}_{j}"] = nn.ConvTranspose2d(channels[i + 1], channels[i], 2, stride=2)
        self.blocks = nn.ModuleDict(blocks) if registered else blocks
        heads = [nn.Conv2d(channels[0], 1, 1) for _ in self.columns]
        heads = [heads[0]] * len(heads) if shared else heads
        self.heads = nn.ModuleDict(zip(map(name, self.columns), heads, strict=True))

    def enlarged(self, x: Tensor, node: str) -> Tensor:
        if self.mode == "transposed":
            return self.ups[node](x)
        if self.mode == "nearest":
            return F.interpolate(x, scale_factor=2, mode="nearest")
        corners = self.mode == "corners"
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=corners)

    def forward(self, image: Tensor) -> list[Tensor]:
        x = {}
        for i, j in self.nodes:
            if j > 0:
                left = self.skips([x[i, k] for k in range(j)])
                inputs = self.join(left, self.enlarged(x[self.below(i, j)], f"{i}_{j}"))
            else:
                inputs = [self.pool(x[i - 1, 0], 2) if i > 0 else image]
            x[i, j] = self.blocks[f"{i}_{j}"](torch.cat(inputs, dim=1))
        heads = zip(self.used(self.heads.values()), self.columns, strict=True)
        return self.answer([head(x[0, j]) for head, j in heads])


HIDDEN = (
    "PyTorch finds no 3 x 3 convolutions in the network, so no optimizer would train them: keep "
    "the blocks in an nn.ModuleDict, not in a plain dict or list"
)
TOO_FEW_HEADS = (
    "there are fewer 1 x 1 convolutions than logits: each X(0, j), j > 0, has a head of its own, "
    "kept in an nn.ModuleDict"
)
TOO_EARLY = (
    "a node needs a map that is not computed yet: compute all nodes of the triangle, in an order "
    "as in Exercise 2"
)
CHANNELS = (
    "a layer gets another number of channels than it was made for: Exercise 1 counts those that "
    "enter a block, and each head takes channels[0]"
)
NAMES = (
    "the network is right, but trained weights do not fit into it: keep the blocks in an "
    'nn.ModuleDict called blocks, under "0_0", "0_1" and so on, and the heads in one called heads, '
    'under "1", "2" and so on'
)


def check_unetpp(submission: Callable[[Sequence[int]], nn.Module]) -> Answer:
    """Check a class, or a function, that makes a U-Net++ of the channels that it is given.

    One grey channel in; out comes a list of logits, one for each X(0, j) with j > 0, deepest last.
    First all weights are set by their shape, so that a mistake is found whatever the layers are
    called. If that is right, weights are loaded by the names that the exercise asks for, with
    another bias for each head: is each head used at its own node?

    >>> check_unetpp(lambda channels: Triangle(channels, skips=lambda left: left[-1:]))
    not yet: only the nearest skip arrives: X(i, j) takes all j nodes to its left
    """

    @cache
    def expected(channels):
        """An image, and the right network with its logits."""
        right, size = fill(Triangle(channels)), 2 ** (len(channels) + 1)
        image = torch.rand(1, 1, size, size, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            return image, right, right(image)

    def logits_of(network, image):
        """What a network answers; a mistake that raises an error has a kind of error of its own."""
        try:
            with torch.no_grad():
                return fill(network)(image)
        except KeyError as error:
            if not isinstance(error.args[0], tuple):
                raise
            raise error_of(TOO_EARLY)(f"X{error.args[0]} is not computed yet") from None
        except RuntimeError as error:
            if "channels instead" not in str(error):
                raise
            raise error_of(CHANNELS)(str(error)) from None

    def answer(make, channels):
        try:
            network = make(channels)
        except IndexError as error:
            depth = len(channels) - 1
            hint = f"the depth is len(channels) - 1, here {depth}, and nodes have i + j <= {depth}"
            raise IndexError(f"{error}; {hint}") from None
        if network is None or network is ...:
            return network
        sizes = [weight.shape[-1] for weight in network.parameters() if weight.dim() == 4]
        image, right, logits = expected(tuple(channels))
        result = logits_of(network, image)
        if result is None or result is ...:
            return result
        if 3 not in sizes:
            return HIDDEN
        if sizes.count(1) < len(result):
            return TOO_FEW_HEADS
        if not _same(result, logits, TOLERANCE):
            return result
        if cuts_gradient(network, right, image):
            return CUT
        levels = range(1, len(channels))
        biases = {f"heads.{level}.bias": torch.tensor([float(level)]) for level in levels}
        try:
            network.load_state_dict(right.state_dict() | biases)
        except RuntimeError:  # other names or shapes
            return NAMES
        with torch.no_grad():
            return network(image)

    def wrong(**options):
        return cache(lambda channels: Triangle(channels, **options))

    def mean_probability(logits):
        return torch.stack(logits).sigmoid().mean(0)

    widths = (4, 8), (4, 8, 16), (3, 5, 7), (6, 4, 5), (5, 8, 6), (2, 4, 8, 16)
    cases = [(channels,) for channels in widths]
    misconceptions = {
        "only the nearest skip arrives: X(i, j) takes all j nodes to its left": (
            wrong(skips=lambda left: left[-1:])
        ),
        "only the encoder's skip arrives, as in U-Net: X(i, j) takes all j nodes to its left": (
            wrong(skips=lambda left: left[:1])
        ),
        "the skips stand in the opposite order: X(i, 0) comes first, X(i, j-1) last": (
            wrong(skips=lambda left: left[::-1])
        ),
        "the map from below stands first; in this course the skips stand first": (
            wrong(join=lambda left, up: [up, *left])
        ),
        "the map from below is always the encoder's, X(i+1, 0): it has to be X(i+1, j-1)": (
            wrong(below=lambda i, j: (i + 1, 0))
        ),
        "only the deepest head answers: return the logits of all heads, in a list": (
            wrong(answer=lambda logits: logits[-1])
        ),
        "the list begins with the deepest head: here the deepest comes last": (
            wrong(answer=lambda logits: logits[::-1])
        ),
        "X(0, 0) has a head too: the heads are at X(0, 1) to X(0, L), all after a map from below": (
            wrong(at=lambda depth: range(depth + 1))
        ),
        "the heads are one column too far left: they are at X(0, 1) to X(0, L)": (wrong(at=range)),
        "the logits are averaged: return all of them in a list, so that each has its own loss": (
            wrong(answer=lambda logits: torch.stack(logits).mean(0))
        ),
        "this is the mean of the probabilities: return the logits of all heads, in a list": (
            wrong(answer=mean_probability)
        ),
        "the heads end in a sigmoid, but losses take logits": (
            wrong(answer=lambda logits: [head.sigmoid() for head in logits])
        ),
        TOO_FEW_HEADS: wrong(shared=True),
        "one head answers at all X(0, j), and the others are never used: at X(0, 1) use "
        'heads["1"], at X(0, 2) heads["2"], and so on': (
            wrong(used=lambda heads: [list(heads)[-1]] * len(heads))
        ),
        "the first head answers at all X(0, j), and the others are never used: at X(0, 2) use "
        'heads["2"], and so on': wrong(used=lambda heads: [next(iter(heads))] * len(heads)),
        'the heads are used in the opposite order: at X(0, 1) use heads["1"], the deepest last': (
            wrong(used=lambda heads: list(heads)[::-1])
        ),
        NAMES: wrong(name=lambda j: f"head {j}"),
        HIDDEN: wrong(registered=False),
        TOO_EARLY: wrong(order=sorted),
        CHANNELS: wrong(counted=lambda j: min(j, 1)),
        "the map from below is enlarged by repeating pixels (nearest): use bilinear": (
            wrong(mode="nearest")
        ),
        "align_corners must be False": wrong(mode="corners"),
        "the map from below comes through a transposed convolution: use bilinear interpolation": (
            wrong(mode="transposed")
        ),
        "the maps are halved by their mean: use max pooling": wrong(pool=F.avg_pool2d),
        "the normalisation is missing in the blocks": wrong(norm=False),
        "the ReLUs are missing in the blocks": wrong(relu=False),
        "a block has two convolutions, here is one": wrong(layers=1),
        CUT: wrong(answer=lambda logits: [head.detach() for head in logits]),
    }
    return check(submission, Triangle, cases, misconceptions, run=answer, tolerance=TOLERANCE)


def check_deep_loss(submission: Callable[[list[Tensor], Tensor], Tensor]) -> Answer:
    """Check a function (logits, target) that returns the mean over the heads of their mean BCE.

    `logits` is a list of (N, 1, H, W), deepest head last; `target` is (N, 1, H, W) of 0 and 1.

    >>> check_deep_loss(lambda logits, target: (
    ...     F.binary_cross_entropy_with_logits(logits[-1], target)))
    not yet: only the last head has a loss, so the others would stay untrained
    """
    bce = F.binary_cross_entropy_with_logits

    def each(logits, target):
        return torch.stack([bce(head, target) for head in logits])

    def solution(logits, target):
        return each(logits, target).mean()

    def halved(logits, target):
        weights = 0.5 ** torch.arange(len(logits)).flip(0)
        return (weights * each(logits, target)).sum() / weights.sum()

    def of_mean_probability(logits, target):
        return F.binary_cross_entropy(torch.stack(logits).sigmoid().mean(dim=0), target)

    def only_last_trained(logits, target):
        return solution([*(head.detach() for head in logits[:-1]), logits[-1]], target)

    cases = [
        (_heads(heads, seed), (_heads(1, 100 + seed)[0] > 0).float())
        for seed, heads in enumerate((1, 2, 2, 3, 3, 4, 4, 5))
    ]
    misconceptions = {
        "only the last head has a loss, so the others would stay untrained": (
            lambda logits, target: bce(logits[-1], target)
        ),
        "only the first head has a loss, so the others would stay untrained": (
            lambda logits, target: bce(logits[0], target)
        ),
        "this is the sum: with more heads the loss would be larger": (
            lambda *case: each(*case).sum()
        ),
        "the logits are averaged first, so only their mean is trained, and no head has to be right "
        "by itself": lambda logits, target: bce(torch.stack(logits).mean(dim=0), target),
        "the probabilities are averaged first, so no head has to be right by itself": (
            of_mean_probability
        ),
        "this is the sum divided by 4: divide by the number of heads, len(logits)": (
            lambda *case: each(*case).sum() / 4
        ),
        "the heads go through a sigmoid before the loss, but the loss takes logits": (
            lambda logits, target: solution([head.sigmoid() for head in logits], target)
        ),
        "this is the loss of the first head, divided by the number of heads: `return` stands in "
        "the loop": lambda logits, target: bce(logits[0], target) / len(logits),
        "the weights are halved from head to head, which is for outputs of lower resolution: here "
        "all heads have the same weight": halved,
        "only the last head has a gradient: .detach() cuts the others off, so they would stay "
        "untrained": only_last_trained,
        NO_GRADIENT: lambda *case: solution(*case).detach(),
    }
    return check(submission, solution, cases, misconceptions, also="gradient")


def check_accurate_mode(submission: Callable[[list[Tensor]], Tensor]) -> Answer:
    """Check a function of the heads' logits that returns the probabilities of the accurate mode.

    `logits` is a list of (N, 1, H, W), deepest head last; the result is (N, 1, H, W).

    >>> check_accurate_mode(lambda logits: torch.stack(logits).mean(dim=0).sigmoid())
    not yet: the logits are averaged, so one very sure head outvotes the others: sigmoid comes first
    """

    def stacked(combine):
        return lambda logits: combine(torch.stack(logits))

    cases = [(_heads(heads, seed),) for seed, heads in enumerate((1, 2, 2, 3, 3, 4, 4, 5))]
    wrong = {
        "the logits are averaged, so one very sure head outvotes the others: sigmoid comes first": (
            lambda heads: heads.mean(0).sigmoid()
        ),
        "the masks are averaged, a vote that ignores how sure each head is": (
            lambda heads: (heads > 0).float().mean(0)
        ),
        "this is the last head alone, a fast mode": lambda heads: heads[-1].sigmoid(),
        "the sigmoid is missing: these are logits, not probabilities": lambda heads: heads.mean(0),
        "the sigmoid is applied twice, so everything lies between 0.5 and 0.73": (
            lambda heads: heads.sigmoid().mean(0).sigmoid()
        ),
        "this is the maximum over the heads, so a single false positive is enough: take the mean": (
            lambda heads: heads.sigmoid().amax(0)
        ),
        "this is the sum: divide by the number of heads": lambda heads: heads.sigmoid().sum(0),
        "this is one number, the mean over heads, images and pixels: average the heads only, "
        "dim=0": lambda heads: heads.sigmoid().mean(),
        "this is a mask: return the probabilities": lambda heads: heads.sigmoid().mean(0) > 0.5,
        "this is the mean over the images: of a stack of heads, (L, N, 1, H, W), average the first "
        "dimension": lambda heads: heads.sigmoid().mean(1),
    }
    misconceptions = {sentence: stacked(combine) for sentence, combine in wrong.items()} | {
        "torch.cat makes one batch of all heads, so images and heads are averaged together: "
        "torch.stack gives the heads a dimension of their own": (
            lambda logits: torch.cat(logits).sigmoid().mean(0)
        ),
        "torch.cat makes one batch of all heads, and a single image is left of it: torch.stack "
        "gives the heads a dimension of their own": (
            lambda logits: torch.cat(logits).sigmoid().mean(0, keepdim=True)
        ),
    }
    solution = stacked(lambda heads: heads.sigmoid().mean(0))
    return check(submission, solution, cases, misconceptions)


def check_pruned_nodes(submission: Callable[[list[Node], int], list[Node]]) -> Answer:
    """Check a function (nodes, level) that keeps the nodes that pruning keeps, in their order.

    >>> check_pruned_nodes(lambda nodes, level: [(i, j) for i, j in nodes if j <= level])
    not yet: these are columns: a head needs nothing right of its diagonal
    """

    def kept(keep):
        """A function that keeps the nodes for which keep(i, j, level) is true."""
        return lambda nodes, level: [(i, j) for i, j in nodes if keep(i, j, level)]

    solution = kept(lambda i, j, d: i + j <= d)
    cases = [(unetpp_nodes(depth), level) for depth in (2, 3, 4) for level in range(1, depth + 1)]
    cases.append((unetpp_nodes(4)[::-1], 2))
    wrong = {
        "these are rows: a head needs nothing right of its diagonal": lambda i, j, d: i <= d,
        "these are columns: a head needs nothing right of its diagonal": lambda i, j, d: j <= d,
        "rows and columns are limited, which leaves a square: a head needs nothing right of its "
        "diagonal": lambda i, j, d: max(i, j) <= d,
        "the diagonal of the head itself is missing": lambda i, j, d: i + j < d,
        "this is one diagonal too many: the head needs nothing right of its own": (
            lambda i, j, d: i + j <= d + 1
        ),
        "the nodes inside the triangle are missing: X(0, 2), for instance, needs X(1, 1)": (
            lambda i, j, d: min(i, j) == 0 and i + j <= d
        ),
        "this is the diagonal alone: its nodes need those to their left": (
            lambda i, j, d: i + j == d
        ),
        "this is a U-Net of that depth: the dense skips need the nodes between": (
            lambda i, j, d: i + j == d or (j == 0 and i < d)
        ),
        "this is what pruning removes: return the others": lambda i, j, d: i + j > d,
    }
    misconceptions = {sentence: kept(keep) for sentence, keep in wrong.items()} | {
        "the nodes are correct, but their order has changed: keep it": (
            lambda *case: sorted(solution(*case))
        ),
        "a set has no order: return a list": lambda *case: set(solution(*case)),
    }

    def run(keep, nodes, level):
        """The nodes that are kept; a text for a set, and for the right nodes in another order."""
        result = keep(nodes, level)
        if isinstance(result, set):  # `check` compares no sets
            return f"the set {sorted(result)}"
        if isinstance(result, list):
            texts, right = list(map(str, result)), list(map(str, solution(nodes, level)))
            if texts != right and sorted(texts) == sorted(right):
                return "the right nodes in another order"
        return result

    return check(submission, solution, cases, misconceptions, run=run)


def check_choose_level(submission: Callable) -> Answer:
    """Check a function (validation, test, tolerance) that returns a level and its mean test IoU.

    `validation` and `test` hold for each level, 1 first, the IoU of every image. The level is the
    smallest whose mean validation IoU is at most `tolerance` below that of the best level.

    >>> def best(validation, test, tolerance):
    ...     level = max(validation, key=lambda level: sum(validation[level]))
    ...     return level, sum(test[level]) / len(test[level])
    >>> check_choose_level(best)
    not yet: this is the best level at any cost: take the smallest one within the tolerance
    """

    def within(table, tolerance, mean=fmean):
        best = max(map(mean, table.values()))
        return [level for level, ious in table.items() if best - mean(ious) <= tolerance]

    def chosen(choose, report=lambda validation, test: test, mean=fmean, counted_from=1):
        """A function that chooses a level, and returns it with its mean IoU."""

        def choose_level(validation, test, tolerance):
            level = choose(validation, test, tolerance)
            return level - 1 + counted_from, mean(report(validation, test)[level])

        return choose_level

    def smallest(validation, test, tolerance):
        return min(within(validation, tolerance))

    def strictly_within(validation, test, tolerance):
        return min(within(validation, tolerance - 1e-9))

    def first_small_gain(validation, test, tolerance):
        level = 1
        while level + 1 in validation and (
            fmean(validation[level + 1]) - fmean(validation[level]) > tolerance
        ):
            level += 1
        return level

    def lowest_mean(validation, test, tolerance):
        return min(within(validation, tolerance), key=lambda level: fmean(validation[level]))

    def within_a_share(validation, test, tolerance):
        best = max(map(fmean, validation.values()))
        return min(within(validation, tolerance * best))

    def near_best_of_test(validation, test, tolerance):
        best = max(map(fmean, test.values()))
        return min(k for k, ious in validation.items() if best - fmean(ious) <= tolerance)

    def near_deepest(validation, test, tolerance):
        deepest = fmean(validation[max(validation)])
        return min(k for k, ious in validation.items() if deepest - fmean(ious) <= tolerance)

    # The mean IoU of each level on validation and on test, and the tolerance, in 64ths: exact.
    tables = [
        ((45, 51, 53, 54), (45, 50, 51, 54), 1),
        ((54, 54, 55, 55), (51, 54, 55, 56), 2),
        ((48, 52, 53, 52), (49, 51, 53, 54), 1),
        ((38, 45, 51, 58), (38, 44, 52, 57), 10),
        ((51, 52, 53, 54), (52, 52, 53, 53), 2),
        ((45, 45, 51, 52), (47, 51, 51, 52), 2),
        ((52, 51, 54, 51), (51, 52, 52, 51), 1),
        ((42, 47, 50), (49, 50, 50), 1),
        ((56, 52), (51, 53), 2),
        ((53, 52, 54, 51), (50, 52, 52, 53), 2),
        ((50, 54, 52, 55), (48, 51, 53, 54), 3),
        ((38, 48.5, 51, 58), (39, 47, 52, 57), 10),
        ((41, 46, 48, 51, 57), (42, 45, 49, 52, 56), 2),
    ]

    def spread(means, width):
        """Four images per level, around the mean; their median is another one for each level."""
        steps = [width * step / 64 for step in (-3, -2, 0, 5)]
        return {
            k: [mean / 64 + step * (-1) ** k for step in steps]
            for k, mean in enumerate(means, start=1)
        }

    cases = [(spread(v, 1), spread(t, 2), tolerance / 64) for v, t, tolerance in tables]
    misconceptions = {
        "the level is chosen on the test images, so their IoU is no longer an honest number": (
            chosen(lambda validation, test, tolerance: min(within(test, tolerance)))
        ),
        "this is the best level on the test images: choose it on validation, and consider the "
        "cost": chosen(lambda validation, test, tolerance: within(test, 0)[0]),
        "this is the best level at any cost: take the smallest one within the tolerance": (
            chosen(lambda validation, test, tolerance: within(validation, 0)[0])
        ),
        "this is the largest level within the tolerance: take the smallest": (
            chosen(lambda validation, test, tolerance: max(within(validation, tolerance)))
        ),
        "a level that lies exactly `tolerance` below the best one is good enough: at most means "
        "<=": chosen(strictly_within),
        "this stops at the first small gain, but a later level may still be much better: compare "
        "with the best level": chosen(first_small_gain),
        "this is the level with the smallest mean within the tolerance: take the smallest level": (
            chosen(lowest_mean)
        ),
        "the tolerance is taken as a share of the best IoU: it is a difference of IoU, best - "
        "tolerance": chosen(within_a_share),
        "the best IoU is taken from the test images: everything but the last line needs "
        "validation only": chosen(near_best_of_test),
        "these are medians: the mean over the images counts": chosen(
            lambda validation, test, tolerance: min(within(validation, tolerance, median)),
            mean=median,
        ),
        "the level is counted from 0: the first level is 1": chosen(smallest, counted_from=0),
        "the deepest level need not be the best: compare with the best": chosen(near_deepest),
        "the level comes first, then its IoU": (lambda *case: chosen(smallest)(*case)[::-1]),
        "the second value is a list, the IoU of each image: return their mean": (
            chosen(smallest, mean=list)
        ),
        "return the level and its IoU, both": lambda *case: chosen(smallest)(*case)[0],
        "the IoU is that on validation, on which the level was chosen: return the one on test": (
            chosen(smallest, report=lambda validation, test: validation)
        ),
    }
    return check(submission, chosen(smallest), cases, misconceptions)


def _heads(count: int, seed: int) -> list[Tensor]:
    """Logits (2, 1, 3, 4) of some heads, some of them very sure."""
    generator = torch.Generator().manual_seed(seed)
    return list(3 * torch.randn(count, 2, 1, 3, 4, generator=generator))
