"""Write the still pictures of the explorers, which stand where no script runs.

    python -m study.stills [NAME ...]

Each is a screenshot of a figure as it starts; `tools/run_chapters.py` puts a picture of a chapter's
own figure in its place. Without names, those pictures are made anew whose figures have changed:
each picture holds a digest of the JavaScript and CSS that drew it.
"""

import argparse
import hashlib
import io
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import Browser, sync_playwright

from segedu import explorers, load_pretrained, predict
from segedu.data import SyntheticNuclei, normalize, sample
from segedu.explorers import base
from segedu.files import atomic_path

from . import live

WIDTH, HEIGHT = 720, 2000  # pixels of the window, in which every figure fits
SHORTER = {"live": 970}  # pixels: the noise in the photographs below takes many bytes
COLOURS = 24  # of a picture, which so takes 20 to 45 kB
EXPLORERS = {
    "conv": explorers.ConvExplorer,
    "grid": explorers.GridExplorer,
    "iou": explorers.IoUExplorer,
    "lab": explorers.TrainingLab,
    "live": explorers.LiveSegmentation,
    "loss": explorers.LossExplorer,
    "pooling": explorers.PoolingExplorer,
    "threshold": explorers.ThresholdExplorer,
}


def make_explorer(name: str) -> base.Explorer:
    """An explorer as it starts, with data like those of the chapters where it needs some."""
    if name == "pooling":
        nuclei = SyntheticNuclei(64, size=64, density=0.6)
        masks = torch.stack([nuclei[index][1].as_subclass(torch.Tensor) for index in range(64)])
        preds = masks.roll((1, 1), dims=(1, 2))
        return explorers.PoolingExplorer(preds, masks, num_classes=2)
    if name == "threshold":
        grey, instances = sample()
        window = np.s_[150:290, 150:290]
        image = normalize(grey)[None][..., *window]
        probabilities = predict(load_pretrained("unetpp-nuclei-tiny"), image)[0, 0]
        return explorers.ThresholdExplorer(probabilities, instances[window] > 0)
    return EXPLORERS[name]()


def digest(name: str) -> str:
    """What changes with everything that draws the figure without a kernel."""
    explorer = EXPLORERS[name]
    text = "\n".join([explorer.style, base.SHARED, explorer.source(), base.HOST])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def is_stale(name: str) -> bool:
    """Whether the picture of a figure is missing or was drawn by other code."""
    path = base.FOLDER / f"{name}.png"
    if not path.exists() or path.stat().st_size == 0:
        return True
    with Image.open(path) as picture:
        return picture.info.get("digest") != digest(name)


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        options = {"executable_path": shutil.which("chromium"), "args": ["--no-sandbox"]}
        browser = playwright.chromium.launch(**options)
        yield browser
        browser.close()


def screenshot(browser: Browser, explorer: str) -> Image.Image:
    """The figure in few colours, from an explorer's HTML."""
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
    errors = []
    page.on("pageerror", lambda error: errors.append(error))
    page.set_content(
        '<!doctype html><html lang="en" data-theme="light"><style>body { margin: 0 } '
        f".segedu-explorer {{ margin: 0 !important }}</style>{explorer}"
    )
    page.wait_for_timeout(3000)  # for the first answer of a network
    if errors:
        raise RuntimeError(f"the figure does not run: {errors[0]}")
    box = page.locator(".segedu-explorer").bounding_box()
    name = re.search(r'class="segedu-explorer segedu-(\w+)"', explorer)[1]
    clip = {**box, "height": min(box["height"], SHORTER.get(name, HEIGHT))}
    picture = Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB")
    page.close()
    # The colours that lie farthest apart: a thin line keeps its own.
    return picture.quantize(
        COLOURS, method=Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE
    )


def save(picture: Image.Image, name: str) -> None:
    info = PngInfo()
    info.add_text("digest", digest(name))
    with atomic_path(base.FOLDER / f"{name}.png") as path:
        picture.save(path, optimize=True, pnginfo=info)
    print(f"{name}.png: {(base.FOLDER / f'{name}.png').stat().st_size:,} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the still pictures of the explorers.")
    parser.add_argument("names", nargs="*", help=f"of {', '.join(EXPLORERS)}; by default the stale")
    names = parser.parse_args().names or list(filter(is_stale, EXPLORERS))
    with chromium() as browser:
        for name in names:
            (base.FOLDER / f"{name}.png").touch()  # the explorer reads it
            save(screenshot(browser, make_explorer(name).to_html()), name)
    if "live" in names:
        live.main()  # the introduction holds that picture


if __name__ == "__main__":
    main()
