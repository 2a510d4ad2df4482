"""Optimisers against quadratics whose optimum is known, and their laws."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from random_shooting import RandomShooting

from planning.agent.costs import LastCost, Objective, SumCost
from planning.optimizers import (
    CEM,
    ICEM,
    MPPI,
    OPTIMIZERS,
    SAMPLING,
    BestOfN,
    Optimizer,
    PolicyOnly,
    make,
)  # fmt: skip
from planning.optimizers.icem import colored_noise
from robot_wm.core.errors import ConfigError, InputError

H, A = 3, 4
LOW = np.array([-1, -1, 0, -2], np.float32)
HIGH = np.array([1, 0.5, 2, 2], np.float32)
ZERO = np.zeros((H, A), np.float32)
NAMES = [*sorted(SAMPLING), "shooting"]


@pytest.fixture(autouse=True)
def theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planner of somebody else keeps the same laws."""
    monkeypatch.setitem(OPTIMIZERS, "shooting", RandomShooting)


def those_of(name: str, **options: Any) -> dict[str, Any]:
    """Those options that this optimiser has."""
    known = {field.name for field in fields(OPTIMIZERS[name])}
    return {key: value for key, value in options.items() if key in known}


def target(kind: str) -> np.ndarray:
    """Optimum [H, A]: inside the bounds, or 1.5 half-ranges away from their centre."""
    rng = np.random.default_rng(7)
    half, center = (HIGH - LOW) / 2, (HIGH + LOW) / 2
    if kind == "inside":
        return (center + half * rng.uniform(-0.7, 0.7, (H, A))).astype(np.float32)
    return (center + half * 1.5 * rng.choice([-1.0, 1.0], (H, A))).astype(np.float32)


def quadratic(goal):
    return lambda actions: ((actions - goal) ** 2).sum((1, 2))


def solve(optimizer: Optimizer, goal: np.ndarray, seed: int = 0, proposals=None):
    noise = optimizer.draw_noise(np.random.default_rng(seed), H, A)
    return optimizer.optimize(quadratic(goal), ZERO, None, LOW, HIGH, noise, proposals)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("kind", "iterations", "tolerance"), [("inside", 15, 0.06), ("outside", 60, 0.1)]
)
def test_quadratic_optimum_is_found(name, kind, iterations, tolerance):
    goal = target(kind)
    options = those_of(name, decay=1.0)
    plan = solve(make(name, iterations=iterations, **options), goal)
    # The spread never falls below 0.05 half-ranges: inside, the average of several such samples is
    # about that good. Outside, the best point is the bound, approached from one side only while
    # the spread is already at its floor: more rounds, and twice the floor is granted.
    half = (HIGH - LOW) / 2
    assert np.abs((plan.actions - np.clip(goal, LOW, HIGH)) / half).max() < tolerance
    assert plan.actions.dtype == np.float32


@pytest.mark.parametrize("name", NAMES)
def test_more_search_is_better_than_one_round(name):
    goal = target("inside")
    cost = quadratic(goal)
    few = [cost(solve(make(name, iterations=1), goal, s).actions[None])[0] for s in range(3)]
    many = [cost(solve(make(name, iterations=15), goal, s).actions[None])[0] for s in range(3)]
    assert max(many) < 0.1 * min(few)


