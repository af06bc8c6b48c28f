"""The command line: ``python -m ntm --help``. Its options are the fields of the configuration classes."""

import argparse
import contextlib
import functools
import inspect
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

from ntm import checks, experiments, interrupts, paper, runs, sweeps, tasks
from ntm.lstm import LSTMConfig
from ntm.model import NTMConfig
from ntm.training import NonFiniteError, Score, TrainingConfig, measure, tqdm

LARGEST_THREADS = 1024  # a guard against a slip of the keyboard: the system does not give out any number


def train(
    task: Positional[str],
    out: Path,
    sizes: OmitArgPrefixes[tasks.Sizes],
    model: OmitArgPrefixes[NTMConfig],
    training: OmitArgPrefixes[TrainingConfig],
    loss: str = "",
    device: str = "cpu",
    threads: int = 1,
) -> None:
    """Train a Neural Turing Machine, go on with the run that was interrupted, or make one longer (more updates).

    Args:
        task: what to learn: copy, repeat-copy, recall, ngrams or sort; the other options' defaults are the task's own.
        out: the run's folder, a new one or one to go on with.
        sizes: of the task.
        model: the machine.
        training: how to train.
        loss: cross_entropy, huber or nats_per_sequence; the recipe's own where none is given.
        device: cpu, or cuda.
        threads: of torch on the CPU; small batches are fastest with one.
    """
    _train(_config(task, sizes, model, training, loss), out, device, threads)


def baseline(
    task: Positional[str],
    out: Path,
    sizes: OmitArgPrefixes[tasks.Sizes],
    model: OmitArgPrefixes[LSTMConfig],
    training: OmitArgPrefixes[TrainingConfig],
    loss: str = "",
    device: str = "cpu",
    threads: int = 1,
) -> None:
    """Train the paper's LSTM baseline, go on with the run that was interrupted, or make one longer (more updates).

    Args:
        task: what to learn: copy, repeat-copy, recall, ngrams or sort; the other options' defaults are the task's own.
        out: the run's folder, a new one or one to go on with.
        sizes: of the task.
        model: the network.
        training: how to train.
        loss: cross_entropy, huber or nats_per_sequence; the recipe's own where none is given.
        device: cpu, or cuda.
        threads: of torch on the CPU.
    """
    if training.train_locations not in (TrainingConfig.train_locations, None):
        raise ValueError(f"train_locations={training.train_locations}: this network has no memory; leave it out")
    if training.own_every not in (TrainingConfig.own_every, 0):
        raise ValueError(f"own_every={training.own_every}: this network has no memory; leave it out")
    _train(_config(task, sizes, model, training, loss), out, device, threads)


def _config(
    task: str, sizes: tasks.Sizes, model: NTMConfig | LSTMConfig, training: TrainingConfig, loss: str = ""
) -> runs.RunConfig:
    """A run, of a network with as many channels as the task where nothing else was asked for."""
    checks.one_of("task", task, tasks.TASKS)
    usual = type(sizes)()
    if (model.inputs, model.outputs) == (usual.inputs, usual.outputs):
        model = replace(model, inputs=sizes.inputs, outputs=sizes.outputs)
    return runs.RunConfig(task, model, training, sizes, loss)


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
    repeats: int | None = None,
    items: int | None = None,
    vectors: int | None = None,
    kept: int | None = None,
    bits: int | None = None,
    context: int | None = None,
    locations: int | None = None,
    sequences: int = 50,
    seed: int = 1,
    update: int | None = None,
) -> None:
    """Measure a finished run on fresh sequences; prints one JSON object.

    The sizes are those of the run's task. Without them, everything that the run was trained on is measured.

    Args:
        run: the run's folder.
        length: vectors of a sequence (copy, repeat-copy).
        repeats: of the vectors (repeat-copy).
        items: of a sequence (recall).
        vectors: of an item (recall), or of a sequence (sort).
        kept: of the vectors (sort).
        bits: of a sequence (ngrams); of a vector, where the network has as many channels.
        context: bits that the next one depends on (ngrams).
        locations: enlarge or shrink the memory to this many.
        sequences: how many of each length, or of each combination of what is drawn.
        seed: of the fresh sequences.
        update: use the weights kept after this update, instead of the last.
    """
    sizes = {"length": length, "repeats": repeats, "items": items, "vectors": vectors, "kept": kept, "bits": bits}
    sizes |= {"context": context}
    for name, value in {**sizes, "locations": locations, "sequences": sequences, "update": update}.items():
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
    asked = {name: value for name, value in sizes.items() if value is not None}
    for name, value in asked.items():
        if not hasattr(config.sizes, name):
            has = ", ".join(vars(config.sizes))
            raise ValueError(f"{name}={value}: the task {config.task!r} has no such size; its own are {has}")
    measured: tasks.Sizes = replace(config.sizes, **asked)
    config.check_channels(measured)
    score = measure(runs.load(run, update), [each.draw for each in measured.each()], sequences, seed, locations)
    shown = {name: asked.get(name) for name in dict.fromkeys([*measured.DRAWN, *asked])}
    print(json.dumps({"task": config.task, **shown, "locations": used, **score._asdict(), "seed": seed}))


