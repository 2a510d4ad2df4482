"""A point that moves on a plane, with simple agents: the evaluator's test scene.

Not a test file: spawned workers import it by name.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from robot_wm.core.errors import WeightsError
from robot_wm.core.poses import entries
from robot_wm.core.protocols import EnvSpec
from robot_wm.data.episodes import Episode, Schema
from robot_wm.data.formats.native import EpisodeStore, open_dataset, write_shard

SIZE, SPEED, HOLD = 16, 0.1, 3


class PointEnv:
    """Position += SPEED * action. ``moderate``: within .1; ``strict``: within .05 for HOLD."""

    def __init__(self) -> None:
        self.spec = EnvSpec(
            "point", (-1.0, -1.0), (1.0, 1.0), 0.1, SIZE, 2, entries(("x [m]", "y [m]")),
            ("official", "moderate", "strict"),
        )  # fmt: skip
        self.place = np.zeros(2)
        self.rested: list[bool] = []

    def _out(self):
        image = np.full((SIZE, SIZE, 3), 255, np.uint8)
        x, y = np.clip((self.place + 2) / 4 * SIZE, 0, SIZE - 1).astype(int)
        image[y, x] = (200, 30, 30)
        obs = {"image": image, "proprio": self.place.astype(np.float32), "secret": self.place}
        return obs, {"state": self.place.copy(), "pose": self.place.copy(), "factors": {}}

    def reset(self, *, seed=None, options=None):
        self.rested.append(bool(options.get("rest")))
        self.place = np.array(options["state"], np.float64)
        return self._out()

    def step(self, action):
        assert np.abs(action).max() <= 1
        self.place = self.place + SPEED * np.asarray(action, np.float64)
        obs, info = self._out()
        return obs, 0.0, False, False, info

    def distance(self, poses, goal_pose):
        return np.linalg.norm(np.asarray(poses) - goal_pose, axis=1)

    def success(self, family, poses, goal_pose):
        near = self.distance(poses, goal_pose)[1:] < (0.05 if family == "strict" else 0.1)
        if family != "strict":
            return near
        run, out = 0, []
        for ok in near:
            run = run + 1 if ok else 0
            out.append(run >= HOLD)
        return np.array(out)


class SteerAgent:
    """Steers to the goal from proprioception; twice too fast, so that it must be clipped."""

    def reset(self, goal, seed):
        assert set(goal) == {"image", "proprio"}
        self.goal, self.seed, self.plan_s, self.encode_s = goal["proprio"], seed, [], []

    def act(self, obs):
        assert set(obs) == {"image", "proprio"}
        self.plan_s.append(0.002)
        self.encode_s.append(0.001)
        return np.clip((self.goal - obs["proprio"]) / SPEED, -2, 2).astype(np.float32)


class DriftAgent:
    """A random walk from its seed alone."""

    def reset(self, goal, seed):
        self.seed, self.rng = seed, np.random.default_rng(seed)
        self.saw = [goal["proprio"].shape]

    def act(self, obs):
        self.saw.append(obs["proprio"].shape)
        return self.rng.uniform(-1, 1, 2).astype(np.float32)


class OracleAgent:
    """Sees the physics."""

    def watch(self, info, goal_info):
        self.delta = goal_info["pose"] - info["pose"]

    def reset(self, goal, seed):
        assert self.delta.shape == (2,)

    def act(self, obs):
        return np.clip(self.delta / SPEED, -1, 1).astype(np.float32)


class BrokenAgent(DriftAgent):
    def act(self, obs):
        raise WeightsError("a torn file", "a whole file", "download it again")


def make_steer(spec):
    return SteerAgent()


def make_drift(spec):
    return DriftAgent()


def make_broken(spec):
    return BrokenAgent()


def point_store(root: Path, episodes: int = 120, length: int = 20, still: int = 0) -> EpisodeStore:
    """Straight recorded walks; the first ``still`` episodes never move."""
    schema = Schema(
        "point", "std", SIZE, 5, 0.1, (-1.0, -1.0), (1.0, 1.0), ("x [m]", "y [m]"), 2, 2, 0,
        episodes, {},
    )  # fmt: skip
    open_dataset(root, schema)
    rng = np.random.default_rng(3)
    made = []
    for i in range(episodes):
        actions = np.repeat(rng.uniform(-0.5, 0.5, (1, 2)), length, 0).astype(np.float32)
        actions *= 0 if i < still else 1
        path = np.concatenate([np.zeros((1, 2)), (SPEED * actions.astype(np.float64)).cumsum(0)])
        frames = np.zeros((length // 5 + 1, SIZE, SIZE, 3), np.uint8)
        made.append(Episode(i, frames, path, path, path.astype(np.float32), actions, {}))
    write_shard(root, 0, made)
    return EpisodeStore(root)
