"""The trained parts behind the contract.

Native step cost, in closed form and without a sample: E‖z_{t+h} - z_goal‖² of the predicted
mixture, ``z`` going on at its mean. The goal is compared in the VAE's ``z`` alone: it has one
frame and no memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from robot_wm.core.errors import ConfigError
from robot_wm.core.protocols import History, check_clip, check_history, proposal_chance
from robot_wm.world_models.base import ExportParts
from robot_wm.world_models.pixels.frames import to_canvas
from robot_wm.world_models.pixels.model import PixelModel, Seen
from robot_wm.world_models.world_models_2018.networks import Network, negative_log_likelihood


@dataclass(frozen=True)
class Noticed(Seen):
    """What the model knows now; the memory ``h`` follows from it.

    Attributes:
        z: of the previous and the present frame ``[2, Z]``, equal where there is one frame.
        action: block between them ``[1, A]``; zeros where there is none.
    """

    z: Tensor
    action: Tensor


class WorldModels2018(PixelModel[Network, Noticed]):
    """``WorldModel``, ``Proposer``, ``Exportable``, ``Editable``; it draws what it imagines."""

    @torch.inference_mode()
    def encode(self, history: History) -> Noticed:
        """State of the last two frames.

        Raises:
            InputError: frames of another size, actions that are not ``[T-1, A]``.
        """
        check_history(history, self.spec)
        frames, one = history.frames[-2:], len(history.frames) == 1
        # Frame by frame, so that a frame has the same bytes as a goal and as part of a history.
        z = torch.cat([self.network.vae.encode(image[None])[0] for image in self._images(frames)])
        action = np.zeros(self.spec.action_dim) if one else history.actions[-1]
        return Noticed(frames[-1], z.expand(2, -1), self._tensor(action)[None])

    def imagine(self, state: Noticed, actions: Tensor) -> Tensor:
        """Moments ``[1, N, H, Z+1]``, see :meth:`Network.rollout`."""
        return self.network.rollout(state.z[:1], state.z[1:], state.action, actions)[None]

    def pictures(self, features: Tensor) -> Tensor:
        """What the VAE draws of the mean."""
        return self.network.draw(features[:, :-1])

    def distance(self, features: Tensor, goal: Noticed) -> Tensor:
        """E‖z - z_goal‖²."""
        return expected_distance(features, goal.z[1])

    @torch.inference_mode()
    def propose(
        self, state: Noticed, goal: Noticed, n: int, rng: np.random.Generator
    ) -> np.ndarray:
        """``n`` plans, float32 ``[n, H, A]`` within bounds: the controller's, and it with noise."""
        _, noise = proposal_chance(rng, max(0, n - 1), self.spec)
        given = (state.z[:1], state.z[1:], state.action, goal.z[1:])
        return self.network.plans(*given, self._tensor(noise))[:n].cpu().numpy()

    @torch.inference_mode()
    def surprise(self, frames: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """How unlikely each frame is after the ones before, -log p(z_t | …) [nats].

        Args:
            frames: uint8 ``[T, height, width, 3]``, T >= 2.
            actions: float32 ``[T-1, A]``.

        Returns:
            float32 ``[T-1]``, of all frames but the first.
        """
        check_clip(frames, actions, self.spec)
        z = self.network.vae.encode(self._images(frames))[0]
        mixture = self.network.course(z[None], self._tensor(actions)[None])
        return negative_log_likelihood(mixture, z[None, 1:])[0].cpu().numpy()

    @torch.inference_mode()
    def latents(self, frames: np.ndarray) -> np.ndarray:
        """See :class:`robot_wm.core.protocols.Editable`: the mean of ``z``."""
        return self.network.vae.encode(self._images(frames))[0].cpu().numpy()

    @torch.inference_mode()
    def continued(self, latents: np.ndarray, done: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """See :class:`robot_wm.core.protocols.Editable`: the mean of every next ``z``."""
        z, rows = self._tensor(latents), self._tensor(actions)[None]
        moments = self.network.rollout(z[:1], z[1:], self._tensor(done)[None], rows)
        return moments[0, :, :-1].cpu().numpy()

    def export_parts(self) -> ExportParts:
        """See :class:`robot_wm.world_models.base.Exportable`.

        Raises:
            ConfigError: a cost that must draw.
        """
        if self.cost != "native":
            raise ConfigError(
                f"export with cost {self.cost!r}", "native: graphs of a bundle draw nothing",
                "leave the cost empty",
            )  # fmt: skip
        network = self.network
        z, horizon = network.rnn.z, self.spec.horizon
        return ExportParts(Encode(network), Costs(network), Plans(network), z, 1, horizon)


def expected_distance(features: Tensor, goal: Tensor) -> Tensor:
    """E‖z - goal‖² of moments ``[..., Z+1]`` and a goal ``[Z]``: ``[...]``."""
    return (features[..., :-1] - goal).square().sum(dim=-1) + features[..., -1]


class Encode(nn.Module):
    """Images uint8 ``[N, S, S, 3]`` to ``z [N, Z]`` and novelty ``[N]``.

    Novelty is the error of the redrawn image over that of a training frame.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        pixels = to_canvas(images)
        z = self.network.vae.encode(pixels)[0]
        error = (self.network.draw(z) - pixels).square().mean(dim=(1, 2, 3))
        return z, error / self.network.get_buffer("usual_error")


class Costs(Encode):
    """Rollout and comparison: ``actions [N, H, A]`` to costs ``[N, H]``."""

    def forward(  # type: ignore[override]
        self, z_prev: Tensor, z: Tensor, a_prev: Tensor, goal: Tensor, actions: Tensor
    ) -> Tensor:
        """See the class."""
        return expected_distance(self.network.rollout(z_prev, z, a_prev, actions), goal[0])


class Plans(Encode):
    """See :meth:`Network.plans`."""

    def forward(  # type: ignore[override]
        self, z_prev: Tensor, z: Tensor, a_prev: Tensor, goal: Tensor, choice: Tensor, noise: Tensor
    ) -> Tensor:
        """See the class; which plan to start from is no choice here."""
        return self.network.plans(z_prev, z, a_prev, goal, noise) + 0 * choice.sum()
