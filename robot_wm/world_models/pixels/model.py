"""Models that draw what they imagine, behind the contract, under any of three costs.

Is it the prediction or the cost that is good? ``native`` compares in the model's own latent;
``pixels`` what it draws with the goal picture; ``shared`` what the frozen encoder, the same for all
world models, sees in that drawing with what it sees in the goal.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robot_wm.core.errors import ConfigError
from robot_wm.core.protocols import History, ModelSpec, check_actions
from robot_wm.encoders.base import Encoder
from robot_wm.world_models.pixels.frames import to_canvas, to_frames

Cost = Literal["native", "pixels", "shared"]
COSTS = get_args(Cost)
AT_ONCE = 256  # pictures drawn at a time

N = TypeVar("N", bound=nn.Module)
S = TypeVar("S")


class DrawingModel(ABC, Generic[N, S]):
    """:class:`robot_wm.core.protocols.WorldModel`, ``Imagination``.

    Args:
        network: the trained parts.
        encoder: the frozen one, for the cost ``shared`` alone.
        spec: what the planner must know.
        cost: one of :data:`COSTS`.

    Raises:
        ConfigError: an unknown cost.
    """

    def __init__(self, network: N, encoder: Encoder, spec: ModelSpec, cost: str = "native") -> None:
        if cost not in COSTS:
            raise ConfigError(f"cost {cost!r}", f"one of {COSTS}", "name one of them")
        self.network, self.encoder, self.spec, self.cost = network.eval(), encoder, spec, cost

    @abstractmethod
    def encode(self, history: History) -> S:
        """See the contract."""

    @abstractmethod
    def costs(self, state: S, goal: S, actions: Tensor) -> Tensor:
        """Costs ``[N, H]`` of actions ``[N, H, A]``, of the kind ``self.cost``."""

    @abstractmethod
    def frames(self, state: S, actions: Tensor) -> Tensor:
        """What a plan ``[H, A]`` is imagined to look like, uint8 ``[H, height, width, 3]``."""

    def shared(self, drawn: Tensor, goal: Tensor) -> Tensor:
        """Mean squared error ``[M]`` of the frozen encoder's tokens, each of unit variance.

        Args:
            drawn: uint8 ``[M, height, width, 3]``.
            goal: the goal picture, its bytes ``[height, width, 3]`` in any type.
        """
        pictures = torch.cat([drawn, goal[None].to(drawn)])
        tokens = self.encoder.encode_frames(pictures)
        tokens = F.layer_norm(tokens, tokens.shape[-1:])
        return (tokens[:-1] - tokens[-1:]).square().mean(dim=(1, 2))

    def _tensor(self, array: Any, dtype: Any = np.float32) -> Tensor:
        device = next(self.network.parameters()).device
        return torch.from_numpy(np.array(array, dtype)).to(device)

    @torch.inference_mode()
    def step_costs(self, state: S, goal: S, actions: np.ndarray) -> np.ndarray:
        """Cost of each imagined step, float32 ``[N, H]``; see the contract.

        Raises:
            InputError: see :func:`robot_wm.core.protocols.check_actions`.
        """
        check_actions(actions, self.spec)
        return self.costs(state, goal, self._tensor(actions)).cpu().numpy()

    @torch.inference_mode()
    def nearest_frames(self, state: S, actions: np.ndarray) -> np.ndarray:
        """What it draws of a plan ``[H, A]``, uint8 ``[H, height, width, 3]``.

        Raises:
            InputError: see :func:`robot_wm.core.protocols.check_actions`.
        """
        check_actions(actions[None], self.spec)
        return self.frames(state, self._tensor(actions)).cpu().numpy()


@dataclass(frozen=True)
class Seen:
    """What every state holds.

    Attributes:
        frame: the last one seen, uint8 ``[height, width, 3]``.
    """

    frame: np.ndarray


Sight = TypeVar("Sight", bound=Seen)


class PixelModel(DrawingModel[N, Sight]):
    """A model of the canvas (``pixels.frames``).

    Letters: ``P`` imagined courses of one candidate (1 where nothing is drawn by lot), ``F`` size
    of the features that describe an imagined moment.
    """

    @abstractmethod
    def imagine(self, state: Sight, actions: Tensor) -> Tensor:
        """Features ``[P, N, H, F]`` after each block of ``[N, H, A]``, pure."""

    @abstractmethod
    def pictures(self, features: Tensor) -> Tensor:
        """Images ``[M, 3, 64, 64]`` in 0 … 1 of features ``[M, F]``."""

    @abstractmethod
    def distance(self, features: Tensor, goal: Sight) -> Tensor:
        """The native cost of features ``[P, N, H, F]``, as ``[P, N, H]``."""

    def _images(self, frames: np.ndarray) -> Tensor:
        """Frames ``[T, height, width, 3]`` on the canvas, one by one: equal frames, equal bytes."""
        return torch.cat([to_canvas(self._tensor(frame[None], np.uint8)) for frame in frames])

    def costs(self, state: Sight, goal: Sight, actions: Tensor) -> Tensor:
        """Mean over the courses."""
        features = self.imagine(state, actions)
        if self.cost == "native":
            costs = self.distance(features, goal)
        else:
            rows = features.flatten(0, 2).split(AT_ONCE)
            compare = self._pixels if self.cost == "pixels" else self._shared
            costs = torch.cat([compare(self.pictures(part), goal) for part in rows])
        return costs.reshape(features.shape[:3]).mean(dim=0)

    def frames(self, state: Sight, actions: Tensor) -> Tensor:
        """Of the first course."""
        images = self.pictures(self.imagine(state, actions[None])[0, 0])
        return to_frames(images, self.spec.image_size)

    def _pixels(self, images: Tensor, goal: Sight) -> Tensor:
        """Mean squared error to the goal picture."""
        return (images - self._images(goal.frame[None])).square().mean(dim=(1, 2, 3))

    def _shared(self, images: Tensor, goal: Sight) -> Tensor:
        return self.shared(to_frames(images, self.spec.image_size), self._tensor(goal.frame))


def pushed(actions: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Actions ``[..., A]`` in their own unit to -1 … 1 between their bounds."""
    return (2 * actions - low - high) / (high - low)


def unpushed(shares: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Inverse of :func:`pushed`, kept within the bounds whatever rounding does."""
    actions = (shares * (high - low) + low + high) / 2
    return torch.minimum(torch.maximum(actions, low), high)
