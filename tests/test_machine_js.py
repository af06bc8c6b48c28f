"""The machine in JavaScript against the machine in torch, in a real browser; and learning in the page, from a file.

JavaScript counts in double precision, so torch does too here, from the same single-precision weights.
"""

import base64
import inspect
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from ntm import NTM, NTMConfig, addressing, bugs, heads, memory, runs, tasks, training
from ntm.page import machine

FOLDER = Path(machine.__file__).parent
SMALL = dict(inputs=6, outputs=4, hidden=24, locations=20, width=8)  # what learns in the page

# What the tests call in the page. Arrays travel as base64; a sequence's steps first, as everywhere.
HARNESS = """
const unpack = (text) => new Float32Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
function pack(values) {
  const bytes = new Uint8Array(Float32Array.from(values).buffer), parts = [];
  for (let i = 0; i < bytes.length; i += 32768) parts.push(String.fromCharCode(...bytes.subarray(i, i + 32768)));
  return btoa(parts.join(""));
}
function unpackBatch({ inputs, targets, mask, shape: [T, B, X, Y] }) {
  [inputs, targets, mask] = [inputs, targets, mask].map(unpack);
  const row = (all, t, b, size) => Float64Array.from(all.subarray((t * B + b) * size, (t * B + b + 1) * size));
  return Array.from({ length: B }, (_, b) => ({
    inputs: Array.from({ length: T }, (_, t) => row(inputs, t, b, X)),
    targets: Array.from({ length: T }, (_, t) => row(targets, t, b, Y)),
    mask: Array.from({ length: T }, (_, t) => mask[t * B + b]),
  }));
}
const withFaults = (faults, action) => {
  const undo = ntm.present(...faults);
  try { return action(); } finally { undo(); }
};
const forward = (encoded, batch, locations, faults) => withFaults(faults, () => {
  const machine = ntm.decode(encoded);
  const traces = unpackBatch(batch).map(({ inputs }) => machine.forward(inputs, machine.begin(inputs.length, locations)));
  const all = (name) => traces.map((trace) => pack(trace[name].subarray(trace[name].length / (trace.steps + 1))));
  return { logits: all("logits"), weighting: all("weighting") };
});
const gradients = (encoded, batch, locations, faults, loss) => withFaults(faults, () => {
  const machine = ntm.decode(encoded), batches = unpackBatch(batch);
  const config = { ...ntm.RECIPE, loss };
  const training = new ntm.Training(machine, null, batches[0].inputs.length, config, null);
  const means = training.differentiate(batches, locations);
  return { ...means, gradient: Array.from(training.gradient.all) };
});
const updates = (encoded, batches) => {
  const machine = ntm.decode(encoded), rows = batches.map(unpackBatch), queue = [...rows];
  const steps = Math.max(...rows.map((batch) => batch[0].inputs.length));
  const training = new ntm.Training(machine, () => queue.shift(), steps, { ...ntm.RECIPE, own_every: 1 }, null);
  return { means: rows.map(() => training.step()), weights: Array.from(machine.parameters.all) };
};
"""


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory):
    """A page on disk with the machine in it, which must stay silent and ask nobody for anything."""
    file = tmp_path_factory.mktemp("machine") / "page.html"
    scripts = f"<script>{machine.bundle()}</script><script>{machine.bundle()}{HARNESS}</script>"
    file.write_text(f'<!doctype html><meta charset="utf-8"><title>machine</title>{scripts}', encoding="utf-8")
    tab, troubles = browser.new_page(), []
    tab.on("console", lambda message: troubles.append(message.text))
    tab.on("pageerror", lambda error: troubles.append(str(error)))
    tab.on("request", lambda request: request.url.startswith(("file:", "blob:")) or troubles.append(request.url))
    tab.goto(file.as_uri())
    yield tab
    tab.close()
    assert not troubles


def packed(values):
    return base64.b64encode(np.ascontiguousarray(values.numpy(), "<f4").tobytes()).decode()


def packed_batch(batch):
    shape = [*batch.inputs.shape, batch.targets.shape[2]]
    return {"inputs": packed(batch.inputs), "targets": packed(batch.targets), "mask": packed(batch.mask), "shape": shape}


def unpacked(texts, *shape):
    """One text for each sequence -> (T,B,...)."""
    arrays = [np.frombuffer(base64.b64decode(text), "<f4").reshape(-1, *shape) for text in texts]
    return torch.from_numpy(np.stack(arrays, axis=1))


def build(seed, **config):
    torch.manual_seed(seed)
    return NTM(NTMConfig(**config))


@torch.no_grad()
def literal(model, inputs, locations):
    """Logits (T,B,Y) and weightings (T,B,H,N) of the literal model."""
    state, logits, weighting = model.initial_state(inputs.shape[1], locations), [], []
    for x in inputs:
        y, state = model.step(x, state)
        logits.append(y)
        weighting.append(state.weighting)
    return torch.stack(logits), torch.stack(weighting)


def distances(page, model, batch, locations, faults=()):
    """The largest differences of outputs and of weightings, torch in double precision."""
    single = machine.encode(model, "single")
    shown = page.evaluate("all => forward(...all)", [single, packed_batch(batch), locations, list(faults)])
    with bugs.present(*faults):
        logits, weighting = literal(model.double(), batch.inputs.double(), locations)
    off = unpacked(shown["logits"], *logits.shape[2:]) - logits
    heads_off = unpacked(shown["weighting"], *weighting.shape[2:]) - weighting
    return float(off.abs().max() / logits.abs().max().clamp_min(1)), float(heads_off.abs().max())


MACHINES = {
    "feedforward": dict(controller="feedforward"),
    "lstm": dict(controller="lstm"),
    "feedforward, two layers, 2 + 1 heads": dict(controller="feedforward", layers=2, hidden=40, width=7, read_heads=2),
    "lstm, two layers, 1 + 2 heads": dict(controller="lstm", layers=2, hidden=30, width=9, write_heads=2, shifts=5),
}


@pytest.mark.parametrize("name", [*MACHINES, "copy-ntm-ff-0", "copy-ntm-lstm-0"])
@pytest.mark.parametrize("locations, lists", [(128, 24), (1024, 10)])
def test_it_computes_what_torch_computes(page, name, locations, lists):
    """204 lists in all, of 1 to 120 vectors, given to fresh machines and to trained ones."""
    generator = torch.Generator().manual_seed(locations)
    lengths = [1, 120, *torch.randint(1, 121, (lists // 2 - 2,), generator=generator).tolist()]
    for length in lengths:
        model = build(length, **MACHINES[name]) if name in MACHINES else runs.load(name)
        batch = tasks.copy(2, length, generator)
        assert max(distances(page, model, batch, locations)) < 1e-5
