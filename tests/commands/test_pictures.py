"""Goal pictures from files: each is what a viewer shows, or refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from planning.commands.parts.pictures import pictured
from robot_wm.core.errors import InputError

SIZE = 32


def drawn() -> np.ndarray:
    """A white ground with a red and a blue box, uint8 ``[64, 64, 3]``."""
    image = np.full((64, 64, 3), 255, np.uint8)
    image[10:30, 15:25] = (200, 60, 40)
    image[40:50, 5:55] = (50, 80, 220)
    return image


RGB = drawn()
GRAY = np.repeat(RGB.mean(-1)[..., None], 3, -1)


def small(image: np.ndarray) -> np.ndarray:
    plain = Image.fromarray(np.round(image).astype(np.uint8))
    return np.asarray(ImageOps.fit(plain, (SIZE, SIZE), Image.Resampling.BOX)).astype(int)


def clear(alpha: int) -> Image.Image:
    """What is white in the picture is green, and as opaque as ``alpha``."""
    white = (RGB == 255).all(-1)
    levels = np.where(white, alpha, 255).astype(np.uint8)
    return Image.fromarray(np.dstack([np.where(white[..., None], (0, 255, 0), RGB), levels])
                           .astype(np.uint8))  # fmt: skip


def turned() -> dict[str, Any]:
    exif = Image.Exif()
    exif[0x0112] = 6
    return {"exif": exif}


KINDS: dict[str, tuple[Callable[[], Image.Image], dict[str, Any], np.ndarray, float]] = {
    "plain.png": (lambda: Image.fromarray(RGB), {}, RGB, 0),
    "plain.webp": (lambda: Image.fromarray(RGB), {"lossless": True}, RGB, 0),
    "turned.png": (lambda: Image.fromarray(np.rot90(RGB).copy()), turned(), RGB, 0),
    "turned.jpg": (lambda: Image.fromarray(np.rot90(RGB).copy()), turned() | {"quality": 98}, RGB,
                   4),
    "turned.tiff": (lambda: Image.fromarray(np.rot90(RGB).copy()), turned(), RGB, 0),
    "clear.png": (lambda: clear(0), {}, RGB, 0),
    "half.png": (lambda: clear(128), {},
                 np.where((RGB == 255).all(-1, keepdims=True), (127, 255, 127), RGB), 1),
    "keyed.png": (lambda: Image.fromarray(RGB), {"transparency": (200, 60, 40)},
                  np.where((RGB == (200, 60, 40)).all(-1, keepdims=True), 255, RGB), 0),
    "palette.png": (lambda: Image.fromarray(RGB).quantize(8), {}, RGB, 3),
    "palette-clear.png": (lambda: clear(0).quantize(8), {}, RGB, 3),
    "film-of-one.gif": (lambda: Image.fromarray(RGB), {}, RGB, 3),
    "cmyk.jpg": (lambda: Image.fromarray(RGB).convert("CMYK"), {"quality": 98}, RGB, 4),
    "grey.png": (lambda: Image.fromarray(GRAY[..., 0].astype(np.uint8)), {}, GRAY, 1),
    "bits.png": (lambda: Image.fromarray(RGB[..., 1] > 70), {},
                 np.repeat((RGB[..., 1:2] > 70) * 255, 3, -1), 0),
    "sixteen.png": (lambda: Image.fromarray((GRAY[..., 0] * 257).astype(np.uint16)), {}, GRAY, 1),
    "sixteen.tiff": (lambda: Image.fromarray((GRAY[..., 0] * 257).astype(np.uint16)), {}, GRAY, 1),
    "sixteen.ppm": (lambda: Image.fromarray((GRAY[..., 0] * 257).astype(np.int32)), {}, GRAY, 1),
    "unit.tiff": (lambda: Image.fromarray((GRAY[..., 0] / 255).astype(np.float32)), {}, GRAY, 1),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_a_picture_is_what_a_viewer_shows(tmp_path: Path, name: str) -> None:
    made, options, wanted, off = KINDS[name]
    made().save(tmp_path / name, **options)
    assert np.abs(pictured(tmp_path / name, SIZE) - small(wanted)).mean() <= off


def film(path: Path) -> None:
    frames = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def half_a_file(path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    os.truncate(path, path.stat().st_size // 2)


def bright(top: float) -> Callable[[Path], None]:
    return lambda path: Image.fromarray((GRAY[..., 0] / 255 * top).astype(np.float32)).save(path)


REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "huge.png": (lambda p: Image.new("1", (20_000, 20_000)).save(p), "too large"),
    "large.png": (lambda p: Image.new("1", (9_000, 9_000)).save(p), "9000x9000"),
    "tiny.png": (lambda p: Image.fromarray(RGB[:20]).save(p), "64x20 pixels"),
    "nothing.png": (lambda p: Image.new("RGBA", (64, 64)).save(p), "transparent all over"),
    "film.gif": (film, "2 frames"),
    "film.webp": (film, "2 frames"),
    "half.png": (half_a_file, "half.png"),
    "half.jpg": (half_a_file, "truncated"),
    "empty.png": (lambda p: p.write_bytes(b""), "empty.png"),
    "text.png": (lambda p: p.write_text("no picture", encoding="utf-8"), "text.png"),
    "folder.png": (lambda p: p.mkdir(), "no such file"),
    "pipe.png": (os.mkfifo, "no such file"),
    "none.png": (lambda p: None, "no such file"),
    "long.tiff": (lambda p: Image.fromarray(GRAY[..., 0].astype(np.int32)).save(p), "kind I"),
    "bright.tiff": (bright(2), "levels of"),
    "bytes.tiff": (bright(255), "levels of"),
    "nan.tiff": (lambda p: Image.fromarray(np.full((64, 64), np.nan, np.float32)).save(p), "nan"),
    "page.eps": (lambda p: Image.fromarray(RGB).save(p), "page.eps"),  # would run Ghostscript
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_picture_or_may_be_several_is_refused(tmp_path: Path, name: str) -> None:
    make, words = REFUSED[name]
    make(tmp_path / name)
    with pytest.raises(InputError, match=words) as caught:
        pictured(tmp_path / name, SIZE)
    assert "reach.image" in caught.value.next_step


def test_names_that_no_system_takes_are_refused() -> None:
    for name in ("a\0b.png", "x" * 5000):
        with pytest.raises(InputError):
            pictured(Path(name), SIZE)


def test_home_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    Image.fromarray(RGB).save(tmp_path / "goal.png")
    assert np.array_equal(pictured(Path("~/goal.png"), SIZE), small(RGB))
