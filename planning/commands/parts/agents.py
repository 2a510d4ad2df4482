"""From settings to agents: the parts that recipes of ``configs/agent`` name, filled in."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from planning.agent.build import delay_of
from planning.agent.registry import SECTIONS, AgentRecipe, agent_recipe, names
from planning.agent.restoring.camera import CAMERA
from robot_wm.cli.settings import Settings
from robot_wm.core.errors import ConfigError
from robot_wm.core.instantiate import TARGET, deferred

if TYPE_CHECKING:
    from planning.agent.config import PlannerSettings

Folders = tuple[Path, Path]


def agent_of(settings: Settings, method: str) -> AgentRecipe:
    """The recipe of a method, on the configured back end where the method does not say it."""
    return agent_recipe(method, settings.backend)


def planner_of(settings: Settings, known: AgentRecipe) -> PlannerSettings:
    """The section that describes an agent's planner."""
    planner: PlannerSettings = getattr(settings, known.section or "planner")
    return planner


def recipe(
    settings: Settings,
    method: str | AgentRecipe,
    folders: Folders | None,
    illustrate: bool = False,
) -> partial[Any]:
    """A function from an ``EnvSpec`` to the agent of one method; it travels to workers.

    Args:
        folders: artefacts of the world model and its encoder, for methods that need them; for the
            back end ``onnx`` the bundle comes first.
        illustrate: prepare the model to show what it imagines, for reports.

    Raises:
        ConfigError: a cost or a clock that the method cannot have.
    """
    known = agent_of(settings, method) if isinstance(method, str) else method
    cost, clock = planner_of(settings, known).cost if known.section else "", settings.evaluate.clock
    if cost and not (known.needs_model and known.backend == "torch"):
        raise ConfigError(
            f"cost {cost!r} with method {known.name}",
            ", ".join(n for n in names() if agent_recipe(n).needs_model and n != "onnx"),
            "leave it empty, or evaluate method=jepa",
        )
    if clock:
        delay_of(clock)
        if "clock" not in known.parts:
            raise ConfigError(
                f"evaluate.clock = {clock} with method {known.name}",
                "methods that plan with a model from pixels",
                "drop the method or the clock",
            )
    parts: dict[str, Any] = {name: asdict(getattr(settings, name)) for name in SECTIONS}
    parts["clock"], parts["camera"] = clock, None
    if known.needs_model:
        assert folders is not None  # the caller asked the recipe
        parts["world_model"] = _world_model(settings, known.backend, folders, cost, illustrate)
        planner = planner_of(settings, known)
        if planner.straighten or planner.repaint:
            parts["camera"] = _camera(settings, known.backend, folders[0])
    filled = known.filled(parts)
    return deferred(filled.pop(TARGET), **filled)


def _camera(settings: Settings, backend: str, folder: Path) -> dict[str, Any] | None:
    """Recipe of what stood still before the recordings' camera, if the model's folder says it."""
    if backend == "onnx":
        path = folder / CAMERA
        found: dict[str, Any] = {
            TARGET: "planning.agent.restoring.camera.CameraReference.read",
            "path": str(path),
        }
    else:
        from robot_wm.world_models.jepa.visualization import SHEET, read_sheet

        path = folder / SHEET
        frames = {TARGET: f"{read_sheet.__module__}.{read_sheet.__name__}", "path": str(path),
                  "size": settings.image_size}  # fmt: skip
        found = {TARGET: "planning.agent.restoring.camera.CameraReference.of", "frames": frames}
    return found if path.is_file() else None


def _world_model(
    settings: Settings, backend: str, folders: Folders, cost: str, illustrate: bool
) -> dict[str, Any]:
    """Recipe of the trained model on a back end."""
    if backend == "onnx":
        return {
            TARGET: "export.runtime.world_model.OnnxWorldModel",
            "folder": str(folders[0]),
            "provider": settings.provider,
            "threads": 1 if settings.workers > 1 else settings.threads,
        }
    shown = {"illustrate": True} if illustrate else {}
    return {
        TARGET: "robot_wm.world_models.base.load_world_model",
        "folder": str(folders[0]),
        "encoder_folder": str(folders[1]),
        "cost": cost,
        **shown,
    }
