"""The paper's numbers."""

import pytest

from ntm import paper


@pytest.mark.parametrize("figure", [3, 7, 10, 13, 18])
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
