"""The shapes of everything that the kernels work on, from a machine's sizes (letters: :mod:`ntm.model`)."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ntm import addressing, heads
from ntm.engine.arrays import Shapes
from ntm.engine.kernels import Gradients, Record, Room, Shape, Weights
from ntm.engine.simd import LANES, padded


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

    def parameter_shapes(self) -> list[tuple[int, ...]]:
        """Heads' and output's weight and bias, each layer's (from below, own, bias, bias) or (from below, bias)."""
        features = self.C + self.R * self.M
        shapes: list[tuple[int, ...]] = [(self.O, self.C), (self.O,), (self.Y, features), (self.Y,)]
        for i in range(self.L):
            below = self.C if i else self.X + self.R * self.M
            own: list[tuple[int, ...]] = [(self.G, self.C), (self.G,)] if self.lstm else []
            shapes += [(self.G, below), *own, (self.G,)]
        return shapes

    def start_shapes(self) -> list[tuple[int, ...]]:
        """The learned start: reads, then an LSTM's hidden and cell."""
        return [(1, self.R, self.M), *[(self.L, 1, self.C)] * (2 if self.lstm else 0)]

    def weights(self) -> Shapes:
        """The shapes of Weights."""
        features = self.C + self.R * self.M
        shapes: list[tuple[int, ...]] = [
            (self.L, self.G, padded(self.K)),
            (self.L, self.K, padded(self.G)),
            (self.L, self.G),
        ]
        shapes += [(self.O, padded(self.C)), (self.C, padded(self.O)), (self.O,), (self.Y, padded(features)), (self.Y,)]
        return dict(zip(Weights._fields, shapes, strict=True))

    def record(self, steps: int, batch: int, locations: int, slots: int, places: int) -> Shapes:
        """The shapes of a Record: ``slots`` and ``places`` of what has N in it."""
        layers, heads, n = self.L, self.R + self.W, padded(locations)
        shapes: list[tuple[int, ...]] = [(layers, steps + 1, batch, self.K), (layers, steps, batch, padded(self.G))]
        shapes += [(layers if self.lstm else 0, steps + 1, batch, self.C), (steps, batch, self.C + self.R * self.M)]
        shapes += [(steps, batch, self.Y), (steps, batch, padded(self.O)), (slots, places, n)]
        shapes += [(slots, places, heads, n)] * 4 + [(slots, places, self.M, n)]
        return dict(zip(Record._fields, shapes, strict=True))

    def gradients(self, steps: int, batch: int, locations: int, places: int) -> Shapes:
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

    def of_state(self, d: Gradients, locations: int) -> tuple[np.ndarray, ...]:
        """Gradients of hidden, cell, reads, weighting and memory, as views into what is carried."""
        d_reads = d.seen[0, :, self.X : self.X + self.R * self.M].reshape(-1, self.R, self.M)
        d_hidden = d.seen[:, :, self.K - self.C : self.K] if self.lstm else d.seen[:, :, :0]
        return d_hidden, d.cell, d_reads, d.weighting[:, :, :locations], d.memory[:, :, :locations].transpose(0, 2, 1)

    def weight_gradients(self, record: Record, d: Gradients, out: list[Tensor]) -> list[tuple[Tensor, ...]]:
        """One product over all steps and sequences for each matrix of ``parameter_shapes``: (left, right, result)."""
        orders = torch.from_numpy(d.orders).flatten(0, 1)[:, : self.O]
        logits, features = torch.from_numpy(d.logits).flatten(0, 1), torch.from_numpy(record.features).flatten(0, 1)
        products = [(orders.t(), features[:, : self.C], out[0]), (logits.t(), features, out[2])]
        each = 4 if self.lstm else 2
        for i in range(self.L):
            from_below, own = out[4 + each * i : 4 + each * i + 2]
            gates = torch.from_numpy(d.gates[i]).flatten(0, 1)[:, : self.G]
            seen = torch.from_numpy(record.seen[i, :-1]).flatten(0, 1)
            start = self.X if i else 0
            products.append((gates.t(), seen[:, start : start + from_below.shape[1]], from_below))
            if self.lstm:
                products.append((gates.t(), seen[:, -self.C :], own))
        return products  # type: ignore[return-value]
