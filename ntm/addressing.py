"""Where a head looks: section 3.3 of the paper, equations 5 to 9, in the order of its Figure 2.

Pure functions. Letters: B batch, H heads, N locations, M width of a location, S allowed shifts (see
:mod:`ntm.model`). A weighting is a distribution over the N locations: each entry in [0,1], sum 1.
"""

from typing import NamedTuple

import torch
from torch import Tensor

# Added to the product of two norms, so that a row of zeros or a key of zeros has similarity 0 instead of 0/0.
# Rows that hold something have norms near 1, where 1e-6 is still within reach of float32's spacing (1e-7).
SIMILARITY_EPSILON = 1e-6


class Address(NamedTuple):
    """The weighting of every head, and what it came from: the boxes of the paper's Figure 2."""

    content: Tensor  # (B,H,N) equation 5
    gated: Tensor  # (B,H,N) equation 7
    shifted: Tensor  # (B,H,N) equation 8
    weighting: Tensor  # (B,H,N) equation 9


def address(
    memory: Tensor, previous: Tensor, key: Tensor, beta: Tensor, gate: Tensor, offsets: Tensor, gamma: Tensor
) -> Address:
    """Equations 5 to 9 in a row, from what the memory holds and where the heads were to where they go.

    (B,N,M), (B,H,N), (B,H,M), (B,H,1), (B,H,1), (B,H,S), (B,H,1) -> four of (B,H,N)
    """
    content = content_weighting(memory, key, beta)
    gated = interpolate(content, previous, gate)
    shifted = shift(gated, offsets)
    return Address(content, gated, shifted, sharpen(shifted, gamma))


def cosine_similarity(memory: Tensor, key: Tensor) -> Tensor:
    """Equation 6: the cosine of the angle between each key and each row of memory; 0 where either is zero.

    (B,N,M), (B,H,M) -> (B,H,N)
    """
    norms = key.norm(dim=2).unsqueeze(2) * memory.norm(dim=2).unsqueeze(1)
    return key @ memory.transpose(1, 2) / (norms + SIMILARITY_EPSILON)


def content_weighting(memory: Tensor, key: Tensor, beta: Tensor) -> Tensor:
    """Equation 5: softmax over locations of the similarity to the key, times the key strength beta > 0.

    (B,N,M), (B,H,M), (B,H,1) -> (B,H,N)
    """
    return torch.softmax(beta * cosine_similarity(memory, key), dim=2)


def interpolate(content: Tensor, previous: Tensor, gate: Tensor) -> Tensor:
    """Equation 7: blend by the gate in (0,1): 1 takes the content weighting, 0 the previous weighting.

    (B,H,N), (B,H,N), (B,H,1) -> (B,H,N)
    """
    return gate * content + (1 - gate) * previous


def shift(weighting: Tensor, shift: Tensor) -> Tensor:
    """Equation 8: circular convolution; weight on offset +1 moves the focus from location i to i+1, modulo N.

    (B,H,N), (B,H,S) for the offsets -(S//2) to S//2 -> (B,H,N)
    """
    reach = shift.shape[2] // 2
    moved = torch.stack([weighting.roll(offset, 2) for offset in range(-reach, reach + 1)], dim=3)
    return (moved @ shift.unsqueeze(3)).squeeze(3)


def sharpen(weighting: Tensor, gamma: Tensor) -> Tensor:
    """Equation 9: raise to the power gamma >= 1 and normalise.

    Computed as softmax(gamma log w), which is the same number but cannot become 0/0 when every w**gamma
    underflows. Entries of exactly 0 stay below 2e-38 and pass no gradient.

    (B,H,N), (B,H,1) -> (B,H,N)
    """
    tiny = torch.finfo(weighting.dtype).tiny
    return torch.softmax(gamma * weighting.clamp_min(tiny).log(), dim=2)
