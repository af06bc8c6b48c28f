"""Other starts than a machine's own: what is there at the first step, and what learns."""

import pytest
import torch

from ntm import NTM, NTMConfig, engine, tasks, training
from ntm.book.starts import MEMORIES, STARTS, WEIGHTINGS, Started
from ntm.model import random_memory

SIZES = NTMConfig(hidden=7, locations=6, width=4)
PLAN = training.TrainingConfig(seed=3, updates=3, batch=2, report_every=1, train_locations=None)


def started(memory, weighting, plan=PLAN):
    torch.manual_seed(0)
    return Started(NTM(SIZES), plan, memory, weighting)


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_a_start_is_what_it_is_called(memory, weighting):
    for locations in (None, 4):
        state = started(memory, weighting).state(2, locations)
        n = locations or 6
        expected = torch.full((n, 4), 1e-6) if memory == "constant" else random_memory(n, 4, 3)
        assert torch.equal(state.memory, expected.to(state.memory).expand(2, n, 4))
        first = torch.eye(n)[0] if weighting == "one" else torch.full((n,), 1 / n)
        torch.testing.assert_close(state.weighting, first.expand(2, 2, n))


@pytest.mark.parametrize("memory, weighting", STARTS.values())
def test_what_is_learned_changes_and_nothing_else_does(memory, weighting):
    machine = started(memory, weighting)
    before = {name: value.detach().clone() for name, value in machine.named_parameters()}
    assert engine.why_literal(machine.machine) == engine.why_literal(NTM(SIZES))  # it is compiled, where any is
    training.train(machine, tasks.copy, PLAN, progress=False)
    changed = {name for name, value in machine.named_parameters() if not torch.equal(value, before[name])}
    assert ("rows" in changed) == (memory == "learned")
    # Where all locations are alike, no first weighting is better than another, and there is nothing to learn.
    moved = float((machine.scores.detach() - before["scores"]).abs().max())
    assert (moved > 1e-4) == (weighting == "learned" and memory != "constant")
    assert "machine.output.weight" in changed


def test_the_usual_start_is_the_machines_own():
    machine, batch = started("constant", "one").eval(), tasks.copy(2, 3, torch.Generator().manual_seed(0))
    assert torch.equal(machine(batch.inputs)[0], machine.machine(batch.inputs)[0])
    state = machine.machine.initial_state(2, 9)
    assert torch.equal(machine(batch.inputs, state)[0], machine.machine(batch.inputs, state)[0])


def test_the_number_of_locations_is_drawn_as_the_plan_says():
    plan = training.TrainingConfig(seed=3, train_locations=(4, 5), own_every=3)
    machine, batch = started("random", "one", plan), tasks.copy(2, 1, torch.Generator().manual_seed(0))
    seen = [machine(batch.inputs)[1].memory.shape[1] for _ in range(12)]
    assert [n == 6 for n in seen] == [i % 3 == 0 for i in range(1, 13)] and set(seen) == {4, 5, 6}
    machine.eval()
    assert machine(batch.inputs)[1].memory.shape[1] == 6


@pytest.mark.parametrize(
    "memory, weighting, named", [("zero", "one", "memory='zero'"), ("random", "x", "weighting='x'")]
)
def test_an_unknown_start_is_refused(memory, weighting, named):
    with pytest.raises(ValueError, match=named):
        started(memory, weighting)
