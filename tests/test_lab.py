"""The chapters as a reader of JupyterLab meets them: opened in a real one, run there, and looked at.

CI runs the chapters of CHAPTERS; `NTM_LAB=all` runs every one.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook
from playwright.sync_api import Browser, Page, TimeoutError
from test_book import CHAPTERS as ALL
from test_book import SMALL, source

CHAPTERS = ALL if os.environ.get("NTM_LAB") == "all" else ["index", "memory", "copy_task", "glossary"]
SETTINGS = '{"windowingMode": "none"}'  # every cell is drawn, also those out of sight
# A role, a directive, a target and a label as JupyterLab draws them: the backticks are gone.
RAW = re.compile(r"\{[a-z]+(:[a-z]+)?\}\S|:::|\([a-z]+-[\w-]+\)=|\(eq-[\w-]+\)")
PATIENCE = 120_000  # milliseconds for all cells of a chapter


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The chapters side by side, with small parameters written into them."""
    folder = tmp_path_factory.mktemp("lab") / "book"
    shutil.copytree(source("index").parent, folder)
    for name in ALL:
        if SMALL[name]:
            notebook = parameterize_notebook(load_notebook_node(str(source(name))), SMALL[name])
            nbformat.write(notebook, folder / f"{name}.ipynb")
    return folder


@pytest.fixture(scope="module")
def lab(folder) -> Iterator[str]:
    """The address of a JupyterLab that has the chapters and nothing of this machine's own settings."""
    home = folder.parent
    settings = home / "settings" / "@jupyterlab" / "notebook-extension"
    settings.mkdir(parents=True)
    (settings / "tracker.jupyterlab-settings").write_text(SETTINGS)
    places = {
        name: str(home / name.lower()) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR")
    }
    places |= {"JUPYTERLAB_SETTINGS_DIR": str(home / "settings"), "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces")}
    options = [
        "--no-browser",
        "--allow-root",
        "--port=0",
        "--IdentityProvider.token=",
        "--LabApp.expose_app_in_browser=True",
    ]
    log = home / "log"
    with log.open("w") as file:
        command = [sys.executable, "-m", "jupyterlab", *options, f"--ServerApp.root_dir={folder}"]
        server = subprocess.Popen(command, stdout=file, stderr=file, env=os.environ | places, start_new_session=True)
        try:
            address = None
            for _ in range(240):
                address = re.search(r"http://127\.0\.0\.1:\d+/", log.read_text())
                if address or server.poll() is not None:
                    break
                time.sleep(0.25)
            assert address, log.read_text()
            yield address[0]
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait()


def open_chapter(browser: Browser, lab: str, name: str) -> Page:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(60_000)
    page.goto(f"{lab}lab/tree/{name}.ipynb?reset")
    wait_for_notebook(page)
    return page


def wait_for_notebook(page: Page) -> None:
    page.wait_for_selector(".jp-Notebook .jp-RenderedMarkdown h1")
    page.wait_for_function("jupyterapp.shell.currentWidget?.context?.isReady")


def run_all(page: Page) -> None:
    """All cells; in the page loaded anew where JupyterLab waits for an answer that a busy machine lost on its way."""
    run = (
        "window.ran = false; void jupyterapp.commands.execute('notebook:run-all-cells').then(() => (window.ran = true))"
    )
    for attempt in range(3):
        try:
            page.wait_for_function("jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status === 'idle'")
            page.evaluate(run)
            page.wait_for_function("window.ran", timeout=PATIENCE)
            break
        except TimeoutError:
            if attempt == 2:
                raise
            page.reload()
            wait_for_notebook(page)
    page.wait_for_timeout(500)  # for what the last cells show


def prose(page: Page) -> str:
    """What a reader reads: the Markdown of cells and of outputs."""
    return "\n".join(page.locator(".jp-Notebook .jp-RenderedMarkdown").all_inner_texts())


