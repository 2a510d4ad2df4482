"""The arm's scene against the package that it comes from, and the task made of it."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from robot_wm.core.errors import ConfigError
from sim import TASKS, make
from sim.arms import decimation, orientation, ur5e
from sim.arms.decimation import _original
from sim.arms.kinematics import HOME, Arm
from sim.collection.questions import disturbed
from sim.policies.registry import make_policy
from sim.rendering import Renderer
from sim.tasks.cube import HIGH, LOW, REACH, START, TABLE, Cube

POSE = np.array([0.42, 0.0, 0.25, 0.3, 0.0, 0.5, 0.2, 0.02, 0.0, 0.0, 0.0])
TURNS = orientation.ROTATIONS


def quaternions(count: int, seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=(count, 4))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def put(env, pose):
    env.reset(seed=0, options={})
    env.task.set_pose(env.data, np.asarray(pose, float))
    mujoco.mj_forward(env.model, env.data)
    return env.task.pose(env.data.qpos, env.data.qvel)


# ---- against the package ----


@pytest.mark.filterwarnings("ignore")  # of a viewer without a display
def test_commands_and_physics_are_the_packages(blind):
    """Its own scene beside ours: the same commands and, from them, the same motion.

    Both compute in double precision from the same numbers: ten digits below a micrometre. The
    package measures its gripper one physics step late; here its scene is brought up to date first.
    """
    cubes = pytest.importorskip("ogbench.manipspace.envs.cube_env")
    theirs = cubes.CubeEnv("single", ob_type="states", mode="data_collection")
    theirs.reset(seed=0)
    data, env = theirs.unwrapped._data, blind("cube")
    for name in ("qpos", "qvel", "qacc_warmstart"):
        getattr(env.data, name)[:] = getattr(data, name)
    for action in np.random.default_rng(0).uniform(-1, 1, (25, 5)):
        mujoco.mj_forward(theirs.unwrapped._model, data)
        mujoco.mj_forward(env.model, env.data)
        theirs.set_control(action)
        env.step(action)
        mujoco.mj_step(theirs.unwrapped._model, data, 25)
        np.testing.assert_allclose(env.data.ctrl, data.ctrl, atol=1e-9)
        np.testing.assert_allclose(env.data.qpos, data.qpos, atol=1e-9)


def test_nothing_of_the_goal_is_in_the_scene(blind):
    model = blind("cube").model
    names = [model.body(i).name for i in range(model.nbody)]
    assert [name for name in names if "object" in name] == ["cube/object_0"]
    assert model.mat_rgba[:, 3].min() == 1.0  # nothing of the arm is transparent
    assert model.body("cube/object_0").mass[0] == pytest.approx(1240 * 0.04**3)
    assert np.allclose(model.camera("front_pixels").pos, [1.053, -0.014, 0.639])


def test_light_meshes_change_the_look_alone():
    light, heavy = (Cube().compile({"render": render}) for render in ("light", "reference"))
    for name in ("body_mass", "body_inertia", "body_ipos", "body_iquat"):
        np.testing.assert_array_equal(getattr(light, name), getattr(heavy, name))
    meshes = [model.geom_dataid[model.geom_group == 2] for model in (light, heavy)]
    few, many = (m.mesh_vertnum[i].sum() for m, i in zip((light, heavy), meshes, strict=True))
    assert few < 0.1 * many
    stored, pictures = decimation.light_meshes(), []
    for name in (heavy.mesh(i).name for i in set(meshes[1])):
        sizes = [np.ptp(p, 0) for p in (stored[f"points/{name}"], _original(heavy, name)[0])]
        np.testing.assert_allclose(*sizes, atol=0.015)  # [m]: a pixel of 64, small parts vanish
    for model in (light, heavy):
        data = mujoco.MjData(model)
        data.qpos[:6] = HOME
        mujoco.mj_forward(model, data)
        renderer = Renderer(model, 64, camera="front_pixels")
        pictures.append(renderer.render(model, data).astype(float))
        renderer.close()
    assert np.abs(pictures[0] - pictures[1]).mean() < 2.0  # of 255


def test_meshes_are_stored_once_verified_and_made_again(tmp_path, monkeypatch):
    monkeypatch.setenv("ROBOT_WM_HOME", str(tmp_path))
    made = list[str]()

    def fake(points, faces):
        made.append("mesh")
        return points[:4], np.array([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]], np.int32)

    monkeypatch.setattr(decimation, "decimated", fake)
    first = decimation.light_meshes()
    (folder,) = (tmp_path / "meshes").iterdir()
    count = len(made)
    assert count >= 25
    decimation.light_meshes()
    assert len(made) == count  # read, not made
    stored = folder / decimation.FILE
    stored.write_bytes(stored.read_bytes()[:-1] + b"x")
    again = decimation.light_meshes()
    assert len(made) == 2 * count
    assert all(np.array_equal(first[key], again[key]) for key in first)
    monkeypatch.setattr(decimation, "FACES", 200)
    decimation._recipe.cache_clear()
    decimation.light_meshes()
    assert len(list((tmp_path / "meshes").iterdir())) == 2  # another recipe, another folder
    decimation._recipe.cache_clear()


def test_a_grid_with_seams_is_decimated_to_few_faces():
    """A plane of 20x20 squares, every triangle with vertices of its own: two faces would do.

    Corners of an open sheet may be cut: 2 % of its area.
    """
    x, y = np.meshgrid(np.arange(21.0), np.arange(21.0), indexing="ij")
    corners = np.stack([x, y, 0 * x], -1)
    a, b, c, d = corners[:-1, :-1], corners[1:, :-1], corners[1:, 1:], corners[:-1, 1:]
    points = np.stack([a, b, c, a, c, d], 2).reshape(-1, 3) / 20
    faces = np.arange(len(points)).reshape(-1, 3)
    found, sides = decimation.decimated(points, faces)
    assert len(sides) <= decimation.FACES
    assert np.ptp(found, axis=0) == pytest.approx([1, 1, 0], abs=0.02)
    edges = found[sides[:, 1:]] - found[sides[:, :1]]
    area = np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1).sum() / 2
    assert area == pytest.approx(1.0, abs=0.02)


def test_without_the_packages_the_task_is_listed_and_says_what_to_install(monkeypatch):
    monkeypatch.setattr(ur5e, "installed", lambda name: name != "ogbench")
    assert "cube" in TASKS
    assert TASKS["cube"].factors
    with pytest.raises(ConfigError, match=r"ogbench: not installed.*\[arms\]"):
        make("cube")


# ---- the arm ----


@pytest.mark.parametrize(("entry", "sign"), [(0, 1), (1, -1), (2, -1), (3, 1)])
def test_one_step_moves_the_gripper_by_a_share_of_the_command(entry, sign, blind, drive):
    """Servos of stiffness k and damping b follow with time b/k: 1 - exp(-0.05 k/b) = 43 %.

    The wrist's are slower, so yaw follows by less. The bounds hold 10 % for weight and inertia.
    """
    env, action = blind("cube"), np.zeros(5)
    put(env, POSE)
    action[entry] = sign
    steps = np.diff(drive(env, [action] * 4)[:, entry])[1:] * sign / REACH[entry]
    wanted = 0.43 if entry < 3 else 0.225
    np.testing.assert_allclose(steps, wanted, rtol=0.1)


def test_zero_actions_let_the_arm_sink_and_not_below_its_box(blind, drive):
    """As the package does: who holds this arm with zeros must know it."""
    env = blind("cube")
    put(env, POSE)
    heights = drive(env, [np.zeros(5)] * 25)[:, 2]
    assert ((np.diff(heights) < -5e-4) & (np.diff(heights) > -3e-3))[3:].all()
    put(env, [*POSE[:2], LOW[2] + 0.01, *POSE[3:5], 0.5, 0.3, *POSE[7:]])
    assert drive(env, [np.zeros(5)] * 40)[-1, 2] > LOW[2] - 0.01


def test_how_much_of_the_start_is_beyond_the_picture(blind):
    """The table, with cube and goals, is seen whole; of the gripper's box 15 % is not."""
    env, rng = blind("cube"), np.random.default_rng(0)
    env.reset(seed=0)
    poses = np.zeros((4000, 11))
    poses[:, :3] = rng.uniform(*START, (4000, 3))
    poses[:, 5:8] = np.append(rng.uniform(*TABLE, (4000, 2)), np.full((4000, 1), 0.02), 1)
    seen = env.paths(poses)
    beyond = {name: ((at < 0) | (at > 1)).any(1).mean() for name, at in seen.items()}
    assert beyond["cube"] == 0
    assert beyond["gripper"] == pytest.approx(0.15, abs=0.02)
    assert -0.25 < seen["gripper"].min() < seen["gripper"].max() < 1.3


