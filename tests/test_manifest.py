import errno
import json
import resource

import pytest

from robot_wm.errors import DataError, StorageError
from robot_wm.manifest import (
    MANIFEST,
    atomic_folder,
    atomic_write,
    canonical_json,
    check_parent,
    read_json,
    read_manifest,
    sha256_file,
    sha256_of,
    storage_root,
    write_json,
    write_manifest,
)

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.fixture
def artefact(tmp_path):
    with atomic_folder(tmp_path / "thing") as work:
        (work / "sub").mkdir()
        (work / "a.bin").write_bytes(b"")
        (work / "sub" / "b.bin").write_bytes(b"\x00\x01")
        write_manifest(work, "thing", {"parent": "p" * 64}, {"score": 1.5})
    return tmp_path / "thing"


def test_manifest_says_what_is_there(artefact):
    manifest = read_manifest(artefact, "thing")
    assert manifest["files"] == {
        "a.bin": EMPTY, "sub/b.bin": sha256_file(artefact / "sub" / "b.bin"),
    }  # fmt: skip
    assert manifest["facts"] == {"score": 1.5}
    assert set(manifest["provenance"]) == {"commit", "hardware", "python", "os", "date"}
    assert manifest["sha256"] == sha256_of(
        {k: manifest[k] for k in ("kind", "parents", "files")}
    )  # neither facts nor provenance: rebuilding elsewhere gives the same artefact


@pytest.mark.parametrize("damage", ["alter", "delete", "truncate"])
def test_altered_files_are_found(artefact, damage):
    target = artefact / "sub" / "b.bin"
    {
        "alter": lambda: target.write_bytes(b"\x00\x02"),
        "truncate": lambda: target.write_bytes(b"\x00"),
        "delete": target.unlink,
    }[damage]()
    with pytest.raises(DataError, match=r"b\.bin"):
        read_manifest(artefact, "thing")
    assert read_manifest(artefact, "thing", verify=False)["kind"] == "thing"


def test_other_kinds_and_parents_are_refused(artefact):
    with pytest.raises(DataError, match="encoder"):
        read_manifest(artefact, "encoder")
    manifest = read_manifest(artefact, "thing")
    check_parent(manifest, "parent", "p" * 64)
    for role, digest in (("parent", "q" * 64), ("stranger", "p" * 64)):
        with pytest.raises(DataError, match=role):
            check_parent(manifest, role, digest)


@pytest.mark.parametrize("content", [None, "", "{", '{"kind": '])
def test_missing_or_broken_manifests_are_data_errors(artefact, content):
    (artefact / MANIFEST).unlink()
    if content is not None:
        (artefact / MANIFEST).write_text(content)
    with pytest.raises(DataError):
        read_manifest(artefact, "thing")


@pytest.mark.parametrize("error", [RuntimeError("x"), KeyboardInterrupt()])
def test_a_failed_folder_leaves_the_old_one_and_nothing_else(artefact, error):
    before = sha256_file(artefact / MANIFEST)

    def fail():
        with atomic_folder(artefact) as work:
            (work / "half").write_text("written")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert sha256_file(artefact / MANIFEST) == before
    assert list(artefact.parent.iterdir()) == [artefact]


def test_a_good_folder_replaces_the_old_one(artefact):
    with atomic_folder(artefact) as work:
        (work / "new").write_text("n")
        assert (artefact / "a.bin").exists()  # the old one stands until the end
    assert [p.name for p in artefact.iterdir()] == ["new"]
    assert list(artefact.parent.iterdir()) == [artefact]


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
