import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from moving_square import SIZE, draw, tiny_encoder

from robot_wm import losses
from robot_wm.contracts import History, ModelSpec, Proposer, WorldModel
from robot_wm.errors import ConfigError, InputError
from robot_wm.jepa import JEPAWorldModel, Network, Sizes

SIZES = Sizes(
    positions=16, encoder_width=32, action=10, reduced=6, slots=4, hidden=16, latent=8, width=32,
    blocks=2, horizon=3, heads=3, proposer_width=16, distance_width=16,
)  # fmt: skip
SPEC = ModelSpec(
    task="square", action_low=(-1.0,) * 10, action_high=(1.0,) * 10, control_dim=2,
    control_dt=0.02, context=2, horizon=3, image_size=SIZE,
)  # fmt: skip


@pytest.fixture
def model():
    torch.manual_seed(0)
    network = Network(SIZES)
    for parameter in network.parameters():  # zero-initialised layers would hide mistakes
        torch.nn.init.normal_(parameter, std=0.2)
    torch.nn.init.normal_(network.reduce.basis)
    return JEPAWorldModel(network.requires_grad_(False), tiny_encoder(), SPEC)


def history(frames=3, seed=0):
    rng = np.random.default_rng(seed)
    images = np.stack([draw(rng.uniform(6, SIZE - 6, 2)) for _ in range(frames)])
    actions = rng.uniform(-1, 1, (frames - 1, 10)).astype(np.float32)
    return History(images, np.zeros((frames, 0), np.float32), actions)


def plans(n, h=4, seed=1):
    return np.random.default_rng(seed).uniform(-1, 1, (n, h, 10)).astype(np.float32)


def test_it_fits_both_protocols(model):
    assert isinstance(model, WorldModel)
    assert isinstance(model, Proposer)


def test_step_costs_are_pure_and_rows_do_not_see_each_other(model):
    state, goal = model.encode(history()), model.encode(History.of_goal(draw(np.array([9.0, 20]))))
    actions = plans(37)
    costs = model.step_costs(state, goal, actions)
    assert costs.dtype == np.float32
    assert costs.shape == (37, 4)
    assert costs.tobytes() == model.step_costs(state, goal, actions).tobytes()
    np.testing.assert_allclose(costs[5:6], model.step_costs(state, goal, actions[5:6]), rtol=1e-5)
    np.testing.assert_allclose(costs[::-1], model.step_costs(state, goal, actions[::-1]), rtol=1e-5)
    assert costs.std(axis=0).min() > 1e-4  # actions matter


def test_costs_are_the_mean_squared_latent_difference(model):
    state, goal = model.encode(history()), model.encode(History.of_goal(draw(np.array([9.0, 20]))))
    latents = model.imagine(state, plans(3)).numpy()
    wanted = ((latents - goal.z[1].numpy()) ** 2).mean(-1)
    np.testing.assert_allclose(model.step_costs(state, goal, plans(3)), wanted, rtol=1e-5)
    distance = JEPAWorldModel(model.network, model.encoder, SPEC, "distance")
    both = JEPAWorldModel(model.network, model.encoder, SPEC, "both")
    parts = wanted + distance.step_costs(state, goal, plans(3))
    np.testing.assert_allclose(both.step_costs(state, goal, plans(3)), parts, rtol=1e-4)
    with pytest.raises(ConfigError):
        JEPAWorldModel(model.network, model.encoder, SPEC, "cosine")


def test_one_rollout_equals_step_by_step(model):
    state, actions = model.encode(history()), plans(4)
    whole = model.imagine(state, actions).numpy()
    rows = torch.from_numpy(actions)
    predictor = model.network.predictor
    previous, now, before = (
        x.expand(4, -1) for x in (state.z[:1], state.z[1:], state.action[None])
    )
    for h in range(4):
        previous, now, before = now, predictor(previous, now, before, rows[:, h]), rows[:, h]
        np.testing.assert_allclose(whole[:, h], now, atol=1e-5)


def test_the_previous_frame_and_action_are_used(model):
    base = history()
    goal, actions = model.encode(History.of_goal(base.frames[-1])), plans(2)
    costs = model.step_costs(model.encode(base), goal, actions)
    moved = replace(
        base, frames=np.concatenate([base.frames[:1], base.frames[:1], base.frames[2:]])
    )
    other = replace(base, actions=-base.actions)
    for changed in (moved, other):
        assert abs(model.step_costs(model.encode(changed), goal, actions) - costs).max() > 1e-4
    older = replace(base, frames=np.concatenate([base.frames[2:], base.frames[1:]]))
    np.testing.assert_array_equal(model.step_costs(model.encode(older), goal, actions), costs)


def test_a_goal_has_the_same_bytes_as_the_frame_in_a_history(model):
    long, single = history(), model.encode(History.of_goal(history().frames[-1]))
    assert torch.equal(model.encode(long).z[1], single.z[1])
    assert torch.equal(single.z[0], single.z[1])
    assert not single.known
    assert not single.action.any()


def test_bad_inputs_are_refused(model):
    state = model.encode(history())
    with pytest.raises(InputError, match="pixels"):
        model.encode(History.of_goal(np.zeros((16, 16, 3), np.uint8)))
    with pytest.raises(InputError, match="history actions"):
        model.encode(replace(history(), actions=np.zeros((2, 3), np.float32)))
    with pytest.raises(InputError, match="out of bounds"):
        model.step_costs(state, state, plans(2) + 1)
    with pytest.raises(InputError, match="NaN"):
        model.step_costs(state, state, plans(2) * np.nan)


