"""What several test modules share: the archive of real nuclei, where there is one, and the book."""

import os
from pathlib import Path
from typing import NamedTuple

import pytest
from filelock import FileLock

from tests.helpers import build_book

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def nuclei_zip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of real nuclei, linked into a folder of its own that takes the cache."""
    beside = ROOT.parent / "shared" / "data" / "stage1_train_public.zip"
    source = Path(os.environ.get("SEGEDU_NUCLEI", beside)).absolute()
    if not source.exists():
        reason = f"no archive of real nuclei at {source}: set SEGEDU_NUCLEI to its path"
        if os.environ.get("SEGEDU_REQUIRE_DATA") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    link = tmp_path_factory.mktemp("nuclei") / source.name
    link.symlink_to(source)
    return link


class Book(NamedTuple):
    folder: Path  # of the HTML pages
    seconds: float  # of processor time that the build took


@pytest.fixture(scope="session")
def book(tmp_path_factory: pytest.TempPathFactory) -> Book:
    """The book, built from nothing with every warning an error, once for all test processes."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # one of several processes, in a folder of its own
        shared = shared.parent
    output, built = shared / "book", shared / "book.seconds"
    with FileLock(shared / "book.lock"):
        if not built.exists():
            start = children_seconds()
            build_book(ROOT, output)
            built.write_text(str(children_seconds() - start), encoding="utf-8")
    return Book(output / "_build" / "html", float(built.read_text(encoding="utf-8")))


def children_seconds() -> float:
    """Processor time of the programs that this process has started, and that have ended."""
    times = os.times()
    return times.children_user + times.children_system
