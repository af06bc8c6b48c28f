"""The saved runs of machines with faults: their rows, their weights, and the rule by which a fault is classed.

``tools/faults.py`` makes them. ``data/faults/runs.jsonl`` has one line per machine: experiment, faults, loss, seed,
updates, ``solved_at`` (the end of the first hundred updates with less than 0.1 wrong bits per sequence) and ``nan_at``
(None where it never was), wrong bits at 20, 50 and 120 vectors, at 20 without reads and with redrawn states, and the
curves over blocks of a hundred updates: loss, bits and wrong bits per sequence.
"""

import json
import statistics
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from ntm import bugs, tasks, training
from ntm.model import NTM, NTMConfig
from ntm.paper import DATA

FOLDER = DATA / "faults"
MEASURED = (20, 50, 120)  # vectors
BLOCK = 100  # updates between two points of a curve

# The rule. It was written, and committed, before the first of the runs was made.
PROVED = {  # a machine with one of these cannot address a single location, whatever its weights: the equations say why
    "convolution_modulo_three": "a weighting has three different values at most, each at every third location",
    "sigmoid_on_the_weighting": "no entry of a weighting is one and a half times another",
    "states_0_5": "all rows of memory stay equal",
}
SLOWER = 1.5  # times the median of the right machine
WORSE = 8.0  # wrong bits more than the right machine, one vector


Rows = list[dict[str, Any]]  # of the machines of an experiment, one for each seed


def classify(fault: str, faulty: Rows, right: Rows) -> str:
    """What a fault does, from machines with it and right ones."""

    def median(name: str, rows: Rows) -> float:
        return statistics.median(row[name] for row in rows)

    def until_solved(rows: Rows) -> float:
        times = [row["solved_at"] or row["updates"] for row in rows]
        return statistics.median(times)

    def worse(name: str) -> bool:
        return median(name, faulty) > median(name, right) + WORSE

    late = until_solved(faulty) >= SLOWER * until_solved(right)
    never = [row["solved_at"] is None for row in faulty]
    if all(never):
        how = "proved" if fault in PROVED else "seen"
        return f"stops learning ({how})"
    if any(never) or late:
        return "slows learning"
    if worse("redrawn_20") and not worse("wrong_20"):
        return "stops generalisation over initial states"
    if any(worse(f"wrong_{length}") for length in MEASURED):
        return "stops generalisation over length"
    return "harmless"


def recipe(seed: int, train_locations: tuple[int, int] = (22, 26)) -> training.TrainingConfig:
    """How the machines were trained: ten rows to a batch and, by default, not the memory they are measured in."""
    return training.TrainingConfig(seed, batch=bugs.ROWS, train_locations=train_locations, own_every=0)


def guessing(together: Rows) -> list[float]:
    """Bits per sequence in each block, had these machines guessed: eight a vector of the same lists, drawn again."""
    how, lengths = recipe(together[0]["seed"]), []
    draws = torch.Generator().manual_seed(how.seed)
    for update in range(1, together[0]["updates"] + 1):
        batch = tasks.copy(how.batch * len(together), generator=draws)
        how.locations_at(update, draws)  # draws, too
        lengths.append(int(batch.mask[:, 0].sum()))
    return [8 * statistics.mean(lengths[k : k + BLOCK]) for k in range(0, len(lengths), BLOCK)]


def rows(experiment: str) -> list[dict[str, Any]]:
    """The saved machines of an experiment, one per seed."""
    everything = [json.loads(line) for line in (FOLDER / "runs.jsonl").read_text().splitlines()]
    found = [row for row in everything if row["experiment"] == experiment]
    if not found:
        names = ", ".join(dict.fromkeys(row["experiment"] for row in everything))
        raise ValueError(f"no saved experiment {experiment!r}: there are {names}")
    return found


def weights(experiment: str) -> Path:
    """Where the weights of an experiment's first machine lie."""
    return FOLDER / f"{experiment.replace(' + ', '-').replace(', ', '-').replace(' ', '_')}.safetensors"


def machine(experiment: str) -> NTM:
    """The first machine of an experiment, its first states included. Use it inside ``bugs.present`` with its faults.

    Call it inside such a block too: a fault of the first states adds them when the machine is built.
    """
    with safe_open(weights(experiment), "pt") as file:
        model = NTM(NTMConfig(**json.loads(file.metadata()["config"])))
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            value.data.copy_(file.get_tensor(name))
    return model
