"""An agent that does as it is told, with what a controller around it needs."""

from __future__ import annotations

import numpy as np

from export.robot.controller import Limits
from planning.agent.restoring.camera import View
from robot_wm.core.protocols import ModelSpec

DT, BLOCK, SIZE = 0.1, 5, 8
SPEC = ModelSpec("toy", (-1.0,) * 10, (1.0,) * 10, 2, DT, 2, 3, SIZE)
LIMITS = Limits(
    max_change=0.5, noop_action=(0.0, 0.0), max_frame_age_s=0.25, max_plan_time_s=0.2, patience=3
)


class Model:
    spec = SPEC


class Agent:
    """Returns a script of actions; takes as long as told."""

    model = Model()
    view = View()

    def view_of(self, images):
        return self.view

    def __init__(self, action=(1.0, -1.0)):
        self.action, self.seconds, self.time, self.resets, self.calls = action, 0.0, 0.0, 0, 0

    def reset(self, goal, seed):
        self.restart(seed)

    def restart(self, seed):
        self.resets += 1

    def act(self, obs):
        self.calls += 1
        self.time += self.seconds
        if isinstance(self.action, Exception):
            raise self.action
        return np.array(self.action, np.float32)


def image(seed):
    return np.random.default_rng(seed).integers(0, 255, (SIZE, SIZE, 3), np.uint8)
