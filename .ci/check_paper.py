"""Fail if the book as PDF or EPUB lacks a chapter, is too large, or cannot be read."""

import json
import posixpath
import sys
import zipfile
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

from pypdf import PdfReader
from sphinx_external_toc.parsing import parse_toc_yaml

FOLDER = Path("_build/paper")
LARGEST = 60  # MB
XHTML = "{http://www.w3.org/1999/xhtml}"
MATH = "{http://www.w3.org/1998/Math/MathML}"
OPF = "{http://www.idpf.org/2007/opf}"

entries = list(parse_toc_yaml("_toc.yml"))
problems = [
    f"{path} has {path.stat().st_size / 1e6:.0f} MB"
    for path in FOLDER.iterdir()
    if path.stat().st_size > LARGEST * 1e6
]

titles = []
with zipfile.ZipFile(FOLDER / "segmentation.epub") as book:
    if book.infolist()[0].filename != "mimetype" or book.testzip():
        problems.append("the EPUB is no good zip file")
    pages = {}
    for name in book.namelist():
        if name.endswith((".xhtml", ".opf", ".ncx")):
            try:
                pages[name] = ElementTree.fromstring(book.read(name))
            except ElementTree.ParseError as error:
                problems.append(f"{name} in the EPUB is not well-formed: {error}")
    for entry in entries:
        page = pages.get(f"{entry}.xhtml")
        heading = None if page is None else page.find(f".//{XHTML}h1")
        if heading is None:
            problems.append(f"the EPUB lacks {entry}")
        else:
            titles.append("".join(heading.itertext()))
    links = [link.get("href") for link in pages["nav.xhtml"].iter(f"{XHTML}a")]
    problems += [
        f"the EPUB's contents lack {name}" for name in entries if f"{name}.xhtml" not in links
    ]
    names = book.namelist()
    if len({name.lower() for name in names}) < len(names):
        problems.append(
            "names in the EPUB differ by capitals alone, which some systems take as one"
        )
    declared = {
        item.get("href")
        for item in pages["content.opf"].iter(f"{OPF}item")
        if item.get("properties") == "mathml"
    }
    for name, page in pages.items():
        tags = {
            tag: list(page.iter(f"{XHTML}{tag}")) for tag in ("link", "img", "script", "summary")
        }
        used = [part.get("href") or part.get("src") for part in tags["link"] + tags["img"]]
        problems += [
            f"{name} in the EPUB needs {file}, which is not there"
            for file in used
            if not file.startswith("data:")
            and unquote(posixpath.normpath(f"{name}/../{file}")) not in names
        ]
        if tags["script"] or page.find(f"{XHTML}body//{XHTML}style") is not None:
            problems.append(f"{name} in the EPUB has a script, or a style outside its head")
        if any(summary.find(f".//{XHTML}p") is not None for summary in tags["summary"]):
            problems.append(f"{name} in the EPUB has a paragraph in a <summary>")
        if (page.find(f".//{MATH}math") is not None) != (name in declared):
            problems.append(f"the EPUB's list of files does not say whether {name} has formulas")
    print(f"EPUB: {len(pages)} pages, {len(links)} entries in its contents")


def bookmarks(outline):
    """The titles of all bookmarks, those below others included."""
    for entry in outline:
        if isinstance(entry, list):
            yield from bookmarks(entry)
        else:
            yield entry.title


def plain(text):
    """The text's letters and digits: how words are spaced and broken differs."""
    return "".join(filter(str.isalnum, text))


reader = PdfReader(FOLDER / "segmentation.pdf")
marked = {plain(title) for title in bookmarks(reader.outline)}
text = plain("".join(page.extract_text() for page in reader.pages))
print(f"PDF: {len(reader.pages)} pages, {len(marked)} bookmarks")
if len(reader.pages) < 5 * len(entries):
    problems.append(f"the PDF has only {len(reader.pages)} pages")
for title in map(plain, titles):
    if title not in text:
        problems.append(f"the PDF lacks {title}")
    if title not in marked:
        problems.append(f"the PDF has no bookmark for {title}")
for path in sorted(Path("chapters").glob("*.ipynb")):
    for cell in json.loads(path.read_text("utf-8"))["cells"]:
        if "hide-output" in cell["metadata"].get("tags", []):
            printed = [
                "".join(out["text"]) for out in cell["outputs"] if out.get("name") == "stdout"
            ]
            if printed and plain(printed[0]) not in text:
                problems.append(f"the PDF lacks a folded output of {path.name}: {printed[0]!r}")
sys.exit("\n".join(problems) or 0)
