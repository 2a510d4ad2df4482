"""Every command in the README and the guide works: robot-wm lines compose, make verbs exist."""

import re
import shlex
from pathlib import Path

import pytest

from planning.commands.results import pages
from robot_wm.cli import main as cli

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "CONTRIBUTING.md")
GENERATED = ("docs/results.md", "docs/ami.md", "docs/claims.md")  # by `robot-wm results`


def fenced(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def commands(program: str) -> list[str]:
    lines = [
        line for page in PAGES for block in fenced(page, "bash") for line in block.splitlines()
    ]
    return [line.split(" #")[0].strip() for line in lines if line.startswith(program + " ")]


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_readme_opens_with_the_two_commands() -> None:
    first = fenced("README.md", "bash")[0].splitlines()
    assert [line.split("#")[0].strip() for line in first] == ["make demo", "make test"]


def test_the_extraction_finds_something() -> None:
    assert len(commands("robot-wm")) >= 8


QUICK = ("workers=1", "threads=1")
FEW = (*QUICK, "evaluate.limit=2")
TINY = (*QUICK, "train.steps=6", "train.embedding_steps=2", "train.dynamics_steps=4",
    "pretrain.steps=4",
        "evaluate.limit=1")  # fmt: skip
# What each line of the README gets besides, so that it is run in seconds: (words, words that take
# the place of others, whether it is slow all the same). A line that is not here fails.
RUN: dict[str, tuple[tuple[str, ...], dict[str, str], bool]] = {
    "robot-wm doctor": ((), {}, False),
    "robot-wm demo": (("demo.pairs=1", "demo.tasks=two_room", *QUICK), {}, False),
    "robot-wm evaluate experiment=smoke": (TINY, {}, True),
    "robot-wm train task=push_t experiment=cpu": (
        TINY,
        {"experiment=cpu": "experiment=smoke"},
        True,
    ),
    "robot-wm probe experiment=cpu": (TINY, {"experiment=cpu": "experiment=smoke"}, True),
    "robot-wm evaluate task=push_t 'method=[jepa,random,oracle]' planner=cem": (
        (*FEW, "oracle.options.iterations=1", "planner.options.iterations=2"),
        {},
        True,
    ),
    "robot-wm evaluate method=onnx 'evaluate.families=[moderate,strict]'": (FEW, {}, False),
    "robot-wm evaluate pairs.family=long pairs.offset=50 pairs.budget=100": (
        (*FEW, "method=random"),
        {},
        False,
    ),
    "robot-wm reach-goal task=two_room": (QUICK, {}, False),
    "robot-wm reach-goal task=push_t reach.pose.block_angle=1.0": (QUICK, {}, False),
    "robot-wm reach-goal task=push_t reach.only=block": (QUICK, {}, True),
    "robot-wm reach-goal task=push_t 'reach.text=\"move the T to the lower left, upside down\"'": (
        QUICK,
        {},
        True,
    ),
    "robot-wm evaluate method=onnx evaluate.words=true": (FEW, {}, True),
    "robot-wm report task=two_room": (
        (*FEW, "method=onnx", "report.episodes=1", "report.explain=false"),
        {},
        False,
    ),
    "robot-wm export task=two_room": (QUICK, {}, True),
    "robot-wm evaluate task=two_room method=onnx": (FEW, {}, False),
    "robot-wm evaluate method=onnx evaluate.clock=measured workers=1": (
        ("evaluate.limit=1", "threads=1"),
        {},
        False,
    ),
    "robot-wm web-demo task=two_room": ((), {}, False),
    "robot-wm stress-test task=two_room": (
        (*QUICK, "soak.ticks=300", "planner.options.iterations=1"),
        {},
        False,
    ),
    "robot-wm self-improve task=push_t": (
        (*TINY, "experiment=smoke", "weights=smoke", "encoder_name=smoke"),
        {},
        True,
    ),
    "robot-wm teach task=push_t": (
        (
            *TINY,
            "experiment=smoke",
            "weights=smoke",
            "encoder_name=smoke",
            "teach.rounds=1",
            "teach.questions=20",
            "teach.ways=2",
            "teach.episodes=2",
            "teach.pairs=1",
            "teach.actor={steps: 5, batch: 8, width: 16, blocks: 1, critic: {steps: 2}}",
        ),
        {},
        True,
    ),
    "robot-wm pretrain experiment=scenes": (
        (*TINY, "encoder_tasks=[two_room,jaco_reach]"),
        {"experiment=scenes": "experiment=smoke"},
        True,
    ),
    "robot-wm distill experiment=scenes 'train_on=[nominal,nominal-looks]'": (
        (*TINY, "collect.looks=5", "distill.steps=4", "distill.batch=8", "distill.warmup=1"),
        {"experiment=scenes": "experiment=smoke"},
        True,
    ),
    "robot-wm distill encoder=random encoder.sees=contrast distill.encoder=true "
    "'train_on=[nominal,nominal-looks]'": (
        (*TINY, "collect.looks=5", "distill.steps=4", "distill.batch=8", "distill.warmup=1"),
        {},
        True,
    ),
    "robot-wm evaluate task=jaco_push pairs.offset=0 pairs.family=long evaluate.via=demo "
    "method=random": ((*FEW, "pairs.count=2", "pairs.budget=20"), {}, True),
    "robot-wm ablate-planner task=push_t": (("evaluate.limit=1", *QUICK), {}, True),
    "robot-wm calibrate task=two_room": (
        ("experiment=smoke", "task.steps=30", *QUICK),
        {},
        False,
    ),
    "robot-wm ablate-encoder experiment=cpu": (TINY, {"experiment=cpu": "experiment=smoke"}, True),
    "robot-wm physics task=push_t": (
        (*QUICK, "physics.pairs=1", "physics.validation=1", "physics.categories=[inertia]"),
        {},
        True,
    ),
    "robot-wm train world_model=dreamer experiment=cpu": (
        (*QUICK, "train.steps=4", "train.behaviour_steps=2", "task.steps=90"),
        {"experiment=cpu": "experiment=smoke"},
        True,
    ),
    "robot-wm compare experiment=cpu 'compare.models=[jepa,dreamer,lewm]'": (
        (
            *QUICK,
            "compare.overlays=[]",
            "physics.pairs=1",
            "physics.validation=1",
            "physics.categories=[inertia]",
            "evaluate.limit=1",
            "task.steps=90",
        ),
        {"experiment=cpu": "experiment=smoke"},
        True,
    ),
    "robot-wm physics task=ridge experiment=ridge": (
        (
            *QUICK,
            "task.varied=60",
            "ridge.clips=3",
            "ridge.episodes=20",
            "train.steps=4",
            "train.dynamics_steps=4",
            "ridge.control={steps: 2, batch: 4, width: 4}",
        ),
        {},
        True,
    ),
    "robot-wm claims experiment=cpu 'claims.which=[7]'": (
        (
            *QUICK,
            "claims.temperatures=[1.2]",
            "claims.dreams=2",
            "evaluate.limit=1",
            "task.steps=90",
        ),
        {"experiment=cpu": "experiment=smoke"},
        True,
    ),
    "robot-wm collect task=jaco_push experiment=smoke": (
        (*QUICK, "task.nominal=2", "task.varied=2"),
        {},
        True,
    ),
    "robot-wm evaluate task=two_room method=onnx evaluate.factors.camera_yaw=5.0 "
    "planner.straighten=true": (FEW, {}, False),
    "robot-wm evaluate task=reacher evaluate.factors.camera_yaw=5.0": (
        (*FEW, "method=onnx"),
        {},
        False,
    ),
    "robot-wm train experiment=smoke train.steps=50 --dry-run": ((), {}, False),
    "robot-wm benchmark": (QUICK, {}, True),
    "robot-wm results": ((), {}, False),
}
# Where something else than success is the right answer.
CODES = {
    "robot-wm web-demo task=two_room": (
        0,
        2,
    ),  # what `make browser` installs is missing: told at once
    "robot-wm calibrate task=two_room": (1,),  # a handful of episodes is no calibrated collection
    "robot-wm probe experiment=cpu": (0, 1, 3),  # nor is a smoke-sized encoder one that passes
    "robot-wm doctor": (0, 1),  # what a machine lacks is not the README's fault
}


def lines(slow: bool) -> list[str]:
    return [line for line in commands("robot-wm") if RUN.get(line, ((), {}, False))[2] == slow]


def run_line(line: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a line as it stands, smaller; check its exit code."""
    assert line in RUN, f"say in RUN how to run {line!r} in seconds"
    more, instead, _ = RUN[line]
    words = [instead.get(word, word) for word in shlex.split(line)[1:]]
    flags = [word for word in words if word.startswith("-")]
    monkeypatch.setenv("ROBOT_WM_HOME", str(home))
    kept = [(ROOT / page).read_text(encoding="utf-8") for page in GENERATED]
    code = cli.main([*(w for w in words if w not in flags), *more, *flags])
    assert code in CODES.get(line, (0,)), line
    assert [(ROOT / page).read_text(encoding="utf-8") for page in GENERATED] == kept


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.mark.parametrize("line", lines(slow=False))
def test_commands_of_the_readme_run(line: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_line(line, home, monkeypatch)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("line", lines(slow=True))
def test_long_commands_of_the_readme_run(
    line: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_line(line, home, monkeypatch)


@pytest.mark.parametrize("line", commands("robot-wm"))
def test_robot_wm_commands_compose(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBOT_WM_HOME", str(tmp_path))
    assert cli.main([*shlex.split(line)[1:], "--dry-run"]) == 0


def test_commands_of_the_help_text_compose() -> None:
    for line in cli.EXAMPLES.splitlines():
        words = shlex.split(line.strip())[1:]
        kept = [words[0], *(w for w in words[1:] if "=" in w or w[0] == "-")]
        assert cli.main([*kept, "--dry-run"]) == 0, line


@pytest.mark.parametrize("line", commands("make"))
def test_make_targets_exist(line: str) -> None:
    assert line.split()[1] in make_targets()


def test_generated_pages_are_those_of_the_committed_rows() -> None:
    made = pages(ROOT)
    assert {f"docs/{name}" for name in made} == set(GENERATED)
    for name, text in made.items():
        kept = (ROOT / "docs" / name).read_text(encoding="utf-8")
        assert kept == text, f"docs/{name} is not what results/ says: run `robot-wm results`"


def test_inner_links_lead_somewhere() -> None:
    for page in (*PAGES, *GENERATED):
        text = (ROOT / page).read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#:]+)\)", text):
            assert ((ROOT / page).parent / target).exists(), (page, target)


def test_the_first_python_example_reaches_its_goal(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(fenced("README.md", "python")[0], "README.md", "exec"), {})
    assert capsys.readouterr().out.startswith("reached after ")


def test_the_first_python_example_takes_an_arm() -> None:
    """Its pictures have another size, its actions five numbers; one step says that they fit."""
    text = fenced("README.md", "python")[0]
    assert text.count('"push_t"') == 2
    short = text.replace('"push_t"', '"cube"').replace("range(300)", "range(1)")
    with pytest.raises(SystemExit, match="missed"):
        exec(compile(short, "README.md", "exec"), {})


def test_the_robot_s_example_drives(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a scene for a robot; its period is waited for by nobody."""
    import numpy as np

    import sim

    env = sim.make("two_room")
    goal, goal_info = env.reset(seed=1)
    obs, info = env.reset(seed=0)
    time, seen, poses, sent = [0.0], [obs["image"]], [info["pose"]], list[np.ndarray]()

    def send(action: np.ndarray) -> None:
        obs, *_, info = env.step(action)
        time[0] += env.spec.control_dt
        seen[0] = obs["image"]
        poses.append(info["pose"])
        sent.append(action)

    def running() -> bool:
        reached = len(poses) > 1 and env.success("official", np.stack(poses), goal_info["pose"])
        return len(sent) < 150 and not np.any(reached)

    given = {
        "goal_image": goal["image"], "running": running, "send": send, "now": lambda: time[0],
        "camera": lambda: (seen[0], time[0]),
    }  # fmt: skip
    exec(compile(fenced("README.md", "python")[1], "README.md", "exec"), given)
    env.close()
    assert len(sent) < 150, given["controller"].faults
    assert len(fenced("README.md", "python")) == 2
