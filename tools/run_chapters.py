"""Run chapters in order and save them with their outputs, as the tests compare them.

    python tools/run_chapters.py            # all of them
    python tools/run_chapters.py losses iou

A chapter that fails is left as it was. Chromium draws the pictures that stand in the place of the
explorers where no script runs; an alternative text in the metadata of an explorer's cell replaces
the usual one.
"""

import argparse
import base64
import re
import sys
from html import escape
from io import BytesIO
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image
from playwright.sync_api import Browser

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT))  # study/ is not installed
from study.stills import chromium, screenshot  # noqa: E402

CHAPTERS = ROOT / "chapters"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def to_png(picture: Image.Image) -> str:
    written = BytesIO()
    picture.save(written, "PNG", optimize=True)
    return base64.b64encode(written.getvalue()).decode()


def smaller(figure: str) -> str:
    """A figure as PNG of 256 colours: it looks the same, in half the bytes.

    The colours lie as far apart as possible, so that no rare grey becomes a wrong one.
    """
    picture = Image.open(BytesIO(base64.b64decode(figure))).convert("RGB")
    reduced = picture.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
    return to_png(reduced)


def draw_still(data: dict, metadata: dict, browser: Browser) -> None:
    """Put a picture of this explorer in the place of the usual one."""
    page, picture = data["text/html"], to_png(screenshot(browser, data["text/html"]))
    usual = re.search(r'<img alt="([^"]*)" src="[^"]*">', page)
    own = metadata.get("mystnb", {}).get("image", {}).get("alt")
    alt = escape(own) if own else usual[1]
    image = f'<img alt="{alt}" src="data:image/png;base64,{picture}">'
    data |= {"text/html": page.replace(usual[0], image, 1), "image/png": picture}


def run(path: Path, browser: Browser) -> None:
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": path.parent}}
    NotebookClient(
        notebook, timeout=300, resources=resources, store_widget_state=False, coalesce_streams=True
    ).execute()
    notebook.metadata.language_info = {"name": "python"}  # no version, which would differ
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # when it ran
        for output in cell.get("outputs", []):
            # It names a widget of a kernel that is gone. The HTML beside it works without one.
            data = output.get("data", {})
            data.pop(WIDGET_VIEW, None)
            if "segedu-explorer" in data.get("text/html", ""):
                draw_still(data, cell.metadata, browser)
            elif "image/png" in data:
                data["image/png"] = smaller(data["image/png"])
    nbformat.write(notebook, path)


def main():
    known = sorted(path.stem for path in CHAPTERS.glob("*.ipynb"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", help=f"of {', '.join(known)}; all if none is named")
    options = parser.parse_args()
    if unknown := set(options.chapters) - set(known):
        parser.error(f"got {', '.join(sorted(unknown))}, expected some of {', '.join(known)}")
    with chromium() as browser:
        for name in options.chapters or known:
            print(name, flush=True)
            run(CHAPTERS / f"{name}.ipynb", browser)


if __name__ == "__main__":
    main()
