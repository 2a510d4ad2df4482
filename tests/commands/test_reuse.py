"""A stage is reused only if it is what is asked for now; every difference is told."""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from planning.evaluation.goal_pairs import PairList
from planning.evaluation.results import read_rows
from planning.evaluation.stage import draw_pairs, pair_lists
from robot_wm.cli import main as cli
from robot_wm.cli.main import Session, compose
from robot_wm.commands.parts.artifacts import encoder, model
from robot_wm.core.errors import DataError, WeightsError
from robot_wm.core.storage.provenance import (
    atomic_folder,
    check_same,
    read_manifest,
    write_json,
    write_manifest,
)
from sim.collection.stage import dataset

ROOT = Path(__file__).parents[2]
TINY = ("experiment=smoke", "task=two_room", "encoder_tasks=[two_room]", "task.steps=10",
        "task.nominal=80", "task.varied=80", "collect.episodes_per_shard=80", "workers=1",
        "threads=1", "image_size=16", "pairs.offset=5", "pairs.count=1")  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    root = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROBOT_WM_HOME", str(root))
        dataset(compose(TINY), "nominal")
        draw_pairs(compose(TINY), publish=False)
        yield root


def asked(*words):
    return compose((*TINY, *words))


def test_the_same_is_reused_and_what_cannot_matter_is_not_compared(home):
    before = {p: p.stat().st_mtime_ns for p in (home / "datasets").rglob("*.npy")}
    for words in ((), ("workers=2",), ("threads=2",), ("seed=3",), ("task.nominal=40",)):
        dataset(asked(*words), "nominal")
        assert pair_lists(asked(*words))[0].split == "test"
    assert before == {p: p.stat().st_mtime_ns for p in (home / "datasets").rglob("*.npy")}


@pytest.mark.parametrize(
    ("word", "key"),
    [
        ("task.steps=12", "steps"),
        ("image_size=32", "image_size"),
        ("collect.frame_every=2", "frame_every"),
        ("task.mix=[{behaviour: random, share: 1.0}]", "mix"),
        ("collect.episodes_per_shard=20", "episodes_per_shard"),
    ],
)
def test_data_of_another_configuration_is_refused(home, word, key):
    with pytest.raises(DataError, match=key) as caught:
        dataset(asked(word), "nominal")
    assert "name=" in caught.value.next_step


@pytest.mark.parametrize(
    ("word", "key"),
    [("pairs.budget=60", "budget"), ("pairs.offset=6", "offset"), ("pairs.count=2", "count")],
)
def test_another_pair_list_is_refused(home, word, key):
    with pytest.raises(DataError, match=key):
        pair_lists(asked(word))


def test_lists_of_other_splits_and_draws_are_other_files(home):
    lists = {
        word: pair_lists(asked(word))[0]
        for word in ("pairs.split=train", "pairs.split=test", "pairs.seed=1")
    }
    assert [found.split for found in lists.values()] == ["train", "test", "test"]
    assert [found.seed for found in lists.values()] == [0, 0, 1]
    assert len({found.sha256 for found in lists.values()}) == 3
    assert pair_lists(asked())[0] == lists["pairs.split=test"]


def test_a_list_of_other_episodes_is_refused(home):
    path = next((home / "runs/evaluate-smoke/pairs").glob("official-two_room-0.json"))
    kept = path.read_text()
    path.write_text(json.dumps({**json.loads(kept), "dataset_sha256": "0" * 64}))
    with pytest.raises(DataError, match="dataset_sha256"):
        pair_lists(asked())
    path.write_text(kept)


def test_rows_say_their_split_and_no_table_takes_training_pairs_for_held_out(home):
    from planning.reporting.tables import load_all

    words = (*TINY, "method=random", "evaluate.limit=1")
    assert cli.main(["evaluate", *words]) == 0
    assert cli.main(["evaluate", *words, "pairs.split=train"]) == 0
    rows = read_rows(home / "runs/evaluate-smoke/official-two_room.jsonl")
    named = {row["row"]: row["split"] for row in rows}
    assert named == {
        "official/two_room@random": "test", "official/two_room@random@train": "train",
    }  # fmt: skip
    assert [row["split"] for row in load_all(home / "runs/evaluate-smoke")] == ["test"]


def stored(folder, kind, parents, facts):
    with atomic_folder(folder) as work:
        write_json(work / "config.json", {})
        return write_manifest(work, kind, parents, facts)


def without(values, key):
    return {k: v for k, v in values.items() if k != key}


def test_an_encoder_of_another_configuration_is_refused(home):
    settings = asked("encoder_name=mine")
    facts = {"pretrain": settings.pretrain_config().to_json()}
    stored(home / "encoders/mine/encoder", "encoder", {}, facts)
    folder = encoder(Session(settings, TINY))
    assert read_manifest(folder, "encoder")["facts"] == facts
    encoder(Session(asked("encoder_name=mine", "pretrain.log_every=3", "threads=2"), TINY))
    for word, key in (("pretrain.steps=31", "steps"), ("encoder.width=64", "encoder"),
                      ("objective.options.visible=5", "options"), ("seed=1", "seed")):  # fmt: skip
        with pytest.raises(DataError, match=key):
            encoder(Session(asked("encoder_name=mine", word), TINY))


