"""Equations 2 to 4."""

import pytest
import torch
import twins
from torch.autograd import gradcheck

from ntm import memory


def drawn(b=2, h=3, n=5, m=4):
    torch.manual_seed(0)
    kwargs = {"dtype": torch.float64, "requires_grad": True}
    weighting = torch.rand(b, h, n, dtype=torch.float64).softmax(2).requires_grad_()
    return torch.randn(b, n, m, **kwargs), weighting, torch.rand(b, h, m, **kwargs), torch.randn(b, h, m, **kwargs)


@pytest.mark.parametrize("scale", twins.SCALES)
@pytest.mark.parametrize("h, n", [(1, 1), (1, 6), (3, 5)])
def test_equations(h, n, scale):
    content, w, e, a = (x.detach() for x in drawn(h=h, n=n))
    content, a = scale * content, scale * a
    reads, written = memory.read(content, w), memory.write(content, w, e, a)
    for b in range(2):
        twin = twins.write(content[b].numpy(), w[b].numpy(), e[b].numpy(), a[b].numpy())
        twins.assert_near(written[b], twin)
        for head in range(h):
            twin = twins.read(content[b].numpy(), w[b, head].numpy())
            twins.assert_near(reads[b, head], twin)


def test_gradients():
    content, w, e, a = drawn()
    assert gradcheck(memory.read, (content, w))
    assert gradcheck(memory.write, (content, w, e, a))


@pytest.mark.parametrize("scale", twins.SCALES)
def test_the_order_of_heads_does_not_matter(scale):
    content, w, e, a = (x.detach() for x in drawn())
    content, a = scale * content, scale * a
    turned = memory.write(content, w.flip(1), e.flip(1), a.flip(1))
    twins.assert_near(memory.write(content, w, e, a), turned)


def test_full_erase_leaves_only_the_add():
    content, _, _, a = drawn(h=1)
    w = torch.eye(5, dtype=torch.float64)[2].expand(2, 1, 5)
    written = memory.write(content, w, torch.ones_like(a), a)
    torch.testing.assert_close(written[:, 2], a[:, 0])
    torch.testing.assert_close(written[:, [0, 1, 3, 4]], content[:, [0, 1, 3, 4]])
