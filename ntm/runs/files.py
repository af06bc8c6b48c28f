"""The files of a run: written in one step, with a checksum, in a folder that one process at a time has to itself.

A file is written beside its place and moved there, so that a kill or a full disk leaves the old one or the new one.
Tensor files carry a CRC-32 of their names, shapes, bytes and metadata; JSON files one of their fields; of a text it is
taken over lines that end in a newline, so that no checkout's line ends change it.
"""

import errno
import json
import os
import socket
import time
import warnings
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

FORMAT = 2  # of a run's folder; it goes up when an older package could not read what a newer one wrote
LOCK = ".lock"
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)  # what a file system without them says


class RunError(ValueError):
    """A run folder that cannot be used as asked; the message says how to go on."""


def damaged(path: Path, why: str = "") -> RunError:
    """What to raise for a file that does not hold what was written."""
    return RunError(f"{path} is damaged{why}: delete {path.parent} and train that run again")


def unreadable(path: Path, error: OSError) -> RunError:
    """What to raise for a file that the system does not give out."""
    return RunError(f"{path} cannot be read ({error.strerror or error}): mend that, or choose another folder")


def unwritable(path: Path, error: OSError) -> RunError:
    """What to raise for a place that the system does not let be changed."""
    return RunError(
        f"{path} cannot be written ({error.strerror or error}): once it can be, "
        "the same command goes on from the last checkpoint"
    )


# Writing in one step


def write(path: Path, content: bytes, durable: bool = True) -> None:
    """Put a file in its place; raises RunError if it cannot be written, and leaves nothing beside it.

    What is not ``durable`` may be empty after a power cut.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        try:
            with beside.open("wb") as file:
                file.write(content)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            beside.replace(path)
        except BaseException:
            with suppress(OSError):
                beside.unlink()
            raise
    except OSError as error:
        raise unwritable(path, error) from None


def clear_parts(folder: Path) -> None:
    """Remove what processes that were killed have left unfinished. Only for who has the folder to himself."""
    for part in folder.glob(".*.part"):
        with suppress(OSError):
            part.unlink()


# Checksums


def text_checksum(content: bytes) -> int:
    """CRC-32 of a text, whatever ends its lines."""
    return zlib.crc32(content.replace(b"\r\n", b"\n"))


def _fields_checksum(fields: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode())


def _tensors_checksum(tensors: dict[str, Tensor], metadata: dict[str, str]) -> int:
    value = 0
    for name in sorted(tensors):
        value = zlib.crc32(f"{name}{tuple(tensors[name].shape)}".encode(), value)
        value = zlib.crc32(tensors[name].numpy().tobytes(), value)
    for name in sorted(metadata.keys() - {"crc32"}):
        value = zlib.crc32(f"{name}={metadata[name]}".encode(), value)
    return value


def write_json(path: Path, fields: dict[str, Any]) -> None:
    """Write fields, the format, and ``crc32``: of the other fields as JSON, keys sorted, without spaces."""
    fields = {"format": FORMAT, **fields}
    write(path, (json.dumps({**fields, "crc32": _fields_checksum(fields)}, indent=2) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """The fields of such a file; raises RunError if they are not those that were written, or in another format.

    Raises FileNotFoundError or NotADirectoryError if there is no such file.
    """
    try:
        fields = json.loads(path.read_bytes())
        written = fields.pop("format", 0)
        older, newer = written < FORMAT, written > FORMAT
        stated = fields.pop("crc32", None)
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise unreadable(path, error) from None
    except (AttributeError, TypeError, ValueError, RecursionError):
        raise damaged(path) from None
    if older or newer:
        raise RunError(
            f"{path} was written by {'an older' if older else 'a newer'} version of this package "
            f"(format {written}, and this one reads {FORMAT}): use that version, or train again into another folder"
        )
    fields = {"format": FORMAT, **fields}
    if stated != _fields_checksum(fields):
        raise damaged(path, " or was edited (its checksum is that of other values)")
    del fields["format"]
    return fields


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> int:
    """Write tensors of any device as safetensors, with ``metadata`` and the checksum of it all, which is returned."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    checksum = _tensors_checksum(tensors, metadata)
    write(path, save(tensors, metadata | {"crc32": str(checksum)}))
    return checksum


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of such a file; raises RunError if they are not those that were written."""
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dictionary)
            metadata = file.metadata() or {}
    except OSError as error:
        raise unreadable(path, error) from None
    except (SafetensorError, RuntimeError, ValueError):
        raise damaged(path) from None
    if metadata.get("crc32") != str(_tensors_checksum(tensors, metadata)):
        raise damaged(path)
    return tensors, metadata


# One process at a time


class Lock:
    """A folder to oneself, until ``release``.

    The system's own lock (flock) on a file in the folder, which ends with the process, however it ends. On NFS it holds
    between machines too, where the server grants locks. Where there are none, the file itself is the lock, and one that
    a killed process left behind has to be deleted by hand.
    """

    def __init__(self, folder: Path) -> None:
        """Take the lock, and make the folder where it is missing. Raises RunError if another process has it."""
        self.path, self.made = folder / LOCK, list[Path]()
        try:
            self.made = [place for place in (folder, *folder.parents) if not place.exists()]
            folder.mkdir(parents=True, exist_ok=True)
            while not self._take():
                time.sleep(0.01)  # its file was deleted as it was taken
        except OSError as error:
            self.forget_folder()
            raise RunError(f"{folder} cannot be written ({error.strerror or error}): choose another folder") from None

    def _take(self) -> bool:
        try:
            self.file, new = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), True
        except FileExistsError:
            self.file, new = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666), False
        try:
            held = self._flock()
            if held is None and not new:
                raise self._taken("; if that process is no more, delete this file")
            if held is False:
                raise self._taken("")
            if os.stat(self.path).st_ino != os.fstat(self.file).st_ino:
                raise FileNotFoundError
        except FileNotFoundError:
            os.close(self.file)
            return False
        except BaseException:
            os.close(self.file)
            raise
        with suppress(OSError):  # a full disk, say: who it is only serves the message
            os.ftruncate(self.file, 0)
            os.write(self.file, f"process {os.getpid()} on {socket.gethostname()}".encode())
        return True

    def _flock(self) -> bool | None:
        """Whether the lock is ours; None where the system or the file system has none."""
        if fcntl is None:
            return None
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            return None
        return True

    def _taken(self, remedy: str) -> RunError:
        by = os.read(self.file, 300).decode(errors="replace") or "another process"
        return RunError(f"{self.path.parent} is being trained by {by} (lock {self.path}{remedy}); wait for it to end")

    def release(self) -> None:
        """Give the folder back; done twice, it does nothing."""
        if self.file < 0:
            return
        file, self.file = self.file, -1
        try:
            if fcntl is None:  # Windows deletes no file that is open
                os.close(file)
            with suppress(OSError):  # the folder may be gone, or read-only by now
                self.path.unlink()
        finally:
            if fcntl is not None:  # and not before: another process could lock what is then deleted
                os.close(file)

    def forget_folder(self) -> None:
        """Remove the folders that were made for the lock, as far as they are empty."""
        for place in self.made:
            with suppress(OSError):
                place.rmdir()


def warn(message: str) -> None:
    """One line to whoever runs the package."""
    warnings.warn(message, stacklevel=2)
