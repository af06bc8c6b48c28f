"""Random numbers that depend on a seed alone, whatever else draws from torch's global generator meanwhile."""

from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

# What draws random numbers and takes a generator: the functions by which weights are initialised, and torch's own.
_DRAWS = {
    *("bernoulli", "bernoulli_", "exponential_", "kaiming_normal_", "kaiming_uniform_", "multinomial", "normal"),
    *("normal_", "orthogonal_", "rand", "rand_like", "randint", "randint_like", "randn", "randn_like", "randperm"),
    *("random_", "trunc_normal_", "uniform_", "xavier_normal_", "xavier_uniform_"),
}


class Seeded(TorchFunctionMode):
    """``with Seeded(5):`` draws, in this thread, the numbers that would follow ``torch.manual_seed(5)`` on the CPU.

    Torch's global generator is neither read nor moved, so threads do not disturb each other.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, arguments: Any = (), named: dict[str, Any] | None = None
    ) -> Any:
        """Call a function of torch, with the generator where it draws."""
        named = dict(named or {})
        if getattr(function, "__name__", None) in _DRAWS and named.get("generator") is None:
            named["generator"] = self.generator
        return function(*arguments, **named)
