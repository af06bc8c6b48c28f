"""Demos in a page on a disk: what they show is what the machine does, by mouse and by keyboard, for everybody."""

import json
import random
import re
from pathlib import Path

import pytest
import torch
from axe_playwright_python.sync_playwright import Axe

from ntm import NTM, NTMConfig, addressing, bugs, memory, runs, tasks
from ntm.page.demos import NOT_IN_A_PAGE, ROWS, AddressingLab, CopyDemo, LearnDemo, MemoryToy

RUNS = Path(__file__).parents[1] / "data/runs"
BROKEN = "copy-ntm-ff-1"  # it makes mistakes in every list that fills the memory


@pytest.fixture
def shown(browser, tmp_path):
    """Call it with demos: a page on disk that holds them, which must stay silent and ask nobody for anything."""
    contexts, troubles = [], []

    def opened(*demos, style="", address="", **options):
        contexts.append(browser.new_context(**options))
        tab = contexts[-1].new_page()
        tab.on("console", lambda message: troubles.append(message.text))
        tab.on("pageerror", lambda error: troubles.append(str(error)))
        tab.on("request", lambda request: request.url.startswith(("file:", "blob:")) or troubles.append(request.url))
        body = f"<main><h1>demo</h1>{''.join(demo.html() for demo in demos)}</main>"
        head = f'<meta charset="utf-8"><title>demo</title><style>{style}</style>'
        file = tmp_path / "page.html"
        file.write_text(f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body>', encoding="utf-8")
        tab.goto(file.as_uri() + address)
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
    second.get_by_label("fault").select_option("shift for N divisible by 3 only")
    button(second, "Learn").click()
    second.locator(".ntm-demo-says", has_text="It cannot learn: kernels of 3 side by side do not fit").wait_for()
    assert "Press Learn" in says(first)
    names = second.get_by_label("fault").locator("option").evaluate_all("all => all.map((one) => one.value)")
    assert names == ["", *(name for name in bugs.FAULTS if name not in NOT_IN_A_PAGE)]


# Laboratories


def knob(one, name):
    return one.get_by_role("slider", name=name, exact=True)


def told(one, name, place=0):
    """The numbers of some cells, as the heading tells them when the pointer is there."""
    one.page.mouse.move(0, 0)
    cells = one.locator(".ntm-cells").and_(one.get_by_label(re.compile(f"^{name}"))).nth(place)
    heading = one.locator(".ntm-demo-name", has_text=re.compile(f"^{name}")).nth(place).element_handle()
    numbers = []
    for cell in cells.locator("> div").all():
        cell.hover()
        numbers.append(float(heading.inner_text().rsplit(": ", 1)[1].replace("\u2212", "-")))
    return torch.tensor(numbers, dtype=torch.float64)


def setting(one, name="lab"):
    """The setting as the page's address has it: each field (1,1,...)."""
    one.page.wait_for_timeout(500)
    fields = one.page.evaluate("location.hash").removeprefix(f"#{name}=").split(";")
    return [torch.tensor([[[float(value) for value in field.split(",")]]], dtype=torch.float64) for field in fields]


def tab_to(one, name):
    for _ in range(50):
        one.page.keyboard.press("Tab")
        if one.page.evaluate("document.activeElement.ariaLabel ?? document.activeElement.textContent") == name:
            return
    pytest.fail(f"no way to {name} by the tab key")


def assert_stages(lab):
    """All stages are what the package makes of the setting in the address."""
    key, beta, gate, shift, gamma, before = setting(lab)
    rows = torch.tensor([ROWS], dtype=torch.float64)
    stages = addressing.address(rows, before, key, beta, gate, shift, gamma)
    assert (told(lab, "Before") - before).abs().max() < 1e-5
    for name, weighting in zip(("Content", "Gated", "Shifted", "Sharpened"), stages, strict=True):
        assert (told(lab, name) - weighting).abs().max() < 1e-5, name


@pytest.mark.parametrize("seed", range(3))
def test_all_stages_follow_the_knobs_as_the_equations_say(shown, seed):
    [lab] = shown(AddressingLab())
    drawn = random.Random(seed)
    chosen = {f"key {i}": drawn.randrange(-20, 21) / 20 for i in range(3)}
    chosen |= {"strength \u03b2": drawn.randrange(1, 101) / 2, "gate g": drawn.randrange(101) / 100}
    chosen |= {"exponent \u03b3": drawn.randrange(10, 101) / 10}
    for name, value in chosen.items():
        knob(lab, name).fill(str(value))
    assert [float(value) for field in (0, 1, 2, 4) for value in setting(lab)[field].flatten()] == list(chosen.values())
    for name in ("location 5", "location 11", "forward", "stay", "location 0"):
        knob(lab, name).fill(str(drawn.randrange(101) / 100))
    assert_stages(lab)


def test_a_whole_stays_whole_and_the_others_keep_their_ratio(shown):
    [lab] = shown(AddressingLab(shift=(0.3, 0.1, 0.6)))
    knob(lab, "forward").fill("0.2")
    assert setting(lab)[3].flatten().tolist() == pytest.approx([0.6, 0.2, 0.2])
    knob(lab, "stay").fill("1")
    knob(lab, "stay").fill("0.5")  # nothing is known of the others: they share alike
    assert setting(lab)[3].flatten().tolist() == [0.25, 0.5, 0.25]
    assert [knob(lab, name).input_value() for name in ("back", "stay", "forward")] == ["0.25", "0.5", "0.25"]


def test_presets(shown):
    [lab] = shown(AddressingLab())
    lab.get_by_label("key like location").select_option("8")
    ends = {"By content": "8", "By shift": "4", "Content, then shift": "9"}
    for name, location in ends.items():
        button(lab, name).click()
        assert re.search(rf"the next step puts it at location {location} \((0\.9\d|1\.00) of", says(lab)), says(lab)
    assert_stages(lab)
    assert setting(lab)[0].flatten().tolist() == list(ROWS[8])
    lab.locator(".ntm-cells > div").nth(2).click()  # a column of the memory is a key, too
    assert setting(lab)[0].flatten().tolist() == list(ROWS[2])
    assert lab.get_by_label("key like location").input_value() == "2"


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_twenty_blurred_steps(shown, motion):
    [lab] = shown(AddressingLab(), reduced_motion=motion)
    button(lab, "Blur, 20 steps").click()
    assert ("After 20 steps" in says(lab)) == (motion == "reduce")
    lab.locator(".ntm-demo-says", has_text="After 20 steps").wait_for()
    w = torch.eye(len(ROWS), dtype=torch.float64)[None, :1]
    for _ in range(20):
        w = addressing.shift(w, torch.tensor([[[0.05, 0.05, 0.9]]], dtype=torch.float64))
    assert (told(lab, "Before") - w).abs().max() < 1e-5
    assert f"at no single location (at most {w.max():.2f}, at {w.argmax()})" in says(lab)


def test_the_address_restores_a_setting(shown):
    [lab] = shown(AddressingLab())
    knob(lab, "gate g").fill("0.25")
    for _ in range(3):
        button(lab, "Step").click()
    expected = setting(lab)
    address, end = "#" + lab.page.url.split("#")[1], re.sub("After 3 steps the", "The", says(lab))
    [again] = shown(AddressingLab(), address=address)
    assert says(again) == end and knob(again, "gate g").input_value() == "0.25"
    knob(again, "gate g").fill("0.5")
    assert all(torch.equal(a, b) for i, (a, b) in enumerate(zip(setting(again), expected, strict=True)) if i != 2)
    again.page.evaluate("address => { location.hash = address }", address.replace(",", "%2C"))
    again.page.wait_for_function("document.querySelector('.ntm-demo-says').textContent.startsWith('The head')")
    assert says(again) == end


@pytest.mark.parametrize("rest", ["", "nonsense", "1;2", "0,1,1;20;0.5;0,0,0;2;1,0,0,0,0,0,0,0,0,0,0,0", "%"])
def test_an_address_that_says_nothing_is_passed_over(shown, rest):
    [lab] = shown(AddressingLab(), address=f"#lab={rest}")
    [plain] = shown(AddressingLab())
    assert says(lab) == says(plain) and lab.page.url.endswith(f"#lab={rest}")


def test_the_quest_is_solved_by_keyboard(shown):
    [lab] = shown(AddressingLab())
    tab_to(lab, "Quest: from 3 to 7")
    lab.page.keyboard.press("Enter")
    assert "Quest: bring the focus from 3 to 7 in at most 4 steps" in says(lab) and "Taken: 0." in says(lab)
    button(lab, "By content").focus()
    for name, key in (("gate g", "Home"), ("forward", "End")):
        tab_to(lab, name)
        lab.page.keyboard.press(key)
    tab_to(lab, "Step")
    for taken in range(4):
        assert f"Taken: {taken}." in says(lab)
        lab.page.keyboard.press(" ")
    assert "Quest done in 4 steps: location 7 has 1.00 of the weight." in says(lab)


@pytest.mark.parametrize(
    "knobs, steps, end",
    [
        ({"gate g": "0"}, 1, "Quest lost: the focus has blurred to 0.80."),
        ({"gate g": "0", "stay": "1"}, 4, "Quest lost: 4 steps are over, location 7 has 0.00."),
        ({"gate g": "0", "forward": "0.8", "exponent \u03b3": "3"}, 4, "Quest done in 4 steps: location 7 has 0.9"),
        ({"gate g": "1", "stay": "1", "strength \u03b2": "40"}, 1, "Quest done in 1 step: location 7 has 1.00"),
    ],
)
def test_the_quest_knows_how_it_ends(shown, knobs, steps, end):
    [lab] = shown(AddressingLab())
    button(lab, "Quest: from 3 to 7").click()
    for name, value in knobs.items():
        knob(lab, name).fill(value)
    for _ in range(steps):
        assert "Quest: bring" in says(lab)
        button(lab, "Step").click()
    assert end in says(lab)
    knob(lab, "location 7").fill("0.5")  # who puts the head somewhere is no longer on a quest
    assert "Quest" not in says(lab)


def test_bars_are_dragged_and_one_stop_for_the_keyboard(shown):
    [lab] = shown(AddressingLab())
    box = knob(lab, "location 6").bounding_box()
    lab.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] - 1)
    lab.page.mouse.down()
    lab.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 4, steps=5)
    lab.page.mouse.up()
    assert setting(lab)[5][0, 0, [3, 6]].tolist() == pytest.approx([0.25, 0.75], abs=0.05)
    lab.page.keyboard.press("ArrowRight")
    lab.page.keyboard.press("ArrowRight")
    lab.page.keyboard.press("End")
    assert setting(lab)[5].flatten().tolist() == [float(n == 8) for n in range(12)]
    lab.page.keyboard.press("ArrowDown")
    assert knob(lab, "location 8").input_value() == "0.99"
    assert lab.locator(".ntm-bars [type=range][tabindex='0']").count() == 1


