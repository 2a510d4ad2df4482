"""Every variant takes away what it says, is a valid planner and has rows of its own."""

from dataclasses import asdict, fields

import pytest

from planning.agent.config import PlannerSettings
from planning.commands.ablate_planner import VARIANTS, vary
from planning.commands.evaluate import row_config
from robot_wm.cli import main as cli
from robot_wm.core.errors import ConfigError


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_is_valid_and_changes_what_it_says(name: str) -> None:
    settings = cli.compose(["task=two_room"])
    varied = vary(settings, name, VARIANTS[name])
    varied.check()
    before, after = asdict(settings.planner), asdict(varied.planner)
    assert {key for key in before if before[key] != after[key]} == set(VARIANTS[name])
    assert {f.name for f in fields(PlannerSettings)} >= set(VARIANTS[name])


def test_options_are_changed_one_by_one_and_rows_carry_the_variant() -> None:
    settings = cli.compose([])
    varied = vary(settings, "one_round", VARIANTS["one_round"])
    assert varied.planner.options == {**settings.planner.options, "iterations": 1}

    class Pairs:
        family, split = "official", "test"
        task = name = "push_t"

    config = row_config(varied, "jepa", Pairs(), 0)  # type: ignore[arg-type]
    assert (config.row, config.families) == ("modules/push_t@one_round", ("official",))
    assert config.seeded_as == "official/push_t"  # every variant by the chance of the whole agent
    assert row_config(settings, "jepa", Pairs(), 0).seeded_as == ""  # type: ignore[arg-type]
    random = vary(settings, "one_round", {}).replace(method=("random",))
    config = row_config(random, "random", Pairs(), None)  # type: ignore[arg-type]
    assert (config.row, config.seeded_as) == (
        "modules/push_t@random@one_round",
        "official/push_t@random",
    )


def test_a_planner_without_search_has_nothing_to_take_away() -> None:
    with pytest.raises(ConfigError, match="policy_only"):
        vary(cli.compose(["planner=mode1"]), "one_round", VARIANTS["one_round"])
