"""The video model's networks behind the contract."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from robot_wm.core.protocols import ModelSpec
from robot_wm.data.windows import Windows
from robot_wm.world_models.pixels.config import grid_of
from robot_wm.world_models.pixels.generator import Generator, Imagined
from robot_wm.world_models.sora.autoencoder import CELL, Autoencoder
from robot_wm.world_models.sora.config import SoraConfig
from robot_wm.world_models.sora.transformer import DiffusionTransformer
from robot_wm.world_models.standardizer import Standardizer

SCALED = 500  # windows over which latents get unit spread


class Sora(Generator):
    """Autoencoder and diffusion transformer. A latent is tokens ``[P, R]`` of 2 x 2 cells."""

    def __init__(self, config: SoraConfig, spec: ModelSpec) -> None:
        super().__init__()
        self.config, c = config, config
        self.grid = grid_of(spec.image_size, CELL * c.patch)
        self.normalize = Standardizer(spec.action_dim)
        self.autoencoder = Autoencoder(spec.image_size, c.channels, c.latent, c.kl, c.motion)
        self.dynamics = DiffusionTransformer(
            c.patch**2 * c.latent, spec.action_dim, c.width, c.depth, c.heads, self.grid,
            spec.context,
        )  # fmt: skip

    def prepare(self, stage: str, windows: Windows, first: bool) -> None:
        """Take the mean picture at first, and the spread of latents once they are fixed."""
        if stage == "autoencoder" and first:
            self.autoencoder.background.fit(windows)
        if stage == "dynamics" and first:
            frames, _ = windows.evenly_spaced(SCALED)
            self.autoencoder.fit_scale(frames[:, 0].to(self.normalize.mean.device))

    def losses(
        self, stage: str, frames: Tensor, actions: Tensor, generator: torch.Generator
    ) -> Mapping[str, Tensor]:
        """Of a stage; see :class:`SoraConfig`."""
        if stage == "autoencoder":
            return self.autoencoder.losses(frames, generator)
        with torch.no_grad():  # the autoencoder is fixed
            tokens = self.look(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        c, told = self.config, self.normalize(actions)
        loss = self.dynamics.loss(tokens, told, c.motion, c.action_dropout, generator)
        return {"dynamics": loss}

    def look(self, frames: Tensor) -> Tensor:
        """Tokens ``[B, P, R]`` of pictures, each of unit spread."""
        (rows, columns), patch = self.grid, self.config.patch
        cells = self.autoencoder.encode(frames)
        cut = cells.reshape(len(cells), rows, patch, columns, patch, -1).transpose(2, 3)
        return cut.reshape(len(cells), rows * columns, -1)

    def decode(self, latents: Tensor) -> Tensor:
        """See :meth:`Autoencoder.decode`."""
        (rows, columns), patch, lead = self.grid, self.config.patch, latents.shape[:-2]
        cut = latents.reshape(*lead, rows, columns, patch, patch, -1).transpose(-4, -3)
        return self.autoencoder.decode(cut.reshape(*lead, rows * patch, columns * patch, -1))

    def imagine(self, seen: Tensor, done: Tensor, actions: Tensor, seed: int) -> Imagined:
        """See :meth:`DiffusionTransformer.sample`."""
        told = self.normalize(done), self.normalize(actions)
        tokens = self.dynamics.sample(seen, *told, self.config.euler_steps, seed)
        return Imagined(tokens, tokens)

    def gap(self, judged: Tensor, goal: Tensor) -> Tensor:
        """Mean squared difference of latents."""
        return (judged - goal).square().mean(dim=(-2, -1))

    def surprise(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Squared denoising error of a number of the latent, see the transformer."""
        return self.dynamics.surprise(latents, self.normalize(actions))
