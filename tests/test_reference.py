"""How docstrings are turned into what Sphinx reads; the page itself is looked at in test_book.py."""

import pytest
from sphinx.util.inspect import signature, stringify_signature

from ntm import NTMConfig, State, runs, tasks, training
from ntm.book import reference
from ntm.page import player


def processed(what, thing, *lines):
    lines = list(lines)
    reference.process(None, what, "name", thing, None, lines)
    return lines


def test_fields_are_said_by_the_comments_beside_them_or_above():
    assert reference.fields(tasks.Batch) == {
        "inputs": "(T,B,X)",
        "targets": "(T,B,Y), 0 where the mask is 0",
        "mask": "(T,B), 1 at the steps whose outputs count",
    }
    assert reference.fields(NTMConfig)["width"] == "M" and list(reference.fields(State))[0] == "controller"
    config = reference.fields(training.TrainingConfig)
    assert config["until"].startswith("Bits per sequence that count as solved") and config["until"].endswith(
        "of the log."
    )
    assert config["updates"] == "" and config["report_every"].startswith("updates between two rows of the log")
    assert reference.fields(runs.RunConfig)["sizes"] == "of the task; the paper's where none are given"
    assert reference.fields(int) == {}
    shown = processed("class", tasks.Batch, "Sequences to learn from.", "")
    assert shown[2:5] == ["", "* ``inputs``: (T,B,X)", "* ``targets``: (T,B,Y), 0 where the mask is 0"]


def test_drawings_are_shown_as_they_stand():
    shown = processed("function", None, "Copy:", "", "    . 1 .", "", "    1 . .", "", "And on.", "")
    assert shown == ["Copy:", "", ".. code-block:: text", "", "    . 1 .", "", "    1 . .", "", "And on.", ""]
    listed = ["A list.", "", "Raises:", "    ValueError: no.", ""]
    assert processed("function", None, *listed) == listed  # Google's sections are not drawings


@pytest.mark.parametrize("text, shown", [("begins with d_ holds", r"begins with d\_ holds"), ("my_name", "my_name")])
def test_an_underscore_is_no_reference(text, shown):
    assert processed("module", None, text) == [shown]


def test_what_stands_before_a_colon_is_no_type():
    assert processed("property", None, "The player: a slider.")[-1] == "The player: a slider."
    assert processed("property", None, "The player: a slider.")[:2] == ["..", ""]


def test_a_signature_can_be_read():
    given = stringify_signature(signature(player.tape), unqualified_typehints=True)
    shown, returned = reference.signature(None, "function", "tape", player.tape, None, given, "Panel")
    assert "values: ~numpy.typing.ArrayLike | ~torch.Tensor, rows:" in shown and returned == "Panel"
    assert reference.signature(None, "class", "name", None, None, None, None) == (None, None)
