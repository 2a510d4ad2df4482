"""``robot-wm stress-test``: the exported controller on recorded frames, every fault thrown at it.

The search is the one of ``planner``: a small one (``planner.options.candidates=16
planner.options.iterations=1``) tries the controller as hard in a fraction of the time.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from export.build.stage import bundle, held_out_frames
from planning.agent.build import mpc
from robot_wm.cli.paths import CHECKOUT
from robot_wm.core.config import Count, Fraction, Positive
from robot_wm.core.storage.provenance import atomic_write, provenance, read_manifest

if TYPE_CHECKING:
    from robot_wm.cli.main import Session


@dataclass(frozen=True)
class SoakSettings:
    """The controller under faults.

    Attributes:
        ticks: control steps.
        rate: faults per look at the camera.
        length: control steps per goal.
        max_change: the controller's rate limit, per action entry and control step.
    """

    ticks: Count = 1_000_000
    rate: Fraction = 0.1
    length: Count = 100
    max_change: Positive = 0.5


LATE = 0.1  # longest plan; a hung planner is waited for that long [s]


def run(session: Session) -> int:
    """Run it, print what was counted; exit 1 if something got out or was not reported."""
    from export.robot.controller import Limits
    from export.robot.stress_test import INJECTED_FAULTS, stress_test
    from export.runtime.agent import camera_of
    from export.runtime.world_model import OnnxWorldModel

    settings, chosen = session.settings, session.settings.soak
    folder = bundle(session)
    model = OnnxWorldModel(folder, settings.provider, settings.threads)
    spec, search = model.spec, settings.planner.search()
    size = {"candidates": search.candidates, "iterations": search.iterations}
    restores = settings.planner.straighten or settings.planner.repaint
    camera = camera_of(model) if restores else None
    agent = mpc(model, asdict(settings.planner), camera=camera)
    frames = held_out_frames(session)
    period = spec.control_dt
    limits = Limits(chosen.max_change, (0.0,) * spec.control_dim, 2 * period, LATE)
    found = stress_test(
        agent, limits, frames, chosen.ticks, chosen.rate, chosen.length, settings.seed
    )
    row: dict[str, Any] = {
        **found.to_json(), "task": settings.task.name, **size,
        "execute": settings.planner.execute, "settings": asdict(chosen),
        "bundle_sha256": read_manifest(folder, "bundle", verify=False)["sha256"], **provenance(),
    }  # fmt: skip
    where = CHECKOUT / "results" / "soak" if settings.publish else settings.run_path("soak")
    path = where / f"{settings.task.name}.json"
    atomic_write(path, json.dumps(row, indent=1, sort_keys=True) + "\n")
    for name, count in sorted(found.injected.items()):
        expected = INJECTED_FAULTS[name].reported_as
        print(f"{count:8d}  {name}" + (f", told {found.reported[name]} times" if expected else ""))
    early, late = found.memory_mb
    print(
        f"{found.ticks} control steps, {found.episodes} goals, {found.stops} stops\n"
        f"{found.outside} commands outside the limits, {found.raised} ticks that raised an error, "
        f"{found.slow} longer than promised (longest {1e3 * found.longest:.0f} ms), "
        f"{found.mixed} mixed up, {found.unreported} faults not told\n"
        f"memory {early:.0f} -> {late:.0f} MiB: {'passed' if found.passed else 'FAILED'}"
    )
    print(f"row: {path}")
    return 0 if found.passed else 1
