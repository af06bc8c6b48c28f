"""Sweeps: many runs, written down in one file, on the cores of this computer or on any Dask cluster.

    tasks = ["recall"]
    networks = ["ntm-ff", "ntm-lstm"]     # rows of the paper's tables
    seeds = [1, 2, 3]

    [recipes.paper]                       # a name, and what is changed in the task's own recipe: here nothing
    [recipes.adam]
    optimizer = "adam"
    loss = "cross_entropy"

    [sizes.recall]                        # what is changed in a task
    items = [2, 4]

    [models.ntm-ff]                       # and in a network
    locations = 64

Each combination is a run in a folder of its own, such as ``recall-ntm-ff-paper-1``; tables may be left out, and without
recipes each task has its own, which no name mentions. With ``base = "paper"`` a recipe starts from the paper's where
the task's own is another. ``"None"`` stands for None.

A worker has no disk in common with who started the sweep. It is given a run's last checkpoint, trains for half a
minute, and hands in the run's files, which are written here and by nobody else. So a worker that dies costs half a
minute of its work, and so does a sweep that is stopped: started again, it goes on from there, and what is finished is
not computed again. A run is the same to the last bit as one that was trained in one go.
"""

import functools
import itertools
import logging
import os
import pickle
import re
import signal
import sys
import tempfile
import time
import tomllib
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

import ntm
from ntm import checks, experiments, paper, runs, tasks, training
from ntm.runs import files, folder
from ntm.runs.versions import versions

HAND_IN = 30.0  # seconds of training after which a worker hands in what it has
LISTS, TABLES = ("tasks", "networks", "seeds"), ("recipes", "sizes", "models")
NETWORKS = tuple(dict.fromkeys(network for _, network in paper.CONFIGS))
NOTHING = "cannot do what it is asked: install there what is installed here"
CONNECT = 10  # seconds in which a scheduler must answer


# The file


def read(file: str | os.PathLike[str]) -> dict[str, runs.RunConfig]:
    """The runs of a sweep's file by the names of their folders, in the order of tasks, networks, recipes and seeds.

    Raises ValueError for what is no sweep.
    """
    try:
        with open(file, "rb") as opened:
            return _combinations(tomllib.load(opened))
    except ValueError as error:  # TOML that is none is one, too
        raise ValueError(f"{file}: {error}") from None


def _combinations(fields: dict[str, Any]) -> dict[str, runs.RunConfig]:
    _known("the file", fields, [*LISTS, *TABLES])
    for name in LISTS:
        if not isinstance(fields.get(name), list) or not fields[name]:
            raise ValueError(f"{name}={fields.get(name)!r}: must be a list of at least one")
    for task in fields["tasks"]:
        checks.one_of("tasks", task, tasks.TASKS)
    for network in fields["networks"]:
        checks.one_of("networks", network, NETWORKS)
    recipes, sizes, models = (_table(fields, name) for name in TABLES)
    for recipe in recipes:
        if not re.fullmatch(r"[\w.-]+", recipe, re.ASCII):
            raise ValueError(f"recipes.{recipe}: a recipe's name is part of a folder's: letters, digits, . _ and -")
    _known("sizes", sizes, fields["tasks"])
    _known("models", models, fields["networks"])
    configs: dict[str, runs.RunConfig] = {}
    for task, network, recipe, seed in itertools.product(
        fields["tasks"], fields["networks"], recipes or [""], fields["seeds"]
    ):
        name = "-".join(filter(None, [task, network, recipe, str(seed)]))
        if name in configs:
            raise ValueError(f"{name} is asked for twice")
        asked = sizes.get(task, {}), models.get(network, {}), recipes.get(recipe, {}), seed
        try:
            configs[name] = _config(task, network, *asked)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return configs


