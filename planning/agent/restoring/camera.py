"""A camera that was knocked: find out how, and see again as from where the model learned.

In recorded frames some edges stay where they are: of a table, a wall, the robot's base. The
homography that brings a picture's edges back onto them is found by Gauss-Newton from many starts,
coarse to fine (Lucas & Kanade 1981; Baker & Matthews 2004, IJCV 56, "Lucas-Kanade 20 years on").
Edges are compared up to their strength (as ECC does: Evangelidis & Psarakis 2008, TPAMI 30), so
that other colours and another light do not matter. Exact for a camera that turns on the spot, and
for anything that looks onto a plane. NumPy alone: a robot does it, too.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from planning.agent.restoring import warping
from planning.agent.restoring.background import Background, Paint
from robot_wm.core.errors import WeightsError
from robot_wm.core.images import size_of
from robot_wm.core.protocols import check_image
from robot_wm.core.storage.provenance import atomic_write

CAMERA = "camera.npz"
SCALES = ((3.0, 3), (1.5, 2), (0.8, 1))  # of blur [px], and every how many pixels one is compared
FLOOR = 0.05  # of an edge's deviation: recorded frames are not all there is
OUTLIER = 3.0  # deviations from which on an edge hardly pulls any more: something moved there
# Shift (right, down), turn, scale, stretch, shear, and tilt about both axes: what is likely.
# Lengths are halves of the picture's larger side, angles radians.
LIKELY = np.array([0.25, 0.25, 0.15, 0.03, 0.01, 0.01, 0.05, 0.05])
SHIFTS, TURNS = np.arange(-0.4, 0.41, 0.1), np.deg2rad(np.arange(-12, 12.1, 4))
PICTURES = 4  # of a goal that are looked at, at most
# Correlation with the recorded edges from which a picture shows them at all; where a move was
# found, it has been looked for: noise reaches 0.4 then, and moved cameras 0.8.
ALIKE, ALIKE_MOVED = 0.2, 0.6
STARTS = 5  # the best of these that are followed, beside "nothing moved"
BETTER = 0.9  # of what is unexplained if nothing moved: a move that leaves more is none


class Scale(NamedTuple):
    """Edges of recorded frames at one blur: mean, and weight (1 over variance), ``[h, w]``."""

    mean: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True)
class View:
    """How a camera stands to the one of the recordings.

    Attributes:
        homography: ``[3, 3]``, from a place in a recorded picture to the same thing's place in this
            camera's, both from the middle in halves of the larger side; None: nothing moved.
        unexplained: squared deviations of edges that remain, of those if nothing had moved.
        background: what stood still, which resampling need not blur.
        paint: other colours of it; None: it looks as recorded.
    """

    homography: np.ndarray | None = None
    unexplained: float = 1.0
    background: Background | None = None
    paint: Paint | None = None

    def restore(self, image: np.ndarray) -> np.ndarray:
        """The image uint8 ``[h, w, 3]`` as the recordings' camera would have it."""
        straight = self._straightened(image)
        return straight if self.paint is None else self.paint.restore(straight)

    def _straightened(self, image: np.ndarray) -> np.ndarray:
        """What this camera does not see is filled with what is at its picture's edge."""
        if self.homography is None:
            return image
        x, y = warping.moved(self.homography, *warping.places(image.shape[:2]))
        found = warping.bilinear(image.astype(np.float32), x, y)
        straight = np.clip(np.rint(found), 0, 255).astype(np.uint8)
        return straight if self.background is None else self.background.sharpened(straight)


