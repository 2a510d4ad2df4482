"""Many small pictures with their names in one file."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping

import numpy as np

COLUMNS = 8
LINE = 11  # height of a name [px]
COLORS = 64  # of the file's palette


def contact_sheet(pictures: Mapping[str, np.ndarray]) -> bytes:
    """Pictures uint8 ``[height, width, 3]`` of one size, one or more, as a PNG of few colours.

    Args:
        pictures: by name; of ``factor:level`` both parts stand on lines of their own.
    """
    from PIL import Image, ImageDraw

    height, width, _ = next(iter(pictures.values())).shape
    tall, wide = height + 2 * LINE + 2, width + 4
    rows = math.ceil(len(pictures) / COLUMNS)
    sheet = Image.new("RGB", (min(len(pictures), COLUMNS) * wide, rows * tall), "white")
    pen = ImageDraw.Draw(sheet)
    for index, (name, picture) in enumerate(pictures.items()):
        x, y = index % COLUMNS * wide, index // COLUMNS * tall
        for line, text in enumerate(name.split(":")):
            pen.text((x + 2, y + line * LINE), text[: width // 5], fill="black", font_size=9)
        sheet.paste(Image.fromarray(picture), (x + 2, y + 2 * LINE))
    stream = io.BytesIO()
    sheet.quantize(COLORS).save(stream, "PNG", optimize=True)
    return stream.getvalue()
