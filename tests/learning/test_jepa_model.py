import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from moving_square import draw, tiny_encoder
from tiny_jepa import SIZES, SPEC, history

from robot_wm.core.errors import ConfigError, DataError, InputError
from robot_wm.core.protocols import (
    History,
    Proposer,
    SurpriseReferences,
    Surprising,
    WorldModel,
)
from robot_wm.training import losses
from robot_wm.training.losses import contrast
from robot_wm.world_models.jepa.model import JEPAWorldModel, Network
from robot_wm.world_models.jepa.projector import Decoder, Projector, Whiten, grid_places


@pytest.fixture
def model():
    torch.manual_seed(0)
    network = Network(SIZES)
    for parameter in network.parameters():  # zero-initialised layers would hide mistakes
        torch.nn.init.normal_(parameter, std=0.2)
    torch.nn.init.normal_(network.reduce.basis)
    torch.nn.init.normal_(network.embedding.directions)
    return JEPAWorldModel(network.requires_grad_(False), tiny_encoder(), SPEC)


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


def test_costs_are_the_root_mean_square_of_the_latent_difference(model):
    state, goal = model.encode(history()), model.encode(History.of_goal(draw(np.array([9.0, 20]))))
    latents = model.imagine(state, plans(3)).numpy()
    wanted = np.sqrt(((latents - goal.z[1].numpy()) ** 2).mean(-1))
    np.testing.assert_allclose(model.step_costs(state, goal, plans(3)), wanted, rtol=1e-4)
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


def test_whitening_makes_change_alike_in_every_direction():
    generator = torch.Generator().manual_seed(0)
    # Random walks of 40 frames, mixed so that one direction moves a hundred times farther.
    steps = torch.randn(50, 40, 4, generator=generator) * torch.tensor([1.0, 0.3, 0.1, 0.01])
    mixed = steps.cumsum(dim=1) @ torch.randn(4, 4, generator=generator) + 3
    z, last = mixed.flatten(0, 1), torch.arange(50).repeat_interleave(40) * 40 + 39
    whiten = Whiten(4, ridge=1e-9)
    torch.testing.assert_close(whiten(z), z)  # the identity until it is fitted
    whiten.fit(z, last)
    out = whiten(z).unflatten(0, (50, 40))
    change = (out[:, 1:] - out[:, :-1]).flatten(0, 1)
    spread = torch.linalg.eigvalsh(change.T @ change / len(change))
    assert spread.mean() == pytest.approx(1, rel=1e-3)
    assert spread.max() / spread.min() < 2  # lags 2 and 4 have their say as well
    assert abs(out.mean()) < 1e-3
    torch.testing.assert_close(whiten.inverse(whiten(z)), z, rtol=1e-3, atol=1e-2)
    damped = Whiten(4, ridge=0.05)
    damped.fit(z, last)
    out = damped(z).unflatten(0, (50, 40))
    change = (out[:, 1:] - out[:, :-1]).flatten(0, 1)
    spread = torch.linalg.eigvalsh(change.T @ change / len(change))
    assert spread.max() / spread.min() > 20
    with pytest.raises(DataError, match="never change"):
        Whiten(4).fit(torch.ones(80, 4), last[:80])


def test_straightening_is_0_on_a_line_and_2_on_a_reversal():
    step = torch.randn(4, 1, 8, generator=torch.Generator().manual_seed(0))
    line = step * torch.arange(5.0)[None, :, None]
    assert losses.straightening(line) == pytest.approx(0, abs=1e-5)
    back = step * torch.tensor([0.0, 1, 0, 1])[None, :, None]
    assert losses.straightening(back) == pytest.approx(2, abs=1e-5)


def test_moving_tokens_weigh_more_and_weights_are_normalised():
    features = torch.zeros(1, 3, 4, 2)
    features[0, 1:, 0] = 1.0  # one token of four changes once: mean change 1/12 over three frames
    rebuilt = features.clone()
    rebuilt[..., 0] += 1.0  # the same error, .5, everywhere: weights must not show
    assert losses.moving(rebuilt, features, 3.0) == pytest.approx(0.5)
    wrong = features.clone()
    wrong[0, 0, 0] += 1.0  # only the token that moves, in one of three frames
    plain = losses.moving(wrong, features, 0.0)
    assert plain == pytest.approx(1 / 12)
    # Changes: 1 in frames 0 and 1, mean 1/6, ratio 6: two of twelve weights are 1 + 6.
    assert losses.moving(wrong, features, 1.0) == pytest.approx(7 / 24)
    assert losses.moving(features, features, 1.0) == 0


