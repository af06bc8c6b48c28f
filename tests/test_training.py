"""Costs, losses, optimisers, the loop, and what it says when a number is not finite."""

import contextlib
import copy
import functools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import ntm
from ntm import LSTM, NTM, LSTMConfig, NTMConfig, tasks, training
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
    assert training.nats_per_sequence(silent, targets, mask).item() == pytest.approx(40 * math.log(2))
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


@pytest.fixture
def weight():
    torch.manual_seed(0)
    return torch.nn.Parameter(torch.randn(3, dtype=torch.float64))


def test_graves_rmsprop_calls_its_closure(weight):
    optimizer = GravesRMSProp([weight], lr=0.1)
    calls = []

    def closure():
        optimizer.zero_grad()
        value = weight.square().sum()  # with gradients, though a step computes without
        value.backward()
        calls.append(value)
        return value

    before = weight.detach().clone()
    with torch.no_grad():
        value = optimizer.step(closure)
    assert calls == [value] and value == before.square().sum() and not torch.equal(weight, before)
    assert optimizer.step() is None


def test_graves_rmsprop_has_a_rate_for_each_group(weight):
    still, other = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    optimizer = GravesRMSProp([{"params": [weight]}, {"params": [still], "lr": 0}], lr=torch.tensor(0.1))
    optimizer.add_param_group({"params": other, "lr": 0.2})
    for parameter in (weight, still, other):
        parameter.grad = torch.ones_like(parameter)
    before = weight.detach().clone()
    optimizer.step()
    step = 1 / math.sqrt(0.05 - 0.05**2 + 1e-4)
    torch.testing.assert_close(weight.detach(), before - 0.1 * step)
    assert torch.equal(still, torch.ones(2))
    torch.testing.assert_close(other.detach(), torch.full((2,), 1 - 0.2 * step))


def test_graves_rmsprop_under_a_scheduler(weight):
    optimizer = GravesRMSProp([weight], lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0)
    for moves in (True, False):
        optimizer.state.clear()  # no momentum
        weight.grad, before = torch.ones_like(weight), weight.detach().clone()
        optimizer.step()
        scheduler.step()
        assert torch.equal(weight, before) is not moves


@pytest.mark.parametrize("rate", [-1e-9, math.nan, math.inf])
def test_rates_that_graves_rmsprop_cannot_have(weight, rate):
    with pytest.raises(ValueError, match="lr=.*: must be at least 0 and finite"):
        GravesRMSProp([weight], lr=rate)
    with pytest.raises(ValueError, match="lr=.*: must be at least 0 and finite"):
        GravesRMSProp([{"params": [weight], "lr": rate}])


def test_graves_rmsprop_comes_back_from_its_state(weight):
    twin = torch.nn.Parameter(weight.detach().clone())
    one, two = GravesRMSProp([weight], lr=0.01), GravesRMSProp([twin], lr=0.5)
    for update in range(6):
        if update == 3:
            two.load_state_dict(copy.deepcopy(one.state_dict()))
            twin.data.copy_(weight.data)
        weight.grad = torch.randn(3, dtype=torch.float64)
        twin.grad = weight.grad.clone()
        one.step()
        two.step()
    assert torch.equal(weight, twin)


@pytest.mark.parametrize("kind", ["sparse", "half", "bfloat16", "complex"])
def test_what_graves_rmsprop_has_no_step_for(weight, kind):
    other = torch.nn.Parameter(torch.ones(3))
    if kind != "sparse":
        other.data = other.data.to(getattr(torch, kind if kind != "complex" else "complex64"))
    optimizer, before = GravesRMSProp([weight, other]), weight.detach().clone()
    weight.grad, grad = torch.ones_like(weight), torch.ones_like(other)
    other.grad = grad.to_sparse() if kind == "sparse" else grad
    with pytest.raises(RuntimeError, match="GravesRMSProp has no step for torch.*: it needs dense float32 or float64"):
        optimizer.step()
    assert torch.equal(weight, before) and not optimizer.state  # nothing has moved
    other.grad = None
    optimizer.step()
    assert not torch.equal(weight, before)


@pytest.mark.parametrize("size", [100.0, 1e4])
def test_large_gradients_that_settle_are_no_nan(size):
    """Their variance sinks towards 0, and what rounding leaves of it may be negative."""
    torch.manual_seed(0)
    parameter, gradient = torch.nn.Parameter(torch.zeros(1000)), size * torch.rand(1000)
    optimizer = GravesRMSProp([parameter])
    for update in range(500):
        parameter.grad = gradient * (1 + 5 * 0.97**update)
        optimizer.step()
    assert parameter.isfinite().all() and (parameter <= 0).all()


