"""Dreamer V3: scales, categoricals, the recurrent state, returns, in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import distributions as D

from robot_wm.core.errors import ConfigError
from robot_wm.core.protocols import ModelSpec
from robot_wm.world_models.dreamer.behaviour import Course, behaviour_loss, dream, lambda_returns
from robot_wm.world_models.dreamer.config import DreamerConfig
from robot_wm.world_models.dreamer.layers import (
    BlockLinear,
    bins,
    expectation,
    symexp,
    symlog,
    two_hot,
)
from robot_wm.world_models.dreamer.network import Network
from robot_wm.world_models.dreamer.rssm import (
    RSSM,
    Belief,
    balanced_kl,
    kl,
    mixed,
    straight_through,
)

SPEC = ModelSpec("square", (-1.0,) * 10, (1.0,) * 10, 2, 0.02, context=4, horizon=4, image_size=64)
SMALL = DreamerConfig(
    "square", deter=16, blocks=4, groups=4, classes=4, hidden=8, depth=1, units=8, starts=8
)  # fmt: skip


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_symlog_and_back():
    x = torch.tensor([-1e4, -3.0, -1e-3, 0.0, 0.5, 7.0, 1e6])
    np.testing.assert_allclose(symexp(symlog(x)), x, rtol=1e-4)
    assert float(symlog(torch.tensor(np.e - 1))) == pytest.approx(1, abs=1e-6)


def test_two_hot_keeps_the_number_and_symmetry_gives_zero():
    values = bins()
    assert len(values) == 255
    assert values[127] == 0
    assert torch.equal(values, -values.flip(0))
    x = torch.tensor([-1234.5, -1.0, -0.01, 0.0, 0.02, 3.3, 99.9, 5e5])
    weights = two_hot(x, values)
    torch.testing.assert_close(weights.sum(-1), torch.ones(8))
    assert int((weights > 0).sum(-1).max()) <= 2
    np.testing.assert_allclose((weights.double() @ values.double()), x, rtol=1e-3)
    np.testing.assert_allclose(expectation(weights.log(), values), x, rtol=1e-3)
    # Twenty orders of magnitude lie between the bins: only a symmetric sum cancels.
    logits = torch.randn(5, 127, generator=generator())
    logits = torch.cat([logits, torch.zeros(5, 1), logits.flip(-1)], dim=-1)
    assert torch.equal(expectation(logits, values), torch.zeros(5))


def categoricals(rows, groups=32, classes=8, scale=1.0, seed=0):
    return mixed(scale * torch.randn(rows, groups, classes, generator=generator(seed)), 0.01)


def test_a_share_of_the_uniform_keeps_divergence_finite():
    certain = torch.full((1, 2, 4), -1e4)
    certain[..., 0] = 1e4
    p, q = mixed(certain, 0.01), mixed(certain.flip(-1), 0.01)
    assert float(p.min()) == pytest.approx(0.01 / 4)
    assert 0 < float(kl(p, q)) < 2 * np.log(400)
    assert not torch.isfinite(kl(mixed(certain, 0.0), mixed(certain.flip(-1), 0.0)))
    p, q = categoricals(3), categoricals(3, seed=1)
    wanted = D.kl_divergence(D.Categorical(probs=p), D.Categorical(probs=q)).sum(-1)
    torch.testing.assert_close(kl(p, q), wanted)


def test_free_nats_are_of_the_sum_and_each_half_trains_its_own_side():
    logits = torch.randn(1, 32, 8, generator=generator())
    near = 0.05 * torch.randn(1, 32, 8, generator=generator(1))
    for spread, is_free in ((1.0, True), (8.0, False)):
        p = mixed(logits, 0.01).requires_grad_()
        q = mixed(logits + spread * near, 0.01).detach().requires_grad_()
        dynamics, representation, nats = balanced_kl(p, q, free=1.0)
        assert float(nats) / 32 < 1  # every categorical alone is below a nat
        assert (float(nats) < 1) == is_free
        assert float(dynamics) == float(representation) == max(1.0, float(nats))
        from_prior = torch.autograd.grad(dynamics.sum(), [p, q], allow_unused=True)
        from_posterior = torch.autograd.grad(representation.sum(), [p, q], allow_unused=True)
        assert from_prior[0] is None
        assert from_posterior[1] is None
        assert bool(from_prior[1].abs().sum() == 0) == is_free
        assert bool(from_posterior[0].abs().sum() == 0) == is_free


def test_samples_are_one_hot_with_the_gradient_of_probabilities():
    p = categoricals(2, 3, 5).requires_grad_()
    weights = torch.randn(2, 3, 5, generator=generator(4))
    sample = straight_through(p, torch.rand(2, 3, generator=generator(5)))
    torch.testing.assert_close(sample.detach().amax(-1), torch.ones(2, 3))
    torch.testing.assert_close(sample.detach().sum(-1), torch.ones(2, 3))
    (found,) = torch.autograd.grad((weights * sample.square()).sum(), p)
    torch.testing.assert_close(found, 2 * weights * sample.detach())
    # And drawn as often as they are likely: five standard errors.
    many = straight_through(
        p[:1].expand(20_000, -1, -1), torch.rand(20_000, 3, generator=generator())
    )
    shares = many.detach().mean(0)
    error = (p[0] * (1 - p[0]) / 20_000).sqrt()
    assert bool(((shares - p[0]).abs() < 5 * error).all())


def test_blocks_are_a_matrix_with_zeros_beside_them():
    layer = BlockLinear(3, 4, 2)
    x = torch.randn(5, 12, generator=generator())
    whole = torch.block_diag(*layer.weight)
    wanted = x @ whole + layer.bias.flatten()
    torch.testing.assert_close(layer(x.reshape(5, 3, 4)).flatten(1), wanted)
    with pytest.raises(ConfigError, match="multiple"):
        DreamerConfig("square", deter=10, blocks=4)


def test_what_was_before_the_first_frame_does_not_reach_it():
    torch.manual_seed(0)
    rssm = RSSM(SMALL, 10, 6)
    told = [Belief(torch.randn(2, 16), torch.randn(2, 16)), torch.randn(2, 10)]
    other = [Belief(torch.randn(2, 16), torch.randn(2, 16)), torch.randn(2, 10)]
    first = torch.tensor([True, False])
    one, two = rssm.advance(*told, first), rssm.advance(*other, first)
    assert torch.equal(one[0], two[0])
    assert not torch.allclose(one[1], two[1])
    blank = rssm.advance(rssm.blank(1), torch.zeros(1, 10))
    torch.testing.assert_close(one[:1], blank)
    # With its gate's bias of -1, a fresh state keeps most of what there was.
    assert bool((one.abs() <= torch.maximum(told[0].h.abs(), torch.ones(1))).all())


def test_returns_between_one_step_and_all_of_them():
    rewards = torch.tensor([[1.0], [2.0], [3.0]])
    values = torch.tensor([[9.0], [10.0], [20.0], [30.0]])
    np.testing.assert_allclose(
        lambda_returns(rewards, values, 0.5, 0.0)[:, 0], [1 + 5, 2 + 10, 3 + 15]
    )
    np.testing.assert_allclose(
        lambda_returns(rewards, values, 0.5, 1.0)[:, 0],
        [1 + 0.5 * (2 + 0.5 * (3 + 15)), 2 + 0.5 * 18, 18],
    )


def small_network():
    torch.manual_seed(0)
    return Network(SMALL, SPEC)


def test_the_actor_learns_what_returned_more_and_the_critic_how_much():
    network = small_network()
    features, goal = torch.randn(3, 2, 32), torch.randn(2, network.eyes.size)
    controls = 0.5 * torch.randn(2, 2, 2)
    # The first row's rewards are large, the second's are not; the critic still says 0 of both.
    course = Course(features, controls, torch.tensor([[50.0, -50.0], [50.0, -50.0]]))
    before, _ = network.policy(features[:-1], goal.expand(2, -1, -1))
    optimizer = torch.optim.Adam(network.actor.parameters(), 1e-2)
    behaviour_loss(network, course, goal)["actor"].backward()
    assert network.actor[0][0].weight.grad is not None
    assert network.rssm.mix.weight.grad is None  # the world model is left alone
    for _ in range(20):
        optimizer.zero_grad()
        behaviour_loss(network, course, goal)["actor"].backward()
        optimizer.step()
    after, _ = network.policy(features[:-1], goal.expand(2, -1, -1))
    nearer = ((before - controls).square() - (after - controls).square()).mean(dim=(0, 2))
    assert nearer[0] > 0 > nearer[1]
    critic = torch.optim.Adam(network.critic.parameters(), 1e-2)
    for _ in range(150):
        critic.zero_grad()
        behaviour_loss(network, course, goal)["critic"].backward()
        critic.step()
    _, values = network.value(features[0], goal)
    assert values[0] > 5 > -5 > values[1]


def test_dreams_keep_to_the_bounds_and_reward_nearness():
    network = small_network()
    belief = network.rssm.blank(8)
    goal = network.looks(torch.randn(8, network.eyes.size))
    course = dream(network, belief, goal, 3, generator())
    assert course.features.shape == (4, 8, 32)
    assert course.controls.shape == (3, 8, 2)
    torch.testing.assert_close(course.rewards, -network.distance(course.features[1:], goal))
    blocks = network.acted(5 * course.controls[0])
    assert blocks.shape == (8, 10)
    assert float(blocks.abs().max()) <= 1
    assert torch.equal(blocks[:, :2].repeat(1, 5), blocks)


def test_a_network_measures_what_its_posterior_knows():
    torch.manual_seed(0)
    network = Network(SMALL, SPEC)
    frames = torch.randint(0, 255, (3, 4, 64, 64, 3), dtype=torch.uint8)
    found = network.measure(frames, torch.rand(3, 3, 10))
    assert set(found) == {"psnr", "visible", "kl", "entropy"}
    assert found["kl"] >= 0
    assert 0 < found["entropy"] <= 4 * np.log(4)  # of four categoricals of four classes
