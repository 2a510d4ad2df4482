"""Is what a probe reads from a latent what the predictions use? A latent moved along its direction.

``Z`` numbers of a latent, ``K`` that the probe reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from robot_wm.core.protocols import Editable

RIDGE = 1e-3  # of a latent number's own variance
MOVES = 5e-3  # [m]: what moves further afterwards is pushed


@dataclass(frozen=True)
class Probe:
    """A linear read-out of places from latents, by ridge regression.

    Attributes:
        direction: change of a latent by unit of each place ``[Z, K]``: of all that the probe reads
            as that unit, the one of smallest Mahalanobis length, since latents do not vary
            alike in all directions.
        r2: on the part of the data it was not fitted on, the worst of the ``K``.
    """

    direction: np.ndarray
    r2: float

    @staticmethod
    def fit(latents: np.ndarray, places: np.ndarray, held_out: int) -> Probe:
        """Fit on all but the last ``held_out`` rows of ``[N, Z]`` and ``[N, K]``."""
        fitted, rest = slice(None, -held_out), slice(-held_out, None)
        mean, middle = latents[fitted].mean(0), places[fitted].mean(0)
        z, y = latents[fitted] - mean, places[fitted] - middle
        covariance = z.T @ z / len(z)
        ridge = RIDGE * np.diag(np.diag(covariance))
        weights = np.linalg.solve(covariance + ridge, z.T @ y / len(z))
        error = (latents[rest] - mean) @ weights + middle - places[rest]
        r2 = 1 - (error**2).sum(0) / ((places[rest] - middle) ** 2).sum(0)
        spread = covariance @ weights
        return Probe(spread @ np.linalg.inv(weights.T @ spread), float(r2.min()))


def nearer(
    model: Editable, probe: Probe, scenes: Sequence[Any], rng: np.random.Generator
) -> dict[str, float]:
    """Per cent of scenes whose edited rollout is nearer to the edited truth than the unedited one.

    Near: root mean square over ``Z``, mean over the blocks ahead.

    Args:
        scenes: see ``sim.physics.edits.EditedScene``.

    Returns:
        ``nearer_pct`` of all, ``pushed_pct`` of those whose body is pushed afterwards, and as a
        control that must fail ``random_pct``, of states moved as far in a random direction;
        ``error_left`` is the mean error of the edited rollout as a share of the unedited one's.
    """
    kept = []
    for scene in scenes:
        seen, truth = model.latents(scene.seen), model.latents(scene.truth)
        step = probe.direction @ scene.by
        other = rng.standard_normal(len(step))
        other *= np.linalg.norm(step) / np.linalg.norm(other)
        errors = []
        for change in (0 * step, step, other):
            moved = (seen + change).astype(np.float32)
            gap = model.continued(moved, scene.done, scene.actions) - truth
            errors.append(np.sqrt(np.square(gap).mean(axis=-1)).mean())
        kept.append(errors)
    plain, edited, random = np.array(kept).T
    pushed = np.array([scene.moves > MOVES for scene in scenes])
    found = {
        "nearer_pct": float((edited < plain).mean()),
        "random_pct": float((random < plain).mean()),
    }
    if pushed.any():
        found["pushed_pct"] = float((edited < plain)[pushed].mean())
    percent = {key: round(100 * value, 2) for key, value in found.items()}
    return {**percent, "error_left": round(float(edited.mean() / plain.mean()), 4)}
