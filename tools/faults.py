"""Train machines with the historical faults in place: the runs behind the chapters on debugging.

    python tools/faults.py                                       # make the runs that data/faults lacks
    python tools/faults.py erase_dropped "1 February, Huber"     # those of some experiments

The machines of one experiment are independent, one per seed, and trained side by side as one batch of machines, since
the compiled engine knows no faults (``ntm/book/side_by_side.py``). They see lists of the same lengths in the same
order, of different vectors. What is saved, and how, is told in ``ntm/book/fault_runs.py``.
"""

import argparse
import functools
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn
from tqdm import tqdm

from ntm import NTM, NTMConfig, bugs, experiments, tasks, training
from ntm.book import fault_runs
from ntm.book.side_by_side import SideBySide

SOLVED = 0.1  # wrong bits per sequence, mean over a block
SEQUENCES = 20  # of each length measured
SPARE_SEED = 1000  # added to a machine's own where it is built again

LOSSES: dict[str, training.Loss] = {
    "cross-entropy": training.cross_entropy,
    "Huber": lambda *batch: 10 * training.huber(*batch),  # scaled as it was then
}


@dataclass(frozen=True)
class Experiment:
    """Machines that differ in their seeds only. The defaults: a small memory throughout, and one that is needed."""

    faults: tuple[str, ...] = ()
    loss: str = "cross-entropy"
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    updates: int = 4000
    train_locations: tuple[int, int] = (22, 26)
    locations: int = 128  # when measured
    redraw_at: int | None = None  # the update before which every machine is built anew, with the weights that it has
    reads: bool = True  # False: every read is zero, in training too
    content: bool = True  # False: all gates are shut, in training too, and heads walk without looking for anything
    silent: bool = False  # True: the outputs for the flags begin as good as silent, so that silence need not be learned
    hidden: int = 35  # an LSTM of 100 units can hold short lists by itself, which would hide a fault of the memory


ALONE = (
    "exponent_is_the_gate",
    "erase_dropped",
    "convolution_modulo_three",
    "shift_without_gradient",
    "beta_is_a_sigmoid",
    "beta_is_ten_sigmoids",
    "sigmoid_on_the_weighting",
    "states_0_5",
    "states_of_rows_trained",
    "states_of_rows_frozen",
    "output_without_reads",
    "read_before_write",
    "epsilon_in_the_normaliser",
    "mirrored_shift",
    "silent_targets",
)
PAIRS = (
    ("output_without_reads", "read_before_write"),
    ("states_of_rows_frozen", "output_without_reads"),
    ("erase_dropped", "beta_is_a_sigmoid"),
)


def plan() -> dict[str, Experiment]:
    """All experiments by name."""
    everything = {"nothing wrong": Experiment(), "nothing read": Experiment(reads=False)}
    everything |= {"nothing searched": Experiment(content=False)}
    everything |= {name: Experiment((name,)) for name in ALONE}
    everything |= {" + ".join(names): Experiment(names) for names in PAIRS}
    # As it was: 120 locations, in training too; the tests of those days had so many, since 3 must divide their number.
    history = functools.partial(Experiment, seeds=(0, 1, 2), updates=2500, train_locations=(120, 120), locations=120)
    for version, names in bugs.VERSIONS.items():
        for loss in LOSSES:
            everything[f"{version}, {loss}"] = history(names, loss=loss)
    day = bugs.VERSIONS["1 February"]
    everything["1 February, Huber, states redrawn"] = history(day, loss="Huber", redraw_at=1251)
    everything |= {f"1 February, {loss}, silence given": history(day, loss=loss, silent=True) for loss in LOSSES}
    # What silence costs a machine that is right otherwise, with either loss.
    silent = ("silent_targets",)
    everything["nothing wrong, Huber"] = Experiment(loss="Huber")
    everything["silent_targets, Huber"] = Experiment(silent, "Huber")
    return everything | {
        f"silent_targets, {loss}, silence given": Experiment(silent, loss, silent=True) for loss in LOSSES
    }


def machines_of(experiment: Experiment, more: int = 0) -> list[NTM]:
    """New machines, from their seeds with ``more`` added."""
    outputs = tasks.copy(1, 1).targets.shape[2]  # ten, where the flags are targets
    config = NTMConfig(hidden=experiment.hidden, outputs=outputs, locations=experiment.locations)
    machines = [built(config, seed + more) for seed in experiment.seeds]
    for machine in machines if experiment.silent else ():
        nn.init.constant_(machine.output.bias[8:], -7)
        nn.init.zeros_(machine.output.weight[8:])
    return machines


def start(experiment: Experiment) -> SideBySide:
    """The machines of an experiment, ready to be trained as one."""
    recipe = fault_runs.recipe(experiment.seeds[0], experiment.train_locations)
    losses = [LOSSES[experiment.loss] for _ in experiment.seeds]
    return SideBySide(machines_of(experiment), tasks.copy, recipe, losses)


