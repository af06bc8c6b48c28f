"""The measuring of a graphics card, tried on the processor: nothing here says how fast anything is."""

import json
import sys

import pytest
import torch

import measure_cuda
from ntm.lstm import LSTMConfig
from ntm.model import NTMConfig

pytestmark = pytest.mark.once  # a tool that is used on the machine at hand


def test_everything_is_measured(tmp_path, monkeypatch):
    networks = {"ntm-ff": NTMConfig(controller="feedforward", hidden=5), "lstm": LSTMConfig(hidden=5)}
    monkeypatch.setattr(measure_cuda, "NETWORKS", networks)
    monkeypatch.setattr(measure_cuda, "BATCHES", {"cpu": (1, 2), "cuda": (1, 2)})
    monkeypatch.setattr(measure_cuda, "LEAST", 0.01)
    monkeypatch.setattr(sys, "argv", ["measure_cuda", "--device", "cpu", "--out", str(tmp_path / "found.json")])
    threads = torch.get_num_threads()
    try:
        measure_cuda.main()
    finally:
        torch.set_num_threads(threads)
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["apart"] == {"ntm-ff": [0, 0], "lstm": [0, 0]} and found["same_run"] is True
    assert {name: list(rates["cpu"]) for name, rates in found["rates"].items()} == dict.fromkeys(networks, ["1", "2"])
    assert all(rate > 0 for rates in found["rates"].values() for rate in rates["cpu"].values())


def test_a_difference_is_seen(monkeypatch):
    numbers = measure_cuda.numbers
    off = {"cpu": 0.0, "card": 0.5}
    monkeypatch.setattr(
        measure_cuda, "numbers", lambda config, device: [x + off[device] for x in numbers(config, "cpu")]
    )
    assert min(measure_cuda.apart(LSTMConfig(hidden=5), "card")) > 0.01