@pytest.mark.parametrize("seed", range(2))
def test_the_memory_is_written_and_read_as_the_equations_say(shown, seed):
    [toy] = shown(MemoryToy())
    drawn = random.Random(seed)
    for name in (f"{word} {i}" for word, count in (("row", 4), ("erase", 3)) for i in range(count)):
        knob(toy, name).fill(str(drawn.randrange(101) / 100))
    for i in range(3):
        knob(toy, f"add {i}").fill(str(drawn.randrange(-16, 17) / 2))
    if seed:
        button(toy, "Write once more").click()
    w, e, a, flat = setting(toy, "toy")
    stages = [flat.reshape(1, 4, 3)]
    stages += [memory.apply_erase(stages[0], w, e), memory.write(stages[0], w, e, a)]
    for name, cells in zip(("Memory", "Erased", "Added to"), stages, strict=True):
        assert (told(toy, name) - cells.flatten()).abs().max() < 1e-5
    for place in (0, 1):  # before the write and after it
        assert (told(toy, "Read", place) - memory.read(stages[2 * place], w)).abs().max() < 1e-5
    reads = [", ".join(f"{x:.2f}".replace("-", "\u2212") for x in memory.read(m, w).flatten()) for m in stages[::2]]
    assert f"it reads ({reads[0]}) before the write, and ({reads[1]}) after it" in says(toy)
    button(toy, "Start again").click()
    assert setting(toy, "toy")[3].tolist() == [[[1, 0, 0, 0, 2, 0, 0, 0, 3, 4, 4, 4]]]


