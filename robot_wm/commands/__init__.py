"""The commands: one small module each, with ``run(session)``. They assemble the rooms.

A new command is a module here and a line below.
"""

from __future__ import annotations

from importlib.util import find_spec

from robot_wm.errors import ConfigError

# name -> (what it does in one line, sections of the configuration it reads)
COMMANDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "collect": ("record episodes of a task (nominal and varied)", ("task", "collect")),
    "pretrain": ("pretrain the video encoder on all tasks", ("encoder", "objective", "pretrain")),
    "probe": ("the gate: does the encoder know poses? exit 1: no, 3: not judged", ("probe",)),
    "ablate": (
        "what each part of the encoder recipe is worth",
        ("ablate", "objective", "pretrain", "probe"),
    ),
    "train": ("train a world model on the frozen encoder", ("model", "train")),
    "modules": (
        "what each module of the agent is worth, on held-out pairs",
        ("evaluate", "planner"),
    ),
    "improve": ("practise in simulation and learn from it", ("improve", "planner", "train")),
    "teach": ("a scripted expert teaches the actor", ("teach", "planner")),
    "pairs": ("draw held-out start/goal pairs", ("pairs",)),
    "calibrate": ("are scene and data as hard as the published ones?", ("pairs",)),
    "evaluate": (
        "reach goal images, append result rows",
        ("evaluate", "planner", "oracle", "diagnosis"),
    ),
    "reach": ("order a goal picture and watch it being reached", ("reach", "planner")),
    "export": ("write the ONNX bundle a robot runs", ("planner",)),
    "page": ("planner and scene as a web page, run by the browser alone", ("planner",)),
    "soak": ("the exported controller under faults for a million steps", ("soak", "planner")),
    "report": (
        "evaluate, then show what the planner saw (HTML)",
        ("report", "planner", "diagnosis"),
    ),
    "results": ("write docs/results.md from results/", ()),
    "bench": ("measure rendering, encoding and planning here", ("planner",)),
    "doctor": ("check this machine and say how to mend it", ()),
    "demo": ("shipped weights against random on three tasks", ("demo", "planner")),
}

SCENES = ("mujoco", "gymnasium", "array_api_compat")
LEARNING = ("torch", "safetensors")
PAGES = ("PIL", "jinja2", "matplotlib")
# command -> what it imports, whatever it is asked to do
NEEDS: dict[str, tuple[str, ...]] = {
    "collect": SCENES,
    "pretrain": (*SCENES, *LEARNING, "PIL"),
    "probe": (*SCENES, *LEARNING),
    "ablate": (*SCENES, *LEARNING, "PIL"),
    "train": (*SCENES, *LEARNING, "PIL"),
    "modules": SCENES,
    "improve": (*SCENES, *LEARNING, "PIL"),
    "teach": (*SCENES, *LEARNING, "PIL"),
    "pairs": SCENES,
    "calibrate": SCENES,
    "evaluate": SCENES,
    "reach": (*SCENES, "PIL"),
    "export": (*SCENES, *LEARNING, "onnx", "onnxscript", "onnxruntime"),
    "page": (*SCENES, "onnxruntime"),
    "soak": (*SCENES, "onnxruntime"),
    "report": (*SCENES, *PAGES),
    "results": (),
    "bench": (*SCENES, *LEARNING),
    "doctor": (),
    "demo": (*SCENES, "onnxruntime", *PAGES),
}
# command -> overrides that stand unless the user gives others: what is planned with needs no torch
DEFAULTS: dict[str, tuple[str, ...]] = {"reach": ("method=onnx",)}
# commands that build the agents of ``method``, and what those of some methods import
BUILDERS = ("modules", "evaluate", "reach", "report")
METHOD_NEEDS = {"jepa": LEARNING, "copy_last": LEARNING, "onnx": ("onnxruntime",)}
# what is imported -> (its name for pip, the extra that brings it)
EXTRAS = {
    "mujoco": ("mujoco", "sim"), "gymnasium": ("gymnasium", "sim"), "PIL": ("pillow", "sim"),
    "array_api_compat": ("array-api-compat", "sim"), "torch": ("torch", "train"),
    "safetensors": ("safetensors", "train"), "onnxruntime": ("onnxruntime", "robot"),
    "onnx": ("onnx", "export"), "onnxscript": ("onnxscript", "export"),
    "hydra": ("hydra-core", "cli"), "jinja2": ("jinja2", "cli"),
    "matplotlib": ("matplotlib", "cli"),
}  # fmt: skip


def installed(module: str) -> bool:
    """Whether a module could be imported; nothing is."""
    try:
        return find_spec(module) is not None
    except ValueError:  # somebody put a module without a specification into sys.modules
        return True


def check_needs(command: str, methods: tuple[str, ...] = ()) -> None:
    """Refuse a command whose imports would fail after hours of work.

    Raises:
        ConfigError: what is missing, and the extras that bring it.
    """
    needed = [*NEEDS[command]]
    for method in methods if command in BUILDERS else ():
        needed += METHOD_NEEDS.get(method, ())
    missing = [name for name in dict.fromkeys(needed) if not installed(name)]
    if missing:
        extras = ",".join(dict.fromkeys(EXTRAS[name][1] for name in missing))
        other = " (method=onnx plans without torch)" if "torch" in missing else ""
        raise ConfigError(
            f"`robot-wm {command}` needs {', '.join(EXTRAS[name][0] for name in missing)}: "
            "not installed",
            f"an environment with the extra {extras}",
            f"run `make setup`, or pip install -e '.[{extras}]'"
            + (other if command in BUILDERS else ""),
        )
