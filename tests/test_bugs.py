"""The historical faults: each shows its symptom at a fixed seed, the clean machine does not, and all is undone."""

import math

import pytest
import torch

from ntm import NTM, NTMConfig, addressing, bugs, engine, heads, memory, tasks, training
from ntm.engine import compiler, same

N = 12


def one_hot(place: int, n: int = N) -> torch.Tensor:
    """(1,1,N)"""
    return torch.nn.functional.one_hot(torch.tensor(place), n).float().view(1, 1, n)


def scalar(value: float) -> torch.Tensor:
    return torch.full((1, 1, 1), value)


KERNEL = torch.tensor([[[0.1, 0.2, 0.7]]])


def machine(seed: int = 0, **sizes) -> NTM:
    torch.manual_seed(seed)
    return NTM(NTMConfig(**{"inputs": 10, "outputs": 8, "hidden": 35, "locations": N, "width": 20, **sizes}))


def trace(steps: int = 8, seed: int = 0, **sizes):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        return machine(seed, **sizes).trace(tasks.copy(10, (steps - 2) // 2, generator=generator).inputs)


# Each symptom is a question that is answered yes with the fault and no without it.


def forgets_where_it_was() -> bool:
    """A head that stays where it is, sharpened as much as it can be, spreads out within ten steps."""
    where, rows, stay = one_hot(4, 128), torch.zeros(1, 128, 3), torch.tensor([[[0.0, 1.0, 0.0]]])
    for _ in range(10):
        orders = torch.zeros(1, 1, 3), scalar(1.0), scalar(0.1), stay, scalar(3.0)
        where = addressing.address(rows, where, *orders).weighting
    return where.max().item() < 0.01


def negative_weighting_is_nan() -> bool:
    signed = one_hot(4) - 0.01
    return bool(addressing.sharpen(signed, scalar(1.5)).isnan().any())


def empty_memory_is_nan() -> bool:
    return bool(addressing.content_weighting(torch.zeros(1, N, 3), torch.ones(1, 1, 3), scalar(1.0)).isnan().all())


def shifted_sum_is_a_third_of_the_locations() -> bool:
    moved = addressing.shift(one_hot(4), KERNEL)[0, 0]
    pattern = torch.tensor([0.7, 0.1, 0.2] * 4)
    return torch.allclose(moved, pattern) and math.isclose(moved.sum().item(), N / 3, rel_tol=1e-6)


def shift_has_no_gradient() -> bool:
    kernel = KERNEL.clone().requires_grad_()
    where = one_hot(4).requires_grad_()
    addressing.shift(where, kernel)[0, 0, 5].backward()
    return kernel.grad is None and where.grad is not None


def only_multiples_of_three_fit() -> bool:
    addressing.shift(one_hot(4, 120), KERNEL)
    try:
        addressing.shift(one_hot(4, 128), KERNEL)
    except RuntimeError as error:
        return "212" in str(error)
    return False


def best_content_peak() -> float:
    """The largest content weighting among 128 rows, when one row is the key, the others its opposite and beta large."""
    rows = -torch.ones(1, 128, 3)
    rows[0, 4] = 1
    beta = heads.key_strength(torch.full((1, 1, 1), 100.0))
    return addressing.content_weighting(rows, torch.ones(1, 1, 3), beta).max().item()


def weightings_sum_to_half_the_locations() -> bool:
    sums = trace(locations=128).weighting[-1].sum(2)
    return bool(((sums > 64) & (sums < 65)).all())


def weightings_are_negative() -> bool:
    return bool((machine().initial_state(10).weighting < 0).any())


def nan_within_a_few_steps() -> bool:
    with bugs.present("exponent_is_the_gate", "bare_power", "bare_cosine"):  # the equations of that day
        return bool(trace().weighting.isnan().any())


def rows_stay_equal() -> bool:
    rows = trace(steps=42).memory  # but for rounding: a processor need not treat the last rows as it does the first
    return bool((rows - rows[:, :, :1]).abs().max() <= 1e-4 * rows.abs().max())


def rows_of_a_batch_start_differently() -> bool:
    start = machine().initial_state(10)
    return not torch.equal(start.memory[0], start.memory[1])


def what_is_learned_depends_on_the_row() -> bool:
    """After a loss on the first row of a batch, the start of the other rows has no gradient."""
    model = machine()
    model(tasks.copy(10, 2, generator=torch.Generator().manual_seed(0)).inputs)[0][:, 0].sum().backward()
    grads = [p.grad for p in model.parameters() if p.grad is not None and len(p) == 10]
    return any(bool(grad[0].any() and not grad[1:].any()) for grad in grads)


def saving_and_loading_changes_the_machine() -> bool:
    saved, again = machine(0), machine(1)
    again.load_state_dict(saved.state_dict())
    inputs = tasks.copy(10, 2, generator=torch.Generator().manual_seed(0)).inputs
    with torch.no_grad():
        return not torch.equal(saved(inputs)[0], again(inputs)[0])


def output_is_blind_to_the_reads() -> bool:
    model, hidden = machine(), torch.zeros(1, 35)
    return torch.equal(model.emit(hidden, torch.zeros(1, 1, 20)), model.emit(hidden, torch.ones(1, 1, 20)))


def a_write_is_not_read_in_the_same_step() -> bool:
    one, here = torch.ones(1, 1, 3), one_hot(0, 2)
    _, reads = memory.write_and_read(torch.zeros(1, 2, 3), here, one, one, here)
    return not reads.any()


def an_old_write_stays() -> bool:
    one, here = torch.ones(1, 1, 3), one_hot(0, 2)
    twice = memory.write(memory.write(torch.zeros(1, 2, 3), here, one, one), here, one, one)
    return twice[0, 0].tolist() == [2, 2, 2]


def even_weighting_loses_its_mass() -> bool:
    even = torch.full((1, 1, 128), 1 / 128)
    kept = [addressing.sharpen(even, scalar(gamma)).sum().item() for gamma in (4.0, 5.0)]
    return kept == pytest.approx([0.98, 0.27], abs=0.01)


def minus_one_moves_forward() -> bool:
    return torch.equal(addressing.shift(one_hot(3), torch.tensor([[[1.0, 0.0, 0.0]]])), one_hot(4))


def three_heads_do_not_work() -> bool:
    model = machine(read_heads=2)
    state = model.initial_state(1)
    try:
        model.step(torch.zeros(1, 10), state)
    except RuntimeError:
        return True
    return False


def nan_passes_for_finite() -> bool:
    return training.finite(torch.tensor([1.0, math.nan]))


def chance_is_four_fifths_of_ln_2() -> bool:
    _, targets, mask = tasks.copy(3, 5)
    chance = torch.where(torch.arange(targets.shape[2]) < 8, 0.0, -100.0).expand(targets.shape)
    return math.isclose(training.cross_entropy(chance, targets, mask).item(), 0.8 * math.log(2), rel_tol=1e-6)


SYMPTOMS = {
    "exponent_is_the_gate": forgets_where_it_was,
    "bare_power": negative_weighting_is_nan,
    "bare_cosine": empty_memory_is_nan,
    "convolution_modulo_three": shifted_sum_is_a_third_of_the_locations,
    "shift_without_gradient": shift_has_no_gradient,
    "kernel_in_tiles": only_multiples_of_three_fit,
    "beta_is_a_sigmoid": lambda: best_content_peak() < 0.06,
    "beta_is_ten_sigmoids": lambda: best_content_peak() < 0.9999999,
    "sigmoid_on_the_weighting": weightings_sum_to_half_the_locations,
    "epsilon_in_the_normaliser": even_weighting_loses_its_mass,
    "mirrored_shift": minus_one_moves_forward,
    "erase_dropped": an_old_write_stays,
    "read_before_write": a_write_is_not_read_in_the_same_step,
    "output_without_reads": output_is_blind_to_the_reads,
    "states_small_normal": weightings_are_negative,
    "states_wide_normal": nan_within_a_few_steps,
    "states_zero": nan_within_a_few_steps,
    "states_2_53": rows_stay_equal,
    "states_0_5": rows_stay_equal,
    "states_of_rows_trained": what_is_learned_depends_on_the_row,
    "states_of_rows_frozen": saving_and_loading_changes_the_machine,
    "two_heads_for_everybody": three_heads_do_not_work,
    "comparison_with_nan": nan_passes_for_finite,
    "silent_targets": chance_is_four_fifths_of_ln_2,
}


def test_every_fault_has_a_symptom_and_words():
    assert sorted(SYMPTOMS) == sorted(bugs.FAULTS)
    assert all(fault.about and fault.lived for fault in bugs.FAULTS.values())
    assert {name for names in bugs.VERSIONS.values() for name in names} <= set(bugs.FAULTS)


def test_every_fault_has_a_name_of_its_own():
    assert list(bugs.NAMES) == list(bugs.FAULTS)
    assert len(set(bugs.NAMES.values())) == len(bugs.NAMES)


@pytest.mark.parametrize("name", bugs.FAULTS)
def test_symptom_appears(name):
    with bugs.present(name):
        assert SYMPTOMS[name]()


@pytest.mark.parametrize("name", bugs.FAULTS)
def test_the_clean_machine_does_not_show_it(name):
    assert not SYMPTOMS[name]()


def everything_in_place() -> list[object]:
    places = [(place, attribute) for fault in bugs.FAULTS.values() for place, attribute, _ in fault.places]
    return [getattr(place, attribute) for place, attribute in [*places, (same, "_blocks")]]


def test_all_is_undone_after_an_exception_and_when_nested():
    before = everything_in_place()
    with pytest.raises(ZeroDivisionError), bugs.present(*bugs.FAULTS):
        1 / 0  # noqa: B018
    assert everything_in_place() == before
    with bugs.present("erase_dropped"):
        outer = everything_in_place()
        with pytest.raises(ZeroDivisionError), bugs.present("erase_dropped", "mirrored_shift"):
            1 / 0  # noqa: B018
        assert everything_in_place() == outer
        assert an_old_write_stays() and not minus_one_moves_forward()
    assert everything_in_place() == before


def test_an_unknown_fault_changes_nothing():
    before = everything_in_place()
    message = "unknown fault 'typo': must be one of exponent_is_the_gate, "
    with pytest.raises(ValueError, match=message), bugs.present("erase_dropped", "typo"):
        pass
    assert everything_in_place() == before


def test_faults_of_one_place_stand_together():
    with bugs.present("bare_power", "sigmoid_on_the_weighting"):
        assert addressing.sharpen(one_hot(4), scalar(2.0)).max().item() == pytest.approx(1 / (1 + math.exp(-1)))
        assert negative_weighting_is_nan()


def test_the_engine_stands_back():
    model, inputs = machine(), tasks.copy(2, 3).inputs
    there_is_one = compiler.why_not() is None
    assert engine.serves(model) == there_is_one
    with torch.no_grad(), bugs.present("erase_dropped"):
        assert not engine.serves(model)
        assert torch.equal(model(inputs)[0], model.trace(inputs).logits)
    assert engine.serves(model) == there_is_one


def test_with_no_fault_nothing_is_different():
    model, inputs = machine(), tasks.copy(2, 3).inputs
    with torch.no_grad():
        right = model.trace(inputs)
        with bugs.present():
            assert all(torch.equal(a, b) for a, b in zip(right, model.trace(inputs), strict=True))


@pytest.mark.parametrize("name", ["states_of_rows_trained", "states_of_rows_frozen"])
def test_states_of_rows(name):
    with bugs.present(name):
        model = machine()
        start = model.initial_state(bugs.ROWS + 1, 5)
        assert start.memory.shape == (bugs.ROWS + 1, 5, 20) and start.weighting.shape == (bugs.ROWS + 1, 2, 5)
        torch.testing.assert_close(start.weighting.sum(2), torch.ones(bugs.ROWS + 1, 2))
        assert torch.equal(start.memory[0], start.memory[bugs.ROWS]) and rows_of_a_batch_start_differently()
        with pytest.raises(ValueError, match="locations=13: states were drawn for 12 only"):
            model.initial_state(1, 13)
        trained = [key for key, _ in model.named_parameters() if key.startswith("row_")]
        assert bool(trained) == (name == "states_of_rows_trained")
        feedforward = machine(controller="feedforward")
        assert feedforward.initial_state(2).controller == ()


@pytest.mark.parametrize("version", bugs.VERSIONS)
def test_versions_run_and_one_of_them_is_nan(version):
    losses = []
    with bugs.present(*bugs.VERSIONS[version]):
        for seed in range(5):  # of ten sequences each
            batch = tasks.copy(10, 5, generator=torch.Generator().manual_seed(seed))
            torch.manual_seed(seed)
            model = NTM(NTMConfig(hidden=35, outputs=batch.targets.shape[2], locations=120))
            losses.append(training.cross_entropy(model(batch.inputs)[0], *batch[1:]))
            losses[-1].backward()
    assert any(loss.isnan() for loss in losses) == (version == "15 January, evening")


def test_locations_of_15_january_without_a_third():
    with bugs.present("kernel_in_tiles"):
        tiles = addressing.shift(one_hot(4), KERNEL)
    with bugs.present("convolution_modulo_three"):
        torch.testing.assert_close(addressing.shift(one_hot(4), KERNEL), tiles)
