"""Copy the course without the solutions of its exercises, to hand it to a class.

    python tools/student_edition.py OUTFOLDER

Everything else is as it is here: tasks, starter cells, checks, hints and quizzes. The copy installs
and builds as the course does. It has no tests, which hold solutions too; and whoever opens the
checks in segedu/exercises finds what they compare with.
"""

import argparse
import json
import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]
COPIED = [
    "_config.yml", "_static", "_toc.yml", "chapters", "docs", "img", "intro.md", "LICENSE",
    "LICENSE-TEXT.md", "pyproject.toml", "README.md", "references.bib", "references.md",
    "requirements.txt", "runtime.txt", "segedu", "study",
]  # fmt: skip
SOLUTION = re.compile(r"^<details>\s*<summary>Solution</summary>$.*?^</details>$\n*", re.M | re.S)


def without_solutions(notebook: dict) -> dict:
    """The notebook without the folded solutions; a cell that held nothing else goes with them."""
    cells = []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            source = "".join(cell["source"])
            kept = SOLUTION.sub("", source).rstrip()
            if "<summary>Solution" in kept:
                raise SystemExit(f"the solution in cell {cell['id']} is not folded as the others")
            if not kept:
                continue
            if kept != source:
                cell = {**cell, "source": kept.splitlines(keepends=True)}
        cells.append(cell)
    return {**notebook, "cells": cells}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("outfolder", type=Path, help="a folder that is not there yet")
    out = parser.parse_args().outfolder
    if out.exists():
        parser.error(f"got {out}, which exists; expected a new folder")
    notebooks = {
        path.name: without_solutions(json.loads(path.read_text()))
        for path in (ROOT / "chapters").glob("*.ipynb")
    }
    out.mkdir(parents=True)
    for name in COPIED:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
            shutil.copytree(ROOT / name, out / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, out / name)
    for name, notebook in notebooks.items():
        text = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
        (out / "chapters" / name).write_text(text)


if __name__ == "__main__":
    main()
