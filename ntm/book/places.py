"""How much the place of a head tells of a number that came with it, as a priority does in sorting."""

import torch
from torch import Tensor

NEAR = 0.15  # of a line, where the numbers reach from -1 to 1: a head that pays no heed to them is there in 15 %
BINS = 400  # between -1 and 1, to look for a line by


def mean_by_place(weighting: Tensor, told: Tensor) -> Tensor:
    """For each location the mean of the numbers (T,B) in proportion to a head's weighting (T,B,N) there: (N).

    A location that the head never touches is given the mean of all.
    """
    w, told = weighting.double(), told.double()
    total = w.sum((0, 1))
    return torch.where(total > 0, torch.einsum("tbn,tb->n", w, told) / total, told.mean())


def explained(weighting: Tensor, told: Tensor) -> float:
    """The share of the variance of the numbers (T,B) that the places of a head, weighting (T,B,N), explain.

    The means by place are taken from the first half of the batch; each number of the second half is guessed from them
    and its step's weighting. 1: the place tells the number; 0 and below: it does not.
    """
    half = _half(told)
    guessed = weighting[:, half:].double() @ mean_by_place(weighting[:, :half], told[:, :half])
    told = told[:, half:].double()
    return float(1 - (told - guessed).square().mean() / told.var(unbiased=False))


def on_a_line(weighting: Tensor, told: Tensor) -> float:
    """The share of steps at which a head, weighting (T,B,N), is most where a straight line has their numbers (T,B).

    The line runs once through all numbers from -1 to 1, one way or the other, over some of the locations, which are a
    ring; it may begin anywhere. The one that most steps of the first half of the batch are NEAR is taken, and those of
    the second half are counted.
    """
    half, locations = _half(told), weighting.shape[2]
    at, told = weighting.argmax(2), told.double()
    # Steps by location and number, cumulative: how many lie between two numbers is a difference.
    count = torch.zeros(locations, BINS, dtype=torch.float64)
    where = at[:, :half].flatten(), ((told[:, :half].flatten() + 1) / 2 * BINS).long().clamp(0, BINS - 1)
    count.index_put_(where, torch.ones(half * len(told), dtype=torch.float64), accumulate=True)
    below = torch.nn.functional.pad(count.cumsum(1), (1, 0))
    spans = torch.arange(2, locations)[:, None]
    most, best = -1.0, (0, 2, 1)
    for first in range(locations):
        x = (torch.arange(locations) - first) % locations
        for sign in (1, -1):
            middle = sign * (2 * x / spans - 1)  # (spans, N)
            low, high = (((middle + off + 1) / 2 * BINS).round().long().clamp(0, BINS) for off in (-NEAR, NEAR))
            near = below.T.gather(0, high) - below.T.gather(0, low)
            near = (near * (x <= spans)).sum(1)
            if float(near.max()) > most:
                most, best = float(near.max()), (first, 2 + int(near.argmax()), sign)
    first, span, sign = best
    x = (at[:, half:] - first) % locations
    line = sign * (2 * x / span - 1)
    return float((((told[:, half:] - line).abs() <= NEAR) & (x <= span)).double().mean())


def _half(told: Tensor) -> int:
    if told.shape[1] < 2:
        raise ValueError(f"a batch of {told.shape[1]}: must have at least two sequences, one to learn and one to guess")
    return told.shape[1] // 2
