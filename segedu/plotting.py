"""Images, masks, errors, training curves and tables in one style.

Every function that draws takes the axes given as `ax`, or makes a new figure, and returns the axes.
Images are (H, W), (C, H, W) or (H, W, C) with 1 or 3 channels; masks are (H, W) integers with 0 as
background. Both can be arrays or tensors, on any device. Colour alone never carries the meaning:
the outlines of classes also differ in their dashes, and errors in their hatching and brightness.
"""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from scipy.ndimage import find_objects
from skimage.measure import find_contours

from .files import atomic_path, read_history

ALPHA = 0.35  # opacity of a fill
# The palette of Okabe and Ito, without its black.
COLOURS = {
    "sky blue": "#56B4E9",
    "orange": "#E69F00",
    "purple": "#CC79A7",
    "yellow": "#F0E442",
    "green": "#009E73",
    "vermilion": "#D55E00",
    "blue": "#0072B2",
}
LINE_STYLES = ("-", "--", ":", "-.")
# Colour, hatching and meaning of each kind of pixel; in grey print the brightness still differs.
ERRORS = {
    "TP": (COLOURS["sky blue"], "", "TP, found"),
    "FP": (COLOURS["yellow"], "////", "FP, false alarm"),
    "FN": (COLOURS["vermilion"], "....", "FN, missed"),
}


def use_style():
    """Draw every figure from now on in the course's style, `segedu.mplstyle`."""
    plt.style.use(Path(__file__).with_name("segedu.mplstyle"))


def show_images(
    images: Sequence,
    titles: Sequence[str] | None = None,
    *,
    masks: Sequence | None = None,
    columns: int | None = None,
    ax: Axes | Sequence[Axes] | None = None,
) -> np.ndarray:
    """Show images side by side, each stretched from its 1st to its 99.9th percentile.

    Parameters
    ----------
    images : sequence of images, or one batch (N, C, H, W).
    titles : one per image.
    masks : one per image, (H, W) integers drawn over it as by `overlay_mask`, or None for no mask.
    columns : images per row; by default all of them in one row.
    ax : as many axes as there are images.

    Returns an array of the axes, one per image. Raises ValueError for no images, images of another
    shape, or a different number of titles, masks or axes.

    >>> len(show_images(np.random.rand(3, 1, 32, 32), ["one", "two", "three"]))
    3
    """
    pictures = [_picture(image) for image in images]
    count = len(pictures)
    if not count:
        raise ValueError("got no images to show")
    nothing = [None] * count
    titles, masks = nothing if titles is None else titles, nothing if masks is None else masks
    axes = nothing if ax is None else np.ravel(ax)
    for name, values in {"titles": titles, "masks": masks, "axes": axes}.items():
        if len(values) != count:
            raise ValueError(f"got {len(values)} {name} for {count} images, expected one per image")
    masks = [
        None if mask is None else _mask(mask, picture, "a mask")
        for picture, mask in zip(pictures, masks, strict=True)
    ]
    if ax is None:
        columns = min(columns or count, count)
        rows = math.ceil(count / columns)
        figure = plt.figure(figsize=(7, 0.3 + 7 * rows / columns), layout="constrained")
        axes, unused = np.split(figure.subplots(rows, columns, squeeze=False).ravel(), [count])
        for place in unused:
            place.remove()
    for place, picture, mask, title in zip(axes, pictures, masks, titles, strict=True):
        _draw(place, picture)
        if mask is not None:
            _draw_labels(place, mask, ALPHA, dashes=False)
        if title is not None:
            place.set_title(title)
    return axes


def overlay_mask(
    image, mask, *, names: Sequence[str] | None = None, alpha: float = ALPHA, ax: Axes | None = None
) -> Axes:
    """Draw a mask over an image: every label but 0 gets a translucent fill and an outline.

    Parameters
    ----------
    image : (H, W), (C, H, W) or (H, W, C).
    mask : (H, W) integers or booleans: classes, or one number per object.
    names : what the labels 1, 2, ... mean. With names, the labels are classes: their outlines
        differ in their dashes, and a legend explains them. Without, they are objects, and colours
        repeat.
    alpha : opacity of the fill.

    Raises ValueError for another shape or dtype, sizes that differ, or a label that has no name.

    >>> image, mask = np.random.rand(1, 32, 32), np.zeros((32, 32), dtype=int)
    >>> mask[4:9, 5:20] = 1
    >>> overlay_mask(image, mask, names=["cell"]).get_legend().get_texts()[0].get_text()
    'cell'
    """
    picture = _picture(image)
    mask = _mask(mask, picture, "a mask")
    if names is not None and mask.max() > len(names):
        raise ValueError(
            f"got labels up to {mask.max()} but {len(names)} names; pass a name for every label "
            "from 1 on"
        )
    ax = axes_or_new(ax)
    _draw(ax, picture)
    _draw_labels(ax, mask, alpha, dashes=names is not None)
    if names is not None:
        handles = []
        for label, name in enumerate(names, start=1):
            colour, line = label_style(label)
            handles.append(Line2D([], [], color=colour, linestyle=line, label=name))
        _legend_below(ax, handles)
    return ax


