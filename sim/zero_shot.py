"""Held-out levels of a scene's factors, and the starts and goals that survive them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import mujoco
import numpy as np

from robot_wm.core.config import unknown
from robot_wm.core.errors import ConfigError
from sim.env import STATE
from sim.projection import project
from sim.randomization import Factor, Kind, levels
from sim.tasks import TASKS

DEEPER = 0.001  # than in the unvaried scene, as contacts may be under a level [m]
TRIES = 200  # joint draws until start and goal of a pair are valid
# Several factors at once: what kinds they are of.
JOINT: dict[str, tuple[Kind, ...]] = {"all": ("look",), "all_dyn": ("look", "motion")}


def chosen(factors: Mapping[str, Factor], only: Sequence[str]) -> list[str]:
    """Rows to run: ``factor:level``, ``all`` and ``all_dyn``.

    Args:
        only: factors, levels, ``all`` or ``all_dyn``; nothing means everything.

    Raises:
        ConfigError: a name that is none of these.
    """
    by_factor = {n: [f"{n}:{level}" for level in levels(f)] for n, f in factors.items()}
    every = [*(row for rows in by_factor.values() for row in rows), *JOINT]
    wanted = set[str]()
    for name in only:
        factor = name.partition(":")[0]
        if name not in by_factor and name not in every:
            raise unknown("level in zs.only:", name, by_factor.get(factor, [*by_factor, *JOINT]))
        wanted |= {*by_factor.get(name, [name])}
    return [row for row in every if row in wanted or not only]


class ZeroShot:
    """The levels of one task.

    Args:
        task: a name in :data:`sim.tasks.TASKS`.

    Attributes:
        levels: held-out levels, by factor and name.
    """

    def __init__(self, task: str) -> None:
        self._task = TASKS[task]()
        self._factors = self._task.factors
        self.levels = {name: levels(factor) for name, factor in self._factors.items()}
        self._nominal = self._task.compile({})
        # What is neither touched nor seen spoils no state; what is touched spoils most, so first.
        self._others = [
            self._task.compile({name: value})
            for kind in ("shape", "size", "look")
            for name, factor in self._factors.items()
            if factor.kind == kind
            for value in factor.held_out
        ]

    def valid(self, state: np.ndarray) -> bool:
        """Whether a full physics state ``[S]`` of the unvaried scene may be a start or a goal.

        Under every level of every factor nothing overlaps more than it does there, and what moves
        is in the picture.
        """
        return self._survives([state], self._others)

    def chosen(self, only: Sequence[str]) -> list[str]:
        """See :func:`chosen`."""
        return chosen(self._factors, only)

    def jointly(self, states: Sequence[np.ndarray], seed: int, name: str) -> dict[str, Any]:
        """A level of several factors each, drawn anew until all ``states`` are valid.

        Args:
            states: full physics states ``[S]`` of a pair.
            name: one of :data:`JOINT`.

        Raises:
            ConfigError: no draw suits them.
        """
        rng = np.random.default_rng(seed)
        for _ in range(TRIES):
            # Of all factors, so that several joint rows share the levels of those they share.
            drawn = {
                n: f.held_out[int(rng.integers(len(f.held_out)))] for n, f in self._factors.items()
            }
            drawn = {n: v for n, v in drawn.items() if self._factors[n].kind in JOINT[name]}
            if self._survives(states, [self._task.compile(drawn)]):
                return drawn
        raise ConfigError(
            f"no valid joint levels of {self._task.name} in {TRIES} draws", "milder levels",
            "correct the held-out levels",
        )  # fmt: skip

    def names(self, values: Mapping[str, Any]) -> dict[str, str]:
        """Values of factors as rows spell them."""
        return {name: self._factors[name].name(value) for name, value in values.items()}

    def _survives(self, states: Sequence[np.ndarray], models: Sequence[mujoco.MjModel]) -> bool:
        for state in states:
            allowed = min(self._seen(state, self._nominal)[0], 0.0) - DEEPER
            for model in models:
                deepest, places = self._seen(state, model)
                if deepest < allowed or not ((places >= 0) & (places <= 1)).all():
                    return False
        return True

    def _seen(self, state: np.ndarray, model: mujoco.MjModel) -> tuple[float, np.ndarray]:
        """Smallest contact distance [m] and places in the picture ``[L, 2]``."""
        data = mujoco.MjData(model)
        mujoco.mj_setState(model, data, np.asarray(state, np.float64), STATE)
        mujoco.mj_forward(model, data)
        points = self._task.landmarks(self._task.pose(data.qpos, data.qvel))
        places = [project(model, data, self._task.camera, p) for p in points.values()]
        deepest = float(data.contact.dist.min()) if data.ncon else np.inf
        return deepest, np.reshape(places, (-1, 2))
