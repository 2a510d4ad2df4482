"""An episode, while it is recorded and afterwards, and the split it falls into.

An episode of ``T`` actions has ``T+1`` rows of states, poses and proprio, and one frame every
``frame_every`` control steps starting with row 0: ``T // frame_every + 1`` frames. How episodes lie
on a disk is the matter of their data format, see :mod:`robot_wm.data.formats`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from robot_wm.core.errors import DataError
from robot_wm.data.episode_files import COLUMNS, Schema

__all__ = ["AGENT", "COLUMNS", "SPLITS", "Episode", "Recording", "Schema", "split_of"]
SPLITS = ("train", "validation", "test")
AGENT = "agent"  # policy, in their records, of episodes in which an agent pursued a goal


@dataclass(frozen=True)
class Episode:
    """One recorded episode; arrays may be views into a memory map."""

    id: int
    frames: np.ndarray
    states: np.ndarray
    poses: np.ndarray
    proprio: np.ndarray
    actions: np.ndarray
    meta: dict[str, Any]

    def __len__(self) -> int:
        """Number of actions ``T``."""
        return len(self.actions)


class Recording:
    """An episode while it happens.

    Args:
        obs, info: what ``Environment.reset`` returned.
        frame_every: control steps from one kept frame to the next.
    """

    def __init__(self, obs: Mapping[str, Any], info: Mapping[str, Any], frame_every: int) -> None:
        self._every = frame_every
        self._rows: dict[str, list[np.ndarray]] = {
            "frames": [obs["image"]], "states": [info["state"]], "poses": [info["pose"]],
            "proprio": [obs["proprio"]], "actions": [],
        }  # fmt: skip

    def add(self, action: np.ndarray, obs: Mapping[str, Any], info: Mapping[str, Any]) -> None:
        """One control step: the executed action ``[A]`` and what ``step`` returned after it."""
        rows = self._rows
        rows["actions"].append(action)
        rows["states"].append(info["state"])
        rows["poses"].append(info["pose"])
        rows["proprio"].append(obs["proprio"])
        if len(rows["actions"]) % self._every == 0:
            rows["frames"].append(obs["image"])

    def episode(self, index: int, meta: dict[str, Any]) -> Episode:
        """All of it.

        Raises:
            DataError: no action yet, or rows of several sizes.
        """
        try:
            return Episode(index, meta=meta, **{k: np.stack(v) for k, v in self._rows.items()})
        except ValueError as error:
            raise DataError(
                f"episode {index}: {error}", "an action or more, and rows of one size",
                "have every observation and action be of the same size",
            ) from error  # fmt: skip


def split_of(task: str, collection: str, episode_id: int) -> str:
    """``train`` 85 %, ``validation`` 5 %, ``test`` 10 %, from a hash stable under appending."""
    key = f"split-v1:{task}:{collection}:{episode_id}".encode()
    u = int.from_bytes(hashlib.sha256(key).digest()[:8], "big") / 2**64
    return "test" if u < 0.10 else "validation" if u < 0.15 else "train"
