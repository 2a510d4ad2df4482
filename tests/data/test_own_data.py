"""Episodes as users bring them: short ones, robots' logs, altered files, other robots.

What can be learnt from is learnt from; everything else is refused by name before it is used.
"""

import contextlib
import json
import resource
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from moving_square import EVERY, SIZE, TINY, episode, make_dataset, tiny_encoder
from point_world import PointEnv, point_store
from test_jepa_trainer import tiny_run
from test_pretraining import CONFIG as PRETRAIN

from planning.evaluation.rollout_collection import PracticeConfig, collect_rollouts
from planning.evaluation.sample_pairs import PairsConfig, calibration, make_pair_lists
from robot_wm.cli.main import compose
from robot_wm.core.errors import ConfigError, DataError, StorageError
from robot_wm.core.instantiate import deferred
from robot_wm.core.storage import provenance as manifest
from robot_wm.core.storage.provenance import MANIFEST, lock, write_manifest
from robot_wm.data.episodes import Schema
from robot_wm.data.formats.native import EpisodeStore, open_dataset, write_shard
from robot_wm.data.frame_pairs import ClipSampler
from robot_wm.data.latent_cache import LatentStore, build_latents
from robot_wm.data.normalization import Statistics
from robot_wm.data.sequences import SequenceDataset, open_pairs
from robot_wm.data.shards import shard_path
from robot_wm.encoders.frozen import save_encoder
from robot_wm.encoders.token_pca import TokenPCA
from robot_wm.encoders.vit import VideoEncoder
from robot_wm.pretraining.collapse_metrics import ProbeData
from robot_wm.pretraining.trainer import pretrain
from robot_wm.probing.probes import draw
from robot_wm.world_models.jepa.training.trainer import train
from robot_wm.world_models.jepa.visualization import contact_sheet
from sim.collection.collect import CollectConfig, Mix, collect
from sim.collection.mirror import mirror
from sim.collection.stage import dataset

SCHEMA = Schema(
    task="square", collection="robot", image_size=SIZE, frame_every=EVERY, control_dt=0.02,
    control_low=(-1.0, -1.0), control_high=(1.0, 1.0), pose_names=(), state_dim=0, proprio_dim=0,
    seed=0, episodes_per_shard=1, config={},
)  # fmt: skip
SHORT = 3


