"""VAE, MDN-RNN and controller (arXiv:1803.10122, appendix A; layer sizes of its release).

Letters: ``N`` rows, ``Z`` numbers of a frame, ``A`` action size of a block, ``C`` controls, ``K``
Gaussians of a mixture, ``D`` width of the LSTM.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robot_wm.core.protocols import ModelSpec
from robot_wm.world_models.pixels.frames import CANVAS, drawn_onto, to_canvas
from robot_wm.world_models.pixels.measures import redrawn
from robot_wm.world_models.pixels.model import pushed, unpushed
from robot_wm.world_models.world_models_2018.config import WorldModels2018Config

Memory = tuple[Tensor, Tensor]
Mixture = tuple[Tensor, Tensor, Tensor]


class VAE(nn.Module):
    """What there is to see in a frame, as ``Z`` numbers: images are ``[N, 3, 64, 64]`` in 0 … 1."""

    FLAT = 1024

    def __init__(self, z: int) -> None:
        super().__init__()
        sizes, relu = (3, 32, 64, 128, 256), nn.ReLU()
        down = [part for a, b in pairwise(sizes) for part in (nn.Conv2d(a, b, 4, stride=2), relu)]
        self.encoder = nn.Sequential(*down, nn.Flatten())
        self.mean, self.log_var = nn.Linear(self.FLAT, z), nn.Linear(self.FLAT, z)
        self.widen = nn.Linear(z, self.FLAT)
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(self.FLAT, 128, 5, stride=2), relu,
            nn.ConvTranspose2d(128, 64, 5, stride=2), relu,
            nn.ConvTranspose2d(64, 32, 6, stride=2), relu,
            nn.ConvTranspose2d(32, 3, 6, stride=2),
        )  # fmt: skip

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance, ``[N, Z]`` each."""
        flat = self.encoder(images)
        return self.mean(flat), self.log_var(flat)

    def decode(self, z: Tensor) -> Tensor:
        """``[N, Z]`` to the logits of images, see ``pixels.frames.drawn_onto``."""
        logits: Tensor = self.decoder(self.widen(z)[:, :, None, None])
        return logits


def kl_from_unit(mean: Tensor, log_var: Tensor) -> Tensor:
    """KL of N(mean, exp log_var) from N(0, 1) [nats], summed: ``[..., Z]`` to ``[...]``."""
    return 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(dim=-1)


class MDNRNN(nn.Module):
    """Where ``z`` goes from here: an LSTM, and a mixture of Gaussians that share their weights."""

    def __init__(self, z: int, action: int, hidden: int, mixtures: int) -> None:
        super().__init__()
        self.z, self.mixtures = z, mixtures
        self.cell = nn.LSTMCell(z + action, hidden)
        self.head = nn.Linear(hidden, mixtures * (2 * z + 1))

    def blank(self, rows: int) -> Memory:
        """The memory of somebody who has seen nothing, ``[rows, D]`` twice."""
        zeros = self.head.weight.new_zeros(rows, self.cell.hidden_size)
        return zeros, zeros

    def mixture(self, h: Tensor) -> Mixture:
        """Of the next ``z``: log weights ``[N, K]``, means and log deviations ``[N, K, Z]``."""
        logits, means, log_std = self.head(h).split(
            [self.mixtures, self.mixtures * self.z, self.mixtures * self.z], dim=-1
        )
        shape = (*h.shape[:-1], self.mixtures, self.z)
        return logits.log_softmax(dim=-1), means.reshape(shape), log_std.reshape(shape)


def negative_log_likelihood(mixture: Mixture, z: Tensor) -> Tensor:
    """-log Σ_k π_k Π_j N(z_j; μ_kj, σ_kj) in nats: ``[..., Z]`` to ``[...]``, by log-sum-exp."""
    log_pi, means, log_std = mixture
    gaps = (z[..., None, :] - means) * (-log_std).exp()
    each = -0.5 * gaps.square() - log_std - 0.5 * math.log(2 * math.pi)
    return -(log_pi + each.sum(dim=-1)).logsumexp(dim=-1)


