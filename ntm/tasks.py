"""The five tasks of section 4 of the paper, as batches drawn from a generator.

Each task is a function that draws a batch, and a small class of its sizes, which refuses what cannot be before any
work, and knows how many channels and steps the task has and what guessing costs. The encodings are those of the
paper's text and, where that is silent, of its figures.

Letters: T time steps, B sequences, X input channels, Y output channels (see :mod:`ntm.model`). All sequences of a batch
have the same T, so what T depends on is drawn once for a batch; everything else is drawn for each sequence.
"""

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor

from ntm import checks

Range = tuple[int, int]  # least and most, both included

# Guards against a slip of the keyboard: such batches already take gigabytes.
LARGEST_SIZE = 100_000
LARGEST_STEPS = 1_000_000


class Batch(NamedTuple):
    """Sequences to learn from."""

    inputs: Tensor  # (T,B,X)
    targets: Tensor  # (T,B,Y), 0 where the mask is 0
    mask: Tensor  # (T,B), 1 at the steps whose outputs count


Task = Callable[..., Batch]


# Sizes


def check_range(name: str, value: Any, least: int = 1, most: int = LARGEST_SIZE) -> Range:
    """One whole number or a range (both ends included) as a range; refuse what is empty or out of bounds."""
    ends = value if isinstance(value, tuple | list) else (value, value)
    try:
        low, high = (checks.whole(name, end, least, most) for end in ends)
        if low > high:
            raise ValueError
    except ValueError:
        raise ValueError(
            f"{name}={value!r}: must be whole numbers from {least} to {most}, one or two, the smaller first"
        ) from None
    return low, high


@dataclass(frozen=True)
class Sizes(ABC):
    """The sizes of a task. Numbers of any integer type become ints, and one number where a range is due, a range."""

    LEAST: ClassVar[dict[str, int]]  # that each size can be
    DRAWN: ClassVar[tuple[str, ...]] = ()  # the ranges of which one number is drawn for each batch

    def __post_init__(self) -> None:
        """Refuse sizes that no sequence can have, by name."""
        for name, least in self.LEAST.items():
            check = check_range if isinstance(getattr(type(self), name), tuple) else checks.whole
            object.__setattr__(self, name, check(name, getattr(self, name), least, LARGEST_SIZE))
        if self.steps > LARGEST_STEPS:
            sizes = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.LEAST)
            raise ValueError(f"{sizes}: sequences of {self.steps} steps; there can be at most {LARGEST_STEPS}")

    def each(self) -> list[Self]:
        """Every combination of the numbers in the ranges, as sizes of which nothing is left to be drawn."""
        ranges = [range(getattr(self, name)[0], getattr(self, name)[1] + 1) for name in self.DRAWN]
        return [replace(self, **dict(zip(self.DRAWN, numbers, strict=True))) for numbers in itertools.product(*ranges)]

    def longest(self) -> Self:
        """The largest number of every range, as sizes of which nothing is left to be drawn."""
        return replace(self, **{name: getattr(self, name)[1] for name in self.DRAWN})

    @abstractmethod
    def draw(self, batch: int, generator: torch.Generator | None = None, **others: Any) -> Batch:
        """A batch of sequences, with ``others`` in the place of some of the sizes."""

    @property
    @abstractmethod
    def inputs(self) -> int:
        """X."""

    @property
    @abstractmethod
    def outputs(self) -> int:
        """Y."""

    @property
    @abstractmethod
    def steps(self) -> int:
        """T of the longest sequence."""

    @property
    @abstractmethod
    def chance(self) -> float:
        """Mean bits per sequence of a machine that remembers nothing: 1 for each random bit that it is asked for."""


def _mean(ends: Range) -> float:
    return sum(ends) / 2


def _pick(ends: Range, generator: torch.Generator | None) -> int:
    """One number of a range, each as likely as another."""
    return int(torch.randint(ends[0], ends[1] + 1, (), generator=generator))


