"""World models that generate pictures: costs, chance, windows, and what they learn in a minute."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from moving_square import SIZE, TINY, make_dataset, tiny_encoder
from tiny_jepa import SPEC, history

from planning.agent.protocols import Imagination
from robot_wm.core.errors import ConfigError, DataError, InputError
from robot_wm.core.protocols import History
from robot_wm.core.storage.provenance import read_manifest
from robot_wm.data.formats.base import open_stores
from robot_wm.data.windows import frame_windows
from robot_wm.encoders.frozen import save_encoder
from robot_wm.encoders.vit import VideoEncoder
from robot_wm.training.loop import fit
from robot_wm.world_models.base import WORLD_MODELS, TrainingData
from robot_wm.world_models.genie.config import GenieConfig, TrueGenieConfig
from robot_wm.world_models.genie.network import Genie, TrueGenie
from robot_wm.world_models.pixels.generator import CHUNK, GenerativeModel
from robot_wm.world_models.pixels.measures import redrawn, validate
from robot_wm.world_models.pixels.model import COSTS
from robot_wm.world_models.sora.config import SoraConfig
from robot_wm.world_models.sora.network import Sora

GENIE = {"codes": 16, "code_width": 4, "tokenizer_depth": 1, "width": 16, "depth": 1, "heads": 2}
MADE = {
    "genie": lambda: Genie(GenieConfig("square", action_depth=1, **GENIE), SPEC),
    "genie_true": lambda: TrueGenie(TrueGenieConfig("square", **GENIE), SPEC),
    "sora": lambda: Sora(SoraConfig("square", channels=8, width=16, depth=1, heads=2), SPEC),
}


@pytest.fixture(params=sorted(MADE))
def network(request):
    torch.manual_seed(0)
    made = MADE[request.param]()
    for name, parameter in made.named_parameters():
        if "modulation" in name or name.startswith("dynamics.head"):
            torch.nn.init.normal_(parameter, std=0.3)  # some begin at zero
    return made.requires_grad_(False)


@pytest.fixture
def model(network):
    return GenerativeModel(network, tiny_encoder(), SPEC)


def plans(count, horizon=3, seed=1):
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (count, horizon, 10)).astype(np.float32)


def test_candidates_share_their_chance_and_histories_do_not(model):
    state, goal = model.encode(history(2)), model.encode(history(1, seed=5))
    same = np.repeat(plans(1), CHUNK + 3, axis=0)
    costs = model.step_costs(state, goal, same)
    # One chunk is larger than the other, whose sums may be taken in another order.
    np.testing.assert_allclose(costs, np.repeat(costs[:1], len(costs), axis=0), rtol=1e-5)
    again = model.encode(history(2))
    assert again.seed == state.seed
    assert model.encode(history(2, seed=1)).seed != state.seed
    assert model.step_costs(again, goal, same).tobytes() == costs.tobytes()


def test_a_shorter_plan_costs_the_same_and_actions_count(model):
    state, goal = model.encode(history(2)), model.encode(history(1, seed=5))
    whole = model.step_costs(state, goal, plans(6))
    part = model.step_costs(state, goal, plans(6)[:, :2])
    np.testing.assert_allclose(part, whole[:, :2], rtol=1e-4)
    assert (whole.std(axis=0) > 0).any()


def test_only_as_many_frames_count_as_the_planner_remembers(model):
    long = history(4)
    short = History(long.frames[2:], long.proprio[2:], long.actions[2:])
    goal = model.encode(history(1, seed=5))
    one, other = (model.step_costs(model.encode(h), goal, plans(2)) for h in (long, short))
    assert one.tobytes() == other.tobytes()
    first = model.encode(history(1))
    assert np.isfinite(model.step_costs(first, goal, plans(2))).all()


def test_pixel_and_shared_costs_are_those_of_the_pictures_that_are_shown(model):
    state, goal = model.encode(history(2)), model.encode(history(1, seed=5))
    shown = model.imagined_frames(state, plans(3))
    assert (shown.dtype, shown.shape) == (np.uint8, (3, 3, SIZE, SIZE, 3))
    assert isinstance(model, Imagination)
    np.testing.assert_array_equal(model.nearest_frames(state, plans(3)[1]), shown[1])
    wanted = history(1, seed=5).frames[0]
    by = {c: GenerativeModel(model.network, model.encoder, SPEC, c) for c in COSTS}
    costs = {c: m.step_costs(state, goal, plans(3)) for c, m in by.items()}
    pixels = ((shown / 255 - wanted / 255) ** 2).mean(axis=(2, 3, 4))
    # Shown pictures are rounded to 1/255: an error of 0.002 in a pixel, times twice its difference.
    np.testing.assert_allclose(costs["pixels"], pixels, rtol=0, atol=0.004)
    pictures = np.concatenate([shown.reshape(-1, SIZE, SIZE, 3), wanted[None]])
    tokens = model.encoder.encode_frames(pictures)
    tokens = F.layer_norm(tokens, tokens.shape[-1:])
    shared = (tokens[:-1] - tokens[-1]).square().mean(dim=(1, 2)).view(3, 3)
    np.testing.assert_allclose(costs["shared"], shared.numpy(), rtol=1e-4)
    assert not np.allclose(costs["native"], costs["pixels"], rtol=0.01)
    with pytest.raises(ConfigError, match="cost 'latent'"):
        GenerativeModel(model.network, model.encoder, SPEC, "latent")


def test_surprise_is_of_a_frame_given_those_before(model):
    film = history(5)
    found = model.surprise(film.frames, film.actions)
    assert (found.dtype, found.shape) == (np.float32, (4,))
    assert found.tobytes() == model.surprise(film.frames, film.actions).tobytes()
    other = film.frames.copy()
    other[3] = 255 - other[3]
    changed = model.surprise(other, film.actions)
    np.testing.assert_allclose(changed[:2], found[:2], rtol=1e-5)
    assert not np.isclose(changed[2], found[2], rtol=1e-3)
    with pytest.raises(InputError, match="5 frames"):
        model.surprise(film.frames, film.actions[:2])
    with pytest.raises(InputError, match="pixels"):
        model.surprise(film.frames[:, :16], film.actions)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("films") / "data", episodes=64)


def test_windows_are_what_was_recorded(store):
    windows = frame_windows([store], "train", 4)
    chosen = store.indices("train")
    assert len(windows) == len(chosen) * (13 - 3)
    frames, actions = windows.gather(np.array([0, 11, len(windows) - 1]))
    for row, (i, start) in enumerate(((chosen[0], 0), (chosen[1], 1), (chosen[-1], 9))):
        np.testing.assert_array_equal(frames[row], store[i].frames[start : start + 4])
        recorded = store[i].actions.reshape(12, 10)[start : start + 3]
        np.testing.assert_array_equal(actions[row], recorded)


def test_windows_of_another_task_or_of_none_are_refused(store):
    assert len(frame_windows([store], "train", 20)) == 0
    with pytest.raises(DataError, match="task square"):
        open_stores("push_t", [store.root])
    with pytest.raises(DataError, match="no data set"):
        open_stores("square", [])


@pytest.mark.parametrize("name", ["genie", "sora"])
def test_resuming_equals_never_having_stopped(name, store, tmp_path):
    steps = {"genie": ("tokenizer_steps", "action_steps", "label_steps"),
             "sora": ("autoencoder_steps",)}[name]  # fmt: skip
    small = {"width": 16, "depth": 1, "heads": 2, "batch": 2, "steps": 2, "horizon": 3}
    config = replace(SHORT[name], **small, **dict.fromkeys(steps, 2))
    save_encoder(tmp_path / "encoder", VideoEncoder(TINY), {}, {}, "random weights")
    data = TrainingData([store.root], tmp_path / "encoder", lambda path: path)

    def make(out):
        return lambda: WORLD_MODELS[name].begin(config, data, out)

    whole = fit(make(tmp_path / "a"), tmp_path / "a")
    for stop in (1, config.total - 2, None):  # within a stage, and where the last one begins
        parts = fit(make(tmp_path / "b"), tmp_path / "b", stop_at=stop)
    one, other = ((folder / "weights.safetensors").read_bytes() for folder in (whole, parts))
    assert one == other
    training = make(tmp_path / "c")()
    training.held_out = frame_windows([store], "validation", 99)
    assert training.evaluate(1) == {}  # nothing to measure is no fault


class Told:
    """A network that knows the film, for a given meaning of the actions."""

    def __init__(self, film):
        self.film = film

    def look(self, frames):
        return frames.float() / 255

    def decode(self, latents):
        return latents


def test_films_are_judged_on_what_changed():
    rng = np.random.default_rng(0)
    frames = torch.from_numpy(rng.integers(0, 256, (2, 4, 8, 8, 3)).astype(np.uint8))
    actions = torch.from_numpy(rng.normal(size=(2, 3, 10)).astype(np.float32))

    def films(state, rows):
        """Half way from the present frame to the true one; with another's actions, no change."""
        i = state
        now, true = frames[i, 1].numpy().astype(float), frames[i, 2:].numpy().astype(float)
        own = np.round((now + true) / 2)
        return np.stack([own, np.repeat(now[None], 2, 0)]).astype(np.uint8)

    network = Told(frames)
    network.parameters = lambda: iter([torch.zeros(1)])
    index = {frames[i, 1].numpy().tobytes(): i for i in range(2)}
    judged = SimpleNamespace(
        spec=replace(SPEC, image_size=8), network=network, imagined_frames=films,
        encode=lambda past: index[past.frames[-1].tobytes()],
    )  # fmt: skip
    found = validate(judged, frames, actions)
    # Half of the way leaves a quarter of the squared error; no motion leaves four times as much.
    for k in (1, 2):
        assert found[f"explained_{k}"] == pytest.approx(0.75, abs=0.01)
        assert found[f"action_db_{k}"] == pytest.approx(10 * np.log10(4), abs=0.1)
    assert found["psnr"] == pytest.approx(120)  # nothing is lost: the error is floored at 1e-12


