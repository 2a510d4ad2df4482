"""``robot-wm export``: the whole planner as one ONNX bundle, compared with its source first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from export.build.stage import place, write
from export.commands.publish import publish

if TYPE_CHECKING:
    from robot_wm.cli.main import Session


def run(session: Session) -> int:
    """Export the task's model and print the bundle's folder; with ``publish``, see below."""
    folder = write(session, place(session.settings), alone=True)
    print(f"bundle: {publish(session, folder) if session.settings.publish else folder}")
    return 0
