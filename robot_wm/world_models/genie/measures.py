"""What latent actions are worth: how they agree with true ones, and whether they carry over."""

from __future__ import annotations

from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor

from robot_wm.core.errors import ConfigError
from robot_wm.core.metrics import r2
from robot_wm.world_models.genie.latent_actions import LatentActions
from robot_wm.world_models.genie.quantizer import perplexity
from robot_wm.world_models.pixels.measures import MOVED

KINDS = 8  # of true actions, found by k-means


def clustering() -> tuple[ModuleType, ModuleType]:
    """The modules ``sklearn.cluster`` and ``sklearn.metrics``.

    Raises:
        ConfigError: scikit-learn is not installed.
    """
    try:
        from sklearn import cluster, metrics
    except ImportError as error:
        raise ConfigError(
            "latent actions to be measured, without the package scikit-learn",
            "an environment with the extra rivals", "pip install -e '.[rivals]'",
        ) from error  # fmt: skip
    return cluster, metrics


def agreement(codes: Tensor, controls: Tensor, count: int) -> dict[str, float]:
    """How codes that were learned without labels agree with what was done.

    Args:
        codes: int64 ``[B, T]``, of ``count``.
        controls: mean control of each block ``[B, T, C]``.

    Returns:
        ``actions_used``: their perplexity; ``action_r2``: R² of the control given its code alone,
        in windows that the means were not taken of; ``adj_mi``: mutual information with the 8-means
        of the controls, adjusted for chance (0: none, 1: the same partition).
    """
    known = slice(0, len(codes), 2), slice(1, len(codes), 2)
    one_hot = [F.one_hot(codes[half], count).float().flatten(0, 1) for half in known]
    rows = [controls[half].flatten(0, 1) for half in known]
    table = one_hot[0].T @ rows[0] / one_hot[0].sum(dim=0)[:, None].clamp(min=1)
    cluster, metrics = clustering()
    done = controls.flatten(0, -2).cpu().numpy()
    kinds = cluster.KMeans(min(KINDS, len(done)), n_init=10, random_state=0).fit_predict(done)
    shared = metrics.adjusted_mutual_info_score(kinds, codes.flatten().cpu().numpy())
    return {
        "actions_used": perplexity(codes, count),
        "action_r2": float(r2(one_hot[1] @ table, rows[1], rows[0].mean(0), axis=None)),
        "adj_mi": float(shared),
    }


@torch.inference_mode()
def carried_over(actions: LatentActions, frames: Tensor, blocks: Tensor) -> dict[str, float]:
    """What is left of a code's worth when it is read off *another* transition with the same action.

    Args:
        actions: the latent action model.
        frames: windows uint8 ``[B, T, ...]`` with ``B`` of two or more.
        blocks: normalised true blocks between them ``[B, T-1, A]``.

    Returns:
        ``transfer``: error of the next frame with the code of that transition of another window
        whose true block is nearest, over that with the own code, on pixels that changed: near 1 a
        code says what was done, far above it tells of the pictures; ``code_db`` [dB]: how much
        worse the next frame is with the code of just any other window (ΔPSNR, arXiv:2402.15391).
    """
    codes, steps = actions.infer(frames), blocks.shape[1]
    rows, window = blocks.flatten(0, 1), torch.arange(len(blocks)).repeat_interleave(steps)
    gaps = torch.cdist(rows, rows)
    gaps[window[:, None] == window[None, :]] = torch.inf
    nearest = codes.flatten()[gaps.argmin(dim=1)].reshape(codes.shape)
    true = frames[:, 1:].float() / 255
    moved = ((true - frames[:, :-1].float() / 255).abs() > MOVED).any(dim=-1, keepdim=True)

    def error(told: Tensor) -> float:
        guess = actions.predict(frames[:, :-1], told).reshape(true.shape).clamp(0, 1)
        return float(((guess - true).square() * moved).sum())

    own, same, any_other = error(codes), error(nearest), error(codes.roll(1, dims=0))
    if not own:
        return {"transfer": float("nan"), "code_db": float("nan")}
    ratio = torch.tensor(any_other / own)
    return {"transfer": same / own, "code_db": float(10 * ratio.log10())}
