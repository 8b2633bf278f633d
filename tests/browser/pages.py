"""What can be wrong with a page, in the words that a failing test prints."""

from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

HERE = {None, "127.0.0.1", "localhost"}  # hosts of file:, data: and of a local server


def watch(page) -> list[str]:
    """Collect, from now on, what goes wrong while the page loads and runs."""
    problems = []

    def on_request(request):
        if urlsplit(request.url).hostname not in HERE:
            problems.append(f"asks outside: {request.url}")

    def on_response(response):
        if response.status >= 400:
            problems.append(f"status {response.status}: {response.url}")

    def on_console(message):
        if message.type in ("error", "warning"):
            problems.append(f"console {message.type}: {message.text}")

    def on_failure(request):
        if request.failure != "net::ERR_ABORTED":  # by the page itself, as when another is opened
            problems.append(f"not loaded: {request.url}")

    page.on("request", on_request)
    page.on("response", on_response)
    page.on("requestfailed", on_failure)
    page.on("console", on_console)
    page.on("pageerror", lambda error: problems.append(f"uncaught: {error}"))
    return problems


def write_and_open(page, path: Path, main: str, theme: str = "light") -> None:
    """Make a page with this between its tags <main>, as a file, and open it."""
    path.write_text(
        f'<!doctype html><html lang="en" data-theme="{theme}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>A page</title></head>'
        f"<body><main><h1>A page</h1>{main}</main></body></html>",
        encoding="utf-8",
    )
    page.goto(path.as_uri())


def open_at(page, path, address, *figures):
    """Open figures as a file, with this, which begins with a #, at the end of its address."""
    write_and_open(page, path, "".join(figure.to_html() for figure in figures))
    page.goto("about:blank")
    page.goto(f"{path.as_uri()}{address}")


@contextmanager
def opened(page, path, explorer):
    """A function that opens one figure at an address and a width; nothing may go wrong."""

    def figure(address: str = "", width: int = 800):
        page.set_viewport_size({"width": width, "height": 1000})
        open_at(page, path, address, explorer)
        return page.locator(f".segedu-{explorer.name}")

    problems = watch(page)
    yield figure
    assert problems == []


def too_wide(page) -> list[str]:
    """Name the elements that make the page scroll sideways; none where it does not."""
    return page.evaluate(
        """() => {
            const width = document.documentElement.clientWidth
            if (document.documentElement.scrollWidth <= width) return []
            return [...document.querySelectorAll("body *")]
                .filter(element => element.getBoundingClientRect().right > width)
                .map(element => `too wide: ${element.outerHTML.slice(0, 100)}`)
        }"""
    )


def bad_math(page) -> list[str]:
    """List the formulas that are not typeset, or that MathJax takes for an error."""
    return page.evaluate(
        """async () => {
            await window.MathJax?.startup?.promise
            const typeset = math => math.querySelector("mjx-container:not(:has(mjx-merror))")
            return [...document.querySelectorAll(".math")]
                .filter(math => !typeset(math))
                .map(math => `bad formula: ${math.textContent}`)
        }"""
    )


def inaccessible(page) -> list[str]:
    """List what axe-core calls serious or critical. Takes most colours from the blocks of code."""
    from axe_playwright_python.sync_playwright import Axe  # where there is no browser: not needed
    from playwright.sync_api import TimeoutError

    page.evaluate(
        """() => {
            // A colour on its way from one theme to the other belongs to neither.
            document.getAnimations().forEach(animation => animation.finish())
            // One word of each colour in a block of code stands for the others: four times faster.
            for (const block of document.querySelectorAll(".highlight")) {
                const seen = new Set()
                for (const word of block.querySelectorAll("span[class]")) {
                    if (seen.has(word.className)) word.replaceWith(...word.childNodes)
                    seen.add(word.className)
                }
            }
        }"""
    )
    scrolled = """[...document.querySelectorAll("pre")].every(
        ({ tabIndex, scrollWidth, clientWidth }) => tabIndex === 0 || scrollWidth <= clientWidth
    )"""
    # The theme says a moment after a change which code can be scrolled.
    with suppress(TimeoutError):
        page.wait_for_function(scrolled, timeout=5000)
    # Without preload: from file:// the style sheets cannot be fetched a second time.
    results = Axe().run(page, options={"resultTypes": ["violations"], "preload": False})
    return [
        f"{violation['id']}: {node['html'][:150]} ({node['failureSummary']})"
        for violation in results.response["violations"]
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]
