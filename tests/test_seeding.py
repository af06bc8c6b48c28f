"""Numbers that depend on a seed alone."""

import threading

import pytest
import torch
from torch import nn

from ntm import LSTM, NTM, LSTMConfig, NTMConfig, bugs
from ntm.runs.seeding import Seeded


def many_draws():
    """Every way to draw that is known, in one list."""
    x = torch.ones(3, 4)
    names = ("kaiming_normal_", "kaiming_uniform_", "orthogonal_", "trunc_normal_", "xavier_normal_", "xavier_uniform_")
    drawn = [getattr(nn.init, name)(torch.empty(3, 4)) for name in (*names, "normal_", "uniform_")]
    drawn += [torch.randn(3), torch.rand(3), torch.randint(9, (3,)), torch.randint(2, 9, (3,)), torch.randperm(5)]
    drawn += [torch.randn_like(x), torch.rand_like(x), torch.randint_like(x, 9), torch.bernoulli(x / 2)]
    drawn += [torch.normal(x), torch.multinomial(x[0], 2), torch.empty(3).normal_(), torch.empty(3).uniform_()]
    return [*drawn, torch.empty(3).exponential_(), torch.empty(3).bernoulli_(), torch.empty(3).random_()]


BUILDERS = [
    many_draws,
    lambda: list(NTM(NTMConfig()).parameters()),
    lambda: list(NTM(NTMConfig(controller="feedforward", layers=2)).parameters()),
    lambda: list(LSTM(LSTMConfig(hidden=7)).parameters()),
]


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize("seed", [0, 5, 2**64 - 1])
def test_the_numbers_are_those_of_manual_seed(build, seed):
    torch.manual_seed(seed)
    wanted, state = build(), torch.get_rng_state()
    with Seeded(seed):
        drawn = build()
    assert all(torch.equal(a, b) for a, b in zip(drawn, wanted, strict=True))
    assert torch.equal(torch.get_rng_state(), state)  # the global generator was not moved


def test_faulty_machines_too():
    with bugs.present("states_of_rows_frozen"):  # draws its first states when it is built
        torch.manual_seed(3)
        wanted = list(NTM(NTMConfig(hidden=5)).buffers())
        with Seeded(3):
            drawn = list(NTM(NTMConfig(hidden=5)).buffers())
    assert wanted and all(torch.equal(a, b) for a, b in zip(drawn, wanted, strict=True))


def test_a_generator_of_ones_own_is_left_alone():
    mine = torch.Generator().manual_seed(1)
    with Seeded(0):
        drawn = torch.rand(3, generator=mine)
    assert torch.equal(drawn, torch.rand(3, generator=torch.Generator().manual_seed(1)))


def test_other_threads_draw_as_before():
    there, done = threading.Event(), threading.Event()
    torch.manual_seed(4)
    wanted = torch.rand(3)
    torch.manual_seed(4)
    drawn = []

    def other():
        there.wait()
        drawn.append(torch.rand(3))
        done.set()

    thread = threading.Thread(target=other)
    thread.start()
    with Seeded(0):
        there.set()
        done.wait()
    thread.join()
    assert torch.equal(drawn[0], wanted)
