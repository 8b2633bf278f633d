"""The explorers in a real JupyterLab: sliders, figure and Python move together."""

import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import expect

from segedu.explorers import LossExplorer

from .pages import watch

pytestmark = pytest.mark.slow
CELLS = [
    "import numpy as np\n"
    "from segedu import explorers\n"
    "masks = np.random.default_rng(0).integers(0, 3, (2, 20, 8, 8))\n"
    "masks[:, 5:9] = 0  # images with nothing to find, and nothing found\n"
    "explorer = explorers.LossExplorer()\n"
    "seen = []\n"
    "explorer.observe(lambda change: seen.append(change['new']), 'gamma')",
    "explorer",
    "explorers.IoUExplorer()",
    "explorers.GridExplorer()",
    "explorers.ConvExplorer()",
    "explorers.ThresholdExplorer(masks[0, 0] / 2, masks[1, 0] > 0)",
    "explorers.PoolingExplorer(*masks, num_classes=3)",
    "live = explorers.LiveSegmentation()\nlive",
    "explorer.gamma = 3",
    "print(seen)",
    "live.head = 1",
    "print(live.head, live.node, len(live.skips_off), live.pixel != ())",
]
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},  # draw every cell at once
    "apputils-extension/notification": {"fetchNews": "false"},
}


