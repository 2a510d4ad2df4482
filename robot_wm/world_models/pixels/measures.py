"""How well a model imagines frames it has not seen, beside a model that believes nothing moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robot_wm.core.protocols import History
from robot_wm.data.windows import WindowBatch
from robot_wm.world_models.pixels.frames import to_canvas

MOVED = 0.05  # change of a pixel's value, of 1, from which on it counts as moved


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
