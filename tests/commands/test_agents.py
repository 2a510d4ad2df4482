"""From settings to agents and to what their rows say. Nothing is trained here."""

from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from planning.commands import agents
from planning.commands.evaluate import facts, row_config
from planning.evaluation.stage import pair_list_path
from robot_wm.cli import main as cli
from robot_wm.cli.help import option_rows
from robot_wm.commands import probe
from robot_wm.core.errors import ConfigError
from robot_wm.core.system.machine import PACKAGE


def test_the_oracle_has_a_planner_of_its_own() -> None:
    settings = cli.compose(["planner=cem", "planner.horizon=4"])
    own = settings.planner_of("oracle")
    assert asdict(own) == {
        "optimiser": "icem",
        "options": {"candidates": 64, "iterations": 4, "elites": 8},
        "horizon": 5,
        "execute": 3,
        "proposals": 24,
        "memory_mb": 512,
        "warm_start": True,
        "discount": 1.0,
        "levels": 256,
        "cost": "",
        "mirror": False,
    }
    assert settings.planner_of("jepa").optimiser == "cem"
    assert agents.recipe(settings, "oracle", None).kwargs["planner"] == asdict(own)
    row = facts(settings, "oracle", None)
    assert (row["proposals"], row["optimiser"], row["budget_class"]) == (24, "icem", "B256")
    assert (row["execute"], row["horizon"]) == (3, 5)
    changed = cli.compose(["planner=cem", "planner.horizon=3"])
    assert row["config_sha256"] == facts(changed, "oracle", None)["config_sha256"]
    with pytest.raises(ConfigError, match=r"oracle\.options.*elits"):
        cli.compose(["oracle.options.elits=3"]).check()


def test_rows_say_in_how_many_views_candidates_were_judged() -> None:
    views = {
        (task, method): facts(cli.compose([f"task={task}"]), method, None)["views"]
        for task in ("push_t", "two_room")
        for method in ("jepa", "onnx", "copy_last", "oracle")
    }
    both = {("push_t", "jepa"), ("push_t", "onnx")}
    assert views == {key: 2 if key in both else 1 for key in views}
    assert facts(cli.compose(["planner.mirror=false"]), "jepa", None)["views"] == 1


def test_the_diagnosis_judges_in_the_mirror_as_the_planner_does(monkeypatch) -> None:
    from planning.agent.symmetrized_model import MirroredModel
    from sim import make

    spec, planner = (
        make("push_t", 16, draw_images=False).spec,
        asdict(cli.compose(["task=push_t"]).planner_of("true_dynamics")),
    )
    assert planner["mirror"]
    learned = SimpleNamespace(spec=None)
    monkeypatch.setattr(agents, "load_jepa", lambda *_, **__: learned)
    monkeypatch.setattr("sim.oracle.learned_cost.judged_agent", lambda spec, model, *_: model)
    seen: Any = agents.judged_agent(spec, planner, "model", "encoder")
    assert isinstance(seen, MirroredModel)
    assert seen.model is learned
    alone: Any = agents.judged_agent(spec, {**planner, "mirror": False}, "model", "encoder")
    assert alone is learned


def test_copy_last_never_asks_for_proposals() -> None:
    settings = cli.compose(["planner.proposals=9"])
    assert facts(settings, "copy_last", None)["proposals"] == 0
    assert facts(settings, "jepa", None)["proposals"] == 9


@pytest.mark.parametrize("task", ["push_t", "two_room", "reacher"])
def test_oracle_plans_over_its_horizon_from_the_experts_plans(task: str) -> None:
    from sim import make

    settings = cli.compose([f"task={task}", "oracle.horizon=2", "oracle.execute=1"])
    env = make(task, 16, draw_images=False)
    agent = agents.recipe(settings, "oracle", None)(env.spec)
    inner = agent.agent  # type: ignore[attr-defined]
    assert (inner.horizon, inner.execute, inner.proposals) == (2, 1, 24)
    assert inner.model.spec.horizon == 2
    goal = env.reset(seed=1)[1]
    start = env.reset(seed=0)[1]
    rng = np.random.default_rng(0)
    proposed = inner.model.propose(start["state"], goal["state"], 24, rng)
    assert proposed.shape == (24, 2, 10)
    costs = inner.model.step_costs(start["state"], goal["state"], proposed)
    still = inner.model.step_costs(start["state"], goal["state"], proposed[:1] * 0)
    if task != "push_t":  # where two blocks are spent on reaching the object
        assert costs[0, -1] < still[0, -1]
    env.close()


