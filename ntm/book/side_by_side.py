"""Machines that differ in their weights only, trained side by side as one batch.

The compiled engine knows no faults, and the literal model costs little more for five machines than for one.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ntm import controller, training
from ntm.model import NTM, State
from ntm.tasks import Task


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
    """Machines of one configuration in training, each with its own loss and optimiser, on lists of the same lengths.

    ``losses`` has one for each machine. In a number of locations that ``recipe`` draws, all have the same.
    """

    def __init__(
        self, machines: Sequence[NTM], task: Task, recipe: training.TrainingConfig, losses: Sequence[training.Loss]
    ) -> None:
        self.task, self.recipe, self.losses = task, recipe, losses
        self.generator = torch.Generator().manual_seed(recipe.seed)
        self.optimizers = [training.make_optimizer(machine, recipe) for machine in machines]
        self.join(machines)

    def join(self, machines: Sequence[NTM]) -> None:
        """One machine for all: what is not a layer with weights does not care whose rows it sees."""
        self.machines = list(machines)
        self.all = NTM(machines[0].config)
        for name, layer in list(self.all.named_modules()):
            kind = {nn.Linear: Linears, controller.Cell: Cells}.get(type(layer))
            if kind:
                self.all.set_submodule(name, kind([machine.get_submodule(name) for machine in machines]))

    def replace(self, machines: Sequence[NTM]) -> None:
        """Go on with other machines, whose optimisers remember what those of the present ones do."""
        optimizers = [training.make_optimizer(machine, self.recipe) for machine in machines]
        for optimizer, before in zip(optimizers, self.optimizers, strict=True):
            optimizer.load_state_dict(before.state_dict())
        self.optimizers = optimizers
        self.join(machines)

    def update(self, number: int) -> Tensor:
        """One update of every machine; loss, bits and wrong bits per sequence before it, a column for each machine."""
        many = len(self.machines)
        batch = self.task(self.recipe.batch * many, generator=self.generator)
        locations = self.recipe.locations_at(number, self.generator)
        for layers in self.all.modules():
            if isinstance(layers, Layers):
                layers.stack()
        logits = self.forward(batch.inputs, locations)
        each = list(zip(*(values.chunk(many, dim=1) for values in (logits, batch.targets, batch.mask)), strict=True))
        losses = torch.stack([loss(*one) for loss, one in zip(self.losses, each, strict=True)])
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

    def forward(self, inputs: Tensor, locations: int | None) -> Tensor:
        """(T,B,X), the rows machine by machine -> logits (T,B,Y)."""
        states = [machine.initial_state(self.recipe.batch, locations) for machine in self.machines]
        parts = [torch.cat(parts, dim=1) for parts in zip(*(state.controller for state in states), strict=True)]
        state = State(tuple(parts), *(torch.cat(parts) for parts in zip(*(state[1:] for state in states), strict=True)))
        logits = []
        for x in inputs.unbind(0):
            y, state = self.all.step(x, state)
            logits.append(y)
        return torch.stack(logits)
