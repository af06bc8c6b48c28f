"""Time the machine against other ways to run it: `make bench`, or `python tools/bench.py --quick`.

Everybody takes whole training steps (forward, loss, backward, clipping, Adam) on the same copy batches, in turns on one
machine: within a round every contender is timed once at each batch size, the order moves on with every round, and a
ratio is taken between two timings of the same round. A shared machine slows all of a round alike.

The contenders, all but the last the same machine, which is verified before anything is timed:

    ours           the step that `ntm.training.train` takes, compiled
    literal        the loop over `model.step`
    torch.compile  the step as one function of fused products, compiled, in a loop over time
    jax            `jax.jit` of a whole training step around `lax.scan`
    dnc            the package on PyPI, a DNC of the same sizes: no NTM, but what is installed by name
"""

import argparse
import importlib.metadata
import json
import math
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, cast
from unittest import mock

import numba
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from ntm import (
    NTM,
    NTMConfig,
    addressing,
    engine,
    experiments,
    heads,
    runs,
    tasks,
    training,
)
from ntm.engine import arrays, compiler, kernels, simd
from ntm.engine import step as steps

ROOT = Path(__file__).resolve().parent.parent
CONFIG = NTMConfig()
RECIPE = training.TrainingConfig(learning_rate=1e-3, halve_every=0, clip_at=10.0)
TINY = torch.finfo(torch.float32).tiny
PACKAGES = ["torch", "numpy", "numba", "jax", "jaxlib", "dnc"]
STEPS_PER_SEQUENCE = 23  # the mean of 2L + 2 for L from 1 to 20

Step = Callable[[int], Any]  # one training step on the batch of that number; the loss, perhaps still being computed
Builder = Callable[[NTM, list[tasks.Batch]], Step]


class Plan(NamedTuple):
    """How much to measure."""

    rounds: int
    seconds: float  # of each timing, at least
    batches: tuple[int, ...]
    threads: tuple[int, ...]  # torch's; the better one counts
    sizes: int  # of each growth series, from the smallest
    repeats: int


FULL = Plan(rounds=3, seconds=0.5, batches=(1, 4, 16, 64), threads=(1, 2), sizes=99, repeats=3)
QUICK = Plan(rounds=1, seconds=0.2, batches=(1, 16), threads=(1,), sizes=2, repeats=1)


# The contenders


def torch_step(
    forward: Callable[[Tensor], Tensor], model: nn.Module, batches: list[tasks.Batch], adam: Any = None
) -> Step:
    """A training step around any forward (T,B,X) -> logits (T,B,Y)."""
    optimizer = adam or training.make_optimizer(model, RECIPE)

    def step(number: int) -> Tensor:
        inputs, targets, mask = batches[number]
        value = training.cross_entropy(forward(inputs), targets, mask)
        optimizer.zero_grad()
        value.backward()
        if not training.clip_gradients(model, RECIPE):
            raise ArithmeticError("a gradient is not finite")
        optimizer.step()
        return value.detach()

    return step


def ours(model: NTM, batches: list[tasks.Batch]) -> Step:
    """A step of `ntm.training.train`."""
    take = training.make_step(model, training.make_optimizer(model, RECIPE), training.cross_entropy, RECIPE)

    def step(number: int) -> float:
        costs = take(batches[number], RECIPE.learning_rate, None)
        if costs is None:
            raise ArithmeticError("a gradient is not finite")
        return costs[0]

    return step


def literal(model: NTM, batches: list[tasks.Batch]) -> Step:
    """Step by step through the paper's equations."""

    def forward(inputs: Tensor) -> Tensor:
        state, logits = model.initial_state(inputs.shape[1]), []
        for x in inputs.unbind(0):
            y, state = model.step(x, state)
            logits.append(y)
        return torch.stack(logits)

    return torch_step(forward, model, batches)


