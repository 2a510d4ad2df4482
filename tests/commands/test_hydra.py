"""Hydra as its users know it, with our checks: runs, sweeps, launchers, printed configurations."""

from pathlib import Path

import pytest
import yaml

from robot_wm.cli import aliases
from robot_wm.cli import main as cli
from robot_wm.cli.registry import COMMANDS
from robot_wm.cli.schema import SECTIONS
from robot_wm.core.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "configs"
FILES = sorted(f"{f.parent.name}={f.stem}" for f in CONFIGS.glob("*/*.yaml"))
seen: list[cli.Session] = []


def run(session: cli.Session) -> int:
    """The command that the tests launch: the seed is its exit code."""
    seen.append(session)
    if session.settings.seed == 9:
        raise ConfigError("seed 9", "another", "choose it")
    return session.settings.seed


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBOT_WM_HOME", str(tmp_path / "home"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setitem(COMMANDS, "train", replace_target(COMMANDS["train"]))
    seen.clear()


def replace_target(command):
    return command._replace(target=__name__)


def kept(home: Path) -> list[Path]:
    return sorted(home.rglob(".hydra"))


@pytest.mark.parametrize("chosen", FILES)
def test_every_configuration_composes_and_is_valid(
    chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)  # as where experiment=gpu is used
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    group, _, name = chosen.partition("=")
    cli.compose([f"method={name}" if group == "agent" else chosen]).check()


@pytest.mark.parametrize("task", ["push_t", "cube", "jaco_push", "jaco_reach"])
def test_pictures_of_every_size_become_64_tokens_unless_a_patch_is_given(task: str) -> None:
    vit = (f"task={task}", "encoder=vit")
    assert cli.compose(vit).encoder_config().tokens == 64
    assert cli.compose([*vit, "encoder.patch=16"]).encoder["patch"] == 16
    settings = cli.compose([f"task={task}", "world_model=lewm"])
    assert settings.image_size == 8 * settings.world_model["patch"]


def test_a_task_may_choose_its_encoder_and_the_command_line_another() -> None:
    assert cli.compose(["task=cube"]).encoder == {"family": "patches", "patch": 8}
    assert cli.compose(["task=cube", "experiment=cpu"]).encoder["family"] == "patches"
    assert cli.compose(["task=cube", "encoder=vit"]).encoder["family"] == "vit"
    assert cli.compose(["task=push_t"]).encoder["family"] == "vit"
    shared = cli.compose(["task=cube", "experiment=scenes"])
    assert shared.encoder == cli.compose(["task=push_t", "experiment=scenes"]).encoder


def test_where_nothing_is_pretrained_pretraining_is_refused() -> None:
    with pytest.raises(ConfigError, match="encoder=vit"):
        cli.compose(["task=cube"]).check_pretrains()
    cli.compose(["task=cube", "encoder=vit"]).check_pretrains()
    assert cli.compose(["task=cube", "encoder=vit"]).pretrain_config().encoder.patch == 12


@pytest.mark.parametrize("task", ["push_t", "cube", "jaco_push"])
def test_every_world_model_can_be_trained_on_every_kind_of_task(task: str) -> None:
    """What an experiment says of a task is true of all families, or said of one alone."""
    for path in (CONFIGS / "world_model").glob("*.yaml"):
        cli.compose([f"task={task}", f"world_model={path.stem}", "experiment=cpu"])
    ours = cli.compose(["task=cube", "experiment=cpu"]).train
    assert ours["foreground"] == 1.0


def test_an_encoder_is_pretrained_on_what_it_will_see() -> None:
    """The planar scenes share one; another scene's would have been trained without it."""
    tasks = [path.stem for path in (CONFIGS / "task").glob("*.yaml")]
    seen = {task: cli.compose([f"task={task}"]).encoder_tasks for task in tasks}
    planar = ("push_t", "two_room", "reacher")
    assert {seen[task] for task in planar} == {planar}
    for task in ("cube", "jaco_push", "jaco_reach"):
        assert seen[task] == (task,)
    assert cli.compose(["task=cube", "encoder_tasks=[cube,push_t]"]).encoder_tasks[1:] == planar[:1]


@pytest.mark.parametrize("wrong", ["0", "-8", "big", "[64]", "[64,a]", "null", "1" + 400 * "0"])
def test_an_impossible_picture_is_told_as_such(wrong: str) -> None:
    with pytest.raises(ConfigError, match="image_size"):
        cli.compose([f"image_size={wrong}"])


def test_a_run_leaves_its_resolved_configuration_and_nothing_where_the_user_is(
    tmp_path: Path,
) -> None:
    assert cli.main(["train", "experiment=smoke", "train.steps=7"]) == 0
    (folder,) = kept(tmp_path / "home")
    saved = yaml.safe_load((folder / "config.yaml").read_text())
    assert saved["train"]["steps"] == 7
    assert saved["weights"] == saved["name"] == "smoke"
    assert saved["reach"]["steps"] == cli.compose([]).reach.steps  # defaults of the code, too
    assert yaml.safe_load((folder / "overrides.yaml").read_text()) == [
        "experiment=smoke", "++train.steps=7",
    ]  # fmt: skip
    assert "train-smoke" in str(folder)
    assert not [*(tmp_path / "here").iterdir()]
    assert seen[0].for_task("reacher").train_config().steps == 7


