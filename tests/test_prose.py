"""Sentences and tables that a chapter prints."""

import pytest

from ntm.book import prose


def test_say_shows_markdown(monkeypatch):
    shown = []
    monkeypatch.setattr(prose, "display", shown.append)
    prose.say("\nSolved in **3** seconds.\n")
    assert [markdown.data for markdown in shown] == ["Solved in **3** seconds."]


@pytest.mark.parametrize("marker", ["1.", "12)", "+", "-", "#"])
def test_a_number_at_the_end_of_a_sentence_begins_no_list(monkeypatch, marker):
    shown = []
    monkeypatch.setattr(prose, "display", shown.append)
    prose.say(f"Solved were\n{marker} So\nit is.\n\n{marker} one\n{marker} two\n\n| a |\n| :--- |")
    assert shown[0].data == f"Solved were {marker} So\nit is.\n\n{marker} one\n{marker} two\n\n| a |\n| :--- |"


def test_table():
    assert prose.table(["seed", "bits"], [[0, "1.5"], ["a|b", ""]]).splitlines() == [
        "| seed | bits |",
        "| :--- | ---: |",
        "| 0 | 1.5 |",
        "| a\\|b |  |",
    ]
    assert prose.table(["a", "b", "c"], [], "lcr").splitlines()[1] == "| :--- | :---: | ---: |"


@pytest.mark.parametrize("align", ["l", "lrr", "lx"])
def test_a_table_needs_an_alignment_for_each_column(align):
    with pytest.raises(ValueError, match=f"align='{align}': must be one of l, c, r for each of 2 columns"):
        prose.table(["a", "b"], [], align)


def test_a_table_needs_full_rows():
    with pytest.raises(ValueError, match="a row of 1 columns under a header of 2"):
        prose.table(["a", "b"], [[1]])


def test_slug():
    assert prose.slug("What breaks it: two heads?") == "What-breaks-it:-two-heads?"
