"""Fail if a page of the table of contents is missing from the built book, or next to empty."""

import re
import sys
from pathlib import Path
from urllib.parse import unquote

import yaml

contents = yaml.safe_load(Path("_toc.yml").read_text(encoding="utf-8"))
entries = [contents["root"], *re.findall(r"'file': '([^']+)'", str(contents))]
problems = []
for entry in entries:
    page = Path("_build/html", f"{entry}.html")
    if not page.exists():
        problems.append(f"{page} is missing")
        continue
    article = page.read_text(encoding="utf-8").partition("<article")[2].partition("</article>")[0]
    words = re.sub(r"<[^>]+>", " ", article).split()
    print(f"{page}: {len(words)} words")
    if "<h1" not in article or len(words) < 30:
        problems.append(f"{page} is empty")
    if missing := [
        source
        for source in re.findall(r'<img[^>]*src="([^":]+)"', article)
        if not (page.parent / unquote(source)).exists()
    ]:
        problems.append(f"{page} lacks the pictures {missing}")
sys.exit("\n".join(problems) or 0)
