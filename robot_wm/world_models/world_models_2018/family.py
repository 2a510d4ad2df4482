"""Training, part after part, and the family.

First the VAE, on single frames. Then it is fixed, mean and variance of every frame are computed
once, and the MDN-RNN learns on a fresh sample of them every time. Then the controller evolves in
what both imagine. The parts are trained apart, as published: ``z`` knows nothing of the task.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robot_wm.core.system.progress import progress
from robot_wm.data.windows import Windows
from robot_wm.training.loop import generators_of
from robot_wm.training.optim import warmup_cosine
from robot_wm.world_models.pixels.family import PixelFamily
from robot_wm.world_models.pixels.frames import pixel_loss, to_canvas
from robot_wm.world_models.pixels.training import PixelTraining
from robot_wm.world_models.world_models_2018.config import WorldModels2018Config
from robot_wm.world_models.world_models_2018.controller import Dreams, evolve, library
from robot_wm.world_models.world_models_2018.model import WorldModels2018
from robot_wm.world_models.world_models_2018.networks import (
    Network,
    kl_from_unit,
    negative_log_likelihood,
)

WARMUP = 100  # steps


class WorldModels2018Training(PixelTraining):
    """See the module."""

    about = (
        "A VAE sees, a recurrent mixture-density network predicts its 32 numbers one block of "
        "control steps ahead, a linear controller was evolved in what both imagine "
        "(Ha & Schmidhuber 2018, arXiv:1803.10122)."
    )
    config: WorldModels2018Config
    state: Network

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        if self.config.generations:
            library()  # missing, it is to be known now and not after the training
        self.latents: Latents | None = None

    def learning_rate(self, step: int) -> float:
        """Half a cosine in each part, after a short warm-up."""
        c = self.config
        if step <= c.vae_steps:
            return warmup_cosine(c.vae_lr, step, c.vae_steps, min(WARMUP, c.vae_steps), 0.05)
        step -= c.vae_steps
        return warmup_cosine(c.rnn_lr, step, c.rnn_steps, min(WARMUP, c.rnn_steps), 0.05)

    def loss(self, step: int) -> Tensor:
        """Of the part that learns in this step."""
        rng, generator = generators_of(self.config.seed, step)
        return (self._see if step <= self.config.vae_steps else self._predict)(rng, generator)

    def _see(self, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
        """Σ_pixels (x̂ - x)² + max(KL, tolerance · Z), mean over frames."""
        c, network = self.config, self.state
        episodes = self.windows.draw(-(-c.vae_batch // 4), rng).frames
        picks = rng.integers(c.window, size=(len(episodes), 4))  # few files, many frames
        frames = episodes[np.arange(len(episodes))[:, None], picks].flatten(0, 1)[: c.vae_batch]
        images = to_canvas(frames.to(c.device))
        mean, log_var = network.vae.encode(images)
        noise = torch.randn(mean.shape, generator=generator).to(mean)
        rebuilt = network.draw(mean + (0.5 * log_var).exp() * noise)
        backdrop = network.get_buffer("backdrop")
        error = pixel_loss(rebuilt, images, backdrop, c.foreground).mean()
        kl = kl_from_unit(mean, log_var)
        floor = c.tolerance * c.z
        return self.told(error + kl.clamp(min=floor).mean(), error=error, kl=kl.mean())

    def _predict(self, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
        """Negative log-likelihood of every next ``z``, per number [nats]."""
        z, actions = self._latents().draw(self.config.rnn_batch, rng, generator)
        mixture = self.state.course(z, actions)
        nll = negative_log_likelihood(mixture, z[:, 1:]).mean() / self.config.z
        return self.told(nll, nll=nll)

    def _latents(self) -> Latents:
        if self.latents is None:
            self.latents = Latents(self.state, self.windows, self.config)
        return self.latents

    def settle(self) -> Mapping[str, Any]:
        """Evolve the controller; note how well training frames are redrawn."""
        c, latents = self.config, self._latents()
        with torch.no_grad():
            images = to_canvas(self.windows.evenly_spaced(32).frames.flatten(0, 1).to(c.device))
            rebuilt = self.state.draw(self.state.vae.encode(images)[0])
            error = (rebuilt - images).square().mean()
            self.state.get_buffer("usual_error").copy_(error.clamp(min=1e-8))
            found = evolve(c, self.state, latents.dreams, np.random.default_rng([c.seed, 2018]))
        self.log.write(c.total, dream=found)
        psnr = -10 * float(torch.log10(error))
        return {"dream": {**found, "temperature": c.temperature}, "psnr": round(psnr, 2)}


class Latents:
    """Mean and deviation of every training frame's ``z``, and the blocks between them.

    Args:
        network: with a finished VAE.
        windows: of the training split.
    """

    def __init__(self, network: Network, windows: Windows, config: WorldModels2018Config) -> None:
        self.config, parts, actions, starts, first = config, [], [], [], 0
        last: list[np.ndarray] = []
        episodes = list(zip(windows.rows, windows.actions, strict=True))
        with progress("latents", len(episodes)) as report, torch.no_grad():
            for done, (rows, acted) in enumerate(episodes, start=1):
                frames = torch.from_numpy(np.array(rows)).to(config.device)
                parts.append(torch.stack(network.vae.encode(to_canvas(frames)), dim=1))
                blocks = acted[: len(frames) - 1]
                actions.append(np.pad(blocks, ((0, len(frames) - len(blocks)), (0, 0))))
                starts.append(first + np.arange(len(frames) - config.window + 1))
                last.append(np.full(len(frames), first + len(frames) - 1))
                first += len(frames)
                report(done)
        self.both = torch.cat(parts)  # [F, 2, Z]
        self.actions = torch.from_numpy(np.concatenate(actions)).to(config.device)
        self.starts, self.last = np.concatenate(starts), np.concatenate(last)

    def _sampled(self, rows: np.ndarray, generator: torch.Generator | None) -> Tensor:
        both = self.both[torch.from_numpy(rows)]
        mean, log_var = both.unbind(dim=-2)
        if generator is None:
            return mean
        noise = torch.randn(mean.shape, generator=generator).to(mean)
        return mean + (0.5 * log_var).exp() * noise

    def draw(
        self, count: int, rng: np.random.Generator, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Sampled ``z [B, W, Z]`` and blocks ``[B, W-1, A]`` of windows at random."""
        starts = self.starts[rng.integers(len(self.starts), size=count)]
        rows = starts[:, None] + np.arange(self.config.window)
        return self._sampled(rows, generator), self.actions[torch.from_numpy(rows[:, :-1])]

    def dreams(self, count: int, rng: np.random.Generator) -> Dreams:
        """Recorded starts with goals ahead in the same episodes."""
        c = self.config
        start = self.starts[rng.integers(len(self.starts), size=count)]
        goal = start + 1 + rng.integers(1, c.goal_range + 1, size=count)
        goal = np.minimum(goal, self.last[start])
        z_prev, z, z_goal = (self._sampled(rows, None) for rows in (start, start + 1, goal))
        steps = (c.dream_blocks, count)
        uniform = torch.from_numpy(rng.random((*steps, 1), np.float32)).to(z)
        normal = torch.from_numpy(rng.standard_normal((*steps, c.z), np.float32)).to(z)
        return Dreams(z_prev, z, self.actions[torch.from_numpy(start)], z_goal, uniform, normal)


FAMILY = PixelFamily(
    "world_models", WorldModels2018Config, Network, WorldModels2018, WorldModels2018Training
)