@pytest.mark.parametrize("scale", [1, 1e25])  # squares are infinite from 1e19 on
def test_clipping(scale):
    model = torch.nn.Linear(2, 1, bias=False)
    for clip, expected in [("norm", [[6.0, 8.0]]), ("value", [[10.0, 10.0]])]:
        model.weight.grad = torch.tensor([[30.0, 40.0]]) * scale
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


def test_a_solved_task_ends_training(monkeypatch):
    """Once as many sequences on end as it takes have cost less, and neither before nor without being asked."""
    monkeypatch.setattr(training, "SOLVED_FOR", 7 * QUICK.batch)
    plan = replace(QUICK, updates=20, report_every=2)
    costs = [row.bits_per_sequence for row in train(machine(), plan)]
    assert len(costs) == 10
    assert [row.update for row in train(machine(), replace(plan, until=1e9))] == [2, 4, 6, 8]
    assert [row.update for row in train(machine(), replace(plan, until=min(costs)))] == list(range(2, 21, 2))
    rows = [Row(2 * k, 2 * k * QUICK.batch, 0.0, bits, 0.0, 0.0) for k, bits in enumerate([0, 9, 0, 0, 0, 0, 9], 1)]
    solved = [replace(plan, until=1).ended(rows[:n]) for n in range(8)]
    assert solved == [False] * 6 + [True, False]
    assert replace(plan, updates=14).ended(rows)


# --- batches that are not as they should be ------------------------------------------------------------------


@pytest.fixture(params=["compiled", "literal"])
def either_path(request):
    with ntm.literal() if request.param == "literal" else contextlib.nullcontext():
        yield


COSTS = [*training.LOSSES.values(), training.bits_per_sequence, training.wrong_bits]


@pytest.mark.parametrize("function", COSTS[:-1])
def test_targets_and_masks_of_any_type(function):
    _, targets, mask = tasks.copy(3, length=4, bits=2)
    logits = torch.randn(targets.shape)
    for type_ in (torch.bool, torch.long, torch.uint8, torch.int32):
        for kinds in ((targets.to(type_), mask), (targets, mask.to(type_)), (targets.to(type_), mask.to(type_))):
            assert function(logits, *kinds) == function(logits, targets, mask)
            assert training.wrong_bits(logits, *kinds) == training.wrong_bits(logits, targets, mask)
    assert function(logits.double(), targets.bool(), mask) == function(logits.double(), targets.double(), mask)


@pytest.mark.parametrize("function", COSTS)
def test_costs_of_what_does_not_belong_together(function):
    logits, targets, mask = torch.randn(4, 4, 2), torch.ones(4, 4, 2), torch.ones(4, 4)
    message = r"logits .*, targets .*, mask .*: must be \(T,B,Y\), \(T,B,Y\) and \(T,B\)$"
    for wrong in [
        (logits, targets[:3], mask),
        (logits, targets[:, :, :1], mask),  # torch would broadcast these
        (logits, targets, mask[:1]),
        (logits, targets, mask.unsqueeze(2)),
        (logits[0], targets[0], mask[0]),
    ]:
        with pytest.raises(ValueError, match=message):
            function(*wrong)
    for values in (logits, targets):  # where nothing counts, too
        hole = values.clone()
        hole[0, 0, 0] = math.nan
        given = (hole, targets) if values is logits else (logits, hole)
        nothing_there = mask.clone()
        nothing_there[0, 0] = 0
        assert math.isnan(function(*given, mask)) and math.isnan(function(*given, nothing_there))
    nothing = function(logits, targets, 0 * mask)
    assert math.isnan(nothing) if function in (training.cross_entropy, training.huber) else nothing == 0


