"""The package as others get it: a wheel, alone with what it asks for, and where nothing can be written."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.once
ROOT = Path(__file__).parent.parent
SMALLER = ("updates=10_000", "updates=3")  # all that is changed in the README's example
ONLY_FOR_SWEEPS = ["dask", "distributed"]
ONLY_FOR_THE_BOOK = ["matplotlib", "IPython", "ipywidgets", "anywidget", "ipykernel", "traitlets"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built in a copy, since building leaves files behind."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "ntm", source / "ntm", ignore=shutil.ignore_patterns("__pycache__"))
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, "-w", source, source], check=True)
    (built,) = source.glob("ntm-*.whl")
    return built


def required(names: list[str]) -> set[str]:
    """These distributions and all that they ask for here, extras left out."""
    found: set[str] = set()
    while names:
        name = names.pop()
        if name not in found:
            found.add(name)
            names += requirements(importlib.metadata.requires(name) or [])
    return found


def requirements(lines: list[str]) -> list[str]:
    """The names of what is installed here and not only for an extra."""
    names = []
    for line in lines:
        name, marker = re.match(r"[\w.-]+", line)[0], line.partition(";")[2]
        try:
            importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if "extra ==" not in marker:
            names.append(name)
    return names


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory) -> Path:
    """The interpreter of an environment with the wheel and what it asks for, as links to what is installed here."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    (info,) = packages.glob("ntm-*.dist-info")
    asked = re.findall(r"^Requires-Dist: (.*)$", (info / "METADATA").read_text(), re.MULTILINE)
    for name in required(requirements(asked)):
        distribution = importlib.metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files} - {"..", "__pycache__"}:
            if not (packages / top).exists():
                (packages / top).symlink_to(distribution.locate_file(top))
    return folder / "bin" / "python"


def run(python: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """In that environment and no other (-I), with warnings shown."""
    clean = {name: text for name, text in os.environ.items() if not name.startswith(("PYTHON", "NUMBA_", "XDG_"))}
    command = [str(python), "-I", "-W", "default", *words]
    return subprocess.run(
        command, env=clean | environment, cwd=python.parent, capture_output=True, text=True, timeout=600
    )


def test_the_wheel_has_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    kept = {
        str(path.relative_to(ROOT)) for path in (ROOT / "ntm").rglob("*") if path.suffix in (".py", ".js", ".typed")
    }
    assert packed == kept


def test_the_environment_has_only_what_was_asked_for(python):
    absent = f"import importlib.util as u; print([n for n in {ONLY_FOR_THE_BOOK + ONLY_FOR_SWEEPS} if u.find_spec(n)])"
    assert run(python, "-c", absent).stdout.strip() == "[]"


def test_the_example_of_the_readme(python):
    (example,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert example.count(SMALLER[0]) == 1
    said = run(python, "-c", example.replace(*SMALLER))
    assert said.returncode == 0, said.stderr
    assert said.stdout.startswith("Score(") and "Warning" not in said.stderr, said.stderr


def test_in_a_notebook_without_widgets_it_is_silent(python):
    notebook = "import sys, types; shell = types.SimpleNamespace(config={'IPKernelApp': {}}); "
    notebook += "sys.modules['IPython'] = types.SimpleNamespace(get_ipython=lambda: shell); "
    said = run(python, "-c", notebook + "from ntm import training; print(training.tqdm.__module__)")
    assert (said.stdout, said.stderr) == ("tqdm.asyncio\n", "")  # the bar of terminals


def test_the_command_line(python):
    said = run(python, "-m", "ntm", "--help")
    assert said.returncode == 0 and "train" in said.stdout and not said.stderr


def test_what_the_paper_reports_is_not_in_the_wheel(python):
    said = run(python, "-c", "from ntm import paper; paper.table(3)")
    assert "comes with the repository, not with the installed package; clone the repository" in said.stderr


FORWARD = "import torch, ntm; print(ntm.NTM(ntm.NTMConfig(inputs=3))(torch.zeros(2, 1, 3))[0].shape)"


def test_where_nothing_can_be_written_it_runs_and_warns_once(python):
    # Permissions do not hold root back; a file where a folder would be does.
    (folder,) = python.parents[1].glob("lib/*/site-packages/ntm/engine")
    shutil.rmtree(folder / "__pycache__", ignore_errors=True)
    (folder / "__pycache__").touch()
    try:
        said = run(python, "-c", FORWARD, HOME="/dev/null")
    finally:
        (folder / "__pycache__").unlink()
    assert said.stdout == "torch.Size([2, 1, 8])\n", said.stderr
    assert said.stderr.count("Warning") == 1 and "compiled code is not kept" in said.stderr, said.stderr
