"""What models on raw frames share: windows, the loss of a picture, three costs, resuming."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from moving_square import EVERY, SIZE, SPEED, TINY, draw, make_dataset, tiny_encoder
from torch import nn

from robot_wm.core.errors import ConfigError, WeightsError
from robot_wm.core.protocols import History, ModelSpec, seed_of
from robot_wm.data.windows import frame_windows
from robot_wm.encoders.frozen import save_encoder
from robot_wm.encoders.vit import VideoEncoder
from robot_wm.training.checkpoint import load_artifact
from robot_wm.training.loop import fit
from robot_wm.world_models.base import WORLD_MODELS, TrainingData
from robot_wm.world_models.dreamer.config import DreamerConfig
from robot_wm.world_models.genie.config import GenieConfig
from robot_wm.world_models.pixels.frames import pixel_loss, to_canvas, to_frames
from robot_wm.world_models.pixels.measures import open_loop
from robot_wm.world_models.pixels.model import PixelModel, Seen, pushed, unpushed
from robot_wm.world_models.world_models_2018.config import WorldModels2018Config

SPEC = ModelSpec(
    "square", (-1.0,) * 10, (1.0,) * 10, 2, 0.02, context=2, horizon=3, image_size=SIZE
)
TINY_RUNS = {
    "dreamer": DreamerConfig(
        "square", window=6, horizon=3, held_out=0, deter=16, blocks=4, groups=4, classes=4,
        hidden=8, depth=1, units=8, steps=2, batch=2, behaviour_steps=2, starts=4, imagined=3,
        threads=1, log_every=1,
    ),
    "world_models": WorldModels2018Config(
        "square", window=6, horizon=3, held_out=0, z=4, hidden=8, mixtures=2, vae_steps=2,
        vae_batch=4, rnn_steps=2, rnn_batch=4, generations=2, population=4, dreams=4, threads=1,
        log_every=1,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("squares") / "data", episodes=24)


@dataclass(frozen=True)
class Place(Seen):
    xy: torch.Tensor


class TrueModel(PixelModel[nn.Module, Place]):
    """Knows the toy's physics and draws it exactly; ``speed`` 0 believes that nothing moves."""

    def __init__(self, cost="native", speed=SPEED):
        super().__init__(nn.Linear(1, 1), tiny_encoder(), SPEC, cost)
        self.speed = speed

    def encode(self, history):
        gray = history.frames[-1].sum(axis=-1).astype(float)
        axis, total = np.arange(SIZE), gray.sum()
        xy = (gray.sum(0) @ axis / total, gray.sum(1) @ axis / total)
        return Place(history.frames[-1], torch.tensor(xy))

    def imagine(self, state, actions):
        moves = actions.reshape(*actions.shape[:2], EVERY, 2).double()
        place, steps = state.xy.expand(len(actions), 2), []
        for block in range(actions.shape[1]):
            for control in range(EVERY):
                place = (place + self.speed * moves[:, block, control]).clamp(4, SIZE - 4)
            steps.append(place.round(decimals=6))  # the pen cuts fractions of a grey level off
        return torch.stack(steps, dim=1)[None]

    def pictures(self, features):
        drawn = np.stack([draw(place) for place in features.numpy()])
        return to_canvas(torch.from_numpy(drawn))

    def distance(self, features, goal):
        return (features - goal.xy).square().sum(-1).float()


def test_windows_are_recorded_ones_with_their_actions(store):
    windows = frame_windows([store, store], "train", 5)
    inside = store.indices("train")
    assert len(windows) == 2 * sum(store.frames_of(i) - 4 for i in inside)
    batch = windows.gather(np.arange(len(windows)))
    place = 0
    for i in inside:
        episode = store[i]
        blocks = episode.actions.reshape(-1, 10)
        for start in range(len(episode.frames) - 4):
            assert (batch.frames[place].numpy() == episode.frames[start : start + 5]).all()
            assert (batch.actions[place].numpy() == blocks[start : start + 4]).all()
            place += 1
    again = [windows.draw(6, np.random.default_rng(3)).frames for _ in range(2)]
    assert torch.equal(*again)