def show_errors(image, preds, target, *, ax: Axes | None = None) -> Axes:
    """Show where a prediction is right and where it is wrong, and count each kind of pixel.

    Parameters
    ----------
    image : (H, W), (C, H, W) or (H, W, C).
    preds, target : (H, W) integers or booleans. Every label but 0 counts as foreground; to look at
        class k of several, pass `preds == k` and `target == k`.

    Raises ValueError for another shape or dtype, or sizes that differ.

    >>> target, preds = np.eye(4, dtype=int), np.tri(4, dtype=int)
    >>> ax = show_errors(np.zeros((4, 4)), preds, target)
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['TP, found: 4', 'FP, false alarm: 6', 'FN, missed: 0']
    """
    picture = _picture(image)
    preds, target = _mask(preds, picture, "preds") > 0, _mask(target, picture, "target") > 0
    pixels = {"TP": preds & target, "FP": preds & ~target, "FN": target & ~preds}
    ax = axes_or_new(ax)
    _draw(ax, picture)
    handles = []
    for kind, (colour, hatch, meaning) in ERRORS.items():
        where = pixels[kind]
        _fill(ax, where, colour, 0.6 if kind == "TP" else 0.9)
        if hatch and where.any():
            ax.contourf(where, levels=[0.5, 1], colors="none", hatches=[hatch])
        label = f"{meaning}: {np.count_nonzero(where)}"
        handles.append(Patch(facecolor=colour, hatch=hatch, edgecolor="black", label=label))
    _legend_below(ax, handles)
    return ax


