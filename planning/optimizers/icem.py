"""Sample-efficient cross-entropy method (iCEM; Pinneri et al. 2020, arXiv:2008.06389)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from planning.optimizers.base import Array
from planning.optimizers.cem import CEM

PINK = 1.0


def colored_noise(
    rng: np.random.Generator, shape: tuple[int, ...], exponent: float = PINK
) -> np.ndarray:
    """Gaussian noise along the last axis with power spectrum ``1 / f**exponent``, float32.

    Timmer & Koenig 1995: random Fourier coefficients, scaled, transformed back. The constant
    component gets the weight of the lowest frequency, and the whole is scaled so that every single
    sample has variance 1 exactly, whatever the exponent (0: white, 1: pink, 2: red).
    """
    steps = shape[-1]
    if steps == 1:
        return rng.standard_normal(shape, dtype=np.float32)
    frequency = np.fft.rfftfreq(steps)
    frequency[0] = frequency[1]
    weight = frequency ** (-exponent / 2)
    # Real-valued components (constant, and Nyquist for even lengths) carry no imaginary part and
    # count once in the variance; the others stand for a conjugate pair.
    real = np.zeros(len(weight), bool)
    real[0], real[-1] = True, steps % 2 == 0
    power = np.where(real, 2.0, 4.0) * weight**2 / steps**2
    weight = weight / np.sqrt(power.sum())
    parts = rng.standard_normal((2, *shape[:-1], len(weight)))
    spectrum = np.where(real, np.sqrt(2.0) * parts[0], parts[0] + 1j * parts[1]) * weight
    return np.fft.irfft(spectrum, n=steps).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class ICEM(CEM):
    """CEM with noise that is coloured in time, kept elites and fewer candidates every round.

    Of the paper, elites shifted between plans are left out: the planner's warm start shifts the
    mean, which is candidate 0.

    Attributes:
        elites: as in CEM; 10 in the paper (the last rounds cost only twice as many candidates).
        momentum: as in CEM; 0.1 in the paper.
        beta: exponent of the noise's spectrum over *control* steps; 0 is white, 1 pink.
        keep_elites: share of the elites that enter the next iteration, 0 to below 1.
        decay: gamma of the paper: iteration ``i`` costs ``N / gamma**i`` candidates, but never
            fewer than twice the elites.
    """

    elites: int = 10
    momentum: float = 0.1
    beta: float = PINK
    keep_elites: float = 0.3
    decay: float = 1.25

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.beta >= 0, "beta", "at least 0")
        self.require(0 <= self.keep_elites < 1, "keep_elites", "from 0 to below 1")
        self.require(self.decay >= 1, "decay", "at least 1")

    def draw_noise(
        self, rng: np.random.Generator, horizon: int, action_dim: int, block: int = 1
    ) -> np.ndarray:
        """Noise ``[iterations, N, H, A]``, correlated over the ``H * block`` control steps."""
        lead, control_dim = (self.iterations, self.candidates), action_dim // block
        noise = colored_noise(rng, (*lead, control_dim, horizon * block), self.beta)
        return np.ascontiguousarray(noise.swapaxes(2, 3)).reshape(*lead, horizon, action_dim)

    def num_samples(self, iteration: int) -> int:
        """Candidates of an iteration: geometric decay with a floor."""
        wanted = int(self.candidates / self.decay**iteration)
        return min(self.candidates, max(wanted, 2 * self.elites))

    def carry(self, xp: Any, candidates: Array, costs: Array) -> Array | None:
        """The cheapest ``keep_elites * elites`` candidates."""
        carried = int(self.keep_elites * self.elites)
        return xp.take(candidates, xp.argsort(costs)[:carried], axis=0) if carried else None
