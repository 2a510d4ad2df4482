"""When a claim holds: a rule each, from numbers to a verdict. Thresholds stand here alone.

Whoever has no number for a rule gives none: the verdict is then that it is not measured yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from itertools import pairwise

import numpy as np

from planning.evaluation.statistics import student, wilson

SEEDS = 3  # training seeds, where a rule asks for several
SOONER = 1.5  # 1: how many times sooner
GAINED = 0.1  # 1: R² that the other has gained by its training, or the time to it tells nothing
NOISE = 0.5  # 2: of the generative models' loss
TASKS, WON = 4, 2  # 3: tasks, and on how many of them
MOMENTUM, ALIVE = 0.99, 0.3  # 4: of the moving average; S/S0 of features that are not collapsed
AHEAD = 10.0  # 6: points of accuracy on pairs of clips
REAL = 0.7  # 7: of the score in the dream
LEARNT = 20.0  # 7: points above random actions, without which nothing was learnt in it
DROP = 20.0  # 9: points of success
LANDED, CHANCE, VALID = 0.95, 0.05, 0.95  # 11: area under the curve; its distance from one half
NEARER = 80.0  # 12: per cent of pairs

Solved = tuple[int, int]
"""Goals reached, and episodes."""


class Verdict(StrEnum):
    """What rows say of a claim."""

    HOLDS = "holds"
    FAILS = "does not hold"
    OPEN = "not measured yet"


def _of(holds: bool) -> Verdict:
    return Verdict.HOLDS if holds else Verdict.FAILS


def sooner(ratios: Mapping[str, Sequence[float | None]]) -> Verdict:
    """1: in processor time and in samples the mean is large, and its 95 % interval above 1.

    Args:
        ratios: by cost, one a training seed; None where it was never reached.
    """
    if not ratios or min(len(values) for values in ratios.values()) < SEEDS:
        return Verdict.OPEN
    means = []
    for values in ratios.values():
        reached = [value for value in values if value is not None]
        if len(reached) < len(values):
            return Verdict.FAILS
        means.append((float(np.mean(reached)), student(reached).low))
    return _of(all(mean >= SOONER and low > 1 for mean, low in means))


def noise_wasted(ours: float | None, theirs: Sequence[float]) -> Verdict:
    """2: under noise new in every frame ours loses less than half of what generative models lose.

    Args:
        ours, theirs: shares of the success without noise.
    """
    if ours is None or not theirs:
        return Verdict.OPEN
    return _of(ours < NOISE * float(np.mean(theirs)))


def dominated(won: Mapping[str, bool]) -> Verdict:
    """3: ours reaches as much in as little time, and more or sooner, on enough tasks."""
    if sum(won.values()) >= WON:
        return Verdict.HOLDS
    lost = sum(not value for value in won.values())
    return Verdict.FAILS if lost > TASKS - WON else Verdict.OPEN


def alive(plain: Mapping[float, Sequence[float]]) -> Verdict:
    """4: the moving average alone keeps features alive, in every run.

    Args:
        plain: S/S0 of the recipe without repairs by the average's momentum.
    """
    found = plain.get(MOMENTUM, ())
    return _of(min(found) >= ALIVE) if found else Verdict.OPEN


def interior(success: Mapping[int, float]) -> Verdict:
    """5: success is best at a number of codes that is neither the least nor the most tried."""
    if len(success) < 3:
        return Verdict.OPEN
    ordered = [success[codes] for codes in sorted(success)]
    return _of(max(ordered[1:-1]) > max(ordered[0], ordered[-1]))


def ahead(ours: float | None, copying: float | None, generative: Sequence[float]) -> Verdict:
    """6: ours tells more pairs apart than copying the last frame and every generative model."""
    if ours is None or copying is None:
        return Verdict.OPEN
    if ours < max(copying, *generative, 0.0) + AHEAD:
        return Verdict.FAILS
    return Verdict.HOLDS if generative else Verdict.OPEN


def dreamt(scores: Mapping[float, tuple[float, float]], chance: float) -> Verdict:
    """7: at the temperature with the best real score, that is most of the dreamt one.

    Nothing dreamt and nothing reached would meet that, too: so it also lies well above chance.

    Args:
        scores: dreamt and real by temperature [%].
        chance: what random actions reach [%].
    """
    if not scores:
        return Verdict.OPEN
    dream, real = max(scores.values(), key=lambda pair: pair[1])
    return _of(real >= REAL * dream and real >= chance + LEARNT)


def monotone(curves: Sequence[Mapping[int, float]]) -> Verdict:
    """8: the mean over training seeds rises, or falls, with every step of the world model's depth.

    Args:
        curves: what the features still tell of a nuisance by depth, one a training seed.
    """
    depths = set.intersection(*(set(curve) for curve in curves)) if curves else set()
    if len(curves) < SEEDS or len(depths) < 3:
        return Verdict.OPEN
    means = [float(np.mean([curve[depth] for curve in curves])) for depth in sorted(depths)]
    steps = [after - before for before, after in pairwise(means)]
    return _of(all(step > 0 for step in steps) or all(step < 0 for step in steps))


def transferred(drops: Mapping[str, float]) -> Verdict:
    """9: no colour and no light costs more than so many points."""
    return _of(max(drops.values()) <= DROP) if drops else Verdict.OPEN


def uncertain(
    kicked: tuple[Solved, Solved] | None, calm: Sequence[tuple[Solved, Solved]]
) -> Verdict:
    """10: with a latent variable more is reached where chance rules, and no less elsewhere.

    More: its 95 % Wilson interval lies above. Ties: the intervals overlap.

    Args:
        kicked, calm: with and without, in the scene that kicks and in those that do not.
    """
    if kicked is None or not calm:
        return Verdict.OPEN
    gained, plain = (wilson(*solved) for solved in kicked)
    pairs = [(wilson(*ours), wilson(*theirs)) for ours, theirs in calm]
    ties = all(a.low <= b.high and b.low <= a.high for a, b in pairs)
    return _of(gained.low > plain.high and ties)


def absorbed(landed: float | None, side: float | None, valid: float | None) -> Verdict:
    """11: that it has landed is told, on which side is not, and what is imagined is possible.

    Args:
        landed, side: area under the curve of a probe of the predicted state.
        valid: share of predictions whose probed height and contact can be.
    """
    if landed is None or side is None or valid is None:
        return Verdict.OPEN
    return _of(landed >= LANDED and abs(side - 0.5) <= CHANCE and valid >= VALID)


def used(nearer: Mapping[str, float], ours: str) -> Verdict:
    """12: for ours and every rival the edited rollout is the nearer one in most pairs.

    Args:
        nearer: per cent of pairs by model.
    """
    if any(value < NEARER for value in nearer.values()):
        return Verdict.FAILS
    return Verdict.HOLDS if ours in nearer and len(nearer) > 1 else Verdict.OPEN
