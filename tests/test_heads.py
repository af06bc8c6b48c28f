"""The heads' orders: shapes, ranges, and which head is which."""

import torch

from ntm.heads import Heads


def test_shapes_and_ranges():
    torch.manual_seed(0)
    heads = Heads(hidden=6, width=4, shifts=5, read_heads=2, write_heads=3)
    p = heads(100 * torch.randn(7, 6))
    shapes = {name: tuple(value.shape) for name, value in p._asdict().items()}
    assert shapes == {
        "key": (7, 5, 4),
        "beta": (7, 5, 1),
        "gate": (7, 5, 1),
        "shift": (7, 5, 5),
        "gamma": (7, 5, 1),
        "erase": (7, 3, 4),
        "add": (7, 3, 4),
    }
    assert (p.beta >= 0).all() and (p.gamma >= 1).all()
    assert ((p.gate >= 0) & (p.gate <= 1)).all() and ((p.erase >= 0) & (p.erase <= 1)).all()
    torch.testing.assert_close(p.shift.sum(2), torch.ones(7, 5))


def test_no_two_orders_share_a_row_of_the_projection():
    heads = Heads(hidden=2, width=3, shifts=3, read_heads=1, write_heads=2)
    seen = set()
    for row in range(heads.projection.out_features):
        heads.projection.weight.data.zero_()
        heads.projection.bias.data.zero_()
        silent = heads(torch.zeros(1, 2))
        heads.projection.bias.data[row] = 1
        changed = heads(torch.zeros(1, 2))
        pairs = zip(silent._asdict().items(), changed, strict=True)
        where = [(name, h) for (name, a), b in pairs for h in range(a.shape[1]) if not torch.equal(a[0, h], b[0, h])]
        assert len(where) == 1
        seen.update(where)
    assert len(seen) == 5 * 3 + 2 * 2  # five addressing orders for three heads, erase and add for two
