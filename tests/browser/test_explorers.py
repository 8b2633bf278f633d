"""The explorers in a page without a kernel: what they compute, and how they can be used."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import jaccard_score

from segedu import evaluation, explorers, losses, metrics, plotting
from segedu.data import sample
from segedu.explorers import base
from segedu.explorers.iou import _pixels
from segedu.explorers.loss import PIECE

from .pages import inaccessible, too_wide, watch, write_and_open

NUMBERS = np.random.default_rng(0)
MASKS = [NUMBERS.integers(0, 3, (40, 5, 6)) for _ in range(2)]
MASKS[0][:6] = MASKS[1][:6] = 0  # images without foreground
Y, X = np.mgrid[-1:1:96j, -1:1:128j]
MAKERS = {
    "ConvExplorer": explorers.ConvExplorer,
    "GridExplorer": explorers.GridExplorer,
    "IoUExplorer": explorers.IoUExplorer,
    "LossExplorer": explorers.LossExplorer,
    "PoolingExplorer": lambda: explorers.PoolingExplorer(*MASKS, num_classes=3),
    "ThresholdExplorer": lambda: explorers.ThresholdExplorer(
        np.exp(-4 * (X**2 + Y**2)), X**2 + (Y - 0.1) ** 2 < 0.25
    ),
}


@pytest.fixture
def show(page, tmp_path):
    """Write a page, as a file, and open it; at the end nothing may have gone wrong in it."""

    def show(*names: str, theme: str = "light", width: int = 800):
        figures = "".join(f"<section>{MAKERS[name]().to_html()}</section>" for name in names)
        page.set_viewport_size({"width": width, "height": 900})
        write_and_open(page, tmp_path / "page.html", figures, theme)
        return page

    problems = watch(page)
    yield show
    assert problems == []


@pytest.fixture
def call(blank):
    """Evaluate JavaScript in a view's own scope."""

    def call(view: str, expression: str, argument=None):
        makers = {f"{maker.name}.js": maker for maker in base.Explorer.__subclasses__()}
        source = f"{base.SHARED}\n{makers[view].source()}"
        text = blank.evaluate(
            # NaN is no JSON; null is
            f"argument => JSON.stringify((() => {{ {source}; return {expression} }})())",
            json.loads(json.dumps(argument)),  # whose keys are strings
        )
        return json.loads(text)

    return call


def close(ours, theirs):
    """Equal to 1e-6, NaN included."""
    np.testing.assert_allclose(
        np.asarray(ours, float), np.asarray(theirs, float), rtol=0, atol=1e-6, equal_nan=True
    )


def steps(explorer: type, name: str) -> list:
    """Every value of a slider."""
    slider = explorer.class_traits()[name]
    number = round((slider.most - slider.least) / slider.step)
    values = [slider.least + k * slider.step for k in range(number + 1)]
    return [round(value, slider.digits) if slider.digits else value for value in values]


def focal_table(gammas, alphas, p):
    """Focal loss and its |gradient| by the logit at p, for every gamma, alpha and y = 1, 0."""
    p = torch.tensor(p, dtype=torch.float64)
    z = torch.stack([p, p]).logit()[None, None].requires_grad_()  # (1, 1, 2, len(p))
    y = torch.tensor([[1.0], [0.0]]).double().expand(2, len(p))[None, None]
    table = []
    for gamma, alpha in itertools.product(gammas, alphas):
        loss = losses.focal_loss(z, y, gamma=gamma, alpha=alpha, reduction="none")
        (gradient,) = torch.autograd.grad(loss.sum(), z)
        table.append(torch.stack([loss.detach()[0, 0], gradient[0, 0].abs()]))
    return torch.stack(table).unflatten(0, (len(gammas), len(alphas))).numpy()


