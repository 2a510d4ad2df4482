"""Scenes in which a body lies elsewhere than it did, and what would then have come.

For asking whether what a probe reads from a state is what the model's predictions use: the state is
moved along the probe's direction, the truth is the scene with the body moved.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from robot_wm.core.errors import InputError
from sim.env import GoalEnv
from sim.physics.clips import TRIES, ClipMaker, Start
from sim.physics.violations import disjoint, entries, shift

AHEAD = 5  # frames that come after the edit
Played = tuple[np.ndarray, np.ndarray]
"""Frames uint8 ``[D, height, width, 3]``, and a body's places ``[T, 2]`` [m]."""


@dataclass(frozen=True)
class EditedScene:
    """One scene twice: as it was, and with a body moved at its second frame.

    Attributes:
        seen: the two frames before anything comes, uint8 ``[2, height, width, 3]``.
        done: the block of actions between them, float32 ``[A]``.
        actions: what is done in both from then on ``[H, A]``.
        truth: what then comes with the body moved, ``[H, height, width, 3]``.
        by: how far the body was moved ``[2]`` [m].
        moves: how far it moves by itself afterwards, in the scene where it moves more [m].
    """

    seen: np.ndarray
    done: np.ndarray
    actions: np.ndarray
    truth: np.ndarray
    by: np.ndarray
    moves: float


class SceneEditor:
    """Makes scenes in which the task's object, or its robot where it has none, lies elsewhere.

    Args:
        env: the scene, with images.
        block: control steps from frame to frame.
    """

    def __init__(self, env: GoalEnv, block: int) -> None:
        self.env, self.maker = env, ClipMaker(env, block)
        self.entry = entries(env)[1]
        if not self.entry:
            raise InputError(
                f"the task {env.spec.task}, where nothing has a place in the plane",
                "a task with a body that has", "ask another task",
            )  # fmt: skip

    def episodes(self, count: int, rng: np.random.Generator) -> Iterator[Played]:
        """Frames ``[T, height, width, 3]`` and the body's places ``[T, 2]`` to fit a probe on."""
        for _ in range(count):
            start, _, commands = self.maker.episode(rng)
            played = self._play(start, commands, range(len(commands) + 1))
            assert played is not None  # an episode stays inside
            yield played

    def scenes(self, count: int, far: float, rng: np.random.Generator) -> Iterator[EditedScene]:
        """``count`` scenes with the body moved by ``far`` [m] in any direction of the plane.

        Raises:
            InputError: no episode leaves room for it.
        """
        for _ in range(count):
            made = (self._edited(far, rng) for _ in range(TRIES))
            scene = next((scene for scene in made if scene is not None), None)
            if scene is None:
                raise InputError(
                    f"no episode of {TRIES} in which {far} m further is free and inside",
                    "a smaller displacement", "lower `edits.far`",
                )  # fmt: skip
            yield scene

    def _edited(self, far: float, rng: np.random.Generator) -> EditedScene | None:
        start, poses, commands = self.maker.episode(rng)
        angle = rng.uniform(0, 2 * np.pi)
        by = far * np.array([np.cos(angle), np.sin(angle)])
        commands = commands[: AHEAD + 1]
        edited = self._play(start, commands, range(2, AHEAD + 2), by)
        if edited is None:
            return None
        before = self._play(start, commands[:1], range(2))
        assert before is not None  # an episode stays inside
        places = poses[: AHEAD + 2, self.entry]
        moves = max(float(np.linalg.norm(p[-1] - p[1])) for p in (places, edited[1]))
        told = commands.reshape(AHEAD + 1, -1).astype(np.float32)
        return EditedScene(before[0], told[0], told[1:], edited[0], by, moves)

    def _play(
        self, start: Start, commands: np.ndarray, drawn: range, by: np.ndarray | None = None
    ) -> Played | None:
        """Frames that are to be drawn, and the body's places ``[T, 2]``; None where it is caught.

        Args:
            by: added to its place at the second frame.
        """
        env, frames, places = self.env, list[np.ndarray](), list[np.ndarray]()
        env.draw_images = False
        env.reset(options={"state": start.state, "factors": start.factors})
        for t in range(len(commands) + 1):
            for command in commands[t - 1] if t else ():
                env.step(command)
            if t == 1 and by is not None:
                shift(env, self.entry, by)
                if not disjoint(env):
                    return None
            if t in drawn:
                env.draw_images = True
                frames.append(env.render())
                env.draw_images = False
            pose = env.task.pose(env.data.qpos, env.data.qvel)
            if not env.task.inside(pose):
                return None
            places.append(pose[self.entry])
        env.draw_images = True
        return np.stack(frames), np.stack(places)
