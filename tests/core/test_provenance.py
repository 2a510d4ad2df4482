import errno
import json
import os
import resource
import shutil
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import pytest

from robot_wm.core import errors
from robot_wm.core.errors import ConfigError, DataError, RobotWMError, StorageError
from robot_wm.core.storage import atomic_io
from robot_wm.core.storage.provenance import (
    MANIFEST,
    append_line,
    atomic_folder,
    atomic_write,
    canonical_json,
    check_name,
    check_parent,
    lock,
    queue,
    read_json,
    read_lines,
    read_manifest,
    sha256_file,
    sha256_of,
    storage_root,
    write_json,
    write_manifest,
)

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.fixture
def artifact(tmp_path):
    with atomic_folder(tmp_path / "thing") as work:
        (work / "sub").mkdir()
        (work / "a.bin").write_bytes(b"")
        (work / "sub" / "b.bin").write_bytes(b"\x00\x01")
        write_manifest(work, "thing", {"parent": "p" * 64}, {"score": 1.5})
    return tmp_path / "thing"


def test_manifest_says_what_is_there(artifact):
    manifest = read_manifest(artifact, "thing")
    assert manifest["files"] == {
        "a.bin": EMPTY, "sub/b.bin": sha256_file(artifact / "sub" / "b.bin"),
    }  # fmt: skip
    assert manifest["facts"] == {"score": 1.5}
    assert set(manifest["provenance"]) == {"commit", "hardware", "python", "os", "date"}
    assert manifest["sha256"] == sha256_of(
        {k: manifest[k] for k in ("kind", "parents", "files")}
    )  # neither facts nor provenance: rebuilding elsewhere gives the same artefact


@pytest.mark.parametrize("damage", ["alter", "delete", "truncate"])
def test_altered_files_are_found(artifact, damage):
    target = artifact / "sub" / "b.bin"
    {
        "alter": lambda: target.write_bytes(b"\x00\x02"),
        "truncate": lambda: target.write_bytes(b"\x00"),
        "delete": target.unlink,
    }[damage]()
    with pytest.raises(DataError, match=r"b\.bin"):
        read_manifest(artifact, "thing")
    assert read_manifest(artifact, "thing", verify=False)["kind"] == "thing"


def test_other_kinds_and_parents_are_refused(artifact):
    with pytest.raises(DataError, match="encoder"):
        read_manifest(artifact, "encoder")
    manifest = read_manifest(artifact, "thing")
    check_parent(manifest, "parent", "p" * 64)
    for role, digest in (("parent", "q" * 64), ("stranger", "p" * 64)):
        with pytest.raises(DataError, match=role):
            check_parent(manifest, role, digest)


@pytest.mark.parametrize("content", [None, "", "{", '{"kind": '])
def test_missing_or_broken_manifests_are_data_errors(artifact, content):
    (artifact / MANIFEST).unlink()
    if content is not None:
        (artifact / MANIFEST).write_text(content)
    with pytest.raises(DataError):
        read_manifest(artifact, "thing")


@pytest.mark.parametrize("error", [RuntimeError("x"), KeyboardInterrupt()])
def test_a_failed_folder_leaves_the_old_one_and_nothing_else(artifact, error):
    before = sha256_file(artifact / MANIFEST)

    def fail():
        with atomic_folder(artifact, replaces="thing") as work:
            (work / "half").write_text("written")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert sha256_file(artifact / MANIFEST) == before
    assert list(artifact.parent.iterdir()) == [artifact]


