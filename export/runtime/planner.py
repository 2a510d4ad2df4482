"""The whole planner as one graph."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export.runtime.agent import optimizer_of
from export.runtime.bundle_spec import check_graph, read_contract
from export.runtime.ort_session import CPU, open_session, run_session
from export.runtime.world_model import _chance
from robot_wm.core.errors import InputError, WeightsError
from robot_wm.core.protocols import (
    check_image,
)


@dataclass(frozen=True)
class Planned:
    """Output of the whole-planner graph.

    Attributes:
        actions: ``[H, A]`` within bounds.
        cost: of the plan.
        step_costs: ``[H]``.
        latent: of the present image ``[Z]``.
    """

    actions: np.ndarray
    cost: float
    step_costs: np.ndarray
    latent: np.ndarray


class OnnxPlanner:
    """``planner.onnx``: images in, block of actions out, one call per plan.

    Raises:
        WeightsError: see :class:`OnnxWorldModel`. ConfigError: no such provider.
    """

    def __init__(self, folder: Path, provider: str = CPU, threads: int = 0) -> None:
        self.contract, self.manifest = read_contract(folder)
        self.optimizer = optimizer_of(self.contract)
        path = Path(folder) / "planner.onnx"
        self._session = open_session(path, provider, threads)
        check_graph(self.contract, "planner", self._session, path)

    def plan(
        self,
        previous: np.ndarray,
        image: np.ndarray,
        goal: np.ndarray,
        action: np.ndarray,
        mean: np.ndarray,
        rng: np.random.Generator,
    ) -> Planned:
        """One plan.

        Args:
            previous, image, goal: uint8 ``[S, S, 3]``; at the start ``previous`` is ``image``.
            action: ``[A]``, the block between the two images; zeros at the start.
            mean: ``[H, A]``, where the search starts: the last plan shifted, or zeros.
            rng: of all noise.

        Raises:
            InputError: wrong image size or dtype, or numbers that are not finite.
            WeightsError: the graph answers numbers that are not finite.
        """
        c = self.contract
        spec = c.spec
        check_image(np.stack([previous, image, goal]), spec.image_size)
        noise = self.optimizer.draw_noise(rng, spec.horizon, spec.action_dim, block=spec.block)
        choice, proposal_noise = _chance(rng, max(0, c.proposals - c.heads), c)
        named = {
            "previous": previous, "image": image, "goal": goal,
            "action": action.astype(np.float32), "mean": mean.astype(np.float32),
            "noise": noise, "choice": choice, "proposal_noise": proposal_noise,
        }  # fmt: skip
        for name, value in named.items():
            if not np.isfinite(value).all():
                raise InputError(f"NaN or infinity in {name}", "finite numbers", "check the sensor")
        plan, cost, steps, latent = run_session(self._session, named, "planner")
        if not all(np.isfinite(value).all() for value in (plan, cost, steps)):
            raise WeightsError(
                "NaN or infinity in a plan", "finite numbers",
                "do not act on it; export the model again",
            )  # fmt: skip
        return Planned(plan, float(cost), steps, latent)
