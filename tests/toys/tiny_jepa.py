"""The house world model, tiny, for the moving square."""

from __future__ import annotations

import numpy as np
from moving_square import SIZE, draw

from robot_wm.core.protocols import History, ModelSpec
from robot_wm.world_models.jepa.network import Sizes

SIZES = Sizes(
    positions=16, encoder_width=32, action=10, reduced=6, channels=4, keypoints=2, embedding=7,
    embedding_width=16, embedding_blocks=1, width=32,
    blocks=2, horizon=3, heads=3, proposer_width=16, proposer_blocks=1,
    distance_width=16, distance_blocks=1, slow=2,
)  # fmt: skip
SPEC = ModelSpec(
    task="square", action_low=(-1.0,) * 10, action_high=(1.0,) * 10, control_dim=2,
    control_dt=0.02, context=2, horizon=3, image_size=SIZE,
)  # fmt: skip


def history(frames=3, seed=0):
    rng = np.random.default_rng(seed)
    images = np.stack([draw(rng.uniform(6, SIZE - 6, 2)) for _ in range(frames)])
    actions = rng.uniform(-1, 1, (frames - 1, 10)).astype(np.float32)
    return History(images, np.zeros((frames, 0), np.float32), actions)
