"""Memory and threads of the engine: arrays cut from one buffer, buffers used again, work shared among threads."""

import contextlib
import functools
import itertools
import math
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]


def ends(dtype: torch.dtype, shapes: Shapes) -> list[int]:
    """Where each array ends when they lie one behind the other, each beginning at a whole cache line."""
    line = 64 // dtype.itemsize
    return list(itertools.accumulate(-(-math.prod(shape) // line) * line for shape in shapes.values()))


def cut(buffer: Tensor, shapes: Shapes) -> dict[str, np.ndarray]:
    """A buffer as arrays of these shapes."""
    flat, starts = buffer.numpy(), [0, *ends(buffer.dtype, shapes)]
    parts = zip(shapes.items(), starts, strict=False)
    return {name: flat[start : start + math.prod(shape)].reshape(shape) for (name, shape), start in parts}


class Lease:
    """A buffer whose memory, once nobody refers to the lease any longer, goes to the next one.

    Pages that the system has to hand out anew cost more time than filling them. A second forward before the first
    one's backward gets memory of its own. Each step on ``free`` is atomic, since any thread may take a lease and the
    garbage collector may end one at any moment: a lock could be asked for by the thread that holds it.
    """

    KEPT, LARGEST = 4, 2**26  # buffers kept for the next ones, and bytes of the largest to keep
    free: ClassVar[deque[Tensor]] = deque()

    def __init__(self, dtype: torch.dtype, shapes: Shapes) -> None:
        size = ends(dtype, shapes)[-1]
        self.buffer = self._fitting(dtype, size)

    def _fitting(self, dtype: torch.dtype, size: int) -> Tensor:
        for _ in range(len(self.free)):
            try:
                buffer = self.free.popleft()
            except IndexError:  # another thread was quicker
                break
            if buffer.dtype == dtype and len(buffer) >= size:
                return buffer
            self.free.append(buffer)
        return torch.empty(size, dtype=dtype)

    def token(self) -> Tensor:
        """The buffer as a tensor that keeps the lease: for autograd to save, and to free when it frees the rest."""
        token = self.buffer.view(-1)
        token.lease = self  # type: ignore[attr-defined]
        return token

    def __del__(self) -> None:
        """Pass the memory on."""
        if self.buffer.nbytes <= self.LARGEST:
            self.free.append(self.buffer)
            while len(self.free) > self.KEPT:
                with contextlib.suppress(IndexError):
                    self.free.popleft()


@functools.cache
def _helpers() -> ThreadPoolExecutor:
    """Threads beside the caller's own."""
    return ThreadPoolExecutor(os.cpu_count() or 1, "ntm-engine")


os.register_at_fork(after_in_child=_helpers.cache_clear)  # a forked process has the executor, but not its threads


def together(calls: list[Callable[[], None]], threads: int) -> None:
    """Each in a thread of its own, the first in this one; all in this one if there is to be no other."""
    others = [_helpers().submit(call) for call in calls[1:] if threads > 1]
    for call in calls[: 1 if threads > 1 else None]:
        call()
    for other in others:
        other.result()


@contextlib.contextmanager
def torch_alone() -> Iterator[None]:
    """Torch computes in the calling thread: its own threads spin for milliseconds after use, in the way of ours."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def shared(rooms: list[Any], places: int, kernel: Any, batch: int, *arguments: Any) -> None:
    """Run a kernel over all sequences, shared among as many threads as there are rooms.

    Each thread has so many places in the arrays with N in them, or one for each of its sequences if that is 0.
    """
    if len(rooms) == 1:
        return _flushed(kernel, 0, batch, 0, rooms[0], *arguments)
    bounds = [batch * i // len(rooms) for i in range(len(rooms) + 1)]
    parts = [(bounds[i], bounds[i + 1], places * i if places else bounds[i], room) for i, room in enumerate(rooms)]
    together([functools.partial(_flushed, kernel, *part, *arguments) for part in parts], len(parts))


_DENORMAL = np.float32(1e-45)


def _flushed(kernel: Any, *arguments: Any) -> None:
    """Run a kernel with denormal numbers taken as 0: arithmetic with them is some fifty times as slow."""
    flushes = bool(_DENORMAL * np.float32(1) == 0)
    torch.set_flush_denormal(True)
    try:
        kernel(*arguments)
    finally:
        torch.set_flush_denormal(flushes)


def multiply_all(products: list[tuple[Tensor, ...]]) -> None:
    """Products (left, right, result), all in this thread."""
    if torch.get_num_threads() != 1:  # a helper's own count is not the caller's, and decides how MKL cuts a product
        torch.set_num_threads(1)
    for left, right, out in products:
        torch.mm(left, right, out=out)


def in_parts(products: list[tuple[Tensor, ...]], batch: int) -> list[list[tuple[Tensor, ...]]]:
    """The same products, their results cut in two where that pays, whether or not there are two threads for it."""
    parts: list[list[tuple[Tensor, ...]]] = [[] for _ in range(1 if batch == 1 else 2)]
    for left, right, out in products:
        for i, part in enumerate(parts):
            rows = slice(len(out) * i // len(parts), len(out) * (i + 1) // len(parts))
            part.append((left[rows], right, out[rows]))
    return parts
