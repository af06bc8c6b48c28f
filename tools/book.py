"""The two steps behind `make book`: run a chapter, and build the site from chapters that were run.

A reader can use the first step too: unlike papermill it refuses a parameter that the chapter does not have.

    python tools/book.py execute book/copy_task.ipynb out.ipynb -p seed 3
    python tools/book.py site _build/book .
"""

import argparse
import ast
import importlib.metadata
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import IO

# Else every chapter waits for a grammar of international addresses, 2 to 3 s, to be compiled; no notebook has any.
sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]

import nbformat
import papermill
from jupyter_client import AsyncKernelManager
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import strip_color

ROOT = Path(__file__).resolve().parent.parent
UNCOMPILED = re.compile(r".*UserWarning: (numba.*: the literal model runs, many times slower)\n.*\n?")
WIDGET = "application/vnd.jupyter.widget-view+json"


class ChapterError(Exception):
    """A chapter that did not run to its end: one line that says where, what, and where to read more."""


class Kernel(AsyncKernelManager):
    """A kernel that is asked to stop, and not interrupted first, which it may report as an error beside the cell's.

    What its process says by itself, as it may while it is being stopped, goes to the file `said`.
    """

    said: IO[bytes]

    async def _async_launch_kernel(self, kernel_cmd: list[str], **options: object) -> None:
        await super()._async_launch_kernel(kernel_cmd, stdout=self.said, stderr=self.said, **options)

    async def _async_interrupt_kernel(self) -> None:
        if not self.shutting_down:
            await super()._async_interrupt_kernel()


def execute(source: Path, destination: Path, parameters: dict[str, object]) -> None:
    """Run the chapter `source` with `parameters` and write the executed notebook, whole or not at all.

    Raises:
        ValueError: the chapter has no such parameter.
        ChapterError: a cell failed. The traceback is then in a file like `destination` that ends in .log.
    """
    known = papermill.inspect_notebook(str(source))
    unknown = sorted(set(parameters) - set(known))
    if unknown:  # papermill itself only logs this, and runs the chapter as if nothing had been asked
        raise ValueError(f"{source.name} has no parameter {', '.join(unknown)}; it has {', '.join(known) or 'none'}")
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # chapters run side by side, and would fight over the cores
    destination.parent.mkdir(parents=True, exist_ok=True)
    log = destination.with_suffix(".log")
    log.unlink(missing_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=destination.parent, prefix=".running-") as folder,
        tempfile.TemporaryFile() as said,
    ):
        scratch = Path(folder) / source.name
        kernel = type("Kernel", (Kernel,), {"said": said})
        try:
            papermill.execute_notebook(
                str(source),
                str(scratch),
                parameters,
                kernel_name="python3",
                cwd=str(source.parent),
                progress_bar=False,
                kernel_manager_class=kernel,
            )
        except Exception as error:  # a cell's own, or one of the machinery's many
            told = strip_color(f"{error}" if caused_by_cell(error) else traceback.format_exc())
            said.seek(0)
            log.write_text(told + said.read().decode(errors="replace"))
            where = f"The traceback is in {log}; to run its cells one by one: make lab"
            raise ChapterError(f"{source}, {failure(source, scratch, error)} {where}") from error
        notebook = nbformat.read(scratch, as_version=4)
        clean(notebook)
        for slow in uncompiled(notebook):
            print(f"{source}: {slow}")
        nbformat.write(notebook, scratch)
        scratch.replace(destination)


def caused_by_cell(error: Exception) -> bool:
    """Whether a cell raised, which says more than papermill's own way to it."""
    return isinstance(error, papermill.PapermillExecutionError)


def failure(source: Path, scratch: Path, error: Exception) -> str:
    """Where in the chapter it happened, and what: two sentences on one line."""
    run = nbformat.read(scratch if scratch.exists() else source, as_version=4)
    code = [cell for cell in run.cells if cell.cell_type == "code"]
    begun = [cell for cell in code if cell.metadata.get("papermill", {}).get("start_time")]
    if not begun:
        return f"before its first cell: {type(error).__name__}: {shortened(str(error))}."
    number = sum("injected-parameters" not in cell.metadata.get("tags", []) for cell in begun)
    if isinstance(error, papermill.PapermillExecutionError):
        what = f"{error.ename}: {error.evalue}"
    elif isinstance(error, DeadKernelError):
        what = "the kernel died, as it does where memory runs out (fewer chapters at a time: make JOBS=1 book)"
    else:
        what = f"{type(error).__name__}: {error}"
    return f"code cell {number} ({first_line(begun[-1])}): {shortened(what)}."


