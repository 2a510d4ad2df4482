"""Scripted behaviours of reacher."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from sim.policies.base import Policy


class ReacherExpert(Policy):
    """Computed PD control to the goal joints."""

    GAIN: ClassVar[float] = 2.5
    RATE: ClassVar[float] = 0.15

    def action(self, pose: np.ndarray) -> np.ndarray:
        """Torque fractions; the goal is redrawn once reached at low speed."""
        assert self.goal is not None
        error = self.goal[:2] - pose[:2]
        if np.abs(error).max() < 0.05 and np.abs(pose[2:]).max() < 0.5 and not self._keep:
            self.goal = self._draw_goal()
        return np.clip(self.GAIN * error - self.RATE * pose[2:], -1, 1)