def test_the_target_stays_in_the_workspace(blind, drive):
    env, rng = blind("cube"), np.random.default_rng(0)
    put(env, POSE)
    for corner in ((1, 1, 1), (-1, -1, -1), (1, -1, -1)):
        end = drive(env, [np.array([*corner, 0, 0], float)] * 40)[-1]
        bound = np.where(np.array(corner) > 0, HIGH, LOW)
        assert np.abs(end[:3] - bound).max() < 0.01
    commands = env.task.controls(
        np.tile(env.data.qpos, (2, 1)),
        np.tile(env.data.qvel, (2, 1)),
        rng.uniform(-1, 1, (2, 3, 5)),
    )
    assert (commands[..., -1] >= 0).all()
    assert (commands[..., -1] <= 255).all()


def test_joints_of_a_place_bring_the_gripper_there():
    arm, rng = Arm(), np.random.default_rng(0)
    for _ in range(20):
        place, yaw = rng.uniform([0.25, -0.35, 0.2], HIGH), rng.uniform(-np.pi, np.pi)
        found, turn = arm.pinch(arm.solve(place, yaw, HOME))
        assert np.abs(found - place).max() < 2e-4  # where the controller stops, twice
        assert abs(np.angle(np.exp(1j * (turn - yaw)))) < 2e-4