def robot(root: Path, episodes: int = 40, schema: Schema = SCHEMA) -> EpisodeStore:
    """A robot's log: neither states nor poses, and every fourth episode shorter than a block."""
    open_dataset(root, schema)
    rng, nothing = np.random.default_rng(1), np.zeros((200, 0))
    for number in range(episodes):
        made = episode(number, 14, rng)
        steps = SHORT if number % 4 == 0 else len(made.actions)
        made = replace(
            made, frames=made.frames[: steps // EVERY + 1], actions=made.actions[:steps],
            states=nothing[: steps + 1], poses=nothing[: steps + 1],
            proprio=made.proprio[: steps + 1],
        )  # fmt: skip
        write_shard(root, number, [made])
    return EpisodeStore(root)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Simulated episodes, a robot's log, an encoder and both caches."""
    root = tmp_path_factory.mktemp("own")
    stores = [make_dataset(root / "nominal", episodes=40, blocks=14), robot(root / "robot")]
    save_encoder(root / "encoder", VideoEncoder(TINY), {}, {}, "random weights")
    encoder = tiny_encoder()
    return stores, encoder, [build_latents(s.root, encoder, root) for s in stores]


def long_ones(store: EpisodeStore, split: str) -> list[int]:
    return [i for i in store.indices(split) if store.meta(i)["length"] >= EVERY]


def test_short_episodes_are_left_out_with_a_line_of_notice(place, capsys) -> None:
    stores, encoder, caches = place
    store, every = stores[1], long_ones(stores[1], "train")
    short = len(store.indices("train")) - len(every)
    assert short > 3
    pairs = open_pairs("square", [store.root], [caches[1]], encoder.sha256)
    reduce = TokenPCA(16, 32, 6)
    windows = SequenceDataset(pairs, "train", reduce, window=6, horizon=3, goal_range=4, noise=0.2)
    assert len(windows) == len(every) * (15 - 6 + 1)  # 14 blocks are 15 frames
    assert len(windows.x) == 15 * len(every)
    clips = ClipSampler([store], EVERY, SIZE)
    assert len(clips) == 14 * len(every)
    told = capsys.readouterr().err
    line = f"robot: {short} of {len(store.indices('train'))} train episodes last less than 5"
    assert told.count(line) == 1, told


def test_a_robots_log_trains_beside_simulated_episodes(place, tmp_path) -> None:
    stores, encoder, caches = place
    config = tiny_run(dataset_weights=(0.5, 0.5), eval_every=9)
    folder = train(config, [s.root for s in stores], caches, encoder, tmp_path)
    facts = manifest.read_manifest(folder, "world_model")["facts"]
    assert facts["datasets"] == [s.sha256 for s in stores]
    alone = train(tiny_run(eval_every=9), stores[1].root, caches[1], encoder, tmp_path / "alone")
    assert (alone / "frames.png").is_file()


def test_an_encoder_learns_from_a_robots_log_and_is_monitored_without_poses(place) -> None:
    store = place[0][1]
    data = ProbeData.draw(store, np.random.default_rng(0), 50, 20)
    found = data.evaluate(lambda frames: frames.reshape(len(frames), 16, -1).astype(np.float32))
    assert set(found) == {"S", "S0", "S/S0", "rankme", "participation"}
    assert np.isfinite(list(found.values())).all()


def test_what_needs_poses_or_states_says_so(place) -> None:
    store, success = place[0][1], PointEnv().success
    with pytest.raises(DataError, match="no poses"):
        draw(store, 50, np.random.default_rng(0))
    with pytest.raises(DataError, match="no states and no poses"):
        make_pair_lists(PairsConfig(count=1), store, success, ("official",))
    with pytest.raises(DataError, match="no poses"):
        calibration(store, success, ("official",))


def test_the_sheet_shows_episodes_that_were_learnt_from(place, tmp_path) -> None:
    store, kept = place[0][1], set()
    for i in long_ones(store, "train"):
        kept |= {np.asarray(frame).tobytes() for frame in store[i].frames}
    (tmp_path / "sheet.png").write_bytes(contact_sheet([store], 0))
    from robot_wm.world_models.jepa.visualization import read_sheet

    assert all(frame.tobytes() in kept for frame in read_sheet(tmp_path / "sheet.png", SIZE))


def test_a_robots_log_has_a_mirror_image(tmp_path) -> None:
    schema = replace(SCHEMA, task="push_t")
    source = robot(tmp_path / "a", 5, schema)
    found = EpisodeStore(mirror(source.root, tmp_path / "b"))
    back = EpisodeStore(mirror(found.root, tmp_path / "c"))
    for one, turned, again in zip(source, found, back, strict=True):
        assert len(one) == len(turned)
        assert (turned.actions != one.actions).any()
        np.testing.assert_array_equal(again.frames, one.frames)
        np.testing.assert_array_equal(again.actions, one.actions)
    with pytest.raises(ConfigError, match="square"):
        mirror(robot(tmp_path / "d", 2).root, tmp_path / "e")


def test_stored_collections_are_trained_on_by_name(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("ROBOT_WM_HOME", str(tmp_path))
    settings = compose(["train_on=[nominal,robot]"])
    with pytest.raises(DataError, match=r"'robot'.*nominal, varied\."):
        dataset(settings, "robot")
    root = settings.dataset_path("push_t", "robot")
    robot(root, 2, replace(SCHEMA, task="push_t"))
    assert dataset(settings, "robot") == root
    with pytest.raises(DataError, match=r"'robto'.*nominal, varied, robot\."):
        dataset(settings, "robto")
    with pytest.raises(ConfigError, match="train_on"):
        compose(["train_on=[../robot]"])


# What was altered since it was written.


def alter(path: Path, change) -> None:
    rows = np.load(path)
    np.save(path, change(rows), allow_pickle=False)


@pytest.fixture
def fresh(tmp_path):
    store, encoder = make_dataset(tmp_path / "data", episodes=40, blocks=14), tiny_encoder()
    return store, encoder, build_latents(store.root, encoder, tmp_path)


@pytest.mark.parametrize("column", ["actions", "frames"])
def test_altered_episodes_are_never_learnt_from(fresh, tmp_path, column) -> None:
    store, encoder, cache = fresh
    alter(shard_path(store.root, 1) / f"{column}.npy", lambda rows: rows[::-1])
    pixels = replace(PRETRAIN, encoder=TINY)
    for learn in (
        lambda: train(tiny_run(), store.root, cache, encoder, tmp_path / "run"),
        lambda: pretrain(pixels, [store.root], tmp_path / "encoder"),
        lambda: build_latents(store.root, encoder, tmp_path / "more"),
        lambda: mirror(store.root, tmp_path / "mirrored"),
    ):
        with pytest.raises(DataError, match=r"shard-00001.*collect again"):
            learn()


def test_altered_tokens_are_never_learnt_from(fresh, tmp_path) -> None:
    store, encoder, cache = fresh
    alter(cache / "shard-00000" / "tokens.npy", lambda rows: -rows)
    with pytest.raises(DataError, match=r"tokens\.npy.*build the latents again"):
        train(tiny_run(), store.root, cache, encoder, tmp_path / "run")


def test_files_are_hashed_once_in_a_process(fresh, monkeypatch) -> None:
    store, encoder, cache = fresh
    LatentStore(cache, EpisodeStore(store.root), encoder.sha256)
    monkeypatch.setattr(manifest, "sha256_file", lambda path: pytest.fail(f"hashed {path} again"))
    LatentStore(cache, EpisodeStore(store.root), encoder.sha256)


@pytest.mark.parametrize(
    "change",
    [
        {"frames": {}}, {"frames": {"shard-00000": 300}}, {"frames": [600]}, {"preprocessing": "x"},
        {"frames": {"shard-00000": -1, "shard-00001": 601}}, {"more": 1},
    ],
    ids=str,
)  # fmt: skip
def test_a_cache_that_says_something_else_is_refused(fresh, change) -> None:
    store, encoder, cache = fresh
    told = manifest.read_manifest(cache, "latents")
    (cache / MANIFEST).unlink()
    write_manifest(cache, "latents", told["parents"], {**told["facts"], **change})
    with pytest.raises(DataError, match="build the latents again"):
        LatentStore(cache, store, encoder.sha256)


# Other robots.


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"control_low": (-2.0, -1.0)}, r"control_low \(-2.0, -1.0\).*control_low \(-1.0, -1.0\)"),
        ({"control_dt": 0.1}, r"control_dt 0\.1.*control_dt 0\.02"),
        ({"task": "pole"}, "task pole.*task square"),
    ],
)
def test_episodes_of_another_robot_are_refused_with_both_values(place, tmp_path, change, text):
    stores, encoder, caches = place
    other = robot(tmp_path / "other", 4, replace(SCHEMA, **change))
    cache = build_latents(other.root, encoder, tmp_path)
    roots = [stores[0].root, other.root]
    with pytest.raises(DataError, match=text):
        train(tiny_run(), roots, [caches[0], cache], encoder, tmp_path / "run")


