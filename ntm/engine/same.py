"""Whether the engine is the same machine as the literal model: one predicate, by what is there.

The kernels were compiled from certain functions, for certain modules, and know nothing of what torch lets a user do
around them. So everything that the literal model would look at is looked at here first: the functions themselves, the
exact type of every module and what its instance has of its own, hooks, parametrisations, every tensor, and the modes
that torch is in. What is not as it was compiled runs on the literal model, which is always right; a warning says so
once for each reason, unless nothing faster was to be expected.
"""

import contextlib
import functools
import itertools
import operator
import threading
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.modules import module as nn_module

from ntm import addressing, controller, heads, memory
from ntm.engine import compiler
from ntm.model import NTM, NTMConfig, State

if TYPE_CHECKING or compiler.why_not() is None:
    from ntm.engine.sizes import Sizes


class Reason(NamedTuple):
    """Why the literal model runs."""

    text: str
    silent: bool = False  # where the user asked for it, or the engine never was to be had


_blocks = 0
_lock = threading.Lock()
_told: set[str] = set()


@contextlib.contextmanager
def literal() -> Iterator[None]:
    """The literal model runs inside this block, in every thread, as if there were no engine."""
    global _blocks
    with _lock:
        _blocks += 1
    try:
        yield
    finally:
        with _lock:
            _blocks -= 1


def tell(reason: Reason, what: str = "the literal model runs, many times slower") -> None:
    """Warn, once for each reason."""
    text = f"{reason.text}: {what}"
    if not reason.silent and text not in _told:
        _told.add(text)
        warnings.warn(text, stacklevel=2)


# What was compiled: every function of these modules, every method of these classes, as they were when imported.


def _functions(place: Any) -> list[str]:
    return [name for name, value in vars(place).items() if callable(value) and not isinstance(value, type)]


_PLACES: tuple[Any, ...] = (
    addressing,
    memory,
    heads,
    heads.Heads,
    controller.LSTM,
    controller.Feedforward,
    NTM,
    nn.Linear,
    nn.LSTMCell,
)
_NAMES = [_functions(place) for place in _PLACES]
_GETTERS = [operator.attrgetter(*names) for names in _NAMES]
_COMPILED = [get(place) for get, place in zip(_GETTERS, _PLACES, strict=True)]


def replaced() -> str:
    """The first function that is not the one that was compiled, or nothing."""
    for get, place, compiled, names in zip(_GETTERS, _PLACES, _COMPILED, _NAMES, strict=True):
        now = get(place)
        if now != compiled:
            changed = next(name for name, a, b in zip(names, now, compiled, strict=True) if a is not b)
            return f"{place.__name__}.{changed}"
    return ""


# Modules


@functools.cache
def _own() -> dict[Any, frozenset[str]]:
    """What instances of each type of module have of their own when they are new."""
    with torch.device("meta"):
        machines = [NTM(NTMConfig(1, 1, name, 1)) for name in ("lstm", "feedforward")]
    return {type(module): frozenset(vars(module)) for machine in machines for module in machine.modules()}


_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def _module(module: Any, kind: Any, parameters: tuple[str, ...], modules: tuple[str, ...]) -> str:
    """What is unusual about a module, or nothing."""
    if type(module) is not kind:
        return f"is a {type(module).__name__}"
    there = module.__dict__
    own = _own()[kind]
    if there.keys() != own:
        for name in there.keys() - own:
            if hasattr(kind, name) and name != "INITIAL_MEMORY":
                return f"has a {name} of its own"
        if own - there.keys():
            return "is not whole"
    if (*there["_parameters"],) != parameters or (*there["_modules"],) != modules or there["_buffers"]:
        return "has other parameters, buffers or layers"
    return ""


def _hooks(module: nn.Module) -> str:
    there = module.__dict__
    for name in _HOOKS:
        if there[name]:
            return "has hooks"
    return ""


