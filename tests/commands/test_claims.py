"""What each claim trains: composed, named and checked before anything is made."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from moving_square import make_dataset

from planning.commands.claims.chance import scenes
from planning.commands.claims.config import ClaimsSettings
from planning.commands.claims.dreams import stretches, temperatures
from planning.commands.claims.encoders import depths, momenta
from planning.commands.claims.latent_actions import codes
from planning.commands.claims.measuring import Measurement
from planning.ledger.measurements import add_rows, read_rows
from robot_wm.cli.compose import Session, compose
from robot_wm.core.errors import ConfigError

WORDS = ("experiment=smoke", "task=two_room", "encoder_tasks=two_room", "pretrain.steps=7")


def session(*words: str) -> Session:
    overrides = (*WORDS, *words)
    return Session(compose(overrides), overrides)


def owned(measurement: Measurement):
    """Settings of the run that a measurement is of."""
    return measurement.prepare.args[0].settings  # type: ignore[attr-defined]


def test_what_has_a_command_of_its_own_and_lists_that_say_nothing_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"\[4, 5, 7, 8, 10\]"):
        ClaimsSettings(which=(4, 12))
    for wrong in ({"which": ()}, {"codes": (2, 2)}, {"depths": ()}):
        with pytest.raises(ConfigError, match="each once"):
            ClaimsSettings(**wrong)


def test_the_momentum_is_the_same_from_the_first_step_to_the_last() -> None:
    found = momenta(session("claims.momenta=[0.0,0.99]", "objective=mae", "seed=3"))
    names = [(each.model, each.setting) for each in found]
    assert names == [(o, m) for o in ("vjepa_plain", "vjepa") for m in (0.0, 0.99)]
    for each in found:
        settings = owned(each)
        options = settings.objective.options
        assert options["ema_start"] == options["ema_end"] == each.setting
        assert settings.objective.name == each.model
        assert settings.encoder_name == f"smoke-{each.model}-m{each.setting:g}-seed3"
        config = settings.pretrain_config()
        assert (config.steps, config.monitor_every, config.seed) == (7, 7, 3)
        assert settings.data_name == "smoke"
    assert len({owned(each).encoder_path() for each in found}) == 4


def test_depth_alone_differs_where_a_predictor_is_told_of_the_light() -> None:
    found = depths(session("claims.depths=[1,8]"))
    options = [dict(owned(each).objective.options) for each in found]
    assert [each.pop("predictor_depth") for each in options] == [1, 8]
    assert options[0] == options[1]
    assert {owned(each).objective.name for each in found} == {"iwm"}


def test_an_encoder_that_has_not_seen_what_it_is_asked_of_is_refused() -> None:
    with pytest.raises(ConfigError, match="varied"):
        depths(session("pretrain_on=[nominal]"))
    with pytest.raises(ConfigError, match="two_room and nominal"):
        momenta(session("encoder_tasks=[push_t]"))


def test_only_the_first_number_of_codes_trains_a_tokenizer() -> None:
    few, usual = codes(session("claims.codes=[2,8]"))
    whole, part = owned(usual), owned(few)
    assert (whole.name, part.name) == ("smoke-genie", "smoke-genie-codes2")
    assert whole.train_config().latent_actions == 8
    config = part.train_config()
    assert (config.latent_actions, config.tokenizer_steps) == (2, 0)
    assert config.parts_of == str(whole.model_path())
    assert whole.train_config().parts_of == ""
    assert (part.planner, part.data_name) == (whole.planner, whole.data_name)
    assert owned(codes(session("claims.codes=[8]", "seed=2"))[0]).name == "smoke-genie-seed2"


def test_only_the_controller_learns_anew_and_acts_alone() -> None:
    cold, hot = temperatures(session("claims.temperatures=[0.5,1.5]"))
    for each, temperature in ((cold, 0.5), (hot, 1.5)):
        settings = owned(each)
        config = settings.train_config()
        assert (config.vae_steps, config.rnn_steps, config.temperature) == (0, 0, temperature)
        assert config.parts_of == str(settings.model_path("smoke-world_models"))
        planner = settings.planner
        assert (planner.optimizer, planner.proposals, planner.mirror) == ("mode1", 1, False)
    assert owned(cold).name == "smoke-world_models-tau0.5"


def test_with_and_without_a_latent_variable_differ_in_nothing_else() -> None:
    found = scenes(session("seed=1", "uncertainty.variables=[gaussian]", "planner.proposals=0"))
    assert [(each.model, each.setting) for each in found] == 2 * [
        ("deterministic", 1),
        ("latent", 8),
    ]
    made = [owned(each) for each in found]
    assert [s.task.name for s in made] == 2 * ["two_room_kicked"] + 2 * ["two_room"]
    assert [s.name for s in made] == 2 * ["smoke-deterministic-seed1", "smoke-discrete-seed1"]
    for each in made:
        config = each.train_config()
        assert (config.variable, config.seed, config.beta) == ("discrete", 1, 0.02)
        assert (each.planner, each.data_name) == (made[0].planner, "smoke")


def test_codes_and_price_of_a_latent_variable_are_those_of_the_run() -> None:
    words = ("world_model=latent_variable", "world_model.codes=16", "world_model.beta=0.1")
    made = [owned(each).train_config() for each in scenes(session(*words))]
    assert [(c.codes, c.beta) for c in made] == 2 * [(1, 0.02), (16, 0.1)]


def test_chance_asks_for_one_task_with_and_without_it() -> None:
    for wrong in (("two_room", "reacher"), ("two_room_kicked",), ("two_room", "two_room_kicked")):
        with pytest.raises(ConfigError, match=r"claims\.scenes"):
            ClaimsSettings(scenes=wrong)


def test_a_row_on_file_is_measured_again_only_if_it_is_of_something_else(tmp_path: Path) -> None:
    path, settings, calls = tmp_path / "two_room.jsonl", session().settings, list[str]()

    def row(digest: str) -> dict:
        def measure() -> dict:
            calls.append(digest)
            return {"n": 4, "values": {"success_pct": float(len(calls))}}

        return Measurement(5, "genie", 8, lambda: {"model_sha256": digest}, measure).row(
            settings, tmp_path
        )

    first = row("a")
    assert first["values"] == row("a")["values"] == {"success_pct": 1.0}
    assert row("b")["values"] == {"success_pct": 2.0}
    assert calls == ["a", "b"]
    assert [(r["claim"], r["task"], r["seed"]) for r in read_rows(path)] == [(5, "two_room", 0)] * 2
    other = json.loads(json.dumps({**first, "seed": 1}))
    add_rows(path, [other])
    assert row("a")["seed"] == 0
    assert calls == ["a", "b"]


def test_frames_and_goals_are_of_one_validation_episode_and_near_in_time(tmp_path: Path) -> None:
    store = make_dataset(tmp_path / "data", episodes=48, blocks=12)
    frames, goals, poses = stretches(store, 3, 200, 0)
    assert len(frames) == len(goals) == len(poses) == 200
    every = store.schema.frame_every
    rows = {
        store[i].poses[k * every].tobytes(): (i, k)
        for i in store.indices("validation") for k in range(store.frames_of(i))
    }  # fmt: skip
    lags = set()
    for frame, goal, (here, there) in zip(frames, goals, poses, strict=True):
        (i, k), (j, m) = rows[here.tobytes()], rows[there.tobytes()]
        assert i == j
        assert np.array_equal(frame, store[i].frames[k])
        assert np.array_equal(goal, store[i].frames[m])
        lags.add(m - k)
    assert lags == {1, 2, 3}
