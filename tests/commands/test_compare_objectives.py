"""Curves and ratios by hand; every objective is composed with its own options."""

import json
from pathlib import Path

import pytest
from moving_square import make_dataset

from robot_wm.cli import main as cli
from robot_wm.commands.compare_objectives import (
    ObjectivesSettings,
    curve_of,
    efficiency,
    overview,
    with_objective,
)
from robot_wm.core.errors import ConfigError
from robot_wm.core.storage.json_io import read_lines


def point(
    name: str, minutes: float, samples: int, angle: float, seed: int = 0, place: float = 0.9
) -> dict:
    return {"objective": name, "seed": seed, "dataset": "d", "cpu_minutes": minutes,
            "samples": samples, "r2 x [m]": place, "r2 v [m/s]": 0.0, "r2 cos a [rad]": angle,
            "r2 sin a [rad]": angle}  # fmt: skip


def test_a_curve_counts_what_training_alone_has_cost(tmp_path: Path) -> None:
    lines = [
        {"step": 0, "kind": "pixels", "data": {}},
        {"step": 0, "kind": "monitor", "data": {"d": {"S": 1.0}}},
        {"step": 10, "kind": "train", "loss": 1.0, "cpu_s": 6.0},
        {"step": 20, "kind": "train", "loss": 1.0, "cpu_s": 3.0},
        {"step": 25, "kind": "monitor", "data": {"d": {"S": 2.0}, "e": {"S": 3.0}}},
    ]
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = curve_of(log, pictures=8)
    assert [row["cpu_minutes"] for row in found] == [0, 1.75, 1.75]  # 60 + 30 + 5·3 seconds
    assert [(row["dataset"], row["samples"], row["S"]) for row in found] == [
        ("d", 0, 1.0), ("d", 200, 2.0), ("e", 200, 3.0),
    ]  # fmt: skip


def test_the_ratio_is_where_the_curve_crosses_what_the_reference_knows_in_the_end() -> None:
    points = [
        point("mae", 0, 0, 0.2), point("mae", 6, 600, 0.6),
        point("jepa", 0, 0, 0.2), point("jepa", 4, 200, 0.5), point("jepa", 8, 400, 0.7),
        point("slow", 0, 0, 0.2), point("slow", 9, 900, 0.5),
        point("jepa", 3, 100, 0.9, seed=1),  # no reference of this seed
    ]  # fmt: skip
    jepa, slow = efficiency(points, "mae")
    assert jepa["cpu_ratio"] == pytest.approx(6 / 6)  # .6 is half-way from 4 to 8 minutes
    assert jepa["samples_ratio"] == pytest.approx(600 / 300)
    assert (slow["cpu_ratio"], slow["samples_ratio"]) == (None, None)
    assert jepa["gained"] == pytest.approx(0.4)


def test_positions_have_a_ratio_of_their_own() -> None:
    points = [
        point("mae", 0, 0, 0.2, place=0.5), point("mae", 6, 600, 0.6, place=0.7),
        point("jepa", 0, 0, 0.2, place=0.5), point("jepa", 4, 200, 0.3, place=0.9),
    ]  # fmt: skip
    (jepa,) = efficiency(points, "mae")
    assert jepa["cpu_ratio"] is None
    assert jepa["places_cpu_ratio"] == pytest.approx(6 / 2)  # .7 is half-way to 4 minutes
    assert jepa["places_samples_ratio"] == pytest.approx(600 / 100)
    assert (jepa["places_gained"], jepa["places_reached"]) == pytest.approx((0.2, 0.9))


def test_the_table_shows_the_attentive_probe_with_meters() -> None:
    def row(probe: str, r2: float) -> dict:
        return {"objective": "mae", "seed": 0, "task": "t", "factor": "x", "probe": probe,
                "r2": r2, "steps": 4, "samples": 64, "S/S0": 0.5}  # fmt: skip

    for rows in ([row("mlp", 0.9), row("attentive", 0.25)], [row("attentive", 0.25)]):
        text = overview(rows, [], "mae")
        assert "| mae | 0 | t | 4 | – | 64 | 0.500 | – | – | 0.250 |" in text


def test_objectives_come_with_their_own_options() -> None:
    words = ("experiment=smoke", "pretrain.steps=7", "objective.options={dense_weight: 1.0}")
    session = cli.Session(cli.compose(list(words)), words)
    told = with_objective(session, "mae")
    assert told.objective.name == "mae"
    assert told.objective.options == {"decoder_width": 16, "decoder_depth": 1}
    assert told.pretrain_config().steps == 7


def test_an_objective_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="each once"):
        ObjectivesSettings(names=("mae", "mae"))


def test_rows_curves_and_table_of_a_tiny_run_which_is_not_done_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_dataset(tmp_path / "square-nominal", episodes=60, blocks=8)
    monkeypatch.setenv("ROBOT_WM_HOME", str(tmp_path / "home"))
    for module in ("ablate_encoder", "compare_objectives"):
        where = f"robot_wm.commands.{module}"
        monkeypatch.setattr(f"{where}.encoder_datasets", lambda session: [store.root])
    monkeypatch.setattr("robot_wm.commands.ablate_encoder.dataset", lambda *_: store.root)
    words = ["experiment=smoke", "image_size=32", "encoder.patch=8", "encoder_tasks=push_t",
             "objectives.names=[ijepa,videomae]", "objectives.points=2", "pretrain.steps=4",
             "pretrain.batch=8", "pretrain.log_every=1", "probe.frames=400", "probe.epochs=1",
             "threads=1"]  # fmt: skip
    assert cli.main(["compare-objectives", *words]) == 0
    out = tmp_path / "home/runs/compare-objectives-smoke"
    rows = read_lines(out / "objectives-4.jsonl")
    assert {row["objective"] for row in rows} == {"ijepa", "videomae", "pixels", "random"}
    mine = [row for row in rows if row["objective"] == "ijepa"]
    assert {row["probe"] for row in mine} == {"attentive", "mlp"}
    assert all(row["samples"] == 4 * 8 * 2 and row["cpu_minutes"] > 0 for row in mine)
    assert all(0 < row["S/S0"] <= 1 and row["rankme"] >= 1 for row in mine)
    curve = read_lines(out / "objectives-4-curve.jsonl")
    assert [(p["objective"], p["step"]) for p in curve] == [
        (name, step) for name in ("ijepa", "videomae") for step in (0, 2, 4)
    ]
    assert "sooner" in (out / "objectives-4.md").read_text()
    weights = out / "4/seed0/ijepa/encoder/weights.safetensors"
    before = weights.stat().st_mtime_ns
    more = [w for w in words if not w.startswith("objectives.names")] + ["objectives.names=[mae]"]
    assert cli.main(["compare-objectives", *words]) == 0
    assert cli.main(["compare-objectives", *more, "objectives.minutes=0.001"]) == 0
    assert weights.stat().st_mtime_ns == before
    (timed,) = {row["steps"] for row in read_lines(out / "objectives-0.001min.jsonl")} - {0}
    assert timed >= 1
