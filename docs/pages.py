"""A Sphinx extension for what a page loads, and what it says of itself to those who link to it.

Sphinx adds the canonical link where `html_baseurl` is set.
"""

import json
import re
from html import escape
from importlib.metadata import distribution
from pathlib import Path

from docutils import nodes
from fontTools.subset import Subsetter
from fontTools.ttLib import TTFont
from sphinx.errors import ExtensionError
from sphinx.util.fileutil import copy_asset

LONGEST = 220  # characters of a description
PICTURE = "_static/preview.png"
CHAPTERS = Path(__file__).parents[1] / "chapters"


def without(text: str, *files: str) -> str:
    """The HTML without the scripts and style sheets of these names.

    >>> without('<script src="a.js?v=1"></script><link href="_static/b.css" />', "b.css")
    '<script src="a.js?v=1"></script>'
    """
    names = "|".join(map(re.escape, files))
    address = rf'(?:src|href)="(?:[^"]*/)?(?:{names})(?:\?[^"]*)?"'
    return re.sub(rf"<(?:script [^>]*{address}[^>]*></script>|link [^>]*{address}[^>]*>)", "", text)


def shortened(text: str, longest: int = LONGEST) -> str:
    """The sentences from the start that fit; where not even the first does, its words.

    >>> shortened("It rains. It pours.", 12)
    'It rains.'
    >>> shortened("A very long sentence.", 12)
    'A very …'
    """
    text = " ".join(text.split())
    if len(text) <= longest:
        return text
    start = text[:longest]
    sentences = re.match(r".*[.?!](?= )", start)
    return sentences.group() if sentences else start[: longest - 1].rpartition(" ")[0] + " …"


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def describe(app, page, template, context, doctree):
    """Adds the description, the page's first paragraph, and what a preview of a link shows."""
    if doctree is None:  # a page without a source, such as the search
        return
    paragraphs = [
        node
        for node in doctree.findall(nodes.paragraph)
        if isinstance(node.parent, nodes.section)
        and node.astext()  # one is empty, for the script that keeps the reader's progress
        and not node.next_node(nodes.math)
    ]
    title = re.sub(r"<[^>]+>", "", context["title"])
    tags = {"og:type": "article", "og:title": title, "og:site_name": app.config.html_title}
    if paragraphs:
        tags["og:description"] = shortened(paragraphs[0].astext())
    if app.config.html_baseurl:  # the picture needs a whole address
        tags["og:image"] = app.config.html_baseurl.rstrip("/") + "/" + PICTURE
        tags["og:url"] = context["pageurl"]
    for name, value in tags.items():
        also = ' name="description"' if name == "og:description" else ""
        context["metatags"] += f'<meta{also} property="{name}" content="{escape(value)}">\n'


def copy_mathjax(app, exception):
    """Copies those parts of MathJax that _config.yml names."""
    if exception is not None or app.builder.name == "epub":
        return
    source = Path(distribution("sphinx-mathjax-offline").locate_file("sphinx-mathjax-offline"))
    names = ["startup.js", "output/chtml/fonts"]
    names += [f"{part}.js" for part in app.config.mathjax3_config["loader"]["load"]]
    for name in names:
        place = app.outdir / "_static" / "mathjax" / name
        part = source / "static" / "mathjax" / name
        copy_asset(part, place.parent if part.is_file() else place)


def write_icons(app, exception):
    """Writes a font of the icons that the pages have; the theme's own has 1,400, in 0.16 MB.

    _static/custom.css puts it in the place of the theme's.
    """
    if exception is not None or app.builder.name == "epub":
        return
    static = app.outdir / "_static"
    sources = [*app.outdir.rglob("*.html"), *static.glob("scripts/*-theme.js")]
    used = {name for path in sources for name in re.findall(r"fa-[\w-]+", read(path))}
    rules = "".join(map(read, static.glob("styles/*.css")))
    icons = {ord(letter) for letter in rules if "\ue000" <= letter <= "\uf8ff"}
    for selectors, code in re.findall(r'([^{}]*)\{[^{}]*content:"\\(f\w{3})"', rules):
        names = set(re.findall(r"\.(fa-[\w-]+):", selectors))
        if not names or names & used:
            icons.add(int(code, base=16))
    font = TTFont(static / "vendor" / "fontawesome" / "webfonts" / "fa-solid-900.ttf")
    subsetter = Subsetter()
    subsetter.populate(unicodes=icons)
    subsetter.subset(font)
    font.flavor = "woff"
    font.save(static / "icons.woff")


def only_own_formulas(app):
    """A page loads MathJax for its own formulas, and not for those of the pages below it."""
    math = app.env.get_domain("math")
    of_all = math.has_equations
    math.has_equations = lambda page=None: (
        math.data["has_equations"].get(page, False) if page else of_all()
    )


def minutes(path: Path) -> int:
    """How long a chapter takes, from its first cell."""
    text = "".join(json.loads(read(path))["cells"][0]["source"])
    found = re.search(r"\*\*Takes:\*\* about (\d+)\s+minutes", text)
    if not found:
        raise ExtensionError(f"{path} does not begin with '**Takes:** about ... minutes'")
    return int(found[1])


def know_minutes(app, config):
    """For the first page: `{{ minutes_iou }}` is the time that the chapter iou says it takes."""
    for path in CHAPTERS.glob("*.ipynb"):
        config.myst_substitutions[f"minutes_{path.stem}"] = minutes(path)


def know_filters(app):
    if app.builder.format == "html":
        app.builder.templates.environment.filters["without"] = without


def setup(app):
    app.connect("config-inited", know_minutes, priority=1)
    app.connect("builder-inited", only_own_formulas)
    app.connect("builder-inited", know_filters)
    app.connect("html-page-context", describe)
    app.connect("build-finished", copy_mathjax)
    app.connect("build-finished", write_icons)
    return {"parallel_read_safe": True}
