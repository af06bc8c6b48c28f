// The reader's own bits: a list to click together, and a trained machine that copies it. One text for every such demo
// of a page; it needs `globalThis.ntm` (ntm/page/machine). What a demo starts from lies in its JSON script element.
(() => {
  // milliseconds: of all steps, at 40 to 250 each; of one step for who asked for less motion
  const PLAY = 5000, CALM_PACE = 600;
  const MATTERS = 0.02; // a location is drawn if a head puts more than this share of its weight there
  // CSS pixels: of a map, of a bit's row in the list and in the answer; smaller where the panels stand in one column
  const WIDE = { map: 120, list: 22, answer: 22 }, NARROW = { map: 76, list: 14, answer: 12 };

  const STYLE = `
.ntm-copy { --ntm-accent: var(--pst-color-primary, var(--jp-brand-color1, #2a7f9e)); --ntm-wrong: #c62f2f;
  container-type: inline-size; max-width: 60rem; margin: 0.5rem 0;
  color: var(--pst-color-text-base, var(--jp-content-font-color1, currentColor));
  font: 14px/1.4 var(--pst-font-family-base, var(--jp-ui-font-family, system-ui, sans-serif)); }
.ntm-copy.ntm-dark { --ntm-wrong: #ff8a80; }
.ntm-copy p { margin: 0 0 0.5rem; }
.ntm-copy-row { display: flex; flex-wrap: wrap; align-items: center; gap: 0.5rem; margin-bottom: 0.5rem; }
.ntm-copy-row label { display: flex; flex: 1 1 7rem; align-items: center; gap: 0.5rem; min-width: 0; margin: 0; }
.ntm-copy-row input { flex: 1; min-width: 3rem; height: 2.75rem; margin: 0; accent-color: var(--ntm-accent); }
.ntm-copy-row output { min-width: 3.6em; text-align: right; font-variant-numeric: tabular-nums; }
.ntm-copy button { min-width: 2.75rem; height: 2.75rem; padding: 0 0.6rem; font: inherit; color: inherit; cursor: pointer;
  border: 1px solid currentColor; border-radius: 6px; background: none; }
.ntm-copy button.ntm-copy-play { min-width: 4rem; font-weight: 600; }
.ntm-copy :focus-visible { outline: 3px solid var(--ntm-accent); outline-offset: 2px; border-radius: 4px; }
.ntm-copy-panels { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 0.6rem 1.5rem; }
@container (max-width: 520px) { .ntm-copy-panels { grid-template-columns: minmax(0, 1fr); } }
.ntm-copy-panels > div { min-width: 0; }
.ntm-copy-name { font-size: 13px; font-weight: 600; margin-bottom: 0.2rem; }
.ntm-copy-name span { font-weight: 400; }
.ntm-copy canvas { display: block; }
.ntm-copy-grid { display: inline-block; vertical-align: top; cursor: pointer; touch-action: pan-y; user-select: none; }
.ntm-copy-grid > div { display: flex; }
.ntm-copy-grid > div > div { box-sizing: border-box;
  border: 1px solid color-mix(in srgb, currentColor 25%, transparent); }
.ntm-copy-grid [aria-selected=true] { background: currentColor; }
.ntm-copy-grid :focus-visible { position: relative; z-index: 1; border-radius: 0; }
.ntm-copy-says { min-height: 2.8em; font-variant-numeric: tabular-nums; }
html[data-theme] .bd-content div.cell_output .text_html:has(> .ntm-copy):not(#_) { all: unset; display: block; }
@media (max-width: 600px) { .ntm-copy-says { min-height: 4.2em; } }`;

  const element = (tag, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  };

  function dress() { // the style, once for a page
    if (document.getElementById("ntm-copy-style")) return;
    document.head.append(element("style", { id: "ntm-copy-style", textContent: STYLE }));
  }

  // The locations that matter, in order, from the first after the widest gap round the ring.
  function locationsThatMatter(trace, heads) {
    const { locations, weighting } = trace, most = new Float64Array(locations);
    for (let at = 0; at < weighting.length; at++) most[at % locations] = Math.max(most[at % locations], weighting[at]);
    const matter = Array.from(most.keys()).filter((n) => most[n] > MATTERS);
    let first = 0, widest = 0;
    matter.forEach((n, i) => {
      const gap = (n - matter[(i + matter.length - 1) % matter.length] + locations) % locations || locations;
      if (gap > widest) [first, widest] = [n, gap];
    });
    return Array.from({ length: locations - widest + 1 }, (_, i) => (first + i) % locations);
  }

  function mount(root) {
    root.dataset.ready = "yes";
    dress();
    const data = JSON.parse(root.querySelector("script").textContent), machine = ntm.decode(data.machine);
    const bits = machine.config.outputs, reads = machine.config.read_heads;
    let list = data.list, sequence, trace, step, timer = 0, focus = [0, 0], rows = [];

    const place = (weighting) => weighting.indexOf(Math.max(...weighting)); // the location with the most weight
    const slotOf = (i) => trace.slots[list.length + 3 + i]; // of the step in which vector i comes out

    const button = (name, action, className = "") => {
      const made = element("button", { type: "button", textContent: name, className });
      made.addEventListener("click", action);
      return made;
    };
    const slider = (shown, name, least, most, action) => {
      const input = element("input", { type: "range", min: least, max: most, step: 1 }), output = element("output");
      input.setAttribute("aria-label", name);
      input.addEventListener("input", () => action(Number(input.value)));
      output.setAttribute("aria-hidden", "true");
      return { input, output, label: element("label", {}, element("span", { textContent: shown }), input, output) };
    };
    const length = slider("length", "length of the list", 1, data.longest, resize);
    const time = slider("step", "time step", 0, 1, (t) => (pause(), show(t)));
    const play = button("Play", () => (timer ? pause() : start()), "ntm-copy-play");
    const [back, on] = [["\u25c0", "one step back", -1], ["\u25b6", "one step on", 1]].map(([sign, name, by]) => {
      const made = button(sign, () => (pause(), show(Math.min(Math.max(step + by, 0), trace.steps - 1))));
      made.setAttribute("aria-label", name);
      return made;
    });
    const grid = element("div", { className: "ntm-copy-grid" });
    grid.setAttribute("role", "grid");
    grid.setAttribute("aria-label", "the list: a column for each vector, a row for each bit; space turns a bit over");
    const canvases = ["output", "write", "read"].map(() => element("canvas"));
    canvases.forEach((canvas) => canvas.setAttribute("role", "img"));
    const [answer, writeMap, readMap] = canvases;
    const panel = (name, more, shown) => {
      const note = element("span", { textContent: more });
      return element("div", {}, element("div", { className: "ntm-copy-name" }, name, note), shown);
    };
    const says = element("p", { className: "ntm-copy-says" });
    says.setAttribute("aria-live", "polite");
    const panels = element("div", { className: "ntm-copy-panels" },
      panel("Your list", " \u2013 click its bits", grid), panel("What the machine says", "", answer),
      panel("Where it writes", " \u2013 location against time", writeMap),
      panel("Where it reads", " \u2013 location against time", readMap));
    root.append(
      element("div", { className: "ntm-copy-row" }, play, back, on, time.label),
      element("div", { className: "ntm-copy-row" }, button("Random list", shuffle), length.label),
      says, panels);

    // The list

    function resize(count) {
      list = Array.from({ length: count }, (_, i) => list[i] ?? list[i % list.length].slice());
      changed();
    }

    function shuffle() {
      list = list.map((vector) => vector.map(() => (Math.random() < 0.5 ? 0 : 1)));
      changed();
    }

    function changed() { // the machine runs through the whole list; the reader sees where that leads, then plays it
      pause();
      sequence = ntm.tasks.copyOf(list);
      trace = machine.forward(sequence.inputs);
      rows = locationsThatMatter(trace);
      length.input.value = list.length;
      length.input.setAttribute("aria-valuetext", `${list.length} vectors`);
      length.output.textContent = list.length;
      time.input.max = trace.steps - 1;
      layOut();
      show(trace.steps - 1);
    }

    // The grid of bits: one stop for the tab key, arrows inside.

    const cellAt = (bit, i) => grid.children[bit]?.children[i];

    function drawGrid(width, height) {
      focus = [Math.min(focus[0], bits - 1), Math.min(focus[1], list.length - 1)];
      grid.replaceChildren(...Array.from({ length: bits }, (_, bit) => {
        const row = element("div", {}, ...list.map((vector, i) => {
          const cell = element("div", { tabIndex: bit === focus[0] && i === focus[1] ? 0 : -1 });
          cell.setAttribute("role", "gridcell");
          cell.setAttribute("aria-label", `vector ${i + 1}, bit ${bit + 1}`);
          cell.setAttribute("aria-selected", vector[bit] === 1);
          Object.assign(cell.style, { width: `${width}px`, height: `${height}px` });
          Object.assign(cell.dataset, { bit, i });
          if (width < 5) cell.style.borderWidth = "0";
          return cell;
        }));
        row.setAttribute("role", "row");
        return row;
      }));
    }

    function put(cell, value) {
      const { bit, i } = cell.dataset;
      if (list[i][bit] === value) return;
      list[i][bit] = value;
      moveTo(Number(bit), Number(i), false);
      const held = document.activeElement === cell;
      changed();
      if (held) cellAt(bit, i).focus();
    }

    function moveTo(bit, i, focused = true) {
      const to = cellAt(bit, i);
      if (!to) return;
      cellAt(...focus).tabIndex = -1;
      to.tabIndex = 0;
      focus = [bit, i];
      if (focused) to.focus();
    }

    let painting = null;
    const under = (event) => document.elementFromPoint(event.clientX, event.clientY)?.closest("[data-bit]");
    grid.addEventListener("pointerdown", (event) => {
      const cell = under(event);
      if (!cell || !grid.contains(cell)) return;
      event.preventDefault(); // no text selection, and the focus is given below
      painting = 1 - list[cell.dataset.i][cell.dataset.bit];
      put(cell, painting);
      cellAt(...focus).focus({ preventScroll: true });
    });
    grid.addEventListener("pointermove", (event) => {
      const cell = under(event);
      if (event.buttons && painting !== null && cell && grid.contains(cell)) put(cell, painting);
    });
    window.addEventListener("pointerup", () => (painting = null));
    grid.addEventListener("keydown", (event) => {
      const [bit, i] = focus, last = list.length - 1;
      const to = {
        ArrowUp: [bit - 1, i], ArrowDown: [bit + 1, i], ArrowLeft: [bit, i - 1], ArrowRight: [bit, i + 1],
        Home: [bit, 0], End: [bit, last],
      }[event.key];
      if (to) moveTo(...to);
      else if (event.key === " " || event.key === "Enter") put(cellAt(bit, i), 1 - list[i][bit]);
      else return;
      event.preventDefault();
    });

    // The pictures

    let look = {}, maps = [];

    function layOut() {
      const room = panels.children[0].clientWidth;
      if (!room) return; // in a closed fold; drawn when it opens
      const style = getComputedStyle(root), [red, green, blue] = style.color.match(/[\d.]+/g).map(Number);
      root.classList.toggle("ntm-dark", red + green + blue > 3 * 128);
      const size = panels.clientWidth < 1.5 * room ? NARROW : WIDE, fitting = Math.min(room / list.length, WIDE.list);
      const cell = fitting >= 4 ? Math.floor(fitting) : fitting;
      const heights = { list: Math.min(cell, size.list), answer: Math.min(cell, size.answer), map: size.map };
      look = { room, cell, heights, colour: style.color, font: style.fontFamily,
        accent: style.getPropertyValue("--ntm-accent"), wrong: style.getPropertyValue("--ntm-wrong") };
      drawGrid(cell, heights.list);
      maps = [reads, 0].map(mapOf);
    }

    function pen(canvas, width, height) {
      const ratio = window.devicePixelRatio || 1, drawing = canvas.getContext("2d");
      [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
      Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
      drawing.scale(ratio, ratio);
      drawing.imageSmoothingEnabled = false;
      return drawing;
    }

    // One head's weighting, a pixel for each location and step; drawn large by `drawMap`.
    function mapOf(head) {
      const canvas = element("canvas", { width: trace.steps, height: rows.length }), drawing = canvas.getContext("2d");
      drawing.fillStyle = look.colour;
      for (let t = 0; t < trace.steps; t++) {
        rows.forEach((n, y) => {
          drawing.globalAlpha = Math.min(trace.slots[t + 1].weighting[head][n], 1);
          drawing.fillRect(t, y, 1, 1);
        });
      }
      return canvas;
    }

    function drawMap(canvas, map, head, name) {
      const gutter = 30, below = 16, width = look.room - gutter, tall = look.heights.map;
      const drawing = pen(canvas, look.room, tall + below);
      const wide = width / trace.steps, shown = (step + 1) * wide;
      drawing.save();
      drawing.beginPath();
      drawing.rect(gutter, 0, shown, tall);
      drawing.clip();
      drawing.drawImage(map, gutter, 0, width, tall);
      drawing.restore();
      [drawing.strokeStyle, drawing.fillStyle, drawing.font] = [look.colour, look.colour, `11px ${look.font}`];
      drawing.globalAlpha = 0.5;
      drawing.strokeRect(gutter + 0.5, 0.5, width - 1, tall - 1);
      const end = gutter + (list.length + 1.5) * wide; // the end flag
      drawing.setLineDash([3, 3]);
      drawing.beginPath();
      drawing.moveTo(end, 0);
      drawing.lineTo(end, tall);
      drawing.stroke();
      drawing.setLineDash([]);
      drawing.globalAlpha = 1;
      drawing.textAlign = "right";
      drawing.fillText(rows[0], gutter - 5, 9);
      drawing.fillText(rows[rows.length - 1], gutter - 5, tall - 1);
      drawing.textAlign = "center";
      drawing.fillText("list comes in", gutter + (width * (list.length + 1)) / trace.steps / 2, tall + 12);
      drawing.fillText("list comes out", gutter + width - (width * list.length) / trace.steps / 2, tall + 12);
      [drawing.strokeStyle, drawing.lineWidth] = [look.accent, 2];
      drawing.strokeRect(gutter + step * wide, 1, Math.max(wide, 2), tall - 2);
      const weighting = trace.slots[step + 1].weighting[head], at = place(weighting);
      canvas.setAttribute("aria-label",
        `${name} at step ${step}: most at location ${at}, ${weighting[at].toFixed(2)} of its weight`);
    }

    const wrongAt = (i, bit) => slotOf(i).logits[bit] > 0 !== list[i][bit] > 0.5;
    const out = () => Math.max(step - list.length - 1, 0); // vectors that have come out

    function wrongSoFar() {
      let wrong = 0;
      for (let i = 0; i < out(); i++) for (let bit = 0; bit < bits; bit++) wrong += wrongAt(i, bit) ? 1 : 0;
      return wrong;
    }

    function drawAnswer() {
      const { cell, heights: { answer: tall }, colour, wrong } = look;
      const drawing = pen(answer, cell * list.length, tall * bits);
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

    // In words

    function sentence() {
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
      const retraced = list.filter((_, i) => written.has(place(slotOf(i).reading[0]))).length;
      const total = count * bits;
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
      says.textContent = sentence();
      if (!look.room) return;
      drawAnswer();
      drawMap(writeMap, maps[0], reads, "where it writes");
      drawMap(readMap, maps[1], 0, "where it reads");
    }

    function pause() {
      clearInterval(timer);
      timer = 0;
      play.textContent = "Play";
      says.setAttribute("aria-live", "polite");
    }

    function start() {
      if (step === trace.steps - 1) show(0);
      const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
      timer = setInterval(() => {
        show(step + 1);
        if (step === trace.steps - 1) pause();
      }, calm ? CALM_PACE : Math.min(Math.max(PLAY / trace.steps, 40), 250));
      play.textContent = "Pause";
      says.setAttribute("aria-live", "off"); // several sentences a second are of no use to a listener
    }

    const again = () => {
      layOut();
      show(step);
    };
    new ResizeObserver(() => panels.children[0].clientWidth !== look.room && again()).observe(root);
    const themed = new MutationObserver(() => requestAnimationFrame(again));
    const watched = { attributes: true, attributeFilter: ["class", "data-theme", "data-mode", "data-jp-theme-name"] };
    for (const page of [document.documentElement, document.body]) themed.observe(page, watched);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
    changed();
  }

  document.querySelectorAll(".ntm-copy:not([data-ready])").forEach(mount);
})();
