"""Saved runs: a folder that says all about itself, written so that a kill at any moment loses nothing.

    config.json              task, sizes, training, and the versions it ran with
    log.csv                  one row per report
    checkpoint.safetensors   while unfinished: weights, optimiser and generator, to resume from bitwise
    weights.safetensors      when finished; weights-10000.safetensors and so on where they were asked to be kept
    score.json               when finished: costs on 1,000 fresh sequences
    failure.safetensors      only after NaN or infinity: the weights and the batch that met it

Every file is written beside its place and moved there in one step, and every tensor file carries a checksum.
"""

import csv
import dataclasses
import functools
import json
import os
import platform
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ntm import tasks, training
from ntm.lstm import LSTM, LSTMConfig
from ntm.model import NTM, NTMConfig

CHECKPOINT, WEIGHTS, SCORE_SEED = "checkpoint.safetensors", "weights.safetensors", 1_000_003


class RunError(ValueError):
    """A run folder that cannot be used as asked; the message says how to go on, and nothing was changed."""


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides what a run computes."""

    task: str
    model: NTMConfig | LSTMConfig
    training: training.TrainingConfig
    length: tuple[int, int] = (1, 20)
    loss: str = "cross_entropy"

    def __post_init__(self) -> None:
        """Refuse names and ranges that do not exist."""
        known: dict[str, tuple[str, Iterable[str]]] = {
            "task": (self.task, ("copy",)),
            "loss": (self.loss, training.LOSSES),
        }
        for kind, (name, names) in known.items():
            if name not in names:
                raise ValueError(f"unknown {kind} {name!r}: must be one of {', '.join(names)}")
        tasks.check_range("length", self.length)
        room = self.training.train_locations
        if isinstance(self.model, NTMConfig) and room and room[0] < self.length[1]:
            raise ValueError(f"train_locations={room}: too few for {self.length[1]} vectors; name more, or None")
        sample = self.draw()(1)
        for name, asked, has in [
            ("inputs", self.model.inputs, sample.inputs.shape[2]),
            ("outputs", self.model.outputs, sample.targets.shape[2]),
        ]:
            if asked != has:
                raise ValueError(f"{name}={asked}: the task {self.task!r} has {has} channels")

    def draw(self) -> tasks.Task:
        """The task with this run's range of lengths."""
        return functools.partial(tasks.copy, length=self.length)

    def build(self) -> nn.Module:
        """A new model, whose weights depend on the run's seed alone."""
        with torch.random.fork_rng():
            torch.manual_seed(self.training.seed)
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
        plan = fields.pop("training")
        plan["train_locations"] = plan["train_locations"] and tuple(plan["train_locations"])
        return cls(
            task=fields.pop("task"),
            model=sizes(**fields.pop("model")),
            training=training.TrainingConfig(**plan),
            length=tuple(fields.pop("length")),
            **fields,
        )


class Run:
    """A run folder. Creating the object reads and checks; the folder is written from the first checkpoint on."""

    def __init__(self, folder: str | os.PathLike[str], config: RunConfig) -> None:
        """Open a folder to train in: a new one, or one of the same configuration to resume.

        Raises RunError, with the folder as it was, if it holds something else or cannot be written.
        """
        self.folder, self.config = Path(folder), config
        if self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
            _check_same(self.folder, config)
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            versions = {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}
            _write(self.folder / "config.json", _json({**config.to_json(), "versions": versions}))
        except OSError as error:
            raise RunError(f"{self.folder} cannot be written ({error.strerror}); choose another folder") from None

    @property
    def finished(self) -> bool:
        """Whether the last update was made and scored."""
        return (self.folder / "score.json").exists()

    def resume(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, generator: torch.Generator
    ) -> list[training.Row]:
        """Put model, optimiser and generator where the last checkpoint left them; return the log until then."""
        path = self.folder / CHECKPOINT
        if not path.exists():
            return []
        tensors, metadata = _load(path)
        generator.set_state(tensors.pop("generator"))
        model.load_state_dict(_with_prefix(tensors, "model."))
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in _with_prefix(tensors, "optimizer.").items():
            index, field = name.split(".")
            state.setdefault(int(index), {})[field] = value
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        # The log is written just before the checkpoint, so it may be one row ahead of it.
        return [row for row in read_log(self.folder) if row.update <= int(metadata["update"])]

    def checkpoint(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        generator: torch.Generator,
        log: list[training.Row],
    ) -> None:
        """Write the log, then all that is needed to go on from here."""
        rows = [",".join(training.Row._fields), *(",".join(map(repr, row)) for row in log)]
        _write(self.folder / "log.csv", "\n".join([*rows, ""]).encode())
        weights = model.state_dict()
        state = optimizer.state_dict()["state"]
        tensors = {f"model.{name}": value for name, value in weights.items()}
        tensors |= {f"optimizer.{i}.{name}": value for i, fields in state.items() for name, value in fields.items()}
        update, keep = log[-1].update, self.config.training.keep_every
        if keep and update % keep == 0:
            _save(self.folder / f"weights-{update}.safetensors", weights, {})
        _save(self.folder / CHECKPOINT, tensors | {"generator": generator.get_state()}, {"update": str(update)})

    def finish(self, model: nn.Module, score: training.Score) -> None:
        """Keep the final weights and their score; the checkpoint has served."""
        _save(self.folder / WEIGHTS, model.state_dict(), {})
        _write(self.folder / "score.json", _json({**score._asdict(), "seed": SCORE_SEED}))
        (self.folder / CHECKPOINT).unlink(missing_ok=True)

    def keep_failure(self, model: nn.Module, error: training.NonFiniteError) -> None:
        """Keep the weights and the batch that gave NaN or infinity."""
        path = self.folder / "failure.safetensors"
        batch = {f"batch.{name}": value for name, value in error.batch._asdict().items()}
        weights = {f"model.{name}": value for name, value in model.state_dict().items()}
        _save(path, weights | batch, {"update": str(error.update), "began": error.began})
        error.args = (f"{error}; the weights and the batch that meet it are in {path}",)


