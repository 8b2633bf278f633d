"""Count what the checks say to a class: which misconception, how often, in which exercise.

    python tools/misconceptions.py FOLDER OUTFOLDER [--seconds 20]

Every notebook anywhere in FOLDER belongs to one student: a chapter, or an assignment of nbgrader.
Its first code cell is run; of the others only imports, functions, classes, plain values, and the
checks. This is the students' code: on this machine it may do whatever you may do.

OUTFOLDER gets `answers.csv`, a row for each exercise of each student, `misconceptions.csv`, a row
for each answer to each exercise with its number of students, and a bar chart for each exercise.
"""

import argparse
import ast
import contextlib
import faulthandler
import json
import os
import re
import sys
import tempfile
import textwrap
from collections import Counter
from multiprocessing import get_context
from pathlib import Path

import matplotlib
from matplotlib import pyplot as plt
from matplotlib.ticker import MaxNLocator

from segedu.files import write_rows
from segedu.plotting import use_style

CHECK = re.compile(r"\bexercises\.check_(\w+)\(")
SETUP = 120  # seconds that the first code cell, which imports torch, may take
STOPPED = "it took too long, or ended Python"
INVALID = "the cell is not valid Python"
KINDS = {  # by what an answer has in common with those of other students
    r"^correct: \d+ cases$": "correct",
    r" returns nothing: it is not written yet, ": "not written",
    r" raised NotImplementedError": "not written",
    r" raised \w+": "it raised an exception",
    r"\bin \d+ of \d+ cases the \w+ is wrong; ": "another mistake",
}


def kind(message: str) -> str:
    """The answer without what differs from student to student; a misconception stays as it is."""
    for pattern, name in KINDS.items():
        if re.search(pattern, message, re.S):
            return name
    return message.removeprefix("not yet: ")


def cells(notebook: Path) -> list[tuple[ast.Module | None, list[str]]]:
    """Of each code cell its statements, None if it is not valid, and the exercises it checks."""
    found = []
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            source = re.sub(r"^[%!].*$", "", "".join(cell["source"]), flags=re.M)
            try:
                statements = ast.parse(source)
            except SyntaxError:
                statements = None
            found.append((statements, list(dict.fromkeys(CHECK.findall(source)))))
    return found


def work(notebook: Path, done: Path, seconds: int) -> None:
    """Run a notebook's checks, except those in the file `done`; each adds its answer there.

    It has a process of its own, which ends where a check takes too long.
    """
    known = said(done)
    os.chdir(notebook.parent)
    matplotlib.use("agg")
    names = {"__name__": "__main__"}
    nowhere = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    with done.open("a", encoding="utf-8") as file, contextlib.redirect_stdout(nowhere):
        for number, (statements, exercises) in enumerate(cells(notebook)):
            faulthandler.dump_traceback_later(SETUP, exit=True, file=nowhere)
            for statement in statements.body if statements else []:
                if number == 0 or is_definition(statement):
                    with contextlib.suppress(BaseException):  # the checks will miss it
                        exec(compile(ast.Module([statement], []), str(notebook), "exec"), names)
            for exercise in exercises:
                if exercise not in known:
                    faulthandler.dump_traceback_later(seconds, exit=True, file=nowhere)
                    message = answer(statements, exercise, names) if statements else INVALID
                    print(json.dumps([exercise, message]), file=file, flush=True)


def is_definition(statement: ast.stmt) -> bool:
    """Whether a statement is an import, a function, a class, or a value that needs no call."""
    if isinstance(statement, ast.Assign):
        return not any(isinstance(node, ast.Call) for node in ast.walk(statement))
    return isinstance(statement, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef)


def answer(statements: ast.Module, exercise: str, names: dict) -> str:
    """What the check of an exercise says, or what it raised."""
    calls = [ast.unparse(node) for node in ast.walk(statements) if isinstance(node, ast.Call)]
    call = next(call for call in calls if call.startswith(f"exercises.check_{exercise}("))
    try:
        return eval(call, names).message
    except BaseException as error:  # SystemExit too
        return f"it raised {type(error).__name__}: {error}"


def said(done: Path) -> dict[str, str]:
    return dict(map(json.loads, done.read_text(encoding="utf-8").splitlines()))


def answers(notebook: Path, seconds: int) -> dict[str, str]:
    """What the checks say to a notebook, exercise by exercise."""
    exercises = list(dict.fromkeys(name for _, names in cells(notebook) for name in names))
    with tempfile.TemporaryDirectory() as folder:
        done = Path(folder) / "done.jsonl"
        done.touch()
        while missing := [name for name in exercises if name not in said(done)]:
            arguments = notebook.absolute(), done, seconds
            process = get_context("spawn").Process(target=work, args=arguments)
            process.start()
            process.join()
            if missing[0] not in said(done):
                with done.open("a", encoding="utf-8") as file:
                    print(json.dumps([missing[0], STOPPED]), file=file)
        return said(done)


def chart(exercise: str, counts: Counter, path: Path) -> None:
    """A bar for each kind of answer, the most frequent at the top."""
    kinds, numbers = zip(*counts.most_common(), strict=True)
    labels = ["\n".join(textwrap.wrap(name, 60)) for name in kinds]
    lines = sum(label.count("\n") + 1 for label in labels)
    figure, ax = plt.subplots(figsize=(9, 1.2 + 0.25 * lines), layout="constrained")
    ax.bar_label(ax.barh(labels, numbers), padding=3)
    ax.invert_yaxis()
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(title=exercise, xlabel=f"students, of {counts.total()}")
    figure.savefig(path)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="with the notebooks of the class")
    parser.add_argument("outfolder", type=Path, help="the new folder to create")
    parser.add_argument("--seconds", type=int, default=20, help="for each check; 20 by default")
    options = parser.parse_args()
    folder, out = options.folder, options.outfolder
    notebooks = [p for p in sorted(folder.rglob("*.ipynb")) if ".ipynb_checkpoints" not in p.parts]
    if not notebooks:
        parser.error(f"expected notebooks (*.ipynb) in {folder}, got none")
    if out.exists():
        parser.error(f"expected a new folder, but {out} exists: choose another name")

    use_style()
    rows, counts = [], {}
    for path in notebooks:
        student = path.relative_to(folder).with_suffix("").as_posix()
        print(student, flush=True)
        try:
            found = answers(path, options.seconds)
        except (KeyError, TypeError, ValueError):
            print(f"warning: {path} is left out: it is not a notebook", file=sys.stderr)
            continue
        for exercise, message in found.items():
            rows.append({"student": student, "exercise": exercise, "answer": message})
            counts.setdefault(exercise, Counter())[kind(message)] += 1
    out.mkdir(parents=True)
    write_rows(out / "answers.csv", rows)
    by_kind = [
        {"exercise": exercise, "answer": name, "students": number}
        for exercise, counter in counts.items()
        for name, number in counter.most_common()
    ]
    write_rows(out / "misconceptions.csv", by_kind)
    for exercise, counter in counts.items():
        chart(exercise, counter, out / f"{exercise}.png")


if __name__ == "__main__":
    main()
