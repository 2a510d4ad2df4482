"""What a pretraining encoder knows, measured while it learns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from robot_wm.data.formats.base import EpisodeReader
from robot_wm.encoders.vit import VideoEncoder
from robot_wm.pretraining.collapse_metrics import ProbeData, pixel_tokens
from robot_wm.pretraining.config import PretrainConfig


class Monitor:
    """Collapse meters and probes of every data set; pixels are measured once, as a reference."""

    def __init__(self, config: PretrainConfig, stores: Sequence[EpisodeReader]) -> None:
        rng = np.random.default_rng([config.seed, 1])
        self.patch = config.encoder.patch
        self.data = [
            ProbeData.draw(store, rng, config.monitor_train, config.monitor_test)
            for store in stores
        ]

    def pixels(self) -> dict[str, dict[str, float]]:
        """The same numbers for raw pixels."""
        return {part.name: part.evaluate(pixel_tokens(self.patch)) for part in self.data}

    def measure(self, encoder: VideoEncoder) -> dict[str, dict[str, float]]:
        """Numbers by data set."""
        encoder.eval()

        def encode(frames: np.ndarray) -> np.ndarray:
            return encoder.encode_frames(frames).cpu().numpy()

        return {part.name: part.evaluate(encode) for part in self.data}
