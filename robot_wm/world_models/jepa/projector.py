"""From encoder tokens to the compact latent in which the model predicts and compares.

``TokenPCA`` is fixed (fitted once on training frames), ``Projector`` is learned, ``Whiten`` is
fitted when the projector is finished. Splitting the first two lets training keep the reduced
tokens, a quarter of the size, in memory.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robot_wm.core.errors import DataError
from robot_wm.world_models.jepa.dynamics import ResidualMLP
from robot_wm.world_models.standardizer import Standardizer


def grid_places(rows: int, columns: int) -> Tensor:
    """Centres of the tokens in patches, the image's centre being 0: ``[P, 2]``, x then y."""
    axes = (torch.arange(count) - (count - 1) / 2 for count in (rows, columns))
    y, x = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], dim=1)


class Projector(nn.Module):
    """Reduced tokens to ``z``: keypoints, that is what is where, found alike in every place.

    Two convolutions over the token grid, then per keypoint an attention map with its soft-argmax
    (Finn et al. 2016, arXiv:1509.06113), a learned shift within the patch, and two numbers of
    content. ``z`` is ``[x, y, content, content]`` of every keypoint, positions in patches: squared
    L2 between two latents is a distance in the image. An MLP over the flattened grid, rebuilding
    the same tokens, lost twice as much of the block's pose.

    Args:
        grid: rows and columns of tokens, ``P`` in all.
        dims: ``R``, reduced components per token.
        channels: of the convolutions.
        keypoints: ``K``; ``Z`` is ``4 K``.
    """

    CONTENT = 2
    SHARPNESS = 10.0  # of attention: with softer maps a fresh keypoint hardly moves

    def __init__(self, grid: tuple[int, int], dims: int, channels: int, keypoints: int) -> None:
        super().__init__()
        self.grid, self.keypoints = grid, keypoints
        self.near = nn.Conv2d(dims, channels, 3, padding=1)
        self.far = nn.Conv2d(channels, channels, 3, padding=1)
        self.maps = nn.Conv2d(channels, keypoints, 1)
        self.values = nn.Conv2d(channels, keypoints * (2 + self.CONTENT), 1)
        self.register_buffer("places", grid_places(*grid), persistent=False)

    def forward(self, reduced: Tensor) -> Tensor:
        """Reduced tokens ``[..., P, R]`` to latents ``[..., 4 K]``."""
        lead, (count, dims) = reduced.shape[:-2], reduced.shape[-2:]
        grid = reduced.reshape(-1, *self.grid, dims).permute(0, 3, 1, 2)
        x = F.gelu(self.far(F.gelu(self.near(grid))))
        attention = (self.SHARPNESS * self.maps(x).flatten(2)).softmax(dim=-1)  # [B, K, P]
        values = self.values(x).reshape(len(x), self.keypoints, 2 + self.CONTENT, count)
        carried = torch.tanh((values * attention[:, :, None]).sum(dim=-1))  # [B, K, 4]
        place = attention @ self.get_buffer("places")  # [B, K, 2]
        z = torch.cat([place + carried[..., :2], carried[..., 2:]], dim=-1)
        return z.reshape(*lead, 4 * self.keypoints)


class Embedding(nn.Module):
    """The projector's latent to fewer numbers, in which what the task is about varies most.

    Most of the numbers are learned by contrast in time (``training.losses.contrast``): what two
    frames one block apart share, and other frames do not, is the pose of what is pushed. In the
    projector's latent that pose hides in directions of little variance, bent so that no linear map
    finds it; autoencoders and slow feature analysis did not either (docs/log.md). The last
    ``MOVED`` of them change in proportion to the action, which is the pose of what the robot moves
    itself.

    Contrast is content with half of the precision that the keypoints have of a place. So the
    ``slow`` linear directions in which they change least for their variance follow (slow feature
    analysis; Wiskott & Sejnowski 2002): the place of what is pushed, which is linear in them.

    Args:
        inputs: size of the projector's latent.
        learned: numbers that the MLP gives, more than ``MOVED``.
        width, blocks: of the MLP.
        slow: number of slow directions.
    """

    MOVED = 4
    FLOOR = 1e-3  # of a direction's variance, so that noise is not called slow

    def __init__(self, inputs: int, learned: int, width: int, blocks: int, slow: int = 0) -> None:
        super().__init__()
        self.scale = Standardizer(inputs)
        self.mlp = ResidualMLP(inputs, learned, width, blocks)
        self.slow = slow
        if slow:
            self.register_buffer("directions", torch.zeros(inputs, slow))

    def learned(self, z: Tensor) -> Tensor:
        """``[..., 4 K]`` to what is learned, without the slow directions."""
        out: Tensor = self.mlp(self.scale(z))
        return out

    def forward(self, z: Tensor) -> Tensor:
        """``[..., 4 K]`` to ``[..., Z]``."""
        if not self.slow:
            return self.learned(z)
        slow = self.scale(z) @ self.get_buffer("directions")
        return torch.cat([self.learned(z), slow], dim=-1)

    @torch.no_grad()
    def fit(self, z: Tensor, last: Tensor) -> None:
        """Fit scale and slow directions on the consecutive latents of whole episodes.

        Args:
            z, last: see :meth:`Whiten.fit`.
        """
        std, mean = torch.std_mean(z.float(), dim=0)
        self.scale.mean.copy_(mean)
        self.scale.std.copy_(std.clamp(min=1e-3 * float(std.max())))
        if not self.slow:
            return
        x = self.scale(z.float())
        change = torch.stack(changes(x, last)).mean(dim=0)
        floor = self.FLOOR * torch.eye(x.shape[1], dtype=torch.float64, device=x.device)
        values, vectors = torch.linalg.eigh(torch.cov(x.T).double() + floor)
        white = vectors / values.sqrt()
        slow = white @ torch.linalg.eigh(white.T @ change @ white)[1][:, : self.slow]
        signs = slow[slow.abs().argmax(dim=0), torch.arange(self.slow, device=x.device)].sign()
        self.get_buffer("directions").copy_(slow * signs)


