"""``robot-wm ablate-encoder``: what each part of the encoder's recipe is worth to the probes.

Every variant changes one thing and is pretrained and probed alike, on the tasks of
``encoder_tasks``, for ``pretrain.steps``. Variants that exist are kept: an interrupted run goes on.
Tables of different length stand side by side: short runs rank what is learnt early.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robot_wm.cli.checks import check_learning
from robot_wm.cli.paths import CHECKOUT
from robot_wm.commands.parts.artifacts import dataset, encoder_datasets
from robot_wm.core.errors import ConfigError, DataError
from robot_wm.core.storage.markdown import table
from robot_wm.core.storage.provenance import (
    MANIFEST,
    atomic_write,
    read_json,
    write_json,
    write_lines,
)
from robot_wm.core.system.progress import say

if TYPE_CHECKING:
    from robot_wm.cli.main import Session
    from robot_wm.cli.settings import Settings


@dataclass(frozen=True)
class AblateSettings:
    """The ablation of the encoder's recipe.

    Attributes:
        variants: some of them, e.g. ``[no-dense-loss]``, beside the full recipe; empty runs all.
    """

    variants: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        chosen(self.variants)


Row = dict[str, Any]
REFERENCES = ("pixels", "random")

# name -> section -> changed keys
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "full recipe": {},
    "no dense loss": {"options": {"dense_weight": 0.0}},
    "tube masks": {"options": {"masks": "tubes"}},
    "no inverse dynamics": {"options": {"inverse_weight": 0.0}},
    "no contrast": {"options": {"contrast_weight": 0.0}},
    "no variance terms": {"options": {"variance_weight": 0.0, "covariance_weight": 0.0}},
    "no centring": {"options": {"centering": False}},
    "no action token": {"options": {"action_token": False}},
    "nominal scenes only": {"pretrain": {"dataset_weights": {"nominal": 1.0, "varied": 0.0}}},
    "patch 16": {"encoder": {"patch": 16}},
}


def run(session: Session) -> int:
    """Pretrain and probe every variant; write rows and a table."""
    settings = session.settings
    settings.check_pretrains()
    steps = settings.pretrain_config().steps
    out = settings.run_path("ablate") / str(steps)
    rows: list[Row] = []
    variants = chosen(settings.ablate.variants)
    for name, change in variants.items():
        check(name, vary(settings, change))
    for name, change in variants.items():
        varied = vary(settings, change)
        rows += [{"variant": name, **row} for row in probed(session, varied, out / slug(name))]
        if not change:
            rows += references(session, varied, out / slug(name) / "encoder", out)
    where = CHECKOUT / "results" / "encoder" if settings.publish else out
    write_lines(where / f"ablation-{steps}.jsonl", rows)
    atomic_write(where / f"ablation-{steps}.md", overview(rows))
    print(f"table: {where / f'ablation-{steps}.md'}")
    return 0


def chosen(names: Sequence[str]) -> dict[str, dict[str, dict[str, Any]]]:
    """The full recipe, with which all are compared, and the named variants; all if none is.

    Raises:
        ConfigError: an unknown name.
    """
    by_slug = {slug(name): name for name in VARIANTS}
    if unknown := sorted(set(names) - set(by_slug)):
        raise ConfigError(f"ablate.variants {unknown}", ", ".join(by_slug), "correct the spelling")
    full = next(iter(VARIANTS))
    wanted = {full, *(by_slug[name] for name in names)} if names else set(VARIANTS)
    return {name: change for name, change in VARIANTS.items() if name in wanted}


def check(name: str, settings: Settings) -> None:
    """Refuse a variant that cannot be trained before any other is.

    Raises:
        ConfigError: it cannot; the message names it.
    """
    try:
        check_learning(settings)
    except ConfigError as error:
        raise ConfigError(
            f"variant {name!r}: {error.received}", error.accepted,
            f"{error.next_step}, or leave it out: ablate.variants=[…] of "
            f"{', '.join(slug(v) for v in VARIANTS)}",
        ) from error  # fmt: skip


def slug(name: str) -> str:
    """A folder's name."""
    return name.replace(" ", "-")


