"""The simulated machines: each is another than this one, what fails there is said, and no test is no success."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import machines
from ntm.engine import compiler

pytestmark = pytest.mark.once

ASK = """
import torch
from ntm.engine import compiler
print(torch.backends.cpu.get_cpu_capability(), torch.get_num_threads(), compiler.why_not(), sep="; ", end="; ")
if not compiler.why_not():
    from ntm.engine import simd
    print(simd.LANES, compiler.checks_bounds(), sep="; ")
"""
HERE = torch.backends.cpu.get_cpu_capability()


def answers(name, scratch):
    """Torch's vectors, threads, why nothing can be compiled, the length of a pack, and whether bounds are checked."""
    variables = machines.environment(machines.MACHINES[name], name, scratch)
    run = subprocess.run([sys.executable, "-c", ASK], env=variables, cwd=machines.ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip().split("; ")


@pytest.mark.skipif(compiler.why_not() is not None or HERE == "DEFAULT", reason="what it would be told, it is already")
@pytest.mark.parametrize(
    "name, place, answer",
    [
        ("torch-plain", 0, "DEFAULT"),
        ("torch-avx2", 0, "AVX2"),
        ("numba-plain", 3, "4"),
        ("numba-avx2", 3, "8"),
        ("avx2", 0, "AVX2"),
        ("avx2", 3, "8"),
        ("two-threads", 1, "2"),
        ("bounds", 4, "True"),
        ("no-jit", 2, "numba's compiler is switched off (NUMBA_DISABLE_JIT)"),
        ("no-numba", 2, "numba is not installed"),
    ],
)
def test_each_is_what_it_is_called(name, place, answer, tmp_path):
    assert (machines.MACHINES[name].obstacle() is None) == ("avx2" not in name or HERE == "AVX512")
    assert answers(name, tmp_path)[place].rstrip(";") == answer


def test_one_is_other_in_every_respect():
    rounding = [machines.MACHINES[name] for name in ("torch-plain", "numba-plain", "mkl", "openblas", "two-threads")]
    together = {key: value for machine in rounding for key, value in machine.environment.items()}
    assert machines.MACHINES[machines.FARTHEST].environment == together


def test_the_fewest_have_every_setting_among_them():
    settings = [set(machine.environment.items()) for machine in machines.MACHINES.values()]
    few = [set(machines.MACHINES[name].environment.items()) for name in machines.FEWEST]
    assert set().union(*few) == set().union(*settings)


def test_every_machine_runs_and_its_line_says_how_it_went(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(machines, "CACHES", tmp_path)
    for name, source in (("good", "True"), ("bad", "1 == 2"), ("none", None)):
        body = f"def test_{name}():\n    assert {source}\n" if source else ""
        (tmp_path / f"test_{name}.py").write_text(body)
    odd = machines.Machine("one that is not to be had", {}, lambda: "there is none")
    plain = machines.Machine("a plain one", {})
    monkeypatch.setattr(machines, "MACHINES", {"plain": plain, "odd": odd})
    good, bad, none = ([str(tmp_path / f"test_{name}.py")] for name in ("good", "bad", "none"))
    assert machines.run_all([("plain", good), ("odd", good)], 1)
    said = capsys.readouterr().out
    assert "odd: not simulated, since there is none\n" in said
    assert re.search(r"^plain \(a plain one\), tests: 1 passed in \d+ s\n1 passed in \d+\.\d\ds\n$", said, re.MULTILINE)
    assert not machines.run_all([("plain", bad), ("plain", good)], 2)
    said = capsys.readouterr().out
    assert "assert 1 == 2" in said and re.search(r"\n1 (passed, 1 failed|failed, 1 passed) in \d+\.\d\ds\n$", said)
    assert not machines.run_all([("plain", none)], 1)  # no test is no success
    assert "plain (a plain one), tests: no tests in" in capsys.readouterr().out


def test_a_machine_that_is_not_in_the_table(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["machines", "cray"])
    with pytest.raises(SystemExit):
        machines.main()
    assert "no machine cray: there are torch-plain, " in capsys.readouterr().err


def test_what_comes_behind_two_dashes_goes_to_pytest(monkeypatch):
    asked = []
    monkeypatch.setattr(machines, "run_all", lambda runs, jobs: asked.extend(runs) or True)
    for words in (["old", "--", "-x", "tests/test_memory.py"], ["old"], ["bounds"], ["bounds", "--all"]):
        monkeypatch.setattr(sys, "argv", ["machines", *words])
        with pytest.raises(SystemExit):
            machines.main()
    chapters, package = machines.CHAPTERS, ["-m", "not once"]
    everything = ["--deselect=tests/test_book.py"]
    assert asked == [
        ("old", ["-x", "tests/test_memory.py"]),
        *(("old", chapters), ("old", package)),
        ("bounds", package),
        *(("bounds", chapters), ("bounds", everything)),
    ]
    assert Path(machines.ROOT, chapters[0]).exists()