def spoiled(name, value):
    """The task, with one number of its third batch another one."""
    calls = []

    def task(batch, generator):
        calls.append(0)
        drawn = TASK(batch, generator=generator)._asdict()
        if len(calls) == 3:
            drawn[name] = drawn[name].clone()
            drawn[name].view(len(drawn[name]), -1)[2, 0] = value
        return tasks.Batch(**drawn)

    return task


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("name", ["inputs", "targets", "mask"])
def test_a_batch_that_is_not_finite(name, value, either_path):
    model, reference = machine(), machine()
    train(reference, replace(QUICK, updates=2))
    with pytest.raises(ValueError, match=f"{name} hold NaN or infinity, first at time step 2"):
        train(model, task=spoiled(name, value))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), reference.parameters(), strict=True))
    with pytest.raises(ValueError, match=f"{name} hold NaN or infinity, first at time step 2"):
        task = spoiled(name, value)
        training.evaluate(model, lambda batch, length, generator: task(batch, generator), [1, 2, 3])


def test_a_batch_that_counts_nothing(either_path):
    def silent(batch, generator=None, length=None):
        drawn = TASK(batch, generator=generator)
        return drawn._replace(mask=0 * drawn.mask)

    with pytest.raises(ValueError, match="the mask is 0 at every step: there is nothing to learn from"):
        train(machine(), task=silent)
    with pytest.raises(ValueError, match="the mask is 0 at every step: there is nothing to measure"):
        training.evaluate(machine(), silent, 3)


def test_bools_and_whole_numbers_train_like_floats(either_path):
    logs, models = [], [machine(), machine(), machine()]
    for model, type_ in zip(models, (torch.float32, torch.bool, torch.long), strict=True):

        def task(batch, generator, type_=type_):
            return tasks.Batch(*(values.to(type_) for values in TASK(batch, generator=generator)))

        logs.append([row[:5] for row in train(model, task=task)])
    assert logs[0] == logs[1] == logs[2]
    for model in models[1:]:
        assert all(torch.equal(a, b) for a, b in zip(model.parameters(), models[0].parameters(), strict=True))


def test_a_last_batch_that_is_smaller(either_path):
    counts = iter([2, 2, 1] * 2)

    def task(batch, generator):
        return TASK(next(counts), generator=generator)

    log = train(machine(), replace(QUICK, train_locations=None, report_every=3), task)
    assert [row.sequences for row in log] == [5, 10]


def test_a_recipe_belongs_to_its_task(either_path):
    """The quick recipe's memory has 22 locations at least, enough for 20 vectors between two flags."""
    model, longer = NTM(NTMConfig(hidden=5, width=3)), functools.partial(tasks.copy, length=21)
    message = r"train_locations=\(22, 26\): too few for sequences that show something at 23 steps .*or None"
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(ValueError, match=message):
        train(model, TrainingConfig(updates=1, batch=2), longer)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))
    train(model, TrainingConfig(updates=1, batch=2, train_locations=None), longer)
    train(model, TrainingConfig(updates=1, batch=2), functools.partial(tasks.copy, length=20))
    train(LSTM(LSTMConfig(hidden=3)), TrainingConfig(updates=1, batch=2), longer)  # it has no locations

    def items(batch, generator):  # each shown for three steps, and asked for in the end: 25 + 3 steps
        inputs, mask = torch.zeros(28, batch, 10), torch.zeros(28, batch)
        inputs[:25] = torch.randint(0, 2, (25, batch, 10), generator=generator) + 0.5
        mask[25:] = 1
        return tasks.Batch(inputs, torch.zeros(28, batch, 8), mask)

    with pytest.raises(ValueError, match="show something at 25 steps"):
        train(model, TrainingConfig(updates=1, batch=2), items)


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
    assert training.where_it_began(model, batch) == "a number that was finite when all was computed once more"


class Overflow(torch.autograd.Function):
    """A number as it is, whose gradient is not."""

    @staticmethod
    def forward(ctx, values, by):
        ctx.by = by
        return values.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.by, None


def test_where_it_began_is_no_more_than_is_known():
    batch, model = TASK(2), machine()
    nan_loss = lambda *args: training.cross_entropy(*args) * math.nan  # noqa: E731
    steep = lambda y, *args: training.cross_entropy(Overflow.apply(y, math.inf), *args)  # noqa: E731
    large = lambda y, *args: training.cross_entropy(Overflow.apply(y, 1e200), *args)  # noqa: E731
    with torch.no_grad():  # as chapters have it
        assert training.where_it_began(model, batch, nan_loss) == "the loss, of logits that are finite"
        assert training.where_it_began(model, batch, steep) == "the gradients of all parameters"
        found = training.where_it_began(model.double(), tasks.Batch(*(part.double() for part in batch)), large)
        assert found == "the norm of the gradients, which are finite"
        model.float().output.weight.requires_grad_(False)
        cut = model.emit
        model.emit = lambda hidden, reads: cut(hidden.detach(), Overflow.apply(reads.detach(), math.nan))
        assert training.where_it_began(model, batch) == "a number that was finite when all was computed once more"


