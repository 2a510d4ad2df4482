"""The actor: likelihood, plans in imagination, what it learns from, and how it is shipped."""

from __future__ import annotations

import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from moving_square import EVERY, draw, episode, make_dataset, tiny_encoder
from tiny_jepa import SIZES, SPEC, history

from export.build.external_weights import SharedWeights
from export.build.graphs import graphs
from export.build.onnx_files import write_onnx
from planning.agent.costs import LastCost, Objective
from planning.optimizers import make
from robot_wm.core.errors import DataError, WeightsError
from robot_wm.core.protocols import History, Proposer, proposal_chance, spec_to_json
from robot_wm.core.symmetry import Mirror
from robot_wm.data.lessons import Lesson, LessonStore, open_lessons, write_lessons
from robot_wm.training.checkpoint import (
    full_precision,
    half_precision,
    load_artifact,
    load_module,
    save_artifact,
)
from robot_wm.world_models.base import TrainingData
from robot_wm.world_models.jepa.actor.critic import CriticConfig, train_critic, validate_critic
from robot_wm.world_models.jepa.actor.dataset import RecordedRows, Taught
from robot_wm.world_models.jepa.actor.lesson_latents import build_taught
from robot_wm.world_models.jepa.actor.model import LEAST, Actor
from robot_wm.world_models.jepa.actor.trainer import ActorConfig, train_actor
from robot_wm.world_models.jepa.family import FAMILY
from robot_wm.world_models.jepa.model import KIND, JEPAWorldModel, Network, Sizes

ACTING = replace(SIZES, actor=True)
MIRROR = Mirror("transpose", (1, 0), (1.0, 1.0))
CRITIC = CriticConfig(steps=4, batch=16, warmup=2)
CONFIG = ActorConfig(
    steps=6, batch=16, heads=2, width=16, blocks=1, warmup=2, half=False, checkpoint_every=3,
    critic=CRITIC,
)  # fmt: skip


def made(sizes: Sizes) -> Network:
    torch.manual_seed(0)
    network = Network(sizes)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    torch.nn.init.normal_(network.reduce.basis)
    network.load_state_dict(full_precision(half_precision(network)))  # as shipped
    return network.requires_grad_(False)


@pytest.fixture(scope="module")
def model():
    return JEPAWorldModel(made(ACTING), tiny_encoder(), SPEC)


@pytest.fixture(scope="module")
def seen(model):
    return model.encode(history()), model.encode(History.of_goal(draw(np.array([9.0, 20]))))


def test_the_likelihood_of_one_component_is_a_gaussian():
    actor = Actor(3, 2, 1, 1, 8, 1)
    for parameter in actor.parameters():
        torch.nn.init.zeros_(parameter)
    z, block = torch.zeros(4, 3), torch.randn(4, 2)
    std = float(actor(z, z, torch.zeros(4, 2), z)[1].mean().detach())
    wanted = (block / std).square().mean() / 2 + math.log(std) + math.log(2 * math.pi) / 2
    loss = actor.loss(z, z, torch.zeros(4, 2), z, block)
    torch.testing.assert_close(loss, wanted)
    assert std > LEAST


