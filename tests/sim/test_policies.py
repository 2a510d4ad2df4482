import numpy as np
import pytest

from robot_wm.core.errors import ConfigError
from sim import TASKS
from sim.policies.registry import make_policy, policies
from sim.tasks.push_t import REACH
from sim.tasks.two_room import WALL_X

PAIRS = [(task, name) for task in sorted(TASKS) for name in sorted(policies(task))]


def run(env, policy, steps, seed, goal=None):
    """Poses ``[steps+1, K]`` and actions ``[steps, 2]`` of one episode."""
    _, info = env.reset(seed=seed)
    policy.reset(np.random.default_rng(seed), goal=goal, factors=info["factors"])
    poses, actions = [info["pose"]], []
    for _ in range(steps):
        actions.append(policy.act(info["pose"]))
        info = env.step(actions[-1])[-1]
        poses.append(info["pose"])
    return np.array(poses), np.array(actions)


@pytest.mark.parametrize(("task", "name"), PAIRS)
def test_actions_are_bounded_and_reproducible(task, name, blind):
    env = blind(task)
    _, first = run(env, make_policy(task, name, 0.5), 40, seed=1)
    _, again = run(env, make_policy(task, name, 0.5), 40, seed=1)
    _, other = run(env, make_policy(task, name, 0.5), 40, seed=2)
    assert first.dtype == np.float32
    assert np.abs(first).max() <= 1
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.std() > 0.1


@pytest.mark.parametrize(("task", "steps", "needed"), [("two_room", 80, 10), ("reacher", 60, 10)])
def test_expert_reaches_every_goal(task, steps, needed, blind):
    env, solved = blind(task), 0
    for seed in range(10):
        goal = env.reset(seed=100 + seed)[1]["pose"]
        poses, _ = run(env, make_policy(task, "expert"), steps, seed, goal)
        solved += env.success("official", poses, goal).any()
    assert solved >= needed


def test_push_t_expert_brings_the_block_home(blind):
    env, solved, left = blind("push_t"), [], []
    for seed in range(10):
        goal = env.reset(seed=100 + seed)[1]["pose"]
        poses, _ = run(env, make_policy("push_t", "expert"), 150, seed, goal)
        solved.append(env.success("strict", poses, goal).any())
        error = np.linalg.norm(poses[:, 2:4] - goal[2:4], axis=1)
        left.append(error.min() / error[0])
    assert np.mean(solved) >= 0.3
    assert np.median(left) < 0.2  # most of the way, even where it gets stuck


def test_expert_draws_a_new_goal_when_one_is_reached(blind):
    for task in ("two_room", "reacher"):
        policy = make_policy(task, "expert")
        goals = []
        env = blind(task)
        _, info = env.reset(seed=0)
        policy.reset(np.random.default_rng(0))
        for _ in range(150):
            info = env.step(policy.act(info["pose"]))[-1]
            goals.append(tuple(policy.goal))
        assert len(set(goals)) >= 2
        kept = np.array(goals[0])
        run(env, policy, 60, 0, goal=kept)
        assert np.array_equal(policy.goal, kept)  # a goal that was given stays


def test_two_room_expert_uses_the_door_wherever_it_is(blind):
    env = blind("two_room")
    expert = make_policy("two_room", "expert")
    for door in (1.44, 1.84, 0.84):
        _, info = env.reset(seed=3, options={"factors": {"door_y": door}})
        side = np.sign(info["pose"][0] - WALL_X)
        goal = np.array([WALL_X - side * 0.6, 1.1])
        expert.reset(np.random.default_rng(0), goal=goal, factors=info["factors"])
        for _ in range(80):
            info = env.step(expert.act(info["pose"]))[-1]
        assert np.linalg.norm(info["pose"] - goal) < 0.03


def test_noise_has_the_standard_deviation_asked_for(blind):
    policy = make_policy("two_room", "expert", noise=0.2)
    policy.reset(np.random.default_rng(0), goal=np.array([0.6, 0.6]))
    actions = [policy.act(np.array([0.6, 0.6])) for _ in range(2000)]  # no need to move
    assert np.std(actions) == pytest.approx(0.2, rel=0.05)
    assert np.abs(np.mean(actions)) < 0.02


def test_noisy_repeats_one_action_in_twenty():
    policy = make_policy("two_room", "noisy", noise=1.0)
    policy.reset(np.random.default_rng(0))
    actions = np.array([policy.act(np.array([0.6, 0.6])) for _ in range(4000)])
    inside = (np.abs(actions[1:]) < 1).any(axis=1)  # clipped actions repeat anyway
    repeats = (actions[1:] == actions[:-1]).all(axis=1)[inside]
    assert repeats.mean() == pytest.approx(0.05, abs=0.012)


def test_random_is_uniform():
    policy = make_policy("reacher", "random")
    policy.reset(np.random.default_rng(0))
    actions = np.array([policy.act(np.zeros(4)) for _ in range(4000)])
    assert np.quantile(actions, [0.1, 0.5, 0.9]) == pytest.approx([-0.8, 0, 0.8], abs=0.04)
    assert abs(np.corrcoef(actions.T)[0, 1]) < 0.05
    assert abs(np.corrcoef(actions[1:, 0], actions[:-1, 0])[0, 1]) < 0.05


def test_the_order_of_draws_is_that_of_the_data_on_file():
    policy = make_policy("reacher", "random", noise=0.3)
    policy.reset(np.random.default_rng(5), goal=np.zeros(4))
    by_hand = np.random.default_rng(5)
    for _ in range(3):
        wanted = by_hand.uniform(-1, 1, 2) + 0.3 * by_hand.standard_normal(2)
        wanted = np.clip(wanted, -1, 1).astype(np.float32)
        assert np.array_equal(policy.act(np.zeros(4)), wanted)


def test_weak_stays_around_the_block():
    policy = make_policy("push_t", "weak")
    policy.reset(np.random.default_rng(0))
    rng = np.random.default_rng(1)
    for _ in range(300):
        pose = np.array([*rng.uniform(0.1, 0.4, 4), 0, 0, 0])
        target = pose[:2] + REACH * policy.act(pose)
        start_inside = np.abs(pose[:2] - pose[2:4]) <= REACH
        # Inside the square it stays; outside, it heads back as fast as it may.
        assert (np.abs(target - pose[2:4])[start_inside] <= REACH + 1e-6).all()
        back = np.sign(pose[2:4] - pose[:2]) * (target - pose[:2])
        assert (back[~start_inside] >= -1e-6).all()


def test_unknown_behaviours_are_named():
    for task, name, told in (
        ("push_t", "noisy", "noisy"), ("nowhere", "expert", "nowhere"), ("reacher", "weak", "weak"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=told):
            make_policy(task, name)
