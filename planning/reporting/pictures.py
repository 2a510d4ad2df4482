"""Images as files and as data URIs, for pages that need nothing beside themselves."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


def png(image: np.ndarray) -> bytes:
    """uint8 ``[height, width, 3]`` as a file."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def animation(frames: Sequence[np.ndarray], dt: float) -> bytes:
    """Frames ``dt`` [s] apart as a looping lossless WebP; the last one stays for a second."""
    from PIL import Image

    stream = io.BytesIO()
    images = [Image.fromarray(frame) for frame in frames]
    durations = [max(20, round(1000 * dt))] * (len(images) - 1) + [1000]
    images[0].save(
        stream, "WEBP", save_all=True, append_images=images[1:], duration=durations, loop=0,
        lossless=True,
    )  # fmt: skip
    return stream.getvalue()


@dataclass(frozen=True)
class Picture:
    """An image inside a page.

    Attributes:
        uri: the whole PNG as a data URI.
        width, height: [px].
    """

    uri: str
    width: int
    height: int

    @property
    def coarse(self) -> bool:
        """Whether it is shown much larger than it is, so that its pixels should stay sharp."""
        return self.width < 256


def picture(image: np.ndarray) -> Picture:
    """uint8 ``[height, width, 3]`` for a page."""
    uri = "data:image/png;base64," + base64.b64encode(png(image)).decode()
    return Picture(uri, image.shape[1], image.shape[0])


@dataclass(frozen=True)
class Film:
    """All frames of an episode in one image, side by side and line by line.

    Attributes:
        sheet: that image; cells behind the last frame are black.
        count: frames.
        columns: frames in a line.
    """

    sheet: Picture
    count: int
    columns: int

    @property
    def aspect(self) -> float:
        """Width of a frame over its height."""
        lines = math.ceil(self.count / self.columns)
        return (self.sheet.width / self.columns) / (self.sheet.height / lines)


def film(frames: Sequence[np.ndarray]) -> Film:
    """Frames uint8 ``[height, width, 3]``, all of one size, one or more."""
    count, columns = len(frames), math.ceil(math.sqrt(len(frames)))
    height, width, _ = frames[0].shape
    cells = np.zeros((math.ceil(count / columns), columns, height, width, 3), np.uint8)
    for index, frame in enumerate(frames):
        cells[index // columns, index % columns] = frame
    sheet = cells.swapaxes(1, 2).reshape(len(cells) * height, columns * width, 3)
    return Film(picture(sheet), count, columns)
