"""Folders of shards: filled once, by any number of workers, whatever comes between."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from robot_wm.core.errors import DataError, StorageError
from robot_wm.core.storage.atomic_io import PARTIAL, atomic_folder
from robot_wm.core.storage.locks import lock
from robot_wm.data.shards import fill, is_whole, shard_path


@dataclass
class Write:
    """Writes its number; at one of them something happens when half of it is written."""

    root: Path
    at: int = -1
    what: str = ""

    def __call__(self, index: int) -> None:
        with atomic_folder(shard_path(self.root, index)) as work:
            (work / "a").write_text(f"{index}")
            if index == self.at:
                if self.what == "typed":
                    raise DataError(f"shard {index}", "another", "go on")
                if self.what == "raw":
                    raise ZeroDivisionError(f"nothing to divide shard {index} by")
                os._exit(9)
            (work / "b").write_text(f"{index}" * 1000)


def contents(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_there_is_kept_and_the_rest_is_written(tmp_path: Path, workers: int) -> None:
    root = tmp_path / "a"
    Write(root)(1)
    first = (shard_path(root, 1) / "a").stat().st_mtime_ns
    fill(root, range(4), Write(root), "writing", workers)
    assert (shard_path(root, 1) / "a").stat().st_mtime_ns == first
    fill(tmp_path / "b", [3, 1, 2, 0], Write(tmp_path / "b"), "writing")
    assert contents(root) == contents(tmp_path / "b")
    assert [is_whole(root, i) for i in (3, 4)] == [True, False]


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("typed", "shard 2. Accepted: another"),
        ("raw", "ZeroDivisionError: nothing to divide shard 2 by"),
        ("death", "worker process died"),
    ],
)
def test_an_error_in_a_worker_is_told_and_leaves_no_half_shard(
    tmp_path: Path, what: str, text: str
) -> None:
    with pytest.raises(Exception, match=text) as caught:
        fill(tmp_path, range(5), Write(tmp_path, 2, what), "writing", workers=2)
    if what == "typed":
        assert type(caught.value) is DataError
    assert not is_whole(tmp_path, 2)
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(PARTIAL)]
    assert all(len(list(path.iterdir())) == 2 for path in tmp_path.glob("shard-*"))
    fill(tmp_path, range(5), Write(tmp_path), "writing", workers=2)  # the next one goes on
    assert all(is_whole(tmp_path, index) for index in range(5))


def test_the_folder_is_opened_first_and_by_one_process_alone(tmp_path: Path) -> None:
    def refuse() -> None:
        raise DataError("shards of another configuration", "none", "delete them")

    with pytest.raises(DataError, match="another configuration"):
        fill(tmp_path / "a", range(2), Write(tmp_path / "a"), "writing", begin=refuse)
    assert not (tmp_path / "a").exists()
    with lock(tmp_path / "b", "reading"), pytest.raises(StorageError, match="writing into"):
        fill(tmp_path / "b", range(2), Write(tmp_path / "b"), "writing")


def test_a_shard_without_files_is_none(tmp_path: Path) -> None:
    shard_path(tmp_path, 0).mkdir()
    fill(tmp_path, range(1), Write(tmp_path), "writing")
    assert is_whole(tmp_path, 0)
