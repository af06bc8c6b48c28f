"""The command line, as its user meets it."""

import json
import subprocess
import sys

import pytest

TINY = ["--hidden", "5", "--locations", "4", "--width", "3", "--length", "1", "2", "--batch", "2"]


def ntm(*words, code=0):
    run = subprocess.run([sys.executable, "-m", "ntm", *map(str, words)], capture_output=True, text=True)
    assert run.returncode == code, run.stderr
    assert "Traceback" not in run.stderr
    # The parser draws a box around what it says; only the words matter.
    return run.stdout if code == 0 else " ".join((run.stdout + run.stderr).replace("│", " ").split())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    ntm("train", "copy", *TINY, "--updates", 4, "--out", folder)
    return folder


def test_help():
    assert all(name in ntm("--help") for name in ("train", "baseline", "evaluate", "solve"))
    assert "--learning-rate" in ntm("train", "--help")


def test_evaluate_prints_one_object(run):
    said = json.loads(ntm("evaluate", run, "--length", 3, "--locations", 9, "--sequences", 4, "--seed", 5))
    names = {"task", "length", "locations", "sequences", "bits_per_sequence", "wrong_bits", "seed"}
    assert names <= set(said)
    assert (said["task"], said["length"], said["locations"], said["sequences"], said["seed"]) == ("copy", 3, 9, 4, 5)
    assert said == json.loads(ntm("evaluate", run, "--length", 3, "--locations", 9, "--sequences", 4, "--seed", 5))


def test_baseline(tmp_path):
    ntm("baseline", "copy", "--hidden", 3, "--length", 1, 2, "--updates", 2, "--out", tmp_path / "run")
    assert json.loads(ntm("evaluate", tmp_path / "run", "--length", 2))["locations"] is None
    said = ntm("evaluate", tmp_path / "run", "--locations", 9, code=2)
    assert said == "error: locations=9: this network has no memory to enlarge; leave locations out"


def test_solve_reports_every_seed():
    lines = ntm("solve", "copy", *TINY, "--seeds", 7, 8, "--limit", 4).splitlines()
    assert [json.loads(line)["seed"] for line in lines[:2]] == [7, 8]
    assert lines[2].startswith("solved 0 of 2 seeds")


@pytest.mark.parametrize(
    "words, message",
    [
        (["train", "sort", "--out", "x"], "error: unknown task 'sort': must be one of copy"),
        (["train", "copy", "--out", "x", "--locations", "0"], "locations=0: must be a whole number of at least 1"),
        (["train", "copy", "--out", "x", "--shifts", "2"], "shifts=2: must be odd"),
        (["train", "copy", "--out", "x", "--length", "5", "2"], "error: length=(5, 2): must be whole numbers"),
        (["train", "copy", "--out", "x", "--memory", "5"], "--memory"),
        (["train", "copy", "--out", "x", "--device", "abacus"], "error: device='abacus' is not to be had here"),
        (["evaluate", "nowhere"], "error: nowhere is not a run: it has no config.json"),
    ],
)
def test_errors_are_one_line(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in ntm(*words, code=2)
    assert not any(tmp_path.iterdir())


def test_a_length_of_nothing(run):
    assert "error: length=0: must be whole numbers from 1 to" in ntm("evaluate", run, "--length", 0, code=2)
