"""The two controllers of section 3.4: feedforward, whose only memory is the tape, and LSTM, which has its own.

Both map (inputs (B,I), state) -> (output (B,C), state); the state is a tuple of tensors (L,B,C), empty for the
feedforward controller. Letters: see :mod:`ntm.model`; I = X + R*M is what the controller sees at a step, L its layers.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

ControllerState = tuple[Tensor, ...]


class Feedforward(nn.Module):
    """Layers of tanh units; nothing is carried from step to step. ``inputs`` is I, ``hidden`` C, ``layers`` L."""

    def __init__(self, inputs: int, hidden: int, layers: int) -> None:
        super().__init__()
        sizes = [inputs] + [hidden] * layers
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:], strict=False))

    def initial_state(self, batch: int) -> ControllerState:
        """Nothing to carry: an empty tuple."""
        return ()

    def forward(self, inputs: Tensor, state: ControllerState) -> tuple[Tensor, ControllerState]:
        """One step: (B,I), () -> (B,C), ()."""
        for layer in self.layers:
            inputs = torch.tanh(layer(inputs))
        return inputs, state


class Cell(nn.LSTMCell):
    """An LSTM cell: torch's own, or its equations where torch has no rule for that (``torch.vmap``)."""

    def forward(self, inputs: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """One step: (B,I), hidden and cell (B,C) -> hidden and cell (B,C)."""
        if torch.compiler.is_compiling() or not torch._C._are_functorch_transforms_active():
            return super().forward(inputs, state)
        hidden, cell = state
        gates = functional.linear(inputs, self.weight_ih, self.bias_ih)
        i, f, g, o = (gates + functional.linear(hidden, self.weight_hh, self.bias_hh)).chunk(4, 1)
        cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        return o.sigmoid() * cell.tanh(), cell


class LSTM(nn.Module):
    """Stacked LSTM cells (Hochreiter and Schmidhuber, 1997), whose first hidden and cell states are learned.

    ``inputs`` is I, ``hidden`` C, ``layers`` L.
    """

    def __init__(self, inputs: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.cells = nn.ModuleList(Cell(inputs if i == 0 else hidden, hidden) for i in range(layers))
        self.initial_hidden = nn.Parameter(torch.zeros(layers, 1, hidden))
        self.initial_cell = nn.Parameter(torch.zeros(layers, 1, hidden))

    def initial_state(self, batch: int) -> ControllerState:
        """The learned hidden and cell state of every layer, (L,B,C) each."""
        return self.initial_hidden.expand(-1, batch, -1), self.initial_cell.expand(-1, batch, -1)

    def forward(self, inputs: Tensor, state: ControllerState) -> tuple[Tensor, ControllerState]:
        """One step: (B,I), two of (L,B,C) -> (B,C), two of (L,B,C)."""
        hidden, cell = list(state[0]), list(state[1])
        for i, lstm_cell in enumerate(self.cells):
            hidden[i], cell[i] = lstm_cell(inputs, (hidden[i], cell[i]))
            inputs = hidden[i]
        return inputs, (torch.stack(hidden), torch.stack(cell))
