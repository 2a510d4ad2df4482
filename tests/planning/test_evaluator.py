import json
import re
from dataclasses import replace

import numpy as np
import pytest
from point_world import (
    BrokenAgent,
    DriftAgent,
    OracleAgent,
    PointEnv,
    SteerAgent,
    make_steer,
    point_store,
)

from planning.agent.baselines import random_agent
from planning.evaluation.config import EvaluateConfig
from planning.evaluation.evaluator import (
    append_row,
    evaluate,
    planner_seed,
    run_episode,
)
from planning.evaluation.results import pack_trace, parse_row, read_rows, unpack_trace
from planning.evaluation.sample_pairs import PairsConfig, make_pair_lists
from planning.evaluation.statistics import wilson
from planning.reporting.tables import render_tables
from robot_wm.core.errors import ConfigError, DataError, InputError, WeightsError
from robot_wm.core.instantiate import deferred

FAMILIES = ("official", "moderate", "strict")
STEER = EvaluateConfig("moderate/point", "steer", train_seed=0, inputs="pixels+proprio")
KEYS = """
row,method,backend,train_seed,eval_seed,episodes,successes,success_pct,wilson_low,wilson_high,
random_pct,pair_list_sha256,budget_class,candidates,iterations,horizon,inputs,image_size,
encoder_id,encoder_sha256,frozen,encode_ms_p50,plan_ms_p50,plan_ms_p95,plan_ms_p99,threads,
hardware,commit,config_sha256,calibrated,date
"""


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    store = point_store(tmp_path_factory.mktemp("points"), episodes=150)
    config = PairsConfig("moderate", count=6, offset=10, budget=15, eval_seeds=(0,))
    return make_pair_lists(config, store, PointEnv().success, FAMILIES)[0]


def steer_steps(pair):
    """Steps until a clipped straight walk is within .1 of the goal."""
    place, goal = np.array(pair.start_pose), np.array(pair.goal_pose)
    for step in range(1, 16):
        place = place + 0.1 * np.clip((goal - place) / 0.1, -1, 1)
        if np.linalg.norm(place - goal) < 0.1:
            return step
    return None


def test_success_is_counted_from_the_environments_trace(pairs):
    result = evaluate(STEER, pairs, PointEnv, make_steer)
    assert [e.first_hit("moderate") for e in result.episodes] == [
        steer_steps(p) for p in pairs.pairs
    ]
    assert result.hits().all()
    # Steering commands both axes at up to twice the bound; only steps before arrival are clipped.
    assert max(e.clipped_fraction for e in result.episodes) > 0


def test_budget_ends_an_episode_that_never_succeeds(pairs):
    config = EvaluateConfig(
        "moderate/point@random", "random", inputs="pixels", families=("strict",)
    )
    result = evaluate(config, pairs, PointEnv, random_agent)
    lost = [e for e in result.episodes if e.first_hit("strict") is None]
    assert lost
    assert all(e.steps == 15 and not any(e.traces["strict"]) for e in lost)


def test_hold_belongs_to_the_predicate(pairs):
    both = replace(STEER, families=("strict", "moderate"))
    for episode in evaluate(both, pairs, PointEnv, make_steer).episodes:
        strict, moderate = episode.first_hit("strict"), episode.first_hit("moderate")
        assert strict >= moderate + 2  # three steps inside .05 m, the first of them inside .1 m
        assert episode.steps == strict  # went on after moderate, stopped when both were satisfied


def test_further_families_change_nothing_about_the_main_one(pairs):
    alone = evaluate(STEER, pairs, PointEnv, make_steer)
    more = evaluate(replace(STEER, families=("moderate", "strict")), pairs, PointEnv, make_steer)
    strict = evaluate(replace(STEER, families=("strict",)), pairs, PointEnv, make_steer)
    for one, two, other in zip(alone.episodes, more.episodes, strict.episodes, strict=True):
        assert two.first_hit("strict") == other.first_hit("strict") > two.steps
        assert one.traces["moderate"] == two.traces["moderate"]
        assert (one.steps, one.clipped_fraction) == (two.steps, two.clipped_fraction)
        assert (one.final_error, one.plan_s) == (two.final_error, two.plan_s)
        assert len(two.plan_s) == two.steps  # this agent notes a plan per step
    first, second = alone.row({}), more.row({})
    assert second["secondary_metrics"]["strict"]["success_pct"] == 100
    for key in ("steps", "success_trace", "final_error", "first_hit", "plans_per_episode"):
        assert first[key] == second[key]


def test_without_early_stop_the_whole_budget_is_traced(pairs):
    result = evaluate(replace(STEER, stop_on_success=False), pairs, PointEnv, make_steer)
    assert all(e.steps == 15 for e in result.episodes)
    assert result.hits().all()


def drifted(pairs, order):
    agent, env = DriftAgent(), PointEnv()
    config = EvaluateConfig("moderate/point@random", "drift")
    out = {}
    for index in order:
        error = run_episode(config, pairs, index, env, agent).final_error
        out[index] = agent.seed, error["x [m]"]
    return out


