"""Saved runs: complete, exact, and safe from kills and from mistakes."""

import errno
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ntm import LSTM, NTM, LSTMConfig, NTMConfig, paper, runs, tasks, training
from ntm.runs import files, folder

pytestmark = pytest.mark.once  # many processes, killed and asked to stop

SIZES = NTMConfig(hidden=5, locations=4, width=3)
SMALL = {
    "repeat-copy": tasks.RepeatCopySizes((1, 2), (1, 3)),
    "recall": tasks.RecallSizes((2, 3), 1),
    "ngrams": tasks.NgramSizes(7, 2),
    "sort": tasks.SortSizes(3, 2),
}
CONFIG = runs.RunConfig(
    "copy",
    SIZES,
    training.TrainingConfig(updates=9, batch=2, report_every=3, keep_every=6),
    tasks.CopySizes(length=(1, 3)),
)
OTHER_TASKS = [
    runs.RunConfig(task, replace(model, hidden=5, **few), replace(paper.recipe(task, network), updates=2), SMALL[task])
    for (task, network), model in paper.CONFIGS.items()
    for few in [{"layers": 1} if network == "lstm" else {"locations": 4, "width": 3}]
    if task != "copy"
]
pytestmark = pytest.mark.once  # folders, files and processes are the same on every processor


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
    assert set(contents(finished)) == names | {"checkpoint.safetensors"}
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
    rate = replace(
        CONFIG.training, learning_rate=np.float32(0.01), train_locations=[np.int64(5), 7], updates=np.int32(3)
    )
    for config in (
        CONFIG,
        replace(CONFIG, model=LSTMConfig(hidden=3), loss="huber"),
        replace(CONFIG, training=rate, sizes=tasks.CopySizes(np.int64(3))),
        *OTHER_TASKS,
    ):
        assert runs.RunConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize("config", OTHER_TASKS, ids=lambda config: f"{config.task}-{type(config.model).__name__}")
def test_a_run_of_each_task_reloads_to_its_score(config, tmp_path):
    train(tmp_path / "run", config)
    assert runs.read_config(tmp_path / "run") == config
    score = runs.final_score(runs.load(tmp_path / "run"), config)
    assert score == runs.read_score(tmp_path / "run")
    each = {"repeat-copy": 6, "recall": 2}.get(config.task, 1)  # combinations of what is drawn
    assert score.sequences == each * (1000 // each)


def test_the_papers_recipe_brings_its_loss():
    assert {config.loss for config in OTHER_TASKS} == {"nats_per_sequence"}
    assert CONFIG.loss == "cross_entropy" == replace(OTHER_TASKS[0], loss="cross_entropy").loss


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
    """Two finished runs differ in nothing but the time they took."""
    assert (folder / "weights.safetensors").read_bytes() == (uninterrupted / "weights.safetensors").read_bytes()
    assert runs.read_score(folder) == runs.read_score(uninterrupted)
    timeless = [[row._replace(seconds=0) for row in runs.read_log(f)] for f in (folder, uninterrupted)]
    assert timeless[0] == timeless[1]
    assert not [name for name in contents(folder) if name.startswith(".")]


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


class Stop(Exception):
    pass


def interrupted(folder, at, config=CONFIG):
    """A run that ended at the row of an update, as a kill just after the checkpoint would end it."""

    def report(log):
        if log[-1].update == at:
            raise Stop

    with pytest.raises(Stop):
        runs.train(folder, config, report=report, progress=False)
    return folder


LOGS = {
    "lost": lambda log: log.unlink(),
    "shortened": lambda log: log.write_text("".join(log.read_text().splitlines(True)[:-1])),
    "without rows": lambda log: log.write_text(log.read_text().splitlines(True)[0]),
    "cut": lambda log: log.write_bytes(log.read_bytes()[:-40]),
    "empty": lambda log: log.write_text(""),
    "ahead": lambda log: log.write_text(log.read_text().replace("\n3,", "\n4,").replace("\n6,", "\n9,")),
    "not text": lambda log: log.write_bytes(bytes(range(256))),
}


@pytest.mark.parametrize("damage", LOGS)
def test_a_run_goes_on_from_its_checkpoint_whatever_became_of_its_log(damage, finished, tmp_path):
    LOGS[damage](interrupted(tmp_path / "again", 6) / "log.csv")
    train(tmp_path / "again")
    assert_same(tmp_path / "again", finished)


def test_a_log_without_its_checkpoint(tmp_path):
    (interrupted(tmp_path / "run", 6) / "checkpoint.safetensors").unlink()
    before = contents(tmp_path / "run")
    with pytest.raises(runs.RunError, match="run has a log but no checkpoint.safetensors, so training cannot go on"):
        train(tmp_path / "run")
    assert contents(tmp_path / "run") == before


def test_a_checkpoint_of_another_run(tmp_path):
    interrupted(tmp_path / "run", 3)
    other = replace(CONFIG, training=replace(CONFIG.training, seed=5))
    longer = replace(CONFIG, training=replace(CONFIG.training, updates=12))
    for name, config, at, why in [
        ("other", other, 6, "training.seed is 5 there, not 0"),
        ("longer", longer, 12, "it is after update 12, of 9"),
    ]:
        shutil.copy(interrupted(tmp_path / name, at, config) / "checkpoint.safetensors", tmp_path / "run")
        before = contents(tmp_path / "run")
        with pytest.raises(
            runs.RunError, match=rf"checkpoint.safetensors is not of this run \({why}\): choose another"
        ):
            train(tmp_path / "run")
        assert contents(tmp_path / "run") == before


def test_a_checkpoint_whose_update_was_changed(tmp_path):
    path = interrupted(tmp_path / "run", 3) / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes().replace(b'"update":"3"', b'"update":"6"'))
    with pytest.raises(runs.RunError, match="checkpoint.safetensors is damaged"):
        train(tmp_path / "run")


