"""The command line: composing, refusing, explaining. Nothing is collected or trained here."""

import json
from pathlib import Path

import pytest

from planning.agent.registry import names
from robot_wm.cli import main as cli
from robot_wm.cli.help import option_rows
from robot_wm.cli.registry import COMMANDS
from robot_wm.core.errors import ConfigError
from sim.collection.stage import collect_config

ROOT = Path(__file__).parents[2]
EXPERIMENTS = ("default", "smoke", "cpu", "gpu")
TASKS = ("push_t", "two_room", "reacher", "cube", "jaco_push", "jaco_reach")


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBOT_WM_HOME", str(tmp_path / "home"))


def run(*arguments: str) -> int:
    return cli.main(arguments)


def test_help_teaches_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    text = capsys.readouterr().out
    for name, known in COMMANDS.items():
        assert f"{name} " in text
        assert known.words in text
    for group, options in cli.groups().items():
        assert group in text
        assert ", ".join(options) in text
    assert cli.PICTURE in text


def test_every_command_has_its_module() -> None:
    for known in COMMANDS.values():
        path = ROOT / known.target.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize("task", TASKS)
def test_every_task_with_every_experiment_is_a_valid_configuration(
    task: str, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)  # as where experiment=gpu is used
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    settings = cli.compose([f"task={task}", f"experiment={experiment}"])
    settings.check()
    assert settings.task.name == task
    assert settings.name == experiment


@pytest.mark.parametrize("planner", ["cem", "icem", "mppi"])
@pytest.mark.parametrize("experiment", ["default", "smoke"])
def test_every_planner_fits_every_experiment(planner: str, experiment: str) -> None:
    settings = cli.compose([f"planner={planner}", f"experiment={experiment}"])
    assert settings.planner.optimizer == planner
    assert settings.planner.search().candidates > settings.planner.proposals


def test_an_experiment_sizes_every_stage_and_an_override_wins() -> None:
    settings = cli.compose(["experiment=smoke", "train.steps=7", "task.nominal=33"])
    assert settings.train_config().steps == 7
    assert collect_config(settings, "nominal").episodes == 33
    assert settings.pretrain_config().steps < 100
    assert settings.weights == settings.encoder_name == "smoke"


def test_what_an_experiment_says_of_one_task_holds_for_that_task_alone() -> None:
    overrides = ("task=cube", "encoder=vit", "experiment=cpu", "encoder_tasks=[cube,push_t]")
    session = cli.Session(cli.compose(overrides), overrides)
    arm, planar = session.settings, session.for_task("push_t")
    assert arm.encoder_config().patch * 8 == arm.image_size == 96  # 64 tokens, as planar scenes
    assert planar.encoder_config().patch * 8 == planar.image_size == 64
    assert arm.task.nominal < planar.task.nominal
    known = {f"{t}-{e}" for t in TASKS for e in EXPERIMENTS}
    assert {path.stem for path in (ROOT / "configs/experiment/task").glob("*.yaml")} <= known


def test_default_data_and_seeds_are_the_documented_ones() -> None:
    settings = cli.compose([])
    nominal, varied = collect_config(settings, "nominal"), collect_config(settings, "varied")
    assert (nominal.seed, varied.seed) == (0, 1)
    assert (nominal.variation, varied.variation) == ((), ("all",))
    assert [m.policy for m in nominal.mix] == ["expert", "weak", "random"]
    assert settings.dataset_path("push_t", "nominal").name == "push_t-nominal"
    assert cli.compose(["name=b"]).dataset_path("push_t", "nominal").name == "push_t-nominal-b"


def test_options_that_yaml_does_not_show_may_be_set() -> None:
    assert cli.compose(["planner.options.momentum=0.3"]).planner.search().momentum == 0.3  # type: ignore[attr-defined]
    assert cli.compose(["train.motion=0.5"]).train_config().motion == 0.5


def test_lists_are_written_as_lists_and_a_lone_value_is_one() -> None:
    assert cli.compose(["method=random"]).method == ("random",)
    assert cli.compose(["method=[jepa,random]"]).method == ("jepa", "random")
    assert cli.compose(["evaluate.seeds=[1,42]"]).evaluate.seeds == (1, 42)