def changes(z: Tensor, last: Tensor) -> list[Tensor]:
    """Second moments ``[Z, Z]`` of the change over 1, 2 and 4 blocks, in double precision.

    Args:
        z, last: see :meth:`Whiten.fit`.
    """
    moments = []
    for lag in (1, 2, 4):
        change = (z[lag:] - z[:-lag])[last[lag:] == last[:-lag]].double()
        moments.append(change.T @ change / max(1, len(change)))
    return moments


class Whiten(nn.Module):
    """Fixed linear map of the latent after which change is alike in every direction.

    What moves far in every block (the pusher) fills most of the variance of a latent, and the pose
    of what it pushes hides in directions of little variance: there errors of the prediction are
    cheap, and so are differences from the goal. After equal training a probe reads the predicted
    block's pose with two thirds of the error that it has without this map (docs/log.md).

    It is the identity until it is fitted. Directions with less than ``ridge`` of the summed mean
    squared change are damped.

    Args:
        latent: ``Z``.
        ridge: see above.
    """

    mean: Tensor
    matrix: Tensor

    def __init__(self, latent: int, ridge: float = 2e-4) -> None:
        super().__init__()
        self.ridge = ridge
        self.register_buffer("mean", torch.zeros(latent))
        self.register_buffer("matrix", torch.eye(latent))

    def forward(self, z: Tensor) -> Tensor:
        """``[..., Z]`` to ``[..., Z]``."""
        return (z - self.mean) @ self.matrix

    def inverse(self, white: Tensor) -> Tensor:
        """``[..., Z]`` back to what was whitened."""
        return white @ torch.linalg.inv(self.matrix) + self.mean

    @torch.no_grad()
    def fit(self, z: Tensor, last: Tensor) -> None:
        """Fit on the consecutive latents of whole episodes.

        Afterwards the mean squared change from one block to the next, averaged over ``Z``, is 1.

        Args:
            z: ``[F, Z]``, episode after episode.
            last: ``[F]``, row of the last frame of each frame's episode.

        Raises:
            DataError: latents that never change.
        """
        moments = changes(z, last)
        values, vectors = torch.linalg.eigh(torch.stack(moments).mean(dim=0))
        total = values.clamp(min=0).sum()
        if not float(total) > 1e-12:
            raise DataError(
                "latents that never change", "a latent that follows the scene",
                "train the latent for more steps (`train.steps`); this one has collapsed",
            )  # fmt: skip
        matrix = vectors / (values.clamp(min=0) / total + self.ridge).sqrt()
        scale = torch.einsum("ij,jk,ik->", matrix.T, moments[0], matrix.T) / len(values)
        self.matrix.copy_(matrix / scale.sqrt())
        self.mean.copy_(z.mean(dim=0))


class Decoder(nn.Module):
    """Keypoints back to reduced tokens, for training only.

    A compact latent that must only be predictable throws fine pose away although its loss looks
    fine; one from which the frozen features can be rebuilt cannot. Each keypoint draws a Gaussian
    at its place, so that what moves in the latent moves in the features (Jakab et al. 2018,
    arXiv:1806.07823, there with pixels).

    Args:
        grid, channels, keypoints: as the projector's.
        dims: components per token to rebuild.
    """

    def __init__(self, grid: tuple[int, int], dims: int, channels: int, keypoints: int) -> None:
        super().__init__()
        self.grid, self.keypoints = grid, keypoints
        self.log_width = nn.Parameter(torch.zeros(keypoints))  # [log patches]
        self.near = nn.Conv2d(keypoints * (1 + Projector.CONTENT), channels, 3, padding=1)
        self.far = nn.Conv2d(channels, channels, 3, padding=1)
        self.out = nn.Conv2d(channels, dims, 1)
        self.register_buffer("places", grid_places(*grid), persistent=False)

    def forward(self, z: Tensor) -> Tensor:
        """Latents ``[..., 4 K]`` to tokens ``[..., P, dims]``."""
        lead, rows = z.shape[:-1], z.reshape(-1, self.keypoints, 2 + Projector.CONTENT)
        gap = rows[:, :, None, :2] - self.get_buffer("places")  # [B, K, P, 2]
        blobs = (-gap.square().sum(-1) / (2 * self.log_width.exp().square()[:, None])).exp()
        maps = torch.cat([blobs[:, :, None], blobs[:, :, None] * rows[..., 2:, None]], dim=2)
        x = maps.reshape(len(rows), -1, *self.grid)
        x = self.out(F.gelu(self.far(F.gelu(self.near(x)))))
        return x.flatten(2).transpose(1, 2).reshape(*lead, math.prod(self.grid), -1)
