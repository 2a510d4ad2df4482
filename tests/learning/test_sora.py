"""The video model: straight flows from noise, latents of unit spread, frames made together."""

import numpy as np
import pytest
import torch
from moving_square import SIZE, draw, make_dataset
from tiny_jepa import SPEC

from robot_wm.data.formats.base import open_episodes
from robot_wm.data.windows import frame_windows
from robot_wm.world_models.sora.config import SoraConfig
from robot_wm.world_models.sora.flow import SEEN, between, euler, levels
from robot_wm.world_models.sora.network import SCALED, Sora

TINY = SoraConfig("square", channels=8, width=16, depth=1, heads=2)
MEAN, SPREAD = 1.5, 0.5  # of a Gaussian to be generated


@pytest.fixture
def sora():
    torch.manual_seed(0)
    made = Sora(TINY, SPEC)
    for parameter in (*made.dynamics.head.parameters(), *_modulations(made)):
        torch.nn.init.normal_(parameter, std=0.2)  # which begin at zero
    return made.eval()


def _modulations(made):
    return (p for n, p in made.dynamics.named_parameters() if "modulation" in n)


def velocity(x, tau):
    """E[x - ε | x_τ] of data N(m, s²): m + (τ s² - (1 - τ)) / (τ² s² + (1 - τ)²) (x_τ - τ m)."""
    left = 1 - tau
    slope = (tau * SPREAD**2 - left) / (tau**2 * SPREAD**2 + left**2)
    return MEAN + slope * (x - tau * MEAN)


@pytest.mark.parametrize("tau", [0.0, 0.3, 0.8])
def test_what_is_learned_is_the_velocity_that_leads_to_the_data(tau):
    generator = torch.Generator().manual_seed(0)
    data, noise = torch.randn(2, 1, 200_000, generator=generator)
    data = MEAN + SPREAD * data
    x, v = between(data, noise, torch.full(data.shape, tau)), data - noise
    # The least-squares line of v on x_τ is what a network converges to.
    slope = ((x - x.mean()) * (v - v.mean())).mean() / x.var()
    wanted = velocity(x, tau)
    # 200,000 samples: means are good to 0.003, three of which are allowed.
    torch.testing.assert_close(v.mean() + slope * (x - x.mean()), wanted, rtol=0, atol=0.03)


def test_the_exact_velocity_leads_noise_to_the_data():
    noise = torch.linspace(-2, 2, 9)
    # Gaussian to Gaussian: every point keeps its quantile. Euler's error falls as 1 / steps.
    errors = [
        float((euler(velocity, noise, n) - (MEAN + SPREAD * noise)).abs().max()) for n in (100, 200)
    ]
    assert errors[1] < 0.02
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.2)


def test_euler_of_linear_fields_is_known():
    x = torch.tensor([1.0, -2.0])
    torch.testing.assert_close(euler(lambda x, tau: 3.0 * x, x, 4), x * (1 + 3 / 4) ** 4)
    torch.testing.assert_close(euler(lambda x, tau: torch.full_like(x, 2.0), x, 4), x + 2)
    # v = τ at τ = 0, 1/4, 1/2, 3/4.
    torch.testing.assert_close(euler(lambda x, tau: torch.full_like(x, tau), x, 4), x + 0.375)


def test_half_of_the_windows_are_noised_as_in_use():
    tau, counts = levels(4000, 5, 2, torch.Generator().manual_seed(0))
    use = ~counts.all(dim=1)
    assert float(use.float().mean()) == pytest.approx(0.5, abs=0.03)  # standard error 0.008
    assert counts[use][:, 2:].all()
    assert not counts[use][:, 0].any()
    assert (tau[use][:, 0] >= 1 - SEEN).all()
    assert (tau[use][:, 2:] == tau[use][:, 2:3]).all()
    own = tau[~use]
    assert float(torch.corrcoef(own.T)[0, 1].abs()) < 0.1


def test_latents_have_unit_spread_and_come_back_as_pictures_of_the_same_size(sora, tmp_path):
    store = make_dataset(tmp_path / "data", episodes=24)
    windows = frame_windows([open_episodes(store.root)], "train", 4)
    with torch.no_grad():
        frames, _ = windows.evenly_spaced(SCALED)
        before = sora.decode(sora.look(frames[:, 0])[None])
        sora.prepare("dynamics", windows, first=True)
        tokens = sora.look(frames[:, 0])
        cells = tokens.view(-1, TINY.latent)  # numbers of a cell lie side by side
        torch.testing.assert_close(cells.mean(0), torch.zeros(4), rtol=0, atol=1e-4)
        torch.testing.assert_close(cells.std(0), torch.ones(4), rtol=1e-3, atol=0)
        # Scaling is undone when decoding.
        torch.testing.assert_close(sora.decode(tokens[None]), before, rtol=1e-3, atol=1e-4)
    assert before.shape == (1, len(frames), SIZE, SIZE, 3)


def test_a_token_is_a_square_of_cells(sora):
    cells = torch.arange(16.0).view(1, 4, 4, 1).expand(1, 4, 4, TINY.latent)
    sora.autoencoder.encode = lambda frames: cells
    found = sora.look(torch.zeros(1, SIZE, SIZE, 3))[0, :, :: TINY.latent]
    assert found.tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]


@torch.no_grad()
def test_an_action_changes_no_frame_before_it(sora):
    seen, done = sora.look(torch.from_numpy(np.stack([draw(p) for p in ((9, 9), (12, 9))]))), None
    done = torch.zeros(1, 10)
    plans = torch.zeros(2, 3, 10)
    plans[1, 2] = 1
    found = sora.imagine(seen, done, plans, seed=5).latents
    torch.testing.assert_close(found[0, :2], found[1, :2], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(found[0, 2], found[1, 2], atol=1e-3)
    shorter = sora.imagine(seen, done, plans[:, :2], seed=5).latents
    torch.testing.assert_close(shorter, found[:, :2], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(sora.imagine(seen, done, plans, seed=6).latents, found, atol=1e-3)


def test_an_untrained_transformer_expects_no_motion_of_noise():
    torch.manual_seed(0)
    fresh = Sora(TINY, SPEC).eval()
    tokens = torch.randn(8, 5, 4, 16)
    loss = fresh.dynamics.loss(tokens, torch.zeros(8, 4, 10), 0, 0, torch.Generator())
    # v = 0: the error is E‖x - ε‖² = 2 a number; 2,560 of them are good to 0.06.
    assert loss.item() == pytest.approx(2, abs=0.2)
