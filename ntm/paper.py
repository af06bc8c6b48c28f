"""What the paper reports, as numbers: its learning curves and tables, from ``data/paper``."""

import csv
from pathlib import Path

DATA = Path(__file__).resolve().parents[1] / "data"

# Wrong bits counted in the panels of Figures 4 (NTM) and 5 (LSTM), which draw one sequence of each length, and the
# share of all bits that is. The caption speaks of lengths 10, 20, 30, 50 and 120; 10 and 20 show no error in either.
FIGURE_4_WRONG_BITS = {10: 0, 20: 0, 30: 2, 50: 1, 120: 184}
FIGURE_5_WRONG_BITS = {10: 0, 20: 0, 30: 73, 50: 154, 120: 431}


def curves(figure: int) -> dict[str, tuple[list[float], list[float]]]:
    """The learning curves of a figure: for each series, training sequences and bits per sequence.

    In Figure 11 the first list is items per sequence instead.
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
    """The rows of Table 1, 2 or 3."""
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
