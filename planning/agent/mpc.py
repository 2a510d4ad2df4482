"""The agent: look, imagine many futures, act on the cheapest, look again."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from planning.agent.checks import check_agent
from planning.agent.costs import LastCost, Objective
from planning.agent.goal_sequence import SubgoalTracker, check_tolerance
from planning.agent.protocols import PlanRecord
from planning.agent.restoring.camera import View
from planning.optimizers.base import Optimizer, Plan
from robot_wm.core.errors import InputError
from robot_wm.core.protocols import History, WorldModel, check_image


class MPCAgent:
    """Model predictive control with any world model (implements ``contracts.Agent``).

    ``act`` is called every control step. Every ``block`` control steps the frame enters the
    history; every ``execute`` blocks a new plan is made from it; in between, the plan is played
    and the observation is not looked at.

    Warm start: the next search starts at the previous plan, shifted by the executed blocks and
    padded with zero actions (stay); its spread starts afresh, since the new frame may show that the
    old plan was wrong.

    A goal may be several pictures, any of which will do ("only the block matters": the same block
    with the pusher here and there), after pictures to pass on the way (:class:`SubgoalTracker`).

    Args:
        model: the world model; nothing but its protocol is used.
        optimizer: searches the actions.
        objective: from step costs to one cost per candidate.
        horizon: ``H``, blocks planned.
        execute: blocks executed per plan, 1 to ``horizon``.
        proposals: plans asked of the model's learned actor per search; 0 asks none.
        memory_mb: working memory for candidates [MiB], by the model's own ``bytes_per_candidate``;
            larger batches are split. 0 never splits.
        warm_start: see above; otherwise every search starts at zero actions.
        deadline: time from looking to acting after which no further round of the search begins
            [s]; 0 always searches to the end. With a deadline plans depend on the machine's speed.
        levels: steps from the lowest to the highest action to which plans are rounded; 0 does not.
            Two runtimes of one model differ by float rounding, which contact amplifies into other
            episodes; on a grid both act alike.
        tolerance, patience: when a picture on the way has been passed, see :class:`SubgoalTracker`.
        record: keep a :class:`PlanRecord` of every plan in ``records``.
        camera: from goal images ``[K, size, size, 3]`` to how their camera stands, if it may be
            another than that of the recordings: pictures of the episode are restored.

    Attributes:
        view: how the camera of this episode's goal stands, and what colours it sees.
        encode_s, plan_s: of every plan of this episode: time to restore the last frame and encode
            the history; to propose and optimise [s].
        records: see ``record``; cleared by ``reset`` like the times.

    Raises:
        ConfigError: a value out of range, or proposals asked of a model that makes none.
    """

    def __init__(
        self,
        model: WorldModel[Any],
        optimizer: Optimizer,
        objective: Objective | None = None,
        horizon: int = 5,
        execute: int = 1,
        *,
        proposals: int = 0,
        memory_mb: int = 512,
        warm_start: bool = True,
        deadline: float = 0.0,
        levels: int = 0,
        tolerance: float = 0.3,
        patience: int = 8,
        record: bool = False,
        camera: Callable[[np.ndarray], View] | None = None,
    ) -> None:
        check_agent(model, optimizer, horizon, execute, proposals, memory_mb, deadline, levels)
        check_tolerance(tolerance, patience)
        self.model, self.optimizer = model, optimizer
        self.objective = objective if objective is not None else Objective(LastCost())
        self.horizon, self.execute, self.proposals = horizon, execute, proposals
        self.warm_start, self.deadline, self.record = warm_start, deadline, record
        self.levels, self.tolerance, self.patience = levels, tolerance, patience
        self.records: list[PlanRecord] = []
        self.camera, self.view = camera, View()
        spec = model.spec
        self._low = np.asarray(spec.action_low, np.float32)
        self._high = np.asarray(spec.action_high, np.float32)
        self._memory_mb = memory_mb
        self._tracker: SubgoalTracker | None = None
        self._looked: tuple[bytes, View] | None = (
            None  # at which goal images last, and what of them
        )

    def reset(self, goal: dict[str, np.ndarray], seed: int) -> None:
        """Start an episode: forget everything, encode the goal once.

        Args:
            goal: ``{"image": uint8 [size, size, 3], "proprio": float32 [P]}``, proprio optional.
                Instead of one image several that will do, ``[K, size, size, 3]``; with ``"via"``,
                ``[V, size, size, 3]``, images to pass before, in this order.
            seed: of this episode; the same seed and observations give the same actions.

        Raises:
            InputError: an image of another size or dtype, or none.
        """
        images = np.asarray(goal["image"])
        images = images if images.ndim == 4 else images[None]
        view = self.view_of(images)
        goals = [[state] for state in self._encoded(goal, goal.get("via", ()), view)]
        goals.append(self._encoded(goal, images, view))
        # A goal that cannot be encoded leaves the one before.
        self.view = view
        self._tracker = SubgoalTracker(
            self.model, goals, self.tolerance, self.patience, self._memory_mb
        )
        self.restart(seed)

    def view_of(self, images: np.ndarray) -> View:
        """How the camera of goal images ``[K, size, size, 3]`` stands; as recorded without one.

        Raises:
            InputError: an image of another size or dtype.
        """
        if self.camera is None or not len(images):  # none: refused by name later
            return View()
        check_image(images, self.model.spec.image_size)
        seen = images.tobytes()
        if self._looked is None or self._looked[0] != seen:
            self._looked = seen, self.camera(images)
        return self._looked[1]

    def restart(self, seed: int) -> None:
        """Forget what was seen and done, as if the episode began here; the goal stays.

        Raises:
            InputError: ``reset`` was not called.
        """
        self._tracked()
        spec = self.model.spec
        # Two generators: asking for proposals does not change the search noise.
        self._noise_rng, self._proposal_rng = np.random.default_rng(seed).spawn(2)
        self._frames: deque[np.ndarray] = deque(maxlen=spec.context)
        self._proprio: deque[np.ndarray] = deque(maxlen=spec.context)
        self._actions: deque[np.ndarray] = deque(maxlen=spec.context - 1)
        self._executed: list[np.ndarray] = []
        self._queue: deque[np.ndarray] = deque()
        self._step = 0
        # The last plan and the control step it began at: the next search starts there.
        self._last_plan = np.zeros((self.horizon, spec.action_dim), np.float32)
        self._planned_at = 0
        self._restored_s = 0.0
        self.encode_s: list[float] = []
        self.plan_s: list[float] = []
        self.records = []

    def _encoded(self, goal: dict[str, np.ndarray], images: Any, view: View) -> list[Any]:
        """States of goal images ``[K, size, size, 3]``."""
        no_actions, states = np.zeros((0, self.model.spec.action_dim), np.float32), []
        for each in images:
            image, proprio = self._observed({**goal, "image": each}, view)
            states.append(self.model.encode(History(image[None], proprio[None], no_actions)))
        return states

    def act(self, obs: dict[str, np.ndarray]) -> np.ndarray:
        """Next control action, float32 ``[control_dim]`` within bounds.

        Raises:
            InputError: ``reset`` was not called, a bad image at a block boundary, or a model whose
                costs are not finite ``[N, H]``.
        """
        self._tracked()
        if self._step % self.model.spec.block == 0:
            self._remember(obs)
            if not self._queue:
                self._replan()
        action = self._queue.popleft()
        self._executed.append(action)
        self._step += 1
        return action.copy()

    def _tracked(self) -> SubgoalTracker:
        if self._tracker is None:
            raise InputError("asked before reset()", "an episode with a goal", "call reset first")
        return self._tracker

    def _observed(self, obs: dict[str, np.ndarray], view: View) -> tuple[np.ndarray, np.ndarray]:
        """Checked copies of image and proprioception: the caller may reuse its buffers."""
        image = np.array(obs["image"])
        check_image(image[None], self.model.spec.image_size)
        return view.restore(image), np.array(obs.get("proprio", ()), np.float32)

    def _remember(self, obs: dict[str, np.ndarray]) -> None:
        """Append a frame and the block of actions that led to it."""
        began = time.perf_counter()
        image, proprio = self._observed(obs, self.view)
        self._restored_s = time.perf_counter() - began
        if self._executed:
            self._actions.append(np.concatenate(self._executed))
            self._executed = []
        self._frames.append(image)
        self._proprio.append(proprio)

    def _history(self) -> History:
        actions = np.asarray(self._actions, np.float32).reshape(-1, len(self._low))
        return History(np.stack(self._frames), np.stack(self._proprio), actions)

    def _replan(self) -> None:
        actions = self._plan(self._low, self._high, self._step)
        self._queue.extend(actions[: self.execute].reshape(-1, self.model.spec.control_dim))

    def _plan(self, low: np.ndarray, high: np.ndarray, step: int) -> np.ndarray:
        """Plan ``[H, A]`` from what was seen at ``step``, within bounds ``[A]`` or ``[H, A]``."""
        history = self._history()
        start = time.perf_counter() - self._restored_s  # of the frame that is planned from
        state = self.model.encode(history)
        encoded = time.perf_counter()
        self._tracked().update(state)
        plan = self._search(state, start, low, high, self._warm(step))
        self.encode_s.append(encoded - start)
        self.plan_s.append(time.perf_counter() - encoded)
        actions = self._rounded(np.asarray(plan.actions, np.float32), low, high)
        plan = replace(plan, actions=actions)
        self._last_plan, self._planned_at = actions, step
        if self.record:
            self._keep(history, state, plan)
        return actions

    def _rounded(self, actions: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """The plan on the grid of ``levels``, within bounds ``[A]`` or ``[H, A]``."""
        if not self.levels:
            return actions
        step = (self._high - self._low) / self.levels
        near = self._low + np.round((actions - self._low) / step) * step
        return np.clip(near, low, high).astype(np.float32)

    def _warm(self, step: int) -> np.ndarray:
        """Where the search starts ``[H, A]``: the rest of the last plan, then staying."""
        mean = np.zeros_like(self._last_plan)
        if self.warm_start:
            rest = self._last_plan[(step - self._planned_at) // self.model.spec.block :]
            mean[: len(rest)] = rest
        return mean

    def _search(
        self, state: Any, began: float, low: np.ndarray, high: np.ndarray, mean: np.ndarray
    ) -> Plan:
        spec = self.model.spec
        noise = self.optimizer.draw_noise(
            self._noise_rng, self.horizon, spec.action_dim, block=spec.block
        )
        pursuit, rng = self._tracked(), self._proposal_rng
        proposed = pursuit.propose(state, self.proposals, rng) if self.proposals else None
        return self.optimizer.optimize(
            lambda actions: self.objective(pursuit.step_costs(state, actions), actions),
            mean,
            None,
            low,
            high,
            noise,
            proposed,
            (lambda: time.perf_counter() - began > self.deadline) if self.deadline else None,
        )

    def _keep(self, history: History, state: Any, plan: Plan) -> None:
        actions = np.asarray(plan.actions, np.float32)
        self.records.append(
            PlanRecord(
                step=self._planned_at,
                history=history,
                state=state,
                actions=actions,
                candidates=np.asarray(plan.candidates),
                candidate_costs=np.asarray(plan.candidate_costs),
                step_costs=self._tracked().step_costs(state, actions[None])[0],
                encode_s=self.encode_s[-1],
                plan_s=self.plan_s[-1],
            )
        )
