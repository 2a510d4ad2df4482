"""A trained Dreamer behind the contract, planned with as PlaNet was (arXiv:1811.04551).

Whatever is drawn by lot is decided when a history is encoded, by a hash of it, and alike for all
candidates. It is not ``Exportable``: a bundle's graphs get the latents of two single frames and no
chance, a belief is filtered over more frames and needs the lots that its history decided.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from robot_wm.core.protocols import (
    History,
    check_clip,
    check_history,
    proposal_chance,
    seed_of,
)
from robot_wm.world_models.dreamer.network import Network
from robot_wm.world_models.dreamer.rssm import Belief, kl
from robot_wm.world_models.pixels.model import PixelModel, Seen


@dataclass(frozen=True)
class Believed(Seen):
    """What the model knows now.

    Attributes:
        beliefs: one row for each particle.
        looks: φ of the last frame ``[1, E]``, for goals.
        seed: of all chance in imagining from here.
    """

    beliefs: Belief
    looks: Tensor
    seed: int


class Dreamer(PixelModel[Network, Believed]):
    """``WorldModel``, ``Proposer`` and ``Editable``; it draws what it imagines."""

    def _lots(self, seed: int, steps: int) -> Tensor:
        """Uniform numbers ``[steps, P, G]``; those of the first steps whatever their number."""
        rng, config = np.random.default_rng(seed), self.network.config
        return self._tensor(rng.random((steps, config.particles, config.groups), np.float32))

    @torch.inference_mode()
    def encode(self, history: History) -> Believed:
        """Filter the last ``spec.context`` frames.

        Raises:
            InputError: frames of another size, actions that are not ``[T-1, A]``.
        """
        check_history(history, self.spec)
        frames = history.frames[-self.spec.context :]
        actions = history.actions[len(history.actions) - len(frames) + 1 :]
        actions = actions if len(frames) > 1 else np.zeros((0, self.spec.action_dim))
        # Frame by frame, so that a frame has the same bytes as a goal and as part of a history.
        seen = torch.cat([self.network.eyes(image[None]) for image in self._images(frames)])
        seed, particles = seed_of(history), self.network.config.particles
        beliefs, _, _ = self.network.rssm.filter(
            seen.expand(particles, -1, -1),
            self.network.shares(self._tensor(actions)).expand(particles, -1, -1),
            self._lots(seed + 1, len(frames)),
        )
        return Believed(frames[-1], beliefs[-1], self.network.looks(seen[-1:]), seed)

    def imagine(self, state: Believed, actions: Tensor) -> Tensor:
        """Features ``[P, N, H, F]``, each particle with its own lots."""
        lots = self._lots(state.seed, actions.shape[1])
        rows = torch.arange(lots.shape[1], device=lots.device)
        return torch.stack(
            [self.network.rollout(state.beliefs.of(p[None]), actions, lots[:, p]) for p in rows]
        )

    def pictures(self, features: Tensor) -> Tensor:
        """What the decoder draws."""
        return self.network.draw(features)

    def distance(self, features: Tensor, goal: Believed) -> Tensor:
        """See :meth:`Network.distance`."""
        return self.network.distance(features, goal.looks)

    @torch.inference_mode()
    def propose(
        self, state: Believed, goal: Believed, n: int, rng: np.random.Generator
    ) -> np.ndarray:
        """``n`` plans, float32 ``[n, H, A]`` within bounds: the actor's mean, then its samples."""
        _, noise = proposal_chance(rng, max(0, n - 1), self.spec)
        belief = state.beliefs.of(torch.zeros(1, dtype=torch.int64, device=goal.looks.device))
        lots = self._lots(state.seed, self.spec.horizon)[:, 0]
        chance = self._tensor(noise[..., : self.spec.control_dim])
        return self.network.plans(belief, goal.looks, chance, lots)[:n].cpu().numpy()

    @torch.inference_mode()
    def latents(self, frames: np.ndarray) -> np.ndarray:
        """See :class:`robot_wm.core.protocols.Editable`: embeddings, what a belief is told."""
        return self.network.eyes(self._images(frames)).cpu().numpy()

    @torch.inference_mode()
    def continued(self, latents: np.ndarray, done: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """See :class:`robot_wm.core.protocols.Editable`.

        A belief is no embedding: what it draws is looked at again. One particle, whose lots are
        the same whatever was edited.
        """
        lots, told = self._lots(0, 2 + len(actions))[:, :1], self._tensor(done)[None, None]
        beliefs, _, _ = self.network.rssm.filter(
            self._tensor(latents)[None], self.network.shares(told), lots[:2]
        )
        features = self.network.rollout(beliefs[-1], self._tensor(actions)[None], lots[2:, 0])[0]
        return self.network.eyes(self.network.draw(features)).cpu().numpy()

    @torch.inference_mode()
    def surprise(self, frames: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """How far each frame moves the belief: KL[posterior ‖ prior], mean over particles [nats].

        Args:
            frames: uint8 ``[T, height, width, 3]``, T >= 2.
            actions: float32 ``[T-1, A]``.

        Returns:
            float32 ``[T-1]``, of all frames but the first.
        """
        check_clip(frames, actions, self.spec)
        particles = self.network.config.particles
        seen = self.network.eyes(self._images(frames))
        told = self.network.shares(self._tensor(actions))
        seed = seed_of(History.of_goal(frames[0]))  # what comes later is not to be known before
        _, posterior, prior = self.network.rssm.filter(
            seen.expand(particles, -1, -1), told.expand(particles, -1, -1),
            self._lots(seed, len(frames)),
        )  # fmt: skip
        return kl(posterior, prior)[:, 1:].mean(dim=0).cpu().numpy()