def compiled(model: NTM, batches: list[tasks.Batch]) -> Step:
    """torch.compile of one time step; what does not depend on the step before it is done for all steps at once.

    As fast as we could make it: the C++ wrapper and the fused Adam are worth a tenth each at batch 1.
    """
    compiler = os.environ.get("CXX", "g++")
    if not shutil.which(compiler):
        raise ImportError(f"no C++ compiler {compiler!r}")
    torch._dynamo.config.recompile_limit = 99  # one for each batch size and number of threads
    c, cell, projection = model.config, cast(Any, model.controller).cells[0], model.heads.projection
    channels, address = c.inputs, 2 * (c.width + 3 + c.shifts)

    # Products with the memory are written as sums, which the compiler fuses with what is around them.
    def step(x: Tensor, w: Tensor, v: Tensor, bias: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        h, cells, read, weighting, memory = state
        i, f, g, o = (x + torch.cat([read, h], 1) @ w).chunk(4, 1)
        cells = f.sigmoid() * cells + i.sigmoid() * g.tanh()
        h = o.sigmoid() * cells.tanh()
        a, write = functional.linear(h, v, bias).split([address, 2 * c.width], 1)
        key, beta, gate, shift, gamma = a.unflatten(1, (2, -1)).split([c.width, 1, 1, c.shifts, 1], 2)
        key, beta = key.tanh(), functional.softplus(beta).clamp_max(heads.LARGEST_STRENGTH)
        gate, shift = gate.sigmoid(), shift.softmax(2)
        gamma = 1 + functional.softplus(gamma).clamp_max(heads.LARGEST_STRENGTH)
        erase, add = write.unsqueeze(1).chunk(2, 2)
        norms = key.square().sum(2).sqrt().unsqueeze(2) * memory.square().sum(2).sqrt().unsqueeze(1)
        similarity = (key.unsqueeze(2) * memory.unsqueeze(1)).sum(3) / (norms + addressing.SIMILARITY_EPSILON)
        gated = gate * (beta * similarity).softmax(2) + (1 - gate) * weighting
        reach = c.shifts // 2
        shifted = sum(gated.roll(k - reach, 2) * shift[:, :, k : k + 1] for k in range(c.shifts))
        weighting = (gamma * shifted.clamp_min(TINY).log()).softmax(2)
        reading, writing = weighting.unsqueeze(3).unbind(1)
        memory = memory * (1 - writing * erase.sigmoid()) + writing * add.tanh()
        return h, cells, (reading * memory).sum(1), weighting, memory

    # The number of threads is written into the code, and named here so that no cache mistakes one for another.
    fast = torch.compile(step, dynamic=False, options={"cpp_wrapper": True, "cpp.threads": torch.get_num_threads()})

    def forward(inputs: Tensor) -> Tensor:
        w = torch.cat([cell.weight_ih[:, channels:], cell.weight_hh], 1).T.contiguous()
        projected = functional.linear(inputs, cell.weight_ih[:, :channels], cell.bias_ih + cell.bias_hh)
        (h, cells), read, weighting, memory = model.initial_state(inputs.shape[1])
        seen, state = [], tuple[Tensor, ...]((h[0], cells[0], read[:, 0], weighting, memory))
        for x in projected.unbind(0):  # once: an index costs a gradient of full size at every step
            state = fast(x, w, projection.weight, projection.bias, *state)
            seen.append(torch.cat([state[0], state[2]], 1))
        return model.output(torch.stack(seen))

    adam = torch.optim.Adam(model.parameters(), lr=RECIPE.learning_rate, fused=True)
    return torch_step(forward, model, batches, adam)


def in_jax(model: NTM, batches: list[tasks.Batch]) -> Step:
    """The same equations, clipping and Adam in JAX, compiled as a whole for each length."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    import jax
    from jax import numpy as jnp

    c = model.config
    address = 2 * (c.width + 3 + c.shifts)

    def loss(p: dict, inputs: Any, targets: Any, mask: Any) -> Any:
        size, channels = inputs.shape[1:]
        from_input = p["controller.cells.0.weight_ih"]
        w = jnp.concatenate([from_input[:, channels:], p["controller.cells.0.weight_hh"]], 1).T
        bias = p["controller.cells.0.bias_ih"] + p["controller.cells.0.bias_hh"]

        def step(state: tuple, x: Any) -> tuple[tuple, Any]:
            h, cells, read, weighting, memory = state
            i, f, g, o = jnp.split(x + jnp.concatenate([read, h], 1) @ w, 4, 1)
            cells = jax.nn.sigmoid(f) * cells + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(cells)
            a, write = jnp.split(h @ p["heads.projection.weight"].T + p["heads.projection.bias"], [address], 1)
            cuts = np.cumsum([c.width, 1, 1, c.shifts]).tolist()
            key, beta, gate, shift, gamma = jnp.split(a.reshape(size, 2, -1), cuts, 2)
            key, beta = jnp.tanh(key), jnp.minimum(jax.nn.softplus(beta), heads.LARGEST_STRENGTH)
            gate, shift = jax.nn.sigmoid(gate), jax.nn.softmax(shift, 2)
            gamma = 1 + jnp.minimum(jax.nn.softplus(gamma), heads.LARGEST_STRENGTH)
            erase, add = jnp.split(write[:, None], 2, 2)
            norms = jnp.sqrt((key**2).sum(2))[:, :, None] * jnp.sqrt((memory**2).sum(2))[:, None]
            similarity = jnp.einsum("bhm,bnm->bhn", key, memory) / (norms + addressing.SIMILARITY_EPSILON)
            gated = gate * jax.nn.softmax(beta * similarity, 2) + (1 - gate) * weighting
            reach = c.shifts // 2
            shifted = sum(jnp.roll(gated, k - reach, 2) * shift[:, :, k : k + 1] for k in range(c.shifts))
            weighting = jax.nn.softmax(gamma * jnp.log(jnp.maximum(shifted, TINY)), 2)
            writing = weighting[:, 1, :, None]
            memory = memory * (1 - writing * jax.nn.sigmoid(erase)) + writing * jnp.tanh(add)
            read = jnp.einsum("bn,bnm->bm", weighting[:, 0], memory)
            return (h, cells, read, weighting, memory), jnp.concatenate([h, read], 1)

        learned = ["controller.initial_hidden", "controller.initial_cell", "initial_reads"]
        start = [jnp.broadcast_to(p[name][0], (size, p[name].shape[2])) for name in learned]
        weighting = jnp.zeros((size, 2, c.locations)).at[:, :, 0].set(1)
        memory = jnp.full((size, c.locations, c.width), NTM.INITIAL_MEMORY)
        projected = inputs @ from_input[:, :channels].T + bias
        _, seen = jax.lax.scan(step, (*start, weighting, memory), projected)
        logits = seen @ p["output.weight"].T + p["output.bias"]
        values = jnp.maximum(logits, 0) - logits * targets + jnp.log1p(jnp.exp(-jnp.abs(logits)))
        return (values.mean(2) * mask).sum() / mask.sum()

    @partial(jax.jit, donate_argnums=(0, 1, 2, 3))
    def update(p: dict, mean: dict, square: dict, count: Any, batch: tuple) -> tuple:
        value, slope = jax.value_and_grad(loss)(p, *batch)
        norm = jnp.sqrt(sum((g**2).sum() for g in slope.values()))
        scale, count = jnp.minimum(1, RECIPE.clip_at / (norm + 1e-6)), count + 1
        slope = {name: g * scale for name, g in slope.items()}
        mean = {name: 0.9 * mean[name] + 0.1 * g for name, g in slope.items()}
        square = {name: 0.999 * square[name] + 0.001 * g**2 for name, g in slope.items()}
        first, second = 1 - 0.9**count, 1 - 0.999**count
        p = {
            name: w - RECIPE.learning_rate * (mean[name] / first) / (jnp.sqrt(square[name] / second) + 1e-8)
            for name, w in p.items()
        }
        return p, mean, square, count, value

    def copies(scale: float) -> dict:
        return {name: jnp.array(w.detach().numpy() * scale) for name, w in model.named_parameters()}

    state = (copies(1), copies(0), copies(0), jnp.zeros(()))
    data = [tuple(jnp.array(values.numpy()) for values in batch) for batch in batches]

    def step(number: int) -> Any:
        nonlocal state
        *state, value = update(*state, data[number])
        return value

    return step


def pypi_dnc(model: NTM, batches: list[tasks.Batch]) -> Step:
    """The Differentiable Neural Computer of the package `dnc`, with the sizes of the machine."""
    import dnc

    c = model.config
    sizes = {"num_hidden_layers": 1, "nr_cells": c.locations, "cell_size": c.width, "read_heads": 1}
    other = dnc.DNC(c.inputs, c.hidden, batch_first=False, **sizes)

    def forward(inputs: Tensor) -> Tensor:  # it has as many outputs as inputs
        return other(inputs, (None, None, None), reset_experience=True)[0][:, :, : c.outputs]

    return torch_step(forward, other, batches)


CONTENDERS: dict[str, Builder] = {
    "ours": ours,
    "literal": literal,
    "torch.compile": compiled,
    "jax": in_jax,
    "dnc": pypi_dnc,
}


# Training steps


def draw(batch: int) -> list[tasks.Batch]:
    """A batch of each length from 1 to 20, in pairs of 1 and 20, 2 and 19 and so on, the pairs in random order.

    Every even number of steps has the mean length, so that the slow need not run through all twenty.
    """
    generator = torch.Generator().manual_seed(0)
    shorter = (torch.randperm(10, generator=generator) + 1).tolist()
    return [tasks.copy(batch, length, generator) for low in shorter for length in (low, 21 - low)]


def machine(seed: int = 0) -> NTM:
    """The weights that everybody starts from; no bias and no initial state is 0, where a mistake could hide."""
    torch.manual_seed(seed)
    model = NTM(CONFIG)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    return model


def verify(name: str, step: Step, batch: int) -> None:
    """Stop everything unless the losses of the first three steps, so the gradients too, are the literal model's."""
    numbers = range(3)
    reference = literal(machine(), draw(batch))
    wanted, got = [float(reference(i)) for i in numbers], [float(step(i)) for i in numbers]
    if not np.allclose(got, wanted, rtol=0, atol=1e-4):
        sys.exit(f"{name} is not the machine at batch {batch}: its losses are {got}, the literal model's {wanted}")


def prepare(plan: Plan, batch: int) -> tuple[dict[tuple[str, str], Step], dict[tuple[str, str], float], dict[str, str]]:
    """Build, compile and verify: the steps by name and threads, the seconds that each took, and who is absent."""
    steps, seconds, absent = {}, {}, {}
    for name, build in CONTENDERS.items():
        for threads in ["own"] if name == "jax" else map(str, plan.threads):  # JAX has its own threads
            torch.set_num_threads(plan.threads[0] if threads == "own" else int(threads))
            batches, begin = draw(batch), time.perf_counter()
            try:
                step = build(machine(), batches)
            except ImportError as error:
                absent[name] = str(error)
                continue
            if name != "dnc":
                verify(name, step, batch)
            for number in range(len(batches) if name == "jax" else 1):  # JAX compiles for each length
                float(step(number))
            steps[name, threads], seconds[name, threads] = step, time.perf_counter() - begin
            print(f"batch {batch}: {name} ({threads}) ready in {seconds[name, threads]:.1f} s", file=sys.stderr)
    return steps, seconds, absent


def sequences_per_second(step: Step, batch: int, seconds: float) -> float:
    """Train for at least so long, an even number of steps."""
    done, begin = 0, time.perf_counter()
    while True:
        for number in range(0, 20, 2):
            step(number)
            float(step(number + 1))  # waits for the number
            done += 2
            if (passed := time.perf_counter() - begin) >= seconds:
                return done * batch / passed


def training_steps(plan: Plan) -> dict[str, Any]:
    """All contenders in turns: raw rounds, the better number of threads, ratios of the same round."""
    prepared = {batch: prepare(plan, batch) for batch in plan.batches}
    raw: dict[int, dict[str, dict[str, list[float]]]] = {batch: {} for batch in plan.batches}
    for turn in tqdm(range(plan.rounds), "rounds"):
        for batch in plan.batches:
            order = list(prepared[batch][0].items())
            start = turn % len(order)
            for (name, threads), step in order[start:] + order[:start]:
                torch.set_num_threads(plan.threads[0] if threads == "own" else int(threads))
                speed = sequences_per_second(step, batch, plan.seconds)
                raw[batch].setdefault(name, {}).setdefault(threads, []).append(speed)
    table = {}
    for batch, speeds in raw.items():
        best = {name: max(by_threads, key=lambda t: median(by_threads[t])) for name, by_threads in speeds.items()}
        own = speeds["ours"][best["ours"]]
        table[str(batch)] = {
            name: {
                "rounds": by_threads,
                "threads": best[name],
                "median": median(by_threads[best[name]]),
                "ours_is_faster_by": median(a / b for a, b in zip(own, by_threads[best[name]], strict=True)),
                "seconds_to_prepare": {t: s for (n, t), s in prepared[batch][1].items() if n == name},
            }
            for name, by_threads in speeds.items()
        }
    return {"sequences_per_second": table, "absent": prepared[plan.batches[0]][2]}


# Growth


def resident(field: str) -> float:
    """VmRSS, memory held now, or VmHWM, the most that was held since `clear_refs`, in MiB.

    Not `getrusage`: a child's ru_maxrss starts at what its parent held when the child was made.
    """
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(field)) / 1024