VIEW = """([source, data]) => import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })))
  .then(({ default: { render } }) => {
    const follow = [], state = { data, setting: "", name: "lab" };
    globalThis.model = { state, get: (name) => state[name], save_changes() {}, on: (_, action) => follow.push(action),
      set(name, value) { state[name] = value; follow.forEach((action) => action()); } };
    render({ model, el: document.body });
  })"""


def test_in_jupyter_the_setting_is_a_trait_that_follows_and_leads(browser):
    lab = AddressingLab()
    assert {"application/vnd.jupyter.widget-view+json", "text/html", "text/plain"} <= set(lab._repr_mimebundle_())
    assert json.loads(lab.widget.data)["start"]["beta"] == [10]
    with browser.new_page() as page:
        page.evaluate(VIEW, [lab.widget._esm, lab.widget.data])
        one = page.locator(".ntm-demo")
        knob(one, "gate g").fill("0.75")
        page.wait_for_function("model.state.setting.split(';')[2] === '0.75'")
        page.evaluate("model.set('setting', model.state.setting.replace(';0.75;', ';0.25;'))")
        assert knob(one, "gate g").input_value() == "0.25" and page.url == "about:blank"


# All of them


DARK = "body { background: #14181e; color: #ced6dd; }"


@pytest.mark.parametrize("style", ["", DARK], ids=["light", "dark"])
@pytest.mark.parametrize("width, height", [(1280, 900), (360, 740)])
@pytest.mark.parametrize("build", [demo, LearnDemo, AddressingLab, MemoryToy])
def test_it_fits_a_window_and_everybody_can_use_it(shown, build, width, height, style):
    [one] = shown(build(), style=style + "body { margin: 12px }", viewport={"width": width, "height": height})
    assert one.page.evaluate("document.documentElement.scrollWidth") <= width
    seen = one.bounding_box()["height"]
    if build is AddressingLab and width == 360:  # presets may be out of sight, but no knob and what it changes
        first, last = (one.get_by_label(re.compile(name)).first.bounding_box() for name in ("^key$", "^Sharpened"))
        seen = last["y"] + last["height"] - first["y"]
    assert seen < height
    assert all(button.bounding_box()["height"] >= 44 for button in one.locator("button, select").all())
    found = Axe().run(one.page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]})
    assert found.violations_count == 0, found.generate_report()
    if build is demo:
        one.get_by_label("length of the list").fill("128")
    assert one.page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("build", [AddressingLab, MemoryToy])
