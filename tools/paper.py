"""Write the whole book as one file, to print or to take along.

    python tools/paper.py pdf
    python tools/paper.py epub

They go to _build/paper/segmentation.pdf and segmentation.epub. A live figure is a picture there.
Needs what `pip install -r requirements.txt` brings, and Chromium, which the system brings.
"""

import argparse
import re
import shutil
import subprocess
import sys
import zipfile
from contextlib import contextmanager
from importlib.metadata import distribution
from pathlib import Path

from playwright.sync_api import sync_playwright

from segedu.files import atomic_path

ROOT = Path(__file__).parent.parent
BUILD = ROOT / "_build"
FOOTER = """<p style="font-size: 8px; text-align: center; width: 100%">
<span class="pageNumber"></span></p>"""
MATHJAX = "sphinx-mathjax-offline/static/mathjax/tex-chtml.js"
# The files of _static that an e-book needs; the others are for browsers.
KEPT = ("basic.css", "epub.css", "pygments.css", "file.png", "minus.png")
# What an e-book reader shows: well-formed pages without scripts, formulas as MathML, nothing folded
# but code that only draws or prepares.
TO_EPUB = r"""([text, kept]) => {
    const page = new DOMParser().parseFromString(text, "text/html")
    page.querySelectorAll("script").forEach(script => script.remove())
    for (const link of page.querySelectorAll("link[rel=stylesheet]"))
        if (!kept.some(name => link.getAttribute("href").endsWith(`/${name}`))) link.remove()
    for (const style of page.querySelectorAll("body style")) {  // allowed in the head only
        style.removeAttribute("scoped")
        page.head.append(style)
    }
    page.querySelectorAll("[valign]").forEach(cell => cell.removeAttribute("valign"))
    page.querySelectorAll("details:not(.above-input)").forEach(details => details.open = true)
    for (const math of page.querySelectorAll(".math")) {
        let formula = math.textContent.trim()
        const display = !formula.startsWith("\\(")
        formula = formula.replace(/^\\[([]|\\[)\]]$/g, "")
        const tag = formula.match(/\\tag\{(.*?)\}/)  // which readers of MathML do not know
        if (tag) formula = formula.replace(tag[0], "")
        math.innerHTML = MathJax.tex2mml(formula, { display })
        if (tag) math.insertAdjacentHTML("afterbegin", `<span class="tag">(${tag[1]})</span>`)
    }
    for (const summary of page.querySelectorAll(".above-input > summary"))
        summary.textContent = "Code that only draws or prepares"
    for (const summary of page.querySelectorAll(".below-input > summary"))
        summary.textContent = "Output"
    const style = page.head.appendChild(page.createElement("style"))
    style.textContent =
        "pre { background: #f4f4f4; overflow-wrap: anywhere; white-space: pre-wrap }" +
        ".tag { float: right }"
    return new XMLSerializer().serializeToString(page)
}"""


def build(builder: str) -> Path:
    """Has Jupyter Book build the course; returns the folder with what it made."""
    command = [Path(sys.executable).with_name("jupyter-book"), "build", ROOT, "--quiet"]
    command += ["--builder", "custom", "--custom-builder", builder]
    subprocess.run(command, check=True)
    return BUILD / builder


@contextmanager
def chromium_page():
    executable = shutil.which("chromium")
    if executable is None:
        raise SystemExit("error: no chromium on the PATH; install the system's package chromium")
    with sync_playwright() as playwright:
        # A container runs as root, where Chromium has no sandbox.
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield browser.new_page()
        browser.close()


def write_pdf(path: Path):
    """The style sheet of the pages says how they look on paper."""
    folder = build("singlehtml")
    with chromium_page() as page:
        page.goto((folder / "intro.html").as_uri())
        page.evaluate("MathJax.startup.promise")
        page.evaluate("document.body.classList.add('whole-book')")
        page.pdf(
            path=path, format="A4", scale=0.85, outline=True, tagged=True, print_background=True,
            display_header_footer=True, header_template="<p></p>", footer_template=FOOTER,
            margin={"top": "15mm", "bottom": "18mm", "left": "15mm", "right": "15mm"},
        )  # fmt: skip


def write_epub(path: Path):
    """Sphinx's own EPUB, with pages that every reader can show."""
    book = zipfile.ZipFile(build("epub") / "segmentation.epub")
    files = for_readers({name: book.read(name) for name in book.namelist()})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as book:
        # The first file, not compressed, tells what this is.
        book.writestr("mimetype", files.pop("mimetype"), compress_type=zipfile.ZIP_STORED)
        for name, content in files.items():
            book.writestr(name, content)


def for_readers(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files of an EPUB without what only a browser needs, and with pages as in TO_EPUB."""
    kept = {f"_static/{name}" for name in KEPT}
    files = {
        name: content
        for name, content in files.items()
        if not name.startswith("_static/") or name in kept
    }
    entries = files["content.opf"].decode()
    entries = re.sub(
        r'\n *<item [^>]*href="(_static/[^"]*)"[^>]*/>',
        lambda entry: entry[0] if entry[1] in kept else "",
        entries,
    )
    with chromium_page() as page:
        page.add_script_tag(path=distribution("sphinx-mathjax-offline").locate_file(MATHJAX))
        page.evaluate("MathJax.startup.promise")
        for name in files:
            if not name.endswith(".xhtml") or name == "nav.xhtml":
                continue
            text = page.evaluate(TO_EPUB, [files[name].decode(), KEPT])
            files[name] = f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode()
            if "<math" in text:
                entries = entries.replace(f'href="{name}"', f'href="{name}" properties="mathml"')
    return files | {"content.opf": entries.encode()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    writers = {"pdf": write_pdf, "epub": write_epub}
    parser.add_argument("kind", choices=writers)
    kind = parser.parse_args().kind
    path = BUILD / "paper" / f"segmentation.{kind}"
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        writers[kind](temporary)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
