"""Experiments that the book and the command line share: training until solved, and whether the memory is needed."""

import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple
from unittest import mock

import torch

from ntm import addressing, checks, engine, memory, paper, runs, training

# Lists longer than any that a machine is trained on, to choose between machines by: vectors, locations, how many lists.
VALIDATION = ((100, 128, 100), (500, 1024, 10))
VALIDATION_SEED = 2
ANOTHER_SEED = 10_000  # added to a seed whose machine is given up
SOLVED_SEQUENCES = 80_000


class Solved(NamedTuple):
    """What became of one seed."""

    seed: int
    sequences: int | None  # trained on until no bit was wrong on 1,000 fresh sequences; None if that never was
    seconds: float  # of training and checking
    wrong_bits: float  # per fresh sequence, at the end
    wrong_bits_without_reads: float  # the same machine when it reads only zeros: the control


def recipe(task: str, network: str) -> training.TrainingConfig:
    """How a task is trained where nobody says otherwise: for copying the quick recipe, else the paper's."""
    return training.TrainingConfig() if task == "copy" else paper.recipe(task, network)


def validate(model: torch.nn.Module, config: runs.RunConfig) -> float:
    """Wrong bits per list on the long lists of VALIDATION, mean over its kinds of list."""
    task = config.draw()
    return statistics.mean(
        training.evaluate(model, task, [length], lists, VALIDATION_SEED, locations).wrong_bits
        for length, locations, lists in VALIDATION
    )


def train_validated(
    config: runs.RunConfig, attempts: int = 3, progress: bool = True
) -> tuple[torch.nn.Module, list[float]]:
    """Train a machine; if it makes a mistake on the lists of VALIDATION, another one, up to ``attempts`` in all.

    The gradient sees the lengths of the run only; longer lists decide which machine is kept: the first without a
    mistake, else the one with the fewest. Each has the seed of the one before and ANOTHER_SEED. Returns the machine
    that is kept, and the wrong bits of each that was trained. Raises ValueError for fewer than one attempt, and for
    another task than copying.
    """
    checks.one_of("task", config.task, ["copy"])
    seeds = [config.training.seed + ANOTHER_SEED * i for i in range(checks.whole("attempts", attempts))]
    found: list[tuple[float, torch.nn.Module]] = []
    for attempt in [replace(config, training=replace(config.training, seed=seed)) for seed in seeds]:
        model = attempt.build()
        training.train(model, attempt.draw(), attempt.training, training.LOSSES[config.loss], progress=progress)
        found.append((validate(model, attempt), model))
        if found[-1][0] == 0:
            break
    wrong = [score for score, _ in found]
    return found[wrong.index(min(wrong))][1], wrong


@contextmanager
def without_reads() -> Iterator[None]:
    """Every read vector is zero inside this block, whatever the memory holds."""
    blank = mock.patch.object(memory, "read", lambda content, weighting: weighting[..., :1] * 0 * content[:, :1])
    with engine.literal(), blank:
        yield


@contextmanager
def without_content() -> Iterator[None]:
    """The gate of every head is shut inside this block: it starts from where it was and can only walk (equation 7)."""
    shut = mock.patch.object(addressing, "interpolate", lambda content, previous, gate: previous)
    with engine.literal(), shut:
        yield


def solve(
    config: runs.RunConfig,
    limit: int = SOLVED_SEQUENCES,
    report: Callable[[torch.nn.Module, list[training.Row]], object] | None = None,
    progress: bool = True,
) -> tuple[torch.nn.Module, list[training.Row], Solved]:
    """Train a new machine until it is solved, at most ``limit`` sequences.

    Solved: no wrong bit on 1,000 fresh sequences, as many of each length of the run's range. The check is made at a
    row of the log with less than one wrong bit in ten sequences. ``report`` is called with the machine and the log at
    each new row.
    """
    batch = config.training.batch
    if checks.whole("limit", limit) < batch:
        raise ValueError(f"limit={limit}: must be at least one batch, {batch} sequences")
    model = config.build()
    solved_at = None

    def check(log: list[training.Row]) -> bool:
        nonlocal solved_at
        if report:
            report(model, log)
        if log[-1].wrong_bits < 0.1 and runs.final_score(model, config).wrong_bits == 0:
            solved_at = log[-1].sequences
        return solved_at is not None

    until_limit = replace(config.training, updates=limit // batch)
    log = training.train(
        model, config.draw(), until_limit, training.LOSSES[config.loss], report=check, progress=progress
    )
    score = runs.final_score(model, config)
    with without_reads():
        control = runs.final_score(model, config)
    seed = config.training.seed
    return model, log, Solved(seed, solved_at, log[-1].seconds, score.wrong_bits, control.wrong_bits)
