"""A Sphinx extension for the API page: the sections of our docstrings as definition lists.

A parameter is documented by `name : what it is, and its shape`. numpydoc and napoleon would take
what follows the colon for a type, which a reader sees in brackets and Sphinx tries to link.
"""

import re

from sphinx.errors import PycodeError
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.inspect import signature, stringify_signature


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


def only_ours(analyze):
    """Looks for comments on attributes in our own source; in torch's it would take seconds."""

    def for_module(name: str) -> ModuleAnalyzer:
        if not name.startswith("segedu"):
            raise PycodeError(f"{name} is not ours")
        return analyze(name)

    return for_module


def setup(app):
    ModuleAnalyzer.for_module = only_ours(ModuleAnalyzer.for_module)

    def rewrite(app, what, name, obj, options, lines):
        lines[:] = to_rst("\n".join(lines)).split("\n")

    def skip(app, what, name, obj, skip, options):
        # What Python says of a NamedTuple's fields; we say it in its docstring.
        return True if (obj.__doc__ or "").startswith("Alias for field number") else None

    def own_signature(app, what, name, obj, options, arguments, result):
        # traitlets stands in front of the arguments that an explorer takes.
        if arguments == "(*args, **kwargs)":
            return stringify_signature(signature(obj), show_annotation=False), result

    app.connect("autodoc-process-docstring", rewrite)
    app.connect("autodoc-process-signature", own_signature)
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True}
