import json
from dataclasses import replace

import numpy as np
import pytest
from point_world import DriftAgent, PointEnv, make_steer, point_store

from planning.commands.evaluate import row_config
from planning.commands.parts.levels import Level, levels_of
from planning.evaluation.config import EvaluateConfig
from planning.evaluation.evaluator import evaluate, run_episode
from planning.evaluation.results import append_row, find_row
from planning.evaluation.sample_pairs import PairsConfig, make_pair_lists
from planning.evaluation.statistics import mcnemar
from planning.reporting import pretraining
from planning.reporting.tables import render_tables
from planning.reporting.zero_shot import by_factor, score, summary
from robot_wm.cli import main as cli
from robot_wm.core.errors import ConfigError
from sim.randomization import levels
from sim.tasks import TASKS
from sim.zero_shot import JOINT, ZeroShot, chosen

FAMILIES = ("official", "moderate", "strict")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return point_store(tmp_path_factory.mktemp("points"), episodes=400)


@pytest.fixture(scope="module")
def pairs(store):
    config = PairsConfig("zs", count=4, offset=10, budget=15, eval_seeds=(0,))
    return make_pair_lists(config, store, PointEnv().success, FAMILIES)[0]


def test_mcnemar_is_the_doubled_binomial_tail():
    assert mcnemar(0, 0) == mcnemar(3, 3) == mcnemar(1, 0) == 1
    assert mcnemar(5, 0) == mcnemar(0, 5) == 2 / 2**5  # five are not enough for .05
    assert mcnemar(6, 0) == 2 / 2**6
    assert mcnemar(8, 2) == pytest.approx(2 * (1 + 10 + 45) / 2**10)
    # A test of level .05 rejects no more often than that where nothing differs.
    rng = np.random.default_rng(0)
    lost = rng.binomial(30, 0.5, 2000)
    assert np.mean([mcnemar(int(k), 30 - int(k)) < 0.05 for k in lost]) < 0.05


def rows(name, hits, method="jepa", seed=0, sha="a" * 64):
    solved = sum(hits)
    return {
        "row": f"zs/push_t/{name}" + "@random" * (method == "random"), "method": method,
        "backend": "torch", "train_seed": None if method == "random" else seed, "eval_seed": 0,
        "pair_list_sha256": sha, "episodes": len(hits), "successes": solved,
        "success_pct": 100 * solved / len(hits), "pair_ids": [f"p{i}" for i in range(len(hits))],
        "first_hit": [3 if hit else None for hit in hits],
    }  # fmt: skip


def test_drop_and_retention_are_of_the_same_pairs():
    before, after = [1] * 8 + [0] * 2, [1] * 2 + [0] * 7 + [1]
    found = score("light:0.5", [rows("light:0.5", after)], [rows("none", before)], 10.0, 20.0)
    assert (found.solved, found.episodes, found.success) == (3, 10, 30.0)
    assert found.drop == 50
    assert found.p == mcnemar(6, 1)
    assert found.retention == pytest.approx(100 * 30 / 80)
    assert found.corrected == pytest.approx(100 * (30 - 10) / (80 - 20))
    # Of a longer list only the pairs that the other row has count, of another list none.
    longer = score("light:0.5", [rows("light:0.5", after)], [rows("none", before[:5])], None, None)
    assert (longer.drop, longer.corrected, longer.episodes) == (60, None, 10)
    other = score("l:1", [rows("l:1", after)], [rows("none", before, sha="b" * 64)], 10.0, 20.0)
    assert other.drop is other.p is other.retention is other.corrected is None
    nothing = score("l:1", [rows("l:1", after)], [rows("none", [0] * 10)], 0.0, 0.0)
    assert (nothing.drop, nothing.retention, nothing.corrected) == (-30, None, None)
    # Training seeds are tested one by one, and the least certain one is told.
    two = [rows("none", before), rows("none", [1] * 10, seed=1)]
    both = score("l:1", [rows("l:1", after), rows("l:1", [0] + [1] * 9, seed=1)], two, None, None)
    assert both.p == mcnemar(1, 0) == 1


def test_every_factor_counts_once_and_joint_rows_do_not():
    nominal = [rows("none", [1] * 10)]
    made = [
        score(name, [rows(name, [1] * n + [0] * (10 - n))], nominal, 0.0, 0.0)
        for name, n in (("a:1", 8), ("a:2", 6), ("a:3", 4), ("b:1", 2), ("all", 0))
    ]
    factors = by_factor(made)
    assert (factors["a"]["success"], factors["a"]["levels"], factors["b"]["drop"]) == (60, 3, 80)
    found = summary(factors)
    assert (found["mean"]["success"], found["worst"]["success"]) == (40, 20)
    assert (found["worst"]["drop"], found["worst"]["retention"]) == (80, 20)


