"""Masked-token dynamics: the codes of the next frame from those before and what is done.

MaskGIT (Chang et al. 2022, arXiv:2202.04200) as in Genie: tokens of a frame are masked and guessed
from the others, and from all true frames before; a frame is made from nothing but masks in a few
passes. Actions are added to the tokens of the frame that they lead to.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robot_wm.world_models.pixels.generator import Imagined, seeded
from robot_wm.world_models.pixels.parts import two_layers
from robot_wm.world_models.pixels.spacetime import Past, SpaceTime, keep, side_by_side

CORRUPTED = 0.2  # largest share of wrong tokens in true frames: its own will not be perfect either


def unmasked(passes: int, tokens: int) -> list[int]:
    """Tokens known after each pass, by the cosine schedule: ``P - ⌊P cos(π i / 2n)⌋``, i = 1 … n.

    Few at first, when nothing else is known of the frame; all in the end.
    """
    left = (math.cos(math.pi * i / (2 * passes)) for i in range(1, passes))
    return [*(tokens - math.floor(tokens * share) for share in left), tokens]


class MaskedDynamics(nn.Module):
    """Logits over codes for every place of the next frame.

    Args:
        codes: ``K``.
        action: size of an action vector, real or latent.
        width, depth, heads, grid, lags: of the transformer.
    """

    def __init__(
        self, codes: int, action: int, width: int, depth: int, heads: int, grid: tuple[int, int],
        lags: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.codes = self.mask = codes  # the last token stands for what is not known
        self.tokens = nn.Embedding(codes + 1, width)
        self.act = two_layers(action, width, width)
        self.body = SpaceTime(width, depth, heads, grid, lags)
        self.head = nn.Linear(width, codes)

    def _embed(self, tokens: Tensor, actions: Tensor) -> Tensor:
        """``[B, T, P, D]`` of tokens ``[B, T, P]`` and what led there, of the last of them."""
        x, told = self.tokens(tokens), self.act(actions)[:, :, None]
        first = x.shape[1] - told.shape[1]
        return torch.cat([x[:, :first], x[:, first:] + told], dim=1)

    def _guess(self, true: Tensor, masked: Tensor, actions: Tensor) -> Tensor:
        """Logits ``[B, T-1, P, K]`` of masked frames ``[B, T-1, P]`` beside ``[B, T, P]``."""
        frames = true.shape[1]
        x = torch.cat([self._embed(true, actions), self._embed(masked, actions)], dim=1)
        hidden, _ = self.body(x, side_by_side(frames, self.body.lags))
        return self.head(hidden[:, frames:])

    def loss(self, tokens: Tensor, actions: Tensor, generator: torch.Generator) -> Tensor:
        """Cross-entropy of masked tokens of windows ``[B, T, P]``, actions ``[B, T-1, L]``.

        From half to all of a frame's tokens are masked.
        """
        later = tokens[:, 1:]

        def chance(*shape: int) -> Tensor:
            return torch.rand(shape, generator=generator).to(tokens.device)

        wrong = chance(*tokens.shape) < CORRUPTED * chance(len(tokens), 1, 1)
        drawn = torch.randint(self.codes, tokens.shape, generator=generator).to(tokens.device)
        hidden = chance(*later.shape) < 0.5 + 0.5 * chance(*later.shape[:2], 1)
        true = torch.where(wrong, drawn, tokens)
        logits = self._guess(true, later.masked_fill(hidden, self.mask), actions)
        return F.cross_entropy(logits[hidden], later[hidden])

    def surprise(self, tokens: Tensor, actions: Tensor) -> Tensor:
        """Mean cross-entropy ``[T-1]`` of each frame of ``[T, P]``, all masked, given the past."""
        later = tokens[None, 1:]
        logits = self._guess(tokens[None], torch.full_like(later, self.mask), actions[None])
        found = F.cross_entropy(logits.movedim(-1, 1), later, reduction="none")
        return found[0].mean(dim=-1)

    def imagine(
        self, seen: Tensor, done: Tensor, actions: Tensor, vectors: Tensor, passes: int, seed: int
    ) -> Imagined:
        """Frames after each of some blocks: the likeliest token of each place, place by place.

        Greedy choice by confidence would copy the frame before, which is always likely; so places
        are known in an order of chance, the same for all candidates.

        Args:
            seen: tokens of true frames ``[C, P]``.
            done: action vectors between them ``[C-1, L]``.
            actions: of candidates ``[N, H, L]``.
            vectors: of all codes ``[K, L']``.
            passes: per frame.
            seed: of that order.

        Returns:
            Tokens ``[N, H, P]``, and the expected code vector of each ``[N, H, P, L']``.
        """
        generator, horizon, places = seeded(seed), actions.shape[1], seen.shape[1]
        _, past = self.body(self._embed(seen[None], done[None]))
        past = keep(past, self.body.lags)
        frames, means = list[Tensor](), list[Tensor]()
        for h in range(horizon):
            order = torch.randperm(places, generator=generator).to(seen.device)
            told = actions[:, h : h + 1]
            frame, mean = self._fill(told, past, vectors, order, unmasked(passes, places))
            frames.append(frame)
            means.append(mean)
            if h + 1 < horizon:
                _, new = self.body(self._embed(frame[:, None], told), past=past)
                past = keep(new, self.body.lags)
        return Imagined(torch.stack(frames, dim=1), torch.stack(means, dim=1))

    def _fill(
        self, told: Tensor, past: list[Past], vectors: Tensor, order: Tensor, known: list[int]
    ) -> tuple[Tensor, Tensor]:
        """Tokens ``[N, P]`` of one frame, and expected code vectors ``[N, P, L']``."""
        frame = torch.full((len(told), len(order)), self.mask, device=told.device)
        mean = vectors.new_zeros(*frame.shape, vectors.shape[1])
        for start, stop in zip([0, *known], known, strict=False):
            hidden, _ = self.body(self._embed(frame[:, None], told), past=past)
            new = order[start:stop]
            logits = self.head(hidden[:, 0, new])
            frame[:, new] = logits.argmax(dim=-1)
            mean[:, new] = logits.softmax(dim=-1) @ vectors
        return frame, mean
