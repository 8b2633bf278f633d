"""The built book as readers see it: on a screen, a tablet and a phone, by day and by night."""

import re
from itertools import product
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from playwright.sync_api import expect
from sphinx_external_toc.parsing import parse_toc_yaml

from .conftest import serving
from .pages import bad_math, inaccessible, too_wide, watch, write_and_open

ROOT = Path(__file__).parents[2]
CONTENTS = list(parse_toc_yaml(ROOT / "_toc.yml"))
PAGES = [*CONTENTS, "search", "genindex"]
WIDTHS = [1400, 768, 360]
THEMES = ["light", "dark"]
LOOKS = [(1400, "light"), (360, "dark")]  # in which the rules of accessibility are checked


@pytest.fixture(scope="module")
def addresses(book):
    """Where the book is, by scheme."""
    with serving(book.folder) as http:
        yield {"file": book.folder.as_uri(), "http": http}


def look(page, width: int = WIDTHS[0], theme: str = THEMES[0]):
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=theme)


def test_the_build_takes_at_most_30_seconds(book):
    """Of processor time, on which what else the machine is doing has less influence."""
    print(f"built in {book.seconds:.1f} s")
    assert book.seconds <= 30


@pytest.mark.parametrize("name", CONTENTS)
def test_a_page_and_its_pictures_weigh_at_most_1_mb(book, name):
    path = book.folder / f"{name}.html"
    pictures = set(re.findall(r'<img[^>]* src="([^":]+)"', path.read_text(encoding="utf-8")))
    files = [path, *(path.parent / unquote(picture) for picture in pictures)]
    weight = sum(file.stat().st_size for file in files)
    print(f"{weight / 1e6:.2f} MB")
    assert weight <= 1e6


@pytest.mark.parametrize("name", [name for name in CONTENTS if name.startswith("chapters/")])
def test_a_quote_with_a_bold_title_is_a_box(book, name):
    notebook = (ROOT / f"{name}.ipynb").read_text(encoding="utf-8")
    page = (book.folder / f"{name}.html").read_text(encoding="utf-8")
    titles = re.findall(r'"> \*\*(\w+)\*\*\\n",', notebook)
    boxes = re.findall(r'<div class="\w+ admonition">\n<p class="admonition-title">(\w+)</p>', page)
    assert boxes == titles
    assert "<blockquote" not in page


@pytest.mark.parametrize("name", PAGES)
def test_page(page, addresses, name):
    """At every width and in both themes, on one load: a page follows its window and its system.

    Half of the pages are checked for accessibility in one look, the other half in the other.
    """
    problems = watch(page)
    look(page, *LOOKS[PAGES.index(name) % 2])
    page.goto(f"{addresses['file']}/{name}.html")
    problems += bad_math(page) + inaccessible(page)
    for width, theme in product(WIDTHS, THEMES):
        look(page, width, theme)
        page.wait_for_selector(f"html[data-theme={theme}]")
        problems += too_wide(page)
    assert problems == []


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_page_from_a_server(page, addresses, name):
    """In the look that test_page leaves out."""
    problems = watch(page)
    look(page, *LOOKS[1 - PAGES.index(name) % 2])
    page.goto(f"{addresses['http']}/{name}.html")
    assert problems + bad_math(page) + inaccessible(page) == []


@pytest.mark.parametrize(
    ("scheme", "width"),
    [
        ("file", 1400),
        pytest.param("file", 768, marks=pytest.mark.slow),
        pytest.param("file", 360, marks=pytest.mark.slow),
        pytest.param("http", 1400, marks=pytest.mark.slow),
        pytest.param("http", 768, marks=pytest.mark.slow),
        ("http", 360),
    ],
)
def test_search(page, addresses, scheme, width):
    problems = watch(page)
    look(page, width)
    page.goto(f"{addresses[scheme]}/intro.html")
    fields = page.locator(".search-button__button:visible")
    expect(fields).to_have_count(1)
    fields.click()
    page.keyboard.type("deep supervision")
    page.keyboard.press("Enter")
    page.get_by_text("Search finished").wait_for()  # until then the list moves
    page.locator("#search-results a", has_text="U-Net++").first.click()
    page.wait_for_url("**/chapters/unetpp.html*")
    assert problems == []


