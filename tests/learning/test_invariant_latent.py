"""The world model learns from looks: rows of twins, what is asked of them, and what comes of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from moving_square import make_dataset, tiny_encoder
from test_jepa_trainer import tiny_run

from robot_wm.core.errors import ConfigError
from robot_wm.data.formats.native import EpisodeStore, open_dataset, write_shard
from robot_wm.data.latent_cache import build_latents
from robot_wm.data.looks import KEY, SOURCE, digest
from robot_wm.data.sequences import Pair, SequenceDataset, open_pairs
from robot_wm.encoders.token_pca import TokenPCA
from robot_wm.training.checkpoint import load_artifact
from robot_wm.world_models.jepa.model import Network, Sizes
from robot_wm.world_models.jepa.training.trainer import train


def looks(source: EpisodeStore, root: Path, episodes: int) -> EpisodeStore:
    """Some episodes of the moving square, each in a colour of its own on another background."""
    config = {**source.schema.config, KEY: 1}
    open_dataset(root, replace(source.schema, config=config))
    made = []
    for episode in list(source)[:episodes]:
        color = np.random.default_rng(episode.id).uniform(0.3, 1.0, 3)
        frames = np.roll(np.asarray(episode.frames), 1, axis=-1) * color + 40
        told = {"factors": {"color": list(color)}, SOURCE: digest(episode.states)}
        seen = frames.clip(0, 255).astype(np.uint8)
        made.append(replace(episode, frames=seen, meta={**episode.meta, **told}))
    write_shard(root, 0, made)
    return EpisodeStore(root)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Pair]]:
    root = tmp_path_factory.mktemp("looks")
    source = make_dataset(root / "square", episodes=20, blocks=12, shards=1)
    stores = [source, looks(source, root / "square-looks", 20)]
    caches = [build_latents(store.root, tiny_encoder(), root) for store in stores]
    return root, open_pairs("square", [s.root for s in stores], caches, "tiny")


def windows(pairs: list[Pair]) -> SequenceDataset:
    reduce = TokenPCA(16, 32, 8)
    reduce.fit(np.concatenate([np.array(pairs[0][1].latents_of(i)) for i in range(4)]))
    return SequenceDataset(pairs, "train", reduce, 5, 3, 4, 0.2)


def test_twins_are_rows_of_the_same_states(data) -> None:
    both, alone = windows(data[1]), windows(data[1][:1])
    half = len(both.x) // 2
    assert alone.twin is None
    assert alone.draw(4, np.random.default_rng(0)).twin is None
    assert both.twin is not None
    np.testing.assert_array_equal(both.twin, np.tile(np.arange(half), 2))
    assert not torch.equal(both.x[half:], both.x[:half])
    assert torch.equal(both.actions[half : 2 * half], both.actions[:half])
    drawn = both.gather(both.starts[[0, -1]], np.random.default_rng(0))
    assert torch.equal(drawn.twin[0], drawn.x[0])
    assert torch.equal(drawn.twin[1], both._rows(both.twin[both.starts[-1] + np.arange(5)]))
    _, later, _, _ = both.transitions(30, 4, np.random.default_rng(1))
    _, across, _, _ = both.transitions(30, 4, np.random.default_rng(1), across=True)
    other = (later != across).flatten(1).any(1).float().mean()
    assert 0.2 < other < 0.8  # the half of the episodes that are in other looks


def test_invariance_needs_looks_and_without_it_nothing_changes(data, tmp_path: Path) -> None:
    _, pairs = data
    encoder, roots = tiny_encoder(), [store.root for store, _ in pairs]
    caches = [cache.folder for _, cache in pairs]
    with pytest.raises(ConfigError, match="nominal-looks"):
        train(tiny_run(invariance=1.0), roots[:1], caches[:1], encoder, tmp_path / "a")
    few = {"steps": 4, "embedding_steps": 3, "dynamics_steps": 2, "width": 16, "blocks": 1}
    runs = [
        load_artifact(train(tiny_run(**few, **more), roots, caches, encoder, tmp_path / name),
                      "world_model")[0]
        for name, more in (("b", {}), ("c", {"invariance": 0.0}), ("d", {"invariance": 1.0}))
    ]  # fmt: skip
    assert all(torch.equal(runs[0][key], runs[1][key]) for key in runs[0])
    assert any(not torch.equal(runs[0][key], runs[2][key]) for key in runs[0])


def ratio(folder: Path, pairs: list[Pair]) -> float:
    """Distance of held-out states' latents in two looks, in units of that of different states."""
    tensors, config, _ = load_artifact(folder, "world_model")
    network = Network(Sizes(**config["sizes"]))
    network.load_state_dict({key: value.float() for key, value in tensors.items()})
    chosen = pairs[0][0].indices("validation") + pairs[0][0].indices("test")
    tokens = [
        torch.from_numpy(np.concatenate([np.array(c.latents_of(i)) for i in chosen])).float()
        for _, c in pairs
    ]
    with torch.no_grad():
        plain, seen = (network.projector(network.reduce(rows)) for rows in tokens)
    order = torch.randperm(len(plain), generator=torch.Generator().manual_seed(0))
    return float(
        (plain - seen).square().sum(1).mean() / (plain - plain[order]).square().sum(1).mean()
    )


def test_the_same_state_comes_closer_in_two_looks_than_different_ones(data, tmp_path: Path) -> None:
    _, pairs = data
    encoder, roots = tiny_encoder(), [store.root for store, _ in pairs]
    caches = [cache.folder for _, cache in pairs]
    few = {"steps": 100, "dynamics_steps": 1, "batch": 12, "ema": 0.9, "warmup": 5}
    few |= {"embedding": 0, "embedding_steps": 0, "width": 16, "blocks": 1, "lr": 4e-3}
    without, with_it = (
        ratio(train(tiny_run(**few, invariance=weight), roots, caches, encoder, tmp_path / name),
              pairs)
        for name, weight in (("a", 0.0), ("b", 20.0))
    )  # fmt: skip
    assert with_it < 0.5 * without  # .26 measured
