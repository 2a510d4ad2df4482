"""What keeps features apart, against closed forms."""

import math

import pytest
import torch

from robot_wm.training.regularizers import barlow, sigreg, variance_covariance

ZEROS = math.sqrt(2 * math.pi) - 2 * math.sqrt(math.pi) + math.sqrt(2 * math.pi / 3)  # .409


def normal(rows: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def chance() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def test_vicreg_of_a_normal_sample_is_sampling_error() -> None:
    rows = normal(4096, 32)
    hinge, covariance = variance_covariance(rows - rows.mean(0), len(rows) - 1)
    # A covariance off the diagonal errs by 1/√4096; Σ over 31 others of its square / 1.
    assert covariance.item() == pytest.approx(31 / 4096, rel=0.3)
    assert hinge < 0.02
    hinge, covariance = variance_covariance(0 * rows, len(rows) - 1)
    assert (hinge.item(), covariance.item()) == (pytest.approx(0.99), 0)


def test_barlow_of_equal_whitened_views_is_zero_and_counts_what_differs() -> None:
    white = math.sqrt(512) * torch.linalg.qr(normal(512, 16) - normal(512, 16).mean(0))[0]
    alike, redundant = barlow(white, white)
    assert alike.item() == pytest.approx(0, abs=1e-6)  # 1e-5 beside each variance
    assert redundant.item() == pytest.approx(0, abs=1e-6)
    alike, _ = barlow(white, -white)
    assert alike.item() == pytest.approx(4 * 16, rel=1e-3)  # every correlation is -1
    copies = white[:, :1].expand(-1, 16)
    assert barlow(copies, copies)[1].item() == pytest.approx(16 * 15, rel=1e-3)


def test_sigreg_of_zeros_grows_with_their_number() -> None:
    for count in (64, 1024):
        found = sigreg(torch.zeros(count, 8), chance(), 32, knots=61, reach=6.0)
        assert found.item() == pytest.approx(ZEROS * count, rel=1e-3)
    assert pytest.approx(0.409, abs=5e-4) == ZEROS
    # On [-3, 3] the two tails are missing: 2·∫_3^∞ e^{-t²/2} = .0068.
    assert sigreg(torch.zeros(64, 8), chance(), 32).item() == pytest.approx(0.402 * 64, rel=0.01)


def test_sigreg_of_a_normal_sample_stays_of_order_one() -> None:
    values = [sigreg(normal(count, 16), chance(), 256).item() for count in (64, 512, 4096)]
    # Expectation N·Var: ∫ (1 − e^{−t²}) e^{−t²/2} dt = √(2π) − √(2π/3) = 1.06, whatever N.
    for value in values:
        assert value == pytest.approx(math.sqrt(2 * math.pi) * (1 - 3**-0.5), rel=0.4)
    skewed = normal(4096, 16).exp()
    assert sigreg(skewed, chance(), 256) > 50 * values[-1]


def test_sigreg_averages_over_samples_that_stand_side_by_side() -> None:
    parts = torch.stack([normal(64, 8, 1), 3 * normal(64, 8, 2)])
    alone = [sigreg(part, chance(), 64) for part in parts]
    torch.testing.assert_close(sigreg(parts, chance(), 64), torch.stack(alone).mean())


def test_every_regularizer_pulls_apart_what_has_collapsed() -> None:
    z = (0.01 * normal(256, 8)).requires_grad_()
    terms = {
        "variance": variance_covariance(z, 255)[0],
        "sigreg": sigreg(z, chance(), 64),
    }
    for name, term in terms.items():
        (slope,) = torch.autograd.grad(term, z)
        assert (slope * z).sum() < 0, name  # growing lowers it
