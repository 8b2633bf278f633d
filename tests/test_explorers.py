"""The Python side of the explorers: values, bundles and links. Figures: see tests/browser."""

import base64
import importlib
import io
import sys
from functools import partial

import ipywidgets
import numpy as np
import pytest
from PIL import Image

from segedu import explorers

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
MAKERS = {
    "ConvExplorer": explorers.ConvExplorer,
    "GridExplorer": lambda: explorers.GridExplorer(channels=(4, 8, 16), image_size=32),
    "IoUExplorer": explorers.IoUExplorer,
    "LiveSegmentation": explorers.LiveSegmentation,
    "LossExplorer": explorers.LossExplorer,
    "PoolingExplorer": lambda: explorers.PoolingExplorer(
        np.eye(6, dtype=int)[None], np.tri(6, dtype=int)[None], num_classes=3
    ),
    "ThresholdExplorer": lambda: explorers.ThresholdExplorer(
        np.linspace(0, 1, 48).reshape(6, 8), np.eye(6, 8)
    ),
    "TrainingLab": explorers.TrainingLab,
}
# Another value for each control, and one that it refuses.
CONTROLS = {
    "ConvExplorer": {
        "operation": ("transposed", "deconvolution"),
        "weights": ("tent", "gauss"),
        "size": (12, 13),
        "kernel": (7, 0),
        "stride": (4, None),
        "padding": (3, -1),
    },
    "GridExplorer": {"network": ("U-Net", 1), "level": (1, 3), "node": ((1, 1), (2, 1))},
    "IoUExplorer": {
        "shape": ("square", "star"),
        "zoom": (4, 3),
        "truth_size": (60, 61),
        "prediction_size": (1, 0),
        "truth": ((128, 64), (129, 64)),
        "prediction": ((0, 0), 5),
    },
    "LiveSegmentation": {
        "picture": ("crowded", "cat"),
        "noise": (20, 41),
        "blur": (1.5, -1),
        "light": (10, 0),
        "head": (2, 5),
        "node": ((2, 1), (4, 1)),
        "skips_off": ([(0, 0, 1), (1, 0, 3)], (0, 0, 1)),
        "pixel": ((3, 95), (3, 96)),
    },
    "LossExplorer": {
        "gamma": (5, -0.1),
        "alpha": (1, 1.01),
        "foreground": (0.01, 0),
        "p": (0.99, 1),
    },
    "PoolingExplorer": {
        "average": ("set", "sets"),
        "classes": ("foreground", "none"),
        "absent": (1, 2),
    },
    "ThresholdExplorer": {"threshold": (1, float("nan"))},
    "TrainingLab": {
        "network": ("U-Net++ 4-8-16", "U-Net 1-2"),
        "loss": ("focal", "hinge"),
        "gamma": (0.5, 6),
        "alpha": (0.25, -0.1),
        "rate": (0.003, 1),
        "crops": (16, 17),
        "flips": (False, "up"),
        "seed": (3, 10),
        "threshold": (0.3, 1),
        "kept": ((2, 1, 20, 10, 3, 4, 0, 1), (2, 1, 51, 10, 3, 4, 0, 1)),
    },
}
EVERY_CONTROL = [(name, *rest) for name, items in CONTROLS.items() for rest in items.items()]


def test_all_explorers_are_tested():
    assert sorted(explorers.__all__) == sorted(MAKERS) == sorted(CONTROLS)


@pytest.mark.parametrize(("name", "control", "values"), EVERY_CONTROL)
def test_a_control_is_a_trait(name, control, values):
    explorer, (good, bad), seen = MAKERS[name](), values, []
    explorer.observe(seen.append, control)
    setattr(explorer, control, good)
    assert [change["new"] for change in seen] == [good]
    with pytest.raises(ValueError, match=control):
        setattr(explorer, control, bad)
    assert getattr(explorer, control) == good


def test_values_stand_on_the_sliders_steps():
    explorer = explorers.LossExplorer(gamma=2.04, alpha=0.39999999999999997)
    assert (explorer.gamma, explorer.alpha) == (2.0, 0.4)
    assert repr(explorer) == "LossExplorer(gamma=2.0, alpha=0.4, foreground=0.1, p=0.3)"


@pytest.mark.parametrize("name", MAKERS)
def test_bundle_holds_both_hosts(name):
    explorer = MAKERS[name]()
    data, _ = explorer._repr_mimebundle_()
    assert data["text/plain"] == repr(explorer)
    assert data["text/html"] == MAKERS[name]().to_html()  # the same text each time
    picture = len(data["image/png"])
    assert picture <= 60_000
    assert len(data["text/html"].encode()) - picture <= explorer.largest_page
    assert data[WIDGET_VIEW]["model_id"] != explorer.model_id  # but that of the box with controls
    for control in explorer.controls:
        assert f'"name": "{control.name}"' in data["text/html"]
        assert f'"{control.name}"' in explorer.source()  # the view reads it


