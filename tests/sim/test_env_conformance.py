import mujoco
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from robot_wm.core.errors import ConfigError, InputError
from robot_wm.core.protocols import Environment
from sim import TASKS, make
from sim.tasks.abilities import Calibrated
from sim.tasks.push_t import ORIGIN_OFFSET
from sim.tasks.two_room import DOOR_HALF, DOOR_Y, INNER, RADIUS, WALL_HALF, WALL_X

every_task = pytest.mark.parametrize("task", sorted(TASKS))


# ---- what holds for every scene ----


@every_task
def test_spec_agrees_with_what_the_scene_returns(task):
    env = make(task, 32)
    assert isinstance(env, Environment)
    obs, info = env.reset(seed=0)
    spec = env.spec
    assert spec.task == task == env.task.name
    assert obs["image"].shape == (spec.image_size,) * 2 + (3,)
    assert obs["image"].dtype == np.uint8
    assert obs["proprio"].shape == (spec.proprio_dim,)
    assert obs["proprio"].dtype == np.float32
    assert info["pose"].shape == (len(spec.pose_names),)
    assert info["pose"].dtype == info["state"].dtype == np.float64
    assert "official" in spec.families
    if isinstance(env.task, Calibrated):
        assert {"moderate", "strict", "long"} <= set(spec.families)
    physics = env.task.ctrl_rows * env.task.hold_steps * env.model.opt.timestep
    assert spec.control_dt == pytest.approx(physics, abs=1e-12)
    env.close()


@every_task
def test_every_number_of_an_action_is_told_in_units(task):
    told, ours = len(TASKS[task].full_command), TASKS[task].__module__.startswith("sim.")
    # Another package's task may leave it out; its bundles then tell no unit.
    assert told == TASKS[task].control_dim or (told == 0 and not ours)


@every_task
@pytest.mark.parametrize("variation", [[], ["all"]])
def test_restore_is_exact(task, variation):
    """Same state, same actions: the same states, poses and images, bit by bit."""
    env, others = make(task, 32), [make(task, 32), make(task, 32)]
    _, info = env.reset(seed=5, options={"variation": variation})
    if task == "push_t":  # in the middle of a push
        env.data.qpos[3:5] = env.data.qpos[:2] + np.array([0.0, 0.11])
    actions = np.random.default_rng(1).uniform(-1, 1, (14, env.spec.control_dim))
    actions[:, 1:] -= 0.5 * (task == "push_t")
    infos = [env.step(action)[-1] for action in actions]
    middle, images = infos[6], []
    for other in others:
        obs, info = other.reset(options={"state": middle["state"], "factors": middle["factors"]})
        images.append([obs["image"]])
        assert np.array_equal(info["state"], middle["state"])
        for action, wanted in zip(actions[7:], infos[7:], strict=True):
            obs, *_, info = other.step(action)
            images[-1].append(obs["image"])
            assert np.array_equal(info["state"], wanted["state"])
            assert np.array_equal(info["pose"], wanted["pose"])
        other.close()
    assert np.array_equal(*images)
    assert np.array_equal(images[0][-1], env.render())
    env.close()


@every_task
def test_a_restored_state_looks_as_it_did_when_recorded(task):
    env = make(task, 64)
    env.reset(seed=0)
    for action in np.random.default_rng(0).uniform(-1, 1, (8, env.spec.control_dim)):
        obs, *_, info = env.step(action)
    restored = env.reset(options={"state": info["state"]})[0]
    env.close()
    assert np.array_equal(restored["image"], obs["image"])


@every_task
def test_seed_makes_the_episode(task, blind):
    env, options = blind(task), {"variation": ["all"]}
    first = env.reset(seed=7, options=options)[1]
    again = env.reset(seed=7, options=options)[1]
    other = env.reset(seed=8, options=options)[1]
    assert np.array_equal(first["state"], again["state"])
    assert first["factors"] == again["factors"]
    assert not np.array_equal(first["pose"], other["pose"])
    assert not env.task.factors or first["factors"] != other["factors"]


@every_task
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_gymnasium_accepts_the_scene(task):
    env = make(task, 16)
    env.spec = None  # Gymnasium looks for its registry entry there; ours is the contract's
    check_env(env, skip_render_check=True)


@every_task
def test_actions_are_clipped(task, blind, drive):
    env = blind(task)
    size = env.spec.control_dim
    wild = drive(env, [np.resize([3.0, -7.0], size)] * 3)
    env.reset(seed=0)
    assert np.array_equal(wild, drive(env, [np.resize([1.0, -1.0], size)] * 3))


@every_task
@pytest.mark.parametrize(
    "spoil",
    [
        lambda action: action[1:], lambda action: np.append(action, 0), lambda action: action[None],
        lambda action: np.append(np.nan, action[1:]), lambda action: np.append(action[1:], np.inf),
        lambda _: np.array(0.5),
    ],
    ids=["shorter", "longer", "nested", "nan", "infinite", "a number"],
)  # fmt: skip
def test_impossible_actions_are_refused_and_change_nothing(task, spoil, blind):
    env = blind(task)
    before = env.data.qpos.copy()
    with pytest.raises(InputError):
        env.step(spoil(np.zeros(env.spec.control_dim)))
    assert np.array_equal(env.data.qpos, before)


