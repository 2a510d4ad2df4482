"""A bundle enters the package only if it reaches as many goals as its source."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from export.build import stage
from export.commands import publish as publishing
from planning.commands import evaluate
from robot_wm.cli import settings
from robot_wm.cli.main import Session, compose
from robot_wm.core.errors import ConfigError, WeightsError
from robot_wm.data.held_out_frames import frames_of, save_frames


@pytest.fixture
def folder(tmp_path, monkeypatch):
    made = tmp_path / "made"
    made.mkdir()
    for name in ("parity", "latency", "contract"):
        (made / f"{name}.json").write_text(json.dumps({"name": name}))
    monkeypatch.setattr(settings, "PACKAGE", tmp_path / "package")
    monkeypatch.setattr(publishing, "CHECKOUT", tmp_path)
    return made


def session(monkeypatch, torch_pct, onnx_pct, *overrides):
    def evaluated(asked):
        assert asked.settings.method == ("jepa", "onnx")
        found = {"jepa": torch_pct, "onnx": onnx_pct}
        return [{"method": m, "success_pct": p, "episodes": 100} for m, p in found.items()], None

    monkeypatch.setattr(evaluate, "evaluate_all", evaluated)
    return Session(compose(["publish=true", *overrides]), ())


def test_a_bundle_tells_its_robot_what_a_full_command_is(tmp_path, monkeypatch):
    told = []
    size = SimpleNamespace(spec=SimpleNamespace(image_size=96))
    monkeypatch.setattr(stage, "model", lambda *_: (Path("model"), Path("encoder")))
    monkeypatch.setattr(stage, "held_out_frames", lambda _: None)
    monkeypatch.setattr("robot_wm.world_models.base.load_world_model", lambda *_: size)
    reports = {
        "parity": {"worst": 0.0, "plan": 0.0},
        "latency": dict.fromkeys(("total_ms_p50", "total_ms_p99", "rss_mb", "bundle_mb"), 0.0),
    }
    monkeypatch.setattr(
        "export.build.bundle.export", lambda _, config, *__: told.append(config) or reports
    )
    words = ("task=cube",)
    stage.write(Session(compose(words), words), tmp_path / "bundle")
    assert told[0].action_unit == (
        "in [-1, 1]; 1 is 0.05 m along x, 0.05 m along y, 0.05 m along z, 0.3 rad of yaw, "
        "the whole way of closing"
    )


def test_a_new_model_is_published_with_pictures_of_its_own(tmp_path, monkeypatch):
    """What lies there is of the model before; who does not publish is told so."""
    frames = [np.full((4, 8, 8, 3), value, np.uint8) for value in (1, 2)]
    folder = tmp_path / "weights" / "frames" / "push_t"
    save_frames(folder, frames[0], "before")
    assert (frames_of(folder), frames_of(tmp_path)) == ("before", "")
    monkeypatch.setattr(stage, "PACKAGE", tmp_path)
    monkeypatch.setattr(stage, "model", lambda *_: ("trained", "encoder"))
    monkeypatch.setattr(stage, "read_manifest", lambda *_, **__: {"sha256": "now"})
    monkeypatch.setattr(stage, "make", lambda _: lambda *__: frames[1])
    with pytest.raises(WeightsError, match="built for world_model before"):
        stage.held_out_frames(Session(compose([]), ()))
    seen = stage.held_out_frames(Session(compose(["publish=true"]), ()))
    np.testing.assert_array_equal(seen, frames[1])
    assert frames_of(folder) == "now"


def test_equal_success_is_published_with_its_reports(folder, tmp_path, monkeypatch):
    target = publishing.publish(session(monkeypatch, 60.0, 61.0), folder)
    assert target == tmp_path / "package/weights/bundles/push_t"
    assert {p.name for p in target.iterdir()} == {p.name for p in folder.iterdir()}
    (report,) = (tmp_path / "results/export").iterdir()
    found = json.loads(report.read_text())
    assert found["closed_loop"] == {"jepa": 60.0, "onnx": 61.0, "episodes": 100, "gap": 1.0}
    assert found["parity"] == {"name": "parity"}


def test_beyond_a_point_the_package_keeps_what_it_had(folder, tmp_path, monkeypatch):
    kept = tmp_path / "package/weights/bundles/push_t"
    kept.mkdir(parents=True)
    (kept / "old").touch()
    with pytest.raises(WeightsError, match="differ by 2"):
        publishing.publish(session(monkeypatch, 60.0, 62.0), folder)
    assert [p.name for p in kept.iterdir()] == ["old"]
    (report,) = (tmp_path / "results/export").iterdir()  # the failure is told, too
    assert json.loads(report.read_text())["closed_loop"]["gap"] == 2.0
    with pytest.raises(ConfigError, match="weights=mine") as caught:
        publishing.publish(session(monkeypatch, 1.0, 1.0, "weights=mine"), folder)
    assert "package/weights/encoders, then give weights=shipped" in caught.value.next_step
