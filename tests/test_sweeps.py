"""Sweeps: what their files may say, and that nothing is lost, computed twice or changed, whoever dies."""

import functools
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import distributed
import pytest

from ntm import __main__ as command_line
from ntm import paper, runs, sweeps, tasks, training
from ntm.runs import files

pytestmark = pytest.mark.once  # files and processes are the same on every processor

ROOT = Path(__file__).parent.parent
SMALL = """
tasks = ["recall"]
networks = ["ntm-lstm"]
seeds = [1, 2, 3]

[recipes.paper]
updates = 9
report_every = 3

[sizes.recall]
items = [2, 3]
vectors = 1

[models.ntm-lstm]
hidden = 5
locations = 4
width = 3
"""
WILD = SMALL + "[recipes.wild]\nupdates = 9\nreport_every = 3\nlearning_rate = 1e38\n"
NAMES = [f"recall-ntm-lstm-paper-{seed}" for seed in (1, 2, 3)]


@pytest.fixture
def small(tmp_path):
    return written(tmp_path / "small.toml", SMALL)


def written(path, text):
    path.write_text(text)
    return path


# --- the file ------------------------------------------------------------------------------------------------


def test_a_file_is_all_combinations_in_its_order(tmp_path):
    text = """
    tasks = ["recall", "copy"]
    networks = ["lstm", "ntm-ff"]
    seeds = [5, 4]
    [recipes.usual]
    [recipes.other]
    base = "paper"
    loss = "huber"
    updates = 7
    [recipes.own]
    train_locations = "None"
    halve_every = 0
    """
    configs = sweeps.read(written(tmp_path / "sweep.toml", text))
    assert len(configs) == 2 * 2 * 3 * 2
    assert list(configs)[:3] == ["recall-lstm-usual-5", "recall-lstm-usual-4", "recall-lstm-other-5"]
    usual, other = configs["copy-ntm-ff-usual-5"], configs["copy-ntm-ff-other-4"]
    assert usual == runs.RunConfig(
        "copy", paper.CONFIGS["copy", "ntm-ff"], training.TrainingConfig(seed=5), tasks.CopySizes()
    )
    assert (other.training.optimizer, other.training.updates, other.loss) == ("rmsprop", 7, "huber")
    assert other.training.learning_rate == paper.recipe("copy", "ntm-ff").learning_rate
    assert configs["recall-ntm-ff-usual-4"].loss == "nats_per_sequence"
    assert configs["copy-ntm-ff-own-4"].training.train_locations is None


def test_sizes_and_networks_are_changed(small):
    config = sweeps.read(small)[NAMES[1]]
    assert config.sizes == tasks.RecallSizes((2, 3), 1) and config.training.seed == 2
    assert (config.model.hidden, config.model.locations, config.model.read_heads) == (5, 4, 1)


def test_channels_follow_from_the_sizes_and_no_recipe_needs_no_name(tmp_path):
    text = 'tasks = ["copy"]\nnetworks = ["ntm-ff", "lstm"]\nseeds = [0]\nsizes.copy.bits = 3\n'
    configs = sweeps.read(written(tmp_path / "sweep.toml", text))
    assert list(configs) == ["copy-ntm-ff-0", "copy-lstm-0"]  # as in data/runs
    assert [(c.model.inputs, c.model.outputs) for c in configs.values()] == [(5, 3), (5, 3)]


def test_the_example_describes_recall():
    configs = sweeps.read(ROOT / "data" / "sweep.toml")
    assert list(configs) == [
        f"recall-{network}-paper-{seed}" for network in ("ntm-ff", "ntm-lstm") for seed in (1, 2, 3)
    ]
    assert all(c.training.updates == 1_000_000 and c.sizes == tasks.RecallSizes() for c in configs.values())