def test_what_an_encoder_has_not_seen_is_told(home, capsys):
    settings = asked("encoder_name=other")
    facts = {"pretrain": settings.pretrain_config().to_json()}
    seen = {f"dataset:two_room-{name}-smoke": "0" * 64 for name in ("nominal", "varied")}
    stored(home / "encoders/other/encoder", "encoder", seen, facts)
    with pytest.raises(DataError, match="two_room-nominal-smoke"):  # other episodes of that name
        encoder(Session(settings, TINY))
    words = (*TINY, "encoder_name=other", "encoder_tasks=[reacher]")
    assert "seen nothing" not in capsys.readouterr().err
    encoder(Session(compose(words), words))
    told = "has seen nothing of reacher-nominal-smoke, reacher-varied-smoke in its pretraining"
    assert told in capsys.readouterr().err


def test_a_model_of_another_configuration_is_refused(home):
    settings = asked("encoder_name=mine", "name=mine", "data_name=smoke")
    config = json.loads(json.dumps(asdict(settings.train_config())))
    digest = read_manifest(home / "encoders/mine/encoder", "encoder")["sha256"]
    facts = {"config": config, "datasets": []}
    stored(home / "models/two_room-mine/world_model", "world_model", {"encoder": digest}, facts)
    words = ("encoder_name=mine", "name=mine", "data_name=smoke", "train_on=[nowhere]")
    for word, key in (("train.steps=21", "steps"), ("model.width=64", "width"),
                      ("train.lr=0.1", "lr"), ("seed=1", "seed")):  # fmt: skip
        with pytest.raises(DataError, match=key):
            model(Session(asked(*words, word), TINY))


@dataclass(frozen=True)
class Grown:
    a: int
    new: float = 2.0
    many: tuple[int, ...] = (1, 2)


def test_what_came_later_had_its_default_before(tmp_path):
    """An option that a stored artefact has never heard of was not given to it."""
    old = {"a": 1, "gone": 3}
    check_same(tmp_path, old, asdict(Grown(1)), "delete it", Grown)
    with pytest.raises(DataError, match=r"made with new = 2\.0") as caught:
        check_same(tmp_path, old, asdict(Grown(1, new=5.0)), "delete it", Grown)
    assert caught.value.accepted.startswith("new = 5.0, as asked for now")
    with pytest.raises(DataError, match=r"many = \[1,2\]"):
        check_same(tmp_path, old, asdict(Grown(1, many=(1,))), "delete it", Grown)
    check_same(tmp_path, {**old, "new": 5.0}, asdict(Grown(1, new=5.0)), "delete it", Grown)


def test_older_artefacts_are_not_taken_for_what_they_cannot_be(home):
    """Of every kind that is compared with a configuration: data, encoder, model."""
    words = ("encoder_name=old", "name=old", "data_name=smoke", "train_on=[nowhere]")
    settings = asked(*words)
    facts = {"pretrain": without(settings.pretrain_config().to_json(), "color_jitter")}
    made = stored(home / "encoders/old/encoder", "encoder", {}, facts)
    encoder(Session(settings, TINY))
    with pytest.raises(DataError, match="color_jitter"):
        encoder(Session(asked(*words, "pretrain.color_jitter=0.5"), TINY))
    config = without(json.loads(json.dumps(asdict(settings.train_config()))), "clip")
    parents, facts = {"encoder": made["sha256"]}, {"config": config, "datasets": []}
    stored(home / "models/two_room-old/world_model", "world_model", parents, facts)
    with pytest.raises(DataError, match="clip"):
        model(Session(asked(*words, "train.clip=0.125"), TINY))


def test_keys_that_came_later_are_not_missed(tmp_path):
    check_same(tmp_path, {"a": 1, "gone": 3}, {"a": 1, "new": 2}, "delete it")
    with pytest.raises(DataError, match="a = 1") as caught:
        check_same(tmp_path, {"a": 1}, {"a": (1, 2)}, "delete it")
    assert "a = [1,2]" in caught.value.accepted


def test_committed_lists_are_those_of_the_committed_rows():
    lists = {PairList.load(path).sha256 for path in (ROOT / "robot_wm/pairs").glob("*.json")}
    rows = [r for path in (ROOT / "results").glob("*.jsonl") for r in read_rows(path)]
    whole = [r for r in rows if r["episodes"] == 100]
    assert len(whole) > 100
    assert {r["pair_list_sha256"] for r in whole} <= lists


def test_a_model_that_is_not_there_is_told_with_those_that_are(home):
    stored(home / "models/two_room-other/world_model", "world_model", {}, {})
    for word in ("weights=shiped", "weights=foo"):
        with pytest.raises(WeightsError, match=word.partition("=")[2]) as caught:
            model(Session(asked(word), TINY), asked(word).weights)
        assert caught.value.accepted.split(", ")[0] == "shipped"
        assert "other" in caught.value.accepted
    with pytest.raises(WeightsError, match="did you mean 'shipped'"):
        model(Session(asked(), TINY), "shiped")


def test_other_folders_and_bundles_are_refused_and_kept(home, tmp_path):
    ours = ROOT / "robot_wm/weights/bundles/push_t"
    mine = tmp_path / "mine"
    shutil.copytree(ours, mine)
    before = {p.name: p.read_bytes() for p in mine.iterdir()}
    words = ("task=two_room", "method=onnx", "evaluate.limit=1", "workers=1", f"bundle={mine}")
    for command in ("evaluate", "soak", "report"):
        assert cli.main([command, *words]) == 2
        assert {p.name: p.read_bytes() for p in mine.iterdir()} == before
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.txt").write_text("the only copy")
    words = ("task=two_room", f"bundle={tmp_path / 'thesis'}")
    for command in ("export", "evaluate"):
        assert cli.main([command, *words, "method=onnx"]) == 2
    assert [p.name for p in (tmp_path / "thesis").iterdir()] == ["thesis.txt"]