def _config(
    task: str, network: str, sizes: dict[str, Any], model: dict[str, Any], recipe: dict[str, Any], seed: Any
) -> runs.RunConfig:
    """One run, with what is changed in the task's sizes, in the network and in the recipe."""
    base = recipe.get("base", "task")
    checks.one_of("base", base, ["task", "paper"])
    usual = paper.recipe(task, network) if base == "paper" else experiments.recipe(task, network)
    plan = {name: value for name, value in recipe.items() if name not in ("base", "loss")}
    loss = recipe.get("loss", "")
    if "loss" in recipe:
        checks.one_of("loss", loss, training.LOSSES)
    drawn = _changed("sizes", tasks.TASKS[task](), sizes)
    machine = _changed("models", paper.CONFIGS[task, network], model, given=("inputs", "outputs"))
    machine = replace(machine, inputs=drawn.inputs, outputs=drawn.outputs)
    plan = _changed("recipes", usual, plan, given=("seed",), more=("base", "loss"))
    return runs.RunConfig(task, machine, replace(plan, seed=seed), drawn, loss)


def _changed(
    where: str, usual: Any, changes: dict[str, Any], given: tuple[str, ...] = (), more: tuple[str, ...] = ()
) -> Any:
    """A configuration with some fields changed, but for those that are given elsewhere."""
    _known(where, changes, [name for name in [*vars(usual), *more] if name not in given])
    return replace(usual, **{name: None if value == "None" else value for name, value in changes.items()})


def _table(fields: dict[str, Any], name: str) -> dict[str, dict[str, Any]]:
    table = fields.get(name, {})
    if not isinstance(table, dict) or not all(isinstance(value, dict) for value in table.values()):
        raise ValueError(f"{name}: must be tables with a name, such as [{name}.NAME]")
    return table


def _known(where: str, fields: dict[str, Any], names: list[str]) -> None:
    for name in fields:
        if name not in names:
            raise ValueError(f"{where}: {name!r} is unknown there; known are {', '.join(names)}")


# What a worker does


class HandedIn(NamedTuple):
    """What a worker hands in of a run."""

    files: dict[str, bytes]
    row: training.Row | None  # the last one of the log
    error: str  # why it will not be finished; empty if nothing stands against it


class OtherWorker(ValueError):
    """A worker that would not compute the same."""


class _Pause(Exception):
    """Enough for now."""


def segment(
    config: runs.RunConfig, given: dict[str, bytes], seconds: float, place: Path, identity: dict[str, str]
) -> HandedIn:
    """Train a run from the files that are given, for about so many seconds or to its end.

    Ends at a row of the log. ``place`` is where the files will be in the end, for messages. Raises OtherWorker where
    ``identity`` is another one.
    """
    _check(identity, _identity())
    torch.set_num_threads(1)
    started = time.perf_counter()

    def pause(log: list[training.Row]) -> None:
        if not config.training.ended(log) and time.perf_counter() - started >= seconds:
            raise _Pause

    with tempfile.TemporaryDirectory(prefix="ntm-") as name:
        scratch, error = Path(name), ""
        for file, content in given.items():
            (scratch / file).write_bytes(content)
        try:
            runs.train(scratch, config, report=pause, progress=False)
        except _Pause:
            pass
        except Exception as problem:  # whatever it is, the other runs go on
            error = f"{type(problem).__name__}: {problem}".replace(str(scratch), str(place))
        found = {path.name: path.read_bytes() for path in scratch.iterdir() if path.name != files.LOCK}
        log = runs.read_log(scratch) if folder.LOG in found and not error else []
    return HandedIn(found, log[-1] if log else None, error)


class _Call:
    """Pickled, it is the call of ``segment``, made where it is unpickled: a scheduler needs nothing of this package."""

    def __init__(self, *words: Any) -> None:
        self.words = words

    def __reduce__(self) -> tuple[Callable[..., HandedIn], tuple[Any, ...]]:
        """The function and its arguments."""
        return segment, self.words


