"""Draw the course's figures into img/: all of them, or those that are named.

    python -m study.figures
    python -m study.figures UNet IoU

All that is drawn comes from the package: nodes, shapes and counts from the real modules, nuclei
from the sample field, predictions from the trained weights.
"""

import argparse
import io
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from PIL import Image

from segedu import (
    UNet,
    UNetPlusPlus,
    count_multiply_adds,
    count_parameters,
    load_pretrained,
    metrics,
    predict,
    to_mask,
)
from segedu.data import normalize, sample
from segedu.diagrams import draw_grid, draw_unet
from segedu.plotting import COLOURS, ERRORS, overlay_mask, show_errors, show_images, use_style

from .compare import RESULTS
from .intervals import crossed_interval
from .long import long_times
from .long_page import NETWORKS
from .long_page import label as network_label
from .measures import fields_of_test, paired, read_runs
from .pretrained import measured

IMG = Path(__file__).parent.parent / "img"
CREDIT = "Field from the 2018 Data Science Bowl nuclei (CC0), as carried by stardist."


def segmentation() -> Figure:
    """One crop of the sample field, and four questions that one can ask about it."""
    grey, instances = sample()
    crop = np.s_[385:475, 110:230]  # touching nuclei, and some that stand alone
    grey, instances = grey[crop], instances[crop]
    numbers = [number for number in np.unique(instances) if number]
    figure, axes = plt.subplots(2, 2, figsize=(7, 6.8))
    classification, detection, semantic, instance = axes.ravel()

    show_images([grey] * 2, ax=[classification, detection])
    text = {"color": "white", "ha": "center", "va": "center", "fontweight": "bold"}
    shadow = [withStroke(linewidth=3, foreground="black")]
    classification.text(
        60, 10, "nuclei", fontsize=15, bbox={"facecolor": COLOURS["blue"], "pad": 5}, **text
    )
    for number in numbers:
        rows, columns = np.nonzero(instances == number)
        corner = (columns.min() - 0.5, rows.min() - 0.5)
        look = {"fill": False, "edgecolor": COLOURS["orange"], "linewidth": 2}
        detection.add_patch(Rectangle(corner, np.ptp(columns) + 1, np.ptp(rows) + 1, **look))
    overlay_mask(grey, instances > 0, ax=semantic)
    relabelled = np.searchsorted([0, *numbers], instances)
    overlay_mask(grey, relabelled, ax=instance)
    for label in range(1, len(numbers) + 1):
        rows, columns = np.nonzero(relabelled == label)
        size = 11 if len(rows) > 60 else 8  # small where the edge of the crop leaves little room
        instance.text(
            columns.mean(), rows.mean(), str(label), size=size, path_effects=shadow, **text
        )
    for ax, title, answer in zip(
        axes.ravel(),
        ["Classification", "Detection", "Semantic segmentation", "Instance segmentation"],
        ["what is in the image?", "where, roughly?", "which class does each pixel have?",
         "which object does it belong to?"],
        strict=True,
    ):  # fmt: skip
        ax.set_title(f"{title}\n{answer}")
    figure.supxlabel(CREDIT, fontsize=10, color="#555555")
    return figure


