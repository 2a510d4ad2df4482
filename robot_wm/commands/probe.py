"""``robot-wm probe``: the gate between pretraining and training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robot_wm.commands.stages import dataset, encoder, say

if TYPE_CHECKING:
    from robot_wm.cli import Session


def run(session: Session) -> int:
    """Probe the encoder on every task it was pretrained for; 1 if the gate stays shut."""
    from robot_wm.encoder import FrozenEncoder
    from robot_wm.probe import probe, write_gate

    settings = session.settings
    frozen = FrozenEncoder.load(encoder(session))
    out, rows = settings.run_path("probe"), []
    for task in settings.encoder_tasks:
        data = dataset(session.for_task(task), "nominal")
        rows += probe(settings.probe_config(), data, frozen)
    result = write_gate(out, rows)
    print(out / "probe.md")
    if result is None:
        say("not judged: the gate needs pixels, random and encoder rows")
        return 0
    for failure in result.failures:
        print(failure)
    print("gate passed" if result.passed else f"gate FAILED on {len(result.failures)} counts")
    return 0 if result.passed else 1
