"""What a row says of the machine and of the code that made it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOLD = "from robot_wm.core.system.machine import git_commit; print(git_commit())"


def commit_in(folder: Path) -> str:
    run = subprocess.run(
        [sys.executable, "-c", TOLD], cwd=folder, capture_output=True, text=True, check=True
    )
    return run.stdout.strip()


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no checkout")
def test_a_checkout_is_known_by_its_commit() -> None:
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    assert commit_in(ROOT).removesuffix("+dirty") == head


def test_a_copy_in_somebody_elses_repository_is_not_theirs(tmp_path: Path) -> None:
    shutil.copytree(
        ROOT / "robot_wm", tmp_path / "robot_wm", ignore=shutil.ignore_patterns("weights")
    )
    for words in (
        ("init", "-q"),
        ("-c", "user.name=x", "-c", "user.email=x@y", "commit", "-qm", "x", "--allow-empty"),
    ):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    assert commit_in(tmp_path) == "unknown"
