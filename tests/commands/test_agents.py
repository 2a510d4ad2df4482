"""From settings to agents and to what their rows say. Nothing is trained here."""

from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from toy_models import StillModel

from planning.agent.mpc import MPCAgent
from planning.agent.registry import agent_recipe
from planning.commands import evaluate, report
from planning.commands.evaluate import row_config
from planning.commands.parts import agents, goals
from planning.commands.parts.row_facts import facts
from planning.evaluation import scene_pairs
from planning.evaluation.stage import pair_list_path, pair_lists
from planning.optimizers import CEM
from planning.reporting.tables import render_tables
from robot_wm.cli import main as cli
from robot_wm.cli.help import option_rows
from robot_wm.cli.main import Session
from robot_wm.cli.paths import PACKAGE
from robot_wm.commands import probe
from robot_wm.commands.parts.artifacts import scene
from robot_wm.core.errors import ConfigError, DataError
from robot_wm.core.instantiate import instantiate
from robot_wm.core.storage.provenance import read_manifest
from robot_wm.world_models.base import load_world_model


def given(settings: Any, method: str, folders: Any, **options: Any) -> dict[str, Any]:
    """The filled recipe of a method."""
    (recipe,) = agents.recipe(settings, method, folders, **options).args
    return recipe


def test_the_oracle_has_a_planner_of_its_own() -> None:
    settings = cli.compose(["planner=cem", "planner.horizon=4"])
    own = settings.oracle
    assert asdict(own) == {
        "optimizer": "icem",
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
        "straighten": False,
        "repaint": False,
    }
    assert settings.planner.optimizer == "cem"
    assert given(settings, "oracle", None)["planner"]["planner"] == asdict(own)
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


@pytest.mark.parametrize("method", ["true_dynamics", "oracle_true_cost"])
def test_the_diagnosis_judges_in_the_mirror_as_the_planner_does(method: str) -> None:
    from planning.agent.symmetrized_model import SymmetrizedModel
    from sim import make

    spec = make("push_t", 16, draw_images=False).spec
    settings, learned = cli.compose(["task=push_t"]), SimpleNamespace(spec=None)
    assert settings.diagnosis.mirror
    symmetrize = given(settings, method, (Path(), Path()))["symmetrize"]
    seen: Any = instantiate(symmetrize)(learned, spec.mirror)
    assert isinstance(seen, SymmetrizedModel)
    assert seen.model is learned
    alone = {**symmetrize, "wanted": False}
    assert instantiate(alone)(learned, spec.mirror) is learned


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
    from robot_wm.world_models.jepa.family import FAMILY
    from robot_wm.world_models.jepa.model import JEPAWorldModel

    monkeypatch.setattr(JEPAWorldModel, "load", lambda *_, **__: "plain")
    monkeypatch.setattr(
        imagination.NearestFrameDecoder, "illustrate", lambda model, sheet: (model, sheet.name)
    )
    assert FAMILY.load(tmp_path, tmp_path, illustrate=True) == "plain"  # none in the artefact
    (tmp_path / imagination.SHEET).touch()
    assert FAMILY.load(tmp_path, tmp_path) == "plain"
    assert FAMILY.load(tmp_path, tmp_path, illustrate=True) == ("plain", "frames.png")
    settings, folders = cli.compose([]), (tmp_path, tmp_path)
    assert given(settings, "jepa", folders, illustrate=True)["model"]["illustrate"]
    assert "illustrate" not in given(settings, "jepa", folders)["model"]


def test_old_names_and_new_ones_make_the_same_agents_and_rows(tmp_path: Path) -> None:
    folders = (tmp_path, tmp_path)
    for old, new, words in (
        ("jepa", "mpc", []),
        ("onnx", "mpc", ["model.backend=onnx"]),
        ("true_dynamics", "oracle_learned_cost", []),
        ("true_cost", "oracle_true_cost", []),
    ):
        settings = cli.compose(words)
        assert given(settings, old, folders) == given(settings, new, folders)
        ours, theirs = (row_config(settings, name, Pairs(), 0) for name in (old, new))  # type: ignore[arg-type]
        assert ours == theirs
        assert ours.method == old
        assert facts(settings, old, None) == facts(settings, new, None)
    with pytest.raises(ConfigError, match="torch, onnx"):
        agents.recipe(cli.compose(["model.backend=tensorrt"]), "mpc", folders)
    with pytest.raises(ConfigError, match="did you mean 'jepa'"):
        agent_recipe("jeppa")


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


