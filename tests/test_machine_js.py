"""The machine in JavaScript against the machine in torch, in a real browser.

JavaScript counts in double precision, so torch does too here, from the same single-precision weights.
"""

import base64
from pathlib import Path

import numpy as np
import pytest
import torch

from ntm import NTM, NTMConfig, bugs, runs, tasks, training
from ntm.page import machine
from ntm.page.demos import NOT_IN_A_PAGE

SMALL = dict(inputs=6, outputs=4, hidden=24, locations=20, width=8)  # what learns in the page


def packed(values):
    return base64.b64encode(np.ascontiguousarray(values.numpy(), "<f4").tobytes()).decode()


def packed_batch(batch):
    shape = [*batch.inputs.shape, batch.targets.shape[2]]
    return {
        "inputs": packed(batch.inputs),
        "targets": packed(batch.targets),
        "mask": packed(batch.mask),
        "shape": shape,
    }


def unpacked(texts, *shape):
    """One text for each sequence -> (T,B,...)."""
    arrays = [np.frombuffer(base64.b64decode(text), "<f4").reshape(-1, *shape) for text in texts]
    return torch.from_numpy(np.stack(arrays, axis=1))


def build(seed, **config):
    torch.manual_seed(seed)
    return NTM(NTMConfig(**config))


@torch.no_grad()
def literal(model, inputs, locations):
    """Logits (T,B,Y) and weightings (T,B,H,N) of the literal model."""
    state, logits, weighting = model.initial_state(inputs.shape[1], locations), [], []
    for x in inputs:
        y, state = model.step(x, state)
        logits.append(y)
        weighting.append(state.weighting)
    return torch.stack(logits), torch.stack(weighting)


def distances(machine_page, model, batch, locations, faults=()):
    """The largest differences of outputs and of weightings, torch in double precision."""
    single = machine.encode(model, "single")
    shown = machine_page.evaluate("all => forward(...all)", [single, packed_batch(batch), locations, list(faults)])
    with bugs.present(*faults):
        logits, weighting = literal(model.double(), batch.inputs.double(), locations)
    off = unpacked(shown["logits"], *logits.shape[2:]) - logits
    heads_off = unpacked(shown["weighting"], *weighting.shape[2:]) - weighting
    return float(off.abs().max() / logits.abs().max().clamp_min(1)), float(heads_off.abs().max())


MACHINES = {
    "feedforward": dict(controller="feedforward"),
    "lstm": dict(controller="lstm"),
    "feedforward, two layers, 2 + 1 heads": dict(controller="feedforward", layers=2, hidden=40, width=7, read_heads=2),
    "lstm, two layers, 1 + 2 heads": dict(controller="lstm", layers=2, hidden=30, width=9, write_heads=2, shifts=5),
}


RUNS = Path(__file__).parents[1] / "data/runs"
TRAINED = ["copy-ntm-ff-0", "copy-ntm-lstm-0"]


@pytest.mark.parametrize("name", [*MACHINES, *TRAINED])
@pytest.mark.parametrize("locations, lists, lengths", [(128, 4, 7), (1024, 2, 3)])
def test_it_computes_what_torch_computes(machine_page, name, locations, lists, lengths):
    """204 lists in all, of 1 to 120 vectors, given to fresh machines and to trained ones."""
    generator = torch.Generator().manual_seed(locations)
    for length in [1, 120, *torch.randint(2, 120, (lengths - 2,), generator=generator).tolist()]:
        model = build(length, **MACHINES[name]) if name in MACHINES else runs.load(RUNS / name)
        batch = tasks.copy(lists, length, generator)
        assert max(distances(machine_page, model, batch, locations)) < 1e-5


DRAWN = {"states_small_normal": 0.05, "states_wide_normal": 0.5}
SHARED = [name for name in bugs.FAULTS if name not in NOT_IN_A_PAGE]
CALCULATED = [(name,) for name in SHARED if name not in DRAWN]
TOGETHER = [whole for whole in bugs.VERSIONS.values() if whole and set(whole) <= set(SHARED) - set(DRAWN)]


def test_the_faults_have_the_same_names_in_the_same_order(machine_page):
    assert machine_page.evaluate("Object.keys(ntm.FAULTS)") == SHARED
    assert len(TOGETHER) == 2


def fitting(faults, batch):
    """The copy batch, and 21 locations instead of 20 for the kernels that fit only a multiple of three."""
    with bugs.present(*faults):
        return tasks.copy(2, 6, torch.Generator().manual_seed(5), bits=4), 21 if "kernel_in_tiles" in faults else 20


@pytest.mark.parametrize("faults", [*CALCULATED, *TOGETHER], ids=" ".join)
@pytest.mark.parametrize("controller", ["feedforward", "lstm"])
def test_each_fault_computes_what_it_computes_in_torch(machine_page, faults, controller):
    batch, locations = fitting(faults, 4)
    model = build(1, controller=controller, **SMALL | {"outputs": batch.targets.shape[2]})
    off, heads_off = distances(machine_page, model, batch, locations, faults)
    assert max(off, heads_off) < 1e-5


