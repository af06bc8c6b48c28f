// What the demos of a page share: controls, a style for light and dark, and pictures of weightings. Needs the machine's
// bundle before it, and adds `ntm.parts` to that, once for a page.
globalThis.ntm.parts ??= (() => {
  const STYLE = `
.ntm-demo { --ntm-accent: var(--pst-color-primary, var(--jp-brand-color1, #2a7f9e)); --ntm-wrong: #c62f2f;
  container-type: inline-size; max-width: 60rem; margin: 0.5rem 0;
  color: var(--pst-color-text-base, var(--jp-content-font-color1, currentColor));
  font: 14px/1.4 var(--pst-font-family-base, var(--jp-ui-font-family, system-ui, sans-serif)); }
.ntm-demo.ntm-dark { --ntm-wrong: #ff8a80; }
.ntm-demo-row { display: flex; flex-wrap: wrap; align-items: center; gap: 0.5rem; margin-bottom: 0.5rem; }
.ntm-demo-row label { display: flex; align-items: center; gap: 0.5rem; min-width: 0; margin: 0; }
.ntm-demo-row label:has([type=range]) { flex: 1 1 7rem; }
.ntm-demo-row [type=range] { flex: 1; min-width: 3rem; height: 2.75rem; margin: 0; accent-color: var(--ntm-accent); }
.ntm-demo-row output { min-width: 3.6em; text-align: right; font-variant-numeric: tabular-nums; }
.ntm-demo :is(button, select, [type=number]) { min-width: 2.75rem; height: 2.75rem; padding: 0 0.6rem; font: inherit;
  color: inherit; border: 1px solid currentColor; border-radius: 6px; background: none; }
.ntm-demo :is(button, select) { cursor: pointer; }
.ntm-demo button:disabled { opacity: 0.5; cursor: default; }
.ntm-demo option { color: #222; background: #fff; }
.ntm-demo [type=number] { width: 4.5rem; padding-right: 0; }
.ntm-demo select { min-width: 0; }
.ntm-demo select:last-child { flex: 0 1 16rem; }
.ntm-demo button.ntm-demo-play { min-width: 4rem; font-weight: 600; }
.ntm-demo :focus-visible { outline: 3px solid var(--ntm-accent); outline-offset: 2px; border-radius: 4px; }
.ntm-demo-panels { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 0.6rem 1.5rem; }
.ntm-demo-name { font-size: 13px; font-weight: 600; margin-bottom: 0.2rem; }
.ntm-demo-name span { font-weight: 400; }
.ntm-demo canvas { display: block; }
.ntm-demo p.ntm-demo-says { margin: 0 0 0.5rem; min-height: 2.8em; font-variant-numeric: tabular-nums; }
@container (max-width: 520px) {
  .ntm-demo-panels { grid-template-columns: minmax(0, 1fr); }
  .ntm-demo p.ntm-demo-says { min-height: 4.2em; }
}
/* the book's theme puts outputs on a light ground in dark mode; this one knows both */
html[data-theme] .bd-content div.cell_output .text_html:has(> .ntm-demo):not(#_) { all: unset; display: block; }`;

  const GUTTER = 34, BELOW = 16; // CSS pixels for the numbers beside a picture and the words below it

  const element = (tag, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  };

  const row = (...children) => element("div", { className: "ntm-demo-row" }, ...children);

  const button = (name, action, className = "") => {
    const made = element("button", { type: "button", textContent: name, className });
    made.addEventListener("click", action);
    return made;
  };

  const slider = (shown, name, least, most, action, step = 1) => {
    const input = element("input", { type: "range", min: least, max: most, step }), output = element("output");
    input.setAttribute("aria-label", name);
    input.addEventListener("input", () => action(Number(input.value)));
    output.setAttribute("aria-hidden", "true");
    return { input, output, label: element("label", {}, element("span", { textContent: shown }), input, output) };
  };

  const picture = () => {
    const canvas = element("canvas");
    canvas.setAttribute("role", "img");
    return canvas;
  };

  const panel = (name, more, shown) =>
    element("div", {},
      element("div", { className: "ntm-demo-name" }, name, element("span", { textContent: more })), shown);

  // A paragraph that a screen reader follows, unless it is `quiet`: several sentences a second help no listener.
  const sentence = () => {
    const says = element("p", { className: "ntm-demo-says" });
    const quiet = (value) => says.setAttribute("aria-live", value ? "off" : "polite");
    quiet(false);
    return { says, quiet };
  };

  // The location with the most weight.
  const place = (weighting) => weighting.indexOf(Math.max(...weighting));

  // The colours that hold where `root` stands; light text is on a dark page, whatever the theme is called.
  function look(root) {
    const [red, green, blue] = getComputedStyle(root).color.match(/[\d.]+/g).map(Number);
    root.classList.toggle("ntm-dark", red + green + blue > 3 * 128);
    const style = getComputedStyle(root), value = (name) => style.getPropertyValue(name).trim();
    return { colour: style.color, font: style.fontFamily, accent: value("--ntm-accent"), wrong: value("--ntm-wrong") };
  }

  // Something to draw with on a canvas of so many CSS pixels, wiped.
  function pen(canvas, width, height) {
    const ratio = window.devicePixelRatio || 1, drawing = canvas.getContext("2d");
    [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
    Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
    drawing.scale(ratio, ratio);
    drawing.imageSmoothingEnabled = false;
    return drawing;
  }

  // A sheet with one pixel for each step and row; `share(t, y)` in 0..1 says how much of the colour it gets.
  function sheet(steps, rows, colour, share) {
    const canvas = element("canvas", { width: steps, height: rows }), drawing = canvas.getContext("2d");
    drawing.fillStyle = colour;
    for (let t = 0; t < steps; t++) {
      for (let y = 0; y < rows; y++) {
        drawing.globalAlpha = Math.min(share(t, y), 1);
        drawing.fillRect(t, y, 1, 1);
      }
    }
    return canvas;
  }

  // Draws a sheet of weightings of a copied list of `length`: up to the step `until`, rows from `first` to `last`.
  function weightings(canvas, map, { colour, font, accent }, { room, height, length, until, first, last }) {
    const width = room - GUTTER, drawing = pen(canvas, room, height + BELOW);
    const steps = 2 * length + 2, wide = width / steps;
    drawing.drawImage(map, 0, 0, until + 1, map.height, GUTTER, 0, (until + 1) * wide, height);
    [drawing.strokeStyle, drawing.fillStyle, drawing.font, drawing.globalAlpha] = [colour, colour, `11px ${font}`, 0.5];
    drawing.strokeRect(GUTTER + 0.5, 0.5, width - 1, height - 1);
    const end = GUTTER + (length + 1.5) * wide; // the end flag
    drawing.setLineDash([3, 3]);
    drawing.beginPath();
    drawing.moveTo(end, 0);
    drawing.lineTo(end, height);
    drawing.stroke();
    drawing.setLineDash([]);
    drawing.globalAlpha = 1;
    drawing.textAlign = "right";
    const row = (height - 10) / Math.max(map.height - 1, 1), before = map.height - 1 - last;
    const zero = 9 + before * row, seam = [[0, zero], [first + before - 1, zero - Math.max(row, 11)]];
    const numbers = []; // on the circle also those where they begin again, which go first where there is no room for all
    for (const number of [...(first > last ? seam : []), [first, 9], [last, height - 1]]) {
      if (number[1] >= 9 && numbers.every(([, y]) => Math.abs(y - number[1]) >= 11)) numbers.push(number);
    }
    for (const [location, y] of numbers) drawing.fillText(location, GUTTER - 5, y);
    drawing.textAlign = "center";
    drawing.fillText("list comes in", GUTTER + (length + 1) * wide * 0.5, height + 12);
    drawing.fillText("list comes out", GUTTER + width - length * wide * 0.5, height + 12);
    if (until === steps - 1) return;
    [drawing.strokeStyle, drawing.lineWidth] = [accent, 2];
    drawing.strokeRect(GUTTER + until * wide, 1, Math.max(wide, 2), height - 2);
  }

  // Calls `again` when the first panel gets another width, and when the colours change.
  function watch(root, panels, again) {
    let width = panels.firstChild.clientWidth;
    new ResizeObserver(() => width !== (width = panels.firstChild.clientWidth) && again()).observe(root);
    const themed = new MutationObserver(() => requestAnimationFrame(again));
    const watched = { attributes: true, attributeFilter: ["class", "data-theme", "data-mode", "data-jp-theme-name"] };
    for (const page of [document.documentElement, document.body]) themed.observe(page, watched);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  }

  // The style, once for a page.
  function dress(kind, style) {
    if (document.getElementById(`ntm-${kind}-style`)) return;
    document.head.append(element("style", { id: `ntm-${kind}-style`, textContent: style }));
  }

  // Mounts every demo of a kind that stands in the page and was not mounted yet, with its data.
  const mounts = {};
  function mountAll(kind, style, mount) {
    dress("demo", STYLE);
    dress(kind, style);
    mounts[kind] = mount;
    for (const root of document.querySelectorAll(`.ntm-${kind}:not([data-ready])`)) {
      root.dataset.ready = "yes";
      mount(root, JSON.parse(root.querySelector("script").textContent));
    }
  }

  // In a live Jupyter: a demo of a kind as a view of a widget, whose `setting` follows the demo's and leads it.
  const render = (kind) => ({ model, el }) => {
    const root = element("div", { className: `ntm-demo ntm-${kind}` });
    root.setAttribute("role", "group");
    root.setAttribute("aria-label", model.get("name"));
    el.append(root);
    const tell = (setting) => {
      model.set("setting", setting);
      model.save_changes();
    };
    const { restore } = mounts[kind](root, JSON.parse(model.get("data")), tell);
    const follow = () => restore(model.get("setting"));
    follow();
    model.on("change:setting", follow);
    return () => model.off("change:setting", follow);
  };

  const controls = { element, row, button, slider, picture, panel, sentence };
  return { ...controls, place, look, pen, sheet, weightings, watch, mountAll, render, GUTTER };
})();
