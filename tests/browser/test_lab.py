"""The training in the page: torch's gradients, steps and predictions, and it learns."""

import base64
import gzip
import itertools
import json

import numpy as np
import pytest
import torch
from playwright.sync_api import expect
from torch import Tensor

from segedu import NodeGrid, UNet, UNetPlusPlus, predict
from segedu.evaluation import (
    THRESHOLDS,
    concatenate,
    count_pixels,
    dataset_iou,
)
from segedu.explorers import TrainingLab, base
from segedu.explorers.lab import BATCH as PAGE_BATCH
from segedu.explorers.lab import HELD_OUT, otsus_scores, training_crops
from segedu.explorers.lab import NETWORKS as PAGE_NETWORKS
from segedu.losses import (
    binary_cross_entropy,
    compound_loss,
    deep_supervision,
    dice_loss,
    focal_loss,
    tversky_loss,
)
from segedu.metrics import StatScores, precision, recall

from .pages import inaccessible, too_wide, watch, write_and_open

SIDES, CROPS, BATCH = (64, 32), 16, 8  # the first for the gradients, the second for many steps
NETWORKS = {
    f"{name} {'-'.join(map(str, channels))}": (kind, channels)
    for channels in [(4, 8, 16), (4, 8, 16, 32)]
    for name, kind in [("U-Net", UNet), ("U-Net++", UNetPlusPlus)]
}
LOSSES = {  # the settings in the page, and the same in torch
    "BCE": ({"name": "bce"}, binary_cross_entropy),
    "focal": ({"name": "focal", "gamma": 2}, focal_loss),
    "focal with alpha": (
        {"name": "focal", "gamma": 0.5, "alpha": 0.8},
        lambda logits, target: focal_loss(logits, target, gamma=0.5, alpha=0.8),
    ),
    "Dice": ({"name": "dice"}, dice_loss),
    "BCE + Dice": ({"name": "bce + dice"}, compound_loss),
    "Tversky": (
        {"name": "tversky", "alpha": 0.3, "beta": 0.7},
        lambda logits, target: tversky_loss(logits, target, alpha=0.3, beta=0.7),
    ),
}
EVERY = list(itertools.product(NETWORKS, LOSSES))
RATE, DECAY, STEPS = 3e-3, 1e-2, 50


def new_network(name: str, seed: int = 4) -> NodeGrid:
    """In float64, with weights that are exact in float32.

    With the weights of seed 4 no pixel lies so near the bend of a ReLU that rounding to float32
    moves it to the other side. With those of others, torch's own gradients in float32 and float64
    differ.
    """
    kind, channels = NETWORKS[name]
    torch.manual_seed(seed)
    return kind(1, 1, channels=channels, deep_supervision=kind is UNetPlusPlus).double()


def settings(model: NodeGrid, loss: dict, **others) -> dict:
    grid = {"channels": model.channels, "nodes": model.nodes, "levels": model.levels}
    rates = {"rate": RATE, "decay": DECAY, "cycle": None}
    return {**grid, "loss": loss, **rates, "batch": BATCH, "crops": CROPS, "flips": True, **others}


def weights_of(model: NodeGrid) -> dict[str, list]:
    """As the page has them: all parameters, then running means and variances."""
    return {
        "parameters": [parameter.flatten().tolist() for parameter in model.parameters()],
        "running": [values.tolist() for values in statistics_of(model)],
    }


def statistics_of(model: NodeGrid) -> list[Tensor]:
    return [values for name, values in model.named_buffers() if "running" in name]


@pytest.fixture(scope="module")
def crops() -> dict[int, tuple[Tensor, Tensor]]:
    return {side: discs(side) for side in SIDES}


