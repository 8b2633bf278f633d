"""A Sphinx extension for chapters in plain Markdown, which every viewer of notebooks can show.

A block quote that begins with a line in bold is a box in the book, and a formula may have `\\tag`,
a name in place of a number.
"""

from docutils import nodes
from sphinx.transforms import SphinxTransform

WARNINGS = {"Pitfall", "Warning"}


class Boxes(SphinxTransform):
    """Turns `> **Title**`, an empty line, and the rest of the quote into a box with that title."""

    default_priority = 400  # before citations and references are resolved

    def apply(self) -> None:
        for quote in list(self.document.findall(nodes.block_quote)):
            first, *rest = quote.children
            if not is_title(first) or not rest:
                continue
            title = first.astext()
            kind = "warning" if title in WARNINGS else "note"
            box = nodes.admonition(classes=[kind])
            box += nodes.title("", title)
            box += rest
            quote.replace_self(box)


def is_title(node: nodes.Node) -> bool:
    """Whether a node is a paragraph of bold text and nothing else."""
    parts = [child for child in node.children if child.astext()]
    return isinstance(node, nodes.paragraph) and [*map(type, parts)] == [nodes.strong]


class Tags(SphinxTransform):
    """Hands formulas with a tag to MathJax as they are; Sphinx would wrap them in `split`."""

    default_priority = 400

    def apply(self) -> None:
        for formula in self.document.findall(nodes.math_block):
            if r"\tag{" in formula.astext():
                text = f"\\begin{{equation}}\n{formula.astext().strip()}\n\\end{{equation}}"
                formula["nowrap"] = True
                formula.children = [nodes.Text(text)]


def setup(app):
    app.add_transform(Boxes)
    app.add_transform(Tags)
    return {"parallel_read_safe": True}
