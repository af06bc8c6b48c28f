"""The player: recorded quantities of a machine, drawn at one time step, with a slider over all of them.

    player.Player([player.tape("inputs", inputs), player.frame("memory", memory)])

In a live Jupyter it shows an ipywidgets slider; in a published page, where no kernel runs, a plain one. The picture is
drawn by the same script, `player.js`, in both. Shapes are named by the letters of `ntm.model`: T time steps first.
"""

import base64
import html
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import anywidget
import ipywidgets
import numpy as np
import torch
import traitlets
from numpy.typing import ArrayLike, NDArray

SCRIPT = Path(__file__).with_name("player.js")
LEVELS = 255  # one byte per number: finer than an eye or a screen can tell apart
MATTERS = 0.01  # a location matters if some head puts more than this share of its weight there
MARGIN = 2  # locations shown on either side of those that matter
FOCUSED = 0.5  # a head is said to be at a location if that has at least half of its weight


class Panel(NamedTuple):
    """One picture of a player, made by `tape` or `frame`."""

    title: str
    steps: int  # T
    drawing: dict[str, Any]  # what player.js reads


def tape(
    title: str,
    values: ArrayLike | torch.Tensor,
    rows: Sequence[int | str] | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    diverging: bool = False,
    axis: str = "",
    mask: ArrayLike | torch.Tensor | None = None,
) -> Panel:
    """A strip with time from left to right and a cursor at the current step.

    `values` is (T, rows). `rows` labels the rows, first on top (default 0, 1, 2, ...), and `axis` says what they are.
    `vmin` and `vmax` are the ends of the colour scale, by default those of the values; what lies outside is drawn in
    the end's colour. `diverging` is for signed values: zero gets the neutral colour. Steps where `mask` (T) is zero
    are left blank.

    Raises ValueError for another shape, for values that are not finite, for vmin > vmax, for a wrong number of labels.
    """
    array = _finite(title, values, 2)
    drawing = {"kind": "tape", **_levels(title, array, vmin, vmax, diverging), "rowAxis": axis}
    drawing["rows"] = _labels(title, "row", rows, array.shape[1])
    if mask is not None:
        shown = _finite(f"{title}: mask", mask, 1)
        if len(shown) != len(array):
            raise ValueError(f"panel {title!r}: the mask has {len(shown)} steps, the values have {len(array)}")
        drawing["blank"] = np.flatnonzero(shown == 0).tolist()
    return Panel(title, len(array), drawing)


def frame(
    title: str,
    values: ArrayLike | torch.Tensor,
    rows: Sequence[int | str] | None = None,
    columns: Sequence[int | str] | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    diverging: bool = False,
    axes: tuple[str, str] = ("", ""),
    bars: bool = False,
    row_heads: Mapping[str, ArrayLike | torch.Tensor] | None = None,
    column_heads: Mapping[str, ArrayLike | torch.Tensor] | None = None,
    wide: bool = False,
) -> Panel:
    """A picture that changes with the step, such as the memory matrix.

    `values` is (T, rows, columns); `rows` and `columns` are their labels and `axes` the names of the two. With
    `bars=True` each row is a bar chart over the columns, such as one head's weighting over the locations; bars start at
    zero unless `vmin` says otherwise. `row_heads` maps the name of a head to its weighting (T, rows) in 0..1, drawn
    as bars beside the rows; `column_heads` likewise, (T, columns), above the columns. `wide` gives the panel a
    whole line of the player. The other arguments and the errors are those of `tape`.
    """
    array = _finite(title, values, 3)
    if bars and vmin is None:
        vmin = min(0.0, float(array.min()))
    drawing = {"kind": "bars" if bars else "frame", **_levels(title, array, vmin, vmax, diverging), "wide": wide}
    drawing |= {"rowAxis": axes[0], "columnAxis": axes[1], "heads": []}
    drawing["rows"] = _labels(title, "row", rows, array.shape[1])
    drawing["columns"] = _labels(title, "column", columns, array.shape[2])
    for side, heads, length in (("row", row_heads, array.shape[1]), ("column", column_heads, array.shape[2])):
        for name, weighting in (heads or {}).items():
            lane = _finite(f"{title}: {name}", weighting, 2)
            if lane.shape != (len(array), length):
                raise ValueError(f"panel {title!r}: head {name!r} is {lane.shape}, not {(len(array), length)}")
            drawing["heads"].append({"name": name, "side": side, **_levels(name, lane, 0, 1, False)})
    return Panel(title, len(array), drawing)


