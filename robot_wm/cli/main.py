"""The command line: ``robot-wm <command> [group=option] [section.key=value]``.

Hydra composes one closed configuration; ``robot_wm.core.config`` types it. A user's mistake ends
with one message on stderr and exit code 2, never with a traceback.
"""

from __future__ import annotations

import errno
import importlib
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, is_dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

from robot_wm.cli.registry import COMMANDS, check_needs
from robot_wm.cli.start import check_rooms, leave_current_folder, mend_streams, silence, tell
from robot_wm.core.config import build, document, hints_of, unknown
from robot_wm.core.errors import ConfigError, RobotWMError, StorageError
from robot_wm.core.parallel import use_launcher
from robot_wm.core.system.machine import use_threads

if TYPE_CHECKING:
    from robot_wm.cli.settings import Settings

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
  robot-wm evaluate preset=smoke              everything, tiny, in minutes: missing stages are made
  robot-wm train task=reacher preset=cpu      a useful model on two CPU cores
  robot-wm evaluate planner=cem method=jepa,random evaluate.limit=20
  robot-wm train preset=smoke --dry-run       only compose, check and print the configuration"""
OPTIONAL = (
    "torch", "safetensors", "mujoco", "dm_control", "gymnasium", "onnx", "onnxscript",
    "onnxruntime", "array_api_compat", "PIL",
)  # fmt: skip
LISTS = (
    "method", "encoder_tasks", "train_on", "evaluate.seeds", "evaluate.families",
    "evaluate.modifiers", "evaluate.only", "reach.only", "ablate.variants", "demo.tasks",
    "pairs.eval_seeds",
)  # fmt: skip


@dataclass(frozen=True)
class Session:
    """One call of the command line: checked settings and the overrides that made them."""

    settings: Settings
    overrides: tuple[str, ...]

    def for_task(self, task: str) -> Settings:
        """The same settings for another task. Overrides of ``task.*`` belong to the named task."""
        if task == self.settings.task.name:
            return self.settings
        kept = [o for o in self.overrides if not o.startswith(("task=", "task."))]
        return compose([*kept, f"task={task}"])


def _missing(error: ImportError) -> ConfigError:
    return ConfigError(
        f"{error.name} is not installed", "an environment with every extra",
        "run `make setup`, or pip install -e '.[sim,cli,train,export,dev]'",
    )  # fmt: skip


def groups() -> dict[str, list[str]]:
    """Configuration groups with their options, read from ``configs/``."""
    folders = [item for item in files("configs").iterdir() if item.is_dir()]
    found = {
        f.name: sorted(i.name[:-5] for i in f.iterdir() if i.name.endswith(".yaml"))
        for f in folders
    }
    return dict(sorted((name, options) for name, options in found.items() if options))


def to_hydra(overrides: Sequence[str]) -> list[str]:
    """Check the form of overrides and translate them for Hydra.

    ``key=a,b`` means a list, not a sweep, and so does ``method=a``. Values may name any
    key: whether it exists is decided later by the dataclasses, which know more than the YAML shows.

    Raises:
        ConfigError: not ``key=value``, or an unknown option of a group.
    """
    from robot_wm.cli.settings import Settings

    sections = Settings.__dataclass_fields__
    options, texts, translated = groups(), _texts(), []
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key.replace(".", "").replace("_", "").isalnum():
            raise ConfigError(
                f"argument {override!r}",
                f"group=option with a group of {', '.join(options)}, or section.key=value",
                "run `robot-wm --help`",
            )
        if key in options:
            if value not in options[key]:
                raise unknown(f"option of {key}:", value, options[key])
            translated.append(override)
            continue
        if key.partition(".")[0] not in sections:
            raise unknown("key", key.partition(".")[0], [*sections, *options])
        if key in texts:
            translated.append(f"++{key}={_quoted(value)}")
            continue
        if not value.startswith(("[", "{", "'", '"')) and ("," in value or key in LISTS):
            value = f"[{value}]"
        translated.append(f"++{key}={value}")
    return translated


def _texts() -> set[str]:
    """Dotted names of the options that are text, in the sections that the root types."""
    from robot_wm.cli.settings import Settings

    found = set()
    for name, kind in hints_of(Settings).items():
        found |= {name} if _is_text(kind) else set()
        if is_dataclass(kind):
            hints = hints_of(kind)  # type: ignore[arg-type]
            found |= {f"{name}.{inner}" for inner, k in hints.items() if _is_text(k)}
    return found


def _is_text(kind: Any) -> bool:
    return kind is str or (get_origin(kind) is Annotated and get_args(kind)[0] is str)


def _quoted(value: str) -> str:
    """Text as Hydra takes it literally: file names hold whatever they like.

    What stands in quotes already, or names another option (``${name}``), stays.
    """
    quotes = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    if quotes or re.fullmatch(r"\$\{[\w.]+\}", value):
        return value
    # Before a quote, a backslash would escape; elsewhere Hydra leaves it as it is.
    escaped = re.sub(r"(\\*)'", lambda m: 2 * m[1] + "\\'", value)
    tail = len(escaped) - len(escaped.rstrip("\\"))
    return f"'{escaped}{tail * chr(92)}'"


def raw(overrides: Sequence[str]) -> dict[str, Any]:
    """The composed configuration as plain values.

    Raises:
        ConfigError: whatever Hydra or OmegaConf refuse.
    """
    try:
        from hydra import compose as hydra_compose
        from hydra import initialize_config_module
        from hydra.errors import HydraException
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException
    except ImportError as error:
        raise _missing(error) from error
    wanted = to_hydra(overrides)
    try:
        with initialize_config_module("configs", version_base="1.3"):
            config = hydra_compose("config", overrides=wanted)
        value = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except (HydraException, OmegaConfBaseException) as error:
        text = " ".join(str(error).split("\n")[0].split())
        raise ConfigError(
            f"{' '.join(overrides)!r}: {text}",
            "values as in configs/",
            "correct the override; text with brackets, commas or braces in a list wants quotes "
            "within quotes, e.g. \"key=['a,b']\"",
        ) from error
    assert isinstance(value, dict)
    return {str(key): item for key, item in value.items()}


def compose(overrides: Sequence[str]) -> Settings:
    """Settings from overrides, typed and closed."""
    from robot_wm.cli.settings import Settings

    return build(Settings, raw(overrides))


def help_text() -> str:
    """What ``robot-wm --help`` prints."""
    lines = "\n".join(f"  {name:<9} {known.words}" for name, known in COMMANDS.items())
    known = "\n".join(f"  {name:<9} {', '.join(options)}" for name, options in groups().items())
    return f"""\