def test_seeds_depend_on_names_only_not_on_order(pairs):
    forward = drifted(pairs, range(6))
    assert drifted(pairs, reversed(range(6))) == forward
    assert len({seed for seed, _ in forward.values()}) == 6
    for index, (seed, _) in forward.items():
        assert seed == planner_seed("moderate/point@random", pairs.pairs[index].pair_id, 0)
    # Pinned: changing the rule would silently change every committed row.
    assert planner_seed("official/push_t", "e000001_t0005", 42) == 8851869013893083474


def test_two_spawned_workers_change_nothing_and_errors_come_home(pairs):
    config = EvaluateConfig("moderate/point@random", "drift")
    env, agent = deferred("point_world.PointEnv"), deferred("point_world.make_drift")
    alone = evaluate(config, pairs, env, agent)
    together = evaluate(replace(config, workers=2), pairs, env, agent)
    assert together.episodes == alone.episodes
    broken = deferred("point_world.make_broken")
    with pytest.raises(WeightsError, match=r"a torn file.*download it again"):
        evaluate(replace(config, workers=2), pairs, env, broken)
    with pytest.raises(WeightsError):
        evaluate(config, pairs, env, lambda spec: BrokenAgent())


def test_agents_see_image_and_proprio_only_and_pixel_rows_no_proprio(pairs):
    # SteerAgent itself asserts that the scene's third key and info never reach it.
    agent = SteerAgent()
    run_episode(STEER, pairs, 0, PointEnv(), agent)
    blind = DriftAgent()
    run_episode(EvaluateConfig("moderate/point", "drift"), pairs, 0, PointEnv(), blind)
    assert set(blind.saw) == {(0,)}


def test_an_overlay_lies_over_goal_start_and_rollout_and_over_nothing_else(pairs):
    class Looking(SteerAgent):
        def reset(self, goal, seed):
            self.saw = [goal["image"]]
            super().reset(goal, seed)

        def act(self, obs):
            self.saw.append(obs["image"])
            return super().act(obs)

    saw, results = {}, {}
    for name in ("", "fixed:0.2", "new:0.2"):
        agent = Looking()
        config = replace(STEER, overlay=name)
        results[name] = run_episode(config, pairs, 0, PointEnv(), agent)
        saw[name] = np.stack(agent.saw).astype(int)
    assert results[""] == results["fixed:0.2"] == results["new:0.2"]  # it steers by proprioception
    # Of what is white in every picture, noise darkens the same or other pixels.
    white = (saw[""] == 255).all(axis=0)
    assert (saw["fixed:0.2"][:, white] == saw["fixed:0.2"][0, white]).all()
    assert (saw["new:0.2"][1:, white] != saw["new:0.2"][:-1, white]).any(axis=1).all()


def test_privileged_agents_need_a_row_that_says_so(pairs):
    oracle = EvaluateConfig("moderate/point@oracle", "oracle", inputs="state")
    assert evaluate(oracle, pairs, PointEnv, lambda spec: OracleAgent()).hits().all()
    with pytest.raises(ConfigError):
        evaluate(replace(oracle, inputs="pixels"), pairs, PointEnv, lambda spec: OracleAgent())
    with pytest.raises(ConfigError):
        evaluate(replace(oracle, inputs="state"), pairs, PointEnv, make_steer)


def test_rest_is_asked_of_the_start_only(pairs):
    env = PointEnv()
    run_episode(replace(STEER, row="moderate/point@rest"), pairs, 0, env, SteerAgent())
    assert env.rested == [False, True]


@pytest.mark.parametrize("bad", [np.zeros(3), np.array([np.nan, 0.0])])
def test_impossible_actions_are_refused(pairs, bad):
    agent = DriftAgent()
    agent.act = lambda obs: bad
    with pytest.raises(InputError):
        run_episode(STEER, pairs, 0, PointEnv(), agent)


def test_a_scene_that_restores_another_pose_is_refused(pairs):
    env = PointEnv()
    out = env._out
    env._out = lambda: (out()[0], {**out()[1], "pose": env.place + 0.01})
    with pytest.raises(DataError, match="restores to pose"):
        run_episode(STEER, pairs, 0, env, SteerAgent())


def test_mismatches_are_refused_before_the_first_episode(pairs):
    for config in (
        replace(STEER, row="moderate/push_t"),
        replace(STEER, workers=0),
        replace(STEER, workers=2),  # unnamed factories cannot travel
        replace(STEER, families=("official", "unknown")),
        replace(STEER, row="moderate"),
    ):
        with pytest.raises(ConfigError):
            evaluate(config, pairs, PointEnv, make_steer)
    with pytest.raises(ConfigError):
        deferred("point_world.nothing")()


def test_row_has_every_key_and_right_numbers(pairs):
    result = evaluate(STEER, pairs, PointEnv, make_steer)
    row = result.row({"budget_class": "B0", "note": "free"})
    assert set(re.findall(r"\w+", KEYS)) <= set(row)
    assert (row["episodes"], row["successes"], row["success_pct"]) == (6, 6, 100.0)
    assert row["wilson_low"] == pytest.approx(100 * wilson(6, 6).low, abs=1e-3)
    assert row["plan_ms_p50"] == row["plan_ms_p99"] == 2.0
    assert row["latency_ms_p50"] == 3.0
    assert row["first_hit"] == [steer_steps(p) for p in pairs.pairs]
    for text, steps, hit in zip(row["success_trace"], row["steps"], row["first_hit"], strict=True):
        assert unpack_trace(text, steps).index(True) + 1 == hit
    assert json.loads(json.dumps(row, allow_nan=False)) == row
    with pytest.raises(ConfigError):
        result.row({"success_pct": 100.0})


