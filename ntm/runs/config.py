"""What decides what a run computes, as it is written in its folder."""

import dataclasses
import functools
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
    length: tuple[int, int] = (1, 20)
    loss: str = "cross_entropy"

    def __post_init__(self) -> None:
        """Refuse names and ranges that do not exist, and what does not fit together."""
        checks.one_of("task", self.task, tasks.TASKS)
        checks.one_of("loss", self.loss, training.LOSSES)
        object.__setattr__(self, "length", tasks.check_range("length", self.length))
        if isinstance(self.model, LSTMConfig):  # it has no locations, whatever the recipe says of them
            object.__setattr__(self, "training", dataclasses.replace(self.training, train_locations=None, own_every=0))
        longest = tasks.TASKS[self.task](1, length=self.length[1], generator=torch.Generator())
        for name, asked, has in [
            ("inputs", self.model.inputs, longest.inputs.shape[2]),
            ("outputs", self.model.outputs, longest.targets.shape[2]),
        ]:
            if asked != has:
                raise ValueError(f"{name}={asked}: the task {self.task!r} has {has} channels")
        self.training.check_room(longest)

    def draw(self) -> tasks.Task:
        """The task with this run's range of lengths."""
        return functools.partial(tasks.TASKS[self.task], length=self.length)

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
        sizes: type = {"ntm": NTMConfig, "lstm": LSTMConfig}[fields.pop("network")]
        model, plan = sizes(**fields.pop("model")), training.TrainingConfig(**fields.pop("training"))
        return cls(model=model, training=plan, **fields)

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
