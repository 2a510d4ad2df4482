"""Show what a world model imagines: the training frames whose latents are nearest.

The frames travel in the artefact as one contact sheet, ``frames.png``, that people can look at too.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from robot_wm.core.errors import WeightsError
from robot_wm.core.images import Size, sides
from robot_wm.data.formats.base import EpisodeReader
from robot_wm.world_models.jepa.model import JepaState, JEPAWorldModel

SHEET = "frames.png"
SIDE = 16  # frames along one side of the sheet


def contact_sheet(stores: Sequence[EpisodeReader], seed: int) -> bytes:
    """PNG of up to ``SIDE²`` training frames drawn at random, in reading order."""
    from PIL import Image

    rng = np.random.default_rng([seed, 7])
    places = [
        (store, i) for store in stores for i in store.indices("train", store.schema.frame_every)
    ]
    height, width = sides(stores[0].schema.image_size)
    sheet = np.zeros((SIDE, height, SIDE, width, 3), np.uint8)
    for k in range(SIDE**2):
        store, i = places[int(rng.integers(len(places)))]
        frames = store[i].frames
        sheet[k // SIDE, :, k % SIDE] = frames[int(rng.integers(len(frames)))]
    stream = io.BytesIO()
    Image.fromarray(sheet.reshape(SIDE * height, SIDE * width, 3)).save(
        stream, "PNG", optimize=True
    )
    return stream.getvalue()


def read_sheet(path: Path | str, size: Size) -> np.ndarray:
    """Frames of a contact sheet, uint8 ``[SIDE², height, width, 3]``.

    Raises:
        WeightsError: a sheet of another size, or no whole picture.
    """
    from PIL import Image

    try:
        with Image.open(path, formats=("PNG",)) as image:
            pixels = np.asarray(image.convert("RGB"))
    # Pillow says of a damaged file that it is one or another of these.
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise WeightsError(
            f"{path}: {error}", "a whole PNG", "train the world model again"
        ) from error
    height, width = sides(size)
    if pixels.shape != (SIDE * height, SIDE * width, 3):
        raise WeightsError(
            f"{path} is {pixels.shape[1]}x{pixels.shape[0]} pixels",
            f"{SIDE * width}x{SIDE * height}",
            "train the world model again",
        )
    tiles = pixels.reshape(SIDE, height, SIDE, width, 3).swapaxes(1, 2)
    return tiles.reshape(-1, height, width, 3)


class NearestFrameDecoder(JEPAWorldModel):
    """The house world model, able to show what it imagines (``planning``'s ``Imagination``)."""

    @staticmethod
    def illustrate(model: JEPAWorldModel, sheet: Path) -> NearestFrameDecoder:
        """The same model with the frames of ``sheet``.

        Raises:
            WeightsError: a sheet of another size.
        """
        self = NearestFrameDecoder(model.network, model.encoder, model.spec, model.cost)
        self.frames = read_sheet(sheet, model.spec.image_size)
        with torch.inference_mode():
            self.frame_latents = model.network.embed(model.encoder.encode_frames(self.frames))
        return self

    frames: np.ndarray
    frame_latents: torch.Tensor

    @torch.inference_mode()
    def nearest_frames(self, state: JepaState, actions: np.ndarray) -> np.ndarray:
        """Frames nearest to the imagined latents of a plan ``[H, A]``, uint8 ``[H, h, w, 3]``."""
        # Whitened, small details count as much as places; what looks alike is near unwhitened.
        whiten = self.network.whiten
        imagined = whiten.inverse(self.imagine(state, np.asarray(actions, np.float32)[None])[0])
        gaps = torch.cdist(imagined, whiten.inverse(self.frame_latents))
        return self.frames[gaps.argmin(dim=1).cpu().numpy()]
