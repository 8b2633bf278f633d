"""The course without its solutions: they are gone, everything else is there, and it builds."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import build_book
from tools.student_edition import without_solutions

ROOT = Path(__file__).parents[1]
TOOL = ROOT / "tools" / "student_edition.py"


def make(out):
    return subprocess.run([sys.executable, TOOL, out], capture_output=True, text=True)


def markdown(source: str) -> dict:
    return {"cell_type": "markdown", "id": "a", "source": source.splitlines(keepends=True)}


FOLDED = "<details><summary>{}</summary>\n\nWords.\n\n</details>"
HINT, SOLUTION = FOLDED.format("Hint"), FOLDED.format("Solution")


@pytest.fixture(scope="module")
def edition(tmp_path_factory):
    out = tmp_path_factory.mktemp("class") / "edition"
    assert make(out).returncode == 0
    return out


def test_only_the_solutions_are_gone(edition):
    for path in (ROOT / "chapters").glob("*.ipynb"):
        copy = (edition / "chapters" / path.name).read_text(encoding="utf-8")
        original = path.read_text(encoding="utf-8")
        assert "<summary>Solution" not in copy
        for kept in ("<summary>Hint", 'class=\\"quiz\\"', "exercises.check_", '"execution_count"'):
            assert copy.count(kept) == original.count(kept)
        if "<summary>Solution" not in original:
            assert copy == original


def test_it_builds(edition):
    page = (build_book(edition, edition) / "chapters" / "iou.html").read_text(encoding="utf-8")
    assert "<summary>Hint" in page
    assert "<summary>Solution" not in page


def test_it_is_a_project_that_can_be_installed(edition):
    assert (edition / "pyproject.toml").exists()
    assert (edition / "segedu" / "weights" / "unetpp-nuclei.safetensors").exists()
    assert not (edition / "tests").exists()


def test_a_cell_with_only_a_solution_goes_and_others_keep_the_rest():
    code = {"cell_type": "code", "source": ["# <summary>Solution</summary>"]}
    cells = [
        markdown(f"**1.** Task\n\n{HINT}\n\n{SOLUTION}\n\n**2.** Task"),
        code,
        markdown(SOLUTION),
    ]
    kept = without_solutions({"cells": cells, "nbformat": 4})
    left = [markdown(f"**1.** Task\n\n{HINT}\n\n**2.** Task"), code]
    assert kept == {"cells": left, "nbformat": 4}
    assert json.dumps(cells).count("Words.") == 3  # nothing was changed in place


def test_a_solution_in_another_form_stops_the_copy():
    for odd in (
        "<details open><summary>Solution</summary>",
        "<details><summary>Solution 1</summary>",
    ):
        with pytest.raises(SystemExit, match="cell a"):
            without_solutions({"cells": [markdown(f"{odd}\n\nx\n\n</details>")]})


def test_an_existing_folder_is_not_overwritten(tmp_path):
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    refused = make(tmp_path)
    assert refused.returncode == 2
    assert "expected a new folder" in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
