"""The steps from the built book to what is printed, linked to, or read as an e-book."""

from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
from docutils import nodes

from docs import pages


def described(baseurl):
    document = nodes.section("", nodes.title("", "IoU"), nodes.paragraph("", "What <it> is. "))
    context = {"title": "<em>IoU</em>", "metatags": "", "pageurl": "https://a.example/b/iou.html"}
    config = SimpleNamespace(html_title="A course", html_baseurl=baseurl)
    pages.describe(SimpleNamespace(config=config), "iou", "page.html", context, document)
    tags = ElementTree.fromstring(f"<p>{context['metatags'].replace('>', '/>')}</p>")
    return {tag.get("property"): tag.get("content") for tag in tags}


def test_a_page_has_a_description_and_no_picture_without_an_address():
    assert described("") == {
        "og:type": "article",
        "og:title": "IoU",
        "og:site_name": "A course",
        "og:description": "What <it> is.",
    }


def test_with_an_address_a_link_shows_the_picture():
    tags = described("https://a.example/b/")
    assert tags["og:image"] == "https://a.example/b/_static/preview.png"
    assert tags["og:url"] == "https://a.example/b/iou.html"


def test_a_chapter_says_how_long_it_takes(tmp_path):
    path = tmp_path / "chapter.ipynb"
    path.write_text('{"cells": [{"source": ["# A\\n", "**Takes:** about 45\\n", "minutes"]}]}')
    assert pages.minutes(path) == 45
    path.write_text('{"cells": [{"source": ["# A chapter"]}]}')
    with pytest.raises(Exception, match="does not begin with"):
        pages.minutes(path)
