"""What ``robot-wm uncertainty`` refuses before anything is made, and what its variants are."""

from pathlib import Path

import pytest

from robot_wm.cli.main import Session, compose
from robot_wm.commands import uncertainty
from robot_wm.core.errors import ConfigError

WORDS = ("task=two_room_kicked", "world_model=latent_variable")


def session(*words: str) -> Session:
    return Session(compose((*WORDS, *words)), (*WORDS, *words))


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("task=two_room", "uncertainty.still=two_room"),  # its rows would be called kicked
        ("world_model=jepa", "world_model=jepa"),
    ],
)
def test_what_cannot_be_compared(
    word: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBOT_WM_HOME", str(tmp_path))
    with pytest.raises(ConfigError, match=told):
        uncertainty.run(session(word))
    assert not any(tmp_path.iterdir())


def test_variants_differ_in_their_scene_name_and_z_alone() -> None:
    run = session("name=mine", "train.steps=7", "world_model.codes=3")
    words = ("world_model.variable=gaussian", "world_model.beta=0.5")
    made = uncertainty.variant(run, "two_room", "gaussian", words).settings
    assert (made.task.name, made.name, made.data_name) == ("two_room", "mine-gaussian", "mine")
    assert made.encoder_name == "mine"
    config = made.train_config()
    assert (config.variable, config.beta, config.steps) == ("gaussian", 0.5, 7)
