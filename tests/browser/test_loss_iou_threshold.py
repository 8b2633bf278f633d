"""What one does with the figures of loss, IoU and threshold: buttons, dragging, pointing."""

import re

import numpy as np
import pytest
import torch
from playwright.sync_api import expect

from segedu import explorers, losses
from segedu.explorers.iou import _pixels
from segedu.explorers.loss import PIECE, soft_threshold

from .pages import watch, write_and_open

Y, X = np.mgrid[-1:1:40j, -1:1:60j]
LEVELS = np.round(255 * np.exp(-4 * (X**2 + Y**2))).astype(np.uint8)
TARGET = X**2 + (Y - 0.1) ** 2 < 0.25


def threshold_explorer():
    return explorers.ThresholdExplorer(LEVELS / 255, TARGET)


@pytest.fixture
def show(page, tmp_path):
    """Open a figure in a page; at the end nothing may have gone wrong in it."""

    def show(explorer, address: str = ""):
        write_and_open(page, tmp_path / "page.html", explorer.to_html())
        if address:
            page.goto("about:blank")
            page.goto(f"{(tmp_path / 'page.html').as_uri()}#{address}")
        return page

    problems = watch(page)
    yield show
    assert problems == []


def drag(page, plot, start: float, end: float, domain: tuple[float, float]):
    """Drag in a chart from one value on its x axis to another."""
    box = plot.bounding_box()
    left, right = (box["x"] + box["width"] * at / 340 for at in (38, 328))  # where the axis lies
    low, high = domain
    places = [left + (right - left) * (value - low) / (high - low) for value in (start, end)]
    y = box["y"] + box["height"] / 2
    page.mouse.move(places[0], y)
    page.mouse.down()
    page.mouse.move(places[1], y, steps=4)
    page.mouse.up()
    page.mouse.move(places[0], y)  # after the button is up nothing moves


def press(page, name: str) -> str:
    """Press a button, and return its sentence."""
    page.get_by_role("button", name=name, exact=True).click()
    assert page.get_by_role("button", name=name, exact=True).get_attribute("aria-pressed") == "true"
    return page.locator(".says > p").first.inner_text()


def pixel(page, picture: int, row: int, column: int, shape: tuple[int, int]) -> tuple[float, float]:
    """Where a pixel of a picture is on the page."""
    box = page.locator(".pixels").nth(picture).bounding_box()
    height, width = shape
    return (
        box["x"] + (column + 0.5) * box["width"] / width,
        box["y"] + (row + 0.5) * box["height"] / height,
    )


# -- IoU -----------------------------------------------------------------------------------------


def iou(size, shift, *, prediction_size=None):
    preds = _pixels("disc", (64 + shift, 32), prediction_size or size)
    target = _pixels("disc", (64, 32), size)
    return (preds & target).sum() / (preds | target).sum()


@pytest.mark.parametrize("zoom", [1, 2, 4])
def test_shapes_are_dragged(zoom, show):
    page = show(explorers.IoUExplorer(zoom=zoom, truth_size=12, prediction_size=10))
    shape = page.get_by_role("group", name="prediction, columns 64 to 73, rows 28 to 37")
    box = shape.locator(".grip").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    cell = zoom * page.locator(".stage canvas").bounding_box()["width"] / 128
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 3 * cell, y + 2 * cell, steps=4)
    page.mouse.up()
    page.mouse.move(x, y)  # after the button is up nothing moves
    shape = page.get_by_role("group", name="prediction, columns 61 to 70, rows 30 to 39")
    assert shape.evaluate("node => getComputedStyle(node).outlineStyle") == "none"
    shape.press("ArrowUp")
    page.get_by_role("group", name="prediction, columns 61 to 70, rows 29 to 38").press("ArrowLeft")
    explorer = explorers.IoUExplorer(truth_size=12, prediction_size=10, prediction=(65, 34))
    preds, target = explorer.masks()
    counted = f"{(preds & target).sum()} pixels in both"
    assert page.locator(".summary").inner_text().startswith(counted)
    for _ in range(70):
        page.keyboard.press("ArrowRight")
    shape = page.get_by_role("group", name="prediction, columns 118 to 127")
    for _ in range(2):  # as far as the truth allows, which is never lost from sight
        stage, grip = page.locator(".stage"), page.get_by_role("group", name="truth, ")
        at, outer = grip.locator(".outline").bounding_box(), stage.bounding_box()
        assert outer["x"] <= at["x"] + 10
        assert at["x"] + at["width"] <= outer["x"] + outer["width"] + 10
        grip.press("ArrowDown")


