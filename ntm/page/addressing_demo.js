// The addressing laboratory: a memory, a key, the knobs of equations 5 to 9, and all stages at once. Computed by the
// machine's own addressing.js. Needs the machine's bundle, parts.js and knobs.js before it.
(() => {
  const { element, row, button, sentence, look, watch } = ntm.parts;
  const { decimals, where, group, cells, board } = ntm.knobs;

  const BLUR = { steps: 20, pace: 120 }; // milliseconds for a step
  const QUEST = { from: 3, to: 7, steps: 4, sharp: 0.9 };
  const STAY = [0, 1, 0], FORWARD = [0, 0, 1];

  const STYLE = `${ntm.knobs.STYLE}
.ntm-stage { display: grid; grid-template-columns: minmax(17rem, 2fr) 3fr; gap: 0.15rem 1.5rem; align-items: end;
  margin-bottom: 0.5rem; }
.ntm-stage .ntm-demo-row { flex-wrap: nowrap; margin: 0 0 0.25rem; }
.ntm-stage .ntm-demo-row .ntm-demo-name { flex: 1; white-space: normal; }
.ntm-stage select:last-child { flex: none; padding: 0 0.3rem; font-size: 12px; }
.ntm-locations { display: grid; grid-template-columns: repeat(var(--columns), minmax(0, 1fr)); gap: 2px;
  font-size: 11px; text-align: center; }
.ntm-addressing .ntm-cells:not(.ntm-bars) { cursor: pointer; }
@container (max-width: 660px) {
  .ntm-stage { --ntm-bar: 1.75rem; grid-template-columns: minmax(0, 1fr); margin-bottom: 0.4rem; }
  .ntm-addressing p.ntm-demo-says { min-height: 8.4em; }
}`;

  const one = (count, at) => Array.from({ length: count }, (_, n) => (n === at ? 1 : 0));

  const counted = (steps) => `${steps} step${steps > 1 ? "s" : ""}`;

  // Equations 5 to 9, by the machine itself, for one head.
  function address(memory, { key, beta, gate, shift, gamma, before }) {
    const room = () => [new Float64Array(before.length)];
    const slot = { similarity: room(), content: room(), gated: room(), shifted: room(), weighting: room() };
    Object.assign(slot, { key: [key], beta, gate, shift: [shift], gamma });
    ntm.addressing.address(slot, { memory, weighting: [before] }, 0);
    return slot;
  }

  function mount(root, data, tell) {
    const memory = Float64Array.from(data.memory.flat()), count = data.memory.length, width = data.memory[0].length;
    const reach = Math.max(1, ...memory.map(Math.abs));
    const numbers = (length, word) => Array.from({ length }, (_, i) => `${word} ${i}`);
    const fields = {
      key: { names: numbers(width, "key"), range: [-reach, reach, 0.05] },
      beta: { names: ["strength \u03b2"], range: [0, 50, 0.5] },
      gate: { names: ["gate g"], range: [0, 1, 0.01] },
      shift: { names: ["back", "stay", "forward"], range: [0, 1, 0.01], whole: true },
      gamma: { names: ["exponent \u03b3"], range: [1, 10, 0.1] },
      before: { names: numbers(count, "location"), range: [0, 1, 0.01], whole: true },
    };
    let slot, steps = 0, quest = null, timer = 0;

    const strip = (name, about) =>
      cells(name, ` \u2013 ${about}`, count, count, (n) => `location ${n}`, { bars: true });
    const strips = {
      before: strip("Before", "drag the bars"),
      content: strip("Content", "like the key"),
      gated: strip("Gated", "content or before"),
      shifted: strip("Shifted", "moved along"),
      weighting: strip("Sharpened", "what comes out"),
    };
    const rows = cells("Memory", " \u2013 a column is a location", count, width * count,
      (at) => `location ${at % count}, number ${Math.floor(at / count)}`, { most: reach, digits: 1 });
    const { says, quiet } = sentence();
    const { setting, knobs, change, restore, begin } = board(root, "lab", data.start, fields, { redraw, edited, tell });

    // The key out of a row of the memory, by name or by a click on its column.
    const like = element("select", {});
    like.setAttribute("aria-label", "key like location");
    like.append(element("option", { value: "", textContent: "own key" }),
      ...data.memory.map((_, n) => element("option", { value: n, textContent: `like location ${n}` })));
    like.addEventListener("change", () => like.value && change({ key: [...data.memory[like.value]] }));
    rows.body.addEventListener("click", ({ target }) => {
      const at = Array.from(rows.body.children).findIndex((cell) => cell.contains(target));
      if (at >= 0) change({ key: [...data.memory[at % count]] });
    });

    const preset = (name, patch) => button(name, () => {
      edited("all");
      change(patch);
    });
    const step = button("Step", () => (pause(), goOn()), "ntm-demo-play");
    const numbered = element("div", { className: "ntm-locations" },
      ...Array.from({ length: count }, (_, n) => element("span", { textContent: n })));
    numbered.style.setProperty("--columns", count);
    numbered.setAttribute("aria-hidden", "true");
    const stage = (head, body) => element("div", { className: "ntm-stage" }, element("div", {}, ...head), body);
    const stages = element("div", {},
      stage([row(rows.heading, like), group("key", knobs.key)], element("div", {}, numbered, rows.body)),
      stage([strips.before.heading], strips.before.body),
      stage([strips.content.heading, group("content", knobs.beta)], strips.content.body),
      stage([strips.gated.heading, group("interpolation", knobs.gate)], strips.gated.body),
      stage([strips.shifted.heading, group("shift weights", knobs.shift)], strips.shifted.body),
      stage([strips.weighting.heading, group("sharpening", knobs.gamma)],
        element("div", {}, strips.weighting.body, numbered.cloneNode(true))));
    strips.before.drag(knobs.before);
    root.append(
      row(preset("By content", { beta: [40], gate: [1], shift: STAY, gamma: [1] }),
        preset("By shift", { gate: [0], shift: FORWARD, gamma: [1] }),
        preset("Content, then shift", { beta: [40], gate: [1], shift: FORWARD, gamma: [1] }),
        button(`Blur, ${BLUR.steps} steps`, blur)),
      stages,
      row(step, button(`Quest: from ${QUEST.from} to ${QUEST.to}`, begun), button("Start again", () => {
        edited("all");
        change(structuredClone(data.start));
      })),
      says);

    // What a reader changes ends what was going on; knobs do not end a quest, but putting the head somewhere does.
    function edited(field) {
      pause();
      if (field !== "all" && field !== "before") return;
      [steps, quest] = [0, null];
    }

    function pause() {
      clearInterval(timer);
      timer = 0;
      quiet(false);
    }

    function goOn() { // what came out is where the head was
      steps++;
      const before = Array.from(slot.weighting[0]);
      if (quest && !quest.over) judge(before);
      change({ before });
    }

    function judge(weighting) {
      const { to, steps: most, sharp } = QUEST, there = decimals(weighting[to]), largest = Math.max(...weighting);
      quest.taken++;
      if (weighting[to] >= sharp) {
        quest.over = `Quest done in ${counted(quest.taken)}: location ${to} has ${there} of the weight.`;
      } else if (largest < sharp) {
        quest.over = `Quest lost: the focus has blurred to ${decimals(largest)}. Press Quest to try again.`;
      } else if (quest.taken === most) {
        quest.over = `Quest lost: ${most} steps are over, location ${to} has ${there}. Press Quest to try again.`;
      }
    }

    function begun() {
      edited("all");
      quest = { taken: 0, over: "" };
      change({ gate: [0.5], shift: [0.1, 0.8, 0.1], gamma: [1], before: one(count, QUEST.from) });
    }

    function blur() {
      edited("all");
      change({ gate: [0], shift: [0.05, 0.05, 0.9], gamma: [1], before: one(count, 0) });
      if (matchMedia("(prefers-reduced-motion: reduce)").matches) {
        while (steps < BLUR.steps) goOn();
        return;
      }
      quiet(true);
      timer = setInterval(() => {
        if (steps === BLUR.steps - 1) pause(); // the last one is told
        goOn();
      }, BLUR.pace);
    }

    function redraw(now) {
      slot = address(memory, now);
      strips.before.show(now.before);
      for (const name of ["content", "gated", "shifted", "weighting"]) strips[name].show(slot[name][0]);
      const same = data.memory.findIndex((cells) => cells.every((value, m) => value === now.key[m]));
      like.value = same < 0 ? "" : same;
      const past = steps ? `After ${counted(steps)} the` : "The";
      says.textContent = `${past} head is ${where(now.before, "location")}. Searching would put it ` +
        `${where(slot.content[0], "location")}. With these knobs the next step puts it ` +
        `${where(slot.weighting[0], "location")}.${quest ? ` ${quest.over || asked()}` : ""}`;
    }

    function asked() {
      const { from, to, steps: most, sharp } = QUEST;
      return `Quest: bring the focus from ${from} to ${to} in at most ${most} steps, and at each keep ${sharp} of ` +
        `the weight or more on one location. Taken: ${quest.taken}.`;
    }

    rows.show(Array.from({ length: width * count }, (_, at) => memory[(at % count) * width + Math.floor(at / count)]));
    begin();
    look(root);
    watch(root, stages, () => look(root));
    return { restore };
  }

  ntm.parts.mountAll("addressing", STYLE, mount);
})();