REFUSED = {
    "tasks = [": "Unclosed array|Invalid value",
    "": "tasks=None: must be a list of at least one",
    SMALL.replace("[1, 2, 3]", "[]"): r"seeds=\[\]: must be a list of at least one",
    SMALL.replace("[1, 2, 3]", "3"): "seeds=3: must be a list",
    SMALL.replace("[1, 2, 3]", "[1, 2, 1]"): "recall-ntm-lstm-paper-1 is asked for twice",
    SMALL.replace("[1, 2, 3]", "[1.5]"): "recall-ntm-lstm-paper-1.5: seed=1.5: must be a whole number",
    SMALL.replace("[1, 2, 3]", "[-1]"): "seed=-1: must be a whole number",
    SMALL.replace('["recall"]', '["recal"]'): "tasks='recal': must be one of copy, repeat-copy",
    SMALL.replace('["recall"]', "[[1]]"): r"tasks=\[1\]: must be one of",
    SMALL.replace('["recall"]', '["copy"]'): "sizes: 'recall' is unknown there; known are copy",
    SMALL.replace('["ntm-lstm"]', '["ntm"]'): "networks='ntm': must be one of ntm-ff, ntm-lstm, lstm",
    SMALL.replace('["ntm-lstm"]', '["lstm"]'): "models: 'ntm-lstm' is unknown there; known are lstm",
    SMALL.replace("updates", "update"): "paper-1: recipes: 'update' is unknown there; known are updates, batch,",
    SMALL.replace("updates = 9", "seed = 9"): "recipes: 'seed' is unknown there",
    SMALL.replace("updates = 9", "updates = 0"): "paper-1: updates=0: must be a whole number of at least 1",
    SMALL.replace("updates = 9", 'loss = "hinge"'): "loss='hinge': must be one of cross_entropy",
    SMALL.replace("updates = 9", "loss = 0"): "loss=0: must be one of",
    SMALL.replace("updates = 9", 'base = "ours"'): "base='ours': must be one of task, paper",
    SMALL.replace("updates = 9", "updates = {a = 1}"): "updates={'a': 1}: must be a whole number",
    SMALL.replace("updates = 9", "train_locations = [2, 3]"): "train_locations=.2, 3.: too few for",
    SMALL.replace("items = [2, 3]", "items = [3, 2]"): r"items=\[3, 2\]: must be whole numbers",
    SMALL.replace("items", "length"): "sizes: 'length' is unknown there; known are items",
    SMALL.replace("hidden = 5", "inputs = 5"): "models: 'inputs' is unknown there; known are controller, hidden",
    SMALL.replace("hidden = 5", "hidden = 0"): "hidden=0: must be a whole number of at least 1",
    SMALL.replace("recipes.paper", "recipe.paper"): "the file: 'recipe' is unknown there; known are tasks",
    SMALL.replace("[recipes.paper]", "[recipes]"): "recipes: must be tables with a name",
    SMALL.replace("[recipes.paper]", '[recipes."../x"]'): r"recipes.../x: a recipe's name is part of a folder's",
    "recipes = 3\n" + SMALL.replace("[recipes.paper]", "[x]"): "the file: 'x' is unknown",
    "\udc80": "codec can't decode",
}


