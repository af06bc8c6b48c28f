// Learning in the page: a small machine trained before the reader's eyes, in a Web Worker. Needs the machine's bundle
// and parts.js before it.
(() => {
  const { element, row, button, picture, panel, sentence, look: lookOf, pen, sheet, weightings, watch } = ntm.parts;
  const { GUTTER } = ntm.parts;

  const WIDE = 120, NARROW = 76; // CSS pixels: the height of a picture; smaller where the panels stand in one column
  const LENGTHS = [4, 8, 12, 16, 20], ROOM = 40; // the test: lengths of its lists, locations of the memory
  const LONGEST = ntm.SMALL.lengths[1];

  const number = (value) => value.toLocaleString("en");
  const percent = (share) => `${(100 * share).toFixed(share && share < 0.1 ? 1 : 0)} %`;

  function select(name, options, chosen) {
    const made = element("select", {});
    made.append(...options.map(([value, text]) => element("option", { value, textContent: text })));
    made.setAttribute("aria-label", name);
    made.value = chosen;
    return made;
  }

  function mount(root, data) {
    let worker = null, state = "new", curve = [], latest = null, tested = {}; // state: new, running, paused or over

    const { says, quiet } = sentence();
    const run = button("Learn", () => (state === "running" ? pause() : learn()), "ntm-demo-play");
    const again = button("Start again", forget);
    const test = button("Test on longer lists", () =>
      LENGTHS.forEach((length) => worker.send({ order: "test", length, locations: ROOM, lists: 50, seed: length })));
    const seed = element("input", { type: "number", min: 0, max: 999999, step: 1, value: data.seed });
    const controller = select("controller", [["feedforward", "feedforward"], ["lstm", "LSTM"]], data.controller);
    const fault = select("fault", [["", "no fault"], ...data.faults], data.fault);
    for (const control of [seed, controller, fault]) control.addEventListener("change", forget);

    const [cost, longer, writes, reads] = [picture(), picture(), picture(), picture()];
    const panels = element("div", { className: "ntm-demo-panels" },
      panel("Cost", " \u2013 bits per output bit; dashed: guessing", cost),
      panel("Longer lists", " \u2013 wrong bits, by length", longer),
      panel("Where it writes", " \u2013 location against time", writes),
      panel("Where it reads", " \u2013 location against time", reads));
    const seeded = element("label", {}, element("span", { textContent: "seed" }), seed);
    root.append(row(run, again, test), row(seeded, controller, fault), says, panels);

    // The worker

    function learn() {
      if (state === "new") {
        worker = ntm.learnInWorker(ntm.source, receive);
        const faults = fault.value ? [fault.value] : [];
        worker.send({ order: "start", seed: Number(seed.value), controller: controller.value, faults });
      } else {
        tested = {};
        worker.send({ order: "resume" });
      }
      become("running");
    }

    function pause() {
      worker.send({ order: "pause" });
      become("paused");
    }

    function forget() {
      worker?.close();
      [worker, curve, latest, tested] = [null, [], null, {}];
      become("new");
      draw();
    }

    function receive(message) {
      if (message.kind === "progress") {
        latest = message;
        curve.push([message.sequences, message.cost, message.wrong]);
        if (message.over) become("over");
      } else if (message.kind === "tested") {
        tested[message.length] = message.wrong.reduce((a, b) => a + b) / message.wrong.length / message.bits;
      } else {
        become("over", message.message);
        return;
      }
      words();
      draw();
    }

    function become(next, trouble) {
      state = next;
      run.textContent = { new: "Learn", running: "Pause", paused: "Go on", over: "Done" }[state];
      run.disabled = state === "over";
      test.disabled = !latest || state === "running";
      quiet(state === "running");
      words(trouble);
    }

    function words(trouble) {
      const chance = (ntm.SMALL.bits * (1 + LONGEST)) / 4; // half the bits of a list of middling length
      const tests = LENGTHS.filter((length) => length in tested);
      if (trouble) says.textContent = `It cannot learn: ${trouble}.`;
      else if (!latest) {
        says.textContent = "A machine with random weights, to copy lists of 1 to " +
          `${LONGEST} vectors of ${ntm.SMALL.bits} bits. Press Learn and watch its heads find the tape.`;
      } else if (tests.length) {
        says.textContent = `Wrong bits in lists of ${tests.join(", ")} vectors, in a memory of ${ROOM} locations: ` +
          `${tests.map((length) => percent(tested[length])).join(", ")}. It learned on lists of at most ${LONGEST}.`;
      } else if (latest.solved) {
        says.textContent = `Learned from ${number(latest.sequences)} lists, in ${latest.seconds.toFixed(1)} seconds: ` +
          `no mistake in ${ntm.FRESH} lists that it had not seen. Now test it on longer ones.`;
      } else {
        const end = state === "over" ? "Not learned. " : "";
        says.textContent = `${end}${number(latest.sequences)} lists in ${latest.seconds.toFixed(1)} seconds, ` +
          `${number(Math.round(latest.rate))} a second. Cost ${latest.cost.toFixed(3)} bits per output bit, ` +
          `guessing ${latest.chance.toFixed(2)}; ${latest.wrong.toFixed(1)} wrong bits in a list, guessing ${chance}.`;
      }
    }

    // The pictures

    function draw() {
      const room = panels.firstChild.clientWidth;
      if (!room) return; // in a closed fold; drawn when it opens
      const look = lookOf(root), height = panels.clientWidth < 1.5 * room ? NARROW : WIDE;
      drawCurve(look, room, height);
      drawLonger(look, room, height);
      const { heads = 2, locations = ntm.SMALL.config.locations, weighting } = latest ?? {}, steps = 2 * LONGEST + 2;
      for (const [canvas, kind, head] of [[writes, "writes", 1], [reads, "reads", 0]]) {
        const share = (t, n) => (weighting ? weighting[(t * heads + head) * locations + n] : 0);
        const map = sheet(steps, locations, look.colour, share);
        const ends = { first: 0, last: locations - 1 };
        weightings(canvas, map, look, { room, height, length: LONGEST, until: steps - 1, ...ends });
        canvas.setAttribute("aria-label", `where it ${kind} in one list of ${LONGEST} vectors, always the same`);
      }
    }

    // A frame with 0 at its foot and `top` at its head; gives what is drawn in it places.
    function frame(canvas, { colour, font }, room, height, top, words) {
      const drawing = pen(canvas, room, height + 16), width = room - GUTTER;
      [drawing.strokeStyle, drawing.fillStyle, drawing.font] = [colour, colour, `11px ${font}`];
      drawing.globalAlpha = 0.5;
      drawing.strokeRect(GUTTER + 0.5, 0.5, width - 1, height - 1);
      drawing.globalAlpha = 1;
      drawing.textAlign = "right";
      drawing.fillText(top, GUTTER - 5, 9);
      drawing.fillText("0", GUTTER - 5, height - 1);
      words.forEach(([text, x]) => {
        drawing.textAlign = x === 0 ? "left" : x === 1 ? "right" : "center";
        drawing.fillText(text, GUTTER + x * width, height + 12);
      });
      return { drawing, x: (part) => GUTTER + part * width, y: (part) => height * (1 - Math.min(part, 1)) };
    }

    function drawCurve(look, room, height) {
      const last = Math.max(curve.at(-1)?.[0] ?? 0, 2000), top = 1.25;
      const { drawing, x, y } = frame(cost, look, room, height, top, [["0", 0], [`${number(last)} lists`, 1]]);
      drawing.globalAlpha = 0.5;
      drawing.setLineDash([3, 3]);
      drawing.beginPath();
      drawing.moveTo(x(0), y((latest?.chance ?? 1) / top));
      drawing.lineTo(x(1), y((latest?.chance ?? 1) / top));
      drawing.stroke();
      drawing.setLineDash([]);
      [drawing.globalAlpha, drawing.strokeStyle, drawing.lineWidth] = [1, look.accent, 2];
      drawing.beginPath();
      curve.forEach(([sequences, bits]) => drawing.lineTo(x(sequences / last), y(bits / top)));
      drawing.stroke();
      cost.setAttribute("aria-label", latest
        ? `the cost fell from ${curve[0][1].toFixed(2)} to ${latest.cost.toFixed(2)} bits per output bit`
        : "the cost while it learns: nothing yet");
    }

    function drawLonger(look, room, height) {
      const names = LENGTHS.map((length, i) => [String(length), (i + 0.5) / LENGTHS.length]);
      const { drawing, x, y } = frame(longer, look, room, height, "50 %", names);
      const wide = (room - GUTTER) / LENGTHS.length;
      LENGTHS.forEach((length, i) => {
        if (!(length in tested)) return;
        const part = tested[length] * 2, left = x(i / LENGTHS.length) + wide / 4;
        drawing.fillStyle = look.wrong;
        drawing.fillRect(left, y(part) - 1, wide / 2, height - y(part));
        drawing.fillStyle = look.colour;
        drawing.textAlign = "center";
        drawing.fillText(percent(tested[length]), left + wide / 4, Math.max(y(part) - 5, 12));
      });
      longer.setAttribute("aria-label", Object.keys(tested).length
        ? `wrong bits by length: ${Object.entries(tested).map(([n, share]) => `${n}: ${percent(share)}`).join(", ")}`
        : "wrong bits in longer lists: not tested yet");
    }

    become("new");
    draw();
    watch(root, panels, draw);
  }

  ntm.parts.mountAll("learn", "", mount);
})();
