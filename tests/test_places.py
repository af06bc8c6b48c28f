"""What a place tells of a number, on places that are known."""

import pytest
import torch

from ntm.book import places


def heads_at(where, locations=12):
    return torch.nn.functional.one_hot(where, locations).float()


@pytest.fixture
def numbers():
    return 2 * torch.rand(15, 40, generator=torch.Generator().manual_seed(0)) - 1


def test_a_place_for_each_range_of_numbers_tells_them(numbers):
    """Six ranges, whose places lie in no order: within one sixth of the range, in variance one part in 36, is left."""
    table = torch.tensor([7, 2, 11, 4, 0, 9])
    weighting = heads_at(table[((numbers + 1) * 3).long()])
    means = places.mean_by_place(weighting, numbers)
    assert means[table] == pytest.approx([-5 / 6, -1 / 2, -1 / 6, 1 / 6, 1 / 2, 5 / 6], abs=0.02)
    assert means[5] == pytest.approx(float(numbers.mean()))  # no head was there
    assert places.explained(weighting, numbers) == pytest.approx(1 - 1 / 36, abs=0.005)
    assert places.on_a_line(weighting, numbers) < 0.6


@pytest.mark.parametrize("first, sign", [(0, 1), (5, 1), (5, -1)])
def test_a_line_may_begin_anywhere_on_the_ring(numbers, first, sign):
    """Ten of twelve places in order; every fourth step is at a place beside them."""
    where = (first + sign * ((numbers + 1) * 5).long()) % 12
    assert places.on_a_line(heads_at(where), numbers) > 0.95  # a place is a fifth of a unit wide
    where[::4] = (first + sign * 11) % 12
    share = places.on_a_line(heads_at(where), numbers)
    assert share == pytest.approx(11 / 15, abs=0.05)


def test_a_place_that_has_nothing_to_do_with_them_tells_nothing(numbers):
    where = torch.randint(12, numbers.shape, generator=torch.Generator().manual_seed(1))
    for weighting in (heads_at(where), torch.full((*numbers.shape, 12), 1 / 12)):
        assert abs(places.explained(weighting, numbers)) < 0.05
        assert 0.05 < places.on_a_line(weighting, numbers) < 0.3


def test_the_halves_are_kept_apart(numbers):
    """In the second half the table is another one, which no guess can know."""
    where = ((numbers + 1) * 6).long()
    where[:, 20:] = 11 - where[:, 20:]
    assert places.explained(heads_at(where), numbers) < -1
    assert places.on_a_line(heads_at(where), numbers) < 0.3
    for measure in (places.explained, places.on_a_line):
        with pytest.raises(ValueError, match="a batch of 1: must have at least two sequences"):
            measure(heads_at(where[:, :1]), numbers[:, :1])