def test_two_answers_become_two_components_not_their_mean():
    torch.manual_seed(0)
    actor = Actor(3, 2, 1, 4, 16, 1)
    optimizer = torch.optim.Adam(actor.parameters(), 0.01)
    z, nothing = torch.zeros(64, 3), torch.zeros(64, 2)
    for _ in range(150):
        side = torch.where(torch.rand(64, 1) < 0.7, 1.0, -1.0)
        loss = actor.loss(z, z, nothing, z, torch.cat([side, 0 * side], 1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        mean, _, logits = actor(z[:1], z[:1], nothing[:1], z[:1])
    chance, first = logits[0].softmax(0), mean[0, :, 0]
    assert abs(float(first[chance.argmax()]) - 1) < 0.1
    for side, share in ((1, 0.7), (-1, 0.3)):
        assert abs(float(chance[(first - side).abs() < 0.2].sum()) - share) < 0.15


def test_plans_answer_what_is_imagined(model, seen):
    state, goal = seen
    plans = model.propose(state, goal, 3, np.random.default_rng(0))
    assert plans.shape == (3, 3, 10)
    assert np.abs(plans).max() <= 1
    imagined = model.imagine(state, plans)
    actor, network = model.network.proposer, model.network
    for row in range(3):
        now = (state.z[1:], imagined[row, :1], torch.from_numpy(plans[row, :1]))
        mean, _, logits = actor(*now, goal.z[1:])
        block = actor.scale.inverse(mean[0, logits.argmax()]).clamp(-1, 1)
        np.testing.assert_allclose(plans[row, 1], block, atol=1e-5)
    mean, _, logits = actor(state.z[:1], state.z[1:], state.action[None], goal.z[1:])
    order = logits[0].argsort(descending=True)
    wanted = network.proposer.scale.inverse(mean[0, order]).clamp(-1, 1)
    np.testing.assert_allclose(plans[:, 0], wanted, atol=1e-6)


def test_chance_is_an_argument(model, seen):
    assert isinstance(model, Proposer)
    first = model.propose(*seen, 9, np.random.default_rng(1))
    assert first.tobytes() == model.propose(*seen, 9, np.random.default_rng(1)).tobytes()
    other = model.propose(*seen, 9, np.random.default_rng(2))
    np.testing.assert_array_equal(first[:3], other[:3])
    assert np.abs(first[3:] - other[3:]).max() > 1e-3
    np.testing.assert_allclose(
        first[:1], model.propose(*seen, 1, np.random.default_rng(3)), atol=1e-6
    )


def test_the_exported_actor_proposes_alike(model, seen, tmp_path):
    import onnxruntime

    state, goal = seen
    optimizer = make("icem", candidates=24, iterations=2, elites=4, decay=1.0)
    parts = model.export_parts()
    made = graphs(parts, model.spec, optimizer, Objective(LastCost()), 3)
    found = {g.name: g for g in made}
    weights = SharedWeights()
    write_onnx(found["propose"], tmp_path / "propose.onnx", {}, weights)
    weights.write(tmp_path)
    session = onnxruntime.InferenceSession(tmp_path / "propose.onnx")
    choice, noise = proposal_chance(np.random.default_rng(0), 20, SPEC)
    given = {
        "z_prev": state.z[:1].numpy(), "z": state.z[1:].numpy(), "goal": goal.z[1:].numpy(),
        "a_prev": state.action[None].numpy(), "choice": choice, "noise": noise,
    }  # fmt: skip
    (plans,) = session.run(None, given)
    with torch.inference_mode():
        order = ("z_prev", "z", "a_prev", "goal", "choice", "noise")
        wanted = parts.propose(*(torch.from_numpy(given[name]) for name in order))
    np.testing.assert_allclose(plans, wanted, atol=1e-4)


def lesson(index: int, past: bool) -> Lesson:
    """A square's way; everything is clean but its third block."""
    rng = np.random.default_rng(index)
    e = episode(index, 6, rng)
    n = len(e.actions)
    clean = np.ones(n, bool)
    clean[2 * EVERY : 3 * EVERY] = False
    before = EVERY * past
    clean[:before] = False
    togo = np.maximum(0, n - 4 - np.arange(n)).astype(np.int16)
    return Lesson("ahead", before, e.poses[:n], e.actions, clean, togo, e.poses[-1])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Lessons, a trained model with plans, and its encoder."""
    root = tmp_path_factory.mktemp("taught")
    open_lessons(root / "lessons", {"n": 1})
    for shard in range(2):
        lessons = [lesson(10 * shard + i, past=i % 2 == 0) for i in range(6)]
        write_lessons(root / "lessons", shard, lessons, 6)
    encoder = tiny_encoder()
    network = made(SIZES)
    facts = {"explained_variance": 1.0, "last": {}}
    parents = {"encoder": encoder.sha256}
    stored = {"spec": spec_to_json(SPEC), "sizes": asdict(SIZES), "cost": "latent"}
    save_artifact(root / "model", KIND, half_precision(network), stored, parents, facts, "# M\n")
    return root, JEPAWorldModel(network, encoder, SPEC)


def shown(states):
    return (draw(state) for state in states)


@pytest.fixture(scope="module")
def taught(place):
    root, model = place
    store = LessonStore(root / "lessons")
    folders = build_taught(store, model, shown, MIRROR, root / "cache")
    return Taught([(store, folders)], MIRROR, EVERY, model.network.predictor, held_out=0.2)


def test_latents_are_those_of_the_pictures_and_made_once(place, taught):
    root, model = place
    first = lesson(0, True)
    z = model.encode(History.of_goal(draw(first.states[7]))).z[1]
    np.testing.assert_allclose(taught.z[7], z, atol=0.1)
    seen = MIRROR.images(draw(first.states[7])[None])[0]
    rows = sum(len(lesson(i, i % 2 == 0).states) for i in range(6))
    np.testing.assert_allclose(
        taught.z[rows + 7], model.encode(History.of_goal(seen)).z[1], atol=0.1
    )
    store = LessonStore(root / "lessons")
    never = build_taught(store, model, lambda states: pytest.fail("twice"), MIRROR, root / "cache")
    assert len(never) == 2


def test_two_runs_may_make_the_same_latents_at_the_same_time(place, tmp_path):
    root, model = place
    store = LessonStore(root / "lessons")

    def overtaken(states):
        build_taught(store, model, shown, MIRROR, tmp_path)
        return shown(states)

    folders = build_taught(store, model, overtaken, MIRROR, tmp_path)
    alone = build_taught(store, model, shown, MIRROR, tmp_path / "alone")
    for one, other in zip(folders, alone, strict=True):
        assert (one / "latents.npy").read_bytes() == (other / "latents.npy").read_bytes()


def test_labels_are_clean_blocks_behind_the_past(taught):
    first = lesson(0, True)
    both = np.concatenate([taught.train, taught.held_out])
    mine = np.sort(both[both < len(first.states)])
    able = [t for t in range(EVERY, 26) if first.clean[t : t + EVERY].all()]
    np.testing.assert_array_equal(mine, able)
    d = taught.gather(mine, np.zeros(len(mine), int), np.zeros(len(mine), bool))
    for row, t in enumerate(able):
        np.testing.assert_allclose(d.action[row], first.actions[t : t + EVERY].reshape(-1))
        np.testing.assert_allclose(d.a_prev[row], first.actions[t - EVERY : t].reshape(-1))
        np.testing.assert_allclose(d.z_prev[row], taught.z[t - EVERY])
        assert d.togo[row] == first.togo[t]
    mirrored = set(np.flatnonzero(taught.lesson == taught.lesson[0]))
    assert mirrored.isdisjoint(set(taught.train)) or mirrored.isdisjoint(set(taught.held_out))


def test_imagined_rows_are_the_predictors(place, taught):
    model, t = place[1], 20
    predictor = model.network.predictor
    z, blocks = taught.z, taught.blocks
    one = predictor(
        z[t - 15 : t - 14], z[t - 10 : t - 9], blocks[t - 15][None], blocks[t - 10][None]
    )
    two = predictor(z[t - 10 : t - 9], one, blocks[t - 10][None], blocks[t - 5][None])
    torch.testing.assert_close(taught.imagined[2][t], two[0], rtol=1e-4, atol=1e-5)
    d = taught.gather(np.array([t]), np.array([2]), np.zeros(1, bool))
    torch.testing.assert_close(d.z_prev, one, rtol=1e-4, atol=1e-5)
    lost = taught.gather(np.array([t]), np.array([0]), np.ones(1, bool))
    torch.testing.assert_close(lost.z_prev, z[t][None])
    assert not lost.a_prev.any()


def test_hindsight_aims_at_what_came_later(taught):
    d = taught.wander(200, np.random.default_rng(0), 12)
    assert EVERY <= d.togo.min() <= d.togo.max() <= 12
    z, blocks = torch.arange(7.0)[:, None], torch.arange(7.0)[:, None]
    d = RecordedRows(z, blocks, np.array([4, 3])).wander(100, np.random.default_rng(0), 2, 0.0)
    assert set(d.z[:, 0].tolist()) == {0.0, 1.0, 2.0, 4.0, 5.0}
    torch.testing.assert_close(d.goal - d.z, d.togo[:, None])
    start = (d.z == 0) | (d.z == 4)
    torch.testing.assert_close(d.z_prev, torch.where(start, d.z, d.z - 1))


def test_no_demonstrations_are_told(model):
    with pytest.raises(DataError, match="no demonstration"):
        RecordedRows.load([], model, 0.2)


def test_a_task_without_demonstrations_is_taught_by_lessons_alone(place, tmp_path, capsys):
    """Nothing is encoded for episodes that show nothing: here, noisy ones."""
    store = make_dataset(tmp_path / "data", episodes=8, blocks=4)
    recorded = TrainingData([store.root], tmp_path, lambda path: pytest.fail("encoded in vain"))
    assert FAMILY._demonstrations(place[1], recorded, 0.05) is None
    assert "lessons alone" in capsys.readouterr().err


def run(place, taught, out, config=CONFIG):
    root, model = place
    return train_actor(config, taught, None, model, root / "model", out, {"lessons": ["a"]})


def test_only_actor_and_critic_change_and_what_is_written_loads(place, taught, tmp_path):
    model = place[1]
    folder = run(place, taught, tmp_path / "a")
    before = model.network.state_dict()
    tensors, config, manifest = load_artifact(folder, KIND)
    network = Network(Sizes(**config["sizes"]))
    load_module(network, full_precision(tensors))
    assert isinstance(network.proposer, Actor)
    for name, value in network.state_dict().items():
        if not name.startswith(("proposer.", "distance.")):
            torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    assert manifest["facts"]["actor"]["steps"] == 6
    assert manifest["parents"]["latent"]
    assert manifest["facts"]["actor"]["critic"]["steps"] == 4
    same = [torch.equal(v, before[k]) for k, v in network.state_dict().items() if "distance" in k]
    assert not all(same)
    assert "critic_error_0" in manifest["facts"]["last"]["validation"]
    assert "actor_nll_0" in manifest["facts"]["last"]["validation"]


@pytest.mark.parametrize(("asked", "shipped"), [("", "latent"), ("distance", "distance")])
def test_the_cost_is_the_parents_unless_another_is_asked_for(
    place, taught, tmp_path, asked, shipped
):
    _, config, manifest = load_artifact(
        run(place, taught, tmp_path, replace(CONFIG, steps=1, cost=asked)), KIND
    )
    assert config["cost"] == shipped
    assert manifest["facts"]["actor"]["cost"] == asked


def test_resuming_equals_never_having_stopped(place, taught, tmp_path, monkeypatch):
    import robot_wm.world_models.jepa.actor.trainer as room

    whole = (run(place, taught, tmp_path / "a") / "weights.safetensors").read_bytes()
    step = room._step

    def killed(config, number, *rest):
        if number == 5:
            raise KeyboardInterrupt
        return step(config, number, *rest)

    monkeypatch.setattr(room, "_step", killed)
    with pytest.raises(KeyboardInterrupt):
        run(place, taught, tmp_path / "b")
    monkeypatch.setattr(room, "_step", step)
    assert (run(place, taught, tmp_path / "b") / "weights.safetensors").read_bytes() == whole
    with pytest.raises(WeightsError, match="lr"):
        run(place, taught, tmp_path / "b", replace(CONFIG, lr=0.5))


def test_a_critic_learns_how_far_it_is_and_leaves_its_start_alone(place, taught, tmp_path):
    start = place[1].network.distance
    before = {k: v.clone() for k, v in start.state_dict().items()}
    config = replace(CRITIC, steps=60, lr=0.01, ema=0.5)
    tuned = train_critic(config, taught, start, tmp_path / "a", {})
    error = validate_critic(tuned, taught)["critic_error_0"]
    assert error < 0.5 * validate_critic(start, taught)["critic_error_0"]
    assert all(torch.equal(before[k], v) for k, v in start.state_dict().items())
    kept = train_critic(replace(config, steps=0), taught, start, tmp_path / "b", {})
    assert all(torch.equal(before[k], v) for k, v in kept.state_dict().items())


def test_an_interrupted_critic_goes_on(place, taught, tmp_path, monkeypatch):
    from robot_wm.world_models.jepa.actor.critic import CriticTraining

    start, loss = place[1].network.distance, CriticTraining.loss
    whole = train_critic(CRITIC, taught, start, tmp_path / "a", {}, 1, 3).state_dict()

    def killed(self, step):
        if step == 4:
            raise KeyboardInterrupt
        return loss(self, step)

    monkeypatch.setattr(CriticTraining, "loss", killed)
    with pytest.raises(KeyboardInterrupt):
        train_critic(CRITIC, taught, start, tmp_path / "b", {}, 1, 2)
    monkeypatch.setattr(CriticTraining, "loss", loss)
    resumed = train_critic(CRITIC, taught, start, tmp_path / "b", {}, 2, 1).state_dict()
    assert all(torch.equal(whole[k], v) for k, v in resumed.items())
