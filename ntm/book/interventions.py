"""Interventions: a machine is changed while it runs, to see what depends on what.

A change of the state needs no more than :meth:`ntm.model.NTM.step`, which takes a state and returns the next. Here is
what happens inside a step.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from unittest import mock

import torch
from torch import Tensor

from ntm import addressing, engine, memory
from ntm.model import Trace


@contextmanager
def without_writes(rows: Tensor | slice = slice(None)) -> Iterator[None]:
    """Nothing is written inside this block; the write heads move as they will, and the read heads read.

    ``rows`` are those of the batch that it is done to: numbers, or true and false (B); by default all.
    """

    def access(held: Tensor, writing: Tensor, erase: Tensor, add: Tensor, reading: Tensor) -> tuple[Tensor, Tensor]:
        erase, add = erase.clone(), add.clone()
        erase[rows] = add[rows] = 0
        written = memory.write(held, writing, erase, add)
        return written, memory.read(written, reading)

    with engine.literal(), mock.patch.object(memory, "write_and_read", access):
        yield


@contextmanager
def without_content() -> Iterator[None]:
    """Inside this block no head finds anything by content: every content weighting is the same at all locations."""

    def even(held: Tensor, key: Tensor, beta: Tensor) -> Tensor:
        return (beta * 0).expand(-1, -1, held.shape[1]).softmax(2)

    with engine.literal(), mock.patch.object(addressing, "content_weighting", even):
        yield


@contextmanager
def exchanged_keys(order: Tensor, heads: Sequence[int]) -> Iterator[None]:
    """Inside this block these heads of each sequence look for what those of another one would look for.

    ``order`` (B) holds for each row of the batch that whose keys and key strengths it gets; all else stays its own.
    """
    content_weighting = addressing.content_weighting

    def exchanged(held: Tensor, key: Tensor, beta: Tensor) -> Tensor:
        theirs = torch.zeros(key.shape[1], 1, dtype=torch.bool)
        theirs[list(heads)] = True
        return content_weighting(held, *(torch.where(theirs, x[order], x) for x in (key, beta)))

    with engine.literal(), mock.patch.object(addressing, "content_weighting", exchanged):
        yield


@contextmanager
def exchanged_places(trace: Trace, one: Tensor, other: Tensor) -> Iterator[None]:
    """Inside this block, for one call of a machine, two steps of each sequence write each to the other's place.

    ``trace`` is of the same inputs and undisturbed. At step ``one`` (B) the write heads get the weightings that they
    had at step ``other`` (B), and the reverse. What they erase and add stays that of the step, and so does what the
    heads go on from.
    """
    each, step = torch.arange(len(one)), 0

    def access(held: Tensor, writing: Tensor, erase: Tensor, add: Tensor, reading: Tensor) -> tuple[Tensor, Tensor]:
        nonlocal step
        for here, there in ((one, other), (other, one)):
            theirs = trace.weighting[there, each][:, -writing.shape[1] :]
            writing = theirs.where((here == step)[:, None, None], writing)
        step += 1
        written = memory.write(held, writing, erase, add)
        return written, memory.read(written, reading)

    with engine.literal(), mock.patch.object(memory, "write_and_read", access):
        yield
