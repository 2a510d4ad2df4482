import numpy as np
import pytest
import torch
from moving_square import TINY, make_dataset, tiny_encoder

from robot_wm.core.errors import DataError
from robot_wm.data.formats.native import EpisodeStore
from robot_wm.data.latent_cache import LatentStore, build_latents, cache_path
from robot_wm.data.sequences import SequenceDataset, block_actions, is_demonstration, sample_tokens
from robot_wm.encoders.token_pca import TokenPCA


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp("latents")
    store = make_dataset(root / "data", episodes=30)
    encoder = tiny_encoder()
    return store, encoder, build_latents(store.root, encoder, root / "cache")


def test_every_episode_gets_the_tokens_of_its_own_frames(built):
    store, encoder, folder = built
    latents = LatentStore(folder, store, encoder.sha256)
    assert latents.token_shape == (16, 32)
    for index in (0, 14, 15, len(store) - 1):  # first and last of both shards
        wanted = encoder.encode_frames(store[index].frames).numpy()
        # float16 keeps 11 bits and LayerNormed tokens stay below 8.
        np.testing.assert_allclose(latents.latents_of(index), wanted, atol=4e-3)


def test_a_finished_cache_is_not_touched_again(built):
    store, encoder, folder = built
    before = (folder / "shard-00000" / "tokens.npy").stat().st_mtime_ns
    assert build_latents(store.root, encoder, folder.parent) == folder
    assert (folder / "shard-00000" / "tokens.npy").stat().st_mtime_ns == before


def test_an_interrupted_build_goes_on_at_the_missing_shard(built, tmp_path):
    store, _, whole = built

    class Dying:
        """Encodes one shard, then is killed."""

        sha256, calls, config = "tiny", 0, TINY

        def encode_frames(self, frames):
            self.calls += 1
            if self.calls > 1:
                raise KeyboardInterrupt
            return tiny_encoder().encode_frames(frames)

    with pytest.raises(KeyboardInterrupt):
        build_latents(store.root, Dying(), tmp_path)
    folder = cache_path(tmp_path, "tiny", store.sha256)
    assert [p.name for p in folder.iterdir()] == ["shard-00000"]
    with pytest.raises(DataError):  # unfinished: no manifest yet
        LatentStore(folder, store, "tiny")
    first = (folder / "shard-00000" / "tokens.npy").stat().st_mtime_ns
    build_latents(store.root, tiny_encoder(), tmp_path)
    assert (folder / "shard-00000" / "tokens.npy").stat().st_mtime_ns == first
    for shard in ("shard-00000", "shard-00001"):
        a, b = (np.load(root / shard / "tokens.npy") for root in (folder, whole))
        np.testing.assert_array_equal(a, b)


def test_a_cache_of_another_encoder_or_data_set_is_refused(built, tmp_path):
    store, encoder, folder = built
    with pytest.raises(DataError, match="encoder"):
        LatentStore(folder, store, "another")
    other = make_dataset(tmp_path / "other", episodes=4)
    with pytest.raises(DataError, match="dataset"):
        LatentStore(folder, EpisodeStore(other.root), encoder.sha256)


def test_reduce_is_the_principal_component_projection_of_centred_tokens(built):
    store, encoder, folder = built
    pairs = [(store, LatentStore(folder, store, encoder.sha256))]
    tokens = sample_tokens(pairs, 10_000)
    assert len(tokens) == 13 * len(store.indices("train"))
    reduce = TokenPCA(16, 32, 6)
    explained = reduce.fit(tokens)
    out = reduce(torch.from_numpy(tokens.astype(np.float32)))
    # Closed form: centred per position, unit variance, uncorrelated over all tokens.
    np.testing.assert_allclose(out.mean(0), 0, atol=1e-3)
    flat = out.flatten(0, 1).double()
    np.testing.assert_allclose(flat.T @ flat / len(flat), np.eye(6), atol=1e-2)
    assert 0.5 < explained <= 1
    with pytest.raises(DataError, match="no variance"):
        reduce.fit(np.repeat(tokens[:1], 10, 0))


