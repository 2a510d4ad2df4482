"""Names of before are read wherever they were written."""

import json
from dataclasses import asdict, fields
from pathlib import Path

import pytest

from export.runtime.bundle_spec import Contract, parse
from planning.agent.config import PlannerSettings
from planning.evaluation.results import read_rows
from robot_wm.cli.aliases import key_of
from robot_wm.cli.compose import compose
from robot_wm.core.aliases import OPTIONS, RENAMED, current, stored
from robot_wm.core.errors import ConfigError
from robot_wm.pretraining.config import PretrainConfig
from robot_wm.pretraining.objectives.vjepa_modules import VJEPAConfig
from robot_wm.world_models.jepa.training.config import TrainConfig
from sim.collection.collect import Mix

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "robot_wm/weights/bundles/push_t"
OWNERS = {
    "collect": (Mix,),
    "pretrain": (PretrainConfig, VJEPAConfig),
    "train": (TrainConfig,),
    "planner": (PlannerSettings,),
    "contract": (Contract,),
}


@pytest.mark.parametrize("section", OWNERS)
def test_todays_names_are_fields_and_those_of_before_are_not(section):
    known = {field.name for owner in OWNERS[section] for field in fields(owner)}
    assert set(RENAMED[section].values()) <= known
    moved = set(RENAMED[section]) & known
    assert moved == set()


@pytest.mark.parametrize("section", RENAMED)
def test_what_is_stored_is_read_back(section):
    value = {new: number for number, new in enumerate(RENAMED[section].values())}
    nested = {"inside": [dict(value), {}], "steps": 3, **value}
    written = stored(section, nested)
    assert set(written) == {"inside", "steps", *RENAMED[section]}
    assert current(section, written) == nested == current(section, nested)


def test_both_names_at_once_are_refused():
    with pytest.raises(ConfigError, match="both settle and dynamics_steps"):
        current("train", {"settle": 1, "dynamics_steps": 2})


def test_a_shipped_contract_is_read_and_written_as_it_was():
    text = json.loads((BUNDLE / "contract.json").read_text())
    assert {"optimiser", "licence"} <= set(text)
    contract = parse(text, "it")
    assert json.loads(json.dumps(contract.to_json())) == text
    assert parse(current("contract", text), "it") == contract


def test_a_training_is_compared_by_the_names_it_was_stored_with():
    config = stored("train", asdict(TrainConfig("push_t")))
    assert config["settle"] == 20_000
    assert "dynamics_steps" not in config


def test_rows_of_before_are_read():
    rows = [
        row
        for path in sorted((ROOT / "results").rglob("*.jsonl"))[:40]
        if '"also"' in path.read_text()
        for row in read_rows(path)
    ]
    assert rows
    assert all("also" not in row for row in rows)
    assert any(row.get("secondary_metrics") for row in rows)


def test_options_of_before_answer():
    before = ["train.settle=7", "oracle.optimiser=cem", "oracle.options={}", "improve.kept=0.25"]
    today = [
        "train.dynamics_steps=7", "oracle.optimizer=cem", "oracle.options={}",
        "improve.interpolation=0.25",
    ]  # fmt: skip
    assert compose(before) == compose(today)


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_of_before_has_a_name_today(name):
    assert key_of(name) == OPTIONS[name]
    assert key_of(OPTIONS[name]) == OPTIONS[name]
