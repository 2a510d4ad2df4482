"""Fixtures shared by the tests of the sim room. Nothing heavy is imported before it is used."""

import numpy as np
import pytest

from robot_wm.core.system import extras
from robot_wm.core.system.machine import use_threads


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """One thread for every test, whatever a command set before: networks are tiny here."""
    use_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what needs the arm's packages where they are not installed."""
    if all(map(extras.installed, ("ogbench", "fast_simplification"))):
        return
    for item in items:
        values = item.callspec.params.values() if hasattr(item, "callspec") else ()
        if "test_cube" in item.nodeid or any(isinstance(v, str) and v == "cube" for v in values):
            item.add_marker(pytest.mark.skip(reason="needs the extra `arms`"))


@pytest.fixture(scope="session")
def blind():
    """Scenes without OpenGL, one per task, shared: ``blind("push_t")``."""
    from sim.env import GoalEnv

    made = {}

    def get(task):
        if task not in made:
            made[task] = GoalEnv(task, 16, draw_images=False)
        made[task].reset(seed=0, options={})
        return made[task]

    return get


@pytest.fixture(scope="session")
def drive():
    """Poses ``[T+1, K]`` of actions ``[T, 2]`` from the scene's present state."""

    def run(env, actions):
        poses = [env.task.pose(env.data.qpos, env.data.qvel)]
        for action in actions:
            poses.append(env.step(np.asarray(action))[-1]["pose"])
        return np.array(poses)

    return run


@pytest.fixture(scope="session")
def tiny_config():
    """Three shards of two episodes each, in a second."""
    from sim.collection.collect import CollectConfig, Mix

    mix = (Mix("expert", 0.6, (0.0, 0.3)), Mix("weak", 0.4))
    return CollectConfig(
        "push_t", "tiny", episodes=6, steps=10, mix=mix, variation=("agent_color", "mass"),
        image_size=16, seed=3, episodes_per_shard=2, workers=1,
    )  # fmt: skip


@pytest.fixture(scope="session")
def tiny(tiny_config, tmp_path_factory):
    """The data set of ``tiny_config``: read only."""
    from sim.collection.collect import collect

    return collect(tiny_config, tmp_path_factory.mktemp("tiny") / "data")


@pytest.fixture
def installed(tmp_path_factory, monkeypatch):
    """Somebody's package with an entry point: ``installed(group, name, "module:object")``.

    Workers find it too: they search where this process does.
    """

    def install(group: str, name: str, target: str) -> None:
        about = tmp_path_factory.mktemp("theirs") / f"{name}-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(f"[{group}]\n{name} = {target}\n")
        monkeypatch.syspath_prepend(str(about.parent))

    return install


@pytest.fixture
def toys(installed) -> None:
    """``tests/toys`` as somebody's package with a task, a world model, an objective, and YAML."""
    installed("robot_wm.tasks", "three_joint_arm", "three_joint_arm:ThreeJointArm")
    installed("robot_wm.world_models", "linear", "toy_family:FAMILY")
    installed("robot_wm.objectives", "brightness", "toy_objective:Brightness")
    installed("robot_wm.configs", "toys", "toy_configs")
