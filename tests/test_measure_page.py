"""The tool that measures what runs in a page, and what it has left in data/page.json."""

import json
import subprocess
import sys

import pytest

from ntm.engine import compiler

if compiler.why_not() is not None:
    pytest.skip("the tool names the machine as the benchmark does, which needs the engine", allow_module_level=True)
import measure_page


def test_it_runs_and_leaves_the_numbers(tmp_path, browser):
    output = tmp_path / "page.json"
    command = [sys.executable, measure_page.__file__, "--quick", "--output", str(output)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    results = json.loads(output.read_text(encoding="utf-8"))
    kept = json.loads((measure_page.ROOT / "data/page.json").read_text(encoding="utf-8"))
    assert results.keys() == kept.keys() == {"host", "learning", "step", "bytes", "half_precision"}
    assert [row["sequences"] >= 400 for row in results["learning"]] == [True] * 4
    assert results["learning"][0].keys() == kept["learning"][0].keys()
    [(name, ms)] = results["step"].items()
    assert ms > 0 and results["bytes"].keys() == {"bundle", name}
    assert results["half_precision"][name]["20"]["bits"] == 4 * 20 * 8
    assert "solved, sequences, seconds" in printed


def test_what_was_measured_keeps_what_the_book_says_of_it():
    kept = json.loads((measure_page.ROOT / "data/page.json").read_text(encoding="utf-8"))
    rows = {}
    for row in kept["learning"]:
        rows.setdefault((row["controller"], *row["faults"]), []).append(row)
    for controller in ("feedforward", "lstm"):
        assert [row["seed"] for row in rows[controller,]] == list(range(1, 11))
        assert sum(row["solved"] for row in rows[controller,]) >= 9
    for fault in measure_page.FAULTS:
        assert [row["seed"] for row in rows["feedforward", fault]] == list(range(1, 11))
    assert not any(row["solved"] for row in rows["feedforward", "sigmoid_on_the_weighting"])
    assert max(row["longest_task"] for row in kept["learning"] if not row["faults"]) < 50
    assert max(kept["step"].values()) < 1
    assert max(kept["bytes"].values()) < 250_000
