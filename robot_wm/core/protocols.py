"""The one contract between world models, planners and scenes.

Letters: ``T`` frames of history, ``N`` candidates, ``H`` horizon in model steps, ``A`` action size
of one model step, ``P`` proprioception size, ``K`` size of a privileged pose vector.

One *model step* is a *block* of ``block`` control steps. Its action is the concatenation of the
block's control actions, so ``A = block * control_dim`` and the planner never needs to know.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from robot_wm.core.errors import InputError
from robot_wm.core.images import check_image
from robot_wm.core.specs import EnvSpec, ModelSpec, check_spec, spec_from_json, spec_to_json

__all__ = [
    "Agent", "Editable", "EnvSpec", "Environment", "History", "ModelSpec", "Proposer", "State",
    "SurpriseReferences", "Surprising", "WorldModel",
    "check_actions", "check_clip", "check_history", "check_image", "check_spec", "proposal_chance",
    "seed_of", "spec_from_json", "spec_to_json",
]  # fmt: skip

State = TypeVar("State")
StateIn = TypeVar("StateIn", contravariant=True)


@dataclass(frozen=True)
class History:
    """What was really seen and done, oldest first. Frames are one model step apart.

    Attributes:
        frames: uint8 ``[T, height, width, 3]``.
        proprio: float32 ``[T, P]`` in SI units; ``P`` may be 0.
        actions: float32 ``[T-1, A]``; row ``t`` leads from frame ``t`` to frame ``t+1``.

    Raises:
        InputError: shapes or dtypes that do not fit together, NaN or infinite numbers.
    """

    frames: np.ndarray
    proprio: np.ndarray
    actions: np.ndarray

    def __post_init__(self) -> None:
        check_image(self.frames)
        steps = len(self.frames)
        for name, array, rows in (
            ("proprio", self.proprio, steps),
            ("actions", self.actions, steps - 1),
        ):
            if array.ndim != 2 or len(array) != rows:
                raise InputError(
                    f"{name} of shape {array.shape} beside {steps} frames",
                    f"{rows} rows, two axes",
                    "record one action between two frames and one proprio row per frame",
                )
            if not np.isfinite(array).all():
                raise InputError(f"NaN or infinity in {name}", "finite numbers", "check the sensor")

    @staticmethod
    def of_goal(image: np.ndarray, proprio_dim: int = 0, action_dim: int = 1) -> History:
        """The one-frame history from which a goal image ``[height, width, 3]`` is encoded."""
        return History(
            frames=np.asarray(image)[None],
            proprio=np.zeros((1, proprio_dim), np.float32),
            actions=np.zeros((0, action_dim), np.float32),
        )


def check_history(history: History, spec: ModelSpec) -> None:
    """Refuse a history that this model cannot encode.

    Raises:
        InputError: frames of another size, or actions that are not ``[T-1, A]``.
    """
    check_image(history.frames, spec.image_size)
    if len(history.frames) > 1 and history.actions.shape[1] != spec.action_dim:
        raise InputError(
            f"history actions of shape {history.actions.shape}",
            f"[{len(history.frames) - 1}, {spec.action_dim}]",
            "give the action of every model step, its control actions side by side",
        )


def check_clip(frames: np.ndarray, actions: np.ndarray, spec: ModelSpec) -> None:
    """Refuse what is no clip for :class:`Surprising`: frames ``[T, …]``, actions ``[T-1, A]``.

    Raises:
        InputError: fewer than two frames, other shapes, frames of another size, NaN.
    """
    check_image(frames, spec.image_size)
    wanted = (len(frames) - 1, spec.action_dim)
    if len(frames) < 2 or np.shape(actions) != wanted or not np.isfinite(actions).all():
        raise InputError(
            f"{len(frames)} frames with actions of shape {np.shape(actions)}",
            f"two frames or more, finite actions {list(wanted)}",
            "give the block between two frames",
        )


def check_actions(actions: np.ndarray, spec: ModelSpec) -> None:
    """Refuse candidate actions that are not finite float ``[N, H, A]`` inside the bounds.

    Raises:
        InputError: wrong shape, NaN, or a value outside ``[action_low, action_high]``.
    """
    actions = np.asarray(actions)
    if actions.ndim != 3 or actions.shape[2] != spec.action_dim:
        raise InputError(
            f"actions of shape {actions.shape}", f"[N, H, {spec.action_dim}]", "reshape the plan"
        )
    if not np.isfinite(actions).all():
        raise InputError("NaN or infinity in actions", "finite numbers", "check the optimiser")
    low, high = np.asarray(spec.action_low), np.asarray(spec.action_high)
    # One float32 rounding step is tolerated: bounds are compared after a float64 -> float32 trip.
    if (actions < low - 1e-6).any() or (actions > high + 1e-6).any():
        worst = float(actions.flat[np.abs(actions).argmax()])
        raise InputError(
            f"an action of {worst:.4g} is out of bounds",
            f"[{low.min():g}, {high.max():g}]",
            "clip the plan to spec.action_low and spec.action_high",
        )


@runtime_checkable
class WorldModel(Protocol[State]):
    """Anything that can judge action sequences. Latents never leave it."""

    spec: ModelSpec

    def encode(self, history: History) -> State:
        """Latent state of a history (a goal is a history of one frame). Deterministic."""
        ...

    def step_costs(self, state: State, goal: State, actions: np.ndarray) -> np.ndarray:
        """Cost of each imagined step.

        Args:
            state, goal: results of ``encode``.
            actions: float32 ``[N, H, A]`` in physical units.

        Returns:
            float32 ``[N, H]``, lower is better. Pure: equal arguments give equal bytes, and row
            ``n`` does not depend on the other rows beyond float rounding.
        """
        ...


class Agent(Protocol):
    """What the evaluator drives: one control action per observation."""

    def reset(self, goal: dict[str, np.ndarray], seed: int) -> None:
        """Start an episode. ``goal`` is an observation ``{"image", "proprio"}`` of the goal."""
        ...

    def act(self, obs: dict[str, np.ndarray]) -> np.ndarray:
        """Next control action, float32 ``[control_dim]``, within bounds."""
        ...


@runtime_checkable
class Proposer(Protocol[StateIn]):
    """Optional ability: a learned actor that proposes action sequences."""

    def propose(
        self, state: StateIn, goal: StateIn, n: int, rng: np.random.Generator
    ) -> np.ndarray:
        """``n`` candidate plans, float32 ``[n, H, A]`` within bounds."""
        ...


@runtime_checkable
class Surprising(Protocol):
    """Optional ability: say how unexpected each frame of a clip is, given those before it."""

    def surprise(self, frames: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Surprise of every frame but the first. Pure; comparable within one model alone.

        Args:
            frames: uint8 ``[T, height, width, 3]``, one model step apart.
            actions: float32 ``[T-1, A]`` in the task's unit; row ``t`` leads to frame ``t+1``.

        Returns:
            float32 ``[T-1]``, higher is more surprising.
        """
        ...


