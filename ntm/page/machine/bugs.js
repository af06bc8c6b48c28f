// The historical faults that have a mathematical form; the twin of ntm/bugs.py, under the same names and in its order.
//
// A fault gives functions in place of some of one table's, forward and backward; `right` are those it stands in for.

import { addressing } from "./addressing.js";
import { dot, sigmoid } from "./arrays.js";
import { heads } from "./heads.js";
import { memory } from "./memory.js";
import { NTM } from "./model.js";
import { Random } from "./random.js";
import { tasks } from "./tasks.js";
import { training } from "./training.js";

export const FAULTS = {
  // Equation 9 with the gate as its exponent.
  exponent_is_the_gate: [addressing, () => ({
    address(slot, before, h) {
      addressing.contentWeighting(slot.content[h], slot.similarity[h], before.memory, slot.key[h], slot.beta[h]);
      addressing.interpolate(slot.gated[h], slot.content[h], before.weighting[h], slot.gate[h]);
      addressing.shift(slot.shifted[h], slot.gated[h], slot.shift[h]);
      addressing.sharpen(slot.weighting[h], slot.shifted[h], slot.gate[h]);
    },
    addressBackward(d, slot, before, h) {
      const exponent = addressing.sharpenBackward(
        d.shifted[h], d.weighting[h], slot.weighting[h], slot.shifted[h], slot.gate[h]);
      addressing.moveBackward(d, slot, before, h);
      d.gate[h] += exponent;
      d.gamma[h] = 0;
    },
  })],

  // Equation 9 as a power and a quotient: 0/0 where every power underflows.
  bare_power: [addressing, () => power(0)],

  // Equation 6 without an epsilon: 0/0 for a row or a key of zeros.
  bare_cosine: [addressing, () => cosine(0)],

  // Equation 8 with the kernel read modulo 3 for every pair of locations.
  convolution_modulo_three: [addressing, () => moduloThree],

  // Equation 8 with a kernel that gradients do not pass.
  shift_without_gradient: [addressing, (right) => ({
    shiftBackward(dGated, dShift, dShifted, gated, shift) {
      right.shiftBackward(dGated, dShift, dShifted, gated, shift);
      dShift.fill(0);
    },
  })],

  // The convolution modulo 3 as a matrix of kernels laid side by side, which fits only if 3 divides N.
  kernel_in_tiles: [addressing, () => ({
    shift(shifted, gated, shift) {
      if (gated.length % 3) throw new Error(`kernels of 3 side by side do not fit ${gated.length} locations`);
      moduloThree.shift(shifted, gated, shift);
    },
    shiftBackward: moduloThree.shiftBackward,
  })],

  // A key strength between 0 and 1.
  beta_is_a_sigmoid: [heads, () => strength(1)],

  // A key strength between 0 and 10.
  beta_is_ten_sigmoids: [heads, () => strength(10)],

  // A sigmoid around equation 9: every entry between 0.5 and 0.731.
  sigmoid_on_the_weighting: [addressing, (right) => ({
    sharpen(weighting, shifted, gamma) {
      right.sharpen(weighting, shifted, gamma);
      for (let n = 0; n < weighting.length; n++) weighting[n] = sigmoid(weighting[n]);
    },
    sharpenBackward(dShifted, dWeighting, weighting, shifted, gamma) {
      const sharpened = new Float64Array(shifted.length);
      right.sharpen(sharpened, shifted, gamma);
      const dSharpened = dWeighting.map((d, n) => d * weighting[n] * (1 - weighting[n]));
      return right.sharpenBackward(dShifted, dSharpened, sharpened, shifted, gamma);
    },
  })],

  // Equation 9 with 1e-8 added to the sum.
  epsilon_in_the_normaliser: [addressing, () => power(1e-8)],

  // Equation 8 with the kernel turned round.
  mirrored_shift: [addressing, (right) => ({
    shift(shifted, gated, shift) {
      right.shift(shifted, gated, shift.slice().reverse());
    },
    shiftBackward(dGated, dShift, dShifted, gated, shift) {
      right.shiftBackward(dGated, dShift, dShifted, gated, shift.slice().reverse());
      dShift.reverse();
    },
  })],

  // Equation 3 computed and thrown away.
  erase_dropped: [memory, () => ({
    applyErase(kept, cells) {
      kept.set(cells);
    },
    applyEraseBackward(dCells, dWeighting, dErase) {
      dErase.fill(0);
    },
  })],

  // The step's read sees the memory as it was before the step's write.
  read_before_write: [memory, () => ({
    writeAndRead(slot, before) {
      memory.write(slot.memory, before.memory, slot.writing, slot.erase, slot.add);
      slot.reads.forEach((reads, r) => memory.read(reads, before.memory, slot.reading[r]));
    },
    writeAndReadBackward(d, slot, before) {
      memory.writeBackward(
        d.memory, d.writing, d.erase, d.add, before.memory, slot.writing, slot.erase, slot.add, d.found);
      slot.reads.forEach((reads, r) =>
        memory.readBackward(d.memory, d.reading[r], d.reads[r], before.memory, slot.reading[r]));
    },
  })],

  // The output sees the controller only.
  output_without_reads: [NTM.prototype, () => ({
    emit(slot) {
      const { weight, bias } = this.parameters.output, row = slot.features.length;
      for (let y = 0; y < bias.length; y++) {
        slot.logits[y] = bias[y];
        for (let c = 0; c < slot.controller.length; c++) slot.logits[y] += weight[y * row + c] * slot.controller[c];
      }
    },
    emitBackward(gradient, d, slot) {
      const { weight, bias } = gradient.output, row = slot.features.length;
      for (let y = 0; y < bias.length; y++) {
        bias[y] += d.logits[y];
        for (let c = 0; c < slot.controller.length; c++) {
          weight[y * row + c] += d.logits[y] * slot.controller[c];
          d.controller[c] += d.logits[y] * this.parameters.output.weight[y * row + c];
        }
      }
    },
  })],

  // All states, weightings too, drawn anew for each sequence, 0, or another constant.
  states_small_normal: [NTM.prototype, () => everywhere(() => 0.05 * draws.normal())],
  states_wide_normal: [NTM.prototype, () => everywhere(() => 0.5 * draws.normal())],
  states_zero: [NTM.prototype, () => everywhere(() => 0)],
  states_2_53: [NTM.prototype, () => everywhere(() => 2.53)],
  states_0_5: [NTM.prototype, () => everywhere(() => 0.5)],

  // A comparison with NaN, which equals nothing: a test that cannot fail.
  comparison_with_nan: [training, () => ({ finite: (value) => !(value === NaN) })],

  // The two flags are targets too, and always 0.
  silent_targets: [tasks, (right) => ({
    copyOf(list) {
      const sequence = right.copyOf(list);
      return { ...sequence, targets: sequence.targets.map((target) => Float64Array.of(...target, 0, 0)) };
    },
  })],
};

