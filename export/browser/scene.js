// The scene in MuJoCo's WebAssembly build: one model, the live world and the goal world.
// Nothing here knows a task: actions become commands by a matrix that Python made.

import loadMujoco from "./vendor/mujoco.js";
import { Picture } from "./picture.js";

const SLIDE = 2, HINGE = 3; // mjtJoint
const DEEP = -0.001; // contact distance of a goal that cannot be [m]

const wrap = (angle) => angle - 2 * Math.PI * Math.round(angle / (2 * Math.PI));

/** A MuJoCo state with its picture. */
class World {
  /** `bounds` says between which values a position must stay that can be dragged: [low, high]. */
  constructor(mujoco, model, size, bounds) {
    this.mujoco = mujoco;
    this.bounds = bounds;
    this.model = model;
    this.data = new mujoco.MjData(model);
    mujoco.mj_forward(model, this.data);
    this.picture = new Picture(model, this.data, size);
  }

  /** Joint positions and velocities, one after the other. */
  get state() {
    return [...this.data.qpos, ...this.data.qvel];
  }

  set state(values) {
    const { mujoco, model, data } = this;
    mujoco.mj_resetData(model, data);
    data.qpos.set(values.slice(0, model.nq));
    data.qvel.set(values.slice(model.nq));
    mujoco.mj_forward(model, data);
  }

  /** What the camera sees, uint8 [S * S * 3]. */
  image() {
    // A physics step leaves positions one step behind the state.
    this.mujoco.mj_kinematics(this.model, this.data);
    this.mujoco.mj_camlight(this.model, this.data);
    return this.picture.draw(this.data);
  }

  /** Joints of the nearest ancestor of a body that has any. */
  joints(body) {
    const { model } = this;
    while (body && !model.body_jntnum[body]) body = model.body_parentid[body];
    return Array.from({ length: model.body_jntnum[body] }, (_, i) => model.body_jntadr[body] + i);
  }

  /** Body that can be moved at or very near a point of the last picture (0 to 1), or 0. */
  grasp(x, y) {
    for (const reach of [0, 0.01, 0.02, 0.03]) {
      for (let angle = 0; angle < 2 * Math.PI; angle += Math.PI / 4) {
        const body = this.picture.bodyAt(x + reach * Math.cos(angle), y + reach * Math.sin(angle));
        if (this.joints(body).length) return body;
      }
    }
    return 0;
  }

  /**
   * Move a body as if dragged from one point of the picture to another; `turning` turns it.
   * It stops at the edge. False, and nothing moves, where it would be inside another body.
   */
  drag(body, from, to, turning = false) {
    const { model, data } = this, before = Float64Array.from(data.qpos);
    const [a, b] = [from, to].map(([x, y]) => this.picture.pointAt(x, y, data.xpos[3 * body + 2]));
    const joints = this.joints(body), slides = joints.some((j) => model.jnt_type[j] === SLIDE);
    for (const joint of joints) {
      const at = model.jnt_qposadr[joint];
      if (model.jnt_type[joint] === SLIDE && !turning) {
        const axis = model.jnt_axis.subarray(3 * joint, 3 * joint + 3);
        const [low, high] = this.bounds(at);
        const wanted = data.qpos[at] + axis[0] * (b[0] - a[0]) + axis[1] * (b[1] - a[1]);
        data.qpos[at] = Math.min(Math.max(wanted, low), high);
      } else if (model.jnt_type[joint] === HINGE && (turning || !slides)) {
        const [x, y] = data.xanchor.subarray(3 * joint, 3 * joint + 2);
        const angle = Math.atan2(b[1] - y, b[0] - x) - Math.atan2(a[1] - y, a[0] - x);
        data.qpos[at] += wrap(angle);
      }
      if (model.jnt_range[2 * joint] < model.jnt_range[2 * joint + 1]) {
        const [low, high] = model.jnt_range.subarray(2 * joint, 2 * joint + 2);
        data.qpos[at] = Math.min(Math.max(data.qpos[at], low), high);
      }
    }
    this.mujoco.mj_forward(model, data);
    if (this.deepest() >= DEEP) return true;
    data.qpos.set(before);
    this.mujoco.mj_forward(model, data);
    return false;
  }

