import numpy as np
import pytest

from robot_wm.core.errors import ConfigError
from sim import TASKS, make
from sim.randomization import (
    NAMED_COLORS,
    Choice,
    Color,
    Interval,
    check_values,
    cielab,
    colors,
    delta_e,
    draw,
    levels,
)
from sim.tasks.abilities import Calibrated

FACTORS = [(task, name) for task in sorted(TASKS) for name in TASKS[task].factors]


def is_training_value(factor, value):
    if isinstance(factor, Interval):
        return factor.low <= value <= factor.high
    if isinstance(factor, Choice):
        return value in factor.train
    return delta_e(value, factor.nominal) <= 30


def test_cielab_of_known_colours():
    """sRGB, D65: values of any colour calculator, to the rounding of the matrix."""
    assert cielab((1, 1, 1)) == pytest.approx([100, 0, 0], abs=0.02)
    assert cielab((0, 0, 0)) == pytest.approx([0, 0, 0], abs=1e-9)
    assert cielab((1, 0, 0)) == pytest.approx([53.24, 80.09, 67.20], abs=0.05)
    assert cielab((0, 0, 1)) == pytest.approx([32.30, 79.19, -107.86], abs=0.05)
    assert cielab((0.5, 0.5, 0.5))[0] == pytest.approx(53.39, abs=0.02)
    assert delta_e((1, 1, 1), (0, 0, 0)) == pytest.approx(100, abs=0.02)


@pytest.mark.parametrize(("task", "name"), FACTORS)
def test_training_and_held_out_values_are_disjoint(task, name):
    factor, rng = TASKS[task].factors[name], np.random.default_rng(0)
    values = [factor.sample(rng) for _ in range(100)]
    assert all(is_training_value(factor, value) for value in values)
    assert len(set(values)) > 1 or getattr(factor, "train", ()) == (factor.nominal,)
    assert is_training_value(factor, factor.nominal)
    assert factor.held_out
    assert not any(is_training_value(factor, level) for level in factor.held_out)
    if isinstance(factor, Color):
        assert min(delta_e(level, factor.nominal) for level in factor.held_out) >= 55
        assert max(delta_e(value, factor.nominal) for value in values) > 15  # it does vary
    if isinstance(factor, Interval):
        assert min(values) < factor.low + 0.1 * (factor.high - factor.low)
        assert max(values) > factor.high - 0.1 * (factor.high - factor.low)


@pytest.mark.parametrize(
    "build",
    [
        lambda: Interval(1.0, 0.8, 1.2, (0.5, 1.1)),
        lambda: Interval(1.0, 0.8, 1.2, (1.2,)),
        lambda: Choice("T", ("T", "L"), ("L",)),
        lambda: colors(NAMED_COLORS["red"], "red"),
        lambda: Color((1.0, 1.0, 1.0), ((0.8, 0.8, 0.8),)),
        lambda: Color((1.0, 1.0, 1.0), (), train_radius=60.0),
    ],
)
def test_overlapping_ranges_cannot_be_built(build):
    with pytest.raises(ConfigError):
        build()


@pytest.mark.parametrize(("task", "name"), FACTORS)
def test_the_name_of_a_level_is_taken_where_its_value_is(task, name):
    factors = TASKS[task].factors
    named = levels(factors[name])
    assert tuple(named.values()) == factors[name].held_out
    for level, value in named.items():
        assert check_values(factors, {name: level}) == {name: value}
        assert check_values(factors, {name: value}) == {name: value}
        assert factors[name].name(value) == level
        assert not set(level) & set("/@,: ")  # it stands in the names of rows
    if isinstance(factors[name], Interval):  # a command line makes numbers of them
        for level, value in named.items():
            assert check_values(factors, {name: float(level)}) == {name: value}
    with pytest.raises(ConfigError, match=f"factor {name}"):
        check_values(factors, {name: "chartreuse"})


def look_and_push(env, state, factors):
    """First image, and joints after a short push of the block (if there is one)."""
    image = env.reset(options={"state": state, "factors": factors})[0]["image"]
    for _ in range(3):
        info = env.step(np.resize([0.3, -1.0], env.spec.control_dim))[-1]
    return image.astype(int), info["pose"]