def test_another_type_of_numbers(tmp_path):
    interrupted(tmp_path / "run", 3)
    torch.set_default_dtype(torch.float64)
    try:
        with pytest.raises(runs.RunError, match="is torch.float32 there, not torch.float64"):
            train(tmp_path / "run")
    finally:
        torch.set_default_dtype(torch.float32)


# --- made longer ---------------------------------------------------------------------------------------------


def with_updates(updates, config=CONFIG):
    return replace(config, training=replace(config.training, updates=updates))


CONFIGS = {
    "lstm controller": CONFIG,
    "feedforward, rmsprop": replace(
        CONFIG,
        model=replace(SIZES, controller="feedforward"),
        training=replace(training.PAPER, updates=9, report_every=3),
        loss="huber",
    ),
    "baseline": replace(CONFIG, model=LSTMConfig(hidden=4)),
}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("steps", [(3, 9), (5, 9), (1, 2, 4, 9)])
def test_a_run_made_longer_is_the_run_of_that_length(name, steps, tmp_path):
    config = CONFIGS[name]
    train(tmp_path / "one go", config)
    for updates in steps:
        train(tmp_path / "run", with_updates(updates, config))
    assert_same(tmp_path / "run", tmp_path / "one go")
    for a, b in zip(
        *(files.read_tensors(tmp_path / r / "checkpoint.safetensors") for r in ("run", "one go")), strict=True
    ):
        for key in a.keys() - {"log", "crc32"}:
            assert torch.equal(a[key], b[key]) if isinstance(a[key], torch.Tensor) else a[key] == b[key]
    assert runs.read_config(tmp_path / "run") == config
    for updates in steps[:-1]:  # what it was before is still there
        train(tmp_path / str(updates), with_updates(updates, config))
        for a, b in zip(
            runs.load(tmp_path / "run", updates).parameters(),
            runs.load(tmp_path / str(updates)).parameters(),
            strict=True,
        ):
            assert torch.equal(a, b)


def test_a_run_that_is_solved(tmp_path, monkeypatch):
    """It ends there, in one go and when it was interrupted between its last row and its score."""
    monkeypatch.setattr(training, "SOLVED_FOR", 6 * CONFIG.training.batch)
    config = replace(CONFIG, training=replace(CONFIG.training, until=1e9))
    _, log, _ = train(tmp_path / "one go", config)
    assert [row.update for row in log] == [3, 6]
    interrupted(tmp_path / "run", 6, config)
    train(tmp_path / "run", config)
    assert_same(tmp_path / "run", tmp_path / "one go")
    train(tmp_path / "run", with_updates(30, config))
    assert_same(tmp_path / "run", tmp_path / "one go")