def cumulated(mixture: Mixture, z: Tensor) -> Tensor:
    """P(Z_j <= z_j) of each number on its own, ``[..., Z]``: Σ_k π_k Φ((z_j - μ_kj) / σ_kj)."""
    log_pi, means, log_std = mixture
    gaps = (z[..., None, :] - means) * (-log_std).exp()
    return (log_pi.exp()[..., None] * torch.special.ndtr(gaps)).sum(dim=-2)


def _gaussian_nats(missed: Tensor) -> float:
    """Mean negative log-likelihood of errors ``[..., Z]`` under a Gaussian of their variance."""
    variance = missed.flatten(0, -2).square().mean(dim=0).clamp(min=1e-8)
    return float(0.5 * (1 + math.log(2 * math.pi) + variance.log()).mean())


def moments(mixture: Mixture) -> tuple[Tensor, Tensor]:
    """Mean ``[..., Z]`` and variance summed over ``Z``, ``[...]``, of a mixture.

    Then E‖z - g‖² = ‖mean - g‖² + variance, whatever g: Σ_k π_k (‖μ_k - g‖² + Σ_j σ_kj²).
    """
    log_pi, means, log_std = mixture
    weights = log_pi.exp()[..., None]
    mean = (weights * means).sum(dim=-2)
    spread = (means - mean[..., None, :]).square() + (2 * log_std).exp()
    return mean, (weights * spread).sum(dim=(-2, -1))


def sample(mixture: Mixture, temperature: float, uniform: Tensor, normal: Tensor) -> Tensor:
    """A sample at a temperature τ: a Gaussian by logits/τ, then μ + σ √τ ε.

    Args:
        uniform: ``[N, 1]`` in [0, 1), which Gaussian.
        normal: ε ``[N, Z]``.
    """
    log_pi, means, log_std = mixture
    shares = (log_pi / temperature).softmax(dim=-1).cumsum(dim=-1)
    which = (shares < uniform).sum(dim=-1).clamp(max=shares.shape[-1] - 1)
    picked = which[:, None, None].expand(-1, 1, means.shape[-1])
    mean, log_std = means.gather(1, picked)[:, 0], log_std.gather(1, picked)[:, 0]
    return mean + log_std.exp() * math.sqrt(temperature) * normal