def growth_point(steps: int, locations: int, batch: int, repeats: int) -> None:
    """Print seconds of each training step after the first, their median, and MiB at the peak, on one thread."""
    torch.set_num_threads(1)

    def one(steps: int, locations: int) -> Step:
        data = tasks.copy(batch, (steps - 2) // 2, torch.Generator().manual_seed(0))
        return ours(NTM(replace(CONFIG, locations=locations)), [data])

    one(4, 16)(0)  # whatever there is to compile
    step, seconds = one(steps, locations), []
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        float(step(0))
        seconds.append(time.perf_counter() - begin)
    extra = resident("VmHWM") - before
    print(json.dumps({"rounds": seconds[1:], "seconds": median(seconds[1:]), "extra_mib": extra}))


def counted_mib(steps: int, locations: int, batch: int) -> float:
    """MiB of what a step's forward leaves for its backward, and of the backward's own: the arrays' sizes, added up."""
    sizes, places = engine.sizes_of(NTM(replace(CONFIG, locations=locations))), min(batch, compiler.TOGETHER)
    shapes = sizes.record(steps, batch, locations, steps + 1, places)
    shapes |= {f"d.{name}": shape for name, shape in sizes.gradients(steps, batch, locations, places).items()}
    return sum(map(math.prod, shapes.values())) * torch.float32.itemsize / 2**20


def growth(plan: Plan) -> list[dict[str, Any]]:
    """Time and memory of a training step over one size at a time, every point in a process of its own."""
    lengths = [20, 50, 100, 200, 500, 1000, 2000]
    series = {  # what grows, which of the three numbers that is, and (steps, locations, batch)
        "time steps, 128 locations, batch 1": (0, [(steps, 128, 1) for steps in lengths]),
        "locations, 42 steps, batch 1": (1, [(42, 2**k, 1) for k in range(7, 15)]),
        "sequences in a batch, 42 steps": (2, [(42, 128, 2**k) for k in range(7)]),
    }
    results = []
    for over, (grows, points) in series.items():
        points = points[: plan.sizes]
        measured = []
        for point in tqdm(points, over):
            call = f"import bench; bench.growth_point{(*point, plan.repeats)}"
            done = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True, cwd=ROOT / "tools")
            if done.returncode:
                sys.exit(f"growth at {point} failed:\n{done.stderr}")
            measured.append(json.loads(done.stdout))
        result = {name: [m[name] for m in measured] for name in ("rounds", "seconds", "extra_mib")}
        result["counted_mib"] = [counted_mib(*point) for point in points]
        sizes = [point[grows] for point in points]
        exponent = float(np.polyfit(np.log(sizes), np.log(result["seconds"]), 1)[0])
        results.append({"over": over, "sizes": sizes, **result, "exponent": exponent})
    return results