def test_tokens_whose_scale_says_something_keep_it():
    rng = np.random.default_rng(0)
    flat = np.full((400, 4, 12), 0.5, np.float32)  # a wall of which noise shows
    tokens = flat + 1e-3 * rng.normal(size=flat.shape).astype(np.float32)
    tokens[::4, 2] += rng.normal(size=(100, 12)).astype(np.float32)  # an object, now and then
    kept, lost = TokenPCA(4, 12, 6, layer_norm=False), TokenPCA(4, 12, 6)
    kept.fit(tokens)
    lost.fit(tokens)
    share = [r(torch.from_numpy(tokens)).square().sum((0, 2)) for r in (kept, lost)]
    assert share[0][2] / share[0].sum() > 0.99
    assert share[1][2] / share[1].sum() < 0.7  # noise is a third of what is left


def test_windows_stay_inside_training_episodes_and_goals_are_where_they_say(built):
    store, encoder, folder = built
    pairs = [(store, LatentStore(folder, store, encoder.sha256))]
    reduce = TokenPCA(16, 32, 6)
    reduce.fit(sample_tokens(pairs, 500))
    windows = SequenceDataset(pairs, "train", reduce, window=6, horizon=3, goal_range=4, noise=0.2)
    train = store.indices("train")
    assert len(windows) == len(train) * (13 - 6 + 1)  # 12 blocks are 13 frames
    i, t = 2, 5  # third training episode, its sixth frame
    start = np.array([13 * i + t])
    batch = windows.gather(start, np.random.default_rng(0))
    blocks = block_actions(store, train[i])
    np.testing.assert_array_equal(batch.actions[0], blocks[t : t + 5])
    np.testing.assert_array_equal(batch.plans[0, 1], blocks[t + 1 : t + 4])
    rows = windows.x[13 * i : 13 * (i + 1)].float()
    np.testing.assert_array_equal(batch.x[0], rows[t : t + 6])
    for frame in range(5):
        ahead = int(batch.k_near[0, frame])
        np.testing.assert_array_equal(batch.near[0, frame], rows[t + frame + ahead])
    np.testing.assert_array_equal(batch.far[0], rows[t + int(batch.k_far[0, 0])])
    np.testing.assert_array_equal(batch.k_far[0], int(batch.k_far[0, 0]) - np.arange(6))
    drawn = windows.draw(500, np.random.default_rng(1))
    assert drawn.k_near.min() == 1
    assert drawn.k_near.max() == 4
    assert drawn.k_far[:, 0].min() == 0


def test_windows_of_a_fixed_projector_hold_what_it_makes_of_their_tokens(built):
    store, encoder, folder = built
    pairs = [(store, LatentStore(folder, store, encoder.sha256))]
    reduce, project = (
        TokenPCA(16, 32, 6),
        torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(96, 5)),
    )
    reduce.fit(sample_tokens(pairs, 500))
    kept = SequenceDataset(pairs, "train", reduce, 6, 3, 4, 0.2, projector=project)
    later = SequenceDataset(pairs, "train", reduce, 6, 3, 4, 0.2)
    later.apply(project)
    assert kept.x.shape == later.x.shape == (13 * len(store.indices("train")), 5)
    torch.testing.assert_close(kept.x, later.x)


def test_demonstrations_are_the_experts_quiet_episodes(built):
    store, encoder, folder = built
    pairs = [(store, LatentStore(folder, store, encoder.sha256))]
    reduce = TokenPCA(16, 32, 6)
    assert is_demonstration({"policy": "expert", "noise": 0.2}, 0.2)
    assert not is_demonstration({"policy": "expert", "noise": 0.3}, 0.2)
    assert not is_demonstration({"policy": "random", "noise": 0.0}, 0.2)
    windows = SequenceDataset(pairs, "train", reduce, window=6, horizon=3, goal_range=4, noise=0.2)
    quiet = [k for k, i in enumerate(store.indices("train")) if store.meta(i)["noise"] == 0.1]
    assert 0 < len(quiet) < len(store.indices("train"))
    assert sorted({start // 13 for start in windows.demonstrations.tolist()}) == quiet
    drawn = windows.draw(50, np.random.default_rng(0), demonstrations=True)
    assert drawn.x.shape[:2] == (50, 6)
    none = SequenceDataset(pairs, "train", reduce, window=6, horizon=3, goal_range=4, noise=-1.0)
    np.testing.assert_array_equal(none.demonstrations, none.starts)  # better all than none
