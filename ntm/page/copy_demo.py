"""The reader's own bits: a trained machine in the page that copies a list which the reader clicks together.

    copy_demo.CopyDemo(runs.load("copy-ntm-ff-0"))

No kernel is needed: the page holds the machine (:mod:`ntm.page.machine`), its weights in half precision, and a script.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ntm.model import NTM
from ntm.page import machine

SCRIPT = Path(__file__).with_name("copy_demo.js")

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


class CopyDemo:
    """A list of bits to click, play and step buttons, and what the machine makes of it; shown as a cell's last value.

    `model` is a trained copy machine of 8 bits, `vectors` the list that stands there first (L, 8), and `longest` the
    most vectors that a reader may ask for, by default as many as the memory has locations. `trained` is the longest
    list that the machine was trained on, which the page says of longer ones.

    Raises ValueError if the machine is not one for copying, or the list does not fit it.
    """

    def __init__(
        self, model: NTM, vectors: Sequence[Sequence[int]] | None = None, trained: int = 20, longest: int | None = None
    ) -> None:
        config = model.config
        if config.inputs != config.outputs + 2:
            raise ValueError(
                f"a machine that copies has two inputs more than outputs, not {config.inputs} and {config.outputs}"
            )
        rows = [[int(mark == "#") for mark in row.strip()] for row in WORD.split()]
        given = [list(vector) for vector in (zip(*rows, strict=True) if vectors is None else vectors)]
        longest = config.locations if longest is None else longest
        if not 1 <= len(given) <= longest:
            raise ValueError(f"a list of {len(given)} vectors: must be 1 to {longest}")
        for i, vector in enumerate(given):
            if len(vector) != config.outputs or any(bit not in (0, 1) for bit in vector):
                raise ValueError(f"vector {i} is {vector}: must be {config.outputs} bits, each 0 or 1")
        data = {"machine": machine.encode(model), "list": given, "trained": trained, "longest": longest}
        self.vectors, self.data = given, json.dumps(data, separators=(",", ":"))

    def html(self) -> str:
        """The demo for a page: its data, the machine and the script, and no address at all."""
        return f"""<div class="ntm-copy tex2jax_ignore mathjax_ignore" role="group" aria-label="copying your own list">
<noscript><p>Here a trained machine copies a list of bits that you click together. It is drawn by a script, and
scripts are off.</p></noscript>
<script type="application/json">{self.data}</script>
</div>
<script>
{machine.bundle()}
{SCRIPT.read_text(encoding="utf-8")}</script>"""

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/html": self.html(), "text/plain": f"CopyDemo({len(self.vectors)} vectors)"}
