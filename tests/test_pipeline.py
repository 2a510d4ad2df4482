"""The whole chain, tiny, with two workers: from nothing to a report, then every command's body.

``make smoke`` runs it. A command that is not in :data:`RUN` fails: say there how to run it in
seconds.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from robot_wm.cli import main as cli
from robot_wm.cli.registry import COMMANDS
from robot_wm.core.storage.provenance import read_manifest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[1]
SMALL = (
    "experiment=smoke", "task=two_room", "encoder_tasks=two_room", "workers=2", "threads=1",
    "task.steps=40", "pretrain.steps=4", "train.steps=4", "train.embedding_steps=2",
    "train.dynamics_steps=2",
    "train.eval_every=8", "evaluate.validation=1", "pairs.count=2",
)  # fmt: skip
# Module of each command -> what it gets besides SMALL, and the exit codes that are right for
# weights and data of this size.
RUN: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {
    "collect": ((), (0,)),
    "pretrain": ((), (0,)),
    "probe": (("probe.kinds=[pixels,encoder]", "probe.epochs=1"), (0, 1, 3)),
    "ablate_encoder": (("ablate.variants=[no-dense-loss]",), (0,)),
    "compare_objectives": (("objectives.names=[ijepa,videomae]", "objectives.points=2"), (0,)),
    "train": ((), (0,)),
    "ablate_planner": (("evaluate.limit=1", "evaluate.families=strict"), (0,)),
    "self_improve": (("improve.rounds=1", "improve.pairs=1"), (0,)),
    "teach": (
        ("teach.rounds=1", "teach.questions=20", "teach.ways=2", "teach.episodes=2",
         "teach.pairs=1",
         "teach.actor={steps: 5, batch: 8, width: 16, blocks: 1, recorded: 0, critic: {steps: 2}}"),
        (0,),
    ),
    "distill": (
        ("weights=shipped", "train_on=[nominal,nominal-looks]", "collect.looks=5",
         "distill.steps=4", "distill.batch=8", "distill.warmup=1"), (0,),
    ),
    "goal_pairs": ((), (0,)),
    "calibrate": ((), (1,)),  # a handful of episodes is no calibrated collection
    "evaluate": (("method=[copy_last,true_dynamics]", "evaluate.limit=1"), (0,)),
    "reach_goal": (("method=jepa",), (0, 1)),  # it misses
    "compare": (
        ("compare.models=[jepa]", "compare.overlays=[new:0.1]", "evaluate.limit=1",
         "physics.pairs=1", "physics.validation=1", "physics.categories=[inertia]"), (0,),
    ),
    "claims": (
        ("claims.momenta=[0.99]", "claims.codes=[2]", "claims.temperatures=[1.2]",
         "claims.depths=[1]", "claims.dreams=2", "evaluate.limit=1"), (0,),
    ),
    "physics": (
        ("physics.pairs=1", "physics.validation=1", "physics.categories=[inertia,gravity]"), (0,),
    ),
    "uncertainty": (
        # Claim 10 trains models of the same names for other steps.
        ("task=two_room_kicked", "world_model=latent_variable", "uncertainty.transitions=20",
         "name=gusts", "data_name=smoke", "encoder_name=smoke", "weights=smoke",
         "~train.embedding_steps", "~train.dynamics_steps"),
        (0, 1),  # a handful of steps decides nothing
    ),
    "export": ((), (0,)),
    "web_demo": ((), (0, 2)),  # 2 at once where npm's packages are not installed
    "stress_test": (("soak.ticks=100",), (0,)),
    "report": (("method=jepa", "report.episodes=1"), (0,)),
    "results": ((), (0,)),
    "benchmark": (("planner.options.iterations=1",), (0,)),
    "doctor": ((), (0, 1)),  # what a machine lacks is not ours
    "demo": (("demo.tasks=two_room", "demo.pairs=1"), (0,)),
}  # fmt: skip

OTHERS = ("claims",)  # train other world models than ours, whose options are their own


def module(command: str) -> str:
    return COMMANDS[command].target.rpartition(".")[2]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A storage root in which ``robot-wm report`` has run once."""
    root = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROBOT_WM_HOME", str(root))
        words = ("method=[jepa,random,oracle]", "report.episodes=1", "report.explain=false")
        assert cli.main(["report", *SMALL, *words]) == 0
        yield root