def test_contents_on_a_phone(page, addresses):
    """They lie over the page, and go away when an entry is chosen."""
    problems = watch(page)
    look(page, 360)
    page.goto(f"{addresses['file']}/docs/api.html")
    page.click(".secondary-toggle")
    contents = page.locator("#pst-secondary-sidebar-modal")
    assert contents.is_visible()
    contents.locator("a", has_text="UNetPlusPlus").first.click()
    page.wait_for_url("**#segedu.models.UNetPlusPlus")
    contents.wait_for(state="hidden")
    place = page.locator("[id='segedu.models.UNetPlusPlus']").bounding_box()
    assert 0 < place["y"] < 200
    assert problems == []


FIRST = {  # of what a search finds, the page that explains it
    "receptive field": "chapters/unet.html",
    "focal loss": "chapters/losses.html",
    "deep supervision": "chapters/unetpp.html",
    "IoU": "chapters/iou.html",
    "threshold": "chapters/",
    "UNetPlusPlus": "docs/api.html",  # the name of a class
}


@pytest.mark.parametrize(("query", "first"), FIRST.items())
def test_search_finds_the_explanation_first(page, addresses, query, first):
    page.goto(f"{addresses['file']}/search.html?q={query}")
    page.wait_for_selector("#search-results li a")
    found = page.locator("#search-results li > a").evaluate_all(
        "links => links.map(link => link.getAttribute('href'))"
    )
    assert found[0].startswith(first)
    checks = [k for k, link in enumerate(found) if "#segedu.exercises" in link]
    assert all(k > found.index(link) for k in checks for link in found if "chapters/" in link)


def test_tour_of_the_first_page(page, addresses):
    """Each of its links brings the figure to what the link says."""
    problems = watch(page)
    look(page)
    page.goto(f"{addresses['file']}/intro.html")
    figure, tour = page.locator(".segedu-live"), page.locator("a[href^='#live?']")
    expect(figure.locator(".summary").first).to_contain_text("IoU")
    shown = []
    for link in tour.all():
        link.click()
        for name, value in parse_qsl(link.get_attribute("href").partition("?")[2]):
            if name == "skips_off":
                words = f"{value.count('_') + 1} of 20 skips off"
                expect(figure.locator(".summary").first).to_contain_text(words)
            elif name == "head":
                expect(figure.get_by_role("radio", name=f"L{value}", exact=True)).to_be_checked()
            else:
                expect(figure.locator(f"[name={name}]")).to_have_value(value)
        shown.append(page.url)
    assert len(set(shown)) == 5
    assert problems == []


def test_no_formula_that_fits_is_a_stop_of_the_tab_key(page, addresses):
    look(page)
    page.goto(f"{addresses['file']}/chapters/losses.html")
    assert bad_math(page) == []
    formulas = page.locator("mjx-container")
    assert formulas.count() > 20
    expect(formulas.and_(page.locator("[tabindex]"))).to_have_count(0)
    assert page.locator("mjx-assistive-mml").count() == formulas.count()  # for screen readers


@pytest.mark.parametrize("name", ["chapters/losses", "docs/teaching"])
def test_a_page_loads_what_it_needs(page, addresses, name):
    asked = []
    page.on("request", lambda request: asked.append(urlsplit(request.url).path))
    page.goto(f"{addresses['file']}/{name}.html")
    page.evaluate("document.fonts.ready")
    files = {path.rpartition("/")[2] for path in asked}
    assert "icons.woff" in files
    assert not files & {"fontawesome.js", "fa-solid-900.woff2", "searchindex.js", "menu.js"}
    has_formulas = page.locator(".math").count() > 0
    assert has_formulas == ("startup.js" in files) == (name == "chapters/losses")