def test_proposals_start_with_the_heads_by_likelihood_and_stay_in_bounds(model):
    state, goal = model.encode(history()), model.encode(History.of_goal(draw(np.array([9.0, 20]))))
    few = model.propose(state, goal, 2, np.random.default_rng(0))
    many = model.propose(state, goal, 200, np.random.default_rng(0))
    assert many.shape == (200, 3, 10)
    assert many.dtype == np.float32
    assert np.abs(many).max() <= 1
    np.testing.assert_array_equal(few, many[:2])
    head = model.network.proposer
    normal, logits = head(state.z[:1], state.z[1:], state.action[None], goal.z[1:])
    best = head.scale.inverse(normal[0, logits[0].argmax()]).clamp(-1, 1)
    np.testing.assert_allclose(many[0], best, atol=1e-6)
    np.testing.assert_array_equal(many, model.propose(state, goal, 200, np.random.default_rng(0)))
    model.network.proposer.residual.zero_()  # without noise only the heads remain
    exact = model.propose(state, goal, 200, np.random.default_rng(0))
    assert len(np.unique(exact.round(5), axis=0)) == 3


def test_prediction_is_the_mean_square():
    assert losses.prediction(torch.zeros(2, 3), torch.full((2, 3), 2.0)) == 4


def test_straightening_is_0_on_a_line_and_2_on_a_reversal():
    step = torch.randn(4, 1, 8, generator=torch.Generator().manual_seed(0))
    line = step * torch.arange(5.0)[None, :, None]
    assert losses.straightening(line) == pytest.approx(0, abs=1e-5)
    back = step * torch.tensor([0.0, 1, 0, 1])[None, :, None]
    assert losses.straightening(back) == pytest.approx(2, abs=1e-5)


def test_vicreg_closed_forms():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(4000, 2, 6, generator=generator)
    # Std error of a std over 4,000 samples is 1/√8000 = .011; C_ij² has mean 1/4000, times 5.
    assert losses.variance_hinge(z) < 0.012
    assert losses.covariance(z) == pytest.approx(5 / 4000, rel=0.6)
    assert losses.variance_hinge(torch.zeros(8, 2, 6)) == pytest.approx(1 - 0.01, abs=1e-6)
    same = z[..., :1].expand(-1, -1, 6)
    assert losses.covariance(same) == pytest.approx(5 * float(same[:, :, 0].var(0).square().mean()))
    # Statistics are per time step: an offset of one time step is no variance and no covariance.
    shifted = z + torch.tensor([0.0, 100.0])[None, :, None]
    assert losses.covariance(shifted) == pytest.approx(float(losses.covariance(z)), rel=1e-2)
    constant = torch.zeros(8, 2, 6) + torch.tensor([0.0, 100.0])[None, :, None]
    assert losses.variance_hinge(constant) == pytest.approx(0.99, abs=1e-6)


@pytest.mark.parametrize("batch", [32, 256])
def test_sigreg_closed_forms(batch):
    generator = torch.Generator().manual_seed(0)
    root = math.sqrt(2 * math.pi)
    wanted = batch * (root - 2 * math.sqrt(math.pi) + root / math.sqrt(3))  # .409 · batch
    assert losses.sigreg(torch.zeros(batch, 1, 4), generator) == pytest.approx(wanted, rel=0.001)
    # For N(0, I) the expectation is ∫ (1 - e^{-t²}) e^{-t²/2} dt = √2π (1 - 1/√3) = 1.06, any B.
    z = torch.randn(batch, 20, 16, generator=generator)
    value = losses.sigreg(z, generator)
    assert value == pytest.approx(root * (1 - 1 / math.sqrt(3)), rel=0.15)


def test_winner_takes_all_on_two_opposite_modes():
    target = torch.tensor([[[1.0]], [[-1.0]]])
    plans = torch.tensor([[[[1.0]], [[-1.0]]]]).expand(2, 2, 1, 1)
    sure = torch.tensor([[30.0, 0.0], [0.0, 30.0]])
    loss, winner = losses.winner_takes_all(plans, sure, target, torch.ones(2, 1))
    assert winner.tolist() == [0, 1]
    assert loss == pytest.approx(0.05 * 2.0)  # errors 0 and 4: winner 0, mean 2
    unsure, _ = losses.winner_takes_all(plans, torch.zeros(2, 2), target, torch.ones(2, 1))
    assert unsure == pytest.approx(0.1 + math.log(2))
    half, _ = losses.winner_takes_all(plans, sure, target, torch.tensor([[1.0], [0.0]]))
    assert half == pytest.approx(0.1)
    none, _ = losses.winner_takes_all(plans, sure, target, torch.zeros(2, 1))
    assert none == 0


def test_log_steps():
    assert losses.log_steps(torch.zeros(2), torch.tensor([0.0, math.e - 1])) == pytest.approx(0.5)


def test_the_residual_of_a_head_converges_to_its_error():
    head = Network(SIZES).proposer
    plans = torch.zeros(64, 3, 3, 10)
    target = torch.full((64, 3, 10), 0.5)
    winner = torch.zeros(64, dtype=torch.int64)
    for _ in range(800):
        head.track(plans, target, torch.ones(64, 3), winner)
    assert head.residual[0].mean() == pytest.approx(0.5, abs=0.01)  # 1 · .99^800 = 3e-4 is left
    assert head.residual[1].mean() == 1  # never won
