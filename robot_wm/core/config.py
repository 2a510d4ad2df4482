"""From plain mappings to typed, closed dataclasses: an unknown key or a wrong type is refused.

``build(TrainConfig, {"steps": 30})`` checks every key and value, nested dataclasses included,
before the first second of work. ``document`` reads the ``Attributes:`` of a dataclass, so that the
command line explains options in the very words of the code.
"""

from __future__ import annotations

import contextlib
import difflib
import math
import re
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from numbers import Integral, Real
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from robot_wm.core.errors import ConfigError

T = TypeVar("T")


@dataclass(frozen=True)
class Within:
    """A range of numbers, for ``Annotated[float, Within(above=0)]``. All bounds are optional.

    Attributes:
        low, high: smallest and largest value.
        above, below: the value itself excluded.
    """

    low: float = -math.inf
    high: float = math.inf
    above: float = -math.inf
    below: float = math.inf

    def holds(self, value: Any) -> bool:
        """Whether the number lies within."""
        return bool(self.low <= value <= self.high and self.above < value < self.below)

    def __str__(self) -> str:
        bounds = (
            (math.isfinite(self.low), f"at least {self.low:g}"),
            (math.isfinite(self.above), f"above {self.above:g}"),
            (math.isfinite(self.high), f"at most {self.high:g}"),
            (math.isfinite(self.below), f"below {self.below:g}"),
        )
        return ", ".join(text for holds, text in bounds if holds)


@dataclass(frozen=True)
class Matching:
    """A form of text: the whole of it matches ``pattern``, which ``words`` describe."""

    pattern: str
    words: str

    def holds(self, value: Any) -> bool:
        """Whether the text has this form."""
        return re.fullmatch(self.pattern, value) is not None

    def __str__(self) -> str:
        return self.words


Natural = Annotated[int, Within(low=0)]
Count = Annotated[int, Within(low=1)]
Seed = Annotated[int, Within(low=0, below=2**63)]
NonNegative = Annotated[float, Within(low=0)]
Positive = Annotated[float, Within(above=0)]
Fraction = Annotated[float, Within(low=0, high=1)]
Device = Annotated[str, Matching(r"cpu|cuda(:\d+)?", "cpu, cuda or cuda:0, cuda:1, …")]
Sha256 = Annotated[str, Matching("[0-9a-f]{64}", "64 hexadecimal digits")]


def unknown(what: str, name: str, known: Iterable[str]) -> ConfigError:
    """The error for a name that is not among the known ones, with a suggestion if one is near."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else "use one of the accepted names"
    return ConfigError(f"unknown {what} {name!r}", ", ".join(names) or "none", hint)


def build(cls: type[T], mapping: Mapping[str, Any], where: str = "") -> T:
    """An instance of dataclass ``cls`` from a mapping, checked strictly and recursively.

    An ``int`` is accepted where a ``float`` is wanted, a list where a tuple is wanted; nothing else
    is converted.

    Args:
        cls: a dataclass whose fields are int, float, str, bool, Path, None, literals, tuples,
            lists, mappings or dataclasses, and unions of these.
        mapping: names to plain values.
        where: dotted name of this mapping, for messages.

    Raises:
        ConfigError: unknown, missing or wrongly typed; or whatever ``cls`` itself refuses.
    """
    if not isinstance(mapping, Mapping):
        raise ConfigError(f"{where or cls.__name__} = {mapping!r}", "a mapping", "nest the keys")
    known = {f.name: f for f in fields(cls) if f.init}  # type: ignore[arg-type]
    for key in mapping:
        if key not in known:
            raise unknown(f"key in {where or cls.__name__}:", str(key), known)
    hints = hints_of(cls)  # type: ignore[arg-type]
    prefix = f"{where}." if where else ""
    for name, item in known.items():
        missing = item.default is MISSING and item.default_factory is MISSING
        if missing and name not in mapping:
            raise ConfigError(
                f"{prefix}{name} is missing", type_name(hints[name]), f"set {prefix}{name}"
            )
    return cls(**{k: convert(hints[k], v, prefix + str(k)) for k, v in mapping.items()})


@cache
def hints_of(cls: Any) -> dict[str, Any]:
    """Types of a dataclass's fields with their ranges."""
    return get_type_hints(cls, include_extras=True)


def check_fields(made: Any, where: str = "") -> None:
    """Check types and ranges of a dataclass that was made in Python; for ``__post_init__``.

    Raises:
        ConfigError: a value of another type or out of its range.
    """
    hints = hints_of(type(made))  # type: ignore[arg-type]
    prefix = f"{where}." if where else ""
    for item in fields(made):
        convert(hints[item.name], getattr(made, item.name), prefix + item.name)


