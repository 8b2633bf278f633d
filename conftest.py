"""How the chapters and tests share the cores when `pytest -n` runs them in several processes."""

import os

import pytest

# One torch thread in each process, in the kernels of the notebooks and in every other program that
# the tests start. Torch reads it when it is imported, which comes later.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"

# The files that take longest, slow tests included, start first, so that all processes end together.
LONGEST = [
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
