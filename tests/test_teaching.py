"""What the page for teachers says: its tools exist, and its example is a working exercise."""

import re
from pathlib import Path

import pytest
import torch

from tests.test_chapters import read

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "teaching.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def check_share():
    names = {"__package__": "segedu.exercises", "__name__": "segedu.exercises.example"}
    (block,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)
    exec(block, names)
    return names["check_foreground_share"]


@pytest.mark.parametrize(
    ("share", "message"),
    [
        (lambda labels: torch.count_nonzero(labels) / labels.numel(), "correct: 3 cases"),
        (lambda labels: labels.sum() / labels.numel(), "label numbers are names"),
        (lambda labels: torch.count_nonzero(labels), "that is a number of pixels"),
        (lambda labels: 1 - (labels != 0).float().mean(), "that is the background's share"),
        (lambda labels: None, "returns nothing"),
    ],
)
def test_the_example_is_an_exercise(check_share, share, message):
    assert message in check_share(share).message


def test_the_sections_of_the_plan_are_in_their_chapters():
    rows = re.findall(r"^\| \[.*?\]\(\.\./chapters/(\w+)\.ipynb\)(.*)$", PAGE, re.M)
    assert len(rows) == 7
    for name, row in rows:
        cells = read(f"chapters/{name}").cells
        text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        named = re.findall(r"\*(.+?)\*", row)
        assert named or name == "prerequisites"
        assert set(named) <= set(re.findall(r"^## (.+)$", text, re.M)), name


def test_it_names_every_tool_and_no_other():
    assert set(re.findall(r"tools/\w+\.py", PAGE)) == {
        f"tools/{path.name}" for path in (ROOT / "tools").glob("*.py")
    }
