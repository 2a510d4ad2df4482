"""The controller evolves in the dream: CMA-ES on the cost that planning has, no frame drawn.

Reward is minus the native cost, ‖z - z_goal‖² after every block; goals are frames that were
recorded ahead of the start. In Hansen's ``cma`` with a diagonal covariance, which learns in
O(parameters) a generation; all controllers of a generation dream the same dreams.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robot_wm.core.errors import ConfigError
from robot_wm.core.system.progress import progress
from robot_wm.world_models.pixels.model import unpushed
from robot_wm.world_models.world_models_2018.config import WorldModels2018Config
from robot_wm.world_models.world_models_2018.networks import Mixture, Network, sample


def library() -> ModuleType:
    """The package ``cma``.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import cma
    except ImportError as error:
        raise ConfigError(
            "a controller that evolves, without the package cma", "an environment with the extra "
            "rivals", "pip install -e '.[rivals]', or set train.generations=0",
        ) from error  # fmt: skip
    found: ModuleType = cma
    return found


@dataclass(frozen=True)
class Dreams:
    """Where dreams begin, what they are to reach, and all the chance in them.

    Attributes:
        z_prev, z, action: two frames ``[B, Z]`` and the block between them ``[B, A]``.
        goal: ``[B, Z]``.
        uniform, normal: ``[R, B, 1]`` and ``[R, B, Z]``, see ``networks.sample``.
    """

    z_prev: Tensor
    z: Tensor
    action: Tensor
    goal: Tensor
    uniform: Tensor
    normal: Tensor


def dreamt(
    network: Network, controllers: Tensor, dreams: Dreams, temperature: float
) -> Iterator[tuple[Tensor, Mixture]]:
    """What controllers ``[M, C · (Z + D + Z) + C]`` come to, each in all dreams, block by block.

    Returns:
        The dreamt ``z [M · B, Z]``, and the mixture it was drawn from.
    """
    members, starts = len(controllers), len(dreams.z)
    controls = network.controller.out_features
    weights = controllers[:, :-controls].reshape(members, controls, -1)
    biases = controllers[:, -controls:]

    def all_of(rows: Tensor) -> Tensor:
        return rows.expand(members, *rows.shape).flatten(0, 1)

    memory = network.advance(dreams.z_prev, dreams.action, network.rnn.blank(starts))
    memory, here = (all_of(memory[0]), all_of(memory[1])), all_of(dreams.z)
    goal = all_of(dreams.goal)
    for uniform, normal in zip(dreams.uniform, dreams.normal, strict=True):
        seen = torch.cat([here, memory[0], goal], dim=-1).reshape(members, starts, -1)
        shares = torch.tanh(seen @ weights.mT + biases[:, None]).flatten(0, 1)
        block = unpushed(shares.tile(1, network.block), network.low, network.high)
        memory = network.advance(here, block, memory)
        mixture = network.rnn.mixture(memory[0])
        here = sample(mixture, temperature, all_of(uniform), all_of(normal))
        yield here, mixture


@torch.inference_mode()
def dreamed_cost(
    network: Network, controllers: Tensor, dreams: Dreams, temperature: float
) -> Tensor:
    """Mean cost ``[M]`` of controllers, see :func:`dreamt`."""
    members, starts = len(controllers), len(dreams.z)
    goal = dreams.goal.expand(members, *dreams.goal.shape).flatten(0, 1)
    total = torch.zeros(members * starts, device=dreams.z.device)
    for here, _ in dreamt(network, controllers, dreams, temperature):
        total += (here - goal).square().sum(dim=-1)
    return total.reshape(members, starts).mean(dim=1) / len(dreams.uniform)


def genes(network: Network) -> Tensor:
    """The controller as one row, as :func:`dreamed_cost` reads it."""
    controller = network.controller
    return torch.cat([controller.weight.flatten(), controller.bias])


def evolve(
    config: WorldModels2018Config, network: Network, make: Any, rng: np.random.Generator
) -> dict[str, float]:
    """Evolve the controller of a network, in place.

    Args:
        make: ``make(count, rng)`` gives that many :class:`Dreams`.
        rng: decides everything.

    Returns:
        Mean cost in dreams that were not evolved in, before and after.
    """
    fresh = make(max(256, config.dreams), rng)
    before = dreamed_cost(network, genes(network)[None], fresh, config.temperature)
    if config.generations:
        options = {
            "popsize": config.population, "CMA_diagonal": True, "verbose": -9, "verb_log": 0,
            "verb_disp": 0, "seed": float("nan"), "randn": lambda *size: rng.standard_normal(size),
        }  # fmt: skip
        state = np.random.get_state()  # noqa: NPY002  (cma touches it and draws nothing from it)
        search = library().CMAEvolutionStrategy(
            genes(network).double().cpu().numpy(), config.sigma, options
        )
        with progress("dream", config.generations) as report:
            for generation in range(config.generations):
                rows = search.ask()
                population = torch.tensor(np.array(rows), dtype=torch.float32).to(network.low)
                dreams = make(config.dreams, rng)
                costs = dreamed_cost(network, population, dreams, config.temperature)
                search.tell(rows, costs.double().tolist())
                report(generation + 1, f"cost {float(costs.min()):.2f}")
        np.random.set_state(state)  # noqa: NPY002
        found = torch.tensor(search.result.xfavorite, dtype=torch.float32)
        controls = network.controller.out_features
        network.controller.weight.copy_(found[:-controls].reshape(controls, -1))
        network.controller.bias.copy_(found[-controls:])
    after = dreamed_cost(network, genes(network)[None], fresh, config.temperature)
    return {"before": float(before), "after": float(after)}
