"""The command line: ``python -m ntm --help``. Its options are the fields of the configuration classes."""

import contextlib
import functools
import io
import json
import os
import re
import statistics
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import torch
import tyro
from tyro.conf import OmitArgPrefixes, Positional

from ntm import checks, experiments, interrupts, runs
from ntm.lstm import LSTMConfig
from ntm.model import NTMConfig
from ntm.training import NonFiniteError, TrainingConfig
from ntm.training import evaluate as measure

LARGEST_THREADS = 1024  # a guard against a slip of the keyboard: the system does not give out any number


def train(
    task: Positional[str],
    out: Path,
    sizes: OmitArgPrefixes[NTMConfig],
    training: OmitArgPrefixes[TrainingConfig],
    length: tuple[int, int] = (1, 20),
    loss: str = "cross_entropy",
    device: str = "cpu",
    threads: int = 1,
) -> None:
    """Train a Neural Turing Machine, go on with the run that was interrupted, or make one longer (more updates).

    Args:
        task: what to learn: copy.
        out: the run's folder, a new one or one to go on with.
        sizes: of the machine.
        training: how to train.
        length: shortest and longest sequence to train on.
        loss: cross_entropy or huber.
        device: cpu, or cuda.
        threads: of torch on the CPU; small batches are fastest with one.
    """
    _train(runs.RunConfig(task, sizes, training, length, loss), out, device, threads)


def baseline(
    task: Positional[str],
    out: Path,
    sizes: OmitArgPrefixes[LSTMConfig],
    training: OmitArgPrefixes[TrainingConfig],
    length: tuple[int, int] = (1, 20),
    loss: str = "cross_entropy",
    device: str = "cpu",
    threads: int = 1,
) -> None:
    """Train the paper's LSTM baseline, go on with the run that was interrupted, or make one longer (more updates).

    Args:
        task: what to learn: copy.
        out: the run's folder, a new one or one to go on with.
        sizes: of the network.
        training: how to train.
        length: shortest and longest sequence to train on.
        loss: cross_entropy or huber.
        device: cpu, or cuda.
        threads: of torch on the CPU.
    """
    if training.train_locations not in (TrainingConfig.train_locations, None):
        raise ValueError(f"train_locations={training.train_locations}: this network has no memory; leave it out")
    if training.own_every not in (TrainingConfig.own_every, 0):
        raise ValueError(f"own_every={training.own_every}: this network has no memory; leave it out")
    _train(runs.RunConfig(task, sizes, training, length, loss), out, device, threads)


def _train(config: runs.RunConfig, out: Path, device: str, threads: int) -> None:
    torch.set_num_threads(checks.whole("threads", threads, 1, LARGEST_THREADS))
    try:
        _, _, score = runs.train(out, config, device, progress=sys.stderr.isatty())
    except KeyboardInterrupt:
        begun = (out / runs.CHECKPOINT).exists()
        there = f"resumes from the last checkpoint in {out}" if begun else f"begins again: no checkpoint in {out} yet"
        _quit(130, f"interrupted; the same command {there}")
    print(json.dumps({"run": str(out), **score._asdict()}))


def evaluate(
    run: Positional[Path],
    length: int | None = None,
    locations: int | None = None,
    sequences: int = 50,
    seed: int = 1,
    update: int | None = None,
) -> None:
    """Measure a finished run on fresh sequences; prints one JSON object.

    Args:
        run: the run's folder.
        length: of the sequences; without it, every length that the run was trained on.
        locations: enlarge or shrink the memory to this many.
        sequences: how many of each length.
        seed: of the fresh sequences.
        update: use the weights kept after this update, instead of the last.
    """
    for name, value in {"length": length, "locations": locations, "sequences": sequences, "update": update}.items():
        if value is not None:
            checks.whole(name, value)
    checks.whole("seed", seed, 0, checks.LARGEST_SEED)
    config = runs.read_config(run)
    if isinstance(config.model, NTMConfig):
        used: int | None = config.model.locations if locations is None else locations
    elif locations is None:
        used = None
    else:
        raise ValueError(f"locations={locations}: this network has no memory to enlarge; leave locations out")
    lengths = range(config.length[0], config.length[1] + 1) if length is None else [length]
    score = measure(runs.load(run, update), config.draw(), lengths, sequences, seed, locations)
    fields = {"task": config.task, "length": length, "locations": used, **score._asdict(), "seed": seed}
    print(json.dumps(fields))


