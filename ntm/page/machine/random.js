// Random numbers from a seed, the same in every browser. Not those of torch: a seed names other lists here than there.
export class Random {
  constructor(seed) {
    this.state = seed >>> 0;
  }

  // in [0, 1): splitmix32, a counter whose bits are mixed
  uniform() {
    this.state = (this.state + 0x9e3779b9) >>> 0;
    let x = this.state;
    x = Math.imul(x ^ (x >>> 16), 0x21f0aaad);
    x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
    return ((x ^ (x >>> 15)) >>> 0) / 2 ** 32;
  }

  // a whole number, both ends included
  integer(low, high) {
    return low + Math.floor(this.uniform() * (high - low + 1));
  }

  // of mean 0 and variance 1 (Box and Muller)
  normal() {
    return Math.sqrt(-2 * Math.log(1 - this.uniform())) * Math.cos(2 * Math.PI * this.uniform());
  }
}