def test_loss_and_gradient(call):
    gammas, alphas = (steps(explorers.LossExplorer, name) for name in ("gamma", "alpha"))
    p = [1e-6, 1e-3, 0.1, 0.5, 0.9, 1 - 1e-3, 1 - 1e-6]
    ours = call(
        "loss.js",
        """argument.gammas.map(gamma => argument.alphas.map(alpha => [focal, focalGradient].map(
            f => [1, 0].map(y => argument.p.map(p => f(p, y, gamma, alpha))))))""",
        {"gammas": gammas, "alphas": alphas, "p": p},
    )
    close(ours, focal_table(gammas, alphas, p))
    plain = call(
        "loss.js",
        "[bce, bceGradient].map(f => [1, 0].map(y => argument.map(p => f(p, y))))",
        p,
    )
    close(plain, 2 * focal_table([0], [0.5], p)[0, 0])


def test_share_and_scale(call):
    gammas, foregrounds, alphas = (
        steps(explorers.LossExplorer, name) for name in ("gamma", "foreground", "alpha")
    )
    ours = call(
        "loss.js",
        """argument.gammas.map(gamma => argument.alphas.map(alpha => argument.foregrounds.map(
            foreground => [
                ...SITUATIONS.map(given => share(
                    (p, y) => focalGradient(p, y, gamma, alpha), foreground, given)),
                scale(gamma, alpha, foreground),
            ])))""",
        {"gammas": gammas, "alphas": alphas, "foregrounds": foregrounds},
    )
    loss, gradient = np.moveaxis(focal_table(gammas, alphas, [0.5, 0.1]), 2, 0)
    f = np.array(foregrounds)
    foreground, (start, later) = f * gradient[:, :, 0, :1], np.moveaxis(gradient[:, :, 1], 2, 0)
    expected = [
        foreground / (foreground + (1 - f) * background[..., None]) for background in (start, later)
    ]
    mean = f * loss[:, :, 0, :1] + (1 - f) * loss[:, :, 1, :1]
    close(ours, np.stack([*expected, mean / np.log(2)], axis=-1))


def test_pulls_of_the_picture(call):
    explorer = explorers.LossExplorer()
    ours = call(
        "loss.js",
        """(() => {
            const { levels, truth } = unpack(argument)
            const gradient = (p, y) => focalGradient(p, y, 2, 0.25)
            const { each, most, share } = pulls(gradient, levels.map(level => level / 255), truth)
            return { levels, truth, each, most, share }
        })()""",
        explorer.data,
    )
    p, y = torch.tensor(ours["levels"]).double() / 255, torch.tensor(ours["truth"]).double()
    _, instances = sample()
    assert (y.reshape(64, 64).numpy() == (instances[PIECE] > 0)).all()
    z = p.logit()[None, None, None].requires_grad_()
    losses.focal_loss(z, y[None, None, None], gamma=2, alpha=0.25, reduction="sum").backward()
    gradient = z.grad.flatten().abs()
    close(ours["each"], gradient)
    close([ours["most"], ours["share"]], [gradient.max(), (gradient * y).sum() / gradient.sum()])


@pytest.mark.parametrize(("gamma", "alpha", "foreground"), [(2, 0.25, 0.1), (5, 1, 0.01)])
def test_share_is_that_of_an_image(call, gamma, alpha, foreground):
    y = torch.zeros(1, 1, 100, 100)
    y[..., : round(100 * foreground)] = 1
    z = torch.where(y == 1, 0.5, 0.1).double().logit().requires_grad_()
    losses.focal_loss(z, y, gamma=gamma, alpha=alpha).backward()
    ours = call(
        "loss.js",
        """share((p, y) => focalGradient(p, y, argument[0], argument[1]), argument[2],
            SITUATIONS[1])""",
        [gamma, alpha, foreground],
    )
    close(ours, (z.grad.abs() * y).sum() / z.grad.abs().sum())


