"""The house world model behind the contract: frozen encoder, compact latent, action predictor.

step_costs[n, h] = root mean square over Z of ẑ_{t+h} - z_goal, plus, if asked for, the learned goal
distance between the two: predicting representations, not pixels (V-JEPA 2-AC, arXiv:2506.09985,
with a cost at every step), in a latent whose changes are alike in every direction
(``projector.Whiten``). The root, because squares let one wild number outweigh all others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from robot_wm.core.errors import ConfigError
from robot_wm.core.protocols import (
    History,
    ModelSpec,
    check_actions,
    check_clip,
    check_history,
    proposal_chance,
)
from robot_wm.encoders.base import Encoder, load_encoder
from robot_wm.world_models.base import ExportParts
from robot_wm.world_models.jepa.network import Encode, Network, Propose, Sizes, StepCosts
from robot_wm.world_models.stored import load_network

KIND, NAME = "world_model", "jepa"  # of its artefacts; of its family
CONTEXT = 2
COSTS = ("latent", "distance", "both")


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


NextLatent = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""Latents before, latents now ``[N, Z]``, actions before, actions now ``[N, A]``; next latents."""
TRIVIAL: Mapping[str, NextLatent] = {
    "copy_last": lambda before, now, done, action: now,
    "constant_velocity": lambda before, now, done, action: 2 * now - before,
}


@dataclass(frozen=True)
class LatentSurprise:
    """Root mean square over ``Z`` of the error of a rule for the next latent."""

    model: JEPAWorldModel
    rule: NextLatent

    @torch.inference_mode()
    def surprise(self, frames: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """See :meth:`JEPAWorldModel.surprise`."""
        check_clip(frames, actions, self.model.spec)
        z, rows = self.model.embed_frames(frames), self.model.tensor(actions)
        # The first frame has no velocity, as in training.
        before, done = torch.cat([z[:1], z[:-2]]), torch.cat([0 * rows[:1], rows[:-1]])
        error = self.rule(before, z[:-1], done, rows) - z[1:]
        return error.square().mean(dim=-1).sqrt().cpu().numpy()


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
        self, network: Network, encoder: Encoder, spec: ModelSpec, cost: str = "latent"
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
        encoder = load_encoder(encoder_folder)
        network, kind, spec = load_network(
            folder,
            encoder.sha256,
            lambda stored, _: (Network(Sizes.stored(stored, folder)), cost or stored["cost"]),
            Sizes,
        )
        return JEPAWorldModel(network, encoder, spec, kind)

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
            z = self.embed_frames(history.frames[-1:])
            return JepaState(
                z.expand(2, -1), torch.zeros(self.spec.action_dim, device=self._device), False
            )
        z = self.embed_frames(history.frames[-CONTEXT:])
        return JepaState(z, self.tensor(history.actions[-1]), True)

    @torch.inference_mode()
    def embed_frames(self, frames: np.ndarray) -> Tensor:
        """Latents ``[T, Z]`` of frames uint8 ``[T, H, W, 3]``.

        Frame by frame, so that a frame has the same bytes as a goal and as part of a history.
        """
        tokens = (self.encoder.encode_frames(frame[None]).to(self._device) for frame in frames)
        return torch.cat([self.network.embed(each) for each in tokens])

    def tensor(self, array: np.ndarray) -> Tensor:
        """Numbers as float32 where the network is."""
        return torch.from_numpy(np.array(array, np.float32)).to(self._device)

    @torch.inference_mode()
    def imagine(self, state: JepaState, actions: np.ndarray) -> Tensor:
        """Latents ``[N, H, Z]`` of candidate actions ``[N, H, A]``; for reports and metrics.

        Raises:
            InputError: see :func:`robot_wm.core.protocols.check_actions`.
        """
        check_actions(actions, self.spec)
        rows = self.tensor(actions)
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
        chance = proposal_chance(rng, max(0, n - fixed), self.spec)
        choice, noise = (self.tensor(part) for part in chance)
        bounds = (
            self.tensor(np.asarray(self.spec.action_low)),
            self.tensor(np.asarray(self.spec.action_high)),
        )
        seen = (state.z[:1], state.z[1:], state.action[None])
        plans = self.network.plans(seen, goal.z[1:], choice, noise, bounds)
        return plans[:n].cpu().numpy()

    def latents(self, frames: np.ndarray) -> np.ndarray:
        """See :class:`robot_wm.core.protocols.Editable`."""
        return self.embed_frames(frames).cpu().numpy()

    def continued(self, latents: np.ndarray, done: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """See :class:`robot_wm.core.protocols.Editable`."""
        state = JepaState(self.tensor(latents), self.tensor(done), True)
        return self.imagine(state, actions[None])[0].cpu().numpy()

    def surprise(self, frames: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Error of the predicted latent of each frame, in its whitened metric, float32 ``[T-1]``.

        See :class:`robot_wm.core.protocols.Surprising` (Garrido et al. 2025, arXiv:2502.11831).

        Raises:
            InputError: see :func:`robot_wm.core.protocols.check_clip`.
        """
        return LatentSurprise(self, self.network.predictor).surprise(frames, actions)

    def surprise_references(self) -> dict[str, LatentSurprise]:
        """The same where the next latent is the last one, or as far on as the last step went."""
        return {name: LatentSurprise(self, rule) for name, rule in TRIVIAL.items()}

    def export_parts(self) -> ExportParts:
        """See :class:`robot_wm.world_models.base.Exportable`."""
        sizes = self.network.sizes
        return ExportParts(
            encode=Encode(self.encoder, self.network),
            step_costs=StepCosts(self.network, self.cost),
            propose=Propose(self.network, self.spec),
            latent=sizes.latent,
            proposals=sizes.heads,
            horizon=sizes.horizon,
        )
