"""The Neural Turing Machine: a controller, heads, and a memory, joined as in Figure 1 of the paper.

The letters that all shapes are written in, and where the paper has them:

    T  time steps of a sequence; time is always the first axis
    B  sequences in a batch
    X  channels of the external input at a step               Figure 1
    Y  channels of the external output at a step              Figure 1
    C  units in a layer of the controller ("controller size")  Tables 1 and 2
    L  layers of the controller
    N  locations of the memory                                section 3.1
    M  width of a location, the length of a read vector       section 3.1
    R  read heads
    W  write heads
    H  heads of either kind, H = R + W, read heads first      "#Heads" in Tables 1 and 2
    S  allowed shifts, an odd number                          section 3.3.2

One step: the controller sees the input and the previous reads; every head moves by what the memory held before the
step; the write heads write; the read heads read what is there now; the output sees the controller and the reads.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ntm import addressing, checks, controller, memory
from ntm.heads import HeadParameters, Heads

LARGEST_MEMORY_SEED = 2**32 - 1  # that NumPy's RandomState takes


@dataclass(frozen=True)
class NTMConfig:
    """Sizes of a machine; the defaults are those of the copy task in the paper's Table 2.

    Raises ValueError for sizes that no machine can have.
    """

    inputs: int = 10  # X: 8 bits, a start and an end channel
    outputs: int = 8  # Y: 8 bits
    controller: Literal["lstm", "feedforward"] = "lstm"
    hidden: int = 100  # C
    layers: int = 1  # L; the paper has two for sorting with an LSTM, else one
    locations: int = 128  # N; no parameter depends on it
    width: int = 20  # M
    read_heads: int = 1  # R
    write_heads: int = 1  # W
    shifts: int = 3  # S: -1, 0, +1, the paper's example; it does not say what its experiments allowed
    memory_seed: int | None = None  # None: all locations start alike; a seed: each with a vector drawn from it

    def __post_init__(self) -> None:
        """Refuse sizes that no machine can have, before anything is built."""
        for name, value in vars(self).items():
            if name not in ("controller", "memory_seed"):
                object.__setattr__(self, name, checks.whole(name, value))
        if self.memory_seed is not None:
            seed = checks.whole("memory_seed", self.memory_seed, 0, LARGEST_MEMORY_SEED)
            object.__setattr__(self, "memory_seed", seed)
        if self.controller not in ("lstm", "feedforward"):
            raise ValueError(f"controller={self.controller!r}: must be 'lstm' or 'feedforward'")
        if self.shifts % 2 == 0:
            raise ValueError(f"shifts={self.shifts}: must be odd, to reach as far back as forward (3 is -1, 0, +1)")


class State(NamedTuple):
    """What a machine carries from one step to the next."""

    controller: controller.ControllerState  # hidden and cell (L,B,C) of the LSTM, or nothing
    reads: Tensor  # (B,R,M)
    weighting: Tensor  # (B,H,N)
    memory: Tensor  # (B,N,M)

    def detach(self) -> "State":
        """The same numbers without their past: for back-propagation that ends here."""
        return State(tuple(part.detach() for part in self.controller), *(part.detach() for part in self[1:]))


class Trace(NamedTuple):
    """Every intermediate of every step, time first; see :class:`ntm.heads.HeadParameters` for the heads' ranges."""

    controller: Tensor  # (T,B,C) the controller's output
    key: Tensor  # (T,B,H,M)
    beta: Tensor  # (T,B,H,1)
    gate: Tensor  # (T,B,H,1)
    shift: Tensor  # (T,B,H,S)
    gamma: Tensor  # (T,B,H,1)
    erase: Tensor  # (T,B,W,M)
    add: Tensor  # (T,B,W,M)
    content: Tensor  # (T,B,H,N) weighting by content, equation 5
    gated: Tensor  # (T,B,H,N) after interpolation, equation 7
    shifted: Tensor  # (T,B,H,N) after the shift, equation 8
    weighting: Tensor  # (T,B,H,N) after sharpening, equation 9: the one that reads and writes
    memory: Tensor  # (T,B,N,M) after the step's write
    reads: Tensor  # (T,B,R,M)
    logits: Tensor  # (T,B,Y)


