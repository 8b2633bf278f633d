"""The reader's progress: a quiz that answers, ticks, what is kept, and how it is forgotten."""

import json

import pytest
from playwright.sync_api import expect

from tests.test_chapters import CHAPTERS, NOTEBOOKS, read, right_letters, tasks

from .pages import inaccessible, too_wide, watch

PAGE = CHAPTERS[0]
RIGHT = right_letters(read(PAGE))
TITLES = [title for title, _ in tasks(read(PAGE))]
MENU = ".bd-links a.reference.internal"


@pytest.fixture
def open_page(browser, book):
    """A function that opens a page of the book, in a browser that nobody has used before."""
    contexts = []

    def opened(name: str = PAGE, script: str = "", **options):
        contexts.append(browser.new_context(viewport={"width": 1400, "height": 900}, **options))
        page = contexts[-1].new_page()
        page.add_init_script(script)
        page.goto(f"{book.folder.as_uri()}/{name}.html")
        return page

    yield opened
    for context in contexts:
        context.close()


def answer(page, number: int, letter: str):
    """Choose an option of question `number`, from 1 on, and check it."""
    options = page.locator(".quiz-options").nth(number - 1).get_by_role("radio")
    options.nth("ABCD".index(letter)).check()
    page.get_by_role("button", name="Check").nth(number - 1).click()


def wrong(letter: str) -> str:
    return "B" if letter == "A" else "A"


def line(done: int = 0, right: int = 0) -> str:
    exercises = f"{done} of {len(TITLES)} exercises"
    return f"Done: {exercises}, quiz {right} of {len(RIGHT)}"


def test_an_answer_and_a_tick_are_kept_until_they_are_forgotten(open_page, book):
    page = open_page()
    problems = watch(page)
    expect(page.locator(".progress-line")).to_have_text(line())
    answer(page, 1, wrong(RIGHT[0]))
    answer(page, 2, RIGHT[1])
    shown = page.locator(".quiz-why.shown")
    assert [shown.nth(k).inner_text().split()[0] for k in (0, 1)] == ["No.", "Right."]
    answer(page, 1, RIGHT[0])  # may be tried, but the first answer counts
    expect(page.locator(".quiz-why.shown")).to_have_count(3)
    page.locator(".exercise-done input").first.check()
    expect(page.locator(".progress-line")).to_have_text(line(done=1, right=1))

    page.reload()
    expect(page.locator(".progress-line")).to_have_text(line(done=1, right=1))
    expect(page.locator(".exercise-done input").first).to_be_checked()
    expect(shown).to_have_count(2)
    expect(shown.first).to_contain_text("No.")
    mark = f"2/{len(TITLES) + len(RIGHT)}"
    for other in ("intro", CHAPTERS[1]):
        page.goto(f"{book.folder.as_uri()}/{other}.html")
        if not page.evaluate("localStorage.length"):  # a busy Chromium hands it over too late
            page.reload()
        expect(page.locator(f"{MENU} .progress-mark")).to_contain_text(mark)
    page.goto(f"{book.folder.as_uri()}/intro.html")
    expect(page.locator(".bd-article .progress-mark")).to_have_count(1)

    page.goto(f"{book.folder.as_uri()}/{PAGE}.html")
    page.get_by_role("button", name="Forget my progress").click()
    assert "forgotten" in page.locator(".progress-box").inner_text()
    expect(page.locator(".progress-line")).to_have_text(line())
    assert page.evaluate("Object.keys(localStorage).filter(key => key.includes('progress'))") == []
    for what in (".quiz-why.shown", ".progress-mark", ":is(.quiz-option, .exercise-done) :checked"):
        expect(page.locator(what)).to_have_count(0)
    assert problems == []


def test_all_done_is_a_tick_in_the_menu(open_page):
    page = open_page()
    for number, letter in enumerate(RIGHT, start=1):
        answer(page, number, letter)
    for box in page.locator(".exercise-done input").all():
        box.check()
    expect(page.locator(".progress-line")).to_have_text(line(len(TITLES), len(RIGHT)))
    expect(page.locator(f"{MENU} .progress-mark")).to_contain_text("✓")


def test_a_question_can_be_answered_by_the_keyboard(open_page):
    page = open_page()
    page.locator(".quiz-option input").first.focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator(".quiz-why.shown")).to_have_count(0)  # to move is not to answer
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    shown = page.locator(".quiz-why.shown")
    expect(page.locator(".quiz-option", has=shown).get_by_role("radio")).to_be_checked()
    assert shown.locator("xpath=..").get_attribute("aria-live") == "polite"
    page.get_by_role("button", name="Check").nth(1).click()
    expect(page.locator(".quiz-missing").nth(1)).to_have_text("Choose an answer first.")


