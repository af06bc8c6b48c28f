"""The compiled engine: whole sequences forward and backward, equal to the literal model and many times as fast.

The literal model launches some sixty small operations per step. :mod:`ntm.engine.kernels` has the same equations as
loops; torch sees one ``autograd.Function`` for the whole sequence (:mod:`ntm.engine.sequence`), and training one call
for the whole step (:mod:`ntm.engine.step`). Weight gradients are one product over all time steps, at the end.
:meth:`ntm.model.NTM.forward` comes here by itself where the engine is the same machine (:mod:`ntm.engine.same`).
"""

from typing import Any

import torch
from torch import Tensor

from ntm.engine import compiler
from ntm.engine.same import Reason, literal, parameters_of, serves, sizes_of, tell, transformed, why_literal

if compiler.why_not() is None:
    from ntm.engine.sequence import Sequence
    from ntm.engine.step import Step, why_not_whole

__all__ = [
    "Reason",
    "Step",
    "forward",
    "is_compiled",
    "literal",
    "serves",
    "tell",
    "transformed",
    "why_literal",
    "why_not_whole",
]


def is_compiled() -> bool:
    """Whether the kernels need not be compiled in this process or for the first time on this machine any more."""
    if compiler.why_not() is not None:
        return True
    from ntm.engine.kernels import learn

    return bool(learn.signatures) or compiler.has_kept(learn)


def forward(model: Any, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
    """What the literal ``model(inputs, state)`` returns, for inputs and a state that were checked."""
    tensors = [*flat_state(state), *parameters_of(model)]
    keep = any(tensor.requires_grad for tensor in (inputs, *tensors))
    sizes = sizes_of(model)
    logits, hidden, cell, *others = Sequence.apply(keep and torch.is_grad_enabled(), sizes, inputs, *tensors)
    return logits, type(state)((hidden, cell) if sizes.lstm else (), *others)


def flat_state(state: Any) -> list[Tensor]:
    """A model's State as hidden, cell (both empty for a feedforward controller), reads, weighting, memory."""
    if state.controller:
        return [*state.controller, *state[1:]]
    batch = state.reads.shape[0]
    return [state.reads.new_empty(0, batch, 0), state.reads.new_empty(0, batch, 0), *state[1:]]
