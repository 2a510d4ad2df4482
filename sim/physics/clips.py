"""Pairs of clips that are equal up to a frame, from which on one of them is impossible.

Violation of expectation (Garrido et al. 2025, arXiv:2502.11831): a model that knows the scene is
more surprised by the impossible clip of a pair. Both share state, seed, camera and told actions.
Which of the two moves more must not give it away: where a category allows it (``balanced``), every
other pair's impossible clip has the smaller change of pixels where the two begin to differ.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import mujoco
import numpy as np

from robot_wm.core.errors import InputError
from sim.env import GoalEnv
from sim.policies.base import Policy
from sim.policies.registry import make_policy, policies

TRIES = 200  # episodes drawn until one suits a category
EDITS = 3  # edits drawn for each frame of an episode
FRAMES, FIRST = 8, 3  # of a clip; the earliest that may differ
WARM = 6  # blocks, at most, that pass before a clip begins
NOISE = 0.05  # of the policy that acts in the clips


@dataclass(frozen=True)
class ClipPair:
    """Two clips of one scene.

    Attributes:
        category: what the impossible one violates.
        scene: number of the pair in its category.
        possible, impossible: uint8 ``[T, height, width, 3]``, equal before frame ``first``.
        actions: what both were told, float32 ``[T-1, A]``.
        first: the first frame that may differ.
    """

    category: str
    scene: int
    possible: np.ndarray
    impossible: np.ndarray
    actions: np.ndarray
    first: int


def nothing(env: GoalEnv) -> None:
    """Leave the scene as it is."""


def as_told(commands: np.ndarray) -> np.ndarray:
    """The commands themselves."""
    return commands


@dataclass(frozen=True)
class Edit:
    """What makes a clip impossible.

    Attributes:
        begin: done to the scene once, at the frame before the first that differs.
        commands: what is executed from then on, of told commands ``[block, C]``.
        change: done before each picture from the first one that differs.
        once: done before the first one alone.
        panel: rows and columns of the picture behind a panel, in both clips.
        valid: whether poses of the possible and the impossible clip ``[T, K]`` show the violation.
    """

    begin: Callable[[GoalEnv], None] = nothing
    commands: Callable[[np.ndarray], np.ndarray] = as_told
    change: Callable[[GoalEnv], None] = nothing
    once: Callable[[GoalEnv], None] = nothing
    panel: tuple[slice, slice] | None = None
    valid: Callable[[np.ndarray, np.ndarray], bool] = lambda possible, impossible: True


@dataclass(frozen=True)
class Take:
    """An episode that suits everybody: what an edit is chosen for.

    Attributes:
        poses: at its frames ``[T, K]``.
        commands: that the policy gave, ``[T-1, block, C]``.
        first: the frame from which on an edit is to be seen.
        more: whether the impossible clip shall change more pixels; always so if not balanced.
    """

    poses: np.ndarray
    commands: np.ndarray
    first: int
    more: bool


Violate = Callable[[GoalEnv, Take, np.random.Generator], Edit | None]
"""Chooses an edit for an episode; None where it does not suit."""


@dataclass(frozen=True)
class Category:
    """A kind of violation; ``balanced``: see the module."""

    violate: Violate
    balanced: bool = True


@dataclass(frozen=True)
class Start:
    """Where a clip begins: full physics state, and values of the scene's factors."""

    state: np.ndarray
    factors: Mapping[str, Any] = field(default_factory=dict)


