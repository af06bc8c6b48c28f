"""Costs, losses, optimisers, the loop, and what it says when a number is not finite."""

import functools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from ntm import NTM, NTMConfig, tasks, training
from ntm.training import GravesRMSProp, Row, TrainingConfig

TASK = functools.partial(tasks.copy, length=(1, 3), bits=2)
SIZES = NTMConfig(inputs=4, outputs=2, hidden=5, locations=4, width=3)
QUICK = TrainingConfig(updates=6, batch=2, report_every=4)


def machine(seed=0):
    torch.manual_seed(seed)
    return NTM(SIZES)


def train(model, config=QUICK, task=TASK, **kwargs):
    return training.train(model, task, config, progress=False, **kwargs)


def test_costs_on_known_numbers():
    _, targets, mask = tasks.copy(3, length=5)
    silent = torch.zeros_like(targets)
    assert training.bits_per_sequence(silent, targets, mask) == pytest.approx(40)
    assert training.wrong_bits(silent, targets, mask) == targets.sum() / 3
    certain = 100 * (2 * targets - 1)
    assert training.bits_per_sequence(certain, targets, mask) == pytest.approx(0)
    certain[-1, 0] *= -1  # all eight bits of one vector wrong, in one sequence of three
    assert training.wrong_bits(certain, targets, mask) == pytest.approx(8 / 3)
    certain[0] = 1e9  # where nothing counts
    assert training.wrong_bits(certain, targets, mask) == pytest.approx(8 / 3)


def test_losses_on_known_numbers():
    _, targets, mask = tasks.copy(3, length=5)
    silent = torch.zeros_like(targets)
    assert training.cross_entropy(silent, targets, mask).item() == pytest.approx(math.log(2))
    assert training.huber(silent, targets, mask).item() == pytest.approx(0.5 * 0.5**2)
    assert training.huber(silent, targets, mask, delta=0.1).item() == pytest.approx(0.1 * (0.5 - 0.05))


def test_graves_rmsprop_is_the_formula():
    rng, weight = np.random.default_rng(0), torch.nn.Parameter(torch.randn(4, dtype=torch.float64))
    optimizer = GravesRMSProp([weight], lr=0.01)
    w, n, m, d = weight.detach().numpy().copy(), 0.0, 0.0, 0.0
    for _ in range(20):
        g = rng.normal(size=4)
        weight.grad = torch.tensor(g)
        optimizer.step()
        n, m = 0.95 * n + 0.05 * g**2, 0.95 * m + 0.05 * g
        d = 0.9 * d - 0.01 * g / np.sqrt(n - m**2 + 1e-4)
        w = w + d
    np.testing.assert_allclose(weight.detach().numpy(), w, atol=1e-12, rtol=0)


def test_clipping():
    model = torch.nn.Linear(2, 1, bias=False)
    for clip, expected in [("norm", [[6.0, 8.0]]), ("value", [[10.0, 10.0]])]:
        model.weight.grad = torch.tensor([[30.0, 40.0]])
        assert training.clip_gradients(model, TrainingConfig(clip=clip, clip_at=10.0))
        torch.testing.assert_close(model.weight.grad, torch.tensor(expected))
    model.weight.grad = torch.tensor([[math.inf, 1.0]])
    assert not training.clip_gradients(model, TrainingConfig())


def test_the_learning_rate_halves():
    config = TrainingConfig(learning_rate=0.1, halve_every=100)
    assert config.learning_rate_at(200) == pytest.approx(0.025)
    assert replace(config, halve_every=0).learning_rate_at(200) == 0.1


def test_the_locations_of_a_batch():
    def of(config):
        generator = torch.Generator().manual_seed(0)
        return [config.locations_at(update, generator) for update in range(1, 31)]

    drawn = of(TrainingConfig(train_locations=(5, 7), own_every=3))
    assert [update for update, n in enumerate(drawn, 1) if n is None] == list(range(3, 31, 3))
    assert set(drawn) == {5, 6, 7, None}
    assert set(of(TrainingConfig(train_locations=(5, 7), own_every=0))) == {5, 6, 7}
    assert set(of(TrainingConfig(train_locations=None))) == {None}