class Network(nn.Module):
    """All parts with what they need to know of the robot; actions are in its own unit.

    The state of the world is what two frames and the block between them tell: ``z`` of both, and
    the memory of an LSTM that began with the first. Training windows begin anywhere with the same
    empty memory.
    """

    low: Tensor
    high: Tensor

    def __init__(self, config: WorldModels2018Config, spec: ModelSpec) -> None:
        super().__init__()
        z, self.block = config.z, spec.block
        self.vae = VAE(z)
        self.rnn = MDNRNN(z, spec.action_dim, config.hidden, config.mixtures)
        # Evolved, not trained: 2 (Z + D + Z) + 2 numbers for two controls.
        self.controller = nn.Linear(2 * z + config.hidden, spec.control_dim).requires_grad_(False)
        nn.init.zeros_(self.controller.weight)
        nn.init.zeros_(self.controller.bias)
        self.register_buffer("low", torch.tensor(spec.action_low))
        self.register_buffer("high", torch.tensor(spec.action_high))
        self.register_buffer("backdrop", torch.zeros(3, CANVAS, CANVAS))
        self.register_buffer("usual_error", torch.ones(()))  # of a training frame, rebuilt

    def draw(self, z: Tensor) -> Tensor:
        """``[N, Z]`` to images."""
        return drawn_onto(self.get_buffer("backdrop"), self.vae.decode(z))

    def advance(self, z: Tensor, actions: Tensor, memory: Memory) -> Memory:
        """The memory after doing ``actions [N, A]`` where one sees ``z [N, Z]``."""
        told = torch.cat([z, pushed(actions, self.low, self.high)], dim=-1)
        h, c = self.rnn.cell(told, memory)
        return h, c

    def course(self, z: Tensor, actions: Tensor) -> Mixture:
        """Predictions of every next ``z`` of windows ``[B, W, Z]`` with blocks ``[B, W-1, A]``."""
        memory, seen = self.rnn.blank(len(z)), []
        for t in range(actions.shape[1]):
            memory = self.advance(z[:, t], actions[:, t], memory)
            seen.append(memory[0])
        return self.rnn.mixture(torch.stack(seen, dim=1))

    @torch.inference_mode()
    def measure(self, frames: Tensor, actions: Tensor) -> dict[str, float]:
        """How well frames of windows ``[B, W, ...]`` are kept, and every next ``z`` is foretold.

        Returns:
            See :func:`robot_wm.world_models.pixels.measures.redrawn`. In nats per number ``nll``:
            of the mixtures; ``nll_gaussian``: of one Gaussian with each mixture's mean and, of each
            number, the variance of what was missed; ``nll_copy``: of one around the last ``z``;
            ``covered_90``: share of numbers within the middle 90 % of their mixture.
        """
        images = to_canvas(frames.flatten(0, 1))
        kept, log_var = self.vae.encode(images)
        # Samples, which the mixture was trained to expect: their spread is part of what comes.
        noise = torch.randn(kept.shape, generator=torch.Generator().manual_seed(0)).to(kept)
        z = (kept + (0.5 * log_var).exp() * noise).unflatten(0, frames.shape[:2])
        mixture, came = self.course(z, actions), z[:, 1:]
        below = cumulated(mixture, came)
        return {
            **redrawn(self.draw(kept), images),
            "nll": float(negative_log_likelihood(mixture, came).mean()) / z.shape[-1],
            "nll_gaussian": _gaussian_nats(came - moments(mixture)[0]),
            "nll_copy": _gaussian_nats(came - z[:, :-1]),
            "covered_90": float(((below > 0.05) & (below < 0.95)).float().mean()),
        }

    def rollout(self, z_prev: Tensor, z: Tensor, a_prev: Tensor, actions: Tensor) -> Tensor:
        """Moments ``[N, H, Z+1]`` of what ``actions [N, H, A]`` lead to; ``z`` goes on at the mean.

        Args:
            z_prev, z, a_prev: two frames ``[1, Z]`` and the block between them ``[1, A]``.
        """
        rows, steps = actions.shape[0], []
        h, c = self.advance(z_prev, a_prev, self.rnn.blank(1))
        memory, here = (h.expand(rows, -1), c.expand(rows, -1)), z.expand(rows, -1)
        for t in range(actions.shape[1]):
            memory = self.advance(here, actions[:, t], memory)
            here, variance = moments(self.rnn.mixture(memory[0]))
            steps.append(torch.cat([here, variance[:, None]], dim=-1))
        return torch.stack(steps, dim=1)

    def control(self, z: Tensor, h: Tensor, goal: Tensor) -> Tensor:
        """tanh(W [z, h, z_goal] + b), held through a block: shares of the bounds ``[N, A]``."""
        control = self.controller(torch.cat([z, h, goal], dim=-1))
        return torch.tanh(control).tile(1, self.block)

    def plans(
        self, z_prev: Tensor, z: Tensor, a_prev: Tensor, goal: Tensor, noise: Tensor
    ) -> Tensor:
        """What the controller would do, and see itself do: ``[1 + M, H, A]`` within bounds.

        Args:
            z_prev, z, a_prev: see :meth:`rollout`.
            goal: ``[1, Z]``.
            noise: ``[M, H, A]``, added to M further plans in shares of half the range.
        """
        noise = F.pad(0.3 * noise, (0, 0, 0, 0, 1, 0))  # the first plan has none
        rows, done = noise.shape[0], []
        h, c = self.advance(z_prev, a_prev, self.rnn.blank(1))
        memory, here = (h.expand(rows, -1), c.expand(rows, -1)), z.expand(rows, -1)
        for t in range(noise.shape[1]):
            shares = self.control(here, memory[0], goal.expand(rows, -1)) + noise[:, t]
            done.append(unpushed(shares, self.low, self.high))
            memory = self.advance(here, done[-1], memory)
            here, _ = moments(self.rnn.mixture(memory[0]))
        return torch.stack(done, dim=1)
