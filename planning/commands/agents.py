"""The agents that can be evaluated, by name, as recipes that travel to worker processes.

A new world model is a file that implements ``contracts.WorldModel``, a function here that loads it,
a line in ``METHODS`` and a YAML in ``configs/model``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from planning.agent.build import delay_of, mpc
from planning.agent.registry import METHODS
from robot_wm.cli.schema import PlannerSettings
from robot_wm.cli.settings import Settings
from robot_wm.core.config import build
from robot_wm.core.errors import ConfigError

if TYPE_CHECKING:
    from robot_wm.core.protocols import Agent, EnvSpec, WorldModel
    from robot_wm.core.system.parallel import Factory


def load_jepa(
    model: str, encoder: str, illustrate: bool = False, cost: str = ""
) -> WorldModel[Any]:
    """The house world model from its two artefacts.

    Args:
        illustrate: be able to show what it imagines, if the artefact holds frames for that.
        cost: see :class:`PlannerSettings`.
    """
    from robot_wm.world_models.jepa.model import JEPAWorldModel
    from robot_wm.world_models.jepa.visualization import SHEET, IllustratedModel

    loaded = JEPAWorldModel.load(Path(model), Path(encoder), cost or None)
    sheet = Path(model) / SHEET
    shown = illustrate and sheet.is_file()
    return IllustratedModel.illustrate(loaded, sheet) if shown else loaded


def jepa_agent(
    spec: EnvSpec,
    model: str,
    encoder: str,
    planner: Mapping[str, Any],
    illustrate: bool = False,
    clock: str = "",
) -> Agent:
    """Plan with the trained world model."""
    learned = load_jepa(model, encoder, illustrate, planner.get("cost", ""))
    return mpc(learned, planner, clock=clock, mirror=spec.mirror)


def onnx_agent(
    spec: EnvSpec,
    bundle: str,
    planner: Mapping[str, Any],
    threads: int = 1,
    provider: str = "CPUExecutionProvider",
    clock: str = "",
) -> Agent:
    """Plan with the exported files, by the same planner."""
    from export.runtime.world_model import OnnxWorldModel

    model = OnnxWorldModel(Path(bundle), provider, threads)
    return mpc(model, planner, clock=clock, mirror=spec.mirror)


def copy_last_agent(
    spec: EnvSpec,
    model: str,
    encoder: str,
    planner: Mapping[str, Any],
    clock: str = "",
) -> Agent:
    """Plan with a model that believes nothing changes."""
    from planning.agent.baselines import CopyLastModel

    copying = CopyLastModel(load_jepa(model, encoder, cost=planner.get("cost", "")))
    return mpc(copying, planner, proposals=False, clock=clock)


def oracle_agent(spec: EnvSpec, planner: Mapping[str, Any]) -> Agent:
    """Plan with the true simulator and a privileged cost, from what the scripted expert would do.

    The upper bound: what this planner reaches when the model is never wrong.
    """
    from sim.oracle.agents import oracle_agent as informed

    horizon = build(PlannerSettings, planner, "oracle").horizon
    return informed(spec, lambda simulator: mpc(simulator, planner), horizon=horizon)


def judged_agent(
    spec: EnvSpec,
    planner: Mapping[str, Any],
    model: str = "",
    encoder: str = "",
    bundle: str = "",
    provider: str = "CPUExecutionProvider",
    threads: int = 1,
    privileged: bool = False,
) -> Agent:
    """Plan with the learned actor on the true simulator, by the learned cost or by the true one.

    Args:
        model, encoder: folders of the learned model, unless ``bundle`` names an exported one.
    """
    from planning.agent.symmetrized_model import mirrored
    from sim.oracle.learned_cost import judged_agent as informed

    learned: WorldModel[Any]
    if bundle:
        from export.runtime.world_model import OnnxWorldModel

        learned = OnnxWorldModel(Path(bundle), provider, threads)
    else:
        learned = load_jepa(model, encoder, cost=planner.get("cost", ""))
    seen = mirrored(learned, spec.mirror if planner.get("mirror") else None)
    return informed(spec, seen, lambda simulator: mpc(simulator, planner), privileged)


def recipe(
    settings: Settings,
    method: str,
    folders: tuple[Path, Path] | None,
    illustrate: bool = False,
) -> Factory:
    """The factory of one method.

    Args:
        folders: artefacts of the world model and its encoder, for methods that need them; for
            ``onnx`` the bundle comes first.
        illustrate: prepare the model to show what it imagines, for reports.
    """
    from robot_wm.core.system.parallel import Factory

    known, options = METHODS[method], dict[str, Any]()
    if known.planner:
        planner = settings.planner_of(method)
        options["planner"] = asdict(planner)
        if planner.cost and not known.cost:
            able = [name for name, other in METHODS.items() if other.cost]
            raise ConfigError(
                f"cost {planner.cost!r} with method {method}",
                ", ".join(able),
                "leave it empty, or evaluate method=jepa",
            )
    if known.model:
        assert folders is not None  # the caller asked METHODS
        if method == "onnx":
            options |= {"bundle": str(folders[0]), "provider": settings.provider}
            options["threads"] = 1 if settings.workers > 1 else settings.threads
        else:
            options |= {"model": str(folders[0]), "encoder": str(folders[1])}
        if method == "true_cost":
            options["privileged"] = True
    if clock := settings.evaluate.clock:
        delay_of(clock)
        if not known.model:
            raise ConfigError(
                f"evaluate.clock = {clock} with method {method}",
                "methods that plan with a model from pixels",
                "drop the method or the clock",
            )
        options["clock"] = clock
    if known.illustrated and illustrate:
        options["illustrate"] = True
    return Factory(known.target, options)