def rows(home: Path, name: str = "evaluate-smoke/official-two_room") -> list[dict]:
    return list(map(json.loads, (home / f"runs/{name}.jsonl").read_text().splitlines()))


def by_method(home: Path) -> dict[str, dict]:
    return {row["method"]: row for row in rows(home)}


def test_every_artefact_names_its_parents(home: Path) -> None:
    encoder = read_manifest(home / "encoders/smoke/encoder", "encoder")
    model = read_manifest(home / "models/two_room-smoke/world_model", "world_model")
    (cache,) = (home / "latents").glob("latents-*")
    latents = read_manifest(cache, "latents")
    assert model["parents"]["encoder"] == latents["parents"]["encoder"] == encoder["sha256"]
    assert model["facts"]["datasets"] == [latents["parents"]["dataset"]]
    collections = {name.removeprefix("dataset:") for name in encoder["parents"]}
    assert collections == {"two_room-nominal-smoke", "two_room-varied-smoke"}
    row = by_method(home)["jepa"]
    assert row["encoder_sha256"] == encoder["sha256"]
    assert row["model_sha256"] == model["sha256"]
    assert row["dataset_sha256"] == latents["parents"]["dataset"]


def test_rows_are_complete_and_share_their_pairs(home: Path) -> None:
    made = by_method(home)
    assert set(made) == {"jepa", "random", "oracle"}
    assert len({row["pair_list_sha256"] for row in made.values()}) == 1
    assert {row["episodes"] for row in made.values()} == {2}
    assert {m: row["inputs"] for m, row in made.items()} == {
        "jepa": "pixels", "random": "pixels", "oracle": "state",
    }  # fmt: skip
    assert all(row["random_pct"] == made["random"]["success_pct"] for row in made.values())
    assert made["jepa"]["row"] == "official/two_room"
    assert made["random"]["row"] == "official/two_room@random"


