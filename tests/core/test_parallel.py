"""Workers: results as without them, errors that come home, and nobody who stays behind."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from robot_wm.core import parallel
from robot_wm.core.errors import ConfigError, DataError, RobotWMError
from robot_wm.core.parallel import LAUNCHERS, spread, use_launcher

HERE = Path(__file__).parent


@dataclass
class Task:
    """Squares; at one number something happens; some numbers take their time."""

    at: int = -1
    what: str = ""
    slow: tuple[int, ...] = ()
    seconds: float = 60.0

    def __call__(self, number: int) -> int:
        if number == self.at:
            if self.what == "typed":
                raise DataError(f"number {number}", "another", "go on")
            if self.what == "raw":
                raise Unsendable(number, lambda: None)
            os.kill(os.getpid(), signal.SIGKILL)
        if number in self.slow:
            time.sleep(self.seconds)
        return number**2


class Unsendable(Exception):
    """Holds what no process can send to another."""


@pytest.mark.parametrize("name", sorted(LAUNCHERS))
def test_results_are_those_of_one_process(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "_used", "process")  # and back afterwards
    use_launcher(name)
    wanted = {i: i**2 for i in range(9)}
    for workers in (1, 2):
        assert dict(spread(Task(), 9, workers)) == wanted
    assert [i for i, _ in spread(Task(), 3, 1)] == [0, 1, 2]  # in order


@pytest.mark.parametrize("name", sorted(LAUNCHERS))
def test_a_launcher_ends_at_the_first_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "_used", name)
    with pytest.raises(DataError, match="number 3"):
        list(spread(Task(3, "typed"), 6, 2))
    with pytest.raises(Exception, match="Unsendable"):
        raise_again(Task(3, "raw"))


def raise_again(task: Task) -> None:
    """Errors of any type, with their type in what is told."""
    try:
        list(spread(task, 6, 2))
    except Unsendable as error:
        raise RuntimeError(repr(error)) from None


def test_somebody_elses_launcher_is_used_where_workers_are_asked_for(
    installed, monkeypatch: pytest.MonkeyPatch
) -> None:
    import odd_launcher

    installed("robot_wm.launchers", "odd", "odd_launcher:run")
    monkeypatch.setattr(parallel, "_used", "process")
    use_launcher("odd")
    assert list(spread(Task(), 3, 5)) == [(2, 4), (1, 1), (0, 0)]
    assert odd_launcher.done == [3, 3, 3]  # no more workers than jobs
    assert list(spread(Task(), 3, 1)) == [(0, 0), (1, 1), (2, 4)]
    with pytest.raises(ConfigError, match="did you mean 'serial'"):
        use_launcher("seriel")


def test_workers_compute_with_one_thread_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert dict(spread(threads, 2, 2)) == {0: "1", 1: "1"}
    assert threads(0) == "3"  # this process is as it was


def threads(number: int) -> str:
    return os.environ["OMP_NUM_THREADS"]


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_nothing_to_do_is_done(workers: int) -> None:
    assert list(spread(Task(), 0, workers)) == []
    assert list(spread(Task(), 1, workers)) == [(0, 0)]


@pytest.mark.parametrize(
    ("what", "error", "text"),
    [
        ("typed", DataError, "number 3"),
        ("raw", RuntimeError, "Unsendable"),
        ("death", RobotWMError, "worker process died"),
    ],
)
def test_an_error_ends_the_work_at_once(what: str, error: type[Exception], text: str) -> None:
    began = time.monotonic()
    with pytest.raises(error, match=text) as caught:
        # The other worker would sleep for a minute.
        list(spread(Task(3, what, slow=(0,)), 6, 2))
    assert time.monotonic() - began < 20
    if what == "typed":
        assert caught.value.args == DataError("number 3", "another", "go on").args


def test_who_stops_listening_stops_the_workers() -> None:
    began = time.monotonic()
    for number, square in spread(Task(slow=(0,)), 6, 2):
        assert square == number**2
        break
    assert time.monotonic() - began < 20


def children(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rsplit(")", 1)[1].split()[:2]
            words = (path.parent / "cmdline").read_text()
        except OSError:
            continue
        if int(parent) == pid and state != "Z" and "spawn_main" in words:
            found.append(int(path.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks /proc")
def test_workers_end_with_the_process_that_was_killed() -> None:
    code = (
        "from test_parallel import Task\nfrom robot_wm.core.parallel import spread\n"
        "if __name__ == '__main__':\n"
        "    for _ in spread(Task(slow=(1, 2), seconds=60), 3, 2): print('begun', flush=True)"
    )
    environment = {**os.environ, "PYTHONPATH": f"{HERE.parents[1]}{os.pathsep}{HERE}"}
    parent = subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, cwd=HERE
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"begun\n"
    workers = children(parent.pid)
    assert len(workers) == 2
    parent.kill()
    parent.wait()
    end = time.monotonic() + 10
    while time.monotonic() < end and any(Path(f"/proc/{pid}/cmdline").exists() for pid in workers):
        time.sleep(0.05)
    assert not [p for p in workers if "spawn_main" in _words(p)]
    parent.stdout.close()


def _words(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
