"""The book's static figures: one look for all, with time always from left to right."""

import time
from collections.abc import Callable, Sequence

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import display
from matplotlib.axes import Axes
from torch import Tensor

from ntm.training import Row

COLOURS = {"NTM-LSTM": "#3b6fb6", "NTM-FF": "#2a9d6f", "LSTM": "#c8553d"}  # one colour per network, book-wide


def use_style() -> None:
    """The book's look; call it once in a chapter's set-up cell."""
    plt.rcParams.update(
        {
            "figure.dpi": 110,
            "figure.constrained_layout.use": True,
            "font.size": 9,
            "axes.titlesize": 9,
            "axes.titlelocation": "left",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "image.interpolation": "nearest",
            "image.aspect": "auto",
        }
    )


def strip(
    axes: Axes, values: Tensor | np.ndarray, title: str, rows: str = "", signed: bool = False, first_row: int = 0
) -> None:
    """A picture of (T, rows) with time from left to right: 0 dark to 1 bright, or blue to red where signed.

    ``rows`` labels the vertical axis, ``first_row`` is the number of its first row.
    """
    picture = np.asarray(values, dtype=float).T
    extent = (-0.5, picture.shape[1] - 0.5, first_row + picture.shape[0] - 0.5, first_row - 0.5)
    limit = max(np.abs(picture).max(), 1e-9)
    low, high = (-limit, limit) if signed else (0, max(1.0, limit))
    axes.imshow(picture, cmap="RdBu_r" if signed else "viridis", vmin=low, vmax=high, extent=extent)
    axes.set(title=title, ylabel=rows)
    axes.spines[:].set_visible(False)


def weighting(axes: Axes, values: Tensor | Sequence[float], title: str = "", colour: str = "#3b6fb6") -> None:
    """Bars of one weighting (N): a share of attention for each location."""
    axes.bar(range(len(values)), np.asarray(values, dtype=float), color=colour, width=0.85)
    axes.set(title=title, xlabel="location", ylim=(0, 1.05))


def learning_curve(
    axes: Axes, logs: Sequence[Sequence[Row]], label: str, colour: str, cost: str = "bits_per_sequence"
) -> None:
    """Cost against training sequences: each run thin, their median thick (where all runs have a row)."""
    for log in logs:
        axes.plot([r.sequences for r in log], [getattr(r, cost) for r in log], color=colour, lw=0.7, alpha=0.45)
    shortest = min(len(log) for log in logs)
    median = np.median([[getattr(r, cost) for r in log[:shortest]] for log in logs], axis=0)
    axes.plot([r.sequences for r in logs[0][:shortest]], median, color=colour, lw=2, label=label)
    axes.set(xlabel="training sequences", ylabel=cost.replace("_", " "))


def live_curve(every: float = 0.5) -> Callable[[Sequence[Row]], None]:
    """A report for training: bits per sequence against sequences, drawn anew every so many seconds, in one place."""
    figure, axes = plt.subplots(figsize=(7, 2.2))
    (line,) = axes.plot([], [])
    axes.set(xlabel="training sequences", ylabel="bits per sequence", title="The cost while the machine trains")
    handle, drawn = display(figure, display_id=True), time.perf_counter()
    plt.close(figure)

    def report(log: Sequence[Row]) -> None:
        nonlocal drawn
        line.set_data([row.sequences for row in log], [row.bits_per_sequence for row in log])
        if handle and time.perf_counter() - drawn >= every:
            axes.relim()
            axes.autoscale_view()
            handle.update(figure)
            drawn = time.perf_counter()

    return report
