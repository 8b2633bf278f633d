"""What every chapter must have. Each rule is tried, too, on a small notebook that breaks it.

A rule takes a notebook and returns what is wrong with it, in words.
"""

import ast
import json
import re
from itertools import pairwise
from pathlib import Path

import matplotlib
import nbformat
import pytest
import torch
from pybtex.database import parse_file
from sphinx_external_toc.parsing import parse_toc_yaml

from segedu import exercises

ROOT = Path(__file__).parents[1]
BIBLIOGRAPHY = parse_file(ROOT / "references.bib").entries
PREREQUISITES = "chapters/prerequisites"  # a page to read before the chapters, without exercises
CONTENTS = parse_toc_yaml(ROOT / "_toc.yml")
NOTEBOOKS = [page for page in CONTENTS if page.startswith("chapters/")]
# What only some need: the notebooks that are folded below a chapter.
DEEPER = {
    page: chapter
    for chapter in NOTEBOOKS
    for page in CONTENTS[chapter].child_files()
    if page in NOTEBOOKS
}
CHAPTERS = [page for page in NOTEBOOKS if page not in (PREREQUISITES, *DEEPER)]
LAST = ["Quiz", "Summary", "Further reading"]
LONGEST = 2000  # words of a chapter before its quiz
LEVELS = ["easy", "medium", "hard"]
DEFAULTS = 'DEVICE, DATA = "cpu", "synthetic"'
IGNORED = {"nbval-ignore-output", "nbval-skip"}
WHERE = ("doi", "eprint", "url")  # the last for what has neither of the others
PREFIXES = {"doi": "https://doi.org/", "eprint": "https://arxiv.org/abs/", "url": ""}
PAPERS = {
    PREFIXES[field] + entry.fields[field]: entry
    for entry in BIBLIOGRAPHY.values()
    for field in WHERE
    if field in entry.fields
}
SHORTEST_ALT = 40  # characters
# Calls that return what Jupyter shows only at the end of a cell.
SHOWN = re.compile(r"(\w+\.)?(show_table|HTML|exercises\.check_\w+|\w+Explorer)\(")

# -- reading a notebook --------------------------------------------------------------------------


def read(page: str):
    notebook = nbformat.read(ROOT / f"{page}.ipynb", as_version=4)
    # tools/set_address.py puts these in.
    notebook.cells = [cell for cell in notebook.cells if not cell.id.startswith("colab-")]
    return notebook


