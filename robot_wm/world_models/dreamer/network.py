"""Everything that a Dreamer learns, with what it needs to know of the robot.

The goal has one frame, and a belief has a memory that no goal has. So a *frame head* reads from a
belief the embedding that the present frame has on its own, normalised; the native cost compares it
with the goal's. It reads with a stopped gradient and does not shape the model.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robot_wm.core.protocols import ModelSpec
from robot_wm.world_models.dreamer.config import DreamerConfig
from robot_wm.world_models.dreamer.layers import BINS, Brush, Eyes, bins, expectation, mlp
from robot_wm.world_models.dreamer.rssm import RSSM, Belief, kl
from robot_wm.world_models.pixels.frames import CANVAS, drawn_onto, to_canvas
from robot_wm.world_models.pixels.measures import redrawn
from robot_wm.world_models.pixels.model import pushed, unpushed

LAYERS = 2
STD = 0.1, 1.0  # least and largest deviation of the actor's controls, in shares of the bounds


class Network(nn.Module):
    """World model, frame head, actor and critic; actions are in the robot's own unit."""

    low: Tensor
    high: Tensor
    values: Tensor
    returns: Tensor

    def __init__(self, config: DreamerConfig, spec: ModelSpec) -> None:
        super().__init__()
        c, self.config, self.block = config, config, spec.block
        self.eyes = Eyes(c.depth)
        size = self.eyes.size
        self.rssm = RSSM(c, spec.action_dim, size)
        features = c.deter + self.rssm.latent
        self.brush = Brush(features, c.depth)
        self.frame_head = mlp(features, c.units, LAYERS, size)
        self.actor = mlp(features + size, c.units, LAYERS, 2 * spec.control_dim, scale=0.01)
        self.critic = mlp(features + size, c.units, LAYERS, BINS, scale=0.0)
        self.slow_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self.register_buffer("low", torch.tensor(spec.action_low))
        self.register_buffer("high", torch.tensor(spec.action_high))
        self.register_buffer("values", bins())
        self.register_buffer("returns", torch.zeros(2))  # running 5th and 95th percentile
        self.register_buffer("backdrop", torch.zeros(3, CANVAS, CANVAS))

    def shares(self, actions: Tensor) -> Tensor:
        """Actions as the state-space model hears them."""
        return pushed(actions, self.low, self.high)

    def draw(self, features: Tensor) -> Tensor:
        """Features ``[N, F]`` to images ``[N, 3, 64, 64]`` in 0 … 1."""
        return drawn_onto(self.get_buffer("backdrop"), self.brush(features))

    @torch.inference_mode()
    def measure(self, frames: Tensor, actions: Tensor) -> dict[str, float]:
        """Of windows ``[B, W, ...]``: what the posterior knows beyond the prior, and leaves open.

        Returns:
            See :func:`robot_wm.world_models.pixels.measures.redrawn`. In nats ``kl``: of posterior
            from prior, of every frame but the first; ``entropy``: of the posterior.
        """
        images = to_canvas(frames.flatten(0, 1))
        seen = self.eyes(images).unflatten(0, frames.shape[:2])
        uniform = torch.full((frames.shape[1], len(frames), self.config.groups), 0.5).to(seen)
        beliefs, posterior, prior = self.rssm.filter(seen, self.shares(actions), uniform)
        rebuilt = self.draw(torch.stack([b.features for b in beliefs], dim=1).flatten(0, 1))
        entropy = torch.special.entr(posterior).sum(dim=(-2, -1))
        kept = redrawn(rebuilt, images)
        return {
            **kept,
            "kl": float(kl(posterior, prior)[:, 1:].mean()),
            "entropy": float(entropy.mean()),
        }

    @staticmethod
    def looks(seen: Tensor) -> Tensor:
        """φ: the embedding of a frame on its own, normalised, ``[..., E]``."""
        return F.layer_norm(seen, seen.shape[-1:])

    def distance(self, features: Tensor, goal: Tensor) -> Tensor:
        """Mean over ``E`` of (G(h, s) - φ(goal))²: ``[..., F]`` and ``[..., E]`` to ``[...]``."""
        return (self.frame_head(features) - goal).square().mean(dim=-1)

    def policy(self, features: Tensor, goal: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation of the controls held through the next block, in shares ``[B, C]``."""
        mean, spread = self.actor(torch.cat([features, goal], dim=-1)).chunk(2, dim=-1)
        low, high = STD
        return torch.tanh(mean), low + (high - low) * (spread + 2).sigmoid()

    def acted(self, controls: Tensor) -> Tensor:
        """Controls in shares ``[B, C]`` as a block within bounds ``[B, A]``."""
        return unpushed(controls.tile(1, self.block), self.low, self.high)

    def value(self, features: Tensor, goal: Tensor, slow: bool = False) -> tuple[Tensor, Tensor]:
        """Logits over the bins, and the return they expect ``[B]``."""
        critic = self.slow_critic if slow else self.critic
        logits = critic(torch.cat([features, goal], dim=-1))
        return logits, expectation(logits, self.values)

    def rollout(self, belief: Belief, actions: Tensor, uniform: Tensor) -> Tensor:
        """Features ``[N, H, F]`` after every block of ``[N, H, A]``, no frame seen.

        Args:
            belief: one row, where all candidates begin.
            uniform: ``[H, G]``, the same for all of them.
        """
        rows, steps = len(actions), []
        belief = belief.expand(rows)
        for t in range(actions.shape[1]):
            told = self.shares(actions[:, t])
            belief, _ = self.rssm.imagine(belief, told, uniform[t].expand(rows, -1))
            steps.append(belief.features)
        return torch.stack(steps, dim=1)

    def plans(self, belief: Belief, goal: Tensor, noise: Tensor, uniform: Tensor) -> Tensor:
        """What the actor does in imagination, ``[1 + M, H, A]`` within bounds.

        Args:
            belief: one row.
            goal: φ ``[1, E]``.
            noise: standard normal ``[M, H, C]``; the first plan has none.
            uniform: see :meth:`rollout`.
        """
        noise = F.pad(noise, (0, 0, 0, 0, 1, 0))
        rows, done = len(noise), []
        belief = belief.expand(rows)
        for t in range(noise.shape[1]):
            mean, std = self.policy(belief.features, goal.expand(rows, -1))
            done.append(self.acted(mean + std * noise[:, t]))
            told = self.shares(done[-1])
            belief, _ = self.rssm.imagine(belief, told, uniform[t].expand(rows, -1))
        return torch.stack(done, dim=1)