def test_on_paper_answers_are_open_and_code_wraps(page, addresses):
    page.goto(f"{addresses['file']}/chapters/iou.html")
    answers = page.locator("details:not(.above-input)")
    assert answers.count() > 10
    closed = answers.and_(page.locator(":not([open])"))
    before = closed.count()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    expect(closed).to_have_count(0)
    page.emulate_media(media="print")
    cut = "blocks => blocks.filter(block => block.scrollWidth > block.clientWidth + 1).length"
    assert page.locator(".bd-article pre:visible").evaluate_all(cut) == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert closed.count() == before


def test_a_figure_is_enlarged_on_a_phone(page, addresses):
    problems = watch(page)
    look(page, 375)
    page.goto(f"{addresses['file']}/chapters/iou.html", wait_until="load")
    figure = page.locator(".bd-article img.enlargeable").first
    figure.click()
    large = page.locator("dialog.enlarged img")
    assert large.bounding_box()["width"] > 1.5 * figure.bounding_box()["width"]
    assert large.get_attribute("alt") == figure.get_attribute("alt")
    page.keyboard.press("Escape")
    expect(large).to_have_count(0)
    assert problems == []


@pytest.mark.parametrize("place", ["404.html", "chapters/404.html", "a/b/c/404.html"])
def test_a_missing_page_leads_to_the_first(page, addresses, place):
    """A server sends the page for an address that it does not have, however deep."""
    text = (Path(unquote(urlsplit(addresses["file"]).path)) / "404.html").read_text("utf-8")
    page.route(f"**/{place}", lambda route: route.fulfill(body=text, content_type="text/html"))
    page.goto(f"{addresses['http']}/{place}")
    page.get_by_role("link", name="first page").click()
    page.wait_for_url(f"{addresses['http']}/intro.html")


def test_pages_describe_themselves(book):
    descriptions = []
    for name in CONTENTS:
        page = (book.folder / f"{name}.html").read_text(encoding="utf-8")
        found = re.findall(r'<meta name="description" [^>]*content="(.+)">', page)
        descriptions += found
        assert len(found) == 1, name
        assert len(found[0]) > 40, name
        assert "og:image" not in page  # it and the next need the address of the book
        assert "canonical" not in page
    assert len(set(descriptions)) == len(CONTENTS)


WRONG = {  # what is found, by its first words, and what makes it
    "asks outside: http://outside": '<img alt="" src="http://outside.invalid/picture.png">',
    "not loaded: file:": '<img alt="" src="missing.png">',
    "console error: wrong": "<script>console.error('wrong')</script>",
    "console warning: odd": "<script>console.warn('odd')</script>",
    "uncaught: wrong": "<script>throw Error('wrong')</script>",
    "too wide: <p": '<p style="width: 1500px">A long line</p>',
    "bad formula": '<p class="math">\\(x\\)</p>',
    "image-alt": '<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">',
    "color-contrast": '<p style="color: #ccc; background: #fff">Grey</p>',
    "scrollable-region-focusable": '<pre style="width: 9px; overflow: auto">A long line</pre>',
}


def test_a_good_page_has_no_problems(page, tmp_path):
    problems = watch(page)
    write_and_open(page, tmp_path / "page.html", "<p>Well</p>")
    assert problems + too_wide(page) + bad_math(page) + inaccessible(page) == []


def test_every_kind_of_problem_is_found(page, addresses, tmp_path):
    problems = watch(page)
    page.goto(f"{addresses['http']}/none")
    write_and_open(page, tmp_path / "page.html", "\n".join(WRONG.values()))
    problems += too_wide(page) + bad_math(page) + inaccessible(page)
    for kind in ["status 404", *WRONG]:
        assert any(problem.startswith(kind) for problem in problems), kind