@runtime_checkable
class SurpriseReferences(Protocol):
    """Optional ability of a model that is :class:`Surprising`: what needs no learned dynamics."""

    def surprise_references(self) -> Mapping[str, Surprising]:
        """Surprise by trivial predictions in the model's own latent: copy_last and the like."""
        ...


@runtime_checkable
class Editable(Protocol):
    """Optional ability: say its latents and go on from others (``Z`` numbers a frame)."""

    def latents(self, frames: np.ndarray) -> np.ndarray:
        """Latents float32 ``[T, Z]`` of frames uint8 ``[T, height, width, 3]``, each alone."""
        ...

    def continued(self, latents: np.ndarray, done: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Latents ``[H, Z]`` that follow two latents ``[2, Z]``.

        Args:
            done: the block of actions between the two ``[A]``.
            actions: the blocks from then on ``[H, A]``.
        """
        ...


def seed_of(history: History) -> int:
    """A number that only what was seen and done decides: chance that is the same every time."""
    digest = hashlib.sha256(np.ascontiguousarray(history.frames).tobytes())
    digest.update(np.ascontiguousarray(history.actions, np.float32).tobytes())
    return int.from_bytes(digest.digest()[:8], "big")


def proposal_chance(
    rng: np.random.Generator, n: int, spec: ModelSpec
) -> tuple[np.ndarray, np.ndarray]:
    """All the chance in ``n`` sampled proposals, drawn alike by every runtime.

    The noise is constant within a block: demonstrators do not tremble, and noise that differs from
    one control step to the next averages out before it has moved anything.

    Returns:
        Uniform numbers float32 ``[n]`` and standard normal ones float32 ``[n, H, A]``.
    """
    choice = rng.random(n).astype(np.float32)
    noise = rng.standard_normal((n, spec.horizon, spec.control_dim)).astype(np.float32)
    return choice, np.tile(noise, spec.block)


@runtime_checkable
class Environment(Protocol):
    """A Gymnasium environment whose state can be restored exactly and whose goals are poses.

    ``obs`` is ``{"image": uint8 [height, width, 3], "proprio": float32 [P]}``; ``info`` carries the
    privileged ``"state"`` (full physics), ``"pose"`` ``[K]`` and ``"factors"``: for scoring,
    labels and scripted behaviours only, never for a planner.
    """

    spec: EnvSpec

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Options: ``state`` and ``factors`` restore; ``variation`` names factors to redraw."""
        ...

    def step(
        self, action: np.ndarray
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """One control step. Never terminates: the evaluator owns success."""
        ...

    def success(self, family: str, poses: np.ndarray, goal_pose: np.ndarray) -> np.ndarray:
        """Which steps satisfy the predicate.

        Args:
            family: one of ``spec.families``.
            poses: float64 ``[T+1, K]``, row 0 is the start.
            goal_pose: float64 ``[K]``.

        Returns:
            bool ``[T]``: after control step ``t`` the goal counts as reached (hold included).
        """
        ...
