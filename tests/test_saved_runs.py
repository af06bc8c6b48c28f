"""The saved runs of the book: each reloads, and has its score again, on every processor; and which is the clearest."""

import math

import pytest
import torch

import ntm
from ntm import NTM, NTMConfig, addressing, paper, runs, training
from ntm.book import saved_runs

RUNS = sorted((paper.DATA / "runs").iterdir())
FAILED = [folder for folder in RUNS if (folder / "failure.safetensors").exists()]
SAVED = [folder for folder in RUNS if folder not in FAILED]


@pytest.mark.parametrize("folder", SAVED, ids=lambda folder: folder.name)
def test_a_saved_run_has_its_score(folder):
    model, config, saved = runs.load(folder), runs.read_config(folder), runs.read_score(folder)
    log = runs.read_log(folder)
    assert config.training.ended(log) or log[-1].update == config.training.updates
    score = runs.final_score(model, config)
    # Rounding differs between processors, and a bit on the edge may fall on either side.
    assert score.bits_per_sequence == pytest.approx(saved.bits_per_sequence, rel=1e-2)
    assert score.wrong_bits == pytest.approx(saved.wrong_bits, rel=1e-2, abs=0.02)


@pytest.mark.parametrize("folder", FAILED, ids=lambda folder: folder.name)
def test_a_failure_that_is_kept_has_slopes_beyond_reason(folder, monkeypatch):
    model, batch = runs.load_failure(folder)
    batch = batch._replace(**{name: part.double() for name, part in batch._asdict().items()})
    slopes, sharpen = [], addressing.sharpen

    def watched(weighting, gamma):
        sharp = sharpen(weighting, gamma)
        sharp.register_hook(lambda slope: slopes.append(float(slope.abs().max())))
        return sharp

    monkeypatch.setattr(addressing, "sharpen", watched)
    with ntm.literal():
        logits, _ = model.double()(batch.inputs)
        training.LOSSES[runs.read_config(folder).loss](logits, *batch[1:]).backward()
    # Rounding decides its digits, even in double precision, but not that it is beyond all reason on the way back.
    assert max(slopes) > 1e10


def test_entropy_is_in_bits():
    even, one = torch.full((2, 8), 1 / 8), torch.eye(8)[:2]
    two = torch.tensor([0.5, 0.5, 0, 0])
    assert saved_runs.entropy(even).tolist() == pytest.approx([3, 3])
    assert saved_runs.entropy(one).tolist() == [0, 0]
    assert float(saved_runs.entropy(two)) == pytest.approx(1)


def test_blur_lies_between_one_location_and_all():
    torch.manual_seed(0)
    assert 0 < saved_runs.blur(NTM(NTMConfig(hidden=5, locations=16, width=3))) < math.log2(16)


@pytest.mark.parametrize("network, seeds", [*((name, saved_runs.SEEDS) for name in saved_runs.MACHINES), ("LSTM", [0])])
def test_the_folders_hold_what_they_are_called(network, seeds):
    kinds = {"NTM-LSTM": "lstm", "NTM-FF": "feedforward", "LSTM": None}
    for task, seed in [
        *(("copy", seed) for seed in seeds),
        *(
            (task, seed)
            for task in ("recall", "repeat-copy", "ngrams", "sort")
            for seed in (1, 2, 3)
            if network != "LSTM"
        ),
    ]:
        config = runs.read_config(saved_runs.folder(network, seed, task))
        assert (
            config.task == task
            and config.training.seed == seed
            and getattr(config.model, "controller", None) == kinds[network]
        )


def test_the_clearest_is_the_one_with_the_least_blur(monkeypatch):
    blurs = {("NTM-FF", 3): 0.5, ("NTM-LSTM", 1): 0.2, ("NTM-LSTM", 4): 0.3}
    monkeypatch.setattr(saved_runs, "blurs", lambda: blurs)
    assert saved_runs.clearest() == ("NTM-LSTM", 1)


def test_the_first_point_below_a_cost():
    assert saved_runs.first_below([10.5, 20.5, 30.5], [3, 1, 0.5], 1) == 30.5  # at 1 is not below it
    assert saved_runs.first_below([10.5], [3], 1) is None
    log = [training.Row(n, 4 * n, 0, cost, 0, 0) for n, cost in ((1, 3.0), (2, 0.5), (3, 2.0), (4, 0.2))]
    assert saved_runs.ours_below(log, 1) == 8 and saved_runs.ours_below(log, 0.1) is None
