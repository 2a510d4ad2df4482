"""Every variant of the ablation is a valid recipe that differs in one thing; overview by hand."""

import pytest

from robot_wm.cli import main as cli
from robot_wm.commands.ablate_encoder import VARIANTS, chosen, overview, slug, vary
from robot_wm.core.errors import ConfigError


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_composes_and_changes_what_it_says(name: str) -> None:
    settings = cli.compose([])
    varied = vary(settings, VARIANTS[name])
    varied.check()
    before, after = settings.pretrain_config().to_json(), varied.pretrain_config().to_json()
    assert len({key for key in before if before[key] != after[key]}) == bool(VARIANTS[name])


def test_folders_do_not_clash() -> None:
    assert len({slug(name) for name in VARIANTS}) == len(VARIANTS)


def test_some_variants_stand_beside_the_full_recipe() -> None:
    assert list(chosen(())) == list(VARIANTS)
    assert list(chosen(("no-contrast", "no-dense-loss"))) == [
        "full recipe", "no dense loss", "no contrast",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="no-contrast"):
        chosen(("no contrast",))


def test_the_table_shows_the_better_probe_and_what_is_missing() -> None:
    def row(variant: str, factor: str, probe: str, r2: float | None) -> dict[str, object]:
        return {"variant": variant, "task": "t", "factor": factor, "probe": probe, "r2": r2,
                "frames": 1200, "steps": 400}  # fmt: skip

    text = overview([
        row("full", "x", "mlp", 0.5), row("full", "x", "attentive", 0.25),
        row("full", "y", "mlp", 0.125), row("other", "x", "mlp", 0.75),
        row("other", "y", "mlp", None),
    ])  # fmt: skip
    assert "| variant | t x | t y |" in text
    assert "| full | 0.500 | 0.125 |" in text
    assert "| other | 0.750 | -- |" in text
    assert "1,200 frames" in text
    assert "400 pretraining steps" in text
