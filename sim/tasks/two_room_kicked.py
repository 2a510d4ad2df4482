"""TwoRoom in gusts: at random control steps the disc is blown a fifth of a metre away.

No picture tells when, nor where to. A kick is a pseudo-random function of the joints' exact state,
so that the scene stays stateless: a restored state is kicked as it was the first time, and an
episode is decided by its seed.
"""

from __future__ import annotations

import numpy as np

from sim.tasks.two_room import TwoRoom

CHANCE = 0.1  # of a kick, per control step: in 41 of 100 blocks of five steps
KICK = 2.0  # [m/s], for one control step; in any direction alike
ODD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio


def lots(numbers: np.ndarray) -> np.ndarray:
    """Two numbers in [0, 1) for each row of float64 ``[N, K]``, ``[N, 2]``: a hash of its bits.

    Rows that differ in one bit have nothing to do with one another (SplitMix64's finalizer, Steele
    et al. 2014).
    """
    bits = np.ascontiguousarray(numbers, np.float64).view(np.uint64)
    mixed = np.zeros(len(bits), np.uint64)
    drawn = []
    with np.errstate(over="ignore"):
        for column in bits.T:
            mixed = _finalize(mixed ^ column)
        for _ in range(2):
            mixed = _finalize(mixed)
            drawn.append((mixed >> np.uint64(11)) * 2.0**-53)
    return np.stack(drawn, axis=-1)


def _finalize(x: np.ndarray) -> np.ndarray:
    x = x + ODD
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


class TwoRoomKicked(TwoRoom):
    """See the module's docstring."""

    name = "two_room_kicked"

    def controls(
        self, qpos: np.ndarray, qvel: np.ndarray, actions: np.ndarray, gain: float = 1.0
    ) -> np.ndarray:
        """Velocity commands [m/s], a kick added to the first of a plan where there is one.

        The later ones follow from states that nobody knows yet.
        """
        commands = super().controls(qpos, qvel, actions, gain).copy()
        chance, turn = lots(np.concatenate([qpos, qvel], axis=-1)).T
        angle = 2 * np.pi * turn
        kick = KICK * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        commands[:, 0] += np.where(chance < CHANCE, 1.0, 0.0)[:, None] * kick
        return commands
