"""The command line: ``robot-wm <command> [group=option] [section.key=value]``.

Hydra composes one closed configuration; ``robot_wm.core.config`` types it. A user's mistake ends
with one message on stderr and exit code 2, never with a traceback.
"""

from __future__ import annotations

import errno
import importlib
import sys
from collections.abc import Mapping, Sequence

from robot_wm.cli.aliases import command_of, key_of
from robot_wm.cli.compose import Session, compose, groups, missing, raw
from robot_wm.cli.registry import COMMANDS, check_needs
from robot_wm.core.config import unknown
from robot_wm.core.errors import ConfigError, RobotWMError, StorageError
from robot_wm.core.system.start import (
    check_rooms,
    leave_current_folder,
    mend_streams,
    silence,
    tell,
)

PICTURE = """\
  scene + task --collect--> episodes --pretrain--> encoder (then FROZEN) --probe--> gate
                               |                      |
                               +-------latents--------+--> train --> world model
                               |                                         |
                             pairs --------------------> evaluate <------+
                                                            |
                                            rows --> report, results"""
EXAMPLES = """\
  robot-wm demo                               see it work with the shipped weights
  robot-wm evaluate experiment=smoke          everything, tiny, in minutes: missing stages are made
  robot-wm train task=reacher experiment=cpu  a useful model on two CPU cores
  robot-wm evaluate planner=cem method=[jepa,random] evaluate.limit=20
  robot-wm evaluate planner=cem,icem --multirun      one run with each; lists are written [a,b]
  robot-wm train experiment=smoke --cfg=job --resolve   the configuration as YAML
  robot-wm train experiment=smoke --dry-run       only compose, check and print the configuration"""
OPTIONAL = (
    "torch", "safetensors", "mujoco", "dm_control", "gymnasium", "onnx", "onnxscript",
    "onnxruntime", "array_api_compat", "PIL",
)  # fmt: skip


def help_text() -> str:
    """What ``robot-wm --help`` prints."""
    lines = "\n".join(f"  {name:<14} {known.words}" for name, known in COMMANDS.items())
    known = "\n".join(f"  {name:<14} {', '.join(options)}" for name, options in groups().items())
    return f"""\
robot-wm: reach a goal image by planning in the latent space of a frozen video encoder.

{PICTURE}

usage: robot-wm <command> [group=option ...] [section.key=value ...]
                [--multirun] [--cfg job|hydra|all] [--dry-run] [--help]

commands (each one makes the stages it needs; what exists is reused)
{lines}

groups
{known}

examples
{EXAMPLES}

Data, weights and runs live in $ROBOT_WM_HOME (default ~/.robot_wm).
`robot-wm <command> --help` shows that command's options with their values."""


def command_help(command: str, overrides: Sequence[str]) -> str:
    """Options of one command: effective value and meaning, in the words of the code."""
    known = COMMANDS[command]
    head = f"robot-wm {command}: {known.words}\n"
    if not known.configured:
        return f"{head}\nusage: robot-wm {command}      (no options)"
    from robot_wm.cli.help import option_rows

    settings = compose(overrides)
    parts = [head, f"usage: robot-wm {command} [group=option ...] [section.key=value ...]"]
    for title, rows in option_rows(settings, ("", *known.sections)):
        parts.append(f"\n{title or 'general'}")
        parts += [f"  {name} = {value}\n      {doc}" for name, value, doc in rows]
    return "\n".join(parts)


FLAGS = ("--help", "--dry-run", "--version", "--multirun", "--cfg", "--package", "--resolve")
SHORT = {"-h": "--help", "-m": "--multirun", "-c": "--cfg", "-p": "--package"}
WITH_VALUE = ("--cfg", "--package")
PARTS = ("job", "hydra", "all")  # of the configuration


def _parsed(arguments: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Flags with their values, and the other words.

    Raises:
        ConfigError: an unknown flag, or one without its value.
    """
    flags, words, rest = dict[str, str](), list[str](), list(arguments)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            words.append(word)
            continue
        name, equals, value = word.partition("=")
        name = SHORT.get(name, name)
        if name not in FLAGS:
            raise unknown("flag", name, FLAGS)
        if name in WITH_VALUE and not equals:
            value = rest.pop(0) if rest else ""
        flags[name] = value
    if "--cfg" in flags and flags["--cfg"] not in PARTS:
        raise ConfigError(f"--cfg {flags['--cfg']}", ", ".join(PARTS), "e.g. --cfg job")
    return flags, words


def _run(arguments: Sequence[str]) -> int:
    flags, words = _parsed(arguments)
    if "--version" in flags:
        from robot_wm import __version__

        print(__version__)
        return 0
    if not words:
        print(help_text())
        return 0 if "--help" in flags or not arguments else 2
    command, overrides = command_of(words[0]), words[1:]
    if command not in COMMANDS:
        raise unknown("command", command, COMMANDS)
    if "--help" in flags:
        print(command_help(command, overrides))
        return 0
    return _execute(command, overrides, flags)


def _execute(command: str, overrides: Sequence[str], flags: Mapping[str, str]) -> int:
    known = COMMANDS[command]
    if not known.configured:
        if overrides:
            raise ConfigError(
                f"{command} {' '.join(overrides)}", f"{command} alone", "drop the rest"
            )
        return 0 if "--dry-run" in flags else int(importlib.import_module(known.target).run())
    from robot_wm.cli import launch

    given = {key_of(word.partition("=")[0].lstrip("+~")) for word in overrides}
    usual = [word for word in known.usual if word.partition("=")[0] not in given]
    overrides = [*usual, *overrides]
    if "--multirun" in flags:
        return launch.sweep(command, overrides, "--dry-run" in flags)
    settings = compose(overrides)
    check_needs(command, settings.method, settings.backend)
    settings.check()
    if "--cfg" in flags:
        resolve = "--resolve" in flags
        launch.show(overrides, flags["--cfg"], flags.get("--package"), resolve)
        return 0
    if "--dry-run" in flags:
        from robot_wm.core.storage.provenance import canonical_json

        print(canonical_json(raw(overrides)))
        return 0
    return launch.run(command, overrides)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the console script.

    Returns:
        0 on success, 1 where a command itself reports a failure (doctor, the gate), 2 for a mistake
        the user can mend, 130 after an interruption.
    """
    mend_streams()
    try:
        if arguments is None:
            leave_current_folder()
        check_rooms()
        code = _run(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
        return code
    except RobotWMError as error:
        tell(str(error))
        return 2
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in OPTIONAL:
            raise
        tell(str(missing(error)))
        return 2
    except KeyboardInterrupt:
        tell("interrupted; what was finished is kept, run the same command again to do the rest")
        return 130
    except BrokenPipeError:
        silence()
        return 0
    except OSError as error:
        # Stages name their own files; what is left is the output, e.g. redirected to a full disk.
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise
        silence()
        tell(str(StorageError(str(error), "room for the output", "free some space")))
        return 2


__all__ = ["Session", "compose", "groups", "main"]