def test_trace_packing_by_hand():
    assert pack_trace([True, False, False, False, False, False, False, True, True]) == "8180"
    assert unpack_trace("8180", 9) == [True] + [False] * 6 + [True, True]


def test_rows_of_the_same_identity_are_replaced(tmp_path):
    path = tmp_path / "results" / "main.jsonl"
    row = {"row": "a/b", "method": "m", "backend": "torch", "train_seed": 0, "eval_seed": 0,
           "pair_list_sha256": "x", "successes": 1, "episodes": 4, "success_pct": 25.0,
           "config_sha256": "c", "model_sha256": "m"}  # fmt: skip
    append_row(path, row)
    append_row(path, {**row, "eval_seed": 1})
    append_row(path, {**row, "successes": 2, "success_pct": 50.0})
    assert [(r["eval_seed"], r["successes"]) for r in read_rows(path)] == [(1, 1), (0, 2)]
    for other in ({"config_sha256": "d"}, {"model_sha256": "n"}, {"bundle_sha256": "b"}):
        append_row(path, {**row, **other})  # another planner, other weights: another row
    assert len(read_rows(path)) == 5
    before = path.read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        append_row(path, {**row, "successes": float("nan")})
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["main.jsonl"]  # nothing half-written
    path.write_text('{"row": "a/b"}\n')
    with pytest.raises(DataError):
        append_row(path, row)
    for wrong, said in (({"success_pct": 30.0}, r"row 2 of .*1 of 4 are 30.0 %"),
                        ({"row": "a"}, "row 2 of .*row name 'a'")):  # fmt: skip
        path.write_text("".join(json.dumps(r) + "\n" for r in (row, {**row, **wrong})))
        with pytest.raises(DataError, match=said):
            read_rows(path)


def test_row_names():
    name = parse_row("zs/push_t/agent_color:red@random@rest")
    assert name == ("zs", "push_t", "agent_color:red", ("random", "rest"))


def fake_row(row, method, train_seed, eval_seed, successes, **rest):
    return {
        "row": row, "method": method, "backend": "torch", "train_seed": train_seed,
        "eval_seed": eval_seed, "episodes": 100, "successes": successes,
        "success_pct": float(successes), "pair_list_sha256": f"{row.split('@')[0]}-{eval_seed}",
        "budget_class": "B384", "plan_ms_p50": 10.0, "plan_ms_p99": None, "inputs": "pixels",
        "calibrated": True, **rest,
    }  # fmt: skip


def test_levels_of_a_factor_alone_make_no_empty_overview(tmp_path):
    append_row(tmp_path / "main.jsonl", fake_row("clock/push_t/d1", "ours", 0, 0, 70))
    text = render_tables(tmp_path)
    assert "| push_t/d1 | ours | 70.0 |" in text
    assert "| B384 |" in text
    append_row(tmp_path / "main.jsonl", fake_row("clock/push_t/d1", "ours", 0, 0, 70, views=2))
    assert "| B384 × 2 views |" in render_tables(tmp_path)
    assert "macro" not in text


def test_tables_by_hand(tmp_path):
    rows = [
        fake_row("strict/push_t", "ours", train, seed, 50 + 10 * train + 2 * seed,
                 secondary_metrics={"moderate": {"success_pct": 68.5 + 10 * train + seed}})
        for train in (0, 1, 2)
        for seed in (0, 1)
    ]  # fmt: skip
    rows += [
        fake_row("strict/push_t@random", "random", None, seed, 4 + 2 * seed, calibrated=False)
        for seed in (0, 1)
    ]
    rows.append(fake_row("strict/reacher", "ours", 0, 0, 90))
    for row in reversed(rows):
        append_row(tmp_path / "main.jsonl", row)
    text = render_tables(tmp_path)
    # 51, 61, 71 -> 61 ± 10; pooled 366 of 600 -> Wilson 57.0–64.8; random 10 of 200.
    assert (
        "| push_t | ours | 61.0 ± 10.0 | moderate 79.0 | 57.0–64.8 | 600 | 3 | 5.0 | 10.0 | -- "
        "| B384 | pixels | yes |"
    ) in text
    assert "| reacher | ours | 90.0 | -- | 82.6–94.5 | 100 | 1 | -- |" in text
    assert "| ours | 61.0 ± 10.0 | 90.0 | -- |" in text  # unequal seeds: no macro
    assert "| random | 5.0 | -- | -- |" in text  # a missing task: no macro
    assert text == render_tables(tmp_path)
    append_row(tmp_path / "other.jsonl", rows[0])
    with pytest.raises(DataError, match="second time in other"):
        render_tables(tmp_path)
