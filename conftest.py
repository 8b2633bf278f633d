"""How the tests share the cores under `pytest -n`, and how much memory a chapter may take."""

import os
import re
from pathlib import Path

import pytest

# One torch thread in each process, in the kernels of the notebooks and in every other program that
# the tests start. Torch reads it when it is imported, which comes later.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"

# The files that take longest, slow tests included, start first, so that all processes end together.
LONGEST = [
    "tests/test_device.py",
    "tests/test_study.py",
    "tests/browser/test_site.py",
    "tests/test_training.py",
    "chapters/unetpp.ipynb",
    "tests/test_stopping.py",
    "tests/test_cli.py",
    "chapters/losses.ipynb",
    "chapters/results.ipynb",
]


def pytest_configure(config: pytest.Config):
    config.option.loadscopereorder = False  # xdist would sort the files by their number of tests


def pytest_collection_modifyitems(items: list[pytest.Item]):
    rank = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.nodeid.partition("::")[0], len(rank)))


MOST_MEMORY = 1.5  # GiB that a chapter may take at its peak: Binder gives 2


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None):
    """Look at the memory after the last cell of a notebook, before its kernel ends (on Linux)."""
    kernel, peak = getattr(item.parent, "kernel", None), 0
    if kernel and (nextitem is None or nextitem.parent is not item.parent):
        status = Path(f"/proc/{kernel.km.provisioner.pid}/status")
        if status.exists():
            text = status.read_text(encoding="utf-8")
            peak = int(re.search(r"VmHWM:\s*(\d+) kB", text)[1]) / 2**20
            print(f"{item.parent.name} took {peak:.2f} GiB of memory at its peak")
    yield
    assert peak < MOST_MEMORY, f"a chapter may take {MOST_MEMORY} GiB of memory, got {peak:.2f}"
