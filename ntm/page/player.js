// A player of ntm/page/player.py. One text for two places: anywidget imports it as a module in a live Jupyter, and a
// published page holds it as an inline module, whose scope is its own, so that several may share a page.

const VIRIDIS = "440154 482173 433e85 38588c 2d708e 25858e 1e9b8a 2ab07f 52c569 86d549 c2df23 fde725";
const ON_LIGHT = "053061 2a71b2 6bacd1 c2ddec f7f6f6 fbccb4 e48066 ba2832 67001f"; // signed: zero is nearly the page
const ON_DARK = "9eb0ff 62a6e0 3280a6 20526a 1b2229 61200b 964a36 ca7b71 ffadad"; //  likewise on a dark page
const HEADS = ["#2a9d8f", "#e07a2f", "#8a6fd1", "#c2528b"];
const SMALL = 11, NORMAL = 13; // sizes of text; all lengths are CSS pixels
const GAP = 24, TITLE = 24, TICKS = 15, AXIS = 14, LANE = 20, SIDE_LANE = 40, BAR = 44, BELOW = 10;
const TALLEST = 320, LOWEST = 24; // of a panel without what stands around it; it is lower where the window is
const NARROW = 560; // below this width there is one line of panels at a time, chosen by tabs
const ACROSS = 4; // panels side by side, at most
const SHARED = 4; // the room on the left of a panel whose rows are labelled by the one before it
const PACE = 200, CALM_PACE = 600; // milliseconds per step of play; the second for who asked for less motion
const PAUSE = 300; // milliseconds without a change before the step goes into the address; a browser counts those
const THUMB = 16; // the width of a slider's thumb, which its track is shorter by

const STYLE = `
.ntm-player { color: var(--pst-color-text-base, var(--jp-content-font-color1, currentColor)); max-width: 60rem;
  margin: 0.5rem 0; font: 13px/1.4 var(--pst-font-family-base, var(--jp-ui-font-family, system-ui, sans-serif));
  --ntm-accent: var(--pst-color-primary, var(--jp-brand-color1, #2a7f9e)); }
.ntm-player-title { font-size: 15px; font-weight: 600; margin-bottom: 0.2rem; }
.ntm-player-bar { position: sticky; top: var(--ntm-top, 0); z-index: 2; padding: 0.2rem 0;
  background: var(--ntm-ground); }
.ntm-player-controls { display: flex; flex-wrap: wrap; align-items: center; gap: 0.25rem 0.4rem; }
.ntm-player-controls button { display: flex; width: 44px; height: 44px; padding: 0; color: inherit; cursor: pointer;
  align-items: center; justify-content: center; border-radius: 8px; border: 1px solid currentColor; background: none; }
.ntm-player-controls button[aria-disabled=true] { opacity: 0.45; cursor: default; }
.ntm-player-controls svg { width: 1rem; height: 1rem; fill: currentColor; }
.ntm-player-track { flex: 1 1 12rem; min-width: 0; margin-left: 0.4rem; }
.ntm-player-track input { display: block; width: 100%; height: 1.6rem; margin: 0; accent-color: var(--ntm-accent); }
.ntm-player-phases { position: relative; height: 1.1rem; margin: 0 ${THUMB / 2}px; font-size: 11px;
  line-height: 1.1rem; }
.ntm-player-phases div { position: absolute; inset: 0 auto; overflow: hidden; white-space: nowrap; text-align: center;
  border-left: 1px solid var(--ntm-ground); background: color-mix(in srgb, var(--ntm-accent) 12%, transparent); }
.ntm-player-phases [data-now] { font-weight: 600;
  background: color-mix(in srgb, var(--ntm-accent) 26%, transparent); }
.ntm-player-controls output { min-width: 9em; line-height: 1.25; text-align: right;
  font-variant-numeric: tabular-nums; }
.ntm-player-controls output b { display: block; font-weight: 600; }
.ntm-narrow .ntm-player-track { order: 1; flex-basis: 100%; margin: 0; }
.ntm-narrow .ntm-player-controls output { flex: 1; }
.ntm-player p.ntm-player-caption { margin: 0.25rem 0 0; font-variant-numeric: tabular-nums; }
.ntm-player-tabs { display: none; gap: 2px; margin-top: 0.3rem; border-bottom: 1px solid currentColor; }
.ntm-narrow .ntm-player-tabs { display: flex; }
.ntm-player-tabs button { flex: 1 1 auto; min-height: 44px; padding: 0 0.2rem; font: inherit; color: inherit;
  cursor: pointer; border: 0; border-bottom: 3px solid transparent; background: none; }
.ntm-player-tabs [aria-selected=true] { font-weight: 600; border-bottom-color: var(--ntm-accent); }
.ntm-player-picture { position: relative; }
.ntm-player canvas { display: block; width: 100%; touch-action: pan-y; }
.ntm-player-value { position: absolute; pointer-events: none; padding-right: 0.4rem; line-height: ${TITLE - 4}px;
  white-space: nowrap; font-variant-numeric: tabular-nums; background: var(--ntm-ground); }
.ntm-player :focus-visible { outline: 3px solid var(--ntm-accent); outline-offset: 2px; border-radius: 4px; }
.ntm-player-tabs :focus-visible { outline-offset: -3px; }
.ntm-player p.ntm-player-hint { position: absolute; width: 1px; height: 1px; margin: 0; overflow: hidden;
  clip-path: inset(50%); }
@media print { .ntm-player-bar { position: static; } }
/* the book's theme puts outputs on a light ground in dark mode; this one knows both */
html[data-theme] .bd-content div.cell_output .text_html:has(> .ntm-player):not(#_) { all: unset; display: block; }`;

