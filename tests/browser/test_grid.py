"""The grid explorer: its numbers are the modules', and its nodes, pass and picture can be used."""

import base64

import numpy as np
import pytest
import torch
from playwright.sync_api import expect

from segedu import UNet, UNetPlusPlus, analysis
from segedu.data import sample
from segedu.explorers import GridExplorer, base

from .pages import opened


@pytest.fixture
def figure(page, tmp_path):
    """Opens the figure, with what is after the # of its address."""
    with opened(page, tmp_path / "page.html", GridExplorer()) as figure:
        yield figure


@pytest.fixture(scope="module")
def explorer():
    return GridExplorer(channels=(4, 8, 16, 32), in_channels=3, image_size=64)


@pytest.fixture(scope="module")
def networks():
    return [
        UNet(3, 1, channels=(4, 8, 16, 32)),
        UNetPlusPlus(3, 1, channels=(4, 8, 16, 32), deep_supervision=True),
    ]


def compute(blank, expression: str, argument):
    source = f"{base.SHARED}\n{GridExplorer.source()}"
    return blank.evaluate(f"argument => {{ {source}; return {expression} }}", argument)


def test_it_reads_the_modules(blank, explorer, networks):
    ours = compute(
        blank,
        """argument.networks.map(network => [1, 2, 3].map(level => {
            const pruned = prune(network, level)
            const order = inOrder(pruned.nodes).map(({ node }) => node)
            return [pruned.level, parameters(pruned), order]
        }))""",
        explorer.data,
    )
    for network, levels, data in zip(networks, ours, explorer.data["networks"], strict=True):
        for level, (kept, parameters, nodes) in enumerate(levels, start=1):
            pruned = network.prune(level if level in network.levels else 3)
            assert kept == pruned.depth
            assert parameters == analysis.count_parameters(pruned)
            assert data["operations"][kept] == analysis.count_multiply_adds(pruned, 64, 64)
            assert [tuple(node) for node in nodes] == pruned.nodes  # in which it computes them
        features = network.features(torch.zeros(1, 3, 64, 64))
        for (i, j), fact in zip(network.nodes, data["nodes"], strict=True):
            assert fact["node"] == [i, j]
            assert fact["gives"] == list(features[i, j].shape[1:])
            assert [k for kind, _, k in fact["inputs"] if kind == "skip"] == (
                network.skip_sources(i, j) if j else []
            )
            fields = [analysis.receptive_field(network, (i, j), row=row) for row in range(2**j)]
            widths = [last - first + 1 for first, last in fields]
            assert fact["sees"] == [min(widths), max(widths)]


def test_the_field_of_every_pixel_is_the_packages(blank, explorer, networks):
    ours = compute(
        blank,
        """argument.networks.map(({ nodes }) => nodes.map((node) =>
            Array.from({ length: node.gives[1] }, (_, at) => fieldOf(node, at))))""",
        explorer.data,
    )
    for network, nodes in zip(networks, ours, strict=True):
        for node, fields in zip(network.nodes, nodes, strict=True):
            expected = [analysis.input_interval(network, node, at, at) for at in range(len(fields))]
            assert [tuple(field) for field in fields] == expected


@pytest.mark.parametrize("size", [64, 512, 1024])
def test_the_picture_is_the_sample(blank, size):
    data = GridExplorer(channels=(4, 8), image_size=size).data["picture"]
    assert len(base64.b64decode(data)) == 8192
    ours = np.reshape(compute(blank, "unpackPicture(argument)", data), (128, 128))
    rows = np.arange(128) * size // 128
    rows = np.where(rows > 511, 1022 - rows, rows)  # mirrored
    theirs = sample().grey[np.ix_(rows, rows)].astype(float)
    np.testing.assert_allclose(ours / 15, np.sqrt(theirs / theirs.max()), atol=0.5 / 15 + 1e-9)


def test_nodes_are_chosen(figure, page):
    figure = figure()
    title, inputs = figure.locator(".about .title"), figure.locator("dd").first
    figure.get_by_role("button", name="X(1,2)").click()
    expect(title).to_have_text("X(1,2)")
    expect(inputs).to_have_text("X(1,0) copied, X(1,1) copied, X(2,1) upsampled")
    page.mouse.move(0, 0)
    page.keyboard.press("ArrowUp")
    expect(title).to_have_text("X(0,2)")
    page.locator("[name=level]").press("Home")
    expect(title).to_have_text("X(0,2), pruned away")
    expect(figure.locator(".summary")).to_contain_text("pruned to level 1: 3 of 15 nodes")
    figure.get_by_role("radio", name="U-Net", exact=True).check(force=True)
    expect(title).to_have_text("X(0,4)")
    # Over the nodes that are not there.
    figure.get_by_role("button", name="X(0,4)").press("ArrowLeft")
    expect(title).to_have_text("X(0,0)")