def test_the_colours_of_a_zoomed_stage_are_those_of_its_pixels(show):
    page = show(explorers.IoUExplorer(zoom=4, truth_size=8, prediction_size=8, truth=(64, 32)))
    counts = {}
    for zoom, name in ((4, "4 \u00d7"), (2, "2 \u00d7"), (1, "1 \u00d7")):
        page.get_by_role("radio", name=name).check(force=True)
        counts[zoom] = page.locator(".stage canvas").evaluate(
            """canvas => {
                const { data } = canvas.getContext("2d").getImageData(
                    0, 0, canvas.width, canvas.height)
                const blue = data.filter((value, k) => k % 4 === 0 && value === 0x56).length
                return [canvas.width, blue]
            }"""
        )
    preds, target = explorers.IoUExplorer(truth_size=8, prediction_size=8, truth=(64, 32)).masks()
    tp = (preds & target).sum()
    for zoom, (width, blue) in counts.items():
        assert blue == tp * (width * zoom // 128) ** 2


@pytest.mark.parametrize(
    ("name", "sentence", "low", "high"),
    [
        ("6 px nucleus", "lost more than half", 0, 0.5),
        ("60 px nucleus", "less than a tenth", 0.9, 1),
        ("1 px off", "a fifth", 0.795, 0.815),
        ("too thin", "0.86", 0.855, 0.865),
        ("nested", "ratio of areas", 0.25, 0.25),
        ("disjoint", "IoU is 0", 0, 0),
    ],
)
def test_what_the_buttons_of_iou_say_is_true(name, sentence, low, high, show):
    page = show(explorers.IoUExplorer())
    assert sentence in press(page, name)
    shown = float(re.search(r"IoU (\d\.\d+)", page.locator(".summary").inner_text())[1])
    assert low <= shown <= high
    page.get_by_role("button", name="reset").click()
    assert page.get_by_role("group", name="prediction, columns 59 to 78").count() == 1


def test_the_plot_moves_the_prediction(show):
    page = show(explorers.IoUExplorer())
    press(page, "1 px off")
    drag(page, page.locator(".panels svg").first, 1, -5, (-16, 16))
    assert page.get_by_role("group", name="prediction, columns 53 to 64").count() == 1
    assert f"IoU {iou(12, -5):.3f}" in page.locator(".summary").inner_text()


def test_the_goal_leads_to_both_sizes(show):
    page = show(explorers.IoUExplorer())
    goal, shape = page.locator(".goal"), page.get_by_role("group", name="prediction, ")
    assert "Start with" in goal.inner_text()
    press(page, "6 px nucleus")
    assert f"IoU {iou(6, 2):.3f} is too low" in goal.inner_text()
    shape.press("ArrowLeft")
    assert iou(6, 1) >= 0.5 > iou(6, 2)
    assert "Reached: a nucleus of 6 px may be 1 px off. Now the one of 60 px" in goal.inner_text()
    press(page, "60 px nucleus")
    assert f"IoU {iou(60, 2):.3f}: move it further" in goal.inner_text()
    shape.press("ArrowDown")
    assert "row of the truth" in goal.inner_text()
    shape.press("ArrowUp")
    for _ in range(13):
        shape.press("ArrowRight")
    assert iou(60, 15) >= 0.5 > iou(60, 16)
    assert "6 px may be 1 px off, one of 60 px 15 px" in goal.inner_text()
    assert "grows with the size" in goal.inner_text()


def test_counts_and_pixels_light_each_other(show):
    page = show(explorers.IoUExplorer())
    canvas = page.locator("canvas")
    before = canvas.evaluate("canvas => canvas.toDataURL()")
    page.locator(".count").first.hover()
    assert canvas.evaluate("canvas => canvas.toDataURL()") != before
    box = page.locator(".stage").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 4)  # above both middles
    assert canvas.evaluate("canvas => canvas.toDataURL()") == before
    assert page.locator(".count.lit").inner_text().startswith("FN")


