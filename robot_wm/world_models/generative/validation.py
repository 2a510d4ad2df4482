"""How true an imagined film is: against what came, against no change, and with wrong actions."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from robot_wm.core.protocols import History
from robot_wm.world_models.generative.model import GenerativeModel

CHANGED = 0.05  # of the whole range: pixels that differ by more have changed


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
        ``psnr`` [dB] of pictures that were only looked at and decoded; for each block ``k``
        ``explained_k``, 1 - Σ(x̂ - x)²/Σ(x_now - x)² over pixels that changed by more than
        :data:`CHANGED` (0: no better than to say that nothing moves); ``action_db_k`` [dB], by how
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
    changed = ((now - true).abs() > CHANGED).any(dim=-1, keepdim=True)
    found = {"psnr": decibels(_rebuilt(model, frames))}
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
def _rebuilt(model: GenerativeModel, frames: Tensor) -> float:
    """Mean squared error of windows that are looked at and decoded."""
    network = model.network
    device = next(network.parameters()).device
    errors = []
    for film in frames.to(device):
        images = network.decode(network.look(film)[None])[0].clamp(0, 1)
        errors.append((images - film.float() / 255).square().mean())
    return float(torch.stack(errors).mean())