  /** Smallest distance in any contact, 0 without one [m]. */
  deepest() {
    const contacts = this.data.contact;
    let least = 0;
    for (let i = 0; i < contacts.size(); i++) {
      const contact = contacts.get(i);
      least = Math.min(least, contact.dist);
      contact.delete();
    }
    contacts.delete();
    return least;
  }
}

export class Scene {
  /** Throws what MuJoCo says where it cannot load the scene, or why Python did not hand it over. */
  static async load(folder, size) {
    const fetched = (name) => fetch(new URL(name, folder));
    const description = await (await fetched("scene.json")).json();
    if (description.obstacle) throw new Error(description.obstacle);
    const xml = await (await fetched("scene.xml")).text();
    const mujoco = await loadMujoco();
    const model = mujoco.MjModel.from_xml_string(xml);
    return new Scene(description, mujoco, model, size);
  }

  constructor(description, mujoco, model, size) {
    Object.assign(this, description);
    this.mujoco = mujoco;
    this.model = model;
    const bounds = (at) => this.bounds(at);
    this.live = new World(mujoco, model, size, bounds);
    this.goal = new World(mujoco, model, size, bounds);
  }

  get version() {
    return this.mujoco.mj_versionString();
  }

  /** Where a position may be: the robot where it may be sent, everything else in the picture. */
  bounds(at) {
    const { confinement: box, extent } = this;
    if (box?.joints.includes(at)) return [box.low, box.high];
    return extent ?? [-Infinity, Infinity];
  }

  /** One control step of the live world, as sim/env.py makes it; the action that it executed. */
  step(action) {
    const { model, live: { data } } = this;
    const clipped = this.confined(Array.from(action, (a) => Math.min(Math.max(a, -1), 1)));
    const input = [...data.qpos, ...data.qvel, ...clipped];
    const rows = this.commands.map((row) =>
      row.map((weights) => weights.reduce((sum, w, i) => sum + w * input[i], 0)));
    for (const row of rows) {
      data.ctrl.set(row);
      for (let i = 0; i < this.hold_steps; i++) this.mujoco.mj_step(model, data);
    }
    return clipped;
  }

  /** The action, changed where its target would lie outside the picture (`Task.clip_to_workspace`). */
  confined(action) {
    const box = this.confinement;
    if (!box) return action;
    return action.map((a, i) => {
      const place = this.live.data.qpos[box.joints[i]], target = place + box.reach * a;
      if (target >= box.low && target <= box.high) return a;
      const inside = Math.min(Math.max(target, box.low), box.high);
      return Math.min(Math.max((inside - place) / box.reach, -1), 1);
    });
  }

  /** Whether the robot can be seen; where nothing confines it, the scene's walls do. */
  get visible() {
    const box = this.confinement;
    if (!box) return true;
    return box.joints.every((j) => {
      const place = this.live.data.qpos[j];
      return place >= 0 && place <= this.view;
    });
  }

  /** How far every body with joints of its own is from its goal: { name, metres, degrees }. */
  gaps() {
    const { model, live, goal } = this, found = [];
    for (let body = 1; body < model.nbody; body++) {
      const kinds = live.joints(body).filter((j) => model.jnt_bodyid[j] === body)
        .map((j) => model.jnt_type[j]);
      if (!kinds.length) continue;
      const [p, q] = [live, goal].map((w) => w.data.xpos.subarray(3 * body, 3 * body + 3));
      const [m, n] = [live, goal].map((w) => w.data.xmat.subarray(9 * body, 9 * body + 9));
      const turned = wrap(Math.atan2(m[3], m[0]) - Math.atan2(n[3], n[0]));
      found.push({
        name: model.body(body).name,
        // What its joints can change.
        metres: kinds.includes(SLIDE) ? Math.hypot(...p.map((x, i) => x - q[i])) : null,
        degrees: kinds.includes(HINGE) ? (Math.abs(turned) * 180) / Math.PI : null,
      });
    }
    return found;
  }
}