# Ceiling


def flops_per_sequence() -> int:
    """Operations in the matrix products of a training sequence: two per weight and step, and backward twice that.

    Only the weights': the products with the memory are left out, as most of what an implementation spends on it is.
    """
    return 3 * 2 * STEPS_PER_SEQUENCE * sum(p.numel() for name, p in machine().named_parameters() if "weight" in name)


def product_speed(rows: int, inner: int, columns: int, plan: Plan) -> float:
    """Operations per second of a product in single precision."""
    a, b, c = torch.rand(rows, inner), torch.rand(inner, columns), torch.empty(rows, columns)
    many = max(1, 10**8 // (rows * inner * columns))
    speeds = []
    for _ in range(plan.repeats + 1):
        begin = time.perf_counter()
        for _ in range(many):
            torch.mm(a, b, out=c)
        speeds.append(2 * rows * inner * columns * many / (time.perf_counter() - begin))
    return median(speeds[1:])


def ceiling(plan: Plan, steps: dict[str, Any]) -> dict[str, Any]:
    """What the products alone would allow here, at the better number of threads, and the share that ours reaches."""
    speeds: dict[str, dict[str, float]] = {}
    for threads in plan.threads:
        torch.set_num_threads(threads)
        for shape in [(16, 129, 400), (2048, 2048, 2048)]:
            speeds.setdefault("x".join(map(str, shape)), {})[str(threads)] = product_speed(*shape, plan)
    flops, skinny = flops_per_sequence(), speeds["16x129x400"]
    share = {b: row["ours"]["median"] * flops / max(skinny.values()) for b, row in steps.items()}
    return {"flops_per_sequence": flops, "flops_per_second": speeds, "share_of_skinny_products": share}


# What a step's time goes into


@numba.njit(nogil=True)
def repeat(count, function, arguments):  # type: ignore[no-untyped-def]
    """Call a kernel often enough to be timed."""
    for _ in range(count):
        function(*arguments)


def profile(batch: int, plan: Plan) -> dict[str, float]:
    """Microseconds of one sequence's time step in one training step, by kind of work, on one thread.

    The kernels are timed by themselves on arrays of their real sizes, which lie in the nearest cache; what they do not
    explain of the whole is traffic with farther memory, the loss, copies, and, once per call, Python.
    """
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    sizes, rows = engine.sizes_of(machine()), min(batch, compiler.TOGETHER)
    shape, f, n = sizes.shape(CONFIG.locations, torch.float32), np.float32, CONFIG.locations
    rng = np.random.default_rng(0)

    def some(*shape: int) -> np.ndarray:
        return (rng.random(shape) * 0.1).astype(f)

    def product(inner: int, columns: int) -> tuple[float, Any, tuple]:
        columns = simd.padded(columns)
        return 1 / rows, kernels.multiply, (some(rows, columns), some(rows, inner), some(inner, columns) * f(1e-3))

    memory, weighting, order = some(sizes.M, n), some(2, n), some(simd.padded(sizes.O))
    row, ring, logs = some(n), some(n + 2 * simd.LANES + sizes.S), some(n + 2 * simd.LANES)
    vectors, reads = some(2 * sizes.M), some(sizes.M)
    room = sizes.rooms(1, rows, n, f)[0]
    gates, units = some(sizes.G), sizes.C
    kinds: dict[str, list[tuple[float, Any, tuple]]] = {  # times per step, kernel, its arguments
        "products with weights": [
            product(sizes.K, sizes.G),
            product(sizes.C, sizes.O),
            product(sizes.G, sizes.K),
            product(sizes.O, sizes.C),
        ],
        "exp, log and what is around them": [
            (1, kernels.lstm_cell, (gates, some(units), some(units), some(units))),
            (1, kernels.squash, (order, shape, some(len(order)))),
            (2, kernels.softmax, (row, some(n), f(2))),
            (2, kernels.sharpen, (row, some(n), f(2), shape.tiny, logs)),
            (1, kernels.lstm_cell_backward, (some(sizes.G), some(units), some(units), gates, *some(3, units))),
            (2, kernels.sharpen_backward, (some(n), some(n), row, some(n), f(2), shape.tiny)),
            (1, kernels.squash_backward, (some(len(order)), order, shape)),
        ],
        "walks through memory": [
            (1, kernels.multiply, (some(2, n), some(2, sizes.M), memory)),
            (1, kernels.write_and_read, (some(sizes.M, n), reads, memory, weighting, vectors)),
            (1, kernels.norms, (row, memory, n)),
            (
                1,
                kernels.write_and_read_backward,
                (
                    some(sizes.M, n),
                    some(2, n),
                    vectors,
                    reads,
                    memory,
                    memory,
                    weighting,
                    some(2 * sizes.M),
                    room.erased,
                ),
            ),
            (1, kernels.dots_backward, (some(sizes.M, n), room.d_keys, room.d_dots, room.d_norm, memory, room.keys)),
        ],
        "shifts and interpolation": [
            (4, kernels.interpolate, (ring, row, row, f(0.5), 1)),
            (2, kernels.shift, (row, ring, some(sizes.S))),
            (2, kernels.shift_backward, (row, some(sizes.S), some(n), ring, logs, some(sizes.S))),
            (2, kernels.softmax_backward, (some(n), row)),
        ],
    }

    def microseconds(function: Any, arguments: tuple) -> float:
        repeat(1, function, arguments)
        times = []
        for _ in range(plan.repeats + 1):
            begin = time.perf_counter()
            repeat(2000, function, arguments)
            times.append((time.perf_counter() - begin) / 2000 * 1e6)
        return min(times)

    parts = {kind: sum(n * microseconds(*call) for n, *call in calls) for kind, calls in kinds.items()}
    torch.set_flush_denormal(False)
    model = machine()
    step, batches = engine.Step(model, training.make_optimizer(model, RECIPE), False, False, True, 10.0), draw(batch)
    whole, learning, original, kernel = [], [], steps.shared, 0.0

    def timed(*arguments: Any) -> None:
        nonlocal kernel
        begin = time.perf_counter()
        original(*arguments)
        kernel += time.perf_counter() - begin

    for _ in range(max(2, plan.repeats) + 1):
        began, kernel = time.perf_counter(), 0.0
        with mock.patch.object(steps, "shared", timed):
            for values in batches:
                step(*values, 1e-3)
        per_step = 1e6 / (STEPS_PER_SEQUENCE * len(batches) * batch)
        whole.append((time.perf_counter() - began) * per_step)
        learning.append(kernel * per_step)
    plans = next(plan.products for key, plan in step.plans.items() if key[:4] == (22, batch, 1, None))
    begin = time.perf_counter()
    for _ in range(50):
        for part in plans:
            arrays.multiply_all(part)
    parts["products for the weights' gradients"] = (time.perf_counter() - begin) / 50 * 1e6 / (22 * batch)
    total, kernel = median(whole[1:]), median(learning[1:])
    known = sum(parts.values())
    parts["loss, copies, farther memory"] = kernel - (known - parts["products for the weights' gradients"])
    parts["once per call: Python, packing weights, clipping, Adam"] = (
        total - kernel - parts["products for the weights' gradients"]
    )
    return parts | {"whole": total}


# Time until solved


def solved(seeds: range) -> list[dict[str, Any]]:
    """What `ntm.experiments.solve` says of each seed with the configuration's defaults, on one thread."""
    torch.set_num_threads(1)
    config = runs.RunConfig("copy", CONFIG, training.TrainingConfig())
    return [
        experiments.solve(replace(config, training=replace(config.training, seed=seed)), progress=False)[2]._asdict()
        for seed in tqdm(seeds, "seeds")
    ]


# The whole


def host() -> dict[str, Any]:
    """The machine, and how busy it was before."""
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line] or ["?"]
    return {"cpu": names[0], "cores": os.cpu_count(), "system": platform.platform(), "load": os.getloadavg()[0]}


