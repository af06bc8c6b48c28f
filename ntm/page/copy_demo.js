// The reader's own bits: a list to click together, and a trained machine that copies it. Needs the machine's bundle and
// parts.js before it.
(() => {
  const { element, row, button, slider, picture, panel, sentence } = ntm.parts;
  const { place, look: lookOf, pen, sheet, weightings, watch } = ntm.parts;

  // milliseconds: of all steps, at 40 to 250 each; of one step for who asked for less motion
  const PLAY = 5000, CALM_PACE = 600;
  const MATTERS = 0.02; // a location is drawn if a head puts more than this share of its weight there
  // CSS pixels: of a map, of a bit's row in the list and in the answer; smaller where the panels stand in one column
  const WIDE = { map: 120, list: 22, answer: 22 }, NARROW = { map: 76, list: 14, answer: 12 };

  const STYLE = `
.ntm-copy-grid { display: inline-block; vertical-align: top; cursor: pointer; touch-action: pan-y; user-select: none; }
.ntm-copy-grid > div { display: flex; }
.ntm-copy-grid > div > div { box-sizing: border-box;
  border: 1px solid color-mix(in srgb, currentColor 25%, transparent); }
.ntm-copy-grid [aria-selected=true] { background: currentColor; }
.ntm-copy-grid :focus-visible { position: relative; z-index: 1; border-radius: 0; }`;

  // The locations that matter, in order, from the first after the widest gap round the ring.
  function locationsThatMatter({ locations, weighting }) {
    const most = new Float64Array(locations);
    for (let at = 0; at < weighting.length; at++) most[at % locations] = Math.max(most[at % locations], weighting[at]);
    const matter = Array.from(most.keys()).filter((n) => most[n] > MATTERS);
    let first = 0, widest = 0;
    matter.forEach((n, i) => {
      const gap = (n - matter[(i + matter.length - 1) % matter.length] + locations) % locations || locations;
      if (gap > widest) [first, widest] = [n, gap];
    });
    return Array.from({ length: locations - widest + 1 }, (_, i) => (first + i) % locations);
  }

  // The bits to click: one stop for the tab key, arrows inside. Calls `turned(i, bit, value)` for a bit turned over.
  function bitGrid(turned) {
    const grid = element("div", { className: "ntm-copy-grid" });
    grid.setAttribute("role", "grid");
    grid.setAttribute("aria-label", "the list: a column for each vector, a row for each bit; space turns a bit over");
    let list = [], focus = [0, 0], painting = null; // focus: bit, vector
    const cellAt = (bit, i) => grid.children[bit]?.children[i];

    function draw(vectors, width, height) {
      const held = grid.contains(document.activeElement), bits = vectors[0].length;
      list = vectors;
      focus = [focus[0], Math.min(focus[1], list.length - 1)];
      const rows = Array.from({ length: bits }, (_, bit) => {
        const cells = list.map((vector, i) => {
          const cell = element("div", { tabIndex: bit === focus[0] && i === focus[1] ? 0 : -1 });
          cell.setAttribute("role", "gridcell");
          cell.setAttribute("aria-label", `vector ${i + 1}, bit ${bit + 1}`);
          cell.setAttribute("aria-selected", vector[bit] === 1);
          Object.assign(cell.style, { width: `${width}px`, height: `${height}px` });
          Object.assign(cell.dataset, { bit, i });
          if (width < 5) cell.style.borderWidth = "0";
          return cell;
        });
        const line = element("div", {}, ...cells);
        line.setAttribute("role", "row");
        return line;
      });
      grid.replaceChildren(...rows);
      if (held) cellAt(...focus).focus({ preventScroll: true });
    }

    function moveTo(bit, i) {
      const to = cellAt(bit, i);
      if (!to) return;
      cellAt(...focus).tabIndex = -1;
      to.tabIndex = 0;
      focus = [bit, i];
      to.focus({ preventScroll: true });
    }

    function put(cell, value) {
      const [bit, i] = [Number(cell.dataset.bit), Number(cell.dataset.i)];
      moveTo(bit, i);
      if (list[i][bit] !== value) turned(i, bit, value);
    }

    const under = (event) => {
      const cell = document.elementFromPoint(event.clientX, event.clientY)?.closest("[data-bit]");
      return grid.contains(cell) ? cell : null;
    };
    grid.addEventListener("pointerdown", (event) => {
      const cell = under(event);
      if (!cell) return;
      event.preventDefault(); // no text is selected
      painting = 1 - list[cell.dataset.i][cell.dataset.bit];
      put(cell, painting);
    });
    grid.addEventListener("pointermove", (event) => {
      const cell = event.buttons && painting !== null && under(event);
      if (cell) put(cell, painting);
    });
    window.addEventListener("pointerup", () => (painting = null));
    grid.addEventListener("keydown", (event) => {
      const [bit, i] = focus;
      const to = {
        ArrowUp: [bit - 1, i], ArrowDown: [bit + 1, i], ArrowLeft: [bit, i - 1], ArrowRight: [bit, i + 1],
        Home: [bit, 0], End: [bit, list.length - 1],
      }[event.key];
      if (to) moveTo(...to);
      else if (event.key === " " || event.key === "Enter") put(cellAt(bit, i), 1 - list[i][bit]);
      else return;
      event.preventDefault();
    });
    return { grid, draw };
  }

  function mount(root, data) {
    const machine = ntm.decode(data.machine), bits = machine.config.outputs;
    const heads = { write: machine.config.read_heads, read: 0 }; // the first of each kind
    let list = data.list, trace, step, timer = 0, look = null, locations = [], maps = {};

    const { grid, draw: drawGrid } = bitGrid((i, bit, value) => {
      list[i][bit] = value;
      changed();
    });
    const { says, quiet } = sentence();
    const length = slider("length", "length of the list", 1, data.longest, resize);
    const time = slider("step", "time step", 0, 1, (t) => (pause(), show(t)));
    const play = button("Play", () => (timer ? pause() : start()), "ntm-demo-play");
    const [back, on] = [["\u25c0", "one step back", -1], ["\u25b6", "one step on", 1]].map(([sign, name, by]) => {
      const made = button(sign, () => (pause(), show(Math.min(Math.max(step + by, 0), trace.steps - 1))));
      made.setAttribute("aria-label", name);
      return made;
    });
    const [answer, writes, reads] = [picture(), picture(), picture()];
    const panels = element("div", { className: "ntm-demo-panels" },
      panel("Your list", " \u2013 click its bits", grid), panel("What the machine says", "", answer),
      panel("Where it writes", " \u2013 location against time", writes),
      panel("Where it reads", " \u2013 location against time", reads));
    const random = button("Random list", () => {
      list = list.map((vector) => vector.map(() => (Math.random() < 0.5 ? 0 : 1)));
      changed();
    });
    root.append(row(play, back, on, time.label), row(random, length.label), says, panels);

    const slotOf = (i) => trace.slots[list.length + 3 + i]; // of the step in which vector i comes out
    const wrongAt = (i, bit) => slotOf(i).logits[bit] > 0 !== list[i][bit] > 0.5;
    const out = () => Math.max(step - list.length - 1, 0); // vectors that have come out
    const wrongSoFar = () =>
      list.slice(0, out()).reduce((sum, vector, i) => sum + vector.filter((_, bit) => wrongAt(i, bit)).length, 0);

    function resize(count) {
      list = Array.from({ length: count }, (_, i) => list[i] ?? list[i % list.length].slice());
      changed();
    }

    function changed() { // the machine runs through the whole list; the reader sees where that leads, then plays it
      pause();
      trace = machine.forward(ntm.tasks.copyOf(list).inputs);
      locations = locationsThatMatter(trace);
      length.input.value = list.length;
      length.input.setAttribute("aria-valuetext", `${list.length} vectors`);
      length.output.textContent = list.length;
      time.input.max = trace.steps - 1;
      layOut();
      show(trace.steps - 1);
    }

    function layOut() {
      const room = panels.firstChild.clientWidth;
      look = null;
      if (!room) return; // in a closed fold; drawn when it opens
      const size = panels.clientWidth < 1.5 * room ? NARROW : WIDE, fitting = Math.min(room / list.length, WIDE.list);
      const cell = fitting >= 4 ? Math.floor(fitting) : fitting;
      look = { ...lookOf(root), room, cell, answer: Math.min(cell, size.answer), map: size.map };
      drawGrid(list, cell, Math.min(cell, size.list));
      for (const [kind, head] of Object.entries(heads)) {
        const share = (t, y) => trace.slots[t + 1].weighting[head][locations[y]];
        maps[kind] = sheet(trace.steps, locations.length, look.colour, share);
      }
    }

    function drawMap(canvas, kind) {
      const weighting = trace.slots[step + 1].weighting[heads[kind]], at = place(weighting);
      weightings(canvas, maps[kind], look, {
        room: look.room, height: look.map, length: list.length, until: step,
        first: locations[0], last: locations[locations.length - 1],
      });
      canvas.setAttribute("aria-label",
        `where it ${kind}s at step ${step}: most at location ${at}, ${weighting[at].toFixed(2)} of its weight`);
    }

    function drawAnswer() {
      const { cell, answer: tall, colour, wrong } = look, drawing = pen(answer, cell * list.length, tall * bits);
      const [x, y] = [cell, tall].map((size) => (i) => Math.round(i * size)); // whole pixels, or seams would show
      [drawing.strokeStyle, drawing.fillStyle] = [colour, colour];
      for (let i = 0; i < list.length; i++) {
        for (let bit = 0; bit < bits; bit++) {
          drawing.globalAlpha = i < out() ? 0.25 : 0.1;
          if (cell >= 5) drawing.strokeRect(x(i) + 0.5, y(bit) + 0.5, cell - 1, tall - 1);
          drawing.globalAlpha = i < out() ? 1 / (1 + Math.exp(-slotOf(i).logits[bit])) : 0;
          drawing.fillRect(x(i), y(bit), x(i + 1) - x(i), y(bit + 1) - y(bit));
        }
      }
      [drawing.strokeStyle, drawing.lineWidth, drawing.globalAlpha] = [wrong, Math.max(cell / 8, 1.5), 1];
      for (let i = 0; i < out(); i++) {
        for (let bit = 0; bit < bits; bit++) {
          if (wrongAt(i, bit)) cross(drawing, x(i) + 1, y(bit) + 1, cell - 2, tall - 2);
        }
      }
      answer.setAttribute("aria-label",
        `what the machine says: ${out()} of ${list.length} vectors, ${wrongSoFar()} of ${out() * bits} bits wrong`);
    }

    function cross(drawing, x, y, wide, tall) {
      drawing.strokeRect(x, y, wide, tall);
      drawing.beginPath();
      drawing.moveTo(x, y);
      drawing.lineTo(x + wide, y + tall);
      drawing.moveTo(x, y + tall);
      drawing.lineTo(x + wide, y);
      drawing.stroke();
    }

    function words() {
      const count = list.length, slot = trace.slots[step + 1], wrong = wrongSoFar();
      if (step === 0) return "The start flag: a list begins.";
      if (step <= count) {
        return `Vector ${step} of ${count} comes in; the write head is at location ${place(slot.writing[0])}.`;
      }
      if (step === count + 1) {
        return "The end flag. From here on the machine is given nothing: what it says, it has in its memory.";
      }
      if (step < trace.steps - 1) {
        const bad = wrong ? `${wrong} of ${out() * bits} bits wrong so far, crossed out` : "no bit wrong so far";
        return `Vector ${out()} of ${count} comes out; the read head is at location ${place(slot.reading[0])}; ${bad}.`;
      }
      const written = new Set(trace.slots.slice(2, count + 3).map(({ writing }) => place(writing[0])));
      const retraced = list.filter((_, i) => written.has(place(slotOf(i).reading[0]))).length, total = count * bits;
      const end = wrong ? `${wrong} of ${total} bits are wrong, crossed out` : `all ${total} bits are right`;
      const seen = count > data.trained ? ` In training it saw lists of at most ${data.trained}.` : "";
      return `The list is out again, from memory: ${end}. For ${retraced} of ${count} vectors the read head went ` +
        `where the write head had been while the list came in.${seen}`;
    }

    function show(next) {
      step = next;
      time.input.value = step;
      time.input.setAttribute("aria-valuetext", `step ${step} of ${trace.steps - 1}`);
      time.output.textContent = `${step} / ${trace.steps - 1}`;
      says.textContent = words();
      if (!look) return;
      drawAnswer();
      drawMap(writes, "write");
      drawMap(reads, "read");
    }

    function pause() {
      clearInterval(timer);
      timer = 0;
      play.textContent = "Play";
      quiet(false);
    }

    function start() {
      if (step === trace.steps - 1) show(0);
      const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
      timer = setInterval(() => {
        show(step + 1);
        if (step === trace.steps - 1) pause();
      }, calm ? CALM_PACE : Math.min(Math.max(PLAY / trace.steps, 40), 250));
      play.textContent = "Pause";
      quiet(true);
    }

    changed();
    watch(root, panels, () => {
      layOut();
      show(step);
    });
  }

  ntm.parts.mountAll("copy", STYLE, mount);
})();
