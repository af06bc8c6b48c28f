"""The paper's baseline: stacked LSTM layers without a memory beside them (Table 3).

The convention was recovered from the parameter counts of Table 3, four of whose five rows it meets exactly: no
peepholes, one bias for each gate, the input connected to every layer, every layer connected to the output, first
hidden and cell states learned. The fifth row (priority sort) prints 384,424 where this gives 348,424: two digits are
swapped. Letters: see :mod:`ntm.model`; here L is 3 and C the "network size".
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ntm import checks, model


@dataclass(frozen=True)
class LSTMConfig:
    """Sizes of the baseline; the defaults are those of the copy task in the paper's Table 3.

    Raises ValueError for sizes that no network can have.
    """

    inputs: int = 10  # X
    outputs: int = 8  # Y; the printed count needs 9, though the paper's Figure 6 draws 8
    hidden: int = 256  # C
    layers: int = 3  # L

    def __post_init__(self) -> None:
        """Refuse sizes that no network can have, before anything is built."""
        for name, value in vars(self).items():
            object.__setattr__(self, name, checks.whole(name, value))


class LSTMState(NamedTuple):
    """What the layers carry from one step to the next."""

    hidden: Tensor  # (L,B,C)
    cell: Tensor  # (L,B,C)

    def detach(self) -> "LSTMState":
        """The same numbers without their past: for back-propagation that ends here."""
        return LSTMState(self.hidden.detach(), self.cell.detach())


class LSTM(nn.Module):
    """The baseline, of the sizes in its configuration: whole sequences at a time through torch's fused layers."""

    def __init__(self, config: LSTMConfig) -> None:
        super().__init__()
        self.config = config
        # Every layer sees a constant 1 beside its inputs: its weights are the one bias of each gate.
        self.layers = nn.ModuleList(
            nn.LSTM(config.inputs + 1 + (config.hidden if i else 0), config.hidden, bias=False)
            for i in range(config.layers)
        )
        self.output = nn.Linear(config.layers * config.hidden, config.outputs)
        self.initial_hidden = nn.Parameter(torch.zeros(config.layers, 1, config.hidden))
        self.initial_cell = nn.Parameter(torch.zeros(config.layers, 1, config.hidden))

    def initial_state(self, batch: int) -> LSTMState:
        """The learned state before the first step, for B sequences; raises ValueError for fewer than one."""
        if batch < 1:
            raise ValueError(f"batch={batch}: must be at least 1")
        shape = (-1, batch, -1)
        return LSTMState(self.initial_hidden.expand(shape), self.initial_cell.expand(shape))

    def forward(self, inputs: Tensor, state: LSTMState | None = None) -> tuple[Tensor, LSTMState]:
        """A whole sequence: (T,B,X) -> logits (T,B,Y) and the state after it, to go on from.

        Raises ValueError, naming what is there and what is expected, for other shapes, types or devices, and for NaN or
        infinity in the inputs.
        """
        inputs = model.check_inputs(inputs, self.config.inputs, self.initial_hidden)
        expected = self.initial_state(inputs.shape[1])
        if state is None:
            state = expected
        model.check_state(state, expected, self.initial_hidden)
        state = LSTMState(*state)
        external = torch.cat([inputs, torch.ones_like(inputs[:, :, :1])], dim=2)
        outputs: list[Tensor] = []
        hidden, cell = [], []
        for i, layer in enumerate(self.layers):
            seen = torch.cat([external, outputs[-1]], dim=2) if i else external
            output, (h, c) = layer(seen, (state.hidden[i : i + 1].contiguous(), state.cell[i : i + 1].contiguous()))
            outputs.append(output)
            hidden.append(h)
            cell.append(c)
        return self.output(torch.cat(outputs, dim=2)), LSTMState(torch.cat(hidden), torch.cat(cell))