def first_line(cell: nbformat.NotebookNode) -> str:
    """Of a cell's source."""
    return str(cell.source).strip().partition("\n")[0]


def shortened(text: str) -> str:
    """The beginning of a text, on one line."""
    return " ".join(text.split())[:300]


def clean(notebook: nbformat.NotebookNode) -> None:
    """Make an executed notebook fit to publish: no second run, no traces of papermill, no dead widgets."""
    notebook.metadata["mystnb"] = {"execution_mode": "off"}
    notebook.metadata.pop("papermill", None)
    notebook.metadata.pop("widgets", None)  # a page has no kernel: what still works there is the widget's HTML
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        tags = cell.metadata.get("tags", [])
        if "injected-parameters" in tags:
            tags.append("remove-cell")
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if WIDGET not in o.get("data", {}) or "text/html" in o.data]


def uncompiled(notebook: nbformat.NotebookNode) -> list[str]:
    """Take out what the package says, once, where nothing compiles: true where the chapter ran, and no part of it."""
    told = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.get("name") == "stderr":
                told += UNCOMPILED.findall(output.text)
                output.text = UNCOMPILED.sub("", output.text)
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr" or output.text]
    return told


def warnings_in(notebook: Path) -> list[str]:
    """What an executed chapter printed to standard error, which no page should show: a line for each cell."""
    code = [cell for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code"]
    code = [cell for cell in code if "injected-parameters" not in cell.metadata.get("tags", [])]
    said = [" ".join(o.text for o in cell.outputs if o.get("name") == "stderr") for cell in code]
    return [
        f"{notebook.name}, code cell {number} ({first_line(cell)}) printed to standard error: {shortened(text)}"
        for number, (cell, text) in enumerate(zip(code, said, strict=True), 1)
        if text
    ]


def site(notebooks: Path, output: Path) -> Path:
    """Build the pages from the executed `notebooks` into `output`/_build/html and return the first page."""
    chapters = [path for path in sorted(notebooks.glob("*.ipynb")) if (ROOT / "book" / path.name).exists()]
    complaints = [line for chapter in chapters for line in warnings_in(chapter)]
    if complaints:
        raise ValueError("\n".join(complaints))
    pages = output / "_build" / "html"
    shutil.rmtree(pages, ignore_errors=True)  # Sphinx leaves the pages of removed chapters behind
    for left in notebooks.glob(".running-*"):  # by a build that was killed
        shutil.rmtree(left)
    sources = shutil.ignore_patterns("*.ipynb", ".*")
    shutil.copytree(ROOT / "book", notebooks, ignore=sources, dirs_exist_ok=True)
    # One file of MathJax that asks for no other, instead of the package's own extension, which copies 15 MB.
    mathjax = importlib.metadata.distribution("sphinx-mathjax-offline").locate_file("sphinx-mathjax-offline")
    shutil.copy(Path(str(mathjax), "static", "mathjax", "tex-svg-full.js"), notebooks / "_assets")
    command: list[str | Path] = [Path(sys.executable).with_name("jupyter-book"), "build", notebooks]
    command += ["--config", ROOT / "_config.yml", "--toc", ROOT / "_toc.yml", "--path-output", output.resolve()]
    # Everything is read again (--all), since Sphinx warns about a page only when it reads it.
    command += ["-W", "-n", "--keep-going", "--all", "-q"]
    if subprocess.run(command, stdout=subprocess.DEVNULL).returncode:  # what is wrong goes to standard error
        raise ValueError("jupyter-book found the faults above: there is no site")
    return pages / "index.html"


def value(text: str) -> object:
    """Read a parameter as a Python literal, or as the text itself where it is none."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def main() -> None:
    """Run one of the two steps from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)
    run = steps.add_parser("execute", help="run one chapter")
    run.add_argument("source", type=Path)
    run.add_argument("destination", type=Path)
    run.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), dest="parameters")
    build = steps.add_parser("site", help="build the pages from executed chapters")
    build.add_argument("notebooks", type=Path)
    build.add_argument("output", type=Path)
    arguments = parser.parse_args()
    logging.getLogger("papermill").addHandler(logging.NullHandler())  # what it says of failures is said below
    try:
        if arguments.step == "execute":
            start = time.monotonic()
            print(f"{arguments.source}: running", flush=True)
            execute(arguments.source, arguments.destination, {name: value(text) for name, text in arguments.parameters})
            print(f"{arguments.source}: done in {time.monotonic() - start:.0f} s", flush=True)
        else:
            site(arguments.notebooks, arguments.output)
    except (ValueError, OSError, ChapterError) as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    main()