def test_a_finger_moves_the_shape_but_elsewhere_the_page(browser, tmp_path):
    context = browser.new_context(
        viewport={"width": 375, "height": 700}, has_touch=True, is_mobile=True
    )
    page = context.new_page()
    touch = context.new_cdp_session(page)
    write_and_open(page, tmp_path / "page.html", explorers.IoUExplorer().to_html())

    def swipe(x, y, right, down):
        def send(kind, *points):
            points = [{"x": x, "y": y} for x, y in points]
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
            page.wait_for_timeout(20)

        send("touchStart", (x, y))
        for step in range(1, 9):
            send("touchMove", (x + right * step / 8, y + down * step / 8))
        send("touchEnd")

    page.locator(".stage").scroll_into_view_if_needed()
    before = page.evaluate("scrollY")
    cell = page.locator(".stage canvas").bounding_box()["width"] / 64
    box = page.get_by_role("group", name="prediction, ").locator(".grip").bounding_box()
    swipe(box["x"] + 0.7 * box["width"], box["y"] + 0.5 * box["height"], 6 * cell, 3 * cell)
    expect(page.get_by_role("group", name="prediction, columns 65 to 84, rows 26")).to_be_visible()
    assert page.evaluate("scrollY") == before
    plot = page.locator(".panels svg").first
    plot.scroll_into_view_if_needed()
    before, box = page.evaluate("scrollY"), plot.bounding_box()
    swipe(box["x"] + 100, box["y"] + 150, 0, -120)
    page.wait_for_function(f"scrollY > {before} + 50")
    expect(page.get_by_role("group", name="prediction, columns 65 to 84, rows 26")).to_be_visible()
    context.close()


# -- threshold -----------------------------------------------------------------------------------


def test_the_line_is_dragged(show):
    page = show(threshold_explorer())
    drag(page, page.locator(".panels > svg"), 0.5, 0.8, (0, 1))
    assert page.get_by_role("slider").input_value() == "0.8"
    drag(page, page.locator(".panels > svg"), 0.8, 1.2, (0, 1))  # past the end
    assert page.get_by_role("slider").input_value() == "1"


def test_the_figure_names_what_the_map_holds(show):
    options = {"quantity": "brightness", "threshold": 0.2}
    page = show(explorers.ThresholdExplorer(LEVELS / 255, TARGET, **options))
    text = page.locator(".segedu-explorer").inner_text()
    assert "brightness map" in text
    assert "threshold, brightness" in text
    assert "probabilit" not in text


def test_what_the_buttons_of_the_threshold_say_is_true(show):
    page = show(threshold_explorer())

    def at(name):
        press(page, name)
        threshold = float(page.get_by_role("slider").input_value())
        preds = threshold < LEVELS / 255
        tp = (preds & TARGET).sum()
        return threshold, tp / preds.sum(), tp / TARGET.sum()

    def scores(threshold):
        preds = threshold < LEVELS / 255
        tp = (preds & TARGET).sum()
        return tp / preds.sum(), tp / TARGET.sum()

    assert at("one half")[0] == 0.5
    threshold, _, recall = at("miss little")
    assert recall >= 0.95 > scores(threshold + 0.01)[1]
    threshold, precision, _ = at("few false alarms")
    assert precision >= 0.95 > scores(threshold - 0.01)[0]
    best, *_ = at("best IoU")
    otsu, *_ = at("Otsu")
    marks = page.locator("text.mark").all_text_contents()
    assert marks == [f"best {best:.2f}", f"Otsu {otsu:.2f}"]
    page.get_by_role("button", name="reset").click()
    assert page.get_by_role("slider").input_value() == "0.5"


