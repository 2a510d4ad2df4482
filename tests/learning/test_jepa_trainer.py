import json
import os
from dataclasses import asdict, dataclass, replace
from functools import cached_property

import numpy as np
import pytest
import torch
from moving_square import EVERY, SIZE, SPEED, TINY, draw, make_dataset

from planning.commands.evaluate import train_seed
from robot_wm.core.errors import ConfigError, DataError, WeightsError
from robot_wm.core.protocols import History
from robot_wm.data.latent_cache import build_latents
from robot_wm.data.sequences import SequenceDataset, open_pairs
from robot_wm.encoders.frozen import FrozenEncoder, save_encoder
from robot_wm.encoders.token_pca import TokenPCA
from robot_wm.encoders.vit import VideoEncoder
from robot_wm.training.checkpoint import half_precision, load_artifact, save_artifact
from robot_wm.training.ema import average
from robot_wm.training.losses import straightening
from robot_wm.world_models.jepa.family import FAMILY
from robot_wm.world_models.jepa.model import JEPAWorldModel, Network, Sizes
from robot_wm.world_models.jepa.projector import Embedding
from robot_wm.world_models.jepa.training.config import TrainConfig
from robot_wm.world_models.jepa.training.objective import TrainingModule
from robot_wm.world_models.jepa.training.stages import Stage
from robot_wm.world_models.jepa.training.trainer import train

SMALL = {
    "task": "square", "batch": 48, "window": 8, "lr": 2e-3, "warmup": 20, "ema": 0.98, "threads": 1,
    "reduced": 8, "channels": 16, "keypoints": 4, "embedding": 8,
    "width": 64, "blocks": 2, "heads": 2,
    "proposer_width": 64, "proposer_blocks": 1, "distance_width": 32, "distance_blocks": 1,
    "reconstructed": 4, "log_every": 50,
    "embedding_width": 32, "embedding_blocks": 1, "embedding_steps": 200, "embedding_frames": 12,
    "dynamics_steps": 300, "dynamics_batch": 32,
}  # fmt: skip

SIZES = {
    "positions": 16, "encoder_width": 32, "action": 10, "horizon": 5,
    **{k: v for k, v in SMALL.items() if k in Sizes.__dataclass_fields__},
}  # fmt: skip


