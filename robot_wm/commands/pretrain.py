"""``robot-wm pretrain``: a frozen encoder from every task's episodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robot_wm.commands.parts.artifacts import encoder

if TYPE_CHECKING:
    from robot_wm.cli.main import Session


def run(session: Session) -> int:
    """Pretrain unless that encoder exists, and print its folder."""
    print(f"encoder: {encoder(session)}")
    return 0
