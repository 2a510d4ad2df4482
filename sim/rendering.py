"""Fast headless rendering: shadows, reflections and multisampling off, one supersampling step on.

Software OpenGL spends nearly all its time on the shadow map and on multisampling. We switch both
off, draw at twice the wanted size and average 2x2 pixels: edges carry sub-pixel positions, at a
small fraction of the default cost (``robot-wm benchmark`` prints the ratio).

OpenGL belongs to a process and a thread: a fork after drawing, or another thread, is refused.
"""

from __future__ import annotations

import atexit
import ctypes
import importlib
import os
import sys
import threading
import weakref
from typing import Any

import mujoco
import numpy as np

from robot_wm.core.errors import RendererError
from robot_wm.core.images import Size, sides
from robot_wm.core.system.opengl import BACKENDS, probe, wanted

_INSTALL = "apt-get install libegl1 libgl1-mesa-dri libosmesa6, or set MUJOCO_GL to a working one"
_SPAWN = (
    'start processes with "spawn", e.g. multiprocessing.get_context("spawn") or '
    'AsyncVectorEnv(..., context="spawn"), or fork before anything is drawn'
)
_chosen: str | None = None
_open: weakref.WeakSet[Renderer] = weakref.WeakSet()
_drawn = False
_orphaned = False  # forked from a process that had drawn


def choose_backend() -> str:
    """The first backend that works: ``$MUJOCO_GL`` if set, else EGL, else OSMesa.

    Raises:
        RendererError: none works; the message lists what was tried and what to install.
    """
    global _chosen
    if _chosen is None:
        tried: dict[str, str] = {}
        for backend in wanted():
            tried[backend] = probe(backend)
            if not tried[backend]:
                _chosen = backend
                os.environ["MUJOCO_GL"] = os.environ["PYOPENGL_PLATFORM"] = backend
                break
        else:
            reasons = "; ".join(f"{name}: {why}" for name, why in tried.items())
            raise RendererError(f"no OpenGL backend starts ({reasons})", str(BACKENDS), _INSTALL)
    return _chosen


def _close_all() -> None:
    for renderer in list(_open):
        renderer.close()


def _has_drawn() -> bool:
    """Whether this process started OpenGL, through us or through MuJoCo's own renderer."""
    return _drawn or getattr(sys.modules.get("mujoco.egl"), "EGL_DISPLAY", None) is not None


def _after_fork() -> None:
    """Touch nothing that was open: OpenGL's own threads stayed behind, and waiting for them hangs.

    That holds for new contexts, and for what Python frees at its end, too.
    """
    global _orphaned
    _orphaned = _orphaned or _has_drawn()
    if _orphaned:
        atexit.unregister(_close_all)
        if egl := sys.modules.get("mujoco.egl"):
            atexit.unregister(egl.EGL.eglTerminate)
        for renderer in list(_open):
            renderer.abandon()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)


