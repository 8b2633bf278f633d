"""A Sphinx extension for the API page: the sections of our docstrings as definition lists.

A parameter is documented by `name : what it is, and its shape`. numpydoc and napoleon would take
what follows the colon for a type, which a reader sees in brackets and Sphinx tries to link.
"""

import re


def to_rst(text: str) -> str:
    """A docstring with its sections in reStructuredText.

    >>> print(to_rst("Parameters\\n----------\\nalpha, beta : weights"))
    .. rubric:: Parameters
    <BLANKLINE>
    alpha, beta
        weights
    """
    text = re.sub(r"^([A-Z]\w+)\n-{3,}$", r".. rubric:: \1\n", text, flags=re.M)
    return re.sub(r"^(\w+(?:, \w+)*) : (?=\S)", r"\1\n    ", text, flags=re.M)


def setup(app):
    def rewrite(app, what, name, obj, options, lines):
        lines[:] = to_rst("\n".join(lines)).split("\n")

    def skip(app, what, name, obj, skip, options):
        # What Python says of a NamedTuple's fields; we say it in its docstring.
        return True if (obj.__doc__ or "").startswith("Alias for field number") else None

    app.connect("autodoc-process-docstring", rewrite)
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True}