def test_rows_of_pairs_of_the_scenes_own_say_which() -> None:
    class Own(Pairs):
        family, task, name = "long", "cube", "cube_pick_place"

    words = ["task=cube", "pairs.family=long", "pairs.offset=0"]
    settings = cli.compose(words)
    assert pair_list_path(settings, 1, committed=True).name == "long-cube_pick_place-1.json"
    assert row_config(settings, "jepa", Own(), None).row == "long/cube_pick_place"  # type: ignore
    shown = row_config(cli.compose([*words, "evaluate.via=demo"]), "jepa", Own(), None)  # type: ignore
    # The same chance as of the flat row beside it, of which it differs in the pictures alone.
    assert (shown.row, shown.seeded_as) == ("goals/cube_pick_place@demo", "long/cube_pick_place")
    with pytest.raises(ConfigError, match=r"evaluate\.via"):
        cli.compose(["evaluate.via=film"])
    # Episode 0 of the recordings has nothing to do with pair 0.
    with pytest.raises(ConfigError, match=r"via=2 with pairs\.offset=0"):
        row_config(cli.compose([*words, "evaluate.via=2"]), "jepa", Own(), None)  # type: ignore


def test_lists_drawn_by_another_rule_are_not_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBOT_WM_HOME", str(tmp_path))
    words = ["task=two_room", "pairs.offset=0", "pairs.count=1", "pairs.eval_seeds=[0]"]
    settings = cli.compose([*words, "image_size=16"])
    assert pair_lists(settings) == pair_lists(settings)
    assert pair_list_path(settings, 0, committed=False).is_file()
    monkeypatch.setattr(scene_pairs, "RULE", "drawn-v2")
    with pytest.raises(DataError, match="dataset_sha256"):
        pair_lists(settings)


def test_of_lists_that_travel_with_the_package_only_those_asked_for_must_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the first zero-shot evaluation would collect thousands of episodes for two more."""
    monkeypatch.setenv("ROBOT_WM_HOME", str(tmp_path))
    settings = cli.compose(["task=push_t", "pairs.family=zs"])
    assert set(settings.pairs.eval_seeds) > {0}
    assert set(pair_lists(settings)) == {0}
    assert not any(tmp_path.iterdir())


def still_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[StillModel]:
    """The toy models behind the method ``jepa``, which needs no weights then."""
    models: list[StillModel] = []
    real = evaluate.recipe

    def planner(spec: Any) -> MPCAgent:
        models.append(StillModel(spec))
        return MPCAgent(models[-1], CEM(candidates=4, iterations=1, elites=2), horizon=2)

    monkeypatch.setenv("ROBOT_WM_HOME", str(tmp_path))
    monkeypatch.setattr(evaluate, "needed_model", lambda session: None)
    monkeypatch.setattr(
        evaluate, "recipe", lambda s, m, f: planner if m == "jepa" else real(s, m, f)
    )
    return models


def test_a_demonstration_has_the_same_planner_without_one_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole rows of a toy model in the arm's scene; the true simulator has none to look at."""
    models = still_models(tmp_path, monkeypatch)
    words = (
        "task=jaco_push", "pairs.offset=0", "pairs.count=1", "pairs.eval_seeds=[0]", "workers=1",
        "pairs.budget=5", "evaluate.via=demo", "method=[expert,jepa]", "image_size=16",
    )  # fmt: skip
    rows, path = evaluate.evaluate_all(Session(cli.compose(words), words))
    assert [(row["row"], row["method"]) for row in rows] == [
        ("goals/jaco_push_anywhere@expert", "expert"),
        ("goals/jaco_push_anywhere", "jepa"),
        ("goals/jaco_push_anywhere@demo", "jepa"),
    ]
    assert len({row["pair_list_sha256"] for row in rows}) == 1
    assert len({row["config_sha256"] for row in rows[1:]}) == 2
    assert path.name == "goals-jaco_push.jsonl"
    flat, shown = (len(model.seen) for model in models)  # the goal, and what one plan looks at
    assert (flat, shown) == (2, 2 + 3)
    assert "| jepa | 0.0 |" in (tables := render_tables(path.parent))
    assert "| jepa @demo | 0.0 |" in tables
    # A page of a method that has no demonstration is of the row that it does have.
    alone = (*words, "method=expert", "report.episodes=0", "report.explain=false")
    assert report.write(Session(cli.compose(alone), alone), rows[:1]).is_file()


