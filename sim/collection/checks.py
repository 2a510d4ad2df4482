"""What only the scenes know of a configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robot_wm.core.config import naming, unknown
from robot_wm.core.system.extras import installed
from sim.collection.stage import SEEDS, collect_config

if TYPE_CHECKING:
    from robot_wm.cli.settings import Settings


def check(settings: Settings) -> None:
    """Whether the scenes know every task, factor, family and body that is named.

    Where MuJoCo is not installed, nothing there could run it, so they are not asked.

    Raises:
        ConfigError: a name that they do not know, or a value out of range.
    """
    for collection in SEEDS:
        collect_config(settings, collection)
    if not installed("mujoco"):
        return
    from sim.randomization import check_values
    from sim.tasks import TASKS
    from sim.zero_shot import chosen

    for where, tasks in (
        ("task.name", (settings.task.name,)), ("encoder_tasks", settings.encoder_tasks),
        ("demo.tasks", settings.demo.tasks),
    ):  # fmt: skip
        for name in tasks:
            if name not in TASKS:
                raise unknown(f"task in {where}:", name, TASKS)
    task = TASKS[settings.task.name]()
    with naming("evaluate.factors"):
        check_values(task.factors, settings.evaluate.factors)
    chosen(task.factors, settings.zs.only)
    # The default is no wish: `teach` refuses it where a task has no such predicate.
    taught = settings.teach.families
    for where, families in (
        ("evaluate.families", settings.evaluate.families),
        ("teach.families", () if taught == type(settings.teach)().families else taught),
        ("pairs.family", (settings.pairs.predicate,)),
    ):
        for family in families:
            if family not in task.predicates:
                raise unknown(f"family in {where}:", family, task.predicates)
    settable = [entry for entry in task.pose_entries if entry.kind != "velocity"]
    entries = [entry.name for entry in settable]
    bodies = dict.fromkeys(entry.body for entry in settable)
    for where, named, known in (
        ("reach.pose", settings.reach.pose, entries), ("reach.only", settings.reach.only, bodies),
        ("evaluate.only", settings.evaluate.only, bodies),
    ):  # fmt: skip
        for name in named:
            if name not in known:
                raise unknown(f"name in {where}:", name, known)
