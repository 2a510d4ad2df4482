"""Frames as a new encoder sees them, each with what the source says of the same state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from robot_wm.core.errors import DataError
from robot_wm.core.images import sides, spelled
from robot_wm.core.system.progress import progress
from robot_wm.data.formats.base import EpisodeReader
from robot_wm.data.looks import label, source_of, twin_rows
from robot_wm.data.sequences import usable
from robot_wm.world_models.jepa.model import JEPAWorldModel

FRAMES = 256  # that the source looks at together

Pictures = Callable[[np.ndarray], Iterable[np.ndarray]]
"""Images of physics states ``[N, S]`` at the size that the source sees."""

Rows = Callable[[int, int], Tensor]
"""What learns is given of an episode, by data set and position: a row of each frame."""

Recolored = Callable[[np.ndarray], tuple[np.ndarray, Tensor]]
"""Of frames ``[T, H, W, 3]``: which ones, and their rows in changed colours."""


@dataclass(frozen=True)
class FrameBatch:
    """Some frames.

    Attributes:
        x: what learns is given, in any look: reduced tokens of the new encoder ``[B, P, R]``, or
            frames uint8 ``[B, H, W, 3]`` where the encoder learns, too.
        z: the source's latents of the same states as they were recorded ``[B, Z]``.
        keypoints: what its projector made on the way there ``[B, 4 K]``.
    """

    x: Tensor
    z: Tensor
    keypoints: Tensor


class FrameDataset:
    """All frames of one split.

    Args:
        stores: data sets; one in other looks must have its source among them.
        split: ``train``, ``validation`` or ``test``.
        source: the model whose latents are wanted.
        rows: gives the rows of :attr:`FrameBatch.x`.
        pictures: draws what the source looks at, where the episodes' frames have another size.
        recolored: makes further looks of frames as recorded, if given.

    Raises:
        DataError: no frame, or frames of which it cannot be said how they were recorded.
    """

    def __init__(
        self,
        stores: Sequence[EpisodeReader],
        split: str,
        source: JEPAWorldModel,
        rows: Rows,
        pictures: Pictures | None = None,
        recolored: Recolored | None = None,
    ) -> None:
        check_looks(stores)
        places = [(p, i) for p, store in enumerate(stores) for i in usable(store, split)]
        if not places:
            raise DataError(f"no {split} episode", "some episodes", "collect more data")
        self.x, lengths = torch.empty(0), [stores[p].frames_of(i) for p, i in places]
        own = np.arange(sum(lengths))
        twin = twin_rows(stores, places, lengths)
        shown, first = own if twin is None else twin, 0
        sizes = source.network.sizes
        z, keypoints = (
            torch.zeros(len(own), sizes.latent),
            torch.zeros(len(own), 4 * sizes.keypoints),
        )
        with progress(f"{split} targets", len(places)) as report:
            for done, ((p, i), count) in enumerate(zip(places, lengths, strict=True), start=1):
                here = slice(first, first + count)
                found = rows(p, i)
                if not len(self.x):  # one tensor of its final size: it is most of the memory
                    self.x = torch.empty(len(own), *found.shape[1:], dtype=found.dtype)
                self.x[here] = found
                if (shown[here] == own[here]).all():
                    seen = _seen(stores[p], i, count, source, pictures)
                    z[here], keypoints[here] = targets(source, seen)
                first += count
                report(done)
        of_source = torch.from_numpy(shown)
        self.z, self.keypoints = z[of_source], keypoints[of_source]
        self.recorded, self.other = own[shown == own], own[shown != own]
        if recolored is not None:
            self._append(stores, places, lengths, recolored)

    def _append(
        self,
        stores: Sequence[EpisodeReader],
        places: Sequence[tuple[int, int]],
        counts: Sequence[int],
        recolored: Recolored,
    ) -> None:
        """Further rows in other looks: some recorded frames with changed colours."""
        recorded, first = set(self.recorded.tolist()), 0
        of, x = list[np.ndarray](), list[Tensor]()
        with progress("changed colours", len(places)) as report:
            for done, ((p, i), count) in enumerate(zip(places, counts, strict=True), start=1):
                if first in recorded:
                    chosen, found = recolored(stores[p][i].frames[:count])
                    if len(chosen):
                        x.append(found.to(self.x.dtype))
                        of.append(first + chosen)
                first += count
                report(done)
        if not x:
            return
        index = np.concatenate(of)
        self.other = np.concatenate([self.other, len(self.x) + np.arange(len(index))])
        self.x = torch.cat([self.x, *x])
        self.z, self.keypoints = (torch.cat([t, t[index]]) for t in (self.z, self.keypoints))

    def draw(self, count: int, other: float, rng: np.random.Generator) -> FrameBatch:
        """``count`` frames at random, a share of them in other looks where there are some."""
        many = round(other * count) if len(self.other) else 0
        return self.gather(
            np.concatenate(
                [
                    self.recorded[rng.integers(len(self.recorded), size=count - many)],
                    self.other[rng.integers(max(1, len(self.other)), size=many)],
                ]
            )
        )

    def gather(self, rows: np.ndarray) -> FrameBatch:
        """The frames at ``rows``."""
        index = torch.from_numpy(rows)
        return FrameBatch(self.x[index], self.z[index], self.keypoints[index])


def check_looks(stores: Sequence[EpisodeReader]) -> None:
    """Refuse data sets of which the source cannot be asked.

    Raises:
        DataError: a varied collection, or other looks without their source.
    """
    for p, store in enumerate(stores):
        varied = any(store.meta(i).get("factors") for i in range(len(store)))
        if varied and source_of(stores, p) is None:
            raise DataError(
                f"{store.root} ({label(store.schema)}) shows states in looks that the source never "
                "saw, and not as they were recorded",
                "a collection as recorded, or one in other looks together with it",
                "give both, e.g. train_on=[nominal,nominal-looks]",
            )


def _seen(
    store: EpisodeReader, index: int, count: int, source: JEPAWorldModel, pictures: Pictures | None
) -> np.ndarray:
    """The first frames of an episode at the source's size."""
    episode = store[index]
    if sides(store.schema.image_size) == sides(source.spec.image_size):
        return episode.frames[:count]
    if pictures is None or not store.schema.state_dim:
        raise DataError(
            f"{store.root} with frames of {spelled(store.schema.image_size)} px and without a "
            "scene to draw them in again", f"frames of {spelled(source.spec.image_size)} px",
            "distil from episodes of a simulated scene, or with pictures of the source's size",
        )  # fmt: skip
    # A network that looks at fine detail answers otherwise where a picture was merely shrunk.
    rows = episode.states[:: store.schema.frame_every][:count]
    return np.stack(list(pictures(rows)))


@torch.inference_mode()
def targets(source: JEPAWorldModel, frames: np.ndarray) -> tuple[Tensor, Tensor]:
    """Latents ``[T, Z]`` and keypoints ``[T, 4 K]`` of frames uint8 ``[T, H, W, 3]``."""
    net, parts = source.network, list[tuple[Tensor, Tensor]]()
    for part in np.split(frames, range(FRAMES, len(frames), FRAMES)):
        keypoints = net.projector(net.reduce(source.encoder.encode_frames(part)))
        parts.append((net.whiten(net.embedding(keypoints)), keypoints))
    z, keypoints = (torch.cat(column) for column in zip(*parts, strict=True))
    return z.clone(), keypoints.clone()
