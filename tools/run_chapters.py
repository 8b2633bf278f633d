"""Run chapters in order and save them with their outputs, as the tests compare them.

    python tools/run_chapters.py            # all of them
    python tools/run_chapters.py losses iou

A chapter that fails is left as it was.
"""

import argparse
import base64
from io import BytesIO
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

CHAPTERS = Path(__file__).parents[1] / "chapters"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def smaller(figure: str) -> str:
    """A figure as PNG of 256 colours: it looks the same, in half the bytes."""
    picture, written = Image.open(BytesIO(base64.b64decode(figure))).convert("RGB"), BytesIO()
    reduced = picture.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    reduced.save(written, "PNG", optimize=True)
    return base64.b64encode(written.getvalue()).decode()


def run(path: Path) -> None:
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
            if "image/png" in data and "text/html" not in data:  # else the still of an explorer
                data["image/png"] = smaller(data["image/png"])
    nbformat.write(notebook, path)


def main():
    known = sorted(path.stem for path in CHAPTERS.glob("*.ipynb"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", help=f"of {', '.join(known)}; all if none is named")
    options = parser.parse_args()
    if unknown := set(options.chapters) - set(known):
        parser.error(f"got {', '.join(sorted(unknown))}, expected some of {', '.join(known)}")
    for name in options.chapters or known:
        print(name, flush=True)
        run(CHAPTERS / f"{name}.ipynb")


if __name__ == "__main__":
    main()
