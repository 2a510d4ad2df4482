"""What every command makes sure of first: streams, whose modules it imports, what is installed."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from robot_wm.cli import main as cli
from robot_wm.cli import start
from robot_wm.cli.registry import BACKEND_NEEDS, COMMANDS, check_needs
from robot_wm.core.errors import ConfigError
from robot_wm.core.system import children
from robot_wm.core.system.extras import EXTRAS

ROOT = Path(__file__).parents[2]
ROOMS = ("robot_wm", "sim", "planning", "export", "examples")
TRAP = "import os; open(os.environ['TRAP'], 'a').write(__file__ + '\\n'); raise ImportError('trap')"


def command(
    *arguments: str, cwd: Path = ROOT, shell: str = "", **more: str
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}
    words = [sys.executable, "-m", "robot_wm.cli.main", *arguments]
    run = ["bash", "-c", f'"$@" {shell}; echo "exit ${{PIPESTATUS[0]}}" >&2', "-", *words]
    return subprocess.run(
        run if shell else words, cwd=cwd, env=environment, capture_output=True, text=True,
        timeout=60, encoding="utf-8", errors="replace",
    )  # fmt: skip


def untold(path: Path) -> list[int]:
    """Lines that read or write text in whatever encoding the machine prefers."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        told = {word.arg for word in node.keywords}
        modes = [a.value for a in node.args if isinstance(a, ast.Constant)]
        text = (
            (name == "read_text" and not node.args)
            or (name == "write_text" and len(node.args) < 2)
            or (name in ("open", "fdopen") and modes and str(modes[-1]) in ("r", "w", "a", "x"))
            or (name in ("run", "Popen") and told & {"text", "universal_newlines"})
            or name == "TextIOWrapper"
        )
        if text and "encoding" not in told:
            found.append(node.lineno)
    return found


def test_text_is_written_and_read_as_utf_8() -> None:
    sources = [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]
    assert len(sources) > 80
    assert {str(p): lines for p in sources if (lines := untold(p))} == {}
    assert untold(Path(__file__)) == []


def test_the_guard_of_encodings_sees_what_it_should(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        "p.read_text()\np.write_text(t)\nopen(p, 'w')\nopen(p, 'rb')\nrun(c, text=True)\n"
        "p.read_text('utf-8')\nrun(c, text=True, encoding='utf-8')\n",
        encoding="utf-8",
    )
    assert untold(tmp_path / "a.py") == [1, 2, 3, 5]


