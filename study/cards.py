"""Draw the pictures of the chapters for the first page, and of the book for links to it.

    python -m study.cards

They go into _static/cards/ and _static/preview.png, each on a dark ground, which suits micrographs
and both themes of the book. The names of the cards begin with `card-`, because the book lays all
its pictures into one folder, where some systems take `unet.png` and `UNet.png` as one file.
"""

from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from skimage.segmentation import find_boundaries

from segedu import load_pretrained, predict, to_mask
from segedu.data import normalize, sample
from segedu.diagrams import grid_edges
from segedu.files import atomic_path
from segedu.models import UNet, UNetPlusPlus
from segedu.plotting import COLOURS, ERRORS

STATIC = Path(__file__).parent.parent / "_static"
GROUND, INK = "#14181e", "#e6e6e6"
WINDOW = np.s_[376:496, 0:192]  # of the sample field, with the shape of a card


def draw_picture(ax, layers=()):
    """The sample's window, with masks over it: pairs of a mask and a colour."""
    picture = np.clip((sample()[0][WINDOW] - 8.0) / 70, 0, 1)
    picture = np.repeat(picture[..., None], 3, axis=2)
    for mask, colour in layers:
        picture[mask] = 0.35 * picture[mask] + 0.65 * np.array(matplotlib.colors.to_rgb(colour))
    ax.imshow(picture, interpolation="nearest", aspect="auto")


def basics(ax):
    instances = sample()[1][WINDOW]
    wheel = [COLOURS[name] for name in ("sky blue", "orange", "green", "purple", "yellow")]
    numbers = [number for number in np.unique(instances) if number]
    shapes = [(instances == number, wheel[k % 5]) for k, number in enumerate(numbers)]
    draw_picture(ax, [*shapes, (find_boundaries(instances), GROUND)])


def losses(ax):
    p = np.linspace(0.005, 1, 400)
    for gamma, colour in zip((0, 1, 2, 5), ("sky blue", "green", "orange", "purple"), strict=True):
        ax.plot(p, -((1 - p) ** gamma) * np.log(p), color=COLOURS[colour], linewidth=3)
    ax.set(xlim=(-0.05, 1.05), ylim=(-0.25, 3.2))
    ax.plot([0, 0, 1], [3, 0, 0], color=INK, linewidth=1.5)


def iou(ax):
    y, x = np.mgrid[-5:5:20j, -8:8:32j]
    truth, found = (np.hypot(x - side, y - side / 3) < 3.6 for side in (-1.1, 1.1))
    kinds = {"TP": truth & found, "FP": found & ~truth, "FN": truth & ~found}
    colours = np.full((*x.shape, 3), matplotlib.colors.to_rgb(GROUND))
    for kind, where in kinds.items():
        colours[where] = matplotlib.colors.to_rgb(ERRORS[kind][0])
    ax.pcolormesh(colours, edgecolors=GROUND, linewidth=0.7)


def draw_network(ax, model):
    places = {(i, j): (i + 2 * j, -1.35 * i) for i, j in model.nodes}
    colours = {"down": "orange", "up": "green", "skip": "sky blue"}
    for kind, start, end in grid_edges(model):
        line = np.array([places[start], places[end]], float)
        far = line[1, 0] - line[0, 0] > 2 and kind == "skip"
        x = np.linspace(*line[:, 0], 30)
        rise = 0.14 * (line[1, 0] - line[0, 0]) if far and len(model.nodes) > 9 else 0
        y = np.linspace(*line[:, 1], 30) + rise * 4 * np.linspace(0, 1, 30) * np.linspace(1, 0, 30)
        ax.plot(x, y, color=COLOURS[colours[kind]], linewidth=2)
    for (i, j), place in places.items():
        own = j == 0 or i + j == model.depth
        colour = INK if own else COLOURS["orange"]
        ax.scatter(*place, s=130, color=colour, edgecolor=GROUND, linewidth=1.5, zorder=3)
    ax.set(xlim=(-2.2, 10.2), ylim=(-6, 1.7 if len(model.nodes) > 9 else 0.7))


def unet(ax):
    draw_network(ax, UNet(1, 1, channels=(1,) * 5))


def unetpp(ax):
    draw_network(ax, UNetPlusPlus(1, 1, channels=(1,) * 5))


def results(ax):
    model = load_pretrained("unetpp-nuclei-tiny")
    grey, instances = sample()
    logits = predict(model, normalize(grey)[None])
    found = to_mask(logits, threshold=model.threshold)[0].numpy()[WINDOW] > 0
    truth = instances[WINDOW] > 0
    masks = {"TP": truth & found, "FP": found & ~truth, "FN": truth & ~found}
    draw_picture(ax, [(masks[kind], colour) for kind, (colour, *_) in ERRORS.items()])


CARDS = {
    "segmentation_basics": basics,
    "losses": losses,
    "iou": iou,
    "unet": unet,
    "unetpp": unetpp,
    "results": results,
}


def save(figure, path):
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", facecolor=GROUND, metadata={"Software": None})
    plt.close(figure)
    print(path)


def new_axes(figure, place):
    ax = figure.add_axes(place)
    ax.set_axis_off()
    return ax


def main():
    matplotlib.use("agg")
    (STATIC / "cards").mkdir(exist_ok=True)
    for name, draw in CARDS.items():
        figure = plt.figure(figsize=(4.8, 3), dpi=100)
        draw(new_axes(figure, (0, 0, 1, 1)))
        save(figure, STATIC / "cards" / f"card-{name}.png")

    figure = plt.figure(figsize=(12, 6.3), dpi=100)  # what previews of links show
    words = {"color": INK, "ha": "left", "va": "center"}
    figure.text(0.05, 0.85, "Image Segmentation,", size=44, weight="bold", **words)
    figure.text(0.05, 0.72, "from Pixels to U-Net++", size=44, weight="bold", **words)
    for place, draw in zip((0.05, 0.36, 0.67), (basics, unetpp, results), strict=True):
        draw(new_axes(figure, (place, 0.12, 0.29, 0.43)))
    save(figure, STATIC / "preview.png")


if __name__ == "__main__":
    main()
