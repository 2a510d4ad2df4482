"""Somebody else's data: one compressed file an episode, in words of its own.

It knows of the house what anybody would: :class:`EpisodeReader` and :class:`Schema`.
"""

import json
import zipfile
from pathlib import Path

import numpy as np

from robot_wm.core.errors import DataError
from robot_wm.core.storage.atomic_io import sha256_file
from robot_wm.core.storage.json_io import read_json, sha256_of
from robot_wm.data.episodes import Episode, Schema
from robot_wm.data.formats.base import EpisodeReader

NAME = "toy_npz"
WORDS = {"frames": "video", "states": "sim", "poses": "pose", "proprio": "joints", "actions": "cmd"}


class NpzEpisodes(EpisodeReader):
    """``recording.json`` tells of all, ``ep_7.npz`` is an episode."""

    def __init__(self, root: Path, verify: bool = True) -> None:
        self.told = read_json(root / "recording.json")
        if {"robot", "episodes"} - self.told.keys():
            raise DataError(f"{root / 'recording.json'}", "robot and episodes", "copy it again")
        super().__init__(root, Schema.from_json(self.told["robot"], str(root)))
        self.records = self.told["episodes"]

    @property
    def sha256(self) -> str:
        files = [sha256_file(self._file(i)) for i in range(len(self))]
        return sha256_of({"told": self.told, "files": files})

    def __len__(self) -> int:
        return len(self.records)

    def meta(self, index: int) -> dict:
        return self.records[index]

    def read(self, index: int) -> Episode:
        try:
            with np.load(self._file(index), allow_pickle=False) as data:
                columns = {ours: data[theirs] for ours, theirs in WORDS.items()}
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise DataError(f"{self._file(index)}: {error}", "an episode", "copy it") from error
        return Episode(self.records[index]["id"], meta=self.records[index], **columns)

    def _file(self, index: int) -> Path:
        path = self.root / f"ep_{self.records[index]['id']}.npz"
        if not path.is_file():
            raise DataError(f"no {path}", "a file an episode", "copy it again")
        return path


def write_npz(episodes: EpisodeReader, root: Path) -> Path:
    """The same episodes as if somebody else had recorded them."""
    root.mkdir(parents=True)
    records = [{**e.meta, "id": e.id, "length": len(e)} for e in episodes]
    for episode in episodes:
        rows = {theirs: getattr(episode, ours) for ours, theirs in WORDS.items()}
        rows["cmd"] = rows["cmd"].astype(np.float64)  # theirs, and exact
        np.savez_compressed(root / f"ep_{episode.id}.npz", **rows)
    told = {"robot": episodes.schema.to_json(), "episodes": records}
    (root / "recording.json").write_text(json.dumps(told))
    (root / "dataset.json").write_text(json.dumps({"format": NAME, "thanks": "to somebody"}))
    return root
