"""The saved runs of the book: each reloads, and has its score again, on every processor; and which is the clearest."""

import math

import pytest
import torch

from ntm import NTM, NTMConfig, paper, runs
from ntm.book import saved_runs

SAVED = sorted((paper.DATA / "runs").iterdir())


@pytest.mark.parametrize("folder", SAVED, ids=lambda folder: folder.name)
def test_a_saved_run_has_its_score(folder):
    model, config, saved = runs.load(folder), runs.read_config(folder), runs.read_score(folder)
    assert runs.read_log(folder)[-1].update == config.training.updates
    score = runs.final_score(model, config)
    # Rounding differs between processors, and a bit on the edge may fall on either side.
    assert score.bits_per_sequence == pytest.approx(saved.bits_per_sequence, rel=1e-2)
    assert score.wrong_bits == pytest.approx(saved.wrong_bits, rel=1e-2, abs=0.02)


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
    for seed in seeds:
        config = runs.read_config(saved_runs.folder(network, seed))
        assert config.training.seed == seed and getattr(config.model, "controller", None) == kinds[network]


def test_the_clearest_is_the_one_with_the_least_blur(monkeypatch):
    blurs = {("NTM-FF", 3): 0.5, ("NTM-LSTM", 1): 0.2, ("NTM-LSTM", 4): 0.3}
    monkeypatch.setattr(saved_runs, "blurs", lambda: blurs)
    assert saved_runs.clearest() == ("NTM-LSTM", 1)