def vary(settings: Settings, change: Mapping[str, Mapping[str, Any]]) -> Settings:
    """The settings with one thing changed."""
    objective = replace(
        settings.objective, options={**settings.objective.options, **change.get("options", {})}
    )
    return settings.replace(
        objective=objective,
        encoder={**settings.encoder, **change.get("encoder", {})},
        pretrain={**settings.pretrain, **change.get("pretrain", {})},
    )


def probed(session: Session, settings: Settings, folder: Path) -> list[Row]:
    """Rows of one variant, pretrained if missing."""
    from robot_wm.encoders.base import load_encoder
    from robot_wm.pretraining.trainer import pretrain

    rows_file = folder / "rows.json"
    if rows_file.is_file():
        return stored(rows_file)
    if not (folder / "encoder" / MANIFEST).is_file():
        say(f"pretraining {folder.name}")
        pretrain(settings.pretrain_config(), encoder_datasets(session), folder)
    rows = _probe(session, settings, load_encoder(folder / "encoder"), ("encoder",))
    steps = settings.pretrain_config().steps
    rows = [{**row, "steps": steps} for row in rows]
    write_json(rows_file, rows)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return rows


def references(session: Session, settings: Settings, encoder: Path, out: Path) -> list[Row]:
    """Raw pixels and random weights of the shape of ``encoder``, on the same frames."""
    from robot_wm.encoders.base import load_encoder

    rows_file = out / "references.json"
    if not rows_file.is_file():
        found = _probe(session, settings, load_encoder(encoder), REFERENCES)
        rows = [{"variant": row["kind"], "steps": 0, **row} for row in found]
        write_json(rows_file, rows)
    return stored(rows_file)


def stored(path: Path) -> list[Row]:
    """Rows that an earlier run kept.

    Raises:
        DataError: not a list of rows that the table can show.
    """
    rows = read_json(path)
    wanted = {"task": str, "factor": str, "frames": int, "steps": int}
    good = isinstance(rows, list) and all(
        isinstance(row, dict)
        and all(type(row.get(key)) is kind for key, kind in wanted.items())
        and isinstance(row.get("r2", ""), float | int | None)
        for row in rows
    )
    if not good or not rows:
        raise DataError(
            f"{path} holds no rows of a probe", "the rows as they were written",
            f"delete {path}; they are measured again",
        )  # fmt: skip
    return list(rows)


def _probe(session: Session, settings: Settings, encoder: Any, kinds: tuple[str, ...]) -> list[Row]:
    from robot_wm.probing.gate import probe

    config, rows = replace(settings.probe_config(), kinds=kinds), []
    for task in settings.encoder_tasks:
        rows += probe(config, dataset(session.for_encoder(task), "nominal"), encoder)
    return rows


def overview(rows: Sequence[Mapping[str, Any]]) -> str:
    """Best probe's R² of every factor by variant."""
    best: dict[tuple[str, str], float] = {}
    for row in rows:
        if row["r2"] is not None:
            key = row["variant"], f"{row['task']} {row['factor']}"
            best[key] = max(best.get(key, -9.0), row["r2"])
    variants = list(dict.fromkeys(variant for variant, _ in best))
    factors = list(dict.fromkeys(factor for _, factor in best))
    steps = max(row.get("steps", 0) for row in rows)
    frames = max(row["frames"] for row in rows)
    head = [
        "# Ablation of the encoder's recipe", "",
        "Generated by `robot-wm ablate-encoder`. R² on held-out episodes, the better of the "
        "probes, "
        f"{frames:,} frames to fit them; {steps:,} pretraining steps each, one seed. Short runs: "
        "they rank parts, they do not describe the shipped encoder.", "", "",
    ]  # fmt: skip
    lines = [
        [v, *(f"{best[v, f]:.3f}" if (v, f) in best else "--" for f in factors)] for v in variants
    ]
    return "\n".join(head) + table(["variant", *factors], lines)
