"""What the paper reports, as numbers: its learning curves and tables, from ``data/paper``, and its configurations."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Literal

from ntm import training
from ntm.lstm import LSTMConfig
from ntm.model import NTMConfig
from ntm.tasks import TASKS

DATA = Path(__file__).resolve().parents[1] / "data"

# Wrong bits counted in the panels of Figures 4 (NTM) and 5 (LSTM), which draw one sequence of each length: by
# the number of its vectors. 10 and 20 show no error in either.
FIGURE_4_WRONG_BITS = {10: 0, 20: 0, 30: 2, 50: 1, 120: 184}
FIGURE_5_WRONG_BITS = {10: 0, 20: 0, 30: 73, 50: 154, 120: 431}


def _ntm(task: str, controller: Literal["feedforward", "lstm"], hidden: int, heads: int, layers: int = 1) -> NTMConfig:
    """A row of Table 1 or 2: ``heads`` is the number of read heads, and of write heads."""
    sizes = TASKS[task]()
    return NTMConfig(sizes.inputs, sizes.outputs, controller, hidden, layers, read_heads=heads, write_heads=heads)


def _lstm(task: str, hidden: int) -> LSTMConfig:
    """A row of Table 3."""
    sizes = TASKS[task]()
    return LSTMConfig(sizes.inputs, sizes.outputs, hidden)


# The rows of Tables 1, 2 and 3, by task and network. The paper does not say whether "#Heads" are pairs of a read and a
# write head; we take them to be. All memories are 128 x 20.
CONFIGS: dict[tuple[str, str], NTMConfig | LSTMConfig] = {
    ("copy", "ntm-ff"): _ntm("copy", "feedforward", hidden=100, heads=1),
    ("repeat-copy", "ntm-ff"): _ntm("repeat-copy", "feedforward", hidden=100, heads=1),
    ("recall", "ntm-ff"): _ntm("recall", "feedforward", hidden=256, heads=4),
    ("ngrams", "ntm-ff"): _ntm("ngrams", "feedforward", hidden=100, heads=1),
    ("sort", "ntm-ff"): _ntm("sort", "feedforward", hidden=512, heads=8),
    ("copy", "ntm-lstm"): _ntm("copy", "lstm", hidden=100, heads=1),
    ("repeat-copy", "ntm-lstm"): _ntm("repeat-copy", "lstm", hidden=100, heads=1),
    ("recall", "ntm-lstm"): _ntm("recall", "lstm", hidden=100, heads=1),
    ("ngrams", "ntm-lstm"): _ntm("ngrams", "lstm", hidden=100, heads=1),
    ("sort", "ntm-lstm"): _ntm("sort", "lstm", hidden=100, heads=5, layers=2),
    ("copy", "lstm"): _lstm("copy", hidden=256),
    ("repeat-copy", "lstm"): _lstm("repeat-copy", hidden=512),
    ("recall", "lstm"): _lstm("recall", hidden=256),
    ("ngrams", "lstm"): _lstm("ngrams", hidden=128),
    ("sort", "lstm"): _lstm("sort", hidden=128),
}

# Learning rates other than 1e-4.
_SLOWER = {
    *((task, network) for task in ("ngrams", "sort") for network in ("ntm-ff", "ntm-lstm")),
    *((task, "lstm") for task in ("copy", "repeat-copy", "sort")),
}


def recipe(task: str, network: str) -> training.TrainingConfig:
    """How the paper trains a row of its tables, as far as it says so; one sequence at a time, which it does not say.

    For as many sequences as its learning curves show.
    """
    if (task, network) not in CONFIGS:
        tasks, networks = (", ".join(dict.fromkeys(names)) for names in zip(*CONFIGS, strict=True))
        raise ValueError(f"task={task!r}, network={network!r}: must be one of {tasks}, and one of {networks}")
    rate, sequences = (3e-5 if (task, network) in _SLOWER else 1e-4), (500_000 if task == "repeat-copy" else 1_000_000)
    return replace(training.PAPER, learning_rate=rate, updates=sequences, report_every=1000)


def curves(figure: int) -> dict[str, tuple[list[float], list[float]]]:
    """The learning curves of a figure: for each series, training sequences and bits per sequence.

    The series are NTM-LSTM, NTM-FF and LSTM, in Figure 13 also Optimal. In Figure 11 the first list is items per
    sequence instead. Raises ValueError for a figure without curves.
    """
    series: dict[str, tuple[list[float], list[float]]] = {}
    scale = 1 if figure == 11 else 1000
    for row in _rows("curves.csv"):
        if int(row["figure"]) == figure:
            sequences, bits = series.setdefault(row["series"], ([], []))
            sequences.append(float(row["x"]) * scale)
            bits.append(float(row["bits_per_sequence"]))
    if not series:
        raise ValueError(f"figure={figure}: the paper's curves are those of Figures 3, 7, 10, 11, 13 and 18")
    return series


def table(number: int) -> list[dict[str, str]]:
    """The rows of Table 1, 2 or 3, one per task, as printed.

    Each has model, task, heads, controller_size, memory, learning_rate and parameters, all of them text. Raises
    ValueError for another number.
    """
    rows = [row for row in _rows("tables.csv") if row["table"] == str(number)]
    if not rows:
        raise ValueError(f"number={number}: the paper has Tables 1, 2 and 3")
    return rows


def _rows(name: str) -> list[dict[str, str]]:
    path = DATA / "paper" / name
    if not path.exists():
        raise FileNotFoundError(
            f"{path} is not there: what the paper reports comes with the repository, not with the installed package; "
            "clone the repository and install it from there (pip install -e .)"
        )
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
