import mujoco
import numpy as np
import pytest

from robot_wm.core.errors import InputError
from sim import make
from sim.arms.jaco import DOWN, HOME, SPEEDS, TORQUES, kinematics
from sim.goal_images import goal_from_pose
from sim.policies.registry import make_policy
from sim.tasks.conformance import check_task
from sim.tasks.jaco import HIGH, LOW, PUSHING, STEP

MIDDLE = np.array([0.0, -0.05, 0.2])
both = pytest.mark.parametrize("task", ["jaco_reach", "jaco_push"])


def put(env, *pose):
    env.task.set_pose(env.data, np.array(pose))
    mujoco.mj_forward(env.model, env.data)


@both
def test_the_task_keeps_what_every_command_relies_on(task):
    check_task(task)


# ---- the arm ----


def test_inverse_kinematics_is_exact_and_of_one_branch_all_over_the_box():
    arm, rng = kinematics(), np.random.default_rng(0)
    corners = np.stack(np.meshgrid(*np.stack([LOW, HIGH], 1), indexing="ij"), -1).reshape(-1, 3)
    for place in (*corners, *rng.uniform(LOW, HIGH, (12, 3))):
        joints = arm.solve(place)
        assert np.abs(arm.place(joints) - place).max() < 1e-9
        assert np.abs(joints - HOME).max() < 1.6  # a branch away is further: π less twice 0.3 rad
        turn = arm._data.site_xmat[arm._hand].reshape(3, 3)
        assert np.abs(turn - DOWN).max() < 1e-9


def test_one_step_of_it_is_of_second_order():
    """Halving the way leaves a quarter of the error."""
    arm, start, way = kinematics(), kinematics().solve(MIDDLE), np.array([0.02, 0.02, -0.02])
    left = []
    for share in (1.0, 0.5):
        joints = start + arm.step(start, MIDDLE + share * way)
        left.append(np.linalg.norm(arm.place(joints) - MIDDLE - share * way))
    assert left[0] < 0.003  # of 35 mm
    assert left[0] / left[1] == pytest.approx(4, rel=0.25)


@pytest.mark.parametrize(("axis", "across"), [(0, 0.002), (1, 0.004), (2, 0.008)])
@pytest.mark.parametrize("sign", [-1, 1])
def test_full_commands_move_the_hand_by_a_centimetre_each(axis, across, sign, blind, drive):
    """The first less, as the servos' torque must set it moving; across, the wrist lags a little."""
    env, action = blind("jaco_reach"), np.zeros(3)
    put(env, *MIDDLE)
    action[axis] = sign
    moved = (drive(env, [action] * 6) - MIDDLE) * sign
    steps = np.diff(moved[:, axis])
    assert 0.4 * STEP < steps[0] < 0.95 * STEP
    assert steps[1:].mean() == pytest.approx(STEP, rel=0.08)
    assert np.abs(np.delete(moved, axis, 1)).max() < across


@both
def test_without_commands_nothing_moves(task, blind, drive):
    """The arm carries its own weight: without that it sinks."""
    env, size = blind(task), blind(task).spec.control_dim
    env.reset(seed=1)
    poses = drive(env, np.zeros((20, size)))
    assert np.abs(poses - poses[0]).max() < 1e-4
    env.reset(seed=1)
    env.model.body_gravcomp[:] = 0
    poses = drive(env, np.zeros((20, size)))
    env._build({})
    assert np.abs(poses - poses[0]).max() > 5e-4


def test_the_hand_stays_in_its_box(blind, drive):
    env = blind("jaco_reach")
    for corner in (HIGH, LOW):
        put(env, *np.clip(MIDDLE, corner - 0.06, corner + 0.06))
        poses = drive(env, [np.sign(corner - MIDDLE)] * 15)
        # The servos brake from full speed within a third of a step.
        assert (poses > LOW - STEP / 2).all()
        assert (poses < HIGH + STEP / 2).all()
        assert np.abs(poses[-1] - corner).max() < 0.002


