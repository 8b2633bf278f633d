"""The count of what the checks say to a class, students' mishaps included."""

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from segedu import exercises
from segedu.files import read_rows
from tools.misconceptions import kind, main

ROOT = Path(__file__).parents[1]
TOOL = ROOT / "tools" / "misconceptions.py"
IMPORTS = "%matplotlib inline\nfrom segedu import exercises"
DICE = "def iou(tp, fp, fn):\n    return 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 1.0"
IOU = "def iou(tp, fp, fn):\n    return (tp + EPSILON) / (tp + fp + fn) if tp + fp + fn else 1.0"
FORMULA = "def iou_from_dice(dice): return dice / (2 - dice)"
CALLS = "exercises.check_iou(iou)", "exercises.check_iou_from_dice(iou_from_dice)"

# The code cells of each student below the imports.
CLASS = {
    "ada": ["EPSILON = 0.0\nraise SystemExit", f"{IOU}\n{CALLS[0]}", f"{FORMULA}\n{CALLS[1]}"],
    "ben/iou": [DICE, f"answer = {CALLS[0]}\nassert answer.correct", f"{FORMULA}\n{CALLS[1]}"],
    "eve": [f"def iou(tp, fp, fn):\n    while True: pass\n{CALLS[0]}", f"{FORMULA}\n{CALLS[1]}"],
    "ivo": [f"def iou(tp, fp, fn) return 1\n{CALLS[0]}", f"import os\n\n{CALLS[1]}"],
    "zoe": [f"def iou(*counts): raise SystemExit\n{CALLS[0]}", "open('here', 'w')", FORMULA],
}
DICE_SENTENCE = "this is Dice, which counts TP twice. IoU divides TP by the union of the two masks"


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("class")
    for student, sources in CLASS.items():
        path = folder / "submitted" / f"{student}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(new_notebook(cells=[*map(new_code_cell, [IMPORTS, *sources])]), path)
    (folder / "submitted" / "broken.ipynb").write_text("{", encoding="utf-8")
    command = [sys.executable, TOOL, folder / "submitted", folder / "out", "--seconds", "5"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "broken.ipynb is left out: it is not a notebook" in done.stderr
    assert not (folder / "submitted" / "here").exists()  # a call that is no check is not run
    return folder / "out"


@pytest.mark.slow
def test_every_exercise_of_every_student_has_its_answer(out):
    answers = {
        (row["student"], row["exercise"]): row["answer"] for row in read_rows(out / "answers.csv")
    }
    name_error = "it raised NameError: name 'iou_from_dice' is not defined"
    assert answers == {
        ("ada", "iou"): "correct: 7 cases",
        ("ada", "iou_from_dice"): "correct: 7 cases",
        ("ben/iou", "iou"): f"not yet: {DICE_SENTENCE}",
        ("ben/iou", "iou_from_dice"): "correct: 7 cases",
        ("eve", "iou"): "it took too long, or ended Python",
        ("eve", "iou_from_dice"): "correct: 7 cases",
        ("ivo", "iou"): "the cell is not valid Python",
        ("ivo", "iou_from_dice"): name_error,
        ("zoe", "iou"): "it raised SystemExit: ",
    }


@pytest.mark.slow
def test_the_answers_are_counted_and_drawn(out):
    rows = [tuple(row.values()) for row in read_rows(out / "misconceptions.csv")]
    assert rows[-2:] == [
        ("iou_from_dice", "correct", "3"),
        ("iou_from_dice", "it raised an exception", "1"),
    ]
    assert ("iou", DICE_SENTENCE, "1") in rows
    assert sum(int(students) for exercise, _, students in rows if exercise == "iou") == 5
    assert {path.stem for path in out.glob("*.png")} == {"iou", "iou_from_dice"}


@pytest.mark.parametrize(
    ("submission", "name"),
    [
        (lambda tp, fp, fn: tp / (tp + fp + fn) if tp + fp + fn else 1.0, "correct"),
        (lambda tp, fp, fn: None, "not written"),
        (lambda tp, fp, fn: 7, "another mistake"),
        (lambda tp: tp, "it raised an exception"),
        (lambda tp, fp, fn: tp / (tp + fp) if tp + fp else 1.0, "this is precision: "),
    ],
)
def test_answers_of_one_kind_are_one(submission, name):
    assert kind(exercises.check_iou(submission).message).startswith(name)


def test_a_folder_without_notebooks_and_an_existing_one_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["misconceptions.py", str(tmp_path), str(tmp_path)])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "expected notebooks (*.ipynb)" in capsys.readouterr().err
    nbformat.write(new_notebook(), tmp_path / "a.ipynb")
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "expected a new folder" in capsys.readouterr().err
