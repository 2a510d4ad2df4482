import hashlib
import shutil
from dataclasses import replace

import numpy as np
import pytest

from robot_wm.core.errors import DataError, StorageError
from robot_wm.core.storage.provenance import write_json, write_manifest
from robot_wm.data.episodes import COLUMNS, Episode, Schema, split_of
from robot_wm.data.formats.native import EpisodeStore, open_dataset, write_shard
from robot_wm.data.shards import shard_path

SCHEMA = Schema(
    task="toy", collection="c", image_size=4, frame_every=5, control_dt=0.1,
    control_low=(-1.0, -1.0), control_high=(1.0, 1.0), pose_names=("x [m]", "y [m]"),
    state_dim=3, proprio_dim=2, seed=0, episodes_per_shard=2, config={"steps": 10},
)  # fmt: skip
LENGTHS = (10, 12, 5, 10)


def episode(number, steps):
    rng = np.random.default_rng(number)
    return Episode(
        id=number,
        frames=rng.integers(0, 256, (steps // 5 + 1, 4, 4, 3), dtype=np.uint8),
        states=rng.normal(size=(steps + 1, 3)),
        poses=rng.normal(size=(steps + 1, 2)),
        proprio=rng.normal(size=(steps + 1, 2)).astype(np.float32),
        actions=rng.normal(size=(steps, 2)).astype(np.float32),
        meta={"seed": number, "policy": "p", "noise": 0.5, "factors": {"colour": [0.1, 0.2, 0.3]}},
    )


@pytest.fixture
def root(tmp_path):
    open_dataset(tmp_path, SCHEMA)
    for shard in range(2):
        pair = [episode(i, LENGTHS[i]) for i in (2 * shard, 2 * shard + 1)]
        write_shard(tmp_path, shard, pair)
    return tmp_path


def test_round_trip(root):
    store = EpisodeStore(root, verify=True)
    assert store.schema == SCHEMA
    assert len(store) == 4
    for number, read in enumerate(store):
        wrote = episode(number, LENGTHS[number])
        assert read.id == number
        assert len(read) == LENGTHS[number]
        assert read.meta == {**wrote.meta, "id": number, "length": LENGTHS[number]}
        for name in COLUMNS:
            ours, theirs = getattr(read, name), getattr(wrote, name)
            assert ours.dtype == theirs.dtype
            assert np.array_equal(ours, theirs), name


def test_columns_are_mapped_read_only_and_shared(root):
    store = EpisodeStore(root)
    assert store._columns == {}  # nothing is opened before it is used
    first, second = store[0].frames, store[1].frames
    assert isinstance(first, np.memmap)
    assert first.base is second.base or first._mmap is second._mmap
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 0
    store.meta(3)
    assert list(store._columns) == [0]


def test_split_is_the_published_hash():
    for number in (0, 7, 123456):
        digest = hashlib.sha256(f"split-v1:push_t:c:{number}".encode()).digest()
        u = int.from_bytes(digest[:8], "big") / 2**64
        wanted = "test" if u < 0.1 else "validation" if u < 0.15 else "train"
        assert split_of("push_t", "c", number) == wanted


def test_split_fractions():
    splits = [split_of("push_t", "c", i) for i in range(20_000)]
    for name, share in (("train", 0.85), ("validation", 0.05), ("test", 0.10)):
        # Three standard deviations of a binomial share of 20,000.
        assert splits.count(name) / 20_000 == pytest.approx(share, abs=0.0077)
    assert splits != [split_of("push_t", "d", i) for i in range(20_000)]


def test_split_is_stable_under_appending_and_complete(root):
    before = {s: EpisodeStore(root).indices(s) for s in ("train", "validation", "test")}
    assert sorted(i for indices in before.values() for i in indices) == [0, 1, 2, 3]
    sha256 = EpisodeStore(root).sha256
    write_shard(root, 2, [episode(4, 5), episode(5, 5)])
    grown = EpisodeStore(root)
    for name, indices in before.items():
        assert [i for i in grown.indices(name) if i < 4] == indices
    assert grown.sha256 != sha256
    with pytest.raises(DataError, match="held_out"):
        grown.indices("held_out")


def test_hash_tells_contents_not_time(root, tmp_path_factory):
    copy = tmp_path_factory.mktemp("copy")
    open_dataset(copy, SCHEMA)
    for shard in (1, 0):
        write_shard(copy, shard, [episode(i, LENGTHS[i]) for i in (2 * shard, 2 * shard + 1)])
    assert EpisodeStore(copy).sha256 == EpisodeStore(root).sha256
    shutil.rmtree(shard_path(copy, 1))
    write_shard(copy, 1, [episode(2, 5), episode(9, 10)])
    assert EpisodeStore(copy).sha256 != EpisodeStore(root).sha256


def test_other_configuration_is_refused_by_name(root):
    open_dataset(root, SCHEMA)  # the same one is welcome
    with pytest.raises(DataError, match="frame_every, seed"):
        open_dataset(root, replace(SCHEMA, seed=1, frame_every=2))
    assert EpisodeStore(root).schema == SCHEMA


@pytest.mark.parametrize("column", ["frames", "actions"])
def test_altered_shards_are_found(root, column):
    path = shard_path(root, 1) / f"{column}.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=column):
        EpisodeStore(root, verify=True)


def test_truncated_and_missing_parts_are_data_errors(root):
    path = shard_path(root, 0) / "frames.npy"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match="frames"):
        EpisodeStore(root)
    store = EpisodeStore(root, verify=False)
    with pytest.raises(DataError, match="frames"):
        store[0]
    assert store[2].id == 2  # other shards are still good
    (shard_path(root, 1) / "episodes.json").unlink()
    with pytest.raises(DataError, match="episodes"):
        EpisodeStore(root, verify=False)


def test_pickles_are_never_loaded(root):
    path = shard_path(root, 0) / "poses.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError):
        EpisodeStore(root)[0]


def test_empty_folders_say_what_to_run(tmp_path):
    with pytest.raises(DataError, match="robot-wm collect"):
        EpisodeStore(tmp_path)
    open_dataset(tmp_path, SCHEMA)
    with pytest.raises(DataError, match="no shards"):
        EpisodeStore(tmp_path)


def signed(shard, name, change):
    """Change a column and have the manifest say that this is what was meant."""
    rows = change(np.load(shard / f"{name}.npy"))
    np.save(shard / f"{name}.npy", rows, allow_pickle=False)
    (shard / "manifest.json").unlink()
    write_manifest(shard, "shard", {}, {"index": 0})


COLUMN_FAULTS = {
    "shorter": ("actions", lambda x: x[:-1]),
    "wider": ("poses", lambda x: np.hstack([x, x])),
    "flat": ("frames", lambda x: x.reshape(len(x), -1)),
    "floats": ("frames", lambda x: x / np.float32(255)),
    "whole numbers": ("actions", lambda x: x.astype(np.int64)),
    "text": ("states", lambda x: x.astype("U8")),
    "NaN": ("proprio", lambda x: x * np.nan),
    "infinite": ("actions", lambda x: x + np.float32(np.inf)),
}


@pytest.mark.parametrize("fault", COLUMN_FAULTS)
def test_columns_that_do_not_fit_the_schema_are_refused(root, fault):
    name, change = COLUMN_FAULTS[fault]
    signed(shard_path(root, 0), name, change)
    with pytest.raises(DataError, match=name):
        EpisodeStore(root)[0]


RECORD_FAULTS = ([], [{"id": 0}], [{"id": -1, "length": 10}], [{"id": 0, "length": "10"}], {}, [3],
                 [{"id": 0, "length": 10, "seed": "x"}, {"id": 0, "length": 12}])  # fmt: skip


@pytest.mark.parametrize("records", RECORD_FAULTS, ids=str)
def test_records_that_make_no_sense_are_refused(root, records):
    shard = shard_path(root, 0)
    write_json(shard / "episodes.json", records)
    (shard / "manifest.json").unlink()
    write_manifest(shard, "shard", {}, {"index": 0})
    with pytest.raises(DataError):
        EpisodeStore(root)[0]


def test_an_episode_is_there_once(root):
    shutil.copytree(shard_path(root, 0), shard_path(root, 2))
    with pytest.raises(DataError, match="twice"):
        EpisodeStore(root)


@pytest.mark.parametrize(
    "change",
    [
        lambda s: {**s, "fps": 10},
        lambda s: {k: v for k, v in s.items() if k != "seed"},
        lambda s: {**s, "image_size": "4"},
        lambda s: {**s, "control_dt": -0.1},
        lambda s: {**s, "control_low": [1.0, 1.0]},
        lambda s: [s],
    ],
)
def test_a_schema_of_another_release_is_refused(root, change):
    write_json(root / "dataset.json", change(SCHEMA.to_json()))
    for read in (EpisodeStore, lambda path: open_dataset(path, SCHEMA)):
        with pytest.raises(DataError, match=r"dataset\.json"):
            read(root)


def test_what_makes_no_sense_is_not_written(tmp_path):
    good = episode(0, 10)
    for name, value in (("actions", good.actions * np.nan), ("poses", good.poses[:-1])):
        with pytest.raises(DataError, match=name):
            write_shard(tmp_path, 0, [replace(good, **{name: value})])
    assert not list(tmp_path.iterdir())


def test_a_shard_is_never_overwritten(root):
    with pytest.raises(StorageError, match="shard-00000"):
        write_shard(root, 0, [episode(7, 10)])
    assert EpisodeStore(root)[0].id == 0