def test_pictures_keep_their_pixels_and_squares_count_more():
    frames = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    assert (to_frames(to_canvas(torch.from_numpy(frames)), 64).numpy() == frames).all()
    backdrop, images = torch.zeros(3, 64, 64), torch.zeros(1, 3, 64, 64)
    images[0, 0, 5, 7] = 0.5  # one pixel of the foreground, three numbers
    # Off by 0.1 everywhere: 0.01 for each number, and the pixel's three numbers once and 4 more.
    found = pixel_loss(images + 0.1, images, backdrop, 4.0)
    np.testing.assert_allclose(found, [0.01 * (3 * 64 * 64 + 4 * 3)], rtol=1e-5)
    np.testing.assert_allclose(pixel_loss(images + 0.1, images, backdrop, 0.0), [122.88], rtol=1e-5)


def test_actions_in_shares_of_their_bounds():
    low, high = torch.tensor([-2.0, 0.0]), torch.tensor([4.0, 1.0])
    shares = pushed(torch.tensor([[-2.0, 1.0], [1.0, 0.5]]), low, high)
    np.testing.assert_allclose(shares, [[-1, 1], [0, 0]])
    np.testing.assert_allclose(unpushed(shares, low, high), [[-2, 1], [1, 0.5]])
    np.testing.assert_allclose(unpushed(3 * shares, low, high), [[-2, 1], [1, 0.5]])


def history(*places):
    frames = np.stack([draw(np.array(place)) for place in places])
    return History(frames, np.zeros((len(places), 0), np.float32),
                   np.zeros((len(places) - 1, 10), np.float32))  # fmt: skip


@pytest.mark.parametrize("cost", ["native", "pixels", "shared"])
def test_every_cost_is_least_where_the_goal_is_reached(cost):
    model = TrueModel(cost)
    state, goal = model.encode(history((16, 16), (16, 16))), model.encode(history((24, 16)))
    there = np.tile([1.0, 0.0], EVERY)  # 4 px a block: the goal after two
    plans = np.stack([[there, there, 0 * there], [-there] * 3, [0 * there] * 3]).astype(np.float32)
    costs = model.step_costs(state, goal, plans)
    assert costs.dtype == np.float32
    np.testing.assert_allclose(costs[0, 1], costs[0, 2], rtol=1e-4)
    np.testing.assert_allclose(costs[2], costs[2, 0], rtol=1e-4)  # nobody moved
    # The encoder sees the drawing after it was on a larger canvas, a little blurred.
    assert costs[0, 1] < (0.2 * costs[2, 0] if cost == "shared" else 1e-6)
    assert (costs[0, 1:] <= costs.min() * (1 + 1e-4)).all()
    assert costs[0, 0] < costs[2, 0]
    if cost == "pixels":
        wanted = to_canvas(torch.from_numpy(draw(np.array((12, 16)))[None]))
        goal_image = to_canvas(torch.from_numpy(goal.frame[None]))
        np.testing.assert_allclose(costs[1, 0], (wanted - goal_image).square().mean(), rtol=1e-5)


def test_a_wrong_cost_is_refused():
    with pytest.raises(ConfigError, match="native"):
        TrueModel("latent")


def test_chance_depends_on_every_byte_seen_and_done():
    one = history((16, 16), (18, 16))
    moved = History(one.frames, one.proprio, one.actions + np.float32(1e-6))
    seeds = {seed_of(h) for h in (one, moved, history((16, 16), (16, 18)))}
    assert len(seeds) == 3
    assert seed_of(one) == seed_of(history((16, 16), (18, 16)))


def test_open_loop_measures_know_the_truth_from_standing_still(store):
    batch = frame_windows([store], "train", 6).evenly_spaced(12)
    right, still = (open_loop(model, batch, 3) for model in (TrueModel(), TrueModel(speed=0.0)))
    # Places are read off pictures of 8 bits: a hundredth of a pixel.
    assert right["explained_1"] > 0.98
    assert right["explained_3"] > 0.98
    assert right["shuffled"] > 20
    # It draws the place that it read, nearly the last frame.
    assert abs(still["explained_3"]) < 0.02
    assert still["shuffled"] == 1


