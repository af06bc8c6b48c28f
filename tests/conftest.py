"""What several tests share: a headless browser, and a page in it that holds the machine in JavaScript."""

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from ntm.engine import compiler
from ntm.page import machine

# What the tests of the machine in JavaScript call in a page. Arrays travel as base64, time first.
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
  const run = ({ inputs }) => machine.forward(inputs, machine.begin(inputs.length, locations));
  const traces = unpackBatch(batch).map(run);
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


def pytest_configure(config: pytest.Config) -> None:
    """Where nothing compiles, the first machine says so; which one that is depends on which test comes first."""
    if compiler.why_not() is not None:
        config.addinivalue_line("filterwarnings", "ignore:.*the literal model runs, many times slower")


# The files that take longest, first: with one file to a worker, a long one at the end would leave the other idle.
LONGEST = [
    *("test_book", "test_lab", "test_bench", "test_demos", "test_compiler", "test_engine", "test_runs"),
    *("test_packaging", "test_sweeps", "test_main", "test_player", "test_machine_js", "test_machines", "test_same"),
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first. What is looked at in a browser looks the same on every processor."""
    rank = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(LONGEST)))
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker("once")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium as the system has it; without one the tests of the pages are skipped, but never in CI."""
    names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None and not os.environ.get("CI"):
        pytest.skip("no Chromium found (on Debian: apt-get install chromium)")
    assert path, f"CI needs a browser: none of {', '.join(names)} is installed"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def machine_page(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A page on disk with the machine in it, twice, which must stay silent and ask nobody for anything."""
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
