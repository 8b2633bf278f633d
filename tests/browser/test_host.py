"""What all explorers share in a page without a kernel: the picture, the controls, the address."""

from playwright.sync_api import expect

from segedu import explorers

from .pages import open_at, write_and_open


def open_with(page, path, address, *makers):
    """Open figures as they start."""
    open_at(page, path, address, *(maker() for maker in makers))


def values(page, number=0):
    form = page.locator(".segedu-explorer > form").nth(number)
    return {
        control.get_attribute("name"): control.input_value()
        for control in form.locator("[type=range], [type=radio]:checked").all()
    }


def test_without_scripts_the_picture_is_seen_and_nothing_else(browser, tmp_path):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    write_and_open(page, tmp_path / "page.html", explorers.LossExplorer().to_html())
    picture = page.get_by_role("img", name="Curves of focal loss")
    expect(picture).to_be_visible()
    assert picture.bounding_box()["height"] > 300
    expect(page.locator("input, button, select")).to_have_count(0)
    context.close()


def test_print_shows_the_state(page, tmp_path):
    open_with(page, tmp_path / "page.html", "#loss?gamma=4", explorers.LossExplorer)
    page.emulate_media(media="print", color_scheme="dark")
    expect(page.get_by_role("status").last).to_contain_text("γ = 4.0")
    paper = page.locator(".segedu-explorer").evaluate("el => getComputedStyle(el).backgroundColor")
    assert paper == "rgb(250, 250, 250)"  # paper is light


def test_with_scripts_the_controls_take_the_place_of_the_picture(page, tmp_path):
    open_with(page, tmp_path / "page.html", "", explorers.LossExplorer)
    expect(page.locator("img")).to_have_count(0)
    assert values(page) == {"gamma": "2", "alpha": "0.25", "foreground": "0.1", "p": "0.3"}


def test_a_change_is_written_into_the_address(page, tmp_path):
    open_with(page, tmp_path / "page.html", "#top", explorers.LossExplorer, explorers.IoUExplorer)
    entries = page.evaluate("history.length")
    page.get_by_role("slider", name="γ").press("End")
    page.wait_for_url("**#loss?gamma=5.0")
    page.get_by_role("radio", name="square").check(force=True)
    page.wait_for_url("**#iou?shape=square")
    page.get_by_role("group", name="prediction, ").press("ArrowRight")
    page.wait_for_url("**#iou?shape=square&prediction=70.33")
    assert page.evaluate("history.length") == entries
    page.reload()  # goes on from there
    assert values(page, 1)["shape"] == "1"
    expect(page.get_by_role("group", name="prediction, columns 60 to 79")).to_be_visible()


def test_an_address_sets_the_controls_and_brings_the_figure_into_view(page, tmp_path):
    address = "#loss-2?gamma=4&alpha=0.904"
    open_with(page, tmp_path / "page.html", address, *[explorers.LossExplorer] * 3)
    assert values(page, 1) == {"gamma": "4", "alpha": "0.9", "foreground": "0.1", "p": "0.3"}
    for other in (0, 2):
        assert values(page, other)["gamma"] == "2"
    expect(page.get_by_role("status").nth(3)).to_contain_text("γ = 4.0, α = 0.90")
    page.wait_for_function("document.querySelectorAll('form')[1].getBoundingClientRect().top < 100")
    page.evaluate("location.hash = '#loss?alpha=1'")  # as a link in the text does
    page.wait_for_function("document.querySelector('[name=alpha]').value === '1'")
    page.evaluate("location.hash = '#loss?gamma=1'")  # what it does not name starts again
    page.wait_for_function("document.querySelector('[name=alpha]').value === '0.25'")


def test_an_address_with_anything_else_is_ignored(page, tmp_path):
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    file, start = (
        tmp_path / "page.html",
        {"gamma": "2", "alpha": "0.25", "foreground": "0.1", "p": "0.3"},
    )
    for query in ("gamma=5.1&alpha=&foreground=NaN", "delta=1", "%", "gamma=%zz", "data=1&start=2"):
        open_with(page, file, f"#loss?{query}", explorers.LossExplorer)
        assert values(page) == start, query
    places = "shape=star&truth=129.1&prediction=1"
    open_with(page, file, f"#iou?{places}&truth_size=3", explorers.IoUExplorer)
    assert values(page) == {
        "shape": "0", "zoom": "1", "truth_size": "3", "prediction_size": "20",
    }  # fmt: skip
    expect(page.get_by_role("group", name="truth, columns 59 to 61")).to_be_visible()
    assert problems == []


def test_every_setting_survives_the_address(page, tmp_path):
    address = (
        "#live?picture=crowded&noise=7&blur=1.5&pixel=3.95&head=2&node=2.1&skips_off=0.0.1_1.0.3"
    )
    open_with(page, tmp_path / "page.html", address, explorers.LiveSegmentation)
    assert values(page) == {
        "picture": "1", "noise": "7", "blur": "1.5", "light": "100", "head": "1",
    }  # fmt: skip
    expect(page.locator("p.summary")).to_contain_text("2 of 20 skips off")
    page.get_by_role("slider", name="noise").press("ArrowRight")
    page.wait_for_url("**" + address.replace("noise=7", "noise=8"))


def test_a_link_that_is_followed_while_a_change_waits_is_not_overwritten(page, tmp_path):
    open_with(page, tmp_path / "page.html", "", explorers.LossExplorer)
    page.evaluate(
        """() => {
            const { setTimeout } = window
            let write
            window.setTimeout = (callback) => (write = callback)
            const slider = document.querySelector("input[name=gamma]")
            slider.value = "1"
            slider.dispatchEvent(new Event("input", { bubbles: true }))
            window.setTimeout = setTimeout
            location.hash = "#loss?gamma=4.0"
            write()  // before the page hears of the new address
        }"""
    )
    page.wait_for_url("**#loss?gamma=4.0")
    expect(page.get_by_role("slider", name="γ")).to_have_value("4")
