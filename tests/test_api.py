"""The API page has every public name, and shows the sections of a docstring as they are meant."""

import doctest
import importlib.util
import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest

import segedu

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
MODULES = re.findall(r"automodule:: (\S+)", PAGE)


def documented(name: str) -> set[str]:
    """What Sphinx's automodule shows of a module: what `__all__` names, or what is its own."""
    module = import_module(name)
    own = {
        key
        for key, value in vars(module).items()
        if not key.startswith("_") and getattr(value, "__module__", None) == name
    }
    names = set(getattr(module, "__all__", own))
    return {key for key in names if inspect.getdoc(getattr(module, key))}


def test_every_public_name_of_the_package_is_on_the_page():
    shown = set().union(*map(documented, MODULES))
    assert {name for name in segedu.__all__ if f"segedu.{name}" not in MODULES} <= shown


@pytest.mark.parametrize("name", MODULES)
def test_every_module_on_the_page_says_what_it_is(name):
    assert import_module(name).__doc__
    assert documented(name)


def test_sections_become_definition_lists():
    spec = importlib.util.spec_from_file_location("docstrings", ROOT / "docs" / "docstrings.py")
    docstrings = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(docstrings)
    assert doctest.testmod(docstrings) == (0, 1)
    kept = "Some words: `a : b` in a line.\n\n>>> x = {1 : 2}"
    assert docstrings.to_rst(kept) == kept
