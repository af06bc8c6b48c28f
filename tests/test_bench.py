import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from ntm import tasks
from ntm.engine import compiler

if compiler.why_not() is not None:
    pytest.skip("there is no engine here to time", allow_module_level=True)
import bench

pytestmark = pytest.mark.once  # a tool that is used on the machine at hand


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def losses(build):
    batch = tasks.copy(3, 4, torch.Generator().manual_seed(1))
    step = build(bench.machine(), [batch])
    return [float(step(0)) for _ in range(4)]


def test_quick_benchmark_prints_a_table_and_leaves_the_numbers(tmp_path, monkeypatch, capsys, threads):
    monkeypatch.setenv("CXX", "no-such-compiler")
    for name in ("jax", "dnc"):
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    output = tmp_path / "bench.json"
    monkeypatch.setattr(sys, "argv", ["bench", "--quick", "--output", str(output)])
    bench.main()
    printed = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line for line in printed if line}
    assert set(bench.CONTENDERS) <= set(rows)
    for name, reason in {"torch.compile": "no C++ compiler", "jax": "jax", "dnc": "dnc"}.items():
        assert "absent" in rows[name] and reason in rows[name].split("absent")[1]
    header = printed.index(rows["batch"])
    assert len({len(line) for line in printed[header : header + 3]}) == 1

    numbers = json.loads(output.read_text())
    assert list(tmp_path.iterdir()) == [output]
    assert numbers["versions"]["torch"] == torch.__version__
    assert set(numbers["steps"]["absent"]) == {"torch.compile", "jax", "dnc"}
    for row in numbers["steps"]["sequences_per_second"].values():
        assert set(row) == {"ours", "literal"}
        assert row["ours"]["ours_is_faster_by"] == 1
        assert all(len(rounds) == 1 for entry in row.values() for rounds in entry["rounds"].values())
    assert len(numbers["growth"]) == 3
    for series in numbers["growth"]:
        assert len(series["sizes"]) == len(series["seconds"]) == len(series["extra_mib"]) == 2
        assert len(series["counted_mib"]) == 2
        assert np.isfinite(series["exponent"])
    limit = numbers["ceiling"]
    products = max(limit["flops_per_second"]["16x129x400"].values())
    for batch, share in limit["share_of_skinny_products"].items():  # below 1 only where nothing else runs
        ours = numbers["steps"]["sequences_per_second"][batch]["ours"]["median"]
        assert share == pytest.approx(ours * limit["flops_per_sequence"] / products)
    assert numbers["solved"] == []


@pytest.mark.parametrize("point", [(42, 16384, 1), (500, 1024, 1), (82, 2048, 4)])
def test_a_step_takes_the_memory_that_is_counted(point):
    call = f"import bench; bench.growth_point{(*point, 1)}"
    run = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True, cwd=bench.ROOT / "tools")
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["extra_mib"] == pytest.approx(bench.counted_mib(*point), rel=0.1)


def test_an_even_number_of_steps_has_the_mean_length():
    lengths = [len(batch.inputs) for batch in bench.draw(2)]
    assert sorted(lengths) == [2 * length + 2 for length in range(1, 21)]
    assert {a + b for a, b in zip(lengths[::2], lengths[1::2], strict=True)} == {2 * bench.STEPS_PER_SEQUENCE}


@pytest.mark.parametrize("name", ["ours", "torch.compile", "jax"])
def test_contenders_train_as_the_literal_model_does(name):
    if name == "jax":
        pytest.importorskip("jax")
    with torch.compiler.set_stance("force_eager"):  # what is compiled, but without the half minute of compiling it
        # Four updates in float32, each with the rounding of the one before, which Adam divides by its own size.
        assert losses(bench.CONTENDERS[name]) == pytest.approx(losses(bench.literal), rel=2e-4)


def test_a_contender_that_is_another_machine_stops_everything():
    model = bench.machine(seed=1)
    with pytest.raises(SystemExit, match="impostor is not the machine at batch 1"):
        bench.verify("impostor", bench.ours(model, bench.draw(1)), 1)
