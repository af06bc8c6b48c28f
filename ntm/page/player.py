"""The player: recorded quantities of a machine, drawn at one time step, with a slider over all of them.

    player.Player({"inputs": [player.tape("inputs", inputs)], "memory": [player.frame("memory", memory)]})

One script, `player.js`, makes it in a live Jupyter, where it is a widget whose `timestep` can be linked with others,
and in a published page, where no kernel runs and the step stands in the address. Shapes are named by the letters of
`ntm.model`: T time steps first.
"""

import base64
import html
import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import anywidget
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
    levels: NDArray[np.uint8]  # (T, rows) or (T, rows, columns)


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
    scale, levels = _levels(title, array, vmin, vmax, diverging)
    drawing = {"kind": "tape", **scale, "rowAxis": axis}
    drawing["rows"] = _labels(title, "row", rows, array.shape[1])
    drawing["blank"] = []
    if mask is not None:
        shown = _finite(f"{title}: mask", mask, 1)
        if len(shown) != len(array):
            raise ValueError(f"panel {title!r}: the mask has {len(shown)} steps, the values have {len(array)}")
        drawing["blank"] = np.flatnonzero(shown == 0).tolist()
    return Panel(title, len(array), drawing, levels)


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
) -> Panel:
    """A picture that changes with the step, such as the memory matrix.

    `values` is (T, rows, columns); `rows` and `columns` are their labels and `axes` the names of the two. With
    `bars=True` each row is a bar chart over the columns, such as one head's weighting over the locations; bars start at
    zero unless `vmin` says otherwise. `row_heads` maps the name of a head to its weighting (T, rows) in 0..1, drawn
    as bars beside the rows; `column_heads` likewise, (T, columns), above the columns. The other arguments and the
    errors are those of `tape`.
    """
    array = _finite(title, values, 3)
    if bars and vmin is None:
        vmin = min(0.0, float(array.min()))
    scale, levels = _levels(title, array, vmin, vmax, diverging)
    drawing = {"kind": "bars" if bars else "frame", **scale, "blank": []}
    drawing |= {"rowAxis": axes[0], "columnAxis": axes[1], "heads": []}
    drawing["rows"] = _labels(title, "row", rows, array.shape[1])
    drawing["columns"] = _labels(title, "column", columns, array.shape[2])
    for side, heads, length in (("row", row_heads, array.shape[1]), ("column", column_heads, array.shape[2])):
        for name, weighting in (heads or {}).items():
            lane = _finite(f"{title}: {name}", weighting, 2)
            if lane.shape != (len(array), length):
                raise ValueError(f"panel {title!r}: head {name!r} is {lane.shape}, not {(len(array), length)}")
            drawing["heads"].append({"name": name, "side": side, **_levels(name, lane, 0, 1, False)[0]})
    return Panel(title, len(array), drawing, levels)


