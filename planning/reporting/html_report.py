"""One page per run: the results, then the failures, then the successes. Works offline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from planning.reporting import charts, units
from planning.reporting.pages import environment
from planning.reporting.pictures import Film, Picture, film, picture
from planning.reporting.records import EpisodeRecord, PlanView
from planning.reporting.tables import MISSING, number
from robot_wm.core.storage.provenance import atomic_write

if TYPE_CHECKING:
    from markupsafe import Markup

Row = Mapping[str, Any]
PROVENANCE = (
    "commit", "config_sha256", "pair_list_sha256", "dataset_sha256", "encoder_id",
    "encoder_sha256", "backend", "hardware", "threads", "os", "python", "date",
)  # fmt: skip
CANVAS = 1000  # width of the drawing over a picture, in its own units


@dataclass(frozen=True)
class Still:
    """A picture with its caption and the ways that things took in it."""

    caption: str
    picture: Picture
    trails: list[str]


@dataclass(frozen=True)
class ErrorLine:
    """One line of the table of errors; ``met`` is None where there is no limit."""

    name: str
    start: str
    end: str
    limit: str
    met: bool | None


@dataclass(frozen=True)
class Fan:
    """Paths of one plan over the film, for control steps ``first`` to ``last``."""

    first: int
    last: int
    candidates: list[tuple[str, str]]  # points and color, the costliest first
    chosen: list[str]


@dataclass(frozen=True)
class PlanCard:
    """What is told of one plan below the film."""

    step: int
    time: str
    landscape: Markup | None
    dream: list[tuple[int, Picture, Picture | None]]  # step, imagined, real


@dataclass(frozen=True)
class EpisodeCard:
    """Everything the template shows of one episode.

    Attributes:
        canvas: width and height of the drawings over its pictures, in their own units.
        span: length of the time axis of ``timeline`` [s].
    """

    name: str
    hit: bool
    verdict: str
    why: str
    stills: list[Still]
    errors: list[ErrorLine]
    film: Film
    dt: float
    canvas: tuple[int, int]
    followed: list[str]
    fans: list[Fan]
    timeline: Markup
    span: float
    plans: list[PlanCard]


def points(path: np.ndarray, height: int) -> str:
    """A path ``[S, 2]`` in fractions of a picture, as the points of a line on the canvas."""
    whole = np.round(path * [CANVAS, height]).astype(int)
    return " ".join(f"{x},{y}" for x, y in whole)


def _inline(figure: Any, salt: str) -> Markup:
    from markupsafe import Markup

    return Markup(charts.svg(figure, salt))  # matplotlib escapes what it is given


def _errors(episode: EpisodeRecord) -> list[ErrorLine]:
    lines = []
    for measured in episode.measured:
        start, end = (units.text(float(measured.errors[i]), measured.unit) for i in (0, -1))
        limit = measured.limit
        limit_text = MISSING if limit is None else f"< {units.text(limit, measured.unit)}"
        met = None if limit is None else bool(measured.errors[-1] < limit)
        lines.append(ErrorLine(measured.name, start, end, limit_text, met))
    return lines


def _fans(episode: EpisodeRecord, height: int) -> list[Fan]:
    fans = []
    lasts = [plan.step - 1 for plan in episode.plans[1:]] + [len(episode.frames) - 1]
    for plan, last in zip(episode.plans, lasts, strict=False):  # no plans have one last step
        if plan.candidates is None:
            continue
        lines = [points(path, height) for path in plan.candidates]
        colored = list(zip(lines, charts.colors(plan.costs), strict=True))
        chosen = [points(path, height) for path in plan.chosen.values()]
        fans.append(Fan(plan.step, last, colored[::-1], chosen))
    return fans


def _plan(episode: EpisodeRecord, plan: PlanView, salt: str) -> PlanCard:
    chart = None
    if plan.landscape is not None:
        chart = _inline(charts.landscape(plan), f"{salt} landscape {plan.step}")
    dream = []
    for block, frame in enumerate(plan.imagined if plan.imagined is not None else ()):
        step = plan.step + (block + 1) * episode.block
        real = picture(episode.frames[step]) if step < len(episode.frames) else None
        dream.append((step, picture(frame), real))
    return PlanCard(plan.step, f"{plan.step * episode.dt:.2f} s", chart, dream)


def evenly(count: int, most: int) -> list[int]:
    """Up to ``most`` of ``count`` indices, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist()