def test_a_pixel_says_its_probability(show):
    page = show(threshold_explorer())
    page.mouse.move(*pixel(page, 1, 29, 30, LEVELS.shape))
    p = LEVELS[29, 30] / 255
    assert p < 0.5
    assert TARGET[29, 30]
    says = f"Row 29, column 30: probability {p:.2f}, FN, missed."
    assert page.locator(".pixel").inner_text() == says
    assert page.locator("td.lit").inner_text().split()[0] == "FN"
    expect(page.locator(".ring[visibility=visible]")).to_have_count(2)  # in both pictures
    page.mouse.move(0, 0)
    expect(page.locator("td.lit")).to_have_count(0)
    page.locator(".pixels").first.focus()
    page.keyboard.press("ArrowUp")  # from the middle
    assert page.locator(".pixel").inner_text().startswith("Row 19, column 30: probability 1.00, TP")


def test_errors_are_hatched_each_in_its_way(show):
    """So that colour is not the only sign."""
    page = show(threshold_explorer())
    colours = (
        page.locator("canvas")
        .nth(1)
        .evaluate(
            """canvas => {
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height)
            const view = new DataView(data.buffer)
            return [canvas.width, Array.from({ length: data.length / 4 },
                (_, k) => view.getUint32(4 * k).toString(16).padStart(8, "0").slice(0, 6))]
        }"""
        )
    )
    width, flat = colours
    picture = np.array(flat).reshape(-1, width)
    zoom = width // LEVELS.shape[1]
    preds = LEVELS / 255 > 0.5
    whole = {"tp": preds & TARGET, "fn": TARGET & ~preds, "fp": preds & ~TARGET}
    black = {}
    for kind, colour in {"tp": "56b4e9", "fp": "f0e442", "fn": "d55e00"}.items():
        mask = np.kron(whole[kind], np.ones((zoom, zoom), bool))
        assert mask.any()
        assert set(picture[mask]) <= {colour, "000000"}
        black[kind] = (picture[mask] == "000000").mean()
    assert black["tp"] == 0
    assert 0.05 < black["fp"] < 0.3
    assert 0.05 < black["fn"] < 0.3


# -- loss ----------------------------------------------------------------------------------------


def readings(page) -> list[list[float]]:
    rows = page.locator("tbody tr").all()
    return [[float(text) for text in row.locator("td").all_inner_texts()] for row in rows]


def expected_readings(p: float, gamma: float, alpha: float) -> list[list[float]]:
    """For y = 1 and y = 0: the losses and the absolute gradients of BCE and focal loss."""
    rows = []
    for y in (1.0, 0.0):
        values = []
        for options in ({"gamma": 0}, {"gamma": gamma, "alpha": alpha}):
            z = torch.full((1, 1, 1, 1), p).double().logit().requires_grad_()
            loss = losses.focal_loss(z, torch.full_like(z, y), **options)
            loss.backward()
            values.append((loss.item(), z.grad.abs().item()))
        (bce, bce_gradient), (focal, focal_gradient) = values
        rows.append([bce, focal, bce_gradient, focal_gradient])
    return rows


def test_a_pixel_moves_along_the_curves(show):
    page = show(explorers.LossExplorer())
    drag(page, page.locator(".panels > svg").first, 0.3, 0.75, (0, 1))
    slider = page.get_by_role("slider", name="p of the pixel")
    assert slider.input_value() == "0.75"
    slider.press("ArrowLeft")
    assert page.locator("thead .title").inner_text() == "Pixel with p = 0.74"
    np.testing.assert_allclose(readings(page), expected_readings(0.74, 2, 0.25), atol=5e-4)
    drag(page, page.locator(".panels > svg").last, 0.74, -0.2, (0, 1))
    assert slider.input_value() == "0.01"


