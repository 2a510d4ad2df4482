"""The network of the house world model: everything that is shipped, and its sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from robot_wm.core.config import Within, build, check_fields
from robot_wm.core.errors import ConfigError, WeightsError
from robot_wm.core.protocols import ModelSpec
from robot_wm.encoders.token_pca import TokenPCA
from robot_wm.world_models.jepa.actor.model import Actor
from robot_wm.world_models.jepa.dynamics import ActionPrior, GoalDistance, LatentPredictor
from robot_wm.world_models.jepa.projector import Embedding, Projector, Whiten

Size = Annotated[int, Within(1, 4096)]


@dataclass(frozen=True)
class Sizes:
    """Shape of the network, kept beside its weights.

    Attributes:
        positions, encoder_width: ``P`` and ``D`` of the encoder's tokens.
        columns: of the grid of tokens; 0 where it is square.
        action: ``A``, size of one block's action.
        reduced, channels, keypoints: ``R``, width and ``K`` of the projector.
        embedding, embedding_width, embedding_blocks: numbers learned by the embedding and its MLP;
            with an ``embedding`` of 0 the projector's latent is used as it is.
        width, blocks: of the predictor.
        horizon, heads, proposer_width, proposer_blocks: of the proposer.
        distance_width, distance_blocks: of the goal distance.
        slow: slow directions of the embedding.
        actor: whether proposals come from an :class:`Actor` rolled out in the predictor, instead of
            from the open-loop plans of a :class:`ActionPrior`.
        layer_norm: of the encoder's tokens, see :class:`TokenPCA`.
    """

    positions: Annotated[int, Within(1, 2**16)]
    encoder_width: Size
    action: Annotated[int, Within(1, 2**16)]
    reduced: Size
    channels: Size
    keypoints: Size
    embedding: Annotated[int, Within(0, 4096)]
    embedding_width: Size
    embedding_blocks: Size
    width: Size
    blocks: Size
    horizon: Size
    heads: Size
    proposer_width: Size
    proposer_blocks: Size
    distance_width: Size
    distance_blocks: Size
    slow: Annotated[int, Within(0, 4096)] = 0
    actor: bool = False
    columns: Annotated[int, Within(0, 2**16)] = 0
    layer_norm: bool = True

    def __post_init__(self) -> None:
        check_fields(self, "sizes")
        if math.prod(self.grid) != self.positions:
            raise ConfigError(
                f"sizes: {self.positions} tokens in {self.grid[1]} columns", "a full grid",
                "set sizes.columns, the encoder's columns of patches",
            )  # fmt: skip

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the encoder's tokens."""
        columns = self.columns or math.isqrt(self.positions)
        return self.positions // columns, columns

    @staticmethod
    def stored(config: Mapping[str, Any], folder: Path) -> Sizes:
        """Sizes of a stored model, from its configuration.

        Raises:
            WeightsError: a size missing, unknown or impossible.
        """
        try:
            return build(Sizes, config.get("sizes"), "sizes")  # type: ignore[arg-type]
        except ConfigError as error:
            raise WeightsError(
                f"{folder} has an unusable configuration: {error.received}", error.accepted,
                "copy it again, or train the world model again",
            ) from error  # fmt: skip

    @property
    def latent(self) -> int:
        """``Z``, size of the latent."""
        return self.embedding + self.slow if self.embedding else 4 * self.keypoints