def test_only_reports_load_the_contact_sheet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from robot_wm.world_models.jepa import visualization as imagination
    from robot_wm.world_models.jepa.model import JEPAWorldModel

    monkeypatch.setattr(JEPAWorldModel, "load", lambda *_, **__: "plain")
    monkeypatch.setattr(
        imagination.IllustratedModel, "illustrate", lambda model, sheet: (model, sheet.name)
    )
    folder = str(tmp_path)
    assert agents.load_jepa(folder, folder, illustrate=True) == "plain"  # no frames in the artefact
    (tmp_path / imagination.SHEET).touch()
    assert agents.load_jepa(folder, folder) == "plain"
    assert agents.load_jepa(folder, folder, illustrate=True) == ("plain", "frames.png")
    settings, folders = cli.compose([]), (tmp_path, tmp_path)
    asked = {
        method: agents.recipe(settings, method, folders, illustrate=True).kwargs.get("illustrate")
        for method in agents.METHODS
    }
    assert [method for method, value in asked.items() if value] == ["jepa"]
    assert "illustrate" not in agents.recipe(settings, "jepa", folders).kwargs


class Pairs:
    family, split = "official", "test"
    task = name = "push_t"


def test_rows_of_long_pairs_say_how_far() -> None:
    class Long(Pairs):
        family, name = "long", "push_t_50"

    settings = cli.compose(["pairs.family=long", "pairs.offset=50"])
    assert row_config(settings, "jepa", Long(), None).row == "long/push_t_50"  # type: ignore
    assert pair_list_path(settings, 1, committed=True).name == "long-push_t_50-1.json"
    assert row_config(settings, "jepa", Pairs(), None).row == "official/push_t"  # type: ignore


def test_further_families_follow_the_pair_lists_own() -> None:

    settings = cli.compose(["evaluate.families=moderate,strict,official,strict"])
    config = row_config(settings, "jepa", Pairs(), None)  # type: ignore[arg-type]
    assert config.families == ("official", "moderate", "strict")
    assert cli.compose(["evaluate.families=strict"]).evaluate.families == ("strict",)


@pytest.mark.parametrize(("verdict", "code"), [(True, 0), (False, 1), (None, 3)])
def test_probe_tells_its_verdict_by_exit_code(
    verdict: bool | None, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import robot_wm.encoders.vit
    import robot_wm.probing.gate as room

    result = None if verdict is None else room.GateResult(verdict, ())
    monkeypatch.setenv("ROBOT_WM_HOME", str(tmp_path))
    monkeypatch.setattr(probe, "encoder", lambda session: tmp_path)
    monkeypatch.setattr(probe, "dataset", lambda settings, collection: tmp_path)
    monkeypatch.setattr(robot_wm.encoders.frozen.FrozenEncoder, "load", lambda folder: None)
    monkeypatch.setattr(room, "probe", lambda *_: [])
    monkeypatch.setattr(room, "write_gate", lambda out, rows: result)
    assert cli.main(["probe", "preset=smoke"]) == code


def test_probe_and_oracle_are_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["probe", "--help"]) == 0
    assert "exit 1: no, 3: not judged" in capsys.readouterr().out
    rows = dict(option_rows(cli.compose([]), ("oracle",)))["oracle"]
    assert ("oracle.options.elites", "8") in [row[:2] for row in rows]


def test_a_running_clock_is_given_in_control_steps_or_measured():
    from planning.agent.build import delay_of

    assert [delay_of(c) for c in ("d0", "d12", "measured")] == [0, 12, None]
    for wrong in ("3", "d", "d-1", "late"):
        with pytest.raises(ConfigError, match="clock"):
            delay_of(wrong)


def test_the_cost_can_be_chosen_where_a_trained_model_judges(tmp_path: Path) -> None:
    settings, folders = cli.compose(["planner.cost=latent"]), (tmp_path, tmp_path)
    assert agents.recipe(settings, "jepa", folders).kwargs["planner"]["cost"] == "latent"
    with pytest.raises(ConfigError, match="cost 'latent' with method onnx"):
        agents.recipe(settings, "onnx", folders)
    assert (
        agents.recipe(settings, "oracle", None).kwargs["planner"]["cost"] == ""
    )  # its own section
    loaded = agents.load_jepa(*shipped(), cost="distance")
    assert (loaded.cost, agents.load_jepa(*shipped()).cost) == ("distance", "both")  # type: ignore
    with pytest.raises(ConfigError, match="cost 'wrong'"):
        agents.load_jepa(*shipped(), cost="wrong")


def shipped() -> tuple[str, str]:
    weights = PACKAGE / "weights"
    return str(weights / "push_t"), str(weights / "encoder")
