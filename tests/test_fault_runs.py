"""The runs with faults: the rule of the classes, and what is saved."""

import statistics

import pytest
import torch

import faults
from ntm import NTM, NTMConfig, bugs, engine
from ntm.book import fault_runs


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


def test_silence_is_given():
    with bugs.present("silent_targets"):
        together = faults.start(faults.Experiment(("silent_targets",), seeds=(0,), hidden=5, silent=True))
        assert (together.update(1)[0] > 0.5).all()
        logits = together.machines[0].trace(torch.rand(4, 2, 10)).logits
    assert (logits[..., 8:].sigmoid() < 0.01).all() and (logits[..., :8].sigmoid() > 0.01).all()


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


@pytest.mark.parametrize("name, least", [("nothing read", 0.8), ("19 January, cross-entropy", 0.999)])
def test_guessing_is_asked_of_the_lists_of_the_runs(name, least):
    """Machines that know little, or nothing, cost more in the blocks whose lists were longer."""
    saved = fault_runs.rows(name)
    cost = [statistics.mean(costs) for costs in zip(*(row["bits"] for row in saved), strict=True)]
    guessed = fault_runs.guessing(saved)
    late = slice(5, None)  # until then they learn what they can
    assert statistics.correlation(guessed[late], cost[late]) > least
    assert all(c < 1.01 * g for c, g in zip(cost[late], guessed[late], strict=True))