def test_poses_can_be_set(blind):
    env, rng = blind("cube"), np.random.default_rng(0)
    for _ in range(20):
        wanted = np.array(
            [*rng.uniform(LOW, HIGH), rng.uniform(0, 6.28), rng.uniform(),
             *rng.uniform(0.3, 0.5, 3), rng.uniform(0, 6.28), *rng.uniform(-0.3, 0.3, 2)]
        )  # fmt: skip
        np.testing.assert_allclose(put(env, wanted), wanted, atol=1e-10)
    assert disturbed(env, POSE, rng) is not None  # the cube lies, whatever was drawn
    for _ in range(20):
        if (state := disturbed(env, POSE, rng)) is not None:
            env.reset(options={"state": state})
            pose = env.task.pose(env.data.qpos, env.data.qvel)
            assert pose[7] == pytest.approx(0.02)


# ---- orientations and predicates ----


def test_there_are_24_rotations_and_they_are_a_group():
    assert len(TURNS) == 24
    products = np.einsum("aij,bjk->abik", TURNS, TURNS).reshape(-1, 1, 9)
    assert (np.abs(products - TURNS.reshape(1, 24, 9)).max(-1) == 0).any(1).all()


def test_all_24_rotations_are_one_orientation():
    for turn in orientation.matrices(quaternions(30)):
        folded = orientation.fold(turn @ TURNS)
        assert orientation.angle(folded, folded[0]).max() < 1e-7
        back = np.einsum("nji,jk->nik", orientation.unfold(folded), turn)
        gaps = np.abs(back[:, None] - TURNS).max((-1, -2)).min(1)
        assert gaps.max() < 1e-9  # one of the 24


def test_the_angle_is_the_smallest_of_24():
    """The definition, by arccos of traces; which loses half of the digits near 0."""
    first, second = (orientation.matrices(quaternions(50, seed)) for seed in (1, 2))
    for a, b in zip(first, second, strict=True):
        cosines = [(np.trace(a.T @ b @ turn) - 1) / 2 for turn in TURNS]
        wanted = np.arccos(min(max(cosines), 1.0))
        assert orientation.angle(orientation.fold(a), orientation.fold(b)) == pytest.approx(
            wanted, abs=1e-7
        )


def test_predicates_at_their_limits():
    goal = POSE.copy()

    def hits(family, change, steps=4):
        poses = np.repeat(POSE[None], steps + 1, 0)
        for entry, value in change.items():
            poses[1:, entry] += value
        return Cube.predicates[family](poses, goal).tolist()

    for family, limit in (("official", 0.04), ("moderate", 0.04), ("strict", 0.03)):
        assert any(hits(family, {5: limit - 1e-4}))
        assert not any(hits(family, {6: limit + 1e-4}))
        assert any(hits(family, {0: 0.3, 3: 1.0}))  # the gripper does not matter
    # Strict holds for three steps, and within 15 degrees of any of four yaws.
    assert hits("strict", {}) == [False, False, True, True]
    for degrees, wanted in ((14, True), (16, False), (44, False), (76, True), (90, True)):
        assert any(hits("strict", {8: 4 * np.deg2rad(degrees)})) is wanted
        assert any(hits("official", {8: 4 * np.deg2rad(degrees)}))
    # A cube that is held above the table is not put there.
    assert any(hits("long", {4: 0.5}))
    assert any(hits("long", {7: 0.03}))
    assert not any(hits("long", {4: 0.5, 7: 0.03}))


# ---- the expert ----


def test_the_expert_brings_the_cube_and_the_gripper_where_they_belong(blind):
    env, ends = blind("cube"), []
    for seed in range(4):
        goal = env.reset(seed=100 + seed)[1]["pose"]
        _, info = env.reset(seed=seed)
        expert = make_policy("cube", "expert")
        expert.reset(np.random.default_rng(0), goal=goal)
        poses = [info["pose"]]
        for _ in range(90):
            poses.append(env.step(expert.act(poses[-1]))[-1]["pose"])
        for family in ("official", "strict", "long"):
            assert env.success(family, np.array(poses), goal).any(), (seed, family)
        ends.append(float(env.distance(poses[-1], goal)))
    assert max(ends) < 0.03


def test_data_holds_several_sub_tasks_and_half_keep_the_yaw(blind):
    env, expert = blind("cube"), make_policy("cube", "expert")
    _, info = env.reset(seed=0)
    expert.reset(np.random.default_rng(0))
    goals = list[np.ndarray]()
    for _ in range(200):
        info = env.step(expert.act(info["pose"]))[-1]
        if not goals or goals[-1] is not expert.goal:
            goals.append(expert.goal)
    assert len(goals) >= 2
    expert._here = POSE
    kept = np.mean([expert._draw_goal()[8] == POSE[8] for _ in range(400)])
    assert kept == pytest.approx(0.5, abs=0.1)  # four standard deviations


def test_noise_is_larger_for_yaw_and_gripper():
    expert = make_policy("cube", "expert", noise=0.02)
    expert.reset(np.random.default_rng(0), goal=POSE)
    still = np.array([expert.act(POSE) for _ in range(1000)])
    np.testing.assert_allclose(still.std(0), [0.02, 0.02, 0.02, 0.06, 0.2], rtol=0.15)
