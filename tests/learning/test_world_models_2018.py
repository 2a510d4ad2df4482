"""World Models (2018): closed forms of VAE and MDN-RNN, published sizes, and a dream that helps."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from torch import distributions as D

from robot_wm.core.errors import ConfigError, DataError
from robot_wm.core.protocols import ModelSpec
from robot_wm.world_models.world_models_2018.config import WorldModels2018Config
from robot_wm.world_models.world_models_2018.controller import (
    Dreams,
    dreamed_cost,
    evolve,
    genes,
    library,
)
from robot_wm.world_models.world_models_2018.dream_score import (
    bound_of,
    share_reached,
    told_apart,
)
from robot_wm.world_models.world_models_2018.model import expected_distance
from robot_wm.world_models.world_models_2018.networks import (
    VAE,
    Network,
    cumulated,
    kl_from_unit,
    moments,
    negative_log_likelihood,
    sample,
)

SPEC = ModelSpec("square", (-1.0,) * 10, (1.0,) * 10, 2, 0.02, context=2, horizon=4, image_size=64)


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def mixture(rows=3, count=5, z=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    log_pi = torch.randn(rows, count, generator=generator).log_softmax(-1)
    means = torch.randn(rows, count, z, generator=generator)
    return log_pi, means, 0.5 * torch.randn(rows, count, z, generator=generator)


def test_sizes_are_the_published_ones():
    assert parameters(VAE(32)) == 4_348_547  # table of the paper, CarRacing
    network = Network(WorldModels2018Config("push_t"), SPEC)
    assert parameters(network.controller) == (32 + 256 + 32) * 2 + 2 == 642
    images = torch.rand(2, 3, 64, 64)
    mean, log_var = network.vae.encode(images)
    assert mean.shape == log_var.shape == (2, 32)
    assert network.vae.decode(mean).shape == images.shape


def test_kl_is_that_of_two_gaussians():
    mean, log_var = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0))
    wanted = D.kl_divergence(D.Normal(mean, (0.5 * log_var).exp()), D.Normal(0.0, 1.0)).sum(-1)
    torch.testing.assert_close(kl_from_unit(mean, log_var), wanted)


def test_likelihood_of_one_gaussian_and_of_a_mixture():
    log_pi, means, log_std = mixture()
    z = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    one = (torch.zeros(3, 1), means[:, :1], log_std[:, :1])
    wanted = -D.Normal(means[:, 0], log_std[:, 0].exp()).log_prob(z).sum(-1)
    torch.testing.assert_close(negative_log_likelihood(one, z), wanted)
    # Equal Gaussians are one, whatever their weights.
    same = (log_pi, means[:, :1].expand(-1, 5, -1), log_std[:, :1].expand(-1, 5, -1))
    torch.testing.assert_close(negative_log_likelihood(same, z), wanted)
    parts = D.Independent(D.Normal(means, log_std.exp()), 1)
    whole = D.MixtureSameFamily(D.Categorical(logits=log_pi), parts)
    torch.testing.assert_close(
        negative_log_likelihood((log_pi, means, log_std), z), -whole.log_prob(z)
    )


def samples(count, temperature):
    generator = torch.Generator().manual_seed(2)
    rows = tuple(part.expand(count, *part.shape[1:]) for part in mixture(rows=1))
    uniform = torch.rand(count, 1, generator=generator)
    return sample(rows, temperature, uniform, torch.randn(count, 4, generator=generator))


def test_expected_distance_is_that_of_samples():
    goal = torch.tensor([1.0, -0.5, 0.3, 2.0])
    mean, variance = moments(mixture(rows=1))
    closed = float(expected_distance(torch.cat([mean, variance[:, None]], dim=-1), goal))
    gaps = (samples(200_000, 1.0) - goal).square().sum(-1)
    # Five standard errors of the sampled mean.
    assert abs(float(gaps.mean()) - closed) < 5 * float(gaps.std()) / 200_000**0.5
    np.testing.assert_allclose(samples(200_000, 1.0).mean(0), mean[0], atol=0.02)


def test_temperature_sharpens_the_choice_and_shrinks_the_spread():
    one = (torch.zeros(50_000, 1), torch.zeros(50_000, 1, 4), torch.zeros(50_000, 1, 4))
    normal = torch.randn(50_000, 4, generator=torch.Generator().manual_seed(0))
    hot = sample(one, 1.44, torch.zeros(50_000, 1), normal)
    torch.testing.assert_close(hot, 1.2 * normal)
    log_pi, means, _ = mixture(rows=1)
    cold = samples(1_000, 1e-6)  # the likeliest Gaussian's mean
    torch.testing.assert_close(
        cold, means[0, log_pi[0].argmax()].expand(1_000, -1), atol=0.01, rtol=0
    )


def config(**changes):
    sizes = {"z": 4, "hidden": 8, "mixtures": 1, "population": 8, "dreams": 16, "dream_blocks": 4}
    return WorldModels2018Config("square", **{**sizes, **changes})


def network_of(settings):
    torch.manual_seed(0)
    network = Network(settings, SPEC)
    torch.nn.init.normal_(network.controller.weight, std=0.3)
    return network.requires_grad_(False)


def dreams_of(count, rng, steps=4, z=4):
    def normal(*shape):
        return torch.from_numpy(rng.standard_normal(shape).astype(np.float32))

    return Dreams(
        normal(count, z), normal(count, z), 0.3 * normal(count, 10), normal(count, z),
        torch.from_numpy(rng.random((steps, count, 1), np.float32)), normal(steps, count, z),
    )  # fmt: skip


def test_a_cold_dream_of_one_gaussian_is_what_planning_costs():
    network, dream = network_of(config()), dreams_of(1, np.random.default_rng(0))
    # No temperature, one Gaussian: a dream goes on at the mean, as plans do.
    dreamt = dreamed_cost(network, genes(network)[None], dream, 1e-12)
    given = dream.z_prev, dream.z, dream.action
    plan = network.plans(*given, dream.goal, torch.zeros(0, 4, 10))
    assert (plan[0, :, :2].repeat(1, 5) == plan[0]).all()  # held through the block
    means = network.rollout(*given, plan)[0, :, :-1]
    wanted = (means - dream.goal).square().sum(-1).mean()
    np.testing.assert_allclose(dreamt, [wanted], rtol=1e-4)


def test_evolution_pays_in_the_dream_and_depends_on_the_seed_alone():
    settings, found = config(generations=30), []
    for _ in range(2):
        np.random.seed(len(found))  # noqa: NPY002  (whatever the global generator holds)
        before = np.random.get_state()[1].copy()  # noqa: NPY002
        network = network_of(settings)
        costs = evolve(settings, network, dreams_of, np.random.default_rng(5))
        assert (np.random.get_state()[1] == before).all()  # noqa: NPY002
        found.append((costs, genes(network)))
    assert found[0][0] == found[1][0]
    assert torch.equal(found[0][1], found[1][1])
    assert costs["after"] < costs["before"]
    still = network_of(config(generations=0))
    costs = evolve(config(generations=0), still, dreams_of, np.random.default_rng(5))
    assert costs["after"] == costs["before"]


def test_what_evolution_needs_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cma", None)
    with pytest.raises(ConfigError, match="rivals"):
        library()


def test_the_cumulated_mixture_is_that_of_its_samples():
    mix = mixture(rows=1, seed=3)
    generator = torch.Generator().manual_seed(4)
    rows = tuple(part.expand(20_000, *part.shape[1:]) for part in mix)
    drawn = sample(
        rows, 1.0, torch.rand(20_000, 1, generator=generator),
        torch.randn(20_000, 4, generator=generator),
    )  # fmt: skip
    at = torch.tensor([[0.3, -0.5, 1.0, 0.0]])
    np.testing.assert_allclose(cumulated(mix, at)[0], (drawn <= at).float().mean(0), atol=0.015)


def test_a_network_measures_what_it_keeps_and_foretells():
    torch.manual_seed(0)
    network = Network(WorldModels2018Config("push_t", z=4, hidden=8, mixtures=2), SPEC)
    frames = torch.randint(0, 255, (3, 4, 64, 64, 3), dtype=torch.uint8)
    found = network.measure(frames, torch.rand(3, 3, 10))
    assert set(found) == {"psnr", "visible", "nll", "nll_gaussian", "nll_copy", "covered_90"}
    assert 0 <= found["covered_90"] <= 1
    assert found["psnr"] < 12
    assert found["visible"] < 0.5


def test_near_enough_is_where_misses_and_false_alarms_are_as_many():
    gaps = np.array([5.0, 1.0, 3.0, 2.0, 4.0])
    reached = np.array([False, True, False, False, True])
    bound = bound_of(gaps, reached)
    assert bound == 2  # two are reached, and two are that near
    # One of two that are reached, two of three that are not.
    assert told_apart(gaps, reached, bound) == pytest.approx((1 / 2 + 2 / 3) / 2)
    for all_alike in (np.ones(5, bool), np.zeros(5, bool)):
        with pytest.raises(DataError, match="of 5"):
            bound_of(gaps, all_alike)


def test_dreams_are_scored_by_what_is_expected_and_grow_with_the_bound():
    network, rng = network_of(config()), np.random.default_rng(0)
    starts, goals = (torch.from_numpy(rng.standard_normal((6, 4)).astype(np.float32)) for _ in "ab")

    def share(bound, seed=1, temperature=1.0, blocks=3):
        chance = np.random.default_rng(seed)
        return share_reached(network, starts, goals, bound, blocks, temperature, 2, chance)

    # Cold and of one Gaussian, a dream goes on at the mean, as plans do.
    still = torch.zeros(1, 10)
    nearest = []
    for z, goal in zip(starts, goals, strict=True):
        plan = network.plans(z[None], z[None], still, goal[None], torch.zeros(0, 3, 10))
        means = network.rollout(z[None], z[None], still, plan)[0, :, :-1]
        nearest.append(float((means - goal).square().sum(-1).min()))
    middle = float(np.mean(sorted(nearest)[2:4]))
    assert share(middle, temperature=1e-12) == 0.5
    assert share(0.0) == 0 < share(middle) <= share(1e6) == 1
    assert share(middle) == share(middle)
