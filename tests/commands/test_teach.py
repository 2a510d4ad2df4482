"""What ``robot-wm teach`` refuses before anything is made."""

from pathlib import Path

import pytest

from planning.commands import teach
from robot_wm.cli.main import Session, compose
from robot_wm.core.errors import ConfigError
from robot_wm.data.lessons import LESSONS


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("pairs.offset=0", r"pairs\.offset=0"),  # a pair of the scene's own has no recording
        ("teach.families=[official,gentle]", "gentle"),
        ("teach.also=[nowhere-0]", "nowhere-0"),
        ("teach.also=[../elsewhere]", "elsewhere"),
    ],
)
def test_what_cannot_be_taught(
    word: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBOT_WM_HOME", str(tmp_path))
    with pytest.raises(ConfigError, match=told):
        teach.run(Session(compose([word]), (word,)))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["teach.also=[half-0]"], "0 shards"),
        (["teach.also=[default-0]"], "default-0"),  # its own are learned from anyway
        (["teach.also=[half-0,half-0]"], "each once"),
    ],
)
def test_lessons_of_another_course_that_cannot_be_learned_from(
    words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBOT_WM_HOME", str(tmp_path))
    for name in ("half-0", "default-0"):
        folder = tmp_path / "lessons" / f"push_t-{name}"
        folder.mkdir(parents=True)
        (folder / LESSONS).write_text('{"block": 5}')
    with pytest.raises(ConfigError, match=told):
        teach.run(Session(compose(words), tuple(words)))
    assert [path.name for path in tmp_path.iterdir()] == ["lessons"]