@pytest.mark.parametrize("flag", ["-m", "--multirun"])
def test_a_sweep_runs_every_combination(tmp_path: Path, flag: str) -> None:
    assert cli.main(["train", "planner=cem,icem", "seed=0,1", flag]) == 1  # the largest exit code
    made = {(s.settings.planner.optimizer, s.settings.seed) for s in seen}
    assert made == {("cem", 0), ("cem", 1), ("icem", 0), ("icem", 1)}
    saved = [yaml.safe_load((f / "config.yaml").read_text()) for f in kept(tmp_path / "home")]
    assert {(s["planner"]["optimizer"], s["seed"]) for s in saved} == made
    assert not [*(tmp_path / "here").iterdir()]


def test_each_run_of_a_sweep_has_the_sizes_of_its_experiment(toys: None) -> None:
    assert cli.main(["train", "-m", "experiment=smoke,cpu", "world_model=jepa,linear"]) == 0
    assert [
        (s.settings.name, s.settings.family.name, s.settings.train_config().steps) for s in seen
    ] == [
        ("smoke", "jepa", 20),
        ("smoke", "linear", 20),
        ("cpu", "jepa", 1200),
        ("cpu", "linear", 60),
    ]


def test_lists_and_text_can_be_swept() -> None:
    words = ["train", "-m", "method=random,[stay,random]", "name=a,b", "hydra/launcher=basic"]
    assert cli.main(words) == 0
    assert {(s.settings.method, s.settings.name) for s in seen} == {
        (method, name) for method in (("random",), ("stay", "random")) for name in "ab"
    }


def test_no_run_of_a_sweep_starts_if_one_is_impossible(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "-m", "encoder.patch=8,7"]) == 2
    assert "patch divides" in capsys.readouterr().err
    assert not seen


def test_an_error_of_a_run_is_one_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "seed=9"]) == 2
    assert cli.main(["train", "-m", "seed=9,0"]) == 2
    told = [line for line in capsys.readouterr().err.splitlines() if line]
    # Of a sweep Hydra says which run it was.
    message = "robot-wm: seed 9. Accepted: another. Next: choose it."
    assert [line.partition(":")[0] for line in told if line != message] == [
        "Error executing job with overrides"
    ]
    assert told.count(message) == 2
    assert [s.settings.seed for s in seen] == [9, 9, 0]


def test_a_launcher_that_is_not_installed_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "-m", "seed=0,1", "hydra/launcher=nothing"]) == 2
    assert "nothing" in capsys.readouterr().err
    assert not seen


def test_the_configuration_is_printed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["train", "experiment=smoke", "--cfg", "job"]) == 0
    assert "weights: ${name}" in capsys.readouterr().out
    assert cli.main(["train", "experiment=smoke", "-c", "job", "--resolve"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["weights"] == "smoke"
    assert cli.main(["train", "--cfg=job", "--package", "planner"]) == 0
    assert "optimizer: icem" in capsys.readouterr().out
    assert not seen
    assert not (tmp_path / "home").exists()


def test_values_are_added_forced_and_removed() -> None:
    assert cli.compose(["+evaluate.factors.mass=2.0"]).evaluate.factors == {"mass": 2.0}
    assert cli.compose(["++train.steps=3"]).train_config().steps == 3
    assert "beta" not in cli.compose(["~planner.options.beta"]).planner.options
    with pytest.raises(ConfigError, match="already"):
        cli.compose(["+seed=3"])


def test_text_with_a_comma_wants_quotes() -> None:
    assert cli.compose(["bundle='a,b'"]).bundle == "a,b"
    with pytest.raises(ConfigError, match="multirun"):
        cli.compose(["bundle=a,b"])


def test_names_of_before_answer(capsys: pytest.CaptureFixture[str]) -> None:
    for old, new in aliases.COMMANDS.items():
        assert new in COMMANDS
        assert cli.main([old, "--help"]) == 0
        assert f"robot-wm {new}:" in capsys.readouterr().out
    for old, new in aliases.KEYS.items():
        assert old not in {*cli.groups(), *SECTIONS}
        assert new in cli.groups()
    for group, options in aliases.OPTIONS.items():
        for old, new in options.items():
            assert cli.compose([f"{group}={old}"]) == cli.compose([f"{group}={new}"])
    assert cli.compose(["preset" + "=smoke", "model.width=64"]) == cli.compose(
        ["experiment=smoke", "world_model.width=64"]
    )


def test_another_package_brings_a_section(monkeypatch: pytest.MonkeyPatch) -> None:
    from robot_wm.cli import settings

    theirs = {**SECTIONS._ours, "mine": "planning.commands.report:ReportSettings"}
    monkeypatch.setattr(SECTIONS, "_ours", theirs)
    settings.settings_class.cache_clear()
    try:
        assert cli.compose(["mine.episodes=3"]).mine.episodes == 3
        assert cli.compose([]).mine.max_plans == 4
        with pytest.raises(ConfigError, match="did you mean 'episodes'"):
            cli.compose(["mine.episode=3"])
    finally:
        settings.settings_class.cache_clear()
