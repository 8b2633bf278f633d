"""A real browser, and a server for pages."""

import os
import shutil
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import pytest


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
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=30_000)  # milliseconds: the other processes are busy, too
    with sync_playwright() as playwright:
        # A container runs as root, where Chromium has no sandbox.
        chromium = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser):
    page = browser.new_page(viewport={"width": 800, "height": 900})
    yield page
    page.close()


@pytest.fixture(scope="package")
def blank(browser):
    """An empty page for tests that only compute in it."""
    page = browser.new_page()
    yield page
    page.close()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Keep the requests out of the tests' output."""


@contextmanager
def serving(folder: Path):
    """A server for the files of a folder: its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
