"""Saved runs: a folder that says all about itself, written so that a kill at any moment loses nothing.

    config.json              task, sizes, training, and the versions and processors that it ran with, in turn
    log.csv                  one row per report
    checkpoint.safetensors   weights, optimiser, generator and log, to go on from bitwise
    weights.safetensors      when finished; weights-10000.safetensors and so on where they were asked to be kept
    score.json               when finished: costs on 1,000 fresh sequences, checksums of the log and the weights
    failure.safetensors      only after NaN or infinity: the weights and the batch that met it

A finished run with its checkpoint can be made longer; the checkpoint is three to four times as large as the weights and
may be deleted. How the files are written, checked and locked is said in :mod:`ntm.runs.files`.
"""

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ntm import checks, training
from ntm.runs import files
from ntm.runs.config import RunConfig
from ntm.runs.files import RunError
from ntm.runs.folder import (
    CHECKPOINT,
    CONFIG,
    FAILURE,
    SCORE,
    SCORE_SEED,
    WEIGHTS,
    Run,
    held,
    is_finished,
    read_config,
    read_log,
    read_result,
    read_score,
)
from ntm.tasks import Batch

__all__ = [
    "CHECKPOINT",
    "Run",
    "RunConfig",
    "RunError",
    "final_score",
    "load",
    "load_failure",
    "read_config",
    "read_log",
    "read_score",
    "train",
]


def train(
    folder: str | os.PathLike[str],
    config: RunConfig,
    device: str = "cpu",
    report: Any = None,
    progress: bool = True,
) -> tuple[nn.Module, list[training.Row], training.Score]:
    """Train a run to its end, from wherever its folder stands, and return model, log and score.

    A run of fewer updates that is otherwise the same is made longer, as if it had been trained in one go.
    """
    try:
        torch.zeros(1, device=device).cpu()
    except (AssertionError, ImportError, RuntimeError) as error:
        raise ValueError(f"device={device!r} is not to be had here ({str(error).splitlines()[0]}): use cpu") from None
    if held(Path(folder), config) != config or not is_finished(Path(folder)):
        model, loss = config.build().to(device), training.LOSSES[config.loss]  # before anything is written
        with Run(folder, config, device) as run:
            if not run.finished:
                log = training.train(model, config.draw(), config.training, loss, run, report, progress)
                run.finish(model, log, final_score(model, config))
    return load(folder).to(device), read_log(folder), read_score(folder)


def final_score(model: nn.Module, config: RunConfig) -> training.Score:
    """Costs on 1,000 fresh sequences, as many of each combination of the sizes that the run draws from."""
    each = config.sizes.each()
    draws = [sizes.draw for sizes in each]
    return training.measure(model, draws, max(1, 1000 // len(each)), SCORE_SEED)


def load(folder: str | os.PathLike[str], update: int | None = None) -> nn.Module:
    """The trained model of a finished run, or as it was after ``update`` updates where that was kept."""
    config, folder = read_config(folder), Path(folder)
    path = folder / (WEIGHTS if update is None else f"weights-{checks.whole('update', update)}.safetensors")
    if not path.exists():
        kept = ", ".join(sorted(p.name for p in folder.glob("weights*"))) or "none yet"
        raise RunError(
            f"{path} does not exist (weights there: {kept}): "
            "if the run is not finished, train it again into the same folder to resume it"
        )
    tensors, metadata = files.read_tensors(path)
    if update is None and is_finished(folder) and metadata["crc32"] != str(read_result(folder)["weights_crc32"]):
        raise files.damaged(path, f" (its checksum is not the one in {SCORE})")
    return _with_weights(config, tensors, path)


def load_failure(folder: str | os.PathLike[str]) -> tuple[nn.Module, Batch]:
    """The model as it was when an update was not finite, and the batch that met it; see NonFiniteError."""
    config, path = read_config(folder), Path(folder) / FAILURE
    if not path.exists():
        raise RunError(f"{path} does not exist: this run has met no NaN or infinity")
    tensors, _ = files.read_tensors(path)
    parts = {"model": {}, "batch": {}}  # type: dict[str, dict[str, torch.Tensor]]
    for name, values in tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = values
    return _with_weights(config, parts["model"], path), Batch(**parts["batch"])


def _with_weights(config: RunConfig, weights: dict[str, torch.Tensor], path: Path) -> nn.Module:
    """The model of a run, with the weights that were read from a file."""
    model = config.build()
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise RunError(f"{path} does not fit {path.parent / CONFIG}: {' '.join(str(error).split())}") from None
    return model
