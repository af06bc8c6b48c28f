"""What decides what a run computes, as it is written in its folder."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ntm import checks, tasks, training
from ntm.lstm import LSTM, LSTMConfig
from ntm.model import NTM, NTMConfig
from ntm.runs.seeding import Seeded


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides what a run computes."""

    task: str
    model: NTMConfig | LSTMConfig
    training: training.TrainingConfig
    sizes: tasks.Sizes = None  # type: ignore[assignment]  # of the task; the paper's where none are given
    loss: str = ""  # the recipe's own where none is given

    def __post_init__(self) -> None:
        """Refuse names that do not exist, and what does not fit together."""
        checks.one_of("task", self.task, tasks.TASKS)
        kind = tasks.TASKS[self.task]
        if self.sizes is None:
            object.__setattr__(self, "sizes", kind())
        if type(self.sizes) is not kind:
            raise ValueError(f"sizes={self.sizes!r}: those of the task {self.task!r} are {kind.__name__}")
        object.__setattr__(self, "loss", self.loss or self.training.loss)
        checks.one_of("loss", self.loss, training.LOSSES)
        if isinstance(self.model, LSTMConfig):  # it has no locations, whatever the recipe says of them
            object.__setattr__(self, "training", dataclasses.replace(self.training, train_locations=None, own_every=0))
        self.check_channels(self.sizes)
        self.training.check_room(self.sizes.longest().draw(1, torch.Generator()))

    def check_channels(self, sizes: tasks.Sizes) -> None:
        """Raise ValueError for sizes with other numbers of channels than the model has."""
        for name in ("inputs", "outputs"):
            asked, has = getattr(self.model, name), getattr(sizes, name)
            if asked != has:
                raise ValueError(f"{name}={asked}: the task {self.task!r} with {sizes!r} has {has} channels")

    def draw(self) -> tasks.Task:
        """The task with this run's sizes, of which a call may name others."""
        return self.sizes.draw

    def build(self) -> nn.Module:
        """A new model on the CPU, whose weights depend on the run's seed alone, in any number of threads."""
        with torch.device("cpu"), Seeded(self.training.seed):
            return NTM(self.model) if isinstance(self.model, NTMConfig) else LSTM(self.model)

    def to_json(self) -> dict[str, Any]:
        """As nested dictionaries; the model's says which network it is."""
        network = "ntm" if isinstance(self.model, NTMConfig) else "lstm"
        return {"network": network, **json.loads(json.dumps(dataclasses.asdict(self)))}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "RunConfig":
        """The inverse of :meth:`to_json`."""
        fields = dict(fields)
        network: type = {"ntm": NTMConfig, "lstm": LSTMConfig}[fields.pop("network")]
        model, plan = network(**fields.pop("model")), training.TrainingConfig(**fields.pop("training"))
        return cls(model=model, training=plan, sizes=tasks.TASKS[fields["task"]](**fields.pop("sizes")), **fields)

    def differences(self, other: "RunConfig") -> str:
        """What is different in another configuration, but for the number of updates; empty if nothing is."""
        there, asked = _flat(other.to_json()), _flat(self.to_json())
        names = [n for n in there | asked if n != "training.updates" and there.get(n) != asked.get(n)]
        return "; ".join(f"{name} is {there.get(name)!r} there, not {asked.get(name)!r}" for name in names)


def _flat(fields: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat
