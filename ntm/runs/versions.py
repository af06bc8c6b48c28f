"""What a run ran with: the last bit of a result may depend on it."""

import importlib.metadata
import platform
from pathlib import Path

import torch

import ntm


def versions(device: str = "cpu") -> dict[str, str]:
    """What the last bit of a result may depend on: packages, processor, device."""
    packages = {"ntm": ntm.__version__, "python": platform.python_version()}
    for name in ("torch", "numpy", "numba"):
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            packages[name] = "none"
    return {**packages, "processor": _processor(), "device": device}


def _processor() -> str:
    """The processor's name, and the instructions that torch makes use of."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name} ({torch.backends.cpu.get_cpu_capability()})"
