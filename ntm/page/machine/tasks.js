// The copy task of section 4.1, the twin of the one in ntm/tasks.py. Called through the table `tasks`, so that a fault
// can take the place of a function.

export const tasks = {
  // `batch` sequences of one length, drawn from `lengths`, both ends included. T = 2L + 2, X = bits + 2, Y = bits. Each
  // has inputs and targets, a list of T arrays, and a mask, T numbers: 1 at the steps whose outputs count.
  copy(batch, lengths, bits, random) {
    const length = random.integer(...lengths);
    return Array.from({ length: batch }, () => {
      const list = Array.from({ length }, () => Float64Array.from({ length: bits }, () => random.integer(0, 1)));
      return tasks.copyOf(list);
    });
  },

  // One sequence: a start flag, the list, an end flag, then silence, in which the list is to come out again.
  copyOf(list) {
    const bits = list[0].length, silent = (channels) => new Float64Array(channels);
    const inputs = Array.from({ length: 2 * list.length + 2 }, () => silent(bits + 2));
    const targets = inputs.map(() => silent(bits)), mask = silent(inputs.length);
    inputs[0][bits] = 1;
    inputs[list.length + 1][bits + 1] = 1;
    list.forEach((vector, i) => {
      inputs[i + 1].set(vector);
      targets[list.length + 2 + i].set(vector);
      mask[list.length + 2 + i] = 1;
    });
    return { inputs, targets, mask };
  },
};
