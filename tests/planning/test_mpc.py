"""The agent on a toy world that can be read off its pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from toy_models import (
    BLOCK,
    SIZE,
    SPEC,
    SPEED,
    ProposingModel,
    ToyModel,
    agent_of,
    drive,
    observe,
)  # fmt: skip

from planning.agent.baselines import CopyLastModel, RandomAgent, StayAgent
from planning.agent.costs import LastCost, Objective, SumCost
from planning.agent.mpc import MPCAgent
from planning.optimizers import CEM, ICEM, MPPI, SAMPLING, PolicyOnly, make
from robot_wm.core.errors import ConfigError, InputError
from robot_wm.core.protocols import Proposer, WorldModel


@pytest.mark.parametrize("name", sorted(SAMPLING))
@pytest.mark.parametrize("execute", [1, 4])
def test_reaches_the_goal_within_bounds(name, execute):
    optimizer = make(name, candidates=128, iterations=5)
    objective = Objective(SumCost())  # the last cost alone would always arrive four blocks later
    agent = agent_of(ToyModel(), optimizer=optimizer, objective=objective, execute=execute)
    positions, actions = drive(agent, 80)
    assert actions.dtype == np.float32
    assert np.abs(actions).max() <= 1
    # 0.8 away at 0.1 per block: 8 blocks suffice. One grey level is 0.008; a plan ends within
    # a few of its own sampling widths (0.05 per control step, 20 steps: 0.005).
    assert np.abs(positions[-1] - (0.3, -0.2)).max() < 0.05


class RoundingModel(ToyModel):
    """The toy model on another runtime: its costs differ in the sixth digit."""

    def step_costs(self, state, goal, actions):
        costs = super().step_costs(state, goal, actions)
        chance = np.random.default_rng(0).uniform(-1, 1, costs.shape)
        return (costs * (1 + 1e-6 * chance)).astype(np.float32)


def test_on_a_grid_two_runtimes_act_alike():
    optimizer = CEM(candidates=64, iterations=3, elites=8, weighting="linear")
    acted = {}
    for levels in (0, 256):
        one, other = (
            drive(agent_of(model(), optimizer=optimizer, levels=levels), 60)[1]
            for model in (ToyModel, RoundingModel)
        )
        acted[levels] = one
        assert (one == other).all() == (levels == 256)
    steps = (acted[256] + 1) * 128
    np.testing.assert_allclose(steps, steps.round(), atol=1e-4)
    assert np.abs(acted[256]).max() <= 1
    with pytest.raises(ConfigError, match="levels"):
        agent_of(ToyModel(), levels=-1)


def test_the_context_grows_and_holds_the_executed_actions():
    model = ToyModel()
    agent = agent_of(model, execute=2, record=True)
    positions, actions = drive(agent, 40)
    goal, *plans = model.histories
    assert len(goal.frames) == 1
    assert [len(history.frames) for history in plans] == [1, 3, 3, 3]
    for plan, history in enumerate(plans):
        block = 2 * plan
        first = block - len(history.frames) + 1
        for row, action in enumerate(history.actions):
            rows = slice((first + row) * BLOCK, (first + row + 1) * BLOCK)
            np.testing.assert_array_equal(action, actions[rows].ravel())
        for row, frame in enumerate(history.frames):
            at = positions[(first + row) * BLOCK]
            np.testing.assert_array_equal(frame, observe(at)["image"])
            np.testing.assert_array_equal(history.proprio[row], at.astype(np.float32))

    model.histories.clear()
    drive(agent_of(model, execute=1), 20)
    assert [len(history.frames) for history in model.histories[1:]] == [1, 2, 3, 3]


def test_a_context_of_one_frame_works():
    model = ToyModel(replace(SPEC, context=1))
    drive(agent_of(model), 15)
    assert [history.actions.shape for history in model.histories] == [(0, 10)] * 4


def test_buffers_reused_by_the_caller_do_no_harm():
    model = ToyModel()
    agent = agent_of(model)
    obs = observe((0.1, 0.2))
    agent.reset(obs, 0)
    for step in range(6):
        agent.act(obs)[:] = 7
        obs["image"][:] = step
    assert model.histories[-1].frames[0, 0, 0, 0] == np.round(1.1 * 127.5)
    assert np.abs(model.histories[-1].actions).max() <= 1


def test_plans_are_played_as_made_and_only_boundary_frames_are_seen():
    agent = agent_of(ToyModel(), execute=2, record=True)
    agent.reset(observe((0.3, -0.2)), 0)
    played = []
    for step in range(20):
        # Between block boundaries no frame is needed at all.
        played.append(agent.act(observe((0, 0)) if step % BLOCK == 0 else {}))
    assert [record.step for record in agent.records] == [0, 10]
    plans = [record.actions[:2].reshape(10, 2) for record in agent.records]
    np.testing.assert_array_equal(np.array(played), np.concatenate(plans))


def test_records_and_times():
    model = ToyModel()
    agent = agent_of(model, record=True)
    drive(agent, 15)
    assert len(agent.encode_s) == len(agent.plan_s) == 3
    assert min(agent.plan_s) > 0
    record = agent.records[-1]
    assert record.candidates.shape == (64, 4, 10)
    costs = model.step_costs(record.state, np.array(agent._tracker.present[0]), record.candidates)
    np.testing.assert_array_equal(costs[:, -1], record.candidate_costs)
    costs = model.step_costs(
        record.state, np.array(agent._tracker.present[0]), record.actions[None]
    )
    np.testing.assert_array_equal(costs[0], record.step_costs)
    drive(agent, 5)
    assert len(agent.records) == len(agent.plan_s) == 1


@pytest.mark.parametrize("optimizer", [CEM(), ICEM(), MPPI()], ids=["cem", "icem", "mppi"])
def test_chunks_do_not_change_the_plan(optimizer):
    results = []
    for size in (0, 2**20, 9 * 2**20):  # unknown: one batch; 7 MiB hold 7 candidates; or one
        model = ToyModel(replace(SPEC, bytes_per_candidate=size))
        agent = agent_of(model, optimizer=optimizer, memory_mb=7)
        results.append(drive(agent, 10)[1])
        assert max(model.batches) == {0: 300, 2**20: 7, 9 * 2**20: 1}[size]
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_a_deadline_ends_the_search_with_the_best_plan_so_far():
    counts, plans = [], []
    for deadline in (0.0, 1e-9, 1e3):
        model = ToyModel()
        plans.append(drive(agent_of(model, deadline=deadline), BLOCK)[1])
        counts.append(sum(model.batches))
    whole, early, late = counts
    assert early < whole / 2
    assert late == whole
    np.testing.assert_array_equal(plans[0], plans[2])
    assert np.abs(plans[1]).max() <= 1


def test_a_seed_fixes_the_episode():
    agent = agent_of(ToyModel())
    first, again, other = (drive(agent, 15, seed)[1] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


def test_warm_start_reduces_the_cost_of_a_moving_target():
    class Follow(ToyModel):
        """Wants a slowly changing action; the frame's blue tells the block number."""

        def encode(self, history):
            return int(history.frames[-1, 0, 0, 2])

        def step_costs(self, state, goal, actions):
            phase = 0.3 * (state + np.arange(actions.shape[1]))
            wanted = np.sin(phase[:, None] + np.arange(10)).astype(np.float32)
            return ((actions - wanted) ** 2).sum(-1)

    def mean_cost(warm):
        agent = MPCAgent(
            Follow(),
            CEM(candidates=64, iterations=2, elites=8),
            Objective(SumCost()),
            horizon=4,
            warm_start=warm,
            record=True,
        )
        agent.reset(observe((0, 0)), 0)
        for step in range(12 * BLOCK):
            obs = observe((0, 0))
            obs["image"][..., 2] = step // BLOCK
            agent.act(obs)
        return np.mean([record.step_costs.sum() for record in agent.records[3:]])

    assert mean_cost(True) < 0.7 * mean_cost(False)


