"""A latent carried over to another encoder and other looks: targets, what stays, what is learnt."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from moving_square import make_dataset, tiny_encoder
from test_invariant_latent import looks
from test_jepa_trainer import tiny_run

from robot_wm.core.errors import ConfigError, DataError
from robot_wm.data.latent_cache import build_latents
from robot_wm.data.sequences import Pair, open_pairs
from robot_wm.encoders.frozen import FrozenEncoder
from robot_wm.encoders.token_pca import TokenPCA
from robot_wm.training.checkpoint import load_artifact
from robot_wm.training.loop import fit
from robot_wm.world_models.distillation import DistillConfig
from robot_wm.world_models.jepa.artifact import load_submodules
from robot_wm.world_models.jepa.distillation.dataset import FrameDataset, targets
from robot_wm.world_models.jepa.distillation.inputs import Pixels, Tokens
from robot_wm.world_models.jepa.distillation.trainer import Distillation, check_robot, distill
from robot_wm.world_models.jepa.model import JEPAWorldModel, Network
from robot_wm.world_models.jepa.training.trainer import train

SMALL = {"width": 16, "blocks": 1, "steps": 30, "embedding_steps": 3, "dynamics_steps": 2}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Pair], JEPAWorldModel]:
    root = tmp_path_factory.mktemp("distil")
    source = make_dataset(root / "square", episodes=20, blocks=12, shards=1)
    stores = [source, looks(source, root / "square-looks", 20)]
    caches = [build_latents(store.root, tiny_encoder(), root) for store in stores]
    pairs = open_pairs("square", [s.root for s in stores], caches, "tiny")
    roots = [pairs[0][0].root], [pairs[0][1].folder]
    folder = train(tiny_run(**SMALL), *roots, tiny_encoder(), root / "source")
    return root, pairs, loaded(folder)


def loaded(folder: Path) -> JEPAWorldModel:
    from robot_wm.core.protocols import spec_from_json

    tensors, config, manifest = load_artifact(folder, "world_model")
    network = Network(network_sizes(config))
    network.load_state_dict({key: value.float() for key, value in tensors.items()})
    hashes = {**manifest["parents"], "world_model": manifest["sha256"]}
    spec = replace(spec_from_json(config["spec"]), hashes=hashes)
    return JEPAWorldModel(network.requires_grad_(False), tiny_encoder(), spec)


def network_sizes(config: dict) -> object:
    from robot_wm.world_models.jepa.model import Sizes

    return Sizes(**config["sizes"])


def reduction(pairs: list[Pair]) -> TokenPCA:
    reduce = TokenPCA(16, 32, 8)
    reduce.fit(np.concatenate([np.array(pairs[0][1].latents_of(i)) for i in range(4)]))
    return reduce


def tokens(
    pairs: list[Pair], source: JEPAWorldModel, split: str = "train", reduce: TokenPCA | None = None
) -> FrameDataset:
    rows = partial(Tokens(pairs, tiny_encoder()).rows, reduce or reduction(pairs))
    return FrameDataset([store for store, _ in pairs], split, source, rows)


def test_every_look_has_the_target_of_its_state_as_recorded(made) -> None:
    _, pairs, source = made
    frames = tokens(pairs, source)
    assert len(frames.recorded) + len(frames.other) == len(frames.x)
    first = pairs[0][0].indices("train")[0]
    seen = np.asarray(pairs[0][0][first].frames)
    z, keypoints = targets(source, seen)
    torch.testing.assert_close(frames.z[: len(seen)], z)
    torch.testing.assert_close(frames.keypoints[: len(seen)], keypoints)
    wanted = source.embed_frames(seen)
    torch.testing.assert_close(z, wanted, atol=1e-4, rtol=1e-4)
    began = len(frames.recorded)  # the first look is of the first episode
    torch.testing.assert_close(frames.z[began : began + len(seen)], z)
    assert not torch.equal(frames.x[began : began + len(seen)], frames.x[: len(seen)])


def test_a_step_has_the_wanted_share_of_other_looks(made) -> None:
    _, pairs, source = made
    frames = tokens(pairs, source)
    rng = np.random.default_rng(0)
    rows = []
    frames.gather = lambda chosen: rows.append(chosen)  # type: ignore[method-assign]
    frames.draw(40, 0.25, rng)
    assert np.isin(rows[0], frames.other).sum() == 10
    alone = tokens(pairs[:1], source)
    assert len(alone.draw(8, 0.5, rng).x) == 8


def test_changed_colours_are_further_looks_of_recorded_frames(made, tmp_path: Path) -> None:
    _, pairs, source = made
    config = DistillConfig(steps=1, color_jitter=0.5)
    run = Distillation(config, source, Tokens(pairs, tiny_encoder()), 3, tmp_path)
    run.network.reduce.load_state_dict(reduction(pairs).state_dict())
    plain, frames = tokens(pairs, source, reduce=run.network.reduce), run._frames("train")
    added = np.arange(len(plain.x), len(frames.x))
    assert 0.3 < len(added) / len(plain.recorded) < 0.7
    np.testing.assert_array_equal(frames.other, np.concatenate([plain.other, added]))
    same = (frames.z[added][:, None] == plain.z[plain.recorded][None]).all(-1)
    assert same.any(1).all()  # each has the target of a recorded frame
    assert torch.equal(run._frames("train").x, frames.x)  # as after a restart


def test_frames_of_another_size_are_drawn_again(made) -> None:
    _, pairs, source = made
    small = replace(source.spec, image_size=16)
    other = JEPAWorldModel(source.network, source.encoder, small)
    with pytest.raises(DataError, match="without a scene to draw them in again"):
        tokens(pairs[:1], other)


def test_episodes_of_which_no_frame_changes_its_colours_add_nothing(made) -> None:
    _, pairs, source = made
    config = DistillConfig(steps=1, color_jitter=1e-9)
    run = Distillation(config, source, Tokens(pairs[:1], tiny_encoder()), 0, Path())
    run.network.reduce = reduction(pairs)
    assert not len(run._frames("train").other)


def test_looks_without_their_source_are_refused(made) -> None:
    _, pairs, source = made
    with pytest.raises(DataError, match=r"nominal,nominal-looks"):
        tokens(pairs[1:], source, reduce=reduction(pairs))


def test_another_robot_is_refused(made) -> None:
    spec = made[2].spec
    check_robot(spec, replace(spec, image_size=48))
    with pytest.raises(DataError, match="control_dt"):
        check_robot(spec, replace(spec, control_dt=2 * spec.control_dt))


def test_the_latent_is_learned_in_all_looks_and_all_else_is_the_source_s(
    made, tmp_path: Path
) -> None:
    _, pairs, source = made
    config = DistillConfig(
        steps=150, batch=48, lr=4e-3, warmup=10, ema=0.9, evaluate_every=150, log_every=50
    )
    roots, caches = [s.root for s, _ in pairs], [c.folder for _, c in pairs]
    folder = distill(config, source, roots, caches, tiny_encoder(), 0, tmp_path)
    model = loaded(folder)
    for name in ("predictor", "proposer", "distance", "whiten"):
        before, after = (getattr(m.network, name).state_dict() for m in (source, model))
        for key in before:
            torch.testing.assert_close(after[key], before[key], atol=2e-3, rtol=2e-3)
    frames = tokens(pairs, source, "validation", model.network.reduce)
    spread = frames.z.std(dim=0).square().mean().sqrt()
    for rows in (frames.recorded, frames.other):
        batch = frames.gather(rows)
        error = (model.network.project(batch.x.float()) - batch.z).square().mean().sqrt()
        assert error < 0.6 * spread
    facts = load_artifact(folder, "world_model")[2]
    assert facts["parents"]["latent"] == source.spec.hashes["world_model"]
    assert set(facts["facts"]["last"]["validation"]) == {"error_as_recorded", "error_other_looks"}


def test_a_resumed_run_ends_with_the_same_bytes(made, tmp_path: Path) -> None:
    _, pairs, source = made
    roots, caches = [s.root for s, _ in pairs], [c.folder for _, c in pairs]
    config = DistillConfig(steps=6, batch=8, warmup=2, evaluate_every=0, checkpoint_every=3)
    whole = distill(config, source, roots, caches, tiny_encoder(), 0, tmp_path / "a")
    out = tmp_path / "b"
    make = partial(Distillation, config, source, Tokens(pairs, tiny_encoder()), 0, out)
    fit(make, out, stop_at=3)
    half = fit(make, out)
    names = ("weights.safetensors", "config.json")
    assert all((whole / n).read_bytes() == (half / n).read_bytes() for n in names)


def test_an_encoder_that_learns_is_frozen_beside_the_model(made, tmp_path: Path) -> None:
    _, pairs, source = made
    roots, first = [s.root for s, _ in pairs], tiny_encoder(3, "first")
    config = DistillConfig(
        steps=120, batch=32, lr=4e-3, warmup=10, ema=0.9, evaluate_every=120, encoder=True
    )
    before = {key: value.clone() for key, value in first.state_dict().items()}
    folder = distill(config, source, roots, [], first, 0, tmp_path, None, tmp_path / "encoder")
    encoder, parents = (
        FrozenEncoder.load(tmp_path / "encoder"),
        load_artifact(folder, "world_model")[2],
    )
    assert parents["parents"] == {
        "encoder": encoder.sha256, "first_encoder": "first",
        "latent": source.spec.hashes["world_model"], "latent_encoder": "tiny",
    }  # fmt: skip
    for key, value in first.state_dict().items():
        assert torch.equal(value, before[key])  # what learned is a copy
        assert not torch.equal(value, encoder.state_dict()[key])
    model = JEPAWorldModel(loaded(folder).network, encoder, source.spec)
    rows = partial(Pixels([s for s, _ in pairs], first).rows, TokenPCA(1, 1, 1))
    frames = FrameDataset([s for s, _ in pairs], "validation", source, rows)
    spread = frames.z.std(dim=0).square().mean().sqrt()
    for index in (frames.recorded, frames.other):
        batch = frames.gather(index)
        error = (model.embed_frames(batch.x.numpy()) - batch.z).square().mean().sqrt()
        assert error < 0.5 * spread


def test_an_encoder_that_learns_resumes_to_the_same_bytes(made, tmp_path: Path) -> None:
    _, pairs, source = made
    stores, first = [s for s, _ in pairs], tiny_encoder(3, "first")
    config = DistillConfig(
        steps=4, batch=8, warmup=2, evaluate_every=0, checkpoint_every=2, encoder=True,
        color_jitter=0.3,
    )  # fmt: skip
    found = []
    for name, stops in (("a", (None,)), ("b", (2, None))):
        out, seen = tmp_path / name, Pixels(stores, first)
        make = partial(Distillation, config, source, seen, 0, out, None, out / "encoder")
        for stop in stops:
            fit(make, out, stop_at=stop)
        paths = (out / "encoder", out / "world_model")
        found.append([(path / "weights.safetensors").read_bytes() for path in paths])
    assert found[0] == found[1]


@pytest.mark.parametrize("learns", [False, True])
def test_what_was_distilled_can_be_built_upon(made, tmp_path: Path, learns: bool) -> None:
    _, pairs, source = made
    config = DistillConfig(steps=2, batch=4, warmup=1, evaluate_every=0, encoder=learns)
    caches = [] if learns else [cache.folder for _, cache in pairs]
    folder = distill(
        config, source, [s.root for s, _ in pairs], caches, tiny_encoder(), 0, tmp_path, None,
        tmp_path / "encoder",
    )  # fmt: skip
    network = Network(loaded(folder).network.sizes)
    share = load_submodules(network, folder, embedded=True, whole=True)  # as `train.latent_of`
    encoder = FrozenEncoder.load(tmp_path / "encoder") if learns else tiny_encoder()
    tokens = Pixels([s for s, _ in pairs], encoder).sample(3_000)
    assert share == pytest.approx(network.reduce.explained(tokens), abs=2e-3)
    assert 0.3 < share <= 1
    assert TokenPCA(16, 32, 8).explained(tokens) == 0  # the control: nothing is kept


def test_the_kept_variance_is_that_of_the_fit(made) -> None:
    tokens = np.concatenate([np.array(made[1][0][1].latents_of(i)) for i in range(4)])
    reduce = TokenPCA(16, 32, 8)
    assert reduce.fit(tokens) == pytest.approx(reduce.explained(tokens), abs=1e-4)


def test_an_encoder_without_weights_to_learn_is_refused(made) -> None:
    from robot_wm.encoders.untrained import PatchEncoder
    from robot_wm.encoders.vit import EncoderConfig

    stores = [store for store, _ in made[1]]
    with pytest.raises(ConfigError, match="PatchEncoder, which cannot learn"):
        Pixels(stores, PatchEncoder(EncoderConfig(image_size=32)))
