"""What planning asks of the rooms that it must not import: by dotted name, when it is needed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robot_wm.core.images import Size
from robot_wm.core.instantiate import locate

if TYPE_CHECKING:
    from robot_wm.cli.main import Session
    from robot_wm.cli.settings import Settings


def scene(task: str, image_size: Size, **options: Any) -> Any:
    """A simulated scene, see ``sim.make``."""
    return locate("sim.make")(task, image_size, **options)


def tasks() -> Mapping[str, Any]:
    """Simulated tasks by name, see ``sim.tasks``."""
    found: Mapping[str, Any] = locate("sim.tasks.TASKS")
    return found


def dataset(settings: Settings, collection: str) -> Path:
    """A recorded collection, made if missing, see ``sim.collection.stage``."""
    return Path(locate("sim.collection.stage.dataset")(settings, collection))


def bundle(session: Session) -> Path:
    """The exported bundle of the model to evaluate, see ``export.build.stage``."""
    return Path(locate("export.build.stage.bundle")(session))


def bundle_suffix(settings: Settings) -> str:
    """What names of bundles of the wanted precision end with."""
    return str(locate("export.build.stage.kind")(settings))
