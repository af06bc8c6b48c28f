"""Each task against slow loops that encode the same random draws, its ranges, its chance cost, and what it refuses."""

import itertools
import math
import re
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
import torch

from ntm import tasks, training
from ntm.tasks import CopySizes, NgramSizes, RecallSizes, RepeatCopySizes, SortSizes


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


# The encodings once more: from what was drawn for one sequence to lists [inputs, targets, mask], one row for each step.


class Steps:
    """A sequence to which steps are added one by one."""

    def __init__(self, inputs, outputs):
        self.inputs, self.targets, self.mask, self.sizes = [], [], [], (inputs, outputs)

    def see(self, **channels):
        """A step at which nothing is asked for; channels by number."""
        self.inputs.append([float(channels.get(f"c{i}", 0)) for i in range(self.sizes[0])])
        self.targets.append([0.0] * self.sizes[1])
        self.mask.append(0.0)

    def say(self, bits):
        """A step at which nothing is seen."""
        self.inputs.append([0.0] * self.sizes[0])
        self.targets.append([float(bit) for bit in bits])
        self.mask.append(1.0)


def named(bits):
    return {f"c{i}": bit for i, bit in enumerate(bits)}


def slow_copy(vectors, bits):
    steps = Steps(bits + 2, bits)
    steps.see(**{f"c{bits}": 1})
    for vector in vectors:
        steps.see(**named(vector))
    steps.see(**{f"c{bits + 1}": 1})
    for vector in vectors:
        steps.say(vector)
    return steps


def slow_repeat_copy(vectors, repeats, bits, normalised=range(1, 11)):
    steps = Steps(bits + 2, bits + 1)
    steps.see(**{f"c{bits}": 1})
    for vector in vectors:
        steps.see(**named(vector))
    mean = sum(normalised) / len(normalised)
    variance = sum((n - mean) ** 2 for n in normalised) / len(normalised)
    steps.see(**{f"c{bits + 1}": (repeats - mean) / variance**0.5})
    for _ in range(repeats):
        for vector in vectors:
            steps.say([*vector, 0])
    steps.say([0] * bits + [1])
    return steps


def slow_recall(items, asked, bits):
    steps = Steps(bits + 2, bits)
    for item in items:
        steps.see(**{f"c{bits}": 1})
        for vector in item:
            steps.see(**named(vector))
    steps.see(**{f"c{bits + 1}": 1})
    for vector in items[asked]:
        steps.see(**named(vector))
    steps.see(**{f"c{bits + 1}": 1})
    for vector in items[asked + 1]:
        steps.say(vector)
    return steps


def slow_ngrams(sequence):
    steps = Steps(1, 1)
    for t, bit in enumerate(sequence):
        steps.say([bit])
        steps.inputs[-1] = [float(sequence[t - 1]) if t else 0.0]
    return steps


def slow_sort(vectors, priorities, kept, bits):
    steps = Steps(bits + 2, bits)
    for vector, priority in zip(vectors, priorities, strict=True):
        steps.see(**named(vector), **{f"c{bits}": priority})
    steps.see(**{f"c{bits + 1}": 1})
    left = list(range(len(vectors)))
    for _ in range(kept):
        best = left[0]
        for i in left:
            if priorities[i] > priorities[best]:
                best = i
        left.remove(best)
        steps.say(vectors[best])
    return steps


# What was drawn, read off one sequence of a batch (its inputs as rows of numbers), and encoded again.


