"""Give a trained world model slow directions, so that it predicts and judges as it did before.

The new numbers of the latent enter every network through weights of zero, and are predicted not to
change; tuning does the rest (function-preserving growth; Chen et al. 2016, arXiv:1511.05641).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robot_wm.jepa import Network
from robot_wm.projector import Embedding, Whiten


@torch.no_grad()
def widen(network: Network, old: Network, keypoints: Tensor, last: Tensor) -> None:
    """Fill a network from one without slow directions; reduction and projector are left alone.

    Args:
        network: of the same sizes but for ``slow``.
        old: the trained one.
        keypoints: the projector's latents ``[F, 4 K]`` of whole training episodes.
        last: ``[F]``, row of the last frame of each frame's episode.
    """
    embedding, known = network.embedding, old.embedding
    assert isinstance(embedding, Embedding)
    assert isinstance(known, Embedding)
    embedding.scale.load_state_dict(known.scale.state_dict())
    embedding.mlp.load_state_dict(known.mlp.state_dict())
    embedding.fit_slow(keypoints, last)
    before, after, slow = old.sizes.latent, network.sizes.latent, embedding.slow
    fresh = torch.cat([embedding(part)[:, before:] for part in keypoints.split(4096)])
    white = Whiten(slow).to(fresh.device)
    white.fit(fresh, last)
    network.whiten.matrix.zero_()
    network.whiten.matrix[:before, :before] = old.whiten.matrix
    network.whiten.matrix[before:, before:] = white.matrix
    network.whiten.mean.copy_(torch.cat([old.whiten.mean, white.mean]))
    std, mean = torch.std_mean(white(fresh), dim=0)
    pairs: tuple[tuple[nn.Module, nn.Module, str, int], ...] = (
        (network.predictor, old.predictor, "change", 2),
        (network.proposer, old.proposer, "mlp", 3),
        (network.distance, old.distance, "mlp", 2),
    )
    for new, trained, trunk, copies in pairs:
        state = trained.state_dict()
        state["place.mean"] = torch.cat([state["place.mean"], mean])
        state["place.std"] = torch.cat([state["place.std"], std])
        key = f"{trunk}.enter.weight"
        state[key] = _more_inputs(state[key], copies, before, after)
        if new is network.predictor:
            for key in (f"{trunk}.leave.weight", f"{trunk}.leave.bias"):
                state[key] = torch.cat(
                    [state[key], state[key].new_zeros(slow, *state[key].shape[1:])]
                )
        new.load_state_dict(state)


def _more_inputs(weight: Tensor, copies: int, before: int, after: int) -> Tensor:
    """Columns for ``copies`` latents of ``after`` numbers, then the rest; the new ones are zero."""
    latents, rest = weight[:, : copies * before], weight[:, copies * before :]
    rows = latents.unflatten(1, (copies, before))
    return torch.cat([nn.functional.pad(rows, (0, after - before)).flatten(1), rest], dim=1)
