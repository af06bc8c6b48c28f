"""What is compiled: made again when a source changes, kept where that can be, and never in the way where it cannot."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ntm.engine import compiler

pytestmark = pytest.mark.once  # each process says itself which machine it is on
ROOT = Path(__file__).parent.parent
COMPILES = pytest.mark.skipif(compiler.why_not() is not None, reason=str(compiler.why_not()))

READ = """
import numpy as np
from ntm.engine import kernels, simd
reads, memory, weighting = np.zeros(2), np.ones((2, simd.LANES)), np.full(simd.LANES, 1 / simd.LANES)
kernels.read(reads, memory, weighting)
print(reads.tolist(), sum(kernels.read.stats.cache_hits.values()))
"""


def run(code: str, before: str = "", folder: Path = ROOT, **environment: str) -> tuple[str, str]:
    """What a process that imports the package from a folder says on standard output and standard error."""
    own = ("PYTHONPATH", "NUMBA_DISABLE_JIT", "NUMBA_BOUNDSCHECK")
    variables = {name: text for name, text in os.environ.items() if name not in own} | environment
    command = [sys.executable, "-W", "default", "-c", before + code]
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr


@pytest.fixture
def copied(tmp_path):
    """Runs code with a copy of the package, whose sources may be changed, and a cache of its own."""
    shutil.copytree(ROOT / "ntm", tmp_path / "ntm", ignore=shutil.ignore_patterns("__pycache__"))
    cache = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    return lambda code, before="", **environment: run(code, before, tmp_path, **cache | environment)


@COMPILES
@pytest.mark.parametrize("name", ["simd", "kernels", "compiler"])
def test_a_changed_source_is_compiled_again_and_an_unchanged_one_is_not(name, copied, tmp_path):
    assert [copied(READ)[0] for _ in range(2)] == ["[1.0, 1.0] 0", "[1.0, 1.0] 1"]
    kept = sorted(path.name for path in tmp_path.glob("cache/*/*.nbc"))
    source, changed = tmp_path / "ntm" / "engine" / f"{name}.py", "[1.0, 1.0]"
    text = source.read_text()
    if name == "simd":
        text, changed = text.replace("ir.Constant(number, -0.0)", "ir.Constant(number, 7.0)"), "[8.0, 8.0]"
    source.write_text(text + "\n")
    assert [copied(READ)[0] for _ in range(2)] == [f"{changed} 0", f"{changed} 1"]
    after = sorted(path.name for path in tmp_path.glob("cache/*/*.nbc"))
    assert len(after) == len(kept) and not set(after) & set(kept)  # what became useless was taken away


TRAIN = """
import torch
from ntm import NTM, NTMConfig, tasks, training
torch.manual_seed(0)
machine = NTM(NTMConfig(controller="feedforward", hidden=30, locations=30))
log = training.train(machine, tasks.copy, training.TrainingConfig(updates=20), progress=False)
print(repr(log[-1].loss), [float(p.sum()) for p in machine.state_dict().values()])
"""


@COMPILES
def test_a_process_that_compiles_has_the_numbers_of_one_that_loads(copied):
    assert copied(TRAIN)[0] == copied(TRAIN)[0]


@COMPILES
def test_all_that_is_compiled_lies_in_the_sources_that_are_looked_at(copied, tmp_path):
    for path in (tmp_path / "ntm" / "engine").glob("*.py"):
        if path.stem not in compiler.SOURCES:
            assert "compiler.jit" not in path.read_text() and "numba.njit" not in path.read_text(), path.name


@COMPILES
def test_where_no_folder_can_be_written_it_compiles_without_one(copied, tmp_path):
    file, beside = tmp_path / "file", tmp_path / "ntm" / "engine" / "__pycache__"
    file.touch()
    nowhere = {"NUMBA_CACHE_DIR": f"{file}", "XDG_CACHE_HOME": f"{file}", "HOME": f"{file}"}
    assert copied(READ, **nowhere) == ("[1.0, 1.0] 0", "")
    assert copied(READ, **nowhere) == ("[1.0, 1.0] 1", "")  # beside the sources there is still room
    shutil.rmtree(beside)
    beside.touch()
    said, warned = copied(READ, **nowhere)
    assert said == "[1.0, 1.0] 0" and warned.count("UserWarning") == 1
    assert "compiled code is not kept, since there is no folder that can be written to" in warned


@COMPILES
def test_a_full_disk_costs_time_only(copied, tmp_path):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"  # as if no byte were left
    said, warned = copied(READ, limit, PYTHONDONTWRITEBYTECODE="1")
    assert said == "[1.0, 1.0] 0" and warned.count("UserWarning") == 1
    assert "cannot be written (File too large)" in warned
    assert not list(tmp_path.glob("cache/*/*"))


@COMPILES
def test_damaged_files_are_made_again(copied, tmp_path):
    assert copied(READ) == ("[1.0, 1.0] 0", "")
    for path in tmp_path.glob("cache/*/*.nbc"):
        path.write_bytes(path.read_bytes()[:100])
    assert [copied(READ) for _ in range(2)] == [("[1.0, 1.0] 0", ""), ("[1.0, 1.0] 1", "")]


OUTSIDE = """
import numpy as np
from ntm.engine import compiler, kernels, simd
@compiler.jit()
def move(out, source, n):
    simd.store(out, (0,), simd.load(source, (n,)))
def tried(function, *arguments):
    try:
        function(*arguments)
    except IndexError as error:
        print(error)
    else:
        print("fine")
row, L = np.zeros(3 * simd.LANES), simd.LANES
for n in (0, 2 * L, 2 * L + 1, -1):
    tried(move, row[:L].copy(), row, n)
tried(move, row[:L - 1].copy(), row, 0)
for rows, inner, given in ((3, 5, L), (3, 4, L), (2, 5, L), (3, 5, 2 * L)):
    tried(simd.multiply, np.zeros((3, L)), np.zeros((rows, inner)), np.zeros((5, given)))
tried(kernels.copy, row, row[1:].copy())
tried(kernels.copy, row[1:].copy(), row)
"""


@COMPILES
def test_a_debug_build_looks_at_every_bound(copied):
    beyond = "a pack reaches beyond its array"
    packs = ["fine", "fine", beyond, beyond, beyond]
    said = copied(OUTSIDE, NUMBA_BOUNDSCHECK="1")[0].splitlines()
    assert said == [*packs, "fine", *[beyond] * 3, "fine", "index is out of bounds"]
    # The code that a debug build keeps is not taken up by others, nor theirs by it.
    assert copied(READ)[0] == "[1.0, 1.0] 0" and copied(READ, NUMBA_BOUNDSCHECK="1")[0] == "[1.0, 1.0] 0"


WHY = "import sys\nfrom ntm.engine import compiler\nprint(compiler.why_not())"


@pytest.mark.parametrize(
    "before, said",
    [
        ("import sys; sys.modules['numba'] = None\n", "numba is not installed"),
        ("import sys; sys.modules['llvmlite'] = None\n", "numba cannot be used (ModuleNotFoundError: "),
        ("import numpy; numpy.__version__ = '99.0'\n", "numba cannot be used (ImportError: Numba needs NumPy"),
        ("import os; os.environ['NUMBA_DISABLE_JIT'] = '1'\n", "numba's compiler is switched off (NUMBA_DISABLE_JIT)"),
    ],
)
def test_why_nothing_can_be_compiled(before, said):
    out, warned = run(WHY, before)
    assert out.startswith(said) and not warned


@COMPILES
def test_nothing_to_say_where_all_is_well():
    assert run(WHY) == ("None", "")
