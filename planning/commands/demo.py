"""``robot-wm demo``: the shipped planners against random actions, task by task, offline.

It plans with the exported bundles, as a robot does: torch need not be installed.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from planning.commands import report
from planning.commands.evaluate import evaluate_all
from planning.commands.self_improve import MODE1
from planning.evaluation.stage import pair_list_path
from robot_wm.cli.compose import Session
from robot_wm.cli.paths import SHIPPED, is_shipped
from robot_wm.commands.parts.artifacts import tasks_here
from robot_wm.core.config import Count
from robot_wm.core.errors import ConfigError, WeightsError
from robot_wm.core.instantiate import locate
from robot_wm.core.storage.atomic_io import check_name
from robot_wm.core.storage.provenance import MANIFEST, storage_root
from robot_wm.core.system.progress import say

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class DemoSettings:
    """The demonstration.

    Attributes:
        tasks: tasks to show; one whose scene lacks its packages here is left out.
        pairs: held-out pairs per task.
    """

    tasks: tuple[str, ...]
    pairs: Count = 20

    def __post_init__(self) -> None:
        if not self.tasks:
            raise ConfigError("demo.tasks = []", "one name or more", "name one in demo.tasks")
        for task in self.tasks:
            check_name(task, "demo.tasks")


COLUMNS = ("task", "planned", "95 % interval", "random", "pairs", "ms per plan")


def run(session: Session) -> int:
    """Evaluate, print a table, the pages and the index over them.

    Raises:
        WeightsError: no shipped bundles or no committed pair lists here.
        ConfigError: no scene of any task can be made here.
    """
    from planning.reporting.index import write_index

    start, lines, pages = time.monotonic(), [], []
    for task in tasks_here(session.settings.demo.tasks):
        task_session = _session(session, task)
        rows, _ = evaluate_all(task_session)
        lines.append(_line(task, {row["method"]: row for row in rows}))
        pages.append(report.write(task_session, rows))
    show(lines)
    say(f"{time.monotonic() - start:.0f} s")
    for page in pages:
        print(f"report: {page}")
    print(f"index: {write_index(storage_root())}")
    return 0


def _session(session: Session, task: str) -> Session:
    """The demonstration's own settings: shipped bundles, committed pairs, few episodes."""
    settings = session.for_task(task)
    committed = pair_list_path(settings, 0, committed=True)
    for path in (settings.shipped_bundle / MANIFEST, committed):
        if not path.is_file():
            raise WeightsError(
                f"{path} is missing", "a checkout with bundles and pair lists",
                "run `robot-wm evaluate experiment=smoke`, which makes everything itself",
            )  # fmt: skip
    planner = settings.planner
    named = any(word.lstrip("+~").startswith("planner") for word in session.overrides)
    contract = locate("export.runtime.bundle_spec.read_contract")(settings.shipped_bundle)[0]
    if contract.alone and not named:  # as its controller acts
        planner = replace(planner, **MODE1)
    own = settings.replace(
        name="demo",
        planner=planner,
        weights=settings.weights if is_shipped(settings.weights) else SHIPPED,
        publish=False,
        method=("onnx", "random"),
        bundle="",
        evaluate=replace(settings.evaluate, seeds=(0,), limit=session.settings.demo.pairs),
        pairs=replace(settings.pairs, eval_seeds=(0,)),  # whose list is there; none is ever drawn
        # Why a goal was missed takes minutes to find out.
        report=replace(settings.report, episodes=min(4, settings.report.episodes), explain=False),
    )
    return Session(own, session.overrides)


def _line(task: str, rows: dict[str, dict[str, Any]]) -> tuple[str, ...]:
    ours, floor = rows["onnx"], rows["random"]
    return (
        task,
        f"{ours['success_pct']:.0f} %",
        f"{ours['wilson_low']:.0f}–{ours['wilson_high']:.0f} %",
        f"{floor['success_pct']:.0f} %",
        str(ours["episodes"]),
        f"{ours['plan_ms_p50'] or 0:.0f}",
    )


def show(lines: Sequence[tuple[str, ...]]) -> None:
    """A table: drawn on a terminal, plain in a log."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        table = Table(*COLUMNS, title="Goal images reached (official predicate)")
        for line in lines:
            table.add_row(*line)
        Console().print(table)
        return
    widths = [max(len(row[i]) for row in [COLUMNS, *lines]) for i in range(len(COLUMNS))]
    for row in [COLUMNS, *lines]:
        print("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip())
