"""The page keeps what it moves in the picture; its scene in node, around a MuJoCo that is none."""

import json
import shutil
import subprocess

import numpy as np
import pytest

from export.commands.web_demo import SOURCE
from sim.tasks import TASKS

MUJOCO = "export default async () => null;"
# As large as the scene and straight from above.
PICTURE = """
export class Picture {
  bodyAt() { return 1; }
  pointAt(x, y, z) { return [x * 0.512, (1 - y) * 0.512, z]; }
}
"""
SCRIPT = """
import { Scene } from "./scene.js";

const told = JSON.parse(process.argv[2]);
const model = {
  nq: 2, nv: 2, body_jntnum: [0, 2], body_jntadr: [0, 0], body_parentid: [0, 0],
  jnt_type: [2, 2], jnt_axis: Float64Array.of(1, 0, 0, 0, 1, 0), jnt_qposadr: [0, 1],
  jnt_range: Float64Array.of(0, 0, 0, 0),
};
class MjData {
  constructor() {
    this.qpos = Float64Array.from(told.start);
    this.qvel = new Float64Array(2);
    this.xpos = new Float64Array(6);
    this.contact = { size: () => 0, delete() {} };
  }
}
const scene = new Scene(told.description, { MjData, mj_forward() {} }, model, 8);
const confined = told.cases.map(({ place, action }) => {
  scene.live.data.qpos.set(place);
  return scene.confined(action);
});
const dragged = [[5, 0.5], [-5, 0.5], [0.5, 5], [0.5, -5], [0.6, 0.4]].map((to) => {
  scene.goal.data.qpos.set(told.start);
  scene.goal.drag(1, [0.5, 0.5], to);
  return Array.from(scene.goal.data.qpos);
});
console.log(JSON.stringify({ confined, dragged }));
"""
START = [0.256, 0.256]


def page(folder, confinement, extent, cases=()):
    (folder / "vendor").mkdir()
    (folder / "vendor" / "mujoco.js").write_text(MUJOCO)
    (folder / "picture.js").write_text(PICTURE)
    (folder / "package.json").write_text('{"type": "module"}')
    shutil.copy(SOURCE / "scene.js", folder)
    (folder / "run.js").write_text(SCRIPT)
    told = {"description": {"confinement": confinement, "extent": extent}, "cases": cases,
            "start": START}  # fmt: skip
    run = subprocess.run(
        ["node", str(folder / "run.js"), json.dumps(told)], capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="no node on this machine")


@needs_node
def test_actions_are_confined_as_in_python_and_a_dragged_robot_stops_at_the_box(tmp_path):
    task, rng = TASKS["push_t"](), np.random.default_rng(0)
    box = task.confinement
    cases = [
        {"place": place.tolist(), "action": action.tolist()}
        for place, action in zip(
            rng.uniform(-0.1, 0.6, (200, 2)), rng.uniform(-1, 1, (200, 2)), strict=True
        )
    ]
    told = {"joints": [0, 1], "low": box.low, "high": box.high, "reach": box.reach}
    found = page(tmp_path, told, task.extent, cases)
    python = [
        task.clip_to_workspace(np.array([*c["place"], 0, 0, 0, 0, 0]), np.array(c["action"]))
        for c in cases
    ]
    # Python rebuilds the action from its target: the last digits of numbers up to 1 / 0.1.
    np.testing.assert_allclose(found["confined"], python, atol=1e-12)
    assert sum(not np.allclose(p, c["action"]) for p, c in zip(python, cases, strict=True)) > 20
    right, left, down, up, near = found["dragged"]
    assert right == [box.high, START[1]]
    assert left == [box.low, START[1]]
    assert down == [START[0], box.low]
    assert up == [START[0], box.high]
    assert near == pytest.approx([0.256 + 0.0512, 0.256 + 0.0512])


@needs_node
def test_what_nothing_confines_is_dragged_no_further_than_the_picture(tmp_path):
    found = page(tmp_path, None, [0.0, 0.512])
    assert found["dragged"][:2] == [[0.512, 0.256], [0.0, 0.256]]


@needs_node
def test_a_scene_that_python_kept_back_is_told_with_the_reason(tmp_path):
    page(tmp_path, None, None)
    (tmp_path / "scene.json").write_text('{"obstacle": "more than one file"}')
    (tmp_path / "run.js").write_text("""
import { readFileSync } from "node:fs";
import { Scene } from "./scene.js";
globalThis.fetch = async (url) => ({ json: async () => JSON.parse(readFileSync(url)) });
Scene.load(new URL("./", import.meta.url), 8).catch((error) => console.log(error.message));
""")
    run = ["node", str(tmp_path / "run.js")]
    told = subprocess.run(run, capture_output=True, text=True, timeout=60, check=True)
    assert told.stdout.strip() == "more than one file"


@needs_node
def test_without_bounds_it_would_leave(tmp_path):
    assert page(tmp_path, None, None)["dragged"][0][0] > 2