def code(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def prose(notebook) -> str:
    """All the Markdown, without blocks of code."""
    cells = (cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return re.sub(r"^```.*?^```$", "", "\n\n".join(cells), flags=re.M | re.S)


def headings(notebook) -> list[tuple[int, str]]:
    return [(len(m[1]), m[2]) for m in re.finditer(r"^(#+) (.+)$", prose(notebook), re.M)]


def section(notebook, title: str) -> list:
    """The cells from the one that has the heading `## title` to the one before the next `## `.

    Cells that hold the end of another section are cut at the heading.
    """
    found, inside = [], False
    for cell in notebook.cells:
        parts = [cell.source]
        if cell.cell_type == "markdown":
            parts = re.split(r"^(?=## )", cell.source, flags=re.M)
        for part in parts:
            if cell.cell_type == "markdown" and part.startswith("## "):
                inside = part.startswith(f"## {title}\n") or part == f"## {title}"
            if inside and part.strip():
                found.append(nbformat.from_dict({**cell, "source": part}))
    return found


def is_ignored(cell) -> bool:
    return bool(IGNORED & set(cell.metadata.get("tags", []))) or "NBVAL_" in cell.source


def printed(cell) -> str:
    """What a cell says in words."""
    outputs = cell.get("outputs", [])
    return "".join(o.get("text") or o.get("data", {}).get("text/plain", "") for o in outputs)


def has_picture(cell) -> bool:
    """An explorer's picture is described in its HTML."""
    shown = (output.get("data", {}) for output in cell.get("outputs", []))
    return any("image/png" in data and "text/html" not in data for data in shown)


def folded(text: str, summary: str) -> list[str]:
    """What stands in the `<details>` with this summary."""
    return re.findall(
        rf"^<details><summary>{summary}</summary>\n\n(.*?)\n\n</details>$", text, re.M | re.S
    )


# -- rules for every notebook --------------------------------------------------------------------


def headings_in_order(notebook) -> list[str]:
    levels = [level for level, _ in headings(notebook)]
    wrong = [] if levels[:1] == [1] and levels.count(1) == 1 else ["expected one h1, at the top"]
    for (above, _), (level, title) in pairwise(headings(notebook)):
        if level > above + 1:
            wrong.append(f"{title!r} is an h{level} below an h{above}")
    return wrong


def run_in_order(notebook) -> list[str]:
    wrong = [
        f"cell {cell.id} has the execution count {cell.execution_count}, expected {number}"
        for number, cell in enumerate(code(notebook), start=1)
        if cell.execution_count != number
    ]
    return wrong + [
        f"cell {cell.id} raised"
        for cell in code(notebook)
        if any(output.output_type == "error" for output in cell.outputs)
    ]


def shown_last(notebook) -> list[str]:
    """A table, an explorer or the answer of a check is shown only as the last value of a cell."""
    wrong = []
    for cell in code(notebook):
        tree = ast.parse(cell.source)
        for node in ast.walk(tree):
            if isinstance(node, ast.Expr) and node is not tree.body[-1]:
                value = ast.unparse(node.value)
                silent = isinstance(node.value, ast.Call | ast.Constant | ast.Yield)
                if SHOWN.match(value) or not silent:
                    wrong.append(f"cell {cell.id} never shows {value!r}: put it last")
    return wrong


def few_ignored(notebook) -> list[str]:
    """At most one code cell in ten is not compared; soon after it, one that is says the fact."""
    cells = code(notebook)
    ignored = [k for k, cell in enumerate(cells) if is_ignored(cell)]
    wrong = []
    if 10 * len(ignored) > len(cells):
        wrong.append(f"{len(ignored)} of {len(cells)} code cells are ignored, at most one in ten")
    for k in ignored:
        if not any(printed(cell) and not is_ignored(cell) for cell in cells[k + 1 : k + 3]):
            wrong.append(f"no compared cell says what came of the ignored {cells[k].id}")
    return wrong


def pictures_described(notebook) -> list[str]:
    alts = {
        f"the picture of cell {cell.id}": cell.metadata.get("mystnb", {})
        .get("image", {})
        .get("alt", "")
        for cell in code(notebook)
        if has_picture(cell)
    }
    for alt, source in re.findall(r"!\[(.*?)\]\((.+?)\)", prose(notebook), re.S):
        alts[source] = alt
    for tag in re.findall(r"<img\b[^>]*>", prose(notebook)):
        alts[tag] = "".join(re.findall(r'alt="([^"]*)"', tag))
    return [
        f"{picture} has the alt text {alt!r}, expected {SHORTEST_ALT} characters or more"
        for picture, alt in alts.items()
        if len(alt) < SHORTEST_ALT
    ]


def plain_markdown(notebook) -> list[str]:
    """No directive, role or label: they are raw text in JupyterLab, on GitHub and in Colab."""
    text = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    kinds = {
        "directive": r"^\s*(?::{3,}|`{3,})\{[^}]*\}",
        "role": r"\{[\w:]+\}`",
        "label": r"^\([\w-]+\)=$|\$\$ ?\([^)\s]+\)$",
    }
    return [
        f"the {kind} {found.strip()!r} is raw text in other viewers"
        for kind, pattern in kinds.items()
        for found in re.findall(pattern, text, re.M)
    ]


def sources_known(notebook) -> list[str]:
    """Every link to a paper is in references.bib, and its text names authors and year."""
    wrong = []
    for label, address in re.findall(r"\[([^\]]+)\]\((https?://[^)\s]+)\)", prose(notebook)):
        entry = PAPERS.get(address)
        if entry is None and re.search(r"arxiv\.org|doi\.org", address):
            wrong.append(f"{address} is not in references.bib")
        if entry is not None and entry.fields["year"] not in label:
            wrong.append(f"the link {label!r} to {address} does not say the year")
    return wrong


def tags(notebook) -> list[str]:
    return re.findall(r"\\tag\{([^}]+)\}", prose(notebook))


def formulas_named(notebook) -> list[str]:
    """A formula's name is its own within a page, and whoever is referred to is there."""
    known = tags(notebook)
    wrong = [f"{name} names two formulas" for name in set(known) if known.count(name) > 1]
    named = re.findall(r"(?i)\b(?:equation|formula) \(([^)]+)\)", prose(notebook))
    return wrong + [f"no formula is named {name}" for name in set(named) - set(known)]


# -- rules for the chapters ----------------------------------------------------------------------


def skeleton(notebook) -> list[str]:
    opening, wrong = notebook.cells[0].source, []
    if not re.search(r"^After this chapter you can\n\n(- .+(\n|$)){2,}", opening, re.M):
        wrong.append("the first cell has no list 'After this chapter you can'")
    takes = re.search(
        r"\*\*Needs:\*\* .+ \*\*Takes:\*\* about (\d+) minutes "
        r"(?:with its exercises; its code runs in about|to read, about) (\d+) seconds",
        " ".join(opening.split()),
    )
    if takes is None:
        wrong.append("the first cell has no line '**Needs:** ... **Takes:** about N minutes ...'")
    elif not (25 <= int(takes[1]) <= 90 and int(takes[2]) <= 60):
        wrong.append(f"{takes[0]!r}: expected 25 to 90 minutes and at most 60 seconds")
    if (titles := [title for level, title in headings(notebook) if level == 2])[-3:] != LAST:
        wrong.append(f"the last sections are {titles[-3:]}, expected {LAST}")
    first = code(notebook)[0].source
    sources = "\n".join(cell.source for cell in code(notebook))
    wrong += [f"the first code cell lacks {line}" for line in setup(sources) if line not in first]
    if "is_available" in sources:
        wrong.append("a device is looked for behind the reader's back")
    return wrong


def setup(sources: str) -> list[str]:
    """What the first code cell has to have."""
    works_with_data = re.search(r"\bnuclei_split\(|\bfit\(|\bSyntheticNuclei\(", sources)
    return ["use_style()", "manual_seed("] + [DEFAULTS] * bool(works_with_data)


def pitfalls(notebook) -> list[str]:
    titles = [title for _, title in headings(notebook) if title.startswith("Pitfall: ")]
    wrong = [] if len(titles) > 1 else [f"{len(titles)} sections '## Pitfall: ...', at least two"]
    for title in titles:
        cells = section(notebook, title)
        if not any(re.search(r"^> \*\*Pitfall\*\*\n>\n> \S", c.source, re.M) for c in cells):
            wrong.append(f"{title} has no box '> **Pitfall**'")
        if not any(c.cell_type == "code" and printed(c) for c in cells):
            wrong.append(f"{title} shows nothing: no code cell that prints")
    return wrong


def short(notebook) -> list[str]:
    """The main path can be read at one sitting; formulas and what is folded do not count."""
    text = prose(notebook).split("\n## Quiz")[0]
    for folded_or_formula in (r"<details.*?</details>", r"\$\$.*?\$\$", r"\]\([^)]*\)"):
        text = re.sub(folded_or_formula, "", text, flags=re.S)
    count = len(text.split())
    return [] if count <= LONGEST else [f"{count} words before the quiz, at most {LONGEST}"]


TASK_LINE = re.compile(r"^\*\*(?:Exercise )?(\d+)\. (.+?)\*\* \((\w+)\)", re.M)


def tasks(notebook) -> list[tuple]:
    """Each exercise as (match of its first line, the cell of the task and the two after it)."""
    cells = notebook.cells
    return [
        (title, cells[k : k + 3])
        for k, cell in enumerate(cells)
        if cell.cell_type == "markdown"
        for title in TASK_LINE.finditer(cell.source)
    ]


def exercises_answer_back(notebook, least: int = 4) -> list[str]:
    found = tasks(notebook)
    wrong = []
    if len(found) < least:
        wrong.append(f"{len(found)} exercises '**Exercise 1. Title.** (easy)', expected {least}")
    if [int(title[1]) for title, _ in found] != list(range(1, len(found) + 1)):
        wrong.append("the exercises are not numbered 1, 2, ...")
    if any(title[3] not in LEVELS for title, _ in found):
        wrong.append(f"an exercise is none of {LEVELS}")
    for title, cells in found:
        kinds = [cell.cell_type for cell in cells]
        if kinds != ["markdown", "code", "markdown"]:
            wrong.append(
                f"{title[0]}: expected the task, a starter cell, the solution; got {kinds}"
            )
            continue
        task, starter, solution = cells
        if not folded(task.source, "Hint"):
            wrong.append(f"{title[0]}: no hint before the starter cell")
        if "returns nothing" not in printed(starter):
            wrong.append(
                f"{title[0]}: the starter cell does not say 'not yet: ... returns nothing'"
            )
        wrong += [f"{title[0]}: {problem}" for problem in unsolved(notebook, starter, solution)]
    return wrong


def unsolved(notebook, starter, solution) -> list[str]:
    """What the check says to the solution, if it is not right."""
    calls = [
        node
        for node in ast.walk(ast.parse(starter.source))
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("exercises.check_")
    ]
    blocks = re.findall(
        r"^```python\n(.*?)^```$", "".join(folded(solution.source, "Solution")), re.M | re.S
    )
    if len(calls) != 1 or len(blocks) != 1:
        return [
            f"{len(calls)} calls of exercises.check_... in the starter and {len(blocks)} blocks "
            "```python in the folded solution, expected one of each"
        ]
    names = {"exercises": exercises}
    with matplotlib.rc_context(), torch.random.fork_rng():
        exec(code(notebook)[0].source, names)
        exec(blocks[0], names)
        answer = eval(ast.unparse(calls[0]), names)
    if not answer.correct:
        return [f"the solution is told {str(answer)!r}"]
    count = int(answer.message.split()[1])
    return [] if 6 <= count <= 15 else [f"the check has {count} cases, expected 6 to 15"]


OPTION = re.compile(
    r'^<details class="quiz"><summary>([A-D])\. (.+?)</summary>\n\n'
    r"\*\*(Right|No)\.\*\* (.+?)\n\n</details>$",
    re.M | re.S,
)


def questions(notebook) -> list[list[tuple]]:
    """Of each question of the quiz its options: (letter, text, Right or No, why)."""
    text = "\n\n".join(cell.source for cell in section(notebook, "Quiz"))
    return [OPTION.findall(part) for part in re.split(r"^\*\*Q\d+\.\*\* ", text, flags=re.M)[1:]]


def right_letters(notebook) -> list[str]:
    return [o[0] for options in questions(notebook) for o in options if o[2] == "Right"]


def quiz(notebook) -> list[str]:
    asked = questions(notebook)
    wrong = [] if 3 <= len(asked) <= 5 else [f"{len(asked)} questions '**Q1.** ...', expected 3-5"]
    text = "\n\n".join(cell.source for cell in section(notebook, "Quiz"))
    numbers = [int(number) for number in re.findall(r"^\*\*Q(\d+)\.\*\*", text, re.M)]
    if numbers != list(range(1, len(numbers) + 1)):
        wrong.append(f"the questions have the numbers {numbers}")
    if text.count("<details") != sum(map(len, asked)):
        wrong.append("an option is not written as the others (see CONTRIBUTING.md)")
    for number, options in enumerate(asked, start=1):
        letters = "".join(option[0] for option in options)
        if letters not in ("ABC", "ABCD"):
            wrong.append(f"Q{number} has the options {letters!r}, expected ABC or ABCD")
        if [option[2] for option in options].count("Right") != 1:
            wrong.append(f"Q{number} has not one right answer")
        wrong += [f"Q{number}, {o[0]}: no explanation" for o in options if len(o[3]) < 20]
    if any(one == other for one, other in pairwise(right_letters(notebook))):
        wrong.append(f"the right answers are {right_letters(notebook)}: twice the same in a row")
    return wrong


FOR_ALL = [
    headings_in_order, run_in_order, shown_last, few_ignored, pictures_described, plain_markdown,
    sources_known, formulas_named,
]  # fmt: skip
FOR_CHAPTERS = [skeleton, pitfalls, exercises_answer_back, quiz]
FOR_MADE = [*FOR_ALL, *FOR_CHAPTERS, short]

# -- the chapters --------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", FOR_ALL, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("page", NOTEBOOKS)
def test_notebook(page, rule):
    assert (wrong := rule(read(page))) == [], "\n".join(wrong)


@pytest.mark.parametrize("rule", FOR_CHAPTERS, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("page", CHAPTERS)
def test_chapter(page, rule, monkeypatch):
    monkeypatch.chdir(ROOT / "chapters")
    assert (wrong := rule(read(page))) == [], "\n".join(wrong)


@pytest.mark.parametrize("page", DEEPER)
def test_deeper_notebook(page, monkeypatch):
    """It is linked from its chapter, and its exercises answer back."""
    chapter = DEEPER[page]
    assert f"]({page.removeprefix('chapters/')}.ipynb)" in prose(read(chapter))
    monkeypatch.chdir(ROOT / "chapters")
    assert exercises_answer_back(read(page), least=0) == []
    assert short(read(chapter)) == []


@pytest.mark.parametrize("page", CONTENTS)
def test_a_link_names_the_file_of_its_page(page):
    """So it works in JupyterLab and where the repository is shown, too, not only in the book."""
    source = next(ROOT.glob(f"{page}.*"))
    text = prose(read(page)) if source.suffix == ".ipynb" else source.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)\s#:<]+)(?:#[^)\s]*)?\)", text)
    assert [link for link in links if not (source.parent / link).is_file()] == []


def test_every_notebook_is_in_the_book():
    files = {f"chapters/{path.stem}" for path in (ROOT / "chapters").glob("*.ipynb")}
    assert files == set(NOTEBOOKS)
    assert len(CHAPTERS) == 6


def test_every_check_has_its_exercise():
    used = {
        name
        for page in NOTEBOOKS
        for cell in code(read(page))
        for name in re.findall(r"exercises\.(check_\w+)\(", cell.source)
    }
    assert used == set(exercises.__all__)


def test_ticking_always_the_same_letter_does_not_pay():
    letters = [letter for page in CHAPTERS for letter in right_letters(read(page))]
    assert letters, "there is no quiz"
    shares = {letter: letters.count(letter) / len(letters) for letter in "ABC"}
    print(shares)
    assert all(1 / 5 <= share <= 1 / 2 for share in shares.values())


@pytest.mark.parametrize("key", BIBLIOGRAPHY)
def test_a_reference_can_be_found(key):
    assert set(WHERE) & set(BIBLIOGRAPHY[key].fields), f"expected one of {WHERE}"


@pytest.mark.parametrize(
    "path", [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")], ids=lambda p: p.name
)
def test_pictures_of_other_pages_are_described(path):
    cell = nbformat.v4.new_markdown_cell(path.read_text(encoding="utf-8"))
    assert pictures_described(nbformat.v4.new_notebook(cells=[cell])) == []


# -- the rules -----------------------------------------------------------------------------------

OPENING = """\
# A chapter

After this chapter you can

- do this;
- do that.

**Needs:** nothing.
**Takes:** about 30 minutes with its exercises; its code runs in about 5 seconds."""
PITFALL = """\
## Pitfall: {}

> **Pitfall**
>
> **What you see:** a number."""
TASK = """\
**Exercise {}. Intersection over union.** ({})

Write `iou(tp, fp, fn)`.

<details><summary>Hint</summary>

What if all are 0?

</details>"""
FIRST = f"""\
from segedu import exercises
from segedu.plotting import use_style
import torch
use_style()
_ = torch.manual_seed(0)
{DEFAULTS}"""
STARTER = "def iou(tp, fp, fn): ...\nexercises.check_iou(iou)"
TOLD = "not yet: iou returns nothing: it is not written yet\n"
SOLUTION = """\
<details><summary>Solution</summary>

```python
def iou(tp, fp, fn):
    union = tp + fp + fn
    return tp / union if union else 1.0
```

The empty case comes first.

</details>"""
ALT = "Three nuclei on a dark ground, two of which touch"
ANSWER = '<details class="quiz"><summary>{}. It is {}</summary>\n\n{} It is a number of pixels.\n\n'
END = """\
## Summary

- It is so ([Lin et al., 2017](https://arxiv.org/abs/1708.02002)).

$$
x = 1 \\tag{one}
$$

![A grey square with a smaller white square in its middle](square.png)

## Further reading

See equation (one)."""


def question(number: int, right: str) -> str:
    options = (
        ANSWER.format(letter, letter.lower(), "**Right.**" if letter == right else "**No.**")
        for letter in "ABC"
    )
    return f"**Q{number}.** What is it?\n\n" + "</details>\n\n".join(options) + "</details>"


def cell(source: str, said: str = "", **metadata):
    outputs = [nbformat.v4.new_output("stream", name="stdout", text=said)] if said else []
    return nbformat.v4.new_code_cell(source, outputs=outputs, metadata=metadata)


def made() -> dict:
    """A small chapter that keeps every rule, as JSON."""
    text = nbformat.v4.new_markdown_cell
    picture = cell("nuclei_split(DATA)", mystnb={"image": {"alt": ALT}})
    picture.outputs = [nbformat.v4.new_output("display_data", {"image/png": "iVBO"})]
    cells = [
        text(OPENING),
        cell(FIRST),
        picture,
        cell("'trained'", tags=["nbval-ignore-output"]),
        cell("print(iou > 0.8)", "stream"),
        *[cell("first = 1") for _ in range(6)],
        *[text(PITFALL.format("one")), cell("print(2)", "stream")],
        *[text(PITFALL.format("two")), cell("print(3)", "stream")],
        text("## Exercises"),
    ]
    for number, level in enumerate(["easy", "easy", "medium", "hard"], start=1):
        cells += [text(TASK.format(number, level)), cell(STARTER, TOLD), text(SOLUTION)]
    cells += [text("## Quiz"), *[text(question(k + 1, "ABC"[k])) for k in range(3)], text(END)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    for number, one in enumerate(cells):
        one.id = f"made-{number}"
    for number, one in enumerate(code(notebook), start=1):
        one.execution_count = number
    return json.loads(nbformat.writes(notebook, split_lines=False))


# What breaks which rule: in the notebook's JSON, the first of one text is replaced by another.
BROKEN = [
    (headings_in_order, "## Summary", "# Summary"),
    (headings_in_order, "## Summary", "#### Summary"),
    (headings_in_order, "# A chapter", "A chapter"),
    (run_in_order, '"execution_count": 2', '"execution_count": null'),
    (run_in_order, '"execution_count": 2', '"execution_count": 3'),
    (run_in_order, '"name": "stdout", "output_type": "stream"', '"output_type": "error"'),
    (shown_last, "print(2)", "show_table(2)\\nprint(2)"),
    (shown_last, "print(2)", "if True:\\n    plotting.show_table(2)"),
    (shown_last, "print(2)", "2 + 2\\nprint(2)"),
    (few_ignored, '"mystnb": {', '"tags": ["nbval-skip"], "mystnb": {'),
    (few_ignored, "print(2)", "# NBVAL_IGNORE_OUTPUT"),
    (few_ignored, '"text": "stream"', '"text": ""'),
    (pictures_described, ALT, "nuclei"),
    (pictures_described, '"mystnb"', '"other"'),
    (pictures_described, "A grey square with a smaller white square in its middle", ""),
    (pictures_described, "See equation", "<img src='square.png'> See equation"),
    (plain_markdown, "> **Pitfall**", ":::{warning}"),
    (plain_markdown, "> **Pitfall**", "```{admonition} A box"),
    (plain_markdown, "equation (one)", "{eq}`one`"),
    (plain_markdown, "$$\\n\\n![", "$$ (eq-one)\\n\\n!["),
    (plain_markdown, "## Summary", "(summary)=\\n## Summary"),
    (sources_known, "1708.02002", "1708.00000"),
    (sources_known, "Lin et al., 2017", "Lin et al."),
    (formulas_named, "equation (one)", "equation (two)"),
    (formulas_named, "$$\\nx = 1", "$$\\ny = 1 \\\\tag{one}\\n$$\\n\\n$$\\nx = 1"),
    (skeleton, "After this chapter you can", "You will learn"),
    (skeleton, "- do that.", "Do that."),
    (skeleton, "**Needs:**", "Needs"),
    (skeleton, "about 30 minutes", "about 15 minutes"),
    (short, "do this;", "do this; " + "and that " * LONGEST),
    (skeleton, "about 5 seconds", "about 90 seconds"),
    (skeleton, "## Quiz", "## Questions"),
    (skeleton, "use_style()", "pass"),
    (skeleton, "torch.manual_seed(0)", "0"),
    (skeleton, 'DEVICE, DATA = \\"cpu\\"', 'DEVICE, DATA = \\"cuda\\"'),
    (skeleton, "first = 1", "first = torch.cuda.is_available()"),
    (pitfalls, "## Pitfall: two", "## Two"),
    (pitfalls, "> **Pitfall**", "Warning:"),
    (pitfalls, "print(3)", ""),
    (exercises_answer_back, "**Exercise 4. Inter", "4. Inter"),
    (exercises_answer_back, "**Exercise 4. Inter", "**Exercise 5. Inter"),
    (exercises_answer_back, "(easy)", "(trivial)"),
    (exercises_answer_back, "<summary>Hint</summary>", "<summary>Help</summary>"),
    (exercises_answer_back, "exercises.check_iou(iou)", "print(iou)"),
    (exercises_answer_back, "<summary>Solution</summary>", "<summary>Hint</summary>"),
    (exercises_answer_back, "tp / union", "2 * tp / union"),
    (exercises_answer_back, "```python", "```"),
    (exercises_answer_back, "iou returns nothing", "iou is there"),
    (quiz, "**Q3.**", "Q3."),
    (quiz, "**Q3.**", "**Q4.**"),
    (quiz, "**Right.**", "**No.**"),
    (quiz, "**No.**", "**Right.**"),
    (quiz, "**No.** It is a number of pixels.", "**No.** Wrong."),
    (quiz, "**No.**", "Wrong."),
    (quiz, "<summary>B. ", "<summary>C. "),
    (quiz, "**Right.** It is a number of pixels.\\n\\n</details>\\n\\n", ""),
]  # fmt: skip


@pytest.mark.parametrize("rule", FOR_MADE, ids=lambda rule: rule.__name__)
def test_a_chapter_can_keep_the_rule(rule):
    assert rule(nbformat.from_dict(made())) == []


@pytest.mark.parametrize(("rule", "old", "new"), BROKEN)
def test_the_rule_can_be_broken(rule, old, new):
    text = json.dumps(made(), ensure_ascii=False)
    assert old in text
    assert rule(nbformat.from_dict(json.loads(text.replace(old, new, 1)))) != []
