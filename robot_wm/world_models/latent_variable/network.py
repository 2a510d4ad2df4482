"""ŝ' = Pred(s, a, z) over a fixed latent: principal components of the frozen encoder's tokens.

The latent is fitted before the first step and then left alone, so that predictors with and without
a latent variable are measured in the very same space, and none of them can collapse it. Frames and
actions go through a causal transformer once; z enters behind it, so that trying every z costs as
many small heads and no more.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from robot_wm.core.errors import DataError
from robot_wm.core.images import sides
from robot_wm.encoders.base import Encoder
from robot_wm.world_models.causal.network import CausalBlock, CausalNetwork, frame_mask
from robot_wm.world_models.latent_variable.config import LatentVariableConfig
from robot_wm.world_models.latent_variable.variables import Discrete, Gaussian, Variable, errors


def blurring(grid: tuple[int, int], width: float) -> Tensor:
    """A Gaussian blur over a grid of tokens ``[P, P]``, rows sum to 1.

    Args:
        grid: rows and columns of the ``P`` tokens.
        width: standard deviation, in tokens; 0 leaves them as they are.
    """
    y, x = torch.meshgrid(*(torch.arange(float(n)) for n in grid), indexing="ij")
    places = torch.stack([y.flatten(), x.flatten()], dim=-1)
    gaps = torch.cdist(places, places).square()
    return (-gaps / (2 * width**2)).softmax(-1) if width else torch.eye(len(places))


class LatentVariableNetwork(CausalNetwork):
    """Projection, predictor, prior and posterior; the encoder is another artefact's.

    Args:
        config: see :class:`LatentVariableConfig`.
        encoder: frozen.
        action: ``A``.
    """

    mean: Tensor
    basis: Tensor

    def __init__(self, config: LatentVariableConfig, encoder: Encoder, action: int) -> None:
        super().__init__(action, config.context)
        c = self.config = config
        self.frozen: Any = encoder
        self.grid: tuple[int, int] = encoder.config.grid
        with torch.no_grad():
            blank = torch.zeros(1, 1, *sides(encoder.config.image_size), 3, dtype=torch.uint8)
            numbers = encoder(blank)[0].numel()
        self.register_buffer("mean", torch.zeros(numbers))
        self.register_buffer("basis", torch.zeros(numbers, c.latent))
        self.enter = nn.Linear(c.latent, c.width)
        self.act = nn.Sequential(nn.Linear(action, c.width), nn.SiLU(), nn.Linear(c.width, c.width))
        self.times = nn.Parameter(0.02 * torch.randn(c.history, c.width))
        self.blocks = nn.ModuleList(
            CausalBlock(c.width, c.heads, conditioned=True) for _ in range(c.depth)
        )
        self.norm = nn.LayerNorm(c.width)
        discrete = c.variable == "discrete"
        self.variable: Variable = (
            Discrete(c.codes, c.width) if discrete else Gaussian(c.dims, c.width, c.latent)
        )
        self.choose = nn.Linear(self.variable.size, c.width, bias=False)
        self.head = nn.Sequential(
            nn.Linear(c.width, 2 * c.width), nn.GELU(),
            nn.Linear(2 * c.width, 2 * c.width), nn.GELU(), nn.Linear(2 * c.width, c.latent),
        )  # fmt: skip
        # Codes that begin alike would share all work and never part.
        nn.init.normal_(self.choose.weight, std=0.5)

    @property
    def latent(self) -> int:
        """``Z``."""
        return self.config.latent

    @property
    def activations(self) -> int:
        """See the base: about sixteen of the predictor's width per frame, in every course."""
        return self.config.draws * 16 * self.context * self.config.width

    def numbers(self, horizon: int) -> int:
        """See the base."""
        return self.activations + self.config.draws * horizon * self.latent

    @torch.no_grad()
    def fit(self, tokens: Tensor) -> None:
        """Mean and leading principal components of training tokens ``[N, P, D]``, blurred.

        Tokens of a small thing have nothing in common as soon as it moves by a patch; blurred over
        their grid, near places look alike. One scale for all components, so that latents have a
        mean square of 1 and their distance is that of blurred tokens.

        Raises:
            DataError: tokens that never change.
        """
        mean = tokens.float().mean(0)
        mix = blurring(self.grid, self.config.blur)
        rows = torch.einsum("pq,nqd->npd", mix, tokens.float() - mean).flatten(1)
        # Of the small product: as many as there are frames, not numbers.
        values, vectors = torch.linalg.eigh((rows @ rows.T).double())
        keep = min(self.latent, len(rows))
        values, vectors = values[-keep:].flip(0), vectors[:, -keep:].flip(1)
        total = float(values.clamp(min=0).sum()) / len(rows)
        if not total > 1e-8:
            raise DataError(
                "encoder tokens with no variance over frames", "tokens that depend on the scene",
                "check the encoder (a collapsed one looks like this) and the frames",
            )  # fmt: skip
        basis = rows.double().T @ (vectors / values.clamp(min=1e-9 * float(values[0])).sqrt())
        # Signs are fixed so that refitting gives the same basis on any LAPACK.
        basis = basis * basis[basis.abs().argmax(dim=0), torch.arange(keep)].sign()
        # Blurring is linear: what is kept does it to tokens as they come.
        basis = torch.einsum("pq,pdz->qdz", mix.double(), basis.unflatten(0, mean.shape)).flatten(
            0, 1
        )
        self.mean.copy_(mean.flatten())
        self.basis.zero_()
        self.basis[:, :keep] = basis * (self.latent / total) ** 0.5

    def project(self, tokens: Tensor) -> Tensor:
        """Tokens ``[N, P, D]`` to latents ``[N, Z]``."""
        return (tokens.float().flatten(1) - self.mean) @ self.basis

    def embed(self, images: Tensor) -> Tensor:
        """See the base."""
        return self.project(self.frozen(images[:, None]))

    def latents(self, rows: Tensor) -> Tensor:
        """Rows are latents: nothing before the predictor learns, they are projected once."""
        return rows

    def know(self, s: Tensor, actions: Tensor) -> Tensor:
        """What is known before z is: latents ``[B, T, Z]``, blocks ``[B, T, A]`` to ``[B, T, W]``.

        Causal, see :meth:`predict`.
        """
        frames = s.shape[1]
        x, told = self.enter(s) + self.times[:frames], self.act(self.scale(actions))
        mask = frame_mask(frames, 1, s.device)
        for block in self.blocks:
            x = block(x, mask, told)
        known: Tensor = self.norm(x)
        return known

    def decode(self, s: Tensor, h: Tensor, value: Tensor) -> Tensor:
        """The next latent ``[..., Z]`` where z has a value ``[..., C]``; changes are predicted."""
        ahead: Tensor = s + self.head(h + self.choose(value))
        return ahead

    def predict(self, z: Tensor, actions: Tensor) -> Tensor:
        """See the base: the likeliest course."""
        h = self.know(z, actions)
        return self.decode(z, h, self.variable.mode(h))

    def losses(
        self, s: Tensor, actions: Tensor, y: Tensor, chance: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Errors and KL [nats] ``[B, T]`` each, of latents ``s`` and what came after, ``y``."""
        h = self.know(s, actions)
        return self.variable.losses(
            h, y, lambda value: self.decode(s, h, value), self.config.beta, chance
        )

    def energies(self, s: Tensor, h: Tensor, y: Tensor, chance: Tensor) -> Tensor:
        """E(x, y, z) of several z, ``[N, ...]``; their least is F(x, y), the energy of a future.

        Args:
            s, h: latent and what is known of it ``[..., Z]``, ``[..., W]``.
            y: futures ``[..., Z]``.
            chance: ``[N, ..., C]``; a discrete z is tried in all its values instead.
        """
        values = self.variable.several(h, chance)
        return errors(self.decode(s, h, values), y)

    def courses(
        self, z_prev: Tensor, z: Tensor, a_prev: Tensor, actions: Tensor, chance: Tensor
    ) -> Tensor:
        """Imagine plans in several courses: ``[K, N, H, Z]`` of actions ``[N, H, A]``.

        Args:
            z_prev, z, a_prev: latents ``[1, Z]`` and the block between ``[1, A]``.
            chance: ``[K, H, C]``, the same for all candidates.
        """
        count, (rows, blocks, _) = len(chance), actions.shape
        plans = actions.repeat(count, 1, 1)  # course by course
        lots = chance.repeat_interleave(rows, dim=0)
        seen = [x.expand(len(plans), -1) for x in (z_prev, z)]
        done = [a_prev.expand(len(plans), -1)]
        last = slice(-self.context, None)
        for step in range(blocks):
            done.append(plans[:, step])
            window = torch.stack(seen[last], dim=1), torch.stack(done[last], dim=1)
            h = self.know(*window)[:, -1]
            value = self.variable.draw(h, lots[:, step])
            seen.append(self.decode(seen[-1], h, value))
        return torch.stack(seen[2:], dim=1).unflatten(0, (count, rows))
