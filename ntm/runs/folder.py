"""The folder of a run: what lies in it, and how it is opened, written and read."""

import csv
import io
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from ntm import training
from ntm.runs import files
from ntm.runs.config import RunConfig
from ntm.runs.files import RunError
from ntm.runs.versions import versions

CONFIG, LOG, SCORE = "config.json", "log.csv", "score.json"
CHECKPOINT, WEIGHTS, SCORE_SEED = "checkpoint.safetensors", "weights.safetensors", 1_000_003
FAILURE = "failure.safetensors"


class Run:
    """A run folder, for use in a ``with`` block: locked until it is closed, written from the first checkpoint on."""

    def __init__(self, folder: str | os.PathLike[str], config: RunConfig, device: str = "cpu") -> None:
        """Open a folder to train in: a new one, one of the same configuration to resume, or of a shorter run.

        Raises RunError, with the folder as it was, if it holds something else, cannot be written, or is being trained.
        """
        self.folder, self.config = Path(folder), config
        held(self.folder, config)  # refuses before anything is made
        self.lock = files.Lock(self.folder)
        try:
            files.clear_parts(self.folder)
            there = held(self.folder, config)
            if there and there != config and self.finished:
                self._put_away()
            self._write_config(there, device)
        except BaseException:
            self.close()
            self.lock.forget_folder()
            raise

    def __enter__(self) -> Self:
        """The run itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Give the folder back."""
        self.close()

    def close(self) -> None:
        """Give the folder back to other processes."""
        self.lock.release()

    @property
    def finished(self) -> bool:
        """Whether the last update was made and scored."""
        return is_finished(self.folder)

    def _put_away(self) -> None:
        """Make a finished run an unfinished one, to be made longer: its weights are then some kept on the way."""
        _, metadata = files.read_tensors(self.folder / CHECKPOINT)
        try:
            (self.folder / SCORE).unlink()
            (self.folder / WEIGHTS).replace(self.folder / f"weights-{metadata['update']}.safetensors")
        except OSError as error:
            raise files.unwritable(self.folder, error) from None

    def _write_config(self, there: RunConfig | None, device: str) -> None:
        """Write the configuration, or what is new in it."""
        ran = _read_config(self.folder)[1] if there else []
        now = versions(device)
        if ran and ran[-1] != now:
            changes = [
                f"{name} {ran[-1].get(name)} then, {now[name]} now" for name in now if now[name] != ran[-1].get(name)
            ]
            files.warn(f"{self.folder} goes on, but perhaps not the same to the last bit: {'; '.join(changes)}")
        if there != self.config or ran[-1] != now:
            ran = ran if ran and ran[-1] == now else [*ran, now]
            files.write_json(self.folder / CONFIG, {**self.config.to_json(), "versions": ran})

    def resume(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, generator: torch.Generator
    ) -> tuple[list[training.Row], list[float]]:
        """Put model, optimiser and generator where the last checkpoint left them; return its log and sums.

        The log in the checkpoint counts: ``log.csv`` is a copy of it, and is written anew.
        """
        path = self.folder / CHECKPOINT
        if not path.exists():
            if (self.folder / LOG).exists():
                raise RunError(
                    f"{self.folder} has a log but no {CHECKPOINT}, so training cannot go on from where it was: "
                    "choose another folder, or delete this one to begin again"
                )
            return [], [0.0, 0.0, 0.0]
        tensors, metadata = files.read_tensors(path)
        try:
            different = self.config.differences(RunConfig.from_json(json.loads(metadata["config"])))
            if different:
                raise ValueError(different)
            log = [training.Row(int(n), int(many), *costs) for n, many, *costs in tensors.pop("log").tolist()]
            if log[-1].update > self.config.training.updates:
                raise ValueError(f"it is after update {log[-1].update}, of {self.config.training.updates}")
            sums = tensors.pop("sums").tolist()
            generator.set_state(tensors.pop("generator"))
            _fill(model, _with_prefix(tensors, "model."))
            state: dict[int, dict[str, Tensor]] = {}
            for name, value in _with_prefix(tensors, "optimizer.").items():
                index, field = name.split(".")
                state.setdefault(int(index), {})[field] = value
            optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise RunError(f"{path} is not of this run ({error}): choose another folder") from None
        self._write_log(log, durable=False)
        return log, sums

    def checkpoint(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        generator: torch.Generator,
        log: list[training.Row],
        sums: list[float],
    ) -> None:
        """Write all that is needed to go on from here, then the log; its last row is the mean of ``sums``."""
        weights = model.state_dict()
        state = optimizer.state_dict()["state"]
        tensors = {f"model.{name}": value for name, value in weights.items()}
        tensors |= {f"optimizer.{i}.{name}": value for i, fields in state.items() for name, value in fields.items()}
        tensors |= {"generator": generator.get_state()}
        tensors |= {name: torch.tensor(value, dtype=torch.float64) for name, value in [("log", log), ("sums", sums)]}
        update, keep = log[-1].update, self.config.training.keep_every
        if keep and update % keep == 0:
            files.write_tensors(self.folder / f"weights-{update}.safetensors", weights, {})
        metadata = {"update": str(update), "config": json.dumps(self.config.to_json())}
        files.write_tensors(self.folder / CHECKPOINT, tensors, metadata)
        self._write_log(log, durable=False)

    def _write_log(self, log: list[training.Row], durable: bool) -> bytes:
        rows = [",".join(training.Row._fields), *(",".join(map(repr, row)) for row in log)]
        content = "\n".join([*rows, ""]).encode()
        files.write(self.folder / LOG, content, durable)
        return content

    def finish(self, model: nn.Module, log: list[training.Row], score: training.Score) -> None:
        """Keep the final weights and their score."""
        weights = files.write_tensors(self.folder / WEIGHTS, model.state_dict(), {})
        checksums = {"log_crc32": files.text_checksum(self._write_log(log, durable=True)), "weights_crc32": weights}
        files.write_json(self.folder / SCORE, {**score._asdict(), "seed": SCORE_SEED, **checksums})

    def keep_failure(self, model: nn.Module, error: training.NonFiniteError) -> None:
        """Keep the weights and the batch that gave NaN or infinity."""
        path = self.folder / FAILURE
        batch = {f"batch.{name}": value for name, value in error.batch._asdict().items()}
        weights = {f"model.{name}": value for name, value in model.state_dict().items()}
        try:
            files.write_tensors(path, weights | batch, {"update": str(error.update), "began": error.began})
            kept = f"are in {path}"
        except RunError as problem:
            kept = f"could not be kept: {problem}"
        error.args = (f"{error}; the weights and the batch that meet it {kept}",)


