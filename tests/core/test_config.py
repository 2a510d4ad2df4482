"""Strict building of dataclasses from mappings."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from robot_wm.core.config import (
    Count,
    Fraction,
    Natural,
    Positive,
    Sha256,
    Within,
    build,
    check_fields,
    document,
    join,
    unknown,
)
from robot_wm.core.errors import ConfigError


@dataclass(frozen=True)
class Inner:
    """Inside.

    Attributes:
        size: in pixels
            and more; depth, width: of it.
        kind: ``a`` or ``b``.

    Raises:
        ConfigError: never.
    """

    size: int = 4
    depth: int = 1
    width: int = 1
    kind: Literal["a", "b"] = "a"


@dataclass(frozen=True)
class Outer:
    name: str
    rate: float = 0.5
    on: bool = False
    where: Path | None = None
    rows: tuple[float, ...] = ()
    pair: tuple[int, str] = (1, "x")
    parts: tuple[Inner, ...] = ()
    inner: Inner = field(default_factory=Inner)
    free: dict[str, Any] = field(default_factory=dict)
    either: int | str = 0


def test_everything_is_built_with_its_type() -> None:
    made = build(
        Outer,
        {
            "name": "n", "rate": 1, "on": True, "where": "x/y", "rows": [1, 2.5], "pair": [3, "z"],
            "parts": [{"size": 8}, {}], "inner": {"kind": "b"}, "free": {"k": [1]}, "either": "s",
        },
    )  # fmt: skip
    assert made == Outer(
        "n", 1.0, True, Path("x/y"), (1.0, 2.5), (3, "z"), (Inner(8), Inner()), Inner(kind="b"),
        {"k": [1]}, "s",
    )  # fmt: skip
    assert isinstance(made.rate, float)
    assert all(isinstance(x, float) for x in made.rows)


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        ({"name": "n", "rats": 1}, "'rats'. Accepted: .*rate.*did you mean 'rate'"),
        ({}, "name is missing"),
        ({"name": 3}, r"name = 3 \(int\). Accepted: str"),
        ({"name": "n", "rate": "fast"}, r"rate = 'fast' \(str\). Accepted: float"),
        ({"name": "n", "rate": True}, "rate = True"),
        ({"name": "n", "inner": {"size": True}}, "inner.size = True"),
        ({"name": "n", "inner": {"size": 2.0}}, "inner.size = 2.0"),
        ({"name": "n", "inner": {"sise": 2}}, "'sise'.*did you mean 'size'"),
        ({"name": "n", "inner": {"kind": "c"}}, "inner.kind = 'c'"),
        ({"name": "n", "inner": 3}, "inner = 3"),
        ({"name": "n", "on": 1}, "on = 1"),
        ({"name": "n", "rows": 1.0}, "rows = 1.0"),
        ({"name": "n", "rows": "12"}, "rows = '12'"),
        ({"name": "n", "rows": [1, "a"]}, r"rows\[1\] = 'a'"),
        ({"name": "n", "pair": [1]}, "pair holds 1 values"),
        ({"name": "n", "parts": [{"size": "x"}]}, r"parts\[0\].size = 'x'"),
        ({"name": "n", "where": 3}, "where = 3"),
        ({"name": "n", "either": 1.5}, "int or str"),
        ({"name": None}, "name = None"),
    ],
)
def test_mistakes_are_refused_by_name(mapping: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build(Outer, mapping)


def test_none_is_allowed_only_where_it_is_written() -> None:
    assert build(Outer, {"name": "n", "where": None}).where is None


def test_join_refuses_what_another_section_decides() -> None:
    assert join({"a": 1}, "train", seed=2) == {"a": 1, "seed": 2}
    with pytest.raises(ConfigError, match=r"train\.seed"):
        join({"seed": 1}, "train", seed=2)


def test_options_are_explained_by_the_docstring() -> None:
    words = document(Inner)
    assert words == {
        "size": "in pixels and more",
        "depth": "of it.",
        "width": "of it.",
        "kind": "``a`` or ``b``.",
    }
    assert document(Outer) == {}


def test_a_far_name_gets_no_false_suggestion() -> None:
    assert "did you mean" not in str(unknown("key", "zzz", ["rate"]))


@dataclass(frozen=True)
class Ranged:
    share: Fraction = 0.5
    step: Positive = 1.0
    many: Count = 1
    none: Natural = 0
    digest: Sha256 = "0" * 64
    span: Annotated[float, Within(low=-1, below=2)] = 0.0

    def __post_init__(self) -> None:
        check_fields(self)


WRONG = [
    ("share", 1.1), ("share", -0.1), ("share", float("nan")), ("share", float("inf")),
    ("step", 0), ("step", 10**400), ("many", 0), ("many", 1.5), ("none", -1), ("none", True),
    ("digest", "0" * 63), ("digest", "g" * 64), ("span", 2), ("span", -1.01),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_values_out_of_range_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"x.{name} = ") as caught:
        build(Ranged, {name: value}, "x")
    assert caught.value.accepted
    if not isinstance(value, bool | int | float) or abs(value) < 1e300:
        with pytest.raises(ConfigError, match=name):
            Ranged(**{name: value})


def test_values_at_the_ends_of_a_range_are_taken() -> None:
    ends = {"share": 1, "step": 1e-9, "many": 1, "none": 0, "digest": "a" * 64, "span": -1}
    assert build(Ranged, ends).span == -1.0
    assert str(Within(low=0, below=2)) == "at least 0, below 2"
