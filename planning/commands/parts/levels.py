"""Levels of the scene's factors under which rows are run: one that is configured, or every one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from planning.evaluation.goal_pairs import ZERO_SHOT
from robot_wm.cli.settings import Settings
from robot_wm.commands.parts.artifacts import scene, tasks
from robot_wm.core.instantiate import locate
from robot_wm.core.system.extras import installed
from robot_wm.core.system.progress import say

if TYPE_CHECKING:
    from planning.evaluation.goal_pairs import Pair, PairList

NONE = "none"
PICTURE = 72  # of a level [px]


@dataclass(frozen=True)
class Level:
    """Values of factors under which a row is run.

    Attributes:
        name: third part of the row's name; empty where nothing differs.
        factors: values for all pairs.
        by_pair: values for single pairs, by id.
        names: spelling of the values in ``by_pair``, by factor, one for each pair in order.
        seeded_as: level whose row seeds the planner; empty takes this one.
    """

    name: str = ""
    factors: Mapping[str, Any] = field(default_factory=dict)
    by_pair: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    names: Mapping[str, list[str]] = field(default_factory=dict)
    seeded_as: str = ""


def configured_level(settings: Settings) -> Level:
    """What ``evaluate.factors`` says: names of levels are spelled as such."""
    given, known = settings.evaluate.factors, tasks()[settings.task.name].factors
    values = {name: known[name].value(value) for name, value in sorted(given.items())}
    name = ",".join(f"{k}:{known[k].name(v)}" for k, v in values.items())
    if not name and settings.pairs.family == ZERO_SHOT:
        name = NONE
    return Level(name, values)


def levels_of(settings: Settings, pairs: PairList) -> list[Level]:
    """The unperturbed scene first, then what ``zs.only`` asks for."""
    made = locate("sim.zero_shot.ZeroShot")(settings.task.name)
    single = {
        f"{factor}:{name}": Level(f"{factor}:{name}", {factor: value}, seeded_as=NONE)
        for factor, levels in made.levels.items()
        for name, value in levels.items()
    }
    levels = [Level(NONE, seeded_as=NONE)]
    for name in made.chosen(settings.zs.only):
        levels.append(single[name] if name in single else jointly(made, name, pairs))
    return levels


def jointly(made: Any, name: str, pairs: PairList) -> Level:
    """Levels of several factors at once, other ones for every pair, always the same."""
    drawn = {pair.pair_id: made.jointly(_states(pair), _seed(pairs, pair), name)
             for pair in pairs.pairs}  # fmt: skip
    spelled = [made.names(values) for values in drawn.values()]
    names = {factor: [each[factor] for each in spelled] for factor in spelled[0]}
    return Level(name, by_pair=drawn, names=names, seeded_as=NONE)


def _states(pair: Pair) -> list[np.ndarray]:
    return [np.asarray(state, np.float64) for state in (pair.start_state, pair.goal_state)]


def _seed(pairs: PairList, pair: Pair) -> int:
    """Of a pair's levels: those of ``all`` are among those of ``all_dyn``."""
    digest = hashlib.sha256(f"levels:{pairs.task}:{pair.pair_id}:{pairs.eval_seed}".encode())
    return int.from_bytes(digest.digest()[:8], "big")


def picture_levels(settings: Settings, pairs: PairList, path: Path) -> None:
    """One picture of every level there is, of the first pair's start, in one file."""
    if not installed("PIL"):
        say(f"no {path.name}: Pillow is not installed")
        return
    from planning.reporting.contact_sheet import contact_sheet
    from robot_wm.core.storage.provenance import atomic_write

    pair, shown = pairs.pairs[0], {}
    env = scene(settings.task.name, PICTURE)
    try:
        for level in levels_of(settings.replace(zs=type(settings.zs)()), pairs):
            factors = {**pair.factors, **level.factors, **level.by_pair.get(pair.pair_id, {})}
            options = {"state": _states(pair)[0], "factors": factors}
            shown[level.name] = env.reset(options=options)[0]["image"]
    finally:
        env.close()
    atomic_write(path, contact_sheet(shown))
