"""The latent variable z: its prior given what is known, and its posterior given what came.

Letters: ``h`` is what the predictor knows ``[..., W]``, ``y`` the latent that came ``[..., Z]``, a
value of z is ``[..., C]``. All chance is uniform numbers in (0, 1) ``[..., C]`` from outside.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

Decode = Callable[[Tensor], Tensor]
"""Values ``[..., C]`` to predictions ``[..., Z]``; leading axes may be added in front."""
EDGE = 1e-6  # uniform numbers keep this far from 0 and 1, where quantiles are infinite


def errors(predicted: Tensor, y: Tensor) -> Tensor:
    """E(x, y, z): squared error, mean over ``Z``."""
    return (predicted - y).square().mean(-1)


class Variable(nn.Module, ABC):
    """One kind of z.

    Args:
        size: ``C``.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    @abstractmethod
    def mode(self, h: Tensor) -> Tensor:
        """The prior's likeliest value."""

    @abstractmethod
    def draw(self, h: Tensor, chance: Tensor) -> Tensor:
        """A value of the prior; the same chance gives like values for like ``h``."""

    @abstractmethod
    def infer(self, h: Tensor, y: Tensor, decode: Decode, beta: float, chance: Tensor) -> Tensor:
        """A value of the posterior."""

    @abstractmethod
    def losses(
        self, h: Tensor, y: Tensor, decode: Decode, beta: float, chance: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Expected error under the posterior, and KL[posterior ‖ prior] in nats, ``[...]`` each."""

    @abstractmethod
    def several(self, h: Tensor, chance: Tensor) -> Tensor:
        """Values ``[N, ..., C]`` to try, given chance ``[N, ..., C]``."""


class Discrete(Variable):
    """One of ``C`` codes, one-hot.

    The best posterior is known, q(k) ∝ p(k) exp(-E_k / beta), since every code can be tried: error
    plus beta · KL is then the free energy -beta log Σ p(k) exp(-E_k / beta).

    Args:
        codes: ``C``.
        width: of ``h``.
    """

    def __init__(self, codes: int, width: int) -> None:
        super().__init__(codes)
        self.prior = nn.Linear(width, codes)
        self.register_buffer("codes", torch.eye(codes), persistent=False)

    def _all(self, h: Tensor) -> Tensor:
        """Every code, ``[C, ..., C]``."""
        codes = self.get_buffer("codes")
        return codes.view(self.size, *[1] * (h.dim() - 1), self.size).expand(-1, *h.shape[:-1], -1)

    def mode(self, h: Tensor) -> Tensor:
        """See the base."""
        return self._chosen(self.prior(h))

    def draw(self, h: Tensor, chance: Tensor) -> Tensor:
        """By Gumbel's trick."""
        gumbel = -(-chance.clamp(EDGE, 1 - EDGE).log()).log()
        return self._chosen(self.prior(h) + gumbel)

    def _chosen(self, logits: Tensor) -> Tensor:
        return self.get_buffer("codes")[logits.argmax(-1)]

    def _posterior(self, h: Tensor, y: Tensor, decode: Decode, beta: float) -> tuple[Tensor, ...]:
        """Log p, log q and E of every code, ``[C, ...]`` each."""
        gaps = errors(decode(self._all(h)), y)
        prior = self.prior(h).log_softmax(-1).movedim(-1, 0)
        return prior, (prior - gaps / beta).log_softmax(0), gaps

    def infer(self, h: Tensor, y: Tensor, decode: Decode, beta: float, chance: Tensor) -> Tensor:
        """See the base."""
        _, posterior, _ = self._posterior(h, y, decode, beta)
        gumbel = -(-chance.clamp(EDGE, 1 - EDGE).log()).log()
        return self._chosen(posterior.movedim(0, -1) + gumbel)

    def losses(
        self, h: Tensor, y: Tensor, decode: Decode, beta: float, chance: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See the base; no gradient need pass the posterior, which is at its optimum."""
        prior, posterior, gaps = self._posterior(h, y, decode, beta)
        posterior = posterior.detach()
        q = posterior.exp()
        # A code that is out of the question costs nothing, not 0 · ∞.
        kl = torch.where(q > 0, q * (posterior - prior), 0.0)
        return (q * gaps).sum(0), kl.sum(0)

    def several(self, h: Tensor, chance: Tensor) -> Tensor:
        """Every code, whatever the chance."""
        return self._all(h)


class Gaussian(Variable):
    """``C`` numbers, independent of one another given ``h``.

    Args:
        dims: ``C``.
        width: of ``h``.
        latent: ``Z``.
    """

    def __init__(self, dims: int, width: int, latent: int) -> None:
        super().__init__(dims)
        self.prior = nn.Linear(width, 2 * dims)
        self.posterior = nn.Sequential(
            nn.Linear(width + latent, width), nn.GELU(), nn.Linear(width, 2 * dims)
        )

    def _split(self, found: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log σ, which is kept where exp is harmless."""
        mean, log_std = found.chunk(2, dim=-1)
        return mean, log_std.clamp(-7, 3)

    def mode(self, h: Tensor) -> Tensor:
        """See the base."""
        return self._split(self.prior(h))[0]

    def draw(self, h: Tensor, chance: Tensor) -> Tensor:
        """See the base."""
        return self._value(self._split(self.prior(h)), chance)

    def _value(self, moments: tuple[Tensor, Tensor], chance: Tensor) -> Tensor:
        normal = torch.special.ndtri(chance.clamp(EDGE, 1 - EDGE))
        return moments[0] + moments[1].exp() * normal

    def infer(self, h: Tensor, y: Tensor, decode: Decode, beta: float, chance: Tensor) -> Tensor:
        """See the base; ``beta`` was at work when the posterior was trained."""
        return self._value(self._split(self.posterior(torch.cat([h, y], -1))), chance)

    def losses(
        self, h: Tensor, y: Tensor, decode: Decode, beta: float, chance: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See the base; of one value (Kingma & Welling, arXiv:1312.6114, eq. 7 with a prior)."""
        prior = self._split(self.prior(h))
        posterior = self._split(self.posterior(torch.cat([h, y], -1)))
        (m, log_s), (n, log_r) = posterior, prior
        kl = log_r - log_s + ((2 * log_s).exp() + (m - n).square()) / (2 * (2 * log_r).exp()) - 0.5
        return errors(decode(self._value(posterior, chance)), y), kl.sum(-1)

    def several(self, h: Tensor, chance: Tensor) -> Tensor:
        """Draws of the prior."""
        return self.draw(h, chance)