def card(episode: EpisodeRecord, max_plans: int) -> EpisodeCard:
    """What the template shows of one episode, with at most ``max_plans`` plans in detail."""
    hit, steps, dt = episode.hit, episode.result.steps, episode.dt
    took = f"step {hit}, {hit * dt:.2f} s" if hit else f"{steps} steps, {steps * dt:.2f} s"
    name, shot = f"{episode.pair.pair_id}, {episode.method}", film(episode.frames)
    height = round(CANVAS / shot.aspect)
    trails = [points(path, height) for path in episode.trails.values()]
    shown = [episode.plans[i] for i in evenly(len(episode.plans), max_plans)]
    salt = f"{episode.pair.pair_id} {episode.method}"
    return EpisodeCard(
        name=name,
        hit=hit is not None,
        verdict=f"reached ({took})" if hit else f"not reached ({took})",
        why=episode.why,
        stills=[
            Still("Start", picture(episode.start), []),
            Still("End", picture(episode.end), trails),
            Still("Goal", picture(episode.goal), []),
        ],
        errors=_errors(episode),
        film=shot,
        dt=dt,
        canvas=(CANVAS, height),
        followed=list(episode.trails),
        fans=_fans(episode, height),
        timeline=_inline(charts.timeline(episode), f"{salt} timeline"),
        span=charts.span(episode),
        plans=[_plan(episode, plan, salt) for plan in shown],
    )


def _plain(value: Any) -> str:
    if value is None:
        return MISSING
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def results(rows: Sequence[Row]) -> list[list[tuple[str, str, bool]]]:
    """The table of results: of every row its cells (title, text, whether it is a number)."""
    return [
        [
            ("method", _plain(row.get("method")), False),
            ("row", _plain(row.get("row")), False),
            ("success %", number(row.get("success_pct"), 1), True),
            ("Wilson 95 %", f"{number(row.get('wilson_low'))}–{number(row.get('wilson_high'))}",
             True),
            ("episodes", _plain(row.get("episodes")), True),
            ("plan ms, p50", number(row.get("plan_ms_p50"), 1), True),
            ("p99", number(row.get("plan_ms_p99"), 1), True),
            ("budget", _plain(row.get("budget_class")), False),
            ("inputs", _plain(row.get("inputs")), False),
            ("seeds: training, evaluation",
             f"{_plain(row.get('train_seed'))}, {_plain(row.get('eval_seed'))}", True),
            ("calibrated", _plain(row.get("calibrated")), False),
        ]
        for row in rows
    ]  # fmt: skip


def render_report(
    rows: Sequence[Row], episodes: Sequence[EpisodeRecord], title: str, max_plans: int = 4
) -> str:
    """The page as text; failures come first.

    Args:
        rows: result rows, the subject first, then its references (random, scripted expert, true
            simulator, copy-last).
        max_plans: plans shown in detail per episode, spread over it; the film shows all.
    """
    failed = [card(e, max_plans) for e in episodes if e.hit is None]
    solved = [card(e, max_plans) for e in episodes if e.hit is not None]
    reached = rows[0]["successes"] if rows else len(solved)
    missed = rows[0]["episodes"] - reached if rows else len(failed)
    return environment().get_template("report.html.j2").render(
        title=title,
        summary=f"{len(rows)} result rows, {len(episodes)} recorded episodes, failures first.",
        results=results(rows),
        sections=[("failures", "Failures", _shown(len(failed), missed), failed),
                  ("successes", "Successes", _shown(len(solved), reached), solved)],
        provenance=[(key, sorted({_plain(row.get(key)) for row in rows})) for key in PROVENANCE],
        axis=(charts.LEFT, charts.RIGHT),
    )  # fmt: skip


def _shown(shown: int, count: int) -> str:
    """How many of how many are on the page; of the first row's episodes."""
    return f"{count}, {shown} of them shown" if shown < count else str(shown)


def write_report(
    path: Path,
    rows: Sequence[Row],
    episodes: Sequence[EpisodeRecord],
    title: str,
    max_plans: int = 4,
) -> None:
    """Write :func:`render_report` in one step, and beside it what the index says of it.

    Raises:
        StorageError: the disk is full or not writable.
    """
    from planning.reporting.index import describe

    atomic_write(path, render_report(rows, episodes, title, max_plans))
    describe(path, rows, episodes, title)
