"""The player: what it carries, what it refuses, and that its picture follows the slider in a page without a kernel."""

import base64
import gzip
import io
import json
import re

import numpy as np
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from torch.nn.functional import one_hot

from ntm import NTM, NTMConfig, paper, runs, tasks
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
    added = np.frombuffer(base64.b64decode(drawing["data"]), np.uint8).reshape(drawing["shape"])
    levels = np.cumsum(added, axis=0, dtype=np.uint8)  # modulo 256
    return drawing["low"] + levels / 255 * (drawing["high"] - drawing["low"])


tape, frame, Player = player.tape, player.frame, player.Player


def simple(steps, **options):
    return Player({"a": [tape("a", ramp(steps))]}, **options)


def titles(shown):
    return {line["name"]: [panel["title"] for panel in line["panels"]] for line in shown["lines"]}


def ramp(steps, rows=3):
    return np.linspace(0, 1, steps * rows).reshape(steps, rows)


@pytest.fixture
def page(browser, tmp_path):
    """Call it with players: a page on disk that holds them, which must stay silent and ask nobody for anything."""
    contexts, troubles = [], []

    def opened(*players, address="", style="", header="", **options):
        context = browser.new_context(**options)
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda message: troubles.append(message.text))
        tab.on("pageerror", lambda error: troubles.append(str(error)))
        tab.on("request", lambda request: request.url.startswith(("file:", "data:")) or troubles.append(request.url))
        file = tmp_path / "page.html"
        body = "".join(one.html() for one in players)
        start = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>players</title><style>{style}</style>'
        file.write_text(f"{start}<body>{header}<main>{body}</main>", encoding="utf-8")
        tab.goto(file.as_uri() + address)
        return [tab.locator(".ntm-player").nth(i) for i in range(len(players))]

    yield opened
    for context in contexts:
        context.close()
    assert not troubles


def pixels(shown):
    return shown.locator("canvas").evaluate("canvas => canvas.toDataURL()")


def test_both_presentations_are_in_one_bundle():
    bundle = player.play(*made_up())._repr_mimebundle_()
    assert {"application/vnd.jupyter.widget-view+json", "text/html", "text/plain"} <= set(bundle)
    assert "42 steps" in bundle["text/plain"]


def test_the_widget_begins_where_the_page_does():
    shown = player.play(*made_up(), start=3)
    assert shown.widget.timestep == json.loads(shown.widget.data)["start"] == 3
    assert json.loads(shown.widget.data)["steps"] == 42


def test_the_page_is_small_and_names_no_host():
    """The whole memory of a trained machine, T = 42 and N = 128, adds at most 60 KB to a page that a server packs."""
    batch = tasks.copy(1, 20, torch.Generator().manual_seed(0))
    model = runs.load(paper.DATA / "runs" / "copy-ntm-lstm-0")
    with torch.no_grad():
        text = player.play(model.trace(batch.inputs), batch, all_locations=True).html()
    assert len(gzip.compress(text.encode())) < 60_000
    assert "://" not in text and not re.search(" src=(?!.data:image/png;base64,)", text)


def test_no_text_ends_the_script_early():
    html = Player({"</script>": [tape("</script><b>", ramp(4))]}, captions=["</script>"] * 4, title='"<i>"').html()
    assert html.count("</script>") == 2
    assert "<i>" not in html and "</script><b>" not in html


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


def test_a_single_output_is_a_probability_and_is_told_as_one():
    machine, batch = NTM(NTMConfig(1, 1, hidden=5, locations=6, width=3)), tasks.ngrams(1, 8)
    trace = machine.trace(batch.inputs)
    shown = json.loads(player.play(trace, batch).data)
    for t, caption in enumerate(shown["captions"]):
        said, bit = trace.logits[t, 0, 0].sigmoid().item(), batch.targets[t, 0, 0].item()
        assert caption.endswith(f", says {said:.2f} of a 1, and a {bit:.0f} comes")


def test_tensors_that_require_gradients_are_taken_as_they_are():
    values = torch.rand(4, 3, requires_grad=True)
    assert player.tape("values", values, mask=torch.tensor([1, 0, 0, 1])).drawing["blank"] == [1, 2]


