"""Somebody else's episodes are trained on, judged and mirrored like the same ones in our format."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from moving_square import TINY, make_dataset
from npz_episodes import NAME, write_npz
from point_world import PointEnv, point_store
from test_jepa_trainer import tiny_run
from toy_family import FAMILY, LinearConfig

from planning.evaluation.config import EvaluateConfig
from planning.evaluation.evaluator import evaluate
from planning.evaluation.sample_pairs import PairsConfig, make_pair_lists
from robot_wm.cli import main as cli
from robot_wm.core.instantiate import deferred
from robot_wm.core.storage.provenance import read_manifest
from robot_wm.data.formats.base import format_of, open_episodes
from robot_wm.data.latent_cache import LatentStore, build_latents
from robot_wm.data.shards import shard_path
from robot_wm.encoders.frozen import FrozenEncoder, save_encoder
from robot_wm.encoders.vit import VideoEncoder
from robot_wm.world_models.base import TrainingData
from robot_wm.world_models.jepa.training.trainer import train


@pytest.fixture(autouse=True)
def theirs(installed) -> None:
    installed("robot_wm.data_formats", NAME, "npz_episodes:NpzEpisodes")


def test_a_world_model_learns_the_same_from_them(tmp_path: Path) -> None:
    save_encoder(tmp_path / "encoder", VideoEncoder(TINY), {}, {}, "random weights")
    encoder, made = FrozenEncoder.load(tmp_path / "encoder"), {}
    ours = make_dataset(tmp_path / "ours", 24, 14)
    for root in (ours.root, write_npz(ours, tmp_path / "theirs")):
        cache = build_latents(root, encoder, tmp_path / "latents")
        store = open_episodes(root)
        latents = LatentStore(cache, store, encoder.sha256)
        tokens = np.concatenate([latents.latents_of(i) for i in range(len(store))])
        folder = train(tiny_run(steps=4, eval_every=99), root, cache, encoder, tmp_path / root.name)
        made[root.name] = tokens, (folder / "weights.safetensors").read_bytes()
        assert read_manifest(folder, "world_model")["facts"]["datasets"] == [store.sha256]
    np.testing.assert_array_equal(made["ours"][0], made["theirs"][0])
    assert made["ours"][1] == made["theirs"][1]


def test_so_does_a_model_of_somebody_else(tmp_path: Path) -> None:
    save_encoder(tmp_path / "encoder", VideoEncoder(TINY), {}, {}, "random weights")
    ours, made = make_dataset(tmp_path / "ours", 12, 4, 3), []
    for root in (ours.root, write_npz(ours, tmp_path / "theirs")):
        data = TrainingData([root], tmp_path / "encoder", Path)
        folder = FAMILY.train(LinearConfig("square", steps=3), data, tmp_path / f"{root.name}-run")
        made.append((folder / "weights.safetensors").read_bytes())
    assert made[0] == made[1]


def test_an_agent_is_judged_alike_on_pairs_of_them(tmp_path: Path) -> None:
    ours, found = point_store(tmp_path / "ours", 60), []
    config = PairsConfig(count=3, offset=10, budget=15, eval_seeds=(0,))
    for root in (ours.root, write_npz(ours, tmp_path / "theirs")):
        pairs = make_pair_lists(config, open_episodes(root), PointEnv().success, ("official",))[0]
        makers = deferred("point_world.PointEnv"), deferred("point_world.make_drift")
        result = evaluate(EvaluateConfig("official/point", "drift"), pairs, *makers)
        found.append((pairs.pairs, [episode.traces for episode in result.episodes]))
    assert repr(found[0]) == repr(found[1])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_whole_chain_runs_on_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Encoder, latents, world model, pairs and rows, with two workers; nothing is collected."""
    monkeypatch.setenv("ROBOT_WM_HOME", str(tmp_path))
    options = ("experiment=smoke", "task=two_room", "encoder_tasks=two_room", "workers=2")
    assert cli.main(["collect", *options]) == 0
    roots = [tmp_path / f"datasets/two_room-{name}-smoke" for name in ("nominal", "varied")]
    for root in roots:
        write_npz(open_episodes(root), root.with_name("written"))
        shutil.rmtree(root)
        root.with_name("written").rename(root)
    assert cli.main(["evaluate", *options, "method=[jepa,random]", "train_on=nominal"]) == 0
    lines = (tmp_path / "runs/evaluate-smoke/official-two_room.jsonl").read_text().splitlines()
    rows = {row["method"]: row for row in map(json.loads, lines)}
    assert set(rows) == {"jepa", "random"}
    assert rows["jepa"]["dataset_sha256"] == open_episodes(roots[0]).sha256
    assert {format_of(root) for root in roots} == {NAME}
    assert not any(shard_path(root, 0).exists() for root in roots)
