"""Training until solved, and the control without reads."""

from dataclasses import replace

import pytest
import torch

from ntm import NTM, NTMConfig, experiments, paper, runs, tasks, training

CONFIG = runs.RunConfig(
    "copy", NTMConfig(hidden=5, locations=4, width=3), training.TrainingConfig(), tasks.CopySizes((1, 2))
)


def test_without_reads():
    model, batch = NTM(NTMConfig(locations=5)), tasks.copy(2, 3)
    before = model.trace(batch.inputs)
    with pytest.raises(RuntimeError), experiments.without_reads():
        assert (model.trace(batch.inputs).reads == 0).all()
        raise RuntimeError
    after = model.trace(batch.inputs)
    assert after.reads.any() and torch.equal(before.reads, after.reads)


def test_without_content():
    model, batch = NTM(NTMConfig(locations=5)), tasks.copy(2, 3)
    first = model.initial_state(2).weighting
    with experiments.without_content():
        trace = model.trace(batch.inputs)
    assert torch.equal(trace.gated[0], first) and torch.equal(trace.gated[1:], trace.weighting[:-1])
    assert not torch.equal(model.trace(batch.inputs).gated[1:], trace.gated[1:])


def test_a_machine_that_is_not_solved_says_so():
    _, log, outcome = experiments.solve(CONFIG, limit=8, progress=False)
    assert log[-1].sequences == 8
    assert outcome.sequences is None and outcome.wrong_bits > 0


def test_solved_is_no_wrong_bit(monkeypatch):
    perfect = training.Score(1000, 0.1, 0.0, 0.0)
    monkeypatch.setattr(runs, "final_score", lambda *_: perfect)
    monkeypatch.setattr(training, "wrong_bits", lambda *_: 0.05)
    few = replace(CONFIG, training=replace(CONFIG.training, report_every=5))
    _, _, outcome = experiments.solve(few, limit=1000, progress=False)
    assert outcome.sequences == 5 * CONFIG.training.batch


def test_a_limit_below_one_batch():
    with pytest.raises(ValueError, match="limit=1: must be at least one batch, 8 sequences"):
        experiments.solve(CONFIG, limit=1)


def scored(monkeypatch, wrong):
    """Validation that finds these wrong bits, one after the other; returns the seeds that are trained."""
    seeds, answers = [], iter(wrong)

    def validate(model, config):
        seeds.append(config.training.seed)
        return next(answers)

    monkeypatch.setattr(experiments, "validate", validate)
    return seeds


@pytest.mark.parametrize(
    "wrong, kept", [([0.0], 0), ([3.0, 0.0], 1), ([3.0, 1.0, 2.0], 1), ([1.0, 2.0, 3.0], 0), ([2.0, 1.0, 0.0], 2)]
)
def test_the_best_of_a_few_machines_is_kept(monkeypatch, wrong, kept):
    few = replace(CONFIG, training=replace(CONFIG.training, updates=1))
    seeds = scored(monkeypatch, wrong)
    machine, found = experiments.train_validated(few, progress=False)
    assert found == wrong and seeds == [experiments.ANOTHER_SEED * i for i in range(len(wrong))]
    expected = replace(few, training=replace(few.training, seed=seeds[kept])).build()
    training.train(expected, few.draw(), replace(few.training, seed=seeds[kept]), progress=False)
    assert all(torch.equal(a, b) for a, b in zip(machine.parameters(), expected.parameters(), strict=True))


def test_validation_counts_wrong_bits_of_longer_lists(monkeypatch):
    monkeypatch.setattr(experiments, "VALIDATION", ((3, 4, 5), (6, 8, 2)))
    machine = CONFIG.build()
    scores = [training.evaluate(machine, CONFIG.draw(), [n], k, 2, m).wrong_bits for n, m, k in ((3, 4, 5), (6, 8, 2))]
    assert experiments.validate(machine, CONFIG) == pytest.approx(sum(scores) / 2)


@pytest.mark.parametrize("attempts", [0, -1, True, 2.0, None])
def test_attempts_that_cannot_be(attempts):
    with pytest.raises(ValueError, match="attempts=.*: must be a whole number of at least 1"):
        experiments.train_validated(CONFIG, attempts)


def test_a_seed_that_has_no_successor_is_refused_before_the_first_machine(monkeypatch):
    monkeypatch.setattr(training, "train", lambda *_, **__: 1 / 0)
    last = replace(CONFIG, training=replace(CONFIG.training, seed=2**64 - 1))
    with pytest.raises(ValueError, match="seed=18446744073709561615: must be a whole number"):
        experiments.train_validated(last)
    with pytest.raises(ZeroDivisionError):
        experiments.train_validated(last, attempts=1)


def test_lists_to_choose_by_are_those_of_copy(monkeypatch):
    monkeypatch.setattr(training, "train", lambda *_, **__: 1 / 0)
    other = runs.RunConfig("recall", paper.CONFIGS["recall", "ntm-lstm"], paper.recipe("recall", "ntm-lstm"))
    with pytest.raises(ValueError, match="task='recall': must be one of copy"):
        experiments.train_validated(other)


@pytest.mark.parametrize("limit", [0, 2.5, True, "many"])
def test_limits_that_are_no_numbers(limit):
    with pytest.raises(ValueError, match="limit=.*: must be a whole number"):
        experiments.solve(CONFIG, limit)
