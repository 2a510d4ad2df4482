"""The calibration gates, judged by hand."""

import pytest

from planning.evaluation.calibration import gates, judge
from sim import TASKS

PUSH_T = TASKS["push_t"].published


def test_references_pass_their_own_gates_and_what_is_missing_fails():
    values = {name: reference for name, (reference, _) in gates(PUSH_T).items()}
    assert judge(PUSH_T, values)["calibrated"]
    for name in values:
        rest = {key: value for key, value in values.items() if key != name}
        verdict = judge(PUSH_T, rest)
        assert not verdict["calibrated"]
        assert verdict["why"] == f"{name}: not measured"


@pytest.mark.parametrize(
    ("task", "name", "good", "bad"),
    [
        ("two_room", "random actions, official", (13.1, 38.9), (12.9, 39.1)),  # ±50 % of 26
        ("push_t", "random actions, strict", (0.0, 10.0), (10.1,)),  # ±5 points of 5
        ("push_t", "solved starts, strict", (11.5, 34.4), (11.4, 34.5)),
        ("reacher", "true simulator, official", (98.0, 100.0), (97.9,)),  # a lower bound
    ],
)
def test_tolerances(task, name, good, bad):
    values = {key: reference for key, (reference, _) in gates(TASKS[task].published).items()}
    for value in good:
        assert judge(TASKS[task].published, {**values, name: value})["calibrated"], value
    for value in bad:
        verdict = judge(TASKS[task].published, {**values, name: value})
        assert not verdict["calibrated"], value
        assert verdict["why"].startswith(name)
