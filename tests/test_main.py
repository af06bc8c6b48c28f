"""The command line, as its user meets it."""

import json
import os
import signal
import subprocess
import sys
import warnings
from dataclasses import replace

import pytest

from ntm import __main__ as command_line
from ntm import paper, runs

pytestmark = pytest.mark.once  # many processes, killed and asked to stop

TINY = ["--hidden", "5", "--locations", "4", "--width", "3", "--length", "1", "2", "--batch", "2"]

pytestmark = pytest.mark.once  # processes and what they say are the same on every processor


def ntm(*words, code=0):
    """In a process of its own: standard output, or what it said of an error, which is one line."""
    run = subprocess.run([sys.executable, "-m", "ntm", *map(str, words)], capture_output=True, text=True)
    assert run.returncode == code, run.stderr
    assert run.stderr.count("\n") == (code != 0), run.stderr
    return run.stderr if code else run.stdout


@pytest.fixture
def said(monkeypatch, capsys):
    """The same in this process, which is faster: ``said("train", ...)`` is what it printed, or its one line."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)

    def run(*words, code=0):
        monkeypatch.setattr(sys, "argv", ["ntm", *map(str, words)])
        capsys.readouterr()
        try:
            command_line.main()
            status = 0
        except SystemExit as left:
            status = left.code
        out, error = capsys.readouterr()
        assert status == code, error
        assert error.count("\n") == (code != 0), error
        return error if code else out

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    ntm("train", "copy", *TINY, "--updates", 4, "--out", folder)
    return folder


@pytest.fixture(scope="module")
def lstm(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "lstm"
    ntm("baseline", "copy", "--hidden", 3, "--length", 1, 2, "--updates", 2, "--out", folder)
    return folder


def test_help(said):
    assert all(name in said("--help") for name in ("train", "baseline", "evaluate", "solve", "sweep"))
    assert "--learning-rate" in said("train", "--help")
    assert "Train one new machine per seed" in said("solve", "--help")
    assert "--scheduler" in said("sweep", "--help")
    assert "none.toml" in said("sweep", "none.toml", "--out", "out", code=2)


def test_evaluate_prints_one_object(run, said):
    words = ("evaluate", run, "--length", 3, "--locations", 9, "--sequences", 4, "--seed", 5)
    found = json.loads(ntm(*words))
    names = {"task", "length", "locations", "sequences", "bits_per_sequence", "wrong_bits", "seed"}
    assert names <= set(found)
    assert [found[name] for name in ("task", "length", "locations", "sequences", "seed")] == ["copy", 3, 9, 4, 5]
    assert found == json.loads(said(*words))


def test_baseline(lstm, said):
    assert json.loads(said("evaluate", lstm, "--length", 2))["locations"] is None
    again = ("baseline", "copy", "--hidden", 3, "--length", 1, 2, "--updates", 2, "--out", lstm)
    assert said(*again) == said(*again, "--train-locations", "None", "--own-every", 0)


# Of each task: options that make it small, what is measured, and the sizes that are printed.
SMALL = {
    "repeat-copy": (["--length", 1, 2, "--repeats", 1, 2], ["--repeats", 3], {"length": None, "repeats": 3}),
    "recall": (["--items", 2, 3], ["--items", 15], {"items": 15}),
    "ngrams": (["--bits", 6], ["--bits", 8, "--context", 2], {"bits": 8, "context": 2}),
    "sort": (["--vectors", 3, "--kept", 2, "--bits", 4], ["--vectors", 4], {"vectors": 4}),
}


@pytest.mark.parametrize("command", ["train", "baseline"])
@pytest.mark.parametrize("task", SMALL)
def test_each_task_has_its_own_sizes(task, command, tmp_path, said):
    small, other, shown = SMALL[task]
    machine = ["--locations", 4, "--width", 3] if command == "train" else []
    said(command, task, *small, *machine, "--hidden", 5, "--updates", 2, "--out", tmp_path / "run")
    config = runs.read_config(tmp_path / "run")
    assert config.loss == "nats_per_sequence" and config.training.optimizer == "rmsprop"
    assert (config.model.inputs, config.model.outputs) == (config.sizes.inputs, config.sizes.outputs)
    found = json.loads(said("evaluate", tmp_path / "run", *other, "--sequences", 3))
    names = ["task", *shown, "locations", "sequences", "bits_per_sequence", "wrong_bits", "worst", "seed"]
    assert list(found) == names and found["task"] == task and shown.items() <= found.items()
    assert found["sequences"] == (6 if task == "repeat-copy" else 3)  # of both lengths
    assert json.loads(said("evaluate", tmp_path / "run", "--sequences", 1))["sequences"] in (1, 2, 4)


@pytest.mark.parametrize(
    "words, row",
    [
        (["train", "recall"], ("recall", "ntm-lstm")),
        (["train", "recall", "--controller", "feedforward"], ("recall", "ntm-ff")),
        (["train", "sort", "--controller=feedforward"], ("sort", "ntm-ff")),
        (["baseline", "ngrams"], ("ngrams", "lstm")),
    ],
)
def test_what_is_not_said_is_the_papers(words, row, tmp_path, monkeypatch, said):
    monkeypatch.setattr(command_line, "_train", lambda config, *_: print(repr(config)))
    found = said(*words, "--seed", 3, "--out", tmp_path)
    plan = replace(paper.recipe(*row), seed=3)
    assert found == repr(runs.RunConfig(row[0], paper.CONFIGS[row], plan)) + "\n"


def test_solve_reports_every_seed(said):
    lines = said("solve", "copy", *TINY, "--seeds", 7, 8, "--limit", 4).splitlines()
    assert [json.loads(line)["seed"] for line in lines[:2]] == [7, 8]
    assert lines[2].startswith("solved 0 of 2 seeds")


def test_a_run_is_made_longer(run, said, tmp_path):
    words = ("train", "copy", *TINY, "--report-every", 2, "--out")
    said(*words, tmp_path / "one", "--updates", 6)
    for updates in (2, 4, 6):
        said(*words, tmp_path / "run", "--updates", updates)
    read = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("one", "run")]
    assert read[0] == read[1]
    message = "run holds a run of 6 updates, not 4: ask for at least as many, or another folder"
    assert message in said(*words, tmp_path / "run", "--updates", 4, code=2)


def test_a_warning_is_one_line(tmp_path, monkeypatch, said):
    monkeypatch.setattr(runs.folder, "versions", lambda device: {"torch": "0.1"})
    words = ("train", "copy", *TINY, "--updates", 2, "--out", tmp_path / "run")
    said(*words)
    (tmp_path / "run" / "score.json").unlink()
    with pytest.warns(
        UserWarning, match="run goes on, but perhaps not the same to the last bit: torch 0.1 then"
    ) as log:
        monkeypatch.setattr(runs.folder, "versions", lambda device: {"torch": "0.2"})
        said(*words)
    line = warnings.formatwarning(log[0].message, log[0].category, log[0].filename, log[0].lineno)
    assert line == f"warning: {log[0].message}\n" and line.count("\n") == 1


# --- what is refused, before anything is made ----------------------------------------------------------------


@pytest.mark.parametrize(
    "words, message",
    [
        (["train", "sort it"], "task='sort it': must be one of copy"),
        (["train", "copy", "--locations", "0"], "locations=0: must be a whole number of at least 1"),
        (["train", "copy", "--shifts", "2"], "shifts=2: must be odd"),
        (["train", "copy", "--length", "5", "2"], "length=(5, 2): must be whole numbers from 1 to"),
        (["train", "copy", "--length", "0", "2"], "length=(0, 2): must be whole numbers from 1 to"),
        (["train", "copy", "--memory", "5"], "--memory"),
        (["train", "copy", "--items", "2", "6"], "--items"),
        (["train", "recall", "--length", "1", "6"], "--length"),
        (["train", "recall", "--items", "1", "6"], "items=(1, 6): must be whole numbers from 2 to"),
        (["train", "sort", "--kept", "30"], "kept=30: must be at most the number of vectors, 20"),
        (["baseline", "ngrams", "--context", "17"], "context=17: must be a whole number from 1 to 16"),
        (["train", "copy", "--updates", "many"], "--updates"),
        (["train", "copy", "--updates", "-3"], "updates=-3: must be a whole number of at least 1"),
        (["train", "copy", "--batch", "0"], "batch=0: must be a whole number of at least 1"),
        (["train", "copy", "--report-every", "0"], "report_every=0: must be a whole number of at least 1"),
        (["train", "copy", "--keep-every", "-1"], "keep_every=-1: must be a whole number of at least 0"),
        (["train", "copy", "--learning-rate", "-1"], "learning_rate=-1.0: must be positive and finite"),
        (["train", "copy", "--clip-at", "inf"], "clip_at=inf: must be positive and finite"),
        (["train", "copy", "--seed", "9" * 20], "error: seed=99999999999999999999: must be a whole number from 0 to"),
        (["train", "copy", "--seed", "-1"], "seed=-1: must be a whole number from 0 to"),
        (["train", "copy", "--train-locations", "5", "4"], "train_locations=(5, 4): must be whole numbers from 1 to"),
        (["train", "copy", "--train-locations", "0", "4"], "train_locations=(0, 4): must be whole numbers from 1 to"),
        (["train", "copy", "--train-locations", "5", "9"], "train_locations=(5, 9): too few for sequences"),
        (["train", "copy", "--loss", "hinge"], "loss='hinge': must be one of cross_entropy, huber"),
        (["train", "copy", "--threads", "0"], "threads=0: must be a whole number from 1 to"),
        (["train", "copy", "--threads", "1000000"], "threads=1000000: must be a whole number from 1 to"),
        (["train", "copy", "--device", "abacus"], "device='abacus' is not to be had here"),
        (["train", "copy", "--device", "meta"], "device='meta' is not to be had here"),
        (["train", "copy", "--hidden", str(10**9)], "not enough memory for these sizes"),
        (["train", "copy", "--hidden", str(10**6)], "not enough memory for these sizes"),
        (["baseline", "copy", "--layers", "0"], "layers=0: must be a whole number of at least 1"),
        (["baseline", "copy", "--train-locations", "5", "9"], "train_locations=(5, 9): this network has no memory"),
        (["baseline", "copy", "--own-every", "3"], "own_every=3: this network has no memory"),
        (["baseline", "copy", "--locations", "3"], "--locations"),
    ],
)
def test_runs_that_cannot_be(words, message, tmp_path, monkeypatch, said):
    monkeypatch.chdir(tmp_path)
    error = said(*words, "--out", "a/run", code=2)
    assert error.startswith("error: ") and message in error
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words, message",
    [
        (["--seed", "5"], "seed=5: solve has --seeds and --limit"),
        (["--updates", "5"], "updates=5: solve has --seeds and --limit"),
        (["--keep-every", "5"], "keep_every=5: solve has --seeds and --limit, and keeps no weights"),
        (["--limit", "7"], "limit=7: must be at least one batch, 8 sequences"),
        (["--seeds", "3", "-4"], "seed=-4: must be a whole number from 0 to"),
        (["--seeds", "3", "9" * 20], "seed=99999999999999999999: must be a whole number from 0 to"),
        (["--seeds"], "seeds"),
        (["--length", "1", "30"], "train_locations=(22, 26): too few for sequences that show something at 32 steps"),
    ],
)
def test_what_cannot_be_solved(words, message, monkeypatch, said):
    if words[0] != "--limit":  # everything else is checked before the first seed
        monkeypatch.setattr(command_line.experiments, "solve", lambda *_, **__: 1 / 0)
    error = said("solve", "copy", *words, code=2)
    assert error.startswith("error: ") and message in error


@pytest.mark.parametrize(
    "words, message",
    [
        (["--length", "0"], "length=0: must be a whole number of at least 1"),
        (["--length", "-3"], "length=-3: must be a whole number of at least 1"),
        (["--length", "1000000"], "length=1000000: must be whole numbers from 1 to 100000"),
        (["--locations", "0"], "locations=0: must be a whole number of at least 1"),
        (["--locations", "-128"], "locations=-128: must be a whole number of at least 1"),
        (["--sequences", "0"], "sequences=0: must be a whole number of at least 1"),
        (["--seed", "-1"], "seed=-1: must be a whole number from 0 to"),
        (["--seed", "9" * 20], "seed=99999999999999999999: must be a whole number from 0 to"),
        (["--update", "0"], "update=0: must be a whole number of at least 1"),
        (["--update", "-2"], "update=-2: must be a whole number of at least 1"),
        (["--update", "3"], "weights-3.safetensors does not exist (weights there: weights.safetensors)"),
    ],
)
def test_measurements_that_cannot_be(words, message, run, said):
    assert said("evaluate", run, *words, code=2).startswith("error: ")
    assert message in said("evaluate", run, *words, code=2)
    if "update=3" not in message and words[0] != "--update" and "1 to" not in message:
        assert message in said("evaluate", "nowhere", *words, code=2)  # before the run is looked at


def test_an_option_that_this_run_does_not_have(lstm, monkeypatch, said):
    monkeypatch.setattr(runs, "load", lambda *_: 1 / 0)  # nothing is loaded first
    error = said("evaluate", lstm, "--locations", 9, code=2)
    assert error == "error: locations=9: this network has no memory to enlarge; leave locations out\n"


@pytest.mark.parametrize(
    "words, message",
    [
        (["--items", 15], "items=15: the task 'copy' has no such size; its own are length, bits"),
        (["--kept", 2], "kept=2: the task 'copy' has no such size; its own are length, bits"),
        (["--items", 0], "items=0: must be a whole number of at least 1"),
        (["--bits", 7], "inputs=10: the task 'copy' with CopySizes(length=(1, 2), bits=7) has 9 channels"),
    ],
)
def test_sizes_that_this_task_does_not_have(words, message, run, monkeypatch, said):
    monkeypatch.setattr(runs, "load", lambda *_: 1 / 0)  # nothing is loaded first
    assert said("evaluate", run, *words, code=2) == f"error: {message}\n"


def test_what_is_no_run(tmp_path, said):
    (tmp_path / "file").write_text("")
    message = "is not a run: it has no config.json; choose a run, or an empty folder"
    for name in ("nowhere", "file", "file/run"):
        assert said("evaluate", tmp_path / name, code=2) == f"error: {tmp_path / name} {message}\n"
        if name != "nowhere":
            assert "choose another folder" in said("train", "copy", "--out", tmp_path / name, code=2)


# --- pipes, full disks, interrupts ---------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["--help"], ["solve", "copy", *TINY, "--seeds", "7", "8", "--limit", "4"]])
def test_nobody_reads_what_it_prints(words):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "ntm", *words]
    process = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert process.returncode == 128 + signal.SIGPIPE and process.stderr == ""


def test_nowhere_to_print(run):
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "ntm", "evaluate", str(run), "--length", "2"]
        process = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert process.returncode == 2
    assert process.stderr == "error: [Errno 28] No space left on device\n"


INTERRUPT = """
import importlib.abc, os, runpy, signal, sys

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, *_):
        if name == sys.argv[1]:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.{signal})

