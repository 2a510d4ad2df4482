import numpy as np
import pytest

from planning.evaluation.statistics import (
    bootstrap_two_level,
    holm,
    mcnemar_exact,
    mean_sd,
    normalised_excess,
    paired_p,
    wilson,
)


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


def test_mcnemar_closed_forms():
    assert mcnemar_exact(0, 0) == 1.0
    assert mcnemar_exact(0, 5) == 2 / 2**5  # 0.0625: five one-sided pairs are not enough
    assert mcnemar_exact(6, 0) == 2 / 2**6  # 0.03125: six are
    assert mcnemar_exact(1, 5) == 2 * (1 + 6) / 2**6
    assert mcnemar_exact(3, 3) == 1.0


def test_paired_p_counts_discordant_pairs_only():
    a = np.array([1] * 6 + [1] * 20 + [0] * 9, bool)
    b = np.array([0] * 6 + [1] * 20 + [0] * 9, bool)
    assert paired_p(a, b) == paired_p(b, a) == 2 / 2**6


def test_holm_by_hand():
    # Sorted .01 .03 .04 times 3 2 1 = .03 .06 .04, then made monotone.
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])


def test_mean_and_sample_sd():
    assert mean_sd([1.0, 2.0, 4.0]) == (pytest.approx(7 / 3), pytest.approx(np.sqrt(7 / 3)))
    assert mean_sd([5.0]) == (5.0, None)


def test_bootstrap_of_constant_rows_depends_on_seeds_only():
    # Two training seeds, all 0 and all 1: the mean of two draws is 0, .5 or 1 (25/50/25 %).
    table = np.array([[0.0] * 20, [1.0] * 20])
    assert bootstrap_two_level(table, np.random.default_rng(0), 2000) == (0.0, 1.0)
    half = bootstrap_two_level(table, np.random.default_rng(0), 2000, level=0.4)
    assert half == (0.5, 0.5)


def test_bootstrap_of_one_seed_matches_the_binomial_width():
    table = np.repeat([[1.0, 0.0]], 50, axis=1).reshape(1, 100)
    low, high = bootstrap_two_level(table, np.random.default_rng(1))
    # ± 1.96 sqrt(.25/100) = ± .098; quantiles lie on a .01 grid.
    assert low == pytest.approx(0.402, abs=0.012)
    assert high == pytest.approx(0.598, abs=0.012)


def test_normalised_excess():
    assert normalised_excess(0.6, 0.2) == pytest.approx(0.5)
    assert normalised_excess(1.0, 1.0) is None
