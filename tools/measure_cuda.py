"""Does the machine work on a graphics card, and how fast? `python tools/measure_cuda.py`, on a computer that has one.

Leaves data/cuda.json:

    device, processor  what it ran on
    apart      largest relative difference to the same machine on the processor, in float64: of logits, of gradients
    same_run   whether a run that is stopped on the card and goes on there has the weights of one that was not stopped
    rates      training sequences per second of copying lists of 1 to 20: by network, device and batch

The compiled engine computes on the processor only; on a card the literal model runs, step by step.
"""

import argparse
import json
import platform
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch

from ntm import paper, runs, tasks, training
from ntm.lstm import LSTM, LSTMConfig
from ntm.model import NTM, NTMConfig

ROOT = Path(__file__).resolve().parent.parent
NETWORKS: dict[str, NTMConfig | LSTMConfig] = {
    network: paper.CONFIGS["copy", network] for network in ("ntm-ff", "ntm-lstm", "lstm")
}
BATCHES = {"cpu": (1, 8, 64), "cuda": (1, 8, 64, 256, 1024)}
LEAST, ROUNDS = 1.0, 3  # seconds of a round, and rounds


def built(config: NTMConfig | LSTMConfig, device: str, dtype: torch.dtype = torch.float32) -> NTM | LSTM:
    """A new network, the same on every device."""
    torch.manual_seed(0)
    network = NTM(config) if isinstance(config, NTMConfig) else LSTM(config)
    return network.to(device=device, dtype=dtype)


def numbers(config: NTMConfig | LSTMConfig, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of ten lists of 20, and all gradients as one vector."""
    network = built(config, device, torch.float64)
    batch = tasks.Batch(*(part.double().to(device) for part in tasks.copy(10, 20, torch.Generator().manual_seed(1))))
    logits, _ = network(batch.inputs)
    training.cross_entropy(logits, batch.targets, batch.mask).backward()
    gradients = [parameter.grad.flatten() for parameter in network.parameters() if parameter.grad is not None]
    return logits.detach().cpu(), torch.cat(gradients).cpu()


def apart(config: NTMConfig | LSTMConfig, device: str) -> list[float]:
    """How far logits and gradients are from the processor's, as a share of the largest."""
    pairs = zip(numbers(config, device), numbers(config, "cpu"), strict=True)
    return [float((there - here).abs().max() / here.abs().max()) for there, here in pairs]


def same_run(device: str) -> bool:
    """Whether a run in two parts ends with the weights of one that was made in one go."""
    recipe = training.TrainingConfig(updates=20, report_every=10)
    config = runs.RunConfig("copy", NTMConfig(), recipe, tasks.TASKS["copy"]())
    with tempfile.TemporaryDirectory() as folder:
        whole, _, _ = runs.train(Path(folder, "whole"), config, device, progress=False)
        runs.train(Path(folder, "parts"), replace(config, training=replace(recipe, updates=10)), device, progress=False)
        parts, _, _ = runs.train(Path(folder, "parts"), config, device, progress=False)
    pairs = zip(whole.state_dict().values(), parts.state_dict().values(), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


def rate(config: NTMConfig | LSTMConfig, device: str, batch: int) -> float:
    """Sequences per second of whole training steps, the median of the rounds; the first steps do not count."""
    network, recipe = built(config, device), training.TrainingConfig(batch=batch, train_locations=None)
    step = training.make_step(network, training.make_optimizer(network, recipe), training.cross_entropy, recipe)
    generator = torch.Generator().manual_seed(0)
    done = []
    for round in range(ROUNDS + 1):
        steps, began = 0, time.perf_counter()
        while steps < 3 or time.perf_counter() - began < LEAST * (round > 0):
            lists = tasks.copy(batch, (1, 20), generator)
            step(tasks.Batch(*(part.to(device) for part in lists)), 1e-4, None)  # its costs are numbers: it has waited
            steps += 1
        done.append(batch * steps / (time.perf_counter() - began))
    return round_to_three(median(done[1:]))


def round_to_three(number: float) -> float:
    """Three digits that count."""
    return float(f"{number:.3g}")


def main() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(description="Measure the machine on a graphics card.")
    parser.add_argument("--device", default="cuda", help="cuda, or another that torch knows")
    parser.add_argument("--out", type=Path, default=ROOT / "data" / "cuda.json")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    card = torch.cuda.get_device_name() if asked.device == "cuda" else asked.device
    found = {"device": card, "processor": platform.processor() or platform.machine(), "torch": torch.__version__}
    found["apart"] = {name: apart(config, asked.device) for name, config in NETWORKS.items()}
    found["same_run"] = same_run(asked.device)
    found["rates"] = {
        name: {
            device: {batch: rate(config, device, batch) for batch in BATCHES.get(device, BATCHES["cuda"])}
            for device in dict.fromkeys(["cpu", asked.device])
        }
        for name, config in NETWORKS.items()
    }
    asked.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
