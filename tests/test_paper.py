"""The paper's numbers and configurations."""

import contextlib
from dataclasses import replace

import pytest
import torch

import ntm
from ntm import LSTM, NTM, paper, training
from ntm.tasks import TASKS, Batch, NgramSizes, RecallSizes, RepeatCopySizes, SortSizes

FIGURES = dict(zip(TASKS, (3, 7, 10, 13, 18), strict=True))


@pytest.mark.parametrize("figure", FIGURES.values())
def test_curves(figure):
    series = paper.curves(figure)
    assert {"LSTM", "NTM-FF", "NTM-LSTM"} <= set(series)
    for sequences, bits in series.values():
        assert len(sequences) == len(bits) > 1 and sequences == sorted(sequences) and min(bits) > -0.05


def test_figure_3_ends_where_the_text_says():
    _, bits = paper.curves(3)["LSTM"]
    assert sum(bits[-10:]) / 10 == pytest.approx(0.49, abs=0.005)


def test_what_the_paper_does_not_have():
    with pytest.raises(ValueError, match="figure=4"):
        paper.curves(4)
    with pytest.raises(ValueError, match="number=9"):
        paper.table(9)


@pytest.mark.parametrize("number,network", [(1, "ntm-ff"), (2, "ntm-lstm"), (3, "lstm")])
def test_the_configurations_are_the_rows_of_the_tables(number, network):
    rows = {row["task"]: row for row in paper.table(number)}
    names = dict(zip(TASKS, ("copy", "repeat copy", "associative recall", "n-grams", "priority sort"), strict=True))
    assert set(rows) == set(names.values())
    for task, name in names.items():
        config, row = paper.CONFIGS[task, network], rows[name]
        layers, _, size = row["controller_size"].rpartition("x")
        assert (config.layers, config.hidden) == (int(layers or 1), int(size))
        assert (config.inputs, config.outputs) == (TASKS[task]().inputs, TASKS[task]().outputs)
        plan = paper.recipe(task, network)
        last = max(paper.curves(FIGURES[task])["LSTM"][0])
        rate, shown = float(row["learning_rate"]), round(last / 1e5) * 100_000
        assert plan == replace(training.PAPER, learning_rate=rate, updates=shown, report_every=1000)
        assert (plan.batch, plan.optimizer) == (1, "rmsprop")
        if network == "lstm":
            weights = sum(p.numel() for p in LSTM(config).parameters())
            printed = {"copy": 1_352_969 - (3 * 256 + 1), "sort": 348_424}  # Y = 8, not 9; two digits swapped
            assert weights == printed.get(task, int(row["parameters"]))
        else:
            assert config.controller == {"ntm-ff": "feedforward", "ntm-lstm": "lstm"}[network]
            assert config.read_heads == config.write_heads == int(row["heads"])
            assert f"{config.locations}x{config.width}" == row["memory"]


@pytest.mark.parametrize("task,network", [key for key in paper.CONFIGS if key[1] != "lstm" and key[0] != "copy"])
def test_every_machine_trains_as_the_literal_model_does(task, network):
    """Two updates of the paper's recipe, compiled and literal, in float64."""
    sizes = {"recall": RecallSizes(items=(2, 2)), "ngrams": NgramSizes(bits=12)}.get(task)
    sizes = sizes or {"repeat-copy": RepeatCopySizes(2, 3), "sort": SortSizes(vectors=4, kept=3)}[task]
    plan = replace(paper.recipe(task, network), updates=2, learning_rate=1e-2)

    def draw(batch, generator):
        return Batch(*(values.double() for values in sizes.draw(batch, generator)))

    weights = []
    for compiled in (True, False):
        torch.manual_seed(0)
        model = NTM(replace(paper.CONFIGS[task, network], locations=9)).double()
        with contextlib.nullcontext() if compiled else ntm.literal():
            log = training.train(model, draw, plan, progress=False)
        assert len(log) == 1
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    torch.testing.assert_close(*weights, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("task,network", [("sorting", "lstm"), ("sort", "ntm")])
def test_rows_that_the_tables_do_not_have(task, network):
    with pytest.raises(
        ValueError, match=f"task='{task}', network='{network}': must be one of copy, .*, and one of ntm"
    ):
        paper.recipe(task, network)