def gradient_distance(machine_page, model, batch, locations, faults=(), loss="crossEntropy"):
    """The largest difference of a gradient, relative to the largest number in its row of the parameter's gradient.

    A row of the heads' projection is one number of one head; the rows' gradients differ by orders of magnitude.
    """
    single = machine.encode(model, "single")
    shown = machine_page.evaluate(
        "all => gradients(...all)", [single, packed_batch(batch), locations, list(faults), loss]
    )
    batch = tasks.Batch(*(values.double() for values in batch))
    twin = {"crossEntropy": training.cross_entropy, "huber": training.huber}[loss]
    with bugs.present(*faults):
        model = model.double()
        logits, _ = model(batch.inputs, model.initial_state(batch.inputs.shape[1], locations))
        value = twin(logits, *batch[1:])
        value.backward()
    means = [cost(logits.detach(), *batch[1:]) for cost in (training.bits_per_sequence, training.wrong_bits)]
    assert [shown["loss"], shown["bits"], shown["wrong"]] == pytest.approx([value.item(), *means], rel=1e-5)
    off, at = [], 0
    for weight in model.parameters():
        mine = torch.tensor(shown["gradient"][at : at + weight.numel()], dtype=torch.double).view_as(weight)
        right = torch.zeros_like(weight) if weight.grad is None else weight.grad
        off.append(float(((mine - right).abs().amax(-1) / right.abs().amax(-1).clamp_min(1e-10)).max()))
        at += weight.numel()
    assert at == len(shown["gradient"])
    return max(off)


@pytest.mark.parametrize("loss", ["crossEntropy", "huber"])
@pytest.mark.parametrize("controller", ["feedforward", "lstm"])
def test_the_gradients_of_the_small_machine_are_torchs(machine_page, controller, loss):
    """52 draws in all, of weights, lists and locations."""
    generator = torch.Generator().manual_seed(3)
    for seed in range(13):
        model = build(seed, controller=controller, **SMALL)
        with torch.no_grad():
            model.initial_reads.normal_(generator=generator)
        batch = tasks.copy(2, (1, 8), generator, bits=4)
        locations = int(torch.randint(10, 21, (), generator=generator))
        assert gradient_distance(machine_page, model, batch, locations, loss=loss) < 1e-4


@pytest.mark.parametrize("name", MACHINES)
def test_the_gradients_of_other_machines_are_torchs(machine_page, name):
    model = build(2, **MACHINES[name])
    assert gradient_distance(machine_page, model, tasks.copy(2, 5, torch.Generator().manual_seed(2)), 12) < 1e-4


@pytest.mark.parametrize("faults", [*CALCULATED, *TOGETHER], ids=" ".join)
def test_each_faults_gradients_are_torchs(machine_page, faults):
    batch, locations = fitting(faults, 2)
    model = build(1, controller="lstm", **SMALL | {"outputs": batch.targets.shape[2]})
    with torch.no_grad():
        model.heads.projection.weight.mul_(5)  # heads that say something, so that each fault matters
    assert gradient_distance(machine_page, model, batch, locations, faults) < 1e-4


def test_updates_are_torchs(machine_page):
    """Adam, the bound on the norm and the learning rate, over 20 updates."""
    model, generator = build(4, controller="feedforward", **SMALL), torch.Generator().manual_seed(4)
    batches = [tasks.copy(2, (1, 8), generator, bits=4) for _ in range(20)]
    shown = machine_page.evaluate(
        "all => updates(...all)", [machine.encode(model, "single"), [packed_batch(batch) for batch in batches]]
    )
    model, config = model.double(), training.TrainingConfig(batch=2)
    with bugs.present():  # the literal model
        step = training.make_step(model, training.make_optimizer(model, config), training.cross_entropy, config)
        for update, (batch, means) in enumerate(zip(batches, shown["means"], strict=True), start=1):
            costs = step(tasks.Batch(*(x.double() for x in batch)), config.learning_rate_at(update), None)
            assert [means["loss"], means["bits"], means["wrong"]] == pytest.approx(costs, rel=1e-6)
    weights = torch.cat([weight.detach().flatten() for weight in model.parameters()])
    assert float((torch.tensor(shown["weights"], dtype=torch.double) - weights).abs().max()) < 1e-5


@pytest.mark.parametrize("name, deviation", DRAWN.items())
def test_states_are_drawn_as_the_faults_say(machine_page, name, deviation):
    model = build(0, controller="lstm")
    texts = machine_page.evaluate(
        """([encoded, name]) => withFaults([name], () => {
          const slot = ntm.decode(encoded).begin(1).slots[0];
          return [slot.memory, ...slot.weighting, slot.allReads, ...slot.hidden, ...slot.cell].map(pack);
        })""",
        [machine.encode(model), name],
    )
    values = [torch.from_numpy(np.frombuffer(base64.b64decode(text), "<f4").copy()) for text in texts]
    assert [len(v) for v in values] == [2560, 128, 128, 20, 100, 100]
    assert float(torch.cat(values).std()) == pytest.approx(deviation, rel=0.1)
    assert abs(float(torch.cat(values).mean())) < 0.1 * deviation


def test_a_comparison_with_nan_never_fails(machine_page):
    assert machine_page.evaluate("ntm.training.finite(NaN)") is False
    assert machine_page.evaluate("withFaults(['comparison_with_nan'], () => ntm.training.finite(NaN))") is True


def test_faults_are_taken_out_again(machine_page):
    source = "JSON.stringify([ntm.addressing, ntm.heads, ntm.memory].map((table) => Object.values(table).map(String)))"
    names = ["mirrored_shift", "shift_without_gradient", "beta_is_a_sigmoid", "erase_dropped"]
    clean = machine_page.evaluate(source)
    assert machine_page.evaluate(f"withFaults({names}, () => {source})") != clean
    assert machine_page.evaluate(source) == clean
    with pytest.raises(Exception, match="unknown fault nothing: must be one of exponent_is_the_gate"):
        machine_page.evaluate("ntm.present('nothing')")
