// Loops over arrays of numbers that the equations share. What is filled comes first. A name that begins with d holds
// the loss's gradient with respect to what the rest of the name says; "adds to" says that it is not replaced.

export function dot(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

export const norm = (a) => Math.sqrt(dot(a, a));

export const sigmoid = (x) => 1 / (1 + Math.exp(-x));

// log(1 + exp(x)), and no more than `most`.
export function softplus(x, most) {
  return Math.min(Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))), most);
}

// Its slope at x, 0 from the ceiling on.
export const softplusBackward = (x, most) => (softplus(x, most) < most ? sigmoid(x) : 0);

export function tanh(row) { // in place
  for (let i = 0; i < row.length; i++) row[i] = Math.tanh(row[i]);
}

// in place: d of what tanh gave -> d of what it was given
export function tanhBackward(dRow, row) {
  for (let i = 0; i < row.length; i++) dRow[i] *= 1 - row[i] * row[i];
}

// out = softmax(scale row); the two may be one array.
export function softmax(out, row, scale) {
  let most = -Infinity, sum = 0;
  for (let i = 0; i < row.length; i++) if (scale * row[i] > most) most = scale * row[i];
  for (let i = 0; i < row.length; i++) {
    out[i] = Math.exp(scale * row[i] - most);
    sum += out[i];
  }
  for (let i = 0; i < row.length; i++) out[i] /= sum;
}

// d of the result -> d of scale times row
export function softmaxBackward(dScaled, dOut, out) {
  const mean = dot(dOut, out);
  for (let i = 0; i < out.length; i++) dScaled[i] = out[i] * (dOut[i] - mean);
}

// out = weight input + bias: (rows,columns), (rows,), (columns,) -> (rows,)
export function linear(out, { weight, bias }, input) {
  for (let r = 0, at = 0; r < out.length; r++) {
    let sum = bias[r];
    for (let c = 0; c < input.length; c++) sum += weight[at++] * input[c];
    out[r] = sum;
  }
}

// Adds to the gradient of weight and bias, and to dInput.
export function linearBackward(gradient, dInput, dOut, { weight }, input) {
  const dWeight = gradient.weight, dBias = gradient.bias;
  for (let r = 0, at = 0; r < dOut.length; r++) {
    const d = dOut[r];
    dBias[r] += d;
    for (let c = 0; c < input.length; c++, at++) {
      dWeight[at] += d * input[c];
      dInput[c] += d * weight[at];
    }
  }
}
