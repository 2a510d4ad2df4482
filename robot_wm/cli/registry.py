"""The commands by name, each a module with ``run(session)`` in the room that does its work.

A new command is such a module and a line here.
"""

from __future__ import annotations

from typing import NamedTuple

from robot_wm.core.errors import ConfigError
from robot_wm.core.instantiate import locate
from robot_wm.core.system.extras import EXTRAS, installed

SCENES = ("mujoco", "gymnasium", "array_api_compat")
LEARNING = ("torch", "safetensors")
PAGES = ("PIL", "jinja2", "matplotlib")


class Command(NamedTuple):
    """What the command line knows of a command before it imports it.

    Attributes:
        target: dotted name of its module.
        words: what it does, in one line.
        sections: of the configuration, shown by its help.
        needs: what it imports, whatever it is asked to do.
        usual: overrides that stand unless the user gives others.
        agents: whether it builds the agents of ``method``.
        configured: whether it takes a configuration.
    """

    target: str
    words: str
    sections: tuple[str, ...]
    needs: tuple[str, ...] = ()
    usual: tuple[str, ...] = ()
    agents: bool = False
    configured: bool = True


COMMANDS: dict[str, Command] = {
    "collect": Command(
        "sim.commands.collect",
        "record episodes of a task (nominal and varied)",
        ("task", "collect"),
        SCENES,
    ),
    "pretrain": Command(
        "robot_wm.commands.pretrain",
        "pretrain the video encoder on all tasks",
        ("encoder", "objective", "pretrain"),
        (*SCENES, *LEARNING, "PIL"),
    ),
    "probe": Command(
        "robot_wm.commands.probe",
        "the gate: does the encoder know poses? exit 1: no, 3: not judged",
        ("probe",),
        (*SCENES, *LEARNING),
    ),
    "ablate-encoder": Command(
        "robot_wm.commands.ablate_encoder",
        "what each part of the encoder recipe is worth",
        ("ablate", "objective", "pretrain", "probe"),
        (*SCENES, *LEARNING, "PIL"),
    ),
    "compare-objectives": Command(
        "robot_wm.commands.compare_objectives",
        "what each way to pretrain the same encoder is worth, and costs",
        ("objectives", "pretrain", "probe"),
        (*SCENES, *LEARNING, "PIL"),
    ),
    "train": Command(
        "robot_wm.commands.train",
        "train a world model on the frozen encoder",
        ("world_model", "train"),
        (*SCENES, *LEARNING, "PIL"),
    ),
    "ablate-planner": Command(
        "planning.commands.ablate_planner",
        "what each module of the agent is worth, on held-out pairs",
        ("evaluate", "planner"),
        SCENES,
        agents=True,
    ),
    "self-improve": Command(
        "planning.commands.self_improve",
        "practise in simulation and learn from it",
        ("improve", "planner", "train"),
        (*SCENES, *LEARNING, "PIL"),
    ),
    "teach": Command(
        "planning.commands.teach",
        "a scripted expert teaches the actor",
        ("teach", "planner"),
        (*SCENES, *LEARNING, "PIL"),
    ),
    "distill": Command(
        "robot_wm.commands.distill",
        "carry a world model over to another encoder, and to other looks",
        ("distill",),
        (*SCENES, *LEARNING, "PIL"),
    ),
    "pairs": Command(
        "planning.commands.goal_pairs", "draw held-out start/goal pairs", ("pairs",), SCENES
    ),
    "calibrate": Command(
        "planning.commands.calibrate",
        "are scene and data as hard as the published ones?",
        ("pairs",),
        SCENES,
    ),
    "evaluate": Command(
        "planning.commands.evaluate",
        "reach goal images, append result rows",
        ("evaluate", "zs", "planner", "oracle", "diagnosis"),
        SCENES,
        agents=True,
    ),
    "reach-goal": Command(
        "planning.commands.reach_goal",
        "order a goal picture and watch it being reached",
        ("reach", "planner"),
        (*SCENES, "PIL"),
        usual=("method=onnx",),
        agents=True,
    ),
    "compare": Command(
        "planning.commands.compare",
        "world models side by side: same data, same compute, same planner",
        ("compare", "physics", "planner"),
        (*SCENES, *LEARNING, *PAGES),
    ),
    "claims": Command(
        "planning.commands.claims",
        "measure what claims of docs/claims.md need and nothing else does",
        ("claims", "objective", "pretrain", "train", "planner"),
        (*SCENES, *LEARNING, "PIL"),
    ),
    "physics": Command(
        "planning.commands.physics",
        "is a world model surprised when something impossible happens?",
        ("physics", "edits", "ridge"),
        (*SCENES, *LEARNING, "PIL"),
    ),
    "uncertainty": Command(
        "robot_wm.commands.uncertainty",
        "does a latent variable foresee what one prediction cannot? exit 1: no",
        ("uncertainty", "world_model", "train"),
        (*SCENES, *LEARNING, "PIL"),
        usual=("task=two_room_kicked", "world_model=latent_variable"),
    ),
    "export": Command(
        "export.commands.export",
        "write the ONNX bundle a robot runs",
        ("planner",),
        (*SCENES, *LEARNING, "onnx", "onnxscript", "onnxruntime"),
    ),
    "web-demo": Command(
        "export.commands.web_demo",
        "planner and scene as a web page, run by the browser alone",
        ("planner",),
        (*SCENES, "onnxruntime"),
    ),
    "stress-test": Command(
        "export.commands.stress_test",
        "the exported controller under faults for a million steps",
        ("soak", "planner"),
        (*SCENES, "onnxruntime"),
    ),
    "report": Command(
        "planning.commands.report",
        "evaluate, then show what the planner saw (HTML)",
        ("report", "planner", "diagnosis"),
        (*SCENES, *PAGES),
        agents=True,
    ),
    "results": Command(
        "planning.commands.results",
        "write docs/results.md, ami.md, claims.md",
        (),
        ("jinja2",),
        configured=False,
    ),
    "benchmark": Command(
        "export.commands.benchmark",
        "measure rendering, encoding and planning here",
        ("planner",),
        (*SCENES, *LEARNING),
    ),
    "doctor": Command(
        "robot_wm.commands.doctor",
        "check this machine and say how to mend it",
        (),
        (),
        configured=False,
    ),
    "demo": Command(
        "planning.commands.demo",
        "shipped weights against random, task by task",
        ("demo", "planner"),
        (*SCENES, "onnxruntime", *PAGES),
    ),
}
# what a trained world model imports, by its back end
BACKEND_NEEDS = {"torch": LEARNING, "onnx": ("onnxruntime",)}
# what the scenes of some tasks are made from
TASK_NEEDS = {
    "cube": ("ogbench", "fast_simplification"),
    "jaco_push": ("dm_control",),
    "jaco_reach": ("dm_control",),
}


def check_needs(command: str, methods: tuple[str, ...] = (), backend: str = "torch") -> None:
    """Refuse a command whose imports would fail after hours of work.

    Args:
        methods: of which it builds agents.
        backend: of those that do not say theirs.

    Raises:
        ConfigError: what is missing, and the extras that bring it.
    """
    needed, agents = [*COMMANDS[command].needs], COMMANDS[command].agents
    for method in methods if agents else ():
        known = locate("planning.agent.registry.agent_recipe")(method, backend)
        needed += BACKEND_NEEDS[known.backend] if known.needs_model else ()
    missing = [name for name in dict.fromkeys(needed) if not installed(name)]
    if missing:
        extras = ",".join(dict.fromkeys(EXTRAS[name][1] for name in missing))
        other = " (method=onnx plans without torch)" if "torch" in missing else ""
        raise ConfigError(
            f"`robot-wm {command}` needs {', '.join(EXTRAS[name][0] for name in missing)}: "
            "not installed",
            f"an environment with the extra {extras}",
            f"run `make setup`, or pip install -e '.[{extras}]'" + (other if agents else ""),
        )
