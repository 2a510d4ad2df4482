"""``robot-wm probe``: the gate between pretraining and training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robot_wm.cli.paths import CHECKOUT, SHIPPED, is_shipped
from robot_wm.commands.parts.artifacts import dataset, encoder, make, scene, tasks
from robot_wm.core.storage.json_io import read_lines
from robot_wm.core.system.progress import say

if TYPE_CHECKING:
    import numpy as np

    from robot_wm.cli.main import Session
    from robot_wm.cli.settings import Settings

SHUT, NOT_JUDGED = 1, 3  # exit codes; 2 is a user's mistake, in every command


def others(path: Path, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows on file of the same encoder's other tasks: a task can be probed by itself."""
    stored = read_lines(path) if path.is_file() else []
    tasks, encoders = ({row[key] for row in rows} for key in ("task", "encoder_sha256"))
    return [r for r in stored if r["task"] not in tasks and r["encoder_sha256"] in encoders]


def looks(settings: Settings, task: str, data: Path, frozen: Any) -> list[dict[str, Any]]:
    """Rows of a task in other looks, where there is a scene that can be drawn in some."""
    from robot_wm.data.formats.base import open_episodes
    from robot_wm.probing.looks import probe_looks

    config, known = settings.probe_config(), tasks()
    names = make("looks")(known[task].factors) if task in known else []
    store = open_episodes(data)
    if not config.look_frames or not names or not store.schema.state_dim:
        say(f"{task}: not probed in other looks")
        return []
    drawn = scene(task, store.schema.image_size)

    def picture(state: np.ndarray, factors: Mapping[str, Any]) -> np.ndarray:
        seen, _ = drawn.reset(options={"state": state, "factors": factors})
        image: np.ndarray = seen["image"]
        return image

    varying = {name: known[task].factors[name] for name in names}
    rows = probe_looks(config, data, frozen, varying, picture)
    drawn.close()
    return rows


def run(session: Session) -> int:
    """Probe the encoder on every task it was pretrained for.

    Returns:
        0 if the gate opens, 1 if it stays shut, 3 if it could not be judged.
    """
    from robot_wm.encoders.base import load_encoder
    from robot_wm.probing.gate import probe, write_gate

    settings = session.settings
    frozen = load_encoder(encoder(session))
    out, rows = settings.run_path("probe"), []
    for task in settings.encoder_tasks:
        data = dataset(session.for_encoder(task), "nominal")
        rows += probe(settings.probe_config(), data, frozen)
        rows += looks(settings, task, data, frozen)
    if settings.publish:
        out = CHECKOUT / "results" / "encoder"
        if is_shipped(settings.encoder_name):  # those of a variant lie apart
            out /= settings.encoder_name.removeprefix(SHIPPED).lstrip("-")
        rows = [*others(out / "probe.jsonl", rows), *rows]
    result = write_gate(out, rows)
    print(f"table: {out / 'probe.md'}")
    if result is None:
        say("not judged: the gate needs pixels, random and encoder rows")
        return NOT_JUDGED
    for failure in result.failures:
        print(failure)
    print("gate passed" if result.passed else f"gate FAILED on {len(result.failures)} counts")
    return 0 if result.passed else SHUT
