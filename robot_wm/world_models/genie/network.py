"""Genie's networks behind the contract: with latent actions, or told the true ones."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from robot_wm.core.protocols import ModelSpec
from robot_wm.data.windows import Windows
from robot_wm.world_models.genie.config import GenieConfig, TrueGenieConfig
from robot_wm.world_models.genie.dynamics import MaskedDynamics
from robot_wm.world_models.genie.latent_actions import LatentActions
from robot_wm.world_models.genie.measures import agreement, carried_over, clustering
from robot_wm.world_models.genie.quantizer import perplexity
from robot_wm.world_models.genie.tokenizer import Tokenizer
from robot_wm.world_models.pixels.config import grid_of
from robot_wm.world_models.pixels.generator import Generator, Imagined
from robot_wm.world_models.pixels.parts import two_layers
from robot_wm.world_models.standardizer import Standardizer


class TrueGenie(Generator):
    """Tokenizer and dynamics; normalised real blocks are the action vectors."""

    def __init__(self, config: TrueGenieConfig, spec: ModelSpec, action: int = 0) -> None:
        super().__init__()
        self.config, c = config, config
        lags = spec.context
        self.normalize = Standardizer(spec.action_dim)
        self.tokenizer = Tokenizer(
            spec.image_size, c.patch, c.codes, c.code_width, c.width, c.tokenizer_depth, c.heads,
            lags, c.motion,
        )  # fmt: skip
        self.dynamics = MaskedDynamics(
            c.codes, action or spec.action_dim, c.width, c.depth, c.heads,
            grid_of(spec.image_size, c.patch), lags,
        )  # fmt: skip

    def prepare(self, stage: str, windows: Windows, first: bool) -> None:
        """Take the mean picture before anything else."""
        if stage == "tokenizer" and first:
            self.tokenizer.background.fit(windows)

    def losses(
        self, stage: str, frames: Tensor, actions: Tensor, generator: torch.Generator
    ) -> Mapping[str, Tensor]:
        """Of a stage; see :class:`TrueGenieConfig`."""
        if stage == "tokenizer":
            return self.tokenizer.losses(frames, generator)
        with torch.no_grad():  # the tokenizer is fixed, and so are the names of actions
            tokens = self.look(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
            told = self.recorded(frames, actions)
        return {"dynamics": self.dynamics.loss(tokens, told, generator)}

    def recorded(self, frames: Tensor, actions: Tensor) -> Tensor:
        """Action vectors ``[B, W-1, L]`` that the dynamics learns from."""
        return self.vectors(actions)

    def vectors(self, actions: Tensor) -> Tensor:
        """Action vectors ``[..., L]`` of real blocks ``[..., A]``."""
        return self.normalize(actions)

    def measure(self, frames: Tensor, actions: Tensor) -> dict[str, float]:
        """Share of the codebook in use, as perplexity."""
        used = perplexity(self.look(frames[:, -1]), self.config.codes)
        return {"tokens_used": used / self.config.codes}

    def look(self, frames: Tensor) -> Tensor:
        """Tokens int64 ``[B, P]`` of pictures."""
        return self.tokenizer.encode(frames)

    def imagine(self, seen: Tensor, done: Tensor, actions: Tensor, seed: int) -> Imagined:
        """See :meth:`MaskedDynamics.imagine`."""
        return self.dynamics.imagine(
            seen, self.vectors(done), self.vectors(actions), self.tokenizer.quantizer.vectors(),
            self.config.passes, seed,
        )  # fmt: skip

    def gap(self, judged: Tensor, goal: Tensor) -> Tensor:
        """Mean over places of E‖e - e_goal‖², which is 2 - 2 E[e]·e_goal of unit vectors."""
        wanted = self.tokenizer.quantizer.embed(goal)
        return (2 - 2 * (judged * wanted).sum(dim=-1)).mean(dim=-1)

    def decode(self, latents: Tensor) -> Tensor:
        """See :meth:`Tokenizer.decode`."""
        return self.tokenizer.decode(latents)

    def surprise(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Cross-entropy of a token [nats]."""
        return self.dynamics.surprise(latents, self.vectors(actions))


class Genie(TrueGenie):
    """With latent actions: real blocks become one of a few codes, named after few labels.

    The dynamics learns from codes that the latent action model reads off pictures. To plan, a small
    classifier, fitted to few labelled transitions, says which code a real block is.
    """

    config: GenieConfig

    def __init__(self, config: GenieConfig, spec: ModelSpec) -> None:
        super().__init__(config, spec, config.code_width)
        clustering()  # missing, it is to be known now and not when codes are measured
        c, self.control = config, spec.control_dim
        self.actions = LatentActions(
            spec.image_size, c.action_patch, c.latent_actions, c.code_width, c.width,
            c.action_depth, c.heads, spec.context, c.motion,
        )  # fmt: skip
        self.name = two_layers(spec.action_dim, 64, c.latent_actions)

    def prepare(self, stage: str, windows: Windows, first: bool) -> None:
        """Before the last stage, collect the labels: the same after a restart."""
        super().prepare(stage, windows, first)
        if stage == "labels":
            rng = np.random.default_rng([self.config.seed, 11])
            frames, actions = windows.draw(self.config.labels, rng)
            device = self.normalize.mean.device
            with torch.no_grad():
                codes = self.actions.infer(frames[:, :3].to(device))[:, -1]
            self.labelled = self.normalize(actions[:, 1].to(device)), codes

    def losses(
        self, stage: str, frames: Tensor, actions: Tensor, generator: torch.Generator
    ) -> Mapping[str, Tensor]:
        """Of a stage; see :class:`GenieConfig`."""
        if stage == "latent_actions":
            return self.actions.losses(frames, generator)
        if stage == "labels":
            blocks, codes = self.labelled
            return {"labels": F.cross_entropy(self.name(blocks), codes)}
        return super().losses(stage, frames, actions, generator)

    def recorded(self, frames: Tensor, actions: Tensor) -> Tensor:
        """Vectors of codes that are read off the pictures; ``actions`` are not looked at."""
        return self.actions.quantizer.embed(self.actions.infer(frames))

    def distinct(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        """One of all candidates with the same codes: a search that closes in has few others."""
        _, which = self.codes(actions).unique(dim=0, return_inverse=True)
        numbers = torch.arange(len(which), device=which.device)
        first = torch.full_like(which, len(which)).scatter_reduce(0, which, numbers, "amin")
        return actions[first[: int(which.max()) + 1]], which

    def measure(self, frames: Tensor, actions: Tensor) -> dict[str, float]:
        """Of latent actions: agreement with true ones, and what of a code carries over.

        Also how often the name of a recorded block is the code that is read off the pictures.
        """
        codes, named = self.actions.infer(frames), self.codes(actions)
        control = actions.unflatten(-1, (-1, self.control)).mean(dim=2)
        return {
            **super().measure(frames, actions),
            **agreement(codes, control, self.config.latent_actions),
            **carried_over(self.actions, frames, self.normalize(actions)),
            "named_right": float((codes == named).float().mean()),
        }

    def codes(self, actions: Tensor) -> Tensor:
        """Codes int64 ``[...]`` of real blocks ``[..., A]``."""
        return self.name(self.normalize(actions)).argmax(dim=-1)

    def vectors(self, actions: Tensor) -> Tensor:
        """Code vectors ``[..., L]`` of real blocks ``[..., A]``."""
        return self.actions.quantizer.embed(self.codes(actions))
