"""Drawings of a NodeGrid, read from the module itself: its nodes, skips, heads and shapes.

Node X(i, j) is drawn at x = i + 2 j, y = -i: the encoder runs to the lower right, the decoder to
the upper right, and the skips of a row are horizontal. The same rule draws U-Net and U-Net++.
"""

import copy
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from .plotting import COLOURS, axes_or_new

Node = tuple[int, int]

# Each kind of arrow can be recognised without its colour, by its direction and its dashes.
ARROWS = {
    "block": (COLOURS["blue"], "-"),
    "down": (COLOURS["vermilion"], "-"),
    "up": (COLOURS["green"], "-"),
    "skip": ("#555555", (0, (4, 2))),
    "head": (COLOURS["purple"], "-"),
}
FILL, ADDED, REMOVED, INK, FAINT = "#BFE0F5", "#FFF1C9", "#F3F3F3", "#222222", "#CFCFCF"
ROW = 1.8  # height of a row in draw_grid, in units of x


def grid_edges(model) -> list[tuple[str, Node, Node]]:
    """The connections of a grid's nodes: (kind, from, to) with kind "down", "up" or "skip".

    >>> from segedu import UNet
    >>> grid_edges(UNet(1, 1, channels=(4, 8)))
    [('down', (0, 0), (1, 0)), ('skip', (0, 0), (0, 1)), ('up', (1, 0), (0, 1))]
    """
    edges = []
    for i, j in model.nodes:
        if j > 0:
            edges += [("skip", (i, k), (i, j)) for k in model.skip_sources(i, j)]
            edges.append(("up", (i + 1, j - 1), (i, j)))
        elif i > 0:
            edges.append(("down", (i - 1, 0), (i, 0)))
    return edges


def draw_grid(
    model, *, level: int | None = None, labels: bool = True, ax: Axes | None = None
) -> Axes:
    """Draw a grid's nodes with their channels, the arrows between them, and the heads.

    The nodes of a U-Net of this depth are blue with a solid border; those that U-Net++ adds are
    yellow with a dashed border. For the meaning of the arrows, call `legend()` on the axes. Every
    artist's gid says what it shows: "node 0 1", "skip 0 0 0 1", "head 1".

    Parameters
    ----------
    model : NodeGrid, or anything with its nodes, skip_sources, channels, depth, levels, up and
        prune.
    level : grey out what `model.prune(level)` removes.
    labels : write names and channels; a small drawing is clearer without them.

    Raises ValueError if the model has no head at that level.

    >>> from segedu import UNetPlusPlus
    >>> ax = draw_grid(UNetPlusPlus(1, 1, channels=(4, 8, 16)))
    >>> sum(patch.get_gid().startswith("node") for patch in ax.patches)
    6
    """
    kept = model if level is None else model.prune(level)
    kept_edges, kept_nodes, wide, high = set(grid_edges(kept)), set(kept.nodes), 1.3, 0.84
    top = high / 2 + 0.2 + 0.28 * model.depth
    xlim, ylim = (-0.8, 2 * model.depth + 0.8), (-ROW * model.depth - 0.5, top + 0.4 * labels)
    ax = _empty_axes(ax, (7, 7 * (ylim[1] - ylim[0]) / (xlim[1] - xlim[0])))
    ax.set(xlim=xlim, ylim=ylim)
    for edge in grid_edges(model):
        kind, (i0, j0), (i1, j1) = edge
        x0, y0, x1, y1, bend = i0 + 2 * j0, -ROW * i0, i1 + 2 * j1, -ROW * i1, 0.0
        if kind != "skip":  # between the facing corners
            side = 1 if kind == "up" else -1
            start, end = (x0 + 0.3, y0 + side * high / 2), (x1 - 0.3, y1 - side * high / 2)
        elif any((i0, k) in model.nodes for k in range(j0 + 1, j1)):
            # Over the nodes between; a longer skip rises higher and starts further out.
            out = 0.8 - 0.2 * (j1 - j0)
            start, end = (x0 + out, y0 + high / 2), (x1 - out, y1 + high / 2)
            bend = _bend(j1 - j0, end[0] - start[0])
        else:
            start, end = (x0 + wide / 2, y0), (x1 - wide / 2, y1)
        gid = f"{kind} {i0} {j0} {i1} {j1}"
        _arrow(ax, kind, start, end, gid, bend=bend, faint=edge not in kept_edges)

    for j in model.levels:
        here = level in (None, j)
        _arrow(ax, "head", (2 * j, high / 2), (2 * j, top), f"head {j}", faint=not here)
        if labels:
            ink = INK if here else FAINT
            ax.text(2 * j, top, f"head {j}", ha="center", va="bottom", color=ink)
    named = set()
    for i, j in model.nodes:
        here, own = (i, j) in kept_nodes, j == 0 or i + j == model.depth
        name = "node of U-Net" if own else "node added by U-Net++"
        box = FancyBboxPatch(
            (i + 2 * j - wide / 2, -ROW * i - high / 2), wide, high, zorder=3, linewidth=1.5,
            boxstyle="round,pad=0,rounding_size=0.15", gid=f"node {i} {j}",
            facecolor=(FILL if own else ADDED) if here else REMOVED,
            edgecolor=INK if here else FAINT, linestyle="-" if own else "--",
            label="_" if name in named else name,  # each name once in the legend
        )  # fmt: skip
        ax.add_patch(box)
        named.add(name)
        if labels:
            text = {"ha": "center", "zorder": 4, "color": INK if here else "#AAAAAA"}
            ax.text(i + 2 * j, -ROW * i, f"X({i},{j})", va="bottom", **text)
            ax.text(i + 2 * j, -ROW * i - 0.05, str(model.channels[i]), va="top", **text)
    _explain(ax, model, "down", "up", "skip", "head")
    return ax


