"""Pictures, masks, errors and training curves, all in one look.

Every function draws into the axes it is given as `ax`, or makes a figure, and returns the axes.
Images are (H, W), (C, H, W) or (H, W, C) with 1 or 3 channels, masks (H, W) integers with 0 as
background; arrays or tensors, on any device. What tells classes or errors apart is never colour
alone: outlines differ in their dashes, errors in their hatching and their brightness.
"""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from .checks import check_array, check_integer, check_number, check_sequence, describe
from .files import atomic_path

MOST_IMAGES, MOST_OBJECTS = 100, 2000  # more would take minutes to draw
ALPHA = 0.35  # opacity of a fill
# Okabe and Ito's palette, without its black.
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
    ax: Sequence[Axes] | None = None,
) -> np.ndarray:
    """Show pictures side by side, each stretched from its 1st to its 99.9th percentile.

    Parameters
    ----------
    images : sequence of images, or one batch (N, C, H, W).
    titles : one a picture.
    masks : one a picture, (H, W) integers laid over it as in `overlay_mask`, or None for none.
    columns : pictures in a row; all of them by default.
    ax : as many axes as there are pictures.

    Returns
    -------
    Array of the axes, one a picture.

    Raises
    ------
    ValueError
        For no pictures, other shapes, or titles, masks or axes of another number.

    Examples
    --------
    >>> len(show_images(np.random.rand(3, 1, 32, 32), ["one", "two", "three"]))
    3
    """
    count = len(check_sequence("images", images, 1, MOST_IMAGES))
    if ax is not None:
        ax = [ax] if isinstance(ax, Axes) else np.ravel(ax) if isinstance(ax, np.ndarray) else ax
    for name, values in [("titles", titles), ("masks", masks), ("ax", ax)]:
        if values is not None:
            check_sequence(f"{name} for {count} images", values, count, count)
    columns = count if columns is None else min(check_integer("columns", columns, 1), count)
    pictures = [_picture(image) for image in images]  # before a figure is made
    masks = [
        mask if mask is None else _mask(mask, picture.shape[:2], "masks")
        for picture, mask in zip(pictures, masks or [None] * count, strict=True)
    ]
    if ax is None:
        rows = math.ceil(count / columns)
        figure = plt.figure(figsize=(7, 0.3 + 7 * rows / columns), layout="constrained")
        ax = figure.subplots(rows, columns, squeeze=False).ravel()
        for unused in ax[count:]:
            unused.remove()
    axes = np.array([_check_axes(axis) for axis in ax[:count]])
    for index, axis in enumerate(axes):
        _draw(axis, pictures[index])
        if masks[index] is not None:
            _lay(axis, masks[index], ALPHA, dashes=False)
        if titles is not None:
            axis.set_title(titles[index])
    return axes


def overlay_mask(
    image, mask, *, names: Sequence[str] | None = None, alpha: float = ALPHA, ax: Axes | None = None
) -> Axes:
    """Lay a mask over an image: every label but 0 gets a translucent fill and an outline.

    Parameters
    ----------
    image : (H, W), (C, H, W) or (H, W, C).
    mask : (H, W) integers or booleans: classes, or one number an object.
    names : what the labels 1, 2, ... mean. With it the outlines differ in their dashes and there
        is a legend; without it the labels are taken for objects, and colours repeat.
    alpha : opacity of the fill.

    Raises
    ------
    ValueError
        For other shapes or dtypes, sizes that differ, or a label that has no name.

    Examples
    --------
    >>> image, mask = np.random.rand(1, 32, 32), np.zeros((32, 32), dtype=int)
    >>> mask[4:9, 5:20] = 1
    >>> overlay_mask(image, mask, names=["cell"]).get_legend().get_texts()[0].get_text()
    'cell'
    """
    picture = _picture(image)
    mask = _mask(mask, picture.shape[:2], "mask")
    check_number("alpha", alpha, 0, 1)
    if names is not None and mask.max() > len(check_sequence("names", names)):
        raise ValueError(
            f"got labels up to {mask.max()} but {len(names)} names, which are for the labels 1 to "
            f"{len(names)}"
        )
    ax = axes_or_new(ax)
    _draw(ax, picture)
    _lay(ax, mask, alpha, dashes=names is not None)
    if names is not None:
        looks = [(*_look(number), name) for number, name in enumerate(names, start=1)]
        _legend_below(ax, [Line2D([], [], color=c, ls=line, label=name) for c, line, name in looks])
    return ax


def show_errors(image, preds, target, *, ax: Axes | None = None) -> Axes:
    """Show where a prediction is right and where it errs, each kind with its count of pixels.

    Parameters
    ----------
    image : (H, W), (C, H, W) or (H, W, C).
    preds, target : (H, W) integers or booleans; every label but 0 counts as foreground, so for one
        class of several pass `preds == k` and `target == k`.

    Raises
    ------
    ValueError
        For other shapes or dtypes, or sizes that differ.

    Examples
    --------
    >>> target, preds = np.eye(4, dtype=int), np.tri(4, dtype=int)
    >>> ax = show_errors(np.zeros((4, 4)), preds, target)
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['TP, found: 4', 'FP, false alarm: 6', 'FN, missed: 0']
    """
    picture = _picture(image)
    shape = picture.shape[:2]
    preds, target = _mask(preds, shape, "preds") != 0, _mask(target, shape, "target") != 0
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