def test_the_machine_in_words_and_its_locations():
    shown = json.loads(player.play(*made_up(), sequence=1).data)
    assert shown["captions"][23] == (
        "step 23: reads location 122 (weight 1.00), writes location 12 (weight 1.00), 8 of 8 output bits right"
    )
    assert titles(shown) == {
        "in and out": ["inputs", "outputs"],
        "vectors": ["adds", "reads"],
        "weightings": ["write weighting", "read weighting"],
        "memory": ["memory"],
    }
    memory = shown["lines"][-1]["panels"][0]
    assert memory["columns"] == [*range(118, 128), *range(15)]  # 120 to 12 past the end, and two more on either side
    assert [head["name"] for head in memory["heads"]] == ["read", "write"]
    everything = json.loads(player.play(*made_up(), all_locations=True).data)
    assert everything["lines"][-1]["panels"][0]["columns"] == list(range(128))


def test_a_head_without_focus_is_not_said_to_be_anywhere():
    trace, batch = made_up(3)
    vague = torch.full_like(trace.weighting, 0.7 / 127).index_fill_(-1, torch.tensor([9]), 0.3)
    shown = json.loads(player.play(trace._replace(weighting=vague), batch).data)
    assert "reads no single location (at most 0.30, at 9)" in shown["captions"][0]


def test_several_heads_of_a_kind_have_numbers():
    """And stand side by side, all at one scale."""
    shown = json.loads(player.play(*made_up(5, reads=1, writes=2)).data)
    assert titles(shown) == {
        "in and out": ["inputs", "outputs"],
        "vectors": ["adds, write 1", "adds, write 2", "reads"],
        "weightings": ["write 1 weighting", "write 2 weighting", "read weighting"],
        "memory": ["memory"],
    }
    one, other = ((panel["low"], panel["high"]) for panel in shown["lines"][1]["panels"][:2])
    assert one == other and one[0] == -one[1]
    assert "reads location 120 (weight 1.00), write 1 at location 120" in shown["captions"][0]


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda: Player({"x": [tape("a", ramp(4)), tape("b", ramp(5))]}), "'b' has 5 steps, panel 'a' has 4"),
        (lambda: simple(4, captions=["one"]), "1 captions for 4 steps"),
        (lambda: simple(4, start=4), "start is 4, the steps are 0 to 3"),
        (lambda: simple(4, phases=[(1, "a")]), r"phases begin at \[1\]: must be 0 and then later steps, at most 3"),
        (lambda: simple(4, phases=[(0, "a"), (2, "b"), (2, "c")]), r"phases begin at \[0, 2, 2\]"),
        (lambda: simple(4, phases=[(0, "a"), (4, "b")]), r"phases begin at \[0, 4\]"),
        (lambda: Player({}), r"each line needs a panel, got \[\]"),
        (lambda: Player({"x": [tape("a", ramp(4))], "y": []}), r"each line needs a panel, got \[1, 0\]"),
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


def at(shown):
    return int(shown.get_by_role("slider").input_value())


def test_the_picture_follows_the_keyboard(page):
    [shown] = page(player.play(*made_up(5), start=0))
    slider, before = shown.get_by_role("slider"), pixels(shown)
    slider.press("ArrowRight")
    assert pixels(shown) != before
    assert shown.locator(".ntm-player-controls output").inner_text() == "step 1 of 11\nthe list comes in"
    assert "step 1: reads location" in shown.locator(".ntm-player-caption").inner_text()
    assert "step 1: reads location" in shown.locator("canvas").get_attribute("aria-label")
    assert slider.get_attribute("aria-valuetext") == "step 1 of 11, the list comes in"
    slider.press("ArrowLeft")
    assert pixels(shown) == before
    slider.press("End")
    assert at(shown) == 11