const ICONS = { play: "M4 2l10 6-10 6z", pause: "M3 2h4v12h-4zM9 2h4v12h-4z",
  back: "M13 2v12l-8-6zM3 2h2v12h-2z", forward: "M3 2v12l8-6zM11 2h2v12h-2z" };
const HINT = "Left and right arrow move in time or along a row, up and down change the row, page up and page down " +
  "the panel; the value is said. Escape ends it.";

function colourTable(anchors) {
  const stops = anchors.split(" ").map((hex) => [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16)));
  return Uint32Array.from({ length: 256 }, (_, level) => {
    const place = (level / 255) * (stops.length - 1), i = Math.min(Math.floor(place), stops.length - 2);
    const [r, g, b] = stops[i].map((from, c) => Math.round(from + (place - i) * (stops[i + 1][c] - from)));
    return (255 << 24) | (b << 16) | (g << 8) | r; // as an image's bytes lie in memory
  });
}
const TABLES = { viridis: colourTable(VIRIDIS), light: colourTable(ON_LIGHT), dark: colourTable(ON_DARK) };

const element = (tag, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};
const attributes = (made, all) => Object.entries(all).forEach(([name, value]) => made.setAttribute(name, value));
const short = (number) => String(Number(number.toPrecision(2))).replace("-", "\u2212");
const isTape = (panel) => panel.kind === "tape";
const take = (event) => { // a key, also from a notebook around
  event.preventDefault();
  event.stopPropagation();
};
const clamp = (number, most) => Math.min(Math.max(number, 0), most);

function decode({ data, shape }) { // bytes, of each step what it adds to the step before
  const levels = Uint8Array.from(atob(data), (c) => c.charCodeAt(0)), size = levels.length / shape[0];
  for (let i = size; i < levels.length; i++) levels[i] += levels[i - size];
  return levels;
}