@every_task
def test_user_mistakes_are_named(task, blind):
    env = blind(task)
    for options in ({"stat": 1}, {"factors": {"colour": 1}}, {"variation": ["colour"]}):
        with pytest.raises(ConfigError, match=r"stat|colour"):
            env.reset(options=options)
    for state in (np.zeros(3), np.full(len(env.reset(seed=0)[1]["state"]), np.nan)):
        with pytest.raises(InputError):
            env.reset(options={"state": state})
    with pytest.raises(ConfigError):
        env.success("easy", np.zeros((2, 2)), np.zeros(2))
    with pytest.raises(ConfigError, match="push_t"):
        make("push_x")


@every_task
def test_rest_zeroes_velocities_only(task, blind):
    env = blind(task)
    state = env.step(np.resize([0.8, 0.3], env.spec.control_dim))[-1]["state"]
    moving = env.data.qpos.copy()
    assert np.abs(env.data.qvel).max() > 0.01
    env.reset(options={"state": state, "rest": True})
    assert np.array_equal(env.data.qpos, moving)
    assert not env.data.qvel.any()


# ---- Push-T ----


def place(env, *qpos):
    env.data.qpos[:], env.data.qvel[:] = qpos, 0
    mujoco.mj_forward(env.model, env.data)


@pytest.mark.parametrize("pushing", [False, True])
def test_pusher_follows_the_reference_law(pushing, blind, drive):
    env = blind("push_t")
    # Touching the bar's outer edge and pushing through the centre of gravity, or far away.
    place(env, 0.25, 0.30, 0.0, *((0.25, 0.36) if pushing else (0.05, 0.45)))
    start = env.data.qpos[:3].copy()
    steps = -np.diff(drive(env, [[0.0, -0.6]] * 5)[:, 1]) / 0.06
    assert steps[0] == pytest.approx(0.2957, abs=0.01)
    assert steps[4] == pytest.approx(0.407, abs=0.01)
    moved = env.data.qpos[:3] - start
    assert (moved[1] < -0.08) == pushing
    assert np.abs(moved[[0, 2]]).max() < 1e-6


def test_pusher_law_equals_the_analytic_recursion(blind, drive):
    env = blind("push_t")
    place(env, 0.25, 0.12, 0.0, 0.10, 0.40)
    actions = np.random.default_rng(0).uniform(-0.4, 0.4, (6, 2))
    p, v, wanted = np.array([0.10, 0.40]), np.zeros(2), []
    for action in actions:
        target = p + 0.1 * action
        for _ in range(10):
            v = v + 0.01 * (100 * (target - p) - 20 * v)
            p = p + 0.01 * v
        wanted.append(p)
    assert np.abs(drive(env, actions)[1:, :2] - wanted).max() < 5e-5  # 0.05 mm


def test_block_is_quasi_static(blind):
    env = blind("push_t")
    place(env, 0.25, 0.25, 0.3, 0.05, 0.45)
    env.data.qvel[:3] = [0.4, 0.0, 3.0]
    mujoco.mj_step(env.model, env.data, 15)  # 30 ms: six stop times
    assert np.abs(env.data.qvel[:3]).max() < 0.02 * 3.0
    assert env.data.qpos[0] - 0.25 == pytest.approx(0.4 * 0.005, rel=0.05)
    assert env.data.qpos[2] - 0.3 == pytest.approx(3.0 * 0.005, rel=0.05)


def test_contacts_are_frictionless(blind):
    env = blind("push_t")
    place(env, 0.25, 0.30, 0.0, 0.25, 0.36)
    touched = 0
    for _ in range(2):
        env.step(np.array([0.5, -0.5]))  # presses on the bar and slides along it
        touched += env.data.ncon
        assert all(contact.dim == 1 for contact in env.data.contact)
    assert touched > 0
    assert env.data.qpos[1] < 0.295  # it pushes along the normal,
    angle, speed = env.data.qpos[2], env.data.qvel[:2]
    along = speed @ [np.cos(angle), np.sin(angle)]
    assert abs(along) < 0.02 * np.linalg.norm(speed)  # and not along the edge


def test_t_geometry(blind):
    model = blind("push_t").model
    boxes = [(model.geom(n).pos[:2], model.geom(n).size[:2]) for n in ("bar", "stem")]
    low = np.min([p - s for p, s in boxes], axis=0)
    high = np.max([p + s for p, s in boxes], axis=0)
    assert np.allclose(high - low, 0.120, atol=1e-9)
    # The centre of gravity is the mean of the parts' centroids, 45 mm below the bar's outer edge.
    assert np.allclose(np.mean([p for p, _ in boxes], axis=0), 0, atol=1e-9)
    assert high[1] == pytest.approx(0.045, abs=1e-9)
    assert ORIGIN_OFFSET == 0.045
    assert model.body("block").mass[0] == pytest.approx(0.1)
    assert np.sqrt(model.body("block").inertia[2] / 0.1) == pytest.approx(0.0548, abs=1e-4)
    pose = TASKS["push_t"]().pose(np.array([0.2, 0.3, np.pi / 2, 0, 0]), np.zeros(5))
    assert np.allclose(pose[2:5], [0.2 - 0.045, 0.3, np.pi / 2])