def test_warm_start_is_the_shifted_plan_padded_with_zeros():
    agent = agent_of(ToyModel(), execute=3, record=True)
    agent.reset(observe((0.3, -0.2)), 0)
    for _ in range(15):
        agent.act(observe((0, 0)))
    expected = np.concatenate([agent.records[0].actions[3:], np.zeros((3, 10))])
    np.testing.assert_array_equal(agent._warm(15), expected)


def test_proposals_make_a_tiny_search_good_and_guarded():
    tiny = CEM(candidates=8, iterations=1, elites=2, min_std=0.01, init_std=0.05)
    model = ProposingModel()
    assert isinstance(model, Proposer)
    guided = agent_of(model, optimizer=tiny, proposals=4, record=True)
    blind = agent_of(ToyModel(), optimizer=tiny)
    arrived, _ = drive(guided, 60)
    lost, _ = drive(blind, 60)
    assert np.linalg.norm(arrived[-1] - (0.3, -0.2)) < 0.05
    assert np.linalg.norm(lost[-1] - (0.3, -0.2)) > 0.2
    for record in guided.records:
        assert record.step_costs[-1] <= record.candidate_costs.min() + 1e-9


def test_mode_1_arrives_on_proposals_alone():
    agent = agent_of(ProposingModel(), optimizer=PolicyOnly(), proposals=1)
    positions, _ = drive(agent, 60)
    assert np.linalg.norm(positions[-1] - (0.3, -0.2)) < 0.05
    with pytest.raises(ConfigError, match="1 to 1"):
        agent_of(ProposingModel(), optimizer=PolicyOnly())


