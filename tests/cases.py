"""What people do with the package, and what happens then: the rows of `docs/what_happens.md`.

Each case is a function of an empty folder that raises an error or returns a sentence about the
outcome. The test compares the outcome with the page; `python -m tests.cases` writes the page anew.
"""

import itertools
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).parents[1] / "docs" / "what_happens.md"
HEAD = """\
# What happens if ...

Every row is a test: it does what the first cell says and compares the outcome with the second cell.
An answer that begins with `ValueError` or `OSError` is an exception in Python and one line on the
command line; `./` is the folder of the files.
"""


class Case(NamedTuple):
    topic: str  # heading on the page
    what: str  # completes "What happens if ..."
    act: Callable[[Path], str]  # raises an error, or returns the outcome in words


def answer(case: Case, folder: Path) -> str:
    """The outcome of a case, on one line and without the name of its folder."""
    try:
        said = case.act(folder) or "nothing is said"
    except (Exception, KeyboardInterrupt) as error:
        said = f"{type(error).__name__}: {error}"
    return " ".join(said.replace(f"{folder}", ".").split())


def row(case: Case, said: str) -> str:
    cell = said.replace("|", "\\|").replace("`", "'")
    return f"| {case.what} | `{cell}` |"


def page(cases: Iterable[Case]) -> str:
    """The whole page, with every case tried."""
    parts = [HEAD]
    for topic, group in itertools.groupby(cases, key=lambda case: case.topic):
        parts += [f"\n## {topic}\n", "| What happens if ... | |", "|---|---|"]
        for case in group:
            with tempfile.TemporaryDirectory() as folder:
                parts.append(row(case, answer(case, Path(folder))))
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    from tests import cases_data, cases_training

    text = page([*cases_training.CASES, *cases_data.CASES])
    PAGE.write_text(text, encoding="utf-8", newline="\n")
