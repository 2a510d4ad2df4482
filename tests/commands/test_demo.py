"""The first command a newcomer runs: shipped bundles reach goal images, and torch is not there."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from planning.commands import demo
from robot_wm.cli.main import Session, compose
from robot_wm.commands.parts.artifacts import tasks_here
from robot_wm.core.errors import ConfigError

SCRIPT = """
    import sys
    for name in ("torch", "onnx", "onnxscript", "safetensors"):
        sys.modules[name] = None  # importing it fails, as where it is not installed
    from robot_wm.cli.main import main
    raise SystemExit(main(sys.argv[1:]))
"""


def run(home, *arguments):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), *arguments],
        env={**os.environ, "ROBOT_WM_HOME": str(home)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.timeout(120)
def test_the_demo_plans_with_the_shipped_bundles_and_without_torch(tmp_path):
    done = run(tmp_path, "demo", "demo.tasks=two_room", "demo.pairs=2", "workers=1")
    assert done.returncode == 0, done.stderr
    header, line, page, index = done.stdout.strip().splitlines()
    assert header.split()[:2] == ["task", "planned"]
    # The planner reaches nearly every goal here, random actions one in five.
    assert line.split()[:2] == ["two_room", "100"]
    assert (tmp_path / "runs/evaluate-demo/report-two_room.html").samefile(
        page.removeprefix("report: ")
    )
    assert "evaluate-demo/report-two_room.html" in Path(index.removeprefix("index: ")).read_text()


def test_what_needs_torch_says_so(tmp_path):
    done = run(tmp_path, "train", "experiment=smoke")
    assert done.returncode == 2
    assert "torch" in done.stderr
    assert "make setup" in done.stderr


def test_a_scene_that_cannot_be_made_here_is_left_out_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr("sim.arms.ur5e.installed", lambda name: False)
    assert tasks_here(("two_room", "cube", "jaco_reach")) == ["two_room", "jaco_reach"]
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "cube is left out" in line
    assert "pip install -e '.[arms]'" in line
    with pytest.raises(ConfigError, match="ogbench"):
        tasks_here(("cube",))


@pytest.mark.parametrize(
    ("task", "words", "optimizer"),
    [
        ("cube", (), "mode1"),  # its bundle acts by its actor alone
        ("cube", ("planner=icem",), "icem"),
        ("cube", ("planner.discount=1.0",), "icem"),
        ("two_room", (), "icem"),
    ],
)
def test_the_demo_plans_as_the_controller_unless_a_search_is_named(task, words, optimizer):
    settings = demo._session(Session(compose(words), words), task).settings
    assert settings.planner.optimizer == optimizer
    settings.planner.search()
