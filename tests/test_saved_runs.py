"""The saved runs of the book: each reloads, and has its score again, on every processor."""

import pytest

from ntm import paper, runs

SAVED = sorted((paper.DATA / "runs").iterdir())


@pytest.mark.parametrize("folder", SAVED, ids=lambda folder: folder.name)
def test_a_saved_run_has_its_score(folder):
    model, config, saved = runs.load(folder), runs.read_config(folder), runs.read_score(folder)
    assert runs.read_log(folder)[-1].update == config.training.updates
    score = runs.final_score(model, config)
    # Rounding differs between processors, and a bit on the edge may fall on either side.
    assert score.bits_per_sequence == pytest.approx(saved.bits_per_sequence, rel=1e-2)
    assert score.wrong_bits == pytest.approx(saved.wrong_bits, rel=1e-2, abs=0.02)
