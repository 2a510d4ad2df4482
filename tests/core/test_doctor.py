"""The doctor on machines that lack something."""

import inspect
from pathlib import Path

import pytest

from robot_wm.cli.registry import TASK_NEEDS
from robot_wm.commands import doctor
from robot_wm.commands.doctor import FAIL, OK, PACKAGES, WARN, Check
from sim.arms.ur5e import NEEDS
from sim.tasks import TASKS


def test_renderer_takes_the_first_backend_that_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    asked: list[str] = []

    def probe(backend: str) -> str:
        asked.append(backend)
        return "no libEGL" if backend == "egl" else ""

    check = doctor.check_renderer(probe)
    assert (check.state, asked) == (OK, ["egl", "osmesa"])
    assert check.found.startswith("osmesa")


def test_no_renderer_fails_and_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    check = doctor.check_renderer(lambda backend: f"no {backend}")
    assert check.state == FAIL
    assert check.found == "osmesa: no osmesa"
    assert "libosmesa6" in check.mend
    assert "unset MUJOCO_GL" in check.mend


def test_missing_packages_matter_more_or_less() -> None:
    versions: dict[str, str | None] = dict.fromkeys(PACKAGES, "1.0")
    assert {c.state for c in doctor.check_packages(versions)} == {OK}
    versions["torch"] = versions["onnxruntime"] = None
    found = {c.name: c for c in doctor.check_packages(versions) if c.state != OK}
    assert {name: c.state for name, c in found.items()} == {"torch": WARN, "onnxruntime": FAIL}
    assert "train" in found["torch"].found
    assert "world_model.backend=torch" in found["torch"].found
    assert "demo" in found["onnxruntime"].found
    assert all("pip install" in c.mend for c in found.values())


def test_what_an_arm_lacks_is_told_with_its_tasks() -> None:
    """A package that only some scenes are made from stands in no command's needs."""
    versions: dict[str, str | None] = dict.fromkeys(PACKAGES, "1.0")
    versions["ogbench"] = versions["dm-control"] = None
    found = {c.name: c for c in doctor.check_packages(versions) if c.state != OK}
    assert found["ogbench"].found == "not installed (needed by task=cube)"
    assert "'.[arms]'" in found["ogbench"].mend
    assert found["dm-control"].found == "not installed (needed by task=jaco_push,jaco_reach)"
    assert "'.[sim]'" in found["dm-control"].mend


def test_scenes_need_what_the_doctor_says() -> None:
    assert set(NEEDS) == set(TASK_NEEDS["cube"])
    for name, make in TASKS.items():
        source = inspect.getsource(inspect.getmodule(make))
        assert ("sim.arms" in source) == (name in TASK_NEEDS), name


def test_old_python_fails() -> None:
    assert doctor.check_python((3, 10, 2)).state == FAIL
    assert doctor.check_python((3, 11, 0)).state == OK


@pytest.mark.parametrize(("gib", "state"), [(0.5, FAIL), (5, WARN), (50, OK)])
def test_disk_space(tmp_path: Path, gib: float, state: str) -> None:
    # The folder need not exist yet: its first existing parent decides.
    check = doctor.check_disk(tmp_path / "not/yet", free=int(gib * 2**30))
    assert check.state == state
    assert ("ROBOT_WM_HOME" in check.mend) == (state != OK)


def test_arithmetic_names_fast_bfloat16() -> None:
    assert "bfloat16 fast" in doctor.check_arithmetic({"avx2", "amx_bf16"}).found
    assert "bfloat16 not fast" in doctor.check_arithmetic({"avx2"}).found


def test_too_many_threads_warn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "4096")
    assert doctor.check_cores().state == WARN


def test_exit_code_tells_failures(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.summary([Check("a", OK, "1"), Check("b", WARN, "2", "do x")]) == 0
    assert "mend: do x" in capsys.readouterr().out
    assert doctor.summary([Check("a", FAIL, "1", "do y")]) == 1
    assert "not ready: a" in capsys.readouterr().out
