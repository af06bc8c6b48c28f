"""What a machine starts from, other than its own: memories and first weightings that can be learned too."""

import torch
from torch import Tensor, nn

from ntm import checks, training
from ntm.model import NTM, State, random_memory

MEMORIES = ("constant", "random", "learned")
WEIGHTINGS = ("one", "alike", "learned")
STARTS = {
    "constant, one location": ("constant", "one"),
    "random, one location": ("random", "one"),
    "learned, one location": ("learned", "one"),
    "constant, all alike": ("constant", "alike"),
    "random, all alike": ("random", "alike"),
    "constant, learned": ("constant", "learned"),
    "learned, learned": ("learned", "learned"),
}


class Started(nn.Module):
    """A machine that begins every sequence as it is told: (T,B,X) -> what the machine returns.

    ``memory`` is ``constant`` (the machine's ``INITIAL_MEMORY`` everywhere), ``random`` (as with the plan's seed as
    ``memory_seed``) or ``learned``, which begins as the random one. ``weighting`` is ``one`` (every head at location
    0), ``alike`` (at all locations the same) or ``learned``, a softmax of numbers that begin as 0. While it trains it
    draws the number of locations as the plan says; rows and numbers of locations that are not there are left out.
    """

    def __init__(self, machine: NTM, plan: training.TrainingConfig, memory: str, weighting: str) -> None:
        super().__init__()
        checks.one_of("memory", memory, MEMORIES)
        checks.one_of("weighting", weighting, WEIGHTINGS)
        sizes = machine.config
        self.machine, self.plan, self.weighting = machine, plan, weighting
        self.updates, self.generator = 0, torch.Generator().manual_seed(plan.seed)
        rows = torch.full((sizes.locations, sizes.width), machine.INITIAL_MEMORY)
        if memory != "constant":
            rows[:] = random_memory(sizes.locations, sizes.width, plan.seed)
        self.rows = nn.Parameter(rows, requires_grad=memory == "learned")
        heads = sizes.read_heads + sizes.write_heads
        self.scores = nn.Parameter(torch.zeros(heads, sizes.locations), requires_grad=weighting == "learned")

    def state(self, batch: int, locations: int | None = None) -> State:
        """The state before the first step of ``batch`` sequences, in a memory of so many locations, at most its own."""
        start = self.machine.initial_state(batch, locations)
        n = start.memory.shape[1]
        if self.weighting != "one":
            start = start._replace(weighting=self.scores[:, :n].softmax(1).expand_as(start.weighting))
        return start._replace(memory=self.rows[:n].expand_as(start.memory))

    def forward(self, inputs: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Whole sequences, from its own start or from a state."""
        locations = None
        if self.training and state is None:
            self.updates += 1
            locations = self.plan.locations_at(self.updates, self.generator)
        return self.machine(inputs, self.state(inputs.shape[1], locations) if state is None else state)
