// The two controllers of section 3.4; the twin of ntm/controller.py.
//
// One step of one sequence: slot.seen (X + R M) -> slot.hidden, (C,) for each layer, whose last is slot.controller.
// Backward: d.hidden and d.cell hold the gradient of the state after the step, and get that of the state before it.

import { linear, linearBackward, sigmoid, tanh, tanhBackward } from "./arrays.js";

// layers of tanh units; nothing is carried from step to step
export const feedforward = {
  forward(slot, before, layers) {
    let input = slot.seen;
    for (let l = 0; l < layers.length; l++) {
      linear(slot.hidden[l], layers[l], input);
      input = slot.hidden[l];
      tanh(input);
    }
  },

  backward(gradient, d, slot, before, layers) {
    for (let l = layers.length - 1; l >= 0; l--) {
      tanhBackward(d.hidden[l], slot.hidden[l]);
      const below = l ? d.hidden[l - 1] : d.seen, input = l ? slot.hidden[l - 1] : slot.seen;
      below.fill(0);
      linearBackward(gradient[l], below, d.hidden[l], layers[l], input);
    }
    d.controller.fill(0);
  },
};

// stacked cells (Hochreiter and Schmidhuber, 1997), their gates in torch's order: input, forget, cell, output
export const lstm = {
  forward(slot, before, cells) {
    let input = slot.seen;
    for (let l = 0; l < cells.length; l++) {
      const gates = slot.gates[l], recurrent = slot.recurrent[l];
      linear(gates, cells[l].input, input);
      linear(recurrent, cells[l].recurrent, before.hidden[l]);
      lstm.cell(slot.hidden[l], slot.cell[l], gates, recurrent, before.cell[l]);
      input = slot.hidden[l];
    }
  },

  // The gates' two sums in, the gates out (in place); hidden and cell after the step.
  cell(hidden, cell, gates, recurrent, cellBefore) {
    const units = hidden.length;
    for (let i = 0; i < gates.length; i++) {
      const sum = gates[i] + recurrent[i];
      gates[i] = i >= 2 * units && i < 3 * units ? Math.tanh(sum) : sigmoid(sum);
    }
    for (let c = 0; c < units; c++) {
      cell[c] = gates[units + c] * cellBefore[c] + gates[c] * gates[2 * units + c];
      hidden[c] = gates[3 * units + c] * Math.tanh(cell[c]);
    }
  },

  cellBackward(dGates, dHidden, dCell, cell, gates, cellBefore) {
    const units = cell.length;
    for (let c = 0; c < units; c++) {
      const i = gates[c], f = gates[units + c], g = gates[2 * units + c], o = gates[3 * units + c];
      const squashed = Math.tanh(cell[c]), d = dCell[c] + dHidden[c] * o * (1 - squashed * squashed);
      dGates[c] = d * g * i * (1 - i);
      dGates[units + c] = d * cellBefore[c] * f * (1 - f);
      dGates[2 * units + c] = d * i * (1 - g * g);
      dGates[3 * units + c] = dHidden[c] * squashed * o * (1 - o);
      dCell[c] = d * f;
    }
  },

  backward(gradient, d, slot, before, cells) {
    d.seen.fill(0);
    for (let l = cells.length - 1; l >= 0; l--) {
      const dGates = d.gates[l], dHidden = d.hidden[l];
      lstm.cellBackward(dGates, dHidden, d.cell[l], slot.cell[l], slot.gates[l], before.cell[l]);
      dHidden.fill(0);
      linearBackward(gradient[l].recurrent, dHidden, dGates, cells[l].recurrent, before.hidden[l]);
      const below = l ? d.hidden[l - 1] : d.seen, input = l ? slot.hidden[l - 1] : slot.seen;
      linearBackward(gradient[l].input, below, dGates, cells[l].input, input);
    }
  },
};
