"""What only planning knows of a configuration."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from planning.agent.build import delay_of
from planning.agent.config import PlannerSettings
from planning.agent.registry import SECTIONS, agent_recipe
from planning.evaluation.goal_pairs import ZERO_SHOT
from robot_wm.core.config import naming
from robot_wm.core.errors import ConfigError
from robot_wm.core.storage.provenance import MANIFEST
from robot_wm.core.system.extras import installed

if TYPE_CHECKING:
    from robot_wm.cli.settings import Settings


def check(settings: Settings) -> None:
    """Whether planners, methods, clock and seeds fit each other.

    Raises:
        ConfigError: they do not.
    """
    for section in SECTIONS:
        planner: PlannerSettings = getattr(settings, section)
        with naming(f"{section}.options"):
            planner.search(f"{section}.options")
        if planner.execute > planner.horizon:
            raise ConfigError(
                f"{section}.execute = {planner.execute}",
                f"1 to {section}.horizon = {planner.horizon}", f"lower {section}.execute",
            )  # fmt: skip
    options = {**settings.planner.options, **settings.improve.options}
    with naming("improve.options"):
        replace(settings.planner, options=options).search("improve.options")
    for method in settings.method:
        agent_recipe(method, settings.backend)
    _check_clock(settings)
    _check_actor(settings)
    if settings.pairs.family == ZERO_SHOT and settings.evaluate.factors:
        raise ConfigError(
            f"evaluate.factors with pairs.family={ZERO_SHOT}", "levels in zs.only",
            "drop evaluate.factors",
        )  # fmt: skip
    # The default is no wish: `pairs` may draw lists without it.
    known, seeds = settings.pairs.eval_seeds, settings.evaluate.seeds
    if seeds != (0,) and not set(seeds) <= {*known}:
        raise ConfigError(
            f"evaluate.seeds = {list(seeds)}", f"some of pairs.eval_seeds = {list(known)}",
            "add them there or correct evaluate.seeds",
        )  # fmt: skip


def _check_actor(settings: Settings) -> None:
    """Refuse proposals of a world model without an actor before its training, not after it."""
    if "mpc" not in settings.method or settings.backend != "torch" or not installed("torch"):
        return
    asked, folder = settings.planner.proposals, settings.model_path(settings.weights)
    if asked and not settings.family.proposes and not (folder / MANIFEST).is_file():
        raise ConfigError(
            f"planner.proposals = {asked} of a {settings.family.name}, which has no learned actor",
            "0, or a world model with an actor", "set planner.proposals=0",
        )  # fmt: skip


def _check_clock(settings: Settings) -> None:
    """Refuse a planner that thinks longer than its plans last."""
    if not (clock := settings.evaluate.clock):
        return
    length, delay = settings.planner.horizon * settings.collect.frame_every, delay_of(clock)
    if delay is not None and delay >= length:
        raise ConfigError(
            f"evaluate.clock = {clock}", f"d0 to d{length - 1}: less than a plan lasts",
            "think less or plan further ahead (planner.horizon)",
        )  # fmt: skip
