"""The commands: one small module each, with ``run(session)``. They assemble the rooms.

A new command is a module here and a line below.
"""

from __future__ import annotations

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