def _empty(steps: int, batch: int, sizes: Sizes) -> Batch:
    """A batch of zeros to fill in."""
    checks.whole("batch", batch)
    shape = steps, batch
    return Batch(torch.zeros(*shape, sizes.inputs), torch.zeros(*shape, sizes.outputs), torch.zeros(*shape))


def _random_bits(generator: torch.Generator | None, *shape: int) -> Tensor:
    return torch.randint(0, 2, shape, generator=generator).float()


# Copy


@dataclass(frozen=True)
class CopySizes(Sizes):
    """Of :func:`copy`; the defaults are the paper's."""

    LEAST = {"length": 1, "bits": 1}
    DRAWN = ("length",)

    length: Range = (1, 20)  # vectors of a sequence
    bits: int = 8  # of a vector

    inputs = property(lambda self: self.bits + 2)
    outputs = property(lambda self: self.bits)
    steps = property(lambda self: 2 * self.length[1] + 2)
    chance = property(lambda self: self.bits * _mean(self.length))

    def draw(self, batch: int, generator: torch.Generator | None = None, **others: Any) -> Batch:
        """A batch of :func:`copy`."""
        return copy(batch, generator=generator, **vars(self) | others)


def copy(
    batch: int,
    length: int | Range = (1, 20),
    generator: torch.Generator | None = None,
    bits: int = 8,
) -> Batch:
    """The copy task (section 4.1): see random vectors between two flags, then recall them from nothing.

    ``length`` is the number of vectors, or the range from which one is drawn for the whole batch, both ends
    included. ``batch`` is B. T = 2 length + 2; X = bits + 2, the last two the start and the end flag, as in the
    paper's Figure 6; Y = bits. Raises ValueError for sizes that no batch can have. One sequence of three vectors
    against time, with only three bits:

        time step     0 1 2 3 4 5 6 7
        bit 0         . 1 . 1 . . . .
        bit 1         . . . 1 . . . .
        bit 2         . 1 1 . . . . .
        start         1 . . . . . . .
        end           . . . . 1 . . .

        target 0      . . . . . 1 . 1
        target 1      . . . . . . . 1
        target 2      . . . . . 1 1 .
        mask          . . . . . 1 1 1
    """
    sizes = CopySizes(check_range("length", length), bits)
    vectors = _pick(sizes.length, generator)
    inputs, targets, mask = drawn = _empty(2 * vectors + 2, batch, sizes)
    inputs[1 : vectors + 1, :, :bits] = _random_bits(generator, vectors, batch, bits)
    inputs[0, :, bits] = 1
    inputs[vectors + 1, :, bits + 1] = 1
    targets[vectors + 2 :] = inputs[1 : vectors + 1, :, :bits]
    mask[vectors + 2 :] = 1
    return drawn


# Repeat copy


@dataclass(frozen=True)
class RepeatCopySizes(Sizes):
    """Of :func:`repeat_copy`; the defaults are the paper's."""

    LEAST = {"length": 1, "repeats": 1, "bits": 1, "normalised": 1}
    DRAWN = ("length", "repeats")

    length: Range = (1, 10)  # vectors of a sequence
    repeats: Range = (1, 10)
    bits: int = 6  # of a vector: counted in the paper's Figures 8 and 9, though its text says eight
    normalised: Range = (1, 10)  # the repeats that enter the network with mean 0 and variance 1, whichever are drawn

    inputs = property(lambda self: self.bits + 2)
    outputs = property(lambda self: self.bits + 1)
    steps = property(lambda self: self.length[1] * (1 + self.repeats[1]) + 3)
    # The end marker is not random: it costs nothing to who can count.
    chance = property(lambda self: self.bits * _mean(self.length) * _mean(self.repeats))

    def __post_init__(self) -> None:
        """A single number has no variance that could become 1."""
        super().__post_init__()
        if self.normalised[0] == self.normalised[1]:
            raise ValueError(f"normalised={self.normalised}: must be two different numbers, the range of repeats")

    def draw(self, batch: int, generator: torch.Generator | None = None, **others: Any) -> Batch:
        """A batch of :func:`repeat_copy`."""
        return repeat_copy(batch, generator=generator, **vars(self) | others)