class Player:
    """Panels that share one time axis, with a slider over its steps; shown when it is the last value of a cell.

    `panels` fill a grid of `columns`, line by line; None leaves a place empty. `captions` are T sentences, the current
    one shown below the picture and read aloud by screen readers. `start` is the step shown first.

    Raises ValueError if the panels, or the captions, do not have the same number of steps.
    """

    def __init__(
        self,
        panels: Sequence[Panel | None],
        captions: Sequence[str] | None = None,
        columns: int = 2,
        title: str = "",
        start: int = 0,
    ) -> None:
        present = [panel for panel in panels if panel is not None]
        if not present:
            raise ValueError("a player needs at least one panel, got 0")
        if columns < 1:
            raise ValueError(f"a player needs at least one column, got {columns}")
        self.title, self.steps, self.start = title, present[0].steps, start
        for panel in present:
            if panel.steps != self.steps:
                raise ValueError(
                    f"panel {panel.title!r} has {panel.steps} steps, panel {present[0].title!r} has {self.steps}"
                )
        if captions is not None and len(captions) != self.steps:
            raise ValueError(f"{len(captions)} captions for {self.steps} steps")
        if not 0 <= start < self.steps:
            raise ValueError(f"start is {start}, the steps are 0 to {self.steps - 1}")
        drawings = [panel and {"title": panel.title, **panel.drawing} for panel in panels]
        self.data = json.dumps(
            {
                "title": title,
                "steps": self.steps,
                "start": start,
                "columns": columns,
                "captions": captions and list(captions),
                "panels": drawings,
            }
        )

    def html(self) -> str:
        """The player for a page without a kernel: its data, the script and the controls, and no address at all."""
        last, name = self.steps - 1, html.escape(self.title or "player")
        data = self.data.replace("<", "\\u003c")  # so that no text in it can end the script element
        return f"""<div class="ntm-player tex2jax_ignore mathjax_ignore" role="group" aria-label="{name}">
<canvas role="img" aria-label="{name}"></canvas>
<div class="ntm-player-controls">
<button type="button" aria-label="play"></button>
<input type="range" min="0" max="{last}" step="1" value="{self.start}" aria-label="time step">
<output aria-hidden="true">{self.start} / {last}</output>
</div>
<noscript>This picture over {self.steps} time steps is drawn by a script, and scripts are off.</noscript>
<script type="application/json">{data}</script>
</div>
<script type="module">
{SCRIPT.read_text(encoding="utf-8")}</script>"""

    @cached_property
    def widget(self) -> ipywidgets.VBox:
        """The player for a live Jupyter: the same picture, and ipywidgets' play button and slider linked to it."""
        bounds = {"min": 0, "max": self.steps - 1, "value": self.start}
        view = _View(data=self.data, step=self.start)
        play = ipywidgets.Play(**bounds, interval=200, show_repeat=False)
        slider = ipywidgets.IntSlider(**bounds, description="step", layout=ipywidgets.Layout(flex="1"))
        ipywidgets.jslink((play, "value"), (view, "step"))
        ipywidgets.jslink((slider, "value"), (view, "step"))
        return ipywidgets.VBox([view, ipywidgets.HBox([play, slider])])

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return {
            **self.widget._repr_mimebundle_(),
            "text/html": self.html(),
            "text/plain": f"Player({self.title!r}, {self.steps} steps)",
        }