def test_an_interrupted_run_made_longer(finished, tmp_path):
    interrupted(tmp_path / "again", 3, with_updates(6))
    train(tmp_path / "again")
    assert_same(tmp_path / "again", finished)


@pytest.mark.parametrize("call", range(1, 8))
def test_stopped_while_it_is_made_longer(call, finished, tmp_path, monkeypatch):
    """Whatever was the last thing done to the folder, it is one of the two runs, and goes on."""
    done = []

    def limited(function):
        def wrapper(*arguments, **named):
            if len(done) >= call:
                raise Stop
            done.append(function)
            return function(*arguments, **named)

        return wrapper

    run = tmp_path / "again"
    train(run, with_updates(5))
    with monkeypatch.context() as patch, pytest.raises(Stop):
        for name in ("unlink", "replace"):
            patch.setattr(Path, name, limited(getattr(Path, name)))
        train(run)
    there = runs.read_config(run)
    assert there in (CONFIG, with_updates(5))
    train(run, there)
    train(run)
    assert_same(run, finished)


def test_what_cannot_be_made_longer(finished):
    before = contents(finished)
    with pytest.raises(runs.RunError, match="holds a run of 9 updates, not 6: ask for at least as many, or another"):
        train(finished, with_updates(6))
    assert contents(finished) == before
    (finished / "checkpoint.safetensors").unlink()
    del before["checkpoint.safetensors"]
    message = "finished after 9 updates and has no checkpoint.safetensors to go on from, so it cannot be made longer"
    with pytest.raises(runs.RunError, match=message):
        train(finished, with_updates(12))
    other = replace(CONFIG, training=replace(CONFIG.training, seed=5, updates=12))
    with pytest.raises(runs.RunError, match="another configuration .training.seed is 0 there, not 5.: choose another"):
        train(finished, other)
    assert contents(finished) == before
    train(finished)  # has nothing left to do


# --- weights that depend on the seed alone -------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [SIZES, replace(SIZES, controller="feedforward", layers=2), LSTMConfig(hidden=5)])
def test_many_threads_build_what_one_would(sizes):
    kind = NTM if isinstance(sizes, NTMConfig) else LSTM
    configs = [replace(CONFIG, model=sizes, training=replace(CONFIG.training, seed=seed)) for seed in range(4)]
    wanted = []
    for seed in range(4):
        torch.manual_seed(seed)
        wanted.append(list(kind(sizes).parameters()))
    wrong, stop, start = [], threading.Event(), threading.Barrier(4)

    def build(config, wanted):
        start.wait()
        for _ in range(40):
            model = config.build()
            wrong.extend(a for a, b in zip(model.parameters(), wanted, strict=True) if not torch.equal(a, b))

    def draw():  # as a data loader in another thread does
        while not stop.is_set():
            torch.rand(1)

    builders = [threading.Thread(target=build, args=pair) for pair in zip(configs, wanted, strict=True)]
    other = threading.Thread(target=draw)
    for thread in (other, *builders):
        thread.start()
    for thread in builders:
        thread.join()
    stop.set()
    other.join()
    assert not wrong


def test_the_global_generator_is_left_alone():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    model = replace(CONFIG).build()
    assert torch.equal(torch.get_rng_state(), state)
    with torch.device("meta"):  # where the user's own machines are built is not where a run's are
        again = CONFIG.build()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


# --- one process at a time -----------------------------------------------------------------------------------


def test_the_same_run_twice_at_once(uninterrupted, tmp_path):
    processes = [start(tmp_path / "run") for _ in range(2)]
    outcomes = {process: process.communicate()[1].decode() for process in processes}
    refused = [process for process in processes if process.returncode == 2]
    assert sorted(process.returncode for process in processes) == [0, 2]
    for process in refused:
        assert outcomes[process].startswith(f"error: {tmp_path / 'run'} is being trained by process ")
        assert outcomes[process].count("\n") == 1
    assert_same(tmp_path / "run", uninterrupted)


