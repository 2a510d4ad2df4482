"""Gusts: how often, how far, where to; and nothing of them in the still scene."""

from __future__ import annotations

import numpy as np
import pytest

from sim import TASKS, make
from sim.tasks.two_room_kicked import CHANCE, KICK, lots


def states(count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.uniform(0.3, 2.0, (count, 2)), rng.uniform(-0.5, 0.5, (count, 2))


def test_kicks_come_at_their_rate_and_in_every_direction() -> None:
    qpos, qvel = states(20_000)
    actions = np.random.default_rng(1).uniform(-1, 1, (len(qpos), 3, 2))
    still, kicked = (
        TASKS[name]().controls(qpos, qvel, actions) for name in ("two_room", "two_room_kicked")
    )
    kicks = kicked - still
    assert not kicks[:, 1:].any()  # what comes later nobody knows
    size = np.linalg.norm(kicks[:, 0], axis=-1)
    hit = size > 0
    assert hit.mean() == pytest.approx(CHANCE, abs=0.01)  # five standard deviations
    np.testing.assert_allclose(size[hit], KICK, rtol=1e-12)
    angle = np.arctan2(kicks[hit, 0, 1], kicks[hit, 0, 0])
    counts, _ = np.histogram(angle, bins=8, range=(-np.pi, np.pi))
    assert np.abs(counts / hit.sum() - 1 / 8).max() < 0.04
    assert np.array_equal(kicked[~hit], still[~hit])


def test_lots_hang_on_every_bit() -> None:
    qpos, _ = states(2000)
    near = np.nextafter(qpos, 9.0)
    drawn, other = lots(qpos), lots(near)
    assert ((drawn >= 0) & (drawn < 1)).all()
    assert np.array_equal(drawn, lots(qpos))
    for first, second in ((drawn, other), (drawn[:, :1], drawn[:, 1:])):
        assert abs(np.corrcoef(first[:, 0], second[:, 0])[0, 1]) < 0.1


def test_a_kick_moves_the_disc_as_far_as_it_says() -> None:
    env = make("two_room_kicked", 16, draw_images=False)
    moves = []
    for seed in range(300):
        start = env.reset(seed=seed)[1]["pose"]
        chance = lots(np.concatenate([env.data.qpos, env.data.qvel])[None])[0, 0]
        end = env.step(np.zeros(2))[-1]["pose"]
        moves.append((chance < CHANCE, float(np.linalg.norm(end - start))))
    env.close()
    kicked = [move for hit, move in moves if hit]
    assert len(kicked) > 10
    assert max(move for hit, move in moves if not hit) < 1e-9
    # Less a start from rest; walls stop some.
    assert np.median(kicked) == pytest.approx(0.1 * KICK, rel=0.15)