def test_commands_keep_the_servos_limits_and_their_proportions(blind):
    env, rng = blind("jaco_reach"), np.random.default_rng(0)
    joints = np.stack([kinematics().solve(place) for place in rng.uniform(LOW, HIGH, (20, 3))])
    actions = rng.choice([-1.0, 1.0], (20, 1, 3))
    slow = env.task.controls(joints, 0 * joints, actions, gain=0.2)[:, 0]
    fast = env.task.controls(joints, 0 * joints, actions, gain=2.0)[:, 0]
    assert (np.abs(fast) <= SPEEDS + 1e-12).all()
    assert (np.abs(fast) > SPEEDS - 1e-9).any()
    assert (np.abs(slow) < SPEEDS).all()
    ratio = fast / slow
    assert np.abs(ratio / ratio[:, :1] - 1).max() < 1e-6
    model = env.model
    assert np.allclose(model.actuator_forcerange, np.outer(TORQUES, [-1, 1]))
    assert np.allclose(model.actuator_ctrlrange, np.outer(SPEEDS, [-1, 1]))


def test_arm_is_dm_controls(blind):
    """Mass, armature, friction and servos as its ``JacoArm`` and ``JacoHand`` have them."""
    kinova = pytest.importorskip("dm_control.entities.manipulators.kinova")
    theirs = kinova.JacoArm()
    theirs.attach(kinova.JacoHand())
    mjcf = pytest.importorskip("dm_control.mjcf")
    reference = mjcf.Physics.from_mjcf_model(theirs.mjcf_model).model
    ours = blind("jaco_reach").model
    assert ours.body_mass.sum() == pytest.approx(reference.body_mass.sum(), abs=1e-9)
    assert np.allclose(ours.dof_armature, reference.dof_armature[:6])
    assert np.allclose(ours.dof_frictionloss, reference.dof_frictionloss[:6])
    assert np.allclose(ours.jnt_range, reference.jnt_range[:6])
    for name in ("gainprm", "biasprm", "ctrlrange", "forcerange"):
        values = [getattr(model, f"actuator_{name}")[:6] for model in (ours, reference)]
        assert np.allclose(*values), name


# ---- goals ----


def hits(task, family, poses, goal, blind):
    return list(blind(task).success(family, np.array([poses[0], *poses]), np.array(goal)))


def test_reach_predicates(blind):
    goal = [0.1, 0.0, 0.2]
    at = [[0.1, 0.0, 0.2 + gap] for gap in (0.031, 0.029, 0.019, 0.014, 0.014, 0.016)]
    assert hits("jaco_reach", "official", at, goal, blind) == [False, *[True] * 5]
    assert hits("jaco_reach", "moderate", at, goal, blind) == [False, False, *[True] * 4]
    assert hits("jaco_reach", "strict", at, goal, blind) == [*[False] * 4, True, False]


def test_push_predicates(blind):
    goal, turned = [0.1, 0.0, 0.0, 0.0, 6.2], 6.2 - 2 * np.pi
    at = [
        [0.1, 0.0, 0.031, 0.0, 6.2], [0.1, 0.049, 0.029, 0.0, 3.0], [0.1, 0.051, 0.019, 0.0, 6.2],
        [0.1, 0.049, 0.019, 0.0, 3.0], [-0.2, 0.0, 0.019, 0.0, turned + 0.25],
        [-0.2, 0.0, 0.0, 0.019, turned - 0.25], [-0.2, 0.0, 0.0, 0.0, turned + 0.27],
    ]  # fmt: skip
    found = hits("jaco_push", "official", at, goal, blind)
    assert found == [False, True, False, True, False, False, False]
    assert hits("jaco_push", "moderate", at, goal, blind) == [*[False] * 3, True, *[False] * 3]
    steady = [[0.1, 0.2, 0.019, 0.0, turned + 0.25]] * 4
    found = hits("jaco_push", "strict", [*at[4:], *steady], goal, blind)
    assert found == [*[False] * 5, True, True]


