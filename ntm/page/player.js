// Draws a player of ntm/page/player.py on a canvas. One text for two places: anywidget imports it as a module in a live
// Jupyter, and a published page holds it as an inline module, whose scope is its own, so that several may share a page.

const VIRIDIS = "440154 482173 433e85 38588c 2d708e 25858e 1e9b8a 2ab07f 52c569 86d549 c2df23 fde725";
const ON_LIGHT = "053061 2a71b2 6bacd1 c2ddec f7f6f6 fbccb4 e48066 ba2832 67001f"; // signed: zero is nearly the page
const ON_DARK = "9eb0ff 62a6e0 3280a6 20526a 1b2229 61200b 964a36 ca7b71 ffadad"; //  likewise on a dark page
const HEADS = ["#2a9d8f", "#e07a2f", "#8a6fd1", "#c2528b"];
const SMALL = 11, NORMAL = 13; // sizes of text; all lengths are CSS pixels
const GAP = 28, TITLE = 24, TICKS = 15, AXIS = 15, LANE = 20, SIDE_LANE = 40, BAR = 44, BELOW = 14;
const NARROW = 560; // below this width the panels stand in one column
const PACE = 200, CALM_PACE = 600; // milliseconds per step of play; the second for who asked for less motion

const STYLE = `
.ntm-player { color: var(--pst-color-text-base, var(--jp-content-font-color1, currentColor)); max-width: 60rem;
  margin: 0.5rem 0; font: 13px/1.4 var(--pst-font-family-base, var(--jp-ui-font-family, system-ui, sans-serif));
  --ntm-accent: var(--pst-color-primary, var(--jp-brand-color1, #2a7f9e)); }
.ntm-player canvas { display: block; width: 100%; touch-action: pan-y; }
.ntm-player-title { font-size: 15px; font-weight: 600; margin-bottom: 0.6rem; }
.ntm-player-caption { margin: 0.4rem 0; font-variant-numeric: tabular-nums; }
.ntm-player-controls { display: flex; align-items: center; gap: 0.75rem; }
.ntm-player-controls input { flex: 1; min-width: 0; height: 1.5rem; margin: 0; accent-color: var(--ntm-accent); }
.ntm-player-controls button { display: flex; width: 2.25rem; height: 2.25rem; padding: 0; color: inherit; cursor: pointer;
  align-items: center; justify-content: center; border-radius: 50%; border: 1px solid currentColor; background: none; }
.ntm-player-controls svg { width: 1rem; height: 1rem; fill: currentColor; }
.ntm-player-controls :focus-visible { outline: 2px solid var(--ntm-accent); outline-offset: 3px;
  border-radius: 4px; }
.ntm-player-controls button:focus-visible { border-radius: 50%; }
.ntm-player-controls output { font-variant-numeric: tabular-nums; min-width: 4.5em; text-align: right; }
/* the book's theme puts outputs on a light ground in dark mode; this one knows both */
html[data-theme] .bd-content div.cell_output .text_html:has(> .ntm-player):not(#_) { all: unset; display: block; }`;

function colourTable(anchors) {
  const stops = anchors.split(" ").map((hex) => [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16)));
  return Array.from({ length: 256 }, (_, level) => {
    const place = (level / 255) * (stops.length - 1), i = Math.min(Math.floor(place), stops.length - 2);
    return stops[i].map((from, c) => Math.round(from + (place - i) * (stops[i + 1][c] - from)));
  });
}
const TABLES = { viridis: colourTable(VIRIDIS), light: colourTable(ON_LIGHT), dark: colourTable(ON_DARK) };

const decode = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const short = (number) => String(Number(number.toPrecision(2))).replace("-", "\u2212");
const isTape = (panel) => panel.kind === "tape";

// A picture of `columns` x `rows` pixels, the colour of each given by `level(column, row)`; below 0 is transparent.
function sheet(columns, rows, table, level) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [columns, rows];
  const image = new ImageData(columns, rows);
  for (let y = 0, at = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++, at += 4) {
      const value = level(x, y);
      if (value >= 0) image.data.set([...table[value], 255], at);
    }
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

