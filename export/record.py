"""What a robot saw and did, in the episode format: its days come home as training data.

An episode has one frame per block and every executed action, like those of simulation, but neither
physics state nor pose. Where a frame is missing at the beginning of a block the episode ends, and
the next good frame begins another: what is stored has no holes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from robot_wm.contracts import ModelSpec
from robot_wm.episodes import Recording, Schema, open_dataset, write_shard

POLICY = "agent"
NOTHING = np.zeros(0)
KNOWN: dict[str, Any] = {"state": NOTHING, "pose": NOTHING}  # of the world: nothing


class RobotLog:
    """Appends episodes to a data set, one shard each, written when the episode ends.

    Args:
        root: the data set's folder; made, or appended to if it is of the same robot and model.
        spec: of the model that plans.
        collection: name of the data set.

    Raises:
        DataError: ``root`` holds the data of another robot or model.
    """

    def __init__(self, root: Path, spec: ModelSpec, collection: str = "robot") -> None:
        self.root, self._every = Path(root), spec.block
        dim = spec.control_dim
        schema = Schema(
            task=spec.task,
            collection=collection,
            image_size=spec.image_size,
            frame_every=spec.block,
            control_dt=spec.control_dt,
            control_low=tuple(spec.action_low[:dim]),
            control_high=tuple(spec.action_high[:dim]),
            pose_names=(),
            state_dim=0,
            proprio_dim=0,
            seed=0,
            episodes_per_shard=1,
            config={"world_model": spec.hashes.get("world_model", "")},
        )
        self.root.mkdir(parents=True, exist_ok=True)
        open_dataset(self.root, schema)
        self._count = len(list(self.root.glob("shard-*")))
        self._size = spec.image_size
        self._recording: Recording | None = None
        self._waiting: list[np.ndarray] = []  # actions since the last frame

    def tick(self, image: np.ndarray | None, action: np.ndarray) -> None:
        """One control step: the newest image, if there is one, and the action sent after it."""
        if self._recording is None or len(self._waiting) == self._every:
            self._frame(image)
        if self._recording is not None:
            self._waiting.append(np.array(action, np.float32))

    def end(self) -> None:
        """Write the episode, if it has a block; actions after its last frame are dropped."""
        recording, self._recording, self._waiting = self._recording, None, []
        if recording is None:
            return
        episode = recording.episode(
            self._count, {"seed": 0, "policy": POLICY, "noise": 0.0, "factors": {}}
        )
        if len(episode):
            write_shard(self.root, self._count, [episode])
            self._count += 1

    def _frame(self, image: np.ndarray | None) -> None:
        shape = (self._size, self._size, 3)
        if image is None or image.dtype != np.uint8 or image.shape != shape:
            self.end()
            return
        obs = {"image": np.array(image), "proprio": NOTHING.astype(np.float32)}
        if self._recording is None:
            self._recording = Recording(obs, KNOWN, self._every)
        for action in self._waiting:
            self._recording.add(action, obs, KNOWN)  # the frame is kept with the last of them
        self._waiting = []
