"""Train machines with the historical faults in place: the runs behind the chapters on debugging.

    python tools/faults.py                                       # make the runs that data/faults lacks
    python tools/faults.py erase_dropped "1 February, Huber"     # those of some experiments

The machines of one experiment are independent, one per seed, and trained side by side as one batch of machines, since
the compiled engine knows no faults and the literal model costs little more for five than for one. They see lists of the
same lengths in the same order, of different vectors. What is saved, and how, is told in ``ntm/book/fault_runs.py``.
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
from torch import Tensor, nn
from tqdm import tqdm

from ntm import NTM, NTMConfig, State, bugs, controller, experiments, tasks, training
from ntm.book import fault_runs

BLOCK = 100  # updates between two points of a curve
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
    everything |= {name: Experiment((name,)) for name in ALONE}
    everything |= {" + ".join(names): Experiment(names) for names in PAIRS}
    # As it was: 120 locations, in training too; the tests of those days had so many, since 3 must divide their number.
    history = functools.partial(Experiment, seeds=(0, 1, 2), updates=2500, train_locations=(120, 120), locations=120)
    for version, names in bugs.VERSIONS.items():
        for loss in LOSSES:
            everything[f"{version}, {loss}"] = history(names, loss=loss)
    redrawn = history(bugs.VERSIONS["1 February"], loss="Huber", redraw_at=1251)
    return everything | {"1 February, Huber, states redrawn": redrawn}


class Layers(nn.Module):
    """The same layer of every machine as one: a batch's rows come machine by machine; each meets its own weights."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = layers  # in a list, so that the parameters stay the machines' own
        self.stacked: dict[str, Tensor] = {}

    def stack(self) -> None:
        """Take the weights as they are now; gradients go to the machines."""
        names = [name for name, _ in self.layers[0].named_parameters()]
        self.stacked = {name: torch.stack([getattr(layer, name) for layer in self.layers]) for name in names}

    def multiply(self, rows: Tensor, kind: str = "") -> Tensor:
        """Each machine's rows by its weights, and its bias added."""
        weight, bias = self.stacked["weight" + kind], self.stacked["bias" + kind]
        return torch.baddbmm(bias.unsqueeze(1), rows.unflatten(0, (len(weight), -1)), weight.mT).flatten(0, 1)


class Linears(Layers):
    """``nn.Linear`` side by side."""

    def forward(self, rows: Tensor) -> Tensor:
        """(B,I) -> (B,O)."""
        return self.multiply(rows)


