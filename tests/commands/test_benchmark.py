"""Benchmarks: rates that come with a reference, and plan times whose parts add up."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from moving_square import tiny_encoder

from export.commands import benchmark
from planning.agent.mpc import MPCAgent
from planning.agent.timing.profiling import TimedModel, TimedProposer, bench_plan
from planning.optimizers import CEM
from robot_wm.cli.compose import compose
from robot_wm.core.errors import ConfigError
from robot_wm.core.protocols import History, ModelSpec, Proposer, WorldModel
from robot_wm.world_models.jepa.benchmark import bench_encode, bench_training
from robot_wm.world_models.jepa.training.config import TrainConfig
from sim.tasks import TASKS

SPEC = ModelSpec("toy", (-1.0,) * 4, (1.0,) * 4, 2, 0.1, context=3, horizon=3, image_size=8)
ENCODE_S, ROLLOUT_S, PROPOSE_S = 0.004, 0.002, 0.003


class SlowModel:
    """Sleeps for a known time in every part."""

    def __init__(self):
        self.spec = SPEC
        self.histories = []

    def encode(self, history):
        time.sleep(ENCODE_S)
        self.histories.append(len(history.frames))
        return history.frames[-1].mean()

    def step_costs(self, state, goal, actions):
        time.sleep(ROLLOUT_S)
        return np.square(actions).sum(-1).astype(np.float32)


class SlowProposer(SlowModel):
    def propose(self, state, goal, n, rng):
        time.sleep(PROPOSE_S)
        return np.zeros((n, 3, 4), np.float32)


def planned(model, repeats=4, **options):
    agent = MPCAgent(model, CEM(candidates=8, iterations=3, elites=2), horizon=3, **options)
    obs = {"image": np.zeros((8, 8, 3), np.uint8), "proprio": np.zeros(2, np.float32)}
    return agent, bench_plan(agent, obs, obs, repeats)


def test_scenes_that_cannot_be_made_here_are_not_drawn(monkeypatch):
    """Without the packages of the cube the other scenes are drawn, and the rest is measured."""
    monkeypatch.setattr("sim.arms.ur5e.installed", lambda name: False)
    monkeypatch.setattr("sim.benchmark.bench_rendering", lambda task, size: {"size": size})
    rows = benchmark.rendering(compose(["task=cube"]))
    drawn = {row["task"]: row["size"] for row in rows}
    assert set(drawn) == set(TASKS) - {"cube"}
    assert set(drawn.values()) == {96}


@pytest.mark.parametrize(("task", "control", "period"), [("cube", 5, 0.05), ("jaco_reach", 3, 0.1)])
def test_the_measured_planner_is_of_the_task(task, control, period):
    words = (f"task={task}", "experiment=smoke")
    settings = compose(words)
    spec = benchmark.untrained_model(settings, benchmark.untrained_encoder(settings)).spec
    assert (spec.control_dim, spec.control_dt, spec.image_size) == (control, period, 96)


@pytest.mark.parametrize("family", ["vit", "random", "patches"])
def test_every_family_of_encoders_is_measured(family):
    settings = compose([f"encoder={family}", "experiment=smoke"])
    model = benchmark.untrained_model(settings, benchmark.untrained_encoder(settings))
    frames = np.zeros((2, 64, 64, 3), np.uint8)
    assert torch.isfinite(
        model.encode(History(frames, np.zeros((2, 0)), np.zeros((1, 10)))).z
    ).all()


def test_plan_times_are_split_and_add_up():
    model = SlowProposer()
    agent, row = planned(model, proposals=2)
    parts = sum(row[f"{part}_ms_mean"] for part in ("encode", "rollout", "propose", "rest"))
    assert parts == pytest.approx(row["total_ms_mean"], rel=1e-9)
    # The sleeps are lower bounds; what is left for the optimiser is positive.
    assert row["encode_ms_p50"] >= 1e3 * ENCODE_S * 0.95
    assert row["rollout_ms_p50"] >= 1e3 * ROLLOUT_S * row["rollout_calls"] * 0.95
    assert row["propose_ms_p50"] >= 1e3 * PROPOSE_S * 0.95
    assert row["rest_ms_p50"] > 0
    assert row["rollout_calls"] >= 3
    for part in ("total", "encode", "rollout", "propose", "rest"):
        values = [row[f"{part}_ms_p{q}"] for q in (50, 95, 99)]
        assert values == sorted(values)
    gflop = row["total_ms_p50"] / 1e3 * row["matmul_gflops"]
    assert row["ratio"] == pytest.approx(gflop)
    assert row["ratio"] > 0
    assert agent.model is model  # the stopwatch is gone


@pytest.mark.parametrize("execute", [1, 2])
def test_only_plans_with_a_full_history_are_timed(execute):
    model = SlowModel()
    _, row = planned(model, repeats=3, execute=execute)
    assert row["repeats"] == 3
    # The goal and the first plans see fewer frames than the model's context; the timed ones do not.
    assert model.histories[-3:] == [SPEC.context] * 3
    assert row["propose_ms_p50"] == 0


def test_the_stopwatch_keeps_the_contract_and_the_values():
    plain, proposer = TimedModel(SlowModel()), TimedProposer(SlowProposer())
    assert isinstance(plain, WorldModel)
    assert not isinstance(plain, Proposer)
    assert isinstance(proposer, Proposer)
    actions = np.random.default_rng(0).uniform(-1, 1, (5, 3, 4)).astype(np.float32)
    np.testing.assert_array_equal(
        plain.step_costs(0.0, 0.0, actions), SlowModel().step_costs(0.0, 0.0, actions)
    )
    assert plain.calls == {"encode": 0, "rollout": 1, "propose": 0}


def test_the_model_comes_back_after_an_error():
    model = SlowModel()
    agent = MPCAgent(model, CEM(candidates=8, iterations=1, elites=2), horizon=3)
    with pytest.raises(Exception, match="image"):
        bench_plan(agent, {"image": np.zeros((3, 3, 3), np.uint8)}, {}, 1)
    assert agent.model is model


def check_rate(row, samples):
    assert row["rate"] == pytest.approx(samples / row["seconds"])
    assert row["ratio"] == pytest.approx(
        row["rate"] * row["gflop_per_sample"] / row["matmul_gflops"]
    )
    # Above 1.5 the operations were miscounted: nothing beats a matrix product by that much.
    assert 0 < row["ratio"] < 1.5
    assert row["matmul_gflops"] > 0.1
    assert row["commit"]


def test_encode_rate_and_its_operations():
    before = torch.get_num_threads()
    row = bench_encode(tiny_encoder(), batch=16, threads=1, repeats=2)
    check_rate(row, 16)
    assert torch.get_num_threads() == before
    # 16 tokens; patch embedding 192·32, one block of 12·32² weights, attention 2·16·32 per token.
    expected = 2e-9 * 16 * (192 * 32 + 12 * 32**2 + 2 * 16 * 32)
    assert row["gflop_per_sample"] == pytest.approx(expected, rel=0.1)


def test_training_rate():
    config = TrainConfig(
        task="toy", batch=4, window=4, reduced=4, channels=4, keypoints=4, width=16,
        blocks=1, horizon=2, heads=2, proposer_width=16, distance_width=16, reconstructed=2,
        goal_range=3,
    )  # fmt: skip
    row = bench_training(config, positions=16, encoder_width=8, action=4, threads=1, repeats=2)
    check_rate(row, 4)
    assert row["unit"] == "windows/s"


def test_impossible_counts_are_refused():
    with pytest.raises(ConfigError):
        bench_encode(tiny_encoder(), batch=4, repeats=0)
    with pytest.raises(ConfigError):
        planned(SlowModel(), repeats=0)
