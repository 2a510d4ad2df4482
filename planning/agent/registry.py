"""The agents that can be evaluated, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    pass


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
        "planning.commands.agents:jepa_agent",
        model=True,
        planner=True,
        proposals=True,
        illustrated=True,
        cost=True,
        mirror=True,
    ),
    "onnx": Method(
        "planning.commands.agents:onnx_agent",
        model=True,
        planner=True,
        proposals=True,
        mirror=True,
    ),
    "copy_last": Method(
        "planning.commands.agents:copy_last_agent", model=True, planner=True, cost=True
    ),
    "random": Method("planning.evaluation.evaluator:random_agent"),
    "stay": Method("planning.evaluation.evaluator:stay_agent"),
    "expert": Method("sim.oracle.agents:expert_agent", "state"),
    "oracle": Method(
        "planning.commands.agents:oracle_agent", "state", planner=True, proposals=True
    ),
    "true_dynamics": Method(
        "planning.commands.agents:judged_agent",
        "state",
        model=True,
        planner=True,
        proposals=True,
        cost=True,
        mirror=True,
    ),
    "true_cost": Method(
        "planning.commands.agents:judged_agent", "state", model=True, planner=True, proposals=True
    ),
}
