"""The runs with faults: machines side by side train as they would alone, the rule of the classes, and what is saved."""

from dataclasses import replace
from unittest import mock

import pytest
import torch
import twins

import faults
from ntm import NTM, NTMConfig, bugs, engine, tasks, training
from ntm.book import fault_runs


@pytest.mark.parametrize("names", [(), ("erase_dropped", "states_of_rows_trained"), bugs.VERSIONS["1 February"]])
def test_side_by_side_is_as_good_as_alone(names):
    """Three updates of two machines against the training loop's own, on the same batches.

    In float64, where what is nothing but the rounding of a gradient is far below the epsilon that Adam divides by.
    """
    small = faults.Experiment(names, seeds=(3, 4), train_locations=(24, 24), locations=25, hidden=5)
    built, batches = faults.built, []
    with bugs.present(*names), mock.patch.object(faults, "built", lambda *sizes: built(*sizes).double()):
        together, copy = faults.SideBySide(small), tasks.copy

        def drawn_in_float64(*arguments, **sizes):
            batches.append(tasks.Batch(*(values.double() for values in copy(*arguments, **sizes))))
            return batches[-1]

        with mock.patch.object(tasks, "copy", drawn_in_float64):
            for number in (1, 2, 3):
                costs = together.update(number)
        for i, seed in enumerate(small.seeds):
            alone = faults.built(together.machines[i].config, seed)
            drawn = iter([tasks.Batch(*(values.chunk(2, dim=1)[i] for values in batch)) for batch in batches])
            plan = replace(together.recipe, updates=3, report_every=1, train_locations=(24, 24))
            log = training.train(alone, lambda *_, drawn=drawn, **__: next(drawn), plan, progress=False)
            assert log[-1].loss == pytest.approx(float(costs[0, i]), rel=1e-9)
            assert log[-1].wrong_bits == pytest.approx(float(costs[2, i]))
            for a, b in zip(alone.parameters(), together.machines[i].parameters(), strict=True):
                twins.assert_near(a.detach(), b.detach(), 1e-9)


def row(solved_at=1000, updates=4000, **wrong):
    return {"solved_at": solved_at, "updates": updates, "redrawn_20": 0, "wrong_20": 0, "wrong_50": 0, **wrong}


@pytest.mark.parametrize(
    "fault, faulty, expected",
    [
        ("erase_dropped", [row(None), row(None)], "stops learning (seen)"),
        ("states_0_5", [row(None), row(None)], "stops learning (proved)"),
        ("states_0_5", [row(None), row(1000)], "slows learning"),
        ("erase_dropped", [row(1500), row(1500)], "slows learning"),
        ("erase_dropped", [row(1400), row(1400)], "harmless"),
        ("erase_dropped", [row(redrawn_20=20)] * 2, "stops generalisation over initial states"),
        ("erase_dropped", [row(wrong_50=9)] * 2, "stops generalisation over length"),
        ("erase_dropped", [row(wrong_120=9)] * 2, "harmless"),
        ("erase_dropped", [row(wrong_120=14)] * 2, "stops generalisation over length"),
    ],
)
def test_classes(fault, faulty, expected):
    right = [row(wrong_120=5)] * 2
    assert fault_runs.classify(fault, [{"wrong_120": 0, **r} for r in faulty], right) == expected


def test_a_run_is_saved_and_loaded_with_its_states(tmp_path, monkeypatch):
    monkeypatch.setattr(fault_runs, "FOLDER", tmp_path)
    names = bugs.VERSIONS["1 February"]
    small = faults.Experiment(
        names, updates=2, seeds=(0, 1), train_locations=(120, 120), locations=120, hidden=5, redraw_at=2
    )
    rows = faults.run("1 February, small", small)
    assert [r["seed"] for r in rows] == [0, 1] and all(r["solved_at"] is None for r in rows)
    with bugs.present(*names):
        machine = fault_runs.machine("1 February, small")
        assert faults.wrong(machine, 20) == rows[0]["wrong_20"]
        assert torch.equal(machine.row_memory, faults.built(machine.config, faults.SPARE_SEED).row_memory)  # redrawn
        assert not engine.serves(machine)
    with pytest.raises(FileNotFoundError):
        fault_runs.rows("1 February, small")


def test_an_unknown_experiment():
    with pytest.raises(ValueError, match="no saved experiment 'typo': there are nothing wrong, "):
        fault_runs.rows("typo")


def test_the_saved_runs_are_the_plan():
    for name, experiment in faults.plan().items():
        saved = fault_runs.rows(name)
        assert [r["seed"] for r in saved] == list(experiment.seeds), name
        assert {r["updates"] for r in saved} == {experiment.updates}
        assert {tuple(r["faults"]) for r in saved} == {experiment.faults}


@pytest.mark.parametrize("name", ["nothing wrong", "states_of_rows_frozen"])
def test_a_saved_machine_does_what_its_row_says(name):
    saved = fault_runs.rows(name)[0]
    with bugs.present(*saved["faults"]):
        machine = fault_runs.machine(name)
        assert isinstance(machine, NTM) and machine.config == NTMConfig(hidden=35)
        assert faults.wrong(machine, 20) == pytest.approx(saved["wrong_20"], abs=0.1)