def test_a_run_is_ones_own_until_it_is_closed(tmp_path):
    with runs.Run(tmp_path / "run", CONFIG):
        with pytest.raises(runs.RunError, match="is being trained by process"):
            runs.Run(tmp_path / "run", CONFIG)
        with pytest.raises(runs.RunError, match="is being trained by process"):
            train(tmp_path / "run")
    train(tmp_path / "run")


# --- disks ---------------------------------------------------------------------------------------------------


def no_room(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("at", [0, 3, 6, 9])
def test_a_full_disk(at, finished, tmp_path, monkeypatch):
    """Full from the row of an update on; with room again it goes on from there."""
    with monkeypatch.context() as patch:

        def report(log):
            if log[-1].update == at:
                patch.setattr(os, "fsync", no_room)

        if at == 0:
            patch.setattr(os, "fsync", no_room)
        with pytest.raises(
            runs.RunError, match=r"cannot be written \(No space left on device\): once it can be, the same"
        ):
            runs.train(tmp_path / "a" / "run", CONFIG, report=report, progress=False)
    if at == 0:
        assert not any(path for path in tmp_path.iterdir() if path.name == "a")  # nothing was begun
    else:
        assert runs.read_log(tmp_path / "a" / "run")[-1].update == at
        assert not [name for name in contents(tmp_path / "a" / "run") if name.startswith(".")]
    train(tmp_path / "a" / "run")
    assert_same(tmp_path / "a" / "run", finished)


def limited_files():
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


def test_files_that_may_not_grow(uninterrupted, tmp_path):
    command = [*COMMAND, "--out", str(tmp_path / "run")]
    process = subprocess.run(command, capture_output=True, text=True, preexec_fn=limited_files)
    said = [
        line for line in process.stderr.splitlines() if "compiled code is not kept" not in line
    ]  # where none is yet
    assert process.returncode == 2 and len(said) == 1
    assert "checkpoint.safetensors cannot be written (File too large)" in said[0]
    assert not [name for name in contents(tmp_path / "run") if name.startswith(".")]
    assert start(tmp_path / "run").wait() == 0
    assert_same(tmp_path / "run", uninterrupted)


MOUNT = """
set -e
mkdir -p {place}
mount -t tmpfs -o size={size} tmpfs {place}
set +e
{command} --out {place}/run; echo $? > {result}
find {place} -name '.*' -not -path {place} >> {result}
mount -o remount,size=4m,ro {place}
{command} --out {place}/run; echo $? >> {result}
mount -o remount,size=4m,rw {place}
{command} --out {place}/run; echo $? >> {result}
cp -r {place}/run {kept}
"""


@pytest.mark.skipif(
    not shutil.which("unshare")
    or subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True).returncode != 0,
    reason="this system lets nobody mount a file system of his own",
)
def test_a_disk_that_is_full_then_read_only_then_neither(uninterrupted, tmp_path):
    place, result, kept = tmp_path / "disk", tmp_path / "result", tmp_path / "kept"
    script = MOUNT.format(place=place, size="32k", result=result, kept=kept, command=" ".join(COMMAND))
    process = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True)
    assert process.returncode == 0 and result.read_text().split() == ["2", "2", "0"], process.stderr
    full, read_only = process.stderr.splitlines()
    assert full.startswith("error: ") and "No space left on device" in full
    assert read_only.startswith("error: ") and "Read-only file system" in read_only
    assert_same(kept, uninterrupted)


@pytest.mark.parametrize("to", ["gone", "a file"])
def test_a_folder_that_vanishes(to, tmp_path):
    def report(log):
        shutil.rmtree(tmp_path / "run")
        if to == "a file":
            (tmp_path / "run").write_text("")

    with pytest.raises(runs.RunError, match="run/weights-6.safetensors cannot be written .*the same command goes on"):
        runs.train(tmp_path / "run", CONFIG, report=report, progress=False)
    assert not (tmp_path / "run").is_dir()


