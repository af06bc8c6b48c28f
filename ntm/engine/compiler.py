"""How the engine's functions are compiled and kept, and what is said where they cannot be.

Compiled code is kept on disk, in the folder that numba finds for it: NUMBA_CACHE_DIR, ``__pycache__`` beside the
sources, or the user's own cache. Numba itself takes code up again as long as the one file that defines a function is as
it was; but a function here is made of what several files say, so its file there has a name that all have a part in.
"""

import contextlib
import functools
import hashlib
import os
import pickle
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

try:
    import numba
    from numba.core.caching import FunctionCache, NullCache
    from numba.core.serialize import dumps
except Exception as error:  # an installation can be broken in many ways, and none of them is in the literal model's way
    absent = isinstance(error, ModuleNotFoundError) and error.name == "numba"
    _WHY_NOT = "numba is not installed" if absent else f"numba cannot be used ({type(error).__name__}: {error})"
else:
    _WHY_NOT = "numba's compiler is switched off (NUMBA_DISABLE_JIT)" if numba.config.DISABLE_JIT else ""

SOURCES = "compiler", "simd", "kernels"  # all that is compiled is made of these
# Sequences of a batch that one thread takes through forward and backward at a time; here, where it can be read without
# a compiler.
TOGETHER = 4


_made: list[Any] = []  # every function that ``jit`` made, in the order of the sources


def why_not() -> str | None:
    """Why nothing can be compiled here, as the beginning of a sentence; None where it can."""
    return _WHY_NOT or None


def checks_bounds() -> bool:
    """Whether this is a debug build (NUMBA_BOUNDSCHECK=1), whose functions raise IndexError at an array's bounds."""
    return bool(numba.config.BOUNDSCHECK)


def jit(fastmath: Any = False) -> Callable[[Any], Any]:
    """A decorator like ``numba.njit``; ``fastmath``: a set of LLVM's flags, or all (True), or none."""

    def compiled(function: Any) -> Any:
        # No function here allocates, so none needs to count references to arrays, which costs a quarter of the time.
        dispatcher = numba.njit(fastmath=fastmath, error_model="numpy", nogil=True, _nrt=False)(function)
        try:
            dispatcher._cache = _Cache(function)
        except RuntimeError:  # numba finds no folder that it may write to
            dispatcher._cache = _Forgetful()
        _made.append(dispatcher)
        return dispatcher

    return compiled


def has_kept(function: Any) -> bool:
    """Whether a compiled function lies on disk, for some types and processor."""
    files = getattr(function._cache, "_cache_file", None)
    return isinstance(files, _Files) and files.has_any()


@functools.cache
def _stamp() -> str:
    """Of the sources that compiled code is made of."""
    text = b"".join(Path(__file__).with_name(f"{name}.py").read_bytes() for name in SOURCES)
    return hashlib.sha256(numba.__version__.encode() + text).hexdigest()[:12]


@functools.cache
def _say_that_nothing_is_kept(why: str) -> None:
    warnings.warn(
        f"compiled code is not kept, since {why}: each start compiles anew, some 20 s. "
        "The environment variable NUMBA_CACHE_DIR can name another folder.",
        stacklevel=2,
    )


if not _WHY_NOT:

    class _Forgetful(NullCache):
        """Where there is no folder."""

        def save_overload(self, sig: Any, data: Any) -> None:
            """Say so once."""
            _say_that_nothing_is_kept("there is no folder that can be written to")

    class _Cache(FunctionCache):
        """Numba's own, with a file for each function, types and processor, and whose faults cost time, not the run."""

        def __init__(self, function: Any) -> None:
            super().__init__(function)
            self._cache_file = _Files(Path(self.cache_path), f"{function.__module__}.{function.__qualname__}")

        def _index_key(self, sig: Any, codegen: Any) -> Any:
            return *super()._index_key(sig, codegen), checks_bounds()

        def load_overload(self, sig: Any, target_context: Any) -> Any:
            """The compiled function, or None; damaged files are as good as none."""
            try:
                return super().load_overload(sig, target_context)
            except Exception:
                return None

        def _load_overload(self, sig: Any, target_context: Any) -> Any:
            found = self._cache_file.load(self._index_key(sig, target_context.codegen()))
            if found is None:
                return None
            # A function's code has copies of those that it calls, but the linker takes the first that it meets: here as
            # where it was compiled, each one's own. Copies may be vectorised otherwise, and differ in the last digits.
            called, data = found
            for number, signature in called:
                _made[number].compile(signature)
            return self._impl.rebuild(target_context, data)

        def _save_overload(self, sig: Any, data: Any) -> None:
            if not self._impl.check_cachable(data):
                return
            self._impl.locator.ensure_cache_path()
            linked = data.library._linking_libraries
            known = [(n, s, c) for n, made in enumerate(_made) for s, c in made.overloads.items()]
            called = [(n, s) for library in linked for n, s, c in known if c.library is library]
            self._cache_file.save(self._index_key(sig, data.codegen), (called, self._impl.reduce(data)))

        def save_overload(self, sig: Any, data: Any) -> None:
            """Keep it, if that can be done."""
            try:
                super().save_overload(sig, data)
            except OSError as error:
                _say_that_nothing_is_kept(f"{self.cache_path} cannot be written ({error.strerror})")


class _Files:
    """A file for each key. Numba's index of all keys would be written by processes that compile at the same time."""

    def __init__(self, folder: Path, function: str) -> None:
        self.folder = folder
        self.name = f"{function.replace('<', '').replace('>', '')}.{sys.implementation.cache_tag}"

    def path(self, key: Any) -> Path:
        return self.folder / f"{self.name}-{_stamp()}-{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.nbc"

    def has_any(self) -> bool:
        return any(self.folder.glob(f"{self.name}-{_stamp()}-*.nbc"))

    def load(self, key: Any) -> Any:
        path = self.path(key)
        return pickle.loads(path.read_bytes()) if path.exists() else None

    def save(self, key: Any, data: Any) -> None:
        """Whole or not at all; what was made of former sources goes."""
        path = self.path(key)
        for old in self.folder.glob(f"{self.name}-*.nbc"):
            if not old.name.startswith(f"{self.name}-{_stamp()}-"):
                old.unlink(missing_ok=True)
        handle, part = tempfile.mkstemp(dir=self.folder, prefix=f"{path.stem}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(dumps(data))
            os.replace(part, path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(part)
            raise
