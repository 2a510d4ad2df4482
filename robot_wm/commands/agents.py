"""The agents that can be evaluated, by name, as recipes that travel to worker processes.

A new world model is a file that implements ``contracts.WorldModel``, a function here that loads it,
a line in ``METHODS`` and a YAML in ``configs/model``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from robot_wm.commands.sections import PlannerSettings
from robot_wm.commands.settings import Settings
from robot_wm.config import build
from robot_wm.errors import ConfigError

if TYPE_CHECKING:
    from planning.mpc import MPCAgent
    from planning.workers import Factory
    from robot_wm.contracts import Agent, EnvSpec, WorldModel
    from robot_wm.symmetry import Mirror


class Method(NamedTuple):
    """How to build an agent, what it may see, and what it needs.

    Attributes:
        target: dotted name of a function taking an ``EnvSpec``.
        inputs: of the result row.
        model: whether a trained world model is needed.
        planner: whether the planner's settings matter.
        proposals: whether the model can be asked for plans to search from: jepa's learned actor,
            the oracle's scripted expert.
        illustrated: whether reports can show what it imagines.
        cost: whether the trained model's step cost can be chosen, see ``PlannerSettings``.
        mirror: whether it can judge plans in the mirror, too.
    """

    target: str
    inputs: str = "pixels"
    model: bool = False
    planner: bool = False
    proposals: bool = False
    illustrated: bool = False
    cost: bool = False
    mirror: bool = False


METHODS: dict[str, Method] = {
    "jepa": Method(
        "robot_wm.commands.agents:jepa_agent",
        model=True,
        planner=True,
        proposals=True,
        illustrated=True,
        cost=True,
        mirror=True,
    ),
    "onnx": Method(
        "robot_wm.commands.agents:onnx_agent",
        model=True,
        planner=True,
        proposals=True,
        mirror=True,
    ),
    "copy_last": Method(
        "robot_wm.commands.agents:copy_last_agent", model=True, planner=True, cost=True
    ),
    "random": Method("planning.evaluate:random_agent"),
    "stay": Method("planning.evaluate:stay_agent"),
    "expert": Method("sim.oracle:expert_agent", "state"),
    "oracle": Method(
        "robot_wm.commands.agents:oracle_agent", "state", planner=True, proposals=True
    ),
    "true_dynamics": Method(
        "robot_wm.commands.agents:judged_agent",
        "state",
        model=True,
        planner=True,
        proposals=True,
        cost=True,
        mirror=True,
    ),
    "true_cost": Method(
        "robot_wm.commands.agents:judged_agent", "state", model=True, planner=True, proposals=True
    ),
}


def mpc(
    model: WorldModel[Any],
    planner: Mapping[str, Any],
    proposals: bool = True,
    clock: str = "",
    mirror: Mirror | None = None,
) -> MPCAgent:
    """The planner around any world model.

    Args:
        planner: plain values of :class:`PlannerSettings`.
        proposals: whether the model can propose plans.
        clock: see :func:`delay_of`; empty stops the world while planning.
        mirror: of the scene, used if the planner is told to.

    Raises:
        ConfigError: another ``clock``.
    """
    from planning.clock import ClockAgent
    from planning.costs import Objective
    from planning.mirrored import mirrored
    from planning.mpc import MPCAgent
    from planning.optimisers import make

    p = build(PlannerSettings, planner, "planner")
    model = mirrored(model, mirror) if p.mirror else model
    positional = (
        model, make(p.optimiser, **p.options), Objective.discounted(p.discount), p.horizon,
        p.execute,
    )  # fmt: skip
    options: dict[str, Any] = {
        "proposals": p.proposals if proposals else 0,
        "memory_mb": p.memory_mb,
        "warm_start": p.warm_start,
        "levels": p.levels,
    }
    if clock:
        return ClockAgent(*positional, delay=delay_of(clock), **options)
    return MPCAgent(*positional, **options)


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


def load_jepa(
    model: str, encoder: str, illustrate: bool = False, cost: str = ""
) -> WorldModel[Any]:
    """The house world model from its two artefacts.

    Args:
        illustrate: be able to show what it imagines, if the artefact holds frames for that.
        cost: see :class:`PlannerSettings`.
    """
    from robot_wm.imagination import SHEET, IllustratedModel
    from robot_wm.jepa import JEPAWorldModel

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
    from export.runtime import OnnxWorldModel

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
    from planning.references import CopyLastModel

    copying = CopyLastModel(load_jepa(model, encoder, cost=planner.get("cost", "")))
    return mpc(copying, planner, proposals=False, clock=clock)


def oracle_agent(spec: EnvSpec, planner: Mapping[str, Any]) -> Agent:
    """Plan with the true simulator and a privileged cost, from what the scripted expert would do.

    The upper bound: what this planner reaches when the model is never wrong.
    """
    from sim.oracle import oracle_agent as informed

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
    from planning.mirrored import mirrored
    from sim.judged import judged_agent as informed

    learned: WorldModel[Any]
    if bundle:
        from export.runtime import OnnxWorldModel

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
    from planning.workers import Factory

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