def repeat_copy(
    batch: int,
    length: int | Range = (1, 10),
    repeats: int | Range = (1, 10),
    generator: torch.Generator | None = None,
    bits: int = 6,
    normalised: Range = (1, 10),
) -> Batch:
    """The repeat copy task (section 4.2): see random vectors and a number, recall them that many times, and say when.

    ``length`` and ``repeats`` are numbers or ranges from which one is drawn for the whole batch. T = length times
    (1 + repeats), and 3; X = bits + 2, the last two the start flag and the number of repeats, which also ends the
    input; Y = bits + 1, the last one the end marker. The number is given less the mean of the range ``normalised``,
    over its standard deviation. One sequence of two vectors, to be repeated three times, with only two bits:

        time step     0 1 2 3    4 5 6 7 8 9 10
        bit 0         . 1 . .    . . . . . . .
        bit 1         . 1 1 .    . . . . . . .
        start         1 . . .    . . . . . . .
        repeats       . . . -.87 . . . . . . .

        target 0      . . . .    1 . 1 . 1 . .
        target 1      . . . .    1 1 1 1 1 1 .
        end marker    . . . .    . . . . . . 1
        mask          . . . .    1 1 1 1 1 1 1
    """
    sizes = RepeatCopySizes(check_range("length", length), check_range("repeats", repeats), bits, normalised)
    vectors, times = _pick(sizes.length, generator), _pick(sizes.repeats, generator)
    inputs, targets, mask = drawn = _empty(vectors * (1 + times) + 3, batch, sizes)
    inputs[1 : vectors + 1, :, :bits] = _random_bits(generator, vectors, batch, bits)
    inputs[0, :, bits] = 1
    low, high = sizes.normalised
    inputs[vectors + 1, :, bits + 1] = (times - _mean((low, high))) / math.sqrt(((high - low + 1) ** 2 - 1) / 12)
    targets[vectors + 2 : -1, :, :bits] = inputs[1 : vectors + 1, :, :bits].repeat(times, 1, 1)
    targets[-1, :, bits] = 1
    mask[vectors + 2 :] = 1
    return drawn


# Associative recall


@dataclass(frozen=True)
class RecallSizes(Sizes):
    """Of :func:`associative_recall`; the defaults are the paper's."""

    LEAST = {"items": 2, "vectors": 1, "bits": 1}
    DRAWN = ("items",)

    items: Range = (2, 6)  # of a sequence
    vectors: int = 3  # of an item
    bits: int = 6  # of a vector

    inputs = property(lambda self: self.bits + 2)
    outputs = property(lambda self: self.bits)
    steps = property(lambda self: (self.items[1] + 2) * (self.vectors + 1))
    chance = property(lambda self: float(self.vectors * self.bits))

    def draw(self, batch: int, generator: torch.Generator | None = None, **others: Any) -> Batch:
        """A batch of :func:`associative_recall`."""
        return associative_recall(batch, generator=generator, **vars(self) | others)


