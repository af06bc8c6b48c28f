"""Whole sequences through the kernels, as one operation of torch's autograd."""

import functools
from typing import Any

import torch
from torch import Tensor

from ntm.engine import same
from ntm.engine.arrays import Lease, cut, in_parts, multiply_all, shared, together, torch_alone
from ntm.engine.kernels import (
    Gradients,
    Record,
    Weights,
    bias_gradients,
    place_start,
    place_weights,
    run,
    run_backward,
)
from ntm.engine.sizes import Sizes


class Sequence(torch.autograd.Function):
    """Inputs, state and parameters -> logits, and the state after the last step."""

    @staticmethod
    def forward(ctx: Any, keep: bool, sizes: Sizes, inputs: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        """``tensors``: hidden, cell, reads, weighting, memory, then parameters as in ``Sizes.parameter_shapes``."""
        hidden, cell, reads, weighting, memory = (t.detach().numpy() for t in tensors[:5])
        (steps, batch, _), locations = inputs.shape, memory.shape[1]
        shape = sizes.shape(locations, inputs.dtype)
        of_weights = Lease(inputs.dtype, sizes.weights())
        of_record = Lease(inputs.dtype, sizes.record(steps, batch, locations, steps + 1 if keep else 2, batch))
        weights, record = _weights(sizes, of_weights.buffer), _record(sizes, of_record.buffer, inputs, memory, keep)
        place_weights(weights, tuple(map(flat, tensors[5:])), shape)
        start = (x.detach().contiguous().numpy() for x in (inputs, *tensors[:2], tensors[2].flatten(1)))
        place_start(record, *start, shape)
        record.weighting[0, :, :, :locations], record.weighting[0, :, :, locations:] = weighting, 0
        record.memory[0, :, :, :locations], record.memory[0, :, :, locations:] = memory.transpose(0, 2, 1), 0
        threads = min(torch.get_num_threads(), batch)
        rooms = sizes.rooms(threads, -(-batch // threads), locations, record.memory.dtype)
        shared(rooms, 0, run, batch, weights, record, shape)
        end = steps % len(record.memory)
        after = [
            record.logits,
            record.seen[:, -1, :, sizes.K - sizes.C :] if sizes.lstm else record.seen[:, -1, :, :0],
            record.cell[:, -1],
            record.features[-1, :, sizes.C :].reshape(batch, sizes.R, sizes.M),
            record.weighting[end, :, :, :locations],
            record.memory[end, :, :, :locations].transpose(0, 2, 1),
        ]
        if keep:
            ctx.set_materialize_grads(False)
            # Saved like any tensor: autograd checks that inputs were not changed in place, and frees the rest after
            # the backward, whoever still has the loss.
            ctx.save_for_backward(inputs, *tensors, of_weights.token(), of_record.token())
            ctx.sizes = sizes
        return tuple(torch.from_numpy(value.copy(order="C")) for value in after)

    @staticmethod
    def backward(ctx: Any, *d_after: Tensor | None) -> tuple[Tensor | None, ...]:
        """The gradients of all tensors that went into ``forward``."""
        inputs, *tensors, of_weights, of_record = ctx.saved_tensors
        sizes = ctx.sizes
        given_gradients = [d for d in d_after if d is not None]
        if torch.is_grad_enabled() or same.transformed(*given_gradients):
            # They will be differentiated again, or are many at once: torch's own operations know how.
            return None, None, *_literal_gradients(sizes, inputs, tensors, d_after, ctx.needs_input_grad[2:])
        memory = tensors[4]
        weights, record = _weights(sizes, of_weights), _record(sizes, of_record, inputs, memory, keep=True)
        (steps, batch, _), locations = inputs.shape, memory.shape[1]
        shapes = sizes.gradients(steps, batch, locations, batch)
        lease = Lease(inputs.dtype, shapes)
        d = Gradients(**cut(lease.buffer, shapes))
        for array in d[:5]:
            array[:] = 0
        for given, array in zip(d_after, (d.logits, *sizes.of_state(d, locations)), strict=True):
            if given is not None:
                array[:] = given.numpy()
        threads = min(torch.get_num_threads(), batch)
        rooms = sizes.rooms(threads, -(-batch // threads), locations, record.memory.dtype)
        shared(rooms, 0, run_backward, batch, weights, record, d, sizes.shape(locations, inputs.dtype))
        asked = zip((d.inputs, *sizes.of_state(d, locations)), ctx.needs_input_grad[2:8], strict=True)
        d_state = [torch.from_numpy(value.copy(order="C")) if needed else None for value, needed in asked]
        grads = [torch.empty_like(parameter, memory_format=torch.contiguous_format) for parameter in tensors[5:]]
        bias_gradients(tuple(map(flat, grads)), d)
        products = in_parts(sizes.weight_gradients(record, d, grads), batch)
        with torch_alone():
            together([functools.partial(multiply_all, part) for part in products], threads)
        return None, None, *d_state, *grads


def flat(tensor: Tensor) -> Any:
    """A tensor's numbers in a row: where they lie, if they lie in one."""
    return tensor.detach().reshape(-1).contiguous().numpy()


def _weights(sizes: Sizes, buffer: Tensor) -> Weights:
    return Weights(**cut(buffer, sizes.weights()))


def _record(sizes: Sizes, buffer: Tensor, inputs: Tensor, memory: Any, keep: bool) -> Record:
    (steps, batch, _), locations = inputs.shape, memory.shape[1]
    return Record(**cut(buffer, sizes.record(steps, batch, locations, steps + 1 if keep else 2, batch)))


def _literal_gradients(
    sizes: Sizes, inputs: Tensor, tensors: list[Tensor], d_after: tuple[Tensor | None, ...], needed: tuple[bool, ...]
) -> list[Tensor | None]:
    """The same gradients, from the literal model, so that they have gradients themselves."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        # A tensor that was given twice is two here.
        own = [t.view_as(t) if t.requires_grad else t.detach() for t in (inputs, *tensors)]
        after = same.literally(sizes, own[0], own[1:6], own[6:])
    pairs = [(value, d) for value, d in zip(after, d_after, strict=True) if d is not None and value.requires_grad]
    wanted = [tensor for tensor, need in zip(own, needed, strict=True) if need]
    values, d_values = zip(*pairs, strict=True)
    found = iter(torch.autograd.grad(values, wanted, d_values, create_graph=again, allow_unused=True))
    return [next(found) if need else None for need in needed]
