// Where a head looks: section 3.3 of the paper, equations 5 to 9; the twin of ntm/addressing.py.
//
// One sequence, one head: cells (N,M), row by row; key (M,); shift (S,); weightings (N,); beta, gate, gamma: numbers.
// Functions are called through the table `addressing`, so that a fault can take the place of one.

import { dot, norm, softmax, softmaxBackward } from "./arrays.js";

const SIMILARITY_EPSILON = 1e-6; // so that an empty row or a key of zeros has similarity 0 instead of 0/0
const TINY = 2 ** -1022; // the least number whose logarithm is exact; an entry below it counts as 0

const modulo = (i, n) => ((i % n) + n) % n;

export const addressing = {
  // Equations 5 to 9 in a row for head h, from the slot before to this step's (trace.js).
  address(slot, before, h) {
    addressing.contentWeighting(slot.content[h], slot.similarity[h], before.memory, slot.key[h], slot.beta[h]);
    addressing.interpolate(slot.gated[h], slot.content[h], before.weighting[h], slot.gate[h]);
    addressing.shift(slot.shifted[h], slot.gated[h], slot.shift[h]);
    addressing.sharpen(slot.weighting[h], slot.shifted[h], slot.gamma[h]);
  },

  // d.weighting in place, of the weighting after the step -> of the one before it; adds to d.memory, fills the rest.
  addressBackward(d, slot, before, h) {
    d.gamma[h] = addressing.sharpenBackward(
      d.shifted[h], d.weighting[h], slot.weighting[h], slot.shifted[h], slot.gamma[h]);
    addressing.moveBackward(d, slot, before, h);
  },

  // The part of it that lies before equation 9.
  moveBackward(d, slot, before, h) {
    addressing.shiftBackward(d.gated[h], d.shift[h], d.shifted[h], slot.gated[h], slot.shift[h]);
    d.gate[h] = addressing.interpolateBackward(
      d.content[h], d.weighting[h], d.gated[h], slot.content[h], before.weighting[h], slot.gate[h]);
    d.beta[h] = addressing.contentWeightingBackward(
      d.memory, d.key[h], d.similarity[h], d.content[h],
      before.memory, slot.key[h], slot.beta[h], slot.content[h], slot.similarity[h]);
  },

  // Equation 6: the cosine of the angle between the key and each row; 0 where either is zero.
  cosineSimilarity(similarity, cells, key) {
    const length = norm(key), width = key.length;
    for (let n = 0, at = 0; n < similarity.length; n++) {
      let product = 0, square = 0;
      for (let m = 0; m < width; m++, at++) {
        product += key[m] * cells[at];
        square += cells[at] * cells[at];
      }
      similarity[n] = product / (length * Math.sqrt(square) + SIMILARITY_EPSILON);
    }
  },

  // Adds to dCells, fills dKey.
  cosineSimilarityBackward(dCells, dKey, dSimilarity, cells, key, similarity) {
    addressing.cosineBackward(dCells, dKey, dSimilarity, cells, key, similarity, SIMILARITY_EPSILON);
  },

  // With s = k.m / (|k||m| + epsilon): ds/dk = (m - s |m| k/|k|) / (|k||m| + epsilon), and likewise for the row m.
  cosineBackward(dCells, dKey, dSimilarity, cells, key, similarity, epsilon) {
    const length = norm(key), width = key.length;
    let along = 0;
    dKey.fill(0);
    for (let n = 0, at = 0; n < similarity.length; n++, at += width) {
      let square = 0;
      for (let m = 0; m < width; m++) square += cells[at + m] * cells[at + m];
      const row = Math.sqrt(square), d = dSimilarity[n] / (length * row + epsilon);
      const across = row > 0 ? (-d * similarity[n] * length) / row : 0;
      along -= d * similarity[n] * row;
      for (let m = 0; m < width; m++) {
        dKey[m] += d * cells[at + m];
        dCells[at + m] += d * key[m] + across * cells[at + m];
      }
    }
    if (length > 0) for (let m = 0; m < width; m++) dKey[m] += (along / length) * key[m];
  },

  // Equation 5: softmax over locations of beta times the similarity.
  contentWeighting(content, similarity, cells, key, beta) {
    addressing.cosineSimilarity(similarity, cells, key);
    softmax(content, similarity, beta);
  },

  // Adds to dCells, fills dKey and dSimilarity; returns d of beta.
  contentWeightingBackward(dCells, dKey, dSimilarity, dContent, cells, key, beta, content, similarity) {
    softmaxBackward(dSimilarity, dContent, content);
    const dBeta = dot(dSimilarity, similarity);
    for (let n = 0; n < similarity.length; n++) dSimilarity[n] *= beta;
    addressing.cosineSimilarityBackward(dCells, dKey, dSimilarity, cells, key, similarity);
    return dBeta;
  },

  // Equation 7: blend by the gate: 1 takes the content weighting, 0 the previous weighting.
  interpolate(gated, content, previous, gate) {
    for (let n = 0; n < gated.length; n++) gated[n] = gate * content[n] + (1 - gate) * previous[n];
  },

  // Fills dContent and dPrevious; returns d of the gate.
  interpolateBackward(dContent, dPrevious, dGated, content, previous, gate) {
    let dGate = 0;
    for (let n = 0; n < content.length; n++) {
      dGate += dGated[n] * (content[n] - previous[n]);
      dContent[n] = gate * dGated[n];
      dPrevious[n] = (1 - gate) * dGated[n];
    }
    return dGate;
  },

  // Equation 8: circular convolution; shift[s] moves the focus by s - S/2 (rounded down) locations, modulo N.
  shift(shifted, gated, shift) {
    const locations = gated.length, reach = shift.length >> 1;
    shifted.fill(0);
    for (let s = 0; s < shift.length; s++) {
      const part = shift[s];
      let from = modulo(reach - s, locations); // what location 0 takes from
      for (let n = 0; n < locations; n++) {
        shifted[n] += part * gated[from];
        if (++from === locations) from = 0;
      }
    }
  },

  // Fills dGated and dShift.
  shiftBackward(dGated, dShift, dShifted, gated, shift) {
    const locations = gated.length, reach = shift.length >> 1;
    dGated.fill(0);
    for (let s = 0; s < shift.length; s++) {
      const part = shift[s];
      let from = modulo(reach - s, locations), sum = 0;
      for (let n = 0; n < locations; n++) {
        sum += dShifted[n] * gated[from];
        dGated[from] += part * dShifted[n];
        if (++from === locations) from = 0;
      }
      dShift[s] = sum;
    }
  },

  // Equation 9: raise to the power gamma >= 1 and normalise, as softmax(gamma log w), which cannot become 0/0.
  sharpen(weighting, shifted, gamma) {
    for (let n = 0; n < shifted.length; n++) weighting[n] = Math.log(Math.max(shifted[n], TINY));
    softmax(weighting, weighting, gamma);
  },

  // Fills dShifted; returns d of gamma.
  sharpenBackward(dShifted, dWeighting, weighting, shifted, gamma) {
    let dGamma = 0;
    softmaxBackward(dShifted, dWeighting, weighting); // d of gamma log w
    for (let n = 0; n < shifted.length; n++) {
      dGamma += dShifted[n] * Math.log(Math.max(shifted[n], TINY));
      dShifted[n] = shifted[n] < TINY ? 0 : (dShifted[n] * gamma) / shifted[n];
    }
    return dGamma;
  },
};
