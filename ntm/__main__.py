"""The command line: ``python -m ntm --help``. Its options are the fields of the configuration classes."""

import json
import signal
import statistics
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import torch
import tyro
from tyro.conf import OmitArgPrefixes, Positional

from ntm import experiments, runs, tasks
from ntm.lstm import LSTMConfig
from ntm.model import NTMConfig
from ntm.training import NonFiniteError, TrainingConfig
from ntm.training import evaluate as measure


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
    """Train a Neural Turing Machine, or resume the run that was interrupted.

    Args:
        task: what to learn: copy.
        out: the run's folder, a new one or one to resume.
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
    """Train the paper's LSTM baseline, or resume the run that was interrupted.

    Args:
        task: what to learn: copy.
        out: the run's folder, a new one or one to resume.
        sizes: of the network.
        training: how to train.
        length: shortest and longest sequence to train on.
        loss: cross_entropy or huber.
        device: cpu, or cuda.
        threads: of torch on the CPU.
    """
    _train(runs.RunConfig(task, sizes, training, length, loss), out, device, threads)


def _train(config: runs.RunConfig, out: Path, device: str, threads: int) -> None:
    torch.set_num_threads(threads)
    try:
        _, _, score = runs.train(out, config, device)
    except KeyboardInterrupt:
        print(f"\ninterrupted; the same command resumes from the last checkpoint in {out}", file=sys.stderr)
        sys.exit(130)
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
    if sequences < 1 or seed < 0:
        raise ValueError(f"sequences={sequences}, seed={seed}: must be at least 1 and at least 0")
    config = runs.read_config(run)
    tasks.check_range("length", config.length if length is None else length)
    lengths = range(config.length[0], config.length[1] + 1) if length is None else [length]
    score = measure(runs.load(run, update), config.draw(), lengths, sequences, seed, locations)
    used = config.model.locations if locations is None and isinstance(config.model, NTMConfig) else locations
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
    torch.set_num_threads(1)
    outcomes = []
    for seed in seeds:
        config = runs.RunConfig(task, sizes, replace(training, seed=seed), length)
        _, _, outcome = experiments.solve(config, limit, progress=sys.stderr.isatty())
        outcomes.append(outcome)
        print(json.dumps(outcome._asdict()), flush=True)
    solved = [o.sequences for o in outcomes if o.sequences is not None]
    median = f", median {statistics.median(solved):,.0f} sequences" if solved else ""
    print(f"solved {len(solved)} of {len(outcomes)} seeds{median}")


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def main() -> None:
    """Run the command line; what the user can mend is one line on standard error and exit status 2."""
    signal.signal(signal.SIGTERM, _terminate)
    commands: dict[str, Callable[..., Any]] = {
        "train": train,
        "baseline": baseline,
        "evaluate": evaluate,
        "solve": solve,
    }
    try:
        tyro.extras.subcommand_cli_from_dict(commands, prog="python -m ntm")
    except (ValueError, NonFiniteError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
