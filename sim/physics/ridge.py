"""Clips of a ball on a ridge, each with the same clip in which chance had it fall the other way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import mujoco
import numpy as np

from robot_wm.core.images import Size
from robot_wm.core.system.progress import say
from sim.env import GoalEnv, make
from sim.tasks.ridge import HEIGHT, Facts, facts

BLOCKS = (
    8  # of a clip: the ball is at the ridge in the third, lands in the fifth, lies from then on
)
SINK, HOVER = 0.02, 0.02  # that a probed height may be off and still be possible [m]; 2.5 px of 64


@dataclass(frozen=True)
class RidgeClip:
    """One clip.

    Attributes:
        frames: uint8 ``[T, height, width, 3]``.
        other: the same clip with the ball on the other side; equal until it is at the ridge.
        actions: what both were told, float32 ``[T-1, A]``.
        facts: of ``frames``, arrays ``[T]``.
    """

    frames: np.ndarray
    other: np.ndarray
    actions: np.ndarray
    facts: Facts


def clips(image_size: Size, block: int, count: int, seed: int) -> list[RidgeClip]:
    """``count`` clips in looks as the collection ``varied`` has them; a seed gives the same ones.

    Args:
        block: control steps from frame to frame.
    """
    say(f"{count} clips of a ball on a ridge, each in both ways")
    env = make("ridge", image_size)
    try:
        return list(_clips(env, block, count, seed))
    finally:
        env.close()


def _clips(env: GoalEnv, block: int, count: int, seed: int) -> Iterator[RidgeClip]:
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        env.draw_images = False
        env.reset(seed=int(rng.integers(2**31)), options={"variation": ["all"]})
        start, looks = env.state(), env.factors
        told = rng.uniform(-1, 1, (BLOCKS, block, env.spec.control_dim)).astype(np.float32)
        env.reset(options={"state": start, "factors": looks})
        frames, poses = _play(env, told)
        found = facts(poses)
        while True:  # by the last bit of its height another lot is drawn
            env.draw_images = False
            env.reset(options={"state": start, "factors": looks})
            env.data.qpos[3] = np.nextafter(env.data.qpos[3], np.inf)
            mujoco.mj_forward(env.model, env.data)
            start = env.state()
            other, places = _play(env, told)
            if facts(places).right[-1] != found.right[-1]:
                break
        yield RidgeClip(frames, other, told.reshape(BLOCKS, -1), found)


def _play(env: GoalEnv, told: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frames ``[T, height, width, 3]`` and poses ``[T, K]`` from where the scene is."""
    frames, poses = list[np.ndarray](), list[np.ndarray]()
    for row in (None, *told):
        for action in row if row is not None else ():
            env.step(action)
        env.draw_images = True
        frames.append(env.render())
        env.draw_images = False
        poses.append(env.task.pose(env.data.qpos, env.data.qvel))
    return np.stack(frames), np.stack(poses)


def possible(height: np.ndarray, landed: np.ndarray, touching: np.ndarray) -> np.ndarray:
    """Whether what probes say of a ball can be, as bool arrays of one shape.

    Not below the floor; not landed and yet in the air, by its height or because nothing touches it;
    not touching the ridge from above its edge.

    Args:
        height: above where the ball's centre is on the floor [m].
        landed, touching: the floor; floor or ridge.
    """
    through = height < -SINK
    hovering = landed & ((height > HOVER) | ~touching)
    aloft = touching & (height > HEIGHT + HOVER)
    return np.asarray(~(through | hovering | aloft))