def modules_of(model: Any) -> list[tuple[Any, ...]]:
    """Every module of a machine of its configuration: path, module, type, names of parameters and of modules."""
    layers, lstm = tuple(map(str, range(model.config.layers))), model.config.controller == "lstm"
    linear, cell = ("weight", "bias"), ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    of, inner = model.controller, model.heads.projection
    of_layers = of.cells if lstm else of.layers
    start = ("initial_hidden", "initial_cell") if lstm else ()
    kind: type[nn.Module] = controller.LSTM if lstm else controller.Feedforward
    found: list[Any] = [("", model, NTM, ("initial_reads",), ("controller", "heads", "output"))]
    found += [("controller", of, kind, start, ("cells",) if lstm else ("layers",))]
    found += [("controller's list of layers", of_layers, nn.ModuleList, (), layers)]
    for i, layer in enumerate(of_layers):
        found += [
            (f"controller's layer {i}", layer, controller.Cell if lstm else nn.Linear, cell if lstm else linear, ())
        ]
    found += [("heads", model.heads, heads.Heads, (), ("projection",))]
    found += [("heads.projection", inner, nn.Linear, linear, ()), ("output", model.output, nn.Linear, linear, ())]
    return found


def parameters_of(model: Any) -> list[Tensor]:
    """In the order of ``Sizes.parameter_shapes``."""
    projection, output = model.heads.projection, model.output
    if model.config.controller == "lstm":
        layers = [p for c in model.controller.cells for p in (c.weight_ih, c.weight_hh, c.bias_ih, c.bias_hh)]
    else:
        layers = [p for layer in model.controller.layers for p in (layer.weight, layer.bias)]
    return [projection.weight, projection.bias, output.weight, output.bias, *layers]


def start_of(model: Any) -> list[Tensor]:
    """In the order of ``Sizes.start_shapes``."""
    return [model.initial_reads, *model.controller._parameters.values()]


def sizes_of(model: Any) -> "Sizes":
    """Of an NTM."""
    c = model.config
    sizes = (c.inputs, c.outputs, c.hidden, c.layers, c.width, c.read_heads, c.write_heads, c.shifts)
    return Sizes(*sizes, c.controller == "lstm")


def unlike(model: Any) -> Reason | None:
    """Why a machine is not what was compiled, from what is there: its modules, their parameters, the functions."""
    try:
        described = modules_of(model)
    except (AttributeError, TypeError):
        return Reason("the machine's parts are not those of an NTM")
    for path, module, *expected in described:
        unusual = _module(module, *expected) or (path and _hooks(module))
        if unusual:
            return Reason(f"the machine's {path} {unusual}" if path else f"the machine {unusual}")
    sizes, emits = sizes_of(model), model.heads
    if type(model.config) is not NTMConfig:
        return Reason("the machine has a configuration of another type")
    if (emits.heads, emits.write_heads, emits.width) != (sizes.R + sizes.W, sizes.W, sizes.M) or (
        emits.address_sizes != [sizes.M, 1, 1, sizes.S, 1]
    ):
        return Reason("the machine's heads have other sizes than its configuration")
    first = model.output.weight
    if not first.is_cpu or first.dtype not in (torch.float32, torch.float64):
        return Reason("the machine is not on the CPU in float32 or float64", silent=True)
    shapes = [*sizes.parameter_shapes(), *sizes.start_shapes()]
    for parameter, shape in zip([*parameters_of(model), *start_of(model)], shapes, strict=True):
        if not plain(parameter, first.dtype) or parameter.shape != shape:
            return Reason("a parameter of the machine has another type, place, dtype or shape than the others")
    name = replaced()
    return Reason(f"{name} was replaced") if name else None


def plain(tensor: Any, dtype: torch.dtype) -> bool:
    """Whether a tensor is nothing but numbers of this type in the CPU's memory."""
    return (
        type(tensor) in (Tensor, nn.Parameter)
        and tensor.dtype == dtype
        and tensor.is_cpu
        and tensor.layout == torch.strided
        and not tensor.is_neg()
    )


class Seen:
    """All that was looked at on a machine, to find quickly, before the next step, that nothing of it has changed."""

    def __init__(self, model: Any) -> None:
        self.modules = [module for _, module, *_ in modules_of(model)]
        self.parts = [vars(module) for module in self.modules]
        self.inner = [part[name] for part in self.parts for name in ("_parameters", "_modules")]
        self.hooks = [part[name] for part in self.parts for name in _HOOKS]
        self.parameters = [*parameters_of(model), *start_of(model)]
        self.sizes, self.dtype = sizes_of(model), model.output.weight.dtype
        self.objects, self.tensors = self._objects(), self._tensors()

    def unchanged(self) -> bool:
        """Whether another look would see the same, no hook among it."""
        hooked = any(self.hooks) or any(any(map(hooks, self.parameters)) for hooks in _TENSOR_HOOKS)
        return (
            not hooked and not replaced() and self._tensors() == self.tensors and alike(self._objects(), self.objects)
        )

    def _objects(self) -> list[Any]:
        values = itertools.chain.from_iterable(map(dict.values, itertools.chain(self.parts, self.inner)))
        return [*map(type, self.modules), *values]

    def _tensors(self) -> list[Any]:
        return [list(map(look, self.parameters)) for look in _LOOKS]


