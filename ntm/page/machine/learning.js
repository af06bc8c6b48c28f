// A machine that learns in the page: a small instance, trained in a Web Worker, and what it says while it does.

import { present } from "./bugs.js";
import { NTM } from "./model.js";
import { Random } from "./random.js";
import { tasks } from "./tasks.js";
import { RECIPE, Training, wrongBits } from "./training.js";

// Small enough to be learned in seconds: lists of 1 to 8 vectors of 4 bits, 20 locations of width 8, 24 hidden units.
export const SMALL = {
  bits: 4,
  lengths: [1, 8],
  config: {
    inputs: 6, outputs: 4, controller: "feedforward", hidden: 24, layers: 1,
    locations: 20, width: 8, read_heads: 1, write_heads: 1, shifts: 3,
  },
  recipe: { ...RECIPE, updates: 6000, batch: 4, learning_rate: 1e-2, train_locations: [10, 20] },
};
const CHECK_EVERY = 100; // updates between two tests
export const FRESH = 200; // lists of a test; solved is who makes no mistake in any of them
const SLICE = 30, REPORT = 100; // milliseconds of learning between two looks at the letter box, and between two reports

export class Learner {
  // `faults` stay in place until `close`.
  constructor({ seed = 1, controller = "feedforward", faults = [] } = {}) {
    this.close = present(...faults);
    const outputs = tasks.copyOf([new Float64Array(SMALL.bits)]).targets[0].length;
    const random = new Random(seed);
    this.fresh = new Random(seed + 2 ** 31); // the lists of the tests
    this.machine = new NTM({ ...SMALL.config, controller, outputs });
    this.machine.parameters.draw(this.machine.config, random);
    const draw = (batch) => tasks.copy(batch, SMALL.lengths, SMALL.bits, random);
    this.training = new Training(this.machine, draw, 2 * SMALL.lengths[1] + 2, SMALL.recipe, random);
    this.shown = tasks.copy(1, [SMALL.lengths[1], SMALL.lengths[1]], SMALL.bits, new Random(0))[0];
    this.seconds = 0;
    this.solved = false;
    this.since = { updates: 0, loss: 0, wrong: 0 }; // sums since the last report
  }

  get over() {
    return this.solved || this.training.update >= SMALL.recipe.updates;
  }

  // Learns for some milliseconds, or until it is over.
  learn(milliseconds) {
    const started = performance.now();
    let now = started;
    while (!this.over && now - started < milliseconds) {
      const { loss, wrong } = this.training.step();
      this.since.updates++;
      this.since.loss += loss;
      this.since.wrong += wrong;
      if (this.training.update % CHECK_EVERY === 0) this.solved = this.flawless();
      now = performance.now();
    }
    this.seconds += (now - started) / 1000;
  }

  // Whether it copies every one of FRESH lists; stops at the first mistake.
  flawless() {
    for (let i = 0; i < FRESH; i++) {
      const [wrong] = wrongBits(this.machine, tasks.copy(1, SMALL.lengths, SMALL.bits, this.fresh));
      if (wrong) return false;
    }
    return true;
  }

  // How it is doing: means over the updates since the last report, and the heads on one list, always the same.
  report() {
    const { updates, loss, wrong } = this.since, { update } = this.training, batch = SMALL.recipe.batch;
    this.since = { updates: 0, loss: 0, wrong: 0 };
    const trace = this.machine.forward(this.shown.inputs), heads = trace.slots[0].weighting.length;
    return {
      kind: "progress",
      sequences: update * batch,
      seconds: this.seconds,
      rate: (update * batch) / this.seconds, // sequences per second
      cost: loss / updates / Math.LN2, // bits per output bit
      chance: SMALL.bits / this.machine.config.outputs, // what guessing costs: an output that is always 0 costs nothing
      wrong: wrong / updates, // wrong bits per sequence
      solved: this.solved,
      over: this.over,
      steps: trace.steps,
      heads,
      locations: trace.locations,
      weighting: Float32Array.from(trace.weighting.subarray(heads * trace.locations)), // (T,H,N), read heads first
    };
  }

  // Wrong bits of lists that it has not seen, of any length and in any memory.
  test({ length, locations = SMALL.config.locations, lists = 50, seed = 0 }) {
    const batch = tasks.copy(lists, [length, length], SMALL.bits, new Random(seed));
    const wrong = wrongBits(this.machine, batch, locations);
    return { kind: "tested", length, locations, bits: length * SMALL.bits, wrong };
  }
}

// The worker's side. Takes { order: "start", seed, controller, faults }, "pause", "resume", "reset" (the same from the
// beginning) and { order: "test", ... }; sends what `report` and `test` return, at most ten reports a second, and
// { kind: "failed", message }.
export function listen(scope) {
  let learner = null, options = {}, running = false, round = 0;

  function start() {
    learner?.close();
    learner = new Learner(options);
    go();
  }

  function go() {
    running = true;
    round++; // what was under way before ends by itself
    let reported = performance.now();
    const mine = round;
    const next = () => {
      if (!running || mine !== round) return;
      learner.learn(SLICE);
      const now = performance.now();
      if (learner.over || now - reported >= REPORT) {
        scope.postMessage(learner.report());
        reported = now;
      }
      running = !learner.over;
      scope.setTimeout(guarded(next), 0);
    };
    scope.setTimeout(guarded(next), 0);
  }

  const orders = {
    start(message) {
      options = message;
      start();
    },
    reset: start,
    pause: () => (running = false),
    resume: () => learner && !running && !learner.over && go(),
    test: (message) => scope.postMessage(learner.test(message)),
  };

  const guarded = (action) => (...values) => {
    try {
      action(...values);
    } catch (error) {
      running = false;
      scope.postMessage({ kind: "failed", message: error.message });
    }
  };
  scope.onmessage = guarded(({ data }) => orders[data.order](data));
}

// The page's side: a worker made of `source` (this script's own text), so that it also runs from a file on a disk.
// Returns send(order) and close().
export function learnInWorker(source, receive) {
  const address = URL.createObjectURL(new Blob([source, "ntm.listen(self);"], { type: "text/javascript" }));
  const worker = new Worker(address);
  worker.onmessage = ({ data }) => receive(data);
  const close = () => {
    worker.terminate();
    URL.revokeObjectURL(address);
  };
  return { send: (order) => worker.postMessage(order), close };
}