def iou() -> Figure:
    """Two overlapping discs, their three kinds of pixels, and IoU as a fraction."""
    rows, columns = np.mgrid[:14, :16]
    target = (rows - 7) ** 2 + (columns - 6) ** 2 < 5.4**2
    preds = (rows - 5.5) ** 2 + (columns - 9) ** 2 < 5**2
    where = {"TP": preds & target, "FP": preds & ~target, "FN": target & ~preds}
    masks = (torch.from_numpy(mask[None]).long() for mask in (preds, target))
    scores = metrics.stat_scores(*masks, num_classes=1)
    counts = {kind: int(getattr(scores, kind.lower())) for kind in where}
    union = sum(counts.values())
    value = metrics.iou(*scores, average="set", absent="skip")

    figure = plt.figure(figsize=(7, 6.6), layout="none")
    ax = figure.add_axes((0, 0.37, 1, 0.56))
    _draw_pixels(ax, where)
    for shape, line, name in [(target, "-", "truth"), (preds, "--", "prediction")]:
        fine = np.kron(shape, np.ones((20, 20)))
        extent = (-0.5, 15.5, -0.5, 13.5)
        ax.contour(fine, [0.5], colors="black", linestyles=line, linewidths=3, extent=extent)
        ax.plot([], [], color="black", linestyle=line, linewidth=3, label=name)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, fontsize=13)
    for kind, column in [("FN", 2.5), ("TP", 7.5), ("FP", 12.5)]:
        ax.text(
            column, 6.5, f"{kind}\n{counts[kind]}", ha="center", va="center", fontsize=17,
            fontweight="bold", bbox={"facecolor": "#FAFAFA", "edgecolor": "none", "pad": 3},
        )  # fmt: skip

    text = {"fontsize": 22, "ha": "center", "va": "center"}
    ratio = r"\frac{\mathrm{TP}}{\mathrm{TP+FP+FN}}"
    figure.text(0.24, 0.17, rf"$\mathrm{{IoU}}={ratio}=$", **text)
    figure.text(0.84, 0.17, rf"$=\frac{{{counts['TP']}}}{{{union}}}={value:.2f}$", **text)
    _draw_pixels(figure.add_axes((0.48, 0.19, 0.2, 0.15)), {"TP": where["TP"]})
    _draw_pixels(figure.add_axes((0.48, 0, 0.2, 0.15)), where)
    figure.add_artist(Line2D([0.48, 0.68], [0.17, 0.17], color="black", linewidth=2))
    return figure


def _draw_pixels(ax, where: dict[str, np.ndarray]):
    """One square per pixel, coloured and hatched by its kind."""
    for kind, pixels in where.items():
        colour, hatch, _ = ERRORS[kind]
        look = {"facecolor": colour, "hatch": hatch, "edgecolor": "#00000060", "linewidth": 0.8}
        for row, column in np.argwhere(pixels):
            ax.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, **look))
    height, width = pixels.shape
    ax.set(xlim=(-0.7, width - 0.3), ylim=(height - 0.3, -0.7), aspect="equal")
    ax.set_axis_off()


def unet() -> Figure:
    """The shapes that flow through the U-Net of the course, for an image of 256 x 256."""
    ax = draw_unet(UNet(1, 1), 256)
    ax.legend(loc="lower right", handlelength=1.4, borderaxespad=0)
    return ax.figure


def unetpp() -> Figure:
    """The U-Net++ of the course; the nodes that it adds to a U-Net look different."""
    ax = draw_grid(UNetPlusPlus(1, 1, deep_supervision=True))
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 0), ncols=2)
    return ax.figure


def pruning() -> Figure:
    """What each level of pruning removes, what it costs, and its IoU on the real test images."""
    model = load_pretrained("unetpp-nuclei")
    rows = measured("unetpp-nuclei")
    figure, axes = plt.subplots(2, 2, figsize=(7, 9.2))
    for level, ax in zip(model.levels, axes.ravel(), strict=True):
        pruned = model.prune(level)
        draw_grid(model, level=level, labels=False, ax=ax)
        ax.set_title(
            f"L{level}: {count_parameters(pruned):,} parameters\n"
            f"{count_multiply_adds(pruned, 256, 256) / 1e9:.2f} billion multiply-adds\n"
            f"IoU {float(rows[f'L{level} IoU per image']):.3f}"
        )
    note = f"Multiply-adds: for 256 x 256 pixels. IoU: mean over {rows['images']} test images."
    figure.supxlabel(note, fontsize=10, color="#555555")
    return figure