@pytest.mark.parametrize("place", ["file", "file/run", "x" * 300])
def test_where_no_run_can_be(place, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(runs.RunError, match="cannot be a run's folder .*: choose another folder"):
        train(tmp_path / place)
    assert set(contents(tmp_path)) == {"file"}


AS_NOBODY = "from ntm.__main__ import main; import os; os.setgroups([]); os.setgid(65534); os.setuid(65534); main()"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_a_folder_of_somebody_else(finished):
    for path in (finished, *list(finished.parents)[:-2]):  # up to the folder of all that is temporary
        path.chmod(0o755)
    command = [sys.executable, "-c", AS_NOBODY, *COMMAND[3:11], "--length", "1", "3", "--batch", "2", "--updates", "9"]
    command += ["--report-every", "3", "--keep-every", "6", "--out", str(finished)]
    before = contents(finished)
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 0 and not process.stderr  # what is finished needs no writing
    (finished / "score.json").unlink()
    del before["score.json"]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 2 and process.stderr.count("\n") == 1
    assert "cannot be written (Permission denied): choose another folder" in process.stderr
    assert contents(finished) == before


def test_a_failure_is_named_even_where_it_cannot_be_kept(tmp_path, monkeypatch):
    def nothing_finite(*arguments):
        monkeypatch.setattr(os, "fsync", no_room)
        return training.huber(*arguments) / 0

    monkeypatch.setitem(training.LOSSES, "cross_entropy", nothing_finite)
    with pytest.raises(training.NonFiniteError, match="update 1 is not finite.* could not be kept: .*No space left"):
        train(tmp_path / "run")


# --- checksums, versions, formats ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["config.json", "log.csv", "score.json"])
def test_a_digit_that_changed(finished, name):
    path = finished / name
    content = bytearray(path.read_bytes())
    at = max(i for i, byte in enumerate(content) if chr(byte) in "12345678" and chr(content[i - 1]) in "0123456789.")
    content[at] += 1
    path.write_bytes(content)
    with pytest.raises(runs.RunError, match=f"{name} is damaged"):
        train(finished)


def test_line_ends_of_another_system(finished):
    before = runs.read_config(finished), runs.read_log(finished), runs.read_score(finished)
    for name in ("config.json", "log.csv", "score.json"):
        (finished / name).write_bytes((finished / name).read_bytes().replace(b"\n", b"\r\n"))
    assert (runs.read_config(finished), runs.read_log(finished), runs.read_score(finished)) == before


def test_weights_of_another_run(finished, tmp_path):
    train(tmp_path / "other", replace(CONFIG, training=replace(CONFIG.training, seed=5)))
    shutil.copy(tmp_path / "other" / "weights.safetensors", finished)
    with pytest.raises(
        runs.RunError, match="weights.safetensors is damaged .its checksum is not the one in score.json"
    ):
        runs.load(finished)


def test_a_log_that_is_missing(finished):
    (finished / "log.csv").unlink()
    with pytest.raises(runs.RunError, match="log.csv is damaged .it is missing.: delete"):
        runs.read_log(finished)


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields.update(momentum=0.9),
        lambda fields: fields["training"].update(momentum=0.9),
        lambda fields: fields["model"].pop("width"),
        lambda fields: fields.pop("training"),
        lambda fields: fields.pop("versions"),
        lambda fields: fields.update(network="transformer"),
        lambda fields: fields.update(task="sort it"),
        lambda fields: fields.update(model=[1, 2]),
        lambda fields: fields.update(sizes=None),
        lambda fields: fields["sizes"].update(items=3),
        lambda fields: fields["sizes"].update(length=None),
        lambda fields: fields["training"].update(updates="many"),
    ],
)
def test_a_configuration_that_this_version_does_not_make(finished, change):
    fields = json.loads((finished / "config.json").read_text())
    del fields["crc32"]
    change(fields)
    if "width" in fields.get("model", ()):  # a field that is missing takes its default, which is another width
        files.write_json(finished / "config.json", fields)
        with pytest.raises(runs.RunError, match="config.json is not of a run that this version of the package makes"):
            train(finished)
    else:
        files.write_json(finished / "config.json", fields)
        with pytest.raises(runs.RunError, match="another configuration|not of a run that this version"):
            train(finished)


