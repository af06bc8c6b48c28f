"""Make the pictures of the README again from the saved runs: `python tools/figures.py`."""

from pathlib import Path
from typing import cast

import matplotlib
import torch
from matplotlib import pyplot as plt
from matplotlib.animation import FuncAnimation, PillowWriter

from ntm import NTM, paper, runs, tasks
from ntm.book import plotting, saved_runs

FIGURES = Path(__file__).resolve().parent.parent / "figures"
SEEDS = {"NTM-LSTM": saved_runs.SEEDS, "NTM-FF": saved_runs.SEEDS, "LSTM": (0, 1, 2)}


def copying(length: int = 12, seed: int = 7) -> None:
    """The clearest of the saved machines copies a list, one frame per time step."""
    machine = saved_runs.load(*saved_runs.clearest())
    batch = tasks.copy(1, length, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        trace = cast(NTM, machine).trace(batch.inputs)
    used = trace.weighting[:, 0].flatten(0, 1).amax(0) > 0.5  # locations that some head is at
    panels = [
        (batch.inputs[:, 0], "inputs", False),
        (trace.logits[:, 0].sigmoid() * batch.mask, "outputs", False),
        (trace.weighting[:, 0, 1][:, used], "write weighting", False),
        (trace.weighting[:, 0, 0][:, used], "read weighting", False),
    ]
    figure, axes = plt.subplots(2, 2, figsize=(7.2, 3.6), sharex=True, dpi=90)
    images = []
    names = {"inputs": "channel", "outputs": "bit"}
    for a, (values, title, signed) in zip(axes.T.ravel(), [panels[i] for i in (0, 2, 1, 3)], strict=True):
        plotting.strip(a, values, title, names.get(title, "location"), signed)
        images.append((a.images[0], a.images[0].get_array()))
    for a in axes[1]:
        a.set(xlabel="time step")

    def draw(step: int) -> None:
        for image, values in images:
            shown = values.copy()
            shown[:, min(step, values.shape[1] - 1) + 1 :] = 0
            image.set_data(shown)

    steps = len(batch.inputs)
    movie = FuncAnimation(figure, draw, frames=steps + 8)  # rests on the last step
    movie.save(FIGURES / "copying.gif", PillowWriter(fps=5))
    plt.close(figure)


def learning_curves() -> None:
    """Cost against training sequences of our three networks, beside the paper's Figure 3."""
    figure, axes = plt.subplots(figsize=(7.2, 3.4), dpi=110)
    for name, colour in plotting.COLOURS.items():
        logs = [runs.read_log(saved_runs.folder(name, seed)) for seed in SEEDS[name]]
        plotting.learning_curve(axes, logs, f"{name}, ours", colour)
        axes.plot(*paper.curves(3)[name], "--", color=colour, lw=1, label=f"{name}, the paper's Figure 3")
    axes.set(xscale="log", ylim=(0, None))
    axes.legend(frameon=False, fontsize=7)
    figure.savefig(FIGURES / "learning_curves.png")
    plt.close(figure)


if __name__ == "__main__":
    matplotlib.use("Agg")
    plotting.use_style()
    copying()
    learning_curves()
