import copy
from functools import partial

import numpy as np
import pytest

from planning.agent.mpc import MPCAgent
from planning.optimizers.cem import CEM
from robot_wm.core.errors import ConfigError, InputError
from robot_wm.core.protocols import History, WorldModel
from sim import TASKS, make
from sim.oracle.agents import (
    ExpertAgent,
    PrivilegedEnv,
    PrivilegedObservation,
    expert_agent,
    oracle_agent,
)
from sim.oracle.simulator import BLOCK, TrueSimulator

every_task = pytest.mark.parametrize("task", sorted(TASKS))
# By iteration: contacts, friction of joints, the closed chains of the gripper.
SOLVED = ("push_t", "cube", "jaco_push", "jaco_reach", "ridge")
FACTORS = {"push_t": {"mass": 2.0}, "two_room": {"door_y": 0.84}, "reacher": {"friction": 2.0}}


with_expert = pytest.mark.parametrize(
    "task", [task for task in sorted(TASKS) if "expert" in TASKS[task].policies]
)


def history(state):
    image = np.zeros((1, 64, 64, 3), np.uint8)
    return History(image, np.asarray(state)[None], np.zeros((0, 1), np.float32))


# A plan's later gusts follow from states that no rollout knows beforehand.
@pytest.mark.parametrize("task", [t for t in sorted(TASKS) if t != "two_room_kicked"])
@pytest.mark.parametrize("threads", [0, 2])
def test_one_rollout_equals_stepping_the_scene(task, threads, blind):
    env, rng = blind(task), np.random.default_rng(0)
    factors = {**FACTORS.get(task, {}), **({"gain": 1.3} if "gain" in env.task.factors else {})}
    size = env.spec.control_dim
    env.reset(seed=1, options={"factors": factors})
    for action in rng.uniform(-1, 1, (5, size)):
        state = env.step(action)[-1]["state"]
    if task == "push_t":  # while touching the block
        env.data.qpos[3:5] = env.data.qpos[:2] + np.array([0.0, 0.06])
        state = env.step(np.zeros(size))[-1]["state"]
    actions = rng.uniform(-1, 1, (3, 4 * BLOCK, size)).astype(np.float32)
    poses = {"warm": [], "cold": []}
    for start in poses:
        for row in actions:
            env.reset(options={"state": state, "factors": factors})
            poses[start].append([])
            for action in row:
                poses[start][-1].append(env.step(action)[-1]["pose"])
                if start == "cold":  # as after a restore from joints and speeds alone
                    env.data.qacc_warmstart[:] = 0
    model = TrueSimulator(task, factors=factors, threads=threads)
    assert isinstance(model, WorldModel)
    found = model.rollout(state, actions)
    assert np.abs(found - poses["cold"]).max() < 1e-9
    assert np.abs(found - poses["warm"]).max() < (1e-3 if task in SOLVED else 1e-9)
    goal = env.reset(seed=2)[1]
    costs = model.step_costs(
        model.encode(history(state)), model.encode(history(goal["state"])),
        actions.reshape(3, 4, -1),
    )  # fmt: skip
    wanted = env.distance(np.array(poses["cold"])[:, BLOCK - 1 :: BLOCK], goal["pose"])
    assert costs.dtype == np.float32
    assert costs.shape == (3, 4)
    assert np.abs(costs - wanted).max() < 1e-6


@every_task
def test_costs_are_pure_and_rows_independent(task, blind):
    model, rng = TrueSimulator(task), np.random.default_rng(0)
    state, goal = (blind(task).reset(seed=s)[1]["state"] for s in (1, 2))
    actions = rng.uniform(-1, 1, (4, 2, model.spec.action_dim)).astype(np.float32)
    costs = model.step_costs(state, goal, actions)
    assert np.array_equal(model.step_costs(state, goal, actions), costs)
    assert np.array_equal(model.step_costs(state, goal, actions[2:3])[0], costs[2])
    assert np.ptp(costs[:, -1]) > 1e-4


def test_factors_change_what_is_imagined(blind):
    state = blind("two_room").reset(seed=0)[1]["state"]
    model, actions = TrueSimulator("two_room"), np.full((1, 5, 2), 0.2)
    slow = model.rollout(state, actions)
    model.set_factors({"gain": 1.3})
    start = model.pose(state)
    assert np.allclose((model.rollout(state, actions) - start) / (slow - start), 1.3, rtol=1e-3)


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match="push_t"):
        TrueSimulator("cubes")
    with pytest.raises(ConfigError, match="colour"):
        TrueSimulator("push_t", factors={"colour": 1})
    model = TrueSimulator("push_t")
    with pytest.raises(InputError, match="Privileged"):
        model.encode(history(np.zeros(4, np.float32)))
    with pytest.raises(InputError, match=r"1\.5"):
        model.step_costs(np.zeros(47), np.zeros(47), np.full((1, 2, 10), 1.5, np.float32))


