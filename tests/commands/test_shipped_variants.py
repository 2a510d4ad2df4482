"""Weights that come with the installation: one model a task, and variants of it by name."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from export.build.stage import bundle
from planning.commands.evaluate import row_config
from planning.evaluation.stage import pair_lists
from robot_wm.cli import paths, settings
from robot_wm.cli.compose import Session, compose
from robot_wm.commands.parts.artifacts import encoder, model
from robot_wm.core.errors import ConfigError, WeightsError
from robot_wm.core.storage.provenance import read_manifest

WEIGHTS = Path(__file__).parents[2] / "robot_wm" / "weights"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation whose two_room has a variant ``far``: reacher's files under that name."""
    weights = tmp_path / "package" / "weights"
    for name in ("encoders", "two_room"):
        shutil.copytree(WEIGHTS / name, weights / name)
    shutil.copytree(WEIGHTS / "reacher", weights / "two_room-far")
    shutil.copytree(WEIGHTS / "bundles" / "two_room", weights / "bundles" / "two_room")
    shutil.copytree(WEIGHTS / "bundles" / "reacher", weights / "bundles" / "two_room-far")
    monkeypatch.setattr(settings, "PACKAGE", weights.parent)
    monkeypatch.setenv("ROBOT_WM_HOME", str(tmp_path / "home"))
    return weights


def session(*words: str) -> Session:
    words = ("task=two_room", *words)
    return Session(compose(words), words)


def test_a_variant_is_another_folder_of_the_installation(package: Path) -> None:
    found = {
        name: model(session(f"weights={name}"), name)[0] for name in ("shipped", "shipped-far")
    }
    assert found == {"shipped": package / "two_room", "shipped-far": package / "two_room-far"}
    for name, folder in found.items():
        planner = bundle(session(f"weights={name}", "method=onnx"))
        assert planner == package / "bundles" / folder.name
        parents = read_manifest(planner, "bundle")["parents"]
        assert parents["world_model"] == read_manifest(folder, "world_model")["sha256"]


def test_an_unknown_variant_is_refused_with_those_there_are(package: Path) -> None:
    with pytest.raises(WeightsError, match="no world model 'shipped-fra'") as caught:
        model(session("weights=shipped-fra"), "shipped-fra")
    assert caught.value.accepted == "shipped, shipped-far"
    assert "'shipped-far'" in caught.value.next_step


@pytest.mark.parametrize(
    ("name", "shipped"),
    [("shipped", True), ("shipped-far", True), ("shippedfar", False), ("mine", False)],
)
def test_names_of_what_came_with_the_installation(name: str, shipped: bool) -> None:
    assert paths.is_shipped(name) is shipped


@pytest.mark.parametrize(
    ("words", "row"),
    [
        (("weights=shipped",), "official/two_room"),
        (("weights=shipped-far",), "official/two_room@far"),
        (("weights=shipped-far", "evaluate.modifiers=[far]"), "official/two_room@far"),
        (("weights=mine",), "official/two_room"),
    ],
)
def test_rows_of_a_variant_are_never_averaged_with_those_of_the_weights_it_varies(
    words: tuple[str, ...], row: str
) -> None:
    settings = session(*words).settings
    assert row_config(settings, "onnx", pair_lists(settings)[0], 0).row == row


@pytest.mark.parametrize("name", ["shipped", "shipped-mine"])
def test_no_run_makes_anything_in_the_installation(name: str) -> None:
    with pytest.raises(ConfigError, match=f"name={name}") as caught:
        compose(("task=two_room", f"name={name}"))
    assert f"weights={name}" in caught.value.next_step


def test_an_encoder_may_have_variants_too(package: Path) -> None:
    found = [encoder(session(f"encoder_name={name}")) for name in ("shipped", "shipped-contrast")]
    assert found == [package / "encoders/64x64", package / "encoders/64x64-contrast"]
    with pytest.raises(WeightsError, match="no encoder 'shipped-contrats' for pictures of 64"):
        encoder(session("encoder_name=shipped-contrats"))
    with pytest.raises(WeightsError) as caught:
        encoder(session("encoder_name=shipped", "image_size=72"))
    assert "image_size=[64,64] encoder_name=shipped-contrast" in caught.value.accepted
