"""The built book as readers see it: on a screen, a tablet and a phone, by day and by night."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from sphinx_external_toc.parsing import parse_toc_yaml

from .pages import bad_math, inaccessible, too_wide, watch

CONTENTS = list(parse_toc_yaml(Path(__file__).parents[2] / "_toc.yml"))
PAGES = [*CONTENTS, "search", "genindex"]
WIDTHS = [1400, 768, 360]
THEMES = ["light", "dark"]


@pytest.fixture
def page(browser):
    page = browser.new_page()
    yield page
    page.close()


def show(page, address: str, width: int = WIDTHS[0], theme: str = THEMES[0]):
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=theme)
    page.goto(address)


def test_the_build_takes_at_most_20_seconds(book):
    print(f"built in {book.seconds:.1f} s")
    assert book.seconds <= 20


@pytest.mark.parametrize("name", CONTENTS)
def test_a_page_and_its_pictures_weigh_at_most_1_mb(book, name):
    path = book.folder / f"{name}.html"
    pictures = set(re.findall(r'<img[^>]* src="([^":]+)"', path.read_text()))
    files = [path, *(path.parent / unquote(picture) for picture in pictures)]
    weight = sum(file.stat().st_size for file in files)
    print(f"{weight / 1e6:.2f} MB")
    assert weight <= 1e6


@pytest.mark.parametrize("name", PAGES)
def test_page(page, book, name):
    """At every width and in both themes, on one load: a page follows its window and its system."""
    problems = watch(page)
    show(page, f"file://{book.folder}/{name}.html")
    problems += bad_math(page)
    for theme in THEMES:
        page.emulate_media(color_scheme=theme)
        page.wait_for_selector(f"html[data-theme={theme}]")
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            problems += too_wide(page)
    assert problems == []


@pytest.mark.parametrize("name", PAGES)
def test_page_from_a_server(page, book, name):
    problems = watch(page)
    show(page, f"{book.address}/{name}.html")
    assert problems + bad_math(page) == []


@pytest.mark.parametrize(("width", "theme"), [(1400, "light"), (360, "dark")])
@pytest.mark.parametrize("name", PAGES)
def test_accessibility(page, book, name, width, theme):
    show(page, f"file://{book.folder}/{name}.html", width, theme)
    assert inaccessible(page) == []


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["file", "http"])
def test_search(page, book, scheme, width):
    problems = watch(page)
    base = {"file": f"file://{book.folder}", "http": book.address}[scheme]
    show(page, f"{base}/intro.html", width)
    fields = page.locator(".search-button__button:visible")
    assert fields.count() == 1
    fields.click()
    page.keyboard.type("deep supervision")
    page.keyboard.press("Enter")
    page.locator("#search-results a", has_text="U-Net++").first.click()
    page.wait_for_url("**/chapters/unetpp.html*")
    assert problems == []


def test_contents_on_a_phone(page, book):
    """They lie over the page, and go away when an entry is chosen."""
    problems = watch(page)
    show(page, f"file://{book.folder}/docs/api.html", 360)
    page.click(".secondary-toggle")
    contents = page.locator("#pst-secondary-sidebar-modal")
    assert contents.is_visible()
    contents.locator("a", has_text="UNetPlusPlus").first.click()
    page.wait_for_url("**#segedu.models.UNetPlusPlus")
    contents.wait_for(state="hidden")
    place = page.locator("[id='segedu.models.UNetPlusPlus']").bounding_box()
    assert 0 < place["y"] < 200
    assert problems == []


WRONG = {
    "asks outside": '<img alt="" src="http://outside.invalid/picture.png">',
    "not loaded": '<img alt="" src="missing.png">',
    "console error": "<script>console.error('wrong')</script>",
    "console warning": "<script>console.warn('odd')</script>",
    "uncaught": "<script>throw Error('wrong')</script>",
    "too wide": '<p style="width: 1500px">A long line</p>',
    "bad formula": '<p class="math">\\(x\\)</p>',
    "image-alt": '<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">',
    "color-contrast": '<p style="color: #ccc; background: #fff">Grey</p>',
    "scrollable-region-focusable": '<pre style="width: 9px; overflow: auto">A long line</pre>',
}


@pytest.mark.parametrize("kind", ["status 404", *WRONG, None])
def test_a_wrong_page_is_found_out(page, book, tmp_path, kind):
    """The checks themselves: each finds its own kind, and nothing on a page where all is well."""
    body = WRONG.get(kind, "<p>Well</p>")
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><title>A page</title>'
    (tmp_path / "page.html").write_text(f"{head}<main><h1>A page</h1>{body}</main>")
    problems = watch(page)
    show(page, f"{book.address}/none" if kind == "status 404" else f"file://{tmp_path}/page.html")
    page.wait_for_load_state("networkidle")
    problems += too_wide(page) + bad_math(page) + inaccessible(page)
    if kind is None:
        assert problems == []
    else:
        assert any(problem.startswith(kind) for problem in problems)
