"""Goal pictures from files: as a viewer would show them, or refused with the reason."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from robot_wm.core.errors import InputError
from robot_wm.core.images import Size, sides, spelled

if TYPE_CHECKING:
    from PIL.Image import Image

# Closed: some of Pillow's other formats start programs.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "PPM", "TIFF")
MOST = 2**26  # pixels
PHOTOMETRIC = 262  # TIFF tag; 0: zero is white


def pictured(path: Path, size: Size) -> np.ndarray:
    """A picture file as uint8 ``[height, width, 3]``, its middle where the shape is another.

    The picture is turned as its camera says, 16 bits become 8, and what is transparent is seen on
    white. ``~`` is the user's home.

    Raises:
        InputError: no such file, not a picture, or one of unclear meaning: several frames, numbers
            out of their usual range, nothing but transparency, or smaller than asked for.
    """
    from PIL import Image, ImageOps

    try:
        path = path.expanduser()
        if not path.is_file():  # opening a pipe would wait for ever
            raise _refused(path, "no such file", "the path of a picture")
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                _check(path, image, size)
                ImageOps.exif_transpose(image, in_place=True)
                plain = _plain(path, image)
        wanted = sides(size)[::-1]  # Pillow says width first
        return np.asarray(ImageOps.fit(plain, wanted, Image.Resampling.BOX))
    except InputError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError) as error:
        raise _refused(path, "too large", f"at most {MOST} pixels") from error
    # Decoders raise whatever a damaged file makes of them: OSError, SyntaxError, struct.error, ...
    except Exception as error:
        raise _refused(path, f"{error}", f"a whole picture file: {', '.join(FORMATS)}") from error


def _refused(path: Path, found: str, accepted: str) -> InputError:
    return InputError(f"{path}: {found}", accepted, "correct reach.image, or save it as 8-bit PNG")


def _check(path: Path, image: Image, size: Size) -> None:
    """Refuse sizes and films before any pixel is decoded."""
    width, height = image.size
    if width * height > MOST:
        raise _refused(path, f"{width}x{height} pixels", f"at most {MOST} pixels")
    if height < sides(size)[0] or width < sides(size)[1]:
        raise _refused(path, f"{width}x{height} pixels", f"at least {spelled(size)} pixels")
    # MPO is what some telephones make of JPEG: further frames are previews.
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
        raise _refused(path, f"{getattr(image, 'n_frames', 1)} frames", "a picture of one frame")


def _plain(path: Path, image: Image) -> Image:
    """The picture in 8-bit red, green and blue."""
    from PIL import Image

    if image.mode.startswith(("I", "F")):
        return _gray(path, image)
    if not image.has_transparency_data:
        return image.convert("RGB")
    clear = image.convert("RGBA")
    if clear.getchannel("A").getextrema()[1] == 0:
        raise _refused(path, "transparent all over", "a picture in which something is seen")
    white = Image.new("RGBA", clear.size, "white")
    return Image.alpha_composite(white, clear).convert("RGB")


def _gray(path: Path, image: Image) -> Image:
    """Grey levels of 16 bits or in [0, 1] as 8-bit red, green and blue."""
    from PIL import Image

    white_is_zero = getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == 0
    # 32-bit whole numbers have no usual range, except where the format has 16 bits at most.
    wide = image.mode == "I" and image.format not in ("PNG", "PPM")
    if white_is_zero or wide or "transparency" in image.info:
        raise _refused(path, f"grey levels of kind {image.mode}", "8 or 16 bits, black is 0")
    levels = np.asarray(image, np.float32)
    top, words = (1.0, "0 to 1") if image.mode == "F" else (65535.0, "0 to 65535")
    if not (levels.min() >= 0 and levels.max() <= top):  # NaN, too
        raise _refused(path, f"levels of {levels.min():g} to {levels.max():g}", words)
    return Image.fromarray(np.round(levels * (255 / top)).astype(np.uint8)).convert("RGB")
