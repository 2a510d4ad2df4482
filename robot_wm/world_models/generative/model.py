"""A world model that generates pictures, behind the contract.

Three costs (all are means of squares, so that only what is compared differs):

* ``native``: what the model itself predicts, against its own look at the goal picture alone;
* ``pixels``: the imagined picture against the goal picture, in [0, 1];
* ``shared``: the frozen encoder's tokens of both pictures. It compares predictions: models that
  share it differ in nothing else.

What is random in imagining is drawn from a seed that :meth:`GenerativeModel.encode` takes from the
history, and is the same for all candidates (common random numbers).
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from robot_wm.core.errors import ConfigError
from robot_wm.core.protocols import History, ModelSpec, check_actions, check_clip, check_history
from robot_wm.data.windows import Windows
from robot_wm.encoders.base import Encoder

COSTS = ("native", "pixels", "shared")
# Candidates at a time: their activations stay in a processor's cache.
CHUNK = 16


class Imagined(NamedTuple):
    """Frames that were not seen.

    Attributes:
        latents: of the pictures, ``[N, H, P, ...]``; what :meth:`Generator.decode` shows.
        judged: what the native cost compares, ``[N, H, P, L]``.
    """

    latents: Tensor
    judged: Tensor


class Generator(nn.Module, ABC):
    """The networks of one kind of model. ``C`` frames of context, ``P`` places of a frame."""

    def prepare(self, stage: str, windows: Windows, first: bool) -> None:
        """Begin a stage or, after a restart, go on with it.

        Args:
            stage: what is trained from now on.
            windows: of the training split.
            first: whether it begins, and statistics are to be taken.
        """

    @abstractmethod
    def losses(
        self, stage: str, frames: Tensor, actions: Tensor, generator: torch.Generator
    ) -> Mapping[str, Tensor]:
        """Terms of a step's loss, on windows uint8 ``[B, W, ...]`` and blocks ``[B, W-1, A]``."""

    def distinct(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Candidates ``[M, H, A]`` that lead to different films, and which each is, ``[N]``."""
        return actions, torch.arange(len(actions), device=actions.device)

    def measure(self, frames: Tensor, actions: Tensor) -> dict[str, float]:
        """What else is worth knowing of held-out windows ``[B, W, ...]``, for the log."""
        return {}

    @abstractmethod
    def look(self, frames: Tensor) -> Tensor:
        """Latents ``[B, P, ...]`` of pictures uint8 ``[B, height, width, 3]``, each alone."""

    @abstractmethod
    def imagine(self, seen: Tensor, done: Tensor, actions: Tensor, seed: int) -> Imagined:
        """Frames after each of some blocks.

        Args:
            seen: latents ``[C, P, ...]``.
            done: blocks between them ``[C - 1, A]``.
            actions: candidates ``[N, H, A]``.
            seed: of all chance; candidates share it.
        """

    @abstractmethod
    def gap(self, judged: Tensor, goal: Tensor) -> Tensor:
        """Native cost ``[N, H]`` of ``judged`` against the goal's latents ``[P, ...]``."""

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Pictures ``[B, T, height, width, 3]`` in [0, 1] of latents ``[B, T, P, ...]``."""

    @abstractmethod
    def surprise(self, latents: Tensor, actions: Tensor) -> Tensor:
        """How unexpected each frame but the first is ``[T - 1]``, given the ones before.

        Args:
            latents: ``[T, P, ...]``.
            actions: ``[T - 1, A]``.
        """


@dataclass(frozen=True)
class GeneratorState:
    """What the model knows now.

    Attributes:
        latents: of the last frames ``[C, P, ...]``.
        actions: blocks between them ``[C - 1, A]``, task unit.
        frame: the present picture, uint8 ``[height, width, 3]``.
        seed: of what is random in imagining, from the history's bytes.
    """

    latents: Tensor
    actions: Tensor
    frame: Tensor
    seed: int


class GenerativeModel:
    """:class:`robot_wm.core.protocols.WorldModel` over networks that generate pictures.

    It also shows what it imagines (``planning``'s ``Imagination``; decoded, not remembered), and
    says how surprising a film is.

    Args:
        network: the trained parts.
        encoder: the frozen encoder, for the cost ``shared`` alone.
        spec: what the planner must know.
        cost: one of :data:`COSTS`.

    Raises:
        ConfigError: an unknown cost.
    """

    def __init__(
        self, network: Generator, encoder: Encoder, spec: ModelSpec, cost: str = "native"
    ) -> None:
        if cost not in COSTS:
            raise ConfigError(f"cost {cost!r}", f"one of {COSTS}", "name one of them")
        self.network, self.encoder, self.spec, self.cost = network.eval(), encoder, spec, cost

    @property
    def _device(self) -> torch.device:
        return next(self.network.parameters()).device

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.array(array)).to(self._device)

    @torch.inference_mode()
    def encode(self, history: History) -> GeneratorState:
        """State of the last ``spec.context`` frames, each looked at alone, as a goal is.

        Raises:
            InputError: frames of another size, actions that are not ``[T-1, A]``.
        """
        check_history(history, self.spec)
        frames = np.ascontiguousarray(history.frames[-self.spec.context :])
        actions = np.zeros((0, self.spec.action_dim), np.float32)
        if len(frames) > 1:
            actions = np.asarray(history.actions[1 - len(frames) :], np.float32)
        digest = hashlib.sha256(frames.tobytes() + actions.tobytes()).digest()
        # One by one, so that a frame has the same bytes as a goal and as part of a history.
        latents = torch.cat([self.network.look(self._tensor(frame[None])) for frame in frames])
        seed = int.from_bytes(digest[:7], "little")
        return GeneratorState(latents, self._tensor(actions), self._tensor(frames[-1]), seed)

    @torch.inference_mode()
    def step_costs(
        self, state: GeneratorState, goal: GeneratorState, actions: np.ndarray
    ) -> np.ndarray:
        """Cost of each imagined step, float32 ``[N, H]``; see the module and the contract.

        Raises:
            InputError: see :func:`robot_wm.core.protocols.check_actions`.
        """
        check_actions(actions, self.spec)
        rows, which = self.network.distinct(self._tensor(np.asarray(actions, np.float32)))
        costs = torch.cat([self._costs(state, goal, part) for part in rows.split(CHUNK)])
        return costs[which].cpu().numpy()

    def _costs(self, state: GeneratorState, goal: GeneratorState, actions: Tensor) -> Tensor:
        found = self._imagine(state, actions)
        if self.cost == "native":
            return self.network.gap(found.judged, goal.latents[-1])
        images = self._pictures(state, found)
        if self.cost == "pixels":
            return (images - goal.frame / 255).square().mean(dim=(2, 3, 4))
        wanted = self.encoder.encode_frames(goal.frame[None])
        tokens = self.encoder.encode_frames(_bytes(images.flatten(0, 1)))
        return (tokens - wanted).square().mean(dim=(1, 2)).view(actions.shape[:2])

    def _imagine(self, state: GeneratorState, actions: Tensor) -> Imagined:
        return self.network.imagine(state.latents, state.actions, actions, state.seed)

    def _pictures(self, state: GeneratorState, found: Imagined) -> Tensor:
        """Pictures ``[N, H, height, width, 3]``; a decoder may look at the frames before."""
        seen = state.latents[None].expand(len(found.latents), *state.latents.shape)
        images = self.network.decode(torch.cat([seen, found.latents], dim=1))
        return images[:, seen.shape[1] :].clamp(0, 1)

    @torch.inference_mode()
    def imagined_frames(self, state: GeneratorState, actions: np.ndarray) -> np.ndarray:
        """Pictures of candidates ``[N, H, A]``, uint8 ``[N, H, height, width, 3]``.

        Raises:
            InputError: see :func:`robot_wm.core.protocols.check_actions`.
        """
        check_actions(actions, self.spec)
        rows = self._tensor(np.asarray(actions, np.float32)).split(CHUNK)
        shown = [_bytes(self._pictures(state, self._imagine(state, part))) for part in rows]
        return torch.cat(shown).cpu().numpy()

    def nearest_frames(self, state: GeneratorState, actions: np.ndarray) -> np.ndarray:
        """What a plan ``[H, A]`` is imagined to look like, uint8 ``[H, height, width, 3]``."""
        return self.imagined_frames(state, np.asarray(actions, np.float32)[None])[0]

    @torch.inference_mode()
    def surprise(self, frames: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """How unexpected each frame but the first is, given the ones before: float32 ``[T - 1]``.

        Args:
            frames: uint8 ``[T, height, width, 3]``, a block apart, ``T`` at least 2.
            actions: float32 ``[T - 1, A]``, task unit.

        Raises:
            InputError: pictures of another size, or another number of blocks.
        """
        check_clip(frames, actions, self.spec)
        latents = self.network.look(self._tensor(frames))
        found = self.network.surprise(latents, self._tensor(np.asarray(actions, np.float32)))
        return found.float().cpu().numpy()


def _bytes(images: Tensor) -> Tensor:
    """Pictures in [0, 1] as a camera gives them."""
    return (images * 255).round().to(torch.uint8)


def seeded(seed: int) -> Any:
    """A generator of torch on the CPU, whatever device computes."""
    return torch.Generator().manual_seed(seed)