def version(package: str) -> str | None:
    """The version installed, if any."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def table(results: dict[str, Any]) -> str:
    """The results as a page of text."""
    steps, absent = results["steps"]["sequences_per_second"], results["steps"]["absent"]
    lines = [
        "Training sequences per second (threads of torch); by how much ours is faster, rounds compared one by one",
        "",
    ]
    lines.append(f"{'batch':15}" + "".join(f"{batch:>22}" for batch in steps))
    for name in CONTENDERS:
        cells = [
            f"{row[name]['median']:,.1f} ({row[name]['threads']}) {row[name]['ours_is_faster_by']:7.2f}"
            for row in steps.values()
            if name in row
        ]
        lines.append(f"{name:15}" + ("".join(f"{cell:>22}" for cell in cells) or f"  absent: {absent[name]}"))
    lines += ["", "One training step of ours, one thread"]
    for series in results["growth"]:
        lines += ["", f"{series['over']}: seconds grow with the power {series['exponent']:.2f}"]
        units = {
            "sizes": (0, ""),
            "seconds": (4, "seconds"),
            "extra_mib": (1, "MiB more"),
            "counted_mib": (1, "counted"),
        }
        for key, (digits, unit) in units.items():
            lines.append(f"{unit:15}" + "".join(f"{value:>10.{digits}f}" for value in series[key]))
    limit = results["ceiling"]
    lines += ["", f"Products of a training sequence: {limit['flops_per_sequence'] / 1e6:.1f} MFLOP"]
    for shape, speeds in limit["flops_per_second"].items():
        said = ", ".join(f"{speed / 1e9:.0f} GFLOP/s ({threads})" for threads, speed in speeds.items())
        lines.append(f"{shape:15}  {said}")
    shares = ", ".join(f"{share:.1%} at batch {b}" for b, share in limit["share_of_skinny_products"].items())
    lines.append(f"Ours reaches {shares} of the 16x129x400 products' speed")
    for batch, parts in results["profile"].items():
        lines += ["", f"One sequence's time step in a training step at batch {batch}, one thread, in microseconds"]
        lines += [f"{kind:56}{value:6.2f}{value / parts['whole']:7.0%}" for kind, value in parts.items()]
    if results["solved"]:
        lines += ["", f"{'seed':>6}{'sequences':>12}{'seconds':>10}"]
        lines += [f"{s['seed']:>6}{s['sequences'] or 'never':>12}{s['seconds']:>10.1f}" for s in results["solved"]]
    return "\n".join(lines)


def main() -> None:
    """Measure, print the table, and leave every number behind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a look at everything, to be believed by nobody")
    parser.add_argument("--solve", type=int, default=0, metavar="SEEDS", help="also train this many seeds until solved")
    parser.add_argument("--output", type=Path, default=ROOT / "data" / "bench.json")
    arguments = parser.parse_args()
    plan = QUICK if arguments.quick else FULL
    arguments.output.parent.mkdir(parents=True, exist_ok=True)  # or fail now, not after half an hour
    results: dict[str, Any] = {
        "machine": host(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "plan": plan._asdict(),
    }
    results["steps"] = training_steps(plan)
    results["growth"] = growth(plan)
    results["ceiling"] = ceiling(plan, results["steps"]["sequences_per_second"])
    results["profile"] = {str(batch): profile(batch, plan) for batch in plan.batches[:: len(plan.batches) - 1]}
    results["solved"] = solved(range(arguments.solve))
    print(table(results))
    part = arguments.output.with_suffix(".part")
    part.write_text(json.dumps(results, indent=1) + "\n")
    part.replace(arguments.output)  # whole or not at all


if __name__ == "__main__":
    main()
