"""Interventions do what they say, to whom they say, and leave nothing behind."""

import pytest
import torch

from ntm import NTM, NTMConfig, addressing, memory, tasks
from ntm.book import interventions


@pytest.fixture
def machine():
    torch.manual_seed(0)
    return NTM(NTMConfig(hidden=7, locations=6, width=4, write_heads=2))


@pytest.fixture
def batch():
    return tasks.copy(3, 4, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("rows", [torch.tensor([1]), slice(1, 2), torch.tensor([False, True, False])])
def test_writes_are_withheld_from_the_rows_that_are_named(machine, batch, rows):
    before = machine.trace(batch.inputs)
    with pytest.raises(RuntimeError), interventions.without_writes(rows):
        during, (logits, _) = machine.trace(batch.inputs), machine(batch.inputs)
        raise RuntimeError
    assert (during.memory[:, 1] == NTM.INITIAL_MEMORY).all()
    assert torch.equal(during.memory[:, [0, 2]], before.memory[:, [0, 2]]) and during.memory[:, 0].std() > 1e-3
    assert torch.equal(logits, during.logits)  # forward is the same machine: the engine stands back
    assert torch.equal(machine.trace(batch.inputs).memory, before.memory)


def test_without_writes_the_heads_go_on(machine, batch):
    _, state = machine(batch.inputs[:6])
    with interventions.without_writes():
        trace = machine.trace(batch.inputs[6:], state)
    assert all(torch.equal(memory, state.memory) for memory in trace.memory)
    assert trace.reads.abs().max() > 1e-3 and (trace.weighting[0] != trace.weighting[-1]).any()


def test_without_content_nothing_is_found(machine, batch):
    before = machine.trace(batch.inputs)
    with interventions.without_content():
        during, (logits, _) = machine.trace(batch.inputs), machine(batch.inputs)
    torch.testing.assert_close(during.content, torch.full_like(before.content, 1 / 6))
    assert (before.content[-1] - 1 / 6).abs().max() > 1e-3
    assert torch.equal(logits, during.logits)
    assert torch.equal(machine.trace(batch.inputs).content, before.content)


def test_exchanged_keys_are_those_of_another_sequence(machine, batch):
    """The keys and strengths of the heads that are named, and the machine's own where the order is the usual."""
    before, order = machine.trace(batch.inputs), torch.tensor([2, 0, 1])
    with interventions.exchanged_keys(torch.arange(3), [0, 1]):
        assert torch.equal(machine.trace(batch.inputs).logits, before.logits)
    _, state = machine(batch.inputs[:3])
    step = machine.trace(batch.inputs[3:4], state)
    with interventions.exchanged_keys(order, [0]):
        during, (logits, _) = machine.trace(batch.inputs[3:4], state), machine(batch.inputs[3:4], state)
    assert torch.equal(during.content[0, :, 1:], step.content[0, :, 1:])  # the other heads are left alone
    found = addressing.content_weighting(state.memory, step.key[0, order, :1], step.beta[0, order, :1])
    torch.testing.assert_close(during.content[0, :, :1], found)
    assert (during.content[0, :, :1] - step.content[0, :, :1]).abs().max() > 1e-6
    assert torch.equal(during.key, step.key) and torch.equal(during.gate, step.gate)
    assert torch.equal(logits, during.logits) and torch.equal(machine.trace(batch.inputs).logits, before.logits)


def test_exchanged_places_are_those_of_the_other_step(machine, batch):
    """Until the first of the two steps nothing differs; there a step writes what is its own where the other would."""
    before, one, other = machine.trace(batch.inputs), torch.tensor([1, 2, 3]), torch.tensor([4, 2, 0])
    with interventions.exchanged_places(before, one, other):
        during = machine.trace(batch.inputs)
    for b, first, then in ((0, 1, 4), (2, 0, 3)):
        assert torch.equal(during.memory[:first, b], before.memory[:first, b])
        held = before.memory[first - 1, b : b + 1] if first else machine.initial_state(1).memory
        there = before.weighting[then, b : b + 1, 1:]
        written = memory.write(held, there, before.erase[first, b : b + 1], before.add[first, b : b + 1])
        torch.testing.assert_close(during.memory[first, b], written[0])
        assert (written[0] - before.memory[first, b]).abs().max() > 1e-5
    assert torch.equal(during.logits[:, 1], before.logits[:, 1])  # a step that changes places with itself
    with interventions.exchanged_places(before, one, other):
        assert torch.equal(machine(batch.inputs)[0], during.logits)  # the engine stands back
    assert torch.equal(machine.trace(batch.inputs).logits, before.logits)
