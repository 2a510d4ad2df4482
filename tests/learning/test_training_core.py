"""What every training shares: the loop, the schedule, the average, the log, and no trace of it."""

import ast
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from robot_wm.core.errors import ConfigError, StorageError, WeightsError
from robot_wm.core.metrics import participation_ratio, r2
from robot_wm.core.parallel import spread
from robot_wm.core.storage.locks import lock
from robot_wm.core.system.machine import use_threads
from robot_wm.training.ema import Averaged
from robot_wm.training.loop import Pace, Training, fit
from robot_wm.training.optim import make_optimizer, warmup_cosine
from robot_wm.training.run_log import Log, Window
from robot_wm.world_models.jepa.training.config import TrainConfig
from robot_wm.world_models.jepa.training.stages import (
    DynamicsStage,
    EmbeddingStage,
    RepresentationStage,
)

ROOT = Path(__file__).parents[2]


class Line(Training):
    """A line through points; one generator runs on, noise comes from torch's own."""

    title, section = "line", "toy"
    pace = Pace(10, log_every=4, evaluate_every=3, checkpoint_every=4, weight_decay=0.1, clip=1.0)

    def __init__(self, out: Path, dies_at: int = 0, slope: float = 2.0) -> None:
        torch.manual_seed(0)
        self.out, self.dies_at, self.slope = out, dies_at, slope
        self.state: Averaged[nn.Linear] = Averaged(nn.Linear(1, 1))
        self.trained = self.state.live
        self.generators = {"points": np.random.default_rng(1)}
        self.identity = {"slope": slope}
        self.began: list[tuple[int, int]] = []

    def learning_rate(self, step: int) -> float:
        return warmup_cosine(0.1, step, self.pace.steps, 2)

    def begin(self, step: int, log: Log) -> None:
        self.began.append((step, len(log.past)))

    def loss(self, step: int) -> torch.Tensor:
        if step == self.dies_at:
            raise KeyboardInterrupt
        x = torch.from_numpy(self.generators["points"].normal(size=(8, 1)).astype(np.float32))
        wanted = self.slope * x + 0.1 * torch.randn(8, 1)
        self.last = (self.trained(x) - wanted).square().mean()
        return self.last

    def after_step(self, step: int, norm: torch.Tensor) -> None:
        self.state.update(0.9, step)

    def line(self) -> dict[str, Any]:
        return {"loss": float(self.last.detach())}

    def evaluate(self, step: int) -> dict[str, Any]:
        return {"slope": float(self.state.ema.weight.detach())}

    def finish(self) -> Path:
        return self.out / "artefact"


def weights(training: Training) -> list[float]:
    return [float(p.detach()) for p in training.state.parameters()]


def lines(out: Path) -> list[dict[str, Any]]:
    found = [json.loads(text) for text in (out / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in found]


def test_resuming_equals_never_having_stopped(tmp_path):
    whole, torn, rest = (Line(tmp_path / name, dies) for name, dies in
                         (("a", 0), ("b", 7), ("b", 0)))  # fmt: skip
    assert fit(lambda: whole, tmp_path / "a") == tmp_path / "a" / "artefact"
    with pytest.raises(KeyboardInterrupt):
        fit(lambda: torn, tmp_path / "b")
    fit(lambda: rest, tmp_path / "b")
    assert weights(whole) == weights(rest)
    assert lines(tmp_path / "a") == lines(tmp_path / "b")
    # The line of step 6 was logged after the checkpoint of step 4, and is not there twice.
    assert rest.began == [(4, 2)]
    said = [(line["step"], *sorted(line.keys() - {"step"})) for line in lines(tmp_path / "a")]
    assert said == [
        (3, "slope"), (4, "loss", "lr"), (6, "slope"), (8, "loss", "lr"), (9, "slope"),
        (10, "loss", "lr"), (10, "slope"),
    ]  # fmt: skip
    assert [p.name for p in (tmp_path / "b" / "state").iterdir()] == ["step-00000010"]


def test_it_leaves_off_where_it_is_told_and_begins_anew_when_asked(tmp_path):
    assert fit(lambda: Line(tmp_path), tmp_path, stop_at=2) == tmp_path / "state"
    goes_on, anew = Line(tmp_path), Line(tmp_path)
    fit(lambda: goes_on, tmp_path, stop_at=3)
    assert goes_on.began == [(2, 0)]
    fit(lambda: anew, tmp_path, resume=False)
    assert anew.began == [(0, 0)]
    with pytest.raises(WeightsError, match="slope"):
        fit(lambda: Line(tmp_path, slope=3.0), tmp_path)
    with lock(tmp_path, "training into"), pytest.raises(StorageError, match="training into"):
        fit(lambda: Line(tmp_path), tmp_path)


def test_a_training_leaves_nothing_of_the_process_changed(tmp_path):
    torch.manual_seed(7)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    fit(lambda: Line(tmp_path), tmp_path)
    fit(lambda: Line(tmp_path), tmp_path)  # which reads a checkpoint
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("slope", [float("nan"), 1e30])
def test_what_is_not_finite_ends_the_training_before_the_weights(tmp_path, slope):
    training = Line(tmp_path)
    training.slope = slope
    before = weights(training)
    with pytest.raises(ConfigError, match=r"at step 1.*toy\.lr"):
        fit(lambda: training, tmp_path)
    assert weights(training) == before


def test_a_fresh_log_forgets_an_earlier_run_and_a_torn_line(tmp_path):
    log = Log(tmp_path / "log.jsonl")
    for step in (1, 2, 3):
        log.write(step, loss=0.5)
    with log.path.open("a") as stream:
        stream.write('{"step": 4, "lo')
    log.open(2)
    assert [line["step"] for line in log.past] == [1, 2]
    log.open(0)
    assert (log.past, log.path.read_text()) == ([], "")


def test_a_window_has_means_of_what_came():
    window = Window()
    window.add({"a": 1.0, "b": 4.0})
    window.add({"a": 3.0})
    assert window.flush() == {"a": 2.0, "b": 4.0}
    assert window.flush() == {}


def test_rates_rise_hold_and_fall():
    rates = [warmup_cosine(2.0, s, 10, 2) for s in (1, 2, 6, 10)]
    np.testing.assert_allclose(rates, [1.0, 2.0, 1.0, 0.0], atol=1e-12)
    rates = [warmup_cosine(2.0, s, 11, 2, end=0.5, hold=1) for s in (2, 3, 7, 11)]
    np.testing.assert_allclose(rates, [2.0, 2.0, 1.5, 1.0], atol=1e-12)
    assert warmup_cosine(2.0, 10, 20, 0) == pytest.approx(1.0)  # no warm-up, no division by 0


def test_matrices_decay_and_what_is_fixed_is_left_out():
    module = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.Linear(3, 1).requires_grad_(False))
    matrices, others = make_optimizer(module, 0.1, 0.3).param_groups
    assert [p.ndim for p in matrices["params"]] == [2]
    assert [p.ndim for p in others["params"]] == [1, 1, 1]
    assert (matrices["weight_decay"], others["weight_decay"]) == (0.3, 0.0)


