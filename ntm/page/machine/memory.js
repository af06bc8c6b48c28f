// Reading and writing the memory: sections 3.1 and 3.2 of the paper, equations 2 to 4; the twin of ntm/memory.py.
//
// A function is for one sequence, and each equation for one head: cells (N,M), row after row; weighting (N,); read
// vector, erase and add (M,). Functions are called through the table `memory`, so that a fault can stand in for one.

export const memory = {
  // Equation 2: the average of the rows under the weighting.
  read(reads, cells, weighting) {
    const width = reads.length;
    reads.fill(0);
    for (let n = 0, at = 0; n < weighting.length; n++) {
      for (let m = 0; m < width; m++, at++) reads[m] += weighting[n] * cells[at];
    }
  },

  // Adds to dCells and dWeighting.
  readBackward(dCells, dWeighting, dReads, cells, weighting) {
    for (let n = 0, at = 0; n < weighting.length; n++) {
      let sum = 0;
      for (let m = 0; m < dReads.length; m++, at++) {
        sum += dReads[m] * cells[at];
        dCells[at] += weighting[n] * dReads[m];
      }
      dWeighting[n] += sum;
    }
  },

  // Equation 3: scale every cell by one minus weighting times erase; `kept` and `cells` may be one array.
  applyErase(kept, cells, weighting, erase) {
    for (let n = 0, at = 0; n < weighting.length; n++) {
      for (let m = 0; m < erase.length; m++, at++) kept[at] = cells[at] * (1 - weighting[n] * erase[m]);
    }
  },

  // dCells in place, of what was kept -> of the cells before; adds to dWeighting, fills dErase.
  applyEraseBackward(dCells, dWeighting, dErase, cells, weighting, erase) {
    dErase.fill(0);
    for (let n = 0, at = 0; n < weighting.length; n++) {
      let sum = 0;
      for (let m = 0; m < erase.length; m++, at++) {
        const lost = dCells[at] * cells[at];
        sum -= lost * erase[m];
        dErase[m] -= lost * weighting[n];
        dCells[at] *= 1 - weighting[n] * erase[m];
      }
      dWeighting[n] += sum;
    }
  },

  // Equation 4, in place: each row gets the add vector in proportion to its weighting.
  applyAdd(cells, weighting, add) {
    for (let n = 0, at = 0; n < weighting.length; n++) {
      for (let m = 0; m < add.length; m++, at++) cells[at] += weighting[n] * add[m];
    }
  },

  // What is added to passes its gradient on unchanged; adds to dWeighting, fills dAdd.
  applyAddBackward(dCells, dWeighting, dAdd, weighting, add) {
    dAdd.fill(0);
    for (let n = 0, at = 0; n < weighting.length; n++) {
      let sum = 0;
      for (let m = 0; m < add.length; m++, at++) {
        sum += dCells[at] * add[m];
        dAdd[m] += dCells[at] * weighting[n];
      }
      dWeighting[n] += sum;
    }
  },

  // Equations 3 and 4: all write heads erase, then all add. `writing`, `erase`, `add` are lists, one entry for a head.
  write(written, cells, writing, erase, add) {
    for (let h = 0; h < writing.length; h++) memory.applyErase(written, h ? written : cells, writing[h], erase[h]);
    for (let h = 0; h < writing.length; h++) memory.applyAdd(written, writing[h], add[h]);
  },

  // `found` has room for the cells as each head finds them when it erases.
  writeBackward(dCells, dWriting, dErase, dAdd, cells, writing, erase, add, found) {
    for (let h = 0; h < writing.length; h++) memory.applyAddBackward(dCells, dWriting[h], dAdd[h], writing[h], add[h]);
    for (let h = 1; h < writing.length; h++) {
      memory.applyErase(found[h], h > 1 ? found[h - 1] : cells, writing[h - 1], erase[h - 1]);
    }
    for (let h = writing.length - 1; h >= 0; h--) {
      memory.applyEraseBackward(dCells, dWriting[h], dErase[h], h ? found[h] : cells, writing[h], erase[h]);
    }
  },

  // A step's access: write, then read what is there now. `slot` is the step's, `before` the one before it (trace.js).
  writeAndRead(slot, before) {
    memory.write(slot.memory, before.memory, slot.writing, slot.erase, slot.add);
    for (let r = 0; r < slot.reads.length; r++) memory.read(slot.reads[r], slot.memory, slot.reading[r]);
  },

  writeAndReadBackward(d, slot, before) {
    for (let r = 0; r < slot.reads.length; r++) {
      memory.readBackward(d.memory, d.reading[r], d.reads[r], slot.memory, slot.reading[r]);
    }
    memory.writeBackward(
      d.memory, d.writing, d.erase, d.add, before.memory, slot.writing, slot.erase, slot.add, d.found);
  },
};