def convert(kind: Any, value: Any, where: str) -> Any:
    """``value`` as type ``kind``.

    Raises:
        ConfigError: it is of another type.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin is Annotated:
        made = convert(inner[0], value, where)
        for rule in inner[1:]:
            if not rule.holds(made):
                raise ConfigError(f"{where} = {value!r}", str(rule), f"correct {where}")
        return made
    if origin in (Union, types.UnionType):
        return _first_that_fits(inner, value, where)
    if origin is Literal:
        if value in inner:
            return value
    elif is_dataclass(kind) and isinstance(kind, type):
        return value if isinstance(value, kind) else build(kind, value, where)
    elif origin in (tuple, list, Sequence):
        if isinstance(value, list | tuple):
            return _sequence(origin, inner, value, where)
    elif origin in (dict, Mapping):
        if isinstance(value, Mapping):
            key, item = inner
            return {
                convert(key, k, where): convert(item, v, f"{where}.{k}") for k, v in value.items()
            }
    elif kind is None or kind is types.NoneType:
        if value is None:
            return None
    elif kind is Path:
        if isinstance(value, str | Path):
            return Path(value)
    elif kind is float:
        if isinstance(value, Real) and not isinstance(value, bool):
            # A whole number too large for a float is as useless as an infinite one.
            with contextlib.suppress(OverflowError):
                if math.isfinite(float(value)):
                    return float(value)
            raise ConfigError(f"{where} = {value!r}", "a finite number", f"correct {where}")
    elif kind is int and isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)  # NumPy's own whole numbers
    # A bool is an int to Python, never to a reader of a configuration.
    elif isinstance(value, kind) and (kind is not int or not isinstance(value, bool)):
        return value
    raise ConfigError(
        f"{where} = {value!r} ({type(value).__name__})", type_name(kind), f"correct {where}"
    )


def _first_that_fits(kinds: Sequence[Any], value: Any, where: str) -> Any:
    for kind in kinds:
        try:
            return convert(kind, value, where)
        except ConfigError as error:
            # The message of a wrong key inside a nested mapping is worth more than ours.
            if is_dataclass(kind) and isinstance(value, Mapping):
                raise error
    raise ConfigError(
        f"{where} = {value!r} ({type(value).__name__})",
        " or ".join(type_name(kind) for kind in kinds),
        f"correct {where}",
    )


def _sequence(origin: Any, inner: Sequence[Any], value: Sequence[Any], where: str) -> Any:
    if origin is tuple and not (len(inner) == 2 and inner[1] is Ellipsis):
        if len(inner) != len(value):
            raise ConfigError(
                f"{where} holds {len(value)} values", f"{len(inner)}", f"correct {where}"
            )
        return tuple(convert(k, v, where) for k, v in zip(inner, value, strict=True))
    items = [convert(inner[0], v, f"{where}[{i}]") for i, v in enumerate(value)]
    return items if origin is list else tuple(items)


def type_name(kind: Any) -> str:
    """A type as a reader would write it."""
    if kind is None or kind is types.NoneType:
        return "null"
    if get_origin(kind) is Annotated:
        base, *rules = get_args(kind)
        return f"{type_name(base)} {', '.join(map(str, rules))}"
    plain = isinstance(kind, type) and not get_args(kind)
    return kind.__name__ if plain else str(kind).replace("typing.", "")


@contextlib.contextmanager
def naming(section: str) -> Iterator[None]:
    """Put the section before messages that do not name it.

    Raises:
        ConfigError: the one that was raised within.
    """
    try:
        yield
    except ConfigError as error:
        if section.partition(".")[0] in error.received:
            raise
        received = f"{section}: {error.received}"
        raise ConfigError(received, error.accepted, error.next_step) from error


def join(section: Mapping[str, Any], where: str, **given: Any) -> dict[str, Any]:
    """A section plus values that another section decides.

    Raises:
        ConfigError: the section sets one of those values itself.
    """
    for key in given:
        if key in section:
            raise ConfigError(
                f"{where}.{key} is set", f"{where} without {key}", f"drop {where}.{key}"
            )
    return {**section, **given}


def document(cls: type) -> dict[str, str]:
    """One line per field, from the ``Attributes:`` part of the class docstring (bases included)."""
    lines: dict[str, str] = {}
    for kind in reversed(cls.__mro__):
        _, _, text = (kind.__doc__ or "").partition("Attributes:\n")
        text = re.split(r"\n\s*\n|\n\s*Raises:", text)[0]
        # "name, other: words" starts an entry; deeper lines continue it; ";" may start another.
        for entry in re.split(r"\n(?=\s{4,8}[a-z_][\w, ]*:)", "\n" + text):
            joined = " ".join(entry.split())
            for part in re.split(r";\s(?=[a-z_][\w, ]*:\s)", joined):
                names, colon, words = part.partition(": ")
                if colon and re.fullmatch(r"[a-z_]\w*(, [a-z_]\w*)*", names):
                    lines.update(dict.fromkeys(names.split(", "), words.strip()))
    return lines
