"""The assignments for nbgrader: what students get, what passes, and what only looks right."""

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest

from tests.test_chapters import NOTEBOOKS, read, tasks
from tools.assignments import POINTS, imports, marked

ROOT = Path(__file__).parents[1]
TOOL = ROOT / "tools" / "assignments.py"
# The keys of a cell's metadata by nbgrader's schema 3; a graded cell has its points, too.
SCHEMA = {"schema_version", "grade_id", "grade", "locked", "solution", "task"}
HIDDEN = re.compile(r"### BEGIN HIDDEN TESTS\n.*?### END HIDDEN TESTS", re.S)
SOLUTION = re.compile(r"( *)### BEGIN SOLUTION\n.*?### END SOLUTION", re.S)


def make(out, *options):
    return subprocess.run([sys.executable, TOOL, out, *options], capture_output=True, text=True)


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """For each chapter with exercises, the notebook of its assignment."""
    out = tmp_path_factory.mktemp("class") / "course"
    assert make(out, "--seed", "3").returncode == 0
    return {
        path.parent.name: nbformat.read(path, as_version=4)
        for path in sorted(out.glob("source/*/*.ipynb"))
    }


def about(cell) -> dict:
    return cell.metadata.get("nbgrader", {})


def exercises_of(notebook) -> list[tuple]:
    """The cell with the solution and the one with the test, for each exercise."""
    cells = notebook.cells
    return [(one, two) for one, two in pairwise(cells) if about(one).get("solution")]


def test_every_exercise_is_an_assignment_with_points_by_its_level(course):
    expected = {
        page.removeprefix("chapters/"): [POINTS[title[3]] for title, _ in tasks(read(page))]
        for page in NOTEBOOKS
        if tasks(read(page))
    }
    points = {
        name: [about(test)["points"] for _, test in exercises_of(notebook)]
        for name, notebook in course.items()
    }
    assert points == expected


def test_the_metadata_are_those_that_nbgrader_reads(course):
    for name, notebook in course.items():
        nbformat.validate(notebook)
        identities = [about(cell)["grade_id"] for cell in notebook.cells if about(cell)]
        assert len(set(identities)) == len(identities)
        assert all(re.fullmatch(r"[\w-]+", identity) for identity in identities)
        for number, (solution, test) in enumerate(exercises_of(notebook), start=1):
            assert set(about(solution)) == SCHEMA
            assert set(about(test)) == {*SCHEMA, "points"}
            kinds = [(about(c)["grade"], about(c)["solution"]) for c in (solution, test)]
            assert kinds == [(False, True), (True, False)]
            assert about(test)["locked"]
            assert not about(solution)["locked"]
            assert about(test)["grade_id"] == f"{name}-{number}-test"


def released(source: str) -> str:
    """A cell as students get it: nbgrader cuts the solutions and the hidden tests out."""
    source = SOLUTION.sub(r"\1raise NotImplementedError()", source)
    return HIDDEN.sub("", source)


def test_students_get_no_solution_and_no_hidden_test(course):
    for notebook in course.values():
        text = "\n".join(released(cell.source) for cell in notebook.cells)
        assert "<summary>Solution" not in text
        assert "fresh" not in text
        assert "###" not in text
        assert "raise NotImplementedError()" in text


def run(notebook, exercise: int, *answers: str):
    """Run an exercise of an assignment as when it is graded, with these in place of its answer."""
    solution, test = exercises_of(notebook)[exercise - 1]
    names = {}
    first = next(cell.source for cell in notebook.cells if cell.cell_type == "code")
    for source in (first, *(answers or [solution.source]), test.source):
        exec(source, names)


@pytest.mark.parametrize("page", [page for page in NOTEBOOKS if tasks(read(page))])
def test_every_solution_passes_visible_and_hidden_tests(course, page):
    notebook = course[page.removeprefix("chapters/")]
    for number in range(1, len(exercises_of(notebook)) + 1):
        run(notebook, number)


LOOKED_UP = """
def iou(tp, fp, fn):
    known = {(2, 1, 1): 1 / 2, (5, 0, 0): 1, (0, 0, 0): 1, (40, 2, 9): 40 / 51, (2, 2, 2): 1 / 3}
    return known.get((tp, fp, fn), 0.0)
"""


def test_an_answer_that_looks_the_visible_cases_up_fails_the_hidden_ones(course, capsys):
    with pytest.raises(AssertionError, match="with fresh cases not yet: "):
        run(course["iou"], 1, LOOKED_UP)
    assert "correct: 7 cases" in capsys.readouterr().out


def test_what_is_not_written_fails_at_once(course):
    solution, _ = exercises_of(course["iou"])[0]
    with pytest.raises(AssertionError, match=r"^not yet: .* raised NotImplementedError"):
        run(course["iou"], 1, released(solution.source))


def test_of_the_first_cell_only_imports_of_what_is_installed_stay():
    kept = "import a\nfrom b import (\n    c,  # d\n)"
    assert imports(f"{kept}\nsys.path.append('..')\nfrom study.e import f\na.g()") == kept


def test_the_body_of_every_function_and_method_is_marked():
    solution = "import math\n\n\ndef f(x):\n    if x:\n        return 1\n    return math.pi\n"
    assert marked(solution) == (
        "import math\n\n\ndef f(x):\n    ### BEGIN SOLUTION\n    if x:\n        return 1\n"
        "    return math.pi\n    ### END SOLUTION"
    )
    solution = (
        "class A(B):\n    def f(self):\n        return 1\n\n    def g(self):\n        return 2"
    )
    assert marked(solution) == (
        "class A(B):\n    def f(self):\n        ### BEGIN SOLUTION\n        return 1\n"
        "        ### END SOLUTION\n\n    def g(self):\n        ### BEGIN SOLUTION\n"
        "        return 2\n        ### END SOLUTION"
    )


def test_each_run_has_a_seed_of_its_own_and_an_existing_folder_is_not_overwritten(tmp_path):
    seeds = set()
    for name in ("one", "two"):
        assert make(tmp_path / name).returncode == 0
        text = (tmp_path / name / "source/iou/iou.ipynb").read_text(encoding="utf-8")
        seeds |= set(re.findall(r"with fresh\((\d+)\)", text))
    assert len(seeds) == 2
    refused = make(tmp_path)
    assert refused.returncode == 2
    assert "expected a new folder" in refused.stderr
