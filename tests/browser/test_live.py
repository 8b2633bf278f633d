"""The network in the page: it computes what torch computes, and every control works."""

import base64
import itertools
import random

import numpy as np
import pytest
import torch

from segedu import NodeGrid, UNet, load_pretrained
from segedu.data import normalize, synthetic_nuclei
from segedu.explorers import base
from segedu.export import dequantized, to_web
from segedu.models import input_interval

SIDE = 96


@pytest.fixture(scope="module")
def tiny() -> NodeGrid:
    return load_pretrained("unetpp-nuclei-tiny")


@pytest.fixture
def page(browser):
    page = browser.new_page(viewport={"width": 800, "height": 900})
    yield page
    page.close()


@pytest.fixture
def compute(page):
    """The heads' logits in the page, for each of several lists of skips that are off."""

    def compute(model: NodeGrid, image: torch.Tensor, subsets: list) -> np.ndarray:
        answer = page.evaluate(
            f"""([web, text, height, width, subsets]) => {{
                {base.read("network.js")}
                const {{ load, run, toMap }} = network()
                const numbers = Uint8Array.from(atob(text), letter => letter.charCodeAt(0))
                const image = toMap(new Float32Array(numbers.buffer), height, width)
                const net = load(web)
                const all = subsets.flatMap(off =>
                    run(net, image, off).heads.flatMap(({{ logits }}) => [...logits]))
                const bytes = new Uint8Array(Float32Array.from(all).buffer)
                let letters = ""
                for (const byte of bytes) letters += String.fromCharCode(byte)
                return btoa(letters)
            }}""",
            [to_web(model), text(image), *image.shape[-2:], subsets],
        )
        flat = np.frombuffer(base64.b64decode(answer), "<f4")
        return flat.reshape(len(subsets), len(model.levels), *image.shape[-2:])

    return compute


def text(image: torch.Tensor) -> str:
    return base64.b64encode(image.numpy().astype("<f4").tobytes()).decode()


def without(model: NodeGrid, image: torch.Tensor, off: list) -> np.ndarray:
    """Torch's logits of every head, with zeros in the place of the skips [i, k, j] in `off`."""
    x = {}
    for i, j in model.nodes:
        if j == 0:
            inputs = image if i == 0 else model.pool(x[i - 1, 0])
        else:
            skips = [
                torch.zeros_like(x[i, k]) if [i, k, j] in off else x[i, k] for k in model.left(i, j)
            ]
            inputs = torch.cat([*skips, model.ups[f"{i}_{j}"](x[i + 1, j - 1])], dim=1)
        x[i, j] = model.blocks[f"{i}_{j}"](inputs)
    return torch.stack([model.heads[str(d)](x[0, d])[0, 0] for d in model.levels]).numpy()


def skips_of(model: NodeGrid) -> list[list[int]]:
    return [[i, k, j] for i, j in model.nodes for k in (model.left(i, j) if j else [])]


def test_logits_are_torchs(tiny, compute):
    """All heads; with no skip off, each alone, all, and fifty random subsets."""
    skips, choose = skips_of(tiny), random.Random(0)
    assert len(skips) == 20
    subsets = [[], *([skip] for skip in skips), skips]
    subsets += [[skip for skip in skips if choose.random() < 0.5] for _ in range(50)]
    image = normalize(synthetic_nuclei(3, size=SIDE)[0])[None]
    ours, rounded = compute(tiny, image, subsets), dequantized(tiny)
    with torch.no_grad():
        theirs = np.stack([without(rounded, image, off) for off in subsets])
        np.testing.assert_array_equal(theirs[0], torch.stack(rounded(image))[:, 0, 0].numpy())
    difference = np.abs(ours - theirs).max()
    print(
        f"largest difference {difference:.1e}, of logits from {ours.min():.0f} to {ours.max():.0f}"
    )
    assert difference <= 1e-4
    changes = np.abs(theirs[1:22] - theirs[0]).max(axis=(1, 2, 3))
    assert (changes > 0.01).all()  # or the test would not notice a skip that stays on


@pytest.mark.parametrize("kind", ["unet", "wide", "noise"])
def test_logits_of_other_networks_and_images(kind, tiny, compute):
    model = UNet(1, 1, channels=(3, 5, 7)).eval() if kind == "unet" else tiny
    for norm in model.modules() if kind == "unet" else ():
        if isinstance(norm, torch.nn.BatchNorm2d):  # a new one would do next to nothing
            for values in (norm.weight.data, norm.bias.data, norm.running_mean):
                values.normal_(generator=torch.Generator().manual_seed(len(values)))
    image = torch.randn(1, 1, 32, 80 if kind == "wide" else 48)
    ours = compute(model, image, [[]])
    with torch.no_grad():
        assert np.abs(ours[0] - without(dequantized(model), image, [])).max() <= 1e-4


def test_field_is_that_of_the_package(tiny, page):
    ours = page.evaluate(
        f"""nodes => {{
            {base.read("network.js")}
            const {{ inputInterval }} = network()
            return [1, 2, 3, 4].map(level => Array.from(
                {{ length: 32 }}, (_, row) => inputInterval(nodes, level, row)))
        }}""",
        [list(node) for node in tiny.nodes],
    )
    for level, row in itertools.product(range(1, 5), range(32)):
        assert tuple(ours[level - 1][row]) == input_interval(tiny, (0, level), row, row)


def test_nothing_outside_the_field_counts(tiny, compute, page):
    """A pixel's logits stay the same to the last bit when all outside its field is replaced."""
    image = torch.rand(1, 1, SIDE, SIDE)
    for index, (y, x) in itertools.product(range(2), [(40, 49), (47, 30)]):
        (top, bottom), (left, right) = (input_interval(tiny, (0, index + 1), k, k) for k in (y, x))
        other = torch.rand(1, 1, SIDE, SIDE)
        inside = np.s_[..., top : bottom + 1, left : right + 1]
        other[inside] = image[inside]
        before, after = (compute(tiny, picture, [[]])[0, index] for picture in (image, other))
        assert before[y, x] == after[y, x]
        assert (before != after).any()
