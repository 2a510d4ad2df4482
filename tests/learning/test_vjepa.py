"""The V-JEPA objective: its terms against closed forms, and that it learns."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from robot_wm.core.errors import ConfigError
from robot_wm.encoders.vit import EncoderConfig
from robot_wm.pretraining.objectives import make_objective
from robot_wm.pretraining.objectives.vjepa import VJEPA, weighted
from robot_wm.training.regularizers import centered, variance_covariance

TINY = EncoderConfig(image_size=16, patch=4, width=16, depth=1, heads=2, mlp_ratio=2)
SMALL = {
    "predictor_width": 16, "predictor_depth": 1, "visible": 4, "dense_tokens": 4,
    "inverse_hidden": 16,
}  # fmt: skip


def objective(**options: object) -> VJEPA:
    torch.manual_seed(0)
    built = make_objective(
        "vjepa", TINY, {**SMALL, **options}, scenes=2, action_dim=4, control_dim=2
    )
    assert isinstance(built, VJEPA)
    return built


def batch(size: int = 16) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    # Each clip has its own colour, so hidden tokens can be predicted from seen ones.
    color = torch.randint(0, 200, (size, 1, 1, 1, 3), generator=generator)
    noise = torch.randint(0, 55, (size, 2, 16, 16, 3), generator=generator)
    return {
        "frames": (color + noise).to(torch.uint8),
        "actions": (color[:, 0, 0, 0].float() / 58 - 1.7).repeat(1, 2)[:, :4],
        "summed_action": color[:, 0, 0, 0, :2].float() / 58 - 1.7,
        "scene": torch.arange(size) % 2,
        "appearance_id": torch.arange(size) % 2,
        "clip": torch.arange(size),
    }


def test_variance_and_covariance_terms() -> None:
    rows = torch.randn(20_000, 8, generator=torch.Generator().manual_seed(0))
    freedom = torch.tensor(20_000)
    hinge, covariance = variance_covariance(rows, freedom)
    # N(0, I): the sampling error of a deviation is .005, of a covariance .007 (56 pairs / 8).
    assert hinge < 0.01
    assert covariance < 2e-3
    hinge, covariance = variance_covariance(torch.zeros(100, 8), torch.tensor(100))
    assert hinge.item() == pytest.approx(1 - 1e-4**0.5)
    assert covariance == 0
    # All channels equal, unit variance: C_ij = 1, so Σ_{i≠j} C² / D = 8·7/8 = 7.
    hinge, covariance = variance_covariance(rows[:, :1].expand(-1, 8), freedom)
    assert covariance.item() == pytest.approx(7, rel=0.05)


def test_centred_removes_group_means_and_counts_freedom() -> None:
    tokens = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    groups = torch.arange(60) % 5 * 2  # groups 0, 2, 4, 6, 8 of 10
    result, freedom = centered(tokens + groups[:, None], groups, 10)
    assert freedom == 55
    for group in range(0, 10, 2):
        torch.testing.assert_close(
            result[groups == group].mean(0), torch.zeros(4), atol=1e-6, rtol=0
        )
    torch.testing.assert_close(result, centered(tokens, groups, 10)[0], atol=1e-5, rtol=0)


def test_targets_are_centred_and_scaled() -> None:
    model, data = objective().train(), batch(64)
    for _ in range(150):
        goal = model._targets(data["frames"], data["scene"])
    tokens = F.layer_norm(model.target(data["frames"].flatten(0, 1)[:, None]), (16,))
    raw = tokens.view(64, 2, 16, 16)
    assert raw.mean((0, 1)).abs().max() > 0.5  # positions and biases dominate before
    for scene in (0, 1):
        mine = goal.view(64, 2, 16, 16)[data["scene"] == scene]
        # The data never changes: the running mean is the mean, the running scale nearly so.
        torch.testing.assert_close(mine.mean((0, 1)), torch.zeros(16, 16), atol=1e-4, rtol=0)
    assert goal.square().mean().sqrt().item() == pytest.approx(1, abs=0.02)
    frozen = objective().eval()
    frozen._targets(data["frames"], data["scene"])
    assert frozen.normal.count.sum() == 0


def test_centring_off_keeps_the_means() -> None:
    model, data = objective(centering=False).train(), batch(64)
    goal = model._targets(data["frames"], data["scene"])
    assert goal.view(64, 2, 16, 16).mean((0, 1)).abs().max() > 0.5


def test_after_step_is_the_ema_formula() -> None:
    model = objective(ema_start=0.9, ema_end=0.99)
    with torch.no_grad():
        for p in model.context.parameters():
            p.add_(1.0)
    before = {k: v.clone() for k, v in model.target.state_dict().items()}
    model.after_step(0.5)
    assert model.momentum(0) == pytest.approx(0.9)
    assert model.momentum(0.5) == pytest.approx(0.945)
    assert model.momentum(1) == pytest.approx(0.99)
    for name, value in model.target.state_dict().items():
        wanted = 0.945 * before[name] + 0.055 * model.context.state_dict()[name]
        torch.testing.assert_close(value, wanted, atol=1e-6, rtol=1e-6)
    assert model.encoder is model.target


def test_context_tokens_are_those_of_frames_encoded_alone() -> None:
    model, data = objective().eval(), batch(3)
    for future in (True, False):
        seen = model._context(data["frames"], None, future, np.random.default_rng(0))
        joint = torch.cat([seen.where, seen.hidden], dim=1).sort(dim=1).values
        assert torch.equal(joint, torch.arange(32).expand(3, -1))  # nothing lost, nothing twice
        for row in range(3):
            for time in (0, 1):
                mine = seen.where[row] // 16 == time
                keep = seen.where[row][mine] % 16
                alone = model.context(data["frames"][row : row + 1, time : time + 1], keep[None])
                torch.testing.assert_close(seen.tokens[row][mine], alone[0], atol=1e-5, rtol=1e-4)


def test_inverse_dynamics_uses_the_head_of_its_scene() -> None:
    model, data = objective(), batch(4)
    pair = torch.randn(4, 32, 16)
    before = model.inverse(pair, data["scene"])
    with torch.no_grad():
        model.inverse.heads.bias.view(2, 2)[1] += 1  # scene 1 only
    moved = model.inverse(pair, data["scene"]) - before
    torch.testing.assert_close(moved, data["scene"][:, None].expand(-1, 2).float())


def test_action_reaches_the_prediction_through_its_own_scene_only() -> None:
    model, data = objective(), batch(4)
    seen = model._context(data["frames"], None, True, np.random.default_rng(0))
    dense = torch.zeros(4, 1, dtype=torch.int64)
    before = model.predictor(seen, dense, data["actions"], data["scene"])[0]
    with torch.no_grad():
        # The map of scene 1: four action entries and the scene itself.
        model.predictor.act.weight[:, 5:] = torch.randn(16, 5)
    change = model.predictor(seen, dense, data["actions"], data["scene"])[0] - before
    assert change[data["scene"] == 0].abs().max() == 0
    assert change[data["scene"] == 1].abs().max() > 1e-2


def test_the_action_changes_the_prediction_unless_switched_off() -> None:
    changes = []
    for token in (True, False):
        model, data = objective(action_token=token), batch(4)
        seen = model._context(data["frames"], None, True, np.random.default_rng(0))
        dense = torch.arange(4).expand(4, -1)
        one, two = (
            model.predictor(seen, dense, sign * data["actions"], data["scene"]) for sign in (1, -1)
        )
        changes += [[(a - b).abs().max().item() for a, b in zip(one, two, strict=True)]]
    assert min(changes[0]) > 1e-3  # hidden and visible places alike
    assert changes[1] == [0, 0]


def test_the_predictors_grid_keeps_every_token_in_its_place() -> None:
    predictor = objective().predictor
    tokens = torch.arange(3 * 32 * 5.0).view(3, 32, 5)
    grid = predictor._to_grid(tokens)
    # Token 6 of frame 2 is row 1, column 2; frame 2 fills the second half of the channels.
    assert torch.equal(grid[1, 5:, 1, 2], tokens[1, 16 + 6])
    assert torch.equal(predictor._to_tokens(grid), tokens)


def test_predictions_land_at_the_places_asked_for() -> None:
    model, data = objective(), batch(3)
    seen = model._context(data["frames"], None, False, np.random.default_rng(0))
    dense = torch.tensor([[0, 7], [3, 3], [15, 1]])
    arguments = (data["actions"], data["scene"])
    hidden, visible = model.predictor(seen, dense, *arguments)
    order = torch.randperm(seen.hidden.shape[1], generator=torch.Generator().manual_seed(0))
    mixed = seen._replace(hidden=seen.hidden[:, order])
    torch.testing.assert_close(model.predictor(mixed, dense, *arguments)[0], hidden[:, order])
    # Turning round the context's order moves nothing, but the rows `dense` counts in.
    turned = seen._replace(tokens=seen.tokens.flip(1), where=seen.where.flip(1))
    again = model.predictor(turned, seen.where.shape[1] - 1 - dense, *arguments)
    for one, two in zip(again, (hidden, visible), strict=True):
        torch.testing.assert_close(one, two, atol=1e-6, rtol=1e-5)


def test_patches_whose_pixels_changed_weigh_more() -> None:
    model = objective(motion_weight=3.0)
    frames = torch.full((2, 2, 16, 16, 3), 100, dtype=torch.uint8)
    frames[0, 1, 5, 9, 2] += 9  # row 1, column 2 of the 4 x 4 patches
    frames[1, 0, 15, 0, 0] -= 8  # too little: noise of the renderer
    frames[1, 1, 15, 15, 1] -= 60  # the last patch
    wanted = torch.ones(2, 2, 16)
    wanted[0, :, 6] = wanted[1, :, 15] = 4  # 1 + motion_weight, in both frames
    assert torch.equal(model._weights(frames), wanted.flatten(1))
    assert torch.equal(objective(motion_weight=0.0)._weights(frames), torch.ones(2, 32))


def test_inverse_dynamics_is_scored_on_the_drift() -> None:
    model, data = objective(), batch(4)
    # The head is used in future-frame batches, half of all.
    every = [model.loss(data, np.random.default_rng(seed))[1] for seed in range(8)]
    parts = next(parts for parts in every if "inverse" in parts)
    flat = model.context(data["frames"].flatten(0, 1)[:, None]).view(4, 32, 16)
    guess = model.inverse(flat, data["scene"])
    assert guess.shape == data["summed_action"].shape
    error = (guess - data["summed_action"]).square()
    assert parts["inverse"] == pytest.approx(error.mean().item(), rel=1e-5)
    # A control that a robot does not have counts for nothing.
    data["summed_action"][0, 1] = torch.nan
    every = [model.loss(data, np.random.default_rng(seed))[1] for seed in range(8)]
    parts = next(parts for parts in every if "inverse" in parts)
    wanted = (error.sum() - error[0, 1]).item() / 7
    assert parts["inverse"] == pytest.approx(wanted, rel=1e-5)


@torch.no_grad()
def test_contrast_compares_clips_of_one_look() -> None:
    model, data = objective(), batch(6)
    pair = model.context(data["frames"].flatten(0, 1)[:, None]).view(6, 32, 16)
    looks = [torch.zeros(6, dtype=torch.long), data["appearance_id"], torch.arange(6)]
    values = [float(model.contrast(pair, look, data["clip"])) for look in looks]
    assert values[0] > values[1] > values[2]
    assert values[2] == pytest.approx(0)  # with nothing to compare with there is nothing to learn
    twice = data["clip"].clone()
    twice[2] = twice[0]
    assert float(model.contrast(pair, looks[0], twice)) < values[0]
    halves = [float(model.contrast(pair[i::2], looks[0][:3], data["clip"][:3])) for i in (0, 1)]
    assert values[1] == pytest.approx(sum(halves) / 2, rel=1e-5)


def test_weighted_loss_is_the_weighted_mean_of_smooth_l1() -> None:
    predicted = torch.tensor([[[0.5, 0.5], [3.0, 3.0]]])
    # Smooth L1: 0.5²/2 = 0.125 and 3 − 0.5 = 2.5; weights 1 and 3.
    loss = weighted(predicted, torch.zeros(1, 2, 2), torch.tensor([[1.0, 3.0]]))
    assert loss.item() == pytest.approx((0.125 + 3 * 2.5) / 4)


def test_no_gradient_reaches_the_target_and_every_learner_gets_one() -> None:
    model, data = objective(), batch()
    rng = np.random.default_rng(0)
    for _ in range(6):  # both mask kinds
        model.loss(data, rng)[0].backward()
    assert all(p.grad is None for p in model.target.parameters())
    silent = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert silent == []


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"masks": "tubes", "tube_blocks": 2},
        {"dense_weight": 0.0, "inverse_weight": 0.0, "variance_weight": 0.0},
        {"contrast_weight": 0.0},
    ],
)
def test_loss_decreases(options) -> None:
    model, data = objective(**options).train(), batch()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-3)

    def score() -> float:
        model.eval()  # the same masks before and after; running statistics stay put
        rng = np.random.default_rng(5)
        with torch.no_grad():
            return float(np.mean([model.loss(data, rng)[1]["loss"] for _ in range(8)]))

    for _ in range(3):
        model._targets(data["frames"], data["scene"])  # settle the target statistics first
    before, rng = score(), np.random.default_rng(0)
    model.train()
    for step in range(30):
        loss, _ = model.loss(data, rng)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.after_step(step / 30)
    assert score() < 0.95 * before


def test_same_seed_same_loss_and_other_seed_another() -> None:
    losses = [
        objective().loss(batch(), np.random.default_rng(seed))[0].item() for seed in (7, 7, 8)
    ]
    assert losses[0] == losses[1] != losses[2]


def test_parts_follow_the_options() -> None:
    rng = np.random.default_rng(0)
    full: set[str] = set()
    for _ in range(8):
        full |= objective().loss(batch(), rng)[1].keys()
    assert {"dense", "inverse", "ef_future", "ef_random"} <= full
    bare = objective(dense_weight=0.0, inverse_weight=0.0)
    assert not hasattr(bare, "inverse")
    for _ in range(8):
        assert not {"dense", "inverse"} & bare.loss(batch(), rng)[1].keys()


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ConfigError, match="dens_weight"):
        objective(dens_weight=1.0)
    with pytest.raises(ConfigError):
        objective(masks="stripes")
    with pytest.raises(ConfigError):
        make_objective("nothing", TINY, {}, 1, 3, 3)
