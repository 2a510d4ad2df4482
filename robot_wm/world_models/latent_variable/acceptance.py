"""Rows of predictors with and without a latent variable, and what they must show.

Without torch: rows are plain numbers, and a verdict follows from them alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robot_wm.core.errors import DataError
from robot_wm.core.storage.markdown import table
from robot_wm.core.storage.measured_rows import add_measured

Row = dict[str, Any]
DETERMINISTIC, LEAKY = "deterministic", "leaky"
IDENTITY = ("scene", "task", "model", "train_seed", "steps", "model_sha256")
BELOW, APART, AUROC = 30.0, 5.0, 95.0  # per cent


@dataclass(frozen=True)
class Known:
    """What every row says and a verdict counts on.

    Attributes:
        model: see :func:`name_of`.
        nats: of z.
        energy_auroc_pct: of true against swapped futures.
        best_over_deterministic, lent_over_prior: ratios of errors, the latter with its interval.
    """

    scene: str
    model: str
    nats: float
    energy_auroc_pct: float
    best_over_deterministic: float
    lent_over_prior: float
    lent_over_prior_low: float
    lent_over_prior_high: float


def name_of(variable: str, leaky: bool = False) -> str:
    """Name of a model in rows: its kind of z, and whether z was all but free."""
    return f"{variable}-{LEAKY}" if leaky else variable


def verdict(rows: Sequence[Mapping[str, Any]], variable: str) -> list[tuple[str, str, bool]]:
    """What is asked for, what was found, and whether that is enough.

    Args:
        rows: of one run, both scenes.
        variable: kind of z.

    Raises:
        DataError: a row is missing.
    """
    kicked, still, leaky = (
        _row(rows, *key)
        for key in (
            ("kicked", variable), ("still", variable), ("kicked", name_of(variable, leaky=True)),
        )
    )  # fmt: skip
    below = 100 * (1 - kicked["best_over_deterministic"])
    apart = 100 * (still["best_over_deterministic"] - 1)
    found = [
        (
            f"kicked scene: best of 8 at least {BELOW:g} % below the deterministic error",
            f"{below:.1f} % below", below >= BELOW,
        ),
        (
            f"still scene: best of 8 within {APART:g} % of the deterministic error",
            f"{apart:+.1f} %", abs(apart) <= APART,
        ),
        (
            f"energy of true against swapped futures: area at least {AUROC:g} %",
            f"{kicked['energy_auroc_pct']:.1f} %", kicked["energy_auroc_pct"] >= AUROC,
        ),
        # A z from elsewhere is one more draw: noise alone must not decide.
        (
            "no leak: a lent z raises the error above the prior's by nothing (95 % interval)",
            _ratio(kicked), kicked["lent_over_prior_low"] <= 1,
        ),
        (
            "failing control: where z is all but free, a lent z does raise it",
            _ratio(leaky), leaky["lent_over_prior_low"] > 1,
        ),
    ]  # fmt: skip
    return found


def _ratio(row: Mapping[str, Any]) -> str:
    value, low, high = (row[f"lent_over_prior{end}"] for end in ("", "_low", "_high"))
    return f"{value:.3f} times ({low:.3f}–{high:.3f})"


def _row(rows: Sequence[Mapping[str, Any]], scene: str, model: str) -> Mapping[str, Any]:
    for row in rows:
        if (row["scene"], row["model"]) == (scene, model):
            return row
    raise DataError(
        f"no row of {model} on the {scene} scene",
        ", ".join(f"{row['scene']} {row['model']}" for row in rows), "measure it, too",
    )  # fmt: skip


def render(rows: Sequence[Mapping[str, Any]], variables: Sequence[str]) -> str:
    """Errors of every model on both scenes, then the verdict of each kind of z."""
    keys = ("likeliest", "best_of_8", "prior", "posterior", "lent")
    body = [
        [row["scene"], row["model"], *(f"{row[f'{key}_error']:.4f}" for key in keys),
         f"{row['energy_auroc_pct']:.1f}", f"{row['nats']:.2f}"]
        for row in rows
    ]  # fmt: skip
    parts = [table(["scene", "model", *keys, "AUROC %", "nats"], body)]
    for variable in variables:
        lines = [
            [wanted, found, "yes" if good else "NO"]
            for wanted, found, good in verdict(rows, variable)
        ]
        parts.append(table([variable, "found", "met"], lines))
    return "\n".join(parts)


def add_rows(path: Path, rows: Sequence[Row]) -> None:
    """Add rows; the same models measured again replace theirs."""
    add_measured(path, rows, Known, IDENTITY)
