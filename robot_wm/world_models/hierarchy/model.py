"""Two levels behind the contract: the upper one sets the goal that the lower one is judged by."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from robot_wm.core.protocols import History, ModelSpec
from robot_wm.world_models.hierarchy.network import UpperLevel
from robot_wm.world_models.jepa.model import JepaState, JEPAWorldModel


class HierarchicalModel:
    """:class:`robot_wm.core.protocols.WorldModel` and ``Proposer``; see the module.

    A goal within a stride, by the lower level's own goal distance, is pursued itself. Otherwise
    the upper level draws plans, judges each by the cheapest of its latents, and the first latent of
    the best one is the goal. Its chance is the same in every state, so that costs stay pure.

    Args:
        low: the lower level.
        upper: the upper level, on the same latent.
    """

    def __init__(self, low: JEPAWorldModel, upper: UpperLevel, spec: ModelSpec) -> None:
        self.low, self.upper, self.spec = low, upper.eval(), spec
        c, generator = upper.config, torch.Generator().manual_seed(upper.config.seed)
        self._choice = torch.rand(c.plans, c.ahead, generator=generator)
        self._noise = torch.randn(c.plans, c.ahead, c.macro, generator=generator)
        self._noise[0] = 0  # one plan is what each step holds for likeliest
        self._last: tuple[JepaState, JepaState, JepaState] | None = None

    def encode(self, history: History) -> JepaState:
        """See :meth:`JEPAWorldModel.encode`."""
        return self.low.encode(history)

    def step_costs(self, state: JepaState, goal: JepaState, actions: np.ndarray) -> np.ndarray:
        """Costs float32 ``[N, H]`` of the lower level, of what the upper one wants next.

        Raises:
            InputError: see :func:`robot_wm.core.protocols.check_actions`.
        """
        return self.low.step_costs(state, self.sub_goal(state, goal), actions)

    def propose(
        self, state: JepaState, goal: JepaState, n: int, rng: np.random.Generator
    ) -> np.ndarray:
        """Plans ``[n, H, A]`` of the lower level's actor towards what the upper one wants next."""
        return self.low.propose(state, self.sub_goal(state, goal), n, rng)

    @torch.inference_mode()
    def sub_goal(self, state: JepaState, goal: JepaState) -> JepaState:
        """What the lower level is to reach now; the goal itself where it is near."""
        if self._last is None or self._last[0] is not state or self._last[1] is not goal:
            self._last = state, goal, self._sub_goal(state, goal)
        return self._last[2]

    def _sub_goal(self, state: JepaState, goal: JepaState) -> JepaState:
        z, wanted, network = state.z[1:], goal.z[1:], self.low.network
        to_go = float(torch.expm1(network.distance(z, wanted)))
        if to_go <= self.upper.config.stride:
            return goal
        plans = self.upper.plans(z, wanted, self._choice, self._noise)
        return replace(goal, z=self._best(plans, wanted)[None].expand(2, -1))

    def _best(self, plans: Tensor, wanted: Tensor) -> Tensor:
        costs = self.low.network.costs(plans, wanted, self.low.cost)
        return plans[costs.min(dim=1).values.argmin(), 0]
