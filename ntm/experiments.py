"""Experiments that the book and the command line share: training until solved, and whether the memory is needed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple
from unittest import mock

import torch

from ntm import memory, runs, training

SOLVED_SEQUENCES = 80_000


class Solved(NamedTuple):
    """What became of one seed."""

    seed: int
    sequences: int | None  # trained on until no bit was wrong on 1,000 fresh sequences; None if that never was
    seconds: float  # of training and checking
    wrong_bits: float  # per fresh sequence, at the end
    wrong_bits_without_reads: float  # the same machine when it reads only zeros: the control


@contextmanager
def without_reads() -> Iterator[None]:
    """Every read vector is zero inside this block, whatever the memory holds."""
    with mock.patch.object(memory, "read", lambda content, weighting: weighting[..., :1] * 0 * content[:, :1]):
        yield


def solve(
    config: runs.RunConfig,
    limit: int = SOLVED_SEQUENCES,
    report: Callable[[list[training.Row]], object] | None = None,
    progress: bool = True,
) -> tuple[torch.nn.Module, list[training.Row], Solved]:
    """Train a new machine until it is solved, at most ``limit`` sequences.

    Solved: no wrong bit on 1,000 fresh sequences, as many of each length of the run's range. The check is made at a
    row of the log with less than one wrong bit in ten sequences.
    """
    batch = config.training.batch
    if limit < batch:
        raise ValueError(f"limit={limit}: must be at least one batch, {batch} sequences")
    model = config.build()
    solved_at = None

    def check(log: list[training.Row]) -> bool:
        nonlocal solved_at
        if report:
            report(log)
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
