"""The one contract between world models, planners and scenes.

Letters: ``T`` frames of history, ``N`` candidates, ``H`` horizon in model steps, ``A`` action size
of one model step, ``P`` proprioception size, ``K`` size of a privileged pose vector.

One *model step* is a *block* of ``block`` control steps. Its action is the concatenation of the
block's control actions, so ``A = block * control_dim`` and the planner never needs to know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from robot_wm.core.config import Within, build
from robot_wm.core.errors import ConfigError, InputError
from robot_wm.core.symmetry import Mirror

State = TypeVar("State")
StateIn = TypeVar("StateIn", contravariant=True)


def check_image(frames: np.ndarray, size: int | None = None) -> None:
    """Refuse anything but uint8 RGB frames ``[T, size, size, 3]`` (any square size if None).

    Raises:
        InputError: wrong dtype, rank, channels or size, or NaN pixels.
    """
    wanted = f"uint8 [T, {size or 'height'}, {size or 'width'}, 3]"
    frames = np.asarray(frames)
    if frames.dtype != np.uint8:
        nan = " holding NaN" if frames.dtype.kind == "f" and np.isnan(frames).any() else ""
        raise InputError(
            f"image of dtype {frames.dtype}{nan}, shape {frames.shape}",
            wanted,
            "pass the camera's 8-bit RGB frames; normalisation happens inside the model",
        )
    if frames.ndim != 4 or frames.shape[0] < 1 or frames.shape[3] != 3:
        raise InputError(f"image of shape {frames.shape}", wanted, "stack RGB frames along axis 0")
    if size is not None and frames.shape[1:3] != (size, size):
        raise InputError(
            f"image of {frames.shape[1]}x{frames.shape[2]} pixels",
            f"{size}x{size} pixels",
            "render or resize at the size the model was trained on",
        )


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


@dataclass(frozen=True)
class ModelSpec:
    """What a planner must know about a world model.

    Attributes:
        task: name of the task it was trained on.
        action_low, action_high: bounds of one *model step*, ``A`` values in the task's own action
            unit (the scenes here use [-1, 1], scaled inside the scene).
        control_dim: size of one control action; ``A / control_dim`` control steps make a block.
        control_dt: seconds between two control steps [s].
        context: number of past frames the model can use (it accepts fewer).
        horizon: model steps up to which its predictions were trained or tuned.
        image_size: side of the square image [px].
        hashes: sha256 of every parent (encoder, data, statistics, weights).
        bytes_per_candidate: working memory of one candidate in ``step_costs`` [bytes]; planners
            split large batches by it. 0 means unknown: never split.
    """

    task: str
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    control_dim: Annotated[int, Within(1, 64)]
    control_dt: Annotated[float, Within(above=0, high=10)]
    context: Annotated[int, Within(1, 64)]
    horizon: Annotated[int, Within(1, 100)]
    image_size: Annotated[int, Within(4, 1024)]
    hashes: Mapping[str, str] = field(default_factory=dict)
    bytes_per_candidate: Annotated[int, Within(0, 2**40)] = 0

    @property
    def action_dim(self) -> int:
        """``A``: size of the action of one model step."""
        return len(self.action_low)

    @property
    def block(self) -> int:
        """Control steps in one model step."""
        return self.action_dim // self.control_dim


def spec_to_json(spec: ModelSpec) -> dict[str, Any]:
    """Readable form; hashes are left out, they stand in the manifest."""
    return {
        k: list(v) if isinstance(v, tuple) else v for k, v in asdict(spec).items() if k != "hashes"
    }


def spec_from_json(value: Mapping[str, Any]) -> ModelSpec:
    """Inverse of :func:`spec_to_json`.

    Raises:
        ConfigError: a key missing or unknown, a value out of range, bounds that do not fit.
    """
    spec = build(ModelSpec, value, "spec")
    check_spec(spec)
    return spec


def check_spec(spec: ModelSpec) -> None:
    """Refuse bounds that are not those of whole blocks.

    Raises:
        ConfigError: bounds of different lengths, low not below high, or part of a block.
    """
    low, high = spec.action_low, spec.action_high
    fits = len(low) == len(high) <= 4096 and len(low) >= spec.control_dim
    if not (fits and len(low) % spec.control_dim == 0 and (np.asarray(low) < high).all()):
        raise ConfigError(
            f"spec: bounds of {len(low)} and {len(high)} entries from {min(low, default=0):g} to "
            f"{max(high, default=0):g}, {spec.control_dim} controls",
            "whole blocks of control actions, low below high",
            "restore the file as it was written",
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


@dataclass(frozen=True)
class EnvSpec:
    """What the collector and the evaluator must know about a scene with its task.

    Attributes:
        task: registry name.
        control_low, control_high: bounds of one control action.
        control_dt: seconds per control step [s].
        image_size: side of the rendered square image [px].
        proprio_dim: size of ``obs["proprio"]``.
        pose_names: names of the privileged pose vector's entries, with units.
        families: success predicates on offer, e.g. ``official``, ``moderate``, ``strict``.
        mirror: a reflection that leaves the nominal scene and its dynamics as they are, if any.
    """

    task: str
    control_low: tuple[float, ...]
    control_high: tuple[float, ...]
    control_dt: float
    image_size: int
    proprio_dim: int
    pose_names: tuple[str, ...]
    families: tuple[str, ...]
    mirror: Mirror | None = None

    @property
    def control_dim(self) -> int:
        """Size of one control action."""
        return len(self.control_low)


@runtime_checkable
class Environment(Protocol):
    """A Gymnasium environment whose state can be restored exactly and whose goals are poses.

    ``obs`` is ``{"image": uint8 [size, size, 3], "proprio": float32 [P]}``; ``info`` carries the
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