def test_an_average_forgets_early_steps_faster_and_copies_statistics():
    pair = Averaged(nn.BatchNorm1d(1))
    pair.live.weight.data.fill_(12.0)
    pair.live.running_mean.fill_(5.0)
    pair.update(0.99, 1)  # (1 + 1) / (10 + 1) of the old
    assert float(pair.ema.weight.detach()) == pytest.approx(2 / 11 + 12 * 9 / 11)
    assert float(pair.ema.running_mean) == 5.0
    pair.ema.weight.data.fill_(1.0)
    pair.update(0.5, 10**6)
    assert float(pair.ema.weight.detach()) == pytest.approx(6.5)
    assert not any(p.requires_grad for p in pair.ema.parameters())
    assert set(pair.state_dict()) == {
        f"{part}.{name}" for part in ("live", "ema") for name in nn.BatchNorm1d(1).state_dict()
    }  # as in checkpoints


def test_shares_of_variance_closed_forms_in_both_libraries():
    truth = np.array([[0.0, 1.0], [2.0, 1.0], [4.0, 4.0]])
    guess = truth + np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 3.0]])
    for make in (np.asarray, torch.tensor):
        np.testing.assert_allclose(r2(make(guess), make(truth)), [1 - 1 / 8, 1 - 9 / 6])
        assert float(r2(make(guess), make(truth), axis=None)) == pytest.approx(1 - 10 / 14)
        assert participation_ratio(make([4.0, 1.0])) == pytest.approx(25 / 17)
    still = np.ones((3, 1))
    assert r2(still, still, floor=1e-12) == 1


FIRST = RepresentationStage(5, 8, (1.0, 1.0), 1.0, False, 0.1, 1.0, 4.0)
SECOND = EmbeddingStage(5, 8, 4)
LAST = DynamicsStage(5, 8, (1.0,), 0.2, 1.0, 1.0, 3, False)


@pytest.mark.parametrize(
    ("stage", "wrong", "option"),
    [
        (FIRST, {"batch": 1}, "batch"),
        (FIRST, {"rollout": (0.0,)}, "rollout"),
        (SECOND, {"frames": 1}, "embedding_frames"),
        (SECOND, {"episodes": 2**13}, "embedding_episodes"),
        (LAST, {"steps": 0}, "dynamics_steps"),
        (LAST, {"rollout": ()}, "dynamics_rollout"),
        (LAST, {"rollout_share": 1.5}, "rollout_share"),
        (LAST, {"proposer": 0.0}, "proposer"),
    ],
)
def test_every_stage_checks_itself(stage, wrong, option):
    with pytest.raises(ConfigError, match=option):
        replace(stage, **wrong)
    assert replace(LAST, proposer=0.0, fine_tune=True).proposer == 0


def test_a_training_is_a_list_of_stages():
    config = TrainConfig("x", steps=4, embedding_steps=3, embedding=8, dynamics_steps=5)
    assert [stage.name for stage in config.stages] == ["representation", "embedding", "dynamics"]
    where = [(config.stage_of(step)[0].name, config.stage_of(step)[1]) for step in (4, 5, 8)]
    assert where == [("representation", 0), ("embedding", 4), ("dynamics", 7)]
    short = TrainConfig("x", steps=0, dynamics_steps=5, latent_of="somewhere")
    assert [stage.name for stage in short.stages] == ["dynamics"]
    assert short.stage_of(1) == (short.dynamics_stage, 0)


def threads_of(number: int) -> tuple[int, str]:
    return torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]


def test_workers_have_one_thread_each(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert dict(spread(threads_of, 2, 2)) == {0: (1, "1"), 1: (1, "1")}


def test_threads_are_set_where_a_process_begins(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", str(before))
    try:
        use_threads(3)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    places = {
        str(path.relative_to(ROOT))
        for room in ("robot_wm", "sim", "planning", "export")
        for path in (ROOT / room).rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("set_num_threads")
    }
    # The second measures speed with a number of threads, and gives them back.
    assert {Path(place).name for place in places} == {"machine.py", "benchmark.py"}
