// The page: goal beside the live scene, one plan after the other, and what they cost.

import { check } from "./check.js";
import { Agent, Planner, unpacked } from "./planner.js";
import { Scene } from "./scene.js";

const folder = new URL("./", location.href);
const $ = (id) => document.getElementById(id);
const wait = (ms) => new Promise((done) => setTimeout(done, ms));

/** The scene as it is simulated here. */
class Live {
  constructor(scene) {
    this.scene = scene;
    this.pair = 0;
  }

  get ended() {
    return false;
  }

  image() {
    return this.scene.live.image();
  }

  goal() {
    return this.scene.goal.image();
  }

  /** Start and goal of a pair further on. */
  restart(next) {
    const { scene } = this;
    this.pair = (this.pair + next) % scene.pairs.length;
    [scene.live.state, scene.goal.state] = scene.pairs[this.pair];
  }

  /** Execute a block of control steps, kept in the picture; what was executed. */
  async perform(block) {
    const { scene } = this, dim = scene.model.nu, done = new Float32Array(block.length);
    for (let i = 0; i < block.length; i += dim) {
      const began = performance.now();
      done.set(scene.step(block.subarray(i, i + dim)), i);
      show("live", scene.live.image());
      await wait($("realtime").checked ? 1000 * scene.control_dt - (performance.now() - began) : 0);
    }
    return done;
  }

  distance() {
    return this.scene.gaps().map(({ name, metres, degrees }) => [
      name, metres === null ? "" : `${(1000 * metres).toFixed(0)} mm`,
      degrees === null ? "" : `${degrees.toFixed(0)}°`,
    ].filter(Boolean).join(" ")).join(", ") + (this.scene.visible ? "" : ", robot not in the picture");
  }
}

/** A run of the same planner in Python: its frames, in order. */
class Recorded {
  constructor(run, period) {
    const pixels = run.frames.shape.slice(1).reduce((a, b) => a * b), frames = unpacked(run.frames);
    this.frames = run.frames.shape[0];
    this.frame = (i) => frames.slice(i * pixels, (i + 1) * pixels);
    const blocks = unpacked(run.blocks), size = run.blocks.shape[1];
    this.block = (i) => blocks.slice(i * size, (i + 1) * size);
    this.wanted = unpacked(run.goal);
    this.period = period;
    this.at = 0;
  }

  get ended() {
    return this.at === this.frames - 1;
  }

  image() {
    return this.frame(this.at);
  }

  goal() {
    return this.wanted;
  }

  restart() {
    this.at = 0;
  }

  /** What was executed then, whatever is planned now. */
  async perform() {
    this.at += 1;
    show("live", this.image());
    await wait($("realtime").checked ? 1000 * this.period : 0);
    return this.block(this.at - 1);
  }

  distance() {
    return `recorded block ${this.at} of ${this.frames - 1}`;
  }
}

let planner, stage, agent, running = false, looping = false, episodes = 0;
const plans = []; // { cost, ms, novelty, candidates, iterations, distance }, of this goal
// One thing at a time: a search in flight must not meet a new goal.
let last = Promise.resolve();
const turn = (job) => (last = last.then(job).catch((error) => say(`Stopped: ${error.message ?? error}`)));

function say(text) {
  running = false;
  $("notice").textContent = text;
  $("notice").hidden = false;
}

/** Draw an image uint8 [S * S * 3]. */
function show(id, pixels) {
  const size = Math.sqrt(pixels.length / 3), picture = new ImageData(size, size);
  for (let i = 0; i < size * size; i++) {
    picture.data.set([pixels[3 * i], pixels[3 * i + 1], pixels[3 * i + 2], 255], 4 * i);
  }
  $(id).width = $(id).height = size;
  $(id).getContext("2d").putImageData(picture, 0, 0);
}

const search = () => ({
  candidates: Number($("candidates").value), iterations: Number($("iterations").value),
});

/** A novelty, red where a robot would refuse the image. */
function tell(id, novelty) {
  $(id).textContent = novelty?.toFixed(2) ?? "–";
  $(id).classList.toggle("bad", novelty > planner.contract.novelty);
}