def plot_history(history: str | Path | Sequence[Mapping], *, ax: Axes | None = None) -> Axes:
    """Plot a training run: the loss of every step, and the validation IoU where it was measured.

    Parameters
    ----------
    history : path of a CSV, or its rows, with `step`, `loss` and `validation_iou` (empty, None or
        NaN where none was measured). The IoU has its own axis on the right.

    Raises
    ------
    ValueError
        For no rows, or a missing column.

    Examples
    --------
    >>> rows = [{"step": 1, "loss": 0.9}, {"step": 2, "loss": 0.5, "validation_iou": 0.7}]
    >>> plot_history(rows).get_xlabel()
    'step'
    """
    if isinstance(history, (str, Path)):
        try:
            with open(history, newline="", encoding="utf-8") as file:
                history = list(csv.DictReader(file))
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"history {history} is no CSV, got: {error}") from error
    if not len(check_sequence("history", history)):
        raise ValueError("got a history without rows, expected one row a step")
    step, loss, scores = (_column(history, name) for name in ("step", "loss", "validation_iou"))
    if not np.isfinite([step, loss]).all():
        raise ValueError("got a history with rows where step or loss is missing or not finite")
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
    ax.legend(loc="center right")
    return ax


def save_figure(figure, path) -> None:
    """A stand-in until the real one is merged."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, bbox_inches="tight")
    plt.close(figure)


def axes_or_new(ax: Axes | None, figsize: tuple[float, float] = (5, 5)) -> Axes:
    """The axes that were given, or those of a new figure; ValueError for anything else."""
    return plt.subplots(figsize=figsize, layout="constrained")[1] if ax is None else _check_axes(ax)


def _check_axes(ax) -> Axes:
    if not isinstance(ax, Axes):
        raise ValueError(f"ax must be axes of matplotlib, got {describe(ax)}")
    return ax


def _column(history: Sequence[Mapping], name: str) -> np.ndarray:
    """The numbers of one column; of the IoU, NaN where there is none."""
    numbers = []
    for row in history:
        try:
            cell = row.get(name) if name == "validation_iou" else row[name]
            numbers.append(math.nan if cell in (None, "") else float(cell))
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
            raise ValueError(
                f"history needs rows with a number in the column {name!r}, got {describe(row)}"
            ) from None
    return np.array(numbers)


def _picture(image) -> np.ndarray:
    """(H, W, 3) floats in 0..1 of an image, stretched to be seen."""
    pixels = check_array("image", image).astype(float)
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
    if high == low:  # nearly constant: a mask with very little in it
        low, high = pixels.min(), pixels.max()
    # 32 levels look the same on a page, and noise takes a third less room in its PNG.
    pixels = np.round(31 * ((pixels - low) / (high - low or 1)).clip(0, 1)) / 31
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3))


def _mask(mask, shape: tuple[int, int], name: str) -> np.ndarray:
    mask = check_array(name, mask)
    if mask.shape != shape:
        raise ValueError(f"got {name} of shape {mask.shape}, expected the image's, {shape}")
    if mask.dtype.kind not in "bui":
        raise ValueError(
            f"got {name} of dtype {mask.dtype}, expected integers or booleans; "
            "threshold probabilities first"
        )
    mask = mask.astype(np.int64)
    if mask.min() < 0:
        raise ValueError(f"got {name} with labels from {mask.min()} on, expected 0 or more")
    return mask


def _draw(ax: Axes, picture: np.ndarray):
    ax.imshow(picture)
    ax.set_axis_off()


def _lay(ax: Axes, mask: np.ndarray, alpha: float, *, dashes: bool):
    """The fill and the outline of each label."""
    labels = np.unique(mask[mask > 0]).tolist()
    if len(labels) > MOST_OBJECTS:
        raise ValueError(f"got a mask of {len(labels)} labels, expected at most {MOST_OBJECTS}")
    for number, colour in enumerate(COLOURS.values()):
        where = (mask > 0) & ((mask - 1) % len(COLOURS) == number)
        if where.any():
            _fill(ax, where, colour, alpha)
    for label in labels:
        colour, line = _look(label)
        _outline(ax, mask == label, colour, line if dashes else "-")


def _look(label: int) -> tuple[str, str]:
    colours = list(COLOURS.values())
    return colours[(label - 1) % len(colours)], LINE_STYLES[(label - 1) % len(LINE_STYLES)]


def _fill(ax: Axes, where: np.ndarray, colour: str, alpha: float):
    ax.imshow(where[..., None] * np.array(to_rgba(colour, alpha)))


def _outline(ax: Axes, where: np.ndarray, colour: str, line: str):
    """The outline of a region, traced in its bounding box with one pixel of nothing around."""
    rows, columns = (np.flatnonzero(where.any(axis=axis)) for axis in (1, 0))
    top, left = rows[0], columns[0]
    part = np.pad(where[top : rows[-1] + 1, left : columns[-1] + 1], 1)
    y, x = top - 1 + np.arange(part.shape[0]), left - 1 + np.arange(part.shape[1])
    ax.contour(x, y, part, levels=[0.5], colors=colour, linestyles=line, linewidths=1)


def _legend_below(ax: Axes, handles: Sequence):
    ax.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0), handlelength=1.8)
