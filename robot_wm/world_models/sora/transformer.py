"""The diffusion transformer: velocities of frames' latents, under actions, causal over time."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robot_wm.encoders.transformer import sincos
from robot_wm.training.losses import motion_weights
from robot_wm.world_models.pixels.generator import seeded
from robot_wm.world_models.pixels.parts import two_layers
from robot_wm.world_models.pixels.spacetime import Past, SpaceTime, keep, side_by_side
from robot_wm.world_models.sora.flow import between, euler, levels

TURNS = 30.0  # radians that the fastest of the numbers which code τ turns by
FIXED = 0.25  # τ at which surprise is measured: most of the frame must come from the past


class DiffusionTransformer(nn.Module):
    """Velocities ``[B, T, P, R]`` of noisy tokens (Peebles and Xie 2023, arXiv:2212.09748).

    Each frame's condition is its τ and the block that led to it, added (open-oasis).

    Args:
        token: ``R``, numbers of a token.
        action: ``A``.
        width, depth, heads, grid, lags: of the transformer.
    """

    def __init__(
        self, token: int, action: int, width: int, depth: int, heads: int, grid: tuple[int, int],
        lags: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.width = width
        self.embed = nn.Linear(token, width)
        self.time, self.act = two_layers(width, width, width), two_layers(action, width, width)
        self.body = SpaceTime(width, depth, heads, grid, lags, conditioned=True)
        self.head = nn.Linear(width, token)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(
        self, x: Tensor, tau: Tensor, actions: Tensor, ago: Tensor | None = None,
        past: list[Past] | None = None, told: Tensor | None = None,
    ) -> tuple[Tensor, list[Past]]:  # fmt: skip
        """Velocities ``[B, T, P, R]``, and keys and values for later frames.

        Args:
            x: tokens ``[B, T, P, R]``.
            tau: ``[B, T]``.
            actions: normalised blocks that led to the last of the frames, ``[B, T or less, A]``.
            ago, past: see :meth:`SpaceTime.forward`.
            told: which of the blocks are told, ``[B, T or less]``; all if None.
        """
        code = sincos(TURNS * tau.flatten(), self.width).to(x).view(*tau.shape, -1)
        led = self.act(actions)
        if told is not None:
            led = led * told[..., None]
        missing = led.new_zeros(len(led), x.shape[1] - led.shape[1], self.width)
        condition = self.time(code) + torch.cat([missing, led], dim=1)
        hidden, seen = self.body(self.embed(x), ago, condition, past or ())
        return self.head(hidden), seen

    def loss(
        self, tokens: Tensor, actions: Tensor, motion: float, dropout: float,
        generator: torch.Generator,
    ) -> Tensor:  # fmt: skip
        """‖v_θ(x_τ, τ, a) - (x - ε)‖² over windows ``[B, T, P, R]``, mean of what counts."""
        tau, counts = (t.to(tokens.device) for t in self._levels(tokens, generator))
        noise = torch.randn(tokens.shape, generator=generator).to(tokens)
        told = torch.rand(actions.shape[:2], generator=generator).to(tokens.device) >= dropout
        found, _ = self(between(tokens, noise, tau), tau, actions, told=told)
        weights = motion_weights(tokens, motion) * counts[..., None]
        error = (found - (tokens - noise)).square().mean(dim=-1)
        return (weights * error).sum() / weights.sum()

    def _levels(self, tokens: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return levels(len(tokens), tokens.shape[1], self.body.lags, generator)

    def sample(self, seen: Tensor, done: Tensor, actions: Tensor, steps: int, seed: int) -> Tensor:
        """Tokens ``[N, H, P, R]`` of all frames after some blocks, at once.

        Args:
            seen: tokens of true frames ``[C, P, R]``.
            done: normalised blocks between them ``[C-1, A]``.
            actions: of candidates ``[N, H, A]``.
            steps: of :func:`euler`.
            seed: of the noise, which is the same for all candidates.
        """
        generator, (count, horizon) = seeded(seed), actions.shape[:2]
        one = torch.ones(1, len(seen), device=seen.device)
        _, past = self(seen[None], one, done[None])
        past = keep(past, self.body.lags)
        # Frame by frame, so that a longer plan begins with the same noise.
        noise = torch.stack(
            [torch.randn(seen.shape[1:], generator=generator) for _ in range(horizon)]
        ).to(seen)

        def velocity(x: Tensor, tau: float) -> Tensor:
            level = torch.full((count, horizon), tau, device=x.device)
            return self(x, level, actions, past=past)[0]

        return euler(velocity, noise.expand(count, *noise.shape), steps)

    def surprise(self, tokens: Tensor, actions: Tensor) -> Tensor:
        """Squared error ``[T-1]`` of the velocity of each frame of ``[T, P, R]``, given the past.

        At a fixed τ and with one noise for every frame of every film.
        """
        frames = len(tokens)
        noise = torch.randn(tokens.shape[1:], generator=seeded(0)).to(tokens)
        later = FIXED * tokens[1:] + (1 - FIXED) * noise
        tau = torch.ones(1, 2 * frames - 1, device=tokens.device)
        tau[:, frames:] = FIXED
        # The true frames come first: all but one of them, and all stand-ins, were led to.
        led = torch.cat([actions, actions])[None]
        ago = side_by_side(frames, self.body.lags)
        found, _ = self(torch.cat([tokens, later])[None], tau, led, ago)
        return (found[0, frames:] - (tokens[1:] - noise)).square().mean(dim=(1, 2))
