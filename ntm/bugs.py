"""The historical faults: what went wrong in one real repository between 15 January and 6 February 2020.

Each is a faulty function, or two, with the signature of the right one, and the equation it computes instead; two more
were never there, and are measured beside them. Nothing of the machine or its training knows of them.
``with present("erase_dropped", "mirrored_shift"):`` puts some in place and takes them out again, whatever happens
inside. There the literal model runs: the compiled engine has the right equations only.

A function that has a parameter ``right`` gets there what it stands in for, so that faults of one place can be combined.
Letters: see :mod:`ntm.model`. The book's part on debugging tells the story; the numbers are those of its table.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional

from ntm import addressing, engine, heads, memory, tasks, training
from ntm.model import NTM, State


class Fault(NamedTuple):
    """A fault: its number in the story, when it lived, and each function with the place that it is put in."""

    number: str
    lived: str
    places: tuple[tuple[Any, str, Callable[..., Any]], ...]

    @property
    def about(self) -> str:
        """What it does, in one line."""
        return (inspect.getdoc(self.places[-1][2]) or "").splitlines()[0]


FAULTS: dict[str, Fault] = {}
NAMES = {  # what a fault does, in a few words
    "exponent_is_the_gate": "the gate as exponent",
    "bare_power": "bare power",
    "bare_cosine": "bare cosine",
    "convolution_modulo_three": "shift modulo 3",
    "shift_without_gradient": "no gradient for the shift",
    "kernel_in_tiles": "shift for N divisible by 3 only",
    "beta_is_a_sigmoid": "key strength below 1",
    "beta_is_ten_sigmoids": "key strength below 10",
    "sigmoid_on_the_weighting": "sigmoid on the weighting",
    "epsilon_in_the_normaliser": "constant in the normaliser",
    "mirrored_shift": "mirrored shift",
    "erase_dropped": "erase dropped",
    "read_before_write": "read before write",
    "output_without_reads": "output without the reads",
    "states_small_normal": "random signed first states",
    "states_wide_normal": "wide random signed first states",
    "states_zero": "first states all 0",
    "states_2_53": "first states all 2.53",
    "states_0_5": "first states all 0.5",
    "states_of_rows_trained": "first states for each row, learned",
    "states_of_rows_frozen": "first states for each row, frozen",
    "two_heads_for_everybody": "two heads, whatever was asked",
    "comparison_with_nan": "NaN test that cannot fail",
    "silent_targets": "two silent targets",
}


def fault(number: str, lived: str, *places: tuple[Any, str]) -> Callable[[Any], Any]:
    """A decorator: list a faulty function, or a class with one for each place, in FAULTS under its name.

    A place is a module or class, and the name there that the function stands in for.
    """

    def enter(faulty: Any) -> Any:
        functions = [getattr(faulty, name) for _, name in places] if inspect.isclass(faulty) else [faulty]
        parts = zip(places, functions, strict=True)
        FAULTS[faulty.__name__] = Fault(number, lived, tuple((*place, function) for place, function in parts))
        return faulty

    return enter


@contextmanager
def present(*names: str) -> Iterator[None]:
    """These faults are there inside this block, the first one innermost where several sit in one place."""
    for name in names:
        if name not in FAULTS:
            raise ValueError(f"unknown fault {name!r}: must be one of {', '.join(FAULTS)}")
    with ExitStack() as stack:
        stack.enter_context(engine.literal())  # which would notice, and warn
        for name in names:
            for place, attribute, faulty in FAULTS[name].places:
                replacement = _bound(faulty, getattr(place, attribute))
                stack.enter_context(mock.patch.object(place, attribute, replacement))
        yield


def _bound(faulty: Callable[..., Any], right: Callable[..., Any]) -> Callable[..., Any]:
    """The faulty function, given the right one where it asks for it. A def and no partial, since it may be a method."""
    if "right" not in inspect.signature(faulty).parameters:
        return faulty

    def bound(*arguments: Any, **named: Any) -> Any:
        return faulty(*arguments, **named, right=right)

    return bound


# Addressing


@fault("1", "15 to 31 January", (addressing, "address"))
def exponent_is_the_gate(
    memory: Tensor, previous: Tensor, key: Tensor, beta: Tensor, gate: Tensor, offsets: Tensor, gamma: Tensor
) -> addressing.Address:
    """Equation 9 with the gate as its exponent, w**g instead of w**gamma: it flattens, since g is below 1."""
    content = addressing.content_weighting(memory, key, beta)
    gated = addressing.interpolate(content, previous, gate)
    shifted = addressing.shift(gated, offsets)
    return addressing.Address(content, gated, shifted, addressing.sharpen(shifted, gate))


@fault("1a", "15 to 31 January", (addressing, "sharpen"))
def bare_power(weighting: Tensor, gamma: Tensor) -> Tensor:
    """Equation 9 as a power and a quotient: NaN for a negative weighting or a sum of 0, an infinite slope at 0."""
    powers = weighting**gamma
    return powers / powers.sum(2, keepdim=True)


@fault("1b", "15 to 19 January", (addressing, "cosine_similarity"))
def bare_cosine(memory: Tensor, key: Tensor) -> Tensor:
    """Equation 6 without an epsilon: 0/0 for a row or a key of zeros."""
    norms = key.norm(dim=2).unsqueeze(2) * memory.norm(dim=2).unsqueeze(1)
    return key @ memory.transpose(1, 2) / norms


@fault("3", "15 to 31 January", (addressing, "shift"))
def convolution_modulo_three(weighting: Tensor, shift: Tensor) -> Tensor:
    """Equation 8 with the kernel read modulo 3 for every pair of locations: sum_n w_n s_((j - n) mod 3).

    A location gets what every third one gets; the result has three different values and, if 3 divides N, the sum N/3.
    """
    third = torch.arange(weighting.shape[2]) % 3
    sums = weighting @ functional.one_hot(third, 3).to(weighting.dtype)  # (B,H,3)
    offsets = (torch.arange(3).unsqueeze(1) - torch.arange(3)) % 3
    return (shift[:, :, offsets] @ sums.unsqueeze(3)).squeeze(3)[:, :, third]


@fault("3b", "15 to 31 January", (addressing, "shift"))
def shift_without_gradient(weighting: Tensor, shift: Tensor, right: Callable[..., Tensor]) -> Tensor:
    """Equation 8 with the kernel copied into an array that gradients do not pass: where to walk is never learned."""
    return right(weighting, shift.detach())


@fault("3c", "15 to 19 January", (addressing, "shift"))
def kernel_in_tiles(weighting: Tensor, shift: Tensor) -> Tensor:
    """The convolution modulo 3 as a matrix of kernels laid side by side, which fits only if 3 divides N.

    With r = N mod 3 a row of the matrix has (3 + r) floor(N/3) + r entries: 212 for N = 128. Raises RuntimeError there.
    """
    locations = weighting.shape[2]
    tiles, rest = divmod(locations, 3)
    kernel = shift[:, :, [0, 2, 1]]
    end = kernel[:, :, :rest]
    row = torch.cat([torch.cat([kernel, end], dim=2).repeat(1, 1, tiles), end], dim=2)
    matrix = torch.stack([row.roll(j, 2) for j in range(locations)], dim=2)  # (B,H,N,N), where it fits
    return (matrix @ weighting.unsqueeze(3)).squeeze(3)


@fault("4", "15 to 31 January", (heads, "key_strength"))
def beta_is_a_sigmoid(raw: Tensor) -> Tensor:
    """A key strength between 0 and 1: among 128 rows no content weighting can exceed 0.055."""
    return torch.sigmoid(raw)


@fault("4b", "from 31 January on", (heads, "key_strength"))
def beta_is_ten_sigmoids(raw: Tensor) -> Tensor:
    """A key strength between 0 and 10: bounded, and high enough."""
    return 10 * torch.sigmoid(raw)


@fault("5", "19 to 31 January", (addressing, "sharpen"))
def sigmoid_on_the_weighting(weighting: Tensor, gamma: Tensor, right: Callable[..., Tensor]) -> Tensor:
    """A sigmoid around equation 9: every entry between 0.5 and 0.731, the sum some N/2 instead of 1."""
    return torch.sigmoid(right(weighting, gamma))


@fault("9", "from 31 January on", (addressing, "sharpen"))
def epsilon_in_the_normaliser(weighting: Tensor, gamma: Tensor) -> Tensor:
    """Equation 9 with 1e-8 added to the sum: an even weighting over 128 loses most of its mass at gamma = 5."""
    powers = weighting**gamma
    return powers / (powers.sum(2, keepdim=True) + 1e-8)


@fault("10", "from 31 January on", (addressing, "shift"))
def mirrored_shift(weighting: Tensor, shift: Tensor, right: Callable[..., Tensor]) -> Tensor:
    """Equation 8 with the kernel turned round: the weight named -1 moves the focus by +1."""
    return right(weighting, shift.flip(2))


# Memory and output


@fault("2", "15 to 31 January", (memory, "apply_erase"))
def erase_dropped(memory: Tensor, weighting: Tensor, erase: Tensor) -> Tensor:
    """Equation 3 computed and thrown away: what is written stays for ever, and everything later is added to it."""
    return memory


@fault("8", "from 15 January on", (memory, "write_and_read"))
def read_before_write(
    content: Tensor, writing: Tensor, erase: Tensor, add: Tensor, reading: Tensor
) -> tuple[Tensor, Tensor]:
    """The step's read sees the memory as it was before the step's write; either order is used in the literature."""
    return memory.write(content, writing, erase, add), memory.read(content, reading)


@fault("7", "from 15 January on", (NTM, "emit"))
def output_without_reads(self: NTM, hidden: Tensor, reads: Tensor) -> Tensor:
    """The output sees the controller only: what is read must pass through the controller first, a step later."""
    return self.output(torch.cat([hidden, torch.zeros_like(reads).flatten(1)], dim=1))


# The state before the first step


def _everywhere(state: State, fill: Callable[[Tensor], Tensor]) -> State:
    """A state whose every number, weightings included, is another one."""
    return State(tuple(map(fill, state.controller)), *map(fill, state[1:]))


@fault("6a", "five hours of 15 January, 18:39 to 23:48", (NTM, "initial_state"))
def states_small_normal(self: NTM, batch: int, locations: int | None = None, *, right: Callable[..., State]) -> State:
    """All states drawn from N(0, 0.05), weightings too: some of these are negative, and sum to about 0."""
    return _everywhere(right(self, batch, locations), lambda x: 0.05 * torch.randn_like(x))


@fault("6a", "no version of the history, measured beside it", (NTM, "initial_state"))
def states_wide_normal(self: NTM, batch: int, locations: int | None = None, *, right: Callable[..., State]) -> State:
    """All states drawn from N(0, 0.5), weightings too."""
    return _everywhere(right(self, batch, locations), lambda x: 0.5 * torch.randn_like(x))


@fault("6a", "no version of the history, measured beside it", (NTM, "initial_state"))
def states_zero(self: NTM, batch: int, locations: int | None = None, *, right: Callable[..., State]) -> State:
    """All states 0: rows without a direction, weightings without a sum."""
    return _everywhere(right(self, batch, locations), torch.zeros_like)


@fault("6b", "from 15 January, 23:48, to 19 January", (NTM, "initial_state"))
def states_2_53(self: NTM, batch: int, locations: int | None = None, *, right: Callable[..., State]) -> State:
    """All states 2.53: no NaN, but equal rows and even weightings, which stay so for ever."""
    return _everywhere(right(self, batch, locations), lambda x: torch.full_like(x, 2.53))


@fault("6b", "19 to 31 January", (NTM, "initial_state"))
def states_0_5(self: NTM, batch: int, locations: int | None = None, *, right: Callable[..., State]) -> State:
    """All states 0.5: no NaN, but equal rows and even weightings, which stay so for ever."""
    return _everywhere(right(self, batch, locations), lambda x: torch.full_like(x, 0.5))


ROWS = 10  # sequences of a batch then; row i of a larger batch starts like row i mod 10


def _draw_rows(self: NTM, keep: Callable[[str, Tensor], None], squash: Callable[[Tensor], Tensor]) -> None:
    """Another start for each row of a batch: N(0, 0.5), the weightings through a softmax when they are used."""
    sizes = {"reads": tuple(self.initial_reads.shape[1:]), "memory": (self.config.locations, self.config.width)}
    if self.config.controller == "lstm":
        sizes |= {name: (self.config.layers, self.config.hidden) for name in ("hidden", "cell")}
    for name, size in sizes.items():
        keep(f"row_{name}", squash(0.5 * torch.randn(ROWS, *size)))
    every_head = self.config.read_heads + self.config.write_heads
    self.register_buffer("row_focus", 0.5 * torch.randn(ROWS, every_head, self.config.locations), persistent=False)


def _start_of_rows(self: NTM, batch: int, locations: int | None = None) -> State:
    """The states that were drawn, for at most as many locations as were drawn for."""
    n = self.config.locations if locations is None else locations
    if n > self.config.locations:
        raise ValueError(f"locations={n}: states were drawn for {self.config.locations} only; with this fault no more")
    row = torch.arange(batch) % ROWS
    hidden = [getattr(self, f"row_{x}")[row].transpose(0, 1) for x in ("hidden", "cell") if hasattr(self, f"row_{x}")]
    focus: Tensor = self.row_focus  # type: ignore[assignment]
    memory: Tensor = self.row_memory  # type: ignore[assignment]
    reads: Tensor = self.row_reads  # type: ignore[assignment]
    return State(tuple(hidden), reads[row], focus[row, :, :n].softmax(2), memory[row, :n])


@fault("6c", "six hours, from 31 January to 1 February", (NTM, "__init__"), (NTM, "initial_state"))
class states_of_rows_trained:  # noqa: N801 (named like the functions)
    """Two functions that belong together: what is drawn, and the start made of it."""

    def __init__(self: Any, config: Any, right: Callable[..., None]) -> None:
        """Draw trainable states for each row of the batch, and weightings that are not trained."""
        right(self, config)
        _draw_rows(self, lambda name, value: self.register_parameter(name, nn.Parameter(value)), lambda x: x)

    def initial_state(self: Any, batch: int, locations: int | None = None) -> State:
        """One learned start for each row of the batch, so that what one row has learned the others have not."""
        return _start_of_rows(self, batch, locations)


@fault("6d", "from 1 February on", (NTM, "__init__"), (NTM, "initial_state"))
class states_of_rows_frozen:  # noqa: N801
    """Two functions that belong together: what is drawn, and the start made of it."""

    def __init__(self: Any, config: Any, right: Callable[..., None]) -> None:
        """Draw states wrapped in tanh once, when the machine is built: constants, neither trained nor saved."""
        right(self, config)
        _draw_rows(self, lambda name, value: self.register_buffer(name, value, persistent=False), torch.tanh)

    def initial_state(self: Any, batch: int, locations: int | None = None) -> State:
        """One random start for each row, never trained, and another one whenever the machine is built again."""
        return _start_of_rows(self, batch, locations)


@fault("13", "from 31 January on", (NTM, "initial_state"))
def two_heads_for_everybody(
    self: NTM, batch: int, locations: int | None = None, *, right: Callable[..., State]
) -> State:
    """The first weightings are those of two heads, whatever the machine has."""
    state = right(self, batch, locations)
    return state._replace(weighting=state.weighting[:, :1].expand(-1, 2, -1))


# Around the machine


@fault("11", "19 January", (training, "finite"))
def comparison_with_nan(values: Tensor) -> bool:
    """Whether no number equals NaN. None ever does: a test that cannot fail."""
    return not bool((values == torch.nan).any())


@fault("12", "from the first task on", (tasks, "copy"))
def silent_targets(*arguments: Any, right: Callable[..., tasks.Batch], **named: Any) -> tasks.Batch:
    """The two flags are targets too, and always 0: chance is 0.8 ln 2 = 0.5545 for each bit instead of ln 2."""
    batch = right(*arguments, **named)
    return batch._replace(targets=functional.pad(batch.targets, (0, 2)))


# What the repository held on a day, as far as its commits show. Each is a whole of faults that stood together.
_FIRST = ("exponent_is_the_gate", "bare_power", "erase_dropped", "convolution_modulo_three", "shift_without_gradient")
_ALWAYS = ("output_without_reads", "read_before_write", "silent_targets")
_FEBRUARY = ("epsilon_in_the_normaliser", "mirrored_shift", "beta_is_ten_sigmoids", *_ALWAYS)
VERSIONS: dict[str, tuple[str, ...]] = {
    "15 January, evening": (*_FIRST, "bare_cosine", "beta_is_a_sigmoid", "states_small_normal", *_ALWAYS),
    "15 January, night": (*_FIRST, "bare_cosine", "beta_is_a_sigmoid", "states_2_53", *_ALWAYS),
    "19 January": (*_FIRST, "sigmoid_on_the_weighting", "beta_is_a_sigmoid", "states_0_5", *_ALWAYS),
    "31 January": ("states_of_rows_trained", *_FEBRUARY),
    "1 February": ("states_of_rows_frozen", *_FEBRUARY),
    "repaired": (),
}
