// The weights of a machine, in one row and by name, in the order of the state_dict of ntm.model.NTM.

// [name, rows, columns] of each; a bias or a state is one row.
export function parameterShapes(config) {
  const { inputs: X, outputs: Y, hidden: C, layers: L, width: M, shifts: S } = config;
  const R = config.read_heads, W = config.write_heads, heads = (R + W) * (M + S + 3) + W * 2 * M;
  const layers = Array.from({ length: L }, (_, l) => {
    const seen = l ? C : X + R * M;
    return config.controller === "lstm"
      ? [[`controller.cells.${l}.weight_ih`, 4 * C, seen], [`controller.cells.${l}.weight_hh`, 4 * C, C],
        [`controller.cells.${l}.bias_ih`, 1, 4 * C], [`controller.cells.${l}.bias_hh`, 1, 4 * C]]
      : [[`controller.layers.${l}.weight`, C, seen], [`controller.layers.${l}.bias`, 1, C]];
  });
  const states = config.controller === "lstm" ? ["controller.initial_hidden", "controller.initial_cell"] : [];
  return [
    ["initial_reads", R, M], ...states.map((name) => [name, L, C]), ...layers.flat(),
    ["heads.projection.weight", heads, C], ["heads.projection.bias", 1, heads],
    ["output.weight", Y, C + R * M], ["output.bias", 1, Y],
  ];
}

export class Parameters {
  constructor(config) {
    this.shapes = parameterShapes(config);
    this.all = new Float64Array(this.shapes.reduce((sum, [, rows, columns]) => sum + rows * columns, 0));
    this.named = {};
    let at = 0;
    for (const [name, rows, columns] of this.shapes) this.named[name] = this.all.subarray(at, (at += rows * columns));
    const of = (name) => this.named[name];
    const linear = (path) => ({ weight: of(`${path}.weight`), bias: of(`${path}.bias`) });
    this.layers = Array.from({ length: config.layers }, (_, l) => {
      if (config.controller === "feedforward") return linear(`controller.layers.${l}`);
      const cell = (name) => of(`controller.cells.${l}.${name}`);
      const part = (to) => ({ weight: cell(`weight_${to}`), bias: cell(`bias_${to}`) });
      return { input: part("ih"), recurrent: part("hh") };
    });
    this.heads = linear("heads.projection");
    this.output = linear("output");
    this.initialReads = of("initial_reads");
    const layersOf = (name) => Array.from({ length: of(name) ? config.layers : 0 },
      (_, l) => of(name).subarray(l * config.hidden, (l + 1) * config.hidden));
    this.initialHidden = layersOf("controller.initial_hidden");
    this.initialCell = layersOf("controller.initial_cell");
  }

  // The first weights, as torch draws them: uniform, up to 1/sqrt(inputs) of a layer or 1/sqrt(C) in an LSTM; the
  // heads' up to sqrt(6 / (rows + columns)), without biases; first states 0.
  draw(config, random) {
    let reach = 0;
    for (const [name, rows, columns] of this.shapes) {
      if (name.startsWith("heads")) reach = name.endsWith("weight") ? Math.sqrt(6 / (rows + columns)) : 0;
      else if (name.includes("initial")) reach = 0;
      else if (name.includes("cells")) reach = 1 / Math.sqrt(config.hidden);
      else if (name.endsWith("weight")) reach = 1 / Math.sqrt(columns); // and the bias, which comes next
      const row = this.named[name];
      for (let i = 0; i < row.length; i++) row[i] = reach * (2 * random.uniform() - 1);
    }
  }

  // Weights as ntm.page.machine.encode packs them: base64 of half or single precision, little end first.
  decode(text, precision) {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0)), view = new DataView(bytes.buffer);
    const size = precision === "half" ? 2 : 4;
    if (bytes.length !== size * this.all.length) {
      throw new Error(`${bytes.length} bytes of weights: expected ${size} for each of ${this.all.length}`);
    }
    for (let i = 0; i < this.all.length; i++) {
      this.all[i] = size === 2 ? half(view.getUint16(2 * i, true)) : view.getFloat32(4 * i, true);
    }
  }
}

// A number in half precision: one bit of sign, five of exponent, ten of fraction.
function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -24 * fraction);
}