class _View(anywidget.AnyWidget):
    """The picture alone, without controls, as a widget."""

    _esm = SCRIPT
    data = traitlets.Unicode().tag(sync=True)
    step = traitlets.Int(0).tag(sync=True)


def play(
    trace: Any,
    batch: Any,
    sequence: int = 0,
    all_locations: bool = False,
    title: str = "The machine, step by step",
    start: int = 0,
) -> Player:
    """The paper's Figure 6 for one sequence of a batch, in motion.

    On the left inputs, adds and write weightings, on the right outputs, reads and read weightings, and below them the
    memory with the focus of each head.

    `trace` is what `NTM.trace(batch.inputs)` returned and `batch` what the task gave. Outputs are the sigmoid of the
    logits, and left blank where they are not scored. Only those locations are shown which get more than 1% of some
    head's weight at some step, and what lies between them, unless `all_locations`; they keep their numbers.

    Raises ValueError if trace and batch differ in their steps, or have no such sequence.
    """
    steps, sequences = trace.weighting.shape[:2]
    if tuple(batch.inputs.shape[:2]) != (steps, sequences):
        raise ValueError(f"the trace is (T, B) = {(steps, sequences)}, the batch {tuple(batch.inputs.shape[:2])}")
    if not 0 <= sequence < sequences:
        raise ValueError(f"sequence is {sequence}, the batch has 0 to {sequences - 1}")

    def one(tensor: torch.Tensor) -> NDArray[np.float64]:  # (T, B, ...) -> (T, ...)
        return _array(tensor[:, sequence])

    weighting, memory, reads, adds = one(trace.weighting), one(trace.memory), one(trace.reads), one(trace.add)
    names = _head_names(reads.shape[1], adds.shape[1])
    locations = np.arange(memory.shape[1]) if all_locations else _locations_that_matter(weighting)
    heads = [
        tape(f"{name} weighting", weighting[:, h, locations], locations.tolist(), vmin=0, vmax=1, axis="location")
        for h, name in enumerate(names)
    ]
    vectors = [  # signed unless the machine's own squashing makes them positive
        tape(
            kind if name in ("read", "write") else f"{kind}, {name}",
            values,
            diverging=values.min() < 0,
            axis="component",
        )
        for kind, array, of in (("reads", reads, names), ("adds", adds, names[reads.shape[1] :]))
        for name, values in zip(of, np.moveaxis(array, 1, 0), strict=False)
    ]
    r = reads.shape[1]
    outputs = 1 / (1 + np.exp(-one(trace.logits)))
    inputs = one(batch.inputs)
    bits = bool(inputs.min() >= 0 and inputs.max() <= 1)  # else they are numbers, such as priorities
    vmin, vmax = (0, 1) if bits else (None, None)
    given = tape("inputs", inputs, vmin=vmin, vmax=vmax, diverging=inputs.min() < 0, axis="channel")
    left = [given, *vectors[r:], *heads[r:]]
    right = [tape("outputs", outputs, vmin=0, vmax=1, axis="channel", mask=one(batch.mask)), *vectors[:r], *heads[:r]]
    shown = memory[:, locations].swapaxes(1, 2)
    picture = frame(
        "memory",
        shown,
        columns=locations.tolist(),
        diverging=shown.min() < 0,
        axes=("component", "location"),
        column_heads={name: weighting[:, h, locations] for h, name in enumerate(names)},
        wide=True,
    )
    panels = [panel for line in zip_longest(left, right) for panel in line]
    captions = _captions(weighting, names, outputs, one(batch.targets), one(batch.mask))
    return Player([*panels, picture], captions, title=title, start=start)


def _head_names(reads: int, writes: int) -> list[str]:
    """One head of a kind is called by its kind; of several each has its number."""
    return [
        kind if count == 1 else f"{kind} {h + 1}"
        for kind, count in (("read", reads), ("write", writes))
        for h in range(count)
    ]