def tiny_run(**changes):
    few = {"steps": 9, "embedding_steps": 5, "dynamics_steps": 9, "batch": 8, "checkpoint_every": 6}
    return TrainConfig(**{**SMALL, **few, **changes})


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Data, saved encoder, latent cache."""
    root = tmp_path_factory.mktemp("train")
    store = make_dataset(root / "data", episodes=40, blocks=14)
    torch.manual_seed(0)
    save_encoder(root / "encoder", VideoEncoder(TINY), {}, {}, "random weights")
    encoder = FrozenEncoder.load(root / "encoder")
    return root, store, encoder, build_latents(store.root, encoder, root)


@pytest.fixture(scope="module")
def trained(place):
    root, store, encoder, latents = place
    config = TrainConfig(**SMALL, steps=300, eval_every=900, checkpoint_every=900)
    return train(config, store.root, latents, encoder, root / "run")


def last_line(run, key):
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if key in line][-1][key]


def test_it_learns_the_moving_square(place, trained):
    values = last_line(place[0] / "run", "validation")
    assert values["EF_1"] > 0.3
    assert values["EF_5"] > 0.3
    assert values["inverse_r2"] > 0.3
    assert values["reconstruct_r2"] > 0.5
    assert values["proposer_best"] < 0.9  # 1 is guessing the mean block
    assert values["distance_r2"] > 0.1
    assert all(np.isfinite(list(values.values())))


def test_the_latent_says_where_the_square_is(place, trained):
    root, store, *_ = place
    model = JEPAWorldModel.load(trained, root / "encoder")

    def look(split):
        episodes = [store[i] for i in store.indices(split)]
        frames = np.concatenate([e.frames for e in episodes])
        z = model.network.embed(model.encoder.encode_frames(frames)).detach().numpy()
        rows = np.concatenate([z, np.ones((len(z), 1))], axis=1)
        return rows, np.concatenate([e.poses[::EVERY] for e in episodes])

    (rows, places), (held_out, truth) = look("train"), look("test")
    error = held_out @ np.linalg.lstsq(rows, places, rcond=None)[0] - truth
    assert len(truth) > 20
    assert 1 - error.var(0).mean() / truth.var(0).mean() > 0.9


def test_the_true_actions_cost_less_than_random_ones(place, trained):
    root, *_ = place
    model = JEPAWorldModel.load(trained, root / "encoder")
    rng = np.random.default_rng(5)
    better = []
    for _ in range(20):
        start = rng.uniform(12, SIZE - 12, 2)
        true = np.repeat(rng.uniform(-1, 1, (2, 1, 2)), EVERY, axis=1)
        end = start + SPEED * true.sum((0, 1))
        plans = np.repeat(rng.uniform(-1, 1, (63, 2, 1, 2)), EVERY, axis=2)
        plans = np.concatenate([true[None], plans]).reshape(64, 2, 10).astype(np.float32)
        goal = model.encode(History.of_goal(draw(np.clip(end, 4, SIZE - 4))))
        cost = model.step_costs(model.encode(History.of_goal(draw(start))), goal, plans)[:, -1]
        better.append((cost[1:] > cost[0]).mean())
    assert np.mean(better) > 0.75  # .5 ignores the actions


def test_imagination_shows_where_the_square_will_be(place, trained):
    from robot_wm.world_models.base import load_world_model

    def center(frame):
        weight = frame[..., 0].astype(float)
        return np.array([weight.sum(axis) @ np.arange(SIZE) for axis in (0, 1)]) / weight.sum()

    model = load_world_model(trained, place[0] / "encoder", illustrate=True)
    rng, errors, still = np.random.default_rng(6), [], []
    for _ in range(30):
        start, push = rng.uniform(12, SIZE - 12, 2), rng.uniform(-1, 1, 2)
        end = start + SPEED * EVERY * push
        state = model.encode(History.of_goal(draw(start)))
        plan = np.tile(push, EVERY)[None].astype(np.float32)
        shown = center(model.nearest_frames(state, plan)[0])
        errors.append(np.linalg.norm(shown - end))
        still.append(np.linalg.norm(start - end))
    # Not moving at all errs by 3 px; 256 frames of a 24 px square field are some 1.5 px apart.
    assert np.mean(errors) < 0.75 * np.mean(still), (np.mean(errors), np.mean(still))


def test_proposals_lead_towards_the_goal(place, trained):
    model = JEPAWorldModel.load(trained, place[0] / "encoder")
    gain = []
    for direction in ([1.0, 0], [-1, 0], [0, 1], [0, -1]):
        start, goal = np.full(2, SIZE / 2), np.full(2, SIZE / 2) + 6 * np.array(direction)
        states = [model.encode(History.of_goal(draw(p))) for p in (start, goal)]
        plan = model.propose(*states, 1, np.random.default_rng(0))[0, :2].reshape(-1, 2).mean(0)
        gain.append(plan @ direction)
    assert np.mean(gain) > 0.1


def test_the_artefact_says_what_it_is(place, trained):
    root, store, encoder, _ = place
    tensors, _, manifest = load_artifact(trained, "world_model")
    assert manifest["parents"] == {"encoder": encoder.sha256, "dataset": store.sha256}
    assert not any(name.startswith(("inverse", "decoder")) for name in tensors)
    spec = JEPAWorldModel.load(trained, root / "encoder").spec
    assert (spec.task, spec.block, spec.action_dim, spec.image_size) == ("square", 5, 10, SIZE)
    assert spec.hashes["world_model"] == manifest["sha256"]
    assert spec.bytes_per_candidate > 4 * 5 * 16
    train_actions = np.concatenate([store[i].actions for i in store.indices("train")])
    np.testing.assert_allclose(
        tensors["predictor.scale.mean"].reshape(5, 2).mean(0), train_actions.mean(0), atol=1e-5
    )
    assert "| EF_1 |" in (trained / "card.md").read_text()


def test_another_encoder_is_refused(place, trained, tmp_path):
    torch.manual_seed(1)
    save_encoder(tmp_path / "other", VideoEncoder(TINY), {}, {}, "other weights")
    with pytest.raises(DataError, match="encoder"):
        JEPAWorldModel.load(trained, tmp_path / "other")
    _, store, _, latents = place
    with pytest.raises(DataError, match="encoder"):
        train(tiny_run(), store.root, latents, FrozenEncoder.load(tmp_path / "other"), tmp_path)


@pytest.mark.parametrize(("every", "kept"), [(6, 18), (12, 12)])  # in the last stage, the second
def test_resuming_equals_never_having_stopped(place, tmp_path, every, kept):
    _, store, encoder, latents = place
    calls = []

    def die_in_the_end(model):
        calls.append(model.cost)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return {"success": 0.5}

    config = tiny_run(eval_every=3, log_every=1, checkpoint_every=every, slow=2)
    whole = train(config, store.root, latents, encoder, tmp_path / "a", lambda _: {"success": 0.5})
    with pytest.raises(KeyboardInterrupt):
        train(config, store.root, latents, encoder, tmp_path / "b", die_in_the_end)
    assert os.listdir(tmp_path / "b" / "state") == [f"step-{kept:08d}"]
    halves = train(config, store.root, latents, encoder, tmp_path / "b", die_in_the_end)
    a, b = (load_artifact(folder, "world_model")[0] for folder in (whole, halves))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert a["embedding.directions"].abs().sum() > 0
    logs = []
    for run in ("a", "b"):
        lines = [json.loads(x) for x in (tmp_path / run / "log.jsonl").read_text().splitlines()]
        logs.append([{k: v for k, v in line.items() if k != "seconds"} for line in lines])
    assert logs[0] == logs[1]
    # Only in the last stage is there something to plan with.
    assert [x["step"] for x in logs[0] if "closed_loop" in x] == [15, 18, 21, 23]
    with pytest.raises(WeightsError, match="lr"):
        train(tiny_run(lr=1e-3, slow=2), store.root, latents, encoder, tmp_path / "b")


@dataclass(frozen=True)
class Straighten(Stage):
    """A stage that is not ours: the projector once more, for straight paths alone."""

    name = "straighten"

    def loss(self, live, windows, step, rng, generator):
        return {"straighten": straightening(live.network.projector(windows.draw(8, rng).x))}


class FourStages(TrainConfig):
    @cached_property
    def stages(self):
        return (Straighten(4), *super().stages)


def test_another_stage_is_one_more_entry_of_the_list(place, tmp_path):
    _, store, encoder, latents = place
    config = FourStages(**asdict(tiny_run(log_every=1)))
    assert config.total == tiny_run().total + 4
    train(config, store.root, latents, encoder, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    terms = [tuple(line["terms"]) for line in lines if "terms" in line]
    assert len(terms) == config.total  # the last stage's are there, too
    assert terms[:4] == [("straighten",)] * 4
    assert ("straighten",) not in terms[4:]


@pytest.mark.parametrize(
    "changes",
    [
        {"motion": 0.0, "rollout": (1.0, 1.0, 0.2, 0.2)},
        {"stop_gradient": True, "seed": 1},
    ],
)
def test_every_option_trains_to_finite_and_different_weights(place, tmp_path, changes):
    _, store, encoder, latents = place
    results = []
    for name, extra in (("base", {}), ("option", changes)):
        folder = train(tiny_run(**extra), store.root, latents, encoder, tmp_path / name)
        results.append(load_artifact(folder, "world_model")[0])
    assert all(tensor.isfinite().all() for tensor in results[1].values())
    key = "predictor.change.leave.weight"
    assert not torch.equal(results[0][key], results[1][key])


@pytest.mark.parametrize(("embed", "taken"), [(5, ()), (0, ("embedding.",))])
def test_the_latent_of_another_model_can_be_taken_over(place, trained, tmp_path, embed, taken):
    root, store, encoder, latents = place
    config = tiny_run(steps=0, embedding_steps=embed, latent_of=str(trained))
    folder = train(config, store.root, latents, encoder, tmp_path / "settled")
    ours, theirs = (load_artifact(f, "world_model") for f in (folder, trained))
    assert ours[2]["parents"]["latent"] == theirs[2]["sha256"]
    for name, tensor in theirs[0].items():
        if name.startswith(("reduce.", "projector.", *taken)):
            torch.testing.assert_close(ours[0][name], tensor)
    if embed:
        key = "embedding.mlp.leave.weight"
        assert not torch.equal(ours[0][key], theirs[0][key])
    assert not torch.equal(
        ours[0]["predictor.change.leave.weight"], theirs[0]["predictor.change.leave.weight"]
    )
    JEPAWorldModel.load(folder, root / "encoder")
    small = tiny_run(steps=0, latent_of=str(trained), channels=8)
    with pytest.raises(WeightsError, match="projector"):
        train(small, store.root, latents, encoder, tmp_path / "other")
    with pytest.raises(ConfigError, match="latent_of"):
        tiny_run(latent_of=str(trained))  # steps are not 0


def test_a_tuned_model_goes_on_from_all_of_another(place, trained, tmp_path):
    _, store, encoder, latents = place
    theirs = load_artifact(trained, "world_model")[0]
    found = {}
    for name, lr in (("still", 1e-12), ("moving", 1e-2)):
        config = tiny_run(steps=0, embedding_steps=0, latent_of=str(trained), fine_tune=True, lr=lr)
        folder = train(config, store.root, latents, encoder, tmp_path / name)
        found[name] = load_artifact(folder, "world_model")[0]
    for name, tensor in theirs.items():
        if name != "proposer.residual":  # a running statistic, not learned
            torch.testing.assert_close(found["still"][name], tensor, msg=name)
    moved = {k.split(".")[0] for k, v in theirs.items() if not torch.equal(found["moving"][k], v)}
    assert moved == {"predictor", "proposer", "distance"}
    config = replace(config, interpolation=0.25)
    mixed = train(config, store.root, latents, encoder, tmp_path / "mixed")
    for name, tensor in load_artifact(mixed, "world_model")[0].items():
        if name.split(".")[0] in moved and name != "proposer.residual":
            wanted = 0.25 * theirs[name].float() + 0.75 * found["moving"][name].float()
            torch.testing.assert_close(tensor.float(), wanted, rtol=2e-3, atol=2e-4, msg=name)
    alone = train(
        replace(config, interpolation=0.0, proposer=0.0, distance=0.0), store.root, latents,
        encoder,
        tmp_path / "alone",
    )  # fmt: skip
    tensors = load_artifact(alone, "world_model")[0]
    changed = {k.split(".")[0] for k, v in theirs.items() if not torch.equal(tensors[k], v)}
    assert changed == {"predictor"}
    with pytest.raises(ConfigError, match="proposer"):
        tiny_run(proposer=0.0)
    with pytest.raises(ConfigError, match="interpolation"):
        tiny_run(interpolation=0.5)
    for wrong in ({"steps": 9, "latent_of": "", "embedding_steps": 5}, {"embedding_steps": 5}):
        with pytest.raises(ConfigError, match="fine_tune"):
            tiny_run(
                **{
                    "steps": 0,
                    "embedding_steps": 0,
                    "latent_of": str(trained),
                    "fine_tune": True,
                    **wrong,
                }
            )


def test_a_taught_model_is_tuned_and_its_actor_stays(place, trained, tmp_path):
    """What a teacher taught is not relearned from episodes: the predictor alone goes on."""
    _, store, encoder, latents = place
    theirs, stored, manifest = load_artifact(trained, "world_model")
    sizes = replace(Sizes(**stored["sizes"]), actor=True, proposer_width=24, heads=3)
    actor = half_precision(Network(sizes).proposer)
    others = {k: v for k, v in theirs.items() if not k.startswith("proposer.")}
    everything = others | {f"proposer.{k}": v for k, v in actor.items()}
    facts = {**manifest["facts"], "actor": {"seed": 7}}
    described = {**stored, "sizes": asdict(sizes), "cost": "both"}
    start = tmp_path / "taught"
    save_artifact(start, "world_model", everything, described, manifest["parents"], facts, "taught")
    config = tiny_run(
        steps=0, embedding_steps=0, latent_of=str(start), fine_tune=True, proposer=0.0, distance=0.0
    )
    folder = train(config, store.root, latents, encoder, tmp_path / "tuned")
    tensors, described, manifest = load_artifact(folder, "world_model")
    changed = {k.split(".")[0] for k, v in everything.items() if not torch.equal(tensors[k], v)}
    assert changed == {"predictor"}
    assert described["sizes"] == asdict(sizes)
    assert described["cost"] == "both"  # chosen when it was taught
    assert manifest["facts"]["actor"] == {"seed": 7, "tuned": True}
    assert manifest["facts"]["config"]["cost"] == config.cost  # as it was asked for: a second run
    assert train_seed((folder, folder)) == config.seed  # of the last training
    assert "proposer_best" not in manifest["facts"]["last"]["validation"]
    JEPAWorldModel.load(folder, place[0] / "encoder")
    with pytest.raises(ConfigError, match="learns from lessons"):
        train(replace(config, proposer=1.0), store.root, latents, encoder, tmp_path / "refused")
    assert not (tmp_path / "refused").exists()
    tuning = FAMILY.fine_tuning(config, start, 9, 1e-3, 0.0, ())
    assert (tuning.proposer, tuning.distance) == (0.0, 0.0)
    assert FAMILY.fine_tuning(tiny_run(), trained, 9, 1e-3, 0.0, ()).proposer == 1.0


def test_several_data_sets_train_together_and_foreign_tasks_are_refused(place, tmp_path):
    _, store, encoder, latents = place
    pair = [store.root, store.root], [latents, latents]
    folder = train(tiny_run(), *pair, encoder, tmp_path / "two")
    assert load_artifact(folder, "world_model")[2]["parents"]["dataset"] != store.sha256
    with pytest.raises(DataError, match="square"):
        train(tiny_run(task="push_t"), *pair, encoder, tmp_path / "foreign")
    with pytest.raises(DataError, match="no training episode has 40"):
        train(tiny_run(window=40), store.root, latents, encoder, tmp_path / "long")
    with pytest.raises(DataError, match="1 shares for 2"):
        train(tiny_run(dataset_weights=(1.0,)), *pair, encoder, tmp_path / "shares")


def test_windows_come_from_each_data_set_as_often_as_asked(place):
    _, store, encoder, latents = place
    pairs = open_pairs("square", [store.root] * 3, [latents] * 3, encoder.sha256)
    reduce = TokenPCA(16, 32, 8)
    windows = SequenceDataset(pairs, "train", reduce, 8, 5, 8, 0.2, "cpu", (0.5, 0.0, 1.5))
    rng = np.random.default_rng(0)
    drawn, each = windows._pick(20_000, rng), len(windows.first) // 3
    origin = drawn // each
    # Three standard errors of a share of a quarter in 20,000 are .9 %.
    assert np.bincount(origin, minlength=3) / 20_000 == pytest.approx([0.25, 0, 0.75], abs=0.01)
    assert set(drawn) == set(windows.starts[windows.starts // each != 1])
    with pytest.raises(DataError, match="dataset_weights"):
        SequenceDataset(pairs, "train", reduce, 8, 5, 8, 0.2, "cpu", (0.0, 0.0, 0.0))


def test_bad_configurations_are_refused():
    bad: list[dict] = [
        {"dataset_weights": (0.0,)},
        {"motion": -1.0},
        {"cost": "l1"},
        {"window": 3},
        {"rollout": ()},
    ]
    bad += [
        {"rollout_share": 2.0},
        {"dataset_weights": (0.0,)},
        {"embedding_steps": 0},
        {"embedding": 4},
        {"embedding": 0},
        {"slow": 17},
        {"embedding_frames": 1},
    ]
    for changes in [*bad, {"dynamics_steps": 0}, {"steps": 0}]:
        with pytest.raises(ConfigError, match=next(iter(changes))):
            tiny_run(**changes)


def test_longer_rollouts_count_only_at_the_end():
    config = tiny_run(steps=10, embedding_steps=5, dynamics_steps=100, rollout_share=0.2)
    assert [config.dynamics_stage.rollout_blocks(step) for step in (1, 80, 81, 100)] == [1, 1, 3, 3]
    assert tiny_run(rollout_share=1.0).dynamics_stage.rollout_blocks(1) == 3


def test_schedule_and_average_closed_forms():
    config = tiny_run(steps=100, embedding_steps=20, dynamics_steps=50, warmup=10, lr=1.0)
    for steps in [(1, 10, 55, 100), (101, 110, 115, 120), (121, 130, 150, 170)]:
        rates = [config.learning_rate(step) for step in steps]
        np.testing.assert_allclose(rates, [0.1, 1.0, 0.5, 0], atol=1e-12)
    target, source = torch.nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2)
    source.weight.data.fill_(3.0)
    source.running_mean.fill_(7.0)
    average(target, source, decay=0.75)
    assert target.weight.tolist() == [1.5, 1.5]
    assert target.running_mean.tolist() == [7.0, 7.0]


def contrasted(episodes):
    """A pose of small variance, bent by what moves, and an embedding trained on it by contrast.

    Returns:
        Latents, the hidden pose, the embedding of the latents, and the last loss of what moves.
    """
    torch.manual_seed(0)
    generator, rng = torch.Generator().manual_seed(1), np.random.default_rng(2)
    fast = torch.randn(episodes, 12, 2, generator=generator)
    slow = torch.rand(episodes, 1, 1, generator=generator).mul(2).sub(1).expand(-1, 12, -1)
    bent, empty = 0.3 * slow * fast[..., :1].sign(), torch.zeros(episodes, 12, 13)
    z = torch.cat([4 * fast, bent, empty], dim=-1)
    trainee = TrainingModule(Sizes(**SIZES), tiny_run(), 2)
    windows = SequenceDataset.__new__(SequenceDataset)
    windows.x, windows.device = z.flatten(0, 1), "cpu"
    windows.first = np.repeat(np.arange(episodes) * 12, 12)
    windows.last, windows.starts = windows.first + 11, np.arange(episodes) * 12
    still = torch.zeros(episodes, 1, 2)
    moves = torch.cat([fast[:, 1:] - fast[:, :-1], still], dim=1).flatten(0, 1)
    windows.actions = moves.repeat(1, 5) / 5
    trainee.network.embedding.scale.std.copy_(windows.x.std(0).clamp(min=0.1))
    optimizer = torch.optim.AdamW(trainee.parameters(), 3e-3)
    for _ in range(200):
        terms = trainee.embedding_loss(windows.transitions(32, 8, rng))
        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()
    with torch.no_grad():
        found = trainee.network.embedding.learned(windows.x)
    return windows.x, slow.flatten(), found, float(terms["moved"].detach())


def explained(guess, truth):
    return float(1 - (guess - truth).var() / truth.var())


def linear(rows, answer):
    """How much of ``answer`` a linear map fitted on the first half explains in the second."""
    rows, half = torch.cat([rows, torch.ones(len(rows), 1)], dim=1), len(rows) // 2
    weights = torch.linalg.lstsq(rows[:half], answer[:half, None]).solution
    return explained((rows[half:] @ weights)[:, 0], answer[half:])


def neighbors(rows, answer):
    """The same of the eight nearest rows, for 2,000 rows of the second half."""
    half = len(rows) // 2
    asked = slice(half, half + 2_000)
    near = torch.cdist(rows[asked], rows[:half]).topk(8, largest=False).indices
    return explained(answer[near].mean(1), answer[asked])


def test_the_contrast_finds_what_persists():
    latents, answer, found, moved = contrasted(2_000)
    assert linear(latents[:, :3], answer) < 0.1
    assert neighbors(latents[:, :3], answer) < 0.75
    assert neighbors(found[:, : -Embedding.MOVED], answer) > 0.8
    assert moved < 0.1


def test_slow_directions_find_a_place_that_hides_in_little_variance():
    generator = torch.Generator().manual_seed(0)
    place = torch.rand(300, 1, 1, generator=generator) + 0.1 * torch.randn(
        300, 12, 1, generator=generator
    ).cumsum(dim=1)
    fast = 5 * torch.randn(300, 12, 3, generator=generator)
    mixed = torch.cat([fast, 0.1 * place], dim=-1).flatten(0, 1) @ torch.randn(
        4, 4, generator=generator
    )
    embedding = Embedding(4, 5, 8, 1, slow=2)
    last = torch.arange(3_600) // 12 * 12 + 11
    embedding.fit(mixed, last)
    with torch.no_grad():
        both = embedding(mixed)
    assert both.shape == (3_600, 7)
    assert torch.equal(both[:, :5], embedding.learned(mixed))
    slowest, other = (torch.corrcoef(torch.stack([both[:, i], place.flatten()])) for i in (5, 6))
    assert abs(float(slowest[0, 1])) > 0.99 > 0.2 > abs(float(other[0, 1]))


def test_tuning_keeps_the_stored_networks_own_sizes(trained):
    from robot_wm.world_models.jepa.artifact import CHOSEN, own_sizes

    assert own_sizes(trained) == {name: getattr(tiny_run(), name) for name in CHOSEN}


@pytest.mark.xfail(strict=True, reason="what is found is folded: .52-.63 over seeds (docs/log.md)")
def test_the_contrast_makes_what_persists_linear():
    latents, answer, found, _ = contrasted(200)
    assert linear(latents[:, :3], answer) < 0.1
    assert linear(found, answer) > 0.7


def test_transitions_stay_in_their_episode(place):
    _, store, encoder, latents = place
    pair = open_pairs("square", [store.root], [latents], encoder.sha256)
    reduce = TokenPCA(*encoder.encode_frames(store[0].frames[:1]).shape[1:], 8)
    windows = SequenceDataset(pair, "train", reduce, 4, 2, 3, 0.2)
    windows.x = torch.arange(len(windows.x))[:, None].float()
    now, later, actions, frames = windows.transitions(5, 4, np.random.default_rng(0))
    assert (later == now + 1).all()
    assert (now[:, 0] == frames).all()
    assert (actions == windows.actions[frames]).all()
    episodes = windows.first[frames.numpy()].reshape(5, 4)
    assert (episodes == episodes[:, :1]).all()
    assert all(len(set(row)) == 4 for row in frames.reshape(5, 4).tolist())
    assert (windows.last[frames.numpy()] > frames.numpy()).all()
