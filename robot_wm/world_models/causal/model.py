"""A causal predictor behind the contract: step_costs[n, h] = mean squared distance of ẑ_{t+h}.

No learned goal distance and no learned actor: what is compared with the house world model is what
it predicts, under the planner's blind search.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from robot_wm.core.protocols import (
    History,
    ModelSpec,
    check_actions,
    check_clip,
    check_history,
    seed_of,
)
from robot_wm.world_models.base import ExportParts
from robot_wm.world_models.causal.network import CausalNetwork


@dataclass(frozen=True)
class CausalState:
    """Latents of the previous and the present frame ``[2, Z]`` and the block between ``[1, A]``.

    After a single frame both are equal and the block is zero: nothing moved.

    Attributes:
        seed: of all chance in imagining from here.
    """

    z: Tensor
    action: Tensor
    seed: int


N = TypeVar("N", bound=CausalNetwork)


class LatentModel(ABC, Generic[N]):
    """The contract's ``WorldModel`` over latents of whole frames; ``Surprising``.

    Args:
        network: the trained parts.
        spec: what the planner must know.
        chunk: candidates that are rolled out at a time; 0 rolls all out at once.
    """

    def __init__(self, network: N, spec: ModelSpec, chunk: int = 0) -> None:
        self.network, self.spec, self.chunk = network.eval(), spec, chunk

    @abstractmethod
    def costs(self, state: CausalState, goal: CausalState, actions: np.ndarray) -> Tensor:
        """Costs ``[N, H]`` of a chunk of actions ``[N, H, A]``."""

    @abstractmethod
    def error(self, z: Tensor, actions: Tensor, y: Tensor, seed: int) -> Tensor:
        """How wrong a next latent ``[Z]`` was foreseen.

        Args:
            z, actions: latents ``[1, T, Z]`` and the blocks that leave them ``[1, T, A]``.
            y: what came.
            seed: of all chance; the clip's first frame decides it.
        """

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.array(array, np.float32)).to(self.network.scale.mean.device)

    @torch.inference_mode()
    def _latents(self, frames: np.ndarray) -> Tensor:
        device = self.network.scale.mean.device
        # Frame by frame, so that a frame has the same bytes as a goal and as part of a history.
        each = [torch.from_numpy(np.array(frame[None])).to(device) for frame in frames]
        return torch.cat([self.network.embed(image) for image in each])

    def encode(self, history: History) -> CausalState:
        """State of the last two frames; of a single one (a goal), a state at rest.

        Raises:
            InputError: frames of another size, actions that are not ``[T-1, A]``.
        """
        check_history(history, self.spec)
        z = self._latents(history.frames[-2:])
        known = len(z) > 1
        action = history.actions[-1] if known else np.zeros(self.spec.action_dim)
        return CausalState(
            z if known else z.expand(2, -1), self._tensor(action)[None], seed_of(history)
        )

    @torch.inference_mode()
    def step_costs(self, state: CausalState, goal: CausalState, actions: np.ndarray) -> np.ndarray:
        """Cost of each imagined step, float32 ``[N, H]``; see the contract.

        Raises:
            InputError: see :func:`robot_wm.core.protocols.check_actions`.
        """
        count = max(1, len(actions))
        size = self.chunk or count
        parts = [self.costs(state, goal, actions[i : i + size]) for i in range(0, count, size)]
        found: np.ndarray = torch.cat(parts).cpu().numpy()
        return found

    @torch.inference_mode()
    def surprise(self, frames: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """How wrong each next frame was foreseen (:meth:`error`), float32 ``[T-1]``.

        Every prediction is made from the real frames before, as many as a rollout looks back on.

        Args:
            frames: uint8 ``[T, H, W, 3]``, a model step apart.
            actions: float32 ``[T-1, A]``, the blocks between them.

        Raises:
            InputError: see :func:`robot_wm.core.protocols.check_clip`.
        """
        check_clip(frames, actions, self.spec)
        z, rows = self._latents(frames), self._tensor(actions)
        seed = seed_of(History.of_goal(frames[0]))  # what comes later is not to be known before
        errors = []
        for t in range(len(rows)):
            seen = slice(max(0, t + 1 - self.network.context), t + 1)
            errors.append(self.error(z[None, seen], rows[None, seen], z[t + 1], seed))
        found: np.ndarray = torch.stack(errors).cpu().numpy()
        return found


class CausalModel(LatentModel[CausalNetwork]):
    """A single course for every plan; ``Exportable``, ``Editable``; with frames ``Imagination``.

    Args:
        network, spec, chunk: see :class:`LatentModel`.
        frames: training frames uint8 ``[F, h, w, 3]`` to show what is imagined; or none.
    """

    def __init__(
        self,
        network: CausalNetwork,
        spec: ModelSpec,
        chunk: int = 0,
        frames: np.ndarray | None = None,
    ) -> None:
        super().__init__(network, spec, chunk)
        if frames is not None:
            self._frames, self._places = frames, self._latents(frames)
            self.nearest_frames = self._nearest_frames  # an ability only with something to show

    @torch.inference_mode()
    def imagine(self, state: CausalState, actions: np.ndarray) -> Tensor:
        """Latents ``[N, H, Z]`` of candidate actions ``[N, H, A]``.

        Raises:
            InputError: see :func:`robot_wm.core.protocols.check_actions`.
        """
        check_actions(actions, self.spec)
        rows = self._tensor(actions)
        return self.network.rollout(state.z[:1], state.z[1:], state.action, rows)

    def latents(self, frames: np.ndarray) -> np.ndarray:
        """See :class:`robot_wm.core.protocols.Editable`."""
        return self._latents(frames).cpu().numpy()

    def continued(self, latents: np.ndarray, done: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """See :class:`robot_wm.core.protocols.Editable`."""
        state = CausalState(self._tensor(latents), self._tensor(done)[None], 0)
        return self.imagine(state, actions[None])[0].cpu().numpy()

    def costs(self, state: CausalState, goal: CausalState, actions: np.ndarray) -> Tensor:
        """Mean squared distance to the goal."""
        return self.network.costs(self.imagine(state, actions), goal.z[1:])

    def error(self, z: Tensor, actions: Tensor, y: Tensor, seed: int) -> Tensor:
        """Mean squared error of the latent."""
        return (self.network.predict(z, actions)[0, -1] - y).square().mean()

    @torch.inference_mode()
    def _nearest_frames(self, state: CausalState, actions: np.ndarray) -> np.ndarray:
        """Frames nearest to the imagined latents of a plan ``[H, A]``, uint8 ``[H, h, w, 3]``."""
        imagined = self.imagine(state, np.asarray(actions, np.float32)[None])[0]
        found: np.ndarray = self._frames[
            torch.cdist(imagined, self._places).argmin(1).cpu().numpy()
        ]
        return found

    def export_parts(self) -> ExportParts:
        """See :class:`robot_wm.world_models.base.Exportable`; proposals are blind."""
        return ExportParts(
            encode=Encode(self.network), step_costs=StepCosts(self.network),
            propose=Blind(self.spec), latent=self.network.latent, proposals=1,
            horizon=self.spec.horizon,
        )  # fmt: skip


# What a bundle's graphs are made of; letters as in `robot_wm.world_models.base.ExportParts`.


class Encode(nn.Module):
    """Images uint8 ``[N, S, S, 3]`` to latents ``[N, Z]`` and novelty ``[N]``; each alone.

    Novelty is the latent's mean square over that of training frames.
    """

    def __init__(self, network: CausalNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        z = self.network.embed(images)
        return z, z.square().mean(-1)


class StepCosts(nn.Module):
    """Rollout and comparison: ``actions [N, H, A]`` to costs ``[N, H]``."""

    def __init__(self, network: CausalNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, z_prev: Tensor, z: Tensor, a_prev: Tensor, goal: Tensor, actions: Tensor
    ) -> Tensor:
        """See the class."""
        return self.network.costs(self.network.rollout(z_prev, z, a_prev, actions), goal)


class Blind(nn.Module):
    """In place of a learned actor: staying, and noise over the whole range of actions."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.register_buffer("low", torch.tensor(spec.action_low))
        self.register_buffer("high", torch.tensor(spec.action_high))
        self.horizon = spec.horizon

    def forward(
        self, z_prev: Tensor, z: Tensor, a_prev: Tensor, goal: Tensor, choice: Tensor, noise: Tensor
    ) -> Tensor:
        """See the class."""
        low, high = self.get_buffer("low"), self.get_buffer("high")
        # What it does not use must still be an input of an exported graph.
        unused = 0 * (z_prev.sum() + z.sum() + goal.sum() + choice.sum())
        stay = (0 * a_prev + unused)[None].expand(1, self.horizon, -1)
        plans = torch.cat([stay, (high - low) / 4 * noise])
        return torch.minimum(torch.maximum(plans, low), high)