def test_a_sentence_has_the_same_planner_with_the_picture_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both scored by what the sentence says, on pairs where that is still to be done."""
    still_models(tmp_path, monkeypatch)

    def pictures(env: Any, pair: Any, seed: int) -> dict[str, np.ndarray]:
        return {"image": np.zeros((3, 16, 16, 3), np.uint8)}

    monkeypatch.setattr(goals, "text_goals", lambda session: None)
    monkeypatch.setattr(
        evaluate, "goal_of", lambda settings: pictures if settings.evaluate.words else None
    )
    words = (
        "task=push_t", "evaluate.words=true", "evaluate.limit=2", "method=[random,jepa]",
        "image_size=16", "workers=1", "publish=false", "evaluate.families=[official]",
    )  # fmt: skip
    rows, path = evaluate.evaluate_all(Session(cli.compose(words), words))
    assert [(row["row"], row["method"]) for row in rows] == [
        ("words/push_t@random", "random"),
        ("words/push_t", "jepa"),
        ("words/push_t@sentence", "jepa"),
    ]
    assert path.name == "words-push_t.jsonl"
    assert len({row["pair_list_sha256"] for row in rows}) == 1
    assert {tuple(row["secondary_metrics"]) for row in rows} == {("official",)}
    assert "| jepa @sentence |" in render_tables(path.parent)
    for other in ("evaluate.only=[block]", "evaluate.via=1", "evaluate.clock=d1"):
        with pytest.raises(ConfigError, match=r"evaluate\.words"):
            cli.compose([*words, other])


def test_pairs_whose_goal_is_as_the_start_in_words_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(goals, "text_goals", lambda session: None)
    words = ("task=push_t",)
    session = Session(cli.compose(words), words)
    pairs = pair_lists(session.settings)[0]
    told = goals.spoken(session, pairs)
    assert 0 < len(told.pairs) < len(pairs.pairs)
    assert told.sha256 != pairs.sha256
    env = scene("push_t", 16, draw_images=False)
    for pair in told.pairs:
        there = np.repeat(np.asarray(pair.start_pose)[None], 2, axis=0)
        assert not env.success("words", there, np.asarray(pair.goal_pose)).any()
    same = replace(pairs, pairs=tuple(p for p in pairs.pairs if p not in told.pairs))
    with pytest.raises(DataError, match="further away"):
        goals.spoken(session, same)


def test_further_families_follow_the_pair_lists_own() -> None:

    settings = cli.compose(["evaluate.families=[moderate,strict,official,strict]"])
    config = row_config(settings, "jepa", Pairs(), None)  # type: ignore[arg-type]
    assert config.families == ("official", "moderate", "strict")
    assert cli.compose(["evaluate.families=strict"]).evaluate.families == ("strict",)


@pytest.mark.parametrize(("verdict", "code"), [(True, 0), (False, 1), (None, 3)])
def test_probe_tells_its_verdict_by_exit_code(
    verdict: bool | None, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import robot_wm.encoders.base
    import robot_wm.probing.gate as room

    result = None if verdict is None else room.GateResult(verdict, ())
    monkeypatch.setenv("ROBOT_WM_HOME", str(tmp_path))
    monkeypatch.setattr(probe, "encoder", lambda session: tmp_path)
    monkeypatch.setattr(probe, "dataset", lambda settings, collection: tmp_path)
    monkeypatch.setattr(robot_wm.encoders.base, "load_encoder", lambda folder: None)
    monkeypatch.setattr(probe, "looks", lambda *_: [])
    monkeypatch.setattr(room, "probe", lambda *_: [])
    monkeypatch.setattr(room, "write_gate", lambda out, rows: result)
    assert cli.main(["probe", "experiment=smoke"]) == code


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
    assert given(settings, "jepa", folders)["model"]["cost"] == "latent"
    with pytest.raises(ConfigError, match="cost 'latent' with method onnx"):
        agents.recipe(settings, "onnx", folders)
    own = given(settings, "oracle", None)["planner"]["planner"]
    assert own["cost"] == ""  # its own section
    loaded = load_world_model(*shipped(), cost="distance")
    assert (loaded.cost, load_world_model(*shipped()).cost) == ("distance", "both")  # type: ignore
    with pytest.raises(ConfigError, match="cost 'wrong'"):
        load_world_model(*shipped(), cost="wrong")


def shipped() -> tuple[Path, Path]:
    return PACKAGE / "weights" / "push_t", PACKAGE / "weights" / "encoders" / "64x64"


def test_rows_name_the_seed_of_the_last_training() -> None:
    """A taught actor is trained with a seed of its own, beside that of the predictor."""
    folder = PACKAGE / "weights" / "push_t"
    made = read_manifest(folder, "world_model", verify=False)["facts"]
    assert (made["config"]["seed"], made["actor"]["seed"]) == (3, 0)
    assert evaluate.train_seed((folder, folder)) == 0
    untaught = PACKAGE / "weights" / "two_room"
    config = read_manifest(untaught, "world_model", verify=False)["facts"]["config"]
    assert evaluate.train_seed((untaught, untaught)) == config["seed"]
    assert evaluate.train_seed(None) is None
