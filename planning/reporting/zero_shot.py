"""What held-out levels cost: tables of the rows ``zs/task/factor:level`` against ``zs/task/none``.

On the same pairs and seeds: drop of success with an exact McNemar test, the share that remains
(*retention*), and the share of what lies above random actions under the same level.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from planning.evaluation.statistics import mcnemar, wilson
from robot_wm.core.storage.markdown import table

Row = dict[str, Any]
NONE = "none"
MISSING = "--"
LEVELS = (
    "level", "success %", "Wilson 95 %", "n", "random %", "drop", "McNemar p", "retention %",
    "above random %",
)  # fmt: skip
FACTORS = ("factor", "levels", "success %", "drop", "retention %", "above random %")


@dataclass(frozen=True)
class Score:
    """One level of one method.

    Attributes:
        level: ``factor:level``, or ``all`` and the like for several factors at once.
        solved, episodes: on all its rows.
        random: success of random actions under this level [%], None if not run.
        drop: of success on the pairs that the unperturbed row has, too [points]; None without any.
        p: two-sided exact McNemar test of it, the largest over training seeds.
        retention: success as a share of the unperturbed one [%]; None where that is 0.
        corrected: the same of what lies above random actions under each [%].
    """

    level: str
    solved: int
    episodes: int
    random: float | None
    drop: float | None
    p: float | None
    retention: float | None
    corrected: float | None

    @property
    def success(self) -> float:
        """[%]."""
        return 100 * self.solved / self.episodes

    @property
    def factor(self) -> str:
        """Its factor; empty for several at once."""
        name, colon, _ = self.level.partition(":")
        return name if colon else ""


def outcomes(rows: Iterable[Row]) -> dict[tuple[Any, ...], bool]:
    """Whether each episode succeeded, by training seed, list, evaluation seed and pair."""
    return {
        (row["train_seed"], row["pair_list_sha256"], row["eval_seed"], pair): hit is not None
        for row in rows
        for pair, hit in zip(row["pair_ids"], row["first_hit"], strict=True)
    }


def score(
    level: str, rows: list[Row], nominal: list[Row], random: float | None, floor: float | None
) -> Score:
    """Compare a level's rows with those of the unperturbed scene.

    Args:
        random, floor: success of random actions under the level, and unperturbed [%].
    """
    ours, theirs = outcomes(rows), outcomes(nominal)
    both = [(theirs[key], hit) for key, hit in ours.items() if key in theirs]
    drop = p = retention = corrected = None
    if both:
        before, after = (100 * float(np.mean(side)) for side in zip(*both, strict=True))
        drop = before - after
        p = max(
            mcnemar(
                sum(theirs[k] and not hit for k, hit in ours.items() if k in theirs and k[0] == s),
                sum(hit and not theirs[k] for k, hit in ours.items() if k in theirs and k[0] == s),
            )
            for s in {key[0] for key in ours if key in theirs}
        )
        retention = 100 * after / before if before else None
        if random is not None and floor is not None and before > floor:
            corrected = 100 * (after - random) / (before - floor)
    solved = sum(ours.values())
    return Score(level, solved, len(ours), random, drop, p, retention, corrected)


def by_factor(scores: Iterable[Score]) -> dict[str, dict[str, float | None]]:
    """Means over the levels of every factor; None where a level lacks the number."""
    grouped: dict[str, list[Score]] = {}
    for each in scores:
        if each.factor:
            grouped.setdefault(each.factor, []).append(each)
    keys = ("success", "drop", "retention", "corrected")
    return {
        factor: {
            "levels": len(levels), **{k: _mean(getattr(s, k) for s in levels) for k in keys}
        }
        for factor, levels in sorted(grouped.items())
    }  # fmt: skip


def summary(factors: Mapping[str, Mapping[str, float | None]]) -> dict[str, dict[str, Any]]:
    """``mean`` and ``worst`` over factors, each of which counts once."""
    keys, found = ("success", "drop", "retention", "corrected"), dict[str, dict[str, Any]]()
    for name, of in (("mean", _mean), ("worst", _least)):
        found[name] = {key: of(values[key] for values in factors.values()) for key in keys}
    found["worst"]["drop"] = _most(values["drop"] for values in factors.values())
    return found


def _whole(values: Iterable[float | None]) -> list[float]:
    listed = list(values)
    return [] if None in listed else [float(v) for v in listed if v is not None]


def _mean(values: Iterable[float | None]) -> float | None:
    return float(np.mean(numbers)) if (numbers := _whole(values)) else None


def _least(values: Iterable[float | None]) -> float | None:
    return min(numbers) if (numbers := _whole(values)) else None


def _most(values: Iterable[float | None]) -> float | None:
    return max(numbers) if (numbers := _whole(values)) else None


def _text(value: float | None, form: str = ".1f") -> str:
    return MISSING if value is None else format(value, form)


def level_table(scores: Iterable[Score]) -> str:
    """One line per level."""
    lines = []
    for s in scores:
        low, high = wilson(s.solved, s.episodes)
        lines.append([
            s.level, _text(s.success), f"{100 * low:.1f}–{100 * high:.1f}", str(s.episodes),
            _text(s.random), _text(s.drop), _text(s.p, ".2g"), _text(s.retention),
            _text(s.corrected),
        ])  # fmt: skip
    return table(list(LEVELS), lines)


def factor_table(scores: Iterable[Score]) -> str:
    """One line per factor, then their mean and the worst; empty where there is no factor."""
    factors = by_factor(scores)
    if not factors:
        return ""
    lines = {**factors, **{f"**{name}**": v for name, v in summary(factors).items()}}
    cells = [
        [name, str(values.get("levels", "")),
         *(_text(values[k]) for k in ("success", "drop", "retention", "corrected"))]
        for name, values in lines.items()
    ]  # fmt: skip
    return table(list(FACTORS), cells)
