"""Somebody else's encoder, which learned nothing: patches of the picture as tokens."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from robot_wm.encoders.base import KIND
from robot_wm.training.checkpoint import load_artifact, save_artifact

NAME = "toy_patches"


@dataclass(frozen=True)
class PatchConfig:
    image_size: int = 32
    patch: int = 8

    @property
    def grid(self) -> tuple[int, int]:
        return (self.image_size // self.patch,) * 2


class PatchEncoder(nn.Module):
    """Flattened patches, a float from 0 to 1 for every colour of every pixel."""

    def __init__(self, config: PatchConfig, sha256: str = "") -> None:
        super().__init__()
        self.config, self.sha256 = config, sha256
        self.register_buffer("scale", torch.full((1,), 1 / 255))

    @staticmethod
    def load(folder: Path) -> PatchEncoder:
        tensors, config, manifest = load_artifact(folder, KIND)
        made = PatchEncoder(PatchConfig(**config), manifest["sha256"])
        made.load_state_dict(tensors)
        return made.eval()

    def train(self, mode: bool = True) -> PatchEncoder:
        super().train(False)
        return self

    def forward(self, pixels: Tensor) -> Tensor:
        frames, side = pixels[:, -1].float().permute(0, 3, 1, 2), self.config.patch
        return nn.functional.unfold(frames, side, stride=side).transpose(1, 2) * self.scale

    @torch.no_grad()
    def encode_frames(self, frames: np.ndarray | Tensor, batch: int = 0) -> Tensor:
        return self(torch.as_tensor(frames)[:, None])


def save_patches(folder: Path, config: PatchConfig = PatchConfig()) -> Path:
    """An artefact of it."""
    tensors = PatchEncoder(config).state_dict()
    save_artifact(folder, KIND, tensors, asdict(config), {}, {"family": NAME}, "a card")
    return folder