def draw_unet(model, image_size: int, *, ax: Axes | None = None) -> Axes:
    """Draw the feature maps of a grid as boxes, with the shapes that the module itself computes.

    A box's height grows with the square root of the map's side, its width with the square root of
    its channels. White boxes are the inputs of a block, blue boxes its outputs. Numbers are
    channels, and the size of each row's maps is on its left. Above each output stands its name
    X(i,j), unless nodes have several skips, which would cross it. If there are several heads, only
    the deepest is drawn. Shapes are traced on the meta device, without data. For the meaning of the
    arrows, call `legend()` on the axes.

    Parameters
    ----------
    model : NodeGrid.
    image_size : height and width of the image.

    Raises ValueError if the model does not take images of this size.

    >>> from segedu import UNet
    >>> ax = draw_unet(UNet(3, 2, channels=(4, 8)), 64)
    >>> [text.get_text() for text in ax.texts if "X" in text.get_text()]
    ['X(0,0)', 'X(1,0)', 'X(0,1)']
    """
    traced = copy.deepcopy(model).to("meta").eval()
    image = next(traced.parameters()).new_zeros(1, model.in_channels, image_size, image_size)
    maps = traced.features(image)
    sides = [maps[i, 0].shape[-1] for i in range(model.depth + 1)]
    high = [1.7 * (side / image_size) ** 0.5 for side in sides]
    rows = [0.0]  # y of the centre of each row's boxes
    for above, below in pairwise(high):
        rows.append(rows[-1] - above / 2 - 0.9 - below / 2)
    skips = {(i, j): model.skip_sources(i, j) if j else [] for i, j in model.nodes}
    step = 1 if max(map(len, skips.values())) < 2 else 1.3  # dense skips need more room
    ax = _empty_axes(ax, (7 * step, 0.63 * (high[0] - rows[-1]) + 0.8))

    def width(channels):
        return 0.46 * (channels / max(model.channels)) ** 0.5 + 0.04

    def draw_box(x, i, channels, gid, **look):
        corner = (x - width(channels) / 2, rows[i] - high[i] / 2)
        look = {"edgecolor": INK, "linewidth": 1.2, "zorder": 3, "gid": gid} | look
        ax.add_patch(Rectangle(corner, width(channels), high[i], **look))

    def label(x, i, text, align="center"):
        ax.text(x, rows[i] - high[i] / 2 - 0.08, text, ha=align, va="top", zorder=4)

    copies = {}  # where the skip from X(i, k) enters X(i, j)
    for i, j in model.nodes:
        x, channels, columns = step * (i + 2 * j), maps[i, j].shape[1], skips[i, j]
        entry, leave = x - step / 2, x + step / 2
        # What the block gets besides the skips: the image, or what comes from above or below.
        if j > 0:
            given = traced.ups[f"{i}_{j}"](maps[i + 1, j - 1]).shape[1]
            label(entry + 0.1, i, str(given), "left")
            times = f"{len(columns)}·" if len(columns) > 1 else ""
            label(entry - 0.1, i, f"{times}{channels}", "right")
        else:
            given = maps.get((i - 1, 0), image).shape[1]
            label(entry, i, str(given))
            size = f"{sides[i]} x {sides[i]}"
            ax.text(entry - width(given) / 2 - 0.15, rows[i], size, ha="right", va="center")
        draw_box(entry, i, given, f"input {i} {j}", facecolor="white")
        for place, k in enumerate(reversed(columns)):
            copies[i, k, j] = entry - width(given) / 2 - width(channels) * (place + 0.5)
            draw_box(copies[i, k, j], i, channels, f"copy {i} {k} {j}", facecolor=FILL, hatch="///")

        start = (entry + width(given) / 2, rows[i])
        _arrow(ax, "block", start, (leave - width(channels) / 2, rows[i]), f"block {i} {j}")
        draw_box(leave, i, channels, f"node {i} {j}", facecolor=FILL)
        goes_down = j == 0 and i < model.depth  # an arrow is in the way
        label(leave - 0.1 * goes_down, i, str(channels), "right" if goes_down else "center")
        if step == 1:  # dense skips rise where the name would be
            goes_up = i > 0 and i + j == model.depth
            top = rows[i] + high[i] / 2 + 0.06
            align = "left" if goes_up else "center"
            ax.text(leave + 0.1 * goes_up, top, f"X({i},{j})", ha=align, va="bottom")

    for kind, (i0, j0), (i1, j1) in grid_edges(model):
        x0, x1, bend = step * (i0 + 2 * j0 + 0.5), step * (i1 + 2 * j1 - 0.5), 0.0
        if kind != "skip":
            side = 1 if kind == "up" else -1
            y0, y1 = rows[i0] + side * high[i0] / 2, rows[i1] - side * high[i1] / 2
        elif step == 1:
            half = width(model.channels[i0]) / 2
            x0, x1, y0, y1 = x0 + half, copies[i0, j0, j1] - half, rows[i0], rows[i0]
        else:  # rising over the boxes between
            x1, y0 = copies[i0, j0, j1], rows[i0] + high[i0] / 2
            y1, bend = y0, _bend(j1 - j0, x1 - x0)
        _arrow(ax, kind, (x0, y0), (x1, y1), f"{kind} {i0} {j0} {i1} {j1}", bend=bend)

    leave = step * (2 * model.depth + 0.5)
    start, end = leave + width(model.channels[0]) / 2, leave + 1 - width(model.num_classes) / 2
    _arrow(ax, "head", (start, 0), (end, 0), "head")
    draw_box(leave + 1, 0, model.num_classes, "logits", facecolor=COLOURS["purple"])
    label(leave + 1, 0, str(model.num_classes))
    for x, word in [(-step / 2, "image"), (leave + 1, "logits")]:
        ax.text(x, high[0] / 2 + 0.06, word, ha="center", va="bottom")
    top = high[0] / 2 + (0.4 if step == 1 else 0.3 * model.depth)
    ax.set(xlim=(-step / 2 - 1.7, leave + 1.3), ylim=(rows[-1] - high[-1] / 2 - 0.5, top))
    _explain(ax, model, "block", "down", "up", "skip", "head")
    return ax


