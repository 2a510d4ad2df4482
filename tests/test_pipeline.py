"""From nothing to a report with one command, tiny; then again, where everything is reused."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from robot_wm.cli import main as cli
from robot_wm.cli import pipeline as stages
from robot_wm.cli import settings
from robot_wm.core.storage.provenance import read_manifest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

OVERRIDES = ("preset=smoke", "encoder_tasks=push_t", "method=jepa,random,oracle", "workers=1")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A storage root in which ``robot-wm report`` has run once."""
    root = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROBOT_WM_HOME", str(root))
        assert cli.main(["report", *OVERRIDES]) == 0
        yield root


def rows(home: Path) -> dict[str, dict[str, object]]:
    lines = (home / "runs/evaluate-smoke/official-push_t.jsonl").read_text().splitlines()
    return {row["method"]: row for row in map(json.loads, lines)}


def test_every_box_names_its_parents(home: Path) -> None:
    encoder = read_manifest(home / "encoders/smoke/encoder", "encoder")
    model = read_manifest(home / "models/push_t-smoke/world_model", "world_model")
    (cache,) = (home / "latents").glob("latents-*")
    latents = read_manifest(cache, "latents")
    assert model["parents"]["encoder"] == latents["parents"]["encoder"] == encoder["sha256"]
    assert model["facts"]["datasets"] == [latents["parents"]["dataset"]]
    collections = {name.removeprefix("dataset:") for name in encoder["parents"]}
    assert collections == {"push_t-nominal-smoke", "push_t-varied-smoke"}
    made = rows(home)
    assert made["jepa"]["encoder_sha256"] == encoder["sha256"]
    assert made["jepa"]["model_sha256"] == model["sha256"]
    assert made["jepa"]["dataset_sha256"] == latents["parents"]["dataset"]


def test_rows_are_complete_and_share_their_pairs(home: Path) -> None:
    made = rows(home)
    assert set(made) == {"jepa", "random", "oracle"}
    assert len({str(row["pair_list_sha256"]) for row in made.values()}) == 1
    assert {row["episodes"] for row in made.values()} == {4}
    assert {m: row["inputs"] for m, row in made.items()} == {
        "jepa": "pixels", "random": "pixels", "oracle": "state",
    }  # fmt: skip
    assert all(row["random_pct"] == made["random"]["success_pct"] for row in made.values())
    assert made["jepa"]["row"] == "official/push_t"
    assert made["random"]["row"] == "official/push_t@random"


def test_the_exported_files_are_evaluated_like_their_source(home: Path) -> None:
    assert cli.main(["evaluate", *OVERRIDES[:2], "method=jepa,onnx", "workers=1"]) == 0
    made = rows(home)
    assert (made["jepa"]["backend"], made["onnx"]["backend"]) == ("torch", "onnx")
    assert made["onnx"]["row"] == made["jepa"]["row"]
    assert made["onnx"]["pair_ids"] == made["jepa"]["pair_ids"]
    assert made["onnx"]["model_sha256"] == made["jepa"]["model_sha256"]
    bundle = read_manifest(home / "bundles/push_t-smoke", "bundle")
    assert bundle["parents"]["world_model"] == made["onnx"]["model_sha256"]
    assert bundle["facts"]["parity"]["worst"] < 1e-4


def test_calibration_is_judged_and_missing_rows_fail(home: Path) -> None:
    assert cli.main(["calibrate", *OVERRIDES[:2]]) == 0
    verdict = json.loads((home / "runs/evaluate-smoke/calibration.json").read_text())["push_t"]
    assert not verdict["calibrated"]
    assert "random actions, strict: not measured" in verdict["why"]
    assert verdict["gates"]["true simulator, official"]["measured"] is not None


def test_the_report_needs_no_network(home: Path) -> None:
    page = (home / "runs/evaluate-smoke/report-push_t.html").read_text()
    assert page.count("<article") == 2
    assert page.count("Why:") == page.count('<article class="miss"')
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page


