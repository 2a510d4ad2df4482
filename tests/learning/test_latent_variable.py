"""A predictor with a latent variable: its losses in closed form, its chance, and what it learns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from moving_square import draw, tiny_encoder
from tiny_jepa import SPEC
from torch.distributions import Normal, kl_divergence

from robot_wm.core.errors import DataError, InputError
from robot_wm.core.metrics import auroc
from robot_wm.core.protocols import History, Surprising, WorldModel
from robot_wm.world_models.base import Exportable
from robot_wm.world_models.latent_variable.acceptance import add_rows, render, verdict
from robot_wm.world_models.latent_variable.config import LatentVariableConfig
from robot_wm.world_models.latent_variable.measures import (
    Transitions,
    elsewhere,
    measure,
    ratio,
)
from robot_wm.world_models.latent_variable.model import LatentVariableModel
from robot_wm.world_models.latent_variable.network import LatentVariableNetwork, blurring
from robot_wm.world_models.latent_variable.variables import Discrete, Gaussian, errors

SMALL = LatentVariableConfig(
    "square", width=16, depth=1, heads=2, latent=4, codes=5, dims=2, beta=0.1, chunk=3
)


def network(config: LatentVariableConfig = SMALL) -> LatentVariableNetwork:
    torch.manual_seed(0)
    made = LatentVariableNetwork(config, tiny_encoder(), SPEC.action_dim)
    for parameter in made.parameters():  # what begins at zero hides every dependence
        if parameter.requires_grad:
            parameter.data.add_(0.1 * torch.randn_like(parameter))
    frames = torch.from_numpy(np.stack([draw(np.array([6.0 + k, 26 - k])) for k in range(20)]))
    made.fit(made.frozen(frames[:, None]))
    return made.eval().requires_grad_(False)


def history(seed: int, frames: int) -> History:
    rng = np.random.default_rng(seed)
    images = np.stack([draw(rng.uniform(6, 26, 2)) for _ in range(frames)])
    actions = rng.uniform(-1, 1, (frames - 1, SPEC.action_dim)).astype(np.float32)
    return History(images, np.zeros((frames, 0), np.float32), actions)


# ---- z ----


@pytest.mark.parametrize("beta", [1e-5, 0.1, 10.0])
def test_error_and_price_of_a_code_are_the_free_energy(beta: float) -> None:
    torch.manual_seed(0)
    variable, weight = Discrete(5, 8), torch.randn(5, 3)
    h, y = torch.randn(6, 2, 8), torch.randn(6, 2, 3)
    gaps, kl = variable.losses(h, y, lambda value: value @ weight, beta, torch.rand(6, 2, 5))
    every = (weight - y[..., None, :]).square().mean(-1)  # [6, 2, 5]
    log_prior = variable.prior(h).log_softmax(-1)
    wanted = -beta * (log_prior - every / beta).logsumexp(-1)
    torch.testing.assert_close(gaps + beta * kl, wanted, atol=1e-4, rtol=1e-4)
    assert (kl >= -1e-6).all()


def test_the_gaussians_price_is_their_divergence() -> None:
    torch.manual_seed(0)
    variable, h, y = Gaussian(3, 8, 4), torch.randn(7, 8), torch.randn(7, 4)
    _, kl = variable.losses(h, y, lambda value: value.sum(-1, keepdim=True), 1.0, torch.rand(7, 3))
    (m, s), (n, r) = (
        part(x).chunk(2, -1) for part, x in
        ((variable.posterior, torch.cat([h, y], -1)), (variable.prior, h))
    )  # fmt: skip
    wanted = kl_divergence(Normal(m, s.exp()), Normal(n, r.exp())).sum(-1)
    torch.testing.assert_close(kl, wanted)


@pytest.mark.parametrize("kind", ["discrete", "gaussian"])
def test_draws_have_the_priors_moments(kind: str) -> None:
    torch.manual_seed(0)
    variable = Discrete(4, 8) if kind == "discrete" else Gaussian(4, 8, 4)
    h = torch.randn(8)
    drawn = variable.draw(h.expand(40_000, -1), torch.rand(40_000, 4)).detach()
    if kind == "discrete":
        wanted, spread = variable.prior(h).softmax(-1), None
    else:
        wanted, spread = variable.prior(h).chunk(2)
    torch.testing.assert_close(drawn.mean(0), wanted.detach(), atol=0.03, rtol=0.03)
    if spread is not None:
        torch.testing.assert_close(drawn.std(0), spread.exp().detach(), atol=0.03, rtol=0.03)


# ---- the latent ----


def test_latents_are_principal_components_of_blurred_tokens() -> None:
    made, rng = network(replace(SMALL, latent=6)), np.random.default_rng(0)
    frames = torch.from_numpy(np.stack([draw(rng.uniform(6, 26, 2)) for _ in range(40)]))
    tokens = made.frozen(frames[:, None])
    made.fit(tokens)
    latents = made.project(tokens)
    mix = blurring(made.grid, 1.0)
    assert torch.allclose(mix.sum(-1), torch.ones(len(mix)))
    flat = torch.einsum("pq,nqd->npd", mix, tokens - tokens.mean(0)).flatten(1)
    left, values, _ = torch.linalg.svd(flat, full_matrices=False)
    wanted = left[:, :6] * values[:6]
    wanted = wanted / wanted.square().mean().sqrt()
    torch.testing.assert_close(latents.abs(), wanted.abs(), atol=2e-3, rtol=2e-3)
    assert torch.equal(blurring((3, 2), 0.0), torch.eye(6))
    with pytest.raises(DataError, match="no variance"):
        made.fit(tokens[:1].expand(9, -1, -1))


# ---- behind the contract ----


@pytest.mark.parametrize("kind", ["discrete", "gaussian"])
def test_chance_is_the_historys_and_costs_are_mean_and_spread(kind: str) -> None:
    model = LatentVariableModel(network(replace(SMALL, variable=kind, kappa=0.7)), SPEC)
    assert isinstance(model, WorldModel)
    assert isinstance(model, Surprising)
    assert not isinstance(model, Exportable)
    rng = np.random.default_rng(1)
    actions = rng.uniform(-1, 1, (7, 3, SPEC.action_dim)).astype(np.float32)
    state, goal = model.encode(history(0, 2)), model.encode(history(1, 1))
    courses = model.imagine(state, actions)
    assert courses.shape == (4, 7, 3, 4)
    assert torch.equal(courses, model.imagine(model.encode(history(0, 2)), actions))
    other = model.imagine(replace(state, seed=state.seed + 1), actions)
    assert (other - courses).abs().max() > 1e-3
    torch.testing.assert_close(courses[:, :, :2], model.imagine(state, actions[:, :2]))
    each = (courses - goal.z[1:]).square().mean(-1).numpy()
    wanted = each.mean(0) + 0.7 * each.std(0)
    np.testing.assert_allclose(model.step_costs(state, goal, actions), wanted, rtol=1e-4)
    with pytest.raises(InputError, match="two frames or more"):
        model.surprise(history(0, 3).frames, actions[0, :1])


def test_one_code_is_a_deterministic_predictor() -> None:
    made = network(replace(SMALL, codes=1))
    model = LatentVariableModel(made, SPEC)
    actions = np.random.default_rng(1).uniform(-1, 1, (5, 2, SPEC.action_dim)).astype(np.float32)
    state = model.encode(history(0, 2))
    courses = model.imagine(state, actions)
    assert torch.equal(courses[0], courses[1])
    alone = made.rollout(state.z[:1], state.z[1:], state.action, torch.from_numpy(actions))
    torch.testing.assert_close(courses[0], alone)


def test_surprise_is_the_least_energy() -> None:
    made = network()
    model, clip = LatentVariableModel(made, SPEC), history(3, 4)
    found = model.surprise(clip.frames, clip.actions)
    s = torch.cat([made.embed(torch.from_numpy(frame[None])) for frame in clip.frames])
    rows, wanted = torch.from_numpy(clip.actions), []
    for t in range(3):
        first = max(0, t - 1)
        h = made.know(s[None, first : t + 1], rows[None, first : t + 1])[0, -1]
        wanted.append(
            min(float(errors(made.decode(s[t], h, code), s[t + 1])) for code in torch.eye(5))
        )
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


# ---- what it learns, and how that is judged ----


def kicked(count: int, seed: int) -> Transitions:
    """s' = s + a / 2, and in half of the cases one of two kicks that nothing foretells."""
    rng = torch.Generator().manual_seed(seed)
    s = torch.randn(count, 2, 4, generator=rng)
    actions = torch.rand(count, 2, SPEC.action_dim, generator=rng) * 2 - 1
    kick = torch.tensor([-1.0, 0.0, 0.0, 1.0])[torch.randint(4, (count,), generator=rng)]
    y = s[:, -1] + actions[:, -1, :4] / 2
    y[:, 0] += kick
    return Transitions(s, actions, y, np.arange(count) // 5)


def learned(config: LatentVariableConfig, steps: int = 250) -> LatentVariableNetwork:
    made = network(config).requires_grad_(True)
    optimizer = torch.optim.Adam([p for p in made.parameters() if p.requires_grad], lr=5e-3)
    for step in range(steps):
        batch, chance = kicked(128, 10 + step), torch.Generator().manual_seed(step)
        lots = torch.rand(128, 2, made.variable.size, generator=chance)
        y = torch.stack([batch.s[:, 1], batch.y], dim=1)
        gaps, kl = made.losses(batch.s, batch.actions, y, lots)
        loss = gaps[:, -1].mean() + config.beta * kl[:, -1].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return made.eval()


def test_a_code_foresees_what_one_prediction_cannot() -> None:
    held_out = kicked(400, 5)
    one, several = (
        measure(learned(replace(SMALL, codes=codes, beta=0.01)), held_out, 0) for codes in (1, 5)
    )
    # One prediction: the kicks' variance, 1/2, over four numbers.
    assert one.likeliest.mean() == pytest.approx(0.125, rel=0.25)
    assert np.array_equal(one.likeliest, one.best)
    assert several.best.mean() < 0.5 * one.likeliest.mean()
    assert several.prior.mean() > several.posterior.mean()
    value, low, _ = ratio(several.lent, several.prior, held_out.episode)
    assert low < 1.0 < value + 0.3
    assert auroc(several.best, several.swapped) > 0.95
    assert 0.5 < several.nats.mean() < 1.4  # entropy of three outcomes: 1.04


def test_measures_have_their_values() -> None:
    assert auroc(np.array([0.0, 1.0]), np.array([0.5, 1.0])) == pytest.approx(0.625)
    value, low, high = ratio(np.full(6, 2.0), np.full(6, 4.0), np.arange(6) // 2)
    assert (value, low, high) == (0.5, 0.5, 0.5)
    blocks = torch.tensor([[0.0], [0.1], [5.0], [0.2], [5.1]])
    donors = elsewhere(blocks, np.array([0, 0, 0, 1, 1]))
    assert donors.tolist() == [3, 3, 4, 1, 2]


def row(scene: str, model: str, **changes: float) -> dict:
    keys = ("likeliest", "best_of_8", "prior", "posterior", "lent")
    return {
        "scene": scene, "model": model, **{f"{key}_error": 0.1 for key in keys}, "nats": 1.0,
        "energy_auroc_pct": 97.0, "best_over_deterministic": 0.6, "lent_over_prior": 1.01,
        "lent_over_prior_low": 0.99, "lent_over_prior_high": 1.03, **changes,
    }  # fmt: skip


def test_a_verdict_follows_from_the_rows(tmp_path) -> None:
    rows = [
        row("kicked", "discrete"), row("still", "discrete", best_over_deterministic=0.97),
        row("kicked", "discrete-leaky", lent_over_prior_low=1.2),
    ]  # fmt: skip
    assert [good for *_, good in verdict(rows, "discrete")] == [True] * 5
    spoiled = {
        0: (0, {"best_over_deterministic": 0.71}), 1: (1, {"best_over_deterministic": 0.94}),
        2: (0, {"energy_auroc_pct": 94.9}), 3: (0, {"lent_over_prior_low": 1.001}),
        4: (2, {"lent_over_prior_low": 0.999}),
    }  # fmt: skip
    for number, (which, change) in spoiled.items():
        changed = [{**r, **change} if i == which else r for i, r in enumerate(rows)]
        met = [good for *_, good in verdict(changed, "discrete")]
        assert met == [i != number for i in range(5)]
    assert "| NO |" in render(changed, ["discrete"])
    with pytest.raises(DataError, match="no row of discrete on the still scene"):
        verdict(rows[:1], "discrete")
    add_rows(tmp_path / "x.jsonl", rows)
    add_rows(tmp_path / "x.jsonl", rows)
    assert len((tmp_path / "x.jsonl").read_text().splitlines()) == 3
