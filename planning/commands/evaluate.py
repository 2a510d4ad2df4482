"""``robot-wm evaluate``: run methods on the held-out pairs and append result rows."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from planning.agent.registry import AgentRecipe
from planning.commands.parts.agents import Folders, agent_of, planner_of, recipe
from planning.commands.parts.goals import (
    asked_of,
    families_of,
    family_of,
    goal_of,
    runs_of,
    spoken,
)
from planning.commands.parts.levels import Level, configured_level, levels_of, picture_levels
from planning.commands.parts.row_facts import facts, uses_bundle
from planning.evaluation.goal_pairs import ZERO_SHOT
from planning.evaluation.stage import first_pairs, pair_lists
from robot_wm.cli.settings import Settings
from robot_wm.commands.parts.artifacts import bundle, model
from robot_wm.core.errors import ConfigError
from robot_wm.core.instantiate import deferred
from robot_wm.core.storage.provenance import read_manifest
from robot_wm.core.system.progress import say

if TYPE_CHECKING:
    from planning.evaluation.config import EvaluateConfig
    from planning.evaluation.goal_pairs import PairList
    from planning.evaluation.results import EvaluationResult
    from robot_wm.cli.main import Session

Row = dict[str, Any]


def run(session: Session) -> int:
    """Evaluate, print one line per row and the file they went to."""
    rows, path = evaluate_all(session)
    for row in rows:
        interval = f"{row['wilson_low']:.0f}–{row['wilson_high']:.0f}"
        print(
            f"{row['row']} seed {row['eval_seed']} {row['method']:<9} "
            f"{row['success_pct']:5.1f} %  ({interval}, n={row['episodes']})"
            + "".join(
                f"  {f} {metrics['success_pct']:.1f} %"
                for f, metrics in row["secondary_metrics"].items()
            )
        )
    print(f"rows: {path}")
    return 0


def evaluate_all(session: Session) -> tuple[list[Row], Path]:
    """Every method on every evaluation seed; rows are appended to one file per task and family.

    At every level, where the pairs are those of :data:`ZERO_SHOT`: what was measured already is not
    run again, and a picture of every level lies beside the rows.
    """
    settings, folders = session.settings, needed_model(session)
    lists = pair_lists(settings)
    path = settings.results / f"{family_of(settings)}-{settings.task.name}.jsonl"
    rows: list[Row] = []
    for seed in settings.evaluate.seeds:
        pairs = _list_of(lists, seed)
        if settings.evaluate.words:
            pairs = spoken(session, pairs)
        pairs = first_pairs(pairs, settings.evaluate.limit)
        if settings.pairs.family == ZERO_SHOT:
            rows += zero_shot(session, pairs, folders, path)
            continue
        floor: float | None = None
        for method in _random_first(settings.method):
            for each in runs_of(session, method):
                row = measured(each, method, pairs, folders, path, floor)
                floor = row["success_pct"] if method == "random" else floor
                rows.append(row)
    return rows, path


def _random_first(methods: tuple[str, ...]) -> list[str]:
    return sorted(methods, key=lambda name: name != "random")


def zero_shot(session: Session, pairs: PairList, folders: Folders | None, path: Path) -> list[Row]:
    """Rows of every method and of random actions at every level, on the same pairs and seeds."""
    settings, rows = session.settings, list[Row]()
    # What a row is of does not depend on what else was asked for.
    section = replace(settings.evaluate, seeds=(pairs.eval_seed,))
    alone = replace(session, settings=settings.replace(evaluate=section))
    levels = levels_of(settings, pairs)
    for number, level in enumerate(levels, start=1):
        say(f"level {number} of {len(levels)}: {level.name}")
        floor: float | None = None
        for method in _random_first(tuple({*settings.method, "random"})):
            row = measured(alone, method, pairs, folders, path, floor, level, again=False)
            floor = row["success_pct"] if method == "random" else floor
            rows.append(row)
    picture_levels(settings, first_pairs(pairs, 1), path.with_suffix(".png"))
    return rows


def measured(
    session: Session,
    method: str,
    pairs: PairList,
    folders: Folders | None,
    path: Path,
    floor: float | None,
    level: Level | None = None,
    again: bool = True,
) -> Row:
    """The row of one method on one pair list, appended to a file.

    Args:
        floor: success of random actions [%].
        again: run what the file has already, too.
    """
    from planning.evaluation.results import append_row, find_row

    settings = session.settings
    made = bundle(session) if uses_bundle(agent_of(settings, method)) else None
    info = facts(settings, method, folders, made)
    if level is not None:
        info["levels"] = dict(level.names)
    config = configured(session, method, pairs, folders, level)
    if not again and (known := find_row(path, config, pairs, info)) is not None:
        say(f"{known['row']} {known['method']}: measured already")
        return known
    row = run_method(session, method, pairs, folders, level).row({**info, "random_pct": floor})
    if method == "random":
        row["random_pct"] = row["success_pct"]
    append_row(path, row)
    return row


def _list_of(lists: dict[int, PairList], seed: int) -> PairList:
    if seed not in lists:
        raise ConfigError(
            f"evaluation seed {seed}", f"seeds of the pair lists: {sorted(lists)}",
            "add it to pairs.eval_seeds or correct evaluate.seeds",
        )  # fmt: skip
    return lists[seed]


def needed_model(session: Session) -> Folders | None:
    """World model and encoder if a method needs them, made if missing."""
    settings = session.settings
    if any(agent_of(settings, method).needs_model for method in settings.method):
        return model(session, settings.weights)
    return None


def sources_of(
    session: Session, method: str | AgentRecipe, folders: Folders | None
) -> Folders | None:
    """What a method's agent is made from: for ``onnx`` the bundle takes the model's place."""
    known = agent_of(session.settings, method) if isinstance(method, str) else method
    if not uses_bundle(known):
        return folders
    assert folders is not None  # its recipe says that it needs a model
    return bundle(session), folders[1]


def name_in_rows(known: AgentRecipe, folders: Folders | None) -> str:
    """What rows call a method; one that plans with a trained model in torch, by its family."""
    if folders is None or (known.agent, known.backend) != ("mpc", "torch"):
        return known.name
    facts = read_manifest(folders[0], "world_model", verify=False)["facts"]
    return str(facts.get("family", known.name))


def row_config(
    settings: Settings,
    method: str,
    pairs: PairList,
    train_seed: int | None,
    level: Level | None = None,
) -> Any:
    """What the evaluator is told about one row, at the configured factors unless told otherwise."""
    from planning.evaluation.config import EvaluateConfig

    level = level or configured_level(settings)
    known = agent_of(settings, method)
    # Part of every episode's seed: never another one for another spelling of the method.
    own: tuple[str, ...] = () if known.agent == "mpc" else (known.name,)
    own += () if pairs.split == "test" else (pairs.split,)  # never to be taken for held-out
    family, task, section = pairs.family, pairs.name, settings.evaluate
    # What it is told or denied besides: the chance stays, so that such rows differ in nothing else.
    asked = asked_of(settings)
    restored = settings.row_modifiers(planner_of(settings, known))
    asked += restored if known.needs_model else settings.evaluate.modifiers
    rows = family if family_of(settings) == settings.pairs.family else family_of(settings)
    name = f"clock/{task}/{section.clock}" if section.clock else f"{rows}/{task}"
    seeded = "@".join((f"{family}/{task}/{level.seeded_as or level.name}".rstrip("/"), *own))
    return EvaluateConfig(
        row="@".join((f"{name}/{level.name}".rstrip("/"), *own, *asked)),
        method=known.name,
        train_seed=train_seed,
        families=families_of(settings),
        inputs=known.inputs,
        workers=settings.workers,
        factors=level.factors,
        goal=goal_of(settings),
        by_pair=level.by_pair,
        seeded_as=seeded if asked or level.seeded_as else "",
    )


def environment(settings: Settings, image_size: int = 0) -> Any:
    """Recipe of the scene, drawn as large as the models see it or as told [px]."""
    size = image_size or settings.image_size
    return deferred("sim.make", task=settings.task.name, image_size=size)


def configured(
    session: Session,
    method: str,
    pairs: PairList,
    folders: Folders | None,
    level: Level | None = None,
) -> EvaluateConfig:
    """:func:`row_config` of a method whose model is there."""
    known = agent_of(session.settings, method)
    seed = train_seed(folders) if known.needs_model else None
    config = row_config(session.settings, method, pairs, seed, level)
    named: EvaluateConfig = replace(config, method=name_in_rows(known, folders))
    return named


def run_method(
    session: Session,
    method: str,
    pairs: PairList,
    folders: Folders | None,
    level: Level | None = None,
) -> EvaluationResult:
    """One method on one pair list."""
    from planning.evaluation.evaluator import evaluate

    settings, sources = session.settings, sources_of(session, method, folders)
    known = agent_of(settings, method)
    where = f" with {settings.provider}" if uses_bundle(known) else ""
    say(f"evaluating {method} on {len(pairs.pairs)} pairs of {pairs.family}/{pairs.task}{where}")
    # Two processes of two torch threads each would fight for two cores.
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1" if settings.workers > 1 else str(settings.threads)
    config = configured(session, method, pairs, folders, level)
    try:
        return evaluate(config, pairs, environment(settings), recipe(settings, method, sources))
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def train_seed(folders: tuple[Path, Path] | None) -> int | None:
    """Seed of the last training, as the manifest says: the actor's, unless tuned since."""
    facts = read_manifest(folders[0], "world_model", verify=False)["facts"] if folders else {}
    actor, config = facts.get("actor", {}), facts.get("config", {})
    seed: int | None = (config if actor.get("tuned", not actor) else actor).get("seed")
    return seed