def test_iou_counts(call):
    sizes = steps(explorers.IoUExplorer, "truth_size")
    places = [[0, 0], [128, 0], [0, 64], [128, 64], [52, 36], [68, 24]]
    pairs = list(itertools.product(("disc", "square"), sizes[::7], sizes[::5], places))
    ours = call(
        "iou.js",
        """argument.map(([shape, truth, prediction, place]) => {
            const preds = covered(shape, place, prediction)
            const counts = count(preds, covered(shape, [52, 36], truth))
            return [counts.tp, counts.fp, counts.fn, counts.tn, iou(counts), dice(counts)]
        })""",
        pairs,
    )
    target = np.stack([_pixels(shape, (52, 36), truth) for shape, truth, _, _ in pairs])
    preds = np.stack([_pixels(shape, place, size) for shape, _, size, place in pairs])
    scores = metrics.stat_scores(preds.astype(int), target.astype(int), num_classes=1)
    ratios = [f(*scores, average="none", absent="skip") for f in (metrics.iou, metrics.dice)]
    close(ours, torch.cat([*scores, *ratios], dim=1))


@pytest.mark.parametrize("shape", ["disc", "square"])
def test_every_shape_covers_the_same_pixels(call, shape):
    sizes = steps(explorers.IoUExplorer, "truth_size")
    ours = call(
        "iou.js",
        """argument.sizes.map(size => Array.from(mask(covered(argument.shape, [40, 20], size))))""",
        {"shape": shape, "sizes": sizes},
    )
    expected = np.stack([_pixels(shape, (40, 20), size).ravel() for size in sizes])
    assert (np.array(ours) == expected).all()


def test_iou_over_the_shift(call):
    ours = call(
        "iou.js",
        """argument.map(shift => {
            const [preds, target] = [covered("disc", [50, 36], 20), covered("disc", [50, 32], 30)]
            return iou(count(preds, target, shift))
        })""",
        shifts := [-30, -7, 0, 1, 24, 60],
    )
    target = _pixels("disc", (50, 32), 30)
    moved = [_pixels("disc", (50 + shift, 36), 20) for shift in shifts]
    close(ours, [(preds & target).sum() / (preds | target).sum() for preds in moved])


def test_colours_of_errors_are_those_of_the_figures(call):
    colours = call("iou.js", "ERRORS")
    assert colours == {kind.lower(): colour for kind, (colour, *_) in plotting.ERRORS.items()}


@pytest.mark.parametrize("kind", ["any", "levels", "empty", "full"])
def test_threshold_scores(call, kind):
    levels = np.arange(256).reshape(8, 32) if kind == "levels" else NUMBERS.integers(0, 256, (7, 9))
    target = NUMBERS.integers(0, 2, levels.shape)
    if kind in ("empty", "full"):
        target[:] = kind == "full"
    explorer = explorers.ThresholdExplorer(levels / 255, target)
    assert (explorer.levels == levels).all()
    ours = call(
        "threshold.js",
        """THRESHOLDS.map(threshold => {
            const counts = count(histogram(unpack(argument)), threshold)
            return [counts.tp, counts.fp, counts.fn, counts.tn,
                iou(counts), precision(counts), recall(counts)]
        })""",
        explorer.data,
    )
    thresholds = steps(explorers.ThresholdExplorer, "threshold")
    preds = np.stack([levels / 255 > threshold for threshold in thresholds]).astype(int)
    scores = metrics.stat_scores(preds, np.stack([target] * 101), num_classes=1)
    ratios = [
        f(*scores, average="none", absent="skip")
        for f in (metrics.iou, metrics.precision, metrics.recall)
    ]
    close(ours, torch.cat([*scores, *ratios], dim=1))


def test_best_and_otsu_are_those_of_the_package(call):
    levels = np.round(255 * np.exp(-4 * (X**2 + Y**2))).astype(np.uint8)
    target = X**2 + (Y - 0.1) ** 2 < 0.25
    explorer = explorers.ThresholdExplorer(levels / 255, target)
    coarse, fine = call(
        "threshold.js",
        """(() => {
            const pixels = histogram(unpack(argument.data))
            return [bestThreshold(pixels, argument.thresholds), bestThreshold(pixels)]
        })()""",
        {"data": explorer.data, "thresholds": evaluation.THRESHOLDS},
    )
    probabilities = torch.from_numpy(levels / 255)[None, None]
    counts = evaluation.threshold_counts(probabilities, torch.from_numpy(target).long())
    assert coarse == evaluation.best_threshold([counts])[1]
    thresholds = steps(explorers.ThresholdExplorer, "threshold")
    scores = [jaccard_score(target.ravel(), (levels / 255 > t).ravel()) for t in thresholds]
    assert fine == thresholds[int(np.argmax(scores))]
    # Otsu's threshold has the largest variance between the two groups.
    spread = [
        above.mean() * (1 - above.mean()) * (levels[above].mean() - levels[~above].mean()) ** 2
        for above in (levels > level for level in range(levels.min(), levels.max()))
    ]
    assert round(255 * explorer.data["otsu"]) == levels.min() + int(np.argmax(spread))


