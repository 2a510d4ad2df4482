"""What the new latent is made of: tokens of a frozen encoder, or pixels through one that learns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from robot_wm.core.errors import ConfigError
from robot_wm.data.formats.base import EpisodeReader
from robot_wm.data.sequences import Pair, evenly, sample_tokens
from robot_wm.encoders.base import Encoder
from robot_wm.encoders.token_pca import TokenPCA
from robot_wm.encoders.vit import VideoEncoder
from robot_wm.world_models.jepa.network import Network


class Tokens:
    """A frozen encoder's tokens, from latent caches; reduced rows ``[P, R]`` are kept.

    Attributes:
        role: of the encoder among the model's parents.
        stores: data sets.
        token_shape: ``P`` and ``D``.
    """

    role = "encoder"

    def __init__(self, pairs: Sequence[Pair], encoder: Encoder) -> None:
        self.pairs, self.encoder = pairs, encoder
        self.stores: list[EpisodeReader] = [store for store, _ in pairs]
        self.token_shape: tuple[int, int] = pairs[0][1].token_shape

    def learning(self) -> None:
        """Nothing before the rows learns."""

    def sample(self, count: int, learned: VideoEncoder | None = None) -> np.ndarray:
        """About ``count`` training frames' tokens ``[N, P, D]``; ``learned`` is None here."""
        return sample_tokens(self.pairs, count)

    @torch.no_grad()
    def rows(self, reduce: TokenPCA, p: int, i: int) -> Tensor:
        """Rows of an episode, float16 ``[T, P, R]``."""
        found: Tensor = reduce(torch.from_numpy(np.array(self.pairs[p][1].latents_of(i), "f4")))
        return found.half()

    @torch.no_grad()
    def rows_of(self, reduce: TokenPCA, frames: np.ndarray) -> Tensor:
        """Rows of frames uint8 ``[T, H, W, 3]``."""
        found: Tensor = reduce(self.encoder.encode_frames(frames).cpu())
        return found.half()


class Pixels:
    """Frames as they are, uint8 ``[H, W, 3]``, for an encoder that goes on learning.

    Raises:
        ConfigError: an encoder that cannot learn.
    """

    role = "first_encoder"

    def __init__(self, stores: Sequence[EpisodeReader], encoder: Encoder) -> None:
        if not isinstance(encoder, VideoEncoder):
            raise ConfigError(
                f"distill.encoder=true for a {type(encoder).__name__}, which cannot learn",
                "an encoder of the families vit or random",
                "give one as encoder_name, or leave distill.encoder out",
            )
        self.stores, self.encoder = list(stores), encoder
        self.token_shape = encoder.config.tokens, encoder.config.width

    def learning(self) -> VideoEncoder:
        """A copy that learns, beginning with the encoder's weights."""
        assert isinstance(self.encoder, VideoEncoder)
        learns = VideoEncoder(self.encoder.config)
        learns.load_state_dict(self.encoder.state_dict())
        return learns

    def sample(self, count: int, learned: VideoEncoder | None = None) -> np.ndarray:
        """About ``count`` training frames' tokens ``[N, P, D]``, of the encoder as it begins.

        Args:
            learned: the one whose tokens are wanted, if it is another.
        """
        frames = [
            np.asarray(self.stores[p][i].frames[some]) for p, i, some in evenly(self.stores, count)
        ]
        encoder = learned or self.encoder
        return encoder.encode_frames(np.concatenate(frames)).cpu().numpy()

    def rows(self, reduce: TokenPCA, p: int, i: int) -> Tensor:
        """Frames of an episode, uint8 ``[T, H, W, 3]``."""
        return torch.from_numpy(np.array(self.stores[p][i].frames))

    def rows_of(self, reduce: TokenPCA, frames: np.ndarray) -> Tensor:
        """They themselves."""
        return torch.from_numpy(frames)


class Latent(nn.Module):
    """What learns: keypoints ``[B, 4 K]`` and latents ``[B, Z]``.

    They are of reduced tokens ``[B, P, R]``, or, with an encoder, of frames ``[B, H, W, 3]``.
    """

    def __init__(self, network: Network, encoder: VideoEncoder | None = None) -> None:
        super().__init__()
        self.encoder, self.reduce = encoder, network.reduce
        self.projector, self.embedding = network.projector, network.embedding
        self.whiten = network.whiten

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        reduced = x.float() if self.encoder is None else self.reduce(self.encoder(x[:, None]))
        keypoints = self.projector(reduced)
        return keypoints, self.whiten(self.embedding(keypoints))
