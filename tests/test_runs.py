"""Saved runs: complete, exact, and safe from kills and from mistakes."""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ntm import LSTMConfig, NTMConfig, paper, runs, training

SIZES = NTMConfig(hidden=5, locations=4, width=3)
CONFIG = runs.RunConfig(
    "copy", SIZES, training.TrainingConfig(updates=9, batch=2, report_every=3, keep_every=6), length=(1, 3)
)
SAVED = sorted((paper.DATA / "runs").iterdir())


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def train(folder, config=CONFIG):
    return runs.train(folder, config, progress=False)


@pytest.fixture
def finished(tmp_path):
    train(tmp_path / "run")
    return tmp_path / "run"


def test_a_finished_run_says_all_about_itself(finished):
    names = {"config.json", "log.csv", "score.json", "weights.safetensors", "weights-6.safetensors"}
    assert set(contents(finished)) == names
    assert runs.read_config(finished) == CONFIG
    assert [row.update for row in runs.read_log(finished)] == [3, 6, 9]
    assert runs.final_score(runs.load(finished), CONFIG) == runs.read_score(finished)
    before = contents(finished)
    train(finished)  # has nothing left to do
    assert contents(finished) == before


def test_the_weights_on_the_way_are_those_of_a_shorter_run(finished, tmp_path):
    shorter = replace(CONFIG, training=replace(CONFIG.training, updates=6))
    model, _, _ = train(tmp_path / "shorter", shorter)
    for a, b in zip(runs.load(finished, 6).parameters(), model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_configurations_survive_json():
    for config in (CONFIG, replace(CONFIG, model=LSTMConfig(hidden=3), loss="huber")):
        assert runs.RunConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize("folder", SAVED, ids=lambda folder: folder.name)
def test_the_saved_runs_of_the_book(folder):
    model, config = runs.load(folder), runs.read_config(folder)
    assert runs.read_log(folder)[-1].update == config.training.updates
    if folder.name == "copy-ntm-ff-0":  # the others load; scoring each again would take a minute
        assert runs.final_score(model, config).wrong_bits == runs.read_score(folder).wrong_bits


# --- interrupted ---------------------------------------------------------------------------------------------

COMMAND = [sys.executable, "-m", "ntm", "train", "copy", "--hidden", "5", "--locations", "4", "--width", "3"]
COMMAND += ["--length", "1", "3", "--batch", "2", "--updates", "240", "--report-every", "3"]


def start(folder):
    return subprocess.Popen([*COMMAND, "--out", str(folder)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def wait_for_update(folder, update, process):
    while process.poll() is None:
        log = runs.read_log(folder) if (folder / "log.csv").exists() else []
        if log and log[-1].update >= update:
            return
        time.sleep(0.002)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted") / "run"
    assert start(folder).wait() == 0
    return folder


def assert_same(folder, uninterrupted):
    for name in ("weights.safetensors", "score.json"):
        assert (folder / name).read_bytes() == (uninterrupted / name).read_bytes()
    timeless = [[row._replace(seconds=0) for row in runs.read_log(f)] for f in (folder, uninterrupted)]
    assert timeless[0] == timeless[1]


@pytest.mark.parametrize("kill", range(int(os.environ.get("KILLS", "3"))))
def test_killed_at_any_moment_it_resumes_bitwise(kill, uninterrupted, tmp_path):
    generator = random.Random(kill)
    process = start(tmp_path / "run")
    wait_for_update(tmp_path / "run", generator.randrange(1, 200), process)
    time.sleep(generator.random() * 0.05)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert start(tmp_path / "run").wait() == 0
    assert_same(tmp_path / "run", uninterrupted)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_it_says_how_to_go_on(number, uninterrupted, tmp_path):
    process = start(tmp_path / "run")
    wait_for_update(tmp_path / "run", 30, process)
    process.send_signal(number)
    _, said = process.communicate()
    assert process.returncode == 130 and b"the same command resumes from the last checkpoint" in said
    assert start(tmp_path / "run").wait() == 0
    assert_same(tmp_path / "run", uninterrupted)


# --- what is refused, and left as it was ---------------------------------------------------------------------


def test_another_configuration(finished):
    before = contents(finished)
    other = replace(CONFIG, training=replace(CONFIG.training, seed=5))
    with pytest.raises(runs.RunError, match="another configuration .training.seed is 0 there, not 5.: choose another"):
        train(finished, other)
    assert contents(finished) == before


def test_a_folder_that_is_no_run(tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(runs.RunError, match="is not a run: it has no config.json; choose a run, or an empty folder"):
        train(tmp_path)
    assert contents(tmp_path) == {"letter.txt": b"dear"}


def test_a_folder_that_cannot_be_written(tmp_path, finished, monkeypatch):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(runs.RunError, match="choose another folder|is not a run"):
            train(place)
    (finished / "score.json").unlink()
    monkeypatch.setattr(os, "access", lambda *_: False)
    before = contents(finished)
    with pytest.raises(runs.RunError, match="cannot be written: choose another folder"):
        train(finished)
    assert contents(finished) == before


def test_half_written(finished):
    (finished / "weights.safetensors").unlink()
    with pytest.raises(runs.RunError, match="if the run is not finished, train it again into the same folder"):
        runs.load(finished)
    with pytest.raises(runs.RunError, match="weights there: weights-6.safetensors"):
        runs.load(finished, 7)


@pytest.mark.parametrize("at", [0, 100, -1])
def test_damaged_weights(finished, at):
    path = finished / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    before = contents(finished)
    with pytest.raises(runs.RunError, match="weights.safetensors is damaged: delete .* and train that run again"):
        runs.load(finished)
    assert contents(finished) == before


def test_a_damaged_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "final_score", lambda *_: 1 / 0)  # stops before the checkpoint is given up
    with pytest.raises(ZeroDivisionError):
        train(tmp_path / "run")
    path = tmp_path / "run" / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-7])
    before = contents(tmp_path / "run")
    with pytest.raises(runs.RunError, match="checkpoint.safetensors is damaged"):
        train(tmp_path / "run")
    assert contents(tmp_path / "run") == before


@pytest.mark.parametrize("name", ["config.json", "log.csv", "score.json"])
@pytest.mark.parametrize("text", ["", "{", "update\nx"])
def test_damaged_text(finished, name, text):
    (finished / name).write_text(text)
    with pytest.raises(runs.RunError, match=f"{name} is damaged: delete"):
        train(finished)


def test_what_is_not_finite_is_kept(tmp_path, monkeypatch):
    monkeypatch.setitem(training.LOSSES, "cross_entropy", lambda *args: training.huber(*args) / 0)
    with pytest.raises(training.NonFiniteError, match="update 1 .* weights and the batch that meet it are in"):
        train(tmp_path / "run")
    tensors, metadata = runs._load(tmp_path / "run" / "failure.safetensors")
    assert metadata["update"] == "1" and tensors["batch.inputs"].shape[2] == 10
    assert torch.equal(tensors["model.output.weight"], CONFIG.build().output.weight)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"task": "sort it"}, "unknown task 'sort it': must be one of copy"),
        ({"loss": "hinge"}, "unknown loss 'hinge': must be one of cross_entropy, huber"),
        ({"length": (0, 3)}, "length=.0, 3.: must be whole numbers from 1 to"),
        ({"length": (4, 3)}, "length=.4, 3.: must be whole numbers from 1 to"),
        ({"model": NTMConfig(inputs=9)}, "inputs=9: the task 'copy' has 10 channels"),
    ],
)
def test_runs_that_cannot_be(fields, message):
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **fields)
