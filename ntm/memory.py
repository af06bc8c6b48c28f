"""Reading and writing the memory: sections 3.1 and 3.2 of the paper, equations 2 to 4.

Pure functions. Letters: B batch, H heads, N locations, M width of a location (see :mod:`ntm.model`).
"""

import math

from torch import Tensor


def read(memory: Tensor, weighting: Tensor) -> Tensor:
    """Equation 2: a head's read vector is the average of the rows of memory under its weighting.

    (B,N,M), (B,H,N) -> (B,H,M)
    """
    return weighting @ memory


def apply_erase(memory: Tensor, weighting: Tensor, erase: Tensor) -> Tensor:
    """Equation 3: scale every cell by one minus weighting times erase; the factors of several heads multiply.

    (B,N,M), (B,H,N), (B,H,M) -> (B,N,M)
    """
    kept = 1 - weighting.unsqueeze(3) * erase.unsqueeze(2)  # (B,H,N,M)
    return math.prod(kept.unbind(1), start=memory)


def apply_add(memory: Tensor, weighting: Tensor, add: Tensor) -> Tensor:
    """Equation 4: add a head's add vector to each row in proportion to its weighting; several heads sum.

    (B,N,M), (B,H,N), (B,H,M) -> (B,N,M)
    """
    return memory + weighting.transpose(1, 2) @ add


def write(memory: Tensor, weighting: Tensor, erase: Tensor, add: Tensor) -> Tensor:
    """Equations 3 and 4: all heads erase, then all heads add, so the order of the heads does not matter.

    (B,N,M), (B,H,N), (B,H,M), (B,H,M) -> (B,N,M)
    """
    return apply_add(apply_erase(memory, weighting, erase), weighting, add)


def write_and_read(
    memory: Tensor, writing: Tensor, erase: Tensor, add: Tensor, reading: Tensor
) -> tuple[Tensor, Tensor]:
    """A step's access: write, then read what is there now, as the indices of equations 2 to 4 have it.

    (B,N,M), (B,W,N), (B,W,M), (B,W,M), (B,R,N) -> memory after the write (B,N,M), reads (B,R,M)
    """
    written = write(memory, writing, erase, add)
    return written, read(written, reading)
