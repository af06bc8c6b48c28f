"""Demos that compute in the page, where no kernel runs: the reader's own bits, a machine that learns, laboratories.

    demos.CopyDemo(runs.load("copy-ntm-ff-0"))
    demos.LearnDemo(fault="sigmoid_on_the_weighting")
    demos.AddressingLab()
    demos.MemoryToy()

Each is shown when it is the last value of a cell, in a published page as in a live Jupyter. The page holds the machine
(``ntm/page/machine``), weights in half precision, and a script; it names no address.
"""

import json
import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import anywidget
import traitlets

from ntm.bugs import NAMES
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
# Twelve rows whose directions are far apart, but for 6 and 10: one direction, written strongly and faintly.
ROWS = (
    *((1, 0, 0), (0, 1, 0), (0, 0, 1), (-1, 0, 0), (0, -1, 0), (0, 0, -1)),
    *((1, 1, 0), (0, 1, 1), (1, 0, -1), (-1, 1, 0), (0.2, 0.2, 0), (-1, -1, 1)),
)


class _Demo:
    """A fragment of a page: the data, the machine, and the script of its kind."""

    kind: str  # of the script, ntm/page/{kind}_demo.js
    shared: tuple[str, ...] = ("parts",)  # scripts that it needs before its own
    name: str  # for who does not see it
    still: str  # what stands there when scripts are off

    def __init__(self, **data: Any) -> None:
        self.data = json.dumps(data, separators=(",", ":"))

    def _script(self) -> str:
        scripts = [Path(__file__).with_name(f"{name}.js") for name in (*self.shared, f"{self.kind}_demo")]
        return "\n".join([machine.bundle(), *(script.read_text(encoding="utf-8") for script in scripts)])

    def html(self) -> str:
        """The demo for a page."""
        classes = f"ntm-demo ntm-{self.kind} tex2jax_ignore mathjax_ignore"
        alone = "data-lm-suppress-shortcuts=true"  # JupyterLab's own keys stand back inside
        return f"""<div class="{classes}" role="group" aria-label="{self.name}" {alone}>
<noscript><p>{self.still} It is drawn by a script, and scripts are off.</p></noscript>
<script type="application/json">{self.data}</script>
</div>
<script>
{self._script()}</script>"""

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
        known = {name: words for name, words in NAMES.items() if name not in NOT_IN_A_PAGE}
        if fault and fault not in known:
            raise ValueError(f"fault {fault!r}: in a page it must be one of {', '.join(known)}, or empty")
        if controller not in ("feedforward", "lstm"):
            raise ValueError(f"controller {controller!r}: must be 'feedforward' or 'lstm'")
        super().__init__(seed=seed, fault=fault, controller=controller, faults=list(known.items()))


class _Lab(_Demo):
    """A demo with a setting: text in the address of a page, and a trait of the widget in a live Jupyter."""

    shared = ("parts", "knobs")

    @cached_property
    def widget(self) -> "_View":
        """The laboratory for a live Jupyter; its `setting` follows what a reader does, and leads it."""
        script = f'{self._script()}\nexport default {{ render: ntm.parts.render("{self.kind}") }};\n'
        return _View(_esm=script, data=self.data, name=self.name)

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        view, *_ = self.widget._repr_mimebundle_() or ({},)
        return {**view, **super()._repr_mimebundle_(**options)}


class _View(anywidget.AnyWidget):
    """A laboratory as a widget."""

    _esm = traitlets.Unicode().tag(sync=True)
    data = traitlets.Unicode().tag(sync=True)
    name = traitlets.Unicode().tag(sync=True)
    setting = traitlets.Unicode().tag(sync=True)


class AddressingLab(_Lab):
    """A memory, a key and the knobs of equations 5 to 9, and the weightings of all stages, which follow at once.

    `memory` is (N, M) with at least eight rows; `key` (M), `beta`, `gate`, `shift` (back, stay, forward), `gamma` and
    `before` (N), the weighting before, are where the knobs stand first. By default the head is at location 3.

    Raises ValueError for another shape, a number that is not finite, or a weighting that does not sum to 1.
    """

    kind, name = "addressing", "the four steps of addressing, with knobs"
    still = (
        "Here a head looks at a memory of a few rows. Knobs set the key, its strength, the gate, the shift and the "
        "exponent, and five rows of bars show the weighting before, by content, gated, shifted and sharpened."
    )

    def __init__(
        self,
        memory: Sequence[Sequence[float]] = ROWS,
        key: Sequence[float] = (0, 1, 1),
        beta: float = 10,
        gate: float = 0.5,
        shift: Sequence[float] = (0.1, 0.1, 0.8),
        gamma: float = 2,
        before: Sequence[float] | None = None,
    ) -> None:
        rows = _matrix("memory", memory)
        count, width = len(rows), len(rows[0])
        if count < 8:
            raise ValueError(f"a memory of {count} rows: must be at least 8")
        start = {
            "key": _numbers("key", key, width),
            "beta": _numbers("beta", [beta], 1),
            "gate": _numbers("gate", [gate], 1),
            "shift": _weighting("shift", shift, 3),
            "gamma": _numbers("gamma", [gamma], 1),
            "before": _weighting("before", [float(n == 3) for n in range(count)] if before is None else before, count),
        }
        super().__init__(memory=rows, start=start)


class MemoryToy(_Lab):
    """A memory of a few rows, into which one head writes and which it reads, by sliders.

    `memory` is (N, M), and `weighting` (N), `erase` (M) and `add` (M) are where the sliders stand first.

    Raises ValueError for another shape, a number that is not finite, or a weighting that does not sum to 1.
    """

    kind, name = "memory", "a memory to write and read"
    still = (
        "Here one head writes into a memory of a few rows and reads it. Sliders set its weighting, its erase and its "
        "add vector, and the memory is shown before the write, after the erase and after the add."
    )

    def __init__(
        self,
        memory: Sequence[Sequence[float]] = ((1, 0, 0), (0, 2, 0), (0, 0, 3), (4, 4, 4)),
        weighting: Sequence[float] = (0, 0.5, 0.5, 0),
        erase: Sequence[float] = (1, 1, 0),
        add: Sequence[float] = (7, 0, 0),
    ) -> None:
        rows = _matrix("memory", memory)
        count, width = len(rows), len(rows[0])
        start = {
            "weighting": _weighting("weighting", weighting, count),
            "erase": _numbers("erase", erase, width),
            "add": _numbers("add", add, width),
            "memory": [value for row in rows for value in row],
        }
        super().__init__(start=start)


def _numbers(name: str, values: Sequence[float], length: int) -> list[float]:
    numbers = [float(value) for value in values]
    if len(numbers) != length or not all(map(math.isfinite, numbers)):
        raise ValueError(f"{name} is {numbers}: must be {length} finite numbers")
    return numbers


def _weighting(name: str, values: Sequence[float], length: int) -> list[float]:
    numbers = _numbers(name, values, length)
    if min(numbers) < 0 or not math.isclose(sum(numbers), 1, abs_tol=1e-6):
        raise ValueError(f"{name} is {numbers}: must be at least 0 and sum to 1")
    return numbers


def _matrix(name: str, rows: Sequence[Sequence[float]]) -> list[list[float]]:
    if len(rows) == 0 or len(rows[0]) == 0:
        raise ValueError(f"{name} is empty")
    return [_numbers(f"row {n} of {name}", row, len(rows[0])) for n, row in enumerate(rows)]
