"""The static figures draw what they are given."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

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


def test_learning_curve_draws_every_run_and_their_median(axes):
    logs = [[Row(i, 10 * i, 0.0, cost * i, 0.0, 0.0) for i in (1, 2)] for cost in (1.0, 2.0, 6.0)]
    plotting.learning_curve(axes, logs, "x", "black")
    assert [line.get_ydata().tolist() for line in axes.lines] == [[1, 2], [2, 4], [6, 12], [2, 4]]


def test_weighting(axes):
    plotting.weighting(axes, torch.tensor([0.25, 0.75]))
    assert [bar.get_height() for bar in axes.patches] == [0.25, 0.75]


def test_a_live_curve_takes_a_log(monkeypatch):
    shown = []

    class Handle:
        def update(self, figure):
            shown.append(figure.axes[0].lines[0].get_xydata().tolist())

    monkeypatch.setattr(plotting, "display", lambda figure, display_id: Handle())
    report = plotting.live_curve(every=0)
    report([Row(1, 4, 0.7, 80.0, 40.0, 0.1), Row(2, 8, 0.6, 70.0, 30.0, 0.2)])
    assert shown == [[[4, 80], [8, 70]]]