def test_tokens_unlike_their_place_weigh_more_although_they_rest():
    features = torch.zeros(1, 3, 4, 2)
    features[0, :, 0] = 1.0  # one token of four, in every frame: mean square 1/4, ratio 4
    wrong = features.clone()
    wrong[0, 1, 0] += 1.0
    assert losses.moving(wrong, features, 1.0) == pytest.approx(1 / 12)  # nothing moves
    assert losses.moving(wrong, features, 1.0, 1.0) == pytest.approx(5 / 24)  # 3 of 1 + 4, 9 of 1
    assert losses.moving(features + 1, features, 1.0, 2.0) == pytest.approx(1)
    features[0, :, 0] = 1e3  # among many: capped
    assert float(losses.foreground_weights(features.repeat(1, 1, 9, 1), 0.5).max()) == 2.0
    lone = torch.cat([features[:, :, :1], torch.zeros(1, 3, 99, 2)], dim=2)
    assert float(losses.foreground_weights(lone, 0.5).max()) == 8.0


def test_keypoints_follow_the_tokens_and_draw_themselves_back():
    projector = Projector((4, 4), dims=1, channels=4, keypoints=1)
    for parameter in projector.parameters():
        torch.nn.init.zeros_(parameter)
    # One bright token, passed through the middle of both kernels, attended to sharply.
    projector.near.weight.data[0, 0, 1, 1] = projector.far.weight.data[0, 0, 1, 1] = 1.0
    projector.maps.weight.data[0, 0] = 100.0
    tokens = torch.zeros(16, 16, 1)
    tokens[torch.arange(16), torch.arange(16)] = 5.0
    z = projector(tokens).detach()
    assert z.shape == (16, 4)
    torch.testing.assert_close(z[:, :2], grid_places(4, 4), atol=1e-3, rtol=0)
    assert z[0, :2].tolist() == pytest.approx([-1.5, -1.5], abs=1e-3)  # patches, from the middle
    assert z[1, :2].tolist() == pytest.approx([-0.5, -1.5], abs=1e-3)  # x first

    decoder = Decoder((4, 4), dims=1, channels=4, keypoints=1)
    drawn = []
    decoder.near.register_forward_hook(lambda _, inputs, __: drawn.append(inputs[0].detach()))
    assert decoder(z[None]).shape == (1, 16, 16, 1)
    assert drawn[0][:, 0].flatten(1).argmax(1).tolist() == list(range(16))
    assert drawn[0][0, 0, 0, 1] == pytest.approx(math.exp(-0.5), abs=2e-3)  # width: one patch


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


def test_contrast_is_the_cross_entropy_of_the_right_frame():
    now = torch.tensor([[0.0], [1.0], [3.0]])
    sharp = torch.tensor(0.5)
    logits = -torch.exp(sharp) * (now - now.T).square()
    both = [logits.log_softmax(dim).diagonal().mean() for dim in (0, 1)]
    value = contrast(now, now, torch.ones(3, 3, dtype=torch.bool), sharp)
    assert float(value) == pytest.approx(-float(both[0] + both[1]) / 2, rel=1e-5)
    # The second and the third row, alike, are not compared.
    gap = float(torch.exp(-torch.exp(sharp)))
    expected = (math.log1p(2 * gap) + 2 * math.log1p(gap)) / 3
    which = torch.tensor([0, 1, 1])
    twice = contrast(now[which], now[which], which[:, None] != which, sharp)
    assert float(twice) == pytest.approx(expected, rel=1e-5)


def test_surprise_is_the_cost_of_what_came_as_a_goal(model):
    assert isinstance(model, Surprising)
    assert isinstance(model, SurpriseReferences)
    clip = history(5)
    surprise = model.surprise(clip.frames, clip.actions)
    assert (surprise.dtype, surprise.shape) == (np.float32, (4,))
    for t in range(4):
        known = History(clip.frames[: t + 1], clip.proprio[: t + 1], clip.actions[:t])
        state, came = model.encode(known), model.encode(History.of_goal(clip.frames[t + 1]))
        cost = model.step_costs(state, came, clip.actions[None, t : t + 1])[0, 0]
        np.testing.assert_allclose(surprise[t], cost, rtol=1e-4)


def test_trivial_predictions_in_the_latent(model):
    clip, references = history(4), model.surprise_references()
    z = model.embed_frames(clip.frames).numpy()
    before = np.concatenate([z[:1], z[:-2]])
    for name, guess in (("copy_last", z[:-1]), ("constant_velocity", 2 * z[:-1] - before)):
        wanted = np.sqrt(((guess - z[1:]) ** 2).mean(-1))
        found = references[name].surprise(clip.frames, clip.actions)
        np.testing.assert_allclose(found, wanted, rtol=1e-5)
    with pytest.raises(InputError):
        model.surprise(clip.frames, clip.actions[:, :4])
