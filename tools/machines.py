"""The tests as other processors and other installations would run them, simulated by what the libraries can be told.

Torch, numba, MKL and OpenBLAS each compute as an older processor would when an environment variable says so, and then
round otherwise. `make test` runs the package's tests on as few machines of the table below as have every setting among
them, and every chapter at small sizes on the one that differs from this one in every respect; `make machines` runs all
tests and all chapters on each machine, so that a fault that shows on one says which setting it is of.

    python tools/machines.py --list
    python tools/machines.py               # as `make test` does
    python tools/machines.py --all         # as `make machines` does
    python tools/machines.py old no-numba  # these only
    python tools/machines.py old -- tests/test_memory.py -x  # what comes after -- is for pytest
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

import torch

ROOT = Path(__file__).resolve().parent.parent
CACHES = ROOT / "_build" / "machines"  # of numba, one for each machine that it compiles otherwise for

CHAPTERS = ["tests/test_book.py", "-k", "test_chapter_runs"]


def needs_avx512() -> str | None:
    """Why a processor with AVX2 and no more need not, or cannot, be simulated here."""
    why = {"AVX512": None, "AVX2": "this processor is one"}
    return why.get(torch.backends.cpu.get_cpu_capability(), "this processor has no AVX2")


def needs_x86() -> str | None:
    """Why what only x86 has cannot be simulated here."""
    return None if os.uname().machine in ("x86_64", "AMD64") else f"this processor is no x86 ({os.uname().machine})"


def needs_mkl() -> str | None:
    """Why MKL cannot be told anything here."""
    return None if torch.backends.mkl.is_available() else "torch was built without MKL"


def never() -> None:
    """A machine that can be simulated anywhere."""


class Machine(NamedTuple):
    """What it is, the environment that makes it so, and why it cannot be simulated here, if so."""

    about: str
    environment: dict[str, str]
    obstacle: Callable[[], str | None] = never


# Threads that wait without spinning: two processes with two threads each are often at work on two cores.
TWO_THREADS = {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"}
TORCH_AVX2 = {"ATEN_CPU_CAPABILITY": "avx2"}
NUMBA_AVX2 = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ""}
MACHINES = {
    "torch-plain": Machine("torch without any vectors of its own", {"ATEN_CPU_CAPABILITY": "default"}),
    "torch-avx2": Machine("torch as with AVX2", TORCH_AVX2, needs_avx512),
    "numba-plain": Machine("numba as for the plainest processor of this kind", {"NUMBA_CPU_NAME": "generic"}),
    "numba-avx2": Machine("numba as with AVX2 and without AVX-512", NUMBA_AVX2, needs_avx512),
    "avx2": Machine("both as with AVX2", {**TORCH_AVX2, **NUMBA_AVX2}, needs_avx512),
    "mkl": Machine("MKL with one order of summation for all processors", {"MKL_CBWR": "COMPATIBLE"}, needs_mkl),
    "openblas": Machine("OpenBLAS (numpy's products) as for Nehalem", {"OPENBLAS_CORETYPE": "Nehalem"}, needs_x86),
    "two-threads": Machine("two threads instead of one", TWO_THREADS),
    "old": Machine(
        "torch, numba, MKL and OpenBLAS plain, and two threads",
        {
            "ATEN_CPU_CAPABILITY": "default",
            "NUMBA_CPU_NAME": "generic",
            "MKL_CBWR": "COMPATIBLE",
            "OPENBLAS_CORETYPE": "Nehalem",
            **TWO_THREADS,
        },
    ),
    "bounds": Machine("every index of compiled code checked", {"NUMBA_BOUNDSCHECK": "1"}),
    "no-jit": Machine("numba with its compiler switched off", {"NUMBA_DISABLE_JIT": "1"}),
    "no-numba": Machine("numba not installed", {"PYTHONPATH": "numba"}),
}
FARTHEST = "old"  # where `make test` runs the chapters too
FEWEST = (FARTHEST, "bounds", "avx2", "no-jit", "no-numba")  # that have every setting among them, the longest first

ABSENT = """raise ModuleNotFoundError("No module named 'numba'", name="numba")\n"""


class Result(NamedTuple):
    """Of one machine: pytest's exit status, its counts, and all it said."""

    status: int
    counts: dict[str, int]
    seconds: float
    said: str

    @property
    def passed(self) -> bool:
        """Whether tests ran, and all of them passed."""
        return self.status == 0 and self.counts.get("passed", 0) > 0