def _locations_that_matter(weighting: NDArray[np.float64]) -> NDArray[np.int64]:
    """(T, H, N) -> the numbers of the shortest run of locations, modulo N, that holds all that matter and a margin."""
    count = weighting.shape[-1]
    matter = np.flatnonzero((weighting > MATTERS).any(axis=(0, 1)))
    if len(matter) == 0:
        return np.arange(count)
    gaps = (np.roll(matter, -1) - matter - 1) % count  # after each that matters, until the next
    widest = int(gaps.argmax())
    length = count - int(gaps[widest])
    if length + 2 * MARGIN >= count:
        return np.arange(count)
    first = matter[(widest + 1) % len(matter)] - MARGIN
    return (first + np.arange(length + 2 * MARGIN)) % count


def _captions(
    weighting: NDArray[np.float64],
    names: list[str],
    outputs: NDArray[np.float64],
    targets: NDArray[np.float64],
    mask: NDArray[np.float64],
) -> list[str]:
    """One sentence for each step: where each head is, how strongly, and how many output bits are right."""
    captions = []
    for t, step in enumerate(weighting):
        parts = []
        for name, weights in zip(names, step, strict=True):
            verb = f"{name}s" if name in ("read", "write") else f"{name} at"  # of several heads: "read 2 at"
            at, weight = weights.argmax(), weights.max()
            if weight < FOCUSED:
                parts.append(f"{verb} no single location (at most {weight:.2f}, at {at})")
            else:
                parts.append(f"{verb} location {at} (weight {weight:.2f})")
        if mask[t]:
            right = int(((outputs[t] > 0.5) == (targets[t] > 0.5)).sum())
            parts.append(f"{right} of {targets.shape[1]} output bits right")
        captions.append(f"step {t}: {', '.join(parts)}")
    return captions


def _array(values: ArrayLike | torch.Tensor) -> NDArray[np.float64]:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().double().numpy()
    return np.asarray(values, dtype=np.float64)


def _finite(title: str, values: ArrayLike | torch.Tensor, dimensions: int) -> NDArray[np.float64]:
    array = _array(values)
    if array.ndim != dimensions or array.size == 0:
        raise ValueError(
            f"panel {title!r}: values of shape {array.shape}, expected {dimensions} dimensions, none empty"
        )
    if bad := int((~np.isfinite(array)).sum()):
        raise ValueError(f"panel {title!r}: {bad} of {array.size} values are not finite")
    return array


def _levels(
    title: str, array: NDArray[np.float64], vmin: float | None, vmax: float | None, diverging: bool
) -> dict[str, Any]:
    """The values as bytes between `low` and `high`, in base64."""
    if diverging:
        reach = max(abs(float(array.min())), abs(float(array.max())))
        vmin, vmax = -reach if vmin is None else vmin, reach if vmax is None else vmax
    low = float(array.min()) if vmin is None else float(vmin)
    high = float(array.max()) if vmax is None else float(vmax)
    if low > high:
        raise ValueError(f"panel {title!r}: the scale's lower end {low} is above its upper end {high}")
    if low == high:  # all values alike: any scale will do that holds them
        high = low + 1
    levels = np.rint((array.clip(low, high) - low) / (high - low) * LEVELS).astype(np.uint8)
    data = base64.b64encode(levels.tobytes()).decode("ascii")
    return {"low": low, "high": high, "diverging": bool(diverging), "shape": array.shape, "data": data}


def _labels(title: str, kind: str, labels: Sequence[int | str] | None, count: int) -> list[int | str]:
    if labels is None:
        return list(range(count))
    if len(labels) != count:
        raise ValueError(f"panel {title!r}: {len(labels)} {kind} labels for {count} {kind}s")
    return [label if isinstance(label, str) else int(label) for label in labels]
