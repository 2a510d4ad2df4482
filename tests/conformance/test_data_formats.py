"""What every data format must do, ours and whatever is installed: the registry is iterated over."""

import contextlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from moving_square import make_dataset
from npz_episodes import NAME, NpzEpisodes, write_npz

from robot_wm.core.errors import DataError
from robot_wm.data.episode_files import DTYPES
from robot_wm.data.episodes import SPLITS
from robot_wm.data.formats.base import FORMATS, EpisodeReader, is_dataset, open_episodes

# A small data set of every format; one that is missing here fails below.
SAMPLES: dict[str, Callable[[Path], Path]] = {
    "native": lambda root: make_dataset(root / "a", 12, 4, 3).root,
    NAME: lambda root: write_npz(make_dataset(root / "native", 12, 4, 3), root / "a"),
}
names = pytest.mark.parametrize("name", sorted({*FORMATS, NAME}))


@pytest.fixture(autouse=True)
def others(installed) -> None:
    """Somebody else's format is as good as ours."""
    installed("robot_wm.data_formats", NAME, "npz_episodes:NpzEpisodes")


@pytest.fixture
def root(name: str, tmp_path: Path) -> Path:
    return SAMPLES[name](tmp_path)


def columns(root: Path) -> list[Path]:
    """Files that hold what was recorded."""
    return sorted(p for p in root.rglob("*") if p.suffix not in (".json", ".md") and p.is_file())


@names
def test_it_is_found_by_what_the_folder_says(name: str, root: Path) -> None:
    assert name in FORMATS
    assert is_dataset(root)
    assert isinstance(open_episodes(root), EpisodeReader)
    told = json.loads((root / "dataset.json").read_text())
    assert told.get("format", "native") == name


@names
def test_episodes_are_what_the_schema_says(name: str, root: Path) -> None:
    store = open_episodes(root)
    assert len(store) == 12
    assert len({store.meta(i)["id"] for i in range(len(store))}) == len(store)
    for i, episode in enumerate(store):
        assert (episode.id, len(episode)) == (store.meta(i)["id"], store.meta(i)["length"])
        shapes = store.schema.shapes(store.frames_of(i), len(episode) + 1, len(episode))
        for column, kind in DTYPES.items():
            rows = getattr(episode, column)
            assert (rows.dtype, rows.shape) == (np.dtype(kind), shapes[column]), column


@names
def test_positions_are_split_and_shared_out_without_a_gap(name: str, root: Path) -> None:
    store = open_episodes(root)
    everything = list(range(len(store)))
    assert sorted(i for split in SPLITS for i in store.indices(split)) == everything
    assert store.indices("train", 10**6) == []
    # Latents are kept by shard, one after the other.
    assert [i for episodes in store.shards().values() for i in episodes] == everything
    with pytest.raises(DataError, match="split"):
        store.indices("everything")


@names
def test_its_hash_is_that_of_its_content(name: str, root: Path) -> None:
    first = open_episodes(root).sha256
    assert first == open_episodes(root).sha256 == open_episodes(root, verify=False).sha256
    path = columns(root)[0]
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with contextlib.suppress(DataError):  # it may be refused at once
        assert open_episodes(root).sha256 != first


@names
def test_what_is_cut_is_refused(name: str, root: Path) -> None:
    for path in columns(root):
        path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError):
        list(open_episodes(root))


@names
def test_what_is_missing_is_refused(name: str, root: Path) -> None:
    for path in columns(root)[::2]:
        path.unlink()
    with pytest.raises(DataError):
        list(open_episodes(root))


@pytest.mark.parametrize("said", ["nobodys", 3, None, ["native"]])
def test_a_format_that_nobody_reads_is_refused(said: object, tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps({"format": said}))
    with pytest.raises(DataError, match=r"format.*native.*install"):
        open_episodes(tmp_path)


def test_a_folder_without_a_data_set_is_refused(tmp_path: Path) -> None:
    assert not is_dataset(tmp_path)
    with pytest.raises(DataError, match="robot-wm collect"):
        open_episodes(tmp_path)


def test_native_may_be_said(tmp_path: Path) -> None:
    store = make_dataset(tmp_path / "a", 4, 2, 1)
    path, before = store.root / "dataset.json", store.sha256
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": "native"}))
    assert open_episodes(store.root).sha256 == before


def test_rows_of_somebody_else_are_checked(tmp_path: Path, monkeypatch) -> None:
    root, whole = SAMPLES[NAME](tmp_path), NpzEpisodes.read
    for change in (
        lambda e: replace(e, actions=e.actions * np.nan),
        lambda e: replace(e, frames=e.frames[:-1]),
        lambda e: replace(e, frames=e.frames.astype(np.float32)),
        lambda e: replace(e, poses=e.poses[:, :1]),
    ):
        monkeypatch.setattr(NpzEpisodes, "read", lambda self, i, c=change: c(whole(self, i)))
        with pytest.raises(DataError, match=r"episode 0"):
            open_episodes(root)[0]
