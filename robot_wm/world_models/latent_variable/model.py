"""The predictor behind the contract: step_costs = mean + kappa · std over several courses.

Which z each course meets is decided when a history is encoded, by a hash of it, and is the same for
all candidates (common random numbers). It is not ``Exportable``: a bundle's graphs get no chance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from robot_wm.core.errors import InputError
from robot_wm.core.protocols import History, ModelSpec, check_actions, check_history, check_image
from robot_wm.world_models.latent_variable.network import LatentVariableNetwork
from robot_wm.world_models.pixels.model import seed_of

TRIED = 8  # values of z in an energy


@dataclass(frozen=True)
class KnownState:
    """What the model knows now.

    Attributes:
        z: latents of the previous and the present frame ``[2, Z]``; equal after a single frame.
        action: the block between them ``[1, A]``; zero after a single frame.
        seed: of all chance in imagining from here.
    """

    z: Tensor
    action: Tensor
    seed: int


class LatentVariableModel:
    """The contract's ``WorldModel``; ``Surprising``, by energies.

    Args:
        network: the trained parts.
        spec: what the planner must know.
    """

    def __init__(self, network: LatentVariableNetwork, spec: ModelSpec) -> None:
        self.network, self.spec = network.eval(), spec

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.array(array, np.float32)).to(self.network.mean.device)

    @torch.inference_mode()
    def _latents(self, frames: np.ndarray) -> Tensor:
        device = self.network.mean.device
        # Frame by frame, so that a frame has the same bytes as a goal and as part of a history.
        each = [torch.from_numpy(np.array(frame[None])).to(device) for frame in frames]
        return torch.cat([self.network.embed(image) for image in each])

    def _chance(self, seed: int, *shape: int) -> Tensor:
        """Uniform numbers ``[*shape, C]``."""
        rng = np.random.default_rng(seed)
        return self._tensor(rng.random((*shape, self.network.variable.size), np.float32))

    def encode(self, history: History) -> KnownState:
        """State of the last two frames; of a single one (a goal), a state at rest.

        Raises:
            InputError: frames of another size, actions that are not ``[T-1, A]``.
        """
        check_history(history, self.spec)
        z = self._latents(history.frames[-2:])
        known = len(z) > 1
        action = history.actions[-1] if known else np.zeros(self.spec.action_dim)
        return KnownState(
            z if known else z.expand(2, -1), self._tensor(action)[None], seed_of(history)
        )

    @torch.inference_mode()
    def imagine(self, state: KnownState, actions: np.ndarray) -> Tensor:
        """Latents ``[K, N, H, Z]`` of candidate actions ``[N, H, A]`` in ``draws`` courses.

        Raises:
            InputError: see :func:`robot_wm.core.protocols.check_actions`.
        """
        check_actions(actions, self.spec)
        # Drawn step by step: a longer plan meets the same z as a shorter one.
        chance = self._chance(state.seed, actions.shape[1], self.network.config.draws)
        return self.network.courses(
            state.z[:1], state.z[1:], state.action, self._tensor(actions), chance.transpose(0, 1)
        )

    @torch.inference_mode()
    def step_costs(self, state: KnownState, goal: KnownState, actions: np.ndarray) -> np.ndarray:
        """Cost of each imagined step, float32 ``[N, H]``; see the module and the contract.

        Raises:
            InputError: see :func:`robot_wm.core.protocols.check_actions`.
        """
        config, size = self.network.config, self.network.config.chunk
        parts = []
        for first in range(0, max(1, len(actions)), size):
            imagined = self.imagine(state, actions[first : first + size])
            costs = self.network.costs(imagined, goal.z[1:])
            parts.append(costs.mean(0) + config.kappa * costs.std(0, correction=0))
        found: np.ndarray = torch.cat(parts).cpu().numpy()
        return found

    @torch.inference_mode()
    def surprise(self, frames: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """F(x, y) = min over z of E(x, y, z) of every frame but the first, float32 ``[T-1]``.

        Every prediction is made from the real frames before, as many as a rollout looks back on.

        Args:
            frames: uint8 ``[T, H, W, 3]``, a model step apart.
            actions: float32 ``[T-1, A]``, the blocks between them.

        Raises:
            InputError: fewer than two frames, images or actions of another shape.
        """
        check_image(frames, self.spec.image_size)
        wanted = (len(frames) - 1, self.spec.action_dim)
        if len(frames) < 2 or np.shape(actions) != wanted:
            raise InputError(
                f"{len(frames)} frames with actions of shape {np.shape(actions)}",
                f"two frames or more, actions {list(wanted)}", "give the block between two frames",
            )  # fmt: skip
        s, rows = self._latents(frames), self._tensor(actions)
        seed = seed_of(History.of_goal(frames[0]))  # what comes later is not to be known before
        chance, found = self._chance(seed, TRIED), []
        for t in range(len(rows)):
            first = max(0, t + 1 - self.network.context)
            h = self.network.know(s[None, first : t + 1], rows[None, first : t + 1])[0, -1]
            found.append(self.network.energies(s[t], h, s[t + 1], chance).amin(0))
        energies: np.ndarray = torch.stack(found).cpu().numpy()
        return energies