def again_copy(rows, sizes):
    return slow_copy([row[: sizes.bits] for row in rows[1 : len(rows) // 2]], sizes.bits)


def again_repeat_copy(rows, sizes):
    last = next(t for t, row in enumerate(rows) if t and not any(row[:-2]) and row[-1]) if rows else 0
    vectors = [row[: sizes.bits] for row in rows[1:last]]
    repeats = (len(rows) - last - 2) // len(vectors)
    return slow_repeat_copy(vectors, repeats, sizes.bits, range(sizes.normalised[0], sizes.normalised[1] + 1))


def again_recall(rows, sizes):
    item = sizes.vectors + 1
    count = len(rows) // item - 2
    items = [[row[: sizes.bits] for row in rows[item * k + 1 : item * (k + 1)]] for k in range(count)]
    query = [row[: sizes.bits] for row in rows[item * count + 1 : item * (count + 1)]]
    return slow_recall(items, items[:-1].index(query), sizes.bits)


def again_sort(rows, sizes):
    seen = rows[: sizes.vectors]
    return slow_sort([row[: sizes.bits] for row in seen], [row[sizes.bits] for row in seen], sizes.kept, sizes.bits)


AGAIN = [
    (CopySizes(), again_copy),
    (CopySizes(length=(3, 3), bits=5), again_copy),
    (RepeatCopySizes(length=(1, 4), repeats=(1, 4)), again_repeat_copy),
    (RepeatCopySizes(length=(2, 3), repeats=(4, 7), bits=4, normalised=(2, 7)), again_repeat_copy),
    (RecallSizes(), again_recall),
    (RecallSizes(items=(4, 5), vectors=2, bits=8), again_recall),
    (SortSizes(), again_sort),
    (SortSizes(vectors=4, kept=4, bits=3), again_sort),
]


def assert_same(batch, b, steps):
    """Sequence b of a batch is that of the slow encoding."""
    for fast, slow in zip(batch, (steps.inputs, steps.targets, steps.mask), strict=True):
        torch.testing.assert_close(fast[:, b], torch.tensor(slow), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("sizes,again", AGAIN, ids=lambda value: getattr(value, "__name__", repr(value)))
def test_a_batch_is_what_the_slow_encoding_makes_of_the_same_draws(sizes, again):
    generator = seeded(1)
    for _ in range(20):
        batch = sizes.draw(3, generator)
        steps = len(batch.inputs)
        assert batch.inputs.shape == (steps, 3, sizes.inputs)
        assert batch.targets.shape == (steps, 3, sizes.outputs)
        assert batch.mask.shape == (steps, 3)
        assert steps <= sizes.steps
        for b in range(3):
            assert_same(batch, b, again(batch.inputs[:, b].tolist(), sizes))


def test_a_batch_of_ngrams_is_what_the_slow_encoding_makes_of_the_same_bits():
    batch = NgramSizes(bits=30).draw(4, seeded(1))
    assert [values.shape for values in batch] == [(30, 4, 1), (30, 4, 1), (30, 4)]
    for b in range(4):
        assert_same(batch, b, slow_ngrams(batch.targets[:, b, 0].int().tolist()))


# Functions, sizes, drawings


@pytest.mark.parametrize(
    "sizes,batch",
    [
        (CopySizes((2, 5), 3), lambda g: tasks.copy(2, (2, 5), g, bits=3)),
        (RepeatCopySizes((2, 5), (1, 3), 3), lambda g: tasks.repeat_copy(2, (2, 5), (1, 3), g, bits=3)),
        (RecallSizes((4, 4), 2, 3), lambda g: tasks.associative_recall(2, 4, g, vectors=2, bits=3)),
        (NgramSizes(20, 3), lambda g: tasks.ngrams(2, 20, g, context=3)),
        (SortSizes(5, 4, 3), lambda g: tasks.priority_sort(2, 5, 4, g, bits=3)),
    ],
    ids=list(tasks.TASKS),
)
def test_sizes_draw_what_the_function_draws(sizes, batch):
    assert type(sizes) in tasks.TASKS.values()
    for by_sizes, by_function in zip(sizes.draw(2, seeded(3)), batch(seeded(3)), strict=True):
        assert torch.equal(by_sizes, by_function)


def drawn(function):
    """The drawing in a docstring: rows of numbers by name."""
    rows = {}
    for line in function.__doc__.splitlines():
        match = re.fullmatch(r" {8}([a-z ]+?(?: \d)?)  +((?:-?[\d.]+ *)+)", line)
        if match:
            rows[match[1]] = [0.0 if cell == "." else float(cell) for cell in match[2].split()]
    steps = rows.pop("time step")
    assert steps == list(range(len(steps))) and {len(row) for row in rows.values()} == {len(steps)}
    mask = rows.pop("mask")
    targets = [rows.pop(name) for name in list(rows) if name.startswith(("target", "end marker"))]
    return torch.tensor(list(rows.values())).T, torch.tensor(targets).T, torch.tensor(mask)


@pytest.mark.parametrize(
    "function,sizes,again",
    [
        (tasks.copy, CopySizes((3, 3), 3), again_copy),
        (tasks.repeat_copy, RepeatCopySizes((2, 2), (3, 3), 2), again_repeat_copy),
        (tasks.associative_recall, RecallSizes((3, 3), 2, 2), again_recall),
        (tasks.ngrams, NgramSizes(10), lambda rows, sizes: slow_ngrams([int(row[0]) for row in rows[1:]] + [1])),
        (tasks.priority_sort, SortSizes(3, 2, 2), again_sort),
    ],
    ids=list(tasks.TASKS),
)
def test_the_drawing_in_the_docstring_is_a_sequence(function, sizes, again):
    inputs, targets, mask = drawn(function)
    batch = sizes.draw(1)
    assert (inputs.shape, targets.shape) == (batch.inputs[:, 0].shape, batch.targets[:, 0].shape)
    expected = again(inputs.tolist(), sizes)
    for shown, slow in zip((inputs, targets, mask), (expected.inputs, expected.targets, expected.mask), strict=True):
        torch.testing.assert_close(shown, torch.tensor(slow), rtol=0, atol=0.01)  # two decimals are shown


# Distributions


def test_both_ends_of_every_range_are_drawn():
    generator = seeded()
    assert {(len(tasks.copy(1, (2, 5), generator).inputs) - 2) // 2 for _ in range(200)} == {2, 3, 4, 5}
    assert {len(tasks.associative_recall(1, (2, 4), generator).inputs) // 4 - 2 for _ in range(200)} == {2, 3, 4}
    pairs = set()
    for _ in range(400):
        batch = tasks.repeat_copy(1, (2, 4), (5, 6), generator, bits=1)
        length = int((batch.mask == 0).sum()) - 2
        pairs.add((length, (int(batch.mask.sum()) - 1) // length))
    assert pairs == set(itertools.product((2, 3, 4), (5, 6)))


def test_every_item_but_the_last_is_asked_for():
    batch = tasks.associative_recall(400, 4, seeded(), vectors=2, bits=20)
    items = batch.inputs[:12, :, :20].unflatten(0, (4, 3))[:, 1:]
    query = batch.inputs[13:15, :, :20]
    asked = [[torch.equal(items[k, :, b], query[:, b]) for k in range(4)].index(True) for b in range(400)]
    counts = Counter(asked)
    assert set(counts) == {0, 1, 2} and all(abs(counts[k] - 133) < 50 for k in counts)  # five standard deviations


@pytest.mark.parametrize("name", tasks.TASKS)
def test_half_of_the_random_bits_are_ones(name):
    batch = tasks.TASKS[name]().draw(1000, seeded(1))
    bits = batch.targets[batch.mask.bool()][:, : min(6, batch.targets.shape[2])]
    spread = 5 * 0.5 / math.sqrt(1000)  # of the most dependent: sequences of n-grams are what is independent
    assert abs(float(bits.mean()) * (1 if name != "repeat-copy" else len(bits) / (len(bits) - 1000)) - 0.5) < spread


def test_priorities_are_uniform():
    priorities = tasks.priority_sort(5000, generator=seeded()).inputs[:20, :, 8]
    assert -1 <= priorities.min() < -0.999 and 0.999 < priorities.max() < 1
    assert abs(float(priorities.mean())) < 0.01 and abs(float(priorities.square().mean()) - 1 / 3) < 0.01


def test_the_number_of_repeats_has_mean_0_and_variance_1():
    seen = [tasks.repeat_copy(1, 1, repeats).inputs[2, 0, 7].item() for repeats in range(1, 11)]
    assert np.mean(seen) == pytest.approx(0, abs=1e-6) and np.var(seen) == pytest.approx(1, rel=1e-6)
    beyond = tasks.repeat_copy(1, 1, 20).inputs[2, 0, 7].item()
    assert beyond == pytest.approx(2 * seen[9] + 5.5 / (99 / 12) ** 0.5, rel=1e-6)  # on the scale of training


@pytest.mark.parametrize("name", tasks.TASKS)
def test_the_same_generator_gives_the_same_batch(name):
    sizes = tasks.TASKS[name]()
    a, b, other = (sizes.draw(2, seeded(seed)) for seed in (3, 3, 4))
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    assert a.targets.shape != other.targets.shape or not torch.equal(a.targets, other.targets)


# N-grams: the exact probability of a sequence, its context's probabilities integrated out


def rising(start, count):
    """start (start + 1) ... (start + count - 1)."""
    return math.prod((start + i for i in range(count)), start=Fraction(1))


def likelihood(sequence, context):
    """Of a whole sequence: 2**-context times B(N1 + 1/2, N0 + 1/2) / B(1/2, 1/2) for each context."""
    counts = Counter()
    for t in range(context, len(sequence)):
        counts[sequence[t - context : t], sequence[t]] += 1
    probability = Fraction(1, 2 ** min(context, len(sequence)))
    for before in {before for before, _ in counts}:
        zeros, ones = counts[before, 0], counts[before, 1]
        probability *= rising(Fraction(1, 2), zeros) * rising(Fraction(1, 2), ones) / rising(1, zeros + ones)
    return probability


@pytest.mark.parametrize("bits,context", [(1, 1), (10, 1), (10, 2), (10, 5), (4, 5)])
def test_the_optimum_is_the_exact_likelihood_of_every_short_sequence(bits, context):
    sequences = list(itertools.product((0, 1), repeat=bits))
    exact = [likelihood(sequence, context) for sequence in sequences]
    assert sum(exact) == 1
    targets = torch.tensor(sequences, dtype=torch.float32).T.unsqueeze(2)
    cost = tasks.ngrams_optimum(targets, context)
    np.testing.assert_allclose(cost.numpy(), [-math.log2(p) for p in exact], rtol=1e-12)


def test_the_integral_is_that_of_the_arcsine_distribution():
    """Two ones and a zero after the same context, by quadrature over p = sin(angle)^2."""
    angles = (np.arange(1000) + 0.5) / 1000 * np.pi / 2
    p = np.sin(angles) ** 2
    assert float(likelihood((1, 1, 1, 0), 1)) == pytest.approx(0.5 * np.mean(p**2 * (1 - p)), rel=1e-9)


def test_sequences_come_as_often_as_they_should():
    """Frequencies of all 32 sequences of five bits after contexts of one, against their exact probabilities."""
    count = 20_000
    targets = tasks.ngrams(count, 5, seeded(), context=1).targets[:, :, 0].int().T.tolist()
    counts = Counter(map(tuple, targets))
    expected = {s: count * float(likelihood(s, 1)) for s in itertools.product((0, 1), repeat=5)}
    assert min(expected.values()) > 100
    chi_squared = sum((counts[s] - n) ** 2 / n for s, n in expected.items())
    assert 10 < chi_squared < 70  # 31 degrees of freedom: 31 +- 8


def test_a_prediction_costs_what_the_optimum_says():
    """The same cost by the function that measures networks."""
    batch = tasks.ngrams(50, generator=seeded())
    predicted = tasks.ngrams_prediction(batch.targets)
    cost = training.bits_per_sequence(predicted.logit(), batch.targets.double(), batch.mask)
    assert cost == pytest.approx(float(tasks.ngrams_optimum(batch.targets).mean()), rel=1e-9)


def test_the_optimum_on_many_sequences():
    """133.38 bits, by a simulation of its own in which one sequence has a standard deviation of 35.8."""
    targets = tasks.ngrams(4000, generator=seeded()).targets
    assert float(tasks.ngrams_optimum(targets).mean()) == pytest.approx(133.38, abs=4 * 35.8 / math.sqrt(4000))


# Chance


@pytest.mark.parametrize(
    "sizes,bits",
    [
        (CopySizes(), 84),  # 8 bits of 10.5 vectors
        (RepeatCopySizes(), 181.5),  # 6 bits of 5.5 vectors 5.5 times
        (RecallSizes(), 18),  # 6 bits of 3 vectors
        (NgramSizes(), 200),
        (SortSizes(), 128),  # 8 bits of 16 vectors
        (RepeatCopySizes(length=(2, 4), repeats=(1, 2), bits=1), 4.5),
    ],
    ids=repr,
)
def test_chance(sizes, bits):
    assert sizes.chance == bits


@pytest.mark.parametrize("name", tasks.TASKS)
def test_chance_is_what_one_half_costs(name):
    """Over every combination of the ranges; the end marker of repeat copy is not counted."""
    sizes = tasks.TASKS[name]()
    costs = []
    for cell in sizes.each():
        assert cell.each() == [cell]
        batch = cell.draw(1, seeded())
        assert len(batch.inputs) == cell.steps
        marker = float(batch.mask.sum()) if name == "repeat-copy" else 0.0
        logits = torch.zeros_like(batch.targets)
        random_bits = batch.mask.clone()
        if name == "repeat-copy":
            marker += sizes.bits  # the bits of the last step, all 0, are not random either
        costs.append(training.bits_per_sequence(logits, batch.targets, random_bits) - marker)
    assert np.mean(costs) == pytest.approx(sizes.chance, rel=1e-6)


# Sizes that cannot be

LARGE = tasks.LARGEST_SIZE
BAD = [
    (CopySizes, {"length": 0}, f"length=0: must be whole numbers from 1 to {LARGE}"),
    (CopySizes, {"length": -1}, "length=-1: must be"),
    (CopySizes, {"length": (5, 4)}, r"length=\(5, 4\): .* the smaller first"),
    (CopySizes, {"length": (0, 3)}, r"length=\(0, 3\): must be"),
    (CopySizes, {"length": 10**9}, "length=1000000000: must be"),
    (CopySizes, {"length": (1, 2, 3)}, r"length=\(1, 2, 3\): must be .* one or two"),
    (CopySizes, {"length": ()}, r"length=\(\): must be"),
    (CopySizes, {"length": (1, 2.0)}, r"length=\(1, 2.0\): must be whole numbers"),
    (CopySizes, {"length": "20"}, "length='20': must be"),
    (CopySizes, {"length": None}, "length=None: must be"),
    (CopySizes, {"length": (True, 3)}, r"length=\(True, 3\): must be"),
    (CopySizes, {"bits": 0}, f"bits=0: must be a whole number from 1 to {LARGE}"),
    (CopySizes, {"bits": 8.0}, "bits=8.0: must be"),
    (CopySizes, {"bits": (8, 8)}, r"bits=\(8, 8\): must be"),
    (CopySizes, {"bits": np.True_}, "bits=.*True.*: must be"),
    (RepeatCopySizes, {"length": 0}, "length=0: must be"),
    (RepeatCopySizes, {"repeats": (0, 10)}, r"repeats=\(0, 10\): must be"),
    (RepeatCopySizes, {"bits": True}, "bits=True: must be"),
    (RepeatCopySizes, {"normalised": 3}, r"normalised=\(3, 3\): must be two different numbers"),
    (RepeatCopySizes, {"normalised": (0, 3)}, r"normalised=\(0, 3\): must be"),
    (RepeatCopySizes, {"length": 10**4, "repeats": 10**4}, r"length=\(10000, 10000\), repeats=.* 100010003 steps"),
    (RecallSizes, {"items": 1}, "items=1: must be whole numbers from 2"),
    (RecallSizes, {"items": (1, 6)}, r"items=\(1, 6\): must be whole numbers from 2"),
    (RecallSizes, {"items": (2, 6.5)}, r"items=\(2, 6.5\): must be"),
    (RecallSizes, {"vectors": 0}, "vectors=0: must be"),
    (RecallSizes, {"bits": -6}, "bits=-6: must be"),
    (RecallSizes, {"items": 10**5, "vectors": 100}, "vectors=100, bits=6: sequences of 10100202 steps"),
    (NgramSizes, {"bits": 0}, "bits=0: must be"),
    (NgramSizes, {"bits": (100, 200)}, r"bits=\(100, 200\): must be"),
    (NgramSizes, {"context": 0}, "context=0: must be"),
    (NgramSizes, {"context": 17}, "context=17: must be a whole number from 1 to 16"),
    (SortSizes, {"vectors": 0, "kept": 0}, "vectors=0: must be"),
    (SortSizes, {"kept": 0}, "kept=0: must be"),
    (SortSizes, {"kept": 21}, "kept=21: must be at most the number of vectors, 20"),
    (SortSizes, {"vectors": 15}, "kept=16: must be at most the number of vectors, 15"),
    (SortSizes, {"bits": 1.5}, "bits=1.5: must be"),
]


@pytest.mark.parametrize("kind,sizes,message", BAD, ids=lambda value: str(value) if isinstance(value, dict) else "")
def test_sizes_that_cannot_be(kind, sizes, message):
    with pytest.raises(ValueError, match=message):
        kind(**sizes)
    functions = [tasks.copy, tasks.repeat_copy, tasks.associative_recall, tasks.ngrams, tasks.priority_sort]
    with pytest.raises(ValueError, match=message):  # and the function says the same
        functions[list(tasks.TASKS.values()).index(kind)](1, **sizes)


@pytest.mark.parametrize("name", tasks.TASKS)
@pytest.mark.parametrize("batch", [0, -2, 1.0, True])
def test_batches_that_cannot_be(name, batch):
    with pytest.raises(ValueError, match=f"batch={batch}: must be a whole number"):
        tasks.TASKS[name]().draw(batch)


def test_sizes_of_any_integer_type_and_of_single_numbers():
    sizes = RecallSizes(items=[np.int64(3), torch.tensor(5)], bits=np.uint8(4))
    assert sizes == RecallSizes((3, 5), 3, 4)
    assert [type(value) for value in (*sizes.items, sizes.bits)] == [int, int, int]
    assert RecallSizes(items=np.int32(7)).items == (7, 7)
    assert len(tasks.copy(np.int64(2), np.int64(3), seeded()).inputs) == 8
