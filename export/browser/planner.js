// The exported planner in the browser: what export/runtime.py and planning/mpc.py do on a robot.
// Letters: I iterations, N candidates, H horizon, A action size of a block, K drawn proposals.

import * as ort from "./vendor/ort.wasm.min.mjs";

// One thread: more need headers that a plain file server does not send. A worker keeps the page
// alive while the planner thinks.
ort.env.wasm.wasmPaths = new URL("./vendor/", import.meta.url).href;
ort.env.wasm.numThreads = 1;
ort.env.wasm.proxy = true;

/** Seeded chance: a counter whose bits are mixed well. */
export class Chance {
  constructor(seed) {
    this.counter = seed >>> 0;
  }

  /** Uniform in [0, 1). */
  uniform() {
    this.counter = (this.counter + 0x9e3779b9) >>> 0;
    let x = this.counter;
    x = Math.imul(x ^ (x >>> 16), 0x21f0aaad);
    x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
    return ((x ^ (x >>> 15)) >>> 0) / 2 ** 32;
  }

  /** Standard normal (Box and Muller 1958). */
  normal() {
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    return radius * Math.cos(2 * Math.PI * this.uniform());
  }
}

/**
 * Weights [2, K, steps] that turn random Fourier coefficients into noise with power spectrum
 * 1 / f**exponent and variance 1: `colored_noise` of planning/optimizers/icem.py, written as a sum.
 */
function colours(steps, exponent) {
  const count = Math.floor(steps / 2) + 1;
  const real = (k) => k === 0 || 2 * k === steps; // these carry no imaginary part
  const weight = Array.from({ length: count }, (_, k) => (Math.max(k, 1) / steps) ** (-exponent / 2));
  const power = weight.reduce((sum, w, k) => sum + ((real(k) ? 2 : 4) * w * w) / steps ** 2, 0);
  const basis = new Float64Array(2 * count * steps);
  for (let k = 0; k < count; k++) {
    const scale = weight[k] / Math.sqrt(power) / steps;
    for (let t = 0; t < steps; t++) {
      const angle = (2 * Math.PI * k * t) / steps;
      basis[k * steps + t] = scale * (real(k) ? Math.SQRT2 : 2) * Math.cos(angle);
      basis[(count + k) * steps + t] = real(k) ? 0 : -2 * scale * Math.sin(angle);
    }
  }
  return basis;
}

/** Noise over `steps`; `normal` is asked for the coefficients, real parts first. */
export function colouredNoise(steps, exponent, normal, basis = colours(steps, exponent)) {
  const total = new Float64Array(steps);
  for (let k = 0; k < basis.length / steps; k++) {
    const coefficient = normal();
    for (let t = 0; t < steps; t++) total[t] += coefficient * basis[k * steps + t];
  }
  return Float32Array.from(total);
}

/** All the chance in one plan, as inputs of the graph. */
export class Noise {
  constructor({ contract, search }, seed) {
    this.contract = contract;
    this.chance = new Chance(seed);
    this.steps = contract.spec.horizon * contract.spec.block;
    this.exponent = search.beta; // 0: white
    this.basis = colours(this.steps, this.exponent);
  }

  draw({ iterations, candidates }) {
    const { horizon, block, control_dim: dim } = this.contract.spec;
    const normal = () => this.chance.normal();
    const noise = new Float32Array(iterations * candidates * this.steps * dim);
    for (let row = 0; row < iterations * candidates; row++) {
      for (let c = 0; c < dim; c++) {
        const series = colouredNoise(this.steps, this.exponent, normal, this.basis);
        for (let t = 0; t < this.steps; t++) noise[(row * this.steps + t) * dim + c] = series[t];
      }
    }
    const drawn = proposals(this.contract, candidates);
    const choice = Float32Array.from({ length: drawn }, () => this.chance.uniform());
    // Constant within a block, as `proposal_chance` draws it.
    const proposal = new Float32Array(drawn * this.steps * dim);
    for (let row = 0; row < drawn * horizon; row++) {
      const value = Array.from({ length: dim }, normal);
      for (let i = 0; i < block * dim; i++) proposal[row * block * dim + i] = value[i % dim];
    }
    const action = block * dim;
    return {
      noise: new ort.Tensor("float32", noise, [iterations, candidates, horizon, action]),
      choice: new ort.Tensor("float32", choice, [drawn]),
      proposal_noise: new ort.Tensor("float32", proposal, [drawn, horizon, action]),
    };
  }
}