// A picture of columns x rows cells, the level of each given by `level(column, row)`, below 0 if it is transparent, on
// at most `wide` x `tall` pixels: of the cells that share one, that which is farthest from the level `zero` shows.
function sheet(columns, rows, wide, tall, table, zero, level) {
  const width = clamp(Math.round(wide), columns) || 1, height = clamp(Math.round(tall), rows) || 1;
  const canvas = element("canvas", { width, height }), image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer), far = new Float32Array(width * height).fill(-1);
  for (let y = 0; y < rows; y++) {
    const line = Math.floor((y * height) / rows) * width;
    for (let x = 0; x < columns; x++) {
      const value = level(x, y), at = line + Math.floor((x * width) / columns), distance = Math.abs(value - zero);
      if (value < 0 || distance <= far[at]) continue;
      [far[at], pixels[at]] = [distance, table[value]];
    }
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

// Builds the player of `data` in `root`; calls `moved(step)` when a reader, or play, has changed the step. Returns
// show(step) and stop().
function build(root, data, moved) {
  dress();
  const { lines, captions, steps, phases } = data, last = steps - 1;
  for (const panel of lines.flatMap((line) => line.panels)) {
    panel.levels = decode(panel);
    panel.blank = new Set(panel.blank);
    panel.heads ??= [];
    panel.columns ??= Array.from({ length: steps }, (_, t) => t);
    for (const head of panel.heads) head.levels = decode(head);
  }
  attributes(root, { role: "group", "aria-label": data.title || "player", "data-lm-suppress-shortcuts": true });

  // the bar

  const button = (name, icon, action) => {
    const made = element("button", { type: "button" });
    made.addEventListener("click", action);
    face(made, name, icon);
    return made;
  };
  function face(made, name, icon) {
    made.setAttribute("aria-label", name);
    made.innerHTML = `<svg viewBox="0 0 16 16" aria-hidden="true"><path d="${ICONS[icon]}"/></svg>`;
  }
  const starter = button("play", "play", () => (timer ? pause() : play()));
  const back = button("back one step", "back", () => go(step - 1));
  const forward = button("forward one step", "forward", () => go(step + 1));
  const slider = element("input", { type: "range", min: 0, max: last, step: 1 });
  slider.setAttribute("aria-label", "time step");
  slider.addEventListener("input", () => go(Number(slider.value)));
  const bands = phases.map(([first, name], i) => {
    const from = Math.max(first - 0.5, 0), until = Math.min((phases[i + 1]?.[0] ?? steps) - 0.5, last);
    const band = element("div", { title: name }, element("span", { textContent: name }));
    Object.assign(band.style, { left: `${(100 * from) / last}%`, width: `${(100 * (until - from)) / last}%` });
    return band;
  });
  const strip = element("div", { className: "ntm-player-phases" }, ...bands);
  const readout = element("output"), words = element("p", { className: "ntm-player-caption" });
  for (const hidden of [strip, readout]) hidden.setAttribute("aria-hidden", true);
  words.setAttribute("aria-live", "polite");
  const track = element("div", { className: "ntm-player-track" }, slider, ...(phases.length ? [strip] : []));
  const controls = element("div", { className: "ntm-player-controls" }, starter, back, forward, track, readout);
  controls.addEventListener("keydown", (event) => {
    const to = { ArrowLeft: step - 1, ArrowRight: step + 1, Home: 0, End: last }[event.key];
    if (to === undefined) return;
    take(event);
    go(to);
  });
  const id = `ntm-player-${Math.random().toString(36).slice(2)}`;
  const tabs = lines.map(({ name }, i) => {
    const tab = element("button", { type: "button", id: `${id}-${i}`, textContent: name });
    attributes(tab, { role: "tab", "aria-controls": id });
    tab.addEventListener("click", () => open(i));
    return tab;
  });
  const tablist = element("div", { className: "ntm-player-tabs" }, ...tabs);
  attributes(tablist, { role: "tablist", "aria-label": "panels" });
  tablist.addEventListener("keydown", (event) => {
    const to = { ArrowLeft: opened - 1, ArrowRight: opened + 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (to === undefined) return;
    take(event);
    open((to + tabs.length) % tabs.length);
    tabs[opened].focus();
  });
  const bar = element("div", { className: "ntm-player-bar" }, controls, words, ...(tabs.length > 1 ? [tablist] : []));

  // the picture

  const canvas = element("canvas", { tabIndex: 0 });
  const value = element("output", { className: "ntm-player-value", hidden: true });
  const hint = element("p", { className: "ntm-player-hint", id: `${id}-hint`, textContent: HINT });
  attributes(canvas, { role: "application", "aria-describedby": hint.id });
  const area = element("div", { className: "ntm-player-picture", id }, canvas, value, hint);
  if (data.title) root.append(element("div", { className: "ntm-player-title", textContent: data.title }));
  root.append(bar, area);

  const screen = canvas.getContext("2d");
  let step = clamp(data.start, last), timer = 0, opened = 0, probe = null; // the cell whose value is shown
  let width = 0, high = 0, ratio = 1, look = {}, placed = [], pen = screen, still = null;

  function text(words, x, y, align = "left", size = SMALL, alpha = 0.8, weight = 400) {
    pen.font = `${weight} ${size}px ${look.font}`;
    [pen.textAlign, pen.globalAlpha, pen.fillStyle] = [align, alpha, look.colour];
    pen.textBaseline = "middle";
    pen.fillText(words, x, y);
    pen.globalAlpha = 1;
  }
  const textWidth = (words, size = SMALL, weight = 400) =>
    ((pen.font = `${weight} ${size}px ${look.font}`), pen.measureText(words).width);

  // Whole device pixels for a cell, unless that would lose too much: even cells look crisp, uneven ones do not.
  const snap = (cell) => (cell * ratio >= 4 ? Math.floor(cell * ratio + 1e-6) / ratio : cell);
  const lanes = (panel, side) => panel.heads.filter((head) => head.side === side).length;

  // A panel's box in a column of `room`, not higher than `most`; `foot` says whether its time axis is named.
  function measure(panel, room, most, gutter, foot) {
    const rows = panel.rows.length, columns = panel.columns.length, bars = panel.kind === "bars";
    const plain = room - gutter - lanes(panel, "row") * SIDE_LANE - 10; // the last tick label wants some room
    const cellWidth = snap(Math.min(plain / columns, isTape(panel) ? 24 : 40));
    const cellHeight = snap(bars ? Math.min(BAR, most / rows) : Math.min(Math.max(cellWidth, 9), 24, most / rows));
    const above = TITLE + lanes(panel, "column") * LANE, tall = cellHeight * rows;
    const axis = isTape(panel) ? (foot ? "time step" : "") : panel.columnAxis;
    return { panel, cellWidth, cellHeight, wide: cellWidth * columns, tall, above, axis, gutter,
      height: above + tall + TICKS + (axis ? AXIS : 0) + BELOW };
  }

  // Places the panels that are shown, none higher than `most`; returns the height of all.
  function arrange(most) {
    const narrow = width < NARROW, shown = narrow ? [lines[opened]] : lines;
    const widest = Math.max(...lines.flatMap((line) => line.panels)
      .flatMap((panel) => [...panel.rows, ...panel.heads]).map((label) => textWidth(label.name ?? label)));
    const labels = (panel) => panel && JSON.stringify([panel.rows, panel.rowAxis]);
    const rows = shown.flatMap(({ panels }) => {
      const across = Math.min(panels.length, narrow ? 1 + (panels.length > 3) : ACROSS);
      return Array.from({ length: Math.ceil(panels.length / across) }, (_, i) => ({
        across, many: panels.length > 2, panels: panels.slice(i * across, (i + 1) * across) }));
    });
    const foot = rows.findLastIndex(({ panels }) => panels.some(isTape));
    let top = 0;
    placed = [];
    for (const [i, { across, many, panels }] of rows.entries()) {
      const gap = many ? GAP / 2 : GAP;
      const gutters = panels.map((panel, p) =>
        (many && labels(panels[p - 1]) === labels(panel) ? SHARED : widest + 26));
      const shares = many ? gutters : gutters.map(() => 0); // of three or more all are equally wide inside
      const room = (width - gap * (across - 1) - shares.reduce((a, b) => a + b)) / across;
      const fit = (panel, p, limit) => measure(panel, room + shares[p], limit, gutters[p], i === foot);
      const first = panels.map((panel, p) => fit(panel, p, most));
      const boxes = panels.map((panel, p) => { // the same rows are equally high
        const same = first.filter((other) => labels(other.panel) === labels(panel));
        return fit(panel, p, Math.min(...same.map(({ cellHeight }) => cellHeight)) * panel.rows.length);
      });
      let left = 0;
      for (const [p, box] of boxes.entries()) {
        const own = room + shares[p];
        placed.push({ ...box, left: left + box.gutter, limit: left + own, top: top + box.above, head: top });
        left += own + gap;
      }
      top += Math.max(...boxes.map(({ height }) => height));
    }
    const fits = ({ panel, left, limit }) => textWidth(panel.title, NORMAL, 600) <= limit - left;
    look.size = placed.every(fits) ? NORMAL : SMALL; // of titles
    return Math.ceil(top);
  }

  function scale({ panel, left, wide, limit, head }, table, after) { // the colours, and the numbers at their two ends
    const [low, high] = [short(panel.low), short(panel.high)], y = head + 10;
    const first = after + 14 + textWidth(low), end = textWidth(high) + 5;
    const bar = Math.min(48, limit - first - end);
    if (bar < 8) return; // its neighbour, whose scale is the same, has more room, or the value under the pointer tells
    const at = Math.max(left + wide - end - bar, first);
    text(low, at - 5, y, "right");
    text(high, at + bar + 5, y);
    pen.drawImage(sheet(64, 1, 64, 1, table, 0, (x) => x * 4), at, y - 3, bar, 6);
  }

  function ticks(labels, cell, room, draw) { // the labels there is room for: round numbers, or as many as fit
    const numeric = labels.every(Number.isInteger);
    const every = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000].find((n) => n * cell >= room) ?? 1000;
    const seam = numeric ? labels.findIndex((label, i) => i && label < labels[i - 1]) : -1; // of a circle: is labelled
    let before = -Infinity;
    labels.forEach((label, i) => {
      const crowded = (i - before) * cell < room || (i < seam && (seam - i) * cell < room);
      if (i !== seam && ((numeric ? label : i) % every || crowded)) return;
      before = i;
      draw(label, (i + 0.5) * cell);
    });
  }

  const tableOf = (panel) => (panel.diverging ? TABLES[look.dark ? "dark" : "light"] : TABLES.viridis);

  function paint({ panel, left, top, wide, tall }, level) {
    const zero = panel.diverging ? 127.5 : 0, [columns, rows] = [panel.columns.length, panel.rows.length];
    pen.drawImage(sheet(columns, rows, wide * ratio, tall * ratio, tableOf(panel), zero, level), left, top, wide, tall);
  }

  // What stays as it is from step to step.
  function drawStill(box) {
    const { panel, left, top, wide, tall, cellWidth, head } = box, rows = panel.rows.length;
    const after = left + textWidth(panel.title, look.size, 600);
    text(panel.title, left, head + 10, "left", look.size, 1, 600);
    if (panel.kind === "bars") {
      text(`${short(panel.low)} to ${short(panel.high)}`, after + 12, head + 10);
    } else {
      scale(box, tableOf(panel), after);
      if (isTape(panel)) paint(box, (t, row) => (panel.blank.has(t) ? -1 : panel.levels[t * rows + row]));
      [pen.strokeStyle, pen.lineWidth, pen.globalAlpha] = [look.colour, 1, 0.3];
      pen.strokeRect(left - 0.5, top - 0.5, wide + 1, tall + 1);
      pen.globalAlpha = 1;
    }
    const beside = (label, at) => text(label, left - 6, top + at, "right");
    if (box.gutter !== SHARED) ticks(panel.rows, box.cellHeight, 14, beside);
    const widest = Math.max(...panel.columns.map((label) => textWidth(label)));
    ticks(panel.columns, cellWidth, widest + 8, (label, at) => text(label, left + at, top + tall + 10, "center"));
    text(box.axis, left + wide / 2, top + tall + 9 + AXIS, "center");
    if (!panel.rowAxis || box.gutter === SHARED || tall < textWidth(panel.rowAxis)) return;
    pen.save();
    pen.translate(left - box.gutter + 8, top + tall / 2);
    pen.rotate(-Math.PI / 2);
    text(panel.rowAxis, 0, 0, "center");
    pen.restore();
  }

  function bars(levels, first, count, cell, colour, draw) {
    pen.fillStyle = colour;
    for (let i = 0; i < count; i++) {
      if (levels[first + i]) draw(i * cell, levels[first + i] / 255, Math.max(cell - (cell > 4 ? 1 : 0), 1));
    }
  }

  function drawHeads({ panel, left, top, wide, tall, cellWidth, cellHeight }) {
    const lane = { column: top - 4, row: left + wide + 5 };
    panel.heads.forEach((head, h) => {
      const colour = HEADS[h % HEADS.length], count = head.shape[1], first = step * count, at = lane[head.side];
      if (head.side === "column") {
        bars(head.levels, first, count, cellWidth, colour,
          (x, part, thick) => pen.fillRect(left + x, at - part * (LANE - 5), thick, part * (LANE - 5)));
        pen.fillRect(left, at, wide, 1);
        text(head.name, left - 6, at - 7, "right", SMALL, 1);
        lane.column -= LANE;
      } else {
        bars(head.levels, first, count, cellHeight, colour,
          (y, part, thick) => pen.fillRect(at, top + y, part * (SIDE_LANE - 10), thick));
        pen.fillRect(at - 1, top, 1, tall);
        text(head.name, at, top + tall + 9, "left", SMALL, 1);
        lane.row += SIDE_LANE;
      }
    });
  }

  function outline(x, y, wide, tall) { // a light line in a dark one, seen on every colour
    for (const [colour, out] of [[look.ground, 0.5], [look.colour, 1.5]]) {
      [pen.strokeStyle, pen.lineWidth] = [colour, 1];
      pen.strokeRect(x - out, y - out, wide + 2 * out, tall + 2 * out);
    }
  }

  // What changes with the step.
  function drawStep(box) {
    const { panel, left, top, wide, tall, cellWidth } = box, rows = panel.rows.length, columns = panel.columns.length;
    const first = step * rows * columns;
    if (isTape(panel)) {
      outline(left + step * cellWidth, top - 2, cellWidth, tall + 4);
    } else if (panel.kind === "bars") {
      panel.rows.forEach((_, row) => {
        const foot = top + (row + 1) * box.cellHeight - 1, most = box.cellHeight * 0.8;
        bars(panel.levels, first + row * columns, columns, cellWidth, HEADS[row % HEADS.length],
          (x, part, thick) => pen.fillRect(left + x, foot - part * most, thick, part * most));
        pen.fillRect(left, foot, wide, 1);
      });
    } else {
      paint(box, (x, y) => panel.levels[first + y * columns + x]);
    }
    drawHeads(box);
  }

  // Finds the room, places the panels and draws what stays: for another width, window, theme or tab.
  function layout() {
    if (!root.clientWidth) return; // in a closed fold; drawn when it opens
    width = Math.floor(root.clientWidth);
    root.classList.toggle("ntm-narrow", width < NARROW);
    const tabbed = width < NARROW && tabs.length > 1;
    tabs.forEach((tab, i) => attributes(tab, { "aria-selected": i === opened, tabIndex: i === opened ? 0 : -1 }));
    if (tabbed) attributes(area, { role: "tabpanel", "aria-labelledby": tabs[opened].id });
    else ["role", "aria-labelledby"].forEach((name) => area.removeAttribute(name));
    reserve();
    ratio = window.devicePixelRatio || 1;
    const style = getComputedStyle(root), [red, green, blue] = style.color.match(/[\d.]+/g).map(Number);
    const dark = red + green + blue > 3 * 128; // light text is on a dark page, whatever the theme is called
    look = { colour: style.color, font: style.fontFamily, dark, ground: dark ? "#000" : "#fff" };
    root.style.setProperty("--ntm-ground", ground(root));
    const header = document.querySelector(".bd-header-article")?.offsetHeight ?? 0; // the book's, which stays in sight
    root.style.setProperty("--ntm-top", `${header}px`);
    high = windowHeight();
    const over = area.getBoundingClientRect().top - root.getBoundingClientRect().top;
    let most = TALLEST, height = arrange(most);
    while (height > high - header - over - 16 && most > LOWEST) height = arrange((most *= 0.95));
    [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
    canvas.style.height = `${height}px`;
    still = element("canvas", { width: canvas.width, height: canvas.height });
    pen = still.getContext("2d");
    for (const one of [pen, screen]) {
      one.scale(ratio, ratio);
      one.imageSmoothingEnabled = false;
    }
    placed.forEach(drawStill);
    pen = screen;
    draw();
  }
  const windowHeight = () => (root.closest(".jp-WindowedPanel-outer") ?? document.documentElement).clientHeight;

  function draw() {
    if (!still) return;
    screen.clearRect(0, 0, width, canvas.height);
    screen.drawImage(still, 0, 0, width, still.height / ratio);
    placed.forEach(drawStep);
    tell();
  }

  function reserve() { // room for the longest caption, so that what is below stands still
    const said = words.textContent;
    words.style.minHeight = "";
    words.textContent = captions.reduce((one, other) => (other.length > one.length ? other : one), "");
    words.style.minHeight = `${words.offsetHeight}px`;
    words.textContent = said;
    for (const band of bands) {
      band.firstChild.hidden = false;
      band.firstChild.hidden = band.firstChild.offsetWidth > band.clientWidth;
    }
  }

  // the value under the pointer

  function tell() {
    const box = probe && placed[probe.place];
    value.hidden = !box;
    if (!box) return;
    const { panel, left, top, head, cellWidth, cellHeight } = box, { row } = probe;
    const column = isTape(panel) && probe.follows ? step : probe.column, t = isTape(panel) ? column : step;
    const called = (axis, label) => (Number.isInteger(label) ? `${axis || "number"} ${label}` : label);
    const line = t * panel.rows.length + row, at = isTape(panel) ? line : line * panel.columns.length + column;
    const number = panel.low + (panel.levels[at] / 255) * (panel.high - panel.low);
    const across = isTape(panel) ? [] : [called(panel.columnAxis, panel.columns[column])];
    const name = [called(panel.rowAxis, panel.rows[row]), ...across, `step ${t}`].join(", ");
    value.textContent = `${name}: ${panel.blank.has(t) ? "not asked for" : short(number)}`;
    Object.assign(value.style, { top: `${head}px`, left: "0" });
    value.style.left = `${Math.max(Math.min(left, width - value.offsetWidth), 0)}px`;
    outline(left + column * cellWidth, top + row * cellHeight, Math.max(cellWidth, 3), Math.max(cellHeight, 3));
  }

  function ask(next) {
    probe = next;
    draw();
  }

  function point(event) {
    const frame = canvas.getBoundingClientRect(), x = event.clientX - frame.left, y = event.clientY - frame.top;
    const place = placed.findIndex(({ left, top, wide, tall }) =>
      x >= left && x < left + wide && y >= top && y < top + tall);
    if (place < 0) return ask(null);
    const { panel, left, top, cellWidth, cellHeight } = placed[place];
    const column = clamp(Math.floor((x - left) / cellWidth), panel.columns.length - 1);
    probe = { place, column, row: clamp(Math.floor((y - top) / cellHeight), panel.rows.length - 1) };
    if (event.buttons && isTape(panel)) go(column);
    else draw();
  }
  canvas.addEventListener("pointerdown", point);
  canvas.addEventListener("pointermove", point);
  canvas.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && ask(null)); // a finger has gone
  canvas.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: [0, -1, 0], ArrowRight: [0, 1, 0], ArrowUp: [0, 0, -1], ArrowDown: [0, 0, 1],
      PageUp: [-1, 0, 0], PageDown: [1, 0, 0] }[event.key];
    if (event.key === "Escape") ask(null);
    if (!by) return;
    take(event);
    const before = probe ?? { place: 0, row: 0, column: step }, [pages, along, down] = probe ? by : [0, 0, 0];
    const place = (before.place + pages + placed.length) % placed.length, { panel } = placed[place];
    const column = clamp(before.column + along, panel.columns.length - 1), follows = isTape(panel);
    probe = { place, row: clamp(before.row + down, panel.rows.length - 1), column, follows };
    if (follows && along) go(step + along);
    else draw();
  });

  // moving

  function show(next) {
    step = clamp(next, last);
    const phase = phases.findLast(([first]) => first <= step)?.[1];
    slider.value = step;
    slider.setAttribute("aria-valuetext", `step ${step} of ${last}${phase ? `, ${phase}` : ""}`);
    readout.replaceChildren(`step ${step} of ${last}`, ...(phase ? [element("b", { textContent: phase })] : []));
    bands.forEach((band, i) => band.toggleAttribute("data-now", phases[i][1] === phase));
    back.setAttribute("aria-disabled", step === 0);
    forward.setAttribute("aria-disabled", step === last);
    words.textContent = captions[step];
    canvas.setAttribute("aria-label", `${data.title || "player"}: ${captions[step]}`);
    draw();
  }

  function go(next) { // to where a reader wants to be
    pause();
    show(next);
    moved(step);
  }
  function pause() {
    clearInterval(timer);
    timer = 0;
    words.setAttribute("aria-live", "polite");
    face(starter, "play", "play");
  }
  function play() {
    if (step === last) show(0);
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    timer = setInterval(() => {
      show(step + 1);
      moved(step);
      if (step === last) pause();
    }, calm ? CALM_PACE : PACE);
    words.setAttribute("aria-live", "off"); // several sentences a second are of no use to a listener
    face(starter, "pause", "pause");
  }
  function open(i) {
    [opened, probe] = [i, null];
    layout();
  }

  const fit = () => (Math.floor(root.clientWidth) !== width || windowHeight() !== high) && layout();
  const resized = new ResizeObserver(fit);
  resized.observe(root);
  window.addEventListener("resize", fit);
  const soon = () => requestAnimationFrame(layout);
  const themed = new MutationObserver(soon);
  const watched = { attributes: true, attributeFilter: ["class", "data-theme", "data-mode", "data-jp-theme-name"] };
  for (const page of [document.documentElement, document.body]) themed.observe(page, watched);
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  scheme.addEventListener("change", soon);
  show(step);
  layout();
  function stop() {
    clearInterval(timer);
    resized.disconnect();
    themed.disconnect();
    scheme.removeEventListener("change", soon);
    window.removeEventListener("resize", fit);
  }
  return { show, stop };
}