def test_where_it_began_in_the_memory_that_was_drawn(monkeypatch):
    """A fault that shows in some numbers of locations only."""
    monkeypatch.setattr("ntm.addressing.sharpen", lambda w, gamma: w / 0 if w.shape[2] == 3 else w)
    message = "update 1 is not finite; it began in weighting at time step 0"
    with ntm.literal(), pytest.raises(training.NonFiniteError, match=message):
        train(machine(), replace(QUICK, train_locations=(3, 3)), functools.partial(TASK, length=1))


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"updates": 0}, "updates=0: must be a whole number of at least 1"),
        ({"batch": -1}, "batch=-1: must be"),
        ({"seed": -1}, "seed=-1: must be"),
        ({"own_every": -1}, "own_every=-1: must be"),
        ({"learning_rate": 0.0}, "learning_rate=0.0: must be positive and finite"),
        ({"clip_at": math.nan}, "clip_at=nan: must be positive and finite"),
        ({"until": -1}, "until=-1: must be positive and finite"),
        ({"until": math.nan}, "until=nan: must be positive and finite"),
        ({"optimizer": "sgd"}, "optimizer='sgd': must be one of adam, rmsprop"),
        ({"clip": "all"}, "clip='all': must be one of norm, value"),
        ({"batch": True}, "batch=True: must be a whole number"),
        ({"batch": 2.0}, "batch=2.0: must be a whole number"),
        ({"updates": "9"}, "updates='9': must be a whole number"),
        ({"seed": 2**64}, "seed=18446744073709551616: must be a whole number from 0 to 18446744073709551615"),
        ({"learning_rate": True}, "learning_rate=True: must be positive"),
        ({"learning_rate": "fast"}, "learning_rate='fast': must be positive"),
        ({"train_locations": (2.5, 7)}, "train_locations=.2.5, 7.: must be whole numbers from 1 to"),
        ({"train_locations": (2, 7, 9)}, "train_locations=.2, 7, 9.: must be whole numbers from 1 to"),
        ({"train_locations": (7, 2)}, "train_locations=.7, 2.: must be whole numbers from 1 to"),
        ({"train_locations": (0, 2)}, "train_locations=.0, 2.: must be whole numbers from 1 to"),
        ({"train_locations": "22"}, "train_locations='22': must be whole numbers from 1 to"),
    ],
)
def test_training_that_cannot_be(fields, message):
    with pytest.raises(ValueError, match=message):
        TrainingConfig(**fields)


def test_numbers_of_any_integer_type():
    given = TrainingConfig(
        seed=np.uint64(2**64 - 1),
        updates=np.int64(6),
        batch=torch.tensor(2),
        learning_rate=np.float32(0.5),
        train_locations=[np.int32(24), 26],
    )
    assert given == TrainingConfig(seed=2**64 - 1, updates=6, batch=2, learning_rate=0.5, train_locations=(24, 26))
    assert {type(value) for value in vars(given).values()} <= {int, float, str, tuple}
    assert TrainingConfig(train_locations=24).train_locations == (24, 24)
    train(machine(), given)


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
    for lengths in (3, np.int64(3), (3,), range(3, 4), iter([3]), np.array([3])):
        assert training.evaluate(model, TASK, lengths, sequences=5) == training.evaluate(model, TASK, [3], sequences=5)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"lengths": 0}, "length=0: must be a whole number of at least 1"),
        ({"lengths": [3, 2.5]}, "length=2.5: must be"),
        ({"lengths": [(1, 3)]}, "length=.1, 3.: must be"),
        ({"lengths": []}, "there is nothing to measure: name at least one length"),
        ({"sequences": 0}, "sequences=0: must be"),
        ({"sequences": True}, "sequences=True: must be"),
        ({"seed": -1}, "seed=-1: must be"),
        ({"seed": 10**20}, "seed=100000000000000000000: must be"),
        ({"locations": 0}, "locations=0: must be a whole number of at least 1"),
        ({"locations": -3}, "locations=-3: must be"),
        ({"locations": 4.0}, "locations=4.0: must be"),
    ],
)
def test_measurements_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        training.evaluate(machine(), lambda *_, **__: 1 / 0, **{"lengths": [3], **options})  # nothing is drawn