/** Drawn proposals of a search: the contract's, but fewer than the candidates leave room for. */
function proposals({ proposals: wanted, heads }, candidates) {
  return Math.max(2, Math.min(wanted, candidates - 1) - heads);
}

/** A stored array { dtype, shape, data } as the numbers themselves. */
export function unpacked({ dtype, data }) {
  const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  const kinds = { uint8: Uint8Array, float32: Float32Array, float64: Float64Array };
  return new kinds[dtype](bytes.buffer);
}

export const tensor = (stored) => new ort.Tensor(stored.dtype, unpacked(stored), stored.shape);

/** The graphs of a bundle. */
export class Planner {
  static async load(folder) {
    const planner = new Planner();
    planner.contract = await (await fetch(new URL("contract.json", folder))).json();
    const { spec } = planner.contract;
    spec.block = spec.action_low.length / spec.control_dim; // control steps per planned block
    planner.search = await (await fetch(new URL("search.json", folder))).json();
    // The arrays of both graphs; see export/weights.py.
    const weights = { path: "weights.bin", data: new URL("weights.bin", folder).href };
    const open = (name) =>
      ort.InferenceSession.create(new URL(name, folder).href, { externalData: [weights] });
    // One after the other: both would set up the runtime.
    planner.graph = await open("planner.onnx");
    planner.encoder = await open("encode.onnx");
    return planner;
  }

  image(pixels) {
    const size = this.contract.spec.image_size;
    return new ort.Tensor("uint8", pixels, [size, size, 3]);
  }

  /** One search; `inputs` are the graph's. Plan [H * A], cost, costs of its steps [H], latent. */
  async plan(inputs) {
    // Copies: the worker takes what it is sent away from the page.
    const sent = Object.entries(inputs).map(
      ([name, { type, data, dims }]) => [name, new ort.Tensor(type, data.slice(), dims)]);
    const found = await this.graph.run(Object.fromEntries(sent));
    return Object.fromEntries(Object.entries(found).map(([name, value]) => [name, value.data]));
  }

  /** How unlike the training frames an image is; above `contract.novelty` a robot refuses it. */
  async novelty(pixels) {
    const size = this.contract.spec.image_size;
    const images = new ort.Tensor("uint8", pixels.slice(), [1, size, size, 3]);
    return (await this.encoder.run({ images })).novelty.data[0];
  }
}

/** Looks, plans, remembers: one plan per block, its first block is executed. */
export class Agent {
  constructor(planner) {
    this.planner = planner;
  }

  reset(goal, seed) {
    const { horizon, block, control_dim: dim } = this.planner.contract.spec;
    this.size = block * dim;
    this.goal = goal;
    this.noise = new Noise(this.planner, seed);
    this.previous = null;
    this.executed = new Float32Array(this.size);
    this.mean = new Float32Array(horizon * this.size);
  }

  /** Plan from an image; `search` says how many candidates and iterations, `chance` replaces it. */
  async plan(pixels, search, chance = null) {
    const began = performance.now(), { planner, mean } = this;
    const planned = await planner.plan({
      previous: planner.image(this.previous ?? pixels),
      image: planner.image(pixels),
      goal: planner.image(this.goal),
      action: new ort.Tensor("float32", this.executed, [this.size]),
      mean: new ort.Tensor("float32", mean, [mean.length / this.size, this.size]),
      ...(chance ?? this.noise.draw(search)),
    });
    // Warm start: the rest of this plan, then staying.
    this.mean = new Float32Array(mean.length);
    this.mean.set(planned.plan.subarray(this.size));
    this.previous = pixels;
    this.did(planned.plan.slice(0, this.size));
    return { ...planned, cost: planned.cost[0], ms: performance.now() - began };
  }

  /** What was executed after the last plan, unless it was the plan's own first block. */
  did(block) {
    this.executed = block;
  }
}