@pytest.fixture
def address(tmp_path):
    """A notebook with every explorer, in a JupyterLab of its own, beside one that was not run.

    Each test has its own: a JupyterLab opens again what was open before.
    """
    folder = tmp_path
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=kernel)
    nbformat.write(notebook, folder / "explorers.ipynb")
    data = {"text/html": LossExplorer().to_html(), "text/plain": "LossExplorer()"}
    saved = nbformat.v4.new_output("execute_result", data, execution_count=1)
    source = "from segedu.explorers import LossExplorer\nLossExplorer()"
    cell = nbformat.v4.new_code_cell(source, outputs=[saved])
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=kernel), folder / "saved.ipynb")
    for name, setting in SETTINGS.items():
        path = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(setting), encoding="utf-8")
    places = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    places = {name: folder / name for name in (*places, "JUPYTERLAB_WORKSPACES_DIR")}
    places["JUPYTERLAB_SETTINGS_DIR"] = folder / "settings"
    environment = os.environ | {name: str(path) for name, path in places.items()}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--port=0"]
    with (folder / "log").open("w", encoding="utf-8") as log:
        server = subprocess.Popen(
            [*command, "--expose-app-in-browser"],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        yield address_of(server, folder)
    finally:
        server.terminate()
        server.wait()


def address_of(server: subprocess.Popen, folder: Path) -> str:
    """The notebook's address, as soon as the server has written its own to a file."""
    file = folder / "JUPYTER_RUNTIME_DIR" / f"jpserver-{server.pid}.json"
    for _ in range(1200):
        if file.exists() and (text := file.read_text(encoding="utf-8")):
            return "{url}lab/tree/explorers.ipynb?token={token}".format(**json.loads(text))
        assert server.poll() is None, (folder / "log").read_text(encoding="utf-8")
        time.sleep(0.1)
    pytest.fail((folder / "log").read_text(encoding="utf-8"))


VALUE = "node => node.value ?? node.getAttribute('aria-valuenow')"  # of a list, of a slider


RUN_CELL = """number => {
    jupyterapp.shell.currentWidget.content.activeCellIndex = number
    return jupyterapp.commands.execute("notebook:run-cell")
}"""


def open_notebook(page, address: str):
    page.set_default_timeout(120_000)  # milliseconds
    page.goto(address)
    page.wait_for_function(
        "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status == 'idle'"
    )


def test_a_notebook_that_was_not_run_shows_the_picture(browser, address):
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    open_notebook(page, address.replace("explorers.ipynb", "saved.ipynb"))
    output = page.locator(".jp-OutputArea-output")
    expect(output.get_by_role("img", name="Curves of focal loss")).to_be_visible()
    expect(output).to_contain_text("This is only a picture")
    expect(output.locator("input, button, select")).to_have_count(0)
    page.evaluate(RUN_CELL, 0)
    gamma = output.get_by_role("slider").first
    before = output.locator(".summary").inner_text()
    gamma.press("ArrowRight")
    expect(output.locator(".summary")).not_to_have_text(before)
    expect(output.locator("img")).to_have_count(0)
    page.close()


def test_figure_sliders_and_python_move_together(browser, address):
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    problems = watch(page)
    open_notebook(page, address)
    run = partial(page.evaluate, RUN_CELL)
    for number in range(8):
        run(number)
    figures = page.locator(".jp-OutputArea-output .segedu-explorer")
    figures.locator(".summary").nth(6).wait_for()
    expect(figures).to_have_count(7)
    for figure in figures.all():
        expect(figure.locator(".summary")).not_to_be_empty()  # a network takes its time
        assert figure.locator("[role=slider], select").count() >= 1

    # every slider and every list, by keyboard, moves its figure
    for figure in figures.all():
        text = figure.locator(".summary").evaluate_handle("node => node.parentElement")
        # the last first: without 0 / 0 it does not matter what that counts as
        for control in reversed(figure.locator("[role=slider], select").all()):
            before = text.inner_html()
            control.focus()
            name = control.get_attribute("aria-label")
            assert name == control.evaluate(
                "node => node.closest('.widget-inline-hbox').querySelector('label').textContent"
            )
            for key in ("ArrowDown", "ArrowUp", "ArrowUp"):  # at least one finds another value
                value = control.evaluate(VALUE)
                page.keyboard.press(key)
                if control.evaluate(VALUE) != value:
                    break
            page.wait_for_function(
                "([node, before]) => node.innerHTML !== before", arg=[text, before]
            )

    # by mouse
    loss = figures.first
    gamma, says = loss.get_by_role("slider", name="γ, focusing"), loss.locator(".summary")
    gamma.scroll_into_view_if_needed()
    rail = loss.locator(".noUi-base").first.bounding_box()
    page.mouse.click(rail["x"] + 0.7 * rail["width"], rail["y"] + rail["height"] / 2)
    expect(says).to_contain_text(" = 3.5, ")
    loss.get_by_role("button", name="the course").click()
    expect(says).to_contain_text(" = 0.90, ")

    # a preset and the reset, which Python and its widgets follow
    conv = page.locator(".segedu-conv")
    operation = conv.get_by_role("combobox").first
    conv.get_by_role("button", name="checkerboard", exact=True).click()
    expect(operation).to_have_value("transposed")
    expect(conv.locator(".widget-readout").first).to_have_text("6")
    conv.get_by_role("button", name="reset").click()
    expect(operation).to_have_value("convolution")

    # from Python
    run(8)
    expect(says).to_contain_text(" = 3.0, ")
    expect(gamma).to_have_attribute("aria-valuenow", "3.0")

    # and Python has seen it all
    run(9)
    expect(page.locator(".jp-OutputArea-output pre").last).to_contain_text("3.5, 2.0, 3.0]")

    # the live network: what is done in the figure, and what is done from Python
    live = figures.last
    live.locator(".stage").first.click(position={"x": 60, "y": 120})  # draws
    live.locator(".stage").last.click(position={"x": 60, "y": 120})
    expect(live.locator(".reaches li")).to_have_count(4)
    live.get_by_role("button", name="X(1,2)").click()
    page.keyboard.press("ArrowDown")
    expect(live.locator(".title")).to_contain_text("X(2,2): 16 feature maps")
    live.get_by_role("button", name="all skips off").click()
    expect(live.locator(".summary")).to_contain_text("20 of 20 skips off")
    run(10)
    expect(live.locator(".summary")).to_contain_text("Head L1: IoU")
    run(11)
    expect(page.locator(".jp-OutputArea-output pre").last).to_contain_text("1 (2, 2) 20 True")
    assert problems == []
    page.close()
