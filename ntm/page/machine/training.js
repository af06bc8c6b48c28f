// Training and measuring; the twin of ntm/training.py.

import { Parameters } from "./parameters.js";
import { sigmoid } from "./arrays.js";
import { gradientSlot, Trace } from "./trace.js";

// The quick recipe of ntm.training.TrainingConfig, under the same names.
export const RECIPE = {
  updates: 10_000, batch: 8, loss: "crossEntropy", learning_rate: 3e-3, halve_every: 1500, clip_at: 0.3,
  train_locations: [22, 26], own_every: 10,
};

// log(1 + exp(-|x|)) + max(x, 0) - x z: the cross-entropy, in nats, of an output with logit x and target z
const nats = (x, z) => Math.max(x, 0) - x * z + Math.log1p(Math.exp(-Math.abs(x)));

export const training = {
  // Losses of one step: fill d of the logits, return the sum over the bits, both times `weight`.
  crossEntropy(dLogits, logits, targets, weight) {
    let sum = 0;
    for (let y = 0; y < logits.length; y++) {
      sum += nats(logits[y], targets[y]);
      dLogits[y] = weight * (sigmoid(logits[y]) - targets[y]);
    }
    return weight * sum;
  },

  huber(dLogits, logits, targets, weight) {
    let sum = 0;
    for (let y = 0; y < logits.length; y++) {
      const output = sigmoid(logits[y]), off = output - targets[y];
      sum += 0.5 * off * off; // the square part: an output is never off by more than 1
      dLogits[y] = weight * off * output * (1 - output);
    }
    return weight * sum;
  },

  finite: (value) => Number.isFinite(value),

  // In place: bound the norm of the whole; returns the norm before.
  clipByNorm(gradient, at) {
    let square = 0;
    for (let i = 0; i < gradient.length; i++) square += gradient[i] * gradient[i];
    const norm = Math.sqrt(square), factor = at / (norm + 1e-6);
    if (factor < 1) for (let i = 0; i < gradient.length; i++) gradient[i] *= factor;
    return norm;
  },

  learningRateAt: (config, update) => config.learning_rate * 0.5 ** (update / config.halve_every),

  // The locations of a batch's memory: now and then the machine's own number, else drawn.
  locationsAt(config, own, update, random) {
    return update % config.own_every === 0 ? own : random.integer(...config.train_locations);
  },
};

// The costs of one sequence: cross-entropy in bits, and outputs on the wrong side of one half.
export function costs(trace, { targets, mask }) {
  let bits = 0, wrong = 0;
  for (let t = 0; t < targets.length; t++) {
    if (!mask[t]) continue;
    const logits = trace.slots[t + 1].logits;
    for (let y = 0; y < logits.length; y++) {
      bits += nats(logits[y], targets[t][y]) / Math.LN2;
      wrong += logits[y] > 0 !== targets[t][y] > 0.5 ? 1 : 0;
    }
  }
  return { bits, wrong };
}

// Kingma and Ba (2015), as torch has it.
export class Adam {
  constructor(size) {
    this.mean = new Float64Array(size);
    this.square = new Float64Array(size);
    this.updates = 0;
  }

  step(weights, gradient, rate) {
    const { mean, square } = this, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
    this.updates++;
    const pace = rate / (1 - beta1 ** this.updates), correction = Math.sqrt(1 - beta2 ** this.updates);
    for (let i = 0; i < weights.length; i++) {
      mean[i] += (1 - beta1) * (gradient[i] - mean[i]);
      square[i] += (1 - beta2) * (gradient[i] * gradient[i] - square[i]);
      weights[i] -= (pace * mean[i]) / (Math.sqrt(square[i]) / correction + epsilon);
    }
  }
}

// Trains a machine in place, one update at a time. `draw(batch)` gives sequences, at most `steps` long.
export class Training {
  constructor(machine, draw, steps, config, random) {
    Object.assign(this, { machine, draw, steps, config, random, update: 0 });
    this.gradient = new Parameters(machine.config);
    this.adam = new Adam(this.gradient.all.length);
    this.room = new Map(); // locations -> a trace and a gradient slot, made once
  }

  roomFor(locations) {
    if (!this.room.has(locations)) {
      const d = gradientSlot(this.machine.config, locations);
      this.room.set(locations, { trace: this.machine.begin(this.steps, locations), d });
    }
    return this.room.get(locations);
  }

  // The loss's gradient over a batch, into this.gradient; returns the means of a sequence: loss, bits and wrong bits.
  differentiate(batch, locations) {
    const { machine, gradient } = this, { trace, d } = this.roomFor(locations);
    const { mask, targets } = batch[0], loss = training[this.config.loss];
    const weight = 1 / (mask.reduce((a, b) => a + b) * targets[0].length * batch.length);
    const means = { loss: 0, bits: 0, wrong: 0 };
    gradient.all.fill(0);
    batch.forEach((sequence) => {
      machine.initialState(trace.slots[0]);
      machine.forward(sequence.inputs, trace);
      const dLogits = sequence.targets.map((target, t) => {
        const row = new Float64Array(target.length);
        if (mask[t]) means.loss += loss(row, trace.slots[t + 1].logits, target, weight);
        return row;
      });
      machine.backward(gradient, trace, dLogits, d);
      const { bits, wrong } = costs(trace, sequence);
      means.bits += bits / batch.length;
      means.wrong += wrong / batch.length;
    });
    return means;
  }

  // One update; returns what `differentiate` does, from before it.
  step() {
    const { machine, config, gradient } = this, batch = this.draw(config.batch);
    this.update++;
    const means = this.differentiate(
      batch, training.locationsAt(config, machine.config.locations, this.update, this.random));
    const norm = training.clipByNorm(gradient.all, config.clip_at);
    if (!training.finite(norm) || !training.finite(means.loss)) throw new Error(`update ${this.update} is not finite`);
    this.adam.step(machine.parameters.all, gradient.all, training.learningRateAt(config, this.update));
    return means;
  }
}

// Wrong bits of each of some sequences, with as many locations as asked for.
export function wrongBits(machine, batch, locations = machine.config.locations) {
  const trace = new Trace(machine.config, Math.max(...batch.map(({ inputs }) => inputs.length)), locations);
  return batch.map((sequence) => {
    machine.initialState(trace.slots[0]);
    return costs(machine.forward(sequence.inputs, trace), sequence).wrong;
  });
}