def train(
    folder: str | os.PathLike[str],
    config: RunConfig,
    device: str = "cpu",
    report: Any = None,
    progress: bool = True,
) -> tuple[nn.Module, list[training.Row], training.Score]:
    """Train a run to its end, from wherever its folder stands, and return model, log and score."""
    try:
        torch.zeros(1, device=device)
    except (AssertionError, RuntimeError) as error:
        raise ValueError(f"device={device!r} is not to be had here ({str(error).splitlines()[0]}): use cpu") from None
    run = Run(folder, config)
    if run.finished:
        model = load(folder).to(device)
        return model, read_log(folder), read_score(folder)
    model = config.build().to(device)
    log = training.train(model, config.draw(), config.training, training.LOSSES[config.loss], run, report, progress)
    score = final_score(model, config)
    run.finish(model, score)
    return model, log, score


def final_score(model: nn.Module, config: RunConfig) -> training.Score:
    """Costs on 1,000 fresh sequences, as many of each length of the run's range."""
    lengths = range(config.length[0], config.length[1] + 1)
    return training.evaluate(model, config.draw(), lengths, max(1, 1000 // len(lengths)), SCORE_SEED)


def load(folder: str | os.PathLike[str], update: int | None = None) -> nn.Module:
    """The trained model of a finished run, or as it was after ``update`` updates where that was kept."""
    config = read_config(folder)
    path = Path(folder) / (WEIGHTS if update is None else f"weights-{update}.safetensors")
    if not path.exists():
        kept = ", ".join(sorted(p.name for p in Path(folder).glob("weights*"))) or "none yet"
        raise RunError(
            f"{path} does not exist (weights there: {kept}): "
            "if the run is not finished, train it again into the same folder to resume it"
        )
    tensors, _ = _load(path)
    model = config.build()
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise RunError(f"{path} does not fit {Path(folder) / 'config.json'}: {error}") from None
    return model


def read_config(folder: str | os.PathLike[str]) -> RunConfig:
    """The configuration of a run."""
    return RunConfig.from_json(_read_json(folder))


def read_log(folder: str | os.PathLike[str]) -> list[training.Row]:
    """The log of a run."""
    path = Path(folder) / "log.csv"
    if not path.exists():
        return []
    try:
        with path.open(newline="") as file:
            rows = csv.DictReader(file)
            if tuple(rows.fieldnames or ()) != training.Row._fields:
                raise _damaged(path)
            return [training.Row(*(kind(r[name]) for name, kind in training.Row.__annotations__.items())) for r in rows]
    except (TypeError, ValueError):
        raise _damaged(path) from None


def read_score(folder: str | os.PathLike[str]) -> training.Score:
    """The final score of a finished run."""
    path = Path(folder) / "score.json"
    try:
        fields = json.loads(path.read_text())
        return training.Score(**{name: fields[name] for name in training.Score._fields})
    except FileNotFoundError:
        raise RunError(f"{folder} is not finished: train it again into the same folder to resume it") from None
    except (KeyError, TypeError, ValueError):
        raise _damaged(path) from None


def _check_same(folder: Path, config: RunConfig) -> None:
    """Refuse to train in a folder that holds another run, or no run at all."""
    there, asked = _flat(read_config(folder).to_json()), _flat(config.to_json())
    names = [name for name in there | asked if there.get(name) != asked.get(name)]
    if names:
        different = "; ".join(f"{name} is {there.get(name)!r} there, not {asked.get(name)!r}" for name in names)
        raise RunError(
            f"{folder} holds a run of another configuration ({different}): "
            "choose another folder, or ask for the same again to resume it"
        )
    if not os.access(folder, os.W_OK):
        raise RunError(f"{folder} cannot be written: choose another folder")


def _damaged(path: Path) -> RunError:
    return RunError(f"{path} is damaged: delete {path.parent} and train that run again")


def _flat(fields: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def _read_json(folder: str | os.PathLike[str]) -> dict[str, Any]:
    path = Path(folder) / "config.json"
    try:
        fields = json.loads(path.read_text())
        del fields["versions"]
    except (FileNotFoundError, NotADirectoryError):
        raise RunError(f"{folder} is not a run: it has no config.json; choose a run, or an empty folder") from None
    except (KeyError, TypeError, ValueError):
        raise _damaged(path) from None
    return fields


def _json(fields: dict[str, Any]) -> bytes:
    return (json.dumps(fields, indent=2) + "\n").encode()


def _write(path: Path, content: bytes) -> None:
    """Put a file in its place in one step: a kill leaves the old one or the new one, never a part."""
    beside = path.with_name(f".{path.name}.part")
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def _save(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    _write(path, save(tensors, metadata | {"crc32": _checksum(tensors)}))


def _load(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dictionary)
            metadata = file.metadata() or {}
    except SafetensorError:
        tensors, metadata = {}, {}
    if metadata.get("crc32") != _checksum(tensors):
        raise _damaged(path)
    return tensors, metadata


def _checksum(tensors: dict[str, Tensor]) -> str:
    """Of names, shapes and bytes, in the order of the names."""
    value = 0
    for name in sorted(tensors):
        value = zlib.crc32(f"{name}{tuple(tensors[name].shape)}".encode(), value)
        value = zlib.crc32(tensors[name].numpy().tobytes(), value)
    return str(value)


def _with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
