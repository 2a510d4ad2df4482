"""Actor and critic, learned in imagination alone (section "Actor critic learning" of V3).

Reward is minus the native cost of what is imagined: the recorded data have none. Every imagined
course begins at a recorded moment and pursues a frame recorded later in the same window.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from robot_wm.world_models.dreamer.layers import two_hot
from robot_wm.world_models.dreamer.network import Network
from robot_wm.world_models.dreamer.rssm import Belief

RATE = 0.01  # of the running percentiles of returns


@dataclass(frozen=True)
class Course:
    """``L`` imagined blocks of ``B`` rows.

    Attributes:
        features: ``[L+1, B, F]``.
        controls: what the actor drew in each but the last, in shares of the bounds ``[L, B, C]``.
        rewards: of the block that leads to each but the first, ``[L, B]``.
    """

    features: Tensor
    controls: Tensor
    rewards: Tensor


@torch.no_grad()
def dream(
    network: Network, belief: Belief, goal: Tensor, length: int, generator: torch.Generator
) -> Course:
    """Let the actor act in imagination.

    Args:
        belief: where to begin, ``B`` rows.
        goal: φ ``[B, E]``.
    """
    features, controls, rewards = [belief.features], [], []
    groups = network.config.groups
    for _ in range(length):
        mean, std = network.policy(features[-1], goal)
        drawn = mean + std * torch.randn(mean.shape, generator=generator).to(mean)
        uniform = torch.rand((len(goal), groups), generator=generator).to(mean)
        belief, _ = network.rssm.imagine(belief, network.shares(network.acted(drawn)), uniform)
        features.append(belief.features)
        controls.append(drawn)
        rewards.append(-network.distance(features[-1], goal))
    return Course(torch.stack(features), torch.stack(controls), torch.stack(rewards))


def lambda_returns(rewards: Tensor, values: Tensor, discount: float, lam: float) -> Tensor:
    """R_t = r_t + γ ((1-λ) v_{t+1} + λ R_{t+1}), R of the end being its value: ``[L, B]``.

    Args:
        rewards: ``[L, B]``, of the block that begins at each moment.
        values: ``[L+1, B]``, of the moments and of the end.
    """
    later, found = values[-1], []
    for t in reversed(range(len(rewards))):
        later = rewards[t] + discount * ((1 - lam) * values[t + 1] + lam * later)
        found.append(later)
    return torch.stack(found[::-1])


def behaviour_loss(network: Network, course: Course, goal: Tensor) -> dict[str, Tensor]:
    """Losses of actor (REINFORCE with normalised returns) and critic (two-hot), means.

    Returns are divided by the running range from their 5th to their 95th percentile, at least 1.
    """
    c, length = network.config, len(course.rewards)
    goals = goal.expand(length + 1, *goal.shape)
    logits, values = network.value(course.features, goals)
    with torch.no_grad():
        discount = 1 - 1 / c.discount_blocks
        returns = lambda_returns(course.rewards, values, discount, c.lambda_)
        found = torch.quantile(returns, returns.new_tensor([0.05, 0.95]))
        network.returns.lerp_(found, RATE)
        scale = (network.returns[1] - network.returns[0]).clamp(min=1)
        advantage = (returns - values[:-1]) / scale
        _, slow_value = network.value(course.features[:-1], goals[:-1], slow=True)
        wanted = two_hot(returns, network.values) + two_hot(slow_value, network.values)
    mean, std = network.policy(course.features[:-1], goals[:-1])
    gaps = (course.controls - mean) / std
    log_p = (-0.5 * gaps.square() - std.log() - 0.5 * math.log(2 * math.pi)).sum(dim=-1)
    entropy = (std.log() + 0.5 * math.log(2 * math.pi * math.e)).sum(dim=-1)
    return {
        "actor": -(log_p * advantage + c.entropy * entropy).mean(),
        "critic": -(wanted * logits[:-1].log_softmax(dim=-1)).sum(dim=-1).mean(),
    }
