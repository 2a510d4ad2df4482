"""The judged simulator: frames that truly come, judged by the learned model, state by state."""

import numpy as np
import pytest

from robot_wm.core.errors import ConfigError
from robot_wm.core.protocols import History, ModelSpec, WorldModel
from sim import make
from sim.oracle.learned_cost import LearnedCostSimulator

SIZE, BLOCK = 16, 5
SPEC = ModelSpec("two_room", (-1.0,) * 10, (1.0,) * 10, 2, 0.1, 2, 3, SIZE)


class Looker:
    """Costs are distances between images, whatever is done; remembers what it was shown."""

    spec = SPEC

    def __init__(self):
        self.seen = []

    def encode(self, history):
        self.seen.append(history)
        return history.frames[-1].astype(float)

    def step_costs(self, state, goal, actions):
        assert not actions.any()
        return np.full(actions.shape[:2], np.abs(state - goal).mean(), np.float32)


class Proposing(Looker):
    def propose(self, state, goal, n, rng):
        return np.full((n, 3, 10), state.mean() / 255, np.float32)


def shown(env, seed, factors=None):
    obs, info = env.reset(seed=seed, options={"factors": factors or {}})
    return History(obs["image"][None], info["state"][None], np.zeros((0, 10), np.float32)), info


def truth(env, state, factors, plan):
    """Frames and poses after every block of ``plan``, from the scene itself."""
    env.reset(options={"state": state, "factors": factors})
    frames, poses = [], []
    for block in plan:
        for action in block.reshape(-1, 2):
            obs, *_, info = env.step(action)
        frames.append(obs["image"])
        poses.append(info["pose"])
    return frames, np.stack(poses)


@pytest.mark.parametrize("factors", [{}, {"agent_size": 0.8}])
def test_costs_are_of_the_frames_that_truly_come(factors):
    env, model = make("two_room", SIZE), Looker()
    judged = LearnedCostSimulator(model)
    assert isinstance(judged, WorldModel)
    judged.set_factors(factors)
    (start, info), (end, goal_info) = shown(env, 0, factors), shown(env, 1, factors)
    state, goal = judged.encode(start), judged.encode(end)
    plans = np.random.default_rng(0).uniform(-1, 1, (3, 3, 10)).astype(np.float32)
    model.seen.clear()
    costs = judged.step_costs(state, goal, plans)
    assert [len(h.frames) for h in model.seen] == [2] * 9
    for i, plan in enumerate(plans):
        frames, poses = truth(env, info["state"], factors, plan)
        wanted = [np.abs(f.astype(float) - end.frames[0]).mean() for f in frames]
        np.testing.assert_allclose(costs[i], wanted, rtol=1e-6)
        for h, history in enumerate(model.seen[3 * i : 3 * i + 3]):
            before = frames[h - 1] if h else start.frames[0]
            np.testing.assert_array_equal(history.frames, np.stack([before, frames[h]]))
            np.testing.assert_array_equal(history.actions[0], plan[h])
        true = LearnedCostSimulator(model, privileged=True)
        true.set_factors(factors)
        distances = true.step_costs(true.encode(start), true.encode(end), plan[None])[0]
        wanted = env.task.distance(poses, goal_info["pose"])
        np.testing.assert_allclose(distances, wanted, rtol=1e-6)


def test_proposals_are_the_learned_models_own():
    env, rng = make("two_room", SIZE), np.random.default_rng(0)
    history, _ = shown(env, 0)
    judged = LearnedCostSimulator(Proposing())
    state = judged.encode(history)
    plans = judged.propose(state, state, 4, rng)
    np.testing.assert_allclose(plans, np.full((4, 3, 10), history.frames[0].mean() / 255))
    with pytest.raises(ConfigError, match="Looker"):
        LearnedCostSimulator(Looker()).propose(state, state, 4, rng)