def plot_history(history: str | os.PathLike | Sequence[Mapping], *, ax: Axes | None = None) -> Axes:
    """Plot a training run: the loss of every step, and the validation IoU where it was measured.

    Parameters
    ----------
    history : path of a `history.csv`, or its rows, with `step`, `loss` and `validation_iou` (None
        or absent where it was not measured). The IoU has its own axis on the right.

    Raises ValueError for no rows, or a row without a step or a loss.

    >>> rows = [{"step": 1, "loss": 0.9}, {"step": 2, "loss": 0.5, "validation_iou": 0.7}]
    >>> plot_history(rows).get_xlabel()
    'step'
    """
    rows = read_history(history) if isinstance(history, str | os.PathLike) else history
    # None becomes NaN.
    step, loss, scores = np.array(
        [[row.get(name) for row in rows] for name in ("step", "loss", "validation_iou")],
        dtype=float,
    )
    if not len(step) or not np.isfinite([step, loss]).all():
        raise ValueError("a history needs at least one row, each with a step and a finite loss")
    ax = axes_or_new(ax, (7, 3.5))
    width = max(1, len(loss) // 20)
    smooth = np.convolve(loss, np.ones(width) / width, mode="valid")
    ax.plot(step, loss, color="0.75", linewidth=1, linestyle="-", label="loss, each step")
    if width > 1:
        ax.plot(
            step[width // 2 :][: len(smooth)],
            smooth,
            color=COLOURS["blue"],
            label=f"loss, mean of {width}",
        )
    ax.set(xlabel="step", ylabel="loss")
    measured = ~np.isnan(scores)
    if measured.any():
        right = ax.twinx()
        right.grid(False)
        right.spines["right"].set_visible(True)
        right.set(ylabel="validation IoU", ylim=(0, 1))
        right.plot(step[measured], scores[measured], "o--", color=COLOURS["green"])
        ax.plot([], [], "o--", color=COLOURS["green"], label="validation IoU (right)")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)  # where no curve can be
    return ax


def show_table(table, *, bold=None):
    """A table of results in a notebook: cells on the right, one row in bold.

    Parameters
    ----------
    table : a pandas DataFrame, with the text of each cell as it is to be read.
    bold : the label of the row, or None. KeyError for one that is not there.

    Returns an IPython.display.HTML.

    >>> import pandas as pd
    >>> scores = pd.DataFrame({"IoU": ["0.78", "0.85"]}, index=["Otsu", "U-Net"])
    >>> text = show_table(scores, bold="U-Net").data
    >>> "<b>0.85</b>" in text, "<b>0.78</b>" in text
    (True, False)
    """
    from IPython.display import HTML

    table = table.astype(str)
    if bold is not None:
        table.loc[[bold]] = "<b>" + table.loc[[bold]] + "</b>"
        table = table.rename({bold: f"<b>{bold}</b>"})
    text = table.to_html(escape=False)
    return HTML(text.replace("<td>", '<td style="text-align: right">'))


def save_figure(figure: Figure, path: str | os.PathLike) -> None:
    """Write a figure to a file, atomically, and close it."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, bbox_inches="tight")
    plt.close(figure)


def label_style(label: int) -> tuple[str, str]:
    """The colour and the dashes of a label, from 1 on.

    >>> label_style(1) == (COLOURS["sky blue"], "-")
    True
    """
    colours = list(COLOURS.values())
    return colours[(label - 1) % len(colours)], LINE_STYLES[(label - 1) % len(LINE_STYLES)]


def axes_or_new(ax: Axes | None, figsize: tuple[float, float] = (5, 5)) -> Axes:
    """The given axes, or those of a new figure."""
    return plt.subplots(figsize=figsize, layout="constrained")[1] if ax is None else ax


def to_array(values) -> np.ndarray:
    """An array of anything like one; of a tensor too, whatever its device, with its gradient cut.

    >>> to_array([[1, 2]]).shape
    (1, 2)
    """
    return values.numpy(force=True) if hasattr(values, "numpy") else np.asarray(values)


def _picture(image) -> np.ndarray:
    """(H, W, 3) floats in 0..1: the image with its contrast stretched."""
    pixels = to_array(image).astype(float)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    elif pixels.ndim == 3 and pixels.shape[0] in (1, 3):
        pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or pixels.size == 0:
        raise ValueError(
            f"got an image of shape {pixels.shape}, expected (H, W), (C, H, W) or (H, W, C) with "
            "1 or 3 channels, not empty"
        )
    if not np.isfinite(pixels).all():
        raise ValueError("got an image with NaN or infinite values")
    low, high = np.percentile(pixels, (1, 99.9))
    if high == low:  # nearly constant, such as a mask with very few pixels
        low, high = pixels.min(), pixels.max()
    # 32 levels look the same on a page, and noise takes a third less space in the PNG.
    pixels = np.round(31 * ((pixels - low) / (high - low or 1)).clip(0, 1)) / 31
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3))


def _mask(mask, picture: np.ndarray, name: str) -> np.ndarray:
    """(H, W) integers from 0 on, of the picture's size."""
    mask = to_array(mask)
    if mask.shape != picture.shape[:2]:
        raise ValueError(
            f"got {name} of shape {mask.shape}, expected the image's, {picture.shape[:2]}"
        )
    if mask.dtype.kind not in "bui" or mask.min() < 0:
        raise ValueError(
            f"got {name} with {mask.dtype} values from {mask.min()} on, expected booleans or "
            "integers from 0 on; threshold probabilities first"
        )
    return mask.astype(int)


def _draw(ax: Axes, picture: np.ndarray):
    ax.imshow(picture)
    ax.set_axis_off()


def _draw_labels(ax: Axes, mask: np.ndarray, alpha: float, *, dashes: bool):
    """The fill and the outline of each label."""
    for number, colour in enumerate(COLOURS.values()):
        where = (mask > 0) & ((mask - 1) % len(COLOURS) == number)
        if where.any():
            _fill(ax, where, colour, alpha)
    for label, box in enumerate(find_objects(mask), start=1):
        if box is not None:
            colour, line = label_style(label)
            _outline(ax, mask[box] == label, box, colour, line if dashes else "-")


def _fill(ax: Axes, where: np.ndarray, colour: str, alpha: float):
    ax.imshow(where[..., None] * np.array(to_rgba(colour, alpha)))


def _outline(ax: Axes, part: np.ndarray, box: tuple[slice, slice], colour: str, line: str):
    """The outline of a region, traced in its bounding box with a margin of one pixel."""
    corner = np.array([box[1].start, box[0].start]) - 1
    lines = [path[:, ::-1] + corner for path in find_contours(np.pad(part, 1), 0.5)]
    style = {"colors": colour, "linestyles": line, "linewidths": 1}
    ax.add_collection(LineCollection(lines, **style), autolim=False)


def _legend_below(ax: Axes, handles: Sequence):
    ax.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0), handlelength=1.8)
