"""Is the encoder alive, and what does it know? Collapse meters and a quick probe.

A falling loss proves nothing here: a map from token position to a constant predicts itself
perfectly. So every number below is taken after subtracting each token position's mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from robot_wm.core.errors import DataError
from robot_wm.core.metrics import participation_ratio, r2
from robot_wm.core.poses import PoseEntry
from robot_wm.data.formats.base import EpisodeReader

FLOOR = 1e-12  # of squared deviations: a factor that never changes is not divided by
Encode = Callable[[np.ndarray], np.ndarray]


def position_centered(features: np.ndarray) -> np.ndarray:
    """Subtract each token position's mean over the data: ``[N, P, D]`` to the same shape."""
    return features - features.mean(axis=0, dtype=np.float64).astype(features.dtype)


def spectrum(features: np.ndarray) -> np.ndarray:
    """Singular values, descending float64 ``[D]``, of the position-centred ``[N*P, D]`` matrix.

    They come from the D x D Gram matrix, so values below 1e-7 of the largest are noise.
    """
    rows = position_centered(features).reshape(-1, features.shape[-1]).astype(np.float64)
    return np.sqrt(np.clip(np.linalg.eigvalsh(rows.T @ rows)[::-1], 0, None))


def rankme(sigma: np.ndarray) -> float:
    """exp(−Σ p log p) with p = σ/Σσ (RankMe, arXiv:2210.02885): D for equal σ, 1 for rank one."""
    p = sigma / max(sigma.sum(), 1e-300)
    p = p[p > 1e-12]
    return float(np.exp(-(p * np.log(p)).sum()))


def health(features: np.ndarray) -> dict[str, float]:
    """Collapse meters of token features ``[N, P, D]``.

    Returns:
        ``S`` centred deviation, ``S0`` deviation without centring per position, ``S/S0`` (below
        .05: collapsed to positions; .3 and more: healthy), ``rankme``, ``participation``.
    """
    s = float(np.sqrt(np.mean(position_centered(features).astype(np.float64) ** 2)))
    s0 = float(features.std(dtype=np.float64))
    sigma = spectrum(features)
    return {
        "S": s,
        "S0": s0,
        "S/S0": s / max(s0, 1e-12),
        "rankme": rankme(sigma),
        "participation": participation_ratio(sigma**2),
    }


def pose_targets(poses: np.ndarray, pose: Sequence[PoseEntry]) -> tuple[np.ndarray, list[str]]:
    """Pose vectors ``[N, K]`` as regression targets: an angle [rad] becomes its cos and sin."""
    columns, labels = [], []
    for column, entry in zip(poses.T, pose, strict=True):
        if entry.turns:
            columns += [np.cos(column), np.sin(column)]
            labels += [f"cos {entry.label}", f"sin {entry.label}"]
        else:
            columns.append(column)
            labels.append(entry.label)
    return np.stack(columns, axis=1), labels


