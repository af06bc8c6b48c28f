"""Numbers as a user gives them: checked once, where they come in, with an error that names the value."""

import math
import operator
from collections.abc import Iterable
from typing import Any

LARGEST_SEED = 2**64 - 1  # that torch.manual_seed takes


def whole(name: str, value: Any, least: int = 1, most: int | None = None) -> int:
    """A whole number of any integer type (numpy's, torch's, Python's) as an int.

    Raises ValueError if it is none (a bool, a float and a string are none), or outside ``least`` to ``most``.
    """
    try:
        number = operator.index(value)
        if "bool" in str(getattr(value, "dtype", type(value))):  # a bool has an index, and is no size
            raise TypeError
    except (TypeError, ValueError):
        number = least - 1
    if number < least or (most is not None and number > most):
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name}={value!r}: must be a whole number {bounds}")
    return number


def positive(name: str, value: Any) -> float:
    """A positive, finite number of any type as a float; raises ValueError if it is none."""
    try:
        number = math.nan if isinstance(value, bool | str | bytes) else float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        number = math.nan
    if not 0 < number < math.inf:
        raise ValueError(f"{name}={value!r}: must be positive and finite")
    return number


def one_of(name: str, value: Any, allowed: Iterable[str]) -> None:
    """Raises ValueError if a value is not among these names."""
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name}={value!r}: must be one of {', '.join(allowed)}")
