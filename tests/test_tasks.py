"""The copy task's encoding, its ranges, and what it refuses."""

import pytest
import torch

from ntm import tasks


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_encoding():
    inputs, targets, mask = tasks.copy(4, length=3, generator=seeded())
    assert (inputs.shape, targets.shape, mask.shape) == ((8, 4, 10), (8, 4, 8), (8, 4))
    assert inputs[:, :, 8].tolist() == [[float(t == 0)] * 4 for t in range(8)]  # start flag
    assert inputs[:, :, 9].tolist() == [[float(t == 4)] * 4 for t in range(8)]  # end flag
    assert torch.equal(inputs[1:4, :, :8], targets[5:])
    assert not inputs[[0, 4, 5, 6, 7], :, :8].any() and not targets[:5].any()
    assert mask.tolist() == [[float(t >= 5)] * 4 for t in range(8)]
    assert set(targets[5:].unique().tolist()) == {0.0, 1.0}


def test_the_drawing_in_the_docstring_is_a_batch():
    rows = [line.split() for line in tasks.copy.__doc__.splitlines() if "." in line]
    drawn = {
        " ".join(r[:-8]): [x == "1" for x in r[-8:]] for r in rows if len(r) in (9, 10) and set(r[-8:]) <= {".", "1"}
    }
    del drawn["mask"]
    assert len(drawn) == 8
    bits = [drawn[f"bit {i}"] for i in range(3)]
    assert [drawn[f"target {i}"][5:] for i in range(3)] == [b[1:4] for b in bits]
    _, _, mask = tasks.copy(1, length=3, bits=3)
    assert [t >= 5 for t in range(8)] == mask[:, 0].bool().tolist()
    assert (drawn["start"].index(True), drawn["end"].index(True)) == (0, 4)


def test_both_ends_of_the_range_are_drawn():
    generator = seeded()
    drawn = {(len(tasks.copy(1, (2, 5), generator).inputs) - 2) // 2 for _ in range(200)}
    assert drawn == {2, 3, 4, 5}


def test_the_same_generator_gives_the_same_batch():
    for a, b in zip(tasks.copy(2, (1, 9), seeded(3)), tasks.copy(2, (1, 9), seeded(3)), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("length", [0, -1, (5, 4), (0, 3), 10**9, True, 2.5, (2.5, 7), (1, 2, 3), "3", None, ()])
def test_lengths_that_cannot_be(length):
    with pytest.raises(ValueError, match="length=.*must be 1 to 100000, and the least no more than the most"):
        tasks.copy(1, length)


@pytest.mark.parametrize("sizes", [{"batch": 0}, {"batch": -2}, {"batch": 1, "bits": 0}])
def test_sizes_that_cannot_be(sizes):
    with pytest.raises(ValueError, match="must be at least 1"):
        tasks.copy(**sizes)