@pytest.mark.parametrize("name", MAKERS)
def test_without_scripts_there_is_a_picture_and_no_control(name):
    data, _ = MAKERS[name]()._repr_mimebundle_()
    page, _, _ = data["text/html"].partition("<script>")
    assert f'src="data:image/png;base64,{data["image/png"]}"' in page
    assert not any(f"<{tag}" in page for tag in ("form", "input", "button", "select"))
    picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    assert picture.width == 720
    assert len(explorers.__dict__[name].alt) > 80


def test_the_pictures_show_what_the_code_draws():
    """If not: `python -m study.stills`."""
    stills = pytest.importorskip("study.stills", reason="no package playwright")
    assert {explorer.__name__ for explorer in stills.EXPLORERS.values()} == set(explorers.__all__)
    assert list(filter(stills.is_stale, stills.EXPLORERS)) == []


@pytest.mark.parametrize("name", MAKERS)
def test_ipython_shows_the_bundle(name):
    formatter = pytest.importorskip("IPython.core.formatters").DisplayFormatter()
    data, _ = formatter.format(MAKERS[name]())
    assert {"text/html", "text/plain", WIDGET_VIEW} <= set(data)


@pytest.mark.parametrize("name", MAKERS)
def test_controls_are_linked_in_the_page(name, monkeypatch):
    links = []
    monkeypatch.setattr(ipywidgets, "jslink", lambda *ends: links.append(ends))
    explorer = MAKERS[name]()
    for control in explorer.controls:
        setattr(explorer, control.name, CONTROLS[name][control.name][0])
    *widgets, view = explorer.to_widget().children
    assert view is explorer
    assert [source for source, _ in links] == [(explorer, c.name) for c in explorer.controls]
    assert [target[0] for _, target in links] == widgets
    for (_, source), (widget, target) in links:
        # In the page, one sends what the other takes.
        assert explorer.get_state([source])[source] == widget.get_state([target])[target]
        assert widget.description


@pytest.mark.parametrize("name", MAKERS)
def test_values_come_back_from_the_page(name):
    explorer, copy = MAKERS[name](), MAKERS[name]()
    for control, (good, _) in CONTROLS[name].items():
        setattr(explorer, control, good)
        copy.set_state(explorer.get_state([control]))
        assert getattr(copy, control) == good


def test_unknown_arguments_are_refused():
    with pytest.raises(TypeError, match="no delta, only the controls gamma, alpha, foreground, p"):
        explorers.LossExplorer(delta=1)


def test_data_that_a_page_can_hold_is_taken():
    noise = np.random.default_rng(0).random((110, 110))
    assert explorers.ThresholdExplorer(noise, noise > 0.5)


threshold, grid = explorers.ThresholdExplorer, explorers.GridExplorer
two_classes = partial(explorers.PoolingExplorer, num_classes=2)
FLAT, MASKS = np.zeros((2, 2)), np.zeros((5000, 2, 2), dtype=int)


@pytest.mark.parametrize(
    ("explorer", "message"),
    [
        (partial(threshold, *np.ones((2, 300, 300))), r"would add .* at most 60,000 .* smaller"),
        (partial(threshold, FLAT[None], FLAT[None]), r"both be \(H, W\), got \(1, 2, 2\)"),
        (partial(threshold, FLAT, np.zeros((2, 3))), r"got \(2, 2\) and \(2, 3\)"),
        (partial(threshold, FLAT[:0], FLAT[:0]), r"both be \(H, W\)"),
        (partial(threshold, FLAT + 1.5, FLAT), "logits, or NaN"),
        (partial(threshold, FLAT * np.nan, FLAT), "logits, or NaN"),
        (partial(threshold, FLAT, FLAT + 255), "target must hold 0 and 1"),
        (partial(two_classes, MASKS, MASKS), "PoolingExplorer would add"),
        (partial(two_classes, MASKS[:1], MASKS[0]), "preds and target"),
        (partial(two_classes, MASKS[:1], MASKS[:1], num_classes=1), "integer of at least 2, got 1"),
        (partial(grid, image_size=100), "multiples of 16"),
        (partial(grid, channels=(8,)), "channels"),
    ],
)
def test_other_data_are_refused(explorer, message):
    with pytest.raises(ValueError, match=message):
        explorer()


@pytest.mark.parametrize("shape", ["disc", "square"])
@pytest.mark.parametrize("middle", [(0, 0), (128, 64), (64, 32)])
def test_a_shape_always_has_all_its_pixels(shape, middle):
    for size in range(1, 61):
        explorer = explorers.IoUExplorer(shape=shape, truth_size=size, prediction_size=size)
        explorer.truth = middle
        preds, target = explorer.masks()
        assert target.shape == (64, 128)
        assert target.sum() == preds.sum()
        assert target.any(axis=0).sum() == target.any(axis=1).sum() == size


def test_without_anywidget_the_import_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "anywidget", None)
    for module in [name for name in sys.modules if name.startswith("segedu.explorers")]:
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(ImportError, match=r"pip install 'segedu\[chapters\]'"):
        importlib.import_module("segedu.explorers")