def discs(side: int) -> tuple[Tensor, Tensor]:
    """Discs in noise: images (CROPS, 1, side, side) in float64, and their masks likewise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side]
    masks = np.zeros((CROPS, side, side), bool)
    for mask in masks[1:]:  # the first stays empty
        for row, column, radius in rng.uniform((0, 0, 3), (side, side, 9), (5, 3)):
            mask |= np.hypot(y - row, x - column) < radius
    images = (0.5 * masks + rng.normal(0.2, 0.15, masks.shape)).astype(np.float32)
    return torch.tensor(images).double()[:, None], torch.tensor(masks).double()[:, None]


@pytest.fixture(scope="module")
def lab(browser, crops):
    """A page with the engine and the crops: `compute(script, **values)` gives what it returns."""
    page = browser.new_page()
    page.evaluate(
        """([source, crops]) => {
            const bytes = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0))
            const parts = "trainer, optimizer, metrics, unpackCrops, startTraining"
            const names = `{ ${parts}, whoLeads, cropIou }`
            window.engine = new Function(`${source}; return ${names}`)()
            window.data = {}
            for (const [side, [pixels, truth]] of Object.entries(crops)) {
                const set = { pixels: new Float32Array(bytes(pixels).buffer), truth: bytes(truth) }
                data[side] = { side: Number(side), training: set, heldOut: set }
            }
            // Training that begins with torch's weights.
            window.begin = ({ side, settings, weights: { parameters, running } }) => {
                const learner = engine.trainer(settings, data[side], 0)
                const state = learner.state()
                parameters.forEach((values, k) => state.parameters[k].set(values))
                running.forEach((values, k) => state.running[k].set(values))
                return learner
            }
            window.lists = arrays => arrays.map(array => [...array])
        }""",
        [
            f"{base.SHARED}\n{TrainingLab.source()}",
            {side: [packed(x, "<f4"), packed(y, "u1")] for side, (x, y) in crops.items()},
        ],
    )

    def compute(script: str, **values):
        return page.evaluate(f"values => {{ {script} }}", json.loads(json.dumps(values)))

    yield compute
    page.close()


def packed(values: Tensor, dtype: str) -> str:
    return base64.b64encode(values.numpy().astype(dtype).tobytes()).decode()


def batches(count: int) -> list[list[dict]]:
    rng = np.random.default_rng(1)
    return [
        [
            {"crop": int(crop), "flips": rng.integers(2, size=2).astype(bool).tolist()}
            for crop in rng.permutation(CROPS)[:BATCH]
        ]
        for _ in range(count)
    ]


def gathered(crops: tuple[Tensor, Tensor], batch: list[dict]) -> tuple[Tensor, Tensor]:
    def turned(values: Tensor, flips: list[bool]) -> Tensor:
        return values.flip([axis for axis, flip in zip((1, 2), flips, strict=True) if flip])

    return tuple(
        torch.stack([turned(values[item["crop"]], item["flips"]) for item in batch])
        for values in crops
    )


def distance(ours: list[list[float]], theirs: list[Tensor]) -> float:
    """The largest difference, relative to the largest value of its tensor."""
    pairs = zip(ours, theirs, strict=True)
    return max(
        ((torch.tensor(a).double() - b.flatten()).abs().max() / b.abs().max()).item()
        for a, b in pairs
    )


# Every loss on one network, and every network with one loss.
SOME = [(n, loss) for n, loss in EVERY if n == "U-Net 4-8-16" or loss == "focal with alpha"]


@pytest.mark.parametrize(
    "pairs", [SOME, pytest.param(sorted({*EVERY} - {*SOME}), marks=pytest.mark.slow)]
)
def test_gradients_are_torchs(lab, crops, pairs):
    """Of every parameter, for every network and loss; and the value of the loss."""
    (batch,) = batches(1)
    images, target = gathered(crops[64], batch)
    for network, name in pairs:
        model, (options, loss) = new_network(network), LOSSES[name]
        value, gradients = lab(
            """const { loss, gradients } = begin(values).step(values.batch)
            return [loss, lists(gradients)]""",
            side=64,
            settings=settings(model, options),
            weights=weights_of(model),
            batch=batch,
        )
        expected = deep_supervision(loss, model(images), target)
        expected.backward()
        assert value == pytest.approx(expected.item(), rel=1e-6)
        assert distance(gradients, [p.grad for p in model.parameters()]) < 1e-4, (network, name)


# Where rounding changes nothing of weight in fifty steps: here all has to be as in torch.
CALM = [("U-Net 4-8-16", "Tversky", 40), ("U-Net++ 4-8-16", "focal with alpha", 40)]
OTHERS = [(*pair, cycle) for pair, cycle in zip(EVERY, itertools.cycle([None, 40]), strict=False)]


@pytest.mark.parametrize(
    ("network", "name", "cycle"),
    [
        CALM[1],
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [CALM[0], *OTHERS]
            if case != CALM[1]
        ),
    ],
)
def test_fifty_steps_are_torchs(lab, crops, network, name, cycle):
    """The losses; in calm cases also the last weights, running statistics and predictions.

    In the others weights drift apart, as torch's own in float32 and float64 do: rounding decides
    the sign of a gradient that is nearly 0, and AdamW moves the weight by the whole rate either
    way. The losses stay together.
    """
    model, (options, loss) = new_network(network, seed=3), LOSSES[name]
    plan = batches(STEPS)
    losses, parameters, running, probabilities = lab(
        """const learner = begin(values)
        const losses = values.batches.map(batch => learner.step(batch).loss)
        const { parameters, running } = learner.state()
        const probabilities = learner.predict(data[values.side].heldOut.pixels)
        return [losses, lists(parameters), lists(running), [...probabilities]]""",
        side=32,
        settings=settings(model, options, cycle=cycle),
        weights=weights_of(model),
        batches=plan,
    )
    optimizer, schedule = torchs_optimizer(model.parameters(), cycle)
    expected = []
    for step, batch in enumerate(plan):
        images, target = gathered(crops[32], batch)
        value = deep_supervision(loss, model(images), target)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        if step + 1 < (cycle or 0):  # then the last rate stays
            schedule.step()
        expected.append(value.item())
    assert losses == pytest.approx(expected, rel=1e-3)
    if (network, name, cycle) in CALM:
        assert distance(parameters, list(model.parameters())) < 1e-3
        assert distance(running, statistics_of(model)) < 1e-3
        answer = predict(model, crops[32][0])
        assert probabilities == pytest.approx(answer.flatten().tolist(), abs=1e-4)


@pytest.mark.parametrize("cycle", [None, 40])
def test_the_optimizer_is_torchs(lab, cycle):
    """AdamW alone, with a constant rate and on a one-cycle schedule, for the same gradients."""
    rng = np.random.default_rng(3)
    start, gradients = rng.normal(size=20), rng.normal(size=(STEPS, 20)) * np.logspace(-4, 1, 20)
    ours = lab(
        """const { adamw, constant, oneCycle } = engine.optimizer()
        const weights = Float32Array.from(values.start)
        const update = adamw([weights], values.decay)
        const { rate, cycle } = values
        const schedule = cycle ? oneCycle(rate, cycle) : constant(rate)
        values.gradients.forEach((gradient, step) => update([gradient], schedule(step)))
        return [...weights]""",
        **{"start": start.tolist(), "gradients": gradients.tolist()},
        **{"rate": RATE, "decay": DECAY, "cycle": cycle},
    )
    weights = torch.nn.Parameter(torch.tensor(start))
    optimizer, schedule = torchs_optimizer([weights], cycle)
    for step, gradient in enumerate(torch.tensor(gradients)):
        weights.grad = gradient
        optimizer.step()
        if step + 1 < (cycle or 0):
            schedule.step()
    assert ours == pytest.approx(weights.tolist(), rel=1e-5)


def torchs_optimizer(parameters, cycle: int | None):
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=DECAY)
    schedule = cycle and torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=RATE, total_steps=cycle, pct_start=0.25
    )
    return optimizer, schedule


def test_predictions_are_the_packages(lab, crops):
    """In eval mode, with running statistics that are not those of a new network."""
    for network in NETWORKS:
        model = new_network(network)
        with torch.no_grad():
            model(crops[32][0])
        probabilities = lab(
            "return [...begin(values).predict(data[32].heldOut.pixels)]",
            side=32,
            settings=settings(model, {"name": "bce"}),
            weights=weights_of(model),
        )
        answer = predict(model, crops[32][0])
        assert probabilities == pytest.approx(answer.flatten().tolist(), abs=1e-5)


def test_scores_are_the_packages(lab, crops):
    """At every threshold, for random probabilities; some are exactly a threshold or 0 or 1."""
    masks = crops[32][1]
    p = np.random.default_rng(2).uniform(size=masks.shape).astype(np.float32)
    p[0, 0, 0, :3], p[0, 0, 1, :19] = (0, 1, 0.5), np.float32(THRESHOLDS)
    scores, bins, share = lab(
        """const p = Float32Array.from(values.probabilities)
        const { truth } = data[32].heldOut
        const { score, calibration, gradientShare } = engine.metrics()
        const share = gradientShare([p, p], truth)
        return [score(p, truth, values.images), calibration(p, truth), share]""",
        probabilities=p.flatten().tolist(),
        images=CROPS,
    )
    pairs = zip(torch.tensor(p)[:, None], masks[:, 0].long(), strict=True)
    counts = [count_pixels(*pair) for pair in pairs]  # one row per threshold
    for k, threshold in enumerate(THRESHOLDS):
        images = concatenate([StatScores(*(column[k : k + 1] for column in c)) for c in counts])
        expected = {
            "threshold": threshold,
            "iou": dataset_iou(images),
            "precision": precision(*images, average="set", absent=1.0),
            "recall": recall(*images, average="set", absent=1.0),
        }
        assert scores[k] == pytest.approx(expected, abs=1e-6)
    numbers, truth = (
        np.clip((10 * p.astype(float)).astype(int), 0, 9).flatten(),
        masks.numpy().flatten(),
    )
    for k, found in enumerate(bins):
        inside = numbers == k
        values = inside.sum(), p.flatten()[inside].mean(), truth[inside].mean()
        assert tuple(found.values()) == pytest.approx(values, abs=1e-5)
    assert share == pytest.approx((p.flatten() * truth).sum() / p.sum(), abs=1e-5)


# -- the worker and the view -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def explorer() -> TrainingLab:
    return TrainingLab()


def test_the_page_is_small(explorer):
    text = explorer.to_html().encode()
    print(f"{len(text) / 1000:.0f} kB, compressed {len(gzip.compress(text)) / 1000:.0f} kB")
    assert len(explorer.data["pack"]["pixels"]) + len(explorer.data["pack"]["truth"]) < 400_000


def test_the_page_unpacks_the_crops(lab, explorer):
    grey, masks = training_crops()
    sums = lab(
        """return engine.unpackCrops(values.pack).then(({ training, heldOut }) =>
            [training, heldOut].map(({ pixels, truth }) => [
                pixels.length,
                pixels.reduce((sum, value, k) => sum + 31 * value * (1 + (k % 97)), 0),
                truth.reduce((sum, value, k) => sum + value * (1 + (k % 97)), 0),
            ]))""",
        pack=explorer.data["pack"],
    )
    for part, found in zip((np.s_[:-HELD_OUT], np.s_[-HELD_OUT:]), sums, strict=True):
        values, truth = grey[part].flatten(), masks[part].flatten()
        weights = 1 + np.arange(values.size) % 97  # so that a pixel in a wrong place is noticed
        assert found == pytest.approx([values.size, values @ weights, truth @ weights], rel=1e-6)


CONVERSE = """
const worker = engine.startTraining()
const heard = []
const say = message => worker.postMessage(message)
const until = kind => new Promise(resolve => {
    const listen = ({ data }) => {
        heard.push(data.kind)
        if (data.kind === "failed" && kind !== "failed") throw Error(data.message)
        if (data.kind !== kind) return
        worker.removeEventListener("message", listen)
        resolve(data)
    }
    worker.addEventListener("message", listen)
})
const begin = () => say({ kind: "start", settings: values.settings, data: values.pack, seed: 1 })
"""


def test_the_worker_trains_as_the_trainer_does(lab, explorer):
    """With the same seed; it pauses, and it starts over from the same weights."""
    spoken, quiet = lab(
        f"""return (async () => {{
            {CONVERSE}
            begin()
            say({{ kind: "step", count: 2 }})
            const losses = [(await until("stepped")).loss, (await until("stepped")).loss]
            say({{ kind: "step", count: 1000 }})
            await until("stepped")
            say({{ kind: "pause" }})
            const {{ step }} = await until("paused")
            say({{ kind: "state" }})
            const paused = (await until("state")).step === step && step < 10
            begin()
            say({{ kind: "step", count: 2 }})
            await until("started")
            const again = [(await until("stepped")).loss, (await until("stepped")).loss]
            say({{ kind: "validate" }})
            const {{ scores, probabilities }} = await until("validated")
            worker.terminate()
            const crops = await engine.unpackCrops(values.pack)
            const learner = engine.trainer(values.settings, crops, 1)
            const quiet = [learner.step().loss, learner.step().loss]
            const spoken = [losses, again, paused, scores, probabilities.length]
            return [spoken, [quiet, learner.validate().scores]]
        }})()""",
        settings=page_settings(explorer),
        pack=explorer.data["pack"],
    )
    losses, again, paused, scores, pixels = spoken
    assert losses == again == quiet[0]
    assert paused
    assert scores == quiet[1]
    assert pixels == HELD_OUT * 48 * 48


def page_settings(explorer: TrainingLab, **others) -> dict:
    model = UNet(1, 1, channels=(4, 8, 16))
    others = {"batch": PAGE_BATCH, "rate": 0.01, "crops": 256, **others}
    return settings(model, {"name": "bce + dice"}, **others)


def test_the_worker_says_what_went_wrong(lab, explorer):
    message = lab(
        f"""return (async () => {{
            {CONVERSE}
            begin()
            say({{ kind: "step", count: 50 }})
            const {{ message }} = await until("failed")
            worker.terminate()
            return message
        }})()""",
        settings=page_settings(explorer) | {"rate": 1e30},
        pack=explorer.data["pack"],
    )
    assert message.startswith("the loss is NaN in step")


@pytest.mark.slow
def test_it_learns_what_a_threshold_does_not(lab, explorer):
    """And of the four heads of a U-Net++ each learns a mask of its own."""
    names = ["U-Net 4-8-16", "U-Net++ 2-4-8-16-32"]
    settings_of = [
        page_settings(explorer)
        | {k: explorer.data["networks"][list(PAGE_NETWORKS).index(name)][k] for k in GRID}
        for name in names
    ]
    best, *heads = lab(
        """return engine.unpackCrops(values.pack).then(crops => values.settings.flatMap(plan => {
            const learner = engine.trainer(plan, crops, 1)
            for (let step = 0; step < 200; step++) learner.step()
            const best = ({ scores }) => Math.max(...scores.map(({ iou }) => iou))
            const answer = learner.validate()
            return plan.levels.length > 1 ? answer.heads.map(best) : [best(answer)]
        }))""",
        settings=settings_of,
        pack=explorer.data["pack"],
    )
    otsu = otsus_scores()["iou"]
    print(f"IoU {best:.3f}, with Otsu's threshold {otsu:.3f}; heads {heads}")
    assert best > otsu
    assert len(heads) == 4
    assert min(heads) > 0.5


GRID = ("channels", "nodes", "levels")


def test_one_sentence_says_who_leads(lab):
    a = {"iou": 0.71, "precision": 0.93, "recall": 0.7}
    b = {"iou": 0.78, "precision": 0.85, "recall": 0.9}
    script = "return engine.whoLeads(values.scores, values.names)"
    names = ["A: BCE", "B: Dice"]
    assert lab(script, scores=[a, b], names=names) == (
        "B (Dice) leads in IoU, 0.78 against 0.71; A is ahead in precision (0.93 against 0.85)."
    )
    assert lab(script, scores=[b, b], names=names) == "A and B are level, with an IoU of 0.78."


def test_the_iou_of_one_crop(lab):
    """Three pixels found, of which two are true; one is missed."""
    ours = lab(
        "return engine.cropIou({ truth: values.truth }, values.probabilities, 0.5, 1, 4)",
        truth=[1, 1, 1, 1, 1, 1, 1, 0],
        probabilities=[0, 0, 0, 0, 0.6, 0.7, 0.5, 0.9],
    )
    assert ours == pytest.approx(2 / 4)


def opened(page, tmp_path, html: str, address: str = "", theme: str = "light"):
    problems = watch(page)
    write_and_open(page, tmp_path / "lab.html", html, theme)
    page.goto("about:blank")
    page.goto((tmp_path / "lab.html").as_uri() + address)
    return problems


def wait(page, words: str, number: int = 0) -> None:
    """Until the sentence of a lab has these words, a regular expression."""
    page.wait_for_function(
        "([words, n]) => RegExp(words).test("
        "document.querySelectorAll('.summary')[n]?.textContent ?? '')",
        arg=[words, number],
        timeout=60_000,
    )


def button(page, name: str):
    return page.get_by_role("button", name=name, exact=True)


@pytest.mark.parametrize(
    ("width", "theme"), [(360, "dark"), pytest.param(800, "light", marks=pytest.mark.slow)]
)
def test_the_lab_by_hand(page, tmp_path, explorer, width, theme):
    """Every button and control, from a file; readable and accessible."""
    page.set_viewport_size({"width": width, "height": 900})
    problems = opened(page, tmp_path, explorer.to_html(), theme=theme)
    says = page.locator(".summary")
    wait(page, "Before the first step")
    button(page, "one step").click()
    wait(page, "Step 1\\.")
    before = says.inner_text()
    page.locator("[name=threshold]").press("End")
    assert says.inner_text() != before
    page.get_by_role("button", name="take the best threshold").click()
    taken = page.locator("[name=threshold]").input_value()
    best = page.locator(".numbers tbody tr").first.locator("td").nth(3).inner_text()
    assert best.endswith(f"at {float(taken):.2f}")
    button(page, "one step").click()
    wait(page, "Step 2\\.")
    page.locator(".crops canvas").last.hover(position={"x": 20, "y": 20})
    assert "This crop's IoU: " in page.locator(".crop").inner_text()
    assert inaccessible(page) + too_wide(page) == []

    # A is what was trained, B what the controls say now
    page.get_by_role("radio", name="Dice", exact=True).click()
    assert "The controls have changed" in says.inner_text()
    button(page, "A against B").click()
    wait(page, "Step 10\\. (A|B|A and B) ")
    button(page, "❚❚ pause").press("Enter")
    names = page.locator(".numbers tbody th").all_inner_texts()
    assert names == ["A: BCE + Dice", "B: Dice", "Otsu's threshold"]
    expect(page.locator(".crops").first.locator("canvas")).to_have_count(4)
    expect(page.locator(".thin")).to_have_count(2)
    page.wait_for_function("!document.querySelector('.segedu-lab .tools button:disabled')")
    assert problems + inaccessible(page) + too_wide(page) == []
    button(page, "end comparison").click()
    button(page, "start over").click()
    wait(page, "Before the first step")


def test_settings_train_anew(page, tmp_path, explorer):
    """Every one of them, and a new start has the same first weights."""
    problems = opened(page, tmp_path, explorer.to_html())
    page.get_by_role("radio", name="focal", exact=True).click()
    button(page, "start over").click()
    wait(page, "Before the first step")
    for name in ["gamma", "alpha", "seed"]:
        page.locator(f"[name={name}]").press("ArrowRight")
        assert "The controls have changed" in page.locator(".summary").inner_text()
        page.locator(f"[name={name}]").press("ArrowLeft")
        assert "The controls have changed" not in page.locator(".summary").inner_text()
    for name in ["U-Net++ 4-8-16", "Tversky", "0.003", "16", "off"]:
        page.get_by_role("radio", name=name, exact=True).click()
    assert button(page, "▶ play anew").is_visible()
    button(page, "one step").click()
    wait(page, "Step 1\\. .*")
    row = page.locator(".numbers tbody th").first.inner_text()
    assert row == "U-Net++ 4-8-16, Tversky"
    page.wait_for_url("**#lab?network=U-Net*4-8-16&loss=tversky&rate=0.003&crops=16&flips=False")
    button(page, "reset").click()
    assert page.get_by_role("radio", name="BCE + Dice").is_checked()
    assert problems == []


def test_presets_and_the_address(page, tmp_path, explorer):
    problems = opened(page, tmp_path, explorer.to_html())
    wait(page, "Before the first step")
    for name, words in {
        "BCE against Dice": "Dice counts pixels",
        "α = 0.5 against 0.95": "19 times",
        "γ = 0 against 3": "easy pixels",
        "4 crops against 256": "by heart",
        "U-Net++: L1 to L4": "called a head",
    }.items():
        button(page, name).click()
        assert words in page.locator(".presets [role=status]").first.inner_text()
        assert button(page, name).get_attribute("aria-pressed") == "true"
    button(page, "one step").click()
    wait(page, "Step 1\\.")
    heads = page.locator(".heads canvas")
    expect(heads).to_have_count(4)
    assert "L4: IoU" in heads.last.get_attribute("aria-label")
    assert "mean of all heads" in page.locator(".heads .note").inner_text()
    button(page, "BCE against Dice").click()
    page.wait_for_url("**#lab?loss=dice&kept=0.0.20.10.3.4.0.1")
    page.reload()  # goes on from there
    wait(page, "Before the first step")
    button(page, "one step").click()
    wait(page, "Step 1\\. (A|B|A and B) ")
    assert page.locator(".numbers tbody th").first.inner_text() == "A: BCE"
    assert problems == []


def test_a_challenge_counts_only_what_it_asks_for(page, tmp_path, explorer):
    problems = opened(page, tmp_path, explorer.to_html())
    wait(page, "Before the first step")
    for name, value in {"four crops": "0", "no new training": "4"}.items():
        button(page, name).click()
        assert page.get_by_role("radio", name="4", exact=True).is_checked() == (value == "0")
        button(page, "one step").click()
        wait(page, "Step 1\\.")
        text = page.locator(".challenge").inner_text()
        assert ("Best IoU so far" in text) == (name == "four crops")
        assert "Done" not in text
        if name == "four crops":  # the table's number, beside play and above the pictures
            iou = page.locator(".numbers tbody td").first.inner_text()
            assert f"Best IoU so far: {iou}, at step 1 and threshold 0.50." in text
    tops = [".challenge", ".tools.training", ".numbers", ".crops canvas"]
    tops = [page.locator(selector).first.bounding_box()["y"] for selector in tops]
    assert tops == sorted(tops)
    assert tops[1] - tops[0] < 100
    button(page, "BCE against Dice").click()  # ends the challenge
    assert page.locator(".challenge").inner_text() == ""
    expect(page.get_by_text("Dice counts pixels").first).to_be_visible()
    assert problems == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["four crops", "no new training"])
def test_a_challenge_can_be_met(page, tmp_path, explorer, name):
    """With what it teaches, and not without; in at most 150 steps."""
    opened(page, tmp_path, explorer.to_html())
    wait(page, "Before the first step")
    says = page.locator(".challenge")
    button(page, name).click()
    button(page, "▶ play anew").click()
    wait(page, "Step 1[0-4]0\\.")
    page.get_by_role("button", name="pause").click()
    assert "Done" not in says.inner_text()
    if name == "four crops":
        page.get_by_role("radio", name="on", exact=True).click()
        button(page, "▶ play anew").click()
    else:
        page.get_by_role("button", name="take the best threshold").click()
    page.wait_for_function("document.querySelector('.challenge').textContent.startsWith('Done')")


def test_gamma_and_alpha_say_what_they_do(page, tmp_path, explorer):
    """And rest where the loss has none: then they cannot be moved, and their change is none."""
    problems = opened(page, tmp_path, explorer.to_html())
    wait(page, "Before the first step")
    gamma, alpha = page.locator(".control-gamma"), page.locator(".control-alpha")
    for loss, (focus, weight) in {
        "focal": ("focus on hard pixels", "weight of nuclei, 1 − α of background"),
        "Tversky": ("not used by Tversky", "weight of false alarms, 1 − α of misses"),
        "Dice": ("not used by Dice", "not used by Dice"),
        "BCE": ("not used by BCE", "not used by BCE"),
        "BCE + Dice": ("not used by BCE + Dice", "not used by BCE + Dice"),
    }.items():
        page.get_by_role("radio", name=loss, exact=True).click()
        for control, words in [(gamma, focus), (alpha, weight)]:
            assert words in control.inner_text()
            isin = "not used" not in words
            assert control.locator("input").is_enabled() == isin
            assert control.locator("input").get_attribute("aria-disabled") == str(not isin).lower()
            assert ("has no" in control.get_attribute("title")) != isin
    page.evaluate("""() => {
        const alpha = document.querySelector("[name=alpha]")
        alpha.value = 0.9
        alpha.dispatchEvent(new Event("input"))
    }""")
    assert "changed" not in page.locator(".summary").inner_text()
    assert button(page, "▶ play").is_visible()
    page.get_by_role("radio", name="Tversky", exact=True).click()
    assert "The controls have changed" in page.locator(".summary").inner_text()
    page.locator("[name=alpha]").press("ArrowRight")
    assert page.locator("[name=alpha]").input_value() == "0.95"
    assert problems == []


def test_a_new_training_begins_with_the_first_threshold(page, tmp_path, explorer):
    """Unless the address or the reader sets it for that training."""
    problems = opened(page, tmp_path, explorer.to_html(), "#lab?threshold=0.80")
    wait(page, "Before the first step")
    threshold = page.locator("[name=threshold]")
    assert threshold.input_value() == "0.8"
    take = page.get_by_role("button", name="best threshold")
    assert take.is_disabled()  # before training there is none
    assert page.locator(".numbers tbody td").nth(3).inner_text() == ""
    button(page, "one step").click()
    wait(page, "Step 1\\.")
    assert "at threshold 0.80" in page.locator("svg", has_text="IoU").first.text_content()
    best = take.inner_text()
    page.get_by_role("radio", name="Dice", exact=True).click()
    assert take.inner_text() == best  # the masks are still those of the training before
    assert threshold.input_value() == "0.8"
    button(page, "one step").click()
    wait(page, "Step 1\\.")
    assert threshold.input_value() == "0.5"
    page.get_by_role("radio", name="BCE", exact=True).click()
    threshold.press("End")
    button(page, "one step").click()
    wait(page, "Step 1\\.")
    assert threshold.input_value() == "0.95"
    button(page, "start over").click()
    assert threshold.input_value() == "0.5"
    assert problems == []


def test_a_comparison_by_hand_says_whose_controls_these_are(page, tmp_path, explorer):
    """A and B have colours of their own, a legend, and best thresholds with names."""
    problems = opened(page, tmp_path, explorer.to_html())
    wait(page, "Before the first step")
    assert page.locator(".tag").is_hidden()
    button(page, "A against B").click()
    assert "kept as A. Change the controls for B" in page.locator(".summary").inner_text()
    assert page.locator(".tag").inner_text() == "controls: B"
    page.get_by_role("radio", name="focal", exact=True).click()
    button(page, "one step").click()
    wait(page, "Step 1\\.")
    assert page.locator(".swatch").all_inner_texts() == [
        "A: BCE + Dice",
        "B: focal, γ = 2.0, α = 0.50",
    ]
    assert page.get_by_role("button", name="take B's best threshold: 0.").is_enabled()
    charts = page.locator(".main svg[role=img]")
    assert "heights are not comparable" in charts.nth(1).text_content()
    ours, others = page.evaluate("""() => {
        const style = (selector, name) => getComputedStyle(document.querySelector(selector))[name]
        const ours = [".curve.first", ".curve.second"].map(line => style(line, "stroke"))
        const kinds = [".part", ".bar.classes"].map(part => style(part, "backgroundColor"))
        return [ours, [...kinds, "rgb(86, 180, 233)", "rgb(240, 228, 66)", "rgb(213, 94, 0)"]]
    }""")
    assert len({*ours, *others}) == 7
    button(page, "end comparison").click()
    assert page.locator(".tag").is_hidden()
    assert problems == []


def test_nothing_flashes_before_the_first_answer(page, tmp_path, explorer):
    """While workers do not answer: empty plots, and no advice that comes too late."""
    page.add_init_script("Worker.prototype.postMessage = () => {}")
    problems = opened(page, tmp_path, explorer.to_html())
    wait(page, "The network is being set up")
    page.wait_for_selector(".crops canvas")
    assert page.get_by_text("What each head says").is_hidden()
    expect(page.locator(".crops canvas")).to_have_count(4)
    expect(page.locator(".main svg[role=img]")).to_have_count(3)
    button(page, "▶ play").click()
    assert page.locator(".summary").inner_text() == "Training ..."
    assert problems == []


def test_one_screen_holds_what_belongs_together(page, tmp_path, explorer):
    """Alpha, play, the table and the first crops; on a phone no tip leaves the figure."""
    page.set_viewport_size({"width": 1400, "height": 900})
    opened(page, tmp_path, explorer.to_html())
    wait(page, "Before the first step")
    top = page.locator(".segedu-lab").bounding_box()["y"]
    canvas, table = (page.locator(name).last.bounding_box() for name in [".crops canvas", "table"])
    assert table["y"] + table["height"] <= canvas["y"]
    assert canvas["y"] + canvas["height"] / 2 - top < 900  # two crops of four
    page.set_viewport_size({"width": 375, "height": 900})
    figure = page.locator(".segedu-lab").bounding_box()
    for word in page.locator(".numbers .term").all():
        word.focus()
        tip = word.locator(".tip").bounding_box()
        body = page.locator(".numbers tbody").first.bounding_box()
        assert figure["x"] + 8 <= tip["x"]
        assert tip["x"] + tip["width"] <= figure["x"] + figure["width"] - 8
        assert tip["y"] + tip["height"] <= body["y"]


def test_two_labs_on_a_page_do_not_meet(page, tmp_path, explorer):
    problems = opened(page, tmp_path, 2 * f"<div>{explorer.to_html()}</div>")
    wait(page, "Before the first step")
    button(page, "one step").first.click()
    wait(page, "Step 1\\.")
    button(page, "one step").last.scroll_into_view_if_needed()
    wait(page, "Before the first step", 1)
    page.locator("[name=threshold]").last.press("ArrowRight")
    assert page.locator("[name=threshold]").first.input_value() == "0.5"
    assert problems == []


def test_it_rests_out_of_sight_and_ends_its_worker(page, tmp_path, explorer):
    page.add_init_script(
        "window.ended = 0; const end = Worker.prototype.terminate;"
        "Worker.prototype.terminate = function () { window.ended += 1; end.call(this) }"
    )
    opened(page, tmp_path, explorer.to_html() + '<div style="height: 3000px"></div><p>end</p>')
    wait(page, "Before the first step")
    button(page, "▶ play").click()
    wait(page, "Step 10\\.")
    page.get_by_text("end", exact=True).scroll_into_view_if_needed()
    page.wait_for_timeout(2000)  # what was asked for before is still answered
    before = page.locator(".summary").inner_text()
    page.wait_for_timeout(1500)
    assert page.locator(".summary").inner_text() == before
    button(page, "start over").click()
    assert page.evaluate("window.ended") == 1


def test_an_old_browser_gets_words(page, tmp_path, explorer):
    page.add_init_script("delete window.DecompressionStream")
    opened(page, tmp_path, explorer.to_html())
    assert "too old for the lab" in page.get_by_role("alert").inner_text()