def test_it_takes_few_stops_of_the_tab_key_and_all_the_arrow_keys(page):
    [shown] = page(player.play(*made_up(5), start=4))
    stops = []
    for _ in range(6):
        shown.page.keyboard.press("Tab")
        stops.append(shown.page.evaluate("document.activeElement.ariaLabel"))
    names = ["play", "back one step", "forward one step", "time step", stops[4], None]  # the fifth is the picture
    assert stops == names and "step 4" in stops[4]
    back, forward = (shown.get_by_role("button", name=name) for name in ("back one step", "forward one step"))
    forward.click()
    assert at(shown) == 5
    back.press("ArrowLeft")
    assert at(shown) == 4
    back.press("Home")
    back.press("Enter")
    assert at(shown) == 0 and back.get_attribute("aria-disabled") == "true"
    for button in shown.get_by_role("button").all():
        assert button.bounding_box()["width"] >= 44 and button.bounding_box()["height"] >= 44


def test_two_players_on_a_page_are_independent(page):
    pair = (Player({"both": [tape("a", ramp(6)), frame("b", np.random.rand(6, 3, 2))]}) for _ in range(2))
    first, second = page(*pair)
    before = pixels(second)
    first.get_by_role("slider").press("End")
    assert pixels(second) == before and at(second) == 0
    second.get_by_role("slider").press("End")
    assert pixels(second) != before


def test_the_step_stands_in_the_address_and_leads_back(page):
    first, second = page(simple(30, start=3), simple(30, start=4))
    tab = first.page
    assert "#" not in tab.url
    first.get_by_role("slider").press("ArrowRight")
    tab.wait_for_url("**/page.html#step=4")
    second.get_by_role("slider").press("End")
    tab.wait_for_url("**/page.html#step-2=29")
    assert tab.evaluate("history.length") == 2  # about:blank and this one: the reader's way back is kept
    tab.evaluate("location.hash = '#step=17'")
    tab.wait_for_function("document.querySelector('input').value === '17'")
    assert at(second) == 29
    tab.evaluate("location.hash = '#step=many'")
    assert at(first) == 17


@pytest.mark.parametrize("address, steps", [("#step=12", [12, 4]), ("#step-2=12", [3, 12]), ("#step=99", [29, 4])])
def test_an_address_opens_at_its_step(page, address, steps):
    assert [at(one) for one in page(simple(30, start=3), simple(30, start=4), address=address)] == steps


def test_play_stops_at_the_end_and_when_the_slider_is_moved(page):
    [shown] = page(simple(6))
    button, slider = shown.locator("button").first, shown.get_by_role("slider")
    button.press(" ")
    assert button.get_attribute("aria-label") == "pause"
    slider.press("End")
    assert button.get_attribute("aria-label") == "play" and at(shown) == 5
    button.press(" ")
    shown.get_by_role("button", name="play").wait_for()
    assert at(shown) == 5


@pytest.mark.parametrize("motion, steps", [("no-preference", 1), ("reduce", 0)])
def test_play_is_slower_for_who_asks_for_less_motion(page, motion, steps):
    [shown] = page(simple(9), reduced_motion=motion)
    shown.page.clock.install(time=0)
    shown.page.clock.pause_at(1000)  # else the clock goes on by itself, and a busy machine sees more steps
    shown.get_by_role("button", name="play").click()
    shown.page.clock.run_for(300)
    assert at(shown) == steps


def test_a_reader_may_point_at_a_step_and_at_a_value(page):
    [shown] = page(simple(30))
    canvas, value = shown.locator("canvas"), shown.locator(".ntm-player-value")
    canvas.hover(position={"x": 300, "y": 30})
    name, number = value.inner_text().split(": ")
    row, step = map(int, re.fullmatch(r"number (\d+), step (\d+)", name).groups())
    assert 1 < step < 29 and float(number) == pytest.approx(ramp(30)[step, row], abs=0.01)
    assert at(shown) == 0
    canvas.click(position={"x": 300, "y": 30})
    assert at(shown) == step
    shown.page.keyboard.press("Escape")
    shown.page.mouse.move(0, 0)
    assert value.is_hidden()