name, words = sys.argv[1], sys.argv[2:]
sys.meta_path.insert(0, Finder())
sys.argv = ["-m", name]  # as Python has it while it looks for the package
import ntm
sys.argv = ["ntm", name, *words]
runpy.run_module("ntm", run_name="__main__", alter_sys=False)
"""


@pytest.mark.parametrize(
    "module, number",
    [("torch.nn", "SIGINT"), ("ntm.model", "SIGTERM"), ("tyro", "SIGINT"), ("ntm.experiments", "SIGINT")],
)
def test_interrupted_while_it_is_imported(module, number):
    script = INTERRUPT.replace("{signal}", number)
    process = subprocess.run([sys.executable, "-c", script, module, "--help"], capture_output=True, text=True)
    assert (process.returncode, process.stderr, process.stdout) == (130, "interrupted\n", "")


@pytest.mark.parametrize("where", ["runs.load", "measure"])
def test_interrupted_while_it_measures(where, run, monkeypatch, said):
    def interrupt(*_):
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(f"ntm.__main__.{where}", interrupt)
    assert said("evaluate", run, code=130) == "interrupted\n"


def test_interrupted_while_it_is_scored(tmp_path, monkeypatch, said):
    words = ("train", "copy", *TINY, "--updates", 4, "--report-every", 2, "--out", tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(runs, "final_score", lambda *_: signal.raise_signal(signal.SIGINT))
        said_so = f"interrupted; the same command resumes from the last checkpoint in {tmp_path / 'run'}\n"
        assert said(*words, code=130) == said_so
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"config.json", "log.csv", "checkpoint.safetensors"}
    said(*words)
    said(*words[:-1], tmp_path / "one go")
    read = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("run", "one go")]
    assert read[0] == read[1]


def test_interrupted_before_the_first_checkpoint(tmp_path, monkeypatch, said):
    monkeypatch.setattr(runs.training, "train", lambda *_: signal.raise_signal(signal.SIGINT))
    error = said("train", "copy", *TINY, "--out", tmp_path / "run", code=130)
    assert error == f"interrupted; the same command begins again: no checkpoint in {tmp_path / 'run'} yet\n"
