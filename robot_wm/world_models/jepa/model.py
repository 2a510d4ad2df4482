"""The house world model behind the contract: frozen encoder, compact latent, action predictor.

step_costs[n, h] = root mean square over Z of ẑ_{t+h} - z_goal, plus, if asked for, the learned goal
distance between the two: predicting representations, not pixels (V-JEPA 2-AC, arXiv:2506.09985,
with a cost at every step), in a latent whose changes are alike in every direction
(``projector.Whiten``). The root, because squares let one wild number outweigh all others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor, nn

from robot_wm.core.config import Within, build, check_fields
from robot_wm.core.errors import ConfigError, WeightsError
from robot_wm.core.protocols import (
    History,
    ModelSpec,
    check_actions,
    check_history,
    proposal_chance,
    spec_from_json,
)
from robot_wm.core.storage.provenance import check_parent
from robot_wm.encoders.frozen import FrozenEncoder
from robot_wm.encoders.token_pca import Reduce
from robot_wm.training.checkpoint import full_precision, load_artifact, load_module
from robot_wm.world_models.jepa.actor.model import Actor
from robot_wm.world_models.jepa.dynamics import Distance, Predictor, ProposerHead
from robot_wm.world_models.jepa.projector import Embedding, Projector, Whiten

KIND = "world_model"
CONTEXT = 2
COSTS = ("latent", "distance", "both")
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
            from the open-loop plans of a :class:`ProposerHead`.
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
        self.reduce = Reduce(s.positions, s.encoder_width, s.reduced)
        self.projector = Projector(s.grid, s.reduced, s.channels, s.keypoints)
        self.embedding = (
            Embedding(4 * s.keypoints, s.embedding, s.embedding_width, s.embedding_blocks, s.slow)
            if s.embedding
            else nn.Identity()
        )
        self.whiten = Whiten(s.latent)
        self.predictor = Predictor(s.latent, s.action, s.width, s.blocks)
        self.proposer: Any = (Actor if s.actor else ProposerHead)(
            s.latent, s.action, s.horizon, s.heads, s.proposer_width, s.proposer_blocks
        )
        self.distance = Distance(s.latent, s.distance_width, s.distance_blocks)

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


@dataclass(frozen=True)
class JepaState:
    """What the model knows now.

    Attributes:
        z: latents of the previous and the present frame ``[2, Z]``; equal when ``known`` is False.
        action: block between them ``[A]``, task unit; zeros when ``known`` is False.
        known: False for a state from one frame, which has no velocity.
    """

    z: Tensor
    action: Tensor
    known: bool


class JEPAWorldModel:
    """:class:`robot_wm.core.protocols.WorldModel` and ``Proposer`` over a frozen encoder.

    Args:
        network: the trained parts.
        encoder: the encoder they were trained on.
        spec: what the planner must know.
        cost: ``latent`` (root mean square), ``distance`` (log of blocks to go),
            ``both`` (their sum).

    Raises:
        ConfigError: an unknown cost.
    """

    def __init__(
        self, network: Network, encoder: FrozenEncoder, spec: ModelSpec, cost: str = "latent"
    ) -> None:
        if cost not in COSTS:
            raise ConfigError(f"cost {cost!r}", f"one of {COSTS}", "name one of them")
        self.network, self.encoder, self.spec, self.cost = network.eval(), encoder, spec, cost

    @staticmethod
    def load(folder: Path, encoder_folder: Path, cost: str | None = None) -> JEPAWorldModel:
        """Load a trained world model and its encoder.

        Args:
            folder: artefact of kind ``world_model``.
            encoder_folder: artefact of kind ``encoder``.
            cost: replaces the stored choice.

        Raises:
            WeightsError: missing, altered or misshapen weights.
            DataError: the encoder is not the one this model was trained on.
        """
        encoder = FrozenEncoder.load(encoder_folder)
        tensors, config, manifest = load_artifact(folder, KIND)
        check_parent(manifest, "encoder", encoder.sha256)
        try:
            network = Network(Sizes.stored(config, folder))
            spec = spec_from_json(config["spec"])
            kind = cost or config["cost"]
        except (KeyError, TypeError, ConfigError) as error:
            raise WeightsError(
                f"{folder} has an unusable configuration: {error}",
                "the keys of Sizes and ModelSpec",
                "train the world model again",
            ) from error
        load_module(network, full_precision(tensors), str(folder))
        network.requires_grad_(False)
        hashes = {**manifest["parents"], KIND: manifest["sha256"]}
        return JEPAWorldModel(network, encoder, replace(spec, hashes=hashes), kind)

    @property
    def _device(self) -> torch.device:
        return self.network.reduce.mean.device

    @torch.inference_mode()
    def encode(self, history: History) -> JepaState:
        """State of the last two frames; from a single frame (a goal), a state without velocity.

        Raises:
            InputError: frames of another size, actions that are not ``[T-1, A]``.
        """
        check_history(history, self.spec)
        if len(history.frames) == 1:
            z = self._latent(history.frames[-1])
            return JepaState(
                z.expand(2, -1), torch.zeros(self.spec.action_dim, device=self._device), False
            )
        # Frame by frame, so that a frame has the same bytes as a goal and as part of a history.
        z = torch.cat([self._latent(frame) for frame in history.frames[-CONTEXT:]])
        return JepaState(z, self._tensor(history.actions[-1]), True)

    def _latent(self, frame: np.ndarray) -> Tensor:
        return self.network.embed(self.encoder.encode_frames(frame[None]).to(self._device))

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.array(array, np.float32)).to(self._device)

    @torch.inference_mode()
    def imagine(self, state: JepaState, actions: np.ndarray) -> Tensor:
        """Latents ``[N, H, Z]`` of candidate actions ``[N, H, A]``; for reports and metrics.

        Raises:
            InputError: see :func:`robot_wm.core.protocols.check_actions`.
        """
        check_actions(actions, self.spec)
        rows = self._tensor(actions)
        return self.network.predictor.rollout(state.z[:1], state.z[1:], state.action[None], rows)

    @torch.inference_mode()
    def step_costs(self, state: JepaState, goal: JepaState, actions: np.ndarray) -> np.ndarray:
        """Cost of each imagined step, float32 ``[N, H]``; see the contract.

        Raises:
            InputError: see :func:`robot_wm.core.protocols.check_actions`.
        """
        latents = self.imagine(state, actions)
        return self.network.costs(latents, goal.z[1:], self.cost).cpu().numpy()

    @torch.inference_mode()
    def propose(
        self, state: JepaState, goal: JepaState, n: int, rng: np.random.Generator
    ) -> np.ndarray:
        """``n`` plans, float32 ``[n, H, A]`` within bounds, see :meth:`Network.plans`."""
        fixed = self.network.proposer.shape[0]
        drawn = proposal_chance(rng, max(0, n - fixed), self.spec)
        choice, noise = (self._tensor(part) for part in drawn)
        bounds = (
            self._tensor(np.asarray(self.spec.action_low)),
            self._tensor(np.asarray(self.spec.action_high)),
        )
        seen = (state.z[:1], state.z[1:], state.action[None])
        plans = self.network.plans(seen, goal.z[1:], choice, noise, bounds)
        return plans[:n].cpu().numpy()


def candidate_bytes(sizes: Sizes) -> int:
    """Working memory of one candidate in ``step_costs`` [bytes].

    All predicted latents stay, and about eight activations of the predictor's width live at once.
    """
    return 4 * (sizes.horizon * (sizes.latent + sizes.action) + 8 * sizes.width + 4 * sizes.latent)