@pytest.mark.parametrize("name", sorted(TINY_RUNS))
def test_resuming_equals_never_having_stopped(name, store, tmp_path):
    torch.manual_seed(0)
    save_encoder(tmp_path / "encoder", VideoEncoder(TINY), {}, {}, "random weights")
    data = TrainingData([store.root], tmp_path / "encoder", lambda path: path)
    family, config = WORLD_MODELS[name], TINY_RUNS[name]

    def make(out):
        return lambda: family.begin(config, data, out)

    for stop in (1, 3, None):
        fit(make(tmp_path / "halting"), tmp_path / "halting", stop_at=stop)
    fit(make(tmp_path / "once"), tmp_path / "once")
    both = [load_artifact(tmp_path / d / "world_model", "world_model") for d in ("halting", "once")]
    for key, value in both[0][0].items():
        assert torch.equal(value, both[1][0][key]), key
    assert both[0][2]["sha256"] == both[1][2]["sha256"]
    assert family.load(tmp_path / "once/world_model", data.encoder).spec.horizon == 3
    (tmp_path / "once/world_model/config.json").write_text("{}")
    with pytest.raises(WeightsError):
        family.load(tmp_path / "once/world_model", data.encoder)


def test_surprises_are_as_many_as_steps(store, tmp_path):
    torch.manual_seed(0)
    save_encoder(tmp_path / "encoder", VideoEncoder(TINY), {}, {}, "random weights")
    data = TrainingData([store.root], tmp_path / "encoder", lambda path: path)
    episode = store[0]
    actions = episode.actions.reshape(-1, 10)
    for name, config in TINY_RUNS.items():
        family = WORLD_MODELS[name]
        model = family.load(family.train(config, data, tmp_path / name), data.encoder)
        found = model.surprise(episode.frames, actions)
        assert found.dtype == np.float32
        assert found.shape == (len(actions),)
        assert np.isfinite(found).all()
        # What comes later surprises nobody before.
        before = model.surprise(episode.frames[:4], actions[:3])
        np.testing.assert_allclose(found[:3], before, rtol=1e-4, atol=1e-6)
        assert found.tobytes() == model.surprise(episode.frames, actions).tobytes()


TAKING = {
    "world_models": (TINY_RUNS["world_models"], {"temperature": 0.5}, {"z": 8}, "controller."),
    "genie": (
        GenieConfig(
            "square", codes=16, code_width=4, tokenizer_depth=1, tokenizer_steps=2,
            tokenizer_batch=4, action_depth=1, action_steps=2, action_batch=4, labels=8,
            label_steps=2, steps=2, width=16, depth=1, heads=2, batch=4, horizon=3, threads=1,
        ),
        {"latent_actions": 4}, {"code_width": 8}, "dynamics.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(TAKING))
def test_parts_of_a_stored_model_are_taken_over_and_not_trained(name, store, tmp_path):
    whole, change, misshapen, learnt = TAKING[name]
    save_encoder(tmp_path / "encoder", VideoEncoder(TINY), {}, {}, "random weights")
    data = TrainingData([store.root], tmp_path / "encoder", lambda path: path)
    family, none = WORLD_MODELS[name], dict.fromkeys(whole.LEARNT, 0)
    first = family.train(whole, data, tmp_path / "first")
    for contradiction in ({"parts_of": str(first)}, none):
        with pytest.raises(ConfigError, match="parts_of"):
            replace(whole, **contradiction)
    # Another seed: nothing that is the same is so by chance.
    config = replace(whole, parts_of=str(first), seed=1, **none, **change)
    second = family.train(config, data, tmp_path / "second")
    (before, _, known), (after, _, made) = (
        load_artifact(f, "world_model") for f in (first, second)
    )
    assert made["parents"]["parts"] == known["sha256"]
    assert "parts" not in known["parents"]
    assert "parts_of" not in made["facts"]["config"]
    for key, value in before.items():
        if key.startswith(config.PARTS):
            assert torch.equal(value, after[key]), key
    same = [torch.equal(before[k], after[k]) for k in before if k.startswith(learnt)]
    assert same
    assert not all(same)
    family.load(second, data.encoder)
    with pytest.raises(WeightsError, match="does not fit"):
        family.train(replace(config, **misshapen), data, tmp_path / "third")
