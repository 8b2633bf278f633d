"""Tell the course where its repository is, or make it forget.

    python tools/set_address.py https://github.com/OWNER/REPO [--branch BRANCH]
    python tools/set_address.py --unset

Writes the address into _config.yml, which brings the book's buttons for the repository, Binder and
Colab, and puts a link and a set-up cell for Colab into each chapter. Run again, it replaces what it
wrote; --unset leaves every file as it was.
"""

import argparse
import json
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
COLAB = "https://colab.research.google.com"
SET_UP = """\
import sys

if "google.colab" in sys.modules:  # fetch the course; elsewhere it is there already
    !git clone --quiet --depth 1 --branch {branch} {address} /content/course
    %cd -q /content/course/chapters
    %pip install --quiet "..[chapters]\""""


def configured(text: str, address: str, branch: str) -> str:
    """_config.yml with every key that depends on the address; "" is none."""
    known = bool(address)
    values = {
        "url": address,
        "branch": branch,
        "binderhub_url": "https://mybinder.org" if known else "",
        "colab_url": COLAB if known else "",
        "use_repository_button": known,
        "use_issues_button": known,
        "use_edit_page_button": known,
    }
    for key, value in values.items():
        text, found = re.subn(rf"^(  {key}: ).*$", rf"\g<1>{json.dumps(value)}", text, flags=re.M)
        if found != 1:
            raise SystemExit(f"_config.yml has {found} lines '  {key}:', expected one")
    return text


def linked(notebook: dict, name: str, address: str, branch: str) -> dict:
    """The chapter with its two cells for Colab, below the title; "" takes them out."""
    cells = [cell for cell in notebook["cells"] if not cell["id"].startswith("colab-")]
    if address:
        page = f"{COLAB}/{address.replace('https://github.com', 'github')}/blob/{branch}/{name}"
        link = {
            "cell_type": "markdown",
            "id": "colab-link",
            "metadata": {},
            "source": [f"[Open this chapter in Colab]({page})"],
        }
        set_up = {
            "cell_type": "code",
            "execution_count": None,
            "id": "colab-setup",
            "metadata": {"tags": ["remove-cell"]},  # from the book
            "outputs": [],
            "source": SET_UP.format(address=address, branch=branch).splitlines(keepends=True),
        }
        cells[1:1] = [link, set_up]
    return {**notebook, "cells": cells}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("address", nargs="?", default="", help="https://github.com/OWNER/REPO")
    given.add_argument("--unset", action="store_true", help="forget the address")
    parser.add_argument("--branch", default="main", help="that the links lead to (default: main)")
    options = parser.parse_args()
    address = options.address.removesuffix("/").removesuffix(".git")
    if not options.unset and not re.fullmatch(r"https://github\.com/[\w-]+/[\w.-]+", address):
        parser.error(
            f"got the address {options.address!r}, expected https://github.com/OWNER/REPO "
            "(Colab opens notebooks from GitHub)"
        )
    if not re.fullmatch(r"\w[\w./-]*", options.branch):
        parser.error(f"got the branch {options.branch!r}, expected letters, digits and . / _ -")

    branch = parser.get_default("branch") if options.unset else options.branch
    config = ROOT / "_config.yml"
    text = configured(config.read_text(encoding="utf-8"), address, branch)
    config.write_text(text, encoding="utf-8", newline="\n")
    for path in (ROOT / "chapters").glob("*.ipynb"):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        notebook = linked(notebook, f"chapters/{path.name}", address, branch)
        text = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
        path.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
