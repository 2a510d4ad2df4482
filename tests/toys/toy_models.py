"""A toy world that can be read off its pixels, models that know it, and a loop to drive agents."""

from __future__ import annotations

import numpy as np

from planning.agent.mpc import MPCAgent
from planning.optimizers import CEM
from robot_wm.core.protocols import EnvSpec, History, ModelSpec

SIZE, BLOCK, SPEED = 8, 5, 0.02
SPEC = ModelSpec(
    task="toy",
    action_low=(-1.0,) * 10,
    action_high=(1.0,) * 10,
    control_dim=2,
    control_dt=0.1,
    context=3,
    horizon=5,
    image_size=SIZE,
)


def observe(position) -> dict[str, np.ndarray]:
    """A frame whose red and green are the position in [-1, 1]; blue is dark."""
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    image[..., :2] = np.round((np.asarray(position) + 1) * 127.5)
    return {"image": image, "proprio": np.asarray(position, np.float32)}


class ToyModel:
    """Knows the toy world exactly: each control step moves by SPEED times the action."""

    def __init__(self, spec: ModelSpec = SPEC) -> None:
        self.spec = spec
        self.histories: list[History] = []
        self.batches: list[int] = []

    def encode(self, history):
        self.histories.append(history)
        return history.frames[-1, 0, 0, :2] / np.float32(127.5) - 1

    def step_costs(self, state, goal, actions):
        self.batches.append(len(actions))
        assert actions.dtype == np.float32
        assert (np.abs(actions) <= 1).all()
        moves = actions.reshape(*actions.shape[:2], BLOCK, 2).sum(axis=2) * np.float32(SPEED)
        error = state + np.cumsum(moves, axis=1) - goal
        return (error**2).sum(-1).astype(np.float32)


class ProposingModel(ToyModel):
    """Its actor proposes to go straight to the goal, roughly."""

    def propose(self, state, goal, n, rng):
        straight = np.clip((goal - state) / (SPEED * BLOCK * 4), -1, 1)
        plans = np.tile(straight, (n, 4, BLOCK)) + 0.05 * rng.normal(size=(n, 4, 10))
        return np.clip(plans, -1, 1).astype(np.float32)


class StillModel:
    """Of any scene: a state is a picture, and nothing moves; keeps the pictures it was shown."""

    def __init__(self, env_spec: EnvSpec) -> None:
        size = env_spec.control_dim
        self.spec = ModelSpec(
            task=env_spec.task, action_low=(-1.0,) * BLOCK * size,
            action_high=(1.0,) * BLOCK * size, control_dim=size, control_dt=env_spec.control_dt,
            context=1, horizon=2, image_size=env_spec.image_size,
        )  # fmt: skip
        self.seen: list[np.ndarray] = []

    def encode(self, history):
        self.seen.append(history.frames[-1])
        return history.frames[-1].astype(np.float32) / 255

    def step_costs(self, state, goal, actions):
        cost = np.square(state - goal).mean() + 1e-3 * np.square(actions).mean(-1)
        return cost.astype(np.float32)


def drive(agent, steps, seed=0, start=(-0.5, 0.4), goal=(0.3, -0.2)):
    """Closed loop; returns positions [steps+1, 2] and control actions [steps, 2]."""
    agent.reset(observe(goal), seed)
    positions, actions = [np.asarray(start, float)], []
    for _ in range(steps):
        actions.append(agent.act(observe(positions[-1])))
        positions.append(positions[-1] + SPEED * actions[-1])
    return np.array(positions), np.array(actions)


def agent_of(model, **options):
    options = {"optimizer": CEM(candidates=64, iterations=4, elites=8), "horizon": 4} | options
    return MPCAgent(model, **options)
