"""What ``robot-wm <command> --help`` lists: value and meaning of every option, from the code."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from robot_wm.cli.schema import SECTIONS
from robot_wm.cli.settings import Settings
from robot_wm.core.config import document
from robot_wm.core.instantiate import locate

Row = tuple[str, str, str]


def _stage(settings: Settings, section: str) -> tuple[Any, set[str]]:
    """The built configuration of a stage's section, and the fields that other sections decide."""
    if section == "world_model":
        return settings.train_config(), set(settings.train_config().__dict__) - set(
            settings.world_model
        )
    made = getattr(settings, f"{section}_config")()
    elsewhere = {
        "encoder": {"image_size"},
        "pretrain": {"objective", "options", "encoder", "block"},
        "train": {"task", *settings.world_model},
    }.get(section, set())
    return made, elsewhere | {"seed", "threads", "device"}


def section_rows(settings: Settings, section: str) -> list[Row]:
    """Name, value and meaning of every option of one section."""
    if not section or section in SECTIONS:
        made: Any = getattr(settings, section) if section else settings
        hidden: set[str] = set()
    else:
        made, hidden = _stage(settings, section)
    words = document(type(made))
    if not section:
        hidden = {f.name for f in fields(made) if f.name not in words}
        methods = locate("planning.agent.registry.names")()
        words["method"] += f" There are {', '.join(methods)}."
    prefix = f"{section}." if section else ""
    rows = [
        (prefix + f.name, _shown(getattr(made, f.name)), words.get(f.name, ""))
        for f in fields(made)
        if f.name not in hidden
    ]
    if section in ("planner", "oracle", "diagnosis"):
        optimizer = made.search(f"{section}.options")
        words, prefix = document(type(optimizer)), f"{section}.options"
        rows = [row for row in rows if row[0] != prefix]
        rows += [
            (f"{prefix}.{f.name}", _shown(getattr(optimizer, f.name)), words.get(f.name, ""))
            for f in fields(optimizer)
        ]
    return rows


def _shown(value: Any) -> str:
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_shown(item) for item in value) + "]"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def option_rows(settings: Settings, sections: tuple[str, ...]) -> list[tuple[str, list[Row]]]:
    """Sections with their rows."""
    return [(section, section_rows(settings, section)) for section in sections]