class NTM(nn.Module):
    """A Neural Turing Machine, of the sizes in its configuration. Nothing that belongs to one sequence is stored on it.

    Call it with a whole sequence (``forward``); ``trace`` tells all that happens meanwhile, ``step`` takes one step.
    """

    # The paper resets the memory to "bias values". A small constant, fixed, learns fastest (Collier and Beel, 2018)
    # and lets the memory be enlarged. Not 0, where the similarity to a key has no direction.
    INITIAL_MEMORY = 1e-6

    def __init__(self, config: NTMConfig) -> None:
        super().__init__()
        self.config = config
        seen = config.inputs + config.read_heads * config.width
        kind = controller.LSTM if config.controller == "lstm" else controller.Feedforward
        self.controller = kind(seen, config.hidden, config.layers)
        self.heads = Heads(config.hidden, config.width, config.shifts, config.read_heads, config.write_heads)
        self.output = nn.Linear(config.hidden + config.read_heads * config.width, config.outputs)
        self.initial_reads = nn.Parameter(torch.zeros(1, config.read_heads, config.width))

    def initial_state(self, batch: int, locations: int | None = None) -> State:
        """The state before the first step, for any number of locations (the configuration's by default).

        Controller and reads start at learned values, the memory as the configuration's ``memory_seed`` says. Every head
        starts at location 0: a nearly uniform start, the other custom, leaves the machine to learn first that there are
        places at all. ``batch`` is B. Raises ValueError for fewer than one sequence or location.
        """
        n = self.config.locations if locations is None else locations
        if batch < 1 or n < 1:
            raise ValueError(f"batch={batch}, locations={n}: both must be at least 1")
        heads = self.config.read_heads + self.config.write_heads
        weighting = self.initial_reads.new_zeros(batch, heads, n)
        weighting[:, :, 0] = 1
        held = self.initial_reads.new_full((batch, n, self.config.width), self.INITIAL_MEMORY)
        if self.config.memory_seed is not None:
            held[:] = random_memory(n, self.config.width, self.config.memory_seed)
        return State(
            controller=self.controller.initial_state(batch),
            reads=self.initial_reads.expand(batch, -1, -1),
            weighting=weighting,
            memory=held,
        )

    def step(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """One time step: (B,X), State -> logits (B,Y), State. Unlike ``forward``, it checks nothing."""
        record, state = self._step(inputs, state)
        return record.logits, state

    def forward(self, inputs: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """A whole sequence: (T,B,X) -> logits (T,B,Y) and the state after it, to go on from.

        On the CPU the compiled engine computes it (:mod:`ntm.engine`), as long as it is the same machine; elsewhere,
        and inside ``with ntm.literal():``, ``step`` after step. Inputs may be of any real type that the machine's own
        holds; a state of four tensors in a plain tuple will do. Raises ValueError, naming what is there and what is
        expected, for other shapes, types or devices, and for NaN or infinity in the inputs.
        """
        inputs, state = self._checked(inputs, state)
        if engine.serves(self, inputs, *state.controller, *state[1:]):
            return engine.forward(self, inputs, state)
        return self.unrolled(inputs, state)

    def unrolled(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """What ``forward`` returns, by ``step`` after step and never by the engine; nothing is checked."""
        logits = []
        for x in inputs.unbind(0):
            y, state = self.step(x, state)
            logits.append(y)
        return torch.stack(logits), state

    def trace(self, inputs: Tensor, state: State | None = None) -> Trace:
        """A whole sequence (T,B,X), recorded: the same computation as ``forward``, every intermediate kept.

        Takes what ``forward`` takes, refuses what it refuses, and is always the literal model.
        """
        inputs, state = self._checked(inputs, state)
        records = []
        for x in inputs.unbind(0):
            record, state = self._step(x, state)
            records.append(record)
        return Trace(*(torch.stack(values) for values in zip(*records, strict=True)))

    def _step(self, inputs: Tensor, state: State) -> tuple[Trace, State]:
        """One step and its record (the fields of a Trace, without the time axis)."""
        seen = torch.cat([inputs, state.reads.flatten(1)], dim=1)
        hidden, controller_state = self.controller(seen, state.controller)
        p: HeadParameters = self.heads(hidden)

        address = addressing.address(state.memory, state.weighting, p.key, p.beta, p.gate, p.shift, p.gamma)
        reading, writing = address.weighting.split([self.config.read_heads, self.config.write_heads], dim=1)
        written, reads = memory.write_and_read(state.memory, writing, p.erase, p.add, reading)
        logits = self.emit(hidden, reads)
        record = Trace(hidden, *p, *address, written, reads, logits)
        return record, State(controller_state, reads, address.weighting, written)

    def emit(self, hidden: Tensor, reads: Tensor) -> Tensor:
        """What the machine says, from its controller and what it has just read: (B,C), (B,R,M) -> logits (B,Y)."""
        return self.output(torch.cat([hidden, reads.flatten(1)], dim=1))

    def _checked(self, inputs: Tensor, state: State | None) -> tuple[Tensor, State]:
        """Inputs and the state to start from, once both are known to fit this machine."""
        own = self.initial_reads
        inputs = check_inputs(inputs, self.config.inputs, own)
        if state is None:
            return inputs, self.initial_state(inputs.shape[1])
        check_state(state, self.initial_state(inputs.shape[1], _locations(state)), own)
        return inputs, state if isinstance(state, State) else State(*state)


def random_memory(locations: int, width: int, seed: int) -> Tensor:
    """What a memory may hold before the first step, (N,M) in float64: uniform from -1/2 to 1/2, the same everywhere.

    The paper resets the memory to "bias values" and gives none. Where all locations start alike, a key finds none of
    them before something is written; where each has a vector of its own, it does. The first locations of a larger
    memory are those of a smaller one.
    """
    return torch.from_numpy(np.random.RandomState(seed).uniform(-0.5, 0.5, (locations, width)))


def _locations(state: State) -> int:
    """Of a state's memory, before it is known to be one."""
    if not isinstance(state, tuple) or len(state) != len(State._fields):
        found = f"{len(state)} tensors" if isinstance(state, tuple) else f"a {type(state).__name__}"
        raise ValueError(f"state is {found}: expected {', '.join(State._fields)}")
    memory = state[-1]
    if not isinstance(memory, Tensor) or memory.dim() != 3:
        found = str(tuple(memory.shape)) if isinstance(memory, Tensor) else f"a {type(memory).__name__}"
        raise ValueError(f"state ends with {found}: expected the memory, a tensor (B,N,M)")
    return memory.shape[1]


def check_inputs(inputs: Tensor, channels: int, own: Tensor) -> Tensor:
    """Inputs (T,B,X) in the type of ``own``, one of the network's parameters.

    Refuses, with ValueError, a wrong shape, device or type (one that ``own``'s type does not hold), and NaN or
    infinity, with the first time step that has one; numbers are not looked at where torch only traces or transforms.
    """
    if not isinstance(inputs, Tensor):
        raise ValueError(f"inputs are a {type(inputs).__name__}: expected a tensor (T,B,{channels})")
    if inputs.dim() != 3 or inputs.shape[2] != channels or inputs.shape[0] < 1:
        raise ValueError(f"inputs of shape {tuple(inputs.shape)}: expected (T,B,{channels}), T at least 1")
    if inputs.device != own.device:
        raise ValueError(f"inputs are on {inputs.device}, the network on {own.device}: move one with .to(...)")
    if torch.promote_types(inputs.dtype, own.dtype) != own.dtype:
        raise ValueError(f"inputs of {inputs.dtype} for a network of {own.dtype}: convert them with .to({own.dtype})")
    inputs = inputs.to(own.dtype)
    if torch.compiler.is_compiling() or engine.transformed() or inputs.is_meta:
        return inputs
    finite = inputs.isfinite().flatten(1).all(1)
    if not finite.all():
        raise ValueError(f"inputs hold NaN or infinity, first at time step {int((~finite).nonzero()[0])}")
    return inputs


def check_state(state: tuple, expected: tuple, own: Tensor, path: str = "state") -> None:
    """Refuse a state whose tensors have other shapes, devices or types than those expected, naming both."""
    if not isinstance(state, tuple) or len(state) != len(expected):
        found = f"{len(state)} tensors" if isinstance(state, tuple) else f"a {type(state).__name__}"
        raise ValueError(f"{path} holds {found}: expected {len(expected)} tensors")
    names = getattr(expected, "_fields", ("hidden", "cell")[: len(expected)])
    for name, given, wanted in zip(names, state, expected, strict=True):
        if isinstance(wanted, tuple):
            check_state(given, wanted, own, f"{path}.{name}")
        elif not isinstance(given, Tensor):
            raise ValueError(f"{path}.{name} is a {type(given).__name__}: expected a tensor")
        elif given.shape != wanted.shape:
            raise ValueError(f"{path}.{name} has shape {tuple(given.shape)}: expected {tuple(wanted.shape)}")
        elif given.device != own.device:
            raise ValueError(f"{path}.{name} is on {given.device}, the network on {own.device}: move one with .to(...)")
        elif given.dtype != own.dtype and not torch.is_autocast_enabled(own.device.type):
            raise ValueError(f"{path}.{name} is of {given.dtype}: expected {own.dtype}")


from ntm import engine  # noqa: E402 (it is made of what stands above)
