"""Is a latent variable worth it, and does it stay one? Errors, energies and the leak, held out.

The leak: a posterior may hide in z what the predictor should get from s and a, the future itself.
Then a z that was inferred elsewhere, after the same action, predicts the wrong future: worse than
one that the prior draws.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from robot_wm.data.windows import Windows
from robot_wm.world_models.latent_variable.model import TRIED
from robot_wm.world_models.latent_variable.network import LatentVariableNetwork
from robot_wm.world_models.latent_variable.variables import errors

RESAMPLES = 1000


@dataclass(frozen=True)
class Transitions:
    """Held-out steps, each with what a rollout looks back on.

    Attributes:
        s, actions: latents ``[N, T, Z]`` and the blocks that leave them ``[N, T, A]``.
        y: what came after the last of them ``[N, Z]``.
        episode: of each, ``[N]``.
    """

    s: Tensor
    actions: Tensor
    y: Tensor
    episode: np.ndarray


def transitions(windows: Windows, count: int) -> Transitions:
    """Up to ``count`` steps evenly spaced over a split.

    Raises:
        DataError: there is none.
    """
    counts = [max(0, len(blocks) - windows.window + 2) for blocks in windows.actions]
    episode = np.repeat(np.arange(len(counts)), counts)
    picked = np.linspace(0, len(windows) - 1, min(count, len(windows))).astype(int)
    rows, actions = windows.evenly_spaced(count)
    return Transitions(rows[:, :-1], actions, rows[:, -1], episode[picked])


def elsewhere(actions: Tensor, episode: np.ndarray) -> Tensor:
    """For each step the one of another episode whose block ``[N, A]`` is nearest, ``[N]``.

    Where there is one episode alone, a step is its own.
    """
    apart = torch.from_numpy(episode[:, None] != episode[None])
    gaps = torch.cdist(actions, actions).masked_fill(~apart, torch.inf)
    own = torch.arange(len(actions))
    return torch.where(apart.any(1), gaps.argmin(1), own)


@dataclass(frozen=True)
class Found:
    """Of each held-out step, float32 ``[N]`` each; errors are mean squares over the latent.

    Attributes:
        likeliest: error of the prior's likeliest z.
        best: least error of eight z: every code, or draws of the prior. It is F(x, y).
        prior: mean error of eight draws of the prior.
        posterior: mean error of eight draws of the posterior.
        lent: mean error of eight draws of the posterior of another step, of another episode, with
            the most similar block.
        swapped: energy F of a future of another episode.
        nats: KL[posterior ‖ prior].
    """

    likeliest: np.ndarray
    best: np.ndarray
    prior: np.ndarray
    posterior: np.ndarray
    lent: np.ndarray
    swapped: np.ndarray
    nats: np.ndarray


@torch.inference_mode()
def measure(network: LatentVariableNetwork, steps: Transitions, seed: int) -> Found:
    """Everything that the acceptance asks for, of one trained predictor.

    Args:
        seed: of all chance.
    """
    network, rng = network.eval(), np.random.default_rng(seed)
    h, s, y = network.know(steps.s, steps.actions)[:, -1], steps.s[:, -1], steps.y
    variable, beta = network.variable, network.config.beta
    shape = TRIED, len(y), variable.size
    lots = [torch.from_numpy(rng.random(shape, np.float32)) for _ in range(4)]
    donor = elsewhere(network.scale(steps.actions[:, -1]), steps.episode)
    other = torch.from_numpy(_other_episode(steps.episode, rng))

    def gaps(values: Tensor) -> Tensor:
        return errors(network.decode(s, h, values), y).mean(0)

    inferred = [
        variable.infer(h, y, lambda value: network.decode(s, h, value), beta, lot)
        for lot in lots[0]
    ]
    posterior = torch.stack(inferred)
    drawn = torch.stack([variable.draw(h, lot) for lot in lots[1]])
    _, nats = variable.losses(h, y, lambda value: network.decode(s, h, value), beta, lots[0][0])
    tensors = (
        errors(network.decode(s, h, variable.mode(h)), y),
        network.energies(s, h, y, lots[2]).amin(0), gaps(drawn), gaps(posterior),
        gaps(posterior[:, donor]), network.energies(s, h, y[other], lots[2]).amin(0), nats,
    )  # fmt: skip
    return Found(*(tensor.numpy() for tensor in tensors))


def _other_episode(episode: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For each step a random one of another episode, ``[N]``; of one episode alone, any."""
    found = rng.permutation(len(episode))
    for _ in range(100):
        same = episode[found] == episode
        if not same.any():
            break
        found[same] = rng.integers(len(episode), size=int(same.sum()))
    return found


def ratio(
    above: np.ndarray, below: np.ndarray, episode: np.ndarray, seed: int = 0
) -> tuple[float, float, float]:
    """Σ above / Σ below, and its 95 % interval, bootstrapped by episode."""
    names, index = np.unique(episode, return_inverse=True)
    tops, bottoms = (np.bincount(index, weights=part) for part in (above, below))
    picks = np.random.default_rng(seed).integers(len(names), size=(RESAMPLES, len(names)))
    spread = tops[picks].sum(1) / bottoms[picks].sum(1)
    low, high = np.percentile(spread, [2.5, 97.5])
    return float(tops.sum() / bottoms.sum()), float(low), float(high)