def associative_recall(
    batch: int,
    items: int | Range = (2, 6),
    generator: torch.Generator | None = None,
    vectors: int = 3,
    bits: int = 6,
) -> Batch:
    """Associative recall (section 4.3): see a list of items, then one of them again; say which came after it.

    An item is ``vectors`` V random vectors. ``items`` is the number K of items, or the range from which one is drawn
    for the whole batch; the query is any of them but the last, drawn for each sequence. T = (K + 2)(V + 1); X =
    bits + 2, the last two a flag before each item and one on both sides of the query, as in the paper's Figure 12;
    Y = bits. One sequence of three items, the second of which is asked for, with only two vectors of two bits:

        time step     0 1 2 3 4 5 6 7 8 9 10 11 12 13 14
        bit 0         . 1 . . . 1 . . 1 . .  1  .  .  .
        bit 1         . 1 . . 1 1 . . 1 . 1  1  .  .  .
        item          1 . . 1 . . 1 . . . .  .  .  .  .
        query         . . . . . . . . . 1 .  .  1  .  .

        target 0      . . . . . . . . . . .  .  .  .  1
        target 1      . . . . . . . . . . .  .  .  .  1
        mask          . . . . . . . . . . .  .  .  1  1
    """
    sizes = RecallSizes(check_range("items", items, 2), vectors, bits)
    count = _pick(sizes.items, generator)
    inputs, targets, mask = drawn = _empty((count + 2) * (vectors + 1), batch, sizes)
    each = torch.arange(batch)
    seen = _random_bits(generator, count, vectors, batch, bits)
    asked = torch.randint(0, count - 1, (batch,), generator=generator)
    listed, query = inputs[: count * (vectors + 1)].unflatten(0, (count, vectors + 1)), inputs[-2 * (vectors + 1) :]
    listed[:, 0, :, bits] = 1
    listed[:, 1:, :, :bits] = seen
    query[[0, vectors + 1], :, bits + 1] = 1
    query[1 : vectors + 1, :, :bits] = seen[asked, :, each].transpose(0, 1)
    targets[-vectors:] = seen[asked + 1, :, each].transpose(0, 1)
    mask[-vectors:] = 1
    return drawn


# Dynamic N-grams


@dataclass(frozen=True)
class NgramSizes(Sizes):
    """Of :func:`ngrams`; the defaults are the paper's, whose contexts of 5 bits make 6-grams."""

    LEAST = {"bits": 1, "context": 1}

    bits: int = 200  # of a sequence
    context: int = 5  # bits that the next one depends on

    inputs = property(lambda self: 1)
    outputs = property(lambda self: 1)
    steps = property(lambda self: self.bits)
    chance = property(lambda self: float(self.bits))

    def __post_init__(self) -> None:
        """Each of the 2**context contexts has a probability of its own."""
        super().__post_init__()
        checks.whole("context", self.context, 1, 16)

    def draw(self, batch: int, generator: torch.Generator | None = None, **others: Any) -> Batch:
        """A batch of :func:`ngrams`."""
        return ngrams(batch, generator=generator, **vars(self) | others)


def ngrams(batch: int, bits: int = 200, generator: torch.Generator | None = None, context: int = 5) -> Batch:
    """Dynamic N-grams (section 4.4): predict each bit of a sequence whose own statistics must be learned on the way.

    For each sequence, a probability that the next bit is 1 is drawn for every context, the ``context`` bits before it,
    from Beta(1/2, 1/2). The first ``context`` bits are fair coins. T = ``bits``; X = Y = 1: the input is the bit before
    (0 at first), the target the next one, and every step counts. Ten bits, which begin with 1 0 0 1:

        time step     0 1 2 3 4 5 6 7 8 9
        bit           . 1 . . 1 1 . 1 1 .

        target        1 . . 1 1 . 1 1 . 1
        mask          1 1 1 1 1 1 1 1 1 1
    """
    sizes = NgramSizes(bits, context)
    inputs, targets, mask = drawn = _empty(bits, batch, sizes)
    # The sine squared of a uniform angle: that is what Beta(1/2, 1/2) is, and so its name, the arcsine distribution.
    chances = (torch.rand(batch, 2**context, generator=generator) * (math.pi / 2)).sin().square()
    thresholds = torch.rand(batch, bits, generator=generator)
    for b, (chance, threshold) in enumerate(zip(chances.tolist(), thresholds.tolist(), strict=True)):
        sequence, before = [], 0  # the bits before, the latest last, read as a binary number
        for t in range(bits):
            bit = threshold[t] < (chance[before] if t >= context else 0.5)
            before = (2 * before + bit) % len(chance)
            sequence.append(bit)
        targets[:, b, 0] = torch.tensor(sequence)
    inputs[1:], mask[:] = targets[:-1], 1
    return drawn