_LOOKS: list[Any] = [
    *map(operator.attrgetter, ("shape", "dtype", "requires_grad")),
    Tensor.data_ptr,
    Tensor.is_contiguous,
]
_TENSOR_HOOKS: list[Any] = [*map(operator.attrgetter, ("_backward_hooks", "_post_accumulate_grad_hooks"))]


def alike(now: list[Any], before: list[Any]) -> bool:
    """Whether two lists hold the same objects."""
    return len(now) == len(before) and all(map(operator.is_, now, before))


# Torch's modes


def _modes() -> Reason | None:
    """Why torch is to see every operation for itself."""
    if torch._C._len_torch_dispatch_stack() or torch._C._len_torch_function_stack():
        return Reason("a mode of torch looks at every operation", silent=True)
    if torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0:
        return Reason("a transformation of functions is at work", silent=True)
    if torch.is_autocast_enabled("cpu"):
        return Reason("autocast is on", silent=True)
    if torch.jit.is_tracing():
        return Reason("the machine is being traced", silent=True)
    if nn_module._has_any_global_hook():
        return Reason("a hook is registered for all modules")
    return None


def transformed(*tensors: Tensor) -> bool:
    """Whether tensors are those of a transformation of functions, which have no numbers to hand out."""
    try:
        for tensor in tensors:
            tensor.untyped_storage()
    except (NotImplementedError, RuntimeError):
        return True
    return torch._C._are_functorch_transforms_active()


def why_literal(model: Any, *tensors: Tensor) -> Reason | None:
    """Why the literal model runs for this machine and these inputs and state; None where the engine does."""
    reason = _elsewhere() or unlike(model)
    if reason is None and not all(plain(tensor, model.output.weight.dtype) for tensor in tensors):
        return Reason("inputs or state are of another type, place or layout than the machine", silent=True)
    return reason


def _elsewhere() -> Reason | None:
    """Why no machine is computed by the engine now."""
    if torch.compiler.is_compiling():
        return Reason("the machine is being compiled by torch", silent=True)
    if _blocks:
        return Reason("asked for", silent=True)
    cannot = compiler.why_not()
    if cannot:
        return Reason(cannot)
    return _modes()


def still(seen: Seen, *tensors: Tensor) -> bool:
    """Whether ``why_literal`` would again find no reason, for the machine that was seen when it found none."""
    return _elsewhere() is None and seen.unchanged() and all(plain(tensor, seen.dtype) for tensor in tensors)


def serves(model: Any, *tensors: Tensor) -> bool:
    """Whether the engine computes what the literal model would; where it does not, say why, once."""
    reason = why_literal(model, *tensors)
    if reason is not None:
        tell(reason)
    return reason is None


# The literal model from what the kernels were given


class _Unrolled(NTM):
    forward = NTM.unrolled  # type: ignore[assignment]


@functools.cache
def _unrolled(sizes: "Sizes") -> tuple[NTM, list[str]]:
    kind: Any = "lstm" if sizes.lstm else "feedforward"
    with torch.device("meta"):
        config = NTMConfig(
            sizes.X, sizes.Y, kind, sizes.C, sizes.L, width=sizes.M, read_heads=sizes.R, write_heads=sizes.W,
            shifts=sizes.S,
        )  # fmt: skip
        machine = _Unrolled(config)
    names = {id(p): name for name, p in machine.named_parameters()}
    return machine, [names[id(p)] for p in parameters_of(machine)]


def literally(sizes: "Sizes", inputs: Tensor, state: list[Tensor], parameters: list[Tensor]) -> list[Tensor]:
    """What ``Sequence`` returns, by the literal equations."""
    machine, names = _unrolled(sizes)
    hidden, cell, *others = state
    start = State((hidden, cell) if sizes.lstm else (), *others)
    given = dict(zip(names, parameters, strict=True))
    logits, end = torch.func.functional_call(machine, given, (inputs, start))
    return [logits, *(end.controller or (hidden, cell)), *end[1:]]
