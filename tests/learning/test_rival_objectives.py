"""The rivals of V-JEPA: masks, views and targets by hand, and what collapses must be seen to."""

import numpy as np
import pytest
import torch
from moving_square import TINY, draw

from robot_wm.core.errors import ConfigError
from robot_wm.pretraining.collapse_metrics import health
from robot_wm.pretraining.jitter import Jitter, apply_jitter, draw_jitter
from robot_wm.pretraining.masking import target_blocks
from robot_wm.pretraining.objectives import Objective, make_objective
from robot_wm.pretraining.objectives.iwm import IWM
from robot_wm.pretraining.objectives.mae import normalized_patches
from robot_wm.pretraining.objectives.vjepa_plain import PlainVJEPA


def made(name: str, **options: object) -> Objective:
    torch.manual_seed(0)
    return make_objective(name, TINY, options, 1, 10, 2)


def clips(rng: np.random.Generator, count: int = 32) -> dict[str, torch.Tensor]:
    """Squares that move a little from frame to frame."""
    first = rng.uniform(6, 26, (count, 2))
    both = np.stack([first, np.clip(first + rng.uniform(-4, 4, (count, 2)), 4, 28)], axis=1)
    frames = np.stack([[draw(place) for place in pair] for pair in both])
    return {
        "frames": torch.from_numpy(frames), "actions": torch.zeros(count, 10),
        "summed_action": torch.from_numpy((both[:, 1] - both[:, 0]).astype(np.float32)),
        "scene": torch.zeros(count, dtype=torch.int64),
        "appearance_id": torch.zeros(count, dtype=torch.int64), "clip": torch.arange(count),
    }  # fmt: skip


def trained(objective: Objective, steps: int, lr: float = 3e-3) -> list[float]:
    """Losses of a short training."""
    rng, losses = np.random.default_rng(0), []
    optimizer = torch.optim.AdamW(objective.parameters(), lr)
    data = [clips(rng) for _ in range(8)]
    for step in range(steps):
        loss, parts = objective.train().loss(data[step % 8], rng)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        objective.after_step((step + 1) / steps)
        losses.append(parts["loss"])
    return losses


def directions(objective: Objective) -> float:
    """Participation ratio of tokens of fresh frames: how many axes they vary along."""
    frames = clips(np.random.default_rng(1), 128)["frames"][:, 0]
    return health(objective.encoder.eval().encode_frames(frames).numpy())["participation"]


def test_target_blocks_are_rectangles_and_no_part_of_the_context() -> None:
    rng, last = np.random.default_rng(0), np.zeros((8, 8), bool)
    sizes, kept = [], []
    for _ in range(200):
        mask = target_blocks(rng, 8, (8, 8))
        assert mask.context.shape[1] >= 10
        kept.append(mask.context.shape[1])
        sizes.append(mask.targets.shape[2])
        for row, targets in zip(mask.context, mask.targets, strict=True):
            assert len(set(row)) == len(row)
            assert not set(row) & set(targets.flat)
            for target in targets:
                y, x = np.unravel_index(target, (8, 8))
                assert (y.max() - y.min() + 1) * (x.max() - x.min() + 1) == len(target)
        last.flat[mask.targets.flatten()] = True
    assert last.all()  # the last row and column are hidden, too
    assert np.mean(sizes) == pytest.approx(10.9, abs=0.6)  # 15 to 20 % of 64 tokens
    # Four blocks cover 44 tokens at most and overlap; the context is the smallest of eight rows'.
    assert 64 - 44 < np.mean(kept) < 30


def test_masks_that_leave_no_context_are_refused() -> None:
    with pytest.raises(ConfigError, match="tokens of context"):
        target_blocks(np.random.default_rng(0), 2, (8, 8), area=(1.0, 1.0))
    with pytest.raises(ConfigError, match="target_area"):
        made("ijepa", target_area=[0.3, 0.2])
    with pytest.raises(ConfigError, match="width 42"):
        made("mae", decoder_width=42)


def test_jitter_of_nothing_changes_nothing_and_its_parameters_are_of_unit_variance() -> None:
    frames = torch.randint(0, 256, (4, 8, 8, 3), generator=torch.Generator().manual_seed(0))
    frames = frames.to(torch.uint8)
    still = Jitter(torch.zeros(4, 4), torch.zeros(4, 3))
    torch.testing.assert_close(apply_jitter(frames, still), frames.float(), atol=1e-3, rtol=0)
    drawn = draw_jitter(np.random.default_rng(0), 20_000, (0.2, 0.0, 1.0))
    # Uniform: standard error of a mean .007, of a deviation .003.
    assert drawn.colors.mean(0).abs().max() < 0.035
    torch.testing.assert_close(drawn.colors.std(0), torch.ones(4), atol=0.016, rtol=0)
    assert drawn.destroys.mean(0).tolist() == [pytest.approx(0.2, abs=0.015), 0, 1]


