"""Editing latents of an invented world whose latents are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from planning.ledger.edits import Probe, nearer
from robot_wm.cli.main import compose
from robot_wm.core.errors import ConfigError

MIXED = np.linalg.qr(np.random.default_rng(0).standard_normal((6, 6)))[0]


@dataclass
class Scene:
    """A place ``[2]`` and four numbers more; frames are the numbers themselves."""

    seen: np.ndarray
    done: np.ndarray
    actions: np.ndarray
    truth: np.ndarray
    by: np.ndarray
    moves: float


class Mixing:
    """Latents are a rotation of the numbers; each block adds its actions to the place.

    Args:
        deaf: whether the prediction goes on from the place that it was first told, as a model does
            that knows where a body is and does not use it.
    """

    def __init__(self, deaf: bool) -> None:
        self.deaf = deaf

    def latents(self, frames: np.ndarray) -> np.ndarray:
        return frames @ MIXED

    def continued(self, latents: np.ndarray, done: np.ndarray, actions: np.ndarray) -> np.ndarray:
        numbers = np.repeat((latents[-1] @ MIXED.T)[None], len(actions), 0)
        if self.deaf:
            numbers[:, :2] = 0
        numbers[:, :2] += np.cumsum(actions, 0)
        return numbers @ MIXED


def scenes(count: int, far: float) -> list[Scene]:
    rng, made = np.random.default_rng(1), []
    for i in range(count):
        seen = np.repeat(rng.standard_normal((1, 6)), 2, 0)
        actions, by = rng.standard_normal((5, 2)), rng.standard_normal(2)
        by *= far / np.linalg.norm(by)
        truth = np.repeat(seen[-1:], 5, 0)
        truth[:, :2] += by + np.cumsum(actions, 0)
        made.append(Scene(seen, np.zeros(2), actions, truth, by, moves=float(i % 2)))
    return made


def probe() -> Probe:
    numbers = np.random.default_rng(2).standard_normal((5000, 6)) * [1, 1, 3, 1, 1, 1]
    return Probe.fit(numbers @ MIXED, numbers[:, :2], held_out=100)


def test_the_probe_finds_the_direction() -> None:
    found = probe()
    assert found.r2 > 0.999
    # By unit of each place its own number changes, which the rotation spreads over all.
    np.testing.assert_allclose(found.direction @ np.eye(2), MIXED[:2].T, atol=0.15)


def test_a_model_that_uses_the_place_follows_the_edit() -> None:
    values = nearer(Mixing(deaf=False), probe(), scenes(40, 0.5), np.random.default_rng(0))
    assert values["nearer_pct"] == values["pushed_pct"] == 100
    assert values["error_left"] < 0.3
    assert values["random_pct"] < 75  # the control that must fail: half of it by chance


def test_a_model_that_does_not_use_it_stays_where_it_was() -> None:
    values = nearer(Mixing(deaf=True), probe(), scenes(40, 0.5), np.random.default_rng(0))
    assert values["nearer_pct"] < 80
    assert values["error_left"] == pytest.approx(1, abs=0.05)


def test_without_a_pushed_body_nothing_is_said_of_it() -> None:
    calm = [Scene(**{**vars(s), "moves": 0.0}) for s in scenes(4, 0.5)]
    assert "pushed_pct" not in nearer(Mixing(False), probe(), calm, np.random.default_rng(0))


def test_a_probe_needs_episodes_to_fit_on_and_others_to_be_scored_on() -> None:
    assert compose(["edits.episodes=2"]).edits.episodes == 2
    with pytest.raises(ConfigError, match=r"edits\.episodes"):
        compose(["edits.episodes=1"])
