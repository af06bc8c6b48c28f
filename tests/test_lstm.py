"""The baseline: Table 3's counts, its twin, its state."""

import numpy as np
import pytest
import torch
import twins

from ntm import LSTM, LSTMConfig, paper

SIZES = {  # inputs, outputs, hidden
    "copy": (10, 9, 256),
    "repeat copy": (8, 7, 512),
    "associative recall": (8, 6, 256),
    "n-grams": (1, 1, 128),
    "priority sort": (10, 8, 128),
}


@pytest.mark.parametrize("row", paper.table(3), ids=lambda row: row["task"])
def test_the_parameter_counts_of_table_3(row):
    inputs, outputs, hidden = SIZES[row["task"]]
    count = sum(p.numel() for p in LSTM(LSTMConfig(inputs, outputs, hidden)).parameters())
    if row["task"] == "priority sort":  # the printed number has two digits swapped
        assert (count, row["parameters"]) == (348_424, "384424")
    else:
        assert count == int(row["parameters"])


def small(scale=1.0):
    torch.manual_seed(0)
    model = LSTM(LSTMConfig(3, 2, 5)).double()
    for weight in model.parameters():
        weight.data.add_(0.3 * torch.randn_like(weight))
    for weight in model.output.parameters():
        weight.data.mul_(scale)
    return model, torch.randn(6, 2, 3, dtype=torch.float64)


@pytest.mark.parametrize("scale", twins.SCALES)
def test_equals_its_twin(scale):
    model, inputs = small(scale)
    with torch.no_grad():
        logits, _ = model(inputs)
    for b in range(2):
        twin = twins.stacked_lstm(model, inputs[:, b].numpy())
        twins.assert_near(logits[:, b], twin)


@pytest.mark.parametrize("scale", twins.SCALES)
def test_two_halves_are_the_whole(scale):
    model, inputs = small(scale)
    with torch.no_grad():
        whole, _ = model(inputs)
        first, state = model(inputs[:2])
        twins.assert_near(torch.cat([first, model(inputs[2:], state)[0]]), whole)


def test_sizes_of_any_integer_type():
    assert LSTMConfig(np.int64(3), torch.tensor(2), np.uint8(5)) == LSTMConfig(3, 2, 5)
    assert {type(value) for value in vars(LSTMConfig(np.int64(3))).values()} == {int}


@pytest.mark.parametrize("value", [0, -1, 2.0, True, "5", None])
def test_sizes_that_cannot_be(value):
    with pytest.raises(ValueError, match="hidden=.*: must be a whole number of at least 1"):
        LSTMConfig(hidden=value)


def test_what_it_refuses():
    model, inputs = small()
    with pytest.raises(ValueError, match=r"expected \(T,B,3\)"):
        model(inputs[:, :, :2])
    with pytest.raises(ValueError, match=r"state.hidden has shape \(3, 1, 5\): expected \(3, 2, 5\)"):
        model(inputs, model.initial_state(1))
    with pytest.raises(ValueError, match="batch=0"):
        model.initial_state(0)
