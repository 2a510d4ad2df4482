"""Two thousand damaged or impossible inputs: every one is refused by name or read rightly."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from fuzzing import KINDS

ROOT = Path(__file__).parent.parent


def run(kind: str, *more: str) -> list[dict]:
    """Cases of one kind in a process of their own, whose memory is limited."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests/fuzzing.py"), kind, *more],
        env=environment, capture_output=True, text=True, timeout=220,
    )  # fmt: skip
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert rows, done.stderr
    assert len(rows) >= KINDS[kind][1] or more, f"died after {rows[-1]}: {done.stderr[-2000:]}"
    return rows


@pytest.mark.parametrize("kind", KINDS)
def test_every_case_is_right_or_typed(kind: str) -> None:
    rows = run(kind)
    wrong = [row for row in rows if row["verdict"] == "wrong"]
    assert not wrong, f"{len(wrong)} of {len(rows)}, e.g. {wrong[:5]}"
    # A fuzzer that never damages anything, or only ever damages, would show nothing.
    counts = Counter(row["verdict"] for row in rows)
    assert counts["typed"] > 0.1 * len(rows)
    assert counts["right"] > 0


def test_there_are_two_thousand() -> None:
    assert sum(count for _, count in KINDS.values()) >= 2000