def test_a_second_call_reuses_everything_and_repeats_the_numbers(home: Path) -> None:
    watched = [p for kind in ("datasets", "encoders", "models", "latents") for p in
               sorted((home / kind).rglob("manifest.json"))]  # fmt: skip
    before, times = rows(home), [p.stat().st_mtime_ns for p in watched]
    assert cli.main(["evaluate", *OVERRIDES]) == 0
    assert times == [p.stat().st_mtime_ns for p in watched]
    after = rows(home)
    for method, row in before.items():
        for key in ("success_trace", "final_error", "pair_list_sha256", "config_sha256"):
            assert after[method][key] == row[key], (method, key)


def test_workers_do_not_change_a_result(home: Path) -> None:
    before = rows(home)["jepa"]
    assert cli.main(["evaluate", *OVERRIDES[:2], "method=jepa", "workers=2"]) == 0
    after = rows(home)["jepa"]
    assert after["success_trace"] == before["success_trace"]
    # Numbers of torch threads may change the last bit of a float32 sum, and physics amplifies it.
    assert after["pair_ids"] == before["pair_ids"]


def test_a_round_of_practice_is_learned_from_and_judged(home: Path) -> None:
    assert cli.main(["improve", *OVERRIDES[:2], "workers=1"]) == 0
    lines = (home / "runs/improve-smoke/push_t.jsonl").read_text().splitlines()
    found = {(row["model"], row["mode"]): row for row in map(json.loads, lines)}
    models = ("smoke", "longer1", "round1")
    assert set(found) == {(m, mode) for m in models for mode in ("mode1", "mode2")}
    assert len({row["model_sha256"] for row in found.values()}) == 3
    assert {row["split"] for row in found.values()} == {"validation"}
    practice = read_manifest(home / "models/push_t-smoke-round1/world_model", "world_model")
    assert len(practice["facts"]["datasets"]) == 2


def test_every_module_of_the_agent_is_judged_on_the_same_pairs(home: Path) -> None:
    from planning.commands.ablate_planner import VARIANTS

    options = ("workers=1", "evaluate.families=strict")
    assert cli.main(["modules", *OVERRIDES[:2], *options]) == 0
    lines = (home / "runs/evaluate-smoke/modules-push_t.jsonl").read_text().splitlines()
    found = {row["row"]: row for row in map(json.loads, lines)}
    assert set(found) == {f"modules/push_t@{name}" for name in VARIANTS}
    assert len({row["pair_list_sha256"] for row in found.values()}) == 1
    assert found["modules/push_t@actor_alone"]["optimiser"] == "mode1"
    assert found["modules/push_t@no_actor"]["proposals"] == 0


def test_the_gate_opens_or_not_but_is_written(home: Path) -> None:
    assert cli.main(["probe", *OVERRIDES]) in (0, 1)
    assert "push_t" in (home / "runs/probe-smoke/probe.md").read_text()


def test_demo_runs_on_shipped_weights_and_committed_pairs(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(home / "encoders/smoke/encoder", tmp_path / "weights/encoder")
    shutil.copytree(home / "models/push_t-smoke/world_model", tmp_path / "weights/push_t")
    shutil.copytree(home / "bundles/push_t-smoke", tmp_path / "weights/bundles/push_t")
    shutil.copytree(home / "runs/evaluate-smoke/pairs", tmp_path / "pairs")
    monkeypatch.setattr(settings, "PACKAGE", tmp_path)
    monkeypatch.setattr(stages, "PACKAGE", tmp_path)
    arguments = ("preset=smoke", "demo.tasks=push_t", "demo.pairs=2", "workers=1")
    assert cli.main(["demo", *arguments]) == 0
    header, line, page = capsys.readouterr().out.strip().splitlines()
    assert header.split()[:2] == ["task", "planned"]
    assert line.split()[0] == "push_t"
    assert Path(page).read_text().count("<article") == 2
    monkeypatch.setattr(settings, "PACKAGE", tmp_path / "nowhere")
    assert cli.main(["demo", *arguments]) == 2
    assert "preset=smoke" in capsys.readouterr().err


def test_a_model_of_other_episodes_is_refused(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Twenty more episodes: the collection grows, the model does not know them.
    assert cli.main(["collect", *OVERRIDES, "task.nominal=100"]) == 0
    assert cli.main(["evaluate", *OVERRIDES]) == 2
    assert "other episodes" in capsys.readouterr().err