def test_proposals_need_a_proposer():
    with pytest.raises(ConfigError, match="no learned actor"):
        agent_of(ToyModel(), proposals=4)


@pytest.mark.parametrize(
    "options",
    [
        {"horizon": 0},
        {"execute": 0},
        {"execute": 5},
        {"memory_mb": -1},
        {"proposals": 64},
        {"deadline": -0.1},
    ],
)
def test_bad_configuration_is_refused(options):
    with pytest.raises(ConfigError):
        agent_of(ProposingModel(), **options)


def test_open_bounds_are_refused():
    with pytest.raises(ConfigError, match="bounds"):
        agent_of(ToyModel(replace(SPEC, action_high=(np.inf,) * 10)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_costs_that_are_not_finite_are_refused(bad):
    class Broken(ToyModel):
        def step_costs(self, state, goal, actions):
            costs = super().step_costs(state, goal, actions)
            costs[-1, 0] = bad  # even where the objective does not look
            return costs

    with pytest.raises(InputError, match="1 of them NaN or infinite"):
        drive(agent_of(Broken()), 1)


def test_costs_of_another_shape_are_refused():
    class Reduced(ToyModel):
        def step_costs(self, state, goal, actions):
            return super().step_costs(state, goal, actions)[:, -1]

    with pytest.raises(InputError, match="step costs of shape"):
        drive(agent_of(Reduced()), 1)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((SIZE, SIZE, 3), np.float32),
        np.zeros((SIZE + 1, SIZE + 1, 3), np.uint8),
        np.zeros((SIZE, SIZE), np.uint8),
        np.full((SIZE, SIZE, 3), np.nan),
    ],
    ids=["dtype", "size", "grey", "nan"],
)
def test_a_wrong_image_is_refused_as_goal_and_as_frame(image):
    agent = agent_of(ToyModel())
    with pytest.raises(InputError):
        agent.reset({"image": image}, 0)
    with pytest.raises(InputError, match="before reset"):
        agent.act(observe((0, 0)))
    agent.reset(observe((0, 0)), 0)
    with pytest.raises(InputError):
        agent.act({"image": image})


def test_proposals_out_of_bounds_are_refused():
    class Wild(ProposingModel):
        def propose(self, state, goal, n, rng):
            return super().propose(state, goal, n, rng) + 3

    with pytest.raises(InputError, match="out of bounds"):
        drive(agent_of(Wild(), proposals=2), 1)


