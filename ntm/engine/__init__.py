"""The compiled engine: whole sequences forward and backward, equal to the literal model and many times as fast.

The literal model launches some sixty small operations per step. :mod:`ntm.engine.kernels` has the same equations as
loops; torch sees one ``autograd.Function`` for the whole sequence, and training one call for the whole step. Weight
gradients are one product over all time steps, at the end. :meth:`ntm.model.NTM.forward` comes here by itself, on the
CPU, as long as the functions of the paper's equations are those that were compiled (``serves``).
"""

import contextlib
import functools
import itertools
import math
import os
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ntm import addressing, controller, heads, memory

try:
    from ntm.engine.kernels import (
        TOGETHER,
        Gradients,
        Record,
        Room,
        Shape,
        Weights,
        adam,
        clip,
        graves_rmsprop,
        learn,
        run,
        run_backward,
        transpose,
    )
    from ntm.engine.simd import LANES, padded
except ImportError as error:
    if error.name not in ("numba", "llvmlite"):
        raise
    COMPILES = False
else:
    COMPILES = True


Shapes = dict[str, tuple[int, ...]]


def _ends(dtype: torch.dtype, shapes: Shapes) -> list[int]:
    """Where each array ends when they lie one behind the other, each beginning at a whole cache line."""
    line = 64 // dtype.itemsize
    return list(itertools.accumulate(-(-math.prod(shape) // line) * line for shape in shapes.values()))


def _cut(buffer: Tensor, shapes: Shapes) -> dict[str, np.ndarray]:
    """A buffer as arrays of these shapes."""
    flat, starts = buffer.numpy(), [0, *_ends(buffer.dtype, shapes)]
    parts = zip(shapes.items(), starts, strict=False)
    return {name: flat[start : start + math.prod(shape)].reshape(shape) for (name, shape), start in parts}


class Lease:
    """Arrays whose memory, once nobody refers to the lease any longer, goes to the next one.

    Pages that the system has to hand out anew cost more time than filling them. A second forward before the first
    one's backward gets memory of its own.
    """

    KEPT, LARGEST = 4, 2**28  # buffers kept for the next ones, and bytes of the largest to keep
    free: ClassVar[list[Tensor]] = []

    def __init__(self, dtype: torch.dtype, shapes: Shapes) -> None:
        size = _ends(dtype, shapes)[-1]
        fitting = [i for i, buffer in enumerate(self.free) if buffer.dtype == dtype and len(buffer) >= size]
        self.buffer = self.free.pop(fitting[0]) if fitting else torch.empty(size, dtype=dtype)
        self.arrays = _cut(self.buffer, shapes)

    def __del__(self) -> None:
        """Pass the memory on."""
        if self.buffer.nbytes <= self.LARGEST:
            self.free.append(self.buffer)
            self.free.sort(key=len)
            del self.free[: -self.KEPT]


@functools.cache
def _helpers() -> ThreadPoolExecutor:
    """Threads beside the caller's own."""
    return ThreadPoolExecutor(os.cpu_count() or 1, "ntm-engine")


os.register_at_fork(after_in_child=_helpers.cache_clear)  # a forked process has the executor, but not its threads


def _together(calls: list[Callable[[], None]], threads: int) -> None:
    """Each in a thread of its own, the first in this one; all in this one if there is to be no other."""
    others = [_helpers().submit(call) for call in calls[1:] if threads > 1]
    for call in calls[: 1 if threads > 1 else None]:
        call()
    for other in others:
        other.result()


@contextlib.contextmanager
def _torch_alone() -> Iterator[None]:
    """Torch computes in the calling thread: its own threads spin for milliseconds after use, in the way of ours."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _shared(rooms: list[Room], places: int, kernel: Any, batch: int, *arguments: Any) -> None:
    """Run a kernel over all sequences, shared among as many threads as there are rooms.

    Each thread has so many places in the arrays with N in them, or one for each of its sequences if that is 0.
    """
    bounds = [batch * i // len(rooms) for i in range(len(rooms) + 1)]
    parts = [(bounds[i], bounds[i + 1], places * i if places else bounds[i], room) for i, room in enumerate(rooms)]
    _together([functools.partial(_flushed, kernel, *part, *arguments) for part in parts], len(parts))


def _flushed(kernel: Any, *arguments: Any) -> None:
    """Run a kernel with denormal numbers taken as 0: arithmetic with them is some fifty times as slow."""
    flushes = bool(np.float32(1e-45) * np.float32(1) == 0)
    torch.set_flush_denormal(True)
    kernel(*arguments)
    torch.set_flush_denormal(flushes)


class Sizes(NamedTuple):
    """Of a machine (letters as above), from its configuration."""

    X: int
    Y: int
    C: int
    L: int
    M: int
    R: int
    W: int
    S: int
    lstm: bool

    @property
    def below(self) -> int:
        """Places for what comes from below in what a layer sees."""
        return max(self.R * self.M, self.C) if self.L > 1 else self.R * self.M

    @property
    def K(self) -> int:  # noqa: N802 (a letter of the glossary)
        """What a layer sees."""
        return self.X + self.below + (self.C if self.lstm else 0)

    @property
    def G(self) -> int:  # noqa: N802
        """Gates of a layer."""
        return 4 * self.C if self.lstm else self.C

    @property
    def O(self) -> int:  # noqa: E743, N802
        """Orders of all heads."""
        return (self.R + self.W) * (self.M + self.S + 3) + 2 * self.W * self.M

    def weights(self) -> dict[str, tuple[int, ...]]:
        """The shapes of Weights."""
        features = self.C + self.R * self.M
        shapes: list[tuple[int, ...]] = [
            (self.L, self.G, padded(self.K)),
            (self.L, self.K, padded(self.G)),
            (self.L, self.G),
        ]
        shapes += [(self.O, padded(self.C)), (self.C, padded(self.O)), (self.O,), (self.Y, padded(features)), (self.Y,)]
        return dict(zip(Weights._fields, shapes, strict=True))

    def record(self, steps: int, batch: int, locations: int, slots: int, places: int) -> dict[str, tuple[int, ...]]:
        """The shapes of a Record: ``slots`` and ``places`` of what has N in it."""
        layers, heads, n = self.L, self.R + self.W, padded(locations)
        shapes: list[tuple[int, ...]] = [(layers, steps + 1, batch, self.K), (layers, steps, batch, padded(self.G))]
        shapes += [(layers if self.lstm else 0, steps + 1, batch, self.C), (steps, batch, self.C + self.R * self.M)]
        shapes += [(steps, batch, self.Y), (steps, batch, padded(self.O)), (slots, places, n)]
        shapes += [(slots, places, heads, n)] * 4 + [(slots, places, self.M, n)]
        return dict(zip(Record._fields, shapes, strict=True))

    def gradients(self, steps: int, batch: int, locations: int, places: int) -> dict[str, tuple[int, ...]]:
        """The shapes of Gradients."""
        n = padded(locations)
        shapes: list[tuple[int, ...]] = [
            (steps, batch, self.Y),
            (self.L, batch, padded(self.K)),
            (self.L if self.lstm else 0, batch, self.C),
        ]
        shapes += [(places, self.R + self.W, n), (places, self.M, n), (steps, batch, self.X)]
        shapes += [(self.L, steps, batch, padded(self.G)), (steps, batch, padded(self.O))]
        return dict(zip(Gradients._fields, shapes, strict=True))

    def rooms(self, threads: int, batch: int, locations: int, dtype: Any) -> list[Room]:
        """Scratch for threads that each have at most ``batch`` sequences at a time."""
        heads, n, ring = self.R + self.W, padded(locations), padded(locations) + self.S + LANES
        shapes: list[tuple[int, ...]] = [
            (heads, self.M),
            (heads, self.M),
            (ring,),
            (ring,),
            (n,),
            (heads, n),
            (n,),
            (self.W, self.M, n),
        ]
        shapes += [(padded(self.O),), (self.C,), (batch, padded(self.C + self.R * self.M)), (batch, padded(self.C))]
        return [Room(*(np.zeros(shape, dtype) for shape in shapes)) for _ in range(threads)]

    def shape(self, locations: int, dtype: torch.dtype) -> Shape:
        """For the kernels; constants as numbers of the type computed with."""
        number = np.float32 if dtype == torch.float32 else np.float64
        constants = (addressing.SIMILARITY_EPSILON, torch.finfo(dtype).tiny, heads.LARGEST_STRENGTH)
        sizes = (locations, self.M, self.R + self.W, self.S, self.X, self.C, self.K, self.R * self.M, self.O)
        return Shape(*sizes, *map(number, constants))

    def fill_weights(self, weights: Weights, parameters: list[Tensor]) -> None:
        """From a model's parameters (heads' and output's weight and bias, then each layer's) to ``weights``."""
        heads_weight, heads_bias, output, output_bias, *layers = (p.detach().numpy() for p in parameters)
        if self.L > 1:
            weights.layers[:] = 0
        for i in range(self.L):
            if self.lstm:
                from_below, own, bias, bias_too = layers[4 * i : 4 * i + 4]
                weights.layers[i, :, self.K - self.C : self.K] = own
                np.add(bias, bias_too, out=weights.bias[i])
            else:
                from_below, weights.bias[i] = layers[2 * i : 2 * i + 2]
            start = self.X if i else 0
            weights.layers[i, :, start : start + from_below.shape[1]] = from_below
            transpose(weights.layers_t[i], weights.layers[i])
        weights.heads[:, : self.C] = heads_weight
        transpose(weights.heads_t, weights.heads)
        weights.output[:, : output.shape[1]] = output
        weights.heads_bias[:], weights.output_bias[:] = heads_bias, output_bias
        ends = (weights.layers, self.K), (weights.layers_t, self.G), (weights.output, output.shape[1])
        for array, end in (*ends, (weights.heads, self.C), (weights.heads_t, self.O)):
            array[..., end:] = 0

    def fill_start(self, record: Record, inputs: Tensor, hidden: Tensor, cell: Tensor, reads: Tensor) -> None:
        """The inputs, and the state before the first step but for weighting and memory, into a record."""
        if self.L > 1:
            record.seen[:] = 0
        record.seen[0, :-1, :, : self.X] = inputs.detach().numpy()
        record.seen[0, 0, :, self.X : self.X + self.R * self.M] = reads.detach().flatten(1).numpy()
        if self.lstm:
            record.seen[:, 0, :, self.K - self.C :] = hidden.detach().numpy()
            record.cell[:, 0] = cell.detach().numpy()

    def of_state(self, d: Gradients, locations: int) -> tuple[np.ndarray, ...]:
        """Gradients of hidden, cell, reads, weighting and memory, as views into what is carried."""
        d_reads = d.seen[0, :, self.X : self.X + self.R * self.M].reshape(-1, self.R, self.M)
        d_hidden = d.seen[:, :, self.K - self.C : self.K] if self.lstm else d.seen[:, :, :0]
        return d_hidden, d.cell, d_reads, d.weighting[:, :, :locations], d.memory[:, :, :locations].transpose(0, 2, 1)

    def weight_gradients(self, record: Record, d: Gradients, out: list[Tensor]) -> list[tuple[Tensor, ...]]:
        """One product each over all steps of all sequences, in the order of ``fill_weights``.

        As arguments for :func:`multiply_all`: (left, right, result), or (right, result) where the left is 1.
        """
        orders = torch.from_numpy(d.orders).flatten(0, 1)[:, : self.O]
        logits, features = torch.from_numpy(d.logits).flatten(0, 1), torch.from_numpy(record.features).flatten(0, 1)
        products: list[tuple[Tensor, ...]] = [(orders.t(), features[:, : self.C], out[0]), (orders, out[1])]
        products += [(logits.t(), features, out[2]), (logits, out[3])]
        each = 4 if self.lstm else 2
        for i in range(self.L):
            from_below, *own, bias = out[4 + each * i : 4 + each * (i + 1)]
            gates = torch.from_numpy(d.gates[i]).flatten(0, 1)[:, : self.G]
            seen = torch.from_numpy(record.seen[i, :-1]).flatten(0, 1)
            start = self.X if i else 0
            products.append((gates.t(), seen[:, start : start + from_below.shape[1]], from_below))
            if self.lstm:
                products += [(gates.t(), seen[:, -self.C :], own[0]), (gates, own[1])]
            products.append((gates, bias))
        return products


def multiply_all(products: list[tuple[Tensor, ...]]) -> None:
    """What :meth:`Sizes.weight_gradients` lists."""
    for *left, right, out in products:
        if left:
            torch.mm(left[0], right, out=out)
        else:
            torch.sum(right, 0, out=out)


def in_parts(products: list[tuple[Tensor, ...]], batch: int) -> list[list[tuple[Tensor, ...]]]:
    """The same products, their results cut in two where that pays, whether or not there are two threads for it."""
    parts: list[list[tuple[Tensor, ...]]] = [[] for _ in range(1 if batch == 1 else 2)]
    for *left, right, out in products:
        for i, part in enumerate(parts):
            rows = slice(len(out) * i // len(parts), len(out) * (i + 1) // len(parts))
            part.append((left[0][rows], right, out[rows]) if left else (right[:, rows], out[rows]))
    return parts


class Sequence(torch.autograd.Function):
    """Inputs, state and parameters -> logits, and the state after the last step."""

    @staticmethod
    def forward(ctx: Any, keep: bool, sizes: Sizes, inputs: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        """``tensors``: hidden, cell, reads, weighting, memory, then parameters in the order of ``fill_weights``."""
        hidden, cell, reads, weighting, memory = tensors[:5]
        (steps, batch, _), locations = inputs.shape, memory.shape[1]
        of_weights = Lease(inputs.dtype, sizes.weights())
        of_record = Lease(inputs.dtype, sizes.record(steps, batch, locations, steps + 1 if keep else 2, batch))
        weights, record = Weights(**of_weights.arrays), Record(**of_record.arrays)
        sizes.fill_weights(weights, list(tensors[5:]))
        sizes.fill_start(record, inputs, hidden, cell, reads)
        record.weighting[0, :, :, :locations] = weighting.detach().numpy()
        record.memory[0, :, :, :locations] = memory.detach().numpy().transpose(0, 2, 1)
        record.weighting[0, :, :, locations:], record.memory[0, :, :, locations:] = 0, 0
        threads = min(torch.get_num_threads(), batch)
        rooms = sizes.rooms(threads, -(-batch // threads), locations, record.memory.dtype)
        _shared(rooms, 0, run, batch, weights, record, sizes.shape(locations, inputs.dtype))
        end = steps % len(record.memory)
        after = [
            record.seen[:, -1, :, sizes.K - sizes.C :] if sizes.lstm else record.seen[:, -1, :, :0],
            record.cell[:, -1],
            record.features[-1, :, sizes.C :].reshape(batch, sizes.R, sizes.M),
            record.weighting[end, :, :, :locations],
            record.memory[end, :, :, :locations],
        ]
        logits, *others, memory = (torch.from_numpy(value.copy()) for value in (record.logits, *after))
        if keep:
            ctx.set_materialize_grads(False)
            ctx.save_for_backward(inputs, *tensors)  # for torch's check that nothing was changed in place
            ctx.sizes, ctx.leases, ctx.weights, ctx.record = sizes, (of_weights, of_record), weights, record
            ctx.rooms = rooms
        return logits, *others, memory.transpose(1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_logits: Tensor | None, *d_after: Tensor | None) -> tuple[Tensor | None, ...]:
        """The gradients of all tensors that went into ``forward``."""
        inputs, *tensors = ctx.saved_tensors
        sizes, record, weights = ctx.sizes, ctx.record, ctx.weights
        (steps, batch, _), locations = inputs.shape, tensors[4].shape[1]
        lease = Lease(inputs.dtype, sizes.gradients(steps, batch, locations, batch))
        d = Gradients(**lease.arrays)
        for array in d[:5]:
            array[:] = 0
        for given, array in zip((d_logits, *d_after), (d.logits, *sizes.of_state(d, locations)), strict=True):
            if given is not None:
                array[:] = given.numpy()
        shape = sizes.shape(locations, inputs.dtype)
        _shared(ctx.rooms, 0, run_backward, batch, weights, record, d, shape)
        asked = zip((d.inputs, *sizes.of_state(d, locations)), ctx.needs_input_grad[2:8], strict=True)
        d_state = [torch.from_numpy(value.copy()) if needed else None for value, needed in asked]
        grads = [torch.empty_like(parameter) for parameter in tensors[5:]]
        products = in_parts(sizes.weight_gradients(record, d, grads), batch)
        with _torch_alone():
            _together([functools.partial(multiply_all, part) for part in products], len(ctx.rooms))
        return None, None, *d_state, *grads


# The functions whose equations are compiled here. Where one of them is replaced, the literal model runs instead.
_COMPILED = [
    (place, name, getattr(place, name))
    for place, names in {
        addressing: ("cosine_similarity", "content_weighting", "interpolate", "shift", "sharpen", "address"),
        memory: ("read", "apply_erase", "apply_add", "write", "write_and_read"),
        controller.LSTM: ("forward",),
        controller.Feedforward: ("forward",),
        heads: ("key_strength",),
        heads.Heads: ("forward",),
    }.items()
    for name in names
]


@functools.cache
def compiles() -> bool:
    """Whether numba is here; says once if it is not."""
    if not COMPILES:
        warnings.warn("numba is not installed: the literal model runs, some fifteen times slower", stacklevel=4)
    return COMPILES


def serves(model: Any) -> bool:
    """Whether the engine computes what the literal model would: on the CPU, with the equations as they are."""
    weight = model.output.weight
    return (
        compiles()
        and weight.device.type == "cpu"
        and weight.dtype in (torch.float32, torch.float64)
        and all(getattr(place, name) is function for place, name, function in _COMPILED)
        and all(p.dtype == weight.dtype for p in model.parameters())
        and type(model.controller) in (controller.LSTM, controller.Feedforward)
        and type(model.heads) is heads.Heads
        and not torch._C._are_functorch_transforms_active()
    )


def forward(model: Any, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
    """What the literal ``model(inputs, state)`` returns."""
    keep = torch.is_grad_enabled()
    sizes, tensors = sizes_of(model), [*flat_state(state), *parameters_of(model)]
    logits, hidden, cell, *others = Sequence.apply(keep, sizes, inputs, *tensors)
    return logits, type(state)((hidden, cell) if sizes.lstm else (), *others)


class Costs(NamedTuple):
    """Of one batch: the loss, the mean cost per sequence, and the norm of the gradient before clipping."""

    loss: float
    bits_per_sequence: float
    wrong_bits: float
    norm: float


class Plan:
    """What a step over batches of one shape needs besides weights: the same memory, cut to measure."""

    def __init__(self, step: "Step", steps: int, batch: int, threads: int, room: int | None) -> None:
        sizes, dtype, state = step.sizes, step.theta.dtype, step.model.initial_state(batch, room)
        hidden, cell, reads, weighting, memory = flat_state(state)
        locations, threads = memory.shape[1], min(threads, batch)
        self.places = min(TOGETHER, -(-batch // threads))  # of each thread
        places = threads * self.places
        self.rooms = sizes.rooms(threads, self.places, locations, step.number)
        shapes = sizes.record(steps, batch, locations, steps + 1, places)
        shapes |= {f"d.{name}": shape for name, shape in sizes.gradients(steps, batch, locations, places).items()}
        shapes |= {"sums": (batch, 3)}
        size = _ends(dtype, shapes)[-1]
        if size > len(step.buffer):
            step.buffer = torch.empty(size, dtype=dtype)
            step.plans.clear()
        arrays = _cut(step.buffer, shapes)
        self.record = Record(*(arrays[name] for name in Record._fields))
        self.d = Gradients(*(arrays[f"d.{name}"] for name in Gradients._fields))
        self.sums, self.weight = arrays["sums"], np.zeros(1, step.number)
        self.shape = sizes.shape(locations, dtype)
        self.start = weighting.numpy(), memory.numpy()
        self.learned = hidden, cell, reads  # expanded from the parameters themselves, so always up to date
        self.products = in_parts(sizes.weight_gradients(self.record, self.d, step.grads), batch)
        d_hidden, d_cell, d_reads, _, _ = sizes.of_state(self.d, locations)
        grads = [grad.numpy() for grad in step.grads[len(step.parameters) :]]
        self.start_gradients = list(zip(grads, (d_reads, d_hidden, d_cell), (0, 1, 1), strict=False))


class Step:
    """A whole training step compiled: forward, loss, backward, clipping, optimiser; for small batches above all.

    The model's parameters, their gradients and the optimiser's state stay where they were for everybody else, but
    become views into one row each.
    """

    def __init__(
        self,
        model: Any,
        optimizer: torch.optim.Optimizer,
        huber: bool,
        clip_norm: bool,
        clip_at: float,
    ) -> None:
        self.model, self.optimizer, self.sizes, self.huber, self.clip_norm = (
            model,
            optimizer,
            sizes_of(model),
            huber,
            clip_norm,
        )
        self.parameters = parameters_of(model)
        everything = [*self.parameters, model.initial_reads]
        if self.sizes.lstm:
            everything += [model.controller.initial_hidden, model.controller.initial_cell]
        self.theta, views = _one_row(everything)
        self.grad, self.grads = _one_row([torch.zeros_like(p) for p in everything])
        for parameter, view, grad in zip(everything, views, self.grads, strict=True):
            parameter.data, parameter.grad = view, grad
        self.is_adam = isinstance(optimizer, torch.optim.Adam)
        names = ("exp_avg", "exp_avg_sq") if self.is_adam else ("square", "mean", "delta")
        self.moments = []
        for name in names:
            row, views = _one_row([optimizer.state[p].get(name, torch.zeros_like(p)) for p in everything])
            self.moments.append(row.numpy())
            for parameter, view in zip(everything, views, strict=True):
                optimizer.state[parameter][name] = view
        if self.is_adam:
            self.count = torch.tensor([float(optimizer.state[p].get("step", 0)) for p in everything])
            for parameter, count in zip(everything, self.count.unbind(), strict=True):
                optimizer.state[parameter]["step"] = count
        self.number = np.float32 if self.theta.dtype == torch.float32 else np.float64
        self.clip_at = self.number(clip_at)
        self.of_weights = Lease(self.theta.dtype, self.sizes.weights())
        self.weights = Weights(**self.of_weights.arrays)
        self.buffer = torch.empty(0, dtype=self.theta.dtype)
        self.plans: dict[tuple[int | None, ...], Plan] = {}

    def __call__(
        self, inputs: Tensor, targets: Tensor, mask: Tensor, rate: float, locations: int | None = None
    ) -> Costs:
        """One update with this learning rate, in so many locations; none if the gradient is not finite."""
        threads = torch.get_num_threads()
        key = (*inputs.shape[:2], threads, locations)
        if key not in self.plans:
            self.plans[key] = Plan(self, *key)
        with _torch_alone():
            costs = self.gradients(self.plans[key], inputs, targets, mask)
        if math.isfinite(costs.norm) and math.isfinite(costs.loss):
            self.update(rate)
        return costs

    def gradients(self, plan: "Plan", inputs: Tensor, targets: Tensor, mask: Tensor) -> Costs:
        """Fill ``self.grad``, clipped."""
        batch, sizes, record, d = inputs.shape[1], self.sizes, plan.record, plan.d
        sizes.fill_weights(self.weights, self.parameters)
        sizes.fill_start(record, inputs, *plan.learned)
        d.seen[:], d.cell[:] = 0, 0
        counts = mask.numpy()
        bits = float(counts.sum()) * sizes.Y
        plan.weight[0] = 1 / bits
        _shared(
            plan.rooms,
            plan.places,
            learn,
            batch,
            self.weights,
            record,
            d,
            plan.shape,
            *plan.start,
            targets.numpy(),
            counts,
            plan.weight,
            self.huber,
            plan.sums,
        )
        _together([functools.partial(multiply_all, part) for part in plan.products], len(plan.rooms))
        for grad, of, axis in plan.start_gradients:
            np.sum(of, axis=axis, keepdims=True, out=grad)
        norm = float(clip(self.grad.numpy(), self.clip_norm, self.clip_at))
        loss, nats, wrong = plan.sums.sum(axis=0).tolist()
        return Costs(loss / bits, nats / math.log(2) / batch, wrong / batch, norm)

    def update(self, rate: float) -> None:
        """What the optimiser would do with the gradients."""
        number, theta, grad = self.number, self.theta.numpy(), self.grad.numpy()
        if self.is_adam:
            self.count += 1
            group = self.optimizer.param_groups[0]
            (beta_1, beta_2), k = group["betas"], float(self.count[0])
            terms = (rate / (1 - beta_1**k), beta_1, beta_2, group["eps"], math.sqrt(1 - beta_2**k))
            adam(theta, grad, *self.moments, *map(number, terms))
        else:
            o: Any = self.optimizer
            graves_rmsprop(theta, grad, *self.moments, *map(number, (rate, o.DECAY, o.MOMENTUM, o.EPSILON)))


def _one_row(tensors: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """All numbers in one row, and views into it in the tensors' shapes."""
    row = torch.cat([t.detach().flatten() for t in tensors])
    parts = row.split([t.numel() for t in tensors])
    return row, [part.view(t.shape) for part, t in zip(parts, tensors, strict=True)]


def sizes_of(model: Any) -> Sizes:
    """Of an NTM."""
    c, lstm = model.config, model.config.controller == "lstm"
    return Sizes(c.inputs, c.outputs, c.hidden, c.layers, c.width, c.read_heads, c.write_heads, c.shifts, lstm)


def parameters_of(model: Any) -> list[Tensor]:
    """In the order of ``Sizes.fill_weights``."""
    projection, output = model.heads.projection, model.output
    if model.config.controller == "lstm":
        layers = [p for c in model.controller.cells for p in (c.weight_ih, c.weight_hh, c.bias_ih, c.bias_hh)]
    else:
        layers = [p for layer in model.controller.layers for p in (layer.weight, layer.bias)]
    return [projection.weight, projection.bias, output.weight, output.bias, *layers]


def flat_state(state: Any) -> list[Tensor]:
    """A model's State as hidden, cell (both empty for a feedforward controller), reads, weighting, memory."""
    if state.controller:
        return [*state.controller, *state[1:]]
    batch = state.reads.shape[0]
    return [state.reads.new_empty(0, batch, 0), state.reads.new_empty(0, batch, 0), *state[1:]]
