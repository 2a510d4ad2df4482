"""What the teacher is asked: states of recorded episodes, and goals for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import mujoco
import numpy as np

from robot_wm.core.errors import DataError
from robot_wm.data.episodes import Episode
from robot_wm.data.formats.base import EpisodeReader, open_episodes
from sim.collection.teacher_config import KINDS, TeacherConfig
from sim.env import GoalEnv
from sim.tasks.abilities import Posable, able

TRIES = 50  # draws of a question before giving up


class Question(NamedTuple):
    """A state, the states and actions of the block before it (or none), and a goal."""

    kind: str
    before: np.ndarray
    actions: np.ndarray
    start: np.ndarray
    goal: np.ndarray


class Asker:
    """Draws questions; a pure function of the configuration and a generator."""

    def __init__(self, config: TeacherConfig, env: GoalEnv) -> None:
        self.config, self.env = config, env
        self.stores = [open_episodes(Path(path)) for path in config.recorded]
        self.places = [(s, i) for s in self.stores for i in s.indices("train")]
        self.visited = [
            (s, i) for s in map(open_episodes, map(Path, config.visited)) for i in range(len(s))
        ]
        first = self.stores[0]
        self.by_id = {first.meta(i)["id"]: i for i in range(len(first))}
        if not self.places:
            raise DataError("no training episode", "some episodes", "collect more data")

    def ask(self, rng: np.random.Generator) -> Question:
        """The next question."""
        shares = np.array(self.config.shares)
        kind = KINDS[int(rng.choice(len(KINDS), p=shares / shares.sum()))]
        question: Question = getattr(self, f"_{kind}")(rng)
        return question

    def _ahead(self, rng: np.random.Generator) -> Question:
        offset = self.config.offset
        for _ in range(TRIES):
            episode = self._episode(self.places, rng)
            if len(episode) < offset:
                continue
            t = self._row(len(episode) - offset, rng)
            poses = np.asarray(episode.poses[[t, t + offset]], np.float64)
            # Most starts that would do as they are teach nothing.
            if rng.random() < 0.2 or self.env.distance(poses[:1], poses[1])[0] > 0.02:
                return self._from(episode, t, episode.states[t + offset], "ahead")
        raise DataError(f"no goal {offset} steps ahead", "longer episodes", "collect them")

    def _elsewhere(self, rng: np.random.Generator) -> Question:
        """The nearest of a few states of other episodes: goals on no recorded way."""
        least, most = self.config.nearest
        episode = self._episode(self.places, rng)
        t = self._row(len(episode), rng)
        pose, found = np.asarray(episode.poses[t], np.float64), []
        for _ in range(int(rng.integers(least, most + 1))):
            other = self._episode(self.places, rng)
            u = int(rng.integers(len(other) + 1))
            found.append((float(self.env.distance(other.poses[u][None], pose)[0]), other.states[u]))
        return self._from(episode, t, min(found, key=lambda pair: pair[0])[1], "elsewhere")

    def _correction(self, rng: np.random.Generator) -> Question:
        """A recorded scene as the goal of the same one with its movable parts a little off."""
        for _ in range(TRIES):
            episode = self._episode(self.places, rng)
            u = int(rng.integers(len(episode) + 1))
            goal = np.asarray(episode.states[u], np.float64)
            start = disturbed(self.env, np.asarray(episode.poses[u], np.float64), rng)
            if start is not None:
                actions = np.zeros((0, self.env.spec.control_dim), np.float32)
                return Question("correction", np.zeros((0, len(start))), actions, start, goal)
        raise DataError("no room for corrections", "scenes with free places", "ask none of them")

    def _visited(self, rng: np.random.Generator) -> Question:
        """Where an agent was on its way, with the goal it pursued."""
        episode = self._episode(self.visited, rng)
        name = str(episode.meta["pair"])  # e<episode>_t<row>, see planning.evaluation.sample_pairs
        source = self.stores[0][self.by_id[int(name[1:7])]]
        goal = source.states[int(name.split("_t")[1]) + self.config.offset]
        return self._from(episode, self._row(len(episode), rng), goal, "visited")

    def _episode(self, places: Sequence[tuple[EpisodeReader, int]], rng: Any) -> Episode:
        store, index = places[int(rng.integers(len(places)))]
        return store[index]

    def _row(self, last: int, rng: np.random.Generator) -> int:
        """A row; half of them at block boundaries, where pairs begin."""
        row, block = int(rng.integers(last + 1)), self.config.block
        return row - row % block if rng.random() < 0.5 else row

    def _from(self, episode: Episode, t: int, goal: np.ndarray, kind: str) -> Question:
        first = t - self.config.block if t >= self.config.block else t
        states, actions = np.array(episode.states[first : t + 1]), episode.actions[first:t]
        return Question(kind, states[:-1], np.array(actions), states[-1], np.array(goal))


def disturbed(env: GoalEnv, pose: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """State, at rest, of a scene near ``pose``: other places by up to 50 mm, angles by up to 40°.

    What the robot moves itself may be anywhere near. None where bodies would overlap.

    Raises:
        ConfigError: a task whose poses cannot be set.
    """
    task, near = able(env.task, Posable, "the teacher's corrections"), pose.copy()
    scale = float(rng.random()) ** 1.5
    for i, entry in enumerate(env.task.pose_entries):
        if entry.kind == "velocity":
            continue
        if i in env.task.robot:
            near[i] += rng.normal() * (0.02 if rng.random() < 0.3 else 0.08)
        else:
            near[i] += rng.normal() * scale * (0.025 if entry.unit == "m" else 0.35)
    mujoco.mj_resetData(env.model, env.data)  # nothing of the scene before: velocities, controls
    task.set_pose(env.data, env.task.at_rest(near))
    mujoco.mj_forward(env.model, env.data)
    placed = env.task.pose(env.data.qpos, env.data.qvel)
    if (env.data.contact.dist < -0.001).any() or not env.task.inside(placed, 0.02):
        return None
    return env.state()
