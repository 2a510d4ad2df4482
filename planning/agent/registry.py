"""The agents that can be evaluated: ``configs/agent/*.yaml``, recipes that travel to workers.

An installed package adds one as it adds other YAML files, see :mod:`robot_wm.core.registry`.

A recipe has Hydra's ``_target_`` syntax (:mod:`robot_wm.core.instantiate`); what it names is called
with the scene's ``EnvSpec``. ``${world_model}``, ``${camera}``, ``${planner}``, ``${oracle}``,
``${diagnosis}`` and ``${clock}`` stand for parts that a run brings: recipes of its trained model
and of what the camera saw, sections of its configuration. What an agent needs is thereby said by
what its recipe names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from robot_wm.core.config import unknown
from robot_wm.core.errors import ConfigError
from robot_wm.core.registry import yaml_files

SECTIONS = ("planner", "oracle", "diagnosis")  # of the configuration that describe a planner
BACKENDS = ("torch", "onnx")
# What rows and users call agents: name -> (file in configs/agent, back end or the configured one).
ALIASES = {
    "jepa": ("mpc", "torch"),
    "onnx": ("mpc", "onnx"),
    "true_dynamics": ("oracle_learned_cost", ""),
    "true_cost": ("oracle_true_cost", ""),
}


@dataclass(frozen=True)
class AgentRecipe:
    """How to build an agent, and what its rows say.

    Attributes:
        name: in rows: that of committed ones, whatever it was asked by.
        agent: file in ``configs/agent``.
        backend: what its world model runs on.
        recipe: ``_target_`` and keywords, with parts to be filled in.
        row: facts of its rows: ``inputs`` (pixels, or state for agents that see the physics), and
            whatever they say instead of what the planner's section does.
    """

    name: str
    agent: str
    backend: str
    recipe: Mapping[str, Any]
    row: Mapping[str, Any]

    @property
    def parts(self) -> frozenset[str]:
        """Names of the parts that a run must bring."""
        return frozenset(path.partition(".")[0] for path in _paths(self.recipe))

    @property
    def inputs(self) -> str:
        """``pixels`` or ``state``."""
        return str(self.row.get("inputs", "pixels"))

    @property
    def needs_model(self) -> bool:
        """Whether a trained world model is needed."""
        return "world_model" in self.parts

    @property
    def section(self) -> str:
        """The section that describes its planner; empty for an agent that does not plan."""
        return next((name for name in SECTIONS if name in self.parts), "")

    def planner(self, section: Mapping[str, Any]) -> dict[str, Any]:
        """The planner's section with what the recipe replaces of it."""
        return {**section, **{k: v for k, v in self.recipe.items() if k in section}}

    def filled(self, parts: Mapping[str, Any]) -> dict[str, Any]:
        """The recipe with its parts in place."""
        whole: dict[str, Any] = _filled(self.recipe, parts)
        return whole


def names() -> list[str]:
    """Everything that ``method`` may be."""
    return sorted({*yaml_files()["agent"], *ALIASES})


def agent_recipe(method: str, backend: str = "torch") -> AgentRecipe:
    """The recipe of a method.

    Args:
        method: file in ``configs/agent`` or a name of :data:`ALIASES`.
        backend: of the world model where the method does not say it.

    Raises:
        ConfigError: no such method or back end.
    """
    known = yaml_files()["agent"]
    agent, own = ALIASES.get(method, (method, ""))
    if agent not in known:
        raise unknown("method", method, names())
    backend = own or backend
    if backend not in BACKENDS:
        raise ConfigError(
            f"world_model.backend = {backend!r}", ", ".join(BACKENDS), "choose one of them"
        )
    called = {target: name for name, target in ALIASES.items()}
    name = called.get((agent, backend), called.get((agent, ""), agent))
    found = read_recipe(known[agent].read_text(encoding="utf-8"))
    return replace(found, name=name, agent=agent, backend=backend)


def read_recipe(text: str) -> AgentRecipe:
    """An agent's YAML, without a name.

    Raises:
        ConfigError: no mapping with ``_target_``, or a part that no run brings.
    """
    import yaml

    value = yaml.safe_load(text)
    if not isinstance(value, dict) or not isinstance(value.get("_target_"), str):
        raise ConfigError("an agent without _target_", "a mapping with _target_", "name it")
    row = value.pop("row", {})
    found = AgentRecipe("", "", "", value, row)
    if wrong := sorted(found.parts - {"world_model", "camera", "clock", *SECTIONS}):
        raise ConfigError(
            f"an agent's ${{{wrong[0]}}}", f"world_model, camera, clock, {', '.join(SECTIONS)}",
            "name a part that a run brings",
        )  # fmt: skip
    return found


def _path(value: Any) -> str:
    """``a.b`` of ``${a.b}``; empty for anything else."""
    named = isinstance(value, str) and value.startswith("${") and value.endswith("}")
    return value[2:-1] if named else ""


def _paths(value: Any) -> Iterator[str]:
    """Every part that is named somewhere in a recipe."""
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _paths(item)
    elif path := _path(value):
        yield path


def _filled(value: Any, parts: Mapping[str, Any]) -> Any:
    if isinstance(value, Mapping):
        return {key: _filled(item, parts) for key, item in value.items()}
    if not (path := _path(value)):
        return value
    found: Any = parts
    for key in path.split("."):
        found = found[key]
    return found
