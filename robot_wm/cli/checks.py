"""What no section can check by itself, before the first second of a command, dry runs included.

Every section's dataclass has checked itself by then. The rest is checked in the room that knows it,
by a function of the settings; an installed package adds one by an entry point of
``robot_wm.checks``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from robot_wm.core.config import naming
from robot_wm.core.errors import ConfigError
from robot_wm.core.parallel import LAUNCHERS
from robot_wm.core.registry import Registry
from robot_wm.core.system.extras import installed

if TYPE_CHECKING:
    from robot_wm.cli.settings import Settings

CHECKS = Registry(
    "robot_wm.checks",
    {
        "data": "sim.collection.checks:check",
        "export": "export.build.stage:check",
        "learning": "robot_wm.cli.checks:check_learning",
        "planning": "planning.evaluation.checks:check",
    },
)


def check(settings: Settings) -> None:
    """Find a mistake before the first second.

    What a library would be needed for that is not installed is left out: nothing could run it.

    Raises:
        ConfigError: an unknown key or an impossible value in any section, or no such launcher.
    """
    _ = LAUNCHERS[settings.launcher]
    for name in CHECKS:
        CHECKS[name](settings)


def check_learning(settings: Settings) -> None:
    """Whether encoder, objective and trainings can be made of these settings, on their device.

    Raises:
        ConfigError: they cannot.
    """
    if not installed("torch"):
        return
    for section, make in _learning(settings):
        with naming(section):
            make()
    _check_device(settings)


def _check_device(settings: Settings) -> None:
    """Whether torch has the device; asked only where another than the CPU is wanted."""
    if settings.device == "cpu":
        return
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    number = int(settings.device.partition(":")[2] or 0)
    if number >= count:
        raise ConfigError(
            f"device = {settings.device}, but torch {torch.__version__} finds {count} such devices",
            "a device that is there, or cpu", "set device=cpu, or install torch with CUDA",
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
