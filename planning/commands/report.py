"""``robot-wm report``: evaluate, then a page that shows what the planner saw and imagined."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from planning.agent.registry import agent_recipe
from planning.commands.evaluate import (
    environment,
    evaluate_all,
    name_in_rows,
    needed_model,
    row_config,
    runs_of,
    sources_of,
    train_seed,
)
from planning.commands.parts.agents import Folders, agent_of, planner_of, recipe
from planning.evaluation.stage import pair_lists
from robot_wm.core.config import Natural
from robot_wm.core.storage.provenance import storage_root
from robot_wm.core.system.progress import say

if TYPE_CHECKING:
    from planning.evaluation.config import EvaluateConfig
    from planning.evaluation.goal_pairs import PairList
    from planning.reporting.records import EpisodeRecord
    from robot_wm.cli.main import Session
LARGE = 512  # side of start, goal and end on the page [px]


@dataclass(frozen=True)
class ReportSettings:
    """The HTML page.

    Attributes:
        episodes: pairs shown with everything the planner saw and imagined.
        max_plans: plans drawn per episode.
        explain: say of every failure shown whether prediction, cost or search was at fault, by
            running it again with the true simulator in their place (a minute each).
    """

    episodes: Natural = 6
    max_plans: Natural = 4
    explain: bool = True


def run(session: Session) -> int:
    """Evaluate, record missed pairs again with the planner's notes, write page and index."""
    from planning.reporting.index import write_index

    rows, _ = evaluate_all(session)
    print(f"report: {write(session, rows)}")
    print(f"index: {write_index(storage_root())}")
    return 0


REASONS = {
    "true_dynamics": "the prediction was wrong: with every candidate simulated truly, the same "
    "actor and cost reach the goal",
    "true_cost": "the learned cost was wrong: true dynamics alone do not help, with the true "
    "distance as cost the same actor reaches the goal",
    "": "the search: even with true dynamics and the true distance as cost, none of the actor's "
    "plans and their variations leads there",
}


def explained(
    session: Session,
    config: EvaluateConfig,
    pairs: PairList,
    episode: EpisodeRecord,
    method: str,
    folders: Folders | None,
) -> EpisodeRecord:
    """A failed episode of a learned model with its reason, found by mending one part at a time."""
    from planning.evaluation.evaluator import run_episode

    settings = session.settings
    known = agent_of(settings, method)
    if episode.hit is not None or known.agent != "mpc" or not settings.report.explain:
        return episode
    index = pairs.pairs.index(episode.pair)
    say(f"asking why {episode.pair.pair_id} was missed")
    env = environment(settings)()
    try:
        for mended in ("true_dynamics", "true_cost"):
            # An exported planner is judged as it was exported.
            judge = agent_recipe(mended, known.backend)
            sources = sources_of(session, judge, folders)
            agent = recipe(settings, judge, sources)(env.spec)
            informed = replace(config, method=judge.name, inputs=judge.inputs)
            if run_episode(informed, pairs, index, env, agent).first_hit(episode.family):
                return replace(episode, why=REASONS[mended])
    finally:
        env.close()
    return replace(episode, why=REASONS[""])


def chosen(rows: list[dict[str, Any]], method: str, seed: int, count: int) -> list[int]:
    """Which pairs to show: those that were missed first, then those that were reached."""
    row = next(r for r in rows if r["method"] == method and r["eval_seed"] == seed)
    hits = row["first_hit"]
    order = sorted(range(len(hits)), key=lambda i: (hits[i] is not None, i))
    return order[:count]


def write(session: Session, rows: list[dict[str, Any]]) -> Path:
    """The page of one task; the first method that plans is the subject."""
    from planning.reporting.episode_recorder import record_episode
    from planning.reporting.html_report import write_report

    settings = session.settings
    agents = {method: agent_of(settings, method) for method in settings.method}
    method = next((m for m, known in agents.items() if known.section), settings.method[0])
    known, folders = agents[method], needed_model(session)
    name = name_in_rows(known, folders)
    pairs = pair_lists(settings)[settings.evaluate.seeds[0]]
    config = row_config(runs_of(session, method)[-1].settings, method, pairs, train_seed(folders))
    # The page tells the story of the result: further predicates would run an episode past its end.
    config = replace(config, method=name, families=config.families[:1])
    env, large = environment(settings)(), environment(settings, LARGE)()
    sources = sources_of(session, method, folders)
    agent = recipe(settings, method, sources, illustrate=True)(env.spec)
    own = [row for row in rows if row["row"] == config.row]
    indices = chosen(own, name, settings.evaluate.seeds[0], settings.report.episodes)
    say(f"recording {len(indices)} episodes of {method}, missed ones first")
    try:
        episodes = [record_episode(config, pairs, i, env, agent, large) for i in indices]
    finally:
        env.close()
        large.close()
    episodes = [explained(session, config, pairs, e, method, folders) for e in episodes]
    if not settings.report.explain:
        say(f"why goals were missed was not asked: robot-wm report task={settings.task.name} does")
    rows = sorted(rows, key=lambda row: row["method"] != name)
    path = settings.run_path("evaluate") / f"report-{settings.task.name}.html"
    with_what = f" with {planner_of(settings, known).optimizer}" if known.section else ""
    title = f"{settings.task.name}: {name}{with_what}"
    write_report(path, rows, episodes, title, settings.report.max_plans)
    return path