def dask_setup(worker: Any) -> None:
    """What a worker of this computer does first: Ctrl-C is for who started the sweep, and ends the workers with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _identity() -> dict[str, str]:
    """What must be the same on every worker, for the same runs to come out."""
    here = versions()
    return {"ntm": f"{here['ntm']}, sources {_sources()}"} | {name: here[name] for name in ("torch", "numpy", "numba")}


@functools.cache
def _sources() -> str:
    """A checksum of this package, whose version says nothing of changes on the way."""
    root = Path(ntm.__file__).parent
    each = [f"{path.relative_to(root).as_posix()} {files.text_checksum(path.read_bytes())}" for path in _modules(root)]
    return f"{files.text_checksum(' '.join(each).encode()):08x}"


def _modules(root: Path) -> list[Path]:
    return sorted(root.rglob("*.py"))


def _check(wanted: dict[str, str], found: dict[str, str], worker: str = "a worker") -> None:
    other = [f"{name} {found.get(name)}, not {text}" for name, text in wanted.items() if found.get(name) != text]
    if other:
        raise OtherWorker(
            f"{worker} has {'; '.join(other)}: runs would not be the same; install the same there, and start it again"
        )


# The folders, which one process writes


class _Folder:
    """A run's folder, to oneself until it is closed."""

    def __init__(self, path: Path, config: runs.RunConfig) -> None:
        self.path = path
        if folder.held(path, config) not in (None, config):
            with runs.Run(path, config):  # a shorter run becomes an unfinished one of this length
                pass
        self.lock = files.Lock(path)
        files.clear_parts(path)

    def given(self) -> dict[str, bytes]:
        """What a worker needs to go on."""
        paths = [self.path / name for name in (folder.CONFIG, folder.CHECKPOINT, folder.LOG)]
        try:
            return {path.name: path.read_bytes() for path in paths if path.exists()}
        except OSError as error:
            raise files.unreadable(self.path, error) from None

    def keep(self, found: dict[str, bytes]) -> None:
        """Write what was handed in, in an order in which a kill leaves a run that can go on."""
        last = [folder.CHECKPOINT, folder.LOG, folder.WEIGHTS, folder.SCORE]
        for name in sorted(found, key=lambda name: (name != folder.CONFIG, last.index(name) if name in last else -1)):
            files.write(self.path / name, found[name])

    def close(self) -> None:
        """Give the folder back; one that was made and is empty is removed."""
        self.lock.release()
        self.lock.forget_folder()


# The sweep


class Sweep(NamedTuple):
    """What became of a sweep's runs, by the names of their folders."""

    finished: list[str]  # now
    before: list[str]  # were finished already, and nothing was computed
    failed: dict[str, str]  # with the reason


def run(
    file: str | os.PathLike[str],
    out: str | os.PathLike[str],
    scheduler: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    hand_in: float = HAND_IN,
    progress: bool = True,
    report: Callable[[str, training.Score], object] | None = None,
) -> Sweep:
    """Train every run of a sweep's file into a folder of ``out``, from wherever it stands there.

    On ``workers`` processes of this computer, one per core where no number is given; or on the cluster of a Dask
    ``scheduler``, named by its address or by the file that ``dask scheduler --scheduler-file`` writes. ``hand_in`` is
    after how many seconds a worker hands in what it has. ``report`` is called with the name and the score of each run
    that is finished. ``progress`` shows bars, in a notebook too; without it, there are lines on standard error.

    A run that fails does not stop the others. Raises ValueError or OSError, before any work, for a file that is no
    sweep, for folders that hold something else, for a scheduler that does not answer, and for a worker that has
    another version of the package or of what it computes with.
    """
    configs, out = read(file), Path(out)
    if not isinstance(hand_in, int | float) or not hand_in >= 0:
        raise ValueError(f"hand_in={hand_in!r}: must be a number of seconds, at least 0")
    if workers is not None:
        checks.whole("workers", workers)
        if scheduler is not None:
            raise ValueError(f"workers={workers}: a scheduler has its own; leave workers out")
    there = {name: folder.held(out / name, config) for name, config in configs.items()}
    before = [name for name in configs if there[name] == configs[name] and folder.is_finished(out / name)]
    left = {name: config for name, config in configs.items() if name not in before}
    sweep = Sweep([], before, {})
    if left:
        with _connected(scheduler, workers, len(left)) as client, closing(_Shown(configs, before, progress)) as shown:

            def ended(name: str, end: training.Score | str) -> None:
                shown.ended(name, end)
                if isinstance(end, str):
                    sweep.failed[name] = end
                    return
                sweep.finished.append(name)
                if report:
                    report(name, end)

            _compute(client, left, out, hand_in, shown.moved, ended)
    return sweep


