"""Bring a bundle into the package, once it reaches as many goals as its source."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from export.build.stage import BUNDLE, kind
from planning.optimizers import PolicyOnly
from robot_wm.cli.paths import CHECKOUT, SHIPPED, is_shipped
from robot_wm.core.errors import ConfigError, WeightsError
from robot_wm.core.storage.provenance import (
    atomic_folder,
    read_json,
    write_json,
)
from robot_wm.core.system.progress import say

if TYPE_CHECKING:
    from robot_wm.cli.main import Session

POINTS = 1.0  # success may differ by this much between torch and onnxruntime


def publish(session: Session, folder: Path) -> Path:
    """Bring a bundle of shipped weights into the package, if it reaches as many goals as torch.

    Both plan on the first pair list; rows go to ``results/``, reports to ``results/export``.

    Raises:
        WeightsError: their success differs by more than ``POINTS``; the package keeps what it had.
        ConfigError: weights that are not shipped.
    """
    from planning.commands.evaluate import evaluate_all

    settings = session.settings
    if not is_shipped(settings.weights):
        raise ConfigError(
            f"publish=true with weights={settings.weights}",
            f"weights={SHIPPED}, or a variant like {SHIPPED}-contrast",
            f"copy {settings.model_path(settings.weights)} to {settings.model_path(SHIPPED)} and "
            f"its encoder below {settings.encoder_path(SHIPPED).parent}, then give "
            f"weights={SHIPPED}",
        )  # fmt: skip
    own = settings.replace(method=("jepa", "onnx"), bundle=str(folder))
    rows, _ = evaluate_all(replace(session, settings=own))
    success = {row["method"]: row["success_pct"] for row in rows}
    trained, exported = success.values()
    gap = abs(exported - trained)
    reports = {name: read_json(folder / f"{name}.json") for name in ("parity", "latency")}
    reports["closed_loop"] = {**success, "episodes": rows[0]["episodes"], "gap": gap}
    search = settings.planner.search()
    size = f"{search.candidates}x{search.iterations}{kind(settings)}"
    if isinstance(search, PolicyOnly):
        size = f"policy_only{kind(settings)}"
    name = f"{settings.shipped_bundle.name}-{size}.json"
    write_json(CHECKOUT / "results" / "export" / name, reports)
    say(f"goals reached: torch {trained:.0f} %, onnxruntime {exported:.0f} %")
    if gap > POINTS:
        raise WeightsError(
            f"goals reached differ by {gap:.1f} points between torch and onnxruntime",
            f"at most {POINTS:g}",
            f"use {folder} unpublished, or find out where the episodes part (success_trace)",
        )
    shipped = settings.shipped_bundle
    shipped = shipped.with_name(shipped.name + kind(settings))
    with atomic_folder(shipped, replaces=BUNDLE) as work:
        shutil.copytree(folder, work, dirs_exist_ok=True)
    return shipped