def test_images_of_another_size_are_refused_with_both_values(tmp_path) -> None:
    schema = replace(SCHEMA, image_size=16)
    open_dataset(tmp_path / "small", schema)
    made = episode(0, 2, np.random.default_rng(0))
    nothing = np.zeros((11, 0))
    small = replace(made, frames=made.frames[:, :16, :16], states=nothing, poses=nothing)
    write_shard(tmp_path / "small", 0, [small])
    with pytest.raises(DataError, match=r"16 px.*32 px"):
        build_latents(tmp_path / "small", tiny_encoder(), tmp_path)


def test_a_model_of_another_robot_is_not_tuned(place, tmp_path) -> None:
    stores, encoder, caches = place
    first = train(tiny_run(eval_every=99), stores[0].root, caches[0], encoder, tmp_path / "first")
    strong = robot(tmp_path / "strong", 40, replace(SCHEMA, control_high=(2.0, 1.0)))
    cache = build_latents(strong.root, encoder, tmp_path)
    config = tiny_run(steps=0, embedding_steps=0, fine_tune=True, latent_of=str(first))
    with pytest.raises(DataError, match=r"action_high.*2\.0"):
        train(config, strong.root, cache, encoder, tmp_path / "run")


# Values.


def test_training_that_diverges_is_told(place, tmp_path, monkeypatch) -> None:
    stores, encoder, caches = place
    monkeypatch.setattr(
        Statistics, "fit", lambda rows: Statistics(np.zeros(10), np.full(10, 1e-38))
    )
    with pytest.raises(ConfigError, match=r"step 1.*train\.lr"):
        train(tiny_run(lr=1.0), stores[0].root, caches[0], encoder, tmp_path)


def test_shares_of_nothing_are_refused(place) -> None:
    with pytest.raises(ConfigError, match=r"pretrain\.dataset_weights"):
        ClipSampler([place[0][0]], EVERY, SIZE, {"squares": 0.0})