def test_each_parameter_of_jitter_does_what_it_says() -> None:
    frame = torch.tensor([[[[60, 90, 120], [30, 45, 60]]]], dtype=torch.uint8)

    def changed(place: int, value: float) -> torch.Tensor:
        colors = torch.zeros(1, 4)
        colors[0, place] = value * 3**0.5
        return apply_jitter(frame, Jitter(colors, torch.zeros(1, 3)), 0.5)[0, 0]

    before, grey = frame[0, 0].float(), torch.tensor([0.299, 0.587, 0.114])
    torch.testing.assert_close(changed(0, 1), 1.5 * before)
    middle = (before @ grey).mean()
    torch.testing.assert_close(changed(1, -1), middle + (before - middle) / 1.5)
    plain = (before @ grey)[:, None]
    torch.testing.assert_close(changed(2, 1), plain + 1.5 * (before - plain))
    turned = changed(3, 1)
    torch.testing.assert_close(turned.sum(1), before.sum(1))  # turned about the grey axis
    assert (turned - before).abs().max() > 5
    dull = apply_jitter(frame, Jitter(torch.zeros(1, 4), torch.tensor([[1.0, 0, 1]])))[0, 0]
    wanted = torch.where(plain > 128, 255 - plain, plain).expand(-1, 3)
    torch.testing.assert_close(dull, wanted, atol=1e-3, rtol=0)


def test_patches_are_normalised_and_flat_ones_stay_flat() -> None:
    rng = np.random.default_rng(0)
    frames = torch.from_numpy(rng.integers(0, 256, (2, 16, 16, 3), np.uint8))
    frames[1] = 77
    patches = normalized_patches(frames, 8)
    torch.testing.assert_close(patches[0].mean(-1), torch.zeros(4), atol=1e-5, rtol=0)
    # Uniform pixels have a variance of 1/12, to which 1e-3 is added.
    torch.testing.assert_close(patches[0].std(-1), torch.ones(4), atol=0.02, rtol=0)
    assert patches[1].abs().max() < 1e-5
    cut = frames[0, :8, 8:].permute(2, 0, 1).float().flatten() / 255
    wanted = (cut - cut.mean()) / (cut.var(correction=0) + 1e-3).sqrt()
    torch.testing.assert_close(patches[0, 1], wanted)  # second token: top right


SMALL = {"predictor_width": 32, "predictor_depth": 1}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ijepa", SMALL), ("mae", {"decoder_width": 32, "decoder_depth": 1}),
        ("videomae", {"decoder_width": 32, "decoder_depth": 1}), ("vicreg", {}),
        ("barlow_twins", {}), ("sigreg", {}),
    ],
)  # fmt: skip
def test_it_learns(name: str, options: dict) -> None:
    losses = trained(made(name, **options), 30)
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])


@pytest.mark.parametrize(
    ("name", "off"),
    [
        ("vicreg", {"variance": 0.0, "covariance": 0.0}),
        ("sigreg", {"weight": 0.0}),
    ],
)
def test_views_that_need_only_agree_collapse(name: str, off: dict) -> None:
    kept, lost = made(name), made(name, **off)
    rng, ends = np.random.default_rng(5), []
    for objective in (kept, lost):
        trained(objective, 50)
        ends.append(objective.train().loss(clips(rng, 64), rng)[1]["embedding_std"])
    assert ends[0] > 0.5
    assert ends[1] < ends[0] / 4
    assert directions(lost) < 0.75 * directions(kept)  # the encoder follows


def test_without_average_and_regulariser_tokens_end_on_one_direction() -> None:
    off = {"variance_weight": 0.0, "covariance_weight": 0.0, "centering": False,
           "ema_start": 0.0, "ema_end": 0.0}  # fmt: skip
    kept, lost = made("ijepa", **SMALL), made("ijepa", **SMALL, **off)
    begun = directions(kept)
    for objective in (kept, lost):
        trained(objective, 60)
    assert directions(lost) < 0.75 * begun
    assert directions(kept) > 1.2 * begun


def test_plain_vjepa_predicts_both_frames_and_averages_its_masks() -> None:
    objective, batch = made("vjepa_plain", **SMALL), clips(np.random.default_rng(0), 4)
    assert isinstance(objective, PlainVJEPA)
    loss, parts = objective.train().loss(batch, np.random.default_rng(1))
    assert parts["loss"] == parts["masked"] == float(loss.detach())  # no repair is in the loss
    masks = objective._masks(np.random.default_rng(1), 4)
    assert [mask.visible.shape[0] for mask in masks] == [4, 4]
    assert not objective.normal.centering


def test_iwm_is_told_the_difference_of_the_views() -> None:
    objective, rng = made("iwm", **SMALL), np.random.default_rng(0)
    assert isinstance(objective, IWM)
    source, target = draw_jitter(rng, 5000, (0.2, 0.2, 0.1)), draw_jitter(rng, 5000)
    told = objective._told(source, target)
    torch.testing.assert_close(told[:, :4].std(0), torch.ones(4), atol=0.04, rtol=0)
    torch.testing.assert_close(told[:, 4:], source.destroys)
    untold = made("iwm", told=False, **SMALL)
    assert isinstance(untold, IWM)
    assert untold._told(source, target).abs().max() == 0


def test_an_untrained_iwm_ranks_by_chance() -> None:
    objective = made("iwm", told=False, **SMALL)
    assert isinstance(objective, IWM)
    rng = np.random.default_rng(2)
    frames = rng.integers(0, 256, (200, 4, 4, 3), np.uint8).repeat(8, axis=1).repeat(8, axis=2)
    scene = torch.zeros(200, dtype=torch.int64)
    found = objective.reciprocal_rank(torch.from_numpy(frames), scene, rng, 8)
    chance = sum(1 / k for k in range(1, 9)) / 8  # .34: every rank of 8 is as likely
    assert found == pytest.approx(chance, abs=0.08)  # four standard errors of 200 pictures
