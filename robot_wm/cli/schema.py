"""The sections of the configuration by name: each is a dataclass beside what it configures.

A package that is installed beside this one adds its own by an entry point of ``robot_wm.config``.
"""

from __future__ import annotations

from dataclasses import MISSING, asdict, fields, is_dataclass
from typing import Any

from robot_wm.core.registry import Registry

SECTIONS = Registry(
    "robot_wm.config",
    {
        "task": "sim.collection.config:TaskSettings",
        "collect": "sim.collection.config:CollectSettings",
        "objective": "robot_wm.pretraining.objective_config:ObjectiveSettings",
        "planner": "planning.agent.config:PlannerSettings",
        "oracle": "planning.agent.config:PlannerSettings",
        "diagnosis": "planning.agent.config:PlannerSettings",
        "pairs": "planning.evaluation.sample_pairs:PairsConfig",
        "evaluate": "planning.evaluation.config:EvaluateSettings",
        "zs": "planning.evaluation.config:ZeroShotSettings",
        "improve": "planning.commands.self_improve:ImproveSettings",
        "teach": "planning.commands.teach:TeachSettings",
        "distill": "robot_wm.world_models.distillation:DistillConfig",
        "ablate": "robot_wm.commands.ablate_encoder:AblateSettings",
        "claims": "planning.commands.claims.config:ClaimsSettings",
        "compare": "planning.commands.compare:CompareSettings",
        "objectives": "robot_wm.commands.compare_objectives:ObjectivesSettings",
        "physics": "planning.commands.physics:PhysicsSettings",
        "edits": "planning.commands.parts.edits:EditsSettings",
        "ridge": "planning.commands.parts.ridge:RidgeSettings",
        "uncertainty": "robot_wm.commands.uncertainty:UncertaintySettings",
        "reach": "planning.commands.reach_goal:ReachSettings",
        "soak": "export.commands.stress_test:SoakSettings",
        "report": "planning.commands.report:ReportSettings",
        "demo": "planning.commands.demo:DemoSettings",
    },
)
# Sections of which others decide a part: built on demand by what is trained, which needs torch.
OPEN = ("encoder", "pretrain", "probe", "world_model", "train")


def defaults(cls: type) -> dict[str, Any]:
    """Default values of a dataclass as plain ones; ``???`` where there is none."""
    found: dict[str, Any] = {}
    for item in fields(cls):
        value = item.default if item.default_factory is MISSING else item.default_factory()
        if value is MISSING:
            value = "???"
        elif is_dataclass(value) and not isinstance(value, type):
            value = asdict(value)
        found[item.name] = list(value) if isinstance(value, tuple) else value
    return found


def store() -> None:
    """Register all sections with their defaults in Hydra's ConfigStore, as ``schema``."""
    from hydra.core.config_store import ConfigStore

    node: dict[str, Any] = {name: {} for name in OPEN}
    node |= {name: defaults(SECTIONS[name]) for name in SECTIONS}
    ConfigStore.instance().store(name="schema", node=node)
