"""The static figures draw what they are given."""

import base64
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from ntm import NTM, NTMConfig, tasks
from ntm.book import plotting
from ntm.training import Row


@pytest.fixture
def axes():
    figure, axes = plt.subplots()
    yield axes
    plt.close(figure)


def test_strip_has_time_from_left_to_right(axes):
    values = torch.arange(6.0).view(3, 2)
    plotting.strip(axes, values, "title", first_row=5)
    picture = axes.images[0]
    np.testing.assert_array_equal(picture.get_array(), values.T)
    assert picture.get_extent() == [-0.5, 2.5, 6.5, 4.5]
    assert all(tick == round(tick) for axis in (axes.xaxis, axes.yaxis) for tick in axis.get_majorticklocs())


def test_strips_can_share_a_scale(axes):
    plotting.strip(axes, torch.tensor([[-1.0, 0.5]]), "title", signed=True)
    assert axes.images[0].get_clim() == (-1, 1)
    plotting.strip(axes, torch.tensor([[-1.0, 0.5]]), "title", signed=True, limit=3)
    assert axes.images[1].get_clim() == (-3, 3)


def test_learning_curve_draws_every_run_and_their_median(axes):
    logs = [[Row(i, 10 * i, 0.0, cost * i, 0.0, 0.0) for i in (1, 2)] for cost in (1.0, 2.0, 6.0)]
    plotting.learning_curve(axes, logs, "x", "black")
    assert [line.get_ydata().tolist() for line in axes.lines] == [[1, 2], [2, 4], [6, 12], [2, 4]]


def test_weighting(axes):
    plotting.weighting(axes, torch.tensor([0.25, 0.75]))
    assert [bar.get_height() for bar in axes.patches] == [0.25, 0.75]


def drawn(markdown):
    """What kind of picture a caption stands under, and its words."""
    kind, data = re.search(r'src="data:image/([a-z+]+);base64,([^"]+)"', markdown).groups()
    assert base64.b64decode(data).startswith({"svg+xml": b"<?xml", "png": b"\x89PNG"}[kind])
    return kind, re.search(r'alt="([^"]*)"', markdown)[1]


@pytest.mark.parametrize("points, kind", [(10, "svg+xml"), (20_000, "png")])
def test_a_figure_is_drawn_by_lines_where_that_is_small(axes, monkeypatch, points, kind):
    shown = []
    monkeypatch.setattr(plotting, "say", shown.append)
    axes.scatter(np.arange(points), np.arange(points))
    plotting.show(axes.figure, "A *caption*.", alt='A "diagonal"\nof points.')
    assert drawn(shown[0]) == (kind, "A &quot;diagonal&quot; of points.")
    assert "\n\nA *caption*.\n\n" in shown[0]  # with blank lines about it, or it would not be read as Markdown
    assert not plt.fignum_exists(axes.figure.number)


def test_the_same_figure_is_the_same_bytes(axes):
    axes.plot([1, 2])
    assert plotting.picture(axes.figure, "a line") == plotting.picture(axes.figure, "a line")


class Handle:
    """A display that keeps what it was given."""

    def __init__(self, shown):
        self.shown = shown

    def update(self, markdown):
        self.shown.append(markdown.data)


@pytest.fixture
def shown(monkeypatch):
    shown = []

    def display(markdown, display_id):
        shown.append(markdown.data)
        return Handle(shown)

    monkeypatch.setattr(plotting, "display", display)
    return shown


def test_a_live_curve_is_there_before_while_and_after(shown, monkeypatch):
    figures = []
    monkeypatch.setattr(plotting, "picture", lambda figure, alt: figures.append(figure) or "")
    machine, batch = NTM(NTMConfig(hidden=5, locations=6, width=3)), tasks.copy(1, 3)
    log = [Row(1, 4, 0.7, 80.0, 40.0, 0.1), Row(2, 8, 0.6, 70.0, 30.0, 0.2)]
    with plotting.live_curve(100, batch, 24, 5, every=60) as report:
        assert "compiled" in shown[0] and drawn(shown[0])[0] == "png"
        report(machine, log[:1])
        report(machine, log)  # too soon to be drawn
    assert len(shown) == 3 and "after 8 sequences, at 70.00 bits" in shown[2]
    assert all("in a memory of 5 locations" in picture for picture in shown[1:])
    cost, writing, reading = figures[0].axes
    assert cost.lines[0].get_xydata().tolist() == [[4, 80], [8, 70]]
    assert cost.get_xlim() == (0, 100) and cost.get_ylim()[0] == 0 < 24 < cost.get_ylim()[1]
    weightings = machine.trace(batch.inputs, machine.initial_state(1, 5)).weighting[:, 0].detach()
    for panel, head in ((writing, 1), (reading, 0)):
        np.testing.assert_allclose(panel.images[0].get_array(), weightings[:, head].T, atol=1e-6)


def test_a_live_curve_that_was_told_nothing(shown):
    with plotting.live_curve(100, tasks.copy(1, 3), 24, 5):
        pass
    assert len(shown) == 1
