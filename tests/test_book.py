"""The book: its sources, every chapter run at small sizes, the site built from them, and its pages in a browser."""

import functools
import html
import itertools
import os
import re
import shutil
import subprocess
import sys
import warnings
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import nbformat
import papermill
import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

import book
from ntm.engine import same

# Tests hand on what the former ones made: chapters, the site, its pages. So `make test` gives each file to one worker.
pytestmark = pytest.mark.once

ROOT = Path(__file__).parent.parent
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
PAGES = [[page["file"] for page in part["chapters"]] for part in TOC["parts"]]
LOOKED_UP = PAGES[-1]
LOOKED_UP.remove("reference")  # made of docstrings, not run
CHAPTERS = [TOC["root"], *itertools.chain.from_iterable(PAGES)]
EXEMPT = ["index", "reproducing", *LOOKED_UP]  # from having a question as a title
LINES = 25  # of code in a cell, at most
OURS = {"include": [["main"]]}
# What only Sphinx understands, and a reader in JupyterLab would see as it stands: roles, directives, targets, labels.
RAW = re.compile(
    r"(?<!`)\{[\w:+-]+\}`[^`\s]|^\s*:{3,}|^\s*`{3,}\s*\{|^\s*\([\w-]+\)=\s*$|\$\$ *\([\w-]+\)", re.MULTILINE
)

# Papermill makes the runs smaller and nothing else: these are parameters of the chapters, and no chapter asks for more.
SMALL: dict[str, dict[str, object]] = {
    "index": {"seeds": [0], "length": 30, "sequences": 2},
    "scorecard": {"copy_seeds": [0], "other_seeds": [1], "lists": 2},
    "memory": {},
    "addressing": {},
    "controller": {},
    "copy_task": {
        "limit": 200,
        "sequences": 2,
        "paper_lengths": [10, 30],
        "seeds": [0],
        "lstm_seeds": [0],
        "short_updates": 2,
    },
    "reading_the_tape": {},
    "generalisation": {
        "lengths": [20, 30],
        "longer": [40, 60],
        "memories": [64, 64],
        "sequences": 2,
        "lists": 2,
        "seeds": [0],
        "lstm_seeds": [0],
    },
    "repeat_copy": {"limit": 200, "seeds": [1], "lists": 4, "each_way": 1, "wiped_lists": 10},
    "associative_recall": {
        "limit": 200,
        "seeds": [1],
        "lists": 6,
        "counts": [6, 20],
        "counted": 6,
        "far": [[9, 64]],
        "far_lists": 2,
    },
    "ngrams": {"limit": 200, "seeds": [2], "lists": 4, "late": 180, "memories": [64, 128]},
    "initialisation": {"limit": 400},
    "priority_sort": {"limit": 200, "seeds": [1], "lists": 6, "numbers": [5, 20]},
    "speed": {"batch": 2, "updates": 2, "watched": 12},
    "the_story": {"repeats": 1, "seeds": 1},
    "loss_is_nan": {"rows": 200, "seen": 10, "steps": 12},
    "sigmoid_on_weightings": {
        "length": 4,
        "batch": 2,
        "seeds": [1],
        "random_starts": 20,
        "live_seeds": [0],
        "updates": 4,
        "longest": 2,
    },
    "bce_or_huber": {"updates_faulty": 6, "lists": 2, "updates": 10, "seeds": [0]},
    "subtle_bugs": {"sequences": 2, "length": 4},
    "how_to_debug": {"updates": 2, "updates_of_one": 2},
    "reproducing": {"updates": 20},
    "glossary": {},
    "references": {},
}


def source(name: str) -> Path:
    return ROOT / "book" / f"{name}.ipynb"


# --- the sources ---------------------------------------------------------------------------------------------


def test_the_table_of_contents_names_every_chapter():
    assert sorted(CHAPTERS) == sorted(path.stem for path in (ROOT / "book").glob("*.ipynb"))
    assert sorted(CHAPTERS) == sorted(SMALL)