def test_nothing_is_cut_at_any_width(shown, build):
    [lab] = shown(build())
    for width in (360, 440, 520, 560, 640, 660, 680, 720, 800, 920, 945, 1000):
        lab.page.set_viewport_size({"width": width, "height": 800})
        cut = lab.locator(".ntm-knobs label, .ntm-knobs, .ntm-demo-name").evaluate_all(
            "all => all.filter((one) => one.scrollWidth > one.clientWidth).map((one) => one.textContent)"
        )
        assert cut == [], width


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
        (lambda: AddressingLab([[1, 0]] * 7), "a memory of 7 rows: must be at least 8"),
        (lambda: AddressingLab(key=[1]), r"key is \[1.0\]: must be 3 finite numbers"),
        (lambda: AddressingLab(beta=torch.inf), r"beta is \[inf\]: must be 1 finite numbers"),
        (lambda: AddressingLab(shift=[1, 1, 0]), "shift is .*: must be at least 0 and sum to 1"),
        (lambda: MemoryToy([[1, 2], [3]]), r"row 1 of memory is \[3.0\]: must be 2 finite numbers"),
        (lambda: MemoryToy([]), "memory is empty"),
        (lambda: MemoryToy(weighting=[2, -1, 0, 0]), "weighting is .*: must be at least 0 and sum to 1"),
    ],
)
def test_what_does_not_fit_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
