"""Named factors of variation. Training and held-out values are disjoint by construction.

A factor's values are drawn once per episode. ``train`` values feed data collection, ``held_out``
levels feed zero-shot evaluation only; the constructors refuse ranges that touch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol

import numpy as np

from robot_wm.core.config import Fraction, Within, convert, unknown
from robot_wm.core.errors import ConfigError

RGB = tuple[float, float, float]
Kind = Literal["look", "size", "shape", "motion", "time"]
"""What a factor changes: the picture alone, how large something is or what touches what, how things
move, or when."""

NAMED_COLORS: dict[str, RGB] = {
    "red": (0.85, 0.1, 0.1),
    "yellow": (0.95, 0.85, 0.1),
    "black": (0.05, 0.05, 0.05),
    "blue": (0.1, 0.1, 0.85),
    "green": (0.1, 0.65, 0.15),
    "brown": (0.55, 0.3, 0.1),
    "magenta": (0.85, 0.1, 0.8),
    "white": (1.0, 1.0, 1.0),
}


def cielab(rgb: RGB) -> np.ndarray:
    """CIELAB coordinates (D65) of an sRGB colour in [0, 1]."""
    c = np.asarray(rgb, float)
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = np.asarray(to_xyz) @ linear / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def delta_e(a: RGB, b: RGB) -> float:
    """CIE 1976 colour difference."""
    return float(np.linalg.norm(cielab(a) - cielab(b)))


class Factor(Protocol):
    """One thing that may differ between episodes."""

    @property
    def nominal(self) -> Any:
        """The value of the unvaried scene."""
        ...

    @property
    def held_out(self) -> tuple[Any, ...]:
        """Levels never seen in training."""
        ...

    @property
    def kind(self) -> Kind:
        """What it changes."""
        ...

    def name(self, value: Any) -> str:
        """A value as rows and reports spell it; :meth:`value` takes the name of a level back."""
        ...

    def sample(self, rng: np.random.Generator) -> Any:
        """Draw a training value."""
        ...

    def value(self, given: Any) -> Any:
        """What a user gave, as the scene takes it; ConfigError if it cannot."""
        ...


@dataclass(frozen=True)
class Interval:
    """A number drawn uniformly from ``[low, high]``."""

    nominal: float
    low: float
    high: float
    held_out: tuple[float, ...]
    kind: Kind = "look"

    def __post_init__(self) -> None:
        inside = [v for v in self.held_out if self.low <= v <= self.high]
        if inside:
            raise ConfigError(
                f"held-out levels {inside} lie in the training range",
                f"levels outside [{self.low}, {self.high}]",
                "move the levels or narrow the range",
            )

    def sample(self, rng: np.random.Generator) -> float:
        """Uniform draw."""
        return float(rng.uniform(self.low, self.high))

    def value(self, given: Any) -> float:
        """A finite number; scales, whose training range is positive, between 1/20 and 20 times it.

        One that is spelled like a level is that level.

        Raises:
            ConfigError: anything else.
        """
        named = {self.name(level): level for level in self.held_out}
        if isinstance(given, str) and given in named:
            return named[given]
        least, most = (self.low / 20, self.high * 20) if self.low >= 0 else (-180.0, 180.0)
        number = float(convert(Annotated[float, Within(least, most)], given, "value"))
        return named.get(self.name(number), number)

    def name(self, value: Any) -> str:
        """Six digits, with the sign where both signs occur: ``0.571429``, ``+5``."""
        return f"{value:+g}" if self.low < 0 else f"{value:g}"


@dataclass(frozen=True)
class Color:
    """A colour within ``ΔE <= 30`` of nominal; held-out colours are at least 55 away."""

    nominal: RGB
    held_out: tuple[RGB, ...]
    train_radius: float = 30.0
    held_out_radius: float = 55.0
    kind: Kind = "look"

    def __post_init__(self) -> None:
        near = [c for c in self.held_out if delta_e(c, self.nominal) < self.held_out_radius]
        if near or self.train_radius >= self.held_out_radius:
            raise ConfigError(
                f"held-out colours {near} are too close to {self.nominal}",
                f"a CIELAB distance of at least {self.held_out_radius}",
                "choose other colours",
            )

    def sample(self, rng: np.random.Generator) -> RGB:
        """Uniform in the RGB box around nominal, accepted within the CIELAB ball."""
        while True:
            c = np.clip(np.asarray(self.nominal) + rng.uniform(-0.35, 0.35, 3), 0, 1)
            color = (float(c[0]), float(c[1]), float(c[2]))
            if delta_e(color, self.nominal) <= self.train_radius:
                return color

    def value(self, given: Any) -> RGB:
        """The name of a colour, or red, green and blue in [0, 1].

        Raises:
            ConfigError: anything else.
        """
        if isinstance(given, str):
            if given not in NAMED_COLORS:
                raise unknown("colour", given, NAMED_COLORS)
            return NAMED_COLORS[given]
        rgb: RGB = convert(tuple[Fraction, Fraction, Fraction], given, "value")
        return rgb

    def name(self, value: Any) -> str:
        """The colour's name; of one without, its numbers."""
        known = (name for name, color in NAMED_COLORS.items() if color == tuple(value))
        return next(known, "-".join(f"{v:g}" for v in value))


