"""Every section's values, checked before the first second of a command, dry runs included."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from robot_wm.cli.paths import SEEDS
from robot_wm.cli.settings import optimiser_of
from robot_wm.core.config import naming, unknown
from robot_wm.core.errors import ConfigError
from robot_wm.core.instantiate import locate
from robot_wm.core.system.extras import installed

if TYPE_CHECKING:
    from robot_wm.cli.schema import PlannerSettings
    from robot_wm.cli.settings import Settings


def check(settings: Settings) -> None:
    """Build every stage's configuration, so that a mistake is found before the first second.

    Where torch is not installed, what needs it is left out: nothing there could run it.

    Raises:
        ConfigError: an unknown key or an impossible value in any section.
    """
    from export.build.quantize import PRECISIONS
    from planning.agent.build import delay_of
    from robot_wm.commands.ablate_encoder import chosen

    if settings.precision not in PRECISIONS:
        raise ConfigError(
            f"precision {settings.precision!r}", ", ".join(PRECISIONS), "correct `precision`"
        )
    _check_task(settings)
    for collection in SEEDS:
        settings.collect_config(collection)
    made: tuple[tuple[str, Callable[[], Any]], ...] = (
        ("pairs", settings.pairs_config),
        ("planner.options", settings.optimiser),
        ("oracle.options", lambda: settings.optimiser("oracle")),
        ("diagnosis.options", lambda: settings.optimiser("true_dynamics")),
        ("improve.options", lambda: optimiser_of(settings.practice_planner, "improve.options")),
        ("ablate.variants", lambda: chosen(settings.ablate.variants)),
        *(_learning(settings) if installed("torch") else ()),
    )
    for section, make in made:
        with naming(section):
            make()
    for method in settings.method:
        locate("planning.agent.registry.agent_recipe")(method, settings.backend)
    for section in ("planner", "oracle", "diagnosis"):
        planner: PlannerSettings = getattr(settings, section)
        if planner.execute > planner.horizon:
            raise ConfigError(
                f"{section}.execute = {planner.execute}",
                f"1 to {section}.horizon = {planner.horizon}", f"lower {section}.execute",
            )  # fmt: skip
    if clock := settings.evaluate.clock:
        length = settings.planner.horizon * settings.collect.frame_every
        delay = delay_of(clock)
        if delay is not None and delay >= length:
            raise ConfigError(
                f"evaluate.clock = {clock}", f"d0 to d{length - 1}: less than a plan lasts",
                "think less or plan further ahead (planner.horizon)",
            )  # fmt: skip
    # The default is no wish: `pairs` may draw lists without it.
    known, seeds = settings.pairs_config().eval_seeds, settings.evaluate.seeds
    if seeds != (0,) and not set(seeds) <= {*known}:
        raise ConfigError(
            f"evaluate.seeds = {list(seeds)}", f"some of pairs.eval_seeds = {list(known)}",
            "add them there or correct evaluate.seeds",
        )  # fmt: skip
    _check_device(settings)
    _check_provider(settings)


def check_learning(settings: Settings) -> None:
    """Whether encoder, objective and trainings can be made of these settings.

    Raises:
        ConfigError: they cannot.
    """
    for section, make in _learning(settings):
        with naming(section):
            make()


def _check_task(settings: Settings) -> None:
    """Everything that only the scenes know: tasks, factors, families, bodies.

    Where MuJoCo is not installed, nothing there could run it, so nothing is checked.
    """
    if not installed("mujoco"):
        return
    from sim.randomization import check_values
    from sim.tasks import TASKS

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
    for where, families in (
        ("evaluate.families", settings.evaluate.families),
        ("teach.families", settings.teach.families),
        ("pairs.family", (str(settings.pairs.get("family", "official")),)),
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


def _check_device(settings: Settings) -> None:
    """Whether torch has the device; asked only where another than the CPU is wanted."""
    if settings.device == "cpu" or not installed("torch"):
        return
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    number = int(settings.device.partition(":")[2] or 0)
    if number >= count:
        raise ConfigError(
            f"device = {settings.device}, but torch {torch.__version__} finds {count} such devices",
            "a device that is there, or cpu", "set device=cpu, or install torch with CUDA",
        )  # fmt: skip


def _check_provider(settings: Settings) -> None:
    """Whether onnxruntime has the provider; asked only where another than its own is wanted."""
    if settings.provider == "CPUExecutionProvider" or not installed("onnxruntime"):
        return
    import onnxruntime

    available = onnxruntime.get_available_providers()
    if settings.provider not in available:
        raise ConfigError(
            f"provider = {settings.provider!r}", ", ".join(available),
            "name one of these, or install the onnxruntime build that has it",
        )  # fmt: skip


def _learning(settings: Settings) -> tuple[tuple[str, Callable[[], Any]], ...]:
    """Sections and makers of the configurations whose rooms import torch."""
    from robot_wm.pretraining.objectives import make_objective
    from robot_wm.world_models.base import TeachesActor

    teaches = isinstance(settings.family, TeachesActor)
    # One layer is enough to have the objective check its options.
    with naming("encoder"):
        encoder = replace(settings.encoder_config(), depth=1)
    return (
        (
            "objective.options",
            lambda: make_objective(
                settings.objective.name, encoder, settings.objective.options, 1, 1, 1
            ),
        ),
        ("pretrain", settings.pretrain_config),
        ("probe", settings.probe_config),
        ("train", settings.train_config),
        *((("teach.actor", settings.actor_config),) if teaches else ()),
    )
