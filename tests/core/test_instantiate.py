"""Recipes and registries: objects by dotted name."""

import sys
from collections import Counter
from functools import partial

import pytest

from robot_wm.core.errors import ConfigError, StorageError
from robot_wm.core.instantiate import instantiate, locate
from robot_wm.core.registry import Registry


def test_names_lead_to_objects() -> None:
    assert locate("collections.Counter") is locate("collections:Counter") is Counter
    assert locate("robot_wm.core.errors.StorageError") is StorageError
    assert locate("collections:Counter.most_common") is Counter.most_common
    assert locate("collections.Counter.most_common") is Counter.most_common


@pytest.mark.parametrize(
    "name",
    ["", "nothing_here.X", "collections.Nothing", "collections:", "a b", "..", "Counter", "x:"],
)
def test_names_that_lead_nowhere_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="target"):
        locate(name)


def test_a_module_that_lacks_another_says_which(tmp_path, monkeypatch) -> None:
    (tmp_path / "needs_more.py").write_text("import not_installed_anywhere\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="not_installed_anywhere"):
        locate("needs_more.Thing")


def test_recipes_are_carried_out_inside_out() -> None:
    inner = {"_target_": "fractions.Fraction", "_args_": [1, 3]}
    made = instantiate({"_target_": "builtins.dict", "a": [inner, 2], "b": {"c": inner}})
    third = locate("fractions.Fraction")(1, 3)
    assert made == {"a": [third, 2], "b": {"c": third}}
    assert (
        instantiate({"_target_": "builtins.dict", "_recursive_": False, "a": inner})["a"] == inner
    )
    assert instantiate({"_target_": "builtins.dict", "a": 1}, a=2, b=3) == {"a": 2, "b": 3}


def test_partial_recipes_wait_for_the_rest() -> None:
    waiting = instantiate({"_target_": "builtins.int", "_partial_": True, "base": 2})
    assert isinstance(waiting, partial)
    assert waiting("101") == 5


@pytest.mark.parametrize("recipe", [{}, {"a": 1}, {"_target_": 1}, [], None])
def test_what_is_no_recipe_is_refused(recipe) -> None:
    with pytest.raises(ConfigError, match="_target_"):
        instantiate(recipe)


def test_packages_bring_their_own_by_entry_point(tmp_path, monkeypatch) -> None:
    registry = Registry("robot_wm.toys", {"ours": "collections.Counter"})
    assert list(registry) == ["ours"]
    about = tmp_path / "toy-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    entries = "[robot_wm.toys]\ntheirs = toy_things:Thing\nours = toy_things:Thing\n"
    (about / "entry_points.txt").write_text(entries)
    (tmp_path / "toy_things.py").write_text("class Thing: pass\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert list(registry) == ["ours", "theirs"]
    assert "toy_things" not in sys.modules  # listing imports nothing
    assert registry["theirs"].__name__ == "Thing"
    assert registry["ours"] is Counter  # nobody replaces what is ours
    with pytest.raises(ConfigError, match="did you mean 'theirs'"):
        registry["their"]
