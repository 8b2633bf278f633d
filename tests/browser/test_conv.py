"""The convolution explorer: its numbers are torch's, and its window can be followed."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from playwright.sync_api import expect

from segedu.explorers import ConvExplorer, base

from .pages import opened, write_and_open

WEIGHTS = ("mean", "edge", "sharpen", "tent")


@pytest.fixture
def figure(page, tmp_path):
    """Opens the figure, with what is after the # of its address."""
    with opened(page, tmp_path / "page.html", ConvExplorer()) as figure:
        yield figure


def torch_output(operation, weights, divisor, image, kernel, stride, padding):
    function = F.conv2d if operation == "convolution" else F.conv_transpose2d
    side = round(len(image) ** 0.5)
    image = torch.tensor(image, dtype=torch.float64).reshape(1, 1, side, side)
    weight = torch.tensor(weights, dtype=torch.float64).reshape(1, 1, kernel, kernel)
    return function(image, weight / divisor, stride=stride, padding=padding).flatten()


@pytest.mark.parametrize("operation", ["convolution", "transposed"])
def test_the_output_is_torchs(blank, operation):
    cases = [
        (weights, size, kernel, stride, padding)
        for weights, size, kernel, stride, padding in itertools.product(
            WEIGHTS, (1, 2, 5, 8), (1, 2, 3, 6), (1, 2, 3), (0, 1, 3)
        )
        if kernel <= size + 2 * padding
        and (operation == "convolution" or (size - 1) * stride + kernel > 2 * padding)
    ]
    source = f"{base.SHARED}\n{ConvExplorer.source()}"
    ours = blank.evaluate(
        f"""([operation, cases]) => {{
            {source}
            return cases.map((values) => {{
                const scene = compute(operation, ...values)
                const {{ weights, divisor, input, windows }} = scene
                const output = outputOf(scene, windows * windows).map((value) => value ?? 0)
                return {{ weights, divisor, input, output }}
            }})
        }}""",
        [operation, cases],
    )
    for (_, size, kernel, stride, padding), found in zip(cases, ours, strict=True):
        assert len(found["input"]) == size**2
        expected = torch_output(
            operation, found["weights"], found["divisor"], found["input"], kernel, stride, padding
        )
        torch.testing.assert_close(torch.tensor(found["output"], dtype=torch.float64), expected)


def test_the_kernels_are_what_their_names_say(blank):
    source = f"{base.SHARED}\n{ConvExplorer.source()}"
    kernels = blank.evaluate(
        f"names => {{ {source}; return names.map(name => makeKernel(name, 3)) }}", list(WEIGHTS)
    )
    mean, edge, sharpen, tent = (
        torch.tensor(kernel["weights"]).reshape(3, 3) / kernel["divisor"] for kernel in kernels
    )
    torch.testing.assert_close(mean, torch.full((3, 3), 1 / 9))
    torch.testing.assert_close(edge, torch.tensor([[-1, 0, 1]] * 3) / 3)
    assert sharpen.tolist() == [[-1, -1, -1], [-1, 9, -1], [-1, -1, -1]]
    torch.testing.assert_close(tent, torch.outer(*[torch.tensor([1.0, 2, 1]) / 4] * 2))


def numbers(figure, title):
    return figure.locator(".plane", has_text=title).locator("svg text").all_text_contents()


def test_steps_fill_the_output_window_by_window(figure):
    figure = figure()
    assert len(numbers(figure, "output, 4 × 4")) == 16
    step = figure.get_by_role("button", name="one step")
    for count in range(1, 4):
        step.click()
        assert len(numbers(figure, "output, 4 × 4")) == count
    says = figure.locator(".sum")
    expect(says).to_have_text(
        "Row 1, column 3: the products’ sum is 48 / 9 = 5.3, the output pixel."
    )
    products = figure.locator(".products text.product").all_text_contents()
    assert sum(map(int, products)) == 48
    figure.get_by_role("button", name="play").click()
    expect(figure.get_by_role("button", name="pause")).to_be_visible()
    expect(figure.locator(".plane", has_text="output, 4 × 4").locator("svg text")).to_have_count(16)
    expect(figure.get_by_role("button", name="play")).to_be_visible()  # it ends by itself