class CameraReference:
    """What stood still before the recordings' camera.

    Args:
        scales: of edges, in the order of ``SCALES``.
        picture: median of the frames, uint8 ``[h, w, 3]``.
    """

    def __init__(self, scales: Sequence[Scale], picture: np.ndarray) -> None:
        self.scales, self.background = tuple(scales), Background(picture)
        self._size = self.scales[0].mean.shape
        self._grids = [warping.places(self._size, every) for _, every in SCALES]

    @classmethod
    def of(cls, frames: np.ndarray) -> CameraReference:
        """From recorded frames uint8 ``[N, h, w, 3]``, some hundred with everything in motion."""
        edges, scales = [warping.edges(frame) for frame in frames], []
        for blur, _ in SCALES:
            seen = np.stack([warping.blurred(edge, blur) for edge in edges])
            scale = np.array([seen.mean(0), 1 / (seen.std(0) + FLOOR) ** 2])
            # In half precision as it is stored: what is exported sees what is trained.
            scales.append(Scale(*scale.astype(np.float16).astype(np.float32)))
        return cls(scales, np.median(frames, axis=0).astype(np.uint8))

    @classmethod
    def read(cls, path: Path | str) -> CameraReference:
        """From a file of :meth:`write`.

        Raises:
            WeightsError: another file, or a damaged one.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                found = np.array(stored["scales"], np.float32)
                picture = np.array(stored["picture"])
        except Exception as error:  # NumPy says of a damaged file that it is one or another
            raise WeightsError(
                f"{path}: {error}", "what the camera saw, as exported", "export the bundle again"
            ) from error
        fits = found.shape == (len(SCALES), 2, *picture.shape[:2]) and picture.shape[2:] == (3,)
        usable = np.isfinite(found).all() and (found[:, 1:] > 0).all()  # weights: 1 over variance
        if not (fits and usable and picture.dtype == np.uint8):
            raise WeightsError(
                f"{path} holds {found.shape} numbers and a picture {picture.dtype} {picture.shape}",
                f"finite ({len(SCALES)}, 2, height, width), weights above 0, and uint8 "
                "[height, width, 3]", "export the bundle again",
            )  # fmt: skip
        return cls([Scale(*pair) for pair in found], picture)

    def write(self, path: Path) -> None:
        """As ``camera.npz``, in half precision: some ten kilobytes."""
        stream = io.BytesIO()
        scales = np.array(self.scales, np.float16)
        np.savez_compressed(stream, scales=scales, picture=self.background.picture)
        atomic_write(path, stream.getvalue())

    def view(self, images: np.ndarray, straighten: bool = True, repaint: bool = True) -> View:
        """How the camera of these images uint8 ``[K, h, w, 3]`` stands, and what colours it sees.

        Args:
            straighten: whether to look for a move of the camera, see :meth:`locate`.
            repaint: whether to look for other colours of what stands still.

        Raises:
            InputError: images of another size than the recordings'.
        """
        check_image(images, size_of(*self._size))
        found = self.locate(images) if straighten else View()
        # A move was believed for its edges already.
        if not repaint or (found.homography is None and not self._alike(images, None)):
            return found
        straight = [found.restore(image) for image in _some(images)]
        return replace(found, paint=self.background.paint(straight))

    def _alike(self, images: np.ndarray, homography: np.ndarray | None) -> bool:
        """Whether edges are where they stood still: a covered lens is no room of one colour."""
        mean, weight = self.scales[1]
        x, y = warping.moved(
            np.eye(3) if homography is None else homography, *warping.places(self._size)
        )
        half, found = np.divide(self._size, max(self._size)), list[float]()
        share = weight * ((np.abs(y) <= half[0]) & (np.abs(x) <= half[1]))
        share /= share.sum() + 1e-9
        for image in _some(images):
            seen = warping.bilinear(warping.blurred(warping.edges(image), SCALES[1][0]), x, y)
            edge, wanted = (part - (share * part).sum() for part in (seen, mean))
            both = np.sqrt((share * edge**2).sum() * (share * wanted**2).sum())
            found.append(float((share * edge * wanted).sum() / (both + 1e-9)))
        return float(np.mean(found)) >= (ALIKE if homography is None else ALIKE_MOVED)

    def locate(self, images: np.ndarray) -> View:
        """How the camera of these images uint8 ``[K, h, w, 3]`` stands; deterministic.

        Takes a third of a second of one core for one image, once an episode, and four times as long
        for any number of them: of many some are looked at.
        """
        edges = [warping.edges(image) for image in _some(images)]
        views = [[warping.blurred(edge, blur) for edge in edges] for blur, _ in SCALES]
        still, rigid, free = np.zeros(len(LIKELY)), np.arange(3), np.arange(len(LIKELY))
        starts = [np.array([x, y, t, *still[3:]]) for t in TURNS for x in SHIFTS for y in SHIFTS]
        starts.sort(key=lambda move: self._cost(views[0], move, 0))
        best = [
            self._fit(views[1], self._fit(views[0], start, 0, rigid), 1, rigid)
            for start in (still, *starts[:STARTS])
        ]
        move = min(best, key=lambda move: self._cost(views[1], move, 1))
        for scale in (1, 2):
            move = self._fit(views[scale], move, scale, free)
        left = self._cost(views[2], move, 2) / max(self._cost(views[2], still, 2), 1e-9)
        homography = warping.homography(move)
        if left >= BETTER or not self._alike(images, homography):
            return View()
        return View(homography, left, self.background)

    def _deviations(self, edge: np.ndarray, move: np.ndarray, scale: int) -> np.ndarray:
        """Of one picture's edges from those that stood still, each bounded by ``OUTLIER``."""
        blur, every = SCALES[scale]
        mean, weight = (part[::every, ::every] for part in self.scales[scale])
        x, y = warping.moved(warping.homography(move), *self._grids[scale])
        half = np.divide(self._size, max(self._size))
        seen = (np.abs(y) <= half[0]) & (np.abs(x) <= half[1])
        pull = weight * seen
        total = pull.sum() + 1e-9
        edge = warping.bilinear(edge, x, y)
        edge, wanted = (part - (pull * part).sum() / total for part in (edge, mean))
        strength = max((pull * edge * wanted).sum() / ((pull * edge**2).sum() + 1e-9), 0.2)
        # What is out of sight speaks against a move, or the best one would be to look away.
        found = np.where(seen, wanted - strength * edge, 0.7 * (mean - mean.mean()))
        # Blurred pixels say the same as their neighbours.
        independent = min(1.0, every**2 / (4 * np.pi * blur**2))
        r = np.sqrt(weight * independent) * found
        return (r / np.sqrt(1 + (r / OUTLIER) ** 2)).ravel()

    def _all_deviations(self, edges: list[np.ndarray], move: np.ndarray, scale: int) -> np.ndarray:
        each = [self._deviations(edge, move, scale) for edge in edges]
        return np.concatenate(each) / np.sqrt(len(edges))

    def _cost(self, edges: list[np.ndarray], move: np.ndarray, scale: int) -> float:
        """Minus twice the logarithm of how likely a move is."""
        found = self._all_deviations(edges, move, scale)
        return float(found @ found + np.square(move / LIKELY).sum())

    def _fit(
        self, edges: list[np.ndarray], move: np.ndarray, scale: int, free: np.ndarray
    ) -> np.ndarray:
        """The likeliest move near one, by Levenberg and Marquardt over the ``free`` numbers."""
        damping, cost, small = 0.1, self._cost(edges, move, scale), 1e-3
        for _ in range(12):
            now = self._all_deviations(edges, move, scale)
            slopes = np.stack([
                (self._all_deviations(edges, move + small * unit, scale) - now) / small
                for unit in np.eye(len(move))[free]
            ], axis=1)  # fmt: skip
            curve = slopes.T @ slopes + np.diag(1 / LIKELY[free] ** 2)
            slope = slopes.T @ now + (move / LIKELY**2)[free]
            for _ in range(4):
                tried = move.copy()
                tried[free] -= np.linalg.solve(curve + damping * np.diag(np.diag(curve)), slope)
                if (reached := self._cost(edges, tried, scale)) < cost:
                    break
                damping *= 5
            else:
                break
            gain, move, cost = cost - reached, tried, reached
            damping = max(damping / 5, 1e-3)
            if gain < 1e-3 * cost:
                break
        return move


def _some(images: np.ndarray) -> np.ndarray:
    """At most :data:`PICTURES` of them, the first and the last included."""
    return images[np.unique(np.linspace(0, len(images) - 1, PICTURES).astype(int))]
