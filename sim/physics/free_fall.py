"""Gravity, seen from the side: a ball that is thrown falls; or, from a frame on, it does not."""

from __future__ import annotations

from collections.abc import Iterator

import mujoco
import numpy as np

from robot_wm.core.images import Size
from sim.physics.clips import FIRST, FRAMES, ClipPair, changes
from sim.rendering import Renderer
from sim.tasks.base import SCENES

NAME = "gravity"
EVERY = 125  # physics steps from frame to frame: 0.25 s
INSTEAD = (-1.5, -1.0, 0.0, 4.0)  # gravity in the impossible clip, of the true one
HEIGHTS, SPEEDS = (0.2, 0.45), (-0.08, 0.08)  # of the throw [m], [m/s]
VIEW = 0.512  # [m]


class FreeFall:
    """Makes pairs in the scene ``free_fall``, which has no robot: all told actions are 0.

    Args:
        image_size: of the frames [px].
        action_dim: ``A`` of the model that is asked.
    """

    def __init__(self, image_size: Size, action_dim: int) -> None:
        self.model = mujoco.MjModel.from_xml_path(str(SCENES / "free_fall.xml"))
        self.data = mujoco.MjData(self.model)
        self.renderer = Renderer(self.model, image_size, camera="side")
        self.action_dim = action_dim

    def pairs(self, count: int, seed: int) -> Iterator[ClipPair]:
        """``count`` pairs; the same seed gives the same pairs."""
        for scene in range(count):
            yield self._pair(scene, np.random.default_rng([seed, scene]))

    def _pair(self, scene: int, rng: np.random.Generator) -> ClipPair:
        while True:
            place = rng.uniform(0.1, VIEW - 0.1), rng.uniform(*HEIGHTS)
            throw = rng.uniform(*SPEEDS), rng.uniform(0, 2 * SPEEDS[1])
            first = int(rng.integers(FIRST, FRAMES - 1))
            instead = float(rng.choice(INSTEAD))
            possible, falling = self._play(place, throw, first, 1.0)
            impossible, _ = self._play(place, throw, first, instead)
            ours, theirs = (changes(f[first - 1 : first + 1])[0] for f in (impossible, possible))
            # A ball that lies on the floor would be no sight without gravity either.
            if falling and (ours > theirs if scene % 2 == 0 else ours < theirs):
                told = np.zeros((FRAMES - 1, self.action_dim), np.float32)
                return ClipPair(NAME, scene, possible, impossible, told, first)

    def _play(
        self, place: tuple[float, float], throw: tuple[float, float], first: int, gravity: float
    ) -> tuple[np.ndarray, bool]:
        """Frames ``[T, height, width, 3]``, and whether the ball was in the air at ``first``."""
        model, data, frames, falling = self.model, self.data, list[np.ndarray](), False
        mujoco.mj_resetData(model, data)
        data.qpos[:], data.qvel[:] = place, throw
        down = model.opt.gravity.copy()
        for t in range(FRAMES):
            if t:
                model.opt.gravity[:] = down * (gravity if t >= first else 1.0)
                mujoco.mj_step(model, data, EVERY)
            mujoco.mj_forward(model, data)
            falling |= t == first and data.ncon == 0
            frames.append(self.renderer.render(model, data))
        model.opt.gravity[:] = down
        return np.stack(frames), falling

    def close(self) -> None:
        """Free the renderer."""
        self.renderer.close()