@dataclass(frozen=True)
class Choice:
    """One of a set of names or whole numbers."""

    nominal: Any
    train: tuple[Any, ...]
    held_out: tuple[Any, ...]
    kind: Kind = "look"

    def __post_init__(self) -> None:
        shared = set(self.train) & set(self.held_out)
        if shared:
            raise ConfigError(f"{sorted(shared)} in both sets", "disjoint sets", "remove from one")

    def sample(self, rng: np.random.Generator) -> Any:
        """Uniform draw."""
        return self.train[int(rng.integers(len(self.train)))]

    def value(self, given: Any) -> Any:
        """One of the set.

        Raises:
            ConfigError: another one.
        """
        known = {self.name(v): v for v in (self.nominal, *self.train, *self.held_out)}
        if isinstance(given, bool) or self.name(given) not in known:
            raise unknown("value", str(given), known)
        return known[self.name(given)]

    def name(self, value: Any) -> str:
        """As it is written."""
        return str(value)


def colors(nominal: RGB, *names: str) -> Color:
    """A colour factor with named held-out colours."""
    return Color(nominal, tuple(NAMED_COLORS[name] for name in names))


def looks_of(factors: Mapping[str, Factor]) -> list[str]:
    """Names of the factors that change pictures and nothing else: colours, light, the camera."""
    return [name for name, factor in factors.items() if factor.kind == "look"]


def drawn_again(factors: Mapping[str, Factor]) -> list[str]:
    """Names of the factors in which a collection in other looks differs: looks, and sizes.

    Its states are those of its source whatever is in them: nothing moves in such a collection.
    """
    return [name for name, factor in factors.items() if factor.kind in ("look", "size")]


def levels(factor: Factor) -> dict[str, Any]:
    """Held-out levels of a factor by name."""
    return {factor.name(value): value for value in factor.held_out}


def check_names(factors: Mapping[str, Factor], names: list[str]) -> None:
    """Refuse names that the scene does not offer.

    Raises:
        ConfigError: an unknown factor.
    """
    unknown = sorted(set(names) - set(factors))
    if unknown:
        raise ConfigError(f"unknown factors {unknown}", str(sorted(factors)), "choose among these")


def check_values(factors: Mapping[str, Factor], given: Mapping[str, Any]) -> dict[str, Any]:
    """Values of factors as the scene takes them.

    Raises:
        ConfigError: an unknown factor, or a value that it cannot have.
    """
    check_names(factors, list(given))
    found = {}
    for name, value in given.items():
        try:
            found[name] = factors[name].value(value)
        except ConfigError as error:
            raise ConfigError(
                f"factor {name} = {value!r}", error.accepted, f"correct {name}"
            ) from error
    return found


def draw(
    factors: Mapping[str, Factor], names: list[str], rng: np.random.Generator
) -> dict[str, Any]:
    """Training values for the named factors, in the scene's own order (``["all"]`` = every one)."""
    if names == ["all"]:
        names = list(factors)
    check_names(factors, names)
    return {name: factor.sample(rng) for name, factor in factors.items() if name in names}
