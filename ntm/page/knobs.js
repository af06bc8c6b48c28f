// What the laboratories share: knobs for a setting, cells that show numbers, and a place where the setting is kept.
// Needs the machine's bundle and parts.js before it, and adds `ntm.knobs` to that, once for a page.
globalThis.ntm.knobs ??= (() => {
  const { element, slider, place } = ntm.parts;

  const PAUSE = 300; // milliseconds without a change before the setting goes into the address; a browser counts those

  const STYLE = `
.ntm-lab { --ntm-less: #b45309; --ntm-bar: 2.5rem; }
.ntm-lab.ntm-dark { --ntm-less: #ffb067; }
.ntm-lab p.ntm-demo-says { margin: 0; }
.ntm-lab .ntm-demo-name { margin: 0; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.ntm-knobs { display: flex; gap: 0.25rem 0.5rem; }
.ntm-knobs label { flex: 1 1 0; min-width: 0; margin: 0; display: grid; grid-template-columns: auto 1fr; gap: 0 0.4rem;
  align-items: baseline; font-size: 12px; line-height: 1.2; white-space: nowrap; }
.ntm-knobs output { justify-self: end; font-variant-numeric: tabular-nums; }
.ntm-knobs [type=range] { grid-column: 1 / -1; order: 1; width: 100%; min-width: 0; height: 1.75rem; margin: 0;
  accent-color: var(--ntm-accent); }
.ntm-knobs:has(label:only-child) label { grid-template-columns: auto 1fr 2.5rem; align-items: center; }
.ntm-knobs:has(label:only-child) [type=range] { grid-column: auto; }
.ntm-knobs:has(label:only-child) output { order: 2; }
.ntm-cells { display: grid; grid-template-columns: repeat(var(--columns), minmax(0, 1fr)); gap: 2px;
  font-size: 11px; line-height: 1.25rem; text-align: center; font-variant-numeric: tabular-nums; }
.ntm-cells > div { position: relative;
  background: color-mix(in srgb, var(--ntm-accent) calc(var(--part) * 35%), transparent);
  outline: 1px solid color-mix(in srgb, currentColor 20%, transparent); outline-offset: -1px; }
.ntm-cells > .ntm-less { background: color-mix(in srgb, var(--ntm-less) calc(var(--part) * 35%), transparent); }
.ntm-cells b { font-weight: 400; }
.ntm-bars > div { padding-top: var(--ntm-bar); background: none; outline: none;
  border-bottom: 1px solid color-mix(in srgb, currentColor 40%, transparent); }
.ntm-bars i { position: absolute; inset: auto 0 1.25rem; height: calc(var(--part) * var(--ntm-bar));
  background: var(--ntm-accent); }
.ntm-bars [type=range] { position: absolute; inset: 0 0 1.25rem; width: 100%; height: var(--ntm-bar); margin: 0;
  writing-mode: vertical-lr; direction: rtl; appearance: none; background: none; opacity: 0; cursor: ns-resize; }
.ntm-bars [type=range]::-webkit-slider-thumb { appearance: none; width: 100%; height: 1px; }
.ntm-bars [type=range]::-moz-range-thumb { width: 100%; height: 1px; border: 0; }
.ntm-bars > div:has([type=range]) { background: linear-gradient(color-mix(in srgb, currentColor 8%, transparent) 0 0)
  0 0 / 100% var(--ntm-bar) no-repeat; }
.ntm-bars > div:has([type=range]) i { border-top: 3px solid color-mix(in srgb, currentColor 70%, transparent); }
.ntm-bars > div:has(:focus-visible) { outline: 3px solid var(--ntm-accent); outline-offset: 1px; }
@media (prefers-reduced-motion: no-preference) { .ntm-bars i { transition: height 0.12s; } }`;

  // A number for a reader, with a true minus.
  function decimals(value, digits = 2) {
    const text = Math.abs(value).toFixed(digits);
    return value < 0 && Number(text) ? `\u2212${text}` : text;
  }

  // Where a head is that has these weights over so many rows or locations.
  function where(weights, noun) {
    const at = place(weights), most = decimals(weights[at]);
    if (weights[at] > 0.5) return `at ${noun} ${at} (${most} of the weight)`;
    return `at no single ${noun} (at most ${most}, at ${at})`;
  }

  const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);

  // Weights of which one is set: the others keep their ratios and share what is left.
  function give(weights, at, value) {
    const others = sum(weights.map((weight, i) => (i === at ? 0 : weight)));
    const share = (weight) => (others > 0 ? weight / others : 1 / (weights.length - 1)) * (1 - value);
    return weights.map((weight, i) => (i === at ? value : share(weight)));
  }

  function knob(name, [least, most, step], action) {
    const { input, output, label } = slider(name, name, least, most, action, step), digits = step < 0.1 ? 2 : 1;
    const show = (value) => {
      input.value = value;
      output.textContent = decimals(value, digits);
      input.setAttribute("aria-valuetext", output.textContent);
    };
    return { input, label, show };
  }

  const group = (name, knobs) => {
    const made = element("div", { className: "ntm-knobs" }, ...knobs.map(({ label }) => label));
    made.setAttribute("role", "group");
    made.setAttribute("aria-label", name);
    return made;
  };

  // Numbers that can be read: in each cell, under the pointer in the heading with six digits, and all in a label for
  // those who do not see them. `called(at)` names a cell; with `bars` each has one of that share, else a colour.
  function cells(name, about, columns, count, called, { most = 1, digits = 2, bars = false } = {}) {
    const heading = element("div", { className: "ntm-demo-name" });
    const all = Array.from({ length: count }, () => element("div", {}, element("i"), element("b")));
    const body = element("div", { className: bars ? "ntm-cells ntm-bars" : "ntm-cells" }, ...all);
    body.setAttribute("role", "img");
    body.style.setProperty("--columns", columns);
    let values = [], pointed = -1;
    const tell = () => (pointed < 0
      ? heading.replaceChildren(name, element("span", { textContent: about }))
      : heading.replaceChildren(`${called(pointed)}: ${decimals(values[pointed], 6)}`));
    const point = (at) => {
      pointed = at;
      tell();
    };
    body.addEventListener("pointerover", ({ target }) => point(all.findIndex((cell) => cell.contains(target))));
    body.addEventListener("pointerleave", () => point(-1));

    function show(next) {
      values = Array.from(next);
      all.forEach((cell, at) => {
        cell.style.setProperty("--part", Math.min(Math.abs(values[at]) / most, 1).toFixed(4));
        cell.classList.toggle("ntm-less", values[at] < 0);
        const text = decimals(values[at], digits);
        cell.children[1].textContent = Number(text) === 0 ? "0" : text; // fewer marks to look through
      });
      const words = values.map((value, at) => `${called(at)} ${decimals(value)}`).join(", ");
      body.setAttribute("aria-label", body.getAttribute("role") === "img" ? `${name}: ${words}` : name);
      tell();
    }

    // Lays the knobs' inputs over the bars: one stop for the tab key, left and right lead from one to the next.
    function drag(knobs) {
      const inputs = knobs.map(({ input }) => input);
      body.setAttribute("role", "group");
      inputs.forEach((input, i) => {
        all[i].append(input);
        input.tabIndex = i ? -1 : 0;
        input.setAttribute("aria-orientation", "vertical");
        input.addEventListener("focus", () => inputs.forEach((one) => (one.tabIndex = one === input ? 0 : -1)));
        input.addEventListener("keydown", (event) => {
          const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
          if (!by) return;
          event.preventDefault();
          inputs[(i + by + inputs.length) % inputs.length].focus();
        });
      });
    }
    return { heading, body, show, drag };
  }

  // A setting of some `fields`, each a list of numbers: { names, range: [least, most, step], whole }. Each name gets a
  // knob; a whole sums to 1. Calls redraw(setting) after every change, and edited(field) before it if a reader made it.
  // The setting is text in the page's address after `#name=`, or wherever `tell(text)` puts it.
  function board(root, name, start, fields, { redraw, edited = () => {}, tell = null }) {
    const setting = structuredClone(start), knobs = {};
    const own = !tell && document.querySelector(`[data-lab="${name}"]`) === null; // the address is the first one's
    let timer = 0;
    root.dataset.lab = name;
    root.classList.add("ntm-lab");
    for (const [field, { names, range, whole }] of Object.entries(fields)) {
      knobs[field] = names.map((called, at) => knob(called, range, (value) => {
        edited(field);
        const now = setting[field];
        change({ [field]: whole ? give(now, at, value) : now.map((before, i) => (i === at ? value : before)) });
      }));
    }

    const write = () => Object.keys(fields)
      .map((field) => setting[field].map((value) => Number(value.toPrecision(6))).join(",")).join(";");

    // A setting out of a text, or null if it is none: numbers joined by commas, fields by semicolons.
    function read(text) {
      const plain = text.replace(/%2C/gi, ",").replace(/%3B/gi, ";");
      const parts = plain.split(";").map((part) => part.split(",").map(Number));
      const read = {};
      for (const [i, [field, { range: [least, most], whole }]] of Object.entries(fields).entries()) {
        if (parts[i]?.length !== start[field].length || !parts[i].every(Number.isFinite)) return null;
        const values = parts[i].map((value) => Math.min(Math.max(value, least), most)), total = whole ? sum(values) : 1;
        if (total === 0) return null;
        read[field] = values.map((value) => value / total);
      }
      return parts.length === Object.keys(fields).length ? read : null;
    }

    function show() {
      for (const [field, all] of Object.entries(knobs)) all.forEach((one, at) => one.show(setting[field][at]));
      redraw(setting);
    }

    function keep() {
      if (tell) tell(write());
      else history.replaceState(history.state, "", `#${name}=${write()}`);
    }

    function change(next) {
      Object.assign(setting, next);
      show();
      clearTimeout(timer);
      if (tell || own) timer = setTimeout(keep, PAUSE);
    }

    function restore(text) {
      const found = text && text !== write() ? read(text) : null;
      if (!found) return;
      clearTimeout(timer);
      edited("all");
      Object.assign(setting, found);
      show();
    }

    // To be called once, when all that redraws is there.
    function begin() {
      show();
      if (!own) return;
      const find = () => location.hash.startsWith(`#${name}=`) && restore(location.hash.slice(name.length + 2));
      find();
      window.addEventListener("hashchange", find);
      if (location.hash.startsWith(`#${name}=`)) root.scrollIntoView();
    }
    return { setting, knobs, change, restore, begin };
  }

  return { STYLE, decimals, where, group, cells, board };
})();