# ---- TwoRoom ----


@pytest.mark.parametrize("action", [(1, 0), (0.3, -0.7), (-1, 1), (0.05, 0.02)])
def test_disc_moves_five_centimetres_per_unit(action, blind, drive):
    env = blind("two_room")
    place(env, 0.6, 0.9)
    steps = np.diff(drive(env, [action] * 4), axis=0)
    wanted = 0.05 * np.array(action)
    assert np.allclose(steps[1:], wanted, rtol=0.01, atol=1e-6)
    assert np.allclose(steps[0], wanted, rtol=0.02, atol=1e-6)  # from rest: the motor is finite


def gap_to_walls(p):
    """Distance from points ``[..., 2]`` to the dividing wall's two parts [m]."""
    gaps = []
    for low, high in ((0.0, DOOR_Y - DOOR_HALF), (DOOR_Y + DOOR_HALF, 2.24)):
        middle, half = np.array([WALL_X, (low + high) / 2]), np.array([WALL_HALF, (high - low) / 2])
        q = np.abs(p - middle) - half
        gaps.append(np.linalg.norm(np.maximum(q, 0), axis=-1) + np.minimum(q.max(-1), 0))
    return np.minimum(*gaps)


def test_walls_stop_the_disc_from_everywhere(blind, drive):
    env, rng = blind("two_room"), np.random.default_rng(0)
    poses = []
    for k in range(60):
        env.task.sample_initial_state(env.data, rng)
        env.data.qvel[:] = 0
        if k < 30:  # right beside the wall, toward it at full speed
            env.data.qpos[0] = WALL_X + rng.choice([-1, 1]) * rng.uniform(0.125, 0.2)
            action = [np.sign(WALL_X - env.data.qpos[0]), rng.uniform(-1, 1)]
        else:
            action = rng.choice([-1.0, 1.0], 2)
        poses.append(drive(env, [action] * 12))
    poses = np.array(poses)
    gaps = gap_to_walls(poses)
    faces = np.abs(poses[..., 1] - DOOR_Y) > DOOR_HALF
    assert RADIUS - 0.003 < gaps[faces].min() < RADIUS + 0.003  # touched, not entered
    assert gaps.min() > RADIUS - 0.03  # a frame's corner gives way a little
    crossed = np.diff(np.sign(poses[..., 0] - WALL_X), axis=1) != 0
    assert 0 < crossed.sum() < 30
    assert (np.abs(poses[:, 1:, 1][crossed] - DOOR_Y) < DOOR_HALF - RADIUS + 0.03).all()
    assert poses.min() > INNER[0] - 0.003
    assert poses.max() < INNER[1] + 0.003
    assert (np.abs(np.diff(poses, axis=1)) < 0.065).all()  # a corner may push back a little


def test_the_door_lets_the_disc_through_and_the_wall_does_not(blind, drive):
    env = blind("two_room")
    for y, passes in ((DOOR_Y, True), (DOOR_Y - 0.06, True), (1.0, False), (2.0, False)):
        place(env, 0.8, y)
        end = drive(env, [[1.0, 0.0]] * 14)[-1]
        assert (end[0] > WALL_X + WALL_HALF + RADIUS) == passes
        if not passes:
            assert end[0] == pytest.approx(WALL_X - WALL_HALF - RADIUS, abs=0.003)


# ---- Reacher ----


def test_reacher_is_the_control_suites(blind):
    suite = pytest.importorskip("dm_control.suite.reacher")
    xml, assets = suite.get_model_and_assets()
    theirs = mujoco.MjModel.from_xml_string(xml, assets)
    ours, rng = blind("reacher").model, np.random.default_rng(0)
    a, b = mujoco.MjData(ours), mujoco.MjData(theirs)
    for data, model in ((a, ours), (b, theirs)):
        data.qpos[:2], data.qvel[:2] = [0.3, 2.6], [1.0, 2.0]  # near the wrist's limit
        mujoco.mj_forward(model, data)
    mass = np.zeros((2, ours.nv, ours.nv))
    mujoco.mj_fullM(ours, a, mass[0])
    mujoco.mj_fullM(theirs, b, mass[1])
    assert np.abs(mass[0] - mass[1]).max() < 1e-9
    for action in rng.uniform(-1, 1, (50, 2)):
        a.ctrl[:], b.ctrl[:] = action, action
        mujoco.mj_step(ours, a)
        mujoco.mj_step(theirs, b)
        assert np.abs(a.qpos - b.qpos[:2]).max() < 1e-9
        assert np.abs(a.qvel - b.qvel[:2]).max() < 1e-9
    assert ours.opt.timestep == theirs.opt.timestep == 0.02