// Shows `data` in `canvas`; calls `pick(step)` when a reader points at a step of a tape. Returns show(step) and stop().
function picture(root, canvas, data, pick) {
  for (const panel of data.panels) {
    if (!panel) continue;
    panel.levels = decode(panel.data);
    panel.blank = new Set(panel.blank || []);
    if (isTape(panel)) panel.columns = Array.from({ length: data.steps }, (_, t) => t);
    for (const head of panel.heads || []) head.levels = decode(head.data);
  }
  const pen = canvas.getContext("2d");
  const [title, caption] = ["title", "caption"].map((part) =>
    Object.assign(document.createElement("div"), { className: `ntm-player-${part}`, textContent: data.title }));
  if (data.title) canvas.before(title);
  if (data.captions) canvas.after(caption);
  caption.setAttribute("aria-live", "polite");
  const longest = (data.captions || []).reduce((one, other) => (other.length > one.length ? other : one), "");
  let step = data.start, width = 0, ratio = 1, look = {}, placed = [];

  function text(words, x, y, align = "left", size = SMALL, alpha = 0.75, weight = 400) {
    pen.font = `${weight} ${size}px ${look.font}`;
    [pen.textAlign, pen.globalAlpha, pen.fillStyle] = [align, alpha, look.colour];
    pen.textBaseline = "middle";
    pen.fillText(words, x, y);
    pen.globalAlpha = 1;
  }
  const textWidth = (words, size = SMALL) => ((pen.font = `${size}px ${look.font}`), pen.measureText(words).width);

  // Whole device pixels for a cell, unless that would lose too much: even cells look crisp, uneven ones do not.
  const snap = (cell) => (cell * ratio >= 4 ? Math.floor(cell * ratio) / ratio : cell);

  function measure(panel, room) {
    const heads = panel.heads || [], beside = heads.filter((head) => head.side === "row");
    const rows = panel.rows.length, columns = panel.columns.length;
    const above = (heads.length - beside.length) * LANE, tallest = panel.wide ? 320 : 220;
    const plain = room - look.gutter - beside.length * SIDE_LANE - 10; // the last tick label wants some room
    const cellWidth = snap(Math.min(plain / columns, isTape(panel) ? 24 : 40));
    const cellHeight = panel.kind === "bars" ? BAR : snap(Math.min(Math.max(cellWidth, 9), 24, tallest / rows));
    return { panel, cellWidth, cellHeight, wide: cellWidth * columns, tall: cellHeight * rows,
      height: TITLE + above + cellHeight * rows + TICKS + (panel.columnAxis || isTape(panel) ? AXIS : 0) + BELOW };
  }

  // Where each panel stands: line by line in a grid, a wide one on a line of its own. Returns the height of all.
  function arrange() {
    const labels = data.panels.flatMap((panel) => (panel ? [...panel.rows, ...(panel.heads || [])] : []));
    look.gutter = 26 + Math.max(...labels.map((label) => textWidth(label.name ?? label)));
    const count = width < NARROW ? 1 : data.columns, column = (width - GAP * (count - 1)) / count;
    let [place, top, line] = [0, 0, 0];
    const next = () => ([place, top, line] = [0, top + line, 0]);
    placed = [];
    for (const panel of data.panels) {
      if (!panel && count === 1) continue;
      if (place === count || (panel?.wide && place)) next();
      if (panel) {
        const room = panel.wide ? width : column, left = place * (column + GAP), box = measure(panel, room);
        placed.push({ ...box, left: left + look.gutter, limit: left + room, top });
        line = Math.max(line, box.height);
      }
      place = panel?.wide ? count : place + 1;
    }
    return next()[1];
  }

  function scale(panel, table, nearest, right, limit, y) { // the colours, and the numbers at their two ends
    const [low, high] = [short(panel.low), short(panel.high)], first = nearest + 18 + textWidth(low);
    const bar = Math.min(48, Math.max(12, limit - first - textWidth(high) - 5));
    const left = Math.max(right - textWidth(high) - 5 - bar, first);
    text(low, left - 5, y, "right");
    text(high, left + bar + 5, y);
    pen.drawImage(sheet(64, 1, table, (x) => x * 4), left, y - 3, bar, 6);
  }

  function ticks(labels, cell, room, draw) { // the labels there is room for: round numbers, or as many as fit
    const numeric = labels.every(Number.isInteger);
    const every = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000].find((n) => n * cell >= room) ?? 1000;
    const seam = numeric ? labels.findIndex((label, i) => i && label < labels[i - 1]) : -1; // of a circle: has its label
    let before = -Infinity;
    labels.forEach((label, i) => {
      const crowded = (i - before) * cell < room || (i < seam && (seam - i) * cell < room);
      if (i !== seam && ((numeric ? label : i) % every || crowded)) return;
      before = i;
      draw(label, (i + 0.5) * cell);
    });
  }

  function bars(levels, first, count, cell, colour, draw) {
    pen.fillStyle = colour;
    for (let i = 0; i < count; i++) draw(i * cell, levels[first + i] / 255, Math.max(cell - (cell > 4 ? 1 : 0), 1));
  }

  function drawHeads(panel, left, top, wide, tall, box) {
    const lanes = { column: top - 4, row: left + wide + 5 };
    (panel.heads || []).forEach((head, h) => {
      const colour = HEADS[h % HEADS.length], count = head.shape[1], first = step * count, lane = lanes[head.side];
      if (head.side === "column") {
        bars(head.levels, first, count, box.cellWidth, colour,
          (at, part, thick) => pen.fillRect(left + at, lane - part * (LANE - 5), thick, part * (LANE - 5)));
        pen.fillRect(left, lane, wide, 1);
        text(head.name, left - 6, lane - 7, "right", SMALL, 1);
        lanes.column -= LANE;
      } else {
        bars(head.levels, first, count, box.cellHeight, colour,
          (at, part, thick) => pen.fillRect(lane, top + at, part * (SIDE_LANE - 10), thick));
        pen.fillRect(lane - 1, top, 1, tall);
        text(head.name, lane, top + tall + 9, "left", SMALL, 1);
        lanes.row += SIDE_LANE;
      }
    });
  }

  function cursor(left, top, cell, tall) { // a light line in a dark one, seen on every colour
    const x = left + step * cell;
    for (const [colour, out] of [[look.ground, 0.5], [look.colour, 1.5]]) {
      [pen.strokeStyle, pen.lineWidth] = [colour, 1];
      pen.strokeRect(x - out, top - out - 2, cell + 2 * out, tall + 2 * out + 4);
    }
  }

  function drawPanel(box) {
    const { panel, left, wide, tall, cellWidth } = box, rows = panel.rows.length, columns = panel.columns.length;
    const table = panel.diverging ? TABLES[look.dark ? "dark" : "light"] : TABLES.viridis;
    const above = (panel.heads || []).filter((head) => head.side === "column").length * LANE;
    const top = box.top + TITLE + above, first = step * rows * columns;
    const heading = isTape(panel) ? panel.title : `${panel.title} at step ${step}`;
    text(heading, left, box.top + 10, "left", NORMAL, 1, 600);
    const after = left + pen.measureText(heading).width;
    if (panel.kind === "bars") {
      panel.rows.forEach((_, row) => {
        const foot = top + (row + 1) * BAR - 1;
        bars(panel.levels, first + row * columns, columns, cellWidth, HEADS[row % HEADS.length],
          (at, part, thick) => pen.fillRect(left + at, foot - part * (BAR - 10), thick, part * (BAR - 10)));
        pen.fillRect(left, foot, wide, 1);
      });
      text(`${short(panel.low)} to ${short(panel.high)}`, after + 12, box.top + 10);
    } else {
      const image = isTape(panel)
        ? (panel[`on${look.dark}`] ??= sheet(columns, rows, table,
            (t, row) => (panel.blank.has(t) ? -1 : panel.levels[t * rows + row])))
        : sheet(columns, rows, table, (x, y) => panel.levels[first + y * columns + x]);
      pen.drawImage(image, left, top, wide, tall);
      [pen.strokeStyle, pen.lineWidth, pen.globalAlpha] = [look.colour, 1, 0.3];
      pen.strokeRect(left - 0.5, top - 0.5, wide + 1, tall + 1);
      pen.globalAlpha = 1;
      scale(panel, table, after, left + wide, box.limit, box.top + 10);
    }
    drawHeads(panel, left, top, wide, tall, box);
    ticks(panel.rows, box.cellHeight, 14, (label, at) => text(label, left - 6, top + at, "right"));
    const widest = Math.max(...panel.columns.map((label) => textWidth(label)));
    ticks(panel.columns, cellWidth, widest + 8, (label, at) => text(label, left + at, top + tall + 10, "center"));
    text(isTape(panel) ? "time step" : panel.columnAxis, left + wide / 2, top + tall + 10 + AXIS, "center");
    if (panel.rowAxis) {
      pen.save();
      pen.translate(left - look.gutter + 8, top + tall / 2);
      pen.rotate(-Math.PI / 2);
      text(panel.rowAxis, 0, 0, "center");
      pen.restore();
    }
    if (isTape(panel)) cursor(left, top, cellWidth, tall);
  }

  function reserve() { // room for the longest caption, so that the controls below it stand still
    const words = caption.textContent;
    [caption.style.minHeight, caption.textContent] = ["", longest];
    [caption.style.minHeight, caption.textContent] = [`${caption.clientHeight}px`, words];
  }

  function draw() {
    if (!root.clientWidth) return; // in a closed fold; drawn when it opens
    if (width !== (width = Math.floor(root.clientWidth))) reserve();
    ratio = window.devicePixelRatio || 1;
    const style = getComputedStyle(root), [red, green, blue] = style.color.match(/[\d.]+/g).map(Number);
    const dark = red + green + blue > 3 * 128; // light text is on a dark page, whatever the theme is called
    look = { colour: style.color, font: style.fontFamily, dark, ground: dark ? "#000" : "#fff" };
    const height = Math.ceil(arrange());
    [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)]; // also wipes it
    canvas.style.height = `${height}px`;
    pen.scale(ratio, ratio);
    pen.imageSmoothingEnabled = false;
    placed.forEach(drawPanel);
  }

  function show(next) {
    step = next;
    const words = data.captions ? data.captions[step] : `step ${step} of 0 to ${data.steps - 1}`;
    caption.textContent = words;
    canvas.setAttribute("aria-label", `${data.title || "player"}: ${words}`);
    draw();
  }

  canvas.addEventListener("pointerdown", point);
  canvas.addEventListener("pointermove", (event) => event.buttons && point(event));
  function point(event) {
    const frame = canvas.getBoundingClientRect(), x = event.clientX - frame.left, y = event.clientY - frame.top;
    const on = placed.find((box) => isTape(box.panel) && x >= box.left && x < box.left + box.wide &&
      y >= box.top && y < box.top + box.height);
    if (on) pick(Math.floor((x - on.left) / on.cellWidth));
  }

  const resized = new ResizeObserver(() => Math.floor(root.clientWidth) !== width && draw());
  resized.observe(root);
  const soon = () => requestAnimationFrame(draw);
  const themed = new MutationObserver(soon);
  const watched = { attributes: true, attributeFilter: ["class", "data-theme", "data-mode", "data-jp-theme-name"] };
  for (const element of [document.documentElement, document.body]) themed.observe(element, watched);
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  scheme.addEventListener("change", soon);
  show(step);
  return { show, caption, stop: () => (resized.disconnect(), themed.disconnect(), scheme.removeEventListener("change", soon)) };
}