def test_tables_show_levels_beside_random_actions_under_them(tmp_path):
    for row in (
        rows("none", [1] * 8 + [0] * 2), rows("none", [1] + [0] * 9, "random"),
        rows("light:0.5", [1] * 4 + [0] * 6), rows("light:0.5", [0] * 10, "random"),
    ):  # fmt: skip
        append_row(tmp_path / "zs-push_t.jsonl", row)
    (tmp_path / "zs-push_t.png").touch()
    text = render_tables(tmp_path)
    assert "### push_t, jepa" in text
    assert "### push_t, random" not in text
    line = next(line for line in text.splitlines() if line.startswith("| light:0.5 "))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    # 40 of 80 retained; (40 - 0) / (80 - 10) above random
    assert [cells[i] for i in (1, 3, 4, 5, 7, 8)] == ["40.0", "10", "0.0", "40.0", "50.0", "57.1"]
    assert "| **worst** " in text
    assert "(../results/zs-push_t.png)" in text


def test_pairs_are_valid_at_both_ends_and_scored_as_official(store, pairs):
    assert pairs.predicate == "official"
    config = PairsConfig("zs", count=4, offset=10, eval_seeds=(0,))
    right = make_pair_lists(
        config, store, PointEnv().success, FAMILIES, valid=lambda state: state[0] >= 0
    )[0]
    assert all(p.start_state[0] >= 0 <= p.goal_state[0] for p in right.pairs)
    assert any(p.goal_state[0] < 0 for p in pairs.pairs)


def test_levels_share_pairs_and_chance_and_each_pair_has_its_own_values(pairs):
    told = []

    class Noting(PointEnv):
        def reset(self, *, seed=None, options=None):
            told.append(options["factors"])
            return super().reset(seed=seed, options=options)

    def seeds(row, seeded_as="", **rest):
        agent, found = DriftAgent(), []
        config = EvaluateConfig(row, "drift", families=("official",), seeded_as=seeded_as, **rest)
        for index in range(len(pairs.pairs)):
            run_episode(config, pairs, index, Noting(), agent)
            found.append(agent.seed)
        return found

    nominal = seeds("zs/point/none")
    assert nominal != seeds("zs/point/light:0.5")
    told.clear()
    by_pair = {p.pair_id: {"light": i} for i, p in enumerate(pairs.pairs)}
    assert seeds("zs/point/all", "zs/point/none", factors={"b": 1}, by_pair=by_pair) == nominal
    # Goal and start of each pair.
    assert told == [{"b": 1, "light": i} for i in (0, 0, 1, 1, 2, 2, 3, 3)]


def test_a_row_is_known_again_whatever_the_commit(pairs, tmp_path):
    path = tmp_path / "rows.jsonl"
    config = EvaluateConfig("zs/point/none", "steer", 0, ("official",), "pixels+proprio")
    info = {"config_sha256": "c" * 64, "model_sha256": "m" * 64}
    assert find_row(path, config, pairs, info) is None
    row = evaluate(config, pairs, PointEnv, make_steer).row(info)
    append_row(path, {**row, "commit": "another"})
    assert find_row(path, config, pairs, info) == json.loads(path.read_text())
    for other in (
        (replace(config, row="zs/point/l:1"), pairs, info),
        (replace(config, train_seed=1), pairs, info),
        (config, replace(pairs, pairs=pairs.pairs[:2]), info),
        (config, pairs, {**info, "config_sha256": "d" * 64}),
        (config, pairs, {**info, "model_sha256": "d" * 64}),
        (config, pairs, {**info, "backend": "onnx"}),
    ):
        assert find_row(path, *other) is None


@pytest.fixture(scope="module")
def rooms():
    return ZeroShot("two_room")


def state_at(place):
    import mujoco

    from sim.env import STATE

    model = TASKS["two_room"]().compile({})
    data = mujoco.MjData(model)
    data.qpos[:] = place
    state = np.empty(mujoco.mj_stateSize(model, STATE))
    mujoco.mj_getState(model, data, state, STATE)
    return state


def test_a_state_is_valid_where_no_level_spoils_it(rooms):
    assert rooms.valid(state_at([0.6, 0.7]))
    assert not rooms.valid(state_at([0.6, 1.12]))  # inside the wall, once it is horizontal
    assert not rooms.valid(state_at([1.12, 1.75]))  # in the door, which may be elsewhere
    assert not rooms.valid(state_at([0.22, 0.7]))  # a larger disc would be in the border


