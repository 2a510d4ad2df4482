"""What a robot saw and did, in the episode format: its days come home as training data.

An episode has one frame per block and every executed action, like those of simulation, but neither
physics state nor pose. Where a frame is missing at the beginning of a block the episode ends, and
the next good frame begins another: what is stored has no holes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from robot_wm.core.errors import DataError, StorageError
from robot_wm.core.images import sides
from robot_wm.core.protocols import ModelSpec
from robot_wm.data.episodes import AGENT, Recording, Schema
from robot_wm.data.formats.native import open_dataset, write_shard
from robot_wm.data.shards import shard_path

NOTHING = np.zeros(0)
KNOWN: dict[str, Any] = {"state": NOTHING, "pose": NOTHING}  # a robot measures neither


class RobotLog:
    """Appends episodes to a data set, one shard each.

    A control step never touches the disk: episodes stay in memory until :meth:`end`. Several logs,
    also of several processes, may write to one folder: each takes the next free shard.

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
        taken = [
            int(name) for path in self.root.glob("shard-*") if (name := path.name[6:]).isdigit()
        ]
        self._next = max(taken, default=-1) + 1
        self._ended: list[Recording] = []
        self._shape = (*sides(spec.image_size), 3)
        self._recording: Recording | None = None
        self._waiting: list[np.ndarray] = []  # actions since the last frame
        self._moved = False  # whether a second frame has come

    def tick(self, image: Any, action: np.ndarray) -> None:
        """One control step: the newest image and the action sent.

        Args:
            image: uint8 ``[height, width, 3]``; at the beginning of a block anything else (None:
                there is none, or none to be trusted) ends the episode. In between it is not looked
                at.
        """
        if self._recording is None or len(self._waiting) == self._every:
            self._frame(image)
        if self._recording is not None:
            self._waiting.append(np.array(action, np.float32))

    def end(self) -> None:
        """Write what was recorded; actions after an episode's last frame are dropped.

        Raises:
            StorageError: the disk is full; what is not written is kept for the next call.
        """
        self.close()
        self.flush()

    def close(self) -> None:
        """The episode is over; it counts if it has a block. Nothing is written yet."""
        if self._recording is not None and self._moved:
            self._ended.append(self._recording)
        self._recording, self._waiting, self._moved = None, [], False

    def flush(self) -> None:
        """Write the episodes that are over.

        Raises:
            StorageError: see :meth:`end`.
            DataError: ragged or not finite; that episode is dropped.
        """
        meta = {"seed": 0, "policy": AGENT, "noise": 0.0, "factors": {}}
        while self._ended:
            try:
                write_shard(self.root, self._next, [self._ended[0].episode(self._next, meta)])
            except StorageError:
                if not shard_path(self.root, self._next).exists():
                    raise
            except DataError:  # which it will be for ever: it must not hold up the others
                del self._ended[0]
                raise
            else:  # otherwise another log was there first
                del self._ended[0]
            self._next += 1

    def _frame(self, image: Any) -> None:
        good = isinstance(image, np.ndarray) and image.dtype == np.uint8
        if not (good and image.shape == self._shape):
            self.close()
            return
        obs = {"image": np.array(image), "proprio": NOTHING.astype(np.float32)}
        if self._recording is None:
            self._recording = Recording(obs, KNOWN, self._every)
        for action in self._waiting:
            self._recording.add(action, obs, KNOWN)  # the frame is kept with the last of them
            self._moved = True
        self._waiting = []