class Renderer:
    """Draws RGB images of one of a model's cameras.

    Args:
        model: the model whose textures are uploaded; :meth:`render` accepts any recompiled
            variant of the same scene file.
        camera: its name; the first of the scene where none is given.
        size: of the returned image [px], a number or (height, width).
        fast: False restores MuJoCo's default quality (for the benchmark only).
    """

    def __init__(
        self, model: mujoco.MjModel, size: Size = 64, fast: bool = True, camera: str = ""
    ) -> None:
        if _orphaned:
            raise _in_child()
        backend = choose_backend()
        self._thread = threading.current_thread()
        self.camera, self._fast, self._scale = camera, fast, 2 if fast else 1
        height, width = (side * self._scale for side in sides(size))
        model.vis.global_.offwidth, model.vis.global_.offheight = width, height
        model.vis.quality.offsamples = 0 if fast else 4
        model.vis.quality.shadowsize = 0 if fast else 4096
        self._start(backend, model, width, height)
        # What is still open at exit is closed before the backend's own exit hook ends OpenGL.
        _open.add(self)
        atexit.unregister(_close_all)
        atexit.register(_close_all)
        self._rect = mujoco.MjrRect(0, 0, width, height)
        self._pixels = np.empty((height, width, 3), np.uint8)
        self._option, self._camera = mujoco.MjvOption(), mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._scene: mujoco.MjvScene | None = None
        self._model: mujoco.MjModel | None = None
        self._textures = _layout(model)

    def _start(self, backend: str, model: mujoco.MjModel, width: int, height: int) -> None:
        global _drawn
        _drawn = True
        try:
            module: Any = importlib.import_module(f"mujoco.{backend}")
            self._gl: Any = module.GLContext(width, height)
            self._gl.make_current()
            self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
            mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        # The backend started when it was tried; drivers have exceptions of their own for the rest.
        except Exception as error:
            raise RendererError(
                f"{backend} gives no picture of {width}x{height} pixels: {error}",
                "a smaller one, or fewer scenes at a time", "close what is not used",
            ) from error  # fmt: skip

    def fits(self, model: mujoco.MjModel) -> bool:
        """Whether a model's textures are as many and as large as the first one's."""
        return _layout(model) == self._textures

    def _scene_of(self, model: mujoco.MjModel) -> mujoco.MjvScene:
        if self._scene is None or self._model is not model:
            # Textures live in the OpenGL context; sending is quicker than a new one.
            for number in range(model.ntex if self._scene is not None else 0):
                mujoco.mjr_uploadTexture(model, self._context, number)
            self._scene, self._model = mujoco.MjvScene(model, maxgeom=200), model
            if self._fast:
                for flag in ("SHADOW", "REFLECTION", "SKYBOX", "FOG", "HAZE"):
                    self._scene.flags[getattr(mujoco.mjtRndFlag, f"mjRND_{flag}")] = 0
        return self._scene

    def render(self, model: mujoco.MjModel, data: mujoco.MjData) -> np.ndarray:
        """Image of the current state, uint8 ``[height, width, 3]``.

        Raises:
            RendererError: in another thread, or in a process forked from the renderer's own.
        """
        if _orphaned:
            raise _in_child()
        if threading.current_thread() is not self._thread:
            raise RendererError(
                "a scene is drawn by another thread than drew it first", "one thread per scene",
                "make the environment in the thread that uses it",
            )  # fmt: skip
        self._gl.make_current()  # another renderer of this process may hold the context
        scene = self._scene_of(model)
        self._camera.fixedcamid = model.camera(self.camera or 0).id
        mujoco.mjv_updateScene(
            model, data, self._option, None, self._camera,
            mujoco.mjtCatBit.mjCAT_ALL.value, scene,
        )  # fmt: skip
        mujoco.mjr_render(self._rect, scene, self._context)
        mujoco.mjr_readPixels(self._pixels, None, self._rect, self._context)
        image = self._pixels[::-1]
        if self._scale == 1:
            return image.copy()
        # Integer mean of 2x2 pixels, rounded: exact and the same on every machine. Two strided
        # additions; a sum over two axes of a reshaped view costs more than the drawing itself.
        wide = image.astype(np.uint16)
        rows = wide[::2] + wide[1::2]
        return ((rows[:, ::2] + rows[:, 1::2] + 2) // 4).astype(np.uint8)

    def close(self) -> None:
        """Free the OpenGL context; harmless when called again.

        Only its own thread can: by another one it is left to the end of the process.
        """
        if self in _open and threading.current_thread() is not self._thread:
            self.abandon()
        elif self in _open:
            _open.discard(self)
            self._gl.make_current()
            self._context.free()
            self._gl.free()

    def abandon(self) -> None:
        """Give the context up without a word to OpenGL, not even when Python ends."""
        _open.discard(self)
        for resource in (self._context, self._gl):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(resource))


def _layout(model: mujoco.MjModel) -> list[list[int]]:
    """Kind and size of every texture."""
    return [list(map(int, getattr(model, f"tex_{key}"))) for key in ("type", "height", "width")]


def _in_child() -> RendererError:
    return RendererError(
        "this process was forked from one that had drawn", "a process of its own", _SPAWN
    )