class Player:
    """Panels that share one time axis, with a slider over its steps; shown when it is the last value of a cell.

    `lines` are names and the panels that stand side by side under each; on a narrow screen one line is shown at a
    time, and its name chooses it. `captions` are T sentences, the current one shown above the panels and read aloud by
    screen readers. `phases` are first steps and names, such as `(0, "the list comes in"), (22, "recall")`; they are
    marked under the slider. `start` is the step shown first.

    Raises ValueError if the panels, or the captions, do not have the same number of steps, if the phases do not begin
    with step 0 and go on in order, or if there is no such step as `start`.
    """

    def __init__(
        self,
        lines: Mapping[str, Sequence[Panel]],
        captions: Sequence[str] | None = None,
        phases: Sequence[tuple[int, str]] = (),
        title: str = "",
        start: int = 0,
    ) -> None:
        self.panels = [panel for panels in lines.values() for panel in panels]
        if not self.panels or not all(lines.values()):
            raise ValueError(f"each line needs a panel, got {[len(panels) for panels in lines.values()]}")
        self.title, self.steps, self.start, first = title, self.panels[0].steps, start, self.panels[0]
        for panel in self.panels:
            if panel.steps != self.steps:
                raise ValueError(
                    f"panel {panel.title!r} has {panel.steps} steps, panel {first.title!r} has {self.steps}"
                )
        self.captions = [f"step {t}" for t in range(self.steps)] if captions is None else list(captions)
        if len(self.captions) != self.steps:
            raise ValueError(f"{len(self.captions)} captions for {self.steps} steps")
        if not 0 <= start < self.steps:
            raise ValueError(f"start is {start}, the steps are 0 to {self.steps - 1}")
        firsts = [step for step, _ in phases]
        if firsts and (firsts[0] != 0 or firsts != sorted(set(firsts)) or firsts[-1] >= self.steps):
            raise ValueError(f"phases begin at {firsts}: must be 0 and then later steps, at most {self.steps - 1}")
        drawn = [
            {"name": name, "panels": [{"title": panel.title, **panel.drawing} for panel in panels]}
            for name, panels in lines.items()
        ]
        data = {"title": title, "steps": self.steps, "start": start, "captions": self.captions}
        self.data = json.dumps(data | {"phases": list(phases), "lines": drawn}, separators=(",", ":"))

    def html(self) -> str:
        """The player for a page without a kernel: its data and the script, a still picture, and no address at all."""
        data = self.data.replace("<", "\\u003c")  # so that no text in it can end the script element
        return f"""<div class="ntm-player tex2jax_ignore mathjax_ignore">
<noscript>{self._still()}</noscript>
<script type="application/json">{data}</script>
</div>
<script type="module">
{SCRIPT.read_text(encoding="utf-8")}</script>"""

    def _still(self) -> str:
        """The first step shown, in grey, where no script draws it: the darker a cell, the larger its number."""
        name, caption = html.escape(self.title or "Player"), html.escape(self.captions[self.start])
        pictures = "".join(_picture(panel, self.start) for panel in self.panels)
        return (
            f"<p><b>{name}</b>, one of {self.steps} time steps: {caption}. The darker, the larger. With scripts on, a "
            f"slider leads through all steps.</p>{pictures}"
        )

    @cached_property
    def widget(self) -> anywidget.AnyWidget:
        """The player for a live Jupyter; its `timestep` follows the slider, leads it, and can be linked."""
        return _View(data=self.data, timestep=self.start)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        view, *_rest = self.widget._repr_mimebundle_() or ({},)
        return {**view, "text/html": self.html(), "text/plain": f"Player({self.title!r}, {self.steps} steps)"}


class _View(anywidget.AnyWidget):
    """A player as a widget."""

    _esm = SCRIPT
    data = traitlets.Unicode().tag(sync=True)
    timestep = traitlets.Int(0).tag(sync=True)


def play(
    trace: Any,
    batch: Any,
    sequence: int = 0,
    all_locations: bool = False,
    title: str = "The machine, step by step",
    phases: Sequence[tuple[int, str]] | None = None,
    start: int | None = None,
) -> Player:
    """The paper's Figure 6 for one sequence of a batch, in motion.

    Inputs and outputs side by side, then what is added to the memory and what is read, the weightings of all heads,
    and the memory with the focus of each.

    `trace` is what `NTM.trace(batch.inputs)` returned and `batch` what the task gave. Outputs are the sigmoid of the
    logits, and left blank where they are not scored. Only those locations are shown which get more than 1% of some
    head's weight at some step, and what lies between them, unless `all_locations`; they keep their numbers.

    `phases` are by default those that the batch shows: the list comes in, a flag, recall. `start` is by default the
    first step with all output bits right after a third of the recall, or the one after a third if none is.

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
    r = reads.shape[1]
    outputs, targets, mask = 1 / (1 + np.exp(-one(trace.logits))), one(batch.targets), one(batch.mask)
    inputs = one(batch.inputs)
    bits = bool(inputs.min() >= 0 and inputs.max() <= 1)  # else they are numbers, such as priorities
    vmin, vmax = (0, 1) if bits else (None, None)
    given = tape("inputs", inputs, vmin=vmin, vmax=vmax, diverging=inputs.min() < 0, axis="channel")
    said = tape("outputs", outputs, vmin=0, vmax=1, axis="channel", mask=mask)
    shown = memory[:, locations].swapaxes(1, 2)
    picture = frame(
        "memory",
        shown,
        columns=locations.tolist(),
        diverging=shown.min() < 0,
        axes=("component", "location"),
        column_heads={name: weighting[:, h, locations] for h, name in enumerate(names)},
    )
    lines = {
        "in and out": [given, said],
        "vectors": [*_vectors("adds", adds, names[r:]), *_vectors("reads", reads, names[:r])],
        "weightings": [*heads[r:], *heads[:r]],
        "memory": [picture],
    }
    right = ((outputs > 0.5) == (targets > 0.5)).all(axis=1)
    return Player(
        lines,
        _captions(weighting, names, _answers(outputs, targets), mask),
        _phases(inputs, targets.shape[1], mask) if phases is None else phases,
        title,
        _telling(right, mask) if start is None else start,
    )


def _vectors(kind: str, values: NDArray[np.float64], names: list[str]) -> list[Panel]:
    """(T, H, M) -> a panel for each head, all at one scale; signed unless none is below 0."""
    low, high = float(values.min()), float(values.max())
    if low < 0:
        low, high = min(low, -high), max(high, -low)
    titles = [kind] if len(names) == 1 else [f"{kind}, {name}" for name in names]
    return [
        tape(title, values[:, h], vmin=low, vmax=high, diverging=low < 0, axis="component")
        for h, title in enumerate(titles)
    ]


def _phases(inputs: NDArray[np.float64], bits: int, mask: NDArray[np.float64]) -> list[tuple[int, str]]:
    """What a task's sequence consists of; nothing if all of it is scored."""
    asked = np.flatnonzero(mask)
    if len(asked) == 0 or asked[0] == 0:
        return []
    first, end = int(asked[0]), int(asked[-1]) + 1
    phases = [(0, "the list comes in")]
    if first > 1 and not inputs[first - 1, :bits].any() and inputs[first - 1, bits:].any():
        phases.append((first - 1, "flag"))
    phases.append((first, "recall"))
    return phases if end == len(mask) else [*phases, (end, "over")]


