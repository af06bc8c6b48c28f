"""The player: what it carries, what it refuses, and that its picture follows the slider in a page without a kernel."""

import base64
import json
import re

import numpy as np
import pytest
import torch
from torch.nn.functional import one_hot

from ntm import NTM, NTMConfig, tasks
from ntm.model import Trace
from ntm.page import player


def made_up(length=20, locations=128, width=20, reads=1, writes=1):
    """A machine that copies as it should, without training one: each head walks along the memory, past its end."""
    generator = torch.Generator().manual_seed(0)
    batch = tasks.copy(2, length, generator)
    steps, heads = len(batch.inputs), reads + writes
    place = torch.arange(steps)[:, None, None].expand(steps, 2, heads).clone()
    place[..., :reads] -= length + 1
    weighting = one_hot((place.clamp(0, length) + 120) % locations, locations).float()

    def noise(*shape):
        return torch.randn(steps, 2, *shape, generator=generator)

    fields = dict.fromkeys(Trace._fields, torch.zeros(steps, 2, heads, 1))
    fields |= {"weighting": weighting, "memory": noise(locations, width), "reads": noise(reads, width)}
    fields |= {"add": noise(writes, width), "logits": 10 * (batch.targets - 0.5)}
    return Trace(**fields), batch


def decoded(drawing):
    levels = np.frombuffer(base64.b64decode(drawing["data"]), np.uint8).reshape(drawing["shape"])
    return drawing["low"] + levels / 255 * (drawing["high"] - drawing["low"])


def ramp(steps, rows=3):
    return np.linspace(0, 1, steps * rows).reshape(steps, rows)


@pytest.fixture
def page(browser, tmp_path):
    """Call it with players: a page on disk that holds them, which must stay silent and ask nobody for anything."""
    context = browser.new_context()
    tab, troubles = context.new_page(), []
    tab.on("console", lambda message: troubles.append(message.text))
    tab.on("pageerror", lambda error: troubles.append(str(error)))
    tab.on("request", lambda request: request.url.startswith("file:") or troubles.append(request.url))

    def opened(*players):
        file = tmp_path / "page.html"
        body = "".join(one.html() for one in players)
        file.write_text(f'<!doctype html><meta charset="utf-8"><body>{body}', encoding="utf-8")
        tab.goto(file.as_uri())
        return [tab.locator(".ntm-player").nth(i) for i in range(len(players))]

    yield opened
    context.close()
    assert not troubles


def pixels(shown):
    return shown.locator("canvas").evaluate("canvas => canvas.toDataURL()")


def test_both_presentations_are_in_one_bundle():
    bundle = player.play(*made_up())._repr_mimebundle_()
    assert {"application/vnd.jupyter.widget-view+json", "text/html", "text/plain"} <= set(bundle)
    assert "42 steps" in bundle["text/plain"]


def test_the_widgets_controls_move_its_view():
    view, controls = player.play(*made_up(), start=3).widget.children
    assert [view.step, *(control.value for control in controls.children)] == [3, 3, 3]
    assert [control.max for control in controls.children] == [41, 41]
    assert json.loads(view.data)["steps"] == 42


def test_the_page_is_small_and_names_no_host():
    text = player.play(*made_up()).html()
    everything = player.play(*made_up(), all_locations=True).html()
    assert len(text) < len(everything) < 400_000
    assert "://" not in text and " src=" not in text
    assert text.count("<canvas") == text.count('<input type="range"') == text.count('class="ntm-player ') == 1


def test_no_text_ends_the_script_early():
    html = player.Player([player.tape("</script><b>", ramp(4))], captions=["</script>"] * 4, title='"<i>"').html()
    assert html.count("</script>") == 2
    assert "<b>" not in html and "<i>" not in html


@pytest.mark.parametrize("low, high", [(0, 1), (-3, 8), (2, 2), (-1e-9, 1e-9)])
def test_a_byte_is_enough(low, high):
    values = np.random.default_rng(0).uniform(low, high, (30, 7))
    drawing = player.tape("values", values).drawing
    assert np.abs(decoded(drawing) - values).max() <= (drawing["high"] - drawing["low"]) / 255


