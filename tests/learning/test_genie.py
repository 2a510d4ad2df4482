"""Genie: codes that are used, actions that fit through a few codes, frames unmasked in passes."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from moving_square import SIZE, draw
from tiny_jepa import SPEC

from robot_wm.world_models.genie import latent_actions
from robot_wm.world_models.genie.config import GenieConfig
from robot_wm.world_models.genie.dynamics import unmasked
from robot_wm.world_models.genie.measures import agreement, carried_over
from robot_wm.world_models.genie.network import Genie
from robot_wm.world_models.genie.quantizer import PATIENCE, VectorQuantizer, perplexity

TINY = GenieConfig(
    "square", codes=16, code_width=4, latent_actions=3, tokenizer_depth=1, action_depth=1,
    width=16, depth=1, heads=2,
)  # fmt: skip


@pytest.fixture
def genie():
    torch.manual_seed(0)
    return Genie(TINY, SPEC).eval()


def films(count=4, frames=4, seed=0):
    rng = np.random.default_rng(seed)
    places = rng.uniform(6, SIZE - 6, (count, frames, 2))
    return torch.from_numpy(np.array([[draw(p) for p in film] for film in places]))


def random_like(seed):
    return torch.Generator().manual_seed(seed)


def test_a_vector_becomes_the_nearest_code_and_gradients_go_straight_through():
    torch.manual_seed(0)
    quantizer = VectorQuantizer(16, 4)
    quantizer.idle.zero_()  # nothing to revive
    z = F.normalize(torch.randn(8, 4), dim=1).requires_grad_()
    found, loss = quantizer.learn(z, random_like(0))
    nearest = torch.cdist(z, quantizer.vectors()).argmin(dim=1)
    torch.testing.assert_close(found, quantizer.vectors()[nearest])
    asked = torch.randn(8, 4)
    (got,) = torch.autograd.grad((found * asked).sum(), z, retain_graph=True)
    # As if nothing were quantised: what is left on the sphere of the gradient, (I - z zᵀ) g.
    wanted = asked - (z * asked).sum(dim=1, keepdim=True) * z
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-6)
    # ‖z - e‖² once for the codebook, a quarter of it for what is quantised.
    torch.testing.assert_close(loss, 1.25 * (z - found).square().sum(1).mean())


@torch.no_grad()
def test_codes_that_lie_idle_are_put_where_something_is():
    torch.manual_seed(0)
    quantizer, rows = VectorQuantizer(8, 4), F.normalize(torch.randn(64, 4).abs(), dim=1)
    quantizer.codebook.copy_(-torch.ones(8, 4))
    quantizer.codebook[0] = 1
    quantizer.idle.zero_()
    generator = random_like(0)
    for _ in range(PATIENCE):
        quantizer.learn(rows, generator)
    assert perplexity(quantizer.nearest(rows), 8) == pytest.approx(1)  # one code serves all
    assert quantizer.idle.tolist() == [0, *[PATIENCE] * 7]
    quantizer.learn(rows, generator)
    assert quantizer.codebook[0].tolist() == [1, 1, 1, 1]
    # Rows are about .2 apart; distances by way of products are good to the root of rounding.
    assert torch.cdist(quantizer.codebook[1:], rows).amin(dim=1).max() < 2e-3
    assert perplexity(quantizer.nearest(rows), 8) > 4


def test_a_new_codebook_begins_on_data():
    torch.manual_seed(0)
    quantizer, rows = VectorQuantizer(16, 4), F.normalize(torch.randn(64, 4), dim=1)
    with torch.no_grad():
        quantizer.learn(rows, random_like(0))
    assert torch.cdist(quantizer.codebook, rows).amin(dim=1).max() < 2e-3


def test_perplexity_counts_codes_in_use():
    assert perplexity(torch.arange(8).repeat(3), 8) == pytest.approx(8)
    assert perplexity(torch.full((5,), 2), 8) == pytest.approx(1)
    assert perplexity(torch.tensor([0, 0, 1, 1]), 8) == pytest.approx(2)


def test_few_tokens_are_unmasked_at_first():
    # 64 - ⌊64 cos(π i / 2n)⌋, worked out by hand.
    assert unmasked(1, 64) == [64]
    assert unmasked(2, 64) == [19, 64]
    assert unmasked(4, 64) == [5, 19, 40, 64]


@torch.no_grad()
def test_every_place_is_filled_once_and_true_frames_hold_no_mask(genie, monkeypatch):
    asked, embed = [], genie.dynamics._embed

    def spy(tokens, actions):
        asked.append((tokens == genie.dynamics.mask).sum(dim=-1).unique().tolist())
        return embed(tokens, actions)

    monkeypatch.setattr(genie.dynamics, "_embed", spy)
    seen, done = genie.look(films(1, 2)[0]), torch.zeros(1, 10)
    frames = genie.imagine(seen, done, torch.zeros(5, 2, 10), seed=0).latents
    known = unmasked(2, 16)[0]
    # The past; two passes and what they filled in; two passes of the last frame.
    assert asked == [[0], [16], [16 - known], [0], [16], [16 - known]]
    assert frames.shape == (5, 2, 16)
    assert 0 <= frames.min() <= frames.max() < TINY.codes


@torch.no_grad()
def test_the_native_cost_is_the_expected_distance_of_code_vectors(genie):
    vectors = genie.tokenizer.quantizer.vectors()
    share = torch.randn(2, 3, 16, TINY.codes).softmax(dim=-1)
    goal = torch.randint(TINY.codes, (16,))
    distances = (vectors[None] - vectors[goal][:, None]).square().sum(dim=-1)  # [P, K]
    wanted = (share * distances).sum(dim=-1).mean(dim=-1)
    torch.testing.assert_close(genie.gap(share @ vectors, goal), wanted, rtol=1e-4, atol=1e-5)
    sure = F.one_hot(goal, TINY.codes).float()[None, None]
    assert float(genie.gap(sure @ vectors, goal)) == pytest.approx(0, abs=1e-6)


@torch.no_grad()
def test_the_decoder_learns_of_the_next_frame_through_its_code_alone(genie, monkeypatch):
    model, shown = genie.actions, []
    monkeypatch.setattr(
        latent_actions, "moving", lambda guess, rows, _: shown.append(guess) or guess.mean()
    )
    codes = torch.zeros(4, 3, dtype=torch.int64)

    def guessed(frames, codes):
        """What the loss compares with ``frames``, had they been given these codes."""
        monkeypatch.setattr(
            model.quantizer, "learn", lambda z, g: (model.quantizer.embed(codes), z.sum())
        )
        model.losses(frames, random_like(0))
        return shown.pop()

    frames = films()
    other = frames.clone()
    other[:, -1] = films(seed=1)[:, -1]
    assert torch.equal(guessed(frames, codes), guessed(other, codes))
    spoken = codes.clone()
    spoken[:, -1] = 1
    one, two = guessed(frames, codes), guessed(frames, spoken)
    assert torch.equal(one[:, :-1], two[:, :-1])
    assert not torch.allclose(one[:, -1], two[:, -1], atol=1e-4)


@torch.no_grad()
def test_a_latent_action_is_one_of_a_few_and_knows_no_later_frame(genie):
    frames = films(16)
    codes = genie.actions.infer(frames)
    assert codes.shape == (16, 3)
    assert set(codes.unique().tolist()) <= set(range(TINY.latent_actions))
    other = frames.clone()
    other[:, -1] = 255 - other[:, -1]
    assert torch.equal(genie.actions._vectors(genie.actions._rows(other))[:, :2],
                       genie.actions._vectors(genie.actions._rows(frames))[:, :2])  # fmt: skip


@torch.no_grad()
def test_actions_that_look_alike_get_codes_that_do_not(genie):
    """Else no code tells the decoder anything, and the codes stay as they are."""
    model, frames = genie.actions, films(32)
    raw = model._vectors(model._rows(frames))

    def apart(vectors):
        model.quantizer.idle.fill_(PATIENCE)  # begin on these
        found, _ = model.quantizer.learn(vectors, random_like(0))
        return float(found.flatten(0, 1).var(dim=0).sum())  # 1 at most on the unit sphere

    assert apart(raw) < 0.1
    assert apart(model.standardize.learn(raw)) > 0.5


def test_statistics_are_taken_when_told_to_and_not_by_the_mode(genie):
    genie.train()
    standard, rows = genie.actions.standardize, 3 + 2 * torch.randn(64, 4)
    found = standard.learn(rows)
    torch.testing.assert_close(found.mean(0), torch.zeros(4), rtol=0, atol=1e-5)
    torch.testing.assert_close(found.var(0, correction=0), torch.ones(4), rtol=1e-3, atol=0)
    torch.testing.assert_close(standard.mean, 0.05 * rows.mean(0))
    for _ in range(200):  # 0.95²⁰⁰ is 4e-5
        standard.learn(rows)
    torch.testing.assert_close(standard(rows), found, rtol=1e-2, atol=1e-2)
    before = {name: value.clone() for name, value in genie.state_dict().items()}
    genie.losses("dynamics", films(), torch.zeros(4, 3, 10), random_like(0))
    assert all(torch.equal(value, before[name]) for name, value in genie.state_dict().items())


def test_dynamics_learns_from_codes_that_are_read_off_pictures_not_from_labels(genie):
    frames, blocks = films(), torch.randn(4, 3, 10)
    one, other = (
        genie.losses("dynamics", frames, actions, random_like(0))["dynamics"]
        for actions in (blocks, -blocks)
    )
    assert torch.equal(one, other)
    one.backward()
    learning = {
        name.partition(".")[0] for name, p in genie.named_parameters() if p.grad is not None
    }
    assert learning == {"dynamics"}


def test_codes_that_name_true_actions_agree_with_them_and_others_do_not():
    rng = np.random.default_rng(0)
    corners = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]], np.float32)
    codes = torch.from_numpy(rng.integers(4, size=(60, 5)))
    controls = torch.from_numpy(corners)[codes] + 0.01 * torch.randn(60, 5, 2)
    right = agreement(codes, controls, 4)
    assert right["action_r2"] > 0.99
    assert right["actions_used"] == pytest.approx(4, abs=0.1)
    assert right["adj_mi"] > 0.7  # eight clusters of four corners
    guessed = agreement(torch.from_numpy(rng.integers(4, size=(60, 5))), controls, 4)
    assert abs(guessed["adj_mi"]) < 0.05
    assert guessed["action_r2"] < 0.1


class Mover:
    """A latent action model that knows by how far a bright column moved, or only where to."""

    def __init__(self, leaks):
        self.leaks = leaks

    def infer(self, frames):
        where = frames[..., 0].float().mean(dim=2).argmax(dim=-1)
        return where[:, 1:] if self.leaks else where[:, 1:] - where[:, :-1]

    def predict(self, frames, codes):
        where = frames[..., 0].float().mean(dim=2).argmax(dim=-1)
        to = codes if self.leaks else where + codes
        return F.one_hot(to.clamp(0, 15), 16).float()[:, :, None, :, None].expand(-1, -1, 4, -1, 3)


def test_a_code_that_says_what_was_done_serves_elsewhere_and_one_of_the_picture_does_not():
    rng = np.random.default_rng(0)
    start, step = rng.integers(4, 7, size=24), rng.integers(-2, 3, size=(24, 2))
    step[step == 0] = 1
    where = np.stack([start, start + step[:, 0], start + step.sum(axis=1)], axis=1)
    frames = np.zeros((24, 3, 4, 16, 3), np.uint8)
    for i, j in np.ndindex(24, 3):
        frames[i, j, :, where[i, j]] = 255
    frames, blocks = torch.from_numpy(frames), torch.from_numpy(step).float()[..., None]
    noisy = Mover(False)
    exact = noisy.predict
    noisy.predict = lambda f, c: (exact(f, c) + 0.1).clamp(0, 1)
    assert carried_over(noisy, frames, blocks)["transfer"] == pytest.approx(1, abs=1e-4)
    leaky = Mover(True)
    drawn = leaky.predict
    leaky.predict = lambda f, c: (drawn(f, c) + 0.1).clamp(0, 1)
    found = carried_over(leaky, frames, blocks)
    assert found["transfer"] > 2
    assert found["code_db"] > 1


@torch.no_grad()
def test_a_network_measures_its_codes(genie):
    frames = films(count=6)
    found = genie.measure(frames, torch.randn(6, 3, 10))
    assert {"tokens_used", "actions_used", "adj_mi", "transfer", "code_db"} <= set(found)
    assert all(np.isfinite(value) for value in found.values())
