import numpy as np
import pytest

from planning.evaluation.statistics import mean_sd, wilson


@pytest.mark.parametrize(
    ("successes", "episodes", "low", "high"),
    [(45, 50, 78.6, 95.7), (90, 100, 82.6, 94.5), (270, 300, 86.1, 92.9), (0, 10, 0.0, 27.8)],
)
def test_wilson_matches_published_values(successes, episodes, low, high):
    got = wilson(successes, episodes)
    assert 100 * got.low == pytest.approx(low, abs=0.06)
    assert 100 * got.high == pytest.approx(high, abs=0.06)


def test_wilson_is_symmetric_and_stays_inside():
    for k in range(11):
        a, b = wilson(k, 10), wilson(10 - k, 10)
        assert a.low == pytest.approx(1 - b.high, abs=1e-12)
        assert 0 <= a.low <= k / 10 <= a.high <= 1
    assert wilson(0, 0) == (0.0, 1.0)


def test_mean_and_sample_sd():
    assert mean_sd([1.0, 2.0, 4.0]) == (pytest.approx(7 / 3), pytest.approx(np.sqrt(7 / 3)))
    assert mean_sd([5.0]) == (5.0, None)
