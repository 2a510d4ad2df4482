"""``robot-wm calibrate``: compare a scene and its data with the published ones, before any method.

Needs rows of ``method=random`` (official, moderate, strict) and ``method=oracle`` (official) on the
same results folder; those that are missing fail their gate.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from robot_wm.commands.parts.artifacts import dataset, scene, tasks
from robot_wm.core.instantiate import locate
from robot_wm.core.storage.provenance import read_json, write_json

if TYPE_CHECKING:
    from robot_wm.cli.main import Session
    from robot_wm.cli.settings import Settings

FILE = "calibration.json"


def run(session: Session) -> int:
    """Measure, judge, write ``calibration.json`` beside the rows; exit 1 if a gate fails."""
    from planning.evaluation.calibration import judge

    able, calibrated = (locate(f"sim.tasks.abilities.{name}") for name in ("able", "Calibrated"))
    settings = session.settings
    task, path = settings.task.name, settings.results / FILE
    references = able(tasks()[task](), calibrated, "robot-wm calibrate").published
    verdict = judge(references, {**solved_starts(settings), **rates(settings)})
    known = read_json(path) if path.is_file() else {}
    write_json(path, {**known, task: verdict})
    for name, gate in verdict["gates"].items():
        value = "not measured" if gate["measured"] is None else f"{gate['measured']:.1f} %"
        print(f"{'ok  ' if gate['passed'] else 'FAIL'} {name}: {value} ({gate['reference']:g} %)")
    print(f"gates: {path}")
    return 0 if all(gate["passed"] for gate in verdict["gates"].values()) else 1


def solved_starts(settings: Settings) -> dict[str, float]:
    """Share of starts already solved [%], over all pairs of the nominal collection's test split."""
    from planning.evaluation.sample_pairs import calibration
    from robot_wm.data.formats.base import open_episodes

    env = scene(settings.task.name, settings.image_size, draw_images=False)
    families = ("official", "strict")
    store = open_episodes(dataset(settings, "nominal"))
    solved = calibration(store, env.success, families)["solved"]
    return {f"solved starts, {family}": 100 * solved[family] for family in families}


def rates(settings: Settings) -> dict[str, float]:
    """Mean success [%] of the reference rows on file."""
    from planning.evaluation.results import read_rows

    wanted = [(f"random actions, {f}", f, "random") for f in ("official", "moderate", "strict")]
    wanted.append(("true simulator, official", "official", "oracle"))
    out = {}
    for name, family, method in wanted:
        path = settings.results / f"{family}-{settings.task.name}.jsonl"
        rows = [r for r in read_rows(path) if r["method"] == method] if path.is_file() else []
        if rows:
            solved, total = (sum(r[key] for r in rows) for key in ("successes", "episodes"))
            out[name] = 100 * solved / total
    return out


def verdict_of(results: Path, task: str) -> dict[str, Any]:
    """``calibrated`` and ``calibration`` (why not) for rows of a task."""
    path = results / FILE
    known = read_json(path).get(task) if path.is_file() else None
    if known is None:
        return {"calibrated": False, "calibration": "not judged: run `robot-wm calibrate`"}
    return {"calibrated": known["calibrated"], "calibration": known["why"]}