class Network(nn.Module):
    """Everything that is shipped; pure functions of tensors, so that ONNX can trace them."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        s = self.sizes = sizes
        self.reduce = TokenPCA(s.positions, s.encoder_width, s.reduced, s.layer_norm)
        self.projector = Projector(s.grid, s.reduced, s.channels, s.keypoints)
        self.embedding = (
            Embedding(4 * s.keypoints, s.embedding, s.embedding_width, s.embedding_blocks, s.slow)
            if s.embedding
            else nn.Identity()
        )
        self.whiten = Whiten(s.latent)
        self.predictor = LatentPredictor(s.latent, s.action, s.width, s.blocks)
        self.proposer: Any = (Actor if s.actor else ActionPrior)(
            s.latent, s.action, s.horizon, s.heads, s.proposer_width, s.proposer_blocks
        )
        self.distance = GoalDistance(s.latent, s.distance_width, s.distance_blocks)

    def embed(self, tokens: Tensor) -> Tensor:
        """Encoder tokens ``[N, P, D]`` to latents ``[N, Z]``."""
        return self.project(self.reduce(tokens))

    def novelty(self, tokens: Tensor) -> Tensor:
        """How unlike the training frames: ``[N, P, D]`` to ``[N]``, about 1 for those.

        Mean square of the reduced tokens: each position's own mean is subtracted there, and every
        component has unit variance over the training frames.
        """
        return self.reduce(tokens).square().mean(dim=(-2, -1))

    def project(self, reduced: Tensor) -> Tensor:
        """Reduced tokens ``[..., P, R]`` to latents ``[..., Z]``."""
        z: Tensor = self.whiten(self.embedding(self.projector(reduced)))
        return z

    def costs(self, latents: Tensor, goal: Tensor, kind: str = "latent") -> Tensor:
        """Costs ``[N, H]`` of imagined latents ``[N, H, Z]`` for a goal ``[1, Z]``."""
        gap = ((latents - goal).square().mean(dim=-1) + 1e-6).sqrt()
        if kind == "latent":
            return gap
        distance = self.distance(latents, goal.expand_as(latents))
        return distance if kind == "distance" else gap + distance

    def plans(
        self,
        state: tuple[Tensor, Tensor, Tensor],
        goal: Tensor,
        choice: Tensor,
        noise: Tensor,
        bounds: tuple[Tensor, Tensor],
    ) -> Tensor:
        """Proposals ``[M + K, H, A]`` within bounds ``[A]``; see the proposers' ``sample``.

        Args:
            state: ``z_prev``, ``z`` and ``a_prev``, one row each.
        """
        low, high = bounds
        if isinstance(self.proposer, Actor):
            return self.proposer.sample(self.predictor, *state, goal, choice, noise, low, high)
        plans = self.proposer.sample(*state, goal, choice, noise)
        return torch.minimum(torch.maximum(plans, low), high)

    def forward(
        self, z_prev: Tensor, z: Tensor, a_prev: Tensor, actions: Tensor, goal: Tensor
    ) -> Tensor:
        """Roll out and compare: states ``[1, ·]``, actions ``[N, H, A]``, to costs ``[N, H]``."""
        return self.costs(self.predictor.rollout(z_prev, z, a_prev, actions), goal)


def candidate_bytes(sizes: Sizes) -> int:
    """Working memory of one candidate in ``step_costs`` [bytes].

    All predicted latents stay, and about eight activations of the predictor's width live at once.
    """
    return 4 * (sizes.horizon * (sizes.latent + sizes.action) + 8 * sizes.width + 4 * sizes.latent)


# What a bundle's graphs are made of; letters as in `robot_wm.world_models.base.ExportParts`.


class Encode(nn.Module):
    """Images uint8 ``[N, S, S, 3]`` to latents ``[N, Z]`` and novelty ``[N]``; each alone."""

    def __init__(self, encoder: Any, network: Network) -> None:
        super().__init__()
        self.encoder, self.network = encoder, network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        tokens = self.encoder(images[:, None])
        return self.network.embed(tokens), self.network.novelty(tokens)


class StepCosts(nn.Module):
    """Rollout and comparison: ``actions [N, H, A]`` to costs ``[N, H]``."""

    def __init__(self, network: Network, cost: str) -> None:
        super().__init__()
        self.network, self.kind = network, cost

    def forward(
        self, z_prev: Tensor, z: Tensor, a_prev: Tensor, goal: Tensor, actions: Tensor
    ) -> Tensor:
        """See the class."""
        latents = self.network.predictor.rollout(z_prev, z, a_prev, actions)
        return self.network.costs(latents, goal, self.kind)


class Propose(nn.Module):
    """The learned actor: ``[M + K, H, A]`` plans within bounds."""

    def __init__(self, network: Network, spec: ModelSpec) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("low", torch.tensor(spec.action_low))
        self.register_buffer("high", torch.tensor(spec.action_high))

    def forward(
        self, z_prev: Tensor, z: Tensor, a_prev: Tensor, goal: Tensor, choice: Tensor, noise: Tensor
    ) -> Tensor:
        """See the class."""
        bounds = self.get_buffer("low"), self.get_buffer("high")
        return self.network.plans((z_prev, z, a_prev), goal, choice, noise, bounds)
