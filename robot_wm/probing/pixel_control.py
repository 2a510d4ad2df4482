"""A control that foretells pixels by mean squared error: where two futures may come, it draws both.

Not a world model to plan with: a small convolutional network from the last two frames and the
actions to come straight to all frames ahead, trained on the beginnings of recorded episodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robot_wm.core.storage.markdown import card
from robot_wm.core.storage.provenance import MANIFEST, check_same, read_manifest
from robot_wm.data.episodes import Episode
from robot_wm.probing.control_config import PixelControlConfig
from robot_wm.training.checkpoint import load_artifact, load_module, save_artifact
from robot_wm.training.loop import Pace, Training, fit, generators_of
from robot_wm.training.optim import warmup_cosine

KIND, SEEN = "pixel_control", 2  # of its artefacts; frames that it is shown


class PixelControl(nn.Module):
    """Frames ahead as the last one seen plus a change.

    Args:
        width: see :class:`PixelControlConfig`.
        actions: numbers of all blocks that come into it, ``T * A`` with that between the two.
        ahead: ``H``, frames to come.
    """

    def __init__(self, width: int, actions: int, ahead: int) -> None:
        super().__init__()
        sizes = (width, 2 * width, 4 * width, 4 * width)
        inputs = (3 * SEEN, *sizes[:-1])
        self.ahead = ahead
        self.down = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=1 + (i > 0), padding=1)
            for i, (a, b) in enumerate(zip(inputs, sizes, strict=True))
        )
        self.told = nn.Linear(actions, sizes[-1])
        self.middle = nn.Conv2d(sizes[-1], sizes[-1], 5, padding=2)
        self.up = nn.ModuleList(
            nn.Conv2d(a + b, b, 3, padding=1)
            for a, b in zip(sizes[:0:-1], sizes[-2::-1], strict=True)
        )
        self.out = nn.Conv2d(width, 3 * ahead, 3, padding=1)

    def forward(self, frames: Tensor, actions: Tensor) -> Tensor:
        """Images ``[B, H, 3, height, width]`` of two seen ones and blocks ``[B, T, A]``.

        Args:
            frames: ``[B, 2, 3, height, width]`` in 0 … 1, sides divisible by 8.
        """
        x, levels = frames.flatten(1, 2), list[Tensor]()
        for layer in self.down:
            x = F.silu(layer(x))
            levels.append(x)
        x = F.silu(self.middle(x) + self.told(actions.flatten(1))[..., None, None])
        for layer, level in zip(self.up, levels[-2::-1], strict=True):
            x = F.silu(layer(torch.cat([F.interpolate(x, level.shape[2:]), level], 1)))
        change = self.out(x).unflatten(1, (self.ahead, 3))
        return frames[:, -1:] + change

    @torch.inference_mode()
    def draw(self, frames: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """What comes after two frames, uint8 ``[H, height, width, 3]``.

        Args:
            frames: uint8 ``[2, height, width, 3]``.
            actions: the block between them and those to come ``[T, A]``.
        """
        seen = _images(frames[None])
        images = self(seen, torch.from_numpy(np.asarray(actions, np.float32))[None])[0]
        return (images.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()


def _images(frames: np.ndarray) -> Tensor:
    """Images ``[..., 3, height, width]`` in 0 … 1 of frames uint8 ``[..., height, width, 3]``."""
    return torch.from_numpy(np.ascontiguousarray(frames)).movedim(-1, -3).float() / 255


class _Fitting(Training):
    title, section = "pixel control", "ridge.control"

    def __init__(
        self, config: PixelControlConfig, frames: np.ndarray, actions: np.ndarray,
        identity: Mapping[str, Any], target: Path,
    ) -> None:  # fmt: skip
        self.config, self.frames, self.actions, self.target = config, frames, actions, target
        torch.manual_seed(config.seed)
        ahead = frames.shape[1] - SEEN
        self.state = self.trained = PixelControl(config.width, actions[0].size, ahead)
        self.pace = Pace(config.steps, 100, 0, 200, 0.01, 1.0)
        self.generators, self.identity = {}, identity
        self.last = 0.0

    def learning_rate(self, step: int) -> float:
        """See the base."""
        return warmup_cosine(self.config.lr, step, self.config.steps, self.config.steps // 20)

    def loss(self, step: int) -> Tensor:
        """Mean squared error over all pixels of all frames to come."""
        rng, _ = generators_of(self.config.seed, step)
        rows = rng.integers(len(self.frames), size=self.config.batch)
        images = _images(self.frames[rows])
        guess = self.trained(images[:, :SEEN], torch.from_numpy(self.actions[rows]))
        loss = F.mse_loss(guess, images[:, SEEN:])
        self.last = float(loss.detach())
        return loss

    def line(self) -> dict[str, Any]:
        """See the base."""
        return {"loss": self.last}

    def finish(self) -> Path:
        """See the base."""
        described = {"width": self.config.width, "actions": self.actions[0].size,
                     "ahead": self.frames.shape[1] - SEEN}  # fmt: skip
        text = card("Pixel control", __doc__.split("\n")[0], [f"loss {self.last:.5f}"])
        parents = {"dataset": self.identity["dataset"]}
        save_artifact(self.target, KIND, self.state.state_dict(), described, parents,
                      {"config": dict(self.identity)}, text)  # fmt: skip
        return self.target


def trained(
    config: PixelControlConfig, episodes: Sequence[Episode], every: int, blocks: int,
    dataset: str, out: Path,
) -> PixelControl:  # fmt: skip
    """The control of ``out``, trained on the beginnings of episodes if missing.

    Args:
        every: control steps from frame to frame.
        blocks: length of the beginnings; no episode is shorter.
        dataset: sha256 of what they are from.

    Raises:
        DataError: it was trained otherwise, or on other episodes.
    """
    folder = out / KIND
    identity = {**asdict(config), "dataset": dataset, "blocks": blocks}
    if (folder / MANIFEST).is_file():
        stored = read_manifest(folder, KIND, verify=False)["facts"]["config"]
        check_same(folder, stored, identity, f"delete {folder}")
    else:
        frames = np.stack([episode.frames[: blocks + 1] for episode in episodes])
        actions = np.stack([e.actions[: blocks * every].reshape(blocks, -1) for e in episodes])
        told = actions.astype(np.float32)
        fit(lambda: _Fitting(config, frames, told, identity, folder), out)
    tensors, described, _ = load_artifact(folder, KIND)
    network = PixelControl(**described)
    load_module(network, tensors, str(folder))
    return network.eval()
