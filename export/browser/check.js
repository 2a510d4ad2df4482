// ?check: what Python computed, computed again here; largest deviations.

import { Agent, Noise, colouredNoise, tensor, unpacked } from "./planner.js";

const gap = (a, b) => {
  if (a.length !== b.length) throw new Error(`${a.length} numbers beside ${b.length}`);
  return a.reduce((worst, x, i) => Math.max(worst, Math.abs(x - b[i])), 0);
};
const largest = (values) => values.reduce((a, b) => Math.max(a, b), 0);

/** The golden pair: the whole planner graph on stored inputs. */
async function golden(planner, stored) {
  const named = (prefix) => Object.entries(stored)
    .filter(([name]) => name.startsWith(prefix)).map(([name, v]) => [name.slice(prefix.length), v]);
  const found = await planner.plan(
    Object.fromEntries(named("in_").map(([name, value]) => [name, tensor(value)])));
  return Object.fromEntries(named("out_").map(([name, value]) => {
    const wanted = unpacked(value);
    return [name, { gap: gap(found[name], wanted), size: largest(wanted.map(Math.abs)) }];
  }));
}

/**
 * Joint positions [m or rad] along scripted runs, same actions from the same state. `ratio` compares
 * them with how far Python strays from itself when a start is nudged by the last digit.
 */
function physics(scene, runs) {
  return runs.map(({ states, actions, spread }) => {
    const wanted = unpacked(states), taken = unpacked(actions), own = unpacked(spread);
    const [width, dim, { nq }] = [states.shape[1], actions.shape[1], scene.model];
    scene.live.state = wanted.subarray(0, width);
    const gaps = Array.from(own, (_, t) => {
      scene.step(taken.subarray(t * dim, (t + 1) * dim));
      const start = (t + 1) * width;
      return gap(scene.live.data.qpos, wanted.subarray(start, start + nq));
    });
    return {
      steps: gaps.length, gap: largest(gaps), spread: largest(own),
      ratio: largest(gaps.map((g, t) => g / own[t])),
    };
  });
}

/** Pictures of the same states, in grey levels, and what the encoder thinks of them. */
async function images(planner, scene, stored) {
  const found = [];
  for (const { state, image, novelty } of stored) {
    scene.live.state = unpacked(state);
    const ours = scene.live.image(), theirs = unpacked(image);
    const total = ours.reduce((sum, x, i) => sum + Math.abs(x - theirs[i]), 0);
    found.push({
      mean: total / ours.length, largest: gap(ours, theirs),
      novelty: await planner.novelty(ours), noveltyInPython: novelty,
    });
  }
  return found;
}

/** Noise from the same coefficients. */
function noise({ parts, series, exponent }) {
  const given = unpacked(parts), wanted = unpacked(series);
  const [, rows, count] = parts.shape, steps = series.shape[1];
  return largest(Array.from({ length: rows }, (_, row) => {
    let k = 0;
    const next = () => given[(Math.floor(k / count) * rows + row) * count + (k++ % count)];
    const ours = colouredNoise(steps, exponent, next);
    return gap(ours, wanted.subarray(row * steps, (row + 1) * steps));
  }));
}

/** Of the page's own chance: mean square, and mean product of neighbouring control steps. */
function chance(planner) {
  const { horizon, control_dim: dim, block } = planner.contract.spec, steps = horizon * block;
  const drawn = new Noise(planner, 0).draw({ iterations: 2, candidates: 1000 });
  const moments = ({ data }) => {
    const product = (lag) => {
      let sum = 0, count = 0;
      for (let i = 0; i < data.length; i++) {
        if (Math.floor(i / dim) % steps < steps - lag) [sum, count] = [sum + data[i] * data[i + lag * dim], count + 1];
      }
      return sum / count;
    };
    return [product(0), product(1)];
  };
  const mean = drawn.choice.data.reduce((a, b) => a + b, 0) / drawn.choice.data.length;
  return { search: moments(drawn.noise), proposals: moments(drawn.proposal_noise), choice: mean };
}

/** The agent's first plans on the recorded frames with the recorded chance. */
async function agent(planner, run, chance) {
  const frames = unpacked(run.frames), plans = unpacked(run.plans), ours = new Agent(planner);
  const pixels = frames.length / run.frames.shape[0], size = plans.length / run.plans.shape[0];
  ours.reset(unpacked(run.goal), 0);
  const found = [];
  for (const [i, drawn] of chance.entries()) {
    const given = Object.fromEntries(Object.entries(drawn).map(([k, v]) => [k, tensor(v)]));
    const { plan, cost } = await ours.plan(frames.slice(i * pixels, (i + 1) * pixels), null, given);
    const wanted = plans.subarray(i * size, (i + 1) * size), rest = new Float32Array(size);
    rest.set(wanted.subarray(ours.size));
    found.push({
      plan: gap(plan, wanted),
      // Good proposals outdo the warm start, so that plans alone would not show a wrong one.
      warm: gap(ours.mean, rest),
      cost: Math.abs(cost / unpacked(run.costs)[i] - 1),
    });
  }
  return found;
}

/** Everything; what needs the scene is left out where there is none. */
export async function check(planner, scene, folder) {
  const [stored, run] = await Promise.all(["check.json", "run.json"].map(
    async (name) => (await fetch(new URL(name, folder))).json()));
  const found = {
    golden: await golden(planner, stored.golden),
    noise: noise(stored.noise),
    chance: { ours: chance(planner), python: stored.moments },
    agent: await agent(planner, run, stored.chance),
    noveltyAllowed: planner.contract.novelty,
  };
  if (!scene) return found;
  const { live: { state } } = scene;
  found.mujoco = scene.version;
  found.physics = physics(scene, stored.physics);
  found.images = await images(planner, scene, stored.images);
  scene.live.state = state;
  return found;
}
