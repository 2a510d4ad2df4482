"""Encoders that learnt nothing, for the question what pretraining is worth to the whole chain.

``encoder=random`` has the encoder's shape and the weights it would begin with, ``encoder=patches``
hands on the picture itself, patch by patch. Both are made when they are asked for.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robot_wm.core.config import build
from robot_wm.core.storage.json_io import canonical_json, parse_json
from robot_wm.encoders.base import KIND
from robot_wm.encoders.contrast import contrast
from robot_wm.encoders.frozen import FrozenEncoder
from robot_wm.encoders.vit import EncoderConfig
from robot_wm.training.checkpoint import load_artifact, load_module, save_artifact


class RandomEncoder(FrozenEncoder):
    """The house encoder with random weights; see :class:`robot_wm.encoders.base.Untrained`."""

    @staticmethod
    def made_of(config: EncoderConfig, seed: int) -> dict[str, Any]:
        """Shape and seed."""
        return {"objective": "random", "encoder": asdict(config), "seed": seed}

    @staticmethod
    def create(config: EncoderConfig, seed: int, folder: Path) -> Path:
        """Write one."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            weights = FrozenEncoder(config).state_dict()
        return _save(folder, weights, RandomEncoder.made_of(config, seed), "vit")


class PatchEncoder(nn.Module):
    """Flattened patches ``[N, P, C · patch²]``: every colour of every pixel from 0 to 1.

    Or its contrast (:mod:`robot_wm.encoders.contrast`), where the configuration says so. Of that
    only ``image_size``, ``patch`` and ``sees`` count.
    """

    scale: Tensor
    layer_norm = False

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config, self.sha256 = config, ""
        self.register_buffer("scale", torch.full((1,), 1 / 255))

    @staticmethod
    def made_of(config: EncoderConfig, seed: int) -> dict[str, Any]:
        """Its sizes and what it sees; there is no chance in it."""
        shape: dict[str, Any] = {"image_size": config.image_size, "patch": config.patch}
        if config.sees != "color":
            shape["sees"] = config.sees
        return {"objective": "patches", "encoder": shape}

    @staticmethod
    def create(config: EncoderConfig, seed: int, folder: Path) -> Path:
        """Write one."""
        weights = PatchEncoder(config).state_dict()
        return _save(folder, weights, PatchEncoder.made_of(config, seed), "patches")

    @staticmethod
    def load(folder: Path) -> PatchEncoder:
        """Load what :meth:`create` wrote.

        Raises:
            WeightsError: missing, truncated, altered, misshapen, or not an encoder.
        """
        tensors, config, manifest = load_artifact(folder, KIND)
        encoder = PatchEncoder(build(EncoderConfig, config["encoder"], "encoder"))
        load_module(encoder, tensors, str(folder))
        encoder.sha256 = manifest["sha256"]
        return encoder.eval()

    def train(self, mode: bool = True) -> PatchEncoder:
        """Stay in evaluation mode whatever a parent module asks."""
        super().train(False)
        return self

    def forward(self, pixels: Tensor) -> Tensor:
        """Patches of the last frame of clips, uint8 ``[N, T, H, W, 3]``."""
        (rows, columns), side, channels = self.config.grid, self.config.patch, self.config.channels
        last = pixels[:, -1]
        seen = last * self.scale if self.config.sees == "color" else contrast(last)
        cut = seen.reshape(-1, rows, side, columns, side, channels).permute(0, 1, 3, 2, 4, 5)
        return cut.reshape(-1, rows * columns, channels * side**2)

    @torch.no_grad()
    def encode_frames(self, frames: np.ndarray | Tensor, batch: int = 0) -> Tensor:
        """See :class:`robot_wm.encoders.base.Encoder`; ``batch`` makes no difference."""
        pixels = frames if isinstance(frames, Tensor) else torch.from_numpy(np.array(frames))
        tokens: Tensor = self(pixels[:, None].to(self.scale.device))
        return tokens


def _save(folder: Path, weights: dict[str, Tensor], made: dict[str, Any], family: str) -> Path:
    facts = {"family": family, "pretrain": parse_json(canonical_json(made))}
    card = f"# Encoder that learnt nothing\n\n{made['objective']}: {canonical_json(made)}\n"
    save_artifact(folder, KIND, weights, {"encoder": made["encoder"]}, {}, facts, card)
    return folder