def environment(machine: Machine, name: str, scratch: Path) -> dict[str, str]:
    """The variables under which the tests run on a machine; ``scratch`` is a folder for what it needs."""
    changed = dict(machine.environment)
    if "PYTHONPATH" in changed:
        (scratch / "numba.py").write_text(ABSENT)
        changed["PYTHONPATH"] = os.pathsep.join(filter(None, [str(scratch), os.environ.get("PYTHONPATH")]))
    elif any(variable.startswith("NUMBA_") for variable in changed):
        changed["NUMBA_CACHE_DIR"] = str(CACHES / name)
    return {**os.environ, "OMP_NUM_THREADS": "1", **changed}


def simulate(name: str, arguments: list[str]) -> Result:
    """Run pytest on a machine."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--color=no", *arguments]
        variables = environment(MACHINES[name], name, Path(scratch))
        run = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True)
    last = (run.stdout.strip().splitlines() or [""])[-1]
    counts = {what: int(count) for count, what in re.findall(r"(\d+) (failed|passed|skipped|error)", last)}
    return Result(run.returncode, counts, time.monotonic() - start, run.stdout + run.stderr)


def run_all(runs: list[tuple[str, list[str]]], jobs: int) -> bool:
    """Each run's line as it ends, and what failed in full; whether all passed."""
    results: list[Result] = []
    start = time.monotonic()
    with ThreadPoolExecutor(jobs) as pool:
        waiting = {}
        for name, arguments in runs:
            obstacle = MACHINES[name].obstacle()
            if obstacle:
                print(f"{name}: not simulated, since {obstacle}", flush=True)
            else:
                waiting[pool.submit(simulate, name, arguments)] = name, arguments
        for future in as_completed(waiting):
            (name, arguments), result = waiting[future], future.result()
            what = "chapters" if arguments[: len(CHAPTERS)] == CHAPTERS else "tests"
            counts = ", ".join(f"{count} {kind}" for kind, count in result.counts.items()) or "no tests"
            print(f"{name} ({MACHINES[name].about}), {what}: {counts} in {result.seconds:.0f} s", flush=True)
            results.append(result)
            if not result.passed:
                print(result.said, flush=True)
    kinds = dict.fromkeys(kind for result in results for kind in result.counts)  # closes as pytest does
    total = ", ".join(f"{sum(result.counts.get(kind, 0) for result in results)} {kind}" for kind in kinds)
    print(f"{total} in {time.monotonic() - start:.2f}s")
    return all(result.passed for result in results)


def main() -> None:
    """From the command line."""
    words = sys.argv[1:]
    ours, for_pytest = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(MACHINES)}; by default {', '.join(FEWEST)}"
    )
    parser.add_argument("--all", action="store_true", help="all tests and all chapters on each")
    parser.add_argument("--list", action="store_true", help="say what the machines are, and run nothing")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="machines at a time")
    asked = parser.parse_args(ours)
    unknown = sorted(set(asked.names) - set(MACHINES))
    if unknown:
        parser.error(f"no machine {', '.join(unknown)}: there are {', '.join(MACHINES)}")
    names = asked.names or list(MACHINES if asked.all else FEWEST)
    if asked.list:
        for name in asked.names or MACHINES:
            settings = " ".join(f"{key}={value}" for key, value in MACHINES[name].environment.items())
            print(f"{name:12} {MACHINES[name].about}: {settings}")
        return
    if for_pytest:
        runs = [(name, for_pytest) for name in names]
    else:
        chapters = [(name, CHAPTERS) for name in names if asked.all or name == FARTHEST]
        tests = ["--deselect=tests/test_book.py"] if asked.all else ["-m", "not once"]
        runs = chapters + [(name, tests) for name in names]
    sys.exit(0 if run_all(runs, asked.jobs) else 1)


if __name__ == "__main__":
    main()
