"""``robot-wm ablate-planner``: what each module of the agent is worth, without it or it alone.

All variants plan with the same world model on the same held-out pairs; rows are named
``modules/task@variant`` and go to ``results/`` with ``publish=true``. This is for reporting: what
to ship is decided on validation episodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from planning.commands.evaluate import evaluate_all
from robot_wm.cli.settings import Settings
from robot_wm.core.errors import ConfigError

if TYPE_CHECKING:
    from robot_wm.cli.main import Session

# name -> changed keys of the planner; ``options`` are changed one by one
VARIANTS: dict[str, dict[str, Any]] = {
    "everything": {},
    "no_actor": {"proposals": 0},
    "actor_alone": {"optimizer": "mode1", "proposals": 1, "options": None},
    "one_round": {"options": {"iterations": 1}},
    "no_critic": {"cost": "latent"},
    "critic_alone": {"cost": "distance"},
    "no_mirror": {"mirror": False},
    "no_warm_start": {"warm_start": False},
    "equal_steps": {"discount": 1.0},
    "search_alone": {
        "proposals": 0,
        "cost": "latent",
        "warm_start": False,
        "discount": 1.0,
        "mirror": False,
    },
}


def run(session: Session) -> int:
    """Evaluate every variant and print one line for each."""
    for name, change in VARIANTS.items():
        settings = vary(session.settings, name, change)
        rows, path = evaluate_all(replace(session, settings=settings))
        solved, total = (sum(row[key] for row in rows) for key in ("successes", "episodes"))
        strict = [
            row["secondary_metrics"]["strict"]["success_pct"]
            for row in rows
            if "strict" in row["secondary_metrics"]
        ]
        also = f"  strict {sum(strict) / len(strict):5.1f} %" if strict else ""
        print(f"{name:<14} {100 * solved / total:5.1f} %{also}  (n={total})", flush=True)
    print(f"rows: {path}")
    return 0


def vary(settings: Settings, name: str, change: Mapping[str, Any]) -> Settings:
    """The settings with one module changed, and rows named after it.

    Raises:
        ConfigError: a planner without rounds to take away.
    """
    planner, options = settings.planner, change.get("options", {})
    if planner.optimizer == "mode1":
        raise ConfigError("planner=policy_only", "a planner that searches", "choose planner=icem")
    options = {} if options is None else {**planner.options, **options}
    modifiers = (*settings.evaluate.modifiers, name)
    evaluated = replace(settings.evaluate, rows="modules", modifiers=modifiers)
    varied = replace(planner, **{**change, "options": options})
    return settings.replace(method=("jepa",), planner=varied, evaluate=evaluated)