def _bend(span: int, length: float) -> float:
    """The curvature of an arrow of this length, which rises higher the more columns it spans."""
    return -2 * (0.28 * span) / length


def _empty_axes(ax: Axes | None, figsize: tuple[float, float]) -> Axes:
    ax = axes_or_new(ax, figsize)
    ax.set_aspect("equal")
    ax.set_axis_off()
    return ax


def _arrow(ax, kind, start, end, gid, *, bend=0.0, faint=False):
    colour, line = ARROWS[kind]
    arrow = FancyArrowPatch(
        start, end, arrowstyle="-|>,head_length=5,head_width=2.5", shrinkA=0, shrinkB=0,
        connectionstyle=f"arc3,rad={bend}", color=FAINT if faint else colour, linestyle=line,
        linewidth=1.4, zorder=1 if faint else 2, gid=gid,
    )  # fmt: skip
    ax.add_patch(arrow)


def _explain(ax, model, *kinds):
    """Invisible lines that give `legend()` a name for each kind of arrow."""
    names = {
        "block": "two 3x3 convolutions",
        "down": "2x2 max pooling",
        "up": "2x2 up-convolution" if model.up == "transposed" else "bilinear upsampling",
        "skip": "copy, concatenate",
        "head": "1x1 convolution",
    }
    for kind in kinds:
        colour, line = ARROWS[kind]
        ax.plot([], [], color=colour, linestyle=line, linewidth=1.4, label=names[kind])
