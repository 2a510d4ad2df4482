"""What is constant through an episode, read from its pictures."""

from types import SimpleNamespace

import numpy as np
import pytest

from robot_wm.core.errors import DataError
from robot_wm.data.episodes import SPLITS
from robot_wm.probing.episode_factor import linear_r2, read_factor


def part(count: int, seed: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, 6)) * [1, 1, 1, 1, 1, 1000] + 5  # one in another unit
    told = 2 * x[:, 0] - x[:, 1] + x[:, 5] / 1000
    return x, told + noise * rng.standard_normal(count)


def test_a_linear_factor_is_read_up_to_its_noise_and_nothing_from_noise() -> None:
    assert linear_r2(part(400, 0, 0), part(200, 1, 0), part(200, 2, 0)) > 0.9999
    # Variance 6 of what is told, 6 of noise: half of it can be known.
    half = linear_r2(*(part(4000, seed, 6**0.5) for seed in range(3)))
    assert half == pytest.approx(0.5, abs=0.05)
    x, y = part(400, 0, 0)
    nothing = [(np.random.default_rng(s).standard_normal(x.shape), y) for s in range(3)]
    assert abs(linear_r2(*nothing)) < 0.05


class Store:
    """Episodes that are as bright as their light, with a square that is not."""

    root, task = "here", "room"

    def __init__(self, light: object = None) -> None:
        rng = np.random.default_rng(0)
        self.lights = [light or float(v) for v in rng.uniform(0.5, 1.5, 60)]
        self.schema = SimpleNamespace(task="room")

    def indices(self, split: str) -> list[int]:
        return list(range(SPLITS.index(split), 60, 3))

    def meta(self, index: int) -> dict:
        return {"factors": {"light": self.lights[index]}}

    def __getitem__(self, index: int) -> SimpleNamespace:
        frames = np.full((5, 8, 8, 3), 100.0 * float(self.lights[index]))
        frames[np.arange(5), np.arange(5), 0] = 255
        return SimpleNamespace(frames=frames.astype(np.uint8))


def test_the_light_of_an_episode_is_read_from_tokens_that_tell_it_alone() -> None:
    def tokens(frames: np.ndarray) -> np.ndarray:
        return frames.reshape(len(frames), 16, 12).astype(np.float32)

    found = read_factor(Store(), tokens, "light")
    assert found.r2 > 0.99
    assert (found.fitted, found.episodes) == (20, 20)
    blind = read_factor(Store(), lambda frames: np.zeros((len(frames), 16, 12)), "light")
    assert blind.r2 < 0.01


def test_a_factor_that_is_no_number_is_refused() -> None:
    for store, factor in ((Store(light="dim"), "light"), (Store(), "colour")):
        with pytest.raises(DataError, match=factor):
            read_factor(store, lambda frames: frames, factor)
