"""Measure what runs in a page, in headless Chromium, from a file on a disk: `python tools/measure_page.py`, minutes.

Leaves data/page.json:

    learning        for each controller, fault and seed: whether the small machine is solved (no wrong bit in 200 fresh
                    lists, tried every 100 updates, 6,000 updates at most), after how many sequences and seconds, the
                    wrong bits of 200 further lists, and the longest task of the page meanwhile, 0 if none took 50 ms
    step            milliseconds of a step of a trained machine (N = 128, M = 20, 100 units), the median over lists
    bytes           of the bundle, and of it with each machine's weights in half precision, compressed by gzip
    half_precision  what half precision changes: bits of the answers that differ, and the largest difference of a logit
"""

import argparse
import base64
import copy
import gzip
import json
import shutil
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from playwright.sync_api import Page, sync_playwright
from tqdm import tqdm

import bench
from ntm import runs, tasks, training
from ntm.model import NTM
from ntm.page import machine

ROOT = Path(__file__).resolve().parent.parent
RUNS = sorted((ROOT / "data/runs").glob("copy-ntm-*"))
SEEDS = range(1, 11)
FAULTS = ("sigmoid_on_the_weighting", "shift_without_gradient")  # that the book shows learning in a page
LENGTHS = {20: 128, 120: 128}  # vectors and locations that half precision is tried with
LISTS = 100

LEARN = """([order, until]) => new Promise((done) => {
  const tasks = [], watch = new PerformanceObserver((list) => tasks.push(...list.getEntries()));
  watch.observe({ entryTypes: ["longtask"] });
  let end = null, wrong = 0;
  const test = (length) => worker.send({ order: "test", length, lists: 25, seed: 1000 + length });
  const worker = ntm.learnInWorker(ntm.source, (message) => {
    if (message.kind === "failed") throw new Error(message.message);
    if (message.kind === "tested") wrong += message.wrong.reduce((a, b) => a + b);
    if (message.over || message.sequences >= until) {
      end = { solved: message.solved, sequences: message.sequences, seconds: message.seconds };
      worker.send({ order: "pause" });
      for (let length = 1; length <= 8; length++) test(length);
    }
    if (message.length !== 8) return;
    worker.close();
    const longest = () => Math.max(0, ...tasks.map((task) => task.duration));
    setTimeout(() => done({ ...end, wrong_bits: wrong / 200, longest_task: longest() }));
  });
  worker.send({ order: "start", ...order });
})"""

STEP = """([encoded, lists]) => {
  const machine = ntm.decode(encoded), random = new ntm.Random(0), trace = machine.begin(42);
  return Array.from({ length: lists }, () => {
    const [{ inputs }] = ntm.tasks.copy(1, [20, 20], machine.config.outputs, random);
    machine.initialState(trace.slots[0]);
    const started = performance.now();
    machine.forward(inputs, trace);
    return (performance.now() - started) / inputs.length;
  });
}"""


def learning(page: Page, seeds: range, until: int) -> list[dict[str, Any]]:
    """Every seed with either controller, and with each fault of FAULTS; at most `until` sequences each."""
    kinds = [("feedforward", []), ("lstm", []), *(("feedforward", [fault]) for fault in FAULTS)]
    rows = []
    for controller, faults in kinds:
        for seed in tqdm(seeds, f"{controller} {' '.join(faults)}"):
            order = {"controller": controller, "faults": faults, "seed": seed}
            rows.append({**order, **page.evaluate(LEARN, [order, until])})
    return rows


def half_precision(model: NTM, lists: int) -> dict[str, dict[str, float]]:
    """For each length: bits of the answers, how many differ, wrong bits of both, the largest difference of a logit."""
    rounded = copy.deepcopy(model)
    weights = np.frombuffer(base64.b64decode(machine.encode(model)["weights"]), "<f2").astype(np.float32)
    torch.nn.utils.vector_to_parameters(torch.from_numpy(weights), rounded.parameters())
    rows = {}
    for length, locations in LENGTHS.items():
        batch = tasks.copy(lists, length, torch.Generator().manual_seed(length))
        with torch.no_grad():
            full, half = (one(batch.inputs, one.initial_state(lists, locations))[0] for one in (model, rounded))
        counting = batch.mask.bool()
        rows[str(length)] = {
            "bits": int(counting.sum()) * batch.targets.shape[2],
            "changed": int(((full > 0) != (half > 0))[counting].sum()),
            "wrong_bits": training.wrong_bits(full, *batch[1:]),
            "wrong_bits_half": training.wrong_bits(half, *batch[1:]),
            "largest_difference": float((full - half)[counting].abs().max()),
            "largest_logit": float(full[counting].abs().max()),
        }
    return rows


def compressed(text: str) -> int:
    """Bytes of a text that gzip has packed, as a server sends it."""
    return len(gzip.compress(text.encode(), mtime=0))


def measure(folders: list[Path], seeds: range, until: int, lists: int) -> dict[str, Any]:
    """All of the above, with the machines of some saved runs."""
    models = {folder.name: runs.load(folder) for folder in folders}
    encoded = {name: json.dumps(machine.encode(model)) for name, model in models.items() if isinstance(model, NTM)}
    bundle = machine.bundle()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page, file = browser.new_page(), Path(folder) / "page.html"
        file.write_text(f'<!doctype html><meta charset="utf-8"><script>{bundle}</script>', encoding="utf-8")
        page.goto(file.as_uri())
        results = {
            "host": bench.host() | {"browser": browser.version},
            "learning": learning(page, seeds, until),
            "step": {name: median(page.evaluate(STEP, [json.loads(text), lists])) for name, text in encoded.items()},
        }
        browser.close()
    sizes = {name: compressed(bundle + text) for name, text in encoded.items()}
    changes = {name: half_precision(model, lists) for name, model in models.items() if isinstance(model, NTM)}
    return {**results, "bytes": {"bundle": compressed(bundle), **sizes}, "half_precision": changes}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed, one run, few lists: to see that it works")
    parser.add_argument("--output", type=Path, default=ROOT / "data/page.json", help="where the numbers go")
    chosen = parser.parse_args()
    results = measure(RUNS[:1], range(1, 2), 400, 4) if chosen.quick else measure(RUNS, SEEDS, 10**9, LISTS)
    chosen.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    for name in ("step", "bytes"):
        print(name, *(f"  {key}: {value:.6g}" for key, value in results[name].items()), sep="\n")
    print(
        "controller, fault, seed, solved, sequences, seconds, wrong bits on 200 lists, longest task of the page in ms"
    )
    for row in results["learning"]:
        print(*(value if not isinstance(value, float) else f"{value:.3g}" for value in row.values()))


if __name__ == "__main__":
    main()
