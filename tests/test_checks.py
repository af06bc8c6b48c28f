"""Numbers as a user gives them."""

import numpy as np
import pytest
import torch

from ntm import checks


@pytest.mark.parametrize("value", [7, np.int64(7), np.uint8(7), np.array(7), torch.tensor(7)])
def test_any_integer_type_is_an_int(value):
    number = checks.whole("n", value, 1, 7)
    assert number == 7 and type(number) is int


@pytest.mark.parametrize(
    "value", [0, -1, 8, 7.0, np.float32(7), True, np.True_, torch.tensor(True), "7", None, [7], np.array([1, 2])]
)
def test_what_is_no_size(value):
    with pytest.raises(ValueError, match="^n=.*: must be a whole number from 1 to 7$"):
        checks.whole("n", value, 1, 7)
    if not (isinstance(value, int) and value == 8):
        with pytest.raises(ValueError, match="^n=.*: must be a whole number of at least 1$"):
            checks.whole("n", value)


@pytest.mark.parametrize("value", [0.5, np.float32(0.5), np.float64(0.5), torch.tensor(0.5)])
def test_any_number_is_a_float(value):
    assert type(checks.positive("rate", value)) is float and checks.positive("rate", value) == 0.5


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), True, "0.5", None, [1.0], 10**400])
def test_what_is_no_rate(value):
    with pytest.raises(ValueError, match="^rate=.*: must be positive and finite$"):
        checks.positive("rate", value)


@pytest.mark.parametrize("value", ["c", "", None, 3, ["a"]])
def test_what_is_no_name(value):
    checks.one_of("letter", "a", ("a", "b"))
    with pytest.raises(ValueError, match="^letter=.*: must be one of a, b$"):
        checks.one_of("letter", value, ("a", "b"))
