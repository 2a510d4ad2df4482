"""Noise over what an agent sees: its size, what stays, and that the evaluator shares it."""

from __future__ import annotations

import numpy as np
import pytest

from planning.evaluation.overlays import overlay
from robot_wm.core.errors import ConfigError

GREY = np.full((32, 32, 3), 128, np.uint8)


def test_noise_has_the_size_that_was_asked_for() -> None:
    noise = overlay("new:0.1", 0)(GREY).astype(float) - 128
    # 3072 draws of standard deviation 25.5: their mean errs by .46, their deviation by .33.
    assert abs(noise.mean()) < 2
    assert noise.std() == pytest.approx(25.5, abs=1.5)


def test_new_noise_changes_and_fixed_noise_stays() -> None:
    new, fixed = overlay("new:0.1", 0), overlay("fixed:0.1", 0)
    assert (new(GREY) != new(GREY)).any()
    np.testing.assert_array_equal(fixed(GREY), fixed(GREY))
    several = fixed(np.stack([GREY, GREY]))
    np.testing.assert_array_equal(several[0], several[1])
    np.testing.assert_array_equal(overlay("new:0.1", 0)(GREY), overlay("new:0.1", 0)(GREY))
    assert (overlay("fixed:0.1", 1)(GREY) != fixed(GREY)).any()
    assert overlay("", 0)(GREY) is GREY


@pytest.mark.parametrize("name", ["old:0.1", "new", "new:0", "fixed:2", "new:much", "new:nan"])
def test_other_overlays_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"new:LEVEL"):
        overlay(name, 0)
