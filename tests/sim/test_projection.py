"""What reports draw is where the renderer draws it, and their limits are those of predicates."""

import numpy as np
import pytest

from sim import TASKS, make
from sim.tasks.abilities import Calibrated

# of the robot's own landmark
COLOURS = {"push_t": (65, 105, 225), "two_room": (255, 0, 0)}
SIZE = 256


@pytest.mark.parametrize(
    "factors", [{}, {"camera_yaw": 7.0, "camera_shift_x": 0.05, "camera_shift_y": -0.03}]
)
@pytest.mark.parametrize("task", ["push_t", "two_room"])
def test_the_robot_is_seen_where_it_is_projected(task, factors):
    env = make(task, SIZE)
    try:
        for seed in range(3):
            obs, info = env.reset(seed=seed, options={"factors": factors})
            seen = np.abs(obs["image"].astype(int) - COLOURS[task]).sum(-1) < 30
            rows, columns = np.nonzero(seen)
            center = np.array([columns.mean() + 0.5, rows.mean() + 0.5]) / SIZE
            _, found = next(iter(env.foresee(info["state"], np.zeros((1, 0, 2))).items()))
            np.testing.assert_allclose(found[0, 0], center, atol=1.0 / SIZE)
    finally:
        env.close()


def test_perspective_is_projected_as_the_renderer_does():
    env = make("reacher", SIZE)
    white_arm = {"canvas_color": (0.0, 0.0, 0.0), "agent_color": (1.0, 1.0, 1.0)}
    try:
        for seed in range(4):
            env.reset(seed=seed, options={"factors": white_arm})
            env.task.set_pose(
                env.data, np.array([0.8 * seed, 0.5, 0, 0])
            )  # the arm nearly straight
            image = env.render().sum(-1)
            tip = env.foresee(env.state(), np.zeros((1, 0, 2)))["fingertip"][0, 0] - 0.5
            beyond = tip / np.linalg.norm(tip) * 0.03  # its radius is 0.016 of the picture
            for place, lit in ((tip, True), (tip + beyond, False)):
                column, row = ((place + 0.5) * SIZE).astype(int)
                assert (image[row, column] > 200) == lit
    finally:
        env.close()


@pytest.mark.parametrize("task", TASKS)
def test_paths_are_those_of_the_scene_itself(task, blind):
    env, rng = blind(task), np.random.default_rng(0)
    _, info = env.reset(seed=4, options={})
    plans = rng.uniform(-1, 1, (2, 6, env.spec.control_dim))
    poses = [info["pose"], *(env.step(action)[-1]["pose"] for action in plans[1])]
    end = env.state()
    found = env.foresee(info["state"], plans)
    assert np.array_equal(env.state(), end)  # the last plan ends where the scene did
    for name, place in env.task.landmarks(np.array(poses)).items():
        assert found[name].shape == (2, 7, 2)
        if env.data.camera(env.task.camera).xmat[8] < 1 - 1e-9:
            continue
        # Two landmarks of a picture are as far apart as in the world, seen from above.
        gaps = np.linalg.norm(np.diff(place[:, :2], axis=0), axis=1)
        moved = np.linalg.norm(np.diff(found[name][1], axis=0), axis=1)
        np.testing.assert_allclose(moved * env.task.view, gaps, rtol=0.02, atol=1e-9)


@pytest.mark.parametrize("task", TASKS)
def test_a_predicate_holds_only_below_its_limits(task):
    made, rng = TASKS[task](), np.random.default_rng(1)
    size = len(made.pose_entries)
    assert set(made.criteria) == set(made.predicates) or not isinstance(made, Calibrated)
    for family, predicate in made.predicates.items():
        if (criteria := made.criteria.get(family)) is None:
            continue
        held = 0
        for scale in (0.003, 0.01, 0.05, 0.3):
            goal = rng.uniform(0.2, 1.0, size)
            for poses in goal + scale * rng.normal(size=(50, 4, size)):
                below = [c.error(poses[1:], goal) < c.limit for c in criteria]
                hits, all_below = predicate(poses, goal), np.logical_and.reduce(below)
                assert not (hits & ~all_below).any()
                if family == "official":
                    assert np.array_equal(hits, all_below)
                held += all_below.sum()
        assert 0 < held < 800, family  # both sides of the limits were drawn