@pytest.mark.parametrize("name", CHAPTERS)
def test_source(name):
    notebook = nbformat.read(source(name), as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert sum("parameters" in cell.metadata.get("tags", []) for cell in code) == (name not in LOOKED_UP)
    title = notebook.cells[0].source.splitlines()[0]
    assert title.startswith("# ") and (title.endswith("?") or name in EXEMPT), title
    for cell in code:
        assert cell.outputs == [] and cell.execution_count is None, f"not stripped (make tidy): {cell.source}"
        assert len(cell.source.splitlines()) <= LINES, f"more than {LINES} lines: {cell.source}"


@pytest.mark.parametrize(
    "markup", ["{term}`key`", "{glue:text}`a:.0f`", ":::{note}", "```{glossary}", "(sec-x)=", "$$ (eq-x)"]
)
def test_raw_finds(markup):
    assert RAW.search(f"words\n{markup}\nwords")


@pytest.mark.parametrize("words", ["`{a}` and {1, 2}", "$f(x)$ (see below)", "```\ncode\n```", "$$x$$", "a: b::"])
def test_raw_leaves_alone(words):
    assert not RAW.search(f"words\n{words}\nwords")


@pytest.mark.parametrize("name", CHAPTERS)
def test_prose_needs_no_sphinx(name):
    for cell in nbformat.read(source(name), as_version=4).cells:
        if cell.cell_type == "markdown":
            assert not RAW.search(cell.source), cell.source


@pytest.mark.parametrize("name", CHAPTERS)
def test_what_is_folded_in_the_page_is_folded_in_jupyter(name):
    for cell in nbformat.read(source(name), as_version=4).cells:
        hidden = {"hide-input", "hide-cell", "remove-input"} & set(cell.metadata.get("tags", []))
        assert bool(hidden) == cell.metadata.get("jupyter", {}).get("source_hidden", False), cell.source
        if hidden - {"remove-input"}:  # a fold has a name that says what it holds
            assert cell.metadata.get("mystnb", {}).get("code_prompt_show", "").startswith("Show "), cell.source


@pytest.mark.parametrize("name", CHAPTERS)
def test_unknown_parameter(name, tmp_path):
    known = ", ".join(papermill.inspect_notebook(str(source(name))))
    with pytest.raises(ValueError, match=f"^{name}.ipynb has no parameter sed; it has {known or 'none'}$"):
        book.execute(source(name), tmp_path / "out.ipynb", {"sed": 3})
    assert not any(tmp_path.iterdir())


# --- running them --------------------------------------------------------------------------------------------


def execute(path: Path, destination: Path, **parameters: object) -> subprocess.CompletedProcess[str]:
    """Run a chapter by the command that make uses."""
    options = [word for name, value in parameters.items() for word in ("-p", name, repr(value))]
    command = [sys.executable, ROOT / "tools" / "book.py", "execute", path, destination, *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=900)


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("site")


@pytest.fixture(scope="session")
def running(folder):
    """Every chapter on its way, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        yield {
            name: pool.submit(execute, source(name), folder / "book" / f"{name}.ipynb", **SMALL[name])
            for name in CHAPTERS
        }


def fault(name: str, running: dict[str, Future], folder: Path) -> str:
    """Why a chapter did not run to its end, or what it warned of."""
    run = running[name].result()
    return run.stderr if run.returncode else "\n".join(book.warnings_in(folder / "book" / f"{name}.ipynb"))


@pytest.mark.parametrize("name", CHAPTERS)
def test_chapter_runs(name, running: dict[str, Future], folder):
    wrong = fault(name, running, folder)
    if wrong:
        log = folder / "book" / f"{name}.log"
        print(log.read_text() if log.exists() else "")  # the folder will be gone
        pytest.fail(wrong, pytrace=False)


@pytest.mark.parametrize("name", CHAPTERS)
def test_what_a_chapter_prints_needs_no_sphinx(name, running, folder):
    if running[name].result().returncode:
        pytest.skip("the chapter did not run: see test_chapter_runs")
    for cell in nbformat.read(folder / "book" / f"{name}.ipynb", as_version=4).cells:
        for output in cell.get("outputs", []):
            printed = output.get("data", {}).get("text/markdown", "")
            assert not RAW.search(printed), printed


@pytest.mark.parametrize(
    "cell, what",
    [
        ("1 / length", r"\(1 / length\): ZeroDivisionError: division by zero\. The traceback is in"),
        # What the kernel's process says by itself while it stops is for the log too.
        (
            "import atexit, os\natexit.register(os.write, 2, b'last words')\n1 / length",
            r"\(import atexit, os\): ZeroDivisionE",
        ),
        ("# On several lines\nraise ValueError('one\\ntwo')", r"\(# On several lines\): ValueError: one two\. The"),
        ("import os\nlength or os._exit(1)", r"\(import os\): the kernel died, .* make JOBS=1 book\)\. The traceback"),
    ],
)
def test_a_failing_chapter_says_where_in_one_line_and_leaves_a_log(cell, what, tmp_path):
    cells = [nbformat.v4.new_code_cell(source) for source in ("length = 1", "length", cell, "length")]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), tmp_path / "chapter.ipynb")
    out = tmp_path / "out" / "chapter.ipynb"
    run = execute(tmp_path / "chapter.ipynb", out, length=0)
    assert run.returncode == 1 and re.search(rf"/chapter\.ipynb, code cell 3 {what}", run.stderr), run.stderr
    assert len(run.stderr.splitlines()) == 1 and str(out.with_suffix(".log")) in run.stderr
    assert [path.name for path in out.parent.iterdir()] == ["chapter.log"]
    log = out.with_suffix(".log").read_text()
    assert log and bool(re.search("^last words", log, re.M)) == ("last words" in cell)
    if "raise" not in cell:
        assert execute(tmp_path / "chapter.ipynb", out, length=2).returncode == 0
        assert [path.name for path in out.parent.iterdir()] == ["chapter.ipynb"]


def test_what_a_chapter_warns_of_keeps_it_from_the_site(tmp_path):
    sources = "length = 1", "import sys\nprint('careful\\nnow', file=sys.stderr)", "print(length)"
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), tmp_path / "source.ipynb")
    book.execute(tmp_path / "source.ipynb", tmp_path / "out" / "memory.ipynb", {"length": 2})
    said = "memory.ipynb, code cell 2 (import sys) printed to standard error: careful now"
    assert book.warnings_in(tmp_path / "out" / "memory.ipynb") == [said]
    with pytest.raises(ValueError, match=re.escape(said)):
        book.site(tmp_path / "out", tmp_path)


def test_that_nothing_compiles_is_said_on_the_way_and_not_on_the_page(monkeypatch):
    stderr = functools.partial(nbformat.v4.new_output, "stream", name="stderr")
    monkeypatch.setattr(same, "_told", set())
    with pytest.warns(UserWarning) as told:
        same.tell(same.Reason("numba is not installed"))
    (said,) = told
    ours = warnings.formatwarning(said.message, said.category, said.filename, said.lineno)
    cells = [
        nbformat.v4.new_code_cell(outputs=outputs) for outputs in ([stderr(text=ours)], [stderr(text=f"a\n{ours}b")])
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(), *cells])
    assert book.uncompiled(notebook) == 2 * ["numba is not installed: the literal model runs, many times slower"]
    assert [[output.text for output in cell.outputs] for cell in notebook.cells[1:]] == [[], ["a\nb"]]


def test_make_runs_only_what_changed(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    old = ["requirements.txt", "pyproject.toml", "_config.yml", "_toc.yml", "ntm/memory.py", "tools/book.py"]
    old += ["data/run/log.csv", *(f"book/{name}.ipynb" for name in CHAPTERS)]
    new = [".venv/installed", *(f"_build/book/{name}.ipynb" for name in CHAPTERS), "_build/site"]
    for age, name in enumerate(old + new):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (age, age))

    def executed_after(change: str) -> list[str]:
        before = (tmp_path / change).stat().st_mtime
        os.utime(tmp_path / change)
        run = subprocess.run(["make", "-n", "book"], cwd=tmp_path, capture_output=True, text=True, check=True)
        os.utime(tmp_path / change, (before, before))
        assert "book.py site" in run.stdout or change == "Makefile"
        return sorted(line.split()[3] for line in run.stdout.splitlines() if "book.py execute" in line)

    everything = sorted(f"book/{name}.ipynb" for name in CHAPTERS)
    assert executed_after("Makefile") == []
    assert executed_after("_config.yml") == []
    assert executed_after("book/memory.ipynb") == ["book/memory.ipynb"]
    assert executed_after("ntm/memory.py") == everything
    assert executed_after("data/run/log.csv") == everything


# --- the pages -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def building(folder, running) -> Path | ValueError:
    """The site built from the small chapters, where any warning is an error; or that error, which one test reports."""
    failed = [name for name in CHAPTERS if fault(name, running, folder)]
    if failed:
        pytest.skip(f"there is no site, since chapters failed: see test_chapter_runs of {', '.join(failed)}")
    (folder / "book" / ".running-killed").mkdir()  # as a build leaves it that was killed
    shutil.copy(folder / "book" / "memory.ipynb", folder / "book" / ".running-killed")
    try:
        return book.site(folder / "book", folder).parent
    except ValueError as error:
        return error


@pytest.fixture
def site(building) -> Path:
    if isinstance(building, ValueError):
        pytest.skip("there is no site: see test_site_is_built")
    return building


def test_site_is_built(building):
    if isinstance(building, ValueError):
        pytest.fail(f"{building}", pytrace=False)
    site = building
    assert {f"{name}.html" for name in CHAPTERS} <= {page.name for page in site.iterdir()}
    for name in CHAPTERS:  # what the page offers for download is the executed notebook
        notebook = nbformat.read(site / "_sources" / f"{name}.ipynb", as_version=4)
        assert name in LOOKED_UP or any(cell.get("execution_count") for cell in notebook.cells), name


def open_page(browser: Browser, address: str, **options) -> tuple[Page, list[str]]:
    """A page that has come to rest, and what it complained of or asked other hosts for."""
    page = browser.new_page(**options)
    faults: list[str] = []
    page.on("request", lambda r: r.url.startswith(("file:", "data:", "blob:")) or faults.append(f"asks for {r.url}"))
    page.on("requestfailed", lambda request: faults.append(f"did not get {request.url}"))
    page.on("console", lambda message: message.type == "error" and faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(address)
    page.wait_for_load_state("networkidle")
    if page.locator("article .math").count():
        page.wait_for_selector("article .math mjx-container svg")
    return page, faults


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", [*CHAPTERS, "search", "reference"])
def test_page(name, scheme, site, browser):
    page, faults = open_page(browser, f"{site.as_uri()}/{name}.html", color_scheme=scheme)
    with page:
        assert page.locator("html").get_attribute("data-theme") == scheme
        options = {"runOnly": ["wcag2a", "wcag2aa"], "preload": False}  # preload asks for style sheets by XHR
        for violation in Axe().run(page, context=OURS, options=options).response["violations"]:
            if violation["impact"] in ("serious", "critical"):
                faults += [f"{violation['help']}: {node['html']}" for node in violation["nodes"]]
        pictures = page.locator("main img").evaluate_all("all => all.map(img => img.getAttribute('alt'))")
        faults += [f"a picture without words: {alt}" for alt in pictures if not alt or alt.endswith(".png")]
        page.set_viewport_size({"width": 390, "height": 800})
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            faults.append("is wider than a phone")
    assert faults == []


def test_the_reference_has_every_module_and_what_is_in_it(site):
    shown = (site / "reference.html").read_text()
    files = [path for path in (ROOT / "ntm").rglob("*.py") if not path.name.startswith("__")]
    for module in ["ntm.engine", *(".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files)]:
        assert f'id="module-{module}"' in shown, module
    for name in ("ntm.addressing.sharpen", "ntm.model.NTM.forward", "ntm.training.TrainingConfig", "ntm.runs.load"):
        assert f'id="{name}"' in shown, name
    page = html.unescape(re.sub("<[^>]*>", "", shown))
    assert "sharpen(weighting: Tensor, gamma: Tensor" in re.sub(r"\s+", " ", page).replace("( ", "(")
    assert "inputs: (T,B,X)" in page and "Alias for field number" not in page  # the comments beside fields
    assert "target 0      . . . . . 1 . 1" in page  # a drawing keeps its columns


SEARCHED = {  # what a reader types who knows only the symptom, and the chapter that must be among those found
    "memory": "memory",
    "NaN": "loss_is_nan",
    "loss stuck": "bce_or_huber",
    "Huber": "bce_or_huber",
    "sigmoid": "sigmoid_on_weightings",
    "rows equal": "loss_is_nan",
    "slow never": "subtle_bugs",
    "symptom": "how_to_debug",
    "vectorised": "the_story",
    "key strength": "glossary",
    "Kingma": "references",
}


@pytest.mark.parametrize("words", SEARCHED)
def test_search_finds(words, site, browser):
    page, faults = open_page(browser, f"{site.as_uri()}/search.html?q={words}")
    with page:
        page.wait_for_selector("#search-results li a")
        page.wait_for_selector("#search-results p.search-summary:has-text('found')")
        found = page.locator("#search-results li a").evaluate_all("all => all.map(a => a.getAttribute('href'))")
    assert faults == []
    assert any(address.startswith(f"{SEARCHED[words]}.html") for address in found), found


def test_the_index_leads_from_symptoms_to_chapters(site):
    page = (site / "index.html").read_text()
    table = page[page.index('id="if-yours-does-not-work"') :]
    for name in ("loss_is_nan", "sigmoid_on_weightings", "bce_or_huber", "subtle_bugs", "how_to_debug", "the_story"):
        assert f'href="{name}.html"' in table


def test_player_moves_with_the_keyboard(site, browser):
    players = 0
    for name in CHAPTERS:
        page, faults = open_page(browser, f"{site.as_uri()}/{name}.html")
        with page:
            for player in page.locator(".ntm-player").all():
                players += 1
                slider = player.locator("input[type=range]")
                picture = player.locator("canvas").first

                def pixels(canvas=picture) -> str:
                    return canvas.evaluate("canvas => canvas.toDataURL()")

                before = pixels()
                slider.press("ArrowRight")
                after = pixels()
                slider.press("ArrowLeft")
                assert before != after and pixels() == before, f"the player in {name} stands still"
        assert faults == []
    assert players, "no chapter has a player"
