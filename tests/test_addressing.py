"""Equations 5 to 9."""

import pytest
import torch
import twins
from torch.autograd import gradcheck

from ntm import addressing

B, H, M = 2, 3, 4


def drawn(n, s=3):
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return {
        "memory": normal(B, n, M),
        "key": normal(B, H, M),
        "beta": normal(B, H, 1).exp(),
        "gate": normal(B, H, 1).sigmoid(),
        "weighting": normal(B, H, n).softmax(2),
        "previous": normal(B, H, n).softmax(2),
        "shift": normal(B, H, s).softmax(2),
        "gamma": 1 + normal(B, H, 1).exp(),
    }


@pytest.mark.parametrize("scale", twins.SCALES)
@pytest.mark.parametrize("n, s", [(1, 1), (1, 3), (2, 5), (7, 3), (8, 7), (12, 1)])
def test_equations(n, s, scale):
    x = drawn(n, s)
    x["memory"], x["key"] = scale * x["memory"], scale * x["key"]
    results = {
        "content": addressing.content_weighting(x["memory"], x["key"], x["beta"]),
        "gated": addressing.interpolate(x["weighting"], x["previous"], x["gate"]),
        "shifted": addressing.shift(x["weighting"], x["shift"]),
        "sharpened": addressing.sharpen(x["weighting"], x["gamma"]),
    }
    x = {name: value.numpy() for name, value in x.items()}
    for b in range(B):
        for h in range(H):
            at = (b, h)
            expected = {
                "content": twins.content(x["memory"][b], x["key"][at], x["beta"][b, h, 0]),
                "gated": twins.interpolate(x["weighting"][at], x["previous"][at], x["gate"][b, h, 0]),
                "shifted": twins.shift(x["weighting"][at], x["shift"][at]),
                "sharpened": twins.sharpen(x["weighting"][at], x["gamma"][b, h, 0]),
            }
            for name, twin in expected.items():
                twins.assert_near(results[name][b, h], twin, about=name)


def test_gradients():
    x = {name: value.requires_grad_() for name, value in drawn(5).items()}
    assert gradcheck(addressing.content_weighting, (x["memory"], x["key"], x["beta"]))
    assert gradcheck(addressing.interpolate, (x["weighting"], x["previous"], x["gate"]))
    assert gradcheck(addressing.shift, (x["weighting"], x["shift"]))
    assert gradcheck(addressing.sharpen, (x["weighting"], x["gamma"]))


@pytest.mark.parametrize("offset", [-2, -1, 0, 1, 2])
def test_a_shift_moves_by_its_offset(offset):
    w, s = torch.eye(5)[4].view(1, 1, 5), torch.eye(5)[offset + 2].view(1, 1, 5)
    assert addressing.shift(w, s)[0, 0].argmax() == (4 + offset) % 5


def test_every_stage_is_a_distribution():
    x = drawn(9)
    content = addressing.content_weighting(x["memory"], x["key"], x["beta"])
    for w in (
        content,
        addressing.shift(content, x["shift"]),
        addressing.sharpen(content, x["gamma"]),
    ):
        assert (w >= 0).all()
        torch.testing.assert_close(w.sum(2), torch.ones(B, H, dtype=torch.float64))


@pytest.mark.parametrize("gamma", [1.0, 40.0, 1e6])
def test_sharpening_keeps_its_sum_where_powers_underflow(gamma):
    w = torch.full((1, 1, 16384), 1 / 16384)
    torch.testing.assert_close(addressing.sharpen(w, torch.full((1, 1, 1), gamma)), w)


def test_nothing_resembles_an_empty_row_or_an_empty_key():
    memory, key = torch.zeros(1, 3, M, requires_grad=True), torch.zeros(1, 1, M, requires_grad=True)
    similarity = addressing.cosine_similarity(memory, key)
    assert (similarity == 0).all()
    similarity.sum().backward()
    assert memory.grad.isfinite().all() and key.grad.isfinite().all()
