"""Learning in the page: a small machine in a Web Worker, in a page that lies on a disk."""

import re

import pytest

# Learning in the page


@pytest.fixture
def worker(machine_page):
    """Call it with orders: what the worker says until it says something for which `until`, JavaScript, is true."""
    machine_page.evaluate(
        """() => {
          globalThis.said = [];
          globalThis.worker = ntm.learnInWorker(ntm.source, (m) => said.push({ ...m, at: performance.now() }));
        }"""
    )

    def order(orders, until):
        first = machine_page.evaluate("said.length")
        machine_page.evaluate("orders => orders.forEach((order) => worker.send(order))", orders)
        machine_page.wait_for_function(f"said.slice({first}).some((m) => {until})", timeout=60_000)
        return machine_page.evaluate(
            f"said.slice({first}).map(({{ weighting, ...rest }}) => ({{ ...rest, of: weighting?.length }}))"
        )

    yield order
    machine_page.evaluate("worker.close()")


def test_a_machine_learns_in_the_page_and_leaves_the_page_its_time(machine_page, worker):
    """Of three seeds at least one is learned within 8,000 sequences; ten take about a second each."""
    machine_page.evaluate(
        """() => {
          globalThis.long = [];
          new PerformanceObserver((list) => long.push(...list.getEntries().map((entry) => entry.duration)))
            .observe({ entryTypes: ["longtask"] });
        }"""
    )
    ends = []
    for seed in (1, 2, 3):
        said = worker([{"order": "start", "seed": seed}], "m.over || m.sequences > 8000")
        for message in said:
            assert (message["steps"], message["heads"], message["locations"]) == (18, 2, 20)
            assert message["of"] == 18 * 2 * 20 and message["rate"] > 0 and 0 <= message["wrong"] <= 32
        assert (len(said) - 2) * 100 <= said[-1]["at"] - said[0]["at"]  # at most ten in a second
        assert said[-1]["cost"] < said[0]["cost"] < 1.2 and said[0]["chance"] == 1
        ends.append(said[-1])
    assert any(message["solved"] for message in ends)
    assert sum(machine_page.evaluate("long")) < 100 * sum(message["seconds"] for message in ends)  # a tenth of the time


def test_with_sigmoid_on_the_weighting_it_does_not_learn(worker):
    said = worker([{"order": "start", "faults": ["sigmoid_on_the_weighting"]}], "m.sequences > 3000")
    assert not said[-1]["solved"] and said[-1]["wrong"] > 3


def test_a_worker_pauses_goes_on_begins_again_and_tests(machine_page, worker):
    never = {"order": "start", "faults": ["sigmoid_on_the_weighting"]}  # over only after 24,000 sequences
    begun = worker([never], "m.sequences > 1000")
    worker([{"order": "pause"}, {"order": "test", "length": 12, "lists": 5}], "m.kind === 'tested'")
    count = machine_page.evaluate("said.length")
    machine_page.wait_for_timeout(250)
    assert machine_page.evaluate("said.length") == count
    after = worker([{"order": "resume"}], "m.kind === 'progress'")
    assert after[0]["sequences"] > begun[-1]["sequences"]
    said = worker([{"order": "test", "length": 12, "locations": 40, "lists": 7}], "m.kind === 'tested'")
    [tested] = [message for message in said if message["kind"] == "tested"]
    assert tested["bits"] == 48 and len(tested["wrong"]) == 7 and all(0 <= wrong <= 48 for wrong in tested["wrong"])
    said = worker([{"order": "reset"}], f"m.sequences < {begun[-1]['sequences']}")
    assert said[-1]["seconds"] < after[0]["seconds"]


def test_a_seed_is_the_same_twice(machine_page):
    weights = """(seed) => {
      const learner = new ntm.Learner({ seed });
      for (let i = 0; i < 20; i++) learner.training.step();
      learner.close();
      return Array.from(learner.machine.parameters.all);
    }"""
    five = machine_page.evaluate(weights, 5)
    assert machine_page.evaluate(weights, 5) == five != machine_page.evaluate(weights, 6)


def test_a_fault_that_ends_learning_is_said(worker):
    [said] = worker([{"order": "start", "faults": ["kernel_in_tiles"]}], "m.kind === 'failed'")
    assert re.search(r"kernels of 3 side by side do not fit \d+ locations", said["message"])
