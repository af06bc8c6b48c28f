"""Demos in a page on a disk: what they show is what the machine does, by mouse and by keyboard, for everybody."""

import re
from pathlib import Path

import pytest
import torch
from axe_playwright_python.sync_playwright import Axe

from ntm import NTM, NTMConfig, bugs, runs, tasks
from ntm.page.demos import NOT_IN_A_PAGE, CopyDemo, LearnDemo

RUNS = Path(__file__).parents[1] / "data/runs"
BROKEN = "copy-ntm-ff-1"  # it makes mistakes in every list that fills the memory


@pytest.fixture
def shown(browser, tmp_path):
    """Call it with demos: a page on disk that holds them, which must stay silent and ask nobody for anything."""
    contexts, troubles = [], []

    def opened(*demos, style="", **options):
        contexts.append(browser.new_context(**options))
        tab = contexts[-1].new_page()
        tab.on("console", lambda message: troubles.append(message.text))
        tab.on("pageerror", lambda error: troubles.append(str(error)))
        tab.on("request", lambda request: request.url.startswith(("file:", "blob:")) or troubles.append(request.url))
        body = f"<main><h1>demo</h1>{''.join(demo.html() for demo in demos)}</main>"
        head = f'<meta charset="utf-8"><title>demo</title><style>{style}</style>'
        file = tmp_path / "page.html"
        file.write_text(f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body>', encoding="utf-8")
        tab.goto(file.as_uri())
        return [tab.locator(".ntm-demo").nth(i) for i in range(len(demos))]

    yield opened
    for context in contexts:
        context.close()
    assert not troubles


def demo(run="copy-ntm-ff-2", **options):
    return CopyDemo(runs.load(RUNS / run), **options)


def says(one):
    return one.locator(".ntm-demo-says").inner_text()


def cell(one, vector, bit):
    return one.get_by_role("gridcell", name=f"vector {vector}, bit {bit}", exact=True)


def on(one):
    """The list as the grid shows it: (L, bits)."""
    rows = one.locator("[role=row]").evaluate_all(
        "rows => rows.map((row) => [...row.children].map((cell) => cell.ariaSelected === 'true'))"
    )
    return torch.tensor(rows).T.float()


def wrong_in_torch(run, vectors):
    """Wrong bits of one list, by the machine in torch."""
    batch = tasks.copy(1, len(vectors))
    batch.inputs[1 : len(vectors) + 1, 0, :8] = vectors
    with torch.no_grad():
        return int(((runs.load(RUNS / run)(batch.inputs)[0][-len(vectors) :, 0] > 0) != (vectors > 0.5)).sum())


def test_it_begins_with_a_list_copied(shown):
    [one] = shown(demo())
    assert "all 136 bits are right" in says(one)
    assert one.get_by_label("time step").input_value() == "35"
    assert on(one).shape == (17, 8)


@pytest.mark.parametrize("length", [1, 7, 128])
def test_it_says_what_the_machine_in_torch_does(shown, length):
    [one] = shown(demo(BROKEN))
    one.get_by_label("length of the list").fill(str(length))
    one.get_by_role("button", name="Random list").click()
    wrong = wrong_in_torch(BROKEN, on(one))
    assert (f"{wrong} of {8 * length} bits are wrong" if wrong else "bits are right") in says(one)
    assert ("In training it saw lists of at most 20" in says(one)) == (length > 20)


def test_bits_are_turned_over_by_mouse_and_by_keyboard(shown):
    [one] = shown(demo(vectors=[[0] * 8] * 3))
    cell(one, 2, 3).click()
    assert on(one).nonzero().tolist() == [[1, 2]]
    cell(one, 2, 3).click()
    assert not on(one).any()
    one.get_by_label("length of the list").press("Tab")  # the grid is one stop, at the bit that was last turned over
    for key in ("ArrowRight", "ArrowDown", " ", "Home", "ArrowUp", "Enter", "ArrowLeft"):
        one.page.keyboard.press(key)
    assert on(one).nonzero().tolist() == [[0, 2], [2, 3]]
    assert one.page.evaluate("document.activeElement.ariaLabel") == "vector 1, bit 3"
    assert len(one.locator("[role=gridcell][tabindex='0']").all()) == 1


def test_dragging_paints(shown):
    [one] = shown(demo(vectors=[[0] * 8] * 6))
    boxes = [cell(one, vector, 2).bounding_box() for vector in (1, 6)]
    one.page.mouse.move(boxes[0]["x"] + 5, boxes[0]["y"] + 5)
    one.page.mouse.down()
    one.page.mouse.move(boxes[1]["x"] + 5, boxes[1]["y"] + 5, steps=20)
    one.page.mouse.up()
    one.page.mouse.move(boxes[0]["x"] + 5, boxes[0]["y"] + 40)
    assert on(one).nonzero().tolist() == [[vector, 1] for vector in range(6)]


def test_steps_tell_what_happens(shown):
    [one] = shown(demo())
    step = one.get_by_label("time step")
    told = []
    for t in (0, 3, 18, 25):
        step.fill(str(t))
        told.append(says(one))
    assert told[0] == "The start flag: a list begins."
    assert re.fullmatch(r"Vector 3 of 17 comes in; the write head is at location \d+\.", told[1])
    assert told[2].startswith("The end flag.")
    assert re.fullmatch(r"Vector 7 of 17 comes out; the read head is at location \d+; no bit wrong so far\.", told[3])
    pictures = [canvas.get_attribute("aria-label") for canvas in one.locator("canvas").all()]
    assert pictures[0] == "what the machine says: 7 of 17 vectors, 0 of 56 bits wrong"
    assert re.fullmatch(r"where it reads at step 25: most at location \d+, [01]\.\d\d of its weight", pictures[2])
    one.get_by_role("button", name="one step back").click()
    assert step.input_value() == "24" and step.get_attribute("aria-valuetext") == "step 24 of 35"


def test_play_runs_to_the_end_and_stops(shown):
    [one] = shown(demo(vectors=[[1] * 8]))
    one.get_by_role("button", name="Play").press(" ")
    one.get_by_role("button", name="Pause").wait_for()
    one.get_by_role("button", name="Play").wait_for()
    assert one.get_by_label("time step").input_value() == "3"


def test_less_motion_is_slower(shown):
    [one] = shown(demo(vectors=[[1] * 8] * 20), reduced_motion="reduce")
    one.get_by_role("button", name="Play").click()
    one.page.wait_for_timeout(1000)
    assert int(one.get_by_label("time step").input_value()) <= 2


def test_two_demos_on_a_page_are_independent(shown):
    first, second = shown(demo(), demo(BROKEN, vectors=[[0, 1] * 4] * 4))
    first.get_by_label("length of the list").fill("5")
    assert on(first).shape == (5, 8) and on(second).shape == (4, 8)


def test_the_picture_follows_the_theme(shown):
    [one] = shown(demo())
    picture = "canvas => canvas.toDataURL()"
    light = one.locator("canvas").first.evaluate(picture)
    one.page.evaluate("document.body.style.color = '#eee'; document.documentElement.dataset.theme = 'dark'")
    one.page.wait_for_timeout(100)
    assert one.locator("canvas").first.evaluate(picture) != light


# Learning in the page


def button(one, name):
    return one.get_by_role("button", name=name, exact=True)


def test_it_learns_pauses_is_tested_and_begins_again(shown):
    [one] = shown(LearnDemo(seed=5))
    assert "random weights, to copy lists of 1 to 8 vectors of 4 bits" in says(one)
    assert button(one, "Test on longer lists").is_disabled()
    button(one, "Learn").press(" ")
    one.locator(".ntm-demo-says", has_text="a second. Cost").wait_for()
    button(one, "Pause").click()
    one.page.wait_for_timeout(300)
    told = says(one)
    one.page.wait_for_timeout(300)
    assert says(one) == told and button(one, "Go on").is_enabled()
    button(one, "Test on longer lists").click()
    one.locator(".ntm-demo-says", has_text="Wrong bits in lists of 4, 8, 12, 16, 20 vectors").wait_for()
    picture = one.get_by_role("img", name="wrong bits by length").get_attribute("aria-label")
    assert re.fullmatch(r"wrong bits by length: (\d+: [\d.]+ %(, )?){5}", picture)
    button(one, "Start again").click()
    assert "Press Learn" in says(one) and button(one, "Learn").is_enabled()


def test_it_opens_with_a_fault_and_says_why_one_cannot_learn(shown):
    first, second = shown(LearnDemo(fault="sigmoid_on_the_weighting", controller="lstm"), LearnDemo())
    assert first.get_by_label("fault").input_value() == "sigmoid_on_the_weighting"
    assert first.get_by_label("controller").input_value() == "lstm"
    second.get_by_label("fault").select_option("kernel in tiles")
    button(second, "Learn").click()
    second.locator(".ntm-demo-says", has_text="It cannot learn: kernels of 3 side by side do not fit").wait_for()
    assert "Press Learn" in says(first)
    names = second.get_by_label("fault").locator("option").evaluate_all("all => all.map((one) => one.value)")
    assert names == ["", *(name for name in bugs.FAULTS if name not in NOT_IN_A_PAGE)]


# Both


DARK = "body { background: #14181e; color: #ced6dd; }"


@pytest.mark.parametrize("style", ["", DARK], ids=["light", "dark"])
@pytest.mark.parametrize("width, height", [(1280, 900), (360, 740)])
@pytest.mark.parametrize("build", [demo, LearnDemo])
def test_it_fits_a_window_and_everybody_can_use_it(shown, build, width, height, style):
    [one] = shown(build(), style=style + "body { margin: 12px }", viewport={"width": width, "height": height})
    assert one.page.evaluate("document.documentElement.scrollWidth") <= width
    assert one.bounding_box()["height"] < height
    found = Axe().run(one.page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]})
    assert found.violations_count == 0, found.generate_report()
    if build is demo:
        one.get_by_label("length of the list").fill("128")
    assert one.page.evaluate("document.documentElement.scrollWidth") <= width