def kernel_ridge_r2(
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    widths: Sequence[float] = (1.0, 5.0),
    strengths: Sequence[float] = (1e-5, 1e-4, 1e-3, 1e-2),
) -> np.ndarray:
    """R² per target column of Gaussian-kernel ridge regression on *all* features.

    Nothing is reduced first, on purpose: keeping each token's few main directions flatters features
    of low rank and punishes whitened ones (eight of them hid a block angle that the full tokens
    give away), so it ranks a healthy encoder below random weights. Distances do not care.

    Args:
        train, test: features ``[N, F]`` and targets ``[N, C]``; features are only centred.
        widths: squared kernel widths, in units of the mean squared distance from the mean.
        strengths: ridge per row. Both are chosen per column on the last fifth of ``train``.

    Returns:
        float64 ``[C]``; 1 is perfect, 0 is the mean of the training targets.
    """
    (x, y), cut = train, len(train[0]) * 4 // 5
    square, cross = _distances(x, x), _distances(test[0], x)
    # Twice the mean squared distance from the mean; constant features know nothing but that mean.
    scale = square.mean() or 1.0
    options = [(width, strength) for width in widths for strength in strengths]
    held = []
    for width, strength in options:
        kernel = np.exp(-square[:, :cut] / (width * scale))
        guess = _solve(kernel[:cut], y[:cut], kernel[cut:], strength)
        held.append(r2(guess, y[cut:], y[:cut].mean(0), floor=FLOOR))
    best, scores = np.argmax(held, axis=0), np.zeros(y.shape[1])
    for index in np.unique(best):
        width, strength = options[index]
        kernel, new = (np.exp(-part / (width * scale)) for part in (square, cross))
        fitted = r2(_solve(kernel, y, new, strength), test[1], y.mean(0), floor=FLOOR)
        scores[best == index] = fitted[best == index]
    return scores


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared distances, float64 ``[len(a), len(b)]``."""
    mean = b.mean(0)  # centring first keeps float32 products exact enough
    a, b = a - mean, b - mean
    product = (a @ b.T).astype(np.float64)
    return np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * product, 0)


def _solve(kernel: np.ndarray, y: np.ndarray, new: np.ndarray, strength: float) -> np.ndarray:
    mean = y.mean(0)
    ridge = strength * len(kernel) * np.eye(len(kernel))
    return new @ np.linalg.solve(kernel + ridge, y - mean) + mean


@dataclass(frozen=True)
class ProbeData:
    """Frames with poses of one data set: training episodes to fit on, validation ones to score.

    Attributes:
        name: label in the log.
        train_frames, test_frames: uint8 ``[N, H, W, 3]``.
        train_poses, test_poses: float64 ``[N, K]``.
        pose: entries of the poses.
    """

    name: str
    train_frames: np.ndarray
    train_poses: np.ndarray
    test_frames: np.ndarray
    test_poses: np.ndarray
    pose: tuple[PoseEntry, ...]

    @staticmethod
    def draw(store: EpisodeReader, rng: np.random.Generator, train: int, test: int) -> ProbeData:
        """Random frames, at most ``train`` and ``test`` of them.

        Raises:
            DataError: a split without episodes.
        """
        train_frames, train_poses = _draw(store, "train", rng, train)
        test_frames, test_poses = _draw(store, "validation", rng, test)
        return ProbeData(
            store.root.name, train_frames, train_poses, test_frames, test_poses,
            store.schema.pose,
        )  # fmt: skip

    def evaluate(self, encode: Encode) -> dict[str, float]:
        """Collapse meters, and R² of every pose factor, where there are any, from all tokens.

        Args:
            encode: uint8 ``[N, H, W, 3]`` to token features ``[N, P, D]``.
        """
        train, test = encode(self.train_frames), encode(self.test_frames)
        result = health(test)
        if not self.pose:  # a robot's log knows none
            return result
        wanted, labels = pose_targets(self.train_poses, self.pose)
        truth, _ = pose_targets(self.test_poses, self.pose)
        flat = [part.reshape(len(part), -1) for part in (train, test)]
        scores = kernel_ridge_r2((flat[0], wanted), (flat[1], truth))
        return result | {f"r2 {label}": float(r) for label, r in zip(labels, scores, strict=True)}


def pixel_tokens(patch: int) -> Encode:
    """The reference row: raw pixels cut into patches, ``[N, P, 3 * patch²]`` in [0, 1]."""

    def encode(frames: np.ndarray) -> np.ndarray:
        n, rows, columns = len(frames), frames.shape[1] // patch, frames.shape[2] // patch
        cut = frames.reshape(n, rows, patch, columns, patch, 3).transpose(0, 1, 3, 2, 4, 5)
        return cut.reshape(n, rows * columns, -1).astype(np.float32) / 255

    return encode


def _draw(
    store: EpisodeReader, split: str, rng: np.random.Generator, limit: int
) -> tuple[np.ndarray, np.ndarray]:
    every = store.schema.frame_every
    places = [(i, k) for i in store.indices(split) for k in range(store.frames_of(i))]
    if not places:
        raise DataError(
            f"{store.root} has no {split} episodes", "at least one", "collect more episodes"
        )
    order = np.sort(rng.permutation(len(places))[:limit])
    chosen = [places[i] for i in order]
    episodes = {i: store[i] for i, _ in chosen}
    frames = np.stack([episodes[i].frames[k] for i, k in chosen])
    poses = np.stack([episodes[i].poses[k * every] for i, k in chosen])
    # Shuffle: the probe holds out the last fifth of its rows, which must not be one policy.
    mix = rng.permutation(len(chosen))
    return frames[mix], poses[mix]
