"""The teacher: its ways reach the goal, its rows happened, and a shard is a pure function."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from robot_wm.core.errors import ConfigError, DataError
from robot_wm.data.lessons import LessonStore
from sim.collection.collect import CollectConfig, Mix, collect
from sim.collection.questions import Asker
from sim.collection.teacher import answer, pictures, teach
from sim.collection.teacher_config import KINDS, TeacherConfig
from sim.env import GoalEnv
from sim.policies.registry import make_policy


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    mix = (Mix("expert", 1.0, (0.0, 0.1)),)
    config = CollectConfig(
        "push_t", "nominal", 12, 60, mix, image_size=16, episodes_per_shard=6, workers=1
    )
    return str(collect(config, tmp_path_factory.mktemp("teacher") / "nominal"))


@pytest.fixture(scope="module")
def env():
    made = GoalEnv("push_t", 16, draw_images=False)
    made.reset(seed=0)
    return made


def config_of(recorded, **more):
    return TeacherConfig("push_t", (recorded,), ways=6, questions_per_shard=3, **more)


@pytest.mark.parametrize("kind", KINDS[:3])
def test_an_answer_happens_in_the_simulator_and_reaches_the_goal(recorded, env, kind):
    shares = tuple(float(name == kind) for name in KINDS)
    config = config_of(recorded, shares=shares, disturbed=1.0)
    asker, rng, lessons = Asker(config, env), np.random.default_rng(1), []
    while not lessons:
        question = asker.ask(rng)
        lessons = answer(question, config, env, rng)
    assert question.kind == kind
    for lesson in lessons:
        np.testing.assert_array_equal(lesson.states[lesson.past], question.start)
        *_, goal = env.reset(options={"state": lesson.goal})
        *_, info = env.reset(options={"state": question.start})
        poses, rows = [info["pose"]], range(lesson.past, len(lesson.states))
        for t in rows:
            np.testing.assert_allclose(info["state"], lesson.states[t], atol=1e-9)
            *_, info = env.step(lesson.actions[t])
            poses.append(info["pose"])
        for family in config.families:
            hits = env.success(family, np.stack(poses), goal["pose"])
            assert hits[: lesson.steps].any()
        assert lesson.togo[lesson.past] == lesson.steps > 0 or kind == "ahead"
        assert (np.diff(lesson.togo.astype(int)) <= 0).all()
        assert not lesson.clean[: lesson.past].any()


def test_the_nearest_of_many_states_is_nearer_than_any_state(recorded, env):
    gaps = {}
    for nearest in ((1, 1), (30, 30)):
        shares = (0.0, 1.0, 0.0, 0.0)
        asker = Asker(config_of(recorded, shares=shares, nearest=nearest), env)
        rng, gaps[nearest] = np.random.default_rng(4), []
        for _ in range(12):
            question = asker.ask(rng)
            poses = [env.reset(options={"state": s})[1]["pose"] for s in question[3:]]
            gaps[nearest].append(float(env.distance(poses[0][None], poses[1])[0]))
    assert np.median(gaps[30, 30]) < 0.6 * np.median(gaps[1, 1])


def test_the_quickest_ways_are_kept(recorded, env):
    config = config_of(recorded, slack=3, kept=2, shares=(0.0, 0.0, 1.0, 0.0))
    asker, rng, many = Asker(config, env), np.random.default_rng(2), 0
    for _ in range(6):
        steps = [lesson.steps for lesson in answer(asker.ask(rng), config, env, rng)]
        many += len(steps) > 1
        assert len(steps) <= 2
        assert steps == sorted(steps)
        assert not steps or steps[-1] <= steps[0] + 3
    assert many


def test_a_varied_expert_goes_another_way():
    goal = np.array([0.25, 0.1, 0.25, 0.3, 0.0, 0, 0])
    pose = np.array([0.25, 0.45, 0.25, 0.25, 0.0, 0, 0])
    actions = []
    for seed in range(8):
        expert = make_policy("push_t", "expert")
        expert.reset(np.random.default_rng(0), goal=goal)
        expert.vary(np.random.default_rng(seed))
        actions.append(expert.act(pose))
    assert np.ptp(actions, axis=0).max() > 0.3


def test_shards_are_pure_and_resumable(recorded, tmp_path):
    config = config_of(recorded)
    whole = LessonStore(teach(config, tmp_path / "a", 2))
    teach(config, tmp_path / "b", 1)
    again = LessonStore(teach(config, tmp_path / "b", 2))
    assert [whole.sha256(s) for s in whole.shards] == [again.sha256(s) for s in again.shards]
    columns, records = whole.columns(whole.shards[1]), whole.records(whole.shards[1])
    assert sum(r.rows for r in records) == len(columns["states"]) == len(columns["togo"])
    assert len(records) == len(columns["goals"])
    with pytest.raises(DataError, match="ways"):
        teach(replace(config, ways=3), tmp_path / "a", 2)


def test_lessons_of_before_an_option_have_its_default(recorded, tmp_path):
    config = config_of(recorded)
    teach(config, tmp_path / "a", 1)
    record = json.loads((tmp_path / "a/lessons.json").read_text())
    del record["nearest"]
    (tmp_path / "a/lessons.json").write_text(json.dumps(record))
    teach(config, tmp_path / "a", 1)
    with pytest.raises(DataError, match="nearest"):
        teach(replace(config, nearest=(1, 6)), tmp_path / "a", 1)


def test_pictures_show_the_states(recorded, tmp_path):
    store = LessonStore(teach(config_of(recorded), tmp_path / "a", 1))
    states = store.columns(store.shards[0])["states"][:3]
    env = GoalEnv("push_t", 16)
    images = list(pictures(env, states))
    obs, _ = env.reset(options={"state": states[2]})
    np.testing.assert_array_equal(images[2], obs["image"])
    env.close()


@pytest.mark.parametrize(
    "wrong",
    [{"ways": 0}, {"shares": (0.0, 0.0, 0.0, 1.0)}, {"recorded": ()}, {"budget": 4},
     {"nearest": (0, 4)}, {"nearest": (5, 4)}],
)  # fmt: skip
def test_impossible_configurations_are_refused(recorded, wrong):
    with pytest.raises(ConfigError):
        TeacherConfig(**{"task": "push_t", "recorded": (recorded,), **wrong})
