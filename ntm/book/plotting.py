"""The book's static figures: one look for all, with time always from left to right."""

import base64
import html
import io
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown, display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from ntm.book.prose import say
from ntm.model import NTM
from ntm.tasks import Batch
from ntm.training import Row

COLOURS = {"NTM-LSTM": "#3b6fb6", "NTM-FF": "#2a9d6f", "LSTM": "#c8553d"}  # one colour per network, book-wide
LARGEST_SVG = 150_000  # bytes; what is larger is drawn by points


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
    axes: Axes,
    values: Tensor | np.ndarray,
    title: str,
    rows: str = "",
    signed: bool = False,
    first_row: int = 0,
    limit: float | None = None,
) -> None:
    """A picture of (T, rows) with time from left to right: 0 dark to 1 bright, or blue to red where signed.

    ``rows`` labels the vertical axis, ``first_row`` is the number of its first row. ``limit`` is the end of the colour
    scale, by default the largest of the values; pictures that are to be compared want the same.
    """
    picture = np.asarray(values, dtype=float).T
    extent = (-0.5, picture.shape[1] - 0.5, first_row + picture.shape[0] - 0.5, first_row - 0.5)
    limit = max(np.abs(picture).max() if limit is None else limit, 1e-9)
    low, high = (-limit, limit) if signed else (0, max(1.0, limit))
    axes.imshow(picture, cmap="RdBu_r" if signed else "viridis", vmin=low, vmax=high, extent=extent)
    axes.set(title=title, ylabel=rows)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))  # steps and rows are counted
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


def picture(figure: Figure, alt: str) -> str:
    """The figure as an HTML image that needs no other file, with words for who cannot see it.

    Drawn by lines (SVG) where that is small, else by points, two for each of the screen's.
    """
    lines = io.StringIO()
    with plt.rc_context({"svg.hashsalt": alt}):  # the same names in it at each run
        figure.savefig(lines, format="svg", metadata={"Date": None})
    kind, data = "svg+xml", lines.getvalue().encode()
    if len(data) > LARGEST_SVG:
        points = io.BytesIO()
        figure.savefig(points, format="png", dpi=2 * figure.dpi)
        kind, data = "png", points.getvalue()
    return _image(figure, kind, data, alt)


def _image(figure: Figure, kind: str, data: bytes, alt: str) -> str:
    width = round(figure.get_figwidth() * figure.dpi)
    words = html.escape(" ".join(alt.split()))
    return f'<img width="{width}" alt="{words}" src="data:image/{kind};base64,{base64.b64encode(data).decode()}">'


def show(figure: Figure, caption: str, alt: str) -> None:
    """Show the figure with its caption, which may hold Markdown, and with ``alt``, what it looks like in words."""
    plt.close(figure)
    say(captioned(picture(figure, alt), caption))


def captioned(image: str, caption: str) -> str:
    """An image and its caption as Markdown; the blank lines make that of the caption be read as such."""
    return f"<figure>\n{image}\n<figcaption>\n\n{caption.strip()}\n\n</figcaption>\n</figure>"


@contextmanager
def live_curve(
    limit: int, batch: Batch, chance: float, locations: int, every: float = 0.5
) -> Iterator[Callable[[NTM, Sequence[Row]], None]]:
    """A report for `experiments.solve`: the cost so far, and where the heads are on one list that stays the same.

    ``limit`` is the largest number of training sequences, ``batch`` holds that list (its first sequence is shown, in a
    memory of ``locations``), ``chance`` is what guessing costs in bits per sequence. The picture is drawn anew in one
    place, at most every so many seconds, never so often that more than one second in twenty goes into it, and once
    more at the end.
    """
    figure, axes = plt.subplots(1, 3, figsize=(7.5, 2.4), width_ratios=[2, 1, 1])
    plt.close(figure)
    (line,) = axes[0].plot([], [], color=COLOURS["NTM-LSTM"])
    axes[0].axhline(chance, color="black", ls=":", lw=1)
    axes[0].annotate("chance", (limit, chance), (0, 3), textcoords="offset points", ha="right", fontsize=7)
    axes[0].set(xlim=(0, limit), ylim=(0, 1.2 * chance), xlabel="training sequences", ylabel="bits per sequence")
    axes[0].set(title="the cost")
    axes[1].set(title="write weighting", xticks=[], yticks=[])
    axes[2].set(title="read weighting", xticks=[], yticks=[])
    waiting = "Waiting for the first updates. If the engine has to be compiled first, once, that takes half a minute."
    handle = display(Markdown(captioned(_points(figure, "An empty plot."), waiting)), display_id=True)
    caption = f"The machine {{}}. A write and a read head on one list, in a memory of {locations} locations."
    ready, latest = time.perf_counter(), None

    def draw(model: NTM, log: Sequence[Row]) -> str:
        line.set_data([row.sequences for row in log], [row.bits_per_sequence for row in log])
        with torch.no_grad():
            trace = model.trace(batch.inputs[:, :1], model.initial_state(1, locations))
        weighting = trace.weighting[:, 0].numpy()  # (T,H,N), the write heads last
        for a, head in zip(axes[1:], (-1, 0), strict=True):
            if a.images:
                a.images[0].set_data(weighting[:, head].T)
            else:
                a.clear()
                strip(a, weighting[:, head], "read weighting" if head == 0 else "write weighting", "location")
                a.set(xlabel="time step")
        return f"after {log[-1].sequences:,} sequences, at {log[-1].bits_per_sequence:.2f} bits per sequence"

    def report(model: NTM, log: Sequence[Row]) -> None:
        nonlocal ready, latest
        latest, started = (model, log), time.perf_counter()
        if started >= ready:
            words = draw(model, log)
            handle.update(Markdown(captioned(_points(figure, words), caption.format(words))))
            figure.set_layout_engine("none")  # the panels keep their places, and the next drawing is faster
            now = time.perf_counter()
            ready = now + max(every, 20 * (now - started))

    yield report
    if latest:
        words = draw(*latest)
        alt = f"The cost while the machine trained, {words}, beside its write and its read weighting over a list."
        handle.update(Markdown(captioned(picture(figure, alt), caption.format(words))))


def _points(figure: Figure, alt: str) -> str:
    data = io.BytesIO()
    figure.savefig(data, format="png")
    return _image(figure, "png", data.getvalue(), alt)