def test_convolution_geometry(call):
    names = ("size", "kernel", "stride", "padding")
    grid = list(itertools.product(*(steps(explorers.ConvExplorer, name) for name in names)))
    ours = call(
        "conv.js",
        """OPERATIONS.map(operation => argument.map(values => {
            const { windows, pixels } = geometry(operation, ...values)
            const output = operation === "convolution" ? windows : pixels
            return [output, overlap(operation, ...values)]
        }))""",
        grid,
    )
    for (size, kernel, stride, padding), convolution, transposed in zip(grid, *ours, strict=True):
        window, options = torch.ones(1, 1, kernel), {"stride": stride, "padding": padding}
        row = torch.ones(1, 1, size, requires_grad=True)
        if kernel > size + 2 * padding:
            assert convolution[0] < 1
        else:
            output = F.conv1d(row, window, **options)
            (reads,) = torch.autograd.grad(output.sum(), row)
            assert convolution == [output.shape[-1], reads.flatten().tolist()]
        if (size - 1) * stride + kernel <= 2 * padding:
            assert transposed[0] < 1
        else:
            output = F.conv_transpose1d(row, window, **options)
            assert transposed == [output.shape[-1], output.flatten().tolist()]


def test_overlap_on_the_plane_is_a_product(call):
    side = call("conv.js", 'overlap("transposed", 6, 3, 2, 1)')
    stamps = F.conv_transpose2d(torch.ones(1, 1, 6, 6), torch.ones(1, 1, 3, 3), stride=2, padding=1)
    assert np.outer(side, side).tolist() == stamps[0, 0].tolist()


def drawn(page, number: int = 0) -> str:
    """What a figure shows, without its controls."""
    view = page.locator(".segedu-explorer > div").nth(number)
    return view.evaluate(
        """el => el.innerHTML + [...el.querySelectorAll("canvas")].map(c => c.toDataURL())"""
    )


@pytest.mark.parametrize("name", MAKERS)
def test_every_control_moves_its_own_figure(name, show):
    page = show(name, name, "LossExplorer")
    before = [drawn(page, number) for number in (1, 2)]
    form = page.locator(".segedu-explorer > form").first
    for slider in form.get_by_role("slider").all():
        box, values = slider.bounding_box(), []
        for place in (0.1, 0.6, 0.9):  # by mouse
            old = drawn(page), slider.input_value()
            page.mouse.click(box["x"] + place * box["width"], box["y"] + box["height"] / 2)
            values.append(slider.input_value())
            assert (drawn(page) != old[0]) == (values[-1] != old[1]), slider.get_attribute("name")
        assert len(set(values)) == 3
        for key in ("ArrowLeft", "ArrowRight"):  # by keyboard
            old = drawn(page)
            slider.press(key)
            assert drawn(page) != old, (slider.get_attribute("name"), key)
    for choice in form.locator("fieldset").all():
        options = choice.get_by_role("radio")
        options.first.click()
        old = drawn(page)
        options.last.click()
        assert drawn(page) != old
        options.last.press("ArrowDown")  # round to the first
        assert drawn(page) == old
    assert [drawn(page, number) for number in (1, 2)] == before