// The colour that `inner` stands on.
function ground(inner) {
  if (!inner) return "Canvas";
  const { backgroundColor } = getComputedStyle(inner);
  return /, 0\)$|^transparent$/.test(backgroundColor) ? ground(inner.parentElement) : backgroundColor;
}

function dress() { // the style, once for a page
  if (document.getElementById("ntm-player-style")) return;
  document.head.append(element("style", { id: "ntm-player-style", textContent: STYLE }));
}

// In a published page: the step of the first player is in the address after `#step=`, of the second after `#step-2=`.
function mount(root, place) {
  if (root.dataset.ready) return;
  root.dataset.ready = "yes";
  const begin = `#step${place ? `-${place + 1}` : ""}=`, data = JSON.parse(root.querySelector("script").textContent);
  let timer = 0;
  const keep = (step) => {
    clearTimeout(timer);
    timer = setTimeout(() => history.replaceState(history.state, "", `${begin}${step}`), PAUSE);
  };
  const { show } = build(root, data, keep);
  function find() {
    const step = Number(location.hash.slice(begin.length) || NaN);
    if (!location.hash.startsWith(begin) || !Number.isInteger(step)) return;
    show(step);
    root.scrollIntoView();
  }
  find();
  window.addEventListener("hashchange", find);
}
document.querySelectorAll(".ntm-player:has(> script)").forEach(mount);

// In a live Jupyter: the same, and its step is the widget's `timestep`.
function render({ model, el }) {
  const root = element("div", { className: "ntm-player" });
  el.append(root);
  const tell = (step) => {
    model.set("timestep", step);
    model.save_changes();
  };
  const data = { ...JSON.parse(model.get("data")), start: model.get("timestep") };
  const { show, stop } = build(root, data, tell);
  const follow = () => show(model.get("timestep"));
  model.on("change:timestep", follow);
  return () => (model.off("change:timestep", follow), stop());
}
export default { render };