def solve(
    task: Positional[str],
    sizes: OmitArgPrefixes[tasks.Sizes],
    model: OmitArgPrefixes[NTMConfig],
    training: OmitArgPrefixes[TrainingConfig],
    seeds: tuple[int, ...] = (101, 102, 103, 104, 105),
    limit: int = experiments.SOLVED_SEQUENCES,
) -> None:
    """Train one new machine per seed until no bit is wrong on 1,000 fresh sequences; report every seed.

    Args:
        task: what to learn: copy, repeat-copy, recall, ngrams or sort; the other options' defaults are the task's own.
        sizes: of the task.
        model: the machine.
        training: how to train; the seed and the number of updates come from the options below.
        seeds: one machine each.
        limit: sequences after which a seed is given up.
    """
    configs = [_config(task, sizes, model, replace(training, seed=seed)) for seed in seeds]
    usual = experiments.recipe(task, _network(model))
    for name in ("seed", "updates", "keep_every"):
        if getattr(training, name) != getattr(usual, name):
            raise ValueError(f"{name}={getattr(training, name)}: solve has --seeds and --limit, and keeps no weights")
    if not seeds:
        raise ValueError("seeds: there must be at least one")
    torch.set_num_threads(1)
    outcomes = []
    for config in configs:
        _, _, outcome = experiments.solve(config, limit, progress=sys.stderr.isatty())
        outcomes.append(outcome)
        print(json.dumps(outcome._asdict()), flush=True)
    solved = [o.sequences for o in outcomes if o.sequences is not None]
    median = f", median {statistics.median(solved):,.0f} sequences" if solved else ""
    print(f"solved {len(solved)} of {len(outcomes)} seeds{median}")


def sweep(
    file: Positional[Path],
    out: Path,
    scheduler: str | None = None,
    workers: int | None = None,
    hand_in: float = sweeps.HAND_IN,
) -> None:
    """Train every run of a sweep, or go on with one that was interrupted; prints one JSON object for each as it ends.

    What a sweep's file holds is said at the head of ntm/sweeps.py. A run that fails does not stop the others; then the
    exit status is 1.

    Args:
        file: tasks, networks, recipes and seeds, as TOML.
        out: the folder in which each run has its own.
        scheduler: of a Dask cluster, its address or the file that it writes; without one, this computer is the cluster.
        workers: processes on this computer, one per core where no number is given.
        hand_in: seconds of training after which a worker hands in what it has, to be kept.
    """

    def tell(name: str, score: Score) -> None:
        tqdm.write(json.dumps({"run": str(out / name), **score._asdict()}))
        sys.stdout.flush()

    try:
        done = sweeps.run(file, out, scheduler, workers, hand_in, progress=sys.stderr.isatty(), report=tell)
    except KeyboardInterrupt:
        _quit(130, "interrupted; the same command goes on from what was handed in")
    print(f"finished {len(done.finished)} runs, {len(done.before)} were finished before, {len(done.failed)} failed")
    if done.failed:
        _quit(1, "\n".join(f"failed: {name}: {why}" for name, why in done.failed.items()))


def _network(model: NTMConfig) -> str:
    """Its name in the paper's tables."""
    return "ntm-ff" if model.controller == "feedforward" else "ntm-lstm"


def _defaults(words: list[str]) -> dict[str, dict[str, Any]]:
    """Of each command's options: those of the task that the words ask for and, of a machine, of its controller."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in ("command", "task", "--controller"):
        parser.add_argument(name, nargs="?")
    asked, _ = parser.parse_known_args(words)
    task = asked.task if asked.task in tasks.TASKS else "copy"
    machine = "ntm-ff" if asked.controller == "feedforward" else "ntm-lstm"
    return {
        command: {
            "sizes": tasks.TASKS[task](),
            "model": paper.CONFIGS[task, network],
            "training": experiments.recipe(task, network),
        }
        for command, network in [("train", machine), ("solve", machine), ("baseline", "lstm")]
    }


def _later(command: Callable[..., None], defaults: dict[str, Any]) -> Callable[..., Any]:
    """A function that takes the options of a command, with these defaults, and returns the command, to be called."""

    @functools.wraps(command)
    def later(**options: Any) -> Callable[[], None]:
        return functools.partial(command, **options)

    signature = inspect.signature(command)
    later.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[
            each.replace(kind=each.KEYWORD_ONLY, default=defaults.get(name, each.default))
            for name, each in signature.parameters.items()
        ]
    )
    return later


def _parsed(commands: dict[str, Callable[..., None]]) -> Callable[[], None]:
    """The command that was asked for, with its options; a mistake in them is one line, and not a box of many."""
    defaults = _defaults(sys.argv[1:])
    later = {name: _later(command, defaults.get(name, {})) for name, command in commands.items()}
    with contextlib.redirect_stderr(io.StringIO()) as said:
        try:
            return tyro.extras.subcommand_cli_from_dict(later, prog="python -m ntm")
        except SystemExit as left:
            if left.code != 2:
                raise
    lines = [line.strip("│ ") for line in said.getvalue().splitlines() if line[:1] not in "╭╰"]
    lines = [";" if set(line) <= {"─", "-"} else line for line in lines if line]
    if lines[1:2] == [";"]:  # where no box can be drawn its title is a line of its own
        del lines[:2]
    words = " ".join(lines).replace(" ;", ";")
    raise ValueError(re.sub(r"Error parsing __tyro-\S+: |; For full helptext.*", "", words))


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
        "sweep": sweep,
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
