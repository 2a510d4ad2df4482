"""How true imagined frames are: beside what came, beside no change, and with wrong actions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robot_wm.core.protocols import History
from robot_wm.data.windows import WindowBatch
from robot_wm.world_models.pixels.frames import to_canvas
from robot_wm.world_models.pixels.generator import GenerativeModel

MOVED = 0.05  # change of a pixel's value, of 1, from which on it counts as moved
OBJECT = 0.1  # difference from the mean picture from which on a pixel is of something that moves


@torch.inference_mode()
def open_loop(model: Any, batch: WindowBatch, horizon: int) -> dict[str, float]:
    """Imagined against recorded frames, ``horizon`` blocks open loop after each window's context.

    Args:
        model: a :class:`robot_wm.world_models.pixels.model.PixelModel`.
        batch: windows of more than ``horizon`` frames.
        horizon: blocks.

    Returns:
        ``explained_k`` of the first and last block: 1 - error / error of the last seen frame, both
        squared and summed over the pixels that moved; above 0 beats believing that nothing moves.
        ``shuffled``: error of the last block with another window's actions over that with the right
        ones; 1 is a model that ignores actions. Not a number where nothing moves.
    """
    start = batch.frames.shape[1] - horizon
    seen = batch.frames[:, :start].numpy()[:, -model.spec.context :]
    done = batch.actions[:, : start - 1].numpy()[:, -(model.spec.context - 1) :]
    ahead = batch.actions[:, start - 1 :].clamp(*_bounds(model))
    truth = torch.stack([to_canvas(rows) for rows in batch.frames[:, start:]])
    last = to_canvas(batch.frames[:, start - 1])[:, None]
    moved = (truth - last).abs().amax(dim=2, keepdim=True) > MOVED

    def errors(plan: Callable[[int], Tensor]) -> Tensor:
        rows = []
        for i in range(len(seen)):
            proprio = np.zeros((seen.shape[1], 0), np.float32)
            state = model.encode(History(seen[i], proprio, done[i]))
            images = model.pictures(model.imagine(state, plan(i)[None])[0, 0])
            rows.append(((images.cpu() - truth[i]).square() * moved[i]).sum(dim=(1, 2, 3)))
        return torch.stack(rows).sum(0)

    still = ((last - truth).square() * moved).sum(dim=(0, 2, 3, 4))
    right, wrong = errors(lambda i: ahead[i]), errors(lambda i: ahead[i - 1])
    explained = 1 - right / still
    return {
        "explained_1": float(explained[0]),
        f"explained_{horizon}": float(explained[-1]),
        "shuffled": float(wrong[-1] / right[-1]),
    }


def _bounds(model: Any) -> tuple[Tensor, Tensor]:
    return torch.tensor(model.spec.action_low), torch.tensor(model.spec.action_high)


def decibels(error: float) -> float:
    """Peak signal-to-noise ratio [dB] of a mean squared error of pictures in [0, 1]."""
    return float(-10 * np.log10(max(error, 1e-12)))


def validate(model: GenerativeModel, frames: Tensor, actions: Tensor) -> dict[str, float]:
    """Open-loop films beside the truth.

    Args:
        model: to judge.
        frames: held-out windows uint8 ``[B, C + H, height, width, 3]``, ``C`` its context.
        actions: blocks between them ``[B, C + H - 1, A]``.

    Returns:
        :func:`redrawn` of pictures that were only looked at and decoded; for each block ``k``
        ``explained_k``, 1 - Σ(x̂ - x)²/Σ(x_now - x)² over pixels that changed by more than
        :data:`MOVED` (0: no better than to say that nothing moves); ``action_db_k`` [dB], by how
        much the film is worse with the actions of another window (ΔPSNR of Genie,
        arXiv:2402.15391, on the changed pixels).
    """
    context = model.spec.context
    true = frames[:, context:].float() / 255
    now = frames[:, context - 1 : context].float() / 255
    plans = actions[:, context - 1 :].numpy()
    shown = []
    for film, done, own, other in zip(
        frames, actions, plans, np.roll(plans, 1, axis=0), strict=True
    ):
        past = History(
            film[:context].numpy(), np.zeros((context, 0), np.float32),
            done[: context - 1].numpy(),
        )  # fmt: skip
        shown.append(model.imagined_frames(model.encode(past), np.stack([own, other])))
    films = torch.from_numpy(np.stack(shown)).float() / 255
    changed = ((now - true).abs() > MOVED).any(dim=-1, keepdim=True)
    found = _redrawn(model, frames)
    for k in range(true.shape[1]):
        errors = [
            float(((guess - true[:, k]).square() * changed[:, k]).sum())
            for guess in (films[:, 0, k], films[:, 1, k], now[:, 0])
        ]
        own, wrong, copied = errors
        found[f"explained_{k + 1}"] = 1 - own / copied if copied else np.nan
        found[f"action_db_{k + 1}"] = 10 * float(np.log10(wrong / own)) if own else np.nan
    return found


@torch.inference_mode()
def _redrawn(model: GenerativeModel, frames: Tensor) -> dict[str, float]:
    """:func:`redrawn` of windows that are looked at and decoded."""
    network = model.network
    device = next(network.parameters()).device
    images = [network.decode(network.look(film)[None])[0] for film in frames.to(device)]
    return redrawn(torch.stack(images).flatten(0, 1), frames.to(device).flatten(0, 1).float() / 255)


def redrawn(images: Tensor, truth: Tensor) -> dict[str, float]:
    """How well pictures are kept.

    Args:
        images, truth: in 0 … 1, of one shape ``[N, ...]`` with different scenes.

    Returns:
        ``psnr`` [dB]; ``visible``: 1 - Σ(x̂ - x)²/Σ(x̄ - x)² over pixels that differ from the mean
        picture x̄, which are those of what moves: 0 where nothing but the mean is drawn.
    """
    error, mean = (images.clamp(0, 1) - truth).square(), truth.mean(dim=0)
    objects = (truth - mean).abs() > OBJECT
    plain = ((mean - truth).square() * objects).sum()
    return {
        "psnr": decibels(float(error.mean())),
        "visible": 1 - float((error * objects).sum() / plain) if plain else np.nan,
    }