@pytest.mark.parametrize("config", [QUICK, replace(training.PAPER, updates=6, report_every=4)])
def test_the_log_holds_means(config):
    rows = train(machine(), replace(config, report_every=1))
    log = train(machine(), config)
    assert [(r.update, r.sequences) for r in log] == [(4, 4 * config.batch), (6, 6 * config.batch)]
    for row, part in zip(log, (rows[:4], rows[4:]), strict=True):
        for name in ("loss", "bits_per_sequence", "wrong_bits"):
            assert getattr(row, name) == pytest.approx(np.mean([getattr(r, name) for r in part]))


def test_training_is_the_same_twice_and_lowers_the_cost():
    config = replace(QUICK, updates=150, report_every=50, learning_rate=0.01)
    one, two = machine(), machine()
    log = train(one, config)
    assert log[-1].loss < log[0].loss
    train(two, config)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_report_sees_every_row_and_can_end_training():
    seen = []

    def report(log: list[Row]) -> bool:
        seen.append(log[-1].update)
        return len(seen) == 2

    log = train(machine(), replace(QUICK, updates=100, report_every=3), report=report)
    assert seen == [3, 6] == [row.update for row in log]


def test_a_bar_that_ends_early_is_full_and_says_so(capsys):
    training.train(machine(), TASK, replace(QUICK, updates=100, report_every=3), report=lambda log: True)
    last = capsys.readouterr().err.splitlines()[-1].split("\r")[-1]
    assert last.startswith("ended early: 100%") and " 3/3 " in last


def poisoned_at(update, value=math.nan):
    """A loss that is not finite at one update."""
    calls = []

    def loss(*args):
        calls.append(0)
        return training.cross_entropy(*args) * (value if len(calls) == update else 1)

    return loss


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_before_the_update(value):
    model, reference = machine(), machine()
    train(reference, replace(QUICK, updates=2), loss=poisoned_at(3, value))  # any loss but ours goes the same way
    with pytest.raises(training.NonFiniteError, match="update 3 is not finite") as error:
        train(model, loss=poisoned_at(3, value))
    assert error.value.update == 3 and error.value.batch.inputs.shape[1] == 2
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), reference.parameters(), strict=True))


def test_where_it_began():
    model = machine()
    model.output.bias.data[0] = math.nan
    with pytest.raises(training.NonFiniteError, match="update 1 .* began in the parameter output.bias"):
        train(model)
    batch, model = TASK(2), machine()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ntm.addressing.sharpen", lambda w, gamma: w / 0)
        assert training.where_it_began(model, batch) == "weighting at time step 0"
    assert training.where_it_began(model, batch) == "the loss"


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"updates": 0}, "updates=0: must be a whole number of at least 1"),
        ({"batch": -1}, "batch=-1: must be"),
        ({"seed": -1}, "seed=-1: must be"),
        ({"own_every": -1}, "own_every=-1: must be"),
        ({"learning_rate": 0.0}, "learning_rate=0.0: must be positive and finite"),
        ({"clip_at": math.nan}, "clip_at=nan: must be positive and finite"),
        ({"optimizer": "sgd"}, "optimizer='sgd': must be one of adam, rmsprop"),
        ({"clip": "all"}, "clip='all': must be one of norm, value"),
    ],
)
def test_training_that_cannot_be(fields, message):
    with pytest.raises(ValueError, match=message):
        TrainingConfig(**fields)


def test_an_unknown_field():
    with pytest.raises(TypeError, match="'epochs'"):
        TrainingConfig(epochs=3)


def test_evaluate_counts_all_lengths_and_refuses_what_cannot_be():
    model = machine()
    score = training.evaluate(model, TASK, [1, 2, 3], sequences=5)
    assert score.sequences == 15 and score == training.evaluate(model, TASK, [1, 2, 3], sequences=5)
    assert score != training.evaluate(model, TASK, [1, 2, 3], sequences=5, locations=9)
    with pytest.raises(ValueError, match="locations=9: this network has no memory"):
        training.evaluate(torch.nn.Linear(1, 1), TASK, [1], locations=9)
