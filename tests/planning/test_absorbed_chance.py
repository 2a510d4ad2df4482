"""Probes of an invented world whose latents are known; pictures with a ball here, there, both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from planning.commands.parts.ridge import absorbing, sheet
from planning.ledger.ridge import Drawn, Probe, Probes, between, clock, nearest, pictured
from robot_wm.cli.main import compose
from robot_wm.core.errors import ConfigError
from robot_wm.core.metrics import auroc
from sim.physics.ridge import possible
from sim.tasks.ridge import HEIGHT

MIXED = np.linalg.qr(np.random.default_rng(0).standard_normal((8, 8)))[0]


@dataclass
class Facts:
    landed: np.ndarray
    touching: np.ndarray
    right: np.ndarray
    height: np.ndarray


def facts(count: int, rng: np.random.Generator) -> Facts:
    """Balls that land in the fourth or fifth of six frames."""
    number = np.arange(6)[None]
    lands = rng.integers(3, 5, (count, 1))
    landed = number >= lands
    touching = landed | (number == lands - 1)
    height = np.where(landed, 0.0, HEIGHT * (lands - number) / 2)
    right = np.repeat(rng.random((count, 1)) < 0.5, 6, 1)
    return Facts(landed, touching, right, height)


def latents(told: Facts, rng: np.random.Generator) -> np.ndarray:
    """A rotation of landed, touching, height, side where it has landed, and four of noise."""
    side = np.where(told.landed, 2.0 * told.right - 1, 0)
    numbers = [2.0 * told.landed - 1, 2.0 * told.touching - 1, told.height * 10, side]
    noise = rng.standard_normal((*told.landed.shape, 4))
    return np.concatenate([np.stack(numbers, -1), noise], -1) @ MIXED


def change(rows: np.ndarray, entry: int, value: float, factor: float = 0.0) -> np.ndarray:
    """Latents with one of the numbers that they are made of multiplied and added to."""
    numbers = rows @ MIXED.T
    numbers[..., entry] = factor * numbers[..., entry] + value
    return numbers @ MIXED


@pytest.fixture
def world():
    rng = np.random.default_rng(1)
    known, asked = facts(300, rng), facts(400, rng)
    return Probes.fit(latents(known, rng), known), asked, latents(asked, rng)


def test_probes_tell_what_is_there(world) -> None:
    probes, asked, truth = world
    found = probes.read(truth, asked, possible)
    assert all(found[name] > 0.999 for name in ("landed_auc", "side_auc", "touching_auc", "valid"))
    assert found["height_r2"] > 0.99


def test_a_mean_of_both_ways_says_nothing_of_the_side_and_is_called_a_mean(world) -> None:
    probes, asked, truth = world
    mean, other = change(truth, 3, 0.0), change(truth, 3, 0.0, -1.0)
    mean = mean + 0.01 * np.random.default_rng(2).standard_normal(mean.shape)
    found = probes.read(mean, asked, possible)
    assert found["side_auc"] == pytest.approx(0.5, abs=0.05)
    assert found["landed_auc"] > 0.999
    assert found["valid"] > 0.99
    assert between(mean, truth, other, asked.landed) > 0.99
    # A model that makes up its mind does not know the side either, and is no mean.
    sides = np.where(np.random.default_rng(3).random(400) < 0.5, 1.0, -1.0)[:, None]
    decided = change(truth, 3, 0.0) + np.where(asked.landed, sides, 0)[..., None] * MIXED[3]
    assert probes.read(decided, asked, possible)["side_auc"] == pytest.approx(0.5, abs=0.07)
    assert between(decided, truth, other, asked.landed) < 0.01


def test_what_hovers_or_sinks_is_not_valid(world) -> None:
    probes, asked, truth = world
    lands = asked.landed.mean()
    hovering = probes.read(change(truth, 2, 0.5, 1.0), asked, possible)  # 50 mm higher
    assert hovering["valid"] < 1.01 - lands
    assert probes.read(change(truth, 2, -3.0, 0.0), asked, possible)["valid"] < 0.01  # all below
    loose = probes.read(change(truth, 1, -1.0), asked, possible)  # nothing touches it, ever
    assert loose["valid"] == pytest.approx(1 - lands, abs=0.02)


def test_a_probe_of_chance_is_a_coin() -> None:
    rng = np.random.default_rng(0)
    rows, labels = rng.standard_normal((3000, 8)), rng.random(3000) < 0.5
    read = Probe.fit(rows[:2000], labels[:2000])(rows[2000:])
    assert auroc(read[~labels[2000:]], read[labels[2000:]]) == pytest.approx(0.5, abs=0.06)


def test_log_odds_are_those_of_the_data() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((40_000, 1))
    labels = rng.random(40_000) < 1 / (1 + np.exp(-(1.5 * rows[:, 0] - 0.5)))
    probe = Probe.fit(rows, labels)
    # The penalty of 0.01 draws the weight a little towards 0.
    assert probe.weights[0] == pytest.approx(1.5, abs=0.15)
    assert probe(np.zeros(1)) == pytest.approx(-0.5, abs=0.08)


def test_areas_and_the_clock() -> None:
    assert auroc(np.array([0.0, 1.0]), np.array([2.0, 3.0])) == 1
    assert auroc(np.array([1.0, 1.0]), np.array([1.0])) == 0.5
    told = facts(200, np.random.default_rng(0))
    assert 0.9 < clock(told) < 1  # only the frame in which some have landed is not told


def test_the_nearest_pictures() -> None:
    bank, pictures = np.array([[0.0, 0], [1, 1], [5, 5]]), np.array([10, 11, 12])
    assert nearest(np.array([[0.9, 0.8], [9, 9]]), bank, pictures).tolist() == [11, 12]


def picture(*columns: int) -> np.ndarray:
    image = np.full((24, 48, 3), 200, np.uint8)
    for column in columns:
        image[12:18, column : column + 6] = (20, 60, 190)
    return image


LEFT, RIGHT = picture(8), picture(34)
BLUR = ((LEFT.astype(int) + RIGHT) // 2).astype(np.uint8)


@pytest.mark.parametrize(
    ("shown", "left", "right", "sharpness"),
    [
        (LEFT, 1, 0, 1),
        (RIGHT, 0, 1, 1),
        (BLUR, 0.5, 0.5, 0.5),  # half the contrast at both places: twice a quarter of the energy
        (picture(8, 34), 1, 1, 2),
        (picture(21), 0, 0, 0),
    ],
)
def test_how_much_of_a_ball_is_where(
    shown: np.ndarray, left: float, right: float, sharpness: float
) -> None:
    found = Drawn.of(shown, LEFT, RIGHT)
    assert (found.left, found.right) == pytest.approx((left, right), abs=0.01)
    assert found.sharpness == pytest.approx(sharpness, abs=0.05)


def test_shares_of_impossible_pictures() -> None:
    ways = [(LEFT, RIGHT, False), (RIGHT, LEFT, True)]
    certain = pictured([(truth, truth, other, right) for truth, other, right in ways])
    assert certain["side_auc"] == certain["whole"] == 1
    assert certain["impossible"] == 0
    blurred = pictured([(BLUR, truth, other, right) for truth, other, right in ways])
    assert blurred["both"] == blurred["impossible"] == 1
    assert blurred["side_auc"] == 0.5
    empty = pictured([(picture(21), truth, other, right) for truth, other, right in ways])
    assert (empty["neither"], empty["both"], empty["impossible"]) == (1, 0, 1)


def test_a_sheet_has_a_line_for_each_truth_and_each_dream() -> None:
    from io import BytesIO

    from PIL import Image

    @dataclass
    class Clip:
        frames: np.ndarray
        other: np.ndarray

    clips = [Clip(np.stack([LEFT] * 4), np.stack([RIGHT] * 4))] * 2
    dreams = [np.stack([BLUR] * 2)] * 2
    image = np.asarray(Image.open(BytesIO(sheet(clips, dreams, dreams))))[::2, ::2]
    assert image.shape == (2 * (4 * 24 + 4), 4 * 48, 3)
    assert np.array_equal(image[48:72, 96:144], BLUR)  # after two frames that were seen
    assert np.array_equal(image[48:72, :48], LEFT)


def test_only_its_own_scene_has_a_ridge(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("ROBOT_WM_HOME", str(tmp_path))
    with pytest.raises(ConfigError, match="task=ridge"):
        absorbing(compose(["task=push_t", "ridge.clips=2"]), (tmp_path, tmp_path))


def test_the_experiment_asks_for_it_on_the_shipped_encoder() -> None:
    settings = compose(["task=ridge", "experiment=ridge"])
    settings.check()
    assert settings.ridge.clips >= 400  # a share of .05 is two standard deviations of chance
    assert (settings.encoder_name, settings.weights) == ("shipped", settings.name)
    config = settings.train_config()
    assert len(config.dynamics_rollout) == 7 < config.window  # frames after the second of nine
    with pytest.raises(ConfigError, match=r"control\.batch"):
        compose(["ridge.control.batch=1"])
