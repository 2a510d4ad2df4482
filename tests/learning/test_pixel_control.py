"""Where chance decides, the control draws both ways faintly; where it can know, one of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from robot_wm.core.errors import DataError
from robot_wm.data.episodes import Episode
from robot_wm.probing.control_config import PixelControlConfig
from robot_wm.probing.pixel_control import trained

SIZE, EVERY = 16, 2
CONFIG = PixelControlConfig(steps=150, batch=16, width=8, lr=5e-3)


def episode(number: int, side: int, told: bool) -> Episode:
    """A square in the middle that is at the left (0) or right (1) from the third frame on.

    Args:
        told: whether the frames before show where it will go.
    """
    frames = np.zeros((4, SIZE, SIZE, 3), np.uint8)
    frames[:2, 6:10, 6:10] = 255
    frames[2:, 6:10, (1, 11)[side] : (5, 15)[side]] = 255
    if told:
        frames[:, 0:3, (0, 13)[side] : (3, 16)[side]] = 255
    nothing = np.zeros((7, 0))
    return Episode(number, frames, nothing, nothing, nothing, np.zeros((6, 1), np.float32), {})


def episodes(told: bool) -> list[Episode]:
    return [episode(i, i % 2, told) for i in range(16)]


def contrasts(told: bool, out: Path) -> np.ndarray:
    """Brightness ``[2 ways, 2 places]`` where the square may be, in the last frame."""
    known = episodes(told)
    control = trained(CONFIG, known, EVERY, 3, "data", out)
    frames = [control.draw(e.frames[:2], np.zeros((3, EVERY)))[-1, 6:10] for e in known[:2]]
    return np.array([[f[:, 1:5].mean(), f[:, 11:15].mean()] for f in frames]) / 255


def test_chance_is_blurred(tmp_path: Path) -> None:
    np.testing.assert_allclose(contrasts(False, tmp_path), 0.5, atol=0.12)


def test_what_is_told_is_not(tmp_path: Path) -> None:
    np.testing.assert_allclose(contrasts(True, tmp_path), np.eye(2), atol=0.12)


def test_a_control_is_trained_once_and_for_its_own_episodes(tmp_path: Path) -> None:
    config, known = PixelControlConfig(steps=3, batch=4, width=4), episodes(False)
    first = trained(config, known, EVERY, 3, "data", tmp_path)
    weights = tmp_path / "pixel_control" / "weights.safetensors"
    written = weights.stat().st_mtime_ns
    again = trained(config, known, EVERY, 3, "data", tmp_path)
    assert weights.stat().st_mtime_ns == written
    for a, b in zip(first.parameters(), again.parameters(), strict=True):
        assert np.array_equal(a.detach(), b.detach())
    with pytest.raises(DataError, match="steps"):
        trained(PixelControlConfig(steps=4, batch=4, width=4), known, EVERY, 3, "data", tmp_path)
    with pytest.raises(DataError, match="dataset"):
        trained(config, known, EVERY, 3, "others", tmp_path)
