"""The planner of a bundle around its model."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from export.runtime.bundle_spec import Contract, search_of
from export.runtime.world_model import OnnxWorldModel
from planning.agent.costs import Objective
from planning.agent.mpc import MPCAgent
from planning.agent.restoring.camera import CAMERA, CameraReference
from planning.agent.symmetrized_model import symmetrized
from planning.agent.timing.configurator import fit_budget, profile
from planning.agent.timing.realtime_mpc import RealTimeMPC
from planning.optimizers import Optimizer, PolicyOnly, make
from robot_wm.core.errors import ConfigError, WeightsError
from robot_wm.core.system.machine import PACKAGE

SHIPPED = PACKAGE / "weights" / "bundles"


def optimizer_of(contract: Contract, optimizer: str = "", **changes: Any) -> Optimizer:
    """The search of a bundle's planner graph, e.g. with more candidates or iterations.

    Args:
        optimizer: by name (``planning.optimizers.OPTIMIZERS``): another one than the graph's begins
            with its own defaults.
        changes: options of the optimiser.
    """
    if optimizer and optimizer != contract.optimizer:
        return make(optimizer, **changes)
    return search_of(replace(contract, options={**contract.options, **changes}))


def objective_of(contract: Contract) -> Objective:
    """From step costs to one cost per candidate, as exported."""
    return Objective.discounted(contract.discount)


def agent_of(
    model: OnnxWorldModel,
    execute: int = 1,
    deadline: float = 0.0,
    delay: int | None = 0,
    budget: float = 0.0,
    mirror: bool = True,
    straighten: bool = False,
    repaint: bool = False,
    **changes: Any,
) -> MPCAgent:
    """The planner of a bundle around its model.

    Args:
        execute, deadline: see :class:`planning.agent.mpc.MPCAgent`.
        budget: time for a whole plan [s]: the search is cut to what fits on this machine, which
            is timed for it (:mod:`planning.agent.timing.configurator`); 0 searches as exported.
        delay: control steps until a plan can be used, see ``planning.agent.timing.realtime_mpc``; 0
            plans as if the world waited, None measures.
        mirror: judge plans in the mirror of the scene, too, if the contract names one; False plans
            as ``planner.onnx`` does.
        straighten: look at every goal for whether the camera was knocked since the recordings, and
            turn and shift its pictures back (:mod:`planning.agent.restoring.camera`).
        repaint: likewise for other colours of what stands still, and for another light
            (:mod:`planning.agent.restoring.background`).
        changes: as in :func:`optimizer_of`. A bundle with an actor is asked for as many proposals
            as it was exported with, as far as the search takes them. One whose contract says
            ``alone`` searches only if the search is named here, e.g. ``optimizer="icem"`` or
            ``candidates=128``.

    Raises:
        ConfigError: not even the actor alone fits the budget; a bundle that does not say what its
            camera saw, for ``straighten`` or ``repaint``.
    """
    contract = model.contract
    alone = contract.alone and not changes
    optimizer = PolicyOnly() if alone else optimizer_of(contract, **changes)
    least, most = optimizer.proposals_accepted
    proposals = min(max(contract.proposals, least), most) if contract.proposals else 0
    seen = symmetrized(model, contract.mirror if mirror else None)
    if budget:
        latency = profile(seen, optimizer, proposals)
        optimizer, proposals, _ = fit_budget(latency, budget, optimizer, proposals)
    positional = (seen, optimizer, objective_of(contract), contract.spec.horizon, execute)
    camera = None
    if straighten or repaint:
        camera = partial(camera_of(model).view, straighten=straighten, repaint=repaint)
    options: dict[str, Any] = {"proposals": proposals, "deadline": deadline, "camera": camera}
    if delay == 0:
        return MPCAgent(*positional, **options)
    return RealTimeMPC(*positional, delay=delay, **options)


def camera_of(model: OnnxWorldModel) -> CameraReference:
    """What stood still before the camera of a bundle's recordings.

    Raises:
        ConfigError: the bundle does not say it.
        WeightsError: a damaged file.
    """
    path = model.folder / CAMERA
    if CAMERA not in model.manifest["files"]:
        raise ConfigError(
            f"straighten or repaint with {model.folder}, which has no {CAMERA}",
            "a bundle with one",
            "export it again, or leave both out",
        )  # fmt: skip
    return CameraReference.read(path)


def load_agent(bundle: Path | str, threads: int = 0, **options: Any) -> MPCAgent:
    """The planner behind the published numbers, from an exported bundle; torch-free.

    Args:
        bundle: its folder, or the name of a task whose bundle is shipped, e.g. ``push_t``.
        threads: see :func:`open_session`.
        options: of :func:`agent_of`, e.g. ``budget=0.05``.

    Raises:
        WeightsError: no bundle there, or a damaged one.
    """
    shipped = SHIPPED / str(bundle)
    named = not isinstance(bundle, Path) and (shipped / "contract.json").is_file()
    folder = shipped if named else Path(bundle)
    if not folder.is_dir():
        known = ", ".join(sorted(p.name for p in SHIPPED.iterdir())) if SHIPPED.is_dir() else "none"
        raise WeightsError(
            f"no bundle {folder}", f"a bundle's folder, or one that is shipped: {known}",
            "export one with `robot-wm export`",
        )  # fmt: skip
    return agent_of(OnnxWorldModel(folder, threads=threads), **options)
