"""The bundle on a robot: onnxruntime and NumPy, nothing else.

:class:`OnnxWorldModel` stands behind the same contract as the trained model, so the same planner
and the same evaluator run it; :class:`OnnxPlanner` runs the whole search as one graph.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from export.runtime.bundle_spec import Contract, check_graph, read_contract
from export.runtime.ort_session import CPU, open_session, run_session
from robot_wm.core.errors import InputError
from robot_wm.core.protocols import (
    History,
    ModelSpec,
    check_actions,
    check_history,
    proposal_chance,
)
from robot_wm.core.storage.provenance import usable_cores

# Novelty of a picture with red and blue exchanged, over its own. Of 2,144 pictures of the shipped
# scenes, held-out frames and random ones, 2 are below this. The inverse, of a picture that was
# exchanged before, is below for 99 of 100 or more of each; through an encoder that knows other
# looks it was for 97 of the cube's.
EXCHANGED = 0.95
LEAST_ROWS = 8  # of candidates that are worth a thread of their own


@dataclass(frozen=True)
class OnnxState:
    """Latents of the previous and the present frame ``[2, Z]``, and the block between ``[A]``."""

    z: np.ndarray
    action: np.ndarray


class OnnxWorldModel:
    """:class:`robot_wm.core.protocols.WorldModel` and ``Proposer`` from a bundle.

    On the CPU candidates and pictures are shared out among threads that each run a whole graph: its
    matrices are too small to be shared out one by one.

    Args:
        folder: the bundle.
        provider, threads: see :func:`open_session`.

    Raises:
        WeightsError: a missing or altered file, or a bundle of another version.
        ConfigError: a provider this machine does not have.
    """

    def __init__(self, folder: Path, provider: str = CPU, threads: int = 0) -> None:
        self.contract, self.manifest = read_contract(folder)
        self.folder = Path(folder)
        self.spec: ModelSpec = self.contract.spec
        self._threads = (threads or usable_cores()) if provider == CPU else 1
        self._sessions = {
            name: open_session(Path(folder) / f"{name}.onnx", provider, count)
            for name, count in (("encode", 1), ("step_costs", 1), ("propose", threads))
        }
        for name, session in self._sessions.items():
            check_graph(self.contract, name, session, Path(folder) / f"{name}.onnx")
        self._pool = ThreadPoolExecutor(max(1, self._threads - 1))
        # A frame is encoded once: it is the present frame now and the previous one a block later.
        self._seen: OrderedDict[bytes, tuple[np.ndarray, float]] = OrderedDict()

    def _run(self, name: str, **inputs: np.ndarray) -> np.ndarray:
        return run_session(self._sessions[name], inputs, name)[0]

    def _together(self, calls: Sequence[Callable[[], Any]]) -> list[Any]:
        """What each call returns; all at the same time, as far as there are threads."""
        if self._threads == 1:
            return [call() for call in calls]
        others = [self._pool.submit(call) for call in calls[1:]]
        return [calls[0](), *(other.result() for other in others)]

    def latent(self, frame: np.ndarray) -> np.ndarray:
        """Latent ``[Z]`` of one image uint8 ``[S, S, 3]``."""
        return self._encode_frame(frame)[0]

    def is_novel(self, frame: np.ndarray) -> bool:
        """Whether one image is unlike everything seen, by the contract's threshold."""
        return not self.novelty(frame) <= self.contract.novelty

    def novelty(self, frame: np.ndarray) -> float:
        """How unlike the training frames one image is; about 1 for those."""
        return self._encode_frame(frame)[1]

    def check_goal(self, image: np.ndarray) -> None:
        """Refuse a goal image ``[S, S, 3]`` that cannot be of the trained scene.

        A picture whose red and blue are exchanged can be as little novel as one of an odd corner
        of the scene; but then it is more familiar the other way round.

        Raises:
            InputError: unlike everything seen, or more familiar with its channels exchanged.
        """
        image = np.ascontiguousarray(image)
        novelty = self._encoded(image)[1]
        if not novelty <= self.contract.novelty:
            raise InputError(
                f"a goal image of novelty {novelty:.2f}, unlike everything the model learned from",
                f"a picture of its scene from its camera, {self.contract.novelty:.2f} or less",
                "look at the goal image; on a robot, start(..., unlike=True) pursues it anyway",
            )
        if self._encoded(np.ascontiguousarray(image[..., ::-1]))[1] < EXCHANGED * novelty:
            raise InputError(
                "a goal image that is more familiar with red and blue exchanged",
                "RGB, not BGR",
                "pass image[..., ::-1]; on a robot, start(..., unlike=True) pursues it as it is",
            )

    def _encode_frame(self, frame: np.ndarray) -> tuple[np.ndarray, float]:
        self._learn([frame])
        self._seen.move_to_end(frame.tobytes())
        return self._seen[frame.tobytes()]

    def _learn(self, frames: Iterable[np.ndarray]) -> None:
        """Encode those of the frames that were not seen before, all at the same time."""
        fresh = {key: frame for frame in frames if (key := frame.tobytes()) not in self._seen}
        if not fresh:
            return
        found = self._together([partial(self._encoded, frame) for frame in fresh.values()])
        self._seen.update(zip(fresh, found, strict=True))
        while len(self._seen) > 2 * (self.spec.context + 1):  # and their mirror images
            self._seen.popitem(last=False)

    def _encoded(self, frame: np.ndarray) -> tuple[np.ndarray, float]:
        images = {"images": frame[None]}
        latents, novelty = run_session(self._sessions["encode"], images, "encode")
        return latents[0], float(novelty[0])

    def all_encode(self, histories: Sequence[History]) -> list[OnnxState]:
        """:meth:`encode` of each, their new frames at the same time.

        Raises:
            InputError: see :meth:`encode`.
        """
        for history in histories:
            check_history(history, self.spec)
        self._learn(frame for history in histories for frame in history.frames[-2:])
        return [self.encode(history) for history in histories]

    def encode(self, history: History) -> OnnxState:
        """State of the last two frames; from a single frame (a goal), a state without velocity.

        Raises:
            InputError: frames of another size, actions that are not ``[T-1, A]``.
        """
        check_history(history, self.spec)
        if len(history.frames) == 1:
            z = self.latent(history.frames[0])
            return OnnxState(np.stack([z, z]), np.zeros(self.spec.action_dim, np.float32))
        z = np.stack([self.latent(frame) for frame in history.frames[-2:]])
        return OnnxState(z, history.actions[-1].astype(np.float32))

    def _inputs(self, state: OnnxState, goal: OnnxState) -> dict[str, np.ndarray]:
        return {
            "z_prev": state.z[:1], "z": state.z[1:], "a_prev": state.action[None],
            "goal": goal.z[1:],
        }  # fmt: skip

    def step_costs(self, state: OnnxState, goal: OnnxState, actions: np.ndarray) -> np.ndarray:
        """Cost of each imagined step, float32 ``[N, H]``; see the contract.

        Raises:
            InputError: wrong shape, NaN, out of bounds, or a longer horizon than the exported one.
        """
        return self.all_step_costs([(state, goal, actions)])[0]

    def all_step_costs(
        self, jobs: Sequence[tuple[OnnxState, OnnxState, np.ndarray]]
    ) -> list[np.ndarray]:
        """``step_costs`` of each state, goal and actions, all at the same time.

        Few rows share one reading of the weights better on one thread than on two: jobs are shared
        out first, then what is left of the threads takes parts of their rows.

        Raises:
            InputError: see :meth:`step_costs`.
        """
        share, waiting = max(1, self._threads // len(jobs)), []
        for state, goal, actions in jobs:
            rows, inputs = self._rows(actions), self._inputs(state, goal)
            parts = np.array_split(rows, max(1, min(share, len(rows) // LEAST_ROWS)))
            waiting.append([(inputs, part) for part in parts])
        calls = [
            partial(self._run, "step_costs", **inputs, actions=part)
            for parts in waiting
            for inputs, part in parts
        ]
        costs = iter(self._together(calls))
        return [
            np.concatenate([next(costs) for _ in parts])[: len(job[2]), : job[2].shape[1]]
            for job, parts in zip(jobs, waiting, strict=True)
        ]

    def _rows(self, actions: np.ndarray) -> np.ndarray:
        """Plans as the graph wants them: two rows or more, of its own horizon.

        A single plan is costed twice; a short one goes on as it ended, which the costs of its own
        steps do not see.
        """
        check_actions(actions, self.spec)
        horizon, missing = actions.shape[1], self.contract.spec.horizon - actions.shape[1]
        if missing < 0:
            raise InputError(
                f"plans of {horizon} blocks", f"at most {self.contract.spec.horizon} blocks",
                "plan over the horizon that was exported",
            )  # fmt: skip
        rows = np.repeat(actions, 2, axis=0) if len(actions) == 1 else actions
        rows = np.pad(rows, ((0, 0), (0, missing), (0, 0)), mode="edge") if missing else rows
        return rows.astype(np.float32)

    def propose(
        self, state: OnnxState, goal: OnnxState, n: int, rng: np.random.Generator
    ) -> np.ndarray:
        """``n`` plans of the learned actor, float32 ``[n, H, A]`` within bounds."""
        sampled = max(0, n - self.contract.heads)
        choice, noise = _chance(rng, sampled, self.contract)
        plans = self._run("propose", **self._inputs(state, goal), choice=choice, noise=noise)
        return plans[:n]


def _chance(
    rng: np.random.Generator, count: int, contract: Contract
) -> tuple[np.ndarray, np.ndarray]:
    """Drawn as the trained model draws them, and padded: the graphs want two rows or more."""
    pad = max(0, 2 - count)
    choice, noise = proposal_chance(rng, count, contract.spec)
    shape = noise.shape[1:]
    return (
        np.concatenate([choice, np.zeros(pad, np.float32)]),
        np.concatenate([noise, np.zeros((pad, *shape), np.float32)]),
    )
