"""The recurrent state-space model (github.com/danijar/dreamerv3, ``rssm.py``).

Letters: ``B`` rows, ``T`` frames, ``D`` width of ``h``, ``G`` categoricals of ``C`` classes, ``E``
size of an embedding. All chance comes in as uniform numbers ``[..., G]``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robot_wm.world_models.dreamer.config import DreamerConfig
from robot_wm.world_models.dreamer.layers import BlockLinear, Norm, dense


def mixed(logits: Tensor, unimix: float) -> Tensor:
    """Probabilities ``[..., G, C]`` of logits, with a share of the uniform distribution."""
    return (1 - unimix) * logits.softmax(dim=-1) + unimix / logits.shape[-1]


def straight_through(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """One-hot samples ``[..., G, C]`` whose gradient is that of the probabilities.

    Args:
        probabilities: ``[..., G, C]``.
        uniform: ``[..., G]`` in [0, 1): which class, by the inverse of the cumulated probabilities.
    """
    with torch.no_grad():
        index = (probabilities.cumsum(dim=-1) < uniform[..., None]).sum(dim=-1)
        hot = F.one_hot(index.clamp(max=probabilities.shape[-1] - 1), probabilities.shape[-1])
    return hot + probabilities - probabilities.detach()


def kl(p: Tensor, q: Tensor) -> Tensor:
    """KL[p ‖ q] in nats, summed over the categoricals: ``[..., G, C]`` to ``[...]``."""
    return (p * (p.log() - q.log())).sum(dim=(-2, -1))


def balanced_kl(posterior: Tensor, prior: Tensor, free: float) -> tuple[Tensor, Tensor, Tensor]:
    """Dynamics and representation loss, and the KL itself, ``[...]`` each (eq. 3 of V3).

    The first trains the prior towards the posterior alone, the second the posterior towards the
    prior alone; neither has a gradient below ``free`` nats of the whole latent.
    """
    dynamics = kl(posterior.detach(), prior)
    representation = kl(posterior, prior.detach())
    return dynamics.clamp(min=free), representation.clamp(min=free), dynamics.detach()


@dataclass(frozen=True)
class Belief:
    """Where the model thinks it is: ``h [B, D]`` and the sampled latent ``s [B, G · C]``."""

    h: Tensor
    s: Tensor

    @property
    def features(self) -> Tensor:
        """``[B, D + G · C]``, what heads read."""
        return torch.cat([self.h, self.s], dim=-1)

    def of(self, rows: Tensor) -> Belief:
        """These rows of it."""
        return Belief(self.h[rows], self.s[rows])

    def expand(self, rows: int) -> Belief:
        """One row, ``rows`` times."""
        return Belief(self.h.expand(rows, -1), self.s.expand(rows, -1))


class RSSM(nn.Module):
    """h_t = GRU(h_{t-1}, s_{t-1}, a_{t-1}); s_t is drawn from what h_t, or h_t and the frame, say.

    Args:
        config: sizes.
        action: of a block; actions enter in shares of their bounds.
        embedding: ``E``.
    """

    def __init__(self, config: DreamerConfig, action: int, embedding: int) -> None:
        super().__init__()
        c, self.config, self.action = config, config, action
        self.latent = c.groups * c.classes
        self.from_h = dense(c.deter, c.hidden)
        self.from_s = dense(self.latent, c.hidden)
        self.from_a = dense(action, c.hidden)
        own = c.deter // c.blocks
        self.mix = BlockLinear(c.blocks, own + 3 * c.hidden, own)
        self.mix_norm = Norm(c.deter)
        self.gates = BlockLinear(c.blocks, own, 3 * own)
        logits = c.groups * c.classes
        self.prior = nn.Sequential(
            dense(c.deter, c.hidden), dense(c.hidden, c.hidden), nn.Linear(c.hidden, logits)
        )
        self.posterior = nn.Sequential(
            dense(c.deter + embedding, c.hidden), nn.Linear(c.hidden, logits)
        )

    def blank(self, rows: int) -> Belief:
        """What is believed before the first frame: zeros."""
        weight = self.mix_norm.scale
        return Belief(
            weight.new_zeros(rows, self.config.deter), weight.new_zeros(rows, self.latent)
        )

    def advance(self, belief: Belief, action: Tensor, first: Tensor | None = None) -> Tensor:
        """The next ``h [B, D]``.

        Args:
            belief: before.
            action: ``[B, A]``, what was done then.
            first: bool ``[B]``: rows whose next frame begins an episode, which what was before must
                not reach.
        """
        h, s, c = belief.h, belief.s, self.config
        action = action / action.abs().clamp(min=1)
        if first is not None:
            kept = (~first).to(h)[:, None]
            h, s, action = h * kept, s * kept, action * kept
        told = torch.cat([self.from_h(h), self.from_s(s), self.from_a(action)], dim=-1)
        told = told[:, None].expand(-1, c.blocks, -1)
        x = self.mix(torch.cat([h.reshape(len(h), c.blocks, -1), told], dim=-1)).flatten(1)
        x = F.silu(self.mix_norm(x))
        gates = self.gates(x.reshape(len(h), c.blocks, -1))
        reset, candidate, update = (part.flatten(1) for part in gates.chunk(3, dim=-1))
        candidate = torch.tanh(reset.sigmoid() * candidate)
        update = (update - 1).sigmoid()  # it begins by keeping most of what there was
        return update * candidate + (1 - update) * h

    def believe(self, logits: Tensor) -> Tensor:
        """Probabilities ``[B, G, C]``."""
        shaped = logits.reshape(-1, self.config.groups, self.config.classes)
        return mixed(shaped, self.config.unimix)

    def imagine(self, belief: Belief, action: Tensor, uniform: Tensor) -> tuple[Belief, Tensor]:
        """One block on without a frame: the belief, and the prior's probabilities."""
        h = self.advance(belief, action)
        prior = self.believe(self.prior(h))
        return Belief(h, straight_through(prior, uniform).flatten(1)), prior

    def observe(
        self, belief: Belief, action: Tensor, seen: Tensor, uniform: Tensor,
        first: Tensor | None = None,
    ) -> tuple[Belief, Tensor, Tensor]:  # fmt: skip
        """One block on with the embedding ``[B, E]`` of a frame: belief, posterior, prior."""
        h = self.advance(belief, action, first)
        posterior = self.believe(self.posterior(torch.cat([h, seen], dim=-1)))
        s = straight_through(posterior, uniform).flatten(1)
        return Belief(h, s), posterior, self.believe(self.prior(h))

    def filter(
        self, seen: Tensor, actions: Tensor, uniform: Tensor
    ) -> tuple[list[Belief], Tensor, Tensor]:
        """Beliefs after every frame of windows, each of which begins from nothing.

        Args:
            seen: ``[B, T, E]``.
            actions: ``[B, T-1, A]``.
            uniform: ``[T, B, G]``.

        Returns:
            ``T`` beliefs, posteriors and priors ``[B, T, G, C]``.
        """
        belief, beliefs, posteriors, priors = self.blank(len(seen)), [], [], []
        none = seen.new_zeros(len(seen), self.action)
        for t in range(seen.shape[1]):
            action = actions[:, t - 1] if t else none
            belief, posterior, prior = self.observe(belief, action, seen[:, t], uniform[t])
            beliefs.append(belief)
            posteriors.append(posterior)
            priors.append(prior)
        return beliefs, torch.stack(posteriors, dim=1), torch.stack(priors, dim=1)
