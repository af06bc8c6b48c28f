// What a sequence leaves behind: the arrays of every step, time first, and for each step the views into them.
//
// Letters as in ntm/model.py. Slot 0 is the state before the first step, slot t + 1 what step t computed and the state
// after it.

// name -> [rows, columns] of one step, rows null where there is one array and no list of arrays
function stepShapes(config, locations) {
  const { inputs: X, outputs: Y, hidden: C, layers: L, width: M, shifts: S } = config;
  const R = config.read_heads, W = config.write_heads, H = R + W, N = locations;
  const cells = config.controller === "lstm" ? L : 0;
  return {
    seen: [null, X + R * M], // the input and the previous reads
    gates: [cells, 4 * C],
    recurrent: [cells, 4 * C],
    cell: [cells, C],
    below: [L - 1, C], // the controller's layers but for the last
    features: [null, C + R * M], // the controller's output and the reads
    raw: [null, H * (M + S + 3) + W * 2 * M],
    key: [H, M],
    beta: [null, H],
    gate: [null, H],
    shift: [H, S],
    gamma: [null, H],
    erase: [W, M],
    add: [W, M],
    similarity: [H, N], // equation 6
    content: [H, N], // equation 5
    gated: [H, N], // equation 7
    shifted: [H, N], // equation 8
    weighting: [H, N], // equation 9
    memory: [null, N * M], // after the step's write
    logits: [null, Y],
  };
}

// The views of one step. The gradient of a step is kept in a slot too, each array's under the array's own name.
class Slot {
  constructor(config, sizes, arrays, t) {
    for (const [name, [rows, columns]] of Object.entries(sizes)) {
      const start = t * (rows ?? 1) * columns;
      const view = (row) => arrays[name].subarray(start + row * columns, start + (row + 1) * columns);
      this[name] = rows === null ? view(0) : Array.from({ length: rows }, (_, row) => view(row));
    }
    const { inputs: X, hidden: C, width: M, read_heads: R } = config;
    this.input = this.seen.subarray(0, X);
    this.previousReads = this.seen.subarray(X);
    this.controller = this.features.subarray(0, C);
    this.hidden = [...this.below, this.controller];
    this.allReads = this.features.subarray(C);
    this.reads = Array.from({ length: R }, (_, r) => this.allReads.subarray(r * M, (r + 1) * M));
    this.reading = this.weighting.slice(0, R);
    this.writing = this.weighting.slice(R);
  }
}

export class Trace {
  constructor(config, steps, locations) {
    const sizes = stepShapes(config, locations);
    for (const [name, [rows, columns]] of Object.entries(sizes)) {
      this[name] = new Float64Array((steps + 1) * (rows ?? 1) * columns);
    }
    this.steps = steps;
    this.locations = locations;
    this.slots = Array.from({ length: steps + 1 }, (_, t) => new Slot(config, sizes, this, t));
  }
}

// The gradient of one step's arrays, carried from step to step, and room for what write heads find when they erase.
export function gradientSlot(config, locations) {
  const slot = new Trace(config, 0, locations).slots[0];
  slot.found = Array.from({ length: config.write_heads }, () => new Float64Array(locations * config.width));
  return slot;
}