/** Numbers under the pictures and the curve of energy over plans. */
function report() {
  const { length } = plans, latest = plans[length - 1];
  const times = plans.map(({ ms }) => ms).sort((a, b) => a - b);
  $("plans").textContent = length;
  $("energy").textContent = latest ? latest.cost.toFixed(3) : "–";
  $("ms").textContent = latest
    ? `${latest.ms.toFixed(0)} (median ${times[length >> 1].toFixed(0)})` : "–";
  $("distance").textContent = stage.distance();
  tell("novelty", latest?.novelty);
  const top = Math.max(...plans.map(({ cost }) => cost), 1e-9);
  const points = plans.map(({ cost }, i) =>
    `${((i * 600) / Math.max(length - 1, 10)).toFixed(1)},${(115 - (110 * cost) / top).toFixed(1)}`);
  $("curve").setAttribute("points", points.join(" "));
  $("top").textContent = latest ? top.toFixed(2) : "";
}

/** A new goal or a new start: the agent forgets. */
async function begin() {
  const goal = stage.goal();
  agent.reset(goal, episodes++);
  plans.length = 0;
  show("goal", goal);
  show("live", stage.image());
  report();
  tell("goal-novelty", await planner.novelty(goal));
}

/** Look, plan, act for one block. */
async function block() {
  if (stage.ended) {
    stage.restart(0);
    await begin();
  }
  const seen = stage.image(), asked = search();
  const { plan, cost, ms } = await agent.plan(seen, asked);
  const novelty = await planner.novelty(seen);
  agent.did(await stage.perform(plan.slice(0, agent.size)));
  plans.push({ ...asked, cost, ms, novelty, distance: stage.distance() });
  report();
  if (stage.ended) running = false;
}

/** Block after block, until something stops it. */
async function run() {
  running = !running;
  if (!running || looping) return;
  looping = true;
  $("run").textContent = "Pause";
  while (running) await turn(block);
  $("run").textContent = "Run";
  looping = false;
}

/** Let the mouse move bodies of a world in its picture; Shift turns them. */
function hand(id, world, moved) {
  const place = ({ offsetX, offsetY }) => [offsetX / $(id).clientWidth, offsetY / $(id).clientHeight];
  let body = 0, from = null;
  $(id).addEventListener("pointerdown", (event) => {
    from = place(event);
    body = world.grasp(...from);
    if (body) $(id).setPointerCapture(event.pointerId);
  });
  $(id).addEventListener("pointermove", (event) => {
    if (!body) return;
    const to = place(event);
    if (world.drag(body, from, to, event.shiftKey)) from = to;
    show(id, world.image());
  });
  $(id).addEventListener("pointerup", () => {
    if (body) turn(moved);
    body = 0;
  });
}

function sliders({ candidates, iterations, fewest }) {
  for (const [id, least, most, value] of [
    ["candidates", fewest, Math.max(256, 2 * candidates), candidates],
    ["iterations", 1, Math.max(8, iterations), iterations],
  ]) {
    const told = () => ($(`${id}-value`).textContent = $(id).value);
    Object.assign($(id), { min: least, max: most, value });
    $(id).addEventListener("input", told);
    told();
  }
}

/** The simulated scene, or the recorded run and the reason for it. */
async function open() {
  const { spec } = planner.contract;
  try {
    return new Live(await Scene.load(folder, spec.image_size));
  } catch (error) {
    const recorded = await (await fetch(new URL("run.json", folder))).json();
    say("MuJoCo's WebAssembly build cannot run this scene here, so you see a recorded run; every "
      + `plan is made live on its frames. (${error.message ?? error})`);
    return new Recorded(recorded, spec.block * spec.control_dt);
  }
}

async function start() {
  planner = await Planner.load(folder);
  agent = new Agent(planner);
  stage = await open();
  const { scene } = stage, { spec } = planner.contract;
  document.title = `robot_wm: ${spec.task}`;
  $("task").textContent = spec.task;
  $("allowed").textContent = planner.contract.novelty.toFixed(2);
  $("budget").textContent = (1000 * spec.block * spec.control_dt).toFixed(0);
  sliders(planner.search);
  if (new URLSearchParams(location.search).has("check")) {
    $("check").hidden = false;
    $("check").textContent = JSON.stringify(await check(planner, scene, folder), null, 1);
  }
  stage.restart(0);
  await begin();
  $("run").addEventListener("click", run);
  $("step").addEventListener("click", () => turn(block));
  $("next").addEventListener("click", () => turn(() => (stage.restart(1), begin())));
  $("next").hidden = !scene;
  $("hint").hidden = !scene;
  if (scene) {
    hand("goal", scene.goal, begin);
    hand("live", scene.live, report);
  }
  Object.assign(window, { plans, stage }); // for the console and the tests
  document.body.dataset.ready = "yes";
}

start().catch((error) => say(`The page cannot start: ${error.message ?? error}`));
