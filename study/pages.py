"""Tables in the pages of the book, between two marks, written by the program that measured them."""

from collections.abc import Sequence
from pathlib import Path

from segedu.files import atomic_path

DOCS = Path(__file__).parents[1] / "docs"


def markdown_table(head: Sequence[str], lines: Sequence[Sequence[str]], align: str = "") -> str:
    """A table in Markdown.

    Parameters
    ----------
    head : the names of the columns.
    lines : the cells.
    align : a letter for each column, l or r; all to the left if not given.

    >>> print(markdown_table(["arm", "IoU"], [["unet", "0.85"]], "lr"))
    | arm | IoU |
    | --- | ---: |
    | unet | 0.85 |
    """
    rule = ["---:" if letter == "r" else "---" for letter in align or "l" * len(head)]
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, rule, *lines])


def marks(name: str) -> tuple[str, str]:
    return f"<!-- {name} begin -->\n", f"<!-- {name} end -->\n"


def write_part(page: Path, name: str, text: str) -> None:
    """Put a text between its marks in a page, in place of what stood there."""
    begin, end = marks(name)
    before, rest = page.read_text(encoding="utf-8").split(begin)
    after = rest.split(end)[1]
    with atomic_path(page) as temporary:
        temporary.write_text(before + begin + text + end + after, encoding="utf-8", newline="\n")
