"""What a trained Sora becomes: generated pictures, in a latent that can be moved."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from robot_wm.world_models.pixels.generator import GenerativeModel


class SoraModel(GenerativeModel):
    """See the base; ``Editable``, since its latents are numbers and no names of codes."""

    @torch.inference_mode()
    def latents(self, frames: np.ndarray) -> np.ndarray:
        """See :class:`robot_wm.core.protocols.Editable`: tokens of a frame in one row."""
        looks = [self.network.look(self._tensor(frame[None], np.uint8)) for frame in frames]
        return torch.cat(looks).flatten(1).float().cpu().numpy()

    @torch.inference_mode()
    def continued(self, latents: np.ndarray, done: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """See :class:`robot_wm.core.protocols.Editable`; the same chance whatever was edited."""
        network: Any = self.network
        seen = self._tensor(latents).unflatten(1, (math.prod(network.grid), -1))
        told = self._tensor(done)[None], self._tensor(actions)[None]
        return network.imagine(seen, *told, 0).latents[0].flatten(1).float().cpu().numpy()