def test_the_keyboard_reads_values_too(page):
    values = np.arange(24).reshape(2, 3, 4) / 23
    picture = frame("memory", values, columns=[9, 0, 1, 2], axes=("component", "location"))
    [shown] = page(Player({"both": [tape("a", ramp(2)), picture]}))
    canvas, value = shown.locator("canvas"), shown.locator(".ntm-player-value")
    canvas.press("ArrowDown")
    assert value.inner_text() == "number 0, step 0: 0"
    canvas.press("ArrowRight")
    canvas.press("ArrowDown")
    assert at(shown) == 1 and value.inner_text() == "number 1, step 1: 0.8"
    canvas.press("PageDown")
    for key in ("ArrowUp", "ArrowRight"):
        canvas.press(key)
    assert value.inner_text() == f"component 0, location 1, step 1: {values[1, 0, 2]:.2f}"
    canvas.press("Escape")
    assert value.is_hidden()


HEADER = """<div class="bd-header-article" style="position: sticky; top: 0; height: 56px"></div>"""  # as in the book
DARK = "body { background: #14181e; color: #ced6dd; }"
PLAYERS = {
    "one head": lambda: player.play(*made_up()),
    "all locations": lambda: player.play(*made_up(), all_locations=True),
    "several heads": lambda: player.play(*made_up(reads=2, writes=2)),
    "one line": lambda: simple(12, captions=["a sentence"] * 12),
}


@pytest.mark.parametrize("style", ["", DARK], ids=["light", "dark"])
@pytest.mark.parametrize("width, height", [(1280, 900), (360, 740)])
@pytest.mark.parametrize("kind", PLAYERS)
def test_it_fits_a_window_and_everybody_can_use_it(page, kind, width, height, style):
    style, viewport = f"body {{ margin: 0 12px }} {style}", {"width": width, "height": height}
    [shown] = page(PLAYERS[kind](), style=style, header=HEADER, viewport=viewport)
    tabs = shown.get_by_role("tab")
    lines = 4 if width == 360 and kind != "one line" else 0
    assert tabs.count() == lines
    for i in range(max(lines, 1)):
        if lines:
            tabs.nth(i).click()
        assert shown.page.evaluate("document.documentElement.scrollWidth") <= width
        assert shown.bounding_box()["height"] < height - 56
        found = Axe().run(shown.page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]})
        assert found.violations_count == 0, found.generate_report()


def test_on_a_phone_tabs_choose_a_line(page):
    [shown] = page(player.play(*made_up(5)), viewport={"width": 360, "height": 740})
    before, tabs = pixels(shown), shown.get_by_role("tab")
    assert tabs.all_inner_texts() == ["in and out", "vectors", "weightings", "memory"]
    tabs.nth(0).press("ArrowLeft")
    assert pixels(shown) != before
    assert [tab.get_attribute("aria-selected") for tab in tabs.all()] == ["false", "false", "false", "true"]
    assert shown.get_by_role("tabpanel", name="memory").count() == 1
    shown.page.keyboard.press("ArrowRight")
    assert pixels(shown) == before
    shown.page.set_viewport_size({"width": 1280, "height": 740})
    tabs.nth(0).wait_for(state="hidden")
    assert shown.get_by_role("tabpanel").count() == 0


def test_the_controls_stay_in_sight(page):
    size, style = {"width": 1280, "height": 400}, "body { padding-bottom: 1000px }"
    [shown] = page(player.play(*made_up()), header=HEADER, viewport=size, style=style)
    shown.page.mouse.wheel(0, 200)
    shown.page.wait_for_function("scrollY === 200")
    assert shown.locator(".ntm-player-bar").bounding_box()["y"] == 56


def test_the_picture_follows_the_theme(page):
    [shown] = page(player.play(*made_up(5)))
    light = pixels(shown)
    shown.page.evaluate("document.body.style.color = '#eee'; document.documentElement.dataset.theme = 'dark'")
    shown.page.wait_for_timeout(100)
    assert pixels(shown) != light


def test_of_cells_too_small_to_see_the_strongest_shows(page):
    """One cell in a thousand locations, and none of it is lost between the pixels."""
    values = np.zeros((4, 1024))
    values[2, 517] = 1
    [shown] = page(Player({"a": [tape("a", values, vmin=0, vmax=1)]}))
    yellow = """canvas => {
      const { data } = canvas.getContext("2d").getImageData(0, 30, canvas.width, canvas.height - 30);
      let count = 0;
      for (let i = 0; i < data.length; i += 4) count += data[i] > 240 && data[i + 1] > 220 && data[i + 2] < 60;
      return count;
    }"""
    assert shown.locator("canvas").evaluate(yellow) >= 24