@pytest.mark.parametrize("task", sorted(TASKS))
def test_every_level_of_every_factor_changes_what_it_should(task):
    env = make(task, 48)
    env.reset(seed=2)
    if task == "push_t":  # pusher a little above the block
        env.data.qpos[:] = [0.25, 0.28, 0.0, 0.262, 0.352]
    if task == "jaco_push":  # the hand a little behind the brick
        env.task.set_pose(env.data, np.array([0.0, 0.0, 0.02, -0.06, 0.0]))
    if task == "cube":  # the gripper around the cube
        env.task.set_pose(env.data, np.array([0.42, 0, 0.02, 0, 0.45, 0.42, 0, 0.02, 0, 0, 0]))
    state = env._info()["state"]
    image, pose = look_and_push(env, state, {})
    again = look_and_push(env, state, {})
    assert np.array_equal(again[0], image)
    assert np.array_equal(again[1], pose)
    for name, factor in env.task.factors.items():
        for level in factor.held_out:
            other_image, other_pose = look_and_push(env, state, {name: level})
            where = f"{task}/{name}:{level}"
            if factor.kind in ("motion", "time"):
                assert np.array_equal(other_image, image), where
                assert np.abs(other_pose - pose).max() > 1e-5, where
            elif isinstance(env.task, Calibrated) or np.array_equal(other_pose, pose):
                assert np.abs(other_image - image).max() > 20, where
                assert (other_image != image).any(axis=2).sum() >= 4, where
    env.close()


@pytest.mark.parametrize("task", sorted(TASKS))
def test_draws_are_reproducible_and_complete(task):
    factors = TASKS[task].factors
    first = draw(factors, ["all"], np.random.default_rng(4))
    assert first == draw(factors, ["all"], np.random.default_rng(4))
    assert not factors or first != draw(factors, ["all"], np.random.default_rng(5))
    assert list(first) == list(factors)
    names = list(factors)[:2]
    assert draw(factors, names, np.random.default_rng(4)) == draw(
        factors, names[::-1], np.random.default_rng(4)
    )
    assert draw(factors, [], np.random.default_rng(4)) == {}
    with pytest.raises(ConfigError, match="colour"):
        draw(factors, ["colour"], np.random.default_rng(4))


def test_block_shapes_keep_mass_and_inertia():
    task = TASKS["push_t"]()
    nominal = task.compile({})
    for shape in (*task.factors["block_shape"].train, *task.factors["block_shape"].held_out):
        model = task.compile({"block_shape": shape})
        assert np.array_equal(model.body("block").inertia, nominal.body("block").inertia)
        assert np.array_equal(model.body("block").mass, nominal.body("block").mass)
    double = task.compile({"mass": 2.0, "friction": 0.5})
    assert double.body("block").mass[0] == pytest.approx(0.2)
    assert double.joint("block_x").damping[0] == pytest.approx(10.0)


def test_actions_come_later_by_the_latency(blind):
    env, rng = blind("two_room"), np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (8, 2))
    start = env.state()

    def walk(latency):
        env.reset(options={"state": start, "factors": {"latency": latency}})
        return np.array([env.step(action)[-1]["pose"] for action in actions])

    at_once, later = walk(0), walk(2)
    assert np.abs(later[:2] - later[0]).max() < 1e-6  # it stands
    # Standing for two steps changes what the contacts remember, nothing more.
    np.testing.assert_allclose(later[2:], at_once[:-2], atol=1e-6)
    env.reset(options={"state": start})


def test_a_tilted_camera_keeps_the_middle_of_the_scene_in_the_middle():
    from sim.projection import project

    for task, middle in (("push_t", 0.256), ("two_room", 1.12), ("reacher", 0.0)):
        for pitch in (-10.0, 2.0, 10.0):
            env = make(task, 16, draw_images=False)
            env.reset(seed=0, options={"factors": {"camera_pitch": pitch}})
            points = np.array([[middle, middle, 0.0], [middle, middle + 0.1, 0.0]])
            center, above = project(env.model, env.data, env.task.camera, points)
            assert center == pytest.approx([0.5, 0.5], abs=1e-9)
            assert above[0] == pytest.approx(0.5, abs=1e-9)
            # A plane seen at an angle is shorter by its cosine, near side larger: to a tenth.
            seen = (0.5 - above[1]) * env.task.view
            assert seen == pytest.approx(0.1 * np.cos(np.deg2rad(pitch)), rel=0.1)


def test_clutter_touches_nothing_and_the_moving_piece_crosses_the_view():
    env = make("push_t", 32)
    env.reset(seed=0)
    start, plain = env.state(), env.model
    places = []
    for seconds in (0.0, 8.0, 16.0):
        env.reset(options={"state": start, "factors": {"distractors": "moving"}})
        env.data.time = seconds
        red, green, blue = env.render().astype(int).transpose(2, 0, 1)
        _, columns = np.nonzero((red > 150) & (blue > 150) & (green < 120))
        places.append(columns.mean())
    assert env.model.geom_contype.sum() == plain.geom_contype.sum()
    assert places[0] == places[2] != places[1]  # 0.8 widths in 8 s, and back
    assert abs(places[0] - places[1]) == pytest.approx(0.8 * 32, abs=1)
    env.close()
