"""Demos that compute in the page, where no kernel runs: the reader's own bits, and a machine that learns.

    demos.CopyDemo(runs.load("copy-ntm-ff-0"))
    demos.LearnDemo(fault="sigmoid_on_the_weighting")

Each is shown when it is the last value of a cell, in a published page as in a live Jupyter. The page holds the machine
(``ntm/page/machine``), weights in half precision, and a script; it names no address.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from ntm.bugs import FAULTS
from ntm.model import NTM
from ntm.page import machine

# What the list says at first, eight rows of bits against time.
WORD = """
 #...#.#####.#...#
 #...#...#...##.##
 ##..#...#...#.#.#
 #.#.#...#...#.#.#
 #..##...#...#...#
 #...#...#...#...#
 #...#...#...#...#
 .................
"""
# Faults that belong to a batch (a start for each of its rows) or raise an error of shapes only.
NOT_IN_A_PAGE = ("states_of_rows_trained", "states_of_rows_frozen", "two_heads_for_everybody")


class _Demo:
    """A fragment of a page: the data, the machine, and the script of its kind."""

    kind: str  # of the script, ntm/page/{kind}_demo.js
    name: str  # for who does not see it
    still: str  # what stands there when scripts are off

    def __init__(self, **data: Any) -> None:
        self.data = json.dumps(data, separators=(",", ":"))

    def html(self) -> str:
        """The demo for a page."""
        scripts = [Path(__file__).with_name(f"{name}.js") for name in ("parts", f"{self.kind}_demo")]
        text = "\n".join([machine.bundle(), *(script.read_text(encoding="utf-8") for script in scripts)])
        classes = f"ntm-demo ntm-{self.kind} tex2jax_ignore mathjax_ignore"
        alone = "data-lm-suppress-shortcuts=true"  # JupyterLab's own keys stand back inside
        return f"""<div class="{classes}" role="group" aria-label="{self.name}" {alone}>
<noscript><p>{self.still} It is drawn by a script, and scripts are off.</p></noscript>
<script type="application/json">{self.data}</script>
</div>
<script>
{text}</script>"""

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/html": self.html(), "text/plain": f"{type(self).__name__}: {self.name}"}


class CopyDemo(_Demo):
    """A list of bits to click, play and step buttons, and what a trained machine makes of it.

    `model` is a trained copy machine, `vectors` the list that stands there first (L, Y), by default a word in 8 bits,
    and `longest` the most vectors that a reader may ask for, by default as many as the memory has locations. `trained`
    is the longest list that the machine was trained on, which the page says of longer ones.

    Raises ValueError if the machine is not one for copying, or the list does not fit it.
    """

    kind, name = "copy", "a machine that copies your own list"
    still = "Here a trained machine copies a list of bits that you click together."

    def __init__(
        self, model: NTM, vectors: Sequence[Sequence[int]] | None = None, trained: int = 20, longest: int | None = None
    ) -> None:
        inputs, outputs = model.config.inputs, model.config.outputs
        if inputs != outputs + 2:
            raise ValueError(f"a machine that copies has two inputs more than outputs, not {inputs} and {outputs}")
        word = zip(*([int(mark == "#") for mark in row] for row in WORD.split()), strict=True)
        given = [list(vector) for vector in (word if vectors is None else vectors)]
        longest = model.config.locations if longest is None else longest
        if not 1 <= len(given) <= longest:
            raise ValueError(f"a list of {len(given)} vectors: must be 1 to {longest}")
        for i, vector in enumerate(given):
            if len(vector) != outputs or any(bit not in (0, 1) for bit in vector):
                raise ValueError(f"vector {i} is {vector}: must be {outputs} bits, each 0 or 1")
        super().__init__(machine=machine.encode(model), list=given, trained=trained, longest=longest)


class LearnDemo(_Demo):
    """A small machine that learns to copy in the page, from random weights, in seconds, with or without a fault.

    `seed` is of its weights and lists, `fault` a name of ``ntm.bugs.FAULTS`` or none; a reader may change them.

    Raises ValueError for a fault that is unknown or not there in a page, or an unknown controller.
    """

    kind, name = "learn", "a machine that learns in this page"
    still = "Here a small machine learns to copy lists, from random weights, in seconds."

    def __init__(
        self, seed: int = 1, fault: str = "", controller: Literal["feedforward", "lstm"] = "feedforward"
    ) -> None:
        known = [name for name in FAULTS if name not in NOT_IN_A_PAGE]
        if fault and fault not in known:
            raise ValueError(f"fault {fault!r}: in a page it must be one of {', '.join(known)}, or empty")
        if controller not in ("feedforward", "lstm"):
            raise ValueError(f"controller {controller!r}: must be 'feedforward' or 'lstm'")
        super().__init__(seed=seed, fault=fault, controller=controller)