def _telling(right: NDArray[np.bool_], mask: NDArray[np.float64]) -> int:
    """The first step with a right answer after a third of those that are asked for."""
    asked = np.flatnonzero(mask)
    if len(asked) == 0:
        return 0
    later = asked[len(asked) // 3 :]
    return int(next((t for t in later if right[t]), later[0]))


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


def _answers(outputs: NDArray[np.float64], targets: NDArray[np.float64]) -> list[str]:
    """In words for each step how right the outputs (T,Y) are. A single one is a probability, of a bit to come."""
    if targets.shape[1] == 1:
        return [f"says {p:.2f} of a 1, and a {bit:.0f} comes" for (p,), (bit,) in zip(outputs, targets, strict=True)]
    right = ((outputs > 0.5) == (targets > 0.5)).sum(axis=1)
    return [f"{many} of {targets.shape[1]} output bits right" for many in right]


def _captions(
    weighting: NDArray[np.float64], names: list[str], answers: list[str], mask: NDArray[np.float64]
) -> list[str]:
    """One sentence for each step: where each head is, how strongly, and how right the outputs that count are."""
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
            parts.append(answers[t])
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
) -> tuple[dict[str, Any], NDArray[np.uint8]]:
    """The values as bytes between `low` and `high`; for a page in base64, of each step what it adds to the last one."""
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
    added = np.diff(levels, axis=0, prepend=np.zeros_like(levels[:1]))  # modulo 256
    data = base64.b64encode(added.tobytes()).decode("ascii")
    return {"low": low, "high": high, "diverging": bool(diverging), "shape": array.shape, "data": data}, levels


def _picture(panel: Panel, step: int) -> str:
    """A panel at one step for a page without scripts: a PNG of 16 greys, and a mark above the step of a tape."""
    is_tape = panel.drawing["kind"] == "tape"
    grey = 255 - (panel.levels.T if is_tape else panel.levels[step]) // 17 * 17
    axes = f"{panel.drawing['rowAxis'] or 'rows'} from top to bottom"
    if is_tape:
        mark = np.full((1, panel.steps), 255, np.uint8)
        mark[0, step], grey[:, panel.drawing["blank"]] = 0, 255
        grey, axes = np.vstack([mark, grey]), f"time from left to right, {axes}, and a mark above step {step}"
    title, (tall, wide) = html.escape(panel.title), grey.shape
    data = base64.b64encode(_png(grey)).decode("ascii")
    style = (
        f"display: block; width: 100%; height: {min(8 * tall, 200)}px; image-rendering: pixelated; border: 1px solid"
    )
    alt = html.escape(f"{panel.title}: {axes}")
    return f'<p>{title}<img alt="{alt}" style="{style}" width="{wide}" src="data:image/png;base64,{data}"></p>'


def _png(grey: NDArray[np.uint8]) -> bytes:
    """(rows, columns) -> a picture file of as many pixels."""
    tall, wide = grey.shape
    lines = np.hstack([np.zeros((tall, 1), np.uint8), grey]).tobytes()
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", wide, tall, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(lines, 9)))
    packed = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in (*chunks, (b"IEND", b""))
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def _labels(title: str, kind: str, labels: Sequence[int | str] | None, count: int) -> list[int | str]:
    if labels is None:
        return list(range(count))
    if len(labels) != count:
        raise ValueError(f"panel {title!r}: {len(labels)} {kind} labels for {count} {kind}s")
    return [label if isinstance(label, str) else int(label) for label in labels]