class ClipMaker:
    """Makes pairs in one task's scene.

    Args:
        env: the scene, with images.
        block: control steps from frame to frame.
    """

    def __init__(self, env: GoalEnv, block: int) -> None:
        self.env, self.block = env, block
        known = policies(env.spec.task)
        self.policy: Policy = make_policy(
            env.spec.task, "expert" if "expert" in known else "random", NOISE
        )

    def pairs(self, name: str, category: Category, count: int, seed: int) -> Iterator[ClipPair]:
        """``count`` pairs of a category; the same seed gives the same pairs.

        Raises:
            InputError: no episode that suits it was found.
        """
        for scene in range(count):
            yield self._pair(name, category, scene, seed)

    def _pair(self, name: str, category: Category, scene: int, seed: int) -> ClipPair:
        rng = np.random.default_rng([seed, scene, *name.encode()])
        for _ in range(TRIES):
            start, poses, commands = self.episode(rng)
            for first in rng.permutation(np.arange(FIRST, FRAMES - 1)).tolist():
                take = Take(poses, commands, first, more=scene % 2 == 0)
                for _ in range(EDITS):
                    pair = self._violated(name, category, scene, start, take, rng)
                    if pair is not None:
                        return pair
        raise InputError(
            f"no episode of {self.env.spec.task} shows a violation of {name} in {TRIES} tries",
            "a scene that can show it", "leave this category out",
        )  # fmt: skip

    def _violated(
        self, name: str, category: Category, scene: int, start: Start, take: Take,
        rng: np.random.Generator,
    ) -> ClipPair | None:  # fmt: skip
        """The pair of an episode; None where it does not suit the category."""
        edit = category.violate(self.env, take, rng)
        if edit is None:
            return None
        _, others = self._play(start, take, edit, ())
        if not self._inside(others) or not edit.valid(take.poses, others):
            return None
        # Drawing costs most: look at the frames that decide before all are drawn.
        as_it_was, decisive = Edit(panel=edit.panel), (take.first - 1, take.first)
        if category.balanced:
            ours, theirs = (
                changes(self._play(start, take, e, decisive)[0])[0] for e in (edit, as_it_was)
            )
            if not (ours > theirs if take.more else ours < theirs):
                return None
        everything = range(FRAMES)
        impossible, possible = (
            self._play(start, take, e, everything)[0] for e in (edit, as_it_was)
        )
        told = take.commands.reshape(len(take.commands), -1).astype(np.float32)
        return ClipPair(name, scene, possible, impossible, told, take.first)

    def episode(self, rng: np.random.Generator) -> tuple[Start, np.ndarray, np.ndarray]:
        """Run the policy for a while, then note start, poses and commands of an episode."""
        env, block = self.env, self.block
        env.draw_images = False
        while True:
            _, info = env.reset(seed=int(rng.integers(2**31)))
            self.policy.reset(np.random.default_rng(rng.integers(2**31)))
            for _ in range(block * int(rng.integers(WARM + 1))):
                info = env.step(self.policy.act(info["pose"]))[-1]
            start, poses, commands = Start(info["state"]), [info["pose"]], []
            for _ in range(FRAMES - 1):
                row = []
                for _ in range(block):
                    row.append(self.policy.act(info["pose"]))
                    info = env.step(row[-1])[-1]
                commands.append(row)
                poses.append(info["pose"])
            if self._inside(np.stack(poses)):
                return start, np.stack(poses), np.array(commands, np.float32)

    def _play(
        self, start: Start, take: Take, edit: Edit, drawn: Collection[int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Frames of a clip that are to be drawn ``[D, height, width, 3]``, and poses ``[T, K]``."""
        env, frames, poses = self.env, list[np.ndarray](), list[np.ndarray]()
        env.factors = {"unknown": True}  # edits touch the model itself: compile it anew
        env.draw_images = False
        env.reset(options={"state": start.state, "factors": start.factors})
        for t in range(FRAMES):
            if t:
                if t == take.first:
                    edit.begin(env)
                told = take.commands[t - 1]
                for command in edit.commands(told) if t >= take.first else told:
                    env.step(command)
            if t == take.first:
                edit.once(env)
            if t >= take.first:
                edit.change(env)
            if t in drawn:
                env.draw_images = True
                frames.append(env.render())
                env.draw_images = False
                if edit.panel is not None:
                    frames[-1][edit.panel] = PANEL
            poses.append(env.task.pose(env.data.qpos, env.data.qvel))
        env.draw_images = True
        return np.stack(frames) if frames else np.zeros(0, np.uint8), np.stack(poses)

    def _inside(self, poses: np.ndarray) -> bool:
        return all(self.env.task.inside(pose) for pose in poses)


PANEL = (212, 212, 212)  # grey, as the walls of push_t


def changes(frames: np.ndarray) -> np.ndarray:
    """Mean absolute change of pixels from each frame to the next, ``[T-1]``."""
    change = np.abs(np.diff(frames.astype(np.int16), axis=0)).mean(axis=(1, 2, 3))
    return np.asarray(change, np.float64)


def placed(env: GoalEnv) -> None:
    """Bring everything that follows from the joints up to date."""
    mujoco.mj_forward(env.model, env.data)