def test_without_scripts_a_still_picture_with_words_stands_there(page):
    [shown] = page(player.play(*made_up(), title="A & B"), java_script_enabled=False)
    assert shown.locator("button, input").count() == 0
    assert "A & B, one of 42 time steps: step 28: reads location 127" in shown.inner_text()
    pictures = shown.locator("img")
    assert [text.split(":")[0] for text in pictures.evaluate_all("all => all.map((one) => one.alt)")] == [
        *("inputs", "outputs", "adds", "reads", "write weighting", "read weighting", "memory")
    ]
    for picture in pictures.all():
        assert picture.evaluate("one => one.complete && one.naturalWidth") > 0


def test_a_still_picture_is_the_panel():
    values = np.array([[0, 1.0], [0.5, 0], [1, 1]])
    grey = png(player._picture(tape("a", values, mask=[1, 1, 0]), 1))
    assert grey.tolist() == [[255, 0, 255], [255, 136, 255], [0, 255, 255]]
    assert png(player._picture(frame("a", [[[0, 1.0]], [[1, 0]]]), 1)).tolist() == [[0, 255]]


def png(html):
    text = re.search('base64,([^"]+)', html)[1]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


def test_the_phases_are_those_of_the_task():
    def phases(draw, sequence=0):
        inputs, targets, mask = (of[:, sequence].double().numpy() for of in draw)
        return player._phases(inputs, targets.shape[1], mask)

    generator = torch.Generator().manual_seed(0)
    came, flag, recall = "the list comes in", "flag", "recall"
    assert phases(tasks.copy(1, 5, generator)) == [(0, came), (6, flag), (7, recall)]
    assert phases(tasks.repeat_copy(1, 3, 2, generator)) == [(0, came), (4, flag), (5, recall)]
    assert phases(tasks.associative_recall(1, 2, generator)) == [(0, came), (12, flag), (13, recall)]
    assert phases(tasks.priority_sort(1, vectors=5, kept=3, generator=generator)) == [(0, came), (5, flag), (6, recall)]
    assert phases(tasks.ngrams(1, 20, generator)) == []
    batch = tasks.copy(1, 5, generator)
    batch.mask[-2:] = 0
    assert phases(batch) == [(0, came), (6, flag), (7, recall), (10, "over")]


def test_it_starts_where_there_is_something_to_see():
    trace, batch = made_up(9)  # recall is steps 11 to 19
    start = lambda trace: json.loads(player.play(trace, batch).data)["start"]  # noqa: E731
    assert start(trace) == 14
    trace.logits[14:16] *= -1
    assert start(trace) == 16
    trace.logits[:] *= -1
    trace.logits[14:] = 10 * (0.5 - batch.targets[14:])
    assert start(trace) == 14  # none is right


def test_the_script_defines_no_global_names(page):
    [shown, _] = page(simple(3), simple(3))
    names = re.findall(r"^(?:function|const) (\w+)", player.SCRIPT.read_text(encoding="utf-8"), re.MULTILINE)
    assert "mount" in names
    assert not shown.page.evaluate("names => names.filter(name => name in window)", [n for n in names if n != "render"])


def test_inputs_that_are_numbers_are_not_cut_to_bits():
    machine = NTM(NTMConfig(inputs=10, outputs=8, hidden=6, locations=8, width=4))
    batch = tasks.priority_sort(1, vectors=5, kept=3, generator=torch.Generator().manual_seed(0))
    inputs = batch.inputs[:, 0]
    assert inputs.min() < 0
    drawn = json.loads(player.play(machine.trace(batch.inputs), batch).data)["lines"][0]["panels"][0]
    copied = tasks.copy(1, 2)
    bits = json.loads(player.play(machine.trace(copied.inputs), copied).data)["lines"][0]["panels"][0]
    assert drawn["title"] == bits["title"] == "inputs"
    assert drawn["diverging"] and drawn["high"] == -drawn["low"] >= inputs.abs().max() - 1e-6
    assert (bits["low"], bits["high"]) == (0, 1) and not bits["diverging"]
