// What the controller tells its heads: section 3.3 of the paper, one projection, split and squashed; the twin of
// ntm/heads.py.
//
// The projection gives [key M, beta, gate, shift S, gamma] for each head, read heads first, then [erase M, add M] for
// each write head. `slot` is a step's (trace.js), `d` has the gradient of each of its arrays.

import { linear, linearBackward, sigmoid, softmax, softmaxBackward, softplus, softplusBackward } from "./arrays.js";

const LARGEST_STRENGTH = 1e3; // a ceiling for beta and gamma, far above what a trained machine uses

export const heads = {
  // The range of beta in equation 5: any number -> a positive one.
  keyStrength: (raw) => softplus(raw, LARGEST_STRENGTH),

  keyStrengthBackward: (raw) => softplusBackward(raw, LARGEST_STRENGTH), // the slope

  forward(slot, projection) {
    linear(slot.raw, projection, slot.controller);
    const raw = slot.raw;
    let i = 0;
    for (let h = 0; h < slot.key.length; h++) {
      const key = slot.key[h], shift = slot.shift[h];
      for (let m = 0; m < key.length; m++) key[m] = Math.tanh(raw[i++]);
      slot.beta[h] = heads.keyStrength(raw[i++]);
      slot.gate[h] = sigmoid(raw[i++]);
      for (let s = 0; s < shift.length; s++) shift[s] = raw[i++];
      softmax(shift, shift, 1);
      slot.gamma[h] = 1 + softplus(raw[i++], LARGEST_STRENGTH);
    }
    for (let w = 0; w < slot.erase.length; w++) {
      const erase = slot.erase[w], add = slot.add[w];
      for (let m = 0; m < erase.length; m++) erase[m] = sigmoid(raw[i++]);
      for (let m = 0; m < add.length; m++) add[m] = Math.tanh(raw[i++]);
    }
  },

  // From d of the heads' parameters: adds to the projection's gradient, and to d.controller.
  backward(gradient, d, slot, projection) {
    const raw = slot.raw, dRaw = d.raw;
    let i = 0;
    for (let h = 0; h < slot.key.length; h++) {
      const key = slot.key[h], shift = slot.shift[h], gate = slot.gate[h], dShift = d.shift[h];
      for (let m = 0; m < key.length; m++) dRaw[i++] = d.key[h][m] * (1 - key[m] * key[m]);
      dRaw[i] = d.beta[h] * heads.keyStrengthBackward(raw[i]);
      i++;
      dRaw[i++] = d.gate[h] * gate * (1 - gate);
      softmaxBackward(dShift, dShift, shift);
      for (let s = 0; s < shift.length; s++) dRaw[i++] = dShift[s];
      dRaw[i] = d.gamma[h] * softplusBackward(raw[i], LARGEST_STRENGTH);
      i++;
    }
    for (let w = 0; w < slot.erase.length; w++) {
      const erase = slot.erase[w], add = slot.add[w];
      for (let m = 0; m < erase.length; m++) dRaw[i++] = d.erase[w][m] * erase[m] * (1 - erase[m]);
      for (let m = 0; m < add.length; m++) dRaw[i++] = d.add[w][m] * (1 - add[m] * add[m]);
    }
    linearBackward(gradient, d.controller, dRaw, projection, slot.controller);
  },
};
