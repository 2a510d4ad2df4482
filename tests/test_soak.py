"""The soak itself: faults are injected and counted, and a careless controller does not pass."""

from __future__ import annotations

import json

import numpy as np
import pytest
from test_controller import LIMITS, Agent, image

from export.controller import Controller
from export.soak import Injected, Soak, soak
from robot_wm.errors import InputError

FRAMES = np.stack([image(k) for k in range(40)])


def test_every_fault_is_injected_and_reported_and_nothing_gets_out():
    found = soak(Agent(), LIMITS, FRAMES, ticks=20_000)
    assert set(found.injected) == set(Injected)
    assert set(found.reported) == set(Injected)
    assert found.ticks == 20_000
    assert found.stops > 0
    assert found.unreported == 0
    assert found.outside == 0
    assert 0 < found.moved <= LIMITS.max_change + 1e-6
    assert found.passed


def test_what_was_counted_can_be_written_down():
    told = json.loads(json.dumps(soak(Agent(), LIMITS, FRAMES, ticks=20_000).to_json()))
    assert told["ticks"] == 20_000
    assert told["injected"]["black frame"] >= told["reported"]["black frame"] > 0
    assert told["passed"] is True


def test_a_stream_without_faults_reports_none():
    found = soak(Agent(), LIMITS, FRAMES, ticks=1_000, rate=0.0)
    assert not found.injected
    assert not found.reported
    assert found.episodes == 10


def test_a_controller_that_forgets_its_limits_is_found_out(monkeypatch):
    monkeypatch.setattr(Controller, "_limit", lambda self, wanted, _: 3 * np.asarray(wanted))
    assert soak(Agent(), LIMITS, FRAMES, ticks=200).outside > 100


def test_a_controller_that_says_nothing_is_found_out(monkeypatch):
    monkeypatch.setattr(Controller, "_look", lambda self, now, frame: None)
    found = soak(Agent(), LIMITS, FRAMES, ticks=5_000)
    assert found.unreported > 10
    assert not found.passed


def test_growing_memory_does_not_pass():
    assert Soak(memory_mb=(100.0, 104.0)).passed
    assert not Soak(memory_mb=(100.0, 106.0)).passed


def test_an_empty_stream_is_refused():
    with pytest.raises(InputError, match="frames"):
        soak(Agent(), LIMITS, FRAMES[:0], ticks=10)
