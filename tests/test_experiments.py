"""Training until solved, and the control without reads."""

from dataclasses import replace

import pytest
import torch

from ntm import NTM, NTMConfig, engine, experiments, runs, tasks, training

CONFIG = runs.RunConfig("copy", NTMConfig(hidden=5, locations=4, width=3), training.TrainingConfig(), length=(1, 2))


def test_without_reads():
    model, batch = NTM(NTMConfig(locations=5)), tasks.copy(2, 3)
    before = model.trace(batch.inputs)
    with pytest.raises(RuntimeError), experiments.without_reads():
        assert (model.trace(batch.inputs).reads == 0).all()
        raise RuntimeError
    after = model.trace(batch.inputs)
    assert after.reads.any() and torch.equal(before.reads, after.reads)


def test_a_machine_that_is_not_solved_says_so():
    _, log, outcome = experiments.solve(CONFIG, limit=8, progress=False)
    assert log[-1].sequences == 8
    assert outcome.sequences is None and outcome.wrong_bits > 0


def test_solved_is_no_wrong_bit(monkeypatch):
    perfect = training.Score(1000, 0.1, 0.0, 0.0)
    monkeypatch.setattr(runs, "final_score", lambda *_: perfect)
    monkeypatch.setattr(training, "wrong_bits", lambda *_: 0.05)
    monkeypatch.setattr(engine, "serves", lambda _: False)  # a compiled step counts wrong bits itself
    few = replace(CONFIG, training=replace(CONFIG.training, report_every=5))
    _, _, outcome = experiments.solve(few, limit=1000, progress=False)
    assert outcome.sequences == 5 * CONFIG.training.batch


def test_a_limit_below_one_batch():
    with pytest.raises(ValueError, match="limit=1: must be at least one batch, 8 sequences"):
        experiments.solve(CONFIG, limit=1)