robot-wm: reach a goal image by planning in the latent space of a frozen video encoder.

{PICTURE}

usage: robot-wm <command> [group=option ...] [section.key=value ...] [--dry-run] [--help]

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


def _run(arguments: Sequence[str]) -> int:
    flags = {a for a in arguments if a.startswith("-")}
    words = [a for a in arguments if not a.startswith("-")]
    for flag in flags - {"-h", "--help", "--dry-run", "--version"}:
        raise unknown("flag", flag, ("--help", "--dry-run", "--version"))
    if "--version" in flags:
        from robot_wm import __version__

        print(__version__)
        return 0
    wants_help = bool(flags & {"-h", "--help"})
    if not words:
        print(help_text())
        return 0 if wants_help or not arguments else 2
    command, overrides = words[0], words[1:]
    if command not in COMMANDS:
        raise unknown("command", command, COMMANDS)
    if wants_help:
        print(command_help(command, overrides))
        return 0
    return _execute(command, overrides, "--dry-run" in flags)


def _execute(command: str, overrides: Sequence[str], dry: bool) -> int:
    known = COMMANDS[command]
    if not known.configured:
        if overrides:
            raise ConfigError(
                f"{command} {' '.join(overrides)}", f"{command} alone", "drop the rest"
            )
        return 0 if dry else int(importlib.import_module(known.target).run())
    given = {word.partition("=")[0] for word in overrides}
    usual = [word for word in known.usual if word.partition("=")[0] not in given]
    overrides = [*usual, *overrides]
    settings = compose(overrides)
    check_needs(command, settings.method, settings.backend)
    settings.check()
    use_launcher(settings.launcher)
    if dry:
        from robot_wm.core.storage.provenance import canonical_json

        print(canonical_json(raw(overrides)))
        return 0
    use_threads(settings.threads)
    module = importlib.import_module(known.target)
    return int(module.run(Session(settings, tuple(overrides))) or 0)


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
        tell(str(_missing(error)))
        return 2
    except KeyboardInterrupt:
        tell("interrupted; run the same command again to go on")
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


__all__ = ["Session", "build", "compose", "document", "main"]

if __name__ == "__main__":
    sys.exit(main())