@pytest.mark.parametrize("markup", ["a {term}`key`.", "{glue:text}`a:.0f`", ":::{note}", "(sec-x)=", "$$x$$ (eq-x)"])
def test_raw_markup_would_be_seen(markup, folder, lab, browser):
    cells = [nbformat.v4.new_markdown_cell("# Title"), nbformat.v4.new_markdown_cell(markup)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "raw.ipynb")
    with open_chapter(browser, lab, "raw") as page:
        assert RAW.search(prose(page)), prose(page)


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_reads_well_after_it_ran(name, lab, browser):
    cells = nbformat.read(source(name), as_version=4).cells
    with open_chapter(browser, lab, name) as page:
        folded = sum(cell.metadata.get("jupyter", {}).get("source_hidden", False) for cell in cells)
        assert page.locator(".jp-Notebook .jp-InputPlaceholder").count() == folded
        run_all(page)
        assert page.locator("[data-mime-type='application/vnd.jupyter.error']").all_inner_texts() == []
        assert not RAW.search(prose(page)), RAW.search(prose(page))
        asks = sum("say(" in cell.source for cell in cells if cell.cell_type == "code")
        said = page.locator(".jp-OutputArea-output.jp-RenderedMarkdown").count()
        assert said >= asks
        for picture in page.locator(".jp-OutputArea-output img").all():
            assert picture.get_attribute("alt")
            assert picture.evaluate("image => image.complete && image.naturalWidth > 0")
        assert page.locator(".jp-Notebook .progress-bar-danger, .jp-Notebook .bar-danger").count() == 0


def write_notebook(path: Path, *cells: str) -> None:
    """A title and these cells of code."""
    code = [nbformat.v4.new_code_cell(text) for text in cells]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    whole = [nbformat.v4.new_markdown_cell("# Title"), *code]
    nbformat.write(nbformat.v4.new_notebook(cells=whole, metadata=kernel), path)


def test_a_laboratory_is_a_widget_whose_setting_python_sees_and_sets(folder, lab, browser):
    shown = """
import ipywidgets
from ntm.page import demos
toy, label = demos.MemoryToy(), ipywidgets.Label()
ipywidgets.dlink((toy.widget, "setting"), (label, "value"))
toy"""
    write_notebook(folder / "toy.ipynb", shown.strip(), "label")
    with open_chapter(browser, lab, "toy") as page:
        run_all(page)
        toy = page.locator(".jp-OutputArea-output .ntm-demo")
        toy.get_by_role("slider", name="row 3", exact=True).fill("1")
        page.locator(".widget-label", has_text="0,0,0,1;1,1,0;7,0,0;").wait_for()
        assert "at row 3 (1.00 of the weight). With these weights it reads (4.00, 4.00, 4.00)" in toy.inner_text()
        assert "#toy=" not in page.url


def test_a_player_is_a_widget_whose_timestep_links_with_others(folder, lab, browser):
    shown = """
import ipywidgets
from ntm.page import player
shown = player.Player({"a": [player.tape("a", [[0, 1], [1, 0], [1, 1]])]})
number = ipywidgets.BoundedIntText(max=2, description="elsewhere")
ipywidgets.jslink((shown.widget, "timestep"), (number, "value"))
shown"""
    write_notebook(folder / "player.ipynb", shown.strip(), "number")
    with open_chapter(browser, lab, "player") as page:
        run_all(page)
        slider = page.locator(".jp-OutputArea-output .ntm-player").get_by_role("slider")
        number = page.get_by_label("elsewhere")
        slider.press("ArrowRight")
        page.wait_for_function("number => number.value === '1'", arg=number.element_handle())
        number.fill("2")
        number.press("Enter")
        page.wait_for_function("slider => slider.value === '2'", arg=slider.element_handle())
        assert "#" not in page.url


def test_a_link_leads_to_a_section_of_another_chapter(lab, browser):
    with open_chapter(browser, lab, "memory") as page:
        page.locator(".jp-RenderedMarkdown a:text-is('read vector')").click()
        heading = page.locator("[data-jupyter-id='read-vector']")
        heading.wait_for(state="visible")
        page.wait_for_timeout(1000)
        assert heading.evaluate(
            "h => { const r = h.getBoundingClientRect(); return r.top >= 0 && r.bottom <= innerHeight }"
        )
