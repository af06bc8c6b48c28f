"""Neural Turing Machines, reproduced: Graves, Wayne and Danihelka (2014), arXiv:1410.5401.

One file for each part of the paper's Figure 1. Start with :mod:`ntm.model`, whose head explains the letters
that all shapes are written in.
"""

import sys

if sys.argv[:1] == ["-m"]:  # python -m ntm: Python imports this package before it finds ntm/__main__.py
    from ntm import interrupts

    interrupts.leave_at_once()


from ntm.engine import literal
from ntm.lstm import LSTM, LSTMConfig
from ntm.model import NTM, NTMConfig, State, Trace

__version__ = "0.1.0"
__all__ = ["LSTM", "NTM", "LSTMConfig", "NTMConfig", "State", "Trace", "literal"]