@pytest.mark.slow
@pytest.mark.parametrize("name", MAKERS)
def test_a_redraw_is_quick(name, show):
    page = show(name)
    for option in page.get_by_role("radio").all():
        option.click()  # the last ones: transposed windows cover the most pixels
    for slider in page.get_by_role("slider").all():
        slider.press("End")
    medians = page.evaluate(
        """() => {
            const form = document.querySelector(".segedu-explorer form")
            const figure = document.querySelector(".segedu-explorer")
            return [...new Set([...form.elements].map(input => input.name).filter(Boolean))].map(
                name => {
                    const control = form.elements[name]
                    const slider = control instanceof HTMLInputElement
                    const [least, most] = slider
                        ? [Number(control.min), Number(control.max)] : [0, control.length - 1]
                    const times = Array.from({ length: 60 }, (_, k) => {
                        // to and fro, so that no step falls on the value that is there
                        const value = least + (most - least) * [0, 0.4, 1, 0.7][k % 4]
                        const input = slider ? control : control[Math.round(value)]
                        const start = performance.now()
                        if (slider) input.value = value
                        else input.checked = true
                        input.dispatchEvent(new Event("input", { bubbles: true }))
                        figure.getBoundingClientRect() // styles and layout too
                        return performance.now() - start
                    })
                    return [name, times.sort((a, b) => a - b)[30]]
                })
        }"""
    )
    print(name, ", ".join(f"{control} {median:.1f} ms" for control, median in medians))
    assert all(median <= 16 for _, median in medians)


LOOKS = list(itertools.product([800, 360], ["light", "dark"]))


@pytest.mark.parametrize(
    ("name", "width", "theme"),
    [
        # Each figure in one look, and in the others among the slow tests.
        pytest.param(name, *look, marks=() if n % len(LOOKS) == k else pytest.mark.slow)
        for n, name in enumerate(MAKERS)
        for k, look in enumerate(LOOKS)
    ],
)
def test_readable_and_accessible(name, width, theme, show):
    page = show(name, theme=theme, width=width)
    assert too_wide(page) == []
    assert inaccessible(page) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_differ_enough_from_the_paper(theme, show):
    """Text 4.5 to 1, lines 3 to 1 (WCAG 2.2, 1.4.3 and 1.4.11)."""
    colours = show("LossExplorer", theme=theme).evaluate(
        """() => {
            const root = document.querySelector(".segedu-explorer")
            const canvas = document.createElement("canvas").getContext(
                "2d", { willReadFrequently: true })
            const probe = root.appendChild(document.createElement("i"))
            const names = ["paper", "raised", "ink", "soft", "line", "foreground", "background"]
            return Object.fromEntries(names.map(name => {
                probe.style.color = `var(--${name})`
                canvas.fillStyle = getComputedStyle(probe).color
                canvas.fillRect(0, 0, 1, 1)
                return [name, [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3)]
            }))
        }"""
    )

    def luminance(colour):
        parts = np.array(colour) / 255
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    def contrast(a, b):
        low, high = sorted([luminance(colours[a]), luminance(colours[b])])
        return (high + 0.05) / (low + 0.05)

    assert (luminance(colours["paper"]) > 0.5) == (theme == "light")
    for ground in ("paper", "raised"):
        assert contrast("ink", ground) >= 4.5
    assert contrast("soft", "paper") >= 4.5
    for line in ("line", "foreground", "background"):
        assert contrast(line, "paper") >= 3


def test_only_the_player_moves_by_itself():
    """So there is nothing else to hold back for those who asked for less motion."""
    for file in Path(base.__file__).parent.glob("*.[cj]s*"):
        text = file.read_text(encoding="utf-8").lower()
        assert not any(word in text for word in ("transition", "animation"))
        assert ("setinterval" in text) == (file.name == "shared.js")
        assert ("settimeout" in text) == (file.name == "host.js")  # writes the address


@pytest.mark.parametrize("setting", ["light", "dark"])
def test_follows_the_system_where_no_theme_is_set(setting, browser, tmp_path):
    context = browser.new_context(color_scheme=setting)
    page = context.new_page()
    page.set_content(explorers.ConvExplorer().to_html())
    paper = page.locator(".segedu-explorer").evaluate("el => getComputedStyle(el).backgroundColor")
    assert paper == {"light": "rgb(250, 250, 250)", "dark": "rgb(28, 33, 40)"}[setting]
    context.close()