BAD_EPISODES = {
    "ragged": {"actions": [[0.0, 0.0], [0.0]]},
    "wide": {"actions": np.zeros((70, 3), np.float32)},
    "endless": {"actions": np.full((70, 2), np.inf)},
    "too large for its type": {"actions": np.full((70, 2), 1e300)},
    "no actions": {"actions": np.zeros((0, 2), np.float32)},
    "a frame too few": {"frames": np.zeros((14, SIZE, SIZE, 3), np.uint8)},
    "another size": {"frames": np.zeros((15, 8, 8, 3), np.uint8)},
    "floats for pixels": {"frames": np.zeros((15, SIZE, SIZE, 3), np.float32)},
    "proprio of nowhere": {"proprio": np.zeros((71, 2), np.float32)},
    "text for a seed": {"meta": {"seed": "x"}},
    "a negative number": {"id": -1},
}


@pytest.mark.parametrize("fault", BAD_EPISODES)
def test_episodes_unlike_their_schema_are_not_written(tmp_path, fault) -> None:
    open_dataset(tmp_path, replace(SCHEMA, pose_names=("x", "y"), state_dim=2))
    good = episode(3, 14, np.random.default_rng(0))
    with pytest.raises(DataError):
        write_shard(tmp_path, 0, [replace(good, **BAD_EPISODES[fault])])
    with pytest.raises(DataError, match="each id once"):
        write_shard(tmp_path, 0, [good, good])
    assert [p.name for p in tmp_path.iterdir()] == ["dataset.json"]
    wide = replace(good, actions=good.actions.astype(np.float64))
    write_shard(tmp_path, 0, [wide])
    read = EpisodeStore(tmp_path)[0]
    assert read.actions.dtype == np.float32  # the type of the format, whatever the robot's was
    np.testing.assert_array_equal(read.actions, good.actions)


# One writer at a time, and disks that are full.


@pytest.fixture(scope="module")
def writers(place, tmp_path_factory):
    """Everything that writes, by name: a function of the folder it writes to."""
    stores, encoder, caches = place
    schema = replace(SCHEMA, task="push_t")
    log = robot(tmp_path_factory.mktemp("log") / "a", 3, schema).root
    points = point_store(tmp_path_factory.mktemp("points"))
    asked = PairsConfig(count=2, offset=10, budget=15, eval_seeds=(0,), split="train")
    pairs = make_pair_lists(asked, points, PointEnv().success, ("official",))[0]
    makers = deferred("point_world.PointEnv"), deferred("point_world.make_drift")
    scene = CollectConfig("push_t", "x", 2, 10, (Mix("random", 1.0),), image_size=64, workers=1)
    pixels = replace(PRETRAIN, encoder=TINY, monitor_every=0)
    return {
        "collecting": lambda out: collect(scene, out),
        "mirroring": lambda out: mirror(log, out),
        "practising": lambda out: collect_rollouts(
            PracticeConfig(episodes=2), pairs, points.schema, "p", {}, out, *makers
        ),
        "training": lambda out: train(tiny_run(), stores[0].root, caches[0], encoder, out),
        "pretraining": lambda out: pretrain(pixels, [stores[0].root], out),
    }


WORK = ("collecting", "mirroring", "practising", "training", "pretraining")


@pytest.mark.parametrize("work", WORK)
def test_one_process_writes_at_a_time(writers, tmp_path, work) -> None:
    target, said = tmp_path / "target", work.removeprefix("pre")
    with (
        lock(target, f"{work} into"),
        pytest.raises(StorageError, match=f"another process is {said} into .*target"),
    ):
        writers[work](target)
    assert not target.exists()


def test_one_process_encodes_at_a_time(place, tmp_path) -> None:
    stores, encoder, caches = place
    target = tmp_path / caches[0].name
    with lock(target, "x"), pytest.raises(StorageError, match="another process"):
        build_latents(stores[0].root, encoder, tmp_path)


@contextlib.contextmanager
def full_disk(size: int):
    """No file can grow beyond this: what a full disk does to whoever writes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [60, 700, 4000])
@pytest.mark.parametrize("work", WORK)
def test_a_full_disk_is_told_and_leaves_nothing_half_written(writers, tmp_path, work, size) -> None:
    with full_disk(size), pytest.raises(StorageError, match="free space"):
        writers[work](tmp_path / "target")
    for path in (tmp_path / "target").rglob("*"):
        if path.suffix == ".json":
            json.loads(path.read_text())
        assert "partial" not in path.name


def test_a_full_disk_while_encoding(place, tmp_path) -> None:
    stores, encoder, _ = place
    with full_disk(4000), pytest.raises(StorageError, match="free space"):
        build_latents(stores[0].root, encoder, tmp_path)
    assert not list(tmp_path.rglob("tokens.npy"))