def ngrams_prediction(targets: Tensor, context: int = 5) -> Tensor:
    """The best prediction of each next bit by one who knows how the sequences are made: (T,B,1) -> (T,B,1) in (0,1).

    After N0 zeros and N1 ones in the same context it is (N1 + 1/2) / (N0 + N1 + 1), the paper's equation 10; one
    half for the first ``context`` bits.
    """
    batch = targets.shape[1]
    counts = torch.full((batch, 2**context, 2), 0.5, dtype=torch.float64)
    predicted = torch.full(targets.shape, 0.5, dtype=torch.float64)
    each, before = torch.arange(batch), torch.zeros(batch, dtype=torch.long)
    for t, bit in enumerate(targets[:, :, 0].long()):
        if t >= context:
            seen = counts[each, before]
            predicted[t, :, 0] = seen[:, 1] / seen.sum(1)
            counts[each, before, bit] += 1
        before = (2 * before + bit) % 2**context
    return predicted


def ngrams_optimum(targets: Tensor, context: int = 5) -> Tensor:
    """Bits that each of these very sequences costs at :func:`ngrams_prediction`: (T,B,1) -> (B,).

    All steps count, also the first ``context``, which cost 1 bit each, as in the paper's Figure 13.
    """
    predicted = ngrams_prediction(targets, context)
    return -torch.where(targets > 0.5, predicted, 1 - predicted).log2().sum((0, 2))


# Priority sort


@dataclass(frozen=True)
class SortSizes(Sizes):
    """Of :func:`priority_sort`; the defaults are the paper's."""

    LEAST = {"vectors": 1, "kept": 1, "bits": 1}

    vectors: int = 20  # of a sequence
    kept: int = 16  # of them, those with the highest priorities
    bits: int = 8  # of a vector

    inputs = property(lambda self: self.bits + 2)
    outputs = property(lambda self: self.bits)
    steps = property(lambda self: self.vectors + self.kept + 1)
    chance = property(lambda self: float(self.kept * self.bits))

    def __post_init__(self) -> None:
        """No more can come out than went in."""
        super().__post_init__()
        if self.kept > self.vectors:
            raise ValueError(f"kept={self.kept}: must be at most the number of vectors, {self.vectors}")

    def draw(self, batch: int, generator: torch.Generator | None = None, **others: Any) -> Batch:
        """A batch of :func:`priority_sort`."""
        return priority_sort(batch, generator=generator, **vars(self) | others)


def priority_sort(
    batch: int,
    vectors: int = 20,
    kept: int = 16,
    generator: torch.Generator | None = None,
    bits: int = 8,
) -> Batch:
    """Priority sort (section 4.5): see random vectors, each with a priority, then recall the most urgent, in order.

    Priorities are uniform in [-1, 1); the ``kept`` highest come out, the highest first. T = vectors + 1 + kept; X =
    bits + 2, the last two the priority and a flag after the last vector; Y = bits. One sequence of three vectors, two
    of which are kept, with only two bits:

        time step     0   1   2   3 4 5
        bit 0         1   .   1   . . .
        bit 1         1   1   .   . . .
        priority      .25 -.5 .75 . . .
        end           .   .   .   1 . .

        target 0      .   .   .   . 1 1
        target 1      .   .   .   . . 1
        mask          .   .   .   . 1 1
    """
    sizes = SortSizes(vectors, kept, bits)
    inputs, targets, mask = drawn = _empty(vectors + 1 + kept, batch, sizes)
    seen = _random_bits(generator, vectors, batch, bits)
    priorities = 2 * torch.rand(vectors, batch, generator=generator) - 1
    first = priorities.argsort(stable=True, dim=0, descending=True)[:kept]
    inputs[:vectors, :, :bits] = seen
    inputs[:vectors, :, bits] = priorities
    inputs[vectors, :, bits + 1] = 1
    targets[vectors + 1 :] = seen.gather(0, first.unsqueeze(2).expand(-1, -1, bits))
    mask[vectors + 1 :] = 1
    return drawn


TASKS: dict[str, type[Sizes]] = {
    "copy": CopySizes,
    "repeat-copy": RepeatCopySizes,
    "recall": RecallSizes,
    "ngrams": NgramSizes,
    "sort": SortSizes,
}