def _compute(
    client: Any,
    left: dict[str, runs.RunConfig],
    out: Path,
    hand_in: float,
    moved: Callable[[str, training.Row], None],
    ended: Callable[[str, training.Score | str], None],
) -> None:
    """Have runs computed, a segment at a time, and keep what is handed in; a run ends with its score, or with why not.

    Of the runs that wait for a worker, that which stands first in the file is the next.
    """
    identity, first = _identity(), {name: -place for place, name in enumerate(left)}
    for worker, found in client.run(_identity, on_error="return").items():
        if isinstance(found, OSError):  # it was lost meanwhile; those that come later are checked at each segment
            continue
        if isinstance(found, Exception):
            raise OtherWorker(f"the worker {worker} {NOTHING} ({found})")
        _check(identity, found, f"the worker {worker}")
    with ExitStack() as stack:
        folders = {name: stack.enter_context(closing(_Folder(out / name, config))) for name, config in left.items()}
        names: dict[str, str] = {}

        def submit(name: str) -> Any:
            key = f"segment-{uuid.uuid4().hex}"
            names[key] = name
            call = _Call(left[name], folders[name].given(), hand_in, folders[name].path, identity)
            return client.submit(pickle.loads, pickle.dumps(call), key=key, priority=first[name])

        waiting = _distributed().as_completed([submit(name) for name in left], loop=client.loop)
        for future in waiting:
            name = names.pop(future.key)
            try:
                handed_in = _result(future)
                folders[name].keep(handed_in.files)
                if handed_in.error:
                    raise _Failed(handed_in.error)
                if handed_in.row:
                    moved(name, handed_in.row)
                if not folder.is_finished(folders[name].path):
                    waiting.add(submit(name))
                    continue
                end: training.Score | str = runs.read_score(folders[name].path)
            except (_Failed, runs.RunError) as error:
                end = " ".join(str(error).split())
            finally:
                future.release()  # what is kept here is not to be computed again where a worker is lost that has it
            folders[name].close()
            ended(name, end)


class _Failed(Exception):
    """Why a run will not be finished."""


def _result(future: Any) -> HandedIn:
    """What a worker handed in; raises _Failed for what concerns one run, and other errors for what ends the sweep."""
    if future.status == "finished":
        return future.result()
    if future.status == "error":
        error = future.exception()
        if isinstance(error, OtherWorker):
            raise error
        if isinstance(error, ImportError):
            raise OtherWorker(f"a worker {NOTHING} ({error})")
        raise _Failed(f"{type(error).__name__}: {error}")
    raise ConnectionError("the scheduler is lost; what was handed in is kept, and the same command goes on from there")


# The cluster


def _distributed() -> Any:
    """Dask, which is imported by who starts a sweep and by nobody else."""
    try:
        import distributed
    except ImportError as error:
        raise ValueError(f"a sweep runs on Dask ({error}): pip install dask distributed") from None
    return distributed


@contextmanager
def _silent() -> Iterator[None]:
    """Dask says nothing: what a user should know is said here, in one line."""
    loggers = [each for name, each in logging.root.manager.loggerDict.items() if name.startswith("distributed")]
    levels = [(each, each.level) for each in loggers if isinstance(each, logging.Logger)]
    for each, _ in levels:
        each.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for each, level in levels:
            each.setLevel(level)


