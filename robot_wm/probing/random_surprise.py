"""Surprise without anything learned: change in the tokens of an encoder of random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from robot_wm.encoders.base import load_encoder
from robot_wm.encoders.frozen import FrozenEncoder
from robot_wm.encoders.vit import VideoEncoder


class RandomTokens:
    """:class:`robot_wm.core.protocols.Surprising`: each frame's tokens are those of the last one.

    Args:
        encoder: its shape is taken.
        seed: of the weights.
    """

    def __init__(self, encoder: FrozenEncoder, seed: int = 0) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = VideoEncoder(encoder.config).eval()

    def surprise(self, frames: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Root mean square change of the tokens, float32 ``[T-1]``."""
        tokens = self.network.encode_frames(frames)
        return (tokens[1:] - tokens[:-1]).square().mean(dim=(1, 2)).sqrt().numpy()


def random_tokens(folder: Path | str) -> RandomTokens | None:
    """The same for a stored encoder; None where it is not of ours."""
    encoder = load_encoder(folder)
    return RandomTokens(encoder) if isinstance(encoder, FrozenEncoder) else None
