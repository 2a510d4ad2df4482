"""OpenGL belongs to one process and one thread, and is looked for whatever MUJOCO_GL says."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from robot_wm.core.errors import RendererError
from robot_wm.core.system import opengl
from sim import make, rendering

ROOT = Path(__file__).parents[2]
# Each leaves by the front door, so that exit hooks and destructors run in the child, too.
FORK = """
import os, sys, sim
from robot_wm.core.errors import RendererError
env = sim.make("two_room", 32)
env.reset(seed=0)
{before}
child = os.fork()
if child == 0:
    try:
        {draw}
        sys.exit(3)
    except RendererError as error:
        assert "spawn" in str(error)
        env.close()
        del env
        sys.exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
THREADS = """
import threading, numpy as np, sim
kept = []
def work():
    env = sim.make("two_room", 32)
    kept.append((env, env.reset(seed=0)[0]["image"]))
work()
for _ in range(2):
    thread = threading.Thread(target=work); thread.start(); thread.join()
images = [image for _, image in kept]
assert all(np.array_equal(image, images[0]) for image in images) and images[0].std() > 5
kept[1][0].close()  # of a thread that is gone
assert np.array_equal(kept[0][0].render(), images[0])
print("drawn")
"""


def run(code: str, seconds: int = 60, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True,
        timeout=seconds,
    )  # fmt: skip


@pytest.mark.parametrize("before", ["", "env.close()"])
@pytest.mark.parametrize("draw", ["env.render()", "sim.make('reacher', 32).reset(seed=1)"])
def test_a_fork_after_drawing_is_refused_and_ends(before: str, draw: str) -> None:
    done = run(FORK.format(before=before, draw=draw if not before else "env.reset(seed=1)"))
    assert done.returncode == 0, done.stderr


def test_a_fork_before_drawing_draws() -> None:
    code = "import os, sys, sim; env = sim.make('two_room', 32); child = os.fork()\n"
    code += "image = env.reset(seed=0)[0]['image']; assert image.std() > 5\n"
    code += "if child: sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"
    assert run(code).returncode == 0


def test_every_thread_draws_its_own_scenes() -> None:
    done = run(THREADS)
    assert (done.returncode, done.stdout) == (0, "drawn\n"), done.stderr


def test_another_threads_scene_is_refused_and_goes_on() -> None:
    env, said = make("two_room", 32), []
    before = env.reset(seed=0)[0]["image"]

    def work() -> None:
        try:
            env.step(np.zeros(2))
        except RendererError as error:
            said.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert "thread" in said[0]
    assert np.array_equal(env.reset(seed=0)[0]["image"], before)
    env.close()


def test_what_the_driver_refuses_later_is_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "choose_backend", lambda: "nonsense")
    env = make("two_room", 32)
    with pytest.raises(RendererError, match="64x64"):
        env.reset(seed=0)


@pytest.mark.parametrize("value", ["cgl", "wgl", "nonsense", " EGL", "glfw", "off", ""])
def test_another_systems_opengl_does_not_end_the_search(value: str) -> None:
    code = "import sim; print(sim.make('two_room', 32).reset(seed=0)[0]['image'].std() > 5)"
    done = run(code, MUJOCO_GL=value)
    assert done.stdout == "True\n", done.stderr
    told = [line for line in done.stderr.splitlines() if line.startswith("MUJOCO_GL=")]
    assert len(told) == (value in ("cgl", "wgl", "nonsense"))


def test_a_named_backend_without_its_library_is_refused_when_it_draws() -> None:
    if not opengl.probe("osmesa"):
        pytest.skip("OSMesa works here")
    code = "import sim; from robot_wm.core.errors import RendererError\n"
    code += "try: sim.make('two_room', 32).reset(seed=0)\n"
    code += "except RendererError as error: print('osmesa' in str(error))"
    done = run(code, MUJOCO_GL="osmesa")
    assert done.stdout == "True\n", done.stderr


def test_the_name_is_put_back_or_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, after in (("osmesa", "osmesa"), ("cgl", None)):
        monkeypatch.setenv("MUJOCO_GL", name)
        with opengl.unnamed():
            assert "MUJOCO_GL" not in os.environ
        assert os.environ.get("MUJOCO_GL") == after


def test_a_hanging_driver_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*args: object, **options: object) -> None:
        raise subprocess.TimeoutExpired("python", 60)

    monkeypatch.setattr(subprocess, "run", hang)
    assert "hung" in opengl.probe("egl")
