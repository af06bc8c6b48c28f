// The memory to try: one head writes into a few rows and reads them, by the machine's own memory.js. Needs the
// bundle of the machine, parts.js and knobs.js before it.
(() => {
  const { element, row, button, sentence, look, watch } = ntm.parts;
  const { decimals, where, group, cells, board } = ntm.knobs;

  const FULL = 5, MOST = 8; // what gets the full colour, and the most that is added

  const STYLE = `${ntm.knobs.STYLE}
.ntm-toy { --line: 1.75rem; display: grid; grid-template-columns: minmax(0, 1.5fr) repeat(2, minmax(0, 1fr));
  gap: 0.75rem 1.5rem; margin-bottom: 0.5rem; }
.ntm-toy > div { display: grid; grid-template-columns: minmax(0, 1fr); grid-row: span 4; grid-template-rows: subgrid;
  gap: 0.25rem 0.75rem; align-items: end; }
.ntm-toy > :first-child { grid-template-columns: minmax(0, 1fr) minmax(0, 1.2fr); }
.ntm-toy > :first-child > :first-child { grid-column: 1 / -1; }
.ntm-toy > :first-child > :nth-last-child(-n+2) { grid-column: 2; }
.ntm-toy .ntm-cells > div { line-height: var(--line); }
.ntm-toy-rows .ntm-knobs { height: calc(var(--line) + 2px); align-items: center; }
.ntm-memory p.ntm-demo-says { min-height: 2.8em; }
@container (max-width: 920px) {
  .ntm-toy { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .ntm-toy > :first-child { grid-column: 1 / -1; grid-template-columns: repeat(2, minmax(0, 1fr)); column-gap: 1.5rem; }
}
@container (max-width: 520px) {
  .ntm-toy { --line: 1.45rem; grid-template-columns: minmax(0, 1fr); }
  .ntm-memory p.ntm-demo-says { min-height: 5.6em; }
}`;

  function mount(root, data, tell) {
    const { weighting: { length: rows }, erase: { length: columns } } = data.start;
    const numbers = (length, word) => Array.from({ length }, (_, i) => `${word} ${i}`);
    const fields = {
      weighting: { names: numbers(rows, "row"), range: [0, 1, 0.01], whole: true },
      erase: { names: numbers(columns, "erase"), range: [0, 1, 0.01] },
      add: { names: numbers(columns, "add"), range: [-MOST, MOST, 0.5] },
      memory: { names: [], range: [-1e6, 1e6] },
    };
    const { says } = sentence();
    const { setting, knobs, change, restore, begin } = board(root, "toy", data.start, fields, { redraw, tell });
    let written;

    const matrix = (name, about) => cells(name, ` \u2013 ${about}`, columns, rows * columns,
      (at) => `row ${Math.floor(at / columns)}, column ${at % columns}`, { most: FULL });
    const vector = () => cells("Read", "", columns, columns, (m) => `column ${m}`, { most: FULL });
    const before = { ...matrix("Memory", "and the weights of its rows"), read: vector() };
    const kept = matrix("Erased", "what is left");
    const after = { ...matrix("Added to", "what is written"), read: vector() };

    // Shows a memory and what a read of it gives; returns that in words.
    function display({ show, read }, values) {
      const reads = new Float64Array(columns);
      ntm.memory.read(reads, values, setting.weighting);
      show(values);
      read.show(reads);
      return `(${Array.from(reads, (value) => decimals(value)).join(", ")})`;
    }
    const lines = element("div", { className: "ntm-toy-rows" },
      ...knobs.weighting.map((one) => group("weighting", [one])));
    const block = (head, ...parts) => element("div", {}, element("div", {}, ...head), ...parts);
    const blocks = element("div", { className: "ntm-toy" },
      block([before.heading], lines, before.body, before.read.heading, before.read.body),
      block([kept.heading, group("erase vector", knobs.erase)], kept.body),
      block([after.heading, group("add vector", knobs.add)], after.body, after.read.heading, after.read.body));
    root.append(blocks, row(
      button("Write once more", () => change({ memory: Array.from(written) }), "ntm-demo-play"),
      button("Start again", () => change(structuredClone(data.start)))), says);

    function redraw({ weighting, erase, add, memory: found }) {
      written = new Float64Array(found.length);
      const first = display(before, found);
      ntm.memory.applyErase(written, found, weighting, erase);
      kept.show(written);
      ntm.memory.applyAdd(written, weighting, add);
      says.textContent = `The head is ${where(weighting, "row")}. With these weights it reads ${first} before the ` +
        `write, and ${display(after, written)} after it.`;
    }

    begin();
    look(root);
    watch(root, blocks, () => look(root));
    return { restore };
  }

  ntm.parts.mountAll("memory", STYLE, mount);
})();