def test_the_expert_reaches_every_goal_and_chance_few(lead):
    """The box's diagonal is 40 steps of full speed along its longest side."""
    assert all(lead("jaco_reach", "expert", 50, seed) for seed in range(20))
    assert sum(lead("jaco_reach", "random", 50, seed) for seed in range(20)) < 4


def test_the_expert_brings_most_bricks_home_and_chance_none(lead):
    """Goals are anywhere, any angle: most need several pushes from several sides."""
    expert = [lead("jaco_push", "expert", 200, seed) for seed in range(20)]
    chance = [lead("jaco_push", "random", 200, seed) for seed in range(5)]
    assert np.mean(expert) >= 0.6
    assert not any(chance)


@pytest.fixture
def lead(blind):
    """Whether a behaviour that is given the goal of a seed satisfies the strict predicate."""

    def run(task, policy, steps, seed):
        env = blind(task)
        goal = env.reset(seed=100 + seed)[1]["pose"]
        _, info = env.reset(seed=seed)
        acting = make_policy(task, policy)
        acting.reset(np.random.default_rng(seed), goal=goal, factors={})
        poses = [info["pose"]]
        for step in range(1, steps + 1):
            *_, info = env.step(acting.act(info["pose"]))
            poses.append(info["pose"])
            if step % 10 == 0 and env.success("strict", np.array(poses), goal).any():
                return True
        return False

    return run


@both
def test_poses_out_of_reach_are_refused(task, blind):
    env = blind(task)
    goal_from_pose(env, {"hand_x": HIGH[0]})
    with pytest.raises(InputError, match="leave the scene"):
        goal_from_pose(env, {"hand_x": HIGH[0] + 0.02})


# ---- the brick ----


def pushing(env):
    """The hand beside a brick that lies along x, on its way through it."""
    put(env, 0.0, -0.12, 0.0, -0.03, 0.0)
    return [env.step(np.array([0.1, 1.0]))[-1] for _ in range(12)]


def test_a_push_moves_the_brick_as_far_as_the_hand(blind):
    infos = pushing(blind("jaco_push"))
    hand, brick = (np.array([info["pose"][i] for info in infos]) for i in (1, 3))
    assert brick[1] == pytest.approx(-0.03, abs=1e-3)  # not touched yet
    moved = np.diff(brick)[-4:] / np.diff(hand)[-4:]
    assert moved == pytest.approx(np.ones(4), abs=0.35)
    assert brick[-1] > 0.0


def test_a_state_in_contact_is_restored_exactly(blind):
    env = blind("jaco_push")
    infos = pushing(env)
    env.reset(options={"state": infos[7]["state"]})
    for info in infos[8:]:
        assert np.array_equal(env.step(np.array([0.1, 1.0]))[-1]["state"], info["state"])


def test_the_hand_that_pushes_stays_at_its_height(blind):
    env = blind("jaco_push")
    heights = [kinematics().place(info["state"][1:][7:13])[2] for info in pushing(env)]
    assert np.abs(np.array(heights) - PUSHING).max() < 0.006


def test_bricks_of_every_size_lie_on_the_table(blind):
    env = blind("jaco_push")
    *_, info = env.reset(seed=0)
    for size in (0.75, 1.3):
        env.reset(options={"state": info["state"], "factors": {"brick_size": size}})
        assert np.abs(env.data.contact.dist).max() < 1e-3
        assert env.model.geom("brick").size[:2] == pytest.approx(size * np.array([0.045, 0.025]))
    env.reset(options={})


def test_the_pale_end_tells_the_angle():
    env = make("jaco_push", 64)
    seen = []
    for angle in (0.5, 0.5 + np.pi):
        env.reset(seed=0)
        put(env, -0.15, 0.1, 0.05, -0.08, angle)
        seen.append(env.render().astype(int))
    env.close()
    differs = np.abs(seen[0] - seen[1]).max(-1) > 60
    assert 8 <= differs.sum() <= 120  # pixels: two ends of about 3 x 4, nothing else
