"""Killed again and again: collecting and training must end as if nothing had happened.

    python tests/robustness/kills.py --kills 20 --out results/robustness/kills.json

Every run is a process of its own that gets SIGKILL after a random time, with its workers or
without, and is started again, as a user would. Compared with a run that nobody disturbed: every
byte that does not tell the time.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SMALL = ("experiment=smoke", "task=two_room", "encoder_tasks=[two_room]", "threads=1", "workers=2")
# Long enough for a kill to find them at work, short enough to be done twenty times.
WORK = {
    "collect": ("collect", *SMALL, "task.nominal=400", "task.varied=20", "task.steps=100"),
    "train": (
        "train", *SMALL, "train.steps=150", "train.embedding_steps=40", "train.dynamics_steps=150",
        "train.checkpoint_every=5", "train.eval_every=500", "evaluate.validation=0",
    ),
}  # fmt: skip


def start(words: tuple[str, ...], home: Path) -> subprocess.Popen[bytes]:
    """A command in a session of its own."""
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "ROBOT_WM_HOME": str(home), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-m", "robot_wm.cli", *words],
        env=environment, cwd=ROOT, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(words: tuple[str, ...], home: Path) -> float:
    """Run to the end; seconds it took."""
    began, process = time.monotonic(), start(words, home)
    _, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{words} ended with {process.returncode}: {errors.decode()[-2000:]}")
    return time.monotonic() - began


def digest(home: Path) -> dict[str, str]:
    """Hash of everything in data sets and models that does not tell the time."""
    found = {}
    for path in sorted([*home.glob("datasets/**/*"), *home.glob("models/**/*")]):
        name = str(path.relative_to(home))
        if not path.is_file() or path.name.endswith(".lock") or "/state/" in name:
            continue
        content = path.read_bytes()
        if path.name == "manifest.json":
            manifest = json.loads(content)
            content = json.dumps([manifest[k] for k in ("kind", "parents", "files")]).encode()
        if path.name == "log.jsonl":
            lines = [json.loads(line) for line in content.splitlines()]
            content = json.dumps([{**line, "seconds": 0} for line in lines]).encode()
        found[name] = hashlib.sha256(content).hexdigest()
    return found


def leftovers(home: Path) -> list[str]:
    """What killed runs left and nobody swept."""
    return [str(p.relative_to(home)) for p in home.rglob(".*robot-wm-*")]


def kill_again_and_again(what: str, kills: int, seed: int, folder: Path) -> dict[str, Any]:
    """One row: what was lost, doubled, different or left over after ``kills`` kills."""
    words, chance = WORK[what], random.Random(f"{what}-{seed}")
    calm, rough = folder / f"{what}-calm", folder / f"{what}-rough"
    if what == "train":  # whose data is not at stake
        for home in (calm, rough):
            finish(("collect", *SMALL), home)
            finish(("pretrain", *SMALL), home)
    seconds = finish(words, calm)
    done = 0
    for _ in range(50 * kills):
        if done == kills:
            break
        process = start(words, rough)
        end = time.monotonic() + chance.uniform(1.0, 1.0 + seconds / 2)
        while process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        if process.poll() is None:
            done += 1
        kill = os.killpg if chance.random() < 0.5 else os.kill  # workers and all, or it alone
        with contextlib.suppress(ProcessLookupError):
            kill(process.pid, signal.SIGKILL)
        process.communicate()
        if process.returncode == 0 and done < kills:  # it was finished: from the beginning again
            for part in ("models", "runs") if what == "train" else ("datasets",):
                subprocess.run(["rm", "-rf", str(rough / part)], check=True)
    finish(words, rough)
    ours, theirs = digest(calm), digest(rough)
    return {
        "what": what, "command": " ".join(("robot-wm", *words)), "kills": done, "seed": seed,
        "seconds_undisturbed": round(seconds, 1), "files": len(ours),
        "missing": sorted(set(ours) - set(theirs)), "more": sorted(set(theirs) - set(ours)),
        "different": sorted(k for k in ours.keys() & theirs.keys() if ours[k] != theirs[k]),
        "left_over": leftovers(rough), "passed": ours == theirs and not leftovers(rough),
    }  # fmt: skip


def main() -> int:
    """Kill, compare, write the rows."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--kills", type=int, default=20, help="of each command")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--out", type=Path, help="JSON file for the rows")
    options = arguments.parse_args()
    sys.path.insert(0, str(ROOT))
    from robot_wm.core.storage.provenance import provenance, write_json

    with tempfile.TemporaryDirectory() as folder:
        rows = [kill_again_and_again(w, options.kills, options.seed, Path(folder)) for w in WORK]
    rows = [{**row, **provenance()} for row in rows]
    for row in rows:
        print(json.dumps(row))
    if options.out:
        write_json(options.out, rows)
    return 0 if all(row["passed"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
