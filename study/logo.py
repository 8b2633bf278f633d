"""Draw the book's logo and icon into _static/: a nucleus with a small U-Net++ inside.

    python -m study.logo

The orange node is the one that U-Net++ adds to a U-Net of the same depth.
"""

from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np

from segedu.models import unet_nodes, unetpp_nodes
from segedu.plotting import COLOURS

STATIC = Path(__file__).parent.parent / "_static"


def draw():
    """The logo on a transparent background, for light and dark pages; 1 inch wide."""
    figure = plt.figure(figsize=(1, 1))
    ax = figure.add_axes((0, 0, 1, 1), aspect="equal", xlim=(-1, 1), ylim=(-1, 1))
    ax.set_axis_off()
    angle = np.linspace(0, 2 * np.pi, 90)
    radius = 0.93 + 0.06 * np.sin(3 * angle + 0.3)  # a circle, dented like a nucleus
    ax.fill(radius * np.cos(angle), radius * np.sin(angle), color=COLOURS["blue"])
    places = {(i, j): (0.54 * (j + i / 2 - 1), 0.4 - 0.47 * i) for i, j in unetpp_nodes(2)}
    for i, j in places:
        for source in [(i, j - 1), (i + 1, j - 1)] if j else [(i - 1, 0)]:
            if source in places:
                line = zip(places[source], places[i, j], strict=True)
                ax.plot(*line, color="white", linewidth=2.5)
    for node, place in places.items():
        colour = "white" if node in unet_nodes(2) else COLOURS["orange"]
        ax.add_patch(plt.Circle(place, 0.17, color=colour, zorder=2))
    return figure


def main():
    matplotlib.use("agg")
    plt.rcParams["svg.hashsalt"] = "segedu"  # the same ids, so the same bytes, each time
    STATIC.mkdir(exist_ok=True)
    figure = draw()
    no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(STATIC / "logo.svg", transparent=True, metadata=no_metadata)
    figure.savefig(STATIC / "favicon.png", transparent=True, dpi=64, metadata={"Software": None})


if __name__ == "__main__":
    main()