def test_two_tabs_show_the_same(open_page, book):
    page = open_page()
    other = page.context.new_page()
    other.goto(f"{book.folder.as_uri()}/{PAGE}.html")
    answer(other, 1, RIGHT[0])
    page.wait_for_function("document.querySelectorAll('.quiz-why.shown').length === 1")
    answer(page, 2, RIGHT[1])
    expect(page.locator(".progress-line")).to_have_text(line(right=2))


REFUSE = """
for (const name of ["getItem", "setItem", "removeItem"]) {
    const method = Storage.prototype[name]
    Storage.prototype[name] = function (key, ...rest) {
        if (key.startsWith("segedu")) throw new DOMException("no", "SecurityError")
        return method.call(this, key, ...rest)
    }
}"""


def test_a_browser_that_keeps_nothing_still_answers_and_says_so(open_page):
    page = open_page(script=REFUSE)
    problems = watch(page)
    expect(page.locator(".progress-refused")).to_have_count(1)
    answer(page, 1, RIGHT[0])
    page.locator(".exercise-done input").first.check()
    expect(page.locator(".progress-line")).to_have_text(line(done=1, right=1))
    page.get_by_role("button", name="Forget my progress").click()
    expect(page.locator(".progress-line")).to_have_text(line())
    assert problems == []


@pytest.mark.parametrize("kept", ["{", "3", "null", json.dumps({PAGE: 3}), json.dumps({PAGE: {}})])
def test_what_is_kept_may_be_nonsense(open_page, book, kept):
    page = open_page()
    answer(page, 1, RIGHT[0])
    problems = watch(page)
    page.evaluate(
        """kept => {
            const key = Object.keys(localStorage).find(key => key.includes("progress"))
            localStorage.setItem(key, kept)
        }""",
        kept,
    )
    page.reload()
    expect(page.locator(".progress-line")).to_have_text(line())
    answer(page, 1, RIGHT[0])
    expect(page.locator(".progress-line")).to_have_text(line(right=1))
    assert problems == []


def test_without_scripts_the_options_unfold_as_in_a_notebook(open_page):
    page = open_page(java_script_enabled=False)
    options = page.locator("details.quiz")
    assert options.count() >= 3 * len(RIGHT)
    options.first.locator("summary").click()
    expect(options.first.locator("p").first).to_be_visible()
    expect(page.locator(".quiz-option, .exercise-done, .progress-box")).to_have_count(0)
    expect(page.locator(".progress-line")).to_be_hidden()


def test_print_shows_every_explanation_and_no_button(open_page):
    page = open_page()
    expect(page.locator(".quiz-why").last).to_be_hidden()
    page.emulate_media(media="print")
    expect(page.locator(".quiz-why").last).to_be_visible()
    for control in (".quiz-check", ".exercise-done", ".progress-line", ".progress-box"):
        expect(page.locator(control).first).to_be_hidden()


@pytest.mark.parametrize(("width", "theme"), [(1400, "light"), (360, "dark")])
def test_an_answered_page_is_accessible(open_page, width, theme):
    page = open_page()
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=theme)
    answer(page, 1, wrong(RIGHT[0]))
    answer(page, 2, RIGHT[1])
    page.locator(".exercise-done input").first.check()
    assert inaccessible(page) + too_wide(page) == []


@pytest.mark.parametrize("width", [1400, 375])
def test_the_line_at_the_top_moves_nothing(open_page, width):
    """Its room is the same before and after the script fills it."""
    page = open_page()
    page.set_viewport_size({"width": width, "height": 900})
    measure = "document.querySelector('.progress-line').getBoundingClientRect().height"
    filled = page.evaluate(measure)
    page.evaluate("document.querySelector('.progress-line').textContent = ''")
    assert page.evaluate(measure) == pytest.approx(filled, abs=1)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_exercise_has_its_tick_and_every_question_its_button(open_page, book, name):
    notebook = read(name)
    exercises, questions = len(tasks(notebook)), len(right_letters(notebook))
    page = open_page(name)
    expect(page.locator(".exercise-done")).to_have_count(exercises)
    expect(page.locator(".quiz-check")).to_have_count(questions)
    expect(page.locator("details.quiz")).to_have_count(0)
    expect(page.locator("p.progress-line")).to_have_count(int(bool(exercises or questions)))
    expect(page.get_by_text("to have your answer checked.")).to_have_count(exercises)
    assert "it is not written yet" not in (book.folder / f"{name}.html").read_text("utf-8")
