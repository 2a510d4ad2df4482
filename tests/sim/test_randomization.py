import numpy as np
import pytest

from robot_wm.core.errors import ConfigError
from sim import TASKS, make
from sim.randomization import (
    NAMED_COLORS,
    Choice,
    Color,
    Interval,
    cielab,
    colors,
    delta_e,
    draw,
)
from sim.tasks.abilities import Calibrated

FACTORS = [(task, name) for task in sorted(TASKS) for name in TASKS[task].factors]
DYNAMICS = {"mass", "friction", "gain"}


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
            if name in DYNAMICS:
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
