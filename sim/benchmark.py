"""How fast the scenes run and draw, against MuJoCo's own defaults in the same process."""

from __future__ import annotations

import time

import mujoco
import numpy as np

from robot_wm.core.config import Count, convert, unknown
from robot_wm.core.images import Size
from sim.rendering import Renderer
from sim.tasks import TASKS
from sim.tasks.base import Task


def _frame(task: Task, data: mujoco.MjData, model: mujoco.MjModel, action: np.ndarray) -> None:
    """One control step of physics."""
    for row in task.controls(data.qpos[None], data.qvel[None], action[None, None])[0]:
        data.ctrl[:] = row
        mujoco.mj_step(model, data, task.hold_steps)


def _seconds(task: Task, size: Size, frames: int, fast: bool, seed: int) -> tuple[float, float]:
    """Processor time of ``frames`` control steps, and of as many images [s]."""
    model = task.compile({})
    data = mujoco.MjData(model)
    rng = np.random.default_rng(seed)
    task.sample_initial_state(data, rng)
    renderer = Renderer(model, size, fast, task.camera)
    try:
        for _ in range(3):  # the first frames pay for the driver's compilation
            renderer.render(model, data)
        physics = drawing = 0.0
        for action in rng.uniform(-1, 1, (frames, task.control_dim)):
            start = time.process_time()
            _frame(task, data, model, action)
            between = time.process_time()
            renderer.render(model, data)
            physics += between - start
            drawing += time.process_time() - between
    finally:
        renderer.close()
    return physics, drawing


def bench_rendering(
    task: str, frames: int = 100, size: Size = 64, seed: int = 0
) -> dict[str, float]:
    """Frames per second and core, one control step and one image per frame.

    Processor time of all threads is counted, not the clock on the wall: other work on the machine
    does not change the ratio. With OpenGL on a graphics card it says little.

    Args:
        task: registry name.
        frames: measured with each of the two settings.
        size: of the image [px], a number or (height, width).

    Returns:
        ``fast_fps`` and ``default_fps`` (control step and image), their ``ratio``,
        ``physics_ms``, ``fast_render_ms`` and ``default_render_ms`` per frame [ms].

    Raises:
        RendererError: no OpenGL backend starts.
        ConfigError: no frames, or an unknown task.
    """
    convert(Count, frames, "frames")
    if task not in TASKS:
        raise unknown("task", task, TASKS)
    scene = TASKS[task]()
    physics, fast = _seconds(scene, size, frames, True, seed)
    physics_again, default = _seconds(scene, size, frames, False, seed)
    ours, theirs = physics + fast, physics_again + default
    return {
        "fast_fps": frames / ours,
        "default_fps": frames / theirs,
        "ratio": theirs / ours,
        "physics_ms": 1e3 * physics / frames,
        "fast_render_ms": 1e3 * fast / frames,
        "default_render_ms": 1e3 * default / frames,
    }
