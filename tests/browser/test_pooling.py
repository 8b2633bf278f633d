"""The pooling explorer: its answers are `metrics.iou`'s, and each step to them can be seen."""

import itertools

import numpy as np
import pytest
import torch
from playwright.sync_api import expect

from segedu import metrics
from segedu.data import SyntheticNuclei
from segedu.explorers import PoolingExplorer, base

from .pages import opened

NUMBERS = np.random.default_rng(0)
MASKS = [NUMBERS.integers(0, 3, (40, 5, 6)) for _ in range(2)]
MASKS[0][:6] = MASKS[1][:6] = 0  # images without foreground


@pytest.fixture(scope="module")
def explorer():
    """With images like those of the chapter: 64, of which some are empty."""
    nuclei = SyntheticNuclei(64, size=64, density=0.6)
    masks = torch.stack([nuclei[index][1].as_subclass(torch.Tensor) for index in range(64)])
    return PoolingExplorer(masks.roll((1, 1), dims=(1, 2)), masks, num_classes=2)


@pytest.fixture
def figure(page, tmp_path, explorer):
    """Opens the figure, with what is after the # of its address."""
    with opened(page, tmp_path / "page.html", explorer) as figure:
        yield figure


def expected(counts, average, classes, absent) -> float:
    counts = counts if classes == "all" else [count[:, 1:] for count in counts]
    try:
        return float(metrics.iou(*counts, average=average, absent=absent))
    except ValueError:  # nothing is left
        return np.nan


@pytest.mark.parametrize("kind", ["any", "absent", "one"])
def test_the_answers_are_the_packages(blank, kind):
    part = {"any": slice(None), "absent": slice(6), "one": slice(-1, None)}[kind]
    preds, target = (masks[part] for masks in MASKS)
    source = f"{base.SHARED}\n{PoolingExplorer.source()}"
    ours = blank.evaluate(
        f"""counts => {{
            {source}
            return CHOICES.map(choice => [...choice, answer(ratios(counts, ...choice))])
        }}""",
        PoolingExplorer(preds, target, num_classes=3).data,
    )
    assert len(ours) == 24
    counts = metrics.stat_scores(preds, target, num_classes=3)
    for *choice, value in ours:
        assert value == pytest.approx(expected(counts, *choice), abs=1e-6, nan_ok=True)


def test_at_the_start_every_other_option_changes_the_number(figure):
    figure = figure()
    value = figure.locator(".big")
    start = value.inner_text()
    for group in figure.locator("fieldset").all():
        options = group.get_by_role("radio")
        chosen = [option.is_checked() for option in options.all()].index(True)
        for index in range(options.count()):
            options.nth(index).check(force=True)
            assert (value.inner_text() == start) == (index == chosen)
        options.nth(chosen).check(force=True)
    expect(figure.locator(".idle")).to_have_text("")


def test_what_changes_nothing_is_said(figure, page, explorer):
    """For every state: where no reason is given, each other option gives another number."""
    figure = figure()
    counts = [torch.tensor(explorer.data[name]) for name in ("tp", "fp", "fn")]
    averages, absents = ("image", "image_set", "class", "set"), (0, 1, "skip")
    for average, classes, absent in itertools.product(averages, ("all", "foreground"), absents):
        address = f"#pooling?average={average}&classes={classes}&absent={absent}"
        page.evaluate(f"location.hash = '{address}'")
        now = expected(counts, average, classes, absent)
        expect(figure.locator(".big")).to_have_text(f"{now:.3f}")
        others = [(other, classes, absent) for other in averages if other != average]
        others += [(average, classes, other) for other in absents if other != absent]
        is_same = any(abs(expected(counts, *other) - now) < 1e-9 for other in others)
        words = figure.locator(".idle").inner_text()
        assert bool(words) == is_same, (average, classes, absent, words)


def test_the_squares_that_count_are_lit(figure, page):
    figure = figure("#pooling?absent=skip")
    background, foreground = figure.locator(".block").all()
    empty = foreground.locator("i.unlit").count()
    assert empty == 12
    expect(background.locator("i.unlit")).to_have_count(0)
    page.evaluate("location.hash = '#pooling?classes=foreground&absent=1'")
    expect(foreground.locator("i.unlit")).to_have_count(0)  # now they count
    expect(background).to_have_class("block off")


def test_the_steps_lead_to_the_number(figure, page, explorer):
    figure = figure()
    steps, drawing = figure.locator("li"), figure.locator(".drawing")
    expect(drawing.locator("i")).to_have_count(64)
    expect(steps.nth(1)).to_contain_text("mean over the classes of each image")
    page.evaluate("location.hash = '#pooling?average=class'")
    expect(drawing.locator(".share")).to_have_count(2)
    tp, fp, fn = (np.sum(explorer.data[name], axis=0) for name in ("tp", "fp", "fn"))
    ratios = tp / (tp + fp + fn)
    for k, bar in enumerate(drawing.locator(".share").all()):
        union = tp[k] + fp[k] + fn[k]
        expect(bar).to_contain_text(f"{tp[k]:,} / {union:,} = {ratios[k]:.3f}")
    expect(steps.nth(2)).to_contain_text("mean over the classes")
    expect(steps.nth(2)).to_contain_text(f"{ratios.mean():.3f}")
    page.evaluate("location.hash = '#pooling?average=set'")
    expect(drawing).to_contain_text(f"{tp.sum():,} / {(tp + fp + fn).sum():,}")


def test_pointing_at_an_image_marks_it_everywhere(figure, page, explorer):
    figure = figure()
    marked = figure.locator("i.pointed")
    figure.locator(".block").last.locator("i").nth(20).hover()
    expect(marked).to_have_count(3)  # in both classes and among the means
    tp, fp, fn = (explorer.data[name][20][1] for name in ("tp", "fp", "fn"))
    says = figure.locator(".pointed-at")
    expect(says).to_contain_text(f"foreground {tp} / ({tp} + {fp} + {fn})")
    page.mouse.move(0, 0)
    expect(marked).to_have_count(0)
    blocks = figure.get_by_role("application")
    blocks.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(says).to_contain_text("Image 2, ")


@pytest.mark.parametrize("width", [1400, 375])
def test_presets_and_one_height(figure, page, explorer, width):
    figure = figure("", width)
    counts = [torch.tensor(explorer.data[name]) for name in ("tp", "fp", "fn")]
    presets = {
        "empty images left out": ("image", "foreground", "skip"),
        "empty images count 0": ("image", "foreground", 0),
        "empty images count 1": ("image", "foreground", 1),
        "background helps": ("class", "all", "skip"),
        "one sum": ("set", "foreground", "skip"),
    }
    heights = {figure.bounding_box()["height"]}
    for label, choice in presets.items():
        figure.get_by_role("button", name=label).click()
        number = f"{expected(counts, *choice):.3f}"
        expect(figure.locator(".says [role=status]")).to_contain_text(f"IoU {number}.")
        expect(figure.locator(".summary")).to_contain_text(f"IoU {number}")
        heights.add(figure.bounding_box()["height"])
    figure.get_by_role("button", name="reset").click()
    expect(figure.locator(".big")).to_have_text(f"{expected(counts, 'image', 'all', 0):.3f}")
    assert max(heights) - min(heights) < 1
