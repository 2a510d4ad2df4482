"""A few kills; ``python tests/robustness/kills.py`` does twenty of each and writes the row."""

import pytest
from kills import WORK, kill_again_and_again


@pytest.mark.slow
@pytest.mark.parametrize("what", WORK)
def test_killed_runs_end_as_if_nothing_had_happened(what, tmp_path):
    row = kill_again_and_again(what, 5, 1, tmp_path)
    assert row["kills"] == 5
    assert row["passed"], row