def test_a_unet_has_no_level_and_says_why(figure, page):
    figure = figure("#grid?network=U-Net&level=1")
    expect(figure.get_by_role("slider")).to_have_count(0)
    expect(figure).to_contain_text("a U-Net has one head, so nothing can be pruned")
    expect(figure.locator(".summary")).to_contain_text("U-Net: 9 of 9 nodes")
    figure.get_by_role("radio", name="U-Net++").check(force=True)
    expect(figure.get_by_role("slider", name="pruned to level")).to_be_visible()
    expect(figure.locator(".no-level")).to_be_hidden()


def test_pointing_at_a_node_lights_its_inputs_and_its_field(figure, page):
    figure = figure()
    wide = figure.locator(".field").get_attribute("width")
    figure.get_by_role("button", name="X(1,1)").hover()
    lit = figure.locator(".node.source:visible")
    assert sorted(lit.all_text_contents()) == ["X(1,0)", "X(2,0)"]
    expect(figure.locator(".edge.input:visible")).to_have_count(2)
    assert float(figure.locator(".field").get_attribute("width")) < float(wide)
    expect(figure.locator(".about .title")).to_have_text("X(1,1)")
    page.mouse.move(0, 0)
    expect(figure.locator(".about .title")).to_have_text("X(0,4)")  # the chosen one again


def test_the_field_follows_the_pointer_and_the_keys(figure, page):
    figure = figure("#grid?node=2.0")
    view, own = figure.get_by_role("application"), figure.locator(".pixel")
    box = view.bounding_box()
    page.mouse.move(box["x"] + 0.25 * box["width"] + 1, box["y"] + 0.5 * box["height"] + 1)
    assert [own.get_attribute(name) for name in ("x", "y", "width")] == ["64", "128", "4"]
    page.mouse.move(0, 0)
    view.press("ArrowLeft")
    view.press("ArrowDown")
    assert [own.get_attribute(name) for name in ("x", "y")] == ["60", "132"]
    first, last = analysis.input_interval(UNetPlusPlus(1, 1), (2, 0), 15, 15)
    assert figure.locator(".field").get_attribute("x") == str(first)
    assert figure.locator(".field").get_attribute("width") == str(last - first + 1)


def test_the_forward_pass_lights_nodes_in_order(figure):
    figure = figure("#grid?level=2")
    step, says = figure.get_by_role("button", name="one step"), figure.locator(".summary")
    waiting = figure.locator(".node.waiting:visible")
    order = ["X(0,0)", "X(1,0)", "X(0,1)", "X(2,0)", "X(1,1)", "X(0,2)"]
    for number, name in enumerate(order, start=1):
        step.click()
        expect(says).to_contain_text(f"Step {number} of 6: {name} from")
        expect(figure.locator(".player")).to_contain_text(f"{number} of 6: {name}")
        expect(figure.locator(".node.current:visible")).to_have_text(name)
        assert waiting.count() == 6 - number
    expect(says).to_contain_text("Head L2 makes the answer")
    figure.get_by_role("button", name="play").click()
    expect(says).to_contain_text("Step 2 of 6")
    figure.get_by_role("button", name="X(1,0)").click()  # a choice ends it
    expect(waiting).to_have_count(0)
    expect(figure.get_by_role("button", name="play")).to_be_visible()


def test_the_bars_show_what_is_left(figure):
    figure = figure("#grid?level=1")
    whole = UNetPlusPlus(1, 1, deep_supervision=True)
    left = whole.prune(1)
    shares = [
        analysis.count_parameters(left) / analysis.count_parameters(whole),
        analysis.count_multiply_adds(left, 256, 256)
        / analysis.count_multiply_adds(whole, 256, 256),
    ]
    for share, bar in zip(shares, figure.locator(".share").all(), strict=True):
        expect(bar).to_contain_text(f"{100 * share:.1f}\u00a0% of the whole")
        part, all_of_it = (bar.locator(name).bounding_box()["width"] for name in (".part", ".bar"))
        assert part / all_of_it == pytest.approx(share, abs=0.005)


@pytest.mark.parametrize("width", [1400, 375])
def test_the_height_stays(figure, page, width):
    figure = figure("", width)
    heights = {figure.bounding_box()["height"]}
    for _ in range(15):
        figure.get_by_role("button", name="one step").click()
        heights.add(figure.bounding_box()["height"])
    for label in ("U-Net", "U-Net++", "pruned", "first node", "deepest node"):
        button = figure.get_by_role("button", name=label, exact=True)
        button.click()
        expect(button).to_have_attribute("aria-pressed", "true")
        heights.add(figure.bounding_box()["height"])
    assert max(heights) - min(heights) < 1


def test_words_are_explained(figure, page):
    figure = figure("", width=375)
    word = figure.get_by_role("button", name="receptive field: The pixels of the image that")
    tip = word.locator(".tip")
    expect(tip).to_be_hidden()
    word.focus()
    expect(tip).to_be_visible()
    box, frame = tip.bounding_box(), figure.bounding_box()
    assert frame["x"] <= box["x"]
    assert box["x"] + box["width"] <= frame["x"] + frame["width"]
    page.keyboard.press("Escape")
    expect(tip).to_be_hidden()
