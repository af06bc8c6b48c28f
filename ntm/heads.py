"""What the controller tells its heads: section 3.3 of the paper, one linear projection, split and squashed."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

# A ceiling for beta and gamma. No trained machine comes near it, and a softmax is decided long before; without it the
# slopes of a few steps in a row can multiply beyond float32.
LARGEST_STRENGTH = 1e3


class HeadParameters(NamedTuple):
    """The parameters of all heads for one step; read heads come first, then write heads.

    Only write heads erase and add. The ranges are the paper's; for key and add it states none, and both go
    through tanh here (see "Where we differ from the paper" in the book's chapter on the controller).
    """

    key: Tensor  # (B,H,M) in (-1,1), what to look for
    beta: Tensor  # (B,H,1) > 0, key strength
    gate: Tensor  # (B,H,1) in (0,1), how much of the content weighting to take
    shift: Tensor  # (B,H,S) a distribution over the offsets -(S//2) to S//2
    gamma: Tensor  # (B,H,1) >= 1, sharpening
    erase: Tensor  # (B,W,M) in (0,1)
    add: Tensor  # (B,W,M) in (-1,1)


def key_strength(raw: Tensor) -> Tensor:
    """The range of beta in equation 5: any number -> a positive one (softplus), at most LARGEST_STRENGTH.

    (B,H,1) -> (B,H,1)
    """
    return functional.softplus(raw).clamp_max(LARGEST_STRENGTH)


class Heads(nn.Module):
    """All heads of a machine: what the controller says (B,C) -> HeadParameters.

    ``hidden`` is C, ``width`` M, ``shifts`` S, ``read_heads`` R and ``write_heads`` W. One linear layer,
    ``projection``, makes H(M+S+3) numbers to be addressed by and 2WM to write.
    """

    def __init__(self, hidden: int, width: int, shifts: int, read_heads: int, write_heads: int) -> None:
        super().__init__()
        self.heads, self.write_heads, self.width = read_heads + write_heads, write_heads, width
        self.address_sizes = [width, 1, 1, shifts, 1]  # key, beta, gate, shift, gamma
        self.projection = nn.Linear(hidden, self.heads * sum(self.address_sizes) + write_heads * 2 * width)
        # Larger weights than torch's default, and no biases: heads that say something from the start are followed by
        # the controller sooner. What twenty seeds do with torch's own is in the book's chapter on speed.
        nn.init.xavier_uniform_(self.projection.weight)
        nn.init.zeros_(self.projection.bias)

    def forward(self, hidden: Tensor) -> HeadParameters:
        """Emit one step's parameters: (B,C) -> HeadParameters."""
        address, write = self.projection(hidden).split(
            [self.heads * sum(self.address_sizes), self.write_heads * 2 * self.width], dim=1
        )
        key, beta, gate, shift, gamma = address.unflatten(1, (self.heads, -1)).split(self.address_sizes, dim=2)
        erase, add = write.unflatten(1, (self.write_heads, -1)).chunk(2, dim=2)
        return HeadParameters(
            key=torch.tanh(key),
            beta=key_strength(beta),
            gate=torch.sigmoid(gate),
            shift=torch.softmax(shift, dim=2),
            gamma=1 + functional.softplus(gamma).clamp_max(LARGEST_STRENGTH),
            erase=torch.sigmoid(erase),
            add=torch.tanh(add),
        )