def test_who_asked_for_less_motion_gets_the_steps_only(browser, tmp_path):
    context = browser.new_context(reduced_motion="reduce")
    page = context.new_page()
    write_and_open(page, tmp_path / "page.html", ConvExplorer().to_html())
    expect(page.get_by_role("button", name="one step")).to_be_visible()
    expect(page.get_by_role("button", name="play")).to_be_hidden()
    context.close()


def test_it_stops_where_nobody_sees_it(figure, page):
    figure = figure("#conv?size=12&kernel=1")
    page.evaluate("document.body.style.paddingBottom = '3000px'")
    figure.get_by_role("button", name="play").click()
    page.mouse.wheel(0, 2500)
    expect(figure.locator(".play")).to_have_text("▶ play")
    assert 0 < len(numbers(figure, "output, 12 × 12")) < 144


def test_a_value_shows_its_window_and_a_pixel_its_windows(figure, page):
    figure = figure()
    output = figure.get_by_role("application", name="the output")
    output.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")
    expect(figure.locator(".sum")).to_contain_text("Row 2, column 3: ")
    for _ in range(3):
        page.keyboard.press("ArrowUp")  # there is nothing above the first row
    expect(figure.locator(".sum")).to_contain_text("Row 1, column 3: ")
    tiles = figure.locator(".plane", has_text="output, 4 × 4").locator("svg")
    box = tiles.bounding_box()
    cell = box["width"] * 40 / 244  # six pixels, and a little margin on both sides
    page.mouse.move(box["x"] + 3.5 * cell, box["y"] + 2.5 * cell)
    expect(figure.locator(".sum")).to_contain_text("Row 3, column 4: ")
    box = figure.locator(".plane", has_text="input, 6 × 6").locator("svg").bounding_box()
    page.mouse.move(box["x"] + 2.5 * cell, box["y"] + 1.5 * cell)
    expect(figure.locator(".connected")).to_have_text(
        "Input pixel in row 2, column 3: windows over it: 6."
    )
    expect(figure.locator(".mark")).to_have_count(3)  # in the input, the output and the map


@pytest.mark.parametrize("width", [1400, 375])
def test_the_height_stays(figure, page, width):
    figure = figure("", width)
    heights = set()
    for values in (
        "kernel=7",
        "operation=transposed&stride=4&size=12",
        "size=1&kernel=1&padding=3",
    ):
        page.evaluate(f"location.hash = '#conv?{values}'")
        heights.add(figure.bounding_box()["height"])
    assert max(heights) - min(heights) < 1


def test_nothing_comes_out_and_one_gets_back(figure):
    figure = figure("#conv?kernel=7")
    expect(figure).to_contain_text("Nothing comes out: the kernel (7) is larger")
    assert "−" not in figure.inner_text()  # no negative size
    figure.get_by_role("button", name="one step").click()
    figure.get_by_role("slider", name="kernel").press("ArrowLeft")
    expect(figure).to_contain_text("output, 1 × 1")
    expect(figure.locator(".alarm")).to_have_count(0)


@pytest.mark.parametrize(
    ("label", "output"),
    [
        ("blur", "output, 8 × 8"),
        ("find edges", "output, 6 × 6"),
        ("halve", "output, 4 × 4"),
        ("checkerboard", "output, 13 × 13"),
        ("no checkerboard", "output, 12 × 12"),
    ],
)
def test_presets(figure, label, output):
    figure = figure()
    button = figure.get_by_role("button", name=label, exact=True)
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(figure).to_contain_text(output)
    says = figure.locator(".says [role=status]")
    assert len(says.inner_text()) > 50
    figure.get_by_role("button", name="reset").click()
    expect(button).to_have_attribute("aria-pressed", "false")
    expect(figure).to_contain_text("output, 4 × 4")
    expect(says).to_contain_text("your own values")