def test_it_is_small_and_names_no_host():
    text = demo().html()
    assert "://" not in LearnDemo().html() and "LearnDemo: a" in LearnDemo()._repr_mimebundle_()["text/plain"]
    assert len(text) < 130_000 and "://" not in text and " src=" not in text
    bundle = demo(vectors=[[1] * 8])._repr_mimebundle_()
    assert bundle["text/plain"] == "CopyDemo: a machine that copies your own list" and bundle["text/html"].startswith(
        '<div class="ntm-demo ntm-copy'
    )


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda: CopyDemo(NTM(NTMConfig(inputs=8))), "two inputs more than outputs, not 8 and 8"),
        (lambda: demo(vectors=[]), "a list of 0 vectors: must be 1 to 128"),
        (lambda: demo(longest=9), "a list of 17 vectors: must be 1 to 9"),
        (lambda: demo(vectors=[[0] * 8, [0] * 7]), "vector 1 is .*: must be 8 bits, each 0 or 1"),
        (lambda: demo(vectors=[[2] * 8]), "vector 0 is .*: must be 8 bits"),
        (lambda: LearnDemo(fault="states_of_rows_frozen"), "in a page it must be one of exponent_is_the_gate"),
        (lambda: LearnDemo(controller="gru"), "controller 'gru': must be 'feedforward' or 'lstm'"),
    ],
)
def test_what_does_not_fit_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
