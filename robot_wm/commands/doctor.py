"""Is this machine ready? One line per check, each with how to mend it. Imports nothing heavy."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from robot_wm.cli.registry import BACKEND_NEEDS, COMMANDS, TASK_NEEDS
from robot_wm.core.storage.provenance import hardware, storage_root, usable_cores
from robot_wm.core.system.children import last_line, python
from robot_wm.core.system.extras import EXTRAS, installed
from robot_wm.core.system.opengl import probe, wanted

OK, WARN, FAIL = "ok", "warn", "fail"
TIMEOUT = 120  # [s]; importing torch from a slow disk takes long
PACKAGES = {
    # Without those that fail, not even the demonstration runs.
    "numpy": FAIL, "mujoco": FAIL, "gymnasium": FAIL, "hydra-core": FAIL, "array-api-compat": FAIL,
    "pillow": FAIL, "onnxruntime": FAIL, "jinja2": FAIL, "matplotlib": FAIL,
    "rich": WARN, "torch": WARN, "safetensors": WARN, "onnx": WARN, "onnxscript": WARN,
    "dm-control": WARN, "ogbench": WARN, "fast-simplification": WARN,
    "pytest": WARN, "ruff": WARN, "mypy": WARN,
}  # fmt: skip


@dataclass(frozen=True)
class Check:
    """One finding: ``state`` is ok, warn or fail; ``mend`` is empty when ok."""

    name: str
    state: str
    found: str
    mend: str = ""

    def __str__(self) -> str:
        mend = f"\n       mend: {self.mend}" if self.mend else ""
        return f"{self.state:<4}  {self.name}: {self.found}{mend}"


Probe = Callable[[str], str]


def check_python(version: tuple[int, ...] = tuple(sys.version_info[:3])) -> Check:
    """Python 3.11 or newer."""
    found = ".".join(map(str, version[:3]))
    if version[:2] >= (3, 11):
        return Check("python", OK, found)
    return Check("python", FAIL, found, "install Python 3.11 or newer, then `make setup`")


def check_packages(versions: Mapping[str, str | None] | None = None) -> list[Check]:
    """Each package and its version; what is missing and how much that matters."""
    checks = []
    for name, severity in PACKAGES.items():
        version = _version(name) if versions is None else versions.get(name)
        if version is not None:
            checks.append(Check(name, OK, version))
            continue
        checks.append(Check(name, severity, f"not installed{_waiting(name)}", _mend(name)))
    return checks


def _waiting(package: str) -> str:
    """Which commands, planners and scenes want for it."""
    modules = {module for module, (name, _) in EXTRAS.items() if name == package}
    waiting = [name for name, known in COMMANDS.items() if modules & {*known.needs}]
    words = [", ".join(waiting)] * bool(waiting)
    for option, needs in (("world_model.backend", BACKEND_NEEDS), ("task", TASK_NEEDS)):
        found = [name for name, needed in needs.items() if modules & {*needed}]
        words += [f"{option}={','.join(found)}"] * bool(found)
    return f" (needed by {' and '.join(words)})" if words else ""


def _mend(package: str) -> str:
    extra = dict(EXTRAS.values()).get(package, {"rich": "cli"}.get(package))
    return f"`make setup`, or pip install -e '.[{extra or 'dev'}]'"


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_renderer(probe: Probe = probe) -> Check:
    """Which OpenGL backend will be used, tried as the scenes try it."""
    tried: dict[str, str] = {}
    for backend in wanted():
        tried[backend] = probe(backend)
        if not tried[backend]:
            note = "" if backend == "egl" else " (slower than egl)"
            return Check("renderer", OK, f"{backend}{note}")
    reasons = "; ".join(f"{name}: {reason}" for name, reason in tried.items())
    mend = "apt-get install libegl1 libgl1-mesa-dri libosmesa6"
    mend += ", or unset MUJOCO_GL" if len(wanted()) == 1 else ""
    return Check("renderer", FAIL, reasons, mend)


def check_cores() -> Check:
    """Usable cores, and threads asked for in the environment."""
    cores = usable_cores()
    threads = os.environ.get("OMP_NUM_THREADS", "unset")
    found = f"{hardware()}, OMP_NUM_THREADS {threads}"
    if threads.isdigit() and int(threads) > cores:
        return Check("cores", WARN, found, f"set OMP_NUM_THREADS to at most {cores}")
    if cores < 2:
        return Check("cores", WARN, found, "use workers=1; expect everything to take twice as long")
    return Check("cores", OK, found)


def check_arithmetic(flags: set[str] | None = None) -> Check:
    """Vector units. bfloat16 pays only where the processor computes in it."""
    flags = _cpu_flags() if flags is None else flags
    wanted = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16")
    have = [flag for flag in wanted if flag in flags]
    fast = {"avx512_bf16", "amx_bf16", "bf16"} & flags
    found = (
        f"{' '.join(have) or 'no vector flags found'}; bfloat16 {'fast' if fast else 'not fast'}"
    )
    if platform.machine() in ("x86_64", "AMD64") and "avx2" not in flags:
        return Check("arithmetic", WARN, found, "a processor with AVX2; training will be very slow")
    return Check("arithmetic", OK, found)


def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return set()
    for line in lines:
        if line.lower().startswith(("flags", "features")):
            return set(line.split(":", 1)[1].split())
    return set()


def check_disk(root: Path | None = None, free: int | None = None) -> Check:
    """Whether the storage root is writable, and its free space."""
    root = storage_root() if root is None else root
    mend = "set ROBOT_WM_HOME to a writable disk with 20 GiB free"
    try:
        existing = next(p for p in (root.absolute(), *root.absolute().parents) if p.exists())
        bytes_free = shutil.disk_usage(existing).free if free is None else free
        with tempfile.NamedTemporaryFile(dir=existing):
            pass
    except OSError as error:
        return Check("storage", FAIL, f"{root}: {error.strerror or error}", mend)
    gib = bytes_free / 2**30
    found = f"{root}, {gib:.1f} GiB free"
    # Episodes and latents of all tasks take about 10 GiB, smoke-sized ones a few MiB.
    if gib < 1:
        return Check("storage", FAIL, found, mend)
    return Check("storage", WARN if gib < 20 else OK, found, mend if gib < 20 else "")


def check_torch() -> Check:
    """Which build of torch it is and what it can use; asked in a process of its own."""
    code = (
        "import torch; print(torch.__version__, 'cuda' if torch.cuda.is_available() else 'cpu',"
        " torch.backends.cpu.get_cpu_capability(), 'threads', torch.get_num_threads())"
    )
    if not installed("torch"):
        return Check("torch build", WARN, "not installed", _mend("torch"))
    try:
        run = python(("-c", code), TIMEOUT)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check("torch build", FAIL, str(error), "`make setup`")
    if run.returncode:
        return Check("torch build", FAIL, last_line(run), "`make setup`")
    return Check("torch build", OK, run.stdout.strip())


def check_all() -> list[Check]:
    """Every check, quick ones first."""
    return [
        check_python(),
        check_cores(),
        check_arithmetic(),
        check_disk(),
        *check_packages(),
        check_torch(),
        check_renderer(),
    ]


def summary(checks: Sequence[Check]) -> int:
    """Print all findings; 1 if something fails, else 0."""
    for check in checks:
        print(check)
    failed = [check.name for check in checks if check.state == FAIL]
    print(f"\nnot ready: {', '.join(failed)}" if failed else "\nready")
    return 1 if failed else 0


def run() -> int:
    """Print every finding; 1 if something fails."""
    return summary(check_all())


if __name__ == "__main__":
    # `make setup` asks for the renderer alone, before it installs OpenGL.
    sys.exit(summary([check_renderer()] if "--renderer" in sys.argv else check_all()))