def test_a_good_folder_replaces_the_old_one(artifact):
    with atomic_folder(artifact, replaces="thing") as work:
        (work / "new").write_text("n")
        assert (artifact / "a.bin").exists()  # the old one stands until the end
    assert [p.name for p in artifact.iterdir()] == ["new"]
    assert list(artifact.parent.iterdir()) == [artifact]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_full_disk_is_a_storage_error(tmp_path, code):
    def fill():
        with atomic_folder(tmp_path / "thing") as work:
            (work / "half").write_text("written")
            raise OSError(code, "no room")

    with pytest.raises(StorageError, match="ROBOT_WM_HOME"):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_a_file_too_large_for_the_disk_leaves_the_old_one(tmp_path):
    """A real error of the operating system, not a simulated one."""
    target = tmp_path / "file"
    atomic_write(target, b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(StorageError):
            atomic_write(target, b"x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]
    assert target.stat().st_mode & 0o777 == 0o644


def test_json_is_canonical_and_strict(tmp_path):
    assert canonical_json({"b": [1, 2.5], "a": None}) == '{"a":null,"b":[1,2.5]}'
    assert sha256_of({"a": 1, "b": 2}) == sha256_of({"b": 2, "a": 1}) != sha256_of({"a": 2})
    write_json(tmp_path / "x.json", {"b": 1, "a": [True]})
    assert read_json(tmp_path / "x.json") == {"b": 1, "a": [True]}
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="JSON"):
            write_json(tmp_path / "nan.json", {"x": value})
    assert not (tmp_path / "nan.json").exists()
    with pytest.raises(DataError):
        read_json(tmp_path / "missing.json")
    assert json.loads((tmp_path / "x.json").read_text())["b"] == 1


def test_storage_root_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("ROBOT_WM_HOME", str(tmp_path / "x"))
    assert storage_root() == tmp_path / "x"
    monkeypatch.delenv("ROBOT_WM_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert storage_root() == tmp_path / ".robot_wm"


@pytest.mark.parametrize("kind", ["", "bundle", "thing"])
def test_what_is_not_ours_is_never_replaced(tmp_path, kind):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("the only copy")
    with pytest.raises(StorageError, match=r"thesis\.txt"), atomic_folder(mine, replaces=kind):
        raise AssertionError("it began")
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]
    assert (mine / "thesis.txt").read_text() == "the only copy"


@pytest.mark.parametrize(("kind", "extra"), [("", None), ("bundle", None), ("thing", "notes.txt")])
def test_other_kinds_and_files_put_beside_are_kept(artifact, kind, extra):
    if extra:
        (artifact / extra).write_text("mine")
    with pytest.raises(StorageError), atomic_folder(artifact, replaces=kind):
        raise AssertionError("it began")


@pytest.mark.parametrize("fatal", ["rename", "replace", "rmtree", "chmod", "exchange"])
def test_a_kill_at_any_moment_leaves_one_whole(artifact, fatal, monkeypatch):
    """The process is killed where the name is used: what stands is the old or the new one."""
    places = {"rmtree": shutil, "exchange": atomic_io}
    child = os.fork()
    if child == 0:
        place = places.get(fatal, os)
        name = "_exchange" if fatal == "exchange" else fatal
        setattr(place, name, lambda *_, **__: os._exit(9))
        with atomic_folder(artifact, replaces="thing") as work:
            (work / "new").write_text("n")
            write_manifest(work, "thing", {}, {})
        os._exit(0)
    os.waitpid(child, 0)
    assert read_manifest(artifact, "thing")["files"].keys() in ({"a.bin", "sub/b.bin"}, {"new"})
    atomic_io.sweep(artifact.parent)
    assert list(artifact.parent.iterdir()) == [artifact]


def test_where_nothing_can_be_exchanged_the_old_one_comes_back(artifact, monkeypatch):
    monkeypatch.setattr(atomic_io, "_exchange", lambda *_: False)
    child = os.fork()
    if child == 0:
        real, count = os.rename, iter(range(9))
        os.rename = lambda *a: os._exit(9) if next(count) else real(*a)
        with atomic_folder(artifact, replaces="thing") as work:
            (work / "new").write_text("n")
        os._exit(0)
    os.waitpid(child, 0)
    assert not artifact.exists()
    atomic_io.sweep(artifact.parent)
    assert read_manifest(artifact, "thing")
    assert list(artifact.parent.iterdir()) == [artifact]
    with atomic_folder(artifact, replaces="thing") as work:
        (work / "new").write_text("n")
    assert [p.name for p in artifact.iterdir()] == ["new"]
    assert list(artifact.parent.iterdir()) == [artifact]


@pytest.mark.parametrize("replaces", ["thing", ""])
def test_who_comes_between_the_last_look_and_the_move_is_replaced_or_kept(
    replaces, tmp_path, monkeypatch
):
    """Two workers that decimate the same meshes on a fresh machine do this."""
    target, real, came = tmp_path / "thing", os.rename, []

    def overtaken(source, place):
        if Path(place) == target and not came:
            came.append(place)
            target.mkdir()
            (target / "theirs").write_text("t")
            write_manifest(target, "thing", {}, {})
        real(source, place)

    def write():
        with atomic_folder(target, replaces=replaces) as work:
            (work / "ours").write_text("o")
            write_manifest(work, "thing", {}, {})

    monkeypatch.setattr(os, "rename", overtaken)
    if replaces:
        write()
    else:
        with pytest.raises(StorageError, match="holds something else"):
            write()
    assert came
    assert [*read_manifest(target, "thing")["files"]] == ["ours" if replaces else "theirs"]
    assert list(tmp_path.iterdir()) == [target]


def test_work_of_a_living_process_is_not_swept(tmp_path):
    with atomic_folder(tmp_path / "thing") as work:
        atomic_io.sweep(tmp_path)
        (work / "a").write_text("a")
    dead = tmp_path / f".other.x{atomic_io.PARTIAL}"
    dead.mkdir()
    atomic_io.sweep(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thing"]


def test_one_at_a_time(tmp_path):
    with lock(tmp_path / "run", "training into"):
        with (
            pytest.raises(StorageError, match="training into"),
            lock(tmp_path / "run", "training into"),
        ):
            raise AssertionError("both")
        with lock(tmp_path / "other", "training into"):
            pass
    with queue(tmp_path / "run"), pytest.raises(StorageError), queue(tmp_path / "run", 0.05):
        raise AssertionError("both")


@pytest.mark.parametrize("tail", ["", '{"step": 2, "lo', '{"a": {"b": 1}', "\0" * 64, "[1]"])
def test_a_log_cut_at_its_end_can_be_read(tmp_path, tail):
    path = tmp_path / "log.jsonl"
    append_line(path, {"step": 1})
    with path.open("a") as stream:
        stream.write(tail)
    assert read_lines(path) == [{"step": 1}]
    path.write_text('{"a": \n{"step": 1}\n')
    with pytest.raises(DataError, match="line 1"):
        read_lines(path)


@pytest.mark.parametrize(
    "text", ["[NaN]", "[Infinity]", "[1e999]", "[" * 100_000, "\udcff", "{", ""]
)
def test_json_of_another_kind_is_a_data_error(tmp_path, text):
    (tmp_path / "x.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(DataError):
        read_json(tmp_path / "x.json")


CHANGES = {
    "list": lambda m: [],
    "more": lambda m: {**m, "extra": 1},
    "less": lambda m: {k: v for k, v in m.items() if k != "files"},
    "nothing listed": lambda m: {**m, "files": {}},
    "struck": lambda m: {**m, "files": {"a.bin": EMPTY}},
    "own hash": lambda m: {**m, "sha256": "0" * 64},
    "no hash": lambda m: {**m, "sha256": "x"},
    "type": lambda m: {**m, "parents": []},
    "outside": lambda m: {**m, "files": {**m["files"], "../x": EMPTY}},
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("signed", [False, True])
def test_manifests_are_not_believed(artifact, change, signed):
    manifest = CHANGES[change](json.loads((artifact / MANIFEST).read_text()))
    if signed and isinstance(manifest, dict) and "hash" not in change and "files" in manifest:
        core = {k: manifest[k] for k in ("kind", "parents", "files")}
        manifest["sha256"] = sha256_of(core)
    write_json(artifact / MANIFEST, manifest)
    (artifact.parent / "x").write_bytes(b"")
    with pytest.raises(DataError):
        read_manifest(artifact, "thing")


def test_a_link_is_no_file(artifact):
    (artifact / "a.bin").rename(artifact.parent / "a.bin")
    (artifact / "a.bin").symlink_to("../a.bin")
    with pytest.raises(DataError, match=r"a\.bin"):
        read_manifest(artifact, "thing")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "a\\b", "/x", "x" * 101, " ", "a\0"]
)
def test_names_stay_in_their_folder(name):
    with pytest.raises(ConfigError, match="name"):
        check_name(name, "name")
    assert check_name("cpu-2.1_b+c", "name") == "cpu-2.1_b+c"


@pytest.mark.parametrize("kind", [c for c in vars(errors).values() if isinstance(c, type)])
def test_errors_travel_between_processes(kind):
    if issubclass(kind, RobotWMError):
        back = ForkingPickler.loads(ForkingPickler.dumps(kind("a", "b", "c")))
        assert type(back) is kind
        assert (str(back), back.next_step) == (str(kind("a", "b", "c")), "c")


@pytest.mark.skipif(os.name == "nt", reason="no such modes")
def test_others_may_read_what_is_written(tmp_path):
    with atomic_folder(tmp_path / "made") as work:
        (work / "inner").mkdir(mode=0o700)
        for path in (work / "weights", work / "inner" / "more"):
            path.touch(mode=0o600)
    modes = {p.name: p.stat().st_mode & 0o777 for p in (tmp_path / "made").rglob("*")}
    assert modes == {"inner": 0o755, "weights": 0o644, "more": 0o644}


@pytest.mark.parametrize("when", ["before it is opened", "before it is locked"])
def test_a_sweeper_that_comes_too_early_takes_nothing_that_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Two workers begin at once: one sweeps the folder that the other has just made."""
    room = atomic_io.tempfile if when == "before it is opened" else atomic_io.os
    name = "mkdtemp" if room is atomic_io.tempfile else "open"
    real, swept = getattr(room, name), list[str]()

    def then_swept(*args: Any, **kwargs: Any) -> Any:
        made = real(*args, **kwargs)
        if not swept:
            swept.append(made if name == "mkdtemp" else str(args[0]))
            Path(swept[0]).rmdir()
        return made

    monkeypatch.setattr(room, name, then_swept)
    work, handle = atomic_io._partial_folder(tmp_path / "shard")
    os.close(handle)
    assert work.is_dir()
    assert swept
    assert not Path(swept[0]).exists()
