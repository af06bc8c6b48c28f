"""A whole training step through the kernels: forward, loss, backward, clipping and optimiser without autograd."""

import functools
import itertools
import math
import sys
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import optimizer as torch_optimizer

from ntm import addressing, heads
from ntm.engine import same
from ntm.engine.arrays import Lease, cut, ends, in_parts, multiply_all, shared, together, torch_alone
from ntm.engine.kernels import (
    TOGETHER,
    Gradients,
    Record,
    Weights,
    adam,
    bias_gradients,
    clip,
    graves_rmsprop,
    learn,
    place_start,
    place_weights,
    start_gradients,
)
from ntm.engine.same import Reason
from ntm.engine.sequence import flat


class Costs(NamedTuple):
    """Of one batch: the loss, the mean cost per sequence, and the norm of the gradient before clipping."""

    loss: float
    bits_per_sequence: float
    wrong_bits: float
    norm: float


class Plan:
    """What a step over batches of one shape needs besides weights: the same memory, cut to measure."""

    def __init__(self, step: "Step", steps: int, batch: int, threads: int, room: int | None) -> None:
        sizes, dtype, state = step.sizes, step.dtype, step.model.initial_state(batch, room)
        locations, threads = state.memory.shape[1], min(threads, batch)
        self.places = min(TOGETHER, -(-batch // threads))  # of each thread
        places = threads * self.places
        self.rooms = sizes.rooms(threads, self.places, locations, step.number)
        shapes = sizes.record(steps, batch, locations, steps + 1, places)
        shapes |= {f"d.{name}": shape for name, shape in sizes.gradients(steps, batch, locations, places).items()}
        shapes |= {"sums": (batch, 3)}
        size = ends(dtype, shapes)[-1]
        if size > len(step.buffer):
            step.buffer = torch.empty(size, dtype=dtype)
            step.plans.clear()
        arrays = cut(step.buffer, shapes)
        self.record = Record(*(arrays[name] for name in Record._fields))
        self.d = Gradients(*(arrays[f"d.{name}"] for name in Gradients._fields))
        self.sums, self.weight = arrays["sums"], np.zeros(1, step.number)
        self.shape = sizes.shape(locations, dtype)
        self.start = state.weighting.numpy(), state.memory.numpy()
        self.products = in_parts(sizes.weight_gradients(self.record, self.d, step.grads), batch)


class Step:
    """A whole training step compiled, for one machine, optimiser, loss and way to clip; for small batches above all.

    Parameters, gradients and the optimiser's state are changed where torch has them, so that whoever looks at them,
    changes them or puts others in their place between two steps does what he would do with torch's own step.
    """

    MOST_PLANS = 500  # batch shapes to keep plans for

    def __init__(
        self,
        model: Any,
        optimizer: torch.optim.Optimizer,
        huber: bool,
        per_sequence: bool,  # the loss is a sum over each sequence, not the mean over all bits
        clip_norm: bool,
        clip_at: float,
    ):
        self.model, self.optimizer, self.clip_norm = model, optimizer, clip_norm
        self.huber, self.per_sequence = huber, per_sequence
        self.sizes, self.dtype = same.sizes_of(model), model.output.weight.dtype
        self.is_adam = type(optimizer) is torch.optim.Adam
        self.names = ("step", "exp_avg", "exp_avg_sq") if self.is_adam else ("square", "mean", "delta")
        self.number = np.float32 if self.dtype == torch.float32 else np.float64
        self.clip_at = self.number(clip_at)
        self.lease = Lease(self.dtype, self.sizes.weights())
        self.weights = Weights(**cut(self.lease.buffer, self.sizes.weights()))
        self.buffer = torch.empty(0, dtype=self.dtype)
        self.plans: dict[tuple[Any, ...], Plan] = {}
        self.new_gradients()
        self.look()

    def look(self) -> None:
        """See machine and optimiser as they are, after the predicates have found nothing unusual about them."""
        self.seen = same.Seen(self.model)
        self.rows_of_parameters = tuple(map(flat, self.seen.parameters))
        self.states = [self.optimizer.state.get(p, {}) for p in self.seen.parameters]
        self.moments: tuple[Any, ...] = ()
        if all(self.states):
            self.moments = tuple(tuple(flat(state[name]) for state in self.states) for name in self.names)
        self.objects, self.places = self._optimizer_objects(), self._optimizer_places()

    def still(self, *batch: Tensor) -> bool:
        """Whether the predicates would again find nothing unusual."""
        hooked = not torch.is_grad_enabled() or torch.is_anomaly_enabled() or any(part.requires_grad for part in batch)
        return (
            not hooked
            and same.still(self.seen, *batch)
            and not _observed(self.optimizer)
            and (same.alike(self._optimizer_objects(), self.objects) and self._optimizer_places() == self.places)
        )

    def _optimizer_objects(self) -> list[Any]:
        """What an optimiser holds, but for the learning rate."""
        of = self.optimizer
        options = (value for group in of.param_groups for name, value in group.items() if name not in ("lr", "params"))
        members = itertools.chain.from_iterable(group["params"] for group in of.param_groups)
        values = itertools.chain.from_iterable(map(dict.values, self.states))
        return [*of.param_groups, *options, *members, *of.state.values(), *values]

    def _optimizer_places(self) -> list[int]:
        return [*map(Tensor.data_ptr, itertools.chain.from_iterable(map(dict.values, self.states)))]

    def new_gradients(self) -> None:
        """Room for the gradients: one row for all, of which each parameter's is a view."""
        shapes = [*self.sizes.parameter_shapes(), *self.sizes.start_shapes()]
        row = torch.zeros(sum(map(math.prod, shapes)), dtype=self.dtype)
        parts = row.split([math.prod(shape) for shape in shapes])
        self.row, self.grads = row.numpy(), [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
        rows, many = tuple(map(flat, self.grads)), len(self.sizes.parameter_shapes())
        self.all_rows, self.rows, self.start_rows = rows, rows[:many], rows[many:]
        self.storage, self.plans = row.untyped_storage(), {}
        self.references = self._references()

    def fits(self) -> bool:
        """Whether the machine still has the sizes and the type that this was made for."""
        return same.sizes_of(self.model) == self.sizes and self.model.output.weight.dtype == self.dtype

    def _references(self) -> int:
        """To the gradients, by whomever."""
        return torch._C._storage_Use_Count(self.storage._cdata) + sum(map(sys.getrefcount, self.grads))

    def __call__(
        self, inputs: Tensor, targets: Tensor, mask: Tensor, rate: float, locations: int | None = None
    ) -> Costs:
        """One update with this learning rate, in so many locations; none if the gradient is not finite."""
        if self._references() > self.references:
            self.new_gradients()  # somebody has kept the former step's
        constants = self.model.INITIAL_MEMORY, addressing.SIMILARITY_EPSILON, heads.LARGEST_STRENGTH
        shape = (*inputs.shape[:2], torch.get_num_threads(), locations)
        key = (*shape, *constants, self.model.config.memory_seed)
        if key not in self.plans:
            if len(self.plans) >= self.MOST_PLANS:
                self.plans.clear()
            self.plans[key] = Plan(self, *shape)
        with torch_alone():
            costs = self.gradients(self.plans[key], inputs, targets, mask)
        for parameter, grad in zip(self.seen.parameters, self.grads, strict=True):
            if parameter.grad is not grad:
                parameter.grad = grad
        if math.isfinite(costs.norm) and math.isfinite(costs.loss):
            self.update(rate)
        self.references = self._references()
        return costs

    def gradients(self, plan: Plan, inputs: Tensor, targets: Tensor, mask: Tensor) -> Costs:
        """Fill the row of gradients, clipped."""
        batch, record, d, shape = inputs.shape[1], plan.record, plan.d, plan.shape
        rows, many = self.rows_of_parameters, len(self.rows)
        place_weights(self.weights, rows[:many], shape)
        reads, hidden, cell = self._start(rows[many:])
        place_start(record, inputs.numpy(), hidden, cell, reads, shape)
        d.seen[:], d.cell[:] = 0, 0
        counts = mask.numpy()
        parts = batch if self.per_sequence else float(counts.sum()) * self.sizes.Y
        plan.weight[0] = 1 / parts
        given = self.weights, record, d, shape, *plan.start, targets.numpy(), counts, plan.weight, self.huber, plan.sums
        shared(plan.rooms, plan.places, learn, batch, *given)
        together([functools.partial(multiply_all, part) for part in plan.products], len(plan.rooms))
        bias_gradients(self.rows, d)
        start_gradients(self.start_rows, d, shape)
        norm = float(clip(self.row, self.clip_norm, self.clip_at))
        loss, nats, wrong = plan.sums.sum(axis=0).tolist()
        return Costs(loss / parts, nats / math.log(2) / batch, wrong / batch, norm)

    def _start(self, rows: tuple[Any, ...]) -> tuple[Any, Any, Any]:
        """The learned start as rows that serve every sequence: reads (1,R*M), hidden and cell (L,1,C) or (0,1,0)."""
        reads, *state = rows
        shape = (self.sizes.L, 1, self.sizes.C) if state else (0, 1, 0)
        hidden, cell = state or (reads[:0], reads[:0])
        return reads.reshape(1, -1), hidden.reshape(shape), cell.reshape(shape)

    def update(self, rate: float) -> None:
        """What the optimiser would do with the gradients, where the parameters and its state lie."""
        optimizer, rows, grads = self.optimizer, self.rows_of_parameters, self.all_rows
        if not self.moments:
            for parameter in optimizer.param_groups[0]["params"]:  # in the order in which torch would
                new = {name: torch.zeros(()) if name == "step" else torch.zeros_like(parameter) for name in self.names}
                optimizer.state[parameter].update(new | optimizer.state[parameter])
            self.look()
        if self.is_adam:
            group = optimizer.param_groups[0]
            adam(rows, grads, *self.moments, float(rate), *group["betas"], group["eps"])
        else:
            o: Any = optimizer
            graves_rmsprop(rows, grads, *self.moments, *map(self.number, (rate, o.DECAY, o.MOMENTUM, o.EPSILON)))
        torch.autograd.graph.increment_version(self.seen.parameters)


# Whether torch's own step would do the same

_FREE = ("params", "lr", "betas", "eps")  # of Adam's options, those that are passed on


@functools.cache
def _adams_options() -> dict[str, Any]:
    group = torch.optim.Adam([torch.zeros(1)]).param_groups[0]
    return {name: value for name, value in group.items() if name not in _FREE}


def _observed(optimizer: Any) -> bool:
    """Whether somebody wants to know of an optimiser's steps, as a scheduler of learning rates does."""
    own = "step" in vars(optimizer) or optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks
    return bool(own or torch_optimizer._global_optimizer_pre_hooks or torch_optimizer._global_optimizer_post_hooks)


def _optimizer(optimizer: Any, kinds: tuple[type, ...], parameters: list[Tensor]) -> str:
    """What is unusual about an optimiser, or nothing."""
    if type(optimizer) not in kinds:
        return f"is {type(optimizer).__name__}"
    if _observed(optimizer):
        return "has hooks, or a scheduler"
    groups, wanted = optimizer.param_groups, set(map(id, parameters))
    if len(groups) != 1 or len(groups[0]["params"]) != len(wanted) or set(map(id, groups[0]["params"])) != wanted:
        return "is not of exactly this machine's parameters in one group"
    group = groups[0]
    if type(optimizer) is torch.optim.Adam:
        options = {name: group.get(name) for name in _adams_options()}
        if options != _adams_options() or not all(type(x) is float for x in (*group["betas"], group["eps"])):
            return "has options that were not compiled"
    for parameter in parameters:
        for name, value in optimizer.state.get(parameter, {}).items():
            if not same.plain(value, torch.float32 if name == "step" else parameter.dtype):
                return "has a state of another type"
            if value.shape != (() if name == "step" else parameter.shape) or not value.is_contiguous():
                return "has a state of another shape"
    return ""


def why_not_whole(model: Any, optimizer: Any, kinds: tuple[type, ...], *batch: Tensor) -> Reason | None:
    """Why a machine that the engine serves is not trained by a compiled step; ``kinds``: optimisers compiled."""
    if any(part.requires_grad for part in batch):
        return Reason("the batch asks for gradients", silent=True)
    if not torch.is_grad_enabled() or torch.is_inference_mode_enabled() or torch.is_anomaly_enabled():
        return Reason("torch records no gradients, or looks for anomalies", silent=True)
    if torch._C._autograd._top_saved_tensors_default_hooks(False) is not None:
        return Reason("hooks on saved tensors are at work", silent=True)
    if same._hooks(model):
        return Reason("the machine has hooks")
    parameters = [*same.parameters_of(model), *same.start_of(model)]
    for p in parameters:
        if type(p) is not nn.Parameter or not p.requires_grad or p._backward_hooks or p._post_accumulate_grad_hooks:
            return Reason("a parameter of the machine is frozen, has hooks, or is none")
        if not p.is_contiguous() or not p.is_leaf:
            return Reason("a parameter of the machine does not lie in one row")
    if _overlap(parameters):
        return Reason("parameters of the machine share memory")
    unusual = _optimizer(optimizer, kinds, parameters)
    return Reason(f"the optimiser {unusual}") if unusual else None


def _overlap(parameters: list[Tensor]) -> bool:
    """Whether two of them, each in one row, have numbers in common."""
    places = sorted((p.data_ptr(), p.nbytes) for p in parameters)
    return any(start + size > other for (start, size), (other, _) in zip(places, places[1:], strict=False))