def test_other_tasks_keep_experiments_but_not_this_tasks_numbers() -> None:
    overrides = ("task=reacher", "experiment=smoke", "task.nominal=7", "train.steps=3")
    session = cli.Session(cli.compose(overrides), overrides)
    other = session.for_task("two_room")
    assert other.task.name == "two_room"
    assert other.task.nominal == cli.compose(["task=two_room", "experiment=smoke"]).task.nominal
    assert other.train_config().steps == 3
    assert session.for_task("reacher").task.nominal == 7


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("fly",), "unknown command 'fly'"),
        (("trian",), "did you mean 'train'"),
        (("train", "--now"), "unknown flag '--now'"),
        (("train", "task=push_tee"), "did you mean 'push_t'"),
        (("train", "planner=gradient"), "best_of_n, cem, icem, mppi, policy_only"),
        (("export", "precision=int4"), "float32, int8"),
        (("evaluate", "evaluate.clock=d25"), "d0 to d24"),
        (("evaluate", "pairs.family=officail"), "official"),
        (("improve", "improve.share=2"), "above 0, below 1"),
        (("improve", "improve.interpolation=1"), "at least 0, below 1"),
        (("improve", "improve.options={rounds: 1}"), "improve.options"),
        (("train", "trian.steps=3"), "did you mean 'train'"),
        (("train", "train.stpes=3"), "did you mean 'steps'"),
        (("train", "train.steps=many"), "train.steps = 'many'"),
        (("train", "train.steps=0"), "at least 1"),
        (("train", "train.seed=3"), "train.seed is set"),
        (("train", "encoder.patch=7"), "patch divides"),
        (("train", "objective.options.foo=1"), "foo"),
        (("train", "planner.options.elites=5000"), "elites"),
        (("train", "planner.options.elits=5"), "did you mean 'elites'"),
        (("train", "pairs.cuont=5"), "did you mean 'count'"),
        (("train", "task.mix=[{behaviour: fly, share: 1}]"), "policy 'fly'"),
        (("evaluate", "method=magic"), "method 'magic'"),
        (("train", "demo.tasks=[]"), "demo.tasks = []"),
        (("train", "encoder_tasks=[]"), "encoder_tasks = []"),
        (("train", "launcher=proces"), "did you mean 'process'"),
        (("train", "launcher=od", "--dry-run"), "unknown launcher: 'od'"),
        (("train", "provider=foo"), "CPUExecutionProvider"),
        (("evaluate", "evaluate.seeds=[7]"), "pairs.eval_seeds = [0, 1, 42]"),
        (("train", "ablate.variants=[foo]"), "no-dense-loss"),
        (("train", "planner.options.candidates=1000000000"), "at most"),
        (("train", "planner.options.candidates=0"), "planner.options: ICEM: candidates = 0"),
        (("train", "planner.options.init_std=.inf"), "init_std"),
        (("train", "objective.options.ratio=-1"), "objective.options"),
        (("train", "evaluate.factors.mass=-1"), "evaluate.factors"),
        (("train", "encoder.heads=7"), "encoder"),
        (("train", "steps"), "section.key=value"),
        (("train", "-train.steps=3"), "unknown flag"),
        (("train", "+train.stpes=3"), "did you mean 'steps'"),
        (("train", "~train"), "train is missing"),
        (("train", "~task.steps"), "task.steps"),
        (("train", "method=jepa,random"), "write method=[jepa,random] for a list, or"),
        (("train", "planner=cem,icem"), "add --multirun"),
        (("train", "seed=choice(0,1)"), "add --multirun"),
        (("train", "--cfg", "all-of-it"), "job, hydra, all"),
        (("train", "train.lr=${nothing}"), "nothing"),
        (("doctor", "task=push_t"), "doctor alone"),
    ],
)
def test_mistakes_end_with_one_message_and_code_2(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert "Accepted:" in captured.err
    assert "Traceback" not in captured.err
    assert len(captured.err.strip().splitlines()) == 1
    assert not captured.out


def test_dry_run_composes_and_makes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ROBOT_WM_HOME", str(tmp_path / "home"))
    assert run("evaluate", "experiment=smoke", "train.steps=5", "--dry-run") == 0
    assert json.loads(capsys.readouterr().out)["train"]["steps"] == 5
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("command", [name for name, known in COMMANDS.items() if known.configured])
def test_command_help_explains_its_options(command: str) -> None:
    sections = COMMANDS[command].sections
    for section, rows in option_rows(cli.compose(["experiment=smoke"]), sections):
        assert rows, section
        assert [name for name, _, _ in rows if not name.startswith(f"{section}.")] == []
        explained = [words for _, _, words in rows if words]
        assert len(explained) >= 0.7 * len(rows), section


def test_help_lists_every_method(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("evaluate", "--help") == 0
    assert f"or several. There are {', '.join(names())}." in capsys.readouterr().out


def test_help_shows_effective_values(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "experiment=smoke", "train.steps=11", "--help") == 0
    assert "train.steps = 11" in capsys.readouterr().out


def test_missing_shipped_weights_are_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from robot_wm.cli import settings

    monkeypatch.setattr(settings, "PACKAGE", tmp_path)
    assert run("evaluate", "weights=shipped") == 2
    assert "no shipped weights" in capsys.readouterr().err


def test_absent_named_weights_are_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ROBOT_WM_HOME", str(tmp_path))
    assert run("evaluate", "experiment=smoke", "weights=other") == 2
    assert "other" in capsys.readouterr().err


def test_compose_is_closed() -> None:
    with pytest.raises(ConfigError, match="did you mean 'image_size'"):
        cli.compose(["image_sise=64"])


def test_more_proposals_than_a_search_takes_are_refused_before_anything_is_trained() -> None:
    with pytest.raises(ConfigError, match=r"planner.proposals = 64 .* 0 to 62"):
        cli.compose(["planner.options.candidates=64"]).check()
    cli.compose(["planner.options.candidates=64", "planner.proposals=62"]).check()


@pytest.mark.parametrize("name", ["lewm", "dino_wm", "genie", "sora", "latent_variable"])
def test_proposals_of_a_model_without_an_actor_are_refused_before_its_training(name: str) -> None:
    words = [f"world_model={name}", "method=mpc", "weights=none-yet"]
    cli.compose(words).check()
    with pytest.raises(ConfigError, match=f"planner.proposals = 9 of a {name}, which has no"):
        cli.compose([*words, "planner.proposals=9"]).check()


def test_a_storage_that_cannot_be_written_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = tmp_path / "taken"
    taken.write_text("a file")
    for home in (taken, taken / "below", Path("/proc/nowhere")):
        monkeypatch.setenv("ROBOT_WM_HOME", str(home))
        for more in ((), ("seed=0,1", "--multirun")):
            assert cli.main(["reach-goal", "task=two_room", *more]) == 2
            told = capsys.readouterr().err.strip().splitlines()
            assert len(told) == 1
            assert "set ROBOT_WM_HOME" in told[0]