@pytest.mark.parametrize("name", NAMES)
def test_candidates_and_plan_respect_bounds_and_the_mean_leads(name):
    seen = []

    def cost(actions):
        seen.append(actions)
        return quadratic(target("outside"))(actions)

    optimizer = make(name, candidates=60, iterations=3, init_std=3.0)
    noise = optimizer.draw_noise(np.random.default_rng(0), H, A)
    plan = optimizer.optimize(cost, ZERO + 9, None, LOW, HIGH, noise)
    for actions in [*seen, plan.actions[None], plan.best_actions[None]]:
        assert (actions >= LOW).all()
        assert (actions <= HIGH).all()
    np.testing.assert_array_equal(seen[0][0], np.broadcast_to(HIGH, (H, A)))
    np.testing.assert_array_equal(plan.candidates, seen[optimizer.iterations - 1])


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_fixes_the_plan(name):
    optimizer, goal = make(name, iterations=3), target("inside")
    first, again, other = (solve(optimizer, goal, seed).actions for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-4


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("final", ["guarded", "mean", "best"])
def test_torch_gives_the_same_plan(name, final):
    optimizer, goal = make(name, iterations=6, final=final), target("inside")
    noise = optimizer.draw_noise(np.random.default_rng(3), H, A)
    proposals = np.clip(np.random.default_rng(4).normal(size=(5, H, A)), LOW, HIGH)
    arrays = [ZERO, None, LOW, HIGH, noise, proposals.astype(np.float32)]
    tensors = [None if a is None else torch.from_numpy(a) for a in arrays]
    plan = optimizer.optimize(quadratic(goal), *arrays)
    twin = optimizer.optimize(quadratic(torch.from_numpy(goal)), *tensors)
    # float32 sums in another order.
    for name in ("actions", "std", "best_actions", "best_cost", "candidates", "candidate_costs"):
        np.testing.assert_allclose(getattr(twin, name).numpy(), getattr(plan, name), atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_optimiser_can_be_traced(name):
    options = those_of(name, elites=4, weighting="linear")
    optimizer = make(name, candidates=16, iterations=2, **options)

    class Planner(torch.nn.Module):
        def forward(self, mean, low, high, noise, goal):
            return optimizer.optimize(quadratic(goal), mean, None, low, high, noise).actions

    def arguments(seed):
        noise = optimizer.draw_noise(np.random.default_rng(seed), H, A)
        return tuple(torch.from_numpy(a) for a in (ZERO, LOW, HIGH, noise, target("inside")))

    traced = torch.export.export(Planner(), arguments(0)).module()
    # Other numbers than the traced ones: no branch was frozen into the graph.
    torch.testing.assert_close(traced(*arguments(5)), Planner()(*arguments(5)))


@pytest.mark.parametrize("name", NAMES)
def test_guarded_is_never_worse_than_the_best_proposal(name):
    optimizer = make(name, candidates=12, iterations=1, **those_of(name, elites=4))
    goal = target("inside")
    cost = quadratic(goal)
    unguarded = CEM(candidates=12, iterations=1, elites=4, final="mean")
    worse = 0
    # One excellent proposal among poor ones: averaging with others can only harm it.
    scale = np.array([0.01, 0.5, 0.5, 0.5, 0.5, 0.5])[:, None, None]
    for seed in range(10):
        rng = np.random.default_rng(100 + seed)
        near = goal + scale * rng.normal(size=(6, H, A))
        proposals = np.clip(near, LOW, HIGH).astype(np.float32)
        plan = solve(optimizer, goal, seed, proposals)
        best = cost(proposals).min()
        assert cost(plan.actions[None])[0] <= best
        assert plan.best_cost <= best
        worse += cost(solve(unguarded, goal, seed, proposals).actions[None])[0] > best
    assert worse >= 8  # the law is not free: the plain mean breaks it


def test_proposals_of_another_length_name_the_horizon():
    """A model that proposes fewer blocks than are planned, as in ``planner.horizon=3``."""
    plans = np.zeros((4, H - 1, A), np.float32)
    with pytest.raises(InputError, match=rf"planner\.horizon={H - 1}") as wrong:
        solve(CEM(candidates=16, elites=4), target("inside"), proposals=plans)
    assert "candidates" not in wrong.value.next_step
    with pytest.raises(InputError, match="change `candidates`"):
        solve(CEM(candidates=2, elites=1), target("inside"), proposals=np.zeros((4, H, A)))


def test_mode_1_follows_the_first_proposal_and_asks_nothing():
    def cost(actions):
        raise AssertionError("the world model was asked")

    plans = np.stack([np.full((H, A), 5.0), np.zeros((H, A))]).astype(np.float32)
    noise = PolicyOnly().draw_noise(np.random.default_rng(0), H, A)
    plan = PolicyOnly().optimize(cost, ZERO, None, LOW, HIGH, noise, plans)
    np.testing.assert_array_equal(plan.actions, np.broadcast_to(HIGH, (H, A)))
    assert plan.candidates.shape == (1, H, A)
    assert plan.candidate_costs.tolist() == [0]
    with pytest.raises(InputError, match="no proposals"):
        PolicyOnly().optimize(cost, ZERO, None, LOW, HIGH, noise)


def test_choice_takes_the_cheapest_of_proposals_and_the_last_plan_in_one_rollout():
    asked, choice = [], BestOfN(candidates=4)

    def towards(goal):
        def cost(actions):
            asked.append(len(actions))
            return np.abs(actions - goal).sum((1, 2))

        return cost

    plans = np.stack([np.full((H, A), x) for x in (5.0, -0.5, 0.25)]).astype(np.float32)
    noise = choice.draw_noise(np.random.default_rng(0), H, A)
    for goal, wanted in ((-0.4, plans[1]), (0.1, ZERO), (0.2, plans[2])):
        plan = choice.optimize(towards(goal), ZERO, None, LOW, HIGH, noise, plans)
        np.testing.assert_array_equal(plan.actions, np.clip(wanted, LOW, HIGH))
        assert plan.best_cost == plan.candidate_costs.min()
    assert asked == [4, 4, 4]
    np.testing.assert_array_equal(plan.candidates[1], np.broadcast_to(HIGH, (H, A)))
    with pytest.raises(InputError, match="no proposals"):
        choice.optimize(towards(0), ZERO, None, LOW, HIGH, noise)
    for wrong in ({"iterations": 2}, {"final": "mean"}, {"candidates": 1}):
        with pytest.raises(ConfigError):
            BestOfN(**wrong)


def test_enough_ends_the_search_between_two_rounds():
    goal, optimizer = target("inside"), CEM(candidates=30, elites=6, iterations=5)
    noise = optimizer.draw_noise(np.random.default_rng(0), H, A)
    asked = []

    def should_stop():
        asked.append(True)
        return len(asked) == 2

    cut = optimizer.optimize(quadratic(goal), ZERO, None, LOW, HIGH, noise, should_stop=should_stop)
    assert len(asked) == 2
    short = CEM(candidates=30, elites=6, iterations=2)
    same = short.optimize(quadratic(goal), ZERO, None, LOW, HIGH, noise[:2])
    np.testing.assert_array_equal(cut.actions, same.actions)


def test_proposals_are_costed_once_and_the_samples_surround_the_cheapest():
    rounds = []

    def cost(actions):
        rounds.append(actions)
        return quadratic(target("inside"))(actions)

    optimizer = CEM(candidates=20, elites=5, iterations=2, final="mean")
    noise = optimizer.draw_noise(np.random.default_rng(0), H, A)
    near = np.clip(target("inside") + 0.01, LOW, HIGH)
    proposals = np.stack([np.full_like(near, 0.25), near, np.zeros_like(near)])
    plan = optimizer.optimize(cost, ZERO, None, LOW, HIGH, noise, proposals)
    known, sampled, second = rounds
    np.testing.assert_array_equal(known, [ZERO, *proposals])
    half = (HIGH - LOW) / 2
    np.testing.assert_array_equal(sampled, np.clip(near + half * noise[0, 1:17], LOW, HIGH))
    assert len(second) == 20
    assert not (second == 0.25).all(axis=(1, 2)).any()
    np.testing.assert_array_equal(plan.candidates, second)


def test_cem_refit_is_the_elites_mean_and_spread():
    costs = np.array([3, 0, 2, 1], np.float32)
    candidates = np.arange(4, dtype=np.float32).reshape(4, 1, 1)
    cem = CEM(candidates=4, elites=2, momentum=0.25)
    mean, std = cem.refit(np, candidates, costs, np.full((1, 1), 8.0), np.full((1, 1), 4.0))
    # Elites are 1 and 3: mean 2, std 1; a quarter of the old values survives.
    assert mean == pytest.approx(0.25 * 8 + 0.75 * 2)
    assert std == pytest.approx(0.25 * 4 + 0.75 * 1)


def test_linear_weights_fall_to_nothing_at_the_last_elite():
    costs = np.array([3, 0, 2, 1, 9], np.float32)
    candidates = np.arange(5, dtype=np.float32).reshape(5, 1, 1)
    cem = CEM(candidates=5, elites=3, weighting="linear")
    mean, std = cem.refit(np, candidates, costs, np.zeros((1, 1)), np.zeros((1, 1)))
    # Elites 1, 3 and 2 cost 3, 2 and 1 less than the next one: weights 3/6, 2/6 and 1/6.
    assert mean == pytest.approx((3 * 1 + 2 * 3 + 1 * 2) / 6, rel=1e-4)
    spread = (3 * (1 - 11 / 6) ** 2 + 2 * (3 - 11 / 6) ** 2 + (2 - 11 / 6) ** 2) / 6
    assert std**2 == pytest.approx(spread, rel=1e-4)
    equal, _ = cem.refit(np, candidates, np.ones(5, np.float32), mean, std)
    assert equal == pytest.approx(1.0)


def test_with_linear_weights_a_swap_at_the_edge_changes_almost_nothing():
    rng = np.random.default_rng(0)
    candidates, costs = rng.normal(size=(20, H, A)), np.sort(rng.random(20))
    costs[4] = costs[5] - 1e-7
    swapped = costs.copy()
    swapped[[4, 5]] = costs[[5, 4]]
    change = {}
    for weighting in ("uniform", "linear"):
        cem = CEM(candidates=20, elites=5, weighting=weighting)
        means = [cem.refit(np, candidates, c, ZERO, ZERO)[0] for c in (costs, swapped)]
        change[weighting] = np.abs(means[0] - means[1]).max()
    assert change["linear"] < 1e-5 < 0.05 < change["uniform"]


def test_mppi_refit_is_the_softmin_average_and_survives_equal_costs():
    costs, candidates = np.array([0.0, 2.0]), np.array([[[1.0]], [[5.0]]])
    mppi = MPPI(candidates=2, temperature=0.5)
    mean, std = mppi.refit(np, candidates, costs, candidates[0], candidates[0])
    # Spread of the costs is 1, so the weights are 1 and exp(-4), normalised.
    share = np.exp(-4) / (1 + np.exp(-4))
    assert mean == pytest.approx(1 + 4 * share)
    assert std == pytest.approx(4 * np.sqrt(share * (1 - share)))
    mean, _ = mppi.refit(np, candidates, np.zeros(2), candidates[0], candidates[0])
    assert mean == pytest.approx(3.0)


def test_icem_shrinks_its_rounds_and_keeps_elites():
    rounds = []

    def cost(actions):
        rounds.append(actions)
        return quadratic(target("inside"))(actions)

    optimizer = ICEM(candidates=40, elites=10, iterations=4, decay=2.0, keep_elites=0.3)
    noise = optimizer.draw_noise(np.random.default_rng(0), H, A)
    optimizer.optimize(cost, ZERO, None, LOW, HIGH, noise)
    assert [len(actions) for actions in rounds] == [40, 20, 20, 20, 2]
    order = np.argsort(quadratic(target("inside"))(rounds[0]))[:3]
    np.testing.assert_array_equal(rounds[1][1:4], rounds[0][order])


@pytest.mark.parametrize("steps", [1, 2, 7, 10])
@pytest.mark.parametrize("beta", [0.0, 1.0, 2.5])
def test_coloured_noise_has_unit_variance_at_every_step(steps, beta):
    noise = colored_noise(np.random.default_rng(0), (40_000, steps), beta)
    # The sampling error of a variance from 40,000 samples is 0.7 %; 5 % is 7 sigma.
    np.testing.assert_allclose(noise.var(axis=0), 1.0, atol=0.05)
    np.testing.assert_allclose(noise.mean(axis=0), 0.0, atol=0.03)


@pytest.mark.parametrize("beta", [0.0, 1.0, 2.0])
def test_coloured_noise_has_the_asked_spectrum(beta):
    noise = colored_noise(np.random.default_rng(0), (2_000, 64), beta)
    power = (np.abs(np.fft.rfft(noise)) ** 2).mean(axis=0)[1:-1]
    slope = np.polyfit(np.log(np.arange(1, 32)), np.log(power), 1)[0]
    assert slope == pytest.approx(-beta, abs=0.05)


def test_icem_noise_is_correlated_over_control_steps_across_blocks():
    block, control_dim = 5, 2
    optimizer = ICEM(candidates=4000, iterations=1, beta=2.0)
    noise = optimizer.draw_noise(np.random.default_rng(0), H, block * control_dim, block)
    steps = noise.reshape(4000, H * block, control_dim)

    def correlation(a, b):
        return np.corrcoef(a, b)[0, 1]

    neighbors = [correlation(steps[:, t, 0], steps[:, t + 1, 0]) for t in range(H * block - 1)]
    assert min(neighbors) > 0.7  # within a block and across its border alike
    assert abs(correlation(steps[:, 0, 0], steps[:, 0, 1])) < 0.1  # control axes are independent


def test_costs_in_closed_form():
    steps = np.array([[1.0, 2.0, 4.0], [3.0, 0.0, 1.0]])
    actions = np.array([[[2.0], [0.0], [1.0]], [[0.0], [0.0], [3.0]]])
    np.testing.assert_allclose(LastCost()(steps), [4, 1])
    np.testing.assert_allclose(SumCost()(steps), [7, 4])
    np.testing.assert_allclose(SumCost(discount=0.5)(steps), [3, 3.25])
    np.testing.assert_allclose(SumCost(0.5, (0, 2, 4))(steps), [6, 1])
    objective = Objective(LastCost(), (lambda a: a.sum(axis=(1, 2)), lambda a: a[:, 0, 0]))
    np.testing.assert_allclose(objective(steps, actions), [4 + 3 + 2, 1 + 3 + 0])
    np.testing.assert_allclose(SumCost(0.5, (0, 2, 4))(torch.from_numpy(steps)), [6, 1])
    with pytest.raises(ConfigError, match="2 cost weights"):
        SumCost(weights=(1, 2))(steps)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("gradient", {}),
        ("cem", {"elite": 3}),
        ("cem", {"elites": 400}),
        ("cem", {"momentum": 1.0}),
        ("cem", {"weighting": "ranked"}),
        ("icem", {"candidates": 20, "elites": 20, "weighting": "linear"}),
        ("cem", {"min_std": 2.0}),
        ("cem", {"final": "last"}),
        ("icem", {"decay": 0.5}),
        ("icem", {"keep_elites": 1.0}),
        ("mppi", {"temperature": 0.0}),
        ("mppi", {"iterations": 0}),
        ("mppi", {"candidates": 1}),
    ],
)
def test_bad_configuration_is_refused(name, options):
    with pytest.raises(ConfigError):
        make(name, **options)


def test_noise_and_proposals_of_the_wrong_shape_are_refused():
    optimizer = CEM(candidates=10, elites=3, iterations=2)
    noise = optimizer.draw_noise(np.random.default_rng(0), H, A)
    cost = quadratic(target("inside"))
    with pytest.raises(InputError, match="noise"):
        optimizer.optimize(cost, ZERO, None, LOW, HIGH, noise[:, :-1])
    with pytest.raises(InputError, match="proposals"):
        optimizer.optimize(cost, ZERO, None, LOW, HIGH, noise, np.zeros((9, H, A), np.float32))
