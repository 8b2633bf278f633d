"""The owner's command for the repository's address, on a copy of the course."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import build_book

ROOT = Path(__file__).parent.parent
ADDRESS = "https://github.com/someone/a-course"


@pytest.fixture
def course(tmp_path):
    """A copy of what the book is built from."""
    for name in ["_static", "chapters", "docs", "img", "tools"]:
        ignored = shutil.ignore_patterns("__pycache__")  # other processes may be writing there
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    for name in ["_config.yml", "_toc.yml", "intro.md", "references.md", "references.bib"]:
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def set_address(course, *arguments):
    command = [sys.executable, course / "tools" / "set_address.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def state(course):
    files = [course / "_config.yml", *sorted((course / "chapters").glob("*.ipynb"))]
    return {file.name: file.read_bytes() for file in files}


def test_set_again_and_unset(course):
    original = state(course)
    assert set_address(course, ADDRESS).returncode == 0
    once = state(course)
    assert all(ADDRESS.encode() in content for content in once.values())
    assert set_address(course, f"{ADDRESS}.git").returncode == 0
    assert state(course) == once
    assert set_address(course, "https://github.com/other/place", "--branch", "next").returncode == 0
    assert not any(b"someone/a-course" in content for content in state(course).values())
    assert set_address(course, "--unset").returncode == 0
    assert state(course) == original


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["https://github.com/someone"],
        ["http://github.com/someone/a-course"],
        ["https://gitlab.com/someone/a-course"],
        ["git@github.com:someone/a-course"],
        ["https://github.com/someone/a-course/tree/main"],
        ["https://github.com/someone/a course"],
        [ADDRESS, "--unset"],
        [ADDRESS, "--branch", "; rm"],
    ],
)
def test_other_addresses_are_refused(course, arguments):
    original = state(course)
    refused = set_address(course, *arguments)
    assert refused.returncode == 2
    assert "usage:" in refused.stderr
    assert state(course) == original


def test_without_an_address_a_chapter_points_to_no_service(book):
    page = (book.folder / "chapters" / "unet.html").read_text(encoding="utf-8")
    assert not any(service in page for service in ["github.com", "mybinder", "colab"])


@pytest.mark.slow
def test_with_an_address_the_book_has_buttons_and_links(course):
    set_address(course, ADDRESS)
    page = (build_book(course, course) / "chapters" / "unet.html").read_text(encoding="utf-8")
    targets = [
        f'href="{ADDRESS}"',
        f'href="{ADDRESS}/edit/main/chapters/unet.ipynb"',
        'href="https://mybinder.org/v2/gh/someone/a-course/main'
        '?urlpath=lab/tree/chapters/unet.ipynb"',
        'href="https://colab.research.google.com/github/someone/a-course/blob/main/'
        'chapters/unet.ipynb"',
    ]
    assert [target for target in targets if target not in page] == []
    assert "git clone" not in page


def test_the_set_up_cell_does_nothing_outside_colab(course):
    set_address(course, ADDRESS)
    for path in (course / "chapters").glob("*.ipynb"):
        title, _, set_up = json.loads(path.read_text(encoding="utf-8"))["cells"][:3]
        assert title["source"][0].startswith("# ")
        command = [sys.executable, "-m", "IPython", "-c", "".join(set_up["source"])]
        ran = subprocess.run(command, capture_output=True, text=True)
        assert (ran.returncode, ran.stdout) == (0, "")
