"""From words on the command line to checked settings: Hydra composes, our dataclasses decide."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, is_dataclass
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

from robot_wm.cli import schema
from robot_wm.cli.aliases import key_of, option_of
from robot_wm.cli.settings import Settings, settings_class
from robot_wm.core.config import build, hints_of, unknown
from robot_wm.core.errors import ConfigError
from robot_wm.core.images import patch_of
from robot_wm.core.registry import config_packages, yaml_files
from robot_wm.core.storage.provenance import storage_root

if TYPE_CHECKING:
    from hydra._internal.hydra import Hydra

SWEEPS = ("choice(", "range(", "interval(", "glob(")


@dataclass(frozen=True)
class Session:
    """One call of the command line: checked settings and the overrides that made them."""

    settings: Settings
    overrides: tuple[str, ...]

    def for_task(self, task: str) -> Settings:
        """The settings of another task, whose pictures have its own size unless told otherwise.

        Overrides of ``task.*`` belong to the named task.
        """
        if task == self.settings.task.name:
            return self.settings
        others = [o for o in self.overrides if not o.lstrip("+~").startswith(("task=", "task."))]
        return compose([*others, f"task={task}"])

    def for_encoder(self, task: str) -> Settings:
        """Another task's settings with pictures of this one's size: one encoder sees them all."""
        return self.for_task(task).replace(image_size=self.settings.image_size)


def missing(error: ImportError) -> ConfigError:
    """What to tell where a library is not there."""
    return ConfigError(
        f"{error.name} is not installed", "an environment with every extra",
        "run `make setup`, or pip install -e '.[sim,cli,train,rivals,export,dev]'",
    )  # fmt: skip


def groups() -> dict[str, list[str]]:
    """Groups of the configuration with their options: names of the YAML files in ``configs/``.

    Agents are chosen by ``method``: several of them run in one evaluation.
    """
    return {group: list(options) for group, options in yaml_files().items() if group != "agent"}


def to_hydra(overrides: Sequence[str], sweep: bool = False) -> list[str]:
    """Check the form of overrides and translate them for Hydra.

    Values may name any key: whether it exists is decided later by the dataclasses, which suggest
    the right one. Text is taken literally. Options of Hydra itself pass as they are.

    Args:
        sweep: whether ``key=a,b`` may stand for several runs.

    Raises:
        ConfigError: not ``key=value``, an unknown option of a group, or a sweep where none may be.
    """
    known, options, texts = settings_class().__dataclass_fields__, groups(), _texts()
    translated = []
    for override in overrides:
        name, equals, value = override.partition("=")
        sign = name[: len(name) - len(name.lstrip("+~"))]
        key = name[len(sign) :]
        if key.startswith(("hydra.", "hydra/")):
            translated.append(override)
            continue
        key = key_of(key)
        wellformed = key.replace(".", "").replace("_", "").isalnum() and sign in (
            "",
            "+",
            "++",
            "~",
        )
        if not wellformed or not (equals or sign == "~"):
            raise ConfigError(
                f"argument {override!r}",
                f"group=option with a group of {', '.join(options)}, or section.key=value",
                "run `robot-wm --help`",
            )
        if key.partition(".")[0] not in {*known, *options}:
            raise unknown("key", key.partition(".")[0], [*known, *options])
        swept = _is_sweep(value)
        if swept and not sweep:
            raise ConfigError(
                f"{override!r} names several values", "one value, or a list: "
                f"{key}=[{value}]" if "(" not in value else "one value",
                f"write {key}=[{value}] for a list, or add --multirun to run once with each "
                f"(text that holds a comma wants quotes within quotes: \"{key}='…'\")",
            )  # fmt: skip
        if key in options and sign != "~" and not value.startswith(SWEEPS):
            names = [option_of(key, word) for word in value.split(",")]
            for word in names:
                if word not in options[key]:
                    raise unknown(f"option of {key}:", word, options[key])
            translated.append(f"{sign}{key}={','.join(names)}")
        elif sign == "~":
            translated.append(f"~{key}{equals}{value}")
        else:
            literal = key in texts and not swept
            translated.append(f"{sign or '++'}{key}={_quoted(value) if literal else value}")
    return translated


def _is_sweep(value: str) -> bool:
    """Whether Hydra takes a value for several: a comma outside of brackets and quotes."""
    if value.startswith(SWEEPS):
        return True
    depth, quote, before = 0, "", ""
    for letter in value:
        if quote:
            quote = "" if letter == quote and before != "\\" else quote
        elif letter in "'\"":
            quote = letter
        elif letter in "[{(":
            depth += 1
        elif letter in "]})":
            depth -= 1
        elif letter == "," and not depth:
            return True
        before = letter
    return False


def _texts() -> set[str]:
    """Dotted names of the options that are text."""
    found = set()
    for name, kind in _kinds().items():
        found |= {name} if _is_text(kind) else set()
        if is_dataclass(kind):
            hints = hints_of(kind)  # type: ignore[arg-type]
            found |= {f"{name}.{inner}" for inner, k in hints.items() if _is_text(k)}
    return found


def _kinds() -> dict[str, Any]:
    """Types of all sections and of what stands at the root."""
    cls: Any = settings_class()
    return hints_of(cls)


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


def _patch(size: Any) -> int:
    """The patch for an image size; any for what is none, which is refused once all is composed."""
    try:
        return patch_of(size if isinstance(size, int) else tuple(size))
    except (TypeError, ValueError, ArithmeticError):
        return 1


@contextmanager
def hydra_of(job: str = "compose", overrides: Sequence[str] = ()) -> Iterator[Hydra]:
    """Hydra with ``configs/``, that of other packages and every section's defaults.

    Its complaints become ours.

    Raises:
        ConfigError: whatever Hydra or OmegaConf refuse.
    """
    try:
        from hydra import initialize_config_module
        from hydra.core.global_hydra import GlobalHydra
        from hydra.errors import HydraException
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException
    except ImportError as error:
        raise missing(error) from error
    schema.store()
    theirs = [f"pkg://{package}" for package in config_packages()[1:]]
    OmegaConf.register_new_resolver("installed_configs", lambda: theirs, replace=True)
    OmegaConf.register_new_resolver("storage", lambda: str(storage_root()), replace=True)
    OmegaConf.register_new_resolver("patch", _patch, replace=True)
    outer = GlobalHydra.instance().hydra  # of the run that composes another task's settings
    GlobalHydra.instance().clear()
    try:
        with initialize_config_module("configs", job_name=job, version_base="1.3"):
            hydra = GlobalHydra.instance().hydra
            assert hydra is not None
            yield hydra
    except (HydraException, OmegaConfBaseException) as error:
        text = " ".join(str(error).split("\n")[0].split())
        raise ConfigError(
            f"{' '.join(overrides)!r}: {text}",
            "values as in configs/",
            "correct the override; text with brackets, commas or braces in a list wants quotes "
            "within quotes, e.g. \"key=['a,b']\"",
        ) from error
    finally:
        GlobalHydra.instance().hydra = outer


def raw(overrides: Sequence[str]) -> dict[str, Any]:
    """The composed configuration as plain values.

    Raises:
        ConfigError: whatever Hydra or OmegaConf refuse.
    """
    wanted = to_hydra(overrides)
    with hydra_of(overrides=overrides):
        from hydra import compose as hydra_compose

        return plain(hydra_compose("config", overrides=wanted))


def plain(config: Any) -> dict[str, Any]:
    """Values of an OmegaConf configuration, all references resolved."""
    from omegaconf import OmegaConf

    value = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(value, dict)
    return {str(key): item for key, item in value.items()}


def settings_of(values: Mapping[str, Any]) -> Settings:
    """Settings from plain values, typed and closed.

    Raises:
        ConfigError: an unknown key or a wrong value.
    """
    cls: Any = settings_class()
    made: Settings = build(cls, _listed(cls, values))
    return made


def _listed(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with lone ones made lists where the dataclass has lists: ``method=random``."""
    kinds, made = hints_of(cls), dict(values)
    for name, value in values.items():
        kind = kinds.get(name)
        if is_dataclass(kind) and isinstance(value, Mapping):
            made[name] = _listed(kind, value)  # type: ignore[arg-type]
        elif get_origin(kind) is tuple and get_args(kind)[1:] == (Ellipsis,):
            lone = value is not None and not isinstance(value, list | tuple | Mapping)
            made[name] = [value] if lone else value
    return made


def compose(overrides: Sequence[str]) -> Settings:
    """Settings from overrides, typed and closed.

    Raises:
        ConfigError: an override that cannot be.
    """
    return settings_of(raw(overrides))
