"""Training of a Dreamer, and the family.

First the world model, then actor and critic on the finished one: the data were recorded before, so
nothing is won by learning both at once, and imagining costs little. Two further differences from
the release, which trains for a hundred times as long: AdamW with a clipped norm instead of LaProp
with adaptive clipping, and no value learned from replayed rewards, since there are none.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from robot_wm.data.windows import WindowBatch
from robot_wm.training.ema import average
from robot_wm.training.loop import generators_of
from robot_wm.training.optim import warmup_cosine
from robot_wm.world_models.dreamer.behaviour import behaviour_loss, dream
from robot_wm.world_models.dreamer.config import DreamerConfig
from robot_wm.world_models.dreamer.model import Dreamer
from robot_wm.world_models.dreamer.network import Network
from robot_wm.world_models.dreamer.rssm import Belief, balanced_kl
from robot_wm.world_models.pixels.family import PixelFamily
from robot_wm.world_models.pixels.frames import pixel_loss, to_canvas
from robot_wm.world_models.pixels.training import PixelTraining


class DreamerTraining(PixelTraining):
    """See the module."""

    about = (
        "A recurrent state-space model with categorical latents, trained to redraw frames and to "
        "foresee its latents one block of control steps ahead; actor and critic learned in what it "
        "imagines (Dreamer V3, arXiv:2301.04104)."
    )
    config: DreamerConfig
    state: Network

    @staticmethod
    def context(config: Any) -> int:
        """Frames that a history is filtered over."""
        return int(config.context)

    def learning_rate(self, step: int) -> float:
        """Half a cosine in each stage, after a warm-up."""
        c = self.config
        steps = c.steps if step <= c.steps else c.behaviour_steps
        return warmup_cosine(
            c.lr, step if step <= c.steps else step - c.steps, steps, min(c.warmup, steps), 0.1
        )

    def loss(self, step: int) -> Tensor:
        """Of the stage that the step is in."""
        rng, generator = generators_of(self.config.seed, step)
        batch = self.windows.draw(self.config.batch, rng)
        if step <= self.config.steps:
            return self._model_loss(batch, generator)
        return self._behaviour_loss(batch, rng, generator)

    def _filtered(
        self, batch: WindowBatch, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, list[Belief], Tensor, Tensor]:
        """Images, embeddings ``[B, W, E]``, beliefs, posteriors and priors of windows."""
        c, network = self.config, self.state
        images = to_canvas(batch.frames.flatten(0, 1).to(c.device))
        seen = network.eyes(images).reshape(*batch.frames.shape[:2], -1)
        told = network.shares(batch.actions.to(c.device))
        shape = (seen.shape[1], len(seen), c.groups)
        uniform = torch.rand(shape, generator=generator).to(seen)
        return images, seen, *network.rssm.filter(seen, told, uniform)

    def _model_loss(self, batch: WindowBatch, generator: torch.Generator) -> Tensor:
        """Reconstruction, the two halves of the KL, and the frame head; mean over frames."""
        c, network = self.config, self.state
        images, seen, beliefs, posterior, prior = self._filtered(batch, generator)
        features = torch.stack([belief.features for belief in beliefs], dim=1)
        rebuilt = network.draw(features.flatten(0, 1))
        backdrop = network.get_buffer("backdrop")
        error = pixel_loss(rebuilt, images, backdrop, c.foreground).mean()
        dynamics, representation, nats = balanced_kl(posterior, prior, c.free)
        divergence = (c.dynamics * dynamics + c.representation * representation).mean()
        head = network.distance(features.detach(), network.looks(seen.detach())).mean()
        loss = error + divergence + head
        return self.told(loss, error=error, kl=nats[:, 1:].mean(), head=head)

    def _behaviour_loss(
        self, batch: WindowBatch, rng: np.random.Generator, generator: torch.Generator
    ) -> Tensor:
        """Actor and critic, in courses imagined from recorded moments of the windows."""
        c, network = self.config, self.state
        with torch.no_grad():
            _, seen, beliefs, _, _ = self._filtered(batch, generator)
            rows = torch.from_numpy(rng.integers(len(seen), size=c.starts))
            start = rng.integers(c.window - 1, size=c.starts)
            later = torch.from_numpy(rng.integers(start + 1, c.window))
            h, s = (torch.stack([getattr(b, k) for b in beliefs], dim=1) for k in ("h", "s"))
            begin = torch.from_numpy(start)
            belief = Belief(h[rows, begin], s[rows, begin])
            goal = network.looks(seen[rows, later])
        course = dream(network, belief, goal, c.imagined, generator)
        terms = behaviour_loss(network, course, goal)
        loss = torch.stack(list(terms.values())).sum()
        return self.told(loss, reward=course.rewards.mean(), **terms)

    def after_step(self, step: int, norm: Tensor) -> None:
        """The slow critic follows."""
        if step > self.config.steps:
            average(self.state.slow_critic, self.state.critic, 1 - self.config.slow)


FAMILY = PixelFamily("dreamer", DreamerConfig, Network, Dreamer, DreamerTraining)
