"""The saved machines of ``data/runs``, under the names that the book gives them, and the clearest of those that copy.

Where a chapter shows one machine, that is chosen by a rule which knows nothing of what is to be shown: the machine
whose weightings are the least blurred, over ten lists that are the same for all.
"""

import math
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from ntm import runs, tasks
from ntm.model import NTM
from ntm.paper import DATA
from ntm.training import Row

NETWORKS = {"NTM-LSTM": "ntm-lstm", "NTM-FF": "ntm-ff", "LSTM": "lstm"}
MACHINES = ("NTM-LSTM", "NTM-FF")  # those with a memory
SEEDS = (0, 1, 2, 3, 4)  # of the saved machines with a memory that copy
LISTS, VECTORS, LISTS_SEED = 10, 20, 1  # that the weightings are judged on


def folder(network: str, seed: int, task: str = "copy") -> Path:
    """Where a saved run lies."""
    return DATA / "runs" / f"{task}-{NETWORKS[network]}-{seed}"


def load(network: str, seed: int, update: int | None = None, task: str = "copy") -> nn.Module:
    """A saved machine, finished or as it was after ``update`` updates."""
    return runs.load(folder(network, seed, task), update)


def entropy(weighting: Tensor) -> Tensor:
    """How far a weighting (...,N) is spread, in bits: 0 on one location, log2 N on all alike."""
    return -torch.special.xlogy(weighting, weighting).sum(-1) / math.log(2)


@torch.no_grad()
def blur(machine: NTM) -> float:
    """The entropy of a machine's weightings in bits, mean over all heads and steps of the ten lists."""
    batch = tasks.copy(LISTS, VECTORS, torch.Generator().manual_seed(LISTS_SEED))
    return float(entropy(machine.trace(batch.inputs).weighting).mean())


@cache
def blurs() -> dict[tuple[str, int], float]:
    """The blur of every saved machine that copies with a memory, by network and seed."""
    return {(network, seed): blur(cast(NTM, load(network, seed))) for network in MACHINES for seed in SEEDS}


def clearest() -> tuple[str, int]:
    """Network and seed of the saved machine that copies with the smallest blur."""
    return min(blurs(), key=blurs().__getitem__)


def first_below(sequences: Iterable[float], costs: Iterable[float], bits: float) -> float | None:
    """Sequences until a point of a learning curve is below a cost; None where none is."""
    return next((n for n, cost in zip(sequences, costs, strict=True) if cost < bits), None)


def ours_below(log: Iterable[Row], bits: float) -> int | None:
    """The same of a run's log."""
    return next((row.sequences for row in log if row.bits_per_sequence < bits), None)
