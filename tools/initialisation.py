"""What a machine starts from, compared: memories and first weightings, over the same seeds; one JSON line per run.

    python tools/initialisation.py results.jsonl copy --seeds 621-640 [start ...]

Runs that the file already holds, for the same task, start, seed and limit, are not made again. All starts are trained
in the same way, a learned one together with the machine, and by the recipe that the task has anyway, for copying the
quick one and for recall the paper's.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

from ntm import NTM, experiments, paper, runs, training
from ntm.book.starts import STARTS, Started

LIMITS = {"copy": 40_000, "recall": 60_000}  # sequences
NETWORK = "ntm-lstm"


def run(task: str, start: str, seed: int, limit: int) -> dict[str, Any]:
    """Train one machine until no bit is wrong on 1,000 fresh sequences, or to the limit."""
    plan = experiments.recipe(task, NETWORK)
    changes = {"seed": seed, "updates": limit // plan.batch, "report_every": max(1, 400 // plan.batch)}
    plan = training.TrainingConfig(**{**vars(plan), **changes})
    config = runs.RunConfig(task, paper.CONFIGS[task, NETWORK], plan)
    built = config.build()
    assert isinstance(built, NTM)
    machine = Started(built, plan, *STARTS[start])
    solved: int | None = None

    def check(log: list[training.Row]) -> bool:
        nonlocal solved
        if log[-1].wrong_bits < 0.1:
            machine.eval()
            if runs.final_score(machine, config).wrong_bits == 0:
                solved = log[-1].sequences
            machine.train()
        return solved is not None

    began, failure = time.perf_counter(), None
    try:
        training.train(machine, config.draw(), plan, training.LOSSES[config.loss], progress=False, report=check)
    except training.NonFiniteError as error:
        failure = str(error)
    machine.eval()
    return {
        "task": task,
        "start": start,
        "seed": seed,
        "limit": limit,
        "sequences": solved,
        "seconds": round(time.perf_counter() - began, 2),
        "wrong_bits": runs.final_score(machine, config).wrong_bits,
        "failure": failure,
    }


def main() -> None:
    """Make the runs that are missing."""
    parser = argparse.ArgumentParser(description="What a machine starts from, compared.")
    parser.add_argument("file", type=Path)
    parser.add_argument("task", choices=LIMITS)
    parser.add_argument("starts", nargs="*", default=[], metavar="start", help=", ".join(STARTS))
    parser.add_argument("--seeds", required=True, help="first-last")
    asked = parser.parse_args()
    unknown = [name for name in asked.starts if name not in STARTS]
    if unknown:
        parser.error(f"unknown start {unknown[0]!r}: must be one of {', '.join(STARTS)}")
    torch.set_num_threads(1)
    first, _, last = asked.seeds.partition("-")
    rows = [json.loads(line) for line in asked.file.read_text().splitlines()] if asked.file.exists() else []
    have = {(row["task"], row["start"], row["seed"], row["limit"]) for row in rows}
    for seed in range(int(first), int(last or first) + 1):
        for start in asked.starts or STARTS:
            if (asked.task, start, seed, LIMITS[asked.task]) not in have:
                row = run(asked.task, start, seed, LIMITS[asked.task])
                with asked.file.open("a") as out:
                    out.write(json.dumps(row) + "\n")
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
