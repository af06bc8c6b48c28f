"""The machine as a whole: against its twin, its state, its limits, and what it refuses."""

import numpy as np
import pytest
import torch
import twins

from ntm import NTM, NTMConfig, Trace, memory
from ntm.model import State

SIZES = {"inputs": 3, "outputs": 2, "hidden": 6, "locations": 5, "width": 4}
KINDS = [
    {"controller": "lstm"},
    {"controller": "feedforward"},
    {"controller": "lstm", "layers": 2, "read_heads": 2, "write_heads": 3, "shifts": 5},
    {"controller": "feedforward", "layers": 3, "read_heads": 3, "write_heads": 2, "shifts": 1},
]


def machine(dtype=torch.float64, seed=0, scale=1.0, **sizes):
    torch.manual_seed(seed)
    model = NTM(NTMConfig(**{**SIZES, **sizes})).to(dtype)
    for weight in model.parameters():  # also those that start at zero
        weight.data.add_(0.3 * torch.randn_like(weight))
    for weight in model.output.parameters():
        weight.data.mul_(scale)
    return model


def sequence(steps=7, batch=2, dtype=torch.float64):
    return torch.randn(steps, batch, 3, generator=torch.Generator().manual_seed(1)).to(dtype)


@pytest.mark.parametrize("scale", twins.SCALES)
@pytest.mark.parametrize("sizes", KINDS)
def test_equals_its_twin(sizes, scale):
    model, inputs = machine(scale=scale, **sizes), sequence()
    with torch.no_grad():
        trace = model.trace(inputs)
    for b in range(2):
        twin = twins.ntm(model, inputs[:, b].numpy())
        for name, values in trace._asdict().items():
            twins.assert_near(values[:, b], twin[name], about=name)


@pytest.mark.parametrize("controller", ["lstm", "feedforward"])
def test_gradients(controller):
    model = machine(controller=controller, hidden=3, locations=3, width=2)
    inputs, weights = sequence(3, 1), list(model.parameters())

    def outputs(*values):
        names = [name for name, _ in model.named_parameters()]
        return torch.func.functional_call(model, dict(zip(names, values, strict=True)), (inputs,))[0]

    assert torch.autograd.gradcheck(outputs, weights)


def test_the_names_of_the_trace():
    names = "controller key beta gate shift gamma erase add content gated shifted weighting memory reads logits"
    assert Trace._fields == tuple(names.split())


@pytest.mark.parametrize("scale", twins.SCALES)
@pytest.mark.parametrize("sizes", KINDS)
@torch.no_grad()
def test_state_goes_in_and_comes_out(sizes, scale):
    model, inputs = machine(scale=scale, **sizes), sequence()
    whole, end = model(inputs)
    again, _ = model(inputs)
    first, state = model(inputs[:3])
    second, same_end = model(inputs[3:], state)
    one_by_one = torch.cat([model(inputs[:, b : b + 1])[0] for b in range(2)], dim=1)
    assert torch.equal(whole, again)
    twins.assert_near(torch.cat([first, second]), whole)
    twins.assert_near(same_end.memory, end.memory)
    twins.assert_near(one_by_one, whole)
    twins.assert_near(model.trace(inputs).logits, whole)


def test_what_was_read_reaches_the_controller():
    model, inputs = machine(read_heads=2), sequence(1)
    state = model.initial_state(2)
    before = model.step(inputs[0], state)[1].controller[0]
    for head in range(2):
        reads = state.reads.clone()
        reads[:, head] += 1
        after = model.step(inputs[0], state._replace(reads=reads))[1].controller[0]
        assert not torch.allclose(before, after)


def test_what_is_written_is_read_at_the_next_step():
    model, inputs = machine(), sequence(2)
    state = model.step(inputs[0], model.initial_state(2))[1]
    other = state._replace(memory=state.memory + 1)
    assert not torch.allclose(model.step(inputs[1], state)[1].reads, model.step(inputs[1], other)[1].reads)


def test_no_parameter_depends_on_the_number_of_locations():
    small, large = machine(locations=5), machine(locations=50)
    large.load_state_dict(small.state_dict())
    inputs = sequence()
    assert torch.equal(large(inputs)[0], small(inputs, small.initial_state(2, locations=50))[0])
    assert small(inputs, small.initial_state(2, locations=1))[0].shape == (7, 2, 2)


def test_a_memory_whose_locations_start_apart():
    model = machine(locations=5, memory_seed=3)
    first, more = model.initial_state(2), model.initial_state(1, locations=50)
    rows = first.memory[0]
    assert torch.equal(first.memory[1], rows) and torch.equal(more.memory[0, :5], rows)
    assert rows.abs().max() <= 0.5 and (torch.pdist(rows) > 0.1).all() and rows.dtype == torch.float64
    assert not torch.equal(machine(memory_seed=4).initial_state(1).memory[0], rows)
    # The stream that NumPy promises not to change, so that a saved machine finds its memory again.
    assert rows[0].tolist() == [0.050797902574575504, 0.20814782261810483, -0.20909526108705567, 0.010827605197663015]
    assert "memory" not in str(list(model.state_dict()))