def test_the_report_needs_no_network(home: Path) -> None:
    page = (home / "runs/evaluate-smoke/report-two_room.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page


def test_a_second_call_reuses_everything_and_one_worker_repeats_the_numbers(home: Path) -> None:
    watched = [p for kind in ("datasets", "encoders", "models", "latents") for p in
               sorted((home / kind).rglob("manifest.json"))]  # fmt: skip
    before, times = by_method(home), [p.stat().st_mtime_ns for p in watched]
    # Two workers and one thread before, one worker and one thread now.
    assert cli.main(["evaluate", *SMALL, "method=[jepa,random,oracle]", "workers=1"]) == 0
    assert times == [p.stat().st_mtime_ns for p in watched]
    after = by_method(home)
    for method, row in before.items():
        for key in ("success_trace", "final_error", "pair_list_sha256", "config_sha256"):
            assert after[method][key] == row[key], (method, key)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_runs(
    command: str, home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name = module(command)
    assert name in RUN, f"say in RUN how to run {command!r} in seconds"
    words, codes = RUN[name]
    if name == "results":  # which writes into the checkout
        for folder in ("results", "docs"):
            shutil.copytree(ROOT / folder, tmp_path / folder)
        monkeypatch.setattr(f"{COMMANDS[command].target}.CHECKOUT", tmp_path)
    if name == "demo":  # whose weights are the shipped ones
        words = ("workers=2", "threads=1", *words)
    elif COMMANDS[command].configured:
        own = {word.partition("=")[0] for word in words}
        small = [word for word in SMALL if name not in OTHERS or not word.startswith("train.")]
        words = (*(word for word in small if word.partition("=")[0] not in own), *words)
    assert cli.main([command, *words]) in codes


def test_no_command_is_told_how_to_run_that_is_gone() -> None:
    assert {module(command) for command in COMMANDS} == set(RUN)


def test_the_exported_files_are_evaluated_like_their_source(home: Path) -> None:
    assert cli.main(["evaluate", *SMALL, "method=[jepa,onnx]"]) == 0
    made = by_method(home)
    assert (made["jepa"]["backend"], made["onnx"]["backend"]) == ("torch", "onnx")
    assert made["onnx"]["row"] == made["jepa"]["row"]
    assert made["onnx"]["pair_ids"] == made["jepa"]["pair_ids"]
    assert made["onnx"]["model_sha256"] == made["jepa"]["model_sha256"]
    bundle = read_manifest(home / "bundles/two_room-smoke", "bundle")
    assert bundle["parents"]["world_model"] == made["onnx"]["model_sha256"]
    assert bundle["facts"]["parity"]["worst"] < 1e-4


def test_calibration_is_judged_and_missing_rows_fail(home: Path) -> None:
    assert cli.main(["calibrate", *SMALL]) == 1
    verdicts = json.loads((home / "runs/evaluate-smoke/calibration.json").read_text())
    assert not verdicts["two_room"]["calibrated"]
    assert "random actions, strict: not measured" in verdicts["two_room"]["why"]


def test_a_round_of_practice_is_learned_from_and_judged(home: Path) -> None:
    assert cli.main(["improve", *SMALL, *RUN["self_improve"][0]]) == 0
    found = {(row["model"], row["mode"]): row for row in rows(home, "improve-smoke/two_room")}
    models = ("smoke", "longer1", "round1")
    assert set(found) == {(m, mode) for m in models for mode in ("mode1", "mode2")}
    assert len({row["model_sha256"] for row in found.values()}) == 3
    assert {row["split"] for row in found.values()} == {"validation"}
    practice = read_manifest(home / "models/two_room-smoke-round1/world_model", "world_model")
    assert len(practice["facts"]["datasets"]) == 2


def test_every_module_of_the_agent_is_judged_on_the_same_pairs(home: Path) -> None:
    from planning.commands.ablate_planner import VARIANTS

    assert cli.main(["modules", *SMALL, *RUN["ablate_planner"][0]]) == 0
    found = {row["row"]: row for row in rows(home, "evaluate-smoke/modules-two_room")}
    assert set(found) == {f"modules/two_room@{name}" for name in VARIANTS}
    assert len({row["pair_list_sha256"] for row in found.values()}) == 1
    assert found["modules/two_room@actor_alone"]["optimiser"] == "mode1"
    assert found["modules/two_room@no_actor"]["proposals"] == 0


def test_what_was_made_of_other_episodes_is_refused(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Twenty more episodes: the collection grows, neither encoder nor model knows them.
    assert cli.main(["collect", *SMALL, "task.nominal=100"]) == 0
    assert cli.main(["evaluate", *SMALL]) == 2
    assert "two_room-nominal-smoke" in capsys.readouterr().err


def test_a_ball_on_a_ridge_is_asked_about_and_nothing_is_made_twice(home: Path) -> None:
    own = (
        "task=ridge", "task.varied=60", "evaluate.validation=0", "encoder_name=shipped",
        "ridge.clips=3", "ridge.episodes=20", "ridge.control={steps: 2, batch: 4, width: 4}",
    )  # fmt: skip
    told = {word.partition("=")[0] for word in own}
    words = (*(word for word in SMALL if word.partition("=")[0] not in told), *own)
    made = []
    for _ in range(2):
        assert cli.main(["physics", *words]) == 0
        made.append({p: p.stat().st_mtime_ns for p in home.rglob("manifest.json")})
    assert made[0] == made[1]
    lines = (home / "runs/physics-smoke/claims/ridge.jsonl").read_text().splitlines()
    found = {row["model"]: row for row in map(json.loads, lines)}
    assert set(found) == {"jepa", "pixel_mse"}  # the second call's rows replace the first's
    assert all((row["claim"], row["n"]) == (11, 3) for row in found.values())
    assert {"landed_auc", "side_auc", "valid"} <= found["jepa"]["values"].keys()
    assert {"sharpness", "impossible"} <= found["pixel_mse"]["values"].keys()
    assert (home / "runs/physics-smoke/ridge-jepa.png").is_file()