class Cells(Layers):
    """LSTM cells side by side."""

    def forward(self, rows: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """(B,I), two of (B,C) -> two of (B,C)."""
        hidden, cell = state
        i, f, g, o = (self.multiply(rows, "_ih") + self.multiply(hidden, "_hh")).chunk(4, dim=1)
        cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        return o.sigmoid() * cell.tanh(), cell


class SideBySide:
    """The machines of an experiment, trained as one."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment, self.loss = experiment, LOSSES[experiment.loss]
        self.recipe = training.TrainingConfig(batch=bugs.ROWS)
        outputs = tasks.copy(1, 1).targets.shape[2]  # ten, where the flags are targets
        config = NTMConfig(hidden=experiment.hidden, outputs=outputs, locations=experiment.locations)
        self.machines = [built(config, seed) for seed in experiment.seeds]
        self.generator = torch.Generator().manual_seed(experiment.seeds[0])
        self.optimizers = [training.make_optimizer(machine, self.recipe) for machine in self.machines]
        self.join()

    def join(self) -> None:
        """One machine for all: what is not a layer with weights does not care whose rows it sees."""
        self.all = NTM(self.machines[0].config)
        for name, layer in list(self.all.named_modules()):
            kind = {nn.Linear: Linears, controller.Cell: Cells}.get(type(layer))
            if kind:
                self.all.set_submodule(name, kind([machine.get_submodule(name) for machine in self.machines]))

    def redraw(self) -> None:
        """Build every machine anew, with the weights that it has: what is no weight is drawn again."""
        for i, (machine, seed) in enumerate(zip(self.machines, self.experiment.seeds, strict=True)):
            self.machines[i] = built(machine.config, SPARE_SEED + seed)
            self.machines[i].load_state_dict(machine.state_dict())
            optimizer = training.make_optimizer(self.machines[i], self.recipe)
            optimizer.load_state_dict(self.optimizers[i].state_dict())
            self.optimizers[i] = optimizer
        self.join()

    def update(self, number: int) -> Tensor:
        """One update of every machine; loss, bits and wrong bits per sequence before it, a column for each machine."""
        many, (least, most) = len(self.machines), self.experiment.train_locations
        batch = tasks.copy(self.recipe.batch * many, (1, 20), generator=self.generator)
        locations = int(torch.randint(least, most + 1, (), generator=self.generator))
        for layers in self.all.modules():
            if isinstance(layers, Layers):
                layers.stack()
        logits = self.forward(batch.inputs, locations)
        each = list(zip(*(values.chunk(many, dim=1) for values in (logits, batch.targets, batch.mask)), strict=True))
        losses = torch.stack([self.loss(*one) for one in each])
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        losses.sum().backward()
        for machine, optimizer in zip(self.machines, self.optimizers, strict=True):
            if training.clip_gradients(machine, self.recipe):
                optimizer.param_groups[0]["lr"] = self.recipe.learning_rate_at(number)
                optimizer.step()
        with torch.no_grad():
            costs = [[cost(*one) for one in each] for cost in (training.bits_per_sequence, training.wrong_bits)]
        return torch.cat([losses.detach().unsqueeze(0), torch.tensor(costs)])

    def forward(self, inputs: Tensor, locations: int) -> Tensor:
        """(T,B,X), the rows machine by machine -> logits (T,B,Y)."""
        states = [machine.initial_state(self.recipe.batch, locations) for machine in self.machines]
        parts = [torch.cat(parts, dim=1) for parts in zip(*(state.controller for state in states), strict=True)]
        state = State(tuple(parts), *(torch.cat(parts) for parts in zip(*(state[1:] for state in states), strict=True)))
        logits = []
        for x in inputs.unbind(0):
            y, state = self.all.step(x, state)
            logits.append(y)
        return torch.stack(logits)


def built(config: NTMConfig, seed: int) -> NTM:
    """A new machine."""
    torch.manual_seed(seed)
    return NTM(config)


@contextmanager
def as_planned(experiment: Experiment) -> Iterator[None]:
    """The experiment's faults are there."""
    with bugs.present(*experiment.faults), nullcontext() if experiment.reads else experiments.without_reads():
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
        together = SideBySide(experiment)
        sums, nan_at, curve = torch.zeros(3, many), [None] * many, []
        for update in tqdm(range(1, experiment.updates + 1), name, mininterval=5, disable=not sys.stderr.isatty()):
            if update == experiment.redraw_at:
                together.redraw()
            costs = together.update(update)
            nan_at = [at or (None if c.isfinite() else update) for at, c in zip(nan_at, costs[0], strict=True)]
            sums += costs
            if update % BLOCK == 0:
                curve.append(sums / BLOCK)
                sums = torch.zeros(3, many)
            if all(nan_at):
                break
        rows = []
        for i, (machine, seed) in enumerate(zip(together.machines, experiment.seeds, strict=True)):
            blocks = [[round(float(v), 4) for v in costs[:, i]] for costs in curve if costs[:, i].isfinite().all()]
            solved = [k + 1 for k, costs in enumerate(blocks) if costs[2] < SOLVED]
            row = {"experiment": name, "faults": experiment.faults, "loss_name": experiment.loss, "seed": seed}
            row |= {"updates": experiment.updates, "solved_at": BLOCK * solved[0] if solved else None}
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
