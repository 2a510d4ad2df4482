"""Key frames of a demonstration, and an agent that passes them on its way."""

from types import SimpleNamespace

import numpy as np
import pytest
from toy_models import StillModel

from planning.agent.mpc import MPCAgent
from planning.evaluation.config import EvaluateConfig
from planning.evaluation.evaluator import evaluate
from planning.evaluation.sample_pairs import PairsConfig
from planning.evaluation.scene_pairs import scene_pair_lists
from planning.optimizers import CEM
from robot_wm.core.errors import ConfigError, InputError
from sim import demonstrations, make
from sim.demonstrations import demonstration, goals_with_demonstration
from sim.errands import errand, sample_ends
from sim.policies.registry import make_policy
from sim.tasks.cube import CUBE, GRASP, OPENING, PINCH, RESTING

SIZE = 16


def watched(monkeypatch, env, state, goal, seed=0):
    """A demonstration, and the poses of which its pictures are."""
    poses = []

    def restored(env, state, factors):
        obs, info = env.reset(options={"state": state, "factors": factors})
        poses.append(info["pose"])
        return obs["image"]

    monkeypatch.setattr(demonstrations, "_restored", restored)
    images = demonstration(env, state, goal, np.random.default_rng(seed))
    return images, np.array(poses)


def test_cube_is_shown_from_above_it_to_where_it_is_put(monkeypatch):
    env = make("cube", SIZE)
    (state, start), (_, goal) = sample_ends(env, 0, np.random.default_rng(1))
    env.reset(options={"state": state})
    before = env.state()
    images, poses = watched(monkeypatch, env, state, goal)
    assert images.shape == (4, SIZE, SIZE, 3)
    assert len({image.tobytes() for image in images}) == 4
    np.testing.assert_array_equal(env.state(), before)
    above, grasped, over, put = poses
    for still in (above, grasped):
        assert np.linalg.norm(still[CUBE] - start[CUBE]) < 0.01
    assert above[PINCH][2] - above[CUBE][2] >= 0.04
    assert np.linalg.norm((above[PINCH] - above[CUBE])[:2]) < 0.03
    assert grasped[OPENING] > 0.4 > above[OPENING]
    assert np.linalg.norm(grasped[PINCH] - grasped[CUBE]) <= 0.02
    assert over[CUBE][2] > RESTING + 0.01
    assert np.linalg.norm((over[CUBE] - goal[CUBE])[:2]) <= 0.02
    assert np.linalg.norm(put[CUBE] - goal[CUBE]) <= 0.02
    assert put[OPENING] < GRASP
    env.close()


def test_brick_is_shown_from_the_hand_at_it_to_where_it_belongs(monkeypatch):
    env = make("jaco_push", SIZE)
    (state, start), (_, goal) = sample_ends(env, 0, np.random.default_rng(0))
    images, (touch, half, done) = watched(monkeypatch, env, state, goal)
    assert images.shape == (3, SIZE, SIZE, 3)
    np.testing.assert_allclose(touch[2:], start[2:], atol=2e-3)
    # The robot began elsewhere: its way to the brick is another one with every seed.
    _, (other, _, _) = watched(monkeypatch, env, state, goal, seed=1)
    assert np.linalg.norm(other[:2] - touch[:2]) > 1e-4
    assert np.linalg.norm(touch[:2] - touch[2:4]) < 0.1
    left = [env.distance(pose, np.append(pose[:2], goal[2:])) for pose in (touch, half, done)]
    assert left[0] > left[1] >= left[2]
    assert left[1] <= left[0] / 2 + 1e-3
    assert np.linalg.norm(done[2:4] - goal[2:4]) < 0.012
    env.close()


def test_what_was_never_touched_shows_its_end_alone():
    for task, still in (("cube", slice(5, 11)), ("jaco_push", slice(2, 5))):
        policy = make_policy(task, "expert")
        start = policy.task.sample_pair(0, np.random.default_rng(0))[0] if task == "cube" else (
            policy.task.sample_pose(np.random.default_rng(0))
        )  # fmt: skip
        policy.reset(np.random.default_rng(0), goal=start)
        away = start.copy()
        away[still] = 0.3
        assert policy.milestones(np.stack([away, away])) == []
        assert policy.milestones(np.stack([start, start])) == [0]


def test_failed_demonstrations_and_tasks_without_are_refused(monkeypatch):
    env = make("jaco_push", SIZE, draw_images=False)
    (state, _), (_, goal) = sample_ends(env, 0, np.random.default_rng(0))
    monkeypatch.setattr(demonstrations, "STEPS", 3)
    with pytest.raises(InputError, match="of 10 starts"):
        demonstration(env, state, goal, np.random.default_rng(0))
    assert not env.draw_images
    other = make("two_room", SIZE, draw_images=False)
    (state, _), (_, goal) = sample_ends(other, 0, np.random.default_rng(0))
    with pytest.raises(ConfigError, match="jaco_push"):
        demonstration(other, state, goal, np.random.default_rng(0))


def test_an_agent_gets_the_pictures_and_nothing_else():
    """Through the evaluator: the demonstration's pictures, then the goal's, then what happens."""
    task, models = "jaco_push", []

    def make_agent(spec):
        models.append(StillModel(spec))
        return MPCAgent(models[0], CEM(candidates=4, iterations=1, elites=2), horizon=2)

    env = make(task, SIZE)

    def draw(number, rng):
        return sample_ends(env, number, rng)

    pairs_config = PairsConfig("official", count=1, offset=0, budget=10, eval_seeds=(0,))
    pairs = scene_pair_lists(pairs_config, env, errand(task), draw)[0]
    pair, seeds = pairs.pairs[0], []

    def goal(env, pair, seed):
        seeds.append(seed)
        return goals_with_demonstration(env, pair, seed, ())

    result = evaluate(
        EvaluateConfig("goals/jaco_push_anywhere@demo", "toy", goal=goal),
        pairs, lambda: make(task, SIZE), make_agent,
    )  # fmt: skip
    assert result.episodes[0].steps == 10
    seen = models[0].seen
    env.reset(options={"state": np.array(pair.goal_state)})
    wanted = goals_with_demonstration(env, pair, seeds[0], ())
    assert len(seen) == len(wanted["via"]) + 1 + 2  # a plan at every fifth of ten steps
    np.testing.assert_array_equal(seen[: len(wanted["via"])], wanted["via"])
    np.testing.assert_array_equal(seen[len(wanted["via"])], wanted["image"])
    start = env.reset(options={"state": np.array(pair.start_state)})[0]["image"]
    np.testing.assert_array_equal(seen[len(wanted["via"]) + 1], start)
    env.close()


def test_only_some_bodies_may_matter_beside_a_demonstration():
    env = make("jaco_push", SIZE)
    (state, _), (goal_state, goal) = sample_ends(env, 0, np.random.default_rng(0))
    env.reset(options={"state": goal_state})
    pair = SimpleNamespace(start_state=state, goal_pose=goal)
    told = goals_with_demonstration(env, pair, 0, ("brick",))
    assert told["image"].shape == (6, SIZE, SIZE, 3)
    assert told["via"].shape == (3, SIZE, SIZE, 3)
    env.close()
