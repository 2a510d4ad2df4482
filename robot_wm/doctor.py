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

from robot_wm.manifest import hardware, storage_root, usable_cores

OK, WARN, FAIL = "ok", "warn", "fail"
BACKENDS = ("egl", "osmesa")
RENDER_TIMEOUT = 60  # [s]; a broken driver can hang instead of failing
PACKAGES = {
    "numpy": FAIL, "torch": FAIL, "mujoco": FAIL, "dm-control": WARN, "gymnasium": FAIL,
    "hydra-core": FAIL, "safetensors": FAIL, "array-api-compat": FAIL, "pillow": FAIL,
    "rich": WARN, "onnxruntime": WARN, "pytest": WARN, "ruff": WARN, "mypy": WARN,
}  # fmt: skip
RENDER = (
    "import mujoco; from mujoco.{0} import GLContext; c = GLContext(64, 64); c.make_current();"
    "m = mujoco.MjModel.from_xml_string('<mujoco/>');"
    "mujoco.MjrContext(m, mujoco.mjtFontScale.mjFONTSCALE_100.value)"
)


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


def probe_backend(backend: str) -> str:
    """Start an OpenGL backend in a process of its own: '' if it works, else the reason."""
    environment = {**os.environ, "PYOPENGL_PLATFORM": backend, "MUJOCO_GL": backend}
    try:
        run = subprocess.run(
            [sys.executable, "-c", RENDER.format(backend)],
            env=environment, capture_output=True, text=True, timeout=RENDER_TIMEOUT,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"hung for {RENDER_TIMEOUT} s"
    lines = [line for line in run.stderr.strip().splitlines() if line.strip()]
    return "" if run.returncode == 0 else (lines[-1] if lines else f"exit {run.returncode}")


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
        mend = "`make setup`, or pip install -e '.[sim,cli,train,export,dev]'"
        mend = "pip install -e '.[robot]' (only exported planners need it)" \
            if name == "onnxruntime" else mend  # fmt: skip
        checks.append(Check(name, severity, "not installed", mend))
    return checks


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_renderer(probe: Probe = probe_backend) -> Check:
    """Which OpenGL backend will be used, tried as the scenes try it."""
    wanted = os.environ.get("MUJOCO_GL", "").lower()
    tried = {}
    for backend in (wanted,) if wanted in BACKENDS else BACKENDS:
        tried[backend] = probe(backend)
        if not tried[backend]:
            note = "" if backend == "egl" else " (slower than egl)"
            return Check("renderer", OK, f"{backend}{note}")
    reasons = "; ".join(f"{name}: {reason}" for name, reason in tried.items())
    mend = "apt-get install libegl1 libgl1-mesa-dri libosmesa6"
    mend += ", or unset MUJOCO_GL" if wanted in BACKENDS else ""
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
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    for line in lines:
        if line.lower().startswith(("flags", "features")):
            return set(line.split(":", 1)[1].split())
    return set()


def check_disk(root: Path | None = None, free: int | None = None) -> Check:
    """Whether the storage root is writable, and its free space."""
    root = storage_root() if root is None else root
    mend = "set ROBOT_WM_HOME to a writable disk with 20 GiB free"
    existing = next(p for p in (root, *root.parents) if p.exists())
    try:
        with tempfile.NamedTemporaryFile(dir=existing):
            pass
    except OSError as error:
        return Check("storage", FAIL, f"{root}: {error.strerror}", mend)
    gib = (shutil.disk_usage(existing).free if free is None else free) / 2**30
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
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if run.returncode:
        lines = run.stderr.strip().splitlines() or ["no message"]
        return Check("torch build", FAIL, lines[-1], "`make setup`")
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


if __name__ == "__main__":
    # `make setup` asks for the renderer alone, before it installs OpenGL.
    sys.exit(summary([check_renderer()] if "--renderer" in sys.argv else check_all()))
