"""World models side by side, one of them somebody else's."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from planning.commands.compare import CompareSettings, samples, variant
from planning.comparison import acceptance
from planning.comparison.page import imagined, render_page
from planning.comparison.results import (
    add_row,
    find,
    newest,
    over_seeds,
    read_rows,
    render,
    render_section,
)
from robot_wm.cli import main as cli
from robot_wm.cli.compose import Session, compose
from robot_wm.core.errors import ConfigError, DataError
from robot_wm.core.specs import ModelSpec

ROW = {
    "task": "push_t", "model": "jepa", "asked_sha256": "a", "train_seed": 0, "episodes": 4,
    "success_pct": 75.0, "strict_pct": None, "overlays": {"new:0.1": 50.0}, "surprise_pct": 83.3,
    "plan_ms": 120.0, "parameters": 1234567, "samples_per_s": 99.5, "cpu_minutes": 1.26,
    "peak_mb": None,
}  # fmt: skip


def test_unknown_models_are_refused_with_a_list() -> None:
    with pytest.raises(ConfigError, match="jepa"):
        CompareSettings(models=("jeppa",))
    for wrong in ((), ("jepa", "jepa")):
        with pytest.raises(ConfigError):
            CompareSettings(models=wrong)
    with pytest.raises(ConfigError, match="new:LEVEL"):
        CompareSettings(overlays=("loud",))


def test_a_variant_has_its_own_name_and_the_data_and_encoder_of_the_run(toys: None) -> None:
    words = ("experiment=smoke", "task=two_room", "train.steps=7", "compare.models=[jepa,linear]",
             "world_model=jepa", "compare.overlays=[new:0.2]")  # fmt: skip
    settings = compose(words)
    own = variant(Session(settings, words), "linear").settings
    assert own.family.name == "linear"
    assert (own.name, own.weights) == ("smoke-linear", "smoke-linear")
    assert (own.data_name, own.encoder_name) == (settings.data_name, settings.encoder_name)
    assert (own.task, own.planner) == (settings.task, settings.planner)
    assert own.train_config().steps == 7
    assert own.compare.overlays == ("new:0.2",)


def test_an_option_that_some_model_lacks_is_refused_before_any_is_trained(toys: None) -> None:
    words = ("experiment=smoke", "train.embedding_steps=7")
    with pytest.raises(ConfigError, match="embedding_steps"):
        variant(Session(compose(words), words), "linear")


def test_samples_are_steps_times_the_batch_of_their_stage() -> None:
    @dataclass
    class Config:
        steps: int = 10
        batch: int = 4
        dynamics_steps: int = 3
        dynamics_batch: int = 100
        settle_steps: int = 2

    assert samples(Config()) == 10 * 4 + 3 * 100 + 2 * 4


def test_rows_are_found_again_and_strictly_read(tmp_path: Path) -> None:
    path = tmp_path / "compare" / "push_t.jsonl"
    assert find(path, ROW) is None
    add_row(path, ROW)
    add_row(path, {**ROW, "asked_sha256": "b", "success_pct": 80.0})
    assert find(path, ROW) == ROW
    assert find(path, {**ROW, "train_seed": 1}) is None
    assert [row["success_pct"] for row in newest(read_rows(path))] == [80]
    assert (
        "| jepa | 75.0 | -- | 50.0 | 83 | 0.120 | 100 | 1.26 | 1,234,567 | -- | 4 | 1 |"
        in render([ROW])
    )
    assert "### push_t" in render_section(tmp_path)
    path.write_text(json.dumps({**ROW, "success_pct": 101}) + "\n")
    with pytest.raises(DataError):
        read_rows(path)


def test_the_page_shows_what_is_imagined_under_what_came() -> None:
    class Dreamer:
        spec = ModelSpec("t", (-1.0,), (1.0,), 1, 0.1, context=2, horizon=3, image_size=8)

        def encode(self, history):
            return history

        def nearest_frames(self, state, actions):
            assert len(state.actions) == 1
            return np.stack([np.full((8, 8, 3), 100 + int(a[0])) for a in actions]).astype(np.uint8)

    frames = np.zeros((7, 8, 8, 3), np.uint8)
    actions = np.arange(6, dtype=np.float32)[:, None]
    dream = imagined(Dreamer(), frames, actions)
    assert [None if f is None else int(f[0, 0, 0]) for f in dream] == [
        None, None, 101, 102, 103, None, None,
    ]  # fmt: skip
    assert imagined(object(), frames, actions) == [None] * 7
    text = render_page("push_t", [ROW], [frames], {"jepa": [dream]})
    assert text.count("<img") == 7 + 3
    assert "1,234,567" in text


@pytest.mark.slow
def test_two_families_through_the_command_line_and_once_alone(
    toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ROBOT_WM_HOME", str(tmp_path))
    words = [
        "compare", "compare.models=[jepa,linear]", "experiment=smoke", "task=two_room",
        "encoder_name=shipped", "workers=1", "threads=1", "task.steps=40", "train.steps=4",
        "pairs.count=2", "physics.pairs=2", "physics.validation=1", "physics.categories=[inertia]",
        "compare.overlays=[new:0.1]", "planner.proposals=0",
    ]  # fmt: skip
    assert cli.main(words) == 0
    path = tmp_path / "runs/compare-smoke/compare/two_room.jsonl"
    rows = read_rows(path)
    assert [row["model"] for row in rows] == ["jepa", "linear"]
    assert rows[0]["surprise_pct"] is not None
    assert rows[1]["surprise_pct"] is None  # it is never surprised
    assert all(row["cpu_minutes"] > 0 and row["samples_per_s"] > 0 for row in rows)
    before = path.read_bytes()
    capsys.readouterr()
    assert cli.main(words) == 0
    assert path.read_bytes() == before
    told = capsys.readouterr()
    assert "training" not in told.out + told.err


def test_training_seeds_become_a_mean_and_a_number_that_one_lacks_is_missing() -> None:
    rows = [{**ROW, "train_seed": n, "success_pct": 70.0 + 5 * n, "peak_mb": 10.0 * n or None}
            for n in range(3)]  # fmt: skip
    rows[1]["overlays"] = {"new:0.1": 20.0, "fixed:0.1": 3.0}
    (row,) = over_seeds(rows)
    assert (row["success_pct"], row["success_sd"], row["seeds"], row["episodes"]) == (75, 5, 3, 12)
    assert row["overlays"] == {"new:0.1": 40.0}
    assert row["peak_mb"] is None
    assert "| jepa | 75.0 ± 5.0 |" in render(rows)
    assert "shared cost %" in render([{**ROW, "costs": {"shared": 12.5}}])
    assert over_seeds([{**ROW, "model": name} for name in "ab"])[1]["success_sd"] is None


def test_a_model_on_an_encoder_that_learnt_nothing_has_a_line_of_its_own() -> None:
    rows = [ROW, {**ROW, "encoder": "patches", "success_pct": 5.0}]
    assert [row["success_pct"] for row in newest(rows)] == [75, 5]
    shown = render(rows)
    assert "| jepa | 75.0 |" in shown
    assert "| jepa on patches | 5.0 |" in shown


def test_a_model_is_held_to_its_own_bounds() -> None:
    told = {what: (figure, met) for what, figure, met in acceptance.judged("world_models", {
        "psnr": 28.4, "explained_1": 0.5, "explained_5": -0.1, "nll": 0.9, "nll_gaussian": 1.0,
        "nll_copy": 1.5, "covered_90": 0.97, "dream_before": 3.0, "dream_after": 2.0,
    })}  # fmt: skip
    found = {what.split()[0]: met for what, (_, met) in told.items()}
    assert found == {
        "PSNR": "yes", "share": "--", "first": "yes", "last": "no", "next": "yes", "middle": "no",
        "controller's": "yes",
    }  # fmt: skip
    assert told["next latent more probable under the mixture than under one Gaussian, or around "
                "the last latent [nats]"][0] == "0.9, 1, 1.5"  # fmt: skip
    assert acceptance.judged("linear", {"psnr": 1.0}) == []
    shown = acceptance.render(
        [{**ROW, "meters": {"EF_1": 0.5, "EF_5": 0.2}}, {**ROW, "meters": {}}]
    )
    assert shown.count("| jepa | 0 |") == 2
    assert shown.count("yes") == 2


def test_meters_are_those_of_the_finished_model_and_of_its_dreams() -> None:
    facts = {"last": {"step": 9, "validation": {"psnr": 30.0}}, "dream": {"before": 2.0}}
    assert acceptance.meters_of(facts) == {"psnr": 30.0, "dream_before": 2.0}
    assert acceptance.meters_of({}) == {}