def result() -> Figure:
    """A quarter of the sample field, which the network has never seen, and its segmentation."""
    grey, instances = sample()
    model = load_pretrained("unetpp-nuclei")
    preds = to_mask(predict(model, normalize(grey)[None]), model.threshold)
    target = torch.from_numpy(instances > 0).long()[None]
    quarter = np.s_[256:, :256]
    grey, preds, target = grey[quarter], preds[0][quarter], target[0][quarter]
    scores = metrics.stat_scores(preds[None], target[None], num_classes=1)
    value = metrics.iou(*scores, average="set", absent="skip")
    figure, axes = plt.subplots(2, 2, figsize=(7, 8.4))
    *plain, errors = axes.ravel()
    black = np.zeros_like(grey)
    titles = ["Image", "Truth", "Prediction"]
    show_images([grey, black, black], titles, masks=[None, target, preds], ax=plain)
    show_errors(black, preds, target, ax=errors)
    errors.set_title(f"Errors: IoU {value:.3f}")
    figure.supxlabel(CREDIT, fontsize=10, color="#555555")
    return figure


def study() -> Figure:
    """Each network of the long study, the fastest first: its gain over the U-Net, and its time."""
    runs, fields = read_runs(RESULTS), fields_of_test(RESULTS)
    milliseconds = {arm: float(row["inference_ms"]) for arm, row in long_times(RESULTS).items()}
    arms = sorted((arm for arm in NETWORKS if (arm, 0) in runs), key=milliseconds.get)
    size = 7, 1 + 0.3 * len(arms)
    figure, (quality, time) = plt.subplots(1, 2, figsize=size, sharey=True, width_ratios=(3, 1))
    quality.axvline(0, color="#555555", linewidth=1)
    for row, arm in enumerate(arms):
        if arm == "unet":
            color = "black"
            quality.plot(0, row, "o", color=color)
        else:
            color = COLOURS["orange" if arm.startswith("unetpp") else "blue"]
            interval = crossed_interval(paired(runs, arm, "unet", "iou"), fields)
            error = [[interval.mean - interval.low], [interval.high - interval.mean]]
            quality.errorbar(interval.mean, row, xerr=error, fmt="o", color=color, capsize=3)
        time.plot(milliseconds[arm], row, "o", color=color)
    names = [network_label(arm) for arm in arms]
    quality.set_yticks(range(len(arms)), names)
    quality.invert_yaxis()
    quality.set_xlabel("IoU, difference from the U-Net")
    time.set(xscale="log", xlabel="ms per image")
    time.margins(x=0.15)
    ticks = [10, 20, 40, 80]
    time.set_xticks(ticks, ticks)
    time.minorticks_off()
    return figure


FIGURES = {
    "Segmentation": segmentation,
    "IoU": iou,
    "UNet": unet,
    "UNet++": unetpp,
    "UNet++(1)": pruning,
    "result": result,
    "study": study,
}


def save(figure: Figure, path: Path):
    """Write a PNG without a date or a version: the same bytes each time."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=160)
    plt.close(figure)
    # In steps of 10, noise takes less space and a drawing has only a few hundred colours, for which
    # a palette of 256 is nearly exact. A photograph with coloured masks has thousands: there a
    # palette would tint the greys.
    picture = Image.open(buffer).convert("RGB").point(lambda value: 10 * round(value / 10))
    if picture.getcolors(512):
        picture = picture.quantize(256, method=Image.Quantize.MAXCOVERAGE)
    picture.save(path, optimize=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    names = parser.parse_args().names or list(FIGURES)
    if unknown := [name for name in names if name not in FIGURES]:
        parser.error(f"no figure {', '.join(unknown)}, only {', '.join(FIGURES)}")
    matplotlib.use("agg")
    use_style()
    IMG.mkdir(exist_ok=True)
    for name in names:
        save(FIGURES[name](), IMG / f"{name}.png")
        print(IMG / f"{name}.png")


if __name__ == "__main__":
    main()
