"""A world model that generates pictures of full size, behind the contract.

All its costs (``pixels.model``) are means of squares, so that only what is compared differs.
``native`` compares what the model itself predicts with its own look at the goal picture alone.

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

from robot_wm.core.protocols import History, check_actions, check_clip, check_history
from robot_wm.data.windows import Windows
from robot_wm.world_models.pixels.model import DrawingModel

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


class GenerativeModel(DrawingModel[Generator, GeneratorState]):
    """A model over networks that generate pictures; ``Surprising``."""

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
        latents = torch.cat([self.network.look(self._tensor(f[None], np.uint8)) for f in frames])
        seed = int.from_bytes(digest[:7], "little")
        present = self._tensor(frames[-1], np.uint8)
        return GeneratorState(latents, self._tensor(actions), present, seed)

    def costs(self, state: GeneratorState, goal: GeneratorState, actions: Tensor) -> Tensor:
        """Candidates that lead to the same film are imagined once."""
        rows, which = self.network.distinct(actions)
        return torch.cat([self._costs(state, goal, part) for part in rows.split(CHUNK)])[which]

    def _costs(self, state: GeneratorState, goal: GeneratorState, actions: Tensor) -> Tensor:
        found = self._imagine(state, actions)
        if self.cost == "native":
            return self.network.gap(found.judged, goal.latents[-1])
        images = self._pictures(state, found)
        if self.cost == "pixels":
            return (images - goal.frame / 255).square().mean(dim=(2, 3, 4))
        return self.shared(_bytes(images.flatten(0, 1)), goal.frame).view(actions.shape[:2])

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
        rows = self._tensor(actions).split(CHUNK)
        return torch.cat([self._shown(state, part) for part in rows]).cpu().numpy()

    def frames(self, state: GeneratorState, actions: Tensor) -> Tensor:
        """See the base."""
        return self._shown(state, actions[None])[0]

    def _shown(self, state: GeneratorState, actions: Tensor) -> Tensor:
        return _bytes(self._pictures(state, self._imagine(state, actions)))

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
        latents = self.network.look(self._tensor(frames, np.uint8))
        return self.network.surprise(latents, self._tensor(actions)).float().cpu().numpy()


def _bytes(images: Tensor) -> Tensor:
    """Pictures in [0, 1] as a camera gives them."""
    return (images * 255).round().to(torch.uint8)


def seeded(seed: int) -> Any:
    """A generator of torch on the CPU, whatever device computes."""
    return torch.Generator().manual_seed(seed)
