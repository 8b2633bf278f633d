"""What people do to the package, and what comes of it: the rows of `docs/what_happens.md`.

Each case is a deed in an empty folder. It raises, or it returns a sentence on what it gave. The
test compares that with the page, and `python -m tests.cases` writes the page anew.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Case(NamedTuple):
    topic: str  # heading on the page
    what: str  # what somebody does, as it ends "What happens if ..."
    act: Callable[[Path], str]  # raises, or returns what one sees
