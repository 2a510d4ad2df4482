"""Probes in other looks: what an encoder still knows when colours, light and camera differ.

Fitted on held-in states as they were recorded and as they look within training ranges, all factors
at once; scored on held-out states, one factor at a time, within its training range and on each of
its held-out levels. Positions and angles only: looks are constant while things move.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from robot_wm.core.system.progress import progress
from robot_wm.data.formats.base import open_episodes
from robot_wm.encoders.frozen import FrozenEncoder
from robot_wm.probing.features import features
from robot_wm.probing.gate import JUDGED, NOMINAL, TRAINING, origin
from robot_wm.probing.probes import RUN, ProbeConfig, Samples, draw, group_of, score_parts

Picture = Callable[[np.ndarray, Mapping[str, Any]], np.ndarray]
"""Image uint8 ``[H, W, 3]`` of a physics state ``[S]`` under values of factors."""


class Look(Protocol):
    """A factor that changes pictures and nothing else."""

    @property
    def held_out(self) -> tuple[Any, ...]:
        """Levels never learnt from."""
        ...

    def sample(self, rng: np.random.Generator) -> Any:
        """A value of its training range."""
        ...


@dataclass(frozen=True)
class Tested:
    """A test part: which factor (``none``, ``all`` or its name) at which level."""

    look: str
    level: str


def probe_looks(
    config: ProbeConfig,
    dataset: Path,
    encoder: FrozenEncoder,
    looks: Mapping[str, Look],
    picture: Picture,
) -> list[dict[str, Any]]:
    """R² of every position and angle in other looks, for every kind of features, as rows.

    Args:
        config: ``look_frames`` and ``look_test`` say how many.
        dataset: nominal episodes with physics states.
        encoder: the one to judge.
        looks: factors by name.
        picture: draws a state.

    Returns:
        Rows like those of :func:`robot_wm.probing.gate.probe` with ``look``, the factor, and
        ``level``: ``nominal``, ``training`` (a draw for every few frames) or a held-out value.

    Raises:
        DataError: no data, a split without episodes, or features that are not finite.
    """
    store = open_episodes(dataset)
    store.needs("states", work="a probe in other looks")
    base = draw(store, config.look_frames // 2, np.random.default_rng([config.seed, 1]))
    samples, tested = varied(config, base, looks, picture, store.schema.task)
    shared, rows = origin(config, store, encoder), list[dict[str, Any]]()
    kinds = [kind for kind in config.kinds if kind in JUDGED]
    with progress(f"probe looks of {store.schema.task}", len(kinds)) as report:
        for done, kind in enumerate(kinds, start=1):
            tokens = features(kind, samples.frames, encoder, config)
            assert tokens is not None  # only the ImageNet network may be missing
            for name, found in score_parts(config, samples, tokens).items():
                rows += [
                    {
                        **shared, "look": part.look, "level": part.level, "kind": kind,
                        "factor": factor, "group": group_of(factor), "probe": name,
                        "r2": round(float(found[g, c]), 5),
                        "frames": int((samples.part == 0).sum()),
                        "held_out": int((samples.part == g + 2).sum()),
                    }
                    for g, part in enumerate(tested)
                    for c, factor in enumerate(samples.factors)
                ]  # fmt: skip
            report(done, kind)
    return rows


def varied(
    config: ProbeConfig, base: Samples, looks: Mapping[str, Look], picture: Picture, task: str = ""
) -> tuple[Samples, list[Tested]]:
    """Frames to fit and to test on: one part for each test, numbered from 2.

    Args:
        base: recorded frames with their states.
    """
    assert base.states is not None  # the caller asked for them
    rng = np.random.default_rng([config.seed, 2])
    still = [c for c, name in enumerate(base.factors) if group_of(name) != "velocity"]
    here = base.pairs[:, 1]
    tests = np.flatnonzero(base.part == 2)
    tests = np.sort(rng.permutation(tests)[: config.look_test])
    known = np.flatnonzero(base.part < 2)
    single: list[tuple[Tested, dict[str, Look], dict[str, Any]]] = [
        (Tested("all", TRAINING), dict(looks), {})
    ]
    for name, look in looks.items():
        single.append((Tested(name, TRAINING), {name: look}, {}))
        single += [(Tested(name, str(v)), {}, {name: v}) for v in look.held_out]
    seen = base.states[here]
    pieces = [
        (known, base.part[known], base.frames[here[known]]),
        (known, base.part[known], _drawn(seen[known], looks, {}, picture, rng)),
        (tests, np.full(len(tests), 2), base.frames[here[tests]]),
    ]
    with progress(f"draw looks of {task}", len(single)) as report:
        for done, (part, free, fixed) in enumerate(single, start=1):
            frames = _drawn(seen[tests], free, fixed, picture, rng)
            pieces.append((tests, np.full(len(tests), done + 2), frames))
            report(done, part.look)
    rows, parts, frames = (np.concatenate(column) for column in zip(*pieces, strict=True))
    pairs = np.stack([np.arange(len(rows))] * 2, axis=1)
    targets, names = base.targets[rows][:, still], tuple(base.factors[c] for c in still)
    found = Samples(frames, pairs, parts, targets, names)
    return found, [Tested("none", NOMINAL), *(part for part, _, _ in single)]


def _drawn(
    states: np.ndarray,
    free: Mapping[str, Look],
    fixed: Mapping[str, Any],
    picture: Picture,
    rng: np.random.Generator,
) -> np.ndarray:
    """Images of states; free factors are drawn anew for every few of them."""
    frames: list[np.ndarray] = []
    values: Mapping[str, Any] = fixed
    for number, state in enumerate(states):
        if number % RUN == 0:
            values = {**fixed, **{name: look.sample(rng) for name, look in free.items()}}
        frames.append(picture(state, values))
    return np.stack(frames)
