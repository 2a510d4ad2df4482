"""Accuracies of surprise by closed form, and a control that must fail."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from planning.surprise.results import add_rows, read_rows, render, render_section, rows_of
from planning.surprise.scores import (
    BothViews,
    PixelDifference,
    auroc,
    best_pooling,
    bootstrap,
    judged,
    pairwise,
    pooled,
)
from robot_wm.core.errors import DataError, WeightsError
from robot_wm.core.symmetry import Mirror


@dataclass
class Clips:
    possible: np.ndarray
    impossible: np.ndarray
    actions: np.ndarray


def found(possible: list[list[float]], impossible: list[list[float]]):
    return [(np.array(a), np.array(b)) for a, b in zip(possible, impossible, strict=True)]


def test_pairs_are_counted_and_ties_are_one_half() -> None:
    scores = np.array([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0], [0.0, 9.0]])
    assert pairwise(scores) == 2.5 / 4


def test_the_area_is_that_of_every_clip_against_every_other() -> None:
    # of 4 comparisons 1 > 0, 1 < 2, 3 > 0, 3 > 2
    assert auroc(np.array([[0.0, 1.0], [2.0, 3.0]])) == 3 / 4
    assert auroc(np.array([[1.0, 1.0]])) == 0.5


def test_the_interval_holds_the_truth_and_narrows_with_scenes() -> None:
    rng = np.random.default_rng(0)
    widths = []
    for n in (50, 800):
        right = rng.random(n) < 0.8
        scores = np.stack([np.zeros(n), np.where(right, 1.0, -1.0)], 1)
        low, high = bootstrap(pairwise, scores, np.random.default_rng(1))
        assert low < right.mean() < high
        widths.append(high - low)
    # The width goes with the root of the number of scenes, here 4; resampling errs a little.
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.35)


def test_the_pooling_that_tells_pairs_apart_is_chosen() -> None:
    # The impossible clip has one peak and is calm otherwise.
    peaks = found([[2, 2, 2]] * 4, [[0, 3, 0]] * 4)
    assert pairwise(pooled(peaks, "mean")) == 0
    assert best_pooling(peaks) == "max"
    level = found([[0, 3, 0]] * 4, [[2, 2, 2]] * 4)
    assert best_pooling(level) == "mean"


def test_pixels_are_their_mean_change() -> None:
    frames = np.zeros((3, 4, 4, 3), np.uint8)
    frames[1, :2] = 100
    np.testing.assert_allclose(
        PixelDifference().surprise(frames, np.zeros((2, 1), np.float32)), [50, 50]
    )


def test_both_views_are_a_mean() -> None:
    class Top:
        """Brightness of the upper left pixel, and the first action."""

        def surprise(self, frames: np.ndarray, actions: np.ndarray) -> np.ndarray:
            return frames[1:, 0, 0, 0] + actions[:, 0]

    frames = np.zeros((2, 2, 2, 3), np.uint8)
    frames[1, 0, 0], frames[1, 0, 1] = 10, 30
    mirror = Mirror("left-right", (0,), (-1.0,))
    both = BothViews(Top(), mirror)
    assert both.surprise(frames, np.ones((1, 1), np.float32)) == (10 + 1 + 30 - 1) / 2


def test_clips_without_a_difference_are_chance() -> None:
    rng = np.random.default_rng(0)
    clips = rng.integers(0, 255, (6, 5, 4, 4, 3), dtype=np.uint8)
    pairs = [Clips(c, c, np.zeros((4, 2), np.float32)) for c in clips]
    scores = pooled(judged(PixelDifference(), pairs), "mean")
    assert pairwise(scores) == 0.5
    assert auroc(scores) == pytest.approx(0.5)


def test_surprise_that_is_no_number_is_refused() -> None:
    class Lost:
        def surprise(self, frames: np.ndarray, actions: np.ndarray) -> np.ndarray:
            return np.full(len(actions), np.nan)

    clip = np.zeros((3, 4, 4, 3), np.uint8)
    with pytest.raises(WeightsError, match="NaN"):
        judged(Lost(), [Clips(clip, clip, np.zeros((2, 2), np.float32))])


def some_rows():
    good, bad = found([[0.0]] * 4, [[1.0]] * 4), found([[1.0]] * 4, [[0.0]] * 4)
    test = {"inertia": good, "solidity": bad, "gravity": bad}
    info = {"task": "push_t", "seed": 0, "model_sha256": "a", "date": "2026"}
    return rows_of("jepa", test, test, ["gravity"], info)


def test_other_scenes_are_no_part_of_all(tmp_path) -> None:
    rows = some_rows()
    by = {row["category"]: row for row in rows}
    assert (by["all"]["pairwise_pct"], by["all"]["pairs"]) == (50, 8)
    assert (by["inertia"]["pairwise_pct"], by["gravity"]["pairwise_pct"]) == (100, 0)
    assert not by["gravity"]["own_scene"]
    path = tmp_path / "physics" / "push_t.jsonl"
    add_rows(path, rows)
    add_rows(path, rows)  # the same ones measured again
    assert read_rows(path) == rows
    text = render_section(tmp_path)
    assert "### push_t" in text
    assert "gravity ¹" in text
    assert "| jepa | 100 | 0 | 0 | 50 |" in render(rows)
    assert render_section(tmp_path / "elsewhere") == ""


def test_a_line_that_is_no_row_is_refused(tmp_path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"method": "jepa"}\n')
    with pytest.raises(DataError):
        read_rows(path)