@pytest.mark.parametrize("name", ["config.json", "score.json"])
@pytest.mark.parametrize("written, age", [(None, "an older"), (files.FORMAT + 1, "a newer")])
def test_another_format(finished, name, written, age):
    fields = json.loads((finished / name).read_text())
    del fields["format"]
    (finished / name).write_text(json.dumps(fields if written is None else {"format": written, **fields}))
    with pytest.raises(runs.RunError, match=f"{name} was written by {age} version of this package"):
        train(finished)


def test_other_versions_are_said_once_and_written_down(finished, tmp_path, monkeypatch):
    run = interrupted(tmp_path / "again", 3)
    now = json.loads((run / "config.json").read_text())["versions"][-1]
    assert set(now) == {"ntm", "python", "torch", "numpy", "numba", "processor", "device"} and all(now.values())
    monkeypatch.setattr(folder, "versions", lambda device: {**now, "torch": "9.9"})
    message = f"again goes on, but perhaps not the same to the last bit: torch {torch.__version__} then, 9.9 now$"
    with pytest.warns(UserWarning, match=message.replace("+", r"\+")) as said:
        interrupted(run, 6)
    assert len(said) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(run)  # on the same machine as the last time
    assert_same(run, finished)
    ran = json.loads((run / "config.json").read_text())["versions"]
    assert [versions["torch"] for versions in ran] == [now["torch"], "9.9"]


# --- what cannot be ------------------------------------------------------------------------------------------


def test_a_recipe_for_shorter_sequences():
    short, longer = replace(CONFIG.training, train_locations=(4, 9)), tasks.CopySizes((1, 21))
    assert replace(CONFIG, training=short, sizes=tasks.CopySizes((1, 2))).training == short
    with pytest.raises(
        ValueError, match=r"train_locations=\(4, 9\): too few for sequences that show something at 5 steps"
    ):
        replace(CONFIG, training=short)
    with pytest.raises(ValueError, match=r"train_locations=\(22, 26\): too few for .* 23 steps .*belongs to its task"):
        runs.RunConfig("copy", NTMConfig(), training.TrainingConfig(), longer)
    assert runs.RunConfig("copy", LSTMConfig(), training.TrainingConfig(), longer)  # it has no locations


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
    with pytest.raises(runs.RunError, match=f"{name} is damaged.*: delete"):
        train(finished)


def test_what_is_not_finite_is_kept(tmp_path, monkeypatch):
    monkeypatch.setitem(training.LOSSES, "cross_entropy", lambda *args: training.huber(*args) / 0)
    with pytest.raises(training.NonFiniteError, match="update 1 .* weights and the batch that meet it are in"):
        train(tmp_path / "run")
    tensors, metadata = files.read_tensors(tmp_path / "run" / "failure.safetensors")
    assert metadata["update"] == "1" and tensors["batch.inputs"].shape[2] == 10
    model, batch = runs.load_failure(tmp_path / "run")
    assert all(map(torch.equal, model.parameters(), CONFIG.build().parameters()))
    assert all(torch.equal(values, tensors[f"batch.{name}"]) for name, values in batch._asdict().items())


def test_a_run_without_a_failure(tmp_path):
    train(tmp_path / "run")
    with pytest.raises(runs.RunError, match="failure.safetensors does not exist: this run has met no NaN or infinity"):
        runs.load_failure(tmp_path / "run")


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"task": "sort it"}, "task='sort it': must be one of copy"),
        ({"loss": "hinge"}, "loss='hinge': must be one of cross_entropy, huber"),
        ({"sizes": (1, 3)}, r"sizes=\(1, 3\): those of the task 'copy' are CopySizes"),
        ({"sizes": tasks.RecallSizes()}, r"sizes=RecallSizes\(.*\): those of the task 'copy' are CopySizes"),
        ({"sizes": tasks.CopySizes(bits=7)}, r"inputs=10: the task 'copy' with CopySizes\(.* bits=7\) has 9 channels"),
        ({"model": NTMConfig(inputs=9)}, r"inputs=9: the task 'copy' with CopySizes\(.*\) has 10 channels"),
        ({"model": NTMConfig(outputs=9)}, r"outputs=9: the task 'copy' with CopySizes\(.*\) has 8 channels"),
    ],
)
def test_runs_that_cannot_be(fields, message):
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **fields)
