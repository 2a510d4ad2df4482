"""A model is run on pictures of its own size, through its own encoder, without being told."""

from pathlib import Path

import pytest

from robot_wm.cli import settings as places
from robot_wm.cli.main import Session, compose
from robot_wm.commands.parts.artifacts import encoder, model
from robot_wm.core.errors import ConfigError, DataError, WeightsError
from robot_wm.core.storage.provenance import (
    atomic_folder,
    read_manifest,
    write_json,
    write_manifest,
)

SIZES = {"push_t": 64, "cube": 96}


def stored(folder: Path, kind: str, parents: dict[str, str], config: dict[str, object]) -> str:
    """A folder that says what it is and holds no numbers; its hash."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with atomic_folder(folder) as work:
        write_json(work / "config.json", config)
        write_manifest(work, kind, parents, {})
    return str(read_manifest(folder, kind)["sha256"])


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation with two models, whose encoders see pictures of different sizes."""
    weights = tmp_path / "weights"
    for task, size in SIZES.items():
        folder = weights / "encoders" / f"{size}x{size}"
        digest = stored(folder, "encoder", {}, {"encoder": {"image_size": size}})
        spec = {"spec": {"image_size": size}}
        stored(weights / task, "world_model", {"encoder": digest}, spec)
    monkeypatch.setattr(places, "PACKAGE", tmp_path)
    monkeypatch.setenv("ROBOT_WM_HOME", str(tmp_path / "home"))
    return weights


def asked(*words: str) -> Session:
    return Session(compose(words), words)


@pytest.mark.parametrize(("task", "size"), SIZES.items())
def test_shipped_weights_need_no_word_about_size_and_encoder(task, size, package):
    session = asked(f"task={task}", "weights=shipped")
    assert session.settings.image_size == size
    assert model(session, "shipped") == (package / task, package / f"encoders/{size}x{size}")
    assert encoder(asked(f"task={task}", "encoder_name=shipped")).name == f"{size}x{size}"


def test_a_size_that_does_not_fit_is_told_with_the_one_that_does(package):
    with pytest.raises(ConfigError, match="image_size of 64x64 pixels") as caught:
        model(asked("task=cube", "image_size=64"), "shipped")
    assert caught.value.accepted.startswith("96x96 pixels")
    assert caught.value.next_step == "leave image_size out"
    carried = model(asked("task=cube", "image_size=64"), "shipped", as_stored=True)
    assert carried == (package / "cube", package / "encoders/96x96")
    # One of one's own whose size is not the task's.
    folder = package.parent / "home/models/cube-mine/world_model"
    stored(folder, "world_model", {}, {"spec": {"image_size": [48, 64]}})
    with pytest.raises(ConfigError, match="image_size of 96x96 pixels") as caught:
        model(asked("task=cube"), "mine")
    assert caught.value.next_step == "give image_size=[48,64]"


def test_encoders_that_are_not_there_are_told(package):
    with pytest.raises(WeightsError, match="32x32 pixels") as caught:
        encoder(asked("image_size=32", "encoder_name=shipped"))
    wanted = "image_size=[64,64] encoder_name=shipped; image_size=[96,96] encoder_name=shipped"
    assert caught.value.accepted == wanted
    (package / "encoders/96x96/manifest.json").unlink()
    with pytest.raises(DataError, match="no encoder"):
        model(asked("task=cube"), "shipped")


def test_other_tasks_have_their_own_size_but_one_encoder_sees_one_size():
    session = asked("task=cube")
    assert session.for_task("push_t").image_size == 64
    assert session.for_encoder("push_t").image_size == 96
    assert asked("task=cube", "image_size=32").for_task("push_t").image_size == 32
