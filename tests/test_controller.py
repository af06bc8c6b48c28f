"""Both controllers as parts; as wholes they are compared with numpy in test_model.py."""

import pytest
import torch

from ntm.controller import LSTM, Feedforward


@pytest.mark.parametrize("kind, carried", [(Feedforward, 0), (LSTM, 2)])
@pytest.mark.parametrize("layers", [1, 2])
def test_output_and_state(kind, carried, layers):
    torch.manual_seed(0)
    controller = kind(3, 4, layers)
    state = controller.initial_state(2)
    output, after = controller(torch.randn(2, 3), state)
    assert output.shape == (2, 4)
    assert [tuple(s.shape) for s in state] == [tuple(s.shape) for s in after] == [(layers, 2, 4)] * carried


def test_the_lstm_remembers_and_the_feedforward_does_not():
    torch.manual_seed(0)
    x, earlier = torch.randn(1, 3), torch.randn(1, 3)
    for kind, remembers in [(LSTM, True), (Feedforward, False)]:
        controller = kind(3, 4, 1)
        fresh = controller.initial_state(1)
        _, state = controller(earlier, fresh)
        assert torch.equal(controller(x, state)[0], controller(x, fresh)[0]) != remembers