@every_task
def test_privileged_scene_shows_the_state_and_nothing_else_changes(task, blind):
    env = PrivilegedEnv(make(task, 16, draw_images=False))
    obs, info = env.reset(seed=3)
    assert obs["proprio"].dtype == np.float64
    assert env.spec.proprio_dim == len(info["state"])
    assert env.spec.task == task == env.task.name
    plain_obs, plain = blind(task).reset(seed=3)
    assert np.array_equal(info["state"], plain["state"])
    assert plain_obs["proprio"].shape == (blind(task).spec.proprio_dim,)
    obs, *_, info = env.step(np.resize([0.3, 0.4], env.spec.control_dim))
    assert np.array_equal(obs["proprio"], info["state"])
    assert copy.copy(env).spec == env.spec


def watched(env, agent, start, goal, steps):
    """Poses of an episode driven as the evaluator drives privileged agents."""
    goal_obs, goal_info = env.reset(options={"state": goal})
    obs, info = env.reset(options={"state": start})
    agent.watch(info, goal_info)
    agent.reset({**goal_obs, "proprio": np.zeros(0, np.float32)}, seed=0)
    poses = [info["pose"]]
    for _ in range(steps):
        agent.watch(info, goal_info)
        obs, *_, info = env.step(agent.act(obs))
        poses.append(info["pose"])
    return np.array(poses), goal_info["pose"]


@with_expert
def test_experts_are_the_same_through_scene_and_through_watching(task):
    env = PrivilegedEnv(make(task, 16, draw_images=False))
    start, goal = (env.reset(seed=s)[1]["state"] for s in (4, 5))
    poses, _ = watched(env.env, expert_agent(env.env.spec), start, goal, 12)
    expert = ExpertAgent(task)
    goal_obs, _ = env.reset(options={"state": goal})
    obs, info = env.reset(options={"state": start})
    expert.reset(goal_obs, seed=0)
    for wanted in poses[1:]:
        obs, *_, info = env.step(expert.act(obs))
        assert np.array_equal(info["pose"], wanted)
    with pytest.raises(ConfigError):
        ExpertAgent(task, "clever")


@with_expert
def test_first_proposal_is_the_expert(task, blind):
    env, model = blind(task), TrueSimulator(task, horizon=2)
    start, goal = (env.reset(seed=s)[1] for s in (6, 7))
    plans = model.propose(start["state"], goal["state"], 3, np.random.default_rng(0))
    again = model.propose(start["state"], goal["state"], 3, np.random.default_rng(0))
    assert plans.shape == (3, 2, env.spec.control_dim * BLOCK)
    assert np.abs(plans).max() <= 1
    assert np.array_equal(plans, again)
    assert not np.array_equal(plans[0], plans[2])
    if task != "push_t":  # whose expert breaks ties by chance
        expert = expert_agent(env.spec)
        poses, _ = watched(env, expert, start["state"], goal["state"], 2 * BLOCK)
        rolled = model.rollout(start["state"], plans[:1].reshape(1, -1, env.spec.control_dim))[0]
        assert np.abs(rolled - poses[1:]).max() < (1e-3 if task in SOLVED else 1e-6)


def recorded_pairs(env, policy, count):
    """Start and goal states 25 steps apart on recorded motion, not solved standing still."""
    from sim.collection.collect import CollectConfig, Mix, record

    config = CollectConfig(env.spec.task, "x", 1, 60, (Mix(policy, 1.0, (0.1,)),), image_size=16)
    episode, pairs = 0, []
    while len(pairs) < count:
        episode += 1
        made = record(env, config, episode)
        env.draw_images = False
        t = 5 * (episode % 7)
        still = np.stack([made.poses[t]] * 4)
        if not env.success("official", still, made.poses[t + 25]).any() and env.task.eligible(
            made.poses[t : t + 26], "strict"
        ):
            pairs.append((made.states[t], made.states[t + 25]))
    return pairs


def solved(task, policy, count, planner, blind):
    env = blind(task)
    hits = 0
    for start, goal in recorded_pairs(env, policy, count):
        poses, pose = watched(env, oracle_agent(env.spec, planner), start, goal, 50)
        hits += env.success("official", poses, pose).any()
    return hits


def test_planner_on_the_true_simulator_solves_reacher(blind):
    planner = partial(MPCAgent, optimizer=CEM(candidates=64, iterations=4, elites=10), execute=5)
    assert solved("reacher", "random", 4, planner, blind) == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "policy", "proposals"), [("two_room", "expert", 0), ("push_t", "expert", 24)]
)
def test_planner_on_the_true_simulator_solves(task, policy, proposals, blind):
    from planning.agent.costs import Objective, SumCost
    from planning.optimizers.icem import ICEM

    planner = partial(
        MPCAgent, optimizer=ICEM(candidates=64, iterations=4, elites=8),
        objective=Objective(SumCost()), execute=3, proposals=proposals,
    )  # fmt: skip
    assert solved(task, policy, 6, planner, blind) >= 5


def test_informed_agent_passes_everything_else_on(blind):
    class Silent:
        plan_s = (0.5,)

    assert PrivilegedObservation(Silent()).plan_s == (0.5,)
    with pytest.raises(AttributeError):
        PrivilegedObservation(Silent()).nothing  # noqa: B018