def test_scales():
    values = np.array([[-0.5, 2.0], [0.0, 1.0]])
    signed = player.tape("signed", values, diverging=True).drawing
    assert (signed["low"], signed["high"]) == (-2, 2)
    cut = player.tape("cut", values, vmin=0, vmax=1).drawing
    assert decoded(cut).tolist() == [[0, 1], [0, 1]]
    assert player.frame("bars", [[[0.25, 1.0]]], bars=True).drawing["low"] == 0


def test_tensors_that_require_gradients_are_taken_as_they_are():
    values = torch.rand(4, 3, requires_grad=True)
    assert player.tape("values", values, mask=torch.tensor([1, 0, 0, 1])).drawing["blank"] == [1, 2]


def test_the_machine_in_words_and_its_locations():
    shown = json.loads(player.play(*made_up(), sequence=1).data)
    assert shown["captions"][23] == (
        "step 23: reads location 122 (weight 1.00), writes location 12 (weight 1.00), 8 of 8 output bits right"
    )
    titles = [panel["title"] for panel in shown["panels"]]
    assert titles == ["inputs", "outputs", "adds", "reads", "write weighting", "read weighting", "memory"]
    memory = shown["panels"][-1]
    assert memory["columns"] == [*range(118, 128), *range(15)]  # 120 to 12 past the end, and two more on either side
    assert [head["name"] for head in memory["heads"]] == ["read", "write"]
    everything = json.loads(player.play(*made_up(), all_locations=True).data)
    assert everything["panels"][-1]["columns"] == list(range(128))


def test_a_head_without_focus_is_not_said_to_be_anywhere():
    trace, batch = made_up(3)
    vague = torch.full_like(trace.weighting, 0.7 / 127).index_fill_(-1, torch.tensor([9]), 0.3)
    shown = json.loads(player.play(trace._replace(weighting=vague), batch).data)
    assert "reads no single location (at most 0.30, at 9)" in shown["captions"][0]


def test_several_heads_of_a_kind_have_numbers():
    shown = json.loads(player.play(*made_up(5, reads=1, writes=2)).data)
    assert [panel and panel["title"] for panel in shown["panels"]] == [
        *("inputs", "outputs", "adds, write 1", "reads", "adds, write 2", "read weighting"),
        *("write 1 weighting", None, "write 2 weighting", None, "memory"),
    ]
    assert "reads location 120 (weight 1.00), write 1 at location 120" in shown["captions"][0]