def test_what_moves_is_visible_only_where_it_is_drawn():
    truth = torch.zeros(4, 1, 8, 8)
    for i in range(4):
        truth[i, 0, 2 * i] = 1.0
    assert redrawn(truth, truth) == {"psnr": pytest.approx(120), "visible": 1}
    mean = truth.mean(dim=0).expand_as(truth)
    found = redrawn(mean, truth)
    assert found["visible"] == pytest.approx(0)
    assert found["psnr"] == pytest.approx(-10 * np.log10(float((mean - truth).square().mean())))
    assert redrawn(0.5 * (mean + truth), truth)["visible"] == pytest.approx(0.75)


SHORT = {
    "genie_true": TrueGenieConfig(
        "square", codes=64, code_width=8, tokenizer_depth=1, tokenizer_steps=400, tokenizer_batch=8,
        steps=500, batch=16, width=48, depth=2, heads=2, lr=3e-3, warmup=20, horizon=3,
    ),
    "genie": GenieConfig(
        "square", codes=64, code_width=8, tokenizer_depth=1, tokenizer_steps=400, tokenizer_batch=8,
        action_depth=1, action_steps=400, action_batch=16, action_patch=8, label_steps=200,
        steps=500, batch=16, width=48, depth=2, heads=2, lr=3e-3, warmup=20, horizon=3,
    ),
    "sora": SoraConfig(
        "square", channels=16, autoencoder_steps=300, autoencoder_batch=8, steps=700, batch=16,
        patch=1, window=5, width=48, depth=2, heads=2, lr=3e-3, warmup=20, ema=0.99, horizon=3,
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SHORT))
def test_it_learns_where_actions_lead(name, store, tmp_path):
    torch.manual_seed(0)
    save_encoder(tmp_path / "encoder", VideoEncoder(TINY), {}, {}, "random weights")
    data = TrainingData([store.root], tmp_path / "encoder", lambda path: path)
    config = replace(SHORT[name], threads=1, eval_every=10_000)
    folder = WORLD_MODELS[name].train(config, data, tmp_path)
    found = read_manifest(folder, "world_model")["facts"]["last"]["validation"]
    # Better than to say that nothing moves, and worse with somebody else's actions. What latent
    # actions mean is learned in more steps than a test has (about .15 of a block's control here).
    for k in (1, 2):
        assert found[f"explained_{k}"] > 0.1, found
        assert found[f"action_db_{k}"] > 1 or name == "genie", found