def test_the_loss_has_no_limit(show):
    page = show(explorers.LossExplorer(p=0.01))
    plot = page.locator(".panels > svg").first
    assert "no upper limit" in plot.text_content()
    # BCE of a foreground pixel is 4.6 there: its dot is an arrow at the upper border.
    assert "a4.5" not in plot.locator(".dot.plain").last.get_attribute("d")
    assert "a4.5" in plot.locator(".dot.plain").first.get_attribute("d")
    for curve in plot.locator(".curve").all():  # also the focal loss of a foreground pixel
        assert curve.bounding_box()["y"] < plot.locator(".cursor").bounding_box()["y"] - 50


def test_what_the_buttons_of_the_loss_say_is_true(show):
    page = show(explorers.LossExplorer(p=0.2))
    shares = page.locator(".share")

    def share(number):
        return float(re.search(r"([\d.]+)\s%, with", shares.nth(number).inner_text())[1])

    assert "paper" in page.locator("[aria-pressed=true]").inner_text()
    press(page, "BCE")
    for now, bce, *_ in readings(page):
        assert now == pytest.approx(2 * bce, abs=0.002)
    assert [share(0), share(1)] == [10, 35.7]
    press(page, "the course")
    assert share(0) == 50
    assert share(1) == 99
    sentence = press(page, "rare foreground")
    assert share(0) == 1
    assert "1\u00a0%" in sentence  # as the slider and the text have it
    assert page.locator(".control-foreground output").inner_text() == "1\u00a0%"
    assert "1\u00a0% foreground" in page.locator(".summary").inner_text()
    press(page, "only the worst")
    page.get_by_role("button", name="reset").click()
    assert [share(0), share(1)] == [3.6, 79.2]
    assert page.get_by_role("slider", name="γ").input_value() == "2"


def test_gamma_leaves_the_first_bar_alone_and_the_text_says_so(show):
    page = show(explorers.LossExplorer())
    before = [bar.inner_text() for bar in page.locator(".share").all()]
    page.get_by_role("slider", name="γ").press("End")
    after = [bar.inner_text() for bar in page.locator(".share").all()]
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, False, False]
    expect(page.get_by_text("γ does not move the first bar")).to_be_visible()


def test_a_pixel_of_the_picture_shows_on_the_curves(show):
    page = show(explorers.LossExplorer())
    page.mouse.move(*pixel(page, 3, 45, 40, (64, 64)))
    title = page.locator("thead .title").inner_text()
    row = page.locator("tbody tr.lit").inner_text()
    assert row.startswith("background")
    assert title != "Pixel with p = 0.30"
    p = float(title.split()[-1])
    np.testing.assert_allclose(readings(page)[1][2], p, atol=0.006)  # |gradient| of BCE is p
    expect(page.locator(".ring[visibility=visible]")).to_have_count(4)
    page.mouse.move(0, 0)
    assert page.locator("thead .title").inner_text() == "Pixel with p = 0.30"


def test_the_picture_is_a_piece_of_the_field():
    data = soft_threshold()
    assert data["width"] == 64
    assert [side.stop - side.start for side in PIECE] == [64, 64]


# -- the address ---------------------------------------------------------------------------------


def test_addresses_set_the_figures(show):
    page = show(threshold_explorer(), "threshold?threshold=0.31")
    expect(page.get_by_role("slider")).to_have_value("0.31")
    page.get_by_role("button", name="one half").click()
    page.get_by_role("slider").press("ArrowRight")
    page.wait_for_url("**#threshold?threshold=0.51")
    page = show(explorers.LossExplorer(), "loss?p=0.9&foreground=0.01")
    assert page.locator("thead .title").inner_text() == "Pixel with p = 0.90"
    page = show(
        explorers.IoUExplorer(), "iou?truth_size=6&prediction_size=6&prediction=60.31&zoom=4"
    )
    assert page.get_by_role("group", name="prediction, columns 57 to 62").count() == 1
