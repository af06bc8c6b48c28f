"""The sources of the machine in JavaScript: names, order, the bundle made of them, and weights as they travel."""

import base64
import inspect
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from ntm import NTM, NTMConfig, addressing, heads, memory, runs, tasks
from ntm.page import machine

FOLDER = Path(machine.__file__).parent
SHAPES = [dict(controller=kind, layers=2, hidden=30, width=9, read_heads=3) for kind in ("feedforward", "lstm")]


def build(seed, **config):
    torch.manual_seed(seed)
    return NTM(NTMConfig(**config))


# Names, order and weights


def camel(name):
    return re.sub(r"_(\w)", lambda found: found[1].upper(), name)


@pytest.mark.parametrize("module", [addressing, memory, heads])
def test_each_function_has_a_twin_of_its_name_in_its_order(module):
    here = [name for name, of in inspect.getmembers(module, inspect.isfunction) if of.__module__ == module.__name__]
    here = sorted(here, key=lambda name: getattr(module, name).__code__.co_firstlineno)
    text = (FOLDER / f"{module.__name__.split('.')[1]}.js").read_text(encoding="utf-8")
    places = [re.search(rf"^  {camel(name)}[(:]", text, re.MULTILINE) for name in here]
    assert all(places), [name for name, place in zip(here, places, strict=True) if not place]
    assert sorted(places, key=lambda place: place.start()) == places


def test_the_weights_have_torchs_names_shapes_and_order(machine_page):
    for config in SHAPES:
        model = build(0, **config)
        shapes = machine_page.evaluate("encoded => ntm.decode(encoded).parameters.shapes", machine.encode(model))
        assert [row[0] for row in shapes] == list(model.state_dict())
        assert [row[1] * row[2] for row in shapes] == [weight.numel() for weight in model.state_dict().values()]


def test_half_precision_is_read_as_numpy_reads_it(machine_page):
    bits = np.arange(0x10000, dtype=np.uint16).view("<f2")
    bits = bits[np.isfinite(bits)]
    texts = [base64.b64encode(part.tobytes()).decode() for part in np.array_split(bits, 50)]
    shown = machine_page.evaluate(
        """texts => texts.flatMap((text) => {
          const all = new Float64Array(atob(text).length / 2), one = { all };
          ntm.Parameters.prototype.decode.call(one, text, "half");
          return Array.from(all);
        })""",
        texts,
    )
    assert np.array_equal(np.array(shown), bits.astype(np.float64))


def test_half_precision_changes_no_bit_of_a_machine_that_copies():
    """The saved machine that makes no mistake makes none, and its logits, up to 14, move by less than 0.05."""
    model, half = (runs.load(Path(__file__).parents[1] / "data/runs/copy-ntm-ff-2") for _ in range(2))
    packed_weights = np.frombuffer(base64.b64decode(machine.encode(half)["weights"]), "<f2").astype(np.float32)
    torch.nn.utils.vector_to_parameters(torch.from_numpy(packed_weights), half.parameters())
    generator = torch.Generator().manual_seed(8)
    for length, lists in ((20, 50), (120, 10)):
        batch = tasks.copy(lists, length, generator)
        with torch.no_grad():
            right, shown = (one(batch.inputs)[0][length + 2 :] for one in (model, half))
        assert bool(((right > 0) == (shown > 0)).all())
        assert float((right - shown).abs().max()) < 0.05


def test_weights_that_cannot_be_packed_are_refused():
    model = build(0)
    with torch.no_grad():
        model.output.bias[0] = 1e5
    with pytest.raises(ValueError, match="the largest weight is 1e\\+05, half precision ends at 65504: use 'single'"):
        machine.encode(model)
    machine.encode(model, "single")
    with torch.no_grad():
        model.output.bias[0] = torch.nan
    with pytest.raises(ValueError, match="a weight is NaN or infinite"):
        machine.encode(model, "single")


def test_a_memory_that_a_page_has_not():
    with pytest.raises(ValueError, match="memory_seed=3: in a page all locations of a memory start alike"):
        machine.encode(build(0, memory_seed=3))


# The bundle


def test_the_modules_are_modules(browser):
    """As a reader of the sources may import them from a server: the same names as in the bundle."""
    tab = browser.new_page()
    tab.route("http://machine/*", lambda route: route.fulfill(**answer(route.request.url)))
    tab.goto("http://machine/")
    imported = tab.evaluate(
        """async (modules) => {
          const all = await Promise.all(modules.map((module) => import(`http://machine/${module}.js`)));
          return all.flatMap((module) => Object.keys(module)).sort();
        }""",
        machine.MODULES,
    )
    tab.add_script_tag(content=machine.bundle())
    assert imported == tab.evaluate("Object.keys(ntm).filter((name) => name !== 'source').sort()")
    assert sorted(path.stem for path in FOLDER.glob("*.js")) == sorted(machine.MODULES)
    tab.close()


def answer(url):
    name = url.rsplit("/", 1)[1]
    if not name:
        return {"body": "<!doctype html><title>modules</title>", "content_type": "text/html"}
    return {"body": (FOLDER / name).read_text(encoding="utf-8"), "content_type": "text/javascript"}


def test_no_two_modules_define_the_same_name():
    text = "".join((FOLDER / f"{module}.js").read_text(encoding="utf-8") for module in machine.MODULES)
    names = re.findall(r"^(?:export )?(?:const|function|class) (\w+)", text, re.MULTILINE)
    assert len(names) == len(set(names)) > 40
    assert "</script" not in text and "://" not in text
