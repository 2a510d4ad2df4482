"""One page per run: the table first, then the failures, then the successes. Works offline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from planning.evaluation.tables import MISSING, number
from planning.reporting.charts import animation_uri, fan, heat_map, line_chart, picture, png_uri
from planning.reporting.episode_recorder import (
    EpisodeRecord,
    Imagination,
    Measured,
    PlanView,
    record_episode,
)
from robot_wm.core.storage.provenance import atomic_write

__all__ = [
    "EpisodeRecord", "Imagination", "Measured", "record_episode", "render_report", "write_report",
]  # fmt: skip

COLUMNS = (
    ("row", "row", None), ("method", "method", None), ("inputs", "inputs", None),
    ("train_seed", "training seed", None), ("eval_seed", "evaluation seed", None),
    ("success_pct", "success %", 1), ("wilson_low", "from", 1), ("wilson_high", "to", 1),
    ("episodes", "n", 0), ("plan_ms_p50", "plan ms p50", 1), ("plan_ms_p99", "p99", 1),
    ("budget_class", "budget class", None), ("calibrated", "calibrated", None),
)  # fmt: skip
PROVENANCE = (
    "commit", "config_sha256", "pair_list_sha256", "dataset_sha256", "encoder_id",
    "encoder_sha256", "backend", "hardware", "threads", "os", "python", "date",
)  # fmt: skip


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    head = "".join(
        f'<th scope="col"{" class=n" if digits is not None else ""}>{escape(title)}</th>'
        for _, title, digits in COLUMNS
    )
    lines = []
    for row in rows:
        cells = [
            f'<td class="n">{number(row.get(key), digits)}</td>'
            if digits is not None
            else f"<td>{escape(_plain(row.get(key)))}</td>"
            for key, _, digits in COLUMNS
        ]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _plain(value: Any) -> str:
    if value is None:
        return MISSING
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _provenance(rows: Sequence[Mapping[str, Any]]) -> str:
    items = []
    for key in PROVENANCE:
        values = sorted({_plain(row.get(key)) for row in rows})
        items.append(f"<dt>{escape(key)}</dt><dd>{escape(', '.join(values))}</dd>")
    return f"<dl>{''.join(items)}</dl>"


def _figure(inner: str, caption: str) -> str:
    return f"<figure>{inner}<figcaption>{escape(caption)}</figcaption></figure>"


def _dream(episode: EpisodeRecord, plan: PlanView) -> str:
    """Imagined frames above what really came."""
    if plan.imagined is None:
        return ""
    shown = []
    for k, frame in enumerate(plan.imagined):
        step = plan.step + (k + 1) * episode.block
        pair = picture(png_uri(frame), f"imagined frame at step {step}", len(frame), 1)
        if step < len(episode.frames):
            real = episode.frames[step]
            pair += picture(png_uri(real), f"real frame at step {step}", len(real), 1)
        shown.append(_figure(pair, f"step {step}"))
    caption = "Nearest training frames of the imagined latents, above what really came"
    return f'<h4>{caption}</h4><div class="strip">{"".join(shown)}</div>'


def _plan(episode: EpisodeRecord, plan: PlanView, opened: bool) -> str:
    charts = []
    if plan.chosen.shape[1] >= 2:
        title = f"Summed actions of {len(plan.paths)} candidates at step {plan.step}"
        drawn = fan(title, plan.paths[..., :2], plan.costs, plan.chosen[..., :2])
        charts.append(_figure(drawn, f"{title}: violet is cheap, yellow costly; chosen plan bold"))
    if plan.landscape is not None:
        title = "Energy around the chosen action"
        low, high = plan.low[:2], plan.high[:2]
        drawn = heat_map(title, plan.landscape, low, high, plan.first_mean[:2])
        caption = f"{title}: mean action of the first block moved, rest of the plan fixed; ring"
        charts.append(_figure(drawn, f"{caption} = chosen"))
    steps = np.arange(1, len(plan.step_costs) + 1)
    drawn = line_chart("Imagined energy along the plan", steps, plan.step_costs, "block", None)
    charts.append(_figure(drawn, "What the model expects of its own plan"))
    body = f'<div class="row">{"".join(charts)}</div>{_dream(episode, plan)}'
    start = "<details open>" if opened else "<details>"
    return f"{start}<summary>Plan made at control step {plan.step}</summary>{body}</details>"


def _lines(episode: EpisodeRecord) -> str:
    """Energy and true distance over the same control steps, one above the other."""
    charts, hit = "", episode.hit
    if episode.plans:
        steps = np.array([plan.step for plan in episode.plans])
        energy = np.array([plan.energy for plan in episode.plans])
        drawn = line_chart("Energy: the model's cost to the goal", steps, energy, "step", hit)
        charts += _figure(drawn, "Cost of the current frame (one imagined step standing still)")
    if episode.distance is not None:
        steps = np.arange(len(episode.distance))
        drawn = line_chart("True distance", steps, episode.distance, "step", hit)
        charts += _figure(drawn, "True distance: privileged, scoring only, unseen by the agent")
    return charts


def _card(episode: EpisodeRecord, max_plans: int) -> str:
    hit, size = episode.hit, len(episode.goal)
    verdict = f"reached at step {hit}" if hit else f"not reached in {episode.result.steps} steps"
    name = f"{episode.pair.pair_id}, {episode.method}"
    goal = picture(png_uri(episode.goal), f"Goal image of {name}", size)
    moving = animation_uri(episode.frames, episode.dt)
    live = picture(moving, f"Execution of {name}, {verdict}", size)
    change = ", ".join(f"{k} {v:.3g}" for k, v in episode.pair.difficulty.items())
    missing = ", ".join(f"{k} {v:.3g}" for k, v in episode.result.final_error.items())
    why = f"<p><strong>Why:</strong> {escape(episode.why)}</p>" if episode.why else ""
    plans = "".join(_plan(episode, p, k == 0) for k, p in enumerate(episode.plans[:max_plans]))
    return (
        f'<article class="{"hit" if hit else "miss"}">'
        f'<h3>{escape(name)}: <span class="verdict">{verdict}</span></h3>'
        f'<p class="quiet">Asked change: {escape(change)}. Left at the end: {escape(missing)}.</p>'
        f'{why}<div class="row">{_figure(goal, "Goal image")}{_figure(live, "Live execution")}'
        f"<div>{_lines(episode)}</div></div>{plans}</article>"
    )


def render_report(
    rows: Sequence[Mapping[str, Any]],
    episodes: Sequence[EpisodeRecord],
    title: str,
    max_plans: int = 4,
) -> str:
    """The page as text; failures come first.

    Args:
        rows: result rows, the subject first, then its references (random, scripted expert, true
            simulator, copy-last).
        max_plans: plans drawn per episode.
    """
    failed = [_card(e, max_plans) for e in episodes if e.hit is None]
    solved = [_card(e, max_plans) for e in episodes if e.hit is not None]
    none = "<p>None shown.</p>"
    reached = rows[0]["successes"] if rows else len(solved)
    missed = rows[0]["episodes"] - reached if rows else len(failed)
    template = files("planning").joinpath("templates/report.html").read_text("utf-8")
    return Template(template).substitute(
        title=escape(title),
        summary=f"{len(rows)} result rows, {len(episodes)} recorded episodes, failures first.",
        table=_table(rows),
        failed=_shown(len(failed), missed),
        solved=_shown(len(solved), reached),
        failures="".join(failed) or none,
        successes="".join(solved) or none,
        provenance=_provenance(rows),
    )


def _shown(shown: int, count: int) -> str:
    """How many of how many are on the page; of the first row's episodes."""
    return f"{count}, {shown} of them shown" if shown < count else str(shown)


def write_report(
    path: Path,
    rows: Sequence[Mapping[str, Any]],
    episodes: Sequence[EpisodeRecord],
    title: str,
    max_plans: int = 4,
) -> None:
    """Write :func:`render_report` in one step.

    Raises:
        StorageError: the disk is full or not writable.
    """
    atomic_write(path, render_report(rows, episodes, title, max_plans))
