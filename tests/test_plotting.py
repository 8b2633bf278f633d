"""Images, masks, errors and histories: what is drawn, where, and what is refused."""

from functools import partial

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from segedu.files import write_rows
from segedu.plotting import COLOURS, overlay_mask, plot_history, show_errors, show_images, use_style

matplotlib.use("agg")
IMAGE = np.random.default_rng(0).random((12, 16))
MASK = np.zeros((12, 16), dtype=int)
MASK[2:5, 0:6], MASK[6:11, 8:16] = 1, 2
ROWS = [{"step": k, "loss": 1 / k, "validation_iou": 0.5 if k == 4 else None} for k in range(1, 9)]
NO_HISTORY = "at least one row, each with a step and a finite loss"


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


@pytest.mark.parametrize(
    "image",
    [
        IMAGE,
        IMAGE[None],
        IMAGE[..., None],
        np.stack([IMAGE] * 3),
        np.stack([IMAGE] * 3, axis=-1),
        (255 * IMAGE).astype(np.uint8),
        IMAGE > 0.5,
        torch.tensor(IMAGE, dtype=torch.float16),
        torch.tensor(IMAGE[None], requires_grad=True),
    ],
)
def test_images_of_every_kind_become_the_same_picture_shape(image):
    (ax,) = show_images([image])
    assert ax.images[0].get_array().shape == (12, 16, 3)
    assert 0 <= ax.images[0].get_array().min() < ax.images[0].get_array().max() <= 1


def test_constant_image_is_shown():
    (ax,) = show_images([np.full((4, 4), 7)])
    assert (ax.images[0].get_array() == 0).all()


def test_images_in_rows_with_titles_and_masks():
    axes = show_images([IMAGE] * 3, ["a", "b", "c"], masks=[None, MASK, MASK > 0], columns=2)
    assert [ax.get_title() for ax in axes] == ["a", "b", "c"]
    assert [len(ax.images) for ax in axes] == [1, 3, 2]
    assert len(axes[0].figure.axes) == 3  # the fourth place is empty


def test_overlay_fills_exactly_the_mask():
    ax = overlay_mask(IMAGE, torch.from_numpy(MASK), alpha=0.4)
    for label, fill in zip((1, 2), ax.images[1:], strict=True):
        where = np.equal(MASK, label)
        assert np.array_equal(fill.get_array()[..., 3] > 0, where)
    assert len(ax.collections) == 2  # an outline each


def test_outline_runs_around_the_region():
    outline = overlay_mask(IMAGE, MASK == 2).collections[0]
    corners = np.concatenate([path.vertices for path in outline.get_paths()])
    assert corners.min(axis=0).tolist() == [7.5, 5.5]
    assert corners.max(axis=0).tolist() == [15.5, 10.5]


def test_classes_differ_in_dashes_too():
    ax = overlay_mask(IMAGE, MASK, names=["cell", "debris"])
    assert legend(ax) == ["cell", "debris"]
    styles = [line.get_linestyle() for line in ax.get_legend().get_lines()]
    assert len(set(styles)) == 2


def test_empty_mask_leaves_the_image_alone():
    ax = overlay_mask(IMAGE, np.zeros_like(MASK))
    assert (len(ax.images), len(ax.collections)) == (1, 0)


def test_errors_are_counted_and_placed():
    preds = np.roll(MASK > 0, 1, axis=0)
    ax = show_errors(IMAGE, preds, torch.from_numpy(MASK))
    tp, fp, fn = 12 + 32, 6 + 8, 6 + 8
    assert legend(ax) == [f"TP, found: {tp}", f"FP, false alarm: {fp}", f"FN, missed: {fn}"]
    areas = [(image.get_array()[..., 3] > 0).sum() for image in ax.images[1:]]
    assert areas == [tp, fp, fn]
    hatches = [patch.get_hatch() for patch in ax.get_legend().get_patches()]
    assert len(set(hatches)) == 3


def test_history_from_rows_and_from_a_file(tmp_path):
    path = tmp_path / "history.csv"
    write_rows(path, ROWS)
    for history in (ROWS, path, str(path)):
        ax = plot_history(history)
        assert ax.get_lines()[0].get_ydata() == pytest.approx([row["loss"] for row in ROWS])
        right = next(other for other in ax.figure.axes if other is not ax)
        assert right.get_lines()[0].get_xydata().tolist() == [[4, 0.5]]


def test_history_without_validation_has_one_axis():
    ax = plot_history([{"step": 1, "loss": 2.0}])
    assert ax.figure.axes == [ax]


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (partial(show_images, [np.zeros(4)]), r"got an image of shape \(4,\)"),
        (partial(show_images, [np.zeros((2, 8, 8))]), "got an image of shape"),
        (partial(show_images, [np.zeros((1, 1, 8, 8))]), "got an image of shape"),
        (partial(show_images, [np.zeros((0, 8))]), "got an image of shape"),
        (partial(show_images, [np.full((4, 4), np.nan)]), "NaN"),
        (partial(show_images, []), "no images"),
        (partial(show_images, [IMAGE] * 2, titles=["a"]), "for 2 images, expected one per image"),
        (partial(show_images, [IMAGE] * 2, masks=[MASK]), "for 2 images, expected one per image"),
        (partial(show_images, [IMAGE] * 2, ax=[None]), "for 2 images, expected one per image"),
        (partial(overlay_mask, IMAGE, MASK[:-1]), r"shape \(11, 16\)"),
        (partial(overlay_mask, IMAGE, MASK / 1), "float64 values .* threshold probabilities"),
        (partial(overlay_mask, IMAGE, MASK, names=["cell"]), "1 names"),
        (partial(overlay_mask, IMAGE, -MASK), "int64 values from -2 on"),
        (partial(show_errors, IMAGE, MASK.T, MASK), "got preds of shape"),
        (partial(show_errors, IMAGE, MASK, MASK / 2), "got target with float64 values"),
        (partial(plot_history, []), NO_HISTORY),
        (partial(plot_history, [{"step": 1}]), NO_HISTORY),
        (partial(plot_history, [{"step": 1, "loss": np.inf}]), NO_HISTORY),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()


@pytest.mark.parametrize(
    "draw",
    [
        lambda ax: overlay_mask(IMAGE, MASK, ax=ax),
        lambda ax: show_errors(IMAGE, MASK, MASK, ax=ax),
        lambda ax: plot_history(ROWS, ax=ax),
        lambda ax: show_images([IMAGE], ax=[ax])[0],
    ],
)
def test_given_axes_are_used(draw):
    _, ax = plt.subplots()
    assert draw(ax) is ax
    assert plt.get_fignums() == [ax.figure.number]


def test_style_is_an_opaque_light_card_and_the_colours_are_the_palettes():
    with plt.rc_context():
        use_style()
        assert plt.rcParams["savefig.transparent"] is False
        assert matplotlib.colors.to_rgba(plt.rcParams["savefig.facecolor"])[3] == 1
        cycle = plt.rcParams["axes.prop_cycle"].by_key()
        assert {f"#{colour.lstrip('#')}" for colour in cycle["color"]} <= set(COLOURS.values())
        assert len({str(line) for line in cycle["linestyle"]}) == len(cycle["color"])