def read_config(folder: str | os.PathLike[str]) -> RunConfig:
    """The configuration of a run."""
    return _read_config(Path(folder))[0]


def _read_config(folder: Path) -> tuple[RunConfig, list[dict[str, str]]]:
    """The configuration of a run, and what it ran with."""
    try:
        fields = files.read_json(folder / CONFIG)
        ran = [dict(each) for each in fields.pop("versions")]
        return RunConfig.from_json(fields), ran
    except (FileNotFoundError, NotADirectoryError):
        raise RunError(f"{folder} is not a run: it has no {CONFIG}; choose a run, or an empty folder") from None
    except RunError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"{folder / CONFIG} is not of a run that this version of the package makes ({error}): "
            "use the version that it names"
        ) from None


def read_log(folder: str | os.PathLike[str]) -> list[training.Row]:
    """The log of a run, as far as it has come."""
    path = Path(folder) / LOG
    finished = is_finished(Path(folder))
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        if finished:
            raise files.damaged(path, " (it is missing)") from None
        return []
    except OSError as error:
        raise files.unreadable(path, error) from None
    if finished and files.text_checksum(content) != read_result(Path(folder))["log_crc32"]:
        raise files.damaged(path, f" (its checksum is not the one in {SCORE})")
    try:
        rows = list(csv.reader(io.StringIO(content.decode())))
        kinds = training.Row.__annotations__.values()
        log = [training.Row(*(kind(text) for kind, text in zip(kinds, row, strict=True))) for row in rows[1:]]
    except ValueError:
        raise files.damaged(path) from None
    if not rows or tuple(rows[0]) != training.Row._fields:
        raise files.damaged(path)
    return log


def read_score(folder: str | os.PathLike[str]) -> training.Score:
    """The final score of a finished run."""
    fields = read_result(Path(folder))
    try:
        return training.Score(**{name: fields[name] for name in training.Score._fields})
    except KeyError:
        raise files.damaged(Path(folder) / SCORE) from None


def is_finished(folder: Path) -> bool:
    """Whether the last update was made and scored."""
    return (folder / SCORE).exists() and (folder / WEIGHTS).exists()


def held(folder: Path, config: RunConfig) -> RunConfig | None:
    """The configuration in a folder, None in an empty one. Refuses one that is not this one, or a shorter run of it."""
    try:
        names = [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RunError(f"{folder} cannot be a run's folder ({error.strerror}): choose another folder") from None
    if all(name == files.LOCK or name.endswith(".part") for name in names):
        return None
    there = read_config(folder)
    different = config.differences(there)
    if different:
        raise RunError(
            f"{folder} holds a run of another configuration ({different}): "
            "choose another folder, or ask for the same again to resume it"
        )
    less, more = sorted([there.training.updates, config.training.updates])
    if config.training.updates < more:
        raise RunError(
            f"{folder} holds a run of {more} updates, not {less}: ask for at least as many, or another folder"
        )
    if less < more and is_finished(folder) and not (folder / CHECKPOINT).exists():
        raise RunError(
            f"{folder} is finished after {less} updates and has no {CHECKPOINT} to go on from, so it cannot be made "
            f"longer: train {more} updates into another folder"
        )
    return there


def read_result(folder: Path) -> dict[str, Any]:
    """What is in score.json."""
    try:
        return files.read_json(folder / SCORE)
    except (FileNotFoundError, NotADirectoryError):
        raise RunError(f"{folder} is not finished: train it again into the same folder to resume it") from None


def _fill(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Load weights that must be of the model's own shapes and types."""
    for name, value in model.state_dict().items():
        if name in weights and weights[name].dtype != value.dtype:
            raise ValueError(f"{name} is {weights[name].dtype} there, not {value.dtype}")
    model.load_state_dict(weights)


def _with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
