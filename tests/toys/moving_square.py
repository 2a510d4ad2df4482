"""A toy scene for learning tests: a bright square that every action moves."""

from pathlib import Path

import numpy as np
import torch

from robot_wm.data.episodes import Episode, Schema
from robot_wm.data.formats.native import EpisodeStore, open_dataset, write_shard
from robot_wm.encoders.frozen import FrozenEncoder
from robot_wm.encoders.vit import EncoderConfig

SIZE, EVERY, SPEED = 32, 5, 0.8
TINY = EncoderConfig(image_size=SIZE, patch=8, width=32, depth=1, heads=2)


def tiny_encoder(seed: int = 0, sha: str = "tiny") -> FrozenEncoder:
    """Random weights: enough to see a square."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = FrozenEncoder(TINY).requires_grad_(False).eval()
    encoder.sha256 = sha
    return encoder


def draw(position: np.ndarray) -> np.ndarray:
    """A soft 8-pixel square at (x, y) [px], so that pixels change smoothly with position."""
    axis = np.arange(SIZE)
    x, y = (np.clip(4.5 - np.abs(axis - p), 0, 1) for p in position)
    return (y[:, None, None] * x[None, :, None] * np.array([255, 200, 40])).astype(np.uint8)


def episode(index: int, blocks: int, rng: np.random.Generator) -> Episode:
    """Random blocks, each of constant direction; position += SPEED · action per control step."""
    directions = rng.uniform(-1, 1, (blocks, 2))
    actions = np.clip(
        np.repeat(directions, EVERY, 0) + rng.normal(0, 0.1, (blocks * EVERY, 2)), -1, 1
    )
    poses = [rng.uniform(6, SIZE - 6, 2)]
    for action in actions:
        poses.append(np.clip(poses[-1] + SPEED * action, 4, SIZE - 4))
    rows = np.array(poses)
    return Episode(
        id=index,
        frames=np.stack([draw(p) for p in rows[::EVERY]]),
        states=rows,
        poses=rows,
        proprio=np.zeros((len(rows), 0), np.float32),
        actions=actions.astype(np.float32),
        meta={"seed": index, "policy": "expert", "noise": 0.1 if index % 4 else 0.4},
    )


def make_dataset(root: Path, episodes: int = 48, blocks: int = 12, shards: int = 2) -> EpisodeStore:
    """Write and open a data set."""
    schema = Schema(
        task="square", collection="squares", image_size=SIZE, frame_every=EVERY, control_dt=0.02,
        control_low=(-1.0, -1.0), control_high=(1.0, 1.0), pose_names=("x [px]", "y [px]"),
        state_dim=2, proprio_dim=0, seed=0, episodes_per_shard=episodes // shards, config={},
    )  # fmt: skip
    open_dataset(root, schema)
    rng = np.random.default_rng(0)
    every = [episode(i, blocks, rng) for i in range(episodes)]
    for shard in range(shards):
        write_shard(root, shard, every[shard::shards])
    return EpisodeStore(root)
