"""A causal transformer over frames, and what a network must offer to stand behind the contract.

Letters: ``B`` windows, ``T`` frames, ``N`` candidates, ``H`` blocks, ``Z`` numbers of a latent,
``A`` action size of a block.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robot_wm.world_models.standardizer import Standardizer
from robot_wm.world_models.stored import FROZEN


class CausalBlock(nn.Module):
    """Pre-norm transformer block in which a frame sees itself and the frames before it.

    Args:
        width, heads: of the block; its MLP is four times as wide.
        conditioned: whether scale, shift and gate of both branches come from a condition
            (AdaLN-Zero, Peebles & Xie, arXiv:2212.09748), so that a fresh block passes its input
            on unchanged.
    """

    def __init__(self, width: int, heads: int, conditioned: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, elementwise_affine=not conditioned)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=not conditioned)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.modulate = nn.Linear(width, 6 * width) if conditioned else None
        if self.modulate is not None:
            nn.init.zeros_(self.modulate.weight)
            nn.init.zeros_(self.modulate.bias)

    def forward(self, x: Tensor, mask: Tensor, condition: Tensor | None = None) -> Tensor:
        """Tokens ``[B, L, W]``; mask bool ``[L, L]``, who sees whom; condition ``[B, L, W]``."""
        if self.modulate is None:
            x = x + self._attend(self.norm1(x), mask)
            return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))
        assert condition is not None  # a conditioned block is always told
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulate(condition).chunk(6, dim=-1)
        x = x + gate1 * self._attend(self.norm1(x) * (1 + scale1) + shift1, mask)
        told = self.norm2(x) * (1 + scale2) + shift2
        return x + gate2 * self.fc2(F.gelu(self.fc1(told)))

    def _attend(self, x: Tensor, mask: Tensor) -> Tensor:
        batch, length, width = x.shape
        parts = self.qkv(x).view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2)
        found: Tensor = self.out(mixed.reshape(batch, length, width))
        return found


def frame_mask(frames: int, tokens: int, device: torch.device) -> Tensor:
    """Who sees whom among ``frames · tokens`` tokens: bool, true up to and in the same frame."""
    frame = torch.arange(frames * tokens, device=device) // tokens
    return frame[:, None] >= frame[None]


class CausalNetwork(nn.Module):
    """Everything that is shipped; pure functions of tensors, so that ONNX can trace them.

    Args:
        action: ``A``.
        context: frames that a rollout looks back on.
    """

    def __init__(self, action: int, context: int) -> None:
        super().__init__()
        self.context = context
        self.scale = Standardizer(action)

    @property
    @abstractmethod
    def latent(self) -> int:
        """``Z``."""

    @property
    @abstractmethod
    def activations(self) -> int:
        """Numbers that live at once while one candidate is predicted, roughly."""

    def numbers(self, horizon: int) -> int:
        """Numbers that live at once while one candidate is imagined, roughly."""
        return self.activations + horizon * self.latent

    @abstractmethod
    def embed(self, images: Tensor) -> Tensor:
        """Images uint8 ``[N, S, S, 3]``, each alone, to latents ``[N, Z]``."""

    @abstractmethod
    def latents(self, rows: Tensor) -> Tensor:
        """Rows of training windows ``[N, …]`` to latents ``[N, Z]``."""

    @abstractmethod
    def predict(self, z: Tensor, actions: Tensor) -> Tensor:
        """Latents ``[B, T, Z]`` and the blocks that leave them ``[B, T, A]`` to the next ones.

        Causal: row t of the result depends on rows up to t alone.
        """

    def terms(self, z: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """What is added to the prediction error of latents ``[B, T, Z]`` of a batch, by name."""
        return {}

    def own_state(self) -> dict[str, Tensor]:
        """What this artefact stores."""
        return {k: v for k, v in self.state_dict().items() if not k.startswith(FROZEN)}

    def rollout(self, z_prev: Tensor, z: Tensor, a_prev: Tensor, actions: Tensor) -> Tensor:
        """Imagine: actions ``[N, H, A]`` to latents ``[N, H, Z]``; state rows may be 1 or ``N``."""
        rows = len(actions)
        seen = [x.expand(rows, -1) for x in (z_prev, z)]
        done = [a_prev.expand(rows, -1)]
        for h in range(actions.shape[1]):
            done.append(actions[:, h])
            last = slice(-self.context, None)
            window = torch.stack(seen[last], dim=1), torch.stack(done[last], dim=1)
            seen.append(self.predict(*window)[:, -1])
        return torch.stack(seen[2:], dim=1)

    def costs(self, latents: Tensor, goal: Tensor) -> Tensor:
        """Mean squared distance ``[N, H]`` of latents ``[N, H, Z]`` from a goal ``[1, Z]``."""
        return (latents - goal).square().mean(-1)
