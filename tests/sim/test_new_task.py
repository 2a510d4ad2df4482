"""A task of another package: three controls, a tilted camera, pictures that are no square."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest
from three_joint_arm import BARE, NAME, SIZE, ThreeJointArm, installed

from robot_wm.core.errors import ConfigError, InputError
from robot_wm.core.poses import PoseEntry
from robot_wm.core.symmetry import Mirror
from robot_wm.data.formats.native import EpisodeStore
from sim import TASKS, make
from sim.collection.collect import CollectConfig, Mix, collect
from sim.oracle.agents import oracle_agent
from sim.tasks.abilities import Calibrated, Posable, Reflects, able
from sim.tasks.base import Task, turn_camera
from sim.tasks.conformance import check_task
from sim.web_scene import command_matrix, describe

HEIGHT, WIDTH = SIZE
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def arm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        installed(tmp_path_factory.mktemp("site"), patch)
        yield


def test_the_scene_is_made_in_its_own_sizes() -> None:
    assert NAME in TASKS
    env = make(NAME, SIZE)
    obs, info = env.reset(seed=1)
    assert obs["image"].shape == (HEIGHT, WIDTH, 3)
    assert env.observation_space["image"].shape == (HEIGHT, WIDTH, 3)  # type: ignore[index]
    assert (env.spec.image_height, env.spec.image_width, env.spec.control_dim) == (48, 64, 3)
    assert [e.label for e in env.spec.pose][:4] == [
        "swivel [rad]", "shoulder [rad]", "elbow [rad]", "tip_x [m]",
    ]  # fmt: skip
    before = info["pose"]
    obs, *_, info = env.step(np.array([1.0, 0.5, -1.0]))
    assert (np.abs(info["pose"] - before)[:3] > 0.02).all()
    with pytest.raises(InputError, match="3 finite numbers"):
        env.step(np.zeros(2))
    env.close()


def test_the_tilted_camera_sees_the_arm_from_the_side() -> None:
    env = make(NAME, SIZE)
    env.reset(seed=1)
    shown = env.render()
    # Not straight down: the sky above the floor's far end would be seen only by a tilted camera,
    # and a raised arm moves up in the picture.
    rows = []
    for shoulder in (0.0, 1.0):
        env.data.qpos[:] = [0.8, shoulder, 0.0]
        picture = env.render().astype(int)
        green = picture[..., 1] - picture[..., [0, 2]].max(-1)
        rows.append(np.argwhere(green > 40)[:, 0].mean())
    assert rows[1] < rows[0] - 4
    # A yaw turns the picture about the camera's own axis: half a turn is the picture upside down.
    env.reset(seed=1, options={"factors": {"camera_yaw": 180.0}})
    turned = env.render().astype(int)
    assert np.abs(turned[::-1, ::-1] - shown).mean() < 2 < np.abs(turned - shown).mean()
    env.close()


@pytest.mark.parametrize(
    "told", ['quat="0.9 0.3 0.1 0.2"', 'xyaxes="1 0 0 0 0.5 1"', 'euler="30 20 0"']
)
def test_cameras_keep_their_tilt_however_it_is_written(told: str) -> None:
    def scene() -> mujoco.MjSpec:
        xml = f'<mujoco><worldbody><camera name="c" pos="1 2 3" {told}/></worldbody></mujoco>'
        return mujoco.MjSpec.from_string(xml)

    plain, moved, yawed = scene(), scene(), scene()
    turn_camera(moved, "c", 0.0, np.array([0.1, -0.2]))
    turn_camera(yawed, "c", 90.0, np.zeros(2))
    before, shifted, turned = (s.compile() for s in (plain, moved, yawed))
    np.testing.assert_allclose(shifted.cam_quat, before.cam_quat, atol=1e-12)
    axes = before.cam_mat0.reshape(3, 3)
    np.testing.assert_allclose(
        shifted.cam_pos[0] - before.cam_pos[0], axes @ [0.1, -0.2, 0.0], atol=1e-12
    )
    after = turned.cam_mat0.reshape(3, 3)
    np.testing.assert_allclose(after[:, 2], axes[:, 2], atol=1e-12)  # looks the same way
    np.testing.assert_allclose(after[:, 0], axes[:, 1], atol=1e-12)


def test_two_episodes_are_collected_and_a_step_is_planned(tmp_path: Path) -> None:
    from planning.agent.costs import Objective
    from planning.agent.mpc import MPCAgent
    from planning.optimizers import make as search

    mix = (Mix("expert", 0.5, (0.2,)), Mix("random", 0.5))
    config = CollectConfig(
        NAME, "nominal", 2, 10, mix, image_size=SIZE, episodes_per_shard=2, workers=1
    )
    store = EpisodeStore(collect(config, tmp_path / "data"))
    episode = store[0]
    assert episode.frames.shape == (3, HEIGHT, WIDTH, 3)
    assert episode.actions.shape == (10, 3)
    assert episode.poses.shape == (11, 9)
    assert store.schema.image_size == SIZE
    assert store.schema.pose == TASKS[NAME].pose_entries
    collect(config, tmp_path / "data")  # the same configuration, read back, is the same

    env = make(NAME, SIZE, draw_images=False)
    goal, goal_info = env.reset(seed=2)
    obs, info = env.reset(seed=1)
    optimizer = search("icem", candidates=16, iterations=2, elites=4)
    weigh = Objective.discounted(1.0)
    agent = oracle_agent(
        env.spec,
        lambda model: MPCAgent(model, optimizer, weigh, 2, 1, proposals=4),
        horizon=2,
        block=4,
    )
    agent.watch(info, goal_info)
    agent.reset(goal, 0)
    start = env.distance(info["pose"], goal_info["pose"])
    for _ in range(12):
        agent.watch(info, goal_info)
        action = agent.act(obs)
        assert action.shape == (3,)
        obs, *_, info = env.step(action)
    assert env.distance(info["pose"], goal_info["pose"]) < 0.5 * start


def test_abilities_that_it_lacks_are_told_with_who_needs_them() -> None:
    task = TASKS[NAME]()
    for ability in (Posable, Reflects, Calibrated):
        with pytest.raises(ConfigError, match=f"task {NAME} lacks what robot-wm x needs"):
            able(task, ability, "robot-wm x")
    for name in ("push_t", "two_room", "reacher"):
        assert able(TASKS[name](), Posable, "robot-wm reach").set_pose
        assert able(TASKS[name](), Calibrated, "robot-wm calibrate").published.oracle > 90


@pytest.mark.parametrize("name", sorted({NAME, BARE, *TASKS}))
def test_every_task_conforms(name: str) -> None:
    check_task(name)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"control_dt": 0.2}, "control_dt = 0.2"),
        ({"pose_entries": ThreeJointArm.pose_entries[:5]}, "(9,)"),
        ({"control_dim": 2}, "commands"),
        ({"hold_steps": 0, "control_dt": 0.0}, "nothing moved"),
        ({"predicates": {"strict": lambda poses, goal: np.ones(len(poses))}}, "predicate"),
        ({"predicates": {"official": lambda poses, goal: np.ones(len(poses))}}, "float64"),
        ({"distance": lambda self, poses, goal: np.ones(len(poses))}, "distance 0"),
        ({"set_pose": lambda self, data, pose: None}, "inverse of `pose`"),
        ({"mirror": Mirror("up-down", (0, 1, 2), (1.0, 1.0, 1.0))}, "a mirror without it"),
        ({"policies": {"bold": "three_joint_arm:Bold"}}, "bold"),
    ],
)
def test_tasks_that_break_a_rule_are_told_which(
    wrong: dict[str, Any], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in wrong.items():
        monkeypatch.setattr(ThreeJointArm, name, value, raising=False)
    with pytest.raises(ConfigError, match=re.escape(told)):
        check_task(NAME)


def test_a_task_that_is_not_whole_is_told_so() -> None:
    class Half(TASKS[NAME]):  # type: ignore[misc]
        camera = "sideways"

    with pytest.raises(ConfigError, match="overview, tilted"):
        Half().check()
    Half.scene = Path("nowhere.xml")
    with pytest.raises(ConfigError, match=r"no scene nowhere\.xml"):
        Half().check()

    class Bare(Task):
        name = "bare"
        controls = pose = sample_initial_state = distance = lambda *_: None  # type: ignore[assignment]

    with pytest.raises(ConfigError, match="without scene, camera, view, control_dim"):
        Bare().check()


def test_the_page_refuses_what_it_cannot_draw() -> None:
    env = make(NAME, SIZE, draw_images=False)
    assert command_matrix(env.task, env.model).shape == (1, 3, 9)
    with pytest.raises(ConfigError, match="pictures of camera 'tilted'"):
        describe(env, [])


def test_entries_of_poses_are_spelled_and_read_back() -> None:
    for entry in (
        PoseEntry("block_x", "m", "position"), PoseEntry("block_angle", "rad", "angle"),
        PoseEntry("wrist", "rad", "joint"), PoseEntry("yaw", "rad", "angle"),
        PoseEntry("dial", "", "angle"), PoseEntry("level", "", "position"),
        PoseEntry("flow", "l/s", "position"), PoseEntry("tip_vz", "m/s", "velocity"),
    ):  # fmt: skip
        assert PoseEntry.parse(entry.label) == entry
    assert PoseEntry("wrist", "rad", "joint").label == "wrist [rad]"
    assert PoseEntry("yaw", "rad", "angle").label == "yaw [rad, angle]"
    assert PoseEntry.parse("torque [N, m]").kind == "position"  # others write what they like
    with pytest.raises(ConfigError, match="kind 'colour'"):
        PoseEntry("x", "m", "colour")  # type: ignore[arg-type]


def test_what_tests_ask_of_every_task_holds_for_it(tmp_path: Path) -> None:
    """Those that iterate over the table, in a process that finds the arms there from the start."""
    with pytest.MonkeyPatch.context() as patch:
        installed(tmp_path, patch)
        path = os.pathsep.join([str(tmp_path), str(ROOT / "tests/toys")])
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", f"{NAME} or {BARE}",
         "tests/sim", "tests/export/test_web_demo.py"],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout
    passed = re.search(r"(\d+) passed, \d+ deselected", ran.stdout)
    assert passed, ran.stdout  # and none skipped
    assert int(passed[1]) > 50


CHAIN = (
    "experiment=smoke", f"task={NAME}", f"encoder_tasks=[{NAME}]", "image_size=[48,64]",
    "workers=1",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_it_is_collected_pretrained_trained_evaluated_and_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from robot_wm.cli import main as cli

    monkeypatch.setenv("ROBOT_WM_HOME", str(tmp_path))
    assert cli.main(["collect", *CHAIN]) == 0
    assert cli.main(["pretrain", *CHAIN]) == 0
    assert cli.main(["train", *CHAIN]) == 0
    methods = "method=[jepa,random,oracle,expert]"
    assert cli.main(["evaluate", *CHAIN, methods]) == 0
    assert cli.main(["export", *CHAIN]) == 0
    assert cli.main(["evaluate", *CHAIN, "method=[onnx]"]) == 0
    lines = (tmp_path / f"runs/evaluate-smoke/official-{NAME}.jsonl").read_text().splitlines()
    rows = {row["method"]: row for row in map(json.loads, lines)}
    assert set(rows) == {"jepa", "random", "oracle", "expert", "onnx"}
    assert rows["expert"]["success_pct"] == 100
    spec = json.loads((tmp_path / f"bundles/{NAME}-smoke/contract.json").read_text())["spec"]
    assert (spec["image_size"], spec["control_dim"]) == ([48, 64], 3)
    assert cli.main(["probe", *CHAIN]) in (0, 1)
    assert cli.main(["report", *CHAIN]) == 0
    assert cli.main(["soak", *CHAIN, "soak.ticks=60"]) == 0
    assert cli.main(["improve", *CHAIN]) == 0
    capsys.readouterr()
    assert cli.main(["calibrate", *CHAIN]) == 2
    assert "lacks what robot-wm calibrate needs" in capsys.readouterr().err