def solve(
    task: Positional[str],
    sizes: OmitArgPrefixes[NTMConfig],
    training: OmitArgPrefixes[TrainingConfig],
    seeds: tuple[int, ...] = (101, 102, 103, 104, 105),
    length: tuple[int, int] = (1, 20),
    limit: int = experiments.SOLVED_SEQUENCES,
) -> None:
    """Train one new machine per seed until no bit is wrong on 1,000 fresh sequences; report every seed.

    Args:
        task: what to learn: copy.
        sizes: of the machine.
        training: how to train; the seed and the number of updates come from the options below.
        seeds: one machine each.
        length: shortest and longest sequence.
        limit: sequences after which a seed is given up.
    """
    for name in ("seed", "updates", "keep_every"):
        if getattr(training, name) != getattr(TrainingConfig, name):
            raise ValueError(f"{name}={getattr(training, name)}: solve has --seeds and --limit, and keeps no weights")
    if not seeds:
        raise ValueError("seeds: there must be at least one")
    configs = [runs.RunConfig(task, sizes, replace(training, seed=seed), length) for seed in seeds]
    torch.set_num_threads(1)
    outcomes = []
    for config in configs:
        _, _, outcome = experiments.solve(config, limit, progress=sys.stderr.isatty())
        outcomes.append(outcome)
        print(json.dumps(outcome._asdict()), flush=True)
    solved = [o.sequences for o in outcomes if o.sequences is not None]
    median = f", median {statistics.median(solved):,.0f} sequences" if solved else ""
    print(f"solved {len(solved)} of {len(outcomes)} seeds{median}")


def _parsed(commands: dict[str, Callable[..., None]]) -> Callable[[], None]:
    """The command that was asked for, with its options; a mistake in them is one line, and not a box of many."""
    later: dict[str, Callable[..., Any]] = {
        name: functools.wraps(command)(functools.partial(functools.partial, command))
        for name, command in commands.items()
    }
    with contextlib.redirect_stderr(io.StringIO()) as said:
        try:
            return tyro.extras.subcommand_cli_from_dict(later, prog="python -m ntm")
        except SystemExit as left:
            if left.code != 2:
                raise
    lines = (line.strip("│ ") for line in said.getvalue().splitlines() if line[:1] not in "╭╰")
    raise ValueError(" ".join(";" if set(line) == {"─"} else line for line in lines if line).replace(" ;", ";"))


def _quit(status: int, message: str = "") -> NoReturn:
    """End with one line on standard error, even where nobody reads what is still to be printed."""
    with contextlib.suppress(OSError):
        if message:
            print(message, file=sys.stderr, flush=True)
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)


def main() -> None:
    """Run the command line; what the user can mend is one line on standard error and exit status 2."""
    interrupts.raise_interrupt()
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    commands: dict[str, Callable[..., None]] = {
        "train": train,
        "baseline": baseline,
        "evaluate": evaluate,
        "solve": solve,
    }
    try:
        _parsed(commands)()
        sys.stdout.flush()
    except BrokenPipeError:  # who read the output has enough of it
        _quit(141)
    except KeyboardInterrupt:
        _quit(130, "interrupted")
    except (ValueError, NonFiniteError, OSError) as error:
        _quit(2, f"error: {' '.join(str(error).split())}")
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not re.search("allocate|Storage size", str(error)):
            raise
        _quit(2, f"error: not enough memory for these sizes ({' '.join(str(error).split()) or 'MemoryError'})")


if __name__ == "__main__":
    main()
