"""Copy the course without the solutions of its exercises, for a class.

    python tools/student_edition.py OUTFOLDER

Everything else stays: tasks, starter cells, checks, hints and quizzes. The copy is installed and
built like the course. The tests are left out, because they contain solutions too; so do the checks
in segedu/exercises, which the exercises need.
"""

import argparse
import json
import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]
COPIED = [
    "_config.yml", "_static", "_toc.yml", "binder", "chapters", "docs", "img", "intro.md",
    "LICENSE", "LICENSE-TEXT.md", "pyproject.toml", "README.md", "references.bib", "references.md",
    "requirements.txt", "segedu", "study",
]  # fmt: skip
SOLUTION = re.compile(r"^<details>\s*<summary>Solution</summary>$.*?^</details>$\n*", re.M | re.S)


def without_solutions(notebook: dict) -> dict:
    """The notebook without its folded solutions, and without cells that held nothing else."""
    cells = []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            source = "".join(cell["source"])
            kept = SOLUTION.sub("", source).rstrip()
            if "<summary>Solution" in kept:
                raise SystemExit(
                    f"cell {cell['id']} has a solution in another form than "
                    "<details><summary>Solution</summary>: fold it like the others"
                )
            if not kept:
                continue
            if kept != source:
                cell = {**cell, "source": kept.splitlines(keepends=True)}
        cells.append(cell)
    return {**notebook, "cells": cells}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("outfolder", type=Path, help="the new folder to create")
    out = parser.parse_args().outfolder
    if out.exists():
        parser.error(f"expected a new folder, but {out} exists: choose another name")
    notebooks = {
        path.name: without_solutions(json.loads(path.read_text(encoding="utf-8")))
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
        (out / "chapters" / name).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