def test_copy_last_stays_where_it_is():
    model = CopyLastModel(ToyModel())
    assert isinstance(model, WorldModel)
    _, actions = drive(agent_of(model), 20)
    np.testing.assert_array_equal(actions, 0)


def test_reference_agents():
    low, high = (-1.0, 0.5), (1.0, 2.0)
    stay, random = StayAgent(low, high), RandomAgent(low, high)
    np.testing.assert_array_equal(drive(stay, 3)[1], np.float32([[0, 0.5]] * 3))
    first, again, other = (drive(random, 400, seed)[1] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert first.dtype == np.float32
    # 400 uniform draws: the mean's sampling error is 0.03 and 0.02; five sigma allowed.
    np.testing.assert_allclose(first.mean(axis=0), [0, 1.25], atol=0.15)
    assert (first >= low).all()
    assert (first <= high).all()


def test_the_objective_defaults_to_where_the_plan_ends():
    assert agent_of(ToyModel()).objective == Objective(LastCost())


def stacked(*positions):
    return np.stack([observe(p)["image"] for p in positions])


def test_of_several_goals_the_nearest_is_reached():
    near, far = (-0.2, 0.3), (0.9, -0.9)
    agent = agent_of(ProposingModel(), proposals=8)
    agent.reset({"image": stacked(far, near)}, 0)
    place = np.array([-0.5, 0.4])
    for _ in range(40):
        place = place + SPEED * agent.act(observe(place))
    assert np.abs(place - near).max() < 0.05
    one, several = (agent_of(ToyModel()) for _ in range(2))
    one.reset(observe(near), 0)
    several.reset({"image": stacked(near)}, 0)
    np.testing.assert_array_equal(one.act(observe(place)), several.act(observe(place)))
    with pytest.raises(InputError, match="no goal image"):
        agent.reset({"image": stacked(near)[:0]}, 0)


def test_pictures_on_the_way_are_passed_in_their_order():
    corner, goal = np.array([0.3, 0.5]), np.array([0.4, -0.4])
    for via, passes in (((), False), ((corner,), True)):
        agent = agent_of(ToyModel())
        told = {"via": stacked(*via)} if via else {}
        agent.reset({**observe(goal), **told}, 0)
        places = [np.array([-0.5, 0.4])]
        for _ in range(150):
            places.append(places[-1] + SPEED * agent.act(observe(places[-1])))
        assert (np.linalg.norm(np.array(places) - corner, axis=1).min() < 0.45) == passes
        assert np.abs(places[-1] - goal).max() < 0.05


@pytest.mark.parametrize(("tolerance", "patience"), [(0.0, 8), (1.0, 8), (0.3, 0)])
def test_goals_on_the_way_can_be_passed(tolerance, patience):
    with pytest.raises(ConfigError, match="patience"):
        agent_of(ToyModel(), tolerance=tolerance, patience=patience)


def test_a_picture_that_is_never_reached_is_given_up():
    outside, goal = np.array([-1.0, 1.0]), np.array([0.0, 0.4])
    agent = agent_of(ToyModel(), tolerance=0.01, patience=3)
    agent.reset({**observe(goal), "via": stacked(outside)}, 0)
    place = np.array([0.1, 0.4])
    for step in range(60):
        wall = place + SPEED * agent.act(observe(place))
        place = np.clip(wall, -0.2, 0.6)  # it stands in the way to the first picture
        if step == 3 * BLOCK - 1:
            assert place[0] < 0
    assert np.abs(place - goal).max() < 0.05


def test_a_restart_forgets_the_history_but_not_the_goal():
    agent = agent_of(ToyModel())
    _, first = drive(agent, 12)
    encoded = len(agent.model.histories)
    agent.restart(0)
    assert len(agent.model.histories) == encoded
    again = [agent.act(observe(p)) for p in drive(agent_of(ToyModel()), 12)[0][:12]]
    np.testing.assert_array_equal(first, again)
    with pytest.raises(InputError, match="before reset"):
        agent_of(ToyModel()).restart(0)
