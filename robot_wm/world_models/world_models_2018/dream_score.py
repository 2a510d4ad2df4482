"""Goals reached in a dream, in per cent as in the scene: from the same starts, to the same goals.

A dream knows no pose, by which the scene tells that a goal is reached. So it is told by the
expected ``z`` of what comes next, without the noise of a sample, which would come near to anything
in the end: near enough is what recorded frames are that do reach the goal (:func:`bound_of`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from robot_wm.core.errors import DataError
from robot_wm.world_models.pixels.frames import to_canvas
from robot_wm.world_models.world_models_2018.controller import Dreams, dreamt, genes
from robot_wm.world_models.world_models_2018.model import WorldModels2018
from robot_wm.world_models.world_models_2018.networks import Network, moments

AT_ONCE = 256  # pictures


def bound_of(gaps: np.ndarray, reached: np.ndarray) -> float:
    """The gap up to which as many pairs of frames are near as truly reach the goal.

    Then as many are missed as are taken for reached: a dream is judged neither too well nor too
    badly, however poorly ``z`` tells the two apart.

    Args:
        gaps: ``[N]``, ‖z - z_goal‖² of recorded frames.
        reached: bool ``[N]``.

    Raises:
        DataError: all of them reach it, or none does.
    """
    count = int(reached.sum())
    if not 0 < count < len(reached):
        raise DataError(
            f"{count} of {len(reached)} recorded frames reach the goal", "some, not all",
            "collect more episodes, or choose pairs further apart",
        )  # fmt: skip
    return float(np.sort(gaps)[count - 1])


def told_apart(gaps: np.ndarray, reached: np.ndarray, bound: float) -> float:
    """Mean of the shares of reached and of missed goals that a bound tells; 0.5 is chance."""
    near = gaps <= bound
    return float(np.mean([near[reached].mean(), (~near)[~reached].mean()]))


@torch.inference_mode()
def seen(model: WorldModels2018, frames: Sequence[np.ndarray]) -> Tensor:
    """``z [N, Z]`` of images uint8 ``[height, width, 3]``."""
    device, network = next(model.network.parameters()).device, model.network
    parts = [np.stack(frames[i : i + AT_ONCE]) for i in range(0, len(frames), AT_ONCE)]
    images = (to_canvas(torch.from_numpy(part).to(device)) for part in parts)
    return torch.cat([network.vae.encode(image)[0] for image in images])


def gaps_of(z: Tensor, goal: Tensor) -> np.ndarray:
    """‖z - z_goal‖² of rows ``[N, Z]``: float32 ``[N]``."""
    found: np.ndarray = (z - goal).square().sum(dim=-1).cpu().numpy()
    return found


@torch.inference_mode()
def share_reached(
    network: Network, starts: Tensor, goals: Tensor, bound: float, blocks: int, temperature: float,
    repeats: int, rng: np.random.Generator,
) -> float:  # fmt: skip
    """Share of dreams in which the controller comes near enough to its goal after some block.

    Args:
        starts, goals: ``[B, Z]``; nothing was done before, as at the start of an episode.
        bound: see :func:`bound_of`.
        blocks: length of a dream.
        repeats: dreams from each start.
    """
    here, goal = starts.repeat(repeats, 1), goals.repeat(repeats, 1)
    still = here.new_zeros(len(here), network.rnn.cell.input_size - network.rnn.z)
    shape = (blocks, len(here))
    uniform = torch.from_numpy(rng.random((*shape, 1), np.float32)).to(here)
    normal = torch.from_numpy(rng.standard_normal((*shape, here.shape[1]), np.float32)).to(here)
    dreams = Dreams(here, here, still, goal, uniform, normal)
    near = torch.zeros(len(here), dtype=torch.bool, device=here.device)
    for _, mixture in dreamt(network, genes(network)[None], dreams, temperature):
        near |= (moments(mixture)[0] - goal).square().sum(dim=-1) <= bound
    return float(near.float().mean())