@contextmanager
def _environment_kept() -> Iterator[None]:
    """Dask tells its workers their number of threads through this process's own environment, and leaves it changed."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update({name: value for name, value in before.items() if os.environ.get(name) != value})


@contextmanager
def _connected(scheduler: str | os.PathLike[str] | None, workers: int | None, most: int) -> Iterator[Any]:
    """A client of a cluster: of this computer, with no more than ``most`` workers, or of a scheduler."""
    distributed = _distributed()
    import dask

    large = {"distributed.admin.large-graph-warning-threshold": "1 GiB"}  # a checkpoint may be, and is meant to be
    with ExitStack() as stack:
        stack.enter_context(_silent())
        stack.enter_context(_environment_kept())
        stack.enter_context(dask.config.set(large))
        if scheduler is None:
            address = stack.enter_context(
                distributed.LocalCluster(
                    n_workers=min(workers or dask.system.CPU_COUNT, most),
                    threads_per_worker=1,
                    processes=True,
                    host="127.0.0.1",
                    dashboard_address="127.0.0.1:0",
                    scheduler_kwargs={"dashboard": False},
                    memory_limit=0,
                    silence_logs=logging.CRITICAL,
                    preload=[__name__],
                )
            )
        else:
            address = scheduler
        is_file = isinstance(address, str | os.PathLike) and Path(address).is_file()
        where = {"scheduler_file": str(address)} if is_file else {"address": address}
        try:
            client = stack.enter_context(distributed.Client(**where, timeout=CONNECT, set_as_default=False))
        except (OSError, ValueError) as error:
            raise ConnectionError(f"no Dask scheduler answers at {scheduler} ({error})") from None
        if not client.nthreads():
            print(
                f"the scheduler at {scheduler} has no workers yet; waiting for the first", file=sys.stderr, flush=True
            )
            client.wait_for_workers(1)
        yield client


# What is seen


class _Shown:
    """How far the runs are: a bar for each that has begun and one for them all, or a line at each tenth of a run."""

    def __init__(self, configs: dict[str, runs.RunConfig], before: list[str], bars: bool) -> None:
        self.updates = {name: config.training.updates for name, config in configs.items()}
        self.done = {name: self.updates[name] for name in before}
        self.settled, self.bars, self.each = len(before), bars, dict[str, Any]()
        total, done = sum(self.updates.values()), sum(self.done.values())
        self.all = training.tqdm(total=total, initial=done, unit="update", disable=not bars)
        self.all.set_description_str(self._count())

    def _count(self) -> str:
        return f"{self.settled} of {len(self.updates)} runs"

    def moved(self, name: str, row: training.Row) -> None:
        """A run has come as far as this row of its log."""
        last, of = self.done.get(name, 0), self.updates[name]
        self.done[name] = row.update
        self.all.update(row.update - last)
        cost = f"{row.bits_per_sequence:.3f} bits per sequence"
        if not self.bars:
            if 10 * row.update // of > 10 * last // of:
                self._say(f"{name}: update {row.update:,} of {of:,}, {cost}")
            return
        if name not in self.each:
            self.each[name] = training.tqdm(total=of, initial=last, unit="update", desc=name, leave=False)
        self.each[name].set_postfix_str(cost, refresh=False)
        self.each[name].update(row.update - last)

    def ended(self, name: str, end: training.Score | str) -> None:
        """A run is finished, or has failed."""
        self.settled += 1
        if name in self.each:
            self.each.pop(name).close()
        if isinstance(end, training.Score):  # perhaps early, being solved
            self.all.total -= self.updates[name] - self.done.get(name, 0)
        self.all.set_description_str(self._count())
        if isinstance(end, str) or not self.bars:
            self._say(f"{name}: {f'failed: {end}' if isinstance(end, str) else 'finished'} ({self._count()})")

    def _say(self, line: str) -> None:
        self.all.write(line, file=sys.stderr)

    def close(self) -> None:
        """Take the bars away that are left."""
        for bar in (*self.each.values(), self.all):
            bar.close()