def build_anew(together: SideBySide, experiment: Experiment) -> None:
    """New machines with the weights of those that are trained: what is no weight is drawn again."""
    again = machines_of(experiment, SPARE_SEED)
    for machine, before in zip(again, together.machines, strict=True):
        machine.load_state_dict(before.state_dict())
    together.replace(again)


def built(config: NTMConfig, seed: int) -> NTM:
    """A new machine."""
    torch.manual_seed(seed)
    return NTM(config)


@contextmanager
def as_planned(experiment: Experiment) -> Iterator[None]:
    """The experiment's faults are there."""
    reads = nullcontext() if experiment.reads else experiments.without_reads()
    content = nullcontext() if experiment.content else experiments.without_content()
    with bugs.present(*experiment.faults), reads, content:
        yield


def wrong(machine: NTM, length: int) -> float:
    """Wrong bits per fresh sequence of so many vectors, in the machine's own number of locations."""
    return round(training.evaluate(machine, tasks.copy, [length], SEQUENCES).wrong_bits, 3)


def measure(machine: NTM, seed: int) -> dict[str, float]:
    """What a trained machine does with lists of other lengths, without its reads, and with its states redrawn."""
    row = {f"wrong_{length}": wrong(machine, length) for length in fault_runs.MEASURED}
    again = built(machine.config, SPARE_SEED + seed)
    again.load_state_dict(machine.state_dict())
    row["redrawn_20"] = wrong(again, 20)
    with experiments.without_reads():
        row["without_reads_20"] = wrong(machine, 20)
    return row


def run(name: str, experiment: Experiment) -> list[dict[str, Any]]:
    """Train and measure the machines of an experiment, save the first one's weights, return a row for each."""
    began, many = time.perf_counter(), len(experiment.seeds)
    with as_planned(experiment):
        together = start(experiment)
        sums, nan_at, curve = torch.zeros(3, many), [None] * many, []
        for update in tqdm(range(1, experiment.updates + 1), name, mininterval=5, disable=not sys.stderr.isatty()):
            if update == experiment.redraw_at:
                build_anew(together, experiment)
            costs = together.update(update)
            nan_at = [at or (None if c.isfinite() else update) for at, c in zip(nan_at, costs[0], strict=True)]
            sums += costs
            if update % fault_runs.BLOCK == 0:
                curve.append(sums / fault_runs.BLOCK)
                sums = torch.zeros(3, many)
            if all(nan_at):
                break
        rows = []
        for i, (machine, seed) in enumerate(zip(together.machines, experiment.seeds, strict=True)):
            blocks = [[round(float(v), 4) for v in costs[:, i]] for costs in curve if costs[:, i].isfinite().all()]
            solved = [k + 1 for k, costs in enumerate(blocks) if costs[2] < SOLVED]
            row = {"experiment": name, "faults": experiment.faults, "loss_name": experiment.loss, "seed": seed}
            row |= {"updates": experiment.updates, "solved_at": fault_runs.BLOCK * solved[0] if solved else None}
            row |= {"nan_at": nan_at[i], **({} if nan_at[i] else measure(machine, seed))}
            row |= {key: [costs[k] for costs in blocks] for k, key in enumerate(("loss", "bits", "wrong"))}
            rows.append({**row, "seconds_of_all": round(time.perf_counter() - began)})
        first = together.machines[0]
        tensors = {n: v.detach().contiguous() for n, v in [*first.named_parameters(), *first.named_buffers()]}
        save_file(tensors, fault_runs.weights(name), {"config": json.dumps(asdict(first.config))})
    return rows


def main() -> None:
    """Make the runs that are missing."""
    everything = plan()
    parser = argparse.ArgumentParser(description="Train machines with the historical faults in place.")
    parser.add_argument("experiments", nargs="*", metavar="experiment", help="; ".join(everything))
    asked = parser.parse_args().experiments or list(everything)
    unknown = [name for name in asked if name not in everything]
    if unknown:
        parser.error(f"unknown experiment {unknown[0]!r}: must be one of {'; '.join(everything)}")
    torch.set_num_threads(1)
    file = fault_runs.FOLDER / "runs.jsonl"
    fault_runs.FOLDER.mkdir(parents=True, exist_ok=True)
    for name in asked:
        have = file.read_text().splitlines() if file.exists() else []
        if any(json.loads(line)["experiment"] == name for line in have):
            continue
        rows = run(name, everything[name])
        with file.open("a") as out:
            out.writelines(json.dumps(row) + "\n" for row in rows)
        print(f"{name}: solved at {[row['solved_at'] for row in rows]}, {rows[-1]['seconds_of_all']} s", flush=True)


if __name__ == "__main__":
    main()