@pytest.mark.parametrize("text", REFUSED)
def test_a_file_that_is_no_sweep(text, tmp_path):
    (tmp_path / "sweep.toml").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=f"sweep.toml: .*({REFUSED[text]})"):
        sweeps.run(tmp_path / "sweep.toml", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_numbers_that_cannot_be(small, tmp_path):
    for words, message in [
        ({"workers": 0}, "workers=0: must be a whole number"),
        ({"workers": 2, "scheduler": "tcp://127.0.0.1:1"}, "workers=2: a scheduler has its own"),
        ({"hand_in": -1}, "hand_in=-1: must be"),
        ({"hand_in": "1"}, "hand_in='1': must be"),
    ]:
        with pytest.raises(ValueError, match=message):
            sweeps.run(small, tmp_path / "out", **words)
    with pytest.raises(FileNotFoundError):
        sweeps.run(tmp_path / "none.toml", tmp_path / "out")


# --- in this process: a cluster at hand ----------------------------------------------------------------------


@pytest.fixture
def at_hand(monkeypatch):
    """One worker in a thread, which is there at once."""

    @contextmanager
    def connected(*_):
        options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
        options |= {"protocol": "tcp", "host": "127.0.0.1"}
        with distributed.Client(processes=False, set_as_default=False, **options) as client:
            yield client

    monkeypatch.setattr(sweeps, "_connected", connected)


def run(file, out, **words):
    return sweeps.run(file, out, **{"hand_in": 0, "progress": False} | words)


def contents(folder):
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def assert_same(folder, other):
    """Two finished runs differ in nothing but the time they took."""
    assert (folder / "weights.safetensors").read_bytes() == (other / "weights.safetensors").read_bytes()
    assert runs.read_score(folder) == runs.read_score(other)
    timeless = [[row._replace(seconds=0) for row in runs.read_log(f)] for f in (folder, other)]
    assert timeless[0] == timeless[1]
    assert {path.name for path in folder.iterdir()} == {path.name for path in other.iterdir()}
    assert (folder / "config.json").read_bytes() == (other / "config.json").read_bytes()


def test_runs_are_those_that_are_trained_in_one_go(small, tmp_path, at_hand):
    seen = []
    done = run(small, tmp_path / "out", report=lambda *end: seen.append(end))
    assert done == (NAMES, [], {})
    assert seen == [(name, runs.read_score(tmp_path / "out" / name)) for name in NAMES]
    for name, config in sweeps.read(small).items():
        runs.train(tmp_path / "one go" / name, config, progress=False)
        assert_same(tmp_path / "out" / name, tmp_path / "one go" / name)


def test_a_failing_run_does_not_stop_the_others(tmp_path, at_hand, capsys):
    done = run(written(tmp_path / "wild.toml", WILD.replace("[1, 2, 3]", "[1, 2]")), tmp_path / "out")
    assert done.finished == NAMES[:2]
    failed = tmp_path / "out" / "recall-ntm-lstm-wild-1"
    assert list(done.failed) == [failed.name, failed.name[:-1] + "2"]
    why = done.failed[failed.name]
    assert why.startswith("NonFiniteError: update ") and why.endswith(f"are in {failed / 'failure.safetensors'}")
    assert files.read_tensors(failed / "failure.safetensors")
    said = capsys.readouterr().err.splitlines()
    assert f"{failed.name}: failed: {why}" in [line.rpartition(" (")[0] for line in said]
    with pytest.raises(SystemExit, match="1"):  # and it fails again
        command_line.sweep(tmp_path / "wild.toml", tmp_path / "out", hand_in=0)
    out, error = capsys.readouterr()
    assert out == "finished 0 runs, 2 were finished before, 2 failed\n"
    assert error.endswith("".join(f"failed: {name}: {why}\n" for name, why in done.failed.items()))


def test_the_command_prints_an_object_for_each_run(small, tmp_path, at_hand, capsys):
    command_line.sweep(small, tmp_path / "out")
    *each, last = capsys.readouterr().out.splitlines()
    scores = {name: runs.read_score(tmp_path / "out" / name)._asdict() for name in NAMES}
    assert [json.loads(line) for line in each] == [{"run": str(tmp_path / "out" / n)} | scores[n] for n in NAMES]
    assert last == "finished 3 runs, 0 were finished before, 0 failed"


def test_what_dask_says_of_a_task_is_a_failure_too(small, tmp_path, at_hand, monkeypatch):
    @functools.wraps(sweeps.segment)  # and so found under its name where it is unpickled
    def segment(config, *rest, before=sweeps.segment):
        if config.training.seed == 2:
            raise distributed.KilledWorker("segment", distributed.scheduler.WorkerState, 3, 3)
        return before(config, *rest)

    monkeypatch.setattr(sweeps, "segment", segment)
    done = run(small, tmp_path / "out")
    assert done.finished == [NAMES[0], NAMES[2]] and "KilledWorker" in done.failed[NAMES[1]]


def test_where_results_cannot_be_written(small, tmp_path, at_hand, monkeypatch):
    write = files.write

    def full(path, content, durable=True):
        if path.parent == tmp_path / "out" / NAMES[0]:
            raise files.unwritable(path, OSError(28, "No space left on device"))
        write(path, content, durable)

    monkeypatch.setattr(files, "write", full)
    done = run(small, tmp_path / "out")
    assert done.finished == NAMES[1:] and "No space left on device" in done.failed[NAMES[0]]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == NAMES[1:]


def run_or_stop(file, out):
    """The runs that are finished then."""
    try:
        done = run(file, out)
        return sorted(done.finished + done.before)
    except KeyboardInterrupt:
        return []


def test_stopped_anywhere_it_goes_on(small, tmp_path, at_hand, monkeypatch):
    """Whatever was written last, a file at a time."""
    write, writes, stopped = files.write, [], set()
    run(small, tmp_path / "all")
    for place in range(1, 40):  # the first attempt ends at its first file, the next at its second, and so on

        def limited(path, content, durable=True, place=place):
            if path.is_relative_to(tmp_path / "out"):
                writes.append(path)
                if len(writes) == place:
                    stopped.add(path.name)
                    raise KeyboardInterrupt
            write(path, content, durable)

        writes.clear()
        monkeypatch.setattr(files, "write", limited)
        if run_or_stop(small, tmp_path / "out") == NAMES:
            break
        assert not list((tmp_path / "out").glob("*/.*"))
    assert stopped >= {"config.json", "checkpoint.safetensors", "log.csv", "score.json"}
    for name in NAMES:
        assert_same(tmp_path / "out" / name, tmp_path / "all" / name)


def test_a_sweep_made_longer(small, tmp_path, at_hand):
    longer = written(tmp_path / "longer.toml", SMALL.replace("updates = 9", "updates = 13"))
    run(small, tmp_path / "out")
    assert run(longer, tmp_path / "out").finished == NAMES
    for name, config in sweeps.read(longer).items():
        runs.train(tmp_path / "one go" / name, config, progress=False)
        runs.load(tmp_path / "out" / name, 9)  # kept beside the others
        (tmp_path / "out" / name / "weights-9.safetensors").unlink()
        assert_same(tmp_path / "out" / name, tmp_path / "one go" / name)


def test_the_process_that_asked_is_left_as_it_was(small, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    before = dict(os.environ)
    assert run(small, tmp_path / "out", workers=1).finished == NAMES
    assert dict(os.environ) == before


def test_folders_that_hold_something_else_are_left_alone(small, tmp_path, at_hand):
    out = tmp_path / "out"
    (out / NAMES[2]).mkdir(parents=True)
    (out / NAMES[2] / "letter.txt").write_text("dear")
    with pytest.raises(runs.RunError, match="paper-3 is not a run"):
        run(small, out)
    assert [path.name for path in out.iterdir()] == [NAMES[2]]
    (out / NAMES[2] / "letter.txt").unlink()
    run(small, out)
    with pytest.raises(
        runs.RunError, match="paper-1 holds a run of another configuration .model.hidden is 5 there, not 6"
    ):
        run(written(tmp_path / "other.toml", SMALL.replace("hidden = 5", "hidden = 6")), out)
    with pytest.raises(runs.RunError, match="paper-1 holds a run of 9 updates, not 6"):
        run(written(tmp_path / "other.toml", SMALL.replace("updates = 9", "updates = 6")), out)


def test_a_folder_that_another_process_trains_in(small, tmp_path, at_hand):
    lock = files.Lock(tmp_path / "out" / NAMES[1])
    with pytest.raises(runs.RunError, match="paper-2 is being trained by process"):
        run(small, tmp_path / "out")
    lock.release()
    assert run(small, tmp_path / "out").finished == NAMES


@pytest.mark.parametrize("bars", [False, True])
def test_progress(bars, small, tmp_path, at_hand, capsys):
    run(small, tmp_path / "out", progress=bars)
    said = capsys.readouterr().err
    if bars:
        assert "0 of 3 runs" in said and "3 of 3 runs: 100%" in said and f"{NAMES[2]}: " in said
        assert "bits per sequence" in said and "finished" not in said
    else:
        for name in NAMES:
            assert all(f"{name}: update {n} of 9, " in said for n in (3, 6, 9)) and f"{name}: finished" in said
        assert said.count("\n") == 3 * 4 and said.endswith("finished (3 of 3 runs)\n")


def test_where_dask_is_not_installed(small, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ValueError, match="a sweep runs on Dask .*: pip install dask distributed"):
        run(small, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_worker_that_comes_later_with_another_version(small, tmp_path, at_hand, monkeypatch):
    identity = sweeps._identity() | {"torch": "1.0"}
    config = sweeps.read(small)[NAMES[0]]
    with pytest.raises(sweeps.OtherWorker, match="a worker has torch .*, not 1.0: runs would not be the same; install"):
        sweeps.segment(config, {}, 0, tmp_path, identity)

    @functools.wraps(sweeps.segment)
    def segment(*_):
        raise sweeps.OtherWorker("a worker has torch 1.0")

    monkeypatch.setattr(sweeps, "segment", segment)
    with pytest.raises(sweeps.OtherWorker, match="torch 1.0"):
        run(small, tmp_path / "out")
    assert not list(tmp_path.glob("out/*"))


# --- processes of their own ----------------------------------------------------------------------------------

# What each worker notes: which updates it came to. The first that comes to update 6 of seeds 2 and 3 stays there.
WORKER = """
import os, time
from ntm.runs import folder

NOTES = {notes!r}


def note(self, model, optimizer, generator, log, sums):
    folder.checkpoint(self, model, optimizer, generator, log, sums)
    seed, update = self.config.training.seed, log[-1].update
    with open(NOTES + "/updates", "a") as file:
        file.write(f"{{seed}} {{update}}\\n")
    if seed in (2, 3) and update == 6:
        try:
            with open(f"{{NOTES}}/stuck {{seed}}", "x") as file:
                file.write(f"{{os.getpid()}}\\n")
        except FileExistsError:
            return
        time.sleep(3600)


if not hasattr(folder, "checkpoint"):  # Dask runs this file twice
    folder.checkpoint, folder.Run.checkpoint = folder.Run.checkpoint, note
"""
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def until(condition, seconds=300):
    """What a condition gives once it is no longer false."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "that took too long"
        time.sleep(0.02)
    return found


@pytest.fixture
def cluster(tmp_path):
    """Starts processes, and ends those that are left."""
    processes = []

    def start(*words, **options):
        processes.append(subprocess.Popen([sys.executable, "-m", *map(str, words)], **QUIET | options))
        return processes[-1]

    start(
        *("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", 0, "--dashboard-address", "127.0.0.1:0"),
        *("--no-dashboard", "--scheduler-file", tmp_path / "scheduler.json"),
    )
    yield start
    for process in processes:
        process.kill()
        process.communicate()


def start_worker(start, tmp_path, preload):
    return start(
        *("distributed.cli.dask_worker", "--scheduler-file", tmp_path / "scheduler.json", "--host", "127.0.0.1"),
        *("--nthreads", 1, "--no-nanny", "--no-dashboard", "--local-directory", tmp_path / "scratch"),
        *("--preload", preload),
    )


def test_workers_and_sweeps_that_are_killed(small, tmp_path, cluster):
    """A worker dies, another comes; the whole sweep dies, and is started again."""
    out, notes = tmp_path / "out", tmp_path / "notes"
    notes.mkdir()
    preload = written(tmp_path / "worker.py", WORKER.format(notes=str(notes)))
    workers = [start_worker(cluster, tmp_path, preload) for _ in range(2)]
    until((tmp_path / "scheduler.json").exists)
    words = ["ntm", "sweep", small, "--out", out, "--scheduler", tmp_path / "scheduler.json", "--hand-in", 0]
    client = cluster(*words)

    def stuck(seed):
        path = notes / f"stuck {seed}"
        return path.exists() and path.read_text().endswith("\n") and int(path.read_text())

    pid = until(lambda: stuck(2))
    assert [row.update for row in runs.read_log(out / NAMES[1])] == [3]  # it was at 6 when it was killed
    assert pid in [worker.pid for worker in workers]
    os.kill(pid, signal.SIGKILL)
    start_worker(cluster, tmp_path, preload)
    pid = until(lambda: stuck(3))
    until(lambda: all((out / name / "score.json").exists() for name in NAMES[:2]))
    client.kill()
    client.wait()
    os.kill(pid, signal.SIGKILL)

    before = [contents(out / name) for name in NAMES[:2]]
    again = run(small, out, scheduler=tmp_path / "scheduler.json")
    assert again == ([NAMES[2]], NAMES[:2], {})
    assert [contents(out / name) for name in NAMES[:2]] == before
    updates = (notes / "updates").read_text().split("\n")[:-1]
    twice = ["2 6", "3 6"]  # by who was killed, and by who took over
    assert sorted(updates) == sorted([f"{seed} {update}" for seed in (1, 2, 3) for update in (3, 6, 9)] + twice)

    assert run(small, out, scheduler=tmp_path / "none.json") == ([], NAMES, {})  # no scheduler is needed for nothing
    assert run(small, tmp_path / "local", workers=1).finished  # on a cluster of this computer
    for name in NAMES:
        assert_same(out / name, tmp_path / "local" / name)


def test_a_worker_of_another_version(small, tmp_path, cluster, monkeypatch):
    start_worker(cluster, tmp_path, written(tmp_path / "old.py", "import ntm; ntm.__version__ = '0.0.1'"))
    until((tmp_path / "scheduler.json").exists)
    with pytest.raises(sweeps.OtherWorker, match="the worker tcp://127.0.0.1:.* has ntm 0.0.1, sources .*, not 0"):
        run(small, tmp_path / "out", scheduler=tmp_path / "scheduler.json")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("scheduler", ["tcp://127.0.0.1:1", "nowhere://x", "127.0.0.1"])
def test_no_scheduler(scheduler, small, tmp_path, monkeypatch):
    monkeypatch.setattr(sweeps, "CONNECT", 0.5)
    with pytest.raises(OSError, match=f"no Dask scheduler answers at {scheduler} "):
        run(small, tmp_path / "out", scheduler=scheduler)
    assert not (tmp_path / "out").exists()


def test_interrupted_on_this_computer(tmp_path):
    """By Ctrl-C, which goes to the workers too: one line, and nobody is left."""
    file, out = written(tmp_path / "long.toml", SMALL.replace("updates = 9", "updates = 100_000_000")), tmp_path / "out"
    words = [sys.executable, "-m", "ntm", "sweep", file, "--out", out, "--workers", "1", "--hand-in", "0"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, start_new_session=True)
    until((out / NAMES[0] / "log.csv").exists)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 130
    assert said.startswith("interrupted; the same command goes on from what was handed in\n")
    assert "Traceback" not in said  # Python itself may warn of a semaphore of a worker that was killed at work
    until(lambda: no_processes_of(process.pid), 20)
    assert not list(out.glob("*/.*"))


def no_processes_of(session):
    return subprocess.run(["pgrep", "-s", str(session)], capture_output=True).returncode == 1
