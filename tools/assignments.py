"""Write the exercises as assignments for nbgrader, a notebook for each chapter that has some.

    python tools/assignments.py OUTFOLDER [--seed NUMBER]

OUTFOLDER becomes a course folder of nbgrader, with `source/iou/iou.ipynb` and so on. Each exercise
has its task, a cell with the solution, and a cell that runs the check. When nbgrader grades, this
cell runs the check once more, with fresh cases that are made from the seed.
"""

import argparse
import ast
import re
import secrets
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

CHAPTERS = Path(__file__).parents[1] / "chapters"
POINTS = {"easy": 1, "medium": 2, "hard": 3}
TASK = re.compile(r"^\*\*(?:Exercise )?(\d+)\. .+?\*\* \((\w+)\)", re.M)
SOLUTION = re.compile(
    r"^<details><summary>Solution</summary>.*?^```python\n(.*?)^```$", re.M | re.S
)
OPENING = """\
# {title}: exercises

These are the exercises of the chapter *{title}*. Read the chapter first: the tasks use its names
and equations. Write your code where a cell says `YOUR CODE HERE`, and run the cell below it, which
checks it. You may do so as often as you like. When your work is graded, the same checks run with
other values."""
TEST = """\
answer = {call}
print(answer)
assert answer.correct, answer.message
### BEGIN HIDDEN TESTS
from segedu.exercises.fresh import fresh

with fresh({seed}):
    answer = {call}
assert answer.correct, f"with fresh cases {{answer.message}}"
### END HIDDEN TESTS"""


def assignment(chapter, name: str, seed: int):
    """The notebook of a chapter's exercises; None if it has none."""
    cells = [cell for cell in chapter.cells if not cell.id.startswith("colab-")]
    first = next(cell.source for cell in cells if cell.cell_type == "code")
    title = re.search(r"^# (.+)$", cells[0].source, re.M)[1]
    made = [new_markdown_cell(OPENING.format(title=title)), new_code_cell(imports(first))]
    for k, cell in enumerate(cells):
        if cell.cell_type == "markdown" and (task := TASK.search(cell.source)):
            number, level = task.groups()
            identity = f"{name}-{number}"
            starter, solution = cells[k + 1].source, SOLUTION.search(cells[k + 2].source)
            if solution is None:
                raise SystemExit(
                    f"{name}: expected the solution of exercise {number} two cells below its task"
                )
            test = TEST.format(call=call_of_check(starter), seed=seed)
            made += [
                new_markdown_cell(cell.source[task.start() :]),
                new_code_cell(marked(solution[1]), metadata=nbgrader(identity, solution=True)),
                new_code_cell(test, metadata=nbgrader(f"{identity}-test", points=POINTS[level])),
            ]
    for number, cell in enumerate(made):
        cell.id = f"{name}-{number}"
    return new_notebook(cells=made, metadata=chapter.metadata) if len(made) > 2 else None


def imports(source: str) -> str:
    """The imports of a first cell, except from the folder study: it is not where nbgrader runs."""
    found = [s for s in ast.parse(source).body if isinstance(s, ast.Import | ast.ImportFrom)]
    lines = [ast.get_source_segment(source, statement) for statement in found]
    return "\n".join(line for line in lines if not re.match(r"(from|import) study\b", line))


def call_of_check(starter: str) -> str:
    """The call `exercises.check_...(...)` in a starter cell."""
    calls = [node for node in ast.walk(ast.parse(starter)) if isinstance(node, ast.Call)]
    (call,) = [c for c in map(ast.unparse, calls) if c.startswith("exercises.check_")]
    return call


def marked(solution: str) -> str:
    """A solution with nbgrader's marks around the body of each function and each method."""
    statements = ast.parse(solution).body
    methods = [part for one in statements if isinstance(one, ast.ClassDef) for part in one.body]
    lines = solution.rstrip().splitlines()
    for function in reversed([*statements, *methods]):
        if isinstance(function, ast.FunctionDef):
            first, last = function.body[0], function.body[-1]
            indent = " " * first.col_offset
            lines.insert(last.end_lineno, f"{indent}### END SOLUTION")
            lines.insert(first.lineno - 1, f"{indent}### BEGIN SOLUTION")
    return "\n".join(lines)


def nbgrader(identity: str, *, solution: bool = False, points: int | None = None) -> dict:
    """The metadata of a cell, by nbgrader's schema 3."""
    graded = {"grade": points is not None, "locked": not solution, "solution": solution}
    about = {"schema_version": 3, "grade_id": identity, "task": False, **graded}
    return {"nbgrader": about if points is None else {**about, "points": points}}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("outfolder", type=Path, help="the new folder to create")
    parser.add_argument(
        "--seed",
        type=int,
        default=secrets.randbelow(10**6),
        help="of the fresh cases; by default one that nobody can guess",
    )
    options = parser.parse_args()
    if options.outfolder.exists():
        parser.error(f"expected a new folder, but {options.outfolder} exists: choose another name")
    for path in sorted(CHAPTERS.glob("*.ipynb")):
        chapter = nbformat.read(path, as_version=4)
        made = assignment(chapter, path.stem, options.seed)
        if made:
            out = options.outfolder / "source" / path.stem / path.name
            out.parent.mkdir(parents=True)
            nbformat.write(made, out)
            print(out)


if __name__ == "__main__":
    main()
