"""The machine in JavaScript: the twin of this package in names and order, for a page in which no Python runs.

The modules beside this file are read like those of `ntm`: `memory.js`, `addressing.js`, `heads.js`, `controller.js`,
`model.js`, `training.js`, `tasks.js`, `bugs.js`, each equation one function beside its backward. A page opened from a
disk may not import modules, so `bundle()` joins them into one classic script; `encode(model)` packs trained weights.
"""

import base64
import re
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ntm.model import NTM

MODULES = (  # each after those that it imports
    *("arrays", "random", "memory", "addressing", "heads", "controller", "parameters", "trace", "model"),
    *("tasks", "training", "bugs", "learning"),
)
LARGEST_HALF = 65504.0  # of half precision's numbers


@cache
def bundle() -> str:
    """All modules as one classic script that sets `globalThis.ntm`, whose names are what the modules export.

    `ntm.source` is the script's own text: a page makes a Web Worker of it, and needs no second file. A page that holds
    the script several times runs it once. The text has no "</script", so that it can stand in an inline script element.
    """
    bodies, names = [], []
    for module in MODULES:
        text = Path(__file__).with_name(f"{module}.js").read_text(encoding="utf-8")
        names += re.findall(r"^export (?:const|class|function) (\w+)", text, re.MULTILINE)
        text = re.sub(r"^import [^;]*;\n", "", text, flags=re.MULTILINE)
        bodies.append(f"// {module}.js\n" + re.sub(r"^export ", "", text, flags=re.MULTILINE))
    body = "\n".join(bodies)
    exported = ", ".join([*names, "source: `globalThis.ntm = (${machine})();`"])
    return f'globalThis.ntm ??= (function machine() {{\n"use strict";\n{body}\nreturn {{ {exported} }};\n}})();\n'


def encode(model: NTM, precision: Literal["half", "single"] = "half") -> dict[str, Any]:
    """A machine's configuration and weights, for JSON; `ntm.decode` in JavaScript makes a machine of it.

    The weights are in base64, in the order of `model.state_dict()`, two or four bytes each, little end first. Half
    precision keeps eleven binary digits: a weight changes by at most 1/2048 of itself, or 3e-8 where it is below 6e-5.

    Raises ValueError for weights that are not finite or, in half precision, beyond 65504, and for a machine whose
    locations do not start alike, which the page's do.
    """
    if model.config.memory_seed is not None:
        raise ValueError(f"memory_seed={model.config.memory_seed}: in a page all locations of a memory start alike")
    weights = np.concatenate([w.detach().cpu().double().numpy().ravel() for w in model.state_dict().values()])
    largest = float(np.abs(weights).max())
    if not np.isfinite(largest):
        raise ValueError("a weight is NaN or infinite: such a machine cannot be shown")
    if precision == "half" and largest > LARGEST_HALF:
        raise ValueError(
            f"the largest weight is {largest:.3g}, half precision ends at {LARGEST_HALF:.0f}: use 'single'"
        )
    packed = weights.astype("<f2" if precision == "half" else "<f4").tobytes()
    return {
        "config": asdict(model.config),
        "precision": precision,
        "weights": base64.b64encode(packed).decode("ascii"),
    }
