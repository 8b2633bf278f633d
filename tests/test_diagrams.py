"""The drawings show exactly the nodes, arrows, heads and shapes of the modules."""

from types import SimpleNamespace

import matplotlib
import matplotlib.pyplot as plt
import pytest
import torch

from segedu import UNet, UNetPlusPlus, diagrams, plotting
from segedu.diagrams import FAINT, draw_grid, draw_unet, grid_edges
from tests.helpers import unchanged

matplotlib.use("agg")
CHANNELS = (4, 8, 16, 32)
MODELS = {
    "unet": UNet(1, 1, channels=CHANNELS),
    "unet, transposed": UNet(3, 2, channels=CHANNELS, up="transposed"),
    "unetpp": UNetPlusPlus(1, 1, channels=CHANNELS, deep_supervision=True),
    "unetpp, last": UNetPlusPlus(1, 1, channels=CHANNELS, skips="last"),
}


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def drawn(ax, kind):
    """The node numbers in the gids of the patches of one kind."""
    words = [patch.get_gid().split() for patch in ax.patches]
    return sorted(tuple(map(int, rest)) for first, *rest in words if first == kind)


def wired(model, kind):
    """The arrows of one kind by the rule of segedu.models, written a second time."""
    pairs = {
        "down": [(i - 1, 0, i, 0) for i, j in model.nodes if j == 0 and i > 0],
        "up": [(i + 1, j - 1, i, j) for i, j in model.nodes if j > 0],
        "skip": [(i, k, i, j) for i, j in model.nodes if j > 0 for k in model.skip_sources(i, j)],
    }
    return sorted(pairs[kind])


def test_grid_shows_the_models_nodes_arrows_and_heads(model):
    ax = draw_grid(model)
    assert drawn(ax, "node") == sorted(model.nodes)
    for kind in ("down", "up", "skip"):
        assert drawn(ax, kind) == wired(model, kind)
        assert sorted((*a, *b) for k, a, b in grid_edges(model) if k == kind) == wired(model, kind)
    assert drawn(ax, "head") == [(level,) for level in model.levels]
    texts = [text.get_text() for text in ax.texts]
    for i, j in model.nodes:
        assert texts[texts.index(f"X({i},{j})") + 1] == str(model.channels[i])


def test_arrows_are_what_the_forward_pass_computes():
    """Every block takes as many channels as the arrows bring to it."""
    for model in MODELS.values():
        for i, j in model.nodes:
            into = [(kind, a) for kind, a, b in grid_edges(model) if b == (i, j)]
            brought = sum(model.channels[a[0]] for kind, a in into)
            if model.up == "transposed" and j > 0:
                brought += model.channels[i] - model.channels[i + 1]
            taken = model.blocks[f"{i}_{j}"][0].in_channels
            assert taken == (brought or model.in_channels)


@pytest.mark.parametrize("level", [1, 2, 3])
def test_level_greys_out_what_pruning_removes(level):
    model = MODELS["unetpp"]
    pruned = model.prune(level)
    ax = draw_grid(model, level=level)
    grey = matplotlib.colors.to_rgba(FAINT)
    alive = [patch.get_gid() for patch in ax.patches if patch.get_edgecolor() != grey]
    assert sum(gid.startswith("node") for gid in alive) == len(pruned.nodes)
    assert {gid for gid in alive if gid.startswith("node")} == {
        f"node {i} {j}" for i, j in pruned.nodes
    }
    arrows = [gid for gid in alive if gid.split()[0] in ("down", "up", "skip")]
    assert len(arrows) == len(grid_edges(pruned))
    assert [gid for gid in alive if gid.startswith("head")] == [f"head {level}"]
    assert len(drawn(ax, "node")) == len(model.nodes)  # the removed ones are still drawn


def test_level_without_a_head_is_an_error():
    with pytest.raises(ValueError, match="no head at level 2"):
        draw_grid(MODELS["unet"], level=2)


def test_grid_takes_anything_that_looks_like_one():
    twin = SimpleNamespace(
        nodes=[(0, 0), (1, 0), (0, 1)],
        skip_sources=lambda i, j: [0],
        channels=(2, 4),
        depth=1,
        levels=[1],
        up="bilinear",
    )
    assert drawn(draw_grid(twin), "skip") == [(0, 0, 0, 1)]


def test_unet_boxes_have_the_traced_shapes(model):
    ax = draw_unet(model, 64)
    assert drawn(ax, "node") == drawn(ax, "input") == drawn(ax, "block") == sorted(model.nodes)
    for kind in ("down", "up", "skip"):
        assert drawn(ax, kind) == wired(model, kind)
    assert drawn(ax, "copy") == sorted((i, k, j) for i, k, _, j in wired(model, "skip"))

    boxes = {patch.get_gid(): patch for patch in ax.patches}
    with torch.no_grad():
        maps = model.eval().features(torch.zeros(1, model.in_channels, 64, 64))
    for i, j in model.nodes:
        _, channels, side, _ = maps[i, j].shape
        box, first = boxes[f"node {i} {j}"], boxes["node 0 0"]
        assert box.get_height() / first.get_height() == pytest.approx((side / 64) ** 0.5)
        wider = (box.get_width() - 0.04) / (first.get_width() - 0.04)
        assert wider == pytest.approx((channels / CHANNELS[0]) ** 0.5)
    texts = [text.get_text() for text in ax.texts]
    assert [f"{side} x {side}" in texts for side in (64, 32, 16, 8)] == [True] * 4
    names = [text for text in texts if text.startswith("X(")]
    dense = any(len(model.skip_sources(i, j)) > 1 for i, j in model.nodes if j > 0)
    assert names == ([] if dense else [f"X({i},{j})" for i, j in model.nodes])


def test_drawing_leaves_the_model_alone():
    model = UNet(1, 1, channels=(4, 8)).train()
    with unchanged(model):
        draw_unet(model, 32)
        draw_grid(model)


def test_size_that_does_not_fit_is_an_error():
    with pytest.raises(ValueError, match="72 x 72"):
        draw_unet(MODELS["unet"], 65)


@pytest.mark.parametrize("draw", [draw_grid, lambda model, ax: draw_unet(model, 64, ax=ax)])
def test_given_axes_are_used(draw):
    _, ax = plt.subplots()
    assert draw(MODELS["unet"], ax=ax) is ax
    assert plt.get_fignums() == [ax.figure.number]


def test_legend_names_the_arrows_and_the_nodes():
    texts = [text.get_text() for text in draw_grid(MODELS["unetpp"]).legend().get_texts()]
    assert len(texts) == len(set(texts)) == 6
    texts = [text.get_text() for text in draw_unet(MODELS["unet"], 64).legend().get_texts()]
    assert len(texts) == 5


def test_drawing_code_does_not_import_torch():
    """It needs only matplotlib and the module that it is given."""
    for module in (diagrams, plotting):
        assert not hasattr(module, "torch")
