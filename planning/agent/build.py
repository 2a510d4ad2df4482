"""The planner around any world model."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from planning.agent.config import PlannerSettings
from robot_wm.core.aliases import current
from robot_wm.core.config import build
from robot_wm.core.errors import ConfigError

if TYPE_CHECKING:
    from planning.agent.mpc import MPCAgent
    from planning.agent.restoring.camera import CameraReference
    from robot_wm.core.protocols import EnvSpec, WorldModel
    from robot_wm.core.symmetry import Mirror


def mpc(
    model: WorldModel[Any],
    planner: Mapping[str, Any],
    clock: str = "",
    mirror: Mirror | None = None,
    camera: CameraReference | None = None,
) -> MPCAgent:
    """The planner around any world model.

    Args:
        planner: plain values of :class:`PlannerSettings`.
        clock: see :func:`delay_of`; empty stops the world while planning.
        mirror: of the scene, used if the planner is told to.
        camera: what the recordings' camera saw, needed if the planner is told to straighten or to
            repaint.

    Raises:
        ConfigError: another ``clock``, or nothing to straighten or repaint by.
    """
    from planning.agent.costs import Objective
    from planning.agent.mpc import MPCAgent
    from planning.agent.symmetrized_model import symmetrized as symmetrized_model
    from planning.agent.timing.realtime_mpc import RealTimeMPC
    from planning.optimizers import make

    p = build(PlannerSettings, current("planner", planner), "planner")
    seen = None
    if camera is not None and (p.straighten or p.repaint):
        seen = partial(camera.view, straighten=p.straighten, repaint=p.repaint)
    elif p.straighten or p.repaint:
        raise ConfigError(
            "planner.straighten or repaint of a model that does not know what its camera saw",
            "a bundle with camera.npz, or a model with its frames.png",
            "export or train it again, or leave planner.straighten and planner.repaint false",
        )  # fmt: skip
    model = symmetrized_model(model, mirror) if p.mirror else model
    positional = (
        model, make(p.optimizer, **p.options), Objective.discounted(p.discount), p.horizon,
        p.execute,
    )  # fmt: skip
    options: dict[str, Any] = {
        "proposals": p.proposals,
        "memory_mb": p.memory_mb,
        "warm_start": p.warm_start,
        "levels": p.levels,
        "camera": seen,
    }
    if clock:
        return RealTimeMPC(*positional, delay=delay_of(clock), **options)
    return MPCAgent(*positional, **options)


def mpc_agent(
    spec: EnvSpec,
    model: WorldModel[Any],
    planner: Mapping[str, Any],
    clock: str = "",
    camera: CameraReference | None = None,
    **changes: Any,
) -> MPCAgent:
    """The planner around a world model, in a scene that may have a mirror image.

    Args:
        planner, clock, camera: see :func:`mpc`.
        changes: values in place of the planner's own.
    """
    told = {**current("planner", planner), **changes}
    return mpc(model, told, clock=clock, mirror=spec.mirror, camera=camera)


def symmetrized(model: WorldModel[Any], mirror: Mirror | None, wanted: bool) -> WorldModel[Any]:
    """The model with its mirror image, if ``wanted`` and if its scene has one."""
    from planning.agent.symmetrized_model import symmetrized as symmetrized_model

    return symmetrized_model(model, mirror if wanted else None)


def delay_of(clock: str) -> int | None:
    """Control steps of ``d0``, ``d1``, …; None for ``measured``.

    Raises:
        ConfigError: anything else.
    """
    if clock == "measured":
        return None
    if clock[:1] != "d" or not clock[1:].isdigit():
        raise ConfigError(
            f"evaluate.clock = {clock!r}", "empty, measured, or d0, d1, …", "choose one of them"
        )
    return int(clock[1:])
