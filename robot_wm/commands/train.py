"""``robot-wm train``: a world model of one task on the frozen encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robot_wm.commands.parts.artifacts import model

if TYPE_CHECKING:
    from robot_wm.cli.main import Session


def run(session: Session) -> int:
    """Train unless that model exists, and print its folder."""
    print(f"world model: {model(session)[0]}")
    return 0