def test_every_parameter_is_stored_once_and_has_a_gradient():
    model = machine(torch.float32)
    model.double()(sequence())[0].sum().backward()
    tensors = list(model.state_dict().values())
    assert len({t.data_ptr() for t in tensors}) == len(tensors) == len(list(model.parameters()))
    assert all(weight.grad.abs().sum() > 0 for weight in model.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("content", [0.0, 1.0])
def test_finite_at_the_extremes(dtype, content):
    # Three steps: at a memory of exact zeros the similarity has a slope of a million, and a product of many such
    # slopes is beyond float32 whatever the arithmetic.
    generator = torch.Generator().manual_seed(0)
    for controller in ("lstm", "feedforward"):
        model = machine(dtype, controller=controller, read_heads=2, write_heads=2)
        projection = model.heads.projection
        for _ in range(20):
            signs = torch.randint(-1, 2, projection.bias.shape, generator=generator)
            projection.bias.data = (1e6 * signs).to(dtype)
            state = model.initial_state(2)
            state = state._replace(memory=torch.full_like(state.memory, content).requires_grad_())
            logits, end = model(sequence(3, dtype=dtype), state)
            model.zero_grad()
            (logits.square().sum() + end.memory.square().sum()).backward()
            values = [logits, end.memory, end.weighting, state.memory.grad, *(p.grad for p in model.parameters())]
            assert all(v.isfinite().all() for v in values)


def test_finite_after_ten_thousand_steps():
    model = machine(torch.float32, hidden=3, locations=3, width=2)
    with torch.no_grad():
        logits, state = model(sequence(10_000, 1, torch.float32))
    assert logits.isfinite().all() and state.memory.isfinite().all()
    torch.testing.assert_close(state.weighting.sum(2), torch.ones(1, 2))


@pytest.mark.parametrize(
    "sizes, message",
    [
        ({"locations": 0}, "locations=0: must be a whole number of at least 1"),
        ({"width": -3}, "width=-3: must be"),
        ({"hidden": 2.5}, "hidden=2.5: must be"),
        ({"shifts": 4}, "shifts=4: must be odd"),
        ({"controller": "gru"}, "controller='gru': must be 'lstm' or 'feedforward'"),
        ({"memory_seed": -1}, "memory_seed=-1: must be a whole number from 0 to 4294967295"),
        ({"memory_seed": 2**32}, "memory_seed=4294967296: must be a whole number from 0"),
        ({"memory_seed": "1"}, "memory_seed='1': must be a whole number from 0"),
    ],
)
def test_sizes_that_no_machine_has(sizes, message):
    with pytest.raises(ValueError, match=message):
        NTMConfig(**sizes)


def test_an_unknown_size():
    with pytest.raises(TypeError, match="'heads'"):
        NTMConfig(heads=2)


def test_inputs_that_do_not_fit():
    model, inputs = machine(), sequence()
    with pytest.raises(ValueError, match=r"shape \(7, 2, 4\): expected \(T,B,3\)"):
        model(torch.zeros(7, 2, 4))
    with pytest.raises(ValueError, match=r"state.memory has shape \(1, 5, 4\): expected \(2, 5, 4\)|state.controller"):
        model(inputs, model.initial_state(1))
    state = model.initial_state(2)
    with pytest.raises(ValueError, match=r"state.memory has shape \(2, 5, 9\): expected \(2, 5, 4\)"):
        model(inputs, state._replace(memory=torch.zeros(2, 5, 9)))
    with pytest.raises(ValueError, match=r"state.reads has shape \(3, 1, 4\): expected \(2, 1, 4\)"):
        model(inputs, state._replace(reads=torch.zeros(3, 1, 4)))
    with pytest.raises(ValueError, match="batch=0, locations=5"):
        model.initial_state(0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_inputs_that_are_not_finite(value):
    model, inputs = machine(), sequence()
    inputs[4, 1, 0] = inputs[6, 0, 0] = value
    for run in (model, model.trace):
        with pytest.raises(ValueError, match="NaN or infinity, first at time step 4"):
            run(inputs)


def test_functions_are_called_through_their_modules(monkeypatch):
    model, inputs = machine(), sequence()
    monkeypatch.setattr(memory, "read", lambda content, w: torch.zeros(2, w.shape[1], 4, dtype=torch.float64))
    assert (model.trace(inputs).reads == 0).all()


def test_a_state_is_a_named_tuple():
    assert State._fields == ("controller", "reads", "weighting", "memory")


def test_sizes_of_any_integer_type():
    config = NTMConfig(np.int64(3), torch.tensor(2), hidden=np.uint8(5), locations=np.int32(9))
    assert config == NTMConfig(3, 2, hidden=5, locations=9) and type(config.locations) is int