function dress() { // the style, once for a page
  if (document.getElementById("ntm-player-style")) return;
  const style = document.createElement("style");
  [style.id, style.textContent] = ["ntm-player-style", STYLE];
  document.head.append(style);
}

// In a published page: joins the picture to the slider and the button that stand in the page.
function mount(root) {
  root.dataset.ready = "yes";
  dress();
  const data = JSON.parse(root.querySelector("script").textContent);
  const [canvas, slider, button, readout] = ["canvas", "input", "button", "output"].map((tag) => root.querySelector(tag));
  let timer = 0;
  const view = picture(root, canvas, data, (step) => (pause(), show(step)));
  function show(step) {
    slider.value = step;
    slider.setAttribute("aria-valuetext", `step ${step} of ${data.steps - 1}`);
    readout.textContent = `${step} / ${data.steps - 1}`;
    view.show(step);
  }
  function face(name, path) {
    button.setAttribute("aria-label", name);
    button.innerHTML = `<svg viewBox="0 0 16 16" aria-hidden="true"><path d="${path}"/></svg>`;
  }
  function pause() {
    clearInterval(timer);
    timer = 0;
    view.caption.setAttribute("aria-live", "polite");
    face("play", "M4 2l10 6-10 6z");
  }
  function play() {
    if (slider.value === slider.max) show(0);
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    timer = setInterval(() => {
      show(Number(slider.value) + 1);
      if (slider.value === slider.max) pause();
    }, calm ? CALM_PACE : PACE);
    view.caption.setAttribute("aria-live", "off"); // several sentences a second are of no use to a listener
    face("pause", "M3 2h4v12h-4zM9 2h4v12h-4z");
  }
  button.addEventListener("click", () => (timer ? pause() : play()));
  slider.addEventListener("input", () => (pause(), show(Number(slider.value))));
  pause();
  show(data.start); // a browser may have kept the slider's place from an earlier visit
}
document.querySelectorAll(".ntm-player:not([data-ready]):has(> script)").forEach(mount);

// In a live Jupyter: the picture alone follows the widget's `step`, which the slider and the play control are linked to.
function render({ model, el }) {
  dress();
  const [root, canvas] = ["div", "canvas"].map((tag) => document.createElement(tag));
  root.className = "ntm-player";
  canvas.setAttribute("role", "img");
  root.append(canvas);
  el.append(root);
  const data = { ...JSON.parse(model.get("data")), start: model.get("step") };
  const view = picture(root, canvas, data, (step) => (model.set("step", step), model.save_changes()));
  const follow = () => view.show(model.get("step"));
  model.on("change:step", follow);
  return () => (model.off("change:step", follow), view.stop());
}
export default { render };
