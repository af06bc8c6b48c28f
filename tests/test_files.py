"""Files that are whole or not there, and folders that one process has to itself."""

import errno
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from ntm.runs import files
from ntm.runs.files import Lock, RunError

pytestmark = pytest.mark.once  # files are the same on every processor


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# --- writing and reading -------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch, at, error):
    files.write(tmp_path / "a", b"before")

    def fail(*_):
        raise error

    monkeypatch.setattr(*((os, "fsync") if at == "fsync" else (Path, "replace")), fail)
    expected = RunError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as raised:
        files.write(tmp_path / "a", b"after")
    if expected is RunError:
        message = r"^.*/a cannot be written \(No space left on device\): once it can be, the same command goes on"
        assert re.match(message, str(raised.value))
    assert names(tmp_path) == ["a"] and (tmp_path / "a").read_bytes() == b"before"


def test_fields_come_back_in_any_layout(tmp_path):
    path, fields = tmp_path / "a.json", {"x": 0.1, "y": [1, None, "ü"], "z": {"b": 1, "a": 2}}
    files.write_json(path, fields)
    assert files.read_json(path) == fields
    for text in (path.read_text().replace("\n", "\r\n"), json.dumps(json.loads(path.read_text()))):
        path.write_bytes(text.encode())  # as a checkout on Windows has it, or a formatter
        assert files.read_json(path) == fields


def test_fields_that_are_not_those_that_were_written(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, {"x": 0.1, "seed": 3})
    text = path.read_text()
    with pytest.raises(RunError, match=r"a.json is damaged or was edited .*: delete .* and train that run again"):
        path.write_text(text.replace("3", "4", 1))
        files.read_json(path)
    for damage in ("", "[]", "7", text[:-9], text.replace(f'"format": {files.FORMAT}', '"format": "x"'), "[" * 100_000):
        path.write_text(damage)
        with pytest.raises(RunError, match="a.json is damaged: delete"):
            files.read_json(path)


@pytest.mark.parametrize("written, age", [(None, "an older"), (1, "an older"), (files.FORMAT + 1, "a newer")])
def test_another_format_is_named_before_anything_else(tmp_path, written, age):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"crc32": 5} if written is None else {"format": written, "unknown": []}))
    with pytest.raises(
        RunError, match=rf"a.json was written by {age} version .*format {written or 0}, .* reads {files.FORMAT}"
    ):
        files.read_json(path)


def test_every_bit_of_a_tensor_file_counts(tmp_path):
    path = tmp_path / "a.safetensors"
    files.write_tensors(path, {"weight": torch.arange(3.0)}, {"update": "300"})
    tensors, metadata = files.read_tensors(path)
    assert torch.equal(tensors["weight"], torch.arange(3.0)) and metadata["update"] == "300"
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            tensors, metadata = files.read_tensors(path)
        except RunError:
            continue
        # What remains is a space more or less in the header, or the name of a key that nobody asks for.
        assert torch.equal(tensors["weight"], torch.arange(3.0)) and metadata["update"] == "300"


def test_what_cannot_be_read_is_one_line(tmp_path):
    (tmp_path / "a").mkdir()
    for read in (files.read_json, files.read_tensors):
        with pytest.raises(RunError, match="a (cannot be read|is damaged)"):
            read(tmp_path / "a")


def test_parts_that_a_kill_has_left_are_cleared(tmp_path):
    for name in (".log.csv.17.part", ".x.part", "log.csv", "part"):
        (tmp_path / name).write_text("")
    files.clear_parts(tmp_path)
    assert names(tmp_path) == ["log.csv", "part"]


# --- locks ---------------------------------------------------------------------------------------------------


def no_fcntl(monkeypatch):
    monkeypatch.setattr(files, "fcntl", None)


def no_locks_on_this_file_system(monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", flock)


@pytest.mark.parametrize("without", [lambda _: None, no_fcntl, no_locks_on_this_file_system])
def test_one_at_a_time(tmp_path, monkeypatch, without):
    without(monkeypatch)
    lock = Lock(tmp_path / "a" / "run")
    with pytest.raises(RunError, match=rf"run is being trained by process {os.getpid()} on .*; wait for it to end$"):
        Lock(tmp_path / "a" / "run")
    lock.release()
    lock.release()
    assert names(tmp_path / "a" / "run") == []
    Lock(tmp_path / "a" / "run").release()
    lock.forget_folder()
    assert names(tmp_path) == []


def test_of_many_threads_one_gets_it(tmp_path):
    locks, refused, start = [], [], threading.Barrier(8)

    def take():
        start.wait()
        try:
            locks.append(Lock(tmp_path))
        except RunError as error:
            refused.append(error)

    for _ in range(20):
        threads = [threading.Thread(target=take) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(locks) == 1 and len(refused) == 7
        locks.pop().release()
        refused.clear()


HOLD = (
    "import sys, pathlib; from ntm.runs.files import Lock; Lock(pathlib.Path(sys.argv[1])); print(flush=True); input()"
)


@pytest.mark.skipif(files.fcntl is None, reason="the lock of a killed process remains there")
def test_a_lock_ends_with_its_process_however_it_ends(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdout.readline()
    with pytest.raises(RunError, match=f"trained by process {process.pid} on"):
        Lock(tmp_path)
    process.kill()
    process.wait()
    assert names(tmp_path) == [files.LOCK]
    Lock(tmp_path).release()
    assert names(tmp_path) == []


def test_a_lock_file_that_a_killed_process_left_where_there_are_no_locks(tmp_path, monkeypatch):
    no_fcntl(monkeypatch)
    (tmp_path / files.LOCK).write_text("process 7 on elsewhere")
    with pytest.raises(RunError, match="process 7 on elsewhere .*if that process is no more, delete this file"):
        Lock(tmp_path)
    (tmp_path / files.LOCK).unlink()
    Lock(tmp_path).release()


@pytest.mark.parametrize("place", ["file", "file/run", "x" * 300])
def test_where_no_folder_can_be(tmp_path, place):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot be written \(.*\): choose another folder"):
        Lock(tmp_path / place)
    assert names(tmp_path) == ["file"]
