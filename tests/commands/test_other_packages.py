"""What a package installed beside this one brings, through the command line: no file here knows it.

The package is ``tests/toys`` with its YAML files in ``toy_configs``.
"""

import json
from pathlib import Path

import pytest
from toy_family import LinearConfig

from planning.commands import teach
from robot_wm.cli import main as cli
from robot_wm.core.errors import ConfigError
from sim.collection.stage import collect_config

THEIRS = ("world_model=linear", "task=three_joint_arm", "objective=brightness")
OURS = {"world_model": "jepa", "task": "push_t", "objective": "vjepa", "agent": "mpc"}


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBOT_WM_HOME", str(tmp_path / "home"))


def package(folder: Path, files: dict[str, str]) -> None:
    """YAML files of a package that is made here."""
    for name, text in {"__init__.py": "", **files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


@pytest.mark.parametrize("experiment", ["default", "smoke"])
@pytest.mark.parametrize("chosen", [*([one] for one in THEIRS), [*THEIRS]], ids="+".join)
def test_theirs_are_chosen_as_ours_are(
    chosen: list[str], experiment: str, toys: None, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*chosen, f"experiment={experiment}"]
    assert cli.main(["evaluate", *words, "--dry-run"]) == 0
    told, settings = json.loads(capsys.readouterr().out), cli.compose(words)
    if THEIRS[0] in chosen:
        sized = {"steps": 20, "batch": 16} if experiment == "smoke" else {}
        assert told["train"] == sized
        assert told["world_model"] == {"family": "linear", "horizon": 5}
        assert settings.train_config() == LinearConfig(
            settings.task.name, horizon=5, threads=2, **sized
        )
    if THEIRS[1] in chosen:
        count = {"default": 400, "smoke": 80}[experiment]
        assert collect_config(settings, "nominal").episodes == count
        assert told["train_on"] == ["nominal"]
    if THEIRS[2] in chosen:
        assert told["objective"] == {"name": "brightness", "options": {"weight": 2.0}}
        assert settings.pretrain_config().options == {"weight": 2.0}


def test_a_world_model_without_sizes_of_an_experiment_keeps_its_own(toys: None) -> None:
    sizes = cli.compose(["world_model=linear", "experiment=cpu"])
    assert sizes.train_config() == LinearConfig("push_t", horizon=5, threads=2)
    assert sizes.pretrain_config().steps == 1500  # what the experiment says of every model


def test_help_lists_theirs(toys: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    told = capsys.readouterr().out
    assert {"linear", "three_joint_arm", "brightness"} <= set(told.replace(",", " ").split())
    assert cli.main(["train", *THEIRS, "experiment=smoke", "--help"]) == 0
    told = capsys.readouterr().out
    assert "train.steps = 20" in told
    assert "copy_last, dozing, expert, jepa, mpc, onnx" in told


def test_their_agent_is_a_method(toys: None) -> None:
    cli.compose(["method=[dozing,jepa]"]).check()


def test_without_the_package_they_are_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    for word in (*THEIRS, "method=dozing"):
        assert cli.main(["evaluate", word, "--dry-run"]) == 2
        assert f"{word.partition('=')[2]!r}" in capsys.readouterr().err
    assert "dozing" not in cli.help_text()


def test_nobody_replaces_what_is_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed
) -> None:
    before = cli.raw([])
    texts = {f"{group}/{name}.yaml": "family: theirs\n" for group, name in OURS.items()}
    package(tmp_path / "greedy", {"config.yaml": "name: theirs\n", **texts})
    monkeypatch.syspath_prepend(str(tmp_path))
    installed("robot_wm.configs", "greedy", "greedy")
    assert cli.raw([]) == before
    cli.compose(["method=mpc"]).check()


@pytest.mark.parametrize("target", ["not_there.configs", "json.decoder", "plain"])
def test_what_is_no_package_of_yaml_is_named(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed
) -> None:
    (tmp_path / "plain").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    installed("robot_wm.configs", "broken", target)
    with pytest.raises(ConfigError, match=rf"broken = '{target}' of robot_wm\.configs"):
        cli.compose([])


def test_a_task_with_one_predicate_is_collected_and_not_taught(
    toys: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from three_joint_arm import ThreeJointArm

    official = {"official": ThreeJointArm.predicates["official"]}
    monkeypatch.setattr(ThreeJointArm, "predicates", official)
    words = ["task=three_joint_arm", "experiment=smoke"]
    cli.compose(words).check()
    with pytest.raises(ConfigError, match=r"teach\.families: 'long'.*official"):
        cli.compose([*words, "teach.families=[long]"]).check()
    with pytest.raises(ConfigError, match=r"teach\.families: 'strict'.*official"):
        teach.run(cli.Session(cli.compose(words), tuple(words)))
    assert not (tmp_path / "home").exists()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_theirs_go_from_nothing_to_rows_together(toys: None, tmp_path: Path) -> None:
    words = (*THEIRS, "experiment=smoke", "encoder_tasks=three_joint_arm", "workers=1", "threads=1")
    assert cli.main(["evaluate", *words, "method=[mpc,onnx,dozing]"]) == 0
    lines = tmp_path / "home/runs/evaluate-smoke/official-three_joint_arm.jsonl"
    methods = {json.loads(line)["method"] for line in lines.read_text().splitlines()}
    assert methods == {"linear", "onnx", "dozing"}
