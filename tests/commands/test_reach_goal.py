"""Ordering a goal: from a file, an edited scene, a recording; what comes out is pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from planning.commands import reach_goal as reach
from planning.commands.reach_goal import goal_of, pictured
from robot_wm.cli import main as cli
from robot_wm.cli.compose import Session
from robot_wm.core.errors import ConfigError, InputError
from sim import make
from sim.collection.collect import CollectConfig, Mix, collect


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBOT_WM_HOME", str(tmp_path / "home"))


def test_a_disc_is_driven_to_the_place_that_was_ordered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["reach.pose.agent_x=1.6", "reach.pose.agent_y=0.5", "reach.seed=3", "workers=1"]
    assert cli.main(["reach", "task=two_room", "method=onnx", *where]) == 0
    told, path = capsys.readouterr().out.strip().splitlines()
    path = path.removeprefix("pictures: ")
    assert told.startswith("REACHED after")
    assert "(goal 1.600)" in told
    with Image.open(path) as film:
        assert film.n_frames == int(told.split()[2]) + 1
        assert film.size == (128, 64)
    with Image.open(Path(path).with_suffix(".png")) as goal:
        assert goal.size == (64, 64)


def test_a_goal_comes_from_one_place(tmp_path: Path) -> None:
    env = make("push_t")
    picture = tmp_path / "goal.png"
    env.reset(seed=1)
    Image.fromarray(np.kron(env.render(), np.ones((2, 3, 1), np.uint8))).save(picture)
    config = CollectConfig(
        "push_t", "nominal", 1, 50, (Mix("random", 1.0),), episodes_per_shard=1, workers=1
    )
    data = collect(config, tmp_path / "data")

    def ordered(*arguments: str):
        words = ("task=push_t", *arguments)
        return goal_of(Session(cli.compose(words), words), env)

    told, pose = ordered(f"reach.image={picture}")
    assert told["image"].shape == (64, 64, 3)
    assert pose is None
    told, pose = ordered(f"reach.recording={data}", "reach.every=4")
    assert told["via"].shape == (2, 64, 64, 3)
    assert pose is None
    told, pose = ordered("reach.only=block")
    assert told["image"].shape == (6, 64, 64, 3)
    assert pose is not None
    with pytest.raises(ConfigError, match="more than one"):
        ordered(f"reach.image={picture}", f"reach.recording={data}")
    with pytest.raises(ConfigError, match="with a picture"):
        ordered(f"reach.image={picture}", "reach.only=block")
    with pytest.raises(ConfigError, match="at least 0"):
        ordered("reach.seed=-1")
    env.close()


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no picture")
    for name in ("a.png", "b.png"):
        with pytest.raises(InputError, match=name):
            pictured(tmp_path / name, 64)


def test_a_camera_that_sends_blue_first_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env = make("two_room")
    image = env.reset(seed=1)[0]["image"]
    env.close()
    for order, code in ((1, 0), (-1, 2)):
        Image.fromarray(image[..., ::order]).save(tmp_path / "goal.png")
        words = (f"reach.image={tmp_path}/goal.png", "reach.steps=1")
        assert cli.main(["reach-goal", "task=two_room", *words]) == code
        assert ("RGB, not BGR" in capsys.readouterr().err) == bool(code)


def test_a_goal_that_the_scene_drew_is_taken_whatever_the_planner_thinks_of_it(capsys) -> None:
    """The arm folded before the dark half of the floor: one scene in a thousand looks exchanged."""
    assert cli.main(["reach-goal", "task=cube", "reach.seed=1007", "reach.steps=1"]) == 1
    assert "MISSED within 1 control steps" in capsys.readouterr().out


def test_only_planners_from_pixels_can_be_sent(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["reach", "method=random"]) == 2
    assert "onnx" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "method"), [((), "onnx"), (("method=jepa",), "jepa")])
def test_it_plans_without_torch_unless_told_otherwise(words, method, monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(reach, "run", lambda session: seen.append(session.settings.method) or 0)
    assert cli.main(["reach", "task=two_room", *words]) == 0
    assert seen == [(method,)]


def test_it_runs_where_torch_is_not_installed(monkeypatch) -> None:
    monkeypatch.setattr("robot_wm.cli.registry.installed", lambda name: name != "torch")
    assert cli.main(["reach", "task=two_room", "--dry-run"]) == 0
    assert cli.main(["reach", "task=two_room", "method=jepa", "--dry-run"]) == 2
