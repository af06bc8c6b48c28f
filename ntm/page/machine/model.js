// The Neural Turing Machine: a controller, heads, and a memory, joined as in Figure 1 of the paper; the twin of
// ntm/model.py, whose head explains the letters. All numbers are double precision, as JavaScript's own are.

import { addressing } from "./addressing.js";
import { linear, linearBackward } from "./arrays.js";
import { feedforward, lstm } from "./controller.js";
import { heads } from "./heads.js";
import { memory } from "./memory.js";
import { Parameters } from "./parameters.js";
import { gradientSlot, Trace } from "./trace.js";

const INITIAL_MEMORY = 1e-6; // a small constant, not 0, where the similarity to a key has no direction

// A machine from what ntm.page.machine.encode made of one.
export function decode({ config, precision, weights }) {
  const machine = new NTM(config);
  machine.parameters.decode(weights, precision);
  return machine;
}

export class NTM {
  // `config` has the fields of ntm.model.NTMConfig, under the same names.
  constructor(config) {
    this.config = config;
    this.parameters = new Parameters(config);
    this.controller = config.controller === "lstm" ? lstm : feedforward;
  }

  // Into a slot: controller and reads start at learned values, every head at location 0.
  initialState(slot) {
    const { initialReads, initialHidden, initialCell } = this.parameters;
    slot.allReads.set(initialReads);
    initialHidden.forEach((row, l) => slot.hidden[l].set(row));
    initialCell.forEach((row, l) => slot.cell[l].set(row));
    for (const weighting of slot.weighting) {
      weighting.fill(0);
      weighting[0] = 1;
    }
    slot.memory.fill(INITIAL_MEMORY);
  }

  // From d of the state before the first step: adds to the gradient of what is learned of it.
  initialStateBackward(gradient, d) {
    const add = (out, row) => row.forEach((value, i) => (out[i] += value));
    add(gradient.initialReads, d.previousReads);
    gradient.initialHidden.forEach((row, l) => add(row, d.hidden[l]));
    gradient.initialCell.forEach((row, l) => add(row, d.cell[l]));
  }

  // One time step: the input (X,) and the slot before it -> its slot, which must be another one.
  step(slot, before, input) {
    const { layers, heads: projection } = this.parameters;
    slot.input.set(input);
    slot.previousReads.set(before.allReads);
    this.controller.forward(slot, before, layers);
    heads.forward(slot, projection);
    for (let h = 0; h < slot.weighting.length; h++) addressing.address(slot, before, h);
    memory.writeAndRead(slot, before);
    this.emit(slot);
  }

  // What the machine says, from its controller and what it has just read.
  emit(slot) {
    linear(slot.logits, this.parameters.output, slot.features);
  }

  emitBackward(gradient, d, slot) {
    linearBackward(gradient.output, d.features, d.logits, this.parameters.output, slot.features);
  }

  // A whole sequence, from what stands in the first slot; without a trace from the initial state. Returns the trace.
  forward(inputs, trace = this.begin(inputs.length)) {
    for (let t = 0; t < inputs.length; t++) this.step(trace.slots[t + 1], trace.slots[t], inputs[t]);
    return trace;
  }

  // A trace with room for some steps, its first slot the initial state.
  begin(steps, locations = this.config.locations) {
    const trace = new Trace(this.config, steps, locations);
    this.initialState(trace.slots[0]);
    return trace;
  }

  // All steps from the last to the first. `dLogits` has (Y,) for each step; adds to `gradient`, a Parameters; `d` is a
  // gradientSlot for as many locations as the trace has.
  backward(gradient, trace, dLogits, d = gradientSlot(this.config, trace.locations)) {
    for (const row of [d.previousReads, d.controller, ...d.below, ...d.cell, ...d.weighting, d.memory]) row.fill(0);
    for (let t = dLogits.length - 1; t >= 0; t--) {
      d.logits.set(dLogits[t]);
      this.stepBackward(gradient, d, trace.slots[t + 1], trace.slots[t]);
    }
    this.initialStateBackward(gradient, d);
    return gradient;
  }

  // `d` in place, of the state after the step -> of the state before it.
  stepBackward(gradient, d, slot, before) {
    const { layers, heads: projection } = this.parameters;
    d.allReads.set(d.previousReads); // what the next step's controller saw
    this.emitBackward(gradient, d, slot);
    memory.writeAndReadBackward(d, slot, before);
    for (let h = 0; h < slot.weighting.length; h++) addressing.addressBackward(d, slot, before, h);
    heads.backward(gradient.heads, d, slot, projection);
    this.controller.backward(gradient.layers, d, slot, before, layers);
  }
}
