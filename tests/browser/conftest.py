"""A real browser, the built book, and a server for it."""

import os
import shutil
import subprocess
import sys
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="package")
def browser():
    """Playwright's browser: the Chromium that the system brings.

    It ends with the package, because asyncio serves nobody else in the process while it lives.
    """
    executable = shutil.which("chromium")
    missing = "no chromium on the PATH" if executable is None else "no package playwright"
    if executable is None or find_spec("playwright") is None:
        if os.environ.get("SEGEDU_REQUIRE_BROWSER") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # A container runs as root, where Chromium has no sandbox.
        chromium = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield chromium
        chromium.close()


class Book(NamedTuple):
    folder: Path  # of the HTML pages
    seconds: float  # that the build took
    address: str  # of the local server that hands them out


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Keep the requests out of the tests' output."""


@pytest.fixture(scope="package")
def book(tmp_path_factory: pytest.TempPathFactory):
    """The book, built from nothing with every warning an error."""
    output = tmp_path_factory.mktemp("book")
    command = [Path(sys.executable).with_name("jupyter-book"), "build", ROOT, "-W", "-n"]
    start = time.perf_counter()
    built = subprocess.run([*command, "--path-output", output], capture_output=True, text=True)
    seconds = time.perf_counter() - start
    assert built.returncode == 0, built.stdout + built.stderr
    folder = output / "_build" / "html"
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Book(folder, seconds, f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
