"""Machines side by side train as they would alone."""

import pytest
import torch
import twins

from ntm import NTM, NTMConfig, bugs, tasks, training
from ntm.book.side_by_side import SideBySide

SEEDS = (3, 4)
RECIPE = training.TrainingConfig(updates=3, report_every=1, train_locations=(24, 24))
LOSSES = (training.cross_entropy, training.huber)


def built(**sizes):
    """In float64, where what is only the rounding of a gradient is far below the epsilon that Adam divides by."""
    machines = []
    for seed in SEEDS:
        torch.manual_seed(seed)
        machines.append(NTM(NTMConfig(locations=25, hidden=5, **sizes)).double())
    return machines


def copies(batch, generator):
    return tasks.Batch(*(values.double() for values in tasks.copy(batch, generator=generator)))


@pytest.mark.parametrize("names", [(), ("erase_dropped", "states_of_rows_trained"), bugs.VERSIONS["1 February"]])
def test_side_by_side_is_as_good_as_alone(names):
    """Three updates of two machines against the training loop's own, on the same batches."""
    batches = []
    with bugs.present(*names):
        outputs = tasks.copy(1, 1).targets.shape[2]

        def draw(batch, generator):
            batches.append(copies(batch, generator))
            return batches[-1]

        together = SideBySide(built(outputs=outputs), draw, RECIPE, LOSSES)
        costs = [together.update(number) for number in (1, 2, 3)]
        for i, (machine, loss) in enumerate(zip(built(outputs=outputs), LOSSES, strict=True)):
            drawn = iter([tasks.Batch(*(values.chunk(2, dim=1)[i] for values in batch)) for batch in batches])
            log = training.train(machine, lambda *_, drawn=drawn, **__: next(drawn), RECIPE, loss, progress=False)
            assert [row.loss for row in log] == pytest.approx([float(cost[0, i]) for cost in costs], rel=1e-9)
            assert log[-1].wrong_bits == pytest.approx(float(costs[-1][2, i]))
            for a, b in zip(machine.parameters(), together.machines[i].parameters(), strict=True):
                twins.assert_near(a.detach(), b.detach(), 1e-9)


def test_other_machines_take_over():
    together = SideBySide(built(), copies, RECIPE, LOSSES)
    together.update(1)
    again = built()
    for machine, before in zip(again, together.machines, strict=True):
        machine.load_state_dict(before.state_dict())
    moments = [state["exp_avg"].clone() for state in together.optimizers[1].state.values()]
    together.replace(again)
    assert together.machines == again
    for state, moment in zip(together.optimizers[1].state.values(), moments, strict=True):
        assert torch.equal(state["exp_avg"], moment)
    before = again[1].heads.projection.weight.clone()
    together.update(2)
    assert not torch.equal(again[1].heads.projection.weight, before)
