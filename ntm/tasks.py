"""The tasks of section 4 of the paper, as batches drawn from a generator.

Letters: T time steps, B sequences, X input channels, Y output channels (see :mod:`ntm.model`).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ntm import checks

LARGEST_LENGTH = 100_000  # a guard against a slip of the keyboard: such a copy batch already takes gigabytes


class Batch(NamedTuple):
    """Sequences to learn from."""

    inputs: Tensor  # (T,B,X)
    targets: Tensor  # (T,B,Y), 0 where the mask is 0
    mask: Tensor  # (T,B), 1 at the steps whose outputs count


Task = Callable[..., Batch]


def check_range(name: str, value: int | tuple[int, int], least: int = 1, most: int = LARGEST_LENGTH) -> tuple[int, int]:
    """One whole number or a range (both ends included) as a range; refuse what is empty or out of bounds."""
    try:
        low, high = (
            checks.whole(name, n, least, most) for n in (value if isinstance(value, tuple | list) else [value] * 2)
        )
        if low > high:
            raise ValueError
    except ValueError:
        raise ValueError(
            f"{name}={value!r}: must be {least} to {most}, and the least no more than the most (whole numbers)"
        ) from None
    return low, high


def copy(
    batch: int,
    length: int | tuple[int, int] = (1, 20),
    generator: torch.Generator | None = None,
    bits: int = 8,
) -> Batch:
    """The copy task (section 4.1): see random vectors between two flags, then recall them from nothing.

    ``length`` is the number of vectors, or the range from which one is drawn for the whole batch, both ends
    included. ``batch`` is B. T = 2 length + 2; X = bits + 2, the last two the start and the end flag, as in the
    paper's Figure 6; Y = bits. Raises ValueError for sizes that no batch can have. One sequence of three vectors
    against time, with only three bits:

        time step     0 1 2 3 4 5 6 7
        bit 0         . 1 . 1 . . . .
        bit 1         . . . 1 . . . .
        bit 2         . 1 1 . . . . .
        start         1 . . . . . . .
        end           . . . . 1 . . .

        target 0      . . . . . 1 . 1
        target 1      . . . . . . . 1
        target 2      . . . . . 1 1 .
        mask          . . . . . 1 1 1
    """
    low, high = check_range("length", length)
    if batch < 1 or bits < 1:
        raise ValueError(f"batch={batch}, bits={bits}: both must be at least 1")
    size = int(torch.randint(low, high + 1, (), generator=generator))
    vectors = torch.randint(0, 2, (size, batch, bits), generator=generator).float()
    inputs = torch.zeros(2 * size + 2, batch, bits + 2)
    targets = torch.zeros(2 * size + 2, batch, bits)
    mask = torch.zeros(2 * size + 2, batch)
    inputs[0, :, bits] = 1
    inputs[1 : size + 1, :, :bits] = vectors
    inputs[size + 1, :, bits + 1] = 1
    targets[size + 2 :] = vectors
    mask[size + 2 :] = 1
    return Batch(inputs, targets, mask)


TASKS: dict[str, Task] = {"copy": copy}
