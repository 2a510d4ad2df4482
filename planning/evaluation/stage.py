"""Pair lists as a stage: committed, stored, or drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robot_wm.cli.paths import PACKAGE
from robot_wm.cli.settings import Settings
from robot_wm.commands.parts.artifacts import dataset, scene
from robot_wm.core.aliases import stored
from robot_wm.core.config import build
from robot_wm.core.instantiate import locate
from robot_wm.core.storage.provenance import check_same
from robot_wm.core.system.progress import say

if TYPE_CHECKING:
    from planning.evaluation.goal_pairs import PairList
    from planning.evaluation.sample_pairs import PairsConfig

COMMITTED = "default"  # name of the data whose pair lists stand beside the code


def closed_loop(settings: Settings) -> Callable[[Any], dict[str, Any]] | None:
    """Success on validation episodes while training: prediction error does not predict it.

    Never on test episodes. None where ``evaluate.validation`` is 0.
    """
    from planning.agent.build import mpc
    from planning.evaluation.config import EvaluateConfig
    from planning.evaluation.evaluator import evaluate

    count, task = settings.evaluate.validation, settings.task.name
    if not count:
        return None
    pairs = split_pairs(settings, "validation", count)
    config, planner = (
        EvaluateConfig(f"official/{pairs.name}", "jepa"),
        stored("planner", asdict(settings.planner)),
    )

    def watch(model: Any) -> dict[str, Any]:
        result = evaluate(
            config,
            pairs,
            lambda: scene(task, settings.image_size),
            lambda spec: mpc(model, planner, mirror=spec.mirror),
        )
        success = 100 * float(result.hits().mean())
        return {"split": "validation", "pairs": count, "success_pct": success}

    return watch


def split_pairs(settings: Settings, split: str, count: int) -> PairList:
    """Official pairs for use while training, of ``pairs.offset``; never of the test split."""
    from planning.evaluation.sample_pairs import PairsConfig

    changes = {"family": "official", "count": count, "eval_seeds": (0,), "split": split}
    config = build(PairsConfig, {**vars(settings.pairs), **changes}, "pairs")
    return _sampled(settings, config)[0]


def pair_list_path(settings: Settings, seed: int, committed: bool) -> Path:
    """Where a pair list lives: in the package or in storage."""
    from planning.evaluation.goal_pairs import named

    config = settings.pairs
    task = named(settings.task.name, config.family, config.offset, collection_of(settings))
    # Lists of other splits and draws are other lists, never to be taken for the held-out one.
    other = f"-{config.split}" * (config.split != "test") + f"-draw{config.seed}" * bool(
        config.seed
    )
    name = f"{config.family}-{task}{other}-{seed}.json"
    # Committed lists travel with the package: an evaluation anywhere runs the same pairs.
    return (PACKAGE if committed else settings.run_path("evaluate")) / "pairs" / name


def pair_lists(settings: Settings) -> dict[int, PairList]:
    """The lists of this task by evaluation seed: committed ones if the run's name allows.

    Those of ``evaluate.seeds`` alone, where they are there; drawn are always all, from one
    permutation.

    Raises:
        DataError: a stored list is not the one asked for, or of other episodes than are stored, or
            drawn by another rule.
    """
    from planning.evaluation.goal_pairs import PairList
    from planning.evaluation.scene_pairs import rule_sha256
    from robot_wm.data.formats.base import is_dataset, open_episodes

    config, found = settings.pairs, {}
    needed = [s for s in config.eval_seeds if s in settings.evaluate.seeds] or config.eval_seeds
    for committed in (True, False) if settings.data_name == COMMITTED else (False,):
        paths = {s: pair_list_path(settings, s, committed) for s in needed}
        if all(path.is_file() for path in paths.values()):
            found = {seed: PairList.load(path) for seed, path in paths.items()}
            break
    if not found:
        return draw_pairs(settings, publish=False)
    wanted = {
        "task": settings.task.name, "collection": collection_of(settings), "family": config.family,
        "offset": config.offset, "budget": config.budget, "split": config.split,
        "seed": config.seed, "count": config.count,
    }  # fmt: skip
    root = settings.dataset_path(settings.task.name, "nominal")
    if not committed and not config.offset:
        wanted["dataset_sha256"] = rule_sha256(settings.task.name, collection_of(settings))
    elif not committed and is_dataset(root):
        wanted["dataset_sha256"] = open_episodes(root, verify=False).sha256
    for seed, pairs in found.items():
        stored = {**vars(pairs), "count": len(pairs.pairs), "eval_seed": pairs.eval_seed}
        known = {k: stored[k] for k in (*wanted, "eval_seed")}
        check_same(
            paths[seed], known, {**wanted, "eval_seed": seed},
            "run `robot-wm pairs` to draw the lists again",
        )  # fmt: skip
    return found


def draw_pairs(settings: Settings, publish: bool) -> dict[int, PairList]:
    """Draw the lists anew, from held-out episodes or in the scene, and write them."""
    lists = _sampled(settings, settings.pairs)
    for seed, pairs in lists.items():
        path = pair_list_path(settings, seed, publish)
        pairs.save(path)
        say(f"{path}  {len(pairs.pairs)} pairs  sha256 {pairs.sha256[:12]}…")
    return lists


def collection_of(settings: Settings) -> str:
    """Where pairs come from: the nominal collection, or the task's name for those it draws."""
    if settings.pairs.offset:
        return "nominal"
    return str(locate("sim.errands.errand")(settings.task.name))


def _sampled(settings: Settings, config: PairsConfig) -> dict[int, PairList]:
    """Lists from episodes of the nominal collection or, with offset 0, of the scene's own pairs."""
    from planning.evaluation.goal_pairs import ZERO_SHOT
    from planning.evaluation.sample_pairs import make_pair_lists
    from planning.evaluation.scene_pairs import scene_pair_lists
    from robot_wm.data.formats.base import open_episodes

    env, valid = scene(settings.task.name, settings.image_size, draw_images=False), None
    if config.family == ZERO_SHOT:
        valid = locate("sim.zero_shot.ZeroShot")(settings.task.name).valid
    if not config.offset:
        draw = partial(locate("sim.errands.sample_ends"), env)
        return scene_pair_lists(config, env, collection_of(settings), draw, valid)
    store = open_episodes(dataset(settings, "nominal"))

    def eligible(start: Any, goal: Any, between: Any) -> bool:
        return bool(env.task.eligible(between, config.family))

    families = tuple(env.task.predicates)
    return make_pair_lists(config, store, env.success, families, eligible, valid=valid)


def first_pairs(pairs: PairList, limit: int) -> PairList:
    """The list, or its first ``limit`` pairs (a list of another identity)."""
    return replace(pairs, pairs=pairs.pairs[:limit]) if limit else pairs