// Puts faults in place, the first one innermost where several sit in one place; returns what takes them out again.
export function present(...names) {
  const unknown = names.find((name) => !(name in FAULTS));
  if (unknown) throw new Error(`unknown fault ${unknown}: must be one of ${Object.keys(FAULTS).join(", ")}`);
  const undo = [];
  for (const name of names) {
    const [place, faulty] = FAULTS[name], functions = faulty({ ...place });
    const right = Object.fromEntries(Object.keys(functions).map((key) => [key, place[key]]));
    Object.assign(place, functions);
    undo.unshift(() => Object.assign(place, right));
  }
  return () => undo.splice(0).forEach((one) => one());
}

const draws = new Random(0);

const everywhere = (value) => ({
  initialState(slot) {
    for (const row of [slot.allReads, ...slot.hidden, ...slot.cell, ...slot.weighting, slot.memory]) {
      for (let i = 0; i < row.length; i++) row[i] = value();
    }
  },
  initialStateBackward() {}, // nothing of it is learned
});

const strength = (most) => ({
  keyStrength: (raw) => most * sigmoid(raw),
  keyStrengthBackward: (raw) => most * sigmoid(raw) * (1 - sigmoid(raw)),
});

// Equation 9 as a power, divided by the sum of all and epsilon.
function power(epsilon) {
  function sumOf(shifted, gamma) {
    let sum = epsilon;
    for (let n = 0; n < shifted.length; n++) sum += shifted[n] ** gamma;
    return sum;
  }
  return {
    sharpen(weighting, shifted, gamma) {
      const sum = sumOf(shifted, gamma);
      for (let n = 0; n < shifted.length; n++) weighting[n] = shifted[n] ** gamma / sum;
    },
    sharpenBackward(dShifted, dWeighting, weighting, shifted, gamma) {
      const sum = sumOf(shifted, gamma), mean = dot(dWeighting, weighting);
      let dGamma = 0;
      for (let n = 0; n < shifted.length; n++) {
        const d = (dWeighting[n] - mean) / sum;
        dShifted[n] = d * gamma * shifted[n] ** (gamma - 1);
        if (shifted[n] !== 0) dGamma += d * shifted[n] ** gamma * Math.log(shifted[n]);
      }
      return dGamma;
    },
  };
}

// Equation 6 with another epsilon.
const cosine = (epsilon) => ({
  cosineSimilarity(similarity, cells, key) {
    const length = Math.sqrt(dot(key, key));
    for (let n = 0; n < similarity.length; n++) {
      const row = cells.subarray(n * key.length, (n + 1) * key.length);
      similarity[n] = dot(row, key) / (length * Math.sqrt(dot(row, row)) + epsilon);
    }
  },
  cosineSimilarityBackward(dCells, dKey, dSimilarity, cells, key, similarity) {
    addressing.cosineBackward(dCells, dKey, dSimilarity, cells, key, similarity, epsilon);
  },
});

// A location's third is its number modulo 3; all of a third give and get the same.
const moduloThree = {
  shift(shifted, gated, shift) {
    const sums = [0, 0, 0];
    for (let n = 0; n < gated.length; n++) sums[n % 3] += gated[n];
    for (let n = 0; n < gated.length; n++) {
      shifted[n] = 0;
      for (let third = 0; third < 3; third++) shifted[n] += shift[(n + 3 - third) % 3] * sums[third];
    }
  },
  shiftBackward(dGated, dShift, dShifted, gated, shift) {
    const sums = [0, 0, 0], dThird = [0, 0, 0];
    for (let n = 0; n < gated.length; n++) {
      sums[n % 3] += gated[n];
      dThird[n % 3] += dShifted[n];
    }
    dShift.fill(0);
    for (let n = 0; n < gated.length; n++) {
      dGated[n] = 0;
      for (let to = 0; to < 3; to++) dGated[n] += shift[(to + 3 - (n % 3)) % 3] * dThird[to];
    }
    for (let to = 0; to < 3; to++) {
      for (let third = 0; third < 3; third++) dShift[(to + 3 - third) % 3] += sums[third] * dThird[to];
    }
  },
};