@pytest.mark.parametrize(
    "variables",
    [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
)
def test_a_terminal_without_our_characters_shows_the_others(variables: dict[str, str]) -> None:
    done = command("train", "task=zürich–", **variables)
    assert done.returncode == 2
    assert "unknown option of task" in done.stderr
    # Its text holds an en dash.
    shown = command("evaluate", "--help", "preset=smoke", **variables)
    assert shown.returncode == 0, shown.stderr


@pytest.mark.parametrize(
    ("shell", "code"),
    [(">&-", 0), ("2>&-", 0), (">&- 2>&-", 0), ("| true", 0), (">/dev/full", 2), ("<&-", 0)],
)
def test_no_output_ends_a_command(shell: str, code: int) -> None:
    done = command("--help", shell=shell)
    assert done.stderr.strip().splitlines()[-1] == f"exit {code}"
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_a_message_without_stderr_still_ends_with_its_code() -> None:
    assert command("fly", shell="2>&-").stderr == "exit 2\n"


def test_what_lies_in_the_current_folder_is_not_executed(tmp_path: Path) -> None:
    for name in ("json", "mujoco", "torch", "pickle", "struct", "numpy", "gymnasium", "hydra"):
        # Of the standard library, main() itself comes too late for `python -m`: the script of an
        # installation is what starts there.
        (tmp_path / f"{name}.py").write_text(TRAP, encoding="utf-8")
    script = f"import sys; sys.path[:0] = [{str(ROOT)!r}]\nfrom robot_wm.cli.main import main\n"
    script += "if __name__ == '__main__': sys.exit(main())"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/robot-wm").write_text(script, encoding="utf-8")
    words = ["collect", "task=two_room", "task.nominal=2", "task.varied=1", "task.steps=10"]
    trap = tmp_path / "sprung"
    done = subprocess.run(
        [sys.executable, str(tmp_path / "bin/robot-wm"), *words, "workers=2",
         "collect.episodes_per_shard=1"],
        cwd=tmp_path, capture_output=True, text=True, encoding="utf-8", timeout=120,
        env={**os.environ, "ROBOT_WM_HOME": str(tmp_path / "home"), "TRAP": str(trap),
             "OMP_NUM_THREADS": "1", "PYTHONPATH": ""},
    )  # fmt: skip
    assert not trap.exists(), trap.read_text(encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "home/datasets/two_room-nominal").is_dir()


def test_python_m_leaves_the_current_folder(tmp_path: Path) -> None:
    for name in ("mujoco", "torch", "hydra", "gymnasium", "json"):
        (tmp_path / f"{name}.py").write_text(TRAP, encoding="utf-8")
    (tmp_path / "sim").mkdir()
    (tmp_path / "sim/__init__.py").write_text(TRAP, encoding="utf-8")
    trap = tmp_path / "sprung"
    done = command("collect", "preset=smoke", "--dry-run", cwd=tmp_path, TRAP=str(trap))
    assert done.returncode == 0, done.stderr
    assert not trap.exists()


def test_children_import_nothing_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("print('trap')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep + "/nowhere")
    run = children.python(("-c", "import json, robot_wm, sys; print(robot_wm.__file__)"))
    assert (run.returncode, run.stdout) == (0, f"{ROOT / 'robot_wm/__init__.py'}\n")
    assert children.environment()["PYTHONPATH"].split(os.pathsep) == [str(ROOT), "/nowhere"]
    assert children.last_line(children.python(("-c", "raise ValueError('why')"))).endswith("why")


@pytest.mark.parametrize("room", start.ROOMS)
@pytest.mark.parametrize("form", ["{}/__init__.py", "{}.py"])
def test_a_users_own_folder_of_the_same_name_is_told(
    tmp_path: Path, room: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    start.check_rooms()
    theirs = tmp_path / form.format(room)
    theirs.parent.mkdir(exist_ok=True)
    theirs.write_text("", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, room, raising=False)
    found = theirs if form == "{}.py" else theirs.parent
    with pytest.raises(ConfigError, match=re.escape(str(found))):
        start.check_rooms()


def test_a_folder_in_the_way_ends_a_command_with_one_message(tmp_path: Path) -> None:
    (tmp_path / "sim.py").write_text("raise SystemExit(9)", encoding="utf-8")
    path = os.pathsep.join((str(tmp_path), str(ROOT)))
    done = command("collect", "--dry-run", cwd=tmp_path, PYTHONPATH=path)
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1)
    assert str(tmp_path / "sim.py") in done.stderr


def test_the_table_of_needs_is_whole() -> None:
    named = {
        name
        for needed in (*(known.needs for known in COMMANDS.values()), *BACKEND_NEEDS.values())
        for name in needed
    }
    assert named <= set(EXTRAS)
    for name in ("demo", "doctor", "collect", "reach", "page", "soak", "report"):
        assert "torch" not in COMMANDS[name].needs


@pytest.mark.parametrize(
    ("arguments", "module", "said"),
    [
        (("train", "preset=smoke"), "torch", "[train]"),
        (("evaluate", "method=onnx"), "onnxruntime", "[robot]"),
        (("evaluate", "method=jepa"), "torch", "method=onnx"),
        (("collect",), "mujoco", "[sim]"),
        (("export",), "onnxscript", "[export]"),
    ],
)
@pytest.mark.parametrize("dry", [("--dry-run",), ()])
def test_what_is_not_installed_is_told_first(
    arguments: tuple[str, ...], module: str, said: str, dry: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setenv("ROBOT_WM_HOME", str(tmp_path / "home"))
    assert cli.main([*arguments, *dry]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert f"robot-wm {arguments[0]}" in told
    assert not (tmp_path / "home").exists()


def test_all_that_is_missing_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("torch", "mujoco"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match="needs mujoco, torch: not installed"):
        check_needs("train")
    check_needs("doctor", ("jepa",))
