"""A Sphinx extension for the exercises and the quiz of a page.

What a check says to an exercise that nobody has solved yet is in the notebooks, where the tests
compare it. The book, in which no cell can run, shows a line in its place that says where one can.
And a page with exercises or a quiz has an empty line at its top, for _static/progress.js to fill.
"""

from docutils import nodes
from sphinx.transforms import SphinxTransform

from segedu.exercises.answer import NOTHING

SENTENCE = "Run this cell in JupyterLab or Colab to have your answer checked."


class Unsolved(SphinxTransform):
    """Puts the sentence in place of the output of a cell that only says `... returns nothing`."""

    default_priority = 400

    def apply(self) -> None:
        outputs = list(self.document.findall(is_unsolved))
        for output in outputs:
            output.replace_self(nodes.paragraph("", SENTENCE, classes=["unsolved"]))
        if outputs or any(
            'class="quiz"' in raw.astext() for raw in self.document.findall(nodes.raw)
        ):
            title = next(iter(self.document.findall(nodes.title)))
            title.parent.insert(1, nodes.paragraph(classes=["progress-line"]))


def is_unsolved(node: nodes.Node) -> bool:
    """Whether a node is the output of a cell whose exercise waits for an answer."""
    if not isinstance(node, nodes.container) or node.get("nb_element") != "cell_code_output":
        return False
    text = node.astext().strip()
    return text.startswith("not yet: ") and text.endswith(NOTHING)


def setup(app):
    app.add_transform(Unsolved)
    return {"parallel_read_safe": True}
