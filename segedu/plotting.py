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
    count = len(images)
    if count == 0:
        raise ValueError("got no images, expected at least one")
    for name, values in [("titles", titles), ("masks", masks), ("ax", ax)]:
        if values is not None and len(np.ravel(values) if name == "ax" else values) != count:
            raise ValueError(f"got {len(values)} {name} for {count} images, expected one an image")
    if ax is None:
        columns = min(columns or count, count)
        rows = math.ceil(count / columns)
        figure = plt.figure(figsize=(7, 0.3 + 7 * rows / columns), layout="constrained")
        ax = figure.subplots(rows, columns, squeeze=False).ravel()
        for unused in ax[count:]:
            unused.remove()
    axes = np.ravel(ax)[:count]
    for index, axis in enumerate(axes):
        mask = None if masks is None else masks[index]
        if mask is None:
            _draw_image(axis, images[index])
        else:
            overlay_mask(images[index], mask, ax=axis)
        if titles is not None:
            axis.set_title(titles[index])
    return axes


def overlay_mask(
    image, mask, *, names: Sequence[str] | None = None, alpha: float = 0.35, ax: Axes | None = None
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
    mask = _mask(mask, _picture(image).shape[:2], "mask")
    labels = [int(label) for label in np.unique(mask) if label]
    if names is not None and labels and not 1 <= labels[0] <= labels[-1] <= len(names):
        raise ValueError(
            f"got labels from {labels[0]} to {labels[-1]} but {len(names)} names, which are "
            f"for the labels 1 to {len(names)}"
        )
    ax = _draw_image(ax, image)
    for label in labels:
        colour, line = _look(label)
        _fill(ax, mask == label, colour, alpha)
        _outline(ax, mask == label, colour, "-" if names is None else line)
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
    shape = _picture(image).shape[:2]
    preds, target = _mask(preds, shape, "preds") != 0, _mask(target, shape, "target") != 0
    pixels = {"TP": preds & target, "FP": preds & ~target, "FN": target & ~preds}
    ax = _draw_image(ax, image)
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
        with open(history, newline="") as file:
            history = list(csv.DictReader(file))
    if len(history) == 0:
        raise ValueError("got a history without rows, expected one row a step")
    for column in ("step", "loss"):
        if column not in history[0]:
            raise ValueError(f"got a history of {list(history[0])}, expected a column {column!r}")
    if ax is None:
        _, ax = plt.subplots(figsize=(7, 3.5), layout="constrained")

    step, loss = (np.array([float(row[name]) for row in history]) for name in ("step", "loss"))
    scores = np.array([float(row.get("validation_iou") or "nan") for row in history])
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


def _array(values) -> np.ndarray:
    """A tensor comes to the CPU, without its gradient."""
    return values.numpy(force=True) if hasattr(values, "numpy") else np.asarray(values)


def _picture(image) -> np.ndarray:
    """(H, W, 3) floats in 0..1 of an image, stretched to be seen."""
    pixels = _array(image).astype(float)
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
    return np.broadcast_to((pixels - low) / (high - low or 1), (*pixels.shape[:2], 3)).clip(0, 1)


def _mask(mask, shape: tuple[int, int], name: str) -> np.ndarray:
    mask = _array(mask)
    if mask.shape != shape:
        raise ValueError(f"got {name} of shape {mask.shape}, expected the image's, {shape}")
    if mask.dtype.kind not in "bui":
        raise ValueError(
            f"got {name} of dtype {mask.dtype}, expected integers or booleans; "
            "threshold probabilities first"
        )
    return mask


def _draw_image(ax: Axes | None, image) -> Axes:
    if ax is None:
        _, ax = plt.subplots(figsize=(5, 5), layout="constrained")
    ax.imshow(_picture(image))
    ax.set_axis_off()
    return ax


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
