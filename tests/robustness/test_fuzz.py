"""Two thousand damaged or impossible inputs: every one is refused by name or read rightly."""

import json
import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fuzzing import KINDS

ROOT = Path(__file__).parents[2]


def run(kind: str) -> tuple[list[dict], str]:
    """Cases of one kind in a process of their own, whose memory is limited; its errors."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests/robustness/fuzzing.py"), kind],
        env=environment, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return rows, done.stderr[-2000:]


@pytest.fixture(scope="module")
def found() -> dict[str, tuple[list[dict], str]]:
    """All kinds, two at a time, the longest first."""
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(KINDS, pool.map(run, KINDS), strict=True))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", KINDS)
def test_every_case_is_right_or_typed(kind: str, found: dict) -> None:
    rows, errors = found[kind]
    assert len(rows) == KINDS[kind][1], f"died after {rows[-1:]}: {errors}"
    wrong = [row for row in rows if row["verdict"] == "wrong"]
    assert not wrong, f"{len(wrong)} of {len(rows)}, e.g. {wrong[:5]}"
    # A fuzzer that never damages anything, or only ever damages, would show nothing.
    counts = Counter(row["verdict"] for row in rows)
    assert counts["typed"] > 0.1 * len(rows)
    assert counts["right"] > 0


def test_there_are_two_thousand() -> None:
    assert sum(count for _, count in KINDS.values()) >= 2000
