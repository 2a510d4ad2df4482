"""What stands still before a camera: its picture, and how to give it back its recorded colours.

A new tablecloth or another lamp changes most of a picture and nothing that matters. What stands
still is known from the recordings; so each of its colours is followed to what it is now, and every
pixel that shows it is painted as it was. What moves keeps its colour, unless most colours have
changed by one factor, as in another light, which is then taken back of it, too. NumPy alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations

import numpy as np

ALIKE = 10  # grey levels by which what is seen may differ from what is expected
SHADES = 16  # grey levels around one colour that belong to it
COLOURS, LEAST = 16, 8  # of a background at most; pixels of one at least
AGREED = 0.4  # share of a colour's pixels that must have changed alike: others may be covered
LARGE = 0.02  # share of the picture of a colour that may say that colours have changed
CHANGED = 12  # grey levels from which on a colour is another one
# A light: grey to this share, explains more than this share of the colours, and leaves some light.
TINT, MOST, DARK = 0.1, 0.6, 0.05


@dataclass(frozen=True)
class Background:
    """What stood still in recorded frames.

    Attributes:
        picture: uint8 ``[h, w, 3]``, e.g. the frames' median.
    """

    picture: np.ndarray

    @cached_property
    def _ends(self) -> tuple[np.ndarray, np.ndarray]:
        return _ends(self.picture, np.ones(self.picture.shape[:2], bool))

    @cached_property
    def _palette(self) -> tuple[np.ndarray, np.ndarray]:
        """Number of each pixel's colour ``[h, w]``, and the colours ``[C, 3]``, commonest first."""
        values, colours = self.picture.astype(float), list[np.ndarray]()
        free = np.ones(self.picture.shape[:2], bool)
        while len(colours) < COLOURS and free.sum() >= LEAST:
            kinds, counts = np.unique(self.picture[free] // 8, axis=0, return_counts=True)
            colour = kinds[counts.argmax()] * 8 + 4.0
            for _ in range(2):
                own = free & (np.abs(values - colour).max(-1) <= SHADES)
                colour = np.median(values[own], axis=0) if own.any() else colour
            if own.sum() < LEAST:
                break
            colours.append(colour)
            free &= ~own
        every = np.array(colours or [np.full(3, 127.5)])
        return np.abs(values[..., None, :] - every).max(-1).argmin(-1), every

    def sharpened(self, image: np.ndarray) -> np.ndarray:
        """A resampled image with the recorded pixels wherever it shows nothing else."""
        return np.where(_shows(image, *self._ends)[..., None], self.picture, image)

    def paint(self, images: Sequence[np.ndarray]) -> Paint | None:
        """How what stands still looks in images of one camera as recorded; None: as it did.

        None, too, where it is as recorded but for exchanged channels: that is a wrong driver.
        """
        labels, colours = self._palette
        seen = np.stack(images)
        large = np.array([np.mean(labels == k) >= LARGE for k in range(len(colours))])
        change, followed = self._followed(seen)
        if np.abs(change[large]).max(initial=0) < CHANGED:
            return None
        for order in list(permutations(range(3)))[1:]:
            other, found = self._followed(seen[..., order])
            if found[large].all() and np.abs(other[large]).max(initial=0) < CHANGED:
                return None
        now = np.clip(self.picture + change[labels], 0, 255)
        known = (large | (followed > 0))[labels]
        return Paint(self.picture, now, known, _gain(colours, colours + change, followed))

    def _followed(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Change of each colour ``[C, 3]``, and of how many pixels: 0 where no one change is."""
        labels, colours = self._palette
        change, followed = np.zeros_like(colours), np.zeros(len(colours))
        gaps = images.astype(float) - self.picture
        for k in range(len(colours)):
            own = gaps[:, labels == k].reshape(-1, 3)
            usual = np.median(own, axis=0)
            if np.mean(np.abs(own - usual).max(-1) <= ALIKE) > AGREED:
                change[k], followed[k] = usual, len(own)
        return change, followed


@dataclass(frozen=True)
class Paint:
    """Other colours of what stands still.

    Attributes:
        then, now: the background as recorded and as it looks at present ``[h, w, 3]``.
        known: where that is known, bool ``[h, w]``; elsewhere, at edges, it is a mixture around.
        gain: of the light, by which all things have changed; None: there is no one factor.
    """

    then: np.ndarray
    now: np.ndarray
    known: np.ndarray
    gain: float | None

    @cached_property
    def _ends(self) -> tuple[np.ndarray, np.ndarray]:
        return _ends(self.now, self.known)

    def restore(self, image: np.ndarray) -> np.ndarray:
        """The image uint8 ``[h, w, 3]`` with the background's recorded colours."""
        still = _shows(image, *self._ends)
        found = image.astype(float)
        if self.gain is not None:
            found /= self.gain
        else:
            found = self._without_fringes(found, still)
        things = np.clip(np.rint(found), 0, 255).astype(np.uint8)
        return np.where(still[..., None], self.then, things)

    def _without_fringes(self, image: np.ndarray, still: np.ndarray) -> np.ndarray:
        """Pixels half of something and half of the background, of the recorded one instead."""
        inner = np.logical_not(np.asarray(_around(still[..., None]).any(-1))[..., 0])
        count = _around(inner[..., None].astype(float), 2).sum(-1)
        thing = _around(image * inner[..., None], 2).sum(-1) / np.maximum(count, 1)
        across = thing - self.now
        share = (across * (image - self.now)).sum(-1, keepdims=True)
        share = np.clip(share / np.maximum(np.square(across).sum(-1, keepdims=True), 1e-9), 0, 1)
        fringe = (~still & ~inner)[..., None] & (count > 0)
        return np.where(fringe, share * thing + (1 - share) * self.then, image)


def _around(values: np.ndarray, reach: int = 1) -> np.ndarray:
    """Each pixel's neighbours ``[h, w, C, (2 reach + 1)²]`` of ``[h, w, C]``, itself among them."""
    side = 2 * reach + 1
    padded = np.pad(values, ((reach, reach), (reach, reach), (0, 0)), "edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side), (0, 1))
    return windows.reshape(*values.shape, side**2)


def _ends(picture: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two known colours ``[h, w, 3]`` around each pixel that differ most, in one channel.

    Where none is known, its own.
    """
    known = known | ~np.asarray(_around(known[..., None]).any(-1))[..., 0]
    around, usable = _around(picture.astype(np.float32)), _around(known[..., None])
    most, least = np.where(usable, around, -np.inf), np.where(usable, around, np.inf)
    widest = (most.max(-1) - least.min(-1)).argmax(-1)[..., None, None]
    low, high = (
        np.take_along_axis(
            around, index(np.take_along_axis(values, widest, 2), -1)[..., None], axis=3
        )[..., 0]
        for values, index in ((least, np.argmin), (most, np.argmax))
    )
    return low, high


def _shows(image: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Where an image's colour is one of two, or a mixture of them: bool ``[h, w]``.

    Resampling and smoothed edges mix; a colour that is merely as bright as both is another thing.
    """
    across, beyond = high - low, image.astype(np.float32) - low
    share = (beyond * across).sum(-1) / (np.square(across).sum(-1) + 1e-9)
    gap = beyond - np.clip(share, 0, 1)[..., None] * across
    return np.asarray(np.abs(gap).max(-1) <= ALIKE)


def _gain(before: np.ndarray, after: np.ndarray, pixels: np.ndarray) -> float | None:
    """The factor by which another light changes colours ``[C, 3]``, if most changed by one."""
    known = pixels > 0
    if known.sum() < 2:
        return None
    before, after, weights = before[known], after[known], pixels[known, None]
    by_channel = (before * after * weights).sum(0) / ((before**2 * weights).sum(0) + 1e-9)
    gain = float(by_channel.mean())
    fits = np.abs(before * gain - after).max(-1) < CHANGED
    grey = np.abs(by_channel - gain).max() < TINT * gain
    return gain if grey and fits.mean() > MOST and gain > DARK else None
