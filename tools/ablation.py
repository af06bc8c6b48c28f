"""Ablations of the training recipe: every variant over the same seeds, one JSON line per run, and a table.

    python tools/ablation.py results.jsonl --seeds 501-520 [variant ...]

Runs that the file already holds, for the same variant, seed and updates, are not made again. Three costs per run:
until solved (no wrong bit on 1,000 fresh sequences of 1 to 20 vectors), then, after all updates, wrong bits at
length 120 in the machine's 128 locations and at length 1,000 in 2,048.
"""

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import nn

from ntm import experiments, heads, model, runs, training
from ntm.model import NTMConfig
from ntm.training import TrainingConfig

# What each variant changes: fields of TrainingConfig, or of the machine's beginning (STARTS).
VARIANTS: dict[str, dict[str, Any]] = {
    "the recipe": {},
    "the recipe, chosen by longer lists": {"attempts": 3},
    "22 to 26 locations in every batch": {"own_every": 0},
    "batches of 4": {"batch": 4},
    "gradient clipped at 10": {"clip_at": 10.0},
    "constant learning rate": {"halve_every": 0},
    "128 locations in every batch": {"train_locations": None},
    "a uniform first weighting": {"start": "weighting"},
    "torch's initial head weights": {"start": "heads"},
}
EPISODES = 50  # sequences at length 120
LONG_EPISODES = 10  # at length 1,000


def _default_heads(self: heads.Heads, *sizes: int) -> None:
    """``Heads.__init__`` with torch's own initial weights."""
    with mock.patch.object(nn.init, "xavier_uniform_"), mock.patch.object(nn.init, "zeros_"):
        _heads_init(self, *sizes)


def _uniform_start(self: model.NTM, batch: int, locations: int | None = None) -> model.State:
    """``NTM.initial_state`` with every head everywhere."""
    state = _initial_state(self, batch, locations)
    return state._replace(weighting=torch.full_like(state.weighting, 1 / state.weighting.shape[2]))


_heads_init, _initial_state = heads.Heads.__init__, model.NTM.initial_state
STARTS: dict[str, tuple[type, str, Any]] = {
    "heads": (heads.Heads, "__init__", _default_heads),
    "weighting": (model.NTM, "initial_state", _uniform_start),
}


@contextmanager
def started(name: str | None) -> Iterator[None]:
    """The machine's beginning is another one inside this block."""
    if name is None:
        yield
    else:
        place, attribute, other = STARTS[name]
        with mock.patch.object(place, attribute, other):
            yield


def run(variant: str, seed: int, updates: int) -> dict[str, Any]:
    """Train one machine and measure it."""
    changes = {k: v for k, v in VARIANTS[variant].items() if k not in ("start", "attempts")}
    plan = TrainingConfig(**{**changes, "seed": seed, "updates": updates})
    config = runs.RunConfig("copy", NTMConfig(), plan)
    solved: tuple[int, float] | None = None
    began = time.perf_counter()

    def check(log: list[training.Row]) -> None:
        """Note when the machine is solved; later checks are left out."""
        nonlocal solved
        if solved is None and log[-1].wrong_bits < 0.1 and runs.final_score(machine, config).wrong_bits == 0:
            solved = (log[-1].sequences, time.perf_counter() - began)

    failure, machines, attempts = None, 1, VARIANTS[variant].get("attempts")
    with started(VARIANTS[variant].get("start")):
        machine = config.build()
        try:
            if attempts:
                machine, tried = experiments.train_validated(config, attempts, progress=False)
                machines = len(tried)
            else:
                training.train(machine, config.draw(), plan, training.LOSSES[config.loss], report=check, progress=False)
        except training.NonFiniteError as error:
            failure = str(error)
        seconds = time.perf_counter() - began
        row = {
            "variant": variant,
            "seed": seed,
            "updates": updates,
            "machines": machines,
            "sequences": solved[0] if solved else None,
            "seconds": round(solved[1], 2) if solved else None,
            "seconds_in_all": round(seconds, 2),
            "wrong_bits": runs.final_score(machine, config).wrong_bits,
            "wrong_bits_120": training.evaluate(machine, config.draw(), [120], EPISODES).wrong_bits,
            "wrong_bits_1000": training.evaluate(machine, config.draw(), [1000], LONG_EPISODES, 1, 2048).wrong_bits,
            "failure": failure,
        }
    return row


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as a table in Markdown, one line per variant."""
    lines = [
        "| variant | solved | sequences: median, worst | seconds: median, worst | no wrong bit: 1-20 | 120 | 1,000 |",
        "|---|---|---|---|---|---|---|",
    ]
    for variant in dict.fromkeys(row["variant"] for row in rows):
        these = [row for row in rows if row["variant"] == variant]
        done = [row for row in these if row["sequences"] is not None]
        cells = [variant, f"{len(done)}/{len(these)}"]
        for name, form in (("sequences", ",.0f"), ("seconds", ".1f")):
            values = [row[name] for row in done]
            cells.append(f"{statistics.median(values):{form}}, {max(values):{form}}" if values else "-")
        for name in ("wrong_bits", "wrong_bits_120", "wrong_bits_1000"):
            cells.append(str(sum(row[name] == 0 for row in these)))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Make the runs that are missing, then print the table."""
    parser = argparse.ArgumentParser(description="Ablations of the training recipe.")
    parser.add_argument("file", type=Path)
    parser.add_argument("variants", nargs="*", default=[], metavar="variant", help=", ".join(VARIANTS))
    parser.add_argument("--seeds", default="0-19", help="first-last")
    parser.add_argument("--updates", type=int, default=10_000)
    asked = parser.parse_args()
    unknown = [name for name in asked.variants if name not in VARIANTS]
    if unknown:
        parser.error(f"unknown variant {unknown[0]!r}: must be one of {', '.join(VARIANTS)}")
    first, _, last = asked.seeds.partition("-")
    seeds = range(int(first), int(last or first) + 1)
    rows = [json.loads(line) for line in asked.file.read_text().splitlines()] if asked.file.exists() else []
    have = {(row["variant"], row["seed"], row["updates"]) for row in rows}
    names = asked.variants or list(VARIANTS)
    for seed in seeds:
        for name in names:
            if (name, seed, asked.updates) not in have:
                rows.append(run(name, seed, asked.updates))
                with asked.file.open("a") as out:
                    out.write(json.dumps(rows[-1]) + "\n")
                print(json.dumps(rows[-1]), flush=True)
    print(table([r for r in rows if r["variant"] in names and r["seed"] in seeds and r["updates"] == asked.updates]))


if __name__ == "__main__":
    main()
