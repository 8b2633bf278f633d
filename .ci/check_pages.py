"""Fail if a page of the contents is missing from the built book, next to empty, or heavy."""

import re
import shutil
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

from playwright.sync_api import sync_playwright
from sphinx_external_toc.parsing import parse_toc_yaml

HEAVIEST = 2.5  # MB, with all that a page loads

problems = []


def weight(browser, path):
    """The size of all files that a page loads, in MB."""
    files = set()
    page = browser.new_page()
    page.on("response", lambda response: files.add(unquote(urlsplit(response.url).path)))
    page.goto(path.absolute().as_uri())
    page.evaluate("window.MathJax?.startup?.promise.then(() => document.fonts.ready)")
    page.close()
    return sum(Path(file).stat().st_size for file in files if Path(file).is_file()) / 1e6


with sync_playwright() as playwright:
    executable = shutil.which("chromium")
    # A container runs as root, where Chromium has no sandbox.
    browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
    for entry in parse_toc_yaml("_toc.yml"):
        page = Path("_build/html", f"{entry}.html")
        if not page.exists():
            problems.append(f"{page} is missing")
            continue
        text = page.read_text(encoding="utf-8")
        article = text.partition("<article")[2].partition("</article>")[0]
        words = re.sub(r"<[^>]+>", " ", article).split()
        megabytes = weight(browser, page)
        print(f"{page}: {len(words)} words, {megabytes:.2f} MB")
        if "<h1" not in article or len(words) < 30:
            problems.append(f"{page} is empty")
        if missing := [
            source
            for source in re.findall(r'<img[^>]*src="([^":]+)"', article)
            if not (page.parent / unquote(source)).exists()
        ]:
            problems.append(f"{page} lacks the pictures {missing}")
        if megabytes > HEAVIEST:
            problems.append(f"{page} loads {megabytes:.2f} MB, more than {HEAVIEST}")
    browser.close()
sys.exit("\n".join(problems) or 0)