tape, frame, Player = player.tape, player.frame, player.Player


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda: Player([tape("a", ramp(4)), tape("b", ramp(5))]), "'b' has 5 steps, panel 'a' has 4"),
        (lambda: Player([tape("a", ramp(4))], captions=["one"]), "1 captions for 4 steps"),
        (lambda: Player([tape("a", ramp(4))], start=4), "start is 4, the steps are 0 to 3"),
        (lambda: Player([tape("a", ramp(4))], columns=0), "at least one column, got 0"),
        (lambda: Player([None]), "at least one panel, got 0"),
        (lambda: tape("a", [[1, np.nan, np.inf]]), "'a': 2 of 3 values are not finite"),
        (lambda: tape("a", [1, 2]), r"'a': values of shape \(2,\), expected 2 dimensions"),
        (lambda: tape("a", np.zeros((0, 3))), r"'a': values of shape \(0, 3\)"),
        (lambda: tape("a", ramp(4), rows=["x"]), "'a': 1 row labels for 3 rows"),
        (lambda: tape("a", ramp(4), vmin=2, vmax=1), "lower end 2.0 is above its upper end 1.0"),
        (lambda: tape("a", ramp(4), mask=[1, 1]), "the mask has 2 steps, the values have 4"),
        (lambda: frame("a", np.ones((2, 3, 4)), columns=[1]), "'a': 1 column labels for 4 columns"),
        (lambda: frame("a", np.ones((2, 3, 4)), row_heads={"read": ramp(2, 4)}), r"\(2, 4\), not \(2, 3\)"),
        (lambda: player.play(*made_up(), sequence=2), "sequence is 2, the batch has 0 to 1"),
        (lambda: player.play(made_up(3)[0], made_up(4)[1]), r"\(8, 2\), the batch \(10, 2\)"),
    ],
)
def test_bad_input_is_refused_in_numbers(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_the_picture_follows_the_keyboard(page):
    [shown] = page(player.play(*made_up(5)))
    slider, before = shown.locator("input[type=range]"), pixels(shown)
    slider.press("ArrowRight")
    assert pixels(shown) != before
    assert shown.locator("output").inner_text() == "1 / 11"
    assert "step 1: reads location" in shown.locator(".ntm-player-caption").inner_text()
    assert "step 1: reads location" in shown.locator("canvas").get_attribute("aria-label")
    assert slider.get_attribute("aria-valuetext") == "step 1 of 11"
    slider.press("ArrowLeft")
    assert pixels(shown) == before
    slider.press("End")
    assert slider.input_value() == "11"


def test_two_players_on_a_page_are_independent(page):
    first, second = page(*(Player([tape("a", ramp(6)), frame("b", np.random.rand(6, 3, 2))]) for _ in range(2)))
    before = pixels(second)
    first.locator("input").press("End")
    assert pixels(second) == before and second.locator("input").input_value() == "0"
    second.locator("input").press("End")
    assert pixels(second) != before


def test_play_stops_at_the_end_and_when_the_slider_is_moved(page):
    [shown] = page(Player([tape("a", ramp(6))]))
    button, slider = shown.get_by_role("button"), shown.locator("input")
    button.press(" ")
    assert button.get_attribute("aria-label") == "pause"
    slider.press("End")
    assert button.get_attribute("aria-label") == "play" and slider.input_value() == "5"
    button.press(" ")
    shown.get_by_role("button", name="play").wait_for()
    assert slider.input_value() == "5"


def test_a_reader_may_point_at_a_step(page):
    [shown] = page(Player([tape("a", ramp(30))]))
    shown.locator("canvas").click(position={"x": 300, "y": 45})
    assert 1 < int(shown.locator("input").input_value()) < 29


@pytest.mark.parametrize("width", [360, 1200])
def test_the_picture_fits_and_follows_the_theme(page, width):
    [shown] = page(player.play(*made_up(5)))
    shown.page.set_viewport_size({"width": width, "height": 800})
    assert shown.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    shown.page.wait_for_timeout(100)
    light = pixels(shown)
    shown.page.evaluate("document.body.style.color = '#eee'; document.documentElement.dataset.theme = 'dark'")
    shown.page.wait_for_timeout(100)
    assert pixels(shown) != light


def test_the_script_defines_no_global_names(page):
    [shown, _] = page(*(Player([tape("a", ramp(3))]) for _ in range(2)))
    names = re.findall(r"^(?:function|const) (\w+)", player.SCRIPT.read_text(encoding="utf-8"), re.MULTILINE)
    assert "mount" in names
    assert not shown.page.evaluate("names => names.filter(name => name in window)", [n for n in names if n != "render"])


def test_inputs_that_are_numbers_are_not_cut_to_bits():
    machine = NTM(NTMConfig(inputs=10, outputs=8, hidden=6, locations=8, width=4))
    batch = tasks.priority_sort(1, vectors=5, kept=3, generator=torch.Generator().manual_seed(0))
    inputs = batch.inputs[:, 0]
    assert inputs.min() < 0
    drawn = json.loads(player.play(machine.trace(batch.inputs), batch).data)["panels"][0]
    copied = tasks.copy(1, 2)
    bits = json.loads(player.play(machine.trace(copied.inputs), copied).data)["panels"][0]
    assert drawn["title"] == bits["title"] == "inputs"
    assert drawn["diverging"] and drawn["high"] == -drawn["low"] >= inputs.abs().max() - 1e-6
    assert (bits["low"], bits["high"]) == (0, 1) and not bits["diverging"]