def test_joint_levels_are_held_out_drawn_per_pair_and_nested(rooms):
    ends, task = [state_at([0.6, 0.7]), state_at([1.6, 1.5])], TASKS["two_room"]()
    drawn = {name: rooms.jointly(ends, 7, name) for name in JOINT}
    assert drawn["all"] == rooms.jointly(ends, 7, "all") != rooms.jointly(ends, 8, "all")
    assert drawn["all"].items() < drawn["all_dyn"].items()
    assert set(drawn["all_dyn"]) - set(drawn["all"]) == {"gain"}
    assert {"agent_color", "camera_pitch", "texture", "distractors"} <= set(drawn["all"])
    for name, value in drawn["all_dyn"].items():
        assert value in task.factors[name].held_out
    assert rooms.names(drawn["all"])["agent_color"] in ("blue", "green", "black")


def test_levels_are_chosen_by_name():
    factors = TASKS["push_t"].factors
    every = chosen(factors, [])
    assert len(every) == sum(len(f.held_out) for f in factors.values()) + 2 > 50
    assert chosen(factors, ["all", "agent_color", "camera_yaw:+5"]) == [
        "agent_color:red", "agent_color:yellow", "agent_color:black", "camera_yaw:+5", "all",
    ]  # fmt: skip
    for wrong in ("agent_colour", "agent_color:pink", "camera_yaw:5"):
        with pytest.raises(ConfigError, match=r"zs\.only"):
            chosen(factors, [wrong])


class Pairs:
    family, split, eval_seed, pairs = "zs", "test", 0, ()
    task = name = "push_t"


@pytest.mark.parametrize("task", ["push_t", "two_room", "reacher"])
def test_every_level_is_configured_by_its_name_and_named_in_rows(task):
    class Official(Pairs):
        family = "official"

    Official.task = Official.name = task
    factors = TASKS[task].factors
    first = {name: next(iter(levels(factor))) for name, factor in factors.items()}
    settings = cli.compose(
        [f"task={task}", *(f"evaluate.factors.{k}={v}" for k, v in first.items())]
    )
    settings.check()
    config = row_config(settings, "random", Official(), None)
    spelled = ",".join(f"{k}:{v}" for k, v in sorted(first.items()))
    assert config.row == f"official/{task}/{spelled}@random"
    assert config.factors == {k: levels(factors[k])[v] for k, v in first.items()}


def test_zero_shot_rows_are_configured():
    words = ["task=push_t", "pairs.family=zs", "zs.only=[agent_color:red,camera_yaw:+5]"]
    settings = cli.compose(words)
    settings.check()
    made = levels_of(settings, Pairs())
    assert [level.name for level in made] == ["none", "agent_color:red", "camera_yaw:+5"]
    configs = [row_config(settings, "jepa", Pairs(), 0, level) for level in made]
    assert [c.row for c in configs] == [f"zs/push_t/{level.name}" for level in made]
    assert {c.seeded_as for c in configs} == {"zs/push_t/none"}
    assert {c.families for c in configs} == {("official",)}
    assert dict(configs[2].factors) == {"camera_yaw": 5.0}
    random = row_config(settings, "random", Pairs(), None, Level("all", seeded_as="none"))
    assert (random.row, random.seeded_as) == ("zs/push_t/all@random", "zs/push_t/none@random")
    with pytest.raises(ConfigError, match=r"zs\.only"):
        cli.compose([*words, "zs.only=[agent_color:pink]"]).check()
    with pytest.raises(ConfigError, match=r"evaluate\.factors"):
        cli.compose([*words, "evaluate.factors.light=0.5"]).check()


def test_what_pretraining_is_worth_is_one_line_a_condition(tmp_path):
    assert pretraining.render_section(tmp_path) == ""
    for encoder, hits in (("patches", [1, 0]), ("vit", [1, 1])):
        for path in ("official/push_t", "zs/push_t/light:0.5"):
            row = rows("none", hits) | {"row": f"{path}@{encoder}", "date": "2026-01-01"}
            append_row(tmp_path / pretraining.FOLDER / "push_t.jsonl", row)
    row = rows("none", [0, 1]) | {"row": "official/push_t@vit@alone", "date": "2026-01-01"}
    append_row(tmp_path / pretraining.FOLDER / "push_t.jsonl", row)
    append_row(tmp_path / "zs-push_t.jsonl", rows("light:0.5", [0, 1], "random"))
    text = pretraining.render_section(tmp_path)
    assert "### push_t" in text
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines() if line.startswith("|")
    ]  # fmt: skip
    assert cells[0] == ["", "jepa @patches", "jepa @vit", "jepa @vit @alone", "random"]
    assert cells[2:] == [
        ["official", "50.0 (2)", "100.0 (2)", "50.0 (2)", "--"],
        ["zs/light:0.5", "50.0 (2)", "100.0 (2)", "--", "50.0"],
    ]
