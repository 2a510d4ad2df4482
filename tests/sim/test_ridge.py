"""A ball on a ridge: chance that nothing seen before tells, and what is the case in a pose."""

from __future__ import annotations

import numpy as np
import pytest

from sim import TASKS
from sim.physics.ridge import BLOCKS, HOVER, SINK, clips, possible
from sim.tasks.ridge import (
    DROPS,
    DT,
    FLOOR,
    GATE,
    HALF,
    HEIGHT,
    KICK,
    MARKS,
    MASS,
    RADIUS,
    RIDGES,
    TOP,
    VIEW,
    facts,
    joined,
)

SEEN = 3  # frames of a clip that come before the ball is at the ridge


def arrivals(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Joints and speeds where chance decides, of starts as the task draws them.

    Free fall as the scene integrates it: 20 semi-implicit Euler steps a control step.
    """
    rng = np.random.default_rng(0)
    ridge, drop = rng.uniform(*RIDGES, count), rng.uniform(*DROPS, count)
    z, speed = drop.copy(), np.zeros(count)
    while (falling := z - TOP >= GATE).any():
        for _ in range(20):
            speed = np.where(falling, speed - 1.5 * DT / 20, speed)
            z = np.where(falling, z + speed * DT / 20, z)
    marker, zero = rng.uniform(*MARKS, count), np.zeros(count)
    qpos = np.stack([marker, ridge, ridge, z], -1)
    return qpos, np.stack([rng.uniform(-0.4, 0.4, count), zero, zero, speed], -1)


def gusts(qpos: np.ndarray, qvel: np.ndarray, actions: np.ndarray | None = None) -> np.ndarray:
    actions = np.zeros((len(qpos), 2, 1)) if actions is None else actions
    return TASKS["ridge"]().controls(qpos, qvel, actions)[..., 1]


def area(scores: np.ndarray, labels: np.ndarray) -> float:
    ranks = scores.argsort().argsort()
    yes = int(labels.sum())
    return (ranks[labels].sum() - yes * (yes - 1) / 2) / (yes * (len(labels) - yes))


def test_both_sides_are_equally_likely_and_nothing_visible_tells_which() -> None:
    qpos, qvel = arrivals(8000)
    force = gusts(qpos, qvel)
    assert not force[:, 1:].any()  # what comes later nobody knows
    np.testing.assert_allclose(np.abs(force[:, 0]), MASS * KICK / DT)
    right = force[:, 0] > 0
    assert right.mean() == pytest.approx(0.5, abs=0.025)  # 4.5 standard deviations
    # All that frames before it show, with squares and products, told by least squares on one half
    # of the starts and asked on the other: an area has a standard deviation of 0.009 there.
    seen = np.column_stack([qpos[:, [0, 1, 3]], qvel[:, [0, 3]]])
    seen = (seen - seen.mean(0)) / seen.std(0)
    pairs = [seen[:, i] * seen[:, j] for i in range(5) for j in range(i, 5)]
    rows = np.column_stack([seen, *pairs, np.ones(len(seen))])
    weights = np.linalg.lstsq(rows[:4000], right[:4000] - 0.5, rcond=None)[0]
    assert area(rows[4000:] @ weights, right[4000:]) == pytest.approx(0.5, abs=0.04)


def test_chance_decides_once_and_only_at_the_edge() -> None:
    qpos, qvel = arrivals(50)
    above, aside, pushed = qpos.copy(), qpos.copy(), qvel.copy()
    above[:, 3] += 2 * GATE
    aside[:, 2] += 0.01
    pushed[:, 2] = KICK
    for where, speed in ((above, qvel), (aside, qvel), (qpos, pushed)):
        assert not gusts(where, speed).any()
    told = np.random.default_rng(1).uniform(-1, 1, (50, 2, 1))
    assert np.array_equal(gusts(qpos, qvel, told), gusts(qpos, qvel))


def test_a_start_is_above_the_edge_and_chance_decides_after_what_is_seen(blind) -> None:
    env = blind("ridge")
    for seed in range(6):
        pose = env.reset(seed=seed)[1]["pose"]
        assert pose[1] == pose[3]
        poses = [env.step(np.ones(1))[-1]["pose"] for _ in range(8 * 5)]
        offset = np.abs(facts(np.stack(poses)).offset)
        assert offset[: (SEEN - 1) * 5].max() < 1e-9
        assert offset[-1] > HALF


@pytest.fixture(scope="module")
def made():
    return clips(32, 5, 3, seed=0)


def test_a_clip_and_its_other_way_differ_from_the_ridge_on(made) -> None:
    for clip in made:
        assert clip.frames.shape == clip.other.shape == (BLOCKS + 1, 32, 32, 3)
        assert np.array_equal(clip.frames[:SEEN], clip.other[:SEEN])
        assert all((clip.frames[t] != clip.other[t]).any() for t in range(SEEN + 1, BLOCKS + 1))
        columns = np.flatnonzero((clip.frames[-1] != clip.other[-1]).any((0, 2)))
        assert np.ptp(columns) > 2 * HALF / VIEW * 32  # one ball to the left, one to the right


def test_the_ball_lands_and_rests_in_the_picture(made) -> None:
    for clip in made:
        found = clip.facts
        assert not found.landed[: SEEN + 1].any()
        assert found.landed[6:].all()
        assert np.abs(found.height[6:]).max() < 1e-3
        assert np.ptp(found.offset[-2:]) < 1e-4
        assert np.array_equal(clip.frames[-1][8:], clip.frames[-2][8:])  # all but the marker
    later = joined([clip.facts for clip in made], SEEN)
    assert later.right.shape == (3, BLOCKS + 1 - SEEN)
    assert np.array_equal(later.height[1], made[1].facts.height[SEEN:])


def test_a_seed_gives_the_same_clips_and_another_one_others(made) -> None:
    again, other = clips(32, 5, 1, seed=0)[0], clips(32, 5, 1, seed=1)[0]
    for name in ("frames", "other", "actions"):
        assert np.array_equal(getattr(again, name), getattr(made[0], name))
    assert not np.array_equal(other.frames, made[0].frames)


def test_facts_of_poses() -> None:
    slope = np.array([HEIGHT, HALF]) / np.hypot(HALF, HEIGHT)  # away from the ridge, to the right
    on = np.array([HALF / 2, FLOOR + HEIGHT / 2]) + RADIUS * slope
    poses = np.array(
        [
            [0.1, 0.2, FLOOR + RADIUS, 0.3],  # on the floor, to the left
            [0.1, 0.3, TOP, 0.3],  # on the edge
            [0.1, 0.3 + on[0], on[1], 0.3],  # on the slope, to the right
            [0.1, 0.3 + on[0] + 0.01, on[1], 0.3],  # 10 mm beside it
            [0.1, 0.3, TOP + 0.1, 0.3],  # in the air
        ]
    )
    found = facts(poses)
    assert found.landed.tolist() == [True, False, False, False, False]
    assert found.touching.tolist() == [True, True, True, False, False]
    assert found.right.tolist() == [False, False, True, True, False]
    np.testing.assert_allclose(found.height, [0, 0.1, on[1] - FLOOR - RADIUS, on[1] - 0.065, 0.2])
    np.testing.assert_allclose(found.offset[:2], [-0.1, 0.0])


@pytest.mark.parametrize(
    ("height", "landed", "touching", "can"),
    [
        (0.0, True, True, True),
        (HOVER / 2, True, True, True),
        (0.1, True, True, False),  # it hovers at the height of a mean
        (0.0, True, False, False),  # it lies on nothing
        (-2 * SINK, False, True, False),  # through the floor
        (HEIGHT, False, True, True),
        (HEIGHT + 2 * HOVER, False, True, False),  # held by nothing above the edge
        (0.3, False, False, True),
    ],
)
def test_what_can_be(height: float, landed: bool, touching: bool, can: bool) -> None:
    assert possible(np.array([height]), np.array([landed]), np.array([touching])).tolist() == [can]
